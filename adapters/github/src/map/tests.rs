//! How payloads and addresses are read, in tables over GitHub's own examples.

use super::*;
use serde_json::json;

const EXAMPLES: &str = include_str!("../../../../tests/fixtures/github/webhooks.jsonl");
const STRANGER: u64 = 1;
const AUTHOR: u64 = 21_031_067;

fn rules() -> Rules {
    Rules { own_id: STRANGER, mention: "vestibule-bot".into(), anyone: false }
}

fn examples() -> impl Iterator<Item = (String, Value)> {
    EXAMPLES.lines().map(|line| {
        let mut line: Value = serde_json::from_str(line).expect("the fixture is JSON");
        (line["event"].as_str().expect("it names its event").to_owned(), line["payload"].take())
    })
}

fn example(event: &str, action: &str) -> Value {
    let fits = |(e, payload): &(String, Value)| e == event && payload["action"] == action;
    examples().find(fits).expect("there is an example").1
}

fn request(event: &str, payload: &Value) -> WebhookRequest {
    let headers = vec![
        ("x-github-event".into(), event.into()),
        ("x-github-delivery".into(), "72d3162e-cc78-11e3-81ab-4c9367dc0958".into()),
    ];
    let body = serde_json::to_vec(payload).expect("it serialises");
    WebhookRequest { method: "POST".into(), query: String::new(), headers, body }
}

fn read(event: &str, payload: &Value, rules: &Rules) -> Result<Reading, Fault> {
    read_request(&request(event, payload), rules)
}

fn message(event: &str, payload: &Value) -> InboundMessage {
    match read(event, payload, &rules()) {
        Ok(Reading::Message(message)) => *message,
        other => panic!("not a message: {other:?}"),
    }
}

fn ignored(reading: Result<Reading, Fault>) -> (Ignored, String) {
    match reading {
        Ok(Reading::Ignored { ignored, sentence }) => (ignored, sentence),
        other => panic!("not ignored: {other:?}"),
    }
}

#[test]
fn every_example_is_a_message_or_has_a_reason() {
    let (mut ids, mut messages, mut left_out) = (std::collections::HashSet::new(), 0, 0);
    for (event, payload) in examples() {
        let action = payload["action"].as_str().expect("it has an action").to_owned();
        match read(&event, &payload, &rules()) {
            Ok(Reading::Message(message)) => {
                assert!(matches!(action.as_str(), "created" | "opened"), "{event} {action}");
                assert!(ids.insert(message.event_id.clone()), "twice: {}", message.event_id);
                messages += 1;
            }
            other => {
                let (ignored, _) = ignored(other);
                assert_eq!(ignored.reason, "unsupported_action", "{event} {action}");
                assert!(ignored.event_id.starts_with(&format!("{event}/{action}/")), "{}", ignored.event_id);
                assert!(ignored.platform_id.is_some() && ignored.sender.is_some());
                left_out += 1;
            }
        }
    }
    assert_eq!((messages, left_out), (12, 31));
}

#[test]
fn an_issue_comment_word_by_word() {
    let message = message("issue_comment", &example("issue_comment", "created"));
    let expected = InboundMessage {
        event_id: "issue_comment/created/492700400/2019-05-15T15:20:21Z".into(),
        message_id: "492700400".into(),
        platform_id: "github:Codertocat/Hello-World".into(),
        thread_id: Some("github:Codertocat/Hello-World:issue:1".into()),
        sender: Sender {
            handle: "21031067".into(),
            name: Some("Codertocat".into()),
            standing: Some("owner".into()),
            ..Sender::default()
        },
        text: "You are totally right! I'll get this fixed right away.".into(),
        timestamp: Timestamp(1_557_933_621_000),
        is_group: true,
        ..InboundMessage::default()
    };
    assert_eq!(message, expected);
}

#[test]
fn threads_and_message_ids() {
    let mut on_pull = example("issue_comment", "created");
    on_pull["issue"]["pull_request"] = json!({ "url": "https://api.github.com/…" });
    let review = example("pull_request_review_comment", "created");
    let mut reply = review.clone();
    reply["comment"]["in_reply_to_id"] = json!(7);
    let mut emulated = review.clone();
    emulated["comment"]["in_reply_to_id"] = json!(null);
    let table = [
        ("issue_comment", on_pull, "1", "492700400"),
        ("issues", example("issues", "opened"), "issue:1", "issue-444500041"),
        ("pull_request_review_comment", review, "2:rc:284312630", "284312630"),
        ("pull_request_review_comment", reply, "2:rc:7", "284312630"),
        ("pull_request_review_comment", emulated, "2:rc:284312630", "284312630"),
    ];
    for (event, payload, thread, message_id) in table {
        let message = message(event, &payload);
        assert_eq!(message.thread_id, Some(format!("github:Codertocat/Hello-World:{thread}").into()));
        assert_eq!(message.message_id, message_id);
    }
}

#[test]
fn a_review_comment_quotes_the_code_that_it_is_about() {
    let long: String = (0..9_000).map(|line| format!("+ü {line}\n")).collect();
    let one_line = "+x".repeat(9_000) + "\n";
    let end = &long[long.find("+ü 8545\n").expect("a line")..];
    let table = [
        (
            json!({ "path": "a.rs", "line": 7, "diff_hunk": "@@ -1 +1 @@\n+x" }),
            Some((Some("a.rs:7"), "@@ -1 +1 @@\n+x")),
        ),
        (
            json!({ "path": "a.rs", "line": null, "original_line": 8, "diff_hunk": "+x" }),
            Some((Some("a.rs:8"), "+x")),
        ),
        (json!({ "path": "a.rs", "diff_hunk": "+x" }), Some((Some("a.rs"), "+x"))),
        (json!({ "path": "a.rs", "diff_hunk": long }), Some((Some("a.rs"), end))),
        (
            json!({ "path": "a.rs", "diff_hunk": one_line }),
            Some((Some("a.rs"), &one_line[one_line.len() - 4_096..])),
        ),
        (json!({ "path": "a.rs", "diff_hunk": "" }), None),
        (json!({ "path": "a.rs", "diff_hunk": 7 }), None),
        (json!({ "path": null, "diff_hunk": "+x" }), Some((None, "+x"))),
    ];
    for (fields, want) in table {
        let mut payload = example("pull_request_review_comment", "created");
        for (key, value) in fields.as_object().expect("an object") {
            payload["comment"][key] = value.clone();
        }
        let quoted = message("pull_request_review_comment", &payload).reply_to;
        let want = want.map(|(place, code)| ReplyTo {
            id: String::new(),
            sender: place.map(str::to_owned),
            text: Some(code.into()),
        });
        assert_eq!(quoted, want);
    }
}

#[test]
fn an_issue_is_its_title_and_its_body() {
    let mut payload = example("issues", "opened");
    let text =
        "Spelling error in the README file\n\nIt looks like you accidently spelled 'commit' with two 't's.";
    assert_eq!(message("issues", &payload).text, text);
    payload["issue"]["body"] = json!(null);
    assert_eq!(message("issues", &payload).text, "Spelling error in the README file");
}

#[test]
fn who_is_heard() {
    let own = Rules { own_id: AUTHOR, ..rules() };
    let (record, _) = ignored(read("issue_comment", &example("issue_comment", "created"), &own));
    assert_eq!(record.reason, "own_message");

    for role in ["CONTRIBUTOR", "FIRST_TIMER", "FIRST_TIME_CONTRIBUTOR", "MANNEQUIN", "NONE", "owner", ""] {
        for event in ["issue_comment", "issues", "pull_request_review_comment"] {
            let (action, object) =
                if event == "issues" { ("opened", "issue") } else { ("created", "comment") };
            let mut payload = example(event, action);
            payload[object]["author_association"] = json!(role);
            let (record, sentence) = ignored(read(event, &payload, &rules()));
            assert_eq!(record.reason, "author_not_allowed", "{event} {role}");
            assert_eq!(record.sender.as_deref(), Some("Codertocat"));
            assert!(sentence.contains("anyone = true"), "{sentence}");
            let anyone = Rules { anyone: true, ..rules() };
            assert!(matches!(read(event, &payload, &anyone), Ok(Reading::Message(_))), "{event} {role}");
        }
    }
    for role in ROLES {
        let mut payload = example("issue_comment", "created");
        payload["comment"]["author_association"] = json!(role);
        message("issue_comment", &payload);
    }
    let mut by_app = example("issue_comment", "created");
    by_app["comment"]["user"] = json!({ "id": 49_699_333, "login": "dependabot[bot]", "type": "Bot" });
    let sender = message("issue_comment", &by_app).sender;
    assert_eq!((sender.name.as_deref(), sender.is_bot), (Some("dependabot[bot]"), true));
}

#[test]
fn other_events_are_ignored_with_a_stable_id() {
    let delivery = "72d3162e-cc78-11e3-81ab-4c9367dc0958";
    let push = json!({ "ref": "refs/heads/main" });
    let (record, sentence) = ignored(read("push", &push, &rules()));
    assert_eq!((record.reason.as_str(), record.platform_id), ("unsupported_event", None));
    assert_eq!(record.event_id, format!("push/-/{delivery}"));
    assert!(sentence.starts_with("ignored: "), "{sentence}");

    let edited = example("issue_comment", "edited");
    let (record, _) = ignored(read("issue_comment", &edited, &rules()));
    assert!(record.event_id.ends_with("/2019-05-15T15:20:22Z"), "the edit's time: {}", record.event_id);
    assert_eq!(record.platform_id, Some("github:Codertocat/Hello-World".into()));

    // The record keeps its limits, whatever the payload holds.
    let hostile = json!({ "action": "deleted", "comment": { "id": 5, "updated_at": "x\n\0".repeat(999) },
        "repository": { "full_name": "../..", "name": "..", "owner": { "login": ".." } }, "sender": [] });
    let (record, _) = ignored(read("issue_comment", &hostile, &rules()));
    assert_eq!(record.event_id, format!("issue_comment/deleted/{delivery}"));
    assert_eq!((record.platform_id, record.sender), (None, None));

    let mut no_delivery = request("push", &push);
    no_delivery.headers.retain(|(name, _)| name == "x-github-event");
    assert!(read_request(&no_delivery, &rules()).expect_err("refused").contains("X-GitHub-Delivery"));
}

#[test]
fn requests_that_are_no_webhook() {
    assert_eq!(read("ping", &json!({ "zen": "Design for failure." }), &rules()), Ok(Reading::Pong));
    let mut form = request("ping", &json!({}));
    form.body = b"payload=%7B%7D".to_vec();
    assert!(read_request(&form, &rules()).expect_err("refused").contains("application/json"));
    form.headers.clear();
    assert!(read_request(&form, &rules()).expect_err("refused").contains("X-GitHub-Event"));
    assert!(read("issue_comment\0", &json!({}), &rules()).is_err());
    let deep = "[".repeat(100_000);
    form.headers = vec![("x-github-event".into(), "issues".into())];
    form.body = deep.into_bytes();
    assert!(read_request(&form, &rules()).is_err());
}

#[test]
fn a_payload_that_does_not_fit_is_refused_by_the_field() {
    let long = "a".repeat(10_000);
    let table = [
        ("/action", json!(null), "`action`"),
        ("/action", json!("created\n"), "`action`"),
        ("/comment", json!(null), "`comment.id`"),
        ("/comment", json!([1]), "`comment.id`"),
        ("/comment/id", json!("../../user"), "`comment.id`"),
        ("/comment/id", json!(-1), "`comment.id`"),
        ("/comment/id", json!(0), "`comment.id`"),
        ("/comment/id", json!(1.5), "`comment.id`"),
        ("/comment/id", json!(1e300), "`comment.id`"),
        ("/comment/body", json!(null), "`comment.body`"),
        ("/comment/body", json!({ "a": 1 }), "`comment.body`"),
        ("/comment/body", json!("a".repeat(1_100_000)), "text"),
        ("/comment/user", json!(null), "`comment.user.id`"),
        ("/comment/user/id", json!("21031067"), "`comment.user.id`"),
        ("/comment/user/login", json!("a/../b"), "`comment.user.login`"),
        ("/comment/user/login", json!("a\0b"), "`comment.user.login`"),
        ("/comment/user/login", json!(long), "`comment.user.login`"),
        ("/comment/author_association", json!(null), "`comment.author_association`"),
        ("/comment/created_at", json!("yesterday"), "`comment.created_at`"),
        ("/comment/created_at", json!(1_557_933_621), "`comment.created_at`"),
        ("/issue", json!(null), "`issue.number`"),
        ("/issue/number", json!("1"), "`issue.number`"),
        ("/issue/number", json!("1/../../2"), "`issue.number`"),
        ("/repository", json!("x"), "`repository.owner.login`"),
        ("/repository/owner/login", json!(".."), "`repository.owner.login`"),
        ("/repository/owner/login", json!(long), "`repository.owner.login`"),
        ("/repository/name", json!("."), "`repository.name`"),
        ("/repository/name", json!("a/b"), "`repository.name`"),
        ("/repository/name", json!("a\u{0}"), "`repository.name`"),
        ("/repository/name", json!("a:1"), "`repository.name`"),
        ("/repository/name", json!(""), "`repository.name`"),
        ("/repository/full_name", json!("else/where"), "`repository.full_name`"),
        ("/repository/full_name", json!(null), "`repository.full_name`"),
    ];
    for (at, bad, named) in table {
        let mut payload = example("issue_comment", "created");
        *payload.pointer_mut(at).expect("the example has it") = bad.clone();
        let fault = read("issue_comment", &payload, &rules()).expect_err(at);
        assert!(fault.contains(named) && fault.len() < 200, "{at}: {fault}");
    }
    for (at, bad) in [("/pull_request/number", json!("2")), ("/pull_request", json!(7))] {
        let mut payload = example("pull_request_review_comment", "created");
        *payload.pointer_mut(at).expect("the example has it") = bad;
        let fault = read("pull_request_review_comment", &payload, &rules()).expect_err(at);
        assert!(fault.contains("`pull_request.number`"), "{fault}");
    }
    let mut payload = example("pull_request_review_comment", "created");
    payload["comment"]["in_reply_to_id"] = json!("1/replies");
    let fault = read("pull_request_review_comment", &payload, &rules()).expect_err("refused");
    assert!(fault.contains("`comment.in_reply_to_id`"), "{fault}");
}

#[test]
fn who_is_mentioned_in_an_issue() {
    for (title, body, expected) in [
        ("@vestibule-bot, please", json!(null), true),
        ("a title", json!("@vestibule-bot, please"), true),
        ("a title", json!("> @vestibule-bot, please"), false),
        ("a title", json!("`@vestibule-bot`"), false),
        // A title is no Markdown but for code: it shuts nothing in that follows.
        ("``` > a title", json!("@vestibule-bot, please"), true),
        ("`@vestibule-bot`", json!(null), false),
    ] {
        let mut payload = example("issues", "opened");
        payload["issue"]["title"] = json!(title);
        payload["issue"]["body"] = body;
        assert_eq!(message("issues", &payload).is_mention, expected, "{title}");
    }
    for (text, expected) in [("hi @vestibule-bot", true), ("> hi @vestibule-bot\n\nno", false)] {
        for event in ["issue_comment", "pull_request_review_comment"] {
            let mut payload = example(event, "created");
            payload["comment"]["body"] = json!(text);
            assert_eq!(message(event, &payload).is_mention, expected, "{event} {text}");
        }
    }
}

#[test]
fn an_issue_that_was_transferred_is_no_new_one() {
    let mut payload = example("issues", "opened");
    payload["changes"] = json!({ "old_issue": null, "old_repository": { "name": "Gadgets" } });
    assert_eq!(ignored(read("issues", &payload, &rules())).0.reason, "transferred");
    payload["changes"] =
        json!({ "old_issue": { "number": 7, "id": 77 }, "old_repository": { "name": "Gadgets" } });
    let (record, sentence) = ignored(read("issues", &payload, &rules()));
    assert_eq!(record.reason, "transferred");
    assert_eq!(record.event_id, "issues/opened/444500041/2019-05-15T15:20:18Z");
    assert_eq!(record.platform_id, Some("github:Codertocat/Hello-World".into()));
    assert!(sentence.starts_with("ignored: "), "{sentence}");
    payload["issue"]["id"] = json!("../..");
    assert!(read("issues", &payload, &rules()).expect_err("refused").contains("`issue.id`"));
}

fn address(chat: &str, thread: Option<&str>) -> Address {
    Address {
        channel_type: "github".into(),
        account: "main".into(),
        platform_id: chat.into(),
        thread_id: thread.map(ThreadId::from),
    }
}

#[test]
fn where_replies_go() {
    let chat = "github:octo-org/hello.world";
    let table = [
        ("github:octo-org/hello.world:issue:7", "/repos/octo-org/hello.world/issues/7/comments"),
        ("github:octo-org/hello.world:8", "/repos/octo-org/hello.world/issues/8/comments"),
        ("github:octo-org/hello.world:8:rc:9", "/repos/octo-org/hello.world/pulls/8/comments/9/replies"),
    ];
    for (thread, path) in table {
        assert_eq!(target(&address(chat, Some(thread))).expect(thread).path, path);
    }
    assert!(target(&address(chat, None)).expect_err("refused").contains("reply in an issue"));
}

#[test]
fn addresses_that_are_not_ours_reach_no_url() {
    let table = [
        ("github:a/b", "github:a/c:1"),
        ("github:a/b", "github:a/b"),
        ("github:a/b", "github:a/b:"),
        ("github:a/b", "github:a/b:0"),
        ("github:a/b", "github:a/b:+1"),
        ("github:a/b", "github:a/b:-1"),
        ("github:a/b", "github:a/b:1/../2"),
        ("github:a/b", "github:a/b:99999999999999999999999"),
        ("github:a/b", "github:a/b:issue:"),
        ("github:a/b", "github:a/b:issue:1:rc:2"),
        ("github:a/b", "github:a/b:1:rc:x"),
        ("github:a/b", "github:a/b:1:rc:2:3"),
        ("github:../b", "github:../b:1"),
        ("github:a/..", "github:a/..:1"),
        ("github:a/b/c", "github:a/b/c:1"),
        ("github:a/b?x=", "github:a/b?x=:1"),
        ("github:a", "github:a:1"),
        ("slack:a/b", "slack:a/b:1"),
    ];
    for (chat, thread) in table {
        assert!(target(&address(chat, Some(thread))).is_err(), "{chat} {thread}");
    }
}

#[test]
fn a_long_text_is_cut_where_it_reads_well() {
    let short = "ü".repeat(TEXT_CHARS_MAX);
    assert_eq!(fit(short.clone()), short);

    let solid = fit("ü".repeat(TEXT_CHARS_MAX + 1));
    assert_eq!(solid.chars().count(), TEXT_CHARS_MAX);
    assert!(solid.ends_with(CUT_NOTE));

    let lines = fit("twelve chars\n".repeat(9_999));
    assert!(lines.chars().count() <= TEXT_CHARS_MAX);
    assert!(lines.ends_with(&format!("\ntwelve chars{CUT_NOTE}")), "{}", &lines[lines.len() - 99..]);
}

#[test]
fn which_repository_a_person_means() {
    for (typed, want) in [
        ("acme/widgets", Some("github:acme/widgets")),
        ("github:Acme/Widgets", Some("github:Acme/Widgets")),
        (" https://github.com/acme/widgets ", Some("github:acme/widgets")),
        ("https://github.example/acme/widgets/issues/7#issuecomment-1", Some("github:acme/widgets")),
        ("https://github.com/acme/widgets.git", Some("github:acme/widgets")),
        ("https://github.com/acme", None),
        ("acme", None),
        ("acme/widgets/issues/7", None),
        ("acme/..", None),
        ("github:", None),
    ] {
        assert_eq!(super::typed(typed).as_ref().map(|chat| chat.as_str()), want, "{typed}");
    }
}
