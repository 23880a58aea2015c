//! Shows people that an agent has read what they wrote, and works on an answer, in the chat where they wait for it.
//!
//! It is on no record: what cannot be shown is not tried again, and it ends by itself.

use super::state::{Phase, State};
use crate::context::Context;
use crate::db::ReadTxn;
use crate::id::SessionId;
use crate::ledger;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinSet;
use vestibule_plugin_api::{Capability, Read, Working};

/// It is said again after this time: a little less than a channel shows it for
/// ([`vestibule_plugin_api::WORKING_SECONDS`]).
const REFRESH: Duration = Duration::from_secs(4);
/// A turn whose provider has been silent for this long is not shown as work any more: it may hang.
const SILENCE_SHOWN: Duration = Duration::from_secs(60);

/// Until when a session's agent is shown as working, by what is known now; `None`: it does not work. Pure.
fn works_until(state: &State) -> Option<Instant> {
    match &state.phase {
        Phase::Running(run) if !run.with_runner => None,
        Phase::Running(run) if run.claims > 0 => Some(run.progress + SILENCE_SHOWN),
        Phase::Running(run) => run.due_since.map(|since| since + SILENCE_SHOWN),
        _ => None,
    }
}

/// Shows the work of one session.
#[derive(Default)]
pub struct Indicator {
    /// Until when it is shown.
    until: watch::Sender<Option<Instant>>,
    /// The task that says it; it ends with the indicator.
    task: JoinSet<()>,
}

impl Indicator {
    /// Shows what the state says, from now on. Without a channel that shows work, this costs nothing.
    pub fn follow(&mut self, context: &Arc<Context>, session_id: &SessionId, state: &State) {
        let until = works_until(state);
        let is_shown = self.until.send_replace(until).is_some_and(|before| Instant::now() < before);
        if until.is_none() || !is_shown {
            self.task.abort_all();
        }
        let plugins = &context.plugins.registry;
        let can_show = || plugins.any_can(Capability::Working) || plugins.any_can(Capability::Reads);
        if until.is_some() && !is_shown && can_show() {
            self.task.spawn(show(context.clone(), session_id.clone(), self.until.subscribe()));
        }
    }
}

/// Says it again and again until the agent does not work any more.
async fn show(context: Arc<Context>, session_id: SessionId, until: watch::Receiver<Option<Instant>>) {
    let mut read = None;
    while until.borrow().is_some_and(|until| Instant::now() < until) {
        say(&context, &session_id, &mut read).await;
        tokio::time::sleep(REFRESH).await;
    }
}

/// Says it once, about the newest message that waits for an answer; that it was read, if that is not `read` already.
async fn say(context: &Context, session_id: &SessionId, read: &mut Option<String>) {
    let session = session_id.clone();
    let waiting = context.central.read(move |db: &ReadTxn| ledger::newest_waiting(db, &session)).await;
    let Ok(Some((address, message_id))) = waiting else { return };
    let link = context.plugins.registry.live(address.channel_type.as_str(), address.account.as_str());
    let Some(link) = link else { return };
    let session = session_id.as_str();
    if let Some(newest) = message_id.clone().filter(|newest| read.as_ref() != Some(newest))
        && link.manifest.can(Capability::Reads)
    {
        *read = Some(newest.clone());
        if let Err(error) = link.read(Read { address: address.clone(), message_id: newest }).await {
            tracing::debug!(session, %error, "a message is not shown as read");
        }
    }
    if link.manifest.can(Capability::Working)
        && let Err(error) = link.working(Working { address, message_id }).await
    {
        tracing::debug!(session, %error, "work is not shown");
    }
}

#[cfg(test)]
mod tests {
    use super::super::state::Run;
    use super::*;

    #[test]
    fn work_is_shown_while_a_turn_goes_on_and_its_provider_is_not_silent() {
        let now = Instant::now();
        let run = |claims, due_since| Run { claims, due_since, ..Run::new(true, None, now) };
        let shown = Some(now + SILENCE_SHOWN);
        for (phase, want) in [
            (Phase::Resting, None),
            (Phase::Queued, None),
            (Phase::Running(run(0, None)), None),
            (Phase::Running(run(0, Some(now))), shown),
            (Phase::Running(run(2, None)), shown),
            (Phase::Running(Run::new(false, None, now)), None),
        ] {
            let state = State { phase: phase.clone(), ..State::new(now) };
            assert_eq!(works_until(&state), want, "{phase:?}");
        }
    }
}
