//! The reader's watch: it wakes the reader when the runner may have committed.

use inotify::{Inotify, WatchMask};
use rustix::fd::{AsFd, BorrowedFd};
use std::io::{ErrorKind, Result};
use std::path::Path;
use std::time::Duration;
use vestibule_session::SessionDir;

/// On a mount that does not notify, the file is looked at this often.
const SAFETY_NET: Duration = Duration::from_secs(1);
/// Without a watch the file is looked at this often. A look takes a fraction of a millisecond.
const LOOKS: Duration = Duration::from_millis(100);

/// A watch on `out/`, or none: a user has only so many instances and watches of inotify, and one program
/// of the user's can hold them all.
pub struct CommitWatch(Option<Inotify>);

impl CommitWatch {
    /// Watches `out/`. Where the kernel gives no watch, this one never wakes, for as long as this reader lives: a
    /// confined reader could not make another.
    pub fn open(out: &Path) -> CommitWatch {
        let watch = || -> Result<Inotify> {
            let inotify = Inotify::init()?;
            inotify.watches().add(out, WatchMask::DELETE)?;
            Ok(inotify)
        };
        CommitWatch(watch().ok())
    }

    /// How long to wait for the watch before the file is looked at all the same.
    pub fn patience(&self) -> Duration {
        if self.0.is_some() { SAFETY_NET } else { LOOKS }
    }

    /// The descriptor that is readable when the watch wakes; `None` without a watch.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.0.as_ref().map(AsFd::as_fd)
    }

    /// Empties the watch; whether any event may be a commit of the runner. SQLite commits by removing the journal; the
    /// safety net notices a runner that commits in another way.
    pub fn commits_seen(&mut self) -> Result<bool> {
        let Some(inotify) = &mut self.0 else { return Ok(false) };
        let mut buffer = [0; 4096];
        let mut seen = false;
        loop {
            match inotify.read_events(&mut buffer) {
                Ok(events) => {
                    for event in events {
                        // An event without a name: the queue overflowed, so look to be sure.
                        seen |= event.name.is_none_or(|name| name == SessionDir::outbound_journal_name());
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(seen),
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_watch_the_file_is_looked_at_more_often() {
        let folder = tempfile::tempdir().unwrap();
        let mut watch = CommitWatch::open(folder.path());
        assert_eq!(watch.patience(), SAFETY_NET);
        for (name, seen) in [("other", false), (SessionDir::outbound_journal_name(), true)] {
            std::fs::write(folder.path().join(name), "").unwrap();
            std::fs::remove_file(folder.path().join(name)).unwrap();
            assert_eq!(watch.commits_seen().unwrap(), seen, "{name}");
        }
        let mut deaf = CommitWatch::open(&folder.path().join("nothing"));
        assert_eq!(deaf.patience(), LOOKS);
        assert!(deaf.fd().is_none() && !deaf.commits_seen().unwrap());
    }
}
