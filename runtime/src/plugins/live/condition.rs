//! How an account is: what its plugin says of it, and what the answers to its calls say. And how long to wait before
//! it is started again. Pure.

use super::link::CallError;
use std::time::{Duration, Instant};
use vestibule_plugin_api::{Health, Standing};

/// The first wait before an account is started again; it doubles up to the last.
const WAIT_FIRST: Duration = Duration::from_secs(1);
/// The last wait while its platform cannot be reached …
const WAITING_LAST: Duration = Duration::from_secs(60);
/// … and while it does not work: a token that is refused every minute may be locked out.
const BROKEN_LAST: Duration = Duration::from_secs(300);
/// An account that lived so long has started well: the waits begin anew.
const STEADY: Duration = Duration::from_secs(60);

/// How one account is.
#[derive(Debug, Default)]
pub struct Condition {
    /// What its plugin said last.
    said: Option<Health>,
    /// What the answers to its calls say.
    answered: Option<Health>,
    standing: Standing,
    wait: Option<Duration>,
    live_since: Option<Instant>,
}

impl Condition {
    /// It is started (again): what was said and answered before holds no longer.
    pub fn starts(&mut self) {
        (self.said, self.answered, self.standing) = (None, None, Standing::default());
    }

    /// It came to life at `now`.
    pub fn lives(&mut self, now: Instant) {
        self.live_since = Some(now);
    }

    /// Its plugin says how the account is.
    pub fn says(&mut self, health: Health) {
        self.said = Some(health);
    }

    /// A delivery, or the lookup of one, was answered. Only an answer about the account itself changes anything.
    pub fn answers<T>(&mut self, answer: &Result<T, CallError>, now: Instant) {
        match answer {
            Ok(_) => {
                self.standing.works();
                self.answered = None;
            }
            Err(CallError::Plugin(error)) => {
                self.answered = self.standing.failed(error, now).or(self.answered.take());
            }
            Err(_) => {}
        }
    }

    /// How it is, by the worse of what was said and what was answered; `None` when neither was.
    pub fn health(&self) -> Option<Health> {
        let (said, answered) = (self.said.as_ref(), self.answered.as_ref());
        let worse = if rank(answered) > rank(said) { answered } else { said };
        worse.cloned()
    }

    /// How long to wait at `now` before it is started again.
    pub fn wait(&mut self, is_broken: bool, now: Instant) -> Duration {
        let lived = self.live_since.take().map(|since| now.saturating_duration_since(since));
        let last = if is_broken { BROKEN_LAST } else { WAITING_LAST };
        let before = self.wait.filter(|_| lived.is_none_or(|lived| lived < STEADY));
        let wait = before.map_or(WAIT_FIRST, |before| before * 2).min(last);
        self.wait = Some(wait);
        wait
    }
}

fn rank(health: Option<&Health>) -> u8 {
    match health {
        None | Some(Health::Live | Health::Unknown) => 0,
        Some(Health::Connecting) => 1,
        Some(Health::Degraded { .. }) => 2,
        Some(Health::Stopped { .. }) => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vestibule_plugin_api::{Failure, PluginError};

    fn degraded(reason: &str) -> Option<Health> {
        Some(Health::Degraded { reason: reason.into() })
    }

    fn failed(error: PluginError) -> Result<(), CallError> {
        Err(CallError::Plugin(error))
    }

    #[test]
    fn answers_about_the_account_move_it_and_others_do_not() {
        let begin = Instant::now();
        let broken = || failed(PluginError::broken("token"));
        let mut account = Condition::default();
        for (answer, at, want) in [
            (failed(PluginError::refused("blocked")), 0, None),
            (failed(PluginError::retry("busy")), 0, None),
            (Err(CallError::Late), 0, None),
            (failed(Failure::network(false).error("no route")), 1, degraded("no route")),
            // About one chat: it is as it was.
            (failed(PluginError::refused("blocked")), 2, degraded("no route")),
            (Ok(()), 3, None),
            (broken(), 10, degraded("token")),
            (broken(), 20, degraded("token")),
            (failed(PluginError::refused("blocked")), 30, degraded("token")),
            (broken(), 40, Some(Health::Stopped { reason: "token".into() })),
            (Ok(()), 41, None),
            (broken(), 42, degraded("token")),
        ] {
            account.answers(&answer, begin + Duration::from_secs(at));
            assert_eq!(account.health(), want, "{answer:?} at {at}");
        }
        account.starts();
        assert_eq!(account.health(), None, "a new start knows nothing of it");
    }

    #[test]
    fn the_worse_of_what_is_said_and_answered_is_how_it_is() {
        let mut account = Condition::default();
        account.says(Health::Degraded { reason: "polling".into() });
        account.answers(&Ok(()), Instant::now());
        assert_eq!(account.health(), degraded("polling"), "what was sent says nothing of polling");
        account.answers(&failed(PluginError::broken("token")), Instant::now());
        assert_eq!(account.health(), degraded("polling"));
        account.says(Health::Live);
        assert_eq!(account.health(), degraded("token"), "what was polled says nothing of sending");
    }

    #[test]
    fn the_waits_grow_until_it_lives_for_a_while() {
        let begin = Instant::now();
        let mut account = Condition::default();
        let mut waits = |is_broken, count| -> Vec<u64> {
            (0..count).map(|_| account.wait(is_broken, begin).as_secs()).collect()
        };
        assert_eq!(waits(false, 8), [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(waits(true, 4), [120, 240, 300, 300]);
        assert_eq!(waits(false, 1), [60]);
        account.lives(begin);
        assert_eq!(account.wait(true, begin + STEADY / 2).as_secs(), 120, "it lived for a moment");
        account.lives(begin);
        assert_eq!(account.wait(true, begin + STEADY).as_secs(), 1);
    }
}
