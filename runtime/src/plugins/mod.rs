//! Plugins: where foreign code enters. Linked-in ones and files go through one path.
//!
//! Invariants:
//! - A file is read and checked before it is opened; what is opened is a private copy.
//! - Code that is to run in-process was opened before in a process that was thrown away.
//! - A plugin says what its config may hold before any account of it is started.
//! - A replacement takes over only when every account that was live is live in it.
//! - A file from the folder runs in a process of its own unless the config says otherwise.
//! - A plugin speaks for its own channel type only; the runtime stamps it.
//! - Nothing a plugin does stops the runtime from starting: a refusal is a sentence in the list.

mod file;
mod live;
mod load_error;
mod opened_file;
mod process;

pub use file::examine::{Report, Source, examine};
pub use file::folder::{reload, runs_as_written, watch};
pub use file::pins::Pin;
pub use file::trust::{trust, untrust};
pub use live::accounts::{AccountState, start_accounts, stop_all, takes_webhooks, without_plugin};
pub use live::hooks::{Said, Stop, Told, Words, bounded, read as read_verdict, review, screen};
pub use live::link::{CallError, Link, Origin};
pub use live::on_the_way::{Allowance, Loaded};
pub use live::pacing::Paced;
pub use live::registry::{Registry, slot};
pub use live::services::{Outcome, Services};
pub use live::tier::Tier;
pub use live::webhook_key::{WebhookKey, bytes, key as webhook_key};
pub use load_error::{LoadCode, LoadError};
pub use opened_file::OpenedFile;
pub use process::{ProcessState, host_main};

use crate::config::{Config, TierSetting};
use crate::error::{Error, Result};
use crate::home::Home;
use file::load;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use tokio::sync::watch;
use vestibule_plugin_api::Manifest;
use vestibule_plugin_api::bundled::Bundled;

/// What the plugins of one runtime share.
pub struct Plugins {
    /// The live plugins, and the refused files.
    pub registry: Registry,
    home: Home,
    config: Arc<Config>,
    /// The program that runs as `plugin-host`.
    program: PathBuf,
    runtime: Weak<dyn Services>,
    stop: watch::Receiver<bool>,
}

impl Plugins {
    /// No plugins yet. `program` is run as `program plugin-host`; when `stop` is true, nothing is started any more.
    pub fn new(
        home: Home,
        config: Arc<Config>,
        program: PathBuf,
        runtime: Weak<dyn Services>,
        stop: watch::Receiver<bool>,
    ) -> Plugins {
        Plugins { registry: Registry::default(), home, config, program, runtime, stop }
    }

    /// Every plugin that was there at the start is known: the work that waited for that goes on.
    ///
    /// # Errors
    /// The central database fails.
    pub async fn are_complete(&self) -> Result<()> {
        self.registry.complete.store(true, Ordering::Release);
        self.runtime()?.plugins_are_complete().await
    }

    fn runtime(&self) -> Result<Arc<dyn Services>> {
        self.runtime.upgrade().ok_or(Error::Stopping)
    }

    /// Whether the runtime stops, and the plugins with it.
    fn is_stopping(&self) -> bool {
        *self.stop.borrow()
    }

    async fn stopping(&self) {
        // An error means that the runtime itself is gone.
        let _ = self.stop.clone().wait_for(|stop| *stop).await;
    }
}

/// The linked-in plugins that the config does not leave out.
fn built_in(config: &Config) -> impl Iterator<Item = (&'static Bundled, Manifest)> {
    let read = |bundled: &'static Bundled| match Manifest::parse(bundled.manifest) {
        Ok(manifest) => Some((bundled, manifest)),
        Err(why) => {
            tracing::error!(%why, "a linked-in plugin has no readable manifest");
            None
        }
    };
    let all = vestibule_plugin_api::bundled::bundled().filter_map(read);
    all.filter(|(_, manifest)| config.plugin(&manifest.name).built_in)
}

/// Registers and starts every linked-in plugin that `wanted` names.
pub fn start_bundled(plugins: &Arc<Plugins>, wanted: impl Fn(&Manifest) -> bool) {
    for (bundled, manifest) in built_in(&plugins.config) {
        if !wanted(&manifest) {
            continue;
        }
        let name = manifest.name.clone();
        if plugins.config.plugin(&name).tier == Some(TierSetting::Process) {
            tracing::warn!(plugin = name, "it is built in, so it runs in-process whatever `tier` says");
        }
        let added = load::check(bundled.header)
            .and_then(|root| Link::in_process(plugins, &plugins.config, manifest, Origin::Bundled, root))
            .and_then(|link| plugins.registry.add(link));
        match added {
            Ok(link) => start_accounts(plugins, &link),
            Err(why) => tracing::error!(plugin = name, %why, "a linked-in plugin was not loaded"),
        }
    }
}
