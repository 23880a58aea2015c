//! The session's files: their layout, and that they are a projection.

use crate::support::{Runtime, rows, until};
use std::fs;
use std::os::unix::fs::MetadataExt;

fn dump(runtime: &Runtime) -> Vec<String> {
    let session = runtime.sessions().remove(0);
    let messages = "SELECT id || '|' || seq || '|' || status || '|' || content FROM messages_in ORDER BY seq";
    let delivered = "SELECT message_out_id || '|' || status || '|' || delivered_at FROM delivered ORDER BY 1";
    let destinations = "SELECT name || '|' || type || '|' || platform_id FROM destinations ORDER BY 1";
    [messages, delivered, destinations]
        .iter()
        .flat_map(|sql| rows(&session.join("inbound.db"), sql))
        .collect()
}

#[test]
fn every_inbound_db_deleted_while_the_house_is_stopped_is_as_before() {
    let mut runtime = Runtime::new("").up();
    for text in ["one", "two", "three"] {
        assert_eq!(runtime.chat(text), text);
    }
    runtime.stop();
    let before = dump(&runtime);
    assert_eq!(before.len(), 3 + 3 + 1);
    fs::remove_file(runtime.sessions()[0].join("inbound.db")).unwrap();
    runtime.start();
    let inbound = runtime.sessions()[0].join("inbound.db");
    until("the file is as it was", || (inbound.exists() && dump(&runtime) == before).then_some(()));
    assert_eq!(runtime.chat("four"), "four");
    let seqs: Vec<i64> =
        rows(&runtime.sessions()[0].join("inbound.db"), "SELECT seq FROM messages_in ORDER BY seq");
    assert_eq!(seqs, [2, 4, 6, 8]);
}

#[test]
fn a_damaged_inbound_db_is_made_again() {
    let mut runtime = Runtime::new("").up();
    assert_eq!(runtime.chat("one"), "one");
    runtime.stop();
    let before = dump(&runtime);
    for damage in
        [&b"not a database at all, but long enough to be read as a header........................."[..], b""]
    {
        fs::write(runtime.sessions()[0].join("inbound.db"), damage).unwrap();
        runtime.start();
        let next = runtime.chat("next");
        assert_eq!(next, "next");
        runtime.stop();
        assert_eq!(dump(&runtime)[..1], before[..1]);
    }
}

#[test]
fn nothing_the_agent_may_write_lies_beside_a_database_of_ours() {
    let runtime = Runtime::new("").up();
    runtime.chat("hello");
    let session = runtime.sessions().remove(0);
    for (link, target) in
        [("outbound.db", "out/outbound.db"), ("outbox", "out/outbox"), (".heartbeat", "out/.heartbeat")]
    {
        assert_eq!(fs::read_link(session.join(link)).unwrap().to_str(), Some(target));
    }
    for folder in ["inbox", "agent", "global", "extra", "out/outbox"] {
        assert!(session.join(folder).is_dir(), "{folder}");
    }
    assert_eq!(fs::metadata(runtime.home.path().join("control.token")).unwrap().mode() & 0o777, 0o600);
    for socket in ["control.sock", "terminal.sock"] {
        assert_eq!(fs::metadata(runtime.home.path().join(socket)).unwrap().mode() & 0o777, 0o600, "{socket}");
    }
}

/// The columns of NanoClaw v2, in its order; ours come after.
#[test]
fn the_tables_are_nanoclaws() {
    let runtime = Runtime::new("").up();
    runtime.chat("hello");
    let session = runtime.sessions().remove(0);
    let columns = |file: &str, table: &str| {
        let sql = format!("SELECT name FROM pragma_table_info('{table}')");
        rows::<String>(&session.join(file), &sql).join(" ")
    };
    for (file, table, want) in [
        (
            "inbound.db",
            "messages_in",
            "id seq kind timestamp status process_after recurrence series_id tries trigger platform_id channel_type \
             thread_id content source_session_id on_wake",
        ),
        ("inbound.db", "delivered", "message_out_id platform_message_id status delivered_at"),
        ("inbound.db", "destinations", "name display_name type channel_type platform_id agent_group_id"),
        ("inbound.db", "session_routing", "id channel_type platform_id thread_id"),
        (
            "outbound.db",
            "messages_out",
            "id seq in_reply_to timestamp deliver_after recurrence kind platform_id channel_type thread_id content",
        ),
        ("outbound.db", "processing_ack", "message_id status status_changed"),
        ("outbound.db", "session_state", "key value updated_at"),
        (
            "outbound.db",
            "container_state",
            "id current_tool tool_declared_timeout_ms tool_started_at updated_at",
        ),
    ] {
        let found = columns(file, table);
        assert!(found.starts_with(want), "{table}: {found}");
    }
    let seqs: Vec<i64> = rows(&session.join("outbound.db"), "SELECT seq % 2 FROM messages_out");
    assert_eq!(seqs, [1], "the runner's numbers are odd");
    for file in ["inbound.db", "outbound.db"] {
        assert_eq!(rows::<String>(&session.join(file), "PRAGMA journal_mode"), ["delete"], "{file}");
    }
}
