//! Opening a file in a process that is thrown away: whatever the plugin does there, it does to that process.

use super::describe;
use crate::lock::locked;
use crate::plugins::LoadError;
use crate::plugins::process::{Life, Spec};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use vestibule_plugin_api::{Manifest, Schema};
use vestibule_seam::{Done, Frame, RuntimeCalls, status};
use vestibule_session::words;

/// How long an ending plugin is waited for.
const PATIENCE: Duration = Duration::from_secs(2);
/// How many of its lines are kept.
const LINES_MAX: usize = 20;

/// What a plugin did while it was opened.
pub struct Rehearsed {
    /// The schema of its config, if the plugin describes it.
    pub schema: Option<Schema>,
    /// The lines that it logged.
    pub log: Vec<String>,
}

/// Opens a private copy, starts the plugin's machinery, asks it to describe itself, and ends it again.
///
/// # Errors
/// It was not opened, or did not describe itself.
pub async fn rehearse(program: &Path, spec: &Spec, manifest: &Manifest) -> Result<Rehearsed, LoadError> {
    let listener = Arc::new(Listener::default());
    let mut life = Life::start(program, spec, listener.clone()).await?;
    let (answered, answer) = tokio::sync::oneshot::channel();
    life.conn.call(describe::question(), Done::new(move |code, frame| drop(answered.send((code, frame)))));
    let described = tokio::select! {
        answer = tokio::time::timeout(describe::PATIENCE, answer) => match answer {
            Ok(answer) => {
                let (code, frame) = answer.unwrap_or((status::CANCELLED, Frame::default()));
                describe::read(code, &frame, manifest).map(|description| description.config)
            }
            Err(_) => Err(describe::late()),
        },
        why = life.ended() => Err(describe::ended(&why)),
    };
    life.shutdown(PATIENCE).await;
    let mut lines = locked(&listener.0);
    Ok(Rehearsed { schema: described?, log: std::mem::take(&mut *lines) })
}

/// Keeps what the plugin logs, and takes none of its events.
#[derive(Default)]
struct Listener(Mutex<Vec<String>>);

impl RuntimeCalls for Listener {
    fn call(&self, _: Frame, done: Done) -> u64 {
        done.complete(status::UNSUPPORTED, vestibule_plugin_api::wire::frame(&"this is a rehearsal"));
        0
    }

    fn cancel(&self, _: u64) {}

    fn log(&self, _: u32, line: &str) {
        let mut lines = locked(&self.0);
        if lines.len() < LINES_MAX {
            lines.push(words::reason(line));
        }
    }
}
