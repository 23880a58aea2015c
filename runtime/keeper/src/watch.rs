//! The keeper's loop: wait for the runner, its file or the runtime; look; hand over.

use crate::wire::{self, BATCH_ROWS_MAX, FromKeeper, LaunchSpec, ToKeeper};
use crate::{confine, launch};
use inotify::{Inotify, WatchMask};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::collections::{HashMap, HashSet};
use std::io::{Error, ErrorKind, Read, Result};
use std::os::unix::net::UnixStream;
use std::process::{Child, ChildStderr};
use std::time::{Duration, Instant};
use vestibule_session::{AckStatus, OutboundReader, SessionDir, crash};

/// The kind of an error that is the agent's doing.
pub const SPOILT: ErrorKind = ErrorKind::InvalidData;
/// A mount that does not notify is looked at this often.
const SAFETY_NET: Duration = Duration::from_secs(1);
/// The runner was writing: look again after this.
const BUSY_RETRY: Duration = Duration::from_micros(100);
/// A runner that was asked to end has this long before it is killed.
const END_GRACE: Duration = Duration::from_secs(2);
/// A file that stays locked for this long is spoilt: a commit takes milliseconds.
const LOCKED_MAX: Duration = Duration::from_secs(5);
/// How much of a runner's standard error is kept, in bytes.
const STDERR_TAIL: usize = 4096;
/// How many acknowledgements are looked at: a runner forgets those that were taken over.
const ACKS_MAX: usize = 10_000;
/// The most bytes in one batch. As JSON they may become six times as many, and must fit a frame.
const BATCH_BYTES: usize = 4 * 1024 * 1024;
/// What another field than the content counts, in bytes: its limit.
const FIELD_BYTES: usize = vestibule_session::FIELD_BYTES_MAX;

struct Runner {
    child: Child,
    exit: OwnedFd,
    /// None once the runner has closed it: a closed one would be ready for ever.
    stderr: Option<ChildStderr>,
    stderr_tail: Vec<u8>,
    kill_at: Option<Instant>,
}

struct Watch<'a> {
    runtime: &'a mut UnixStream,
    dir: &'a SessionDir,
    runner: Option<Runner>,
    children: launch::Children,
    after_seq: i64,
    handed_over: HashMap<String, AckStatus>,
    /// A batch is with the runtime; the next waits for its `Taken`.
    in_flight: bool,
    look_again: bool,
    heartbeat: Option<i128>,
    pulsed: Instant,
}

/// Keeps one session until its runner has ended and everything it wrote is handed over, or until
/// the runtime is gone: then the runner goes too.
pub fn serve(runtime: &mut UnixStream, dir: &SessionDir, spec: LaunchSpec) -> Result<()> {
    // Watch first, start second: nothing the runner writes goes unseen.
    let mut doorbell = Inotify::init()?;
    doorbell.watches().add(dir.out(), WatchMask::DELETE)?;
    let mut watch = Watch {
        runtime,
        dir,
        runner: None,
        children: launch::Children::open()?,
        after_seq: spec.after_seq,
        handed_over: HashMap::new(),
        in_flight: false,
        look_again: true,
        heartbeat: None,
        pulsed: Instant::now(),
    };
    if let Some(runner) = &spec.runner {
        watch.start(runner)?;
    }
    // The door shuts: what follows reads the agent's file.
    let outcome = confine::keeper(&dir.out()).and_then(|()| watch.serve(&mut doorbell));
    if let Some(runner) = &mut watch.runner {
        launch::end(&mut runner.child, &watch.children);
    }
    outcome
}

impl Watch<'_> {
    fn start(&mut self, spec: &wire::RunnerSpec) -> Result<()> {
        let mut child = launch::start(spec, self.dir.root()).map_err(|error| {
            Error::new(error.kind(), format!("cannot start {}: {error}", spec.program.display()))
        })?;
        let gone = || Error::other("the runner ended at once");
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or_else(gone)?;
        let exit = pidfd_open(pid, PidfdFlags::empty())?;
        let stderr = child.stderr.take().ok_or_else(gone)?;
        rustix::io::ioctl_fionbio(&stderr, true)?;
        let pid = child.id();
        crash::point("keeper: the runner was started");
        self.runner =
            Some(Runner { child, exit, stderr: Some(stderr), stderr_tail: Vec::new(), kill_at: None });
        wire::send(self.runtime, &FromKeeper::Started { pid })
    }

    fn serve(&mut self, doorbell: &mut Inotify) -> Result<()> {
        let mut locked_since = None;
        loop {
            let busy = self.look_again && !self.in_flight && !self.look()?;
            if self.runner.is_none() && !self.look_again && !self.in_flight {
                crash::point("keeper: everything is handed over, and nobody was told");
                return wire::send(self.runtime, &FromKeeper::Drained);
            }
            locked_since = busy.then(|| locked_since.unwrap_or_else(Instant::now));
            if locked_since.is_some_and(|since| since.elapsed() > LOCKED_MAX) {
                return Err(Error::new(SPOILT, "outbound.db stays locked"));
            }
            let patience = if busy { BUSY_RETRY } else { SAFETY_NET };
            let (from_runtime, from_file, from_runner) = self.wait(doorbell, patience)?;
            if from_runtime && !self.hear()? {
                return Ok(()); // the runtime is gone
            }
            if from_file {
                self.look_again |= commits_seen(doorbell)?;
            }
            if from_runner {
                self.runner_ended()?;
            }
            if !(from_runtime || from_file || from_runner || busy) {
                self.look_again = true; // the safety net
            }
            self.pulse()?;
            self.kill_when_late();
        }
    }

    /// Shows that the keeper lives, and whether the runner does.
    fn pulse(&mut self) -> Result<()> {
        if self.pulsed.elapsed() < SAFETY_NET {
            return Ok(());
        }
        self.pulsed = Instant::now();
        wire::send(self.runtime, &FromKeeper::Pulse)?;
        let now = vestibule_session::look_at_heartbeat(self.dir);
        if now.is_some() && now != self.heartbeat {
            self.heartbeat = now;
            wire::send(self.runtime, &FromKeeper::Alive)?;
        }
        Ok(())
    }

    /// Waits for the runtime, the file or the runner: which of them has something.
    fn wait(&mut self, doorbell: &Inotify, patience: Duration) -> Result<(bool, bool, bool)> {
        let due = self.runner.as_ref().and_then(|runner| runner.kill_at);
        let patience = due.map_or(patience, |at| patience.min(at.saturating_duration_since(Instant::now())));
        let mut fds = vec![
            PollFd::from_borrowed_fd(self.runtime.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(doorbell.as_fd(), PollFlags::IN),
        ];
        if let Some(runner) = &self.runner {
            fds.push(PollFd::from_borrowed_fd(runner.exit.as_fd(), PollFlags::IN));
            fds.extend(runner.stderr.as_ref().map(|s| PollFd::from_borrowed_fd(s.as_fd(), PollFlags::IN)));
        }
        let timeout = Timespec {
            tv_sec: i64::try_from(patience.as_secs()).unwrap_or(1),
            tv_nsec: i64::from(patience.subsec_nanos()),
        };
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ready = |i: usize| fds.get(i).is_some_and(|fd| !fd.revents().is_empty());
        let (from_runtime, from_file, exited, wrote) = (ready(0), ready(1), ready(2), ready(3));
        if wrote && let Some(runner) = &mut self.runner {
            read_stderr(runner);
        }
        Ok((from_runtime, from_file, exited))
    }

    /// One frame of the runtime; false when it is gone.
    fn hear(&mut self) -> Result<bool> {
        match wire::receive::<ToKeeper>(self.runtime) {
            Ok(Some(ToKeeper::Taken)) => {
                self.in_flight = false;
                self.look_again = true;
            }
            Ok(Some(ToKeeper::Stop)) => {
                if let Some(runner) = &mut self.runner {
                    launch::ask_to_end(&runner.child);
                    runner.kill_at.get_or_insert(Instant::now() + END_GRACE);
                }
            }
            Ok(Some(ToKeeper::Launch(_))) => return Err(Error::other("a keeper keeps one session")),
            Ok(None) => return Ok(false),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(false),
            Err(error) => return Err(error),
        }
        Ok(true)
    }

    fn kill_when_late(&mut self) {
        if let Some(runner) = &mut self.runner
            && runner.kill_at.is_some_and(|at| Instant::now() >= at)
        {
            launch::end(&mut runner.child, &self.children);
        }
    }

    fn runner_ended(&mut self) -> Result<()> {
        let Some(runner) = &mut self.runner else { return Ok(()) };
        let Some(status) = runner.child.try_wait()? else { return Ok(()) };
        launch::end(&mut runner.child, &self.children); // what it left behind
        read_stderr(runner);
        let exited = FromKeeper::Exited {
            how: launch::in_words(status),
            stderr_tail: String::from_utf8_lossy(&runner.stderr_tail).into_owned(),
        };
        self.runner = None;
        self.look_again = true;
        wire::send(self.runtime, &exited)
    }

    /// Looks once; false when the file was busy. An error means that the agent has spoilt its file.
    fn look(&mut self) -> Result<bool> {
        let batch = match self.read_batch() {
            Ok(batch) => batch,
            Err(vestibule_session::Error::Busy(_)) => return Ok(false),
            Err(error) => return Err(Error::new(SPOILT, error)),
        };
        self.look_again = false;
        if let Some(batch) = batch {
            crash::point("keeper: a batch is read, not handed over");
            wire::send(self.runtime, &batch)?;
            crash::point("keeper: a batch is handed over");
            self.in_flight = true;
        }
        Ok(true)
    }

    fn read_batch(&mut self) -> vestibule_session::Result<Option<FromKeeper>> {
        let reader = OutboundReader::open(self.dir, self.runner.is_some())?;
        let mut messages = reader.replies(self.after_seq, BATCH_ROWS_MAX)?;
        let mut bytes = 0;
        let fits = messages.iter().take_while(|message| {
            bytes += message.content.len() + 9 * FIELD_BYTES;
            bytes <= BATCH_BYTES
        });
        let fits = fits.count().max(1);
        messages.truncate(fits);
        // A turn is never reported complete before its reply: acknowledgements go with the last part.
        let mut acks = Vec::new();
        let whole = reader.replies(messages.last().map_or(self.after_seq, |m| m.seq), 1)?.is_empty();
        if whole {
            acks = reader.acks(ACKS_MAX)?;
            if self.handed_over.len() > 2 * acks.len() + BATCH_ROWS_MAX {
                let there: HashSet<&str> = acks.iter().map(|ack| ack.message_id.as_str()).collect();
                self.handed_over.retain(|id, _| there.contains(id.as_str()));
            }
            acks.retain(|ack| self.handed_over.get(&ack.message_id) != Some(&ack.status));
            acks.truncate(BATCH_ROWS_MAX);
        }
        if messages.is_empty() && acks.is_empty() {
            return Ok(None);
        }
        self.after_seq = messages.last().map_or(self.after_seq, |message| message.seq);
        self.handed_over.extend(acks.iter().map(|ack| (ack.message_id.clone(), ack.status)));
        Ok(Some(FromKeeper::Batch { messages, acks }))
    }
}

/// Empties the doorbell: whether any of it may be a commit of the runner. SQLite commits by removing
/// the journal; a runner that commits in another way is noticed by the safety net.
fn commits_seen(doorbell: &mut Inotify) -> Result<bool> {
    let mut buffer = [0; 4096];
    let mut seen = false;
    loop {
        match doorbell.read_events(&mut buffer) {
            Ok(events) => {
                for event in events {
                    // Without a name the queue overflowed: look, to be sure.
                    seen |= event.name.is_none_or(|name| name == SessionDir::outbound_journal_name());
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(seen),
            Err(error) => return Err(error),
        }
    }
}

fn read_stderr(runner: &mut Runner) {
    let Some(stderr) = &mut runner.stderr else { return };
    let mut buffer = [0; 4096];
    loop {
        match stderr.read(&mut buffer) {
            Ok(0) => {
                runner.stderr = None;
                return;
            }
            Ok(count) => {
                runner.stderr_tail.extend_from_slice(&buffer[..count]);
                let excess = runner.stderr_tail.len().saturating_sub(STDERR_TAIL);
                runner.stderr_tail.drain(..excess);
            }
            Err(_) => return,
        }
    }
}
