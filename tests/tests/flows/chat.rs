//! What `chat` prints, sends and waits for, beside the first minute of it.

use crate::support::{PATIENCE, Runtime, Terminal, until};
use rusqlite::{Connection, OpenFlags, params};
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Stdio};

/// The longest text that a channel may hand over, in bytes.
const TEXT_BYTES_MAX: usize = 1024 * 1024;

fn start(runtime: &Runtime, args: &[&str]) -> Child {
    let mut chat = runtime.command(&["chat", "--timeout", "100"]);
    chat.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// The late answer to another client's message is for a person, who sees what it is.
#[test]
fn a_pipe_gets_the_answers_to_its_own_lines_only() {
    let runtime = Runtime::new("").up();
    let slow = "sh -c 'sleep 0.5; echo answer'";
    runtime.ok(&["agent", "update", "assistant", "--provider", "command", "--command", slow]);
    let mut chat = start(&runtime, &[]);
    let mut input = chat.stdin.take().unwrap();
    let mut output = BufReader::new(chat.stdout.take().unwrap());
    let mut line = String::new();
    input.write_all(b"one\n").unwrap();
    output.read_line(&mut line).unwrap();

    let mut other = Terminal::connect(&runtime, false);
    other.say("two");
    drop(other);
    let settled = "SELECT COUNT(*) FROM deliveries WHERE settled_at IS NOT NULL";
    until("its answer has gone somewhere", || (runtime.query::<i64>(settled) == [2]).then_some(()));
    input.write_all(b"\n \nthree\n").unwrap();
    drop(input);
    output.read_to_string(&mut line).unwrap();
    assert_eq!(line, "answer\nanswer\n");
    assert!(chat.wait().unwrap().success());
    let lines: Vec<i64> = runtime.query("SELECT COUNT(*) FROM messages_in WHERE \"trigger\"");
    assert_eq!(lines, [3], "an empty line of a pipe is no message");
}

/// A variable of a script may be empty.
#[test]
fn an_empty_message_is_wrong_usage_and_is_not_sent() {
    let runtime = Runtime::new("").up();
    for text in [&[""][..], &[" \t\n"], &["", " "], &["", "--save", "/tmp"]] {
        let output = runtime.run(&[&["chat"], text].concat());
        let words = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{text:?}: {words}");
        assert!(words.contains("the message is empty") && output.stdout.is_empty(), "{text:?}: {words}");
    }
    // Nor does the channel take one of another client.
    let mut terminal = Terminal::connect(&runtime, false);
    terminal.write(&serde_json::json!({ "text": " " }));
    assert_eq!(terminal.read()["error"], "the message is empty");
    assert_eq!(runtime.query::<i64>("SELECT COUNT(*) FROM messages_in"), [0]);
    let file = runtime.home.path().join("note.txt");
    std::fs::write(&file, "bytes").unwrap();
    let answer = runtime.ok(&["chat", "", "--file", file.to_str().unwrap()]);
    assert!(answer.contains("note.txt"), "a file is a message: {answer}");
}

/// What a tool in the agent's sandbox would write while its agent answers nothing.
#[test]
fn a_reply_that_is_due_later_is_told_with_its_time() {
    let runtime = Runtime::new("").up();
    runtime.chat("hello");
    let slow = "sh -c 'sleep 2'";
    runtime.ok(&["agent", "update", "assistant", "--provider", "command", "--command", slow]);
    let mut chat = start(&runtime, &["remind me"]);
    let asked = "SELECT thread_id FROM messages_in WHERE content ->> 'text' = 'remind me'";
    let thread = until("it is asked", || runtime.query::<String>(asked).pop());
    let file = runtime.sessions()[0].join("out/outbound.db");
    let file = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_WRITE).unwrap();
    file.busy_timeout(PATIENCE).unwrap();
    let later = "INSERT INTO messages_out (id, seq, timestamp, kind, channel_type, platform_id, thread_id, content, \
        deliver_after) SELECT 'later', MAX(seq) + 2, '', 'chat', 'terminal', 'local', ?1, '{\"text\":\"now\"}', \
        '2099-01-01T00:00:00Z' FROM messages_out";
    assert_eq!(file.execute(later, params![thread]).unwrap(), 1);
    let begin = std::time::Instant::now();
    until("it ends", || chat.try_wait().unwrap());
    assert!(begin.elapsed() < PATIENCE);
    let output = chat.wait_with_output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), &b""[..]), "{words}");
    assert!(words.starts_with("the reply of assistant goes here at 2099-01-01T00:00:00.000Z; "), "{words}");
}

/// The longest message that is taken, of characters that take one byte, two, and two once they are written as JSON.
#[test]
fn the_longest_message_can_be_echoed() {
    let runtime = Runtime::new("").up();
    let text = "x\u{e4}\"".repeat(TEXT_BYTES_MAX / 4);
    let mut chat = start(&runtime, &[]);
    let mut input = chat.stdin.take().unwrap();
    let line = format!("{text}\n");
    let typist = std::thread::spawn(move || input.write_all(line.as_bytes()));
    let output = chat.wait_with_output().unwrap();
    typist.join().unwrap().unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(0), TEXT_BYTES_MAX + 1), "{words}");
    assert!(output.stdout.starts_with(text.as_bytes()));
}
