//! What a channel tells of a delivery: while it goes out, once its platform has it, and what became of it there.

use crate::address::{PlatformId, fault};
use serde::{Deserialize, Serialize};

/// The most messages that one delivery may become on its platform.
pub const MESSAGE_IDS_MAX: usize = 1_000;
/// The longest [`SentSoFar::note`], in bytes.
pub const NOTE_BYTES_MAX: usize = 16 * 1024;

/// What a channel returns for a delivered message. Later levels add fields: write `..Receipt::default()` at the end, or
/// make it by [`Receipt::of`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The id under which the platform knows the message now, for later edits and reactions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform_message_id: Option<String>,
    /// The ids of the other messages that it became there, in order. At most [`MESSAGE_IDS_MAX`] are kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub further_message_ids: Vec<String>,
}

impl Receipt {
    /// The receipt of a delivery that became these messages, in order.
    pub fn of(message_ids: impl IntoIterator<Item = String>) -> Receipt {
        let mut ids = message_ids.into_iter();
        Receipt { platform_message_id: ids.next(), further_message_ids: ids.collect() }
    }

    /// The id, if it is one by which the message could be named again: not empty, at most
    /// [`ID_BYTES_MAX`](crate::ID_BYTES_MAX) bytes, and without control characters.
    pub fn id(&self) -> Option<&str> {
        self.platform_message_id.as_deref().filter(|id| fault("id", id).is_none())
    }

    /// The ids of the other messages that it became, as far as they are such ids.
    pub fn further_ids(&self) -> impl Iterator<Item = &str> {
        let ids = self.further_message_ids.iter().map(String::as_str);
        ids.filter(|id| fault("id", id).is_none()).take(MESSAGE_IDS_MAX)
    }
}

/// How much of a delivery has gone out, while it goes on. The runtime keeps it, and hands it over again with the next
/// attempt (`OutboundMessage::sent_so_far`), so that no part is sent twice.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentSoFar {
    /// How many parts have gone out. A part is what the channel takes for one: a message, a line, a file.
    pub parts: u32,
    /// The ids of the messages that the platform has made of them, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub message_ids: Vec<String>,
    /// What the channel wants to know again, such as the ids of files that are not shown yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl SentSoFar {
    /// Why the runtime would refuse it, if it would.
    pub fn fault(&self) -> Option<String> {
        let (count, note) = (self.message_ids.len(), self.note.as_ref().map_or(0, String::len));
        let many = || format!("it names {count} messages, the limit is {MESSAGE_IDS_MAX}");
        let long = || format!("its note has {note} bytes, the limit is {NOTE_BYTES_MAX}");
        (count > MESSAGE_IDS_MAX)
            .then(many)
            .or_else(|| (note > NOTE_BYTES_MAX).then(long))
            .or_else(|| self.message_ids.iter().find_map(|id| fault("message_ids", id)))
    }
}

/// What became of a message after its platform had taken it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LateReceipt {
    /// The platform's id of the message, as its [`Receipt`] named it.
    pub message_id: String,
    /// The chat, where ids of messages are unique only within it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform_id: Option<PlatformId>,
    /// What became of it.
    #[serde(flatten)]
    pub fate: Fate,
}

impl LateReceipt {
    /// Why the runtime would refuse it, if it would.
    pub fn fault(&self) -> Option<String> {
        fault("message_id", &self.message_id)
            .or_else(|| self.platform_id.as_ref().and_then(PlatformId::fault))
    }
}

/// What became of a message on its platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fate", rename_all = "snake_case")]
pub enum Fate {
    /// The platform has sent it on.
    Sent,
    /// It is on the device of the one whom it is for.
    Delivered,
    /// They have seen it.
    Read,
    /// The platform gave it up after all.
    Failed {
        /// Why, in words that the agent and the operator are told.
        reason: String,
    },
    /// A word of a newer vocabulary.
    #[serde(other)]
    Unknown,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::ID_BYTES_MAX;

    #[test]
    fn a_receipt_names_the_first_message_and_those_that_follow() {
        let of = |ids: &[&str]| Receipt::of(ids.iter().map(|id| (*id).to_owned()));
        assert_eq!(of(&[]), Receipt::default());
        let receipt = of(&["1", "2", "3"]);
        assert_eq!(receipt.platform_message_id.as_deref(), Some("1"));
        assert_eq!(receipt.further_message_ids, ["2", "3"]);
    }

    #[test]
    fn what_is_sent_so_far_has_limits() {
        let sent = |ids: usize, id: &str, note: usize| SentSoFar {
            parts: 1,
            message_ids: vec![id.to_owned(); ids],
            note: Some("x".repeat(note)),
        };
        let long = "x".repeat(ID_BYTES_MAX + 1);
        for (sent, want) in [
            (SentSoFar::default(), None),
            (sent(MESSAGE_IDS_MAX, "1", NOTE_BYTES_MAX), None),
            (sent(MESSAGE_IDS_MAX + 1, "1", 0), Some("1001 messages")),
            (sent(1, "1", NOTE_BYTES_MAX + 1), Some("16385 bytes")),
            (sent(1, "", 0), Some("is empty")),
            (sent(1, &long, 0), Some("513 bytes")),
        ] {
            let fault = sent.fault();
            assert_eq!(fault.is_some(), want.is_some(), "{fault:?}");
            assert!(fault.unwrap_or_default().contains(want.unwrap_or_default()));
        }
    }
}
