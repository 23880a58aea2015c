//! Long polling: each update is handed over, and its number noted in the same commit, before the next
//! call tells Telegram to forget it.

use crate::api::Api;
use crate::map::{self, Own, Reading};
use serde_json::Value;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use vestibule_plugin_api::{Blob, Health, Ignored, PluginError, Result, Runtime, StateWrite};

/// Where the number of the next update is kept.
const OFFSET: &str = "offset";
/// The first wait after a failure; it doubles up to the last.
const WAIT_FIRST: Duration = Duration::from_secs(1);
const WAIT_LAST: Duration = Duration::from_secs(30);
/// An empty answer that comes sooner is no long poll, and is not asked for at once again.
const EMPTY_AFTER: Duration = Duration::from_secs(1);
/// How often a file's download is tried.
const DOWNLOADS: u32 = 3;

/// Polls until it is aborted, or the token does not work any more.
pub async fn run(api: Api, own: Own, runtime: Runtime) {
    let mut pace = Pace::new(&runtime);
    let mut offset = loop {
        match runtime.state_get(OFFSET).await {
            Ok(kept) => break kept.and_then(|kept| kept.parse::<i64>().ok()),
            Err(error) => pace.failed(&error).await,
        }
    };
    loop {
        let asked = Instant::now();
        // After a failure an answer at once tells that it works again.
        let waits = !pace.is_degraded;
        match api.updates(offset, waits).await {
            Ok(updates) => {
                pace.works().await;
                if updates.is_empty() && waits {
                    sleep(EMPTY_AFTER.saturating_sub(asked.elapsed())).await;
                }
                for update in updates {
                    let Some(number) = map::update_id(&update) else { continue };
                    take(&api, &own, &runtime, &update, number + 1, &mut pace).await;
                    offset = Some(number + 1);
                }
            }
            Err(PluginError::Broken { reason }) => {
                runtime.health(Health::Stopped { reason }).await;
                return;
            }
            Err(error) => pace.failed(&error).await,
        }
    }
}

/// Hands one update over. Returns only after it is on disk, and `next` with it.
async fn take(api: &Api, own: &Own, runtime: &Runtime, update: &Value, next: i64, pace: &mut Pace<'_>) {
    let mut reading = map::read(update, own);
    if let Reading::Message(message, Some(file_id)) = &mut reading
        && let Some(attachment) = message.attachments.first_mut()
    {
        attachment.bytes = fetch(api, file_id).await;
    }
    loop {
        let state = vec![StateWrite::set(OFFSET, next.to_string())];
        let done: Result<()> = match &reading {
            Reading::Message(message, _) => runtime.message_with((**message).clone(), state).await.map(drop),
            Reading::Ignored(ignored) => runtime.ignored_with(ignored.clone(), state).await,
        };
        match (done, &reading) {
            (Ok(()), _) => return pace.works().await,
            // It never will be taken: on record, so that it does not hold up what follows.
            (Err(PluginError::Refused { reason }), Reading::Message(message, _)) => {
                tracing::warn!(%reason, "a message was refused");
                reading = Reading::Ignored(Ignored {
                    event_id: format!("update/{}", next - 1),
                    reason: "refused".into(),
                    platform_id: Some(message.platform_id.clone()),
                    sender: message.sender.name.clone(),
                });
            }
            (Err(error), _) => pace.failed(&error).await,
        }
    }
}

/// A file's bytes. Without them the agent still sees that there was a file.
async fn fetch(api: &Api, file_id: &str) -> Option<Blob> {
    for _ in 0..DOWNLOADS {
        match api.file(file_id).await {
            Ok(bytes) => return Some(bytes.into()),
            Err(PluginError::Retry { reason, after_ms, .. }) => {
                tracing::debug!(%reason, "a file could not be fetched yet");
                sleep(after_ms.map_or(WAIT_FIRST, Duration::from_millis).min(WAIT_LAST)).await;
            }
            Err(error) => {
                tracing::warn!(reason = error.reason(), "a file was not fetched");
                return None;
            }
        }
    }
    tracing::warn!("a file was not fetched");
    None
}

/// How long to wait after failures, and what the operator is told.
struct Pace<'a> {
    runtime: &'a Runtime,
    wait: Duration,
    is_degraded: bool,
}

impl<'a> Pace<'a> {
    fn new(runtime: &'a Runtime) -> Self {
        Pace { runtime, wait: WAIT_FIRST, is_degraded: false }
    }

    async fn works(&mut self) {
        self.wait = WAIT_FIRST;
        if std::mem::take(&mut self.is_degraded) {
            self.runtime.health(Health::Live).await;
        }
    }

    async fn failed(&mut self, error: &PluginError) {
        let reason = error.reason().to_owned();
        self.is_degraded = true;
        self.runtime.health(Health::Degraded { reason }).await;
        let asked = match error {
            PluginError::Retry { after_ms, .. } => after_ms.map(Duration::from_millis),
            _ => None,
        };
        sleep(asked.unwrap_or(self.wait)).await;
        self.wait = (self.wait * 2).min(WAIT_LAST);
    }
}
