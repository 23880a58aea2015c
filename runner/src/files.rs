//! The files of an answer: from where the provider put them to the reply's own folder in `outbox/`.

use crate::empty;
use serde_json::Value;
use std::fs::{self, File};
use std::io::Result;
use std::path::{Path, PathBuf};
use vestibule_plugin_api::ATTACHMENTS_MAX;
use vestibule_session::{MessageIn, MessageOut, SessionDir, crash, name};

/// Makes the folder into which a provider puts files, empty.
///
/// # Errors
/// The folder cannot be made.
pub fn fresh(dir: &SessionDir) -> Result<PathBuf> {
    // Beside the folders of replies in NanoClaw's layout and in ours, so that moving is renaming.
    let folder = dir.outbox_of(".reply-files");
    if let Some(outbox) = folder.parent() {
        fs::create_dir_all(outbox)?;
    }
    empty::make(&folder)?;
    Ok(folder)
}

/// Removes what programs have left in the folder for temporary files: no later program has use for it, and it
/// counts towards the session's limit. NanoClaw's layout has no such folder.
pub fn forget_temporary(dir: &SessionDir) {
    if dir.out().is_dir()
        && let Err(error) = empty::make(&dir.temporary())
    {
        eprintln!("vestibule-runner: {} cannot be emptied: {error}", dir.temporary().display());
    }
}

/// The files that came with these rows.
pub fn of_rows(dir: &SessionDir, rows: &[MessageIn]) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for row in rows {
        let content: Value = serde_json::from_str(&row.content).unwrap_or_default();
        let paths = content["attachments"].as_array().into_iter().flatten();
        files.extend(paths.filter_map(|file| Some(dir.root().join(file["localPath"].as_str()?))));
    }
    files
}

/// The names of the files that a provider has put there, sorted. Those beyond what a message may carry stay behind.
pub fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let regular = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()));
    let mut names: Vec<String> = regular.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.retain(|name| name::is_safe_segment(name));
    names.sort();
    names.truncate(ATTACHMENTS_MAX);
    names
}

/// Moves files to a reply's folder. They are on disk before the row that names them.
///
/// # Errors
/// A file cannot be moved.
pub fn attach(dir: &SessionDir, folder: &Path, names: Vec<String>, reply: &mut MessageOut) -> Result<()> {
    let outbox = dir.outbox_of(&reply.id);
    fs::create_dir_all(&outbox)?;
    for name in &names {
        fs::rename(folder.join(name), outbox.join(name))?;
        File::open(outbox.join(name))?.sync_all()?;
    }
    crash::point("runner: files are at their reply, no row names them");
    File::open(&outbox)?.sync_all()?;
    if let Some(above) = outbox.parent() {
        File::open(above)?.sync_all()?;
    }
    let mut content: Value = serde_json::from_str(&reply.content).unwrap_or_default();
    content["files"] = names.into();
    reply.content = content.to_string();
    Ok(())
}
