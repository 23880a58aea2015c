//! Slack: events in over Socket Mode and by webhook, replies out, and nothing lost or doubled whatever breaks.

use crate::slack_api::{
    APP_TOKEN, BOT, BOT_TOKEN, CUT, FORM, JSON, Post, SECRET, SlackApi, form_of, now, post_as, posted, signed,
};
use crate::support::{Runtime, asker, plugin_file, signal, until};
use crate::traffic::{Dice, in_full};
use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

pub const BY_SOCKET: &str = "app_token = { env = \"TEST_APP\" }\n";
const BY_WEBHOOK: &str = "signing_secret = { env = \"TEST_SECRET\" }\n";

pub fn runtime_with(api: &SlackApi, keys: &str) -> Runtime {
    let config = format!(
        "[channels.slack.main]\nbot_token = {{ env = \"TEST_BOT\" }}\napi_url = \"{}\"\n{keys}",
        api.url
    );
    Runtime::new(&config).env("TEST_BOT", BOT_TOKEN).env("TEST_APP", APP_TOKEN).env("TEST_SECRET", SECRET)
}

pub fn runtime(api: &SlackApi) -> Runtime {
    runtime_with(api, BY_SOCKET)
}

/// The same with the channel's file in a process of its own.
pub fn runtime_of_file(api: &SlackApi) -> Runtime {
    let runtime = runtime_with(api, &format!("{BY_SOCKET}[plugins.slack]\nbuilt_in = false\n"));
    let plugins = runtime.home.path().join("plugins");
    std::fs::create_dir_all(&plugins).unwrap();
    std::fs::copy(plugin_file("vestibule-slack"), plugins.join("slack.so")).unwrap();
    runtime
}

pub fn started(mut runtime: Runtime) -> Runtime {
    runtime.start_with("slack");
    runtime
}

pub fn wire(runtime: &Runtime, chat: &str, more: &[&str]) {
    let verb = ["wiring", "create", "--agent", "assistant", "--channel", "slack", "--chat", chat];
    runtime.ok(&[&verb, more].concat());
}

pub fn posts(api: &SlackApi, count: usize) -> Vec<Post> {
    until(&format!("there are {count} posts"), || {
        let posts = api.store().posts.clone();
        (posts.len() >= count).then_some(posts)
    })
}

pub fn all_acknowledged(api: &SlackApi) {
    until("all is acknowledged", || api.store().unacknowledged.is_empty().then_some(()));
}

pub fn names(api: &SlackApi) {
    let mut store = api.store();
    for (id, name) in [("U0ANN", "Ann Lee"), ("U0BEN", "Ben"), ("C012", "general"), ("C013", "random")] {
        store.names.insert(id.into(), name.into());
    }
}

// cells slack: in text, in mention, in thread, out reply
#[test]
fn row_c04_channels_threads_and_direct_messages_are_answered() {
    for of_file in [false, true] {
        let api = SlackApi::start();
        names(&api);
        let runtime = started(if of_file { runtime_of_file(&api) } else { runtime(&api) });
        // A chat without an agent is counted, and the status says how to wire it.
        api.say("C012", "U0ANN", &format!("<@{BOT}> anybody there?"));
        until("the chat is known", || {
            let status = runtime.json(&["status"]);
            status["unwired"].as_array()?.iter().any(|chat| chat["chat"] == "slack:C012").then_some(())
        });
        wire(&runtime, "slack:C012", &[]);
        wire(&runtime, "slack:D012", &[]);

        api.say("C012", "U0ANN", "not for you");
        let question = format!("<@{BOT}> ask <@U0BEN> in <#C013> &amp; <https://a.example|there>");
        let ts = api.say("C012", "U0ANN", &question);
        let reply = &posts(&api, 1)[0];
        assert_eq!((reply.channel.as_str(), reply.thread.as_deref()), ("C012", Some(ts.as_str())));
        assert_eq!(reply.text, "@vestibule ask <@U0BEN> in #random &amp; <https://a.example|there>");

        // In the thread that it opened, and in a direct chat and a thread of that.
        let in_thread = json!({ "thread_ts": ts });
        let said = api.message("C012", "U0ANN", &format!("<@{BOT}> more"), in_thread);
        api.send("events_api", api.event(said));
        let reply = &posts(&api, 2)[1];
        assert_eq!((reply.thread.as_deref(), reply.text.as_str()), (Some(ts.as_str()), "@vestibule more"));
        let direct = api.say("D012", "U0ANN", "in private");
        let reply = &posts(&api, 3)[2];
        assert_eq!((reply.channel.as_str(), reply.thread.as_deref()), ("D012", None));
        let said = api.message("D012", "U0ANN", "in its thread", json!({ "thread_ts": direct }));
        api.send("events_api", api.event(said));
        let reply = &posts(&api, 4)[3];
        assert_eq!((reply.channel.as_str(), reply.thread.as_deref()), ("D012", Some(direct.as_str())));

        // Its own messages come back, and are no news.
        let own = api.message("C012", BOT, "echo", json!({ "bot_id": "B0BOT" }));
        api.send("events_api", api.event(own));
        until("its own message is on record", || {
            (runtime.query::<i64>("SELECT message_count FROM drops WHERE reason = 'own_message'") == [1])
                .then_some(())
        });
        all_acknowledged(&api);
        let threads = "SELECT DISTINCT thread_id FROM messages_in ORDER BY seq";
        let forms = [format!("slack:C012:{ts}"), "slack:D012:".into(), format!("slack:D012:{direct}")];
        assert_eq!(runtime.query::<String>(threads), forms);
        let titles = "SELECT title FROM messaging_groups WHERE title IS NOT NULL ORDER BY platform_id";
        assert_eq!(runtime.query::<String>(titles), ["general", "Ann Lee"]);
        let senders = "SELECT DISTINCT json_extract(content, '$.sender') FROM messages_in";
        assert_eq!(runtime.query::<String>(senders), ["Ann Lee"]);
        for secret in [BOT_TOKEN, APP_TOKEN, "ticket=t-"] {
            assert!(!runtime.log().contains(secret), "{secret} is a secret");
        }
    }
}

/// Slack sends a mention twice, in any order; one of the two may lack the files.
// cells slack: in mention
#[test]
fn row_c04_a_mention_is_heard_once() {
    let api = SlackApi::start();
    names(&api);
    api.store().files.insert("a.txt".into(), b"the file".to_vec());
    let runtime = started(runtime(&api));
    wire(&runtime, "slack:C012", &[]);
    for (round, mention_first) in [true, false].into_iter().enumerate() {
        let text = format!("<@{BOT}> round {round}");
        let message = api.share("C012", "U0ANN", &text, &["a.txt"]);
        let mention = api.mention(&message);
        let both = if mention_first { [mention, message] } else { [message, mention] };
        for event in both {
            api.send("events_api", api.event(event));
            // The second one comes while the first is under way.
            std::thread::sleep(Duration::from_millis(300));
        }
        all_acknowledged(&api);
    }
    let heard = "SELECT json_array(json_extract(content, '$.text'), \
        json_array_length(content, '$.attachments')) FROM messages_in ORDER BY seq";
    assert_eq!(
        runtime.query::<String>(heard),
        [r#"["@vestibule round 0",1]"#, r#"["@vestibule round 1",1]"#]
    );
    // An app that subscribed to mentions alone is told nothing else.
    let alone = json!({ "type": "app_mention", "user": "U0ANN", "text": format!("<@{BOT}> alone"),
        "ts": "1700000000.000900", "channel": "C012" });
    api.send("events_api", api.event(alone));
    until("it is heard", || (runtime.query::<i64>("SELECT COUNT(*) FROM messages_in") == [3]).then_some(()));
    // Sent again, days later, by a Slack that was not answered.
    api.send(
        "events_api",
        api.event(json!({ "type": "app_mention", "user": "U0ANN", "ts": "1700000000.000900",
        "text": format!("<@{BOT}> alone"), "channel": "C012" })),
    );
    all_acknowledged(&api);
    assert_eq!(runtime.query::<i64>("SELECT COUNT(*) FROM messages_in"), [3]);
    let files = posts(&api, 5);
    assert_eq!(
        files.iter().filter(|post| post.files == [("a.txt".to_owned(), b"the file".to_vec())]).count(),
        2
    );
}

// cells slack: in file, out long reply, out file
#[test]
fn row_c04_long_texts_and_files_go_both_ways() {
    let api = SlackApi::start();
    names(&api);
    api.store().files.insert("photo.png".into(), b"the picture".to_vec());
    let runtime = started(runtime(&api));
    wire(&runtime, "slack:D012", &[]);
    let say = |text: &str, name: &str| api.tell(api.share("D012", "U0ANN", text, &[name]));
    say("look", "photo.png");
    let reply = posts(&api, 2);
    assert!(reply[0].text.starts_with("look"), "{}", reply[0].text);
    assert_eq!(reply[1].files, [("photo.png".to_owned(), b"the picture".to_vec())]);
    // A file that the token may not read comes as a page: its message goes on, and the agent sees its name.
    say("and this", "secret.png");
    let heard = "SELECT content FROM messages_in ORDER BY seq";
    let content = until("it is heard", || runtime.query::<String>(heard).get(1).cloned());
    let content: Value = serde_json::from_str(&content).unwrap();
    assert_eq!(
        (&content["attachments"][0]["name"], &content["text"]),
        (&json!("secret.png"), &json!("and this"))
    );
    assert!(content["attachments"][0]["localPath"].is_null(), "{content}");
    assert!(runtime.log().contains("files:read"), "the operator is told");
    posts(&api, 3);

    // Two messages, and the second is refused once: the first is not sent again.
    let text = format!("first {}\n\nsecond {}", "a".repeat(39_000), "b".repeat(3_000));
    let limit = json!({ "ok": false, "error": "ratelimited" });
    let script = [(crate::slack_api::LET_THROUGH, json!(null)), (429, limit)];
    api.store().posts.clear();
    api.store().script.insert("chat.postMessage".into(), script.into());
    api.say("D012", "U0ANN", &text);
    let halves = posts(&api, 2);
    assert_eq!(halves.len(), 2);
    assert!(halves[0].text.starts_with("first a") && halves[1].text.starts_with("second b"));
}

/// What is said behind a file waits for it; other chats do not.
#[test]
fn a_slow_file_holds_up_its_own_chat_only() {
    let api = SlackApi::start();
    api.store().files.insert("slow.txt".into(), b"the file".to_vec());
    let runtime = started(runtime(&api));
    for chat in ["slack:D012", "slack:D013"] {
        wire(&runtime, chat, &[]);
    }
    api.tell(api.share("D012", "U0ANN", "look", &["slow.txt"]));
    api.say("D012", "U0ANN", "behind it");
    api.say("D013", "U0ANN", "elsewhere");
    assert_eq!(posts(&api, 1)[0].text, "elsewhere");
    all_acknowledged(&api);
    let texts = "SELECT json_extract(content, '$.text') FROM messages_in WHERE platform_id = 'slack:D012' ORDER BY seq";
    assert_eq!(runtime.query::<String>(texts), ["look", "behind it"]);
}

/// What Slack does in trouble: nothing is lost, nothing comes twice, and the operator is told.
#[test]
fn a_post_that_slack_did_not_answer_is_looked_up() {
    for (status, answer, times) in [
        (CUT, json!(null), 1),
        (200, json!("<html>back soon</html>"), 1),
        (500, json!("<html>Internal Server Error</html>"), 1),
        (200, json!({ "ok": false, "error": "internal_error" }), 1),
        (429, json!({ "ok": false, "error": "ratelimited" }), 1),
        (503, json!({ "ok": false, "error": "service_unavailable" }), 2),
    ] {
        let api = SlackApi::start();
        let runtime = started(runtime(&api));
        wire(&runtime, "slack:D012", &[]);
        api.store().script.insert("chat.postMessage".into(), vec![(status, answer.clone()); times].into());
        api.say("D012", "U0ANN", "once");
        posts(&api, 1);
        let story = "SELECT state FROM deliveries";
        until("it is settled", || (runtime.query::<String>(story) == ["delivered"]).then_some(()));
        assert_eq!(api.texts(), ["once"], "{status} {answer}");
        runtime.wait_live("slack");
    }
}

#[test]
fn what_slack_refuses_is_told() {
    let api = SlackApi::start();
    let runtime = started(runtime(&api));
    wire(&runtime, "slack:C0CLOSED", &["--pattern", "."]);
    api.say("C0CLOSED", "U0ANN", "hello");
    let reason = until("it is refused", || {
        runtime.query::<String>("SELECT last_error FROM deliveries WHERE state = 'failed'").pop()
    });
    assert!(reason.contains("/invite"), "{reason}");

    // The app's token is refused: one answer is no verdict.
    let refused = || (200, json!({ "ok": false, "error": "invalid_auth" }));
    api.store().script.insert("apps.connections.open".into(), [refused(), refused()].into());
    api.drop_all();
    until("the operator is told", || {
        let channel = runtime.channel("slack");
        let reason = channel["reason"].as_str().unwrap_or_default();
        (channel["state"] == "degraded" && reason.contains("`app_token`")).then_some(())
    });
    runtime.wait_live("slack");
    wire(&runtime, "slack:D012", &[]);
    api.say("D012", "U0ANN", "still there?");
    until("it answers", || api.texts().contains(&"still there?".to_owned()).then_some(()));
}

#[test]
fn a_token_that_is_wrong_from_the_beginning_is_named() {
    let api = SlackApi::start();
    let runtime = runtime(&api).env("TEST_BOT", "xoxb-wrong").up();
    let why = until("it is told", || {
        let reason = runtime.channel("slack")["reason"].as_str()?.to_owned();
        reason.contains("refused the token").then_some(reason)
    });
    assert!(why.contains("`bot_token`"), "{why}");
    assert!(!runtime.log().contains("xoxb-wrong"));
}

/// Slack changes connections every few hours: the next one is open before the old one ends, and what came over the old
/// one is acknowledged there.
#[test]
fn the_next_connection_is_open_before_the_old_one_ends() {
    let api = SlackApi::start();
    let runtime = started(runtime(&api));
    wire(&runtime, "slack:D012", &[]);
    for round in 0..3 {
        let opened = api.store().opened;
        let old = api.send("events_api", {
            let said = api.message("D012", "U0ANN", &format!("before {round}"), json!({}));
            api.event(said)
        });
        api.disconnect(if round == 0 { "warning" } else { "refresh_requested" });
        until("the next one is open", || (api.store().opened > opened).then_some(()));
        until("it is acknowledged", || api.store().acknowledged.contains_key(&old).then_some(()));
        assert_eq!(api.store().acknowledged[&old], opened, "over the connection that it came by");
        assert!(api.store().most_open >= 2, "the old one was still there");
        api.say("D012", "U0ANN", &format!("after {round}"));
        api.close_oldest();
        until("the old one ends", || (api.store().open() == 1).then_some(()));
        all_acknowledged(&api);
    }
    // Gone without a word, in the middle of an event.
    api.say("D012", "U0ANN", "dropped");
    api.drop_all();
    until("there is another one", || (api.store().opened > 4).then_some(()));
    until("it is open", || (api.store().open() > 0).then_some(()));
    api.send_again();
    all_acknowledged(&api);
    posts(&api, 7);
    let mut texts = api.texts();
    texts.sort();
    let mut want: Vec<String> = (0..3).flat_map(|n| [format!("after {n}"), format!("before {n}")]).collect();
    want.push("dropped".into());
    want.sort();
    assert_eq!(texts, want, "each once");
    runtime.wait_live("slack");
}

/// Killed at any moment: what was acknowledged is on disk, what was not comes again, and each is heard once.
#[test]
fn killed_at_any_moment_every_event_is_answered_once() {
    let api = SlackApi::start();
    let mut runtime = started(runtime(&api));
    for chat in ["slack:D011", "slack:D012", "slack:D013"] {
        wire(&runtime, chat, &[]);
    }
    let mut dice = Dice::new("slack");
    let mut asked = BTreeSet::new();
    for kill in 0..8 {
        for number in 0..12 {
            let text = format!("n{kill}.{number}");
            api.say(["D011", "D012", "D013"][dice.below(3) as usize], "U0ANN", &text);
            asked.insert(text);
            std::thread::sleep(Duration::from_millis(dice.below(15)));
        }
        runtime.kill();
        until("its connection is gone", || (api.store().open() == 0).then_some(()));
        let file = runtime.home.path().join("vestibule.db");
        let taken =
            crate::support::rows::<i64>(&file, "SELECT COUNT(*) FROM event_ids WHERE channel_type = 'slack'")
                [0];
        let acknowledged = api.store().acknowledged.len() as i64;
        assert!(taken >= acknowledged, "{acknowledged} were acknowledged, {taken} are on disk");
        runtime.start_with("slack");
        until("Slack has a connection", || (api.store().open() > 0).then_some(()));
        api.send_again();
    }
    all_acknowledged(&api);
    until("all are answered", || {
        let said: BTreeSet<String> = api.texts().into_iter().collect();
        asked.is_subset(&said).then_some(())
    });
    assert_eq!(runtime.query::<i64>("SELECT COUNT(*) FROM messages_in"), [asked.len() as i64]);
    let open = "SELECT COUNT(*) FROM deliveries WHERE state != 'delivered'";
    until("all is settled", || (runtime.query::<i64>(open) == [0]).then_some(()));
    let texts = api.texts();
    let twice: Vec<&String> =
        asked.iter().filter(|text| texts.iter().filter(|other| other == text).count() > 1).collect();
    assert_eq!(twice, [""; 0], "what was in doubt was looked up");
}

/// The platform has the post, and the runtime dies before it is on record.
#[test]
fn a_post_is_found_again_after_a_kill() {
    let api = SlackApi::start();
    api.store().files.insert("a.txt".into(), b"the file".to_vec());
    let mut runtime = started(runtime(&api));
    wire(&runtime, "slack:C012", &["--pattern", "."]);
    api.store().posts_stall = true;
    api.say("C012", "U0ANN", "once");
    posts(&api, 1);
    runtime.kill();
    api.let_posts_end();
    runtime.start_with("slack");
    until("it is settled", || {
        (runtime.query::<String>("SELECT state FROM deliveries") == ["delivered"]).then_some(())
    });
    assert_eq!(api.texts(), ["once"]);
    let receipt: Vec<String> = runtime.query("SELECT platform_message_id FROM deliveries");
    assert_eq!(receipt, [api.store().posts[0].ts.clone()]);
    // The same with files: the answer to showing them breaks off.
    api.store().script.insert("files.completeUploadExternal".into(), [(CUT, json!(null))].into());
    api.tell(api.share("C012", "U0ANN", "with a file", &["a.txt"]));
    until("it is settled", || {
        (runtime.query::<String>("SELECT state FROM deliveries") == ["delivered", "delivered"]).then_some(())
    });
    assert_eq!(api.store().posts.len(), 3, "{:?}", api.texts());
    assert_eq!(api.store().posts[2].files.len(), 1);
}

/// Writes a row into the agent's file, as its tools can.
pub fn agent_writes(runtime: &Runtime, number: i64, chat: &str, content: Value) {
    let session =
        "SELECT s.agent_group_id || '/' || s.id FROM sessions s JOIN messages_in m ON m.session_id = s.id";
    let session = runtime.home.path().join("sessions").join(&runtime.query::<String>(session)[0]);
    let db = Connection::open_with_flags(session.join("out/outbound.db"), OpenFlags::SQLITE_OPEN_READ_WRITE)
        .unwrap();
    db.busy_timeout(crate::support::PATIENCE).unwrap();
    let sql = "INSERT INTO messages_out (id, seq, timestamp, kind, platform_id, channel_type, thread_id, content) \
               VALUES (?1, ?2, '', 'chat', ?3, 'slack', ?3 || ':', ?4)";
    let values = rusqlite::params![format!("tool-{number}"), 1001 + 2 * number, chat, content.to_string()];
    assert_eq!(db.execute(sql, values).unwrap(), 1);
}

// cells slack: out Markdown, out edit, out deletion, out reaction, out card
#[test]
fn row_c04_agents_edit_take_back_and_react() {
    let api = SlackApi::start();
    let runtime = started(runtime(&api));
    wire(&runtime, "slack:D012", &[]);
    let heard = api.say("D012", "U0ANN", "hello");
    let reply = posts(&api, 1).remove(0).ts;
    let sent = "SELECT platform_message_id FROM deliveries WHERE platform_message_id IS NOT NULL";
    until("it is on record", || runtime.query::<String>(sent).pop());
    let edit = |text: &str| json!({ "operation": "edit", "messageId": reply, "text": text });
    agent_writes(&runtime, 0, "slack:D012", edit("**hello**, all"));
    until("it is edited", || (api.texts() == ["*hello*, all"]).then_some(()));
    agent_writes(&runtime, 1, "slack:D012", edit(&"long ".repeat(1_000)));
    let long = posts(&api, 2).remove(1).text;
    assert!(long.starts_with("long long"), "beyond Slack's limit it is a new message: {long}");
    for (number, message, emoji) in
        [(2, &heard, "thumbs_up"), (3, &reply, "\u{1f44d}\u{1f3fd}"), (4, &heard, "+1")]
    {
        let content = json!({ "operation": "reaction", "messageId": message, "emoji": emoji });
        agent_writes(&runtime, number, "slack:D012", content);
    }
    let settled = |number: i64| {
        let sql = format!("SELECT state FROM deliveries WHERE message_out_id = 'tool-{number}'");
        until("it is settled", || runtime.query::<String>(&sql).pop().filter(|state| state == "delivered"))
    };
    settled(4);
    let reactions = [(heard.clone(), "+1".to_owned()), (reply.clone(), "+1::skin-tone-4".to_owned())];
    assert_eq!(api.store().reactions, reactions, "the same one again changes nothing");
    let card = json!({ "type": "card", "card": { "title": "Build",
        "actions": [{ "label": "Open", "url": "https://a.example" }] } });
    agent_writes(&runtime, 5, "slack:D012", card);
    let shown = posts(&api, 3).remove(2);
    assert_eq!(shown.blocks[0]["text"]["text"], "Build");
    assert_eq!(shown.blocks[1]["elements"][0]["url"], "https://a.example");
    assert!(shown.text.contains("Build"), "{}", shown.text);
    // A click on a link is told, too, and means nothing.
    api.send("interactive", api.click("U0ANN", &shown, &shown.blocks[1]["elements"][0]));
    all_acknowledged(&api);
    // What is long is edited, and taken back, with all its parts.
    let long = format!("first {}\n\nsecond {}", "a".repeat(39_000), "b".repeat(3_000));
    api.say("D012", "U0ANN", &long);
    let first = posts(&api, 5)[3].ts.clone();
    let on_record = || runtime.query::<String>(sent).contains(&first).then_some(());
    until("it is on record", on_record);
    let short = json!({ "operation": "edit", "messageId": first, "text": "short" });
    agent_writes(&runtime, 105, "slack:D012", short);
    until("the second part goes", || {
        (api.store().posts.len() == 4 && api.texts().contains(&"short".to_owned())).then_some(())
    });
    let again = api.say("D012", "U0ANN", &long);
    assert!(!again.is_empty());
    let first = posts(&api, 6)[4].ts.clone();
    let on_record = || runtime.query::<String>(sent).contains(&first).then_some(());
    until("it is on record", on_record);
    agent_writes(&runtime, 206, "slack:D012", json!({ "operation": "delete", "messageId": first }));
    until("both parts are gone", || (api.store().posts.len() == 4).then_some(()));
    agent_writes(&runtime, 207, "slack:D012", json!({ "operation": "delete", "messageId": reply }));
    until("it is gone", || (api.store().posts.len() == 3).then_some(()));
}

/// What Markdown and entities make of a text decides whether Slack takes it as an edit, not how the agent wrote it.
#[test]
fn an_edit_is_measured_as_slack_shows_it() {
    let api = SlackApi::start();
    names(&api);
    let runtime = started(runtime(&api));
    wire(&runtime, "slack:D012", &[]);
    api.say("D012", "U0ANN", "hello");
    let reply = posts(&api, 1).remove(0).ts;
    let sent = "SELECT COUNT(*) FROM deliveries WHERE state = 'delivered'";
    until("it is on record", || (runtime.query::<i64>(sent) == [1]).then_some(()));
    let edit = |number: i64, text: &str| {
        let content = json!({ "operation": "edit", "messageId": reply, "text": text });
        agent_writes(&runtime, number, "slack:D012", content);
    };
    edit(0, &"**b** ".repeat(900));
    until("it is edited", || api.texts()[0].starts_with("*b* *b*").then_some(()));
    assert_eq!(api.store().posts.len(), 1);
    edit(1, &format!("new {}", "& ".repeat(1_500)));
    let new = posts(&api, 2).remove(1).text;
    assert!(new.starts_with("new &amp; &amp;"), "{new}");
    until("it is settled", || (runtime.query::<i64>(sent) == [3]).then_some(()));
    edit(2, "@ann lee, `@ann lee` and @nobody");
    let want = "<@U0ANN>, `@ann lee` and @nobody";
    until("the person is called", || (api.texts()[0] == want).then_some(()));
}

// cells slack: in edit, in deletion, in reaction
#[test]
fn row_c04_agents_learn_what_people_change() {
    let api = SlackApi::start();
    names(&api);
    let runtime = started(runtime(&api));
    wire(&runtime, "slack:C012", &["--pattern", "^[^-]"]);
    let said = api.message("C012", "U0ANN", "lunch at 12?", json!({}));
    let ts = said["ts"].as_str().unwrap().to_owned();
    api.send("events_api", api.event(said));
    let reply = posts(&api, 1).remove(0).ts;
    let sent = "SELECT COUNT(*) FROM deliveries WHERE platform_message_id IS NOT NULL";
    until("it is on record", || (runtime.query::<i64>(sent) == [1]).then_some(()));
    api.tell(api.edited("C012", &ts, "U0ANN", "lunch at 12?", "lunch at 1, <@U0BEN>?", "1800000000.1"));
    for kind in ["reaction_added", "reaction_removed"] {
        api.tell(api.reacted(kind, "C012", &reply, "U0ANN", "eyes"));
    }
    api.tell(api.deleted("C012", &ts, "U0ANN", "lunch at 1?"));
    // A preview of a link is no edit.
    let preview = json!({ "text": "x", "attachments": [{ "title": "a page" }] });
    api.tell(api.changed("C012", &ts, "U0ANN", json!({ "text": "x" }), preview));
    // What the bot itself changes is no news.
    let own = |text: &str| json!({ "text": text, "bot_id": "B0BOT", "edited": { "user": BOT, "ts": "1800000000.2" } });
    api.tell(api.changed("C012", &reply, BOT, json!({ "text": "x" }), own("own words")));
    api.tell(api.deleted("C012", &reply, BOT, "own words"));
    all_acknowledged(&api);
    let rows = "SELECT json_extract(content, '$.text') FROM messages_in ORDER BY seq";
    let texts = runtime.query::<String>(rows);
    for words in ["lunch at 1, @Ben?", "reacted with eyes", "took the reaction eyes back", "deleted"] {
        assert!(texts.iter().any(|text| text.contains(words)), "{words} in {texts:?}");
    }
    assert!(!texts.iter().any(|text| text.ends_with(" x") || text.contains("own words")), "{texts:?}");
    assert_eq!(texts.len(), 5, "{texts:?}");
    // An edit that addresses the agent is heard as a new message.
    let unheard = api.message("C012", "U0ANN", "- a note", json!({}));
    let ts = unheard["ts"].as_str().unwrap().to_owned();
    api.send("events_api", api.event(unheard));
    api.tell(api.edited("C012", &ts, "U0ANN", "- a note", "help me", "1800000001.1"));
    until("it is answered", || api.texts().contains(&"help me".to_owned()).then_some(()));
    api.tell(api.renamed("C012", "all"));
    until("the channel has another name", || {
        (runtime.query::<String>("SELECT title FROM messaging_groups WHERE channel_type = 'slack'")
            == ["all"])
        .then_some(())
    });
}

// cells slack: out work
#[test]
fn row_c04_an_agent_is_shown_at_work_in_a_thread() {
    let api = SlackApi::start();
    let runtime = started(runtime(&api));
    wire(&runtime, "slack:C012", &["--pattern", "."]);
    let command = "sh -c 'sleep 3; echo done'";
    runtime.ok(&["agent", "update", "assistant", "--provider", "command", "--command", command]);
    let ts = api.say("C012", "U0ANN", "hello");
    assert_eq!(posts(&api, 1)[0].text, "done");
    assert_eq!(api.store().statuses, [ts], "once, while it works");
}

// cells slack: out question, in answer
#[test]
fn row_c04_a_question_is_answered_by_a_click() {
    for (keys, by_socket) in [(BY_SOCKET, true), (BY_WEBHOOK, false)] {
        let api = SlackApi::start();
        names(&api);
        let mut runtime = runtime_with(&api, keys);
        runtime.start_with("slack");
        let command = format!("'{}'", asker().display());
        runtime.ok(&["agent", "update", "assistant", "--provider", "command", "--command", &command]);
        wire(&runtime, "slack:C012", &["--pattern", "."]);
        let tell = |kind: &str, payload: Value| match by_socket {
            true => drop(api.send(kind, payload)),
            false if kind == "interactive" => {
                assert_eq!(posted(place(&runtime), FORM, &form_of(&payload)).0, 200);
            }
            false => assert_eq!(posted(place(&runtime), JSON, &payload.to_string()).0, 200),
        };
        let said = api.message("C012", "U0ANN", "ask one", json!({}));
        tell("events_api", api.event(said));
        let post = posts(&api, 1).remove(0);
        assert_eq!(post.text, "*Deploy*\n\nNow?");
        let buttons = post.buttons();
        assert_eq!(buttons.iter().map(|(label, _)| label.as_str()).collect::<Vec<_>>(), ["Yes", "No"]);
        // With a token that was never given out nothing is answered.
        let mut forged = buttons[0].1.clone();
        forged["value"] = format!("{}.0", "0".repeat(32)).into();
        tell("interactive", api.click("U0BEN", &post, &forged));
        until("it is told", || {
            let whispers = api.store().whispers.clone();
            whispers
                .iter()
                .any(|(_, user, words)| user == "U0BEN" && words.contains("not open"))
                .then_some(())
        });
        let index = api.store().posts.iter().position(|other| other.ts == post.ts).unwrap();
        api.store().posts[index] = post.clone();
        tell("interactive", api.click("U0BEN", &post, &buttons[1].1));
        until("the agent hears it", || {
            api.texts().iter().any(|text| text.contains("by U0BEN")).then_some(())
        });
        let shown = until("the buttons are gone", || {
            let now = api.store().posts[index].clone();
            now.buttons().is_empty().then_some(now)
        });
        assert_eq!(shown.text, "*Deploy*\n\nNow?\n\n\u{2192} Not now");
        assert_eq!(shown.blocks.as_array().unwrap().len(), 2, "{}", shown.blocks);
        tell("interactive", api.click("U0ANN", &post, &buttons[0].1));
        until("the second one is told", || {
            let whispers = api.store().whispers.clone();
            whispers.iter().any(|(_, user, words)| user == "U0ANN" && words.contains("before")).then_some(())
        });
    }
}

/// Where a runtime takes Slack's requests.
fn place(runtime: &Runtime) -> (std::net::SocketAddr, &'static str) {
    (runtime.listening(), "/webhook/slack/main")
}

// cells slack: in command
#[test]
fn row_c04_events_and_commands_come_over_http() {
    let api = SlackApi::start();
    names(&api);
    let mut runtime = runtime_with(&api, BY_WEBHOOK);
    runtime.start_with("slack");
    assert_eq!(api.store().opened, 0, "no socket is opened");
    wire(&runtime, "slack:C012", &[]);
    let check = json!({ "type": "url_verification", "challenge": "3eZbrw1aB" }).to_string();
    assert_eq!(posted(place(&runtime), JSON, &check), (200, "3eZbrw1aB".to_owned()));
    let text = format!("<@{BOT}> over HTTP");
    let event = api.event(api.message("C012", "U0ANN", &text, json!({}))).to_string();
    // A wrong secret, and a stale time.
    assert_eq!(post_as(place(&runtime), JSON, &event, now(), &signed("other", now(), &event)).0, 401);
    let stale = now() - 400;
    assert_eq!(post_as(place(&runtime), JSON, &event, stale, &signed(SECRET, stale, &event)).0, 401);
    assert_eq!(runtime.query::<i64>("SELECT COUNT(*) FROM messages_in"), [0]);
    assert_eq!(posted(place(&runtime), JSON, &event), (200, String::new()));
    assert_eq!(
        runtime.query::<i64>("SELECT COUNT(*) FROM messages_in"),
        [1],
        "it is on disk when Slack is told"
    );
    // Slack's retry has another signature and the same event.
    std::thread::sleep(Duration::from_millis(1_100));
    assert_eq!(posted(place(&runtime), JSON, &event).0, 200);
    assert_eq!(posts(&api, 1)[0].text, "@vestibule over HTTP");

    let command = form_of(&api.command("/ask", "what is new", "U0ANN", "C012"));
    assert_eq!(
        posted(place(&runtime), FORM, &command),
        (200, String::new()),
        "no words: Slack would show them"
    );
    let reply = &posts(&api, 2)[1];
    assert_eq!((reply.text.as_str(), reply.thread.as_deref()), ("/ask what is new", None));
    assert_eq!(posted(place(&runtime), FORM, "a=b").0, 400);
    assert_eq!(posted(place(&runtime), JSON, "no json").0, 400);
    assert_eq!(runtime.query::<i64>("SELECT COUNT(*) FROM messages_in"), [2]);
}

/// A burst, while the process of the channel is killed: each is heard once, in the order of its chat.
#[test]
fn a_burst_is_heard_in_order_although_its_process_is_killed() {
    let messages = if in_full() { 2_000 } else { 400 };
    let api = SlackApi::start();
    let runtime = started(runtime_of_file(&api));
    wire(&runtime, "slack:D012", &[]);
    for number in 0..messages {
        api.say("D012", "U0ANN", &format!("n{number:04}"));
        if number == messages / 2 {
            all_acknowledged(&api);
            signal("KILL", &runtime.plugin_hosts()[0]);
            let again = || runtime.log().contains("the plugin's process runs again");
            until("the next one runs", || (again() && api.store().open() > 0).then_some(()));
        }
    }
    until("all is acknowledged", || {
        let waits = !api.store().unacknowledged.is_empty();
        if waits {
            std::thread::sleep(Duration::from_millis(200));
            api.send_again();
        }
        (!waits).then_some(())
    });
    let texts: Vec<String> =
        runtime.query("SELECT json_extract(content, '$.text') FROM messages_in ORDER BY seq");
    assert_eq!(texts.len(), messages, "each once");
    let first = &texts[..=messages / 2];
    assert!(first.is_sorted(), "{first:?}");
    for tenth in 1..=10 {
        let count = messages * tenth / 10;
        until("more are answered", || (api.store().posts.len() >= count).then_some(()));
    }
    let answered = api.texts().into_iter().collect::<BTreeSet<String>>();
    assert_eq!((answered.len(), api.store().posts.len()), (messages, messages), "each once");
}

// cells slack: out direct chat
#[test]
fn row_c04_channels_and_people_are_named_by_operators() {
    let api = SlackApi::start();
    names(&api);
    let runtime = started(runtime(&api));
    wire(&runtime, "#random", &[]);
    wire(&runtime, "https://cp.slack.com/archives/C012/p1", &[]);
    let create = ["messaging-group", "create", "--channel", "slack"];
    runtime.ok(&[&create[..], &["--person", "<@U0ANN>"]].concat());
    let known = runtime.query::<String>(
        "SELECT platform_id || ' ' || COALESCE(title, '-') || ' ' || is_group FROM messaging_groups \
         WHERE channel_type = 'slack' ORDER BY 1",
    );
    assert_eq!(known, ["slack:C012 general 1", "slack:C013 random 1", "slack:DU0ANN Ann Lee 0"]);
    for (args, why) in
        [(["--chat", "#nowhere"], "no channel of this name"), (["--person", "@ann"], "Copy member ID")]
    {
        let output = runtime.run(&[&create[..], &args].concat());
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && told.contains(why), "{told}");
    }
    api.say("C013", "U0ANN", &format!("<@{BOT}> one"));
    posts(&api, 1);
    api.say("C013", "U0BEN", &format!("<@{BOT}> two"));
    posts(&api, 2);
    let thread = format!("slack:C013:{}", posts(&api, 2)[1].thread.clone().unwrap());
    let told = runtime.ok(&["messaging-group", "history", "slack:C013", "--thread", &thread]);
    assert!(told.contains("vestibule: ") && told.contains("two") && !told.contains("one"), "{told}");
}

/// A refresh token is good once: the next pair is on disk before it is used, and found there after a kill.
#[test]
fn a_token_that_ends_is_renewed_in_time() {
    let api = SlackApi::start();
    names(&api);
    // Each is used for three quarters of its life.
    api.store().refresh = Some(("xoxe-first".into(), 4));
    let keys = format!(
        "{BY_SOCKET}refresh_token = {{ env = \"TEST_REFRESH\" }}\nclient_id = \"client\"\n\
         client_secret = {{ env = \"TEST_CLIENT\" }}\n"
    );
    let runtime =
        runtime_with(&api, &keys).env("TEST_REFRESH", "xoxe-first").env("TEST_CLIENT", "very-secret");
    let mut runtime = started(runtime);
    wire(&runtime, "slack:C012", &[]);
    let calls = || api.store().calls.get("oauth.v2.access").copied().unwrap_or(0);
    until("it is renewed again", || (calls() >= 3).then_some(()));
    api.say("C012", "U0ANN", &format!("<@{BOT}> hello"));
    posts(&api, 1);
    runtime.kill();
    let before = calls();
    runtime.start_with("slack");
    until("it goes on with the pair that is kept", || (calls() > before).then_some(()));
    api.say("C012", "U0ANN", &format!("<@{BOT}> again"));
    posts(&api, 2);
    let kept = "SELECT key || ' ' || secret FROM plugin_state WHERE key = 'tokens'";
    assert_eq!(runtime.query::<String>(kept), ["tokens 1"]);
    assert!(!runtime.log().contains("xoxe-") && !runtime.log().contains("xoxb-"), "{}", runtime.log());
    // What is no longer good is told with what to do.
    api.store().refresh = Some(("xoxe-of-another-installation".into(), 4));
    until("it is told", || {
        let state = runtime.channel("slack");
        let reason = state["reason"].as_str().unwrap_or_default();
        reason.contains("install the app again").then_some(())
    });
}
