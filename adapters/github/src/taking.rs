//! Hands what was read to the runtime, and says what became of it. GitHub sends nothing again by itself: what the runtime
//! cannot take yet because a file of it does not load is tried again for a while. Of anything else GitHub is told at once.

use crate::late::{Event, Late};
use crate::map::{self, Reading};
use std::time::Duration;
use tokio::time::{sleep, timeout};
use vestibule_plugin_api::{PluginError, Result, Runtime, WebhookResponse};

/// How long an event is handed over once it is its turn, also when its request was answered before.
const PATIENCE: Duration = Duration::from_secs(120);
/// The waits before it is handed over again that the runtime could not take.
const AGAIN_AFTER: [Duration; 5] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
    Duration::from_secs(16),
];
/// What the operator is to do about an event that is not stored.
const REDELIVER: &str = "if it does not come again, redeliver it on GitHub, under Recent Deliveries";

/// Hands over what was read, at last; the answer is what GitHub's page of deliveries shows.
pub async fn take(late: &Late, runtime: &Runtime, reading: &Reading) -> WebhookResponse {
    let has_files = matches!(reading, Reading::Message(message) if !message.attachments.is_empty());
    let waits = if has_files { &AGAIN_AFTER[..] } else { &[] };
    let taking = take_at_last(waits, || take_once(late, runtime, reading.clone()));
    timeout(PATIENCE, taking).await.unwrap_or_else(|_| {
        tracing::warn!("an event is not stored, for it takes too long: {REDELIVER}");
        not_yet()
    })
}

/// The answer for what may be stored yet.
pub fn not_yet() -> WebhookResponse {
    WebhookResponse::text(503, "This event is not stored yet. If it does not appear, redeliver it.")
}

/// What was read, as an event that may come late.
pub fn event(reading: &Reading) -> Option<Event> {
    match reading {
        Reading::Message(message) => Some(Event::Message(message.clone())),
        Reading::Change(change) => Some(Event::Change(change.clone())),
        Reading::Pong | Reading::Ignored { .. } => None,
    }
}

/// Hands an event over, and after each of these waits again, until the runtime takes it or refuses it.
async fn take_at_last<T: Future<Output = Result<WebhookResponse>>>(
    waits: &[Duration],
    mut taking: impl FnMut() -> T,
) -> WebhookResponse {
    for wait in waits {
        match taking().await {
            Ok(answer) => return answer,
            Err(PluginError::Retry { .. }) => sleep(*wait).await,
            Err(error) => return not_taken(&error),
        }
    }
    taking().await.unwrap_or_else(|error| {
        tracing::warn!(reason = error.reason(), "an event is not stored: {REDELIVER}");
        not_taken(&error)
    })
}

async fn take_once(late: &Late, runtime: &Runtime, reading: Reading) -> Result<WebhookResponse> {
    let event = match reading {
        Reading::Pong => return Ok(WebhookResponse::text(200, "pong")),
        Reading::Message(message) => Event::Message(message),
        Reading::Change(change) => Event::Change(change),
        Reading::Ignored { ignored, sentence } => {
            runtime.ignored(ignored).await?;
            return Ok(WebhookResponse::text(202, sentence));
        }
    };
    let accepted = late.take(runtime, event).await?;
    Ok(WebhookResponse::text(200, map::outcome(&accepted)))
}

/// The answer that GitHub's page of deliveries shows when the runtime did not take an event.
fn not_taken(error: &PluginError) -> WebhookResponse {
    let reason = error.reason();
    match error {
        PluginError::Refused { .. } => {
            WebhookResponse::text(422, format!("This event is refused: {reason}."))
        }
        _ => WebhookResponse::text(
            503,
            format!("Vestibule could not store this event ({reason}). Redeliver it later."),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_event_is_handed_over_until_it_is_taken_or_refused() {
        for (failures, error, want, tries) in [
            (0, PluginError::retry("the file did not come"), 200, 1),
            (2, PluginError::retry("the file did not come"), 200, 3),
            (9, PluginError::retry("the file did not come"), 503, 4),
            (9, PluginError::refused("too long"), 422, 1),
        ] {
            let mut tried = 0;
            let answer = take_at_last(&[Duration::ZERO; 3], || {
                tried += 1;
                std::future::ready(match tried > failures {
                    true => Ok(WebhookResponse::text(200, "committed")),
                    false => Err(error.clone()),
                })
            })
            .await;
            assert_eq!((answer.status, tried), (want, tries), "{failures} {error:?}");
        }
    }

    #[test]
    fn what_is_not_stored_is_not_acknowledged() {
        assert_eq!(not_taken(&PluginError::retry("disk full")).status, 503);
        assert_eq!(not_taken(&PluginError::Unknown).status, 503);
        assert_eq!(not_taken(&PluginError::refused("too long")).status, 422);
    }
}
