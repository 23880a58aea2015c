//! The reader's loop: wait for the runner, its file or the runtime; look; hand over.

use crate::acks::{self, Acks};
use crate::commits::CommitWatch;
use crate::confine;
use crate::fault::{Fault, Result, corrupt};
use crate::outbox::{self, Outbox};
use crate::warden::{FromWarden, order};
use crate::weigh::{Folder, Weigher};
use crate::wire::{self, BATCH_ROWS_MAX, FromKeeper, LaunchSpec, RunnerSpec, STDERR_BYTES_MAX, ToKeeper};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::AsFd;
use std::io::{Error, PipeReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use vestibule_session::{MessageOut, OutboundReader, SessionDir, crash, words};

/// How often the runtime is told that the keeper lives.
const PULSE: Duration = Duration::from_secs(1);
/// When the runner was writing, the reader looks again after this time.
const BUSY_RETRY: Duration = Duration::from_micros(100);
/// A runner that was asked to end has this long before it is killed.
const END_GRACE: Duration = Duration::from_secs(2);
/// After a file stayed locked for this long the runtime is told, and ends the runner: a commit takes milliseconds.
const LOCKED_MAX: Duration = Duration::from_secs(5);
/// How often the runner's standard error is read in one go.
const STDERR_READS: usize = 64;
/// The most bytes in one batch. As JSON they may become six times as many, and must fit a frame.
const BATCH_BYTES: usize = 4 * 1024 * 1024;
/// How many bytes each field other than the content counts: its limit.
const FIELD_BYTES: usize = vestibule_session::FIELD_BYTES_MAX;

/// A warden that says nothing for this long hangs.
const WARDEN_DEADLINE: Duration = Duration::from_secs(3);

/// The reader's ends of what it shares.
pub struct Ends<'a> {
    /// The socket to the runtime.
    pub runtime: &'a mut UnixStream,
    /// The socket to the warden.
    pub link: UnixStream,
    /// The runner's standard error.
    pub stderr: PipeReader,
}

struct Runner {
    agent_folder: PathBuf,
    stderr_tail: Vec<u8>,
    kill_at: Option<Instant>,
    weigher: Weigher,
    /// Which of the agent's folders the runtime was told is filling.
    filling: Option<String>,
}

struct Watch<'a> {
    ends: Ends<'a>,
    dir: &'a SessionDir,
    runner: Option<Runner>,
    after_seq: i64,
    acks: Acks,
    /// Whether a batch is with the runtime; the next one waits for its `Taken`.
    in_flight: bool,
    look_again: bool,
    heartbeat: Option<i128>,
    pulsed: Instant,
    outbox: Outbox,
    /// The replies with files that the runtime will have with its next `Taken`.
    handed_files: Vec<String>,
    /// When the warden was last heard of.
    ticked: Instant,
    /// Whether the runner failed: damage that only its writing meets may be the reason.
    suspicious: bool,
    /// The silence that the runner last declared for its tool.
    tool_silence_ms: Option<u64>,
    /// Whether the runtime was told that the runner keeps its file locked.
    lock_told: bool,
}

/// Reads one session until its runner has ended and everything it wrote is handed over, or until the runtime is gone.
/// An error is the last thing that the runtime gets to hear.
pub fn serve(ends: Ends, dir: &SessionDir, spec: &LaunchSpec) -> std::io::Result<()> {
    let now = Instant::now();
    let runner = spec.runner.as_ref().map(|runner| Runner {
        agent_folder: runner.agent_folder.clone(),
        stderr_tail: Vec::new(),
        kill_at: None,
        weigher: Weigher::new(weighed(dir, runner)),
        filling: None,
    });
    let mut watch = Watch {
        ends,
        dir,
        runner,
        after_seq: spec.after_seq,
        acks: Acks::default(),
        in_flight: false,
        look_again: true,
        // An earlier run's heartbeat is no sign of this run's provider.
        heartbeat: vestibule_session::look_at_heartbeat(dir),
        outbox: Outbox::open(dir, spec.files_bytes_max)?,
        handed_files: Vec::new(),
        pulsed: now,
        ticked: now,
        suspicious: false,
        tool_silence_ms: None,
        lock_told: false,
    };
    watch.begin().or_else(|fault| {
        watch.end_runner();
        say(watch.ends.runtime, fault)
    })
}

/// The folders that the agent can write, and how much they may hold.
fn weighed(dir: &SessionDir, runner: &RunnerSpec) -> Vec<Folder> {
    let (limits, agent_folder) = (&runner.limits, &runner.agent_folder);
    let name = agent_folder.file_name().unwrap_or_default().to_string_lossy();
    let out = Folder {
        path: dir.out(),
        name: "out/".to_owned(),
        bytes_max: limits.out_bytes,
        files_max: limits.out_files,
        keys: ["sandbox_out_mb", "sandbox_out_files"],
    };
    let own = Folder {
        path: agent_folder.clone(),
        name: format!("its agent's folder groups/{name}/"),
        bytes_max: limits.agent_bytes,
        files_max: limits.agent_files,
        keys: ["sandbox_agent_mb", "sandbox_agent_files"],
    };
    vec![out, own]
}

/// Tells the runtime why its keeper goes; returns the same as an error.
pub fn say<T>(runtime: &mut UnixStream, fault: Fault) -> std::io::Result<T> {
    let frame = match &fault {
        Fault::Corrupt(reason) => FromKeeper::Corrupt { reason: words::reason(reason) },
        Fault::Scarce(reason) => FromKeeper::Failed { reason: words::reason(reason), is_scarce: true },
        Fault::Failed(error) => FromKeeper::Failed { reason: words::reason(error), is_scarce: false },
    };
    // The runtime may be gone already; then it need not know.
    let _ = wire::send(runtime, &frame);
    Err(fault.into())
}

impl Watch<'_> {
    fn begin(&mut self) -> Result<()> {
        // Watch first, look second: no write of the runner goes unseen.
        let mut commits = CommitWatch::open(&self.dir.out());
        rustix::io::ioctl_fionbio(&self.ends.stderr, true)?;
        // Confined from here on: what follows reads the agent's file.
        confine::reader(&self.dir.out(), self.runner.as_ref().map(|runner| runner.agent_folder.as_path()))?;
        self.serve(&mut commits)
    }

    fn serve(&mut self, commits: &mut CommitWatch) -> Result<()> {
        let mut locked_since = None;
        loop {
            let busy = self.look_again && !self.in_flight && !self.look()?;
            if self.runner.is_none() && !self.look_again && !self.in_flight {
                crash::point("keeper: everything is handed over, and nobody was told");
                return Ok(wire::send(self.ends.runtime, &FromKeeper::Drained)?);
            }
            locked_since = busy.then(|| locked_since.unwrap_or_else(Instant::now));
            if locked_since.is_some_and(|since| since.elapsed() > LOCKED_MAX) {
                self.tell_of_lock()?;
            }
            let patience = if busy { BUSY_RETRY } else { commits.patience() };
            let (from_runtime, from_file, from_warden) = self.wait(commits, patience)?;
            if from_runtime && !self.hear()? {
                return Ok(()); // the runtime is gone
            }
            if from_file {
                self.look_again |= commits.commits_seen()?;
            }
            if from_warden {
                self.hear_warden()?;
            }
            if !(from_runtime || from_file || from_warden || busy) {
                self.look_again = true; // the safety net
            }
            self.pulse()?;
            self.kill_when_late();
            self.weigh()?;
        }
    }

    /// A runner that got no processor inside a commit keeps its file locked, too: its end is enough. A lock that
    /// outlives its runner is damage.
    fn tell_of_lock(&mut self) -> Result<()> {
        if self.runner.is_none() {
            return Err(corrupt("outbound.db stays locked, and its runner has ended"));
        }
        if !std::mem::replace(&mut self.lock_told, true) {
            wire::send(self.ends.runtime, &FromKeeper::Locked)?;
        }
        Ok(())
    }

    /// Shows that both halves of the keeper live, and whether the runner does.
    fn pulse(&mut self) -> Result<()> {
        if self.pulsed.elapsed() < PULSE || self.ticked.elapsed() > WARDEN_DEADLINE {
            return Ok(());
        }
        self.pulsed = Instant::now();
        wire::send(self.ends.runtime, &FromKeeper::Pulse)?;
        let now = vestibule_session::look_at_heartbeat(self.dir);
        if now.is_some() && now != self.heartbeat {
            self.heartbeat = now;
            wire::send(self.ends.runtime, &FromKeeper::Alive)?;
        }
        Ok(())
    }

    /// Waits for the runtime, the file or the runner; returns which of them has something.
    fn wait(&mut self, commits: &CommitWatch, patience: Duration) -> Result<(bool, bool, bool)> {
        let due = self.runner.as_ref().map(|runner| {
            let weighing = runner.weigher.next();
            runner.kill_at.map_or(weighing, |at| at.min(weighing))
        });
        let patience = due.map_or(patience, |at| patience.min(at.saturating_duration_since(Instant::now())));
        let wanted = [
            Some(self.ends.runtime.as_fd()),
            commits.fd(),
            Some(self.ends.link.as_fd()),
            // The warden holds the other end open: it is never ready because it is closed.
            self.runner.as_ref().map(|_| self.ends.stderr.as_fd()),
        ];
        let mut fds: Vec<PollFd> =
            wanted.into_iter().flatten().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
        let timeout = Timespec {
            tv_sec: i64::try_from(patience.as_secs()).unwrap_or(1),
            tv_nsec: i64::from(patience.subsec_nanos()),
        };
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut polled = fds.iter().map(|fd| !fd.revents().is_empty());
        let [from_runtime, from_file, from_warden, wrote] =
            wanted.map(|fd| fd.is_some() && polled.next().unwrap_or(false));
        if wrote && let Some(runner) = &mut self.runner {
            read_stderr(&mut self.ends.stderr, runner);
        }
        Ok((from_runtime, from_file, from_warden))
    }

    /// Reads one frame of the runtime; false when the runtime is gone.
    fn hear(&mut self) -> Result<bool> {
        match wire::receive::<ToKeeper>(self.ends.runtime) {
            Ok(Some(ToKeeper::Taken)) => {
                for message_id in self.handed_files.drain(..) {
                    crash::point("keeper: files are on record, not cleared away");
                    self.outbox.clear(&message_id);
                }
                self.in_flight = false;
                self.look_again = true;
            }
            Ok(Some(ToKeeper::Stop { suspicious })) => {
                self.suspicious |= suspicious;
                if let Some(runner) = &mut self.runner {
                    self.ends.link.write_all(&[order::ASK])?;
                    runner.kill_at.get_or_insert(Instant::now() + END_GRACE);
                }
            }
            Ok(Some(ToKeeper::Launch(_) | ToKeeper::Adopt(_))) => {
                return Err(Error::other("a keeper keeps one session").into());
            }
            Ok(None) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        Ok(true)
    }

    fn kill_when_late(&mut self) {
        if let Some(runner) = &mut self.runner
            && runner.kill_at.is_some_and(|at| Instant::now() >= at)
        {
            runner.kill_at = None;
            // A warden that has gone has taken its runner with it.
            let _ = self.ends.link.write_all(&[order::END]);
        }
    }

    /// Ends the runner, and waits a while until it has.
    fn end_runner(&mut self) {
        let _ = self.ends.link.set_read_timeout(Some(END_GRACE));
        if self.runner.is_none() || self.ends.link.write_all(&[order::END]).is_err() {
            return;
        }
        while matches!(
            wire::receive(&mut self.ends.link),
            Ok(Some(FromWarden::Tick | FromWarden::Started { .. }))
        ) {}
    }

    /// Looks whether the agent fills its folders.
    fn weigh(&mut self) -> Result<()> {
        let Some(runner) = &mut self.runner else { return Ok(()) };
        if let Some(why) = runner.weigher.step().map_err(corrupt)? {
            return Err(Fault::Corrupt(why));
        }
        if runner.filling.as_deref() != runner.weigher.filling() {
            runner.filling = runner.weigher.filling().map(str::to_owned);
            wire::send(self.ends.runtime, &FromKeeper::Filling { what: runner.filling.clone() })?;
        }
        Ok(())
    }

    fn hear_warden(&mut self) -> Result<()> {
        self.ticked = Instant::now();
        let heard = match wire::receive(&mut self.ends.link) {
            // It left something unread.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => None,
            heard => heard?,
        };
        match heard.ok_or_else(|| Error::other("the warden has gone"))? {
            FromWarden::Tick => Ok(()),
            FromWarden::Started { pid } => Ok(wire::send(self.ends.runtime, &FromKeeper::Started { pid })?),
            FromWarden::Failed { reason, is_scarce } => {
                self.runner = None;
                Err(if is_scarce { Fault::Scarce(reason) } else { Fault::Failed(Error::other(reason)) })
            }
            FromWarden::Ended { how } => {
                let Some(mut runner) = self.runner.take() else { return Ok(()) };
                read_stderr(&mut self.ends.stderr, &mut runner);
                let stderr_tail = String::from_utf8_lossy(&runner.stderr_tail).into_owned();
                self.look_again = true;
                self.suspicious |= runner.kill_at.is_none();
                Ok(wire::send(self.ends.runtime, &FromKeeper::Exited { how, stderr_tail })?)
            }
        }
    }

    /// Looks once; false when the file was busy. An error means that the agent has corrupted its file.
    fn look(&mut self) -> Result<bool> {
        let (batch, tool_silence_ms) = match self.read_batch() {
            Ok(batch) => batch,
            Err(vestibule_session::Error::Busy(_)) => return Ok(false),
            Err(vestibule_session::Error::Damaged(why)) => {
                return Err(corrupt(format!("outbound.db is damaged: {why}")));
            }
            Err(error) => return Err(corrupt(format!("outbound.db: {error}"))),
        };
        self.look_again = false;
        if self.tool_silence_ms != tool_silence_ms {
            self.tool_silence_ms = tool_silence_ms;
            wire::send(self.ends.runtime, &FromKeeper::Tool { silence_ms: tool_silence_ms })?;
        }
        if let Some(batch) = batch {
            crash::point("keeper: a batch is read, not handed over");
            self.hand_over_files(&batch)?;
            wire::send(self.ends.runtime, &batch)?;
            crash::point("keeper: a batch is handed over");
            self.in_flight = true;
        }
        Ok(true)
    }

    fn hand_over_files(&mut self, batch: &FromKeeper) -> Result<()> {
        let FromKeeper::Batch { messages, .. } = batch else { return Ok(()) };
        for reply in messages.iter().filter(|reply| !outbox::named(&reply.content).is_empty()) {
            self.outbox.hand_over(self.ends.runtime, reply)?;
            self.handed_files.push(reply.id.clone());
        }
        Ok(())
    }

    fn read_batch(&mut self) -> vestibule_session::Result<(Option<FromKeeper>, Option<u64>)> {
        let reader = OutboundReader::open(self.dir, self.runner.is_some())?;
        if self.runner.is_none() && std::mem::take(&mut self.suspicious) {
            reader.check()?;
        }
        let tool_silence_ms = reader.tool_silence_ms()?;
        let mut messages = reader.replies(self.after_seq, BATCH_ROWS_MAX)?;
        messages.truncate(batch_len(&messages));
        if self.acks.all_told() {
            self.acks.read(reader.highest_seq()?, |below| reader.acks(below, acks::PAGE))?;
        }
        // Without a reply left, those that were to come first are with the runtime, or the agent has deleted them.
        let acks = self.acks.with_replies_to(messages.last().map_or(i64::MAX, |message| message.seq));
        let let_go = self.acks.let_go();
        if messages.is_empty() && acks.is_empty() && let_go.is_empty() {
            return Ok((None, tool_silence_ms));
        }
        self.after_seq = messages.last().map_or(self.after_seq, |message| message.seq);
        Ok((Some(FromKeeper::Batch { messages, acks, let_go }), tool_silence_ms))
    }
}

/// How many of these replies make one batch: as many as fit a frame, and at most one with files, so that what the
/// runtime stores ahead of a batch stays bounded.
fn batch_len(messages: &[MessageOut]) -> usize {
    let mut bytes = 0;
    let fits = messages.iter().take_while(|message| {
        bytes += message.content.len() + 9 * FIELD_BYTES;
        bytes <= BATCH_BYTES
    });
    let with_files = |m: &MessageOut| !outbox::named(&m.content).is_empty();
    let first = messages.iter().position(with_files).map_or(usize::MAX, |at| at + 1);
    fits.count().max(1).min(first)
}

fn read_stderr(stderr: &mut PipeReader, runner: &mut Runner) {
    let mut buffer = [0; 4096];
    // A runner that writes without end does not keep the reader here.
    for _ in 0..STDERR_READS {
        let Ok(count @ 1..) = stderr.read(&mut buffer) else { return };
        runner.stderr_tail.extend_from_slice(&buffer[..count]);
        let excess = runner.stderr_tail.len().saturating_sub(STDERR_BYTES_MAX);
        runner.stderr_tail.drain(..excess);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_one_batch() {
        let reply = |content: String| MessageOut {
            id: "m".into(),
            seq: 1,
            in_reply_to: None,
            timestamp: String::new(),
            deliver_after: None,
            kind: "chat".into(),
            platform_id: None,
            channel_type: None,
            thread_id: None,
            content,
            account: None,
        };
        let words = || reply(r#"{"text":"x"}"#.into());
        let file = || reply(r#"{"text":"x","files":["f"]}"#.into());
        let large = |bytes: usize| reply("x".repeat(bytes - 9 * FIELD_BYTES));
        for (messages, want) in [
            (vec![words(), words(), words()], 3),
            (vec![words(), file(), words(), file()], 2),
            (vec![file(), file()], 1),
            (vec![words(), words(), file()], 3),
            (vec![large(BATCH_BYTES / 2), large(BATCH_BYTES / 2), words()], 2),
            (vec![large(BATCH_BYTES), words()], 1),
            (vec![large(BATCH_BYTES * 2), words()], 1),
            (vec![large(BATCH_BYTES * 2), file()], 1),
        ] {
            assert_eq!(batch_len(&messages), want, "of {}", messages.len());
        }
    }
}
