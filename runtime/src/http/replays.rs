//! Signed requests that were taken: one that was recorded and is posted again reaches no plugin.

use super::signature::Signature;
use crate::lock::locked;
use crate::taken_webhooks::{Key, REMEMBERED_MAX};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

/// The signed requests: those that were taken, also before the runtime started, and those being served.
#[derive(Clone, Default)]
pub struct Replays(Arc<Mutex<Known>>);

#[derive(Default)]
struct Known {
    /// Whether it was taken; else it is being served.
    requests: HashMap<Key, bool>,
    taken: VecDeque<Key>,
}

/// What is known of a request.
pub enum Seen {
    /// Nothing: it may be served.
    New(Serving),
    /// The same is being served now.
    Serving,
    /// The same was taken.
    Taken,
}

/// A request that is being served. Dropped, it may come again.
pub struct Serving {
    replays: Replays,
    key: Key,
}

impl Replays {
    /// Remembers what was taken, the oldest first.
    pub fn of(taken: Vec<Key>) -> Replays {
        let requests = taken.iter().map(|key| (key.clone(), true)).collect();
        Replays(Arc::new(Mutex::new(Known { requests, taken: taken.into() })))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        locked(&self.0)
    }

    /// Begins to serve a request, unless the same one is known.
    pub fn begin(&self, channel: &str, account: &str, signature: Signature) -> Seen {
        let key = (channel.to_owned(), account.to_owned(), signature);
        let mut known = self.known();
        match known.requests.get(&key) {
            Some(true) => Seen::Taken,
            Some(false) => Seen::Serving,
            None => {
                known.requests.insert(key.clone(), false);
                Seen::New(Serving { replays: self.clone(), key })
            }
        }
    }
}

impl Serving {
    /// What the request is known by.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The plugin took it: the same request is not taken again.
    pub fn taken(self) {
        let mut known = self.replays.known();
        known.requests.insert(self.key.clone(), true);
        known.taken.push_back(self.key.clone());
        if known.taken.len() > REMEMBERED_MAX
            && let Some(oldest) = known.taken.pop_front()
        {
            known.requests.remove(&oldest);
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let mut known = self.replays.known();
        if known.requests.get(&self.key) == Some(&false) {
            known.requests.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_before_the_start_is_known() {
        let key = |byte: u8| ("x".to_owned(), "main".to_owned(), [byte; 32]);
        let replays = Replays::of(vec![key(1), key(2)]);
        for (byte, is_known) in [(1, true), (2, true), (3, false)] {
            assert_eq!(matches!(replays.begin("x", "main", [byte; 32]), Seen::Taken), is_known);
        }
    }

    #[test]
    fn what_was_taken_is_taken_once_and_what_failed_may_come_again() {
        let replays = Replays::default();
        let one = || replays.begin("x", "main", [1; 32]);
        let Seen::New(serving) = one() else { panic!("it is new") };
        assert!(matches!(one(), Seen::Serving));
        assert!(matches!(replays.begin("x", "other", [1; 32]), Seen::New(_)), "another account");
        drop(serving);
        let Seen::New(serving) = one() else { panic!("it failed, and comes again") };
        serving.taken();
        assert!(matches!(one(), Seen::Taken));
        for number in 0..REMEMBERED_MAX {
            let mut signature = [2; 32];
            signature[..8].copy_from_slice(&number.to_le_bytes());
            if let Seen::New(serving) = replays.begin("x", "main", signature) {
                serving.taken();
            }
        }
        assert!(matches!(one(), Seen::New(_)), "it was the oldest of too many");
        assert_eq!(replays.known().requests.len(), REMEMBERED_MAX);
    }
}
