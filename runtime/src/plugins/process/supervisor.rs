//! The place of a plugin's process: which process runs there now, and which comes next when it ends.

use super::child::{Life, StartError};
use super::conn::Conn;
use super::crashes::{Next, after_end};
use super::health;
use super::spec::Spec;
use crate::lock::locked;
use crate::plugins::live::accounts::{self, AccountState, start_accounts};
use crate::plugins::live::link::{Link, SHUTDOWN_TIME};
use crate::plugins::live::port::Port;
use crate::plugins::{LoadError, Plugins};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, oneshot};
use vestibule_plugin_api::{PluginError, wire};
use vestibule_seam::{Done, Frame, status};

/// Whether a plugin's process runs, and why not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProcessState {
    /// It runs.
    Running,
    /// It ended, for this reason, and is started again in a moment.
    Restarting(String),
    /// It ended too often, the last time for this reason, and stays off.
    Quarantined(String),
}

/// What ends a supervisor: where to say how many calls were left.
type Farewell = oneshot::Sender<u64>;

/// The place of a plugin's process, from the first one to the plugin's end.
pub struct Supervisor {
    spec: Spec,
    deadline: Duration,
    conn: Mutex<Option<Arc<Conn>>>,
    state: Mutex<ProcessState>,
    late: Notify,
    late_in_a_row: AtomicU32,
    leave: Mutex<Option<oneshot::Sender<Farewell>>>,
    asked_to_leave: Mutex<Option<oneshot::Receiver<Farewell>>>,
}

impl Supervisor {
    /// A supervisor without a process. A plugin that answers nothing for `deadline` is ended.
    pub fn new(spec: Spec, deadline: Duration) -> Supervisor {
        let (leave, asked_to_leave) = oneshot::channel();
        Supervisor {
            spec,
            deadline,
            conn: Mutex::default(),
            state: Mutex::new(ProcessState::Running),
            late: Notify::new(),
            late_in_a_row: AtomicU32::new(0),
            leave: Mutex::new(Some(leave)),
            asked_to_leave: Mutex::new(Some(asked_to_leave)),
        }
    }

    /// What its process is told when it starts.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// How long the plugin may answer nothing.
    pub fn deadline(&self) -> Duration {
        self.deadline
    }

    /// Whether its process runs now, and why not.
    pub fn state(&self) -> ProcessState {
        locked(&self.state).clone()
    }

    /// Asks the plugin, if its process is there.
    pub fn call(&self, frame: Frame, done: Done) -> u64 {
        let conn = locked(&self.conn).clone();
        match conn {
            Some(conn) => conn.call(frame, done),
            None => {
                let why = PluginError::retry("the plugin's process is not running");
                done.complete(status::ERROR, wire::frame(&why));
                0
            }
        }
    }

    /// Opens a local socket for the plugin, if its process is there.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn hand_over_socket(&self, path: &Path) -> std::io::Result<()> {
        let conn = locked(&self.conn).clone();
        conn.map_or(Ok(()), |conn| conn.hand_over_socket(path))
    }

    /// Withdraws a call.
    pub fn cancel(&self, id: u64) {
        let conn = locked(&self.conn).clone();
        if let Some(conn) = conn {
            conn.cancel(id);
        }
    }

    /// A call was answered, or was not in time.
    pub fn note(&self, in_time: bool) {
        if in_time {
            self.late_in_a_row.store(0, Ordering::Relaxed);
        } else {
            self.late_in_a_row.fetch_add(1, Ordering::Relaxed);
            self.late.notify_one();
        }
    }

    /// Returns when a call was late.
    pub async fn late(&self) {
        self.late.notified().await;
    }

    /// How many calls were late since the last that was not.
    pub fn late_in_a_row(&self) -> u32 {
        self.late_in_a_row.load(Ordering::Relaxed)
    }

    /// Ends the plugin and its process. Returns how many calls were left.
    pub async fn shutdown(&self) -> u64 {
        let leave = locked(&self.leave).take();
        let (left_tx, left) = oneshot::channel();
        let Some(leave) = leave else { return 0 };
        if leave.send(left_tx).is_err() {
            return 0;
        }
        left.await.unwrap_or(0)
    }

    fn set(&self, conn: Option<Arc<Conn>>, state: ProcessState) {
        self.late_in_a_row.store(0, Ordering::Relaxed);
        *locked(&self.conn) = conn;
        *locked(&self.state) = state;
    }
}

/// Starts the process of a link for the first time, and from then on watches over it.
///
/// # Errors
/// The sentence after "Plugin FILE was not loaded:". Nothing is tried again.
pub async fn supervise(
    plugins: &Arc<Plugins>,
    link: &Arc<Link>,
    supervisor: &Arc<Supervisor>,
) -> Result<(), LoadError> {
    let life = start(plugins, link, supervisor).await?;
    supervisor.set(Some(life.conn.clone()), ProcessState::Running);
    tokio::spawn(keep(plugins.clone(), link.clone(), supervisor.clone(), life));
    Ok(())
}

async fn start(
    plugins: &Arc<Plugins>,
    link: &Arc<Link>,
    supervisor: &Supervisor,
) -> Result<Life, StartError> {
    Life::start(&plugins.program, &supervisor.spec, Arc::new(Port::new(plugins, link))).await
}

/// One process after another, until the plugin is taken out.
async fn keep(plugins: Arc<Plugins>, link: Arc<Link>, supervisor: Arc<Supervisor>, first: Life) {
    let Some(mut leave) = locked(&supervisor.asked_to_leave).take() else { return };
    let (born, mut ends, mut now) = (Instant::now(), Vec::new(), Ok(first));
    let plugin = &link.manifest.name;
    loop {
        let (life, why) = match now {
            Err(why) => (None, why),
            Ok(mut life) => {
                let (conn, process) = (life.conn.clone(), life.process());
                let why = tokio::select! {
                    why = life.ended() => why,
                    why = health::watch(plugin, &supervisor, &conn, &process) => why,
                    farewell = &mut leave => return farewell_to(&supervisor, Some(life), farewell.ok()).await,
                };
                (Some(life), why)
            }
        };
        ends.push(born.elapsed());
        let next = after_end(&mut ends);
        // First no new call is let in, then those that wait hear of it.
        match next {
            Next::Again(wait) => {
                supervisor.set(None, ProcessState::Restarting(why.clone()));
                accounts::pause(&link, AccountState::Waiting(format!("the plugin's process ended: {why}")));
                let ms = wait.as_millis();
                tracing::warn!(plugin, %why, wait_ms = ms, "the plugin's process ended; it is started again");
            }
            Next::Quarantine => {
                let remedy = format!("once that is mended, run `vestibule plugin reload {plugin}`");
                let reason = format!("quarantined, its process ended too often: {why}; {remedy}");
                supervisor.set(None, ProcessState::Quarantined(reason.clone()));
                accounts::pause(&link, AccountState::Broken(reason));
                tracing::error!(plugin, %why, "the plugin is quarantined, its process ended too often; {remedy}");
            }
        }
        drop(life);
        let farewell = match next {
            Next::Again(wait) => tokio::time::timeout(wait, &mut leave).await.ok(),
            Next::Quarantine => Some((&mut leave).await),
        };
        if let Some(farewell) = farewell {
            return farewell_to(&supervisor, None, farewell.ok()).await;
        }
        now = start(&plugins, &link, &supervisor).await.map_err(|error| error.to_string());
        if let Ok(life) = &now {
            supervisor.set(Some(life.conn.clone()), ProcessState::Running);
            tracing::info!(plugin, "the plugin's process runs again");
            start_accounts(&plugins, &link);
        }
    }
}

/// The plugin is taken out: its process ends, and nothing of it stays.
async fn farewell_to(supervisor: &Supervisor, life: Option<Life>, farewell: Option<Farewell>) {
    let left = match life {
        Some(mut life) => life.shutdown(SHUTDOWN_TIME).await,
        None => 0,
    };
    supervisor.set(None, ProcessState::Restarting("it was taken out".to_owned()));
    let _ = std::fs::remove_file(&supervisor.spec.file);
    if let Some(farewell) = farewell {
        let _ = farewell.send(left);
    }
}
