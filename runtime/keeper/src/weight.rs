//! How much of the processors a run gets beside the runtime and the other runs.
//!
//! Where the kernel shares processors between sessions first (`sched_autogroup`), the weight is the session's;
//! elsewhere it is each process's `nice`. A run gets both, lower than the runtime's. It cannot raise either: the first
//! is written in `/proc`, which a run may not write, the second needs a privilege.

use rustix::io::Errno;
use rustix::process::{Pid, nice, setsid};
use std::collections::HashMap;
use std::fs;
use std::io::Result;

/// By how many steps a run is nicer than the runtime. For five steps the kernel gives it a third of the weight. Its
/// runner starts the agent's programs nicer still.
const STEPS: i32 = 5;
const NICEST: i32 = 19;

/// Called before a run executes its program: gives it a session of its own, and less weight.
pub fn step_back() -> Result<()> {
    setsid()?;
    nice(STEPS)?;
    Ok(())
}

/// Gives the sessions of a run their weight: `first`, in which its runner was started, the weight of a run, and all
/// sessions that its programs began the same once more, divided among them. Without a privilege the kernel takes ten
/// such changes a second, of all users together; the next call repeats what it does not take now.
pub fn lower_sessions(run: &[Pid], first: Pid) {
    let Some(ours) = nice_of_session(std::process::id()) else { return };
    let members: HashMap<Pid, Pid> = run.iter().filter_map(|pid| Some((session_of(*pid)?, *pid))).collect();
    let others = members.keys().filter(|session| **session != first).count();
    for (session, member) in &members {
        let dividing = if *session == first { 0 } else { steps(others) };
        let (wanted, member) = ((ours + STEPS + dividing).min(NICEST), member.as_raw_nonzero());
        if nice_of_session(member).is_some_and(|nice| nice != wanted) {
            let written = fs::write(format!("/proc/{member}/autogroup"), wanted.to_string());
            if written.is_err_and(|error| error.raw_os_error() == Some(Errno::AGAIN.raw_os_error())) {
                return;
            }
        }
    }
}

/// The session of a process, named by the process that began it. `None` when the process is gone, or when another pid
/// namespace began the session: the kernel has no number for it then, returns 0, and rustix's `getsid` does not expect that.
pub fn session_of(pid: Pid) -> Option<Pid> {
    // SAFETY: it takes a number and returns one.
    let session = unsafe { libc::getsid(pid.as_raw_nonzero().get()) };
    Pid::from_raw(session.max(0))
}

/// How many steps nicer each of `many` sessions is that together have the weight of one: a step is a factor of 1.25.
/// Pure.
fn steps(many: usize) -> i32 {
    (1..=NICEST).take_while(|step| 1.25_f64.powi(*step) <= many as f64 * 1.1).count() as i32
}

/// The weight of a process's session, as a `nice`; `None` where sessions have none.
fn nice_of_session(pid: impl std::fmt::Display) -> Option<i32> {
    read_nice(&fs::read_to_string(format!("/proc/{pid}/autogroup")).ok()?)
}

/// The number in `/autogroup-31 nice 0`. Pure.
fn read_nice(text: &str) -> Option<i32> {
    text.split_once(" nice ")?.1.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_line_is_read() {
        for (text, nice) in
            [("/autogroup-31 nice 0\n", Some(0)), ("/autogroup-7 nice -5\n", Some(-5)), ("", None)]
        {
            assert_eq!(read_nice(text), nice, "{text}");
        }
    }

    /// Runs once more in a pid namespace of its own, where the session of the test is unknown.
    #[test]
    fn a_session_that_another_namespace_began_is_none() {
        const INSIDE: &str = "VESTIBULE_TEST_IN_A_PID_NAMESPACE";
        if std::env::var_os(INSIDE).is_some() {
            let this = rustix::process::getpid();
            assert_eq!(session_of(this), None);
            setsid().unwrap();
            assert_eq!(session_of(this), Some(this));
            return;
        }
        let this = std::env::current_exe().unwrap();
        let named = ["weight::tests::a_session_that_another_namespace_began_is_none", "--exact"];
        let user: &[_] = if rustix::process::geteuid().is_root() { &[] } else { &["--map-root-user"] };
        let mut command = std::process::Command::new("unshare");
        command.args(["--pid", "--fork"]).args(user).arg(this).args(named).env(INSIDE, "1");
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{output:?}");
    }

    #[test]
    fn many_sessions_weigh_together_what_one_does() {
        for (many, nicer) in [(0, 0), (1, 0), (2, 3), (4, 6), (10, 10), (100, 19)] {
            assert_eq!(steps(many), nicer, "{many}");
        }
    }
}
