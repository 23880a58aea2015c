//! `inbound.db`: the ledger writes it, the runner reads it.

use crate::{Result, SessionDir};
use rusqlite::{Connection, OpenFlags};
use std::time::Duration;

#[cfg(feature = "ledger")]
pub use writer::{Applied, InboundWriter, Projection, Pruned};

/// Opens without creating. Only this and its twin in `outbound.rs` open session databases.
#[allow(clippy::disallowed_methods, reason = "this module opens the database")]
fn open(path: &std::path::Path, flags: OpenFlags, patience: Duration) -> Result<Connection> {
    let opened = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX);
    let db = opened.map_err(|error| crate::Error::of_open(error, path))?;
    db.busy_timeout(patience)?;
    Ok(db)
}

/// A destination, from its columns in the order of the table.
#[cfg(any(feature = "ledger", feature = "runner"))]
fn destination_of(r: &rusqlite::Row<'_>) -> rusqlite::Result<crate::Destination> {
    Ok(crate::Destination {
        name: r.get(0)?,
        display_name: r.get(1)?,
        kind: r.get(2)?,
        channel_type: r.get(3)?,
        platform_id: r.get(4)?,
        agent_group_id: r.get(5)?,
        account: r.get(6)?,
    })
}

/// A row with every column.
#[cfg(any(feature = "ledger", feature = "runner"))]
fn message_of(r: &rusqlite::Row<'_>) -> rusqlite::Result<crate::MessageIn> {
    let timestamp: String = r.get("timestamp")?;
    let process_after: Option<String> = r.get("process_after")?;
    Ok(crate::MessageIn {
        id: r.get("id")?,
        seq: r.get::<_, Option<i64>>("seq")?.unwrap_or_default(),
        kind: r.get("kind")?,
        timestamp: crate::parse_time(&timestamp).unwrap_or(vestibule_plugin_api::Timestamp(0)),
        status: r.get::<_, Option<String>>("status")?.unwrap_or_default(),
        process_after: process_after.as_deref().and_then(crate::parse_time),
        recurrence: r.get("recurrence")?,
        series_id: r.get("series_id")?,
        tries: r.get::<_, Option<i64>>("tries")?.unwrap_or_default(),
        trigger: r.get("trigger")?,
        platform_id: r.get("platform_id")?,
        channel_type: r.get("channel_type")?,
        thread_id: r.get("thread_id")?,
        content: r.get("content")?,
        source_session_id: r.get("source_session_id")?,
        on_wake: r.get("on_wake")?,
        account: r.get("account")?,
        platform_message_id: r.get("platform_message_id")?,
    })
}

#[cfg(feature = "ledger")]
mod writer {
    use super::*;
    use crate::{Delivered, Destination, MessageIn, Routing, crash, format_time};
    use rusqlite::{OptionalExtension, params};
    use std::collections::HashMap;
    use std::fs;

    /// A writer never waits long for a lock: a program that holds one costs its own session only.
    const PATIENCE: Duration = Duration::from_millis(20);

    /// The layout that `inbound.sql` makes. A file of another layout is made again: count this up with every change
    /// there.
    const LAYOUT: i64 = 1;

    /// What a file shows of its session.
    #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
    pub struct Applied {
        /// The session's last change number.
        pub change: i64,
        /// The last change number of its agent's destinations.
        pub destinations: i64,
        /// Whether it has the layout of this version; a file with another one is made again.
        pub is_current: bool,
    }

    impl Applied {
        /// Whether something must be written before the file shows `wanted`.
        pub fn is_behind(self, wanted: Applied) -> bool {
            self.change < wanted.change || self.destinations != wanted.destinations
        }
    }

    /// What must go from the file and its folder.
    #[derive(Debug, Default)]
    pub struct Pruned {
        /// The ids of the messages that go.
        pub messages: Vec<String>,
        /// The ids of the replies whose outcome goes; it goes also when the reply is open again.
        pub delivered: Vec<String>,
        /// The folders of `inbox/` that go.
        pub inbox: Vec<String>,
    }

    /// The ledger's changes in one session since a change number.
    #[derive(Debug, Default)]
    pub struct Projection {
        /// The session's change number after all of this.
        pub change: i64,
        /// The change number of its agent's destinations.
        pub destinations: i64,
        /// Replies up to this number are settled and forgotten: their runner may delete them.
        pub pruned_floor: i64,
        /// Rows to delete.
        pub pruned: Pruned,
        /// Rows to insert or replace.
        pub messages: Vec<MessageIn>,
        /// Outcomes to insert or replace.
        pub delivered: Vec<Delivered>,
        /// Destinations and routing, replaced wholesale when they changed.
        pub routing: Option<(Vec<Destination>, Routing)>,
    }

    /// The only writer of `inbound.db`. Opened, used and dropped for each projection.
    pub struct InboundWriter {
        db: Connection,
    }

    impl InboundWriter {
        /// Opens the file. This rolls back a hot journal of a crashed writer.
        ///
        /// # Errors
        /// [`crate::Error::Missing`] and [`crate::Error::Damaged`] both call for [`InboundWriter::rebuild`].
        pub fn open(dir: &SessionDir) -> Result<InboundWriter> {
            let db = open(&dir.inbound_db(), OpenFlags::SQLITE_OPEN_READ_WRITE, PATIENCE);
            // A file that is there and cannot be opened is held by a lease.
            let db = db.map_err(|error| match error {
                crate::Error::Sqlite(error)
                    if error.sqlite_error_code() == Some(rusqlite::ErrorCode::CannotOpen) =>
                {
                    crate::Error::Busy(error)
                }
                error => error,
            })?;
            InboundWriter::prepare(db)
        }

        /// Opens the file to look at it before it is made again: nothing in its folder changes.
        ///
        /// # Errors
        /// The file cannot be read as it is.
        pub fn look(dir: &SessionDir) -> Result<InboundWriter> {
            let db = open(&dir.inbound_db(), OpenFlags::SQLITE_OPEN_READ_ONLY, PATIENCE)?;
            db.execute_batch("PRAGMA mmap_size = 0")?;
            Ok(InboundWriter { db })
        }

        /// Puts an empty file in the place of whatever is there. A stale journal beside a new file would take rows
        /// back, and an old file without its journal would show half a commit: so the old file goes, then its journal,
        /// and only then comes the new one.
        ///
        /// # Errors
        /// [`crate::Error::Kept`] while a keeper lives, and with it perhaps a runner that would go on reading the old
        /// file. Else the file system or SQLite fails.
        pub fn rebuild(dir: &SessionDir) -> Result<InboundWriter> {
            dir.create()?;
            let _no_keeper = hold(dir)?;
            let path = dir.inbound_db();
            let fresh = path.with_extension("db.new");
            let _ = fs::remove_file(&fresh);
            {
                let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
                let db = open(&fresh, flags, PATIENCE)?;
                db.execute_batch("PRAGMA journal_mode = DELETE; BEGIN")?;
                db.execute_batch(include_str!("inbound.sql"))?;
                db.execute(
                    "INSERT INTO vestibule_projection (id, change, layout) VALUES (1, 0, ?1)",
                    [LAYOUT],
                )?;
                db.execute_batch("COMMIT")?;
            }
            let folder = fs::File::open(dir.root())?;
            crash::point("inbound: the new file is made, the old one is there");
            if remove(&path)? {
                crash::point("inbound: the old file is gone, its journal is there");
            }
            if remove(&path.with_extension("db-journal"))? {
                folder.sync_all()?; // or the journal may come back beside the new file
                crash::point("inbound: the old file and its journal are gone");
            }
            fs::rename(&fresh, &path)?;
            crash::point("inbound: the new file is in its place, not flushed");
            folder.sync_all()?;
            InboundWriter::open(dir)
        }

        /// The ledger is what lasts; the file is a projection that can be made again, so it pays for no sync.
        fn prepare(db: Connection) -> Result<InboundWriter> {
            db.execute_batch("PRAGMA journal_mode = DELETE; PRAGMA synchronous = OFF; PRAGMA mmap_size = 0")?;
            Ok(InboundWriter { db })
        }

        /// Which change the file shows.
        ///
        /// # Errors
        /// [`crate::Error::Damaged`] when the file was not written by a ledger.
        pub fn applied(&self) -> Result<Applied> {
            let read = self.db.query_row(
                "SELECT change, destinations, layout FROM vestibule_projection WHERE id = 1",
                [],
                |r| {
                    let is_current = r.get::<_, i64>(2)? == LAYOUT;
                    Ok(Applied { change: r.get(0)?, destinations: r.get(1)?, is_current })
                },
            );
            let unknown = |error: &rusqlite::Error| {
                matches!(error.sqlite_error_code(), Some(rusqlite::ErrorCode::Unknown) | None)
            };
            // An older file of this runtime does not have all of these columns.
            let read = match read {
                Err(error) if unknown(&error) => {
                    self.db.query_row("SELECT change FROM vestibule_projection WHERE id = 1", [], |r| {
                        Ok(Applied { change: r.get(0)?, ..Applied::default() })
                    })
                }
                read => read,
            };
            read.map_err(|error| match unknown(&error) {
                true => crate::Error::Damaged(error.to_string()),
                false => error.into(),
            })
        }

        /// The status of a message, as the file shows it; `None` when the file does not have the message.
        ///
        /// # Errors
        /// As [`InboundWriter::open`].
        pub fn status_of(&self, id: &str) -> Result<Option<String>> {
            let mut statement = self.db.prepare_cached("SELECT status FROM messages_in WHERE id = ?1")?;
            Ok(statement.query_row([id], |r| r.get(0)).optional()?)
        }

        /// The outcome of a reply, as the file shows it: how it ended, and the platform's id of it.
        ///
        /// # Errors
        /// As [`InboundWriter::open`].
        pub fn outcome_of(&self, message_out_id: &str) -> Result<Option<(String, Option<String>)>> {
            let mut statement = self.db.prepare_cached(
                "SELECT status, platform_message_id FROM delivered WHERE message_out_id = ?1",
            )?;
            Ok(statement.query_row([message_out_id], |r| Ok((r.get(0)?, r.get(1)?))).optional()?)
        }

        /// The highest number of a message in the file, or 0.
        ///
        /// # Errors
        /// As [`InboundWriter::open`].
        pub fn highest_seq(&self) -> Result<i64> {
            Ok(self.db.query_row("SELECT COALESCE(MAX(seq), 0) FROM messages_in", [], |r| r.get(0))?)
        }

        /// Looks for damage that a runner meets and no writer does: in the pages, in the tables, in the numbers, of which
        /// the ledger gave out none above `last_seq`.
        ///
        /// # Errors
        /// [`crate::Error::Damaged`] with the first fault found, or as [`InboundWriter::open`].
        pub fn check(&self, last_seq: i64) -> Result<()> {
            crate::check::check(&self.db)?;
            let expected = Connection::open_in_memory()?;
            expected.execute_batch(include_str!("inbound.sql"))?;
            if schema(&self.db)? != schema(&expected)? {
                return Err(crate::Error::Damaged("its tables are not those that a ledger makes".to_owned()));
            }
            let odd = self.db.query_row(
                "SELECT COUNT(*) FROM messages_in WHERE typeof(seq) <> 'integer' OR seq > ?1 OR seq < 0",
                [last_seq],
                |r| r.get::<_, i64>(0),
            )?;
            match odd {
                0 => Ok(()),
                _ => Err(crate::Error::Damaged(
                    "messages_in has a number that the ledger never gave".to_owned(),
                )),
            }
        }

        /// The messages that wait in the file, oldest first. A ledger wrote the file, so it has every column.
        ///
        /// # Errors
        /// As [`InboundWriter::open`].
        pub fn pending(&self) -> Result<Vec<MessageIn>> {
            let mut statement =
                self.db.prepare("SELECT * FROM messages_in WHERE status = 'pending' ORDER BY seq")?;
            let rows = statement.query_map([], message_of)?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        }

        /// Applies a projection in one transaction. Applying it twice changes nothing.
        ///
        /// # Errors
        /// [`crate::Error::Busy`]: nothing was written, try again soon. [`crate::Error::Damaged`]: its tables are not those
        /// that a ledger makes.
        pub fn apply(&mut self, projection: &Projection) -> Result<()> {
            use rusqlite::ErrorCode::{ConstraintViolation, TypeMismatch, Unknown};
            self.write(projection).map_err(|error| match error {
                crate::Error::Sqlite(error)
                    if matches!(
                        error.sqlite_error_code(),
                        Some(Unknown | ConstraintViolation | TypeMismatch)
                    ) =>
                {
                    crate::Error::Damaged(error.to_string())
                }
                error => error,
            })
        }

        fn write(&mut self, projection: &Projection) -> Result<()> {
            let tx = self.db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            for m in &projection.messages {
                tx.prepare_cached(
                    "INSERT OR REPLACE INTO messages_in (id, seq, kind, timestamp, status, process_after, recurrence, \
                     series_id, tries, \"trigger\", platform_id, channel_type, thread_id, content, source_session_id, \
                     on_wake, account, platform_message_id) \
                     VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,?18)",
                )?
                .execute(params![
                    m.id,
                    m.seq,
                    m.kind,
                    format_time(m.timestamp),
                    m.status,
                    m.process_after.map(format_time),
                    m.recurrence,
                    m.series_id,
                    m.tries,
                    m.trigger,
                    m.platform_id,
                    m.channel_type,
                    m.thread_id,
                    m.content,
                    m.source_session_id,
                    m.on_wake,
                    m.account,
                    m.platform_message_id,
                ])?;
            }
            for d in &projection.delivered {
                tx.prepare_cached(
                    "INSERT OR REPLACE INTO delivered (message_out_id, platform_message_id, status, delivered_at) \
                     VALUES (?1,?2,?3,?4)",
                )?
                .execute(params![
                    d.message_out_id,
                    d.platform_message_id,
                    d.status.as_str(),
                    format_time(d.delivered_at)
                ])?;
            }
            if let Some((destinations, routing)) = &projection.routing {
                replace_routing(&tx, destinations, routing)?;
            }
            for (sql, ids) in [
                ("DELETE FROM messages_in WHERE id = ?1", &projection.pruned.messages),
                ("DELETE FROM delivered WHERE message_out_id = ?1", &projection.pruned.delivered),
            ] {
                for id in ids {
                    tx.prepare_cached(sql)?.execute([id])?;
                }
            }
            tx.execute(
                "UPDATE vestibule_projection SET change = ?1, destinations = ?2, pruned_floor = ?3 WHERE id = 1",
                [projection.change, projection.destinations, projection.pruned_floor],
            )?;
            crash::point("inbound: before the commit");
            tx.commit()?;
            crash::point("inbound: after the commit");
            Ok(())
        }
    }

    /// The keeper's lock, held while the file is made again: no keeper starts meanwhile, and none lives.
    fn hold(dir: &SessionDir) -> Result<fs::File> {
        use rustix::fs::{FlockOperation, flock};
        let file = fs::File::options().create(true).truncate(false).write(true).open(dir.keeper_lock())?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(file),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(crate::Error::Kept),
            Err(error) => Err(std::io::Error::from(error).into()),
        }
    }

    /// Removes a file; false when it was not there.
    fn remove(path: &std::path::Path) -> Result<bool> {
        match fs::remove_file(path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn replace_routing(tx: &Connection, destinations: &[Destination], routing: &Routing) -> Result<()> {
        let mut there = tx.prepare_cached(
            "SELECT name, display_name, type, channel_type, platform_id, agent_group_id, account FROM destinations",
        )?;
        let there = there.query_map([], destination_of)?.collect::<rusqlite::Result<Vec<_>>>()?;
        let mut there: HashMap<&str, &Destination> = there.iter().map(|d| (d.name.as_str(), d)).collect();
        // When one of many destinations comes or goes, the others stay as they are.
        for d in destinations.iter().filter(|d| there.remove(d.name.as_str()) != Some(d)) {
            tx.prepare_cached(
                "INSERT OR REPLACE INTO destinations (name, display_name, type, channel_type, platform_id, \
                 agent_group_id, account) VALUES (?1,?2,?3,?4,?5,?6,?7)",
            )?
            .execute(params![
                d.name,
                d.display_name,
                d.kind,
                d.channel_type,
                d.platform_id,
                d.agent_group_id,
                d.account
            ])?;
        }
        for name in there.keys() {
            tx.prepare_cached("DELETE FROM destinations WHERE name = ?1")?.execute([name])?;
        }
        tx.execute(
            "INSERT OR REPLACE INTO session_routing (id, channel_type, platform_id, thread_id, account) \
             VALUES (1,?1,?2,?3,?4)",
            params![routing.channel_type, routing.platform_id, routing.thread_id, routing.account],
        )?;
        Ok(())
    }

    /// Every table, index, view and trigger: its name, and what makes it.
    fn schema(db: &Connection) -> Result<Vec<(String, Option<String>)>> {
        let mut statement = db.prepare("SELECT name, sql FROM sqlite_schema ORDER BY name")?;
        let rows = statement.query_map([], |r| Ok((r.get(0)?, r.get(1)?)))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn damage_that_only_a_runner_meets_is_found() {
            let row = |seq: &str| {
                format!(
                    "INSERT INTO messages_in (id, seq, kind, timestamp, status, content) \
                     VALUES ('m', {seq}, 'chat', '', 'pending', '{{}}')"
                )
            };
            for (damage, found) in [
                (row("4"), None),
                (row("6"), Some("never gave")),
                (row("9223372036854775807"), Some("never gave")),
                (row("'x'"), Some("never gave")),
                ("DROP TABLE destinations".to_owned(), Some("tables")),
                (
                    "CREATE TRIGGER t AFTER INSERT ON messages_in BEGIN SELECT RAISE(ABORT, 'no'); END"
                        .to_owned(),
                    Some("tables"),
                ),
            ] {
                let folder = tempfile::tempdir().expect("there is space");
                let dir = SessionDir::new(folder.path());
                let file = InboundWriter::rebuild(&dir).expect("it is made");
                file.db.execute_batch(&damage).unwrap_or_else(|why| panic!("{damage}: {why}"));
                match (found, file.check(4)) {
                    (None, checked) => checked.expect("nothing is damaged"),
                    (Some(words), Err(crate::Error::Damaged(why))) => {
                        assert!(why.contains(words), "{damage}: {why}");
                    }
                    (Some(_), other) => panic!("{damage}: {other:?}"),
                }
            }
        }

        #[test]
        fn damage_in_a_page_that_no_writer_reads_is_found() {
            let folder = tempfile::tempdir().expect("there is space");
            let dir = SessionDir::new(folder.path());
            let file = InboundWriter::rebuild(&dir).expect("it is made");
            let root = "SELECT rootpage, (SELECT page_size FROM pragma_page_size) FROM sqlite_schema \
                        WHERE name = 'destinations'";
            let (page, size): (u32, u32) =
                file.db.query_row(root, [], |r| Ok((r.get(0)?, r.get(1)?))).expect("it is there");
            drop(file);
            let mut bytes = std::fs::read(dir.inbound_db()).expect("it is read");
            bytes[((page - 1) * size) as usize..(page * size) as usize].fill(0);
            std::fs::write(dir.inbound_db(), bytes).expect("it is written");
            let file = InboundWriter::open(&dir).expect("no writer meets it");
            assert_eq!(file.applied().expect("nor by reading that").change, 0);
            assert!(matches!(file.check(0), Err(crate::Error::Damaged(_))));
        }

        #[test]
        fn a_new_destination_rewrites_no_other() {
            let to = |name: &str, platform_id: &str| Destination {
                name: name.to_owned(),
                display_name: None,
                kind: "channel".to_owned(),
                channel_type: Some("test".to_owned()),
                platform_id: Some(platform_id.to_owned()),
                agent_group_id: None,
                account: None,
            };
            let folder = tempfile::tempdir().expect("there is space");
            let file = InboundWriter::rebuild(&SessionDir::new(folder.path())).expect("it is made");
            for (wanted, changed) in [
                (vec![to("a", "1"), to("b", "2"), to("c", "3")], 3),
                (vec![to("a", "1"), to("b", "2"), to("c", "3"), to("d", "4")], 1),
                (vec![to("a", "1"), to("b", "9"), to("d", "4")], 2),
            ] {
                let before = file.db.total_changes();
                replace_routing(&file.db, &wanted, &Routing::default()).expect("it is written");
                // One of the changes is the default routing.
                assert_eq!(file.db.total_changes() - before, changed + 1, "{wanted:?}");
                let mut rows =
                    file.db.prepare("SELECT * FROM destinations ORDER BY name").expect("it is SQL");
                let rows = rows.query_map([], destination_of).expect("it answers");
                assert_eq!(rows.map(|row| row.expect("a row")).collect::<Vec<_>>(), wanted);
            }
        }

        /// A change of the tables that does not count up `LAYOUT` would stop the sessions of every home that was there
        /// before.
        /// Of both files of a session, without an exception.
        #[test]
        fn every_table_has_a_primary_key() {
            let tables = "SELECT name, EXISTS (SELECT 1 FROM pragma_table_info(tables.name) WHERE pk > 0) FROM sqlite_schema tables \
                          WHERE type = 'table'";
            for (sql, want) in [(include_str!("inbound.sql"), 5), (include_str!("outbound.sql"), 4)] {
                let db = Connection::open_in_memory().expect("memory is there");
                db.execute_batch(sql).expect("it is SQL");
                let mut statement = db.prepare(tables).expect("it is SQL");
                let rows = statement.query_map([], |r| Ok((r.get(0)?, r.get(1)?))).expect("it answers");
                let rows: Vec<(String, bool)> = rows.collect::<rusqlite::Result<_>>().expect("rows");
                assert!(rows.len() == want && rows.iter().all(|(_, has_key)| *has_key), "{rows:?}");
            }
        }

        #[test]
        fn a_changed_layout_has_a_new_number() {
            let sql = include_str!("inbound.sql");
            let sum = sql.bytes().fold(0_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte)));
            assert_eq!((LAYOUT, sum), (1, 2_274_890_811), "count LAYOUT up, and write both here");
        }
    }
}

#[cfg(feature = "runner")]
pub use reader::{InboundReader, Waiting};

#[cfg(feature = "runner")]
mod reader {
    use super::*;
    use crate::{Destination, MessageIn, Routing, parse_time};
    use rusqlite::OptionalExtension;
    use std::collections::HashSet;
    use vestibule_plugin_api::Timestamp;

    /// A pending row without its content: what says when its turn is, and which rows it goes with.
    #[derive(Debug, Clone, PartialEq, Eq)]
    #[allow(missing_docs, reason = "as in `MessageIn`")]
    pub struct Waiting {
        pub id: String,
        pub seq: i64,
        pub kind: String,
        pub process_after: Option<Timestamp>,
        pub trigger: bool,
        pub on_wake: bool,
        pub channel_type: Option<String>,
        pub account: Option<String>,
        pub platform_id: Option<String>,
        pub thread_id: Option<String>,
    }

    /// A runner's view of `inbound.db`: one connection for one poll.
    pub struct InboundReader {
        db: Connection,
        columns: HashSet<String>,
    }

    impl InboundReader {
        /// Opens the file for one poll.
        ///
        /// # Errors
        /// [`crate::Error::Busy`]: the runtime is writing, or its crash left a journal that only it can roll back. Poll
        /// again.
        pub fn open(dir: &SessionDir) -> Result<InboundReader> {
            let db = open(&dir.inbound_db(), OpenFlags::SQLITE_OPEN_READ_ONLY, Duration::from_secs(5))?;
            db.execute_batch("PRAGMA mmap_size = 0")?;
            let columns = columns(&db, "messages_in")?;
            if !columns.contains("content") {
                return Err(crate::Error::Damaged("it has no table messages_in".to_owned()));
            }
            Ok(InboundReader { db, columns })
        }

        /// Pending rows above a number, in order, at most `limit`, without their content. The writer is locked out only
        /// while this reads.
        ///
        /// # Errors
        /// As [`InboundReader::open`].
        pub fn waiting(&self, above_seq: i64, limit: usize) -> Result<Vec<Waiting>> {
            let sql = format!(
                "SELECT id, seq, kind, process_after, \"trigger\", on_wake, channel_type, account, platform_id, thread_id \
                 FROM ({}) WHERE status = 'pending' AND seq > ?1 ORDER BY seq LIMIT ?2",
                self.select()
            );
            let mut statement = self.db.prepare_cached(&sql)?;
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let rows = statement.query_map(rusqlite::params![above_seq, limit], |r| {
                Ok(Waiting {
                    id: r.get(0)?,
                    seq: r.get(1)?,
                    kind: r.get(2)?,
                    process_after: r.get::<_, Option<String>>(3)?.as_deref().and_then(parse_time),
                    trigger: r.get(4)?,
                    on_wake: r.get(5)?,
                    channel_type: r.get(6)?,
                    account: r.get(7)?,
                    platform_id: r.get(8)?,
                    thread_id: r.get(9)?,
                })
            })?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        }

        /// The row with this id, if it is pending.
        ///
        /// # Errors
        /// As [`InboundReader::open`].
        pub fn pending(&self, id: &str) -> Result<Option<MessageIn>> {
            let sql = format!("SELECT * FROM ({}) WHERE status = 'pending' AND id = ?1", self.select());
            Ok(self.db.prepare_cached(&sql)?.query_row([id], message_of).optional()?)
        }

        /// Those of these ids whose rows are pending.
        ///
        /// # Errors
        /// As [`InboundReader::open`].
        pub fn pending_among(&self, ids: &[&String]) -> Result<Vec<String>> {
            let ids = serde_json::Value::from_iter(ids.iter().map(|id| id.as_str()));
            let mut statement = self.db.prepare_cached(
                "SELECT m.id FROM json_each(?1) AS asked CROSS JOIN messages_in AS m ON m.id = asked.value \
                 WHERE m.status = 'pending'",
            )?;
            let rows = statement.query_map([ids.to_string()], |r| r.get(0))?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        }

        /// The newest row, of any status, that came from this chat.
        ///
        /// # Errors
        /// As [`InboundReader::open`].
        pub fn latest_from(&self, channel_type: &str, platform_id: &str) -> Result<Option<MessageIn>> {
            let sql = format!(
                "SELECT * FROM ({}) WHERE channel_type = ?1 AND platform_id = ?2 ORDER BY seq DESC LIMIT 1",
                self.select()
            );
            Ok(self.db.query_row(&sql, [channel_type, platform_id], message_of).optional()?)
        }

        /// The highest sequence number of the file, or 0.
        ///
        /// # Errors
        /// As [`InboundReader::open`].
        pub fn highest_seq(&self) -> Result<i64> {
            Ok(self.db.query_row("SELECT COALESCE(MAX(seq), 0) FROM messages_in", [], |r| r.get(0))?)
        }

        /// The number up to which replies are settled and forgotten. In a file that another program made it is 0.
        ///
        /// # Errors
        /// As [`InboundReader::open`].
        pub fn pruned_floor(&self) -> Result<i64> {
            if !columns(&self.db, "vestibule_projection")?.contains("pruned_floor") {
                return Ok(0);
            }
            let sql = "SELECT pruned_floor FROM vestibule_projection WHERE id = 1";
            Ok(self.db.query_row(sql, [], |r| r.get(0)).optional()?.unwrap_or_default())
        }

        /// The names that the agent may send to.
        ///
        /// # Errors
        /// As [`InboundReader::open`].
        pub fn destinations(&self) -> Result<Vec<Destination>> {
            let there = columns(&self.db, "destinations")?;
            if there.is_empty() {
                return Ok(vec![]); // the first layout had none
            }
            let account = if there.contains("account") { "account" } else { "NULL" };
            let sql = format!(
                "SELECT name, display_name, type, channel_type, platform_id, agent_group_id, {account} \
                 FROM destinations ORDER BY name"
            );
            let mut statement = self.db.prepare(&sql)?;
            let rows = statement.query_map([], destination_of)?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        }

        /// The place where the session's words go by default.
        ///
        /// # Errors
        /// As [`InboundReader::open`].
        pub fn routing(&self) -> Result<Routing> {
            let there = columns(&self.db, "session_routing")?;
            if there.is_empty() {
                return Ok(Routing::default()); // the first layout had none
            }
            let account = if there.contains("account") { "account" } else { "NULL" };
            let sql = format!(
                "SELECT channel_type, platform_id, thread_id, {account} FROM session_routing WHERE id = 1"
            );
            let read = self.db.query_row(&sql, [], |r| {
                Ok(Routing {
                    channel_type: r.get(0)?,
                    platform_id: r.get(1)?,
                    thread_id: r.get(2)?,
                    account: r.get(3)?,
                })
            });
            Ok(read.optional()?.unwrap_or_default())
        }

        /// A query of every column that this crate knows, with a stand-in for each that an older layout lacks.
        fn select(&self) -> String {
            let or = |name: &str, absent: &str| {
                if self.columns.contains(name) {
                    format!("\"{name}\"")
                } else {
                    format!("{absent} AS \"{name}\"")
                }
            };
            format!(
                "SELECT id, seq, kind, timestamp, status, process_after, recurrence, {}, tries, {}, platform_id, \
                 channel_type, thread_id, content, {}, {}, {}, {} FROM messages_in",
                or("series_id", "id"),
                or("trigger", "1"),
                or("source_session_id", "NULL"),
                or("on_wake", "0"),
                or("account", "NULL"),
                or("platform_message_id", "NULL"),
            )
        }
    }

    fn columns(db: &Connection, table: &str) -> Result<HashSet<String>> {
        let mut statement = db.prepare("SELECT name FROM pragma_table_info(?1)")?;
        let names = statement.query_map([table], |r| r.get(0))?;
        Ok(names.collect::<rusqlite::Result<_>>()?)
    }
}
