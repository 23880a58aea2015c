//! The JSON in which a message lies in `inbound.db`: the fields that the prompt format reads. Pure.

use super::snapshot::{Arrival, name_of};
use crate::ledger::NewAttachment;
use serde_json::{Value, json};

/// Writes the content of a row, all but its attachments.
pub fn content(arrival: &Arrival) -> Value {
    let message = &arrival.message;
    let name = name_of(&message.sender);
    let mut content = json!({
        "text": message.text,
        "sender": name,
        "senderName": name,
        "senderId": format!("{}:{}", arrival.address.channel_type, message.sender.handle),
    });
    if let Some(reply_to) = &message.reply_to {
        content["replyTo"] = json!({ "id": reply_to.id, "sender": reply_to.sender, "text": reply_to.text });
    }
    content
}

/// Writes what is known of each attachment.
pub fn attachments(arrival: &Arrival) -> Vec<NewAttachment> {
    let named = |(position, file): (usize, &vestibule_plugin_api::Attachment)| NewAttachment {
        entry: json!({
            "name": file.name,
            "type": file.kind.as_deref().unwrap_or("file"),
            "mimeType": file.mime_type,
            "size": file.size_bytes,
            "url": file.url,
        }),
        file: arrival.files.iter().find(|stored| stored.position == position).cloned(),
    };
    arrival.message.attachments.iter().enumerate().map(named).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attachments::StoredFile;
    use vestibule_plugin_api::{Attachment, InboundMessage, Sender, Timestamp};

    #[test]
    fn each_attachment_has_the_file_of_its_own_place() {
        let named = |name: &str| Attachment { name: name.into(), ..Attachment::default() };
        let message = InboundMessage {
            event_id: "e".into(),
            message_id: "m".into(),
            platform_id: "c".into(),
            thread_id: None,
            sender: Sender { handle: "u".into(), name: None, is_bot: false },
            text: String::new(),
            reply_to: None,
            attachments: vec![named("a"), Attachment { kind: Some("image".into()), ..named("b") }],
            timestamp: Timestamp(0),
            is_mention: false,
            is_group: false,
        };
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
