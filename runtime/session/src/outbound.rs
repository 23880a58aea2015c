//! `outbound.db`: the runner writes it, the keeper reads it.

use crate::{Error, Result};
use rusqlite::{Connection, OpenFlags};
use std::path::Path;
use std::time::Duration;

#[allow(clippy::disallowed_methods, reason = "this module opens the database")]
pub(crate) fn open(path: &Path, flags: OpenFlags, patience: Duration) -> Result<Connection> {
    let opened = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX);
    let db = opened.map_err(|error| Error::of_open(error, path))?;
    db.busy_timeout(patience)?;
    Ok(db)
}

/// Builds a new, empty file at a private path.
#[cfg(feature = "ledger")]
pub(crate) fn build(path: &Path) -> Result<()> {
    let _ = std::fs::remove_file(path);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    let db = open(path, flags, Duration::ZERO)?;
    db.execute_batch("PRAGMA journal_mode = DELETE; BEGIN")?;
    db.execute_batch(include_str!("outbound.sql"))?;
    Ok(db.execute_batch("COMMIT")?)
}

/// Writes a reply's row. `verb` says what becomes of a second one with the same id.
#[cfg(any(feature = "ledger", feature = "runner"))]
fn insert(db: &Connection, verb: &str, reply: &crate::MessageOut) -> Result<()> {
    db.prepare_cached(&format!(
        "{verb} INTO messages_out (id, seq, in_reply_to, timestamp, deliver_after, kind, platform_id, channel_type, \
         thread_id, content, account) VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11)"
    ))?
    .execute(rusqlite::params![
        reply.id,
        reply.seq,
        reply.in_reply_to,
        reply.timestamp,
        reply.deliver_after,
        reply.kind,
        reply.platform_id,
        reply.channel_type,
        reply.thread_id,
        reply.content,
        reply.account,
    ])?;
    Ok(())
}

#[cfg(feature = "ledger")]
pub use draft::OutboundDraft;

#[cfg(feature = "ledger")]
mod draft {
    use super::*;
    use crate::{ForeignState, MessageOut, SessionDir, format_time};
    use rusqlite::params;
    use vestibule_plugin_api::Timestamp;

    /// The `outbound.db` of an adopted session, built in private. Once it is placed, the file is the runner's.
    pub struct OutboundDraft {
        db: Connection,
        dir: SessionDir,
    }

    impl OutboundDraft {
        /// Begins anew, whatever an earlier attempt left.
        ///
        /// # Errors
        /// The file system or SQLite fails.
        pub fn begin(dir: &SessionDir) -> Result<OutboundDraft> {
            dir.create()?;
            let file = SessionDir::build_out(&dir.draft())?;
            let db = open(&file, OpenFlags::SQLITE_OPEN_READ_WRITE, Duration::ZERO)?;
            db.execute_batch("PRAGMA journal_mode = DELETE; PRAGMA synchronous = OFF; PRAGMA mmap_size = 0")?;
            Ok(OutboundDraft { db, dir: dir.clone() })
        }

        /// Adds replies, whose numbers are odd and rise. A second reply with the same id is left out.
        ///
        /// # Errors
        /// SQLite fails.
        pub fn replies(&mut self, replies: &[MessageOut]) -> Result<()> {
            let tx = self.db.transaction()?;
            for m in replies {
                insert(&tx, "INSERT OR IGNORE", m)?;
            }
            Ok(tx.commit()?)
        }

        /// Sets the values that the runner remembers.
        ///
        /// # Errors
        /// SQLite fails.
        pub fn states(&mut self, states: &[ForeignState], now: Timestamp) -> Result<()> {
            let tx = self.db.transaction()?;
            for state in states {
                tx.execute(
                    "INSERT OR REPLACE INTO session_state (key, value, updated_at) VALUES (?1,?2,?3)",
                    params![state.key, state.value, format_time(now)],
                )?;
            }
            Ok(tx.commit()?)
        }

        /// Puts the file in its place, flushed. No runner may ever have run in this session.
        ///
        /// # Errors
        /// The file system fails.
        pub fn place(self) -> Result<()> {
            let OutboundDraft { db, dir } = self;
            drop(db);
            dir.place_draft()
        }
    }
}

#[cfg(feature = "runner")]
pub use writer::OutboundWriter;

#[cfg(feature = "runner")]
mod writer {
    use super::*;
    use crate::{AckStatus, MessageOut, SEQ_MAX, SessionDir, crash, format_time, next_odd};
    use rusqlite::{OptionalExtension, TransactionBehavior, params};
    use std::collections::HashSet;
    use vestibule_plugin_api::Timestamp;

    /// This many rows are deleted in one transaction: one that is larger than SQLite's cache locks the keeper out until
    /// it ends.
    const AT_ONCE: usize = 500;

    /// The only writer of `outbound.db`, the runner's. It keeps its connection, because no other program writes the
    /// file.
    pub struct OutboundWriter {
        db: Connection,
    }

    impl OutboundWriter {
        /// Opens the file, brings an older layout up to date, and forgets the claims and the tool of a
        /// runner that died.
        ///
        /// # Errors
        /// SQLite fails; without its file a runner cannot work.
        pub fn open(dir: &SessionDir) -> Result<OutboundWriter> {
            crate::never_wait("runner");
            let db = open(&dir.outbound_db(), OpenFlags::SQLITE_OPEN_READ_WRITE, Duration::from_secs(5))?;
            db.busy_handler(Some(wait_for_keeper))?;
            // EXTRA: when the turn is acknowledged, its reply survives a power cut too.
            db.execute_batch(
                "PRAGMA journal_mode = DELETE; PRAGMA synchronous = EXTRA; PRAGMA mmap_size = 0",
            )?;
            db.execute_batch(include_str!("outbound.sql"))?;
            add_column(&db, "messages_out", "account", "TEXT")?;
            add_column(&db, "session_state", "updated_at", "TEXT NOT NULL DEFAULT ''")?;
            db.execute("DELETE FROM processing_ack WHERE status = 'processing'", [])?;
            // The tool of the dead runner is over as well: the time that it declared would excuse this runner's
            // silence, too.
            db.execute("DELETE FROM container_state", [])?;
            Ok(OutboundWriter { db })
        }

        /// The ids of all rows that were ever claimed and are not forgotten.
        ///
        /// # Errors
        /// SQLite fails.
        pub fn taken(&self) -> Result<HashSet<String>> {
            let mut statement = self.db.prepare_cached("SELECT message_id FROM processing_ack")?;
            let ids = statement.query_map([], |r| r.get(0))?;
            Ok(ids.collect::<rusqlite::Result<_>>()?)
        }

        /// Forgets acknowledgements that the runtime has taken over.
        ///
        /// # Errors
        /// SQLite fails.
        pub fn forget(&mut self, ids: &[String]) -> Result<()> {
            for ids in ids.chunks(AT_ONCE) {
                let tx = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
                for id in ids {
                    tx.prepare_cached("DELETE FROM processing_ack WHERE message_id = ?1")?.execute([id])?;
                }
                tx.commit()?;
            }
            Ok(())
        }

        /// Deletes replies up to a number, which the runtime has settled and forgotten; never the highest one, above
        /// which the next is numbered.
        ///
        /// # Errors
        /// SQLite fails.
        pub fn prune(&mut self, floor: i64) -> Result<()> {
            let sql = format!(
                "DELETE FROM messages_out WHERE seq IN (SELECT seq FROM messages_out WHERE seq <= ?1 \
                 AND seq < (SELECT MAX(seq) FROM messages_out) ORDER BY seq LIMIT {AT_ONCE})"
            );
            while self.db.execute(&sql, [floor])? == AT_ONCE {}
            Ok(())
        }

        /// Claims rows: they will be answered together.
        ///
        /// # Errors
        /// SQLite fails.
        pub fn claim(&mut self, ids: &[String], now: Timestamp) -> Result<()> {
            self.post(&mut [], ids, AckStatus::Processing, 0, now)
        }

        /// Writes replies and acknowledges the rows they answer, in one transaction: a turn is never
        /// acknowledged without its reply. Gives each reply its `seq`, above `highest_inbound_seq`.
        ///
        /// # Errors
        /// SQLite fails.
        pub fn post(
            &mut self,
            replies: &mut [MessageOut],
            ids: &[String],
            status: AckStatus,
            highest_inbound_seq: i64,
            now: Timestamp,
        ) -> Result<()> {
            let tx = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let mut highest: i64 =
                tx.query_row("SELECT COALESCE(MAX(seq), 0) FROM messages_out", [], |r| r.get(0))?;
            highest = highest.max(highest_inbound_seq);
            if highest > SEQ_MAX {
                let why = format!("a message has the number {highest}, after which none can follow");
                return Err(crate::Error::Damaged(why));
            }
            for m in replies {
                highest = next_odd(highest);
                m.seq = highest;
                insert(&tx, "INSERT", m)?;
            }
            for id in ids {
                tx.prepare_cached(
                    "INSERT OR REPLACE INTO processing_ack (message_id, status, status_changed) VALUES (?1,?2,?3)",
                )?
                .execute(params![id, status.as_str(), format_time(now)])?;
            }
            crash::point("runner: before a commit");
            tx.commit()?;
            crash::point("runner: after a commit");
            Ok(())
        }

        /// A value of `session_state`.
        ///
        /// # Errors
        /// SQLite fails.
        pub fn state(&self, key: &str) -> Result<Option<String>> {
            let read =
                self.db.query_row("SELECT value FROM session_state WHERE key = ?1", [key], |r| r.get(0));
            Ok(read.optional()?)
        }

        /// Sets or, with `None`, deletes a value of `session_state`.
        ///
        /// # Errors
        /// SQLite fails.
        pub fn set_state(&mut self, key: &str, value: Option<&str>, now: Timestamp) -> Result<()> {
            match value {
                Some(value) => self.db.execute(
                    "INSERT OR REPLACE INTO session_state (key, value, updated_at) VALUES (?1,?2,?3)",
                    params![key, value, format_time(now)],
                )?,
                None => self.db.execute("DELETE FROM session_state WHERE key = ?1", [key])?,
            };
            Ok(())
        }
    }

    /// Waits for a keeper that looks at the file: it is done within a tenth of a millisecond, and an answer waits for
    /// it. SQLite's own handler would sleep ten times as long, and longer each time. Gives up after five seconds.
    fn wait_for_keeper(times: i32) -> bool {
        let pause = if times < 100 { Duration::from_micros(50) } else { Duration::from_millis(5) };
        std::thread::sleep(pause);
        times < 1100
    }

    fn add_column(db: &Connection, table: &str, column: &str, kind: &str) -> Result<()> {
        let there: bool = db.query_row(
            "SELECT EXISTS (SELECT 1 FROM pragma_table_info(?1) WHERE name = ?2)",
            [table, column],
            |r| r.get(0),
        )?;
        if !there {
            db.execute_batch(&format!("ALTER TABLE {table} ADD COLUMN {column} {kind}"))?;
        }
        Ok(())
    }
}

#[cfg(feature = "keeper")]
pub use reader::OutboundReader;

#[cfg(feature = "keeper")]
mod reader {
    use super::*;
    use crate::{
        Ack, AckRow, AckStatus, CONTENT_BYTES_MAX, FIELD_BYTES_MAX, MessageOut, SEQ_MAX, SessionDir,
        TOOL_SILENCE_MS_MAX,
    };
    use rusqlite::config::DbConfig;
    use rusqlite::limits::Limit;
    use rusqlite::{ErrorCode, OptionalExtension};

    /// The longest value that SQLite makes of the agent's file, in bytes.
    const VALUE_BYTES_MAX: i32 = 4 * 1024 * 1024;

    /// Refuses a file that is not regular: opening a FIFO waits for ever. A FIFO that is put there after this look
    /// costs the keeper its deadline.
    fn expect_regular(path: &Path, beside: &str) -> Result<()> {
        let mut name = path.as_os_str().to_owned();
        name.push(beside);
        match std::fs::symlink_metadata(&name) {
            Ok(meta) if meta.is_file() => Ok(()),
            Ok(_) => Err(Error::Damaged(format!("outbound.db{beside} is no regular file"))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether the name is that of an ordinary table: no view, nothing virtual.
    fn is_table(db: &Connection, name: &str) -> Result<bool> {
        Ok(db.query_row(
            "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = ?1 AND type = 'table' \
             AND sql LIKE 'CREATE TABLE%')",
            [name],
            |r| r.get(0),
        )?)
    }

    /// A keeper's view of `outbound.db`: one connection for one look. The file is the agent's, so nothing in it is
    /// believed: not its schema, not its sizes.
    pub struct OutboundReader {
        db: Connection,
        has_account: bool,
        has_tool: bool,
    }

    impl OutboundReader {
        /// Opens the file for one look. While a runner lives the look is read-only; with `runner_alive` false a journal
        /// that a dead runner left is rolled back.
        ///
        /// # Errors
        /// [`Error::Busy`]: the runner is writing; look again. Anything else: the agent has corrupted its file.
        pub fn open(dir: &SessionDir, runner_alive: bool) -> Result<OutboundReader> {
            let mode = if runner_alive {
                OpenFlags::SQLITE_OPEN_READ_ONLY
            } else {
                OpenFlags::SQLITE_OPEN_READ_WRITE
            };
            let path = dir.outbound_db_real();
            for beside in ["-journal", "-wal", "-shm", ""] {
                expect_regular(&path, beside)?;
            }
            // The keeper does its own waiting, in finer steps than SQLite's.
            let db = open(&path, mode | OpenFlags::SQLITE_OPEN_NOFOLLOW, Duration::ZERO)?;
            db.set_limit(Limit::SQLITE_LIMIT_LENGTH, VALUE_BYTES_MAX)?;
            db.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
            // A confined keeper has no place but its memory for what it sorts.
            db.execute_batch(
                "PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; PRAGMA mmap_size = 0; \
                 PRAGMA temp_store = MEMORY; BEGIN",
            )?;
            for table in ["messages_out", "processing_ack"] {
                if !is_table(&db, table)? {
                    return Err(Error::Damaged(format!("{table} is not a table")));
                }
            }
            let has_account = db.query_row(
                "SELECT EXISTS (SELECT 1 FROM pragma_table_info('messages_out') WHERE name = 'account')",
                [],
                |r| r.get(0),
            )?;
            let has_tool = is_table(&db, "container_state")?;
            Ok(OutboundReader { db, has_account, has_tool })
        }

        /// Replies above a sequence number, in order, at most `limit`.
        ///
        /// # Errors
        /// As [`OutboundReader::open`].
        pub fn replies(&self, after_seq: i64, limit: usize) -> Result<Vec<MessageOut>> {
            let account = if self.has_account { "account" } else { "NULL" };
            // A field that is too long is left out without being read; for a content its length is given.
            let field =
                |name: &str| format!("CASE WHEN octet_length({name}) <= {FIELD_BYTES_MAX} THEN {name} END");
            let words = |name: &str| format!("COALESCE({}, '')", field(name));
            let sql = format!(
                "SELECT {}, seq, {}, {}, {}, {}, {}, {}, {}, \
                 CASE WHEN octet_length(content) > {CONTENT_BYTES_MAX} \
                 THEN json_object('oversized', octet_length(content)) ELSE content END, {} \
                 FROM messages_out WHERE seq > ?1 ORDER BY seq LIMIT ?2",
                field("id"),
                field("in_reply_to"),
                words("timestamp"),
                field("deliver_after"),
                words("kind"),
                field("platform_id"),
                field("channel_type"),
                field("thread_id"),
                field(account),
            );
            let mut statement = self.db.prepare(&sql)?;
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let without_id = |seq: i64| {
                let why = format!(
                    "the row {seq} of messages_out has no id, or one of more than {FIELD_BYTES_MAX} bytes"
                );
                Error::Damaged(why)
            };
            let rows = statement.query_map([after_seq, limit], |r| {
                let (id, seq): (Option<String>, i64) = (r.get(0)?, r.get(1)?);
                let Some(id) = id else { return Ok(Err(seq)) };
                Ok(Ok(MessageOut {
                    id,
                    seq,
                    in_reply_to: r.get(2)?,
                    timestamp: r.get(3)?,
                    deliver_after: r.get(4)?,
                    kind: r.get(5)?,
                    platform_id: r.get(6)?,
                    channel_type: r.get(7)?,
                    thread_id: r.get(8)?,
                    content: r.get(9)?,
                    account: r.get(10)?,
                }))
            })?;
            let found = rows.map(|row| row?.map_err(without_id)).collect::<Result<Vec<MessageOut>>>()?;
            // A damaged index may lead back, and its reader in circles.
            let mut last = after_seq;
            for reply in &found {
                if reply.seq <= last {
                    return Err(Error::Damaged("the numbers of messages_out do not rise".to_owned()));
                }
                last = reply.seq;
            }
            if last > SEQ_MAX {
                let why = format!("messages_out has the number {last}, after which none can follow");
                return Err(Error::Damaged(why));
            }
            Ok(found)
        }

        /// Looks through the whole file for damage that only writing meets: pages in two places, a list of free pages
        /// without end. A file that takes longer than five seconds is not judged.
        ///
        /// # Errors
        /// [`Error::Damaged`] with the first fault found, or as [`OutboundReader::open`].
        pub fn check(&self) -> Result<()> {
            crate::check::check(&self.db)
        }

        /// How long the tool in flight may be silent, in milliseconds, as the runner declared it in `container_state`.
        /// A value that makes no sense declares nothing.
        ///
        /// # Errors
        /// As [`OutboundReader::open`].
        pub fn tool_silence_ms(&self) -> Result<Option<u64>> {
            if !self.has_tool {
                return Ok(None);
            }
            let sql = "SELECT tool_declared_timeout_ms FROM container_state WHERE id = 1 \
                 AND current_tool IS NOT NULL AND typeof(tool_declared_timeout_ms) = 'integer' \
                 AND tool_declared_timeout_ms > 0";
            let declared = match self.db.query_row(sql, [], |r| r.get::<_, i64>(0)).optional() {
                // Another layout: it lacks one of the columns.
                Err(error) if error.sqlite_error_code() == Some(ErrorCode::Unknown) => None,
                declared => declared?,
            };
            Ok(declared.and_then(|ms| u64::try_from(ms).ok()).map(|ms| ms.min(TOOL_SILENCE_MS_MAX)))
        }

        /// The highest number of a reply, or 0.
        ///
        /// # Errors
        /// As [`OutboundReader::open`].
        pub fn highest_seq(&self) -> Result<i64> {
            Ok(self.db.query_row("SELECT COALESCE(MAX(seq), 0) FROM messages_out", [], |r| r.get(0))?)
        }

        /// The acknowledgements in rows below a `rowid`, at most `limit`, newest first; with the `rowid` of the last one
        /// when more may follow.
        ///
        /// # Errors
        /// As [`OutboundReader::open`].
        pub fn acks(&self, below: i64, limit: usize) -> Result<(Vec<AckRow>, Option<i64>)> {
            // No message has a longer id, and no status is a longer word.
            let field =
                |name: &str| format!("CASE WHEN octet_length({name}) <= {FIELD_BYTES_MAX} THEN {name} END");
            let mut statement = self.db.prepare(&format!(
                "SELECT rowid, {}, {}, COALESCE({}, '') FROM processing_ack WHERE rowid < ?1 ORDER BY rowid DESC LIMIT ?2",
                field("message_id"),
                field("status"),
                field("status_changed"),
            ))?;
            let rows = statement.query_map([below, i64::try_from(limit).unwrap_or(i64::MAX)], |r| {
                Ok((r.get::<_, i64>(0)?, (r.get(1)?, r.get(2)?, r.get(3)?)))
            })?;
            let (mut acks, mut count, mut last) = (Vec::new(), 0, below);
            for row in rows {
                let (rowid, (message_id, word, changed)): (_, (Option<String>, Option<String>, String)) =
                    row?;
                // A damaged page may lead back, and its reader in circles.
                if rowid >= last {
                    return Err(Error::Damaged("the rows of processing_ack are not in order".to_owned()));
                }
                (count, last) = (count + 1, rowid);
                let status = word.and_then(|word| AckStatus::parse(&word));
                if let (Some(message_id), Some(status)) = (message_id, status) {
                    acks.push(AckRow { ack: Ack { message_id, status }, changed });
                }
            }
            Ok((acks, (count == limit).then_some(last)))
        }
    }
}
