//! The files of an answer: from where the provider put them to the reply's own folder in `outbox/`.

use crate::empty;
use serde_json::Value;
use std::fs::{self, File};
use std::io::Result;
use std::path::{Path, PathBuf};
use vestibule_plugin_api::ATTACHMENTS_MAX;
use vestibule_session::{MessageIn, MessageOut, SessionDir, crash, name, words};

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

/// What a provider has put into the folder for its answer's files, sorted.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The names of the files, as many as a message may carry.
    pub names: Vec<String>,
    /// The names of what does not go with the answer, each with the reason.
    pub left_out: Vec<(String, &'static str)>,
}

/// Looks into the folder.
pub fn found(folder: &Path) -> Found {
    let mut entries: Vec<_> = fs::read_dir(folder).into_iter().flatten().flatten().collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    let mut found = Found::default();
    for entry in entries {
        let name = entry.file_name();
        let reason = match name.to_str() {
            _ if !entry.file_type().is_ok_and(|kind| kind.is_file()) => "it is no regular file",
            Some(safe) if !name::is_safe_segment(safe) => "its name cannot be sent",
            None => "its name is no UTF-8",
            Some(_) if found.names.len() == ATTACHMENTS_MAX => "a message carries no more files",
            Some(safe) => {
                found.names.push(safe.to_owned());
                continue;
            }
        };
        found.left_out.push((words::line(name.to_string_lossy(), NAME_CHARS_MAX), reason));
    }
    found
}

/// How many of the files that do not go with an answer are named in it.
const LEFT_OUT_SHOWN: usize = 10;
/// So much of such a name is shown, in characters.
const NAME_CHARS_MAX: usize = 100;

/// A reply's content that also says what does not go with it, as the runtime says it.
pub fn name_left_out(content: &str, left_out: &[(String, &str)]) -> String {
    let mut content: Value = serde_json::from_str(content).unwrap_or_default();
    let mut lines: Vec<String> = content["text"].as_str().map(str::to_owned).into_iter().collect();
    lines.retain(|text| !text.is_empty());
    let shown = left_out.iter().take(LEFT_OUT_SHOWN);
    lines.extend(shown.map(|(name, reason)| format!("[file: {name} — not sent: {reason}]")));
    let more = left_out.len().saturating_sub(LEFT_OUT_SHOWN);
    lines.extend((more > 0).then(|| format!("[{more} more files — not sent]")));
    content["text"] = lines.join("\n").into();
    content.to_string()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_go_with_an_answer_is_named_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        assert_eq!(found(folder.path()), Found::default());
        for number in 0..ATTACHMENTS_MAX + 12 {
            fs::write(at(&format!("f{number:02}")), "x").unwrap();
        }
        fs::create_dir(at("a folder")).unwrap();
        std::os::unix::fs::symlink("f00", at("a link")).unwrap();
        fs::write(at("a\nname"), "x").unwrap();
        let found = found(folder.path());
        assert_eq!((found.names.len(), found.names[31].as_str()), (ATTACHMENTS_MAX, "f31"));
        let reasons: Vec<_> = found.left_out.iter().map(|(_, reason)| *reason).collect();
        assert_eq!(
            reasons[..3],
            ["its name cannot be sent", "it is no regular file", "it is no regular file"]
        );
        assert_eq!(reasons[3..], ["a message carries no more files"; 12]);
        let content = name_left_out(r#"{"text":"see"}"#, &found.left_out);
        let content: Value = serde_json::from_str(&content).unwrap();
        let lines: Vec<&str> = content["text"].as_str().unwrap().lines().collect();
        assert_eq!(lines.len(), 1 + LEFT_OUT_SHOWN + 1);
        assert_eq!((lines[0], lines[2]), ("see", "[file: a folder — not sent: it is no regular file]"));
        assert_eq!(lines[11], "[5 more files — not sent]");
    }
}
