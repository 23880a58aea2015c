//! Delivering: a long text and files become several messages. Each of them bears the delivery's id, and how many were
//! sent is kept, so that a second attempt goes on where the first one broke off.

use crate::api::Api;
use crate::event::{self, Target};
use crate::{card, tap};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::VecDeque;
use tokio::sync::Mutex;
use vestibule_plugin_api::toolbox::emoji;
use vestibule_plugin_api::toolbox::markdown::{self, Dialect, Unit};
use vestibule_plugin_api::toolbox::state;
use vestibule_plugin_api::{
    Attachment, Content, OutboundMessage, PluginError, Receipt, Result, Runtime, StateWrite, Timestamp,
};

/// The longest text of one message: what is longer Slack cuts off.
const TEXT_UNITS_MAX: usize = 40_000;
/// The same of one that is edited.
const EDIT_UNITS_MAX: usize = 4_000;
/// The kind of metadata by which a message of ours is found again.
const METADATA: &str = "vestibule_delivery";
/// The state key of the progress.
const SENT: &str = "sent";
/// How many messages are remembered: more than are ever under way at once.
const REMEMBERED: usize = 64;
/// Slack's clock and ours may differ by this much, in milliseconds.
const CLOCKS_DIFFER_MS: i64 = 600_000;

/// How far the last messages came, the newest last.
pub struct Progress(Mutex<VecDeque<Sent>>);

#[derive(Clone, Serialize, Deserialize)]
struct Sent {
    message: String,
    /// How many parts are there.
    parts: usize,
    first: Option<String>,
    /// The files that were brought to Slack, to be shown: by these ids their message is found again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    files: Vec<String>,
}

impl Progress {
    /// Reads the progress from the account's state.
    pub async fn load(runtime: &Runtime) -> Result<Progress> {
        let kept = runtime.state_get(SENT).await?;
        Ok(Progress(Mutex::new(kept.and_then(|kept| serde_json::from_str(&kept).ok()).unwrap_or_default())))
    }

    async fn of(&self, message: &str) -> Sent {
        let found = self.0.lock().await.iter().find(|sent| sent.message == message).cloned();
        found.unwrap_or_else(|| Sent { message: message.to_owned(), parts: 0, first: None, files: vec![] })
    }

    /// Notes how far a message came. If that cannot be kept, a second attempt asks Slack.
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

/// One message of several that a delivery is.
#[derive(Debug, PartialEq)]
enum Part {
    /// A text, and the blocks that show it with buttons.
    Text(String, Option<Value>),
    /// All files.
    Files(Vec<Attachment>),
}

/// The messages that a delivery is. Pure.
fn parts(content: Content, attachments: Vec<Attachment>) -> Result<Vec<Part>> {
    let mut parts = match content {
        Content::Text { text } => texts(&text, TEXT_UNITS_MAX),
        Content::Question { title, question, options } => {
            let mut parts = texts(&tap::words(&title, &question, &options), tap::BLOCK_CHARS_MAX);
            if let Some(Part::Text(text, blocks)) = parts.last_mut() {
                *blocks = Some(tap::blocks(text, &options));
            }
            parts
        }
        Content::Card(card) => {
            // Notifications show these words, which may call no crowd either.
            let words = messages(&card.fallback, TEXT_UNITS_MAX).into_iter().next();
            vec![Part::Text(words.unwrap_or_else(|| "\u{2014}".to_owned()), Some(card::blocks(&card)))]
        }
        _ => {
            return Err(PluginError::unsupported("this kind of content cannot be sent"));
        }
    };
    if !attachments.is_empty() {
        parts.push(Part::Files(attachments));
    }
    match parts.is_empty() {
        true => Err(PluginError::refused("there is nothing to send: no text and no file")),
        false => Ok(parts),
    }
}

fn with_emoji(text: &str) -> String {
    emoji::in_text(text, |name| Some(format!(":{}:", emoji::slack(name))))
}

fn messages(text: &str, most: usize) -> Vec<String> {
    markdown::messages(&with_emoji(text), Dialect::Slack, Unit::Utf16, most)
}

fn texts(text: &str, most: usize) -> Vec<Part> {
    messages(text, most).into_iter().map(|text| Part::Text(text, None)).collect()
}

/// Does what a message asks for: sends the parts that have not been sent, or changes what is there.
pub async fn deliver(
    api: &Api,
    runtime: &Runtime,
    progress: &Progress,
    message: OutboundMessage,
) -> Result<Receipt> {
    let target = event::target(&message.address).map_err(PluginError::refused)?;
    match &message.content {
        Content::Edit { message_id, text } => {
            edit(api, &target, message_of(message_id)?, text).await?;
            return Ok(Receipt::default());
        }
        Content::Delete { message_id } => {
            delete(api, &target, message_of(message_id)?).await?;
            return Ok(Receipt::default());
        }
        Content::Reaction { message_id, emoji } => {
            api.react(&target.channel, message_of(message_id)?, &emoji::slack(emoji)).await?;
            return Ok(Receipt::default());
        }
        _ => {}
    }
    let files = message.attachments.into_iter().filter(|file| file.bytes.is_some()).collect();
    let parts = parts(message.content, files)?;
    let many = parts.len() > 1;
    let mut sent = progress.of(&message.id).await;
    for (number, part) in parts.iter().enumerate().skip(sent.parts) {
        let ts = match part {
            Part::Text(text, blocks) => {
                let metadata =
                    json!({ "event_type": METADATA, "event_payload": { "id": message.id, "part": number } });
                let thread = target.thread.as_deref();
                api.post(&target.channel, thread, text, blocks.as_ref(), &metadata).await?
            }
            Part::Files(files) => {
                show(api, runtime, progress, &target, &mut sent, files).await?;
                None
            }
        };
        if number == 0 {
            sent.first = ts;
        }
        sent.parts = number + 1;
        if many {
            progress.note(runtime, &sent).await;
        }
    }
    Ok(Receipt { platform_message_id: sent.first })
}

/// The id of a message, as the runtime knows it from a receipt or from what came in.
fn message_of(id: &str) -> Result<&str> {
    event::is_ts(id)
        .then_some(id)
        .ok_or_else(|| PluginError::refused(format!("`{id}` is no message on Slack")))
}

async fn edit(api: &Api, target: &Target, ts: &str, text: &str) -> Result<()> {
    match &messages(text, EDIT_UNITS_MAX)[..] {
        [text] => {
            // What followed because it was too long for one message belongs to the old words.
            let rest = rest(api, target, ts).await?;
            // The blocks go: they would be shown in place of the words.
            api.update(&target.channel, ts, text, &json!([])).await?;
            for ts in rest {
                api.delete(&target.channel, &ts).await?;
            }
            Ok(())
        }
        [] => Err(PluginError::refused("the edit says nothing: delete the message instead")),
        _ => Err(PluginError::refused(format!(
            "an edited message holds {EDIT_UNITS_MAX} characters on Slack: send a new one"
        ))),
    }
}

/// Takes a message back, and those that followed it because it was too long for one.
async fn delete(api: &Api, target: &Target, ts: &str) -> Result<()> {
    let rest = rest(api, target, ts).await?;
    // The first goes last: as long as it is there, the others are found.
    for ts in rest.iter().map(String::as_str).chain([ts]) {
        api.delete(&target.channel, ts).await?;
    }
    Ok(())
}

/// The other messages of the delivery that this one begins. Without the right to look, there are none.
async fn rest(api: &Api, target: &Target, ts: &str) -> Result<Vec<String>> {
    match api.history(&target.channel, target.thread.as_deref(), ts).await {
        Ok(shown) => Ok(rest_of(&shown, ts)),
        Err(PluginError::Refused { .. }) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// The other messages of the delivery that this one begins. Pure.
fn rest_of(shown: &[Value], ts: &str) -> Vec<String> {
    let delivery = |message: &Value| {
        let metadata = &message["metadata"];
        let id = metadata["event_payload"]["id"].as_str().filter(|_| metadata["event_type"] == METADATA);
        id.map(str::to_owned)
    };
    let Some(of) = shown.iter().find(|message| message["ts"] == ts).and_then(delivery) else {
        return Vec::new();
    };
    let others =
        shown.iter().filter(|message| message["ts"] != ts && delivery(message).as_ref() == Some(&of));
    others.filter_map(|message| message["ts"].as_str().map(str::to_owned)).collect()
}

/// Brings files to Slack, notes their ids, and only then shows them: so their message can be found again.
async fn show(
    api: &Api,
    runtime: &Runtime,
    progress: &Progress,
    target: &Target,
    sent: &mut Sent,
    files: &[Attachment],
) -> Result<()> {
    let mut ids = Vec::new();
    for file in files {
        ids.push(api.upload(file).await?);
    }
    sent.files.clone_from(&ids);
    progress.note(runtime, sent).await;
    let title = |file: &Attachment| if file.name.is_empty() { "file".to_owned() } else { file.name.clone() };
    let titled: Vec<_> = ids.into_iter().zip(files.iter().map(title)).collect();
    api.share(&target.channel, target.thread.as_deref(), &titled).await
}

/// Finds out whether a message has arrived, all of it; notes how much of it has.
pub async fn find(
    api: &Api,
    runtime: &Runtime,
    progress: &Progress,
    message: OutboundMessage,
) -> Result<Option<Receipt>> {
    let target = event::target(&message.address).map_err(PluginError::refused)?;
    // What changes a message may be done twice.
    if matches!(message.content, Content::Edit { .. } | Content::Delete { .. } | Content::Reaction { .. }) {
        return Ok(None);
    }
    let count = parts(message.content, message.attachments)?.len();
    let mut sent = progress.of(&message.id).await;
    let oldest = since(message.taken_at.unwrap_or(Timestamp(0)));
    let mut arrived = 0;
    for shown in api.history(&target.channel, target.thread.as_deref(), &oldest).await? {
        let Some(part) = part_of(&shown, &message.id, &sent.files, count) else { continue };
        arrived = arrived.max(part + 1);
        if part == 0 {
            sent.first = shown["ts"].as_str().map(str::to_owned);
        }
    }
    sent.parts = sent.parts.max(arrived);
    if arrived > 0 {
        progress.note(runtime, &sent).await;
    }
    Ok((sent.parts >= count).then_some(Receipt { platform_message_id: sent.first }))
}

/// Which part of a delivery a message on Slack is. Pure.
fn part_of(shown: &Value, delivery: &str, files: &[String], count: usize) -> Option<usize> {
    let metadata = &shown["metadata"];
    let payload = &metadata["event_payload"];
    if metadata["event_type"] == METADATA && payload["id"] == delivery {
        return payload["part"]
            .as_u64()
            .and_then(|part| usize::try_from(part).ok())
            .filter(|part| *part < count);
    }
    // The files are the last part.
    let has = |file: &Value| file["id"].as_str().is_some_and(|id| files.iter().any(|ours| ours == id));
    let is_files = shown["files"].as_array().is_some_and(|all| all.iter().any(has));
    is_files.then_some(count.saturating_sub(1))
}

/// A little before that moment, as Slack's `oldest` takes it.
fn since(at: Timestamp) -> String {
    let at = at.0.saturating_sub(CLOCKS_DIFFER_MS).max(0);
    format!("{}.{:03}000", at / 1_000, at % 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use vestibule_plugin_api::{Card, Offer};

    fn text(text: &str) -> Content {
        Content::Text { text: text.into() }
    }

    fn file(name: &str) -> Attachment {
        Attachment { name: name.into(), bytes: Some(vec![1].into()), ..Attachment::default() }
    }

    #[test]
    fn what_a_delivery_becomes() {
        let words = |words: &str| Part::Text(words.into(), None);
        assert_eq!(parts(text("**hi** {{emoji:check}}"), vec![]), Ok(vec![words("*hi* :white_check_mark:")]));
        assert_eq!(parts(text(""), vec![file("a")]), Ok(vec![Part::Files(vec![file("a")])]));
        let both = parts(text("hi"), vec![file("a"), file("b")]).expect("something");
        assert_eq!(both, [words("hi"), Part::Files(vec![file("a"), file("b")])]);
        assert!(parts(text(" \n"), vec![]).is_err());
        assert!(matches!(parts(Content::Unknown, vec![]), Err(PluginError::Unsupported { .. })));
        for (fallback, want) in [("**hi** <!channel>", "*hi* &lt;!channel&gt;"), ("[a]: b", "\u{2014}")] {
            let card = Card { title: "T".into(), fallback: fallback.into(), ..Card::default() };
            let shown = Some(card::blocks(&card));
            assert_eq!(parts(Content::Card(card), vec![]), Ok(vec![Part::Text(want.into(), shown)]));
        }
        let long = parts(text(&"word ".repeat(20_000)), vec![]).expect("something");
        assert_eq!(long.len(), 3);
        let options = vec![Offer { label: "Yes".into(), token: "t.1".into() }];
        let question = |question: &str| Content::Question {
            title: "Deploy".into(),
            question: question.into(),
            options: options.clone(),
        };
        let asked = parts(question("Now?"), vec![]).expect("something");
        assert_eq!(
            asked,
            [Part::Text("*Deploy*\n\nNow?".into(), Some(tap::blocks("*Deploy*\n\nNow?", &options)))]
        );
        let asked = parts(question(&"why ".repeat(1_000)), vec![]).expect("something");
        assert!(matches!(&asked[..], [Part::Text(_, None), Part::Text(_, Some(_))]), "{asked:?}");
    }

    #[test]
    fn what_is_taken_back_with_a_message() {
        let message = |ts: &str, id: &str| json!({ "ts": ts, "metadata": { "event_type": METADATA, "event_payload": { "id": id, "part": 0 } } });
        let shown =
            [message("1.1", "m-1"), message("1.2", "m-2"), message("1.3", "m-1"), json!({ "ts": "1.4" })];
        assert_eq!(rest_of(&shown, "1.1"), ["1.3"]);
        assert_eq!(rest_of(&shown, "1.2"), [""; 0]);
        assert_eq!(rest_of(&shown, "1.4"), [""; 0], "of no delivery");
        assert_eq!(rest_of(&shown, "9.9"), [""; 0]);
        assert!(message_of("C012:1.1").is_err() && message_of("1.1").is_ok());
    }

    #[test]
    fn parts_are_found_again() {
        let metadata = |id: &str, part: u64| json!({ "ts": "1.2", "metadata": { "event_type": METADATA, "event_payload": { "id": id, "part": part } } });
        let files = vec!["F1".to_owned()];
        for (shown, want) in [
            (metadata("m-1", 0), Some(0)),
            (metadata("m-1", 2), Some(2)),
            (metadata("m-1", 3), None),
            (metadata("m-2", 0), None),
            (
                json!({ "metadata": { "event_type": "other", "event_payload": { "id": "m-1", "part": 0 } } }),
                None,
            ),
            (json!({ "files": [{ "id": "F0" }, { "id": "F1" }] }), Some(2)),
            (json!({ "files": [{ "id": "F2" }] }), None),
            (json!({ "text": "m-1" }), None),
            (json!(null), None),
        ] {
            assert_eq!(part_of(&shown, "m-1", &files, 3), want, "{shown}");
        }
        assert_eq!(since(Timestamp(1_700_000_000_123)), "1699999400.123000");
        assert_eq!(since(Timestamp(0)), "0.000000");
    }
}
