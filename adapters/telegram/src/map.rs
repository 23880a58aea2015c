//! Reads Telegram's updates, and makes Telegram's numbers of our addresses. Pure.

use crate::tap::{self, Tap};
use crate::{change, chats};
use serde::Deserialize;
use serde_json::Value;
use vestibule_plugin_api::{
    Address, Attachment, Change, Changed, ChatEvent, Command, Conversation, Ignored, InboundMessage,
    MENTIONS_MAX, Mention, ReplyTo, Sender, ThreadId, Timestamp,
};

/// The kinds of update that the channel asks for.
pub const KINDS: [&str; 10] = [
    "message",
    "edited_message",
    "channel_post",
    "edited_channel_post",
    "callback_query",
    "my_chat_member",
    "message_reaction",
    "business_connection",
    "business_message",
    "edited_business_message",
];

/// The number of the topic General. Telegram says it of no message, and takes none with it.
pub const GENERAL: i64 = 1;

/// The longest text of one message, in units of UTF-16.
const TEXT_UNITS_MAX: usize = 4_096;
/// A part of a longer text ends with a line or a word, so it may be a little shorter.
const CUT_UNITS_MIN: usize = 3_900;

/// The bot that the token belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Own {
    /// The numeric id, which never changes.
    pub id: i64,
    /// The name after `@`.
    pub username: String,
}

/// One update, as it is read.
#[derive(Debug, PartialEq)]
pub enum Reading {
    /// A person or a program writes in this chat. For each attachment there is the id by which Telegram hands it out.
    Message(Box<InboundMessage>, Conversation, Vec<String>),
    /// A person presses START, or writes the command that START sends, in this chat.
    Start(Box<InboundMessage>, Conversation),
    /// A person tapped a button.
    Tap(Box<Tap>),
    /// The bot comes into a chat or leaves it, or a group has another number now.
    Chat(Box<ChatEvent>),
    /// A person gave a message other words, or reacted to one: changes of one chat.
    Changes(Vec<Change>),
    /// The update is left out, with the reason.
    Ignored(Ignored),
    /// There is nothing to say of the update.
    Nothing,
}

#[derive(Deserialize)]
struct Message {
    message_id: i64,
    date: i64,
    chat: Chat,
    from: Option<User>,
    sender_chat: Option<Chat>,
    #[serde(default)]
    is_topic_message: bool,
    message_thread_id: Option<i64>,
    text: Option<String>,
    caption: Option<String>,
    #[serde(default)]
    entities: Vec<Entity>,
    #[serde(default)]
    caption_entities: Vec<Entity>,
    reply_to_message: Option<Box<Message>>,
    quote: Option<Quote>,
    external_reply: Option<External>,
    edit_date: Option<i64>,
    migrate_to_chat_id: Option<i64>,
    migrate_from_chat_id: Option<i64>,
    forum_topic_created: Option<Value>,
    #[serde(flatten)]
    files: Files,
}

/// The files that a message can have, each under the name of its kind.
#[derive(Deserialize)]
struct Files {
    photo: Option<Vec<File>>,
    document: Option<File>,
    animation: Option<File>,
    audio: Option<File>,
    voice: Option<File>,
    video: Option<File>,
    video_note: Option<File>,
    sticker: Option<File>,
}

/// The words that a person marked in the message to which they reply.
#[derive(Deserialize)]
struct Quote {
    #[serde(default)]
    text: String,
}

/// A message of another chat that is answered here.
#[derive(Deserialize)]
struct External {
    #[serde(default)]
    origin: Origin,
    chat: Option<Chat>,
    message_id: Option<i64>,
    #[serde(flatten)]
    files: Files,
}

/// The author of a message of another chat: each kind of origin has one of these.
#[derive(Default, Deserialize)]
struct Origin {
    sender_user: Option<User>,
    sender_user_name: Option<String>,
    sender_chat: Option<Chat>,
    chat: Option<Chat>,
}

/// A chat as Telegram names it.
#[derive(Deserialize)]
pub struct Chat {
    /// Its number.
    pub id: i64,
    /// `private`, `group`, `supergroup` or `channel`.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// The name of one that is not private.
    pub title: Option<String>,
}

/// An account on Telegram: a person's, or a program's.
#[derive(Deserialize)]
pub struct User {
    id: i64,
    /// Whether the account is a program's.
    #[serde(default)]
    pub is_bot: bool,
    #[serde(default)]
    first_name: String,
    last_name: Option<String>,
    username: Option<String>,
}

#[derive(Deserialize)]
struct Entity {
    #[serde(rename = "type")]
    kind: String,
    offset: usize,
    length: usize,
    user: Option<User>,
}

#[derive(Deserialize)]
struct File {
    file_id: String,
    file_name: Option<String>,
    mime_type: Option<String>,
    file_size: Option<u64>,
}

/// The number of an update; `None` when it has none, and is no update.
pub fn update_id(update: &Value) -> Option<i64> {
    update["update_id"].as_i64().filter(|number| *number < i64::MAX)
}

/// The group in which an update was written, and whether it has topics.
pub fn forum(update: &Value) -> Option<(i64, bool)> {
    let chat = &update["message"]["chat"];
    let id = chat["id"].as_i64().filter(|_| chat["type"] == "supergroup")?;
    Some((id, chat["is_forum"] == true))
}

/// That a group has another number now, if a message says so.
fn moved(message: &Message) -> Option<ChatEvent> {
    let here = message.chat.id;
    match (message.migrate_to_chat_id, message.migrate_from_chat_id) {
        (Some(now), _) => Some(chats::moved(here, now)),
        (None, Some(before)) => Some(chats::moved(before, here)),
        (None, None) => None,
    }
}

/// A part of a message that Telegram sends as several: of an album, or of a text that was too long for one.
#[derive(Debug, PartialEq, Eq)]
pub struct Piece {
    /// The key that all its parts share, within their chat.
    pub of: String,
    /// When it was written, in seconds.
    pub date: i64,
    /// Whether another part may follow.
    pub goes_on: bool,
}

/// The message that an update is a part of, or could be. Clients cut a long text themselves, and nothing marks the
/// parts: they have the length, and the same person writes them one right after the other.
pub fn piece(update: &Value) -> Option<Piece> {
    let message = &update["message"];
    let date = message["date"].as_i64()?;
    if let Some(album) = message["media_group_id"].as_str() {
        return Some(Piece { of: format!("album/{album}"), date, goes_on: true });
    }
    let text = message["text"].as_str().filter(|_| message["forward_origin"].is_null())?;
    // Outside of a topic a thread is a chain of answers, and only the first part is an answer.
    let topic =
        if message["is_topic_message"] == true { &message["message_thread_id"] } else { &Value::Null };
    let of = format!("text/{}/{}/{topic}", message["from"]["id"], message["sender_chat"]["id"]);
    // Bytes are counted first: few texts are so long.
    let goes_on = text.len() >= CUT_UNITS_MIN && text.encode_utf16().count() >= CUT_UNITS_MIN;
    Some(Piece { of, date, goes_on })
}

/// Adds the next part to a message, which stays that of its first part.
pub fn join(whole: &mut InboundMessage, part: InboundMessage) {
    // A text of full length may have been cut within a word.
    if !part.text.is_empty() && !whole.text.encode_utf16().count().is_multiple_of(TEXT_UNITS_MAX) {
        whole.text.push('\n');
    }
    whole.text.push_str(&part.text);
    whole.is_mention |= part.is_mention;
    whole.reply_to = whole.reply_to.take().or(part.reply_to);
    let has_quoted = whole.attachments.iter().any(|file| file.quoted);
    whole.attachments.extend(part.attachments.into_iter().filter(|file| !(file.quoted && has_quoted)));
    whole.also_event_ids.push(part.event_id);
    whole.mentions.extend(part.mentions);
    whole.mentions.truncate(MENTIONS_MAX);
    // Agents read a command in place of the text, which has more words now.
    whole.command = None;
}

/// Reads one update.
pub fn read(update: &Value, own: &Own) -> Reading {
    let number = update_id(update).unwrap_or_default();
    let left_out = |reason: &str| {
        let event_id = format!("update/{number}");
        Reading::Ignored(Ignored { event_id, reason: reason.into(), platform_id: None, sender: None })
    };
    let Some((kind, body)) = KINDS.iter().find_map(|kind| Some((*kind, update.get(kind)?))) else {
        return left_out("unsupported_update");
    };
    if kind == "callback_query" {
        return tap::read(body)
            .map_or_else(|| left_out("unsupported_update"), |tap| Reading::Tap(Box::new(tap)));
    }
    if kind == "message_reaction" {
        return match change::reactions(body) {
            Ok(changes) if changes.is_empty() => Reading::Nothing,
            Ok(changes) => Reading::Changes(changes),
            Err(_) => left_out("unreadable"),
        };
    }
    if kind.contains("business") {
        // What the account of a person says to others: in that chat the bot itself does not write.
        return left_out(kind);
    }
    if kind == "my_chat_member" {
        return match chats::part(body) {
            Ok(event) => event.map_or(Reading::Nothing, |event| Reading::Chat(Box::new(event))),
            Err(_) => left_out("unreadable"),
        };
    }
    let Ok(message) = Message::deserialize(body) else { return left_out("unreadable") };
    if let (Some(event), "message") = (moved(&message), kind) {
        return Reading::Chat(Box::new(event));
    }
    let reason = match kind {
        "edited_channel_post" => Some("edited"),
        "channel_post" => Some("channel_post"),
        _ => unheard(&message, own),
    };
    match reason {
        Some(reason) => Reading::Ignored(Ignored {
            event_id: event_id(kind, &message),
            reason: reason.into(),
            platform_id: Some(chat_name(message.chat.id).into()),
            sender: Some(sender(&message)),
        }),
        None if kind == "edited_message" => Reading::Changes(vec![edited(kind, message, own)]),
        None => {
            let (attachments, ids) = attached(&message).into_iter().unzip();
            let (chat, starts) = (conversation(&message), starts(&message, own));
            let message = Box::new(inbound(kind, message, own, attachments));
            if starts { Reading::Start(message, chat) } else { Reading::Message(message, chat, ids) }
        }
    }
}

/// The change by which a message says something else.
fn edited(kind: &str, message: Message, own: &Own) -> Change {
    let at = message.edit_date.unwrap_or(message.date);
    let now = inbound(kind, message, own, vec![]);
    Change {
        event_id: now.event_id,
        message_id: now.message_id,
        platform_id: now.platform_id,
        thread_id: now.thread_id,
        sender: now.sender,
        timestamp: Timestamp(at.saturating_mul(1000)),
        is_group: now.is_group,
        what: Changed::Edited { text: now.text, is_mention: now.is_mention },
    }
}

/// Why a message is not handed over, if it is not.
fn unheard(message: &Message, own: &Own) -> Option<&'static str> {
    if message.from.as_ref().is_some_and(|from| from.id == own.id) {
        Some("own_message")
    } else if message.text.is_none() && message.caption.is_none() && file(&message.files).is_none() {
        // A person joined, a poll, a place …
        Some("no_text")
    } else {
        None
    }
}

/// Whether a message is the command `/start`, alone or with the one word that a link to the bot may bring along. In a
/// group it must name the bot, because several bots may be there.
fn starts(message: &Message, own: &Own) -> bool {
    let mut words = message.text.as_deref().unwrap_or_default().split_whitespace();
    let ours = match words.next().and_then(|word| word.strip_prefix("/start")) {
        Some("") => message.chat.kind == "private",
        Some(rest) => rest.strip_prefix('@').is_some_and(|name| name.eq_ignore_ascii_case(&own.username)),
        None => false,
    };
    let fits = |word: &str| word.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
    ours && words.next().is_none_or(fits) && words.next().is_none()
}

fn inbound(kind: &str, message: Message, own: &Own, attachments: Vec<Attachment>) -> InboundMessage {
    let is_private = message.chat.kind == "private";
    let (handle, name, is_bot) = identity(&message);
    InboundMessage {
        event_id: event_id(kind, &message),
        message_id: message_name(message.chat.id, message.message_id),
        platform_id: chat_name(message.chat.id).into(),
        thread_id: topic(&message).map(|topic| ThreadId(format!("telegram:{}:{topic}", message.chat.id))),
        sender: Sender { handle, name: Some(name), is_bot, ..Sender::default() },
        is_mention: is_private || mentions(&message, own) || answers(&message, own),
        is_group: !is_private,
        reply_to: reply_to(&message),
        mentions: named(&message, own),
        command: command(&message, own),
        timestamp: Timestamp(message.date.saturating_mul(1000)),
        attachments,
        text: to_us(message.text.or(message.caption).unwrap_or_default(), own),
        ..InboundMessage::default()
    }
}

/// A text whose first word is a command for the bot by its name, as `/clear@our_bot`, without the name: an agent need
/// not know how the bot is called. A command for another bot keeps that one's name, in a private chat, too.
fn to_us(text: String, own: &Own) -> String {
    let word = text.split_whitespace().next().unwrap_or_default();
    let named = word.split_once('@').filter(|(command, name)| {
        command.starts_with('/') && command.len() > 1 && name.eq_ignore_ascii_case(&own.username)
    });
    match named {
        Some((command, name)) => text.replacen(&format!("{command}@{name}"), command, 1),
        None => text,
    }
}

/// The chat, as people see it: a private one has the name of the person who writes there.
fn conversation(message: &Message) -> Conversation {
    let is_private = message.chat.kind == "private";
    let name = if is_private { Some(sender(message)) } else { message.chat.title.clone() };
    Conversation {
        platform_id: chat_name(message.chat.id).into(),
        name: name.as_deref().and_then(Conversation::name_of),
        is_group: Some(!is_private),
    }
}

/// Names the event for ever, which an update's number does not: these start anew after a quiet week.
fn event_id(kind: &str, message: &Message) -> String {
    let revision = message.edit_date.unwrap_or(message.date);
    format!("{kind}/{}/{}/{revision}", message.chat.id, message.message_id)
}

/// A chat, as the runtime and the agent see it.
pub fn chat_name(chat: i64) -> String {
    format!("telegram:{chat}")
}

/// The chat that a person means who typed its number, with or without the channel's name; a group's is below zero.
pub fn typed(chat: &str) -> Option<Conversation> {
    let chat = chat.trim();
    let number: i64 = chat.strip_prefix("telegram:").unwrap_or(chat).parse().ok()?;
    let platform_id = chat_name(number).as_str().into();
    Some(Conversation { platform_id, name: None, is_group: Some(number < 0) })
}

/// A message's id, as the runtime and the agent see it.
pub fn message_name(chat: i64, message: i64) -> String {
    format!("{chat}:{message}")
}

/// The topic of a message. Outside of topics a thread's number is no conversation of its own: it is the message at
/// the head of a chain of replies.
fn topic(message: &Message) -> Option<i64> {
    message.message_thread_id.filter(|topic| message.is_topic_message && *topic != GENERAL)
}

/// The message that this one answers; none for the note that opened the topic, which every message in it answers.
fn quoted(message: &Message) -> Option<&Message> {
    message.reply_to_message.as_deref().filter(|quoted| quoted.forum_topic_created.is_none())
}

/// The message that this one answers, with its author: the words that a person marked there, or else all of them.
fn reply_to(message: &Message) -> Option<ReplyTo> {
    let marked = || message.quote.as_ref().map(|quote| quote.text.clone()).filter(|text| !text.is_empty());
    if let Some(quoted) = quoted(message) {
        let words = || quoted.text.clone().or_else(|| quoted.caption.clone());
        return Some(ReplyTo {
            id: message_name(message.chat.id, quoted.message_id),
            sender: Some(sender(quoted)),
            text: marked().or_else(words).or_else(|| file_in_words(&quoted.files)),
        });
    }
    let External { origin, chat, message_id, files } = message.external_reply.as_ref()?;
    let id = chat.as_ref().zip(*message_id).map(|(chat, message)| message_name(chat.id, message));
    Some(ReplyTo {
        id: id.unwrap_or_default(),
        sender: origin.name(),
        text: marked().or_else(|| file_in_words(files)),
    })
}

impl Origin {
    fn name(&self) -> Option<String> {
        let Origin { sender_user, sender_user_name, sender_chat, chat } = self;
        let user = sender_user.as_ref().map(|user| person(user).1);
        let chat = || sender_chat.as_ref().or(chat.as_ref())?.title.clone();
        user.or_else(|| sender_user_name.clone()).or_else(chat)
    }
}

/// A file that is quoted without words, so that the agent sees at least what it was.
fn file_in_words(files: &Files) -> Option<String> {
    let (file, _) = file(files)?;
    let kind = file.kind.unwrap_or_default();
    Some(if file.name.is_empty() { format!("[{kind}]") } else { format!("[{kind}: {}]", file.name) })
}

fn answers(message: &Message, own: &Own) -> bool {
    let author = quoted(message).and_then(|quoted| quoted.from.as_ref());
    author.is_some_and(|author| author.id == own.id)
}

/// What Telegram marks in a text, each with its words. Words are never compared with names.
fn marked(message: &Message) -> Vec<(&Entity, String)> {
    let (text, entities) = match &message.text {
        Some(text) => (text.as_str(), &message.entities),
        None => (message.caption.as_deref().unwrap_or_default(), &message.caption_entities),
    };
    let units: Vec<u16> = if entities.is_empty() { Vec::new() } else { text.encode_utf16().collect() };
    let words = |entity: &Entity| {
        let end = entity.offset.saturating_add(entity.length);
        units.get(entity.offset..end).map(String::from_utf16_lossy).unwrap_or_default()
    };
    entities.iter().map(|entity| (entity, words(entity))).collect()
}

/// Whether an entity names the bot.
fn mentions(message: &Message, own: &Own) -> bool {
    let is_own = |name: &str| name.eq_ignore_ascii_case(&own.username);
    marked(message).into_iter().any(|(entity, words)| match entity.kind.as_str() {
        "mention" => words.strip_prefix('@').is_some_and(is_own),
        "bot_command" => words.split_once('@').is_some_and(|(_, name)| is_own(name)),
        "text_mention" => entity.user.as_ref().is_some_and(|user| user.id == own.id),
        _ => false,
    })
}

/// Whom a message names. Of `@name` Telegram says no number, and names change hands: only the bot's own is known.
fn named(message: &Message, own: &Own) -> Vec<Mention> {
    let one = |(entity, words): (&Entity, String)| {
        let handle = match entity.kind.as_str() {
            "text_mention" => entity.user.as_ref()?.id,
            "mention" if words.strip_prefix('@')?.eq_ignore_ascii_case(&own.username) => own.id,
            _ => return None,
        };
        Some(Mention { handle: handle.to_string(), name: Some(words).filter(|words| !words.is_empty()) })
    };
    let mut named: Vec<Mention> = Vec::new();
    for mention in marked(message).into_iter().filter_map(one).take(MENTIONS_MAX) {
        if named.iter().all(|other| other.handle != mention.handle) {
            named.push(mention);
        }
    }
    named
}

/// The command that a message begins with, unless it is for another bot.
fn command(message: &Message, own: &Own) -> Option<Command> {
    let text = message.text.as_deref()?;
    let first = |(entity, _): &(&Entity, String)| entity.kind == "bot_command" && entity.offset == 0;
    let (_, words) = marked(message).into_iter().find(first)?;
    let word = words.strip_prefix('/')?;
    let name = match word.split_once('@') {
        Some((name, to)) if to.eq_ignore_ascii_case(&own.username) => name,
        Some(_) => return None,
        None => word,
    };
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let arguments = text.strip_prefix(words.as_str())?.trim().to_owned();
    is_name.then(|| Command { name: name.to_owned(), arguments })
}

/// The author: handle, name, whether it is a program. A person who speaks in the name of a group or channel is
/// that group or channel.
fn identity(message: &Message) -> (String, String, bool) {
    match (&message.sender_chat, &message.from) {
        (Some(chat), _) => {
            (chat.id.to_string(), chat.title.clone().unwrap_or_else(|| chat.id.to_string()), false)
        }
        (None, Some(user)) => {
            let (handle, name) = person(user);
            (handle, name, user.is_bot)
        }
        (None, None) => (message.chat.id.to_string(), "unknown".into(), false),
    }
}

/// The handle and the name of an account.
pub fn person(user: &User) -> (String, String) {
    let full = [Some(user.first_name.as_str()), user.last_name.as_deref()];
    let full = full.into_iter().flatten().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ");
    let name = if full.is_empty() { user.username.clone().unwrap_or_default() } else { full };
    let name = if name.is_empty() { user.id.to_string() } else { name };
    (user.id.to_string(), name)
}

fn sender(message: &Message) -> String {
    identity(message).1
}

/// The file that a message brings, and that of the message which it answers, each with its id.
fn attached(message: &Message) -> Vec<(Attachment, String)> {
    let answered = quoted(message).map(|quoted| &quoted.files);
    let answered = answered.or(message.external_reply.as_ref().map(|reply| &reply.files)).and_then(file);
    let answered = answered.map(|(attachment, id)| (Attachment { quoted: true, ..attachment }, id));
    file(&message.files).into_iter().chain(answered).collect()
}

/// The file of a message, and the id by which Telegram hands it out.
fn file(files: &Files) -> Option<(Attachment, String)> {
    let largest = files.photo.as_ref().and_then(|sizes| sizes.iter().max_by_key(|size| size.file_size));
    let kinds = [
        ("photo", largest),
        // An animation comes as a document, too.
        ("animation", files.animation.as_ref()),
        ("file", files.document.as_ref()),
        ("audio", files.audio.as_ref()),
        ("voice", files.voice.as_ref()),
        ("video", files.video.as_ref()),
        ("video", files.video_note.as_ref()),
        ("sticker", files.sticker.as_ref()),
    ];
    let (kind, file) = kinds.into_iter().find_map(|(kind, file)| Some((kind, file?)))?;
    let mime_type = match kind {
        "photo" => Some("image/jpeg".to_owned()),
        _ => file.mime_type.clone(),
    };
    let name = file.file_name.clone().unwrap_or_default();
    // No URL: Telegram's holds the token.
    let attachment = Attachment {
        name,
        kind: Some(kind.into()),
        mime_type,
        size_bytes: file.file_size,
        ..Attachment::default()
    };
    Some((attachment, file.file_id.clone()))
}

/// The place on Telegram to which a message goes.
#[derive(Debug, PartialEq, Eq)]
pub struct Target {
    /// The chat.
    pub chat: i64,
    /// The topic in it.
    pub topic: Option<i64>,
}

/// Reads an address.
///
/// # Errors
/// A sentence that says why it is no address on Telegram.
pub fn target(address: &Address) -> Result<Target, String> {
    let number = |text: &str| text.parse::<i64>().ok();
    let chat = address.platform_id.as_str().strip_prefix("telegram:").and_then(number);
    let chat = chat.ok_or_else(|| format!("`{}` is no chat: telegram:NUMBER", address.platform_id))?;
    let Some(thread) = &address.thread_id else { return Ok(Target { chat, topic: None }) };
    let inside = thread.as_str().strip_prefix(&format!("telegram:{chat}:")).and_then(number);
    let topic = inside.ok_or_else(|| format!("`{thread}` is no topic of the chat {chat}"))?;
    Ok(Target { chat, topic: Some(topic).filter(|topic| *topic != GENERAL) })
}

/// Where an answer to this message goes.
pub fn address_of(message: &InboundMessage) -> Address {
    Address {
        channel_type: "telegram".into(),
        account: "".into(),
        platform_id: message.platform_id.clone(),
        thread_id: message.thread_id.clone(),
    }
}

/// The number of a message in a chat, by its id here.
///
/// # Errors
/// A sentence that says why it is no message there.
pub fn message_in(chat: i64, id: &str) -> Result<i64, String> {
    let named = id.split_once(':').filter(|(place, _)| place.parse() == Ok(chat));
    let number = named.and_then(|(_, message)| message.parse().ok());
    number.ok_or_else(|| format!("`{id}` is no message of the chat telegram:{chat}"))
}

/// The message to quote: in a group, where it says whom an answer is for.
pub fn quote(target: &Target, in_reply_to: Option<&str>) -> Option<i64> {
    let (chat, message) = in_reply_to?.split_once(':')?;
    let same_group = target.chat < 0 && chat.parse() == Ok(target.chat);
    message.parse().ok().filter(|_| same_group)
}

#[cfg(test)]
mod tests;
