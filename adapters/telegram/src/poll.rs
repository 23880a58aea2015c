//! Long polling: each update is handed over, and its number noted in the same commit, before the next
//! call tells Telegram to forget it. An update whose file, or whose next part, is still coming is kept instead, in that
//! commit.

use crate::api::{Api, POLL};
use crate::held::{Held, Key, PARTS_QUIET};
use crate::map::{self, Own, Reading};
use crate::post::Post;
use crate::tap::{self, Look, Tap};
use crate::{change, chats};
use serde_json::Value;
use std::collections::HashMap;
use std::time::Duration;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use vestibule_plugin_api::toolbox::pace::{Backoff, Pace};
use vestibule_plugin_api::{
    Answered, Blob, Change, Conversation, Ignored, InboundMessage, PlatformId, PluginError, Result, Runtime,
    StateWrite,
};

/// The state key of the next update's number.
const OFFSET: &str = "offset";
/// The longest wait between two tries of one download.
const WAIT_LAST: Duration = Duration::from_secs(30);
/// An empty answer that comes sooner is no long poll, and is not asked for at once again.
const EMPTY_AFTER: Duration = Duration::from_secs(1);
/// How many chats' names and wirings are remembered.
const CHATS_MAX: usize = 1_000;
/// A person who taps a button or presses START is shown what came of it within this time, or not at all.
const SHOW_PATIENCE: Duration = Duration::from_secs(10);
/// The most of these that are shown at once; any further one is not shown.
const SHOWING_MAX: usize = 64;
/// How often a file's download is tried, and how long all that may take.
const DOWNLOADS: u32 = 3;
const FILE_PATIENCE: Duration = Duration::from_secs(160);
/// How often the messages that wait are looked at.
const TEND_EVERY: Duration = Duration::from_secs(1);
/// The reason on record for a START that was greeted.
const GREETED: &str = "greeted";

/// Polls until it is aborted. No answer ends it: it tells the runtime of a token that is refused for a while, and the
/// runtime starts the account anew.
pub async fn run(api: Api, own: Own, runtime: Runtime) {
    let mut pace = Pace::new(runtime.clone());
    let (held, offset) = loop {
        match kept(&runtime, &own).await {
            Ok(kept) => break kept,
            Err(error) => sleep(pace.failed(&error).await).await,
        }
    };
    let poller = Poller {
        api,
        own,
        runtime: &runtime,
        pace,
        chats: Chats::default(),
        held,
        tended: Instant::now(),
        downloads: JoinSet::new(),
        running: HashMap::new(),
        showing: JoinSet::new(),
        offset,
    };
    poller.run().await;
}

/// The updates that wait for their files, and the number of the next update.
async fn kept(runtime: &Runtime, own: &Own) -> Result<(Held, Option<i64>)> {
    let offset = runtime.state_get(OFFSET).await?.and_then(|kept| kept.parse().ok());
    Ok((Held::load(runtime, own).await?, offset))
}

/// One account's polling. The tasks that it started end with it.
struct Poller<'a> {
    api: Api,
    own: Own,
    runtime: &'a Runtime,
    pace: Pace,
    chats: Chats,
    held: Held,
    /// When the messages that wait were last looked at.
    tended: Instant,
    /// The files that are coming.
    downloads: JoinSet<(Key, Option<Blob>)>,
    /// Ends the download of a file.
    running: HashMap<Key, AbortHandle>,
    showing: JoinSet<()>,
    offset: Option<i64>,
}

impl Poller<'_> {
    async fn run(mut self) {
        self.hand_over_whole().await;
        loop {
            let asked = Instant::now();
            // After a failure an answer at once tells that it works again.
            let patience = match self.pace.is_failing() {
                true => Duration::ZERO,
                false if self.held.expects_parts() => PARTS_QUIET,
                false => POLL,
            };
            match self.updates(patience).await {
                Ok(updates) => {
                    let answered = Instant::now();
                    self.pace.works().await;
                    if updates.is_empty() && !patience.is_zero() {
                        sleep(EMPTY_AFTER.saturating_sub(asked.elapsed())).await;
                    }
                    for update in updates {
                        self.take(update).await;
                    }
                    self.held.complete(answered);
                    self.hand_over_whole().await;
                }
                Err(error) => {
                    sleep(self.pace.failed(&error).await).await;
                    self.held.expect_parts_from(Instant::now());
                }
            }
        }
    }

    /// The next updates. Meanwhile, messages whose files arrive are handed over.
    async fn updates(&mut self, patience: Duration) -> Result<Vec<Value>> {
        let (api, offset) = (self.api.clone(), self.offset);
        let mut poll = std::pin::pin!(api.updates(offset, patience));
        loop {
            self.load();
            tokio::select! {
                updates = &mut poll => return updates,
                Some(loaded) = self.downloads.join_next() => self.loaded(loaded).await,
                () = sleep_until(self.tended + TEND_EVERY), if self.has_to_tend() => self.tend().await,
            }
        }
    }

    fn has_to_tend(&self) -> bool {
        !self.held.is_empty() || self.pace.has_note()
    }

    /// Looks at the messages that wait: for files that have no place, and for what the operator is told.
    async fn tend(&mut self) {
        self.tended = Instant::now();
        let given_up = self.held.make_place(self.tended);
        self.go_on_without(&given_up).await;
        self.pace.note(self.held.delay(self.tended)).await;
    }

    /// Takes one update: it is on disk when this returns, handed over or kept, and its number with it.
    async fn take(&mut self, update: Value) {
        let Some(number) = map::update_id(&update).filter(|number| !self.held.holds(*number)) else { return };
        self.offset = Some(number + 1);
        let reading = match map::read(&update, &self.own) {
            Reading::Message(message, chat, files) => {
                let waits = !files.is_empty() || map::piece(&update).is_some_and(|piece| piece.goes_on);
                let wired = self.chats.tell(self.runtime, &chat, waits).await;
                let at = message.platform_id.clone();
                if wired && waits || self.held.has(&at) {
                    let message = Reading::Message(message, chat, files);
                    return self.hold(number, update, &at, message).await;
                }
                Reading::Message(message, chat, files)
            }
            Reading::Changes(changes) => {
                // What they change may still wait.
                let at = changes.first().map(|change| change.platform_id.clone());
                if let Some(at) = at.filter(|at| self.held.has(at)) {
                    return self.hold(number, update, &at, Reading::Changes(changes)).await;
                }
                Reading::Changes(changes)
            }
            Reading::Start(message, chat) => self.start(message, chat).await,
            other => other,
        };
        let cursor = self.cursor();
        self.hand_over(number, reading, vec![cursor]).await;
    }

    fn cursor(&self) -> StateWrite {
        StateWrite::set(OFFSET, self.offset.unwrap_or_default().to_string())
    }

    /// Keeps an update until its file is here and its chat has nothing else that waits. It returns at once, whatever
    /// the downloads do: where an update finds no room, a chat goes on without its file.
    async fn hold(&mut self, number: i64, update: Value, at: &PlatformId, reading: Reading) {
        let text = update.to_string();
        if Held::fits(&text) {
            while !self.held.has_room(text.len()) {
                let given_up = self.held.make_room();
                self.go_on_without(&given_up).await;
            }
            let mut state = self.held.push(number, update, text, &self.own);
            state.push(self.cursor());
            while let Err(error) = self.runtime.state_set(state.clone()).await {
                sleep(self.pace.failed(&error).await).await;
            }
            return self.pace.works().await;
        }
        // Too large to be kept: it goes on now, without its file, and before it all that waits in its chat.
        while self.held.has(at) {
            let given_up = self.held.give_up(at);
            self.go_on_without(&given_up).await;
        }
        let cursor = self.cursor();
        self.hand_over(number, reading, vec![cursor]).await;
    }

    /// Starts the downloads that may run now.
    fn load(&mut self) {
        while let Some((key, file_id)) = self.held.next_to_load(Instant::now()) {
            let api = self.api.clone();
            let download = self.downloads.spawn(async move { (key, fetch(&api, &file_id).await) });
            self.running.insert(key, download);
        }
    }

    /// Ends the downloads of files that were given up, and hands over what is whole by that.
    async fn go_on_without(&mut self, given_up: &[Key]) {
        given_up.iter().filter_map(|key| self.running.remove(key)).for_each(|download| download.abort());
        self.hand_over_whole().await;
    }

    async fn loaded(&mut self, loaded: std::result::Result<(Key, Option<Blob>), tokio::task::JoinError>) {
        match loaded {
            Ok((key, bytes)) => {
                self.running.remove(&key);
                self.held.loaded(key, bytes);
            }
            Err(error) if error.is_cancelled() => {}
            Err(error) => {
                tracing::error!(%error, "a download ended without an answer");
                self.downloads.abort_all();
                self.running.clear();
                self.held.none_loaded();
            }
        }
        self.hand_over_whole().await;
    }

    async fn hand_over_whole(&mut self) {
        while let Some((number, reading, state)) = self.held.next_whole(&self.own) {
            self.hand_over(number, reading, state).await;
        }
    }

    /// Hands one update over. Returns only after it is on disk, and `state` with it.
    async fn hand_over(&mut self, number: i64, mut reading: Reading, state: Vec<StateWrite>) {
        loop {
            let (runtime, state) = (self.runtime, state.clone());
            let done: Result<()> = match &reading {
                Reading::Message(message, ..) | Reading::Start(message, _) => {
                    runtime.message_with((**message).clone(), state).await.map(drop)
                }
                Reading::Tap(tap) => match runtime.answer_with(tap.choice.clone(), state).await {
                    Ok(answered) => {
                        let api = self.api.clone();
                        self.show(tapped(api, (**tap).clone(), answered));
                        Ok(())
                    }
                    Err(error) => Err(error),
                },
                Reading::Changes(changes) => self.change(changes, state).await,
                Reading::Chat(event) => runtime.chat((**event).clone(), state).await.map(drop),
                Reading::Ignored(ignored) => runtime.ignored_with(ignored.clone(), state).await,
                Reading::Nothing => runtime.state_set(state).await,
            };
            match (done, &reading) {
                (Ok(()), _) => return self.pace.works().await,
                // The runtime will never take it: it goes on record, so that it does not hold up what follows.
                (Err(PluginError::Refused { reason }), Reading::Message(message, ..)) => {
                    tracing::warn!(%reason, "a message was refused");
                    reading = Reading::Ignored(Ignored {
                        event_id: format!("update/{number}"),
                        reason: "refused".into(),
                        platform_id: Some(message.platform_id.clone()),
                        sender: message.sender.name.clone(),
                    });
                }
                // An older runtime asks no questions, so the button belongs to another program.
                (Err(PluginError::Refused { .. } | PluginError::Unsupported { .. }), Reading::Tap(tap)) => {
                    reading = Reading::Ignored(Ignored {
                        event_id: format!("callback_query/{}", tap.query),
                        reason: "unknown_button".into(),
                        platform_id: Some(tap.choice.platform_id.clone()),
                        sender: tap.choice.sender.name.clone(),
                    });
                }
                (
                    Err(PluginError::Refused { .. } | PluginError::Unsupported { .. }),
                    Reading::Chat(event),
                ) => {
                    reading = Reading::Ignored(chats::on_record(number, event));
                }
                (Err(error), _) => sleep(self.pace.failed(&error).await).await,
            }
        }
    }

    /// Hands changes over, the last one with `state`. What an older runtime does not know goes on record.
    async fn change(&self, changes: &[Change], state: Vec<StateWrite>) -> Result<()> {
        for (number, change) in changes.iter().enumerate() {
            let state = if number + 1 == changes.len() { state.clone() } else { vec![] };
            match self.runtime.change_with(change.clone(), state.clone()).await {
                Err(PluginError::Refused { .. } | PluginError::Unsupported { .. }) => {
                    self.runtime.ignored_with(change::on_record(change), state).await?;
                }
                taken => drop(taken?),
            }
        }
        Ok(())
    }

    /// Greets a person who pressed START, which is no message for an agent. In a chat without a wiring it is handed
    /// over all the same, so that the operator sees the chat.
    async fn start(&mut self, message: Box<InboundMessage>, chat: Conversation) -> Reading {
        let wired = self.chats.tell(self.runtime, &chat, true).await;
        if let Ok(target) = map::target(&map::address_of(&message)) {
            let api = self.api.clone();
            self.show(async move {
                let post = Post { words: greeting(wired), buttons: None, files: &[], quote: None };
                api.post(&target, &post).await?;
                Ok(())
            });
        }
        if !wired {
            return Reading::Message(message, chat, vec![]);
        }
        Reading::Ignored(Ignored {
            event_id: message.event_id.clone(),
            reason: GREETED.into(),
            platform_id: Some(message.platform_id.clone()),
            sender: message.sender.name.clone(),
        })
    }

    /// Shows a person what came of what they did, beside everything else. It is not tried again.
    fn show(&mut self, work: impl Future<Output = Result<()>> + Send + 'static) {
        while self.showing.try_join_next().is_some() {}
        if self.showing.len() >= SHOWING_MAX {
            return;
        }
        self.showing.spawn(async move {
            match tokio::time::timeout(SHOW_PATIENCE, work).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::debug!(reason = error.reason(), "what came of a tap or START was not shown");
                }
                Err(_) => tracing::debug!("what came of a tap or START was not shown in time"),
            }
        });
    }
}

/// The words for a person who presses START.
fn greeting(wired: bool) -> &'static str {
    match wired {
        true => "Hello! Write to me, and I answer here.",
        false => "Hello! This chat is not connected to an agent yet: the operator of this bot can do that.",
    }
}

/// Shows what came of a tap. If that fails, the buttons stay; the next tap is answered the same.
async fn tapped(api: Api, tap: Tap, answered: Answered) -> Result<()> {
    let (note, change) = tap::shown(&tap, &answered);
    let (chat, message, _) = tap.message;
    // First, and by itself: Telegram forgets a tap after seconds.
    let noted = api.answer_tap(&tap.query, &note).await;
    let changed = match &change {
        Look::Nothing => Ok(()),
        Look::NoButtons => api.without_buttons(chat, message, None).await,
        Look::Text(text) => api.without_buttons(chat, message, Some(text)).await,
    };
    noted.and(changed)
}

/// A file's bytes. Without them the agent still sees that there was a file.
async fn fetch(api: &Api, file_id: &str) -> Option<Blob> {
    let fetched = timeout(FILE_PATIENCE, attempts(api, file_id)).await;
    fetched.unwrap_or_else(|_| {
        tracing::warn!(reason = "it took too long", "a file was not fetched");
        None
    })
}

async fn attempts(api: &Api, file_id: &str) -> Option<Blob> {
    let mut wait = Backoff::default();
    for _ in 0..DOWNLOADS {
        match api.file(file_id).await {
            Ok(bytes) => return Some(bytes.into()),
            Err(error @ (PluginError::Refused { .. } | PluginError::Unsupported { .. })) => {
                tracing::warn!(reason = error.reason(), "a file was not fetched");
                return None;
            }
            Err(error) => {
                tracing::debug!(reason = error.reason(), "a file could not be fetched yet");
                sleep(wait.after(&error).min(WAIT_LAST)).await;
            }
        }
    }
    tracing::warn!("a file was not fetched");
    None
}

/// The names and wirings of chats that the runtime was asked about.
#[derive(Default)]
struct Chats(HashMap<PlatformId, Conversation>);

impl Chats {
    /// Tells the runtime a chat's name, if it is new; returns whether an agent is wired to the chat, asking anew if
    /// `asks` or if that is unknown.
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
