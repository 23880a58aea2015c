//! Emptying a folder that the agent's programs have filled. It is walked beneath its handle and no link
//! is followed; only the runner's own powers are used, and one go has a bound.

use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, chmod, mkdirat, openat, unlinkat};
use rustix::io::Errno;
use std::ffi::CString;
use std::path::Path;

/// The most entries that one go looks at: more than a session may hold, unless its operator allows it.
const ENTRIES_MAX: usize = 100_000;
/// How deep folders are entered: deeper than a session may nest them.
const DEPTH_MAX: usize = 64;

/// A folder that is being emptied, and its name in the one above.
struct Folder {
    handle: OwnedFd,
    entries: Dir,
    name: CString,
}

/// Leaves an empty folder at `path`, also where something else is. What cannot be removed stays in it, for
/// the next go.
///
/// # Errors
/// There is no folder afterwards.
pub fn make(path: &Path) -> std::io::Result<()> {
    match enter(CWD, path) {
        Ok((handle, entries)) => clear(Folder { handle, entries, name: CString::default() }),
        Err(_) => {
            match unlinkat(CWD, path, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
            mkdirat(CWD, path, Mode::RWXU)?;
        }
    }
    Ok(())
}

fn clear(top: Folder) {
    let (mut open, mut left) = (vec![top], ENTRIES_MAX);
    while let Some(folder) = open.last_mut() {
        let entry = if left > 0 { folder.entries.next() } else { None };
        let Some(Ok(entry)) = entry else {
            let done = open.pop().map(|done| done.name).unwrap_or_default();
            if let Some(above) = open.last() {
                let _ = unlinkat(&above.handle, done, AtFlags::REMOVEDIR);
            }
            continue;
        };
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        left -= 1;
        if unlinkat(&folder.handle, name, AtFlags::empty()) == Err(Errno::ISDIR)
            && unlinkat(&folder.handle, name, AtFlags::REMOVEDIR).is_err()
            && let Ok((handle, entries)) = enter(&folder.handle, name)
            && open.len() < DEPTH_MAX
        {
            open.push(Folder { handle, entries, name: name.to_owned() });
        }
    }
}

/// Opens a folder. Programs leave some that may not be written, from which not even their owner removes anything:
/// the runner gives itself that right first, where the sandbox allows it.
fn enter(above: impl AsFd, name: impl rustix::path::Arg) -> rustix::io::Result<(OwnedFd, Dir)> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let found = openat(above, name, flags | OFlags::PATH, Mode::empty())?;
    let _ = chmod(format!("/proc/self/fd/{}", found.as_raw_fd()), Mode::RWXU);
    let handle = openat(&found, ".", flags | OFlags::RDONLY, Mode::empty())?;
    let entries = Dir::read_from(&handle)?;
    Ok((handle, entries))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn whatever_was_left_is_removed_and_nothing_else() {
        let (home, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (folder, treasure) = (home.path().join("tmp"), outside.path().join("treasure"));
        fs::write(&treasure, "x").unwrap();
        fs::create_dir_all(folder.join(vec!["d"; 50].join("/"))).unwrap();
        fs::write(folder.join("d/d/file"), "x").unwrap();
        symlink(outside.path(), folder.join("d/link")).unwrap();
        for mode in [0o500, 0o000] {
            let locked = folder.join(format!("locked-{mode:o}"));
            fs::create_dir(&locked).unwrap();
            fs::write(locked.join("file"), "x").unwrap();
            fs::set_permissions(&locked, fs::Permissions::from_mode(mode)).unwrap();
        }
        make(&folder).unwrap();
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
        // Something else lies in its place.
        fs::remove_dir(&folder).unwrap();
        symlink(outside.path(), &folder).unwrap();
        make(&folder).unwrap();
        assert!(fs::symlink_metadata(&folder).unwrap().is_dir());
        assert!(treasure.exists());
    }
}
