//! Which messages a runner is shown, and what becomes of those that were under way when one failed.
//!
//! Usually a runner is shown all that is due. Once a run has failed, each message that was under way may have been the
//! reason: it is a suspect. Until the last suspect is settled, messages are shown one at a time, in the order in which
//! they came, each with the context before it. The others are in the file, too, but due only in the year 9999: a
//! runner of another make takes all that is due. A runner that is to give way after its turn is shown no more in the same
//! way.

use super::bump;
use super::room::has_room;
use crate::clock::Timestamp;
use crate::db::{ReadTxn, WriteTxn};
use crate::error::Result;
use crate::id::SessionId;
use rusqlite::{OptionalExtension, params};
use std::collections::HashSet;
use vestibule_plugin_api::Address;

/// A message that has failed its run this often is given up at the next failure.
const TRIES_MAX: i64 = 5;
/// The wait before the first retry, in milliseconds; it doubles with each.
const RETRY_MS: i64 = 5_000;
/// When messages that are not shown are due, as the runner is told: the year 9999, the latest that every reader of
/// times can read.
pub(super) const NOT_SHOWN: Timestamp = Timestamp(253_370_764_800_000);

/// What is due in a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// When the earliest message that wakes the agent is due.
    pub due: Option<Timestamp>,
    /// The same, of the messages that a runner takes while it runs.
    pub due_while_running: Option<Timestamp>,
    /// A runner was started, and its end is not on record.
    pub running: bool,
    /// Nothing runs until an operator releases the session.
    pub quarantined: bool,
    /// Messages are shown one at a time.
    pub one_at_a_time: bool,
    /// Whether what the session has pending leaves room for more replies.
    pub has_room: bool,
}

/// What became of the messages that were under way when a run failed.
#[derive(Debug, Default)]
pub struct Tried {
    /// How many count one more try.
    pub count: usize,
    /// Those that are given up.
    pub given_up: Vec<GivenUp>,
}

/// A message that no runner is shown any more.
#[derive(Debug)]
pub struct GivenUp {
    /// Its row.
    pub id: String,
    /// Where its answer would have gone.
    pub address: Option<Address>,
    /// The session of the agent that wrote it.
    pub source_session_id: Option<SessionId>,
}

/// Which messages a session's runner is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    All,
    /// Only the one with this number.
    Only(i64),
    /// Those that it has taken, and no more: it gives way after its turn.
    NoMore,
}

impl Shown {
    /// Which messages a session's runner is shown now.
    pub fn of(db: &ReadTxn, session_id: &SessionId) -> Result<Shown> {
        match gives_way(db, session_id)? {
            true => Ok(Shown::NoMore),
            false => Shown::by_suspects(db, session_id),
        }
    }

    /// The same for its next run, if this one gives way.
    fn by_suspects(db: &ReadTxn, session_id: &SessionId) -> Result<Shown> {
        if !any_suspect(db, session_id)? {
            return Ok(Shown::All);
        }
        // A message that is no suspect and has a time is a task: it waits until the suspects are settled.
        let mut statement = db.prepare_cached(
            "SELECT MIN(seq) FROM messages_in INDEXED BY messages_in_pending WHERE session_id = ?1 \
             AND status = 'pending' AND \"trigger\" AND (suspect OR process_after IS NULL)",
        )?;
        let first: Option<i64> = statement.query_row([session_id], |r| r.get(0))?;
        Ok(first.map_or(Shown::All, Shown::Only))
    }

    fn only(self) -> Option<i64> {
        match self {
            Shown::Only(seq) => Some(seq),
            Shown::All | Shown::NoMore => None,
        }
    }

    /// When the runner is told that a pending message is due.
    pub fn process_after(
        self,
        seq: i64,
        trigger: bool,
        process_after: Option<Timestamp>,
    ) -> Option<Timestamp> {
        match self {
            Shown::NoMore => Some(NOT_SHOWN),
            Shown::Only(only) if seq > only || (trigger && seq < only) => Some(NOT_SHOWN),
            Shown::Only(_) | Shown::All => process_after,
        }
    }
}

/// What is due in a session. `running` and `quarantined` are its row's.
pub fn seen(db: &ReadTxn, session_id: &SessionId, running: bool, quarantined: bool) -> Result<Seen> {
    let shown = Shown::by_suspects(db, session_id)?.only();
    let (due, due_while_running): (Option<i64>, Option<i64>) = db
        .prepare_cached(
            "SELECT MIN(COALESCE(process_after, 0)), MIN(CASE WHEN NOT on_wake THEN COALESCE(process_after, 0) END) \
             FROM messages_in INDEXED BY messages_in_pending \
             WHERE session_id = ?1 AND status = 'pending' AND \"trigger\" AND (?2 IS NULL OR seq = ?2)",
        )?
        .query_row(params![session_id, shown], |r| Ok((r.get(0)?, r.get(1)?)))?;
    let is_shown_more = !gives_way(db, session_id)?;
    Ok(Seen {
        due: due.map(Timestamp),
        due_while_running: due_while_running.filter(|_| is_shown_more).map(Timestamp),
        running,
        quarantined,
        one_at_a_time: shown.is_some(),
        has_room: has_room(db, session_id)?,
    })
}

fn gives_way(db: &ReadTxn, session_id: &SessionId) -> Result<bool> {
    let mut statement = db.prepare_cached("SELECT gives_way FROM sessions WHERE id = ?1")?;
    Ok(statement.query_row([session_id], |r| r.get(0)).optional()?.unwrap_or_default())
}

/// Has a session's runner shown no message that it has not taken yet: it gives way after its turn.
pub fn show_no_more(db: &WriteTxn, session_id: &SessionId) -> Result<()> {
    set_gives_way(db, session_id, true)
}

/// Ends [`show_no_more`], if it was in force.
pub fn show_again(db: &WriteTxn, session_id: &SessionId) -> Result<()> {
    set_gives_way(db, session_id, false)
}

fn set_gives_way(db: &WriteTxn, session_id: &SessionId, gives_way: bool) -> Result<()> {
    let changed = db
        .prepare_cached("UPDATE sessions SET gives_way = ?2 WHERE id = ?1 AND gives_way <> ?2")?
        .execute(params![session_id, gives_way])?;
    if changed == 0 {
        return Ok(());
    }
    let Some(change) = bump(db, session_id)? else { return Ok(()) };
    show_anew(db, session_id, change)
}

fn any_suspect(db: &ReadTxn, session_id: &SessionId) -> Result<bool> {
    let mut statement = db.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM messages_in INDEXED BY messages_in_suspects \
         WHERE session_id = ?1 AND suspect AND status = 'pending')",
    )?;
    Ok(statement.query_row([session_id], |r| r.get(0))?)
}

/// Counts a try, for the reason `why`, for each message that was under way when a run failed: it waits before the next
/// try, and is given up after the last. Under way were the messages that were shown and due; if the runner had claimed
/// any of them, only those.
pub fn count_tries(
    db: &WriteTxn,
    session_id: &SessionId,
    claims: &HashSet<String>,
    why: &str,
    now: Timestamp,
) -> Result<Tried> {
    let under_way = under_way(db, session_id, claims, now)?;
    let Some(change) = bump(db, session_id)?.filter(|_| !under_way.is_empty()) else {
        return Ok(Tried::default());
    };
    db.execute("UPDATE sessions SET failing = ?2 WHERE id = ?1", params![session_id, why])?;
    let mut tried = Tried { count: under_way.len(), given_up: Vec::new() };
    for id in under_way {
        let tries: i64 = db
            .prepare_cached(
                "UPDATE messages_in SET suspect = 1, tries = tries + 1, process_after = ?3 + ?4 * (1 << MIN(tries, 20)) \
                 WHERE session_id = ?1 AND id = ?2 RETURNING tries",
            )?
            .query_row(params![session_id, id, now.0, RETRY_MS], |r| r.get(0))?;
        if tries > TRIES_MAX {
            tried.given_up.push(give_up(db, session_id, id, (why, change, now))?);
        }
    }
    show_anew(db, session_id, change)?;
    Ok(tried)
}

/// Gives up, for the reason `why`, the messages that failed the last run, or were under way when their session was put
/// into quarantine.
pub fn give_up_suspects(
    db: &WriteTxn,
    session_id: &SessionId,
    why: &str,
    now: Timestamp,
) -> Result<Vec<GivenUp>> {
    let mut statement = db.prepare_cached(
        "SELECT id FROM messages_in INDEXED BY messages_in_suspects \
         WHERE session_id = ?1 AND suspect AND status = 'pending' ORDER BY seq",
    )?;
    let ids = statement.query_map([session_id], |r| r.get(0))?.collect::<rusqlite::Result<Vec<String>>>()?;
    let Some(change) = bump(db, session_id)?.filter(|_| !ids.is_empty()) else { return Ok(Vec::new()) };
    let given_up = ids.into_iter().map(|id| give_up(db, session_id, id, (why, change, now)));
    let given_up = given_up.collect::<Result<_>>()?;
    show_anew(db, session_id, change)?;
    Ok(given_up)
}

/// Lets the suspects of a session be tried at once: an operator has looked at it. Their tries count on.
pub fn try_at_once(db: &WriteTxn, session_id: &SessionId) -> Result<()> {
    if !any_suspect(db, session_id)? {
        return Ok(());
    }
    let Some(change) = bump(db, session_id)? else { return Ok(()) };
    db.execute(
        "UPDATE messages_in SET process_after = NULL WHERE session_id = ?1 AND suspect AND status = 'pending'",
        [session_id],
    )?;
    show_anew(db, session_id, change)
}

fn under_way(
    db: &ReadTxn,
    session_id: &SessionId,
    claims: &HashSet<String>,
    now: Timestamp,
) -> Result<Vec<String>> {
    let shown = Shown::by_suspects(db, session_id)?.only();
    let mut statement = db.prepare_cached(
        "SELECT id FROM messages_in INDEXED BY messages_in_pending WHERE session_id = ?1 AND status = 'pending' \
         AND \"trigger\" AND COALESCE(process_after, 0) <= ?2 AND (?3 IS NULL OR seq = ?3)",
    )?;
    let due = statement.query_map(params![session_id, now.0, shown], |r| r.get(0))?;
    let due: Vec<String> = due.collect::<rusqlite::Result<_>>()?;
    let claimed: Vec<String> = due.iter().filter(|id| claims.contains(*id)).cloned().collect();
    Ok(if claimed.is_empty() { due } else { claimed })
}

/// Sends the message to no runner any more, nor the context that went with it.
fn give_up(
    db: &WriteTxn,
    session_id: &SessionId,
    id: String,
    (why, change, now): (&str, i64, Timestamp),
) -> Result<GivenUp> {
    let (seq, address, source_session_id) = db
        .prepare_cached(
            "UPDATE messages_in SET status = 'failed', failure = ?3, change = ?4, settled_at = ?5 \
             WHERE session_id = ?1 AND id = ?2 RETURNING seq, channel_type, account, platform_id, thread_id, source_session_id",
        )?
        .query_row(params![session_id, id, why, change, now.0], |r| {
            let (channel, account, chat): (Option<String>, Option<String>, Option<String>) =
                (r.get(1)?, r.get(2)?, r.get(3)?);
            let thread_id = r.get::<_, Option<String>>(4)?.map(Into::into);
            let address = channel.zip(account).zip(chat).map(|((channel, account), chat)| Address {
                channel_type: channel.into(),
                account: account.into(),
                platform_id: chat.into(),
                thread_id,
            });
            Ok((r.get::<_, i64>(0)?, address, r.get(5)?))
        })?;
    db.prepare_cached(
        "UPDATE messages_in SET status = 'failed', failure = ?3, change = ?4, settled_at = ?5 \
         WHERE session_id = ?1 AND status = 'pending' AND NOT \"trigger\" AND seq < ?2",
    )?
    .execute(params![session_id, seq, why, change, now.0])?;
    Ok(GivenUp { id, address, source_session_id })
}

/// Messages were settled with this change: if suspects are left, the next is shown; if the last one was settled, all
/// messages are.
pub fn after_settling(db: &WriteTxn, session_id: &SessionId, change: i64) -> Result<()> {
    db.prepare_cached("UPDATE sessions SET failing = NULL WHERE id = ?1 AND failing IS NOT NULL")?
        .execute([session_id])?;
    let mut statement = db.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM messages_in INDEXED BY messages_in_suspects \
         WHERE session_id = ?1 AND suspect AND (status = 'pending' OR change = ?2))",
    )?;
    if statement.query_row(params![session_id, change], |r| r.get(0))? {
        show_up_to(db, session_id, change, Shown::of(db, session_id)?)?;
    }
    Ok(())
}

/// Clears the suspects of a session: what made the messages fail may be mended.
pub fn forgive(db: &WriteTxn, session_id: &SessionId) -> Result<()> {
    if !any_suspect(db, session_id)? {
        return Ok(());
    }
    let Some(change) = bump(db, session_id)? else { return Ok(()) };
    db.execute(
        "UPDATE messages_in SET suspect = 0, tries = 0, process_after = NULL \
         WHERE session_id = ?1 AND suspect AND status = 'pending'",
        [session_id],
    )?;
    show_anew(db, session_id, change)
}

/// Has the times of all waiting messages written anew.
fn show_anew(db: &WriteTxn, session_id: &SessionId, change: i64) -> Result<()> {
    show_up_to(db, session_id, change, Shown::All)
}

/// Has the times up to the message that is shown written anew. While messages are shown one at a time, each shown one
/// comes later than the one before: what comes after it was not shown before either.
fn show_up_to(db: &WriteTxn, session_id: &SessionId, change: i64, shown: Shown) -> Result<()> {
    db.prepare_cached(
        "UPDATE messages_in SET change = ?2 \
         WHERE session_id = ?1 AND status = 'pending' AND (?3 IS NULL OR seq <= ?3)",
    )?
    .execute(params![session_id, change, shown.only()])?;
    Ok(())
}

/// How often the oldest suspect was tried, and when it is tried again. When all that woke the session was given up: how
/// often the last one was tried, and no time, since nothing is tried before the next message.
pub fn next_try(db: &ReadTxn, session_id: &SessionId) -> Result<Option<(i64, Option<Timestamp>)>> {
    let mut statement = db.prepare_cached(
        "SELECT tries, CASE WHEN status = 'pending' THEN COALESCE(process_after, 0) END \
         FROM messages_in INDEXED BY messages_in_suspects WHERE session_id = ?1 AND suspect AND (status = 'pending' \
         OR (status = 'failed' AND NOT EXISTS (SELECT 1 FROM messages_in INDEXED BY messages_in_pending \
         WHERE session_id = ?1 AND status = 'pending' AND \"trigger\"))) \
         ORDER BY status = 'pending' DESC, CASE status WHEN 'pending' THEN seq ELSE -seq END LIMIT 1",
    )?;
    let at = |at: Option<i64>| at.map(Timestamp);
    Ok(statement.query_row([session_id], |r| Ok((r.get(0)?, at(r.get(1)?)))).optional()?)
}

#[cfg(test)]
mod tests;
