//! Delivering: a long text and files become several messages. The number of parts that were sent is kept, so that a
//! second attempt goes on where the first one broke off.

use crate::api::{Api, Called};
use crate::groups::Groups;
use crate::map::Target;
use crate::{map, tap};
use serde_json::Value;
use vestibule_plugin_api::toolbox::markdown::{self, Dialect, Unit};
use vestibule_plugin_api::toolbox::sending::Sending;
use vestibule_plugin_api::{
    Address, Attachment, Content, OutboundMessage, PluginError, Receipt, Result, Runtime,
};

/// The longest text of one message. Telegram does not count its tags.
pub const TEXT_UNITS_MAX: usize = 4_096;

enum Part {
    /// A text in Telegram's HTML, and the buttons under it.
    Text(String, Option<Value>),
    File(Attachment),
}

/// Sends the parts of a message that have not been sent.
pub async fn deliver(
    api: &Api,
    runtime: &Runtime,
    groups: &Groups,
    message: OutboundMessage,
) -> Result<Receipt> {
    let (text, buttons) = match message.content {
        Content::Text { text } => (text, None),
        Content::Question { title, question, options } => {
            (tap::words(&title, &question), Some(tap::keyboard(&options)))
        }
        _ => {
            return Err(PluginError::unsupported("only text, questions and files can be sent"));
        }
    };
    let mut target = on_telegram(groups, &message.address)?;
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
            follow(runtime, groups, target.chat, now).await;
            target = on_telegram(groups, &message.address)?;
            done = send(api, &target, part, quoted).await;
        }
        let id = done?;
        sending.went(id.map(|id| map::message_name(target.chat, id))).await;
    }
    Ok(sending.receipt())
}

/// The place on Telegram for an address: its group may have another number now.
fn on_telegram(groups: &Groups, address: &Address) -> Result<Target> {
    // A wrong address is named as it was written.
    map::target(address).map_err(PluginError::refused)?;
    map::target(&groups.on_telegram(address.clone())).map_err(PluginError::refused)
}

async fn send(api: &Api, to: &Target, part: &Part, quoted: Option<&str>) -> Called<Option<i64>> {
    let quote = map::quote(to, quoted);
    match part {
        Part::Text(text, buttons) => api.send_text(to, text, buttons.as_ref(), quote).await,
        Part::File(file) => api.send_file(to, file, quote).await,
    }
}

/// Follows a group to its new number, as Telegram named it in place of posting there. If that cannot be kept, the next
/// post learns it anew.
async fn follow(runtime: &Runtime, groups: &Groups, chat: i64, now: i64) {
    let kept = groups.follow(runtime, map::chat_name(chat).into(), map::chat_name(now).into()).await;
    if let Err(error) = runtime.state_set(vec![kept]).await {
        tracing::warn!(reason = error.reason(), "that a group has another number could not be kept");
    }
}
