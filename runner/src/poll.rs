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
/// After so many looks in a row at a damaged file the runner ends: the runtime makes the file again before the next run.
const DAMAGED_LOOKS: u32 = 3;
/// So many rows are read under one lock: the runtime writes between two such reads, however many wait.
const AT_ONCE: usize = 100;
/// After so many more rows were taken, those that the runtime knows to be settled are forgotten, also while more wait:
/// the keeper reads their acknowledgements, and each look for the next batch passes them.
const FORGET_AFTER: usize = 500;

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
/// The runner's own file cannot be written, or the runtime's file is damaged.
pub fn serve(mut runner: Runner) -> std::result::Result<(), crate::Error> {
    let mut watch = InboundWatch::open(runner.dir());
    let mut eyes = Eyes::default();
    let (mut busy, mut damaged) = (0, 0);
    loop {
        watch.drain();
        match eyes.look(&mut runner) {
            Ok(Some((batch, look))) => {
                (busy, damaged) = (0, 0);
                runner.turn(batch, look)?;
                continue;
            }
            Ok(None) => (busy, damaged) = (0, 0),
            Err(Trouble::Theirs(Error::Busy(_))) if busy < BUSY_TRIES => {
                busy += 1;
                std::thread::sleep(BUSY_PAUSE);
                continue;
            }
            Err(Trouble::Own(error)) => return Err(error.into()),
            Err(Trouble::Theirs(error @ Error::Damaged(_))) if damaged + 1 == DAMAGED_LOOKS => {
                return Err(crate::Error::Read(error));
            }
            Err(Trouble::Theirs(error)) => {
                busy = 0;
                damaged += u32::from(matches!(error, Error::Damaged(_)));
                eyes.complain(&error);
            }
        }
        watch.wait(SLOW_POLL);
    }
}

/// Why a look failed.
#[derive(Debug)]
enum Trouble {
    /// The runtime's file cannot be read: the runner waits until it can.
    Theirs(Error),
    /// The runner's own file cannot be written: without it a runner cannot work.
    Own(Error),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Trouble {
        Trouble::Theirs(error)
    }
}

/// What a runner remembers from poll to poll.
#[derive(Default)]
struct Eyes {
    /// The highest number at the first poll; `None` before it. Rows for a starting runner count up
    /// to here: a later one is meant for the next runner.
    start: Option<i64>,
    /// So many rows were taken, and not forgotten, when it last forgot.
    kept: usize,
    /// The last trouble that was logged, so that a lasting one is logged once.
    complaint: String,
}

impl Eyes {
    /// The next batch, if anything waits. The file is opened anew each time.
    fn look(&mut self, runner: &mut Runner) -> std::result::Result<Option<(Batch, Look)>, Trouble> {
        let reader = InboundReader::open(runner.dir())?;
        let start = match self.start {
            Some(start) => start,
            None => self.first(&reader, runner)?,
        };
        if runner.taken().len() >= self.kept + FORGET_AFTER {
            self.forget_settled(&reader, runner)?;
        }
        let picked = self.pick(&reader, runner, start)?;
        self.complaint.clear();
        let batch = match picked {
            Some(picked) => fetch(&reader, picked)?,
            None => None,
        };
        Ok(batch.map(|batch| Ok::<_, Error>((batch, Look::through(reader)?))).transpose()?)
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
    fn first(&mut self, reader: &InboundReader, runner: &mut Runner) -> std::result::Result<i64, Trouble> {
        self.forget_settled(reader, runner)?;
        Ok(*self.start.insert(reader.highest_seq()?))
    }

    /// Forgets the rows that the runtime knows to be settled: it does not ask for them again. Replies that the runtime
    /// has forgotten go as well.
    fn forget_settled(
        &mut self,
        reader: &InboundReader,
        runner: &mut Runner,
    ) -> std::result::Result<(), Trouble> {
        let taken: Vec<&String> = runner.taken().iter().collect();
        let mut pending = HashSet::new();
        for ids in taken.chunks(AT_ONCE) {
            pending.extend(reader.pending_among(ids)?);
        }
        runner.keep(pending).map_err(Trouble::Own)?;
        self.kept = runner.taken().len();
        runner.prune(reader.pruned_floor()?).map_err(Trouble::Own)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::tests::row;
    use crate::config::Settings;
    use crate::provider;
    use vestibule_session::{AckStatus, InboundWriter, OutboundWriter, Projection};

    #[test]
    fn a_runner_forgets_what_is_settled_also_while_more_waits() {
        let folder = tempfile::tempdir().unwrap();
        let dir = SessionDir::new(folder.path());
        let (settled, waiting) = (FORGET_AFTER as i64, FORGET_AFTER as i64 + 1);
        let row = |number: i64| {
            let status = if number <= settled { "completed" } else { "pending" };
            vestibule_session::MessageIn { status: status.to_owned(), ..row(2 * number, true, None) }
        };
        let messages = (1..=waiting).map(row).collect();
        InboundWriter::rebuild(&dir)
            .unwrap()
            .apply(&Projection { change: 1, messages, ..Default::default() })
            .unwrap();
        let ids: Vec<String> = (1..=settled).map(|number| row(number).id).collect();
        let now = Timestamp::now();
        OutboundWriter::open(&dir).unwrap().post(&mut [], &ids, AckStatus::Completed, 0, now).unwrap();
        std::fs::write(dir.run_config(), r#"{"provider":"echo"}"#).unwrap();
        let settings = Settings::read(&dir).unwrap();
        let provider = provider::open(&settings).unwrap();
        let mut runner = Runner::open(dir, settings, provider).unwrap();
        let mut eyes = Eyes { start: Some(0), ..Eyes::default() };
        for forgotten in [0, 0] {
            let (batch, _) = eyes.look(&mut runner).unwrap().expect("one row waits");
            assert_eq!(batch.ids(), [row(waiting).id]);
            assert_eq!(runner.taken().len(), forgotten);
        }
        let left = OutboundWriter::open(runner.dir()).unwrap().taken().unwrap();
        assert_eq!(left, HashSet::new());
    }
}
