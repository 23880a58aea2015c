//! Backups of a running runtime, and homes that were put back to one: nothing that went out goes out again.

use crate::support::{Runtime, new_home, rows, until};
use crate::traffic::{CHATS, Traffic, aborted};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The points of the walk over this road, which its flow goes by itself.
pub const CRASH_POINTS: [&str; 3] = [
    "set back: a session is marked, its file is as it was",
    "restore: all is there but the database in its place",
    "restore: the old database is aside, the new one is not in its place",
];

/// Where a backup goes, beside everything else.
fn aside() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("backup").to_str().unwrap().to_owned();
    (folder, to)
}

/// What a verb says that must fail.
fn told(runtime: &Runtime, args: &[&str], code: i32) -> String {
    let output = runtime.run(args);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{args:?}: {told}");
    told
}

#[test]
fn a_backup_is_taken_while_messages_come_and_becomes_a_home() {
    let (folder, to) = aside();
    let runtime = Runtime::new("[plugins.echo]\ntier = \"process\"\n").up();
    let sent = folder.path().join("sent.txt");
    fs::write(&sent, "the bytes").unwrap();
    runtime.ok(&["chat", "--file", sent.to_str().unwrap(), "first"]);
    let blobs = || fs::read_dir(runtime.home.path().join("attachments")).unwrap().count();
    until("what went out is cleared", || (blobs() == 1).then_some(()));
    let done = Arc::new(AtomicBool::new(false));
    // Where `channel add` keeps what people type.
    let secrets = runtime.home.path().join("secrets");
    std::fs::create_dir(&secrets).unwrap();
    std::fs::write(secrets.join("slack.main.bot_token"), "typed").unwrap();
    let manifest = std::thread::scope(|threads| {
        threads.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                runtime.chat("meanwhile");
            }
        });
        let manifest = runtime.json(&["backup", &to]);
        done.store(true, Ordering::Relaxed);
        manifest
    });
    let parts = |is: bool| {
        let parts = manifest["parts"].as_object().unwrap().iter();
        parts.filter(|(_, part)| **part == is).map(|(part, _)| part.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(parts(true), ["attachments", "vestibule.db", "vestibule.toml"]);
    // What the home has not is no part of it.
    assert_eq!(parts(false), ["groups", "secrets", "sessions/*/*/out"]);
    assert_eq!([&manifest["blobs"], &manifest["blob_bytes"]], [1, 9]);
    // It is whole by itself, its owner's alone, and no second one is put into it.
    let copied: Vec<i64> = rows(&Path::new(&to).join("vestibule.db"), "SELECT COUNT(*) FROM messages_in");
    assert!(copied[0] >= 1, "{copied:?}");
    assert!(told(&runtime, &["backup", &to], 1).contains("it is not empty"));
    assert!(
        told(&runtime, &["backup", runtime.home.path().join("b").to_str().unwrap()], 1)
            .contains("lies in the home")
    );
    assert!(told(&runtime, &["restore", &to, "--replace"], 2).contains("another vestibule runs on"));
    drop(runtime);

    // What is not whole becomes no home.
    let copy = Path::new(&to).join("vestibule.db");
    let whole = fs::read(&copy).unwrap();
    let damaged: [&[u8]; 2] = [b"", &vec![7; whole.len()]];
    for bytes in damaged {
        fs::write(&copy, bytes).unwrap();
        let nowhere = Runtime::at(new_home());
        let refused = told(&nowhere, &["restore", &to], 1);
        assert!(refused.contains("take another backup"), "{refused}");
        assert!(!nowhere.home.path().join("vestibule.db.restoring").exists());
    }
    fs::write(&copy, whole).unwrap();

    let mut other = Runtime::at(new_home());
    let restored = other.ok(&["restore", &to]);
    assert!(restored.contains("1 files of messages") && restored.contains("vestibule.toml"), "{restored}");
    other.start();
    assert_eq!(other.chat("and on"), "and on");
    let waiting = "SELECT COUNT(*) FROM messages_in WHERE status = 'pending' AND \"trigger\"";
    until("what waited at the backup is answered", || (other.query::<i64>(waiting) == [0]).then_some(()));
    let inbox = other.sessions().remove(0).join("inbox");
    until("what came with a message is shown again", || {
        let shown = fs::read_dir(&inbox).ok()?.flatten().next()?.path().join("sent.txt");
        (fs::read(shown).ok()? == b"the bytes").then_some(())
    });
    other.stop();
    assert!(told(&other, &["restore", &to], 1).contains("--replace"), "a database is never replaced unasked");
    fs::remove_file(Path::new(&to).join("backup.json")).unwrap();
    assert!(told(&other, &["restore", &to, "--replace"], 1).contains("is no backup, or was never completed"));
    assert_eq!(other.query::<i64>("SELECT COUNT(*) FROM sessions WHERE set_back"), [0]);
}

/// The bits of the modes below a folder that are for others than its owner.
fn open_to_others(folder: &Path) -> Vec<PathBuf> {
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
    let below = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    std::iter::once(folder.to_owned()).chain(below).filter(|path| mode(path) & 0o077 != 0).collect()
}

#[test]
fn a_backup_and_what_is_made_of_it_are_their_owners_alone() {
    let (folder, to) = aside();
    let runtime = Runtime::new("").up();
    let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    set(&runtime.home.path().join("vestibule.toml"), 0o644);
    // A folder that is there, and one to which a link leads.
    fs::create_dir(&to).unwrap();
    set(Path::new(&to), 0o755);
    let inside = runtime.home.path().join("groups/inside");
    fs::create_dir(&inside).unwrap();
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(&inside, &link).unwrap();
    assert!(told(&runtime, &["backup", link.to_str().unwrap()], 1).contains("it lies in the home"));
    runtime.ok(&["backup", &to]);
    assert_eq!(open_to_others(Path::new(&to)), [""; 0].map(PathBuf::from));
    drop(runtime);

    // As it comes from another machine.
    for name in ["vestibule.db", "vestibule.toml"] {
        set(&Path::new(&to).join(name), 0o644);
    }
    let other = Runtime::at(tempfile::tempdir().unwrap());
    set(other.home.path(), 0o755);
    other.ok(&["restore", &to]);
    assert_eq!(open_to_others(other.home.path()), [""; 0].map(PathBuf::from));
}

#[test]
fn of_two_backups_into_one_folder_one_is_refused_in_words() {
    let runtime = Runtime::new("").up();
    for _ in 0..5 {
        let (_folder, to) = aside();
        let run = || runtime.run(&["backup", &to]);
        let both = std::thread::scope(|threads| {
            let other = threads.spawn(run);
            [run(), other.join().unwrap()]
        });
        let refused = both.iter().find(|output| !output.status.success()).expect("one of them");
        let words = String::from_utf8_lossy(&refused.stderr);
        assert!(words.contains("another one is being made") || words.contains("is not empty"), "{words}");
        assert!(both.iter().any(|output| output.status.success()), "{words}");
    }
}

/// The names in a home that a restore gives to what it has not completed.
fn rests(runtime: &Runtime) -> Vec<String> {
    let names = fs::read_dir(runtime.home.path()).unwrap().flatten().map(|entry| entry.file_name());
    let names = names.map(|name| name.to_string_lossy().into_owned());
    names.filter(|name| name.contains(".restor")).collect()
}

#[test]
fn what_a_killed_restore_left_goes_at_the_next_start() {
    let (_folder, to) = aside();
    let mut runtime = Runtime::new("").up();
    runtime.chat("hello");
    runtime.ok(&["backup", &to]);
    runtime.stop();
    if cfg!(debug_assertions) {
        let mut restore = runtime.command(&["restore", &to, "--replace"]);
        let ended = restore.env("VESTIBULE_CRASH_POINT", format!("{}#1", CRASH_POINTS[1])).output().unwrap();
        assert!(aborted(ended.status), "{}", ended.status);
        assert_eq!(rests(&runtime), ["vestibule.db.restoring"]);
    }
    for name in ["vestibule.db.restoring-wal", "vestibule.db.restored-shm", "plugins.lock.restoring"] {
        fs::write(runtime.home.path().join(name), "half").unwrap();
    }
    runtime.start();
    assert_eq!(rests(&runtime), [""; 0]);
    assert_eq!(runtime.chat("as before"), "as before");
    runtime.stop();

    // Killed between the two files of the old database: both go into one folder.
    let begun = runtime.home.path().join("replaced-2026-01-01T00-00-00.000Z");
    fs::create_dir(&begun).unwrap();
    fs::write(begun.join("vestibule.db-wal"), "the log").unwrap();
    fs::write(runtime.home.path().join("vestibule.db.restored"), "half").unwrap();
    assert!(told(&runtime, &["up"], 2).contains("a restore was cut off"));
    let restored = runtime.json(&["restore", &to, "--replace"]);
    assert_eq!(restored["set_aside"], begun.to_str().unwrap());
    assert!(begun.join("vestibule.db").exists() && rests(&runtime).is_empty());
    // One that is whole is not added to.
    let restored = runtime.json(&["restore", &to, "--replace"]);
    assert_ne!(restored["set_aside"], begun.to_str().unwrap());
}

/// A restore would change the backup, or a backup be lost with the home.
#[test]
fn a_backup_and_a_home_lie_apart() {
    let (folder, to) = aside();
    let runtime = Runtime::new("").up();
    runtime.chat("hello");
    runtime.ok(&["backup", &to]);
    let above = runtime.home.path().parent().unwrap().to_str().unwrap();
    assert!(told(&runtime, &["backup", above], 1).contains("the home, or a part of it, lies in it"));
    assert!(
        told(&runtime, &["backup", runtime.home.path().to_str().unwrap()], 1).contains("lies in the home")
    );
    drop(runtime);

    let link = folder.path().join("link");
    std::os::unix::fs::symlink(&to, &link).unwrap();
    let before = fs::read_dir(&to).unwrap().count();
    for home in [Path::new(&to).to_owned(), Path::new(&to).join("home"), link.join("home"), link.clone()] {
        for from in [Path::new(&to), &link] {
            let nowhere = Runtime::at(new_home());
            let mut restore = nowhere.command(&["restore", from.to_str().unwrap(), "--replace"]);
            let output = restore.env("VESTIBULE_HOME", &home).output().unwrap();
            let words = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{home:?}: {words}");
            let within = home == Path::new(&to) || home == link;
            let want = if within { "lies in the home" } else { "lies in the backup" };
            assert!(words.contains(want) && words.contains("VESTIBULE_HOME"), "{home:?}: {words}");
        }
    }
    assert_eq!(fs::read_dir(&to).unwrap().count(), before, "nothing was made in it");

    // A backup that was moved into the home.
    let other = Runtime::at(new_home());
    let inside = other.home.path().join("backup");
    fs::rename(&to, &inside).unwrap();
    let refused = told(&other, &["restore", inside.to_str().unwrap()], 1);
    assert!(refused.contains("move it out of the home"), "{refused}");
}

/// A copy of the one file is a copy of the database.
#[test]
fn after_a_clean_stop_the_database_is_one_file() {
    let mut runtime = Runtime::new("").up();
    let (copy, file) = (tempfile::tempdir().unwrap(), runtime.home.path().join("vestibule.db"));
    for round in 1..=5 {
        runtime.chat("hello");
        runtime.stop();
        let alone = copy.path().join(format!("{round}.db"));
        fs::copy(&file, &alone).unwrap();
        assert_eq!(
            rows::<i64>(&alone, "SELECT COUNT(*) FROM messages_in WHERE status = 'completed'"),
            [round]
        );
        let beside = runtime.home.path().join("vestibule.db-wal");
        assert_eq!(fs::metadata(&beside).map_or(0, |log| log.len()), 0, "nothing is left beside it");
        runtime.start();
    }
}

/// How a database gets back to an earlier state.
#[derive(Debug, Clone, Copy, PartialEq)]
enum How {
    /// The operator copies the file of a stopped runtime, and later puts it back.
    ByHand,
    /// With the verbs, and a runtime that was killed.
    ByVerbs,
}

fn held(runtime: &Runtime) -> Vec<Value> {
    runtime.json(&["delivery", "list", "--state", "held"]).as_array().unwrap().clone()
}

/// A message, and its answer at the platform.
fn talk(traffic: &Traffic, number: u64) {
    assert_eq!(traffic.send_github(number * CHATS), 200);
    until("it is answered", || posts(traffic).contains_key(&number).then_some(()));
}

/// How often each message's words were posted back.
fn posts(traffic: &Traffic) -> BTreeMap<u64, usize> {
    let posts = traffic.platform.posts.lock().unwrap();
    posts.iter().map(|(number, ids)| (number / CHATS, ids.len())).collect()
}

fn each_once(numbers: std::ops::Range<u64>) -> BTreeMap<u64, usize> {
    numbers.map(|number| (number, 1)).collect()
}

#[test]
fn what_went_out_after_a_backup_does_not_go_out_again() {
    for how in [How::ByHand, How::ByVerbs] {
        let mut traffic = Traffic::github(false);
        traffic.up();
        traffic.wire();
        (0..3).for_each(|number| talk(&traffic, number));
        let (folder, to) = aside();
        let database = traffic.runtime.home.path().join("vestibule.db");
        let copy: PathBuf = folder.path().join("copy.db");
        match how {
            How::ByHand => {
                traffic.runtime.stop();
                fs::copy(&database, &copy).unwrap();
                // As if the last one were still on its way.
                let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE;
                let db = rusqlite::Connection::open_with_flags(&copy, flags).unwrap();
                let open = "UPDATE deliveries SET state = 'pending', settled_at = NULL, change = 0 WHERE position = 3";
                assert_eq!(db.execute(open, []).unwrap(), 1);
                traffic.up();
            }
            How::ByVerbs => drop(traffic.runtime.ok(&["backup", &to])),
        }
        (3..7).for_each(|number| talk(&traffic, number));
        match how {
            How::ByHand => {
                traffic.runtime.stop();
                fs::copy(&copy, &database).unwrap();
            }
            How::ByVerbs => {
                traffic.runtime.kill();
                let restore = ["restore", &to, "--replace"];
                if cfg!(debug_assertions) {
                    for point in &CRASH_POINTS[1..] {
                        let mut restore = traffic.runtime.command(&restore);
                        let ended =
                            restore.env("VESTIBULE_CRASH_POINT", format!("{point}#1")).output().unwrap();
                        assert!(aborted(ended.status), "{point}: {}", ended.status);
                    }
                    // A service manager would start an empty runtime now.
                    let refused = told(&traffic.runtime, &["up"], 2);
                    assert!(refused.contains("a restore was cut off"), "{refused}");
                }
                // SQLite would roll this into the next copy.
                let rest = traffic.runtime.home.path().join("vestibule.db.restoring-journal");
                fs::write(&rest, "the journal of another").unwrap();
                traffic.runtime.ok(&restore);
                assert!(!rest.exists());
            }
        }
        traffic.up();
        // The next one is answered, and nothing of before.
        talk(&traffic, 7);
        let waiting = until("what went out is held", || {
            let waiting = held(&traffic.runtime);
            (waiting.len() == 4).then_some(waiting)
        });
        assert_eq!(posts(&traffic), each_once(0..8), "{how:?}");
        assert!(waiting[0]["reason"].as_str().unwrap().contains("may have gone out already"), "{waiting:?}");
        // An operator decides.
        let [one, other] = [0, 1].map(|place| waiting[place]["id"].as_str().unwrap());
        traffic.runtime.ok(&["delivery", "replay", one]);
        let count = || posts(&traffic).values().sum::<usize>();
        until("what is replayed goes out", || (count() == 9).then_some(()));
        talk(&traffic, 8);
        traffic.runtime.ok(&["delivery", "drop", other]);
        assert_eq!((held(&traffic.runtime).len(), count()), (2, 10), "{how:?}");
        let log = traffic.runtime.log();
        assert!(log.contains("older than this session's files"), "{how:?}: {log}");
        traffic.runtime.stop();
    }
}

/// It was acknowledged to its platform, which does not send it again.
#[test]
fn a_message_that_only_the_file_has_is_answered() {
    let mut traffic = Traffic::github(false);
    traffic.up();
    traffic.wire();
    (0..2).for_each(|number| talk(&traffic, number));
    traffic.runtime.stop();
    let database = traffic.runtime.home.path().join("vestibule.db");
    let (folder, _) = aside();
    fs::copy(&database, folder.path().join("copy.db")).unwrap();
    traffic.up();
    talk(&traffic, 2);
    let sleep = ["agent", "update", "assistant", "--provider", "command", "--command", "sleep 60"];
    traffic.runtime.ok(&sleep);
    assert_eq!(traffic.send_github(3 * CHATS), 200);
    let inbound = traffic.runtime.sessions().remove(0).join("inbound.db");
    until("it is in the file", || {
        let waiting = rows::<i64>(&inbound, "SELECT COUNT(*) FROM messages_in WHERE status = 'pending'");
        (waiting == [1]).then_some(())
    });
    traffic.runtime.kill();
    for beside in ["vestibule.db-wal", "vestibule.db-shm"] {
        let _ = fs::remove_file(traffic.runtime.home.path().join(beside));
    }
    fs::copy(folder.path().join("copy.db"), &database).unwrap();
    // Whoever writes next wakes the session; its number may be the other's in an older database.
    if cfg!(debug_assertions) {
        traffic.runtime.launch(&[("VESTIBULE_CRASH_POINT", &format!("{}#1", CRASH_POINTS[0]))]);
        let ended = until("it crashes at its first look", || {
            traffic.send_github(4 * CHATS);
            traffic.runtime.ended()
        });
        assert!(aborted(ended), "{ended}");
    }
    traffic.up();
    talk(&traffic, 4);
    until("it is answered", || posts(&traffic).contains_key(&3).then_some(()));
    assert_eq!((posts(&traffic), held(&traffic.runtime).len()), (each_once(0..5), 1));
}
