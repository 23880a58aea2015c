//! How long to wait after failures, and what the operator is told of them.

use crate::{Health, PluginError, Runtime, Standing};
use std::time::{Duration, Instant};

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

/// The wait that the platform asked for.
pub fn asked_for(error: &PluginError) -> Option<Duration> {
    match error {
        PluginError::Retry { after_ms, .. } => after_ms.map(Duration::from_millis),
        _ => None,
    }
}

/// The state of one account's connection: its waits, and its health as the operator sees it.
pub struct Pace {
    runtime: Runtime,
    wait: Backoff,
    standing: Standing,
    /// Why it does not work, once that was told.
    failing: bool,
    /// What the operator is told while it works.
    note: Option<String>,
}

impl Pace {
    /// The pace of a connection that is about to begin.
    pub fn new(runtime: Runtime) -> Pace {
        Pace { runtime, wait: Backoff::default(), standing: Standing::default(), failing: false, note: None }
    }

    /// Whether the last thing that happened was a failure.
    pub fn is_failing(&self) -> bool {
        self.failing
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
        self.runtime.health(note.map_or(Health::Live, |reason| Health::Degraded { reason })).await;
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
        self.runtime.health(health).await;
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
}
