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
