//! The runner: the program inside the sandbox. It reads messages from a session's folder, asks a
//! provider, and writes replies. It speaks to no other program.
//!
//! ```text
//! config        the session's settings
//! watch         sleeps until the runtime has written
//! poll          the loop: next batch, one turn, again
//! batch         which rows are answered together
//! turn          claim → prompt → query → replies and acknowledgements, in one transaction
//! format        makes the prompt of rows
//! provider      what answers: `echo`, `command`
//! parse         takes the agent's text apart into blocks
//! reply         makes a row of a block: the one rule for threads
//! files         what comes with messages and goes with answers; what programs leave behind
//! destinations  by name, by address; what the agent is told about sending
//! id            the ids of replies
//! ```
//!
//! A runner may be killed at any moment: a turn is one transaction, and a claim without its turn is
//! dropped by the next runner.

mod batch;
mod config;
mod destinations;
mod empty;
mod files;
mod format;
mod id;
mod parse;
mod poll;
pub mod provider;
mod reply;
mod turn;
mod watch;

use config::Settings;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use vestibule_session::SessionDir;

const HELP: &str = "\
The runner of one Vestibule session: it answers what arrives in the session's folder.

Usage: vestibule-runner [--workspace DIR]

Options:
  --workspace DIR  the session's folder, with its run.json [default: /workspace]
  -h, --help       show this help

The runtime starts runners by itself. Start one by hand to see why a session does not answer.
It runs until it is stopped, and can be stopped at any moment.
";

/// The arguments of a runner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The session's folder.
    pub workspace: PathBuf,
}

/// Why a runner cannot start or go on. Each text says what to do next.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The command line cannot be read; the text says which part of it.
    #[error("{0}; see --help")]
    Usage(String),
    /// The settings cannot be used.
    #[error("{}: {reason}", path.display())]
    Settings {
        /// The file that the operator must correct.
        path: PathBuf,
        /// What is wrong with the file, and how to mend it.
        reason: String,
    },
    /// The runner's own file cannot be opened.
    #[error(
        "cannot open {}: {reason}; check that --workspace names a session's folder, and that the runner may \
         write to its file there", path.display()
    )]
    Open {
        /// The file.
        path: PathBuf,
        /// Why it cannot be opened.
        reason: vestibule_session::Error,
    },
    /// The runtime's file is damaged.
    #[error("cannot read messages: {0}; the runtime makes inbound.db again before it starts the next runner")]
    Read(vestibule_session::Error),
    /// The runner's own file cannot be written. No part of the transaction was.
    #[error("cannot write replies: {0}; look for a full disk, then start the session again")]
    Write(#[from] vestibule_session::Error),
    /// The files of an answer cannot be moved to the reply's folder.
    #[error("cannot write an answer's files: {0}; look for a full disk, then start the session again")]
    Files(std::io::Error),
}

/// The whole program. `args` are the arguments after the program's name.
pub fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    let outcome = match parse_args(args) {
        Ok(Some(options)) => run(options),
        Ok(None) => {
            print!("{HELP}");
            Ok(())
        }
        Err(error) => Err(error),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vestibule-runner: {error}");
            ExitCode::from(if matches!(error, Error::Usage(_)) { 2 } else { 1 })
        }
    }
}

/// Serves one session. Returns only with an error: a runner is stopped from outside.
///
/// # Errors
/// Unusable settings, a file of its own that cannot be written, or a damaged file of the runtime's.
pub fn run(options: Options) -> Result<(), Error> {
    let dir = SessionDir::new(options.workspace);
    let settings = Settings::read(&dir)?;
    let provider = provider::open(&settings)?;
    poll::serve(turn::Runner::open(dir, settings, provider)?)
}

/// `None` when only help was asked for.
fn parse_args(args: impl Iterator<Item = OsString>) -> Result<Option<Options>, Error> {
    let mut workspace = PathBuf::from("/workspace");
    let mut args = args;
    while let Some(arg) = args.next() {
        let text = arg.to_string_lossy();
        if text == "-h" || text == "--help" {
            return Ok(None);
        } else if text == "--workspace" {
            let value = args.next().ok_or_else(|| Error::Usage("--workspace needs a folder".to_owned()))?;
            workspace = PathBuf::from(value);
        } else if let Some(value) = text.strip_prefix("--workspace=") {
            workspace = PathBuf::from(value);
        } else {
            return Err(Error::Usage(format!("the argument \"{text}\" is not known")));
        }
    }
    Ok(Some(Options { workspace }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments() {
        let parse = |args: &[&str]| parse_args(args.iter().map(OsString::from));
        let at = |path: &str| Some(Options { workspace: PathBuf::from(path) });
        assert_eq!(parse(&[]).unwrap(), at("/workspace"));
        assert_eq!(parse(&["--workspace", "/s"]).unwrap(), at("/s"));
        assert_eq!(parse(&["--workspace=/s"]).unwrap(), at("/s"));
        assert_eq!(parse(&["--workspace", "/s", "--help"]).unwrap(), None);
        assert_eq!(
            parse(&["--wrkspace"]).unwrap_err().to_string(),
            "the argument \"--wrkspace\" is not known; see --help"
        );
        assert_eq!(
            parse(&["--workspace"]).unwrap_err().to_string(),
            "--workspace needs a folder; see --help"
        );
    }
}
