//! What comes in, by polling or by webhook: each update is handed over, or kept until its file, or its next part, is here.
//! Either way it is on disk before Telegram may forget it. What came of taps and of START is shown beside that.

use crate::api::Api;
use crate::fetch::fetch;
use crate::forums::Forums;
use crate::held::{Held, Key};
use crate::known::Chats;
use crate::map::{self, Own, Reading};
use crate::post::Post;
use crate::taken::Taken;
use crate::tap::{self, Look, Tap};
use crate::{change, chats};
use serde_json::Value;
use std::collections::HashMap;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until};
use vestibule_plugin_api::toolbox::pace::Pace;
use vestibule_plugin_api::{
    Answered, Blob, Change, Conversation, Ignored, InboundMessage, PlatformId, PluginError, Result, Runtime,
    StateWrite,
};

/// The state key of the next update's number.
const OFFSET: &str = "offset";
/// A person who taps a button or presses START is shown what came of it within this time, or not at all.
const SHOW_PATIENCE: Duration = Duration::from_secs(10);
/// The most of these that are shown at once; any further one is not shown.
const SHOWING_MAX: usize = 64;
/// How often the messages that wait are looked at.
const TEND_EVERY: Duration = Duration::from_secs(1);
/// The reason on record for a START that was greeted.
const GREETED: &str = "greeted";

/// What one account hears. The tasks that it started end with it.
pub struct Inbox {
    /// The calls to Telegram.
    pub api: Api,
    own: Own,
    runtime: Runtime,
    /// How the account does.
    pub pace: Pace,
    chats: Chats,
    /// The messages that wait.
    pub held: Held,
    /// When these were last looked at.
    tended: Instant,
    /// The files that are coming.
    downloads: JoinSet<(Key, Option<Blob>)>,
    /// Ends the download of a file.
    running: HashMap<Key, AbortHandle>,
    showing: JoinSet<()>,
    cursor: Cursor,
    taken: Taken,
    forums: Forums,
}

/// How it is known which updates were taken.
enum Cursor {
    /// By the number of the next one, which is noted with each.
    Number(Option<i64>),
    /// By the answer to each: Telegram posts several at once, in no order. What the operator is told of that stands here.
    Answers(watch::Receiver<Option<String>>),
}

impl Inbox {
    /// The inbox of an account whose updates are asked for, with the messages that still waited.
    pub async fn polled(api: Api, own: Own, pace: Pace, runtime: Runtime, forums: Forums) -> Inbox {
        let mut inbox = Inbox::open(api, own, pace, runtime, forums, Cursor::Number(None)).await;
        let offset = loop {
            match inbox.runtime.state_get(OFFSET).await {
                Ok(kept) => break kept.and_then(|kept| kept.parse().ok()),
                Err(error) => sleep(inbox.pace.failed(&error).await).await,
            }
        };
        inbox.cursor = Cursor::Number(offset);
        inbox
    }

    /// The same of one to which they are posted.
    pub async fn posted(
        api: Api,
        own: Own,
        pace: Pace,
        runtime: Runtime,
        forums: Forums,
        told: watch::Receiver<Option<String>>,
    ) -> Inbox {
        let mut inbox = Inbox::open(api, own, pace, runtime, forums, Cursor::Answers(told)).await;
        while let Err(error) = inbox.forget_number().await {
            sleep(inbox.pace.failed(&error).await).await;
        }
        inbox
    }

    /// Should updates be asked for again, those before the number that was noted may not all have been taken.
    async fn forget_number(&self) -> Result<()> {
        match self.runtime.state_get(OFFSET).await? {
            Some(_) => self.runtime.state_set(vec![StateWrite::forget(OFFSET)]).await,
            None => Ok(()),
        }
    }

    async fn open(
        api: Api,
        own: Own,
        mut pace: Pace,
        runtime: Runtime,
        forums: Forums,
        cursor: Cursor,
    ) -> Inbox {
        let (held, taken) = loop {
            match kept(&runtime, &own).await {
                Ok(kept) => break kept,
                Err(error) => sleep(pace.failed(&error).await).await,
            }
        };
        Inbox {
            api,
            own,
            runtime,
            pace,
            chats: Chats::default(),
            held,
            tended: Instant::now(),
            downloads: JoinSet::new(),
            running: HashMap::new(),
            showing: JoinSet::new(),
            cursor,
            taken,
            forums,
        }
    }

    /// The number of the next update, if it is known.
    pub fn offset(&self) -> Option<i64> {
        match self.cursor {
            Cursor::Number(offset) => offset,
            Cursor::Answers(_) => None,
        }
    }

    /// Does this. Meanwhile, messages whose files arrive are handed over.
    pub async fn meanwhile<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            self.load();
            tokio::select! {
                done = &mut work => return done,
                Some(loaded) = self.downloads.join_next() => self.loaded(loaded).await,
                () = sleep_until(self.tended + TEND_EVERY), if self.has_to_tend() => self.tend().await,
            }
        }
    }

    fn has_to_tend(&self) -> bool {
        !self.held.is_empty() || self.pace.has_note() || self.watched().is_some()
    }

    fn watched(&self) -> Option<String> {
        match &self.cursor {
            Cursor::Answers(told) => told.borrow().clone(),
            Cursor::Number(_) => None,
        }
    }

    /// Looks at the messages that wait: for files that have no place, and for what the operator is told.
    async fn tend(&mut self) {
        self.tended = Instant::now();
        let given_up = self.held.make_place(self.tended);
        self.go_on_without(&given_up).await;
        let note = self.watched().or_else(|| self.held.delay(self.tended));
        self.pace.note(note).await;
    }

    /// Takes one update: it is on disk when this returns, handed over or kept, and its number with it.
    pub async fn take(&mut self, update: Value) {
        let Some(number) = map::update_id(&update) else { return };
        if let Cursor::Number(offset) = &mut self.cursor {
            *offset = Some(number + 1);
        }
        if self.held.holds(number) || self.taken.has(number) {
            return;
        }
        if let Some((chat, is_forum)) = map::forum(&update) {
            self.forums.note(chat, is_forum);
        }
        let reading = match map::read(&update, &self.own) {
            Reading::Message(message, chat, files) => {
                let waits = !files.is_empty() || map::piece(&update).is_some_and(|piece| piece.goes_on);
                let wired = self.chats.tell(&self.runtime, &chat, waits).await;
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
        let state = self.taken(number, &reading);
        self.hand_over(number, reading, state).await;
    }

    /// What is noted with an update that is handed over. Of one that says nothing a second one says nothing.
    fn taken(&mut self, number: i64, reading: &Reading) -> Vec<StateWrite> {
        let mut state = self.cursor();
        if !matches!(reading, Reading::Nothing) {
            state.push(self.taken.note([number]));
        }
        state
    }

    /// What is noted with an update that is kept or handed over.
    fn cursor(&self) -> Vec<StateWrite> {
        self.offset().map(|offset| StateWrite::set(OFFSET, offset.to_string())).into_iter().collect()
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
            state.extend(self.cursor());
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
        let state = self.taken(number, &reading);
        self.hand_over(number, reading, state).await;
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

    /// Hands over the messages that wait for nothing any more.
    pub async fn hand_over_whole(&mut self) {
        while let Some((numbers, reading, mut state)) = self.held.next_whole(&self.own) {
            let first = numbers.first().copied().unwrap_or_default();
            state.push(self.taken.note(numbers));
            self.hand_over(first, reading, state).await;
        }
    }

    /// Hands one update over. Returns only after it is on disk, and `state` with it.
    async fn hand_over(&mut self, number: i64, mut reading: Reading, state: Vec<StateWrite>) {
        loop {
            let (runtime, state) = (&self.runtime, state.clone());
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
                Reading::Nothing if state.is_empty() => Ok(()),
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
        let wired = self.chats.tell(&self.runtime, &chat, true).await;
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

/// What is on record of the updates that wait, and of those that were handed over.
async fn kept(runtime: &Runtime, own: &Own) -> Result<(Held, Taken)> {
    Ok((Held::load(runtime, own).await?, Taken::load(runtime).await?))
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
