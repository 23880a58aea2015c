//! All rows that the decision about one message needs, read in one transaction.

use crate::attachments::StoredFile;
use crate::error::Result;
use crate::{agents, messaging_groups, wirings};
use rusqlite::Connection;
use vestibule_plugin_api::{Address, ID_BYTES_MAX, InboundMessage, Sender};

/// A message that has arrived, stamped by the runtime.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// Where it came from; the channel type is the plugin's, never the message's.
    pub address: Address,
    /// What came, without its files' bytes.
    pub message: InboundMessage,
    /// The files whose bytes came, once they are stored.
    pub files: Vec<StoredFile>,
    /// Whether its channel shows questions with buttons: then words are no answer to one.
    pub has_buttons: bool,
}

impl Arrival {
    /// Stamps a message. A channel that does not list `threads` has none.
    pub fn new(channel_type: &str, account: &str, threads: bool, message: InboundMessage) -> Arrival {
        let address = Address {
            channel_type: channel_type.into(),
            account: account.into(),
            platform_id: message.platform_id.clone(),
            thread_id: message.thread_id.clone().filter(|_| threads),
        };
        Arrival { address, message, files: Vec::new(), has_buttons: false }
    }
}

/// What people call a sender, for display: their handle where they have no name. A stranger chooses it, so it is
/// cut after [`ID_BYTES_MAX`] bytes.
pub fn name_of(sender: &Sender) -> &str {
    let name = sender.name.as_deref().unwrap_or(&sender.handle);
    &name[..name.floor_char_boundary(ID_BYTES_MAX)]
}

/// What the decision sees.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// The wirings of the chat, highest priority first, whose agent group exists.
    pub wirings: Vec<wirings::Wiring>,
}

impl Snapshot {
    /// Reads it.
    ///
    /// # Errors
    /// SQLite fails.
    pub fn load(db: &Connection, arrival: &Arrival) -> Result<Snapshot> {
        let at = &arrival.address;
        let chat =
            messaging_groups::at(db, at.channel_type.as_str(), at.account.as_str(), at.platform_id.as_str())?;
        let Some(chat) = chat else { return Ok(Snapshot::default()) };
        let mut wirings = wirings::of_chat(db, &chat.id)?;
        let mut missing = Vec::new();
        for wiring in &wirings {
            if agents::by_id(db, &wiring.agent_group_id)?.is_none() {
                missing.push(wiring.id.clone());
            }
        }
        wirings.retain(|wiring| !missing.contains(&wiring.id));
        Ok(Snapshot { wirings })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_bounded_and_there_is_always_one() {
        let of = |handle: &str, name: Option<String>| {
            name_of(&Sender { handle: handle.into(), name, is_bot: false }).to_owned()
        };
        assert_eq!(of("u1", Some("Ann".into())), "Ann");
        assert_eq!(of("u1", None), "u1");
        assert_eq!(of("u1", Some("x".repeat(1 << 20))), "x".repeat(ID_BYTES_MAX));
        assert_eq!(of("u1", Some("€".repeat(200))), "€".repeat(170), "no character is cut in two");
    }
}
