//! The effects that every hook with an agent, or with time, has: what sessions say, and what ticks bring.

use super::effects::Effects;
use super::saying::{self, About};
use super::tick;
use crate::clock::Timestamp;
use crate::context::Context;
use crate::db::WriteTxn;
use crate::error::Result;
use crate::id::SessionId;
use std::sync::Arc;
use vestibule_plugin_api::Address;

/// What follows once effects are on disk.
#[derive(Debug, Default)]
pub struct Performed {
    /// The sessions with something new.
    pub sessions: Vec<SessionId>,
    /// Where something goes.
    pub addresses: Vec<Address>,
    /// Whether something was scheduled.
    pub is_scheduled: bool,
}

/// Performs what sessions say and what is scheduled, or none of it: the inner error says why.
///
/// # Errors
/// SQLite fails.
pub fn perform(
    db: &WriteTxn,
    about: About,
    effects: &Effects,
    now: Timestamp,
) -> Result<std::result::Result<Performed, String>> {
    let planned = match saying::plan(db, about, &effects.said, now)? {
        Ok(planned) => planned,
        Err(why) => return Ok(Err(why)),
    };
    if let Err(why) = tick::schedule(db, about.module, &effects.scheduled)? {
        return Ok(Err(why));
    }
    Ok(Ok(Performed {
        sessions: Vec::new(),
        addresses: saying::record(db, &planned, now)?,
        is_scheduled: !effects.scheduled.is_empty(),
    }))
}

impl Performed {
    /// Wakes all that has something to do now.
    pub fn follow(self, context: &Arc<Context>) {
        self.sessions.into_iter().for_each(|session_id| context.wake(session_id));
        super::go_on(context, self.addresses);
        if self.is_scheduled {
            context.scheduled.send_replace(());
        }
    }
}
