//! What the loops share: the doors, and the bells of the lanes.

use crate::config::Config;
use crate::db::Central;
use crate::home::Home;
use crate::lanes::Lanes;
use crate::ledger::Ledger;
use crate::plugins::Registry;
use crate::wake;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use tokio::sync::watch;
use vestibule_plugin_api::Address;

/// One installation, while it runs.
pub struct House {
    /// Its folder.
    pub home: Home,
    /// Its config.
    pub config: Config,
    /// The central database.
    pub central: Central,
    /// What is known to be in the sessions' files.
    pub ledger: Ledger,
    /// The live plugins.
    pub registry: Registry,
    /// One lane for each session with something to do.
    pub sessions: Lanes<String>,
    /// One lane for each address with something to deliver.
    pub deliveries: Lanes<Address>,
    /// The program that runs as `keeper` and as `runner`.
    pub program: PathBuf,
    /// The listener's address, once it is open.
    pub listening: OnceLock<std::net::SocketAddr>,
    pub(crate) stop: watch::Sender<bool>,
}

impl House {
    /// Tells a session's lane that there may be something to do.
    pub fn ring(self: &Arc<Self>, session_id: String) {
        let house = self.clone();
        self.sessions.ring(session_id.clone(), |bell| wake::serve(house, session_id, bell));
    }

    /// Returns when the house stops.
    pub async fn stopping(&self) {
        // An error means that the house itself is gone.
        let _ = self.stop.subscribe().wait_for(|stop| *stop).await;
    }

    /// Whether the house stops.
    pub fn is_stopping(&self) -> bool {
        *self.stop.borrow()
    }

    /// Where a platform posts an account's webhooks.
    pub fn webhook_url(&self, channel: &str, account: &str) -> Option<String> {
        let base = match (&self.config.public_url, self.listening.get()) {
            (Some(url), _) => url.clone(),
            (None, Some(address)) => format!("http://{address}"),
            (None, None) => return None,
        };
        Some(format!("{base}/webhook/{channel}/{account}"))
    }
}
