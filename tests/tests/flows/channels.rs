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
    let (ok, said) = channel(&home, &["list"], None);
    assert!(ok && said.contains("telegram") && said.contains("vestibule up"), "{said}");
    assert_eq!(api.waiting(), 1, "the message is still the platform's to hand out");
    let (ok, said) = channel(&home, &["remove", "telegram"], None);
    assert!(ok && said.contains("is out of"), "{said}");
    assert!(!channel(&home, &["check", "telegram"], Some(TOKEN)).0, "it is gone");
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
    std::thread::scope(|threads| {
        for name in names {
            let (home, root) = (&home, &root);
            threads.spawn(move || {
                channel(home, &["add", "telegram", "--account", name, "--set", root], Some(TOKEN))
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
