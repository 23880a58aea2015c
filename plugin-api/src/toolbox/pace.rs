//! How long to wait after failures and between calls, and what the operator is told.

use crate::{Health, PluginError, Result, Runtime, Standing};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::time::{self, sleep, sleep_until};

/// The first wait after a failure; it doubles up to the last.
const WAIT_FIRST: Duration = Duration::from_secs(1);
const WAIT_LAST: Duration = Duration::from_secs(30);

/// Waits that double from 1 s to 30 s.
#[derive(Debug, Clone)]
pub struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Backoff {
        Backoff(WAIT_FIRST)
    }
}

impl Backoff {
    /// The wait after this failure: what the platform asked for, else twice the last one.
    pub fn after(&mut self, error: &PluginError) -> Duration {
        let own = self.0;
        self.0 = (own * 2).min(WAIT_LAST);
        asked_for(error).unwrap_or(own)
    }
}

/// A bucket of tokens for a platform that wants few calls at a time: so many at once, and then one after each `every`.
#[derive(Debug)]
pub struct Bucket {
    every: Duration,
    /// How far ahead of `every` a call may be.
    ahead: Duration,
    /// When the next one would be due if none had been ahead.
    due: Mutex<Option<time::Instant>>,
}

impl Bucket {
    /// A full bucket.
    pub fn new(burst: u32, every: Duration) -> Bucket {
        Bucket { every, ahead: every * burst.saturating_sub(1), due: Mutex::default() }
    }

    /// Takes a token, and waits until it is there: for as long as `patience`.
    ///
    /// # Errors
    /// [`PluginError::Retry`]: it would be there later than that. None was taken.
    pub async fn take(&self, patience: Duration) -> Result<()> {
        let now = time::Instant::now();
        let at = {
            let mut next = self.due.lock().unwrap_or_else(PoisonError::into_inner);
            let due = next.map_or(now, |next| next.max(now));
            let at = due.checked_sub(self.ahead).map_or(now, |at| at.max(now));
            if at - now > patience {
                return Err(PluginError::retry_after("others wait to be sent before it", at - now));
            }
            *next = Some(due + self.every);
            at
        };
        sleep_until(at).await;
        Ok(())
    }
}

/// The wait that the platform asked for.
pub fn asked_for(error: &PluginError) -> Option<Duration> {
    match error {
        PluginError::Retry { after_ms, .. } => after_ms.map(Duration::from_millis),
        _ => None,
    }
}

/// The state of one account's connection: its waits, and its health as the operator sees it. An account with several loops
/// has one [beside](Pace::beside) the other.
pub struct Pace {
    runtime: Runtime,
    account: Arc<Account>,
    /// Which of the account's loops this is.
    number: usize,
    wait: Backoff,
    standing: Standing,
    /// Why it does not work, once that was told.
    failing: bool,
    /// What the operator is told while it works.
    note: Option<String>,
}

/// How an account's loops are.
#[derive(Default)]
struct Account {
    loops: AtomicUsize,
    /// What each said of itself. Held while the runtime is told, so that the last word is the newest.
    said: tokio::sync::Mutex<BTreeMap<usize, Health>>,
}

/// How bad it is.
fn rank(health: &Health) -> u8 {
    match health {
        Health::Stopped { .. } => 3,
        Health::Degraded { .. } => 2,
        Health::Connecting => 1,
        _ => 0,
    }
}

impl Pace {
    /// The pace of a connection that is about to begin.
    pub fn new(runtime: Runtime) -> Pace {
        Pace::of(runtime, Arc::default())
    }

    /// The pace of another loop of the same account, with waits of its own. The operator is told how the worse of the two is:
    /// that one works says nothing of the other.
    pub fn beside(&self) -> Pace {
        Pace::of(self.runtime.clone(), self.account.clone())
    }

    fn of(runtime: Runtime, account: Arc<Account>) -> Pace {
        let number = account.loops.fetch_add(1, Ordering::Relaxed);
        let (wait, standing) = (Backoff::default(), Standing::default());
        Pace { runtime, account, number, wait, standing, failing: false, note: None }
    }

    /// Says how this loop is; the operator hears of the worst one.
    async fn say(&self, health: Health) {
        let mut said = self.account.said.lock().await;
        said.insert(self.number, health);
        if let Some(worst) = said.values().max_by_key(|health| rank(health)) {
            self.runtime.health(worst.clone()).await;
        }
    }

    /// Whether the last thing that happened was a failure.
    pub fn is_failing(&self) -> bool {
        self.failing
    }

    /// What was to go on has ended: when that was a failure, the operator is told, and this waits, longer each time. A loop of
    /// a connection's life and of this goes on for as long as its task lives; the life says that it [works](Pace::works).
    pub async fn after(&mut self, ended: Result<()>) {
        if let Err(error) = ended {
            sleep(self.failed(&error).await).await;
        }
    }

    /// It works.
    pub async fn works(&mut self) {
        self.wait = Backoff::default();
        self.standing.works();
        if std::mem::take(&mut self.failing) {
            self.tell_works().await;
        }
    }

    /// What the operator is told although it works; `None` when there is nothing to tell.
    pub async fn note(&mut self, note: Option<String>) {
        if self.note != note {
            self.note = note;
            if !self.failing {
                self.tell_works().await;
            }
        }
    }

    async fn tell_works(&self) {
        let note = self.note.clone();
        self.say(note.map_or(Health::Live, |reason| Health::Degraded { reason })).await;
    }

    /// Whether there is something to tell although it works.
    pub fn has_note(&self) -> bool {
        self.note.is_some()
    }

    /// It failed: the operator is told, and the answer is how long to wait. Each failure here counts as the account's,
    /// for without its connection an account hears no message.
    pub async fn failed(&mut self, error: &PluginError) -> Duration {
        let in_part = || Health::Degraded { reason: error.reason().to_owned() };
        let health = self.standing.failed(error, Instant::now()).unwrap_or_else(in_part);
        self.failing = true;
        self.say(health).await;
        self.wait.after(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_and_end_and_a_platform_may_name_one() {
        let mut backoff = Backoff::default();
        let plain = PluginError::retry("x");
        let waits: Vec<u64> = (0..7).map(|_| backoff.after(&plain).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
        let named = PluginError::retry_after("x", Duration::from_secs(7));
        assert_eq!(backoff.after(&named), Duration::from_secs(7));
    }

    #[tokio::test]
    async fn a_bucket_gives_its_burst_at_once_and_then_one_at_a_time() {
        let bucket = Bucket::new(3, Duration::from_millis(300));
        let start = time::Instant::now();
        let mut waits = Vec::new();
        for _ in 0..5 {
            bucket.take(Duration::from_secs(9)).await.expect("soon");
            waits.push(start.elapsed() >= Duration::from_millis(300 * (waits.len().max(2) as u64 - 2)));
        }
        assert_eq!(waits, [true; 5]);
        let later = bucket.take(Duration::from_millis(1)).await;
        assert!(matches!(later, Err(PluginError::Retry { after_ms: Some(_), .. })), "{later:?}");
        time::sleep(Duration::from_secs(2)).await;
        let start = time::Instant::now();
        for _ in 0..4 {
            bucket.take(Duration::from_secs(9)).await.expect("soon");
        }
        assert!(start.elapsed() >= Duration::from_millis(299), "it fills up again, and not over its brim");
    }
}

#[cfg(all(test, feature = "testing"))]
mod with_a_runtime {
    use super::*;
    use crate::testing::ScriptedRuntime;

    #[tokio::test]
    async fn after_a_failure_it_waits_and_the_operator_is_told() {
        let runtime = ScriptedRuntime::new();
        let mut pace = Pace::new(runtime.runtime("main"));
        let begin = Instant::now();
        for why in ["it is not there", "it is not there"] {
            pace.after(Err(PluginError::retry_after(why, Duration::from_millis(40)))).await;
        }
        assert!(begin.elapsed() >= Duration::from_millis(80));
        pace.works().await;
        pace.after(Ok(())).await;
        let told: Vec<Health> = runtime.health().into_iter().map(|(_, health)| health).collect();
        assert!(matches!(&told[0], Health::Degraded { reason } if reason == "it is not there"), "{told:?}");
        assert_eq!((told.len(), &told[2]), (3, &Health::Live), "{told:?}");
    }

    /// One loop of an account works again: that is no word about the other.
    #[tokio::test]
    async fn of_two_loops_the_worse_one_is_told() {
        let runtime = ScriptedRuntime::new();
        let mut one = Pace::new(runtime.runtime("main"));
        let mut other = one.beside();
        let later = |why: &str| PluginError::retry(why);
        other.failed(&later("no token")).await;
        one.failed(&later("no connection")).await;
        one.works().await;
        other.works().await;
        let reason = |health: Health| match health {
            Health::Live => "live".to_owned(),
            Health::Degraded { reason } => reason,
            other => format!("{other:?}"),
        };
        let told: Vec<String> = runtime.health().into_iter().map(|(_, health)| reason(health)).collect();
        assert_eq!(told.len(), 4, "{told:?}");
        assert_eq!((told[0].as_str(), told[2].as_str(), told[3].as_str()), ("no token", "no token", "live"));
    }
}
