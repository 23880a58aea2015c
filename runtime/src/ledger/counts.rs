//! How many sessions and messages are not well, for an operator.

use crate::clock::Timestamp;
use crate::db::ReadTxn;
use crate::error::Result;
use crate::id::SessionId;
use rusqlite::params;
use serde::Serialize;

/// How many failed messages are counted.
const FAILED_COUNTED_MAX: i64 = 10_000;

/// How many sessions are in each state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct SessionCounts {
    /// All sessions.
    pub total: i64,
    /// Those with a runner.
    pub running: i64,
    /// Those with a message that is due, and no runner.
    pub waiting: i64,
    /// Those whose last run failed the messages it had under way.
    pub failing: i64,
    /// Those in which nothing runs until an operator releases them.
    pub quarantined: i64,
}

/// Counts the sessions, each in one state but for the total.
pub fn session_counts(db: &ReadTxn, now: Timestamp) -> Result<SessionCounts> {
    let one = |sql: &str| db.prepare_cached(sql)?.query_row([], |r| r.get(0));
    let waiting = "SELECT COUNT(DISTINCT m.session_id) FROM messages_in m JOIN sessions s ON s.id = m.session_id \
         WHERE m.status = 'pending' AND m.\"trigger\" AND COALESCE(m.process_after, 0) <= ?1 \
         AND NOT s.running AND s.failing IS NULL AND s.quarantined IS NULL";
    Ok(SessionCounts {
        total: one("SELECT count FROM totals WHERE name = 'sessions'")?,
        running: one(
            "SELECT COUNT(*) FROM sessions WHERE running AND failing IS NULL AND quarantined IS NULL",
        )?,
        waiting: db.prepare_cached(waiting)?.query_row([now.0], |r| r.get(0))?,
        failing: one("SELECT COUNT(*) FROM sessions WHERE failing IS NOT NULL AND quarantined IS NULL")?,
        quarantined: one("SELECT COUNT(*) FROM sessions WHERE quarantined IS NOT NULL")?,
    })
}

/// The messages that no agent could answer, of late.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct FailedMessages {
    /// How many, counted up to [`FAILED_COUNTED_MAX`].
    pub count: i64,
    /// The session of the newest.
    pub session: Option<SessionId>,
}

/// The messages of which it became known after a time that they have failed.
pub fn failed_since(db: &ReadTxn, since: Timestamp) -> Result<FailedMessages> {
    let mut statement = db.prepare_cached(
        "SELECT COUNT(*), (SELECT session_id FROM messages_in INDEXED BY messages_in_failed WHERE status = 'failed' \
         AND settled_at > ?1 ORDER BY settled_at DESC, session_id DESC LIMIT 1) FROM (SELECT 1 FROM messages_in \
         INDEXED BY messages_in_failed WHERE status = 'failed' AND settled_at > ?1 LIMIT ?2)",
    )?;
    Ok(statement.query_row(params![since.0, FAILED_COUNTED_MAX], |r| {
        Ok(FailedMessages { count: r.get(0)?, session: r.get(1)? })
    })?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::acknowledge;
    use vestibule_session::{Ack, AckStatus};

    #[test]
    fn what_failed_of_late_is_counted() {
        let db = crate::db::in_memory();
        db.execute_batch(
            "INSERT INTO agent_groups (id, name, folder, created_at) VALUES ('ag', 'a', 'a', 0); \
             INSERT INTO sessions (id, agent_group_id, created_at, last_active) VALUES ('s', 'ag', 0, 0), ('t', 'ag', 0, 0); \
             INSERT INTO messages_in (session_id, id, seq, kind, timestamp, status, \"trigger\", content, change) \
             SELECT s.id, m.value, m.key, 'chat', 0, 'pending', 1, '', 1 FROM sessions s, json_each('[\"a\", \"b\", \"c\"]') m",
        )
        .expect("it fills");
        for (session_id, id, status, at) in [
            ("s", "a", AckStatus::Failed, 10),
            ("t", "a", AckStatus::Failed, 20),
            ("s", "b", AckStatus::Failed, 15),
            ("t", "b", AckStatus::Completed, 30),
            ("t", "c", AckStatus::Processing, 30),
            ("s", "b", AckStatus::Failed, 40),
        ] {
            let ack = Ack { message_id: id.to_owned(), status };
            let new = acknowledge(&db, &session_id.into(), &[ack], Timestamp(at)).expect("on record");
            let is_new = status == AckStatus::Failed && at < 40;
            assert_eq!(new.failed, usize::from(is_new), "what is known is not told again");
            assert_eq!(new.claimed, [id].map(str::to_owned)[usize::from(status != AckStatus::Processing)..]);
        }
        for (since, count, session) in
            [(9, 3, Some("t")), (10, 2, Some("t")), (15, 1, Some("t")), (20, 0, None)]
        {
            let seen = failed_since(&db, Timestamp(since)).expect("it counts");
            assert_eq!(seen, FailedMessages { count, session: session.map(Into::into) }, "{since}");
        }
    }
}
