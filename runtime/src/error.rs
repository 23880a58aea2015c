//! What can go wrong in the runtime, by what the caller should do next.

use std::fmt;
use std::io;
use std::path::Path;

/// The runtime's result.
pub type Result<T> = std::result::Result<T, Error>;

/// An error of the runtime. Its text is for the operator and says what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request cannot be done as it was asked; ask differently.
    #[error("{0}")]
    Refused(String),
    /// It cannot be decided at this moment; ask again.
    #[error("{0}")]
    NotYet(String),
    /// The config or the home is not usable as it is; mend it.
    #[error("{0}")]
    Setup(String),
    /// Another runtime holds the home.
    #[error("{0}")]
    Locked(String),
    /// The central database failed; the request was not carried out.
    #[error("the central database failed: {0}")]
    Db(#[from] rusqlite::Error),
    /// A session's files failed; the session is behind until a retry.
    #[error(transparent)]
    Session(#[from] vestibule_session::Error),
    /// The file system failed.
    #[error("{what}: {source}")]
    Io {
        /// What was attempted.
        what: String,
        /// How it failed.
        source: std::io::Error,
    },
    /// The runtime is stopping; nothing more happens.
    #[error("the runtime is stopping")]
    Stopping,
}

impl Error {
    /// A refusal in words.
    pub fn refused(words: impl fmt::Display) -> Error {
        Error::Refused(words.to_string())
    }
}

/// Says what was attempted when the file system fails.
pub trait IoContext<T> {
    /// Adds the words.
    ///
    /// # Errors
    /// The same failure, with the words.
    fn context(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<std::io::Error>> IoContext<T> for std::result::Result<T, E> {
    fn context(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|source| Error::Io { what: what(), source: source.into() })
    }
}

/// What was done with a file; `None` when that is not there.
///
/// # Errors
/// The file system failed in another way.
pub fn if_there<T>(done: io::Result<T>) -> io::Result<Option<T>> {
    match done {
        Ok(done) => Ok(Some(done)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// A path as one word of a shell, for a command that an error names.
pub fn word(path: &Path) -> String {
    let text = path.to_string_lossy();
    shlex::try_quote(&text).map_or_else(|_| text.clone().into_owned(), |quoted| quoted.into_owned())
}
