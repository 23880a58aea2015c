//! A session whose `out/` cannot be read any more goes on with a new one, when its operator says so.

use crate::support::{Runtime, Terminal, asker, until};
use rusqlite::Connection;
use std::path::Path;

fn state(runtime: &Runtime) -> String {
    runtime.json(&["session", "list"])[0]["state"].as_str().unwrap().to_owned()
}

/// A stopped runtime whose session has three replies, and an `out/` that was made unreadable; started again, and a message
/// for it is waiting.
fn quarantined(damage: impl Fn(&Path)) -> (Runtime, String) {
    let mut runtime = Runtime::new("").up();
    for text in ["one", "two", "three"] {
        assert_eq!(runtime.chat(text), text);
    }
    runtime.stop();
    damage(&runtime.sessions()[0].join("out/outbound.db"));
    runtime.start();
    Terminal::connect(&runtime, false).say("four");
    until("it is quarantined", || (state(&runtime) == "quarantined").then_some(()));
    let id = runtime.json(&["session", "list"])[0]["id"].as_str().unwrap().to_owned();
    (runtime, id)
}

/// The terminal that asked has gone: what counts is that there is a reply.
fn is_answered(runtime: &Runtime, text: &str) {
    let sql = format!("SELECT COUNT(*) FROM deliveries WHERE json_extract(content, '$.text') = '{text}'");
    until("it is answered", || (runtime.query::<i64>(&sql) == [1]).then_some(()));
}

#[allow(clippy::disallowed_methods, reason = "the test damages it")]
fn ends_the_numbers(outbound: &Path) {
    let sql = "INSERT INTO messages_out (id, seq, timestamp, kind, content) \
               VALUES ('last', 9223372036854775807, '', 'chat', '{\"text\":\"last\"}')";
    Connection::open(outbound).unwrap().execute_batch(sql).unwrap();
}

#[test]
fn a_session_without_its_file_goes_on_with_a_new_one() {
    let removed = |file: &Path| std::fs::remove_file(file).unwrap();
    let without_out = |file: &Path| std::fs::remove_dir_all(file.parent().unwrap()).unwrap();
    let linked = |file: &Path| {
        without_out(file);
        std::os::unix::fs::symlink("/tmp", file.parent().unwrap()).unwrap();
    };
    for (damage, aside) in
        [(&removed as &dyn Fn(&Path), 1), (&ends_the_numbers, 1), (&without_out, 0), (&linked, 1)]
    {
        let (runtime, id) = quarantined(damage);
        runtime.ok(&["session", "release", &id]);
        until("released as it is, it is quarantined again", || {
            (state(&runtime) == "quarantined").then_some(())
        });
        runtime.ok(&["session", "release", &id, "--new-out"]);
        is_answered(&runtime, "four");
        assert_eq!(runtime.chat("five"), "five");
        let session = runtime.sessions().remove(0);
        let names = std::fs::read_dir(&session).unwrap().map(|entry| entry.unwrap().file_name());
        assert_eq!(names.filter(|name| name.to_string_lossy().starts_with("out.aside")).count(), aside);
        // One that can be read is kept, whatever is asked for.
        let refused = runtime.run(&["session", "release", &id, "--new-out"]);
        assert!(String::from_utf8_lossy(&refused.stderr).contains("it is not in quarantine"));
    }
}

#[test]
fn a_message_that_spoils_its_session_each_time_is_given_up() {
    let runtime = Runtime::new("").up();
    let command = format!("'{}'", asker().display());
    runtime.ok(&["agent", "update", "assistant", "--provider", "command", "--command", &command]);
    Terminal::connect(&runtime, false).say("spoil");
    for tries in 1..=2 {
        until("it is quarantined", || (state(&runtime) == "quarantined").then_some(()));
        assert_eq!(
            runtime.query::<i64>("SELECT tries FROM messages_in"),
            [tries],
            "a quarantine counts a try"
        );
        if tries == 1 {
            let id = runtime.json(&["session", "list"])[0]["id"].as_str().unwrap().to_owned();
            runtime.ok(&["session", "release", &id, "--new-out"]);
            until("it is tried at once", || (state(&runtime) != "quarantined").then_some(()));
        }
    }
    let id = runtime.json(&["session", "list"])[0]["id"].as_str().unwrap().to_owned();
    let told = runtime.json(&["session", "release", &id, "--new-out", "--give-up"]);
    assert_eq!(told["given_up"], 1);
    is_answered(&runtime, "Your message could not be answered: the operator gave it up.");
    assert_eq!(runtime.chat("hello"), "heard");
    let refused = runtime.run(&["session", "release", &id, "--give-up"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("it is not in quarantine"));
}

pub const CRASH_POINTS: [&str; 2] =
    ["new out: the old one is aside, there is none", "new out: it is in its place, and not on record"];

#[test]
fn a_crash_while_a_new_one_is_made_loses_no_message() {
    if !cfg!(debug_assertions) {
        return eprintln!("SKIPPED: crash points need debug assertions");
    }
    for point in CRASH_POINTS {
        let (mut runtime, id) = quarantined(|file| std::fs::remove_file(file).unwrap());
        runtime.stop();
        runtime.launch(&[("VESTIBULE_CRASH_POINT", &format!("{point}#1"))]);
        until("it crashes", || {
            let _ = runtime.run(&["session", "release", &id, "--new-out"]);
            runtime.ended()
        });
        runtime.start();
        is_answered(&runtime, "four");
        assert_eq!(runtime.chat("five"), "five");
    }
}
