//! The frames between runtime and keeper: a length, and that many bytes of JSON.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::{Error, ErrorKind, Read, Result, Write};
use std::path::PathBuf;
use vestibule_session::{
    Ack, CONTENT_BYTES_MAX, FIELD_BYTES_MAX, ForeignIn, ForeignOut, ForeignState, MessageOut,
    STATE_BYTES_MAX, TOOL_SILENCE_MS_MAX, words,
};

/// The largest frame that either side accepts, in bytes.
pub const FRAME_BYTES_MAX: usize = 32 * 1024 * 1024;

/// The most replies, and the most acknowledgements, in one batch.
pub const BATCH_ROWS_MAX: usize = 256;

/// The most bytes that follow one [`FileFrame::Part`].
pub const PART_BYTES_MAX: usize = 256 * 1024;

/// The most files that are taken from one foreign folder.
pub const ADOPTED_FILES_MAX: usize = 50_000;

/// A frame of the runtime's.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "frame", rename_all = "snake_case")]
pub enum ToKeeper {
    /// Keep this session. The first frame, and only the first.
    Launch(LaunchSpec),
    /// Read a session folder that another program made. The first frame, and only the first.
    Adopt(AdoptSpec),
    /// The last batch is on disk; the next may come.
    Taken,
    /// End the runner, hand over what is left, and go.
    Stop {
        /// Whether the runner failed: then its file is checked whole.
        suspicious: bool,
    },
}

/// The session that a keeper keeps, and how.
#[derive(Debug, Serialize, Deserialize)]
pub struct LaunchSpec {
    /// The session's folder.
    pub session_dir: PathBuf,
    /// Replies up to this sequence number are on record already.
    pub after_seq: i64,
    /// How much the files of one reply may hold together, in bytes.
    pub files_bytes_max: u64,
    /// The runner to start; without one, the keeper hands over what a dead runner left.
    pub runner: Option<RunnerSpec>,
}

/// The foreign folder that a keeper reads.
#[derive(Debug, Serialize, Deserialize)]
pub struct AdoptSpec {
    /// The foreign folder. It is only read.
    pub folder: PathBuf,
    /// An empty private folder for copies.
    pub scratch: PathBuf,
    /// How much the files of one row may hold together, in bytes.
    pub files_bytes_max: u64,
    /// How much the files of all rows may hold together, in bytes.
    pub session_bytes_max: u64,
}

/// The runner that a keeper starts.
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
    /// Its umask: the operator's, for the agent owns the files that it makes.
    pub umask: u32,
    /// The control group that the run gets, where the runtime was delegated one. The warden makes and removes it.
    pub group: Option<PathBuf>,
    /// The sandbox it lives in.
    pub sandbox: Sandbox,
    /// How much it and everything it starts may use together.
    pub limits: Limits,
}

/// How much one run may use; a run that exceeds it is ended within about two seconds.
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
    /// The size of the agent's own folder, in bytes.
    pub agent_bytes: u64,
    /// How many files and folders there may be in the agent's own folder.
    pub agent_files: u64,
}

impl Limits {
    /// Nothing may be used: for a caller that starts no run, or that names the limits itself.
    pub const NONE: Limits =
        Limits { processes: 0, memory_bytes: 0, out_bytes: 0, out_files: 0, agent_bytes: 0, agent_files: 0 };
}

/// Every process of a run has this score, or a higher one: when memory runs out, the kernel ends
/// agents first. It also tells an orphan of a dead keeper from any other child of the runtime.
pub const RUNNER_OOM_SCORE: i32 = 600;

/// The sandbox that a runner lives in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "sandbox", rename_all = "snake_case")]
pub enum Sandbox {
    /// None: it can do what its user can.
    None,
    /// An ordinary process behind Landlock and seccomp, without capabilities.
    Process {
        /// What it may do all the same.
        grants: Grants,
    },
    /// bubblewrap: namespaces of its own, the session at [`inside::WORKSPACE`], and the same seccomp filter.
    Bwrap {
        /// The `bwrap`, and what it can do.
        bubblewrap: Box<Bubblewrap>,
        /// What it may do all the same.
        grants: Grants,
    },
}

/// A bubblewrap that confines runners here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bubblewrap {
    /// The `bwrap` program.
    pub program: PathBuf,
    /// Whether it makes folders in memory of a bounded size: version 0.7 and later, where it is not setuid. Without
    /// them there is no `/dev/shm` inside, nor a `/tmp` above what is granted.
    pub sized: bool,
    /// Under a runtime that root started: the user that runners are, outside and inside.
    pub user: Option<User>,
}

/// A user of the machine, by numbers, with its only group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// The user's id.
    pub uid: u32,
    /// The group's id.
    pub gid: u32,
}

/// The paths inside `bwrap`: NanoClaw's places.
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
    /// The files and folders, besides the system, that it may read and run.
    pub read: Vec<PathBuf>,
    /// Whether it may use the internet.
    pub network: bool,
    /// How much memory one of its processes may hold, in bytes.
    pub memory_bytes: u64,
}

/// A frame of the keeper's.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "frame", rename_all = "snake_case")]
pub enum FromKeeper {
    /// The runner was started.
    Started {
        /// Its process id.
        pid: u32,
    },
    /// About a file of a reply that the next batch brings.
    File(FileFrame),
    /// The result of one look at `outbound.db`: one snapshot of both tables.
    Batch {
        /// New replies, in order.
        messages: Vec<MessageOut>,
        /// New or changed acknowledgements.
        acks: Vec<Ack>,
        /// The rows whose claims are gone: those of a dead runner, say, which the next one forgets.
        let_go: Vec<String>,
    },
    /// The heartbeat changed.
    Alive,
    /// How long the tool in flight may be silent, as the runner declared it, in milliseconds; without a number no tool
    /// has declared anything. Comes when it changes.
    Tool {
        /// At most a day.
        silence_ms: Option<u64>,
    },
    /// Which of the agent's folders is half full or more; `None`: none is any more. Comes when it changes.
    Filling {
        /// The folder and its limit, in words.
        what: Option<String>,
    },
    /// The runner keeps `outbound.db` locked, so that it cannot be read. Comes once a run.
    Locked,
    /// The keeper itself lives. A pulse comes at least every two seconds.
    Pulse,
    /// The runner ended.
    Exited {
        /// How it ended, as a sentence.
        how: String,
        /// The end of what it wrote to standard error.
        stderr_tail: String,
    },
    /// Everything that was written is handed over; the keeper goes.
    Drained,
    /// The agent's files cannot be read; the runner was stopped.
    Corrupt {
        /// Why they cannot.
        reason: String,
    },
    /// The keeper could not do its work, and the agent is not to blame.
    Failed {
        /// Why it could not.
        reason: String,
        /// Whether space, memory, processes or descriptors were missing: see [`crate::is_for_want`].
        is_scarce: bool,
    },
}

/// A keeper's frame about a file of a row that its next batch brings.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "file", rename_all = "snake_case")]
pub enum FileFrame {
    /// A part of the file. Files come whole, one after the other, and `bytes` raw bytes follow the frame.
    Part {
        /// The row's id.
        message_id: String,
        /// The file's place among those of the row.
        position: usize,
        /// Its name, as the agent wrote it.
        name: String,
        /// How many bytes follow; at most [`PART_BYTES_MAX`].
        bytes: u32,
        /// Whether the file is complete with them.
        last: bool,
    },
    /// The file cannot be handed over; the parts that came of it are void.
    LeftOut {
        /// The row's id.
        message_id: String,
        /// The file's place among those of the row.
        position: usize,
        /// Its name, as the agent wrote it.
        name: String,
        /// Why it cannot.
        reason: String,
    },
}

/// A frame of a keeper that hands over a session folder that another program made. Each frame but the pulse and those
/// of files is answered with `Taken`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "frame", rename_all = "snake_case")]
pub enum FromForeign {
    /// The keeper lives.
    Pulse,
    /// Both files can be read. Comes first, and once.
    Found {
        /// The highest number of `messages_in`.
        highest_in: i64,
        /// The highest number of `messages_out`.
        highest_out: i64,
    },
    /// About a file of a row that the next batch brings.
    File(FileFrame),
    /// Rows of `messages_in`, by number.
    Inbound {
        /// At most [`BATCH_ROWS_MAX`].
        rows: Vec<ForeignIn>,
    },
    /// Rows of `messages_out`, by number.
    Outbound {
        /// At most [`BATCH_ROWS_MAX`].
        rows: Vec<ForeignOut>,
    },
    /// Rows of `session_state`.
    State {
        /// At most [`BATCH_ROWS_MAX`].
        rows: Vec<ForeignState>,
    },
    /// Everything is handed over; the keeper goes.
    Done {
        /// How many rows had no usable id.
        left_out: usize,
    },
    /// The folder holds no session that can be read.
    Corrupt {
        /// Why it cannot.
        reason: String,
    },
    /// The keeper could not do its work, and the folder is not to blame.
    Failed {
        /// Why it could not.
        reason: String,
    },
}

/// The longest reason that a keeper gives, in bytes.
const REASON_BYTES_MAX: usize = 4 * words::REASON_CHARS_MAX;

/// How much of a runner's standard error a keeper keeps, in bytes. Bytes that are no text become three times as long.
pub const STDERR_BYTES_MAX: usize = 4096;

/// A frame that a keeper may send. The runtime asks of every frame what is wrong with it, as of a stranger's.
pub trait Frame: DeserializeOwned + Send + 'static {
    /// The rule that the frame breaks, in words; `None`: it breaks none.
    fn fault(&self) -> Option<String>;

    /// How many raw bytes follow the frame.
    fn bytes_beside(&self) -> usize {
        0
    }
}

fn wordy() -> String {
    "a text of a keeper is longer than it may be".to_owned()
}

fn long(text: &Option<String>) -> bool {
    text.as_ref().is_some_and(|text| text.len() > FIELD_BYTES_MAX)
}

fn too_long(m: &MessageOut) -> bool {
    [&m.in_reply_to, &m.deliver_after, &m.platform_id, &m.channel_type, &m.thread_id, &m.account]
        .into_iter()
        .any(long)
        || [&m.id, &m.kind, &m.timestamp].into_iter().any(|text| text.len() > FIELD_BYTES_MAX)
        || m.content.len() > CONTENT_BYTES_MAX
}

fn fault_of_rows(rows: usize, any_too_long: bool) -> Option<String> {
    if any_too_long {
        return Some("a row is longer than a keeper may hand over".to_owned());
    }
    (rows > BATCH_ROWS_MAX).then(|| format!("a batch holds more than {BATCH_ROWS_MAX} rows"))
}

impl Frame for FromKeeper {
    fn fault(&self) -> Option<String> {
        let (messages, acks, let_go) = match self {
            FromKeeper::Batch { messages, acks, let_go } => (messages, acks, let_go),
            FromKeeper::File(file) => return file.fault(),
            FromKeeper::Exited { how, stderr_tail } => {
                let long = how.len() > REASON_BYTES_MAX || stderr_tail.len() > 3 * STDERR_BYTES_MAX;
                return long.then(wordy);
            }
            FromKeeper::Corrupt { reason } | FromKeeper::Failed { reason, .. } => {
                return (reason.len() > REASON_BYTES_MAX).then(wordy);
            }
            FromKeeper::Filling { what } => {
                return what.as_ref().is_some_and(|what| what.len() > REASON_BYTES_MAX).then(wordy);
            }
            FromKeeper::Tool { silence_ms } => {
                let long = silence_ms.is_some_and(|ms| ms > TOOL_SILENCE_MS_MAX);
                return long.then(|| "a tool is declared to take longer than a tool may".to_owned());
            }
            FromKeeper::Started { .. }
            | FromKeeper::Alive
            | FromKeeper::Locked
            | FromKeeper::Pulse
            | FromKeeper::Drained => return None,
        };
        let ids = acks.iter().map(|ack| &ack.message_id).chain(let_go);
        let any = messages.iter().any(too_long) || ids.map(String::len).any(|bytes| bytes > FIELD_BYTES_MAX);
        let rise = messages.is_sorted_by(|a, b| a.seq < b.seq);
        fault_of_rows(messages.len().max(acks.len()).max(let_go.len()), any)
            .or_else(|| (!rise).then(|| "the numbers of a batch do not rise".to_owned()))
    }

    fn bytes_beside(&self) -> usize {
        match self {
            FromKeeper::File(file) => file.bytes_beside(),
            _ => 0,
        }
    }
}

impl FileFrame {
    fn fault(&self) -> Option<String> {
        match self {
            FileFrame::Part { message_id, name, bytes, .. } => {
                let long = message_id.len().max(name.len()) > FIELD_BYTES_MAX;
                let long = long || *bytes as usize > PART_BYTES_MAX;
                long.then(|| "a part of a file is longer than a keeper may hand over".to_owned())
            }
            FileFrame::LeftOut { message_id, name, reason, .. } => {
                let long = message_id.len().max(name.len()).max(reason.len()) > FIELD_BYTES_MAX;
                long.then(wordy)
            }
        }
    }

    fn bytes_beside(&self) -> usize {
        match self {
            FileFrame::Part { bytes, .. } => *bytes as usize,
            FileFrame::LeftOut { .. } => 0,
        }
    }
}

impl Frame for FromForeign {
    fn fault(&self) -> Option<String> {
        match self {
            FromForeign::File(file) => file.fault(),
            FromForeign::Inbound { rows } => fault_of_rows(rows.len(), rows.iter().any(inbound_too_long)),
            FromForeign::Outbound { rows } => {
                let settled_too_long = |row: &ForeignOut| {
                    let settled = row.settled.as_ref();
                    settled.is_some_and(|s| long(&s.platform_message_id) || s.at.len() > FIELD_BYTES_MAX)
                };
                let any = rows.iter().any(|row| too_long(&row.reply) || settled_too_long(row));
                fault_of_rows(rows.len(), any)
            }
            FromForeign::State { rows } => {
                let too_long =
                    |row: &ForeignState| row.key.len() > FIELD_BYTES_MAX || row.value.len() > STATE_BYTES_MAX;
                fault_of_rows(rows.len(), rows.iter().any(too_long))
            }
            FromForeign::Corrupt { reason } | FromForeign::Failed { reason } => {
                (reason.len() > REASON_BYTES_MAX).then(wordy)
            }
            FromForeign::Pulse | FromForeign::Found { .. } | FromForeign::Done { .. } => None,
        }
    }

    fn bytes_beside(&self) -> usize {
        match self {
            FromForeign::File(file) => file.bytes_beside(),
            _ => 0,
        }
    }
}

fn inbound_too_long(m: &ForeignIn) -> bool {
    let fields = [
        &m.status,
        &m.process_after,
        &m.recurrence,
        &m.series_id,
        &m.platform_id,
        &m.channel_type,
        &m.thread_id,
        &m.source_session_id,
        &m.account,
        &m.platform_message_id,
    ];
    fields.into_iter().any(long)
        || [&m.id, &m.kind, &m.timestamp].into_iter().any(|text| text.len() > FIELD_BYTES_MAX)
        || m.content.len() > CONTENT_BYTES_MAX
}

/// Writes one frame.
///
/// The socket fails.
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
/// The socket fails, or the frame is too large or no JSON.
pub fn receive<T: DeserializeOwned>(from: &mut impl Read) -> Result<Option<T>> {
    let mut len = [0; 4];
    match from.read_exact(&mut len) {
        Ok(()) => {}
        // A socket that was closed while something waited in it is reset.
        Err(error) if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    }
    let mut bytes = vec![0; frame_len(len)?];
    from.read_exact(&mut bytes)?;
    decode(&bytes).map(Some)
}

/// The length that a frame's first four bytes announce.
///
/// # Errors
/// The length is larger than [`FRAME_BYTES_MAX`].
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
/// The bytes are no frame of this kind.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| Error::new(ErrorKind::InvalidData, error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn fault<F: Frame>(frame: Value) -> String {
        let bytes = serde_json::to_vec(&frame).expect("it is JSON");
        decode::<F>(&bytes).expect("it is a frame").fault().unwrap_or_default()
    }

    fn reply(seq: i64, field: &str, bytes: usize) -> Value {
        let mut reply = json!({ "id": "o", "seq": seq, "timestamp": "", "kind": "chat", "content": "{}" });
        reply[field] = json!("x".repeat(bytes));
        reply
    }

    #[test]
    fn what_no_keeper_may_say() {
        let whole = |messages: Vec<Value>, acks: Vec<Value>, let_go: Vec<String>| {
            fault::<FromKeeper>(
                json!({ "frame": "batch", "messages": messages, "acks": acks, "let_go": let_go }),
            )
        };
        let batch = |messages, acks| whole(messages, acks, vec![]);
        let ack = |bytes: usize| json!({ "message_id": "x".repeat(bytes), "status": "completed" });
        let x = |bytes: usize| "x".repeat(bytes);
        let exited = |how: usize, said: usize| {
            fault::<FromKeeper>(json!({ "frame": "exited", "how": x(how), "stderr_tail": x(said) }))
        };
        let gone = |frame: &str, bytes: usize| {
            fault::<FromKeeper>(json!({ "frame": frame, "reason": x(bytes), "is_scarce": false }))
        };
        let tool = |ms: u64| fault::<FromKeeper>(json!({ "frame": "tool", "silence_ms": ms }));
        assert_eq!(tool(TOOL_SILENCE_MS_MAX), "");
        assert_eq!(exited(REASON_BYTES_MAX, 3 * STDERR_BYTES_MAX) + &gone("corrupt", REASON_BYTES_MAX), "");
        assert_eq!(batch(vec![reply(1, "id", 9), reply(3, "content", CONTENT_BYTES_MAX)], vec![ack(9)]), "");
        for (told, want) in [
            (batch(vec![reply(1, "id", FIELD_BYTES_MAX + 1)], vec![]), "longer"),
            (batch(vec![reply(1, "thread_id", FIELD_BYTES_MAX + 1)], vec![]), "longer"),
            (batch(vec![reply(1, "content", CONTENT_BYTES_MAX + 1)], vec![]), "longer"),
            (batch(vec![], vec![ack(FIELD_BYTES_MAX + 1)]), "longer"),
            (batch(vec![], vec![ack(1); BATCH_ROWS_MAX + 1]), "more than"),
            (whole(vec![], vec![], vec![x(1); BATCH_ROWS_MAX + 1]), "more than"),
            (whole(vec![], vec![], vec![x(FIELD_BYTES_MAX + 1)]), "longer"),
            (batch((0..=256).map(|seq| reply(seq, "id", 1)).collect(), vec![]), "more than"),
            (batch(vec![reply(3, "id", 1), reply(3, "id", 1)], vec![]), "do not rise"),
            (exited(REASON_BYTES_MAX, 3 * STDERR_BYTES_MAX + 1), "a text of a keeper is longer"),
            (exited(REASON_BYTES_MAX + 1, 0), "a text of a keeper is longer"),
            (gone("corrupt", REASON_BYTES_MAX + 1), "a text of a keeper is longer"),
            (tool(TOOL_SILENCE_MS_MAX + 1), "longer than a tool may"),
            (gone("failed", REASON_BYTES_MAX + 1), "a text of a keeper is longer"),
        ] {
            assert!(told.contains(want), "{want}: {told}");
        }
    }

    #[test]
    fn what_no_keeper_of_a_foreign_folder_may_say() {
        let row = |field: &str, bytes: usize| {
            let mut row = json!({ "id": "m", "kind": "chat", "timestamp": "", "tries": 0, "trigger": true, "content": "",
                                  "on_wake": false });
            row[field] = json!("x".repeat(bytes));
            row
        };
        let of =
            |frame: &str, rows: Vec<Value>| fault::<FromForeign>(json!({ "frame": frame, "rows": rows }));
        let settled = |bytes: usize| json!({ "reply": reply(1, "id", 1), "settled": { "delivered": true, "at": "x".repeat(bytes) } });
        let state = |key: usize, value: usize| json!({ "key": "x".repeat(key), "value": "x".repeat(value) });
        let gone = |frame: &str, bytes: usize| {
            fault::<FromForeign>(json!({ "frame": frame, "reason": "x".repeat(bytes) }))
        };
        assert_eq!(gone("corrupt", REASON_BYTES_MAX), "");
        assert_eq!(of("inbound", vec![row("content", CONTENT_BYTES_MAX); 2]), "");
        assert_eq!(of("outbound", vec![settled(9)]), "");
        assert_eq!(of("state", vec![state(9, STATE_BYTES_MAX)]), "");
        for (told, want) in [
            (of("inbound", vec![row("id", FIELD_BYTES_MAX + 1)]), "longer"),
            (of("inbound", vec![row("recurrence", FIELD_BYTES_MAX + 1)]), "longer"),
            (of("inbound", vec![row("content", CONTENT_BYTES_MAX + 1)]), "longer"),
            (of("inbound", vec![row("id", 1); BATCH_ROWS_MAX + 1]), "more than"),
            (of("outbound", vec![json!({ "reply": reply(1, "kind", FIELD_BYTES_MAX + 1) })]), "longer"),
            (of("outbound", vec![settled(FIELD_BYTES_MAX + 1)]), "longer"),
            (of("state", vec![state(1, STATE_BYTES_MAX + 1)]), "longer"),
            (of("state", vec![state(FIELD_BYTES_MAX + 1, 1)]), "longer"),
            (gone("corrupt", REASON_BYTES_MAX + 1), "longer"),
            (gone("failed", REASON_BYTES_MAX + 1), "longer"),
        ] {
            assert!(told.contains(want), "{want}: {told}");
        }
    }
}
