//! The delivery record: what was sent, failed or is unknown is always here.

use super::bump;
use super::own::next_position;
use super::records::State;
use super::turns::{OPEN, address_params};
use crate::clock::{Timestamp, after};
use crate::db::{ReadTxn, WriteTxn, address_at};
use crate::error::Result;
use crate::id::SessionId;
use rusqlite::{OptionalExtension, params};
use std::collections::BTreeMap;
use vestibule_plugin_api::Address;
use vestibule_session::{MessageOut, Settled, parse_time, words};

/// A reply on its way to its channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The session whose reply it is; of a module's own words, [`SessionId::of_module`].
    pub session_id: SessionId,
    /// The row's id: the idempotency key.
    pub message_out_id: String,
    /// The number that its agent knows it by; 0 for the runtime's own words.
    pub seq: i64,
    /// The platform's id of the message it answers.
    pub in_reply_to: Option<String>,
    /// Where it goes.
    pub address: Address,
    /// Its content, as JSON.
    pub content: String,
    /// How often it was tried, this time included.
    pub attempts: i64,
    /// When the runtime took it.
    pub taken_at: Timestamp,
    /// Since when it may go out: it is tried for so long from then on.
    pub due_at: Timestamp,
    /// Whether the channel is asked first if an earlier attempt has arrived.
    pub look_up: bool,
}

/// How much of a session's refused replies is kept, in bytes: enough to see what its agent tried, and no way to
/// fill the disk.
const REFUSED_BYTES_MAX: i64 = 256 * 1024;
/// Why a reply is held: the database was put back to an earlier state and did not have it.
pub(super) const HELD: &str = "the database is older than this reply, which may have gone out already";
/// A message in doubt is looked up no sooner than this many milliseconds later: it may still be on its way.
const LOOK_UP_AFTER_MS: i64 = 2_000;

/// What a channel can do about an attempt that may or may not have arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InDoubtPolicy {
    /// The channel shows one message for one id: it is sent again.
    SendAgain,
    /// The channel can look it up first.
    LookUp,
    /// It is sent again, and is on record as a possible duplicate.
    MayDouble,
}

/// Notes that replies up to `seq` were taken in this boot: the next keeper need not hand them over again.
pub fn mark_taken(db: &WriteTxn, session_id: &SessionId, seq: i64) -> Result<()> {
    db.prepare_cached(
        "UPDATE sessions SET outbound_seq = MAX(?3, CASE WHEN outbound_boot_id = ?2 THEN outbound_seq ELSE 0 END), \
         outbound_boot_id = ?2 WHERE id = ?1",
    )?
    .execute(params![session_id, crate::id::boot_id(), seq])?;
    Ok(())
}

/// The number up to which a session's replies are on record. A power cut can take replies back out of the runner's
/// file, and the next ones may get their numbers: across a boot everything above the floor is looked at again.
/// `None` for a session that is gone.
pub fn taken_up_to(db: &ReadTxn, session_id: &SessionId) -> Result<Option<i64>> {
    let sql = "SELECT CASE WHEN outbound_boot_id = ?2 THEN MAX(outbound_floor, outbound_seq) ELSE outbound_floor END \
               FROM sessions WHERE id = ?1";
    Ok(db.query_row(sql, [session_id, crate::id::boot_id()], |r| r.get(0)).optional()?)
}

fn size(text: &str) -> i64 {
    i64::try_from(text.len()).unwrap_or(i64::MAX)
}

/// Whether a refused reply may still be kept, together with what is kept of its session already.
fn keeps_refused(db: &WriteTxn, session_id: &SessionId, reply: &MessageOut) -> Result<bool> {
    let fields =
        [&reply.in_reply_to, &reply.channel_type, &reply.account, &reply.platform_id, &reply.thread_id];
    let fields = fields.into_iter().flatten().map(|field| size(field)).sum::<i64>();
    let bytes = fields + size(&reply.kind) + size(&reply.content);
    let mut statement = db.prepare_cached(
        "UPDATE sessions SET refused_bytes = refused_bytes + ?2 WHERE id = ?1 AND refused_bytes + ?2 <= ?3",
    )?;
    Ok(statement.execute(params![session_id, bytes, REFUSED_BYTES_MAX])? == 1)
}

/// The place of a new reply among its session's, and whether the session was set back.
fn place(db: &WriteTxn, session_id: &SessionId) -> Result<(i64, bool)> {
    if session_id.module().is_some() {
        return Ok((next_position(db)?, false));
    }
    let mut statement = db.prepare_cached(
        "UPDATE sessions SET last_position = last_position + 1 WHERE id = ?1 RETURNING last_position, set_back",
    )?;
    Ok(statement.query_row([session_id], |r| Ok((r.get(0)?, r.get(1)?)))?)
}

fn without_words(reply: &MessageOut) -> MessageOut {
    MessageOut {
        id: reply.id.clone(),
        seq: reply.seq,
        in_reply_to: None,
        timestamp: String::new(),
        deliver_after: None,
        kind: String::new(),
        platform_id: None,
        channel_type: None,
        thread_id: None,
        content: String::new(),
        account: None,
    }
}

/// Records a reply as it was read: to be delivered to `address`, not before the time that it names, or refused with a
/// reason. Of refused replies the first [`REFUSED_BYTES_MAX`] bytes of a session are kept; of a later one its id, its
/// number, its size and the reason. A reply of a session that was set back is held instead of delivered. False when the
/// reply was on record already, or is below the floor: then it was settled and forgotten.
pub fn record_reply(
    db: &WriteTxn,
    session_id: &SessionId,
    reply: &MessageOut,
    verdict: std::result::Result<&Address, &str>,
    now: Timestamp,
) -> Result<bool> {
    let known: bool = db
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM deliveries WHERE session_id = ?1 AND message_out_id = ?2) \
             OR EXISTS (SELECT 1 FROM sessions WHERE id = ?1 AND ?3 BETWEEN 1 AND outbound_floor)",
        )?
        .query_row(params![session_id, &reply.id, reply.seq], |r| r.get(0))?;
    if known {
        return Ok(false);
    }
    let content_bytes = size(&reply.content);
    let bare = match verdict {
        Err(_) if !keeps_refused(db, session_id, reply)? => Some(without_words(reply)),
        _ => None,
    };
    let reply = bare.as_ref().unwrap_or(reply);
    let [channel, account, chat, thread] = match verdict {
        Ok(address) => address_params(address),
        Err(_) => {
            let said = [&reply.channel_type, &reply.account, &reply.platform_id, &reply.thread_id];
            said.map(Option::as_deref)
        }
    };
    let (position, set_back) = place(db, session_id)?;
    let due_at = reply.deliver_after.as_deref().and_then(parse_time).map_or(now, |at| at.max(now));
    let (state, settled_at, change) = match verdict {
        // No reply waits behind a held one, and it does not count as pending: so it has a time as if it were settled.
        Ok(_) if set_back => (State::Held, Some(now.0), 0),
        Ok(_) if due_at > now => (State::Deferred, None, 0),
        Ok(_) => (State::Pending, None, 0),
        Err(_) => (State::Failed, Some(now.0), bump(db, session_id)?.unwrap_or_default()),
    };
    let why = verdict.err().or((state == State::Held).then_some(HELD));
    db.prepare_cached(
        "INSERT INTO deliveries (session_id, message_out_id, seq, in_reply_to, kind, channel_type, account, platform_id, \
         thread_id, content, content_bytes, state, last_error, taken_at, settled_at, change, due_at, position) \
         VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,?18)",
    )?
    .execute(params![
        session_id,
        reply.id,
        reply.seq,
        reply.in_reply_to,
        reply.kind,
        channel,
        account,
        chat,
        thread,
        reply.content,
        content_bytes,
        state,
        why.map(words::reason),
        now.0,
        settled_at,
        change,
        due_at.0,
        position,
    ])?;
    Ok(true)
}

/// Records the final outcome, and with it the row that the session's `delivered` will show.
pub fn settle(
    db: &WriteTxn,
    delivery: &Delivery,
    outcome: std::result::Result<Option<&str>, &str>,
    now: Timestamp,
) -> Result<()> {
    let Some(change) = bump(db, &delivery.session_id)? else { return Ok(()) };
    let status = if outcome.is_ok() { Settled::Delivered } else { Settled::Failed };
    db.prepare_cached(
        "UPDATE deliveries SET state = ?3, platform_message_id = COALESCE(?4, platform_message_id), \
         last_error = CASE WHEN ?3 = 'delivered' AND NOT possible_duplicate THEN NULL ELSE COALESCE(?5, last_error) END, \
         settled_at = ?6, change = ?7 WHERE session_id = ?1 AND message_out_id = ?2",
    )?
    .execute(params![
        delivery.session_id,
        delivery.message_out_id,
        status.as_str(),
        outcome.ok().flatten(),
        outcome.err().map(words::reason),
        now.0,
        change
    ])?;
    count_delivered(db, status)
}

/// Records a failure that is not final: `at` is when to try again; without it the delivery is parked until its adapter
/// is there. `in_doubt` says what the channel can do when the platform may have the message all the same.
pub fn try_later(
    db: &WriteTxn,
    delivery: &Delivery,
    at: Option<Timestamp>,
    why: &str,
    in_doubt: Option<InDoubtPolicy>,
) -> Result<()> {
    let state = if at.is_some() { State::Pending } else { State::Parked };
    let wait = if in_doubt == Some(InDoubtPolicy::LookUp) { LOOK_UP_AFTER_MS } else { 0 };
    let at = at.map_or(0, |at| after(at, wait).0);
    db.prepare_cached(
        "UPDATE deliveries SET state = ?3, next_attempt_at = ?4, last_error = ?5, \
         possible_duplicate = possible_duplicate OR ?6, look_up = look_up OR ?7 WHERE session_id = ?1 AND message_out_id = ?2",
    )?
    .execute(params![
        delivery.session_id,
        delivery.message_out_id,
        state,
        at,
        words::reason(why),
        in_doubt == Some(InDoubtPolicy::MayDouble),
        in_doubt == Some(InDoubtPolicy::LookUp),
    ])?;
    Ok(())
}

/// A lookup did not find the message, and it is sent again: the earlier attempt may still arrive.
pub fn may_double(db: &WriteTxn, delivery: &Delivery) -> Result<()> {
    db.execute(
        "UPDATE deliveries SET possible_duplicate = 1 WHERE session_id = ?1 AND message_out_id = ?2",
        params![delivery.session_id, delivery.message_out_id],
    )?;
    Ok(())
}

/// The sessions of the receiving agent that are behind a message: the one whose message it answers, and the one that
/// wrote here last.
pub fn sources(db: &ReadTxn, delivery: &Delivery) -> Result<(Option<SessionId>, Option<SessionId>)> {
    let to = delivery.address.platform_id.as_str();
    let answers = db
        .prepare_cached(
            "SELECT m.source_session_id FROM deliveries d JOIN messages_in m \
             ON m.session_id = d.session_id AND m.id = d.in_reply_to WHERE d.session_id = ?1 \
             AND d.message_out_id = ?2 AND m.channel_type = 'agent' AND m.platform_id = ?3 \
             AND m.source_session_id IS NOT NULL",
        )?
        .query_row(params![delivery.session_id, delivery.message_out_id, to], |r| r.get(0))
        .optional()?;
    let heard_last = db
        .prepare_cached(
            "SELECT source_session_id FROM messages_in WHERE session_id = ?1 AND channel_type = 'agent' \
             AND platform_id = ?2 AND source_session_id IS NOT NULL ORDER BY seq DESC LIMIT 1",
        )?
        .query_row(params![delivery.session_id, to], |r| r.get(0))
        .optional()?;
    Ok((answers, heard_last))
}

/// Gives a claim back until a time: the message is not sent before.
pub fn put_off(db: &WriteTxn, delivery: &Delivery, until: Timestamp) -> Result<()> {
    db.prepare_cached(
        "UPDATE deliveries SET state = 'pending', attempts = attempts - 1, next_attempt_at = ?3 \
         WHERE session_id = ?1 AND message_out_id = ?2",
    )?
    .execute(params![delivery.session_id, delivery.message_out_id, until.0])?;
    Ok(())
}

/// Gives a claim back: the message was not sent.
pub fn unclaim(db: &WriteTxn, delivery: &Delivery) -> Result<()> {
    db.execute(
        "UPDATE deliveries SET state = 'pending', attempts = attempts - 1 WHERE session_id = ?1 AND message_out_id = ?2",
        params![delivery.session_id, delivery.message_out_id],
    )?;
    Ok(())
}

/// After a crash no record says whether a message that was being sent has arrived. It waits for its adapter, which
/// knows what to do about that.
pub fn mark_unknown(db: &WriteTxn) -> Result<usize> {
    Ok(db.execute(
        "UPDATE deliveries INDEXED BY deliveries_unsettled SET state = 'unknown' \
         WHERE settled_at IS NULL AND state <> 'deferred' AND state = 'sending'",
        [],
    )?)
}

/// An adapter is live: parked deliveries go on, and unknown ones are sent once more or, a little later, looked up
/// first, by what the channel can do. Returns the addresses with something to deliver.
pub fn unpark(
    db: &WriteTxn,
    channel: &str,
    account: &str,
    can: InDoubtPolicy,
    now: Timestamp,
) -> Result<Vec<Address>> {
    let sql = format!(
        "UPDATE deliveries SET possible_duplicate = (state = 'unknown' AND ?3) OR possible_duplicate, \
         next_attempt_at = CASE WHEN state = 'unknown' AND ?4 THEN ?5 ELSE 0 END, \
         look_up = (state = 'unknown' AND ?4) OR look_up, state = 'pending' \
         WHERE channel_type = ?1 AND account = ?2 AND {OPEN} AND state IN ('parked', 'unknown')"
    );
    db.execute(
        &sql,
        params![
            channel,
            account,
            can == InDoubtPolicy::MayDouble,
            can == InDoubtPolicy::LookUp,
            after(now, LOOK_UP_AFTER_MS).0
        ],
    )?;
    let sql = format!(
        "SELECT DISTINCT platform_id, thread_id FROM deliveries WHERE channel_type = ?1 AND account = ?2 \
         AND platform_id IS NOT NULL AND {OPEN} \
         UNION SELECT DISTINCT platform_id, thread_id FROM deliveries WHERE channel_type = ?1 AND account = ?2 \
         AND platform_id IS NOT NULL AND state = 'deferred'"
    );
    let mut statement = db.prepare(&sql)?;
    let rows = statement.query_map([channel, account], |r| {
        Ok(Address {
            channel_type: channel.into(),
            account: account.into(),
            platform_id: r.get::<_, String>(0)?.into(),
            thread_id: r.get::<_, Option<String>>(1)?.map(Into::into),
        })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// The addresses for which a session has replies that wait, for their turn or for their time.
pub fn open_addresses(db: &ReadTxn, session_id: &SessionId) -> Result<Vec<Address>> {
    let mut statement = db.prepare_cached(
        "SELECT channel_type, account, platform_id, thread_id FROM deliveries INDEXED BY deliveries_unsettled \
         WHERE session_id = ?1 AND settled_at IS NULL AND state <> 'deferred' AND channel_type IS NOT NULL \
         AND account IS NOT NULL AND platform_id IS NOT NULL AND state = 'pending' \
         UNION SELECT channel_type, account, platform_id, thread_id FROM deliveries INDEXED BY deliveries_later \
         WHERE session_id = ?1 AND state = 'deferred' AND channel_type IS NOT NULL AND account IS NOT NULL \
         AND platform_id IS NOT NULL",
    )?;
    let rows = statement.query_map([session_id], |r| address_at(r, 0))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// How many deliveries are in each state; the delivered ones include those that were forgotten.
pub fn delivery_counts(db: &ReadTxn) -> Result<BTreeMap<String, i64>> {
    let mut statement = db.prepare_cached(
        "SELECT state, COUNT(*) FROM deliveries INDEXED BY deliveries_unsettled \
         WHERE settled_at IS NULL AND state <> 'deferred' GROUP BY state \
         UNION ALL SELECT state, COUNT(*) FROM deliveries INDEXED BY deliveries_later WHERE state = 'deferred' GROUP BY state \
         UNION ALL SELECT state, COUNT(*) FROM deliveries INDEXED BY deliveries_set_aside \
         WHERE state IN ('deferred', 'held', 'failed', 'dropped') AND settled_at IS NOT NULL GROUP BY state \
         UNION ALL SELECT name, count FROM totals WHERE name = 'delivered' AND count > 0",
    )?;
    let rows = statement.query_map([], |r| Ok((r.get(0)?, r.get(1)?)))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// How many of the replies that were delivered their chats may show twice, as far as they are not forgotten.
pub fn possible_duplicates(db: &ReadTxn) -> Result<i64> {
    let sql = "SELECT COUNT(*) FROM deliveries INDEXED BY deliveries_doubled \
               WHERE state = 'delivered' AND possible_duplicate = 1";
    Ok(db.prepare_cached(sql)?.query_row([], |r| r.get(0))?)
}

/// How many deliveries wait for their adapter, or behind one that does, by channel and account.
pub fn waiting_for_adapter(db: &ReadTxn) -> Result<Vec<(String, String, i64)>> {
    let mut statement = db.prepare_cached(
        "SELECT channel_type, account, COUNT(*) FROM deliveries INDEXED BY deliveries_unsettled \
         WHERE settled_at IS NULL AND state <> 'deferred' AND state IN ('parked', 'unknown', 'pending') AND channel_type IS NOT NULL \
         AND account IS NOT NULL GROUP BY channel_type, account HAVING SUM(state <> 'pending') > 0",
    )?;
    let rows = statement.query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// When the next delivery goes out whose agent named a time.
pub fn next_deferred(db: &ReadTxn) -> Result<Option<Timestamp>> {
    let mut statement = db.prepare_cached(
        "SELECT MIN(due_at) FROM deliveries INDEXED BY deliveries_set_aside \
         WHERE state IN ('deferred', 'held', 'failed', 'dropped') AND state = 'deferred'",
    )?;
    Ok(statement.query_row([], |r| r.get::<_, Option<i64>>(0))?.map(Timestamp))
}

/// Counts deliveries that went well.
pub(super) fn count_delivered(db: &WriteTxn, settled: Settled) -> Result<()> {
    if settled == Settled::Delivered {
        db.prepare_cached("UPDATE totals SET count = count + 1 WHERE name = 'delivered'")?.execute([])?;
    }
    Ok(())
}

#[cfg(test)]
pub(super) mod tests;
