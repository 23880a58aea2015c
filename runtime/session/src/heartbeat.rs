//! The runner's sign of life: a byte is written, and never a mode or a time set, because sandboxes refuse that.

#[cfg(any(feature = "runner", feature = "keeper"))]
use crate::SessionDir;

/// Shows that the runner lives.
///
/// # Errors
/// The file system fails; a runner that cannot write the heartbeat goes on.
#[cfg(feature = "runner")]
pub fn touch(dir: &SessionDir) -> std::io::Result<()> {
    std::fs::write(dir.heartbeat(), b".")
}

/// When the heartbeat last changed, in nanoseconds by the file's own clock: only a *difference* means life. Links are
/// not followed; a file that is not regular is no heartbeat.
#[cfg(feature = "keeper")]
pub fn look(dir: &SessionDir) -> Option<i128> {
    use std::os::unix::fs::MetadataExt;
    let meta = std::fs::symlink_metadata(dir.heartbeat_real()).ok()?;
    meta.is_file().then(|| i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec()))
}
