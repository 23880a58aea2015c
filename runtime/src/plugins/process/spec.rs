//! What a plugin's process is told, once: which file to open, and within which limits.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use vestibule_keeper::confine::PluginGrants;

/// The first packet's head.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Spec {
    /// The private copy of the plugin's file.
    pub file: PathBuf,
    /// Its entry symbol.
    pub entry: String,
    /// The highest log level the runtime wants: 1 error to 5 trace.
    pub log_level: u32,
    /// How much memory it may hold, in bytes.
    pub memory_bytes: u64,
    /// How many descriptors it may have open.
    pub open_files: u64,
    /// The folder that it may write to, if it has one.
    pub folder: Option<OwnFolder>,
    /// The control group that the process makes and enters, where the runtime was delegated one.
    pub group: Option<PathBuf>,
}

/// A folder of a plugin's own, and how much it may hold.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OwnFolder {
    /// Where it lies. It is there before the process is started.
    pub path: PathBuf,
    /// How many bytes all files may hold together.
    pub bytes_max: u64,
    /// How many files and folders there may be.
    pub files_max: u64,
}

impl Spec {
    /// What the process may still do after it has confined itself.
    pub fn grants(&self) -> PluginGrants {
        PluginGrants {
            file: self.file.clone(),
            memory_bytes: self.memory_bytes,
            open_files: self.open_files,
            folder: self.folder.as_ref().map(|folder| folder.path.clone()),
            file_bytes: super::packet::BLOB_BYTES_MAX,
        }
    }
}
