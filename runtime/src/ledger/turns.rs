//! Whose turn it is: the replies for one address, from several sessions.
//!
//! Invariants:
//! - What one session has for one address goes out in order: its head holds what follows.
//! - Sessions take turns, and none holds another's: not by a head that fails, nor by how much it has.
//! - A reply whose time has not come holds nothing, and costs a turn nothing.

use super::deliveries::Delivery;
use crate::clock::Timestamp;
use crate::db::{ReadTxn, WriteTxn, address_at};
use crate::error::Result;
use crate::id::SessionId;
use rusqlite::{OptionalExtension, params};
use vestibule_plugin_api::Address;

/// A delivery whose outcome is not final. Worded as the conditions of the indexes, so that SQLite uses them.
pub(super) const OPEN: &str = "state IN ('pending', 'sending', 'unknown', 'parked')";

/// What a lane should do next.
#[derive(Debug, PartialEq, Eq)]
pub enum Claim {
    /// Nothing waits for this address.
    Nothing,
    /// The next one waits until then.
    Later(Timestamp),
    /// Deliver this; it is on record as `sending`.
    Deliver(Box<Delivery>),
}

/// What a session has handed over and no channel has taken yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pending {
    /// How many replies.
    pub replies: i64,
    /// Their contents together, in bytes.
    pub content_bytes: i64,
}

/// The oldest open reply of a session for an address.
struct Head {
    session_id: SessionId,
    message_out_id: String,
    /// When it can go; `None` while it is being sent, or waits for its adapter.
    next_attempt_at: Option<Timestamp>,
}

pub(super) fn address_params(address: &Address) -> [Option<&str>; 4] {
    [
        Some(address.channel_type.as_str()),
        Some(address.account.as_str()),
        Some(address.platform_id.as_str()),
        address.thread_id.as_ref().map(|thread| thread.as_str()),
    ]
}

/// The next reply for an address, recorded as `sending`: committed before the channel is called. Sessions take turns in
/// a ring: next is the one after `after`; a session whose head cannot go now is passed over.
pub fn claim_next(
    db: &WriteTxn,
    address: &Address,
    after: Option<&SessionId>,
    now: Timestamp,
) -> Result<Claim> {
    let mut later = due_next(db, address, now)?;
    let after = after.map_or("", SessionId::as_str);
    for (mut last, end) in [(SessionId::new(after), None), (SessionId::default(), Some(after))] {
        while let Some(head) = next_head(db, address, &last, end)? {
            match head.next_attempt_at {
                Some(at) if at <= now => return Ok(Claim::Deliver(Box::new(claim(db, address, &head)?))),
                Some(at) => later = Some(later.map_or(at, |earliest| earliest.min(at))),
                None => {}
            }
            last = head.session_id;
        }
    }
    Ok(later.map_or(Claim::Nothing, Claim::Later))
}

const DUE: &str = "UPDATE deliveries SET state = 'pending' WHERE channel_type = ?1 AND account = ?2 AND platform_id = ?3 \
                   AND thread_id IS ?4 AND due_at <= ?5 AND state = 'deferred'";
const DUE_NEXT: &str = "SELECT MIN(due_at) FROM deliveries WHERE channel_type = ?1 AND account = ?2 AND platform_id = ?3 \
                        AND thread_id IS ?4 AND state = 'deferred'";

/// Lets deferred replies whose time has come take their place; returns when the next one does.
fn due_next(db: &WriteTxn, address: &Address, now: Timestamp) -> Result<Option<Timestamp>> {
    let at = address_params(address);
    let next = db.prepare_cached(DUE_NEXT)?.query_row(at, |r| r.get::<_, Option<i64>>(0))?.map(Timestamp);
    if next.is_none_or(|next| next > now) {
        return Ok(next);
    }
    let [channel, account, chat, thread] = at;
    db.prepare_cached(DUE)?.execute(params![channel, account, chat, thread, now.0])?;
    Ok(db.prepare_cached(DUE_NEXT)?.query_row(at, |r| r.get::<_, Option<i64>>(0))?.map(Timestamp))
}

const NEXT_HEAD: &str = "SELECT session_id, message_out_id, CASE state WHEN 'pending' THEN next_attempt_at END \
                         FROM deliveries WHERE channel_type = ?1 AND account = ?2 AND platform_id = ?3 AND thread_id IS ?4 \
                         AND session_id > ?5 AND (?6 IS NULL OR session_id <= ?6) \
                         AND state IN ('pending', 'sending', 'unknown', 'parked') \
                         ORDER BY session_id, position LIMIT 1";

/// The head of the first session after `last`, up to and with `end`.
fn next_head(db: &ReadTxn, address: &Address, last: &str, end: Option<&str>) -> Result<Option<Head>> {
    let [channel, account, chat, thread] = address_params(address);
    let head =
        db.prepare_cached(NEXT_HEAD)?.query_row(params![channel, account, chat, thread, last, end], |r| {
            Ok(Head {
                session_id: r.get(0)?,
                message_out_id: r.get(1)?,
                next_attempt_at: r.get::<_, Option<i64>>(2)?.map(Timestamp),
            })
        });
    Ok(head.optional()?)
}

fn claim(db: &WriteTxn, address: &Address, head: &Head) -> Result<Delivery> {
    let id = params![head.session_id, head.message_out_id];
    db.prepare_cached(
        "UPDATE deliveries SET state = 'sending', attempts = attempts + 1 WHERE session_id = ?1 AND message_out_id = ?2",
    )?
    .execute(id)?;
    one(db, address, head)
}

fn one(db: &ReadTxn, address: &Address, head: &Head) -> Result<Delivery> {
    let id = params![head.session_id, head.message_out_id];
    let mut statement = db.prepare_cached(
        "SELECT session_id, message_out_id, CASE WHEN session_id GLOB 'module:*' THEN in_reply_to ELSE \
         (SELECT m.platform_message_id FROM messages_in m \
         WHERE m.session_id = deliveries.session_id AND m.id = deliveries.in_reply_to) END, \
         content, attempts, taken_at, look_up, seq, due_at FROM deliveries WHERE session_id = ?1 AND message_out_id = ?2",
    )?;
    let delivery = statement.query_row(id, |r| {
        Ok(Delivery {
            session_id: r.get(0)?,
            message_out_id: r.get(1)?,
            in_reply_to: r.get(2)?,
            address: address.clone(),
            content: r.get(3)?,
            attempts: r.get(4)?,
            taken_at: Timestamp(r.get(5)?),
            look_up: r.get(6)?,
            seq: r.get(7)?,
            due_at: Timestamp(r.get(8)?),
        })
    })?;
    Ok(delivery)
}

/// Deliveries that wait for their adapter, also those in doubt, and were due before a time, at most `limit`.
pub fn parked_before(db: &ReadTxn, before: Timestamp, limit: u32) -> Result<Vec<Delivery>> {
    let mut statement = db.prepare_cached(
        "SELECT session_id, message_out_id, channel_type, account, platform_id, thread_id FROM deliveries \
         INDEXED BY deliveries_unsettled WHERE settled_at IS NULL AND state <> 'deferred' AND state IN ('parked', 'unknown') AND due_at < ?1 LIMIT ?2",
    )?;
    let rows = statement.query_map(params![before.0, limit], |r| {
        let address = address_at(r, 2)?;
        Ok((address, Head { session_id: r.get(0)?, message_out_id: r.get(1)?, next_attempt_at: None }))
    })?;
    let rows = rows.collect::<rusqlite::Result<Vec<_>>>()?;
    rows.iter().map(|(address, head)| one(db, address, head)).collect()
}

/// Parks what a session has next for the address of a delivery that was given up: it waited behind that, for the same
/// adapter.
pub fn park_next(db: &WriteTxn, given_up: &Delivery, why: &str) -> Result<()> {
    let [channel, account, chat, thread] = address_params(&given_up.address);
    db.prepare_cached(
        "UPDATE deliveries SET state = 'parked', next_attempt_at = 0, last_error = ?6 WHERE state = 'pending' AND \
         (session_id, message_out_id) = (SELECT session_id, message_out_id FROM deliveries WHERE channel_type = ?1 \
         AND account = ?2 AND platform_id = ?3 AND thread_id IS ?4 AND session_id = ?5 \
         AND state IN ('pending', 'sending', 'unknown', 'parked') ORDER BY session_id, position LIMIT 1)",
    )?
    .execute(params![channel, account, chat, thread, given_up.session_id, why])?;
    Ok(())
}

const PENDING_OF: &str = "SELECT COUNT(*), COALESCE(SUM(content_bytes), 0) FROM (SELECT content_bytes FROM deliveries \
                          INDEXED BY deliveries_unsettled WHERE session_id = ?1 AND settled_at IS NULL \
                          AND state <> 'deferred' LIMIT ?2)";
const LATER_OF: &str = "SELECT COUNT(*), COALESCE(SUM(content_bytes), 0) FROM (SELECT content_bytes FROM deliveries \
                        INDEXED BY deliveries_later WHERE session_id = ?1 AND state = 'deferred' LIMIT ?2)";

/// The replies that a session has open, without those for later, counted up to `replies_max`: that many index entries
/// are looked at.
pub fn pending_of(db: &ReadTxn, session_id: &SessionId, replies_max: i64) -> Result<Pending> {
    count(db, PENDING_OF, session_id, replies_max)
}

/// The same of its replies for later.
pub fn later_of(db: &ReadTxn, session_id: &SessionId, replies_max: i64) -> Result<Pending> {
    count(db, LATER_OF, session_id, replies_max)
}

fn count(db: &ReadTxn, sql: &str, session_id: &SessionId, replies_max: i64) -> Result<Pending> {
    let mut statement = db.prepare_cached(sql)?;
    let pending = statement.query_row(params![session_id, replies_max], |r| {
        Ok(Pending { replies: r.get(0)?, content_bytes: r.get(1)? })
    });
    Ok(pending?)
}

#[cfg(test)]
mod tests {
    use super::super::deliveries::tests::{address, ledger, reply};
    use super::super::{InDoubtPolicy, record_reply, settle, try_later};
    use super::*;
    use rusqlite::StatementStatus;

    /// A ledger with these replies for one address: session and number.
    fn filled(replies: &[(&str, i64)]) -> WriteTxn<'static> {
        let db = ledger();
        for (session_id, seq) in replies {
            let sql = "INSERT OR IGNORE INTO sessions (id, agent_group_id, created_at, last_active) VALUES (?1, 'ag', 0, 0)";
            db.execute(sql, [session_id]).expect("a session");
            let id = format!("{session_id}{seq}");
            record_reply(&db, &SessionId::new(*session_id), &reply(&id, *seq), Ok(&address()), Timestamp(1))
                .expect("it is new");
        }
        db
    }

    fn claimed(db: &WriteTxn, after: Option<&str>) -> Option<Delivery> {
        match claim_next(db, &address(), after.map(SessionId::new).as_ref(), Timestamp(1_000))
            .expect("it answers")
        {
            Claim::Deliver(delivery) => Some(*delivery),
            Claim::Nothing | Claim::Later(_) => None,
        }
    }

    #[test]
    fn sessions_take_turns_and_each_keeps_its_order() {
        let replies = [("b", 1), ("b", 3), ("b", 5), ("b", 7), ("a", 1), ("a", 3), ("c", 9)];
        for (after, want) in [
            (None, "a1 b1 c9 a3 b3 b5 b7"),
            (Some("a"), "b1 c9 a1 b3 a3 b5 b7"),
            // The session named may have nothing any more, or be gone.
            (Some("bb"), "c9 a1 b1 a3 b3 b5 b7"),
            (Some("zzz"), "a1 b1 c9 a3 b3 b5 b7"),
        ] {
            let db = filled(&replies);
            let (mut last, mut told) = (after.map(str::to_owned), Vec::new());
            while let Some(delivery) = claimed(&db, last.as_deref()) {
                settle(&db, &delivery, Ok(None), Timestamp(2)).expect("it is settled");
                last = Some(delivery.session_id.to_string());
                told.push(delivery.message_out_id);
            }
            assert_eq!(told.join(" "), want, "{after:?}");
        }
    }

    #[test]
    fn a_head_that_cannot_go_holds_its_own_session_only() {
        // When the heads of `a` and `b` may go next, if they wait, and what the lane is told.
        let cases: [(Option<i64>, Option<i64>, &str); 6] = [
            (Some(5_000), Some(0), "b1"),
            (Some(0), Some(5_000), "a1"),
            (None, Some(0), "b1"),
            (None, None, "nothing"),
            (None, Some(7_000), "later 7000"),
            (Some(5_000), Some(7_000), "later 5000"),
        ];
        for after in [None, Some("a"), Some("b")] {
            for (a, b, want) in cases {
                let db = filled(&[("a", 1), ("a", 3), ("b", 1), ("b", 3)]);
                for (session_id, at) in [("a", a), ("b", b)] {
                    let before = if session_id == "a" { "b" } else { "a" };
                    let head = claimed(&db, Some(before)).expect("its head");
                    assert_eq!(head.message_out_id, format!("{session_id}1"));
                    try_later(&db, &head, at.map(Timestamp), "away", None::<InDoubtPolicy>)
                        .expect("on record");
                }
                let told =
                    match claim_next(&db, &address(), after.map(SessionId::new).as_ref(), Timestamp(1_000))
                        .expect("it answers")
                    {
                        Claim::Deliver(delivery) => delivery.message_out_id,
                        Claim::Later(at) => format!("later {}", at.0),
                        Claim::Nothing => "nothing".to_owned(),
                    };
                assert_eq!(told, want, "{a:?} {b:?} after {after:?}");
            }
        }
    }

    /// A reply that may go out at this time.
    fn at(id: &str, seq: i64, time: &str) -> vestibule_session::MessageOut {
        vestibule_session::MessageOut { deliver_after: Some(time.into()), ..reply(id, seq) }
    }

    #[test]
    fn what_is_not_due_holds_nothing_and_goes_out_when_it_is() {
        let db = ledger();
        let replies = [
            at("later", 1, "1970-01-01T00:00:09.000Z"),
            at("soon", 3, "1970-01-01 00:00:05"),
            reply("now", 5),
            at("past", 7, "1969-01-01 00:00:00"),
            at("nonsense", 9, "soon"),
        ];
        for one in &replies {
            record_reply(&db, &"s".into(), one, Ok(&address()), Timestamp(1)).expect("it is new");
        }
        let next = |now: i64| match claim_next(&db, &address(), None, Timestamp(now)).expect("it answers") {
            Claim::Deliver(delivery) => {
                settle(&db, &delivery, Ok(None), Timestamp(now)).expect("it is settled");
                format!("{} {} {}", delivery.message_out_id, delivery.taken_at.0, delivery.due_at.0)
            }
            Claim::Later(at) => format!("later {}", at.0),
            Claim::Nothing => "nothing".to_owned(),
        };
        for (now, want) in [
            (1_000, "now 1 1"),
            (1_000, "past 1 1"),
            (1_000, "nonsense 1 1"),
            (1_000, "later 5000"),
            (4_999, "later 5000"),
            (5_000, "soon 1 5000"),
            (5_000, "later 9000"),
            (9_001, "later 1 9000"),
            (9_001, "nothing"),
        ] {
            assert_eq!(next(now), want, "{now}");
        }
        assert_eq!(pending_of(&db, &"s".into(), 9).expect("it is counted").replies, 0);
    }

    /// Chats of two accounts, or threads of one chat, may have one name.
    #[test]
    fn an_address_gets_its_own_replies_only() {
        let addresses = [
            address(),
            Address { channel_type: "y".into(), ..address() },
            Address { account: "other".into(), ..address() },
            Address { platform_id: "d".into(), ..address() },
            Address { thread_id: Some("t".into()), ..address() },
        ];
        for (time, state) in [(None, "pending"), (Some("1970-01-01T00:00:00.005Z"), "deferred")] {
            for (own, at) in addresses.iter().enumerate() {
                let db = ledger();
                for (seq, to) in (0..).zip(&addresses) {
                    let one = vestibule_session::MessageOut {
                        deliver_after: time.map(str::to_owned),
                        ..reply(&format!("r{seq}"), seq)
                    };
                    record_reply(&db, &"s".into(), &one, Ok(to), Timestamp(1)).expect("it is new");
                }
                let next = || claim_next(&db, at, None, Timestamp(1_000)).expect("it answers");
                let Claim::Deliver(delivery) = next() else { panic!("its own") };
                assert_eq!((delivery.message_out_id.as_str(), &delivery.address), (&*format!("r{own}"), at));
                settle(&db, &delivery, Ok(None), Timestamp(2)).expect("it is settled");
                assert_eq!(next(), Claim::Nothing);
                let sql = "SELECT COUNT(*) FROM deliveries WHERE state = ?1";
                let others: i64 = db.query_row(sql, [state], |r| r.get(0)).expect("a row");
                assert_eq!(others, 4, "the others are as they were");
            }
        }
    }

    /// The clock may be set back between two replies, and a power cut have numbers given again.
    #[test]
    fn replies_go_out_in_the_order_in_which_they_were_taken() {
        let db = ledger();
        for (id, seq, taken_at) in [("first", 7, 900), ("second", 3, 500), ("third", 5, 100)] {
            record_reply(&db, &"s".into(), &reply(id, seq), Ok(&address()), Timestamp(taken_at))
                .expect("it is new");
        }
        for want in ["first", "second", "third"] {
            let delivery = claimed(&db, None).expect("the next");
            assert_eq!(delivery.message_out_id, want);
            settle(&db, &delivery, Ok(None), Timestamp(2)).expect("it is settled");
        }
    }

    #[test]
    fn what_a_session_has_open_is_counted() {
        let db = filled(&[("a", 1), ("a", 3), ("b", 1), ("c", 1), ("c", 3), ("c", 5)]);
        let of = |session_id: &SessionId| {
            let pending = pending_of(&db, session_id, 2).expect("it is counted");
            (pending.replies, pending.content_bytes)
        };
        assert_eq!((of(&"a".into()), of(&"b".into()), of(&"none".into())), ((2, 4), (1, 2), (0, 0)));
        assert_eq!(of(&"c".into()), (2, 4), "no more than that many");
        let head = claimed(&db, None).expect("a's");
        assert_eq!(of(&"a".into()), (2, 4), "what is being sent is not there yet");
        try_later(&db, &head, None, "away", None).expect("parked");
        assert_eq!(of(&"a".into()), (2, 4));
        settle(&db, &head, Ok(None), Timestamp(2)).expect("it is settled");
        record_reply(&db, &"a".into(), &reply("refused", 5), Err("no"), Timestamp(1)).expect("on record");
        assert_eq!(of(&"a".into()), (1, 2));
    }

    /// Counted in steps of SQLite, which other programs do not disturb.
    #[test]
    fn neither_turn_nor_count_costs_more_with_a_backlog_or_a_history() {
        let steps = |rows: i64| {
            let mut replies: Vec<(&str, i64)> = (0..rows).map(|seq| ("flood", seq)).collect();
            replies.push(("other", 1));
            let db = filled(&replies);
            for seq in 1..=rows {
                let later = at(&format!("later{seq}"), -seq, "2999-01-01 00:00:00");
                record_reply(&db, &"flood".into(), &later, Ok(&address()), Timestamp(1)).expect("on record");
                let done = reply(&format!("done{seq}"), 2 * seq + 1);
                record_reply(&db, &"other".into(), &done, Err("no"), Timestamp(1)).expect("on record");
            }
            let mut turn = db.prepare(NEXT_HEAD).expect("it is SQL");
            let at_address = address();
            let [channel, account, chat, thread] = address_params(&at_address);
            let head: String = turn
                .query_row(params![channel, account, chat, thread, "flood", None::<&str>], |r| r.get(0))
                .expect("a head");
            assert_eq!(head, "other");
            let mut count = db.prepare(PENDING_OF).expect("it is SQL");
            count.query_row(params!["other", 1_000], |_| Ok(())).expect("a row");
            let mut due_next = db.prepare(DUE_NEXT).expect("it is SQL");
            due_next.query_row(address_params(&at_address), |_| Ok(())).expect("a row");
            [turn, count, due_next].map(|statement| {
                assert_eq!(statement.get_status(StatementStatus::Sort), 0);
                assert_eq!(statement.get_status(StatementStatus::FullscanStep), 0);
                statement.get_status(StatementStatus::VmStep)
            })
        };
        assert_eq!(steps(10), steps(3_000));
        let db = ledger();
        let plan = |sql: &str| {
            let mut statement = db.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).expect("it is SQL");
            let count = statement.parameter_count();
            let rows =
                statement.query_map(rusqlite::params_from_iter(vec![""; count]), |r| r.get::<_, String>(3));
            rows.expect("it runs").collect::<rusqlite::Result<Vec<_>>>().expect("a plan").join("; ")
        };
        for sql in [DUE, DUE_NEXT] {
            assert!(plan(sql).contains("INDEX deliveries_deferred"), "{}", plan(sql));
        }
        assert!(plan(NEXT_HEAD).contains("USING INDEX deliveries_open"), "{}", plan(NEXT_HEAD));
        for (sql, index) in [(PENDING_OF, "deliveries_unsettled"), (LATER_OF, "deliveries_later")] {
            assert!(plan(sql).contains(&format!("USING COVERING INDEX {index}")), "{}", plan(sql));
        }
    }
}
