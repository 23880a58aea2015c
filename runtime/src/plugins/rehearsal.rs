//! Opening a file in a process that is thrown away: whatever it does there, it does to itself.

use super::process::{Life, Spec, StartError};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use vestibule_seam::{Done, Frame, RuntimeCalls, status};

/// How long an ending plugin is waited for.
const PATIENCE: Duration = Duration::from_secs(2);
/// How many of its lines are kept.
const LINES_MAX: usize = 20;

/// Opens a private copy, starts the plugin's machinery and ends it again. Answers what it logged.
///
/// # Errors
/// The sentence after "Plugin FILE was not loaded:".
pub async fn rehearse(program: &Path, spec: &Spec) -> Result<Vec<String>, String> {
    let listener = Arc::new(Listener::default());
    let mut life = Life::start(program, spec, listener.clone()).await.map_err(StartError::sentence)?;
    life.shutdown(PATIENCE).await;
    let mut lines = listener.0.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(std::mem::take(&mut *lines))
}

/// Listens, and takes nothing.
#[derive(Default)]
struct Listener(Mutex<Vec<String>>);

impl RuntimeCalls for Listener {
    fn call(&self, _: Frame, done: Done) -> u64 {
        done.complete(status::UNSUPPORTED, vestibule_plugin_api::wire::frame(&"this is a rehearsal"));
        0
    }

    fn cancel(&self, _: u64) {}

    fn log(&self, _: u32, line: &str) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() < LINES_MAX {
            lines.push(line.to_owned());
        }
    }
}
