//! Which files belong to which message.

use crate::attachments::{LeftOut, StoredFile, unnamed};
use crate::db::{ReadTxn, WriteTxn};
use crate::error::Result;
use crate::id::SessionId;
use rusqlite::params;

/// Which way a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// To the agent.
    In,
    /// From the agent.
    Out,
}

impl Direction {
    fn as_str(self) -> &'static str {
        match self {
            Direction::In => "in",
            Direction::Out => "out",
        }
    }
}

/// Records the files of a message. `folder` is theirs below `inbox/`, for those on their way in.
pub fn record_files(
    db: &WriteTxn,
    session_id: &SessionId,
    direction: Direction,
    message_id: &str,
    folder: Option<&str>,
    files: &[StoredFile],
) -> Result<()> {
    let mut statement = db.prepare_cached(
        "INSERT OR REPLACE INTO files (session_id, direction, message_id, position, folder, name, size_bytes, blob, \
         left_out) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?;
    for file in files {
        statement.execute(params![
            session_id,
            direction.as_str(),
            message_id,
            i64::try_from(file.position).unwrap_or(i64::MAX),
            folder,
            file.name,
            i64::try_from(file.size_bytes).unwrap_or(i64::MAX),
            file.blob.as_ref().ok(),
            file.blob.as_ref().err().map(|LeftOut(why)| why),
        ])?;
    }
    Ok(())
}

/// The files of a message, in order.
pub fn files_of(
    db: &ReadTxn,
    session_id: &SessionId,
    direction: Direction,
    message_id: &str,
) -> Result<Vec<StoredFile>> {
    let mut statement = db.prepare_cached(
        "SELECT position, name, size_bytes, blob, left_out FROM files \
         WHERE session_id = ?1 AND direction = ?2 AND message_id = ?3 ORDER BY position",
    )?;
    let rows = statement.query_map([session_id, direction.as_str(), message_id], file)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

fn file(r: &rusqlite::Row<'_>) -> rusqlite::Result<StoredFile> {
    let blob: Option<String> = r.get(3)?;
    Ok(StoredFile {
        position: usize::try_from(r.get::<_, i64>(0)?).unwrap_or_default(),
        name: r.get(1)?,
        size_bytes: u64::try_from(r.get::<_, i64>(2)?).unwrap_or_default(),
        blob: match blob {
            Some(blob) => Ok(blob),
            None => Err(LeftOut(r.get::<_, Option<String>>(4)?.unwrap_or_default())),
        },
    })
}

/// The files that a session's inbox shows for the rows that changed after `since`: each folder with its files.
pub fn inbox_since(
    db: &ReadTxn,
    session_id: &SessionId,
    since: i64,
) -> Result<Vec<(String, Vec<StoredFile>)>> {
    let mut statement = db.prepare_cached(
        "SELECT f.position, f.name, f.size_bytes, f.blob, f.left_out, f.folder FROM files f \
         JOIN messages_in m ON m.session_id = f.session_id AND m.id = f.message_id \
         WHERE f.session_id = ?1 AND f.direction = 'in' AND f.folder IS NOT NULL AND m.change > ?2 \
         ORDER BY f.message_id, f.position",
    )?;
    let mut rows = statement.query(params![session_id, since])?;
    let mut folders: Vec<(String, Vec<StoredFile>)> = Vec::new();
    while let Some(row) = rows.next()? {
        let folder: String = row.get(5)?;
        match folders.last_mut() {
            Some((last, files)) if *last == folder => files.push(file(row)?),
            _ => folders.push((folder, vec![file(row)?])),
        }
    }
    Ok(folders)
}

/// How many bytes the files of a session hold together.
pub fn session_bytes(db: &ReadTxn, session_id: &SessionId) -> Result<u64> {
    let mut statement = db.prepare_cached(
        "SELECT COALESCE(SUM(size_bytes), 0) FROM files WHERE session_id = ?1 AND blob IS NOT NULL",
    )?;
    let bytes: i64 = statement.query_row([session_id], |r| r.get(0))?;
    Ok(u64::try_from(bytes).unwrap_or_default())
}

/// Forgets the files of a message; returns the blobs that no message names any more.
pub fn forget_files(
    db: &WriteTxn,
    session_id: &SessionId,
    direction: Direction,
    message_id: &str,
) -> Result<Vec<String>> {
    let mut statement = db.prepare_cached(
        "DELETE FROM files WHERE session_id = ?1 AND direction = ?2 AND message_id = ?3 RETURNING blob",
    )?;
    let rows = statement
        .query_map([session_id, direction.as_str(), message_id], |r| r.get::<_, Option<String>>(0))?;
    let blobs = rows.collect::<rusqlite::Result<Vec<_>>>()?;
    unnamed(db, blobs.into_iter().flatten().collect())
}
