//! What the loops share: the database, the plugins, the launcher, and the wakers of the lanes.

use crate::attachments::Store;
use crate::config::Config;
use crate::db::{Central, ReadTxn};
use crate::destinations;
use crate::error::Result;
use crate::home::Home;
use crate::id::SessionId;
use crate::lanes::{Lanes, Waker};
use crate::launcher::Launcher;
use crate::ledger::{Ledger, Looked};
use crate::listener::Listener;
use crate::lock::locked;
use crate::observer::Observer;
use crate::places::Places;
use crate::plugins::Plugins;
use crate::sessions;
use std::collections::{BTreeMap, HashSet};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Instant;
use tokio::sync::watch;
use vestibule_plugin_api::Address;
use vestibule_session::words;

/// How much later [`Context::wake_later`] wakes.
const LATER: std::time::Duration = std::time::Duration::from_millis(50);

/// What holds a session up for less than this is not told: a file is locked all the time.
const HELD_UP_UNTOLD: std::time::Duration = std::time::Duration::from_secs(2);

/// What of a session's work is held up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum HeldUp {
    /// Its `inbound.db` cannot be brought up to date.
    File,
    /// No runner can be started.
    Start,
    /// Its runner, because others have all places for runners.
    Place,
    /// What its agent writes, because it has as many replies pending as a session may.
    Room,
}

/// What a session's lane does from its opening to its end. The code that starts the runtime sets it, so that nothing
/// here names a loop.
pub type ServeSession =
    fn(Arc<Context>, SessionId, Waker<SessionId>) -> Pin<Box<dyn Future<Output = ()> + Send>>;

/// Opens or wakes the lane of an address. The code that starts the runtime sets it, as with [`ServeSession`].
pub type DeliverTo = fn(&Arc<Context>, Address);

/// One installation, while it runs.
pub struct Context {
    /// Its folder.
    pub home: Home,
    /// Its config, as it was when the runtime started; a plugin loaded later has the config of that moment.
    pub config: Arc<Config>,
    /// The central database.
    pub central: Central,
    /// The bytes of files.
    pub attachments: Store,
    /// What is known to be in the sessions' files.
    pub ledger: Ledger,
    /// The plugins.
    pub plugins: Arc<Plugins>,
    /// One lane for each session with something to do.
    pub sessions: Lanes<SessionId>,
    /// One lane for each address with something to deliver.
    pub deliveries: Lanes<Address>,
    /// Starts keepers, and knows the sandbox.
    pub launcher: Launcher,
    /// Where webhooks are taken, once an account wants them.
    pub listener: Listener,
    /// The places for runners.
    pub places: Places,
    /// Is told what passes between the runtime and its channels, where an author watches.
    pub observer: OnceLock<Arc<dyn Observer>>,
    /// Held while a foreign session folder is taken over.
    pub adopting: tokio::sync::Mutex<()>,
    /// Of sessions that ran since the start: which of their agent's folders is half full or more.
    pub filling: Mutex<BTreeMap<SessionId, String>>,
    /// Of sessions that something holds up for which no message is to blame: what, and since when.
    pub held_up: Mutex<BTreeMap<(SessionId, HeldUp), (String, Instant)>>,
    /// What a session's lane does.
    pub(crate) serve_session: ServeSession,
    /// What makes an address's lane look at what waits for it.
    pub(crate) deliver_to: DeliverTo,
    /// Changes when a module has scheduled something: its ticks look when the next is due.
    pub scheduled: watch::Sender<()>,
    pub(crate) restarts: Mutex<HashSet<SessionId>>,
    pub(crate) later: Mutex<HashSet<SessionId>>,
    pub(crate) stop: watch::Sender<bool>,
}

impl Context {
    /// Tells a session's lane that there may be something to do.
    pub fn wake(self: &Arc<Self>, session_id: SessionId) {
        if session_id.module().is_some() {
            return; // a module's own words: no session follows them
        }
        let context = self.clone();
        let serve = self.serve_session;
        self.sessions.wake(session_id.clone(), |waker| serve(context, session_id, waker));
    }

    /// Tells the lane of an address that there may be something to deliver.
    pub fn deliver(self: &Arc<Self>, address: Address) {
        (self.deliver_to)(self, address);
    }

    /// Brings a session's `inbound.db` up to date; see [`Ledger::project`].
    ///
    /// # Errors
    /// The file is locked or cannot be written.
    pub fn project(&self, session_id: &SessionId) -> Result<Looked> {
        let routes = |db: &ReadTxn, id: &SessionId| {
            let agent = sessions::by_id(db, id)?.map(|session| session.agent_group_id).unwrap_or_default();
            Ok((destinations::shown(db, &agent)?, sessions::routing(db, id)?))
        };
        self.ledger.project(&self.central, &self.home, &self.attachments, session_id, &routes)
    }

    /// Tells a session's lane that the record of a delivery changed. No runner waits for it, so it
    /// comes a little later, with whatever else came meanwhile.
    pub fn wake_later(self: &Arc<Self>, session_id: SessionId) {
        if !self.waiting().insert(session_id.clone()) {
            return;
        }
        let context = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(LATER).await;
            // Under the lock: a runtime that stops wakes the sessions that still wait, and then counts the lanes.
            let mut waiting = context.waiting();
            if !context.is_stopping() && waiting.remove(&session_id) {
                context.wake(session_id);
            }
        });
    }

    /// Wakes now the lanes that [`Context::wake_later`] would wake later: the runtime stops.
    pub fn wake_all_waiting(self: &Arc<Self>) {
        let waiting = std::mem::take(&mut *self.waiting());
        waiting.into_iter().for_each(|session_id| self.wake(session_id));
    }

    /// Ends a session's runner once; the next message starts one with the settings of now.
    pub fn restart_runner(self: &Arc<Self>, session_id: SessionId) {
        self.restarting().insert(session_id.clone());
        self.wake(session_id);
    }

    /// Makes an agent group's own folder. When that fails, the first run of the agent tries it again, and reports it.
    pub fn make_agent_folder(&self, folder: &str) {
        if let Err(error) = self.home.make_agent_folder(folder) {
            tracing::warn!(%error, "an agent has no folder yet");
        }
    }

    /// Notes which of the agent's folders of a session is half full or more.
    pub fn note_filling(&self, session_id: &SessionId, what: Option<String>) {
        let mut filling = locked(&self.filling);
        match what {
            Some(what) => drop(filling.insert(session_id.clone(), what)),
            None => drop(filling.remove(session_id)),
        }
    }

    /// Notes that something holds a session up, or that it does no longer.
    pub fn note_held_up(&self, session_id: &SessionId, what: HeldUp, why: Option<&str>) {
        let mut held_up = locked(&self.held_up);
        let key = (session_id.clone(), what);
        match why {
            Some(why) => {
                held_up.entry(key).or_insert_with(|| (String::new(), Instant::now())).0 = words::reason(why)
            }
            None => drop(held_up.remove(&key)),
        }
    }

    /// The sessions that something has held up for a while, and what; of one session, if it is named.
    pub fn held_up(&self, only: Option<&SessionId>) -> Vec<(SessionId, String)> {
        let held_up = locked(&self.held_up);
        let lasts = held_up.iter().filter(|(_, (_, since))| since.elapsed() >= HELD_UP_UNTOLD);
        let wanted = lasts.filter(|((id, _), _)| only.is_none_or(|only| only == id));
        wanted.map(|((id, _), (why, _))| (id.clone(), why.clone())).collect()
    }

    /// Whether the session's runner is to be ended, asked by its lane.
    pub fn take_restart(&self, session_id: &SessionId) -> bool {
        self.restarting().remove(session_id)
    }

    fn restarting(&self) -> MutexGuard<'_, HashSet<SessionId>> {
        locked(&self.restarts)
    }

    fn waiting(&self) -> MutexGuard<'_, HashSet<SessionId>> {
        locked(&self.later)
    }

    /// Returns when the runtime stops.
    pub async fn stopping(&self) {
        // An error means that the runtime itself is gone.
        let _ = self.stop.subscribe().wait_for(|stop| *stop).await;
    }

    /// Whether the runtime stops.
    pub fn is_stopping(&self) -> bool {
        *self.stop.borrow()
    }

    /// Where a platform posts an account's webhooks.
    pub fn webhook_url(&self, channel: &str, account: &str) -> Option<String> {
        let listens = self.listener.address();
        let is_known = listens.is_some() || self.config.public_url.is_some();
        is_known.then(|| self.config.webhook_url(listens.unwrap_or(self.config.listen), channel, account))
    }
}
