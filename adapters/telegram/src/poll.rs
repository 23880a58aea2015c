//! Long polling: each update is handed over, and its number noted in the same commit, before the next
//! call tells Telegram to forget it.

use crate::api::Api;
use crate::map::{self, Own, Reading};
use crate::tap::{self, Change, Tap};
use serde_json::Value;
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use vestibule_plugin_api::{
    Answered, Blob, Conversation, Health, Ignored, PlatformId, PluginError, Result, Runtime, Standing,
    StateWrite,
};

/// Where the number of the next update is kept.
const OFFSET: &str = "offset";
/// The first wait after a failure; it doubles up to the last.
const WAIT_FIRST: Duration = Duration::from_secs(1);
const WAIT_LAST: Duration = Duration::from_secs(30);
/// An empty answer that comes sooner is no long poll, and is not asked for at once again.
const EMPTY_AFTER: Duration = Duration::from_secs(1);
/// Of how many chats it is kept what the runtime knows.
const CHATS_MAX: usize = 1_000;
/// Whoever tapped a button is shown what came of it within this, or not at all: updates wait meanwhile.
const SHOW_PATIENCE: Duration = Duration::from_secs(10);
/// How often a file's download is tried.
const DOWNLOADS: u32 = 3;

/// Polls until it is aborted. No answer ends it: a token that is refused for a while is said to the runtime, which
/// starts the account anew.
pub async fn run(api: Api, own: Own, runtime: Runtime) {
    let mut pace = Pace::new(&runtime);
    let mut chats = Chats::default();
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
                    let reading = read(&api, &own, &runtime, &update, &mut chats).await;
                    take(&api, &runtime, reading, number + 1, &mut pace).await;
                    offset = Some(number + 1);
                }
            }
            Err(error) => pace.failed(&error).await,
        }
    }
}

/// Reads one update, with its file if anybody is there to see it.
async fn read(api: &Api, own: &Own, runtime: &Runtime, update: &Value, chats: &mut Chats) -> Reading {
    let mut reading = map::read(update, own);
    if let Reading::Message(message, chat, file_id) = &mut reading {
        let wired = chats.tell(runtime, chat, file_id.is_some()).await;
        if let (true, Some(file_id), Some(file)) = (wired, file_id, message.attachments.first_mut()) {
            file.bytes = fetch(api, file_id).await;
        }
    }
    reading
}

/// Hands one update over. Returns only after it is on disk, and `next` with it.
async fn take(api: &Api, runtime: &Runtime, mut reading: Reading, next: i64, pace: &mut Pace<'_>) {
    loop {
        let state = vec![StateWrite::set(OFFSET, next.to_string())];
        let done: Result<()> = match &reading {
            Reading::Message(message, ..) => runtime.message_with((**message).clone(), state).await.map(drop),
            Reading::Tap(tap) => match runtime.answer_with(tap.choice.clone(), state).await {
                Ok(answered) => {
                    show(api, tap, &answered).await;
                    Ok(())
                }
                Err(error) => Err(error),
            },
            Reading::Ignored(ignored) => runtime.ignored_with(ignored.clone(), state).await,
        };
        match (done, &reading) {
            (Ok(()), _) => return pace.works().await,
            // It never will be taken: on record, so that it does not hold up what follows.
            (Err(PluginError::Refused { reason }), Reading::Message(message, ..)) => {
                tracing::warn!(%reason, "a message was refused");
                reading = Reading::Ignored(Ignored {
                    event_id: format!("update/{}", next - 1),
                    reason: "refused".into(),
                    platform_id: Some(message.platform_id.clone()),
                    sender: message.sender.name.clone(),
                });
            }
            // An older runtime has asked nothing, so the button is somebody else's.
            (Err(PluginError::Refused { .. } | PluginError::Unsupported { .. }), Reading::Tap(tap)) => {
                reading = Reading::Ignored(Ignored {
                    event_id: format!("callback_query/{}", tap.query),
                    reason: "unknown_button".into(),
                    platform_id: Some(tap.choice.platform_id.clone()),
                    sender: tap.choice.sender.name.clone(),
                });
            }
            (Err(error), _) => pace.failed(&error).await,
        }
    }
}

/// Shows what came of a tap. If that fails, the buttons stay; the next tap is answered the same.
async fn show(api: &Api, tap: &Tap, answered: &Answered) {
    let (note, change) = tap::shown(tap, answered);
    let (chat, message, _) = tap.message;
    let work = async {
        // First, and by itself: Telegram forgets a tap after seconds.
        let noted = api.answer_tap(&tap.query, &note).await;
        let changed = match &change {
            Change::Nothing => Ok(()),
            Change::NoButtons => api.without_buttons(chat, message, None).await,
            Change::Text(text) => api.without_buttons(chat, message, Some(text)).await,
        };
        noted.and(changed)
    };
    match tokio::time::timeout(SHOW_PATIENCE, work).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(reason = error.reason(), "what came of a tap was not shown"),
        Err(_) => tracing::debug!("what came of a tap was not shown in time"),
    }
}

/// A file's bytes. Without them the agent still sees that there was a file.
async fn fetch(api: &Api, file_id: &str) -> Option<Blob> {
    for _ in 0..DOWNLOADS {
        match api.file(file_id).await {
            Ok(bytes) => return Some(bytes.into()),
            Err(error @ (PluginError::Refused { .. } | PluginError::Unsupported { .. })) => {
                tracing::warn!(reason = error.reason(), "a file was not fetched");
                return None;
            }
            Err(error) => {
                tracing::debug!(reason = error.reason(), "a file could not be fetched yet");
                sleep(asked_for(&error).unwrap_or(WAIT_FIRST).min(WAIT_LAST)).await;
            }
        }
    }
    tracing::warn!("a file was not fetched");
    None
}

/// What the runtime was told of the chats.
#[derive(Default)]
struct Chats(HashMap<PlatformId, Conversation>);

impl Chats {
    /// Tells what is new of a chat; answers whether anybody hears it, if `asks` or if that is unknown.
    async fn tell(&mut self, runtime: &Runtime, chat: &Conversation, asks: bool) -> bool {
        if !asks && self.0.get(&chat.platform_id) == Some(chat) {
            return true;
        }
        match runtime.conversation(chat.clone()).await {
            Ok(known) if known.wired => {
                if self.0.len() >= CHATS_MAX {
                    self.0.clear();
                }
                self.0.insert(chat.platform_id.clone(), chat.clone());
                true
            }
            Ok(_) => false,
            Err(error) => {
                tracing::debug!(reason = error.reason(), "the runtime did not take a chat's name");
                true
            }
        }
    }
}

/// How long to wait after failures, and what the operator is told.
struct Pace<'a> {
    runtime: &'a Runtime,
    wait: Duration,
    is_degraded: bool,
    standing: Standing,
}

impl<'a> Pace<'a> {
    fn new(runtime: &'a Runtime) -> Self {
        Pace { runtime, wait: WAIT_FIRST, is_degraded: false, standing: Standing::default() }
    }

    async fn works(&mut self) {
        self.wait = WAIT_FIRST;
        self.standing.works();
        if std::mem::take(&mut self.is_degraded) {
            self.runtime.health(Health::Live).await;
        }
    }

    async fn failed(&mut self, error: &PluginError) {
        // Whatever fails here is the account: without its updates it hears nobody.
        let in_part = || Health::Degraded { reason: error.reason().to_owned() };
        let health = self.standing.failed(error, std::time::Instant::now()).unwrap_or_else(in_part);
        self.is_degraded = true;
        self.runtime.health(health).await;
        sleep(asked_for(error).unwrap_or(self.wait)).await;
        self.wait = (self.wait * 2).min(WAIT_LAST);
    }
}

/// The wait that Telegram asked for.
fn asked_for(error: &PluginError) -> Option<Duration> {
    match error {
        PluginError::Retry { after_ms, .. } => after_ms.map(Duration::from_millis),
        _ => None,
    }
}
