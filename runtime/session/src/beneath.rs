//! Opening what another program may have put there: beneath a handle, by no link, and never waiting.

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, Stat, fstat, openat2};
use rustix::io::Errno;
use std::path::Path;

/// No path below the handle leads out of it.
const BENEATH: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_XDEV);

/// Opens a path beneath a folder. No part of the path may be a link, or lie on another file system.
///
/// # Errors
/// The path is not there, or leads elsewhere.
pub fn open_beneath(above: impl AsFd, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    openat2(above, path, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty(), BENEATH)
}

/// Opens a regular file with one name beneath a folder, to read it; `None` when there is none.
///
/// # Errors
/// What is wrong with it, in words that follow its name.
pub fn open_regular(above: impl AsFd, path: &Path) -> Result<Option<(OwnedFd, Stat)>, String> {
    // NONBLOCK: a FIFO in its place would hold us up.
    let file = match open_beneath(above, path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(None),
        Err(Errno::LOOP | Errno::NOTDIR) => return Err("is reached by a link".to_owned()),
        Err(error) => return Err(format!("cannot be opened ({error})")),
    };
    let stat = fstat(&file).map_err(|error| format!("cannot be looked at ({error})"))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err("is no regular file".to_owned());
    }
    if stat.st_nlink != 1 {
        return Err("has more than one name (hard links); a copy of it has one".to_owned());
    }
    Ok(Some((file, stat)))
}
