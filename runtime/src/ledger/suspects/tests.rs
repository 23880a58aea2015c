use super::*;
use crate::db::migrate;
use crate::db::{ReadTxn, WriteTxn};
use crate::ledger::SessionCounts;

const NOW: Timestamp = Timestamp(1_000_000);

/// A session `s`, and rows of it: number, whether it wakes, and from when.
fn session(rows: &[(i64, bool, Option<i64>)]) -> WriteTxn<'static> {
    #[allow(clippy::disallowed_methods, reason = "a test's own database")]
    let mut db = rusqlite::Connection::open_in_memory().expect("it opens");
    migrate::to_latest(&mut db).expect("it migrates");
    db.execute_batch(
        "INSERT INTO agent_groups (id, name, folder, created_at) VALUES ('ag', 'a', 'a', 0); \
         INSERT INTO sessions (id, agent_group_id, created_at, last_active) VALUES ('s', 'ag', 0, 0)",
    )
    .expect("it fills");
    for (seq, trigger, process_after) in rows {
        let sql = "INSERT INTO messages_in (session_id, id, seq, kind, timestamp, status, process_after, \"trigger\", \
                   channel_type, account, platform_id, content, change) \
                   VALUES ('s', ?1, ?2, 'chat', 0, 'pending', ?3, ?4, 'x', 'main', 'c', '{}', 1)";
        db.execute(sql, params![format!("m{seq}"), seq, process_after, trigger]).expect("a row");
    }
    WriteTxn::of_test(db)
}

fn message(seq: i64) -> (i64, bool, Option<i64>) {
    (seq, true, None)
}

/// The numbers of the rows that a runner is shown and that are due at this time.
fn shown(db: &ReadTxn, now: Timestamp) -> Vec<i64> {
    let shown = Shown::of(db, &"s".into()).expect("it answers");
    let sql = "SELECT seq, \"trigger\", process_after FROM messages_in WHERE status = 'pending' ORDER BY seq";
    let mut statement = db.prepare(sql).expect("it is SQL");
    let rows = statement.query_map([], |r| {
        Ok((r.get::<_, i64>(0)?, r.get::<_, bool>(1)?, r.get::<_, Option<i64>>(2)?.map(Timestamp)))
    });
    let rows: Vec<_> = rows.expect("it runs").map(|row| row.expect("a row")).collect();
    let is_due = |(seq, trigger, after): &(i64, bool, Option<Timestamp>)| {
        shown.process_after(*seq, *trigger, *after).is_none_or(|at| at <= now)
    };
    rows.iter().filter(|row| is_due(row)).map(|(seq, ..)| *seq).collect()
}

fn fail(db: &WriteTxn, claims: &[i64], now: Timestamp) -> Tried {
    let claims = claims.iter().map(|seq| format!("m{seq}")).collect();
    count_tries(db, &"s".into(), &claims, "it died", now).expect("it counts")
}

fn answer(db: &WriteTxn, seq: i64) {
    let change = bump(db, &"s".into()).expect("it answers").expect("the session");
    let sql =
        "UPDATE messages_in SET status = 'completed', change = ?2 WHERE seq = ?1 AND status = 'pending'";
    assert_eq!(db.execute(sql, [seq, change]).expect("it runs"), 1);
    after_settling(db, &"s".into(), change).expect("it runs");
}

fn one<T: rusqlite::types::FromSql>(db: &ReadTxn, sql: &str) -> T {
    db.query_row(sql, [], |r| r.get(0)).expect("one value")
}

/// When every wait is over.
fn later(now: Timestamp) -> Timestamp {
    Timestamp(now.0 + 3_600_000)
}

/// With many that wait, each answer would cost as much as all of them.
/// A runner that gives way keeps what it has taken, and the next run is shown all.
#[test]
fn a_runner_that_gives_way_is_shown_no_more() {
    let db = session(&[(2, true, None), (4, false, None), (6, true, Some(NOW.0 + 5))]);
    let times = |db: &WriteTxn| {
        let shown = Shown::of(db, &"s".into()).expect("it answers");
        [(2, true, None), (4, false, None), (6, true, Some(Timestamp(NOW.0 + 5)))]
            .map(|(seq, trigger, at)| shown.process_after(seq, trigger, at))
    };
    let change = |db: &WriteTxn| -> i64 {
        db.query_row("SELECT MIN(change) FROM messages_in WHERE status = 'pending'", [], |r| r.get(0))
            .expect("rows")
    };
    let (before, all) = (change(&db), times(&db));
    show_again(&db, &"s".into()).expect("nothing to do");
    assert_eq!((change(&db), times(&db)), (before, all));
    show_no_more(&db, &"s".into()).expect("on record");
    assert_eq!(times(&db), [Some(NOT_SHOWN); 3]);
    assert!(change(&db) > before, "all are written anew");
    let it = seen(&db, &"s".into(), true, false).expect("it answers");
    assert_eq!(
        (it.due, it.due_while_running),
        (Some(Timestamp(0)), None),
        "the next run has something to do"
    );
    let narrowed = change(&db);
    show_again(&db, &"s".into()).expect("on record");
    assert_eq!(times(&db), all);
    assert!(change(&db) > narrowed);
    assert!(seen(&db, &"s".into(), true, false).expect("it answers").due_while_running.is_some());
}

#[test]
fn after_an_answer_only_what_is_shown_next_is_written_anew() {
    let mut rows: Vec<_> = (1..=40).map(|number| message(2 * number)).collect();
    rows.insert(2, (5, false, None)); // context of the third
    let db = session(&rows);
    fail(&db, &[], NOW);
    let written = |db: &ReadTxn| {
        let sql = "SELECT group_concat(seq) FROM (SELECT seq FROM messages_in \
                   WHERE status = 'pending' AND change = (SELECT change FROM sessions) ORDER BY seq)";
        one::<Option<String>>(db, sql).unwrap_or_default()
    };
    answer(&db, 2);
    assert_eq!(written(&db), "4");
    answer(&db, 4);
    assert_eq!(written(&db), "5,6");
    // The last suspect is settled: everything is shown again.
    db.execute_batch("UPDATE messages_in SET suspect = 0, process_after = NULL WHERE seq > 6")
        .expect("it runs");
    answer(&db, 6);
    assert_eq!(written(&db).split(',').count(), 38);
}

#[test]
fn after_a_death_messages_are_shown_one_at_a_time_in_the_order_in_which_they_came() {
    let db = session(&[message(2), message(4), message(6)]);
    assert_eq!(shown(&db, NOW), [2, 4, 6]);
    assert_eq!(fail(&db, &[], NOW).count, 3);
    assert_eq!(shown(&db, NOW), [] as [i64; 0], "each waits before its next try");
    let now = later(NOW);
    assert_eq!(shown(&db, now), [2]);
    db.execute_batch(
        "INSERT INTO messages_in (session_id, id, seq, kind, timestamp, status, \"trigger\", content, change) \
         VALUES ('s', 'm8', 8, 'chat', 0, 'pending', 1, '{}', 1)",
    )
    .expect("a new one");
    assert_eq!(shown(&db, now), [2], "a new one does not overtake");
    for (answered, then) in [(2, vec![4]), (4, vec![6]), (6, vec![8])] {
        answer(&db, answered);
        assert_eq!(shown(&db, now), then);
    }
}

#[test]
fn only_the_message_that_kills_its_runner_is_given_up() {
    let db = session(&[message(2), message(4), message(6), message(8), message(10)]);
    let mut now = NOW;
    let mut waits = Vec::new();
    assert_eq!(fail(&db, &[2, 4, 6, 8, 10], now).count, 5);
    while one::<i64>(&db, "SELECT COUNT(*) FROM messages_in WHERE status = 'pending'") > 0 {
        let seen = seen(&db, &"s".into(), false, false).expect("it answers");
        let due = seen.due.expect("something is due");
        waits.push(due.0 - now.0);
        now = Timestamp(now.0.max(due.0));
        let now_shown = shown(&db, now);
        assert_eq!(now_shown.len(), 1, "{now_shown:?}");
        if now_shown == [6] {
            let tried = fail(&db, &[6], now);
            assert_eq!(tried.count, 1);
            let given_up: Vec<&str> = tried.given_up.iter().map(|message| message.id.as_str()).collect();
            assert!(given_up.is_empty() || given_up == ["m6"]);
        } else {
            answer(&db, now_shown[0]);
        }
    }
    let story: String =
        one(&db, "SELECT group_concat(seq || ' ' || status || ' ' || tries, ', ') FROM messages_in");
    assert_eq!(story, "10 completed 1, 2 completed 1, 4 completed 1, 6 failed 6, 8 completed 1");
    // The first wait is that of all; then the one that fails waits twice as long each time.
    assert_eq!(
        waits.iter().filter(|wait| **wait > 0).collect::<Vec<_>>(),
        [&5_000, &10_000, &20_000, &40_000, &80_000]
    );
    assert_eq!(
        one::<Option<String>>(&db, "SELECT failure FROM messages_in WHERE seq = 6").as_deref(),
        Some("it died")
    );
    assert_eq!(
        one::<Option<String>>(&db, "SELECT failing FROM sessions"),
        None,
        "others were answered since"
    );
}

#[test]
fn claims_say_over_which_messages_a_runner_died() {
    let db = session(&[message(2), message(4), message(6)]);
    assert_eq!(fail(&db, &[4], NOW).count, 1);
    assert_eq!(shown(&db, NOW), [2], "what came before it is shown alone, too");
    answer(&db, 2);
    assert_eq!(shown(&db, NOW), [] as [i64; 0]);
    assert_eq!(shown(&db, later(NOW)), [4]);
    answer(&db, 4);
    assert_eq!(shown(&db, NOW), [6], "nothing tried is left: all are shown");
    assert_eq!(fail(&db, &[99], NOW).count, 1, "claims of what is not there say nothing");
}

#[test]
fn context_goes_with_the_message_after_it() {
    let context = |seq| (seq, false, None);
    let db = session(&[context(2), message(4), context(6), message(8), context(10)]);
    fail(&db, &[], NOW);
    let now = later(NOW);
    assert_eq!(shown(&db, now), [2, 4]);
    let mut now = now;
    for _ in 0..4 {
        assert!(fail(&db, &[4], now).given_up.is_empty());
        now = later(now);
    }
    assert_eq!(fail(&db, &[4], now).given_up.len(), 1, "with the sixth try");
    let status = |seq: i64| one::<String>(&db, &format!("SELECT status FROM messages_in WHERE seq = {seq}"));
    assert_eq!([status(2), status(4), status(6)], ["failed", "failed", "pending"]);
    assert_eq!(shown(&db, later(now)), [6, 8]);
}

#[test]
fn tasks_wait_until_what_was_tried_is_settled() {
    let db = session(&[(2, true, Some(NOW.0 + 60_000)), message(4), message(6)]);
    fail(&db, &[4], NOW);
    let now = later(NOW);
    assert_eq!(shown(&db, now), [4], "also when its time has come: two would be shown at once");
    answer(&db, 4);
    assert_eq!(shown(&db, now), [2, 6]);
    assert_eq!(
        fail(&session(&[(2, true, Some(later(NOW).0))]), &[2], NOW).count,
        0,
        "what is not due was not tried"
    );
}

#[test]
fn what_was_shown_as_not_due_is_written_again_when_that_changes() {
    let db = session(&[message(2), message(4)]);
    let touched =
        |change: i64| one::<i64>(&db, &format!("SELECT COUNT(*) FROM messages_in WHERE change > {change}"));
    let change = || one::<i64>(&db, "SELECT change FROM sessions");
    let before = change();
    fail(&db, &[2], NOW);
    assert_eq!(touched(before), 2, "the second is not shown any more");
    let before = change();
    answer(&db, 2);
    assert_eq!(touched(before), 2, "and now it is");
    let before = change();
    answer(&db, 4);
    assert_eq!(touched(before), 1, "usually only what was answered is written");
}

#[test]
fn the_end_of_time_can_be_read() {
    let written = vestibule_session::format_time(NOT_SHOWN);
    assert_eq!(vestibule_session::parse_time(&written), Some(NOT_SHOWN), "{written}");
}

/// As in a folder that was taken over: tries elsewhere say nothing about a run here.
#[test]
fn tries_that_were_counted_elsewhere_make_no_suspect() {
    let db = session(&[(2, true, Some(later(NOW).0)), message(4)]);
    db.execute("UPDATE messages_in SET tries = 1", []).expect("it runs");
    assert_eq!(shown(&db, NOW), [4], "a task of next year keeps no message waiting");
}

#[test]
fn another_agent_begins_anew() {
    let db = session(&[message(2), message(4)]);
    fail(&db, &[], NOW);
    forgive(&db, &"s".into()).expect("it runs");
    assert_eq!(shown(&db, NOW), [2, 4]);
    assert_eq!(one::<i64>(&db, "SELECT MAX(tries) FROM messages_in"), 0);
}

#[test]
fn an_operator_has_what_failed_tried_at_once_or_given_up() {
    let db = session(&[message(2), (3, false, None), message(4), message(6)]);
    fail(&db, &[2, 4], NOW);
    assert_eq!(shown(&db, NOW), [0; 0]);
    try_at_once(&db, &"s".into()).expect("it runs");
    assert_eq!(shown(&db, NOW), [2], "one at a time, as before");
    assert_eq!(one::<i64>(&db, "SELECT MAX(tries) FROM messages_in"), 1);
    let given_up = give_up_suspects(&db, &"s".into(), "spoils", NOW).expect("it runs");
    assert_eq!(given_up.iter().map(|message| message.id.as_str()).collect::<Vec<_>>(), ["m2", "m4"]);
    assert!(given_up[0].address.is_some(), "its chat can be told");
    assert_eq!(shown(&db, NOW), [6], "its context went with it");
    assert!(give_up_suspects(&db, &"s".into(), "spoils", NOW).expect("it runs").is_empty());
    assert_eq!(one::<String>(&db, "SELECT failure FROM messages_in WHERE seq = 4"), "spoils");
}

#[test]
fn a_session_is_counted_in_one_state() {
    let db = session(&[message(2)]);
    let counts = |db: &WriteTxn| crate::ledger::session_counts(db, NOW).expect("it counts");
    let want = SessionCounts { total: 1, running: 0, waiting: 0, failing: 0, quarantined: 0 };
    assert_eq!(counts(&db), SessionCounts { waiting: 1, ..want });
    db.execute("UPDATE sessions SET running = 1", []).expect("it runs");
    assert_eq!(counts(&db), SessionCounts { running: 1, ..want });
    fail(&db, &[], NOW);
    assert_eq!(counts(&db), SessionCounts { failing: 1, ..want });
    assert_eq!(next_try(&db, &"s".into()).expect("it answers"), Some((1, Some(Timestamp(NOW.0 + RETRY_MS)))));
    db.execute("UPDATE sessions SET quarantined = 'x'", []).expect("it runs");
    assert_eq!(counts(&db), SessionCounts { quarantined: 1, ..want });
}

#[test]
fn what_is_tried_next_is_told_also_after_one_was_given_up() {
    let db = session(&[message(2), message(4)]);
    let next = || next_try(&db, &"s".into()).expect("it answers");
    let (mut now, mut given_up) = (NOW, 0);
    fail(&db, &[], now);
    while given_up == 0 {
        now = later(now);
        given_up = fail(&db, &[2], now).given_up.len();
    }
    assert_eq!(next(), Some((1, Some(Timestamp(NOW.0 + RETRY_MS)))), "the other one waits for its turn");
    while one::<i64>(&db, "SELECT COUNT(*) FROM messages_in WHERE status = 'pending'") > 0 {
        now = later(now);
        fail(&db, &[4], now);
    }
    assert_eq!(next(), Some((6, None)), "nothing waits");
    db.execute_batch(
        "INSERT INTO messages_in (session_id, id, seq, kind, timestamp, status, \"trigger\", content, change) \
         VALUES ('s', 'm6', 6, 'chat', 0, 'pending', 1, '{}', 1)",
    )
    .expect("a new one");
    assert_eq!(next(), None, "it was not tried yet");
}
