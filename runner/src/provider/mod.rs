//! Who answers. A provider is one file here, and one line in [`open`].

mod command;
mod echo;

use crate::Error;
use crate::config::Settings;
use std::path::PathBuf;
use std::time::Duration;

/// The names a session's settings can choose from.
pub(crate) const KNOWN: [&str; 2] = ["command", "echo"];

/// A model, a program, or whatever else answers.
pub trait Provider {
    /// Starts one turn.
    ///
    /// # Errors
    /// A reason that is told to the conversation.
    fn query(&mut self, input: QueryInput) -> Result<Box<dyn Query>, ProviderError>;

    /// Whether this reason for a failure means that the continuation is of no more use.
    fn is_session_invalid(&self, _reason: &str) -> bool {
        false
    }

    /// Whether a turn is over within milliseconds, whatever it is asked, and cannot take the runner with it.
    fn answers_at_once(&self) -> bool {
        false
    }

    /// Whether an answer without any block is a reply to whoever asked. A program that knows nothing
    /// of blocks can then still answer.
    fn plain_text_is_reply(&self) -> bool {
        false
    }

    /// Whether nothing of a turn goes on after it. Its temporary files are then removed.
    fn turn_ends_all(&self) -> bool {
        false
    }
}

/// A turn of a provider under way. Dropping it stops it.
pub trait Query {
    /// The next event; `None` when nothing happened within `patience`.
    fn next(&mut self, patience: Duration) -> Option<ProviderEvent>;

    /// Says one thing more. `true`: another [`ProviderEvent::Result`] will answer it.
    fn push(&mut self, text: &str) -> bool;
}

/// What a provider is asked.
#[derive(Debug, Clone)]
pub struct QueryInput {
    /// What the agent is told before any message.
    pub system: String,
    /// The messages.
    pub prompt: String,
    /// What the provider said last to find the conversation again.
    pub continuation: Option<String>,
    /// Where the provider works. May not exist.
    pub cwd: PathBuf,
    /// The files that came with the messages.
    pub files: Vec<PathBuf>,
    /// Files that the provider puts here go with its answer. It is there, and empty.
    pub reply_files: PathBuf,
}

/// What happens during a turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProviderEvent {
    /// The conversation can be found again by this token. It is kept at once.
    Init {
        /// Opaque to everybody else.
        continuation: String,
    },
    /// An answer, whole. Its blocks are sent.
    Result {
        /// What was written, if anything.
        text: Option<String>,
    },
    /// Something went wrong.
    Error {
        /// Told to the conversation, unless the provider tries again.
        message: String,
        /// The provider tries again by itself. If not, the turn is over.
        retryable: bool,
    },
    /// The provider is alive.
    Activity,
    /// The turn is over.
    End,
}

/// Why a provider cannot start a turn. Told to the conversation.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ProviderError(pub String);

/// The provider that the settings name.
pub(crate) fn open(settings: &Settings) -> Result<Box<dyn Provider>, Error> {
    match settings.provider.as_str() {
        "command" => Ok(Box::new(command::Command::open(settings)?)),
        _ => Ok(Box::new(echo::Echo)),
    }
}
