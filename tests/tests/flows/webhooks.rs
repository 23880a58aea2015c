//! Webhooks of a scheme that a plugin file declares, verified by the runtime; what the plugin counts
//! survives a crash of the runtime. Connections that say nothing.

use crate::hot::plain;
use crate::support::{PATIENCE, Runtime, plugin_file, request, until};
use crate::traffic::in_full;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant, UNIX_EPOCH};

pub fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bits: String = bytes.iter().map(|byte| format!("{byte:08b}")).collect();
    let bits = format!("{bits:0<width$}", width = bits.len().div_ceil(6) * 6);
    let letters = bits.as_bytes().chunks(6).map(|six| {
        let place = usize::from_str_radix(std::str::from_utf8(six).unwrap(), 2).unwrap();
        char::from(LETTERS[place])
    });
    let text: String = letters.collect();
    format!("{text:=<width$}", width = text.len().div_ceil(4) * 4)
}

/// What signs a body: the signature and its time.
fn signed(secret: &str, age: i64, body: &str) -> (String, String) {
    let now = UNIX_EPOCH.elapsed().unwrap().as_secs() as i64;
    let time = (now - age).to_string();
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(format!("{time}.{body}").as_bytes());
    (format!("v1,{}", base64(&mac.finalize().into_bytes())), time)
}

fn post_to(at: SocketAddr, (signature, time): &(String, String), body: &str) -> (u16, String) {
    let headers = [("x-plain-signature", signature.as_str()), ("x-plain-time", time.as_str())];
    request(at, "POST", "/webhook/plain/main", &headers, body.as_bytes())
}

fn post(runtime: &Runtime, secret: &str, age: i64, body: &str) -> (u16, String) {
    post_to(runtime.listening(), &signed(secret, age, body), body)
}

/// A request on a connection that stays open, signed.
fn on_open(body: &str) -> String {
    let (signature, time) = signed("the key", 0, body);
    let signs = format!("x-plain-signature: {signature}\r\nx-plain-time: {time}\r\n");
    let length = body.len();
    format!("POST /webhook/plain/main HTTP/1.1\r\nhost: x\r\n{signs}content-length: {length}\r\n\r\n{body}")
}

/// Sends the last of a request; the answer to it.
fn answer(stream: &mut TcpStream, last: &str) -> String {
    stream.write_all(last.as_bytes()).unwrap();
    let mut answer = [0; 1024];
    let count = stream.read(&mut answer).unwrap();
    String::from_utf8_lossy(&answer[..count]).into_owned()
}

fn connect(at: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Whether the other side has closed it.
fn is_closed(stream: &mut TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let read = stream.read(&mut [0]);
    stream.set_nonblocking(false).unwrap();
    !matches!(read, Err(error) if error.kind() == ErrorKind::WouldBlock)
}

fn runtime(config: &str) -> Runtime {
    let account = format!("[channels.plain.main]\nplatform = \"127.0.0.1:9\"\n{config}");
    let runtime = Runtime::new(&format!("webhook_body_limit = 1048576\n{account}"));
    let plugins = runtime.home.path().join("plugins");
    std::fs::create_dir_all(&plugins).unwrap();
    std::fs::copy(plugin_file("vestibule-plain-channel"), plugins.join("plain.so")).unwrap();
    runtime.env("TEST_KEY", "the key")
}

#[test]
fn row_c02_a_declared_scheme_is_verified_and_what_is_counted_is_kept() {
    let mut runtime = runtime("signing_key = { env = \"TEST_KEY\" }\n");
    runtime.start_with("plain");
    assert_eq!(post(&runtime, "the key", 0, "one"), (200, "1".into()));
    assert_eq!(post(&runtime, "another", 0, "x").0, 401);
    let (status, words) = post(&runtime, "the key", 3_600, "x");
    assert!(status == 401 && words.contains("too long ago"), "{status} {words}");
    runtime.kill();
    runtime.start_with("plain");
    assert_eq!(post(&runtime, "the key", 0, "two"), (200, "2".into()));
    assert_eq!(runtime.query::<i64>("SELECT COUNT(*) FROM event_ids WHERE channel_type = 'plain'"), [2]);
}

/// Whoever has recorded a request posts it again within its window.
#[test]
fn what_was_signed_once_is_taken_once() {
    let mut runtime = runtime("signing_key = { env = \"TEST_KEY\" }\n");
    runtime.start_with("plain");
    // Within one second the time that is signed, too, is the same.
    let answers = until("three in one second", || {
        let second = || UNIX_EPOCH.elapsed().unwrap().as_secs();
        let (begin, body) = (second(), format!("{:?}", Instant::now()));
        let answers: Vec<_> = (0..3).map(|_| post(&runtime, "the key", 0, &body)).collect();
        (second() == begin).then_some(answers)
    });
    let again = (200, "it was taken before".to_owned());
    assert_eq!(answers[1..], [again.clone(), again]);
    let taken: i64 = answers[0].1.parse().unwrap();
    assert_eq!(runtime.query::<i64>("SELECT COUNT(*) FROM event_ids WHERE channel_type = 'plain'"), [taken]);
}

#[test]
fn without_its_secret_nothing_is_taken() {
    let other = "[channels.plain.other]\nplatform = \"127.0.0.1:1\"\nsigning_key = { env = \"TEST_KEY\" }\n";
    let mut runtime = runtime(other);
    runtime.start_with("plain");
    let (status, words) = post(&runtime, "", 0, "x");
    assert!(status == 503 && words.contains("no signing_key"), "{status} {words}");
    assert_eq!(runtime.query::<i64>("SELECT COUNT(*) FROM event_ids"), [0]);
}

/// Who connects and says nothing, or never ends what it says, keeps nobody out, and uses up nothing.
#[test]
fn idle_connections_keep_no_webhook_out() {
    const IDLE: usize = 300;
    let mut runtime = runtime("signing_key = { env = \"TEST_KEY\" }\n");
    runtime.start_with("plain");
    let at = runtime.listening();
    let open = |number: usize| {
        let mut stream = TcpStream::connect(at).unwrap();
        if number.is_multiple_of(2) {
            stream.write_all(b"POST /webhook/plain/main HTTP/1.1\r\nhost: x\r\n").unwrap();
        }
        stream
    };
    let mut idle: Vec<TcpStream> = (0..IDLE).map(open).collect();
    assert_eq!(post(&runtime, "the key", 0, "one"), (200, "1".into()));
    let sockets = || {
        let entries = std::fs::read_dir(format!("/proc/{}/fd", runtime.pid())).unwrap().flatten();
        let links = entries.filter_map(|entry| std::fs::read_link(entry.path()).ok());
        links.filter(|link| link.to_string_lossy().starts_with("socket:")).count()
    };
    assert!(sockets() < 256 + 44, "{} sockets are open", sockets());
    // Those that waited longest were closed, the others are still there.
    let closed: Vec<bool> = idle.iter_mut().map(is_closed).collect();
    assert!(closed[..IDLE - 256].iter().all(|closed| *closed), "the first are closed");
    assert!(!closed[IDLE - 100..].contains(&true), "the last are not");
    // A connection may ask again after an answer; one that never ends its head is closed in the end.
    let mut twice = TcpStream::connect(at).unwrap();
    for _ in 0..2 {
        twice.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        let mut answer = [0; 12];
        twice.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 404");
        twice.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let _ = twice.read(&mut [0; 4096]);
        twice.set_read_timeout(None).unwrap();
    }
    if in_full() {
        let begin = Instant::now();
        twice.read_to_end(&mut Vec::new()).unwrap();
        println!("a connection that asks no more is closed after {:?}", begin.elapsed());
        until("all are closed", || idle.iter_mut().all(is_closed).then_some(()));
    }
}

/// A stranger's request whose body is longer than what comes of it.
fn begin(at: SocketAddr, body: &[u8]) -> TcpStream {
    let mut stream = connect(at);
    let head =
        "POST /webhook/plain/main HTTP/1.1\r\nhost: x\r\nx-plain-signature: v1,x\r\nx-plain-time: 1\r\n";
    stream.write_all(format!("{head}content-length: 1000000\r\n\r\n").as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    stream
}

/// All come from one address, as behind a reverse proxy: strangers with bodies that never end, more than there
/// are slots, and the platform.
#[test]
fn bodies_that_never_end_keep_no_signed_webhook_out() {
    const HONEST: usize = 16;
    let mut runtime = runtime("signing_key = { env = \"TEST_KEY\" }\n");
    runtime.start_with("plain");
    let at = runtime.listening();
    let slow: Vec<TcpStream> = (0..300).map(|_| begin(at, b"{")).collect();
    let begin = Instant::now();
    let answers: Vec<(u16, String)> = std::thread::scope(|threads| {
        let post = |number: usize| post(&runtime, "the key", 0, &format!("honest {number}"));
        let posts: Vec<_> = (0..HONEST).map(|number| threads.spawn(move || post(number))).collect();
        posts.into_iter().map(|post| post.join().unwrap()).collect()
    });
    let took = begin.elapsed();
    assert!(answers.iter().all(|(status, _)| *status == 200), "{answers:?}");
    assert!(took < Duration::from_secs(5), "a platform waits 10 s at most, this took {took:?}");
    drop(slow);
}

/// All together hold 32 MiB at most: of one source those that came first make room.
#[test]
fn the_bodies_of_strangers_are_bounded_together() {
    let mut runtime = runtime("signing_key = { env = \"TEST_KEY\" }\n");
    runtime.start_with("plain");
    let at = runtime.listening();
    let mut open: Vec<TcpStream> = Vec::new();
    for number in 0..40 {
        open.push(begin(at, &[b' '; 999_000]));
        let body = format!("beside {number}");
        assert_eq!(post_to(at, &signed("the key", 0, &body), &body).0, 200);
    }
    // Without a word: one that is too slow would hear of it.
    let made_room = |stream: &mut TcpStream| match stream.peek(&mut [0]) {
        Ok(count) => count == 0,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    };
    open.iter().for_each(|stream| stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap());
    until("the first have made room", || open[..6].iter_mut().all(made_room).then_some(()));
    assert!(!open[10..].iter_mut().any(made_room), "the others have not");
    // What is lost so is on a list.
    let refused = runtime.json(&["status"])["webhooks_refused"].clone();
    let closed = refused.as_array().unwrap().iter().find(|row| row["status"] == 503).unwrap();
    assert_eq!(
        (&closed["channel"], &closed["reason"]),
        (&"plain".into(), &"it was closed to make room for others".into())
    );
    assert!(closed["count"].as_u64().unwrap() >= 6, "{closed}");
}

/// Also on a connection that was open before others.
#[test]
fn a_request_is_new_when_it_begins() {
    let mut runtime = runtime("signing_key = { env = \"TEST_KEY\" }\n");
    runtime.start_with("plain");
    let at = runtime.listening();
    let mut old = connect(at);
    let mut idle: Vec<TcpStream> = (0..254).map(|_| connect(at)).collect();
    assert_eq!(request(at, "GET", "/", &[], b"").0, 404, "all of them are seated");
    let request_of_old = on_open("a request");
    let (first, last) = request_of_old.split_at(request_of_old.len() - 3);
    old.write_all(first.as_bytes()).unwrap();
    until("it has begun", || {
        let mut newer = connect(at);
        newer.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
        newer.read_to_end(&mut Vec::new()).ok().map(|_| ())
    });
    let mut newer: Vec<TcpStream> = (0..50).map(|_| connect(at)).collect();
    until("others have made room", || is_closed(&mut idle[40]).then_some(()));
    assert!(answer(&mut old, last).contains(" 200 "), "it has waited less than they have");
    assert!(!is_closed(&mut newer[49]));
}

/// One that was answered is idle, whatever it was before.
#[test]
fn connections_that_were_answered_make_room() {
    let mut runtime = runtime("signing_key = { env = \"TEST_KEY\" }\n");
    runtime.start_with("plain");
    let at = runtime.listening();
    let post = |number: usize| {
        let mut stream = connect(at);
        let answer = answer(&mut stream, &on_open(&format!("number {number}")));
        assert!(answer.contains(" 200 "), "{number}: {answer}");
        stream
    };
    let mut answered: Vec<TcpStream> = (0..260).map(post).collect();
    assert!(is_closed(&mut answered[0]) && !is_closed(&mut answered[259]));
}

#[test]
fn heads_and_bodies_without_end_are_refused() {
    let mut runtime = runtime("signing_key = { env = \"TEST_KEY\" }\n");
    runtime.start_with("plain");
    let begin = "POST /webhook/plain/main HTTP/1.1\r\nhost: x\r\n";
    let head = format!("{begin}a: {}\r\n\r\n", "a".repeat(150_000));
    let chunks = format!("10000\r\n{}\r\n", "a".repeat(0x10000)).repeat(17);
    let body = format!("{begin}transfer-encoding: chunked\r\n\r\n{chunks}");
    for (sent, status) in [(head, "431"), (body, "413")] {
        let mut stream = connect(runtime.listening());
        let mut to = stream.try_clone().unwrap();
        // It may hang up before it has read all.
        let writing = std::thread::spawn(move || drop(to.write_all(sent.as_bytes())));
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(String::from_utf8_lossy(&answer), format!("HTTP/1.1 {status}"));
        drop(stream);
        writing.join().unwrap();
    }
}

/// Verified requests that wait for their plugin: so many at once, of two that are the same one, and none makes room
/// for a stranger.
#[test]
fn verified_requests_have_places_and_keep_them() {
    let mut runtime = runtime("signing_key = { env = \"TEST_KEY\" }\n");
    runtime.start_with("plain");
    let at = runtime.listening();
    exchange(&runtime, &plain(&[("POST-MODE:.", "POST-MODE:h")])); // its start hangs: they wait 5 s, in vain
    until("the first is stopped", || (runtime.channel("plain")["state"] != "live").then_some(()));
    let (told, answers) = std::sync::mpsc::channel();
    std::thread::scope(|threads| {
        let post = |signs: (String, String), body: String| {
            let told = told.clone();
            threads.spawn(move || told.send(post_to(at, &signs, &body)).unwrap());
        };
        let twin = signed("the key", 0, "twin");
        post(twin.clone(), "twin".into());
        post(twin, "twin".into());
        let (status, words) = answers.recv().unwrap();
        assert!(status == 503 && words.contains("the same is being taken"), "{status} {words}");
        for number in 0..80 {
            let body = format!("number {number}");
            post(signed("the key", 0, &body), body);
        }
        let at_once: Vec<(u16, String)> = answers.iter().take(80 - 63).collect();
        let no_place =
            |(status, words): &(u16, String)| *status == 503 && words.contains("too many requests at once");
        assert!(at_once.iter().all(no_place), "{at_once:?}");
        let strangers: Vec<TcpStream> = (0..300).map(|_| connect(at)).collect();
        assert_eq!(request(at, "GET", "/", &[], b"").0, 404, "they are seated");
        let later: Vec<(u16, String)> = answers.iter().take(64).collect();
        assert!(
            later.iter().all(|(status, said)| *status == 503 && said.contains("not live yet")),
            "{later:?}"
        );
        drop(strangers);
    });
}

#[test]
fn a_body_that_comes_too_slowly_is_refused() {
    let mut runtime = runtime("signing_key = { env = \"TEST_KEY\" }\n");
    runtime.start_with("plain");
    let mut stream = begin(runtime.listening(), b"");
    let begin = Instant::now();
    let mut answer = [0; 12];
    stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    until("it is answered", || {
        let _ = stream.write_all(b"x"); // each byte is in time for a limit on silence
        stream.read_exact(&mut answer).is_ok().then_some(())
    });
    assert_eq!(&answer, b"HTTP/1.1 408");
    let took = begin.elapsed();
    assert!(Duration::from_secs(1) < took && took < Duration::from_secs(6), "{took:?}");
}

/// Puts a file in the place of the one that runs, as `mv` does.
fn exchange(runtime: &Runtime, bytes: &[u8]) {
    let folder = runtime.home.path().join("plugins");
    std::fs::write(folder.join("next"), bytes).unwrap();
    std::fs::rename(folder.join("next"), folder.join("plain.so")).unwrap();
}

#[test]
fn one_that_comes_while_its_plugin_is_replaced_waits_and_is_answered() {
    for tier in ["process", "in-process"] {
        let key = "signing_key = { env = \"TEST_KEY\" }\n";
        let mut runtime = runtime(&format!("{key}[plugins.plain]\ntier = \"{tier}\"\n"));
        runtime.start_with("plain");
        exchange(&runtime, &plain(&[("POST-MODE:.", "POST-MODE:s")])); // it takes a second to start
        let (mut count, mut longest) = (0, Duration::ZERO);
        until("the next one has taken over", || {
            let begin = Instant::now();
            count += 1;
            assert_eq!(
                post(&runtime, "the key", 0, &format!("x{count}")),
                (200, count.to_string()),
                "{tier}"
            );
            longest = longest.max(begin.elapsed());
            (runtime.log().matches("plugin loaded").count() == 2).then_some(())
        });
        assert!(longest > Duration::from_millis(500), "{tier}: none has waited, {longest:?}");
        assert_eq!(runtime.query::<i64>("SELECT COUNT(*) FROM event_ids"), [count], "each is there once");
    }
}

/// What waits for the next one was verified by the scheme of the one before: it says nothing to a next one that
/// has another.
#[test]
fn one_that_waits_is_not_handed_to_a_plugin_of_another_scheme() {
    let mut runtime = runtime("signing_key = { env = \"TEST_KEY\" }\n");
    runtime.start_with("plain");
    assert_eq!(post(&runtime, "the key", 0, "to the first"), (200, "1".into()));
    exchange(
        &runtime,
        &plain(&[("POST-MODE:.", "POST-MODE:s"), ("\"prefix\":\"v1,\"", "\"prefix\":\"v2,\"")]),
    );
    until("the first is stopped", || (runtime.channel("plain")["state"] != "live").then_some(()));
    let (status, words) = post(&runtime, "the key", 0, "signed for the first");
    assert!(status == 503 && words.contains("not live yet"), "{status} {words}");
    let loaded = || runtime.log().matches("plugin loaded").count() == 2;
    until("the next one has taken over", || loaded().then_some(()));
    assert_eq!(post(&runtime, "the key", 0, "by the first's scheme").0, 401);
    assert_eq!(runtime.query::<i64>("SELECT COUNT(*) FROM event_ids WHERE channel_type = 'plain'"), [1]);
}

/// It is given up after 20 s; what ran before runs on.
#[test]
fn a_replacement_whose_start_hangs_changes_nothing() {
    let tried = |tier: &str| {
        let key = "signing_key = { env = \"TEST_KEY\" }\n";
        let mut runtime = runtime(&format!("{key}[plugins.plain]\ntier = \"{tier}\"\n"));
        runtime.start_with("plain");
        exchange(&runtime, &plain(&[("POST-MODE:.", "POST-MODE:h")]));
        let live = || runtime.channel("plain")["state"] == "live";
        until("the old one is stopped", || (!live()).then_some(()));
        std::thread::sleep(Duration::from_secs(15));
        let told = until("it is refused", || {
            let list = runtime.json(&["plugin", "list"]);
            let refused =
                list.as_array().unwrap().iter().find(|plugin| plugin["state"] == "refused")?.clone();
            refused["reason"].as_str().map(str::to_owned)
        });
        assert!(told.contains("did not answer in time") && told.ends_with("[START]"), "{tier}: {told}");
        until("the old one is live", || live().then_some(()));
        assert_eq!(post(&runtime, "the key", 0, "still there?"), (200, "1".into()), "{tier}");
    };
    std::thread::scope(|threads| {
        for tier in ["process", "in-process"] {
            threads.spawn(move || tried(tier));
        }
    });
}
