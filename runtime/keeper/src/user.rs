//! Under a runtime that root started, the runners are another user: outside, where the kernel asks who may change a
//! device's mode, and inside, where programs refuse to work as root. That user owns what an agent may write, and is
//! also the reader's, which writes there, too, when it rolls a journal back.

use crate::wire::{RunnerSpec, Sandbox, User, inside};
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, chownat, fstat, openat};
use rustix::fs::{Gid, Uid};
use rustix::io::Errno;
use rustix::thread::CapabilitySet;
use std::ffi::OsString;
use std::fs::File;
use std::io::{Error, Read, Result};
use std::os::fd::FromRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use vestibule_session::{SessionDir, open_beneath};

/// How deep folders are entered.
const DEPTH_MAX: usize = 256;

/// The user that owns a folder, if this process is root's and the owner is another user.
pub fn owner(folder: &Path) -> Result<Option<User>> {
    let found = std::fs::symlink_metadata(folder)?;
    let other = rustix::process::geteuid().is_root() && found.uid() != 0;
    Ok(other.then(|| User { uid: found.uid(), gid: found.gid() }))
}

/// Before a run, while nothing of the session runs: gives what the agent may write to its runner. Under a runtime that
/// root started that is the user of its sandbox, or root again where the sandbox gives none.
///
/// `out/` is looked through each time, the agent's own folder only while it is not yet its runner's.
pub fn hand_over(dir: &SessionDir, runner: &RunnerSpec, pulse: impl FnMut() -> Result<()>) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let user = match &runner.sandbox {
        Sandbox::Bwrap { bubblewrap, .. } => bubblewrap.user,
        Sandbox::None | Sandbox::Process { .. } => None,
    };
    let mut giving = Giving { to: user.unwrap_or(User { uid: 0, gid: 0 }), pulse };
    giving.give(&dir.out())?;
    let found = std::fs::symlink_metadata(&runner.agent_folder)?;
    if found.uid() != giving.to.uid {
        giving.give(&runner.agent_folder)?;
    }
    Ok(())
}

struct Giving<P> {
    to: User,
    /// Shows the runtime that the work goes on.
    pulse: P,
}

impl<P: FnMut() -> Result<()>> Giving<P> {
    /// Gives a folder with what is in it, itself last: one whose giving was cut short is given again. No link is
    /// followed, and no mount in there is entered. A file with several names keeps its owner: one of the names may lie
    /// elsewhere.
    fn give(&mut self, folder: &Path) -> Result<()> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut open = vec![enter(openat(CWD, folder, flags, Mode::empty())?)?];
        while let Some((handle, entries)) = open.last_mut() {
            let Some(entry) = entries.next() else {
                self.one(handle)?;
                open.pop();
                continue;
            };
            let entry = entry?;
            let name = Path::new(std::ffi::OsStr::from_bytes(entry.file_name().to_bytes()));
            if name == Path::new(".") || name == Path::new("..") {
                continue;
            }
            (self.pulse)()?;
            let found = match open_beneath(&*handle, name, OFlags::PATH) {
                Ok(found) => found,
                Err(Errno::NOENT | Errno::XDEV) => continue,
                Err(error) => return Err(error.into()),
            };
            match FileType::from_raw_mode(fstat(&found)?.st_mode) {
                FileType::Directory if open.len() >= DEPTH_MAX => {
                    return Err(Error::other(format!(
                        "folders in {} are nested more than {DEPTH_MAX} deep, too deep to be given to their runner's user",
                        folder.display()
                    )));
                }
                FileType::Directory => open.push(enter(found)?),
                _ => self.one(&found)?,
            }
        }
        Ok(())
    }

    fn one(&self, found: &OwnedFd) -> Result<()> {
        if is_to_give(&fstat(found)?, self.to) {
            let (user, group) = (Uid::from_raw(self.to.uid), Gid::from_raw(self.to.gid));
            chownat(found, "", Some(user), Some(group), AtFlags::EMPTY_PATH)?;
        }
        Ok(())
    }
}

/// Whether a file that is found is given to that user. Pure.
fn is_to_give(found: &Stat, to: User) -> bool {
    let one_name = match FileType::from_raw_mode(found.st_mode) {
        FileType::Directory => true,
        FileType::RegularFile | FileType::Symlink => found.st_nlink == 1,
        _ => false,
    };
    one_name && (found.st_uid, found.st_gid) != (to.uid, to.gid)
}

fn enter(found: OwnedFd) -> Result<(OwnedFd, Dir)> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let entries = Dir::new(openat(&found, ".", flags, Mode::empty())?)?;
    Ok((found, entries))
}

/// Fails when this root cannot give files to another user, or watch and end that user's processes: in a container it
/// may not.
pub fn may_have_runners() -> Result<()> {
    let needed = CapabilitySet::CHOWN
        | CapabilitySet::DAC_OVERRIDE
        | CapabilitySet::DAC_READ_SEARCH
        | CapabilitySet::KILL
        | CapabilitySet::SYS_PTRACE;
    let missing = needed - rustix::thread::capabilities(None)?.effective;
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::other(format!(
        "root lacks the capabilities to have runners of another user here ({missing:?})"
    )))
}

/// Becomes this user, with no group but its own. The calling process must have one thread, and the right to do so.
pub fn become_user(user: User) -> Result<()> {
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    rustix::thread::set_thread_groups(&[])?;
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    Ok(rustix::thread::set_thread_res_uid(uid, uid, uid)?)
}

/// The first program inside a `bwrap` that root started: becomes the runner's user, and then the program that the rest
/// of the arguments names. Until then nothing of the agent's is looked at: not even its environment, which could name
/// libraries, and which is read from a descriptor.
///
/// Returns only with an error.
pub fn run_as(args: &[OsString]) -> Result<()> {
    let wrong = || Error::other("it is started by a keeper, not by hand");
    let [uid, gid, environment, program, args @ ..] = args else { return Err(wrong()) };
    let number = |text: &OsString| text.to_str().and_then(|text| text.parse::<u32>().ok()).ok_or_else(wrong);
    let user = User { uid: number(uid)?, gid: number(gid)? };
    let environment = i32::try_from(number(environment)?).map_err(|_| wrong())?;
    if environment <= 2 {
        return Err(wrong());
    }
    let mut text = Vec::new();
    // SAFETY: the keeper handed this descriptor over for this, and nothing else uses it.
    unsafe { File::from_raw_fd(environment) }.read_to_end(&mut text)?;
    let environment: Vec<(String, String)> = serde_json::from_slice(&text)?;
    become_user(user)?;
    // The capabilities that bubblewrap kept for this step.
    crate::confine::no_capabilities()?;
    std::env::set_current_dir(inside::AGENT)?;
    Err(Command::new(program).args(args).env_clear().envs(environment).exec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_has_one_name_and_another_owner() {
        let found = |mode: u32, names: u32, owner: u32| {
            let mut stat = fstat(File::open("/dev/null").unwrap()).unwrap();
            stat.st_mode = mode;
            stat.st_nlink = names.into();
            (stat.st_uid, stat.st_gid) = (owner, owner);
            stat
        };
        let to = User { uid: 9, gid: 9 };
        for (what, mode, names, owner, want) in [
            ("a file", libc::S_IFREG, 1, 0, true),
            ("its own file", libc::S_IFREG, 1, 9, false),
            ("a file with another name elsewhere", libc::S_IFREG, 2, 0, false),
            ("a folder", libc::S_IFDIR, 3, 0, true),
            ("a link", libc::S_IFLNK, 1, 0, true),
            ("a device", libc::S_IFCHR, 1, 0, false),
        ] {
            assert_eq!(is_to_give(&found(mode, names, owner), to), want, "{what}");
        }
    }
}
