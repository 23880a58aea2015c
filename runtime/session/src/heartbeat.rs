//! The runner's sign of life: a byte written, never a mode or time set, because sandboxes refuse
//! those.

#[cfg(any(feature = "runner", feature = "keeper"))]
use crate::SessionDir;

/// Shows that the runner lives.
///
/// # Errors
/// An error of the file system; a runner that cannot write it goes on.
#[cfg(feature = "runner")]
pub fn touch(dir: &SessionDir) -> std::io::Result<()> {
    std::fs::write(dir.heartbeat(), b".")
}

/// When the heartbeat last changed, in nanoseconds by the file's own clock: only a *difference*
/// means life. Links are not followed; anything but a regular file is no heartbeat.
#[cfg(feature = "keeper")]
pub fn look(dir: &SessionDir) -> Option<i128> {
    use std::os::unix::fs::MetadataExt;
    let meta = std::fs::symlink_metadata(dir.heartbeat_real()).ok()?;
    meta.is_file().then(|| i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec()))
}
