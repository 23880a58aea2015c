//! Modules that want to be asked from time to time. The answer is performed in the commit that notes when the module
//! was asked: a tick is performed once, whenever the runtime ends.

use super::effects::{self, EffectsHook};
use super::note;
use crate::clock::{self, Timestamp};
use crate::context::Context;
use crate::db::{ReadTxn, WriteTxn};
use crate::error::Result;
use crate::id::SessionId;
use crate::plugins::{CallError, Link};
use crate::{agents, ledger, plugin_state, sessions};
use std::sync::Arc;
use std::time::Duration;
use vestibule_plugin_api::{ACCOUNT_MAIN, Manifest, PluginError, StateWrite, Tick};

/// The key of when a module was asked last. No channel type has a `:`.
const LAST: &str = "last";

fn place(module: &str) -> String {
    format!("tick:{module}")
}

/// Asks a module from time to time, for as long as this instance of it runs.
pub async fn serve(context: Arc<Context>, link: Arc<Link>) {
    let (generation, every) = (link.generation(), link.manifest.tick_every());
    while link.generation() == generation {
        let wait = match due_in(&context, &link.manifest).await {
            Ok(Some(wait)) => wait,
            Ok(None) => {
                if let Err(error) = ask(&context, &link).await {
                    tracing::warn!(module = link.manifest.name, %error, "a tick came to nothing");
                }
                every
            }
            Err(error) => {
                tracing::debug!(%error, "a tick waits for the central database");
                every
            }
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = context.stopping() => return,
        }
    }
}

async fn due_in(context: &Context, manifest: &Manifest) -> Result<Option<Duration>> {
    let name = manifest.name.clone();
    let last = context.central.read(move |db| last(db, &name)).await?;
    Ok(wait(last, manifest.tick_every(), clock::now()))
}

/// How long it is until a module is asked that was asked last then; `None` when it is due. It is, too, when the clock was
/// set back since: otherwise it would wait until the clock is there again. Pure.
fn wait(last: Option<Timestamp>, every: Duration, now: Timestamp) -> Option<Duration> {
    let since = Duration::from_millis(u64::try_from(now.0.saturating_sub(last?.0)).ok()?);
    every.checked_sub(since).filter(|wait| !wait.is_zero())
}

fn last(db: &ReadTxn, module: &str) -> Result<Option<Timestamp>> {
    let kept = plugin_state::get(db, &place(module), ACCOUNT_MAIN, LAST)?;
    Ok(kept.and_then(|kept| kept.parse().ok()).map(Timestamp))
}

async fn ask(context: &Arc<Context>, link: &Link) -> std::result::Result<(), CallError> {
    let name = link.manifest.name.clone();
    let failed = |error: crate::error::Error| CallError::Plugin(PluginError::retry(error.to_string()));
    let last = context.central.read(move |db| last(db, &name)).await.map_err(failed)?;
    let now = clock::now();
    let effects = link.tick(Tick { last, now }).await?;
    let granted = context.config.plugin(&link.manifest.name).agents;
    let effects = effects::read(EffectsHook::Tick { granted: Some(&granted) }, effects);
    let told = effects.map_err(|why| note::wrong_answer(link, "tick", &why))?.told;
    let (name, limit) = (link.manifest.name.clone(), context.attachments.limits().session_bytes);
    let write = move |db: &WriteTxn| {
        plugin_state::apply(db, &place(&name), ACCOUNT_MAIN, &[StateWrite::set(LAST, now.0.to_string())])?;
        told.iter().map(|(agent, words)| tell(db, agent, words, limit, now)).collect::<Result<Vec<_>>>()
    };
    let sessions = context.central.write(write).await.map_err(failed)?;
    sessions.into_iter().for_each(|session_id| context.wake(session_id));
    Ok(())
}

/// Writes into the agent's newest session, or a new one; returns which.
fn tell(
    db: &WriteTxn,
    agent: &str,
    words: &str,
    session_bytes_max: u64,
    now: Timestamp,
) -> Result<SessionId> {
    let agent = agents::named(db, agent)?;
    let session_id = match sessions::usable_for_agents(db, &agent.id)? {
        Some(id) => id,
        None => sessions::open_for_agent(db, &agent.id, now)?,
    };
    let session = sessions::named(db, &session_id)?;
    let mut note = note::to_agent(db, &session, words, session_bytes_max, now)?;
    note.trigger = true;
    ledger::accept(db, &session_id, &note, now)?;
    Ok(session_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_asked_when_its_interval_is_over() {
        let every = Duration::from_secs(60);
        for (last, now, want) in [
            (None, 100_000, None),
            (Some(100_000), 100_000, Some(60_000)),
            (Some(100_000), 130_000, Some(30_000)),
            (Some(100_000), 159_999, Some(1)),
            (Some(100_000), 160_000, None),
            (Some(100_000), 900_000, None),
            (Some(900_000), 100_000, None),
        ] {
            let wait = wait(last.map(Timestamp), every, Timestamp(now));
            assert_eq!(wait, want.map(Duration::from_millis), "{last:?} {now}");
        }
    }

    #[test]
    fn each_module_has_a_last_time_of_its_own() {
        let db = crate::db::in_memory();
        for (module, at) in [("one", "7"), ("two", "9"), ("three", "no time")] {
            plugin_state::apply(&db, &place(module), ACCOUNT_MAIN, &[StateWrite::set(LAST, at.to_owned())])
                .expect("on record");
        }
        for (module, want) in [("one", Some(7)), ("two", Some(9)), ("three", None), ("four", None)] {
            assert_eq!(last(&db, module).expect("it answers"), want.map(Timestamp), "{module}");
        }
    }
}
