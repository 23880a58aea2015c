//! A session folder that another program made: what a keeper copies out of it and reads from the copies.
//!
//! Its agent could write all of it, so nothing is believed: not a name, not a size, not a schema. The folder itself is
//! only read. SQLite reads a private copy, because a journal that a dead writer left must be rolled back, and that
//! writes.

use crate::{AckStatus, MessageOut};
use serde::{Deserialize, Serialize};

/// A row of a foreign `messages_in`, spelled as it is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForeignIn {
    /// The row's id.
    pub id: String,
    /// Its number, if it has one.
    pub seq: Option<i64>,
    /// `chat`, `task` …
    pub kind: String,
    /// In either spelling of time.
    pub timestamp: String,
    /// `pending`, `completed`, `failed` or `paused`.
    pub status: Option<String>,
    /// In either spelling of time.
    pub process_after: Option<String>,
    /// The cron expression of a recurring row.
    pub recurrence: Option<String>,
    /// Absent in older layouts.
    pub series_id: Option<String>,
    /// How often a runner died over it.
    pub tries: i64,
    /// Absent in older layouts: then it wakes.
    pub trigger: bool,
    /// The chat it came from.
    pub platform_id: Option<String>,
    /// The kind of platform it came from.
    pub channel_type: Option<String>,
    /// The thread it came from.
    pub thread_id: Option<String>,
    /// JSON.
    pub content: String,
    /// Absent in older layouts.
    pub source_session_id: Option<String>,
    /// Absent in older layouts.
    pub on_wake: bool,
    /// The login on the channel; only in files that this runtime made.
    pub account: Option<String>,
    /// The platform's own id; only in files that this runtime made.
    pub platform_message_id: Option<String>,
    /// What `processing_ack` says of the row.
    pub ack: Option<AckStatus>,
}

/// A row of a foreign `messages_out`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForeignOut {
    /// The row; its `seq` is 0 where it has none.
    pub reply: MessageOut,
    /// What `delivered` says of the reply.
    pub settled: Option<ForeignSettled>,
}

/// A row of a foreign `delivered`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForeignSettled {
    /// Whether it was delivered; false: it never will be.
    pub delivered: bool,
    /// Absent in older layouts.
    pub platform_message_id: Option<String>,
    /// In either spelling of time.
    pub at: String,
    /// Why it never will be; only in the newest layouts.
    pub reason: Option<String>,
}

/// A row of a foreign `session_state`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForeignState {
    /// `continuation:<provider>` …
    pub key: String,
    /// Its value.
    pub value: String,
}

/// The longest value of `session_state` that is taken over, in bytes.
pub const STATE_BYTES_MAX: usize = 64 * 1024;

/// The files that the content of an inbound row names: the place of each among the row's attachments, and its path from
/// the session's folder, as it is written there.
pub fn inbox_files(content: &str) -> Vec<(usize, String)> {
    if !content.contains("\"localPath\"") {
        return Vec::new();
    }
    let Ok(content) = serde_json::from_str::<serde_json::Value>(content) else { return Vec::new() };
    let entries = content["attachments"].as_array().into_iter().flatten().enumerate();
    entries
        .filter_map(|(position, entry)| Some((position, entry["localPath"].as_str()?.to_owned())))
        .collect()
}

#[cfg(feature = "keeper")]
mod copy;
#[cfg(feature = "keeper")]
mod reader;

#[cfg(feature = "keeper")]
pub use copy::copy;
#[cfg(feature = "keeper")]
pub use reader::ForeignReader;
