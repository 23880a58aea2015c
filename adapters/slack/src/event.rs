//! Reads what Slack sends: events, commands, clicks. The same over both transports. Pure.

use crate::api::Own;
use crate::tap::{self, Tap};
use crate::words;
use serde::Deserialize;
use serde_json::Value;
use vestibule_plugin_api::{Address, Ignored, PlatformId, ThreadId, Timestamp};

/// The kinds of a message that are words of a person or a program.
const SPOKEN: [&str; 4] = ["file_share", "thread_broadcast", "bot_message", "me_message"];

/// Something that Slack sent.
#[derive(Debug, PartialEq)]
pub enum Reading {
    /// A person or a program writes.
    Said(Box<Said>),
    /// A person enters a slash command.
    Command(Box<Command>),
    /// A person clicks a button of ours.
    Tap(Box<Tap>),
    /// It is left out, and that goes on record.
    Ignored(Ignored),
    /// It says nothing new, such as that a link has a preview now.
    Nothing,
}

/// A message as Slack sends it, in `message` and `app_mention` alike.
#[derive(Debug, Clone, PartialEq)]
pub struct Said {
    pub event_id: String,
    pub channel: String,
    pub ts: String,
    pub thread_ts: Option<String>,
    /// The person, or the program's account.
    pub user: Option<String>,
    /// The program that wrote it, if one did.
    pub bot_id: Option<String>,
    /// What Slack calls the writer here, if it says so.
    pub name: Option<String>,
    /// Slack's mrkdwn.
    pub text: String,
    pub files: Vec<File>,
    pub is_direct: bool,
    pub is_mention: bool,
    /// Whether Slack may have left the files out: it does so in some of its `app_mention`. The `message` of it tells.
    pub is_sparse: bool,
}

/// A file as Slack describes it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct File {
    #[serde(default)]
    pub id: String,
    pub name: Option<String>,
    pub mimetype: Option<String>,
    pub size: Option<u64>,
    pub url_private: Option<String>,
    #[serde(default)]
    pub mode: String,
    pub file_access: Option<String>,
}

/// A slash command.
#[derive(Debug, Clone, PartialEq)]
pub struct Command {
    pub event_id: String,
    pub id: String,
    pub channel: String,
    pub user: String,
    pub name: Option<String>,
    pub text: String,
}

#[derive(Deserialize)]
struct Message {
    #[serde(rename = "type")]
    kind: String,
    subtype: Option<String>,
    channel: String,
    channel_type: Option<String>,
    ts: String,
    thread_ts: Option<String>,
    user: Option<String>,
    bot_id: Option<String>,
    username: Option<String>,
    #[serde(default)]
    bot_profile: Value,
    #[serde(default)]
    text: String,
    files: Option<Vec<File>>,
    #[serde(default)]
    attachments: Vec<Value>,
}

/// Reads the payload of an event.
pub fn read(payload: &Value, own: &Own) -> Reading {
    let event = &payload["event"];
    match event["type"].as_str().unwrap_or_default() {
        "message" | "app_mention" => message(event, own),
        kind => left_out(payload, event, kind),
    }
}

/// An event of another kind: an app may have subscribed to it, and no agent hears of it.
fn left_out(payload: &Value, event: &Value, kind: &str) -> Reading {
    let id = payload["event_id"].as_str().or(event["event_ts"].as_str()).unwrap_or_default();
    let is_id =
        |text: &str| !text.is_empty() && text.len() <= 64 && text.chars().all(|c| c.is_ascii_graphic());
    match is_id(id) && is_id(kind) {
        true => ignored(format!("event/{kind}/{id}"), "unsupported_event", None, None),
        false => Reading::Nothing,
    }
}

fn ignored(event_id: String, reason: &str, channel: Option<&str>, sender: Option<String>) -> Reading {
    let platform_id = channel.map(|channel| chat_name(channel).into());
    Reading::Ignored(Ignored { event_id, reason: reason.to_owned(), platform_id, sender })
}

fn message(event: &Value, own: &Own) -> Reading {
    let Ok(message) = Message::deserialize(event) else { return Reading::Nothing };
    if !is_channel(&message.channel) || !is_ts(&message.ts) {
        return Reading::Nothing;
    }
    let event_id = format!("message/{}/{}", message.channel, message.ts);
    let leave_out = |event_id: String, reason: &str| {
        ignored(event_id, reason, Some(&message.channel), message.user.clone())
    };
    if let Some(kind) = message.subtype.as_deref().filter(|kind| !SPOKEN.contains(kind)) {
        return match kind {
            "message_changed" if !is_edit(event, own) => Reading::Nothing,
            "message_changed" => leave_out(format!("{event_id}/changed"), "edited"),
            "message_deleted" => leave_out(format!("{event_id}/deleted"), "deleted"),
            // A thread has a new message, which comes by itself.
            "message_replied" => Reading::Nothing,
            _ => leave_out(event_id, "no_text"),
        };
    }
    let is_own = message.user.as_ref() == Some(&own.user_id)
        || message.bot_id.is_some() && message.bot_id == own.bot_id;
    if is_own {
        return leave_out(event_id, "own_message");
    }
    let text = text_of(&message);
    let is_sparse = message.kind == "app_mention" && message.files.is_none();
    let files = message.files.unwrap_or_default();
    if text.trim().is_empty() && files.is_empty() {
        return ignored(event_id, "no_text", Some(&message.channel), message.user);
    }
    let is_direct =
        message.channel_type.as_deref().map_or(message.channel.starts_with('D'), |kind| kind == "im");
    let profile = message.bot_profile["name"].as_str().map(str::to_owned);
    Reading::Said(Box::new(Said {
        event_id,
        is_mention: is_direct || words::mentions(&message.text, &own.user_id),
        channel: message.channel,
        ts: message.ts,
        thread_ts: message.thread_ts.filter(|ts| is_ts(ts)),
        user: message.user,
        bot_id: message.bot_id,
        name: message.username.or(profile),
        text,
        files,
        is_direct,
        is_sparse,
    }))
}

/// The words of a message; a program may have put them beside its text.
fn text_of(message: &Message) -> String {
    if !message.text.trim().is_empty() {
        return message.text.clone();
    }
    let said = |one: &Value| {
        let of = |key: &str| one[key].as_str().filter(|text| !text.is_empty());
        of("text").or_else(|| of("fallback")).or_else(|| of("title")).map(str::to_owned)
    };
    message.attachments.iter().filter_map(said).collect::<Vec<_>>().join("\n")
}

/// Whether a changed message was edited: a preview of a link changes it, too, and so does the channel itself.
fn is_edit(event: &Value, own: &Own) -> bool {
    let (now, before) = (&event["message"], &event["previous_message"]);
    now["user"] != own.user_id.as_str()
        && !now["edited"].is_null()
        && now["edited"] != before["edited"]
        && now["text"] != before["text"]
}

/// Reads a slash command.
pub fn command(payload: &Value) -> Reading {
    let of = |key: &str| payload[key].as_str().unwrap_or_default();
    let (id, channel, user) = (of("trigger_id"), of("channel_id"), of("user_id"));
    let name = Some(of("user_name").to_owned()).filter(|name| !name.is_empty());
    let is_id = !id.is_empty() && id.len() <= 200 && id.chars().all(|c| c.is_ascii_graphic());
    if !is_id || !is_channel(channel) || !is_channel(user) {
        return Reading::Nothing;
    }
    let text = format!("{} {}", of("command"), of("text")).trim().to_owned();
    Reading::Command(Box::new(Command {
        event_id: format!("command/{id}"),
        id: id.to_owned(),
        channel: channel.to_owned(),
        user: user.to_owned(),
        name,
        text,
    }))
}

/// Reads an interaction: a click, or something that the channel does not offer.
pub fn interaction(payload: &Value) -> Reading {
    tap::read(payload).map_or(Reading::Nothing, |tap| Reading::Tap(Box::new(tap)))
}

/// Whether this is an id as Slack writes it, of a channel or a person.
pub fn is_channel(id: &str) -> bool {
    (2..=32).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
}

/// Whether this is the id of a message: the time at which Slack took it.
pub fn is_ts(ts: &str) -> bool {
    let digits = |part: &str| (1..=16).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
    ts.split_once('.').is_some_and(|(seconds, rest)| digits(seconds) && digits(rest))
}

/// A chat, as the runtime and the agent see it.
pub fn chat_name(channel: &str) -> String {
    format!("slack:{channel}")
}

/// The thread of a message. In channels each message that stands alone begins one; in a direct chat the words
/// outside of threads are one conversation, and its id ends with the colon.
pub fn thread_name(said: &Said) -> ThreadId {
    let own = (!said.is_direct).then_some(said.ts.as_str());
    let thread = said.thread_ts.as_deref().or(own).unwrap_or_default();
    format!("slack:{}:{thread}", said.channel).into()
}

/// When Slack took a message.
pub fn time(ts: &str) -> Timestamp {
    let (seconds, rest) = ts.split_once('.').unwrap_or((ts, "0"));
    let micros: String = rest.chars().chain("000000".chars()).take(6).collect();
    let number = |text: &str| text.parse::<i64>().unwrap_or_default();
    Timestamp(number(seconds).saturating_mul(1_000).saturating_add(number(&micros) / 1_000))
}

/// Where a message is posted.
#[derive(Debug, PartialEq, Eq)]
pub struct Target {
    pub channel: String,
    pub thread: Option<String>,
}

/// Where a message to this address is posted. The address is checked again: it has been stored.
///
/// # Errors
/// A sentence that says why nothing can be posted there.
pub fn target(address: &Address) -> Result<Target, String> {
    let chat = &address.platform_id;
    let channel =
        channel_of(chat).ok_or_else(|| format!("`{chat}` is no chat on Slack: these are `slack:C012AB`"))?;
    let thread = match &address.thread_id {
        None => None,
        Some(thread) => {
            let ts = thread.as_str().strip_prefix(chat.as_str()).and_then(|rest| rest.strip_prefix(':'));
            let ts = ts.filter(|ts| ts.is_empty() || is_ts(ts));
            Some(ts.ok_or_else(|| format!("`{thread}` is no thread of `{chat}`"))?)
        }
    };
    Ok(Target { channel: channel.to_owned(), thread: thread.filter(|ts| !ts.is_empty()).map(str::to_owned) })
}

/// The channel of a chat.
pub fn channel_of(chat: &PlatformId) -> Option<&str> {
    chat.as_str().strip_prefix("slack:").filter(|channel| is_channel(channel))
}

#[cfg(test)]
pub mod tests;
