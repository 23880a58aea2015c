//! What is done one after the other for each account, or each plugin.

use crate::lock::locked;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use tokio::sync::OwnedMutexGuard;

/// One kind of work, of which no account, or no plugin, has two under way.
#[derive(Default)]
pub struct OneAtATime(Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<()>>>>);

impl OneAtATime {
    /// Waits for the turn of this name, which ends with what is returned.
    pub async fn turn(&self, name: &str) -> OwnedMutexGuard<()> {
        let turn = locked(&self.0).entry(name.to_owned()).or_default().clone();
        turn.lock_owned().await
    }
}
