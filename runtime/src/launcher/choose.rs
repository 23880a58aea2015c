//! Which sandbox runners live in, chosen once, with the reason.

use crate::config::SandboxWanted;
use crate::error::{Error, Result};
use std::path::Path;
use std::process::Stdio;
use tokio::process::Command;

/// A chosen sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// Whether runners are confined.
    pub confined: bool,
    /// What it is and why, for `status`.
    pub words: String,
}

/// Chooses what the config wants, or the best that works here.
///
/// # Errors
/// The kernel cannot confine, and nobody allowed to run without.
pub async fn choose(program: &Path, wanted: SandboxWanted) -> Result<Choice> {
    if wanted == SandboxWanted::None {
        let words = "none (the config says so: an agent can do what your user can)".to_owned();
        return Ok(Choice { confined: false, words });
    }
    match probe(program).await {
        Ok(()) => {
            Ok(Choice { confined: true, words: "process (Landlock and seccomp; no capabilities)".to_owned() })
        }
        Err(why) => Err(Error::Setup(format!(
            "runners cannot be confined here ({why}), so none is started; with sandbox = \"none\" in vestibule.toml they \
             run unprotected"
        ))),
    }
}

/// A keeper confines itself as it would a runner, and says whether that worked.
async fn probe(program: &Path) -> std::result::Result<(), String> {
    let mut command = Command::new(program);
    command.as_std_mut().env_clear();
    let asked = command.args(["keeper", "--probe"]).stdin(Stdio::null()).kill_on_drop(true).output();
    let output = asked.await.map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).trim().trim_start_matches("vestibule keeper: ").to_owned())
}
