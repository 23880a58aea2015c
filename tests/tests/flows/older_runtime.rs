//! Today's plugins in an early runtime of each level of the vocabulary: `tests/fixtures/runtimes`. What they
//! ask for that it does not know is answered `unsupported`, and they do without.

use crate::agents::{ASKS, count, drop_file, introduce, listed, one_conversation};
use crate::bot_api::BotApi;
use crate::support::{PATIENCE, Runtime, Terminal, binary, free_port, until};
use crate::telegram;
use serde_json::json;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Every level that has a runtime.
const LEVELS: [&str; 1] = ["0.1"];

/// The runtime of a level, unpacked.
fn runtime(level: &'static str) -> Option<&'static Path> {
    static UNPACKED: [OnceLock<PathBuf>; LEVELS.len()] = [const { OnceLock::new() }; LEVELS.len()];
    if !cfg!(target_arch = "x86_64") {
        eprintln!("SKIPPED: the older runtimes are built for x86_64");
        return None;
    }
    let number = LEVELS.iter().position(|one| *one == level).unwrap();
    Some(UNPACKED[number].get_or_init(|| unpack(level)))
}

/// By a process of its own: a file that this one had open for writing could not be run while any of its
/// children still has it. It is put into its place whole, as another process of these tests may run it.
fn unpack(level: &str) -> PathBuf {
    let packed =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/runtimes").join(level).join("vestibule.gz");
    let folder = binary().parent().unwrap().join("older-runtimes");
    fs::create_dir_all(&folder).unwrap();
    let program = folder.join(format!("vestibule-{level}"));
    let script =
        "new=$(mktemp -p \"$3\") && gzip -dc \"$1\" > \"$new\" && chmod 755 \"$new\" && mv \"$new\" \"$2\"";
    let unpacked = Command::new("sh").args(["-c", script, "sh"]).args([&packed, &program, &folder]).status();
    assert!(unpacked.unwrap().success());
    program
}

/// A line and a file go in, and come back.
fn round_trip(at: SocketAddr) {
    let stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut caller = BufReader::new(stream);
    caller.get_mut().write_all(b"file 5 a.txt\nbytesdo you know me?\n").unwrap();
    let (mut head, mut bytes, mut line) = (String::new(), [0; 5], String::new());
    caller.read_line(&mut head).unwrap();
    caller.read_exact(&mut bytes).unwrap();
    caller.read_line(&mut line).unwrap();
    assert_eq!((head.as_str(), &bytes), ("file 5 a.txt\n", b"bytes"));
    assert!(line.starts_with("do you know me?"), "{line}");
}

#[test]
fn a_channel_of_today_carries_lines_and_files_in_both_tiers() {
    for (level, tier) in LEVELS.iter().flat_map(|level| [(level, "process"), (level, "in-process")]) {
        let Some(program) = runtime(level) else { return };
        let at = free_port();
        let config = format!("[plugins.echo]\ntier = \"{tier}\"\n[channels.echo.main]\nlisten = \"{at}\"\n");
        let runtime = Runtime::new(&config).program(program).up();
        let wiring = ["--agent", "assistant", "--channel", "echo", "--chat", "lines", "--pattern", "."];
        runtime.ok(&[&["wiring", "create"][..], &wiring].concat());
        drop_file(&runtime, "vestibule-echo-channel");
        runtime.wait_live("echo");
        round_trip(at);
        assert_eq!(listed(&runtime, "echo").unwrap()["tier"], tier);
    }
}

#[test]
fn a_channel_of_today_does_without_what_it_is_not_answered() {
    for level in LEVELS {
        let Some(program) = runtime(level) else { return };
        let api = BotApi::start();
        api.store().files.insert("photos/1.jpg".into(), b"the picture".to_vec());
        let runtime = telegram::runtime_of_file(&api).program(program).up();
        runtime.wait_live("telegram");
        assert_eq!(listed(&runtime, "telegram").unwrap()["tier"], "process");
        telegram::wire(&runtime, "telegram:-1001", &[]);
        // It tells the chat's title, and asks whether anybody is wired before it fetches the file.
        let group = json!({ "id": -1001, "type": "supergroup", "title": "Friends" });
        let mention = json!([{ "type": "mention", "offset": 0, "length": 13 }]);
        let photo = json!({ "caption": "@VestibuleBot look", "caption_entities": mention,
            "photo": [{ "file_id": "photos/1.jpg", "file_size": 11 }] });
        api.push("message", group, photo);
        until("the file is back", || (api.store().sent.len() == 1).then_some(()));
        assert_eq!(api.store().sent[0].file(), b"the picture");
        let titled: Vec<i64> =
            runtime.query("SELECT COUNT(*) FROM pragma_table_info('messaging_groups') WHERE name = 'title'");
        assert_eq!(titled, [0], "this runtime knows no titles");
    }
}

#[test]
fn modules_of_today_forward_and_screen() {
    for level in LEVELS {
        let Some(program) = runtime(level) else { return };
        let runtime = Runtime::new("[plugins.agent-to-agent]\nbuilt_in = false\n").program(program).up();
        drop_file(&runtime, "vestibule-agent-to-agent");
        until("the module is live", || runtime.log().contains("module is live").then_some(()));
        introduce(&runtime, ASKS);
        assert_eq!(runtime.chat("go"), "back: 1");
        one_conversation(&runtime);

        // This one also listens at stations that this runtime does not have.
        let runtime = Runtime::new("[plugins.agent-to-agent]\nbuilt_in = false\n").program(program).up();
        drop_file(&runtime, "vestibule-guard");
        until("the module is live", || runtime.log().contains("module is live").then_some(()));
        assert_eq!(runtime.chat("in-old and out-old"), "new and new");
        let mut terminal = Terminal::connect(&runtime, false);
        terminal.write(&json!({ "text": "in-rude" }));
        assert!(terminal.read()["error"].as_str().unwrap().contains("refused it: rude"));
        assert_eq!(count(&runtime, "deliveries WHERE state = 'failed'"), 0);
    }
}
