//! What happens to a message after it was written: a person edits or deletes it, or reacts to it.

use crate::address::{PlatformId, ThreadId, fault};
use crate::message::{Sender, TEXT_BYTES_MAX, Timestamp};
use serde::{Deserialize, Serialize};

/// The longest emoji of a reaction, in bytes: a character with its modifiers, or a name of the platform's.
pub const EMOJI_BYTES_MAX: usize = 128;

/// A change to a message, as a channel hands it over. The runtime looks the message up in its own records: every agent
/// that heard it, or wrote it, learns of the change.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Names this event once and for ever on this account, as [`InboundMessage::event_id`](crate::InboundMessage) does.
    pub event_id: String,
    /// The platform's id of the message that is changed, unique within its chat.
    pub message_id: String,
    /// The chat.
    pub platform_id: PlatformId,
    /// The thread in it, where the platform says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread_id: Option<ThreadId>,
    /// Who changed it.
    pub sender: Sender,
    /// When, by the platform's clock.
    pub timestamp: Timestamp,
    /// Whether more than two take part in the chat.
    #[serde(default)]
    pub is_group: bool,
    /// What was done.
    pub what: Changed,
}

/// What was done to a message.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum Changed {
    /// It says something else now. An agent that never heard the message hears it as a new one, if it is addressed now.
    Edited {
        /// All that it says now. At most [`TEXT_BYTES_MAX`] bytes.
        text: String,
        /// Whether the platform says that the agent is addressed by it now.
        #[serde(default)]
        is_mention: bool,
    },
    /// It is gone.
    Deleted,
    /// A person reacted to it.
    Reacted {
        /// The emoji: a character, or the name that the platform gives it, without colons.
        emoji: String,
    },
    /// A person took a reaction back.
    Unreacted {
        /// The emoji, as in [`Changed::Reacted`].
        emoji: String,
    },
    /// A change of a newer vocabulary. The runtime leaves it out, on record.
    #[default]
    #[serde(other)]
    Unknown,
}

impl Change {
    /// Why the runtime would refuse this change, if it would.
    pub fn fault(&self) -> Option<String> {
        fault("event_id", &self.event_id)
            .or_else(|| fault("message_id", &self.message_id))
            .or_else(|| self.platform_id.fault())
            .or_else(|| self.thread_id.as_ref().and_then(ThreadId::fault))
            .or_else(|| self.sender.fault())
            .or_else(|| match &self.what {
                Changed::Edited { text, .. } if text.len() > TEXT_BYTES_MAX => {
                    Some(format!("text has {} bytes, the limit is {TEXT_BYTES_MAX}", text.len()))
                }
                Changed::Reacted { emoji } | Changed::Unreacted { emoji } => emoji_fault(emoji),
                _ => None,
            })
    }
}

/// Why this is no emoji that crosses the seam, if it is none.
pub fn emoji_fault(emoji: &str) -> Option<String> {
    let fits = (1..=EMOJI_BYTES_MAX).contains(&emoji.len())
        && !emoji.chars().any(|c| c.is_control() || c.is_whitespace());
    (!fits).then(|| format!("emoji must be 1 to {EMOJI_BYTES_MAX} bytes without blanks"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_hold() {
        let change = |what| Change {
            event_id: "e".into(),
            message_id: "m".into(),
            platform_id: "c".into(),
            sender: Sender { handle: "u".into(), ..Sender::default() },
            what,
            ..Change::default()
        };
        let text = |bytes| Changed::Edited { text: "x".repeat(bytes), is_mention: false };
        let react = |emoji: &str| Changed::Reacted { emoji: emoji.into() };
        for (what, want) in [
            (text(TEXT_BYTES_MAX), None),
            (text(TEXT_BYTES_MAX + 1), Some("text has 1048577 bytes")),
            (Changed::Deleted, None),
            (Changed::Unknown, None),
            (react("👍🏽"), None),
            (react("white_check_mark"), None),
            (react(&"x".repeat(EMOJI_BYTES_MAX)), None),
            (react(&"x".repeat(EMOJI_BYTES_MAX + 1)), Some("emoji must be 1 to 128")),
            (react(""), Some("emoji must be")),
            (react("a b"), Some("emoji must be")),
            (Changed::Unreacted { emoji: "\u{1b}".into() }, Some("emoji must be")),
        ] {
            let told = change(what.clone()).fault();
            assert_eq!(told.is_some(), want.is_some(), "{what:?}: {told:?}");
            assert!(told.unwrap_or_default().contains(want.unwrap_or_default()), "{what:?}");
        }
        for broken in [
            Change { event_id: String::new(), ..change(Changed::Deleted) },
            Change { message_id: String::new(), ..change(Changed::Deleted) },
            Change { platform_id: "".into(), ..change(Changed::Deleted) },
            Change { thread_id: Some("".into()), ..change(Changed::Deleted) },
            Change { sender: Sender::default(), ..change(Changed::Deleted) },
        ] {
            assert!(broken.fault().is_some(), "{broken:?}");
        }
    }
}
