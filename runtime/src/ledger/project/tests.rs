use super::super::deliveries::tests::ledger;
use super::super::set_back::tests::Context;
use super::*;
use std::sync::Arc;

fn folder(context: &Context) -> SessionDir {
    context.home.session(&"ag".into(), &"s".into())
}

/// What the session's file shows of messages and of replies with these numbers.
fn shown(context: &Context, numbers: std::ops::Range<i64>) -> Vec<String> {
    let file = InboundWriter::look(&folder(context)).expect("it is there");
    let line = |number: i64| {
        let message = format!("m{number}");
        let status =
            file.status_of(&message).expect("it answers").map(|status| format!("{message} {status}"));
        let reply = format!("r{number}");
        let outcome = file.outcome_of(&reply).expect("it answers");
        status.or(outcome.map(|(status, id)| format!("{reply} {status} {}", id.unwrap_or_default())))
    };
    numbers.filter_map(line).collect()
}

#[test]
fn a_file_shows_what_the_ledger_has_and_loses_what_it_loses() {
    let (context, ledger) = (Context::new(), Ledger::default());
    context.sql(
        "INSERT INTO messages_in (session_id, id, seq, kind, timestamp, status, \"trigger\", content, change) VALUES \
         ('s', 'm2', 2, 'chat', 0, 'pending', 1, '{}', 1), ('s', 'm4', 4, 'chat', 0, 'completed', 1, '{}', 1), \
         ('s', 'm6', 6, 'chat', 0, 'failed', 1, '{}', 1); \
         INSERT INTO deliveries (session_id, message_out_id, seq, kind, content, state, taken_at, platform_message_id, \
         settled_at, change) VALUES ('s', 'r1', 1, 'chat', '', 'delivered', 0, 'p1', 1, 1), \
         ('s', 'r3', 3, 'chat', '', 'failed', 0, NULL, 1, 1), ('s', 'r5', 5, 'chat', '', 'dropped', 0, NULL, 1, 1), \
         ('s', 'r7', 7, 'chat', '', 'pending', 0, NULL, NULL, 0)",
    );
    context.changes(1);
    context.look(&ledger);
    let all = ["r1 delivered p1", "m2 pending", "r3 failed ", "m4 completed", "r5 failed ", "m6 failed"];
    assert_eq!(shown(&context, 1..9), all);

    let inbox = folder(&context).root().join("inbox/m4");
    std::fs::create_dir_all(&inbox).expect("a folder");
    context.sql(
        "DELETE FROM messages_in WHERE id = 'm4'; DELETE FROM deliveries WHERE message_out_id = 'r1'; \
         INSERT INTO pruned (session_id, change, what, name) \
         VALUES ('s', 3, 'message', 'm4'), ('s', 3, 'inbox', 'm4'), ('s', 3, 'delivered', 'r1'); \
         UPDATE deliveries SET state = 'pending', settled_at = NULL, change = 3 WHERE message_out_id = 'r3'",
    );
    context.changes(2);
    context.look(&ledger);
    // An operator opened r3 again.
    assert_eq!(shown(&context, 1..9), ["m2 pending", "r5 failed ", "m6 failed"]);
    assert!(!inbox.exists());
}

/// A runner of another make takes all that is due.
#[test]
fn of_suspects_the_file_shows_one_at_a_time() {
    let context = Context::new();
    context.sql(
        "INSERT INTO messages_in (session_id, id, seq, kind, timestamp, status, \"trigger\", content, change, suspect) \
         VALUES ('s', 'm2', 2, 'chat', 0, 'completed', 1, '{}', 1, 0), ('s', 'm4', 4, 'chat', 0, 'pending', 1, '{}', 1, 1), \
         ('s', 'm6', 6, 'chat', 0, 'pending', 1, '{}', 1, 1), ('s', 'm8', 8, 'chat', 0, 'completed', 1, '{}', 1, 0)",
    );
    context.changes(1);
    context.look(&Ledger::default());
    let pending = InboundWriter::look(&folder(&context)).and_then(|file| file.pending()).expect("it answers");
    let times: Vec<_> = pending.into_iter().map(|message| (message.id, message.process_after)).collect();
    assert_eq!(times, [("m4".to_owned(), None), ("m6".to_owned(), Some(suspects::NOT_SHOWN))]);
}

#[test]
fn destinations_are_written_when_they_or_the_sessions_chat_changed() {
    let db = ledger();
    db.execute_batch(
        "INSERT INTO agent_groups (id, name, folder, created_at) VALUES ('ag2', 'Helper', 'b', 0); \
         INSERT INTO messaging_groups (id, channel_type, account, platform_id, title, created_at) \
         VALUES ('mg', 'x', 'main', 'c', 'Chat', 0); \
         INSERT INTO destinations (agent_group_id, local_name, target_type, target_id, created_at) VALUES \
         ('ag', 'chat', 'channel', 'mg', 0), ('ag', 'helper', 'agent', 'ag2', 0), ('ag', 'gone', 'agent', 'ag9', 0), \
         ('ag2', 'boss', 'agent', 'ag', 0); \
         UPDATE agent_groups SET destinations_version = 7; \
         UPDATE sessions SET change = 5, routing_change = 3, messaging_group_id = 'mg', thread_id = 't'",
    )
    .expect("it fills");
    let wanted = wanted(&db, &"s".into()).expect("it answers").expect("it is there");
    for (change, destinations, is_written) in
        [(2, 7, true), (3, 7, false), (4, 7, false), (4, 6, true), (5, 8, true), (2, 6, true)]
    {
        let applied = Applied { change, destinations, is_current: true };
        let routes = |db: &ReadTxn, id: &SessionId| {
            Ok((crate::destinations::shown(db, &"ag".into())?, crate::sessions::routing(db, id)?))
        };
        let routing = changes(&db, &"s".into(), applied, &wanted, &routes).expect("it answers").routing;
        assert_eq!(routing.is_some(), is_written, "{change} {destinations}");
        let Some((places, own)) = routing else { continue };
        let line = |place: Destination| {
            let to = place.platform_id.or(place.agent_group_id).unwrap_or_default();
            format!("{} {} {} {to}", place.name, place.display_name.unwrap_or_default(), place.kind)
        };
        let places: Vec<String> = places.into_iter().map(line).collect();
        assert_eq!(places, ["chat Chat channel c", "helper Helper agent ag2"], "one is gone");
        let own =
            [own.channel_type, own.account, own.platform_id, own.thread_id].map(Option::unwrap_or_default);
        assert_eq!(own, ["x", "main", "c", "t"]);
    }
}

/// Writes into the session's file what no ledger has.
fn mark(context: &Context) {
    let mut file = InboundWriter::open(&folder(context)).expect("it opens");
    let Applied { change, destinations, .. } = file.applied().expect("it answers");
    let mark = Delivered {
        message_out_id: "r9".into(),
        platform_message_id: None,
        status: Settled::Delivered,
        delivered_at: Timestamp(0),
    };
    let marked = Projection {
        change,
        destinations,
        pruned_floor: 0,
        messages: vec![],
        delivered: vec![mark],
        pruned: Pruned::default(),
        routing: None,
    };
    file.apply(&marked).expect("it is written");
}

/// What the file lost cannot be known then. In all other cases it follows, also while a runner reads it.
#[test]
fn a_file_is_made_again_when_it_cannot_be_trusted_or_cannot_follow() {
    for (what, is_new_process, is_made_again) in [
        ("", false, false),
        ("", true, false),
        ("UPDATE sessions SET rebuild = 1", true, true),
        ("UPDATE sessions SET rebuild = 1, change = change + 1", false, false),
        ("UPDATE sessions SET change = change + 1", true, false),
        ("UPDATE sessions SET projected = change - 1", true, false),
        ("UPDATE sessions SET projected = change", true, false),
        // It was put back to an earlier state.
        ("UPDATE sessions SET change = change + 2, projected = change + 1", true, true),
    ] {
        let (context, mut ledger) = (Context::new(), Ledger::default());
        context.changes(3);
        context.look(&ledger);
        mark(&context);
        context.sql(what);
        if is_new_process {
            ledger = Ledger::default();
            context.sql("UPDATE sessions SET changed_by = 'another'");
        }
        assert!(matches!(context.look(&ledger), Looked::Projected(_)), "{what}");
        assert_eq!(shown(&context, 9..10).is_empty(), is_made_again, "{what} {is_new_process}");
    }
}

#[test]
fn what_the_files_show_is_written_down_and_trusted_in_this_boot_only() {
    let (context, ledger) = (Context::new(), Arc::new(Ledger::default()));
    let row = || {
        let sql = "SELECT projected || ' ' || rebuild || ' ' || COALESCE(boot_id, '-') FROM sessions";
        context.write(move |db| Ok(db.query_row(sql, [], |r| r.get::<_, String>(0))?))
    };
    let own = |figures: &str| format!("{figures} {}", crate::id::boot_id());
    let marks = || {
        let ledger = ledger.clone();
        context.write(move |db| ledger.write_marks(db));
    };
    context.changes(3);
    context.sql("UPDATE sessions SET rebuild = 1");
    marks();
    assert_eq!(row(), own("0 1"), "nothing was looked at");
    context.look(&ledger);
    assert_eq!(row(), own("0 1"));
    marks();
    let change: i64 = context.write(|db| Ok(db.query_row("SELECT change FROM sessions", [], |r| r.get(0))?));
    assert_eq!(row(), own(&format!("{change} 0")));
    context.write(distrust_other_boots);
    assert_eq!(row(), own(&format!("{change} 0")));
    context.sql("UPDATE sessions SET boot_id = 'another'");
    assert_eq!(context.write(distrust_other_boots), 1);
    assert_eq!(row(), own("0 1"));
    context.write(trust_files);
    assert_eq!(row(), "0 1 -");
    assert_eq!(context.write(distrust_other_boots), 0, "they were flushed");
    assert_eq!(row(), "0 1 -");
}

#[test]
fn what_is_known_of_a_file_is_forgotten_with_its_lane() {
    let (context, ledger) = (Context::new(), Ledger::default());
    let shows = |destinations| ledger.shows(&"s".into(), destinations);
    let destinations: i64 = context
        .write(|db| Ok(db.query_row("SELECT destinations_version FROM agent_groups", [], |r| r.get(0))?));
    assert!(!shows(destinations), "it was not looked at");
    context.look(&ledger);
    assert!(shows(destinations) && !shows(destinations + 1) && !ledger.shows(&"t".into(), destinations));
    ledger.forget(&"s".into());
    assert!(!shows(destinations));
}
