//! What a runner, the reader beside it, and a plugin's process can no longer do.
//!
//! Landlock says which files, seccomp says which calls; neither alone is enough: Landlock lets a process change modes,
//! times and attributes of files outside, send UDP and reach unix sockets. All capabilities are dropped, so that
//! running as root gives no more than owning files does.

mod calls;
mod files;

pub(crate) use calls::{RunnerCalls, runner_bytes};
pub(crate) use files::{DEVICES, SYSTEM};

use crate::user;
use crate::wire::{Grants, RUNNER_OOM_SCORE, Sandbox, User};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CapabilitySet, CapabilitySets};
use serde::{Deserialize, Serialize};
use std::io::{Error, Result};
use std::path::{Path, PathBuf};

/// The largest file a runner may write, in bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// How many files a runner may have open.
const OPEN_FILES_MAX: u64 = 1024;
/// A process that may have fewer files open than its user has descriptors on their way through sockets can send none.
/// Runners of the user can have 1024 and 253 there, so a plugin's process may have more.
pub const IN_FLIGHT_MIN: u64 = 2 * OPEN_FILES_MAX;
/// How many processes the user of a runner may have. The kernel does not count root's.
const PROCESSES_MAX: u64 = 4096;
/// The runner gets one more timer or queued signal only while its user has fewer than this: other processes of the user
/// have a higher limit.
const PENDING_MAX: u64 = 1024;
/// The largest copy of a foreign file that a keeper may make, in bytes: as much as it takes over, and room for a
/// journal that is played back.
const COPY_BYTES_MAX: u64 = 2 * 1024 * 1024 * 1024;
/// How long a keeper may read a foreign folder, in seconds of computing, should no runtime be left to end it.
const COPY_SECONDS_MAX: u64 = 600;
/// The most memory that a reader may map, in bytes: four times the largest batch, and some more.
const READER_MEMORY_MAX: u64 = 512 * 1024 * 1024;

/// Called before anything is started: neither this process nor what it starts can signal any other process. Returns
/// whether the kernel sees to that.
///
/// Beneath this either mounts can be made, as `bwrap` does, or domains for files that allow moving files from folder to
/// folder: `for_domains` says which.
pub(crate) fn signals(for_domains: bool) -> bool {
    files::signals_only(for_domains)
}

/// Confines the calling process, which is about to become a runner, or the `bwrap` that confines one.
pub(crate) fn runner(sandbox: &Sandbox, session: &Path, agent_folder: &Path, program: &Path) -> Result<()> {
    // It is the first to go when memory runs out. Without the right to say so the kernel chooses.
    let _ = std::fs::write("/proc/self/oom_score_adj", RUNNER_OOM_SCORE.to_string());
    limit(Resource::Core, 0)?;
    let (Sandbox::Process { grants } | Sandbox::Bwrap { grants, .. }) = sandbox else { return Ok(()) };
    limit_runner(grants)?;
    if let Sandbox::Bwrap { .. } = sandbox {
        return Ok(());
    }
    shut(grants, session, agent_folder, program).map(drop)
}

fn limit_runner(grants: &Grants) -> Result<()> {
    limit_at(Resource::Fsize, FILE_BYTES_MAX)?;
    limit_at(Resource::Nofile, OPEN_FILES_MAX)?;
    limit_at(Resource::Nproc, PROCESSES_MAX)?;
    limit_at(Resource::Sigpending, PENDING_MAX)?;
    limit(Resource::Data, grants.memory_bytes)
}

/// Confines a runner by Landlock and seccomp; returns the version of Landlock that is enforced.
fn shut(grants: &Grants, session: &Path, agent_folder: &Path, program: &Path) -> Result<u32> {
    no_capabilities()?;
    let length_guarded = files::length_is_guarded();
    let version = files::runner(grants, session, agent_folder, program)?;
    calls::runner(RunnerCalls { network: grants.network, length_guarded, own_files: false })?;
    Ok(version)
}

/// Confines the calling process, a reader: from now on it reaches this session's `out/` and what it has open, lists the
/// names in the agent's own folder, starts nothing, and signals no process. Under a runtime that root started it
/// becomes the user that owns `out/`.
///
/// # Errors
/// The kernel refuses one of the limits; then the process must not go on.
pub fn reader(out: &Path, agent_folder: Option<&Path>) -> Result<()> {
    limit(Resource::Core, 0)?;
    limit_at(Resource::As, READER_MEMORY_MAX)?;
    match user::owner(out)? {
        None => no_capabilities()?,
        // `out/` lies below folders that only root may enter. Landlock limits where that right holds.
        Some(owner) => capabilities(CapabilitySet::DAC_READ_SEARCH, Some(owner))?,
    }
    files::reader(out, agent_folder)?;
    calls::reader()
}

/// Confines a keeper that reads a foreign folder: it reads that folder, writes its private copies, and starts nothing.
pub fn adopter(folder: &Path, scratch: &Path) -> Result<()> {
    limit(Resource::Core, 0)?;
    limit_at(Resource::As, READER_MEMORY_MAX)?;
    limit_at(Resource::Fsize, COPY_BYTES_MAX)?;
    limit_at(Resource::Cpu, COPY_SECONDS_MAX)?;
    // The folder, or a part of it, may be another user's. Landlock limits where that right holds.
    let may = rustix::thread::capabilities(None)?.permitted;
    capabilities(may & CapabilitySet::DAC_READ_SEARCH, None)?;
    files::adopter(folder, scratch)?;
    calls::reader()
}

/// The limits of a plugin's process.
#[derive(Debug, Clone)]
pub struct PluginGrants {
    /// The file it opens.
    pub file: PathBuf,
    /// How much memory of its own it may map, in bytes.
    pub memory_bytes: u64,
    /// How many descriptors it may have open. The kernel enforces no fewer than [`IN_FLIGHT_MIN`]: the runtime watches
    /// a lower limit.
    pub open_files: u64,
    /// The largest file it may make, in memory or in its folder, in bytes.
    pub file_bytes: u64,
    /// The folder that it may write to, if it has one.
    pub folder: Option<PathBuf>,
}

/// Confines the calling process, which is about to open a plugin's file. The process must have one thread: threads that
/// it starts later inherit this. It reads its file and what libraries need, writes nothing but in a folder of its own,
/// reaches the internet, and starts nothing.
///
/// # Errors
/// This kernel cannot confine it; then the file must not be opened.
pub fn plugin(grants: &PluginGrants) -> Result<()> {
    limit(Resource::Core, 0)?;
    limit(Resource::Fsize, grants.file_bytes)?;
    limit(Resource::Nofile, grants.open_files.max(room_in_flight()))?;
    limit_at(Resource::Sigpending, PENDING_MAX)?;
    limit(Resource::Data, grants.memory_bytes)?;
    no_capabilities()?;
    files::plugin(&grants.file, grants.folder.as_deref())?;
    calls::plugin(files::length_is_guarded())
}

/// How well this kernel confines a runner in the sandbox `process`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confinement {
    /// The version of its Landlock, from 1 on.
    pub landlock: u32,
    /// Whether a runner can signal no process outside: since version 6.
    pub keeps_signals: bool,
}

/// How well this kernel confines a runner. Tried on the calling process, whose parent must be a process of the same
/// user.
pub(crate) fn probe() -> Result<Confinement> {
    let grants = Grants { read: vec![], network: false, memory_bytes: READER_MEMORY_MAX };
    let nowhere = Path::new("/nonexistent");
    let parent = rustix::process::getppid();
    limit_runner(&grants)?;
    let landlock = shut(&grants, nowhere, nowhere, nowhere)?;
    if std::fs::read_dir("/").is_ok() {
        return Err(Error::other("Landlock is there and confines nothing"));
    }
    let reached = parent.is_some_and(|parent| rustix::process::test_kill_process(parent).is_ok());
    Ok(Confinement { landlock, keeps_signals: !reached })
}

/// [`IN_FLIGHT_MIN`], or as much of it as this process may have.
fn room_in_flight() -> u64 {
    let most = rustix::process::getrlimit(Resource::Nofile).maximum;
    most.map_or(IN_FLIGHT_MIN, |most| most.min(IN_FLIGHT_MIN))
}

/// Sets a limit that was asked for.
fn limit(resource: Resource, most: u64) -> Result<()> {
    Ok(setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?)
}

/// Sets a limit of ours, or leaves the lower one that this user has.
fn limit_at(resource: Resource, most: u64) -> Result<()> {
    limit(resource, getrlimit(resource).maximum.map_or(most, |own| own.min(most)))
}

/// Drops all capabilities, also for every program that is executed later.
pub(crate) fn no_capabilities() -> Result<()> {
    capabilities(CapabilitySet::empty(), None)
}

/// Keeps these capabilities alone, and none for a program that is executed later; becomes another user, if one is
/// named.
fn capabilities(kept: CapabilitySet, user: Option<User>) -> Result<()> {
    rustix::thread::set_no_new_privs(true)?;
    for number in 0..64 {
        // An ordinary user has none to drop, and the last numbers do not exist.
        let _ =
            rustix::thread::remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << number));
    }
    if let Some(user) = user {
        rustix::thread::set_keep_capabilities(true)?;
        user::become_user(user)?;
    }
    let none = CapabilitySet::empty();
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: none };
    Ok(rustix::thread::set_capabilities(None, sets)?)
}
