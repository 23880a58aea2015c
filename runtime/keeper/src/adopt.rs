//! Taking over a session folder that another program made: copy, recover, read, hand over.
//!
//! The folder is only read. SQLite works on private copies, so that a journal in it, left or planted, does its work in
//! a folder that is thrown away.

use crate::confine;
use crate::fault::{self, Fault};
use crate::files::{self, Of, Opened};
use crate::outbox::named;
use crate::wire::{self, ADOPTED_FILES_MAX, AdoptSpec, BATCH_ROWS_MAX, FromForeign, ToKeeper};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags, openat};
use std::io::{Error, Result};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};
use vestibule_session::{
    ATTACHMENTS_MAX, CONTENT_BYTES_MAX, FIELD_BYTES_MAX, ForeignReader, SessionDir, inbox_files, name,
    open_beneath,
};

/// The time between two signs of life.
const PULSE: Duration = Duration::from_secs(1);
/// The most bytes in one batch. As JSON they may become six times as many, and must fit a frame.
const BATCH_BYTES: usize = 4 * 1024 * 1024;
const _: () = assert!(CONTENT_BYTES_MAX + 12 * FIELD_BYTES_MAX < BATCH_BYTES);

/// Hands over everything that a foreign folder holds, a batch at a time, and goes.
pub fn serve(runtime: &mut UnixStream, spec: &AdoptSpec) -> fault::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = openat(CWD, &spec.folder, flags, Mode::empty())?;
    let scratch = SessionDir::new(&spec.scratch);
    // Confined before the first byte is read.
    confine::adopter(&spec.folder, &spec.scratch)?;

    let mut pulsed = Instant::now();
    let copied = vestibule_session::copy_foreign(folder.as_fd(), &scratch, || {
        if pulsed.elapsed() >= PULSE {
            pulsed = Instant::now();
            wire::send(runtime, &FromForeign::Pulse)?;
        }
        Ok(())
    });
    copied.map_err(corrupt)?;
    let reader = ForeignReader::open(&scratch).map_err(corrupt)?;
    let (highest_in, highest_out) = reader.highest().map_err(corrupt)?;
    hand_over(runtime, &FromForeign::Found { highest_in, highest_out })?;

    let mut files = Files::new(&folder, spec);
    let mut batch = Batch::new(|rows| FromForeign::Inbound { rows });
    let mut left_out = reader
        .inbound(|row| {
            let named = inbox_files(&row.content);
            if named.is_empty() {
                return Ok(batch.add(runtime, row.content.len(), row)?);
            }
            batch.flush(runtime)?;
            files.of_message(runtime, &row.id, &named)?;
            Ok(batch.alone(runtime, row)?)
        })
        .map_err(corrupt)?;
    batch.flush(runtime)?;
    let mut batch = Batch::new(|rows| FromForeign::Outbound { rows });
    left_out += reader
        .outbound(|row| {
            // Files of a settled reply are of no use any more.
            let named = if row.settled.is_none() { named(&row.reply.content).names } else { Vec::new() };
            if named.is_empty() {
                return Ok(batch.add(runtime, row.reply.content.len(), row)?);
            }
            batch.flush(runtime)?;
            files.of_reply(runtime, &row.reply.id, &named)?;
            Ok(batch.alone(runtime, row)?)
        })
        .map_err(corrupt)?;
    batch.flush(runtime)?;
    let mut batch = Batch::new(|rows| FromForeign::State { rows });
    for row in reader.states().map_err(corrupt)? {
        batch.add(runtime, row.value.len(), row)?;
    }
    batch.flush(runtime)?;
    Ok(wire::send(runtime, &FromForeign::Done { left_out })?)
}

fn corrupt(error: vestibule_session::Error) -> Fault {
    match error {
        vestibule_session::Error::Io(error) => error.into(),
        error => fault::corrupt(error),
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

/// The files of a foreign folder, and how many of them may still be handed over.
struct Files<'a> {
    folder: &'a OwnedFd,
    /// The folder of replies' files, if it is one.
    outbox: Option<OwnedFd>,
    row_bytes_max: u64,
    session_room: u64,
    left: usize,
}

impl<'a> Files<'a> {
    fn new(folder: &'a OwnedFd, spec: &AdoptSpec) -> Files<'a> {
        let open = |name| open_beneath(folder, Path::new(name), OFlags::PATH | OFlags::DIRECTORY).ok();
        Files {
            folder,
            outbox: SessionDir::outbox_names().into_iter().find_map(open),
            row_bytes_max: spec.files_bytes_max,
            session_room: spec.session_bytes_max,
            left: ADOPTED_FILES_MAX,
        }
    }

    /// Hands over the files that an inbound row names, those beneath `inbox/`.
    fn of_message(
        &mut self,
        runtime: &mut UnixStream,
        message_id: &str,
        named: &[(usize, String)],
    ) -> Result<()> {
        let mut room = self.row_bytes_max;
        for (position, path) in named.iter().take(ATTACHMENTS_MAX) {
            let Some((folder, name)) = SessionDir::in_inbox(path) else { continue };
            let path = SessionDir::inbox_file(folder, name);
            let opened = self.counted(files::open(self.folder, Path::new(&path), &mut room));
            let of = Of { message_id, position: *position, name };
            files::hand_over(runtime, of, opened, FromForeign::File)?;
        }
        Ok(())
    }

    /// Hands over the files of a reply, those beneath its folder of `outbox/`.
    fn of_reply(&mut self, runtime: &mut UnixStream, message_id: &str, named: &[String]) -> Result<()> {
        let mut room = self.row_bytes_max;
        for (position, name) in named.iter().enumerate() {
            let opened = match &self.outbox {
                _ if !name::is_safe_segment(message_id) || !name::is_safe_segment(name) => {
                    Err("its name cannot be that of a file".to_owned())
                }
                Some(outbox) => files::open(outbox, &Path::new(message_id).join(name), &mut room),
                None => Err("there is no folder of replies' files".to_owned()),
            };
            let opened = self.counted(opened);
            files::hand_over(runtime, Of { message_id, position, name }, opened, FromForeign::File)?;
        }
        Ok(())
    }

    /// Counts a file against what the folder and the session may hold.
    fn counted(&mut self, opened: Opened) -> Opened {
        let (file, size) = opened?;
        self.left = self
            .left
            .checked_sub(1)
            .ok_or_else(|| format!("the folder has more than {ADOPTED_FILES_MAX} files"))?;
        let left = self.session_room.checked_sub(size);
        self.session_room = left.ok_or("its session holds too many files (`session_files_mb`)")?;
        Ok((file, size))
    }
}

/// Rows on their way into one frame.
struct Batch<T> {
    rows: Vec<T>,
    bytes: usize,
    frame: fn(Vec<T>) -> FromForeign,
}

impl<T> Batch<T> {
    fn new(frame: fn(Vec<T>) -> FromForeign) -> Batch<T> {
        Batch { rows: Vec::new(), bytes: 0, frame }
    }

    /// Adds a row; hands the ones before it over when it does not fit.
    fn add(&mut self, runtime: &mut UnixStream, bytes: usize, row: T) -> Result<()> {
        let bytes = bytes + 12 * FIELD_BYTES_MAX;
        if self.rows.len() >= BATCH_ROWS_MAX || self.bytes + bytes > BATCH_BYTES {
            self.flush(runtime)?;
        }
        self.bytes += bytes;
        self.rows.push(row);
        Ok(())
    }

    /// Hands a row with files over by itself: what the runtime stores ahead of a batch stays bounded.
    fn alone(&mut self, runtime: &mut UnixStream, row: T) -> Result<()> {
        self.rows.push(row);
        self.flush(runtime)
    }

    fn flush(&mut self, runtime: &mut UnixStream) -> Result<()> {
        self.bytes = 0;
        if self.rows.is_empty() {
            return Ok(());
        }
        hand_over(runtime, &(self.frame)(std::mem::take(&mut self.rows)))
    }
}
