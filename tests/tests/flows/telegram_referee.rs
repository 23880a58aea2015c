//! The stand-in for Telegram's Bot API, judged by libraries of others: python-telegram-bot reads all that the channel and the
//! stand-in say to each other, in its own types, and is a bot there; so is grammY, by polling and by webhook.

use crate::bot_api::{BotApi, TOKEN};
use crate::counterparts::script;
use crate::support::{Runtime, asker, free_port, until};
use crate::telegram::{agent_writes, last, wire};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// The script that runs a referee.
fn referee(folder: &str) -> Option<PathBuf> {
    script("telegram-referees.sh", folder)
}

fn is_content(output: Output) -> String {
    let [said, told] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    assert!(output.status.success(), "{said}{told}");
    said
}

fn private() -> Value {
    json!({ "id": 7, "type": "private", "first_name": "Ada" })
}

fn group() -> Value {
    json!({ "id": -1001234567, "type": "supergroup", "title": "Friends", "is_forum": true })
}

/// Every kind of update that the channel reads.
fn people_act(api: &BotApi) {
    let photo = |name: &str| json!([{ "file_id": format!("photos/{name}.jpg"), "file_size": 9 }]);
    let part = |name: &str| json!({ "media_group_id": "a", "photo": photo(name), "caption": "look" });
    api.push("message", private(), part("1"));
    api.push("message", private(), part("2"));
    let answered = json!({ "message_id": 3, "date": 1_600_000_000, "chat": private(),
        "from": { "id": 7 }, "photo": photo("1") });
    let quote = json!({ "text": "marked", "position": 0, "is_manual": true });
    api.push(
        "message",
        private(),
        json!({ "text": "and this?", "reply_to_message": answered, "quote": quote }),
    );
    let origin = json!({ "type": "hidden_user", "sender_user_name": "Zoe", "date": 1_600_000_000 });
    let elsewhere = json!({ "origin": origin, "photo": photo("2") });
    api.push("message", private(), json!({ "text": "and that?", "external_reply": elsewhere }));
    until("all of it is answered", || {
        api.texts().iter().any(|text| text.contains("and that?")).then_some(())
    });
    for (kind, shown, more) in [
        ("photo", "sendPhoto", json!({})),
        ("document", "sendDocument", json!({ "file_name": "a.pdf", "mime_type": "application/pdf" })),
        ("voice", "sendDocument", json!({ "mime_type": "audio/ogg" })),
        ("video", "sendVideo", json!({ "mime_type": "video/mp4" })),
        ("audio", "sendAudio", json!({ "mime_type": "audio/mpeg", "file_name": "a.mp3" })),
    ] {
        let mut file = json!({ "file_id": "photos/1.jpg", "file_size": 9 });
        file.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let count = || api.store().sent.iter().filter(|sent| sent.method == shown).count();
        let before = count();
        let file = if kind == "photo" { json!([file]) } else { file };
        api.push("message", private(), json!({ kind: file }));
        until(kind, || (count() > before).then_some(()));
    }
    let mention = json!([{ "type": "mention", "offset": 0, "length": 13 }]);
    let topic = json!({ "text": "@VestibuleBot here", "entities": mention, "message_thread_id": 12,
        "is_topic_message": true });
    api.push("message", group(), topic);
    let edit = json!({ "message_id": 5, "text": "later", "edit_date": 1_700_009_000 });
    api.push("edited_message", private(), edit);
    let thumb = json!([{ "type": "emoji", "emoji": "👍" }]);
    let reaction = json!({ "message_id": 5, "user": { "id": 7 }, "old_reaction": [], "new_reaction": thumb });
    api.push("message_reaction", private(), reaction);
    for (before, after) in [("left", "member"), ("member", "administrator"), ("administrator", "kicked")] {
        let part = json!({ "old_chat_member": { "status": before }, "new_chat_member": { "status": after } });
        api.push("my_chat_member", json!({ "id": -5, "type": "group", "title": "Small" }), part);
    }
    api.push(
        "message",
        json!({ "id": -6, "type": "group", "title": "S" }),
        json!({ "migrate_to_chat_id": -1006 }),
    );
    api.push(
        "channel_post",
        json!({ "id": -9, "type": "channel", "title": "News" }),
        json!({ "text": "news" }),
    );
    api.push("business_message", private(), json!({ "text": "hello", "business_connection_id": "b1" }));
}

/// Writes down all that was said, and has python-telegram-bot read it.
#[test]
fn row_c06_all_that_is_said_is_what_python_telegram_bot_knows() {
    let Some(script) = referee("telegram-python") else { return };
    let api = BotApi::start();
    for name in ["1", "2"] {
        api.store().files.insert(format!("photos/{name}.jpg"), format!("picture {name}").into_bytes());
    }
    let config = format!(
        "[channels.telegram.main]\ntoken = {{ env = \"TEST_TOKEN\" }}\napi_root = \"{}\"\n\
         commands = [\"ask - Ask the agent\"]\n",
        api.url
    );
    let runtime = Runtime::new(&config).env("TEST_TOKEN", TOKEN).up();
    runtime.wait_live("telegram");
    wire(&runtime, "telegram:7", &[]);
    api.say(7, "hello");
    let sent = "SELECT platform_message_id FROM deliveries WHERE platform_message_id IS NOT NULL";
    let reply = until("it is on record", || {
        runtime.query::<String>(sent).into_iter().find(|id| id.starts_with("7:"))
    });
    for (number, content) in [
        json!({ "operation": "edit", "messageId": reply, "text": "**other** words" }),
        json!({ "operation": "reaction", "messageId": "7:1", "emoji": "eyes" }),
        json!({ "type": "card", "card": { "title": "Build",
            "actions": [{ "label": "Open", "url": "https://a.example" }] } }),
        json!({ "operation": "delete", "messageId": reply }),
    ]
    .iter()
    .enumerate()
    {
        agent_writes(&runtime, number as i64, content);
    }
    until("it is deleted", || {
        api.store().done.iter().any(|done| done.method == "deleteMessage").then_some(())
    });
    wire(&runtime, "telegram:-1001234567", &[]);
    people_act(&api);
    until("Telegram keeps nothing any more", || (api.waiting() == 0).then_some(()));
    until("each kind is sent", || {
        let store = api.store();
        let methods =
            ["sendMediaGroup", "sendPhoto", "sendVideo", "sendAudio", "sendDocument", "sendMessage"];
        methods.iter().all(|method| store.sent.iter().any(|sent| sent.method == *method)).then_some(())
    });
    let command = format!("'{}'", asker().display());
    runtime.ok(&["agent", "update", "assistant", "--provider", "command", "--command", &command]);
    api.say(7, "ask one");
    let (chat, message, shown) = until("the question is there", || {
        api.buttons().filter(|(.., shown)| shown.buttons.iter().all(|(_, token)| !token.contains("://")))
    });
    api.tap(7, chat, message, &shown.buttons[0].1);
    until("it is answered", || (!api.store().notes.is_empty()).then_some(()));

    let updates = api.store().updates.clone();
    let done = api.store().done.clone();
    let call = |done: &crate::bot_api::Done| json!({ "method": done.method, "fields": done.fields, "result": done.result });
    let said = json!({ "updates": updates, "calls": done.iter().map(call).collect::<Vec<_>>() });
    let file = runtime.home.path().join("said.json");
    std::fs::write(&file, said.to_string()).unwrap();
    let told = is_content(Command::new(script).arg("types").arg(&file).output().unwrap());
    for kind in [
        "message_reaction",
        "callback_query",
        "my_chat_member",
        "business_message",
        "sendMediaGroup",
        "setMyCommands",
    ] {
        assert!(told.contains(kind), "{kind}: {told}");
    }
}

#[test]
fn row_c06_a_bot_by_python_telegram_bot_works_there() {
    let Some(script) = referee("telegram-python") else { return };
    let api = BotApi::start();
    api.say(7, "hello from a test");
    is_content(Command::new(script).args(["python", &api.url, TOKEN]).output().unwrap());
    assert!(api.store().sent.iter().any(|sent| sent.method == "sendMediaGroup" && sent.words == "both"));
}

#[test]
fn row_c06_a_bot_by_grammy_polls_and_takes_webhooks_there() {
    let Some(script) = referee("telegram-node") else { return };
    let (api, port) = (BotApi::start(), free_port().port().to_string());
    let child = Command::new(script)
        .args(["node", &api.url, TOKEN, &port])
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    api.say(7, "by polling");
    let (chat, message, shown) = until("it answers", || api.buttons());
    api.tap(7, chat, message, &shown.buttons[0].1);
    until("its webhook is set", || api.store().webhook.clone());
    api.say(7, "by webhook");
    is_content(child.wait_with_output().unwrap());
    assert_eq!(api.store().notes, ["noted"]);
    assert_eq!(last(&api, 1).iter().filter(|sent| sent.words.starts_with("heard by ")).count(), 2);
}
