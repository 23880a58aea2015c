//! Slack in trouble: nothing is lost and nothing comes twice, whatever breaks and whenever.

use crate::slack::{agent_writes, all_acknowledged, names, posts, runtime, runtime_of_file, started, wire};
use crate::slack_api::{BOT, CUT, GONE, LET_THROUGH, SlackApi};
use crate::support::{Runtime, signal, until};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

fn settled(runtime: &Runtime, count: i64) {
    let delivered = "SELECT COUNT(*) FROM deliveries WHERE state = 'delivered'";
    until("all is settled", || (runtime.query::<i64>(delivered) == [count]).then_some(()));
}

/// A reply of three messages, whose second one Slack took without an answer, or never got.
#[test]
fn a_long_reply_goes_on_where_it_broke_off() {
    let api = SlackApi::start();
    let runtime = started(runtime(&api));
    wire(&runtime, "slack:D012", &[]);
    let html = json!("<html>back soon</html>");
    for (round, (status, answer)) in
        [(CUT, json!(null)), (GONE, json!(null)), (500, html)].into_iter().enumerate()
    {
        api.store().posts.clear();
        let script = [(LET_THROUGH, json!(null)), (status, answer)];
        api.store().script.insert("chat.postMessage".into(), script.into());
        let part = |name: &str| format!("{name} {}", "x".repeat(30_000));
        api.say("D012", "U0ANN", &[part("one"), part("two"), part("three")].join("\n\n"));
        settled(&runtime, round as i64 + 1);
        let begins: Vec<String> =
            api.texts().iter().map(|text| text.split(' ').next().unwrap().to_owned()).collect();
        assert_eq!(begins, ["one", "two", "three"], "{status}");
    }
}

/// The bytes of a file break off on their way, or are not taken: its message is shown once, whole.
#[test]
fn a_file_that_breaks_off_on_its_way_is_brought_again() {
    let api = SlackApi::start();
    api.store().files.insert("a.txt".into(), b"the file".to_vec());
    let runtime = started(runtime(&api));
    wire(&runtime, "slack:D012", &[]);
    for (round, (method, status)) in
        [("upload", GONE), ("upload", 500), ("upload", CUT), ("files.getUploadURLExternal", CUT)]
            .into_iter()
            .enumerate()
    {
        api.store().posts.clear();
        api.store().script.insert(method.into(), [(status, json!("no"))].into());
        api.tell(api.share("D012", "U0ANN", "look", &["a.txt"]));
        settled(&runtime, round as i64 + 1);
        let posts = api.store().posts.clone();
        assert_eq!(posts.iter().filter(|post| post.text.starts_with("look")).count(), 1, "{method} {status}");
        let files: Vec<_> = posts.iter().flat_map(|post| post.files.clone()).collect();
        assert_eq!(files, [("a.txt".to_owned(), b"the file".to_vec())], "{method} {status}");
        assert!(api.store().script[method].is_empty(), "{method} {status}: it was met");
    }
}

/// Slack takes no empty file: nothing is sent, and the operator reads why.
#[test]
fn a_reply_with_an_empty_file_is_refused_whole() {
    let api = SlackApi::start();
    api.store().files.insert("empty.txt".into(), vec![]);
    let runtime = started(runtime(&api));
    wire(&runtime, "slack:D012", &[]);
    api.tell(api.share("D012", "U0ANN", "look", &["empty.txt"]));
    let why = until("it is refused", || {
        runtime.query::<String>("SELECT last_error FROM deliveries WHERE state = 'failed'").pop()
    });
    assert!(why.contains("is empty"), "{why}");
    assert_eq!(api.texts(), [""; 0]);
}

/// Replies wait while the channel's process is killed, one of them already with Slack.
#[test]
fn replies_that_wait_for_a_killed_process_go_out_once() {
    let api = SlackApi::start();
    let runtime = started(runtime_of_file(&api));
    let chats = ["slack:D011", "slack:D012", "slack:D013"];
    for chat in chats {
        wire(&runtime, chat, &[]);
    }
    api.store().posts_stall = true;
    for number in 0..3 {
        for chat in chats {
            api.say(chat.trim_start_matches("slack:"), "U0ANN", &format!("{chat} {number}"));
        }
    }
    all_acknowledged(&api);
    posts(&api, 3);
    signal("KILL", &runtime.plugin_hosts()[0]);
    api.let_posts_end();
    settled(&runtime, 9);
    let mut texts = api.texts();
    for chat in chats {
        let of_chat: Vec<&String> = texts.iter().filter(|text| text.starts_with(chat)).collect();
        assert!(of_chat.is_sorted(), "{of_chat:?}");
    }
    texts.sort();
    texts.dedup();
    assert_eq!((texts.len(), api.store().posts.len()), (9, 9), "each once");
}

/// The bot's token ends, and another one is given only later: the operator is told, and what was to be said is said then.
#[test]
fn replies_wait_for_a_token_that_is_good() {
    let api = SlackApi::start();
    let runtime = started(runtime(&api));
    wire(&runtime, "slack:D012", &[]);
    api.store().expired = true;
    api.say("D012", "U0ANN", "hello");
    all_acknowledged(&api);
    until("the operator is told", || {
        let reason = runtime.channel("slack")["reason"].as_str()?.to_owned();
        (reason.contains("token_expired") && reason.contains("`bot_token`")).then_some(())
    });
    assert_eq!(runtime.query::<String>("SELECT state FROM deliveries WHERE state = 'failed'"), [""; 0]);
    api.store().expired = false;
    settled(&runtime, 1);
    assert_eq!(api.texts(), ["hello"]);
    runtime.wait_live("slack");
}

/// Slack limits posts by chat: what waits in one holds up no other one.
#[test]
fn a_chat_that_slack_limits_holds_up_no_other_one() {
    let api = SlackApi::start();
    let runtime = started(runtime(&api));
    for chat in ["slack:D012", "slack:D013"] {
        wire(&runtime, chat, &[]);
    }
    let limit = (429, json!({ "ok": false, "error": "ratelimited" }));
    api.store().script.insert("chat.postMessage".into(), [limit].into());
    api.store().wait = 12;
    api.say("D012", "U0ANN", "waits");
    until("it is limited", || (api.store().calls.get("chat.postMessage") == Some(&1)).then_some(()));
    let limited = Instant::now();
    api.say("D012", "U0ANN", "waits, too");
    api.say("D013", "U0ANN", "goes");
    posts(&api, 1);
    assert!(limited.elapsed() < Duration::from_secs(10), "it waited for the other chat");
    posts(&api, 3);
    assert_eq!(api.texts(), ["goes", "waits", "waits, too"]);
    assert_eq!(api.store().calls["chat.postMessage"], 4, "Slack was not asked again before its time");
}

/// A connection that is open and says nothing any more is found out, and what Slack sends again over the next one is heard.
#[test]
fn a_deaf_connection_is_left() {
    let api = SlackApi::start();
    let runtime = started(runtime(&api));
    wire(&runtime, "slack:D012", &[]);
    api.store().deaf = 1;
    api.say("D012", "U0ANN", "hello?");
    let begin = Instant::now();
    while api.store().opened < 2 {
        assert!(begin.elapsed() < Duration::from_secs(60), "the deaf one is still kept");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(begin.elapsed() > Duration::from_secs(30), "Slack pings every few seconds, and may be slow");
    until("the next one is open", || (api.store().open() == 2).then_some(()));
    api.send_again();
    assert_eq!(posts(&api, 1)[0].text, "hello?");
    runtime.wait_live("slack");
}

// cells slack: in mention, in thread
#[test]
fn row_c04_private_channels_and_group_chats_are_answered_in_threads() {
    let api = SlackApi::start();
    names(&api);
    let runtime = started(runtime(&api));
    for (number, (channel, kind)) in [("C0PRIVATE", "group"), ("C0GROUPDM", "mpim")].into_iter().enumerate() {
        wire(&runtime, &format!("slack:{channel}"), &[]);
        let said = |text: &str| api.message(channel, "U0ANN", text, json!({ "channel_type": kind }));
        api.tell(said("not for it"));
        let message = said(&format!("<@{BOT}> look"));
        api.tell(message.clone());
        let reply = posts(&api, number + 1).remove(number);
        assert_eq!(reply.thread.as_deref(), message["ts"].as_str(), "{kind}");
        assert_eq!((reply.channel.as_str(), reply.text.as_str()), (channel, "@vestibule look"), "{kind}");
    }
    all_acknowledged(&api);
    let groups = "SELECT is_group FROM messaging_groups WHERE channel_type = 'slack'";
    assert_eq!(runtime.query::<i64>(groups), [1, 1]);
}

/// All kinds of Markdown in one reply, as it is written and as Slack is given it.
// cells slack: out Markdown
#[test]
fn row_c04_markdown_of_every_kind_is_shown() {
    let api = SlackApi::start();
    let runtime = started(runtime(&api));
    wire(&runtime, "slack:D012", &[]);
    api.say("D012", "U0ANN", "hello");
    posts(&api, 1);
    let text = "# Title with **bold**\n\n***both***, ~~gone~~, `<code>` and [words](https://a.example/?x=1&y=2)\n\n\
        1. one\n2. two\n   - inner\n     > quoted\n\n> a\n> > b\n\n- [x] done\n\n| a | long one |\n|---|---|\n| **x** | 1 < 2 |\n\n\
        ![cat](https://a.example/c.png) <b>html</b> <!channel> snake_case 2 * 3\n\n---\n\n```rust\nlet a = b && c;\n";
    agent_writes(&runtime, 1, "slack:D012", json!({ "text": text }));
    let shown = posts(&api, 2).remove(1);
    let want =
        "*Title with bold*\n\n_*both*_, ~gone~, `&lt;code&gt;` and <https://a.example/?x=1&amp;y=2|words>";
    assert!(shown.text.starts_with(want), "{}", shown.text);
    for part in [
        "1. one\n2. two\n    \u{2022} inner",
        "\u{2611} done",
        "```\na | long one\n--+---------\nx | 1 &lt; 2\n```",
        "<https://a.example/c.png|cat> &lt;b&gt;html&lt;/b&gt; &lt;!channel&gt; snake_case 2 * 3",
        "\u{2014}\u{2014}\u{2014}",
        "```\nlet a = b &amp;&amp; c;\n```",
    ] {
        assert!(shown.text.contains(part), "{part} in {}", shown.text);
    }
    assert_eq!(shown.blocks, Value::Null);
}
