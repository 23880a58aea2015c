//! `kill -9`: what was taken is answered, and nothing is answered twice.

use crate::support::{Runtime, Terminal, programs, until};
use std::time::Duration;

#[test]
fn a_message_that_was_taken_is_answered_after_a_crash() {
    let mut runtime = Runtime::new("").up();
    let slow = "sh -c 'sleep 1; echo slow'";
    runtime.ok(&["agent", "update", "assistant", "--provider", "command", "--command", slow]);
    let mut client = Terminal::connect(&runtime, false);
    client.say("are you there?");
    std::thread::sleep(Duration::from_millis(300));
    runtime.kill();
    runtime.start();
    let states = "SELECT state FROM deliveries";
    // The terminal that asked has gone with the crash: the reply is on record as undeliverable.
    until("it is answered", || (runtime.query::<String>(states) == ["failed"]).then_some(()));
    let asked = "SELECT status FROM messages_in WHERE \"trigger\"";
    assert_eq!(runtime.query::<String>(asked), ["completed"]);
    let told = "SELECT COUNT(*) FROM messages_in WHERE id LIKE 'undelivered-%' AND NOT \"trigger\"";
    assert_eq!(runtime.query::<i64>(told), [1], "its agent will read of it");
}

#[test]
fn a_reply_that_nobody_read_before_the_crash_is_delivered() {
    let mut runtime = Runtime::new("").up();
    // It answers once, also where it reads of replies that reached nobody.
    runtime.ok(&["agent", "update", "assistant", "--provider", "command", "--command", "echo heard"]);
    runtime.chat("warm");
    for round in 0..5 {
        let mut client = Terminal::connect(&runtime, false);
        client.say(&format!("round {round}"));
        std::thread::sleep(Duration::from_millis(round));
        runtime.kill();
        runtime.start();
        let open = "SELECT COUNT(*) FROM messages_in WHERE status = 'pending' AND \"trigger\"";
        until("all is answered", || (runtime.query::<i64>(open) == [0]).then_some(()));
    }
    let answered = "SELECT COUNT(*) FROM deliveries WHERE state IN ('delivered', 'failed')";
    until("all is settled", || (runtime.query::<i64>(answered) == [6]).then_some(()));
    assert_eq!(runtime.query::<i64>("SELECT COUNT(*) FROM messages_in WHERE \"trigger\""), [6]);
    let twice = "SELECT COUNT(*) FROM (SELECT in_reply_to FROM deliveries GROUP BY 1 HAVING COUNT(*) > 1)";
    assert_eq!(runtime.query::<i64>(twice), [0], "no message is answered twice");
}

#[test]
fn no_runner_outlives_its_runtime() {
    for sandbox in crate::support::sandboxes() {
        let mut runtime = Runtime::new(&format!("sandbox = \"{sandbox}\"\n")).up();
        let sleep = format!("sleep 600.{}", runtime.pid());
        runtime.ok(&["agent", "update", "assistant", "--provider", "command", "--command", &sleep]);
        Terminal::connect(&runtime, false).say("sleep");
        until("the program sleeps", || (programs(&sleep).len() == 1).then_some(()));
        runtime.kill();
        until("it has ended", || programs(&sleep).is_empty().then_some(()));
    }
}
