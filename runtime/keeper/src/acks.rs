//! Which acknowledgements the runtime is still to hear of.

use std::collections::{HashMap, VecDeque};
use vestibule_session::{Ack, AckRow, AckStatus, Result};

/// So many of the newest acknowledgements are looked at: a runner forgets those that the runtime has taken over.
const LOOKED_AT_MAX: usize = 10_000;
/// So many are read in one go.
pub const PAGE: usize = 256;

/// A page of acknowledgements, newest first, and the place below which the next page begins, if there is one.
pub type Page = (Vec<AckRow>, Option<i64>);

/// What the runtime has heard, and what it hears next.
///
/// A turn is never reported complete before its reply. What is acknowledged at a look has its replies in the file as it
/// is then, so it waits until the last of those is handed over; a runner that writes without a pause holds nothing up.
#[derive(Default)]
pub struct Acks {
    handed_over: HashMap<String, Told>,
    /// Oldest first.
    waiting: VecDeque<AckRow>,
    /// The rows whose claims are gone, which the runtime has not heard yet.
    let_go: Vec<String>,
    /// The highest number of a reply when `waiting` was read.
    behind: i64,
}

/// What the runtime was told of a row. The time tells a claim from that of a dead runner, for which the runtime would
/// wait: a runner forgets the claims of the one before it.
#[derive(PartialEq, Eq)]
struct Told {
    status: AckStatus,
    changed: String,
}

impl Acks {
    /// Whether everything that an earlier look found is handed over.
    pub fn all_told(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Reads what is new, from the newest page on, in a file whose highest reply is `highest_seq`. It ends at a page
    /// without news once it has seen all rows that were only claimed so far, so that a long history costs nothing.
    pub fn read(&mut self, highest_seq: i64, mut page_below: impl FnMut(i64) -> Result<Page>) -> Result<()> {
        let is_claim = |told: &Told| told.status == AckStatus::Processing;
        let mut claimed = self.handed_over.values().filter(|told| is_claim(told)).count();
        let (mut seen, mut looked_at, mut below) = (HashMap::<String, Told>::new(), 0, i64::MAX);
        let saw_all = loop {
            let (page, next) = page_below(below)?;
            let news = self.waiting.len();
            looked_at += page.len();
            for row in page {
                if seen.contains_key(&row.ack.message_id) {
                    continue; // an older row of the same message, which no honest runner writes
                }
                let known = self.handed_over.remove_entry(&row.ack.message_id);
                claimed -= usize::from(known.as_ref().is_some_and(|(_, told)| is_claim(told)));
                let is_news = known.as_ref().is_none_or(|(_, told)| {
                    (told.status, told.changed.as_str()) != (row.ack.status, row.changed.as_str())
                });
                seen.extend(known);
                if is_news {
                    self.waiting.push_front(row);
                }
            }
            match next {
                Some(next) if looked_at < LOOKED_AT_MAX => below = next,
                _ => break true,
            }
            let remembered = self.handed_over.len() + seen.len();
            if self.waiting.len() == news && claimed == 0 && remembered < 2 * LOOKED_AT_MAX {
                break false;
            }
        };
        if saw_all {
            // The runner has forgotten the others.
            let forgotten = std::mem::replace(&mut self.handed_over, seen).into_iter();
            self.let_go.extend(forgotten.filter(|(_, told)| is_claim(told)).map(|(id, _)| id));
        } else {
            self.handed_over.extend(seen);
        }
        self.behind = highest_seq;
        Ok(())
    }

    /// The next acknowledgements, at most [`PAGE`], once all replies up to `seq` are handed over, or go with them.
    pub fn with_replies_to(&mut self, seq: i64) -> Vec<Ack> {
        let count = if seq < self.behind { 0 } else { self.waiting.len().min(PAGE) };
        let tell = |AckRow { ack, changed }: AckRow| {
            self.handed_over.insert(ack.message_id.clone(), Told { status: ack.status, changed });
            ack
        };
        self.waiting.drain(..count).map(tell).collect()
    }

    /// The next rows whose claims are gone, at most [`PAGE`]: the runner forgot them.
    pub fn let_go(&mut self) -> Vec<String> {
        let first = self.let_go.len().saturating_sub(PAGE);
        self.let_go.split_off(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use AckStatus::{Completed, Processing};

    /// A runner's table: the newest row is the last.
    #[derive(Default)]
    struct Table(Vec<AckRow>);

    impl Table {
        fn add(&mut self, id: usize, status: AckStatus) {
            self.add_at("1", id, status);
        }

        fn add_at(&mut self, changed: &str, id: usize, status: AckStatus) {
            let ack = Ack { message_id: format!("m{id}"), status };
            self.0.push(AckRow { ack, changed: changed.to_owned() });
        }

        fn set(&mut self, id: usize, status: AckStatus) {
            self.0.retain(|row| row.ack.message_id != format!("m{id}"));
            self.add(id, status);
        }

        /// Reads the table once; returns how many pages were read.
        fn shown_to(&self, acks: &mut Acks, highest_seq: i64) -> usize {
            let mut pages = 0;
            let page = |below: i64| {
                pages += 1;
                let end = usize::try_from(below).unwrap_or(usize::MAX).min(self.0.len());
                let begin = end.saturating_sub(PAGE);
                let page = self.0[begin..end].iter().rev().cloned().collect();
                Ok((page, (begin > 0).then_some(i64::try_from(begin).unwrap_or(0))))
            };
            acks.read(highest_seq, page).expect("the table is read");
            pages
        }
    }

    fn ids(acks: &[Ack]) -> Vec<&str> {
        acks.iter().map(|ack| ack.message_id.as_str()).collect()
    }

    #[test]
    fn an_acknowledgement_goes_with_the_last_reply_of_its_look_and_waits_for_no_later_one() {
        let (mut acks, mut table) = (Acks::default(), Table::default());
        table.set(2, Completed);
        table.shown_to(&mut acks, 5);
        assert_eq!(acks.with_replies_to(3), []);
        table.set(4, Completed); // its reply has the number 7
        assert!(!acks.all_told(), "the next look waits");
        assert_eq!(ids(&acks.with_replies_to(5)), ["m2"]);
        assert!(acks.all_told());
        table.shown_to(&mut acks, 7);
        assert_eq!(acks.with_replies_to(5), []);
        assert_eq!(ids(&acks.with_replies_to(9)), ["m4"]);
    }

    #[test]
    fn each_status_is_told_once_and_the_oldest_first() {
        let (mut acks, mut table) = (Acks::default(), Table::default());
        table.set(2, Processing);
        table.set(4, Processing);
        table.shown_to(&mut acks, 0);
        assert_eq!(ids(&acks.with_replies_to(0)), ["m2", "m4"]);
        table.set(2, Completed);
        for want in [&["m2"][..], &[]] {
            table.shown_to(&mut acks, 0);
            assert_eq!(ids(&acks.with_replies_to(0)), want);
        }
    }

    #[test]
    fn of_two_rows_of_one_message_the_newer_counts() {
        let (mut acks, mut table) = (Acks::default(), Table::default());
        table.add(2, Processing);
        table.add(2, Completed);
        for want in [&["m2", "m2"][..], &[], &[]] {
            table.shown_to(&mut acks, 0);
            assert_eq!(ids(&acks.with_replies_to(0)), want);
        }
    }

    #[test]
    fn what_the_runner_forgot_is_forgotten_and_may_come_again() {
        let (mut acks, mut table) = (Acks::default(), Table::default());
        table.set(2, Completed);
        table.shown_to(&mut acks, 0);
        assert_eq!(ids(&acks.with_replies_to(0)), ["m2"]);
        table.shown_to(&mut acks, 0);
        table.0.clear();
        table.shown_to(&mut acks, 0);
        assert!(acks.handed_over.is_empty());
        table.set(2, Completed);
        table.shown_to(&mut acks, 0);
        assert_eq!(ids(&acks.with_replies_to(0)), ["m2"]);
    }

    #[test]
    fn a_long_history_is_read_once_and_a_claim_far_back_is_found() {
        let (mut acks, mut table) = (Acks::default(), Table::default());
        (0..2 * LOOKED_AT_MAX).for_each(|id| table.add(id, Completed));
        assert_eq!(table.shown_to(&mut acks, 0), LOOKED_AT_MAX.div_ceil(PAGE));
        let mut told = Vec::new();
        while !acks.all_told() {
            told.extend(acks.with_replies_to(0));
        }
        assert_eq!((told.len(), told[0].message_id.as_str()), (LOOKED_AT_MAX.div_ceil(PAGE) * PAGE, "m9760"));
        assert_eq!(table.shown_to(&mut acks, 0), 1);

        // Some runners change the row of a claim in its place.
        let far_back = table.0.len() - 3 * PAGE;
        let id = table.0[far_back].ack.message_id.clone();
        table.0[far_back].ack.status = Processing;
        acks.handed_over.insert(id.clone(), Told { status: Processing, changed: "1".to_owned() });
        assert_eq!(table.shown_to(&mut acks, 0), 3);
        table.0[far_back].ack.status = Completed;
        assert_eq!(table.shown_to(&mut acks, 0), 4);
        assert_eq!(ids(&acks.with_replies_to(0)), [id]);
        assert_eq!(acks.let_go(), [""; 0]);
    }

    #[test]
    fn the_claims_of_a_dead_runner_are_let_go_and_a_new_claim_of_the_same_row_is_news() {
        let (mut acks, mut table) = (Acks::default(), Table::default());
        table.add_at("1", 2, Processing);
        table.add_at("1", 4, Processing);
        table.shown_to(&mut acks, 0);
        assert_eq!(ids(&acks.with_replies_to(0)), ["m2", "m4"]);
        // The next runner forgets both, and claims one of them before the keeper looks again.
        table.0.clear();
        table.add_at("2", 4, Processing);
        table.shown_to(&mut acks, 0);
        assert_eq!(acks.let_go(), ["m2"]);
        assert_eq!(acks.let_go(), [""; 0]);
        assert_eq!(ids(&acks.with_replies_to(0)), ["m4"]);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (mut acks, mut table) = (Acks::default(), Table::default());
        for id in 0..5 * LOOKED_AT_MAX {
            table.add(id, Completed);
            if id % PAGE == 0 {
                table.shown_to(&mut acks, 0);
                acks.with_replies_to(0);
            }
            if table.0.len() > 3 * LOOKED_AT_MAX {
                table.0.drain(..LOOKED_AT_MAX);
            }
        }
        assert!(acks.handed_over.len() <= 2 * LOOKED_AT_MAX + PAGE, "{}", acks.handed_over.len());
    }
}
