//! What outlived a keeper that was killed: `bwrap` that was just starting, and whatever it started. It holds
//! the session's lock, by which it is found.

use crate::wire::RUNNER_OOM_SCORE;
use rustix::fd::OwnedFd;
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Ends every process of a run that has this lock open. Nobody else has the score of a run.
pub fn end(lock: &OwnedFd) -> std::io::Result<()> {
    let lock = rustix::fs::fstat(lock)?;
    for entry in fs::read_dir("/proc")?.flatten() {
        let pid = entry.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw);
        let Some(pid) = pid.filter(|pid| *pid != rustix::process::getpid()) else { continue };
        let score = fs::read_to_string(entry.path().join("oom_score_adj")).unwrap_or_default();
        if score.trim().parse().is_ok_and(|score: i32| score >= RUNNER_OOM_SCORE)
            && has_open(&entry.path(), (lock.st_dev, lock.st_ino))
        {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
    Ok(())
}

fn has_open(process: &Path, file: (u64, u64)) -> bool {
    let open = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
    open.filter_map(|fd| fs::metadata(fd.path()).ok()).any(|meta| (meta.dev(), meta.ino()) == file)
}
