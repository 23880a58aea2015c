//! All rows that the decision about one message needs, read in one transaction.

use crate::attachments::StoredFile;
use crate::error::Result;
use crate::{agents, messaging_groups, wirings};
use rusqlite::Connection;
use vestibule_plugin_api::{Address, InboundMessage};

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
