//! Which sandbox runners live in, chosen once, with the reason.

use crate::config::{Config, SandboxWanted};
use crate::error::{Error, IoContext, Result};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::process::Command;

/// A chosen sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// The box.
    pub kind: Kind,
    /// What it is and why, for `status`.
    pub words: String,
    /// Which limits are real, for `status`.
    pub limits: String,
}

/// A sandbox that works here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// bubblewrap, as this program.
    Bwrap(PathBuf),
    /// Landlock and seccomp.
    Process,
    /// No confinement.
    None,
}

/// Chooses what the config wants, or the best that works here. `program` is the
/// keeper, `file` the same as others can open it, and `folder` where a sandbox is tried.
///
/// # Errors
/// The one that is wanted does not work here, or none does, and nobody allowed to run without.
pub async fn choose(program: &Path, file: &Path, config: &Config, folder: &Path) -> Result<Choice> {
    let process = "process (Landlock and seccomp; no capabilities)";
    let (kind, words) = match config.sandbox {
        SandboxWanted::None => {
            (Kind::None, "none (the config says so: an agent can do what your user can)".to_owned())
        }
        SandboxWanted::Bwrap => match try_bwrap(program, file, folder).await? {
            Ok(bwrap) => bwrap,
            Err(why) => {
                return Err(Error::Setup(format!(
                    "sandbox = \"bwrap\" does not work here: {why}; mend that, or write sandbox = \"auto\" in vestibule.toml"
                )));
            }
        },
        SandboxWanted::Process => match probe(program, &["--probe".as_ref()]).await {
            Ok(()) => (Kind::Process, process.to_owned()),
            Err(why) => return Err(unconfined(&why)),
        },
        SandboxWanted::Auto => match try_bwrap(program, file, folder).await? {
            Ok(bwrap) => bwrap,
            Err(no_bwrap) => match probe(program, &["--probe".as_ref()]).await {
                Ok(()) => (Kind::Process, format!("{process}, because there is no bwrap: {no_bwrap}")),
                Err(why) => return Err(unconfined(&format!("{why}; and no bwrap: {no_bwrap}"))),
            },
        },
    };
    let limits = limits(&kind, config, rustix::process::geteuid().is_root());
    Ok(Choice { kind, words, limits })
}

fn unconfined(why: &str) -> Error {
    Error::Setup(format!(
        "runners cannot be confined here ({why}), so none is started; with sandbox = \"none\" in vestibule.toml they \
         run unprotected"
    ))
}

/// Which limits the kernel enforces, and which are watched. Pure.
fn limits(kind: &Kind, config: &Config, root: bool) -> String {
    let processes = format!("{} processes", config.sandbox_processes);
    let memory = format!("{} MiB", config.sandbox_memory_mb);
    let watched = format!(
        "{memory} in all, {} MiB and {} files in out/",
        config.sandbox_out_mb, config.sandbox_out_files
    );
    let each = format!("{memory} and 1024 open files a process, 1 GiB a file");
    match kind {
        Kind::None => format!("none enforced; watched: {processes}, {watched}"),
        // The kernel counts processes of ordinary users only, and apart in each user namespace.
        Kind::Bwrap(_) if !root => format!("enforced: {processes}, {each}; watched: {watched}"),
        Kind::Bwrap(_) | Kind::Process => {
            format!("enforced: {each}; watched: {processes}, {watched}")
        }
    }
}

/// The `bwrap` on the path if it confines a runner here, or why it does not.
async fn try_bwrap(
    program: &Path,
    file: &Path,
    folder: &Path,
) -> Result<std::result::Result<(Kind, String), String>> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut found = std::env::split_paths(&path).map(|folder| folder.join("bwrap"));
    let Some(bwrap) = found.find(|file| file.is_absolute() && file.is_file()) else {
        return Ok(Err("bubblewrap is not installed".to_owned()));
    };
    // Its own each time: two of these may run at once.
    let folder = folder.join(crate::id::mint("probe"));
    std::fs::create_dir_all(&folder).context(|| format!("cannot make {}", folder.display()))?;
    let args = ["--probe-bwrap".as_ref(), bwrap.as_os_str(), file.as_os_str(), folder.as_os_str()];
    let outcome = probe(program, &args).await;
    let _ = std::fs::remove_dir_all(&folder);
    let words = "bwrap (bubblewrap: namespaces of its own, and seccomp; no capabilities)".to_owned();
    Ok(outcome.map(|()| (Kind::Bwrap(bwrap), words)))
}

/// A keeper confines itself, or something, as it would a runner, and says whether that worked.
async fn probe(program: &Path, args: &[&OsStr]) -> std::result::Result<(), String> {
    let mut command = Command::new(program);
    command.as_std_mut().env_clear();
    let asked = command.arg("keeper").args(args).stdin(Stdio::null()).kill_on_drop(true).output();
    let output = asked.await.map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).trim().trim_start_matches("vestibule keeper: ").to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_says_which_limits_are_real() {
        let config =
            Config::parse("sandbox_processes = 7\nsandbox_memory_mb = 8\nsandbox_out_mb = 9").unwrap();
        for (kind, root, enforced) in [
            (Kind::Bwrap("/usr/bin/bwrap".into()), false, "enforced: 7 processes, 8 MiB and"),
            (Kind::Bwrap("/usr/bin/bwrap".into()), true, "enforced: 8 MiB and"),
            (Kind::Process, false, "enforced: 8 MiB and"),
            (
                Kind::None,
                false,
                "none enforced; watched: 7 processes, 8 MiB in all, 9 MiB and 10000 files in out/",
            ),
        ] {
            let words = limits(&kind, &config, root);
            assert!(words.starts_with(enforced), "{kind:?} {root}: {words}");
            assert!(
                words.ends_with("8 MiB in all, 9 MiB and 10000 files in out/"),
                "{kind:?} {root}: {words}"
            );
        }
    }
}
