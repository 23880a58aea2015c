//! Which groups have topics. Words outside of topics are in the topic General there: Telegram takes them without a number,
//! and shows only with one that the bot is writing.

use crate::map::{GENERAL, Target};
use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

/// How many are remembered.
const FORUMS_MAX: usize = 1_000;

/// The groups with topics, by what was heard there last.
#[derive(Clone, Default)]
pub struct Forums(Arc<Mutex<HashSet<i64>>>);

impl Forums {
    /// Notes what an update says of its chat.
    pub fn note(&self, chat: i64, is_forum: bool) {
        let mut forums = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !is_forum {
            forums.remove(&chat);
        } else if forums.len() < FORUMS_MAX || forums.contains(&chat) {
            forums.insert(chat);
        }
    }

    /// The topic in which it is shown that the bot is writing.
    pub fn topic(&self, to: &Target) -> Option<i64> {
        let forums = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        to.topic.or_else(|| forums.contains(&to.chat).then_some(GENERAL))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_group_with_topics_has_a_general_one() {
        let forums = Forums::default();
        let at = |topic| Target { chat: -5, topic };
        assert_eq!(forums.topic(&at(None)), None);
        forums.note(-5, true);
        assert_eq!((forums.topic(&at(None)), forums.topic(&at(Some(12)))), (Some(GENERAL), Some(12)));
        assert_eq!(forums.topic(&Target { chat: -6, topic: None }), None);
        forums.note(-5, false);
        assert_eq!(forums.topic(&at(None)), None);
    }
}
