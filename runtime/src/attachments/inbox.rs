//! A session's `inbox/`: the files that came in, as the agent sees them.

use super::{Store, StoredFile};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{
    AtFlags, CWD, Gid, Mode, OFlags, Stat, chmodat, chownat, fchmod, fchown, fstat, linkat, mkdirat, openat,
    renameat, statat, unlinkat,
};
use rustix::io::{Errno, Result};
use std::fs::File;
use std::path::Path;
use vestibule_session::{SessionDir, crash, open_beneath};

impl Store {
    /// Shows files in a folder of the session's `inbox/`, under their names. A file that is there already stays; one
    /// with another content under such a name is replaced.
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

impl Store {
    /// Removes a folder of the session's `inbox/` with its files. A folder that is not there counts as removed.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn remove_from_inbox(&self, dir: &SessionDir, folder: &str) -> std::io::Result<()> {
        let gone = |error| if error == Errno::NOENT { Ok(()) } else { Err(error) };
        let root =
            openat(CWD, dir.root(), OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let inbox = beneath(&root, SessionDir::inbox_name())?;
        let files = match open_beneath(&inbox, Path::new(folder), OFlags::RDONLY | OFlags::DIRECTORY) {
            Err(error) => return Ok(gone(error)?),
            Ok(files) => files,
        };
        for entry in rustix::fs::Dir::read_from(&files)? {
            let entry = entry?;
            if ![c".", c".."].contains(&entry.file_name()) {
                unlinkat(&files, entry.file_name(), AtFlags::empty()).or_else(gone)?;
            }
        }
        Ok(unlinkat(&inbox, folder, AtFlags::REMOVEDIR).or_else(gone)?)
    }
}

/// The mode of a blob that a session's group may read.
const BLOB_MODE: u32 = 0o440;
/// An inbox with this bit is shared with its group ([`SessionDir::share_with`]).
const SHARED: u32 = 0o2000;

/// Lets every user who may read an inbox read also what is shown in it.
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

/// Makes a link to the blob: no byte is copied, and a name that exists is never written through.
fn show(blobs: &OwnedFd, blob: &str, folder: &OwnedFd, name: &str) -> Result<()> {
    match linkat(blobs, blob, folder, name, AtFlags::empty()) {
        Err(Errno::XDEV) => return copy(blobs, blob, folder, name),
        Err(Errno::EXIST) => {}
        linked => return linked,
    }
    let ours = statat(blobs, blob, AtFlags::SYMLINK_NOFOLLOW)?;
    let there = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if (ours.st_dev, ours.st_ino) == (there.st_dev, there.st_ino) {
        return Ok(());
    }
    if ours.st_dev != there.st_dev {
        return copy(blobs, blob, folder, name);
    }
    unlinkat(folder, name, AtFlags::empty())?;
    linkat(blobs, blob, folder, name, AtFlags::empty())
}

/// Puts a copy of the blob in the place of whatever has the name: the sessions lie on another disk than the blobs. The
/// copy appears whole, with the mode and the group of the blob.
fn copy(blobs: &OwnedFd, blob: &str, folder: &OwnedFd, name: &str) -> Result<()> {
    const PART: &str = "\\part"; // no file has such a name: see `is_safe_segment`
    match unlinkat(folder, PART, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err(error),
    }
    let flags = OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let from = openat(blobs, blob, flags | OFlags::RDONLY, Mode::empty())?;
    let like = fstat(&from)?;
    let to = openat(folder, PART, flags | OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL, Mode::RUSR)?;
    let copied = std::io::copy(&mut File::from(from), &mut File::from(to.try_clone().map_err(errno)?));
    copied.map_err(errno)?;
    if fstat(&to)?.st_gid != like.st_gid {
        fchown(&to, None, Some(Gid::from_raw(like.st_gid)))?;
    }
    fchmod(&to, Mode::from_raw_mode(like.st_mode))?;
    renameat(folder, PART, folder, name)
}

fn errno(error: std::io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attachments::Limits;
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    /// Two disks: the temporary files, and memory.
    #[test]
    fn an_inbox_on_another_disk_is_made_of_copies() {
        let blobs = tempfile::tempdir().expect("a folder");
        let Ok(elsewhere) = tempfile::tempdir_in("/dev/shm") else {
            return eprintln!("SKIPPED: it needs a folder in /dev/shm");
        };
        let disk = |path: &Path| fs::metadata(path).expect("it is there").dev();
        if disk(blobs.path()) == disk(elsewhere.path()) {
            return eprintln!("SKIPPED: temporary files lie on the same disk as /dev/shm; set TMPDIR");
        }
        let limits = Limits { message_bytes: 100, session_bytes: 100, reserve_bytes: 0 };
        let store = Store::open(blobs.path().join("a"), limits).expect("it opens");
        let stored = |text: &[u8]| StoredFile {
            position: 0,
            name: "f.txt".into(),
            size_bytes: text.len() as u64,
            blob: Ok(store.put(text).expect("a disk")),
        };
        let (dir, shown) = (SessionDir::new(elsewhere.path()), elsewhere.path().join("inbox/m/f.txt"));
        fs::create_dir(elsewhere.path().join("inbox")).expect("it is made");
        for text in [&b"first"[..], b"first", b"another"] {
            store.show_in_inbox(&dir, "m", &[stored(text)]).expect("it is shown");
            assert_eq!(fs::read(&shown).expect("it is there"), text);
        }
        assert_eq!(fs::metadata(&shown).expect("it is there").mode() & 0o777, 0o400);
        fs::write(elsewhere.path().join("inbox/m/\\part"), "of a crash").expect("it is written");
        store.show_in_inbox(&dir, "m", &[stored(b"again")]).expect("it is shown");
        let names = fs::read_dir(elsewhere.path().join("inbox/m")).expect("a folder").count();
        assert_eq!((fs::read(&shown).expect("it is there"), names), (b"again".to_vec(), 1));
    }
}
