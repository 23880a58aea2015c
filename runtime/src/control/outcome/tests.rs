use super::*;

fn heard() -> Heard {
    Heard {
        agent: "ann".into(),
        session_id: "s".into(),
        quarantined: None,
        wakes: true,
        pending: false,
        failure: None,
        replies: vec![],
    }
}

fn reply(here: bool, state: &str) -> Reply {
    Reply { here, state: state.into(), error: Some("too long".into()) }
}

fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Waiting => "waiting",
        Outcome::Answered => "answered",
        Outcome::Silent(_) => "silent",
        Outcome::Failed(_) => "failed",
    }
}

#[test]
fn what_one_session_says() {
    let with = |replies: &[(bool, &str)]| Heard {
        replies: replies.iter().map(|(here, state)| reply(*here, state)).collect(),
        ..heard()
    };
    for (case, one, want) in [
        ("it is worked on", Heard { pending: true, ..heard() }, "waiting"),
        ("nothing came", heard(), "silent"),
        ("nobody is woken", Heard { pending: true, wakes: false, ..heard() }, "silent"),
        ("in quarantine", Heard { pending: true, quarantined: Some("why".into()), ..heard() }, "failed"),
        ("in quarantine later", Heard { quarantined: Some("why".into()), ..heard() }, "silent"),
        ("given up", Heard { failure: Some("why".into()), ..heard() }, "failed"),
        ("answered", with(&[(true, "delivered")]), "answered"),
        ("on its way", with(&[(true, "sending")]), "waiting"),
        ("its adapter is away", with(&[(true, "parked")]), "waiting"),
        ("not delivered", with(&[(true, "failed")]), "failed"),
        ("refused", with(&[(false, "failed")]), "failed"),
        ("dropped", with(&[(true, "dropped")]), "failed"),
        ("deferred", with(&[(true, "deferred")]), "waiting"),
        ("one of two arrived", with(&[(true, "failed"), (true, "delivered")]), "answered"),
        ("one of two goes on", with(&[(true, "failed"), (true, "pending")]), "waiting"),
        ("another agent was asked", with(&[(false, "delivered")]), "waiting"),
        ("asked, then answered", with(&[(false, "delivered"), (true, "delivered")]), "answered"),
    ] {
        assert_eq!(word(&of_one(&one)), want, "{case}");
    }
}

#[test]
fn what_several_sessions_say_together() {
    let waits = || Heard { pending: true, ..heard() };
    let fails = || Heard { failure: Some("why".into()), ..heard() };
    let answers = || Heard { replies: vec![reply(true, "delivered")], ..heard() };
    assert_eq!(decide(&[]), None);
    for (sessions, want) in [
        (vec![heard(), waits()], "waiting"),
        (vec![fails(), waits()], "waiting"),
        (vec![waits(), answers()], "answered"),
        (vec![heard(), heard()], "silent"),
        (vec![heard(), fails()], "failed"),
    ] {
        assert_eq!(word(&decide(&sessions).expect("heard")), want);
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
         INSERT INTO messages_in (session_id, id, seq, kind, timestamp, status, \"trigger\", content, change) VALUES \
         ('s', '1:ag', 2, 'chat', 0, 'completed', 1, '', 5), ('s', '2:ag', 4, 'chat', 0, 'completed', 1, '', 5), \
         ('s', '0:ag', 1, 'chat', 0, 'completed', 1, '', 3), ('t', '1:b', 2, 'chat', 0, 'pending', 0, '', 5); \
         INSERT INTO deliveries (session_id, message_out_id, seq, in_reply_to, kind, channel_type, account, platform_id, \
         thread_id, content, state, taken_at) VALUES \
         ('s', 'before', 1, '1:ag', 'chat', 'terminal', 'main', 'local', 'tty', '', 'delivered', 0), \
         ('s', 'here', 7, '9:ag', 'chat', 'terminal', 'main', 'local', 'tty', '', 'delivered', 0), \
         ('s', 'batch', 9, '2:ag', 'chat', 'agent', 'main', 'b', NULL, '', 'pending', 0), \
         ('s', 'other', 11, '0:ag', 'chat', 'terminal', 'main', 'local', 'other', '', 'parked', 0), \
         ('s', 'bare', 13, NULL, '', NULL, NULL, NULL, NULL, '', 'failed', 0)",
    )
    .expect("it fills");
    let asked = Asked {
        channel: "terminal".into(),
        account: main(),
        chat: "local".into(),
        thread: Some("tty".into()),
        message: "1".into(),
    };
    let mut found = load(&db, &asked).expect("it loads");
    found.sort_by(|one, other| one.session_id.cmp(&other.session_id));
    let [ann, bob] = found.as_slice() else { panic!("{} sessions", found.len()) };
    let seen: Vec<_> = ann.replies.iter().map(|reply| (reply.here, reply.state.as_str())).collect();
    assert_eq!(seen, [(true, "delivered"), (false, "pending"), (false, "failed")]);
    assert_eq!((ann.agent.as_str(), ann.pending, ann.wakes), ("ann", false, true));
    assert_eq!((bob.agent.as_str(), bob.pending, bob.wakes, bob.replies.len()), ("bob", true, false, 0));
    let other = load(&db, &Asked { message: "3".into(), ..asked }).expect("it loads");
    assert!(other.is_empty());
}
