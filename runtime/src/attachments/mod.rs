//! The bytes of files, both ways. A file lies here once, as a blob that the ledger names; what a session's `inbox/`
//! shows is a projection of it, like `inbound.db`.
//!
//! Invariants:
//! - A blob and its folder are synced before the commit that names it. A blob that no commit names is removed.
//! - Names come from strangers and never become part of a path unchecked; a folder is walked beneath
//!   a handle, and no link is followed.
//! - Limits are checked before a byte is written.

mod inbox;
mod named;
mod parts;
mod store;

pub use named::{named_blobs, unnamed};
pub use parts::{MessageFile, Parts};
pub use store::{Hold, Incoming, Store};

use crate::config::Config;

/// The limits on stored files, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How much the files of one message may hold together.
    pub message_bytes: u64,
    /// How much the files of one session may hold together.
    pub session_bytes: u64,
    /// How much stays free on the disk.
    pub reserve_bytes: u64,
}

impl Limits {
    /// The limits that the config sets.
    pub fn of(config: &Config) -> Limits {
        let bytes = |mb: u64| mb * 1024 * 1024;
        Limits {
            message_bytes: bytes(config.attachments_mb),
            session_bytes: bytes(config.session_files_mb),
            reserve_bytes: bytes(config.disk_reserve_mb),
        }
    }
}

/// One file of a message, once its bytes lie here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFile {
    /// Its place among the files of its message.
    pub position: usize,
    /// Its name: safe as a path segment, and unique in its message.
    pub name: String,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// The name of the blob that holds it, if one does.
    pub blob: Result<String, LeftOut>,
}

/// Why the bytes of a file are not here: for the agent, the people of the chat and the operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct LeftOut(pub String);
