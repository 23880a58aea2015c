//! How long a keeper got no processor, was stopped, or waited for the disk: that is not its silence.

use std::time::{Duration, Instant};

/// The two processes of a keeper, as the scheduler sees them.
pub struct Starved {
    warden: Option<u32>,
    /// What was seen of each process at the last look.
    last: Vec<(String, Seen)>,
    looked: Instant,
    sum: Duration,
}

/// What the scheduler shows of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    /// It runs, waits for a processor or for the disk, or is stopped: its silence is not of its own making.
    is_held: bool,
    /// How long it has run, in nanoseconds and in clock ticks: not every kernel counts the former.
    ran: (u64, u64),
}

impl Starved {
    /// Watches the keeper whose warden is this process.
    pub fn of(warden: Option<u32>) -> Starved {
        Starved { warden, last: Vec::new(), looked: Instant::now(), sum: Duration::ZERO }
    }

    /// Counts from now.
    pub fn reset(&mut self) {
        (self.last, self.sum) = (Vec::new(), Duration::ZERO);
    }

    /// How long, since the last reset, either of them was held up from one look to the next. One that got
    /// a processor in between could have said something.
    pub fn look(&mut self) -> Duration {
        let since = self.looked.elapsed();
        self.looked = Instant::now();
        let now: Vec<(String, Seen)> =
            self.processes().into_iter().filter_map(|pid| look_at(&pid).map(|seen| (pid, seen))).collect();
        let starves = |(pid, seen): &(String, Seen)| {
            let before = self.last.iter().find(|(known, _)| known == pid);
            before.is_some_and(|(_, before)| starved(before, seen))
        };
        if now.iter().any(starves) {
            self.sum += since;
        }
        self.last = now;
        self.sum
    }

    /// The warden, and its oldest child: the reader.
    fn processes(&self) -> Vec<String> {
        let Some(warden) = self.warden else { return Vec::new() };
        let children =
            std::fs::read_to_string(format!("/proc/{warden}/task/{warden}/children")).unwrap_or_default();
        let reader = children.split_whitespace().next().map(str::to_owned);
        std::iter::once(warden.to_string()).chain(reader).collect()
    }
}

/// Whether a process was held up all the time between two looks. Pure.
fn starved(before: &Seen, now: &Seen) -> bool {
    before.is_held && now.is_held && before.ran == now.ran
}

fn look_at(pid: &str) -> Option<Seen> {
    let counted = std::fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap_or_default();
    let ran_ns = counted.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0);
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // After the name: the state is the first, and the times in user and in kernel mode are the 12th and 13th word.
    let mut words = stat.rsplit(')').next()?.split_whitespace();
    // Ready; waiting for a disk; stopped, or stopped by a tracer.
    let is_held = ["R", "D", "T", "t"].contains(&words.next()?);
    let ticks = words.skip(10).take(2).filter_map(|word| word.parse::<u64>().ok()).sum();
    Some(Seen { is_held, ran: (ran_ns, ticks) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_being_held_up_all_the_time_counts() {
        let seen = |is_held, ran_ns, ticks| Seen { is_held, ran: (ran_ns, ticks) };
        for (name, before, now, want) in [
            ("it sleeps", seen(false, 5, 1), seen(false, 5, 1), false),
            ("it computes", seen(true, 5, 1), seen(true, 9_000_000, 1), false),
            ("it computes, on a kernel that counts ticks only", seen(true, 0, 1), seen(true, 0, 99), false),
            ("it never got a processor", seen(true, 5, 1), seen(true, 5, 1), true),
            ("it began to wait in between", seen(false, 5, 1), seen(true, 5, 1), false),
        ] {
            assert_eq!(starved(&before, &now), want, "{name}");
        }
    }

    #[test]
    fn a_stopped_process_is_held_up() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
        let until = Instant::now() + Duration::from_secs(10);
        while !look_at(&child.id().to_string()).unwrap().is_held {
            assert!(Instant::now() < until, "it is not stopped");
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn the_kernel_tells_of_this_process() {
        let us = std::process::id().to_string();
        let before = look_at(&us).unwrap();
        let until = Instant::now() + Duration::from_millis(50);
        while Instant::now() < until {
            std::hint::black_box(0);
        }
        let now = look_at(&us).unwrap();
        assert!(now.ran > before.ran, "{before:?} {now:?}");
        assert_eq!(Starved::of(Some(std::process::id())).look(), Duration::ZERO, "nothing to compare with");
    }
}
