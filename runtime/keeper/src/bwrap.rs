//! How `bwrap` is called. Pure but for the probe.

use crate::confine::{DEVICES, SYSTEM};
use crate::wire::{Grants, RunnerSpec, inside};
use std::ffi::OsString;
use std::os::fd::RawFd;
use std::path::Path;
use vestibule_session::SessionDir;

/// Where `bwrap` says which process is the first inside.
pub const INFO: &str = "--info-fd";

/// The arguments, up to and with the program. `filters` are descriptors of seccomp filters, `info` one
/// to write to. A source of a writable mount is a name that only the runtime can change.
pub fn args(
    spec: &RunnerSpec,
    grants: &Grants,
    session: &SessionDir,
    filters: &[RawFd],
    info: RawFd,
) -> Vec<OsString> {
    let mut args: Vec<OsString> = Vec::new();
    let mut add = |words: &[&std::ffi::OsStr]| args.extend(words.iter().map(|word| (*word).to_owned()));
    let own = ["--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"];
    let ends = ["--die-with-parent", "--new-session", "--cap-drop", "ALL", "--proc", "/proc"];
    own.iter().chain(&ends).for_each(|word| add(&[word.as_ref()]));
    if !grants.network {
        add(&["--unshare-net".as_ref()]);
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
    for path in &grants.read {
        add(&["--ro-bind-try".as_ref(), path.as_ref(), path.as_ref()]);
    }
    if !grants.read.iter().any(|path| path.starts_with("/tmp")) {
        // Inside, so that it leads nowhere else whatever the agent makes of it.
        add(&[
            "--symlink".as_ref(),
            SessionDir::new(inside::WORKSPACE).temporary().as_ref(),
            "/tmp".as_ref(),
        ]);
    }
    let out = SessionDir::new(inside::WORKSPACE).out();
    add(&["--ro-bind".as_ref(), spec.program.as_ref(), inside::PROGRAM.as_ref()]);
    add(&["--ro-bind".as_ref(), session.root().as_ref(), inside::WORKSPACE.as_ref()]);
    add(&["--bind".as_ref(), session.out().as_ref(), out.as_ref()]);
    add(&["--bind".as_ref(), spec.agent_folder.as_ref(), inside::AGENT.as_ref()]);
    add(&["--remount-ro".as_ref(), "/".as_ref(), "--chdir".as_ref(), inside::AGENT.as_ref()]);
    for filter in filters {
        add(&["--add-seccomp-fd".as_ref(), filter.to_string().as_ref()]);
    }
    add(&[INFO.as_ref(), info.to_string().as_ref(), "--".as_ref(), inside::PROGRAM.as_ref()]);
    args
}

/// Inside a sandbox that is being tried: whether it confines.
pub fn probe_inside() -> std::io::Result<()> {
    let workspace = SessionDir::new(inside::WORKSPACE);
    let fault = |what: &str| Err(std::io::Error::other(format!("bubblewrap is there, and {what}")));
    if std::fs::write(workspace.out().join("probe"), "x").is_err() {
        return fault("the session's out/ cannot be written inside");
    }
    if std::fs::write(workspace.root().join("probe"), "x").is_ok() || std::fs::write("/probe", "x").is_ok() {
        return fault("confines no files");
    }
    if rustix::fs::chmod(workspace.out().join("probe"), rustix::fs::Mode::RUSR).is_ok() {
        return fault("filters no system calls");
    }
    if Path::new("/proc/1/task/2").exists() || std::process::id() > 100 {
        return fault("shows the processes outside");
    }
    Ok(())
}
