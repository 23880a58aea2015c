//! The listener's slots: which connections have one, and which makes room for the next.
//!
//! A connection is a stranger's until the request it has sent is verified. When the slots, or the bytes that
//! strangers' bodies may hold, run out, the source that has most of them gives way: of its strangers the
//! one that has waited longest is closed. So a source can keep out only itself, and one that is alone, as a
//! reverse proxy is, has everything.

use crate::lock::locked;
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// How many connections are open at once.
pub const OPEN_MAX: usize = 256;
/// The time between two looks for a connection that can be closed.
const CLOSE_EVERY: Duration = Duration::from_millis(100);
/// Of an IPv6 address, the part that a network gives to one customer.
const NETWORK_BITS: u32 = 64;

/// The slots of a listener.
pub struct Slots {
    free: Arc<Semaphore>,
    body_bytes_max: u64,
    strangers: Mutex<Strangers>,
}

#[derive(Default)]
struct Strangers {
    last: u64,
    /// Those that wait longest first.
    by_turn: BTreeMap<u64, Stranger>,
}

struct Stranger {
    source: IpAddr,
    /// How many bytes of its body are held.
    body_bytes: u64,
    leave: Arc<Notify>,
}

impl Slots {
    /// Free slots, for strangers whose bodies may hold so many bytes together.
    pub fn new(body_bytes_max: u64) -> Slots {
        Slots { free: Arc::new(Semaphore::new(OPEN_MAX)), body_bytes_max, strangers: Mutex::default() }
    }

    /// A slot for a new connection, as soon as there is one.
    pub async fn slot(self: &Arc<Slots>, from: IpAddr) -> Option<Arc<Slot>> {
        let mut free = pin!(self.free.clone().acquire_owned());
        let permit = loop {
            match tokio::time::timeout(Duration::ZERO, free.as_mut()).await {
                Ok(permit) => break permit.ok()?,
                Err(_) => drop(self.strangers().close(|_| 1)),
            }
            if let Ok(permit) = tokio::time::timeout(CLOSE_EVERY, free.as_mut()).await {
                break permit.ok()?;
            }
        };
        let (slots, source, turn) = (self.clone(), source(from), AtomicU64::default());
        let slot = Slot { slots, source, leave: Arc::default(), turn, _permit: permit };
        slot.waits();
        Some(Arc::new(slot))
    }

    fn strangers(&self) -> MutexGuard<'_, Strangers> {
        locked(&self.strangers)
    }
}

impl Strangers {
    /// Has the stranger leave whose turn it is.
    fn close(&mut self, weight: impl Fn(&Stranger) -> u64) -> Option<u64> {
        let turn = makes_room(&self.by_turn, weight)?;
        self.by_turn.remove(&turn).inspect(|stranger| stranger.leave.notify_one())?;
        Some(turn)
    }

    fn body_bytes(&self) -> u64 {
        self.by_turn.values().map(|stranger| stranger.body_bytes).sum()
    }
}

/// A connection's slot. Dropped, it is free.
pub struct Slot {
    slots: Arc<Slots>,
    source: IpAddr,
    leave: Arc<Notify>,
    /// Its place among the strangers; 0 while it is none.
    turn: AtomicU64,
    _permit: OwnedSemaphorePermit,
}

impl Slot {
    /// From now on it is the stranger that has waited least: it was just opened, has just begun a request,
    /// or was just answered.
    pub fn waits(&self) {
        let mut strangers = self.slots.strangers();
        strangers.last += 1;
        let turn = strangers.last;
        strangers.by_turn.remove(&self.turn.swap(turn, Ordering::Relaxed));
        let stranger = Stranger { source: self.source, body_bytes: 0, leave: self.leave.clone() };
        strangers.by_turn.insert(turn, stranger);
    }

    /// So many more bytes of its body are held. Where all hold too much together, one of them leaves.
    pub fn holds(&self, bytes: usize) {
        let mut strangers = self.slots.strangers();
        if let Some(stranger) = strangers.by_turn.get_mut(&self.turn.load(Ordering::Relaxed)) {
            stranger.body_bytes += bytes as u64;
        }
        while strangers.body_bytes() > self.slots.body_bytes_max {
            strangers.close(|stranger| stranger.body_bytes);
        }
    }

    /// Its request is verified: it is not closed for another until it waits again. False when it makes room already.
    pub fn is_verified(&self) -> bool {
        self.slots.strangers().by_turn.remove(&self.turn.swap(0, Ordering::Relaxed)).is_some()
    }

    /// Whether it makes room for another, with its request on the way.
    pub fn was_closed(&self) -> bool {
        let turn = self.turn.load(Ordering::Relaxed);
        turn != 0 && !self.slots.strangers().by_turn.contains_key(&turn)
    }

    /// Returns when it has to make room.
    pub async fn makes_room(&self) {
        self.leave.notified().await;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.is_verified();
    }
}

/// Whose turn it is to make room: of the source that weighs most the stranger that has waited longest. Of
/// sources that weigh the same, the one whose stranger has. Pure.
fn makes_room(strangers: &BTreeMap<u64, Stranger>, weight: impl Fn(&Stranger) -> u64) -> Option<u64> {
    let mut sources: HashMap<IpAddr, (u64, Reverse<u64>)> = HashMap::new();
    for (turn, stranger) in strangers {
        let weighs = weight(stranger);
        if weighs > 0 {
            sources.entry(stranger.source).or_insert((0, Reverse(*turn))).0 += weighs;
        }
    }
    sources.into_values().max().map(|(_, Reverse(turn))| turn)
}

/// Which connections are of one source: those of one address, for IPv6 of one network. Pure.
fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) & !(u128::MAX >> NETWORK_BITS)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn who_makes_room() {
        let turn = |strangers: &[(&str, u64)], by_bytes: bool| {
            let stranger = |(address, body_bytes): &(&str, u64)| Stranger {
                source: ip(address),
                body_bytes: *body_bytes,
                leave: Arc::default(),
            };
            let strangers = (1..).zip(strangers.iter().map(stranger)).collect();
            makes_room(&strangers, |stranger| if by_bytes { stranger.body_bytes } else { 1 })
        };
        let (a, b, c) = ("10.0.0.1", "10.0.0.2", "10.0.0.3");
        for (strangers, slots, bytes) in [
            (&[][..], None, None),
            (&[(a, 0)], Some(1), None),
            (&[(a, 1), (a, 9), (a, 1)], Some(1), Some(1)),
            (&[(a, 0), (b, 1), (b, 1)], Some(2), Some(2)),
            (&[(b, 1), (a, 1), (b, 1), (a, 1)], Some(1), Some(1)),
            (&[(a, 9), (b, 1), (c, 1), (b, 1)], Some(2), Some(1)),
            (&[(a, 0), (b, 3), (a, 5), (b, 3)], Some(1), Some(2)),
        ] {
            assert_eq!((turn(strangers, false), turn(strangers, true)), (slots, bytes), "{strangers:?}");
        }
    }

    #[test]
    fn what_one_source_is() {
        for (one, other, same) in [
            ("10.0.0.1", "::ffff:10.0.0.1", true),
            ("10.0.0.1", "10.0.0.2", false),
            ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", true),
            ("2001:db8:1:2::1", "2001:db8:1:3::1", false),
        ] {
            assert_eq!(source(ip(one)) == source(ip(other)), same, "{one} {other}");
        }
    }

    fn threads() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime")
    }

    async fn is_leaving(slot: &Slot) -> bool {
        tokio::time::timeout(Duration::ZERO, slot.makes_room()).await.is_ok()
    }

    #[test]
    fn the_bodies_of_strangers_are_bounded_together_and_those_of_others_are_not() {
        threads().block_on(async {
            let slots = Arc::new(Slots::new(100));
            let [many, more, few, ours] = [
                slots.slot(ip("10.0.0.1")).await.expect("a slot"),
                slots.slot(ip("10.0.0.1")).await.expect("a slot"),
                slots.slot(ip("10.0.0.2")).await.expect("a slot"),
                slots.slot(ip("10.0.0.1")).await.expect("a slot"),
            ];
            ours.holds(60);
            assert!(ours.is_verified());
            many.holds(30);
            few.holds(40);
            more.holds(30);
            assert!(!is_leaving(&many).await, "what is verified counts no longer");
            few.holds(1);
            assert!(many.was_closed() && !few.was_closed() && !ours.was_closed());
            assert!(is_leaving(&many).await, "its source holds most, and it has waited longest");
            many.holds(1_000);
            assert!(!many.is_verified(), "its request reaches no plugin any more");
            few.waits();
            few.holds(70);
            assert!(
                !is_leaving(&few).await && !is_leaving(&more).await,
                "an answered body is held no longer"
            );
            more.holds(1);
            assert!(is_leaving(&few).await && !is_leaving(&more).await);
            assert_eq!(slots.strangers().by_turn.len(), 1, "the one that is left");
            drop(more);
            assert_eq!(slots.strangers().by_turn.len(), 0);
        });
    }

    #[test]
    fn the_source_that_holds_most_seats_makes_room() {
        threads().block_on(async {
            let slots = Arc::new(Slots::new(100));
            let one = slots.slot(ip("10.0.0.2")).await.expect("a slot");
            let mut others = Vec::new();
            while others.len() + 1 < OPEN_MAX {
                others.push(slots.slot(ip("10.0.0.1")).await.expect("a slot"));
            }
            assert!(others[0].is_verified(), "it makes no room");
            let next = slots.slot(ip("10.0.0.3"));
            let leaves = async {
                others[1].makes_room().await;
                others.remove(1);
            };
            let (next, ()) = tokio::join!(next, leaves);
            let next = next.expect("a slot");
            for slot in [&one, &others[0], &others[1], &next] {
                assert!(!is_leaving(slot).await);
            }
        });
    }
}
