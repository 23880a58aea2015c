//! Whatever the program makes is its user's alone, whatever the umask it was started with.

use rustix::fs::Mode;
use std::fs::DirBuilder;
use std::io::{Error, Result};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The bits of a mode that are for others than the owner.
pub const OTHERS: u32 = 0o077;
/// The bits with which others than the owner can change a folder, and the one that keeps them from
/// renaming what is not theirs.
const OTHERS_WRITE: u32 = 0o022;
const STICKY: u32 = 0o1000;

/// Shuts other users out of whatever this process and its children make from now on: of what SQLite makes, too.
/// Returns the umask that the operator started the program with, which runners get back: what an agent makes is the
/// agent's. The first call counts; make it before there is a second thread.
pub fn take_umask() -> u32 {
    static OPERATORS: OnceLock<u32> = OnceLock::new();
    *OPERATORS.get_or_init(|| rustix::process::umask(Mode::from_raw_mode(OTHERS)).as_raw_mode())
}

/// A folder of this process alone among the system's temporary ones, for copies that are opened. It goes
/// with this value.
#[derive(Debug)]
pub struct TemporaryFolder {
    path: PathBuf,
}

impl TemporaryFolder {
    /// Makes one in `$TMPDIR`, else `/tmp`. `purpose` stands in its name.
    ///
    /// # Errors
    /// It cannot be made, or others could put another folder in its place.
    pub fn new(purpose: &str) -> Result<TemporaryFolder> {
        TemporaryFolder::at(&std::env::temp_dir(), &crate::id::mint(&format!("vestibule-{purpose}")))
    }

    fn at(above: &Path, name: &str) -> Result<TemporaryFolder> {
        // Without links: who owns one could lead it elsewhere later.
        let above = std::fs::canonicalize(above).map_err(|error| {
            Error::new(error.kind(), format!("the folder for temporary files, {}: {error}", above.display()))
        })?;
        // Of those above it, too: who can rename one of them can put another in its place.
        for folder in above.ancestors() {
            let meta = std::fs::metadata(folder)?;
            // In a user namespace the top has no owner that is known there, and no user renames it.
            let owner = if folder.parent().is_none() { 0 } else { meta.uid() };
            if let Some(why) = fault(owner, meta.mode(), rustix::process::geteuid().as_raw()) {
                return Err(Error::other(format!(
                    "{} {why}; name another folder for temporary files with TMPDIR",
                    folder.display()
                )));
            }
        }
        let path = above.join(name);
        // Whatever lies there already, a link too, is an error: it is never taken over.
        DirBuilder::new().mode(0o700).create(&path).map_err(|error| {
            Error::new(error.kind(), format!("{} cannot be made: {error}", path.display()))
        })?;
        Ok(TemporaryFolder { path })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// Why others could put files of their own in the place of those that `us` makes in a folder, if they could.
fn fault(owner: u32, mode: u32, us: u32) -> Option<&'static str> {
    match (owner == us || owner == 0, mode & OTHERS_WRITE == 0 || mode & STICKY != 0) {
        (true, true) => None,
        (false, _) => Some("belongs to another user"),
        (true, false) => Some("can be changed by other users"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn where_a_private_folder_is_private() {
        let cases = [
            (0, 0o1777, 1000, None),
            (1000, 0o755, 1000, None),
            (1000, 0o1777, 1000, None),
            (0, 0o755, 0, None),
            (1000, 0o1777, 0, Some("belongs to another user")),
            (1001, 0o700, 1000, Some("belongs to another user")),
            (0, 0o777, 1000, Some("can be changed by other users")),
            (1000, 0o775, 1000, Some("can be changed by other users")),
        ];
        for (owner, mode, us, want) in cases {
            assert_eq!(fault(owner, mode, us), want, "{owner} {mode:o} {us}");
        }
    }

    #[test]
    fn a_temporary_folder_is_new_and_private_and_goes_again() {
        let above = tempfile::tempdir().expect("a folder");
        let make = |name: &str| TemporaryFolder::at(above.path(), name);
        let made = make("mine").expect("it is made");
        std::fs::write(made.path().join("copy.so"), "x").expect("it is written");
        assert_eq!(std::fs::metadata(made.path()).expect("it is there").mode() & 0o777, 0o700);
        assert!(make("mine").is_err(), "a folder that is there is not taken over");
        std::os::unix::fs::symlink("/nowhere", above.path().join("planted")).expect("a link");
        assert!(make("planted").is_err(), "nor is a link");
        let path = made.path().to_owned();
        drop(made);
        assert!(!path.exists());
    }

    #[test]
    fn no_folder_above_a_temporary_one_can_be_swapped() {
        let root = tempfile::tempdir().expect("a folder");
        let [open, within, link] = ["open", "open/within", "link"].map(|name| root.path().join(name));
        std::fs::create_dir_all(&within).expect("folders");
        std::os::unix::fs::symlink("open/within", &link).expect("a link");
        let others = |mode| std::fs::set_permissions(&open, std::fs::Permissions::from_mode(mode));
        others(0o777).expect("a mode");
        for above in [&within, &link] {
            let refused = TemporaryFolder::at(above, "mine").expect_err("others can rename it");
            assert!(refused.to_string().contains("open can be changed by other users"), "{refused}");
        }
        others(0o755).expect("a mode");
        let made = TemporaryFolder::at(&link, "mine").expect("it is made");
        assert_eq!(made.path(), within.canonicalize().expect("it is there").join("mine"));
    }
}
