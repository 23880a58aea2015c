//! Messages that are changed after they were written, from both sides; and work that is shown.

use crate::support::{Runtime, plugin_file, until};
use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// The platform of the channels `rich` and `plain`: it has one connection for events, and notes all that is said to it.
pub struct Platform {
    events: TcpStream,
    /// Which start of the channel it is of, where the channel counts them.
    start: u64,
    connections: Receiver<(TcpStream, u64)>,
    said: Receiver<Value>,
    /// What was said while the test waited for something else.
    early: Vec<Value>,
    count: u32,
}

impl Platform {
    pub fn accept(listener: TcpListener) -> Platform {
        let (tell, said) = channel();
        let (ready, connections) = channel();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut lines = BufReader::new(stream.try_clone().unwrap());
                let mut line = String::new();
                if lines.read_line(&mut line).unwrap_or(0) == 0 {
                    continue;
                }
                let first: Value = serde_json::from_str(&line).unwrap();
                if first["events"] == true {
                    let start = first["start"].as_u64().unwrap_or_default();
                    let _ = ready.send((stream.try_clone().unwrap(), start));
                    let tell = tell.clone();
                    std::thread::spawn(move || {
                        lines.lines().map_while(Result::ok).for_each(|line| {
                            let _ = tell.send(serde_json::from_str(&line).unwrap());
                        })
                    });
                } else {
                    let _ = (&stream).write_all(b"ok\n");
                    let _ = tell.send(first);
                }
            }
        });
        let (events, start) =
            connections.recv_timeout(Duration::from_secs(20)).expect("the channel connects");
        Platform { events, start, connections, said, early: vec![], count: 0 }
    }

    /// The channel was started again: from now on its new connection is meant.
    pub fn reconnects(&mut self) {
        let next = self.connections.recv_timeout(Duration::from_secs(20));
        (self.events, self.start) = next.expect("the channel connects");
    }

    /// From now on the connection of this start of the channel is meant. One before may have ended before it had one.
    pub fn is_at_start(&mut self, start: u64) {
        while self.start != start {
            self.reconnects();
        }
    }

    /// The next thing that was said with this key.
    pub fn said(&mut self, key: &str) -> Value {
        if let Some(at) = self.early.iter().position(|one| !one[key].is_null()) {
            return self.early.remove(at);
        }
        loop {
            let one = self.said.recv_timeout(Duration::from_secs(20)).unwrap_or_else(|_| panic!("no {key}"));
            if !one[key].is_null() {
                return one;
            }
            self.early.push(one);
        }
    }

    /// How often something with this key was said that the test has not asked for.
    pub fn seen(&mut self, key: &str) -> usize {
        self.early.extend(self.said.try_iter());
        self.early.iter().filter(|one| !one[key].is_null()).count()
    }

    /// Sends an event and waits until it is on record.
    pub fn happens(&mut self, event: Value) -> String {
        let id = self.sends(event);
        assert_eq!(self.said("taken")["taken"], id);
        id
    }

    /// Sends an event.
    pub fn sends(&mut self, mut event: Value) -> String {
        self.count += 1;
        let id = format!("e{}", self.count);
        event["id"] = id.as_str().into();
        if event["chat"].is_null() {
            event["chat"] = "room".into();
        }
        self.events.write_all(format!("{event}\n").as_bytes()).unwrap();
        id
    }

    pub fn writes(&mut self, text: &str) -> String {
        self.happens(json!({ "text": text }))
    }

    fn changes(&mut self, of: &str, change: Value) {
        self.happens(json!({ "of": of, "change": change }));
    }

    /// The text that is posted next.
    pub fn posted(&mut self) -> String {
        self.said("post")["text"].as_str().expect("a text").to_owned()
    }
}

/// A runtime in which an agent that repeats its prompt is wired to the chat `room` of a channel.
fn wired(kind: &str) -> (Runtime, Platform) {
    wired_with(kind, "")
}

/// The same, with more in its config.
pub fn wired_with(kind: &str, more: &str) -> (Runtime, Platform) {
    wired_file(kind, &plugin_file(&format!("vestibule-{kind}-channel")), more)
}

/// The same for the channel in a file.
pub fn wired_file(kind: &str, file: &Path, more: &str) -> (Runtime, Platform) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let secret = if kind == "plain" { "signing_key = { env = \"NOT_SET\" }\n" } else { "" };
    let config =
        format!("[channels.{kind}.main]\nplatform = \"{at}\"\n{}{more}", secret.replace("NOT_SET", "PATH"));
    let runtime = Runtime::new(&config).up();
    std::fs::copy(file, runtime.home.path().join(format!("plugins/{kind}.so"))).unwrap();
    runtime.ok(&["agent", "update", "assistant", "--provider", "command", "--command", "cat"]);
    let wiring = ["wiring", "create", "--agent", "assistant", "--channel", kind, "--chat", "room"];
    runtime.ok(&[&wiring[..], &["--name", "room", "--pattern", "^[^-]"]].concat());
    (runtime, Platform::accept(listener))
}

/// The platform's id of the agent's first reply.
fn sent(runtime: &Runtime) -> String {
    let sql = "SELECT platform_message_id FROM deliveries WHERE platform_message_id IS NOT NULL";
    until("it is on record", || runtime.query::<String>(sql).pop())
}

/// Writes a row into the agent's file, as its tools can.
pub fn agent_writes(runtime: &Runtime, kind: &str, number: i64, content: &Value) {
    agent_writes_to(runtime, (kind, "room"), number, content);
}

/// The same for a chat of this channel.
pub fn agent_writes_to(runtime: &Runtime, (kind, chat): (&str, &str), number: i64, content: &Value) {
    let session =
        "SELECT s.agent_group_id || '/' || s.id FROM sessions s JOIN messages_in m ON m.session_id = s.id";
    let session = runtime.home.path().join("sessions").join(&runtime.query::<String>(session)[0]);
    let db = Connection::open_with_flags(session.join("out/outbound.db"), OpenFlags::SQLITE_OPEN_READ_WRITE)
        .unwrap();
    db.busy_timeout(crate::support::PATIENCE).unwrap();
    let sql = "INSERT INTO messages_out (id, seq, timestamp, kind, platform_id, channel_type, content) \
               VALUES (?1, ?2, '', 'chat', ?5, ?3, ?4)";
    let id = format!("tool-{number}");
    assert_eq!(
        db.execute(sql, rusqlite::params![id, 1001 + 2 * number, kind, content.to_string(), chat]).unwrap(),
        1
    );
}

#[test]
fn people_change_messages_and_agents_learn_of_it() {
    let (runtime, mut platform) = wired("rich");
    let first = platform.writes("lunch at 12?");
    assert!(platform.posted().contains("lunch at 12?"));
    let reply = sent(&runtime);
    platform.changes(&first, json!({ "change": "edited", "text": "lunch at 1?" }));
    platform.changes(&reply, json!({ "change": "reacted", "emoji": "👍" }));
    platform.changes(&reply, json!({ "change": "unreacted", "emoji": "👍" }));
    platform.changes(&first, json!({ "change": "deleted" }));
    platform.changes("never-seen", json!({ "change": "deleted" }));
    platform.writes("and now?");
    let prompt = platform.posted();
    let of_reply = runtime.query::<i64>("SELECT MIN(seq) FROM deliveries").remove(0);
    for words in [
        "[edited message 2] lunch at 1?".to_owned(),
        format!("[reacted with 👍 to your message {of_reply}]"),
        format!("[took the reaction 👍 back from your message {of_reply}]"),
        "[deleted message 2]".to_owned(),
        "and now?".to_owned(),
    ] {
        assert!(prompt.contains(&words), "{words} in {prompt}");
    }
    assert_eq!(prompt.matches("[took the reaction").count(), 1, "it is told once: {prompt}");
    let dropped = runtime.query::<String>("SELECT reason || ' ' || message_count FROM drops");
    assert_eq!(dropped, ["change_of_unheard_message 1"]);
    // No turn begins for a change, unless the wiring wants that.
    assert_eq!(runtime.query::<i64>("SELECT COUNT(*) FROM deliveries")[0], 2);
    let wiring = runtime.query::<String>(
        "SELECT w.id FROM wirings w JOIN messaging_groups g ON g.id = \
                                          w.messaging_group_id WHERE g.channel_type = 'rich'",
    );
    runtime.ok(&["wiring", "update", &wiring[0], "--changes", "wake"]);
    platform.changes(&reply, json!({ "change": "reacted", "emoji": "🎉" }));
    assert!(platform.posted().contains("[reacted with 🎉 to your message"));
    runtime.ok(&["wiring", "update", &wiring[0], "--changes", "drop"]);
    platform.changes(&reply, json!({ "change": "reacted", "emoji": "🐛" }));
    platform.writes("anything else?");
    let prompt = platform.posted();
    assert!(prompt.contains("anything else?") && !prompt.contains("🐛"), "{prompt}");
}

#[test]
fn an_edit_that_addresses_the_agent_is_heard() {
    let (_runtime, mut platform) = wired("rich");
    let unheard = platform.writes("- a note to myself");
    platform.changes(&unheard, json!({ "change": "edited", "text": "help me" }));
    assert!(platform.posted().contains(">help me<"), "as a message of its own");
}

#[test]
fn row_o07_agents_change_what_they_sent_and_nothing_else() {
    let (runtime, mut platform) = wired("rich");
    let heard = platform.writes("hello");
    assert!(platform.posted().contains("hello"));
    let reply = sent(&runtime);
    let card = json!({ "type": "card", "card": { "title": "Build", "actions": [{ "label": "Open", "url": "https://a.example" }] } });
    let shown = json!({ "kind": "card", "title": "Build", "fallback": "Build\nOpen: https://a.example",
                        "links": [{ "label": "Open", "url": "https://a.example" }] });
    for (number, content, want) in [
        (
            0,
            json!({ "operation": "edit", "messageId": reply, "text": "hello, all" }),
            json!({ "kind": "edit", "message_id": reply, "text": "hello, all" }),
        ),
        (
            1,
            json!({ "operation": "reaction", "messageId": heard, "emoji": "eyes" }),
            json!({ "kind": "reaction", "message_id": heard, "emoji": "eyes" }),
        ),
        (
            2,
            json!({ "operation": "reaction", "messageId": reply, "emoji": "👍" }),
            json!({ "kind": "reaction", "message_id": reply, "emoji": "👍" }),
        ),
        (3, card, shown),
        (
            4,
            json!({ "operation": "delete", "messageId": reply }),
            json!({ "kind": "delete", "message_id": reply }),
        ),
    ] {
        agent_writes(&runtime, "rich", number, &content);
        assert_eq!(platform.said("post")["content"], want);
    }
    // What people wrote, and what others sent, is not the agent's.
    for (number, operation, id) in [
        (5, "edit", heard.as_str()),
        (6, "delete", &heard),
        (7, "edit", "another"),
        (8, "reaction", "another"),
    ] {
        let content = json!({ "operation": operation, "messageId": id, "text": "mine", "emoji": "x" });
        agent_writes(&runtime, "rich", number, &content);
        let sql = format!(
            "SELECT last_error FROM deliveries WHERE message_out_id = 'tool-{number}' AND state = 'failed'"
        );
        let why = until("it is refused", || runtime.query::<String>(&sql).pop());
        let verb = if operation == "reaction" { "got or sent" } else { "sent" };
        assert_eq!(why, format!("this session {verb} no message `{id}` in this chat"));
    }
}

// cells without: out edit, out deletion, out reaction
#[test]
fn row_o07_a_channel_that_cannot_change_messages_gets_what_comes_nearest() {
    let (runtime, mut platform) = wired("plain");
    let heard = platform.writes("hello");
    platform.posted();
    let reply = sent(&runtime);
    agent_writes(
        &runtime,
        "plain",
        0,
        &json!({ "operation": "edit", "messageId": reply, "text": "hello, all" }),
    );
    assert_eq!(platform.posted(), "hello, all");
    agent_writes(
        &runtime,
        "plain",
        1,
        &json!({ "operation": "reaction", "messageId": heard, "emoji": "👍" }),
    );
    let post = platform.said("post");
    assert_eq!((post["text"].as_str(), post["in_reply_to"].as_str()), (Some("👍"), Some(heard.as_str())));
    agent_writes(&runtime, "plain", 2, &json!({ "operation": "delete", "messageId": reply }));
    let sql = "SELECT last_error FROM deliveries WHERE message_out_id = 'tool-2' AND state = 'failed'";
    let why = until("it is refused", || runtime.query::<String>(sql).pop());
    assert_eq!(why, "this channel takes no message back; write a new one instead");
    platform.writes("go on");
    let prompt = platform.posted();
    assert!(prompt.contains("takes no message back"), "the agent is told: {prompt}");
}

#[test]
fn row_o10_work_is_shown_until_the_answer_comes() {
    let (runtime, mut platform) = wired("rich");
    let slow =
        ["agent", "update", "assistant", "--provider", "command", "--command", "sh -c 'sleep 6; echo done'"];
    runtime.ok(&slow);
    let heard = platform.writes("hello");
    let address = json!({ "channel_type": "rich", "account": "main", "platform_id": "room" });
    for _ in 0..2 {
        assert_eq!(platform.said("working")["working"], json!({ "address": address, "message_id": heard }));
    }
    assert_eq!(platform.posted(), "done");
    while platform.said.recv_timeout(Duration::from_millis(50)).is_ok() {}
    assert!(platform.said.recv_timeout(Duration::from_secs(5)).is_err(), "it ends with the answer");
}

/// What an agent answers that posts these lines, one after the other.
fn paced(runtime: &Runtime, lines: usize) {
    let lines: String = (1..=lines).map(|line| format!("line {line}\\n")).collect();
    let command = format!("printf 'paced\\n{lines}'");
    runtime.ok(&["agent", "update", "assistant", "--provider", "command", "--command", &command]);
}

#[test]
fn a_paced_reply_has_the_time_that_its_parts_need() {
    let (runtime, mut platform) = wired_with("rich", "[plugins.rich]\ndeadline_seconds = 1\n");
    paced(&runtime, 5);
    platform.writes("go");
    for line in 1..=5 {
        assert_eq!(platform.posted(), format!("line {line}"));
    }
    let state =
        "SELECT state || ' ' || attempts || ' ' || sent_parts || ' ' || possible_duplicate FROM deliveries";
    until("it is on record", || runtime.query::<String>(state).pop().filter(|row| row == "delivered 1 5 0"));
    let ids = "SELECT COUNT(*) FROM further_messages";
    assert_eq!(runtime.query::<i64>(ids), [4]);
}

#[test]
fn what_was_sent_before_a_crash_is_not_sent_again() {
    let (mut runtime, mut platform) = wired("rich");
    paced(&runtime, 6);
    platform.writes("go");
    let mut posted = vec![platform.posted(), platform.posted(), platform.posted()];
    until("a part is on record", || {
        runtime.query::<i64>("SELECT sent_parts FROM deliveries").pop().filter(|parts| *parts >= 2)
    });
    runtime.kill();
    let kept = usize::try_from(runtime.query::<i64>("SELECT sent_parts FROM deliveries")[0]).unwrap();
    let mut runtime = runtime.up();
    while posted.last().is_none_or(|last| last != "line 6") {
        posted.push(platform.posted());
    }
    let again = posted.iter().skip(kept).filter(|line| posted[..kept].contains(line)).count();
    assert_eq!(again, 0, "{kept} parts were on record: {posted:?}");
    until("it is on record", || {
        runtime.query::<String>("SELECT state FROM deliveries").pop().filter(|state| state == "delivered")
    });
    runtime.kill();
}

#[test]
fn what_a_platform_says_later_is_on_record_and_a_failure_is_told() {
    let (runtime, mut platform) = wired("rich");
    platform.writes("hello");
    platform.posted();
    let reply = sent(&runtime);
    let shown = |key: &str| {
        let shown = runtime.json(&["delivery", "show", &reply]);
        shown[key].as_str().unwrap_or_default().to_owned()
    };
    until("it is delivered", || (shown("state") == "delivered").then_some(()));
    platform.happens(json!({ "late": { "message_id": reply, "platform_id": "room", "fate": "read" } }));
    assert_eq!((shown("state"), shown("fate")), ("delivered".to_owned(), "read".to_owned()));
    platform.writes("again");
    platform.posted();
    let second = until("it is on record", || {
        let sql = "SELECT message_out_id FROM deliveries WHERE state = 'delivered' AND fate IS NULL";
        runtime.query::<String>(sql).pop()
    });
    let late = json!({ "message_id": second, "fate": "failed", "reason": "the window of 24 hours is over" });
    platform.happens(json!({ "late": late }));
    platform.happens(json!({ "late": late }));
    platform.writes("what happened?");
    let prompt = platform.posted();
    assert!(prompt.contains("was not delivered: the window of 24 hours is over"), "{prompt}");
    assert_eq!(prompt.matches("24 hours").count(), 1, "it is told once: {prompt}");
    let failed = runtime.ok(&["delivery", "list"]);
    assert!(failed.contains("failed"), "{failed}");
}

#[test]
fn what_a_message_says_beside_its_text_reaches_the_agent() {
    let (runtime, mut platform) = wired("rich");
    let more = json!({ "subject": "Plans", "command": { "name": "ask", "arguments": "what now?" },
        "also_event_ids": ["part-2"], "metadata": { "list": "dev" },
        "sender": { "handle": "somebody", "is_bot": false, "standing": "owner" } });
    platform.happens(json!({ "text": "/ask@bot what now?", "more": more }));
    let prompt = platform.posted();
    assert!(prompt.contains("Subject: Plans\n\n/ask what now?"), "{prompt}");
    let content: Value =
        serde_json::from_str(&runtime.query::<String>("SELECT content FROM messages_in")[0]).unwrap();
    assert_eq!((&content["metadata"]["list"], &content["senderStanding"]), (&json!("dev"), &json!("owner")));
    assert_eq!(runtime.query::<String>("SELECT event_id FROM event_ids ORDER BY 1"), ["e1", "part-2"]);
    let mut more = more;
    more["event_id"] = "part-2".into();
    platform.happens(json!({ "text": "again", "more": more }));
    assert_eq!(
        runtime.query::<i64>("SELECT COUNT(*) FROM messages_in"),
        [1],
        "its event was taken with the first"
    );
    agent_writes(
        &runtime,
        "rich",
        1,
        &json!({ "text": "Done.", "subject": "Re: Plans", "metadata": { "template": "t" } }),
    );
    let post = loop {
        let post = platform.said("post");
        if post["text"].as_str().is_some_and(|text| text.contains("Done.")) {
            break post;
        }
    };
    assert_eq!(post["text"], "**Re: Plans**\n\nDone.", "it has no line for a subject");
    assert_eq!(post["metadata"]["template"], "t");
}

#[test]
fn a_chat_that_moves_takes_all_along() {
    let (runtime, mut platform) = wired("rich");
    platform.writes("hello");
    platform.posted();
    sent(&runtime);
    platform.happens(json!({ "happened": { "change": "moved", "to": "hall" } }));
    // The agent answers the message that it had from the chat's old id.
    agent_writes(&runtime, "rich", 1, &json!({ "text": "late words" }));
    let post = loop {
        let post = platform.said("post");
        if post["text"] == "late words" {
            break post;
        }
    };
    assert_eq!(post["chat"], "hall");
    platform.happens(json!({ "chat": "hall", "text": "still there?" }));
    let post = platform.said("post");
    assert!(post["text"].as_str().unwrap().contains("still there?") && post["chat"] == "hall", "{post}");
    assert_eq!(runtime.query::<i64>("SELECT COUNT(*) FROM sessions"), [1], "the session goes on");
}

#[test]
fn joining_and_leaving_is_shown() {
    let (runtime, mut platform) = wired("rich");
    platform.happens(json!({ "chat": "club", "happened": { "change": "joined", "name": "The club" } }));
    let status = runtime.ok(&["status"]);
    let wire = "vestibule wiring create --agent assistant --channel rich --chat club";
    assert!(status.contains(wire), "{status}");
    platform.happens(json!({ "happened": { "change": "left" } }));
    let left = |runtime: &Runtime| {
        let groups = runtime.json(&["messaging-group", "list"]);
        groups.as_array().unwrap().iter().any(|group| !group["left_at"].is_null())
    };
    assert!(left(&runtime));
    platform.happens(json!({ "happened": { "change": "joined" } }));
    assert!(!left(&runtime));
}

/// The chat has another id when the attempt under way fails: the next one goes there, and at once.
#[test]
fn a_reply_whose_chat_moves_while_it_is_sent_goes_on_there() {
    let (runtime, mut platform) = wired("rich");
    platform.writes("hello");
    platform.posted();
    let heard = runtime.plugin_hosts();
    agent_writes(&runtime, "rich", 1, &json!({ "text": "paced\none\ntwo\nthree" }));
    assert_eq!(platform.posted(), "one");
    platform.happens(json!({ "happened": { "change": "moved", "to": "room-2" } }));
    heard.iter().for_each(|pid| crate::support::signal("KILL", pid));
    platform.reconnects();
    let mut rest = vec![platform.posted()];
    while rest.last().is_some_and(|last| last != "three") {
        rest.push(platform.posted());
    }
    let state = "SELECT state || ' ' || platform_id FROM deliveries WHERE message_out_id = 'tool-1'";
    until("it is delivered", || {
        runtime.query::<String>(state).pop().filter(|state| state == "delivered room-2")
    });
    assert!(rest.ends_with(&["three".to_owned()]) && rest.len() <= 3, "{rest:?}");
}
