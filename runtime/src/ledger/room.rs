//! How much a session may have pending.

use super::{Pending, later_of, pending_of};
use crate::db::ReadTxn;
use crate::error::Result;
use crate::id::SessionId;

/// How many replies of one session may wait for their channels: any more stay in the agent's file.
const PENDING_REPLIES_MAX: i64 = 1_000;
/// How many bytes these replies may hold.
const PENDING_BYTES_MAX: i64 = 16 * 1024 * 1024;

/// Whether one more batch of a session is taken. A batch may exceed the limit once, by its own size.
///
/// # Errors
/// SQLite fails.
pub fn has_room(db: &ReadTxn, session_id: &SessionId) -> Result<bool> {
    Ok(is_room(pending_of(db, session_id, PENDING_REPLIES_MAX)?))
}

/// Whether one more reply of a session for later is taken: as many as may be pending, and as many bytes. What is for later
/// may stay so for years.
///
/// # Errors
/// SQLite fails.
pub fn has_room_later(db: &ReadTxn, session_id: &SessionId) -> Result<bool> {
    Ok(is_room(later_of(db, session_id, PENDING_REPLIES_MAX)?))
}

fn is_room(pending: Pending) -> bool {
    pending.replies < PENDING_REPLIES_MAX && pending.content_bytes < PENDING_BYTES_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_full_by_what_is_open_in_it() {
        let db = crate::db::in_memory();
        db.execute_batch(
            "INSERT INTO agent_groups (id, name, folder, created_at) VALUES ('ag', 'a', 'a', 0); \
             INSERT INTO sessions (id, agent_group_id, created_at, last_active) VALUES ('s', 'ag', 0, 0), ('t', 'ag', 0, 0); \
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000) \
             INSERT INTO deliveries (session_id, message_out_id, seq, kind, content, content_bytes, state, taken_at) \
             SELECT 's', i, i, 'chat', '', 0, 'parked', 0 FROM n",
        )
        .expect("it fills");
        let room = |session_id: &SessionId| has_room(&db, session_id).expect("it answers");
        assert_eq!((room(&"s".into()), room(&"t".into())), (false, true));
        db.execute_batch("UPDATE deliveries SET state = 'failed', settled_at = 1 WHERE message_out_id = '7'")
            .expect("one is settled");
        assert!(room(&"s".into()));
        db.execute_batch("UPDATE deliveries SET content_bytes = 16777216 WHERE message_out_id = '8'")
            .expect("one is large");
        assert!(!room(&"s".into()));
        // What is for later holds nothing up, and is bounded by itself.
        let later = |session_id: &SessionId| has_room_later(&db, session_id).expect("it answers");
        assert!(later(&"s".into()));
        db.execute_batch("UPDATE deliveries SET state = 'deferred', settled_at = NULL")
            .expect("all are for later");
        assert_eq!((room(&"s".into()), later(&"s".into()), later(&"t".into())), (true, false, true));
    }

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
