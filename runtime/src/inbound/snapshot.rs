//! All rows that the decision about one message needs, read in one transaction.

use crate::attachments::StoredFile;
use crate::chat_key::ChatKey;
use crate::clock::Timestamp;
use crate::db::ReadTxn;
use crate::error::Result;
use crate::ledger::KnownMessage;
use crate::questions::{self, Question};
use crate::{agents, ledger, messaging_groups, wirings};
use vestibule_plugin_api::{
    Address, Change, Changed, Command, ID_BYTES_MAX, InboundMessage, ReplyTo, Sender,
};

/// This much of a quoted message is kept, in bytes: more than Telegram's longest text has.
pub const QUOTE_BYTES_MAX: usize = 16 * 1024;

/// A message that has arrived, stamped by the runtime.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// Where it came from; the channel type is the plugin's, never the message's.
    pub address: Address,
    /// The message, without its files' bytes.
    pub message: InboundMessage,
    /// The files whose bytes came, once they are stored.
    pub files: Vec<StoredFile>,
    /// What was done to the message, if it was there before: then its text is what it says now, or the emoji.
    pub change: Option<Changed>,
}

impl Arrival {
    /// Stamps a message. A channel that does not list `threads` has none.
    pub fn new(channel_type: &str, account: &str, threads: bool, mut message: InboundMessage) -> Arrival {
        message.reply_to = message.reply_to.map(bounded);
        message.text = words(&message);
        let address = Address {
            channel_type: channel_type.into(),
            account: account.into(),
            platform_id: message.platform_id.clone(),
            thread_id: message.thread_id.clone().filter(|_| threads),
        };
        Arrival { address, message, files: Vec::new(), change: None }
    }

    /// Stamps a change to a message.
    pub fn of_change(channel_type: &str, account: &str, threads: bool, change: Change) -> Arrival {
        let Change { event_id, message_id, platform_id, thread_id, sender, timestamp, is_group, what } =
            change;
        let (text, is_mention) = match &what {
            Changed::Edited { text, is_mention } => (text.clone(), *is_mention),
            Changed::Reacted { emoji } | Changed::Unreacted { emoji } => (emoji.clone(), false),
            Changed::Deleted | Changed::Unknown => (String::new(), false),
        };
        let message = InboundMessage {
            event_id,
            message_id,
            platform_id,
            thread_id,
            sender,
            text,
            timestamp,
            is_mention,
            is_group,
            ..InboundMessage::default()
        };
        Arrival { change: Some(what), ..Arrival::new(channel_type, account, threads, message) }
    }
}

/// The words that agents read, and modules are shown: a command in place of its text, after what it is about.
fn words(message: &InboundMessage) -> String {
    let text = match &message.command {
        Some(Command { name, arguments }) => format!("/{name} {arguments}").trim_end().to_owned(),
        None => message.text.clone(),
    };
    match &message.subject {
        Some(subject) => format!("Subject: {subject}\n\n{text}").trim_end().to_owned(),
        None => text,
    }
}

/// Cuts a quote: a message is not refused for the length of another one.
fn bounded(ReplyTo { mut id, sender, text }: ReplyTo) -> ReplyTo {
    id.truncate(id.floor_char_boundary(ID_BYTES_MAX));
    let cut = |mut text: String| {
        if text.len() > QUOTE_BYTES_MAX {
            text.truncate(text.floor_char_boundary(QUOTE_BYTES_MAX));
            text.push('…');
        }
        text
    };
    ReplyTo { id, sender: sender.map(|name| short(&name).to_owned()), text: text.map(cut) }
}

/// The name of a sender for display: their handle where they have no name, or an empty one. A stranger chooses it, so it is cut after
/// [`ID_BYTES_MAX`] bytes.
pub fn name_of(sender: &Sender) -> &str {
    let name = sender.name.as_deref().filter(|name| !name.trim().is_empty());
    short(name.unwrap_or(&sender.handle))
}

/// A name that a stranger chose, cut after [`ID_BYTES_MAX`] bytes.
pub fn short(name: &str) -> &str {
    &name[..name.floor_char_boundary(ID_BYTES_MAX)]
}

/// The rows that the decision sees.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// The message's event was taken before.
    pub was_taken: bool,
    /// The one question that is open where the message was written, and was asked there without buttons.
    pub question: Option<Question>,
    /// The wirings of the chat, highest priority first, whose agent group exists.
    pub wirings: Vec<wirings::Wiring>,
    /// Of a change: the sessions that know the message.
    pub known: Vec<KnownMessage>,
}

impl Snapshot {
    /// Reads the rows, in the caller's transaction.
    ///
    /// # Errors
    /// SQLite fails.
    pub fn load(db: &ReadTxn, arrival: &Arrival, now: Timestamp) -> Result<Snapshot> {
        let (at, message) = (&arrival.address, &arrival.message);
        let (channel, account) = (at.channel_type.as_str(), at.account.as_str());
        if ledger::was_taken(db, channel, account, &message.event_id)? {
            return Ok(Snapshot { was_taken: true, ..Snapshot::default() });
        }
        let wirings = Snapshot::wirings(db, at)?;
        if arrival.change.is_some() {
            let known = ledger::known_message(db, &ChatKey::from(at), &message.message_id)?;
            return Ok(Snapshot { wirings, known, ..Snapshot::default() });
        }
        let question = questions::only_one_open(db, at, message.is_group, now)?;
        Ok(Snapshot { question, wirings, ..Snapshot::default() })
    }

    fn wirings(db: &ReadTxn, at: &Address) -> Result<Vec<wirings::Wiring>> {
        let chat = messaging_groups::at(db, &ChatKey::from(at))?;
        let Some(chat) = chat else { return Ok(Vec::new()) };
        let mut wirings = wirings::of_chat(db, &chat.id)?;
        let mut missing = Vec::new();
        for wiring in &wirings {
            if agents::by_id(db, &wiring.agent_group_id)?.is_none() {
                missing.push(wiring.id.clone());
            }
        }
        wirings.retain(|wiring| !missing.contains(&wiring.id));
        Ok(wirings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wirings_of_the_chat_are_seen_and_no_other() {
        let db = crate::db::in_memory();
        db.execute_batch(
            "INSERT INTO agent_groups (id, name, folder, created_at) VALUES ('a', 'a', 'a', 0), ('b', 'b', 'b', 0); \
             INSERT INTO messaging_groups (id, channel_type, account, platform_id, created_at) \
             VALUES ('here', 'x', 'main', 'c', 0), ('there', 'x', 'second', 'c', 0); \
             INSERT INTO wirings (id, messaging_group_id, agent_group_id, engage_mode, session_mode, \
             ignored_message_policy, created_at, priority) VALUES ('1', 'here', 'a', 'mention', 'shared', 'drop', 0, 0), \
             ('2', 'here', 'b', 'mention', 'shared', 'drop', 0, 5), ('3', 'there', 'a', 'mention', 'shared', 'drop', 0, 9)",
        )
        .expect("it fills");
        let seen = |account: &str, chat: &str| {
            let message = InboundMessage {
                event_id: "e".into(),
                message_id: "m".into(),
                platform_id: chat.into(),
                sender: Sender { handle: "u".into(), name: None, is_bot: false, ..Sender::default() },
                text: String::new(),
                timestamp: vestibule_plugin_api::Timestamp(0),
                ..InboundMessage::default()
            };
            let arrival = Arrival::new("x", account, true, message);
            let wirings = Snapshot::load(&db, &arrival, Timestamp(0)).expect("it is read").wirings;
            wirings.into_iter().map(|wiring| wiring.id).collect::<Vec<_>>()
        };
        assert_eq!(seen("main", "c"), ["2", "1"], "the highest priority first");
        assert_eq!(seen("second", "c"), ["3"]);
        assert_eq!(seen("main", "d"), [""; 0]);
    }

    #[test]
    fn a_name_is_bounded_and_there_is_always_one() {
        let of = |handle: &str, name: Option<String>| {
            name_of(&Sender { handle: handle.into(), name, is_bot: false, ..Sender::default() }).to_owned()
        };
        assert_eq!(of("u1", Some("Ann".into())), "Ann");
        assert_eq!(of("u1", None), "u1");
        assert_eq!(of("u1", Some("x".repeat(1 << 20))), "x".repeat(ID_BYTES_MAX));
        assert_eq!(of("u1", Some("€".repeat(200))), "€".repeat(170), "no character is cut in two");
    }
}
