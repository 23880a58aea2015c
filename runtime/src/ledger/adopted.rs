//! Rows of a session that is taken over. Each is taken once, however often it is handed over.

use super::bump;
use super::deliveries::count_delivered;
use crate::clock::Timestamp;
use crate::db::WriteTxn;
use crate::error::{Error, Result};
use crate::id::SessionId;
use rusqlite::params;
use vestibule_session::{MessageIn, MessageOut, Settled, next_even};

/// The change number of the rows that are taken over next; one for a whole batch.
///
/// # Errors
/// The session is gone.
pub fn adopt_change(db: &WriteTxn, session_id: &SessionId) -> Result<i64> {
    bump(db, session_id)?.ok_or_else(|| Error::refused("the session was deleted while it was taken over"))
}

/// Writes an inbound row that is taken over now; a `seq` of 0 is replaced by the session's next. False when the row was
/// here already.
pub fn adopt_message(
    db: &WriteTxn,
    session_id: &SessionId,
    change: i64,
    m: &MessageIn,
    now: Timestamp,
) -> Result<bool> {
    let last_seq: i64 = db
        .prepare_cached("SELECT last_seq FROM sessions WHERE id = ?1")?
        .query_row([session_id], |r| r.get(0))?;
    let seq = if m.seq == 0 { next_even(last_seq) } else { m.seq };
    let is_settled = ["completed", "failed"].contains(&m.status.as_str());
    let mut insert = db.prepare_cached(
        "INSERT INTO messages_in (session_id, id, seq, kind, timestamp, status, process_after, recurrence, series_id, \
         tries, \"trigger\", channel_type, account, platform_id, thread_id, content, source_session_id, on_wake, \
         platform_message_id, change, settled_at) \
         VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,?18,?19,?20,?21) ON CONFLICT DO NOTHING",
    )?;
    let inserted = insert.execute(params![
        session_id,
        m.id,
        seq,
        m.kind,
        m.timestamp.0,
        m.status,
        m.process_after.map(|at| at.0),
        m.recurrence,
        m.series_id,
        m.tries,
        m.trigger,
        m.channel_type,
        m.account,
        m.platform_id,
        m.thread_id,
        m.content,
        m.source_session_id,
        m.on_wake,
        m.platform_message_id,
        change,
        is_settled.then_some(now.0),
    ])?;
    if inserted > 0 && seq > last_seq {
        db.prepare_cached("UPDATE sessions SET last_seq = ?2 WHERE id = ?1")?
            .execute(params![session_id, seq])?;
    }
    Ok(inserted > 0)
}

/// Records a reply whose outcome was already final, at `at`, before it was taken over. False when it was on record
/// already.
pub fn adopt_settled(
    db: &WriteTxn,
    session_id: &SessionId,
    change: i64,
    reply: &MessageOut,
    (outcome, platform_message_id, at): (Settled, Option<&str>, Timestamp),
    now: Timestamp,
) -> Result<bool> {
    let mut insert = db.prepare_cached(
        "INSERT INTO deliveries (session_id, message_out_id, seq, in_reply_to, kind, channel_type, account, platform_id, \
         thread_id, content, state, platform_message_id, taken_at, settled_at, change) \
         VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15) ON CONFLICT DO NOTHING",
    )?;
    let inserted = insert.execute(params![
        session_id,
        reply.id,
        reply.seq,
        reply.in_reply_to,
        reply.kind,
        reply.channel_type,
        reply.account,
        reply.platform_id,
        reply.thread_id,
        reply.content,
        outcome.as_str(),
        platform_message_id,
        now.0,
        at.0,
        change,
    ])?;
    if inserted > 0 {
        count_delivered(db, outcome)?;
    }
    Ok(inserted > 0)
}
