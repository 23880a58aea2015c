//! What comes long after it was written, because it was missed at first: it is handed over together and in its order, so that
//! an agent takes it up at once, and not one by one. What changes a message that waits comes after it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::sleep;
use vestibule_plugin_api::toolbox::task::Task;
use vestibule_plugin_api::{
    Accepted, Change, Changed, InboundMessage, PlatformId, PluginError, Result, Runtime, Timestamp,
};

/// A message is late so long after it was written, in milliseconds: by then people have seen that no answer came.
const LATE_AFTER_MS: i64 = 5 * 60 * 1_000;
/// No more is waited for once nothing has come for so long …
const QUIET: Duration = Duration::from_secs(1);
/// … or after so many times of that: GitHub waits ten seconds for an answer.
const QUIETS_MAX: usize = 4;

/// What may come late.
#[derive(Debug, Clone)]
pub enum Event {
    Message(Box<InboundMessage>),
    Change(Box<Change>),
}

/// The chat and the id of a message.
type Of = (PlatformId, String);

impl Event {
    /// The message that it is, or changes.
    fn of(&self) -> Of {
        match self {
            Event::Message(message) => (message.platform_id.clone(), message.message_id.clone()),
            Event::Change(change) => (change.platform_id.clone(), change.message_id.clone()),
        }
    }

    fn at(&self) -> Timestamp {
        match self {
            Event::Message(message) => message.timestamp,
            Event::Change(change) => change.timestamp,
        }
    }

    /// What comes first. A deletion bears the time of the last edit.
    fn order(&self) -> (Timestamp, u8) {
        let rank = match self {
            Event::Message(_) => 0,
            Event::Change(change) => 1 + u8::from(change.what == Changed::Deleted),
        };
        (self.at(), rank)
    }

    async fn hand_over(self, runtime: &Runtime) -> Result<Accepted> {
        match self {
            Event::Message(message) => runtime.message(*message).await,
            Event::Change(change) => runtime.change(*change).await,
        }
    }
}

/// An event that waits for others, and who is told what became of it.
struct Waiting {
    event: Event,
    runtime: Runtime,
    taken: oneshot::Sender<Result<Accepted>>,
}

/// What waits.
#[derive(Default)]
struct Queue {
    waiting: Vec<Waiting>,
    /// What is being handed over.
    under_way: Option<Of>,
    /// A task waits for more, or hands over: it takes along what comes meanwhile.
    is_gathered: bool,
}

impl Queue {
    fn has(&self, of: &Of) -> bool {
        self.under_way.as_ref() == Some(of) || self.waiting.iter().any(|one| one.event.of() == *of)
    }

    /// The next to hand over; none ends the task.
    fn next(&mut self) -> Option<Waiting> {
        let oldest = self.waiting.iter().enumerate().min_by_key(|(_, one)| one.event.order());
        let next = oldest.map(|(at, _)| at).map(|at| self.waiting.remove(at));
        self.under_way = next.as_ref().map(|next| next.event.of());
        self.is_gathered = next.is_some();
        next
    }
}

type Shared = Arc<Mutex<Queue>>;

fn locked(queue: &Shared) -> MutexGuard<'_, Queue> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The late events that wait.
#[derive(Default)]
pub struct Late {
    queue: Shared,
    /// Hands them over; of an earlier one nothing is left to do.
    task: Mutex<Option<Task>>,
}

fn is_late(event: &Event, now: Timestamp) -> bool {
    now.0.saturating_sub(event.at().0) > LATE_AFTER_MS
}

impl Late {
    /// Whether an event waits for others: it is late, or changes a message that waits.
    pub fn waits(&self, event: &Event, now: Timestamp) -> bool {
        is_late(event, now) || matches!(event, Event::Change(_)) && locked(&self.queue).has(&event.of())
    }

    /// Hands over an event: at once, or with the others that come late.
    pub async fn take(&self, runtime: &Runtime, event: Event) -> Result<Accepted> {
        if !self.waits(&event, Timestamp::now()) {
            return event.hand_over(runtime).await;
        }
        let (taken, outcome) = oneshot::channel();
        let is_gathered = {
            let mut queue = locked(&self.queue);
            queue.waiting.push(Waiting { event, runtime: runtime.clone(), taken });
            std::mem::replace(&mut queue.is_gathered, true)
        };
        if !is_gathered {
            // It goes on when the request that began it is given up.
            let gathering = Task::start(runtime, gather(self.queue.clone()));
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
        *locked(&self.queue) = Queue::default();
    }
}

async fn gather(queue: Shared) {
    let mut count = 0;
    for _ in 0..QUIETS_MAX {
        let now = locked(&queue).waiting.len();
        if now == count {
            break;
        }
        count = now;
        sleep(QUIET).await;
    }
    let next = || locked(&queue).next();
    while let Some(Waiting { event, runtime, taken }) = next() {
        let _ = taken.send(event.hand_over(&runtime).await);
    }
}

#[cfg(test)]
mod tests;
