//! Which blobs the ledger names, and the removal of those that it does not.

use super::Store;
use crate::db::Central;
use crate::db::ReadTxn;
use crate::error::Result;
use std::collections::HashSet;

impl Store {
    /// Removes those of these blobs that no message names: a commit left them out, or took them before. A blob that
    /// stays goes at the next start.
    pub async fn discard_unnamed(&self, central: &Central, blobs: Vec<String>) {
        if blobs.is_empty() {
            return;
        }
        match central.read(move |db| unnamed(db, blobs)).await {
            Ok(unnamed) => self.discard(unnamed),
            Err(error) => tracing::debug!(%error, "files that no message names stay until the next start"),
        }
    }
}

/// Those of these blobs that no message names.
pub fn unnamed(db: &ReadTxn, mut blobs: Vec<String>) -> Result<Vec<String>> {
    let mut statement = db.prepare_cached("SELECT EXISTS (SELECT 1 FROM files WHERE blob = ?1)")?;
    let mut left = Vec::new();
    for blob in blobs.drain(..) {
        if !statement.query_row([&blob], |r| r.get::<_, bool>(0))? {
            left.push(blob);
        }
    }
    Ok(left)
}

/// Every blob that a message names.
pub fn named_blobs(db: &ReadTxn) -> Result<HashSet<String>> {
    let mut statement = db.prepare("SELECT DISTINCT blob FROM files WHERE blob IS NOT NULL")?;
    let rows = statement.query_map([], |r| r.get(0))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}
