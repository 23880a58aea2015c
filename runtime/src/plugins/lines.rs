//! How much a plugin may log.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How many lines of a plugin go to the log in one second.
const LINES_PER_SECOND: u32 = 200;

/// The lines of one plugin.
pub struct Lines(Mutex<Counted>);

impl Lines {
    /// None yet.
    pub fn new() -> Lines {
        Lines(Mutex::new(Counted { since: Instant::now(), count: 0, left_out: 0 }))
    }

    /// Hands a line on, unless it is one too many; ahead of it, how many those were.
    pub fn pass(&self, level: u32, line: &str, log: impl Fn(u32, &str)) {
        let counted = self.0.lock().unwrap_or_else(PoisonError::into_inner).count(Instant::now());
        let Some(left_out) = counted else { return };
        if left_out > 0 {
            log(2, &format!("{left_out} lines were left out: it logs too much"));
        }
        log(level, line);
    }
}

/// How many lines came in this second.
struct Counted {
    since: Instant,
    count: u32,
    left_out: u32,
}

impl Counted {
    /// One more, at this time. `None`: it is one too many. Else how many were left out before it.
    fn count(&mut self, now: Instant) -> Option<u32> {
        if now.saturating_duration_since(self.since) >= Duration::from_secs(1) {
            (self.since, self.count) = (now, 0);
        }
        self.count += 1;
        if self.count > LINES_PER_SECOND {
            self.left_out += 1;
            return None;
        }
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_much_is_counted_until_the_next_second() {
        let begin = Instant::now();
        let mut lines = Counted { since: begin, count: 0, left_out: 0 };
        let passed = (0..1_000).filter(|_| lines.count(begin).is_some()).count();
        assert_eq!(passed, LINES_PER_SECOND as usize);
        assert_eq!(lines.count(begin + Duration::from_secs(2)), Some(800));
        assert_eq!(lines.count(begin + Duration::from_secs(2)), Some(0));
    }
}
