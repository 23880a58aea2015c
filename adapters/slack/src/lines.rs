//! The events of one connection that wait, each workspace's in a line of its own: what holds up one holds up no other. Pure.

use std::collections::{HashMap, VecDeque};

/// So many events of one workspace are under way at once; the next one waits, and keeps its place.
const UNDER_WAY_MAX: usize = 200;
/// So much waits, in bytes. Then nothing is read from the connection, and the rest waits there.
const HELD_BYTES_MAX: usize = 32 * 1024 * 1024;

/// The events that are under way, and those that wait.
pub struct Lines<T> {
    lines: HashMap<String, Line<T>>,
    held_bytes: usize,
}

struct Line<T> {
    under_way: usize,
    held: VecDeque<(T, usize)>,
}

impl<T> Default for Lines<T> {
    fn default() -> Lines<T> {
        Lines { lines: HashMap::new(), held_bytes: 0 }
    }
}

impl<T> Lines<T> {
    /// Whether the next event may be read.
    pub fn have_room(&self) -> bool {
        self.held_bytes < HELD_BYTES_MAX
    }

    /// An event of a workspace comes in. It is returned if it goes on at once.
    pub fn enter(&mut self, place: &str, event: T, bytes: usize) -> Option<T> {
        let new = || Line { under_way: 0, held: VecDeque::new() };
        let line = self.lines.entry(place.to_owned()).or_insert_with(new);
        if line.under_way < UNDER_WAY_MAX {
            line.under_way += 1;
            return Some(event);
        }
        line.held.push_back((event, bytes));
        self.held_bytes += bytes;
        None
    }

    /// An event of a workspace is done. The one that goes on in its place is returned.
    pub fn leave(&mut self, place: &str) -> Option<T> {
        let line = self.lines.get_mut(place)?;
        if let Some((next, bytes)) = line.held.pop_front() {
            self.held_bytes -= bytes;
            return Some(next);
        }
        line.under_way -= 1;
        if line.under_way == 0 {
            self.lines.remove(place);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workspace_that_waits_holds_up_no_other() {
        let mut lines = Lines::default();
        for number in 0..UNDER_WAY_MAX {
            assert_eq!(lines.enter("T1", number, 10), Some(number));
        }
        assert_eq!((lines.enter("T1", 1_000, 10), lines.enter("T1", 1_001, 10)), (None, None));
        assert_eq!(lines.enter("T2", 7, 10), Some(7), "another workspace");
        assert!(lines.have_room());
        assert_eq!(lines.leave("T2"), None);
        assert_eq!(
            (lines.leave("T1"), lines.leave("T1"), lines.leave("T1")),
            (Some(1_000), Some(1_001), None)
        );
        assert_eq!(lines.enter("T1", 8, 10), Some(8), "there is a place again");
        for _ in 0..UNDER_WAY_MAX {
            assert_eq!(lines.leave("T1"), None);
        }
        assert!(lines.lines.is_empty() && lines.held_bytes == 0, "nothing is left of them");
        assert_eq!(lines.leave("T9"), None);
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut lines = Lines::default();
        for number in 0..UNDER_WAY_MAX {
            lines.enter("T1", number, 1);
        }
        lines.enter("T1", 0, HELD_BYTES_MAX - 1);
        assert!(lines.have_room());
        lines.enter("T1", 0, 1);
        assert!(!lines.have_room());
        lines.leave("T1");
        assert!(lines.have_room());
    }
}
