//! What a runner, the keeper itself, and a plugin's process can no longer do.
//!
//! Landlock says which files, seccomp says which calls; neither alone is enough: Landlock lets modes,
//! times and attributes of files outside be changed, UDP be sent and unix sockets be reached.
//! Capabilities go altogether, so that running as root gives no more than owning files does.

mod calls;
mod files;

use crate::wire::{Grants, Sandbox};
use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::thread::{CapabilitySet, CapabilitySets};
use std::io::Result;
use std::path::{Path, PathBuf};

/// The largest file a runner may write, in bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// How many files a runner may have open.
const OPEN_FILES_MAX: u64 = 1024;
/// How many processes the user of a runner may have. Root is not counted by the kernel.
const PROCESSES_MAX: u64 = 4096;
/// The most memory, in bytes, a keeper may map: four times the largest batch, and some.
const KEEPER_MEMORY_MAX: u64 = 512 * 1024 * 1024;

/// Before anything is started: neither this process nor what it starts can signal anybody else.
/// A later, narrower domain of this process may still signal its runner.
pub fn signals() -> Result<()> {
    files::signals_only()
}

/// Confines the calling process, which is about to become a runner.
pub fn runner(sandbox: &Sandbox, session: &Path, agent_folder: &Path, program: &Path) -> Result<()> {
    limit(Resource::Core, 0)?;
    let Sandbox::Process { grants } = sandbox else { return Ok(()) };
    limit(Resource::Fsize, FILE_BYTES_MAX)?;
    limit(Resource::Nofile, OPEN_FILES_MAX)?;
    limit(Resource::Nproc, PROCESSES_MAX)?;
    limit(Resource::Data, grants.memory_bytes)?;
    drop_capabilities()?;
    files::runner(grants, session, agent_folder, program)?;
    calls::runner(grants.network)
}

/// Shuts the door behind the keeper: from now on it reaches this session's `out/` and what it has
/// open, and starts nothing.
pub fn keeper(out: &Path) -> Result<()> {
    limit(Resource::Core, 0)?;
    limit(Resource::As, KEEPER_MEMORY_MAX)?;
    drop_capabilities()?;
    files::keeper(out)?;
    calls::keeper()
}

/// What a plugin's process may do.
#[derive(Debug, Clone)]
pub struct PluginGrants {
    /// The file it opens.
    pub file: PathBuf,
    /// How much memory of its own it may map, in bytes.
    pub memory_bytes: u64,
    /// How many descriptors it may have open.
    pub open_files: u64,
    /// The largest memory file it may make, in bytes.
    pub file_bytes: u64,
}

/// Confines the calling process, which is about to open a plugin's file. It must have one thread:
/// those it starts later inherit this. It reads its file and what libraries need, writes nothing,
/// reaches the internet, and starts nothing.
///
/// # Errors
/// This kernel cannot do that; then the file must not be opened.
pub fn plugin(grants: &PluginGrants) -> Result<()> {
    limit(Resource::Core, 0)?;
    limit(Resource::Fsize, grants.file_bytes)?;
    limit(Resource::Nofile, grants.open_files)?;
    limit(Resource::Data, grants.memory_bytes)?;
    drop_capabilities()?;
    files::plugin(&grants.file)?;
    calls::plugin()
}

/// Whether this kernel can confine a runner: tried on the calling process.
pub fn probe() -> Result<()> {
    let grants = Grants { read: vec![], network: false, memory_bytes: KEEPER_MEMORY_MAX };
    let nowhere = Path::new("/nonexistent");
    runner(&Sandbox::Process { grants }, nowhere, nowhere, nowhere)?;
    match std::fs::read_dir("/") {
        Err(_) => Ok(()),
        Ok(_) => Err(std::io::Error::other("Landlock is there and confines nothing")),
    }
}

fn limit(resource: Resource, most: u64) -> Result<()> {
    Ok(setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?)
}

/// No capability now, and none by executing anything.
fn drop_capabilities() -> Result<()> {
    rustix::thread::set_no_new_privs(true)?;
    for number in 0..64 {
        // An ordinary user has none to drop, and the last numbers do not exist.
        let _ =
            rustix::thread::remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << number));
    }
    let none = CapabilitySet::empty();
    Ok(rustix::thread::set_capabilities(
        None,
        CapabilitySets { effective: none, permitted: none, inheritable: none },
    )?)
}
