//! Why a keeper cannot go on, and who is to blame.

use std::io;

/// Why a keeper cannot go on.
#[derive(Debug)]
pub enum Fault {
    /// The agent's files cannot be read, and the agent is to blame.
    Corrupt(String),
    /// Any other reason: the machine, the runtime or the warden is to blame.
    Failed(io::Error),
}

/// The result of most of a keeper's functions.
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

/// Blames the agent for an error that came while the agent's file was read.
pub fn corrupt(error: impl std::fmt::Display) -> Fault {
    Fault::Corrupt(error.to_string())
}
