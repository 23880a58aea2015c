//! The files of replies: read beneath a handle of `out/`, handed over as bytes, cleared away. The agent chose every
//! name, link and size in there.

use crate::files::{self, Of, Opened};
use crate::wire::FromKeeper;
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, openat, unlinkat};
use std::io::Result;
use std::os::unix::net::UnixStream;
use std::path::Path;
use vestibule_session::{ATTACHMENTS_MAX, FIELD_BYTES_MAX, MessageOut, SessionDir, name, open_beneath};

/// How many entries of a reply's folder are cleared away.
const ENTRIES_MAX: usize = 4 * ATTACHMENTS_MAX;

/// The agent's folder, and how many bytes of files may be read from it.
pub struct Outbox {
    out: OwnedFd,
    files_bytes_max: u64,
}

impl Outbox {
    /// Opens the folder `out/` of a session.
    pub fn open(dir: &SessionDir, files_bytes_max: u64) -> Result<Outbox> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(Outbox { out: openat(CWD, dir.out(), flags, Mode::empty())?, files_bytes_max })
    }

    /// Hands over the files of a reply. A file that cannot be handed over is reported, and the reply goes on without
    /// it.
    pub fn hand_over(&self, runtime: &mut UnixStream, reply: &MessageOut) -> Result<()> {
        let mut room = self.files_bytes_max;
        let Named { names, more } = named(&reply.content);
        for (position, name) in names.iter().enumerate() {
            let of = Of { message_id: &reply.id, position, name };
            let opened = self.file(of, &mut room);
            files::hand_over(runtime, of, opened, FromKeeper::File)?;
        }
        if more > 0 {
            let of = Of { message_id: &reply.id, position: names.len(), name: &format!("{more} more") };
            let why = format!("a message may have {ATTACHMENTS_MAX} files");
            files::hand_over(runtime, of, Err(why), FromKeeper::File)?;
        }
        Ok(())
    }

    fn file(&self, of: Of<'_>, room: &mut u64) -> Opened {
        if !name::is_safe_segment(of.message_id) || !name::is_safe_segment(of.name) {
            return Err("its name cannot be that of a file".to_owned());
        }
        files::open(&self.out, &SessionDir::outbox_in_out(of.message_id).join(of.name), room)
    }

    /// Removes the files of a reply that the runtime has. A file that cannot be removed stays: the space is the agent's
    /// own.
    pub fn clear(&self, message_id: &str) {
        if !name::is_safe_segment(message_id) {
            return;
        }
        let path = SessionDir::outbox_in_out(message_id);
        let Ok(folder) = open_beneath(&self.out, &path, OFlags::RDONLY | OFlags::DIRECTORY) else { return };
        let Ok(entries) = Dir::read_from(&folder) else { return };
        for entry in entries.flatten().take(ENTRIES_MAX) {
            let _ = unlinkat(&folder, entry.file_name(), AtFlags::empty());
        }
        let above = path.parent().unwrap_or(Path::new("."));
        if let Ok(above) = open_beneath(&self.out, above, OFlags::PATH | OFlags::DIRECTORY) {
            let _ = unlinkat(above, message_id, AtFlags::REMOVEDIR);
        }
    }
}

/// What a reply says in `files`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Named {
    /// The names of as many files as a message may have.
    pub names: Vec<String>,
    /// How many more there are, with those that no file can have.
    pub more: usize,
}

impl Named {
    /// Whether the reply has no files.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty() && self.more == 0
    }
}

/// The names in a reply's `files`.
pub fn named(content: &str) -> Named {
    if !content.contains("\"files\"") {
        return Named::default();
    }
    let content = serde_json::from_str::<serde_json::Value>(content).unwrap_or_default();
    let files = content["files"].as_array().map(Vec::as_slice).unwrap_or_default();
    let fitting = files.iter().filter_map(|name| name.as_str()).filter(|name| name.len() <= FIELD_BYTES_MAX);
    let names: Vec<String> = fitting.take(ATTACHMENTS_MAX).map(str::to_owned).collect();
    Named { more: files.len() - names.len(), names }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_a_reply_cannot_carry_is_counted() {
        let long = "x".repeat(FIELD_BYTES_MAX + 1);
        let many: Vec<String> = (0..ATTACHMENTS_MAX + 3).map(|number| number.to_string()).collect();
        for (content, names, more) in [
            (json!({ "text": "x" }), 0, 0),
            (json!({ "files": "a" }), 0, 0),
            (json!({ "files": ["a", "b"] }), 2, 0),
            (json!({ "files": ["a", 7, long] }), 1, 2),
            (json!({ "files": many }), ATTACHMENTS_MAX, 3),
        ] {
            let found = named(&content.to_string());
            assert_eq!((found.names.len(), found.more), (names, more), "{content}");
            assert_eq!(found.is_empty(), names + more == 0);
        }
        assert_eq!(named("\"files\""), Named::default());
    }
}
