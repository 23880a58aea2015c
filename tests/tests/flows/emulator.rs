//! The emulators that others wrote: GitHub's own webhooks and Slack's own events in, our replies in their stores.

use crate::counterparts::script;
use crate::support::{Runtime, free_port, until};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

/// The secret with which GitHub's emulator signs, from its seed file.
const GITHUB_SECRET: &str = "vestibule-webhook-secret";
/// The same of Slack's.
const SLACK_SECRET: &str = "vestibule-signing-secret";

struct Emulator {
    child: Child,
    at: SocketAddr,
    _data: tempfile::TempDir,
}

impl Drop for Emulator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Emulator {
    fn github(webhook: &str) -> Option<Emulator> {
        Emulator::start("github-emulator.sh", "emulate", "/rate_limit", &[webhook])
    }

    fn slack() -> Option<Emulator> {
        Emulator::start("slack-emulator.sh", "slack-emulate", "/control", &[])
    }

    /// Starts it, if it is installed.
    fn start(name: &str, folder: &str, ready: &str, args: &[&str]) -> Option<Emulator> {
        let script = script(name, folder)?;
        let data = tempfile::tempdir().unwrap();
        // Slack's takes the next port, too.
        let at = std::iter::repeat_with(|| [free_port(), free_port()])
            .find_map(|[at, next]| (next.port() == at.port() + 1).then_some(at))
            .unwrap();
        let child = Command::new(script)
            .arg(data.path())
            .arg(at.port().to_string())
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let emulator = Emulator { child, at, _data: data };
        until("the emulator answers", || {
            std::net::TcpStream::connect(at).ok()?;
            (crate::support::request(at, "GET", ready, &[], b"").0 == 200).then_some(())
        });
        Some(emulator)
    }

    fn call(&self, token: &str, method: &str, path: &str, body: &Value) -> Value {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let (status, answer) = crate::support::request(self.at, method, path, &headers, body.as_bytes());
        assert!(status < 300, "{method} {path}: {status} {answer}");
        // Chunked or not, the JSON is the longest part between the first and the last bracket.
        let from = answer.find(['{', '[']).unwrap();
        let to = answer.rfind(['}', ']']).unwrap();
        serde_json::from_str(&answer[from..=to]).unwrap()
    }
}

/// By an account's token, and as an app whose signed word the emulator verifies.
#[test]
fn row_c05_an_issue_is_heard_and_answered_on_the_emulator() {
    let by_token = "token = { env = \"TEST_TOKEN\" }\n";
    let as_app = "app_id = \"1\"\nprivate_key = { env = \"TEST_KEY\" }\n";
    for (keys, name, login) in [
        (by_token, "vestibule-bot", "vestibule-bot"),
        (as_app, "vestibule-webhook", "vestibule-webhook[bot]"),
    ] {
        // The emulator must know where the runtime listens, and the runtime where the emulator is.
        let port = free_port().port();
        let Some(emulator) = Emulator::github(&format!("http://127.0.0.1:{port}/webhook/github/main")) else {
            return;
        };
        let config = format!(
            "listen = \"127.0.0.1:{port}\"\n[channels.github.main]\n{keys}webhook_secret = {{ env = \"TEST_SECRET\" }}\n\
             api_url = \"http://{}\"\n",
            emulator.at
        );
        let runtime = Runtime::new("")
            .env("TEST_TOKEN", "ghp_bot")
            .env("TEST_KEY", include_str!("../../fixtures/github/app.pem"))
            .env("TEST_SECRET", GITHUB_SECRET);
        std::fs::write(runtime.home.path().join("vestibule.toml"), config).unwrap();
        let runtime = runtime.up();
        runtime.wait_live("github");
        // Wired by mention, as a person would.
        let verb =
            ["wiring", "create", "--agent", "assistant", "--channel", "github", "--chat", "octo-org/hello"];
        runtime.ok(&verb);

        let text = format!("@{name} please look");
        let issue = serde_json::json!({ "title": "It does not start", "body": text });
        let issue = emulator.call("ghp_octocat", "POST", "/repos/octo-org/hello/issues", &issue);
        let comments = format!("/repos/octo-org/hello/issues/{}/comments", issue["number"]);
        let reply = until("the reply is on the emulator", || {
            let found = emulator.call("ghp_octocat", "GET", &comments, &Value::Null);
            found.as_array()?.first().cloned()
        });
        assert_eq!(reply["user"]["login"], login);
        let said = reply["body"].as_str().unwrap();
        let want = format!("It does not start\n\n{text}\n\n<!-- vestibule:");
        assert!(said.starts_with(&want), "{said}");
        // Its own comment came back as a webhook, and was left out.
        until("its own comment is on record as ignored", || {
            let own = "SELECT COUNT(*) FROM drops WHERE reason = 'own_message'";
            (runtime.query::<i64>(own) == [1]).then_some(())
        });
        assert_eq!(runtime.query::<i64>("SELECT COUNT(*) FROM messages_in"), [1]);
    }
}

/// A person's call of Slack's Web API.
fn as_ann(emulator: &Emulator, method: &str, body: Value) -> Value {
    let answer = emulator.call("xoxp-ann", "POST", &format!("/api/{method}"), &body);
    assert_eq!(answer["ok"], true, "{method}: {answer}");
    answer
}

fn channel_of(emulator: &Emulator, name: &str) -> String {
    let list = as_ann(emulator, "conversations.list", json!({ "types": "public_channel,private_channel" }));
    let channels = list["channels"].as_array().unwrap();
    let found = channels.iter().find(|channel| channel["name"] == name).unwrap();
    found["id"].as_str().unwrap().to_owned()
}

/// A message with a file from Ann, as Slack's clients send one.
fn share(emulator: &Emulator, channel: &str, name: &str, bytes: &[u8], words: &str) {
    let place =
        as_ann(emulator, "files.getUploadURLExternal", json!({ "filename": name, "length": bytes.len() }));
    let url = place["upload_url"].as_str().unwrap();
    let path = &url[url.find("/upload").unwrap()..];
    let (status, _) = crate::support::request(emulator.at, "POST", path, &[], bytes);
    assert_eq!(status, 200);
    let files = json!([{ "id": place["file_id"], "title": name }]);
    as_ann(
        emulator,
        "files.completeUploadExternal",
        json!({ "files": files, "channel_id": channel, "initial_comment": words }),
    );
}

fn replies(emulator: &Emulator, channel: &str, thread: &str) -> Vec<Value> {
    let all = as_ann(emulator, "conversations.replies", json!({ "channel": channel, "ts": thread }));
    let messages = all["messages"].as_array().unwrap().clone();
    messages.into_iter().filter(|message| message["user"] == "U0VESTIBULE").collect()
}

/// Over Socket Mode and over HTTP: a mention, a thread, a direct message, and files both ways.
#[test]
fn slack_is_heard_and_answered_on_the_emulator() {
    for by_socket in [true, false] {
        let Some(emulator) = Emulator::slack() else { return };
        let dev = channel_of(&emulator, "dev");
        emulator.call("xoxb-vestibule", "POST", "/api/conversations.join", &json!({ "channel": dev }));
        let keys = if by_socket {
            "app_token = { env = \"TEST_APP\" }"
        } else {
            "signing_secret = { env = \"TEST_SECRET\" }"
        };
        let config = format!(
            "[channels.slack.main]\nbot_token = {{ env = \"TEST_BOT\" }}\n{keys}\n\
             api_url = \"http://{}/api/\"\n",
            emulator.at
        );
        let runtime = Runtime::new(&config)
            .env("TEST_BOT", "xoxb-vestibule")
            .env("TEST_APP", "xapp-vestibule")
            .env("TEST_SECRET", SLACK_SECRET)
            .up();
        runtime.wait_live("slack");
        if by_socket {
            until("a socket is open", || (control(&emulator)["sockets"] == 1).then_some(()));
        } else {
            let url = format!("http://{}/webhook/slack/main", runtime.listening());
            let taken = emulator.call("xoxp-ann", "POST", "/control/subscribe", &json!({ "url": url }));
            assert_eq!(taken["ok"], true, "the request URL is verified");
        }
        let verb = ["wiring", "create", "--agent", "assistant", "--channel", "slack", "--chat"];
        runtime.ok(&[&verb[..], &[&format!("slack:{dev}")]].concat());

        let said = as_ann(
            &emulator,
            "chat.postMessage",
            json!({ "channel": dev, "text": "<@U0VESTIBULE> **please** look &amp; answer" }),
        );
        let ts = said["ts"].as_str().unwrap();
        let reply = until("the reply is on the emulator", || replies(&emulator, &dev, ts).pop());
        assert_eq!(reply["text"], "@vestibule *please* look &amp; answer");
        as_ann(
            &emulator,
            "chat.postMessage",
            json!({ "channel": dev, "thread_ts": ts, "text": "<@U0VESTIBULE> more" }),
        );
        until("the thread goes on", || (replies(&emulator, &dev, ts).len() == 2).then_some(()));
        as_ann(&emulator, "chat.postMessage", json!({ "channel": dev, "text": "not for it" }));

        let opened = as_ann(&emulator, "conversations.open", json!({ "users": "U0VESTIBULE" }));
        let direct = opened["channel"]["id"].as_str().unwrap();
        runtime.ok(&[&verb[..], &[&format!("slack:{direct}")]].concat());
        share(&emulator, direct, "notes.txt", b"the notes", "keep these");
        let shared = until("text and file are back", || {
            let all = as_ann(&emulator, "conversations.history", json!({ "channel": direct }));
            let ours = |message: &&Value| message["user"] == "U0VESTIBULE";
            let ours: Vec<Value> = all["messages"].as_array()?.iter().filter(ours).cloned().collect();
            (ours.len() == 2).then_some(ours)
        });
        let names: Vec<&str> =
            shared.iter().filter_map(|message| message["files"][0]["name"].as_str()).collect();
        assert_eq!(names, ["notes.txt"], "{shared:?}");
        let dropped = |reason: &str| {
            runtime.query::<i64>(&format!(
                "SELECT COALESCE(SUM(message_count), 0) FROM drops WHERE reason = '{reason}'"
            ))
        };
        until("its own messages are on record as ignored", || (dropped("own_message") == [4]).then_some(()));
        assert_eq!(dropped("no_agent_engaged"), [1]);
        assert_eq!(runtime.query::<i64>("SELECT COUNT(*) FROM messages_in"), [3]);
        let with_file = "SELECT COUNT(*) FROM messages_in WHERE content LIKE '%/notes.txt%'";
        assert_eq!(runtime.query::<i64>(with_file), [1]);
    }
}

/// The emulator between the channel and Slack's own SDK, by which a person writes.
#[test]
fn row_c04_a_person_by_slacks_sdk_is_answered_on_the_emulator() {
    let Some(referee) = script("slack-referees.sh", "slack-python") else { return };
    let Some(emulator) = Emulator::slack() else { return };
    let dev = channel_of(&emulator, "dev");
    emulator.call("xoxb-vestibule", "POST", "/api/conversations.join", &json!({ "channel": dev }));
    let api = format!("http://{}/api", emulator.at);
    let config = format!(
        "[channels.slack.main]\nbot_token = {{ env = \"TEST_BOT\" }}\napp_token = {{ env = \"TEST_APP\" }}\n\
         api_url = \"{api}\"\n"
    );
    let runtime =
        Runtime::new(&config).env("TEST_BOT", "xoxb-vestibule").env("TEST_APP", "xapp-vestibule").up();
    runtime.wait_live("slack");
    until("a socket is open", || (control(&emulator)["sockets"] == 1).then_some(()));
    let wire = |chat: &str| {
        let verb = ["wiring", "create", "--agent", "assistant", "--channel", "slack", "--chat"];
        runtime.ok(&[&verb[..], &[&format!("slack:{chat}")]].concat());
    };
    wire(&dev);
    let mut person = Command::new(referee)
        .args(["person", &api])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let mut told = BufReader::new(person.stdout.take().unwrap()).lines();
    if let Some(direct) = told.next() {
        wire(&direct.unwrap());
        person.stdin.take().unwrap().write_all(b"\n").unwrap();
    }
    assert_eq!(told.next().and_then(Result::ok).as_deref(), Some("answered"));
    assert!(person.wait().unwrap().success());
}

/// The steps of the channel's README, with the tokens in the environment, and the command that the status prints.
#[test]
fn slack_is_set_up_on_the_emulator_as_its_readme_says() {
    let Some(emulator) = Emulator::slack() else { return };
    let runtime =
        Runtime::new("").env("SLACK_BOT_TOKEN", "xoxb-vestibule").env("SLACK_APP_TOKEN", "xapp-vestibule");
    let root = format!("api_url=http://{}/api", emulator.at);
    let mut add = runtime.command(&["channel", "add", "slack", "--set", &root]);
    let output = add.stdin(Stdio::null()).output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{told}{}", String::from_utf8_lossy(&output.stderr));
    for words in
        ["paste this as YAML", "slack main works", "start it with `vestibule up`", "then write again"]
    {
        assert!(told.contains(words), "{words}: {told}");
    }
    let runtime = runtime.up();
    runtime.wait_live("slack");
    let dev = channel_of(&emulator, "dev");
    emulator.call("xoxb-vestibule", "POST", "/api/conversations.join", &json!({ "channel": dev }));
    let mention =
        || as_ann(&emulator, "chat.postMessage", json!({ "channel": dev, "text": "<@U0VESTIBULE> hello" }));
    mention();
    let wire = until("the status says how to wire the chat", || {
        let status = runtime.json(&["status"]);
        let chat = status["unwired"].as_array()?.iter().find(|one| one["chat"] == format!("slack:{dev}"))?;
        chat["wire_with"].as_str().map(str::to_owned)
    });
    let words: Vec<&str> = wire.split(' ').skip(1).collect();
    runtime.ok(&words);
    let said = mention();
    let ts = said["ts"].as_str().unwrap();
    let reply = until("the reply is on the emulator", || replies(&emulator, &dev, ts).pop());
    assert_eq!(reply["text"], "@vestibule hello");
}

fn control(emulator: &Emulator) -> Value {
    emulator.call("xoxp-ann", "GET", "/control", &Value::Null)
}
