//! What a plugin leaves with the runtime: small values that survive restarts, and the health of its accounts.

use crate::address::fault;
use serde::{Deserialize, Serialize};

/// The longest value, in bytes.
pub const STATE_VALUE_BYTES_MAX: usize = 64 * 1024;
/// The most writes one frame may carry.
pub const STATE_WRITES_MAX: usize = 64;
/// The most keys one account may hold.
pub const STATE_KEYS_MAX: usize = 1_024;

/// One write to an account's key-value state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateWrite {
    /// The key: 1 to [`ID_BYTES_MAX`](crate::ID_BYTES_MAX) bytes without control characters.
    pub key: String,
    /// The new value, at most [`STATE_VALUE_BYTES_MAX`] bytes; `None` removes the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

impl StateWrite {
    /// Writes a value; it replaces the one that the key holds.
    pub fn set(key: impl Into<String>, value: impl Into<String>) -> Self {
        StateWrite { key: key.into(), value: Some(value.into()) }
    }

    /// Removes a key.
    pub fn forget(key: impl Into<String>) -> Self {
        StateWrite { key: key.into(), value: None }
    }

    /// Why the runtime would refuse these writes, if it would.
    pub fn fault(writes: &[StateWrite]) -> Option<String> {
        if writes.len() > STATE_WRITES_MAX {
            return Some(format!("it has {} state writes, the limit is {STATE_WRITES_MAX}", writes.len()));
        }
        writes.iter().find_map(|write| {
            let size = write.value.as_ref().map_or(0, String::len);
            let too_long = || format!("a state value has {size} bytes, the limit is {STATE_VALUE_BYTES_MAX}");
            fault("a state key", &write.key).or_else(|| (size > STATE_VALUE_BYTES_MAX).then(too_long))
        })
    }
}

/// How an account is, as its channel sees it. `vestibule status` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Health {
    /// It is not connected yet, or no longer, and tries to be.
    Connecting,
    /// It takes and delivers messages.
    Live,
    /// It works in part, or not at the moment.
    Degraded {
        /// What does not work, in words for the operator.
        reason: String,
    },
    /// It has given up until the operator mends something.
    Stopped {
        /// What must be mended.
        reason: String,
    },
    /// A word of a newer vocabulary.
    #[serde(other)]
    Unknown,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_have_limits() {
        let set = |key: &str, size| StateWrite::set(key, "x".repeat(size));
        let table: [(Vec<StateWrite>, Option<&str>); 7] = [
            (vec![], None),
            (vec![set("k", STATE_VALUE_BYTES_MAX)], None),
            (vec![set("k", STATE_VALUE_BYTES_MAX + 1)], Some("65537 bytes")),
            (vec![set("", 1)], Some("is empty")),
            (vec![set("a\nb", 1)], Some("control character")),
            (vec![StateWrite::forget("k".repeat(513))], Some("513 bytes")),
            (vec![set("k", 1); STATE_WRITES_MAX + 1], Some("65 state writes")),
        ];
        for (writes, want) in table {
            let fault = StateWrite::fault(&writes);
            assert!(
                match (&fault, want) {
                    (None, None) => true,
                    (Some(fault), Some(want)) => fault.contains(want),
                    _ => false,
                },
                "{fault:?}, {want:?}"
            );
        }
    }
}
