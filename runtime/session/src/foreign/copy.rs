//! Copies the bytes of a foreign folder's two files into a private folder.

use crate::{Error, Result, SessionDir, open_regular};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Stat, fstat};
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The largest file that is taken over, in bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// How much is copied at a time, in bytes.
const PIECE: usize = 1024 * 1024;
/// The endings of the files that SQLite keeps for a database and needs to recover it.
const BESIDE: [&str; 3] = ["", "-journal", "-wal"];

/// Copies both files, with what a dead writer left beside them, into `scratch`. `folder` is a handle:
/// no name leads out of it, no link is followed. `alive` is called between pieces.
///
/// # Errors
/// [`Error::Missing`]: there is no `inbound.db`. [`Error::Damaged`]: in a file's place lies something else, or the file
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
            return Err(Error::Damaged(format!(
                "{name} changed meanwhile; stop the program that writes it first"
            )));
        }
    }
    Ok(())
}

/// The figures that differ after a file was written, cut or replaced.
fn identity(stat: &Stat) -> (u64, i64, i64, i64) {
    let (ino, size, seconds) = (stat.st_ino, stat.st_size, stat.st_mtime);
    (ino, size, seconds, i64::try_from(stat.st_mtime_nsec).unwrap_or_default())
}

/// Opens a regular file with one name and a bounded size; anything else is an error.
fn look(folder: BorrowedFd<'_>, name: &str) -> Result<Option<(OwnedFd, Stat)>> {
    let damaged = |fault: String| Error::Damaged(format!("{name} {fault}"));
    let Some((file, stat)) = open_regular(folder, Path::new(name)).map_err(damaged)? else { return Ok(None) };
    let size = u64::try_from(stat.st_size).unwrap_or(u64::MAX);
    if size > FILE_BYTES_MAX {
        return Err(damaged(format!("has {size} bytes, the limit is {FILE_BYTES_MAX}")));
    }
    Ok(Some((file, stat)))
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
    // One byte more than the file should have shows that it grew.
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
            "{name} changed while it was read; stop the program that writes it first"
        )));
    }
    Ok(())
}
