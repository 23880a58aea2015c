//! What the runtime notes for itself, each under a key.

use super::{ReadTxn, WriteTxn};
use crate::error::Result;
use rusqlite::OptionalExtension;

/// The note under this key.
pub fn note(db: &ReadTxn, key: &str) -> Result<Option<String>> {
    let mut statement = db.prepare_cached("SELECT value FROM meta WHERE key = ?1")?;
    Ok(statement.query_row([key], |r| r.get(0)).optional()?)
}

/// Notes something under a key, in place of what stood there.
pub fn set_note(db: &WriteTxn, key: &str, value: &str) -> Result<()> {
    db.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)", [key, value])?;
    Ok(())
}

/// Removes the note under this key.
pub fn remove_note(db: &WriteTxn, key: &str) -> Result<()> {
    db.execute("DELETE FROM meta WHERE key = ?1", [key])?;
    Ok(())
}
