//! How much lies in `out/`. The reader's work: the names there are the agent's.

use crate::wire::Limits;
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, openat, statat};
use std::collections::HashSet;
use std::io::Result;
use std::path::Path;

/// How deep folders may be nested.
const DEPTH_MAX: usize = 40;

/// Counts what lies in a folder, up to the limits; why it is too much, if it is. What vanishes
/// meanwhile does not count.
pub fn too_much(out: &Path, limits: &Limits) -> Result<Option<String>> {
    let (mut bytes, mut files, mut linked) = (0_u64, 0_u64, HashSet::new());
    let mut open: Vec<(OwnedFd, Dir)> = vec![enter(&CWD, out)?];
    while let Some((folder, entries)) = open.last_mut() {
        let Some(entry) = entries.next() else {
            open.pop();
            continue;
        };
        let entry = entry?;
        if matches!(entry.file_name().to_bytes(), b"." | b"..") {
            continue;
        }
        let Ok(stat) = statat(&*folder, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW) else { continue };
        files += 1;
        if stat.st_nlink < 2 || linked.insert(stat.st_ino) {
            bytes = bytes.saturating_add(u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512));
        }
        if files > limits.out_files {
            return Ok(Some(format!("out/ holds more than sandbox_out_files = {} allows", limits.out_files)));
        }
        if bytes > limits.out_bytes {
            let most = limits.out_bytes / (1024 * 1024);
            return Ok(Some(format!("out/ holds more than sandbox_out_mb = {most} allows")));
        }
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            match enter(&*folder, entry.file_name()) {
                Ok(_) if open.len() >= DEPTH_MAX => {
                    return Ok(Some(format!("folders in out/ are nested more than {DEPTH_MAX} deep")));
                }
                Ok(inner) => open.push(inner),
                Err(rustix::io::Errno::ACCESS) => {
                    return Ok(Some("a folder in out/ may not be read".to_owned()));
                }
                Err(_) => {} // it is gone
            }
        }
    }
    Ok(None)
}

fn enter(at: &impl rustix::fd::AsFd, name: impl rustix::path::Arg) -> rustix::io::Result<(OwnedFd, Dir)> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = openat(at, name, flags, Mode::empty())?;
    let entries = Dir::read_from(&folder)?;
    Ok((folder, entries))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_folder_is_weighed_without_following_anything() {
        let out = tempfile::tempdir().unwrap();
        let limits = Limits { processes: 0, memory_bytes: 0, out_bytes: 1 << 20, out_files: 60 };
        let weigh = || too_much(out.path(), &limits).unwrap();
        fs::create_dir_all(out.path().join("a/b")).unwrap();
        fs::write(out.path().join("a/b/half"), vec![1; 600 << 10]).unwrap();
        fs::hard_link(out.path().join("a/b/half"), out.path().join("twin")).unwrap();
        std::os::unix::fs::symlink("/usr", out.path().join("link")).unwrap();
        assert_eq!(weigh(), None, "the twin costs nothing, the link leads nowhere");
        fs::write(out.path().join("more"), vec![1; 600 << 10]).unwrap();
        assert_eq!(weigh().unwrap(), "out/ holds more than sandbox_out_mb = 1 allows");
        fs::remove_file(out.path().join("more")).unwrap();
        fs::create_dir_all(out.path().join(vec!["d"; 50].join("/"))).unwrap();
        assert!(weigh().unwrap().contains("deep"));
        fs::remove_dir_all(out.path().join("d")).unwrap();
        for number in 0..60 {
            fs::write(out.path().join(number.to_string()), "").unwrap();
        }
        assert_eq!(weigh().unwrap(), "out/ holds more than sandbox_out_files = 60 allows");
    }
}
