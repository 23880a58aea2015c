//! Which chat: the three parts that only together name one.

use vestibule_plugin_api::Address;

/// A chat of one account of a channel.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ChatKey {
    /// The kind of platform.
    pub channel_type: String,
    /// The login on it.
    pub account: String,
    /// The chat's id there, byte for byte the adapter's; empty where an event names no chat.
    pub platform_id: String,
}

impl ChatKey {
    /// The chat with these parts.
    pub fn new(
        channel_type: impl Into<String>,
        account: impl Into<String>,
        platform_id: impl Into<String>,
    ) -> ChatKey {
        ChatKey {
            channel_type: channel_type.into(),
            account: account.into(),
            platform_id: platform_id.into(),
        }
    }
}

impl From<&Address> for ChatKey {
    /// The chat that an address is in, whatever its thread.
    fn from(at: &Address) -> ChatKey {
        ChatKey::new(at.channel_type.as_str(), at.account.as_str(), at.platform_id.as_str())
    }
}
