//! A plugin's process in which a thread wants a processor all the time: it goes behind all others.

use rustix::process::Pid;
use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::time::Duration;
use vestibule_keeper::groups::{self, Weight};
use vestibule_keeper::weight::session_of;

/// How much time each thread of a process, by its number, has wanted on processors.
pub type ProcessorTime = HashMap<i32, Duration>;

/// The least weight that a session can have.
const NICEST: &str = "19";

/// What comes of a look at a process.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing.
    LetBe,
    /// It looks like a hog: it is asked something that it can answer at once.
    Ask,
    /// It is a hog.
    PutBehind,
}

/// What comes of a look at a process that `spins` and still owes the answer to what it was asked at the look
/// before, or does not. One second of honest work is no reason. Pure.
pub fn step(spins: bool, owes: bool) -> Step {
    match (spins, owes) {
        (false, _) => Step::LetBe,
        (true, false) => Step::Ask,
        (true, true) => Step::PutBehind,
    }
}

/// Whether one thread always wanted a processor between two looks so far apart, and the process was silent.
/// One that speaks meanwhile is at work, and what it says has a bound of its own. Pure.
pub fn spins(before: &ProcessorTime, now: &ProcessorTime, quiet: Duration, span: Duration) -> bool {
    let most = span * 9 / 10;
    let grew = |(thread, wanted): (&i32, &Duration)| {
        before.get(thread).is_some_and(|before| wanted.saturating_sub(*before) >= most)
    };
    quiet >= most && now.iter().any(grew)
}

/// How much time each thread of a process has had on a processor, or has waited for one. The wait counts, for
/// on a busy machine a hog has only its share. Nothing when the process is gone.
pub fn wanted(pid: u32) -> ProcessorTime {
    // Time on a processor and time waiting for one, in ns (proc(5)); a thread may end meanwhile.
    let of = |thread: i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/task/{thread}/schedstat")).ok()?;
        let ns = stat.split(' ').take(2).filter_map(|ns| ns.parse::<u64>().ok()).sum();
        Some((thread, Duration::from_nanos(ns)))
    };
    threads(pid).into_iter().filter_map(of).collect()
}

/// From now on these threads of a process, and those that they start, get next to nothing while others want their
/// processor: the kernel's class for idle work. Returns whether that was done for any of them.
///
/// The runtime does not take it back: to leave this class needs CAP_SYS_NICE, or an RLIMIT_NICE that allows
/// the thread's nice value (sched(7)), and it counts on neither.
pub fn put_behind(pid: u32, group: Option<&Path>) -> bool {
    let none = libc::sched_param { sched_priority: 0 };
    // Its group, and where there is none its session, has a share of its own, which the class does not lower.
    let of = i32::try_from(pid).ok().and_then(Pid::from_raw);
    if of.is_some_and(|pid| session_of(pid) == Some(pid)) {
        let _ = fs::write(format!("/proc/{pid}/autogroup"), NICEST);
    }
    if let Some(group) = group {
        let _ = groups::weigh(group, Weight::Least);
    }
    // SAFETY: reads the one struct, which lives. A thread that is gone is an error that changes nothing.
    let done = |thread| unsafe { libc::sched_setscheduler(thread, libc::SCHED_IDLE, &raw const none) } == 0;
    threads(pid).into_iter().filter(|thread| done(*thread)).count() > 0
}

fn threads(pid: u32) -> Vec<i32> {
    let found = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    found.filter_map(|thread| thread.file_name().to_str()?.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hog_has_one_thread_that_is_busy_and_is_silent_for_a_whole_look() {
        let threads = |wanted: &[(i32, u64)]| -> ProcessorTime {
            wanted.iter().map(|(thread, ms)| (*thread, Duration::from_millis(*ms))).collect()
        };
        let before = threads(&[(1, 7), (2, 5000), (3, 7)]);
        for (now, quiet, hog) in [
            (&[(1, 1007), (2, 5000), (3, 7)][..], 1000, true),
            (&[(1, 927)], 930, true), // others, which had wanted more, have ended
            (&[(1, 507), (2, 5500), (3, 507)], 1000, false), // all of them wait for half of the time
            (&[(1, 1007), (2, 5000)], 300, false), // it speaks
            (&[(1, 7), (2, 5000)], 1000, false),
            (&[(1, 7), (4, 950)], 1000, false), // since when is unknown
            (&[], 1000, false),
        ] {
            let (quiet, span) = (Duration::from_millis(quiet), Duration::from_secs(1));
            assert_eq!(spins(&before, &threads(now), quiet, span), hog, "{now:?} {quiet:?}");
        }
    }

    #[test]
    fn who_spins_is_asked_before_it_is_put_behind() {
        for (spins, owes, want) in [
            (false, false, Step::LetBe),
            (false, true, Step::LetBe),
            (true, false, Step::Ask),
            (true, true, Step::PutBehind),
        ] {
            assert_eq!(step(spins, owes), want);
        }
    }

    /// The policy is read here, where the process cannot end before.
    #[test]
    fn who_spins_wants_a_processor_all_the_time_and_can_be_put_behind() {
        let mut child =
            std::process::Command::new("sh").args(["-c", "while :; do :; done"]).spawn().expect("it starts");
        let thread = i32::try_from(child.id());
        let before = wanted(child.id());
        std::thread::sleep(Duration::from_millis(200));
        let now = wanted(child.id());
        let done = put_behind(child.id(), None);
        // SAFETY: only reads a number of a process that is there until it is waited for.
        let policy = thread.map(|thread| unsafe { libc::sched_getscheduler(thread) });
        let ended = child.kill().and_then(|()| child.wait());
        assert!(ended.is_ok() && done);
        assert_eq!(policy, Ok(libc::SCHED_IDLE));
        let (before, now) = (before.values().sum::<Duration>(), now.values().sum::<Duration>());
        assert!(now - before >= Duration::from_millis(50), "{before:?} {now:?}");
        assert!(!put_behind(u32::MAX, None), "no such process");
    }
}
