//! A file on its way to the runtime: opened beneath a handle, and sent in parts. The agent chose every name, link and
//! size.

use crate::wire::{self, FileFrame, PART_BYTES_MAX};
use rustix::fd::AsFd;
use serde::Serialize;
use std::fs::File;
use std::io::{Read, Result, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use vestibule_session::open_regular;

/// The row to which a file belongs, and the file's place in it.
#[derive(Clone, Copy)]
pub struct Of<'a> {
    /// The row's id.
    pub message_id: &'a str,
    /// The file's place among those of the row.
    pub position: usize,
    /// Its name, as the agent wrote it.
    pub name: &'a str,
}

/// A file that may be read, and its size; else why it may not.
pub type Opened = std::result::Result<(File, u64), String>;

/// Opens a file of a row whose files may still hold `room` bytes, and takes its size off that.
pub fn open(above: impl AsFd, path: &Path, room: &mut u64) -> Opened {
    let found = open_regular(above, path).map_err(|fault| format!("it {fault}"))?;
    let (file, stat) = found.ok_or("it is not there")?;
    let size = u64::try_from(stat.st_size).unwrap_or(u64::MAX);
    let left = room.checked_sub(size);
    *room = left.ok_or("the files of one message are larger than `attachments_mb` allows")?;
    Ok((File::from(file), size))
}

/// Hands a file over, or says why it stays: the row goes on without it.
pub fn hand_over<F: Serialize>(
    runtime: &mut UnixStream,
    of: Of<'_>,
    opened: Opened,
    frame: fn(FileFrame) -> F,
) -> Result<()> {
    let handed = match opened {
        Ok((file, size)) => send(runtime, of, file, size, frame)?,
        Err(reason) => Err(reason),
    };
    let Err(reason) = handed else { return Ok(()) };
    let Of { message_id, position, name } = of;
    let left_out =
        FileFrame::LeftOut { message_id: message_id.to_owned(), position, name: name.to_owned(), reason };
    wire::send(runtime, &frame(left_out))
}

/// Sends a file in parts. The inner error is the agent's fault.
fn send<F: Serialize>(
    runtime: &mut UnixStream,
    of: Of<'_>,
    mut file: File,
    size: u64,
    frame: fn(FileFrame) -> F,
) -> Result<std::result::Result<(), String>> {
    let mut left = size;
    let mut buffer = vec![0; PART_BYTES_MAX];
    loop {
        let want = usize::try_from(left).unwrap_or(PART_BYTES_MAX).min(PART_BYTES_MAX);
        if let Err(error) = file.read_exact(&mut buffer[..want]) {
            return Ok(Err(format!("it cannot be read whole ({error})")));
        }
        left -= want as u64;
        let part = FileFrame::Part {
            message_id: of.message_id.to_owned(),
            position: of.position,
            name: of.name.to_owned(),
            bytes: u32::try_from(want).unwrap_or_default(),
            last: left == 0,
        };
        wire::send(runtime, &frame(part))?;
        runtime.write_all(&buffer[..want])?;
        if left == 0 {
            return Ok(Ok(()));
        }
    }
}
