//! `vestibule channel` where an account is tried again, would be another's twin, or goes.

use crate::bot_api::{BotApi, TOKEN};
use crate::channels::{channel, for_a_program};
use crate::slack_api::{APP_TOKEN, BOT_TOKEN, SlackApi};
use crate::support::{Runtime, binary};
use std::fs;
use std::process::{Command, Stdio};

/// What the config and its files say now is tried, whether the running runtime has the account already or not; an account
/// that is live, and goes on as it is written, is not disturbed.
#[test]
fn a_runtime_that_runs_has_no_old_verdict_repeated() {
    let api = BotApi::start();
    let mut runtime = Runtime::new("").up();
    let home = runtime.home.path().to_owned();
    let token = home.join("token");
    fs::write(&token, "1:wrong").unwrap();
    let sets = [format!("api_root={}", api.url), format!("token=file:{}", token.display())];
    let (ok, said) = channel(&home, &["add", "telegram", "--set", &sets[0], "--set", &sets[1]], None);
    assert!(!ok && said.contains("telegram main does not work"), "{said}");
    fs::write(&token, TOKEN).unwrap();
    let (ok, answer, told) = for_a_program(&home, &["check", "telegram"], &[]);
    assert!(ok && answer["running"] == "as written" && answer["tried_by"] == "runtime", "{answer} {told}");
    assert_eq!(runtime.channel("telegram")["state"], "live");
    // A check of one that is live starts nothing anew.
    let starts = || runtime.log().matches("signed in").count();
    let before = starts();
    let (ok, answer, told) = for_a_program(&home, &["check", "telegram"], &[]);
    assert!(ok && answer["running"] == "as written", "{answer} {told}");
    assert_eq!(starts(), before, "it was started again");
    fs::write(&token, "1:wrong").unwrap();
    let (ok, answer, told) = for_a_program(&home, &["check", "telegram"], &[]);
    assert!(!ok && answer["state"] == "fails" && answer["running"] == "as before", "{answer} {told}");
    assert_eq!(runtime.channel("telegram")["state"], "live", "what runs goes on");
    let config = fs::read_to_string(home.join("vestibule.toml")).unwrap();
    let by_hand = config.replace("telegram.main", "telegram.hand");
    fs::write(&token, TOKEN).unwrap();
    fs::write(home.join("vestibule.toml"), by_hand).unwrap();
    let (ok, said) = channel(&home, &["check", "telegram", "--account", "hand"], None);
    assert!(ok && said.contains("It is not running yet: `vestibule plugin reload telegram`"), "{said}");
    let (ok, said) = channel(&home, &["check", "telegram"], None);
    assert!(!ok && said.contains("is out of") && said.contains("plugin reload telegram"), "{said}");
    runtime.stop();
}

/// The same bot, or the same app, is no second account, wherever its secrets are kept.
#[test]
fn no_account_is_anothers_twin() {
    let api = SlackApi::start();
    api.store().tokens.insert("xoxb-other".into(), ("U0OTHER".into(), "T0OTHER".into()));
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("home");
    for (name, text) in [("bot", BOT_TOKEN), ("app", APP_TOKEN), ("other", "xoxb-other")] {
        fs::write(folder.path().join(name), text).unwrap();
    }
    let of = |key: &str, name: &str| format!("{key}=file:{}", folder.path().join(name).display());
    let root = format!("api_url={}", api.url);
    let add = |account: &str, more: &[&str], variables: &[(&str, &str)]| {
        let mut args = vec!["add", "slack", "--account", account, "--set", &root];
        args.extend(more.iter().flat_map(|set| ["--set", set]));
        for_a_program(&home, &args, variables)
    };
    let (ok, _, told) = add("main", &[&of("bot_token", "bot"), &of("app_token", "app")], &[]);
    assert!(ok, "{told}");
    let environment = [("SLACK_BOT_TOKEN", BOT_TOKEN), ("SLACK_APP_TOKEN", APP_TOKEN)];
    let (ok, answer, told) = add("two", &[], &environment);
    assert!(!ok && answer["state"] == "refused" && told.contains("the account main has that one"), "{told}");
    let given = ["bot_token=env:SLACK_BOT_TOKEN", "app_token=env:SLACK_APP_TOKEN"];
    let (ok, _, told) = add("two", &given, &environment);
    assert!(!ok && told.contains("the account main has the same bot_token"), "{told}");
    let (ok, _, told) = add("two", &[&of("bot_token", "other"), &of("app_token", "app")], &[]);
    assert!(!ok && told.contains("same app_token") && told.contains("--set listener=main"), "{told}");
    assert!(!fs::read_to_string(home.join("vestibule.toml")).unwrap().contains("slack.two"));
    let (ok, answer, told) = add("two", &[&of("bot_token", "other"), "listener=main"], &[]);
    assert!(ok && answer["state"] == "works", "{answer} {told}");
}

/// A file that the operator made stays, and each that goes is named.
#[test]
fn only_what_was_typed_goes_with_an_account() {
    let folder = tempfile::tempdir().unwrap();
    let secrets = folder.path().join("secrets");
    fs::create_dir(&secrets).unwrap();
    for name in ["mine", "slack.one.app_token"] {
        fs::write(secrets.join(name), "x").unwrap();
    }
    let at = secrets.display();
    let keys = format!(
        "bot_token = {{ file = \"{at}/mine\" }}\napp_token = {{ file = \"{at}/slack.one.app_token\" }}\n"
    );
    fs::write(folder.path().join("vestibule.toml"), format!("[channels.slack.one]\n{keys}")).unwrap();
    let (ok, said) = channel(folder.path(), &["remove", "slack", "--account", "one"], None);
    assert!(ok && said.contains("/secrets/slack.one.app_token.") && !said.contains("mine"), "{said}");
    assert!(secrets.join("mine").exists() && !secrets.join("slack.one.app_token").exists());
}

#[test]
fn a_wrong_command_is_told_before_anything_else() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("home");
    let long = "a".repeat(300);
    for (args, says) in [
        (&["--account", "a/b"][..], "a name is made of letters"),
        (&["--account", &long], "too long"),
        (&["--set", "bot_token"], "is not KEY=VALUE"),
        (&["--set", "bot_tken=env:X"], "it has no key"),
        (&["--set", "bot_token=env:"], "names nothing"),
    ] {
        let mut command = Command::new(binary());
        command.args(["channel", "add", "slack"]).args(args).env("VESTIBULE_HOME", &home);
        let output = command.stdin(Stdio::null()).output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(told.contains(says) && output.status.code() == Some(2), "{args:?}: {told}");
        assert!(!home.join("vestibule.toml").exists(), "{args:?}");
    }
    for verb in ["add", "check", "remove"] {
        let (ok, said) = channel(&home, &[verb, "terminal"], None);
        assert!(!ok && said.contains("terminal main is built in and always there"), "{verb}: {said}");
    }
}
