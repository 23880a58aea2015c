//! The real program at a real mailbox: what the runtime would write goes in, what a keeper would
//! read comes out.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use inotify::{Inotify, WatchMask};
use rusqlite::{Connection, OpenFlags};
use rustix::event::{PollFd, PollFlags, poll};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use vestibule_plugin_api::Timestamp;
use vestibule_session::{
    AckStatus, Destination, Error, InboundWriter, MessageIn, MessageOut, OutboundReader, Projection, Result,
    Routing, SessionDir,
};

/// Nothing here takes long, except on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

struct Session {
    _folder: TempDir,
    dir: SessionDir,
    change: i64,
    runner: Option<Child>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.stop();
    }
}

fn chat(name: &str, platform_id: &str) -> Destination {
    Destination {
        name: name.to_owned(),
        display_name: None,
        kind: "channel".to_owned(),
        channel_type: Some("slack".to_owned()),
        platform_id: Some(platform_id.to_owned()),
        agent_group_id: None,
        account: None,
    }
}

/// A row that Ann wrote in the chat `general`.
fn message(seq: i64, text: &str) -> MessageIn {
    MessageIn {
        id: format!("m{seq}"),
        seq,
        kind: "chat".to_owned(),
        timestamp: Timestamp(1_768_464_000_000),
        status: "pending".to_owned(),
        process_after: None,
        recurrence: None,
        series_id: None,
        tries: 0,
        trigger: true,
        platform_id: Some("slack:C1".to_owned()),
        channel_type: Some("slack".to_owned()),
        thread_id: Some("t1".to_owned()),
        content: serde_json::json!({ "text": text, "sender": "Ann" }).to_string(),
        source_session_id: None,
        on_wake: false,
        account: None,
        platform_message_id: None,
    }
}

impl Session {
    fn new(run_json: &str) -> Session {
        let folder = tempfile::tempdir().unwrap();
        let dir = SessionDir::new(folder.path());
        dir.create().unwrap();
        std::fs::write(dir.run_config(), run_json).unwrap();
        drop(InboundWriter::rebuild(&dir).unwrap());
        let mut session = Session { _folder: folder, dir, change: 0, runner: None };
        session.name_chats();
        session
    }

    fn name_chats(&mut self) {
        let names = vec![chat("general", "slack:C1"), chat("random", "slack:C2")];
        self.apply(Projection { routing: Some((names, Routing::default())), ..Default::default() });
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.root().join(name)
    }

    /// A script in the agent's folder, and settings that run it.
    fn script(text: &str, settings: &str) -> Session {
        let session = Session::new(&format!(
            r#"{{"provider":"command","command":"sh ./answer 'one word'"{settings}}}"#
        ));
        std::fs::write(session.path("agent/answer"), text).unwrap();
        session
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vestibule-runner"));
        command.arg("--workspace").arg(self.dir.root()).env("TZ", "UTC");
        command
    }

    fn start(&mut self) {
        self.runner = Some(self.command().spawn().unwrap());
    }

    fn stop(&mut self) {
        if let Some(mut runner) = self.runner.take() {
            runner.kill().unwrap();
            runner.wait().unwrap();
        }
    }

    fn refused(&self) -> Output {
        let mut runner = self.command().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let until = Instant::now() + PATIENCE;
        while runner.try_wait().unwrap().is_none() {
            if Instant::now() > until {
                runner.kill().unwrap();
                panic!("the runner started");
            }
            sleep(Duration::from_millis(5));
        }
        runner.wait_with_output().unwrap()
    }

    fn apply(&mut self, projection: Projection) {
        self.change += 1;
        let projection = Projection { change: self.change, ..projection };
        insist(|| InboundWriter::open(&self.dir)?.apply(&projection));
    }

    fn post(&mut self, messages: Vec<MessageIn>) {
        self.apply(Projection { messages, ..Default::default() });
    }

    fn replies(&self) -> Vec<MessageOut> {
        insist(|| OutboundReader::open(&self.dir, true)?.replies(0, 1000))
    }

    fn status(&self, id: &str) -> Option<AckStatus> {
        let (acks, _) = insist(|| OutboundReader::open(&self.dir, true)?.acks(i64::MAX, 1000));
        acks.iter().find(|row| row.ack.message_id == id).map(|row| row.ack.status)
    }

    /// Waits until a row is settled.
    fn settled(&self, id: &str) -> AckStatus {
        let until = Instant::now() + PATIENCE;
        loop {
            match self.status(id) {
                Some(status) if status != AckStatus::Processing => return status,
                _ => assert!(Instant::now() < until, "{id} was not answered"),
            }
            sleep(Duration::from_millis(2));
        }
    }

    /// Posts a question, waits, and returns the outcome with the last reply's text.
    fn ask(&mut self, seq: i64, text: &str) -> (AckStatus, Option<String>) {
        self.post(vec![message(seq, text)]);
        if self.runner.is_none() {
            self.start();
        }
        let status = self.settled(&format!("m{seq}"));
        (status, self.replies().last().map(text_of))
    }
}

/// The other side may hold a lock for a moment.
fn insist<T>(mut attempt: impl FnMut() -> Result<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        match attempt() {
            Ok(value) => return value,
            Err(Error::Busy(_)) if Instant::now() < until => sleep(Duration::from_millis(1)),
            Err(error) => panic!("{error}"),
        }
    }
}

fn text_of(reply: &MessageOut) -> String {
    let content: serde_json::Value = serde_json::from_str(&reply.content).unwrap();
    content["text"].as_str().unwrap().to_owned()
}

fn wait_until(what: &str, mut is: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is() {
        assert!(Instant::now() < until, "{what}");
        sleep(Duration::from_millis(5));
    }
}

const ECHO: &str = r#"{"provider":"echo"}"#;

#[test]
fn a_message_is_answered() {
    let mut session = Session::new(ECHO);
    session.start();
    session.post(vec![message(2, "hello & <welcome>")]);
    assert_eq!(session.settled("m2"), AckStatus::Completed);
    let replies = session.replies();
    let [reply] = replies.as_slice() else { panic!("{replies:?}") };
    assert_eq!(reply.seq, 3);
    assert!(reply.id.starts_with("msg-"), "{}", reply.id);
    assert_eq!(reply.in_reply_to.as_deref(), Some("m2"));
    assert_eq!(reply.channel_type.as_deref(), Some("slack"));
    assert_eq!(reply.platform_id.as_deref(), Some("slack:C1"));
    assert_eq!(reply.thread_id.as_deref(), Some("t1"));
    assert_eq!(reply.kind, "chat");
    assert_eq!(reply.content, r#"{"text":"hello & <welcome>"}"#);
    assert!(vestibule_session::look_at_heartbeat(&session.dir).is_some());
}

#[test]
fn conversations_are_answered_apart() {
    let mut session = Session::new(ECHO);
    let other_thread = MessageIn { thread_id: Some("t2".to_owned()), ..message(4, "b") };
    let other_chat = MessageIn { platform_id: Some("slack:C2".to_owned()), ..message(6, "c") };
    let context = MessageIn { trigger: false, platform_id: Some("slack:C2".to_owned()), ..message(10, "e") };
    session.post(vec![message(2, "a"), other_thread, other_chat, message(8, "d"), context]);
    session.start();
    for id in ["m2", "m4", "m6", "m8", "m10"] {
        assert_eq!(session.settled(id), AckStatus::Completed);
    }
    let replies = session.replies();
    let found: Vec<_> = replies
        .iter()
        .map(|r| {
            let (chat, thread) = (r.platform_id.as_deref().unwrap(), r.thread_id.as_deref().unwrap());
            (text_of(r), chat, thread, r.in_reply_to.as_deref().unwrap(), r.seq % 2)
        })
        .collect();
    let expected = [
        ("a", "slack:C1", "t1", "m8", 1),
        ("d", "slack:C1", "t1", "m8", 1),
        ("b", "slack:C1", "t2", "m4", 1),
        ("c", "slack:C2", "t1", "m6", 1),
        ("e", "slack:C2", "t1", "m6", 1),
    ];
    assert_eq!(found, expected.map(|(text, chat, thread, of, odd)| (text.to_owned(), chat, thread, of, odd)));
}

#[test]
fn context_waits_for_a_question_and_a_later_row_for_its_time() {
    let mut session = Session::new(ECHO);
    session.start();
    let later = Timestamp(Timestamp::now().0 + 1500);
    let due = MessageIn { process_after: Some(later), ..message(4, "due") };
    session.post(vec![MessageIn { trigger: false, ..message(2, "context") }, due]);
    sleep(Duration::from_millis(300));
    assert_eq!(session.status("m2"), None);
    assert_eq!(session.settled("m4"), AckStatus::Completed);
    assert_eq!(session.settled("m2"), AckStatus::Completed);
    assert!(Timestamp::now() >= later);
}

#[test]
fn a_row_for_a_starting_runner_is_for_no_other() {
    let mut session = Session::new(ECHO);
    let on_wake = |seq| MessageIn { on_wake: true, ..message(seq, "wake") };
    let elsewhere = MessageIn { platform_id: Some("slack:C2".to_owned()), ..on_wake(4) };
    session.post(vec![message(2, "a"), elsewhere]);
    session.start();
    assert_eq!(session.settled("m4"), AckStatus::Completed, "it came before the first poll");
    session.post(vec![on_wake(6), message(8, "b")]);
    session.settled("m8");
    assert_eq!(session.status("m6"), None);
    session.stop();
    session.start();
    assert_eq!(session.settled("m6"), AckStatus::Completed);
}

#[test]
fn a_new_runner_answers_nothing_twice_and_drops_claims() {
    let mut session = Session::new(ECHO);
    session.ask(2, "a");
    session.stop();
    let db = Connection::open_with_flags(session.dir.outbound_db_real(), OpenFlags::SQLITE_OPEN_READ_WRITE)
        .unwrap();
    db.execute("INSERT INTO processing_ack VALUES ('m4', 'processing', '2026-01-15T08:00:00.000Z')", [])
        .unwrap();
    drop(db);
    session.post(vec![message(4, "b")]);
    session.start();
    assert_eq!(session.settled("m4"), AckStatus::Completed);
    assert_eq!(session.replies().len(), 2);

    // The next runner forgets the rows that the runtime has settled.
    session.stop();
    session.post(vec![MessageIn { status: "completed".to_owned(), ..message(2, "a") }]);
    session.ask(6, "c");
    assert_eq!(session.status("m2"), None);
    assert_eq!(session.replies().len(), 3);
}

#[test]
fn a_replaced_file_is_noticed() {
    let mut session = Session::new(ECHO);
    session.ask(2, "a");
    std::fs::rename(session.dir.inbound_db(), session.path("aside")).unwrap();
    sleep(Duration::from_millis(1200)); // the runner meets the gap
    drop(InboundWriter::rebuild(&session.dir).unwrap());
    session.change = 0;
    session.name_chats();
    let (status, reply) = session.ask(4, "b");
    assert_eq!((status, reply.as_deref()), (AckStatus::Completed, Some("b")));
}

#[test]
fn a_damaged_file_is_waited_for() {
    let mut session = Session::new(ECHO);
    session.ask(2, "a");
    std::fs::write(session.path("corrupt"), [7; 8192]).unwrap();
    std::fs::rename(session.path("corrupt"), session.dir.inbound_db()).unwrap();
    sleep(Duration::from_millis(100));
    drop(InboundWriter::rebuild(&session.dir).unwrap());
    session.name_chats();
    assert_eq!(session.ask(4, "b").1.as_deref(), Some("b"));
}

/// The layouts that session files of NanoClaw 2.0.x have had, by the beginning of their names.
fn layouts(of: &str) -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/nanoclaw");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let named = files.map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), path));
    let mut found: Vec<_> = named
        .filter(|(name, _)| name.starts_with(of))
        .map(|(name, path)| (name, std::fs::read_to_string(path).unwrap()))
        .collect();
    found.sort();
    found
}

#[test]
fn foreign_folders_of_every_layout_are_served() {
    let (inbound, outbound) = (layouts("inbound-"), layouts("outbound-"));
    assert_eq!((inbound.len(), outbound.len()), (6, 4));
    for (number, (in_name, in_sql)) in inbound.iter().enumerate() {
        for (out_name, out_sql) in &outbound {
            // The first layout has no names to answer to, so its answer goes where the question came from.
            let provider = if number == 0 {
                r#""provider":"command","command":"echo hi""#
            } else {
                r#""provider":"echo""#
            };
            foreign_folder_is_served(&format!("{in_name} {out_name}"), in_sql, out_sql, provider);
        }
    }
}

fn foreign_folder_is_served(what: &str, in_sql: &str, out_sql: &str, provider: &str) {
    let folder = tempfile::tempdir().unwrap();
    let dir = SessionDir::new(folder.path());
    std::fs::create_dir(folder.path().join("agent")).unwrap();
    let settings =
        format!(r#"{{{provider},"mcpServers":{{}},"groupName":"g","agentGroupId":"ag-1","skills":"all"}}"#);
    std::fs::write(dir.foreign_run_config(), settings).unwrap();
    let db = |path: &Path, sql: &str| {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
        let db = Connection::open_with_flags(path, flags).unwrap();
        db.busy_timeout(PATIENCE).unwrap();
        db.execute_batch("PRAGMA synchronous = OFF").unwrap();
        db.execute_batch(sql).unwrap();
        db
    };
    let inbound = db(&dir.inbound_db(), in_sql);
    // The first layout has no such table.
    let _ = inbound.execute_batch(
        "INSERT INTO destinations VALUES ('general', 'General', 'channel', 'slack', 'slack:C1', NULL)",
    );
    inbound
        .execute_batch(
            "INSERT INTO messages_in (id, seq, kind, timestamp, platform_id, channel_type, thread_id, content)
               VALUES ('1.2:ag-1', 2, 'chat-sdk', '2026-01-15 08:00:00', 'slack:C1', 'slack', 't1', '{\"text\":\"hi\"}');",
        )
        .unwrap();
    drop(inbound);
    let outbound = db(&dir.outbound_db(), out_sql);
    let _ = outbound.execute_batch("INSERT INTO session_state (key, value) VALUES ('k', 'kept')");
    let _ = outbound.execute_batch("INSERT INTO session_state VALUES ('k', 'kept', '')");
    let mut session = Session { _folder: folder, dir, change: 0, runner: None };
    session.start();
    let reply = || {
        let sql = "SELECT seq || thread_id || in_reply_to || content FROM messages_out";
        outbound.query_row(sql, [], |r| r.get::<_, String>(0)).ok()
    };
    wait_until("no reply", || reply().is_some());
    assert_eq!(reply().as_deref(), Some(r#"3t11.2:ag-1{"text":"hi"}"#), "{what}");
    let one = |sql: &str| outbound.query_row(sql, [], |r| r.get::<_, String>(0)).unwrap();
    assert_eq!(one("SELECT status FROM processing_ack"), "completed", "{what}");
    // An older layout is brought up to date by its one writer.
    for (table, want) in [
        ("messages_out", "content account"),
        ("session_state", "key value updated_at"),
        ("container_state", "tool_started_at updated_at"),
    ] {
        let columns = one(&format!("SELECT group_concat(name, ' ') FROM pragma_table_info('{table}')"));
        assert!(columns.ends_with(want), "{what}: {table} has {columns}");
    }
    if !what.contains("outbound-1") {
        assert_eq!(one("SELECT value FROM session_state WHERE key = 'k'"), "kept", "{what}");
    }
    // And a keeper reads it.
    session.stop();
    let link = session.path("out");
    std::fs::create_dir(&link).unwrap();
    std::fs::rename(session.dir.outbound_db(), session.dir.outbound_db_real()).unwrap();
    let read = OutboundReader::open(&session.dir, false).unwrap().replies(0, 9).unwrap();
    assert_eq!(read.iter().map(|reply| reply.seq).collect::<Vec<_>>(), [3], "{what}");
}

/// A primary key that is a text may be missing, or as long as a file.
#[test]
fn a_reply_without_a_usable_id_is_named_by_its_number() {
    for id in ["NULL", "CAST(zeroblob(5000) AS TEXT)"] {
        let mut session = Session::script("echo hi", "");
        session.ask(2, "hello");
        session.stop();
        let outbound = session.dir.outbound_db_real();
        let db = Connection::open_with_flags(outbound, OpenFlags::SQLITE_OPEN_READ_WRITE).unwrap();
        db.execute(&format!("UPDATE messages_out SET id = {id}"), []).unwrap();
        drop(db);
        let error = OutboundReader::open(&session.dir, false).unwrap().replies(0, 9).unwrap_err();
        assert!(
            error.to_string().contains("the row 3 of messages_out has no id, or one of more than"),
            "{error}"
        );
    }
}

#[test]
fn a_program_answers() {
    let mut session =
        Session::script(r#"cat > prompt; echo "  $1, $(basename "$PWD")"; echo "  done  ""#, "");
    let (status, reply) = session.ask(2, "hello");
    assert_eq!((status, reply.as_deref()), (AckStatus::Completed, Some("one word, agent\n  done")));
    assert_eq!(session.replies()[0].thread_id.as_deref(), Some("t1"));
    let prompt = std::fs::read_to_string(session.path("agent/prompt")).unwrap();
    assert!(
        prompt.starts_with("## Sending messages\n\nYour destinations:\n\n- `general`\n- `random`\n"),
        "{prompt}"
    );
    let message = "\n\n<context timezone=\"UTC\" />\n<message id=\"2\" from=\"general\" sender=\"Ann\" \
                   time=\"Jan 15, 2026, 8:00 AM\">hello</message>";
    assert!(prompt.ends_with(message), "{prompt}");
}

#[test]
fn a_program_can_address_its_answer() {
    let mut session = Session::script(r#"echo 'so <message to="random">there</message>'"#, "");
    session.ask(2, "hello");
    let reply = &session.replies()[0];
    assert_eq!((text_of(reply).as_str(), reply.platform_id.as_deref()), ("there", Some("slack:C2")));
    assert_eq!((reply.thread_id.as_deref(), reply.in_reply_to.as_deref()), (None, Some("m2")));
}

#[test]
fn a_chat_without_a_name_is_answered_too() {
    let mut session = Session::script("echo hi", "");
    session.post(vec![MessageIn { platform_id: Some("slack:D7".to_owned()), ..message(2, "x") }]);
    session.start();
    session.settled("m2");
    assert_eq!(session.replies()[0].platform_id.as_deref(), Some("slack:D7"));
}

#[test]
fn a_silent_program_sends_nothing() {
    let mut session = Session::script("cat > /dev/null", "");
    assert_eq!(session.ask(2, "hello"), (AckStatus::Completed, None));
}

#[test]
fn programs_fail_with_a_reason() {
    let failed = |reason: &str| (AckStatus::Failed, Some(format!("Error: the program {reason}")));
    let missing = r#"{"provider":"command","command":"no-such-thing -x"}"#;
    let reason = "\"no-such-thing\" was not found: put it into the agent's folder below groups/, name its folder in `sandbox_read`, or name another one";
    let mut session = Session::new(missing);
    assert_eq!(session.ask(2, "x"), failed(reason));
    let reply = session.replies().remove(0);
    assert_eq!((reply.thread_id.as_deref(), reply.in_reply_to.as_deref()), (Some("t1"), Some("m2")));

    // script, settings, reason
    let cases = [
        ("echo lost; echo bad luck >&2; exit 3", "", "\"sh\" ended with status 3: bad luck"),
        ("exit 1", "", "\"sh\" ended with status 1"),
        ("kill -TERM $$", "", "\"sh\" was killed by signal 15"),
        ("sleep 60 & sleep 60", r#","timeLimitMs":200"#, "\"sh\" ran longer than 200 ms and was stopped"),
        ("sleep 60", r#","timeLimitMs":1000"#, "\"sh\" ran longer than 1 s and was stopped"),
        ("cat /dev/zero", "", "\"sh\" wrote more than 1 MiB and was stopped"),
    ];
    for (script, settings, reason) in cases {
        let start = Instant::now();
        assert_eq!(Session::script(script, settings).ask(2, "x"), failed(reason), "{script}");
        assert!(start.elapsed() < Duration::from_secs(15), "{script}");
    }

    let long = "seq 100000 >&2; exit 9";
    let (_, reply) = Session::script(long, "").ask(2, "x");
    let reply = reply.unwrap();
    assert!(reply.ends_with("\n99999\n100000") && reply.len() < 2200, "{reply}");
}

#[test]
fn large_prompts_and_answers_pass_and_need_not_be_read() {
    let large = "x".repeat(700_000);
    let mut session = Session::script("tail -n 1", "");
    let (status, reply) = session.ask(2, &large);
    assert_eq!(status, AckStatus::Completed);
    assert!(reply.unwrap().contains(&large));
    let mut session = Session::script("echo fine", "");
    assert_eq!(session.ask(2, &large).1.as_deref(), Some("fine"));
}

#[test]
fn what_a_program_leaves_behind_does_not_hold_the_turn() {
    let mut session = Session::script("sleep 60 & echo $! > left; echo done", "");
    let start = Instant::now();
    assert_eq!(session.ask(2, "x").1.as_deref(), Some("done"));
    assert!(start.elapsed() < Duration::from_secs(15));
    let left = std::fs::read_to_string(session.path("agent/left")).unwrap();
    let state = Path::new("/proc").join(left.trim()).join("stat");
    let is_gone = || std::fs::read_to_string(&state).map_or(true, |stat| stat.contains(") Z "));
    wait_until("what was left behind still runs", is_gone);
}

#[test]
fn temporary_files_are_gone_when_a_runner_starts_and_after_each_turn_of_a_program() {
    let mut session =
        Session::script("ls ../out/tmp | wc -l; mkdir ../out/tmp/a; echo x >../out/tmp/a/b", "");
    let temporary = session.dir.temporary();
    std::fs::write(temporary.join("of an earlier run"), "x").unwrap();
    let is_empty = || std::fs::read_dir(&temporary).unwrap().next().is_none();
    for seq in [2, 4] {
        assert_eq!(session.ask(seq, "x").1.as_deref(), Some("0"));
        wait_until("what the turn left is gone", is_empty);
    }
}

#[test]
fn a_program_sees_only_what_is_named() {
    for (settings, seen) in [("", "-, -"), (r#","env":["NAMED","ABSENT"]"#, "-, yes")] {
        let mut session = Session::script("echo \"${SECRET:--}, ${NAMED:--}\"; env > vars", settings);
        session.runner = Some(session.command().env("SECRET", "no").env("NAMED", "yes").spawn().unwrap());
        assert_eq!(session.ask(2, "x").1.as_deref(), Some(seen));
        let vars = std::fs::read_to_string(session.path("agent/vars")).unwrap();
        // The shell adds some of its own.
        let known =
            ["PATH", "HOME", "TZ", "LANG", "NAMED", "VESTIBULE_REPLY_FILES", "PWD", "OLDPWD", "SHLVL", "_"];
        for line in vars.lines() {
            assert!(known.contains(&line.split('=').next().unwrap()), "{line}");
        }
    }
}

#[test]
fn bad_settings_are_refused_in_one_sentence() {
    let cases = [
        (
            "{",
            "run.json: not valid settings: EOF while parsing an object at line 1 column 1; correct the file and start again",
        ),
        (
            r#"{"provider":"claude"}"#,
            "run.json: the provider \"claude\" is not known; choose one of: command, echo",
        ),
        (
            r#"{"provider":"command","command":"a 'b"}"#,
            "run.json: the provider \"command\" needs \"command\": a program with its arguments, quoted as in a shell",
        ),
    ];
    for (settings, reason) in cases {
        let session = Session::new(settings);
        let output = session.refused();
        assert_eq!(output.status.code(), Some(1));
        let folder = format!("{}/", session.dir.root().display());
        let said = String::from_utf8(output.stderr).unwrap().replace(&folder, "");
        assert_eq!(said, format!("vestibule-runner: {reason}\n"));
    }
}

#[test]
fn a_folder_without_the_runners_file_is_refused() {
    let session = Session::new(ECHO);
    std::fs::remove_file(session.dir.outbound_db_real()).unwrap();
    let output = session.refused();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("the session's file is missing; check that --workspace"), "{said}");
}

/// Measures, from the projection's begin, until the reply can be read: once by a reader that wakes as
/// a keeper does, when the runner's journal goes, and once by one that looks without pause, which now
/// and then holds the lock that the runner needs.
///
/// `cargo test --release -p vestibule-runner --test mailbox -- --ignored --nocapture`
#[test]
#[ignore = "measures, and proves nothing"]
fn round_trip() {
    let mut session = Session::new(ECHO);
    session.start();
    session.ask(2, "warm");
    let out = session.dir.out();
    let mut bell = Inotify::init().unwrap();
    bell.watches().add(&out, WatchMask::DELETE).unwrap();
    let awake = |bell: &mut Inotify| {
        poll(&mut [PollFd::new(&*bell, PollFlags::IN)], None).unwrap();
        bell.read_events(&mut [0; 4096]).unwrap().for_each(drop);
    };
    measure(&mut session, "woken", 4, || awake(&mut bell));
    measure(&mut session, "looking without pause", 1000, || {});
}

fn measure(session: &mut Session, name: &str, first: i64, mut wait: impl FnMut()) {
    let db = Connection::open_with_flags(session.dir.outbound_db_real(), OpenFlags::SQLITE_OPEN_READ_ONLY)
        .unwrap();
    db.busy_timeout(Duration::ZERO).unwrap(); // SQLite's naps would be measured, not the runner
    let mut newest = db.prepare("SELECT MAX(seq) FROM messages_out").unwrap();
    let mut times = Vec::new();
    for seq in (first..).step_by(2).take(200) {
        // Not at once: the runner has gone back to sleep.
        sleep(Duration::from_millis(10));
        session.change += 1;
        let messages = vec![message(seq, "hello")];
        let projection = Projection { change: session.change, messages, ..Default::default() };
        let start = Instant::now();
        insist(|| InboundWriter::open(&session.dir)?.apply(&projection));
        loop {
            match newest.query_row([], |r| r.get::<_, i64>(0)) {
                Ok(newest) if newest >= seq => break,
                Ok(_) => wait(),
                Err(_) => sleep(Duration::from_micros(20)), // the runner writes
            }
        }
        times.push(start.elapsed());
    }
    times.sort();
    println!("{name}: median {:?}, 95 % {:?}, worst {:?}", times[100], times[190], times[199]);
}
