//! Starting a runner, and ending it with everything it started.

use crate::confine;
use crate::wire::RunnerSpec;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::fs::File;
use std::io::Result;
use std::os::unix::fs::FileExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

/// Starts the runner in a process group of its own, with nothing but the environment it is given.
/// Its descendants become this process's children when their parents end, so none gets away.
pub fn start(spec: &RunnerSpec, session: &Path) -> Result<Child> {
    rustix::process::set_child_subreaper(Some(Pid::INIT))?;
    let mut command = Command::new(&spec.program);
    command
        .args(&spec.args)
        .env_clear()
        .envs(spec.env.iter().map(|(name, value)| (name, value)))
        .current_dir(&spec.agent_folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0);
    let (spec, session) = (spec.clone(), session.to_owned());
    let shut = move || {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        confine::runner(&spec.sandbox, &session, &spec.agent_folder, &spec.program)
    };
    // SAFETY: a keeper has one thread, so between fork and exec nothing holds a lock and the closure
    // may allocate.
    unsafe {
        command.pre_exec(shut);
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
pub fn end(runner: &mut Child, children: &Children) {
    if let Some(group) = pid_of(runner) {
        let _ = kill_process_group(group, Signal::KILL);
    }
    let _ = runner.wait();
    children.end();
}

/// The kernel's list of our children, opened while we still may.
pub struct Children(File);

impl Children {
    /// Opens it.
    pub fn open() -> Result<Children> {
        File::open(format!("/proc/self/task/{}/children", std::process::id())).map(Children)
    }

    /// Ends them all. A killed parent hands its children to us, so this goes on until there are
    /// none, or for a bounded number of rounds.
    pub fn end(&self) {
        for _ in 0..1000 {
            let mut text = vec![0; 64 * 1024];
            let length = self.0.read_at(&mut text, 0).unwrap_or(0);
            let text = String::from_utf8_lossy(&text[..length]).into_owned();
            let pids: Vec<Pid> =
                text.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect();
            if pids.is_empty() {
                return;
            }
            for pid in &pids {
                let _ = kill_process(*pid, Signal::KILL);
            }
            for pid in pids {
                let _ = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty());
            }
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
