//! One lane for each session with something to do: project, wake, hear the keeper.
//!
//! Invariants:
//! - Only a session's own lane projects it, and an error stays inside its session.
//! - A session has at most one keeper; one whose runner's end is not on record gets a keeper without
//!   a runner first.

mod lane;

pub use lane::serve;
