//! The chats that the runtime was asked about: what people call them, and whether an agent is wired to them.

use std::collections::HashMap;
use vestibule_plugin_api::{Conversation, PlatformId, Runtime};

/// How many are remembered.
const CHATS_MAX: usize = 1_000;

/// The names and wirings of chats that the runtime was asked about.
#[derive(Default)]
pub struct Chats(HashMap<PlatformId, Conversation>);

impl Chats {
    /// Tells the runtime a chat's name, if it is new; returns whether an agent is wired to the chat, asking anew if
    /// `asks` or if that is unknown.
    pub async fn tell(&mut self, runtime: &Runtime, chat: &Conversation, asks: bool) -> bool {
        if !asks && self.0.get(&chat.platform_id) == Some(chat) {
            return true;
        }
        match runtime.conversation(chat.clone()).await {
            Ok(known) if known.wired => {
                if self.0.len() >= CHATS_MAX {
                    self.0.clear();
                }
                self.0.insert(chat.platform_id.clone(), chat.clone());
                true
            }
            Ok(_) => false,
            Err(error) => {
                tracing::debug!(reason = error.reason(), "the runtime did not take a chat's name");
                true
            }
        }
    }
}
