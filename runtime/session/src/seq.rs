//! Sequence numbers: even for the runtime, odd for the runner, so that a bare `#7` names exactly one
//! row across both files.

/// The highest number that a file may hold: every language's numbers hold it exactly, with room above it.
pub const SEQ_MAX: i64 = 1 << 52;

/// The runtime's next number after its own last one.
pub fn next_even(last: i64) -> i64 {
    if last < 2 { 2 } else { last + 2 - last % 2 }
}

/// The runner's next number after the highest of both files.
pub fn next_odd(highest: i64) -> i64 {
    if highest % 2 == 0 { highest + 1 } else { highest + 2 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parity() {
        assert_eq!([0, 1, 2, 3, 8].map(next_even), [2, 2, 4, 4, 10]);
        assert_eq!([0, 1, 2, 3, 8].map(next_odd), [1, 3, 3, 5, 9]);
    }
}
