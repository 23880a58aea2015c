//! Slack's apps in more than one workspace: several accounts of one app, and the app of a whole organisation.

use crate::slack::{
    BY_SOCKET, all_acknowledged, names, posts, runtime, runtime_of_file, runtime_with, started, wire,
};
use crate::slack_api::{BOT, SlackApi};
use crate::support::{Runtime, until};
use serde_json::{Value, json};

/// A runtime with one app in two workspaces.
fn two_workspaces(api: &SlackApi) -> Runtime {
    names(api);
    api.store().tokens.insert("xoxb-other".into(), ("U1BOT".into(), "T1".into()));
    let other = format!(
        "{BY_SOCKET}[channels.slack.other]\nlistener = \"main\"\nbot_token = {{ env = \"TEST_OTHER\" }}\napi_url = \"{}\"\n",
        api.url
    );
    let runtime = started(runtime_with(api, &other).env("TEST_OTHER", "xoxb-other"));
    until("both are live", || {
        let all = runtime.json(&["channel", "list"]);
        let live =
            all.as_array().unwrap().iter().filter(|one| one["channel"] == "slack" && one["state"] == "live");
        (live.count() == 2).then_some(())
    });
    wire(&runtime, "slack:C012", &[]);
    wire(&runtime, "slack:C777", &["--account", "other"]);
    runtime
}

/// An event as Slack wraps it for the app in this workspace.
fn for_workspace(api: &SlackApi, team: &str, bot: &str, message: Value) -> Value {
    let mut event = api.event(message);
    event["team_id"] = "T0ELSEWHERE".into();
    event["authorizations"] = json!([{ "team_id": team, "user_id": bot }]);
    event
}

/// One app in two workspaces: one account hears for both, and each answers with its own token.
#[test]
fn one_app_serves_several_workspaces() {
    let api = SlackApi::start();
    let runtime = two_workspaces(&api);
    let say = |team: &str, channel: &str, bot: &str, text: &str| {
        let message = api.message(channel, "U0ANN", &format!("<@{bot}> {text}"), json!({}));
        api.send("events_api", for_workspace(&api, team, bot, message));
    };
    say("T0CP", "C012", BOT, "first");
    say("T1", "C777", "U1BOT", "second");
    // The bot of one workspace is not mentioned in the other.
    say("T1", "C777", BOT, "third");
    say("T9", "C012", BOT, "fourth");
    let posts = posts(&api, 2);
    let mut at: Vec<_> = posts.iter().map(|post| post.channel.clone()).collect();
    at.sort();
    assert_eq!(at, ["C012", "C777"]);
    all_acknowledged(&api);
    let dropped = runtime.query::<String>("SELECT account || ' ' || reason FROM drops ORDER BY 1");
    assert_eq!(dropped, ["main unknown_account", "other no_agent_engaged"]);
    let heard =
        "SELECT account || ' ' || platform_id FROM messages_in WHERE channel_type = 'slack' ORDER BY 1";
    assert_eq!(runtime.query::<String>(heard), ["main slack:C012", "other slack:C777"]);
}

/// One connection serves all: what one workspace waits for is no other one's trouble.
#[test]
fn one_workspaces_slow_files_hold_up_no_other_workspace() {
    let api = SlackApi::start();
    api.store().files.insert("slow.txt".into(), b"the file".to_vec());
    let runtime = two_workspaces(&api);
    // Each takes a second, one after the other: more of them than are under way at once.
    for number in 0..300 {
        let text = format!("<@{BOT}> number {number}");
        let message = api.share("C012", "U0ANN", &text, &["slow.txt"]);
        api.send("events_api", for_workspace(&api, "T0CP", BOT, message));
    }
    let message = api.message("C777", "U0ANN", "<@U1BOT> and here?", json!({}));
    api.send("events_api", for_workspace(&api, "T1", "U1BOT", message));
    until("the other workspace is answered", || {
        api.store().posts.iter().any(|post| post.channel == "C777").then_some(())
    });
    let heard = runtime.query::<i64>("SELECT COUNT(*) FROM messages_in WHERE account = 'main'")[0];
    assert!(heard < 100, "the slow ones wait: {heard} are here");
}

/// An app that is installed for an organisation is one account, which hears each workspace.
#[test]
fn an_organisations_app_hears_all_its_workspaces() {
    let api = SlackApi::start();
    names(&api);
    api.store().names.insert("C555".into(), "general".into());
    let channels = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect();
    api.store().organisation =
        [("T1".to_owned(), channels(&["C012", "C013"])), ("T2".to_owned(), channels(&["C013", "C555"]))]
            .into();
    let runtime = started(runtime(&api));
    // A name is looked for in each workspace, and one that two have says nothing.
    wire(&runtime, "#random", &[]);
    let verb = ["wiring", "create", "--agent", "assistant", "--channel", "slack", "--chat", "#general"];
    let output = runtime.run(&verb);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && told.contains("name it by its id, one of C012, C555"), "{told}");
    wire(&runtime, "slack:C012", &[]);
    wire(&runtime, "slack:C555", &[]);
    for (team, channel) in [("T1", "C012"), ("T2", "C555")] {
        let message = api.message(channel, "U0ANN", &format!("<@{BOT}> ask @Ben"), json!({}));
        let mut event = api.event(message);
        event["team_id"] = team.into();
        event["enterprise_id"] = "E0CP".into();
        event["authorizations"] = json!([{ "enterprise_id": "E0CP", "team_id": team, "user_id": BOT, "is_enterprise_install": true }]);
        api.send("events_api", event);
    }
    let posts = posts(&api, 2);
    let at: std::collections::BTreeSet<&str> = posts.iter().map(|post| post.channel.as_str()).collect();
    assert_eq!(at, ["C012", "C555"].into());
    assert_eq!(posts[0].text, "@vestibule ask <@U0BEN>", "people are listed by workspace, too");
    all_acknowledged(&api);
    let workspaces = "SELECT json_extract(content, '$.metadata.workspace') FROM messages_in ORDER BY 1";
    assert_eq!(runtime.query::<String>(workspaces), ["T1", "T2"]);
    assert_eq!(runtime.query::<i64>("SELECT COUNT(*) FROM drops"), [0]);
}

/// Of so many channels a name is not found, and the operator reads what does name one.
#[test]
fn where_too_many_channels_are_for_a_name_the_id_is_asked_for() {
    let api = SlackApi::start();
    for number in 100..120 {
        api.store().names.insert(format!("C{number}"), format!("room-{number}"));
    }
    let runtime = started(runtime(&api));
    let verb = ["wiring", "create", "--agent", "assistant", "--channel", "slack", "--chat", "#room-119"];
    let output = runtime.run(&verb);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && told.contains("name it by its id"), "{told}");
    wire(&runtime, "slack:C119", &[]);
    wire(&runtime, "#room-101", &[]);
}

/// One account is the organisation's, another a workspace's of a company elsewhere, both of one app.
#[test]
fn an_organisation_and_a_workspace_share_one_listener() {
    let api = SlackApi::start();
    api.store().organisation = [("T1".to_owned(), vec!["C012".to_owned()])].into();
    let runtime = two_workspaces(&api);
    let send = |team: &str, is_organisations: bool, channel: &str, bot: &str| {
        let mut event = api.event(api.message(channel, "U0ANN", &format!("<@{bot}> hi"), json!({})));
        event["authorizations"] = json!([{ "enterprise_id": "E0CP", "team_id": team, "user_id": bot,
            "is_enterprise_install": is_organisations }]);
        api.send("events_api", event);
    };
    send("T7", true, "C012", BOT);
    send("T1", false, "C777", "U1BOT");
    posts(&api, 2);
    all_acknowledged(&api);
    let heard =
        "SELECT account || ' ' || platform_id FROM messages_in WHERE channel_type = 'slack' ORDER BY 1";
    assert_eq!(runtime.query::<String>(heard), ["main slack:C012", "other slack:C777"]);
}

/// The config is read anew for one account: the connections of the others stay, also in a plugin's process of its own.
#[test]
fn a_reload_leaves_alone_what_did_not_change() {
    for of_file in [false, true] {
        let api = SlackApi::start();
        names(&api);
        api.store().tokens.insert("xoxb-other".into(), ("U1BOT".into(), "T1".into()));
        let runtime = if of_file { runtime_of_file(&api) } else { runtime(&api) };
        let runtime = started(runtime.env("TEST_OTHER", "xoxb-other"));
        wire(&runtime, "slack:C012", &[]);
        let file = runtime.home.path().join("vestibule.toml");
        let before = std::fs::read_to_string(&file).unwrap();
        let opened = || api.store().opened;
        until("it has a connection", || (opened() == 1).then_some(()));
        let other = |more: &str| {
            format!(
                "[channels.slack.other]\nbot_token = {{ env = \"TEST_OTHER\" }}\napp_token = {{ env = \"TEST_APP\" }}\n\
                 api_url = \"{}\"\n{more}",
                api.url
            )
        };
        let reload = |text: &str, states: &[&str]| {
            std::fs::write(&file, format!("{before}{text}")).unwrap();
            runtime.ok(&["plugin", "reload", "slack"]);
            until("the accounts are so", || {
                let all = runtime.json(&["channel", "list"]);
                let is = |one: &&Value| one["channel"] == "slack" && one["state"] == "live";
                let live: Vec<&str> =
                    all.as_array()?.iter().filter(is).filter_map(|one| one["account"].as_str()).collect();
                (live == states).then_some(())
            });
        };
        // Another one comes, changes and goes; the first one's connection is the same.
        reload(&other(""), &["main", "other"]);
        until("the other has a connection, too", || (opened() == 2).then_some(()));
        reload(&other("# the same\n"), &["main", "other"]);
        until("without a change all are started anew", || (opened() == 4).then_some(()));
        let (first, hosts) = (opened(), runtime.plugin_hosts());
        reload(&other("signing_secret = { env = \"TEST_SECRET\" }\n"), &["main", "other"]);
        until("the other is started anew", || (opened() == first + 1).then_some(()));
        reload("", &["main"]);
        api.say("C012", "U0ANN", &format!("<@{BOT}> still there?"));
        posts(&api, 1);
        assert_eq!(opened(), first + 1, "nothing else was connected anew");
        until("one is left", || (api.store().open() == 1).then_some(()));
        assert_eq!(
            (runtime.plugin_hosts(), hosts.len()),
            (hosts.clone(), usize::from(of_file)),
            "in the same process"
        );
        // One that hears by another has nothing left to hear by when that goes, though it is the same itself.
        let hears = other("listener = \"main\"\n").replace("app_token = { env = \"TEST_APP\" }\n", "");
        reload(&hears, &["main", "other"]);
        let gone = format!("{before}{hears}").replace("[channels.slack.main]", "[channels.slack.moved]");
        std::fs::write(&file, gone).unwrap();
        let told = runtime.run(&["plugin", "reload", "slack"]);
        assert!(!told.status.success());
        if of_file {
            continue; // a new process would have to start it: what ran before runs on
        }
        let told = String::from_utf8_lossy(&told.stdout);
        assert!(told.contains("names the account `main` as its `listener`, and there is none"), "{told}");
    }
}
