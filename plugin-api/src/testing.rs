//! A runtime for tests: it notes what a plugin says and answers as the test says, so that `start`,
//! `deliver`, `webhook` and a module's hooks are tested without a running Vestibule.
//!
//! ```ignore
//! let runtime = ScriptedRuntime::new();
//! let config = testing::config::<Acme>(r#"{ "token": "t" }"#)?;
//! let channel = Acme::start(config, runtime.runtime("main")).await?;
//! channel.deliver(testing::text("acme", "room-1", "hello")).await?;
//! assert_eq!(runtime.next_message().await.text, "hi");
//!
//! let runtime = ScriptedRuntime::new().for_module();
//! let module = Polite::start(testing::module_config::<Polite>("{}")?, runtime.runtime("main")).await?;
//! assert_eq!(module.screen(testing::screened("hello")).await?, Verdict::Allow);
//! ```
//!
//! `vestibule plugin conform` drives a built file with the same runtime.

use crate::sdk::log;
use crate::wire::{self, Empty, Event, StateValue};
use crate::{
    ACCOUNT_MAIN, Accepted, Action, Address, Agent, Answered, Change, Channel, ChatEvent, Choice, Content,
    Conversation, Decided, Decider, Decision, Forwarded, Health, Ignored, InboundMessage, Known, LateReceipt,
    Module, OutboundMessage, PluginError, ReplyTo, Requested, Result, Reviewed, Runtime, Screened, Secret,
    Sender, SentSoFar, StatePage, StateWrite, Timestamp,
};
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use vestibule_seam::{Done, Frame, RuntimeCalls, RuntimeSide, status};

/// How long [`ScriptedRuntime::next_message`] waits.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the runtime answers to a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// As a real one: committed, and a duplicate when the event id was taken before.
    AsUsual,
    /// Taken before.
    Duplicate,
    /// No agent hears it; this is why.
    Dropped(String),
    /// It is not on disk: the platform must not be acknowledged. This is why.
    Retry(String),
    /// It never will be taken; this is why.
    Refused(String),
}

/// What an error asks of the runtime, in a word for tables, and how long it says to wait, in milliseconds: `retry`,
/// `in doubt`, `account` (in trouble), `account, in doubt`, `refused`, `broken`, `another`.
pub fn class_of(error: &PluginError) -> (&'static str, Option<u64>) {
    match error {
        PluginError::Retry { after_ms, in_doubt, account, .. } => {
            let class = match (account, in_doubt) {
                (true, true) => "account, in doubt",
                (true, false) => "account",
                (false, true) => "in doubt",
                (false, false) => "retry",
            };
            (class, *after_ms)
        }
        PluginError::Refused { .. } => ("refused", None),
        PluginError::Broken { .. } => ("broken", None),
        _ => ("another", None),
    }
}

/// A runtime that notes all that a plugin says. Cheap to clone; clones share their notes.
#[derive(Clone)]
pub struct ScriptedRuntime {
    notes: Arc<Mutex<Notes>>,
    heard: Arc<Notify>,
    side: RuntimeSide,
}

struct Notes {
    answer: Answer,
    module: bool,
    keeps_nothing: bool,
    messages: Vec<(String, InboundMessage)>,
    read: usize,
    ignored: Vec<Ignored>,
    lines: Vec<(u32, String)>,
    faults: Vec<String>,
    taken: HashSet<(String, String)>,
    state: BTreeMap<(String, String), String>,
    health: Vec<(String, Health)>,
    lost: Vec<(String, String)>,
    conversations: Vec<Conversation>,
    choices: Vec<Choice>,
    changes: Vec<Change>,
    chats: Vec<ChatEvent>,
    own_handles: Vec<String>,
    sent: Vec<(String, SentSoFar)>,
    late_receipts: Vec<LateReceipt>,
}

/// The reason that a plugin hears which wants to keep state where [nothing is kept](ScriptedRuntime::keeps_nothing).
pub const NOTHING_IS_KEPT: &str = "nothing is kept here";

/// The seam's end of it.
#[derive(Clone)]
struct Port {
    notes: Arc<Mutex<Notes>>,
    heard: Arc<Notify>,
}

fn locked(notes: &Mutex<Notes>) -> MutexGuard<'_, Notes> {
    notes.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Default for ScriptedRuntime {
    fn default() -> Self {
        ScriptedRuntime::new()
    }
}

impl ScriptedRuntime {
    /// A runtime that answers [`Answer::AsUsual`].
    pub fn new() -> ScriptedRuntime {
        let notes = Arc::new(Mutex::new(Notes {
            answer: Answer::AsUsual,
            module: false,
            keeps_nothing: false,
            messages: vec![],
            read: 0,
            ignored: vec![],
            lines: vec![],
            faults: vec![],
            taken: HashSet::new(),
            state: BTreeMap::new(),
            health: vec![],
            lost: vec![],
            conversations: vec![],
            choices: vec![],
            changes: vec![],
            chats: vec![],
            own_handles: vec![],
            sent: vec![],
            late_receipts: vec![],
        }));
        let port = Port { notes: notes.clone(), heard: Arc::default() };
        ScriptedRuntime { notes, heard: port.heard.clone(), side: RuntimeSide::new(port) }
    }

    /// The same runtime for a module: it keeps state, and refuses all that a module hands over, which is a fault.
    #[must_use]
    pub fn for_module(self) -> ScriptedRuntime {
        locked(&self.notes).module = true;
        self
    }

    /// The handle that `Channel::start` and `Module::start` take.
    pub fn runtime(&self, account: &str) -> Runtime {
        Runtime::of(self.side, account.to_owned(), None, Vec::new())
    }

    /// The handle of an account at which the webhooks of others come in, which name it as their listener.
    pub fn listening(&self, account: &str, siblings: &[&str]) -> Runtime {
        let siblings = siblings.iter().map(|name| (*name).to_owned()).collect();
        Runtime::of(self.side, account.to_owned(), None, siblings)
    }

    /// The handle of an account whose webhooks come in at another.
    pub fn heard_by(&self, account: &str, listener: &str) -> Runtime {
        Runtime::of(self.side, account.to_owned(), Some(listener.to_owned()), Vec::new())
    }

    /// The handle of an account that has a folder of its own.
    pub fn with_folder(&self, account: &str, folder: &std::path::Path) -> Runtime {
        self.runtime(account).with_folder(Some(folder.display().to_string()))
    }

    /// The same over the seam, for a test that drives a whole plugin.
    pub fn calls(&self) -> Arc<dyn RuntimeCalls> {
        Arc::new(Port { notes: self.notes.clone(), heard: self.heard.clone() })
    }

    /// Answers every message like this from now on.
    pub fn answer(&self, answer: Answer) {
        locked(&self.notes).answer = answer;
    }

    /// Refuses to keep state from now on: its answer is `retry`, with [`NOTHING_IS_KEPT`].
    pub fn keeps_nothing(&self) {
        locked(&self.notes).keeps_nothing = true;
    }

    /// An account kept these values by key before.
    pub fn has_kept(&self, account: &str, kept: impl IntoIterator<Item = (String, String)>) {
        let kept = kept.into_iter().map(|(key, value)| ((account.to_owned(), key), value));
        locked(&self.notes).state.extend(kept);
    }

    /// What a key of an account holds.
    pub fn state(&self, account: &str, key: &str) -> Option<String> {
        locked(&self.notes).state.get(&(account.to_owned(), key.to_owned())).cloned()
    }

    /// The health that the plugin reported, with its account, in order.
    pub fn health(&self) -> Vec<(String, Health)> {
        locked(&self.notes).health.clone()
    }

    /// The accounts that the channel gave up for lost, each with the reason, in order.
    pub fn lost(&self) -> Vec<(String, String)> {
        locked(&self.notes).lost.clone()
    }

    /// The chats that the channel reported, in order. Each is answered as one that is wired.
    pub fn conversations(&self) -> Vec<Conversation> {
        locked(&self.notes).conversations.clone()
    }

    /// The choices that were handed over, in order. Unless [`ScriptedRuntime::answer`] says otherwise each is
    /// taken, and its token shown as what was chosen.
    pub fn choices(&self) -> Vec<Choice> {
        locked(&self.notes).choices.clone()
    }

    /// The changes that were handed over, in order, also those that were not taken.
    pub fn changes(&self) -> Vec<Change> {
        locked(&self.notes).changes.clone()
    }

    /// What the channel told of chats: joined, left, moved; in order. Each is answered as one that is wired.
    pub fn chats(&self) -> Vec<ChatEvent> {
        locked(&self.notes).chats.clone()
    }

    /// The names under which the platform knows the account, as the channel told last.
    pub fn own_handles(&self) -> Vec<String> {
        locked(&self.notes).own_handles.clone()
    }

    /// What the channel told of deliveries under way, each with the message's id, in order.
    pub fn sent_so_far(&self) -> Vec<(String, SentSoFar)> {
        locked(&self.notes).sent.clone()
    }

    /// The late receipts that were handed over, in order.
    pub fn late_receipts(&self) -> Vec<LateReceipt> {
        locked(&self.notes).late_receipts.clone()
    }

    /// The messages that were handed over, also those that were not taken.
    pub fn messages(&self) -> Vec<InboundMessage> {
        locked(&self.notes).messages.iter().map(|(_, message)| message.clone()).collect()
    }

    /// The next message that this method has not returned yet.
    ///
    /// # Panics
    /// None comes within 10 s.
    pub async fn next_message(&self) -> InboundMessage {
        let next = async {
            loop {
                let heard = self.heard.notified();
                if let Some(message) = self.unread() {
                    return message;
                }
                heard.await;
            }
        };
        match tokio::time::timeout(PATIENCE, next).await {
            Ok(message) => message,
            Err(_) => panic!("the channel handed over no message within {} s", PATIENCE.as_secs()),
        }
    }

    fn unread(&self) -> Option<InboundMessage> {
        let mut notes = locked(&self.notes);
        let (_, message) = notes.messages.get(notes.read)?.clone();
        notes.read += 1;
        Some(message)
    }

    /// The events that the channel left out on purpose, in order.
    pub fn ignored(&self) -> Vec<Ignored> {
        locked(&self.notes).ignored.clone()
    }

    /// Why a real runtime would have refused what the plugin said: limits that it broke, calls that make no
    /// sense. Empty for a plugin without such bugs.
    pub fn faults(&self) -> Vec<String> {
        locked(&self.notes).faults.clone()
    }

    /// The lines of the log with their level: 1 error to 5 trace. A channel that is tested as Rust logs to
    /// the test's own log unless [`ScriptedRuntime::hear_log`] is called.
    pub fn lines(&self) -> Vec<(u32, String)> {
        locked(&self.notes).lines.clone()
    }

    /// Notes what this thread logs until the guard is dropped: in a `#[tokio::test]` all that the channel
    /// logs.
    #[must_use = "dropping it ends the listening"]
    pub fn hear_log(&self) -> LogGuard {
        LogGuard { _guard: log::on_this_thread(self.side) }
    }
}

/// Notes the log of [`ScriptedRuntime::hear_log`] until it is dropped.
pub struct LogGuard {
    _guard: tracing::subscriber::DefaultGuard,
}

impl RuntimeCalls for Port {
    fn call(&self, mut frame: Frame, done: Done) -> u64 {
        let (code, frame) = match wire::read_with_blobs::<Event>(&mut frame) {
            Ok(event) => locked(&self.notes).hear(event),
            Err(why) => locked(&self.notes).fault(why),
        };
        self.heard.notify_waiters();
        done.complete(code, frame);
        0
    }

    fn cancel(&self, _: u64) {}

    fn log(&self, level: u32, line: &str) {
        locked(&self.notes).lines.push((level, line.to_owned()));
    }
}

impl Notes {
    fn fault(&mut self, why: String) -> (u32, Frame) {
        let frame = wire::frame(&why);
        self.faults.push(why);
        (status::BAD_FRAME, frame)
    }

    fn keep(&mut self, account: &str, state: Vec<StateWrite>) {
        for StateWrite { key, value, prefix, .. } in state {
            if let Some(prefix) = prefix {
                self.state.retain(|(whose, key), _| whose != account || !key.starts_with(&prefix));
                continue;
            }
            let key = (account.to_owned(), key);
            match value {
                Some(value) => drop(self.state.insert(key, value)),
                None => drop(self.state.remove(&key)),
            }
        }
    }

    /// The answer to a message or a change.
    fn take(&mut self, account: &str, event_id: &str, state: Vec<StateWrite>) -> (u32, Frame) {
        if !matches!(self.answer, Answer::Retry(_) | Answer::Refused(_)) {
            self.keep(account, state);
        }
        let first = self.taken.insert((account.to_owned(), event_id.to_owned()));
        let accepted = match self.answer.clone() {
            Answer::AsUsual if first => Accepted::Committed,
            Answer::AsUsual | Answer::Duplicate => Accepted::Duplicate,
            Answer::Dropped(reason) => Accepted::Dropped { reason },
            Answer::Retry(why) => return (status::ERROR, wire::frame(&PluginError::retry(why))),
            Answer::Refused(why) => return (status::ERROR, wire::frame(&PluginError::refused(why))),
        };
        (status::OK, wire::frame(&accepted))
    }

    fn choose(&mut self, account: &str, choice: Choice, state: Vec<StateWrite>) -> (u32, Frame) {
        let shown = choice.token.clone();
        self.choices.push(choice);
        match self.answer.clone() {
            Answer::Retry(why) => return (status::ERROR, wire::frame(&PluginError::retry(why))),
            Answer::Refused(why) => return (status::ERROR, wire::frame(&PluginError::refused(why))),
            Answer::AsUsual | Answer::Duplicate | Answer::Dropped(_) => {}
        }
        self.keep(account, state);
        (status::OK, wire::frame(&Answered::Taken { shown }))
    }

    fn page(&self, account: &str, prefix: &str, after: String) -> StatePage {
        let mut page = StatePage::default();
        let asked =
            |(whose, key): &(String, String)| whose == account && key.starts_with(prefix) && *key > after;
        let entries = self.state.iter().filter(|(key, _)| asked(key));
        let push = |((_, key), value): (&(String, String), &String)| page.push(key.clone(), value.clone());
        entries.map(push).find(|has_room| !has_room);
        page
    }

    fn hear(&mut self, event: Event) -> (u32, Frame) {
        if self.module && !event.is_for_modules() {
            return self.fault("a module hands over no messages; it answers with effects".to_owned());
        }
        match event.fault() {
            Some(why) => self.fault(why),
            None => self.note(event),
        }
    }

    fn note(&mut self, event: Event) -> (u32, Frame) {
        match event {
            Event::Message { account, message, state } => {
                let answer = self.take(&account, &message.event_id, state);
                self.messages.push((account, message));
                answer
            }
            Event::Change { account, change, state } => {
                let answer = self.take(&account, &change.event_id, state);
                self.changes.push(change);
                answer
            }
            Event::Ignored { account, ignored, state } => {
                self.keep(&account, state);
                self.ignored.push(ignored);
                taken()
            }
            Event::StateGet { account, key } => {
                let value = self.state.get(&(account, key)).cloned();
                (status::OK, wire::frame(&StateValue { value }))
            }
            Event::StateList { account, prefix, after } => {
                (status::OK, wire::frame(&self.page(&account, &prefix, after.unwrap_or_default())))
            }
            Event::StateSet { .. } if self.keeps_nothing => {
                (status::ERROR, wire::frame(&PluginError::retry(NOTHING_IS_KEPT)))
            }
            Event::StateSet { account, state } => {
                self.keep(&account, state);
                taken()
            }
            Event::Health { account, health } => {
                self.health.push((account, health));
                taken()
            }
            Event::Lost { account, reason } => {
                self.lost.push((account, reason));
                taken()
            }
            Event::Conversation { account: _, conversation } => {
                self.conversations.push(conversation);
                (status::OK, wire::frame(&Known { wired: true }))
            }
            Event::Answer { account, choice, state } => self.choose(&account, choice, state),
            Event::Chat { account, chat, state } => {
                self.keep(&account, state);
                self.chats.push(chat);
                (status::OK, wire::frame(&Known { wired: true }))
            }
            Event::OwnHandles { account: _, handles } => {
                self.own_handles = handles;
                taken()
            }
            Event::SentSoFar { account: _, id, sent } => {
                self.sent.push((id, sent));
                taken()
            }
            Event::LateReceipt { account: _, receipt } => {
                self.late_receipts.push(receipt);
                taken()
            }
            Event::HandedOver { event, .. } => self.hear(*event),
            Event::Unknown => {
                self.faults.push("it used a verb that this vocabulary does not have".to_owned());
                (status::UNSUPPORTED, wire::frame(&"this runtime does not know the verb"))
            }
        }
    }
}

/// The answer to what is only noted.
fn taken() -> (u32, Frame) {
    (status::OK, wire::frame(&Empty {}))
}

/// A secret, as the runtime would resolve it.
pub fn secret(text: &str) -> Secret {
    Secret(text.to_owned())
}

/// The config of a channel, from the JSON that the runtime makes of its section.
///
/// # Errors
/// What an operator would read.
pub fn config<C: Channel>(json: &str) -> Result<C::Config> {
    read(json)
}

/// The config of a module, from the JSON that the runtime makes of its section.
///
/// # Errors
/// What an operator would read.
pub fn module_config<M: Module>(json: &str) -> Result<M::Config> {
    read(json)
}

fn read<T: DeserializeOwned>(json: &str) -> Result<T> {
    serde_json::from_str(json)
        .map_err(|error| PluginError::broken(format!("its config does not fit: {error}")))
}

/// A text for a chat of the account `main`, as the runtime hands it over.
pub fn text(channel_type: &str, chat: &str, text: &str) -> OutboundMessage {
    OutboundMessage {
        id: "msg-test-1".to_owned(),
        address: address(channel_type, chat),
        content: Content::Text { text: text.to_owned() },
        taken_at: Some(Timestamp(0)),
        subject: None,
        metadata: std::collections::BTreeMap::new(),
        sent_so_far: None,
        in_reply_to: None,
        attachments: vec![],
    }
}

fn address(channel_type: &str, chat: &str) -> Address {
    Address {
        channel_type: channel_type.into(),
        account: ACCOUNT_MAIN.into(),
        platform_id: chat.into(),
        thread_id: None,
    }
}

/// A message that came in, as a module is asked about it at `screen`.
pub fn screened(text: &str) -> Screened {
    Screened {
        event_id: "event-test-1".to_owned(),
        address: address("test", "room-1"),
        sender: Sender {
            handle: "ada".to_owned(),
            name: Some("Ada".to_owned()),
            is_bot: false,
            ..Sender::default()
        },
        text: text.to_owned(),
        files: vec![],
        attachments: vec![],
        reply_to: None,
        message_id: Some("test-1".to_owned()),
        chat: Some("Room 1".to_owned()),
        timestamp: Some(Timestamp(0)),
        is_mention: true,
        is_group: false,
        mentions: vec![],
        change: None,
        subject: None,
        command: None,
        metadata: std::collections::BTreeMap::new(),
    }
}

/// The same, as an answer to another message.
pub fn screened_quoting(text: &str, quoted: &str) -> Screened {
    let reply_to = ReplyTo {
        id: "test-0".to_owned(),
        sender: Some("Charles".to_owned()),
        text: Some(quoted.to_owned()),
    };
    Screened { reply_to: Some(reply_to), ..screened(text) }
}

/// A reply that is about to go out, as a module is asked about it at `review`.
pub fn reviewed(text: &str) -> Reviewed {
    Reviewed {
        id: "msg-test-1".to_owned(),
        address: address("test", "room-1"),
        session: "session-test-1".to_owned(),
        text: text.to_owned(),
        files: vec![],
        attachments: vec![],
        question: None,
        in_reply_to: None,
        taken_at: Some(Timestamp(0)),
        card: None,
        change: None,
        subject: None,
        metadata: std::collections::BTreeMap::new(),
    }
}

/// A message from the agent `boss` to the agent `helper`, which never heard from each other, as a module is
/// asked about it at `forward`.
pub fn forwarded(text: &str) -> Forwarded {
    let agent = |name: &str| Agent { id: format!("agent-{name}"), name: name.to_owned() };
    Forwarded {
        id: "msg-test-1".to_owned(),
        from: agent("boss"),
        from_session: "session-test-1".to_owned(),
        to: agent("helper"),
        text: text.to_owned(),
        files: vec![],
        answers: None,
        heard_last: None,
        newest: None,
        hops: 0,
        taken_at: Timestamp(0),
    }
}

/// An action with some words, which the agent `boss` asks for, as a module is asked about it at `action`.
pub fn action(name: &str, text: &str) -> Action {
    Action {
        id: "msg-test-1".to_owned(),
        name: name.to_owned(),
        agent: Agent { id: "agent-boss".to_owned(), name: "boss".to_owned() },
        session: "session-test-1".to_owned(),
        content: serde_json::json!({ "action": name, "text": text }),
        hops: 0,
        taken_at: Timestamp(0),
    }
}

/// The choice of this option by the person `ada`, for what was asked under `key` about the agent `boss`, as a module is told
/// at `decided`.
pub fn decided(key: &str, value: &str) -> Decided {
    Decided {
        id: "decision-test-1".to_owned(),
        request: Requested {
            key: key.to_owned(),
            kind: "question".to_owned(),
            agent: Agent { id: "agent-boss".to_owned(), name: "boss".to_owned() },
            session: "session-test-1".to_owned(),
            address: address("test", "room-1"),
            payload: serde_json::Value::Null,
            asked_at: Timestamp(0),
        },
        verdict: Decision::Chosen { value: value.to_owned(), label: value.to_owned() },
        by: Some(Decider {
            channel_type: Some("test".to_owned()),
            account: Some(ACCOUNT_MAIN.to_owned()),
            handle: "ada".to_owned(),
            name: Some("Ada".to_owned()),
        }),
        decided_at: Timestamp(0),
    }
}
