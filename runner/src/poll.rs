//! The loop: next batch, one turn, again.

use crate::batch::{Batch, Picked, Picker};
use crate::destinations::Destinations;
use crate::turn::Runner;
use crate::watch::InboundWatch;
use std::collections::HashSet;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};
use vestibule_plugin_api::Timestamp;
use vestibule_session::{Error, InboundReader, Result, SessionDir, Waiting};

/// The longest sleep: some mounts do not tell of changes, and rows fall due.
const SLOW_POLL: Duration = Duration::from_secs(1);
/// How many times, and after which pause, a look is tried again while the runtime writes.
const BUSY_TRIES: u32 = 5;
const BUSY_PAUSE: Duration = Duration::from_millis(2);
/// So many rows are read under one lock: the runtime writes between two such reads, however many wait.
const AT_ONCE: usize = 100;
/// So many rows are remembered before those that the runtime knows to be settled are forgotten.
const FORGET_AT: usize = 500;

/// What the runner saw when it looked at the runtime's file. It holds no lock.
pub struct Look {
    /// The file, to look up single rows.
    pub reader: InboundReader,
    /// Where the agent may send.
    pub destinations: Destinations,
    /// The file's highest number.
    pub highest_seq: i64,
    /// When the runner looked.
    pub at: Instant,
}

impl Look {
    /// Looks at the file.
    ///
    /// # Errors
    /// Those of [`InboundReader::open`].
    pub fn take(dir: &SessionDir) -> Result<Look> {
        Look::through(InboundReader::open(dir)?)
    }

    fn through(reader: InboundReader) -> Result<Look> {
        let destinations = Destinations(reader.destinations()?);
        let highest_seq = reader.highest_seq()?;
        Ok(Look { reader, destinations, highest_seq, at: Instant::now() })
    }
}

/// Answers batch after batch. Returns only with an error.
///
/// # Errors
/// The runner's own file cannot be written.
pub fn serve(mut runner: Runner) -> std::result::Result<(), crate::Error> {
    let mut watch = InboundWatch::open(runner.dir());
    let mut eyes = Eyes::default();
    let mut busy = 0;
    loop {
        watch.drain();
        match eyes.look(&mut runner) {
            Ok(Some((batch, look))) => {
                busy = 0;
                runner.turn(batch, look)?;
                continue;
            }
            Ok(None) => busy = 0,
            Err(Error::Busy(_)) if busy < BUSY_TRIES => {
                busy += 1;
                std::thread::sleep(BUSY_PAUSE);
                continue;
            }
            Err(error) => {
                busy = 0;
                eyes.complain(&error);
            }
        }
        watch.wait(SLOW_POLL);
    }
}

/// What a runner remembers from poll to poll.
#[derive(Default)]
struct Eyes {
    /// The highest number at the first poll; `None` before it. Rows for a starting runner count up
    /// to here: a later one is meant for the next runner.
    start: Option<i64>,
    /// The last trouble that was logged, so that a lasting one is logged once.
    complaint: String,
}

impl Eyes {
    /// The next batch, if anything waits. The file is opened anew each time.
    fn look(&mut self, runner: &mut Runner) -> Result<Option<(Batch, Look)>> {
        let reader = InboundReader::open(runner.dir())?;
        let start = match self.start {
            Some(start) => start,
            None => self.first(&reader, runner)?,
        };
        let picked = self.pick(&reader, runner, start)?;
        self.complaint.clear();
        let batch = match picked {
            Some(picked) => fetch(&reader, picked)?,
            None => None,
        };
        if batch.is_none() && runner.taken().len() >= FORGET_AT {
            forget_settled(&reader, runner)?;
        }
        batch.map(|batch| Ok((batch, Look::through(reader)?))).transpose()
    }

    /// Looks through what is pending for the next batch.
    fn pick(&self, reader: &InboundReader, runner: &Runner, start: i64) -> Result<Option<Picked>> {
        let now = Timestamp::now();
        let mut picker = Picker::new(runner.settings().max_messages);
        each_waiting(reader, |row| {
            let is_due = row.process_after.is_none_or(|after| after <= now);
            let is_free = is_due && (!row.on_wake || row.seq <= start) && !runner.taken().contains(&row.id);
            if is_free { picker.hear(row) } else { ControlFlow::Continue(()) }
        })?;
        Ok(picker.picked())
    }

    /// At the first look at the file: forgets what an earlier runner did and the runtime knows, or has forgotten.
    fn first(&mut self, reader: &InboundReader, runner: &mut Runner) -> Result<i64> {
        forget_settled(reader, runner)?;
        Ok(*self.start.insert(reader.highest_seq()?))
    }

    fn complain(&mut self, error: &Error) {
        let complaint = error.to_string();
        if self.complaint != complaint {
            eprintln!("vestibule-runner: cannot read messages, trying again until it works: {complaint}");
            self.complaint = complaint;
        }
    }
}

/// The rows of a batch, without those that are not pending any more.
fn fetch(reader: &InboundReader, picked: Picked) -> Result<Option<Batch>> {
    let mut rows = Vec::new();
    for id in &picked.shown {
        rows.extend(reader.pending(id)?);
    }
    Ok(Batch::of(rows, picked.passed_over))
}

/// Forgets the rows that the runtime knows to be settled: it does not ask for them again. The pending rows are read,
/// not the settled ones, of which there may be any number. Replies that the runtime has forgotten go as well.
fn forget_settled(reader: &InboundReader, runner: &mut Runner) -> Result<()> {
    let mut pending = HashSet::new();
    each_waiting(reader, |row| {
        pending.insert(row.id);
        ControlFlow::Continue(())
    })?;
    runner.keep(&pending)?;
    runner.prune(reader.pruned_floor()?)
}

/// Shows the pending rows in order, until `hear` breaks. The file is locked for some of them at a time.
fn each_waiting(reader: &InboundReader, mut show: impl FnMut(Waiting) -> ControlFlow<()>) -> Result<()> {
    let mut above = i64::MIN;
    loop {
        let rows = reader.waiting(above, AT_ONCE)?;
        let is_last = rows.len() < AT_ONCE;
        for row in rows {
            above = row.seq;
            if show(row).is_break() {
                return Ok(());
            }
        }
        if is_last {
            return Ok(());
        }
    }
}
