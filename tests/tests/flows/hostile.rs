//! What a keeper must stand: whatever an agent makes of its files, at worst this keeper dies, and it
//! says or shows so within its deadline. Nothing outside `out/` changes.

use crate::support::{self, Runtime, Terminal, hostile, keeper_of, parent_of, planted_journal, until};
use crate::traffic::in_full;
use rusqlite::Connection;
use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use vestibule_session::SessionDir;

/// How a keeper without a runner ended, in a word, and how much it handed over.
fn keep(dir: &SessionDir) -> (String, usize) {
    let kept = support::keep(dir);
    assert_eq!(kept.broke_rule, None);
    (kept.word, kept.replies.len())
}

/// A session with three replies in its agent's file, and a file beside it that must not change.
struct Victim {
    home: tempfile::TempDir,
    dir: SessionDir,
}

impl Victim {
    fn new() -> Victim {
        let home = tempfile::tempdir().unwrap();
        let dir = SessionDir::new(home.path().join("session"));
        dir.create().unwrap();
        fs::write(home.path().join("treasure"), "untouched").unwrap();
        let victim = Victim { home, dir };
        for seq in [1, 3, 5] {
            victim.sql(&format!(
                "INSERT INTO messages_out (id, seq, timestamp, kind, content) VALUES ('m{seq}', {seq}, '', 'chat', '{{}}')"
            ));
        }
        victim
    }

    fn db(&self) -> std::path::PathBuf {
        self.dir.outbound_db_real()
    }

    fn open(&self) -> Connection {
        Connection::open_with_flags(self.db(), rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE).unwrap()
    }

    fn sql(&self, sql: &str) {
        self.open().execute_batch(sql).unwrap();
    }

    fn bytes(&self, at: u64, bytes: &[u8]) {
        let mut file = File::options().write(true).open(self.db()).unwrap();
        file.seek(SeekFrom::Start(at)).unwrap();
        file.write_all(bytes).unwrap();
    }

    fn truncate(&self, len: u64) {
        File::options().write(true).open(self.db()).unwrap().set_len(len).unwrap();
    }

    fn replace(&self, make: impl FnOnce(&Path)) {
        fs::remove_file(self.db()).unwrap();
        make(&self.db());
    }

    fn beside(&self, name: &str) -> std::path::PathBuf {
        self.dir.out().join(name)
    }
}

fn fifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

type Attack = (&'static str, fn(&Victim));

/// What must end in quarantine, or in the death of this keeper.
const CORRUPT: &[Attack] = &[
    ("0 bytes", |v| v.truncate(0)),
    ("text", |v| fs::write(v.db(), "SELECT 1;".repeat(100)).unwrap()),
    ("cut in the header", |v| v.truncate(50)),
    ("cut after one page", |v| v.truncate(4096)),
    ("wrong magic", |v| v.bytes(0, b"SQLite format 2\0")),
    ("a page size of 3", |v| v.bytes(16, &[0, 3])),
    ("page 2 is noise", |v| v.bytes(4096, &[0xa5; 4096])),
    ("the schema is noise", |v| v.bytes(100, &[0xff; 3000])),
    ("all noise after the header", |v| v.bytes(100, &[0x5a; 40_000])),
    ("a symbolic link", |v| v.replace(|at| symlink(v.home.path().join("treasure"), at).unwrap())),
    ("a dangling link", |v| v.replace(|at| symlink("/nonexistent", at).unwrap())),
    ("a folder", |v| v.replace(|at| fs::create_dir(at).unwrap())),
    ("nothing", |v| fs::remove_file(v.db()).unwrap()),
    ("a FIFO", |v| v.replace(fifo)),
    ("a link to a device", |v| v.replace(|at| symlink("/dev/zero", at).unwrap())),
    ("a view for a table", |v| {
        v.sql(
            "DROP TABLE messages_out; CREATE VIEW messages_out AS SELECT 'x' AS id, 7 AS seq, '' AS content",
        );
    }),
    ("an endless view", |v| {
        v.sql(
            "DROP TABLE messages_out; CREATE VIEW messages_out AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL \
             SELECT i + 1 FROM n) SELECT i AS seq FROM n",
        );
    }),
    ("a virtual table", |v| {
        v.sql("DROP TABLE messages_out");
        v.sql(
            "PRAGMA writable_schema = ON; INSERT INTO sqlite_schema VALUES ('table', 'messages_out', 'messages_out', 0, \
             'CREATE VIRTUAL TABLE messages_out USING csv(filename=\"/etc/passwd\")')",
        );
    }),
    ("no table", |v| v.sql("DROP TABLE messages_out")),
    ("other columns", |v| v.sql("DROP TABLE messages_out; CREATE TABLE messages_out (x)")),
    ("NULL where there must be words", |v| {
        v.sql("DROP TABLE messages_out; CREATE TABLE messages_out AS SELECT NULL AS id, 9 AS seq, NULL AS in_reply_to, \
               NULL AS timestamp, NULL AS deliver_after, NULL AS kind, NULL AS platform_id, NULL AS channel_type, \
               NULL AS thread_id, NULL AS content");
    }),
    ("words where there must be numbers", |v| v.sql("UPDATE messages_out SET seq = 'many' WHERE seq = 5")),
    ("bytes where there must be words", |v| {
        v.sql("UPDATE messages_out SET content = x'ff00ff' WHERE seq = 5")
    }),
    ("text that is no UTF-8", |v| {
        v.sql("UPDATE messages_out SET content = CAST(x'ff00ff' AS TEXT) WHERE seq = 5")
    }),
    ("a generated column for words", |v| {
        v.sql(
            "DROP TABLE messages_out; CREATE TABLE messages_out (id TEXT, seq INTEGER, in_reply_to, timestamp TEXT, \
             deliver_after, kind TEXT, platform_id, channel_type, thread_id, \
             content AS (hex(zeroblob(5000000))))",
        );
        v.sql("INSERT INTO messages_out (id, seq, timestamp, kind) VALUES ('x', 7, '', 'chat')");
    }),
    ("an index that leads in circles", |v| {
        v.sql(
            "DROP TABLE messages_out; CREATE TABLE messages_out (id TEXT, seq INTEGER, in_reply_to, timestamp TEXT, \
             deliver_after, kind TEXT, platform_id, channel_type, thread_id, content TEXT); \
             CREATE INDEX i ON messages_out (seq DESC); \
             INSERT INTO messages_out (id, seq, timestamp, kind, content) VALUES \
             ('a', 1, '', 'chat', '{}'), ('b', 3, '', 'chat', '{}'), ('c', 5, '', 'chat', '{}')",
        );
        v.sql(
            "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = 'CREATE INDEX i ON messages_out (seq)' \
             WHERE name = 'i'",
        );
    }),
    ("a name of 3 MB", |v| {
        v.sql("PRAGMA writable_schema = ON; INSERT INTO sqlite_schema VALUES ('table', 'x' || char(27) || hex(zeroblob(1500000)), 'x', 0, 'no')")
    }),
    ("a folder as journal", |v| fs::create_dir(v.beside("outbound.db-journal")).unwrap()),
    ("a FIFO as journal", |v| fifo(&v.beside("outbound.db-journal"))),
    ("a planted journal", |v| {
        planted_journal(&v.beside("outbound.db-journal"), &v.home.path().join("treasure"))
    }),
    ("WAL in the header, a folder as WAL", |v| {
        v.bytes(18, &[2, 2]);
        fs::create_dir(v.beside("outbound.db-wal")).unwrap();
    }),
];

type Harmless = (&'static str, fn(&Victim), usize);

/// What a keeper reads through, and how many rows arrive.
const READ: &[Harmless] = &[
    ("as it should be", |_| {}, 3),
    ("a hard link to it", |v| fs::hard_link(v.db(), v.beside("twin")).unwrap(), 3),
    (
        "triggers",
        |v| v.sql("CREATE TRIGGER t AFTER INSERT ON messages_out BEGIN DELETE FROM messages_out; END"),
        3,
    ),
    ("more tables", |v| v.sql("CREATE TABLE more (x); CREATE VIEW v AS SELECT * FROM nowhere"), 3),
    ("an id of 2 kB", |v| v.sql("UPDATE messages_out SET thread_id = hex(zeroblob(1000)) WHERE seq = 5"), 3),
    ("a value of 8 MB", |v| v.sql("UPDATE messages_out SET content = zeroblob(8000000) WHERE seq = 5"), 3),
    ("an unknown status", |v| v.sql("INSERT INTO processing_ack VALUES ('x', 'dancing', '')"), 3),
    (
        "1,000 acknowledgements",
        |v| {
            v.sql(
            "INSERT INTO processing_ack SELECT value, 'completed', '' FROM (WITH RECURSIVE n(value) AS (SELECT 1 UNION \
             ALL SELECT value + 1 FROM n LIMIT 1000) SELECT value FROM n)",
        );
        },
        3,
    ),
    (
        "1,000 replies",
        |v| {
            v.sql(
            "INSERT INTO messages_out (id, seq, timestamp, kind, content) SELECT 'n' || value, value * 2 + 7, '', 'chat', \
             '{}' FROM (WITH RECURSIVE n(value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM n LIMIT 1000) SELECT \
             value FROM n)",
        );
        },
        1003,
    ),
    ("the heartbeat is a link", |v| symlink("/etc/passwd", v.dir.heartbeat_real()).unwrap(), 3),
    ("the heartbeat is a FIFO", |v| fifo(&v.dir.heartbeat_real()), 3),
    ("an empty journal", |v| fs::write(v.beside("outbound.db-journal"), "").unwrap(), 3),
    ("noise as journal", |v| fs::write(v.beside("outbound.db-journal"), [0x77; 9000]).unwrap(), 3),
];

#[test]
fn a_keeper_survives_or_dies_alone() {
    for (name, attack) in CORRUPT {
        let victim = Victim::new();
        attack(&victim);
        let (word, _) = keep(&victim.dir);
        assert!(word.starts_with("corrupt: ") || word == "died", "{name}: {word}");
        assert!(word.len() < 2_100 && !word.contains(char::is_control), "{name}: {} bytes", word.len());
        assert_eq!(fs::read_to_string(victim.home.path().join("treasure")).unwrap(), "untouched", "{name}");
    }
    for (name, attack, want) in READ {
        let victim = Victim::new();
        attack(&victim);
        assert_eq!(keep(&victim.dir), ("drained".to_owned(), *want), "{name}");
        assert_eq!(fs::read_to_string(victim.home.path().join("treasure")).unwrap(), "untouched", "{name}");
    }
}

/// What the planted journal does to whoever recovers it without a keeper's door.
#[test]
fn the_planted_journal_is_a_weapon() {
    let victim = Victim::new();
    let treasure = victim.home.path().join("treasure");
    planted_journal(&victim.beside("outbound.db-journal"), &treasure);
    let _ = victim.open().query_row("SELECT COUNT(*) FROM messages_out", [], |row| row.get::<_, i64>(0));
    assert!(!treasure.exists(), "SQLite deletes the file that the journal names");
}

#[test]
fn what_a_dead_runner_committed_is_handed_over_and_the_rest_rolled_back() {
    let victim = Victim::new();
    // A copy of both files in the middle of a transaction is what a killed runner leaves.
    let db = victim.open();
    db.execute_batch("PRAGMA cache_size = 1; PRAGMA cache_spill = 1; BEGIN").unwrap();
    let insert =
        "INSERT INTO messages_out (id, seq, timestamp, kind, content) VALUES (?1, ?2, '', 'chat', ?3)";
    for seq in 0..200 {
        db.execute(insert, rusqlite::params![format!("u{seq}"), seq * 2 + 7, "x".repeat(3000)]).unwrap();
    }
    let journal = victim.beside("outbound.db-journal");
    let (half, hot) = (fs::read(victim.db()).unwrap(), fs::read(&journal).unwrap());
    assert!(half.len() > 100_000, "the transaction has spilt");
    drop(db);
    fs::write(victim.db(), half).unwrap();
    fs::write(journal, hot).unwrap();
    assert_eq!(keep(&victim.dir), ("drained".to_owned(), 3));
}

#[test]
fn a_spoilt_session_is_quarantined_and_everything_else_goes_on() {
    let runtime = Runtime::new("").up();
    add_bad_agent(&runtime, "sh -c 'yes >\"$TMPDIR/../outbound.db\" & sleep 60'");
    let mut client = Terminal::connect(&runtime, false);
    client.say("bad");
    assert_eq!(client.reply(), "bad", "the other agent echoes");
    let listed = until("it is quarantined", || {
        let sessions = runtime.json(&["session", "list"]);
        sessions.as_array().unwrap().iter().find(|session| session["state"] == "quarantined").cloned()
    });
    assert!(listed["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{listed}");
    assert_eq!(listed["agent"], "bad");
    assert_eq!(runtime.chat("hello"), "hello");
    // More for it is kept, and wakes nobody.
    client.say("bad again");
    assert_eq!(client.reply(), "bad again");

    // An operator mends it and releases it.
    let id = listed["id"].as_str().unwrap().to_owned();
    runtime.ok(&["agent", "update", "bad", "--command", "echo better"]);
    let session = runtime.sessions().into_iter().find(|session| session.ends_with(&id)).unwrap();
    let healthy = runtime.sessions().into_iter().find(|session| !session.ends_with(&id)).unwrap();
    let db = session.join("out/outbound.db");
    until("nobody writes it any more", || {
        fs::copy(healthy.join("out/outbound.db"), &db).ok()?;
        let mended = Connection::open_with_flags(&db, rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE).ok()?;
        mended.execute_batch("DELETE FROM messages_out; DELETE FROM processing_ack").ok()
    });
    runtime.ok(&["session", "release", &id]);
    let better = "SELECT COUNT(*) FROM deliveries WHERE json_extract(content, '$.text') = 'better'";
    until("it answers", || (runtime.query::<i64>(better)[0] >= 1).then_some(()));
    let refused = runtime.run(&["session", "release", &id]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("nothing in it is held back"));
    let refused = runtime.run(&["session", "release", "nobody"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("there is no session `nobody`"));
}

/// Beside the agent that echoes: one that hears only what begins with `bad`.
fn add_bad_agent(runtime: &Runtime, command: &str) {
    runtime.ok(&["agent", "create", "bad", "--provider", "command", "--command", command]);
    let chat = ["--channel", "terminal", "--chat", "local", "--pattern", "^bad"];
    runtime.ok(&[&["wiring", "create", "--agent", "bad"][..], &chat].concat());
}

/// A runtime with an agent that does one hostile thing with its own files for ever, and one that echoes.
pub fn with_hostile(sandbox: &str, attempt: &str, file: &str) -> (Runtime, Terminal) {
    let runtime = Runtime::new(&format!("sandbox = \"{sandbox}\"\n")).up();
    add_bad_agent(&runtime, "true");
    let mut client = Terminal::connect(&runtime, false);
    client.say("bad");
    assert_eq!(client.reply(), "bad");
    let bad = runtime.query::<String>("SELECT id FROM agent_groups WHERE name = 'bad'").remove(0);
    let session = until("its session is there", || {
        runtime
            .sessions()
            .into_iter()
            .find(|session| session.parent().is_some_and(|agent| agent.ends_with(&bad)))
    });
    let session = if sandbox == "bwrap" { "/workspace".into() } else { session };
    let command = format!("'{}' {attempt} '{}'", hostile().display(), session.join(file).display());
    runtime.ok(&["agent", "update", "bad", "--command", &command]);
    (runtime, client)
}

/// The processes of this runtime that run a program.
pub fn running(program: &str, runtime: u32) -> Vec<String> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let of_ours = processes.filter(|entry| {
        let mut pid = entry.file_name().to_string_lossy().into_owned();
        let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        // The kernel keeps 15 bytes of it.
        if name.trim() != &program[..program.len().min(15)] {
            return false;
        }
        // Its ancestors: the runner, perhaps `bwrap` twice, the keeper, the runtime.
        for _ in 0..8 {
            let Some(parent) = parent_of(&pid) else { return false };
            if parent == runtime.to_string() {
                return true;
            }
            pid = parent;
        }
        false
    });
    of_ours.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Only what the agent wrote is corrupt: the runtime would quarantine its session for that.
#[test]
fn a_bad_frame_of_the_runtimes_is_not_put_down_to_the_agent() {
    for (answer, word) in [(&b"\x04\0\0\0what"[..], "expected value"), (b"\xff\xff\xff\x7f", "too large")] {
        let kept = support::keep_and_answer(&Victim::new().dir, answer);
        assert!(kept.word.starts_with("failed: ") && kept.word.contains(word), "{}", kept.word);
    }
}

/// A keeper that a person stops is excused for a minute, like one that gets no processor; then it is killed.
#[test]
fn a_stopped_keeper_is_excused_and_one_that_stays_silent_is_killed() {
    let runtime = Runtime::new("").up();
    assert_eq!(runtime.chat("hello"), "hello");
    let pid = keeper_of(&runtime.pid().to_string());
    let signal = |word: &str| assert!(Command::new("kill").args([word, &pid]).status().unwrap().success());
    signal("-STOP");
    std::thread::sleep(support::KEEPER_DEADLINE + Duration::from_secs(3));
    signal("-CONT");
    assert_eq!(runtime.chat("goes on"), "goes on");
    if !in_full() {
        return;
    }
    signal("-STOP");
    let begin = Instant::now();
    while runtime.json(&["session", "list"])[0]["state"] != "quarantined" {
        assert!(begin.elapsed() < support::KEEPER_DEADLINE + Duration::from_secs(65));
        std::thread::sleep(Duration::from_millis(200));
    }
    until("it is gone", || fs::read_link(format!("/proc/{pid}/exe")).is_err().then_some(()));
    let id = runtime.json(&["session", "list"])[0]["id"].as_str().unwrap().to_owned();
    runtime.ok(&["session", "release", &id]);
    assert_eq!(runtime.chat("back"), "back");
}

#[test]
fn a_runner_that_hangs_is_ended_however_many_messages_come() {
    let runtime = Runtime::new("turn_silence_seconds = 2\n").up();
    let mut client = Terminal::connect(&runtime, false);
    client.say("hello");
    assert_eq!(client.reply(), "hello");
    let log = runtime.log();
    let pid = log.rsplit("pid=").next().and_then(|rest| rest.split_whitespace().next()).unwrap();
    assert!(Command::new("kill").args(["-STOP", pid]).status().unwrap().success());
    let begin = Instant::now();
    let waiting = "SELECT COUNT(*) FROM messages_in WHERE status = 'pending'";
    while begin.elapsed() < Duration::from_secs(6) {
        client.write(&serde_json::json!({ "text": "are you there?" }));
        std::thread::sleep(Duration::from_millis(300));
    }
    until("all is answered", || (runtime.query::<i64>(waiting) == [0]).then_some(()));
}

/// Who holds a session's lock is left alone: what outlived a keeper is found by the mark of its run.
#[test]
fn a_session_that_is_held_gets_no_second_keeper() {
    let home = tempfile::tempdir().unwrap();
    let dir = SessionDir::new(home.path().join("session"));
    dir.create().unwrap();
    let lock = dir.keeper_lock();
    let script = format!("echo 600 > /proc/self/oom_score_adj; exec flock '{}' sleep 60", lock.display());
    let mut holder = Command::new("sh").args(["-c", &script]).spawn().unwrap();
    until("it is held", || {
        let tried = Command::new("flock").arg("-n").arg(&lock).arg("true").status().unwrap();
        (lock.exists() && !tried.success()).then_some(())
    });
    assert_eq!(support::keep(&dir).word, "failed: another keeper holds this session");
    assert!(holder.try_wait().unwrap().is_none());
    let _ = Command::new("pkill").args(["-9", "-P", &holder.id().to_string()]).status();
    let _ = holder.kill();
    holder.wait().unwrap();
}
