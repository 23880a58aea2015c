//! Keeps to the rates that a channel declares: the runtime hands one account no more than its platform takes.

use super::link::Link;
use crate::lock::locked;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use vestibule_plugin_api::{Limit, Limits, Rate};

/// A delivery that waits longer for its turn goes back into its lane: it could not be told from one in doubt after a crash.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a rate counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Paced {
    /// A new message.
    Post,
    /// A change to a message.
    Edit,
    /// A question with buttons.
    Question,
}

impl Paced {
    /// The limit that says its rate.
    fn limit(self, limits: &Limits) -> &Option<Limit> {
        match self {
            Paced::Post => &limits.post,
            Paced::Edit => &limits.edit,
            Paced::Question => &limits.question,
        }
    }
}

/// When the next of each kind of an account would be due if none had been ahead of its time.
#[derive(Debug, Default)]
pub struct Pacing(Mutex<BTreeMap<(String, Paced), Instant>>);

impl Pacing {
    /// Takes a turn of an account, if it comes within `patience`; returns how long to wait for it.
    ///
    /// # Errors
    /// It comes later, after this time. None was taken.
    pub fn take(
        &self,
        account: &str,
        paced: Paced,
        rate: Rate,
        patience: Duration,
    ) -> Result<Duration, Duration> {
        let (now, key) = (Instant::now(), (account.to_owned(), paced));
        let mut due = locked(&self.0);
        let (wait, next) = turn(due.get(&key).copied(), now, rate);
        if wait > patience {
            return Err(wait);
        }
        due.insert(key, next);
        Ok(wait)
    }
}

/// How long the next turn is away, and when the one after it is due if none is ahead of its time. `due` is that of this
/// one. Pure.
fn turn(due: Option<Instant>, now: Instant, rate: Rate) -> (Duration, Instant) {
    let every = Duration::from_secs(rate.seconds.into()) / rate.count.max(1);
    let ahead = every * rate.count.saturating_sub(1);
    let due = due.map_or(now, |due| due.max(now));
    let wait = (due - now).saturating_sub(ahead);
    (wait, due + every)
}

impl Link {
    /// Waits for the account's turn to be handed something, where the channel declares a rate.
    ///
    /// # Errors
    /// Its turn is further away than is waited for: so far. None was taken.
    pub async fn pace(&self, account: &str, paced: Paced) -> Result<(), Duration> {
        let limit = self.manifest.limits.as_ref().and_then(|limits| paced.limit(limits).as_ref());
        let Some(rate) = limit.and_then(|limit| limit.rate) else { return Ok(()) };
        tokio::time::sleep(self.pacing.take(account, paced, rate, PATIENCE)?).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_go_at_once_and_then_one_after_each_part_of_the_time() {
        let (start, rate) = (Instant::now(), Rate { count: 3, seconds: 6 });
        let mut due = None;
        for (at, wait) in [(0, 0), (0, 0), (0, 0), (0, 2), (0, 4), (4, 2), (60, 0), (60, 0), (60, 0), (60, 2)]
        {
            let (waits, next) = turn(due, start + Duration::from_secs(at), rate);
            assert_eq!(waits, Duration::from_secs(wait), "at {at}");
            due = Some(next);
        }
        // A plugin may declare nonsense.
        assert_eq!(turn(None, start, Rate { count: 0, seconds: 1 }).0, Duration::ZERO);
        let forever = Rate { count: 1, seconds: u32::MAX };
        assert!(turn(Some(start + Duration::from_secs(9)), start, forever).0 >= Duration::from_secs(9));
    }

    #[test]
    fn a_turn_that_is_too_far_away_is_not_taken() {
        let (pacing, rate) = (Pacing::default(), Rate { count: 1, seconds: 60 });
        let take = |account, paced| pacing.take(account, paced, rate, Duration::from_secs(1));
        assert_eq!(take("a", Paced::Post), Ok(Duration::ZERO));
        for _ in 0..3 {
            assert!(take("a", Paced::Post).is_err_and(|wait| wait <= Duration::from_secs(60)));
        }
        assert_eq!(take("a", Paced::Edit), Ok(Duration::ZERO));
        assert_eq!(take("b", Paced::Post), Ok(Duration::ZERO));
    }
}
