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
}

impl Spec {
    /// What the process may still do after it has confined itself.
    pub fn grants(&self) -> PluginGrants {
        PluginGrants {
            file: self.file.clone(),
            memory_bytes: self.memory_bytes,
            open_files: self.open_files,
            file_bytes: super::packet::BLOB_BYTES_MAX,
        }
    }
}
