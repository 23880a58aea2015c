//! A plugin's process that wants a processor all the time and says nothing: it goes behind everybody else.

use std::fs;
use std::time::Duration;

/// What a process had wanted and said at one look.
#[derive(Debug, Clone, Copy, Default)]
pub struct Look {
    /// How much time it wanted on processors.
    pub wanted: Duration,
    /// How long it was silent.
    pub silent: Duration,
}

/// Whether a process that was looked at twice, so far apart, always wanted a processor in between and was
/// silent. One that speaks meanwhile is at work, and what it says has a bound of its own. Pure.
pub fn is_hog(before: Look, now: Look, span: Duration) -> bool {
    let most = span * 9 / 10;
    now.wanted.saturating_sub(before.wanted) >= most && now.silent.saturating_sub(before.silent) >= most
}

/// How much time the threads of a process have had on processors, or have waited for one. The wait counts,
/// for on a busy machine a hog has only its share.
pub fn wanted(pid: u32) -> Option<Duration> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    // Time on a processor and time waiting for one, in ns (proc(5)); a thread may end meanwhile.
    let of = |thread: fs::DirEntry| {
        let stat = fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
        stat.split(' ').take(2).filter_map(|ns| ns.parse::<u64>().ok()).sum::<u64>()
    };
    Some(Duration::from_nanos(threads.flatten().map(of).sum()))
}

/// From now on a process runs only while nothing else wants its processor. There is no way back: the
/// kernel lets nobody but root take that from a process.
pub fn put_behind(pid: u32) {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return };
    for thread in threads.flatten() {
        let Some(number) = thread.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let none = libc::sched_param { sched_priority: 0 };
        // SAFETY: reads the one struct, which lives. A thread that is gone is an error that changes nothing.
        unsafe { libc::sched_setscheduler(number, libc::SCHED_IDLE, &raw const none) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hog_is_busy_and_silent_for_a_whole_look() {
        let ms = Duration::from_millis;
        for (wanted, silent, hog) in [
            (1000, 1000, true),
            (1990, 1000, true), // on two processors
            (920, 930, true),
            (500, 1000, false), // it waits for half of the time
            (1000, 300, false), // it speaks
            (0, 1000, false),
        ] {
            let before = Look { wanted: ms(7), silent: ms(11) };
            let now = Look { wanted: ms(7 + wanted), silent: ms(11 + silent) };
            assert_eq!(is_hog(before, now, ms(1000)), hog, "{wanted} {silent}");
        }
    }

    #[test]
    fn who_spins_wants_a_processor_all_the_time() {
        let mut spins =
            std::process::Command::new("sh").args(["-c", "while :; do :; done"]).spawn().expect("it starts");
        let before = wanted(spins.id()).expect("it is there");
        std::thread::sleep(Duration::from_millis(200));
        let now = wanted(spins.id()).expect("it is there");
        spins.kill().and_then(|()| spins.wait()).expect("it is ended");
        assert!(now - before >= Duration::from_millis(150), "{before:?} {now:?}");
    }
}
