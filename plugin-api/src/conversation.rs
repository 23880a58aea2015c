//! A chat's name and kind, which a channel reports beside its messages.

use crate::address::{ID_BYTES_MAX, PlatformId, fault};
use serde::{Deserialize, Serialize};

/// A chat, as its platform shows it to people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conversation {
    /// The chat.
    pub platform_id: PlatformId,
    /// What people call it: at most [`ID_BYTES_MAX`] bytes on one line. For display only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Whether more than two take part, where the platform says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_group: Option<bool>,
}

impl Conversation {
    /// Why the runtime would refuse this conversation, if it would.
    pub fn fault(&self) -> Option<String> {
        self.platform_id.fault().or_else(|| self.name.as_ref().and_then(|name| fault("name", name)))
    }

    /// A name from the platform as the runtime takes it: on one line, cut to [`ID_BYTES_MAX`] bytes;
    /// `None` when nothing is left.
    pub fn name_of(text: &str) -> Option<String> {
        let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let line = line.trim();
        let end = line.floor_char_boundary(ID_BYTES_MAX);
        Some(line[..end].to_owned()).filter(|name| !name.is_empty())
    }
}

/// What happened to a chat. A new name is said by a [`Conversation`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatEvent {
    /// The chat, by the id that it had until now.
    pub platform_id: PlatformId,
    /// What people call it, if the event says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Whether more than two take part, if the event says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_group: Option<bool>,
    /// Who did it, for display.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<String>,
    /// What happened.
    #[serde(flatten)]
    pub what: ChatChange,
}

impl ChatEvent {
    /// Why the runtime would refuse this event, if it would.
    pub fn fault(&self) -> Option<String> {
        let to = match &self.what {
            ChatChange::Moved { to } => to.fault(),
            _ => None,
        };
        let name = || self.name.as_ref().and_then(|name| fault("name", name));
        self.platform_id.fault().or_else(name).or(to)
    }
}

/// What happened to a chat, for the account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum ChatChange {
    /// The account takes part in it from now on.
    Joined,
    /// It takes part no longer: what is sent there fails.
    Left,
    /// The chat has another id from now on. Its wirings, its sessions and what agents may send there go along. Say it only
    /// where the platform never gives the old id to another chat: what comes by it belongs to this one for ever.
    Moved {
        /// The id of now.
        to: PlatformId,
    },
    /// A word of a newer vocabulary.
    #[serde(other)]
    Unknown,
}

/// What the runtime knows of a chat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// Whether an agent is wired to it. If not, its messages are dropped, and what is costly to fetch
    /// for them need not be.
    pub wired: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_becomes_one_that_is_taken() {
        let long = "ä".repeat(400);
        for (text, want) in [
            ("Friends", Some("Friends")),
            (" a\nb\u{0}", Some("a b")),
            (" \n", None),
            ("", None),
            (&long, Some(&long[..512])),
        ] {
            let name = Conversation::name_of(text);
            assert_eq!(name.as_deref(), want);
            let chat = Conversation { platform_id: "c".into(), name, is_group: None };
            assert_eq!(chat.fault(), None);
        }
        let chat =
            |name: &str| Conversation { platform_id: "c".into(), name: Some(name.into()), is_group: None };
        assert!(
            chat("").fault().is_some() && chat("a\nb").fault().is_some() && chat(&long).fault().is_some()
        );
    }
}
