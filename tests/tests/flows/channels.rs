//! `vestibule channel`: an account is added, tried and taken out again.

use crate::bot_api::{BotApi, TOKEN};
use crate::slack_api::{APP_TOKEN, BOT_TOKEN, SlackApi};
use crate::support::Runtime;
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Runs the verb on a home; returns whether it succeeded, and what a person reads.
pub fn channel(home: &std::path::Path, args: &[&str], token: Option<&str>) -> (bool, String) {
    let mut command = Command::new(crate::support::binary());
    command.arg("channel").args(args).env("VESTIBULE_HOME", home).env_remove("TELEGRAM_BOT_TOKEN");
    if let Some(token) = token {
        command.env("TELEGRAM_BOT_TOKEN", token);
    }
    let Output { status, stdout, stderr } = command.stdin(Stdio::null()).output().unwrap();
    (status.success(), [stdout, stderr].map(|text| String::from_utf8(text).unwrap()).concat())
}

/// Runs the verb for a program, with these variables; returns whether it succeeded, its answer, and its words of error.
pub fn for_a_program(home: &Path, args: &[&str], variables: &[(&str, &str)]) -> (bool, Value, String) {
    let mut command = Command::new(crate::support::binary());
    command.arg("channel").args(args).arg("--json").env("VESTIBULE_HOME", home);
    let Output { status, stdout, stderr } =
        command.envs(variables.iter().copied()).stdin(Stdio::null()).output().unwrap();
    let answer = if stdout.is_empty() { Value::Null } else { serde_json::from_slice(&stdout).unwrap() };
    (status.success(), answer, String::from_utf8(stderr).unwrap())
}

#[test]
fn without_a_runtime_an_account_is_tried_here_and_nothing_is_taken() {
    let api = BotApi::start();
    api.say(7, "hello");
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("home");
    let root = format!("api_root={}", api.url);
    let add = ["add", "telegram", "--set", &root];
    let (ok, said) = channel(&home, &add, None);
    assert!(
        !ok && said.contains("BotFather") && said.contains("telegram needs token: set TELEGRAM_BOT_TOKEN"),
        "{said}"
    );
    assert!(
        said.contains("set webhook_url to http://127.0.0.1:") && said.contains("/webhook/telegram/main"),
        "{said}"
    );
    let (ok, said) = channel(&home, &[&add[..], &["--set", "token=123:abc"]].concat(), None);
    assert!(!ok && said.contains("`token` is a secret") && !said.contains("in vestibule.toml."), "{said}");
    for name in ["a b", "..", "../../etc", "", "a\nb"] {
        let (ok, said) = channel(&home, &[&add[..], &["--account", name]].concat(), Some(TOKEN));
        assert!(!ok && said.contains("a name is made of letters"), "{name}: {said}");
    }
    assert!(!home.join("vestibule.toml").exists(), "nothing was written");
    let (ok, said) = channel(&home, &add, Some("1:wrong"));
    assert!(
        !ok && said.contains("telegram main does not work") && said.contains("channel check telegram"),
        "{said}"
    );
    let (ok, said) = channel(&home, &["check", "telegram"], Some(TOKEN));
    assert!(ok && said.contains("telegram main works"), "{said}");
    let (ok, said) = channel(&home, &add, Some(TOKEN));
    assert!(!ok && said.contains("already"), "{said}");
    // Two bots of one token would take each other's updates: that one is the first account's.
    let second = [&add[..], &["--account", "second"]].concat();
    let (ok, said) = channel(&home, &second, Some(TOKEN));
    assert!(!ok && said.contains("TELEGRAM_BOT_TOKEN, for the account main has that one"), "{said}");
    let (ok, answer, error) = for_a_program(&home, &second, &[("TELEGRAM_BOT_TOKEN", TOKEN)]);
    assert!(!ok && error.contains("has that one") && answer["state"] == "refused", "{answer} {error}");
    let (ok, said) = channel(&home, &["list"], None);
    assert!(ok && said.contains("telegram") && said.contains("vestibule up"), "{said}");
    assert_eq!(api.waiting(), 1, "the message is still the platform's to hand out");
    let (ok, said) = channel(&home, &["remove", "telegram"], None);
    assert!(ok && said.contains("is out of"), "{said}");
    assert!(!channel(&home, &["check", "telegram"], Some(TOKEN)).0, "it is gone");
}

/// Telegram is told where to post before the runtime runs, and keeps what comes until then.
#[test]
fn an_account_with_a_webhook_is_tried_and_takes_nothing() {
    let api = BotApi::start();
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("home");
    let url = format!("http://{}/webhook/telegram/main", crate::support::free_port());
    let sets = [
        format!("api_root={}", api.url),
        format!("webhook_url={url}"),
        "webhook_secret=env:HOOK_SECRET".into(),
    ];
    let mut add = vec!["add", "telegram"];
    add.extend(sets.iter().flat_map(|set| ["--set", set.as_str()]));
    let (ok, said) = channel(&home, &add, Some(TOKEN));
    assert!(!ok && said.contains("HOOK_SECRET"), "{said}");
    let keys = format!(
        "[channels.telegram.main]\ntoken = {{ env = \"TELEGRAM_BOT_TOKEN\" }}\napi_root = \"{}\"\n\
        webhook_url = \"{url}\"\nwebhook_secret = {{ file = \"{}/secret\" }}\n",
        api.url,
        folder.path().display()
    );
    std::fs::write(folder.path().join("secret"), "a word").unwrap();
    std::fs::write(home.join("vestibule.toml"), keys).unwrap();
    let (ok, said) = channel(&home, &["check", "telegram"], Some(TOKEN));
    assert!(!ok && said.contains("`webhook_secret` is made of letters"), "{said}");
    std::fs::write(folder.path().join("secret"), "a_word").unwrap();
    api.say(7, "hello");
    let (ok, said) = channel(&home, &["check", "telegram"], Some(TOKEN));
    assert!(ok && said.contains("telegram main works"), "{said}");
    let webhook = api.store().webhook.clone().unwrap();
    assert_eq!((webhook.url, webhook.secret.as_deref()), (url, Some("a_word")));
    assert_eq!(api.waiting(), 1, "the message is still the platform's to post");
}

/// The secret of webhooks is no use to an account that asks for its updates itself, wherever it lies ready.
#[test]
fn a_webhooks_secret_is_taken_only_with_its_address() {
    let api = BotApi::start();
    let folder = tempfile::tempdir().unwrap();
    let (root, url) =
        (format!("api_root={}", api.url), "webhook_url=http://127.0.0.1:9/webhook/telegram/main");
    let variables = [("TELEGRAM_BOT_TOKEN", TOKEN), ("TELEGRAM_WEBHOOK_SECRET", "a_word")];
    let token = json!({ "token": "TELEGRAM_BOT_TOKEN" });
    let both = json!({ "token": "TELEGRAM_BOT_TOKEN", "webhook_secret": "TELEGRAM_WEBHOOK_SECRET" });
    for (name, more, taken) in [("polls", vec![], token), ("is posted", vec!["--set", url], both)] {
        let add = [&["add", "telegram", "--set", &root][..], &more].concat();
        let (ok, answer, error) = for_a_program(&folder.path().join(name), &add, &variables);
        assert!(ok && answer["state"] == "works", "{name}: {answer} {error}");
        assert_eq!((&answer["from_environment"], &answer["left_out"]), (&taken, &json!([])), "{name}");
    }
}

/// The config may lie elsewhere, and others may change it at the same time.
#[test]
fn a_config_is_changed_where_it_lies_by_one_after_the_other() {
    let api = BotApi::start();
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("home");
    let real = folder.path().join("real.toml");
    assert!(channel(&home, &["list"], None).0);
    channel(&home, &["add", "telegram", "--account", "first"], None);
    std::fs::write(&real, "retention_days = 91 # stays\n").unwrap();
    std::os::unix::fs::symlink("../real.toml", home.join("vestibule.toml")).unwrap();
    let root = format!("api_root={}", api.url);
    let names = ["a", "b", "c", "d"];
    for name in names {
        std::fs::write(folder.path().join(name), format!("{TOKEN}{name}")).unwrap();
    }
    std::thread::scope(|threads| {
        for name in names {
            let (home, root, token) = (&home, &root, folder.path().join(name));
            threads.spawn(move || {
                let token = format!("token=file:{}", token.display());
                channel(home, &["add", "telegram", "--account", name, "--set", root, "--set", &token], None)
            });
        }
    });
    assert!(home.join("vestibule.toml").is_symlink());
    let text = std::fs::read_to_string(&real).unwrap();
    assert!(text.starts_with("retention_days = 91 # stays\n"), "{text}");
    for name in names {
        assert_eq!(text.matches(&format!("[channels.telegram.{name}]")).count(), 1, "{text}");
    }
}

/// Nothing waits for a secret that is no plain file.
#[test]
fn a_secret_is_a_short_plain_file() {
    let folder = tempfile::tempdir().unwrap();
    let (home, fifo) = (folder.path().join("home"), folder.path().join("fifo"));
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    for (account, file) in [("a", "/dev/zero"), ("b", fifo.to_str().unwrap())] {
        let token = format!("token=file:{file}");
        let (ok, said) = channel(&home, &["add", "telegram", "--account", account, "--set", &token], None);
        assert!(!ok && said.contains("it is no plain file"), "{said}");
        assert!(said.contains(&format!("channel check telegram --account {account}")), "{said}");
    }
}

#[test]
fn a_runtime_that_runs_starts_the_account_at_once() {
    let api = BotApi::start();
    let runtime = Runtime::new("retention_days = 91 # stays\n").up();
    let home = runtime.home.path();
    let token = home.join("token");
    std::fs::write(&token, TOKEN).unwrap();
    let root = format!("api_root={}", api.url);
    let token = format!("token=file:{}", token.display());
    let (ok, said) = channel(home, &["add", "telegram", "--set", &root, "--set", &token], None);
    assert!(ok && said.contains("telegram main works") && said.contains("vestibule status"), "{said}");
    assert_eq!(runtime.channel("telegram")["state"], "live");
    let config = std::fs::read_to_string(home.join("vestibule.toml")).unwrap();
    assert!(config.contains("retention_days = 91 # stays\n"), "{config}");
    let (ok, said) = channel(home, &["remove", "telegram"], None);
    assert!(ok && said.contains("It runs no more"), "{said}");
    assert_eq!(runtime.channel("telegram")["state"], "off");
}

/// What a program is answered, key by key: it may rely on these.
#[test]
fn programs_are_answered_in_json() {
    let api = SlackApi::start();
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("home");
    let config = home.join("vestibule.toml");
    let root = format!("api_url={}", api.url);
    let add = ["add", "slack", "--set", &root];
    let (ok, answer, told) = for_a_program(&home, &add, &[("SLACK_TOKEN", "xoxb-1")]);
    assert!(!ok && answer["state"] == "refused", "{answer}");
    assert!(answer["reason"].as_str().unwrap().starts_with("slack needs bot_token"), "{answer}");
    assert!(told.contains("slack needs bot_token: set SLACK_BOT_TOKEN"), "{told}");
    assert!(told.contains("SLACK_TOKEN is set in the environment and is not read"), "{told}");
    // What one of several keys is needed for is refused, too, before anything is written.
    let (ok, answer, told) = for_a_program(&home, &add, &[("SLACK_BOT_TOKEN", BOT_TOKEN)]);
    assert!(
        !ok && answer["state"] == "refused" && told.contains("set `app_token` for Socket Mode"),
        "{told}"
    );
    assert!(told.contains("set SLACK_APP_TOKEN or give --set app_token=file:PATH"), "{told}");
    assert!(!config.exists(), "nothing is written");
    let (ok, mut answer, told) =
        for_a_program(&home, &add, &[("SLACK_BOT_TOKEN", "xoxb-wrong"), ("SLACK_APP_TOKEN", APP_TOKEN)]);
    assert!(!ok && told.contains("Slack refused the token of the bot (invalid_auth)"), "{told}");
    assert!(answer["setup"].take().as_str().unwrap().contains("paste this as YAML"));
    assert!(answer["reason"].take().as_str().unwrap().starts_with("Slack refused"));
    let want = json!({
        "channel": "slack", "account": "main", "config": config, "state": "fails", "reason": null, "tried_by": "channel",
        "running": "nowhere", "setup": null,
        "from_environment": { "bot_token": "SLACK_BOT_TOKEN", "app_token": "SLACK_APP_TOKEN" },
        "left_out": ["signing_secret", "refresh_token", "client_secret"],
    });
    assert_eq!(answer, want);
    let (ok, answer, _) = for_a_program(&home, &["remove", "slack"], &[]);
    let want =
        json!({ "channel": "slack", "account": "main", "config": config, "deleted": [], "stopped": false });
    assert!(ok && answer == want, "{answer}");
    let both = [("SLACK_BOT_TOKEN", BOT_TOKEN), ("SLACK_APP_TOKEN", APP_TOKEN)];
    let (ok, answer, told) = for_a_program(&home, &add, &both);
    assert!(
        ok && told.is_empty() && answer["state"] == "works" && answer["reason"].is_null(),
        "{answer} {told}"
    );
    let (ok, answer, told) = for_a_program(&home, &["check", "slack"], &both);
    let want = json!({
        "channel": "slack", "account": "main", "config": config, "state": "works", "reason": null, "tried_by": "channel",
        "running": "nowhere",
    });
    assert!(ok && answer == want, "{answer} {told}");
    // The variable that the config names is another one than the one that is set.
    let (ok, _, told) =
        for_a_program(&home, &["check", "slack"], &[("SLACK_BOT_TOKENS", BOT_TOKEN), both[1]]);
    assert!(
        !ok && told.contains("SLACK_BOT_TOKEN is not set; SLACK_BOT_TOKENS is: is that the one?"),
        "{told}"
    );
}

/// A refresh token is good once: without a runtime the pair that is kept is tried, and none is got.
#[test]
fn a_kept_token_is_tried_without_a_runtime_and_none_is_used_up() {
    let api = SlackApi::start();
    api.store().refresh = Some(("xoxe-first".into(), 3_600));
    let keys = format!(
        "[channels.slack.main]\nbot_token = {{ env = \"TEST_BOT\" }}\napp_token = {{ env = \"TEST_APP\" }}\n\
         refresh_token = {{ env = \"TEST_REFRESH\" }}\nclient_id = \"client\"\n\
         client_secret = {{ env = \"TEST_CLIENT\" }}\napi_url = \"{}\"\n",
        api.url
    );
    let variables = [
        ("TEST_BOT", "xoxb-of-old"),
        ("TEST_APP", APP_TOKEN),
        ("TEST_REFRESH", "xoxe-first"),
        ("TEST_CLIENT", "very-secret"),
    ];
    let mut runtime = Runtime::new(&keys);
    let home = runtime.home.path().to_owned();
    let (ok, answer, told) = for_a_program(&home, &["check", "slack"], &variables);
    assert!(!ok && answer["state"] == "unseen", "{answer}");
    assert!(
        told.contains("cannot be seen while no vestibule runs") && told.contains("vestibule up"),
        "{told}"
    );
    assert_eq!(api.store().calls.get("oauth.v2.access"), None, "none was used up");
    for (name, value) in variables {
        runtime = runtime.env(name, value);
    }
    runtime.start_with("slack");
    runtime.stop();
    let (ok, answer, told) = for_a_program(&home, &["check", "slack"], &variables);
    assert!(ok && answer["state"] == "works", "{answer} {told}");
    assert_eq!(api.store().calls.get("oauth.v2.access"), Some(&1), "the one that is kept was tried");
}
