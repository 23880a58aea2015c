//! What the runtime asks a channel about its platform, what a channel declares of it, and a folder of its own.

use crate::changes::{Platform, agent_writes, wired_with};
use crate::kit::conform;
use crate::support::{Runtime, until};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

fn wired() -> (Runtime, Platform) {
    wired_with("ask", "")
}

fn refused(runtime: &Runtime, args: &[&str]) -> String {
    let output = runtime.run(args);
    assert!(!output.status.success(), "{args:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The wiring of a chat, as `wiring list` shows it.
fn wiring(runtime: &Runtime, chat: &str) -> Value {
    let all = runtime.json(&["wiring", "list"]);
    let found = all.as_array().expect("a list").iter().find(|one| one["chat"] == chat).cloned();
    found.unwrap_or_else(|| panic!("no wiring of {chat}: {all}"))
}

#[test]
fn row_m09_a_channel_knows_which_chat_a_person_means() {
    let (runtime, _platform) = wired();
    runtime.wait_live("ask");
    let create = ["wiring", "create", "--agent", "assistant", "--channel", "ask"];
    runtime.ok(&[&create[..], &["--chat", "#Hall"]].concat());
    let hall = wiring(&runtime, "hall");
    assert_eq!(
        (&hall["engage"], &hall["session_mode"], &hall["ignored"]),
        (&json!("mention"), &json!("per-thread"), &json!("accumulate")),
        "as the channel says of groups"
    );
    runtime.ok(&[&create[..], &["--person", "ada", "--session-mode", "agent-shared"]].concat());
    let direct = wiring(&runtime, "dm-ada");
    assert_eq!(
        (&direct["engage"], &direct["pattern"], &direct["session_mode"]),
        (&json!("pattern"), &json!("."), &json!("agent-shared")),
        "as the channel says of direct chats, and as the operator does"
    );
    // A person is one chat however often it is opened, and a handle is the platform's own, byte for byte.
    for person in ["eve", "eve", "team:u7"] {
        runtime.ok(&["messaging-group", "create", "--channel", "ask", "--person", person]);
    }
    let said = "SELECT platform_id || ' ' || COALESCE(title, '-') || ' ' || COALESCE(is_group, '-') \
                FROM messaging_groups WHERE channel_type = 'ask' AND platform_id != 'room' ORDER BY 1";
    assert_eq!(
        runtime.query::<String>(said),
        ["dm-ada Person ada 0", "dm-eve Person eve 0", "dm-team:u7 Person team:u7 0", "hall Room hall 1"]
    );
    for (args, why) in [
        (["--chat", "nowhere"], "`nowhere` was not found: there is no room of this name"),
        (["--person", "nobody"], "`nobody` was not found: nobody has this handle"),
    ] {
        let told = refused(&runtime, &[&create[..], &args].concat());
        assert!(told.contains(why), "{told}");
    }
    let told = refused(&runtime, &["messaging-group", "create", "--channel", "terminal", "--person", "x"]);
    assert!(told.contains("the channel `terminal` does not list `direct_chats`"), "{told}");
}

#[test]
fn an_operator_reads_what_was_said() {
    let (runtime, mut platform) = wired();
    for text in ["-one", "-two\u{1b}[2J", "-three"] {
        platform.writes(text);
    }
    let page = runtime.ok(&["messaging-group", "history", "room", "--limit", "2"]);
    assert!(page.contains("somebody: -one\n") && page.contains("-two"), "{page}");
    assert!(!page.contains('\u{1b}') && !page.contains("three"), "{page}");
    let after = page
        .lines()
        .last()
        .and_then(|line| line.rsplit(' ').next())
        .expect("a cursor")
        .trim_matches('`')
        .to_owned();
    let rest = runtime.json(&["messaging-group", "history", "room", "--after", &after]);
    assert_eq!((&rest["messages"][0]["text"], &rest["next"]), (&json!("-three"), &Value::Null), "{rest}");
    assert!(refused(&runtime, &["messaging-group", "history", "local"]).contains("does not list `history`"));
}

#[test]
fn row_i17_a_message_is_shown_as_read_and_its_thread_is_subscribed_to_once() {
    let (_runtime, mut platform) = wired();
    let more = json!({ "thread_id": "t-1", "is_group": true });
    let id = platform.happens(json!({ "text": "hello", "more": more }));
    assert_eq!(platform.said("subscribed")["subscribed"]["thread_id"], "t-1");
    let read = platform.said("read");
    assert_eq!(
        (&read["read"]["message_id"], &read["read"]["address"]["thread_id"]),
        (&json!(id), &json!("t-1"))
    );
    assert!(platform.posted().contains("hello"));
    let id = platform.happens(json!({ "text": "again", "more": more }));
    assert_eq!(platform.said("read")["read"]["message_id"], id);
    assert!(platform.posted().contains("again"));
    assert_eq!(platform.seen("subscribed"), 0, "it is told once");
}

#[test]
fn a_thread_of_a_direct_chat_belongs_to_the_chat_where_the_channel_says_so() {
    let (runtime, mut platform) = wired();
    for (thread, is_group) in [("t-1", false), ("t-2", true)] {
        platform.happens(json!({ "text": "hello", "more": { "thread_id": thread, "is_group": is_group } }));
        platform.posted();
    }
    assert_eq!(platform.seen("subscribed"), 1);
    let threads = "SELECT COALESCE(thread_id, '-') FROM messages_in ORDER BY 1";
    assert_eq!(runtime.query::<String>(threads), ["-", "t-2"]);
}

/// Between the commit that opens a thread's session and the channel's being told of it.
pub const CRASH_POINT: &str = "inbound: a session of a thread is open, its channel was not told";

#[test]
fn a_thread_whose_channel_a_crash_left_untold_is_told_of_at_the_next_start() {
    if !cfg!(debug_assertions) {
        eprintln!("SKIPPED: a release build has no crash points; run the tests without --release");
        return;
    }
    let (mut runtime, mut platform) = wired();
    runtime.kill();
    runtime.launch(&[("VESTIBULE_CRASH_POINT", &format!("{CRASH_POINT}#1"))]);
    platform.reconnects();
    let more = json!({ "thread_id": "t-1", "is_group": true });
    platform.sends(json!({ "text": "hello", "more": more }));
    until("it crashes", || runtime.ended());
    assert_eq!(platform.seen("subscribed"), 0);
    runtime.end();
    let mut runtime = runtime.up();
    platform.reconnects();
    assert_eq!(platform.said("subscribed")["subscribed"]["thread_id"], "t-1");
    let left = "SELECT COUNT(*) FROM sessions WHERE unsubscribed";
    until("that is on record", || (runtime.query::<i64>(left) == [0]).then_some(()));
    runtime.kill();
    let _runtime = runtime.up();
    platform.reconnects();
    platform.happens(json!({ "text": "again", "more": more }));
    assert!(platform.posted().contains("hello"));
    assert_eq!(platform.seen("subscribed"), 0, "what was told is not told again");
}

#[test]
fn a_file_by_reference_is_loaded_once_an_agent_hears_the_message() {
    let (runtime, mut platform) = wired();
    let file = |name: &str, reference: &str| json!({ "name": name, "reference": reference });
    platform.happens(
        json!({ "chat": "elsewhere", "text": "hi", "more": { "attachments": [file("a.txt", "5")] } }),
    );
    assert_eq!(platform.seen("fetched"), 0, "no agent hears it");
    let large = json!({ "name": "l.bin", "reference": "9", "size_bytes": 999_999_999_999_u64 });
    let files = json!([file("a.txt", "5"), file("b.txt", "gone"), large]);
    platform.happens(json!({ "text": "see", "more": { "attachments": files } }));
    assert_eq!(platform.said("fetched")["fetched"], "5");
    assert_eq!(platform.said("fetched")["fetched"], "gone");
    platform.posted();
    assert_eq!(platform.seen("fetched"), 0, "what is too large is not asked for");
    let told = "SELECT name || ' ' || (blob IS NOT NULL) || ' ' || COALESCE(left_out, '-') \
                FROM files WHERE direction = 'in' ORDER BY position";
    let told = runtime.query::<String>(told);
    assert_eq!(told[0], "a.txt 1 -");
    assert!(told[1].starts_with("b.txt 0 the platform keeps it no longer"), "{told:?}");
    assert!(told[2].contains("larger than `attachments_mb` allows"), "{told:?}");
    // What comes later is not lost: the message is taken once its file is there.
    let event = json!({ "text": "wait", "more": { "attachments": [file("c.txt", "later")] } });
    platform.sends(event.clone());
    platform.reconnects();
    platform.sends(event);
    platform.said("taken");
    assert!(platform.posted().contains("wait"));
    // What never comes holds nothing up for ever: the fifth time the message goes on without it.
    let event = json!({ "text": "never mind", "more": { "event_id": "never", "attachments": [file("d.txt", "never")] } });
    for _ in 0..4 {
        platform.sends(event.clone());
        platform.reconnects();
    }
    platform.sends(event);
    platform.said("taken");
    assert!(platform.posted().contains("never mind"));
    let told = "SELECT left_out FROM files WHERE name = 'd.txt'";
    assert_eq!(runtime.query::<String>(told), ["it could not be loaded: not this time"]);
}

#[test]
fn what_is_beyond_a_limit_goes_out_in_its_substitute() {
    let (runtime, mut platform) = wired();
    platform.writes("hello");
    platform.posted();
    let ask = |id: &str, options: &[&str]| json!({ "type": "ask_question", "questionId": id, "title": "T", "question": "Which?", "options": options });
    agent_writes(&runtime, "ask", 1, &ask("tool-1", &["a", "b"]));
    assert_eq!(platform.said("post")["content"]["kind"], "question");
    agent_writes(&runtime, "ask", 2, &ask("tool-2", &["a", "b", "c"]));
    let text = platform.posted();
    assert!(text.contains("Which?") && text.contains("3. c"), "{text}");
    let first =
        runtime.query::<String>("SELECT platform_message_id FROM deliveries ORDER BY seq LIMIT 1").remove(0);
    let edit = |text: &str| json!({ "operation": "edit", "messageId": first, "text": text });
    let begin = Instant::now();
    for (number, text) in [(4, "short"), (6, "shorter"), (8, "short again")] {
        agent_writes(&runtime, "ask", number, &edit(text));
        assert_eq!(platform.said("post")["content"]["kind"], "edit");
    }
    assert!(
        begin.elapsed() >= Duration::from_secs(2),
        "one edit a second, so that the channel need not wait"
    );
    agent_writes(&runtime, "ask", 10, &edit("more than twenty characters"));
    assert_eq!(platform.posted(), "more than twenty characters");
    // One of the two questions has no buttons, so a number is its answer.
    platform.writes("2");
    let answered = "SELECT COUNT(*) FROM questions WHERE answer IS NOT NULL";
    until("it is the answer", || runtime.query::<i64>(answered).pop().filter(|count| *count == 1));
}

#[test]
fn a_lost_account_is_started_again_and_finds_its_folder() {
    let (runtime, mut platform) = wired();
    runtime.wait_live("ask");
    assert_eq!(runtime.channel("ask")["handles"], json!(["start-1"]));
    platform.happens(json!({ "lost": "the login has\nended" }));
    platform.reconnects();
    until("it lives again", || (runtime.channel("ask")["handles"] == json!(["start-2"])).then_some(()));
    assert!(runtime.log().contains("channel was lost; it is started again"), "{}", runtime.log());
    assert!(runtime.log().contains("the login has ended"), "{}", runtime.log());
    runtime.wait_live("ask");
    platform.writes("still there?");
    assert!(platform.posted().contains("still there?"));
    // The folder is the plugin's alone, and all that it can write to.
    let outside = runtime.home.path().join("vestibule.toml");
    platform.happens(json!({ "reach": outside }));
    assert_eq!(platform.said("reached")["reached"], json!([false, false, false]));
    let folder = runtime.home.path().join("plugin-folders/ask/main/deep/starts");
    assert_eq!(std::fs::read_to_string(folder).expect("it is kept"), "2");
    // A backup says what it holds, and what it does not.
    platform.happens(json!({ "secret": "xoxe-very-secret" }));
    let told = runtime.ok(&["backup", &runtime.home.path().with_extension("backup").display().to_string()]);
    let _ = std::fs::remove_dir_all(runtime.home.path().with_extension("backup"));
    assert!(told.contains("it holds a secret of a channel"), "{told}");
    assert!(told.lines().any(|line| line.contains("not in it") && line.contains("plugin-folders")), "{told}");
    assert!(!runtime.log().contains("xoxe-very-secret"));
}

#[test]
fn an_account_that_is_lost_while_it_starts_is_started_again() {
    let (runtime, mut platform) = wired_with("ask", "lost_at_start = true\n");
    until("it lives", || (runtime.channel("ask")["handles"] == json!(["start-2"])).then_some(()));
    platform.is_at_start(2);
    platform.writes("there?");
    assert!(platform.posted().contains("there?"));
}

#[test]
fn a_folder_that_holds_too_much_ends_the_plugins_process() {
    let (runtime, mut platform) = wired_with("ask", "[plugins.ask]\nfolder_mb = 1\n");
    platform.sends(json!({ "fill": 8 << 20 }));
    let told = until("its process is ended", || {
        Some(runtime.log()).filter(|log| log.contains("the plugin's process ended"))
    });
    assert!(told.contains("holds more than folder_mb = 1 allows: remove files, or raise that"), "{told}");
}

#[test]
fn an_account_is_linked_by_a_device() {
    let (runtime, _platform) = wired();
    runtime.wait_live("ask");
    let begin = std::time::Instant::now();
    let told = runtime.ok(&["channel", "link", "ask"]);
    assert!(begin.elapsed() > Duration::from_secs(2), "it asks once a second");
    let at = |words: &str| told.find(words).unwrap_or_else(|| panic!("no {words}: {told}"));
    assert!(at("prepares a code") < at("█") && at("█") < at("Type ABCD-1234"), "{told}");
    assert!(at("Type ABCD-1234") < at("[channels.ask.main] is linked as me."), "{told}");
    assert!(refused(&runtime, &["channel", "link", "terminal"]).contains("does not list `linking`"));
}

#[test]
fn conform_asks_for_what_a_channel_lists() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = std::io::Write::write_all(&mut stream, b"ok\n");
        }
    });
    for tier in ["process", "in-process"] {
        let set = format!("platform={at}");
        let args = ["--set", &set, "--tier", tier, "--only", "asks"];
        let report = conform("vestibule-ask-channel", &args);
        assert_eq!(report.of("ok"), ["asks"]);
        let words = report.words("asks");
        for told in ["reads: done", "people: done", "history: done", "linking: done", "fetches: done"] {
            assert!(words.contains(told), "{words}");
        }
    }
}
