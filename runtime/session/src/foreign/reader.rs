//! Reads the rows of the copies. Every layout of NanoClaw 2.0.x is read, by asking which columns are there.

use super::{ForeignIn, ForeignOut, ForeignSettled, ForeignState, STATE_BYTES_MAX};
use crate::words::REASON_CHARS_MAX;
use crate::{AckStatus, CONTENT_BYTES_MAX, Error, FIELD_BYTES_MAX, MessageOut, Result, SessionDir};
use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row};
use std::collections::HashSet;
use std::time::Duration;

/// The longest value that SQLite makes of the foreign file, in bytes.
const VALUE_BYTES_MAX: i32 = 4 * 1024 * 1024;
/// The most rows of `session_state` that are taken over.
const STATES_MAX: usize = 1000;

/// Both copies, recovered and checked.
pub struct ForeignReader {
    inbound: Connection,
    /// `None`: a session whose runner never ran may have no such file.
    outbound: Option<Connection>,
}

impl ForeignReader {
    /// Opens the copies: a journal that a dead writer left is rolled back, and both files are checked
    /// whole, so that no damaged index hides that a reply was delivered.
    ///
    /// # Errors
    /// [`Error::Damaged`]: the copies are no session's files.
    pub fn open(scratch: &SessionDir) -> Result<ForeignReader> {
        let inbound = open(&scratch.inbound_db())?;
        let outbound = match open(&scratch.outbound_db()) {
            Ok(db) => Some(db),
            Err(Error::Missing) => None,
            Err(error) => return Err(error),
        };
        let reader = ForeignReader { inbound, outbound };
        need(&reader.inbound, "messages_in")?;
        if let Some(outbound) = &reader.outbound {
            need(outbound, "messages_out")?;
        }
        Ok(reader)
    }

    /// The highest numbers, inbound and outbound.
    ///
    /// # Errors
    /// SQLite fails.
    pub fn highest(&self) -> Result<(i64, i64)> {
        let of = |db: &Connection, table: &str| -> Result<i64> {
            if !columns(db, table)?.contains("seq") {
                return Ok(0);
            }
            let sql = format!("SELECT MAX(seq) FROM {table} WHERE typeof(seq) = 'integer'");
            Ok(db.query_row(&sql, [], |r| r.get::<_, Option<i64>>(0))?.unwrap_or_default())
        };
        let outbound = self.outbound.as_ref().map(|db| of(db, "messages_out"));
        Ok((of(&self.inbound, "messages_in")?, outbound.transpose()?.unwrap_or_default()))
    }

    /// Hands each row of `messages_in` to `each`, by number; returns how many had no usable id.
    ///
    /// # Errors
    /// SQLite or `each` fails.
    pub fn inbound(&self, mut each: impl FnMut(ForeignIn) -> Result<()>) -> Result<usize> {
        let there = columns(&self.inbound, "messages_in")?;
        let sql = Select::new(&there)
            .field("id")
            .number("seq", "NULL")
            .field("kind")
            .field("timestamp")
            .field("status")
            .field("process_after")
            .field("recurrence")
            .field("series_id")
            .number("tries", "0")
            .number("trigger", "1")
            .field("platform_id")
            .field("channel_type")
            .field("thread_id")
            .content(
                "json_object('text', '[A message of ' || octet_length(content) || ' bytes was too long.]')",
            )
            .field("source_session_id")
            .number("on_wake", "0")
            .field("account")
            .field("platform_message_id")
            .from("messages_in");
        let acks = match &self.outbound {
            Some(db) if columns(db, "processing_ack")?.contains("status") => Some(db),
            _ => None,
        };
        let mut ack = acks
            .map(|db| db.prepare("SELECT status FROM processing_ack WHERE message_id = ?1 LIMIT 1"))
            .transpose()?;
        let mut statement = self.inbound.prepare(&sql)?;
        let (mut rows, mut left_out) = (statement.query([])?, 0);
        while let Some(row) = rows.next()? {
            let Some(id) = text(row, 0).filter(|id| !id.is_empty()) else {
                left_out += 1;
                continue;
            };
            let status = match &mut ack {
                Some(ack) => ack.query_row([&id], |r| Ok(text(r, 0))).optional()?.flatten(),
                None => None,
            };
            each(ForeignIn {
                id,
                seq: number(row, 1),
                kind: text(row, 2).unwrap_or_default(),
                timestamp: text(row, 3).unwrap_or_default(),
                status: text(row, 4),
                process_after: text(row, 5),
                recurrence: text(row, 6),
                series_id: text(row, 7),
                tries: number(row, 8).unwrap_or_default(),
                trigger: number(row, 9) == Some(1),
                platform_id: text(row, 10),
                channel_type: text(row, 11),
                thread_id: text(row, 12),
                content: text(row, 13).unwrap_or_default(),
                source_session_id: text(row, 14),
                on_wake: number(row, 15) == Some(1),
                account: text(row, 16),
                platform_message_id: text(row, 17),
                ack: status.as_deref().and_then(AckStatus::parse),
            })?;
        }
        Ok(left_out)
    }

    /// Hands each row of `messages_out` to `each`, by number; returns how many had no usable id.
    ///
    /// # Errors
    /// SQLite or `each` fails.
    pub fn outbound(&self, mut each: impl FnMut(ForeignOut) -> Result<()>) -> Result<usize> {
        let Some(outbound) = &self.outbound else { return Ok(0) };
        let sql = Select::new(&columns(outbound, "messages_out")?)
            .field("id")
            .number("seq", "NULL")
            .field("in_reply_to")
            .field("timestamp")
            .field("deliver_after")
            .field("kind")
            .field("platform_id")
            .field("channel_type")
            .field("thread_id")
            .content("json_object('oversized', octet_length(content))")
            .field("account")
            .from("messages_out");
        let there = columns(&self.inbound, "delivered")?;
        let or = |name: &'static str, absent: &'static str| if there.contains(name) { name } else { absent };
        let reason = format!("substr(CAST(reason_code AS TEXT), 1, {REASON_CHARS_MAX})");
        let mut settled = if there.contains("message_out_id") {
            let sql = format!(
                "SELECT {}, {}, {}, {} FROM delivered WHERE message_out_id = ?1 LIMIT 1",
                or("status", "'delivered'"),
                or("platform_message_id", "NULL"),
                or("delivered_at", "''"),
                // A long one is cut, and not left out.
                if there.contains("reason_code") { reason.as_str() } else { "NULL" }
            );
            Some(self.inbound.prepare(&sql)?)
        } else {
            None
        };
        let mut statement = outbound.prepare(&sql)?;
        let (mut rows, mut left_out) = (statement.query([])?, 0);
        while let Some(row) = rows.next()? {
            let Some(id) = text(row, 0).filter(|id| !id.is_empty()) else {
                left_out += 1;
                continue;
            };
            let short = |r: &Row<'_>, at| text(r, at).filter(|text| text.len() <= FIELD_BYTES_MAX);
            let settled = match &mut settled {
                Some(statement) => statement
                    .query_row([&id], |r| {
                        Ok(ForeignSettled {
                            delivered: !matches!(text(r, 0).as_deref(), Some("failed" | "refused")),
                            platform_message_id: short(r, 1),
                            at: short(r, 2).unwrap_or_default(),
                            reason: text(r, 3),
                        })
                    })
                    .optional()?,
                None => None,
            };
            let reply = MessageOut {
                id,
                seq: number(row, 1).unwrap_or_default(),
                in_reply_to: text(row, 2),
                timestamp: text(row, 3).unwrap_or_default(),
                deliver_after: text(row, 4),
                kind: text(row, 5).unwrap_or_default(),
                platform_id: text(row, 6),
                channel_type: text(row, 7),
                thread_id: text(row, 8),
                content: text(row, 9).unwrap_or_default(),
                account: text(row, 10),
            };
            each(ForeignOut { reply, settled })?;
        }
        Ok(left_out)
    }

    /// The rows of `session_state`.
    ///
    /// # Errors
    /// SQLite fails.
    pub fn states(&self) -> Result<Vec<ForeignState>> {
        let Some(outbound) = &self.outbound else { return Ok(vec![]) };
        if !columns(outbound, "session_state")?.contains("value") {
            return Ok(vec![]);
        }
        let sql = format!(
            "SELECT key, value FROM session_state WHERE octet_length(key) <= {FIELD_BYTES_MAX} \
             AND octet_length(value) <= {STATE_BYTES_MAX} ORDER BY key LIMIT {STATES_MAX}"
        );
        let mut statement = outbound.prepare(&sql)?;
        let (mut rows, mut found) = (statement.query([])?, Vec::new());
        while let Some(row) = rows.next()? {
            if let (Some(key), Some(value)) = (text(row, 0), text(row, 1)) {
                found.push(ForeignState { key, value });
            }
        }
        Ok(found)
    }
}

fn open(path: &std::path::Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let db = crate::outbound::open(path, flags, Duration::ZERO)?;
    db.set_limit(Limit::SQLITE_LIMIT_LENGTH, VALUE_BYTES_MAX)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    // Exclusive: a copy has no other reader, so a write-ahead log needs no shared memory. No temporary files: there is
    // no place where they are allowed.
    db.execute_batch(
        "PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; PRAGMA mmap_size = 0; \
         PRAGMA locking_mode = EXCLUSIVE; PRAGMA temp_store = MEMORY",
    )?;
    let found: String = db.query_row("PRAGMA integrity_check(1)", [], |r| r.get(0))?;
    if found != "ok" {
        return Err(Error::Damaged(found));
    }
    Ok(db)
}

fn need(db: &Connection, table: &str) -> Result<()> {
    let there = columns(db, table)?;
    if there.contains("id") && there.contains("content") {
        return Ok(());
    }
    Err(Error::Damaged(format!("it has no table {table} of a session")))
}

/// The columns of an ordinary table, without generated ones; none when it is a view or something else.
fn columns(db: &Connection, table: &str) -> Result<HashSet<String>> {
    let is_table: bool = db.query_row(
        "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = ?1 AND type = 'table' \
         AND sql LIKE 'CREATE TABLE%')",
        [table],
        |r| r.get(0),
    )?;
    if !is_table {
        return Ok(HashSet::new());
    }
    let mut statement = db.prepare("SELECT name FROM pragma_table_info(?1)")?;
    let names = statement.query_map([table], |r| r.get(0))?;
    Ok(names.collect::<rusqlite::Result<_>>()?)
}

/// A query with a stand-in for each column that an older layout lacks; it leaves out values that are too long, unread.
struct Select<'a> {
    there: &'a HashSet<String>,
    terms: Vec<String>,
}

impl Select<'_> {
    fn new(there: &HashSet<String>) -> Select<'_> {
        Select { there, terms: Vec::new() }
    }

    fn field(mut self, name: &str) -> Self {
        self.terms.push(if self.there.contains(name) {
            format!("CASE WHEN octet_length(\"{name}\") <= {FIELD_BYTES_MAX} THEN \"{name}\" END")
        } else {
            "NULL".to_owned()
        });
        self
    }

    fn number(mut self, name: &str, absent: &str) -> Self {
        let there = self.there.contains(name);
        self.terms.push(if there {
            format!("CASE WHEN octet_length(\"{name}\") <= 20 THEN \"{name}\" END")
        } else {
            absent.to_owned()
        });
        self
    }

    fn content(mut self, too_long: &str) -> Self {
        self.terms.push(format!(
            "CASE WHEN octet_length(content) > {CONTENT_BYTES_MAX} THEN {too_long} ELSE content END"
        ));
        self
    }

    fn from(self, table: &str) -> String {
        let order = if self.there.contains("seq") { " ORDER BY seq" } else { "" };
        format!("SELECT {} FROM {table}{order}", self.terms.join(", "))
    }
}

/// A cell as text, whatever its type.
fn text(row: &Row<'_>, at: usize) -> Option<String> {
    match row.get_ref(at).ok()? {
        ValueRef::Null => None,
        ValueRef::Integer(number) => Some(number.to_string()),
        ValueRef::Real(number) => Some(number.to_string()),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
    }
}

/// A cell as a whole number, if it is one.
fn number(row: &Row<'_>, at: usize) -> Option<i64> {
    match row.get_ref(at).ok()? {
        ValueRef::Integer(number) => Some(number),
        ValueRef::Text(bytes) => std::str::from_utf8(bytes).ok()?.trim().parse().ok(),
        ValueRef::Null | ValueRef::Real(_) | ValueRef::Blob(_) => None,
    }
}
