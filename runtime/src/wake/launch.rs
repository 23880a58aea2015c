//! What comes before a keeper starts: the run goes on record, and a session whose `out/` the operator gave up gets a
//! new one.

use crate::agents::{self, AgentGroup};
use crate::context::Context;
use crate::db::WriteTxn;
use crate::error::{Error, IoContext, Result};
use crate::id::SessionId;
use crate::launcher::LaunchRequest;
use crate::{id, ledger, sessions};
use vestibule_session::crash;

/// A run that is on record.
pub struct Prepared {
    /// The keeper that is to be started for it.
    pub request: LaunchRequest,
    /// The change number of its agent's destinations: later changes wake this session's lane.
    pub destinations: i64,
}

/// Puts a run on record and makes its session ready for it.
///
/// # Errors
/// The session is gone, the central database fails, or a folder cannot be moved or made.
pub async fn prepare(context: &Context, session_id: &SessionId, with_runner: bool) -> Result<Prepared> {
    let named = session_id.to_owned();
    let record = move |db: &WriteTxn| {
        sessions::set_running(db, &named, true)?;
        let gone = || Error::Refused(format!("the session {named} is gone"));
        let session = sessions::by_id(db, &named)?.ok_or_else(gone)?;
        let agent = agents::by_id(db, &session.agent_group_id)?.ok_or_else(gone)?;
        let after_seq = ledger::taken_up_to(db, &named)?.ok_or_else(gone)?;
        let destinations = ledger::destinations_of(db, &named)?;
        let wants_new_out = ledger::wants_new_out(db, &named)?;
        Ok((
            Prepared {
                request: LaunchRequest { session_id: named, agent, after_seq, with_runner },
                destinations,
            },
            wants_new_out,
        ))
    };
    let (mut prepared, wants_new_out) = context.central.write(record).await?;
    if wants_new_out {
        make_new_out(context, &prepared.request.agent, session_id).await?;
        prepared.request.after_seq = 0;
    }
    Ok(prepared)
}

/// Sets the session's `out/` aside and makes a new one. A crash in between makes one more.
async fn make_new_out(context: &Context, agent: &AgentGroup, session_id: &SessionId) -> Result<()> {
    let dir = context.home.session(&agent.id, session_id);
    let aside = id::mint("aside");
    dir.set_out_aside(&aside).context(|| format!("cannot move {}", dir.out().display()))?;
    crash::point("new out: the old one is aside, there is none");
    dir.create()?;
    crash::point("new out: it is in its place, and not on record");
    let named = session_id.to_owned();
    context.central.write(move |db| ledger::out_is_new(db, &named)).await?;
    tracing::info!(
        session = session_id.as_str(),
        aside = format!("out.{aside}"),
        "its out/ was set aside, and a new one made"
    );
    Ok(())
}
