//! That an agent works on an answer, as Slack shows it of its assistants: in a thread, until a message is posted there.

use crate::api::Api;
use crate::event;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use vestibule_plugin_api::{PluginError, Result, Working};

/// Slack shows it for two minutes; it is said again before that.
const SAID_EVERY: Duration = Duration::from_secs(60);
/// An app that may not show it is not asked again for so long.
const REFUSED_FOR: Duration = Duration::from_secs(3_600);
/// How many threads are remembered.
const THREADS_MAX: usize = 1_000;
/// What people read after the bot's name.
const WORDS: &str = "is working on an answer\u{2026}";

/// Where it was said.
#[derive(Default)]
pub struct Status(Mutex<Said>);

#[derive(Default)]
struct Said {
    threads: HashMap<String, Instant>,
    refused: Option<Instant>,
}

impl Status {
    /// Shows it, where Slack has a place for it.
    pub async fn show(&self, api: &Api, working: &Working) -> Result<()> {
        let target = event::target(&working.address).map_err(PluginError::refused)?;
        let Some(thread) = target.thread else { return Ok(()) };
        let key =
            format!("{}:{thread}:{}", target.channel, working.message_id.as_deref().unwrap_or_default());
        if !self.is_due(&key, Instant::now()) {
            return Ok(());
        }
        let shown = api.status(&target.channel, &thread, WORDS).await;
        if let Err(PluginError::Refused { .. }) = &shown {
            self.lock().refused = Some(Instant::now());
        }
        shown
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Said> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is to be said at `now`; then it counts as said.
    fn is_due(&self, key: &str, now: Instant) -> bool {
        let mut said = self.lock();
        if said.refused.is_some_and(|at| now.saturating_duration_since(at) < REFUSED_FOR) {
            return false;
        }
        if said.threads.len() >= THREADS_MAX {
            said.threads.retain(|_, at| now.saturating_duration_since(*at) < SAID_EVERY);
        }
        let due = said.threads.get(key).is_none_or(|at| now.saturating_duration_since(*at) >= SAID_EVERY);
        if due && said.threads.len() < THREADS_MAX {
            said.threads.insert(key.to_owned(), now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_once_a_minute_for_each_message() {
        let (status, begin) = (Status::default(), Instant::now());
        let at = |key: &str, seconds: u64| status.is_due(key, begin + Duration::from_secs(seconds));
        assert!(at("a", 0) && !at("a", 5) && at("b", 5) && !at("a", 59) && at("a", 60) && !at("a", 61));
        status.lock().refused = Some(begin + Duration::from_secs(61));
        assert!(!at("c", 62) && !at("a", 130) && at("c", 61 + 3_600));
    }
}
