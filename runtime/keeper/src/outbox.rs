//! The files of replies: read beneath a handle of `out/`, handed over as bytes, cleared away. Every
//! name, link and size in there is the agent's.

use crate::wire::{self, FromKeeper, PART_BYTES_MAX};
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, fstat, openat, openat2, unlinkat};
use std::fs::File;
use std::io::{Read, Result};
use std::os::unix::net::UnixStream;
use std::path::Path;
use vestibule_session::{ATTACHMENTS_MAX, FIELD_BYTES_MAX, MessageOut, SessionDir, name};

/// Nothing below the handle leads anywhere else.
const BENEATH: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_XDEV);
/// How many entries of a reply's folder are cleared away.
const ENTRIES_MAX: usize = 4 * ATTACHMENTS_MAX;

/// The agent's folder, and what may be read of it.
pub struct Outbox {
    out: OwnedFd,
    files_bytes_max: u64,
}

impl Outbox {
    /// Opens `out/`.
    pub fn open(dir: &SessionDir, files_bytes_max: u64) -> Result<Outbox> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(Outbox { out: openat(CWD, dir.out(), flags, Mode::empty())?, files_bytes_max })
    }

    /// Hands over the files of a reply. What is wrong with one is told, and the reply goes on
    /// without it.
    pub fn hand_over(&self, runtime: &mut UnixStream, reply: &MessageOut) -> Result<()> {
        let mut room = self.files_bytes_max;
        for (position, name) in names(&reply.content).into_iter().enumerate() {
            let opened = self.file(&reply.id, &name, room);
            let handed = match opened {
                Ok((file, size)) => {
                    room -= size;
                    send(runtime, reply, position, &name, file, size)?
                }
                Err(reason) => Err(reason),
            };
            if let Err(reason) = handed {
                let message_id = reply.id.clone();
                wire::send(runtime, &FromKeeper::LeftOut { message_id, position, name, reason })?;
            }
        }
        Ok(())
    }

    /// A file and its size: a regular one with one name, beneath the reply's folder.
    fn file(&self, message_id: &str, name: &str, room: u64) -> std::result::Result<(File, u64), String> {
        if !name::is_safe_segment(message_id) || !name::is_safe_segment(name) {
            return Err("its name cannot be that of a file".to_owned());
        }
        let path = SessionDir::outbox_in_out(message_id).join(name);
        // A FIFO must not hang, and no link is followed.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = openat2(&self.out, &path, flags, Mode::empty(), BENEATH)
            .map_err(|error| format!("it cannot be opened ({error})"))?;
        let stat = fstat(&file).map_err(|error| format!("it cannot be looked at ({error})"))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err("it is no regular file".to_owned());
        }
        if stat.st_nlink != 1 {
            return Err("it has more than one name".to_owned());
        }
        let size = u64::try_from(stat.st_size).unwrap_or(u64::MAX);
        if size > room {
            return Err("the files of one message are larger than `attachments_mb` allows".to_owned());
        }
        Ok((File::from(file), size))
    }

    /// Removes the files of a reply that the runtime has. What cannot be removed stays: it is the
    /// agent's own space.
    pub fn clear(&self, message_id: &str) {
        if !name::is_safe_segment(message_id) {
            return;
        }
        let path = SessionDir::outbox_in_out(message_id);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let Ok(folder) = openat2(&self.out, &path, flags, Mode::empty(), BENEATH) else { return };
        let Ok(entries) = Dir::read_from(&folder) else { return };
        for entry in entries.flatten().take(ENTRIES_MAX) {
            let _ = unlinkat(&folder, entry.file_name(), AtFlags::empty());
        }
        let above = path.parent().unwrap_or(Path::new("."));
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        if let Ok(above) = openat2(&self.out, above, flags, Mode::empty(), BENEATH) {
            let _ = unlinkat(above, message_id, AtFlags::REMOVEDIR);
        }
    }
}

/// The names in a reply's `files`. More than a message may have, and those no file can have, are left
/// out.
pub fn names(content: &str) -> Vec<String> {
    if !content.contains("\"files\"") {
        return Vec::new();
    }
    let Ok(content) = serde_json::from_str::<serde_json::Value>(content) else { return Vec::new() };
    let files = content["files"].as_array().into_iter().flatten();
    let fits = |name: &&str| name.len() <= FIELD_BYTES_MAX;
    files.filter_map(|name| name.as_str()).filter(fits).map(str::to_owned).take(ATTACHMENTS_MAX).collect()
}

/// Sends a file in parts. The inner error is the agent's doing.
fn send(
    runtime: &mut UnixStream,
    reply: &MessageOut,
    position: usize,
    name: &str,
    mut file: File,
    size: u64,
) -> Result<std::result::Result<(), String>> {
    let mut left = size;
    let mut buffer = vec![0; PART_BYTES_MAX];
    loop {
        let want = usize::try_from(left).unwrap_or(PART_BYTES_MAX).min(PART_BYTES_MAX);
        if let Err(error) = file.read_exact(&mut buffer[..want]) {
            return Ok(Err(format!("it cannot be read whole ({error})")));
        }
        left -= want as u64;
        let part = FromKeeper::Part {
            message_id: reply.id.clone(),
            position,
            name: name.to_owned(),
            bytes: u32::try_from(want).unwrap_or_default(),
            last: left == 0,
        };
        wire::send(runtime, &part)?;
        std::io::Write::write_all(runtime, &buffer[..want])?;
        if left == 0 {
            return Ok(Ok(()));
        }
    }
}
