//! Files: in, out, their limits, and what an agent may try with the folders they lie in.

use crate::support::{
    Runtime, Terminal, free_port, hostile, keep, program_for, programs, race_time, rows, tells_of_abort,
    until, users,
};
use rusqlite::Connection;
use rustix::fs::{CWD, RenameFlags, mkfifoat, renameat_with};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use vestibule_session::SessionDir;

pub fn entries(folder: &Path) -> usize {
    fs::read_dir(folder).unwrap().count()
}

// cells terminal: in file, out file
#[test]
fn files_go_in_and_come_back() {
    let runtime = Runtime::new("").up();
    let big: Vec<u8> = (0..3_000_000_u32).map(|i| (i % 251) as u8).collect();
    let files: [(&str, &[u8]); 5] =
        [("a.txt", b"one"), ("a.txt", b"two"), ("../../../escape", b"three"), ("", b""), ("big.bin", &big)];
    let mut terminal = Terminal::connect(&runtime, false);
    terminal.send("look", &files);
    let (text, mut back) = terminal.answer();
    back.sort();
    assert!(text.starts_with("look\n[file: a.txt — saved to /workspace/inbox/tty-"), "{text}");
    let sizes: Vec<(&str, usize)> = back.iter().map(|(name, bytes)| (name.as_str(), bytes.len())).collect();
    let [("a-2.txt", 3), ("a.txt", 3), (unnamed, _), (unsafe_name, _), ("big.bin", 3_000_000)] = sizes[..]
    else {
        panic!("{sizes:?}")
    };
    assert!(unnamed.starts_with("attachment-") && unsafe_name.starts_with("attachment-"), "{sizes:?}");
    assert!(back.iter().any(|(_, bytes)| *bytes == big) && back.iter().any(|(_, bytes)| bytes == b"two"));
    // What was delivered is gone from the home and from the agent's part, where the folder for the next
    // answer's files is left; what came in stays.
    let session = runtime.sessions().remove(0);
    until("what went out is cleared", || {
        (entries(&runtime.home.path().join("attachments")) == 5).then_some(())
    });
    until("the outbox is cleared", || (entries(&session.join("out/outbox")) == 1).then_some(()));
}

/// The example channel, as a file, in a process of its own.
#[test]
fn files_cross_the_seam_both_ways() {
    let at = free_port();
    let runtime = Runtime::new(&format!("[channels.echo.main]\nlisten = \"{at}\"\n")).up();
    let file = runtime.home.path().join("plugins/echo.so");
    fs::copy(crate::support::plugin_file("vestibule-echo-channel"), file).unwrap();
    runtime.wait_live("echo");
    runtime.ok(&["wiring", "create", "--agent", "assistant", "--channel", "echo", "--chat", "lines"]);
    crosses_and_comes_back(at);
}

fn crosses_and_comes_back(at: std::net::SocketAddr) {
    use std::io::{Read, Write};
    // Larger than what rides inside a packet.
    let bytes: Vec<u8> = (0..1_000_000_u32).map(|i| (i % 251) as u8).collect();
    let mut call = std::net::TcpStream::connect(at).unwrap();
    call.set_read_timeout(Some(crate::support::PATIENCE)).unwrap();
    call.write_all(format!("file {} big.bin\n", bytes.len()).as_bytes()).unwrap();
    call.write_all(&bytes).unwrap();
    call.write_all(b"look\n").unwrap();
    let head = format!("file {} big.bin\n", bytes.len());
    let mut back = vec![0; head.len() + bytes.len()];
    call.read_exact(&mut back).unwrap();
    assert_eq!(&back[..head.len()], head.as_bytes());
    assert_eq!(&back[head.len()..], &bytes[..]);
}

/// A user has only so many descriptors on their way through sockets, and an agent's count as its user's.
#[test]
fn an_agent_that_holds_descriptors_in_flight_stops_no_file() {
    let user = *users().last().unwrap(); // root has as many as it likes
    let at = free_port();
    let runtime = Runtime::new(&format!("[channels.echo.main]\nlisten = \"{at}\"\n"));
    let few = runtime.home.path().join("with-few-files");
    let program = program_for(user, crate::support::binary());
    fs::write(&few, format!("#!/bin/sh\nulimit -Sn 1024\nexec '{}' \"$@\"\n", program.display())).unwrap();
    fs::set_permissions(&few, fs::Permissions::from_mode(0o755)).unwrap();
    let runtime = runtime.of_user(user).program(&few).up();
    let file = runtime.home.path().join("plugins/echo.so");
    fs::copy(crate::support::plugin_file("vestibule-echo-channel"), file).unwrap();
    runtime.wait_live("echo");
    runtime.ok(&["wiring", "create", "--agent", "assistant", "--channel", "echo", "--chat", "lines"]);
    let hold = format!("{} hold-in-flight held", program_for(user, hostile()).display());
    runtime.ok(&["agent", "create", "bad", "--provider", "command", "--command", &hold]);
    runtime.ok(&["messaging-group", "delete", "local"]);
    runtime.ok(&["wiring", "create", "--agent", "bad", "--channel", "terminal", "--chat", "local"]);
    Terminal::connect(&runtime, false).say("go");
    until("it holds them", || runtime.home.path().join("groups/bad/held").exists().then_some(()));
    crosses_and_comes_back(at);
    assert_eq!(programs(&hold).len(), 1, "they were held all the while");
}

#[test]
fn a_program_answers_with_files() {
    let runtime = Runtime::new("").up();
    let script =
        "sh -c 'printf report > \"$VESTIBULE_REPLY_FILES/r.txt\"; mkdir $VESTIBULE_REPLY_FILES/d; echo see'";
    runtime.ok(&["agent", "update", "assistant", "--provider", "command", "--command", script]);
    let mut terminal = Terminal::connect(&runtime, false);
    for text in ["one", "two"] {
        terminal.say(text);
        let (said, files) = terminal.answer();
        assert_eq!(said, "see\n[file: d — not sent: it is no regular file]");
        assert_eq!(files, [("r.txt".to_owned(), b"report".to_vec())]);
    }
    let script = "sh -c 'printf x > \"$VESTIBULE_REPLY_FILES/alone\"'";
    runtime.ok(&["agent", "update", "assistant", "--command", script]);
    terminal.say("three");
    assert_eq!(terminal.answer(), (String::new(), vec![("alone".into(), b"x".to_vec())]));
}

#[test]
fn inboxes_deleted_while_the_house_is_stopped_are_as_before() {
    let mut runtime = Runtime::new("").up();
    let mut terminal = Terminal::connect(&runtime, false);
    terminal.send("keep", &[("a.txt", b"kept")]);
    terminal.answer();
    drop(terminal);
    runtime.stop();
    let session = runtime.sessions().remove(0);
    fs::remove_dir_all(session.join("inbox")).unwrap();
    fs::remove_file(session.join("inbound.db")).unwrap();
    runtime.start();
    let folder = until("the inbox is there again", || fs::read_dir(session.join("inbox")).ok()?.next());
    let file = until("and its file", || fs::read(folder.as_ref().unwrap().path().join("a.txt")).ok());
    assert_eq!(file, b"kept");
}

#[test]
fn limits_leave_files_out_and_let_the_words_through() {
    let runtime = Runtime::new("attachments_mb = 1\nsession_files_mb = 2\n").up();
    let mut terminal = Terminal::connect(&runtime, false);
    let (large, most) = (vec![1; 1_100_000], vec![2; 700_000]);
    terminal.send("too large", &[("l", &large), ("s", b"small")]);
    let (text, files) = terminal.answer();
    assert!(text.contains("[file: l — not saved: the files of one message are larger"), "{text}");
    assert_eq!(files, [("s".to_owned(), b"small".to_vec())]);
    for round in 0..4 {
        terminal.send("more", &[("m", &most)]);
        let (text, files) = terminal.answer();
        // The first goes both ways; for the second's way back there is no room; the third stays out.
        assert_eq!(text.contains("saved to"), round < 2, "{round}: {text}");
        assert_eq!(text.contains("`session_files_mb`"), round > 0, "{round}: {text}");
        assert_eq!(files.len(), usize::from(round == 0), "{round}");
        // What was delivered makes room.
        until("it is cleared", || {
            runtime
                .query::<i64>("SELECT COUNT(*) FROM files WHERE direction = 'out'")
                .first()
                .filter(|n| **n == 0)
                .copied()
        });
    }
    let many: Vec<(String, &[u8])> = (0..33).map(|i| (format!("{i}"), &b"x"[..])).collect();
    let many: Vec<(&str, &[u8])> = many.iter().map(|(name, bytes)| (name.as_str(), *bytes)).collect();
    terminal.write(&serde_json::json!({ "text": "many", "files": many.iter().map(|(n, b)| serde_json::json!({"name": n, "size": b.len()})).collect::<Vec<_>>() }));
    for (_, bytes) in &many {
        terminal.raw(bytes);
    }
    let refused = terminal.read();
    assert!(refused["error"].as_str().unwrap().contains("33 attachments, the limit is 32"), "{refused}");
}

#[test]
fn what_nobody_hears_never_reaches_the_disk() {
    let runtime = Runtime::new("").up();
    let wiring = runtime.json(&["wiring", "list"])[0]["id"].as_str().unwrap().to_owned();
    runtime.ok(&["wiring", "update", &wiring, "--pattern", "^deploy"]);
    let mut terminal = Terminal::connect(&runtime, false);
    terminal.write(&serde_json::json!({ "text": "lunch", "files": [{ "name": "a", "size": 1 }] }));
    terminal.raw(b"x");
    assert!(terminal.read()["error"].as_str().unwrap().contains("no_agent_engaged"));
    assert_eq!(entries(&runtime.home.path().join("attachments")), 0);
    terminal.send("deploy", &[("a", b"x")]);
    assert_eq!(terminal.answer().1.len(), 1);
}

#[test]
fn a_full_disk_holds_a_message_with_files_back() {
    let runtime = Runtime::new("disk_reserve_mb = 4000000000\n").up();
    let mut terminal = Terminal::connect(&runtime, false);
    terminal.write(&serde_json::json!({ "text": "x", "files": [{ "name": "a", "size": 1 }] }));
    terminal.raw(b"x");
    let answer = terminal.read();
    assert!(answer["error"].as_str().unwrap().contains("not taken"), "{answer}");
    assert!(runtime.log().contains("disk_reserve_mb"), "{}", runtime.log());
    terminal.say("words still go");
    assert_eq!(terminal.reply(), "words still go");
    // What nobody hears needs no room: it is not held back, for it would come again and again.
    let wiring = runtime.json(&["wiring", "list"])[0]["id"].as_str().unwrap().to_owned();
    runtime.ok(&["wiring", "update", &wiring, "--pattern", "^deploy"]);
    terminal.write(&serde_json::json!({ "text": "lunch", "files": [{ "name": "a", "size": 1 }] }));
    terminal.raw(b"x");
    let answer = terminal.read();
    assert!(answer["error"].as_str().unwrap().contains("no_agent_engaged"), "{answer}");
}

/// A session whose agent wrote replies with files.
struct Outbox {
    home: tempfile::TempDir,
    dir: SessionDir,
}

impl Outbox {
    fn new(replies: i64, files: &[&str]) -> Outbox {
        let home = tempfile::tempdir().unwrap();
        let dir = SessionDir::new(home.path().join("session"));
        dir.create().unwrap();
        fs::create_dir(home.path().join("treasure")).unwrap();
        for name in ["f", "secret"] {
            fs::write(home.path().join("treasure").join(name), "SECRET").unwrap();
        }
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE;
        let db = Connection::open_with_flags(dir.outbound_db_real(), flags).unwrap();
        let content = serde_json::json!({ "text": "x", "files": files }).to_string();
        for number in 0..replies {
            let id = format!("m{number}");
            db.execute(
                "INSERT INTO messages_out (id, seq, timestamp, kind, content) VALUES (?1, ?2, '2026-01-01T00:00:00Z', 'chat', ?3)",
                rusqlite::params![id, number * 2 + 1, content],
            )
            .unwrap();
            fs::create_dir_all(dir.out().join("outbox").join(&id)).unwrap();
        }
        Outbox { home, dir }
    }

    fn folder(&self, id: &str) -> std::path::PathBuf {
        self.dir.out().join("outbox").join(id)
    }

    fn treasure(&self) -> std::path::PathBuf {
        self.home.path().join("treasure")
    }
}

#[test]
fn an_outbox_leads_nowhere_else() {
    type Trap = fn(&Outbox);
    let cases: [(&str, &str, Trap); 12] = [
        ("a file", "f", |o| fs::write(o.folder("m0").join("f"), "mine").unwrap()),
        ("missing", "f", |_| {}),
        ("a link to a file", "f", |o| symlink(o.treasure().join("f"), o.folder("m0").join("f")).unwrap()),
        ("a second name", "f", |o| fs::hard_link(o.treasure().join("f"), o.folder("m0").join("f")).unwrap()),
        ("a FIFO", "f", |o| mkfifoat(CWD, o.folder("m0").join("f"), 0o600.into()).unwrap()),
        ("a folder", "f", |o| fs::create_dir(o.folder("m0").join("f")).unwrap()),
        ("a link for the folder", "f", |o| {
            fs::remove_dir(o.folder("m0")).unwrap();
            symlink(o.treasure(), o.folder("m0")).unwrap();
        }),
        ("a link for the outbox", "secret", |o| {
            fs::remove_dir_all(o.dir.out().join("outbox")).unwrap();
            fs::create_dir(o.treasure().join("m0")).unwrap();
            fs::write(o.treasure().join("m0/secret"), "SECRET").unwrap();
            symlink(o.treasure(), o.dir.out().join("outbox")).unwrap();
        }),
        ("a way up", "../../../../treasure/f", |_| {}),
        ("from the root", "/etc/passwd", |_| {}),
        ("larger than allowed", "f", |o| {
            fs::File::create(o.folder("m0").join("f")).unwrap().set_len(1 << 40).unwrap();
        }),
        ("unreadable", "f", |o| {
            fs::write(o.folder("m0").join("f"), "mine").unwrap();
            fs::set_permissions(o.folder("m0"), fs::Permissions::from_mode(0o000)).unwrap();
        }),
    ];
    for (name, file, trap) in cases {
        let outbox = Outbox::new(1, &[file]);
        trap(&outbox);
        let kept = keep(&outbox.dir);
        assert_eq!((kept.word.as_str(), kept.replies.len()), ("drained", 1), "{name}");
        let files = kept.files;
        if name == "a file" {
            assert_eq!(files, [("f".to_owned(), Ok(b"mine".to_vec()))]);
            assert!(!outbox.folder("m0").exists(), "it is cleared away");
        } else {
            assert!(matches!(&files[..], [(_, Err(_))]), "{name}: {files:?}");
        }
        for file in ["f", "secret"] {
            assert_eq!(fs::read_to_string(outbox.treasure().join(file)).unwrap(), "SECRET", "{name}");
        }
        let _ = fs::set_permissions(outbox.folder("m0"), fs::Permissions::from_mode(0o700));
    }
}

/// What the runtime stores ahead of a batch is bounded by the files of one reply.
#[test]
fn at_most_one_reply_with_files_comes_in_a_batch() {
    let outbox = Outbox::new(3, &["f"]);
    for number in 0..3 {
        fs::write(outbox.folder(&format!("m{number}")).join("f"), "mine").unwrap();
    }
    let kept = keep(&outbox.dir);
    assert_eq!((kept.word.as_str(), kept.batches, kept.files.len()), ("drained", vec![1, 1, 1], 3));
}

/// Ends a race, whatever happens.
pub struct Stop<'a>(pub &'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Exchanges two names as fast as it can until told to stop; answers how often.
pub fn swap(a: &Path, b: &Path, stop: &AtomicBool) -> u64 {
    let mut count = 0;
    while !stop.load(Ordering::Relaxed) {
        let _ = renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE);
        count += 1;
        if count % 64 == 0 {
            std::thread::yield_now();
        }
    }
    count
}

#[test]
fn no_race_leads_out_of_an_outbox() {
    let time = race_time(Duration::from_secs(3), Duration::from_secs(60));
    let begin = Instant::now();
    let (mut swaps, mut handed, mut left_out) = (0, 0, 0);
    while begin.elapsed() < time {
        // Files, folders and the outbox itself change places with links to the treasure.
        for what in ["file", "folder", "outbox"] {
            let outbox = Outbox::new(100, &["f"]);
            for number in 0..100 {
                fs::write(outbox.folder(&format!("m{number}")).join("f"), "mine").unwrap();
                fs::create_dir_all(outbox.treasure().join(format!("m{number}"))).unwrap();
                fs::write(outbox.treasure().join(format!("m{number}/f")), "SECRET").unwrap();
            }
            let (here, bait) = match what {
                "file" => (outbox.folder("m50").join("f"), outbox.dir.out().join("bait")),
                "folder" => (outbox.folder("m50"), outbox.dir.out().join("bait")),
                _ => (outbox.dir.out().join("outbox"), outbox.dir.out().join("bait")),
            };
            let target = match what {
                "file" => outbox.treasure().join("f"),
                "folder" => outbox.treasure().join("m50"),
                _ => outbox.treasure(),
            };
            symlink(target, &bait).unwrap();
            let stop = AtomicBool::new(false);
            std::thread::scope(|scope| {
                let swapper = scope.spawn(|| swap(&here, &bait, &stop));
                let ending = Stop(&stop);
                let files = keep(&outbox.dir).files;
                drop(ending);
                swaps += swapper.join().unwrap();
                for (_, bytes) in files {
                    match bytes {
                        Ok(bytes) => {
                            assert_eq!(bytes, b"mine", "{what}");
                            handed += 1;
                        }
                        Err(_) => left_out += 1,
                    }
                }
            });
            for number in 0..100 {
                let there = fs::read_to_string(outbox.treasure().join(format!("m{number}/f"))).unwrap();
                assert_eq!(there, "SECRET", "nothing outside is cleared away");
            }
        }
    }
    println!("{swaps} swaps, {handed} files handed over, {left_out} left out, in {:?}", begin.elapsed());
    assert!(handed > 0 && left_out > 0 && swaps > 1000, "{swaps} {handed} {left_out}");
}

#[test]
fn no_race_leads_out_of_an_inbox() {
    let time = race_time(Duration::from_secs(3), Duration::from_secs(60));
    let runtime = Runtime::new("").up();
    let mut terminal = Terminal::connect(&runtime, false);
    terminal.send("first", &[("f", b"mine")]);
    terminal.answer();
    let session = runtime.sessions().remove(0);
    let outside = tempfile::tempdir().unwrap();
    let bait = session.join("bait");
    symlink(outside.path(), &bait).unwrap();
    let (stop, begin, mut sent) = (AtomicBool::new(false), Instant::now(), 0);
    let swaps = std::thread::scope(|scope| {
        let swapper = scope.spawn(|| swap(&session.join("inbox"), &bait, &stop));
        let ending = Stop(&stop);
        while begin.elapsed() < time {
            terminal.write(&serde_json::json!({ "text": "x", "files": [{ "name": "f", "size": 4 }] }));
            terminal.raw(b"mine");
            sent += 1;
            while terminal.line().0["taken"].is_null() {}
        }
        drop(ending);
        swapper.join().unwrap()
    });
    if fs::symlink_metadata(session.join("inbox")).unwrap().is_symlink() {
        renameat_with(CWD, session.join("inbox"), CWD, &bait, RenameFlags::EXCHANGE).unwrap();
    }
    assert_eq!(entries(outside.path()), 0, "nothing landed outside");
    println!("{swaps} swaps, {sent} messages with a file, in {:?}", begin.elapsed());
    assert!(swaps > 1000 && sent > 10, "{swaps} {sent}");
    // All of it is there once the folder stays where it is; a minute of messages takes its time.
    let pending = || runtime.query::<i64>("SELECT COUNT(*) FROM messages_in WHERE status = 'pending'")[0];
    let mut open = pending();
    while open > 0 {
        until("more messages are answered", || (pending() < open).then_some(()));
        open = pending();
    }
    assert_eq!(entries(&session.join("inbox")), sent + 1);
}

/// The crash points of files.
pub const CRASH_POINTS: [&str; 6] = [
    "inbound: files are written, not synced",
    "inbound: files are on disk, no commit names them",
    "projection: a folder of files is there, and empty",
    "runner: files are at their reply, no row names them",
    "hand-over: a file is written, not synced",
    "keeper: files are on record, not cleared away",
];

/// One life ends at each of them; the next one goes on by itself, and every file is there once.
#[test]
fn a_crash_between_a_file_and_its_record_loses_neither() {
    if !cfg!(debug_assertions) {
        eprintln!("SKIPPED: a release build has no crash points; run the tests without --release");
        return;
    }
    for point in CRASH_POINTS {
        let mut runtime = Runtime::new("");
        runtime.launch(&[("VESTIBULE_CRASH_POINT", &format!("{point}#1"))]);
        until("the terminal is open", || {
            std::os::unix::net::UnixStream::connect(runtime.home.path().join("terminal.sock")).ok()
        });
        let mut terminal = Terminal::connect(&runtime, true);
        terminal.write(&serde_json::json!({ "text": "x", "files": [{ "name": "f", "size": 4 }] }));
        terminal.raw(b"mine");
        let home = runtime.home.path().to_owned();
        let count = |sql: &str| rows::<i64>(&home.join("vestibule.db"), sql)[0];
        let settled = "SELECT COUNT(*) FROM messages_in WHERE status = 'completed' AND 0 = (SELECT COUNT(*) FROM \
                       deliveries WHERE state NOT IN ('delivered', 'failed'))";
        // The death of the runtime itself is seen at once; that of another by what the log says of it.
        until(point, || (runtime.ended().is_some() || count(settled) > 0).then_some(()));
        let died = runtime.ended().is_some();
        let told = || tells_of_abort(&runtime.log()).then_some(());
        if !died {
            until(&format!("{point} is reached"), told);
        }
        runtime.end();
        runtime.start();
        let taken = count("SELECT COUNT(*) FROM messages_in");
        assert_eq!(taken == 0, point.starts_with("inbound"), "{point}");
        if taken == 0 {
            let mut terminal = Terminal::connect(&runtime, false);
            terminal.send("x", &[("f", b"mine")]);
            assert_eq!(terminal.answer().1, [("f".to_owned(), b"mine".to_vec())], "{point}");
        }
        until("all is settled", || (count(settled) == 1).then_some(()));
        let session = runtime.sessions().remove(0);
        let folder = fs::read_dir(session.join("inbox")).unwrap().next().unwrap().unwrap().path();
        assert_eq!(fs::read(folder.join("f")).unwrap(), b"mine", "{point}");
        until("one blob is left", || (entries(&home.join("attachments")) == 1).then_some(()));
        runtime.stop();
    }
}
