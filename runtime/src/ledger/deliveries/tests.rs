use super::super::{Claim, claim_next};
use super::*;
use crate::db::{ReadTxn, WriteTxn};

pub fn ledger() -> WriteTxn<'static> {
    let db = crate::db::in_memory();
    db.execute_batch(
        "INSERT INTO agent_groups (id, name, folder, created_at) VALUES ('ag', 'a', 'a', 0); \
         INSERT INTO sessions (id, agent_group_id, created_at, last_active) VALUES ('s', 'ag', 0, 0)",
    )
    .expect("it fills");
    db
}

pub fn reply(id: &str, seq: i64) -> MessageOut {
    MessageOut {
        id: id.into(),
        seq,
        in_reply_to: None,
        timestamp: String::new(),
        deliver_after: None,
        kind: "chat".into(),
        platform_id: Some("c".into()),
        channel_type: Some("x".into()),
        thread_id: None,
        content: "{}".into(),
        account: None,
    }
}

pub fn address() -> Address {
    Address { channel_type: "x".into(), account: "main".into(), platform_id: "c".into(), thread_id: None }
}

fn claim(db: &WriteTxn) -> Option<Delivery> {
    match claim_next(db, &address(), None, Timestamp(1_000)).expect("it answers") {
        Claim::Deliver(delivery) => Some(*delivery),
        Claim::Nothing | Claim::Later(_) => None,
    }
}

fn story(db: &ReadTxn) -> Vec<String> {
    let sql =
        "SELECT message_out_id || ' ' || state || ' ' || possible_duplicate FROM deliveries ORDER BY seq";
    let mut statement = db.prepare(sql).expect("it is SQL");
    statement.query_map([], |r| r.get(0)).expect("it runs").collect::<rusqlite::Result<_>>().expect("rows")
}

#[test]
fn one_reply_after_the_other_and_none_twice() {
    let db = ledger();
    for (id, seq) in [("a", 1), ("b", 3)] {
        assert!(
            record_reply(&db, &"s".into(), &reply(id, seq), Ok(&address()), Timestamp(1)).expect("it is new")
        );
    }
    assert!(
        !record_reply(&db, &"s".into(), &reply("a", 5), Ok(&address()), Timestamp(1)).expect("it is known")
    );
    let first = claim(&db).expect("the oldest");
    assert_eq!((first.message_out_id.as_str(), first.attempts), ("a", 1));
    assert_eq!(claim(&db), None, "the next waits for it");
    try_later(&db, &first, Some(Timestamp(2_000)), "away", None).expect("it is recorded");
    assert_eq!(claim(&db), None, "it still holds its lane");
    try_later(&db, &first, Some(Timestamp(500)), "away", None).expect("it is recorded");
    let again = claim(&db).expect("again");
    settle(&db, &again, Ok(Some("p1")), Timestamp(3)).expect("it is settled");
    assert_eq!(claim(&db).expect("the next").message_out_id, "b");
    assert_eq!(story(&db), ["a delivered 0", "b sending 0"]);
}

/// The database was put back, and the agent's file was not.
#[test]
fn what_a_session_wrote_that_was_set_back_is_held_and_holds_nobody() {
    let db = ledger();
    record_reply(&db, &"s".into(), &reply("before", 1), Ok(&address()), Timestamp(1)).expect("it is new");
    let first = claim(&db).expect("it is on its way");
    settle(&db, &first, Ok(None), Timestamp(3)).expect("it is settled");
    super::super::mark_set_back(&db, &"s".into(), true, Timestamp(3)).expect("it is marked");
    for (id, seq) in [("before", 1), ("since", 3)] {
        record_reply(&db, &"s".into(), &reply(id, seq), Ok(&address()), Timestamp(1)).expect("it is read");
    }
    record_reply(&db, &"s".into(), &reply("wrong", 5), Err("no"), Timestamp(1)).expect("it is read");
    db.execute_batch("UPDATE sessions SET set_back = 0").expect("all was read");
    record_reply(&db, &"s".into(), &reply("later", 7), Ok(&address()), Timestamp(1)).expect("it is new");
    let next = claim(&db).expect("it goes out");
    settle(&db, &next, Ok(None), Timestamp(3)).expect("it is settled");
    assert_eq!((next.message_out_id.as_str(), claim(&db)), ("later", None));
    assert_eq!(story(&db), ["before delivered 0", "since held 0", "wrong failed 0", "later delivered 0"]);
    let sql = "SELECT message_out_id, last_error FROM deliveries WHERE last_error IS NOT NULL ORDER BY seq";
    let mut statement = db.prepare(sql).expect("it is SQL");
    let rows = statement.query_map([], |r| Ok((r.get(0)?, r.get(1)?))).expect("it runs");
    let why = rows.collect::<rusqlite::Result<Vec<(String, String)>>>().expect("rows");
    assert_eq!(why, [("since".to_owned(), HELD.to_owned()), ("wrong".to_owned(), "no".to_owned())]);
}

/// A power cut may take back what was read in another boot, but nothing that was settled and forgotten.
#[test]
fn what_was_taken_in_this_boot_is_not_read_again() {
    let db = ledger();
    let taken = || taken_up_to(&db, &"s".into()).expect("it answers");
    assert_eq!(taken(), Some(0));
    for (seq, want) in [(5, 5), (9, 9), (7, 9)] {
        mark_taken(&db, &"s".into(), seq).expect("on record");
        assert_eq!(taken(), Some(want));
    }
    db.execute_batch("UPDATE sessions SET outbound_floor = 3, outbound_boot_id = 'another'").expect("a boot");
    assert_eq!(taken(), Some(3));
    mark_taken(&db, &"s".into(), 4).expect("on record");
    assert_eq!(taken(), Some(4));
    db.execute_batch("UPDATE sessions SET outbound_floor = 6").expect("all up to it was forgotten");
    assert_eq!(taken(), Some(6));
    assert_eq!(taken_up_to(&db, &"gone".into()).expect("it answers"), None);
}

#[test]
fn a_claim_that_is_given_back_was_no_attempt() {
    let db = ledger();
    for (id, seq) in [("a", 1), ("b", 3)] {
        record_reply(&db, &"s".into(), &reply(id, seq), Ok(&address()), Timestamp(1)).expect("it is new");
    }
    let first = claim(&db).expect("the oldest");
    unclaim(&db, &first).expect("it is given back");
    assert_eq!(story(&db), ["a pending 0", "b pending 0"]);
    assert_eq!(claim(&db), Some(first));
}

#[test]
fn what_a_lookup_did_not_find_may_still_arrive() {
    let db = ledger();
    for (id, seq) in [("a", 1), ("b", 3)] {
        record_reply(&db, &"s".into(), &reply(id, seq), Ok(&address()), Timestamp(1)).expect("it is new");
    }
    may_double(&db, &claim(&db).expect("the oldest")).expect("on record");
    assert_eq!(story(&db), ["a sending 1", "b pending 0"]);
}

/// An answer goes to the session that asked, and a new word to the one that wrote last.
#[test]
fn the_sessions_behind_a_message_are_those_of_its_receiver() {
    let db = ledger();
    db.execute_batch(
        "INSERT INTO messages_in (session_id, id, seq, kind, timestamp, status, \"trigger\", channel_type, platform_id, \
         content, source_session_id, change) VALUES \
         ('s', 'early', 2, 'chat', 0, 'completed', 1, 'agent', 'ag2', '{}', 'asked', 1), \
         ('s', 'late', 4, 'chat', 0, 'completed', 1, 'agent', 'ag2', '{}', 'wrote last', 1), \
         ('s', 'note', 6, 'chat', 0, 'completed', 1, 'agent', 'ag2', '{}', NULL, 1), \
         ('s', 'other', 8, 'chat', 0, 'completed', 1, 'agent', 'ag3', '{}', 'of another', 1), \
         ('s', 'chat', 10, 'chat', 0, 'completed', 1, 'x', 'ag2', '{}', 'of a chat', 1)",
    )
    .expect("it fills");
    for (to, in_reply_to, want) in [
        ("ag2", Some("early"), (Some("asked"), Some("wrote last"))),
        ("ag2", Some("late"), (Some("wrote last"), Some("wrote last"))),
        ("ag2", None, (None, Some("wrote last"))),
        ("ag2", Some("note"), (None, Some("wrote last"))),
        ("ag2", Some("other"), (None, Some("wrote last"))),
        ("ag2", Some("chat"), (None, Some("wrote last"))),
        ("ag3", Some("early"), (None, Some("of another"))),
        ("ag4", Some("early"), (None, None)),
    ] {
        let id = format!("{to} {in_reply_to:?}");
        let address = Address { channel_type: "agent".into(), platform_id: to.into(), ..address() };
        let reply = MessageOut { in_reply_to: in_reply_to.map(str::to_owned), ..reply(&id, 0) };
        record_reply(&db, &"s".into(), &reply, Ok(&address), Timestamp(1)).expect("it is new");
        let Ok(Claim::Deliver(delivery)) = claim_next(&db, &address, None, Timestamp(2)) else {
            panic!("{id}")
        };
        let (answers, heard_last) = sources(&db, &delivery).expect("it answers");
        assert_eq!((answers.as_deref(), heard_last.as_deref()), want, "{id}");
        settle(&db, &delivery, Ok(None), Timestamp(3)).expect("it is settled");
    }
}

/// What `status` shows.
#[test]
fn deliveries_are_counted_by_state_and_by_what_they_wait_for() {
    let db = ledger();
    let [c, d] = ["c", "d"].map(|chat| Address { platform_id: chat.into(), ..address() });
    let record = |id: &str, seq, time: Option<&str>, verdict| {
        let reply = MessageOut { deliver_after: time.map(str::to_owned), ..reply(id, seq) };
        record_reply(&db, &"s".into(), &reply, verdict, Timestamp(1)).expect("it is new");
    };
    let counts = || {
        let counts = delivery_counts(&db).expect("it answers");
        counts.iter().map(|(state, count)| format!("{state} {count}")).collect::<Vec<_>>().join(", ")
    };
    let waiting = || waiting_for_adapter(&db).expect("it answers");
    let next = || next_deferred(&db).expect("it answers").map(|at| at.0);
    assert_eq!((counts().as_str(), waiting(), next()), ("", vec![], None));
    record("a", 1, None, Ok(&c));
    record("b", 3, None, Ok(&c));
    record("late", 5, Some("1970-01-01T00:00:09.000Z"), Ok(&c));
    record("soon", 7, Some("1970-01-01T00:00:05.000Z"), Ok(&d));
    record("no", 9, None, Err("no"));
    assert_eq!((counts().as_str(), waiting()), ("deferred 2, failed 1, pending 2", vec![]));
    assert_eq!(next(), Some(5_000));
    let first = claim(&db).expect("the oldest");
    try_later(&db, &first, None, "away", None).expect("it is parked");
    assert_eq!(counts(), "deferred 2, failed 1, parked 1, pending 1");
    assert_eq!(waiting(), [("x".to_owned(), "main".to_owned(), 2)], "one waits behind it");
    unpark(&db, "x", "main", InDoubtPolicy::SendAgain, Timestamp(0)).expect("the adapter");
    for outcome in [Ok(None), Ok(None), Err("no")] {
        let Ok(Claim::Deliver(delivery)) = claim_next(&db, &c, None, Timestamp(9_000)) else { panic!("one") };
        settle(&db, &delivery, outcome, Timestamp(9_000)).expect("it is settled");
    }
    assert_eq!((counts().as_str(), waiting()), ("deferred 1, delivered 2, failed 2", vec![]));
}

/// An agent may be refused without end, and as largely as it likes.
#[test]
fn of_what_is_refused_the_first_bytes_are_kept_and_every_reason() {
    let db = ledger();
    let large = |id: &str, seq| {
        let long = || Some("x".repeat(1024));
        let content = format!(r#"{{"text":"{}"}}"#, "x".repeat(100_000));
        MessageOut { in_reply_to: long(), thread_id: long(), platform_id: long(), content, ..reply(id, seq) }
    };
    for seq in 1..=200 {
        let refused = large(&format!("r{seq}"), seq);
        assert!(
            record_reply(&db, &"s".into(), &refused, Err("no destination"), Timestamp(1)).expect("on record")
        );
    }
    let of = |sql: &str| db.query_row(sql, [], |r| r.get::<_, i64>(0)).expect("a row");
    let kept = "SUM(length(content) + length(kind) + COALESCE(length(in_reply_to), 0) + COALESCE(length(platform_id), 0) \
                + COALESCE(length(channel_type), 0) + COALESCE(length(thread_id), 0))";
    assert_eq!(of(&format!("SELECT {kept} FROM deliveries")), of("SELECT refused_bytes FROM sessions"));
    assert!((100_000..=REFUSED_BYTES_MAX).contains(&of("SELECT refused_bytes FROM sessions")));
    assert_eq!(of("SELECT COUNT(*) FROM deliveries WHERE content <> ''"), 2, "those that fit");
    let told = "SELECT COUNT(*) FROM deliveries WHERE state = 'failed' AND last_error = 'no destination' \
                AND content_bytes = 100011 AND message_out_id = 'r' || seq";
    assert_eq!(of(told), 200);
    // A small one still has room, and what may go out is never cut.
    record_reply(&db, &"s".into(), &reply("small", 401), Err("no"), Timestamp(1)).expect("on record");
    record_reply(&db, &"s".into(), &large("fine", 403), Ok(&address()), Timestamp(1)).expect("on record");
    assert_eq!(of("SELECT COUNT(*) FROM deliveries WHERE content <> '' AND seq > 400"), 2);
}

/// An agent said it, or a platform.
#[test]
fn why_it_failed_is_kept_as_one_bounded_line() {
    let db = ledger();
    let why = format!("two\nlines\u{1b}[2J {}", "x".repeat(100_000));
    record_reply(&db, &"s".into(), &reply("a", 1), Err(&why), Timestamp(1)).expect("it is refused");
    for (id, seq) in [("b", 3), ("c", 5)] {
        record_reply(&db, &"s".into(), &reply(id, seq), Ok(&address()), Timestamp(1)).expect("it is new");
    }
    let b = claim(&db).expect("the oldest");
    settle(&db, &b, Err(&why), Timestamp(3)).expect("it is settled");
    let c = claim(&db).expect("the next");
    try_later(&db, &c, None, &why, None).expect("it is parked");
    for id in ["a", "b", "c"] {
        let sql = "SELECT last_error FROM deliveries WHERE message_out_id = ?1";
        let kept: String = db.query_row(sql, [id], |r| r.get(0)).expect("a reason");
        assert!(kept.starts_with("two lines\u{fffd}[2J xxx"), "{id}: {kept}");
        assert_eq!(kept.chars().count(), words::REASON_CHARS_MAX, "{id}");
    }
}

/// Also when the adapter was not there in between: then nothing was asked.
#[test]
fn who_was_in_doubt_stays_in_doubt_until_it_is_settled() {
    let db = ledger();
    record_reply(&db, &"s".into(), &reply("a", 1), Ok(&address()), Timestamp(1)).expect("it is new");
    let first = claim(&db).expect("it is sent");
    try_later(&db, &first, Some(Timestamp(-5_000)), "no answer", Some(InDoubtPolicy::LookUp))
        .expect("on record");
    let second = claim(&db).expect("it is looked up");
    assert!(second.look_up);
    try_later(&db, &second, None, "not live", None).expect("it is parked");
    unpark(&db, "x", "main", InDoubtPolicy::LookUp, Timestamp(0)).expect("the adapter");
    assert!(claim(&db).expect("it goes on").look_up);
}

/// Agents choose the ids of their replies, and of what they answer.
#[test]
fn the_same_id_in_another_session_is_another_reply() {
    let db = ledger();
    db.execute_batch(
        "INSERT INTO sessions (id, agent_group_id, created_at, last_active) VALUES ('b', 'ag', 0, 0); \
         INSERT INTO messages_in (session_id, id, seq, kind, timestamp, status, \"trigger\", content, platform_message_id, \
         change) VALUES ('b', 'm', 2, 'chat', 0, 'pending', 1, '{}', 'of another', 1), \
         ('s', 'm', 2, 'chat', 0, 'pending', 1, '{}', 'its own', 1)",
    )
    .expect("it fills");
    let elsewhere = Address { platform_id: "d".into(), ..address() };
    for (session_id, to) in [("s", &address()), ("b", &elsewhere)] {
        let reply = MessageOut { in_reply_to: Some("m".into()), ..reply("a", 1) };
        assert!(record_reply(&db, &session_id.into(), &reply, Ok(to), Timestamp(1)).expect("it is new"));
    }
    let other = || {
        let sql = "SELECT state || ' ' || attempts || ' ' || possible_duplicate FROM deliveries WHERE session_id = 'b'";
        db.query_row(sql, [], |r| r.get::<_, String>(0)).expect("a row")
    };
    let first = claim(&db).expect("it is sent");
    assert_eq!((first.in_reply_to.as_deref(), other().as_str()), (Some("its own"), "pending 0 0"));
    unclaim(&db, &first).expect("it is given back");
    assert_eq!(other(), "pending 0 0");
    let first = claim(&db).expect("it is sent");
    may_double(&db, &first).expect("on record");
    try_later(&db, &first, None, "away", Some(InDoubtPolicy::MayDouble)).expect("it is parked");
    assert_eq!(other(), "pending 0 0");
    settle(&db, &first, Err("no"), Timestamp(3)).expect("it is settled");
    assert_eq!(other(), "pending 0 0");
}

/// Whatever became of the attempts after the one that may have arrived.
#[test]
fn who_may_have_been_sent_twice_stays_so_and_says_why() {
    let db = ledger();
    record_reply(&db, &"s".into(), &reply("a", 1), Ok(&address()), Timestamp(1)).expect("it is new");
    let first = claim(&db).expect("it is sent");
    try_later(&db, &first, Some(Timestamp(0)), "no answer", Some(InDoubtPolicy::MayDouble))
        .expect("on record");
    let second = claim(&db).expect("it is sent again");
    try_later(&db, &second, None, "not live", None).expect("it is parked");
    unpark(&db, "x", "main", InDoubtPolicy::SendAgain, Timestamp(0)).expect("the adapter");
    settle(&db, &claim(&db).expect("once more"), Ok(None), Timestamp(3)).expect("it is settled");
    assert_eq!(story(&db), ["a delivered 1"]);
    let why: String = db.query_row("SELECT last_error FROM deliveries", [], |r| r.get(0)).expect("a reason");
    assert_eq!(why, "not live");
}

/// The others are under way, or wait for another adapter.
#[test]
fn an_adapter_that_comes_to_life_moves_its_own_deliveries_only() {
    let db = ledger();
    let at = |channel: &str, account: &str, chat: &str| Address {
        channel_type: channel.into(),
        account: account.into(),
        platform_id: chat.into(),
        thread_id: None,
    };
    for (id, seq, to) in [
        ("parked", 1, at("x", "main", "c")),
        ("sent", 3, at("x", "main", "d")),
        ("account", 5, at("x", "other", "c")),
        ("channel", 7, at("y", "main", "c")),
    ] {
        record_reply(&db, &"s".into(), &reply(id, seq), Ok(&to), Timestamp(1)).expect("it is new");
        let Ok(Claim::Deliver(delivery)) = claim_next(&db, &to, None, Timestamp(2)) else { panic!("{id}") };
        if id != "sent" {
            try_later(&db, &delivery, None, "away", None).expect("it is parked");
        }
    }
    let later = MessageOut { deliver_after: Some("2999-01-01 00:00:00".into()), ..reply("later", 9) };
    record_reply(&db, &"s".into(), &later, Ok(&at("x", "main", "e")), Timestamp(1)).expect("it is new");
    let live = |can| unpark(&db, "x", "main", can, Timestamp(0)).expect("the adapter");
    let all = ["c", "d", "e"].map(|chat| at("x", "main", chat));
    assert_eq!(live(InDoubtPolicy::MayDouble), all);
    let rest = ["account parked 0", "channel parked 0", "later deferred 0"];
    assert_eq!(story(&db), [&["parked pending 0", "sent sending 0"], &rest[..]].concat());
    assert_eq!(mark_unknown(&db).expect("a crash"), 1);
    assert_eq!(story(&db), [&["parked pending 0", "sent unknown 0"], &rest[..]].concat());
    assert_eq!(live(InDoubtPolicy::MayDouble), all);
    assert_eq!(story(&db), [&["parked pending 0", "sent pending 1"], &rest[..]].concat());
    let open = open_addresses(&db, &"s".into()).expect("it answers");
    assert!(all.iter().all(|address| open.contains(address)) && open.len() == 3, "{open:?}");
}

#[test]
fn what_a_crash_cut_off_is_marked_by_what_the_channel_can() {
    let cases = [
        (InDoubtPolicy::SendAgain, "a sending 0", false),
        (InDoubtPolicy::MayDouble, "a sending 1", false),
        (InDoubtPolicy::LookUp, "a sending 0", true),
    ];
    for (can, want, look_up) in cases {
        let db = ledger();
        for (id, seq) in [("a", 1), ("b", 3)] {
            record_reply(&db, &"s".into(), &reply(id, seq), Ok(&address()), Timestamp(1)).expect("it is new");
        }
        claim(&db).expect("it is being sent");
        assert_eq!(mark_unknown(&db).expect("the crash"), 1);
        assert_eq!(claim(&db), None, "it waits for its adapter, and the next one for it");
        assert_eq!(unpark(&db, "x", "main", can, Timestamp(-1_000)).expect("the adapter"), [address()]);
        let again = claim(&db).expect("once more");
        assert_eq!(again.look_up, look_up, "{can:?}");
        assert_eq!(story(&db), [want, "b pending 0"]);
    }
}
