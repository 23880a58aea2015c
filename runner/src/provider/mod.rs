//! What answers a prompt. A provider is one file here, and one line in [`open`].

mod command;
mod echo;

use crate::Error;
use crate::config::Settings;
use std::path::PathBuf;
use std::time::Duration;

/// The names of providers that a session's settings can choose from.
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

    /// Whether an answer without any block is a reply to the conversation that asked. A program that knows nothing
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
    /// The provider's next event; `None` when none came within `patience`.
    fn next(&mut self, patience: Duration) -> Option<ProviderEvent>;

    /// Says one thing more to the provider. `true`: another [`ProviderEvent::Result`] will answer it.
    fn push(&mut self, text: &str) -> bool;
}

/// What a provider is asked.
#[derive(Debug, Clone)]
pub struct QueryInput {
    /// What the agent is told before any message.
    pub system: String,
    /// The messages, as one text.
    pub prompt: String,
    /// The provider's last token by which it finds the conversation again.
    pub continuation: Option<String>,
    /// The folder in which the provider works. It may not exist.
    pub cwd: PathBuf,
    /// The files that came with the messages.
    pub files: Vec<PathBuf>,
    /// Files that the provider puts into this folder go with its answer. The folder exists, and is empty.
    pub reply_files: PathBuf,
}

/// What a provider reports during a turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProviderEvent {
    /// The provider finds the conversation again by this token. The runner keeps it at once.
    Init {
        /// Only the provider knows what it means.
        continuation: String,
    },
    /// A whole answer. Its blocks are sent.
    Result {
        /// What was written, if anything.
        text: Option<String>,
    },
    /// The provider failed.
    Error {
        /// Told to the conversation, unless the provider tries again.
        message: String,
        /// The provider tries again by itself. If not, the turn is over.
        retryable: bool,
    },
    /// The provider is at work: a sign of life.
    Activity,
    /// The turn is over; no event follows.
    End,
}

/// Why a provider cannot start a turn. Told to the conversation.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ProviderError(pub String);

/// Opens the provider that the settings name.
pub(crate) fn open(settings: &Settings) -> Result<Box<dyn Provider>, Error> {
    match settings.provider.as_str() {
        "command" => Ok(Box::new(command::Command::open(settings)?)),
        _ => Ok(Box::new(echo::Echo)),
    }
}
