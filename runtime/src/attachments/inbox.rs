//! A session's `inbox/`: what the agent sees of the files that came in.

use super::{Store, StoredFile};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{
    AtFlags, CWD, Gid, Mode, OFlags, Stat, chmodat, chownat, fstat, linkat, mkdirat, openat, statat, unlinkat,
};
use rustix::io::{Errno, Result};
use std::path::Path;
use vestibule_session::{SessionDir, crash, open_beneath};

impl Store {
    /// Shows files in a folder of the session's `inbox/`, under their names. What is there already
    /// stays; a file of another content under such a name is replaced.
    ///
    /// # Errors
    /// The folder cannot be made or written, or something else lies in its place.
    pub fn show_in_inbox(&self, dir: &SessionDir, folder: &str, files: &[StoredFile]) -> std::io::Result<()> {
        let root =
            openat(CWD, dir.root(), OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let blobs =
            openat(CWD, self.root(), OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let inbox = beneath(&root, SessionDir::inbox_name())?;
        match mkdirat(&inbox, folder, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let readers = fstat(&inbox)?;
        let_read(&inbox, folder, &readers, readers.st_mode)?;
        let folder = beneath(&inbox, folder)?;
        crash::point("projection: a folder of files is there, and empty");
        for file in files {
            if let Ok(blob) = &file.blob {
                let_read(&blobs, blob, &readers, BLOB_MODE)?;
                show(&blobs, blob, &folder, &file.name)?;
            }
        }
        Ok(())
    }
}

/// Of a blob that a session's group may read.
const BLOB_MODE: u32 = 0o440;
/// An inbox with this bit is shared with its group ([`SessionDir::share_with`]).
const SHARED: u32 = 0o2000;

/// Lets those who may read an inbox read also what is shown in it.
fn let_read(above: &OwnedFd, name: &str, inbox: &Stat, mode: u32) -> Result<()> {
    if inbox.st_mode & SHARED == 0 {
        return Ok(());
    }
    let found = statat(above, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if found.st_gid != inbox.st_gid {
        chownat(above, name, None, Some(Gid::from_raw(inbox.st_gid)), AtFlags::SYMLINK_NOFOLLOW)?;
    }
    let mode = Mode::from_raw_mode(mode);
    if Mode::from_raw_mode(found.st_mode) != mode {
        chmodat(above, name, mode, AtFlags::empty())
    } else {
        Ok(())
    }
}

fn beneath(above: impl AsFd, name: &str) -> Result<OwnedFd> {
    open_beneath(above, Path::new(name), OFlags::PATH | OFlags::DIRECTORY)
}

/// A link to the blob: no byte is copied, and a name that exists is never written through.
fn show(blobs: &OwnedFd, blob: &str, folder: &OwnedFd, name: &str) -> Result<()> {
    match linkat(blobs, blob, folder, name, AtFlags::empty()) {
        Err(Errno::EXIST) => {}
        linked => return linked,
    }
    let ours = statat(blobs, blob, AtFlags::SYMLINK_NOFOLLOW)?;
    let there = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if (ours.st_dev, ours.st_ino) == (there.st_dev, there.st_ino) {
        return Ok(());
    }
    unlinkat(folder, name, AtFlags::empty())?;
    linkat(blobs, blob, folder, name, AtFlags::empty())
}
