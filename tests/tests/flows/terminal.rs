//! The first minute, and several clients at once.

use crate::agents;
use crate::support::{PATIENCE, Runtime, Terminal, plugin_file, signal, until};
use crate::words;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixListener;
use std::process::{Output, Stdio};
use std::time::Instant;

// cells terminal: in text, in mention, out reply, out long reply
#[test]
fn on_a_bare_machine_chat_answers() {
    let runtime = Runtime::new("");
    assert_eq!(runtime.chat("hello"), "hello");
    assert_eq!(runtime.chat("again, with \"quotes\" & <tags>"), "again, with \"quotes\" & <tags>");
    let long = "a long line ".repeat(9_000);
    assert_eq!(runtime.chat(&long), long.trim_end());
    assert_eq!(runtime.query::<i64>("SELECT COUNT(*) FROM deliveries WHERE state = 'delivered'"), [3]);
}

#[test]
fn without_text_it_keeps_talking_until_input_ends() {
    let runtime = Runtime::new("").up();
    let mut chat = runtime.command(&["chat"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    chat.stdin.take().unwrap().write_all(b"one\n\ntwo\n").unwrap();
    let output = chat.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stdout), "one\ntwo\n");
}

#[test]
fn one_reply_may_answer_several_lines() {
    let runtime = Runtime::new("").up();
    let slow = "sh -c 'sleep 0.3; echo all of you'";
    runtime.ok(&["agent", "update", "assistant", "--provider", "command", "--command", slow]);
    let mut chat = runtime.command(&["chat"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    chat.stdin.take().unwrap().write_all(b"a\nb\nc\nd\n").unwrap();
    let output = chat.wait_with_output().unwrap();
    let lines = String::from_utf8_lossy(&output.stdout).lines().count();
    assert!(output.status.success() && (1..=4).contains(&lines), "{output:?}");
}

// cells terminal: in thread
#[test]
fn each_client_hears_its_own_replies_in_order() {
    let runtime = Runtime::new("").up();
    let mut clients: Vec<Terminal> = (0..4).map(|_| Terminal::connect(&runtime, false)).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        for round in 0..5 {
            client.write(&serde_json::json!({ "text": format!("{number}.{round}") }));
        }
    }
    for (number, client) in clients.iter_mut().enumerate() {
        let mut replies = Vec::new();
        while replies.len() < 5 {
            let line = client.read();
            replies.extend(line["text"].as_str().map(str::to_owned));
            assert!(line["text"].is_string() || line["taken"].is_string(), "{line}");
        }
        let want: Vec<String> = (0..5).map(|round| format!("{number}.{round}")).collect();
        assert_eq!(replies, want);
    }
    assert_eq!(runtime.query::<i64>("SELECT COUNT(*) FROM messages_in WHERE status <> 'completed'"), [0]);
}

#[test]
fn a_second_chat_uses_the_running_runtime() {
    let runtime = Runtime::new("").up();
    assert_eq!(runtime.chat("one"), "one");
    assert_eq!(runtime.chat("two"), "two");
    assert_eq!(runtime.query::<i64>("SELECT COUNT(*) FROM sessions"), [1], "both are one conversation");
    assert!(runtime.ok(&["chat", "three", "--time", "3"]).contains("median"));
}

#[test]
fn an_agent_that_is_told_of_a_chat_can_be_wired_to_it_without_a_database() {
    let runtime = Runtime::new("").up();
    runtime.ok(&["agent", "create", "second"]);
    runtime.ok(&[
        "wiring",
        "create",
        "--agent",
        "second",
        "--channel",
        "terminal",
        "--chat",
        "local",
        "--pattern",
        "^both",
    ]);
    let mut client = Terminal::connect(&runtime, false);
    client.say("both of you");
    assert_eq!([client.reply(), client.reply()], ["both of you", "both of you"]);
    client.say("one of you");
    assert_eq!(client.reply(), "one of you");
    assert_eq!(runtime.query::<i64>("SELECT COUNT(*) FROM sessions"), [2], "agents never share a session");
    let wirings = runtime.json(&["wiring", "list"]);
    let id = wirings.as_array().unwrap().iter().find(|w| w["agent"] == "second").unwrap()["id"].clone();
    runtime.ok(&["wiring", "update", id.as_str().unwrap(), "--pattern", "^never"]);
    runtime.ok(&["destination", "update", "--agent", "second", "terminal", "--rename", "tty"]);
    assert_eq!(runtime.json(&["destination", "list"])[1]["name"], "tty");
    runtime.ok(&["wiring", "delete", id.as_str().unwrap()]);
    runtime.ok(&["destination", "delete", "--agent", "second", "tty"]);
    runtime.ok(&["agent", "delete", "second"]);
    assert_eq!(runtime.json(&["agent", "list"]).as_array().unwrap().len(), 1);
    assert_eq!(runtime.json(&["messaging-group", "list"]).as_array().unwrap().len(), 1);
    assert_eq!(runtime.chat("still here"), "still here");
}

/// The file of the same channel, in either tier: in a process of its own it may open no local socket, so it is
/// handed one.
#[test]
fn chat_works_through_the_file_in_both_tiers() {
    for tier in ["process", "in-process"] {
        let runtime = Runtime::new(&format!("[plugins.terminal]\nbuilt_in = false\ntier = \"{tier}\"\n"));
        let plugins = runtime.home.path().join("plugins");
        std::fs::create_dir_all(&plugins).unwrap();
        std::fs::copy(plugin_file("vestibule-terminal"), plugins.join("terminal.so")).unwrap();
        let runtime = runtime.up();
        assert_eq!(runtime.chat("hello"), "hello");
        let list = runtime.json(&["plugin", "list"]);
        let plugin = list.as_array().unwrap().iter().find(|plugin| plugin["name"] == "terminal").unwrap();
        assert_eq!((plugin["tier"].as_str(), plugin["state"].as_str()), (Some(tier), Some("loaded")));
        let mut terminal = Terminal::connect(&runtime, false);
        terminal.send("with a file", &[("a.txt", b"bytes")]);
        let (text, files) = terminal.answer();
        assert!(text.starts_with("with a file"), "{text}");
        assert_eq!(files, [("a.txt".to_owned(), b"bytes".to_vec())]);

        runtime.ok(&["plugin", "reload", "terminal"]);
        assert!(terminal.read().is_null(), "its client is hung up on, for the next account does not know it");
        assert_eq!(runtime.chat("after it was replaced"), "after it was replaced");
        if tier == "process" {
            signal("KILL", &runtime.plugin_hosts()[0]);
            until("it is noticed", || runtime.log().contains("it is started again").then_some(()));
            runtime.wait_live("terminal");
            assert_eq!(runtime.chat("after it was killed"), "after it was killed");
        }
    }
}

/// Far more lines than the sockets between two programs hold.
const MANY: usize = 3_000;

#[test]
fn a_client_may_write_long_before_it_reads() {
    let runtime = Runtime::new("").up();
    let wirings = runtime.json(&["wiring", "list"]);
    runtime.ok(&["wiring", "delete", wirings[0]["id"].as_str().unwrap()]);
    let mut client = Terminal::connect(&runtime, false);
    for number in 0..MANY {
        client.write(&serde_json::json!({ "text": format!("line {number}") }));
    }
    for number in 0..MANY {
        let line = client.read();
        assert!(
            line["error"].as_str().is_some_and(|error| error.contains("no agent heard it")),
            "{number}: {line}"
        );
    }
}

/// What the terminal channel says, by the test: it reads nothing before it has written all it has to say, and so
/// does whoever reads what `chat` prints.
#[test]
fn a_piped_chat_hears_while_it_writes_and_writes_while_nobody_reads_it() {
    let runtime = Runtime::new("");
    std::fs::write(runtime.home.path().join("control.token"), "token").unwrap();
    let listener = UnixListener::bind(runtime.home.path().join("terminal.sock")).unwrap();
    let mut chat = runtime.command(&["chat"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = chat.stdin.take().unwrap();
    let typist = std::thread::spawn(move || {
        (0..MANY).for_each(|number| input.write_all(format!("line {number}\n").as_bytes()).unwrap());
    });

    let (mut to, _) = listener.accept().unwrap();
    to.set_write_timeout(Some(PATIENCE)).unwrap();
    to.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut from = BufReader::new(to.try_clone().unwrap()).lines();
    assert!(from.next().unwrap().unwrap().contains("token"));
    to.write_all(b"{\"ready\":true}\n").unwrap();
    let text = "x".repeat(200);
    for _ in 0..MANY {
        to.write_all(format!("{{\"text\":\"{text}\"}}\n").as_bytes()).expect("it hears while it writes");
    }
    for number in 0..MANY {
        assert_eq!(from.next().unwrap().unwrap(), format!("{{\"text\":\"line {number}\"}}"));
        to.write_all(b"{\"error\":\"refused\"}\n").unwrap();
    }
    typist.join().unwrap();
    let output = chat.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), MANY);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}

/// Says something, or pipes some lines in, and gives up long after it should have heard.
fn chat(runtime: &Runtime, text: Option<&str>, lines: &str) -> (Output, String) {
    let mut command = runtime.command(&["chat", "--timeout", "100"]);
    let mut chat = command
        .args(text)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    chat.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let begin = Instant::now();
    let output = chat.wait_with_output().unwrap();
    assert!(begin.elapsed() < 2 * PATIENCE, "it waited for a reply: {output:?}");
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    (output, words)
}

#[test]
fn an_empty_answer_is_told_at_once_and_is_no_error() {
    let runtime = Runtime::new("").up();
    runtime.ok(&["agent", "update", "assistant", "--provider", "command", "--command", "true"]);
    for (text, lines) in [(Some("hello"), ""), (None, "one\ntwo\n")] {
        let (output, words) = chat(&runtime, text, lines);
        assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), &b""[..]), "{words}");
        assert_eq!(words, "assistant has read it and answered nothing\n");
    }
}

#[test]
fn every_reply_of_the_turn_is_shown() {
    let runtime = Runtime::new("").up();
    let say = |n: i32| format!("<message to=\\\"terminal\\\">part {n}</message>");
    let says = format!("sh -c 'printf \"{}{}{}\"'", say(1), say(2), say(3));
    runtime.ok(&["agent", "update", "assistant", "--provider", "command", "--command", &says]);
    let parts = "part 1\npart 2\npart 3\n";
    for (text, lines) in [(Some("hello"), ""), (None, "hello\n")] {
        let (output, words) = chat(&runtime, text, lines);
        let shown = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!((output.status.code(), shown.as_str()), (Some(0), parts), "{words}");
    }
    // A round's further replies are no answer to the next one.
    let timed = runtime.ok(&["chat", "hello", "--time", "3"]);
    assert!(timed.starts_with("part 1\nfirst "), "{timed}");
}

/// Two accounts of two kinds: no plugin speaks the one, and the other cannot start.
#[test]
fn a_reply_that_waits_elsewhere_is_told_at_once() {
    let runtime = Runtime::new("[channels.github.main]\ntoken = { env = \"NOT_SET\" }\n").up();
    for channel in ["acme", "github"] {
        let far = format!("{channel}:far");
        runtime.ok(&["messaging-group", "create", "--channel", channel, "--chat", &far, "--name", channel]);
        let id = runtime
            .json(&["messaging-group", "list"])
            .as_array()
            .unwrap()
            .iter()
            .find(|chat| chat["channel_type"] == channel)
            .unwrap()["id"]
            .as_str()
            .unwrap()
            .to_owned();
        runtime.ok(&["destination", "create", "--agent", "assistant", "--name", channel, "--to", &id]);
        let says = format!("sh -c 'printf \"<message to=\\\"{channel}\\\">words</message>\"'");
        runtime.ok(&["agent", "update", "assistant", "--provider", "command", "--command", &says]);
        for (text, lines) in [(Some("hello"), ""), (None, "hello\n")] {
            let (output, words) = chat(&runtime, text, lines);
            assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), &b""[..]), "{words}");
            let told = format!("the reply of assistant goes to {far} on {channel}, and waits");
            assert!(words.contains(&told) && words.contains("`vestibule status`"), "{words}");
        }
        let row = runtime.channel(channel);
        assert!(row["reason"].as_str().unwrap().starts_with("2 replies wait for it; "), "{row}");
    }
    let status = runtime.ok(&["status"]);
    assert!(status.contains("no plugin speaks it"), "{status}");
    assert!(status.contains("2 parked, 2 pending; `vestibule delivery list` shows why"), "{status}");
}

#[test]
fn a_reply_that_cannot_be_delivered_is_told_at_once() {
    let runtime = Runtime::new("[plugins.agent-to-agent]\nbuilt_in = false\n").up();
    std::fs::copy(plugin_file("vestibule-guard"), runtime.home.path().join("plugins/guard.so")).unwrap();
    until("the module is live", || runtime.log().contains("module is live module=\"guard\"").then_some(()));
    runtime.ok(&["agent", "update", "assistant", "--provider", "command", "--command", "echo out-rude"]);
    for (text, lines) in [(Some("hello"), ""), (None, "one\ntwo\n")] {
        let (output, words) = chat(&runtime, text, lines);
        assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), &b""[..]), "{words}");
        assert!(words.contains("the reply of assistant could not be delivered"), "{words}");
        assert_eq!(words.contains("2 of the lines"), text.is_none(), "{words}");
    }
}

/// What one agent asks of another may lead to no reply: then the person who waits is told why.
#[test]
fn what_ends_between_agents_is_told_at_once() {
    let never_stops = r#"sh -c 'cat >&-; echo "<message to=\"helper\">again</message>"'"#;
    let runtime = Runtime::new("[modules.agent-to-agent]\nhops_max = 3\n").up();
    agents::introduce(&runtime, never_stops);
    let says = |want: &str, code: i32| {
        for (text, lines) in [(Some("hello"), ""), (None, "hello\n")] {
            let (output, words) = chat(&runtime, text, lines);
            assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(code), &b""[..]), "{words}");
            assert!(words.contains(want), "{words}");
        }
    };
    says("the reply of helper could not be delivered: 3 messages between agents", 1);
    runtime.ok(&["agent", "update", "helper", "--provider", "command", "--command", "true"]);
    says("helper has read it and answered nothing", 0);
    runtime.ok(&["agent", "update", "helper", "--command", "echo a reply"]);
    runtime.ok(&["destination", "delete", "--agent", "helper", "boss"]);
    says("is no destination of this agent", 1);
}

/// An agent that says something at once, and more when another agent has told it.
#[test]
fn what_another_agent_leads_to_is_heard() {
    let runtime = Runtime::new("").up();
    let asks = r#"sh -c 'case "$(cat)" in *from=\"helper\"*) echo "<message to=\"terminal\">final</message>";; *) echo "<message to=\"helper\">please</message><message to=\"terminal\">wait</message>";; esac'"#;
    agents::introduce(&runtime, asks);
    let slow = "sh -c 'sleep 1; echo \"<message to=\\\"boss\\\">here</message>\"'";
    runtime.ok(&["agent", "update", "helper", "--provider", "command", "--command", slow]);
    for (text, lines) in [(Some("hello"), ""), (None, "hello\n")] {
        let (output, words) = chat(&runtime, text, lines);
        let shown = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!((output.status.code(), shown.as_str()), (Some(0), "wait\nfinal\n"), "{words}");
    }
}

#[test]
fn a_deleted_agent_is_told_at_once() {
    let runtime = Runtime::new("").up();
    runtime.ok(&["agent", "update", "assistant", "--provider", "command", "--command", "sleep 60"]);
    let mut command = runtime.command(&["chat", "hello", "--timeout", "100"]);
    let waits = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    until("it is asked", || (runtime.json(&["status"])["sessions"]["running"] == 1).then_some(()));
    std::thread::sleep(std::time::Duration::from_millis(500)); // the chat asks what becomes of its message
    runtime.ok(&["agent", "delete", "assistant"]);
    let begin = Instant::now();
    let output = waits.wait_with_output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(begin.elapsed() < PATIENCE && output.status.code() == Some(1), "{words}");
    assert!(words.contains("the agent that heard it was deleted"), "{words}");
}

#[test]
fn two_agents_in_one_chat_are_both_heard() {
    let runtime = Runtime::new("").up();
    runtime.ok(&[
        "agent",
        "create",
        "slow",
        "--provider",
        "command",
        "--command",
        "sh -c 'sleep 1; echo slow'",
    ]);
    runtime.ok(&["wiring", "create", "--agent", "slow", "--channel", "terminal", "--chat", "local"]);
    let (output, words) = chat(&runtime, Some("quick"), "");
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), &b"quick\nslow\n"[..]), "{words}");
}

/// The reply of a program that fails says why: a script must not take it for an answer, and the operator hears of it.
#[test]
fn a_turn_that_failed_is_told_to_all() {
    let runtime = Runtime::new("").up();
    runtime.ok(&["agent", "update", "assistant", "--provider", "command", "--command", "sh -c 'exit 3'"]);
    let (output, words) = chat(&runtime, Some("hello"), "");
    assert_eq!(output.status.code(), Some(1), "{words}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("ended with status 3"), "{output:?}");
    assert!(words.contains("the turn of assistant failed"), "{words}");
    assert!(runtime.ok(&["status"]).contains("failed     1 message in the last 24 hours, the last in sess-"));
    assert!(runtime.log().contains("a turn failed; its reply tells the chat why"), "{}", runtime.log());
}

#[test]
fn a_line_without_a_reply_is_named() {
    let runtime = Runtime::new("").up();
    runtime.ok(&["agent", "update", "assistant", "--provider", "command", "--command", "sleep 60"]);
    let mut command = runtime.command(&["chat", "--timeout", "1"]);
    let mut chat = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    chat.stdin.take().unwrap().write_all(b"\none\ntwo\nthree\n").unwrap();
    let output = chat.wait_with_output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{words}");
    assert!(words.contains("line 2 has no reply, and neither have 2 after it"), "{words}");
}

#[test]
fn a_quarantined_session_is_told_at_once() {
    let runtime = Runtime::new("").up();
    let spoils = "sh -c 'yes | head -c 100000 >\"$TMPDIR/../outbound.db\"; sleep 60'";
    runtime.ok(&["agent", "update", "assistant", "--provider", "command", "--command", spoils]);
    for (text, lines) in [(Some("hello"), ""), (None, "one\ntwo\n")] {
        let (output, words) = chat(&runtime, text, lines);
        assert_eq!(output.status.code(), Some(1), "{words}");
        assert!(words.contains("the session of assistant is in quarantine: outbound.db"), "{words}");
        assert!(words.contains("`vestibule session release"), "{words}");
    }
    // A person is told for each line.
    let (mut screen, given) = words::terminal();
    let mut command = runtime.command(&["chat"]);
    command.stdin(given.try_clone().unwrap()).stdout(Stdio::null()).stderr(given);
    let mut chat = command.spawn().unwrap();
    drop(command); // it holds the terminal
    for _ in 0..2 {
        screen.write_all(b"hello\n").unwrap();
        let mut shown = String::new();
        while !shown.contains("session release") {
            let mut bytes = [0; 1024];
            let count = screen.read(&mut bytes).unwrap();
            shown.push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
    }
    screen.write_all(b"\x04").unwrap();
    assert!(chat.wait().unwrap().success());
}

#[test]
fn a_refused_line_in_a_pipe_is_an_exit_status() {
    let runtime = Runtime::new("").up();
    let wirings = runtime.json(&["wiring", "list"]);
    let id = wirings[0]["id"].as_str().unwrap();
    runtime.ok(&["wiring", "update", id, "--pattern", "^heard"]);
    let (output, words) = chat(&runtime, None, "heard\nunheard\n");
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), &b"heard\n"[..]), "{words}");
    assert!(words.contains("no agent heard it") && words.contains("1 of the lines"), "{words}");
}

#[test]
fn a_line_that_can_be_no_message_is_refused_and_the_rest_goes_on() {
    let runtime = Runtime::new("").up();
    let mut chat = runtime
        .command(&["chat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let long = "x".repeat(3_000_000);
    let input = [b"one\n\xff\xfe\n", long.as_bytes(), b"\ntwo\n"].concat();
    chat.stdin.take().unwrap().write_all(&input).unwrap();
    let output = chat.wait_with_output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), &b"one\ntwo\n"[..]), "{words}");
    for want in
        ["line 2 was not sent: it is no UTF-8", "line 3 was not sent: it has 3000001 bytes", "2 of the lines"]
    {
        assert!(words.contains(want), "{words}");
    }

    // Whatever speaks to the socket: a line that is too long is answered.
    let mut terminal = Terminal::connect(&runtime, false);
    terminal.raw(format!("{{\"text\":\"{}\"}}\n", "x".repeat(7_000_000)).as_bytes());
    assert!(terminal.read()["error"].as_str().unwrap().contains("the line was left out"));
    terminal.say("still there");
    assert_eq!(terminal.reply(), "still there");
}

/// A runtime that has the home and no terminal yet; later it has gone.
#[test]
fn a_chat_waits_for_a_house_that_starts_or_stops() {
    let runtime = Runtime::new("");
    assert_eq!(runtime.chat("hello"), "hello");
    let lock = std::fs::File::options().write(true).open(runtime.home.path().join("lock")).unwrap();
    rustix::fs::fcntl_lock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let mut chat = runtime
        .command(&["chat", "are you there?"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = BufReader::new(chat.stderr.take().unwrap());
    let mut words = String::new();
    told.read_line(&mut words).unwrap();
    assert!(words.contains("it is starting, or stopping"), "{words}");
    drop(lock);
    let output = chat.wait_with_output().unwrap();
    told.read_to_string(&mut words).unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "are you there?\n", "{words}");
}

#[test]
fn a_house_waits_for_a_chat_that_was_faster() {
    let runtime = Runtime::new("");
    let mut chat = runtime.command(&["chat"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    until("it has the home", || runtime.home.path().join("terminal.sock").exists().then_some(()));
    let mut up = runtime.command(&["up"]).stderr(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_secs(2)); // longer than a lock is waited for anyway
    drop(chat.stdin.take());
    assert!(chat.wait().unwrap().success());
    let ready = BufReader::new(up.stderr.take().unwrap()).lines().map_while(Result::ok);
    let ready =
        ready.take_while(|line| !line.contains("INFO ready")).any(|line| line.contains("another vestibule"));
    assert!(!ready && up.try_wait().unwrap().is_none(), "it came up");
    signal("TERM", &up.id().to_string());
    assert!(up.wait().unwrap().success());
}
