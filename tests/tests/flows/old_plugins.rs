//! Binaries of earlier levels of the vocabulary, loaded by today's runtime: `tests/fixtures/plugins`.

use crate::agents::{act, listed};
use crate::changes::{agent_writes, wired_file, wired_with};
use crate::support::{PATIENCE, Runtime, Terminal, free_port, plugin_file, until};
use serde_json::json;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};

/// The levels whose channel takes lines and whose module takes every station of then.
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

/// The channel of level 0.2 says what was new then, and is asked it.
#[test]
fn a_channel_of_level_0_2_works_in_both_tiers() {
    for tier in ["process", "in-process"] {
        let Some(file) = fixture("0.2", "old.so") else { return };
        let (runtime, mut platform) =
            wired_file("old", &file, &format!("[plugins.old]\ntier = \"{tier}\"\n"));
        runtime.wait_live("old");
        let plugin = listed(&runtime, "old").unwrap();
        assert_eq!((plugin["tier"].as_str(), plugin["api"].as_str()), (Some(tier), Some("0.2")));
        let file = json!({ "name": "a.txt", "reference": "5" });
        let first = platform
            .happens(json!({ "text": "hello", "more": { "attachments": [file], "subject": "News" } }));
        assert_eq!(platform.said("fetched")["fetched"], "5");
        assert_eq!(platform.said("read")["read"]["message_id"], first);
        assert!(platform.posted().contains("News"));
        platform.happens(json!({ "of": first, "change": { "change": "edited", "text": "hello, all" } }));
        platform.happens(json!({ "of": first, "change": { "change": "reacted", "emoji": "tada" } }));
        platform.writes("and now?");
        let prompt = platform.posted();
        assert!(prompt.contains("hello, all") && prompt.contains("[reacted with tada"), "{tier}: {prompt}");
        agent_writes(&runtime, "old", 1, &json!({ "text": "paced\none\ntwo" }));
        assert_eq!((platform.posted(), platform.posted()), ("one".to_owned(), "two".to_owned()), "{tier}");
        let create = ["messaging-group", "create", "--channel", "old"];
        runtime.ok(&[&create[..], &["--person", "ada"]].concat());
        runtime.ok(&[&create[..], &["--chat", "#Hall"]].concat());
        let known = "SELECT platform_id || ' ' || title FROM messaging_groups WHERE platform_id IN ('dm-ada', 'hall') ORDER BY 1";
        assert_eq!(runtime.query::<String>(known), ["dm-ada Person ada", "hall Room hall"], "{tier}");
        assert!(runtime.ok(&["messaging-group", "history", "room"]).contains("and now?"));
        assert!(runtime.ok(&["channel", "link", "old"]).contains("is linked as me"));
        platform.happens(json!({ "chat": "hall", "happened": { "change": "moved", "to": "hall-2" } }));
        let moved = "SELECT COUNT(*) FROM messaging_groups WHERE platform_id = 'hall-2'";
        assert_eq!(runtime.query::<i64>(moved), [1], "{tier}");
        platform.happens(json!({ "lost": "as it was told" }));
        platform.reconnects();
        until("it finds its folder again", || {
            (runtime.channel("old")["handles"] == json!(["start-2"])).then_some(())
        });
    }
}

/// The module of level 0.2 does what was new then.
#[test]
fn a_module_of_level_0_2_works_in_both_tiers() {
    for tier in ["process", "in-process"] {
        let Some(file) = fixture("0.2", "old-module.so") else { return };
        let more =
            format!("[plugins.agent-to-agent]\nbuilt_in = false\n[plugins.old-module]\ntier = \"{tier}\"\n");
        let (runtime, mut platform) = wired_with("rich", &more);
        fs::copy(file, runtime.home.path().join("plugins/old-module.so")).unwrap();
        let live = "module is live module=\"old-module\"";
        until("it is there", || runtime.log().contains(live).then_some(()));
        platform.writes("in-unkind");
        assert_eq!(platform.posted(), "Say it kindly.", "{tier}");
        platform.writes("in-command");
        platform.writes("in-old and out-old");
        let prompt = platform.posted();
        assert!(prompt.contains("new and new"), "{tier}: {prompt}");
        let dropped = "SELECT reason FROM drops WHERE reason LIKE '%a command%'";
        assert_eq!(runtime.query::<String>(dropped).len(), 1, "{tier}");
        act(&runtime, &json!({ "action": "list", "text": "x/" }));
        assert!(platform.posted().contains("x/1 x/2 then y"), "{tier}");
    }
}
