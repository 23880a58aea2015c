//! `vestibule channel`: an account is added, tried and taken out again.

use crate::bot_api::{BotApi, TOKEN};
use crate::support::Runtime;
use std::process::{Command, Output, Stdio};

/// Runs the verb on a home; returns whether it succeeded, and what a person reads.
fn channel(home: &std::path::Path, args: &[&str], token: Option<&str>) -> (bool, String) {
    let mut command = Command::new(crate::support::binary());
    command.arg("channel").args(args).env("VESTIBULE_HOME", home).env_remove("TELEGRAM_BOT_TOKEN");
    if let Some(token) = token {
        command.env("TELEGRAM_BOT_TOKEN", token);
    }
    let Output { status, stdout, stderr } = command.stdin(Stdio::null()).output().unwrap();
    (status.success(), [stdout, stderr].map(|text| String::from_utf8(text).unwrap()).concat())
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
        !ok && said.contains("BotFather") && said.contains("telegram needs token: set TELEGRAM_TOKEN"),
        "{said}"
    );
    let (ok, said) = channel(&home, &[&add[..], &["--set", "token=123:abc"]].concat(), None);
    assert!(!ok && said.contains("`token` is a secret") && !said.contains("in vestibule.toml."), "{said}");
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
    let (ok, said) = channel(&home, &["list"], None);
    assert!(ok && said.contains("telegram") && said.contains("vestibule up"), "{said}");
    assert_eq!(api.waiting(), 1, "the message is still the platform's to hand out");
    let (ok, said) = channel(&home, &["remove", "telegram"], None);
    assert!(ok && said.contains("is out of"), "{said}");
    assert!(!channel(&home, &["check", "telegram"], Some(TOKEN)).0, "it is gone");
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
