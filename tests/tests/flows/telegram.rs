//! Telegram: updates in by long polling, replies out, and nothing lost whenever the runtime is killed.

use crate::bot_api::{BotApi, CUT, HALF, LET_THROUGH, Sent, TOKEN, Webhook};
use crate::support::{Runtime, plugin_file, rows, signal, until};
use crate::traffic::{Dice, in_full};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

pub fn runtime(api: &BotApi) -> Runtime {
    let config =
        format!("[channels.telegram.main]\ntoken = {{ env = \"TEST_TOKEN\" }}\napi_root = \"{}\"\n", api.url);
    Runtime::new(&config).env("TEST_TOKEN", TOKEN)
}

/// The same with the channel's file in a process of its own.
pub fn runtime_of_file(api: &BotApi) -> Runtime {
    let runtime = runtime(api);
    let config = runtime.home.path().join("vestibule.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(config, format!("{text}[plugins.telegram]\nbuilt_in = false\n")).unwrap();
    let plugins = runtime.home.path().join("plugins");
    std::fs::create_dir_all(&plugins).unwrap();
    std::fs::copy(plugin_file("vestibule-telegram"), plugins.join("telegram.so")).unwrap();
    runtime
}

pub fn wire(runtime: &Runtime, chat: &str, more: &[&str]) {
    let verb = ["wiring", "create", "--agent", "assistant", "--channel", "telegram", "--chat", chat];
    runtime.ok(&[&verb, more].concat());
}

fn sent(chat: i64, words: &str) -> Sent {
    Sent { method: "sendMessage".into(), chat, topic: None, quote: None, words: words.into(), files: vec![] }
}

pub fn last(api: &BotApi, count: usize) -> Vec<Sent> {
    until("Telegram has it", || {
        let store = api.store();
        (store.sent.len() >= count).then(|| store.sent[count - 1..].to_vec())
    })
}

// cells telegram: in text, in mention, in thread, out reply
#[test]
fn row_c06_private_chats_groups_and_topics_are_answered() {
    let api = BotApi::start();
    api.store().webhook = Some(Webhook::elsewhere());
    let runtime = runtime(&api).up();
    runtime.wait_live("telegram");
    // A stranger is counted, and the status says how to wire the chat.
    api.say(7, "anybody there?");
    until("the chat is known", || {
        let status = runtime.json(&["status"]);
        status["unwired"].as_array()?.iter().any(|chat| chat["chat"] == "telegram:7").then_some(())
    });
    wire(&runtime, "telegram:7", &[]);
    wire(&runtime, "-1001", &[]);

    api.say(7, "hi");
    assert_eq!(last(&api, 1), [sent(7, "hi")], "in private nothing is quoted");
    let group = || json!({ "id": -1001, "type": "supergroup", "title": "Friends", "is_forum": true });
    api.push("message", group(), json!({ "text": "not for you" }));
    let mention = json!([{ "type": "mention", "offset": 0, "length": 13 }]);
    let message = json!({ "text": "@VestibuleBot a question", "entities": mention });
    api.push("message", group(), message.clone());
    // Two messages and a reply in the other chat, one here that nobody heard, and this one.
    assert_eq!(last(&api, 2), [Sent { quote: Some(5), ..sent(-1001, "@VestibuleBot a question") }]);
    let mut in_topic = message;
    in_topic["message_thread_id"] = 12.into();
    in_topic["is_topic_message"] = true.into();
    api.push("message", group(), in_topic);
    let reply = last(&api, 3).remove(0);
    assert_eq!((reply.chat, reply.topic), (-1001, Some(12)));

    api.push("channel_post", json!({ "id": -9, "type": "channel" }), json!({ "text": "news" }));
    until("the post is on record", || {
        let posts = "SELECT message_count FROM drops WHERE reason = 'channel_post'";
        (runtime.query::<i64>(posts) == [1]).then_some(())
    });
    assert_eq!(runtime.query::<i64>("SELECT COUNT(*) FROM messages_in WHERE \"trigger\""), [3]);
    let offset: i64 =
        runtime.query::<String>("SELECT value FROM plugin_state WHERE key = 'offset'")[0].parse().unwrap();
    assert_eq!(offset, 870_000_000 + 5 + 2, "{:?}", api.waiting());
    assert!(!runtime.log().contains(TOKEN), "the token is a secret");

    // The chats have the names that people gave them there, and the agent sees them.
    let title = "SELECT title FROM messaging_groups WHERE is_group";
    assert_eq!(runtime.query::<String>(title), ["Friends"]);
    let renamed = json!({ "id": -1001, "type": "supergroup", "title": "Old friends" });
    api.push("message", renamed, json!({ "text": "nobody is asked" }));
    until("the new name is on record", || (runtime.query::<String>(title) == ["Old friends"]).then_some(()));
    api.say(7, "what is it called now?");
    until("the agent sees the new name with its next message", || {
        let names = |session: &std::path::PathBuf| {
            rows::<String>(&session.join("inbound.db"), "SELECT display_name FROM destinations")
        };
        runtime.sessions().iter().any(|session| names(session).contains(&"Old friends".into())).then_some(())
    });
    // A stranger's file is not fetched: the answer to that is still there.
    api.store().script.insert("getFile".into(), [(LET_THROUGH, json!(null))].into());
    api.push("message", json!({ "id": 8, "type": "private" }), json!({ "photo": [{ "file_id": "x" }] }));
    until("it is dropped", || {
        runtime.query::<String>("SELECT platform_id FROM drops").contains(&"telegram:8".into()).then_some(())
    });
    assert_eq!(api.store().script["getFile"].len(), 1);
}

// cells telegram: in file, out file
#[test]
fn row_c06_files_go_both_ways() {
    let api = BotApi::start();
    api.store().files.insert("photos/1.jpg".into(), b"the picture".to_vec());
    let runtime = runtime(&api).up();
    runtime.wait_live("telegram");
    wire(&runtime, "telegram:7", &[]);
    let private = || json!({ "id": 7, "type": "private" });
    let photo = json!({ "caption": "look", "photo": [{ "file_id": "photos/1.jpg", "file_size": 11 }] });
    api.push("message", private(), photo);
    let answer = last(&api, 1).remove(0);
    assert!(answer.words.starts_with("look"), "{answer:?}");
    assert_eq!((answer.method.as_str(), answer.chat, answer.file()), ("sendPhoto", 7, &b"the picture"[..]));
}

// cells telegram: out long reply
#[test]
fn row_o11_a_long_text_becomes_several_messages() {
    let api = BotApi::start();
    let runtime = runtime(&api).up();
    runtime.wait_live("telegram");
    wire(&runtime, "telegram:7", &[]);
    // Two messages, and the second is refused once: the first is not sent again.
    let limit = json!({ "ok": false, "error_code": 429, "description": "Too Many Requests: retry after 1",
        "parameters": { "retry_after": 1 } });
    let halves = [format!("first {}", "a".repeat(4000)), format!("second {}", "b".repeat(1000))];
    let text = format!("{}\n{}", halves[0], halves[1]);
    api.store().script.insert("sendMessage".into(), [(LET_THROUGH, json!(null)), (429, limit)].into());
    api.say(7, &text);
    until("both halves are there", || (api.store().sent.len() == 2).then_some(()));
    assert_eq!(api.texts(), halves);
}

/// Each program of an agent leaves its files in a folder: pictures and videos are shown together, the rest as they are.
#[test]
fn row_c06_files_of_a_reply_go_out_as_albums() {
    let api = BotApi::start();
    let runtime = runtime(&api).up();
    runtime.wait_live("telegram");
    wire(&runtime, "telegram:7", &[]);
    let makes = |script: &str| {
        let command = format!("sh -c 'cd $VESTIBULE_REPLY_FILES; {script}'");
        runtime.ok(&["agent", "update", "assistant", "--provider", "command", "--command", &command]);
        api.store().sent.clear();
        api.say(7, "show me");
    };
    let shown = |count: usize| {
        let sent = last(&api, count);
        assert_eq!(sent.len(), 1, "no more than these: {sent:?}");
        let sent = api.store().sent.clone();
        let shown = |sent: &Sent| (sent.method.clone(), sent.words.clone(), sent.kinds().join(" "));
        sent.iter().map(shown).collect::<Vec<_>>()
    };
    let said =
        |method: &str, words: &str, kinds: &str| (method.to_owned(), words.to_owned(), kinds.to_owned());
    makes("for n in 1 2 3; do echo $n >$n.png; done; echo v >4.mp4; echo **four** of them");
    assert_eq!(shown(1), [said("sendMediaGroup", "four of them", "photo photo photo video")]);
    makes("for n in 1 2; do echo $n >$n.pdf; done; echo a >3.png; echo two and one");
    let want = [
        said("sendMessage", "two and one", ""),
        said("sendMediaGroup", "", "document document"),
        said("sendPhoto", "", "photo"),
    ];
    assert_eq!(shown(3), want);
    // What Telegram cannot show is sent as a file.
    makes("echo too wide >1.png; echo 2 >2.png; echo look");
    assert_eq!(shown(1), [said("sendMediaGroup", "look", "document document")]);
    // All messages of an album are one reply, which is taken back whole.
    let sent = "SELECT platform_message_id FROM deliveries WHERE state = 'delivered' ORDER BY message_out_id DESC LIMIT 1";
    until("it is on record", || {
        (runtime.query::<i64>("SELECT COUNT(*) FROM deliveries WHERE state = 'delivered'") == [3])
            .then_some(())
    });
    let reply = runtime.query::<String>(sent).remove(0);
    let before = api.store().seen(7).len();
    agent_writes(&runtime, 0, &json!({ "operation": "delete", "messageId": reply }));
    until("both are gone", || (api.store().seen(7).len() + 2 == before).then_some(()));
}

// cells telegram: out Markdown
#[test]
fn markdown_is_shown_and_words_that_telegram_cannot_read_are_sent_plain() {
    let api = BotApi::start();
    let runtime = runtime(&api).up();
    runtime.wait_live("telegram");
    wire(&runtime, "telegram:7", &[]);
    let refused = json!({ "ok": false, "error_code": 400,
        "description": "Bad Request: can't parse entities: Unsupported start tag" });
    api.store().script.insert("sendMessage".into(), [(LET_THROUGH, json!(null)), (400, refused)].into());
    for count in 1..=2 {
        api.say(7, "**bold** & `<b>`\n\n> a quotation");
        assert_eq!(last(&api, count)[0].words, "bold & <b>\n\na quotation");
    }
}

#[test]
fn what_a_platform_in_trouble_does_is_shown() {
    let api = BotApi::start();
    let runtime = runtime(&api).up();
    runtime.wait_live("telegram");
    let gone = || (502, json!("<html>"));
    api.store().script.insert("getUpdates".into(), [gone(), gone()].into());
    // Ends the poll that waits.
    api.say(8, "x");
    let state = |word: &str| {
        until(&format!("it is {word}"), || {
            let channel = runtime.channel("telegram");
            (channel["state"] == word).then(|| channel["reason"].as_str().unwrap_or_default().to_owned())
        })
    };
    assert!(state("degraded").contains("502"));
    state("live");
    assert!(!runtime.log().contains(TOKEN), "the token is a secret");
}

/// The bot would be told the same update again, for ever, and nothing that came after it.
#[test]
fn half_a_character_holds_no_update_up() {
    let api = BotApi::start();
    let runtime = runtime(&api).up();
    runtime.wait_live("telegram");
    wire(&runtime, "telegram:7", &[]);
    api.say(7, &format!("cut off {HALF}"));
    api.say(7, "and on");
    assert_eq!(last(&api, 2), [sent(7, "and on")]);
    assert_eq!(last(&api, 1)[0].words, "cut off \u{fffd}");
    assert_eq!(runtime.channel("telegram")["state"], "live");
}

#[test]
fn one_odd_answer_ends_no_channel() {
    let api = BotApi::start();
    let runtime = runtime(&api).up();
    runtime.wait_live("telegram");
    wire(&runtime, "telegram:7", &[]);
    let refused =
        |code: u16, words: &str| (code, json!({ "ok": false, "error_code": code, "description": words }));
    let odd = [
        (CUT, json!({ "ok": true, "result": [{ "update_id": 1 }] }), "broke off"),
        (200, json!("<html>back soon</html>"), "api_root"),
        (401, refused(401, "Unauthorized").1, "BotFather"),
        (404, refused(404, "Not Found").1, "BotFather"),
    ];
    for (number, (status, answer, named)) in odd.into_iter().enumerate() {
        api.store().script.insert("getUpdates".into(), [(status, answer)].into());
        // Ends the poll that waits.
        api.say(7, &format!("hello {number}"));
        let why = until(&format!("{named} is told"), || {
            let channel = runtime.channel("telegram");
            (channel["state"] == "degraded")
                .then(|| channel["reason"].as_str().unwrap_or_default().to_owned())
        });
        assert!(why.contains(named), "{why}");
        runtime.wait_live("telegram");
        last(&api, number + 1);
    }
    assert_eq!(
        runtime.log().matches("channel is live channel=\"telegram\"").count(),
        1,
        "it was never restarted"
    );
}

/// The platform may have it: it is sent again, and that is on record.
#[test]
fn a_post_whose_answer_breaks_off_is_in_doubt() {
    for (status, answer) in
        [(CUT, json!({ "ok": true, "result": { "message_id": 5 } })), (200, json!("<html>back soon</html>"))]
    {
        let api = BotApi::start();
        let runtime = runtime(&api).up();
        runtime.wait_live("telegram");
        wire(&runtime, "telegram:7", &[]);
        api.store().script.insert("sendMessage".into(), [(status, answer)].into());
        api.say(7, "hi");
        last(&api, 1);
        let story = "SELECT json_array(state, attempts, possible_duplicate) FROM deliveries";
        until("it is settled", || (runtime.query::<String>(story) == ["[\"delivered\",2,1]"]).then_some(()));
        runtime.wait_live("telegram");
    }
}

/// The file of one chat does not come: the others go on, what its own chat says waits behind it, and a kill in between
/// changes nothing.
#[test]
fn a_slow_file_holds_up_its_own_chat_only() {
    let api = BotApi::start();
    api.store().files.insert("photos/1.jpg".into(), b"the picture".to_vec());
    api.store().files_stall = true;
    let mut runtime = runtime(&api);
    runtime.start_with("telegram");
    for chat in ["telegram:7", "telegram:8"] {
        wire(&runtime, chat, &[]);
    }
    let photo = json!({ "caption": "look", "photo": [{ "file_id": "photos/1.jpg", "file_size": 11 }] });
    api.push("message", json!({ "id": 7, "type": "private" }), photo);
    api.say(7, "behind it");
    for round in ["one", "two"] {
        let words = format!("elsewhere {round}");
        api.say(8, &words);
        until("the other chat is answered", || api.texts().contains(&words).then_some(()));
        assert!(api.store().sent.iter().all(|sent| sent.chat == 8), "{:?}", api.texts());
        until("Telegram keeps nothing any more", || (api.waiting() == 0).then_some(()));
        runtime.kill();
        runtime.start_with("telegram");
    }
    api.let_files_come();
    let of_seven = || {
        let store = api.store();
        store.sent.iter().filter(|sent| sent.chat == 7).cloned().collect::<Vec<_>>()
    };
    let sent = until("all of it is answered", || Some(of_seven()).filter(|sent| sent.len() >= 2));
    assert!(sent[0].words.starts_with("look") && sent[0].file() == b"the picture", "{sent:?}");
    let order: Vec<String> = runtime.query(
        "SELECT json_extract(content, '$.text') FROM messages_in WHERE platform_id = 'telegram:7' ORDER BY seq",
    );
    assert_eq!(order, ["look", "behind it"], "in the order in which they came, and each once");
    let kept = "SELECT COUNT(*) FROM plugin_state WHERE key LIKE 'held/%'";
    assert_eq!(runtime.query::<i64>(kept), [0], "nothing stays behind");
}

fn photo(api: &BotApi, chat: i64) {
    let file = json!([{ "file_id": format!("photos/{chat}.jpg"), "file_size": 11 }]);
    let extra = json!({ "caption": format!("look {chat}"), "photo": file });
    api.push("message", json!({ "id": chat, "type": "private" }), extra);
}

fn heard(runtime: &Runtime, chat: i64) -> Vec<String> {
    let texts = "SELECT json_extract(content, '$.text') FROM messages_in";
    runtime.query(&format!("{texts} WHERE platform_id = 'telegram:{chat}' ORDER BY seq"))
}

/// Several chats' files do not come at all: another chat's do. The operator is told, and after a while each message goes
/// on without its file.
#[test]
fn files_that_never_come_hold_up_no_other_chat() {
    let api = BotApi::start();
    let stalled = ["1", "2", "3", "4", "5", "6"].map(|chat| format!("photos/{chat}.jpg"));
    for name in stalled.iter().map(String::as_str).chain(["photos/8.jpg"]) {
        api.store().files.insert(name.into(), b"the picture".to_vec());
    }
    api.store().stalled = stalled.into();
    let runtime = runtime(&api).up();
    runtime.wait_live("telegram");
    for chat in 1..=8 {
        wire(&runtime, &format!("telegram:{chat}"), &[]);
    }
    (1..=6).for_each(|chat| photo(&api, chat));
    photo(&api, 8);
    until("the file of another chat comes", || {
        api.store().sent.iter().any(|sent| sent.chat == 8 && sent.file() == b"the picture").then_some(())
    });
    let told = "in 6 chats (telegram:1 and others) messages have been waiting for a file";
    until("the operator is told", || runtime.log().contains(told).then_some(()));
    until("files that do not come are given up", || {
        (1..=6).all(|chat| heard(&runtime, chat) == [format!("look {chat}")]).then_some(())
    });
    let named = "SELECT json_array_length(content, '$.attachments') FROM messages_in WHERE platform_id = 'telegram:2'";
    assert_eq!(runtime.query::<i64>(named), [1], "the agent sees that there was a file");
    runtime.wait_live("telegram");
}

/// In one chat more is said behind a file than is kept: the others go on, and nothing is lost.
#[test]
fn a_chat_that_says_much_behind_a_file_holds_up_no_other() {
    const BEHIND: usize = 700;
    let api = BotApi::start();
    api.store().files.insert("photos/1.jpg".into(), b"the picture".to_vec());
    api.store().stalled = ["photos/1.jpg".to_owned()].into();
    let runtime = runtime(&api).up();
    runtime.wait_live("telegram");
    for chat in ["telegram:1", "telegram:7"] {
        wire(&runtime, chat, &[]);
    }
    photo(&api, 1);
    let behind: Vec<String> = (0..BEHIND).map(|number| format!("behind {number}")).collect();
    for words in &behind {
        api.say(1, words);
    }
    api.say(7, "elsewhere");
    until("another chat is answered", || api.texts().contains(&"elsewhere".into()).then_some(()));
    until("its own chat goes on without the file", || (heard(&runtime, 1).len() > BEHIND).then_some(()));
    let heard = heard(&runtime, 1);
    assert_eq!((heard[0].as_str(), &heard[1..]), ("look 1", &behind[..]), "all, and in order");
    let kept = "SELECT COUNT(*) FROM plugin_state WHERE key LIKE 'held/%'";
    assert_eq!(runtime.query::<i64>(kept), [0], "nothing stays behind");
}

/// A group gets another number when Telegram makes it a supergroup. Its agent goes on there, in the same session.
#[test]
fn a_group_that_becomes_a_supergroup_keeps_its_agent() {
    let api = BotApi::start();
    let mut runtime = runtime(&api);
    runtime.start_with("telegram");
    for chat in ["telegram:-5", "telegram:-6", "telegram:-7"] {
        wire(&runtime, chat, &["--pattern", "."]);
    }
    let before = |chat: i64| json!({ "id": chat, "type": "group", "title": "Friends" });
    let after = |chat: i64| json!({ "id": chat, "type": "supergroup", "title": "Friends", "is_forum": true });
    api.push("message", before(-5), json!({ "text": "one" }));
    last(&api, 1);
    // Telegram tells it twice, in the old chat and in the new one.
    api.store().moved.insert(-5, -1005);
    api.push("message", before(-5), json!({ "migrate_to_chat_id": -1005 }));
    api.push("message", after(-1005), json!({ "migrate_from_chat_id": -5 }));
    api.push("message", after(-1005), json!({ "text": "two" }));
    assert_eq!(last(&api, 2)[0].chat, -1005);
    let failed = "SELECT COUNT(*) FROM deliveries WHERE state != 'delivered'";
    until("all is delivered", || (runtime.query::<i64>(failed) == [0]).then_some(()));
    runtime.kill();
    runtime.start_with("telegram");
    let topic = json!({ "text": "three", "message_thread_id": 12, "is_topic_message": true });
    api.push("message", after(-1005), topic);
    let reply = last(&api, 3).remove(0);
    assert_eq!((reply.chat, reply.topic, reply.words.as_str()), (-1005, Some(12), "three"));

    // Telegram told it while another program took the updates: the answer to a post says it.
    api.store().moved.insert(-6, -1006);
    api.push("message", before(-6), json!({ "text": "four" }));
    assert_eq!(last(&api, 4)[0].chat, -1006);
    api.push("message", after(-1006), json!({ "text": "five" }));
    assert_eq!(last(&api, 5)[0].chat, -1006);
    let places = "SELECT platform_id FROM messaging_groups WHERE channel_type = 'telegram' ORDER BY 1";
    assert_eq!(runtime.query::<String>(places), ["telegram:-1005", "telegram:-1006", "telegram:-7"]);
    until("all is delivered", || (runtime.query::<i64>(failed) == [0]).then_some(()));

    // What an earlier version kept of groups by itself is told to the runtime, and forgotten.
    runtime.kill();
    let file = runtime.home.path().join("vestibule.db");
    let central =
        rusqlite::Connection::open_with_flags(file, rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE).unwrap();
    let kept = "INSERT INTO plugin_state (channel_type, account, key, value) VALUES ('telegram', 'main', 'moved', ?1)";
    central.execute(kept, [r#"{"telegram:-7":"telegram:-1007"}"#]).unwrap();
    drop(central);
    runtime.start_with("telegram");
    api.push("message", after(-1007), json!({ "text": "six" }));
    assert_eq!(last(&api, 6)[0].chat, -1007);
    assert_eq!(runtime.query::<String>(places), ["telegram:-1005", "telegram:-1006", "telegram:-1007"]);
    assert_eq!(runtime.query::<i64>("SELECT COUNT(*) FROM plugin_state WHERE key = 'moved'"), [0]);
}

/// Writes a row into the agent's file, as its tools can.
pub fn agent_writes(runtime: &Runtime, number: i64, content: &Value) {
    let out = runtime.sessions()[0].join("out/outbound.db");
    let db = rusqlite::Connection::open_with_flags(out, rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE).unwrap();
    db.busy_timeout(crate::support::PATIENCE).unwrap();
    // The runner goes on from the last row, whoever wrote it.
    let sql = "INSERT INTO messages_out (id, seq, timestamp, kind, platform_id, channel_type, content) \
               SELECT ?1, MAX(seq) + 2, '', 'chat', 'telegram:7', 'telegram', ?2 FROM messages_out";
    let id = format!("tool-{number}");
    db.execute(sql, rusqlite::params![id, content.to_string()]).unwrap();
}

// cells telegram: in edit, in reaction, out edit, out deletion, out reaction, out card, out work
#[test]
fn row_c06_messages_are_changed_from_both_sides() {
    let api = BotApi::start();
    api.store().files.insert("photos/7.jpg".into(), b"the picture".to_vec());
    let runtime = runtime(&api).up();
    runtime.wait_live("telegram");
    runtime.ok(&["agent", "update", "assistant", "--provider", "command", "--command", "cat"]);
    wire(&runtime, "telegram:7", &[]);
    let private = || json!({ "id": 7, "type": "private" });
    api.push("message", private(), json!({ "message_id": 501, "text": "lunch at 12?" }));
    last(&api, 1);
    assert!(api.store().typing.contains(&(7, None)), "it is shown that an agent works");
    let sent = "SELECT platform_message_id FROM deliveries WHERE platform_message_id IS NOT NULL";
    let reply = until("it is on record", || runtime.query::<String>(sent).pop());
    let number: i64 = reply.strip_prefix("7:").unwrap().parse().unwrap();
    let edit = json!({ "message_id": 501, "text": "lunch at 1?", "edit_date": 1_700_009_000 });
    api.push("edited_message", private(), edit);
    let thumb = json!([{ "type": "emoji", "emoji": "👍" }]);
    let reaction = json!({ "message_id": number, "user": { "id": 7, "first_name": "Ada" },
        "old_reaction": [], "new_reaction": thumb });
    api.push("message_reaction", private(), reaction);
    // A change of a message that waits for its file comes after it.
    api.store().files_stall = true;
    let photo = json!({ "message_id": 600, "caption": "look", "photo": [{ "file_id": "photos/7.jpg", "file_size": 11 }] });
    api.push("message", private(), photo);
    api.push(
        "edited_message",
        private(),
        json!({ "message_id": 600, "caption": "look here", "edit_date": 1_700_009_001,
        "photo": [{ "file_id": "photos/7.jpg", "file_size": 11 }] }),
    );
    until("Telegram keeps nothing any more", || (api.waiting() == 0).then_some(()));
    api.let_files_come();
    let prompt = until("the agent hears it", || {
        api.texts().into_iter().find(|text| text.contains("[edited message") && text.contains("look"))
    });
    for words in ["lunch at 1?", "[reacted with 👍 to your message"] {
        assert!(prompt.contains(words), "{words} in {prompt}");
    }
    api.say(7, "and now?");
    let prompt =
        until("the agent hears it", || api.texts().into_iter().find(|text| text.contains("look here")));
    assert!(prompt.contains("[edited message"), "{prompt}");

    agent_writes(&runtime, 0, &json!({ "operation": "edit", "messageId": reply, "text": "**hello**, all" }));
    until("it says something else", || (api.store().shown[&(7, number)].text == "hello, all").then_some(()));
    agent_writes(&runtime, 1, &json!({ "operation": "reaction", "messageId": "7:501", "emoji": "eyes" }));
    until("it is there", || (api.store().reactions.get(&(7, 501))? == "👀").then_some(()));
    agent_writes(&runtime, 2, &json!({ "operation": "reaction", "messageId": "7:501", "emoji": "✅" }));
    let why = "SELECT last_error FROM deliveries WHERE message_out_id = 'tool-2' AND state = 'failed'";
    let why = until("it is refused", || runtime.query::<String>(why).pop());
    assert!(why.contains("choose one of ❤ 👍"), "{why}");
    let card = json!({ "title": "Build", "actions": [{ "label": "Open", "url": "https://a.example" }] });
    agent_writes(&runtime, 3, &json!({ "type": "card", "card": card }));
    let button = vec![("Open".to_owned(), "https://a.example".to_owned())];
    until("the card is there", || {
        let (.., shown) = api.buttons()?;
        (shown.text == "Build" && shown.buttons == button).then_some(())
    });
    agent_writes(&runtime, 4, &json!({ "operation": "delete", "messageId": reply }));
    until("it is gone", || (!api.store().shown.contains_key(&(7, number))).then_some(()));
}

// cells telegram: in command
#[test]
fn a_command_is_heard_by_its_name() {
    let api = BotApi::start();
    let runtime = runtime(&api).up();
    runtime.wait_live("telegram");
    wire(&runtime, "telegram:-1001", &[]);
    let group = || json!({ "id": -1001, "type": "supergroup", "title": "Friends" });
    for (words, length) in [("/ask of another bot", 4), ("/ask@VestibuleBot what is new", 17)] {
        let entities = json!([{ "type": "bot_command", "offset": 0, "length": length }]);
        api.push("message", group(), json!({ "text": words, "entities": entities }));
    }
    assert_eq!(last(&api, 1)[0].words, "/ask what is new", "the other one is not for the agent");
}

/// The words of a reply that became several messages, and the file that went with them.
#[test]
fn an_edit_takes_back_what_held_the_rest_of_the_words() {
    let api = BotApi::start();
    api.store().files.insert("photos/7.jpg".into(), b"the picture".to_vec());
    let runtime = runtime(&api).up();
    runtime.wait_live("telegram");
    wire(&runtime, "telegram:7", &[]);
    let text = format!("{}\n{}", "a".repeat(4_000), "b".repeat(1_000));
    let photo = json!({ "caption": text, "photo": [{ "file_id": "photos/7.jpg", "file_size": 11 }] });
    api.push("message", json!({ "id": 7, "type": "private" }), photo);
    until("text and file are back", || (api.store().seen(7).len() >= 3).then_some(()));
    let sent = "SELECT platform_message_id FROM deliveries WHERE state = 'delivered'";
    let reply = until("it is on record", || runtime.query::<String>(sent).pop());
    agent_writes(&runtime, 0, &json!({ "operation": "edit", "messageId": reply, "text": "short" }));
    until("the rest is gone, and the file is there", || (api.store().seen(7) == ["short", ""]).then_some(()));
}

#[test]
fn chats_that_the_bot_comes_into_and_leaves_are_shown() {
    let api = BotApi::start();
    let runtime = runtime(&api).up();
    runtime.wait_live("telegram");
    let part = |before: &str, after: &str| {
        let extra =
            json!({ "old_chat_member": { "status": before }, "new_chat_member": { "status": after } });
        api.push("my_chat_member", json!({ "id": -5, "type": "group", "title": "Friends" }), extra);
    };
    part("left", "member");
    until("the chat is known", || {
        let status = runtime.json(&["status"]);
        status["unwired"].as_array()?.iter().any(|chat| chat["chat"] == "telegram:-5").then_some(())
    });
    wire(&runtime, "telegram:-5", &[]);
    let left =
        "SELECT COUNT(*) FROM messaging_groups WHERE channel_type = 'telegram' AND left_at IS NOT NULL";
    for (before, after, want) in
        [("member", "administrator", 0), ("administrator", "kicked", 1), ("left", "member", 0)]
    {
        part(before, after);
        until("it is on record", || (runtime.query::<i64>(left) == [want]).then_some(()));
        until("Telegram keeps nothing any more", || (api.waiting() == 0).then_some(()));
    }
}

/// Only one part of an album has the words that engage the agent, and each part is an update of its own.
#[test]
fn row_c06_an_album_is_one_message_both_ways_and_survives_a_kill() {
    let api = BotApi::start();
    for name in ["1", "2", "3", "4"] {
        api.store().files.insert(format!("photos/{name}.jpg"), format!("picture {name}").into_bytes());
    }
    let mut runtime = runtime(&api);
    runtime.start_with("telegram");
    wire(&runtime, "telegram:-1001", &["--pattern", "^look"]);
    let say = |extra: Value| {
        api.push("message", json!({ "id": -1001, "type": "supergroup", "title": "Friends" }), extra);
    };
    let part = |number: &str, album: &str| {
        json!({ "media_group_id": album,
            "photo": [{ "file_id": format!("photos/{number}.jpg"), "file_size": 9 }] })
    };
    let mut worded = part("1", "a");
    worded["caption"] = "look at these".into();
    say(worded);
    let kept = "SELECT COUNT(*) FROM plugin_state WHERE key LIKE 'held/%'";
    until("it is kept", || (runtime.query::<i64>(kept) == [1]).then_some(()));
    runtime.kill();
    let taken = "SELECT COUNT(*) FROM messages_in";
    assert_eq!(rows::<i64>(&runtime.home.path().join("vestibule.db"), taken), [0], "more of it may come");
    say(part("2", "a"));
    say(json!({ "text": "look, in between" }));
    say(part("3", "a"));
    // Of no album.
    say(part("4", "b"));
    runtime.start_with("telegram");
    let heard = "SELECT json_array(json_extract(content, '$.text'), \
        COALESCE(json_array_length(content, '$.attachments'), 0)) FROM messages_in ORDER BY seq";
    until("both are heard", || {
        (runtime.query::<String>(heard) == [r#"["look at these",3]"#, r#"["look, in between",0]"#])
            .then_some(())
    });
    let album = until("it comes back as one", || {
        api.store().sent.iter().find(|sent| sent.method == "sendMediaGroup").cloned()
    });
    let mut bytes: Vec<&[u8]> = album.files.iter().map(|file| &file.bytes[..]).collect();
    bytes.sort_unstable();
    assert_eq!(bytes, [b"picture 1", b"picture 2", b"picture 3"], "{album:?}");
    assert!(album.words.starts_with("look at these") && album.kinds() == ["photo"; 3], "{album:?}");
    let dropped = "SELECT message_count FROM drops WHERE reason = 'no_agent_engaged'";
    until("the other album is on record", || (runtime.query::<i64>(dropped) == [1]).then_some(()));
    assert_eq!(runtime.query::<i64>(kept), [0], "nothing stays behind");
}

/// A question about a picture that was sent before, here or in another chat: the agent gets it once more.
#[test]
fn row_c06_the_picture_that_is_answered_comes_along() {
    let api = BotApi::start();
    for name in ["1", "2"] {
        api.store().files.insert(format!("photos/{name}.jpg"), format!("picture {name}").into_bytes());
    }
    let runtime = runtime(&api).up();
    runtime.wait_live("telegram");
    wire(&runtime, "telegram:7", &[]);
    let private = || json!({ "id": 7, "type": "private", "first_name": "Ben" });
    let photo = |name: &str| json!([{ "file_id": format!("photos/{name}.jpg"), "file_size": 9 }]);
    let answered = json!({ "message_id": 3, "date": 1_600_000_000, "chat": private(),
        "from": { "id": 7, "first_name": "Ben" }, "photo": photo("1") });
    api.push("message", private(), json!({ "text": "what is this?", "reply_to_message": answered }));
    last(&api, 1);
    let origin = json!({ "type": "hidden_user", "sender_user_name": "Zoe", "date": 1_600_000_000 });
    let elsewhere = json!({ "origin": origin, "photo": photo("2") });
    let quote = json!({ "text": "the marked words", "position": 4 });
    api.push(
        "message",
        private(),
        json!({ "text": "and that?", "external_reply": elsewhere, "quote": quote }),
    );
    let sent = last(&api, 2);
    assert_eq!(sent.len(), 1);
    let files: Vec<Vec<u8>> = api.store().sent.iter().map(|sent| sent.file().to_vec()).collect();
    assert_eq!(files, [b"picture 1", b"picture 2"], "the agent echoes what it got");
    let content = "SELECT json_array(json_extract(content, '$.attachments[0].quoted'), \
        json_extract(content, '$.replyTo.sender'), json_extract(content, '$.replyTo.text')) FROM messages_in ORDER BY seq";
    let want = [r#"[1,"Ben","[photo]"]"#, r#"[1,"Zoe","the marked words"]"#];
    assert_eq!(runtime.query::<String>(content), want);
}

/// A client cuts a text that is too long: its second part names no agent.
#[test]
fn a_text_that_a_client_cut_is_one_message() {
    let api = BotApi::start();
    let runtime = runtime(&api).up();
    runtime.wait_live("telegram");
    wire(&runtime, "telegram:-1001", &[]);
    let say = |extra: Value| {
        api.push("message", json!({ "id": -1001, "type": "supergroup", "title": "Friends" }), extra);
    };
    let begin = format!("@VestibuleBot {}", "a".repeat(4_082));
    say(json!({ "text": begin, "entities": [{ "type": "mention", "offset": 0, "length": 13 }] }));
    say(json!({ "text": "the rest, with the question" }));
    let heard = "SELECT json_extract(content, '$.text') FROM messages_in";
    let whole = format!("{begin}the rest, with the question");
    until("it is heard", || (runtime.query::<String>(heard) == [whole.clone()]).then_some(()));
}

#[test]
fn start_is_greeted_and_no_message() {
    let api = BotApi::start();
    let runtime = runtime(&api).up();
    runtime.wait_live("telegram");
    // The operator still learns of the chat.
    api.say(7, "/start");
    until("the chat is known", || {
        let status = runtime.json(&["status"]);
        status["unwired"].as_array()?.iter().any(|chat| chat["chat"] == "telegram:7").then_some(())
    });
    let greeting = last(&api, 1).remove(0);
    assert!(greeting.chat == 7 && greeting.words.contains("not connected"), "{greeting:?}");
    wire(&runtime, "telegram:7", &[]);
    api.say(7, "/start ref_7");
    assert_eq!(last(&api, 2), [sent(7, "Hello! Write to me, and I answer here.")]);
    api.say(7, "hi");
    assert_eq!(last(&api, 3), [sent(7, "hi")]);
    assert_eq!(runtime.query::<i64>("SELECT COUNT(*) FROM messages_in WHERE \"trigger\""), [1]);
    assert_eq!(runtime.query::<i64>("SELECT message_count FROM drops WHERE reason = 'greeted'"), [1]);
}

#[test]
fn a_reply_into_a_topic_that_is_gone_goes_to_its_chat() {
    let api = BotApi::start();
    api.store().files.insert("photos/1.jpg".into(), b"the picture".to_vec());
    let runtime = runtime(&api).up();
    runtime.wait_live("telegram");
    wire(&runtime, "telegram:-1001", &["--pattern", "."]);
    let gone = || {
        let words = "Bad Request: message thread not found";
        (400, json!({ "ok": false, "error_code": 400, "description": words }))
    };
    api.store().script.insert("sendPhoto".into(), [gone()].into());
    let group = json!({ "id": -1001, "type": "supergroup", "title": "Friends", "is_forum": true });
    let photo = json!({ "caption": "look", "photo": [{ "file_id": "photos/1.jpg", "file_size": 11 }],
        "message_thread_id": 12, "is_topic_message": true });
    api.push("message", group, photo);
    let answer = last(&api, 1).remove(0);
    assert_eq!((answer.chat, answer.topic, answer.file()), (-1001, None, &b"the picture"[..]));
    let story = "SELECT json_array(state, attempts) FROM deliveries";
    until("it is settled", || (runtime.query::<String>(story) == ["[\"delivered\",1]"]).then_some(()));
}

/// Whatever is behind the offset that was committed was taken: looked at in a runtime that is dead.
fn nothing_behind_the_offset_is_missing(runtime: &Runtime, first: i64) {
    let file = runtime.home.path().join("vestibule.db");
    let offset: Vec<String> = rows(&file, "SELECT value FROM plugin_state WHERE key = 'offset'");
    let Some(offset) = offset.first().map(|offset| offset.parse::<i64>().unwrap()) else { return };
    let taken: Vec<i64> = rows(&file, "SELECT COUNT(*) FROM event_ids WHERE channel_type = 'telegram'");
    assert_eq!(taken[0], offset - first, "the offset {offset} and what was taken");
}

/// Kills the runtime `kills` times while people write; answers how many updates there were.
fn kill_and_verify(mut runtime: Runtime, api: &BotApi, kills: usize, name: &str) {
    let mut dice = Dice::new(name);
    let first = api.say(1, "n0");
    runtime.start_with("telegram");
    // Before anybody is wired to the chat, so that it is none of those that are answered.
    until("the first is counted", || {
        (runtime.query::<i64>("SELECT COUNT(*) FROM event_ids") == [1]).then_some(())
    });
    for person in 1..=3 {
        wire(&runtime, &format!("telegram:{person}"), &[]);
    }
    let (mut asked, mut updates) = (BTreeSet::new(), 1);
    for kill in 0..kills {
        let time = Duration::from_millis(20 + dice.below(300));
        let begin = std::time::Instant::now();
        while begin.elapsed() < time {
            updates += 1;
            if dice.below(6) == 0 {
                api.push("channel_post", json!({ "id": -9, "type": "channel" }), json!({ "text": "news" }));
            } else {
                let text = format!("n{updates}");
                api.say(1 + dice.below(3) as i64, &text);
                asked.insert(text);
            }
            std::thread::sleep(Duration::from_millis(dice.below(15)));
        }
        runtime.kill();
        nothing_behind_the_offset_is_missing(&runtime, first);
        if kill + 1 < kills && dice.below(3) == 0 {
            runtime.launch(&[]); // killed again while it starts
        } else {
            runtime.start_with("telegram");
        }
    }
    until("Telegram keeps nothing any more", || (api.waiting() == 0).then_some(()));
    let missing = || {
        let said: BTreeSet<String> = api.texts().into_iter().collect();
        asked.difference(&said).cloned().collect::<Vec<_>>()
    };
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while !missing().is_empty() {
        assert!(std::time::Instant::now() < deadline, "never answered: {:?}", missing());
        std::thread::sleep(Duration::from_millis(20));
    }
    let count = |sql: &str| runtime.query::<i64>(sql)[0];
    assert_eq!(count("SELECT COUNT(*) FROM event_ids WHERE channel_type = 'telegram'"), updates);
    assert_eq!(count("SELECT COUNT(*) FROM messages_in"), asked.len() as i64, "each is there once");
    let twice = api.texts().len() - asked.len();
    println!("{name}: {kills} kills, {updates} updates, {} answered, {twice} of them twice", asked.len());
    // Each chat has at most one delivery under way, and Telegram takes no key that tells two apart.
    assert!(twice <= kills * 3, "{twice} answers came twice");
}

#[test]
fn killed_at_any_moment_every_update_is_answered() {
    let api = BotApi::start();
    let runtime = runtime(&api);
    kill_and_verify(runtime, &api, if in_full() { 200 } else { 12 }, "telegram, built in");
}

/// The file in a process of its own, which is killed while people write: the runtime goes on, and so does the
/// next process, where the one before it was.
#[test]
fn a_process_that_is_killed_leaves_no_update_unanswered() {
    let api = BotApi::start();
    api.store().files.insert("photos/1.jpg".into(), b"the picture".to_vec());
    let mut runtime = runtime_of_file(&api);
    runtime.start_with("telegram");
    wire(&runtime, "telegram:7", &[]);
    let photo = json!({ "caption": "look", "photo": [{ "file_id": "photos/1.jpg", "file_size": 11 }] });
    api.push("message", json!({ "id": 7, "type": "private" }), photo);
    let answer = last(&api, 1).remove(0);
    assert!(answer.words.starts_with("look") && answer.file() == b"the picture", "{answer:?}");

    let mut dice = Dice::new("telegram, in a process");
    let (kills, mut asked) = (4, BTreeSet::new()); // the fifth end would be one too many
    for kill in 1..=kills {
        for number in 0..20 {
            let text = format!("n{kill}.{number}");
            api.say(7, &text);
            asked.insert(text);
            std::thread::sleep(Duration::from_millis(dice.below(15)));
        }
        signal("KILL", &runtime.plugin_hosts()[0]);
        let ended = || runtime.log().matches("the plugin's process ended; it is started again").count();
        until("it is noticed", || (ended() == kill).then_some(()));
        let again = || runtime.log().matches("the plugin's process runs again").count();
        until("the next one runs", || (again() == kill).then_some(()));
    }
    until("Telegram keeps nothing any more", || (api.waiting() == 0).then_some(()));
    let unanswered = || {
        let said: BTreeSet<String> = api.texts().into_iter().collect();
        asked.difference(&said).count()
    };
    let mut left = asked.len() + 1;
    while left > 0 {
        left = until("more is answered", || Some(unanswered()).filter(|now| *now < left || *now == 0));
    }
    let taken = runtime.query::<i64>("SELECT COUNT(*) FROM messages_in")[0];
    assert_eq!(taken, asked.len() as i64 + 1, "each is there once");
    let twice = api.texts().len() - asked.len() - 1;
    assert!(twice <= kills, "{twice} answers came twice");
}
