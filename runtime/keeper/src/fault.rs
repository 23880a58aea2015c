//! Why a keeper cannot go on, and whose doing that is.

use std::io;

/// Why a keeper cannot go on.
#[derive(Debug)]
pub enum Fault {
    /// The agent's files are such that they cannot be read: the agent's doing.
    Corrupt(String),
    /// Anything else: the machine's, the runtime's, the warden's.
    Failed(io::Error),
}

/// What most of a keeper returns.
pub type Result<T> = std::result::Result<T, Fault>;

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Fault {
        Fault::Failed(error)
    }
}

impl From<rustix::io::Errno> for Fault {
    fn from(error: rustix::io::Errno) -> Fault {
        Fault::Failed(error.into())
    }
}

impl From<Fault> for io::Error {
    fn from(fault: Fault) -> io::Error {
        match fault {
            Fault::Corrupt(why) => io::Error::other(why),
            Fault::Failed(error) => error,
        }
    }
}

/// What went wrong while the agent's file was read is the agent's doing.
pub fn corrupt(error: impl std::fmt::Display) -> Fault {
    Fault::Corrupt(error.to_string())
}
