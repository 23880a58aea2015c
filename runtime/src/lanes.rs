//! One lane per key: the work of one session, or of one address, happens in order; that of different ones happens
//! side by side. A lane exists while it has work.

use crate::lock::locked;
use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::Notify;

/// The lanes of one kind.
pub struct Lanes<K> {
    open: Arc<Mutex<HashMap<K, Arc<Shared>>>>,
}

#[derive(Default)]
struct Shared {
    woken: AtomicBool,
    notify: Notify,
}

/// A lane's own end of its waker. Dropping it closes the lane, also when the lane panics.
pub struct Waker<K: Eq + Hash> {
    key: K,
    shared: Arc<Shared>,
    open: Arc<Mutex<HashMap<K, Arc<Shared>>>>,
}

impl<K> Default for Lanes<K> {
    fn default() -> Self {
        Lanes { open: Arc::default() }
    }
}

impl<K: Clone + Eq + Hash + Send + 'static> Lanes<K> {
    /// Tells the lane of `key` that there may be work, opening it with `lane` if it is not open: then it returns
    /// true.
    pub fn wake<F>(&self, key: K, lane: impl FnOnce(Waker<K>) -> F) -> bool
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut open = locked(&self.open);
        if let Some(shared) = open.get(&key) {
            shared.woken.store(true, Ordering::Release);
            shared.notify.notify_one();
            return false;
        }
        let shared = Arc::new(Shared::default());
        open.insert(key.clone(), shared.clone());
        let waker = Waker { key, shared, open: self.open.clone() };
        tokio::spawn(lane(waker));
        true
    }

    /// Whether the lane of `key` is open.
    pub fn is_open(&self, key: &K) -> bool {
        locked(&self.open).contains_key(key)
    }

    /// How many lanes are open.
    pub fn open(&self) -> usize {
        locked(&self.open).len()
    }
}

impl<K: Clone + Eq + Hash> Waker<K> {
    /// Waits until a caller wakes the lane.
    pub async fn woken(&self) {
        self.shared.notify.notified().await;
    }

    /// Forgets earlier wakes; called before looking for work.
    pub fn heard(&self) {
        self.shared.woken.store(false, Ordering::Release);
    }

    /// Closes the lane, unless it was woken since [`Waker::heard`]: then it must look again.
    #[must_use]
    pub fn close(&self) -> bool {
        let mut open = locked(&self.open);
        if self.shared.woken.load(Ordering::Acquire) {
            return false;
        }
        open.remove(&self.key);
        true
    }
}

impl<K: Eq + Hash> Drop for Waker<K> {
    fn drop(&mut self) {
        let mut open = locked(&self.open);
        if open.get(&self.key).is_some_and(|shared| Arc::ptr_eq(shared, &self.shared)) {
            open.remove(&self.key);
        }
    }
}
