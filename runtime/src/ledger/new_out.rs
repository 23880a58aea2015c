//! A new `out/` for a session whose own cannot be read any more.

use super::bump;
use crate::db::{ReadTxn, WriteTxn};
use crate::error::Result;
use crate::id::SessionId;
use rusqlite::OptionalExtension;

/// Notes that the next launch sets the session's `out/` aside and makes a new one.
pub fn want_new_out(db: &WriteTxn, session_id: &SessionId) -> Result<()> {
    db.execute("UPDATE sessions SET new_out = 1 WHERE id = ?1", [session_id])?;
    Ok(())
}

/// Whether the next launch makes a new `out/`. False for a session that is gone.
pub fn wants_new_out(db: &ReadTxn, session_id: &SessionId) -> Result<bool> {
    let wants = db
        .prepare_cached("SELECT new_out FROM sessions WHERE id = ?1")?
        .query_row([session_id], |r| r.get(0));
    Ok(wants.optional()?.unwrap_or(false))
}

/// Notes that the new `out/` is in place, and empty: its replies are numbered anew, so none counts as read.
pub fn out_is_new(db: &WriteTxn, session_id: &SessionId) -> Result<()> {
    bump(db, session_id)?;
    db.execute(
        "UPDATE sessions SET new_out = 0, outbound_floor = 0, outbound_seq = 0, pruned_floor = 0 WHERE id = ?1",
        [session_id],
    )?;
    Ok(())
}
