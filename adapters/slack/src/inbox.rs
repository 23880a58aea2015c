//! Everything that comes in, over whichever transport: each event once, those of a chat in the order in which Slack
//! sent them. What was submitted is answered when it is on disk: only then may Slack be told.

use crate::api::{Api, FILE_BYTES_MAX, Own};
use crate::event::{self, Altered, Command, File, Reading, Said, What};
use crate::names::Names;
use crate::tap::{self, Tap};
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use vestibule_plugin_api::toolbox::inbox::{hand_over, persist};
use vestibule_plugin_api::toolbox::pace::{Backoff, asked_for};
use vestibule_plugin_api::{
    ATTACHMENTS_MAX, Answered, Attachment, Change, Changed, Conversation, Ignored, InboundMessage,
    PluginError, Result, Runtime, Sender, Timestamp,
};

/// The most events that are under way at once. Slack sends a further one again.
const UNDER_WAY_MAX: usize = 512;
/// How many events are remembered as taken: Slack sends one again within minutes, and `app_mention` beside `message`.
const TAKEN_MAX: usize = 4_000;
/// How long an `app_mention` that names no file waits for its `message`, which may.
const SIBLING_PATIENCE: Duration = Duration::from_secs(1);
/// How many chats' names are remembered as told.
const CHATS_MAX: usize = 1_000;
/// All files of a message together: this many bytes, in this time, each tried so often.
const FILES_BYTES_MAX: usize = 64 * 1024 * 1024;
const FILES_PATIENCE: Duration = Duration::from_secs(120);
const DOWNLOADS: u32 = 3;
/// A person who clicks is shown what came of it within this time, or not at all.
const SHOW_PATIENCE: Duration = Duration::from_secs(10);

/// The inbox of one account. Cheap to clone.
#[derive(Clone)]
pub struct Inbox(Arc<Shared>);

struct Shared {
    runtime: Runtime,
    api: Api,
    own: Own,
    names: Names,
    events: Mutex<Events>,
    /// The chats whose names the runtime knows.
    told: Mutex<HashMap<String, Conversation>>,
    tasks: Mutex<JoinSet<()>>,
}

#[derive(Default)]
struct Events {
    under_way: HashMap<String, Arc<Work>>,
    taken: HashSet<String>,
    /// The same, the oldest first.
    order: VecDeque<String>,
    /// The end of the line of each chat: it closes when the last event of it is done.
    lines: HashMap<String, oneshot::Receiver<()>>,
}

/// An event under way.
struct Work {
    reading: Mutex<Option<Reading>>,
    /// Another event says more about the same message.
    richer: Notify,
    done: watch::Sender<Option<Result<()>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Inbox {
    pub fn new(runtime: Runtime, api: Api, own: Own) -> Inbox {
        let names = Names::new(api.clone(), &own);
        Inbox(Arc::new(Shared {
            runtime,
            api,
            own,
            names,
            events: Mutex::default(),
            told: Mutex::default(),
            tasks: Mutex::default(),
        }))
    }

    pub fn own(&self) -> &Own {
        &self.0.own
    }

    pub fn names(&self) -> &Names {
        &self.0.names
    }

    /// Takes what was read. Its place in the order is the call's; the answer comes when it is on disk, or was there
    /// before. Dropping the answer stops nothing.
    pub fn submit(&self, reading: Reading) -> impl Future<Output = Result<()>> + Send + use<> {
        let done = self.enter(reading);
        async move {
            let mut done = done?;
            let Some(done) = done.as_mut() else { return Ok(()) };
            match done.wait_for(Option::is_some).await {
                Ok(outcome) => outcome.clone().unwrap_or(Ok(())),
                Err(_) => Err(PluginError::retry("the channel stopped before the event was on disk")),
            }
        }
    }

    /// `None`: there is nothing to wait for.
    fn enter(&self, reading: Reading) -> Result<Option<watch::Receiver<Option<Result<()>>>>> {
        let Some(id) = id_of(&reading).map(str::to_owned) else { return Ok(None) };
        let mut events = lock(&self.0.events);
        if events.taken.contains(&id) {
            return Ok(None);
        }
        if let Some(work) = events.under_way.get(&id) {
            work.learn(reading);
            return Ok(Some(work.done.subscribe()));
        }
        if events.under_way.len() >= UNDER_WAY_MAX {
            return Err(PluginError::retry("too many events are under way: send it again"));
        }
        let turn = match &reading {
            Reading::Said(said) => Some(events.turn(&said.channel)),
            Reading::Altered(altered) => Some(events.turn(&altered.channel)),
            _ => None,
        };
        let (done, waits) = watch::channel(None);
        let work = Arc::new(Work { reading: Mutex::new(Some(reading)), richer: Notify::new(), done });
        events.under_way.insert(id.clone(), work.clone());
        drop(events);
        let inbox = self.clone();
        let runtime = self.0.runtime.clone();
        self.spawn(runtime.named(async move { inbox.serve(id, &work, turn).await }));
        Ok(Some(waits))
    }

    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = lock(&self.0.tasks);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(work);
    }

    /// Ends all that is under way. Slack was not told of it, and sends it again.
    pub async fn stop(&self) {
        let mut tasks = std::mem::take(&mut *lock(&self.0.tasks));
        tasks.shutdown().await;
    }

    async fn serve(&self, id: String, work: &Work, turn: Option<Turn>) {
        let _place = match turn {
            Some(Turn { before, place }) => {
                if let Some(before) = before {
                    let _ = before.await;
                }
                Some(place)
            }
            None => None,
        };
        if work.is_sparse() {
            let _ = timeout(SIBLING_PATIENCE, work.richer.notified()).await;
        }
        let reading = lock(&work.reading).take();
        let outcome = match reading {
            Some(reading) => self.hand_over(reading).await,
            None => Ok(()),
        };
        let mut events = lock(&self.0.events);
        events.under_way.remove(&id);
        if outcome.is_ok() {
            events.remember(id);
        }
        work.done.send_replace(Some(outcome));
    }

    /// Hands over what was read. Returns when it is on disk; while that is full, it tries on.
    async fn hand_over(&self, reading: Reading) -> Result<()> {
        let runtime = &self.0.runtime;
        match reading {
            Reading::Said(said) => {
                let message = self.message(*said).await;
                hand_over(&self.0.runtime, message).await
            }
            Reading::Altered(altered) => self.alter(*altered).await,
            Reading::Renamed(renamed) => {
                self.0.names.renamed(&renamed.channel, &renamed.name);
                self.tell(&renamed.channel, false, None, true).await;
                Ok(())
            }
            Reading::Command(command) => {
                let message = self.command(*command).await;
                hand_over(&self.0.runtime, message).await
            }
            Reading::Tap(tap) => {
                let answered = match persist(|| runtime.answer(tap.choice.clone())).await {
                    // An older runtime asks no questions, so the button belongs to another program.
                    Err(PluginError::Refused { .. } | PluginError::Unsupported { .. }) => {
                        let ignored = Ignored {
                            event_id: tap.event_id.clone(),
                            reason: "unknown_button".into(),
                            platform_id: Some(tap.choice.platform_id.clone()),
                            sender: tap.choice.sender.name.clone(),
                        };
                        return persist(|| runtime.ignored(ignored.clone())).await;
                    }
                    answered => answered?,
                };
                self.show(*tap, answered);
                Ok(())
            }
            Reading::Ignored(ignored) => persist(|| runtime.ignored(ignored.clone())).await,
            Reading::Nothing => Ok(()),
        }
    }

    /// Hands a change over. An older runtime knows none: then it goes on record.
    async fn alter(&self, altered: Altered) -> Result<()> {
        let (names, runtime) = (&self.0.names, &self.0.runtime);
        let (what, word) = match altered.what {
            What::Edited(text, is_mention) => {
                (Changed::Edited { text: names.words(&text).await, is_mention }, "edited")
            }
            What::Deleted => (Changed::Deleted, "deleted"),
            What::Reacted(emoji) => (Changed::Reacted { emoji }, "reaction"),
            What::Unreacted(emoji) => (Changed::Unreacted { emoji }, "reaction"),
        };
        let person = names.person(&altered.user).await;
        let is_bot = person.as_ref().is_some_and(|person| person.is_bot);
        let change = Change {
            event_id: altered.event_id,
            message_id: altered.ts,
            platform_id: event::chat_name(&altered.channel).into(),
            thread_id: altered.thread,
            sender: Sender {
                handle: altered.user,
                name: person.map(|person| person.name),
                is_bot,
                ..Sender::default()
            },
            timestamp: event::time(&altered.at),
            is_group: !altered.is_direct,
            what,
        };
        match persist(|| runtime.change(change.clone())).await {
            Err(PluginError::Refused { .. } | PluginError::Unsupported { .. }) => {
                let ignored = Ignored {
                    event_id: change.event_id.clone(),
                    reason: word.into(),
                    platform_id: Some(change.platform_id.clone()),
                    sender: change.sender.name.clone(),
                };
                persist(|| runtime.ignored(ignored.clone())).await
            }
            taken => taken.map(drop),
        }
    }

    /// The message that Slack's event is, with its files if an agent may hear it.
    async fn message(&self, said: Said) -> InboundMessage {
        let message = self.in_words(&said).await;
        let name = message.sender.name.as_deref();
        if !self.tell(&said.channel, said.is_direct, name, !said.files.is_empty()).await {
            return message;
        }
        let files = self.fetch(&said.files).await;
        InboundMessage { attachments: files.into_iter().take(ATTACHMENTS_MAX).collect(), ..message }
    }

    /// The same with the names in it, its files named only.
    pub async fn in_words(&self, said: &Said) -> InboundMessage {
        let names = &self.0.names;
        let person = match &said.user {
            Some(user) => names.person(user).await,
            None => None,
        };
        let is_bot = said.bot_id.is_some() || person.as_ref().is_some_and(|person| person.is_bot);
        let handle = said.user.clone().or_else(|| said.bot_id.clone()).unwrap_or_else(|| "slack".to_owned());
        let name = said.name.clone().or(person.map(|person| person.name));
        InboundMessage {
            event_id: said.event_id.clone(),
            message_id: said.ts.clone(),
            platform_id: event::chat_name(&said.channel).into(),
            thread_id: Some(said.thread()),
            sender: Sender { handle, name, is_bot, ..Sender::default() },
            text: names.words(&said.text).await,
            mentions: names.mentioned(&said.text),
            attachments: said.files.iter().map(named).take(ATTACHMENTS_MAX).collect(),
            timestamp: event::time(&said.ts),
            is_mention: said.is_mention,
            is_group: !said.is_direct,
            metadata: self.workspace(said.team.as_deref()),
            ..InboundMessage::default()
        }
    }

    /// Which workspace it is of, where the app is installed for a whole organisation.
    fn workspace(&self, team: Option<&str>) -> BTreeMap<String, String> {
        let team = team.filter(|_| self.0.own.is_enterprise_install);
        team.map(|team| ("workspace".to_owned(), team.to_owned())).into_iter().collect()
    }

    /// The message that a slash command is: it names the app, so it is a mention.
    async fn command(&self, command: Command) -> InboundMessage {
        let is_direct = command.channel.starts_with('D');
        let name = self.0.names.person(&command.user).await.map(|person| person.name).or(command.name);
        self.tell(&command.channel, is_direct, name.as_deref(), false).await;
        InboundMessage {
            event_id: command.event_id,
            message_id: command.id,
            platform_id: event::chat_name(&command.channel).into(),
            thread_id: is_direct.then(|| format!("{}:", event::chat_name(&command.channel)).into()),
            sender: Sender { handle: command.user, name, is_bot: false, ..Sender::default() },
            text: self.0.names.words(&command.text).await,
            timestamp: Timestamp::now(),
            is_mention: true,
            is_group: !is_direct,
            ..InboundMessage::default()
        }
    }

    /// Tells the runtime what a chat is called, if that is new; returns whether an agent is wired to it, asking anew if
    /// `asks` or if that is unknown.
    async fn tell(&self, channel: &str, is_direct: bool, person: Option<&str>, asks: bool) -> bool {
        let name = match is_direct {
            true => person.map(str::to_owned),
            false => self.0.names.channel(channel).await,
        };
        let chat = Conversation {
            platform_id: event::chat_name(channel).into(),
            name: name.as_deref().and_then(Conversation::name_of),
            is_group: Some(!is_direct),
        };
        if !asks && lock(&self.0.told).get(channel) == Some(&chat) {
            return true;
        }
        match self.0.runtime.conversation(chat.clone()).await {
            Ok(known) if known.wired => {
                let mut told = lock(&self.0.told);
                if told.len() >= CHATS_MAX {
                    told.clear();
                }
                told.insert(channel.to_owned(), chat);
                true
            }
            Ok(_) => false,
            Err(error) => {
                tracing::debug!(reason = error.reason(), "the runtime did not take a chat's name");
                true
            }
        }
    }

    /// The files of a message, with as many of their bytes as come in time.
    async fn fetch(&self, files: &[File]) -> Vec<Attachment> {
        let mut attachments: Vec<Attachment> = files.iter().map(named).collect();
        let fetching = async {
            let mut room = FILES_BYTES_MAX;
            for (file, attachment) in files.iter().zip(&mut attachments).take(ATTACHMENTS_MAX) {
                let size = file.size.map_or(0, |size| usize::try_from(size).unwrap_or(usize::MAX));
                if size > room.min(FILE_BYTES_MAX) {
                    continue;
                }
                if let Some(bytes) = self.download(file).await {
                    room = room.saturating_sub(bytes.len());
                    attachment.bytes = Some(bytes.into());
                }
            }
        };
        if timeout(FILES_PATIENCE, fetching).await.is_err() {
            tracing::warn!(reason = "it took too long", "files were not fetched");
        }
        attachments
    }

    async fn download(&self, file: &File) -> Option<Vec<u8>> {
        let api = &self.0.api;
        let mut url = file.url_private.clone();
        // In a channel that is shared with another organisation Slack names the file only.
        if file.file_access.as_deref() == Some("check_file_info") {
            let info = api.call("files.info", "", &[("file", file.id.clone())]).await.ok()?;
            url = info["file"]["url_private"].as_str().map(str::to_owned);
        }
        let (url, is_ours) =
            (url?, !matches!(file.mode.as_str(), "external" | "tombstone" | "hidden_by_limit"));
        let is_page = file.mimetype.as_deref() == Some("text/html");
        let mut wait = Backoff::default();
        for _ in 0..DOWNLOADS {
            if !is_ours {
                break;
            }
            match api.file(&url, is_page).await {
                Ok(bytes) => return Some(bytes),
                Err(error @ PluginError::Retry { .. }) => {
                    tracing::debug!(reason = error.reason(), "a file could not be fetched yet");
                    sleep(asked_for(&error).unwrap_or_else(|| wait.after(&error))).await;
                }
                Err(error) => {
                    tracing::warn!(reason = error.reason(), "a file was not fetched");
                    break;
                }
            }
        }
        None
    }

    /// Shows what came of a click, beside everything else. It is not tried again: the next click is answered the same.
    fn show(&self, tap: Tap, answered: Answered) {
        let api = self.0.api.clone();
        self.spawn(self.0.runtime.named(async move {
            let shown = tap::shown(&tap, &answered);
            let work = async {
                if let Some((text, blocks)) = &shown.message {
                    api.update(&tap.channel, &tap.ts, text, blocks).await?;
                }
                if let Some(note) = shown.note {
                    api.whisper(&tap.channel, tap.thread.as_deref(), &tap.choice.sender.handle, note).await?;
                }
                Ok::<_, PluginError>(())
            };
            match timeout(SHOW_PATIENCE, work).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::debug!(reason = error.reason(), "what came of a click was not shown")
                }
                Err(_) => tracing::debug!("what came of a click was not shown in time"),
            }
        }));
    }
}

/// A file without its bytes.
fn named(file: &File) -> Attachment {
    let kind = file.mimetype.as_deref().and_then(|kind| kind.split('/').next());
    let kind = kind.filter(|kind| ["image", "audio", "video"].contains(kind)).unwrap_or("file");
    Attachment {
        name: file.name.clone().unwrap_or_default(),
        kind: Some(kind.to_owned()),
        mime_type: file.mimetype.clone(),
        size_bytes: file.size,
        ..Attachment::default()
    }
}

fn id_of(reading: &Reading) -> Option<&str> {
    match reading {
        Reading::Said(said) => Some(&said.event_id),
        Reading::Altered(altered) => Some(&altered.event_id),
        Reading::Renamed(renamed) => Some(&renamed.event_id),
        Reading::Command(command) => Some(&command.event_id),
        Reading::Tap(tap) => Some(&tap.event_id),
        Reading::Ignored(ignored) => Some(&ignored.event_id),
        Reading::Nothing => None,
    }
}

/// A place in the line of a chat.
struct Turn {
    before: Option<oneshot::Receiver<()>>,
    /// Dropped, it lets the next one in.
    place: oneshot::Sender<()>,
}

impl Events {
    fn turn(&mut self, channel: &str) -> Turn {
        if self.lines.len() > UNDER_WAY_MAX {
            self.lines.retain(|_, line| matches!(line.try_recv(), Err(oneshot::error::TryRecvError::Empty)));
        }
        let (place, line) = oneshot::channel();
        Turn { before: self.lines.insert(channel.to_owned(), line), place }
    }

    fn remember(&mut self, id: String) {
        if self.taken.insert(id.clone()) {
            self.order.push_back(id);
        }
        if self.order.len() > TAKEN_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.taken.remove(&oldest);
        }
    }
}

impl Work {
    fn is_sparse(&self) -> bool {
        matches!(&*lock(&self.reading), Some(Reading::Said(said)) if said.is_sparse)
    }

    /// Takes over a reading of the same message that says more.
    fn learn(&self, other: Reading) {
        let is_richer = matches!(&other, Reading::Said(said) if !said.is_sparse);
        let mut reading = lock(&self.reading);
        if is_richer && matches!(&*reading, Some(Reading::Said(said)) if said.is_sparse) {
            *reading = Some(other);
            self.richer.notify_one();
        }
    }
}
