//! Reads what Slack sends: events, commands, clicks. The same over both transports. Pure.

use crate::api::Own;
use crate::tap::{self, Tap};
use crate::words;
use serde::Deserialize;
use serde_json::Value;
use vestibule_plugin_api::{Address, Ignored, PlatformId, ThreadId, Timestamp, emoji_fault};

/// The kinds of a message that are words of a person or a program.
const SPOKEN: [&str; 4] = ["file_share", "thread_broadcast", "bot_message", "me_message"];

/// Something that Slack sent.
#[derive(Debug, PartialEq)]
pub enum Reading {
    /// A person or a program writes.
    Said(Box<Said>),
    /// A message is edited or deleted, or a person reacts to it.
    Altered(Box<Altered>),
    /// A channel is called otherwise now.
    Renamed(Box<Renamed>),
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
    /// The workspace in which it was written, if Slack says it.
    pub team: Option<String>,
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

/// A change to a message.
#[derive(Debug, Clone, PartialEq)]
pub struct Altered {
    pub event_id: String,
    pub channel: String,
    /// The message.
    pub ts: String,
    /// Its thread; `None` where Slack does not say it.
    pub thread: Option<ThreadId>,
    pub user: String,
    /// When it was changed.
    pub at: String,
    pub is_direct: bool,
    pub what: What,
}

/// What was done to a message.
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// It says this now, in Slack's mrkdwn; and whether it mentions the bot.
    Edited(String, bool),
    Deleted,
    Reacted(String),
    Unreacted(String),
}

/// A channel's new name.
#[derive(Debug, Clone, PartialEq)]
pub struct Renamed {
    pub event_id: String,
    pub channel: String,
    pub name: String,
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
        "message" | "app_mention" => match message(event, own) {
            Some(Reading::Said(said)) => {
                let team = payload["team_id"].as_str().filter(|team| is_channel(team)).map(str::to_owned);
                Reading::Said(Box::new(Said { team, ..*said }))
            }
            other => other.unwrap_or_else(|| unreadable(payload, event)),
        },
        "reaction_added" | "reaction_removed" => {
            reaction(event, own).unwrap_or_else(|| left_out(payload, event, "unsupported_event"))
        }
        "channel_rename" | "group_rename" => renamed(event).unwrap_or_else(|| unreadable(payload, event)),
        _ => left_out(payload, event, "unsupported_event"),
    }
}

/// An event of a shape that Slack does not document.
fn unreadable(payload: &Value, event: &Value) -> Reading {
    tracing::warn!("Slack sent an event that this version cannot read");
    left_out(payload, event, "unreadable")
}

/// An event that no agent hears of. One without an id of its own cannot go on record.
fn left_out(payload: &Value, event: &Value, reason: &str) -> Reading {
    let id = payload["event_id"].as_str().or(event["event_ts"].as_str()).unwrap_or_default();
    let is_id = !id.is_empty() && id.len() <= 64 && id.chars().all(|c| c.is_ascii_graphic());
    if is_id { ignored(format!("event/{id}"), reason, None, None) } else { Reading::Nothing }
}

fn ignored(event_id: String, reason: &str, channel: Option<&str>, sender: Option<String>) -> Reading {
    let platform_id = channel.map(|channel| chat_name(channel).into());
    Reading::Ignored(Ignored { event_id, reason: reason.to_owned(), platform_id, sender })
}

/// Reads `message` and `app_mention`; `None` for what cannot be read.
fn message(event: &Value, own: &Own) -> Option<Reading> {
    let message =
        Message::deserialize(event).ok().filter(|one| is_channel(&one.channel) && is_ts(&one.ts))?;
    let event_id = format!("message/{}/{}", message.channel, message.ts);
    let leave_out =
        |reason: &str| Some(ignored(event_id.clone(), reason, Some(&message.channel), message.user.clone()));
    match message.subtype.as_deref().filter(|kind| !SPOKEN.contains(kind)) {
        Some("message_changed") => return Some(changed(event, &message, own)),
        Some("message_deleted") => return Some(deleted(event, &message, own)),
        // A thread has a new message, which comes by itself.
        Some("message_replied") => return Some(Reading::Nothing),
        Some(_) => return leave_out("no_text"),
        None => {}
    }
    let is_own = message.user.as_ref() == Some(&own.user_id)
        || message.bot_id.is_some() && message.bot_id == own.bot_id;
    if is_own {
        return leave_out("own_message");
    }
    let text = text_of(&message);
    let is_sparse = message.kind == "app_mention" && message.files.is_none();
    let is_direct = message.is_direct();
    let profile = message.bot_profile["name"].as_str().map(str::to_owned);
    let files = message.files.unwrap_or_default();
    if text.trim().is_empty() && files.is_empty() {
        return Some(ignored(event_id, "no_text", Some(&message.channel), message.user));
    }
    Some(Reading::Said(Box::new(Said {
        event_id,
        team: None,
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
    })))
}

impl Message {
    fn is_direct(&self) -> bool {
        self.channel_type.as_deref().map_or(self.channel.starts_with('D'), |kind| kind == "im")
    }
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

/// Reads that a message was changed. A preview of a link changes it, too, and so does the channel itself.
fn changed(event: &Value, message: &Message, own: &Own) -> Reading {
    let (now, before) = (&event["message"], &event["previous_message"]);
    // What is left of the head of a thread that is deleted.
    if now["subtype"] == "tombstone" {
        return deleted(event, message, own);
    }
    let at = now["edited"]["ts"].as_str().filter(|ts| is_ts(ts));
    let is_new = now["edited"] != before["edited"] && now["text"] != before["text"];
    let (Some(at), true) = (at, is_new) else { return Reading::Nothing };
    let text = now["text"].as_str().unwrap_or_default();
    let is_direct = message.is_direct();
    let is_mention = is_direct || words::mentions(text, &own.user_id);
    altered("changed", message, now, at, What::Edited(text.to_owned(), is_mention), own)
}

fn deleted(event: &Value, message: &Message, own: &Own) -> Reading {
    altered("deleted", message, &event["previous_message"], &message.ts, What::Deleted, own)
}

/// A change of a message as Slack shows it; nothing if it is one of the channel's own.
fn altered(word: &str, message: &Message, shown: &Value, at: &str, what: What, own: &Own) -> Reading {
    let of = |key: &str| shown[key].as_str();
    let (Some(ts), Some(user)) = (of("ts").filter(|ts| is_ts(ts)), of("user").or(of("bot_id"))) else {
        return Reading::Nothing;
    };
    if user == own.user_id || own.bot_id.as_deref() == Some(user) {
        return Reading::Nothing;
    }
    let (channel, is_direct) = (&message.channel, message.is_direct());
    Reading::Altered(Box::new(Altered {
        event_id: format!("{word}/{channel}/{ts}/{at}"),
        thread: Some(thread_of(channel, ts, of("thread_ts").filter(|ts| is_ts(ts)), is_direct)),
        channel: channel.clone(),
        ts: ts.to_owned(),
        user: user.to_owned(),
        at: at.to_owned(),
        is_direct,
        what,
    }))
}

/// Reads a reaction; `None` for one to something else than a message.
fn reaction(event: &Value, own: &Own) -> Option<Reading> {
    let (item, user) = (&event["item"], event["user"].as_str().filter(|user| is_channel(user))?);
    let channel = item["channel"].as_str().filter(|channel| is_channel(channel))?;
    let ts = item["ts"].as_str().filter(|ts| is_ts(ts))?;
    let at = event["event_ts"].as_str().filter(|ts| is_ts(ts))?;
    let emoji = event["reaction"].as_str().filter(|emoji| emoji_fault(emoji).is_none())?.to_owned();
    if user == own.user_id {
        return Some(Reading::Nothing);
    }
    let (word, what) = match event["type"].as_str() {
        Some("reaction_added") => ("reacted", What::Reacted(emoji)),
        _ => ("unreacted", What::Unreacted(emoji)),
    };
    Some(Reading::Altered(Box::new(Altered {
        event_id: format!("{word}/{channel}/{ts}/{user}/{at}"),
        channel: channel.to_owned(),
        ts: ts.to_owned(),
        thread: None,
        user: user.to_owned(),
        at: at.to_owned(),
        is_direct: channel.starts_with('D'),
        what,
    })))
}

fn renamed(event: &Value) -> Option<Reading> {
    let channel = event["channel"]["id"].as_str().filter(|channel| is_channel(channel))?;
    let (name, at) = (event["channel"]["name"].as_str()?, event["event_ts"].as_str().filter(|ts| is_ts(ts))?);
    Some(Reading::Renamed(Box::new(Renamed {
        event_id: format!("renamed/{channel}/{at}"),
        channel: channel.to_owned(),
        name: name.to_owned(),
    })))
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
fn thread_of(channel: &str, ts: &str, thread_ts: Option<&str>, is_direct: bool) -> ThreadId {
    let own = (!is_direct).then_some(ts);
    format!("slack:{channel}:{}", thread_ts.or(own).unwrap_or_default()).into()
}

impl Said {
    pub fn thread(&self) -> ThreadId {
        thread_of(&self.channel, &self.ts, self.thread_ts.as_deref(), self.is_direct)
    }
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
