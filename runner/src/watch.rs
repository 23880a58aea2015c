//! The watch: sleeps until the runtime has written.

use inotify::{Event, EventMask, Inotify, WatchMask};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::ffi::OsStr;
use std::io;
use std::time::{Duration, Instant};
use vestibule_session::SessionDir;

/// Without a watch the file is looked at this often.
const LOOKS: Duration = Duration::from_millis(100);

/// Wakes the runner when the runtime closes its file after a change, or moves a new one into its place. Some
/// mounts give no event, so the runner also polls now and then.
pub struct InboundWatch {
    inotify: Option<Inotify>,
}

impl InboundWatch {
    /// Watches a session's folder. Where that is impossible (a user has only so many watches), it never
    /// wakes, and the runner does not wait long for it.
    pub fn open(dir: &SessionDir) -> InboundWatch {
        // A journal that is closed or deleted does not count: the writer still holds its lock then,
        // and a poll that meets the lock costs more than the moment until the file is closed.
        let watch = || -> io::Result<Inotify> {
            let inotify = Inotify::init()?;
            inotify.watches().add(dir.root(), WatchMask::CLOSE_WRITE | WatchMask::MOVED_TO)?;
            Ok(inotify)
        };
        let inotify = watch().inspect_err(|error| {
            eprintln!(
                "vestibule-runner: cannot watch the session's folder, so the runner looks ten times a second: {error}"
            );
        });
        InboundWatch { inotify: inotify.ok() }
    }

    /// Forgets what was seen. Call this before looking at the file, so that no later change is missed.
    pub fn drain(&mut self) {
        if let Some(inotify) = &mut self.inotify {
            while changed(inotify) != Changed::No {}
        }
    }

    /// Sleeps until the file changes, or `patience` is over.
    pub fn wait(&mut self, patience: Duration) {
        let Some(inotify) = &mut self.inotify else {
            std::thread::sleep(patience.min(LOOKS));
            return;
        };
        let until = Instant::now() + patience;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let timeout = Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: i64::from(left.subsec_nanos()),
            };
            let ready = poll(&mut [PollFd::new(&*inotify, PollFlags::IN)], Some(&timeout));
            if ready == Ok(0) || left.is_zero() || changed(inotify) == Changed::Yes {
                return;
            }
        }
    }
}

#[derive(PartialEq, Eq)]
enum Changed {
    Yes,
    /// Something changed that does not count.
    NotThis,
    No,
}

/// Takes the events that wait, up to one buffer.
fn changed(inotify: &mut Inotify) -> Changed {
    let mut buffer = [0; 4096];
    match inotify.read_events(&mut buffer) {
        Ok(mut events) => {
            if events.any(|event| counts(&event)) {
                Changed::Yes
            } else {
                Changed::NotThis
            }
        }
        Err(_) => Changed::No,
    }
}

/// An overflow counts, too: it may have swallowed an event that does.
fn counts(event: &Event<&OsStr>) -> bool {
    event.mask.contains(EventMask::Q_OVERFLOW)
        || event.name.is_some_and(|name| name == OsStr::new(SessionDir::inbound_name()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn rings_for_the_file_and_for_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let dir = SessionDir::new(folder.path());
        let mut watch = InboundWatch::open(&dir);
        let (short, long) = (Duration::from_millis(50), Duration::from_secs(20));
        let waits = |watch: &mut InboundWatch, patience| {
            let start = Instant::now();
            watch.wait(patience);
            start.elapsed()
        };

        fs::write(folder.path().join("other"), "x").unwrap();
        assert!(waits(&mut watch, short) >= short, "another file does not wake");
        fs::write(dir.inbound_db(), "x").unwrap();
        assert!(waits(&mut watch, long) < long, "a closed file wakes");
        fs::rename(folder.path().join("other"), dir.inbound_db()).unwrap();
        assert!(waits(&mut watch, long) < long, "a moved file wakes");
        fs::write(dir.inbound_db(), "x").unwrap();
        watch.drain();
        assert!(waits(&mut watch, short) >= short, "a drained watch is silent");
    }
}
