//! A session whose `out/` its operator gave up begins with a new one.

use crate::error::{Error, IoContext, Result};
use crate::house::House;
use crate::{id, ledger, sessions};
use vestibule_session::crash;

/// Sets the session's `out/` aside and makes a new one. A crash in between makes one more.
///
/// # Errors
/// A folder cannot be moved or made, or the session is gone.
pub async fn make(house: &House, session_id: &str) -> Result<()> {
    let named = session_id.to_owned();
    let gone = || Error::Refused(format!("the session {session_id} is gone"));
    let session = house.central.read(move |db| sessions::by_id(db, &named)).await?.ok_or_else(gone)?;
    let dir = house.home.session(&session.agent_group_id, session_id);
    let aside = id::mint("aside");
    dir.set_out_aside(&aside).context(|| format!("cannot move {}", dir.out().display()))?;
    crash::point("new out: the old one is aside, there is none");
    dir.create()?;
    crash::point("new out: it is in its place, and not on record");
    let named = session_id.to_owned();
    house.central.write(move |db| ledger::out_is_new(db, &named)).await?;
    tracing::info!(session = session_id, aside = %format_args!("out.{aside}"), "its out/ was set aside, and a new one made");
    Ok(())
}
