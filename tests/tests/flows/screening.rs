//! A module that screens is shown whatever the agent would read, wherever in a message it stands.

use crate::bot_api::{BotApi, TOKEN};
use crate::support::{Runtime, plugin_file, until};
use serde_json::{Value, json};
use std::time::Duration;

const CHAT: &str = "telegram:-1001";
/// The crash point of refusals.
pub const CRASH_POINT: &str = "screening: a refusal is on record, its words are not sent";

fn runtime(api: &BotApi) -> Runtime {
    let runtime = without_a_module(api);
    module_comes(&runtime);
    runtime
}

fn without_a_module(api: &BotApi) -> Runtime {
    let config = format!(
        "[plugins.agent-to-agent]\nbuilt_in = false\n[channels.telegram.main]\ntoken = {{ env = \"TEST_TOKEN\" }}\n\
         api_root = \"{}\"\n",
        api.url
    );
    let runtime = Runtime::new(&config).env("TEST_TOKEN", TOKEN).up();
    runtime.wait_live("telegram");
    let wiring = ["--agent", "assistant", "--channel", "telegram", "--chat", CHAT, "--pattern", "."];
    runtime.ok(&[&["wiring", "create"][..], &wiring].concat());
    // The agent says what it read, in brackets: its own words would be taken for a block.
    let shows = "tr '<>' '[]'";
    runtime.ok(&["agent", "update", "assistant", "--provider", "command", "--command", shows]);
    runtime
}

fn module_comes(runtime: &Runtime) {
    std::fs::copy(plugin_file("vestibule-guard"), runtime.home.path().join("plugins/guard.so")).unwrap();
    until("the module is live", || runtime.log().contains("module is live module=\"guard\"").then_some(()));
}

/// Says something in the group, whose title may be another one each time.
fn say(api: &BotApi, title: &str, extra: Value) {
    api.push("message", json!({ "id": -1001, "type": "supergroup", "title": title }), extra);
}

fn quoting(text: &str, author: &str, quoted: &str) -> Value {
    json!({ "text": text, "reply_to_message": { "message_id": 1, "date": 1_700_000_000,
        "chat": { "id": -1001, "type": "supergroup", "title": "Friends" },
        "from": { "id": 8, "is_bot": false, "first_name": author }, "text": quoted } })
}

/// The same, of which a part is marked.
fn marked(words: &str, mut message: Value) -> Value {
    message["quote"] = json!({ "text": words, "position": 0 });
    message
}

/// A message of another chat.
fn elsewhere() -> Value {
    json!({ "origin": { "type": "hidden_user", "sender_user_name": "Zoe", "date": 1_700_000_000 } })
}

fn refused(runtime: &Runtime) -> i64 {
    let sql = "SELECT SUM(message_count) FROM drops WHERE reason LIKE '%guard refused it: rude%'";
    runtime.query::<Option<i64>>(sql)[0].unwrap_or_default()
}

/// The newest prompt, once it holds this.
fn prompt(api: &BotApi, words: &str) -> String {
    until(words, || api.texts().last().filter(|text| text.contains(words)).cloned())
}

#[test]
fn nothing_an_agent_reads_goes_past_a_module_that_screens() {
    let api = BotApi::start();
    let runtime = runtime(&api);
    let file = json!({ "caption": "look", "document": { "file_id": "f", "file_name": "in-rude.txt", "file_size": 3 } });
    for (count, message) in (1..).zip([
        json!({ "text": "in-rude" }),
        quoting("well?", "Eve", "in-rude"),
        quoting("well?", "in-rude", "kind words"),
        marked("in-rude", quoting("well?", "Eve", "kind words, and more")),
        marked("in-rude", json!({ "text": "well?", "external_reply": elsewhere() })),
        json!({ "text": "hello", "from": { "id": 9, "is_bot": false, "first_name": "in-rude" } }),
        file,
    ]) {
        say(&api, "Friends", message.clone());
        until(&format!("it is refused: {message}"), || (refused(&runtime) == count).then_some(()));
    }
    assert!(api.texts().is_empty(), "the agent read nothing: {:?}", api.texts());

    // Both texts can be replaced; a quote that the module does not name goes no further.
    say(&api, "Friends", quoting("in-old words", "Eve", "in-old quote"));
    let read = prompt(&api, "new words");
    assert!(read.contains("from=\"Eve\"]new quote[/quoted_message]") && !read.contains("in-old"), "{read}");
    say(&api, "Friends", quoting("in-curt words", "Eve", "the quote"));
    let read = prompt(&api, "curt[/message]");
    assert!(read.contains("reply_to=") && !read.contains("the quote") && !read.contains("Eve"), "{read}");

    say(&api, "Friends", marked("the part", quoting("why?", "Eve", "the whole and the part")));
    let read = prompt(&api, "why?[/message]");
    assert!(read.contains("[quoted_message from=\"Eve\"]the part[/quoted_message]"), "{read}");
    say(&api, "Friends", marked("words of theirs", json!({ "text": "and?", "external_reply": elsewhere() })));
    let read = prompt(&api, "and?[/message]");
    assert!(read.contains("[quoted_message from=\"Zoe\"]words of theirs[/quoted_message]"), "{read}");

    // What people call the chat is shown to agents, too.
    let title =
        || runtime.query::<Option<String>>("SELECT title FROM messaging_groups WHERE title IS NOT NULL");
    assert_eq!(title(), [Some("Friends".to_owned())]);
    say(&api, "in-rude people", json!({ "text": "under another name" }));
    prompt(&api, "under another name");
    assert_eq!((title(), refused(&runtime)), (vec![Some("Friends".to_owned())], 8));
    say(&api, "in-old friends", json!({ "text": "under a third name" }));
    prompt(&api, "under a third name");
    assert_eq!(title(), [Some("new friends".to_owned())]);
}

/// What a chat is called goes with each message of it.
#[test]
fn a_name_that_was_taken_before_the_module_came_is_shown_to_it() {
    let api = BotApi::start();
    let runtime = without_a_module(&api);
    say(&api, "in-rude people", json!({ "text": "before" }));
    prompt(&api, "before");
    module_comes(&runtime);
    say(&api, "in-rude people", json!({ "text": "after" }));
    until("it is refused", || (refused(&runtime) == 1).then_some(()));
    assert!(!api.texts().iter().any(|text| text.contains("after")), "{:?}", api.texts());
}

/// Modules end with the runtime. One that has not answered by then has refused nothing.
#[test]
fn what_a_module_is_asked_about_while_the_runtime_stops_is_asked_again() {
    let api = BotApi::start();
    let mut runtime = runtime(&api);
    runtime.ok(&["agent", "update", "assistant", "--command", "echo out-late"]);
    say(&api, "Friends", json!({ "text": "hello" }));
    let sending = "SELECT COUNT(*) FROM deliveries WHERE state = 'sending'";
    until("the module is asked about the reply", || (runtime.query::<i64>(sending) == [1]).then_some(()));
    say(&api, "Friends", json!({ "text": "in-late" }));
    std::thread::sleep(Duration::from_millis(500));
    runtime.stop();
    assert!(api.texts().is_empty());
    std::fs::remove_file(runtime.home.path().join("plugins/guard.so")).unwrap();
    runtime.start_with("telegram");
    until("both are answered", || (api.texts() == ["out-late", "out-late"]).then_some(()));
    let told = "SELECT COUNT(*) FROM drops WHERE reason LIKE '%guard%'";
    assert_eq!(runtime.query::<i64>(told), [0]);
}

/// What the chat hears, once it hears this much, and a moment later.
fn heard(api: &BotApi, count: usize) -> Vec<String> {
    until("it is said", || (api.texts().len() >= count).then_some(()));
    std::thread::sleep(Duration::from_millis(500));
    api.texts()
}

#[test]
fn who_is_refused_with_words_hears_them_and_what_a_module_takes_no_agent_hears() {
    let api = BotApi::start();
    let runtime = runtime(&api);
    say(&api, "Friends", json!({ "text": "in-command" }));
    let reasons =
        || runtime.query::<String>("SELECT reason || ' ' || message_count FROM drops ORDER BY first_seen");
    until("it is taken", || (reasons() == ["the module guard took it: a command 1"]).then_some(()));
    assert!(api.texts().is_empty(), "no agent hears it, and its writer is told nothing");

    // In a chat only so much is said, however often it is refused.
    for _ in 0..8 {
        say(&api, "Friends", json!({ "text": "in-unkind" }));
    }
    until("all are refused", || (reasons().get(1)? == "the module guard refused it: unkind 8").then_some(()));
    assert_eq!(heard(&api, 5), ["Say it kindly."; 5]);
    let bot = json!({ "text": "in-unkind", "from": { "id": 9, "is_bot": true, "first_name": "Bot" } });
    say(&api, "Friends", bot);
    let told = runtime.query::<String>(
        "SELECT DISTINCT session_id || ' ' || state || ' ' || (in_reply_to IS NOT NULL) FROM deliveries",
    );
    assert_eq!(told, ["module:guard delivered 1"]);
    assert_eq!(runtime.query::<i64>("SELECT COUNT(*) FROM messages_in"), [0]);

    // At `review` it is the agent that is told.
    runtime.ok(&["agent", "update", "assistant", "--command", "echo out-unkind"]);
    say(&api, "Friends", json!({ "text": "hello" }));
    let note = "SELECT COUNT(*) FROM messages_in WHERE content LIKE \
                '%was not delivered: the module guard refused it: unkind; it says: Say it kindly..%'";
    until("the agent is told", || (runtime.query::<i64>(note) == [1]).then_some(()));
    assert_eq!(api.texts().len(), 5);
    // Only what comes in can be taken.
    runtime.ok(&["agent", "update", "assistant", "--command", "echo out-command"]);
    say(&api, "Friends", json!({ "text": "hello" }));
    let why = "SELECT COUNT(*) FROM deliveries WHERE last_error LIKE '%failed at `review`, and lets nothing pass then%'";
    until("it counts as a failure", || (runtime.query::<i64>(why) == [1]).then_some(()));
}

#[test]
fn the_words_of_a_refusal_are_said_once_whatever_ends_the_runtime() {
    for point in [CRASH_POINT, "delivery: `sending` is on record, nobody was called"] {
        let api = BotApi::start();
        let mut runtime = runtime(&api);
        runtime.stop();
        runtime.launch(&[("VESTIBULE_CRASH_POINT", &format!("{point}#1"))]);
        until("the module is live", || {
            (runtime.log().matches("module is live module=\"guard\"").count() == 2).then_some(())
        });
        say(&api, "Friends", json!({ "text": "in-unkind" }));
        until(point, || runtime.ended().map(drop));
        runtime.end();
        let counts =
            "SELECT (SELECT SUM(message_count) FROM drops) || ' ' || (SELECT COUNT(*) FROM deliveries)";
        assert_eq!(runtime.query::<String>(counts), ["1 1"], "{point}: it is refused, and its words wait");
        assert!(api.texts().is_empty(), "{point}");
        runtime.start_with("telegram");
        assert_eq!(heard(&api, 1), ["Say it kindly."], "{point}");
        until("it is on record", || {
            (runtime.query::<String>("SELECT state FROM deliveries") == ["delivered"]).then_some(())
        });
        assert_eq!(runtime.query::<String>(counts), ["1 1"], "{point}");
    }
}
