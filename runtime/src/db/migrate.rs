//! The migrations of all modules, in the order in which they were written. Each is applied once; none is ever changed.

use crate::error::{Error, Result};
use rusqlite::Connection;
use rusqlite_migration::{M, MigrationDefinitionError, Migrations};

const ALL: &[M<'static>] = &[
    M::up(include_str!("migrations/0000_meta.sql")),
    M::up(include_str!("../agents/migrations/0001_agent_groups.sql")),
    M::up(include_str!("../messaging_groups/migrations/0002_messaging_groups.sql")),
    M::up(include_str!("../wirings/migrations/0003_wirings.sql")),
    M::up(include_str!("../destinations/migrations/0004_destinations.sql")),
    M::up(include_str!("../sessions/migrations/0005_sessions.sql")),
    M::up(include_str!("../ledger/migrations/0006_ledger.sql")),
    M::up(include_str!("../drops/migrations/0007_drops.sql")),
    M::up(include_str!("../ledger/migrations/0008_files.sql")),
    M::up(include_str!("../sessions/migrations/0012_adoptions.sql")),
    M::up(include_str!("../sessions/migrations/0011_outbound_seq.sql")),
    M::up(include_str!("../ledger/migrations/0013_hops.sql")),
    M::up(include_str!("../plugin_state/migrations/0014_plugin_state.sql")),
    M::up(include_str!("../messaging_groups/migrations/0016_conversation.sql")),
    M::up(include_str!("../questions/migrations/0015_questions.sql")),
    M::up(include_str!("../ledger/migrations/0017_turns.sql")),
    M::up(include_str!("../ledger/migrations/0018_failing.sql")),
    M::up(include_str!("../ledger/migrations/0019_states.sql")),
    M::up(include_str!("../ledger/migrations/0020_set_back.sql")),
    M::up(include_str!("../ledger/migrations/0021_deferred.sql")),
    M::up(include_str!("../sessions/migrations/0022_agent_shared.sql")),
    M::up(include_str!("../ledger/migrations/0023_retention.sql")),
    M::up(include_str!("../ledger/migrations/0024_sessions_total.sql")),
    M::up(include_str!("../ledger/migrations/0025_new_out.sql")),
    M::up(include_str!("../ledger/migrations/0026_failed.sql")),
    M::up(include_str!("../ledger/migrations/0027_gives_way.sql")),
    M::up(include_str!("../ledger/migrations/0028_later.sql")),
    M::up(include_str!("../ledger/migrations/0029_named_messages.sql")),
    M::up(include_str!("../wirings/migrations/0030_changes.sql")),
    M::up(include_str!("../ledger/migrations/0031_own_words.sql")),
    M::up(include_str!("../taken_webhooks/migrations/0032_taken_webhooks.sql")),
    M::up(include_str!("../questions/migrations/0033_of_modules.sql")),
    M::up(include_str!("../ledger/migrations/0034_parts.sql")),
    M::up(include_str!("../messaging_groups/migrations/0035_moved.sql")),
    M::up(include_str!("../plugin_state/migrations/0036_secret_state.sql")),
    M::up(include_str!("../plugin_state/migrations/0037_state_keys.sql")),
    M::up(include_str!("../questions/migrations/0038_with_buttons.sql")),
    M::up(include_str!("../sessions/migrations/0039_unsubscribed.sql")),
    M::up(include_str!("../ledger/migrations/0040_doubled.sql")),
];

/// Applies the migrations that are missing.
///
/// # Errors
/// The database was written by a newer version, or SQLite fails.
pub fn to_latest(db: &mut Connection) -> Result<()> {
    Migrations::from_slice(ALL).to_latest(db).map_err(|error| match error {
        rusqlite_migration::Error::MigrationDefinition(MigrationDefinitionError::DatabaseTooFarAhead) => {
            Error::Setup(
                "this home was written by a newer Vestibule; update Vestibule, or choose another home with \
                 VESTIBULE_HOME"
                    .into(),
            )
        }
        rusqlite_migration::Error::RusqliteError { err, .. } => Error::Db(err),
        error => Error::Setup(format!("the central database cannot be brought up to date: {error}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A database as the migrations before this one left it, with these rows, brought up to date.
    fn upgraded(before: &str, rows: &str) -> Connection {
        let mut db = super::super::empty_in_memory();
        let count = ALL.iter().position(|one| format!("{one:?}").contains(before)).expect("its words");
        Migrations::from_slice(ALL).to_version(&mut db, count).expect("it is made");
        db.execute_batch(rows).expect("it fills");
        to_latest(&mut db).expect("it is brought up to date");
        db
    }

    fn one<T: rusqlite::types::FromSql>(db: &Connection, sql: &str) -> Option<T> {
        db.query_row(sql, [], |r| r.get(0)).expect("a row")
    }

    const AGENT: &str = "INSERT INTO agent_groups (id, name, folder, created_at) VALUES ('ag', 'a', 'a', 0); \
                         INSERT INTO sessions (id, agent_group_id, created_at, last_active) VALUES ('s', 'ag', 0, 0);";

    #[test]
    fn deliveries_keep_their_order_and_their_story() {
        let row = |id: &str, seq: i64, state: &str, taken_at: i64| {
            format!(
                "INSERT INTO deliveries (session_id, message_out_id, seq, kind, content, content_bytes, state, attempts, \
                 last_error, look_up, taken_at, change) VALUES ('s', '{id}', {seq}, 'chat', '{{}}', 2, '{state}', 3, 'why', 1, \
                 {taken_at}, 4);"
            )
        };
        let rows = [
            AGENT.to_owned(),
            row("b", 5, "parked", 20),
            row("a", 3, "failed", 20),
            row("c", 1, "pending", 30),
        ];
        let db = upgraded("deliveries_anew", &rows.concat());
        let story = "SELECT group_concat(message_out_id || state || position || due_at || attempts || last_error || look_up || \
                     change || content_bytes, ' ') FROM (SELECT * FROM deliveries ORDER BY position)";
        let want = "afailed1203why142 bparked2203why142 cpending3303why142";
        assert_eq!(one::<String>(&db, story).as_deref(), Some(want));
        assert_eq!(one(&db, "SELECT last_position FROM sessions"), Some(3));
    }

    #[test]
    fn deliveries_go_with_their_session_and_stay_as_they_were() {
        let row = |session: &str, id: &str| {
            format!(
                "INSERT INTO deliveries (session_id, message_out_id, seq, kind, content, content_bytes, state, attempts, \
                 last_error, look_up, taken_at, due_at, position, change) VALUES ('{session}', '{id}', 7, 'chat', '{{}}', 2, \
                 'parked', 3, 'why', 1, 5, 6, 9, 4);"
            )
        };
        let db = upgraded("deliveries_of_all", &[AGENT.to_owned(), row("s", "a")].concat());
        let story = "SELECT session_id || message_out_id || seq || state || attempts || last_error || look_up || taken_at || \
                     due_at || position || change || content_bytes FROM deliveries";
        assert_eq!(one::<String>(&db, story).as_deref(), Some("sa7parked3why156942"));
        db.execute_batch(&row("module:guard", "b")).expect("it needs no session");
        db.execute_batch("DELETE FROM agent_groups").expect("its sessions go with it");
        assert_eq!(
            one::<String>(&db, "SELECT group_concat(message_out_id) FROM deliveries").as_deref(),
            Some("b")
        );
    }

    #[test]
    fn the_session_for_all_stays_the_one_that_was_used() {
        let chat = |id: &str, mode: &str| {
            format!(
                "INSERT INTO messaging_groups (id, channel_type, account, platform_id, created_at) VALUES ('{id}', 'x', 'main', \
                 '{id}', 0); INSERT INTO wirings (id, messaging_group_id, agent_group_id, engage_mode, session_mode, \
                 ignored_message_policy, created_at) VALUES ('w{id}', '{id}', 'ag', 'mention', '{mode}', 'drop', 0);"
            )
        };
        let session = |id: &str, chat: &str, thread: &str, at: i64| {
            format!(
                "INSERT INTO sessions (id, agent_group_id, messaging_group_id, thread_id, created_at, last_active) \
                 VALUES ('{id}', 'ag', {chat}, {thread}, {at}, 0);"
            )
        };
        let all = "SELECT group_concat(id) FROM sessions WHERE agent_shared";
        let wired = [chat("all", "agent-shared"), chat("own", "shared")].concat();
        for (sessions, want) in [
            (session("old", "'all'", "NULL", 1) + &session("new", "'all'", "NULL", 2), Some("new")),
            (session("old", "'all'", "NULL", 1) + &session("new", "'own'", "NULL", 2), Some("old")),
            (session("old", "'all'", "NULL", 1) + &session("new", "'all'", "'t'", 2), Some("old")),
            (session("new", "NULL", "NULL", 2), Some("new")),
        ] {
            let db = upgraded("agent_shared", &format!("{AGENT} DELETE FROM sessions; {wired} {sessions}"));
            assert_eq!(one::<String>(&db, all).as_deref(), want, "{sessions}");
        }
        let db = upgraded("agent_shared", &format!("{AGENT} {}", chat("own", "shared")));
        assert_eq!(one::<String>(&db, all), None, "no wiring asks for one");
    }

    /// Without an exception: what names a row is said by the table, not by the code that fills it.
    #[test]
    fn every_table_has_a_primary_key() {
        let db = super::super::in_memory();
        let tables = "SELECT name, EXISTS (SELECT 1 FROM pragma_table_info(tables.name) WHERE pk > 0) FROM sqlite_schema tables \
                      WHERE type = 'table'";
        let mut statement = db.prepare(tables).expect("it is SQL");
        let rows = statement.query_map([], |r| Ok((r.get(0)?, r.get(1)?))).expect("it answers");
        let rows: Vec<(String, bool)> = rows.collect::<rusqlite::Result<_>>().expect("rows");
        assert!(rows.len() > 15 && rows.iter().all(|(_, has_key)| *has_key), "{rows:?}");
    }
}
