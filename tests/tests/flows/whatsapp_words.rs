//! What people do on WhatsApp, and how Meta tells it: by webhooks, signed, with all but ASCII as escapes.

use crate::support::{Runtime, request, sign, try_request};
use crate::whatsapp_api::{NUMBER, SECRET, WhatsAppApi, sha256};
use serde_json::{Value, json};
use std::net::SocketAddr;

pub const ANN: &str = "16505551234";
/// Ann's id within the business.
pub const ANN_SCOPED: &str = "US.13491208655302741918";
/// A person who hides their number: their id within the business.
pub const HIDDEN: &str = "US.13491208655302741919";
const PATH: &str = "/webhook/whatsapp/main";
/// When all of it happened.
const TIMESTAMP: &str = "1749416383";

/// Whom Meta tells.
pub trait Hears {
    fn at(&self) -> SocketAddr;
}

impl Hears for Runtime {
    fn at(&self) -> SocketAddr {
        self.listening()
    }
}

impl Hears for SocketAddr {
    fn at(&self) -> SocketAddr {
        *self
    }
}

impl WhatsAppApi {
    /// A message of Ann's with these fields, as a webhook tells it; before it, its id.
    pub fn message(&self, more: Value) -> (String, Value) {
        let id = self.id();
        let mut message = json!({ "from": ANN, "id": id, "timestamp": TIMESTAMP });
        for (key, value) in more.as_object().unwrap() {
            message[key] = value.clone();
        }
        (id, json!({ "contacts": contacts(), "messages": [message] }))
    }

    /// The same of another person, of whom only the number is known.
    pub fn message_of(&self, person: &str, more: Value) -> (String, Value) {
        let (id, mut told) = self.message(more);
        told["messages"][0]["from"] = person.into();
        told["contacts"] = json!([{ "profile": { "name": person }, "wa_id": person }]);
        (id, told)
    }

    /// Ann writes, and Meta tells it: the message's id, and what Meta was answered.
    pub fn say(&self, hears: &impl Hears, more: Value) -> (String, u16) {
        let (id, told) = self.message(more);
        (id, tell(hears, NUMBER, told).0)
    }

    pub fn text(&self, hears: &impl Hears, text: &str) -> String {
        let (id, status) = self.say(hears, words(text));
        assert_eq!(status, 200, "{text}");
        id
    }

    /// What becomes of a message, Meta tells.
    pub fn becomes(&self, hears: &impl Hears, id: &str, status: &str, more: Value) {
        assert_eq!(tell(hears, NUMBER, fate(id, status, more)).0, 200);
    }

    /// A file that Ann sends, as a webhook tells it.
    fn shared(&self, mime_type: &str, bytes: &[u8], more: Value) -> Value {
        let plain = mime_type.split(';').next().unwrap();
        let mut told =
            json!({ "id": self.file(plain, bytes), "mime_type": mime_type, "sha256": sha256(bytes) });
        told.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        told
    }

    pub fn picture(&self, caption: &str) -> Value {
        let file = self.shared("image/jpeg", b"the picture", json!({ "caption": caption }));
        json!({ "type": "image", "image": file })
    }

    pub fn voice(&self) -> Value {
        let file = self.shared("audio/ogg; codecs=opus", b"the voice", json!({ "voice": true }));
        json!({ "type": "audio", "audio": file })
    }

    /// A file of so many zeros.
    pub fn large(&self, size: usize) -> Value {
        let file = self.shared("text/plain", &vec![0; size], json!({ "filename": "large.txt" }));
        json!({ "type": "document", "document": file })
    }

    pub fn paper(&self) -> Value {
        let more = json!({ "filename": "report.pdf", "caption": "the report" });
        json!({ "type": "document", "document": self.shared("application/pdf", b"%PDF\xff", more) })
    }
}

pub fn words(text: &str) -> Value {
    json!({ "type": "text", "text": { "body": text } })
}

/// A picture of which Meta has nothing.
pub fn lost_picture() -> Value {
    json!({ "type": "image", "image": { "id": "404404", "mime_type": "image/png", "sha256": sha256(b"gone"),
        "caption": "gone" } })
}

pub fn reaction(to: &str, emoji: &str) -> Value {
    json!({ "type": "reaction", "reaction": { "message_id": to, "emoji": emoji } })
}

pub fn edit(of: &str, text: &str) -> Value {
    json!({ "type": "edit", "edit": { "original_message_id": of, "message": words(text) } })
}

pub fn revocation(of: &str) -> Value {
    json!({ "type": "revoke", "revoke": { "original_message_id": of } })
}

/// A person takes an answer to a question: a button's, or a list's row.
pub fn tap(question: &Value, kind: &str, choice: &Value) -> Value {
    json!({ "type": "interactive", "context": { "from": "15550783881", "id": question["id"] },
        "interactive": { "type": kind, kind: choice } })
}

pub fn location() -> Value {
    json!({ "type": "location", "location": { "latitude": 40.78291, "longitude": -73.959075,
        "name": "Guggenheim Museum", "address": "1071 5th Ave, New York" } })
}

pub fn shared_contact() -> Value {
    json!({ "type": "contacts", "contacts": [{ "name": { "formatted_name": "Barbara Johnson", "first_name": "Barbara" },
        "phones": [{ "phone": "+1 (650) 555-6789", "wa_id": "16505556789", "type": "CELL" }] }] })
}

pub fn unsupported() -> Value {
    let words = "Message type unknown";
    json!({ "type": "unsupported", "errors": [{ "code": 131_051, "title": words, "message": words,
        "error_data": { "details": "Message type is currently not supported." } }] })
}

/// A text of the person who hides their number.
pub fn hidden_text(id: &str, text: &str) -> Value {
    let mut message = words(text);
    for (key, value) in [("from_user_id", HIDDEN), ("id", id), ("timestamp", TIMESTAMP)] {
        message[key] = value.into();
    }
    json!({ "contacts": [{ "profile": { "name": "Al", "username": "@al" }, "user_id": HIDDEN }], "messages": [message] })
}

pub fn fate(id: &str, status: &str, more: Value) -> Value {
    let mut told = json!({ "id": id, "status": status, "timestamp": TIMESTAMP, "recipient_id": ANN });
    for (key, value) in more.as_object().unwrap() {
        told[key] = value.clone();
    }
    json!({ "contacts": contacts(), "statuses": [told] })
}

/// The 24 hours were over.
pub fn too_late() -> Value {
    json!({ "errors": [{ "code": 131_047, "title": "Re-engagement message", "message": "Re-engagement message",
        "error_data": { "details": "More than 24 hours have passed since the customer last replied" } }] })
}

pub fn contacts() -> Value {
    json!([{ "profile": { "name": "Sheena Nelson" }, "wa_id": ANN, "user_id": ANN_SCOPED }])
}

/// Meta posts a webhook.
pub fn tell(hears: &impl Hears, number: &str, more: Value) -> (u16, String) {
    let body = webhook(number, more);
    post(hears, &body, &sign(SECRET, &body))
}

/// The same to a runtime that may be killed at any moment: whether Meta was answered that it was taken.
pub fn is_taken(at: SocketAddr, told: Value) -> bool {
    let body = webhook(NUMBER, told);
    let signature = sign(SECRET, &body);
    let headers = [("content-type", "application/json"), ("x-hub-signature-256", signature.as_str())];
    try_request(at, "POST", PATH, &headers, &body).is_ok_and(|(status, _)| status == 200)
}

/// What a text has for half of a character: it is told as such.
pub const HALF: char = '\u{e000}';

/// The bytes of a webhook.
fn webhook(number: &str, more: Value) -> Vec<u8> {
    let mut value = json!({ "messaging_product": "whatsapp",
        "metadata": { "display_phone_number": "15550783881", "phone_number_id": number } });
    for (key, part) in more.as_object().unwrap() {
        value[key] = part.clone();
    }
    let body = json!({ "object": "whatsapp_business_account", "entry": [{ "id": "102290129340398",
        "changes": [{ "value": value, "field": "messages" }] }] });
    let mut escaped = String::new();
    for unit in body.to_string().encode_utf16() {
        match u8::try_from(unit) {
            Ok(byte) if byte.is_ascii() => escaped.push(char::from(byte)),
            _ => escaped.push_str(&format!("\\u{unit:04x}")),
        }
    }
    escaped.replace(r"\ue000", r"\ud83d").into_bytes()
}

pub fn post(hears: &impl Hears, body: &[u8], signature: &str) -> (u16, String) {
    let headers = [("content-type", "application/json"), ("x-hub-signature-256", signature)];
    request(hears.at(), "POST", PATH, &headers, body)
}

/// Meta tries the address, with this word.
pub fn trial(hears: &impl Hears, word: &str) -> (u16, String) {
    let path = format!("{PATH}?hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token={word}");
    request(hears.at(), "GET", &path, &[], b"")
}
