//! The stand-in for Slack, judged by Slack's own libraries: the Python SDK calls every method of the channel and keeps
//! connections, apps by Bolt for Python and JavaScript hear what it tells, and all that the channel and it say to each
//! other is read in the types of the SDK for TypeScript.

use crate::counterparts::script;
use crate::slack::{
    BY_SOCKET, agent_writes, all_acknowledged, names, posts, runtime, runtime_with, started, wire,
};
use crate::slack_api::{CUT, FORM, JSON, SECRET, SlackApi, form_of, now, post_as, posted, signed};
use crate::support::{Runtime, asker, free_port, until};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// The script that runs a referee.
fn referee(folder: &str) -> Option<PathBuf> {
    script("slack-referees.sh", folder)
}

fn start(script: PathBuf, args: &[&str]) -> Child {
    let mut command = Command::new(script);
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Ends a referee, which has to be content.
fn is_content(child: Child) {
    let output = child.wait_with_output().unwrap();
    let [said, told] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    assert!(output.status.success() && !told.contains("Traceback"), "{said}{told}");
}

#[test]
fn row_c04_slacks_own_sdk_works_there() {
    let Some(script) = referee("slack-python") else { return };
    let api = SlackApi::start();
    names(&api);
    api.store().refresh = Some(("xoxe-first".into(), 43_200));
    let limit = (429, json!({ "ok": false, "error": "ratelimited" }));
    api.store().script.insert("bots.info".into(), vec![limit; 2].into());
    api.message("C012", "U0ANN", "hello from a test", json!({}));
    let mut child = start(script, &["client", &api.url]);
    let mut told = String::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        told = line.unwrap();
        match told.as_str() {
            "connected" => drop(api.say("C012", "U0ANN", "over the socket")),
            "heard" => {
                until("it is acknowledged", || api.store().unacknowledged.is_empty().then_some(()));
                api.disconnect("refresh_requested");
            }
            "changed" => drop(api.say("C012", "U0ANN", "over the next one")),
            _ => {}
        }
    }
    is_content(child);
    assert_eq!(told, "the SDK works here");
    assert_eq!(api.store().opened, 2);
}

/// All that people do, one after the other, and what the app by Bolt answers.
fn people_act(api: &SlackApi, tell: impl Fn(&str, Value)) {
    let event = |event: Value| tell("events_api", api.event(event));
    let answered = |words: &str| {
        until(words, || {
            let posts = api.store().posts.clone();
            posts.into_iter().find(|post| post.text == words)
        })
    };
    let message = api.message("C012", "U0ANN", "hello there", json!({}));
    event(message.clone());
    let post = answered("heard hello there");
    tell("interactive", api.click("U0ANN", &post, &post.buttons()[0].1));
    answered("U0ANN clicked yes");
    let called = api.message("C013", "U0BEN", "<@U0BOT> look", json!({}));
    event(api.mention(&called));
    assert_eq!(answered("mentioned in C013").thread.as_deref(), called["ts"].as_str());
    let ts = message["ts"].as_str().unwrap();
    event(api.edited("C012", ts, "U0ANN", "hello there", "hello, all", "1800000000.1"));
    answered("changed to hello, all");
    event(api.reacted("reaction_added", "C012", &post.ts, "U0ANN", "eyes"));
    answered("reacted with eyes");
    event(api.deleted("C012", ts, "U0ANN", "hello, all"));
    answered("deleted hello, all");
    event(api.renamed("C012", "all"));
    answered("called all");
    tell("slash_commands", api.command("/ask", "what is new?", "U0ANN", "C012"));
    answered("U0ANN asked what is new?");
}

#[test]
fn row_c04_apps_by_bolt_hear_all_in_socket_mode() {
    for (folder, word) in [("slack-python", "app"), ("slack-node", "app-node")] {
        let Some(script) = referee(folder) else { return };
        let api = SlackApi::start();
        let child = start(script, &[word, &api.url]);
        until("it has a connection", || (api.store().open() > 0).then_some(()));
        people_act(&api, |kind, payload| drop(api.send(kind, payload)));
        until("all is acknowledged", || api.store().unacknowledged.is_empty().then_some(()));
        is_content(child);
        assert_eq!(api.store().opened, 1, "{word} was content with its connection");
    }
}

#[test]
fn row_c04_an_app_by_bolt_takes_signed_requests() {
    let Some(script) = referee("slack-python") else { return };
    let (api, at) = (SlackApi::start(), free_port());
    let child = start(script, &["receiver", &api.url, &at.port().to_string()]);
    until("it listens", || std::net::TcpStream::connect(at).ok());
    let place = (at, "/slack/events");
    let check = json!({ "token": "x", "type": "url_verification", "challenge": "3eZbrw1aB" }).to_string();
    let (status, answer) = posted(place, JSON, &check);
    assert!(status == 200 && answer.contains("3eZbrw1aB"), "{status} {answer}");
    let event = api.event(api.message("C012", "U0ANN", "hello", json!({}))).to_string();
    let stale = now() - 400;
    for (time, secret) in [(now(), "other"), (stale, SECRET)] {
        assert_eq!(post_as(place, JSON, &event, time, &signed(secret, time, &event)).0, 401, "{secret}");
    }
    people_act(&api, |kind, payload| {
        let (kind, body) = match kind {
            "events_api" => (JSON, payload.to_string()),
            _ => (FORM, form_of(&payload)),
        };
        let (status, answer) = posted(place, kind, &body);
        assert_eq!(status, 200, "{answer}");
    });
    is_content(child);
}

/// A runtime of an account whose token is renewed, and that has a listener of both kinds.
fn renewed(api: &SlackApi) -> Runtime {
    api.store().refresh = Some(("xoxe-first".into(), 43_200));
    let keys = format!(
        "{BY_SOCKET}refresh_token = {{ env = \"TEST_REFRESH\" }}\nclient_id = \"client\"\n\
         client_secret = {{ env = \"TEST_CLIENT\" }}\n"
    );
    let runtime = runtime_with(api, &keys).env("TEST_REFRESH", "xoxe-first");
    started(runtime.env("TEST_CLIENT", "very-secret"))
}

/// All that operators, people and an agent do.
fn all_is_done(api: &SlackApi) {
    names(api);
    api.store().files.insert("a.txt".into(), b"the file".to_vec());
    let runtime = renewed(api);
    wire(&runtime, "#general", &["--pattern", "^[^-]"]);
    wire(&runtime, "slack:D012", &[]);
    runtime.ok(&["messaging-group", "create", "--channel", "slack", "--person", "U0ANN"]);
    api.say("D012", "U0ANN", "in private");
    let direct = posts(api, 1).remove(0).ts;
    let message = api.share("C012", "U0ANN", "<@U0BOT> look, <@U0BEN> in <#C013>", &["a.txt"]);
    api.tell(api.mention(&message));
    api.tell(message.clone());
    posts(api, 3);
    // Slack's answer to a reply is lost, in a channel's thread and in a direct chat.
    for place in ["C012", "D012"] {
        api.store().script.insert("chat.postMessage".into(), [(CUT, json!(null))].into());
        let before = api.store().posts.len();
        api.say(place, "U0ANN", "once, @Ben");
        posts(api, before + 1);
    }
    let settled = "SELECT COUNT(*) FROM deliveries WHERE state = 'delivered'";
    until("all is settled", || (runtime.query::<i64>(settled) == [4]).then_some(()));
    let ts = message["ts"].as_str().unwrap();
    let reply = api.store().posts[1].clone();
    api.tell(api.edited("C012", ts, "U0ANN", "look", "look here", "1800000000.1"));
    for kind in ["reaction_added", "reaction_removed"] {
        api.tell(api.reacted(kind, "C012", &reply.ts, "U0ANN", "eyes"));
    }
    api.tell(api.deleted("C012", ts, "U0ANN", "look here"));
    api.tell(api.renamed("C012", "all"));
    runtime.ok(&["messaging-group", "history", "slack:C012"]);
    for (number, content) in [
        json!({ "operation": "edit", "messageId": direct, "text": "**other** words" }),
        json!({ "operation": "reaction", "messageId": direct, "emoji": "eyes" }),
        json!({ "type": "card", "card": { "title": "Build", "description": "It is *done*",
            "children": ["and more"], "actions": [{ "label": "Open", "url": "https://a.example" }] } }),
        json!({ "operation": "delete", "messageId": direct }),
    ]
    .iter()
    .enumerate()
    {
        agent_writes(&runtime, 1_000 + number as i64, "slack:D012", content.clone());
    }
    until("it is taken back", || api.store().posts.iter().all(|post| post.ts != direct).then_some(()));
    asks(api, &runtime);
    all_acknowledged(api);
}

/// An agent asks in a thread, where it is seen at work; a person answers by a click, and another one too late.
fn asks(api: &SlackApi, runtime: &Runtime) {
    let command = format!("'{}'", asker().display());
    runtime.ok(&["agent", "update", "assistant", "--provider", "command", "--command", &command]);
    api.send("slash_commands", api.command("/ask", "ask one", "U0ANN", "C012"));
    let asked = until("the question is there", || {
        let posts = api.store().posts.clone();
        posts.into_iter().find(|post| post.buttons().len() == 2)
    });
    let click = |user: &str| drop(api.send("interactive", api.click(user, &asked, &asked.buttons()[0].1)));
    click("U0ANN");
    until("the buttons are gone", || {
        let posts = api.store().posts.clone();
        posts.iter().any(|post| post.ts == asked.ts && post.buttons().is_empty()).then_some(())
    });
    click("U0BEN");
    until("the second click is told of", || (!api.store().whispers.is_empty()).then_some(()));
    let said = api.say("C012", "U0ANN", "ask two");
    until("it is seen at work", || api.store().statuses.contains(&said).then_some(()));
}

#[test]
fn row_c04_all_that_is_said_is_what_slacks_types_know() {
    let Some(script) = referee("slack-node") else { return };
    let (api, organisation) = (SlackApi::start(), SlackApi::start());
    all_is_done(&api);
    names(&organisation);
    organisation.store().organisation = [("T1".to_owned(), vec!["C012".to_owned()])].into();
    let runtime = started(runtime(&organisation));
    wire(&runtime, "#general", &[]);
    let (mut calls, mut told) = (vec![], vec![]);
    for api in [&api, &organisation] {
        calls.extend(api.store().answered.clone());
        told.extend(api.store().told.clone());
    }
    let file = runtime.home.path().join("said.json");
    std::fs::write(&file, json!({ "calls": calls, "told": told }).to_string()).unwrap();
    let output = Command::new(script).arg("types").arg(&file).output().unwrap();
    let [said, told] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    assert!(output.status.success(), "{said}{told}");
    // What the channel calls, and what it reads.
    let calls = include_str!("../../../adapters/slack/src/api.rs").to_owned()
        + include_str!("../../../adapters/slack/src/asks.rs")
        + include_str!("../../../adapters/slack/src/names.rs");
    let methods = calls.split('"').filter(|word| {
        let starts = [
            "apps.",
            "assistant.",
            "auth.",
            "chat.",
            "conversations.",
            "files.",
            "oauth.",
            "reactions.",
            "users.",
        ];
        starts.iter().any(|start| word.starts_with(start))
    });
    let kinds = [
        "message file_share",
        "message message_changed",
        "message message_deleted",
        "reaction_added",
        "reaction_removed",
        "app_mention",
        "interactive",
        "slash_commands",
    ];
    let methods: BTreeSet<&str> = methods.filter(|word| *word != "chat.x").collect();
    assert!(methods.len() > 15, "{methods:?}");
    for word in methods.into_iter().chain(kinds) {
        assert!(said.contains(word), "{word}: {said}");
    }
}
