//! What modules that screen are asked about: everything of an incoming message that an agent can come to see.

use super::snapshot::Arrival;
use crate::chat_key::ChatKey;
use crate::context::Context;
use crate::error::Result;
use crate::messaging_groups::{self, MessagingGroup};
use crate::plugins::{self, Said, Stop};
use crate::questions::{self, Question};
use std::collections::BTreeMap;
use vestibule_plugin_api::{
    Address, Attachment, Choice, Conversation, Hook, InboundMessage, Screened, Sender, Timestamp,
};

/// The outcome of asking the modules about a message.
pub enum Screening {
    /// It goes on, perhaps with other words.
    Passed(Arrival),
    /// It goes no further.
    Refused(Arrival, Stop),
}

/// Asks the modules about a message, before anything is decided or stored.
///
/// # Errors
/// SQLite fails, or the runtime stops.
pub async fn message(context: &Context, mut arrival: Arrival) -> Result<Screening> {
    if context.plugins.registry.at(Hook::Screen).is_empty() {
        return Ok(Screening::Passed(arrival));
    }
    let title = chat_at(context, &arrival.address).await?.and_then(|chat| chat.title);
    Ok(match plugins::screen(&context.plugins, question(&arrival, title)).await? {
        Said::Pass(None) => Screening::Passed(arrival),
        Said::Pass(Some(words)) => {
            arrival.message.reply_to = words.requoted(arrival.message.reply_to);
            arrival.message.text = words.text;
            // What the module took out stands nowhere else.
            (arrival.message.subject, arrival.message.command) = (None, None);
            arrival.message.metadata.clear();
            Screening::Passed(arrival)
        }
        Said::Stop(stop) => Screening::Refused(arrival, stop),
    })
}

/// What the modules are asked. Every field of a message stands here: a new field is added to this, too.
fn question(arrival: &Arrival, title: Option<String>) -> Screened {
    let InboundMessage {
        event_id,
        also_event_ids: _, // only the platform's own names of the same message
        message_id,
        platform_id: _, // in the address, with the account
        thread_id: _,
        sender,
        subject,
        text,
        command,
        metadata,
        reply_to,
        attachments,
        mentions,
        timestamp,
        is_mention,
        is_group,
    } = &arrival.message;
    Screened {
        event_id: event_id.clone(),
        address: arrival.address.clone(),
        sender: sender.clone(),
        text: text.clone(),
        files: attachments.iter().map(|file| file.name.clone()).collect(),
        attachments: attachments.iter().map(without_bytes).collect(),
        reply_to: reply_to.clone(),
        message_id: Some(message_id.clone()),
        chat: title,
        timestamp: Some(*timestamp),
        is_mention: *is_mention,
        is_group: *is_group,
        mentions: mentions.clone(),
        change: arrival.change.clone(),
        subject: subject.clone(),
        command: command.clone(),
        metadata: metadata.clone(),
    }
}

fn without_bytes(file: &Attachment) -> Attachment {
    Attachment { bytes: None, ..file.clone() }
}

/// Why a module refuses a choice, if one does. It is asked as if the person had written the words of the button; it
/// cannot put other words in their place.
///
/// # Errors
/// SQLite fails, or the runtime stops.
pub async fn choice(
    context: &Context,
    channel: &str,
    account: &str,
    choice: &Choice,
    now: Timestamp,
) -> Result<Option<String>> {
    if context.plugins.registry.at(Hook::Screen).is_empty() {
        return Ok(None);
    }
    let token = choice.token.clone();
    let offered = context.central.read(move |db| questions::offered(db, &token)).await?;
    let Some((question, option)) = offered else { return Ok(None) };
    let at = address(channel, account, &choice.platform_id.0);
    let chat = chat_at(context, &at).await?;
    let message = chosen(question, option, choice, (at, chat), now);
    Ok(match plugins::screen(&context.plugins, message).await? {
        Said::Pass(_) => None,
        Said::Stop(stop) => Some(stop.reason),
    })
}

/// What the modules say of a chat's name.
pub enum Title {
    /// The name as agents may see it, if it has one.
    Passed(Option<String>),
    /// A module refuses it, for this reason.
    Refused(String),
}

/// Asks the modules about a chat's name, as if the chat itself had written it.
///
/// # Errors
/// The runtime stops.
pub async fn title(
    context: &Context,
    channel: &str,
    account: &str,
    said: &Conversation,
    now: Timestamp,
) -> Result<Title> {
    let Some(name) = said.name.clone().filter(|_| !context.plugins.registry.at(Hook::Screen).is_empty())
    else {
        return Ok(Title::Passed(said.name.clone()));
    };
    let message = titled(said, name.clone(), address(channel, account, &said.platform_id.0), now);
    Ok(match plugins::screen(&context.plugins, message).await? {
        Said::Pass(None) => Title::Passed(Some(name)),
        Said::Pass(Some(words)) => Title::Passed(Conversation::name_of(&words.text)),
        Said::Stop(stop) => Title::Refused(stop.reason),
    })
}

/// A choice, as a message with the words of the button.
fn chosen(
    mut question: Question,
    option: usize,
    choice: &Choice,
    (at, chat): (Address, Option<MessagingGroup>),
    now: Timestamp,
) -> Screened {
    let words = question.asked.options.swap_remove(option).label;
    let address = Address { thread_id: question.address.thread_id, ..at };
    let mut message = plain(choice.token.clone(), address, choice.sender.clone(), words, now);
    message.is_mention = true; // it answers the agent
    message.is_group = chat.as_ref().is_some_and(|chat| chat.is_group == Some(true));
    message.chat = chat.and_then(|chat| chat.title);
    message
}

/// A chat's name, as a message.
fn titled(said: &Conversation, name: String, address: Address, now: Timestamp) -> Screened {
    let chat = said.platform_id.0.clone();
    let sender = Sender { handle: chat.clone(), name: Some(name.clone()), ..Sender::default() };
    let mut message = plain(format!("chat-name:{chat}"), address, sender, name.clone(), now);
    message.is_group = said.is_group == Some(true);
    message.chat = Some(name);
    message
}

/// A message that has only words.
fn plain(event_id: String, address: Address, sender: Sender, text: String, now: Timestamp) -> Screened {
    Screened {
        event_id,
        address,
        sender,
        text,
        files: Vec::new(),
        attachments: Vec::new(),
        reply_to: None,
        message_id: None,
        chat: None,
        timestamp: Some(now),
        is_mention: false,
        is_group: false,
        mentions: vec![],
        change: None,
        subject: None,
        command: None,
        metadata: BTreeMap::new(),
    }
}

fn address(channel: &str, account: &str, chat: &str) -> Address {
    Address {
        channel_type: channel.into(),
        account: account.into(),
        platform_id: chat.into(),
        thread_id: None,
    }
}

async fn chat_at(context: &Context, at: &Address) -> Result<Option<MessagingGroup>> {
    let chat = ChatKey::from(at);
    context.central.read(move |db| messaging_groups::at(db, &chat)).await
}

#[cfg(test)]
mod tests {
    use super::super::{Snapshot, Step, decide};
    use super::*;
    use crate::attachments::Limits;
    use crate::wirings::{ChangesPolicy, EngageMode, IgnoredPolicy, SessionMode, Wiring};
    use serde_json::{Value, json};
    use std::collections::BTreeSet;
    use vestibule_plugin_api::{Blob, Command, Mention, ReplyTo};

    /// A message in which every field has a value, and each a different one.
    fn full() -> Arrival {
        let message = InboundMessage {
            event_id: "w-event".into(),
            message_id: "w-message".into(),
            platform_id: "w-chat".into(),
            thread_id: Some("w-thread".into()),
            sender: Sender {
                handle: "w-handle".into(),
                name: Some("w-name".into()),
                is_bot: true,
                other_handles: vec!["w-other-handle".into()],
                standing: Some("w-standing".into()),
            },
            also_event_ids: vec!["another".into()],
            subject: Some("w-subject".into()),
            text: "w-text".into(),
            command: Some(Command { name: "w-command".into(), arguments: "w-arguments".into() }),
            metadata: BTreeMap::from([("w-key".to_owned(), "w-value".to_owned())]),
            reply_to: Some(ReplyTo {
                id: "w-quoted-id".into(),
                sender: Some("w-quoted-sender".into()),
                text: Some("w-quoted-text".into()),
            }),
            attachments: vec![Attachment {
                name: "w-file".into(),
                kind: Some("w-kind".into()),
                mime_type: Some("w-mime".into()),
                size_bytes: Some(777_001),
                url: Some("w-url".into()),
                reference: Some("w-reference".into()),
                quoted: true,
                bytes: Some(Blob::from(vec![1])),
            }],
            mentions: vec![Mention { handle: "w-mentioned".into(), name: Some("w-mentioned-name".into()) }],
            timestamp: Timestamp(777_002),
            is_mention: true,
            is_group: true,
        };
        let said = format!("{message:?}");
        assert!(!said.contains("None") && !said.contains("false") && !said.contains("[]"), "{said}");
        Arrival::new("w-channel", "w-account", true, message)
    }

    /// Collects what a value holds: each word that begins with `w-`, each number that begins with 777, and the names of
    /// fields that are true.
    fn said(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::String(text) => {
                let word = |c: char| !c.is_alphanumeric() && c != '-' && c != '_';
                found.extend(text.split(word).filter(|word| word.starts_with("w-")).map(str::to_owned));
            }
            Value::Number(number) => drop(found.insert(number.to_string())),
            Value::Array(items) => items.iter().for_each(|item| said(item, found)),
            Value::Object(fields) => {
                for (name, value) in fields.iter().filter(|(name, _)| *name != "bytes") {
                    match value {
                        Value::Bool(true) => drop(found.insert(name.clone())),
                        value => said(value, found),
                    }
                }
            }
            Value::Null | Value::Bool(_) => {}
        }
    }

    fn all_of(values: &[Value]) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        values.iter().for_each(|value| said(value, &mut found));
        found
    }

    /// The row that an agent gets of a message.
    fn row(arrival: &Arrival) -> [Value; 4] {
        let wiring = Wiring {
            id: "w".into(),
            messaging_group_id: "mg".into(),
            agent_group_id: "ag".into(),
            engage_mode: EngageMode::Pattern,
            engage_pattern: None,
            session_mode: SessionMode::Shared,
            ignored_message_policy: IgnoredPolicy::Drop,
            changes: ChangesPolicy::default(),
            priority: 0,
        };
        let limits = Limits { message_bytes: 0, session_bytes: 0, reserve_bytes: 0 };
        let plan =
            decide(&Snapshot { wirings: vec![wiring], ..Snapshot::default() }, arrival, limits, Timestamp(0));
        let [Step::Post { message, .. }] = &plan[..] else { panic!("it is heard: {plan:?}") };
        let attachments = message.attachments.iter().map(|file| file.entry.clone()).collect();
        let written = format!("{:?}", message.written);
        let address = serde_json::to_value(&message.address).expect("JSON");
        [message.content.clone(), Value::Array(attachments), address, json!([message.timestamp, written])]
    }

    /// A field that is added to a message must be shown to the modules before an agent can see it.
    #[test]
    fn modules_are_shown_all_that_a_message_says_and_all_that_an_agent_reads() {
        let arrival = full();
        let shown = question(&arrival, Some("w-title".into()));
        assert!(shown.attachments.iter().all(|file| file.bytes.is_none()), "the bytes of files stay here");
        let shown = all_of(&[serde_json::to_value(shown).expect("JSON")]);
        let message = all_of(&[serde_json::to_value(&arrival.message).expect("JSON")]);
        assert_eq!(message.difference(&shown).collect::<Vec<_>>(), [""; 0], "said, and not shown to modules");
        let read = all_of(&row(&arrival));
        assert!(read.contains("w-quoted-text") && read.contains("777002"), "the agent reads {read:?}");
        assert_eq!(read.difference(&shown).collect::<Vec<_>>(), [""; 0], "read by agents, and not shown");
    }

    /// What is no message is shown as one.
    #[test]
    fn a_choice_and_a_name_say_where_they_stand() {
        let at = address("x", "main", "c");
        let in_thread = Address { thread_id: Some("t".into()), ..at.clone() };
        let asks = json!({ "type": "ask_question", "title": "T", "options": ["No", "Yes"] });
        let question = Question {
            token: "t".into(),
            session_id: "s".into(),
            asked: questions::Asked::read(&asks).expect("a question").expect("a good one"),
            address: in_thread.clone(),
            asked_at: Timestamp(0),
            expires_at: Timestamp(2),
            answer: None,
        };
        let group = |is_group| MessagingGroup {
            id: "mg".into(),
            channel_type: "x".into(),
            account: "main".into(),
            platform_id: "c".into(),
            name: None,
            title: Some("Friends".into()),
            is_group,
            left_at: None,
        };
        let sender = Sender { handle: "u".into(), ..Sender::default() };
        let choice = Choice { token: "t.1".into(), platform_id: "c".into(), sender };
        for (chat, is_group, title) in [
            (None, false, None),
            (Some(group(None)), false, Some("Friends")),
            (Some(group(Some(false))), false, Some("Friends")),
            (Some(group(Some(true))), true, Some("Friends")),
        ] {
            let shown = chosen(question.clone(), 1, &choice, (at.clone(), chat), Timestamp(1));
            assert_eq!((&shown.address, &*shown.text, shown.is_mention), (&in_thread, "Yes", true));
            assert_eq!((shown.is_group, shown.chat.as_deref()), (is_group, title));
        }
        for is_group in [None, Some(false), Some(true)] {
            let said = Conversation { platform_id: "c".into(), name: Some("Friends".into()), is_group };
            let shown = titled(&said, "Friends".into(), at.clone(), Timestamp(1));
            assert_eq!((shown.is_group, shown.chat.as_deref()), (is_group == Some(true), Some("Friends")));
        }
    }

    /// A module that screens words by [`Screened::texts`] misses none that people chose.
    #[test]
    fn all_words_are_among_the_texts() {
        let shown = question(&full(), Some("w-title".into()));
        let texts: BTreeSet<&str> = shown.texts().into_iter().collect();
        let all = all_of(&[serde_json::to_value(&shown).expect("JSON")]);
        let ids = ["account", "channel", "chat", "event", "message", "quoted-id", "reference", "thread"];
        let left: Vec<&str> = all
            .iter()
            .filter_map(|word| word.strip_prefix("w-").filter(|_| !texts.contains(word.as_str())))
            .collect();
        assert_eq!(left, ids, "only what platforms make is left out");
    }
}
