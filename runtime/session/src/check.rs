//! Looking through a whole file of a session for damage.

use crate::error::{Error, Result};
use rusqlite::{Connection, ErrorCode};
use std::time::{Duration, Instant};

/// For how long a whole file is looked through at most.
const CHECK_MAX: Duration = Duration::from_secs(5);
/// How many characters of the fault that SQLite finds are kept.
const FAULT_CHARS_MAX: usize = 256;

/// Looks for damage that only some reads or writes meet: pages in two places, a list of free pages without end. A file
/// that takes longer than [`CHECK_MAX`] is not judged.
///
/// # Errors
/// [`Error::Damaged`] with the first fault found, or SQLite fails.
pub fn check(db: &Connection) -> Result<()> {
    let until = Instant::now() + CHECK_MAX;
    db.progress_handler(1_000, Some(move || Instant::now() > until))?;
    let found = db.query_row("PRAGMA integrity_check(1)", [], |r| r.get::<_, String>(0));
    db.progress_handler(0, None::<fn() -> bool>)?;
    match found {
        Ok(word) if word == "ok" => Ok(()),
        Ok(what) => Err(Error::Damaged(what.chars().take(FAULT_CHARS_MAX).collect())),
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
