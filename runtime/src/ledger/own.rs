//! Words that belong to no session: a module says them itself.
//!
//! Invariants:
//! - They are deliveries like any other; in the place of a session stands [`SessionId::of_module`].
//! - Of what a module says because others wrote something, only so much goes out in a chat, and only so much waits.

use super::retention::{Pruned, SLICE};
use super::{has_room, record_reply};
use crate::clock::{Timestamp, after};
use crate::db::{ReadTxn, WriteTxn};
use crate::error::Result;
use crate::id::SessionId;
use rusqlite::params;
use vestibule_plugin_api::Address;
use vestibule_session::MessageOut;

/// In one chat modules say at most this much in [`WINDOW_MS`]: a person reads that they are refused, and no one can have a
/// chat filled.
const IN_A_CHAT_MAX: i64 = 5;
/// The time for which that holds, in milliseconds.
const WINDOW_MS: i64 = 60_000;

/// What a module says itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewWords {
    /// The module.
    pub module: String,
    /// The content, as of a reply.
    pub content: String,
    /// The platform's id of the message that it answers.
    pub in_reply_to: Option<String>,
}

/// Records what a module says in a chat, to be delivered. False when as much as may was said there of late, or as much as
/// may waits: then it is left out.
///
/// # Errors
/// SQLite fails.
pub fn record_words(db: &WriteTxn, new: &NewWords, to: &Address, now: Timestamp) -> Result<bool> {
    Ok(said_of_late(db, to, now)? < IN_A_CHAT_MAX && record_persons_words(db, new, to, now)?)
}

/// The same for what a person has a module say, who may say as much as they like. False when as much as may waits.
///
/// # Errors
/// SQLite fails.
pub fn record_persons_words(db: &WriteTxn, new: &NewWords, to: &Address, now: Timestamp) -> Result<bool> {
    let writer = SessionId::of_module(&new.module);
    if !has_room(db, &writer)? {
        return Ok(false);
    }
    let words = MessageOut {
        id: crate::id::mint("own"),
        seq: 0,
        in_reply_to: new.in_reply_to.clone(),
        timestamp: String::new(),
        deliver_after: None,
        kind: "chat".into(),
        platform_id: None,
        channel_type: None,
        thread_id: None,
        content: new.content.clone(),
        account: None,
    };
    record_reply(db, &writer, &words, Ok(to), now)
}

/// How much modules have said in a chat. What is stamped later than now was, before the clock was set back.
fn said_of_late(db: &ReadTxn, to: &Address, now: Timestamp) -> Result<i64> {
    let mut statement = db.prepare_cached(
        "SELECT COUNT(*) FROM deliveries INDEXED BY deliveries_own WHERE session_id GLOB 'module:*' \
         AND channel_type = ?1 AND account = ?2 AND platform_id = ?3 AND taken_at > ?4 AND taken_at <= ?5",
    )?;
    let (channel, account, chat) = (to.channel_type.as_str(), to.account.as_str(), to.platform_id.as_str());
    Ok(statement.query_row(params![channel, account, chat, after(now, -WINDOW_MS).0, now.0], |r| r.get(0))?)
}

/// The place of a module's next words among all that modules say.
pub(super) fn next_position(db: &WriteTxn) -> Result<i64> {
    let mut statement =
        db.prepare_cached("UPDATE totals SET count = count + 1 WHERE name = 'own_words' RETURNING count")?;
    Ok(statement.query_row([], |r| r.get(0))?)
}

/// Forgets what a module said and was settled before a time. No file shows it, and no number is given above it.
pub(super) fn prune(db: &WriteTxn, writer: &SessionId, before: Timestamp) -> Result<Pruned> {
    let mut statement = db.prepare_cached(
        "DELETE FROM deliveries WHERE session_id = ?1 AND message_out_id IN (SELECT message_out_id FROM deliveries \
         WHERE session_id = ?1 AND settled_at IS NOT NULL AND settled_at < ?2 AND state <> 'held' LIMIT ?3)",
    )?;
    Ok(Pruned { rows: statement.execute(params![writer, before.0, SLICE])?, ..Pruned::default() })
}

#[cfg(test)]
mod tests {
    use super::super::{Claim, claim_next, prune_deliveries, settle, unpark, with_id};
    use super::super::{InDoubtPolicy, delivery_counts, sessions_to_prune};
    use super::*;

    fn to(chat: &str, thread: Option<&str>) -> Address {
        Address {
            channel_type: "x".into(),
            account: "main".into(),
            platform_id: chat.into(),
            thread_id: thread.map(Into::into),
        }
    }

    fn say(db: &WriteTxn, module: &str, to: &Address, now: i64) -> bool {
        let new = NewWords {
            module: module.into(),
            content: r#"{"text":"no"}"#.into(),
            in_reply_to: Some("p1".into()),
        };
        record_words(db, &new, to, Timestamp(now)).expect("it is recorded")
    }

    fn claimed(db: &WriteTxn, to: &Address, now: i64) -> Option<super::super::Delivery> {
        match claim_next(db, to, None, Timestamp(now)).expect("it answers") {
            Claim::Deliver(delivery) => Some(*delivery),
            Claim::Nothing | Claim::Later(_) => None,
        }
    }

    #[test]
    fn words_of_a_module_go_out_in_order_as_an_answer_and_are_settled() {
        let (db, at) = (crate::db::in_memory(), to("c", Some("t")));
        assert!(say(&db, "guard", &at, 1) && say(&db, "guard", &at, 2));
        let first = claimed(&db, &at, 3).expect("the first");
        assert_eq!((first.taken_at, first.in_reply_to.as_deref(), first.seq), (Timestamp(1), Some("p1"), 0));
        assert_eq!(first.session_id.module(), Some("guard"));
        assert!(claimed(&db, &at, 3).is_none(), "the first is being sent");
        settle(&db, &first, Ok(Some("p2")), Timestamp(4)).expect("it is settled");
        assert_eq!(claimed(&db, &at, 5).expect("the second").taken_at, Timestamp(2));
        let record = with_id(&db, &first.message_out_id).expect("it is found").pop().expect("one");
        assert_eq!((record.state.as_str(), record.platform_message_id.as_deref()), ("delivered", Some("p2")));
        assert_eq!(delivery_counts(&db).expect("counts").get("delivered"), Some(&1));
    }

    /// The process ended while it was being sent.
    #[test]
    fn what_was_cut_off_is_sent_when_its_channel_is_there() {
        let (db, at) = (crate::db::in_memory(), to("c", None));
        assert!(say(&db, "guard", &at, 1));
        claimed(&db, &at, 2).expect("it is sent");
        assert_eq!(super::super::mark_unknown(&db).expect("on record"), 1);
        let woken = unpark(&db, "x", "main", InDoubtPolicy::SendAgain, Timestamp(3)).expect("it answers");
        assert_eq!(woken, std::slice::from_ref(&at));
        assert!(claimed(&db, &at, 4).is_some());
    }

    #[test]
    fn a_chat_hears_only_so_much() {
        let db = crate::db::in_memory();
        let (begin, at) = (1_000_000, to("c", None));
        for (chat, thread, module, now, want) in [
            ("c", None, "guard", begin, true),
            ("c", Some("t"), "guard", begin, true),
            ("c", Some("u"), "other", begin, true),
            ("c", None, "guard", begin + 1, true),
            ("c", None, "guard", begin + 2, true),
            ("c", None, "guard", begin + 3, false),
            ("c", Some("v"), "third", begin + WINDOW_MS - 1, false),
            ("d", None, "guard", begin + 3, true),
            ("c", None, "guard", begin + WINDOW_MS, true),
            ("c", None, "guard", begin + WINDOW_MS, true),
        ] {
            assert_eq!(say(&db, module, &to(chat, thread), now), want, "{chat} {thread:?} {module} {now}");
        }
        assert!(say(&db, "guard", &at, begin - 5_000), "after the clock was set back");
    }

    #[test]
    fn only_so_much_waits() {
        let db = crate::db::in_memory();
        db.execute_batch(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000) \
             INSERT INTO deliveries (session_id, message_out_id, seq, kind, content, content_bytes, state, taken_at) \
             SELECT 'module:guard', i, 0, 'chat', '', 0, 'parked', 0 FROM n",
        )
        .expect("it fills");
        let at = to("c", None);
        assert_eq!((say(&db, "guard", &at, 9), say(&db, "other", &at, 9)), (false, true));
    }

    #[test]
    fn what_is_settled_is_forgotten() {
        let (db, at) = (crate::db::in_memory(), to("c", None));
        for (now, state) in [(1, "delivered"), (2, "failed"), (3, "held"), (4, "parked"), (90, "delivered")] {
            assert!(say(&db, "guard", &at, now));
            let settled = if state == "parked" { "NULL" } else { "taken_at" };
            db.execute_batch(&format!(
                "UPDATE deliveries SET state = '{state}', settled_at = {settled} WHERE state = 'pending'"
            ))
            .expect("it is set");
        }
        let before = Timestamp(50);
        let writers = sessions_to_prune(&db, before).expect("it answers");
        assert_eq!(writers, ["module:guard"]);
        let pruned = prune_deliveries(&db, &writers[0], before).expect("it is forgotten");
        assert_eq!((pruned.rows, pruned.sessions.len()), (2, 0));
        let left = "SELECT group_concat(state, ' ') FROM (SELECT state FROM deliveries ORDER BY taken_at)";
        let left: String = db.query_row(left, [], |r| r.get(0)).expect("a row");
        assert_eq!(left, "held parked delivered");
    }
}
