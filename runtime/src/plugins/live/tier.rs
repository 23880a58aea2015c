//! Where a plugin runs. Callers see no difference: frames go in, answers come out.

use crate::plugins::process::{ProcessState, Supervisor};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use vestibule_seam::{Done, Frame, PluginRootRef};

/// Where one plugin runs.
pub enum Tier {
    /// Inside the runtime.
    InProcess(PluginRootRef),
    /// In a process of its own.
    Process(Arc<Supervisor>),
}

impl Tier {
    /// The word for it in the config and in lists.
    pub fn word(&self) -> &'static str {
        match self {
            Tier::InProcess(_) => "in-process",
            Tier::Process(_) => "process",
        }
    }

    /// Asks the plugin; the answer comes through `done`. Returns at once with the call's number.
    pub fn call(&self, frame: Frame, done: Done) -> u64 {
        match self {
            Tier::InProcess(root) => (root.call())(frame, done),
            Tier::Process(supervisor) => supervisor.call(frame, done),
        }
    }

    /// Opens the local socket that an account which is about to start is reached at. Inside the runtime the
    /// plugin does that itself.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open_socket(&self, path: &Path) -> std::io::Result<()> {
        match self {
            Tier::InProcess(_) => Ok(()),
            Tier::Process(supervisor) => supervisor.hand_over_socket(path),
        }
    }

    /// Withdraws a call.
    pub fn cancel(&self, id: u64) {
        match self {
            Tier::InProcess(root) => (root.cancel())(id),
            Tier::Process(supervisor) => supervisor.cancel(id),
        }
    }

    /// Ends the plugin's machinery within `patience`. Returns how many calls were left. Its code stays mapped
    /// in-process, where unloading is unsound; a process is gone afterwards.
    pub async fn shutdown(&self, patience: Duration) -> u64 {
        match self {
            Tier::InProcess(root) => {
                let (root, ms) = (*root, u64::try_from(patience.as_millis()).unwrap_or(u64::MAX));
                // It waits for the plugin's threads.
                let left = tokio::task::spawn_blocking(move || (root.shutdown())(ms)).await;
                left.map_or(0, u64::from)
            }
            Tier::Process(supervisor) => supervisor.shutdown().await,
        }
    }

    /// A call was answered, or was not in time.
    pub fn note(&self, in_time: bool) {
        if let Tier::Process(supervisor) = self {
            supervisor.note(in_time);
        }
    }

    /// How the plugin's process is, where it has one.
    pub fn process_state(&self) -> Option<ProcessState> {
        match self {
            Tier::InProcess(_) => None,
            Tier::Process(supervisor) => Some(supervisor.state()),
        }
    }
}
