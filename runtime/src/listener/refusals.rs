//! The webhooks that were refused, counted: GitHub and others send none of them again.

use crate::lock::locked;
use std::collections::BTreeMap;
use std::sync::Mutex;
use vestibule_plugin_api::Timestamp;

/// The webhooks refused since the runtime started: at most one count for each account and HTTP status.
#[derive(Default)]
pub struct Refusals {
    counted: Mutex<BTreeMap<Kind, Count>>,
}

/// The account, if it is one, and the HTTP status of the answer.
type Kind = (Option<(String, String)>, u16);

/// The refusals of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Count {
    /// How many there were.
    pub count: u64,
    /// Why the last one was refused.
    pub reason: String,
    /// When that was.
    pub at: Timestamp,
}

impl Refusals {
    /// One more. `account` is the channel type and the account that it was sent to, if there are such.
    pub fn note(&self, account: Option<(String, String)>, status: u16, reason: &str, at: Timestamp) {
        let mut counted = locked(&self.counted);
        let kind = counted.entry((account, status)).or_insert(Count { count: 0, reason: String::new(), at });
        *kind = Count { count: kind.count + 1, reason: reason.to_owned(), at };
    }

    /// All refusals, ordered by account and status.
    pub fn all(&self) -> Vec<(Kind, Count)> {
        let counted = locked(&self.counted);
        counted.iter().map(|(kind, count)| (kind.clone(), count.clone())).collect()
    }
}
