//! Telegram posts updates instead of being asked for them; its menu, and its topics.

use crate::bot_api::{BotApi, TOKEN};
use crate::support::{Runtime, free_port, plugin_file, request, until};
use crate::telegram::{last, wire};
use serde_json::json;
use std::net::SocketAddr;

const SECRET: &str = "a-word_of-our-own";

/// A config whose account takes webhooks at this address.
fn config(api: &BotApi, at: SocketAddr, more: &str) -> String {
    format!(
        "listen = \"{at}\"\n{more}[channels.telegram.main]\ntoken = {{ env = \"TEST_TOKEN\" }}\napi_root = \"{}\"\n\
         webhook_url = \"http://{at}/webhook/telegram/main\"\nwebhook_secret = {{ env = \"TEST_SECRET\" }}\n",
        api.url
    )
}

fn runtime(config: &str) -> Runtime {
    let runtime = Runtime::new("").env("TEST_TOKEN", TOKEN).env("TEST_SECRET", SECRET);
    std::fs::write(runtime.home.path().join("vestibule.toml"), config).unwrap();
    runtime
}

fn heard(runtime: &Runtime) -> Vec<String> {
    runtime.query("SELECT json_extract(content, '$.text') FROM messages_in ORDER BY seq")
}

/// By webhook, in both tiers, through kills; and by polling again once the keys are taken out.
#[test]
fn row_c06_updates_come_by_webhook_and_by_polling_again() {
    for of_file in [false, true] {
        let (api, at) = (BotApi::start(), free_port());
        for name in ["1", "2"] {
            api.store().files.insert(format!("photos/{name}.jpg"), format!("picture {name}").into_bytes());
        }
        let more = if of_file { "[plugins.telegram]\nbuilt_in = false\n" } else { "" };
        let mut runtime = runtime(&config(&api, at, more));
        if of_file {
            let plugins = runtime.home.path().join("plugins");
            std::fs::create_dir_all(&plugins).unwrap();
            std::fs::copy(plugin_file("vestibule-telegram"), plugins.join("telegram.so")).unwrap();
        }
        runtime.start_with("telegram");
        wire(&runtime, "telegram:7", &[]);
        api.say(7, "hi");
        assert_eq!(last(&api, 1)[0].words, "hi");
        let webhook = api.store().webhook.clone().unwrap();
        assert_eq!(webhook.secret.as_deref(), Some(SECRET));
        let kinds = api.store().allowed.clone().unwrap();
        assert!(kinds.contains(&"message_reaction".into()) && kinds.contains(&"callback_query".into()));
        let status = runtime.json(&["status"]).to_string();
        assert!(status.contains(&webhook.url) && !status.contains(SECRET), "{status}");
        // Who does not know the secret is refused, and what is no update is said to be none.
        let header = "x-telegram-bot-api-secret-token";
        let post = |secret: &str, body: &str| {
            request(at, "POST", "/webhook/telegram/main", &[(header, secret)], body.as_bytes()).0
        };
        let forged = json!({ "update_id": 1, "message": { "message_id": 1, "date": 1, "text": "forged",
            "chat": { "id": 7, "type": "private" }, "from": { "id": 7, "first_name": "Ada" } } });
        assert_eq!(
            [post("another", &forged.to_string()), post(SECRET, "[]"), post(SECRET, "{")],
            [401, 400, 400]
        );
        // An album, whose parts are requests of their own, and what is said after it; killed in between.
        let part = |name: &str| {
            let photo = json!([{ "file_id": format!("photos/{name}.jpg"), "file_size": 9 }]);
            json!({ "media_group_id": "a", "photo": photo, "caption": format!("look {name}") })
        };
        let private = || json!({ "id": 7, "type": "private" });
        api.push("message", private(), part("1"));
        until("Telegram keeps nothing any more", || (api.waiting() == 0).then_some(()));
        // Posted again while it waits for the next part, it is there once.
        let first = api.store().updates.last().unwrap().to_string();
        assert_eq!(post(SECRET, &first), 200);
        runtime.kill();
        api.push("message", private(), part("2"));
        api.say(7, "and then?");
        runtime.start_with("telegram");
        until("all is heard", || (heard(&runtime) == ["hi", "look 1\nlook 2", "and then?"]).then_some(()));
        // Telegram did not hear of success, and posts it again.
        let again = api.store().updates.last().unwrap().to_string();
        assert_eq!([post(SECRET, &again), post(SECRET, &again)], [200, 200]);
        assert_eq!(api.store().polls, 0, "it was never asked for");

        let text = config(&api, at, more);
        let text: Vec<&str> = text.lines().filter(|line| !line.starts_with("webhook_")).collect();
        std::fs::write(runtime.home.path().join("vestibule.toml"), text.join("\n")).unwrap();
        runtime.ok(&["plugin", "reload", "telegram"]);
        runtime.wait_live("telegram");
        assert_eq!(api.store().webhook, None);
        api.say(7, "by polling");
        until("it is heard", || (heard(&runtime).last()? == "by polling").then_some(()));
        assert_eq!(heard(&runtime).len(), 4, "nothing is there twice");
        assert!(!runtime.log().contains(SECRET), "the secret is one");
    }
}

/// Telegram does not hear that the first part was taken, and posts it again after that was handed over alone: the next part
/// joins nothing that the runtime knows already.
#[test]
fn a_part_that_is_posted_again_late_takes_no_other_part_along() {
    let (api, at) = (BotApi::start(), free_port());
    for name in ["1", "2", "3"] {
        api.store().files.insert(format!("photos/{name}.jpg"), format!("picture {name}").into_bytes());
    }
    let mut runtime = runtime(&config(&api, at, "")).up();
    runtime.wait_live("telegram");
    wire(&runtime, "telegram:7", &[]);
    let push = |name: &str| {
        let photo = json!([{ "file_id": format!("photos/{name}.jpg"), "file_size": 9 }]);
        let part = json!({ "media_group_id": "a", "photo": photo, "caption": format!("look {name}") });
        api.push("message", json!({ "id": 7, "type": "private" }), part);
        api.store().updates.last().unwrap().to_string()
    };
    let again = |update: &str| {
        let header = "x-telegram-bot-api-secret-token";
        request(at, "POST", "/webhook/telegram/main", &[(header, SECRET)], update.as_bytes()).0
    };
    let first = push("1");
    until("it goes on alone", || (heard(&runtime) == ["look 1"]).then_some(()));
    assert_eq!(again(&first), 200);
    let second = push("2");
    until("the second is there", || (heard(&runtime) == ["look 1", "look 2"]).then_some(()));
    runtime.kill();
    runtime.start_with("telegram");
    assert_eq!([again(&first), again(&second)], [200, 200]);
    push("3");
    until("the third is there", || (heard(&runtime) == ["look 1", "look 2", "look 3"]).then_some(()));
}

/// Nothing is asked for with the token, and yet the operator reads that it is refused.
#[test]
fn a_token_that_is_refused_is_told_by_webhook_too() {
    let (api, at) = (BotApi::start(), free_port());
    let refused = json!({ "ok": false, "error_code": 401, "description": "Unauthorized" });
    api.store().script.insert("getWebhookInfo".into(), [(401, refused.clone()), (401, refused)].into());
    let runtime = runtime(&config(&api, at, "")).up();
    runtime.wait_live("telegram");
    let why = until("it is told", || {
        let channel = runtime.channel("telegram");
        (channel["state"] == "degraded").then(|| channel["reason"].as_str().unwrap().to_owned())
    });
    assert!(why.contains("BotFather"), "{why}");
    until("it works again", || (runtime.channel("telegram")["state"] == "live").then_some(()));
}

/// An address that leads nowhere is told, and so is another program that takes the webhook.
#[test]
fn a_webhook_that_does_not_work_is_told() {
    for elsewhere in [false, true] {
        let (api, at, nowhere) = (BotApi::start(), free_port(), free_port());
        let text = config(&api, at, "").replace(&format!("http://{at}"), &format!("http://{nowhere}"));
        let runtime = runtime(&text).up();
        runtime.wait_live("telegram");
        if elsewhere {
            api.store().webhook.as_mut().unwrap().url = "https://elsewhere.example/SECRET".into();
        } else {
            api.say(7, "hi");
        }
        let why = until("it is told", || {
            let channel = runtime.channel("telegram");
            (channel["state"] == "degraded").then(|| channel["reason"].as_str().unwrap().to_owned())
        });
        let want = if elsewhere { "another program has set" } else { "Connection refused), and 1 wait" };
        assert!(why.contains(want) && !why.contains("SECRET"), "{why}");
    }
}

/// What is no HTTPS address Telegram refuses, and the operator reads why.
#[test]
fn an_address_that_telegram_does_not_take_breaks_the_account() {
    let (api, at) = (BotApi::start(), free_port());
    let text = config(&api, at, "").replace(&format!("http://{at}/"), "http://bot.example/");
    let runtime = runtime(&text).up();
    let why = until("it is told", || {
        let channel = runtime.channel("telegram");
        (channel["state"] == "broken").then(|| channel["reason"].as_str().unwrap().to_owned())
    });
    assert!(why.contains("`webhook_url` must be an HTTPS address"), "{why}");
}

#[test]
fn row_c06_the_menu_has_the_commands_of_the_config() {
    let api = BotApi::start();
    let with = |commands: &str| {
        let config = format!(
            "[channels.telegram.main]\ntoken = {{ env = \"TEST_TOKEN\" }}\napi_root = \"{}\"\ncommands = {commands}\n",
            api.url
        );
        let runtime = Runtime::new(&config).env("TEST_TOKEN", TOKEN).up();
        runtime.wait_live("telegram");
        let store = api.store();
        let commands: Vec<String> =
            store.commands.iter().map(|(name, what)| format!("{name}: {what}")).collect();
        (commands, store.menu.clone())
    };
    let want = ["new: Begin anew", "ask: Ask the agent"].map(str::to_owned).to_vec();
    assert_eq!(with("[\"new - Begin anew\", \"ask - Ask the agent\"]"), (want, "commands".into()));
    assert_eq!(with("[]"), (vec![], "default".into()));
}

/// The topic General is the chat itself: its number is said with nothing but that the bot is writing.
#[test]
fn row_c06_the_topic_general_has_no_number() {
    let api = BotApi::start();
    let config =
        format!("[channels.telegram.main]\ntoken = {{ env = \"TEST_TOKEN\" }}\napi_root = \"{}\"\n", api.url);
    let runtime = Runtime::new(&config).env("TEST_TOKEN", TOKEN).up();
    runtime.wait_live("telegram");
    wire(&runtime, "telegram:-1001234567", &["--pattern", "."]);
    let group = || json!({ "id": -1001234567, "type": "supergroup", "title": "Friends", "is_forum": true });
    let topic = |number: i64| json!({ "text": "hi", "message_thread_id": number, "is_topic_message": true });
    api.push("message", group(), json!({ "text": "in General" }));
    last(&api, 1);
    api.push("message", group(), topic(1));
    last(&api, 2);
    api.push("message", group(), topic(12));
    last(&api, 3);
    let store = api.store();
    let topics: Vec<_> = store.sent.iter().map(|sent| sent.topic).collect();
    assert_eq!(topics, [None, None, Some(12)]);
    let typed: std::collections::BTreeSet<_> = store.typing.iter().map(|(_, topic)| *topic).collect();
    assert_eq!(typed, [Some(1), Some(12)].into());
}

/// What the account of a person says to others by its bot, and what channels post, reaches no agent; each is counted.
#[test]
fn row_c06_posts_and_business_messages_are_left_out_on_record() {
    let api = BotApi::start();
    let config =
        format!("[channels.telegram.main]\ntoken = {{ env = \"TEST_TOKEN\" }}\napi_root = \"{}\"\n", api.url);
    let runtime = Runtime::new(&config).env("TEST_TOKEN", TOKEN).up();
    runtime.wait_live("telegram");
    let private = || json!({ "id": 8, "type": "private", "first_name": "Zoe" });
    let said = || json!({ "text": "when are you open?", "business_connection_id": "b1" });
    let channel = || json!({ "id": -9, "type": "channel", "title": "News" });
    api.push("business_message", private(), said());
    api.push("edited_business_message", private(), said());
    api.push("channel_post", channel(), json!({ "text": "news" }));
    api.push("edited_channel_post", channel(), json!({ "text": "news", "edit_date": 1_700_000_900 }));
    let reasons = "SELECT reason FROM drops ORDER BY reason";
    let want = ["business_message", "channel_post", "edited", "edited_business_message"];
    until("each is on record", || (runtime.query::<String>(reasons) == want).then_some(()));
    let unwired = runtime.json(&["status"])["unwired"].to_string();
    assert!(
        !unwired.contains("telegram:8"),
        "nobody is asked to wire a chat in which the bot is not: {unwired}"
    );
}
