//! One live plugin: frames go out with a deadline, answers come back as Rust.

use super::accounts::{self, AccountState};
use super::asks::LOADING_MAX;
use super::condition::Condition;
use super::heads;
use super::on_the_way::OnTheWay;
use super::one_at_a_time::OneAtATime;
use super::pacing::Pacing;
use super::port::Port;
use super::siblings;
use super::tier::Tier;
use super::under_way::{Begun, UnderWay};
use super::webhook_key::{self, Keys, WebhookKey};
use crate::config::{Config, PluginSettings};
use crate::home;
use crate::id::SessionId;
use crate::lock::locked;
use crate::observer::Observer;
use crate::plugins::file::opening;
use crate::plugins::process::{self, Spec, Supervisor};
use crate::plugins::{LoadCode, LoadError, Plugins};
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};
use tokio::sync::{OnceCell, Semaphore, watch};
use vestibule_plugin_api::wire::{self, Effects, Empty, Found, Request, WebhookHead};
use vestibule_plugin_api::{
    ACCOUNT_MAIN, Action, DELIVER_SECONDS, Decided, Effect, Forwarded, Health, Manifest, OutboundMessage,
    PluginError, Receipt, Schema, Tick, Verdict, WebhookRequest,
};
use vestibule_seam::{Done, Frame, PluginRootRef, RuntimeSide, status};
use vestibule_session::words;

/// How long a plugin may take to start or stop an account.
const ACCOUNT_DEADLINE: Duration = Duration::from_secs(60);
/// How long a channel may take for one message, or to look one up, unless its manifest says more.
const DELIVER_DEADLINE: Duration = Duration::from_secs(DELIVER_SECONDS as u64);
/// How long a plugin may take to stop an account.
const STOP_DEADLINE: Duration = Duration::from_secs(5);
/// How long a module may take over one message, which waits for it.
const HOOK_DEADLINE: Duration = Duration::from_secs(10);
/// How long an ending plugin's threads are waited for.
pub(in crate::plugins) const SHUTDOWN_TIME: Duration = Duration::from_secs(2);

/// Where a plugin came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// It is linked into the binary.
    Bundled,
    /// It was dropped into the plugins folder.
    File {
        /// The file.
        path: PathBuf,
        /// The SHA-256 of its bytes, in hexadecimal.
        sha256: String,
    },
}

/// Why a call has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// No adapter is live for this account.
    #[error("the channel's adapter is not live")]
    NotThere,
    /// The plugin answered with an error.
    #[error("{}", .0.reason())]
    Plugin(PluginError),
    /// The plugin does not do that.
    #[error("the plugin does not support this: {0}")]
    Unsupported(String),
    /// The plugin has a bug.
    #[error("the plugin panicked: {0}")]
    Panicked(String),
    /// The plugin dropped the call.
    #[error("the plugin dropped the call")]
    Cancelled,
    /// The plugin missed the deadline.
    #[error("the plugin did not answer in time")]
    Late,
}

/// One live plugin.
pub struct Link {
    /// Its name, its kind, and what it can do.
    pub manifest: Manifest,
    /// Where it came from.
    pub origin: Origin,
    /// Where it runs.
    pub tier: Tier,
    /// The folder of its own, if it lists `folder`.
    folder: Option<PathBuf>,
    /// What its config may hold, once it was asked; nothing where it does not say.
    pub(in crate::plugins) described: OnceCell<Option<Schema>>,
    deadline: Duration,
    sections: Mutex<BTreeMap<String, toml::Table>>,
    accounts: Mutex<BTreeMap<String, AccountState>>,
    conditions: Mutex<BTreeMap<String, Condition>>,
    /// By account: what its webhooks are verified with, as it was when the account was started last.
    webhook_keys: Mutex<BTreeMap<String, Keys>>,
    generation: AtomicU64,
    /// By account: the names under which its platform knows it, as the plugin said last.
    own_handles: Mutex<BTreeMap<String, Vec<String>>>,
    /// By account that is being started: the state that its plugin has given it up for meanwhile.
    given_up: Mutex<BTreeMap<String, AccountState>>,
    /// The start of an account: one of the life before may still be under way.
    pub(super) starting: OneAtATime,
    /// The files that it loads, and those that it is handed.
    pub on_the_way: OnTheWay,
    /// The places of the messages whose files are being loaded.
    pub(super) loading: Arc<Semaphore>,
    /// By account and event: how often a file of the message could not be loaded.
    pub(super) failed_loads: Mutex<BTreeMap<(String, String), u8>>,
    /// That the channel is told of a thread, until it is on record.
    pub subscribing: OneAtATime,
    /// How fast each account may be handed what it delivers.
    pub(super) pacing: Pacing,
    /// The deliveries whose parts the channel may tell of.
    pub under_way: UnderWay,
    /// Is told what the channel is asked, where an author watches.
    pub(super) observer: OnceLock<Arc<dyn Observer>>,
    /// What the operator says about the plugin, as it was when it was loaded.
    settings: PluginSettings,
    /// By account: a digest of what it was started with last.
    started_with: Mutex<BTreeMap<String, [u8; 32]>>,
    /// How many calls are under way, by account.
    open: watch::Sender<BTreeMap<String, usize>>,
}

impl Link {
    /// Starts the machinery of a plugin inside the runtime.
    ///
    /// # Errors
    /// The sentence after "Plugin FILE was not loaded:".
    pub fn in_process(
        plugins: &Arc<Plugins>,
        config: &Config,
        manifest: Manifest,
        origin: Origin,
        root: PluginRootRef,
    ) -> Result<Arc<Link>, LoadError> {
        let folder = opening::own_folder(&plugins.home, config, &manifest)?;
        let link =
            Link::new(config, manifest, origin, Tier::InProcess(root), folder.map(|folder| folder.path));
        let port = RuntimeSide::new(Port::new(plugins, &link));
        match (root.init())(port, log_level()) {
            status::OK => Ok(link),
            code => {
                let words =
                    format!("its start failed with status {code}. Look at the log; its author can say more.");
                Err(LoadError::new(LoadCode::Init, words))
            }
        }
    }

    /// Starts a plugin in a process of its own: `file` is its private copy.
    ///
    /// # Errors
    /// The sentence after "Plugin FILE was not loaded:".
    pub async fn in_own_process(
        plugins: &Arc<Plugins>,
        config: &Config,
        manifest: Manifest,
        origin: Origin,
        file: PathBuf,
        entry: String,
    ) -> Result<Arc<Link>, LoadError> {
        let own = opening::own_folder(&plugins.home, config, &manifest)?;
        let folder = own.as_ref().map(|folder| folder.path.clone());
        let spec = Spec { folder: own, ..opening::spec(config, &manifest.name, file, entry) };
        let supervisor = Arc::new(Supervisor::new(spec, config.plugin(&manifest.name).deadline()));
        let link = Link::new(config, manifest, origin, Tier::Process(supervisor.clone()), folder);
        match process::supervise(plugins, &link, &supervisor).await {
            Ok(()) => Ok(link),
            Err(why) => {
                let _ = std::fs::remove_file(&supervisor.spec().file);
                Err(why)
            }
        }
    }

    fn new(
        config: &Config,
        manifest: Manifest,
        origin: Origin,
        tier: Tier,
        folder: Option<PathBuf>,
    ) -> Arc<Link> {
        let settings = config.plugin(&manifest.name);
        let deadline = settings.deadline();
        let sections = Mutex::new(accounts::sections(config, &manifest));
        let described = OnceCell::new();
        let (accounts, conditions, generation) = (Mutex::default(), Mutex::default(), AtomicU64::new(0));
        let open = watch::Sender::new(BTreeMap::new());
        Arc::new(Link {
            manifest,
            origin,
            tier,
            folder,
            described,
            deadline,
            sections,
            accounts,
            conditions,
            webhook_keys: Mutex::default(),
            generation,
            own_handles: Mutex::default(),
            given_up: Mutex::default(),
            starting: OneAtATime::default(),
            on_the_way: OnTheWay::default(),
            loading: Arc::new(Semaphore::new(LOADING_MAX)),
            failed_loads: Mutex::default(),
            under_way: UnderWay::default(),
            observer: OnceLock::new(),
            settings,
            subscribing: OneAtATime::default(),
            pacing: Pacing::default(),
            started_with: Mutex::default(),
            open,
        })
    }

    /// A channel that was not started, with one account that is in this state.
    #[cfg(test)]
    pub fn idle(channel_type: &str, state: AccountState) -> Arc<Link> {
        let manifest = format!(
            r#"{{"name":"{channel_type}","version":"1","kind":"channel","abi":1,"api":"0.1","channel_type":"{channel_type}"}}"#
        );
        let manifest: Manifest = serde_json::from_str(&manifest).expect("a manifest");
        let home = tempfile::tempdir().expect("a folder");
        let config = Config::load(&crate::home::Home::at(home.path().to_owned())).expect("a config");
        let spec = opening::spec(&config, channel_type, PathBuf::new(), String::new());
        let supervisor = Arc::new(Supervisor::new(spec, ACCOUNT_DEADLINE));
        let link = Link::new(&config, manifest, Origin::Bundled, Tier::Process(supervisor), None);
        link.accounts().insert(ACCOUNT_MAIN.to_owned(), state);
        link
    }

    /// Delivers a message of this session, whose digest is `of`. Each part that the channel tells of gives it its whole deadline once more.
    pub async fn deliver(
        &self,
        session_id: &SessionId,
        of: &str,
        message: OutboundMessage,
    ) -> Result<Receipt, CallError> {
        let account = message.address.account.as_str().to_owned();
        let begun = self.under_way.begin(&account, &message.id, session_id, of);
        let frame = wire::frame_with_blobs(Request::Deliver { message });
        let declared = Duration::from_secs(self.manifest.deliver_seconds().into());
        // The operator may want answers sooner; the longest time that a config names stands for no such wish.
        let deadline = if self.deadline < DELIVER_DEADLINE { self.deadline.min(declared) } else { declared };
        let answer = self.live(&account, self.ask_patiently(frame, deadline, Some(&begun))).await;
        self.condition(&account, |condition| condition.answers(&answer, Instant::now()));
        answer
    }

    /// Asks whether a message of this session has arrived that was handed over before. The channel may tell of its parts
    /// here, too.
    pub async fn find(
        &self,
        session_id: &SessionId,
        of: &str,
        message: OutboundMessage,
    ) -> Result<Option<Receipt>, CallError> {
        let account = message.address.account.as_str().to_owned();
        let _begun = self.under_way.begin(&account, &message.id, session_id, of);
        let frame = wire::frame(&Request::Find { message });
        let found: Found = self.ask_platform(&account, frame, DELIVER_DEADLINE).await?;
        Ok(found.receipt)
    }

    /// Hands a verified webhook over.
    pub async fn webhook(
        &self,
        account: &str,
        request: WebhookRequest,
        deadline: Duration,
    ) -> Result<WebhookHead, CallError> {
        self.ask_live(account, wire::webhook_frame(account, request), deadline).await
    }

    /// Asks a module where a message between agents goes.
    pub async fn forward(&self, message: Forwarded) -> Result<Vec<Effect>, CallError> {
        let request = wire::frame(&Request::Forward { message });
        let answer: Effects = self.ask_live(ACCOUNT_MAIN, request, HOOK_DEADLINE).await?;
        Ok(answer.effects)
    }

    /// Asks a module to do what an agent wants.
    pub async fn action(&self, action: Action) -> Result<Vec<Effect>, CallError> {
        let request = wire::frame(&Request::Action { action });
        let answer: Effects = self.ask_live(ACCOUNT_MAIN, request, HOOK_DEADLINE).await?;
        Ok(answer.effects)
    }

    /// Tells a module that time has passed.
    pub async fn tick(&self, tick: Tick) -> Result<Vec<Effect>, CallError> {
        let request = wire::frame(&Request::Tick { tick });
        let answer: Effects = self.ask_live(ACCOUNT_MAIN, request, HOOK_DEADLINE).await?;
        Ok(answer.effects)
    }

    /// Tells a module what came of what it asked for.
    pub async fn decided(&self, decided: Decided) -> Result<Vec<Effect>, CallError> {
        let request = wire::frame(&Request::Decided { decided });
        let answer: Effects = self.ask_live(ACCOUNT_MAIN, request, HOOK_DEADLINE).await?;
        Ok(answer.effects)
    }

    /// Asks a module that screens or reviews about one message.
    pub async fn verdict(&self, request: Request) -> Result<Verdict, CallError> {
        self.ask_live(ACCOUNT_MAIN, wire::frame(&request), HOOK_DEADLINE).await
    }

    /// Starts an account. What it said before of how it is holds no longer.
    pub async fn start_account(&self, account: &str, mut config: serde_json::Value) -> Result<(), CallError> {
        let siblings = siblings::of(&self.manifest, &self.sections(), account);
        let with = digest(&config, &siblings);
        locked(&self.started_with).remove(account);
        let listener = self.manifest.take_listener(&mut config);
        self.conditions().entry(account.to_owned()).or_default().starts();
        locked(&self.given_up).remove(account);
        self.keep_webhook_keys(account, &config)?;
        if let Some(socket) = self.manifest.local_socket(&config) {
            self.tier.open_socket(socket).map_err(|error| {
                let why = format!("cannot open the socket {}: {error}", socket.display());
                CallError::Plugin(PluginError::broken(why))
            })?;
        }
        let folder = self.folder_of(account)?;
        let request = Request::Start { account: account.to_owned(), config, listener, siblings, folder };
        let Empty {} = self.ask(wire::frame(&request), ACCOUNT_DEADLINE).await?;
        locked(&self.started_with).insert(account.to_owned(), with);
        Ok(())
    }

    /// Notes how the start of an account went in this life of its plugin; returns its state before. `None`: that life is
    /// over, or the plugin is being taken out.
    pub fn note_state(&self, account: &str, state: &AccountState, generation: u64) -> Option<AccountState> {
        let mut accounts = self.accounts();
        let entry = accounts.get_mut(account).filter(|entry| **entry != AccountState::Stopping)?;
        (self.generation() == generation).then(|| std::mem::replace(entry, state.clone()))
    }

    /// Whether an account was started with this config and these siblings.
    pub fn was_started_with(&self, account: &str, config: &serde_json::Value, siblings: &[String]) -> bool {
        locked(&self.started_with).get(account) == Some(&digest(config, siblings))
    }

    /// Whether the operator says the same about the plugin as when it was loaded.
    pub fn has_settings(&self, settings: &PluginSettings) -> bool {
        self.settings == *settings
    }

    /// The folder that the account may write to, made unless it is there.
    fn folder_of(&self, account: &str) -> Result<Option<String>, CallError> {
        let Some(folder) = self.folder.as_ref().map(|folder| folder.join(account)) else { return Ok(None) };
        home::make(&folder).map_err(|error| CallError::Plugin(PluginError::broken(error.to_string())))?;
        Ok(Some(folder.display().to_string()))
    }

    /// Keeps what the account's webhooks are verified with.
    fn keep_webhook_keys(&self, account: &str, config: &serde_json::Value) -> Result<(), CallError> {
        let read = webhook_key::read(&self.manifest, config);
        let mut keys = locked(&self.webhook_keys);
        // Old ones would let in what the operator no longer wants.
        keys.remove(account);
        keys.insert(account.to_owned(), read.map_err(|why| CallError::Plugin(PluginError::broken(why)))?);
        Ok(())
    }

    /// What an account's webhooks are verified with; `None` when it has no such key, or was never started.
    pub fn webhook_key(&self, account: &str) -> Option<WebhookKey> {
        locked(&self.webhook_keys).get(account)?.key.clone()
    }

    /// The token that is in the question with which the platform tries the address of an account's webhooks.
    pub fn challenge_token(&self, account: &str) -> Option<String> {
        locked(&self.webhook_keys).get(account)?.token.clone()
    }

    /// Tells the plugin to stop an account.
    pub async fn stop_account(&self, account: &str) -> Result<(), CallError> {
        let request = Request::Stop { account: account.to_owned() };
        let Empty {} = self.ask(wire::frame(&request), STOP_DEADLINE).await?;
        Ok(())
    }

    /// Ends the plugin's machinery, and logs when calls were still open.
    pub async fn shutdown(&self) {
        let left = self.tier.shutdown(SHUTDOWN_TIME).await;
        if left > 0 {
            tracing::warn!(plugin = self.manifest.name, left, "calls were still open when the plugin ended");
        }
    }

    /// Which life of the plugin this is: the answers of an earlier life mean nothing any more.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Begins the next life of the plugin.
    pub fn next_generation(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    /// The config's sections for its accounts, as they were when it was loaded.
    pub fn sections(&self) -> MutexGuard<'_, BTreeMap<String, toml::Table>> {
        locked(&self.sections)
    }

    /// The account at which the webhooks of this one come in, if that is another.
    pub fn listener_of(&self, account: &str) -> Option<String> {
        let sections = self.sections();
        siblings::listener(&self.manifest, sections.get(account)?).map(str::to_owned)
    }

    /// The accounts, each with its state.
    pub fn accounts(&self) -> MutexGuard<'_, BTreeMap<String, AccountState>> {
        locked(&self.accounts)
    }

    /// Takes a plugin's word on how an account of it is. Returns why the account has given up, if the plugin says so.
    pub fn heard(&self, account: &str, health: Health) -> Option<String> {
        let health = bounded(health);
        self.condition(account, |condition| condition.says(health.clone()));
        match health {
            Health::Stopped { reason } => Some(reason),
            _ => None,
        }
    }

    /// Notes the names under which an account is known on its platform.
    pub fn note_own_handles(&self, account: &str, handles: Vec<String>) {
        locked(&self.own_handles).insert(account.to_owned(), handles);
    }

    /// The names under which an account is known on its platform, the one that people use first.
    pub fn own_handles(&self, account: &str) -> Vec<String> {
        locked(&self.own_handles).get(account).cloned().unwrap_or_default()
    }

    /// How a started account is, by what its plugin said and its calls were answered.
    pub fn health(&self, account: &str) -> Option<Health> {
        self.conditions().get(account).and_then(Condition::health)
    }

    /// Notes that a plugin has given an account up while it was still being started.
    pub fn note_given_up(&self, account: &str, until: AccountState) {
        locked(&self.given_up).insert(account.to_owned(), until);
    }

    /// For which state the account was given up while it was being started, if it was.
    pub fn take_given_up(&self, account: &str) -> Option<AccountState> {
        locked(&self.given_up).remove(account)
    }

    /// The account came to life.
    pub fn lives(&self, account: &str) {
        self.condition(account, |condition| condition.lives(Instant::now()));
    }

    /// How long to wait before the account is started again.
    pub fn wait(&self, account: &str, is_broken: bool) -> Duration {
        self.condition(account, |condition| condition.wait(is_broken, Instant::now()))
    }

    /// Changes what is known of how an account is, and logs it when that makes a difference.
    fn condition<T>(&self, account: &str, change: impl FnOnce(&mut Condition) -> T) -> T {
        let mut conditions = self.conditions();
        let condition = conditions.entry(account.to_owned()).or_default();
        let before = condition.health();
        let changed = change(condition);
        let after = condition.health();
        drop(conditions);
        if before != after {
            self.tell(account, before, after);
        }
        changed
    }

    fn tell(&self, account: &str, before: Option<Health>, after: Option<Health>) {
        let plugin = &self.manifest.name;
        let was_in_trouble = matches!(before, Some(Health::Degraded { .. } | Health::Stopped { .. }));
        match after {
            Some(Health::Degraded { reason }) => {
                tracing::warn!(plugin, account, %reason, "it works in part");
            }
            Some(Health::Stopped { reason }) => tracing::error!(plugin, account, %reason, "it does not work"),
            None | Some(Health::Live) if was_in_trouble => tracing::info!(plugin, account, "it works again"),
            health => tracing::debug!(plugin, account, ?health, "it reports"),
        }
    }

    fn conditions(&self) -> MutexGuard<'_, BTreeMap<String, Condition>> {
        locked(&self.conditions)
    }

    /// Whether the account can be called.
    pub fn is_live(&self, account: &str) -> bool {
        self.accounts().get(account) == Some(&AccountState::Live)
    }

    /// Returns when no call is under way, but for those of some accounts.
    pub async fn quiet_but(&self, kept: &BTreeSet<String>) {
        let _ =
            self.open.subscribe().wait_for(|open| open.keys().all(|account| kept.contains(account))).await;
    }

    /// Calls the plugin for an account that is live. The code that stops an account first marks it as stopping and
    /// then waits for [`Link::quiet_but`], so no call slips in between.
    pub(super) async fn ask_live<T: DeserializeOwned + Send + 'static>(
        &self,
        account: &str,
        frame: Frame,
        deadline: Duration,
    ) -> Result<T, CallError> {
        self.live(account, self.ask(frame, deadline.min(self.deadline))).await
    }

    /// Calls the plugin in whatever state its accounts are; returns the frame of the answer with its blobs. A call that is
    /// late says nothing of the plugin: what it waits for is its platform's.
    pub(super) async fn frame_of_any(
        &self,
        account: &str,
        frame: Frame,
        deadline: Duration,
    ) -> Result<Frame, CallError> {
        let _open = Open::of(&self.open, account);
        let (answered, answer) = tokio::sync::oneshot::channel();
        let done = Done::new(move |code, frame| drop(answered.send((code, frame))));
        let mut call = OpenCall { tier: &self.tier, id: Some(self.tier.call(frame, done)) };
        let answer = tokio::time::timeout(deadline.min(self.deadline), answer).await;
        let answer = answer.map_err(|_| CallError::Late)?;
        call.id = None;
        match answer.map_err(|_| CallError::Cancelled)? {
            // A frame that could not be passed on, for want of descriptors, says nothing of what the plugin does.
            (status::BAD_FRAME, _) => {
                Err(CallError::Plugin(PluginError::retry("its answer did not come whole")))
            }
            (code, frame) => outcome(code, frame).await,
        }
    }

    async fn live<T>(
        &self,
        account: &str,
        call: impl Future<Output = Result<T, CallError>>,
    ) -> Result<T, CallError> {
        let _open = Open::of(&self.open, account);
        if !self.is_live(account) {
            return Err(CallError::NotThere);
        }
        call.await
    }

    /// The same for a call that the account passes on to its platform: the answer says how the account is.
    async fn ask_platform<T: DeserializeOwned + Send + 'static>(
        &self,
        account: &str,
        frame: Frame,
        deadline: Duration,
    ) -> Result<T, CallError> {
        let answer = self.ask_live(account, frame, deadline).await;
        self.condition(account, |condition| condition.answers(&answer, Instant::now()));
        answer
    }

    /// One call and its answer, unread.
    pub(in crate::plugins) async fn call(
        &self,
        frame: Frame,
        deadline: Duration,
    ) -> Result<(u32, Frame), CallError> {
        self.call_patiently(frame, deadline, None).await
    }

    /// The same for a delivery, whose deadline begins anew with each part that the channel tells of.
    async fn call_patiently(
        &self,
        frame: Frame,
        deadline: Duration,
        begun: Option<&Begun>,
    ) -> Result<(u32, Frame), CallError> {
        let (answered, answer) = tokio::sync::oneshot::channel();
        let done = Done::new(move |code, frame| drop(answered.send((code, frame))));
        let mut call = OpenCall { tier: &self.tier, id: Some(self.tier.call(frame, done)) };
        let answer = match begun {
            Some(begun) => begun.wait(answer, deadline).await,
            None => tokio::time::timeout(deadline, answer).await.ok(),
        };
        self.tier.note(answer.is_some());
        let Some(answer) = answer else { return Err(CallError::Late) };
        call.id = None;
        answer.map_err(|_| CallError::Cancelled)
    }

    async fn ask<T: DeserializeOwned + Send + 'static>(
        &self,
        frame: Frame,
        deadline: Duration,
    ) -> Result<T, CallError> {
        self.ask_patiently(frame, deadline, None).await
    }

    async fn ask_patiently<T: DeserializeOwned + Send + 'static>(
        &self,
        frame: Frame,
        deadline: Duration,
        begun: Option<&Begun>,
    ) -> Result<T, CallError> {
        let frame = self.frame_of(frame, deadline, begun).await?;
        let answer = heads::read(frame, |frame| wire::read(frame)).await.ok_or(CallError::Cancelled)?;
        answer
            .map_err(|why| CallError::Plugin(PluginError::retry(format!("its answer cannot be read: {why}"))))
    }

    /// One call and the frame of its answer, unless that is an error.
    async fn frame_of(
        &self,
        frame: Frame,
        deadline: Duration,
        begun: Option<&Begun>,
    ) -> Result<Frame, CallError> {
        let (code, frame) = self.call_patiently(frame, deadline, begun).await?;
        outcome(code, frame).await
    }
}

/// The frame of an answer, unless that is an error.
async fn outcome(code: u32, frame: Frame) -> Result<Frame, CallError> {
    if code == status::OK {
        return Ok(frame);
    }
    let error = heads::read(frame, move |frame| failure(code, frame)).await;
    Err(error.unwrap_or(CallError::Cancelled))
}

/// What an answer with another status than [`status::OK`] says.
fn failure(code: u32, frame: &Frame) -> CallError {
    let words = || words::reason(wire::read::<String>(frame).unwrap_or_else(|why| why));
    match code {
        status::PANIC => CallError::Panicked(words()),
        status::CANCELLED => CallError::Cancelled,
        status::UNSUPPORTED | status::BAD_FRAME => CallError::Unsupported(words()),
        _ => CallError::Plugin(bounded_error(wire::read(frame).unwrap_or_else(PluginError::retry))),
    }
}

struct Open<'a> {
    calls: &'a watch::Sender<BTreeMap<String, usize>>,
    account: &'a str,
}

impl<'a> Open<'a> {
    fn of(calls: &'a watch::Sender<BTreeMap<String, usize>>, account: &'a str) -> Open<'a> {
        calls.send_modify(|open| *open.entry(account.to_owned()).or_default() += 1);
        Open { calls, account }
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.calls.send_modify(|open| {
            if let Some(count) = open.get_mut(self.account) {
                *count -= 1;
                if *count == 0 {
                    open.remove(self.account);
                }
            }
        });
    }
}

/// What an account is started with, its secrets not to be found in it.
fn digest(config: &serde_json::Value, siblings: &[String]) -> [u8; 32] {
    Sha256::digest(serde_json::json!([config, siblings]).to_string()).into()
}

/// A reason is one line for the operator, however long and odd the plugin's was.
fn bounded(health: Health) -> Health {
    match health {
        Health::Degraded { reason } => Health::Degraded { reason: words::reason(reason) },
        Health::Stopped { reason } => Health::Stopped { reason: words::reason(reason) },
        health => health,
    }
}

/// An error as it is kept: its reason, too, may hold what strangers said to the plugin.
fn bounded_error(error: PluginError) -> PluginError {
    let reason = words::reason(error.reason());
    match error {
        PluginError::Retry { after_ms, in_doubt, account, .. } => {
            PluginError::Retry { reason, after_ms, in_doubt, account }
        }
        PluginError::Refused { .. } => PluginError::Refused { reason },
        PluginError::Unsupported { .. } => PluginError::Unsupported { reason },
        PluginError::Broken { .. } => PluginError::Broken { reason },
        PluginError::Unknown => PluginError::Unknown,
    }
}

/// Cancels the call when no caller waits for it any more.
struct OpenCall<'a> {
    tier: &'a Tier,
    id: Option<u64>,
}

impl Drop for OpenCall<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.tier.cancel(id);
        }
    }
}

/// The highest level the log wants: 1 error to 5 trace.
pub(in crate::plugins) fn log_level() -> u32 {
    match tracing::level_filters::LevelFilter::current().into_level() {
        None => 0,
        Some(tracing::Level::ERROR) => 1,
        Some(tracing::Level::WARN) => 2,
        Some(tracing::Level::INFO) => 3,
        Some(tracing::Level::DEBUG) => 4,
        Some(tracing::Level::TRACE) => 5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_for_authors_says_how_long_they_have() {
        let page = include_str!("../../../../docs/write-a-channel.md");
        for words in [
            format!("Each `start`, `deliver` and `find` has {} s", ACCOUNT_DEADLINE.as_secs()),
            format!("`stop` has {} s", STOP_DEADLINE.as_secs()),
            format!(
                "those under way have had {} s to end",
                crate::plugins::live::accounts::DRAIN_PATIENCE.as_secs()
            ),
        ] {
            assert!(page.contains(&words), "{words}");
        }
    }

    #[test]
    fn what_a_plugin_says_went_wrong_is_one_bounded_line() {
        let why = || format!("a\n\u{1b}[2J{}", "x".repeat(100_000));
        let in_time = PluginError::Retry { reason: why(), after_ms: Some(7), in_doubt: true, account: true };
        for error in [
            in_time,
            PluginError::refused(why()),
            PluginError::unsupported(why()),
            PluginError::broken(why()),
        ] {
            let kept = bounded_error(error.clone());
            assert!(kept.reason().starts_with("a \u{fffd}[2Jxx"), "{kept:?}");
            assert_eq!(kept.reason().chars().count(), words::REASON_CHARS_MAX);
            assert_eq!(std::mem::discriminant(&kept), std::mem::discriminant(&error));
            let whole =
                matches!(kept, PluginError::Retry { after_ms: Some(7), in_doubt: true, account: true, .. });
            assert_eq!(whole, matches!(error, PluginError::Retry { .. }));
        }
        for health in [Health::Degraded { reason: why() }, Health::Stopped { reason: why() }] {
            let (Health::Degraded { reason } | Health::Stopped { reason }) = bounded(health) else {
                panic!("it is as it was")
            };
            assert_eq!(reason.chars().count(), words::REASON_CHARS_MAX);
            assert!(!reason.contains(words::is_harmful));
        }
    }
}
