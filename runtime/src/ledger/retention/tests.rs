use super::super::deliveries::tests::{address, ledger, reply};
use super::super::{acknowledge, record_reply, settle};
use super::*;
use crate::db::{ReadTxn, WriteTxn};
use vestibule_session::{Ack, AckStatus};

const DAY_MS: i64 = 24 * 3600 * 1000;
/// A row that was settled on day 1 is old on day 10.
const OLD: Timestamp = Timestamp(DAY_MS);
const BEFORE: Timestamp = Timestamp(10 * DAY_MS);
const NEW: Timestamp = Timestamp(20 * DAY_MS);

fn message(db: &WriteTxn, seq: i64, status: &str, settled_at: Option<Timestamp>) {
    let sql = "INSERT INTO messages_in (session_id, id, seq, kind, timestamp, status, \"trigger\", series_id, content, \
               change, settled_at) VALUES ('s', 'm' || ?1, ?1, 'chat', 0, ?2, 1, 'm' || ?1, '{}', 1, ?3)";
    db.execute(sql, params![seq, status, settled_at.map(|at| at.0)]).expect("a row");
    db.execute("UPDATE sessions SET last_seq = MAX(last_seq, ?1)", [seq]).expect("its number");
}

fn left(db: &ReadTxn, sql: &str) -> String {
    let mut statement = db.prepare(sql).expect("it is SQL");
    let rows = statement.query_map([], |r| r.get::<_, String>(0)).expect("it runs");
    rows.collect::<rusqlite::Result<Vec<_>>>().expect("rows").join(" ")
}

fn messages(db: &ReadTxn) -> String {
    left(db, "SELECT id FROM messages_in ORDER BY seq")
}

fn prune(db: &WriteTxn) -> usize {
    let (mut begin, mut rows) = (None, 0);
    loop {
        let pruned = prune_messages(db, BEFORE, begin.as_ref()).expect("a slice");
        rows += pruned.rows;
        begin = pruned.next;
        if begin.is_none() {
            return rows;
        }
    }
}

#[test]
fn of_messages_goes_what_is_settled_old_and_not_needed() {
    let cases = [
        ("completed", Some(OLD), "", true),
        ("failed", Some(OLD), "", true),
        ("completed", Some(NEW), "", false),
        ("completed", Some(BEFORE), "", false),
        ("pending", None, "", false),
        ("paused", None, "", false),
        // A reply that is on record answers it.
        (
            "completed",
            Some(OLD),
            "INSERT INTO deliveries (session_id, message_out_id, seq, in_reply_to, kind, content, \
          state, taken_at) VALUES ('s', 'r', 3, 'm2', 'chat', '{}', 'parked', 0)",
            false,
        ),
        // A row that waits belongs to its series.
        (
            "completed",
            Some(OLD),
            "UPDATE messages_in SET series_id = 'm2', status = 'pending', settled_at = NULL \
          WHERE id = 'm4'",
            false,
        ),
        (
            "completed",
            Some(OLD),
            "UPDATE messages_in SET series_id = 'm2', status = 'paused', settled_at = NULL \
          WHERE id = 'm4'",
            false,
        ),
        // The last number of the session.
        (
            "completed",
            Some(OLD),
            "DELETE FROM messages_in WHERE id = 'm4'; UPDATE sessions SET last_seq = 2",
            false,
        ),
    ];
    for (status, settled_at, change, goes) in cases {
        let db = ledger();
        message(&db, 2, status, settled_at);
        message(&db, 4, "completed", Some(NEW));
        db.execute_batch(change).expect(change);
        prune(&db);
        assert_eq!(!messages(&db).contains("m2"), goes, "{status} {settled_at:?} {change}");
    }
}

#[test]
fn what_acknowledges_a_message_begins_its_time() {
    let db = ledger();
    message(&db, 2, "pending", None);
    message(&db, 4, "pending", None);
    let ack = |id: &str, status| Ack { message_id: id.into(), status };
    acknowledge(&db, &"s".into(), &[ack("m2", AckStatus::Completed), ack("m4", AckStatus::Processing)], OLD)
        .expect("on record");
    assert_eq!(prune(&db), 1);
    assert_eq!(messages(&db), "m4");
}

#[test]
fn slices_look_at_each_row_once_and_at_the_last_one() {
    let db = ledger();
    let rows = 2 * i64::from(SLICE) + 7;
    for row in 1..=rows {
        message(&db, 2 * row, "completed", Some(OLD));
    }
    // A whole slice that cannot go does not end the pass.
    db.execute(
        "INSERT INTO deliveries (session_id, message_out_id, seq, in_reply_to, kind, content, state, taken_at) \
         SELECT 's', 'r' || id, 2 * seq + 1, id, 'chat', '{}', 'parked', 0 FROM messages_in ORDER BY id LIMIT ?1",
        [SLICE],
    )
    .expect("replies");
    assert_eq!(prune(&db), rows as usize - SLICE as usize - 1, "all but those and the last");
}

#[test]
fn an_id_is_never_given_again() {
    use super::super::{NewMessage, Written, accept};
    let db = ledger();
    let new = || NewMessage {
        written: Written::Outside("p".into()),
        agent_group_id: "ag".into(),
        timestamp: OLD,
        trigger: true,
        address: address(),
        content: serde_json::json!({}),
        attachments: vec![],
        session_bytes_max: 0,
        hops: 0,
    };
    let said = |db: &WriteTxn| {
        accept(db, &"s".into(), &new(), OLD).expect("it is taken");
        let id = left(db, "SELECT id FROM messages_in WHERE status = 'pending'");
        let ack = Ack { message_id: id.clone(), status: AckStatus::Completed };
        acknowledge(db, &"s".into(), &[ack], OLD).expect("on record");
        id
    };
    let mut ids: Vec<String> = (0..3).map(|_| said(&db)).collect();
    assert_eq!(prune(&db), 2);
    ids.extend((0..2).map(|_| said(&db)));
    assert_eq!(ids, ["p:ag", "p~2:ag", "p~3:ag", "p~4:ag", "p~5:ag"]);
}

#[test]
fn deliveries_go_up_to_the_first_that_is_open_or_new_and_are_never_taken_again() {
    // What becomes of the third of five, and how many go.
    for (third, gone) in [("old", 5), ("open", 2), ("held", 2), ("new", 2), ("taken over", 2)] {
        let db = ledger();
        for seq in [1, 3, 5, 7, 9] {
            let id = format!("r{seq}");
            record_reply(&db, &"s".into(), &reply(&id, seq), Ok(&address()), OLD).expect("it is new");
            let sql = "UPDATE deliveries SET state = 'delivered', settled_at = ?2 WHERE message_out_id = ?1";
            db.execute(sql, params![id, OLD.0]).expect("it is settled");
        }
        match third {
            "open" => {
                db.execute("UPDATE deliveries SET state = 'parked', settled_at = NULL WHERE seq = 5", [])
            }
            "held" => db.execute("UPDATE deliveries SET state = 'held' WHERE seq = 5", []),
            "taken over" => db.execute("UPDATE deliveries SET taken_at = ?1 WHERE seq = 5", [NEW.0]),
            "new" => db.execute("UPDATE deliveries SET settled_at = ?1 WHERE seq = 5", [NEW.0]),
            _ => Ok(0),
        }
        .expect(third);
        assert_eq!(sessions_to_prune(&db, BEFORE).expect("it answers"), ["s"]);
        assert_eq!(prune_deliveries(&db, &"s".into(), BEFORE).expect("a slice").rows, gone, "{third}");
        let floor: i64 = db.query_row("SELECT outbound_floor FROM sessions", [], |r| r.get(0)).expect("one");
        assert_eq!(floor, 2 * gone as i64 - 1, "{third}");
        for seq in 1..=floor {
            let again = record_reply(&db, &"s".into(), &reply(&format!("x{seq}"), seq), Ok(&address()), NEW);
            assert!(!again.expect("it answers"), "{third}: {seq} was settled");
        }
        assert!(record_reply(&db, &"s".into(), &reply("x", 11), Ok(&address()), NEW).expect("it answers"));
    }
}

/// The runtime's own words, and what a module has a session say, have the number 0.
#[test]
fn what_has_no_number_holds_nothing_up() {
    for (state, settled_at, taken_at, stays) in [
        ("deferred", None, OLD, true),
        ("parked", None, OLD, true),
        ("held", Some(OLD), OLD, true),
        ("delivered", Some(NEW), OLD, true),
        ("delivered", Some(OLD), NEW, true),
        ("delivered", Some(OLD), OLD, false),
    ] {
        let db = ledger();
        for (id, seq) in [("own", 0), ("r1", 1), ("r3", 3)] {
            record_reply(&db, &"s".into(), &reply(id, seq), Ok(&address()), OLD).expect("it is new");
        }
        db.execute("UPDATE deliveries SET state = 'delivered', settled_at = ?1", [OLD.0]).expect("settled");
        let own = "UPDATE deliveries SET state = ?1, settled_at = ?2, taken_at = ?3 WHERE seq = 0";
        db.execute(own, params![state, settled_at.map(|at: Timestamp| at.0), taken_at.0]).expect("it is set");
        prune_deliveries(&db, &"s".into(), BEFORE).expect("a slice");
        let stay = left(&db, "SELECT message_out_id FROM deliveries");
        assert_eq!(stay, if stays { "own" } else { "" }, "{state} {settled_at:?} {taken_at:?}");
    }
}

/// With the files of a message its blobs go, unless another message names them.
#[test]
fn files_go_with_their_message_and_what_is_shown_of_them_is_noted_until_the_file_follows() {
    let db = ledger();
    message(&db, 2, "completed", Some(OLD));
    message(&db, 4, "completed", Some(NEW));
    db.execute_batch(
        "INSERT INTO files (session_id, direction, message_id, position, folder, name, size_bytes, blob) VALUES \
         ('s', 'in', 'm2', 0, 'f2', 'a', 1, 'blob-a'), ('s', 'in', 'm2', 1, 'f2', 'b', 1, 'blob-b'), \
         ('s', 'in', 'm4', 0, 'f4', 'b', 1, 'blob-b')",
    )
    .expect("files");
    let before: i64 = db.query_row("SELECT change FROM sessions", [], |r| r.get(0)).expect("one");
    let pruned = prune_messages(&db, BEFORE, None).expect("a slice");
    assert_eq!((pruned.blobs, pruned.sessions), (vec!["blob-a".to_owned()], vec!["s".into()]));
    assert_eq!(left(&db, "SELECT folder FROM files"), "f4");
    let noted = |since| {
        let noted = pruned_since(&db, &"s".into(), since).expect("it answers").into_iter();
        noted.map(|(what, name)| format!("{what} {name}")).collect::<Vec<_>>()
    };
    assert_eq!(noted(before), ["inbox f2", "message m2"]);
    assert_eq!(noted(before + 1), [""; 0], "the file shows that change");
    assert_eq!(forget_pruned(&db).expect("it answers"), 0, "the file may not follow yet");
    db.execute("UPDATE sessions SET projected = change", []).expect("it follows");
    assert_eq!(forget_pruned(&db).expect("it answers"), 2);
}

#[test]
fn event_ids_are_kept_for_thirty_days() {
    let db = ledger();
    let kept = |days: i64| {
        db.execute("INSERT INTO event_ids VALUES ('x', 'main', ?1, 0)", [format!("{days}")]).expect("one");
        forget_events(&db, Timestamp(days * DAY_MS)).expect("it answers");
        left(&db, "SELECT event_id FROM event_ids").contains(&days.to_string())
    };
    assert!(kept(29) && kept(30));
    assert!(!kept(31));
}

#[test]
fn a_settled_delivery_is_settled_with_its_time() {
    let db = ledger();
    record_reply(&db, &"s".into(), &reply("a", 1), Ok(&address()), OLD).expect("it is new");
    assert_eq!(sessions_to_prune(&db, BEFORE).expect("it answers"), [""; 0], "it is open");
    let super::super::Claim::Deliver(delivery) =
        super::super::claim_next(&db, &address(), None, OLD).expect("it answers")
    else {
        panic!("there is one");
    };
    settle(&db, &delivery, Ok(None), OLD).expect("it is settled");
    assert_eq!(sessions_to_prune(&db, BEFORE).expect("it answers"), ["s"]);
}
