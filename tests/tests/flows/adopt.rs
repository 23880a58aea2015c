//! Folders that somebody else made become sessions of ours: every layout, whole, once, and the folder
//! stays as it was.

use crate::support::{Runtime, Terminal, hot_journal, planted_journal, rows, until};
use rusqlite::{Connection, OpenFlags, params};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

fn fixture(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/nanoclaw").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub const INBOUND: [&str; 6] = [
    "inbound-1-first.sql",
    "inbound-2-series.sql",
    "inbound-3-trigger.sql",
    "inbound-4-source.sql",
    "inbound-5-on-wake.sql",
    "inbound-6-upgraded.sql",
];
pub const OUTBOUND: [&str; 4] =
    ["outbound-1-first.sql", "outbound-2-state.sql", "outbound-3-state-time.sql", "outbound-4-tool.sql"];

fn create(path: &Path, sql: &str) -> Connection {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    let db = Connection::open_with_flags(path, flags).unwrap();
    db.execute_batch("PRAGMA synchronous = OFF").unwrap();
    db.execute_batch(sql).unwrap();
    db
}

/// A folder as NanoClaw leaves it, with a conversation in it: three rows were answered, one was claimed
/// when its runner died, one waits, one waits for its time, one is a paused task.
pub struct Foreign {
    pub home: tempfile::TempDir,
}

impl Foreign {
    pub fn new(inbound: &str, outbound: &str, channel: &str, chat: &str) -> Foreign {
        let foreign = Foreign { home: tempfile::Builder::new().prefix("nc-").tempdir().unwrap() };
        let dir = foreign.dir();
        fs::create_dir_all(dir.join("outbox")).unwrap();
        fs::create_dir_all(dir.join("inbox")).unwrap();
        fs::write(dir.join(".heartbeat"), "").unwrap();
        fs::write(foreign.home.path().join("treasure"), "untouched").unwrap();
        let inbound = create(&dir.join("inbound.db"), &fixture(inbound));
        let outbound = create(&dir.join("outbound.db"), &fixture(outbound));
        for (seq, id, status, at, after, kind) in [
            (2, "a:ag", "completed", "2026-01-15T08:00:00.000Z", None, "chat"),
            (4, "b:ag", "completed", "2026-01-15 08:01:00", None, "chat-sdk"),
            (6, "c:ag", "pending", "2026-01-15T08:02:00.000Z", None, "chat"), // acknowledged, not mirrored
            (8, "d:ag", "pending", "2026-01-15T08:03:00.000Z", None, "chat"), // claimed
            (10, "e:ag", "pending", "2026-01-15 08:04:00", Some("2026-01-15 08:05:00"), "chat"),
            (12, "f", "pending", "2026-01-15 08:05:00", Some("2099-01-01T00:00:00.000Z"), "task"),
            (14, "g", "paused", "2026-01-15 08:06:00", None, "task"),
        ] {
            let text = json!({ "text": format!("text of {id}"), "sender": "Ann", "prompt": "later" });
            inbound
                .execute(
                    "INSERT INTO messages_in (id, seq, kind, timestamp, status, process_after, tries, platform_id, \
                     channel_type, content) VALUES (?1,?2,?3,?4,?5,?6,1,?7,?8,?9)",
                    params![id, seq, kind, at, status, after, chat, channel, text.to_string()],
                )
                .unwrap();
        }
        for (seq, id, to) in [(3, "o1", "a:ag"), (5, "o2", "b:ag"), (7, "o3", "c:ag")] {
            let text = json!({ "text": format!("reply {id}") }).to_string();
            outbound
                .execute(
                    "INSERT INTO messages_out (id, seq, in_reply_to, timestamp, kind, platform_id, channel_type, content) \
                     VALUES (?1,?2,?3,'2026-01-15 08:00:01','chat',?4,?5,?6)",
                    params![id, seq, to, chat, channel, text],
                )
                .unwrap();
        }
        outbound
            .execute_batch(
                "INSERT INTO processing_ack VALUES ('a:ag','completed',''), ('b:ag','completed',''), \
                 ('c:ag','completed',''), ('d:ag','processing','')",
            )
            .unwrap();
        inbound
            .execute(
                "INSERT INTO delivered (message_out_id, delivered_at) VALUES ('o1', '2026-01-15 08:00:02')",
                [],
            )
            .unwrap();
        inbound
            .execute("INSERT INTO delivered (message_out_id, delivered_at) VALUES ('o2', '2026-01-15T08:01:02.000Z')", [])
            .unwrap();
        // What only newer layouts have.
        for sql in [
            "UPDATE delivered SET platform_message_id = 'p1' WHERE message_out_id = 'o1'",
            "UPDATE delivered SET status = 'failed' WHERE message_out_id = 'o2'",
            "UPDATE messages_in SET series_id = 'chain' WHERE id = 'f'",
            "UPDATE messages_in SET trigger = 0 WHERE id = 'b:ag'",
            "UPDATE messages_in SET source_session_id = 'sess-other' WHERE id = 'a:ag'",
        ] {
            let _ = inbound.execute_batch(sql);
        }
        let _ = outbound
            .execute_batch("INSERT INTO session_state (key, value) VALUES ('continuation:claude', 'c-1')");
        let _ = outbound.execute_batch(
            "INSERT INTO session_state (key, value, updated_at) VALUES ('continuation:claude', 'c-1', '')",
        );
        foreign
    }

    pub fn dir(&self) -> PathBuf {
        self.home.path().join("session")
    }

    pub fn open(&self, file: &str) -> Connection {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE;
        let db = Connection::open_with_flags(self.dir().join(file), flags).unwrap();
        db.execute_batch("PRAGMA synchronous = OFF").unwrap();
        db
    }

    /// Every file beneath it, with its bytes and the time it was last written.
    pub fn state(&self) -> BTreeMap<PathBuf, (Vec<u8>, i64, i64)> {
        let mut found = BTreeMap::new();
        let mut folders = vec![self.home.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let meta = fs::symlink_metadata(&path).unwrap();
                let bytes = if meta.is_file() { fs::read(&path).unwrap() } else { vec![] };
                found.insert(path.clone(), (bytes, meta.mtime(), meta.mtime_nsec()));
                if meta.is_dir() {
                    folders.push(path);
                }
            }
        }
        found
    }

    pub fn adopt(&self, runtime: &Runtime, chat: &[&str]) -> Value {
        let dir = self.dir();
        runtime
            .json(&[&["session", "adopt", dir.to_str().unwrap(), "--agent", "assistant"][..], chat].concat())
    }

    fn refused(&self, runtime: &Runtime, chat: &[&str]) -> String {
        let dir = self.dir();
        let args = [&["session", "adopt", dir.to_str().unwrap(), "--agent", "assistant"][..], chat].concat();
        let output = runtime.run(&args);
        assert!(!output.status.success(), "it must be refused");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }
}

/// The verb that takes a folder over for a chat.
pub fn adoption<'a>(folder: &'a Path, channel: &'a str, chat: &'a str) -> [&'a str; 9] {
    let folder = folder.to_str().unwrap();
    ["session", "adopt", folder, "--agent", "assistant", "--channel", channel, "--chat", chat]
}

#[test]
fn every_layout_is_taken_over_whole() {
    let runtime = Runtime::new("").up();
    for (i, inbound) in INBOUND.iter().enumerate() {
        for (o, outbound) in OUTBOUND.iter().enumerate() {
            let what = format!("{inbound} {outbound}");
            let chat = format!("c{i}{o}");
            let foreign = Foreign::new(inbound, outbound, "old", &chat);
            let before = foreign.state();
            let report = foreign.adopt(&runtime, &["--channel", "old", "--chat", &chat, "--account", "work"]);
            assert_eq!(foreign.state(), before, "{what}: the folder stays as it was");
            let id = report["id"].as_str().unwrap();
            for (key, want) in
                [("inbound", 7), ("outbound", 3), ("undelivered", 1), ("refused", 0), ("left_out", 0)]
            {
                assert_eq!(report[key], want, "{what}: {key} of {report}");
            }
            assert_eq!(report["state"], if o == 0 { 0 } else { 1 }, "{what}");

            // Inbound: in the ledger, and in the file once both waiting rows are answered.
            let dir = runtime.sessions().into_iter().find(|session| session.ends_with(id)).unwrap();
            until("it is projected", || dir.join("inbound.db").exists().then_some(()));
            let told = |sql: &str| rows::<String>(&dir.join("inbound.db"), sql).join("; ");
            let in_file =
                "SELECT id || ' ' || seq || ' ' || status || ' ' || timestamp FROM messages_in ORDER BY seq";
            let want = "a:ag 2 completed 2026-01-15T08:00:00.000Z; b:ag 4 completed 2026-01-15T08:01:00.000Z; \
                        c:ag 6 completed 2026-01-15T08:02:00.000Z; d:ag 8 completed 2026-01-15T08:03:00.000Z; \
                        e:ag 10 completed 2026-01-15T08:04:00.000Z; f 12 pending 2026-01-15T08:05:00.000Z; \
                        g 14 paused 2026-01-15T08:06:00.000Z";
            until(&format!("{what}: d and e are answered"), || (told(in_file) == want).then_some(()));
            let newer = "SELECT id || ' ' || tries || ' ' || trigger || ' ' || series_id || ' ' || account || ' ' || \
                         COALESCE(source_session_id, '-') || ' ' || COALESCE(process_after, '-') FROM messages_in \
                         WHERE id IN ('a:ag', 'b:ag', 'f') ORDER BY seq";
            let series = if i == 0 { "f" } else { "chain" };
            let (trigger, source) =
                (if (1..3).contains(&(i + 1)) { 1 } else { 0 }, if i < 3 { "-" } else { "sess-other" });
            assert_eq!(
                told(newer),
                format!(
                    "a:ag 1 1 a:ag work {source} -; b:ag 1 {trigger} b:ag work - -; \
                     f 1 1 {series} work - 2099-01-01T00:00:00.000Z"
                ),
                "{what}"
            );
            // Outbound: the history is the runner's again, numbers and all, and goes on above it.
            let out: Vec<String> =
                rows(&dir.join("out/outbound.db"), "SELECT id || ' ' || seq FROM messages_out ORDER BY seq");
            assert_eq!(out[..3], ["o1 3", "o2 5", "o3 7"], "{what}");
            assert!(out.len() > 3 && out[3].ends_with(" 15"), "{what}: {out:?}");
            let state =
                rows::<String>(&dir.join("out/outbound.db"), "SELECT key || ' ' || value FROM session_state");
            assert_eq!(
                state,
                if o == 0 { vec![] } else { vec!["continuation:claude c-1".to_owned()] },
                "{what}"
            );
            // What was settled stays so; what was not is on its way.
            let record = format!(
                "SELECT message_out_id || ' ' || state || ' ' || COALESCE(platform_message_id, '-') FROM deliveries \
                 WHERE session_id = '{id}' AND seq < 15 ORDER BY seq"
            );
            let (p1, failed) = if i < 2 { ("-", "delivered") } else { ("p1", "failed") };
            until(&format!("{what}: o3 waits for its channel"), || {
                let want = [format!("o1 delivered {p1}"), format!("o2 {failed} -"), "o3 parked -".to_owned()];
                (runtime.query::<String>(&record) == want).then_some(())
            });
            let delivered = "SELECT message_out_id || ' ' || delivered_at FROM delivered ORDER BY 1";
            assert_eq!(told(delivered), "o1 2026-01-15T08:00:02.000Z; o2 2026-01-15T08:01:02.000Z", "{what}");
        }
    }
}

#[test]
fn the_conversation_goes_on_and_what_was_never_delivered_is() {
    let mut runtime = Runtime::new("").up();
    let foreign = Foreign::new(INBOUND[4], OUTBOUND[3], "terminal", "local");
    let mut client = Terminal::connect(&runtime, true);
    runtime.ok(&["agent", "update", "assistant", "--provider", "command", "--command", "true"]);
    let report = foreign.adopt(&runtime, &["--channel", "terminal", "--chat", "local"]);
    assert_eq!(report["undelivered"], 1, "{report}");
    assert_eq!(client.reply(), "reply o3");
    let again = foreign.adopt(&runtime, &["--channel", "terminal", "--chat", "local"]);
    assert_eq!((again["already"].as_bool(), &again["id"]), (Some(true), &report["id"]));
    let open = "SELECT COUNT(*) FROM messages_in WHERE status = 'pending' AND process_after IS NULL";
    until("what waited is answered", || (runtime.query::<i64>(open) == [0]).then_some(()));
    runtime.ok(&["agent", "update", "assistant", "--provider", "echo"]);
    // The next start reads the agent's file from the floor, and finds nothing new.
    runtime.stop();
    runtime.start();
    assert_eq!(runtime.chat("and now?"), "and now?");
    let o =
        "SELECT message_out_id || ' ' || attempts FROM deliveries WHERE message_out_id LIKE 'o_' ORDER BY 1";
    assert_eq!(runtime.query::<String>(o), ["o1 0", "o2 0", "o3 1"]);
}

/// Copies of both files in the middle of a transaction: what a dead writer leaves.
#[test]
fn what_a_dead_writer_left_is_rolled_back_in_the_copy() {
    let runtime = Runtime::new("").up();
    let foreign = Foreign::new(INBOUND[4], OUTBOUND[3], "old", "c");
    let many = "WITH RECURSIVE n(i) AS (SELECT 100 UNION ALL SELECT i + 2 FROM n LIMIT 300)";
    hot_journal(
        &foreign.dir().join("inbound.db"),
        &format!(
            "{many} INSERT INTO messages_in (id, seq, kind, timestamp, content) SELECT 'half' || i, i, 'chat', '', \
             hex(zeroblob(1500)) FROM n; UPDATE messages_in SET status = 'failed'"
        ),
    );
    hot_journal(
        &foreign.dir().join("outbound.db"),
        &format!(
            "{many} INSERT INTO messages_out (id, seq, kind, timestamp, content) SELECT 'half' || i, i + 1, 'chat', '', \
             hex(zeroblob(1500)) FROM n; DELETE FROM messages_out WHERE seq < 9"
        ),
    );
    let before = foreign.state();
    let report = foreign.adopt(&runtime, &["--channel", "old", "--chat", "c"]);
    assert_eq!((&report["inbound"], &report["outbound"]), (&json!(7), &json!(3)), "{report}");
    assert_eq!(foreign.state(), before, "both journals are still there");
    assert!(before.contains_key(&foreign.dir().join("inbound.db-journal")));
    assert_eq!(runtime.query::<i64>("SELECT COUNT(*) FROM messages_in WHERE status = 'failed'"), [0]);
}

#[test]
fn killed_in_the_middle_it_is_completed_without_doubles() {
    const MANY: i64 = 4000;
    let mut runtime = Runtime::new("").up();
    runtime.ok(&["agent", "update", "assistant", "--provider", "command", "--command", "true"]);
    let foreign = Foreign::new(INBOUND[2], OUTBOUND[1], "old", "c");
    let numbers = format!("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT {MANY})");
    foreign
        .open("inbound.db")
        .execute_batch(&format!(
            "{numbers} INSERT INTO messages_in (id, seq, kind, timestamp, status, content) SELECT 'n' || i, 2 * i + 98, \
             'chat', '2026-01-15 08:00:00', 'completed', '{{\"text\":\"x\"}}' FROM n"
        ))
        .unwrap();
    foreign
        .open("outbound.db")
        .execute_batch(&format!(
            "{numbers} INSERT INTO messages_out (id, seq, kind, timestamp, channel_type, platform_id, content) SELECT \
             'r' || i, 2 * i + 99, 'chat', '', 'old', 'c', '{{\"text\":\"x\"}}' FROM n"
        ))
        .unwrap();
    let dir = foreign.dir();
    let before = foreign.state();
    let args = adoption(&dir, "old", "c");
    let mut cut_short = 0;
    for round in 0..6 {
        let mut client = runtime
            .command(&args)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        // Until a little further than last time: each kill hits another moment.
        let reached = "SELECT (SELECT COUNT(*) FROM messages_in) + (SELECT COUNT(*) FROM deliveries)";
        until("it gets further", || {
            let all = runtime.query::<i64>(reached)[0];
            (all > round * MANY / 3 || client.try_wait().unwrap().is_some()).then_some(())
        });
        cut_short += i32::from(client.try_wait().unwrap().is_none());
        runtime.kill();
        client.wait().unwrap();
        runtime.start();
        let listed = runtime.json(&["session", "list"]);
        let state = listed.as_array().unwrap().iter().find(|row| row["channel"] == "old").cloned();
        if let Some(row) = state.filter(|row| row["state"] == "quarantined") {
            assert!(row["reason"].as_str().unwrap().contains("being taken over"), "{row}");
            let release = runtime.run(&["session", "release", row["id"].as_str().unwrap()]);
            assert!(!release.status.success(), "it cannot be released half-way");
        }
    }
    assert!(cut_short >= 3, "{cut_short} of 6 kills came in the middle");
    let report = foreign.adopt(&runtime, &["--channel", "old", "--chat", "c"]);
    assert_eq!(foreign.state(), before);
    let id = report["id"].as_str().unwrap();
    assert_eq!(runtime.query::<i64>("SELECT COUNT(*) FROM messages_in"), [MANY + 7]);
    assert_eq!(runtime.query::<i64>("SELECT COUNT(DISTINCT seq) FROM messages_in"), [MANY + 7]);
    assert_eq!(runtime.query::<i64>("SELECT COUNT(*) FROM deliveries WHERE seq < 100000"), [MANY + 3]);
    assert_eq!(runtime.query::<i64>("SELECT COUNT(*) FROM sessions"), [1], "no second session");
    let session = runtime.sessions().into_iter().find(|session| session.ends_with(id)).unwrap();
    let own = rows::<i64>(&session.join("out/outbound.db"), "SELECT COUNT(*) FROM messages_out");
    assert_eq!(own, [MANY + 3]);
    until("it is projected", || session.join("inbound.db").exists().then_some(()));
    until("the file shows all", || {
        let file = session.join("inbound.db");
        let shown = "SELECT COUNT(*) FROM messages_in WHERE status <> 'pending' OR process_after > '2099'";
        (rows::<i64>(&file, shown) == [MANY + 7]).then_some(())
    });
    assert!(!runtime.home.path().join("cache/adopt").exists(), "no copy is left");
}

type Attack = (&'static str, fn(&Foreign), &'static str);

/// What is refused, and a word of the reason.
const HOSTILE: &[Attack] = &[
    ("no inbound.db", |f| fs::remove_file(f.dir().join("inbound.db")).unwrap(), "missing"),
    (
        "a link out",
        |f| replace(f, "inbound.db", |at| symlink(f.home.path().join("treasure"), at).unwrap()),
        "link",
    ),
    ("a link within", |f| replace(f, "outbound.db", |at| symlink("inbound.db", at).unwrap()), "link"),
    (
        "a second name",
        |f| fs::hard_link(f.dir().join("inbound.db"), f.dir().join("twin")).unwrap(),
        "more than one name",
    ),
    ("a FIFO", |f| replace(f, "inbound.db", fifo), "no regular file"),
    ("a FIFO as journal", |f| fifo(&f.dir().join("outbound.db-journal")), "no regular file"),
    ("a folder", |f| replace(f, "outbound.db", |at| fs::create_dir(at).unwrap()), "no regular file"),
    ("a huge file", |f| grow(f, "outbound.db"), "the limit"),
    ("noise", |f| fs::write(f.dir().join("inbound.db"), [0x5a; 9000]).unwrap(), "damaged"),
    ("nothing in it", |f| fs::write(f.dir().join("inbound.db"), "").unwrap(), "no table messages_in"),
    (
        "a view",
        |f| {
            sql(
                f,
                "inbound.db",
                "ALTER TABLE messages_in RENAME TO m; CREATE VIEW messages_in AS SELECT * FROM m",
            )
        },
        "no table messages_in",
    ),
    (
        "an index that hides a row",
        |f| {
            sql(
                f,
                "inbound.db",
                "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET rootpage = (SELECT rootpage FROM \
                 sqlite_schema WHERE name = 'sqlite_autoindex_destinations_1') WHERE name = 'sqlite_autoindex_delivered_1'",
            );
        },
        "damaged",
    ),
];

fn replace(foreign: &Foreign, name: &str, make: impl FnOnce(&Path)) {
    let at = foreign.dir().join(name);
    fs::remove_file(&at).unwrap();
    make(&at);
}

pub fn fifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

fn grow(foreign: &Foreign, name: &str) {
    fs::File::options().write(true).open(foreign.dir().join(name)).unwrap().set_len(3 << 30).unwrap();
}

fn sql(foreign: &Foreign, file: &str, sql: &str) {
    foreign.open(file).execute_batch(sql).unwrap();
}

#[test]
fn a_hostile_folder_is_refused_and_costs_nobody_anything() {
    let runtime = Runtime::new("").up();
    for (name, attack, want) in HOSTILE {
        let foreign = Foreign::new(INBOUND[4], OUTBOUND[3], "old", "c");
        attack(&foreign);
        let told = foreign.refused(&runtime, &["--channel", "old", "--chat", "c"]);
        assert!(told.contains(want), "{name}: {told}");
        assert_eq!(fs::read_to_string(foreign.home.path().join("treasure")).unwrap(), "untouched", "{name}");
    }
    assert_eq!(runtime.query::<i64>("SELECT COUNT(*) FROM sessions"), [0]);
    // A planted journal does its work on the copy, where nothing that it names can be reached.
    let foreign = Foreign::new(INBOUND[4], OUTBOUND[3], "planted", "c");
    for file in ["inbound.db-journal", "outbound.db-journal"] {
        planted_journal(&foreign.dir().join(file), &foreign.home.path().join("treasure"));
    }
    let before = foreign.state();
    let _ = runtime.run(&["session", "adopt", foreign.dir().to_str().unwrap(), "--agent", "assistant"]);
    assert_eq!(foreign.state(), before);
    // Rows that are no rows: the rest is taken.
    let foreign = Foreign::new(INBOUND[0], OUTBOUND[0], "old", "c");
    sql(
        &foreign,
        "inbound.db",
        "INSERT INTO messages_in (id, seq, kind, timestamp, status, content) VALUES \
         (NULL, 20, 'chat', '', '', ''), (hex(zeroblob(900)), 22, 'chat', '', '', ''), \
         ('odd', 23, 'chat', 'never', 'dancing', x'ff00'), ('far', 9223372036854775807, 'chat', 7, NULL, '{}'), \
         ('none', NULL, 'chat', '', 'completed', zeroblob(3000000))",
    );
    sql(
        &foreign,
        "outbound.db",
        "INSERT INTO messages_out (id, seq, kind, timestamp, content, channel_type, platform_id) \
         VALUES ('even', 8, 'chat', '', '{\"text\":\"even\"}', 'old', 'c'), ('else', 9, 'chat', '', '{\"text\":\"x\"}', 'old', 'elsewhere')",
    );
    let report = foreign.adopt(&runtime, &["--channel", "old", "--chat", "c"]);
    assert_eq!((&report["inbound"], &report["left_out"]), (&json!(10), &json!(2)), "{report}");
    assert_eq!((&report["outbound"], &report["refused"]), (&json!(5), &json!(1)), "{report}");
    let numbers = "SELECT COUNT(DISTINCT seq) || ' ' || MAX(seq % 2) || ' ' || MIN(seq) FROM messages_in";
    assert_eq!(runtime.query::<String>(numbers), ["10 0 2"]);
    assert_eq!(runtime.query::<i64>("SELECT MIN(seq % 2) FROM deliveries"), [1]);
    assert_eq!(runtime.chat("hello"), "hello");
}

#[test]
fn what_cannot_be_taken_over_is_refused_in_words() {
    let runtime = Runtime::new("").up();
    assert_eq!(runtime.chat("hello"), "hello");
    let foreign = Foreign::new(INBOUND[4], OUTBOUND[3], "terminal", "local");
    let local = ["--channel", "terminal", "--chat", "local"];
    assert!(foreign.refused(&runtime, &local).contains("already has the session"));
    let second = foreign;
    assert!(second.refused(&runtime, &["--thread", "x"]).contains("--chat"));
    let own = runtime.sessions().remove(0);
    let output = runtime.run(&["session", "adopt", own.to_str().unwrap(), "--agent", "assistant"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("lies in this home"));
    let output = runtime.run(&["session", "adopt", "/nonexistent", "--agent", "assistant"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("/nonexistent"));
    // Another Vestibule's session is foreign, too.
    let mut other = Runtime::new("").up();
    assert_eq!(other.chat("elsewhere"), "elsewhere");
    other.stop();
    let folder = other.sessions().remove(0);
    let report = runtime.json(&[&adoption(&folder, "x", "y")[..], &["--thread", "z"]].concat());
    assert_eq!(runtime.query::<String>("SELECT thread_id FROM sessions WHERE thread_id = 'z'"), ["z"]);
    assert_eq!(
        (&report["inbound"], &report["outbound"], &report["undelivered"]),
        (&json!(1), &json!(1), &json!(0))
    );
}

/// Tasks are not built: what had a gate is not run, and what will not go on is said.
#[test]
fn a_task_is_run_only_if_no_script_decides_about_it_and_what_is_lost_is_said() {
    let runtime = Runtime::new("").up();
    runtime.ok(&["agent", "update", "assistant", "--provider", "command", "--command", "cat"]);
    let foreign = Foreign::new(INBOUND[5], OUTBOUND[3], "old", "c");
    let inbound = foreign.open("inbound.db");
    let gate =
        |script: Value, words: &str| json!({ "prompt": words, "script": script, "originSessionId": null });
    for (seq, id, status, recurrence, content) in [
        (16, "gated-1a2b", "pending", None, gate(json!("exit 1"), "behind the gate")),
        (18, "daily-3c4d", "pending", Some("0 9 * * *"), gate(Value::Null, "once only")),
        (20, "gone-5e6f", "cancelled", None, gate(Value::Null, "cancelled")),
        (22, "skipped-7a8b", "pending", None, gate(json!("exit 1"), "its script failed")),
        (24, "claimed", "processing", None, json!({ "text": "claimed", "sender": "Ann" })),
    ] {
        let kind = if id == "claimed" { "chat" } else { "task" };
        inbound
            .execute(
                "INSERT INTO messages_in (id, seq, kind, timestamp, status, recurrence, series_id, content) \
                 VALUES (?1,?2,?3,'2026-01-15T08:00:00.000Z',?4,?5,?1,?6)",
                params![id, seq, kind, status, recurrence, content.to_string()],
            )
            .unwrap();
    }
    inbound.execute_batch("UPDATE delivered SET status = 'refused' WHERE message_out_id = 'o2'").unwrap();
    let acks = "INSERT INTO processing_ack VALUES ('skipped-7a8b', 'script-skip:error', '')";
    foreign.open("outbound.db").execute_batch(acks).unwrap();
    drop(inbound);

    let report = foreign.adopt(&runtime, &["--channel", "old", "--chat", "c"]);
    assert_eq!(report["tasks"], 3, "{report}");
    let told: Vec<String> = report["tasks_named"].as_array().unwrap().iter().map(Value::to_string).collect();
    for (task, loss) in [
        ("chain", ""),
        ("gated-1a2b", "is not run: it has a script"),
        ("daily-3c4d", "is run once, and is not repeated (`0 9 * * *`)"),
        ("g", "stays paused"),
    ] {
        let line = told.iter().find(|line| line.contains(&format!("\"task\":\"{task}\"")));
        assert_eq!(line.is_some(), task != "chain", "{task}: {told:?}");
        assert!(line.is_none_or(|line| line.contains(loss)), "{task}: {told:?}");
    }
    let status = |id: &str| {
        runtime.query::<String>(&format!("SELECT status FROM messages_in WHERE id = '{id}'")).pop().unwrap()
    };
    until("what may run has run", || {
        (status("daily-3c4d") == "completed" && status("claimed") == "completed").then_some(())
    });
    assert_eq!(
        ["gated-1a2b", "gone-5e6f", "skipped-7a8b", "g"].map(status),
        ["paused", "completed", "failed", "paused"]
    );
    let said = runtime.query::<String>("SELECT content FROM deliveries").join("\n");
    assert!(said.contains("once only") && !said.contains("behind the gate"), "{said}");
    assert_eq!(
        runtime.query::<String>("SELECT state FROM deliveries WHERE message_out_id = 'o2'"),
        ["failed"],
        "what was refused was not delivered"
    );
}

/// A series ends with its adoption, in whatever state it is met: the report says so of each.
#[test]
fn each_series_that_ends_is_named() {
    let runtime = Runtime::new("").up();
    runtime.ok(&["agent", "update", "assistant", "--provider", "command", "--command", "true"]);
    let foreign = Foreign::new(INBOUND[5], OUTBOUND[3], "old", "c");
    let inbound = foreign.open("inbound.db");
    let add = |seq: i64, id: &str, kind: &str, status: &str, recurrence: Option<&str>, content: &str| {
        let series = id.split("-next").next().unwrap();
        inbound
            .execute(
                "INSERT INTO messages_in (id, seq, kind, timestamp, status, recurrence, series_id, content) \
                 VALUES (?1,?2,?3,'2026-01-15T08:00:00.000Z',?4,?5,?6,?7)",
                params![id, seq, kind, status, recurrence, series, content],
            )
            .unwrap();
    };
    let (daily, prompt) = (Some("0 9 * * *"), r#"{"prompt":"P"}"#);
    add(16, "ran-not-swept", "task", "completed", daily, prompt);
    add(18, "run-failed", "task", "failed", daily, prompt);
    add(20, "acked-not-mirrored", "task", "pending", daily, prompt);
    add(22, "script-error", "task", "pending", daily, r#"{"prompt":"P","script":"exit 1"}"#);
    add(24, "chat-every-day", "chat", "pending", daily, r#"{"text":"hi","sender":"Ann"}"#);
    add(26, "goes-on", "task", "completed", None, prompt);
    add(28, "goes-on-next", "task", "pending", daily, prompt);
    add(30, "ended", "task", "completed", daily, prompt);
    add(32, "ended-next", "task", "completed", None, prompt);
    add(34, "cancelled", "task", "cancelled", daily, prompt);
    add(36, "broken", "task", "pending", None, r#"{"prompt":"P"#);
    add(38, "blank-script", "task", "pending", None, r#"{"prompt":"P","script":"  "}"#);
    sql(
        &foreign,
        "outbound.db",
        "INSERT INTO processing_ack VALUES ('acked-not-mirrored', 'completed', ''), ('script-error', 'script-skip:error', '')",
    );
    drop(inbound);
    let report = foreign.adopt(&runtime, &["--channel", "old", "--chat", "c"]);
    let named = report["tasks_named"].as_array().unwrap().iter();
    let named: Vec<_> =
        named.map(|task| (task["task"].as_str().unwrap(), task["loss"].as_str().unwrap())).collect();
    let again = "and is not repeated (`0 9 * * *`): nothing repeats yet";
    for (task, loss) in [
        ("ran-not-swept", format!("has run, {again}")),
        ("run-failed", format!("has failed, {again}")),
        ("acked-not-mirrored", format!("has run, {again}")),
        ("script-error", format!("has failed, {again}")),
        ("chat-every-day", format!("is answered once, {again}")),
        ("goes-on", format!("is run once, {again}")),
        ("broken", "is not run: its content is not JSON with a `prompt`, or was too long".to_owned()),
        ("g", "stays paused: it cannot be resumed yet".to_owned()),
    ] {
        assert!(named.contains(&(task, &loss)), "{task}: {named:?}");
    }
    assert!(named.iter().any(|(task, loss)| *task == "blank-script" && loss.starts_with("is not run")));
    assert_eq!((named.len(), &report["tasks"]), (9, &json!(9)), "{named:?}");
    let failed = "SELECT status || ': ' || failure FROM messages_in WHERE id = 'broken'";
    assert_eq!(
        runtime.query::<String>(failed),
        ["failed: its content is not JSON with a `prompt`, or was too long"]
    );
    // More than are named are counted, in words, too.
    let many = Foreign::new(INBOUND[5], OUTBOUND[3], "old", "d");
    sql(
        &many,
        "inbound.db",
        "WITH RECURSIVE n(i) AS (SELECT 100 UNION ALL SELECT i + 2 FROM n LIMIT 60) INSERT INTO messages_in (id, seq, \
         kind, timestamp, status, recurrence, series_id, content) SELECT 'n' || i, i, 'task', '', 'completed', \
         '0 9 * * *', 'n' || i, '{\"prompt\":\"P\"}' FROM n",
    );
    let told = runtime.ok(&adoption(&many.dir(), "old", "d"));
    assert!(
        told.contains("61 tasks or repeating messages do not go on") && told.contains("and 11 more"),
        "{told}"
    );
}

/// What a task's run leaves for a log is no reply, and a reply that was refused says why.
#[test]
fn logs_are_no_replies_and_reasons_are_kept() {
    let runtime = Runtime::new("").up();
    let foreign = Foreign::new(INBOUND[5], OUTBOUND[3], "terminal", "local");
    sql(
        &foreign,
        "outbound.db",
        "INSERT INTO messages_out (id, seq, kind, timestamp, content) VALUES ('l1', 9, 'task_log', '', '{\"text\":\"x\"}'), \
         ('l2', 11, 'task_log', '', '{\"text\":\"y\"}'); \
         INSERT INTO messages_out (id, seq, kind, timestamp, channel_type, platform_id, content) VALUES \
         ('r1', 13, 'chat', '', 'terminal', 'local', '{\"text\":\"z\"}')",
    );
    sql(
        &foreign,
        "inbound.db",
        "ALTER TABLE delivered ADD COLUMN reason_code TEXT; \
         INSERT INTO delivered (message_out_id, delivered_at, status, reason_code) VALUES ('l1', '', 'delivered', NULL), \
         ('r1', '', 'refused', 'not_a_member' || char(27) || printf('%.*c', 9000, 'x'))",
    );
    let report = foreign.adopt(&runtime, &["--channel", "terminal", "--chat", "local"]);
    assert_eq!(
        (&report["outbound"], &report["refused"], &report["task_logs"]),
        (&json!(4), &json!(0), &json!(2)),
        "{report}"
    );
    let session = runtime.sessions().into_iter().find(|at| at.ends_with(report["id"].as_str().unwrap()));
    let kept = "SELECT id FROM messages_out WHERE kind = 'task_log' ORDER BY seq";
    assert_eq!(rows::<String>(&session.unwrap().join("out/outbound.db"), kept), ["l1", "l2"]);
    let failed = runtime.json(&["delivery", "list", "--state", "failed"]);
    let reasons: BTreeMap<_, _> = failed
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["id"].as_str().unwrap(), row["reason"].as_str().unwrap_or_default()))
        .collect();
    assert_eq!(reasons["o2"], "it had failed before its session was taken over");
    assert!(reasons["r1"].starts_with("not_a_member\u{fffd}xx"), "{reasons:?}");
    assert!(reasons["r1"].chars().count() <= 500 && reasons.len() == 2, "{reasons:?}");
}

/// Only one session of an agent hears everything that no chat's own session hears.
#[test]
fn a_session_that_no_wiring_leads_to_is_told() {
    let runtime = Runtime::new("").up();
    runtime.ok(&["agent", "create", "b"]);
    let told = |chat: &[&str]| {
        let foreign = Foreign::new(INBOUND[5], OUTBOUND[3], "old", "c");
        let dir = foreign.dir();
        let verb = ["session", "adopt", dir.to_str().unwrap(), "--agent", "b"];
        runtime.ok(&[&verb[..], chat].concat()).contains("no wiring leads to this session")
    };
    assert!(!told(&[]), "it hears everything");
    assert!(told(&[]), "there is one that does");
    assert!(!told(&["--channel", "old", "--chat", "c"]), "it has a chat");
}

#[test]
fn a_session_whose_messages_lie_elsewhere_is_refused() {
    let runtime = Runtime::new("").up();
    let foreign = Foreign::new(INBOUND[5], OUTBOUND[3], "old", "c");
    let context = foreign.home.path().join(".context");
    fs::create_dir(&context).unwrap();
    let write = |mailbox: Value| {
        let text = json!({ "agentGroupId": "ag", "sessionId": "session", "mailbox": mailbox }).to_string();
        fs::write(context.join("session.json"), text).unwrap();
    };
    write(json!({ "kind": "postgres" }));
    let why = foreign.refused(&runtime, &["--channel", "old", "--chat", "c"]);
    assert!(why.contains("a mailbox of another kind") && why.contains("postgres"), "{why}");
    write(Value::Null);
    assert_eq!(foreign.adopt(&runtime, &["--channel", "old", "--chat", "c"])["inbound"], 7);
}

/// GitHub takes the names of repositories in any case: a chat is one, however the operator or a foreign file spells it.
#[test]
fn a_chat_is_one_in_whatever_case_it_is_named() {
    let runtime = Runtime::new("").up();
    let chats = "SELECT platform_id FROM messaging_groups WHERE channel_type = 'github' ORDER BY 1";
    let wire = |chat: &str| {
        runtime.ok(&["wiring", "create", "--agent", "assistant", "--channel", "github", "--chat", chat]);
    };
    wire("github:acme/widgets");
    runtime.ok(&["agent", "create", "b"]);
    let foreign = Foreign::new(INBOUND[5], OUTBOUND[3], "github", "github:Acme/Widgets");
    sql(&foreign, "inbound.db", "UPDATE messages_in SET thread_id = 'github:Acme/Widgets:issue:1'");
    let dir = foreign.dir();
    let adopt = |dir: &Path, more: &[&str]| {
        let verb = ["session", "adopt", dir.to_str().unwrap(), "--agent", "b"];
        runtime.json(&[&verb[..], more].concat())
    };
    let named =
        ["--channel", "github", "--chat", "github:ACME/WIDGETS", "--thread", "github:ACME/WIDGETS:issue:1"];
    let report = adopt(&dir, &named);
    assert_eq!((&report["undelivered"], &report["refused"]), (&json!(1), &json!(0)), "{report}");
    assert_eq!(runtime.query::<String>(chats), ["github:acme/widgets"]);
    let session = "SELECT thread_id FROM sessions WHERE thread_id IS NOT NULL";
    assert_eq!(runtime.query::<String>(session), ["github:acme/widgets:issue:1"]);
    let rows = "SELECT DISTINCT platform_id || ' ' || thread_id || ' ' || account FROM messages_in";
    assert_eq!(runtime.query::<String>(rows), ["github:acme/widgets github:acme/widgets:issue:1 main"]);
    let replies = "SELECT DISTINCT platform_id FROM deliveries";
    assert_eq!(runtime.query::<String>(replies), ["github:acme/widgets"]);
    // A destination is named so, too.
    let to = ["--name", "more", "--to", "github:ACME/widgets"];
    runtime.ok(&[&["destination", "create", "--agent", "b"][..], &to].concat());
    // What was refused because its chat was not known goes out once it is, in whatever case.
    let other = Foreign::new(INBOUND[5], OUTBOUND[3], "github", "github:Other/Repo");
    let report = adopt(&other.dir(), &[]);
    assert_eq!(report["refused"], 1, "{report}");
    wire("github:other/repo");
    runtime.ok(&["destination", "create", "--agent", "b", "--name", "other", "--to", "github:OTHER/repo"]);
    runtime.ok(&["delivery", "replay", "o3", "--session", report["id"].as_str().unwrap()]);
    let replayed =
        "SELECT platform_id || ' ' || state FROM deliveries WHERE message_out_id = 'o3' ORDER BY 1";
    until("the channel is asked", || {
        let want = ["github:acme/widgets parked", "github:other/repo parked"];
        (runtime.query::<String>(replayed) == want).then_some(())
    });
    assert_eq!(runtime.query::<String>(chats), ["github:acme/widgets", "github:other/repo"]);
}
