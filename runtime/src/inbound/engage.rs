//! Whether a wiring wants a message. Pure.

use crate::wirings::{EngageMode, Wiring};
use regex::Regex;
use std::cell::RefCell;
use std::collections::HashMap;
use vestibule_plugin_api::InboundMessage;

/// How many compiled patterns one thread keeps.
const PATTERNS_KEPT: usize = 256;

/// Whether the wiring wakes its agent for this message.
pub fn engages(wiring: &Wiring, message: &InboundMessage) -> bool {
    match wiring.engage_mode {
        EngageMode::Mention => message.is_mention,
        EngageMode::Pattern => match wiring.engage_pattern.as_deref() {
            None | Some("." | "") => true,
            Some(pattern) => found(pattern, &message.text),
        },
    }
}

/// A pattern that does not compile matches every text, so that its operator notices.
fn found(pattern: &str, text: &str) -> bool {
    thread_local! {
        static COMPILED: RefCell<HashMap<String, Option<Regex>>> = RefCell::default();
    }
    COMPILED.with_borrow_mut(|compiled| {
        if compiled.len() >= PATTERNS_KEPT && !compiled.contains_key(pattern) {
            compiled.clear();
        }
        let regex = compiled.entry(pattern.to_owned()).or_insert_with(|| Regex::new(pattern).ok());
        regex.as_ref().is_none_or(|regex| regex.is_match(text))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_searched_in_the_text() {
        for (pattern, text, want) in [
            ("^deploy", "deploy now", true),
            ("^deploy", "never deploy", false),
            ("deploy", "never deploy", true),
            ("(?i)DEPLOY", "deploy", true),
            ("DEPLOY", "deploy", false),
            ("x", "", false),
            ("(", "what does not compile is to be noticed", true),
        ] {
            assert_eq!(found(pattern, text), want, "{pattern} in {text:?}");
        }
    }

    /// Compiled patterns are kept, up to a limit.
    #[test]
    fn more_patterns_than_are_kept_find_the_same() {
        for round in 0..2 {
            for number in 0..PATTERNS_KEPT + 10 {
                let pattern = format!("^{number}$");
                assert!(found(&pattern, &number.to_string()), "{round} {number}");
                assert!(!found(&pattern, "other"), "{round} {number}");
            }
        }
    }
}
