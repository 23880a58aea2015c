//! The errors of a plugin, sorted by what the runtime should do next.

use serde::{Deserialize, Serialize};

/// The result of a plugin's call.
pub type Result<T> = std::result::Result<T, PluginError>;

/// An error a plugin answers with. Any `std::error::Error` converts into [`PluginError::Retry`], so
/// `?` works: a failure that the plugin does not classify is taken to be temporary, and in doubt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "error", rename_all = "snake_case")]
pub enum PluginError {
    /// Try again: after `after_ms` milliseconds if the platform named a time, else with back-off.
    Retry {
        /// What happened.
        reason: String,
        /// The wait the platform asked for, in milliseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after_ms: Option<u64>,
        /// Whether the platform may have done it all the same: the request was sent, and its answer was lost.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        in_doubt: bool,
        /// Whether the account, or its whole platform, is in trouble, and not one chat or message alone.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        account: bool,
    },
    /// The platform will never take this; trying again is useless.
    Refused {
        /// What happened.
        reason: String,
    },
    /// This plugin cannot do that.
    Unsupported {
        /// What it cannot do.
        reason: String,
    },
    /// The plugin's account does not work (a bad token, say) until its operator mends it. It is tried again all the
    /// same, with back-off: one answer of a platform is no verdict.
    Broken {
        /// What must be mended.
        reason: String,
    },
    /// An error of a newer vocabulary.
    #[serde(other)]
    Unknown,
}

impl PluginError {
    /// Try again, with back-off.
    pub fn retry(reason: impl Into<String>) -> Self {
        PluginError::Retry { reason: reason.into(), after_ms: None, in_doubt: false, account: false }
    }

    /// Try again, with back-off, although the platform may have done it: it was asked, and its answer
    /// was lost. The runtime then does what the channel's capabilities allow: it looks the message up, or
    /// sends it again and has it on record as a possible duplicate.
    pub fn in_doubt(reason: impl Into<String>) -> Self {
        PluginError::Retry { reason: reason.into(), after_ms: None, in_doubt: true, account: false }
    }

    /// Try again no sooner than the platform asked for.
    pub fn retry_after(reason: impl Into<String>, wait: std::time::Duration) -> Self {
        let after_ms = Some(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
        PluginError::Retry { reason: reason.into(), after_ms, in_doubt: false, account: false }
    }

    /// Never try again.
    pub fn refused(reason: impl Into<String>) -> Self {
        PluginError::Refused { reason: reason.into() }
    }

    /// This plugin cannot do what it was asked.
    pub fn unsupported(reason: impl Into<String>) -> Self {
        PluginError::Unsupported { reason: reason.into() }
    }

    /// The account does not work until its operator mends it.
    pub fn broken(reason: impl Into<String>) -> Self {
        PluginError::Broken { reason: reason.into() }
    }

    /// The reason in words; for an error of a newer vocabulary words that say so.
    pub fn reason(&self) -> &str {
        match self {
            PluginError::Retry { reason, .. }
            | PluginError::Refused { reason }
            | PluginError::Unsupported { reason }
            | PluginError::Broken { reason } => reason,
            PluginError::Unknown => "an error this version does not know",
        }
    }
}

impl<E: std::error::Error> From<E> for PluginError {
    fn from(error: E) -> Self {
        let mut reason = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            reason.push_str(": ");
            reason.push_str(&cause.to_string());
            source = cause.source();
        }
        PluginError::in_doubt(reason)
    }
}
