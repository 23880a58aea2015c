//! The folder of blobs.

use super::Limits;
use crate::error::{Error, IoContext, Result, if_there};
use crate::lock::locked;
use crate::plain_file;
use std::collections::HashSet;
use std::fs::{self, DirBuilder, File};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

const BLOB: &str = "blob";

/// The blobs of a home.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
    limits: Limits,
    /// Names sort by time: those below this one are from before this start.
    opened: String,
    held: Arc<Mutex<Held>>,
}

/// How many holders want all blobs to stay, and the blobs that go afterwards.
#[derive(Debug, Default)]
struct Held {
    holders: usize,
    waiting: Vec<String>,
}

/// While it lives, no blob is removed.
#[derive(Debug)]
pub struct Hold {
    store: Store,
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut held = self.store.held();
        held.holders -= 1;
        if held.holders == 0 {
            let waiting = std::mem::take(&mut held.waiting);
            drop(held);
            self.store.discard(waiting);
        }
    }
}

/// A blob that is being written. No commit names it yet.
#[derive(Debug)]
pub struct Incoming {
    file: File,
    blob: String,
    size_bytes: u64,
}

impl Store {
    /// Opens the folder of blobs, and makes it if it is missing.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn open(root: PathBuf, limits: Limits) -> Result<Store> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&root)
            .context(|| format!("cannot make the folder {}", root.display()))?;
        let opened = crate::id::mint(BLOB);
        Ok(Store { root, limits, opened, held: Arc::default() })
    }

    /// Lets no blob go until the returned hold is dropped: a backup copies the blobs.
    pub fn hold(&self) -> Hold {
        self.held().holders += 1;
        Hold { store: self.clone() }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        locked(&self.held)
    }

    /// Whether a blob has to stay for now; it is removed when the last hold is dropped.
    fn stays(&self, blob: &str) -> bool {
        let mut held = self.held();
        if held.holders > 0 {
            held.waiting.push(blob.to_owned());
        }
        held.holders > 0
    }

    /// Copies a blob into a folder, and puts the copy on disk; returns its size in bytes, or `None` when there is no
    /// such blob.
    ///
    /// # Errors
    /// A disk fails, or the folder is not there.
    pub fn copy_to(&self, blob: &str, folder: &Path) -> std::io::Result<Option<u64>> {
        copy(&self.path(blob), &folder.join(blob))
    }

    /// Takes a blob from a folder that [`Store::copy_to`] has filled, unless it is here. Call [`Store::sync`] before
    /// the database that names it is in its place.
    ///
    /// # Errors
    /// As [`Store::copy_to`].
    pub fn take_from(&self, blob: &str, folder: &Path) -> std::io::Result<Option<u64>> {
        copy(&folder.join(blob), &self.path(blob))
    }

    /// The limits that this store keeps.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Starts a blob, if the disk has room for `expected` bytes and its reserve.
    ///
    /// # Errors
    /// The disk is too full: try again when there is space.
    pub fn begin(&self, expected: u64) -> Result<Incoming> {
        let disk =
            rustix::fs::statvfs(&self.root).context(|| format!("cannot look at {}", self.root.display()))?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        if free < expected.saturating_add(self.limits.reserve_bytes) {
            return Err(Error::Io {
                what: format!(
                    "a file of {expected} bytes is not taken: the disk of {} has {free} bytes left and {} are kept free \
                     (`disk_reserve_mb`); make room",
                    self.root.display(),
                    self.limits.reserve_bytes
                ),
                source: std::io::ErrorKind::StorageFull.into(),
            });
        }
        let blob = crate::id::mint(BLOB);
        let mut options = File::options();
        let file = options.write(true).create_new(true).mode(0o400).open(self.path(&blob));
        let file = file.context(|| format!("cannot write to {}", self.root.display()))?;
        Ok(Incoming { file, blob, size_bytes: 0 })
    }

    /// Stores bytes that are all there. Call [`Store::sync`] before the commit that names it.
    ///
    /// # Errors
    /// As [`Store::begin`], or the disk fails.
    pub fn put(&self, bytes: &[u8]) -> Result<String> {
        let mut incoming = self.begin(bytes.len() as u64)?;
        match incoming.write(bytes).and_then(|()| incoming.finish()) {
            Ok((blob, _)) => Ok(blob),
            Err(error) => {
                self.discard([incoming.blob]);
                Err(error)
            }
        }
    }

    /// Syncs the folder: what was finished before is on disk, name and all.
    ///
    /// # Errors
    /// The disk fails.
    pub fn sync(&self) -> Result<()> {
        File::open(&self.root)
            .and_then(|folder| folder.sync_all())
            .context(|| format!("cannot sync {}", self.root.display()))
    }

    /// The bytes of a blob.
    ///
    /// # Errors
    /// The blob cannot be read.
    pub fn read(&self, blob: &str) -> Result<Vec<u8>> {
        fs::read(self.path(blob)).context(|| format!("cannot read {}", self.path(blob).display()))
    }

    /// Removes blobs that no commit names. A blob that cannot be removed goes at the next start.
    pub fn discard(&self, blobs: impl IntoIterator<Item = String>) {
        for blob in blobs {
            if self.stays(&blob) {
                continue;
            }
            if let Err(error) = fs::remove_file(self.path(&blob)) {
                tracing::debug!(blob, %error, "a blob that no commit names could not be removed");
            }
        }
    }

    /// Removes the blobs from before this start that no commit names; returns how many there were.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn sweep(&self, named: &HashSet<String>) -> Result<usize> {
        let entries = fs::read_dir(&self.root).context(|| format!("cannot read {}", self.root.display()))?;
        let mut removed = 0;
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let lost = name < self.opened && !named.contains(&name) && !self.stays(&name);
            if lost && fs::remove_file(entry.path()).is_ok() {
                removed += 1;
            }
        }
        Ok(removed)
    }

    pub(super) fn path(&self, blob: &str) -> PathBuf {
        self.root.join(blob)
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }
}

impl Incoming {
    /// The name of the blob.
    pub fn blob(&self) -> &str {
        &self.blob
    }

    /// How many bytes were written.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Writes the next bytes.
    ///
    /// # Errors
    /// The disk fails.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).context(|| "an attachment cannot be written".into())?;
        self.size_bytes += bytes.len() as u64;
        Ok(())
    }

    /// Puts the blob on disk; returns its name and its size.
    ///
    /// # Errors
    /// The disk fails.
    pub fn finish(&self) -> Result<(String, u64)> {
        self.file.sync_all().context(|| "an attachment cannot be synced".into())?;
        Ok((self.blob.clone(), self.size_bytes))
    }
}

/// Copies a file that no program changes; one of the same size that is there already stays. `None` when there is no
/// file to copy.
fn copy(from: &Path, to: &Path) -> std::io::Result<Option<u64>> {
    let Some(mut from) = if_there(plain_file::open(from))? else { return Ok(None) };
    let size = from.metadata()?.len();
    if fs::metadata(to).is_ok_and(|there| there.len() == size) {
        return Ok(Some(size));
    }
    if_there(fs::remove_file(to))?;
    let mut file = File::options().write(true).create_new(true).mode(0o400).open(to)?;
    let copied = std::io::copy(&mut from, &mut file)?;
    file.sync_all()?;
    Ok(Some(copied))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { message_bytes: 100, session_bytes: 100, reserve_bytes: 0 };

    #[test]
    fn while_blobs_are_copied_none_goes() {
        let (folder, copies) =
            (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let store = Store::open(folder.path().join("a"), LIMITS).expect("it opens");
        let [one, other] = [b"one".as_slice(), b"other"].map(|bytes| store.put(bytes).expect("a disk"));
        let (first, second) = (store.hold(), store.clone().hold());
        store.discard([one.clone()]);
        drop(first);
        assert_eq!(store.copy_to(&one, copies.path()).expect("it stays"), Some(3));
        std::thread::sleep(std::time::Duration::from_millis(2));
        let next = Store { opened: crate::id::mint(BLOB), ..store.clone() };
        assert_eq!(next.sweep(&HashSet::new()).expect("it sweeps"), 0);
        assert!(store.read(&other).is_ok());
        drop(second);
        assert!(store.read(&one).is_err() && store.read(&other).is_err(), "both may go now");
        assert_eq!(store.take_from(&one, copies.path()).expect("it is taken"), Some(3));
        assert_eq!(store.copy_to("no such blob", copies.path()).expect("it is looked for"), None);
        assert!(
            store.copy_to(&one, &copies.path().join("gone")).is_err(),
            "the folder, not the blob, is missing"
        );
        assert_eq!(store.read(&one).expect("it is there"), b"one");
    }

    #[test]
    fn what_no_commit_names_goes_at_the_next_start() {
        let folder = tempfile::tempdir().expect("a folder");
        let open = |limits| Store::open(folder.path().join("a"), limits).expect("it opens");
        let store = open(LIMITS);
        let (kept, lost) = (store.put(b"kept").expect("a disk"), store.put(b"lost").expect("a disk"));
        let named = HashSet::from([kept.clone()]);
        assert_eq!(store.sweep(&named).expect("it sweeps"), 0, "those of this start are left alone");
        std::thread::sleep(std::time::Duration::from_millis(2));
        let next = open(LIMITS);
        assert_eq!(next.sweep(&named).expect("it sweeps"), 1);
        assert_eq!(next.read(&kept).expect("it is there"), b"kept");
        assert!(next.read(&lost).is_err());
        let full = open(Limits { reserve_bytes: u64::MAX / 2, ..LIMITS });
        let told = full.put(b"x").expect_err("no room").to_string();
        assert!(told.contains("disk_reserve_mb"), "{told}");
    }
}
