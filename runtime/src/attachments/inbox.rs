//! A session's `inbox/`: what the agent sees of the files that came in.

use super::{Store, StoredFile};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat, mkdirat, openat, statat, unlinkat};
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
        let folder = beneath(&inbox, folder)?;
        crash::point("projection: a folder of files is there, and empty");
        for file in files {
            if let Ok(blob) = &file.blob {
                show(&blobs, blob, &folder, &file.name)?;
            }
        }
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
