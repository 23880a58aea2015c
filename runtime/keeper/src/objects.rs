//! What the kernel keeps for the open files of a run besides their contents: watches and locks.

use rustix::process::Pid;
use std::fs;
use std::io::{BufRead, BufReader};

/// The most watches (of epoll and inotify) and locks of a run together. One takes some hundred bytes of the kernel's
/// memory, which counts for no process.
pub const OBJECTS_MAX: u64 = 64 * 1024;

/// The line that stands for each kind in `/proc/PID/fdinfo` (proc(5)).
const MARKS: [&[u8]; 3] = [b"tfd:", b"inotify ", b"lock:"];

/// Counts the watches and locks of these processes, until there are more than [`OBJECTS_MAX`].
pub fn count(pids: &[Pid]) -> u64 {
    let mut objects = 0;
    for pid in pids {
        let files = fs::read_dir(format!("/proc/{}/fdinfo", pid.as_raw_nonzero()));
        for file in files.into_iter().flatten().flatten() {
            objects += fs::File::open(file.path()).map_or(0, |info| lines(BufReader::new(info)));
            if objects > OBJECTS_MAX {
                return objects;
            }
        }
    }
    objects
}

fn lines(mut info: impl BufRead) -> u64 {
    let (mut objects, mut line) = (0, Vec::new());
    // A process that ends meanwhile is an error, and has nothing more to count.
    while objects <= OBJECTS_MAX && info.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
        objects += u64::from(MARKS.iter().any(|mark| line.starts_with(mark)));
        line.clear();
    }
    objects
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::epoll;

    #[test]
    fn watches_and_locks_are_counted() {
        let us = [rustix::process::getpid()];
        let before = count(&us);
        let folder = tempfile::tempdir().unwrap();
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
        let (end, _other) = std::io::pipe().unwrap();
        epoll::add(&poll, &end, epoll::EventData::new_u64(0), epoll::EventFlags::IN).unwrap();
        let inotify = inotify::Inotify::init().unwrap();
        inotify.watches().add(folder.path(), inotify::WatchMask::CREATE).unwrap();
        let file = fs::File::create(folder.path().join("file")).unwrap();
        file.lock().unwrap();
        // Other tests of this process may have some, too.
        assert!(count(&us) >= before + 3, "{before} {}", count(&us));
    }
}
