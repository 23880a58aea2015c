//! What a plugin leaves with the runtime: small values that survive restarts, and the health of its accounts.

use crate::address::fault;
use serde::{Deserialize, Serialize};

/// The longest value, in bytes.
pub const STATE_VALUE_BYTES_MAX: usize = 64 * 1024;
/// The most writes one frame may carry.
pub const STATE_WRITES_MAX: usize = 64;
/// The most keys one account may hold.
pub const STATE_KEYS_MAX: usize = 1_024;

/// The most entries a [`StatePage`] holds.
pub const STATE_PAGE_ENTRIES_MAX: usize = 128;
/// The most bytes that keys and values of a [`StatePage`] hold together.
pub const STATE_PAGE_BYTES_MAX: usize = 1024 * 1024;

/// One write to an account's key-value state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateWrite {
    /// The key: 1 to [`ID_BYTES_MAX`](crate::ID_BYTES_MAX) bytes without control characters. Empty beside a `prefix`, so
    /// that an older runtime refuses the frame and does not forget another key.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub key: String,
    /// The new value, at most [`STATE_VALUE_BYTES_MAX`] bytes; `None` removes the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// In place of a key: all keys that begin so are removed; with an empty one, all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Whether the value is a secret, such as a refresh token: no list shows it, and a backup says that it holds some.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub secret: bool,
}

/// A part of an account's state, in the order of the keys' bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatePage {
    /// Keys and their values: at most [`STATE_PAGE_ENTRIES_MAX`], and, but for a single one, [`STATE_PAGE_BYTES_MAX`].
    pub entries: Vec<StateEntry>,
    /// The last of these keys, when more follow: the next page begins after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A key and its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateEntry {
    /// The key.
    pub key: String,
    /// Its value.
    pub value: String,
}

impl StatePage {
    /// Adds an entry; false when the page is full, and goes on after its last one.
    pub fn push(&mut self, key: String, value: String) -> bool {
        let held: usize = self.entries.iter().map(|entry| entry.key.len() + entry.value.len()).sum();
        let is_full = self.entries.len() >= STATE_PAGE_ENTRIES_MAX
            || held + key.len() + value.len() > STATE_PAGE_BYTES_MAX;
        if let (true, Some(last)) = (is_full, self.entries.last()) {
            self.next = Some(last.key.clone());
            return false;
        }
        self.entries.push(StateEntry { key, value });
        true
    }
}

impl StateWrite {
    /// Writes a value; it replaces the one that the key holds.
    pub fn set(key: impl Into<String>, value: impl Into<String>) -> Self {
        StateWrite { key: key.into(), value: Some(value.into()), prefix: None, secret: false }
    }

    /// The same for a value that is a secret.
    pub fn set_secret(key: impl Into<String>, value: impl Into<String>) -> Self {
        StateWrite { secret: true, ..StateWrite::set(key, value) }
    }

    /// Removes a key.
    pub fn forget(key: impl Into<String>) -> Self {
        StateWrite { key: key.into(), value: None, prefix: None, secret: false }
    }

    /// Removes all keys that begin with this.
    pub fn forget_prefix(prefix: impl Into<String>) -> Self {
        StateWrite { key: String::new(), value: None, prefix: Some(prefix.into()), secret: false }
    }

    /// Why the runtime would refuse these writes, if it would.
    pub fn fault(writes: &[StateWrite]) -> Option<String> {
        if writes.len() > STATE_WRITES_MAX {
            return Some(format!("it has {} state writes, the limit is {STATE_WRITES_MAX}", writes.len()));
        }
        writes.iter().find_map(|write| {
            let size = write.value.as_ref().map_or(0, String::len);
            let too_long = || format!("a state value has {size} bytes, the limit is {STATE_VALUE_BYTES_MAX}");
            let key = match &write.prefix {
                Some(_) if !write.key.is_empty() || write.value.is_some() => {
                    Some("a state write with a prefix has no key and no value".to_owned())
                }
                Some(prefix) => prefix_fault(prefix),
                None => fault("a state key", &write.key),
            };
            key.or_else(|| (size > STATE_VALUE_BYTES_MAX).then(too_long))
        })
    }
}

/// Why no runtime takes this beginning of keys, if none does. It may be empty.
pub fn prefix_fault(prefix: &str) -> Option<String> {
    fault("a prefix of state keys", prefix).filter(|_| !prefix.is_empty())
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
        let table: [(Vec<StateWrite>, Option<&str>); 12] = [
            (vec![], None),
            (vec![set("k", STATE_VALUE_BYTES_MAX)], None),
            (vec![set("k", STATE_VALUE_BYTES_MAX + 1)], Some("65537 bytes")),
            (vec![set("", 1)], Some("is empty")),
            (vec![set("a\nb", 1)], Some("control character")),
            (vec![StateWrite::forget("k".repeat(513))], Some("513 bytes")),
            (vec![set("k", 1); STATE_WRITES_MAX + 1], Some("65 state writes")),
            (vec![StateWrite::forget_prefix("k/")], None),
            (vec![StateWrite::forget_prefix("")], None),
            (vec![StateWrite::forget_prefix("k".repeat(513))], Some("513 bytes")),
            (vec![StateWrite { prefix: Some("k".into()), ..set("k", 1) }], Some("no key and no value")),
            (vec![StateWrite { prefix: Some("k".into()), ..StateWrite::forget("k") }], Some("no key and")),
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

    #[test]
    fn a_page_is_bounded() {
        let page = |values: &[usize]| {
            let mut page = StatePage::default();
            let mut push = |number: usize| page.push(format!("{number:03}"), "x".repeat(values[number]));
            let taken = (0..values.len()).take_while(|number| push(*number)).count();
            assert_eq!(page.entries.len(), taken);
            (taken, page.next)
        };
        let half = STATE_PAGE_BYTES_MAX / 2;
        for (values, want) in [
            (vec![], (0, None)),
            (vec![1, 2, 3], (3, None)),
            (vec![0; STATE_PAGE_ENTRIES_MAX], (STATE_PAGE_ENTRIES_MAX, None)),
            (vec![0; STATE_PAGE_ENTRIES_MAX + 1], (STATE_PAGE_ENTRIES_MAX, Some("127".to_owned()))),
            (vec![half - 3, half - 3], (2, None)),
            (vec![half - 3, half - 2], (1, Some("000".to_owned()))),
            (vec![2 * STATE_PAGE_BYTES_MAX, 1], (1, Some("000".to_owned()))),
        ] {
            assert_eq!(page(&values), want, "{} values", values.len());
        }
    }
}
