//! The places for runners: how many run at once, which sessions wait, and which goes first when there are too few.
//!
//! A place is given to the agent that holds the fewest, and among its sessions to the one that has waited
//! longest. When none is free, the runner that has had nothing to do for longest is asked to end; when all have something
//! to do, the one that has had its place for longest, and for longer than its share, is asked to end after its turn.

use crate::id::AgentGroupId;
use crate::lock::locked;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// All places of one runtime.
pub struct Places {
    shared: Arc<Shared>,
}

struct Shared {
    most: usize,
    /// A session keeps its place for so long, while others wait.
    share: Duration,
    places: Mutex<Book>,
}

/// Which sessions have a place, and which wait, by the number under which they asked: the lower asked first.
#[derive(Default)]
struct Book {
    asked: u64,
    held: HashMap<u64, Holder>,
    waiting: HashMap<u64, Waiter>,
    /// The session that started last though something runs low that all runners share, until any has ended.
    cramped: Option<u64>,
}

struct Holder {
    agent: AgentGroupId,
    /// Since when it has the place.
    since: Instant,
    /// Since when its runner has nothing to do.
    idle_since: Option<Instant>,
    /// When it was asked to end its runner, if it was.
    wanted: Option<Wanted>,
    news: Arc<Notify>,
}

/// When a session is to give its place to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// At once, unless its runner gets something to do before.
    WhileIdle,
    /// After its turn.
    AfterTurn,
}

struct Waiter {
    agent: AgentGroupId,
    news: Arc<Notify>,
}

/// A place for one runner, or one in the queue for it. Dropping it gives it back.
pub struct Place {
    number: u64,
    shared: Arc<Shared>,
    news: Arc<Notify>,
}

/// How many places are taken, and how many sessions wait for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// How many places there are.
    pub most: usize,
    /// How many are taken.
    pub taken: usize,
    /// How many sessions wait.
    pub waiting: usize,
}

impl Places {
    /// So many places, at least one; when others wait, a session keeps its own for this long.
    pub fn new(most: usize, share: Duration) -> Places {
        Places { shared: Arc::new(Shared { most: most.max(1), share, places: Mutex::default() }) }
    }

    /// Asks for a place for a runner of this agent. It may be given at once, without [`Place::news`].
    pub fn ask(&self, agent: &AgentGroupId) -> Place {
        let news = Arc::new(Notify::new());
        let mut book = self.shared.book();
        book.asked += 1;
        let number = book.asked;
        book.waiting.insert(number, Waiter { agent: agent.clone(), news: news.clone() });
        book.give(&self.shared, Some(number));
        Place { number, shared: self.shared.clone(), news }
    }

    /// Something that all runners share runs low: asks the one with nothing to do for longest to end, if there is one.
    pub fn make_room(&self) {
        self.shared.book().ask_idlest(None);
    }

    /// How many are taken.
    pub fn count(&self) -> Count {
        let book = self.shared.book();
        Count { most: self.shared.most, taken: book.held.len(), waiting: book.waiting.len() }
    }
}

impl Shared {
    fn book(&self) -> MutexGuard<'_, Book> {
        locked(&self.places)
    }
}

impl Book {
    /// Gives the free places to the sessions that wait; asks for more when that is not enough. `asking` sees by
    /// itself whether it was given one: told of it later, it would take that for a wish of another session's.
    fn give(&mut self, shared: &Shared, asking: Option<u64>) {
        let now = Instant::now();
        while self.held.len() < shared.most {
            let Some(number) = self.next() else { return };
            let Some(Waiter { agent, news }) = self.waiting.remove(&number) else { return };
            if asking != Some(number) {
                news.notify_one();
            }
            self.held.insert(number, Holder { agent, since: now, idle_since: None, wanted: None, news });
        }
        let wanted = self.held.values().filter(|holder| holder.wanted.is_some()).count();
        for _ in wanted..self.waiting.len() {
            if !self.ask_idlest(None) && !self.ask_longest(shared.share, now) {
                return;
            }
        }
    }

    /// The number of the session whose turn it is.
    fn next(&self) -> Option<u64> {
        let holds = |agent: &AgentGroupId| self.held.values().filter(|holder| holder.agent == *agent).count();
        let least = self.waiting.iter().min_by_key(|(number, waiter)| (holds(&waiter.agent), **number));
        least.map(|(number, _)| *number)
    }

    /// Asks the runner that has had nothing to do for longest to end, but not that of `except`; returns whether there is
    /// one.
    fn ask_idlest(&mut self, except: Option<u64>) -> bool {
        let others =
            self.held.iter_mut().filter(|(number, _)| except != Some(**number)).map(|(_, holder)| holder);
        let idle = others.filter(|holder| holder.wanted.is_none() && holder.idle_since.is_some());
        idle.min_by_key(|holder| holder.idle_since).is_some_and(|holder| holder.ask(Wanted::WhileIdle))
    }

    /// Asks one of the others to end for the session that lacks room, unless one was asked.
    fn make_room(&mut self) {
        if self.cramped.is_some() && self.held.values().all(|holder| holder.wanted.is_none()) {
            self.ask_idlest(self.cramped);
        }
    }

    /// Asks the runner that has had its place for longest, and for its share, to end after its turn; returns whether
    /// there is one.
    fn ask_longest(&mut self, share: Duration, now: Instant) -> bool {
        let busy =
            self.held.values_mut().filter(|holder| holder.wanted.is_none() && holder.idle_since.is_none());
        let longest = busy.filter(|holder| now >= holder.since + share).min_by_key(|holder| holder.since);
        longest.is_some_and(|holder| holder.ask(Wanted::AfterTurn))
    }
}

impl Holder {
    fn ask(&mut self, wanted: Wanted) -> bool {
        self.wanted = Some(wanted);
        self.news.notify_one();
        true
    }
}

impl Place {
    /// Whether it is given; else it waits.
    pub fn is_given(&self) -> bool {
        self.shared.book().held.contains_key(&self.number)
    }

    /// Returns when it is given, or, if it is, when another session needs it.
    pub async fn news(&self) {
        self.news.notified().await;
    }

    /// When it is to be given to another session, if one needs it.
    pub fn wanted(&self) -> Option<Wanted> {
        self.shared.book().held.get(&self.number).and_then(|holder| holder.wanted)
    }

    /// Says that its runner starts though something runs low that all runners share: another with nothing to do is
    /// asked to end, now or once there is one.
    pub fn ask_for_room(&self) {
        let mut book = self.shared.book();
        book.cramped = Some(self.number);
        book.make_room();
    }

    /// Says that its runner was asked to end: until that has ended, no other is asked in its stead.
    pub fn ends(&self) {
        if let Some(holder) = self.shared.book().held.get_mut(&self.number) {
            holder.idle_since = None;
            holder.wanted.get_or_insert(Wanted::AfterTurn);
        }
    }

    /// Says since when its runner has nothing to do; `None`: it has something to do.
    pub fn set_idle(&self, since: Option<Instant>) {
        let mut book = self.shared.book();
        let Some(holder) = book.held.get_mut(&self.number) else { return };
        holder.idle_since = since;
        if since.is_none() && holder.wanted == Some(Wanted::WhileIdle) {
            holder.wanted = None;
        }
        if !book.waiting.is_empty() {
            book.give(&self.shared, None);
        }
        book.make_room();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut book = self.shared.book();
        book.waiting.remove(&self.number);
        if book.held.remove(&self.number).is_some() {
            book.cramped = None;
        }
        book.give(&self.shared, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    /// Whether there is news now; it is taken.
    fn hears(place: &Place) -> bool {
        let mut news = std::pin::pin!(place.news());
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        std::future::Future::poll(news.as_mut(), &mut context).is_ready()
    }

    #[test]
    fn a_place_is_given_in_the_order_of_asking() {
        let places = Places::new(1, LONG);
        let first = places.ask(&"a".into());
        let (second, third) = (places.ask(&"a".into()), places.ask(&"a".into()));
        assert!(first.is_given() && !hears(&first) && !second.is_given() && !third.is_given());
        assert_eq!(places.count(), Count { most: 1, taken: 1, waiting: 2 });
        drop(first);
        assert!(second.is_given() && hears(&second) && !third.is_given());
        drop(third); // it leaves the queue
        drop(second);
        assert_eq!(places.count(), Count { most: 1, taken: 0, waiting: 0 });
    }

    #[test]
    fn an_agent_with_many_sessions_does_not_keep_the_others_out() {
        let places = Places::new(2, LONG);
        let (one, two) = (places.ask(&"many".into()), places.ask(&"many".into()));
        let (three, other) = (places.ask(&"many".into()), places.ask(&"other".into()));
        drop(one);
        assert!(other.is_given() && !three.is_given(), "the agent with the fewest places is next");
        drop(two);
        assert!(three.is_given());
    }

    #[test]
    fn one_that_waits_costs_one_idle_runner() {
        let places = Places::new(3, LONG);
        let held = [places.ask(&"a".into()), places.ask(&"a".into()), places.ask(&"a".into())];
        let now = Instant::now();
        held.iter().for_each(|place| place.set_idle(Some(now)));
        let waits = places.ask(&"b".into());
        let [asked] = held.iter().filter(|place| place.wanted().is_some()).collect::<Vec<_>>()[..] else {
            panic!("one is asked")
        };
        asked.ends(); // which takes a while
        let others = held.iter().filter(|place| place.wanted().is_some() && place.number != asked.number);
        assert_eq!(others.count(), 0, "no other is asked meanwhile");
        assert!(!waits.is_given());
    }

    #[test]
    fn the_runner_that_is_idle_for_longest_is_asked_first_and_once() {
        let places = Places::new(3, LONG);
        let now = Instant::now();
        let held = [places.ask(&"a".into()), places.ask(&"a".into()), places.ask(&"a".into())];
        assert!(!held.iter().any(hears));
        held[0].set_idle(Some(now));
        held[1].set_idle(Some(now - Duration::from_secs(5)));
        let _waits = places.ask(&"a".into());
        assert_eq!(held.each_ref().map(hears), [false, true, false]);
        // It has got something to do meanwhile: the next is asked.
        held[1].set_idle(None);
        assert_eq!(held.each_ref().map(hears), [true, false, false]);
        held[2].set_idle(Some(now));
        assert_eq!(held.each_ref().map(hears), [false, false, false], "one waits, one was asked");
        places.make_room();
        assert_eq!(held.each_ref().map(hears), [false, false, true]);
    }

    #[test]
    fn a_session_that_lacks_room_gets_the_room_of_the_first_other_that_has_nothing_to_do() {
        let places = Places::new(3, LONG);
        let now = Instant::now();
        let held = [places.ask(&"a".into()), places.ask(&"a".into()), places.ask(&"a".into())];
        held[0].ask_for_room();
        held[0].set_idle(Some(now - Duration::from_secs(5)));
        assert_eq!(held.each_ref().map(hears), [false; 3], "not its own, and the others are at work");
        held[1].set_idle(Some(now));
        held[2].set_idle(Some(now));
        assert_eq!(held.each_ref().map(hears), [false, true, false]);
        // It has got something to do meanwhile: the next is asked.
        held[1].set_idle(None);
        assert_eq!(held.each_ref().map(hears), [false, false, true]);
        let [_first, second, third] = held;
        drop(third);
        second.set_idle(Some(now));
        assert!(!hears(&second), "one has made room");
    }

    #[test]
    fn a_session_that_is_never_idle_gives_way_after_its_share() {
        let places = Places::new(2, Duration::ZERO);
        let (first, second) = (places.ask(&"a".into()), places.ask(&"b".into()));
        let waits = places.ask(&"c".into());
        assert_eq!(
            (first.wanted(), second.wanted()),
            (Some(Wanted::AfterTurn), None),
            "one waits, one is asked"
        );
        first.set_idle(None);
        assert_eq!((first.wanted(), second.wanted()), (Some(Wanted::AfterTurn), None), "it is asked once");
        assert!(hears(&first) && !hears(&second));
        drop(first);
        assert!(waits.is_given());
        // An idle one is asked before.
        second.set_idle(Some(Instant::now()));
        let _waits = places.ask(&"d".into());
        assert_eq!((second.wanted(), waits.wanted()), (Some(Wanted::WhileIdle), None));

        let places = Places::new(1, LONG);
        let held = places.ask(&"a".into());
        let _waits = places.ask(&"b".into());
        held.set_idle(None);
        assert_eq!(held.wanted(), None, "its share is not over");
    }
}
