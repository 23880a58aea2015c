//! The ledger: the central rows that every `inbound.db` is a projection of.
//!
//! Invariants:
//! - A row is on disk here before any file has it, and before its platform is acknowledged.
//! - It keeps state, not history: each row carries the change number of its session that last touched it.
//! - It is the only user of `InboundWriter`. Delete every `inbound.db` while the runtime is stopped,
//!   and nothing is lost.

mod adopted;
mod answers;
mod clock_steps;
mod counts;
mod deliveries;
mod files;
mod messages;
mod named;
mod new_out;
mod own;
mod parts;
mod project;
mod records;
mod retention;
mod room;
mod set_back;
mod suspects;
mod turns;

pub use adopted::{AdoptedRow, Settlement, adopt_change, adopt_message, adopt_settled, recurring};
pub use answers::{NewAnswer, post_answer};
pub use clock_steps::{ClockReading, Shifted, note_clock, was_set};
pub use counts::{FailedMessages, SessionCounts, failed_since, session_counts};
pub use deliveries::{
    Delivery, InDoubtPolicy, delivery_counts, mark_taken, mark_unknown, may_double, next_deferred,
    open_addresses, possible_duplicates, put_off, record_reply, settle, sources, taken_up_to, try_later,
    unclaim, unpark, waiting_for_adapter,
};
pub use files::{Direction, files_of, forget_files, record_files, session_bytes};
pub use messages::{
    Acknowledged, NewAttachment, NewMessage, Written, accept, acknowledge, bump_routing,
    destinations_changed, destinations_of, hops, seen_at_start, take_event, was_taken,
};
pub use named::{KnownMessage, SentMessage, heard_message, known_message, newest_waiting, sent_message};
pub use new_out::{out_is_new, want_new_out, wants_new_out};
pub use own::{NewWords, record_persons_words, record_words};
pub use parts::{Late, further_messages, late_receipt, note_further, note_sent, sent_so_far};
pub use project::{Ledger, Looked, Projected, Routes, distrust_other_boots, trust_files};
pub use records::{
    Record, Request, State, address_of, asked_at, drop_one, move_deliveries, not_simply_delivered, reopen,
    state_of, unread, with_id,
};
pub use retention::{
    After, Pruned, SLICE, forget_events, forget_pruned, prune_deliveries, prune_messages, sessions_to_prune,
};
pub use room::{has_room, has_room_later};
pub use set_back::{Newer, mark_own_set_back, mark_set_back, set_back_sessions, take_newer, with_deliveries};
pub use suspects::{
    GivenUp, Seen, Tried, count_tries, forgive, give_up_suspects, next_try, show_again, show_no_more,
    try_at_once,
};
pub use turns::{Claim, Pending, claim_next, later_of, park_next, parked_before, pending_of};

use crate::db::WriteTxn;
use crate::error::Result;
use crate::id::SessionId;
use rusqlite::OptionalExtension;

/// The session's next change number; its file will be written under this boot. `None` when the
/// session is gone, and with it everything that could change. A module's own words stand in no file: theirs is 0.
fn bump(db: &WriteTxn, session_id: &SessionId) -> Result<Option<i64>> {
    if session_id.module().is_some() {
        return Ok(Some(0));
    }
    let mut statement = db.prepare_cached(
        "UPDATE sessions SET change_before = CASE WHEN changed_by IS ?3 THEN change_before ELSE change END, \
         changed_by = ?3, change = change + 1, boot_id = ?2 WHERE id = ?1 RETURNING change",
    )?;
    let params = [session_id, crate::id::boot_id(), crate::id::process_id()];
    Ok(statement.query_row(params, |r| r.get(0)).optional()?)
}

#[cfg(test)]
mod tests;
