//! Rows of a session that is taken over. Each is taken once, however often it is handed over.

use super::bump;
use super::deliveries::count_delivered;
use crate::clock::Timestamp;
use crate::db::{ReadTxn, WriteTxn};
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

/// How a row stands that was taken over: what decides whether it goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdoptedRow {
    /// Its series.
    pub series_id: String,
    /// `chat`, `task` …
    pub kind: String,
    /// `pending`, `completed`, `failed` or `paused`.
    pub status: String,
    /// When it was to be repeated.
    pub recurrence: Option<String>,
    /// JSON.
    pub content: String,
    /// Why it was failed when it was taken over.
    pub failure: Option<String>,
}

impl AdoptedRow {
    /// How this row stands, failed for this reason.
    pub fn of(row: &MessageIn, failure: Option<&str>) -> AdoptedRow {
        AdoptedRow {
            series_id: row.series_id.as_ref().unwrap_or(&row.id).clone(),
            kind: row.kind.clone(),
            status: row.status.clone(),
            recurrence: row.recurrence.clone(),
            content: row.content.clone(),
            failure: failure.map(str::to_owned),
        }
    }
}

/// Hands the newest row of each series of a session that is to be repeated to `each`, by number. A series has ended when
/// its newest row is not to be repeated; a run out of turn, whose id NanoClaw makes of the series' own, says nothing about
/// that.
pub fn recurring(db: &ReadTxn, session_id: &SessionId, mut each: impl FnMut(AdoptedRow)) -> Result<()> {
    let mut statement = db.prepare(
        "WITH newest AS (SELECT id, MAX(seq) AS seq FROM messages_in WHERE session_id = ?1 AND series_id IN \
         (SELECT series_id FROM messages_in WHERE session_id = ?1 AND recurrence IS NOT NULL) \
         AND substr(id, 1, length(series_id) + 4) <> series_id || '-run' GROUP BY series_id) \
         SELECT m.series_id, m.kind, m.status, m.recurrence, m.content, m.failure FROM newest \
         JOIN messages_in m ON m.session_id = ?1 AND m.id = newest.id WHERE m.recurrence IS NOT NULL \
         ORDER BY newest.seq",
    )?;
    let mut rows = statement.query([session_id])?;
    while let Some(row) = rows.next()? {
        each(AdoptedRow {
            series_id: row.get(0)?,
            kind: row.get(1)?,
            status: row.get(2)?,
            recurrence: row.get(3)?,
            content: row.get(4)?,
            failure: row.get(5)?,
        });
    }
    Ok(())
}

/// Writes an inbound row that is taken over now, failed for the reason `failure`, if there is one; a `seq` of 0 is
/// replaced by the session's next. False when the row was here already.
pub fn adopt_message(
    db: &WriteTxn,
    session_id: &SessionId,
    change: i64,
    (m, failure): (&MessageIn, Option<&str>),
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
         platform_message_id, change, settled_at, failure) \
         VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,?18,?19,?20,?21,?22) ON CONFLICT DO NOTHING",
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
        failure,
    ])?;
    if inserted > 0 && seq > last_seq {
        db.prepare_cached("UPDATE sessions SET last_seq = ?2 WHERE id = ?1")?
            .execute(params![session_id, seq])?;
    }
    Ok(inserted > 0)
}

/// What was final of a reply before it was taken over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settlement {
    /// The outcome.
    pub outcome: Settled,
    /// The platform's id of what was delivered.
    pub platform_message_id: Option<String>,
    /// When it was final.
    pub at: Timestamp,
    /// Why it failed.
    pub why: Option<String>,
}

/// Records a reply whose outcome was already final before it was taken over. False when it was on record already.
pub fn adopt_settled(
    db: &WriteTxn,
    session_id: &SessionId,
    change: i64,
    reply: &MessageOut,
    settled: &Settlement,
    now: Timestamp,
) -> Result<bool> {
    let mut insert = db.prepare_cached(
        "INSERT INTO deliveries (session_id, message_out_id, seq, in_reply_to, kind, channel_type, account, platform_id, \
         thread_id, content, state, platform_message_id, taken_at, settled_at, change, last_error) \
         VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16) ON CONFLICT DO NOTHING",
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
        settled.outcome.as_str(),
        settled.platform_message_id,
        now.0,
        settled.at.0,
        change,
        settled.why,
    ])?;
    if inserted > 0 {
        count_delivered(db, settled.outcome)?;
    }
    Ok(inserted > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_row_of_a_series_says_whether_it_is_repeated() {
        let db = crate::db::in_memory();
        db.execute_batch(
            "INSERT INTO agent_groups (id, name, folder, created_at) VALUES ('ag', 'a', 'a', 0); \
             INSERT INTO sessions (id, agent_group_id, created_at, last_active) VALUES ('s', 'ag', 0, 0), ('t', 'ag', 0, 0)",
        )
        .expect("it fills");
        for (seq, session, id, series, status, recurrence) in [
            // Its next run is there already.
            (2, "s", "daily", "daily", "completed", None),
            (4, "s", "daily-2", "daily", "pending", Some("0 9 * * *")),
            // NanoClaw had not got to the next run.
            (6, "s", "weekly", "weekly", "completed", Some("0 9 * * 1")),
            // A run out of turn is no end.
            (8, "s", "weekly-run-1", "weekly", "completed", None),
            // It was cancelled, or its recurrence was taken away.
            (10, "s", "ended", "ended", "completed", Some("* * * * *")),
            (12, "s", "ended-2", "ended", "completed", None),
            (14, "s", "once", "once", "pending", None),
            // Both were there when NanoClaw was stopped between two steps.
            (16, "s", "twice", "twice", "completed", Some("1 1 * * *")),
            (18, "s", "twice-2", "twice", "failed", Some("1 1 * * *")),
            (20, "t", "other", "other", "completed", Some("2 2 * * *")),
        ] {
            db.execute(
                "INSERT INTO messages_in (session_id, id, seq, kind, timestamp, status, recurrence, series_id, \
                 \"trigger\", content, change) VALUES (?1, ?2, ?3, 'task', 0, ?4, ?5, ?6, 1, '{}', 1)",
                params![session, id, seq, status, recurrence, series],
            )
            .expect("a row");
        }
        let mut found = Vec::new();
        let each = |row: AdoptedRow| {
            found.push(format!("{} {} {}", row.series_id, row.status, row.recurrence.unwrap_or_default()));
        };
        recurring(&db, &"s".into(), each).expect("it is read");
        assert_eq!(
            found,
            ["daily pending 0 9 * * *", "weekly completed 0 9 * * 1", "twice failed 1 1 * * *"]
        );
    }
}
