//! Looks whether the wall clock was set: pauses that are under way then last as long as they were meant to.

use crate::context::Context;
use crate::db::WriteTxn;
use crate::ledger::{self, ClockReading};
use crate::{clock, delivery, id};
use std::sync::Arc;
use std::time::Duration;

const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How the wall clock stands, compared with one that no program sets; `None` where the system has none.
pub fn reading() -> Option<ClockReading> {
    let since_boot = i64::try_from(clock::since_boot()?.as_millis()).ok()?;
    Some(ClockReading {
        boot_id: id::boot_id().to_owned(),
        offset_ms: clock::now().0.saturating_sub(since_boot),
    })
}

/// Looks from time to time, until the runtime stops.
pub async fn watch(context: Arc<Context>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = context.stopping() => return,
        }
        if let Err(error) = look(&context).await {
            tracing::debug!(%error, "cannot find out whether the clock was set");
        }
    }
}

async fn look(context: &Arc<Context>) -> crate::error::Result<()> {
    let Some(now) = reading() else { return Ok(()) };
    let looked = now.clone();
    if !context.central.read(move |db| ledger::was_set(db, &looked)).await? {
        return Ok(());
    }
    let shift = move |db: &WriteTxn| ledger::note_clock(db, &now, clock::now());
    let shifted = context.central.write(shift).await?;
    if let Some(step_ms) = shifted.step_ms {
        tracing::warn!(step_ms, "the clock was set; pauses last as long as they were meant to");
    }
    delivery::go_on(context, shifted.addresses);
    shifted.sessions.into_iter().for_each(|session_id| context.wake(session_id));
    Ok(())
}
