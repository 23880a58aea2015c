//! `kill -9`: what was taken is answered, and nothing is answered twice.

use crate::support::{House, Terminal, until};
use std::time::Duration;

#[test]
fn a_message_that_was_taken_is_answered_after_a_crash() {
    let mut house = House::new("").up();
    let slow = "sh -c 'sleep 1; echo slow'";
    house.ok(&["agent", "update", "assistant", "--provider", "command", "--command", slow]);
    let mut client = Terminal::connect(&house, false);
    client.say("are you there?");
    std::thread::sleep(Duration::from_millis(300));
    house.kill();
    house.start();
    let states = "SELECT state FROM deliveries";
    // The terminal that asked has gone with the crash: the reply is on record as undeliverable.
    until("it is answered", || (house.query::<String>(states) == ["failed"]).then_some(()));
    assert_eq!(house.query::<String>("SELECT status FROM messages_in"), ["completed"]);
}

#[test]
fn a_reply_that_nobody_read_before_the_crash_is_delivered() {
    let mut house = House::new("").up();
    house.chat("warm");
    for round in 0..5 {
        let mut client = Terminal::connect(&house, false);
        client.say(&format!("round {round}"));
        std::thread::sleep(Duration::from_millis(round));
        house.kill();
        house.start();
        let open = "SELECT COUNT(*) FROM messages_in WHERE status = 'pending'";
        until("all is answered", || (house.query::<i64>(open) == [0]).then_some(()));
    }
    let answered = "SELECT COUNT(*) FROM deliveries WHERE state IN ('delivered', 'failed')";
    until("all is settled", || (house.query::<i64>(answered) == [6]).then_some(()));
    assert_eq!(house.query::<i64>("SELECT COUNT(*) FROM messages_in"), [6]);
    let twice = "SELECT COUNT(*) FROM (SELECT in_reply_to FROM deliveries GROUP BY 1 HAVING COUNT(*) > 1)";
    assert_eq!(house.query::<i64>(twice), [0], "no message is answered twice");
}

#[test]
fn no_runner_outlives_its_house() {
    let mut house = House::new("").up();
    house.ok(&["agent", "update", "assistant", "--provider", "command", "--command", "sleep 600"]);
    Terminal::connect(&house, false).say("sleep");
    let home = house.home.path().to_str().unwrap().to_owned();
    let alive = move || {
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        let of_ours = processes.filter(|entry| {
            let cwd = std::fs::read_link(entry.path().join("cwd")).unwrap_or_default();
            cwd.to_string_lossy().starts_with(&home)
        });
        of_ours.count()
    };
    until("the program sleeps", || (alive() >= 2).then_some(()));
    house.kill();
    until("it has ended", || (alive() == 0).then_some(()));
}
