//! Delivering: a long text and files become several messages. The number of parts that were sent is kept, so that a
//! second attempt goes on where the first one broke off.

use crate::api::{Api, Called};
use crate::groups::Groups;
use crate::map::Target;
use crate::{map, tap};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::VecDeque;
use tokio::sync::Mutex;
use vestibule_plugin_api::toolbox::markdown::{self, Dialect, Unit};
use vestibule_plugin_api::toolbox::state;
use vestibule_plugin_api::{
    Address, Attachment, Content, OutboundMessage, PluginError, Receipt, Result, Runtime, StateWrite,
};

/// The longest text of one message. Telegram does not count its tags.
pub const TEXT_UNITS_MAX: usize = 4_096;
/// The state key of the progress.
const SENT: &str = "sent";
/// How many messages are remembered: more than are ever under way at once.
const REMEMBERED: usize = 64;

/// How far the last messages of several parts came, the newest last.
pub struct Progress(Mutex<VecDeque<Sent>>);

#[derive(Clone, Serialize, Deserialize)]
struct Sent {
    message: String,
    parts: usize,
    first: Option<String>,
}

impl Progress {
    /// Reads the progress from the account's state.
    pub async fn load(runtime: &Runtime) -> Result<Progress> {
        let kept = runtime.state_get(SENT).await?;
        Ok(Progress(Mutex::new(kept.and_then(|kept| serde_json::from_str(&kept).ok()).unwrap_or_default())))
    }

    async fn of(&self, message: &str) -> Sent {
        let found = self.0.lock().await.iter().find(|sent| sent.message == message).cloned();
        found.unwrap_or_else(|| Sent { message: message.to_owned(), parts: 0, first: None })
    }

    /// Notes that a part has arrived. If that cannot be kept, a second attempt would repeat the part,
    /// and that is better than not to go on.
    async fn note(&self, runtime: &Runtime, sent: &Sent) {
        let mut all = self.0.lock().await;
        all.retain(|other| other.message != sent.message);
        all.push_back(sent.clone());
        let kept = state::newest(&mut all, REMEMBERED);
        if let Err(error) = runtime.state_set(vec![StateWrite::set(SENT, kept)]).await {
            tracing::warn!(reason = error.reason(), "how far a message came could not be kept");
        }
    }
}

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
    progress: &Progress,
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
    let many = parts.len() > 1;
    let mut sent = progress.of(&message.id).await;
    for (number, part) in parts.iter().enumerate().skip(sent.parts) {
        let quoted = message.in_reply_to.as_deref().filter(|_| number == 0);
        let mut done = send(api, &target, part, quoted).await;
        if let Some(now) = done.as_ref().err().and_then(|failed| failed.moved_to) {
            follow(runtime, groups, target.chat, now).await;
            target = on_telegram(groups, &message.address)?;
            done = send(api, &target, part, quoted).await;
        }
        let id = done?;
        if number == 0 {
            sent.first = id.map(|id| map::message_name(target.chat, id));
        }
        sent.parts = number + 1;
        if many {
            progress.note(runtime, &sent).await;
        }
    }
    Ok(Receipt { platform_message_id: sent.first })
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
