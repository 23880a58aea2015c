//! The first minute, and several clients at once.

use crate::support::{House, Terminal};
use std::io::Write;
use std::process::Stdio;

#[test]
fn on_a_bare_machine_chat_answers() {
    let house = House::new("");
    assert_eq!(house.chat("hello"), "hello");
    assert_eq!(house.chat("again, with \"quotes\" & <tags>"), "again, with \"quotes\" & <tags>");
    assert_eq!(house.query::<i64>("SELECT COUNT(*) FROM deliveries WHERE state = 'delivered'"), [2]);
}

#[test]
fn without_text_it_keeps_talking_until_input_ends() {
    let house = House::new("").up();
    let mut chat = house.command(&["chat"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    chat.stdin.take().unwrap().write_all(b"one\n\ntwo\n").unwrap();
    let output = chat.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stdout), "one\ntwo\n");
}

#[test]
fn one_reply_may_answer_several_lines() {
    let house = House::new("").up();
    let slow = "sh -c 'sleep 0.3; echo all of you'";
    house.ok(&["agent", "update", "assistant", "--provider", "command", "--command", slow]);
    let mut chat = house.command(&["chat"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    chat.stdin.take().unwrap().write_all(b"a\nb\nc\nd\n").unwrap();
    let output = chat.wait_with_output().unwrap();
    let lines = String::from_utf8_lossy(&output.stdout).lines().count();
    assert!(output.status.success() && (1..=4).contains(&lines), "{output:?}");
}

#[test]
fn each_client_hears_its_own_replies_in_order() {
    let house = House::new("").up();
    let mut clients: Vec<Terminal> = (0..4).map(|_| Terminal::connect(&house, false)).collect();
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
    assert_eq!(house.query::<i64>("SELECT COUNT(*) FROM messages_in WHERE status <> 'completed'"), [0]);
}

#[test]
fn a_second_chat_uses_the_running_house() {
    let house = House::new("").up();
    assert_eq!(house.chat("one"), "one");
    assert_eq!(house.chat("two"), "two");
    assert_eq!(house.query::<i64>("SELECT COUNT(*) FROM sessions"), [1], "both are one conversation");
    assert!(house.ok(&["chat", "three", "--time", "3"]).contains("median"));
}

#[test]
fn an_agent_that_is_told_of_a_chat_can_be_wired_to_it_without_a_database() {
    let house = House::new("").up();
    house.ok(&["agent", "create", "second"]);
    house.ok(&[
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
    let mut client = Terminal::connect(&house, false);
    client.say("both of you");
    assert_eq!([client.reply(), client.reply()], ["both of you", "both of you"]);
    client.say("one of you");
    assert_eq!(client.reply(), "one of you");
    assert_eq!(house.query::<i64>("SELECT COUNT(*) FROM sessions"), [2], "agents never share a session");
    let wirings = house.json(&["wiring", "list"]);
    let id = wirings.as_array().unwrap().iter().find(|w| w["agent"] == "second").unwrap()["id"].clone();
    house.ok(&["wiring", "update", id.as_str().unwrap(), "--pattern", "^never"]);
    house.ok(&["destination", "update", "--agent", "second", "terminal", "--rename", "tty"]);
    assert_eq!(house.json(&["destination", "list"])[1]["name"], "tty");
    house.ok(&["wiring", "delete", id.as_str().unwrap()]);
    house.ok(&["destination", "delete", "--agent", "second", "tty"]);
    house.ok(&["agent", "delete", "second"]);
    assert_eq!(house.json(&["agent", "list"]).as_array().unwrap().len(), 1);
    assert_eq!(house.json(&["messaging-group", "list"]).as_array().unwrap().len(), 1);
    assert_eq!(house.chat("still here"), "still here");
}
