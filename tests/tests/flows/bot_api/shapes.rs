//! The objects of the Bot API, with all that Telegram always says of them.

use super::{OWN, SentFile};
use serde_json::{Value, json};

/// The bot, as others see it.
pub fn own() -> Value {
    json!({ "id": OWN, "is_bot": true, "first_name": "V", "username": "VestibuleBot" })
}

pub fn chat(chat: i64) -> Value {
    match chat {
        ..-1_000_000 => json!({ "id": chat, "type": "supergroup", "title": "Friends", "is_forum": true }),
        -1_000_000..0 => json!({ "id": chat, "type": "supergroup", "title": "Friends" }),
        _ => json!({ "id": chat, "type": "private", "first_name": "Ada" }),
    }
}

/// Adds what a test left out of an update, and Telegram always says. `key` is where the value stands.
pub fn complete(value: &mut Value, key: &str) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(|value| complete(value, key)),
        Value::Object(fields) => {
            fields.iter_mut().for_each(|(key, value)| complete(value, key));
            let mut add = |key: &str, value: Value| {
                fields.entry(key.to_owned()).or_insert(value);
            };
            match key {
                "from" | "user" | "sender_user" => {
                    add("is_bot", json!(false));
                    add("first_name", json!("Ada"));
                }
                "photo" => {
                    add("width", json!(90));
                    add("height", json!(60));
                }
                "video" | "animation" => {
                    add("width", json!(90));
                    add("height", json!(60));
                    add("duration", json!(3));
                }
                "audio" | "voice" => add("duration", json!(3)),
                "old_chat_member" | "new_chat_member" => {
                    add("user", own());
                    if fields["status"] == "administrator" {
                        rights(fields);
                    }
                    if fields["status"] == "kicked" {
                        fields.entry("until_date").or_insert(json!(0));
                    }
                }
                _ => {}
            }
            if let Some(id) = fields.get("file_id").cloned() {
                fields.entry("file_unique_id").or_insert(id);
            }
        }
        _ => {}
    }
}

/// What an administrator may do, each said by itself.
fn rights(fields: &mut serde_json::Map<String, Value>) {
    for right in [
        "can_be_edited",
        "is_anonymous",
        "can_manage_chat",
        "can_delete_messages",
        "can_manage_video_chats",
        "can_restrict_members",
        "can_promote_members",
        "can_change_info",
        "can_invite_users",
        "can_post_stories",
        "can_edit_stories",
        "can_delete_stories",
    ] {
        fields.entry(right).or_insert(json!(false));
    }
}

/// A file of a message, under the name of its kind.
pub fn file(file: &SentFile, id: &str) -> Value {
    let SentFile { kind, name, bytes } = file;
    let plain = json!({ "file_id": id, "file_name": name, "file_size": bytes.len() });
    let mut shown = json!({ kind: plain });
    if kind == "photo" {
        shown[kind] = json!([{ "file_id": id, "file_size": bytes.len() }]);
    }
    complete(&mut shown, "");
    shown
}
