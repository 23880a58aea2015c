//! What Meta's webhooks say, as the runtime takes it. Pure.

use crate::fault;
use serde_json::Value;
use vestibule_plugin_api::{
    Attachment, Change, Changed, ChatChange, ChatEvent, Choice, Conversation, Fate, Ignored, InboundMessage,
    LateReceipt, PlatformId, PluginError, ReplyTo, Result, Sender, Timestamp,
};

/// What the ids of our buttons begin with.
pub const OURS: &str = "vestibule:";
/// The kinds of messages that are a file. All but `audio` and `sticker` may have a caption.
const FILES: [&str; 5] = ["image", "video", "audio", "document", "sticker"];
/// The field under which Meta tells what the business itself wrote, in the WhatsApp Business app.
const ECHOES: &str = "smb_message_echoes";
/// In place of the emoji of a reaction that was taken back.
const UNNAMED: &str = "(unnamed)";
/// So much later than now a message may say that it was written, in seconds: clocks differ.
const AHEAD_SECONDS: i64 = 24 * 3_600;
/// The longest id of Meta's that is read: those of messages have 60 characters, of people 131.
const ID_CHARS_MAX: usize = 256;

/// Something that happened at a phone number of the app.
#[derive(Debug, PartialEq)]
pub struct Event {
    /// Meta's id of the number.
    pub number: String,
    pub what: What,
}

#[derive(Debug, PartialEq)]
pub enum What {
    Said(Box<InboundMessage>),
    Changed(Box<Change>),
    Chosen(Box<Chosen>),
    Fate(LateReceipt),
    Ignored(Ignored),
}

impl What {
    /// The chat in whose order it stands.
    pub fn chat(&self) -> Option<String> {
        self.person().map(|(chat, _)| chat.to_string())
    }

    /// Who did it, and in which chat.
    pub fn person(&self) -> Option<(&PlatformId, &Sender)> {
        match self {
            What::Said(message) => Some((&message.platform_id, &message.sender)),
            What::Changed(change) => Some((&change.platform_id, &change.sender)),
            What::Chosen(chosen) => Some((&chosen.choice.platform_id, &chosen.choice.sender)),
            What::Fate(_) | What::Ignored(_) => None,
        }
    }
}

/// A person took an answer to a question.
#[derive(Debug, Clone, PartialEq)]
pub struct Chosen {
    pub event_id: String,
    pub choice: Choice,
    /// The message that says it.
    pub message_id: String,
}

/// Where a message goes.
#[derive(Debug, PartialEq)]
pub struct Target<'a> {
    pub number: &'a str,
    pub person: &'a str,
}

impl Target<'_> {
    /// The key under which Meta takes this person: a phone number, or their id within the business.
    pub fn key(&self) -> &'static str {
        if is_number(self.person) { "to" } else { "recipient" }
    }
}

/// Reads a chat's id.
///
/// # Errors
/// It is none of WhatsApp's.
pub fn target(chat: &PlatformId) -> Result<Target<'_>> {
    let chat = chat.as_str();
    let parts = chat.strip_prefix("whatsapp:").and_then(|rest| rest.split_once(':'));
    match parts {
        Some((number, person)) if is_number(number) && is_person(person) => Ok(Target { number, person }),
        _ => Err(PluginError::refused(format!(
            "`{chat}` is no chat on WhatsApp: one is whatsapp:PHONE_NUMBER_ID:PERSON"
        ))),
    }
}

/// The chat with a person whom an operator names: by their phone number as people write it, or by their id.
///
/// # Errors
/// It is neither.
pub fn direct(number: &str, handle: &str) -> Result<Conversation> {
    let is_sign = |c: char| c.is_whitespace() || "+-().".contains(c);
    let digits: String = handle.chars().filter(|c| !is_sign(*c)).collect();
    let person = match is_number(&digits) {
        true => digits.as_str(),
        false if is_scoped(handle) => handle,
        false => {
            return Err(PluginError::refused(
                "name a person by their phone number with the country's code, as 16505551234",
            ));
        }
    };
    Ok(Conversation { platform_id: chat(number, person), name: None, is_group: Some(false) })
}

/// The chat that an operator typed: one as it is shown, or the person alone, as for [`direct`].
///
/// # Errors
/// It is none, or one of another number than the account's.
pub fn typed(number: &str, chat: &str) -> Result<Conversation> {
    let rest = chat.trim();
    let rest = rest.strip_prefix("whatsapp:").unwrap_or(rest);
    match rest.split_once(':') {
        None => direct(number, rest),
        Some((own, person)) if own == number => direct(number, person),
        Some((other, _)) if is_number(other) => Err(PluginError::refused(format!(
            "that is a chat of the phone number {other}, and this account has {number}: name its account with --account"
        ))),
        Some(_) => Err(PluginError::refused(format!(
            "`{chat}` is no chat on WhatsApp: one is whatsapp:{number}:PERSON, or the person's phone number alone"
        ))),
    }
}

fn chat(number: &str, person: &str) -> PlatformId {
    format!("whatsapp:{number}:{person}").into()
}

/// A phone number without its `+`, or the id of one of ours.
pub fn is_number(text: &str) -> bool {
    (1..=32).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit())
}

/// A phone number, or the id of a person within the business, such as `US.13491208655302741918`.
fn is_person(text: &str) -> bool {
    (1..=ID_CHARS_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.')
}

/// An id within the business: it begins with the country's two letters.
fn is_scoped(text: &str) -> bool {
    let country = text.split_once('.').map_or("", |(country, _)| country);
    country.len() == 2 && country.bytes().all(|b| b.is_ascii_alphabetic()) && is_person(text)
}

/// An id of a message: in it stands what Base64 is made of, a slash as well.
pub fn is_id(text: &str) -> bool {
    (1..=ID_CHARS_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

/// An id of a file, which becomes a part of an address.
pub fn is_file(text: &str) -> bool {
    (1..=ID_CHARS_MAX).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b))
}

/// That the chat by a person's id within the business is the one by their number from now on: for a message that has both.
/// A person never gets the id of another one, and gets a new one with a new number.
pub fn one_chat(number: &str, sender: &Sender) -> Option<ChatEvent> {
    let scoped = sender.other_handles.iter().find(|handle| is_scoped(handle))?;
    let to = chat(number, &sender.handle);
    is_number(&sender.handle).then(|| ChatEvent {
        platform_id: chat(number, scoped),
        name: None,
        is_group: Some(false),
        sender: None,
        what: ChatChange::Moved { to },
    })
}

/// What a webhook says that came at `now`. `None`: it is none of the WhatsApp Business Platform.
pub fn read(body: &Value, now: Timestamp) -> Option<Vec<Event>> {
    if body["object"] != "whatsapp_business_account" {
        return None;
    }
    let mut events = Vec::new();
    let changes = list(&body["entry"]).flat_map(|entry| list(&entry["changes"]));
    for change in changes.filter(|change| change["field"] == "messages" || change["field"] == ECHOES) {
        let value = &change["value"];
        let Some(number) = value["metadata"]["phone_number_id"].as_str().filter(|id| is_number(id)) else {
            continue;
        };
        let said = list(&value["messages"]).filter_map(|message| what(number, value, message, now));
        let echoes = list(&value["message_echoes"]).filter_map(echo);
        let fates = list(&value["statuses"]).filter_map(fate).map(What::Fate);
        let all = said.chain(echoes).chain(fates);
        events.extend(all.map(|what| Event { number: number.to_owned(), what }));
    }
    Some(events)
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn id(value: &Value) -> Option<String> {
    value.as_str().filter(|id| is_id(id)).map(str::to_owned)
}

/// One entry of `messages`. `None`: it has no id, so that it cannot be named again.
fn what(number: &str, value: &Value, message: &Value, now: Timestamp) -> Option<What> {
    let (message_id, kind) = (id(&message["id"])?, message["type"].as_str().unwrap_or_default());
    let Some(sender) = sender(value, message) else {
        return Some(left_out(message_id, "no_sender".to_owned(), None, None));
    };
    let platform_id = chat(number, &sender.handle);
    if !message["group_id"].is_null() {
        return Some(left_out(message_id, "group".to_owned(), None, sender.name));
    }
    let timestamp = time(message, now);
    if let Some(what) = changed(message, kind) {
        return Some(What::Changed(Box::new(Change {
            event_id: format!("{kind}/{message_id}"),
            message_id: what.0,
            platform_id,
            sender,
            timestamp,
            what: what.1,
            ..Change::default()
        })));
    }
    if let Some(token) = reply(message).and_then(|reply| reply["id"].as_str()?.strip_prefix(OURS)) {
        let choice = Choice { token: token.to_owned(), platform_id, sender };
        return Some(What::Chosen(Box::new(Chosen {
            event_id: format!("message/{message_id}"),
            choice,
            message_id,
        })));
    }
    let attachments: Vec<Attachment> = file(message, kind).into_iter().collect();
    let Some(text) = words(message, kind).filter(|text| !text.is_empty() || !attachments.is_empty()) else {
        return Some(left_out(message_id, why(kind), Some(platform_id), sender.name));
    };
    Some(What::Said(Box::new(InboundMessage {
        event_id: format!("message/{message_id}"),
        message_id,
        platform_id,
        sender,
        text,
        reply_to: id(&message["context"]["id"]).map(|id| ReplyTo { id, sender: None, text: None }),
        attachments,
        timestamp,
        is_mention: true,
        ..InboundMessage::default()
    })))
}

/// What the business itself wrote in the app: no agent is to answer it.
fn echo(message: &Value) -> Option<What> {
    Some(left_out(id(&message["id"])?, "echo".to_owned(), None, None))
}

/// Why no agent hears a message of this kind: nothing is in it, or the kind is none that can be said in words.
fn why(kind: &str) -> String {
    let is_word = (1..=40).contains(&kind.len()) && kind.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    match kind {
        "reaction" | "edit" | "revoke" => format!("{kind}_of_nothing"),
        _ if FILES.contains(&kind) => format!("{kind}_without_file"),
        "text" | "button" | "location" | "contacts" => format!("{kind}_is_empty"),
        "unsupported" => kind.to_owned(),
        _ if is_word => format!("unsupported_{kind}"),
        _ => "unsupported".to_owned(),
    }
}

fn left_out(
    message_id: String,
    reason: String,
    platform_id: Option<PlatformId>,
    sender: Option<String>,
) -> What {
    What::Ignored(Ignored { event_id: format!("message/{message_id}"), reason, platform_id, sender })
}

/// Who wrote it: by the phone number, and where people hide that, by their id within the business.
fn sender(value: &Value, message: &Value) -> Option<Sender> {
    let of = |value: &Value| value.as_str().filter(|id| is_person(id)).map(str::to_owned);
    let (number, scoped) = (of(&message["from"]), of(&message["from_user_id"]));
    let is = |key: &Value, id: &Option<String>| id.as_deref().is_some_and(|id| key == id);
    let contact = list(&value["contacts"])
        .find(|contact| is(&contact["wa_id"], &number) || is(&contact["user_id"], &scoped));
    let scoped = scoped.or_else(|| of(&contact?["user_id"]));
    let mut handles = [number, scoped].into_iter().flatten();
    let name = contact.map(|contact| text(&contact["profile"]["name"])).filter(|name| !name.is_empty());
    Some(Sender { handle: handles.next()?, name, other_handles: handles.collect(), ..Sender::default() })
}

/// When it was written: Meta says so in digits. What says no time that has been was written now.
fn time(message: &Value, now: Timestamp) -> Timestamp {
    let said = &message["timestamp"];
    let seconds = said.as_i64().or_else(|| said.as_str()?.trim().parse().ok());
    let latest = now.0 / 1_000 + AHEAD_SECONDS;
    seconds.filter(|seconds| (1..=latest).contains(seconds)).map_or(now, |seconds| Timestamp(seconds * 1_000))
}

/// Which message is changed, and how.
fn changed(message: &Value, kind: &str) -> Option<(String, Changed)> {
    let detail = &message[kind];
    match kind {
        "reaction" => {
            let emoji = detail["emoji"].as_str().filter(|emoji| !emoji.is_empty());
            let what = match emoji {
                Some(emoji) => Changed::Reacted { emoji: emoji.to_owned() },
                // Which one it was Meta does not say: a person has one for a message.
                None => Changed::Unreacted { emoji: UNNAMED.to_owned() },
            };
            Some((id(&detail["message_id"])?, what))
        }
        "edit" => {
            let (now, kind) = (&detail["message"], detail["message"]["type"].as_str().unwrap_or_default());
            let what = Changed::Edited { text: words(now, kind)?, is_mention: true };
            Some((id(&detail["original_message_id"])?, what))
        }
        "revoke" => Some((id(&detail["original_message_id"])?, Changed::Deleted)),
        _ => None,
    }
}

/// The answer that a person took from a message with buttons or a list.
fn reply(message: &Value) -> Option<&Value> {
    let interactive = &message["interactive"];
    let kind = interactive["type"].as_str().filter(|kind| ["button_reply", "list_reply"].contains(kind))?;
    Some(&interactive[kind])
}

/// The words of a message. `None`: it has none that could be said in words.
fn words(message: &Value, kind: &str) -> Option<String> {
    let detail = &message[kind];
    match kind {
        "text" => Some(text(&detail["body"])),
        "button" => Some(text(&detail["text"])),
        "interactive" => Some(text(&reply(message)?["title"])),
        "location" => Some(location(detail)),
        "contacts" => Some(list(detail).map(contact).collect::<Vec<_>>().join("\n")),
        kind if FILES.contains(&kind) => Some(text(&detail["caption"])),
        _ => None,
    }
}

/// A place in words; none if nothing is said of it.
fn location(place: &Value) -> String {
    let names = [&place["name"], &place["address"], &place["url"]].map(text);
    let names = names.into_iter().filter(|name| !name.is_empty()).collect::<Vec<_>>().join(", ");
    let at = [degrees(&place["latitude"]), degrees(&place["longitude"])];
    let at = at.into_iter().collect::<Option<Vec<_>>>().map(|at| at.join(", "));
    match at {
        None if names.is_empty() => String::new(),
        None => format!("Location: {names}"),
        Some(at) if names.is_empty() => format!("Location: {at}"),
        Some(at) => format!("Location: {names} ({at})"),
    }
}

/// A number, or the text of one.
fn degrees(value: &Value) -> Option<String> {
    let said = value.as_str().map(str::trim).filter(|text| text.parse().is_ok_and(f64::is_finite));
    said.map(str::to_owned).or_else(|| value.is_number().then(|| value.to_string()))
}

fn contact(person: &Value) -> String {
    let phones = list(&person["phones"]).map(|phone| text(&phone["phone"]));
    let mails = list(&person["emails"]).map(|mail| text(&mail["email"]));
    let reached: Vec<String> = phones.chain(mails).filter(|one| !one.is_empty()).collect();
    let parts = [text(&person["name"]["formatted_name"]), reached.join(", ")];
    let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    format!("Contact: {}", parts.join(": "))
}

/// The file of a message. It is named by its id alone: the URL that Meta hands out for it ends after minutes.
fn file(message: &Value, kind: &str) -> Option<Attachment> {
    let detail = &message[kind];
    let reference = detail["id"].as_str().filter(|id| is_file(id) && FILES.contains(&kind))?;
    let kind = match kind {
        "audio" if detail["voice"] == true => "voice",
        "document" => "file",
        kind => kind,
    };
    Some(Attachment {
        name: text(&detail["filename"]),
        kind: Some(kind.to_owned()),
        mime_type: detail["mime_type"].as_str().map(str::to_owned),
        reference: Some(reference.to_owned()),
        ..Attachment::default()
    })
}

/// What became of a message of ours.
fn fate(status: &Value) -> Option<LateReceipt> {
    let fate = match status["status"].as_str()? {
        "sent" => Fate::Sent,
        "delivered" => Fate::Delivered,
        "read" | "played" => Fate::Read,
        "failed" => Fate::Failed { reason: fault::words(&status["errors"][0]) },
        _ => return None,
    };
    Some(LateReceipt { message_id: id(&status["id"])?, platform_id: None, fate })
}

#[cfg(test)]
mod tests;
