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
        for (position, name) in names(&reply.content).iter().enumerate() {
            let of = Of { message_id: &reply.id, position, name };
            let opened = self.file(of, &mut room);
            files::hand_over(runtime, of, opened, FromKeeper::File)?;
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

/// The names in a reply's `files`. Names above the limit of a message, and names that no file can have, are left out.
pub fn names(content: &str) -> Vec<String> {
    if !content.contains("\"files\"") {
        return Vec::new();
    }
    let Ok(content) = serde_json::from_str::<serde_json::Value>(content) else { return Vec::new() };
    let files = content["files"].as_array().into_iter().flatten();
    let fits = |name: &&str| name.len() <= FIELD_BYTES_MAX;
    files.filter_map(|name| name.as_str()).filter(fits).map(str::to_owned).take(ATTACHMENTS_MAX).collect()
}
