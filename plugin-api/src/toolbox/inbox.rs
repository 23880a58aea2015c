//! What comes in is held until it is on disk: in order, and not more of it than fits.

use super::pace::Backoff;
use crate::{Ignored, InboundMessage, PluginError, Result, Runtime};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// How long an inbox that ends is waited for.
const END_PATIENCE: Duration = Duration::from_secs(3);

/// Does it until it is done, or refused for good: so does all that a platform does not say again.
///
/// # Errors
/// Those of the work, but for the ones that pass.
pub async fn persist<T, F: Future<Output = Result<T>>>(work: impl Fn() -> F) -> Result<T> {
    let mut wait = Backoff::default();
    loop {
        match work().await {
            Err(error @ (PluginError::Retry { .. } | PluginError::Unknown)) => {
                tracing::warn!(reason = error.reason(), "an event is not on disk yet");
                sleep(wait.after(&error)).await;
            }
            done => return done,
        }
    }
}

/// The messages of a platform that says each only once. They are handed over one after the other, by a task of its own,
/// so that the connection goes on being served while the runtime takes none.
pub struct Inbox {
    messages: Mutex<Option<mpsc::Sender<InboundMessage>>>,
    task: tokio::sync::Mutex<JoinHandle<()>>,
}

impl Inbox {
    /// An inbox with room for so many messages.
    pub fn new(runtime: &Runtime, room: usize) -> Inbox {
        let (messages, mut waiting) = mpsc::channel::<InboundMessage>(room.max(1));
        let (named, runtime) = (runtime.clone(), runtime.clone());
        let task = async move {
            while let Some(message) = waiting.recv().await {
                if let Err(error) = hand_over(&runtime, message).await {
                    tracing::warn!(reason = error.reason(), "a message was not taken, and is lost");
                }
            }
        };
        let task = tokio::spawn(named.named(task)).into();
        Inbox { messages: Mutex::new(Some(messages)), task }
    }

    /// Takes a message in. It waits while the inbox is full, so that the platform holds back the rest. After the end none
    /// is taken.
    pub async fn put(&self, message: InboundMessage) {
        let messages = self.messages.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(messages) = messages {
            let _ = messages.send(message).await;
        }
    }

    /// Hands over what is still held, for 3 s at most. Stop putting messages in before.
    pub async fn end(&self) {
        drop(self.messages.lock().unwrap_or_else(PoisonError::into_inner).take());
        let mut task = self.task.lock().await;
        if !task.is_finished() && timeout(END_PATIENCE, &mut *task).await.is_err() {
            task.abort();
            let _ = (&mut *task).await;
            tracing::warn!("messages that came in were not taken by the runtime in time, and are lost");
        }
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.task.get_mut().abort();
    }
}

/// Hands a message over until it is on disk. One that the runtime will never take goes on record, so that it does not hold
/// up those behind it.
///
/// # Errors
/// The runtime takes neither the message nor the note of it.
pub async fn hand_over(runtime: &Runtime, message: InboundMessage) -> Result<()> {
    match persist(|| runtime.message(message.clone())).await {
        Err(PluginError::Refused { reason }) => {
            tracing::warn!(%reason, "a message was refused");
            let ignored = Ignored {
                event_id: message.event_id.clone(),
                reason: "refused".into(),
                platform_id: Some(message.platform_id.clone()),
                sender: message.sender.name.clone(),
            };
            persist(|| runtime.ignored(ignored.clone())).await
        }
        taken => taken.map(drop),
    }
}

#[cfg(all(test, feature = "testing"))]
mod tests {
    use super::*;
    use crate::testing::{Answer, ScriptedRuntime};
    use crate::{Sender, Timestamp};

    fn message(number: u32) -> InboundMessage {
        InboundMessage {
            event_id: format!("{number}"),
            message_id: format!("{number}"),
            platform_id: "room".into(),
            sender: Sender { handle: "ann".into(), ..Sender::default() },
            text: format!("{number}"),
            timestamp: Timestamp::now(),
            ..InboundMessage::default()
        }
    }

    #[tokio::test]
    async fn what_is_not_taken_is_held_and_what_follows_waits_in_order() {
        let runtime = ScriptedRuntime::new();
        runtime.answer(Answer::Retry("the disk is full".into()));
        let inbox = Inbox::new(&runtime.runtime("main"), 2);
        for number in 1..=3 {
            inbox.put(message(number)).await;
        }
        assert!(
            timeout(Duration::from_millis(100), inbox.put(message(4))).await.is_err(),
            "there is no room"
        );
        assert!(
            runtime.messages().iter().all(|message| message.text == "1"),
            "the second waits for the first"
        );
        runtime.answer(Answer::AsUsual);
        inbox.put(message(4)).await;
        inbox.end().await;
        let mut texts: Vec<String> = runtime.messages().into_iter().map(|message| message.text).collect();
        texts.dedup();
        assert_eq!(texts, ["1", "2", "3", "4"]);
        assert_eq!(runtime.faults(), [""; 0]);
    }

    #[tokio::test]
    async fn what_is_refused_is_on_record_and_the_end_waits_for_nothing_else() {
        let runtime = ScriptedRuntime::new();
        runtime.answer(Answer::Refused("it is too long".into()));
        let inbox = Inbox::new(&runtime.runtime("main"), 2);
        inbox.put(message(1)).await;
        inbox.end().await;
        assert_eq!(runtime.ignored()[0].event_id, "1");
        runtime.answer(Answer::Retry("the disk is full".into()));
        let inbox = Inbox::new(&runtime.runtime("main"), 2);
        inbox.put(message(2)).await;
        inbox.end().await;
        let tried = runtime.messages().len();
        sleep(Duration::from_millis(4_500)).await;
        assert_eq!(runtime.messages().len(), tried, "nothing is handed over after the end");
    }
}
