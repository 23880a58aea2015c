//! The JSON in which a message lies in `inbound.db`: the fields that the prompt format reads. Pure.

use super::snapshot::Arrival;
use serde_json::json;

/// Writes the content of a row.
pub fn content(arrival: &Arrival) -> String {
    let message = &arrival.message;
    let name = message.sender.name.as_deref().unwrap_or(&message.sender.handle);
    let mut content = json!({
        "text": message.text,
        "sender": name,
        "senderName": name,
        "senderId": format!("{}:{}", arrival.address.channel_type, message.sender.handle),
    });
    if let Some(reply_to) = &message.reply_to {
        content["replyTo"] = json!({ "id": reply_to.id, "sender": reply_to.sender, "text": reply_to.text });
    }
    if !message.attachments.is_empty() {
        let attachments = message.attachments.iter().map(|file| {
            json!({ "name": file.name, "type": "file", "mimeType": file.mime_type, "size": file.size_bytes, "url": file.url })
        });
        content["attachments"] = attachments.collect();
    }
    content.to_string()
}
