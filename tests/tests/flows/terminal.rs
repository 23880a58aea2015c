//! The first minute, and several clients at once.

use crate::support::{House, Terminal, plugin_file, signal, until};
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

/// The file of the same channel, in either tier: in a process of its own it may open no local socket, so it is
/// handed one.
#[test]
fn chat_works_through_the_file_in_both_tiers() {
    for tier in ["process", "in-process"] {
        let house = House::new(&format!("[plugins.terminal]\nbuilt_in = false\ntier = \"{tier}\"\n"));
        let plugins = house.home.path().join("plugins");
        std::fs::create_dir_all(&plugins).unwrap();
        std::fs::copy(plugin_file("vestibule-terminal"), plugins.join("terminal.so")).unwrap();
        let house = house.up();
        assert_eq!(house.chat("hello"), "hello");
        let list = house.json(&["plugin", "list"]);
        let plugin = list.as_array().unwrap().iter().find(|plugin| plugin["name"] == "terminal").unwrap();
        assert_eq!((plugin["tier"].as_str(), plugin["state"].as_str()), (Some(tier), Some("loaded")));
        let mut terminal = Terminal::connect(&house, false);
        terminal.send("with a file", &[("a.txt", b"bytes")]);
        let (text, files) = terminal.answer();
        assert!(text.starts_with("with a file"), "{text}");
        assert_eq!(files, [("a.txt".to_owned(), b"bytes".to_vec())]);
        drop(terminal);

        house.ok(&["plugin", "reload", "terminal"]);
        assert_eq!(house.chat("after it was replaced"), "after it was replaced");
        if tier == "process" {
            signal("KILL", &house.plugin_hosts()[0]);
            until("it is noticed", || house.log().contains("it is started again").then_some(()));
            house.wait_live("terminal");
            assert_eq!(house.chat("after it was killed"), "after it was killed");
        }
    }
}
