//! The stand-in for Meta's Cloud API, judged by pywa: it is a business there, it hears the webhooks that the tests tell, and
//! it makes each message of the channel's anew.

use crate::changes::agent_writes_to;
use crate::counterparts::script;
use crate::support::{free_port, until};
use crate::whatsapp::{asks, started, wire};
use crate::whatsapp_api::{CHAT, NUMBER, SECRET, TOKEN, VERIFY, WhatsAppApi, error};
use crate::whatsapp_words::{
    ANN, ANN_SCOPED, HIDDEN, edit, fate, hidden_text, location, post, reaction, revocation, shared_contact,
    tap, tell, too_late, trial, unsupported, words,
};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

fn referee() -> Option<PathBuf> {
    script("whatsapp-referee.sh", "whatsapp-python")
}

fn is_content(output: &Output) {
    let [said, told] =
        [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
    assert!(output.status.success(), "{said}{told}");
}

#[test]
fn row_c07_pywa_takes_the_stand_in_for_meta() {
    let Some(script) = referee() else { return };
    let api = WhatsAppApi::start();
    api.store().silent.insert("16505550000".to_owned());
    api.store().script.push_back((400, error(131_056, "Pair rate limit hit")));
    is_content(&Command::new(script).args(["client", &api.url, TOKEN, NUMBER]).output().unwrap());
    assert!(api.store().sent.iter().any(|sent| sent["document"]["caption"] == "read this"));
}

/// pywa's own webhook, which answers with what it read.
struct Receiver {
    child: Child,
    at: SocketAddr,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Receiver {
    fn start(script: &Path) -> Receiver {
        let at = free_port();
        let child = Command::new(script)
            .args(["receiver", &at.port().to_string(), NUMBER, SECRET, VERIFY])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let receiver = Receiver { child, at };
        until("pywa listens", || std::net::TcpStream::connect(at).ok());
        receiver
    }

    /// What pywa reads of a webhook.
    fn reads(&self, told: Value) -> Value {
        let (status, read) = tell(&self.at, NUMBER, told.clone());
        assert_eq!(status, 200, "{told:#}: {read}");
        serde_json::from_str(&read).unwrap()
    }
}

/// Whether all that is wanted stands in what was read.
fn holds(read: &Value, want: &Value) -> bool {
    match want {
        Value::Object(fields) => fields.iter().all(|(key, want)| holds(&read[key], want)),
        Value::Array(items) => items.iter().enumerate().all(|(at, want)| holds(&read[at], want)),
        want => read == want,
    }
}

#[test]
fn row_c07_pywa_reads_what_the_stand_in_tells() {
    let Some(script) = referee() else { return };
    let (api, receiver) = (WhatsAppApi::start(), Receiver::start(&script));
    assert_eq!(trial(&receiver.at, VERIFY), (200, "1158201444".to_owned()));
    assert_eq!(trial(&receiver.at, "another").0, 403);
    assert_eq!(post(&receiver.at, b"{}", "sha256=00").0, 403, "pywa verifies what it hears");

    let question = json!({ "id": "wamid.OURS" });
    let choice = json!({ "id": "vestibule:t.0", "title": "Yes" });
    let is_message = |kind: &str, more: Value| {
        let mut want = json!({ "kind": "Message", "type": kind, "timestamp": 1_749_416_383,
            "from_user": { "kind": "User", "wa_id": ANN, "bsuid": ANN_SCOPED, "name": "Sheena Nelson" },
            "metadata": { "phone_number_id": NUMBER } });
        want.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        want
    };
    let answered = |kind: &str| json!({ "kind": kind, "data": "vestibule:t.0", "title": "Yes", "reply_to_message": { "id": "wamid.OURS" } });
    let mut quoting = words("héllo 👋");
    quoting["context"] = json!({ "from": "15550783881", "id": "wamid.OURS" });
    for (said, want) in [
        (words("héllo 👋"), is_message("text", json!({ "text": "héllo 👋" }))),
        (quoting, is_message("text", json!({ "reply_to_message": { "id": "wamid.OURS" } }))),
        (
            api.picture("look"),
            is_message(
                "image",
                json!({ "image": { "kind": "Image", "caption": "look", "mime_type": "image/jpeg" } }),
            ),
        ),
        (api.voice(), is_message("audio", json!({ "audio": { "kind": "Audio", "voice": true } }))),
        (
            api.paper(),
            is_message("document", json!({ "document": { "kind": "Document", "filename": "report.pdf" } })),
        ),
        (
            reaction("wamid.OURS", "👀"),
            is_message("reaction", json!({ "reaction": { "message_id": "wamid.OURS", "emoji": "👀" } })),
        ),
        (
            reaction("wamid.OURS", ""),
            is_message("reaction", json!({ "reaction": { "message_id": "wamid.OURS", "emoji": null } })),
        ),
        (
            location(),
            is_message(
                "location",
                json!({ "location": { "latitude": 40.78291, "name": "Guggenheim Museum" } }),
            ),
        ),
        (
            shared_contact(),
            is_message(
                "contacts",
                json!({ "contacts": [{ "name": { "formatted_name": "Barbara Johnson" },
                "phones": [{ "phone": "+1 (650) 555-6789" }] }] }),
            ),
        ),
        (unsupported(), is_message("unsupported", json!({ "error": { "kind": "UnsupportedMessageType" } }))),
        (
            edit("wamid.B", "lunch at 1?"),
            json!({ "kind": "EditedMessage", "original_message_id": "wamid.B", "message": { "text": "lunch at 1?" } }),
        ),
        (revocation("wamid.B"), json!({ "kind": "DeletedMessage", "original_message_id": "wamid.B" })),
        (tap(&question, "button_reply", &choice), answered("CallbackButton")),
        (tap(&question, "list_reply", &choice), answered("CallbackSelection")),
    ] {
        let (id, told) = api.message(said);
        let read = receiver.reads(told);
        assert!(holds(&read, &want), "{read:#} instead of {want:#}");
        assert_eq!(read["id"], json!(id));
    }

    let hidden = receiver.reads(hidden_text(&api.id(), "who am I?"));
    let who = json!({ "bsuid": HIDDEN, "username": "@al", "wa_id": null });
    assert!(
        holds(&hidden, &json!({ "kind": "Message", "text": "who am I?", "from_user": who })),
        "{hidden:#}"
    );
    for (status, more, want) in [
        ("sent", json!({}), json!(null)),
        ("delivered", json!({}), json!(null)),
        ("read", json!({}), json!(null)),
        ("failed", too_late(), json!({ "kind": "ReEngagementMessage", "code": 131_047 })),
    ] {
        let read = receiver.reads(fate("wamid.OURS", status, more));
        let want = json!({ "kind": "MessageStatus", "id": "wamid.OURS", "status": status, "error": want,
            "from_user": { "wa_id": ANN, "bsuid": ANN_SCOPED } });
        assert!(holds(&read, &want), "{read:#} instead of {want:#}");
    }
}

/// One of each kind of message that the channel sends.
fn all_kinds_are_sent(api: &WhatsAppApi) {
    let runtime = started(api);
    wire(&runtime, CHAT, &[]);
    wire(&runtime, &format!("whatsapp:{NUMBER}:{HIDDEN}"), &[]);
    let heard = api.text(&runtime, "hello");
    assert_eq!(tell(&runtime, NUMBER, hidden_text(&api.id(), "who am I?")).0, 200);
    api.sent(2);
    let is_sent = |what: &str, kind: &str| {
        let is = |sent: &Value| sent.pointer(what).is_some_and(|is| is == kind);
        until(kind, || api.store().sent.iter().any(is).then_some(()));
    };
    for (file, kind) in [(api.picture("look"), "image"), (api.voice(), "audio"), (api.paper(), "document")] {
        assert_eq!(api.say(&runtime, file).1, 200);
        is_sent("/type", kind);
    }
    let card = json!({ "title": "Build", "actions": [{ "label": "Log", "url": "https://a.example/log" }] });
    let template =
        json!({ "template": "order_ready", "template_language": "de", "template_parameters": "[\"Ann\"]" });
    for (number, content) in [
        json!({ "operation": "reaction", "messageId": heard, "emoji": "thumbs_up" }),
        json!({ "type": "card", "card": card }),
        json!({ "text": "not sent", "metadata": template }),
    ]
    .iter()
    .enumerate()
    {
        agent_writes_to(&runtime, ("whatsapp", CHAT), 100 + number as i64, content);
    }
    is_sent("/interactive/type", "cta_url");
    is_sent("/type", "reaction");
    is_sent("/type", "template");
    asks(&runtime);
    api.text(&runtime, "ask one");
    is_sent("/interactive/type", "button");
    let question = api.store().sent.last().unwrap().clone();
    let choice = &question["interactive"]["action"]["buttons"][0]["reply"];
    assert_eq!(api.say(&runtime, tap(&question, "button_reply", choice)).1, 200);
    is_sent("/text/body", &format!("answer: Yes by {ANN}"));
    api.text(&runtime, "ask two 60 twenty_one_characters");
    is_sent("/interactive/type", "list");
}

/// A message without its id, and without what is said to be nothing.
fn bare(message: &Value) -> Value {
    match message {
        Value::Object(fields) => {
            let said = fields.iter().filter(|(_, value)| !value.is_null());
            Value::Object(said.map(|(key, value)| (key.clone(), bare(value))).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(bare).collect()),
        value => value.clone(),
    }
}

#[test]
fn row_c07_pywa_makes_the_messages_of_the_channel_as_it_does() {
    let Some(script) = referee() else { return };
    let api = WhatsAppApi::start();
    all_kinds_are_sent(&api);
    let sent = api.store().sent.clone();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sent.json");
    std::fs::write(&file, json!(sent).to_string()).unwrap();
    is_content(&Command::new(script).args(["mirror", &api.url, TOKEN, NUMBER]).arg(file).output().unwrap());
    let all = api.store().sent.clone();
    assert_eq!(all.len(), 2 * sent.len());
    for (ours, theirs) in sent.iter().zip(&all[sent.len()..]) {
        let [ours, theirs] = [ours, theirs].map(|message| {
            let mut message = bare(message);
            message.as_object_mut().unwrap().remove("id");
            message
        });
        assert_eq!(ours, theirs);
    }
}
