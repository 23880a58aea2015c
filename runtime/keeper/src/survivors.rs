//! The processes that outlived a keeper that was killed. Every process of a run bears a mark of its session, which it
//! inherits and cannot change: the hard limit of a resource that the kernel has not counted since Linux 2.4. A process
//! may lower such a limit, so the filter of system calls refuses that.

use rustix::fd::AsFd;
use rustix::process::{Pid, PidfdFlags, Resource, Rlimit, Signal, pidfd_open, pidfd_send_signal, setrlimit};
use std::fs;
use std::io::{Error, Result};
use std::time::Duration;

/// How often the processes are looked at until none is left.
const ROUNDS: u32 = 2000;
const PAUSE: Duration = Duration::from_millis(1);

/// The mark of one session's runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark(u64);

impl Mark {
    /// The mark of the session with this lock: no two files of a machine have the same numbers.
    pub fn of(lock: impl AsFd) -> Result<Mark> {
        let lock = rustix::fs::fstat(lock)?;
        // FNV-1a: the next version of this program must compute the same mark.
        let bytes = [lock.st_dev.to_le_bytes(), lock.st_ino.to_le_bytes()].concat();
        let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
        // Never "unlimited", the limit that every other process has.
        Ok(Mark(hash >> 1))
    }

    /// Marks the calling process and what it starts.
    pub fn set(self) -> Result<()> {
        let most = Some(self.0);
        setrlimit(Resource::Locks, Rlimit { current: most, maximum: most }).map_err(|error| {
            Error::other(format!("a run cannot be marked, start without a limit of file locks: {error}"))
        })
    }

    /// Ends every process that bears the mark, and returns when none is left.
    ///
    /// # Errors
    /// The list of processes cannot be read, or one does not end.
    pub fn end_all(self) -> Result<()> {
        for _ in 0..ROUNDS {
            if !self.kill_all()? {
                return Ok(());
            }
            std::thread::sleep(PAUSE);
        }
        Err(Error::other("a process that an earlier run of this session left does not end"))
    }

    /// Signals every process that bears the mark; returns whether there were any.
    fn kill_all(self) -> Result<bool> {
        let mut any = false;
        for entry in fs::read_dir("/proc")?.flatten() {
            let pid = entry.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw);
            let Some(pid) = pid.filter(|pid| self.is_on(*pid)) else { continue };
            // The process is looked at again by a handle: the number may be another process's by now.
            let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else { continue };
            if self.is_on(pid) {
                any |= pidfd_send_signal(process, Signal::KILL).is_ok();
            }
        }
        Ok(any)
    }

    fn is_on(self, pid: Pid) -> bool {
        let limits = fs::read_to_string(format!("/proc/{}/limits", pid.as_raw_nonzero())).unwrap_or_default();
        mark_in(&limits) == Some(self)
    }
}

/// The mark in the kernel's table of a process's limits. A process that has ended and waits for its parent has no
/// table.
fn mark_in(limits: &str) -> Option<Mark> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max file locks"))?;
    let [_, hard, ..] = line.split_whitespace().collect::<Vec<_>>()[..] else { return None };
    hard.parse().ok().map(Mark)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_is_read_from_the_hard_limit() {
        let table = |soft, hard| {
            format!("Limit  Soft Limit  Hard Limit  Units\nMax file locks   {soft}   {hard}   locks\n")
        };
        assert_eq!(mark_in(&table("12", "345")), Some(Mark(345)));
        assert_eq!(mark_in(&table("unlimited", "unlimited")), None);
        assert_eq!(mark_in(""), None);
    }

    #[test]
    fn sessions_have_marks_of_their_own_and_keep_them() {
        let files = [tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap()];
        let [one, two] = files.each_ref().map(|file| Mark::of(file).unwrap());
        assert!(one != two && one.0 < u64::MAX / 2);
        assert_eq!(one, Mark::of(&files[0]).unwrap());
    }
}
