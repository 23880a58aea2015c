//! Where a message comes from or goes to. Every id is opaque to the runtime: only the adapter that
//! made it reads it.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The longest id, in bytes, the runtime accepts from a plugin.
pub const ID_BYTES_MAX: usize = 512;

/// The account of a channel that has only one.
pub const ACCOUNT_MAIN: &str = "main";

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub String);

        impl $name {
            /// The id as its maker spells it.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// Why the runtime would refuse this id, if it would: it must not be empty, longer
            /// than [`ID_BYTES_MAX`], or contain control characters.
            pub fn fault(&self) -> Option<String> {
                fault(stringify!($name), &self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                $name(text.to_owned())
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                $name(text)
            }
        }
    };
}

id_type!(
    /// A kind of platform: `slack`, `github`, `terminal`.
    ChannelType
);
id_type!(
    /// One login on a channel, as the operator names it in the config.
    Account
);
id_type!(
    /// One chat, as the platform's adapter spells it.
    PlatformId
);
id_type!(
    /// A sub-conversation inside a chat, as the platform's adapter spells it.
    ThreadId
);

pub(crate) fn fault(what: &str, text: &str) -> Option<String> {
    if text.is_empty() {
        Some(format!("{what} is empty"))
    } else if text.len() > ID_BYTES_MAX {
        Some(format!("{what} has {} bytes, the limit is {ID_BYTES_MAX}", text.len()))
    } else if text.chars().any(char::is_control) {
        Some(format!("{what} contains a control character"))
    } else {
        None
    }
}

/// A chat, or a thread in it, on one account of a channel.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Address {
    /// The kind of platform.
    pub channel_type: ChannelType,
    /// The login on it.
    pub account: Account,
    /// The chat.
    pub platform_id: PlatformId,
    /// The thread, when the message belongs to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread_id: Option<ThreadId>,
}

/// A person on a platform. Identity is the pair; a display name never is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct UserId {
    /// The kind of platform.
    pub channel_type: ChannelType,
    /// The platform's stable handle.
    pub handle: String,
}
