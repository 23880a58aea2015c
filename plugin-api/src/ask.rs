//! What the runtime asks a channel about its platform, and the answers.

use crate::address::fault;
use crate::{Address, InboundMessage};
use serde::{Deserialize, Serialize};

/// The most messages of one [`HistoryPage`].
pub const HISTORY_MAX: u32 = 100;
/// The longest text of a [`LinkState`], in bytes: what a QR code can hold.
pub const LINK_BYTES_MAX: usize = 2_953;

/// An agent has taken up a message: what a platform shows as "read". It is on no record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Read {
    /// The chat, and the thread in it.
    pub address: Address,
    /// The platform's id of the message.
    pub message_id: String,
}

/// What was said in a chat, from the older to the newer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryPage {
    /// The messages as [`Runtime::message`](crate::Runtime::message) would take them, their files without bytes: at most
    /// [`HISTORY_MAX`].
    pub messages: Vec<InboundMessage>,
    /// The cursor after which the next page begins; without one there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl HistoryPage {
    /// Why the runtime would refuse this page, if it would.
    pub fn fault(&self) -> Option<String> {
        let count = self.messages.len();
        (count > HISTORY_MAX as usize)
            .then(|| format!("the page has {count} messages, the limit is {HISTORY_MAX}"))
            .or_else(|| self.messages.iter().find_map(InboundMessage::fault))
            .or_else(|| self.next.as_ref().and_then(|next| fault("next", next)))
    }
}

/// How far a person is with linking an account, on platforms where a device of theirs lets it in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "link", rename_all = "snake_case")]
pub enum LinkState {
    /// It is linked.
    Linked {
        /// The platform's handle of the account.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        handle: Option<String>,
    },
    /// The person is to scan a QR code with the device.
    Scan {
        /// What the code says: at most [`LINK_BYTES_MAX`] bytes.
        text: String,
        /// How long it can be scanned, in seconds; then the runtime asks again.
        seconds: u32,
    },
    /// The person is to type a code into the device.
    Enter {
        /// The code.
        code: String,
        /// How long it can be typed, in seconds; then the runtime asks again.
        seconds: u32,
    },
    /// There is nothing to show yet: the runtime asks again.
    Preparing,
    /// A word of a newer vocabulary.
    #[serde(other)]
    Unknown,
}

impl LinkState {
    /// Why the runtime would refuse this answer, if it would.
    pub fn fault(&self) -> Option<String> {
        match self {
            LinkState::Linked { handle } => handle.as_ref().and_then(|handle| fault("handle", handle)),
            LinkState::Enter { code, .. } => fault("code", code),
            LinkState::Scan { text, .. } if text.is_empty() || text.len() > LINK_BYTES_MAX => {
                Some(format!("the QR code has {} bytes, it can hold 1 to {LINK_BYTES_MAX}", text.len()))
            }
            LinkState::Scan { .. } | LinkState::Preparing | LinkState::Unknown => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_have_limits() {
        let scan = |size| LinkState::Scan { text: "x".repeat(size), seconds: 20 };
        for (state, is_taken) in [
            (LinkState::Linked { handle: None }, true),
            (LinkState::Linked { handle: Some("a\nb".into()) }, false),
            (scan(1), true),
            (scan(LINK_BYTES_MAX), true),
            (scan(LINK_BYTES_MAX + 1), false),
            (scan(0), false),
            (LinkState::Enter { code: "ABCD-1234".into(), seconds: 60 }, true),
            (LinkState::Enter { code: String::new(), seconds: 60 }, false),
            (LinkState::Preparing, true),
        ] {
            assert_eq!(state.fault().is_none(), is_taken, "{state:?}");
        }
        let message = |id: &str| InboundMessage {
            event_id: id.into(),
            message_id: id.into(),
            platform_id: "c".into(),
            sender: crate::Sender { handle: "u".into(), ..crate::Sender::default() },
            ..InboundMessage::default()
        };
        let page = |count: u32, id| HistoryPage { messages: vec![message(id); count as usize], next: None };
        assert_eq!(page(HISTORY_MAX, "m").fault(), None);
        assert!(page(HISTORY_MAX + 1, "m").fault().is_some());
        assert!(page(1, "").fault().is_some());
        assert!(HistoryPage { next: Some(String::new()), ..HistoryPage::default() }.fault().is_some());
    }
}
