//! Modules that want to be asked from time to time. What one answers is performed in the commit that notes
//! when it was asked: a tick is performed once, whenever the house ends.

use super::note;
use crate::clock::{self, Timestamp};
use crate::error::Result;
use crate::house::House;
use crate::plugins::{CallError, Link};
use crate::{agents, ledger, plugin_state, sessions};
use rusqlite::Connection;
use std::sync::Arc;
use std::time::Duration;
use vestibule_plugin_api::{ACCOUNT_MAIN, Effect, Manifest, PluginError, StateWrite, Tick};

/// Where it is kept when a module was asked last. No channel type has a `:`.
const LAST: &str = "last";

fn place(module: &str) -> String {
    format!("tick:{module}")
}

/// Asks a module for as long as this life of it lasts.
pub async fn serve(house: Arc<House>, link: Arc<Link>) {
    let (generation, every) = (link.generation(), link.manifest.tick_every());
    while link.generation() == generation {
        let wait = match due_in(&house, &link.manifest).await {
            Ok(wait) if wait.is_zero() => {
                if let Err(error) = ask(&house, &link).await {
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
            () = house.stopping() => return,
        }
    }
}

/// How long it is until a module is asked; a clock that was set back does not make it wait longer.
async fn due_in(house: &House, manifest: &Manifest) -> Result<Duration> {
    let name = manifest.name.clone();
    let last = house.central.read(move |db| last(db, &name)).await?;
    let every = manifest.tick_every();
    let since = last.map(|last| Duration::from_millis(u64::try_from(clock::now().0 - last.0).unwrap_or(0)));
    Ok(since.map_or(Duration::ZERO, |since| every.saturating_sub(since)))
}

fn last(db: &Connection, module: &str) -> Result<Option<Timestamp>> {
    let kept = plugin_state::get(db, &place(module), ACCOUNT_MAIN, LAST)?;
    Ok(kept.and_then(|kept| kept.parse().ok()).map(Timestamp))
}

async fn ask(house: &Arc<House>, link: &Link) -> std::result::Result<(), CallError> {
    let name = link.manifest.name.clone();
    let failed = |error: crate::error::Error| CallError::Plugin(PluginError::retry(error.to_string()));
    let last = house.central.read(move |db| last(db, &name)).await.map_err(failed)?;
    let now = clock::now();
    let effects = link.tick(Tick { last, now }).await?;
    let granted = house.config.plugin(&link.manifest.name).agents;
    let told = plan(effects, &granted).map_err(|why| note::wrong_answer(link, "tick", &why))?;
    let (name, limit) = (link.manifest.name.clone(), house.attachments.limits().session_bytes);
    let write = move |db: &Connection| {
        plugin_state::apply(db, &place(&name), ACCOUNT_MAIN, &[StateWrite::set(LAST, now.0.to_string())])?;
        told.iter().map(|(agent, words)| tell(db, agent, words, limit, now)).collect::<Result<Vec<_>>>()
    };
    let sessions = house.central.write(write).await.map_err(failed)?;
    sessions.into_iter().for_each(|session_id| house.ring(session_id));
    Ok(())
}

/// Which effects a module may answer `tick` with: words for agents that the operator lets it tell.
fn plan(effects: Vec<Effect>, granted: &[String]) -> std::result::Result<Vec<(String, String)>, String> {
    note::not_too_many(&effects)?;
    let allowed = |effect: Effect| match effect {
        Effect::Tell { agent, text } if granted.contains(&agent) => Ok((agent, note::checked(text)?)),
        Effect::Tell { agent, .. } => Err(format!(
            "it tells the agent `{}` something, and `agents` in its [plugins] section does not name that one",
            agent.escape_debug()
        )),
        _ => Err("an effect that is not `tell`".to_owned()),
    };
    effects.into_iter().map(allowed).collect()
}

/// Why the runtime would refuse such an answer to `tick`, if it would, whomever the operator lets it tell.
pub fn fault(effects: Vec<Effect>) -> Option<String> {
    let named = |effect: &Effect| match effect {
        Effect::Tell { agent, .. } => Some(agent.clone()),
        _ => None,
    };
    let granted: Vec<String> = effects.iter().filter_map(named).collect();
    plan(effects, &granted).err()
}

/// Writes into the agent's newest session, or a new one; answers which.
fn tell(db: &Connection, agent: &str, words: &str, session_bytes_max: u64, now: Timestamp) -> Result<String> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use vestibule_plugin_api::EFFECTS_MAX;

    #[test]
    fn which_effects_tick_may_have() {
        let tell = |agent: &str| Effect::Tell { agent: agent.into(), text: "x".into() };
        let granted = ["a".to_owned()];
        for (effects, want) in [
            (vec![], Ok(0)),
            (vec![tell("a"), tell("a")], Ok(2)),
            (vec![tell("a"), tell("b")], Err("`agents`")),
            (vec![Effect::Note { text: "x".into() }], Err("not `tell`")),
            (vec![tell("a"); EFFECTS_MAX + 1], Err("9 effects")),
        ] {
            match (plan(effects.clone(), &granted), want) {
                (Ok(told), Ok(count)) => assert_eq!(told.len(), count),
                (Err(why), Err(part)) => assert!(why.contains(part), "{why}"),
                (told, want) => panic!("{effects:?}: {told:?}, not {want:?}"),
            }
        }
    }
}
