//! What runtime and keeper say to each other: a length, and that many bytes of JSON.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::{Error, ErrorKind, Read, Result, Write};
use std::path::PathBuf;
use vestibule_session::{Ack, MessageOut};

/// The largest frame, in bytes, either side accepts.
pub const FRAME_BYTES_MAX: usize = 32 * 1024 * 1024;

/// The most replies, and the most acknowledgements, in one batch.
pub const BATCH_ROWS_MAX: usize = 256;

/// What the runtime says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "frame", rename_all = "snake_case")]
#[expect(clippy::large_enum_variant, reason = "one at a time, and the large one once")]
pub enum ToKeeper {
    /// Keep this session. The first frame, and only the first.
    Launch(LaunchSpec),
    /// The last batch is on disk; the next may come.
    Taken,
    /// End the runner, hand over what is left, and go.
    Stop,
}

/// What to keep.
#[derive(Debug, Serialize, Deserialize)]
pub struct LaunchSpec {
    /// The session's folder.
    pub session_dir: PathBuf,
    /// Replies up to this sequence number are on record already.
    pub after_seq: i64,
    /// The runner to start; without one, what a dead runner left is handed over.
    pub runner: Option<RunnerSpec>,
}

/// How to start a runner.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RunnerSpec {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its whole environment.
    pub env: Vec<(String, String)>,
    /// The agent's own folder: its working directory, which it may write.
    pub agent_folder: PathBuf,
    /// The box it lives in.
    pub sandbox: Sandbox,
    /// What it and everything it starts may use together.
    pub limits: Limits,
}

/// What one run may use; whoever goes over it is ended within about two seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Processes, each thread counted as one.
    pub processes: u64,
    /// Memory of all processes together, in bytes.
    pub memory_bytes: u64,
    /// The size of `out/`, in bytes.
    pub out_bytes: u64,
    /// Files and folders in `out/`.
    pub out_files: u64,
}

/// Every process of a run has this score, or a higher one: when memory runs out, the kernel ends
/// agents first. It also tells an orphan of a dead keeper from any other child of the runtime.
pub const RUNNER_OOM_SCORE: i32 = 600;

/// The box a runner lives in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "sandbox", rename_all = "snake_case")]
pub enum Sandbox {
    /// None: it can do what its user can.
    None,
    /// An ordinary process behind Landlock and seccomp, without capabilities.
    Process {
        /// What it gets all the same.
        grants: Grants,
    },
    /// bubblewrap: namespaces of its own, the session at [`inside::WORKSPACE`], and the same seccomp filter.
    Bwrap {
        /// The `bwrap` program.
        bwrap: PathBuf,
        /// What it gets all the same.
        grants: Grants,
    },
}

/// Where things are inside `bwrap`: NanoClaw's places.
pub mod inside {
    /// The session's folder, to read.
    pub const WORKSPACE: &str = "/workspace";
    /// The agent's own folder, to write.
    pub const AGENT: &str = "/workspace/agent";
    /// The runner's program.
    pub const PROGRAM: &str = "/vestibule";
}

/// What a sandbox lets through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grants {
    /// Besides the system: what it may read and run.
    pub read: Vec<PathBuf>,
    /// Whether it may use the internet.
    pub network: bool,
    /// How much memory one of its processes may hold, in bytes.
    pub memory_bytes: u64,
}

/// What the keeper says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "frame", rename_all = "snake_case")]
pub enum FromKeeper {
    /// The runner was started.
    Started {
        /// Its process id.
        pid: u32,
    },
    /// What one look at `outbound.db` found: one snapshot of both tables.
    Batch {
        /// New replies, in order.
        messages: Vec<MessageOut>,
        /// New or changed acknowledgements.
        acks: Vec<Ack>,
    },
    /// The heartbeat changed.
    Alive,
    /// The keeper itself lives. One comes at least every two seconds.
    Pulse,
    /// The runner ended.
    Exited {
        /// How, in words.
        how: String,
        /// The end of what it wrote to standard error.
        stderr_tail: String,
    },
    /// Everything that was written is handed over; the keeper goes.
    Drained,
    /// The agent's files cannot be read; the runner was stopped.
    Spoilt {
        /// Why.
        reason: String,
    },
    /// The keeper could not do its work, and the agent is not to blame.
    Failed {
        /// Why.
        reason: String,
    },
}

/// Writes one frame.
///
/// # Errors
/// An error of the socket.
pub fn send<T: Serialize>(to: &mut impl Write, frame: &T) -> Result<()> {
    to.write_all(&encode(frame)?)
}

/// The bytes of one frame.
///
/// # Errors
/// The frame is larger than [`FRAME_BYTES_MAX`].
pub fn encode<T: Serialize>(frame: &T) -> Result<Vec<u8>> {
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, frame)?;
    let len = bytes.len() - 4;
    if len > FRAME_BYTES_MAX {
        return Err(Error::new(ErrorKind::InvalidData, format!("a frame of {len} bytes is too large")));
    }
    bytes[..4].copy_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes());
    Ok(bytes)
}

/// Reads one frame; `None` when the other side has gone.
///
/// # Errors
/// An error of the socket, or a frame that is too large or no JSON.
pub fn receive<T: DeserializeOwned>(from: &mut impl Read) -> Result<Option<T>> {
    let mut len = [0; 4];
    match from.read_exact(&mut len) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let mut bytes = vec![0; frame_len(len)?];
    from.read_exact(&mut bytes)?;
    decode(&bytes).map(Some)
}

/// The length that a frame's first four bytes announce.
///
/// # Errors
/// It is larger than [`FRAME_BYTES_MAX`].
pub fn frame_len(header: [u8; 4]) -> Result<usize> {
    let len = u32::from_le_bytes(header) as usize;
    if len > FRAME_BYTES_MAX {
        return Err(Error::new(ErrorKind::InvalidData, format!("a frame of {len} bytes is too large")));
    }
    Ok(len)
}

/// Reads the JSON of one frame.
///
/// # Errors
/// It is not a frame.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| Error::new(ErrorKind::InvalidData, error))
}
