//! One plugin file in one tier, without a runtime: what `vestibule bench plugin` measures and `vestibule
//! plugin conform` examines.

use crate::config::TierSetting;
use crate::plugins::file::describe;
use crate::plugins::file::load;
use crate::plugins::process::{Life, Spec};
use crate::plugins::{LoadCode, LoadError};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Mutex, oneshot};
use vestibule_plugin_api::{Accepted, Manifest, Schema, wire};
use vestibule_seam::{Done, Frame, PluginRootRef, RuntimeCalls, RuntimeSide, status};
use vestibule_session::words;

/// How long an ending plugin is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// How many lines of its log are heard, and how much of each, in characters.
const LINES_MAX: u64 = 10_000;
const LINE_CHARS_MAX: usize = 10_000;

/// A plugin that takes calls.
pub struct Harness {
    /// Its name, its kind, and what it can do.
    pub manifest: Manifest,
    backend: Backend,
    events: Arc<AtomicU64>,
    dead: Arc<AtomicBool>,
}

enum Backend {
    InProcess(PluginRootRef),
    Process { conn: Arc<crate::plugins::process::Conn>, pid: Option<u32>, life: Box<Mutex<Life>> },
}

/// A call under way.
pub struct Begun {
    id: u64,
    answer: oneshot::Receiver<(u32, Frame)>,
}

impl Begun {
    /// The call's status and frame, once they are there.
    pub async fn answer(self) -> (u32, Frame) {
        // A `Done` fires whatever happens to it.
        self.answer.await.unwrap_or((status::CANCELLED, Frame::default()))
    }
}

struct Counting {
    events: Arc<AtomicU64>,
    calls: Arc<dyn RuntimeCalls>,
    lines: AtomicU64,
}

impl RuntimeCalls for Counting {
    fn call(&self, frame: Frame, done: Done) -> u64 {
        self.events.fetch_add(1, Ordering::Relaxed);
        self.calls.call(frame, done)
    }

    fn cancel(&self, id: u64) {
        self.calls.cancel(id);
    }

    fn log(&self, level: u32, line: &str) {
        if self.lines.fetch_add(1, Ordering::Relaxed) < LINES_MAX {
            self.calls.log(level, &words::line(line, LINE_CHARS_MAX));
        }
    }
}

/// A runtime that takes every event at once.
struct Taker;

impl RuntimeCalls for Taker {
    fn call(&self, _: Frame, done: Done) -> u64 {
        done.complete(status::OK, wire::frame(&Accepted::Committed));
        0
    }

    fn cancel(&self, _: u64) {}

    fn log(&self, _: u32, _: &str) {}
}

impl Harness {
    /// Opens a plugin file for a runtime that takes every event at once and keeps no log. `program` is run as
    /// `program plugin-host`; the private copy is written to `copies`.
    ///
    /// # Errors
    /// It cannot be opened.
    pub async fn open(
        program: &Path,
        file: &Path,
        copies: &Path,
        tier: TierSetting,
    ) -> Result<Harness, LoadError> {
        Harness::open_before(program, file, copies, tier, Arc::new(Taker), 0).await
    }

    /// The same for a runtime of the caller's, which gets the log up to `log_level` (0 nothing, 5 everything).
    ///
    /// # Errors
    /// It cannot be opened.
    pub async fn open_before(
        program: &Path,
        file: &Path,
        copies: &Path,
        tier: TierSetting,
        calls: Arc<dyn RuntimeCalls>,
        log_level: u32,
    ) -> Result<Harness, LoadError> {
        let checked = load::read(file)?;
        let copy = load::copy(&checked, copies)?;
        let (manifest, entry) = (checked.inspected.manifest.clone(), checked.inspected.entry.clone());
        let events = Arc::new(AtomicU64::new(0));
        let dead = Arc::new(AtomicBool::new(false));
        let calls = Counting { events: events.clone(), calls, lines: AtomicU64::new(0) };
        let backend = match tier {
            TierSetting::InProcess => {
                load::fits_in_process(&checked)?;
                let root = load::open_copy(&copy, &entry)?;
                match (root.init())(RuntimeSide::new(calls), log_level) {
                    status::OK => Backend::InProcess(root),
                    code => {
                        let words = format!("its start failed with status {code}.");
                        return Err(LoadError::new(LoadCode::Init, words));
                    }
                }
            }
            TierSetting::Process => {
                let spec =
                    Spec { file: copy, entry, log_level, memory_bytes: 1024 * 1024 * 1024, open_files: 1024 };
                let life = Life::start(program, &spec, Arc::new(calls)).await?;
                let (conn, pid) = (life.conn.clone(), life.pid());
                let (watched, died) = (conn.clone(), dead.clone());
                tokio::spawn(async move {
                    watched.broken().await;
                    died.store(true, Ordering::Release);
                    watched.close(); // the plugin answers no more
                });
                Backend::Process { conn, pid, life: Box::new(Mutex::new(life)) }
            }
        };
        Ok(Harness { manifest, backend, events, dead })
    }

    /// Opens the local socket of an account, as the runtime does before it starts one.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open_socket(&self, path: &Path) -> std::io::Result<()> {
        match &self.backend {
            Backend::InProcess(_) => Ok(()),
            Backend::Process { conn, .. } => conn.hand_over_socket(path),
        }
    }

    /// Begins a call.
    pub fn begin(&self, frame: Frame) -> Begun {
        let (answered, answer) = oneshot::channel();
        let done = Done::new(move |code, frame| drop(answered.send((code, frame))));
        let id = match &self.backend {
            Backend::InProcess(root) => (root.call())(frame, done),
            Backend::Process { conn, .. } => conn.call(frame, done),
        };
        Begun { id, answer }
    }

    /// Withdraws a call, as the runtime does with one that is late.
    pub fn cancel(&self, begun: Begun) {
        match &self.backend {
            Backend::InProcess(root) => (root.cancel())(begun.id),
            Backend::Process { conn, .. } => conn.cancel(begun.id),
        }
    }

    /// One call and its answer, as a link makes it.
    pub async fn call(&self, frame: Frame) -> (u32, Frame) {
        self.begin(frame).answer().await
    }

    /// The schema of its config, if the plugin describes it.
    ///
    /// # Errors
    /// It does not describe it.
    pub async fn describe(&self) -> Result<Option<Schema>, LoadError> {
        match tokio::time::timeout(describe::PATIENCE, self.call(describe::question())).await {
            Ok((code, frame)) => describe::read(code, &frame, &self.manifest),
            Err(_) => Err(describe::late()),
        }
    }

    /// How many events came in since it was opened.
    pub fn events(&self) -> u64 {
        self.events.load(Ordering::Relaxed)
    }

    /// The plugin's process, where it has one.
    pub fn pid(&self) -> Option<u32> {
        match &self.backend {
            Backend::InProcess(_) => None,
            Backend::Process { pid, .. } => *pid,
        }
    }

    /// Whether its process is gone, or must go.
    pub fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Acquire)
    }

    /// Why its process has ended, if it has.
    pub async fn ended(&self) -> Option<String> {
        let Backend::Process { life, .. } = &self.backend else { return None };
        let mut life = life.lock().await;
        // A call may end a moment before the process is gone.
        tokio::time::timeout(Duration::from_millis(200), life.ended()).await.ok()
    }

    /// Ends its process at once, as a crash would; false where it has none.
    pub async fn kill(&self) -> bool {
        let Backend::Process { life, .. } = &self.backend else { return false };
        life.lock().await.kill().await;
        true
    }

    /// Ends the plugin. Returns how many calls were left.
    pub async fn close(self) -> u64 {
        match self.backend {
            Backend::InProcess(root) => {
                let ms = u64::try_from(PATIENCE.as_millis()).unwrap_or(0);
                tokio::task::spawn_blocking(move || (root.shutdown())(ms)).await.map_or(0, u64::from)
            }
            Backend::Process { life, .. } => life.into_inner().shutdown(PATIENCE).await,
        }
    }
}
