//! What may be done in a transaction of the central database: a function that takes a [`ReadTxn`] cannot write.

use rusqlite::{CachedStatement, Connection, Params, Result, Row, Statement, ffi};
use std::ops::Deref;

/// Reads of the central database, as it is between two commits; or, inside a [`WriteTxn`], with what that has written.
pub struct ReadTxn<'a>(&'a Connection);

/// A part of the writer's transaction. All that reads works in it, too.
pub struct WriteTxn<'a>(ReadTxn<'a>);

impl<'a> ReadTxn<'a> {
    pub(super) fn of(db: &'a Connection) -> ReadTxn<'a> {
        ReadTxn(db)
    }

    /// Prepares a query.
    ///
    /// # Errors
    /// It is none that SQLite knows, or it writes.
    pub fn prepare(&self, sql: &str) -> Result<Statement<'_>> {
        let statement = self.0.prepare(sql)?;
        only_reads(&statement)?;
        Ok(statement)
    }

    /// The same, kept for the next time.
    ///
    /// # Errors
    /// As [`ReadTxn::prepare`].
    pub fn prepare_cached(&self, sql: &str) -> Result<CachedStatement<'_>> {
        let statement = self.0.prepare_cached(sql)?;
        only_reads(&statement)?;
        Ok(statement)
    }

    /// The first row of a query.
    ///
    /// # Errors
    /// As [`ReadTxn::prepare`]; there is no row.
    pub fn query_row<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> Result<T>,
    ) -> Result<T> {
        self.prepare(sql)?.query_row(params, read)
    }
}

impl<'a> WriteTxn<'a> {
    pub(super) fn of(db: &'a Connection) -> WriteTxn<'a> {
        WriteTxn(ReadTxn(db))
    }

    /// One of a unit test, on a database that lives as long as the test program.
    #[cfg(test)]
    pub fn of_test(db: Connection) -> WriteTxn<'static> {
        WriteTxn::of(Box::leak(Box::new(db)))
    }

    /// Runs one statement; returns how many rows it changed.
    ///
    /// # Errors
    /// SQLite fails.
    pub fn execute(&self, sql: &str, params: impl Params) -> Result<usize> {
        self.0.0.execute(sql, params)
    }

    /// Prepares a statement.
    ///
    /// # Errors
    /// SQLite does not know it.
    pub fn prepare(&self, sql: &str) -> Result<Statement<'_>> {
        self.0.0.prepare(sql)
    }

    /// The same, kept for the next time.
    ///
    /// # Errors
    /// SQLite does not know it.
    pub fn prepare_cached(&self, sql: &str) -> Result<CachedStatement<'_>> {
        self.0.0.prepare_cached(sql)
    }

    /// The first row that a statement returns.
    ///
    /// # Errors
    /// SQLite fails, or there is no row.
    pub fn query_row<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> Result<T>,
    ) -> Result<T> {
        self.0.0.query_row(sql, params, read)
    }
}

/// Tests set rows up by whatever SQL they need.
#[cfg(test)]
impl Deref for ReadTxn<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.0
    }
}

impl<'a> Deref for WriteTxn<'a> {
    type Target = ReadTxn<'a>;

    fn deref(&self) -> &ReadTxn<'a> {
        &self.0
    }
}

/// Guards what the types cannot: a statement is a text.
fn only_reads(statement: &Statement<'_>) -> Result<()> {
    if statement.readonly() {
        return Ok(());
    }
    let why = "a function that may only read has prepared a statement that writes".to_owned();
    Err(rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_READONLY), Some(why)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_reads_cannot_write() {
        let db = crate::db::in_memory();
        let read: &ReadTxn = &db;
        let insert = "INSERT INTO meta (key, value) VALUES ('k', 'v')";
        for error in [read.prepare(insert).err(), read.prepare_cached(insert).err()] {
            assert!(error.is_some_and(|error| error.to_string().contains("may only read")));
        }
        let returning = format!("{insert} RETURNING value");
        assert!(read.query_row(&returning, [], |r| r.get::<_, String>(0)).is_err());
        assert_eq!(db.query_row(&returning, [], |r| r.get(0)), Ok("v".to_owned()));
        assert_eq!(
            read.query_row("SELECT value FROM meta WHERE key = 'k'", [], |r| r.get(0)),
            Ok("v".to_owned())
        );
    }
}
