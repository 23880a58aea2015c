//! Whether a plugin's process is well: how much it holds and takes, and whether it still answers.

use super::conn::Conn;
use super::hog::{Look, is_hog, put_behind, wanted};
use super::seat::Seat;
use std::sync::Arc;
use std::time::{Duration, Instant};
use vestibule_seam::{Done, Frame};

/// How often the process is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The longest time between two pings.
const PING_EVERY_MAX: Duration = Duration::from_secs(10);
/// How long a ping is waited for after a call was late.
const LATE_PATIENCE: Duration = Duration::from_secs(5);
/// A plugin that has always something to say is waited for so many times as long.
const BUSY_FACTOR: u32 = 10;
/// So many late calls in a row end a plugin that still answers pings.
const LATE_MAX: u32 = 3;

/// Returns when the process of a plugin must be ended, and says why.
pub async fn watch(plugin: &str, seat: &Seat, conn: &Arc<Conn>, pid: Option<u32>) -> String {
    tokio::select! {
        why = holdings(seat, pid) => why,
        why = hogging(plugin, conn, pid) => why,
        why = pings(seat, conn) => why,
    }
}

async fn holdings(seat: &Seat, pid: Option<u32>) -> String {
    let spec = seat.spec();
    let open_max = spec.open_files - spec.open_files / 10;
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let Some(pid) = pid else { continue };
        if let Some(memory) = memory(pid).filter(|memory| *memory > spec.memory_bytes) {
            return format!(
                "it held {} MiB of memory, and `memory_mb` is {}",
                memory / 1024 / 1024,
                spec.memory_bytes / 1024 / 1024
            );
        }
        if let Some(open) = open_files(pid).filter(|open| *open >= open_max) {
            return format!("it held {open} of {} descriptors: it does not close them", spec.open_files);
        }
    }
}

/// Puts a process behind everybody else once it is a hog. What ends it is [`pings`], later: until then it
/// takes nothing from the others.
async fn hogging(plugin: &str, conn: &Conn, pid: Option<u32>) -> String {
    let look = || Some(Look { wanted: wanted(pid?)?, silent: conn.silence() });
    let mut before = look();
    loop {
        let begin = Instant::now();
        tokio::time::sleep(LOOK_EVERY).await;
        let now = look();
        if let (Some(pid), Some(before), Some(now)) = (pid, before, now)
            && is_hog(before, now, begin.elapsed())
        {
            put_behind(pid);
            tracing::info!(
                plugin,
                "the plugin wants a processor all the time and says nothing; it runs behind all else"
            );
            return std::future::pending().await;
        }
        before = now;
    }
}

/// The memory a process holds, in bytes.
fn memory(pid: u32) -> Option<u64> {
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

fn open_files(pid: u32) -> Option<u64> {
    Some(std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count() as u64)
}

/// Asks something that every plugin answers, on the thread that does its work: a verb it cannot
/// know.
async fn pings(seat: &Seat, conn: &Arc<Conn>) -> String {
    let deadline = seat.deadline();
    let every = (deadline / 4).min(PING_EVERY_MAX);
    loop {
        let patience = tokio::select! {
            () = tokio::time::sleep(every) => deadline,
            () = seat.late() => deadline.min(LATE_PATIENCE),
        };
        let (answered, mut answer) = tokio::sync::oneshot::channel();
        let ping = Frame::from_head(br#"{"verb":"ping"}"#.to_vec());
        let (begin, silence) = (Instant::now(), conn.silence());
        let id = conn.call(ping, Done::new(move |_, _| _ = answered.send(())));
        while tokio::time::timeout(patience / 10, &mut answer).await.is_err() {
            if is_stuck(begin.elapsed(), conn.silence() - silence, patience) {
                conn.cancel(id);
                return format!("it answered nothing for {} s", begin.elapsed().as_secs());
            }
        }
        if seat.late_in_a_row() >= LATE_MAX {
            return format!("{LATE_MAX} calls in a row were not answered in time");
        }
    }
}

/// Whether a plugin that was asked so long ago, and was silent for so much of that time, is stuck. What it
/// said before its answer may be many messages, which the runtime takes as fast as it can commit them: that
/// time is not the plugin's. Pure.
fn is_stuck(asked: Duration, silent: Duration, patience: Duration) -> bool {
    silent >= patience || asked >= patience * BUSY_FACTOR
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_silent_is_stuck_and_who_is_busy_is_waited_for() {
        let s = Duration::from_secs;
        for (asked, silent, stuck) in [
            (1, 1, false),
            (60, 60, true),
            (600, 60, true),
            (300, 1, false), // it floods, and the machine is slow
            (600, 1, true),  // it floods for ever
        ] {
            assert_eq!(is_stuck(s(asked), s(silent), s(60)), stuck, "{asked} {silent}");
        }
    }
}
