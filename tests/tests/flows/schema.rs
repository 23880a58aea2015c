//! Session files made here are NanoClaw's: what its two programs prepare is accepted and does the same.

use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use vestibule_session::{InboundWriter, SessionDir};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn fixture(name: &str) -> String {
    fs::read_to_string(root().join("tests/fixtures/nanoclaw").join(name)).unwrap()
}

fn open(path: &Path) -> Connection {
    Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)
        .unwrap()
}

/// A new session as the runtime makes it.
fn ours(root: &Path) -> SessionDir {
    let dir = SessionDir::new(root.join("ours"));
    drop(InboundWriter::rebuild(&dir).unwrap());
    dir
}

/// A new session of NanoClaw's newest layout.
fn theirs(root: &Path) -> SessionDir {
    let dir = SessionDir::new(root.join("theirs"));
    fs::create_dir(dir.root()).unwrap();
    open(&dir.inbound_db()).execute_batch(&fixture("inbound-5-on-wake.sql")).unwrap();
    open(&dir.outbound_db()).execute_batch(&fixture("outbound-4-tool.sql")).unwrap();
    dir
}

/// What SQLite remembers of a file's schema, in a fixed order.
fn schema(path: &Path) -> String {
    let db = open(path);
    let mut statement = db
        .prepare("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY type DESC, tbl_name, name")
        .unwrap();
    let all = statement.query_map([], |row| row.get::<_, String>(0)).unwrap();
    all.map(|sql| format!("{};\n", sql.unwrap())).collect()
}

/// Anybody may rely on `docs/schema.sql`, so it must not move unnoticed. With `VESTIBULE_WRITE_GOLDENS=1`
/// this test writes it.
#[test]
fn the_schema_is_as_documented() {
    let home = tempfile::tempdir().unwrap();
    let dir = ours(home.path());
    let text = format!(
        "-- The files of a session, as they are made today. Generated: VESTIBULE_WRITE_GOLDENS=1 cargo nextest run \
         --workspace the_schema_is_as_documented\n-- Names, types and words are NanoClaw v2's; ours are the columns \
         `account` and `platform_message_id` at the end of\n-- messages_in, `account` elsewhere, and the tables \
         vestibule_*.\n\n-- inbound.db\n\n{}\n-- outbound.db\n\n{}",
        schema(&dir.inbound_db()),
        schema(&dir.outbound_db())
    );
    let golden = root().join("docs/schema.sql");
    if std::env::var_os("VESTIBULE_WRITE_GOLDENS").is_some() {
        fs::write(&golden, &text).unwrap();
    }
    let written = fs::read_to_string(&golden).unwrap_or_default();
    assert_eq!(text, written, "docs/schema.sql differs from the files made here");
}

/// The statements of a fixture, each with what it is for.
fn statements(file: &str) -> Vec<(String, String)> {
    let text = fixture(file);
    let parts = text.split("-- name: ").skip(1).map(|part| part.split_once('\n').unwrap());
    // The time stands still, so that both sides write the same.
    let still = |sql: &str| sql.trim().replace("datetime('now'", "datetime('2026-06-01 12:00:00'");
    parts.map(|(name, sql)| (format!("{file}: {name}"), still(sql))).collect()
}

/// Runs one statement; the rows it answers.
fn run(db: &Connection, name: &str, sql: &str, round: i64) -> Vec<Vec<Value>> {
    let mut statement = db.prepare(sql).unwrap_or_else(|error| panic!("{name}: {error}"));
    for (parameter, value) in [
        (":id", Value::from(format!("m{round}:ag"))),
        (":reply", Value::from(format!("r{round}"))),
        (":seq", Value::from(if name.contains("host") { round * 4 + 2 } else { round * 4 + 7 })),
        (":chat", Value::from("slack:C1".to_owned())),
        (":channel", Value::from("slack".to_owned())),
        (":content", Value::from("{\"text\":\"hi\"}".to_owned())),
        (":key", Value::from("continuation:claude".to_owned())),
        (":value", Value::from(format!("v{round}"))),
        (":first", Value::from(0)),
        (":limit", Value::from(10)),
    ] {
        if let Some(index) = statement.parameter_index(parameter).unwrap() {
            statement.raw_bind_parameter(index, value).unwrap();
        }
    }
    let columns = statement.column_count();
    let (mut rows, mut found) = (statement.raw_query(), Vec::new());
    while let Some(row) = rows.next().unwrap_or_else(|error| panic!("{name}: {error}")) {
        found.push((0..columns).map(|i| row.get(i).unwrap()).collect());
    }
    found
}

fn attached(dir: &SessionDir, mode: &str) -> Connection {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_URI;
    let db = Connection::open_with_flags(dir.outbound_db(), flags).unwrap();
    db.execute_batch("PRAGMA foreign_keys = ON").unwrap();
    let inbound = format!("file:{}?mode={mode}", dir.inbound_db().display());
    db.execute("ATTACH ?1 AS inbound", [inbound]).unwrap();
    db
}

/// All rows, by table; of the columns that NanoClaw knows.
fn dump(dir: &SessionDir, like: &SessionDir) -> BTreeMap<String, Vec<Vec<Value>>> {
    let mut all = BTreeMap::new();
    for (file, known) in [(dir.inbound_db(), like.inbound_db()), (dir.outbound_db(), like.outbound_db())] {
        let (db, known) = (open(&file), open(&known));
        for table in run(&known, "", "SELECT name FROM sqlite_schema WHERE type = 'table'", 0) {
            let Value::Text(table) = &table[0] else { panic!("a table has a name") };
            let columns = run(
                &known,
                "",
                &format!("SELECT group_concat('\"' || name || '\"', ', ') FROM pragma_table_info('{table}')"),
                0,
            );
            let Value::Text(columns) = &columns[0][0] else { panic!("{table} has columns") };
            all.insert(
                table.clone(),
                run(&db, table, &format!("SELECT {columns} FROM {table} ORDER BY 1"), 0),
            );
        }
    }
    all
}

#[test]
fn what_nanoclaws_programs_prepare_does_the_same_in_files_of_ours() {
    let home = tempfile::tempdir().unwrap();
    let (ours, theirs) = (ours(home.path()), theirs(home.path()));
    let (host, runner) = (statements("host.sql"), statements("runner.sql"));
    assert!(host.len() >= 20 && runner.len() >= 17, "{} {}", host.len(), runner.len());
    for round in 0..3 {
        // Opened anew for each turn, as both programs do; the runner cannot write the host's file.
        for (mode, all) in [("rw", &host), ("ro", &runner)] {
            let (a, b) = (attached(&ours, mode), attached(&theirs, mode));
            for (name, sql) in all {
                assert_eq!(run(&a, name, sql, round), run(&b, name, sql, round), "{name}, round {round}");
            }
        }
    }
    let (a, b) = (dump(&ours, &theirs), dump(&theirs, &theirs));
    assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>());
    for (table, rows) in &b {
        assert!(!rows.is_empty(), "{table} was used");
        assert_eq!(&a[table], rows, "{table}");
    }
    // And our own program goes on with the file.
    assert_eq!(InboundWriter::open(&ours).unwrap().applied().unwrap().change, 0);
    for file in [ours.inbound_db(), ours.outbound_db()] {
        assert_eq!(run(&open(&file), "", "PRAGMA integrity_check", 0), [[Value::from("ok".to_owned())]]);
    }
}
