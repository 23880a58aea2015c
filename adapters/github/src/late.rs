//! What comes long after it was written, because it was missed at first: it is handed over together and in its order, so that
//! an agent takes it up at once, and not one by one.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::sleep;
use vestibule_plugin_api::toolbox::task::Task;
use vestibule_plugin_api::{Accepted, InboundMessage, PluginError, Result, Runtime, Timestamp};

/// A message is late so long after it was written, in milliseconds: by then people have seen that no answer came.
const LATE_AFTER_MS: i64 = 5 * 60 * 1_000;
/// No more is waited for once nothing has come for so long …
const QUIET: Duration = Duration::from_secs(1);
/// … or after so many times of that: GitHub waits ten seconds for an answer.
const QUIETS_MAX: usize = 4;

/// A message that waits for others, and who is told what became of it.
struct Waiting {
    message: InboundMessage,
    runtime: Runtime,
    taken: oneshot::Sender<Result<Accepted>>,
}

/// The late messages that wait.
#[derive(Default)]
pub struct Late {
    waiting: Arc<Mutex<Vec<Waiting>>>,
    /// Hands them over; of an earlier one nothing is left to do.
    task: Mutex<Option<Task>>,
}

/// Whether a message comes late. Pure.
pub fn is_late(message: &InboundMessage, now: Timestamp) -> bool {
    now.0.saturating_sub(message.timestamp.0) > LATE_AFTER_MS
}

impl Late {
    /// Hands over a message: at once, or with the others that come late.
    pub async fn message(&self, runtime: &Runtime, message: InboundMessage) -> Result<Accepted> {
        if !is_late(&message, Timestamp::now()) {
            return runtime.message(message).await;
        }
        let (taken, outcome) = oneshot::channel();
        let is_first = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.push(Waiting { message, runtime: runtime.clone(), taken });
            waiting.len() == 1
        };
        if is_first {
            // It goes on when the request that began it is given up.
            let gathering = Task::start(runtime, gather(self.waiting.clone()));
            let before = self.task.lock().unwrap_or_else(PoisonError::into_inner).replace(gathering);
            drop(before);
        }
        outcome.await.unwrap_or_else(|_| Err(PluginError::retry("the account was stopped meanwhile")))
    }

    /// The account is stopped: what waits is to come again.
    pub async fn end(&self) {
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task {
            task.end().await;
        }
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

async fn gather(waiting: Arc<Mutex<Vec<Waiting>>>) {
    let all = || waiting.lock().unwrap_or_else(PoisonError::into_inner);
    let mut count = 0;
    for _ in 0..QUIETS_MAX {
        let now = all().len();
        if now == count {
            break;
        }
        count = now;
        sleep(QUIET).await;
    }
    let mut late = std::mem::take(&mut *all());
    late.sort_by_key(|one| one.message.timestamp);
    for Waiting { message, runtime, taken } in late {
        let _ = taken.send(runtime.message(message).await);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vestibule_plugin_api::testing::ScriptedRuntime;

    fn message(id: &str, at: Timestamp) -> InboundMessage {
        InboundMessage {
            event_id: id.into(),
            message_id: id.into(),
            platform_id: "c".into(),
            sender: vestibule_plugin_api::Sender { handle: "u".into(), ..Default::default() },
            timestamp: at,
            ..InboundMessage::default()
        }
    }

    #[tokio::test]
    async fn what_is_late_is_handed_over_together_and_in_order() {
        let runtime = ScriptedRuntime::new();
        let (handle, late) = (runtime.runtime("main"), Arc::new(Late::default()));
        let old = |minutes: i64| Timestamp(Timestamp::now().0 - minutes * 60_000);
        let said = |id: &str, at| {
            let (late, handle, message) = (late.clone(), handle.clone(), message(id, at));
            tokio::spawn(async move { late.message(&handle, message).await })
        };
        let all = [said("b", old(20)), said("a", old(30)), said("c", old(10))];
        late.message(&handle, message("now", Timestamp::now())).await.expect("taken");
        for one in all {
            one.await.expect("it ends").expect("taken");
        }
        let ids: Vec<String> = runtime.messages().into_iter().map(|message| message.event_id).collect();
        assert_eq!(ids, ["now", "a", "b", "c"]);
    }

    #[test]
    fn what_is_late() {
        let now = Timestamp(10_000_000);
        for (at, want) in [(10_000_000, false), (9_700_000, false), (9_699_999, true), (20_000_000, false)] {
            assert_eq!(is_late(&message("m", Timestamp(at)), now), want, "{at}");
        }
    }
}
