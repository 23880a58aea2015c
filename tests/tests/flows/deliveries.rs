//! What becomes of replies that cannot be delivered: their agent and their operator are told, and it is the
//! operator who decides.

use crate::agents::{drop_file, listed};
use crate::support::{PATIENCE, Runtime, Terminal, rows, until};
use rusqlite::Connection;
use std::fs;
use std::path::Path;

/// A runtime whose agent echoes and in which a module refuses to let rude words out.
fn guarded() -> Runtime {
    let runtime = Runtime::new("[plugins.agent-to-agent]\nbuilt_in = false\n").up();
    drop_file(&runtime, "vestibule-guard");
    until("the module is loaded", || listed(&runtime, "guard"));
    runtime
}

fn failed(runtime: &Runtime, count: usize) -> Vec<serde_json::Value> {
    until("they are given up", || {
        let list = runtime.json(&["delivery", "list", "--state", "failed"]);
        list.as_array().filter(|list| list.len() == count).cloned()
    })
}

/// What a session's runner is shown of a delivery.
fn outcome(runtime: &Runtime, id: &str) -> Vec<String> {
    let file = runtime.sessions()[0].join("inbound.db");
    rows(&file, &format!("SELECT status FROM delivered WHERE message_out_id = '{id}'"))
}

#[test]
fn agent_and_operator_are_told_and_the_operator_decides() {
    let runtime = guarded();
    let mut terminal = Terminal::connect(&runtime, true);
    for text in ["out-rude one", "out-rude two"] {
        terminal.say(text);
    }
    let list = failed(&runtime, 2);
    let id = |n: usize| list[n]["id"].as_str().unwrap().to_owned();
    assert_eq!((&list[0]["agent"], &list[0]["channel"]), (&"assistant".into(), &"terminal".into()));
    assert!(list[0]["reason"].as_str().unwrap().contains("the module guard"), "{list:?}");
    assert!(runtime.ok(&["delivery", "list"]).contains(&id(0)));
    assert!(runtime.ok(&["delivery", "show", &id(1)]).ends_with("\nout-rude one\n"));
    let status = runtime.ok(&["status"]);
    assert!(status.contains("2 failed; `vestibule delivery list` shows why"), "{status}");

    // No runner was woken; with the next message the agent reads of both.
    assert_eq!(runtime.query::<i64>("SELECT COUNT(*) FROM deliveries"), [2]);
    let shows = "sed s/out-rude/kind/";
    runtime.ok(&["agent", "update", "assistant", "--provider", "command", "--command", shows]);
    terminal.say("hello");
    let prompt = terminal.reply();
    for text in ["one", "two"] {
        assert!(prompt.contains(&format!("to `terminal`, “kind {text}”, was not delivered")), "{prompt}");
    }

    let outcome = |id: &str| outcome(&runtime, id);
    // The module still refuses it, then it is gone.
    runtime.ok(&["delivery", "replay", &id(1)]);
    assert_eq!(failed(&runtime, 2).len(), 2);
    fs::remove_file(runtime.home.path().join("plugins/vestibule-guard.so")).unwrap();
    until("the module is gone", || listed(&runtime, "guard").is_none().then_some(()));
    assert_eq!(runtime.ok(&["delivery", "drop", &id(0)]), "1 delivery dropped\n");
    assert_eq!(runtime.ok(&["delivery", "replay", "--state", "failed"]), "1 delivery replayed\n");
    assert_eq!(terminal.reply(), "out-rude one");
    until("the session is told", || (outcome(&id(1)) == ["delivered"]).then_some(()));
    assert_eq!(outcome(&id(0)), ["failed"], "a runner knows no other word");
    assert_eq!(runtime.json(&["status"])["deliveries"].to_string(), r#"{"delivered":2,"dropped":1}"#);
    let refused = runtime.run(&["delivery", "replay", &id(1)]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("is delivered: it was delivered"));
}

#[test]
fn what_reaches_no_agent_is_listed_and_counted() {
    let runtime = Runtime::new("").up();
    runtime.ok(&["wiring", "delete", runtime.json(&["wiring", "list"])[0]["id"].as_str().unwrap()]);
    let mut terminal = Terminal::connect(&runtime, false);
    for text in ["one", "two"] {
        terminal.write(&serde_json::json!({ "text": text }));
        terminal.read();
    }
    let list = runtime.json(&["dropped-message", "list"]);
    assert_eq!((&list[0]["channel"], &list[0]["messages"]), (&"terminal".into(), &2.into()), "{list}");
    assert!(runtime.ok(&["status"]).contains("2 messages in 1 chats; `vestibule dropped-message list`"));
    assert!(runtime.ok(&["dropped-message", "list"]).contains("no agent was wired to the chat"));
    assert_eq!(runtime.json(&["status"])["unwired"].as_array().unwrap().len(), 1);

    // Once the chat is wired, nothing is to be done, and what was left out stays on record.
    runtime.ok(&["wiring", "create", "--agent", "assistant", "--channel", "terminal", "--chat", "local"]);
    let status = runtime.json(&["status"]);
    assert_eq!(
        (&status["unwired"], &status["dropped_total"]["messages"]),
        (&serde_json::json!([]), &2.into())
    );
    assert_eq!(runtime.json(&["dropped-message", "list"]), list);
}

/// A name that no destination has: the message is on record, its agent is told, and the others go out.
#[test]
fn a_message_to_an_unknown_destination_is_on_record_and_told() {
    let runtime = Runtime::new("").up();
    let says = r#"sh -c 'printf "<message to=\"nowhere\">lost words</message><message to=\"terminal\">known</message>"'"#;
    runtime.ok(&["agent", "update", "assistant", "--provider", "command", "--command", says]);
    let chat = runtime.run(&["chat", "hello"]);
    assert_eq!((chat.status.code(), chat.stdout.as_slice()), (Some(1), &b"known\n"[..]), "{chat:?}");
    assert!(String::from_utf8_lossy(&chat.stderr).contains("no destination `nowhere`"), "{chat:?}");
    let list = failed(&runtime, 1);
    let reason = list[0]["reason"].as_str().unwrap();
    assert!(reason.contains("no destination `nowhere`") && reason.contains("destination create"), "{reason}");
    assert!(runtime.ok(&["delivery", "show", list[0]["id"].as_str().unwrap()]).ends_with("\nlost words\n"));
    let told: Vec<String> = runtime.query("SELECT content ->> 'text' FROM messages_in WHERE NOT \"trigger\"");
    assert!(told[0].contains("“lost words”") && told[0].contains("no destination `nowhere`"), "{told:?}");
    // The agent that echoes answers what it is asked, and nothing to what it is told of.
    runtime.ok(&["agent", "update", "assistant", "--provider", "echo"]);
    for text in ["one", "two"] {
        assert_eq!(runtime.chat(text), text);
    }
    assert_eq!(failed(&runtime, 1).len(), 1);
}

fn open(file: &Path) -> Connection {
    let db = Connection::open_with_flags(file, rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE).unwrap();
    db.busy_timeout(PATIENCE).unwrap();
    db
}

/// Writes into the agent's own file what a tool in its sandbox would.
fn write(runtime: &Runtime, chat: &str, content: &str) {
    write_for(runtime, chat, content, None);
}

/// The same, with a time before which it does not go out.
fn write_for(runtime: &Runtime, chat: &str, content: &str, deliver_after: Option<&str>) {
    let row = "INSERT INTO messages_out (id, seq, timestamp, kind, channel_type, platform_id, content, deliver_after) \
        SELECT 'tool-' || (MAX(seq) + 2), MAX(seq) + 2, '', 'chat-sdk', 'terminal', ?1, ?2, ?3 FROM messages_out";
    let file = open(&runtime.sessions()[0].join("out/outbound.db"));
    file.execute(row, rusqlite::params![chat, content, deliver_after]).unwrap();
}

// cells without: out card
#[test]
fn row_c10_a_card_goes_out_in_words_and_the_agent_reads_of_what_cannot() {
    let runtime = Runtime::new("").up();
    let mut terminal = Terminal::connect(&runtime, true);
    terminal.say("hello");
    assert_eq!(terminal.reply(), "hello");
    write(&runtime, "local", r#"{"type":"card","card":{"title":"Build"},"fallbackText":"Build is green"}"#);
    assert_eq!(terminal.reply(), "Build is green");
    write(&runtime, "local", r#"{"operation":"edit","messageId":"1","text":"bye"}"#);
    write(&runtime, "local", r#"{"operation":"reaction","messageId":"1","emoji":"heart"}"#);
    write(&runtime, "elsewhere", r#"{"text":"the report","files":["report.pdf"]}"#);
    failed(&runtime, 3);
    runtime.ok(&["agent", "update", "assistant", "--provider", "command", "--command", "cat"]);
    terminal.say("and now?");
    let told = terminal.reply();
    for why in [
        "to `terminal`, \u{201c}bye\u{201d}, was not delivered: this session sent no message `1` in this chat.",
        "to `terminal`, \u{201c}heart\u{201d}, was not delivered: this session got or sent no message `1` in this chat.",
        "to terminal:elsewhere, \u{201c}the report\u{201d}, was not delivered: the chat terminal:elsewhere is not known.",
    ] {
        assert!(told.contains(why), "{told}");
    }
}

/// What SQLite makes of an expression about a time in milliseconds.
fn time<T: rusqlite::types::FromSql>(expression: &str, ms: i64) -> T {
    let db = Connection::open_in_memory().unwrap();
    db.query_row(&format!("SELECT {expression} FROM (SELECT ?1 AS ms)"), [ms], |r| r.get(0)).unwrap()
}

fn now_ms() -> i64 {
    time("CAST(unixepoch('subsec') * 1000 AS INTEGER)", 0)
}

fn iso(ms: i64) -> String {
    time("strftime('%Y-%m-%dT%H:%M:%fZ', ms / 1000.0, 'unixepoch')", ms)
}

/// A runtime whose agent was spoken to.
fn spoken_to() -> (Runtime, Terminal) {
    let runtime = Runtime::new("").up();
    let mut terminal = Terminal::connect(&runtime, true);
    terminal.say("hello");
    assert_eq!(terminal.reply(), "hello");
    (runtime, terminal)
}

#[test]
fn a_reply_for_later_holds_nobody_up_and_goes_out_at_its_time() {
    let (mut runtime, mut terminal) = spoken_to();
    write_for(&runtime, "local", r#"{"text":"next year"}"#, Some("2999-01-01 00:00:00"));
    write(&runtime, "local", r#"{"text":"now"}"#);
    assert_eq!(terminal.reply(), "now");
    // What the terminal shows is on record a moment later.
    let list = until("what went out is on record", || {
        let list = runtime.json(&["delivery", "list"]);
        (list.as_array().unwrap().len() == 1).then_some(list)
    });
    assert_eq!(list[0]["state"], "deferred", "{list}");
    assert_eq!(list[0]["next_attempt_at"], "2999-01-01T00:00:00.000Z");
    let soon = now_ms() + 1_500;
    write_for(&runtime, "local", r#"{"text":"soon"}"#, Some(&iso(soon)));
    assert_eq!(terminal.reply(), "soon");
    assert!(now_ms() >= soon, "not before its time");

    // Dropped, it is settled for its runner; replayed, it is not any more, and is for its time again.
    let id = list[0]["id"].as_str().unwrap();
    for (verb, state, told) in [("drop", "dropped", &["failed"][..]), ("replay", "deferred", &[])] {
        runtime.ok(&["delivery", verb, id]);
        assert_eq!(runtime.json(&["delivery", "show", id])["state"], state);
        until("its runner is told", || (outcome(&runtime, id) == told).then_some(()));
    }

    // Across a restart, too.
    runtime.stop();
    open(&runtime.home.path().join("vestibule.db"))
        .execute("UPDATE deliveries SET due_at = ?1 WHERE state = 'deferred'", [now_ms()])
        .unwrap();
    runtime.start();
    assert_eq!(Terminal::connect(&runtime, true).reply(), "next year");
}

/// Puts a reply into the record as if it had failed and were to be tried again in an hour, and the clock as if it had
/// been an hour ahead when that was decided.
fn an_hour_ahead(runtime: &Runtime) {
    let hour = 3_600_000;
    open(&runtime.home.path().join("vestibule.db"))
        .execute_batch(&format!(
            "BEGIN IMMEDIATE; UPDATE deliveries SET state = 'pending', next_attempt_at = {} WHERE state = 'deferred'; \
             UPDATE meta SET value = substr(value, 1, instr(value, ' ')) || (substr(value, instr(value, ' ')) + {hour}) \
             WHERE key = 'clock'; COMMIT",
            now_ms() + hour
        ))
        .unwrap();
}

#[test]
fn a_clock_that_is_set_back_holds_nothing_up() {
    for stopped in [false, true] {
        let (mut runtime, mut terminal) = spoken_to();
        write_for(&runtime, "local", r#"{"text":"late"}"#, Some("2999-01-01 00:00:00"));
        until("it is on record", || {
            (runtime.query::<i64>("SELECT COUNT(*) FROM deliveries") == [2]).then_some(())
        });
        if stopped {
            runtime.stop();
            an_hour_ahead(&runtime);
            runtime.start();
            terminal = Terminal::connect(&runtime, true);
        } else {
            an_hour_ahead(&runtime);
        }
        assert_eq!(terminal.reply(), "late", "{stopped}");
        assert!(stopped || runtime.log().contains("the clock was set"), "{}", runtime.log());
    }
}
