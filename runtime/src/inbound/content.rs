//! The JSON of a message in `inbound.db`: the fields that the prompt format reads. Pure.

use super::snapshot::{Arrival, name_of, short};
use crate::ledger::{KnownMessage, NewAttachment};
use serde_json::{Value, json};
use vestibule_plugin_api::{Changed, Mention};
use vestibule_session::words;

/// The writer of a quote when the channel names none: the name that runners show for that.
const UNKNOWN: &str = "Unknown";

/// Writes the content of a row, all but its attachments.
pub fn content(arrival: &Arrival) -> Value {
    let message = &arrival.message;
    let name = one_line(name_of(&message.sender));
    let mut content = json!({
        "text": message.text,
        "sender": name,
        "senderName": name,
        "senderId": format!("{}:{}", arrival.address.channel_type, message.sender.handle),
    });
    if let Some(reply_to) = &message.reply_to {
        // Runners show no words without a name to them.
        let unknown = reply_to.text.is_some().then_some(UNKNOWN);
        let sender = reply_to.sender.as_deref().filter(|name| !name.is_empty()).or(unknown).map(one_line);
        content["replyTo"] = json!({ "id": reply_to.id, "sender": sender, "text": reply_to.text });
    }
    if !message.metadata.is_empty() {
        content["metadata"] = json!(message.metadata);
    }
    if let Some(standing) = &message.sender.standing {
        content["senderStanding"] = one_line(standing).into();
    }
    if !message.mentions.is_empty() {
        let named = |one: &Mention| {
            json!({ "id": format!("{}:{}", arrival.address.channel_type, one.handle),
                    "name": one.name.as_deref().map(|name| one_line(short(name))) })
        };
        content["mentions"] = message.mentions.iter().map(named).collect();
    }
    content
}

/// Writes the content of a row that tells of a change: in words, which every runner shows, with the number that the
/// session's agent knows the message by.
pub fn change_content(arrival: &Arrival, change: &Changed, known: &KnownMessage) -> Value {
    let whose = if known.is_own { "your message" } else { "message" };
    let message = format!("{whose} {}", known.seq);
    // A module may have put other words in the place of a text or an emoji.
    let said = &arrival.message.text;
    let (kind, text) = match change {
        Changed::Edited { .. } => ("edited", format!("[edited {message}] {said}")),
        Changed::Deleted => ("deleted", format!("[deleted {message}]")),
        Changed::Reacted { .. } => ("reacted", format!("[reacted with {said} to {message}]")),
        Changed::Unreacted { .. } => ("unreacted", format!("[took the reaction {said} back from {message}]")),
        Changed::Unknown => ("unknown", format!("[changed {message}]")),
    };
    let mut content = content(arrival);
    content["text"] = text.into();
    content["change"] = json!({ "kind": kind, "message": known.seq });
    content
}

/// A name on one line. It was bounded before.
fn one_line(name: &str) -> String {
    words::line(name, usize::MAX)
}

/// Writes what is known of each attachment.
pub fn attachments(arrival: &Arrival) -> Vec<NewAttachment> {
    let named = |(position, file): (usize, &vestibule_plugin_api::Attachment)| NewAttachment {
        entry: entry(file),
        file: arrival.files.iter().find(|stored| stored.position == position).cloned(),
    };
    arrival.message.attachments.iter().enumerate().map(named).collect()
}

fn entry(file: &vestibule_plugin_api::Attachment) -> Value {
    let mut entry = json!({
        "name": file.name,
        "type": file.kind.as_deref().unwrap_or("file"),
        "mimeType": file.mime_type,
        "size": file.size_bytes,
        "url": file.url,
    });
    if file.quoted {
        entry["quoted"] = true.into();
    }
    entry
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attachments::StoredFile;
    use crate::inbound::snapshot::QUOTE_BYTES_MAX;
    use vestibule_plugin_api::{Attachment, ID_BYTES_MAX, InboundMessage, ReplyTo, Sender, Timestamp};

    fn empty() -> InboundMessage {
        InboundMessage {
            event_id: "e".into(),
            message_id: "m".into(),
            platform_id: "c".into(),
            sender: Sender { handle: "u".into(), name: None, is_bot: false, ..Sender::default() },
            text: String::new(),
            timestamp: Timestamp(0),
            ..InboundMessage::default()
        }
    }

    #[test]
    fn what_is_quoted_is_bounded_and_has_a_name() {
        let long = |length: usize| "ü".repeat(length / 2);
        let (whole, cut) = (long(QUOTE_BYTES_MAX), long(QUOTE_BYTES_MAX) + "…");
        for (sender, text, want) in [
            (Some("Bob"), Some("lunch?\nnow"), (json!("Bob"), json!("lunch?\nnow"))),
            (None, Some("lunch?"), (json!("Unknown"), json!("lunch?"))),
            (Some(""), Some("lunch?"), (json!("Unknown"), json!("lunch?"))),
            (Some("B\nob\u{1b}"), Some("l"), (json!("B ob\u{fffd}"), json!("l"))),
            (Some("Bob"), Some(&*whole), (json!("Bob"), json!(whole))),
            (Some("Bob"), None, (json!("Bob"), Value::Null)),
            (None, None, (Value::Null, Value::Null)),
            (Some(&*long(9_000)), Some(&*long(90_000)), (json!(long(ID_BYTES_MAX)), json!(cut))),
        ] {
            let (sender, text) = (sender.map(str::to_owned), text.map(str::to_owned));
            let reply_to = Some(ReplyTo { id: long(9_000), sender, text });
            let arrival = Arrival::new("x", "main", true, InboundMessage { reply_to, ..empty() });
            let quoted = content(&arrival)["replyTo"].take();
            assert_eq!(quoted["id"], long(ID_BYTES_MAX));
            assert_eq!((quoted["sender"].clone(), quoted["text"].clone()), want);
        }
    }

    #[test]
    fn each_attachment_has_the_file_of_its_own_place() {
        let named = |name: &str| Attachment { name: name.into(), ..Attachment::default() };
        let files = vec![named("a"), Attachment { kind: Some("image".into()), ..named("b") }];
        let message = InboundMessage { attachments: files, ..empty() };
        let mut arrival = Arrival::new("x", "main", true, message);
        arrival.files =
            vec![StoredFile { position: 1, name: "b".into(), size_bytes: 1, blob: Ok("blob".into()) }];
        let told: Vec<(Value, Value, bool)> = attachments(&arrival)
            .into_iter()
            .map(|one| (one.entry["name"].clone(), one.entry["type"].clone(), one.file.is_some()))
            .collect();
        assert_eq!(told, [(json!("a"), json!("file"), false), (json!("b"), json!("image"), true)]);
    }
}
