//! Starting a runner, and ending it with everything it started.

use crate::wire::RunnerSpec;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::io::Result;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};

/// Starts the runner in a process group of its own, with nothing but the environment it is given.
/// Its descendants become this process's children when their parents end, so none gets away.
pub fn start(spec: &RunnerSpec) -> Result<Child> {
    rustix::process::set_child_subreaper(Some(Pid::INIT))?;
    let mut command = Command::new(&spec.program);
    command
        .args(&spec.args)
        .env_clear()
        .envs(spec.env.iter().map(|(name, value)| (name, value)))
        .current_dir(&spec.cwd)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0);
    // SAFETY: between fork and exec the closure makes one system call and allocates nothing.
    unsafe {
        command.pre_exec(|| Ok(rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?));
    }
    command.spawn()
}

/// Asks the runner's process group to end.
pub fn ask_to_end(runner: &Child) {
    if let Some(group) = pid_of(runner) {
        let _ = kill_process_group(group, Signal::TERM);
    }
}

/// Ends the runner's process group and every descendant, wherever it moved itself.
pub fn end(runner: &mut Child) {
    if let Some(group) = pid_of(runner) {
        let _ = kill_process_group(group, Signal::KILL);
    }
    let _ = runner.wait();
    end_descendants();
}

/// A killed parent hands its children to us, so this goes on until there are none. Bounded: a
/// fork bomb is the sandbox's to stop.
pub fn end_descendants() {
    for _ in 0..100 {
        let children = std::fs::read_to_string(format!("/proc/self/task/{}/children", std::process::id()));
        let pids: Vec<Pid> = children
            .unwrap_or_default()
            .split_whitespace()
            .filter_map(|pid| Pid::from_raw(pid.parse().ok()?))
            .collect();
        if pids.is_empty() {
            return;
        }
        for pid in pids {
            let _ = kill_process(pid, Signal::KILL);
            let _ = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty());
        }
    }
}

/// How a process ended, in words.
pub fn in_words(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("it ended with status {code}"),
        (None, Some(signal)) => format!("it was ended by signal {signal}"),
        (None, None) => "it ended".to_owned(),
    }
}

fn pid_of(child: &Child) -> Option<Pid> {
    Pid::from_raw(i32::try_from(child.id()).ok()?)
}
