//! The whole plugin over the real seam: a small GitHub on this computer's loopback on one side, a
//! runtime that only takes notes on the other.

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::sync::{LazyLock, Mutex, OnceLock};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use vestibule_github as _;
use vestibule_plugin_api::wire::{self, Event, Request, WebhookHead};
use vestibule_plugin_api::*;
use vestibule_seam::{Done, Frame, PluginRootRef, RuntimeCalls, RuntimeSide, status};

/// The events that the plugin handed over, of all accounts.
static HANDED: Mutex<Vec<Event>> = Mutex::new(Vec::new());

/// What the runtime of the account `held` takes its time for.
static HELD: Mutex<Vec<Done>> = Mutex::new(Vec::new());

struct Notes;

impl RuntimeCalls for Notes {
    fn call(&self, frame: Frame, done: Done) -> u64 {
        let event = wire::read::<Event>(&frame).expect("the plugin speaks the vocabulary");
        let answer = match &event {
            Event::Message { account, .. } if account == "held" => {
                HELD.lock().expect("sound").push(done);
                return 1;
            }
            Event::Message { account, .. } if account == "hasty" && handed(account).is_empty() => {
                Err(PluginError::retry("the file did not come"))
            }
            // The account's name says what the runtime does.
            Event::Message { account, .. } if account == "full" => {
                Err(PluginError::retry("the disk is full"))
            }
            Event::Message { account, .. } if account == "strict" => Err(PluginError::refused("no")),
            Event::Message { account, .. } if account == "deaf" => {
                Ok(wire::frame(&Accepted::Dropped { reason: "not_wired".into() }))
            }
            Event::Message { .. } | Event::Change { .. } => Ok(wire::frame(&Accepted::Committed)),
            _ => Ok(Frame::from_head(b"{}".to_vec())),
        };
        HANDED.lock().expect("sound").push(event);
        match answer {
            Ok(frame) => done.complete(status::OK, frame),
            Err(error) => done.complete(status::ERROR, wire::frame(&error)),
        }
        1
    }
    fn cancel(&self, _: u64) {}
    fn log(&self, _: u32, _: &str) {}
}

/// What was handed over of an account, in its order.
fn handed(of: &str) -> Vec<String> {
    let handed = HANDED.lock().expect("sound");
    let named = handed.iter().filter_map(|event| match event {
        Event::Message { account, message, .. } if account == of => Some(message.event_id.clone()),
        Event::Change { account, change, .. } if account == of => Some(change.event_id.clone()),
        Event::Ignored { account, ignored, .. } if account == of => Some(ignored.reason.clone()),
        _ => None,
    });
    named.collect()
}

fn plugin() -> PluginRootRef {
    static PLUGIN: OnceLock<PluginRootRef> = OnceLock::new();
    *PLUGIN.get_or_init(|| {
        let github = bundled::bundled().next().expect("it is linked in");
        let manifest = Manifest::parse(github.manifest).expect("it fits");
        assert_eq!((manifest.name.as_str(), manifest.webhook), ("github", WebhookScheme::GithubSha256));
        assert_eq!(
            manifest.capabilities,
            [
                Capability::Threads,
                Capability::Webhook,
                Capability::Reconcilable,
                Capability::IgnoresCase,
                Capability::Normalises,
                Capability::Edits,
                Capability::Deletes,
                Capability::Reactions,
                Capability::Subjects,
                Capability::Attachments,
                Capability::Fetches,
                Capability::Listeners,
            ]
        );
        let root = github.header.init_root_module::<PluginRootRef>().expect("it is this version");
        assert_eq!(root.init()(RuntimeSide::new(Notes), 3), status::OK);
        root
    })
}

/// One call of the seam. `Unsupported` travels as a status of its own.
async fn ask<T: DeserializeOwned>(frame: Frame) -> Result<T> {
    let (answered, answer) = tokio::sync::oneshot::channel();
    plugin().call()(frame, Done::new(move |code, frame| drop(answered.send((code, frame)))));
    match answer.await.expect("it answers") {
        (status::OK, frame) => Ok(wire::read(&frame).expect("it reads")),
        (status::ERROR, frame) => Err(wire::read(&frame).expect("it reads")),
        (code, frame) => panic!("{code}: {}", String::from_utf8_lossy(frame.head.as_slice())),
    }
}

async fn start(account: &str, url: &str, token: &str) -> Result<Value> {
    let config = json!({ "token": token, "webhook_secret": "s", "api_url": url });
    ask(wire::frame(&Request::Start {
        account: account.into(),
        config,
        listener: None,
        siblings: Vec::new(),
        folder: None,
    }))
    .await
}

fn message(account: &str, chat: &str, thread: Option<&str>) -> OutboundMessage {
    OutboundMessage {
        id: "out-1".into(),
        address: Address {
            channel_type: "github".into(),
            account: account.into(),
            platform_id: chat.into(),
            thread_id: thread.map(ThreadId::from),
        },
        content: Content::Text { text: "**done**".into() },
        taken_at: Some(Timestamp(1_700_000_000_000)),
        subject: None,
        metadata: std::collections::BTreeMap::new(),
        sent_so_far: None,
        in_reply_to: None,
        attachments: vec![],
    }
}

async fn deliver(account: &str, chat: &str, thread: Option<&str>) -> Result<Receipt> {
    let message = message(account, chat, thread);
    ask(wire::frame(&Request::Deliver { message })).await
}

async fn webhook(account: &str, event: &str, body: &str) -> (u16, String) {
    let headers = vec![
        ("x-github-event".into(), event.into()),
        ("x-github-delivery".into(), "0b989ba4-242f-11e5-81e1-c7b6966d2516".into()),
    ];
    let body = body.as_bytes().to_vec();
    let request = WebhookRequest { method: "POST".into(), query: String::new(), headers, body };
    let head: WebhookHead = ask(wire::webhook_frame(account, request)).await.expect("it answers");
    (head.status, head.body)
}

/// A GitHub whose `GET /user` works and whose every other path gets `answer`. Returns its URL and
/// the requests as they came.
async fn github(answer: &'static str) -> (String, tokio::sync::mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let (seen, requests) = tokio::sync::mpsc::channel(100);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (mut request, mut buffer) = (String::new(), [0; 8192]);
            // Our requests are short; the body follows the head at once.
            while !request.starts_with("GET") && !request.ends_with('}') || !request.contains("\r\n\r\n") {
                let Ok(read @ 1..) = stream.read(&mut buffer).await else { break };
                request.push_str(&String::from_utf8_lossy(&buffer[..read]));
            }
            let me = "HTTP/1.1 200 OK|{\"id\":99,\"login\":\"vestibule-bot\"}";
            let is_me = request.starts_with("GET /user ") && !answer.ends_with("for all");
            let answer = if is_me { me } else { answer.trim_end_matches("for all") };
            let (head, body) = answer.split_once('|').expect("head|body");
            // More is promised than comes.
            let promised = if body.ends_with("cut") { body.len() + 7 } else { body.len() };
            let head = format!("{head}\r\nconnection: close\r\ncontent-length: {promised}\r\n\r\n");
            let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
            let _ = seen.send(request).await;
        }
    });
    (url, requests)
}

fn kind(error: &PluginError) -> &'static str {
    match error {
        PluginError::Retry { in_doubt: true, .. } => "in doubt",
        PluginError::Retry { .. } => "retry",
        PluginError::Refused { .. } => "refused",
        PluginError::Unsupported { .. } => "unsupported",
        PluginError::Broken { .. } => "broken",
        PluginError::Unknown => "unknown",
    }
}

#[tokio::test]
async fn a_comment_is_posted_as_github_documents_it() {
    let (url, mut requests) = github("HTTP/1.1 201 Created|{\"id\":4711}").await;
    start("post", &format!("{url}/"), "ghp_secret").await.expect("it starts");
    let me = requests.recv().await.expect("asked").to_lowercase();
    assert!(me.starts_with("get /user http/1.1"), "{me}");
    assert!(me.contains("authorization: bearer ghp_secret") && me.contains("user-agent: vestibule"), "{me}");

    let receipt = deliver("post", "github:o/r", Some("github:o/r:2:rc:3")).await.expect("posted");
    assert_eq!(receipt.platform_message_id.as_deref(), Some("review_comment-4711"));
    let posted = requests.recv().await.expect("asked");
    assert!(posted.starts_with("POST /repos/o/r/pulls/2/comments/3/replies HTTP/1.1"), "{posted}");
    assert!(posted.ends_with("{\"body\":\"**done**\\n\\n<!-- vestibule:out-1 -->\"}"), "{posted}");

    let error = deliver("post", "github:o/r", None).await.expect_err("a repository takes no comments");
    assert_eq!(kind(&error), "refused");
}

#[tokio::test]
async fn what_each_status_of_a_comment_means() {
    let table = [
        ("HTTP/1.1 401 x|{\"message\":\"Bad credentials\"}", "broken", None, "Bad credentials"),
        (
            "HTTP/1.1 403 x|{\"message\":\"Resource not accessible\"}",
            "refused",
            None,
            "`Issues: Read and write`",
        ),
        ("HTTP/1.1 403 x\r\nretry-after: 30|{}", "retry", Some(30_000), "rate limit"),
        ("HTTP/1.1 429 x\r\nretry-after: 99999999999999999999|", "retry", Some(60_000), "rate limit"),
        ("HTTP/1.1 429 x\r\nretry-after: 9999999999|", "retry", Some(3_600_000), "rate limit"),
        (
            "HTTP/1.1 403 x\r\nx-ratelimit-remaining: 0\r\nx-ratelimit-reset: 1|",
            "retry",
            Some(1_000),
            "limit",
        ),
        ("HTTP/1.1 429 x|", "retry", Some(60_000), "rate limit"),
        ("HTTP/1.1 404 x|{\"message\":\"Not Found\"}", "refused", None, "Not Found"),
        ("HTTP/1.1 410 x|{\"message\":\"Gone\\u0000\"}", "refused", None, "410: Gone)"),
        ("HTTP/1.1 422 x|{\"message\":\"Validation Failed\"}", "refused", None, "(422"),
        // A page of a proxy before GitHub is no verdict on a comment or on a token.
        ("HTTP/1.1 422 x|<html>", "retry", None, "`api_url`"),
        ("HTTP/1.1 401 x|<html>", "retry", None, "`api_url`"),
        ("HTTP/1.1 403 x|<html>", "retry", None, "`api_url`"),
        ("HTTP/1.1 404 x|", "retry", None, "`api_url`"),
        ("HTTP/1.1 413 x|<html>", "refused", None, "`api_url`"),
        ("HTTP/1.1 307 x\r\nlocation: http://127.0.0.1:1/|", "refused", None, "new name"),
        ("HTTP/1.1 307 x\r\nlocation: /again|", "refused", None, "new name"),
        ("HTTP/1.1 307 x|", "refused", None, "new name"),
        (
            "HTTP/1.1 403 x|{\"message\":\"Unable to create comment because issue is locked.\"}",
            "refused",
            None,
            "unlock",
        ),
        ("HTTP/1.1 502 x|<html>", "in doubt", None, "502"),
        ("garbage|", "in doubt", None, "cannot be reached"),
    ];
    for (number, (answer, expected, after, named)) in table.into_iter().enumerate() {
        let (url, _requests) = github(answer).await;
        let account = format!("status-{number}");
        start(&account, &url, "ghp_secret").await.expect("it starts");
        let error = deliver(&account, "github:o/r", Some("github:o/r:issue:1")).await.expect_err(answer);
        assert_eq!(kind(&error), expected, "{answer}: {error:?}");
        assert!(error.reason().contains(named) && !error.reason().contains("ghp_"), "{answer}: {error:?}");
        let waits = if let PluginError::Retry { after_ms, .. } = error { after_ms } else { None };
        assert_eq!(waits, after, "{answer}");
    }
}

/// A renamed repository answers with a redirect: it is followed with the same call and token, on the same host only.
#[tokio::test]
async fn a_repository_that_moved_is_followed_on_the_same_host_only() {
    let (elsewhere, mut strangers) = github("HTTP/1.1 201 Created|{\"id\":1}").await;
    let moved = "HTTP/1.1 307 x\r\nlocation: /repositories/7/issues/1/comments|";
    let (url, mut requests) = github(moved).await;
    start("moved", &url, "ghp_secret").await.expect("it starts");
    requests.recv().await.expect("who it is");
    // The new place redirects, too: in the end the call is given up.
    deliver("moved", "github:o/r", Some("github:o/r:issue:1")).await.expect_err("it only moves");
    assert!(requests.recv().await.expect("asked").starts_with("POST /repos/o/r/issues/1/comments "));
    for _ in 0..3 {
        let again = requests.recv().await.expect("asked there");
        assert!(again.starts_with("POST /repositories/7/issues/1/comments "), "{again}");
        assert!(again.to_lowercase().contains("authorization: bearer ghp_secret"), "{again}");
        assert!(again.ends_with("{\"body\":\"**done**\\n\\n<!-- vestibule:out-1 -->\"}"), "{again}");
    }
    assert!(requests.try_recv().is_err(), "no more often than that");

    let away = format!("HTTP/1.1 307 x\r\nlocation: {elsewhere}/x|").leak();
    let (url, _requests) = github(away).await;
    start("away", &url, "ghp_secret").await.expect("it starts");
    let error = deliver("away", "github:o/r", Some("github:o/r:issue:1")).await.expect_err("not followed");
    assert_eq!(kind(&error), "refused");
    assert!(strangers.try_recv().is_err(), "another host, which is another port, hears nothing");
}

/// A comment may have been posted: the runtime asks for it before it is posted again.
#[tokio::test]
async fn a_success_that_cannot_be_read_leaves_a_comment_in_doubt() {
    for (number, (answer, named)) in [
        ("HTTP/1.1 201 Created|not json", "`api_url`"),
        ("HTTP/1.1 200 OK|<html>back soon</html>", "`api_url`"),
        ("HTTP/1.1 201 Created|{\"id\":47cut", "broke off"),
    ]
    .into_iter()
    .enumerate()
    {
        let (url, _requests) = github(answer).await;
        let account = format!("odd-{number}");
        start(&account, &url, "t").await.expect("it starts");
        let error = deliver(&account, "github:o/r", Some("github:o/r:1")).await.expect_err(answer);
        assert_eq!(kind(&error), "in doubt", "{answer}: {error:?}");
        assert!(error.reason().contains(named), "{answer}: {error:?}");
    }
    let (url, _requests) = github("HTTP/1.1 201 Created|{}").await;
    start("terse", &url, "t").await.expect("it starts");
    assert_eq!(deliver("terse", "github:o/r", Some("github:o/r:1")).await, Ok(Receipt::default()));
}

/// The classes of all channels: a failure of the account moves its state, one about an issue does not.
#[tokio::test]
async fn which_answers_are_about_the_account() {
    for (number, (answer, about_the_account)) in [
        ("HTTP/1.1 401 x|{\"message\":\"Bad credentials\"}", true),
        ("HTTP/1.1 403 x|{\"message\":\"Resource not accessible\"}", false),
        ("HTTP/1.1 404 x|{\"message\":\"Not Found\"}", false),
        ("HTTP/1.1 403 x\r\nretry-after: 30|{\"message\":\"wait\"}", true),
        ("HTTP/1.1 502 x|<html>", true),
        ("garbage|", true),
    ]
    .into_iter()
    .enumerate()
    {
        let (url, _requests) = github(answer).await;
        let account = format!("about-{number}");
        start(&account, &url, "t").await.expect("it starts");
        let error = deliver(&account, "github:o/r", Some("github:o/r:1")).await.expect_err(answer);
        let says = Standing::default().failed(&error, std::time::Instant::now());
        assert_eq!(says.is_some(), about_the_account, "{answer}: {error:?}");
    }
}

#[tokio::test]
async fn a_comment_is_found_again_by_its_mark_and_its_author() {
    let page = |id: u64, body: &str| {
        let list =
            json!([{ "id": 1, "body": null, "user": null }, { "id": 2, "body": body, "user": { "id": id } }]);
        Box::leak(format!("HTTP/1.1 200 OK|{list}").into_boxed_str())
    };
    let mark = "x\n\n<!-- vestibule:out-1 -->";
    for (number, (id, body, found)) in
        [(99, mark, Some("review_comment-2")), (7, mark, None), (99, "x", None)].into_iter().enumerate()
    {
        let (url, mut requests) = github(page(id, body)).await;
        let account = format!("find-{number}");
        start(&account, &url, "t").await.expect("it starts");
        requests.recv().await.expect("asked");
        let message = message(&account, "github:o/r", Some("github:o/r:2:rc:3"));
        let answer: Value = ask(wire::frame(&Request::Find { message })).await.expect("it looks");
        assert_eq!(answer["receipt"]["platform_message_id"].as_str(), found, "{id} {body}");
        let asked = requests.recv().await.expect("asked");
        let path = "GET /repos/o/r/pulls/2/comments?since=2023-11-14T22:03:20Z&per_page=30&page=1 ";
        assert!(asked.starts_with(path), "{asked}");
    }
}

#[tokio::test]
async fn what_keeps_an_account_from_starting() {
    let table = [
        ("HTTP/1.1 401 x|{\"message\":\"Bad credentials\"}for all", "broken", "`token`"),
        ("HTTP/1.1 403 x|{\"message\":\"no\"}for all", "broken", "`token`"),
        ("HTTP/1.1 404 x|{\"message\":\"Not Found\"}for all", "broken", "`api_url`"),
        ("HTTP/1.1 403 x\r\nretry-after: 1|{}for all", "retry", "rate limit"),
        ("HTTP/1.1 503 x|for all", "in doubt", "503"),
        ("HTTP/1.1 200 x|<html>for all", "in doubt", "`api_url`"),
        ("HTTP/1.1 404 x|for all", "retry", "`api_url`"),
        ("HTTP/1.1 302 x\r\nlocation: http://127.0.0.1:1/|for all", "retry", "`api_url`"),
    ];
    for (answer, expected, named) in table {
        let (url, _requests) = github(answer).await;
        let error = start("never", &url, "ghp_secret").await.expect_err(answer);
        assert_eq!(kind(&error), expected, "{answer}: {error:?}");
        assert!(error.reason().contains(named) && !error.reason().contains("ghp_"), "{answer}: {error:?}");
    }
    for (url, token, expected, named) in [
        ("http://127.0.0.1:1", "t", "retry", "cannot be reached"),
        ("ftp://127.0.0.1", "t", "broken", "`api_url`"),
        ("github.example", "t", "broken", "`api_url`"),
        ("http://127.0.0.1:1", "t\nx", "broken", "`token`"),
    ] {
        let error = start("never", url, token).await.expect_err(url);
        assert_eq!(kind(&error), expected, "{url}: {error:?}");
        assert!(error.reason().contains(named), "{url}: {error:?}");
    }
}

/// A payload as GitHub sends it.
static COMMENT: LazyLock<String> = LazyLock::new(|| example("created"));

fn example(action: &str) -> String {
    let lines = include_str!("../../../tests/fixtures/github/webhooks.jsonl").lines();
    let mut all = lines.map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let found = all.find(|one| one["event"] == "issue_comment" && one["payload"]["action"] == action);
    found.expect("there is one")["payload"].to_string()
}

#[tokio::test]
async fn webhooks_are_answered_with_what_became_of_them() {
    let (url, _requests) = github("HTTP/1.1 500 x|").await;
    for account in ["ears", "full", "strict", "deaf"] {
        start(account, &url, "t").await.expect("it starts");
    }
    assert_eq!(webhook("ears", "ping", "{}").await, (200, "pong".into()));
    assert_eq!(webhook("ears", "issue_comment", &COMMENT).await, (200, "committed".into()));
    assert_eq!(webhook("deaf", "issue_comment", &COMMENT).await, (200, "dropped: not_wired".into()));
    assert_eq!(webhook("full", "issue_comment", &COMMENT).await.0, 503);
    assert_eq!(handed("full").len(), 1, "without a file GitHub is told at once");
    assert_eq!(webhook("strict", "issue_comment", &COMMENT).await.0, 422);
    assert_eq!(webhook("ears", "push", "{}").await.0, 202);
    let own = COMMENT.replace("21031067", "99");
    assert_eq!(webhook("ears", "issue_comment", &own).await.0, 202);
    assert_eq!(webhook("ears", "issue_comment", "{}").await.0, 400);
    assert_eq!(webhook("ears", "issue_comment", "payload=%7B%7D").await.0, 400);

    let expected =
        ["issue_comment/created/492700400/2019-05-15T15:20:21Z", "unsupported_event", "own_message"];
    assert_eq!(handed("ears"), expected);
}

/// GitHub does not send again what was not taken.
#[tokio::test]
async fn what_the_runtime_cannot_take_at_first_is_handed_over_again() {
    let (url, _requests) = github("HTTP/1.1 500 x|").await;
    start("hasty", &url, "t").await.expect("it starts");
    let mut event: Value = serde_json::from_str(&COMMENT).expect("JSON");
    event["comment"]["body"] =
        format!("see {url}/user-attachments/assets/0b7a4cf4-2b6c-4b1e-9d2a-5d1c6b7f0a11").into();
    assert_eq!(webhook("hasty", "issue_comment", &event.to_string()).await, (200, "committed".into()));
    assert_eq!(handed("hasty").len(), 2);
}

/// The next message that the runtime takes its time for.
async fn held() -> Done {
    loop {
        if let Some(done) = HELD.lock().expect("sound").pop() {
            return done;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn what_comes_late_does_not_end_what_is_being_handed_over() {
    let (url, _requests) = github("HTTP/1.1 500 x|").await;
    start("held", &url, "t").await.expect("it starts");
    let late = |id: &str| {
        let body = COMMENT.replace("492700400", id);
        tokio::spawn(async move { webhook("held", "issue_comment", &body).await })
    };
    let take = |done: Done| done.complete(status::OK, wire::frame(&Accepted::Committed));
    let mut first = late("1");
    let done = held().await;
    let second = late("2");
    let ended = tokio::time::timeout(Duration::from_millis(300), &mut first).await;
    assert!(ended.is_err(), "it was given up: {ended:?}");
    take(done);
    assert_eq!(first.await.expect("it answers"), (200, "committed".into()));
    take(held().await);
    assert_eq!(second.await.expect("it answers"), (200, "committed".into()));
}

#[tokio::test]
async fn what_changes_a_late_message_comes_after_it() {
    let (url, _requests) = github("HTTP/1.1 500 x|").await;
    start("late", &url, "t").await.expect("it starts");
    let (deleted, edited) = (example("deleted"), example("edited"));
    let answers = tokio::join!(
        webhook("late", "issue_comment", &deleted),
        webhook("late", "issue_comment", &edited),
        webhook("late", "issue_comment", &COMMENT),
    );
    assert_eq!([answers.0.0, answers.1.0, answers.2.0], [200; 3], "{answers:?}");
    let expected = [
        "issue_comment/created/492700400/2019-05-15T15:20:21Z",
        "issue_comment/edited/492700400/2019-05-15T15:20:22Z",
        "issue_comment/deleted/492700400/2019-05-15T15:20:22Z",
    ];
    assert_eq!(handed("late"), expected);
}
