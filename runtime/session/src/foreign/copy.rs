//! The bytes of a foreign folder's two files, into a private folder.

use crate::{Error, Result, SessionDir};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, Stat, fstat, openat2};
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The largest file, in bytes, that is taken over.
const FILE_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// How much is copied at a time, in bytes.
const PIECE: usize = 1024 * 1024;
/// What SQLite keeps beside a database and needs to recover it.
const BESIDE: [&str; 3] = ["", "-journal", "-wal"];

/// Copies both files, with what a dead writer left beside them, into `scratch`. `folder` is a handle:
/// no name leads out of it, no link is followed. `alive` is called between pieces.
///
/// # Errors
/// [`Error::Missing`]: there is no `inbound.db`. [`Error::Damaged`]: something in a file's place is none,
/// is too large, has more than one name, or changed meanwhile.
pub fn copy(
    folder: BorrowedFd<'_>,
    scratch: &SessionDir,
    mut alive: impl FnMut() -> std::io::Result<()>,
) -> Result<()> {
    let [ours, theirs] = SessionDir::outbound_names();
    let outbound = if look(folder, ours)?.is_some() { ours } else { theirs };
    let mut copied = Vec::new();
    for (name, to) in [(SessionDir::inbound_name(), scratch.inbound_db()), (outbound, scratch.outbound_db())]
    {
        for beside in BESIDE {
            let name = format!("{name}{beside}");
            let before = match look(folder, &name)? {
                Some((file, before)) => {
                    let mut to = to.clone().into_os_string();
                    to.push(beside);
                    copy_one(&name, file, &before, Path::new(&to), &mut alive)?;
                    Some(before)
                }
                None => None,
            };
            copied.push((name, before));
        }
    }
    if copied.first().is_none_or(|(_, inbound)| inbound.is_none()) {
        return Err(Error::Missing);
    }
    for (name, before) in copied {
        let now = look(folder, &name)?.map(|(_, now)| now);
        if now.as_ref().map(identity) != before.as_ref().map(identity) {
            return Err(Error::Damaged(format!("{name} changed meanwhile; stop whoever writes it first")));
        }
    }
    Ok(())
}

/// What differs when a file was written, cut or replaced.
fn identity(stat: &Stat) -> (u64, i64, i64, i64) {
    let (ino, size, seconds) = (stat.st_ino, stat.st_size, stat.st_mtime);
    (ino, size, seconds, i64::try_from(stat.st_mtime_nsec).unwrap_or_default())
}

/// Opens a regular file with one name, and nothing else.
fn look(folder: BorrowedFd<'_>, name: &str) -> Result<Option<(OwnedFd, Stat)>> {
    // NONBLOCK: a FIFO in its place would hold us up.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let within = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let file = match openat2(folder, name, flags, Mode::empty(), within) {
        Ok(file) => file,
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        Err(rustix::io::Errno::LOOP | rustix::io::Errno::NOTDIR) => {
            return Err(Error::Damaged(format!("{name} is reached by a link")));
        }
        Err(error) => return Err(Error::Damaged(format!("{name} cannot be opened: {error}"))),
    };
    let stat = fstat(&file).map_err(std::io::Error::from)?;
    let size = u64::try_from(stat.st_size).unwrap_or(u64::MAX);
    let fault = if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        "is no regular file".to_owned()
    } else if stat.st_nlink != 1 {
        "has more than one name (hard links); copy the folder first".to_owned()
    } else if size > FILE_BYTES_MAX {
        format!("has {size} bytes, the limit is {FILE_BYTES_MAX}")
    } else {
        return Ok(Some((file, stat)));
    };
    Err(Error::Damaged(format!("{name} {fault}")))
}

fn copy_one(
    name: &str,
    from: OwnedFd,
    before: &Stat,
    to: &Path,
    alive: &mut impl FnMut() -> std::io::Result<()>,
) -> Result<()> {
    let size = u64::try_from(before.st_size).unwrap_or_default();
    let mut to = File::options().write(true).create_new(true).mode(0o600).open(to)?;
    // One byte more than it should have shows that it grew.
    let mut from = File::from(from).take(size + 1);
    let (mut piece, mut copied) = (vec![0; PIECE], 0);
    loop {
        let count = from.read(&mut piece)?;
        if count == 0 {
            break;
        }
        to.write_all(&piece[..count])?;
        copied += count as u64;
        alive()?;
    }
    if copied != size
        || identity(&fstat(from.get_ref().as_fd()).map_err(std::io::Error::from)?) != identity(before)
    {
        return Err(Error::Damaged(format!(
            "{name} changed while it was read; stop whoever writes it first"
        )));
    }
    Ok(())
}
