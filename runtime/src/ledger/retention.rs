//! Which rows are forgotten, and which must not be.
//!
//! Invariants:
//! - A row that waits is never pruned, nor a message that a kept row points to, nor a session's last: numbers are given
//!   above it.
//! - The id of a pruned message is never given again: a runner may remember that it has answered it.
//! - Deliveries go in the order of their numbers, and all below the floor were settled: none is ever taken again.
//! - Everything is pruned in slices, so that a commit with one of them is short.

use super::files::{Direction, forget_files};
use super::{bump, own};
use crate::clock::{Timestamp, after};
use crate::db::{ReadTxn, WriteTxn};
use crate::error::Result;
use crate::id::SessionId;
use rusqlite::{OptionalExtension, params};
use sha2::{Digest, Sha256};
use std::collections::HashMap;

/// At most this many rows are looked at in one commit.
pub const SLICE: u32 = 500;
/// Event ids are remembered for this long, in milliseconds, whatever else is forgotten: 30 days. No platform in use
/// sends an event again after that.
const EVENT_ID_AGE_MS: i64 = 30 * 24 * 3600 * 1000;

/// The outcome of one slice.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// How many rows were forgotten.
    pub rows: usize,
    /// Where the next slice begins; `None`: this was the last.
    pub next: Option<After>,
    /// The sessions whose files must follow.
    pub sessions: Vec<SessionId>,
    /// The blobs that no message names any more.
    pub blobs: Vec<String>,
}

/// The last row that a slice looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct After {
    settled_at: i64,
    session_id: SessionId,
    id: String,
}

/// Forgets the event ids that no platform sends again; returns how many.
pub fn forget_events(db: &WriteTxn, now: Timestamp) -> Result<usize> {
    let mut statement = db.prepare_cached(
        "DELETE FROM event_ids WHERE (channel_type, account, event_id) IN (SELECT channel_type, account, event_id \
         FROM event_ids INDEXED BY event_ids_age WHERE seen_at < ?1 LIMIT ?2)",
    )?;
    Ok(statement.execute(params![after(now, -EVENT_ID_AGE_MS).0, SLICE])?)
}

/// The sessions with deliveries that were settled before a time.
pub fn sessions_to_prune(db: &ReadTxn, before: Timestamp) -> Result<Vec<SessionId>> {
    let mut statement = db.prepare_cached(
        "SELECT DISTINCT session_id FROM deliveries INDEXED BY deliveries_settled \
         WHERE settled_at IS NOT NULL AND settled_at < ?1",
    )?;
    let rows = statement.query_map([before.0], |r| r.get(0))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Forgets deliveries of a session that were settled before a time, up to the first that was not, and raises the floor.
/// Call it again while it returns [`SLICE`] rows.
pub fn prune_deliveries(db: &WriteTxn, session_id: &SessionId, before: Timestamp) -> Result<Pruned> {
    if session_id.module().is_some() {
        return own::prune(db, session_id, before);
    }
    let oldest = db
        .prepare_cached(
            // Adopted rows were settled before they came here; held ones wait for an operator. What the runtime wrote in the
            // agent's place has no number, 0, and holds up nothing that has one: it may be for next year.
            "SELECT message_out_id, seq, CASE WHEN state <> 'held' THEN MAX(settled_at, taken_at) END FROM deliveries INDEXED BY deliveries_seq \
             WHERE session_id = ?1 AND (seq > 0 OR (state <> 'held' AND MAX(settled_at, taken_at) < ?3)) \
             ORDER BY seq, message_out_id LIMIT ?2",
        )?
        .query_map(params![session_id, SLICE, before.0], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))?
        .collect::<rusqlite::Result<Vec<(String, i64, Option<i64>)>>>()?;
    let is_old = |settled_at: Option<i64>| settled_at.is_some_and(|at| at < before.0);
    let old: Vec<_> = oldest.into_iter().take_while(|(_, _, settled_at)| is_old(*settled_at)).collect();
    let Some(floor) = old.last().map(|(_, seq, _)| *seq) else { return Ok(Pruned::default()) };
    let Some(change) = bump(db, session_id)? else { return Ok(Pruned::default()) };
    let mut blobs = Vec::new();
    for (id, ..) in &old {
        blobs.extend(forget_files(db, session_id, Direction::Out, id)?);
        db.prepare_cached("DELETE FROM deliveries WHERE session_id = ?1 AND message_out_id = ?2")?
            .execute(params![session_id, id])?;
        note(db, session_id, change, "delivered", id)?;
    }
    db.prepare_cached("UPDATE sessions SET pruned_floor = MAX(pruned_floor, ?2), outbound_floor = MAX(outbound_floor, ?2) WHERE id = ?1")?
        .execute(params![session_id, floor])?;
    Ok(Pruned { rows: old.len(), next: None, sessions: vec![session_id.to_owned()], blobs })
}

/// Forgets messages that were settled before a time, with their files.
pub fn prune_messages(db: &WriteTxn, before: Timestamp, begin: Option<&After>) -> Result<Pruned> {
    let looked_at = settled(db, before, begin)?;
    let mut pruned = Pruned::default();
    if looked_at.len() == SLICE as usize {
        pruned.next = looked_at.last().cloned();
    }
    let mut changes = HashMap::new();
    for After { session_id, id, .. } in looked_at {
        if is_needed(db, &session_id, &id)? {
            continue;
        }
        let change = match changes.get(&session_id) {
            Some(change) => *change,
            None => {
                let Some(change) = bump(db, &session_id)? else { continue };
                changes.insert(session_id.clone(), change);
                change
            }
        };
        pruned.blobs.extend(forget_message(db, &session_id, &id, change)?);
        pruned.rows += 1;
    }
    pruned.sessions = changes.into_keys().collect();
    Ok(pruned)
}

fn settled(db: &ReadTxn, before: Timestamp, begin: Option<&After>) -> Result<Vec<After>> {
    let mut statement = db.prepare_cached(
        "SELECT settled_at, session_id, id FROM messages_in INDEXED BY messages_in_settled \
         WHERE settled_at IS NOT NULL AND settled_at < ?1 AND (settled_at, session_id, id) > (?2, ?3, ?4) \
         ORDER BY settled_at, session_id, id LIMIT ?5",
    )?;
    let (at, session_id, id) = match begin {
        Some(begin) => (begin.settled_at, begin.session_id.as_str(), begin.id.as_str()),
        None => (i64::MIN, "", ""),
    };
    let rows = statement.query_map(params![before.0, at, session_id, id, SLICE], |r| {
        Ok(After { settled_at: r.get(0)?, session_id: r.get(1)?, id: r.get(2)? })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Whether it is the session's last message, or a kept row points to it: a reply, or a waiting row of its series.
fn is_needed(db: &ReadTxn, session_id: &SessionId, id: &str) -> Result<bool> {
    let mut statement = db.prepare_cached(
        "SELECT m.seq >= s.last_seq \
         OR EXISTS (SELECT 1 FROM deliveries d WHERE d.session_id = ?1 AND d.in_reply_to = ?2) \
         OR EXISTS (SELECT 1 FROM messages_in w INDEXED BY messages_in_series WHERE w.session_id = ?1 \
         AND w.series_id = ?2 AND w.series_id <> w.id AND w.settled_at IS NULL) \
         FROM messages_in m JOIN sessions s ON s.id = m.session_id WHERE m.session_id = ?1 AND m.id = ?2",
    )?;
    Ok(statement.query_row([session_id, id], |r| r.get(0)).optional()?.unwrap_or(true))
}

/// Forgets a message and its files, and notes what its session's `inbound.db` and `inbox/` still show.
fn forget_message(db: &WriteTxn, session_id: &SessionId, id: &str, change: i64) -> Result<Vec<String>> {
    let folder = db
        .prepare_cached(
            "SELECT folder FROM files WHERE session_id = ?1 AND direction = 'in' AND message_id = ?2 \
             AND folder IS NOT NULL LIMIT 1",
        )?
        .query_row([session_id, id], |r| r.get::<_, String>(0))
        .optional()?;
    if let Some(folder) = folder {
        note(db, session_id, change, "inbox", &folder)?;
    }
    let blobs = forget_files(db, session_id, Direction::In, id)?;
    db.prepare_cached("DELETE FROM messages_in WHERE session_id = ?1 AND id = ?2")?
        .execute([session_id, id])?;
    db.prepare_cached("INSERT OR IGNORE INTO given_ids (hash) VALUES (?1)")?
        .execute([hash(session_id, id)])?;
    note(db, session_id, change, "message", id)?;
    Ok(blobs)
}

fn note(db: &WriteTxn, session_id: &SessionId, change: i64, what: &str, name: &str) -> Result<()> {
    db.prepare_cached(
        "INSERT OR IGNORE INTO pruned (session_id, change, what, name) VALUES (?1, ?2, ?3, ?4)",
    )?
    .execute(params![session_id, change, what, name])?;
    Ok(())
}

/// What was pruned after a change and may still stand in a session's files: its kind, and its name.
pub fn pruned_since(db: &ReadTxn, session_id: &SessionId, since: i64) -> Result<Vec<(String, String)>> {
    let mut statement =
        db.prepare_cached("SELECT what, name FROM pruned WHERE session_id = ?1 AND change > ?2")?;
    let rows = statement.query_map(params![session_id, since], |r| Ok((r.get(0)?, r.get(1)?)))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Forgets the notes about pruned rows once the files are known to follow; returns how many.
pub fn forget_pruned(db: &WriteTxn) -> Result<usize> {
    let mut statement = db.prepare_cached(
        "DELETE FROM pruned WHERE (session_id, change, what, name) IN (SELECT p.session_id, p.change, p.what, p.name \
         FROM pruned p CROSS JOIN sessions s ON s.id = p.session_id WHERE s.projected >= p.change LIMIT ?1)",
    )?;
    Ok(statement.execute([SLICE])?)
}

/// An id of a session as a number. Two ids may share one: that costs only a number in the second id.
pub fn hash(session_id: &SessionId, id: &str) -> i64 {
    let digest =
        Sha256::new().chain_update(session_id.as_str()).chain_update([0]).chain_update(id).finalize();
    digest.iter().take(8).fold(0, |hash, byte| (hash << 8) | i64::from(*byte))
}

#[cfg(test)]
mod tests;
