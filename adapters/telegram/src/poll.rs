//! Long polling: each update is handed over, or kept, and its number noted in the same commit, before the next call tells
//! Telegram to forget it.

use crate::api::POLL;
use crate::held::PARTS_QUIET;
use crate::inbox::Inbox;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// An empty answer that comes sooner is no long poll, and is not asked for at once again.
const EMPTY_AFTER: Duration = Duration::from_secs(1);

/// Polls until it is aborted. No answer ends it: it tells the runtime of a token that is refused for a while, and the
/// runtime starts the account anew.
pub async fn run(mut inbox: Inbox) {
    inbox.hand_over_whole().await;
    loop {
        let asked = Instant::now();
        // After a failure an answer at once tells that it works again.
        let patience = match inbox.pace.is_failing() {
            true => Duration::ZERO,
            false if inbox.held.expects_parts() => PARTS_QUIET,
            false => POLL,
        };
        let (api, offset) = (inbox.api.clone(), inbox.offset());
        match inbox.meanwhile(api.updates(offset, patience)).await {
            Ok(updates) => {
                let answered = Instant::now();
                inbox.pace.works().await;
                if updates.is_empty() && !patience.is_zero() {
                    sleep(EMPTY_AFTER.saturating_sub(asked.elapsed())).await;
                }
                for update in updates {
                    inbox.take(update).await;
                }
                inbox.held.complete(answered);
                inbox.hand_over_whole().await;
            }
            Err(error) => {
                sleep(inbox.pace.failed(&error).await).await;
                inbox.held.expect_parts_from(Instant::now());
            }
        }
    }
}
