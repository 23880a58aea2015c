//! How payloads and addresses are read, in tables over GitHub's own examples.

use super::*;
use serde_json::json;
use vestibule_plugin_api::ReplyTo;

const EXAMPLES: &str = include_str!("../../../../tests/fixtures/github/webhooks.jsonl");
const STRANGER: u64 = 1;
const AUTHOR: u64 = 21_031_067;

fn user(id: u64) -> OwnUser {
    OwnUser { id, login: "vestibule-bot".into() }
}

fn rules() -> Rules {
    let names = vec!["vestibule-bot".into(), "acme/agents".into()];
    Rules { own: user(STRANGER), names, anyone: false, web: "https://github.com".into() }
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
    read_request(&request(event, payload), payload, rules)
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

fn change(event: &str, payload: &Value) -> Change {
    match read(event, payload, &rules()) {
        Ok(Reading::Change(change)) => *change,
        other => panic!("not a change: {other:?}"),
    }
}

#[test]
fn every_example_is_a_message_a_change_or_has_a_reason() {
    let (mut ids, mut messages, mut changes) = (std::collections::HashSet::new(), 0, 0);
    let mut left_out = std::collections::BTreeMap::<String, u32>::new();
    for (event, payload) in examples() {
        let action = payload["action"].as_str().expect("it has an action").to_owned();
        match read(&event, &payload, &Rules { anyone: true, ..rules() }) {
            Ok(Reading::Message(message)) => {
                assert!(matches!(action.as_str(), "created" | "opened" | "submitted"), "{event} {action}");
                assert!(ids.insert(message.event_id.clone()), "twice: {}", message.event_id);
                messages += 1;
            }
            Ok(Reading::Change(change)) => {
                let is_deletion = change.what == Changed::Deleted;
                assert_eq!(action, if is_deletion { "deleted" } else { "edited" });
                changes += 1;
            }
            other => {
                let (ignored, _) = ignored(other);
                assert!(ignored.event_id.starts_with(&format!("{event}/{action}/")), "{}", ignored.event_id);
                assert!(ignored.platform_id.is_some() && ignored.sender.is_some());
                *left_out.entry(ignored.reason).or_default() += 1;
            }
        }
    }
    let left_out: Vec<(&str, u32)> =
        left_out.iter().map(|(reason, count)| (reason.as_str(), *count)).collect();
    assert_eq!((messages, changes), (19, 14));
    assert_eq!(left_out, [("no_words", 3), ("transferred", 1), ("unsupported_action", 58)]);
}

#[test]
fn an_issue_comment_word_by_word() {
    let message = message("issue_comment", &example("issue_comment", "created"));
    let expected = InboundMessage {
        event_id: "issue_comment/created/492700400/2019-05-15T15:20:21Z".into(),
        message_id: "comment-492700400".into(),
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
    let review_comment = example("pull_request_review_comment", "created");
    let mut reply = review_comment.clone();
    reply["comment"]["in_reply_to_id"] = json!(7);
    let mut emulated = review_comment.clone();
    emulated["comment"]["in_reply_to_id"] = json!(null);
    let mut review = example("pull_request_review", "submitted");
    review["review"]["body"] = json!("fine");
    let discussion = |event| example(event, "created");
    let hello = "Codertocat/Hello-World";
    for (event, payload, thread, message_id) in [
        ("issue_comment", on_pull, format!("{hello}:1"), "comment-492700400"),
        ("issues", example("issues", "opened"), format!("{hello}:issue:1"), "issue-1"),
        ("pull_request", example("pull_request", "opened"), format!("{hello}:2"), "pull-2"),
        (
            "pull_request_review",
            review,
            format!("{hello}:2"),
            "review-MDE3OlB1bGxSZXF1ZXN0UmV2aWV3MjM3ODk1Njcx",
        ),
        (
            "pull_request_review_comment",
            review_comment,
            format!("{hello}:2:rc:284312630"),
            "review_comment-284312630",
        ),
        ("pull_request_review_comment", reply, format!("{hello}:2:rc:7"), "review_comment-284312630"),
        (
            "pull_request_review_comment",
            emulated,
            format!("{hello}:2:rc:284312630"),
            "review_comment-284312630",
        ),
        (
            "discussion",
            discussion("discussion"),
            "octo-org/octo-repo:discussion:90".into(),
            "discussion-MDEwOkRpc2N1c3Npb24zMjk3NDQy",
        ),
        (
            "discussion_comment",
            discussion("discussion_comment"),
            "octo-org/octo-repo:discussion:90".into(),
            "discussion_comment-MDE3OkRpc2N1c3Npb25Db21tZW50NTQ0MDc4",
        ),
    ] {
        let anyone = Rules { anyone: true, ..rules() };
        let Ok(Reading::Message(message)) = read(event, &payload, &anyone) else { panic!("{event}") };
        assert_eq!(message.thread_id, Some(format!("github:{thread}").as_str().into()), "{event}");
        assert_eq!(message.message_id, message_id, "{event}");
    }
}

#[test]
fn what_was_written_is_edited_and_deleted() {
    let edited = change("issue_comment", &example("issue_comment", "edited"));
    assert_eq!(edited.event_id, "issue_comment/edited/492700400/2019-05-15T15:20:22Z");
    assert_eq!(edited.message_id, "comment-492700400");
    assert_eq!(edited.thread_id, Some("github:Codertocat/Hello-World:issue:1".into()));
    assert_eq!(edited.sender.standing.as_deref(), Some("owner"));
    let text = "You are totally right! I'll get this fixed today.";
    assert_eq!(edited.what, Changed::Edited { text: text.into(), is_mention: false });
    let deleted = change("pull_request_review_comment", &example("pull_request_review_comment", "deleted"));
    assert_eq!((deleted.message_id.as_str(), deleted.what), ("review_comment-284312630", Changed::Deleted));

    // Who changes it is heard, and not the agent itself; of a stranger's words the agent has never heard.
    let mut payload = example("issue_comment", "edited");
    payload["comment"]["body"] = json!("@acme/agents look");
    payload["sender"] = json!({ "id": 8, "login": "ann", "type": "User" });
    let by_ann = change("issue_comment", &payload);
    assert_eq!((by_ann.sender.name.as_deref(), by_ann.sender.standing), (Some("ann"), None));
    assert!(matches!(by_ann.what, Changed::Edited { is_mention: true, .. }));
    payload["sender"]["id"] = json!(STRANGER);
    assert_eq!(ignored(read("issue_comment", &payload, &rules())).0.reason, "own_message");
    payload["sender"]["id"] = json!(8);
    payload["comment"]["author_association"] = json!("NONE");
    assert_eq!(ignored(read("issue_comment", &payload, &rules())).0.reason, "author_not_allowed");
    // What the agent wrote is its own, whatever its role.
    payload["comment"]["user"]["id"] = json!(STRANGER);
    assert!(matches!(read("issue_comment", &payload, &rules()), Ok(Reading::Change(_))));

    let mut title = example("issues", "edited");
    title["changes"] = json!({ "title": { "from": "x" } });
    let Changed::Edited { text, .. } = change("issues", &title).what else { panic!("edited") };
    assert!(text.starts_with("Spelling error in the README file\n\nIt looks"), "{text}");
    let mut base = example("pull_request", "opened");
    (base["action"], base["changes"]) = (json!("edited"), json!({ "base": { "ref": { "from": "x" } } }));
    assert_eq!(ignored(read("pull_request", &base, &rules())).0.reason, "unsupported_action");
}

/// GitHub does not always say when a review was edited: two edits are two events all the same.
#[test]
fn each_edit_of_a_review_is_an_event() {
    let ids: Vec<String> = ["one", "two", "one"]
        .into_iter()
        .map(|body| {
            let mut payload = example("pull_request_review", "submitted");
            (payload["action"], payload["review"]["body"]) = (json!("edited"), json!(body));
            change("pull_request_review", &payload).event_id
        })
        .collect();
    assert!(
        ids[0] != ids[1] && ids[0] == ids[2] && ids[0].starts_with("pull_request_review/edited/237895671/")
    );
}

#[test]
fn a_review_is_its_verdict_and_its_words() {
    for (state, body, want) in [
        ("approved", json!(null), Some("[approved the pull request]")),
        ("changes_requested", json!("no"), Some("[requested changes to the pull request]\n\nno")),
        ("commented", json!("hm"), Some("hm")),
        ("commented", json!(null), None),
        ("commented", json!(""), None),
    ] {
        let mut payload = example("pull_request_review", "submitted");
        (payload["review"]["state"], payload["review"]["body"]) = (json!(state), body);
        match (read("pull_request_review", &payload, &rules()), want) {
            (Ok(Reading::Message(message)), Some(want)) => assert_eq!(message.text, want),
            (other, None) => assert_eq!(ignored(other).0.reason, "no_words"),
            (other, _) => panic!("{state}: {other:?}"),
        }
    }
}

#[test]
fn files_in_a_text_are_named() {
    let mut payload = example("issue_comment", "created");
    payload["comment"]["body"] = json!("![x](https://github.com/user-attachments/assets/1-2)");
    let files = message("issue_comment", &payload).attachments;
    assert_eq!(files[0].reference.as_deref(), Some("https://github.com/user-attachments/assets/1-2"));
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
    let own = Rules { own: user(AUTHOR), ..rules() };
    let (record, _) = ignored(read("issue_comment", &example("issue_comment", "created"), &own));
    assert_eq!(record.reason, "own_message");
    // Of an app's user GitHub may say the name alone.
    let by_name = Rules { own: OwnUser { id: 0, login: "codertocat".into() }, ..rules() };
    let (record, _) = ignored(read("issue_comment", &example("issue_comment", "created"), &by_name));
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

    let labelled = example("issues", "labeled");
    let (record, _) = ignored(read("issues", &labelled, &rules()));
    assert!(record.event_id.ends_with("/2019-05-15T15:20:18Z"), "its time: {}", record.event_id);
    assert_eq!(record.platform_id, Some("github:Codertocat/Hello-World".into()));

    // The record keeps its limits, whatever the payload holds.
    let hostile = json!({ "action": "minimized", "comment": { "id": 5, "updated_at": "x\n\0".repeat(999) },
        "repository": { "full_name": "../..", "name": "..", "owner": { "login": ".." } }, "sender": [] });
    let (record, _) = ignored(read("issue_comment", &hostile, &rules()));
    assert_eq!(record.event_id, format!("issue_comment/minimized/{delivery}"));
    assert_eq!((record.platform_id, record.sender), (None, None));

    let mut no_delivery = request("push", &push);
    no_delivery.headers.retain(|(name, _)| name == "x-github-event");
    assert!(read_request(&no_delivery, &push, &rules()).expect_err("refused").contains("X-GitHub-Delivery"));
}

#[test]
fn requests_that_are_no_webhook() {
    assert_eq!(read("ping", &json!({ "zen": "Design for failure." }), &rules()), Ok(Reading::Pong));
    let mut form = request("ping", &json!({}));
    form.body = b"payload=%7B%7D".to_vec();
    assert!(payload_of(&form).expect_err("refused").contains("application/json"));
    form.headers.clear();
    assert!(payload_of(&form).expect_err("refused").contains("X-GitHub-Event"));
    assert!(read("issue_comment\0", &json!({}), &rules()).is_err());
    form.headers = vec![("x-github-event".into(), "issues".into())];
    form.body = br#"{"action":"cut \ud83d"}"#.to_vec();
    assert_eq!(
        payload_of(&form),
        Ok(json!({ "action": "cut \u{fffd}" })),
        "one broken string costs no event"
    );
    let deep = "[".repeat(100_000);
    form.headers = vec![("x-github-event".into(), "issues".into())];
    form.body = deep.into_bytes();
    assert!(payload_of(&form).is_err());
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
    for (text, expected) in [
        ("hi @vestibule-bot", true),
        ("hi @acme/agents", true),
        ("hi @acme", false),
        ("> hi @vestibule-bot\n\nno", false),
    ] {
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
