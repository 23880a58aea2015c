//! How much a session may have pending.

use crate::error::Result;
use crate::ledger::{self, Pending};
use rusqlite::Connection;

/// How many replies of one session may wait for their channels: what is more stays in the agent's file.
const PENDING_REPLIES_MAX: i64 = 1_000;
/// How many bytes they may hold.
const PENDING_BYTES_MAX: i64 = 16 * 1024 * 1024;

/// Whether one more batch of a session is taken. It may lead beyond the limit once, by its own size.
///
/// # Errors
/// SQLite fails.
pub fn has_room(db: &Connection, session_id: &str) -> Result<bool> {
    Ok(is_room(ledger::pending_of(db, session_id, PENDING_REPLIES_MAX)?))
}

fn is_room(pending: Pending) -> bool {
    pending.replies < PENDING_REPLIES_MAX && pending.content_bytes < PENDING_BYTES_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_one_more_batch_is_taken() {
        for (replies, content_bytes, want) in [
            (0, 0, true),
            (PENDING_REPLIES_MAX - 1, PENDING_BYTES_MAX - 1, true),
            (PENDING_REPLIES_MAX, 0, false),
            (PENDING_REPLIES_MAX + 255, 0, false),
            (1, PENDING_BYTES_MAX, false),
            (2, PENDING_BYTES_MAX + 1, false),
        ] {
            assert_eq!(is_room(Pending { replies, content_bytes }), want, "{replies} {content_bytes}");
        }
    }
}
