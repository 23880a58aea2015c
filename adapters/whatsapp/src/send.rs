//! Delivering: a long text and files become several messages, and how many of them were sent is kept.

use crate::api::Api;
use crate::map::{self, OURS, Target, is_id};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use vestibule_plugin_api::toolbox::emoji;
use vestibule_plugin_api::toolbox::markdown::{self, Dialect, Unit};
use vestibule_plugin_api::toolbox::sending::Sending;
use vestibule_plugin_api::{
    Attachment, Card, Content, Offer, OutboundMessage, PluginError, Receipt, Result, Runtime, TextUnit,
};

/// The longest text of one message, and above a list; above buttons; and under a file.
const TEXT_UNITS_MAX: usize = 4_096;
const BODY_UNITS_MAX: usize = 1_024;
const CAPTION_UNITS_MAX: usize = 1_024;
/// Answers that are shown as buttons, and the longest label of one; more and longer ones are a list.
const BUTTONS_MAX: usize = 3;
const LABEL_UNITS_MAX: usize = 20;
const MB: usize = 1024 * 1024;
/// What is said where there are no words.
const NO_WORDS: &str = "\u{2014}";

/// One message of several that a delivery is.
#[derive(Debug, PartialEq)]
enum Part {
    /// A message whole, but for whom it goes to.
    Message(Value),
    /// A file, and the words under it.
    File(Attachment, Option<String>),
}

/// Sends the parts that have not been sent.
pub async fn deliver(
    api: &Api,
    runtime: &Runtime,
    number: &str,
    message: OutboundMessage,
) -> Result<Receipt> {
    let target = map::target(&message.address.platform_id)?;
    if target.number != number {
        return Err(PluginError::refused(format!(
            "the chat belongs to the phone number {}, and this account is that of {number}",
            target.number
        )));
    }
    if let Content::Reaction { message_id, emoji } = &message.content {
        api.send(&envelope(&target, reaction(message_id, emoji)?, None)).await?;
        return Ok(Receipt::default());
    }
    let files = message.attachments.into_iter().filter(|file| file.bytes.is_some()).collect();
    let parts = parts(message.content, files, &message.metadata)?;
    let mut sending = Sending::of(runtime, &message.id, message.sent_so_far, parts.len());
    let quoted = message.in_reply_to.filter(|id| is_id(id));
    for (at, part) in parts.into_iter().enumerate().skip(sending.parts()) {
        let content = match part {
            Part::Message(content) => content,
            Part::File(file, caption) => {
                let (kind, mime_type) = kind(&file);
                as_file(&file, kind, &api.upload(&file, mime_type).await?, caption.as_deref())
            }
        };
        let quoted = quoted.as_deref().filter(|_| at == 0);
        sending.went(Some(api.send(&envelope(&target, content, quoted)).await?)).await;
    }
    Ok(sending.receipt())
}

/// The messages that a delivery is. Pure.
fn parts(content: Content, files: Vec<Attachment>, metadata: &BTreeMap<String, String>) -> Result<Vec<Part>> {
    if metadata.contains_key("template") && !(matches!(content, Content::Text { .. }) && files.is_empty()) {
        return Err(PluginError::refused(
            "a template goes out alone: send files and questions in another message",
        ));
    }
    let (files, refused): (Vec<_>, Vec<_>) = files.into_iter().partition(is_taken);
    let mut files: Vec<Part> = files.into_iter().map(|file| Part::File(file, None)).collect();
    let (content, is_text) = match content {
        Content::Text { text } => {
            let lines =
                [text].into_iter().chain(refused.iter().map(not_sent)).filter(|line| !line.is_empty());
            (Content::Text { text: lines.collect::<Vec<_>>().join("\n") }, true)
        }
        content => (content, false),
    };
    let mut parts = match content {
        _ if metadata.contains_key("template") => vec![template(metadata)?],
        Content::Text { text } => {
            let texts = messages(&text, TEXT_UNITS_MAX);
            match (&texts[..], &mut files[..]) {
                ([only], [Part::File(file, caption)])
                    if TextUnit::Utf16.length(only) <= CAPTION_UNITS_MAX && kind(file).0 != "audio" =>
                {
                    *caption = Some(only.clone());
                    vec![]
                }
                _ => texts.iter().map(|text| words(text)).collect(),
            }
        }
        Content::Question { title, question, options } => asked(&title, &question, &options),
        Content::Card(card) => card_parts(&card),
        _ => return Err(PluginError::unsupported("this kind of content cannot be sent")),
    };
    parts.append(&mut files);
    if !is_text {
        parts.extend(refused.iter().map(|file| words(&not_sent(file))));
    }
    match parts.is_empty() {
        true => Err(PluginError::refused("there is nothing to send: no text and no file")),
        false => Ok(parts),
    }
}

fn messages(text: &str, most: usize) -> Vec<String> {
    markdown::messages(&emoji::in_text(text, emoji::character), Dialect::WhatsApp, Unit::Utf16, most)
}

fn words(text: &str) -> Part {
    Part::Message(json!({ "type": "text", "text": { "body": text, "preview_url": false } }))
}

/// The message that carries a question: buttons, or a list where there are too many or too long answers for them, or two
/// of them are called the same: Meta takes no equal buttons, and tells rows apart by their ids.
fn asked(title: &str, question: &str, options: &[Offer]) -> Vec<Part> {
    let title = Some(title.trim()).filter(|title| !title.is_empty()).map(|title| format!("**{title}**"));
    let text = [title, Some(question.to_owned())].into_iter().flatten().collect::<Vec<_>>().join("\n\n");
    let id = |offer: &Offer| format!("{OURS}{}", offer.token);
    let is_short = |offer: &Offer| TextUnit::Utf16.length(&offer.label) <= LABEL_UNITS_MAX;
    let names: BTreeSet<String> = options.iter().map(|offer| offer.label.to_lowercase()).collect();
    let are_buttons =
        options.len() <= BUTTONS_MAX && options.iter().all(is_short) && names.len() == options.len();
    let (kind, most, action) = if are_buttons {
        let button =
            |offer: &Offer| json!({ "type": "reply", "reply": { "id": id(offer), "title": offer.label } });
        ("button", BODY_UNITS_MAX, json!({ "buttons": options.iter().map(button).collect::<Vec<_>>() }))
    } else {
        let row = |offer: &Offer| json!({ "id": id(offer), "title": offer.label });
        let rows: Vec<Value> = options.iter().map(row).collect();
        ("list", TEXT_UNITS_MAX, json!({ "button": "Choose", "sections": [{ "rows": rows }] }))
    };
    under(&text, kind, most, &action)
}

/// A text, and what people can tap under the last message of it, each part of at most `most` units.
fn under(text: &str, kind: &str, most: usize, action: &Value) -> Vec<Part> {
    let mut texts = messages(text, most);
    let last = texts.pop().unwrap_or_else(|| NO_WORDS.to_owned());
    let interactive = json!({ "type": kind, "body": { "text": last }, "action": action });
    let last = Part::Message(json!({ "type": "interactive", "interactive": interactive }));
    texts.iter().map(|text| words(text)).chain([last]).collect()
}

/// A card with one link has a button; any other is its plain words.
fn card_parts(card: &Card) -> Vec<Part> {
    let label = |label: &str| label.split_whitespace().collect::<Vec<_>>().join(" ");
    let button = match &card.links[..] {
        [link] if link.url.starts_with("https://") || link.url.starts_with("http://") => {
            Some((label(&link.label), &link.url))
        }
        _ => None,
    };
    let fits = |label: &str| (1..=LABEL_UNITS_MAX).contains(&TextUnit::Utf16.length(label));
    let Some((label, url)) = button.filter(|(label, _)| fits(label)) else {
        return messages(&card.fallback, TEXT_UNITS_MAX).iter().map(|text| words(text)).collect();
    };
    let title = Some(card.title.trim()).filter(|title| !title.is_empty()).map(|title| format!("**{title}**"));
    let text = Some(card.text.clone()).filter(|text| !text.trim().is_empty());
    let fields = card.fields.iter().map(|field| format!("**{}**: {}", field.name.trim(), field.value));
    let text = title.into_iter().chain(text).chain(fields).collect::<Vec<_>>().join("\n\n");
    let action = json!({ "name": "cta_url", "parameters": { "display_text": label, "url": url } });
    under(&text, "cta_url", BODY_UNITS_MAX, &action)
}

/// A template that Meta has approved, in place of the text.
fn template(metadata: &BTreeMap<String, String>) -> Result<Part> {
    let of = |key: &str| metadata.get(key).map(String::as_str);
    let parameter = |(name, value): (Option<&str>, &Value)| {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let mut parameter = json!({ "type": "text", "text": text });
        if let Some(name) = name {
            parameter["parameter_name"] = name.into();
        }
        parameter
    };
    let parameters: Vec<Value> = match of("template_parameters").map(serde_json::from_str::<Value>) {
        None => vec![],
        Some(Ok(Value::Array(texts))) => texts.iter().map(|text| parameter((None, text))).collect(),
        Some(Ok(Value::Object(texts))) => {
            texts.iter().map(|(name, text)| parameter((Some(name.as_str()), text))).collect()
        }
        Some(_) => {
            return Err(PluginError::refused(
                "`template_parameters` is a list of texts in JSON, as [\"Ann\",\"7\"], or an object with their names",
            ));
        }
    };
    let mut template = json!({ "name": of("template"),
        "language": { "code": of("template_language").unwrap_or("en_US") } });
    if !parameters.is_empty() {
        template["components"] = json!([{ "type": "body", "parameters": parameters }]);
    }
    Ok(Part::Message(json!({ "type": "template", "template": template })))
}

fn reaction(message_id: &str, emoji: &str) -> Result<Value> {
    if !is_id(message_id) {
        return Err(PluginError::refused(format!("`{message_id}` is no message on WhatsApp")));
    }
    let character = emoji::character(emoji);
    let emoji = character.ok_or_else(|| {
        PluginError::refused(format!("`{emoji}` is no emoji that is known here: write the character itself"))
    })?;
    Ok(json!({ "type": "reaction", "reaction": { "message_id": message_id, "emoji": emoji } }))
}

/// How WhatsApp shows a file, and the media type under which Meta takes it. What is too large or of another type for a
/// picture, a film or a sound is a document, and text of any kind is plain text: Meta knows few types.
fn kind(file: &Attachment) -> (&'static str, &str) {
    let mime_type = file.mime_type.as_deref().unwrap_or("application/octet-stream");
    let plain = mime_type.split(';').next().unwrap_or_default().trim();
    let content = file.bytes.as_deref().unwrap_or_default();
    let (bytes, is_text) = (content.len(), std::str::from_utf8(content).is_ok());
    match plain {
        "image/jpeg" | "image/png" if bytes <= 5 * MB => ("image", plain),
        "video/mp4" | "video/3gpp" if bytes <= 16 * MB => ("video", plain),
        "audio/aac" | "audio/amr" | "audio/mpeg" | "audio/mp4" | "audio/ogg" if bytes <= 16 * MB => {
            ("audio", plain)
        }
        "application/pdf" => ("document", plain),
        // What Meta does not know it refuses, and text it always takes.
        _ if is_text => ("document", "text/plain"),
        other => ("document", other),
    }
}

/// The types of documents that Meta takes, beside those of Office.
const DOCUMENTS: [&str; 5] = [
    "application/pdf",
    "text/plain",
    "application/msword",
    "application/vnd.ms-excel",
    "application/vnd.ms-powerpoint",
];

/// Whether Meta takes a file of this type.
fn is_taken(file: &Attachment) -> bool {
    let (kind, mime_type) = kind(file);
    kind != "document"
        || DOCUMENTS.contains(&mime_type)
        || mime_type.starts_with("application/vnd.openxmlformats-officedocument.")
        || OTHERS.contains(&mime_type)
}

/// Types of pictures, films and sounds, which Meta takes as documents where they are too large to be shown.
const OTHERS: [&str; 9] = [
    "image/jpeg",
    "image/png",
    "video/mp4",
    "video/3gpp",
    "audio/aac",
    "audio/amr",
    "audio/mpeg",
    "audio/mp4",
    "audio/ogg",
];

fn not_sent(file: &Attachment) -> String {
    format!("[file: {} — not sent: WhatsApp takes no files of this type]", file.name)
}

fn as_file(file: &Attachment, kind: &str, id: &str, caption: Option<&str>) -> Value {
    let mut shown = json!({ "id": id });
    if let Some(caption) = caption {
        shown["caption"] = caption.into();
    }
    if kind == "document" {
        shown["filename"] = if file.name.is_empty() { "file" } else { &file.name }.into();
    }
    json!({ "type": kind, kind: shown })
}

/// A message with whom it goes to, and what it answers.
pub fn envelope(target: &Target, content: Value, quoted: Option<&str>) -> Value {
    let mut message = content;
    message["messaging_product"] = "whatsapp".into();
    message["recipient_type"] = "individual".into();
    message[target.key()] = target.person.into();
    if let Some(quoted) = quoted {
        message["context"] = json!({ "message_id": quoted });
    }
    message
}

/// A note of the channel's own, in answer to a message.
pub fn note(target: &Target, text: &str, quoted: &str) -> Value {
    let content = json!({ "type": "text", "text": { "body": text, "preview_url": false } });
    envelope(target, content, Some(quoted))
}

#[cfg(test)]
mod tests;
