//! Modules: agents that converse, and messages that are screened and reviewed, as bundled code and as a
//! file in either tier.

use crate::support::{Runtime, Terminal, plugin_file, until};
use serde_json::json;
use std::fs;
use std::time::Duration;

/// Asks the helper with a file, and tells the terminal what comes back.
pub const ASKS: &str = r#"sh -c 'p=$(cat); case "$p" in *"from=\"helper\" sender=\"helper\""*) n=$(printf %s "$p" | grep -q "f.txt — saved to" && echo 1); echo "<message to=\"terminal\">back: $n</message>";; *) printf bytes > "$VESTIBULE_REPLY_FILES/f.txt"; echo "<message to=\"helper\">please</message>";; esac'"#;

/// Writes to the helper whatever it hears.
const NEVER_STOPS: &str = r#"sh -c 'cat > /dev/null; echo "<message to=\"helper\">again</message>"'"#;

/// The three forms of a plugin: what the config says, and what the list must show.
const FORMS: [(&str, &str); 3] = [
    ("", "in-process"),
    ("[plugins.agent-to-agent]\nbuilt_in = false\ntier = \"in-process\"\n", "in-process"),
    ("[plugins.agent-to-agent]\nbuilt_in = false\n", "process"),
];

pub fn drop_file(runtime: &Runtime, krate: &str) {
    fs::create_dir_all(runtime.home.path().join("plugins")).unwrap();
    fs::copy(plugin_file(krate), runtime.home.path().join(format!("plugins/{krate}.so"))).unwrap();
}

pub fn listed(runtime: &Runtime, name: &str) -> Option<serde_json::Value> {
    let list = runtime.json(&["plugin", "list"]);
    list.as_array().unwrap().iter().find(|plugin| plugin["name"] == name).cloned()
}

/// A runtime in which the assistant can write to the agent `helper`, which echoes.
fn two_agents(config: &str, assistant: &str) -> Runtime {
    let runtime = Runtime::new(config).up();
    if config.contains("built_in = false") && !config.contains("guard") {
        drop_file(&runtime, "vestibule-agent-to-agent");
    }
    introduce(&runtime, assistant);
    runtime
}

/// Makes the agent `helper`, which echoes, and lets the two write to each other.
pub fn introduce(runtime: &Runtime, assistant: &str) {
    runtime.ok(&["agent", "create", "helper"]);
    runtime.ok(&["agent", "update", "assistant", "--provider", "command", "--command", assistant]);
    runtime.ok(&[
        "destination",
        "create",
        "--agent",
        "assistant",
        "--name",
        "helper",
        "--to-agent",
        "helper",
    ]);
    runtime.ok(&["destination", "create", "--agent", "helper", "--name", "boss", "--to-agent", "assistant"]);
}

pub fn count(runtime: &Runtime, sql: &str) -> i64 {
    runtime.query(&format!("SELECT COUNT(*) FROM {sql}"))[0]
}

/// One question, one answer, one report: nothing lost, nothing twice.
pub fn one_conversation(runtime: &Runtime) {
    until("all is settled", || (count(runtime, "deliveries WHERE state = 'delivered'") == 3).then_some(()));
    assert_eq!(count(runtime, "deliveries"), 3);
    assert_eq!(count(runtime, "messages_in WHERE id LIKE 'a2a-%'"), 2);
    // Each row names the other's agent and session: the way back.
    let crossed = "messages_in m JOIN sessions here ON here.id = m.session_id \
        JOIN sessions there ON there.id = m.source_session_id \
        WHERE m.channel_type = 'agent' AND m.platform_id = there.agent_group_id \
        AND here.agent_group_id <> there.agent_group_id";
    assert_eq!(count(runtime, crossed), 2);
    assert_eq!(runtime.query::<i64>("SELECT hops FROM sessions ORDER BY hops"), [1, 2]);
    // What one sent is what the other has: no file lies here but those two.
    assert_eq!(count(runtime, "files WHERE direction = 'in'"), 2);
    until("no copy is left", || {
        (fs::read_dir(runtime.home.path().join("attachments")).unwrap().count() == 2).then_some(())
    });
    for session in runtime.sessions() {
        let folder = fs::read_dir(session.join("inbox")).unwrap().next().unwrap().unwrap().path();
        assert_eq!(fs::read(folder.join("f.txt")).unwrap(), b"bytes");
    }
}

#[test]
fn two_agents_converse_in_every_form() {
    for (config, tier) in FORMS {
        let runtime = two_agents(config, ASKS);
        assert_eq!(runtime.chat("go"), "back: 1", "{config}");
        one_conversation(&runtime);
        let plugin = listed(&runtime, "agent-to-agent").unwrap();
        assert_eq!((plugin["tier"].as_str(), plugin["kind"].as_str()), (Some(tier), Some("module")));
        assert_eq!(plugin["origin"] == "built in", config.is_empty());
    }
}

#[test]
fn a_crash_in_between_loses_and_doubles_nothing() {
    for (config, _) in FORMS {
        for point in [
            "delivery: `sending` is on record, nobody was called#1",
            "delivery: the platform has it, nothing is on record#2",
        ] {
            let mut runtime = two_agents(config, ASKS);
            runtime.stop();
            let earlier = runtime.log().len();
            runtime.launch(&[("VESTIBULE_CRASH_POINT", point)]);
            until("the terminal is live", || {
                runtime.log()[earlier..].contains("channel is live channel=\"terminal\"").then_some(())
            });
            Terminal::connect(&runtime, false).say("go");
            until("it crashes", || runtime.ended());
            assert!(count(&runtime, "messages_in WHERE id LIKE 'a2a-%'") < 2, "{point}");
            runtime.kill();
            runtime.start();
            let mut terminal = Terminal::connect(&runtime, true);
            assert_eq!(terminal.reply(), "back: 1", "{config}{point}");
            one_conversation(&runtime);
        }
    }
}

#[test]
fn a_chain_between_agents_is_cut_told_and_goes_on_with_a_person() {
    let runtime = two_agents("[modules.agent-to-agent]\nhops_max = 4\n", NEVER_STOPS);
    let mut terminal = Terminal::connect(&runtime, false);
    for round in 1..=2 {
        terminal.say("begin");
        until("the chain is cut", || {
            (count(&runtime, "deliveries WHERE state = 'failed'") == round).then_some(())
        });
        assert_eq!(count(&runtime, "messages_in WHERE id LIKE 'a2a-%'"), 4 * round);
        assert_eq!(count(&runtime, "messages_in WHERE id LIKE 'sys-%' AND NOT \"trigger\""), round);
    }
    let why: Vec<String> = runtime.query("SELECT last_error FROM deliveries WHERE state = 'failed'");
    assert!(why[0].contains("`hops_max`"), "{why:?}");
}

#[test]
fn only_a_destination_leads_to_another_agent() {
    let runtime = two_agents("", ASKS);
    runtime.ok(&["destination", "delete", "--agent", "helper", "boss"]);
    Terminal::connect(&runtime, false).say("go");
    let why = until("the answer is refused", || {
        runtime.query::<String>("SELECT last_error FROM deliveries WHERE state = 'failed'").pop()
    });
    assert!(why.contains("no destination of this agent"), "{why}");
    assert_eq!(count(&runtime, "messages_in WHERE id LIKE 'a2a-%'"), 1);

    runtime.ok(&["agent", "delete", "helper"]);
    assert!(!runtime.ok(&["destination", "list"]).contains("helper"));
    let output =
        runtime.run(&["destination", "create", "--agent", "assistant", "--name", "x", "--to-agent", "y"]);
    assert!(!output.status.success());
}

#[test]
fn a_module_screens_reviews_and_may_not_do_what_is_not_its_station() {
    for tier in ["in-process", "process"] {
        let config = format!(
            "[plugins.agent-to-agent]\nbuilt_in = false\n[plugins.guard]\ntier = \"{tier}\"\ndeadline_seconds = 2\n"
        );
        let runtime = two_agents(&config, NEVER_STOPS);
        drop_file(&runtime, "vestibule-guard");
        until("the module is loaded", || listed(&runtime, "guard"));
        runtime.ok(&["agent", "update", "assistant", "--provider", "echo"]);
        assert_eq!(runtime.chat("hello"), "hello");
        assert_eq!(runtime.chat("in-old and out-old"), "new and new");
        assert_eq!(runtime.chat("in-forge"), "forging: false");
        let mut terminal = Terminal::connect(&runtime, false);
        for (text, words) in [
            ("in-rude", "refused it: rude"),
            ("in-panic", "failed"),
            ("in-strange", "failed"),
            ("in-late", "failed"),
        ] {
            terminal.write(&json!({ "text": text }));
            let answer = terminal.read();
            assert!(answer["error"].as_str().unwrap().contains(words), "{tier} {text}: {answer}");
        }
        let dropped = runtime.json(&["status"])["dropped"].to_string();
        assert!(dropped.contains("the module guard refused it: rude"), "{dropped}");
        // The agent says again what it is told of, and may be refused again: each client hears its own.
        for text in ["out-rude", "out-panic", "out-strange", "out-late"] {
            Terminal::connect(&runtime, true).say(text);
            until("it is refused", || {
                let refused = format!("deliveries WHERE state = 'failed' AND content ->> 'text' = '{text}'");
                (count(&runtime, &refused) == 1).then_some(())
            });
        }
        let why: Vec<String> = runtime.query(
            "SELECT last_error FROM deliveries WHERE state = 'failed' AND content ->> 'text' LIKE 'out-%'",
        );
        assert!(why.iter().all(|why| why.contains("the module guard")), "{why:?}");

        runtime.ok(&["agent", "update", "assistant", "--provider", "command"]);
        Terminal::connect(&runtime, true).say("write to the helper");
        let why = until("its effects are refused", || {
            let sql = "SELECT last_error FROM deliveries WHERE channel_type = 'agent' AND state = 'failed'";
            runtime.query::<String>(sql).pop()
        });
        assert!(why.contains("more than one `post` or `refuse`"), "{why}");
        assert_eq!(count(&runtime, "messages_in WHERE channel_type = 'agent'"), 0);
    }
}

/// Writes into the agent's own file what a tool in its sandbox would.
pub fn act(runtime: &Runtime, content: &serde_json::Value) {
    let file = runtime.sessions()[0].join("out/outbound.db");
    let row = "INSERT INTO messages_out (id, seq, timestamp, kind, content) \
        SELECT 'act-' || (MAX(seq) + 2), MAX(seq) + 2, '', 'system', ?1 FROM messages_out";
    let db =
        rusqlite::Connection::open_with_flags(file, rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE).unwrap();
    db.execute(row, [content.to_string()]).unwrap();
}

#[test]
fn a_module_does_what_an_agent_asks_for_and_tells_it_what_is_due() {
    for tier in ["in-process", "process"] {
        let config = format!(
            "[plugins.agent-to-agent]\nbuilt_in = false\n[plugins.guard]\ntier = \"{tier}\"\n\
             agents = [\"assistant\"]\n[modules.guard]\ntell = \"assistant\"\n"
        );
        let mut runtime = Runtime::new(&config).up();
        assert_eq!(runtime.chat("hello"), "hello");
        act(&runtime, &json!({ "action": "repeat", "text": "early" }));
        let failed = "SELECT last_error FROM deliveries WHERE state = 'failed' ORDER BY taken_at";
        let nobody = until("it is refused", || runtime.query::<String>(failed).pop());
        assert!(nobody.contains("no module takes this action"), "{nobody}");

        let mut terminal = Terminal::connect(&runtime, true);
        drop_file(&runtime, "vestibule-guard");
        let heard =
            "SELECT content ->> 'text' FROM messages_in WHERE id LIKE 'sys-%' AND \"trigger\" ORDER BY seq";
        // With what wakes it the agent reads of what was not done before.
        let told = "SELECT content ->> 'text' FROM messages_in WHERE NOT \"trigger\"";
        let told = runtime.query::<String>(told);
        assert!(told[0].starts_with("Your request `repeat` (number 5) was not done: no module"), "{told:?}");
        assert_eq!(terminal.reply(), "it ticks");
        act(&runtime, &json!({ "action": "repeat", "text": "once more" }));
        assert_eq!(terminal.reply(), "once more");
        for (text, before) in [("one", "None"), ("two", "Some(\"one\")")] {
            act(&runtime, &json!({ "action": "keep", "text": text }));
            assert_eq!(terminal.reply(), format!("kept before: {before}"));
        }
        act(&runtime, &json!({ "action": "list", "text": "x/" }));
        assert_eq!(terminal.reply(), "x/1 x/2 then y");
        let guard = listed(&runtime, "guard").unwrap();
        assert_eq!((&guard["state"], &guard["reason"]), (&json!("degraded"), &json!("two")));
        assert_eq!(runtime.query::<i64>("SELECT hops FROM sessions"), [4]);
        for (name, words) in
            [("deny", "not now"), ("wrong", "neither `note` nor `refuse`"), ("../x", "not made of a-z")]
        {
            let before = runtime.query::<String>(failed).len();
            act(&runtime, &json!({ "action": name, "text": "not now" }));
            let why = until("it is refused", || runtime.query::<String>(failed).get(before).cloned());
            assert!(why.contains(words), "{name}: {why}");
        }
        // What was told once is not told again: the runtime knows when.
        runtime.stop();
        runtime.start();
        until("the module is live", || {
            (runtime.log().matches("module is live module=\"guard\"").count() == 2).then_some(())
        });
        std::thread::sleep(Duration::from_millis(1500));
        assert_eq!(
            runtime.query::<String>(heard),
            ["it ticks", "once more", "kept before: None", "kept before: Some(\"one\")", "x/1 x/2 then y"]
        );
    }
}

/// A request that a crash cut off waits for its module until all that are there are known, and no longer.
#[test]
fn a_request_whose_module_is_gone_after_a_crash_is_refused() {
    if !cfg!(debug_assertions) {
        eprintln!("SKIPPED: a release build has no crash points; run the tests without --release");
        return;
    }
    let mut runtime = Runtime::new("[plugins.agent-to-agent]\nbuilt_in = false\n[plugins.guard]\n");
    drop_file(&runtime, "vestibule-guard");
    // The first reply is that to `hello`.
    let point = "delivery: `sending` is on record, nobody was called#2";
    runtime.launch(&[("VESTIBULE_CRASH_POINT", point)]);
    until("the module is live", || runtime.log().contains("module is live module=\"guard\"").then_some(()));
    assert_eq!(runtime.chat("hello"), "hello");
    act(&runtime, &json!({ "action": "repeat", "text": "cut off" }));
    until("it crashes", || runtime.ended());
    runtime.end();
    assert_eq!(runtime.query::<i64>("SELECT COUNT(*) FROM deliveries WHERE state = 'sending'"), [1]);
    fs::remove_file(runtime.home.path().join("plugins/vestibule-guard.so")).unwrap();
    runtime.start();
    let failed = "SELECT last_error FROM deliveries WHERE state = 'failed'";
    let why = until("it is refused", || runtime.query::<String>(failed).pop());
    assert!(why.contains("no module takes this action"), "{why}");
}

/// The same module, whose manifest says that what it fails at goes on.
#[test]
fn a_module_that_fails_open_lets_messages_pass() {
    let mut bytes = fs::read(plugin_file("vestibule-guard")).unwrap();
    let (closed, open) = (b"\"on_failure\":\"closed\"", b"\"on_failure\":\"open\"  ");
    let places: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(closed)).collect();
    assert!(!places.is_empty());
    places.iter().for_each(|at| bytes[*at..*at + open.len()].copy_from_slice(open));
    for tier in ["in-process", "process"] {
        let config = format!(
            "[plugins.agent-to-agent]\nbuilt_in = false\n[plugins.guard]\ntier = \"{tier}\"\ndeadline_seconds = 2\n"
        );
        let runtime = Runtime::new(&config).up();
        fs::write(runtime.home.path().join("plugins/guard.so"), &bytes).unwrap();
        until("the module is live", || {
            runtime.log().contains("module is live module=\"guard\"").then_some(())
        });
        for text in ["in-panic", "in-strange", "in-late", "out-panic", "out-strange"] {
            assert_eq!(runtime.chat(text), text, "{tier}");
        }
        let log = runtime.log();
        assert_eq!(log.matches("a module failed at its hook").count(), 5, "{log}");
        assert!(log.contains("goes_on=true"), "{log}");
        // What it does not fail at is refused as ever.
        let mut terminal = Terminal::connect(&runtime, false);
        terminal.write(&json!({ "text": "in-rude" }));
        assert!(terminal.read()["error"].as_str().unwrap().contains("refused it: rude"));
    }
}

#[test]
fn nothing_passes_while_a_screening_module_is_replaced() {
    let runtime = two_agents("[plugins.agent-to-agent]\nbuilt_in = false\n[plugins.guard]\n", NEVER_STOPS);
    drop_file(&runtime, "vestibule-guard");
    until("the module is live", || runtime.log().contains("module is live module=\"guard\"").then_some(()));
    let (file, new) =
        (runtime.home.path().join("plugins/vestibule-guard.so"), runtime.home.path().join("new"));
    fs::copy(&file, &new).unwrap();
    fs::rename(&new, &file).unwrap();
    let mut terminal = Terminal::connect(&runtime, false);
    until("the new one is live", || {
        terminal.write(&json!({ "text": "in-rude" }));
        let answer = terminal.read();
        assert!(answer["error"].as_str().unwrap().contains("guard"), "{answer}");
        (runtime.log().matches("module is live module=\"guard\"").count() == 2).then_some(())
    });
    assert_eq!(count(&runtime, "messages_in"), 0);
}

/// What a module is asked when another instance takes its place is answered by one of the two.
#[test]
fn what_is_screened_and_reviewed_while_a_module_is_replaced_arrives() {
    for tier in ["process", "in-process"] {
        let config =
            format!("[plugins.agent-to-agent]\nbuilt_in = false\n[plugins.guard]\ntier = \"{tier}\"\n");
        let runtime = Runtime::new(&config).up();
        drop_file(&runtime, "vestibule-guard");
        until("the module is live", || {
            runtime.log().contains("module is live module=\"guard\"").then_some(())
        });
        let mut terminal = Terminal::connect(&runtime, false);
        for text in ["in-slow", "out-slow"] {
            terminal.say(text);
            std::thread::sleep(Duration::from_millis(400));
            runtime.ok(&["plugin", "reload", "guard"]);
            assert_eq!(terminal.reply(), text, "{tier}");
        }
        assert_eq!(count(&runtime, "drops"), 0, "{tier}");
        assert_eq!(count(&runtime, "deliveries WHERE state <> 'delivered'"), 0, "{tier}");
    }
}

/// What is being screened when the runtime stops is not refused: its channel is told nothing, and sends it again.
#[test]
fn what_is_screened_while_the_house_stops_may_come_again() {
    for tier in ["process", "in-process"] {
        let config =
            format!("[plugins.agent-to-agent]\nbuilt_in = false\n[plugins.guard]\ntier = \"{tier}\"\n");
        let mut runtime = Runtime::new(&config).up();
        drop_file(&runtime, "vestibule-guard");
        until("the module is live", || {
            runtime.log().contains("module is live module=\"guard\"").then_some(())
        });
        let mut terminal = Terminal::connect(&runtime, false);
        terminal.write(&json!({ "text": "in-late" }));
        std::thread::sleep(Duration::from_millis(300));
        runtime.stop();
        assert_eq!((count(&runtime, "drops"), count(&runtime, "event_ids")), (0, 0), "{tier}");
    }
}

#[test]
fn a_broken_replacement_of_a_module_leaves_the_old_one_at_its_station() {
    for tier in ["process", "in-process"] {
        let plugin = format!("[plugins.flawed]\ntier = \"{tier}\"\n[modules.flawed]\nfault = ");
        let runtime = Runtime::new(&format!("{plugin}\"adds\"\n")).up();
        drop_file(&runtime, "vestibule-flawed");
        until("the module is live", || {
            runtime.log().contains("module is live module=\"flawed\"").then_some(())
        });
        assert_eq!(runtime.chat("hello"), "hello!");
        let broken = format!("listen = \"127.0.0.1:0\"\n{plugin}\"panic at the start\"\n");
        fs::write(runtime.home.path().join("vestibule.toml"), broken).unwrap();
        let output = runtime.run(&["plugin", "reload", "flawed"]);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && told.trim_end().ends_with("[START]"), "{tier}: {told}");
        assert_eq!(runtime.chat("and now"), "and now!", "{tier}");
    }
}

#[test]
fn two_modules_cannot_both_take_what_agents_write() {
    let runtime = Runtime::new("").up();
    drop_file(&runtime, "vestibule-guard");
    drop_file(&runtime, "vestibule-agent-to-agent");
    let refused =
        |file: &str| until("it is refused", || listed(&runtime, file)?["reason"].as_str().map(str::to_owned));
    let why = refused("vestibule-guard.so");
    assert!(why.contains("messages between agents are taken already by agent-to-agent"), "{why}");
    let why = refused("vestibule-agent-to-agent.so");
    assert!(why.contains("the same name (agent-to-agent)"), "{why}");
}
