//! Taking over a session folder that somebody else made: copy, recover, read, hand over.
//!
//! The folder is only read; SQLite works on private copies, so that a journal in it, left or planted,
//! does its work in a folder that is thrown away.

use crate::wire::{self, AdoptSpec, BATCH_ROWS_MAX, FromForeign, ToKeeper};
use crate::{confine, watch::SPOILT};
use rustix::fd::AsFd;
use rustix::fs::{CWD, Mode, OFlags, openat};
use std::io::{Error, Result};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};
use vestibule_session::{CONTENT_BYTES_MAX, FIELD_BYTES_MAX, ForeignReader, SessionDir};

/// Between two signs of life.
const PULSE: Duration = Duration::from_secs(1);
/// The most bytes in one batch. As JSON they may become six times as many, and must fit a frame.
const BATCH_BYTES: usize = 4 * 1024 * 1024;
const _: () = assert!(CONTENT_BYTES_MAX + 12 * FIELD_BYTES_MAX < BATCH_BYTES);

/// Hands over everything that a foreign folder holds, a batch at a time, and goes.
pub fn serve(runtime: &mut UnixStream, spec: &AdoptSpec) -> Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = openat(CWD, &spec.folder, flags, Mode::empty())?;
    let scratch = SessionDir::new(&spec.scratch);
    // The door shuts before the first byte is read.
    confine::adopter(&spec.folder, &spec.scratch)?;

    let mut pulsed = Instant::now();
    let copied = vestibule_session::copy_foreign(folder.as_fd(), &scratch, || {
        if pulsed.elapsed() >= PULSE {
            pulsed = Instant::now();
            wire::send(runtime, &FromForeign::Pulse)?;
        }
        Ok(())
    });
    copied.map_err(spoilt)?;
    let reader = ForeignReader::open(&scratch).map_err(spoilt)?;
    let (highest_in, highest_out) = reader.highest().map_err(spoilt)?;
    hand_over(runtime, &FromForeign::Found { highest_in, highest_out })?;

    let mut batch = Batch::default();
    let mut left_out = reader
        .inbound(|row| batch.add(runtime, row.content.len(), row, |rows| FromForeign::Inbound { rows }))
        .map_err(spoilt)?;
    batch.flush(runtime, |rows| FromForeign::Inbound { rows })?;
    let mut batch = Batch::default();
    left_out += reader
        .outbound(|row| {
            batch.add(runtime, row.reply.content.len(), row, |rows| FromForeign::Outbound { rows })
        })
        .map_err(spoilt)?;
    batch.flush(runtime, |rows| FromForeign::Outbound { rows })?;
    let mut batch = Batch::default();
    for row in reader.states().map_err(spoilt)? {
        batch.add(runtime, row.value.len(), row, |rows| FromForeign::State { rows }).map_err(spoilt)?;
    }
    batch.flush(runtime, |rows| FromForeign::State { rows })?;
    wire::send(runtime, &FromForeign::Done { left_out })
}

fn spoilt(error: vestibule_session::Error) -> Error {
    match error {
        vestibule_session::Error::Io(error) => error,
        error => Error::new(SPOILT, error),
    }
}

/// Sends a frame and waits until the runtime has it on disk.
fn hand_over(runtime: &mut UnixStream, frame: &FromForeign) -> Result<()> {
    wire::send(runtime, frame)?;
    match wire::receive(runtime)? {
        Some(ToKeeper::Taken) => Ok(()),
        _ => Err(Error::other("the runtime is gone")),
    }
}

/// Rows on their way into one frame.
struct Batch<T> {
    rows: Vec<T>,
    bytes: usize,
}

impl<T> Default for Batch<T> {
    fn default() -> Self {
        Batch { rows: Vec::new(), bytes: 0 }
    }
}

impl<T> Batch<T> {
    /// Adds a row; hands the ones before it over when it does not fit.
    fn add(
        &mut self,
        runtime: &mut UnixStream,
        bytes: usize,
        row: T,
        frame: impl Fn(Vec<T>) -> FromForeign,
    ) -> vestibule_session::Result<()> {
        let bytes = bytes + 12 * FIELD_BYTES_MAX;
        if self.rows.len() >= BATCH_ROWS_MAX || self.bytes + bytes > BATCH_BYTES {
            self.flush(runtime, frame)?;
        }
        self.bytes += bytes;
        self.rows.push(row);
        Ok(())
    }

    fn flush(&mut self, runtime: &mut UnixStream, frame: impl Fn(Vec<T>) -> FromForeign) -> Result<()> {
        self.bytes = 0;
        if self.rows.is_empty() {
            return Ok(());
        }
        hand_over(runtime, &frame(std::mem::take(&mut self.rows)))
    }
}
