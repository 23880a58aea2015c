//! The loop: next batch, one turn, again.

use crate::batch::{self, Batch};
use crate::destinations::Destinations;
use crate::turn::Runner;
use crate::watch::Doorbell;
use std::time::{Duration, Instant};
use vestibule_plugin_api::Timestamp;
use vestibule_session::{Error, InboundReader, Result, SessionDir};

/// How long to sleep at most: mounts exist that do not tell of changes, and rows fall due.
const SLOW_POLL: Duration = Duration::from_secs(1);
/// How often, and after what pause, to try again at once while the runtime writes.
const BUSY_TRIES: u32 = 5;
const BUSY_PAUSE: Duration = Duration::from_millis(2);
/// So many rows are remembered before those that the runtime knows to be settled are forgotten.
const FORGET_AT: usize = 500;

/// What one look at the runtime's file gave. It holds no lock.
pub struct Look {
    /// The file, for questions about single rows.
    pub reader: InboundReader,
    /// Where the agent may send.
    pub destinations: Destinations,
    /// The file's highest number.
    pub highest_seq: i64,
    /// When this was.
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
    let mut bell = Doorbell::open(runner.dir());
    let mut eyes = Eyes::default();
    let mut busy = 0;
    loop {
        bell.drain();
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
        bell.wait(SLOW_POLL);
    }
}

/// What a runner remembers from poll to poll.
#[derive(Default)]
struct Eyes {
    /// The highest number at the first poll; `None` before it. Rows for a starting runner count up
    /// to here: a later one is meant for the next runner.
    start: Option<i64>,
    /// The last complaint, so that a lasting trouble is told once.
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
        // No limit: context may pile up before the row that asks, and must not hide it.
        let mut pending = reader.pending(Timestamp::now(), true, runner.taken(), usize::MAX)?;
        self.complaint.clear();
        pending.retain(|row| !row.on_wake || row.seq <= start);
        match batch::next(pending, runner.settings().max_messages) {
            Some(batch) => Ok(Some((batch, Look::through(reader)?))),
            None => {
                if runner.taken().len() >= FORGET_AT {
                    forget_settled(&reader, runner)?;
                }
                Ok(None)
            }
        }
    }

    /// The first look at the file: what an earlier runner did and the runtime knows is forgotten.
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

/// Forgets the rows that the runtime knows to be settled: it does not ask for them again.
fn forget_settled(reader: &InboundReader, runner: &mut Runner) -> Result<()> {
    let mut settled = Vec::new();
    for id in runner.taken() {
        if reader.is_settled(id)? {
            settled.push(id.clone());
        }
    }
    runner.forget(&settled)
}
