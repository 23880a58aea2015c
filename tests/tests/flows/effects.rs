//! What modules ask the runtime to do: sessions say something in a chat, people are asked and the module hears what they
//! decided, and what was scheduled is brought.

use crate::agents::act;
use crate::changes::{Platform, wired_with};
use crate::support::{Runtime, Terminal, plugin_file, until};
use serde_json::{Value, json};
use std::time::Duration;

fn add_guard(runtime: &Runtime) {
    std::fs::copy(plugin_file("vestibule-guard"), runtime.home.path().join("plugins/guard.so")).unwrap();
    guard_is_live(runtime, 1);
}

fn guard_is_live(runtime: &Runtime, times: usize) {
    until("the module is live", || {
        (runtime.log().matches("module is live module=\"guard\"").count() >= times).then_some(())
    });
}

/// An agent in a chat whose channel shows cards and edits, and the module.
fn guarded() -> (Runtime, Platform, String) {
    let (runtime, mut platform) = wired_with("rich", "[plugins.agent-to-agent]\nbuilt_in = false\n");
    add_guard(&runtime);
    let heard = platform.writes("hello");
    assert!(platform.posted().contains("hello"));
    (runtime, platform, heard)
}

fn wants(runtime: &Runtime, effects: Value) {
    act(runtime, &json!({ "action": "effects", "effects": effects }));
}

fn in_ms(runtime: &Runtime, ms: i64) -> i64 {
    runtime.query::<i64>("SELECT CAST(unixepoch('subsec') * 1000 AS INTEGER)")[0] + ms
}

fn asks(key: &str) -> Value {
    json!({ "effect": "ask", "key": key, "title": "Deploy", "question": "Now?", "payload": { "n": 7 },
            "options": [{ "label": "Yes", "value": "y" }, { "label": "No", "value": "n" }] })
}

fn card() -> Value {
    json!({ "effect": "card", "key": "card", "card": { "title": "Build", "fallback": "Build" } })
}

#[test]
fn a_module_speaks_in_its_agents_place_and_hears_what_people_decide() {
    let (runtime, mut platform, heard) = guarded();
    let react = json!({ "effect": "react", "message_id": heard, "emoji": "eyes" });
    let later = json!({ "effect": "send", "text": "at last", "at": in_ms(&runtime, 1_000) });
    wants(&runtime, json!([later, card(), react, asks("deploy")]));
    let post = platform.said("post");
    assert_eq!(post["content"], json!({ "kind": "card", "title": "Build", "fallback": "Build" }));
    let reaction = json!({ "kind": "reaction", "message_id": heard, "emoji": "eyes" });
    assert_eq!(platform.said("post")["content"], reaction);
    let numbered = "Deploy\n\nNow?\n\n1. Yes\n2. No\n\nAnswer with a number or with the words beside it.";
    assert_eq!(platform.posted(), numbered);
    assert_eq!(platform.posted(), "at last");

    // The module fails when it is told first, and is told again.
    platform.writes("2");
    let said = "deploy {\"n\":7}: n by somebody";
    let edit = platform.said("post");
    assert_eq!(edit["content"], json!({ "kind": "edit", "message_id": post["post"], "text": said }));
    assert!(
        platform.posted().contains(": n by somebody"),
        "the agent is told by the module, and by nothing else"
    );
    assert_eq!(runtime.query::<i64>("SELECT COUNT(*) FROM messages_in WHERE kind = 'system'"), [0]);

    // Nor does the agent hear what an operator answers.
    wants(&runtime, json!([asks("again")]));
    assert_eq!(platform.posted(), numbered);
    let open = runtime.json(&["question", "list"]);
    runtime.ok(&["question", "answer", open[0]["id"].as_str().unwrap(), "Yes"]);
    assert_eq!(platform.said("post")["content"]["text"], "again {\"n\":7}: y by operator");
    assert_eq!(runtime.query::<i64>("SELECT COUNT(*) FROM questions WHERE told_at IS NULL"), [0]);
}

#[test]
fn what_cannot_be_done_whole_is_not_done_in_part() {
    let (runtime, _platform, _) = guarded();
    let send = |to: Option<&str>| json!({ "effect": "send", "text": "hi", "to": to });
    let failed = "SELECT last_error FROM deliveries WHERE state = 'failed' ORDER BY taken_at";
    for (count, (effects, want)) in (0..).zip([
        (json!([send(None), send(Some("nowhere"))]), "this agent has no destination `nowhere`"),
        (
            json!([send(None), { "effect": "create_agent", "name": "helper" }]),
            "this runtime does not do `create_agent` yet, and the module guard wants it",
        ),
        (
            json!([send(None), { "effect": "send", "text": "hi", "agent": "assistant" }]),
            "`agents` in its [plugins] section",
        ),
        (json!([send(None), { "effect": "teleport" }]), "answered `action` wrongly"),
        (
            json!([send(None), { "effect": "edit", "key": "none", "text": "x" }]),
            "nothing was said for this agent",
        ),
    ]) {
        wants(&runtime, effects);
        let why = until("it is refused", || runtime.query::<String>(failed).get(count).cloned());
        assert!(why.contains(want), "{why}");
    }
    let sent = "SELECT COUNT(*) FROM deliveries WHERE message_out_id LIKE 'mod-%'";
    assert_eq!(runtime.query::<i64>(sent), [0]);
    let told = "SELECT COUNT(*) FROM messages_in WHERE content LIKE '%Your request `effects`%was not done%'";
    assert!(runtime.query::<i64>(told)[0] > 0, "the agent is told");
}

/// A module is told of a decision by the commit of its answer, or again.
#[test]
fn a_decision_is_heard_though_the_runtime_is_killed() {
    let (mut runtime, mut platform, _) = guarded();
    wants(&runtime, json!([card(), asks("deploy")]));
    let post = platform.said("post");
    assert!(platform.posted().starts_with("Deploy"));
    platform.writes("yes");
    until("the module did not hear it", || {
        runtime.log().contains("a module did not hear of a decision").then_some(())
    });
    runtime.kill();
    let untold = "SELECT COUNT(*) FROM questions WHERE answer = 0 AND told_at IS NULL";
    assert_eq!(runtime.query::<i64>(untold), [1]);
    runtime.start_with("rich");
    platform.reconnects();
    let said = "deploy {\"n\":7}: y by somebody";
    let edit = json!({ "kind": "edit", "message_id": post["post"], "text": said });
    assert_eq!(platform.said("post")["content"], edit);
    assert!(platform.posted().contains(": y by somebody"));
    let counts = "SELECT (SELECT COUNT(*) FROM questions WHERE told_at > 0) || ' ' || \
                  (SELECT COUNT(*) FROM messages_in WHERE content LIKE '%y by somebody%') || ' ' || \
                  (SELECT COUNT(*) FROM deliveries WHERE content LIKE '%\"operation\":\"edit\"%')";
    assert_eq!(runtime.query::<String>(counts), ["1 1 1"]);
}

#[test]
fn what_a_module_schedules_is_brought_once_also_after_a_restart() {
    let config = "[plugins.guard]\nagents = [\"assistant\"]\n[modules.guard]\ntell = \"assistant\"\n\
                  [plugins.agent-to-agent]\nbuilt_in = false\n";
    let mut runtime = Runtime::new(config).up();
    assert_eq!(runtime.chat("hello"), "hello");
    let mut terminal = Terminal::connect(&runtime, true);
    add_guard(&runtime);
    assert_eq!(terminal.reply(), "it ticks");
    let schedule =
        |key: &str, at: Option<i64>| json!({ "effect": "schedule", "key": key, "at": at, "payload": 7 });
    let soon = in_ms(&runtime, 400);
    wants(
        &runtime,
        json!([
            schedule("soon", Some(soon)),
            schedule("never", Some(soon)),
            schedule("later", Some(in_ms(&runtime, 4_000)))
        ]),
    );
    wants(&runtime, json!([schedule("never", None)]));
    assert_eq!(terminal.reply(), "soon is due: 7");
    drop(terminal);
    runtime.stop();
    runtime.start();
    let told = "SELECT content ->> 'text' FROM messages_in WHERE content LIKE '% is due: %' ORDER BY seq";
    until("it is brought", || (runtime.query::<String>(told).len() == 2).then_some(()));
    std::thread::sleep(Duration::from_millis(1_500)); // another tick
    assert_eq!(runtime.query::<String>(told), ["soon is due: 7", "later is due: 7"]);
    assert_eq!(runtime.query::<i64>("SELECT COUNT(*) FROM plugin_state WHERE key LIKE 'due/%'"), [0]);
}

/// It may want that always; every tick is a commit, for which others wait.
#[test]
fn a_module_for_which_something_is_due_at_once_is_asked_a_few_times_a_second() {
    let config = "[plugins.guard]\nagents = [\"assistant\"]\n[modules.guard]\ntell = \"assistant\"\n\
                  [plugins.agent-to-agent]\nbuilt_in = false\n";
    let runtime = Runtime::new(config).up();
    assert_eq!(runtime.chat("hello"), "hello");
    add_guard(&runtime);
    let at = in_ms(&runtime, 0);
    wants(&runtime, json!([{ "effect": "schedule", "key": "again 0", "at": at, "payload": 7 }]));
    let count = || {
        let keys = runtime.query::<String>("SELECT key FROM plugin_state WHERE key LIKE 'due/again %'");
        keys.first()?.rsplit_once(' ')?.1.parse::<u32>().ok()
    };
    let begin = until("it is asked again", || count().filter(|count| *count > 1));
    std::thread::sleep(Duration::from_secs(2));
    let asked = until("it is asked", count) - begin;
    assert!((2..12).contains(&asked), "{asked} times in two seconds");
}
