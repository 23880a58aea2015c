//! The examples of `docs/agents.md`, each run as the program of an agent on WhatsApp, which shows all that they do.

use crate::support::{Runtime, until};
use crate::whatsapp::{started, wire};
use crate::whatsapp_api::{CHAT, WhatsAppApi};
use crate::whatsapp_words::tap;
use serde_json::{Value, json};
use std::path::Path;

/// The blocks of Python on the page, in order.
fn blocks() -> Vec<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/agents.md");
    let page = std::fs::read_to_string(page).unwrap();
    let blocks = page.split("```python\n").skip(1).map(|rest| rest.split("```").next().unwrap().to_owned());
    blocks.collect()
}

/// Has the agent be this program.
fn becomes(runtime: &Runtime, program: &str) {
    let folder = runtime.home.path().join("groups/assistant");
    std::fs::write(folder.join("vestibule.py"), &blocks()[0]).unwrap();
    std::fs::write(folder.join("agent.py"), program).unwrap();
}

#[test]
fn the_examples_of_the_page_do_what_they_say() {
    if !Path::new("/usr/bin/python3").exists() {
        assert!(std::env::var_os("VESTIBULE_TEST_COUNTERPARTS").is_none(), "install python3");
        return eprintln!("SKIPPED: the examples of docs/agents.md: install python3");
    }
    let [_, question, card, reaction, metadata] = &blocks()[..] else { panic!("four examples") };
    let api = WhatsAppApi::start();
    let runtime = started(&api);
    wire(&runtime, CHAT, &[]);
    api.text(&runtime, "hello");
    api.sent(1);
    runtime.ok(&[
        "agent",
        "update",
        "assistant",
        "--provider",
        "command",
        "--command",
        "/usr/bin/python3 agent.py",
    ]);

    becomes(&runtime, question);
    api.text(&runtime, "ask");
    let asked = api.sent(2).remove(1);
    assert_eq!(asked["interactive"]["body"]["text"], "*Deploy*\n\nNow?", "{asked:#}");
    let no = asked["interactive"]["action"]["buttons"][1]["reply"].clone();
    assert_eq!(api.say(&runtime, tap(&asked, "button_reply", &no)).1, 200);
    assert_eq!(api.sent(3)[2]["text"]["body"], "chosen: n");

    becomes(&runtime, card);
    api.text(&runtime, "show");
    let card = api.sent(4).remove(3);
    assert_eq!(card["interactive"]["action"]["parameters"]["url"], "https://ci.example/7", "{card:#}");
    assert_eq!(card["interactive"]["body"]["text"], "*Build 7*\n\nis green\n\n*Tests*: 112");

    becomes(&runtime, reaction);
    let id = api.text(&runtime, "good?");
    assert_eq!(api.sent(5)[4]["reaction"], json!({ "message_id": id, "emoji": "👍" }));

    becomes(&runtime, metadata);
    api.text(&runtime, "is it ready?");
    let template: Value = api.sent(6)[5]["template"].clone();
    assert_eq!(
        (&template["name"], &template["components"][0]["parameters"][0]["text"]),
        (&json!("order_ready"), &json!("Ann"))
    );
    until("all is settled", || {
        let open = "SELECT COUNT(*) FROM deliveries WHERE state <> 'delivered'";
        (runtime.query::<i64>(open) == [0]).then_some(())
    });
}
