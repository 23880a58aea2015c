//! What is done for each account one after the other.

use crate::lock::locked;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use tokio::sync::OwnedMutexGuard;

/// One kind of work, of which no account has two under way.
#[derive(Default)]
pub struct OneAtATime(Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<()>>>>);

impl OneAtATime {
    /// Waits for the account's turn, which ends with what is returned.
    pub async fn turn(&self, account: &str) -> OwnedMutexGuard<()> {
        let turn = locked(&self.0).entry(account.to_owned()).or_default().clone();
        turn.lock_owned().await
    }
}
