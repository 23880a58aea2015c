//! Delivering: a long text and files become several messages. Each of them bears the delivery's id, and how many were
//! sent is kept, so that a second attempt goes on where the first one broke off.

use crate::api::Api;
use crate::event::{self, Target};
use crate::names::Names;
use crate::{card, tap};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use vestibule_plugin_api::toolbox::emoji;
use vestibule_plugin_api::toolbox::markdown::{self, Dialect, Unit};
use vestibule_plugin_api::toolbox::sending::Sending;
use vestibule_plugin_api::{
    Attachment, Card, Content, OutboundMessage, PluginError, Receipt, Result, Runtime, Timestamp,
};

/// The longest text of one message: what is longer Slack cuts off.
const TEXT_UNITS_MAX: usize = 40_000;
/// The same of one that is edited, as Slack shows it.
const EDIT_UNITS_MAX: usize = 4_000;
/// The kind of metadata by which a message of ours is found again.
const METADATA: &str = "vestibule_delivery";
/// Slack's clock and ours may differ by this much, in milliseconds.
const CLOCKS_DIFFER_MS: i64 = 600_000;

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
    // Before anything is sent: the words alone would speak of a file that never comes.
    if let Some(file) =
        attachments.iter().find(|file| file.bytes.as_ref().is_some_and(|bytes| bytes.is_empty()))
    {
        return Err(PluginError::refused(format!(
            "the file `{}` is empty, and Slack takes no empty file",
            file.name
        )));
    }
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

/// What is sent of a content: the people in it are referred to, and an edit that is too long as Slack shows it is a new text.
async fn as_sent(names: &Names, content: Content) -> Content {
    let named = |text: String| names.referenced(text);
    match content {
        Content::Text { text } => Content::Text { text: named(text).await },
        Content::Question { title, question, options } => {
            Content::Question { title, question: named(question).await, options }
        }
        Content::Card(card) => Content::Card(Card { text: named(card.text).await, ..card }),
        Content::Edit { message_id, text, further_message_ids } => {
            let text = named(text).await;
            match messages(&text, EDIT_UNITS_MAX).len() {
                ..=1 => Content::Edit { message_id, text, further_message_ids },
                _ => Content::Text { text },
            }
        }
        other => other,
    }
}

/// Does what a message asks for: sends the parts that have not been sent, or changes what is there.
pub async fn deliver(
    api: &Api,
    names: &Names,
    runtime: &Runtime,
    message: OutboundMessage,
) -> Result<Receipt> {
    let target = event::target(&message.address).map_err(PluginError::refused)?;
    let content = as_sent(names, message.content).await;
    match &content {
        Content::Edit { message_id, text, further_message_ids } => {
            edit(api, &target, message_of(message_id)?, text, further_message_ids).await?;
            return Ok(Receipt::default());
        }
        Content::Delete { message_id, further_message_ids } => {
            // The first goes last: as long as it is there, the agent can ask for the rest again.
            for ts in further_message_ids.iter().chain([message_id]) {
                api.delete(&target.channel, message_of(ts)?).await?;
            }
            return Ok(Receipt::default());
        }
        Content::Reaction { message_id, emoji } => {
            api.react(&target.channel, message_of(message_id)?, &emoji::slack(emoji)).await?;
            return Ok(Receipt::default());
        }
        _ => {}
    }
    let files = message.attachments.into_iter().filter(|file| file.bytes.is_some()).collect();
    let parts = parts(content, files)?;
    let mut sending = Sending::of(runtime, &message.id, message.sent_so_far, parts.len());
    for (number, part) in parts.iter().enumerate().skip(sending.parts()) {
        let ts = match part {
            Part::Text(text, blocks) => {
                let metadata =
                    json!({ "event_type": METADATA, "event_payload": { "id": message.id, "part": number } });
                let thread = target.thread.as_deref();
                api.post(&target.channel, thread, text, blocks.as_ref(), &metadata).await?
            }
            Part::Files(files) => {
                show(api, &mut sending, &target, files).await?;
                None
            }
        };
        sending.went(ts).await;
    }
    Ok(sending.receipt())
}

/// The id of a message, as the runtime knows it from a receipt or from what came in.
fn message_of(id: &str) -> Result<&str> {
    event::is_ts(id)
        .then_some(id)
        .ok_or_else(|| PluginError::refused(format!("`{id}` is no message on Slack")))
}

async fn edit(api: &Api, target: &Target, ts: &str, text: &str, rest: &[String]) -> Result<()> {
    let text = messages(text, EDIT_UNITS_MAX).into_iter().next();
    let text =
        text.ok_or_else(|| PluginError::refused("the edit says nothing: delete the message instead"))?;
    // The blocks go: they would be shown in place of the words.
    api.update(&target.channel, ts, &text, &json!([])).await?;
    // What followed because it was too long for one message belongs to the old words.
    for ts in rest {
        api.delete(&target.channel, message_of(ts)?).await?;
    }
    Ok(())
}

/// Brings files to Slack, notes their ids, and only then shows them: so their message can be found again.
async fn show(api: &Api, sending: &mut Sending<'_>, target: &Target, files: &[Attachment]) -> Result<()> {
    let mut ids = Vec::new();
    for file in files {
        ids.push(api.upload(file).await?);
    }
    sending.note(ids.join(" ")).await;
    let title = |file: &Attachment| if file.name.is_empty() { "file".to_owned() } else { file.name.clone() };
    let titled: Vec<_> = ids.into_iter().zip(files.iter().map(title)).collect();
    api.share(&target.channel, target.thread.as_deref(), &titled).await
}

/// Finds out whether a message has arrived, all of it; notes how much of it has.
pub async fn find(
    api: &Api,
    names: &Names,
    runtime: &Runtime,
    message: OutboundMessage,
) -> Result<Option<Receipt>> {
    let target = event::target(&message.address).map_err(PluginError::refused)?;
    let content = as_sent(names, message.content).await;
    // What changes a message may be done twice.
    if matches!(content, Content::Edit { .. } | Content::Delete { .. } | Content::Reaction { .. }) {
        return Ok(None);
    }
    let count = parts(content, message.attachments)?.len();
    let note = message.sent_so_far.as_ref().and_then(|sent| sent.note.clone()).unwrap_or_default();
    let files: Vec<&str> = note.split_whitespace().collect();
    let mut sending = Sending::of(runtime, &message.id, message.sent_so_far, count);
    let oldest = since(message.taken_at.unwrap_or(Timestamp(0)));
    let mut arrived = BTreeMap::new();
    for shown in api.history(&target.channel, target.thread.as_deref(), &oldest).await? {
        if let Some(part) = part_of(&shown, &message.id, &files, count) {
            arrived.insert(part, shown["ts"].as_str().map(str::to_owned));
        }
    }
    let parts = arrived.last_key_value().map_or(0, |(last, _)| last + 1);
    sending.found(u32::try_from(parts).unwrap_or(u32::MAX), arrived.into_values().flatten().collect()).await;
    Ok((sending.parts() >= count).then(|| sending.receipt()))
}

/// Which part of a delivery a message on Slack is. Pure.
fn part_of(shown: &Value, delivery: &str, files: &[&str], count: usize) -> Option<usize> {
    let metadata = &shown["metadata"];
    let payload = &metadata["event_payload"];
    if metadata["event_type"] == METADATA && payload["id"] == delivery {
        return payload["part"]
            .as_u64()
            .and_then(|part| usize::try_from(part).ok())
            .filter(|part| *part < count);
    }
    // The files are the last part.
    let has = |file: &Value| file["id"].as_str().is_some_and(|id| files.contains(&id));
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
    use vestibule_plugin_api::Offer;

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
        let empty = Attachment { bytes: Some(vec![].into()), ..file("a.txt") };
        let refused = parts(text("hi"), vec![file("b"), empty]).expect_err("it is refused");
        assert!(refused.reason().contains("`a.txt` is empty"), "{refused:?}");
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
    fn the_id_of_a_message_is_its_time() {
        assert!(message_of("C012:1.1").is_err() && message_of("1.1").is_ok());
    }

    #[test]
    fn parts_are_found_again() {
        let metadata = |id: &str, part: u64| json!({ "ts": "1.2", "metadata": { "event_type": METADATA, "event_payload": { "id": id, "part": part } } });
        let files = ["F1"];
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
