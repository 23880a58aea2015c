//! An agent that asks: what it writes and reads is what NanoClaw's tool `ask_user_question` does, in the same
//! two files.
//!
//! Told `spoil` it spoils its session's file for ever. Started as `… tool MS` it declares a tool that may take so long, and hangs. Told `ask NAME SECONDS OPTION` it asks the question of that name (once, however often it is told), waits so long
//! and says what was answered. The last two words may be missing; in the option `_` means `-`. Told of a late answer it says that it was told.

use rusqlite::{Connection, OpenFlags, OptionalExtension, params};
use std::io::Read;
use std::path::PathBuf;
use std::time::{Duration, Instant};

fn main() {
    if let [_, word, ms] = &std::env::args().collect::<Vec<_>>()[..]
        && word == "tool"
    {
        return use_tool(ms.parse().expect("milliseconds"));
    }
    let mut prompt = String::new();
    std::io::stdin().read_to_string(&mut prompt).expect("a prompt");
    if let Some((_, told)) = prompt.rsplit_once("Answer to your question ") {
        println!("told: {}", told.split('<').next().unwrap_or_default());
        return;
    }
    if prompt.contains("spoil") {
        let sql = "INSERT INTO messages_out (id, seq, timestamp, kind, content) \
                   VALUES ('last', 9223372036854775806, '', 'chat', '{}')";
        outbound().execute(sql, []).expect("it is spoilt");
    }
    let words = prompt.rsplit_once("ask ").map(|(_, rest)| rest.split(['<', ' ', '\n']));
    let Some(mut words) = words else { return println!("heard") };
    let name = words.next().unwrap_or_default();
    let seconds = words.next().and_then(|word| word.parse().ok()).unwrap_or(60);
    let id = format!("msg-{name}");
    let option = words.next().filter(|word| !word.is_empty() && !word.starts_with('/'));
    ask(&id, &option.map(|word| format!(",{:?}", word.replace('_', "-"))).unwrap_or_default());
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(seconds) {
        // A file that is being written is read a moment later.
        if let Ok(Some((row, chosen, by))) = answer(&id) {
            println!("answer: {chosen} by {by}");
            return acknowledge(&row);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    println!("Question timed out after {seconds}s");
}

/// Declares a tool that may take so long, as a runner does that has tools, and hangs in it with its runner.
fn use_tool(ms: i64) {
    let sql = "INSERT OR REPLACE INTO container_state (id, current_tool, tool_declared_timeout_ms, tool_started_at, \
               updated_at) VALUES (1, 'Bash', ?1, datetime('now'), datetime('now'))";
    outbound().execute(sql, [ms]).expect("it is declared");
    // SAFETY: it takes numbers only.
    unsafe { libc::kill(libc::getppid(), libc::SIGSTOP) };
    std::thread::sleep(Duration::from_secs(600));
}

fn folder() -> PathBuf {
    PathBuf::from(std::env::var_os("TMPDIR").expect("it is set")).join("../..")
}

fn inbound() -> rusqlite::Result<Connection> {
    let db = Connection::open_with_flags(folder().join("inbound.db"), OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    db.busy_timeout(Duration::from_secs(5))?;
    Ok(db)
}

fn outbound() -> Connection {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE;
    let db = Connection::open_with_flags(folder().join("out/outbound.db"), flags).expect("it opens");
    db.busy_timeout(Duration::from_secs(20)).expect("it waits");
    db
}

fn ask(id: &str, more: &str) {
    let routing = "SELECT channel_type, platform_id, thread_id FROM session_routing WHERE id = 1";
    let (channel, chat, thread): (Option<String>, Option<String>, Option<String>) = loop {
        let read = |r: &rusqlite::Row<'_>| Ok((r.get(0)?, r.get(1)?, r.get(2)?));
        match inbound().and_then(|db| db.query_row(routing, [], read)) {
            Ok(routing) => break routing,
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    };
    let content = format!(
        r#"{{"type":"ask_question","questionId":"{id}","title":"Deploy","question":"Now?","options":[{{"label":"Yes","selectedLabel":"Yes","value":"Yes"}},{{"label":"No","selectedLabel":"Not now","value":"n"}}{more}]}}"#
    );
    let highest = inbound().and_then(|db| {
        db.query_row("SELECT COALESCE(MAX(seq), 0) FROM messages_in", [], |r| r.get::<_, i64>(0))
    });
    outbound()
        .execute(
            "INSERT OR IGNORE INTO messages_out (id, seq, timestamp, kind, platform_id, channel_type, thread_id, content) \
             VALUES (?1, ((MAX(?2, (SELECT COALESCE(MAX(seq), 0) FROM messages_out)) + 1) / 2) * 2 + 1, \
             datetime('now'), 'chat-sdk', ?3, ?4, ?5, ?6)",
            params![id, highest.unwrap_or(0), chat, channel, thread, content],
        )
        .expect("it is asked");
}

/// The row that answers, what was chosen, and by whom.
fn answer(id: &str) -> rusqlite::Result<Option<(String, String, String)>> {
    let sql = "SELECT id, json_extract(content, '$.selectedOption'), json_extract(content, '$.userId') FROM messages_in \
               WHERE status = 'pending' AND kind = 'system' AND instr(content, ?1)";
    let found = inbound()?
        .query_row(sql, [format!("\"questionId\":\"{id}\"")], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))
        .optional()?;
    let taken = "SELECT EXISTS (SELECT 1 FROM processing_ack WHERE message_id = ?1)";
    Ok(match found {
        Some(row) if outbound().query_row(taken, [&row.0], |r| r.get::<_, bool>(0))? => None,
        row => row,
    })
}

fn acknowledge(row: &str) {
    let sql = "INSERT OR REPLACE INTO processing_ack (message_id, status, status_changed) \
               VALUES (?1, 'completed', datetime('now'))";
    outbound().execute(sql, [row]).expect("it is acknowledged");
}
