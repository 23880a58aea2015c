//! The arguments with which `bwrap` is called.

use crate::confine::{DEVICES, SYSTEM};
use crate::wire::{Bubblewrap, Grants, RunnerSpec, User, inside};
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use vestibule_session::SessionDir;

/// The option of the descriptor on which `bwrap` says which process is the first inside.
pub const INFO: &str = "--info-fd";

/// How much a folder in memory may hold, in bytes: 64 MiB, as in most containers.
const IN_MEMORY_BYTES_MAX: &str = "67108864";

/// The arguments, up to and with the program. `filters` are descriptors of seccomp filters, `info` is one to write to.
/// A source of a writable mount must be a name that only the runtime can change.
pub fn args(
    spec: &RunnerSpec,
    bubblewrap: &Bubblewrap,
    grants: &Grants,
    session: &SessionDir,
    filters: &[RawFd],
    info: RawFd,
) -> Vec<OsString> {
    let mut args: Vec<OsString> = Vec::new();
    let mut add = |words: &[&OsStr]| args.extend(words.iter().map(|word| (*word).to_owned()));
    let own = ["--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"];
    let ends = ["--die-with-parent", "--new-session", "--cap-drop", "ALL"];
    let user: &[&str] = match bubblewrap.user {
        None => &["--unshare-user"],
        // Root needs no user namespace, and inside one of its own it could become no other user.
        Some(_) => &["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"],
    };
    own.iter().chain(&ends).chain(user).for_each(|word| add(&[word.as_ref()]));
    // bubblewrap covers what it believes to be writable there, and when it runs as root it covers too little.
    add(&["--proc".as_ref(), "/proc".as_ref(), "--remount-ro".as_ref(), "/proc".as_ref()]);
    if !grants.network {
        add(&["--unshare-net".as_ref()]);
    }
    // The folders that `bwrap` makes by itself above a mount are for its own user only, which need not be the runner's.
    for folder in above(SYSTEM.iter().chain(&DEVICES).map(Path::new)) {
        add(&["--dir".as_ref(), folder.as_ref()]);
    }
    for path in SYSTEM {
        add(&["--ro-bind-try".as_ref(), path.as_ref(), path.as_ref()]);
    }
    for device in DEVICES {
        add(&["--dev-bind-try".as_ref(), device.as_ref(), device.as_ref()]);
    }
    for (target, link) in [("fd", "fd"), ("fd/0", "stdin"), ("fd/1", "stdout"), ("fd/2", "stderr")] {
        let (target, link) = (format!("/proc/self/{target}"), format!("/dev/{link}"));
        add(&["--symlink".as_ref(), target.as_ref(), link.as_ref()]);
    }
    let temporary = SessionDir::new(inside::WORKSPACE).temporary();
    match tmp(&grants.read) {
        // A link inside, so that it leads nowhere else whatever the agent makes of the folder.
        Tmp::Temporary => add(&["--symlink".as_ref(), temporary.as_ref(), "/tmp".as_ref()]),
        Tmp::OfItsOwn if bubblewrap.sized => add(&in_memory("/tmp")),
        Tmp::OfItsOwn | Tmp::Granted => {}
    }
    if bubblewrap.sized {
        add(&in_memory("/dev/shm"));
    }
    let granted: Vec<&Path> = grants.read.iter().map(PathBuf::as_path).filter(|path| path.exists()).collect();
    for folder in above(granted.iter().copied()) {
        add(&["--dir".as_ref(), folder.as_ref()]);
    }
    for path in granted {
        add(&["--ro-bind-try".as_ref(), path.as_ref(), path.as_ref()]);
    }
    let out = SessionDir::new(inside::WORKSPACE).out();
    add(&["--ro-bind".as_ref(), spec.program.as_ref(), inside::PROGRAM.as_ref()]);
    add(&["--ro-bind".as_ref(), session.root().as_ref(), inside::WORKSPACE.as_ref()]);
    add(&["--bind".as_ref(), session.out().as_ref(), out.as_ref()]);
    add(&["--bind".as_ref(), spec.agent_folder.as_ref(), inside::AGENT.as_ref()]);
    // Only the runner may enter the agent's folder.
    let at = if bubblewrap.user.is_some() { inside::WORKSPACE } else { inside::AGENT };
    add(&["--remount-ro".as_ref(), "/".as_ref(), "--chdir".as_ref(), at.as_ref()]);
    for filter in filters {
        add(&["--add-seccomp-fd".as_ref(), filter.to_string().as_ref()]);
    }
    add(&[INFO.as_ref(), info.to_string().as_ref(), "--".as_ref(), inside::PROGRAM.as_ref()]);
    args
}

/// The arguments of the first program inside, which becomes a user and then the runner; `environment` is a descriptor
/// from which the runner's environment is read.
pub fn becoming(user: User, environment: RawFd) -> [String; 6] {
    let [uid, gid, environment] = [user.uid.to_string(), user.gid.to_string(), environment.to_string()];
    ["keeper".to_owned(), crate::AS.to_owned(), uid, gid, environment, inside::PROGRAM.to_owned()]
}

fn above<'a>(paths: impl Iterator<Item = &'a Path>) -> BTreeSet<&'a Path> {
    paths.filter_map(Path::parent).filter(|folder| *folder != Path::new("/")).collect()
}

/// What `/tmp` is inside.
#[derive(Debug, PartialEq, Eq)]
enum Tmp {
    /// The folder for temporary files in `out/`.
    Temporary,
    /// A small folder of its own: a grant below it needs a place that no agent has made.
    OfItsOwn,
    /// A folder that the grants name.
    Granted,
}

fn tmp(granted: &[PathBuf]) -> Tmp {
    if granted.iter().any(|path| path == Path::new("/tmp")) {
        Tmp::Granted
    } else if granted.iter().any(|path| path.starts_with("/tmp")) {
        Tmp::OfItsOwn
    } else {
        Tmp::Temporary
    }
}

/// A small folder in memory that every user inside may write.
fn in_memory(at: &str) -> [&OsStr; 6] {
    ["--perms", "1777", "--size", IN_MEMORY_BYTES_MAX, "--tmpfs", at].map(OsStr::new)
}

/// Files of `/proc` that nothing inside may open for writing: the machine's, which only root may write outside, and one
/// of the process's own, which shows an ordinary user, too, whether all is read-only.
const PROC_FILES: [&str; 5] =
    ["sys/kernel/core_pattern", "sys/kernel/hostname", "sysrq-trigger", "mtrr", "self/comm"];

/// Run inside a sandbox that is being tried: fails if it does not confine.
pub fn probe_inside() -> std::io::Result<()> {
    let workspace = SessionDir::new(inside::WORKSPACE);
    let fault = |what: &str| Err(std::io::Error::other(format!("bubblewrap is there, and {what}")));
    if std::fs::write(workspace.out().join("probe"), "x").is_err() {
        return fault("the session's out/ cannot be written inside");
    }
    if std::fs::write(workspace.root().join("probe"), "x").is_ok() || std::fs::write("/probe", "x").is_ok() {
        return fault("confines no files");
    }
    if let Some(file) = PROC_FILES.iter().find(|file| opens_for_writing(file)) {
        return fault(&format!("lets /proc/{file} be written"));
    }
    let lending = rustix::fs::Mode::RUSR | rustix::fs::Mode::SUID;
    if rustix::fs::chmod(workspace.out().join("probe"), lending).is_ok() {
        return fault("filters no system calls");
    }
    if rustix::process::geteuid().is_root() {
        return fault("leaves the runner root");
    }
    if Path::new("/proc/1/task/2").exists() || std::process::id() > 100 {
        return fault("shows the processes outside");
    }
    Ok(())
}

/// Whether a file can be opened for writing. The opening alone writes nothing.
fn opens_for_writing(file: &str) -> bool {
    std::fs::File::options().write(true).open(Path::new("/proc").join(file)).is_ok()
}
