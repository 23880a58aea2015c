//! The errors of a session's files, by what the caller should do next.

use rusqlite::ErrorCode;
use std::io;

/// The result of an operation on a session's files.
pub type Result<T> = std::result::Result<T, Error>;

/// An error of a session's files.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another program holds a lock, or a crashed writer's journal waits for its owner. Try again soon.
    #[error("the session's file is busy: {0}")]
    Busy(rusqlite::Error),
    /// A keeper holds the session: the file can be made again when the keeper has gone.
    #[error("its keeper must end before the session's file can be made again")]
    Kept,
    /// The file is damaged, or is no such file.
    #[error("the session's file is damaged: {0}")]
    Damaged(String),
    /// The file is not there.
    #[error("the session's file is missing")]
    Missing,
    /// Any other error of SQLite.
    #[error("{0}")]
    Sqlite(rusqlite::Error),
    /// An error of the file system.
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            // SQLite says `ReadOnly` or `CannotOpen` of a hot journal that a reader may not roll back.
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::ReadOnly) => {
                Error::Busy(error)
            }
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::SystemIoFailure) => {
                Error::Damaged(error.to_string())
            }
            _ => Error::Sqlite(error),
        }
    }
}

impl Error {
    /// Whether space ran out: the same step works again when there is some.
    pub fn is_full(&self) -> bool {
        match self {
            Error::Sqlite(error) => error.sqlite_error_code() == Some(ErrorCode::DiskFull),
            Error::Io(error) => {
                matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
            }
            _ => false,
        }
    }

    /// The error for a file that could not be opened. SQLite says "cannot open" of a missing file and of much else.
    pub(crate) fn of_open(error: rusqlite::Error, path: &std::path::Path) -> Error {
        match std::fs::metadata(path) {
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => Error::Missing,
            _ if error.sqlite_error_code() == Some(ErrorCode::CannotOpen) => {
                // Of missing descriptors SQLite says no more than that.
                std::fs::File::open("/dev/null").map_or_else(Error::Io, |_| error.into())
            }
            _ => error.into(),
        }
    }
}
