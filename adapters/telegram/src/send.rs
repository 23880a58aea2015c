//! Delivering: a long text and files become several messages. The number of parts that were sent is kept, so that a
//! second attempt goes on where the first one broke off.

use crate::api::{Api, Called};
use crate::map::Target;
use crate::{chats, map, tap};
use serde_json::Value;
use vestibule_plugin_api::toolbox::markdown::{self, Dialect, Unit};
use vestibule_plugin_api::toolbox::sending::Sending;
use vestibule_plugin_api::{Attachment, Content, OutboundMessage, PluginError, Receipt, Result, Runtime};

/// The longest text of one message. Telegram does not count its tags.
pub const TEXT_UNITS_MAX: usize = 4_096;

enum Part {
    /// A text in Telegram's HTML, and the buttons under it.
    Text(String, Option<Value>),
    File(Attachment),
}

/// Sends the parts of a message that have not been sent.
pub async fn deliver(api: &Api, runtime: &Runtime, message: OutboundMessage) -> Result<Receipt> {
    let (text, buttons) = match message.content {
        Content::Text { text } => (text, None),
        Content::Question { title, question, options } => {
            (tap::words(&title, &question), Some(tap::keyboard(&options)))
        }
        _ => {
            return Err(PluginError::unsupported("only text, questions and files can be sent"));
        }
    };
    let mut target = map::target(&message.address).map_err(PluginError::refused)?;
    let files = message.attachments.into_iter().filter(|file| file.bytes.is_some()).map(Part::File);
    let texts = markdown::messages(&text, Dialect::Telegram, Unit::Utf16, TEXT_UNITS_MAX);
    let mut texts: Vec<Part> = texts.into_iter().map(|text| Part::Text(text, None)).collect();
    if let Some(Part::Text(_, under)) = texts.last_mut() {
        *under = buttons;
    }
    let parts: Vec<Part> = texts.into_iter().chain(files).collect();
    if parts.is_empty() {
        return Err(PluginError::refused("there is nothing to send: no text and no file"));
    }
    let mut sending = Sending::of(runtime, &message.id, message.sent_so_far, parts.len());
    for (number, part) in parts.iter().enumerate().skip(sending.parts()) {
        let quoted = message.in_reply_to.as_deref().filter(|_| number == 0);
        let mut done = send(api, &target, part, quoted).await;
        if let Some(now) = done.as_ref().err().and_then(|failed| failed.moved_to) {
            chats::follow(runtime, target.chat, now).await;
            target.chat = now;
            done = send(api, &target, part, quoted).await;
        }
        let id = done?;
        sending.went(id.map(|id| map::message_name(target.chat, id))).await;
    }
    Ok(sending.receipt())
}

async fn send(api: &Api, to: &Target, part: &Part, quoted: Option<&str>) -> Called<Option<i64>> {
    let quote = map::quote(to, quoted);
    match part {
        Part::Text(text, buttons) => api.send_text(to, text, buttons.as_ref(), quote).await,
        Part::File(file) => api.send_file(to, file, quote).await,
    }
}
