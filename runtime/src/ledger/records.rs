//! Deliveries as an operator sees them, and what an operator may do with one.

use super::bump;
use super::deliveries::Delivery;
use super::turns::{OPEN, address_params};
use crate::chat_key::{ChatKey, moved_thread};
use crate::clock::Timestamp;
use crate::db::{ReadTxn, WriteTxn, address_at};
use crate::error::Result;
use crate::id::SessionId;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{OptionalExtension, Row, params};
use vestibule_plugin_api::Address;
use vestibule_session::MessageOut;

/// The state of a delivery, as an operator sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Its agent named a time before which it does not go out.
    Deferred,
    /// It waits for an operator's decision.
    Held,
    /// It waits for its turn, or for its next attempt.
    Pending,
    /// Its adapter was called, and has not answered yet.
    Sending,
    /// The runtime ended while it was being sent: it may have arrived. It waits for its adapter.
    Unknown,
    /// It waits for its adapter.
    Parked,
    /// Its platform has it.
    Delivered,
    /// It was given up, and is not tried again.
    Failed,
    /// An operator dropped it.
    Dropped,
}

impl ToSql for State {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.as_str().into())
    }
}

impl FromSql for State {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<State> {
        State::named(value.as_str()?).ok_or(FromSqlError::InvalidType)
    }
}

/// What an operator may ask for about a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// Decide about it anew, and send it.
    Replay,
    /// Never send it, and show it no more.
    Drop,
}

impl State {
    /// Every state there is.
    pub const ALL: [State; 9] = [
        State::Deferred,
        State::Held,
        State::Pending,
        State::Sending,
        State::Unknown,
        State::Parked,
        State::Delivered,
        State::Failed,
        State::Dropped,
    ];

    /// The word that the database keeps.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Deferred => "deferred",
            State::Held => "held",
            State::Pending => "pending",
            State::Sending => "sending",
            State::Unknown => "unknown",
            State::Parked => "parked",
            State::Delivered => "delivered",
            State::Failed => "failed",
            State::Dropped => "dropped",
        }
    }

    /// The state that this word names; `None` for any other word.
    pub fn named(word: &str) -> Option<State> {
        State::ALL.into_iter().find(|state| state.as_str() == word)
    }

    /// Whether its outcome is final, unless an operator replays it.
    pub fn is_final(self) -> bool {
        matches!(self, State::Delivered | State::Failed | State::Dropped)
    }

    /// Whether a delivery in this state may be replayed or dropped.
    ///
    /// # Errors
    /// Why it may not.
    pub fn allows(self, request: Request) -> std::result::Result<(), &'static str> {
        use Request::{Drop, Replay};
        match (self, request) {
            (State::Failed | State::Dropped | State::Held, Replay) => Ok(()),
            (State::Failed | State::Held | State::Deferred | State::Pending, Drop) => Ok(()),
            (State::Unknown | State::Parked, Drop) => Ok(()),
            (State::Sending, _) => Err("it is being sent at this moment; look again with `delivery show`"),
            (State::Delivered, _) => Err("it was delivered"),
            (State::Pending, Replay) => Err("it waits to be sent, and needs no replay"),
            (State::Deferred, Replay) => Err("its agent named a time for it, and it goes out then"),
            (State::Unknown | State::Parked, Replay) => {
                Err("it waits for its channel, and goes out once that is live; see `vestibule status`")
            }
            (State::Dropped, Drop) => Err("it was dropped before"),
        }
    }
}

/// All that is on record about one delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The session whose reply it is.
    pub session_id: SessionId,
    /// The reply as it was read, with the address that was decided.
    pub reply: MessageOut,
    /// How many bytes its content had; more than it has now where only its size was kept.
    pub content_bytes: Option<i64>,
    /// Its state.
    pub state: State,
    /// How often it was tried.
    pub attempts: i64,
    /// When it is tried next, if it is pending.
    pub next_attempt_at: Timestamp,
    /// Why the last attempt failed.
    pub last_error: Option<String>,
    /// Whether its platform may show it twice.
    pub possible_duplicate: bool,
    /// How many parts of it have gone out, as far as its channel said.
    pub sent_parts: u32,
    /// What its platform said of it after it took it: `sent`, `delivered`, `read` or `failed`.
    pub fate: Option<String>,
    /// The platform's id of the message.
    pub platform_message_id: Option<String>,
    /// When the runtime took it.
    pub taken_at: Timestamp,
    /// Since when it may go out.
    pub due_at: Timestamp,
    /// When its outcome was final.
    pub settled_at: Option<Timestamp>,
}

impl Record {
    /// Where it goes; `None` for a reply that named no place.
    pub fn address(&self) -> Option<Address> {
        Some(Address {
            channel_type: self.reply.channel_type.clone()?.into(),
            account: self.reply.account.clone()?.into(),
            platform_id: self.reply.platform_id.clone()?.into(),
            thread_id: self.reply.thread_id.clone().map(Into::into),
        })
    }

    /// Whether its words are on record: of refused replies, only a session's first ones are.
    pub fn has_content(&self) -> bool {
        let length = i64::try_from(self.reply.content.len()).unwrap_or(i64::MAX);
        self.content_bytes.is_none_or(|bytes| bytes <= length)
    }
}

const COLUMNS: &str = "d.session_id, d.message_out_id, d.seq, d.in_reply_to, d.kind, d.channel_type, d.account, \
                       d.platform_id, d.thread_id, d.content, d.content_bytes, d.state, d.attempts, d.next_attempt_at, \
                       d.last_error, d.possible_duplicate, d.platform_message_id, d.taken_at, d.due_at, d.settled_at, \
                       d.sent_parts, d.fate";

fn of(r: &Row<'_>) -> rusqlite::Result<Record> {
    Ok(Record {
        session_id: r.get(0)?,
        reply: MessageOut {
            id: r.get(1)?,
            seq: r.get(2)?,
            in_reply_to: r.get(3)?,
            timestamp: String::new(),
            deliver_after: None,
            kind: r.get(4)?,
            channel_type: r.get(5)?,
            account: r.get(6)?,
            platform_id: r.get(7)?,
            thread_id: r.get(8)?,
            content: r.get(9)?,
        },
        content_bytes: r.get(10)?,
        state: r.get(11)?,
        attempts: r.get(12)?,
        next_attempt_at: Timestamp(r.get(13)?),
        last_error: r.get(14)?,
        possible_duplicate: r.get(15)?,
        platform_message_id: r.get(16)?,
        taken_at: Timestamp(r.get(17)?),
        due_at: Timestamp(r.get(18)?),
        settled_at: r.get::<_, Option<i64>>(19)?.map(Timestamp),
        sent_parts: r.get(20)?,
        fate: r.get(21)?,
    })
}

/// The deliveries in one of these states, the newest first, at most `limit`. Of the delivered ones, of which there may be
/// any number, only those are looked for that their chat may show twice.
pub fn not_simply_delivered(db: &ReadTxn, states: &[State], limit: usize) -> Result<Vec<Record>> {
    // Worded as the conditions of the indexes, so that SQLite uses them.
    let set_aside = "state IN ('deferred', 'held', 'failed', 'dropped')";
    let mut found = Vec::new();
    let doubled = "state = 'delivered' AND possible_duplicate = 1";
    for (index, which, order) in [
        ("deliveries_open", OPEN, ""),
        ("deliveries_set_aside", set_aside, "ORDER BY taken_at DESC"),
        ("deliveries_doubled", doubled, "ORDER BY taken_at DESC"),
    ] {
        let sql = format!("SELECT {COLUMNS} FROM deliveries d INDEXED BY {index} WHERE {which} {order}");
        let mut statement = db.prepare(&sql)?;
        let rows = statement.query_map([], of)?;
        let wanted =
            |row: &rusqlite::Result<Record>| row.as_ref().map_or(true, |row| states.contains(&row.state));
        found.extend(rows.filter(wanted).take(limit).collect::<rusqlite::Result<Vec<_>>>()?);
    }
    found.sort_by_key(|record| std::cmp::Reverse(record.taken_at.0));
    found.truncate(limit);
    Ok(found)
}

/// The deliveries with this id: agents name their replies themselves, so several sessions may have one.
pub fn with_id(db: &ReadTxn, message_out_id: &str) -> Result<Vec<Record>> {
    // Session by session: an index of the ids would cost every reply something.
    let sql = format!(
        "SELECT {COLUMNS} FROM sessions s CROSS JOIN deliveries d ON d.session_id = s.id AND d.message_out_id = ?1 \
         UNION ALL SELECT {COLUMNS} FROM deliveries d INDEXED BY deliveries_own WHERE d.session_id GLOB 'module:*' \
         AND d.message_out_id = ?1"
    );
    let mut statement = db.prepare(&sql)?;
    let rows = statement.query_map([message_out_id], of)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// The state of a delivery, and how often it was tried.
pub fn state_of(db: &ReadTxn, session_id: &SessionId, message_out_id: &str) -> Result<Option<(State, i64)>> {
    let mut statement = db.prepare_cached(
        "SELECT state, attempts FROM deliveries WHERE session_id = ?1 AND message_out_id = ?2",
    )?;
    Ok(statement.query_row(params![session_id, message_out_id], |r| Ok((r.get(0)?, r.get(1)?))).optional()?)
}

/// Opens a delivery again: it goes to `address`, in its old place among its session's, not before the time that its
/// agent named, and is tried for as long as a new one. False when its session is gone.
pub fn reopen(db: &WriteTxn, record: &Record, address: &Address, now: Timestamp) -> Result<bool> {
    let Some(change) = bump(db, &record.session_id)? else { return Ok(false) };
    let [channel, account, chat, thread] = address_params(address);
    // What its platform gave up later was sent whole, and is sent anew; the parts of any other are not sent twice.
    db.prepare_cached(
        "DELETE FROM further_messages WHERE session_id = ?1 AND message_out_id = ?2 AND EXISTS \
         (SELECT 1 FROM deliveries WHERE session_id = ?1 AND message_out_id = ?2 AND fate = 'failed')",
    )?
    .execute(params![record.session_id, record.reply.id])?;
    db.prepare_cached(
        "UPDATE deliveries SET state = CASE WHEN due_at > ?3 THEN 'deferred' ELSE 'pending' END, attempts = 0, \
         next_attempt_at = 0, look_up = 0, sent_parts = CASE fate WHEN 'failed' THEN 0 ELSE sent_parts END, \
         sent_note = CASE fate WHEN 'failed' THEN NULL ELSE sent_note END, \
         platform_message_id = CASE fate WHEN 'failed' THEN NULL ELSE platform_message_id END, fate = NULL, due_at = MAX(due_at, ?3), \
         settled_at = NULL, change = ?4, channel_type = ?5, account = ?6, platform_id = ?7, thread_id = ?8 \
         WHERE session_id = ?1 AND message_out_id = ?2",
    )?
    .execute(params![record.session_id, record.reply.id, now.0, change, channel, account, chat, thread])?;
    Ok(true)
}

/// Drops a delivery. The last error of one that had failed stays on record.
pub fn drop_one(db: &WriteTxn, record: &Record, now: Timestamp) -> Result<()> {
    let Some(change) = bump(db, &record.session_id)? else { return Ok(()) };
    db.prepare_cached(
        "UPDATE deliveries SET state = 'dropped', settled_at = COALESCE(settled_at, ?3), change = ?4, \
         last_error = CASE state WHEN 'failed' THEN last_error ELSE 'an operator dropped it' END \
         WHERE session_id = ?1 AND message_out_id = ?2",
    )?
    .execute(params![record.session_id, record.reply.id, now.0, change])?;
    Ok(())
}

/// Where a delivery goes by its record: its chat may have another id since it was claimed.
pub fn address_of(db: &ReadTxn, delivery: &Delivery) -> Result<Option<Address>> {
    let mut statement = db.prepare_cached(
        "SELECT channel_type, account, platform_id, thread_id FROM deliveries \
         WHERE session_id = ?1 AND message_out_id = ?2 AND platform_id IS NOT NULL",
    )?;
    let found =
        statement.query_row(params![delivery.session_id, delivery.message_out_id], |r| address_at(r, 0));
    Ok(found.optional()?)
}

/// Gives the deliveries to a chat its new id, and their threads, where a thread's id begins with the chat's. Returns the
/// addresses at which something waits to be sent.
pub fn move_deliveries(db: &WriteTxn, chat: &ChatKey, to: &str) -> Result<Vec<Address>> {
    let mut waiting = db.prepare_cached(&format!(
        "SELECT thread_id FROM deliveries INDEXED BY deliveries_open \
         WHERE channel_type = ?1 AND account = ?2 AND platform_id = ?3 AND {OPEN} UNION \
         SELECT thread_id FROM deliveries \
         WHERE channel_type = ?1 AND account = ?2 AND platform_id = ?3 AND state = 'deferred'"
    ))?;
    let from = params![chat.channel_type, chat.account, chat.platform_id];
    let threads =
        waiting.query_map(from, |row| row.get(0))?.collect::<rusqlite::Result<Vec<Option<String>>>>()?;
    db.prepare_cached(
        "UPDATE deliveries SET platform_id = ?4, thread_id = CASE WHEN substr(thread_id, 1, length(?3)) = ?3 \
         AND substr(thread_id, length(?3) + 1, 1) NOT GLOB '[0-9A-Za-z]' \
         THEN ?4 || substr(thread_id, length(?3) + 1) ELSE thread_id END \
         WHERE channel_type = ?1 AND account = ?2 AND platform_id = ?3",
    )?
    .execute(params![chat.channel_type, chat.account, chat.platform_id, to])?;
    let at = |thread: Option<String>| Address {
        channel_type: chat.channel_type.as_str().into(),
        account: chat.account.as_str().into(),
        platform_id: to.into(),
        thread_id: thread.map(|thread| moved_thread(&thread, &chat.platform_id, to).into()),
    };
    Ok(threads.into_iter().map(at).collect())
}

/// The address of the message that a reply on record answers, if its session has that message.
pub fn asked_at(db: &ReadTxn, session_id: &SessionId, message_out_id: &str) -> Result<Option<Address>> {
    let mut statement = db.prepare_cached(
        "SELECT m.channel_type, m.account, m.platform_id, m.thread_id FROM deliveries d \
         JOIN messages_in m ON m.session_id = d.session_id AND m.id = d.in_reply_to \
         WHERE d.session_id = ?1 AND d.message_out_id = ?2 \
         AND m.channel_type IS NOT NULL AND m.account IS NOT NULL AND m.platform_id IS NOT NULL",
    )?;
    let found = statement.query_row([session_id, message_out_id], |r| address_at(r, 0));
    Ok(found.optional()?)
}

/// Whether a session has this many notes whose ids begin with `prefix` and that its agent has not read. The ids sort by
/// age, so only the newest are looked at.
pub fn unread(db: &ReadTxn, session_id: &SessionId, prefix: &str, count: usize) -> Result<bool> {
    let mut statement = db.prepare_cached(
        "SELECT status = 'pending' FROM messages_in WHERE session_id = ?1 AND id >= ?2 AND id < ?2 || '~' \
         ORDER BY id DESC LIMIT ?3",
    )?;
    let rows = statement
        .query_map(params![session_id, prefix, i64::try_from(count).unwrap_or(i64::MAX)], |r| r.get(0))?;
    let newest: Vec<bool> = rows.collect::<rusqlite::Result<_>>()?;
    Ok(newest.len() == count && newest.into_iter().all(|pending| pending))
}

#[cfg(test)]
mod tests {
    use super::super::deliveries::tests::{address, ledger, reply};
    use super::super::{Claim, claim_next, record_reply, settle};
    use super::*;

    #[test]
    fn what_an_operator_may_do_with_a_delivery() {
        for (state, replay, drop, is_final) in [
            (State::Deferred, false, true, false),
            (State::Held, true, true, false),
            (State::Pending, false, true, false),
            (State::Sending, false, false, false),
            (State::Unknown, false, true, false),
            (State::Parked, false, true, false),
            (State::Delivered, false, false, true),
            (State::Failed, true, true, true),
            (State::Dropped, true, false, true),
        ] {
            assert_eq!(state.allows(Request::Replay).is_ok(), replay, "{state:?}");
            assert_eq!(state.allows(Request::Drop).is_ok(), drop, "{state:?}");
            assert_eq!(state.is_final(), is_final, "{state:?}");
            assert_eq!(State::named(state.as_str()), Some(state));
        }
        assert_eq!(State::named("dead"), None);
    }

    fn next(db: &WriteTxn) -> Option<String> {
        match claim_next(db, &address(), None, Timestamp(1_000)).expect("it answers") {
            Claim::Deliver(delivery) => Some(delivery.message_out_id),
            Claim::Nothing | Claim::Later(_) => None,
        }
    }

    fn only(db: &ReadTxn, id: &str) -> Record {
        let found = with_id(db, id).expect("it answers");
        <[Record; 1]>::try_from(found).map(|[record]| record).expect("one of this id")
    }

    /// Each is found by an index that holds only such rows.
    #[test]
    fn what_was_not_delivered_and_what_may_be_there_twice_is_found() {
        let db = ledger();
        for (seq, state) in (1..).zip(State::ALL) {
            let id = state.as_str();
            record_reply(&db, &"s".into(), &reply(id, seq), Ok(&address()), Timestamp(seq))
                .expect("it is new");
            db.execute("UPDATE deliveries SET state = ?1 WHERE message_out_id = ?1", [id])
                .expect("it is set");
        }
        let ids = |states: &[State], limit: usize| -> Vec<String> {
            let found = not_simply_delivered(&db, states, limit).expect("it answers");
            found.into_iter().map(|record| record.reply.id).collect()
        };
        assert_eq!(
            ids(&State::ALL, 100),
            ["dropped", "failed", "parked", "unknown", "sending", "pending", "held", "deferred"]
        );
        assert_eq!(ids(&[State::Failed, State::Pending], 100), ["failed", "pending"]);
        assert_eq!(ids(&State::ALL, 2), ["dropped", "failed"]);
        db.execute("UPDATE deliveries SET possible_duplicate = 1", []).expect("it is set");
        assert_eq!(ids(&[State::Delivered], 100), ["delivered"]);
        assert_eq!(ids(&State::ALL, 3), ["dropped", "failed", "delivered"]);
    }

    #[test]
    fn one_that_failed_goes_out_again_before_what_was_written_later() {
        let db = ledger();
        for (id, seq) in [("a", 1), ("b", 3)] {
            record_reply(&db, &"s".into(), &reply(id, seq), Ok(&address()), Timestamp(1)).expect("it is new");
        }
        let Claim::Deliver(first) = claim_next(&db, &address(), None, Timestamp(2)).expect("it answers")
        else {
            panic!("it is due")
        };
        settle(&db, &first, Err("no"), Timestamp(3)).expect("it is settled");
        let failed = only(&db, "a");
        assert_eq!(
            (failed.state, failed.last_error.as_deref(), failed.attempts),
            (State::Failed, Some("no"), 1)
        );
        assert_eq!(failed.address(), Some(address()));
        assert!(reopen(&db, &failed, &address(), Timestamp(500)).expect("it is opened"));
        let open = only(&db, "a");
        assert_eq!((open.state, open.attempts, open.due_at), (State::Pending, 0, Timestamp(500)));
        assert_eq!(
            (open.settled_at, open.last_error.as_deref()),
            (None, Some("no")),
            "the reason of the failure is kept"
        );
        assert_eq!(next(&db).as_deref(), Some("a"));
    }

    #[test]
    fn one_for_later_that_was_dropped_is_for_later_again() {
        let db = ledger();
        let later = MessageOut { deliver_after: Some("1970-01-01 00:00:09".into()), ..reply("a", 1) };
        record_reply(&db, &"s".into(), &later, Ok(&address()), Timestamp(1)).expect("it is new");
        for (now, state, due_at) in [(500, State::Deferred, 9_000), (9_500, State::Pending, 9_500)] {
            drop_one(&db, &only(&db, "a"), Timestamp(now)).expect("it is dropped");
            assert!(reopen(&db, &only(&db, "a"), &address(), Timestamp(now)).expect("it is opened"));
            assert_eq!((only(&db, "a").state, only(&db, "a").due_at), (state, Timestamp(due_at)));
        }
    }

    #[test]
    fn what_waits_behind_a_dropped_one_goes_on() {
        let db = ledger();
        for (id, seq) in [("a", 1), ("b", 3)] {
            record_reply(&db, &"s".into(), &reply(id, seq), Ok(&address()), Timestamp(1)).expect("it is new");
        }
        drop_one(&db, &only(&db, "a"), Timestamp(7)).expect("it is dropped");
        assert_eq!((only(&db, "a").state, only(&db, "a").settled_at), (State::Dropped, Some(Timestamp(7))));
        assert_eq!(next(&db).as_deref(), Some("b"));
    }

    #[test]
    fn only_the_newest_notes_say_whether_an_agent_reads() {
        let db = ledger();
        let add = |id: &str, status: &str| {
            db.execute(
                "INSERT INTO messages_in (session_id, id, seq, kind, timestamp, status, \"trigger\", content, change) \
                 SELECT 's', ?1, COUNT(*), 'chat', 0, ?2, 0, '{}', 1 FROM messages_in",
                [id, status],
            )
            .expect("a row");
        };
        let unread = |count| unread(&db, &"s".into(), "note-", count).expect("it answers");
        assert!(!unread(2));
        ["note-1", "note-2"].into_iter().for_each(|id| add(id, "completed"));
        add("other", "pending");
        add("note-3", "pending");
        assert!((unread(1), unread(2)) == (true, false));
        add("note-4", "pending");
        assert!(unread(2));
    }
}
