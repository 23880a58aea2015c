//! GitHub's own example payloads, signed and posted to a running runtime; replies at a stand-in for its
//! REST API.

use crate::support::{Api, Runtime, request, sign, until};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

const SECRET: &str = "It's a Secret to Everybody";

/// Each line of the fixtures: the event and its payload.
fn examples() -> Vec<(String, Value)> {
    let text = crate::github_api::examples();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.map(|line| (line["event"].as_str().unwrap().to_owned(), line["payload"].clone())).collect()
}

fn api() -> Api {
    Api::start(|request, _| match request {
        "GET /user" => (200, json!({ "id": 7, "login": "vestibule-bot" })),
        post if post.starts_with("POST /repos/") => (201, json!({ "id": 9001 })),
        // All that its queries ask for in a discussion.
        "POST /graphql" => {
            let data = json!({ "repository": { "discussion": { "id": "D_1" } }, "node": { "replyTo": null },
                "addDiscussionComment": { "comment": { "id": "DC_1" } } });
            (200, json!({ "data": data }))
        }
        _ => (404, json!({ "message": "Not Found" })),
    })
}

fn runtime(api_url: &str, more: &str) -> Runtime {
    let config = format!(
        "[channels.github.main]\ntoken = {{ env = \"TEST_TOKEN\" }}\nwebhook_secret = {{ env = \"TEST_SECRET\" }}\n{more}"
    );
    let runtime = Runtime::new(&config)
        .env("TEST_TOKEN", "ghp_x")
        .env("TEST_SECRET", SECRET)
        .env("GITHUB_API_URL", api_url);
    let runtime = runtime.up();
    runtime.wait_live("github");
    runtime
}

fn wire(runtime: &Runtime, repository: &str) {
    let chat = format!("github:{repository}");
    runtime.ok(&[
        "wiring",
        "create",
        "--agent",
        "assistant",
        "--channel",
        "github",
        "--chat",
        &chat,
        "--pattern",
        ".",
    ]);
}

fn post(runtime: &Runtime, event: &str, payload: &[u8]) -> (u16, String) {
    let signature = sign(SECRET, payload);
    let headers = [
        ("content-type", "application/json"),
        ("x-github-event", event),
        ("x-github-delivery", "11111111-2222-3333-4444-555555555555"),
        ("x-hub-signature-256", signature.as_str()),
    ];
    request(runtime.listening(), "POST", "/webhook/github/main", &headers, payload)
}

/// What a supported example must become, read from the payload by the spec's rules; `None` for the
/// others.
fn wanted(event: &str, payload: &Value) -> Option<(String, String, String)> {
    let repository = payload["repository"]["full_name"].as_str()?;
    let issue = &payload["issue"];
    let (thread, said) = match (event, payload["action"].as_str()?) {
        ("issue_comment", "created") => {
            let number = &issue["number"];
            let kind = if issue["pull_request"].is_object() { "" } else { "issue:" };
            (format!("github:{repository}:{kind}{number}"), &payload["comment"])
        }
        ("pull_request_review_comment", "created") => {
            let comment = &payload["comment"];
            let root =
                if comment["in_reply_to_id"].is_u64() { &comment["in_reply_to_id"] } else { &comment["id"] };
            (format!("github:{repository}:{}:rc:{root}", payload["pull_request"]["number"]), comment)
        }
        ("issues", "opened") => (format!("github:{repository}:issue:{}", issue["number"]), issue),
        ("pull_request", "opened") => {
            let pull = &payload["pull_request"];
            (format!("github:{repository}:{}", pull["number"]), pull)
        }
        ("discussion", "created") => {
            let discussion = &payload["discussion"];
            (format!("github:{repository}:discussion:{}", discussion["number"]), discussion)
        }
        ("discussion_comment", "created") => (
            format!("github:{repository}:discussion:{}", payload["discussion"]["number"]),
            &payload["comment"],
        ),
        _ => return None,
    };
    let is_heard = ["OWNER", "MEMBER", "COLLABORATOR"].iter().any(|role| said["author_association"] == *role);
    if !is_heard || payload["changes"]["old_issue"].is_object() {
        return None;
    }
    let body = said["body"].as_str().unwrap_or_default().to_owned();
    Some((thread, said["user"]["login"].as_str()?.to_owned(), body))
}

// cells github: in text, in thread, out reply, out Markdown
#[test]
fn row_c09_every_example_becomes_one_message_or_is_recorded_as_ignored() {
    let api = api();
    let runtime = runtime(&api.url, "");
    for repository in ["Codertocat/Hello-World", "octo-org/octo-repo"] {
        wire(&runtime, repository);
    }
    let examples = examples();
    let (mut messages, mut left_out) = (BTreeSet::new(), 0);
    for (event, payload) in &examples {
        let body = payload.to_string();
        let (status, words) = post(&runtime, event, body.as_bytes());
        match wanted(event, payload) {
            Some(message) => {
                assert_eq!((status, words.as_str()), (200, "committed"), "{body}");
                messages.insert(message);
            }
            None if matches!(payload["action"].as_str(), Some("edited" | "deleted")) => {
                assert_eq!(status, 200, "{words}: {body}");
            }
            None => {
                assert_eq!((status, words.starts_with("ignored: ")), (202, true), "{words}: {body}");
                left_out += 1;
            }
        }
        // Posted twice, it stays one, signed as before or anew.
        assert_eq!(post(&runtime, event, body.as_bytes()), (200, "it was taken before".into()));
        let (status, words) = post(&runtime, event, format!("{body} ").as_bytes());
        assert!(
            matches!((status, words.as_str()), (200, "duplicate" | "dropped: duplicate") | (202, _)),
            "{status} {words}"
        );
    }
    let supported = examples.iter().filter(|(event, payload)| wanted(event, payload).is_some()).count();
    assert_eq!((examples.len(), supported, left_out), (95, 19, 62), "the fixtures have changed");

    let rows: Vec<String> = runtime.query(
        "SELECT json_array(thread_id, json_extract(content, '$.sender'), \
        json_extract(content, '$.text'), platform_id) FROM messages_in WHERE \"trigger\"",
    );
    // The first of GitHub's examples of issues edits one of which the agent has not heard before.
    assert_eq!(rows.len(), supported + 1, "each is committed exactly once");
    for row in &rows {
        let row: [String; 4] = serde_json::from_str(row).unwrap();
        assert!(
            matches!(row[3].as_str(), "github:Codertocat/Hello-World" | "github:octo-org/octo-repo"),
            "{row:?}"
        );
        let fits = |(thread, sender, body): &(String, String, String)| {
            *thread == row[0] && *sender == row[1] && row[2].ends_with(body.as_str())
        };
        assert!(messages.iter().any(fits), "{row:?}");
    }
    let reasons = "SELECT SUM(message_count) FROM drops WHERE reason IN ('unsupported_action', 'author_not_allowed', \
                   'transferred', 'no_words')";
    assert_eq!(runtime.query::<i64>(reasons), [left_out]);

    // The echo agent answers each in its own place.
    until("every reply has arrived", || {
        let open = "SELECT (SELECT COUNT(*) FROM messages_in WHERE \"trigger\" AND status = 'pending') \
                    + (SELECT COUNT(*) FROM deliveries WHERE state != 'delivered')";
        (runtime.query::<i64>(open) == [0]).then_some(())
    });
    // It echoes what it reads of edits and deletions, too.
    let is_note = |(_, body): &(String, Value)| body["body"].as_str().unwrap().starts_with('[');
    let mut issue = api.asked("POST /repos/Codertocat/Hello-World/issues/1/comments");
    issue.retain(|one| !is_note(one));
    let review = api.asked("POST /repos/Codertocat/Hello-World/pulls/2/comments/");
    assert_eq!((issue.len(), review.len()), (9, 3));
    assert!(review.iter().all(|(line, _)| line.ends_with("/replies")), "{review:?}");
    let said = |body: &Value| {
        messages.iter().any(|(_, _, text)| body["body"].as_str().unwrap().ends_with(text.as_str()))
    };
    assert!(issue.iter().chain(&review).all(|(_, body)| said(body)));
}

#[test]
fn only_people_who_belong_are_heard_and_never_itself() {
    let api = api();
    let strict = runtime(&api.url, "");
    wire(&strict, "Codertocat/Hello-World");
    let (event, mut payload) =
        examples().into_iter().find(|(e, p)| e == "issue_comment" && p["action"] == "created").unwrap();
    let own = {
        let mut own = payload.clone();
        own["sender"]["id"] = json!(7);
        own["comment"]["user"]["id"] = json!(7);
        own
    };
    assert_eq!(post(&strict, &event, own.to_string().as_bytes()).0, 202);
    payload["comment"]["author_association"] = json!("NONE");
    payload["comment"]["id"] = json!(1234);
    let (status, words) = post(&strict, &event, payload.to_string().as_bytes());
    assert_eq!((status, words.contains("anyone = true")), (202, true), "{words}");
    assert_eq!(strict.query::<i64>("SELECT COUNT(*) FROM messages_in"), [0]);
    let mut reasons: Vec<String> = strict.query("SELECT reason FROM drops");
    reasons.sort();
    assert_eq!(reasons, ["author_not_allowed", "own_message"]);

    let open = runtime(&api.url, "anyone = true\n");
    wire(&open, "Codertocat/Hello-World");
    assert_eq!(post(&open, &event, payload.to_string().as_bytes()), (200, "committed".into()));
}

// cells github: in mention
#[test]
fn a_comment_that_names_the_account_is_for_the_agent() {
    let api = api();
    let runtime = runtime(&api.url, "");
    let chat = "github:Codertocat/Hello-World";
    runtime.ok(&["wiring", "create", "--agent", "assistant", "--channel", "github", "--chat", chat]);
    let (event, mut payload) =
        examples().into_iter().find(|(e, p)| e == "issue_comment" && p["action"] == "created").unwrap();
    for (id, text, want) in [
        (1, "nothing for a bot", "dropped"),
        (2, "> @vestibule-bot was asked before", "dropped"),
        (3, "@vestibule-bot: what is this?", "committed"),
    ] {
        payload["comment"]["id"] = json!(id);
        payload["comment"]["body"] = json!(text);
        let (status, words) = post(&runtime, &event, payload.to_string().as_bytes());
        assert!(status == 200 && words.starts_with(want), "{text}: {status} {words}");
    }
}

#[test]
fn row_c02_webhooks_that_cannot_be_taken_are_answered_with_one_clear_sentence() {
    let api = api();
    let runtime = runtime(&api.url, "");
    wire(&runtime, "Codertocat/Hello-World");
    let (event, payload) =
        examples().into_iter().find(|(e, p)| e == "issue_comment" && p["action"] == "created").unwrap();
    let body = payload.to_string();
    let at = runtime.listening();
    let headers = [("x-github-event", "issue_comment"), ("content-type", "application/json")];
    let path = "/webhook/github/main";

    let (status, words) = request(at, "POST", path, &headers, body.as_bytes());
    assert_eq!((status, words.contains("X-Hub-Signature-256 is missing")), (401, true), "{words}");
    let wrong = sign("another secret", body.as_bytes());
    let wrong = [headers[0], headers[1], ("x-hub-signature-256", wrong.as_str())];
    let (status, words) = request(at, "POST", path, &wrong, body.as_bytes());
    assert_eq!((status, words.contains("does not match")), (401, true), "{words}");
    let large = vec![b' '; 25 * 1024 * 1024 + 1];
    let (status, words) = request(at, "POST", path, &headers, &large);
    assert!(status == 413 && words.contains("26214400 bytes"), "{status} {words}");
    for (method, path, want) in [
        ("GET", path, 405),
        ("POST", "/webhook/github/other", 404),
        ("POST", "/webhook/slack/main", 404),
        ("POST", "/webhook/terminal/main", 404),
        ("GET", "/", 404),
    ] {
        assert_eq!(request(at, method, path, &headers, b"{}").0, want, "{method} {path}");
    }
    assert_eq!(post(&runtime, &event, b"no json").0, 400);
    assert_eq!(post(&runtime, "star", b"{\"action\":\"created\"}").0, 202);
    assert_eq!(post(&runtime, "ping", b"{\"zen\":\"x\"}"), (200, "pong".into()));
    // Those that GitHub does not send again are counted, and those of strangers together.
    let refused = runtime.json(&["status"])["webhooks_refused"].as_array().unwrap().clone();
    let count = |account: [Option<&str>; 2], status: u16| {
        let [channel, account] = account.map(|word| json!(word));
        let is =
            |row: &&Value| row["channel"] == channel && row["account"] == account && row["status"] == status;
        refused.iter().find(is).map_or(0, |row| row["count"].as_i64().unwrap())
    };
    let main = [Some("github"), Some("main")];
    assert_eq!([401, 413, 405, 400, 202].map(|status| count(main, status)), [2, 1, 1, 1, 0], "{refused:?}");
    assert_eq!(count([None, None], 404), 2, "{refused:?}");
    let shown = runtime.ok(&["status"]);
    assert!(shown.contains("webhooks that were refused since the start"), "{shown}");
    assert!(shown.contains("`webhook_body_limit` sets the limit"), "{shown}");

    let long = "x".repeat(10 * 1024);
    for (field, value) in [
        ("/comment/id", json!("../../etc/passwd")),
        ("/comment/id", json!(-1)),
        ("/comment/id", json!(long)),
        ("/issue/number", json!("1/../2")),
        ("/repository/full_name", json!("../..")),
        ("/repository/name", json!("a/b")),
        ("/repository/owner/login", json!("nul\0byte")),
        ("/repository/full_name", json!(long)),
        ("/comment/body", json!(7)),
        ("/comment/user/id", json!("1")),
    ] {
        let mut hostile = payload.clone();
        *hostile.pointer_mut(field).unwrap() = value;
        let (status, words) = post(&runtime, &event, hostile.to_string().as_bytes());
        assert!(status == 400 && words.len() < 300 && !words.contains('\n'), "{field}: {status} {words}");
    }
    assert_eq!(runtime.query::<i64>("SELECT COUNT(*) FROM messages_in"), [0], "nothing was let in");
    // The rest goes on, and what follows is taken.
    assert_eq!(post(&runtime, &event, body.as_bytes()), (200, "committed".into()));
    assert!(!runtime.log().contains("I'll get this fixed"), "message text never reaches the log");
    assert!(!runtime.log().contains(SECRET) && !runtime.log().contains("ghp_x"));
}

#[test]
fn row_c01_a_missing_token_stops_only_its_channel() {
    let runtime = Runtime::new("[channels.github.main]\ntoken = { env = \"VESTIBULE_TEST_UNSET\" }\nwebhook_secret = { env = \"PATH\" }\n").up();
    let channel = until("it is broken", || {
        Some(runtime.channel("github")).filter(|channel| channel["state"] == "broken")
    });
    let why = channel["reason"].as_str().unwrap();
    let fact = "`token` is missing: the environment variable VESTIBULE_TEST_UNSET is not set";
    assert!(why.ends_with(&format!("vestibule.toml: [channels.github.main]: {fact}")), "{why}");
    assert_eq!(runtime.chat("the rest goes on"), "the rest goes on");
}

/// The first answers to `line`, then what `api` says.
fn odd_at_first(line: &'static str, answers: Vec<(u16, Value)>) -> Api {
    let left = Mutex::new(std::collections::VecDeque::from(answers));
    Api::start(move |request, _| {
        let odd = if request.starts_with(line) { left.lock().unwrap().pop_front() } else { None };
        odd.unwrap_or_else(|| match request {
            "GET /user" => (200, json!({ "id": 7, "login": "vestibule-bot" })),
            list if list.starts_with("GET") => (200, json!([])),
            _ => (201, json!({ "id": 9001 })),
        })
    })
}

fn refused(status: u16, words: &str) -> (u16, Value) {
    (status, json!({ "message": words }))
}

#[test]
fn row_c01_a_token_that_is_refused_at_the_start_is_tried_again() {
    let api = odd_at_first("GET /user", vec![refused(401, "Bad credentials"), (200, json!("<html>"))]);
    let runtime = runtime(&api.url, "");
    let log = runtime.log();
    assert!(log.contains("channel was not started; it is tried again"), "{log}");
    assert!(log.contains("channel cannot start yet; it is tried again"), "{log}");
}

#[test]
fn a_token_that_expires_while_it_is_used_is_seen_in_the_state() {
    let api = odd_at_first("POST /repos", (0..3).map(|_| refused(401, "Bad credentials")).collect());
    let runtime = runtime(&api.url, "");
    wire(&runtime, "Codertocat/Hello-World");
    let mut comments =
        examples().into_iter().filter(|(e, p)| e == "issue_comment" && p["action"] == "created");
    let (event, payload) = comments.next().unwrap();
    assert_eq!(post(&runtime, &event, payload.to_string().as_bytes()), (200, "committed".into()));
    let channel = until("it is degraded", || {
        Some(runtime.channel("github")).filter(|channel| channel["state"] == "degraded")
    });
    let why = channel["reason"].as_str().unwrap();
    assert!(why.contains("Bad credentials") && why.contains("vestibule plugin reload github"), "{why}");
    // What comes in needs no token, and is taken all the same.
    let (event, payload) = comments.next().unwrap();
    assert_eq!(post(&runtime, &event, payload.to_string().as_bytes()), (200, "committed".into()));
    runtime.wait_live("github");
    let delivered = "SELECT COUNT(*) FROM deliveries WHERE state = 'delivered'";
    until("both are delivered", || (runtime.query::<i64>(delivered) == [2]).then_some(()));
    assert!(runtime.log().contains("it works again"), "{}", runtime.log());
}

#[test]
fn an_answer_about_one_issue_says_nothing_of_the_account() {
    let words = "Resource not accessible by personal access token";
    let api = odd_at_first("POST /repos", vec![refused(403, words)]);
    let runtime = runtime(&api.url, "");
    wire(&runtime, "Codertocat/Hello-World");
    let (event, payload) =
        examples().into_iter().find(|(e, p)| e == "issue_comment" && p["action"] == "created").unwrap();
    assert_eq!(post(&runtime, &event, payload.to_string().as_bytes()).0, 200);
    until("it failed", || {
        (runtime.query::<String>("SELECT state FROM deliveries") == ["failed"]).then_some(())
    });
    assert_eq!(runtime.channel("github")["state"], "live");
}

/// The operator types a name as they remember it.
#[test]
fn names_of_repositories_compare_without_case() {
    let api = api();
    let runtime = runtime(&api.url, "");
    wire(&runtime, "codertocat/HELLO-world");
    let (event, payload) =
        examples().into_iter().find(|(e, p)| e == "issue_comment" && p["action"] == "created").unwrap();
    assert_eq!(post(&runtime, &event, payload.to_string().as_bytes()), (200, "committed".into()));
    until("it is answered", || {
        (api.asked("POST /repos/codertocat/HELLO-world/issues/1/comments").len() == 1).then_some(())
    });
    let thread = "SELECT thread_id FROM messages_in";
    assert_eq!(runtime.query::<String>(thread), ["github:codertocat/HELLO-world:issue:1"]);
    // Nor does another spelling of the operator's make a second chat, which would hear nothing.
    runtime.ok(&["agent", "create", "second"]);
    let named = ["--channel", "github", "--chat", "github:Codertocat/Hello-World"];
    runtime.ok(&[&["wiring", "create", "--agent", "second"][..], &named].concat());
    for typed in ["Codertocat/hello-world", "https://github.com/Codertocat/Hello-World/issues/1"] {
        runtime.ok(&["messaging-group", "create", "--channel", "github", "--chat", typed]);
    }
    let chats = "SELECT platform_id FROM messaging_groups WHERE channel_type = 'github'";
    assert_eq!(runtime.query::<String>(chats), ["github:codertocat/HELLO-world"]);
    let output = runtime.run(&["messaging-group", "create", "--channel", "github", "--chat", "widgets"]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("name a repository: OWNER/REPOSITORY"), "{told}");
}

/// A page of a proxy before GitHub is no comment: it is looked for, and posted again.
#[test]
fn a_page_in_place_of_an_answer_is_no_comment() {
    let api = odd_at_first("POST /repos", vec![(200, json!("<html>back soon</html>"))]);
    let runtime = runtime(&api.url, "");
    wire(&runtime, "Codertocat/Hello-World");
    let (event, payload) =
        examples().into_iter().find(|(e, p)| e == "issue_comment" && p["action"] == "created").unwrap();
    assert_eq!(post(&runtime, &event, payload.to_string().as_bytes()).0, 200);
    let story = "SELECT json_array(state, attempts, possible_duplicate, platform_message_id) FROM deliveries";
    let told = "[\"delivered\",2,1,\"comment-9001\"]";
    until("it is settled", || (runtime.query::<String>(story) == [told]).then_some(()));
    assert_eq!((api.asked("GET /repos").len(), api.asked("POST").len()), (1, 2));
}

#[test]
fn a_reply_outlasts_a_platform_that_is_away() {
    let calls = std::sync::atomic::AtomicU32::new(0);
    let api = Api::start(move |request, _| match request {
        "GET /user" => (200, json!({ "id": 7, "login": "vestibule-bot" })),
        list if list.starts_with("GET") => (200, json!([])),
        _ if calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed) < 2 => {
            (502, json!({ "message": "Bad Gateway" }))
        }
        _ => (201, json!({ "id": 9001 })),
    });
    let runtime = runtime(&api.url, "");
    wire(&runtime, "Codertocat/Hello-World");
    let (event, payload) =
        examples().into_iter().find(|(e, p)| e == "issue_comment" && p["action"] == "created").unwrap();
    assert_eq!(post(&runtime, &event, payload.to_string().as_bytes()).0, 200);
    let row = until("it is delivered", || {
        runtime
            .query::<String>(
                "SELECT json_array(attempts, platform_message_id) FROM deliveries WHERE state = 'delivered'",
            )
            .pop()
    });
    assert_eq!(row, "[3,\"comment-9001\"]");
}

#[test]
fn a_delivery_that_a_crash_cut_off_is_looked_up_before_it_is_sent_again() {
    for arrived in [true, false] {
        let comments: Arc<Mutex<Vec<Value>>> = Arc::default();
        let kept = comments.clone();
        let api = Api::start(move |request, body| {
            if request.starts_with("POST") {
                if arrived || !kept.lock().unwrap().is_empty() {
                    let user = json!({ "id": 7, "login": "vestibule-bot" });
                    kept.lock().unwrap().push(json!({ "id": 9001, "body": body["body"], "user": user }));
                } else {
                    kept.lock().unwrap().push(json!({ "id": 1, "body": "another", "user": null }));
                }
                std::thread::sleep(std::time::Duration::from_secs(1));
            }
            if request.contains("/comments?") {
                return (200, Value::Array(kept.lock().unwrap().clone()));
            }
            (201, json!({ "id": 7, "login": "vestibule-bot" }))
        });
        let mut runtime = sending(&api);
        assert_eq!(runtime.query::<String>("SELECT state FROM deliveries"), ["sending"]);
        runtime.kill();
        runtime.start();
        let story =
            "SELECT json_array(state, attempts, possible_duplicate, platform_message_id) FROM deliveries";
        // Sent again, it may be there twice after all: the first may have been on its way.
        let (id, doubled) = if arrived { (9001, 0) } else { (7, 1) };
        let told = format!("[\"delivered\",2,{doubled},\"comment-{id}\"]");
        until("it is settled", || (runtime.query::<String>(story) == [told.as_str()]).then_some(()));
        assert_eq!(api.asked("GET /repos").len(), 1);
        assert_eq!(api.asked("POST").len(), if arrived { 1 } else { 2 });
        assert_eq!(comments.lock().unwrap().len(), if arrived { 1 } else { 2 });
    }
}

/// A runtime whose platform takes a second over each reply, with one reply on its way.
fn sending(api: &Api) -> Runtime {
    let runtime = runtime(&api.url, "");
    wire(&runtime, "Codertocat/Hello-World");
    let (event, payload) =
        examples().into_iter().find(|(e, p)| e == "issue_comment" && p["action"] == "created").unwrap();
    assert_eq!(post(&runtime, &event, payload.to_string().as_bytes()).0, 200);
    until("it is being sent", || (api.asked("POST").len() == 1).then_some(()));
    runtime
}

fn slow_api() -> Api {
    Api::start(|request, _| {
        if request.starts_with("POST") {
            std::thread::sleep(std::time::Duration::from_secs(1));
        }
        (201, json!({ "id": 7, "login": "vestibule-bot" }))
    })
}

#[test]
fn a_clean_stop_waits_for_what_is_being_delivered() {
    let api = slow_api();
    let mut runtime = sending(&api);
    runtime.stop();
    assert_eq!(runtime.query::<String>("SELECT state FROM deliveries"), ["delivered"]);
    runtime.start();
    runtime.wait_live("github");
    assert_eq!(api.asked("POST").len(), 1);
}

#[test]
fn an_agent_deleted_during_its_delivery_holds_nobody_up() {
    let api = slow_api();
    let runtime = sending(&api);
    runtime.ok(&["agent", "delete", "assistant"]);
    runtime.ok(&["agent", "create", "next"]);
    runtime.ok(&[
        "wiring",
        "create",
        "--agent",
        "next",
        "--channel",
        "github",
        "--chat",
        "github:Codertocat/Hello-World",
        "--pattern",
        ".",
    ]);
    let (event, payload) = examples()
        .into_iter()
        .filter(|(e, p)| e == "issue_comment" && p["action"] == "created")
        .nth(1)
        .unwrap();
    assert_eq!(post(&runtime, &event, payload.to_string().as_bytes()).0, 200);
    until("the next agent's reply arrives", || (api.asked("POST").len() == 2).then_some(()));
    assert!(!runtime.log().contains("could not be recorded"), "{}", runtime.log());
}

#[test]
fn a_conversation_is_what_the_session_mode_says() {
    let api = api();
    for (mode, sessions) in [("shared", 2), ("per-thread", 2), ("agent-shared", 1)] {
        let runtime = runtime(&api.url, "");
        let chat = ["--chat", "github:Codertocat/Hello-World", "--pattern", ".", "--session-mode", mode];
        runtime
            .ok(&[&["wiring", "create", "--agent", "assistant", "--channel", "github"][..], &chat].concat());
        for example in ["issue_comment", "pull_request_review_comment"] {
            let (event, payload) =
                examples().into_iter().find(|(e, p)| e == example && p["action"] == "created").unwrap();
            assert_eq!(post(&runtime, &event, payload.to_string().as_bytes()), (200, "committed".into()));
        }
        assert_eq!(runtime.query::<i64>("SELECT COUNT(*) FROM sessions"), [sessions], "{mode}");
        // Whatever the session, each is answered in its own thread.
        let delivered = "SELECT COUNT(DISTINCT thread_id) FROM deliveries WHERE state = 'delivered'";
        until("both are answered in place", || (runtime.query::<i64>(delivered) == [2]).then_some(()));
    }
}

/// GitHub sends up to 25 MB.
#[test]
fn a_webhook_as_large_as_github_sends_is_taken() {
    let api = api();
    let runtime = runtime(&api.url, "anyone = true\n");
    wire(&runtime, "Codertocat/Hello-World");
    let (event, mut payload) =
        examples().into_iter().find(|(e, p)| e == "issue_comment" && p["action"] == "created").unwrap();
    payload["repository"]["description"] = json!("x".repeat(24_900_000));
    let (status, words) = post(&runtime, &event, payload.to_string().as_bytes());
    assert_eq!(status, 200, "{words}");
    assert_eq!(runtime.query::<i64>("SELECT COUNT(*) FROM messages_in WHERE channel_type = 'github'"), [1]);
}
