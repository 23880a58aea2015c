//! What can go wrong with a run, and what becomes of the messages that were under way: with real runners.

use crate::support::{Runtime, Terminal, asker, hostile, keeper_of, parent_of, programs, signal, until};
use rusqlite::Connection;
use std::path::Path;
use std::time::{Duration, Instant};

/// An agent that does what one of its messages says.
const SCRIPT: &str = r#"all=$(cat)
case "$all" in
    *">boom<"*) kill -KILL $PPID; sleep 60 ;;
    *">hang<"*) kill -STOP $PPID; sleep 60 ;;
    *">wait<"*) sleep 61.NUMBER ;;
    *) echo "heard $(echo "$all" | tr '\n' ' ' | sed 's/.*<message[^>]*>//; s/<.*//')" ;;
esac"#;

fn with_script(config: &str, time_limit: &str) -> Runtime {
    let runtime = Runtime::new(&format!("sandbox = \"process\"\n{config}")).up();
    let script = SCRIPT.replace("NUMBER", &runtime.pid().to_string());
    let command = format!("sh -c {}", shlex_quoted(&script));
    runtime.ok(&[
        "agent",
        "update",
        "assistant",
        "--provider",
        "command",
        "--time-limit",
        time_limit,
        "--command",
        &command,
    ]);
    runtime
}

/// The program that runs while its agent waits.
fn waits(runtime: &Runtime) -> String {
    format!("sleep 61.{}", runtime.pid())
}

fn shlex_quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

fn open(file: &Path) -> Connection {
    Connection::open_with_flags(file, rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE).unwrap()
}

/// Changes the central database of a runtime that does not run. Its sessions' files are made anew from that.
fn change(runtime: &Runtime, sql: &str) {
    open(&runtime.home.path().join("vestibule.db")).execute_batch(sql).unwrap();
    for session in runtime.sessions() {
        let _ = std::fs::remove_file(session.join("inbound.db"));
    }
}

fn condition(runtime: &Runtime) -> (String, String) {
    let session = runtime.json(&["session", "list"])[0].clone();
    let word = |key: &str| session[key].as_str().unwrap_or_default().to_owned();
    (word("state"), word("reason"))
}

/// The texts that went to the chat, in order.
fn told(runtime: &Runtime) -> Vec<String> {
    runtime.query("SELECT json_extract(content, '$.text') FROM deliveries ORDER BY taken_at, seq")
}

#[test]
fn a_provider_that_hangs_is_ended_and_its_message_tried_again() {
    // Its settings allow it a second, and ten more to be ended by its runner, which hangs, too.
    let runtime = with_script("turn_silence_seconds = 1\n", "1");
    let mut client = Terminal::connect(&runtime, true);
    let begin = Instant::now();
    client.say("hang");
    let failing =
        until("its run is ended", || Some(condition(&runtime)).filter(|(state, _)| state == "failing"));
    assert!(failing.1.contains("no sign of life for 11 s"), "{failing:?}");
    assert!(begin.elapsed() > Duration::from_secs(11), "not before its time: {:?}", begin.elapsed());
    assert!(runtime.log().contains("its turn is stuck"), "the operator is told");
    let status = runtime.json(&["status"]);
    assert_eq!((&status["sessions"]["failing"], &status["in_trouble"][0]["tries"]), (&1.into(), &1.into()));
    assert!(status["in_trouble"][0]["again_at"].is_string());
    // With its last try the chat is told, and what came after it is answered.
    client.say("next");
    let mut runtime = runtime;
    runtime.stop();
    change(&runtime, "UPDATE messages_in SET tries = 5, process_after = 0 WHERE tries = 1");
    runtime.start();
    until("the next is answered", || told(&runtime).iter().any(|text| text == "heard next").then_some(()));
    let told = told(&runtime);
    assert!(told[0].contains("could not be answered") && told[0].contains("no sign of life"), "{told:?}");
    let asked = "SELECT status FROM messages_in WHERE \"trigger\" ORDER BY seq";
    assert_eq!(runtime.query::<String>(asked), ["failed", "completed"]);
    assert_eq!(condition(&runtime).0, "running", "and nothing fails any more");
}

#[test]
fn a_message_that_kills_its_runner_takes_nobody_along() {
    let mut runtime = with_script("", "60");
    let mut client = Terminal::connect(&runtime, true);
    client.say("wait");
    until("a turn is under way", || (!programs(&waits(&runtime)).is_empty()).then_some(()));
    ["a", "b", "boom", "d", "e"].iter().for_each(|text| client.say(text));
    runtime.kill();
    drop(client);
    change(&runtime, "UPDATE messages_in SET status = 'completed' WHERE content LIKE '%\"wait\"%'");
    // A first run dies over all of them; from then on they are offered one at a time.
    runtime.start();
    let tried = "SELECT COUNT(*) FROM messages_in WHERE tries = 1";
    until("a run dies over them", || (runtime.query::<i64>(tried)[0] >= 1).then_some(()));
    runtime.stop();
    assert_eq!(runtime.query::<i64>(tried), [5], "each of them may have been the reason");
    change(
        &runtime,
        "UPDATE messages_in SET process_after = 0, tries = MIN(tries, 1) WHERE status = 'pending'",
    );
    change(&runtime, "UPDATE messages_in SET tries = 5 WHERE content LIKE '%\"boom\"%'");
    runtime.start();
    until("the last is answered", || told(&runtime).iter().any(|text| text == "heard e").then_some(()));
    let told = told(&runtime);
    assert_eq!(told.len(), 5, "{told:?}");
    assert_eq!([&told[0], &told[1], &told[3], &told[4]], ["heard a", "heard b", "heard d", "heard e"]);
    assert!(told[2].contains("could not be answered"), "{told:?}");
    let story = "SELECT status || ' ' || tries FROM messages_in WHERE \"trigger\" ORDER BY seq";
    assert_eq!(
        runtime.query::<String>(story)[1..],
        ["completed 1", "completed 1", "failed 6", "completed 1", "completed 1"],
        "only the one that killed its runner failed"
    );
}

/// A runner that is stopped, after it claimed a message and declared a tool of fourteen seconds.
#[test]
fn a_tool_is_waited_for_as_long_as_its_runner_declared() {
    let runtime = Runtime::new("sandbox = \"none\"\nturn_silence_seconds = 3\n").up();
    let mut terminal = Terminal::connect(&runtime, false);
    terminal.say("hello");
    assert_eq!(terminal.reply(), "hello");
    let warden = keeper_of(&runtime.pid().to_string());
    let runner = until("the runner runs", || {
        let children = std::fs::read_to_string(format!("/proc/{warden}/task/{warden}/children")).ok()?;
        let mut children = children.split_whitespace().map(str::to_owned);
        children.find(|child| programs("vestibule keeper").iter().all(|keeper| keeper != child))
    });
    signal("STOP", &runner);
    let begin = Instant::now();
    terminal.say("use it");
    let session = runtime.sessions().remove(0);
    let pending = "SELECT id FROM messages_in WHERE instr(content, 'use it')";
    let id: String = until("the message is shown", || {
        open(&session.join("inbound.db")).query_row(pending, [], |r| r.get(0)).ok()
    });
    let outbound = open(&session.join("out/outbound.db"));
    outbound.execute("INSERT INTO processing_ack VALUES (?1, 'processing', datetime())", [&id]).unwrap();
    let tool = "INSERT OR REPLACE INTO container_state VALUES (1, 'Bash', 14000, datetime(), datetime())";
    outbound.execute(tool, []).unwrap();
    drop(outbound);
    let (_, why) =
        until("its run is ended", || Some(condition(&runtime)).filter(|(state, _)| state == "failing"));
    assert!(why.contains("no sign of life for 14 s"), "{why}");
    assert!(begin.elapsed() > Duration::from_secs(14), "{:?}", begin.elapsed());
}

/// The program declares a tool of a day, and stops its runner.
#[test]
fn no_declared_tool_outlasts_the_time_limit_of_its_agent() {
    let runtime = Runtime::new("sandbox = \"process\"\nturn_silence_seconds = 3\n").up();
    let command = format!("{} tool 86400000", asker().display());
    runtime.ok(&[
        "agent",
        "update",
        "assistant",
        "--provider",
        "command",
        "--time-limit",
        "1",
        "--command",
        &command,
    ]);
    Terminal::connect(&runtime, false).say("use it");
    let (_, why) =
        until("its run is ended", || Some(condition(&runtime)).filter(|(state, _)| state == "failing"));
    assert!(why.contains("no sign of life for 11 s"), "{why}");
}

/// The runtime and both halves of the keeper die at once; the agent has left a program that closed everything it had
/// and is in a session of its own.
#[test]
fn what_outlives_everything_is_ended_before_the_next_run() {
    for sandbox in ["process", "none"] {
        let mut runtime = Runtime::new(&format!("sandbox = \"{sandbox}\"\n")).up();
        let name = format!("{} outlive {}", hostile().display(), runtime.pid());
        runtime.ok(&["agent", "update", "assistant", "--provider", "command", "--command", &name]);
        Terminal::connect(&runtime, false).say("hide");
        let hidden = format!("{} hidden {}", hostile().display(), runtime.pid());
        let survivor = until("it hides", || programs(&hidden).pop());
        let warden = keeper_of(&runtime.pid().to_string());
        let reader = keeper_of(&warden);
        let all = [runtime.pid().to_string(), warden, reader];
        all.iter().for_each(|pid| signal("STOP", pid));
        all.iter().rev().for_each(|pid| signal("KILL", pid)); // who is stopped reaps no child
        runtime.kill();
        assert_eq!(programs(&hidden), [survivor], "{sandbox}: it outlives them");
        runtime.start();
        until(&format!("{sandbox}: it is ended"), || programs(&hidden).is_empty().then_some(()));
        // Also when it tried to let go of its session's lock through what it had open: there is nothing.
        assert!(!runtime.log().contains("another keeper holds"));
    }
}

/// There may be no next run: what was running is looked at when a runtime starts.
#[test]
fn what_outlives_everything_is_ended_when_the_runtime_starts() {
    let folder = hostile().parent().unwrap().display().to_string();
    let config = format!("sandbox = \"process\"\nsandbox_read = [\"{folder}\"]\n");
    let mut runtime = Runtime::new(&config).up();
    let outlives = format!("{} outlive {}", hostile().display(), runtime.pid());
    let command = format!("sh -c '{outlives} >/dev/null 2>&1 & sleep 1; echo answered'");
    runtime.ok(&["agent", "update", "assistant", "--provider", "command", "--command", &command]);
    let hidden = format!("{} hidden {}", hostile().display(), runtime.pid());
    assert_eq!(runtime.chat("hide"), "answered");
    until("it hides", || (programs(&hidden).len() == 1).then_some(()));
    let warden = keeper_of(&runtime.pid().to_string());
    let reader = keeper_of(&warden);
    let all = [runtime.pid().to_string(), warden, reader];
    all.iter().for_each(|pid| signal("STOP", pid));
    all.iter().rev().for_each(|pid| signal("KILL", pid)); // who is stopped reaps no child
    runtime.kill();
    assert_eq!(programs(&hidden).len(), 1, "it outlives them");
    runtime.start();
    until("it is ended", || programs(&hidden).is_empty().then_some(()));
}

#[test]
fn one_place_is_passed_on_and_an_idle_runner_gives_way() {
    let runtime = with_script("runners_max = 1\n", "60");
    runtime.ok(&["agent", "create", "second", "--provider", "echo"]);
    runtime.ok(&[
        "wiring",
        "create",
        "--agent",
        "second",
        "--channel",
        "terminal",
        "--chat",
        "local",
        "--pattern",
        "^second",
    ]);
    let mut client = Terminal::connect(&runtime, true);
    client.say("one");
    assert_eq!(client.reply(), "heard one");
    // The first agent hears everything; its runner is idle when the second wants one, and later busy.
    client.say("second, one");
    let mut replies = [client.reply(), client.reply()];
    replies.sort();
    assert_eq!(replies, ["heard second, one", "second, one"]);
    client.say("wait");
    until("the first is busy", || (!programs(&waits(&runtime)).is_empty()).then_some(()));
    client.say("second, two");
    let status = until("the second waits", || {
        Some(runtime.json(&["status"])).filter(|status| status["runners"]["waiting"] == 1)
    });
    assert_eq!(status["runners"]["running"], 1);
    assert!(status["runners"]["reason"].as_str().unwrap().contains("`runners_max`"), "{status}");
    let waiting = until("the list says so", || {
        let sessions = runtime.json(&["session", "list"]);
        sessions.as_array().unwrap().iter().find(|session| session["state"] == "waiting").cloned()
    });
    assert_eq!(waiting["agent"], "second");
    assert!(waiting["reason"].as_str().unwrap().contains("waits for a place"), "{waiting}");
    signal("KILL", &programs(&waits(&runtime))[0]);
    until("it gets the place", || told(&runtime).iter().any(|text| text == "second, two").then_some(()));
}

/// Places change hands between turns: a session whose messages never end lets another one in, and goes on afterwards.
#[test]
fn a_session_that_is_never_idle_lets_another_one_in() {
    const MANY: usize = 300;
    let runtime = Runtime::new("runners_max = 1\nrunner_share_seconds = 1\n").up();
    let slow = "sh -c 'p=$(cat); sleep 0.2; echo \"$p\"'";
    runtime.ok(&["agent", "update", "assistant", "--provider", "command", "--command", slow]);
    runtime.ok(&["agent", "create", "second", "--provider", "echo"]);
    let wiring = ["wiring", "create", "--agent", "second", "--channel", "terminal", "--chat", "local"];
    runtime.ok(&[&wiring[..], &["--pattern", "^second"]].concat());
    let mut busy = Terminal::connect(&runtime, false);
    for n in 0..MANY {
        busy.say(&format!("number {n}"));
    }
    until("it is busy", || told(&runtime).iter().any(|text| text.contains("number 3")).then_some(()));
    Terminal::connect(&runtime, false).say("second");
    until("the second is heard", || told(&runtime).iter().any(|text| text == "second").then_some(()));
    // Several messages may be answered in one turn.
    let count = || told(&runtime).iter().map(|text| text.matches("number ").count()).sum::<usize>();
    assert!(count() < MANY, "the first had not finished");
    assert!(runtime.log().contains("its runner gives way to another"), "{}", runtime.log());
    until("all are answered, each once", || (count() >= MANY).then_some(()));
    assert_eq!((count(), runtime.query::<i64>("SELECT MAX(tries) FROM messages_in")), (MANY, vec![0]));
}

#[test]
fn a_session_that_waits_costs_one_idle_runner() {
    let runtime = with_script("runners_max = 3\n", "60");
    for name in ["second", "third", "late"] {
        runtime.ok(&["agent", "create", name, "--provider", "echo"]);
        let pattern = if name == "late" { "^late" } else { "^go" };
        runtime.ok(&[
            "wiring",
            "create",
            "--agent",
            name,
            "--channel",
            "terminal",
            "--chat",
            "local",
            "--pattern",
            pattern,
        ]);
    }
    let mut client = Terminal::connect(&runtime, true);
    client.say("go");
    (0..3).for_each(|_| drop(client.reply()));
    until("three are idle", || (runtime.json(&["status"])["sessions"]["running"] == 3).then_some(()));
    client.say("late");
    (0..2).for_each(|_| drop(client.reply()));
    // The first agent hears it, too: it may have given way before, and then another gives way to it.
    let idle = runtime.json(&["session", "list"]);
    let ended = idle.as_array().unwrap().iter().filter(|session| session["state"] == "idle").count();
    assert_eq!(ended, 1, "one gave way, and no other: {idle}");
}

/// No message is to blame, and no record says it: the session would wait without a word.
#[test]
fn what_holds_a_session_up_is_shown() {
    let mut runtime = Runtime::new("").up();
    assert_eq!(runtime.chat("one"), "one");
    runtime.stop();
    let inbound = runtime.sessions()[0].join("inbound.db");
    std::fs::remove_file(&inbound).unwrap();
    std::fs::create_dir(&inbound).unwrap();
    runtime.start();
    Terminal::connect(&runtime, false).say("two");
    let trouble = || runtime.json(&["status"])["in_trouble"].as_array().unwrap().clone();
    let row = until("it is shown", || trouble().pop());
    assert_eq!((&row["agent"], &row["state"]), (&"assistant".into(), &"waiting".into()), "{row}");
    assert!(row["reason"].as_str().unwrap().contains("unable to open"), "{row}");
    assert!(runtime.ok(&["status"]).contains("waiting  the session's file is busy"));
    std::fs::remove_dir(&inbound).unwrap();
    until("it goes on", || told(&runtime).iter().any(|text| text == "two").then_some(()));
    until("it is shown no more", || trouble().is_empty().then_some(()));
}

/// A runner of another make never forgets what it acknowledged. The keeper has no file to sort that in.
#[test]
fn a_long_list_of_acknowledgements_is_read() {
    let mut runtime = Runtime::new("").up();
    assert_eq!(runtime.chat("hello"), "hello");
    runtime.stop();
    open(&runtime.sessions()[0].join("out/outbound.db"))
        .execute_batch(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 12000) \
             INSERT INTO processing_ack SELECT printf('%0300d', i), 'completed', '2026-01-01' FROM n",
        )
        .unwrap();
    runtime.start();
    Terminal::connect(&runtime, false).say("again");
    until("it is answered", || told(&runtime).iter().any(|text| text == "again").then_some(()));
    assert_eq!(condition(&runtime).0, "running");
}

/// The time in which a runner must take its message begins with the message, however long the runner was idle.
#[test]
fn a_message_after_a_long_pause_blames_no_runner() {
    let runtime = Runtime::new("turn_silence_seconds = 1\n").up();
    assert_eq!(runtime.chat("one"), "one");
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(runtime.chat("two"), "two");
    assert_eq!(runtime.query::<i64>("SELECT MAX(tries) FROM messages_in"), [0], "{}", runtime.log());
}

#[test]
fn while_a_runner_is_stopped_its_program_does_not_run_out_of_time() {
    let runtime = Runtime::new("sandbox = \"none\"\n").up();
    let (lasts, command) = ("sleep 2.357", "sh -c 'sleep 2.357; echo done'");
    let provider = ["--provider", "command", "--command", command, "--time-limit", "4"];
    runtime.ok(&[&["agent", "update", "assistant"], &provider[..]].concat());
    let mut terminal = Terminal::connect(&runtime, false);
    terminal.say("go");
    let program = until("the program runs", || programs(lasts).pop());
    let runner = parent_of(&parent_of(&program).unwrap()).unwrap();
    signal("STOP", &runner);
    std::thread::sleep(Duration::from_secs(5));
    signal("CONT", &runner);
    assert_eq!(terminal.reply(), "done");
}

/// What only writing meets: the list of free pages runs in a circle.
#[test]
fn damage_that_only_the_runner_meets_is_a_reason_and_a_quarantine() {
    let mut runtime = Runtime::new("").up();
    assert_eq!(runtime.chat("hello"), "hello");
    runtime.stop();
    let outbound = runtime.sessions()[0].join("out/outbound.db");
    circle_in_free_pages(&outbound);
    runtime.start();
    // An answer that needs more pages than the file has in use.
    Terminal::connect(&runtime, false).say(&"write ".repeat(10_000));
    let (_, why) =
        until("it is quarantined", || Some(condition(&runtime)).filter(|(state, _)| state == "quarantined"));
    assert!(why.contains("outbound.db") || why.to_lowercase().contains("free"), "{why}");
}

#[test]
fn damage_of_the_runtimes_own_file_is_mended_before_the_next_run() {
    let mut runtime = Runtime::new("").up();
    assert_eq!(runtime.chat("hello"), "hello");
    for (number, damage) in [
        (1, "UPDATE messages_in SET seq = 9223372036854775807"),
        // The page of the agent's destinations says that it is another kind of page.
        (2, ""),
    ] {
        runtime.stop();
        let inbound = runtime.sessions()[0].join("inbound.db");
        let db = open(&inbound);
        db.execute_batch(damage).unwrap();
        let root = "SELECT rootpage, (SELECT page_size FROM pragma_page_size) FROM sqlite_schema \
                    WHERE name = 'destinations'";
        let (page, size): (u32, u32) = db.query_row(root, [], |r| Ok((r.get(0)?, r.get(1)?))).unwrap();
        drop(db);
        if damage.is_empty() {
            let mut bytes = std::fs::read(&inbound).unwrap();
            bytes[((page - 1) * size) as usize] = 0;
            std::fs::write(&inbound, bytes).unwrap();
        }
        runtime.start();
        let mut terminal = Terminal::connect(&runtime, true);
        terminal.say(&format!("message {number}"));
        assert_eq!(terminal.answer().0, format!("message {number}"), "{damage}");
        let tries = "SELECT MAX(tries) FROM messages_in";
        let tries: i64 =
            open(&runtime.home.path().join("vestibule.db")).query_row(tries, [], |r| r.get(0)).unwrap();
        assert_eq!(tries, 1, "the first run fails, and the second one answers: {damage}");
    }
}

fn circle_in_free_pages(file: &Path) {
    let db = open(file);
    db.execute_batch(
        "CREATE TABLE waste (x BLOB); \
         INSERT INTO waste SELECT randomblob(900000) FROM (SELECT 1 UNION ALL SELECT 2); DROP TABLE waste;",
    )
    .unwrap();
    let page: u32 = db.query_row("PRAGMA page_size", [], |r| r.get(0)).unwrap();
    drop(db);
    let mut bytes = std::fs::read(file).unwrap();
    let trunk = u32::from_be_bytes(bytes[32..36].try_into().unwrap());
    let at = ((trunk - 1) * page) as usize;
    // The trunk has no leaves and is followed by itself.
    bytes[at..at + 4].copy_from_slice(&trunk.to_be_bytes());
    bytes[at + 4..at + 8].copy_from_slice(&0_u32.to_be_bytes());
    std::fs::write(file, bytes).unwrap();
}

#[test]
fn a_number_after_which_none_can_follow_is_a_reason_and_a_quarantine() {
    let mut runtime = Runtime::new("").up();
    assert_eq!(runtime.chat("hello"), "hello");
    runtime.stop();
    let db = open(&runtime.sessions()[0].join("out/outbound.db"));
    db.execute(
        "INSERT INTO messages_out (id, seq, timestamp, kind, content) VALUES ('last', ?1, '', 'chat', '{}')",
        [i64::MAX],
    )
    .unwrap();
    drop(db);
    runtime.start();
    Terminal::connect(&runtime, false).say("write");
    let (_, why) =
        until("it is quarantined", || Some(condition(&runtime)).filter(|(state, _)| state == "quarantined"));
    assert!(why.contains("none can follow"), "{why}");
}
