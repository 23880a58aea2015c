//! Why a keeper cannot go on, and who is to blame.

use std::io;

/// Why a keeper cannot go on.
#[derive(Debug)]
pub enum Fault {
    /// The agent's files cannot be read, and the agent is to blame.
    Corrupt(String),
    /// There was no space, memory, process or descriptor left: the same works again when there is.
    Scarce(String),
    /// Any other reason: the machine, the runtime or the warden is to blame.
    Failed(io::Error),
}

/// Whether an error says that space, memory, processes or descriptors are missing, for now.
pub fn is_for_want(error: &io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::NOSPC, Errno::DQUOT, Errno::AGAIN, Errno::NOMEM, Errno::MFILE, Errno::NFILE]
        .iter()
        .any(|want| error.raw_os_error() == Some(want.raw_os_error()))
}

impl Fault {
    /// The fault of an error that no agent is to blame for, in these words.
    pub fn of(error: &io::Error, words: String) -> Fault {
        if is_for_want(error) { Fault::Scarce(words) } else { Fault::Failed(io::Error::other(words)) }
    }
}

/// The result of most of a keeper's functions.
pub type Result<T> = std::result::Result<T, Fault>;

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Fault {
        if is_for_want(&error) { Fault::Scarce(error.to_string()) } else { Fault::Failed(error) }
    }
}

impl From<rustix::io::Errno> for Fault {
    fn from(error: rustix::io::Errno) -> Fault {
        io::Error::from(error).into()
    }
}

impl From<Fault> for io::Error {
    fn from(fault: Fault) -> io::Error {
        match fault {
            Fault::Corrupt(why) | Fault::Scarce(why) => io::Error::other(why),
            Fault::Failed(error) => error,
        }
    }
}

/// Blames the agent for an error that came while the agent's file was read.
pub fn corrupt(error: impl std::fmt::Display) -> Fault {
    Fault::Corrupt(error.to_string())
}
