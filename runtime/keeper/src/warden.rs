//! The warden: the half of a keeper that reads no byte of the agent's. It starts the runner, watches what it uses, and
//! ends it with everything it started: when the reader or the runtime says so, when a limit is passed, and when the
//! reader or the runtime is gone.

use crate::fault::Fault;
use crate::groups::Group;
use crate::launch::{self, Children};
use crate::survivors::Mark;
use crate::usage::Usage;
use crate::wire::{self, Limits, RunnerSpec, Sandbox};
use crate::{confine, objects, usage, weight};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::process::{Pid, PidfdFlags, Resource, Rlimit, WaitOptions, pidfd_open, prlimit, waitpid};
use serde::{Deserialize, Serialize};
use std::io::{Error, PipeReader, PipeWriter, Read, Result};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use vestibule_session::SessionDir;

/// How often the run is measured. A program that forks as fast as it can makes thousands of processes in this time.
const ROUND: Duration = Duration::from_millis(250);
/// How often the reader is told that the warden lives.
const TICK: Duration = Duration::from_secs(1);
/// How long after watches and locks were counted they are counted again. A count has a bound.
const OBJECTS_PAUSE: Duration = Duration::from_secs(1);
/// How often a `bwrap` is looked at, at first, for the runner inside.
const RUNNER_ROUND: Duration = Duration::from_millis(1);
/// How long a `bwrap` may take until its runner runs.
const RUNNER_PATIENCE: Duration = Duration::from_secs(5);

/// What the warden tells the reader.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum FromWarden {
    /// The warden lives.
    Tick,
    /// The runner runs, as this process.
    Started {
        /// The process id of the runner.
        pid: u32,
    },
    /// The runner has ended, with everything it started.
    Ended {
        /// How it ended, as a sentence.
        how: String,
    },
    /// The runner could not be started.
    Failed {
        /// Why not.
        reason: String,
        /// Whether space, memory, processes or descriptors were missing.
        is_scarce: bool,
    },
}

/// The reader's requests to the warden, each as one byte: an agent may have taken the reader over.
pub mod order {
    /// Ask the runner to end.
    pub const ASK: u8 = b'a';
    /// End the runner with everything it started.
    pub const END: u8 = b'e';
}

/// The warden's ends of what it shares.
pub struct Ends<'a> {
    /// The runtime's socket: the warden only looks at it, to see when it is gone.
    pub runtime: &'a UnixStream,
    /// The reader's process.
    pub reader: Pid,
    /// The socket to the reader.
    pub link: UnixStream,
    /// The runner's standard error; the reader reads the other end.
    pub stderr: PipeWriter,
}

struct Runner {
    child: Child,
    exit: OwnedFd,
    /// The runner itself, once it is known.
    itself: Option<Pid>,
    /// The output of `bwrap` about the first process inside, as it comes, and until when it must have come.
    inside: Option<(PipeReader, Vec<u8>, Instant)>,
    limits: Limits,
    /// What the run used when it was last measured.
    used: Usage,
    /// When the run's watches and locks are counted next.
    objects_at: Instant,
    /// Whether its user's processes are counted for this run alone: an ordinary user's are, in each user namespace.
    alone: bool,
    /// The control group of the run, where the runtime was delegated one.
    group: Option<Group>,
    /// Why the run was ended, if it passed a limit.
    over: Option<String>,
}

struct Warden<'a> {
    ends: Ends<'a>,
    reader_exit: OwnedFd,
    children: Children,
    runner: Option<Runner>,
    disk: u64,
    measured: Instant,
    ticked: Instant,
}

/// Guards one run until the reader or the runtime has gone; then nothing of the run is left.
pub fn guard(mut ends: Ends, dir: &SessionDir, spec: Option<(RunnerSpec, Mark)>) -> Result<()> {
    use std::os::unix::fs::MetadataExt;
    ends.link.set_nonblocking(true)?;
    // A runner without a sandbox can do everything that its user can, and would inherit this limit.
    let scoped = spec.as_ref().is_some_and(|(spec, _)| match spec.sandbox {
        Sandbox::None => false,
        Sandbox::Process { .. } => confine::signals(true),
        Sandbox::Bwrap { .. } => confine::signals(false),
    });
    let children = Children::open(ends.reader, scoped)?;
    let reader_exit = pidfd_open(ends.reader, PidfdFlags::empty())?;
    let disk = std::fs::symlink_metadata(dir.out()).map(|out| out.dev()).unwrap_or(0);
    let runner = match spec.map(|(spec, mark)| start(&spec, mark, dir, &ends)) {
        None => None,
        Some(Ok(runner)) => Some(runner),
        Some(Err(fault)) => {
            let is_scarce = matches!(fault, Fault::Scarce(_));
            tell(&mut ends.link, &FromWarden::Failed { reason: Error::from(fault).to_string(), is_scarce });
            None
        }
    };
    let now = Instant::now();
    let mut warden = Warden { ends, reader_exit, children, runner, disk, measured: now, ticked: now };
    let outcome = warden.serve();
    warden.children.end();
    if let Some(group) = warden.runner.and_then(|runner| runner.group) {
        group.remove();
    }
    outcome
}

fn start(spec: &RunnerSpec, mark: Mark, dir: &SessionDir, ends: &Ends) -> std::result::Result<Runner, Fault> {
    let start = || -> Result<Runner> {
        let stderr = Stdio::from(ends.stderr.try_clone()?);
        let launch::Started { child, info, group } = launch::start(spec, mark, dir, stderr)?;
        vestibule_session::crash::point("keeper: the runner was started");
        let pid = launch::pid_of(&child)?;
        let exit = pidfd_open(pid, PidfdFlags::empty())?;
        if let Some(info) = &info {
            rustix::io::ioctl_fionbio(info, true)?;
        }
        let inside = info.map(|info| (info, Vec::new(), Instant::now() + RUNNER_PATIENCE));
        let itself = inside.is_none().then_some(pid);
        let alone = matches!(&spec.sandbox, Sandbox::Bwrap { bubblewrap, .. } if bubblewrap.user.is_none());
        Ok(Runner {
            child,
            exit,
            itself,
            inside,
            limits: spec.limits,
            alone,
            used: Usage::default(),
            objects_at: Instant::now() + OBJECTS_PAUSE,
            group,
            over: None,
        })
    };
    let program = match &spec.sandbox {
        Sandbox::Bwrap { bubblewrap, .. } => &bubblewrap.program,
        Sandbox::None | Sandbox::Process { .. } => &spec.program,
    };
    start().map_err(|error| Fault::of(&error, format!("cannot start {}: {error}", program.display())))
}

fn tell(link: &mut UnixStream, event: &FromWarden) {
    // The events are few and small; a reader that takes none of them hangs, and the runtime ends the keeper.
    let _ = wire::send(link, event);
}

impl Warden<'_> {
    fn serve(&mut self) -> Result<()> {
        if let Some(pid) = self.runner.as_ref().and_then(|runner| runner.itself) {
            tell(
                &mut self.ends.link,
                &FromWarden::Started { pid: pid.as_raw_nonzero().get().cast_unsigned() },
            );
        }
        self.measure(); // the run gets its weight at once
        loop {
            let ready = self.wait()?;
            if ready.runtime_gone || ready.reader_gone {
                return Ok(());
            }
            if ready.order {
                self.obey();
            }
            if ready.runner {
                self.runner_ended()?;
            }
            self.find_itself();
            if self.measured.elapsed() >= ROUND {
                self.measured = Instant::now();
                self.measure();
            }
            if self.ticked.elapsed() >= TICK {
                self.ticked = Instant::now();
                tell(&mut self.ends.link, &FromWarden::Tick);
            }
        }
    }

    fn wait(&self) -> Result<Ready> {
        let looking = self.runner.as_ref().is_some_and(|runner| runner.inside.is_some());
        let most = if looking { RUNNER_ROUND } else { ROUND };
        let patience = most.min((ROUND + RUNNER_ROUND).saturating_sub(self.measured.elapsed()));
        let mut fds = vec![
            PollFd::from_borrowed_fd(self.ends.runtime.as_fd(), PollFlags::RDHUP),
            PollFd::from_borrowed_fd(self.reader_exit.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.ends.link.as_fd(), PollFlags::IN),
        ];
        fds.extend(self.runner.as_ref().map(|r| PollFd::from_borrowed_fd(r.exit.as_fd(), PollFlags::IN)));
        let timeout = Timespec {
            tv_sec: i64::try_from(patience.as_secs()).unwrap_or(1),
            tv_nsec: i64::from(patience.subsec_nanos()),
        };
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ready = |i: usize| fds.get(i).is_some_and(|fd| !fd.revents().is_empty());
        Ok(Ready { runtime_gone: ready(0), reader_gone: ready(1), order: ready(2), runner: ready(3) })
    }

    fn obey(&mut self) {
        let mut orders = [0; 16];
        let count = self.ends.link.read(&mut orders).unwrap_or(0);
        for order in &orders[..count] {
            match (*order, self.runner.as_ref().and_then(|runner| runner.itself)) {
                (order::ASK, Some(itself)) => launch::ask_to_end(itself),
                // Before the runner is known there is no process to ask.
                (order::ASK, None) | (order::END, _) => self.children.kill(),
                _ => {}
            }
        }
    }

    fn runner_ended(&mut self) -> Result<()> {
        let Some(runner) = self.runner.take() else { return Ok(()) };
        let pid = launch::pid_of(&runner.child)?;
        let status = waitpid(Some(pid), WaitOptions::empty())?;
        self.children.end(); // the processes that the runner left behind
        let status = ExitStatus::from_raw(status.map_or(0, |(_, status)| status.as_raw()));
        if let Some(group) = runner.group {
            group.remove();
        }
        let how = runner.over.unwrap_or_else(|| launch::in_words(status));
        tell(&mut self.ends.link, &FromWarden::Ended { how });
        Ok(())
    }

    /// Finds, inside a `bwrap`, the process that is the runner.
    fn find_itself(&mut self) {
        let Some(runner) = &mut self.runner else { return };
        let Some((info, said, until)) = &mut runner.inside else { return };
        let mut buffer = [0; 1024];
        if let Ok(count @ 1..) = info.read(&mut buffer) {
            said.extend_from_slice(&buffer[..count]);
        }
        let inside = launch::first_inside(said).and_then(|first| {
            let first = first.as_raw_nonzero();
            let children = std::fs::read(format!("/proc/{first}/task/{first}/children")).ok()?;
            usage::pids(&children).first().copied()
        });
        if inside.is_none() && Instant::now() < *until {
            return;
        }
        (runner.itself, runner.inside) = (inside, None);
        if let Some(pid) = inside {
            if runner.alone {
                let most = Some(runner.limits.processes);
                let _ = prlimit(Some(pid), Resource::Nproc, Rlimit { current: most, maximum: most });
            }
            tell(
                &mut self.ends.link,
                &FromWarden::Started { pid: pid.as_raw_nonzero().get().cast_unsigned() },
            );
        }
    }

    fn measure(&mut self) {
        let runner = self.runner.as_ref();
        let first = runner.and_then(|runner| launch::pid_of(&runner.child).ok());
        self.children.reap(first);
        let (Some(runner), Some(first)) = (&mut self.runner, first) else { return };
        let run = usage::find(self.children.pids(), runner.limits.processes);
        weight::lower_sessions(&run.pids, first);
        let before = std::mem::take(&mut runner.used);
        runner.used = usage::measure(&run, &runner.limits, self.disk);
        runner.used.hidden *= before.hidden + 1;
        runner.used.objects = before.objects;
        if Instant::now() >= runner.objects_at {
            runner.used.objects = objects::count(&run.pids);
            runner.objects_at = Instant::now() + OBJECTS_PAUSE;
        }
        if let Some(why) = usage::verdict(&runner.used, &runner.limits) {
            runner.over.get_or_insert(why);
            self.children.kill();
        }
    }
}

/// Which ends had something.
struct Ready {
    runtime_gone: bool,
    reader_gone: bool,
    order: bool,
    runner: bool,
}
