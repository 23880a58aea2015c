//! The webhook: Telegram posts each update to the runtime's listener, and hears of success once it is on disk. Until then it
//! keeps the update, and posts it again.

use crate::api::Api;
use crate::held::PARTS_QUIET;
use crate::inbox::Inbox;
use crate::map;
use serde_json::Value;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, timeout};
use vestibule_plugin_api::toolbox::json;
use vestibule_plugin_api::toolbox::pace::Pace;
use vestibule_plugin_api::{Timestamp, WebhookRequest, WebhookResponse};

/// How long a request of Telegram's is held until its update is on disk.
const REQUEST_PATIENCE: Duration = Duration::from_secs(8);
/// The most updates that wait to be taken. Telegram posts a further one again.
const WAITING_MAX: usize = 64;
/// How often it is looked whether a further part of a message came.
const PARTS_LOOK: Duration = Duration::from_millis(250);
/// How long after the start, and how often from then on, Telegram is asked how the webhook does.
const WATCH_FIRST: Duration = Duration::from_secs(3);
const WATCH_EVERY: Duration = Duration::from_secs(60);
/// A failure that was so long ago is told no more.
const FAILURE_SECONDS: i64 = 600;

/// An update that was posted, and how to say that it is on disk.
pub type Posted = (Value, oneshot::Sender<()>);

/// The end of the line of updates at which requests come in.
pub struct Hook(mpsc::Sender<Posted>);

impl Hook {
    /// The line of updates: its end for requests, and that at which they are taken.
    pub fn new() -> (Hook, mpsc::Receiver<Posted>) {
        let (sender, updates) = mpsc::channel(WAITING_MAX);
        (Hook(sender), updates)
    }

    /// Answers a request, whose secret the runtime has verified.
    pub async fn answer(&self, request: &WebhookRequest) -> WebhookResponse {
        let update = json::read::<Value>(&request.body).unwrap_or_default();
        if map::update_id(&update).is_none() {
            return WebhookResponse::text(400, "This is no update of Telegram's.");
        }
        let (done, taken) = oneshot::channel();
        if self.0.try_send((update, done)).is_err() {
            return WebhookResponse::text(503, "Too much is under way: post it again.");
        }
        match timeout(REQUEST_PATIENCE, taken).await {
            Ok(Ok(())) => WebhookResponse::text(200, ""),
            _ => WebhookResponse::text(503, "It is not stored yet: post it again."),
        }
    }
}

/// Takes what is posted, one update after the other, until it is aborted.
pub async fn run(mut inbox: Inbox, mut updates: mpsc::Receiver<Posted>) {
    inbox.hand_over_whole().await;
    loop {
        let patience = if inbox.held.expects_parts() { PARTS_LOOK } else { PARTS_QUIET };
        match inbox.meanwhile(timeout(patience, updates.recv())).await {
            Ok(Some((update, done))) => {
                inbox.take(update).await;
                let _ = done.send(());
            }
            Ok(None) => return,
            Err(_) => {}
        }
        // What waits in the line may be the next part.
        if updates.is_empty() {
            inbox.held.complete(Instant::now());
            inbox.hand_over_whole().await;
        }
    }
}

/// Asks Telegram from time to time how the webhook does, and tells what is wrong with it. Nothing else notices by itself
/// that the token is refused: no update is asked for with it.
pub async fn watch(api: Api, mut pace: Pace, url: String, told: watch::Sender<Option<String>>) {
    let mut wait = WATCH_FIRST;
    loop {
        sleep(wait).await;
        wait = match api.webhook_info().await {
            Ok(info) => {
                drop(told.send(note(&info, &url, Timestamp::now().0 / 1_000)));
                pace.works().await;
                WATCH_EVERY
            }
            Err(error) => pace.failed(&error).await,
        };
    }
}

/// What the operator is told of a webhook, by what Telegram says of it; nothing while updates get through.
fn note(info: &Value, url: &str, now: i64) -> Option<String> {
    if info["url"] != url {
        // The other address may hold a secret of another program's.
        return Some(
            "another program has set this bot's webhook to an address of its own, or removed it: stop that program, and run \
             `vestibule plugin reload telegram`"
                .to_owned(),
        );
    }
    let waiting = info["pending_update_count"].as_u64().filter(|count| *count > 0)?;
    let at = info["last_error_date"].as_i64().filter(|at| now - at < FAILURE_SECONDS)?;
    let words = vestibule_plugin_api::toolbox::http::words(info["last_error_message"].as_str()?);
    Some(format!(
        "Telegram could not post an update {} s ago ({words}), and {waiting} wait: look whether `webhook_url` leads to \
         this runtime's listener",
        now.saturating_sub(at).max(0)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_told_of_a_webhook() {
        const URL: &str = "https://a.example/webhook/telegram/main";
        let info = |url: &str, waiting: u64, at: Option<i64>| {
            let mut info = json!({ "url": url, "pending_update_count": waiting });
            if let Some(at) = at {
                info["last_error_date"] = at.into();
                info["last_error_message"] = "Wrong response from the webhook: 403 Forbidden".into();
            }
            info
        };
        for (info, want) in [
            (info(URL, 0, None), None),
            (info(URL, 3, None), None),
            (info(URL, 0, Some(990)), None),
            (
                info(URL, 3, Some(990)),
                Some("10 s ago (Wrong response from the webhook: 403 Forbidden), and 3 wait"),
            ),
            (info(URL, 3, Some(1_000 - FAILURE_SECONDS)), None),
            (info("", 0, None), Some("or removed it")),
            (info("https://b.example/SECRET", 0, None), Some("another program")),
            (json!({}), Some("another program")),
        ] {
            let told = note(&info, URL, 1_000);
            assert_eq!(told.is_some(), want.is_some(), "{info}: {told:?}");
            let told = told.unwrap_or_default();
            assert!(told.contains(want.unwrap_or_default()) && !told.contains("SECRET"), "{info}: {told}");
        }
    }
}
