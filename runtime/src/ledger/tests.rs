//! What the ledger does costs the same however much it has kept. Counted in steps of SQLite's machine and in pages it
//! looks at: other programs do not disturb that.

use super::deliveries::tests::{address, ledger, reply};
use super::project::{changes, wanted};
use super::*;
use crate::clock::Timestamp;
use crate::db::{ReadTxn, WriteTxn};
use rusqlite::ffi;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use vestibule_session::{Ack, AckStatus, Applied, MessageIn, Settled};

const NOW: Timestamp = Timestamp(1_000_000_000);

/// A ledger that has kept this much: so many settled messages and replies in the session that is used, and so many
/// sessions beside it, each with as much as it ever has.
fn kept(rows: i64) -> WriteTxn<'static> {
    let db = ledger();
    let numbers =
        format!("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows}) SELECT");
    for sql in [
        "INSERT INTO sessions (id, agent_group_id, created_at, last_active, projected) \
         NUMBERS 'other' || i, 'ag', i, i, 1 FROM n",
        "INSERT INTO messages_in (session_id, id, seq, kind, timestamp, status, \"trigger\", channel_type, account, \
         platform_id, series_id, content, change, settled_at) \
         NUMBERS s, 'm' || i, 2 * i, 'chat', i, 'completed', 1, 'x', 'main', 'c', 'm' || i, '{}', i, i \
         FROM n, (SELECT 's' AS s UNION SELECT 'other1')",
        "INSERT INTO deliveries (session_id, message_out_id, seq, in_reply_to, kind, channel_type, account, platform_id, \
         content, state, taken_at, settled_at, change) \
         NUMBERS s, 'r' || i, 2 * i + 1, 'm' || i, 'chat', 'x', 'main', 'c', '{}', 'delivered', i, i, i \
         FROM n, (SELECT 's' AS s UNION SELECT 'other1')",
        "INSERT INTO event_ids NUMBERS 'x', 'main', 'e' || i, 999999999 FROM n",
        "INSERT INTO files (session_id, direction, message_id, position, folder, name, size_bytes, blob) \
         NUMBERS 'other1', 'in', 'm' || i, 0, 'f', 'f', 1, 'b' || i FROM n",
    ] {
        db.execute_batch(&sql.replace("NUMBERS", &numbers)).expect(sql);
    }
    db.execute("UPDATE sessions SET last_seq = 2 * ?1, change = ?1, projected = ?1", [rows])
        .expect("it fits");
    db.execute_batch("ANALYZE").expect("it is analysed");
    db
}

fn pages(db: &ReadTxn) -> u64 {
    let mut sum = 0;
    for what in [ffi::SQLITE_DBSTATUS_CACHE_HIT, ffi::SQLITE_DBSTATUS_CACHE_MISS] {
        let (mut now, mut most) = (0, 0);
        // SAFETY: the connection lives, and both numbers are written during the call.
        unsafe { ffi::sqlite3_db_status(db.handle(), what, &mut now, &mut most, 0) };
        sum += u64::try_from(now).unwrap_or_default();
    }
    sum
}

type Deed = (&'static str, fn(&WriteTxn<'_>));

/// What is done with a message, at the start and for `status`, in this order.
fn deeds() -> Vec<Deed> {
    fn claimed(db: &WriteTxn) -> Delivery {
        match claim_next(db, &address(), None, NOW).expect("it answers") {
            Claim::Deliver(delivery) => *delivery,
            _ => panic!("there is one"),
        }
    }
    fn message() -> NewMessage {
        NewMessage {
            written: Written::Outside("p".into()),
            agent_group_id: "ag".into(),
            timestamp: NOW,
            trigger: true,
            address: address(),
            content: serde_json::json!({}),
            attachments: vec![],
            session_bytes_max: 0,
            hops: 0,
        }
    }
    vec![
        ("start: what was being sent", |db| assert_eq!(mark_unknown(db).expect("it answers"), 0)),
        ("start: other boots", |db| assert_eq!(distrust_other_boots(db).expect("it answers"), 0)),
        ("start: which sessions", |db| assert_eq!(seen_at_start(db).expect("it answers"), [""; 0])),
        ("start: an adapter is live", |db| {
            drop(unpark(db, "x", "main", InDoubtPolicy::LookUp, NOW).expect("it answers"));
        }),
        ("take an event", |db| assert!(take_event(db, "x", "main", "new", NOW).expect("it answers"))),
        ("accept", |db| accept(db, &"s".into(), &message(), NOW).expect("it is taken")),
        ("project", |db| {
            let wanted = wanted(db, &"s".into()).expect("it answers").expect("it is there");
            let applied = Applied { change: wanted.change - 1, destinations: 1, is_current: true };
            let routes = |_: &ReadTxn, _: &SessionId| Ok(Default::default());
            let projection = changes(db, &"s".into(), applied, &wanted, &routes).expect("it answers");
            assert_eq!(projection.messages.len(), 1);
        }),
        ("what is due", |db| {
            assert!(suspects::seen(db, &"s".into(), true, false).expect("it answers").due.is_some())
        }),
        ("a run fails", |db| {
            assert_eq!(
                count_tries(db, &"s".into(), &HashSet::new(), "why", NOW).expect("it answers").count,
                1
            );
            forgive(db, &"s".into()).expect("it is forgiven");
        }),
        ("take a reply", |db| {
            let reply = reply("new", 2 * 100_000 + 9);
            assert!(record_reply(db, &"s".into(), &reply, Ok(&address()), NOW).expect("it is new"));
            mark_taken(db, &"s".into(), reply.seq).expect("on record");
        }),
        ("acknowledge", |db| {
            let ack = Ack { message_id: "p:ag".into(), status: AckStatus::Completed };
            acknowledge(db, &"s".into(), &[ack], NOW).expect("on record");
        }),
        ("what is open", |db| {
            assert_eq!(open_addresses(db, &"s".into()).expect("it answers").len(), 1);
            assert_eq!(pending_of(db, &"s".into(), 10).expect("it answers").replies, 1);
        }),
        ("deliver", |db| {
            let delivery = claimed(db);
            let _ = sources(db, &delivery).expect("it answers");
            settle(db, &delivery, Ok(Some("p1")), NOW).expect("on record");
        }),
        ("take a file", |db| assert_eq!(session_bytes(db, &"s".into()).expect("it answers"), 0)),
        ("forget nothing", |db| {
            forget_events(db, Timestamp(0)).expect("it answers");
            forget_pruned(db).expect("it answers");
            assert_eq!(sessions_to_prune(db, Timestamp(0)).expect("it answers"), [""; 0]);
            assert_eq!(prune_messages(db, Timestamp(0), None).expect("it answers"), Pruned::default());
        }),
        ("status: deliveries", |db| drop(delivery_counts(db).expect("it answers"))),
        ("status: doubled", |db| assert_eq!(possible_duplicates(db).expect("it answers"), 0)),
        ("status: sessions", |db| {
            assert_eq!(failed_since(db, NOW).expect("it answers").count, 0);
            let counts = session_counts(db, NOW).expect("it answers");
            assert!(counts.total > 10 && (counts.running, counts.failing) == (0, 0), "{counts:?}");
        }),
        ("adopt", |db| {
            let change = adopt_change(db, &"s".into()).expect("it is there");
            let message = MessageIn {
                id: "theirs".into(),
                seq: 0,
                kind: "chat".into(),
                timestamp: NOW,
                status: "completed".into(),
                process_after: None,
                recurrence: None,
                series_id: None,
                tries: 0,
                trigger: true,
                platform_id: None,
                channel_type: None,
                thread_id: None,
                content: "{}".into(),
                source_session_id: None,
                on_wake: false,
                account: None,
                platform_message_id: None,
            };
            assert!(adopt_message(db, &"s".into(), change, (&message, None), NOW).expect("it is new"));
            let settled =
                Settlement { outcome: Settled::Delivered, platform_message_id: None, at: NOW, why: None };
            let old = reply("adopted", 2 * 100_000 + 11);
            assert!(adopt_settled(db, &"s".into(), change, &old, &settled, NOW).expect("it is new"));
        }),
        ("status: trouble", |db| {
            drop(crate::sessions::in_trouble(db, 10).expect("it answers"));
            drop(crate::drops::recent(db, 10).expect("it answers"));
        }),
        ("destinations", |db| {
            assert_eq!(crate::destinations::shown(db, &"ag".into()).expect("it answers").len(), 0);
            drop(crate::sessions::routing(db, &"s".into()).expect("it answers"));
            assert_eq!(destinations_changed(db, &"ag".into()).expect("it answers"), [""; 0])
        }),
    ]
}

fn costs(rows: i64) -> Vec<(u64, u64)> {
    let db = kept(rows);
    let counted = Arc::new(AtomicU64::new(0));
    let steps = counted.clone();
    let count = move || {
        steps.fetch_add(1, Ordering::Relaxed);
        false
    };
    db.progress_handler(1, Some(count)).expect("it counts");
    let measure = |(name, deed): Deed| {
        let (steps, looked) = (counted.load(Ordering::Relaxed), pages(&db));
        deed(&db);
        let cost = (counted.load(Ordering::Relaxed) - steps, pages(&db) - looked);
        println!("{rows:>7} rows: {name}: {} steps, {} pages", cost.0, cost.1);
        cost
    };
    deeds().into_iter().map(measure).collect()
}

#[test]
fn what_is_done_costs_the_same_with_a_history() {
    let (few, many) = (costs(10), costs(100_000));
    for (((name, _), few), many) in deeds().into_iter().zip(few).zip(many) {
        // A step more or less is a comparison in a tree.
        assert!(many.0 as f64 <= few.0 as f64 * 1.2 + 2.0, "{name}: {} steps, and then {}", few.0, many.0);
        // A tree of ten rows is one page, one of a hundred thousand is three or four deep.
        assert!(many.1 <= few.1 * 4 + 8, "{name}: {} pages, and then {}", few.1, many.1);
    }
}

#[test]
fn an_acknowledgement_that_is_known_changes_nothing() {
    let db = kept(3);
    db.execute_batch("UPDATE messages_in SET status = 'pending' WHERE session_id = 's' AND id = 'm3'")
        .expect("it waits again");
    let acks = ["m1", "m2", "m3", "of no message"]
        .map(|id| Ack { message_id: id.to_owned(), status: AckStatus::Completed });
    let change = || -> i64 {
        db.query_row("SELECT change FROM sessions WHERE id = 's'", [], |r| r.get(0)).expect("it is there")
    };
    for want in [4, 4] {
        acknowledge(&db, &"s".into(), &acks, NOW).expect("on record");
        assert_eq!(change(), want);
    }
}
