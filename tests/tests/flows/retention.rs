//! What is kept long enough is forgotten, everywhere, and nothing else is.

use crate::attachments::entries;
use crate::support::{Runtime, Terminal, rows, until};
use rusqlite::Connection;
use std::path::{Path, PathBuf};

fn count(file: &Path, table: &str) -> i64 {
    rows::<i64>(file, &format!("SELECT COUNT(*) FROM {table}"))[0]
}

#[allow(clippy::disallowed_methods, reason = "what was there before is no version of ours any more")]
fn change(file: &Path, sql: &str) {
    Connection::open(file).unwrap().execute_batch(sql).unwrap();
}

/// The operator's clock is not turned for this: the rows are made old while the runtime is stopped.
fn age(runtime: &Runtime) {
    change(
        &runtime.home.path().join("vestibule.db"),
        "UPDATE messages_in SET settled_at = 1 WHERE settled_at IS NOT NULL; \
         UPDATE deliveries SET taken_at = 1, settled_at = 1 WHERE settled_at IS NOT NULL; UPDATE event_ids SET seen_at = 1;",
    );
}

/// Two messages with a file each, both answered; the folder of their session.
fn send_two_files(runtime: &Runtime) -> PathBuf {
    let mut terminal = Terminal::connect(runtime, false);
    for text in ["one", "two"] {
        terminal.send(text, &[("a.txt", text.as_bytes())]);
        assert!(terminal.answer().0.starts_with(text));
    }
    drop(terminal);
    runtime.sessions().remove(0)
}

#[test]
fn what_is_old_goes_from_every_place_and_the_conversation_goes_on() {
    let mut runtime = Runtime::new("retention_days = 30\n").up();
    let session = send_two_files(&runtime);
    let (inbound, outbound) = (session.join("inbound.db"), session.join("out/outbound.db"));
    until("both are delivered", || (count(&inbound, "delivered") == 2).then_some(()));
    runtime.stop();
    assert_eq!((entries(&session.join("inbox")), entries(&runtime.home.path().join("attachments"))), (2, 2));
    age(&runtime);
    runtime.start();
    until("the file follows", || (count(&inbound, "messages_in") == 1).then_some(()));
    until("the first file goes", || (entries(&runtime.home.path().join("attachments")) == 1).then_some(()));
    let last: Vec<i64> = rows(&inbound, "SELECT seq FROM messages_in");
    assert_eq!(last, [4], "the next is numbered above it");
    until("its folder goes", || (entries(&session.join("inbox")) == 1).then_some(()));
    assert_eq!(count(&inbound, "delivered"), 0);
    assert_eq!(runtime.query::<i64>("SELECT COUNT(*) FROM deliveries"), [0]);
    assert_eq!(runtime.query::<i64>("SELECT COUNT(*) FROM event_ids"), [0]);
    assert_eq!(count(&outbound, "messages_out"), 2, "that file is its runner's");
    // The next run deletes its own, but for the highest.
    assert_eq!(runtime.chat("three"), "three");
    let seqs: Vec<i64> = rows(&outbound, "SELECT seq FROM messages_out ORDER BY seq");
    assert_eq!(seqs, [5, 7]);
    // What was being delivered in that moment would go out again.
    until("it is delivered", || (count(&inbound, "delivered") == 1).then_some(()));
    runtime.kill();
    runtime.start();
    assert_eq!(runtime.chat("four"), "four", "and nothing that was forgotten comes again");
    until("all are counted", || (runtime.json(&["status"])["deliveries"]["delivered"] == 4).then_some(()));
}

pub const CRASH_POINT: &str = "projection: pruned folders are gone, their rows are there";

/// After it nothing is left over, and nothing is missing.
#[test]
fn a_crash_while_a_file_follows_leaves_nothing_behind() {
    if !cfg!(debug_assertions) {
        return eprintln!("SKIPPED: crash points need debug assertions");
    }
    let mut runtime = Runtime::new("retention_days = 30\n").up();
    let session = send_two_files(&runtime);
    let inbound = session.join("inbound.db");
    until("both are delivered", || (count(&inbound, "delivered") == 2).then_some(()));
    runtime.stop();
    age(&runtime);
    runtime.launch(&[("VESTIBULE_CRASH_POINT", &format!("{CRASH_POINT}#1"))]);
    until("it crashes", || runtime.ended());
    assert_eq!((entries(&session.join("inbox")), count(&inbound, "messages_in")), (1, 2));
    runtime.start();
    until("the file follows", || (count(&inbound, "messages_in") == 1).then_some(()));
    assert_eq!((entries(&session.join("inbox")), count(&inbound, "delivered")), (1, 0));
    assert_eq!(entries(&runtime.home.path().join("attachments")), 1);
    assert_eq!(runtime.chat("three"), "three");
}

#[test]
fn as_long_as_the_operator_wants_all_is_kept() {
    let mut runtime = Runtime::new("retention_days = 100000\n").up();
    assert_eq!(runtime.chat("one"), "one");
    assert_eq!(runtime.chat("two"), "two");
    runtime.stop();
    age(&runtime);
    runtime.start();
    until("it has looked", || {
        runtime.query::<i64>("SELECT COUNT(*) FROM event_ids").contains(&0).then_some(())
    });
    assert_eq!(runtime.chat("three"), "three");
    assert_eq!(runtime.query::<i64>("SELECT COUNT(*) FROM messages_in"), [3]);
}

/// A copy from before rows were pruned would show them again.
#[test]
fn a_session_file_that_is_older_than_the_ledger_knows_is_made_again() {
    let mut runtime = Runtime::new("retention_days = 30\n").up();
    for text in ["one", "two"] {
        assert_eq!(runtime.chat(text), text);
    }
    runtime.stop();
    let inbound = runtime.sessions()[0].join("inbound.db");
    let copy = inbound.with_extension("copy");
    std::fs::copy(&inbound, &copy).unwrap();
    age(&runtime);
    runtime.start();
    until("the file follows", || (count(&inbound, "messages_in") == 1).then_some(()));
    assert_eq!(runtime.chat("three"), "three");
    runtime.stop();
    // What is no longer needed to bring a file up to date is forgotten, too.
    let last = runtime.query::<i64>("SELECT MAX(change) FROM pruned")[0];
    runtime.start();
    let left = format!("SELECT COUNT(*) FROM pruned WHERE change <= {last}");
    until("it is", || runtime.query::<i64>(&left).contains(&0).then_some(()));
    runtime.stop();
    std::fs::rename(&copy, &inbound).unwrap();
    runtime.start();
    assert_eq!(runtime.chat("four"), "four");
    let texts: Vec<String> =
        rows(&inbound, "SELECT json_extract(content, '$.text') FROM messages_in ORDER BY seq");
    assert_eq!(texts, ["three", "four"], "the second went while the third was the last");
}

/// Its account is not there, and the operator does not bring it back.
#[test]
fn what_waits_for_its_account_for_a_month_is_given_up_and_its_agent_told() {
    let mut runtime = Runtime::new("").up();
    assert_eq!(runtime.chat("one"), "one");
    until("it is settled", || (runtime.json(&["status"])["deliveries"]["delivered"] == 1).then_some(()));
    runtime.stop();
    let database = runtime.home.path().join("vestibule.db");
    let parked =
        "UPDATE deliveries SET state = 'parked', settled_at = NULL, channel_type = 'gone', due_at = ";
    change(&database, &format!("{parked} {}", rows::<i64>(&database, "SELECT taken_at FROM deliveries")[0]));
    runtime.start();
    assert_eq!(runtime.chat("two"), "two", "it waits, and holds nothing");
    runtime.stop();
    change(&database, &format!("{parked} 1 WHERE state = 'parked'"));
    runtime.start();
    until("it is given up", || (runtime.json(&["status"])["deliveries"]["failed"] == 1).then_some(()));
    let told: Vec<String> = runtime.query("SELECT content ->> 'text' FROM messages_in WHERE NOT \"trigger\"");
    assert!(told[0].contains("the account main of gone was away for too long"), "{told:?}");
}

#[test]
fn a_folder_that_fills_up_is_told_before_it_is_full() {
    let runtime = Runtime::new("sandbox_agent_mb = 10\n").up();
    let fill = "head -c 6500000 /dev/zero >big; echo done";
    runtime.ok(&[
        "agent",
        "update",
        "assistant",
        "--provider",
        "command",
        "--command",
        &format!("sh -c '{fill}'"),
    ]);
    assert_eq!(runtime.chat("fill it"), "done");
    let filling = || runtime.json(&["status"])["filling"][0]["what"].as_str().map(str::to_owned);
    assert!(until("it is told", filling).contains("60 % full (`sandbox_agent_mb`"));
    assert!(runtime.ok(&["status"]).contains("60 % full"));
    let empty = "rm big; echo done";
    runtime.ok(&["agent", "update", "assistant", "--command", &format!("sh -c '{empty}'")]);
    assert_eq!(runtime.chat("empty it"), "done");
    until("it is told no more", || filling().is_none().then_some(()));
}

/// The first column that a later version adds must not stop the sessions of a home that was there before.
#[test]
fn an_older_session_file_is_made_again() {
    let mut runtime = Runtime::new("").up();
    assert_eq!(runtime.chat("one"), "one");
    runtime.stop();
    let inbound = runtime.sessions()[0].join("inbound.db");
    for older in [
        "ALTER TABLE vestibule_projection DROP COLUMN layout; ALTER TABLE messages_in DROP COLUMN account;",
        "UPDATE vestibule_projection SET layout = 0; ALTER TABLE messages_in DROP COLUMN account;",
        // These claim to be of this layout, and are not.
        "ALTER TABLE vestibule_projection DROP COLUMN pruned_floor;",
        "ALTER TABLE messages_in RENAME TO rows; CREATE VIEW messages_in AS SELECT * FROM rows;",
    ] {
        change(&inbound, older);
        runtime.start();
        assert_eq!(runtime.chat("next"), "next", "{older}");
        runtime.stop();
        let texts: Vec<String> =
            rows(&inbound, "SELECT json_extract(content, '$.text') FROM messages_in ORDER BY seq");
        assert_eq!(texts[0], "one", "{older}");
    }
}
