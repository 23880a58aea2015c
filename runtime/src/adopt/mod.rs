//! Taking over a session folder that another program made. Its agent could write all of it, so a keeper reads it, and
//! each of the keeper's frames is untrusted.
//!
//! Invariants:
//! - The folder is never opened here, and never written at all.
//! - The session is in quarantine until everything is here; each row is taken once. Interrupted at any
//!   moment, taking the folder over again completes it.

mod decide;
mod files;
mod record;
mod taking;

use crate::attachments::Parts;
use crate::context::Context;
use crate::error::{Error, IoContext, Result};
use crate::id::SessionId;
use crate::launcher::{Heard, Keeper};
use crate::sessions;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::Read;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use taking::Taking;
use vestibule_keeper::wire::{ADOPTED_FILES_MAX, FromForeign};
use vestibule_session::{open_regular, words};

/// A keeper that says nothing for this long hangs on what it reads.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// All of it must be here after this.
const WHOLE_MAX: Duration = Duration::from_secs(1800);
/// The most bytes of a file that says where a session's messages lie.
const CONTEXT_BYTES_MAX: u64 = 64 * 1024;
/// The most rows that are taken from one folder.
const ROWS_MAX: usize = 2_000_000;

/// The folder to be taken over, and the agent and chat that get it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdoptionRequest {
    /// The foreign folder.
    pub folder: PathBuf,
    /// The agent whose session it becomes.
    pub agent: String,
    /// The kind of platform of its chat; without one it belongs to no chat.
    pub channel: Option<String>,
    /// The login on it.
    pub account: String,
    /// The chat's id on the platform.
    pub chat: Option<String>,
    /// The thread's id on the platform.
    pub thread: Option<String>,
}

/// What was taken over.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// The session's id.
    pub id: SessionId,
    /// The folder that was taken over.
    pub folder: String,
    /// It was here already, all of it.
    pub already: bool,
    /// Inbound rows that are new here.
    pub inbound: usize,
    /// Replies that are new here.
    pub outbound: usize,
    /// Of those, how many were never delivered and are now.
    pub undelivered: usize,
    /// Of those, how many may go nowhere.
    pub refused: usize,
    /// Rows that a task's run left for a log: no replies, and kept with what the runner remembers.
    pub task_logs: usize,
    /// No wiring leads to its session: it belongs to no chat, and its agent has another one for everything it hears.
    pub unreached: bool,
    /// Rows of what the runner remembers.
    pub state: usize,
    /// Rows without a usable id.
    pub left_out: usize,
    /// Files that are new here, both ways.
    pub files: usize,
    /// Files of new rows that stayed behind.
    pub files_left_out: usize,
    /// The first of those, each with the reason.
    pub files_named: Vec<LeftOut>,
    /// Tasks that are new here, and series, that do not go on as they did.
    pub tasks: usize,
    /// The first of those, each with what is lost.
    pub tasks_named: Vec<TaskLoss>,
}

/// A task, or a message that was to be repeated, that does not go on as it did.
#[derive(Debug, Serialize)]
pub struct TaskLoss {
    /// Its series, or else its row's id.
    pub task: String,
    /// What does not go on: the end of a sentence that its name begins.
    pub loss: String,
}

/// A file that stayed behind.
#[derive(Debug, Serialize)]
pub struct LeftOut {
    /// Its name, as its row has it.
    pub file: String,
    /// Why it stayed behind.
    pub reason: String,
}

/// Takes a folder over, or goes on where an earlier attempt stopped.
///
/// # Errors
/// It is no session's folder, cannot be read, or its chat has a session already. What was taken so far is
/// kept, and completed by the next attempt.
pub async fn adopt(context: &Arc<Context>, wanted: AdoptionRequest) -> Result<Report> {
    let _one_at_a_time = context.adopting.lock().await;
    let folder = folder_of(context, &wanted.folder)?;
    let source = folder.to_string_lossy().into_owned();
    let known = source.clone();
    if let Some(adoption) = context.central.read(move |db| sessions::adoption_of(db, &known)).await?
        && adoption.done
    {
        let id = adoption.session.id;
        return Ok(Report { id, folder: source, already: true, ..Report::default() });
    }
    if let Some(mailbox) = other_mailbox(&folder) {
        return Err(Error::Refused(format!(
            "the messages of {source} do not lie in its files but in a mailbox of another kind ({mailbox}); only \
             sessions in SQLite can be taken over"
        )));
    }
    let scratch = context.home.adopt_scratch();
    let _ = fs::remove_dir_all(&scratch);
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&scratch);
    made.context(|| format!("cannot make {}", scratch.display()))?;
    let keeper = context.launcher.adopt(&folder, &scratch).await;
    let outcome = match keeper {
        Ok(keeper) => {
            let taken = tokio::time::timeout(WHOLE_MAX, take(context, keeper, wanted, source)).await;
            taken.unwrap_or_else(|_| Err(Error::refused("reading the folder took too long")))
        }
        Err(error) => Err(error),
    };
    // The keeper is gone, and its copies hold messages.
    let _ = fs::remove_dir_all(&scratch);
    outcome
}

fn folder_of(context: &Context, named: &Path) -> Result<PathBuf> {
    let no_folder = |why: &dyn std::fmt::Display| Error::Refused(format!("{}: {why}", named.display()));
    if !named.is_absolute() {
        return Err(no_folder(&"name the folder by its absolute path"));
    }
    let folder = fs::canonicalize(named).map_err(|error| no_folder(&error))?;
    if !folder.is_dir() {
        return Err(no_folder(&"it is no folder"));
    }
    if context.home.places().iter().any(|place| folder.starts_with(place)) {
        return Err(no_folder(
            &"it lies in this home; only a folder of another installation can be taken over",
        ));
    }
    if folder.to_str().is_none() {
        return Err(no_folder(&"its path is no UTF-8"));
    }
    Ok(folder)
}

/// The mailbox of another kind that a session of NanoClaw 2.3 or later names in the file beside the sessions' folders,
/// where it has one. Its agent could not write that file.
fn other_mailbox(folder: &Path) -> Option<String> {
    let above = fs::File::open(folder.parent()?).ok()?;
    let file = Path::new(".context").join(folder.file_name()?).with_added_extension("json");
    let (file, _) = open_regular(above, &file).ok()??;
    let mut text = String::new();
    fs::File::from(file).take(CONTEXT_BYTES_MAX).read_to_string(&mut text).ok()?;
    let context: serde_json::Value = serde_json::from_str(&text).ok()?;
    context.get("mailbox").filter(|mailbox| !mailbox.is_null()).map(words::reason)
}

async fn take(
    context: &Arc<Context>,
    mut keeper: Keeper<FromForeign>,
    wanted: AdoptionRequest,
    source: String,
) -> Result<Report> {
    let (highest_in, highest_out) = match next(&mut keeper).await? {
        (FromForeign::Found { highest_in, highest_out }, _) => {
            (decide::highest(highest_in), decide::highest(highest_out))
        }
        _ => return Err(out_of_order()),
    };
    let mut taking = Taking::begin(context, wanted, source, highest_in, highest_out).await?;
    keeper.taken().await?;
    let mut parts = Parts::new(context.attachments.clone());
    let (mut rows_seen, mut files_seen) = (0, 0);
    loop {
        let (frame, bytes) = next(&mut keeper).await?;
        if let FromForeign::File(file) = frame {
            tokio::task::block_in_place(|| parts.hear(file, &bytes))?;
            continue;
        }
        let files = tokio::task::block_in_place(|| parts.take())?;
        files_seen += files.iter().filter(|file| file.file.blob.is_ok()).count();
        let rows = match frame {
            FromForeign::Inbound { rows } => taking.inbound(rows, files).await?,
            FromForeign::Outbound { rows } => taking.outbound(rows, files).await?,
            FromForeign::State { rows } => taking.states(rows).await?,
            FromForeign::Done { left_out } => {
                taking.report.left_out = left_out;
                break;
            }
            _ => return Err(out_of_order()),
        };
        rows_seen += rows;
        if rows_seen > ROWS_MAX || files_seen > ADOPTED_FILES_MAX {
            return Err(Error::Refused(format!(
                "the folder holds more than {ROWS_MAX} rows, or {ADOPTED_FILES_MAX} files"
            )));
        }
        keeper.taken().await?;
    }
    drop(keeper);
    taking.finish().await
}

fn out_of_order() -> Error {
    Error::refused("the keeper that reads the folder broke a rule; the folder may be hostile")
}

/// The next frame that is no pulse, and the bytes that came with it.
async fn next(keeper: &mut Keeper<FromForeign>) -> Result<Heard<FromForeign>> {
    loop {
        match tokio::time::timeout(SILENCE_MAX, keeper.frame()).await {
            Ok(Some((FromForeign::Pulse, _))) => {}
            Ok(Some((FromForeign::Corrupt { reason } | FromForeign::Failed { reason }, _))) => {
                return Err(Error::Refused(format!("the folder cannot be taken over: {reason}")));
            }
            Ok(Some(heard)) => return Ok(heard),
            Ok(None) => return Err(Error::refused("the keeper that reads the folder died of what it read")),
            Err(_) => return Err(Error::refused("the keeper that reads the folder hangs on what it reads")),
        }
    }
}
