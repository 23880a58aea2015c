//! WhatsApp: events in by Meta's webhook, replies out by the Graph API, and what Meta says of them later.

use crate::changes::agent_writes_to;
use crate::support::{Runtime, asker, plugin_file, sign, until};
use crate::whatsapp_api::{CHAT, CUT, NUMBER, SECRET, TOKEN, VERIFY, WhatsAppApi, error};
use crate::whatsapp_words::{
    ANN, ANN_SCOPED, HALF, HIDDEN, contacts, edit, hidden_text, location, lost_picture, post, reaction,
    revocation, shared_contact, tap, tell, too_late, trial, unsupported,
};
use serde_json::{Value, json};

fn runtime_with(api: &WhatsAppApi, keys: &str) -> Runtime {
    let config = format!(
        "[channels.whatsapp.main]\naccess_token = {{ env = \"TEST_TOKEN\" }}\napp_secret = {{ env = \"TEST_SECRET\" }}\n\
         verify_token = {{ env = \"TEST_VERIFY\" }}\nphone_number_id = \"{NUMBER}\"\napi_url = \"{}\"\n{keys}",
        api.url
    );
    Runtime::new(&config).env("TEST_TOKEN", TOKEN).env("TEST_SECRET", SECRET).env("TEST_VERIFY", VERIFY)
}

pub fn started(api: &WhatsAppApi) -> Runtime {
    let mut runtime = set_up(api, false);
    runtime.start_with("whatsapp");
    runtime
}

/// The same with the channel's file in a process of its own.
pub fn started_of_file(api: &WhatsAppApi) -> Runtime {
    let mut runtime = set_up(api, true);
    runtime.start_with("whatsapp");
    runtime
}

/// Ready to be started, with the channel built in, or its file in a process of its own.
pub fn set_up(api: &WhatsAppApi, of_file: bool) -> Runtime {
    if !of_file {
        return runtime_with(api, "");
    }
    let runtime = runtime_with(api, "[plugins.whatsapp]\nbuilt_in = false\n");
    let plugins = runtime.home.path().join("plugins");
    std::fs::create_dir_all(&plugins).unwrap();
    std::fs::copy(plugin_file("vestibule-whatsapp"), plugins.join("whatsapp.so")).unwrap();
    runtime
}

pub fn wire(runtime: &Runtime, chat: &str, more: &[&str]) {
    let verb = ["wiring", "create", "--agent", "assistant", "--channel", "whatsapp", "--chat", chat];
    runtime.ok(&[&verb, more].concat());
}

pub fn asks(runtime: &Runtime) {
    let command = format!("'{}'", asker().display());
    runtime.ok(&["agent", "update", "assistant", "--provider", "command", "--command", &command]);
}

fn body(sent: &Value) -> &str {
    sent["text"]["body"].as_str().unwrap_or_default()
}

// cells whatsapp: in text, in mention, out reply
#[test]
fn row_c07_people_write_and_are_answered() {
    for of_file in [false, true] {
        let api = WhatsAppApi::start();
        let runtime = if of_file { started_of_file(&api) } else { started(&api) };
        // Meta tries the address first.
        assert_eq!(trial(&runtime, VERIFY), (200, "1158201444".to_owned()));
        assert_eq!(trial(&runtime, "another").0, 403);
        // A chat without an agent is counted, and the status says how to wire it.
        api.text(&runtime, "anybody there?");
        let status = runtime.json(&["status"]);
        assert_eq!(status["unwired"][0]["chat"], CHAT, "{status:#}");
        wire(&runtime, CHAT, &[]);
        let id = api.text(&runtime, "héllo 👋 *there*");
        let reply = api.sent(1).remove(0);
        assert_eq!((&reply["to"], body(&reply)), (&json!(ANN), "héllo 👋 _there_"));
        assert_eq!(reply["context"]["message_id"], json!(id), "it quotes what it answers");
        assert_eq!(reply.get("recipient"), None);
        // What Meta sends again is known; what is not signed with the secret is none of Meta's.
        let again = json!({ "contacts": contacts(), "messages": [{ "from": ANN, "id": id, "timestamp": "1749416383",
            "type": "text", "text": { "body": "again" } }] });
        assert_eq!(tell(&runtime, NUMBER, again.clone()).0, 200);
        let bytes = again.to_string().into_bytes();
        assert_eq!(post(&runtime, &bytes, &sign("another secret", &bytes)).0, 401);
        assert_eq!(post(&runtime, b"{}", &sign(SECRET, b"{}")).0, 400);
        // Half a character costs nothing but itself: Meta would send the same again.
        let half = api.id();
        let cut = json!({ "contacts": contacts(), "messages": [{ "from": ANN, "id": half, "timestamp": 1_749_416_384,
            "type": "text", "text": { "body": format!("cut {HALF}") } }] });
        assert_eq!(tell(&runtime, NUMBER, cut).0, 200);
        assert_eq!(body(&api.sent(2)[1]), "cut \u{fffd}");
        // A person who hides their number has an id of the business's own, and is answered by it.
        wire(&runtime, &format!("whatsapp:{NUMBER}:{HIDDEN}"), &[]);
        assert_eq!(tell(&runtime, NUMBER, hidden_text(&api.id(), "who am I?")).0, 200);
        let reply = api.sent(3).remove(2);
        assert_eq!((&reply["recipient"], body(&reply)), (&json!(HIDDEN), "who am I?"));
        assert_eq!(reply.get("to"), None);
        let heard = "SELECT json_extract(content, '$.sender') || ': ' || json_extract(content, '$.text') FROM messages_in ORDER BY platform_id, seq";
        assert_eq!(
            runtime.query::<String>(heard),
            ["Sheena Nelson: héllo 👋 *there*", "Sheena Nelson: cut \u{fffd}", "Al: who am I?"]
        );
        let titles = "SELECT title FROM messaging_groups WHERE title IS NOT NULL ORDER BY platform_id";
        until("the chats are named", || {
            (runtime.query::<String>(titles) == ["Sheena Nelson", "Al"]).then_some(())
        });
        let handles = runtime.channel("whatsapp")["handles"].clone();
        assert_eq!(handles, json!(["+1 555-078-3881", NUMBER]));
        for secret in [TOKEN, SECRET, VERIFY] {
            assert!(!runtime.log().contains(secret), "{secret} is a secret");
        }
    }
}

// cells whatsapp: in file, out file, out long reply
#[test]
fn row_c07_files_go_both_ways() {
    let api = WhatsAppApi::start();
    let runtime = started(&api);
    // No agent hears it: nothing is loaded.
    assert_eq!(api.say(&runtime, api.picture("first")).1, 200);
    assert_eq!(api.loads(), (0, 0));
    wire(&runtime, CHAT, &[]);
    assert_eq!(api.say(&runtime, api.picture("look")).1, 200);
    assert_eq!(api.loads(), (1, 1));
    let reply = api.sent(1).remove(0);
    assert!(reply["image"]["caption"].as_str().unwrap().starts_with("look"), "{reply:#}");
    let stored = api.store().files[reply["image"]["id"].as_str().unwrap()].clone();
    assert_eq!(stored, ("image/jpeg".to_owned(), b"the picture".to_vec()));
    // A voice message, a document, and a file that Meta has no more.
    api.say(&runtime, api.voice());
    // No words stand under a sound.
    assert_eq!([&api.sent(3)[1]["type"], &api.sent(3)[2]["type"]], ["text", "audio"]);
    api.say(&runtime, api.paper());
    let reply = api.sent(4).remove(3);
    assert_eq!(reply["document"]["filename"], "report.pdf", "{reply:#}");
    assert_eq!(api.say(&runtime, lost_picture()).1, 200);
    assert!(body(&api.sent(5)[4]).starts_with("gone"), "{:?}", api.texts());
    // Places and contacts are no files: they come as words.
    for (said, want) in [
        (location(), "Location: Guggenheim Museum, 1071"),
        (shared_contact(), "Contact: Barbara Johnson: +1 (650)"),
    ] {
        let before = api.store().sent.len();
        assert_eq!(api.say(&runtime, said).1, 200);
        let reply = api.sent(before + 1).remove(before);
        assert!(body(&reply).starts_with(want), "{reply:#}");
    }
    // A long text is several messages.
    api.text(&runtime, &"word ".repeat(1_700));
    let sent = api.sent(10);
    assert!(sent[7..].iter().all(|one| one["type"] == "text" && body(one).chars().count() <= 4_096));
    assert_eq!(
        sent[7..].iter().map(|one| one["context"].is_object()).collect::<Vec<_>>(),
        [true, false, false]
    );
}

// cells whatsapp: out question, in answer
#[test]
fn row_c07_a_question_is_answered_by_a_tap() {
    let api = WhatsAppApi::start();
    let runtime = started(&api);
    asks(&runtime);
    wire(&runtime, CHAT, &[]);
    let tap = |question: &Value, kind: &str, choice: &Value| api.say(&runtime, tap(question, kind, choice));
    api.text(&runtime, "ask one");
    let asked = api.sent(1).remove(0);
    assert_eq!(asked["interactive"]["body"]["text"], "*Deploy*\n\nNow?");
    let buttons = asked["interactive"]["action"]["buttons"].clone();
    assert_eq!([&buttons[0]["reply"]["title"], &buttons[1]["reply"]["title"]], ["Yes", "No"]);
    // With a token that was never given out nothing is answered.
    let forged = json!({ "id": format!("vestibule:{}.0", "0".repeat(32)), "title": "Yes" });
    let (forgery, status) = tap(&asked, "button_reply", &forged);
    assert_eq!(status, 200);
    let told = api.sent(2).remove(1);
    assert_eq!(
        (body(&told), &told["context"]["message_id"]),
        ("This question is not open any more.", &json!(forgery))
    );
    assert_eq!(tap(&asked, "button_reply", &buttons[1]["reply"]).1, 200);
    assert_eq!(body(&api.sent(3)[2]), format!("answer: n by {ANN}"));
    tap(&asked, "button_reply", &buttons[0]["reply"]);
    assert_eq!(body(&api.sent(4)[3]), "It was answered before: Not now");
    // A label beyond a button's 20 characters makes a list of it, one beyond a list's 24 a text.
    api.text(&runtime, "ask two 60 twenty_one_characters");
    let asked = api.sent(5).remove(4);
    assert_eq!(asked["interactive"]["type"], "list", "{asked:#}");
    let row = asked["interactive"]["action"]["sections"][0]["rows"][2].clone();
    assert_eq!(row["title"], "twenty-one-characters");
    tap(&asked, "list_reply", &row);
    assert!(body(&api.sent(6)[5]).starts_with("answer: twenty-one-characters"), "{:?}", api.texts());
    // Two answers of the same name do so, too, for Meta takes no such buttons.
    api.text(&runtime, "ask three 60 Yes");
    let asked = api.sent(7).remove(6);
    let rows = &asked["interactive"]["action"]["sections"][0]["rows"];
    assert_eq!([&rows[0]["title"], &rows[1]["title"], &rows[2]["title"]], ["Yes", "No", "Yes"]);
    tap(&asked, "list_reply", &rows[2]);
    assert!(body(&api.sent(8)[7]).starts_with("answer: Yes"), "{:?}", api.texts());
    api.text(&runtime, "ask four 60 an_answer_of_thirty_characters");
    let asked = api.sent(9).remove(8);
    assert!(body(&asked).contains("3. an-answer-of-thirty-characters"), "{asked:#}");
    api.text(&runtime, "3");
    assert!(body(&api.sent(10)[9]).starts_with("answer: an-answer"), "{:?}", api.texts());
}

// cells whatsapp: in edit, in deletion, in reaction, out Markdown, out reaction, out card
#[test]
fn row_c07_reactions_and_changes_go_both_ways() {
    let api = WhatsAppApi::start();
    let runtime = started(&api);
    wire(&runtime, CHAT, &[]);
    let heard = api.text(&runtime, "lunch at 12?");
    let reply = api.sent(1).remove(0)["id"].as_str().unwrap().to_owned();
    let on_record = "SELECT platform_message_id FROM deliveries WHERE platform_message_id IS NOT NULL";
    until("it is on record", || runtime.query::<String>(on_record).pop());
    for change in [
        reaction(&reply, "👀"),
        reaction(&reply, ""),
        edit(&heard, "lunch at 1?"),
        revocation(&heard),
        // Left out, on record.
        unsupported(),
    ] {
        assert_eq!(api.say(&runtime, change.clone()).1, 200, "{change}");
    }
    let rows = "SELECT json_extract(content, '$.text') FROM messages_in ORDER BY seq";
    let texts = runtime.query::<String>(rows);
    for words in ["reacted with 👀", "took the reaction", "lunch at 1?", "deleted"] {
        assert!(texts.iter().any(|text| text.contains(words)), "{words} in {texts:?}");
    }
    assert_eq!(runtime.query::<String>("SELECT reason FROM drops"), ["unsupported"]);

    let sent = api.store().sent.len();
    let write = |number: i64, content: Value| agent_writes_to(&runtime, ("whatsapp", CHAT), number, &content);
    write(100, json!({ "operation": "reaction", "messageId": heard, "emoji": "thumbs_up" }));
    let reacted = api.sent(sent + 1).remove(sent);
    assert_eq!(reacted["reaction"], json!({ "message_id": heard, "emoji": "👍" }));
    let card = |links: Value| json!({ "type": "card", "card": { "title": "Build", "description": "It **failed**.", "actions": links } });
    write(101, card(json!([{ "label": "Log", "url": "https://a.example/log" }])));
    let shown = api.sent(sent + 2).remove(sent + 1)["interactive"].clone();
    assert_eq!(
        shown["action"]["parameters"],
        json!({ "display_text": "Log", "url": "https://a.example/log" })
    );
    assert!(shown["body"]["text"].as_str().unwrap().starts_with("*Build*"), "{shown:#}");
    write(
        102,
        card(
            json!([{ "label": "a", "url": "https://a.example" }, { "label": "b", "url": "https://b.example" }]),
        ),
    );
    assert!(body(&api.sent(sent + 3)[sent + 2]).contains("https://b.example"), "{:?}", api.texts());
    write(103, json!({ "text": "**bold** and *it* [here](https://a.example)\n\n- x" }));
    assert_eq!(body(&api.sent(sent + 4)[sent + 3]), "*bold* and _it_ here (https://a.example)\n\n\u{2022} x");
}

#[test]
fn what_becomes_of_a_message_is_on_record_and_a_template_gets_past_the_24_hours() {
    let api = WhatsAppApi::start();
    let runtime = started(&api);
    wire(&runtime, CHAT, &[]);
    api.text(&runtime, "hello");
    let reply = api.sent(1).remove(0)["id"].as_str().unwrap().to_owned();
    let shown = |id: &str, key: &str| {
        let shown = runtime.json(&["delivery", "show", id]);
        shown[key].as_str().unwrap_or_default().to_owned()
    };
    let delivery = |place: usize| {
        let sql = "SELECT message_out_id FROM deliveries WHERE state = 'delivered' ORDER BY message_out_id";
        until("it is delivered", || runtime.query::<String>(sql).get(place).cloned())
    };
    let first = delivery(0);
    for fate in ["sent", "delivered", "read"] {
        api.becomes(&runtime, &reply, fate, json!({}));
        assert_eq!(shown(&first, "fate"), fate);
    }
    // Meta takes a message, and says a moment later that the 24 hours are over.
    api.text(&runtime, "again");
    let reply = api.sent(2).remove(1)["id"].as_str().unwrap().to_owned();
    let second = delivery(1);
    api.becomes(&runtime, &reply, "failed", too_late());
    assert_eq!(shown(&second, "state"), "failed");
    // Or it says so at once. Either way the agent is told what to do.
    api.store().silent.insert(ANN.to_owned());
    agent_writes_to(&runtime, ("whatsapp", CHAT), 100, &json!({ "text": "too late" }));
    let told = "SELECT COUNT(*) FROM messages_in WHERE content LIKE '%approved templates%metadata as `template`%131047%'";
    until("the agent is told twice", || (runtime.query::<i64>(told) == [2]).then_some(()));
    let template = json!({ "text": "Your order is ready, Ann.", "metadata": { "template": "order_ready", "template_language": "de",
        "template_parameters": "[\"Ann\"]" } });
    agent_writes_to(&runtime, ("whatsapp", CHAT), 101, &template);
    let sent = until("the template goes out", || {
        api.store().sent.iter().find(|one| one["type"] == "template").cloned()
    });
    assert_eq!(
        sent["template"],
        json!({ "name": "order_ready", "language": { "code": "de" },
        "components": [{ "type": "body", "parameters": [{ "type": "text", "text": "Ann" }] }] })
    );
}

#[test]
fn row_c07_trouble_at_meta_loses_nothing_and_a_refused_token_is_told() {
    let api = WhatsAppApi::start();
    let mut runtime = runtime_with(&api, "business_account_id = \"102290129340398\"\n");
    runtime.start_with("whatsapp");
    assert_eq!(api.store().subscribed, ["102290129340398"]);
    wire(&runtime, CHAT, &[]);
    // Too much for this person: later. A page of a proxy, an answer that breaks off: perhaps it was sent.
    api.store().script.extend([
        (400, error(131_056, "Pair rate limit hit")),
        (502, json!("<html>")),
        (CUT, json!(null)),
    ]);
    api.text(&runtime, "hello");
    let texts = until("it is settled", || {
        (runtime.query::<String>("SELECT state FROM deliveries") == ["delivered"]).then(|| api.texts())
    });
    assert_eq!(texts, ["hello", "hello"], "the answer that broke off was a message, too");
    // A token that is refused again and again breaks the account, with words; with a good one it goes on.
    api.store().token = "EAAanother".to_owned();
    api.text(&runtime, "are you there?");
    let state = until("it is told", || {
        let state = runtime.channel("whatsapp");
        state["reason"].as_str().unwrap_or_default().contains("`access_token`").then_some(state)
    });
    assert_eq!(state["state"], "degraded", "{state:#}");
    api.store().token = TOKEN.to_owned();
    until("it is answered", || api.texts().contains(&"are you there?".to_owned()).then_some(()));
    until("it is live", || (runtime.channel("whatsapp")["state"] == "live").then_some(()));
    // A start with a wrong token says what to do.
    api.store().token = "EAAanother".to_owned();
    runtime.run(&["plugin", "reload", "whatsapp"]);
    let state = until("it is told", || {
        let state = runtime.channel("whatsapp");
        (state["state"] == "broken").then_some(state)
    });
    let reason = state["reason"].as_str().unwrap();
    assert!(reason.contains("Meta refused the token") && reason.contains("190"), "{reason}");
}

/// One app, two numbers: one account hears for both, and each answers from its own.
#[test]
fn one_app_serves_several_numbers() {
    let api = WhatsAppApi::start();
    let other = |token: &str| {
        format!(
            "[channels.whatsapp.other]\nlistener = \"main\"\naccess_token = {{ env = \"{token}\" }}\n\
            phone_number_id = \"207\"\napi_url = \"{}\"\n",
            api.url
        )
    };
    let mut runtime = runtime_with(&api, &other("TEST_TOKEN"));
    runtime.start_with("whatsapp");
    until("both are live", || {
        let all = runtime.json(&["channel", "list"]);
        let live = all
            .as_array()
            .unwrap()
            .iter()
            .filter(|one| one["channel"] == "whatsapp" && one["state"] == "live");
        (live.count() == 2).then_some(())
    });
    wire(&runtime, CHAT, &[]);
    wire(&runtime, &format!("whatsapp:207:{ANN}"), &["--account", "other"]);
    let say = |number: &str, text: &str| {
        let message = json!({ "from": ANN, "id": api.id(), "timestamp": "1749416383", "type": "text", "text": { "body": text } });
        tell(&runtime, number, json!({ "contacts": contacts(), "messages": [message] })).0
    };
    assert_eq!([say(NUMBER, "first"), say("207", "second"), say("999", "third")], [200, 200, 200]);
    api.sent(2);
    let heard =
        "SELECT account || ' ' || platform_id FROM messages_in WHERE channel_type = 'whatsapp' ORDER BY 1";
    assert_eq!(runtime.query::<String>(heard), [format!("main {CHAT}"), format!("other whatsapp:207:{ANN}")]);
    assert_eq!(
        runtime.query::<String>("SELECT account || ' ' || reason FROM drops"),
        ["main unknown_account"]
    );
    runtime.kill();
    // While the account of a number is not started, Meta is to send again.
    let config = runtime.home.path().join("vestibule.toml");
    let text = std::fs::read_to_string(&config).unwrap().replace(&other("TEST_TOKEN"), &other("TEST_SECRET"));
    std::fs::write(&config, text).unwrap();
    runtime.start_with("whatsapp");
    let say = |number: &str| {
        let message = json!({ "from": ANN, "id": api.id(), "timestamp": "1749416383", "type": "text", "text": { "body": "x" } });
        tell(&runtime, number, json!({ "messages": [message] })).0
    };
    assert_eq!([say(NUMBER), say("207")], [200, 503]);
}

// cells whatsapp: out direct chat
#[test]
fn row_m09_a_person_is_wired_by_their_number() {
    let api = WhatsAppApi::start();
    let runtime = started(&api);
    let verb = ["wiring", "create", "--agent", "assistant", "--channel", "whatsapp", "--person"];
    runtime.ok(&[&verb[..], &["+1 650 555-1234"]].concat());
    api.text(&runtime, "hello");
    assert_eq!(body(&api.sent(1)[0]), "hello");
    assert!(!runtime.run(&[&verb[..], &["Ann"]].concat()).status.success());
}

/// In a chat that is written in another way than Meta names it, nobody would ever be heard.
#[test]
fn a_chat_is_wired_as_people_write_it_and_none_of_another_number() {
    let api = WhatsAppApi::start();
    let runtime = started(&api);
    wire(&runtime, &format!("whatsapp:{NUMBER}:+1 650 555-1234"), &[]);
    api.text(&runtime, "hello");
    assert_eq!(body(&api.sent(1)[0]), "hello");
    let verb = ["wiring", "create", "--agent", "assistant", "--channel", "whatsapp", "--chat"];
    let refused = runtime.run(&[&verb[..], &["whatsapp:207:16505551234"]].concat());
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && words.contains("--account"), "{words}");
}

/// The number of a person who hid it shows up, and is hidden again: their agent hears them all the time, in one session.
#[test]
fn a_person_has_one_chat_whether_their_number_shows_or_not() {
    let api = WhatsAppApi::start();
    let runtime = started(&api);
    wire(&runtime, &format!("whatsapp:{NUMBER}:{HIDDEN}"), &[]);
    let shown = |text: &str| {
        let mut told = hidden_text(&api.id(), text);
        (told["messages"][0]["from"], told["contacts"][0]["wa_id"]) = (ANN.into(), ANN.into());
        told
    };
    let hidden = |text: &str| hidden_text(&api.id(), text);
    let told = [(hidden("one"), HIDDEN), (shown("two"), ANN), (hidden("three"), ANN), (shown("four"), ANN)];
    for (at, (told, person)) in told.into_iter().enumerate() {
        let key = if person == ANN { "to" } else { "recipient" };
        assert_eq!(tell(&runtime, NUMBER, told.clone()).0, 200, "{told}");
        let reply = api.sent(at + 1).remove(at);
        assert_eq!(
            (&reply[key], &reply["text"]),
            (
                &json!(person),
                &json!({ "body": told["messages"][0]["text"]["body"],
            "preview_url": reply["text"]["preview_url"] })
            )
        );
    }
    assert_eq!(runtime.query::<i64>("SELECT COUNT(*) FROM sessions"), [1]);
    // Agents that are wired to both of them keep both.
    wire(&runtime, &format!("whatsapp:{NUMBER}:{ANN_SCOPED}"), &[]);
    api.text(&runtime, "five");
    api.sent(5);
    let by_id = "SELECT COUNT(*) FROM messaging_groups WHERE platform_id LIKE 'whatsapp:%:US.%'";
    assert_eq!(runtime.query::<i64>(by_id), [1]);
}

// cells whatsapp: out work, out read
#[test]
fn a_message_is_marked_as_read_and_answered_by_one_call() {
    let api = WhatsAppApi::start();
    let runtime = started(&api);
    wire(&runtime, CHAT, &[]);
    let command = "sh -c 'sleep 3; echo done'";
    runtime.ok(&["agent", "update", "assistant", "--provider", "command", "--command", command]);
    let id = api.text(&runtime, "hello");
    assert_eq!(body(&api.sent(1)[0]), "done");
    assert_eq!(api.store().marked, [id], "once, while it works");
}

/// The names are those that other programs take, so that an operator moves over without a new `.env`.
#[test]
fn an_account_is_added_from_what_is_in_the_environment() {
    let api = WhatsAppApi::start();
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("home");
    let add_with = |number: &str, more: &[&str]| {
        let mut command = std::process::Command::new(crate::support::binary());
        command.args(["channel", "add", "whatsapp", "--set", &format!("api_url={}", api.url)]).args(more);
        command.env("VESTIBULE_HOME", &home).stdin(std::process::Stdio::null());
        for (key, value) in [("ACCESS_TOKEN", TOKEN), ("APP_SECRET", SECRET), ("VERIFY_TOKEN", VERIFY)] {
            command.env(format!("WHATSAPP_{key}"), value);
        }
        let output = command.env("WHATSAPP_PHONE_NUMBER_ID", number).output().unwrap();
        let said = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap()).concat();
        (output.status.success(), said)
    };
    let add = |number: &str| add_with(number, &[]);
    let (ok, said) = add("");
    assert!(!ok && said.contains("phone_number_id"), "{said}");
    let (ok, said) = add(NUMBER);
    assert!(ok && said.contains("whatsapp main works"), "{said}");
    assert!(said.contains("/webhook/whatsapp/main") && said.contains("subscribed"), "{said}");
    let config = std::fs::read_to_string(home.join("vestibule.toml")).unwrap();
    assert!(
        config.contains(&format!("phone_number_id = \"{NUMBER}\"")) && !config.contains(TOKEN),
        "{config}"
    );
    // The number in the environment is that of the first account; a second one has its own.
    let second = ["--account", "other", "--set", "listener=main"];
    let (ok, said) = add_with(NUMBER, &second);
    assert!(!ok && said.contains("WHATSAPP_ACCESS_TOKEN, for the account main has that one"), "{said}");
    let second = [&second[..], &["--set", "access_token=env:WHATSAPP_ACCESS_TOKEN"]].concat();
    let (ok, said) = add_with(NUMBER, &second);
    assert!(!ok && said.contains("WHATSAPP_PHONE_NUMBER_ID, for the account main has that one"), "{said}");
    assert!(said.contains("give --set phone_number_id=VALUE"), "{said}");
    let (ok, said) = add_with(NUMBER, &[&second[..], &["--set", "phone_number_id=207"]].concat());
    assert!(ok && said.contains("whatsapp other works"), "{said}");
    let (ok, said) = add_with("207", &["--account", "third", "--set", "listener=main"]);
    assert!(!ok && said.contains("the account other has that one"), "{said}");
    let config = std::fs::read_to_string(home.join("vestibule.toml")).unwrap();
    assert!(config.contains("phone_number_id = \"207\"") && !config.contains("third"), "{config}");
}

/// The steps of the README: what is in the environment, Meta's trial of the address that the status shows, and the command
/// that the status prints.
#[test]
fn whatsapp_is_set_up_as_its_readme_says() {
    let api = WhatsAppApi::start();
    let runtime = Runtime::new("")
        .env("WHATSAPP_ACCESS_TOKEN", TOKEN)
        .env("WHATSAPP_APP_SECRET", SECRET)
        .env("WHATSAPP_VERIFY_TOKEN", VERIFY)
        .env("WHATSAPP_PHONE_NUMBER_ID", NUMBER);
    let url = format!("api_url={}", api.url);
    let add = ["channel", "add", "whatsapp", "--set", &url, "--set", "business_account_id=102290129340398"];
    let told = runtime.ok(&add);
    for words in
        ["Connect with customers through WhatsApp", "whatsapp main works", "start it with `vestibule up`"]
    {
        assert!(told.contains(words), "{words}: {told}");
    }
    // Once to learn whether the config lacks something, and once as it is written.
    assert_eq!(api.store().subscribed, ["102290129340398"; 2]);
    let runtime = runtime.up();
    runtime.wait_live("whatsapp");
    let address = runtime.channel("whatsapp")["webhook"].as_str().unwrap().to_owned();
    assert_eq!(address, format!("http://{}/webhook/whatsapp/main", runtime.listening()));
    assert_eq!(trial(&runtime, VERIFY).0, 200);
    api.text(&runtime, "hello");
    let wire = until("the status says how to wire the chat", || {
        let status = runtime.json(&["status"]);
        let chat = status["unwired"].as_array()?.iter().find(|one| one["chat"] == CHAT)?;
        chat["wire_with"].as_str().map(str::to_owned)
    });
    runtime.ok(&wire.split(' ').skip(1).collect::<Vec<_>>());
    api.text(&runtime, "hello again");
    assert_eq!(body(&api.sent(1)[0]), "hello again");
}
