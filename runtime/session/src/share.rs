//! Lets a runner of another user read its session: by the group of the files that it may read, and no bit for any other
//! user.

use crate::SessionDir;
use std::fs::{self, Permissions};
use std::io::Result;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

/// The mode of a folder: files that are made in it get its group.
const FOLDER: u32 = 0o2750;
/// The mode of the runtime's files.
const FILE: u32 = 0o640;
/// The mode of a file that came in, which is never written again.
const INBOUND_FILE: u32 = 0o440;

impl SessionDir {
    /// Lets a group read the session, except `out/`, which stays its owner's. A file that is put into a folder later
    /// gets the group by itself, and its mode from the program that puts it there. Root calls this before each run:
    /// files may have been made anew.
    ///
    /// # Errors
    /// The file system fails.
    pub fn share_with(&self, group: u32) -> Result<()> {
        let inbox = self.root().join(SessionDir::inbox_name());
        // The group of the session's folder is set last, so that a call that was cut short is done again.
        if fs::metadata(self.root())?.gid() != group && inbox.is_dir() {
            for folder in fs::read_dir(&inbox)? {
                let folder = folder?.path();
                for file in fs::read_dir(&folder)? {
                    share(&file?.path(), group, INBOUND_FILE)?;
                }
                share(&folder, group, FOLDER)?;
            }
        }
        for file in [self.inbound_db(), self.run_config()] {
            if file.exists() {
                share(&file, group, FILE)?;
            }
        }
        for folder in self.folders().iter().filter(|folder| folder.is_dir()) {
            share(folder, group, FOLDER)?;
        }
        share(self.root(), group, FOLDER)
    }
}

fn share(path: &Path, group: u32, mode: u32) -> Result<()> {
    let found = fs::metadata(path)?;
    if found.gid() != group {
        chown(path, None, Some(group))?;
    }
    if found.mode() & 0o7777 != mode {
        fs::set_permissions(path, Permissions::from_mode(mode))?;
    }
    Ok(())
}
