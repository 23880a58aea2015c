//! When a plugin's process is started again after it ended. Pure.

use std::time::Duration;

/// So many ends within [`WINDOW`] are one too many.
const ENDS_MAX: usize = 5;
/// How far back ends count.
const WINDOW: Duration = Duration::from_secs(600);
/// The first wait; it doubles with each end within the window.
const FIRST_WAIT: Duration = Duration::from_millis(200);

/// What follows the end of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Start it again after this time.
    Again(Duration),
    /// Leave it off until an operator has looked.
    Quarantine,
}

/// What comes after the newest of `ends`, given as times since any one moment; forgets those that
/// count no more.
pub fn after_end(ends: &mut Vec<Duration>) -> Next {
    let now = ends.last().copied().unwrap_or_default();
    ends.retain(|end| now.saturating_sub(*end) < WINDOW);
    if ends.len() >= ENDS_MAX {
        return Next::Quarantine;
    }
    Next::Again(FIRST_WAIT * (1 << ends.len().saturating_sub(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_ends_in_ten_minutes_are_one_too_many() {
        let ms = Duration::from_millis;
        let mut ends = Vec::new();
        for (second, want) in [
            (0, Next::Again(ms(200))),
            (100, Next::Again(ms(400))),
            (200, Next::Again(ms(800))),
            (300, Next::Again(ms(1600))),
            (650, Next::Again(ms(1600))), // the first is forgotten
            (651, Next::Quarantine),
        ] {
            ends.push(Duration::from_secs(second));
            assert_eq!(after_end(&mut ends), want, "at {second}");
        }
        ends.push(Duration::from_secs(5_000));
        assert_eq!(after_end(&mut ends), Next::Again(ms(200)));
    }
}
