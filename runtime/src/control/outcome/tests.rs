use super::decide::of_one;
use super::*;

fn heard() -> Heard {
    Heard {
        agent: "ann".into(),
        session_id: "s".into(),
        quarantined: None,
        failing: None,
        again_at: None,
        wakes: true,
        pending: false,
        failed: false,
        failure: None,
        replies: vec![],
        earlier: 0,
    }
}

fn to(word: &str) -> To {
    match word {
        "here" => To::Here,
        "agent" => To::Agent(ReadBy::Unknown),
        "module" => To::Module,
        _ => To::Elsewhere { channel: "acme".into(), chat: "c".into() },
    }
}

fn reply(place: &str, state: &str) -> Reply {
    let error = (state != "new").then(|| "too long".into());
    let state = if state == "new" { State::Pending } else { State::named(state).expect("a state") };
    let due_at = (state == State::Deferred).then_some(crate::clock::Timestamp(1_000));
    Reply { to: to(place), seq: 0, state, error, is_old: false, due_at }
}

/// One whose replies go there, in these states.
fn with(replies: &[(&str, &str)]) -> Heard {
    let numbered = (1..).zip(replies);
    Heard {
        replies: numbered.map(|(seq, (place, state))| Reply { seq, ..reply(place, state) }).collect(),
        ..heard()
    }
}

fn given_up() -> Heard {
    Heard { failed: true, failure: Some("why".into()), ..heard() }
}

/// One that has written to another agent, where this became of it.
fn asked_another(other: Heard) -> Heard {
    let to =
        To::Agent(ReadBy::Session(Box::new(Heard { agent: "bob".into(), session_id: "t".into(), ..other })));
    Heard { replies: vec![Reply { to, ..reply("agent", "delivered") }], ..heard() }
}

fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Waiting { .. } => "waiting",
        Outcome::Answered { .. } => "answered",
        Outcome::Silent { .. } => "silent",
        Outcome::Failed { .. } => "failed",
    }
}

#[test]
fn what_one_session_says() {
    let old = Reply { is_old: true, ..reply("module", "parked") };
    let due = Reply { due_at: None, ..reply("here", "deferred") };
    for (case, one, want) in [
        ("it is worked on", Heard { pending: true, ..heard() }, "waiting"),
        ("nothing came", heard(), "silent"),
        ("no agent is woken", Heard { pending: true, wakes: false, ..heard() }, "silent"),
        ("in quarantine", Heard { pending: true, quarantined: Some("why".into()), ..heard() }, "failed"),
        ("in quarantine later", Heard { quarantined: Some("why".into()), ..heard() }, "silent"),
        ("given up", given_up(), "failed"),
        ("its turn failed, says its runner", Heard { failed: true, ..heard() }, "failed"),
        (
            "its turn failed, says its reply",
            Heard { failed: true, ..with(&[("here", "delivered")]) },
            "answered",
        ),
        ("answered", with(&[("here", "delivered")]), "answered"),
        ("on its way", with(&[("here", "sending")]), "waiting"),
        ("its adapter is away", with(&[("here", "parked")]), "waiting"),
        ("not delivered", with(&[("here", "failed")]), "failed"),
        ("refused", with(&[("away", "failed")]), "failed"),
        ("dropped", with(&[("here", "dropped")]), "failed"),
        ("later", with(&[("here", "deferred")]), "silent"),
        ("later, and its time has come", Heard { replies: vec![due], ..heard() }, "waiting"),
        ("later, to another agent", with(&[("agent", "deferred")]), "silent"),
        ("one later, one now", with(&[("here", "deferred"), ("here", "sending")]), "waiting"),
        ("one of two arrived", with(&[("here", "failed"), ("here", "delivered")]), "answered"),
        ("one of two goes on", with(&[("here", "failed"), ("here", "pending")]), "waiting"),
        ("another agent is asked", with(&[("agent", "sending")]), "waiting"),
        ("another agent was asked, and by that one others", with(&[("agent", "delivered")]), "waiting"),
        ("another agent thinks", asked_another(Heard { pending: true, ..heard() }), "waiting"),
        ("another agent is silent", asked_another(heard()), "silent"),
        ("another agent has no way back", asked_another(with(&[("away", "failed")])), "failed"),
        ("another agent was given up", asked_another(given_up()), "failed"),
        (
            "another agent is in quarantine",
            asked_another(Heard { pending: true, quarantined: Some("why".into()), ..heard() }),
            "failed",
        ),
        ("another agent answers here", asked_another(with(&[("here", "sending")])), "waiting"),
        ("another agent has answered here", asked_another(with(&[("here", "delivered")])), "answered"),
        (
            "agents ask each other, one thinks",
            asked_another(asked_another(Heard { pending: true, ..heard() })),
            "waiting",
        ),
        (
            "agents ask each other too often",
            asked_another(asked_another(with(&[("agent", "failed")]))),
            "failed",
        ),
        ("a module was asked", with(&[("module", "delivered")]), "silent"),
        ("its module starts", with(&[("module", "parked")]), "waiting"),
        ("its module is away", Heard { replies: vec![old], ..heard() }, "failed"),
        ("an agent may answer", with(&[("agent", "delivered"), ("away", "parked")]), "waiting"),
        ("it goes elsewhere", with(&[("away", "new")]), "waiting"),
        ("it went elsewhere", with(&[("away", "delivered")]), "silent"),
        ("parked elsewhere", with(&[("away", "parked")]), "failed"),
        ("in doubt elsewhere", with(&[("away", "unknown")]), "failed"),
        ("tried again elsewhere", with(&[("away", "pending")]), "failed"),
        ("later, elsewhere", with(&[("away", "deferred")]), "silent"),
        ("held elsewhere", with(&[("away", "held")]), "failed"),
        ("held here", with(&[("here", "held")]), "failed"),
        ("one elsewhere, one here", with(&[("away", "parked"), ("here", "sending")]), "waiting"),
        ("one elsewhere, one given up", with(&[("away", "delivered"), ("here", "failed")]), "failed"),
        ("asked, then answered", with(&[("agent", "delivered"), ("here", "delivered")]), "answered"),
    ] {
        assert_eq!(word(&of_one(&one, 0)), want, "{case}");
    }
}

#[test]
fn the_time_of_a_later_reply_is_told() {
    for (place, want) in [
        (
            "here",
            "here at 1970-01-01T00:00:01.000Z; a `vestibule chat` that is open in a terminal then prints it",
        ),
        ("agent", "to another agent at 1970-01-01T00:00:01.000Z; `vestibule delivery list` shows it"),
        ("away", "to c on acme at 1970-01-01T00:00:01.000Z; `vestibule delivery list` shows it"),
    ] {
        let one = Heard { replies: vec![reply(place, "deferred")], ..heard() };
        let want = format!("the reply of ann goes {want}");
        assert_eq!(of_one(&one, 0), Outcome::Silent { reasons: vec![want] });
    }
}

#[test]
fn what_several_sessions_say_together() {
    let waits = || Heard { pending: true, ..heard() };
    let answers = || with(&[("here", "delivered")]);
    assert_eq!(decide(&[], 0), None);
    for (sessions, want) in [
        (vec![heard(), waits()], "waiting"),
        (vec![given_up(), waits()], "waiting"),
        (vec![waits(), answers()], "answered"),
        (vec![heard(), heard()], "silent"),
        (vec![heard(), given_up()], "failed"),
    ] {
        assert_eq!(word(&decide(&sessions, 0).expect("heard")), want);
    }
}

/// A terminal that has heard a reply waits for those that come with it, and for nothing else.
#[test]
fn what_comes_after_the_first_reply() {
    let says = |states: &[&str]| with(&states.iter().map(|state| ("here", *state)).collect::<Vec<_>>());
    let bob = |heard| Heard { session_id: "t".into(), agent: "bob".into(), ..heard };
    let waiting = || Outcome::Waiting { reasons: vec![] };
    let both = |other| {
        let replies = [says(&["delivered"]).replies, asked_another(other).replies].concat();
        Heard { replies, ..heard() }
    };
    let answered = |replies| Outcome::Answered { replies, reasons: vec![] };
    let all_the_same = |replies, why: &str| Outcome::Answered { replies, reasons: vec![why.to_owned()] };
    for (case, sessions, had, want) in [
        ("the only one, not on record yet", vec![says(&["sending"])], 1, answered(1)),
        ("the only one", vec![says(&["delivered"])], 1, answered(1)),
        ("one is being sent", vec![says(&["delivered", "sending"])], 1, waiting()),
        ("one waits for its turn", vec![says(&["sending", "new", "new"])], 2, waiting()),
        ("all were sent, and not all heard", vec![says(&["delivered", "delivered"])], 1, answered(2)),
        ("all were heard", vec![says(&["delivered", "sending"])], 2, answered(2)),
        (
            "the second was given up",
            vec![says(&["delivered", "failed"])],
            1,
            all_the_same(1, "the reply of ann could not be delivered: too long"),
        ),
        (
            "its turn failed",
            vec![Heard { failed: true, ..says(&["delivered"]) }],
            1,
            all_the_same(1, "the turn of ann failed"),
        ),
        ("the second is for later", vec![says(&["delivered", "deferred"])], 1, answered(1)),
        ("its turn is not over", vec![Heard { pending: true, ..says(&["delivered"]) }], 1, waiting()),
        (
            "another agent thinks",
            vec![says(&["delivered"]), bob(Heard { pending: true, ..heard() })],
            1,
            waiting(),
        ),
        ("another agent is silent", vec![says(&["delivered"]), bob(heard())], 1, answered(1)),
        (
            "another agent was given up",
            vec![says(&["delivered"]), bob(given_up())],
            1,
            all_the_same(1, "bob could not answer: why"),
        ),
        (
            "it has answered, and asked another agent",
            vec![both(Heard { pending: true, ..heard() })],
            1,
            waiting(),
        ),
        (
            "it has answered, and asks another agent",
            vec![with(&[("here", "delivered"), ("agent", "sending")])],
            1,
            waiting(),
        ),
        ("it has answered, and the other agent is silent", vec![both(heard())], 1, answered(1)),
        (
            "an agent that was asked answers, too",
            vec![says(&["delivered"]), asked_another(says(&["delivered"]))],
            1,
            answered(2),
        ),
        (
            "it hears of it again",
            vec![
                Heard { session_id: "t".into(), ..says(&["delivered"]) },
                asked_another(says(&["delivered"])),
            ],
            1,
            answered(1),
        ),
        (
            "very many, the first of which are heard",
            vec![Heard { earlier: 500, ..says(&["sending"]) }],
            400,
            waiting(),
        ),
        ("very many, all sent", vec![Heard { earlier: 500, ..says(&["delivered"]) }], 400, answered(501)),
        ("another agent answers", vec![says(&["delivered"]), bob(says(&["sending"]))], 1, waiting()),
    ] {
        assert_eq!(decide(&sessions, had), Some(want), "{case}");
    }
}

#[test]
fn a_person_who_waits_is_told_what_fails() {
    let fails = |again_at| Heard { pending: true, failing: Some("it died".into()), again_at, ..heard() };
    for (one, want) in [
        (Heard { pending: true, ..heard() }, None),
        (fails(None), Some("ann could not answer yet, and is tried again: it died")),
        (
            fails(Some(Timestamp(1_000))),
            Some("ann could not answer yet, and is tried again at 1970-01-01T00:00:01.000Z: it died"),
        ),
        (asked_another(fails(None)), Some("bob could not answer yet, and is tried again: it died")),
    ] {
        let reasons: Vec<String> = want.into_iter().map(str::to_owned).collect();
        assert_eq!(decide(&[one], 0), Some(Outcome::Waiting { reasons }));
    }
}

#[test]
fn what_the_ledger_knows_of_a_message() {
    let db = crate::db::in_memory();
    db.execute_batch(
        "INSERT INTO agent_groups (id, name, folder, created_at) VALUES ('ag', 'ann', 'a', 0), ('b', 'bob', 'b', 0); \
         INSERT INTO messaging_groups (id, channel_type, account, platform_id, created_at) VALUES ('g', 'terminal', 'main', 'local', 0); \
         INSERT INTO wirings (id, messaging_group_id, agent_group_id, engage_mode, session_mode, ignored_message_policy, \
         created_at) VALUES ('w', 'g', 'ag', 'pattern', 'shared', 'drop', 0), ('x', 'g', 'b', 'pattern', 'agent-shared', 'drop', 0); \
         INSERT INTO sessions (id, agent_group_id, messaging_group_id, created_at, last_active) \
         VALUES ('s', 'ag', 'g', 0, 0), ('t', 'b', NULL, 0, 0); \
         INSERT INTO messages_in (session_id, id, seq, kind, timestamp, status, \"trigger\", content, change, settled_at) VALUES \
         ('s', '1:ag', 2, 'chat', 50, 'completed', 1, '', 5, 90), ('s', '2:ag', 4, 'chat', 50, 'completed', 1, '', 5, 90), \
         ('s', '0:ag', 1, 'chat', 0, 'completed', 1, '', 3, 10), ('t', '1:b', 2, 'chat', 0, 'pending', 0, '', 5, NULL), \
         ('t', 'a2a-1', 4, 'chat', 0, 'failed', 1, '', 6, 90); \
         INSERT INTO deliveries (session_id, message_out_id, seq, in_reply_to, kind, channel_type, account, platform_id, \
         thread_id, content, state, taken_at, platform_message_id) VALUES \
         ('s', 'before', 1, '1:ag', 'chat', 'terminal', 'main', 'local', 'tty', '', 'delivered', 0, NULL), \
         ('s', 'here', 7, '9:ag', 'chat', 'terminal', 'main', 'local', 'tty', '', 'delivered', 0, NULL), \
         ('s', 'batch', 9, '2:ag', 'chat', 'agent', 'main', 'b', NULL, '', 'pending', 0, NULL), \
         ('s', 'other', 11, '0:ag', 'chat', 'terminal', 'main', 'local', 'other', '', 'parked', 0, NULL), \
         ('s', 'bare', 13, NULL, '', NULL, NULL, NULL, NULL, '', 'failed', 70, NULL), \
         ('s', 'between', 14, NULL, '', NULL, NULL, NULL, NULL, '', 'failed', 40, NULL), \
         ('s', 'read', 15, '2:ag', 'chat', 'agent', 'main', 'b', NULL, '', 'delivered', 0, 'a2a-1'), \
         ('s', 'gone', 17, '2:ag', 'chat', 'agent', 'main', 'b', NULL, '', 'delivered', 0, 'a2a-0'), \
         ('s', 'roll', 19, '2:ag', 'system', 'action', 'main', 'roll', NULL, '', 'delivered', 0, NULL), \
         ('t', 'bobs', 5, 'a2a-1', 'chat', 'terminal', 'main', 'local', 'tty', '', 'delivered', 0, NULL)",
    )
    .expect("it fills");
    let asked = Asked {
        channel: "terminal".into(),
        account: main(),
        chat: "local".into(),
        thread: Some("tty".into()),
        message: "1".into(),
        had: 0,
        waited: false,
    };
    let mut found = load(&db, &asked).expect("it loads");
    found.sort_by(|one, other| one.session_id.cmp(&other.session_id));
    let [ann, bob] = found.as_slice() else { panic!("{} sessions", found.len()) };
    let place = |to: &To| match to {
        To::Here => "here",
        To::Agent(ReadBy::Unknown) => "agent",
        To::Agent(ReadBy::Session(_)) => "read",
        To::Agent(ReadBy::Gone) => "gone",
        To::Module => "module",
        To::Elsewhere { .. } => "away",
    };
    let seen: Vec<_> = ann.replies.iter().map(|reply| (place(&reply.to), reply.state.as_str())).collect();
    let delivered = |place| (place, "delivered");
    let unread = [delivered("here"), ("agent", "pending"), ("away", "failed")];
    assert_eq!(seen, [unread.as_slice(), &["read", "gone", "module"].map(delivered)].concat());
    let To::Agent(ReadBy::Session(read)) = &ann.replies[3].to else { panic!("not read") };
    assert_eq!((read.agent.as_str(), read.failed, read.pending), ("bob", true, false));
    assert_eq!(read.replies.iter().map(|reply| place(&reply.to)).collect::<Vec<_>>(), ["here"]);
    assert_eq!((ann.agent.as_str(), ann.pending, ann.wakes), ("ann", false, true));
    assert_eq!((bob.agent.as_str(), bob.pending, bob.wakes, bob.replies.len()), ("bob", true, false, 0));
    let other = load(&db, &Asked { message: "3".into(), ..asked }).expect("it loads");
    assert!(other.is_empty());
}

/// A runner names the message that it heard last from where a reply goes: that may be one of long ago.
#[test]
fn a_reply_of_the_turn_may_name_another_message() {
    let db = crate::db::in_memory();
    db.execute_batch(
        "INSERT INTO agent_groups (id, name, folder, created_at) VALUES ('ag', 'ann', 'a', 0); \
         INSERT INTO messaging_groups (id, channel_type, account, platform_id, created_at) VALUES ('g', 'terminal', 'main', 'local', 0); \
         INSERT INTO wirings (id, messaging_group_id, agent_group_id, engage_mode, session_mode, ignored_message_policy, \
         created_at) VALUES ('w', 'g', 'ag', 'pattern', 'shared', 'drop', 0); \
         INSERT INTO sessions (id, agent_group_id, messaging_group_id, created_at, last_active) VALUES ('s', 'ag', 'g', 0, 0); \
         INSERT INTO messages_in (session_id, id, seq, kind, timestamp, status, \"trigger\", content, change, settled_at) VALUES \
         ('s', 'far', 2, 'chat', 0, 'completed', 1, '', 5, 100), ('s', '1:ag', 4, 'chat', 0, 'completed', 1, '', 7, 200), \
         ('s', 'after', 6, 'chat', 0, 'completed', 1, '', 9, 300); \
         INSERT INTO deliveries (session_id, message_out_id, seq, in_reply_to, kind, channel_type, account, platform_id, \
         thread_id, content, state, taken_at) VALUES \
         ('s', 'before', 5, 'far', 'chat', 'acme', 'main', 'before', NULL, '', 'delivered', 100), \
         ('s', 'its', 7, 'far', 'chat', 'acme', 'main', 'its', NULL, '', 'delivered', 200), \
         ('s', 'next', 9, 'far', 'chat', 'acme', 'main', 'next', NULL, '', 'delivered', 300)",
    )
    .expect("it fills");
    let asked = Asked {
        channel: "terminal".into(),
        account: main(),
        chat: "local".into(),
        thread: None,
        message: "1".into(),
        had: 0,
        waited: false,
    };
    let outcome = decide(&load(&db, &asked).expect("it loads"), 0);
    let reasons = vec!["ann has answered to its on acme, and not here".to_owned()];
    assert_eq!(outcome, Some(Outcome::Silent { reasons }));
}

/// A message has a lower number than earlier replies when its agent answered more often than it was asked.
#[test]
fn the_newest_replies_are_those_of_the_message() {
    let db = crate::db::in_memory();
    db.execute_batch(
        "INSERT INTO agent_groups (id, name, folder, created_at) VALUES ('ag', 'ann', 'a', 0); \
         INSERT INTO messaging_groups (id, channel_type, account, platform_id, created_at) VALUES ('g', 'terminal', 'main', 'local', 0); \
         INSERT INTO wirings (id, messaging_group_id, agent_group_id, engage_mode, session_mode, ignored_message_policy, \
         created_at) VALUES ('w', 'g', 'ag', 'pattern', 'shared', 'drop', 0); \
         INSERT INTO sessions (id, agent_group_id, messaging_group_id, created_at, last_active) VALUES ('s', 'ag', 'g', 0, 0); \
         INSERT INTO messages_in (session_id, id, seq, kind, timestamp, status, \"trigger\", content, change) VALUES \
         ('s', '1:ag', 4, 'chat', 0, 'completed', 1, '', 5)",
    )
    .expect("it fills");
    let replies = |from: i64, count: i64, thread: &str| {
        db.execute(
            "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < ?2 - 1) \
             INSERT INTO deliveries (session_id, message_out_id, seq, in_reply_to, kind, channel_type, account, platform_id, \
             thread_id, content, state, taken_at) SELECT 's', ?3 || i, ?1 + 2 * i, '0:ag', 'chat', 'terminal', 'main', \
             'local', ?3, '', 'delivered', 0 FROM n",
            params![from, count, thread],
        )
        .expect("replies");
    };
    let asked = |thread: &str| Asked {
        channel: "terminal".into(),
        account: main(),
        chat: "local".into(),
        thread: Some(thread.into()),
        message: "1".into(),
        had: 0,
        waited: false,
    };
    replies(5, 3_000, "earlier");
    replies(7_001, 5, "few");
    let seen = |thread: &str| decide(&load(&db, &asked(thread)).expect("it loads"), 1).expect("a session");
    assert_eq!(seen("few"), Outcome::Answered { replies: 5, reasons: vec![] });
    replies(8_001, 1_500, "many");
    assert_eq!(seen("many"), Outcome::Answered { replies: 1_500, reasons: vec![] });
}
