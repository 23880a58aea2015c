//! One lane for each session with something to do: project, wake, hear the keeper.
//!
//! Invariants:
//! - Only a session's own lane projects it, and an error stays inside its session.
//! - A session has at most one keeper; one whose runner's end is not on record gets a keeper without
//!   a runner first.
//!
//! ```text
//! state   what a lane knows, what can happen, what can be done
//! decide  from state and event to state and steps; pure
//! lane    waits, asks `decide`, performs
//! launch  what comes before a keeper starts
//! working shows people that an agent works
//! steps   looks whether the wall clock was set
//! ```

mod clock_steps;
mod decide;
mod lane;
mod launch;
mod state;
mod working;

pub use clock_steps::{reading as clock_reading, watch as watch_clock};
pub use lane::serve;
