//! The processes that outlived a keeper that was killed. Every process of a run bears a mark of its session, which it
//! inherits and cannot change: the hard limit of a resource that the kernel has not counted since Linux 2.4. A process
//! may lower such a limit, so the filter of system calls refuses that.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
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

    /// Signals every process that bears the mark and has not ended; returns whether there were any. One that has ended
    /// keeps its table of limits until its parent reaps it, and the first process of a container may never do that.
    fn kill_all(self) -> Result<bool> {
        let mut any = false;
        for entry in fs::read_dir("/proc")?.flatten() {
            let pid = entry.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw);
            let Some(pid) = pid.filter(|pid| self.is_on(*pid)) else { continue };
            // The process is looked at again by a handle: the number may be another process's by now.
            let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else { continue };
            if self.is_on(pid) && !has_ended(&process) {
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

/// Whether all threads of a process have ended. Its state does not say that: its first thread may end before the others.
fn has_ended(process: impl AsFd) -> bool {
    poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
}

/// The mark in the kernel's table of a process's limits.
fn mark_in(limits: &str) -> Option<Mark> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max file locks"))?;
    let [_, hard, ..] = line.split_whitespace().collect::<Vec<_>>()[..] else { return None };
    hard.parse().ok().map(Mark)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::{CommandExt, ExitStatusExt};
    use std::process::{Child, Command};

    #[test]
    fn the_mark_is_read_from_the_hard_limit() {
        let table = |soft, hard| {
            format!("Limit  Soft Limit  Hard Limit  Units\nMax file locks   {soft}   {hard}   locks\n")
        };
        assert_eq!(mark_in(&table("12", "345")), Some(Mark(345)));
        assert_eq!(mark_in(&table("unlimited", "unlimited")), None);
        assert_eq!(mark_in(""), None);
    }

    /// Starts a program that bears the mark.
    fn marked(mark: Mark, program: &mut Command) -> Child {
        // SAFETY: between fork and exec it makes one system call, and allocates only to say why that failed.
        unsafe { program.pre_exec(move || mark.set()) };
        program.spawn().unwrap()
    }

    #[test]
    fn what_has_ended_and_is_never_reaped_counts_no_more() {
        let mark = Mark::of(tempfile::tempfile().unwrap()).unwrap();
        let mut child = marked(mark, Command::new("sleep").arg("60"));
        mark.end_all().unwrap();
        assert!(mark.is_on(Pid::from_child(&child)), "it bears the mark until it is reaped");
        assert!(!child.wait().unwrap().success());
    }

    #[test]
    fn what_has_ended_but_for_one_thread_is_ended() {
        let mark = Mark::of(tempfile::tempfile().unwrap()).unwrap();
        let program = format!(
            "import ctypes, threading, time\n\
             threading.Thread(target=time.sleep, args=(60,)).start()\n\
             ctypes.CDLL(None).syscall({}, 0)",
            libc::SYS_exit
        );
        let mut child = match Command::new("python3").arg("--version").output() {
            Ok(_) => marked(mark, Command::new("python3").args(["-c", &program])),
            Err(error) => return eprintln!("SKIPPED: python3 cannot be run: {error}"),
        };
        let stat = format!("/proc/{}/stat", child.id());
        while !fs::read_to_string(&stat).unwrap().contains(") Z ") {
            std::thread::sleep(PAUSE);
        }
        mark.end_all().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(Signal::KILL.as_raw()));
    }

    #[test]
    fn sessions_have_marks_of_their_own_and_keep_them() {
        let files = [tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap()];
        let [one, two] = files.each_ref().map(|file| Mark::of(file).unwrap());
        assert!(one != two && one.0 < u64::MAX / 2);
        assert_eq!(one, Mark::of(&files[0]).unwrap());
    }
}
