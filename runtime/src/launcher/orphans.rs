//! The processes that a killed keeper left behind.
//!
//! A keeper ends everything its runner started. One that is itself ended with `kill -9` cannot: its runner goes with
//! it, and the processes that the runner had started become children of the runtime. They are told from any other
//! child by their score, which every process of a run has and none can lower.

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use std::time::Duration;
use vestibule_keeper::wire::RUNNER_OOM_SCORE;

/// How often the list is read, at most, and how long between.
const ROUNDS: u32 = 2000;
const PAUSE: Duration = Duration::from_millis(1);
/// A child that this process waits for itself is reaped within this time of its end.
const REAPED_BY: Duration = Duration::from_secs(1);

/// From now on orphans of keepers become children of this process.
pub fn adopt_orphans() {
    if let Err(error) = rustix::process::set_child_subreaper(Some(Pid::INIT)) {
        tracing::warn!(%error, "the processes that a killed keeper leaves behind cannot be ended");
    }
}

/// Ends all orphans that there are now, and reaps those that have ended, beside everything else.
pub fn look() {
    tokio::task::spawn_blocking(|| {
        let ended = ended();
        for _ in 0..ROUNDS {
            let orphans = orphans();
            if orphans.is_empty() {
                // The children that this process started itself are reaped by then.
                std::thread::sleep(REAPED_BY);
                for pid in ended {
                    let _ = waitpid(Some(pid), WaitOptions::NOHANG);
                }
                return;
            }
            for orphan in orphans {
                let _ = kill_process(orphan, Signal::KILL);
                let _ = waitpid(Some(orphan), WaitOptions::NOHANG);
            }
            std::thread::sleep(PAUSE);
        }
        tracing::error!("the processes that a killed keeper left behind cannot be ended");
    });
}

/// Children of this process, by their ids.
fn children() -> Vec<String> {
    let us = std::process::id();
    let children = std::fs::read_to_string(format!("/proc/{us}/task/{us}/children")).unwrap_or_default();
    children.split_whitespace().map(str::to_owned).collect()
}

/// Children of this process that have ended and were not reaped.
fn ended() -> Vec<Pid> {
    let has_ended = |pid: &String| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z'))
    };
    children()
        .iter()
        .filter(|pid| has_ended(pid))
        .filter_map(|pid| Pid::from_raw(pid.parse().ok()?))
        .collect()
}

/// Children of this process that belong to a run. A keeper's own score is that of the runtime.
fn orphans() -> Vec<Pid> {
    let score = |of: &str| -> Option<i32> {
        std::fs::read_to_string(format!("/proc/{of}/oom_score_adj")).ok()?.trim().parse().ok()
    };
    // Where the runtime itself has that score, nothing tells them apart.
    if score("self").is_none_or(|ours| ours >= RUNNER_OOM_SCORE) {
        return vec![];
    }
    let children = children();
    let of_a_run = children.iter().filter(|pid| score(pid).is_some_and(|s| s >= RUNNER_OOM_SCORE));
    of_a_run.filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect()
}
