//! One plugin file in one tier, without a house: what `vestibule bench plugin` measures.

use super::load;
use super::process::{Life, Spec};
use crate::config::TierWanted;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use vestibule_plugin_api::{Accepted, wire};
use vestibule_seam::{Done, Frame, PluginRootRef, RuntimeCalls, RuntimeSide, status};

/// How long an ending plugin is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// A plugin that takes calls.
pub struct Rig {
    seat: Seat,
    events: Arc<AtomicU64>,
}

enum Seat {
    InProcess(PluginRootRef),
    Process(Box<Life>),
}

/// A runtime that takes every event at once.
struct Taker(Arc<AtomicU64>);

impl RuntimeCalls for Taker {
    fn call(&self, _: Frame, done: Done) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed);
        done.complete(status::OK, wire::frame(&Accepted::Committed));
        0
    }

    fn cancel(&self, _: u64) {}

    fn log(&self, _: u32, _: &str) {}
}

impl Rig {
    /// Opens a plugin file. `program` is run as `program plugin-host`; the private copy is written to
    /// `copies`.
    ///
    /// # Errors
    /// Why it cannot be opened, in a sentence.
    pub async fn open(program: &Path, file: &Path, copies: &Path, tier: TierWanted) -> Result<Rig, String> {
        let checked = load::read(file)?;
        let copy = load::copy(&checked, copies)?;
        let entry = checked.inspected.entry.clone();
        let events = Arc::new(AtomicU64::new(0));
        let taker = Taker(events.clone());
        let seat = match tier {
            TierWanted::InProcess => {
                load::fits_in_process(&checked)?;
                let root = load::open_copy(&copy, &entry)?;
                match (root.init())(RuntimeSide::new(taker), 0) {
                    status::OK => Seat::InProcess(root),
                    code => return Err(format!("its start failed with status {code}")),
                }
            }
            TierWanted::Process => {
                let spec = Spec {
                    file: copy,
                    entry,
                    log_level: 0,
                    memory_bytes: 1024 * 1024 * 1024,
                    open_files: 1024,
                };
                let life = Life::start(program, &spec, Arc::new(taker)).await;
                Seat::Process(Box::new(life.map_err(super::process::StartError::into_words)?))
            }
        };
        Ok(Rig { seat, events })
    }

    /// One call and its answer, as a link makes it.
    pub async fn call(&self, frame: Frame) -> (u32, Frame) {
        let (answered, answer) = tokio::sync::oneshot::channel();
        let done = Done::new(move |code, frame| drop(answered.send((code, frame))));
        match &self.seat {
            Seat::InProcess(root) => (root.call())(frame, done),
            Seat::Process(life) => life.conn.call(frame, done),
        };
        answer.await.unwrap_or_default()
    }

    /// How many events came in.
    pub fn events(&self) -> u64 {
        self.events.load(Ordering::Relaxed)
    }

    /// The plugin's process, where it has one.
    pub fn pid(&self) -> Option<u32> {
        match &self.seat {
            Seat::InProcess(_) => None,
            Seat::Process(life) => life.pid(),
        }
    }

    /// Ends it.
    pub async fn close(self) {
        match self.seat {
            Seat::InProcess(root) => {
                let ms = u64::try_from(PATIENCE.as_millis()).unwrap_or(0);
                let _ = tokio::task::spawn_blocking(move || (root.shutdown())(ms)).await;
            }
            Seat::Process(mut life) => {
                life.shutdown(PATIENCE).await;
            }
        }
    }
}
