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
            Ok(wait) if wait.is_zero() => {
                if let Err(error) = ask(&context, &link).await {
                    tracing::warn!(module = link.manifest.name, %error, "a tick came to nothing");
                }
                every
            }
            Ok(wait) => wait,
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

/// How long it is until a module is asked; a clock that was set back does not delay it.
async fn due_in(context: &Context, manifest: &Manifest) -> Result<Duration> {
    let name = manifest.name.clone();
    let last = context.central.read(move |db| last(db, &name)).await?;
    let every = manifest.tick_every();
    let since = last.map(|last| Duration::from_millis(u64::try_from(clock::now().0 - last.0).unwrap_or(0)));
    Ok(since.map_or(Duration::ZERO, |since| every.saturating_sub(since)))
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
    let session_id = match sessions::newest_usable(db, &agent.id)? {
        Some(id) => id,
        None => sessions::open_for_agent(db, &agent.id, now)?,
    };
    let session = sessions::named(db, &session_id)?;
    let mut note = note::to_agent(db, &session, words, session_bytes_max, now)?;
    note.trigger = true;
    ledger::accept(db, &session_id, &note, now)?;
    Ok(session_id)
}
