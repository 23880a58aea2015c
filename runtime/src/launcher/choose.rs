//! Which sandbox runners live in, chosen once, with the reason.

use super::user::{self, Named};
use crate::config::{Config, SandboxSetting};
use crate::error::{Error, IoContext, Result};
use std::ffi::OsStr;
use std::path::Path;
use std::process::Stdio;
use tokio::process::Command;
use vestibule_keeper::confine::Confinement;
use vestibule_keeper::wire::Bubblewrap;

/// A chosen sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChosenSandbox {
    /// The kind of sandbox.
    pub kind: Kind,
    /// What it is and why, for `status`.
    pub words: String,
    /// Which limits are real, for `status`.
    pub limits: String,
}

/// A sandbox that works here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// bubblewrap.
    Bwrap(Bubblewrap),
    /// Landlock and seccomp.
    Process,
    /// No confinement.
    None,
}

/// What a trial came to, or why it failed.
type Tried<T> = std::result::Result<T, String>;

/// What works here, as far as it was tried.
struct Found {
    /// Whether the kernel confines what reads for the runtime, in every sandbox alike.
    reader: Tried<()>,
    /// The `bwrap` that confines a runner.
    bwrap: Tried<Bubblewrap>,
    /// In a runtime that root started: the user that its runners in `bwrap` are.
    user: Option<Named>,
    /// How well the kernel does.
    kernel: Tried<Confinement>,
}

/// Chooses what the config wants, or the best that works here. `program` is the keeper's program, `file` the same by
/// a path that others can open, and `folder` where a sandbox is tried.
///
/// # Errors
/// The wanted one does not work here, or none does and the config does not allow to run without one.
pub async fn choose(program: &Path, file: &Path, config: &Config, folder: &Path) -> Result<ChosenSandbox> {
    let root = rustix::process::geteuid().is_root();
    let user = if root { Some(runners_user(config)?) } else { None };
    let found = look(program, file, config.sandbox, folder, user).await?;
    let (kind, words) = decide(config.sandbox, found)?;
    let limits = limits(&kind, config, root);
    Ok(ChosenSandbox { kind, words, limits })
}

/// Tries out what the decision needs to know.
async fn look(
    program: &Path,
    file: &Path,
    wanted: SandboxSetting,
    folder: &Path,
    user: Option<Named>,
) -> Result<Found> {
    let untried = || "it was not tried".to_owned();
    let bwrap = async {
        match wanted {
            SandboxSetting::Bwrap | SandboxSetting::Auto => {
                try_bwrap(program, file, folder, user.as_ref()).await
            }
            SandboxSetting::Process | SandboxSetting::None => Ok(Err(untried())),
        }
    };
    let (reader, bwrap) = tokio::join!(try_reader(program, folder), bwrap);
    let bwrap = bwrap?;
    let kernel = match wanted {
        SandboxSetting::Process => try_kernel(program).await,
        SandboxSetting::Auto if bwrap.is_err() => try_kernel(program).await,
        SandboxSetting::Auto | SandboxSetting::Bwrap | SandboxSetting::None => Err(untried()),
    };
    Ok(Found { reader, bwrap, user, kernel })
}

/// Which sandbox, and what `status` says of it. Pure.
fn decide(wanted: SandboxSetting, found: Found) -> Result<(Kind, String)> {
    found.reader.map_err(|why| {
        Error::Setup(format!(
            "no agent can run here: what reads for the runtime cannot be confined ({why}); that takes Linux 5.13 or \
             later with Landlock switched on (it must stand in /sys/kernel/security/lsm)"
        ))
    })?;
    let as_whom = found.user.map_or_else(String::new, |named| format!("; as the user {}", named.name));
    match (wanted, found.bwrap, found.kernel) {
        (SandboxSetting::None, _, _) => {
            Ok((Kind::None, "none (the config says so: an agent can do what your user can)".to_owned()))
        }
        (SandboxSetting::Bwrap | SandboxSetting::Auto, Ok(bwrap), _) => {
            let sized =
                if bwrap.sized { "" } else { "; no /dev/shm, for which it needs version 0.7, not setuid" };
            let words = format!(
                "bwrap (bubblewrap: namespaces of its own, and seccomp; no capabilities{as_whom}{sized})"
            );
            Ok((Kind::Bwrap(bwrap), words))
        }
        (SandboxSetting::Bwrap, Err(why), _) => Err(Error::Setup(format!(
            "sandbox = \"bwrap\" does not work here: {why}; mend that, or write sandbox = \"auto\" in vestibule.toml"
        ))),
        (SandboxSetting::Process, _, Ok(kernel)) => Ok((Kind::Process, process(kernel))),
        (SandboxSetting::Process, _, Err(why)) => Err(unconfined(&why)),
        (SandboxSetting::Auto, Err(no_bwrap), Ok(kernel)) if kernel.keeps_signals => {
            Ok((Kind::Process, format!("{}, because there is no bwrap: {no_bwrap}", process(kernel))))
        }
        (SandboxSetting::Auto, Err(no_bwrap), Ok(kernel)) => Err(Error::Setup(format!(
            "no bwrap: {no_bwrap}; and {}, so no runner is started; make bwrap work (install bubblewrap), \
             or accept it with sandbox = \"process\" in vestibule.toml",
            open(kernel)
        ))),
        (SandboxSetting::Auto, Err(no_bwrap), Err(why)) => {
            Err(unconfined(&format!("{why}; and no bwrap: {no_bwrap}")))
        }
    }
}

fn process(kernel: Confinement) -> String {
    let words = "process (Landlock and seccomp; no capabilities; git and package managers need bwrap";
    if kernel.keeps_signals { format!("{words})") } else { format!("{words}; {})", open(kernel)) }
}

/// What an older kernel leaves open.
fn open(kernel: Confinement) -> String {
    format!(
        "with this kernel (Landlock version {}; it takes 6, Linux 6.12) an agent can end your user's other \
         processes, the runtime among them",
        kernel.landlock
    )
}

/// The user that runners are when root started the runtime.
fn runners_user(config: &Config) -> Result<Named> {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    user::find(&passwd, config.sandbox_user.as_deref()).map_err(Error::Setup)
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
        "{memory} in all, {} MiB and {} files in out/, {} MiB and {} files in the agent's folder",
        config.sandbox_out_mb, config.sandbox_out_files, config.sandbox_agent_mb, config.sandbox_agent_files
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

/// The `bwrap` on the path if it confines a runner here.
async fn try_bwrap(
    program: &Path,
    file: &Path,
    folder: &Path,
    user: Option<&Named>,
) -> Result<Tried<Bubblewrap>> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut found = std::env::split_paths(&path).map(|folder| folder.join("bwrap"));
    let Some(bwrap) = found.find(|file| file.is_absolute() && file.is_file()) else {
        return Ok(Err("bubblewrap is not installed".to_owned()));
    };
    let mut fault = String::new();
    for sized in [true, false] {
        let bubblewrap = Bubblewrap { program: bwrap.clone(), sized, user: user.map(|named| named.user) };
        match probe_bwrap(program, file, folder, &bubblewrap).await? {
            Ok(_) => return Ok(Ok(bubblewrap)),
            Err(why) => fault = why,
        }
    }
    Ok(Err(fault))
}

/// Whether that `bwrap` confines a runner, or why it does not.
async fn probe_bwrap(
    program: &Path,
    file: &Path,
    folder: &Path,
    bubblewrap: &Bubblewrap,
) -> Result<Tried<Vec<u8>>> {
    // A folder of its own each time: what a killed one left is in no other's way.
    let folder = folder.join(crate::id::mint("probe"));
    std::fs::create_dir_all(&folder).context(|| format!("cannot make {}", folder.display()))?;
    let wanted = serde_json::to_string(bubblewrap).map_err(std::io::Error::from);
    let wanted = wanted.context(|| "cannot say which bwrap is tried".into())?;
    let args = ["--probe-bwrap".as_ref(), OsStr::new(&wanted), file.as_os_str(), folder.as_os_str()];
    let outcome = probe(program, &args).await;
    let _ = std::fs::remove_dir_all(&folder);
    Ok(outcome)
}

async fn try_reader(program: &Path, folder: &Path) -> Tried<()> {
    probe(program, &["--probe-reader".as_ref(), folder.as_os_str()]).await.map(drop)
}

async fn try_kernel(program: &Path) -> Tried<Confinement> {
    let said = probe(program, &["--probe".as_ref()]).await?;
    serde_json::from_slice(&said).map_err(|error| format!("the keeper's answer makes no sense: {error}"))
}

/// A keeper confines itself, or something, as it would a runner, and says whether that worked, and how
/// well.
async fn probe(program: &Path, args: &[&OsStr]) -> Tried<Vec<u8>> {
    let mut command = Command::new(program);
    command.as_std_mut().env_clear();
    // A runtime that stops meanwhile lets it come to its end: killed, it can leave a `bwrap` that waits for its dead parent
    // for ever.
    let asked = command.arg("keeper").args(args).stdin(Stdio::null()).output();
    let output = asked.await.map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    Err(String::from_utf8_lossy(&output.stderr).trim().trim_start_matches("vestibule keeper: ").to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: Confinement = Confinement { landlock: 7, keeps_signals: true };
    const OLD: Confinement = Confinement { landlock: 4, keeps_signals: false };

    fn bubblewrap() -> Bubblewrap {
        Bubblewrap { program: "/usr/bin/bwrap".into(), sized: true, user: None }
    }

    fn decided(wanted: SandboxSetting, bwrap: bool, kernel: Option<Confinement>) -> Tried<(Kind, String)> {
        let found = Found {
            reader: Ok(()),
            bwrap: bwrap.then(bubblewrap).ok_or_else(|| "BWRAP".to_owned()),
            user: None,
            kernel: kernel.ok_or_else(|| "KERNEL".to_owned()),
        };
        decide(wanted, found).map_err(|error| error.to_string())
    }

    #[test]
    fn the_sandbox_is_what_the_operator_wants_or_what_keeps_everything_inside() {
        use SandboxSetting::{Auto, Bwrap, None as Nothing, Process};
        let bwrap = || Some(Kind::Bwrap(bubblewrap()));
        let open = "Landlock version 4";
        for (wanted, works, kernel, want, says) in [
            (Auto, true, Some(NEW), bwrap(), &["bwrap ("][..]),
            (Auto, true, Some(OLD), bwrap(), &["bwrap ("]),
            (Auto, true, None, bwrap(), &["bwrap ("]),
            (Auto, false, Some(NEW), Some(Kind::Process), &["process (", "there is no bwrap: BWRAP"]),
            (Auto, false, Some(OLD), None, &["BWRAP", open, "no runner is started", "sandbox = \"process\""]),
            (Auto, false, None, None, &["KERNEL; and no bwrap: BWRAP", "none is started"]),
            (Bwrap, true, None, bwrap(), &["bwrap ("]),
            (Bwrap, false, Some(NEW), None, &["does not work here: BWRAP"]),
            (Process, true, Some(NEW), Some(Kind::Process), &["process ("]),
            (Process, true, Some(OLD), Some(Kind::Process), &["process (", open]),
            (Process, true, None, None, &["KERNEL", "none is started"]),
            (Nothing, true, Some(NEW), Some(Kind::None), &["none ("]),
        ] {
            let case = format!("{wanted:?} {works} {kernel:?}");
            let decision = decided(wanted, works, kernel);
            let (kind, words) = match decision {
                Ok((kind, words)) => (Some(kind), words),
                Err(words) => (None, words),
            };
            assert_eq!(kind, want, "{case}");
            assert!(says.iter().all(|says| words.contains(says)), "{case}: {words}");
            let is_open = kernel == Some(OLD) && kind != bwrap();
            assert_eq!(words.contains("an agent can end"), is_open, "{case}: {words}");
        }
    }

    #[test]
    fn without_a_confined_reader_there_is_no_sandbox() {
        use SandboxSetting::{Auto, Bwrap, None as Nothing, Process};
        for wanted in [Auto, Bwrap, Process, Nothing] {
            let reader = Err("this kernel has no Landlock".to_owned());
            let found = Found { reader, bwrap: Ok(bubblewrap()), user: None, kernel: Ok(NEW) };
            let refused = decide(wanted, found).map_err(|error| error.to_string());
            assert!(
                refused.is_err_and(|words| words.contains("(this kernel has no Landlock)")),
                "{wanted:?}"
            );
        }
    }

    #[test]
    fn status_says_which_limits_are_real() {
        let config = Config::parse(
            "sandbox_processes = 7\nsandbox_memory_mb = 8\nsandbox_out_mb = 9\nsandbox_agent_mb = 5",
        )
        .unwrap();
        for (kind, root, enforced) in [
            (Kind::Bwrap(bubblewrap()), false, "enforced: 7 processes, 8 MiB and"),
            (Kind::Bwrap(bubblewrap()), true, "enforced: 8 MiB and"),
            (Kind::Process, false, "enforced: 8 MiB and"),
            (
                Kind::None,
                false,
                "none enforced; watched: 7 processes, 8 MiB in all, 9 MiB and 10000 files in out/, 5 MiB and",
            ),
        ] {
            let words = limits(&kind, &config, root);
            assert!(words.starts_with(enforced), "{kind:?} {root}: {words}");
            assert!(
                words.ends_with(
                    "8 MiB in all, 9 MiB and 10000 files in out/, 5 MiB and 200000 files in the agent's folder"
                ),
                "{kind:?} {root}: {words}"
            );
        }
    }
}
