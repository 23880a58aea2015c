//! What a reload makes of the accounts of a channel in a file, by what the config says of them now.

use crate::changes::{Platform, wired_with};
use crate::support::{Runtime, until};
use serde_json::Value;
use std::net::TcpListener;
use std::time::{Duration, Instant};

/// Writes more behind what the config said at first, and reloads the channel `ask`.
fn reload(runtime: &Runtime, before: &str, more: &str) {
    std::fs::write(runtime.home.path().join("vestibule.toml"), format!("{before}{more}")).unwrap();
    runtime.ok(&["plugin", "reload", "ask"]);
}

fn config(runtime: &Runtime) -> String {
    std::fs::read_to_string(runtime.home.path().join("vestibule.toml")).unwrap()
}

fn is(runtime: &Runtime, account: &str, state: &str) -> bool {
    let all = runtime.json(&["channel", "list"]);
    let is = |one: &Value| one["channel"] == "ask" && one["account"] == account && one["state"] == state;
    all.as_array().is_some_and(|all| all.iter().any(is))
}

#[test]
fn an_account_that_the_config_has_no_more_goes() {
    let (runtime, _platform) = wired_with("ask", "");
    runtime.wait_live("ask");
    let renamed = config(&runtime).replace("[channels.ask.main]", "[channels.ask.second]");
    reload(&runtime, &renamed, "");
    until("the one of now lives", || is(&runtime, "second", "live").then_some(()));
    assert!(!is(&runtime, "main", "live"));
}

#[test]
fn a_start_that_a_reload_overtook_changes_nothing() {
    let (runtime, _platform) = wired_with("ask", "");
    runtime.wait_live("ask");
    let before = config(&runtime);
    let [overtaken, meant] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let other = |platform: &TcpListener, more: &str| {
        format!("[channels.ask.other]\nplatform = \"{}\"\n{more}", platform.local_addr().unwrap())
    };
    let begin = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| reload(&runtime, &before, &other(&overtaken, "start_ms = 4000\n")));
        until("it is started", || is(&runtime, "other", "connecting").then_some(()));
        reload(&runtime, &before, &other(&meant, ""));
    });
    until("it lives", || is(&runtime, "other", "live").then_some(()));
    assert!(begin.elapsed() >= Duration::from_millis(4000), "the start that was under way has ended before");
    let mut meant = Platform::accept(meant);
    meant.writes("heard by the platform that the config names");
}

/// The file is loaded anew, for its only account is another one now, and that one takes long to start.
#[test]
fn a_plugin_that_takes_long_to_start_holds_up_no_other_reload() {
    let (runtime, _platform) = wired_with("ask", "");
    runtime.wait_live("ask");
    let section = "[channels.ask.main]\n";
    let slow = config(&runtime).replace(section, &format!("{section}start_ms = 6000\n"));
    std::thread::scope(|scope| {
        scope.spawn(|| reload(&runtime, &slow, ""));
        until("it is started", || (!is(&runtime, "main", "live")).then_some(()));
        runtime.ok(&["plugin", "reload", "terminal"]);
        assert!(!is(&runtime, "main", "live"), "the other reload did not wait for it");
    });
    until("it lives", || is(&runtime, "main", "live").then_some(()));
}

#[test]
fn what_only_a_start_changes_is_told() {
    let runtime = Runtime::new("").up();
    std::fs::write(runtime.home.path().join("vestibule.toml"), "[plugins.terminal]\nbuilt_in = false\n")
        .unwrap();
    let refused = runtime.run(&["plugin", "reload", "terminal"]);
    let why = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success());
    assert!(why.contains("holds from the next start of `vestibule up`"), "{why}");
    assert_eq!(runtime.chat("what runs runs on"), "what runs runs on");
}
