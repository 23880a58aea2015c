//! What a channel keeps in its state as one value. Pure.

use crate::STATE_VALUE_BYTES_MAX;
use serde::Serialize;
use std::collections::VecDeque;

/// The newest of these, which stand last, as JSON that fits into one value, and `most` of them: the older ones are
/// forgotten. Agents choose how long the ids in them are.
pub fn newest<T: Serialize>(all: &mut VecDeque<T>, most: usize) -> String {
    loop {
        let kept = serde_json::to_string(&*all).unwrap_or_default();
        if all.len() <= most && kept.len() <= STATE_VALUE_BYTES_MAX || all.pop_front().is_none() {
            return kept;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_until_the_rest_fits() {
        let text = |bytes: usize| "x".repeat(bytes);
        for (all, most, want) in [
            (vec![], 2, 0),
            (vec![text(1), text(2)], 2, 2),
            (vec![text(1), text(2), text(3)], 2, 2),
            (vec![text(40_000), text(40_000), text(9)], 64, 2),
            (vec!["\u{1}".repeat(6_000), "\u{1}".repeat(6_000), text(9)], 64, 2),
            (vec![text(9), text(STATE_VALUE_BYTES_MAX)], 64, 0),
        ] {
            let mut left: VecDeque<String> = all.clone().into();
            let kept = newest(&mut left, most);
            let told: Vec<String> = serde_json::from_str(&kept).expect("JSON");
            assert_eq!(told, all[all.len() - want..], "{kept:.40}");
            assert!(left == told && kept.len() <= STATE_VALUE_BYTES_MAX);
        }
    }
}
