//! A loaded plugin without the runtime around it: its calls with their answers, its events counted, its log bounded.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::oneshot;
use vestibule_plugin_api::{Accepted, wire};
use vestibule_runtime::config::TierSetting;
use vestibule_runtime::plugins::{LoadError, OpenedFile};
use vestibule_runtime::{Config, Home, words};
use vestibule_seam::{Done, Frame, RuntimeCalls, status};

/// How long an ending plugin is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// How many lines of its log are heard, and how much of each, in characters.
const LINES_MAX: u64 = 10_000;
const LINE_CHARS_MAX: usize = 10_000;

/// A plugin that takes calls.
pub struct Harness {
    /// The plugin itself.
    pub file: OpenedFile,
    events: Arc<AtomicU64>,
}

/// A call under way.
pub struct Begun {
    id: u64,
    answer: oneshot::Receiver<(u32, Frame)>,
}

impl Begun {
    /// The call's status and frame, once they are there.
    pub async fn answer(mut self) -> (u32, Frame) {
        self.wait().await
    }

    /// The same of a call that may still be withdrawn.
    pub async fn wait(&mut self) -> (u32, Frame) {
        // A `Done` fires whatever happens to it.
        (&mut self.answer).await.unwrap_or((status::CANCELLED, Frame::default()))
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
        let events = Arc::new(AtomicU64::new(0));
        let calls = Counting { events: events.clone(), calls, lines: AtomicU64::new(0) };
        let file = OpenedFile::open(program, file, copies, tier, calls, log_level).await?;
        Ok(Harness { file, events })
    }

    /// Opens the channel that a runtime with this home and config would run, for a runtime of the caller's, without a log.
    ///
    /// # Errors
    /// See [`OpenedFile::of_channel`].
    pub async fn of_channel(
        home: &Home,
        config: &Config,
        program: &Path,
        channel_type: &str,
        calls: Arc<dyn RuntimeCalls>,
    ) -> Result<Harness, String> {
        let events = Arc::new(AtomicU64::new(0));
        let calls = Counting { events: events.clone(), calls, lines: AtomicU64::new(0) };
        let file = OpenedFile::of_channel(home, config, program, channel_type, calls).await?;
        Ok(Harness { file, events })
    }

    /// Begins a call.
    pub fn begin(&self, frame: Frame) -> Begun {
        let (answered, answer) = oneshot::channel();
        let id = self.file.call(frame, Done::new(move |code, frame| drop(answered.send((code, frame)))));
        Begun { id, answer }
    }

    /// Withdraws a call, as the runtime does with one that is late.
    pub fn cancel(&self, begun: Begun) {
        self.file.cancel(begun.id);
    }

    /// One call and its answer, as a link makes it.
    pub async fn call(&self, frame: Frame) -> (u32, Frame) {
        self.begin(frame).answer().await
    }

    /// How many events came in since it was opened.
    pub fn events(&self) -> u64 {
        self.events.load(Ordering::Relaxed)
    }

    /// Ends the plugin. Returns how many calls were left.
    pub async fn close(self) -> u64 {
        self.file.shutdown(PATIENCE).await
    }
}

/// The tier's name, as the config and the command line spell it.
pub fn tier_word(tier: TierSetting) -> &'static str {
    match tier {
        TierSetting::InProcess => "in-process",
        TierSetting::Process => "process",
    }
}

/// The memory of a process in KiB; of this one, if it is `self`.
pub fn memory_kib(process: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
