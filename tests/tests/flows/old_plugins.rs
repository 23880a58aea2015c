//! Binaries of earlier levels of the vocabulary, loaded by today's runtime: `tests/fixtures/plugins`.

use crate::agents::{act, listed};
use crate::support::{PATIENCE, Runtime, Terminal, free_port, plugin_file, until};
use serde_json::json;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};

/// Every level that has binaries.
const LEVELS: [&str; 1] = ["0.1"];

fn fixture(level: &str, file: &str) -> Option<PathBuf> {
    if !cfg!(target_arch = "x86_64") {
        eprintln!("SKIPPED: the old plugins are built for x86_64");
        return None;
    }
    Some(Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/plugins").join(level).join(file))
}

fn runtime(tier: &str, file: &Path) -> (Runtime, SocketAddr) {
    let at = free_port();
    let config = format!("[plugins.old]\ntier = \"{tier}\"\n[channels.old.main]\nlisten = \"{at}\"\n");
    let runtime = Runtime::new(&config).up();
    let wiring = ["--agent", "assistant", "--channel", "old", "--chat", "lines", "--pattern", "."];
    runtime.ok(&[&["wiring", "create"][..], &wiring].concat());
    fs::copy(file, runtime.home.path().join("plugins/old.so")).unwrap();
    (runtime, at)
}

fn round_trip(runtime: &Runtime, at: SocketAddr) {
    runtime.wait_live("old");
    let stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut caller = BufReader::new(stream);
    caller.get_mut().write_all(b"do you still know me?\n").unwrap();
    let mut line = String::new();
    caller.read_line(&mut line).unwrap();
    assert_eq!(line, "do you still know me?\n");
}

#[test]
fn a_plugin_of_every_level_answers_in_both_tiers() {
    for level in LEVELS {
        for tier in ["process", "in-process"] {
            let Some(file) = fixture(level, "old.so") else { return };
            let (runtime, at) = runtime(tier, &file);
            round_trip(&runtime, at);
            let list = runtime.json(&["plugin", "list"]);
            let plugin = list.as_array().unwrap().iter().find(|plugin| plugin["name"] == "old").unwrap();
            assert_eq!((plugin["tier"].as_str(), plugin["api"].as_str()), (Some(tier), Some(level)));
        }
    }
}

#[test]
fn one_that_aborts_on_panic_is_refused_in_process_and_runs_in_a_process() {
    for level in LEVELS {
        let Some(file) = fixture(level, "old-abort.so") else { return };
        let (inside, _) = runtime("in-process", &file);
        until("it is refused", || inside.log().contains("[PANIC_ABORT]").then_some(()));
        let (outside, at) = runtime("process", &file);
        round_trip(&outside, at);
    }
}

/// Two levels of optimisation in one file's life: the plugin is replaced by today's, built otherwise.
#[test]
fn an_old_plugin_gives_way_to_another_and_comes_back() {
    let Some(file) = fixture("0.1", "old.so") else { return };
    let (runtime, at) = runtime("process", &file);
    round_trip(&runtime, at);
    let place = runtime.home.path().join("plugins/old.so");
    fs::remove_file(&place).unwrap();
    until("it is gone", || (runtime.channel("old")["state"] == "off").then_some(()));
    fs::copy(plugin_file("vestibule-echo-channel"), runtime.home.path().join("plugins/echo.so")).unwrap();
    until("today's is loaded", || (!runtime.channel("echo").is_null()).then_some(()));
    fs::copy(&file, &place).unwrap();
    round_trip(&runtime, at);
}

/// A module of every level screens, reviews, acts and ticks; it keeps state and says how it is.
#[test]
fn a_module_of_every_level_works_in_both_tiers() {
    for level in LEVELS {
        for tier in ["process", "in-process"] {
            let Some(file) = fixture(level, "old-module.so") else { return };
            let runtime = Runtime::new(&format!(
                "[plugins.agent-to-agent]\nbuilt_in = false\n[plugins.old-module]\ntier = \"{tier}\"\n\
                 agents = [\"assistant\"]\n[modules.old-module]\ntell = \"assistant\"\n"
            ))
            .up();
            assert_eq!(runtime.chat("hello"), "hello"); // a session that can be told
            let mut terminal = Terminal::connect(&runtime, true);
            fs::copy(file, runtime.home.path().join("plugins/old-module.so")).unwrap();
            assert_eq!(terminal.reply(), "the old module ticks");
            let plugin = listed(&runtime, "old-module").unwrap();
            assert_eq!((plugin["tier"].as_str(), plugin["api"].as_str()), (Some(tier), Some(level)));
            assert_eq!(
                (&plugin["state"], &plugin["reason"]),
                (&json!("degraded"), &json!("old since 1 starts"))
            );
            terminal.say("in-colour and out-colour");
            assert_eq!(terminal.reply(), "color and color");
            for (text, before) in [("one", "None"), ("two", "Some(\"one\")")] {
                act(&runtime, &json!({ "action": "old_keep", "text": text }));
                assert_eq!(terminal.reply(), format!("kept before: {before}"));
            }
            terminal.say("out-rude");
            let why = until("its reply is refused", || {
                runtime.query::<String>("SELECT last_error FROM deliveries WHERE state = 'failed'").pop()
            });
            assert!(why.contains("rude at out"), "{tier}: {why}");
            let mut other = Terminal::connect(&runtime, false);
            other.write(&json!({ "text": "in-rude" }));
            let answer = other.read()["error"].to_string();
            assert!(answer.contains("refused it: rude at in"), "{tier}: {answer}");
            runtime.ok(&["plugin", "reload", "old-module"]);
            until("it remembers its first start", || {
                (listed(&runtime, "old-module")?["reason"] == "old since 2 starts").then_some(())
            });
        }
    }
}
