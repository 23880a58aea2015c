//! Starts a runner and the reader beside it, and ends a runner with everything it started.

use crate::confine::{self, RunnerCalls};
use crate::groups::{Group, Weight};
use crate::survivors::Mark;
use crate::wire::{RunnerSpec, Sandbox};
use crate::{bwrap, user, weight};
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::fs::{MemfdFlags, SealFlags, memfd_create};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, kill_process_group, waitpid};
use std::fs::File;
use std::io::{PipeReader, PipeWriter, Result, Write};
use std::os::fd::IntoRawFd;
use std::os::unix::fs::FileExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use vestibule_session::SessionDir;

/// For how many rounds of a millisecond the end of all processes is waited for.
const END_ROUNDS: u32 = 2000;

/// A runner that was started.
pub struct Started {
    /// The runner, or the `bwrap` around it.
    pub child: Child,
    /// The pipe on which `bwrap` says which process is the first inside.
    pub info: Option<PipeReader>,
    /// The control group of the run.
    pub group: Option<Group>,
}

/// Starts the runner in a session of its own, with less weight than the runtime, and with only the environment it is
/// given. Its descendants become this process's children when their parents end, so none gets away.
pub fn start(spec: &RunnerSpec, mark: Mark, session: &SessionDir, stderr: Stdio) -> Result<Started> {
    rustix::process::set_child_subreaper(Some(Pid::INIT))?;
    let mut passed_on: Vec<OwnedFd> = Vec::new();
    let mut info = None;
    let mut command = match &spec.sandbox {
        Sandbox::None | Sandbox::Process { .. } => {
            let mut command = Command::new(&spec.program);
            command.current_dir(&spec.agent_folder);
            command
        }
        Sandbox::Bwrap { bubblewrap, grants } => {
            let own_files = bubblewrap.user.is_some() || !rustix::process::geteuid().is_root();
            let calls = RunnerCalls { network: grants.network, length_guarded: true, own_files };
            for filter in confine::runner_bytes(calls)? {
                passed_on.push(sealed(&filter)?);
            }
            let filters: Vec<_> = passed_on.iter().map(AsRawFd::as_raw_fd).collect();
            let (from, to) = std::io::pipe()?;
            let mut command = Command::new(&bubblewrap.program);
            command.args(bwrap::args(spec, bubblewrap, grants, session, &filters, to.as_raw_fd()));
            passed_on.push(to.into());
            info = Some(from);
            if let Some(user) = bubblewrap.user {
                let environment = sealed(&serde_json::to_vec(&spec.env)?)?;
                command.args(bwrap::becoming(user, environment.as_raw_fd()));
                passed_on.push(environment);
            }
            command
        }
    };
    // The environment is not in the arguments of `bwrap`, which other users can read. A process that runs as root, even
    // for a moment, gets none of it.
    let becomes_another =
        matches!(&spec.sandbox, Sandbox::Bwrap { bubblewrap, .. } if bubblewrap.user.is_some());
    let env = if becomes_another { &[][..] } else { &spec.env };
    command
        .args(&spec.args)
        .env_clear()
        .envs(env.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(stderr);
    let group = spec.group.as_deref().map(group_of_run).transpose()?;
    let entered = group.as_ref().map(Group::try_clone).transpose()?;
    let (spec, session) = (spec.clone(), session.root().to_owned());
    let shut = move || {
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(spec.umask));
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        weight::step_back()?;
        entered.as_ref().map_or(Ok(()), Group::enter)?;
        for fd in &passed_on {
            rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty())?;
        }
        mark.set()?;
        confine::runner(&spec.sandbox, &session, &spec.agent_folder, &spec.program)
    };
    // SAFETY: a warden has one thread, so between fork and exec nothing holds a lock and the closure
    // may allocate.
    unsafe {
        command.pre_exec(shut);
    }
    Ok(Started { child: command.spawn()?, info, group })
}

fn group_of_run(folder: &Path) -> Result<Group> {
    let named = |error: std::io::Error| {
        std::io::Error::new(
            error.kind(),
            format!("its control group {} cannot be made: {error}", folder.display()),
        )
    };
    Group::make(folder, Weight::Third).map_err(named)
}

/// Makes a file of these bytes that can be read once and never changed.
fn sealed(bytes: &[u8]) -> Result<OwnedFd> {
    let fd = memfd_create("sealed", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut file = File::from(fd);
    file.write_all(bytes)?;
    rustix::fs::seek(&file, rustix::fs::SeekFrom::Start(0))?;
    rustix::fs::fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK)?;
    Ok(file.into())
}

/// Whether `bwrap` confines a runner here: a whole sandbox is started in a folder of its own.
pub fn probe_bwrap(bubblewrap: &str, program: &Path, folder: &Path) -> Result<()> {
    let bubblewrap: crate::wire::Bubblewrap = serde_json::from_str(bubblewrap)?;
    let session = SessionDir::new(folder.join("session"));
    let agent_folder = folder.join("agent");
    for part in [session.out(), session.root().join("agent"), agent_folder.clone()] {
        std::fs::create_dir_all(part)?;
    }
    if let Some(user) = bubblewrap.user {
        user::may_have_runners()?;
        session.share_with(user.gid)?;
    }
    let grants = crate::wire::Grants { read: vec![], network: false, memory_bytes: 1 << 30 };
    let spec = RunnerSpec {
        program: program.to_owned(),
        args: vec!["keeper".into(), "--probe-inside".into()],
        env: vec![],
        agent_folder,
        umask: 0o077,
        group: None,
        sandbox: Sandbox::Bwrap { bubblewrap: Box::new(bubblewrap), grants },
        limits: crate::wire::Limits::NONE,
    };
    user::hand_over(&session, &spec, || Ok(()))?;
    confine::signals(false);
    // All probes of a home bear the mark of its cache folder: a crash can leave the process of one, which waits for its
    // dead parent for ever, because `bwrap` lets it die with that parent only a moment later.
    let mark = Mark::of(File::open(folder.parent().unwrap_or(folder))?)?;
    mark.end_all()?;
    let started = start(&spec, mark, &session, Stdio::piped())?;
    let output = started.child.wait_with_output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.lines().next().unwrap_or_default().trim_start_matches("vestibule keeper: ");
    Err(std::io::Error::other(if said.is_empty() { in_words(output.status) } else { said.to_owned() }))
}

/// The `fcntl` command that chooses the signal of a descriptor: the same number on every architecture.
const F_SETSIG: i32 = 10;

/// Which of the two processes this one is after [`split`].
pub enum Side {
    /// The child.
    Reader,
    /// The parent, with its child, and the pipe by which the child lives: when it is closed, the kernel ends the child.
    Warden(Pid, PipeWriter),
}

/// Makes a second process of this one. The child ends when the parent does, also when the child is stopped or hangs. A
/// signal on the parent's death would not do: a parent that may signal only its runner cannot send that either.
pub fn split() -> Result<Side> {
    let parent = rustix::process::getpid();
    let (life, held) = std::io::pipe()?;
    // SAFETY: a keeper has one thread here, so the child finds every lock free.
    let pid = unsafe { libc::fork() };
    if pid < 0 {
        return Err(std::io::Error::last_os_error());
    }
    if let Some(pid) = Pid::from_raw(pid) {
        return Ok(Side::Warden(pid, held));
    }
    drop(held);
    let life = life.into_raw_fd(); // never closed
    for (what, value) in [
        (libc::F_SETOWN, rustix::process::getpid().as_raw_nonzero().get()),
        (F_SETSIG, libc::SIGKILL),
        (libc::F_SETFL, libc::O_ASYNC),
    ] {
        // SAFETY: it takes numbers only.
        if unsafe { libc::fcntl(life, what, value) } < 0 {
            return Err(std::io::Error::last_os_error());
        }
    }
    if rustix::process::getppid() != Some(parent) {
        return Err(std::io::Error::other("the warden ended at once"));
    }
    Ok(Side::Reader)
}

/// The kernel's list of this process's children.
pub struct Children {
    list: File,
    /// The reader, which is no part of the run.
    reader: Pid,
    /// Whether the kernel lets this process signal only its descendants.
    scoped: bool,
}

impl Children {
    /// The children of this process, except the reader. `scoped` is what [`confine::signals`] returned.
    pub fn open(reader: Pid, scoped: bool) -> Result<Children> {
        let list = File::open(format!("/proc/self/task/{}/children", std::process::id()))?;
        Ok(Children { list, reader, scoped })
    }

    /// The children that are there now.
    pub fn pids(&self) -> Vec<Pid> {
        let mut text = vec![0; 256 * 1024];
        let length = self.list.read_at(&mut text, 0).unwrap_or(0);
        let mut pids = crate::usage::pids(&text[..length]);
        pids.retain(|pid| *pid != self.reader);
        pids
    }

    /// Reaps the children that have ended, except one.
    pub fn reap(&self, but: Option<Pid>) {
        for pid in self.pids().into_iter().filter(|pid| Some(*pid) != but) {
            let _ = waitpid(Some(pid), WaitOptions::NOHANG);
        }
    }

    /// Ends the children and all their descendants. The children of a killed parent become this process's, so this goes
    /// on until there are none, or for a bounded time.
    pub fn end(&self) {
        for round in 0..END_ROUNDS {
            if self.pids().is_empty() {
                return;
            }
            self.kill();
            self.reap(None);
            if round > 10 {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        }
    }

    /// Signals the children and, where that is safe, all their descendants at once: a program that forks faster than a
    /// list can be read does not outrun this.
    pub fn kill(&self) {
        if self.reaches_only_its_own() {
            // SAFETY: it takes numbers only.
            unsafe { libc::kill(-1, libc::SIGKILL) };
        }
        for pid in self.pids() {
            let _ = kill_process(pid, Signal::KILL);
        }
    }

    /// Proves, before every process within reach is signalled, that the scope holds: this process's own parent, a
    /// process of the same user, must be out of reach.
    fn reaches_only_its_own(&self) -> bool {
        use std::os::unix::fs::MetadataExt;
        let Some(parent) = rustix::process::getppid().filter(|_| self.scoped) else { return false };
        let owner = std::fs::metadata(format!("/proc/{}", parent.as_raw_nonzero())).map(|m| m.uid());
        let (us, refused) = (rustix::process::geteuid().as_raw(), Err(rustix::io::Errno::PERM));
        owner.is_ok_and(|owner| us == 0 || owner == us)
            && rustix::process::test_kill_process(parent) == refused
    }
}

/// Asks a runner's process group to end.
pub fn ask_to_end(runner: Pid) {
    if let Ok(group) = rustix::process::getpgid(Some(runner)) {
        let _ = kill_process_group(group, Signal::TERM);
    }
}

/// How a process ended, as a sentence.
pub fn in_words(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("it ended with status {code}"),
        (None, Some(signal)) => format!("it was ended by signal {signal}"),
        (None, None) => "it ended".to_owned(),
    }
}

/// The first process inside a `bwrap`, from its output; `None` while that is incomplete.
pub fn first_inside(info: &[u8]) -> Option<Pid> {
    let said: serde_json::Value = serde_json::from_slice(info).ok()?;
    Pid::from_raw(i32::try_from(said["child-pid"].as_i64()?).ok()?)
}

/// The process id of a child.
pub fn pid_of(child: &Child) -> Result<Pid> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    pid.ok_or_else(|| std::io::Error::other("the runner ended at once"))
}

/// Waits a little for the reader, when its warden ends: no other process would.
pub fn see_off(reader: Pid) {
    for _ in 0..1000 {
        match rustix::process::waitpid(Some(reader), rustix::process::WaitOptions::NOHANG) {
            Ok(None) => std::thread::sleep(std::time::Duration::from_millis(1)),
            _ => return,
        }
    }
}
