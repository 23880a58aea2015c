//! The order of what comes in by several requests at once: those of a chat are handed over one after the other.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};
use tokio::sync::oneshot;

/// The ends of the lines, one a chat: each closes when the last request in it is done.
#[derive(Default)]
pub struct Order(Mutex<HashMap<String, oneshot::Receiver<()>>>);

/// A request's places in the lines of its chats. They are free once it is dropped.
pub struct Turn {
    before: Vec<oneshot::Receiver<()>>,
    _places: Vec<oneshot::Sender<()>>,
}

impl Order {
    /// Takes a place in the line of each chat: the order is that of these calls, so no two requests wait for each other.
    pub fn enter(&self, chats: BTreeSet<String>) -> Turn {
        let mut ends = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ends.retain(|_, end| matches!(end.try_recv(), Err(oneshot::error::TryRecvError::Empty)));
        let (places, after): (Vec<_>, Vec<_>) = chats.iter().map(|_| oneshot::channel()).unzip();
        let before = chats.into_iter().zip(after).filter_map(|(chat, end)| ends.insert(chat, end)).collect();
        Turn { before, _places: places }
    }
}

impl Turn {
    /// Returns when it is this request's turn in all its chats.
    pub async fn comes(&mut self) {
        for before in self.before.drain(..) {
            let _ = before.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::timeout;

    #[tokio::test]
    async fn requests_of_a_chat_wait_for_each_other_and_no_others() {
        let order = Order::default();
        let enter = |chats: &[&str]| order.enter(chats.iter().map(|chat| (*chat).to_owned()).collect());
        let (first, mut both, mut other) = (enter(&["a"]), enter(&["a", "b"]), enter(&["c"]));
        let mut last = enter(&["b"]);
        let soon = Duration::from_millis(20);
        timeout(soon, other.comes()).await.expect("another chat waits for none");
        assert!(timeout(soon, both.comes()).await.is_err(), "the first is not done");
        assert!(timeout(soon, last.comes()).await.is_err(), "nor is that of both");
        drop(both); // it has given up, and holds up no other
        let mut again = enter(&["b"]);
        drop((first, last));
        timeout(soon, again.comes()).await.expect("all before it are done");
        drop((again, other));
        drop(enter(&["z"]));
        assert_eq!(order.0.lock().expect("sound").len(), 1, "what is done is forgotten");
    }
}
