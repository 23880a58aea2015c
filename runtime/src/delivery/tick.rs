//! Modules that want to be asked from time to time, and at times of their own. The answer is performed in the commit that notes when the module
//! was asked: a tick is performed once, whenever the runtime ends.

use super::effects::{self, Effects, EffectsHook, Fault};
use super::saying::{About, Scheduled};
use super::{note, performed};
use crate::clock::{self, Timestamp};
use crate::context::Context;
use crate::db::{ReadTxn, WriteTxn};
use crate::error::{Error, Result};
use crate::id::SessionId;
use crate::plugins::{CallError, Link};
use crate::{agents, ledger, plugin_state, sessions};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use vestibule_plugin_api::{ACCOUNT_MAIN, DUE_MAX, Due, Hook, Manifest, PluginError, StateWrite, Tick};

/// The key of when a module was asked last. No channel type has a `:`.
const LAST: &str = "last";
/// How the keys of what a module has scheduled begin.
const DUE: &str = "due/";
/// As many things may be scheduled by a module: an account holds a few more keys.
const SCHEDULED_MAX: usize = 1_000;
/// A module is asked no sooner than this after it was asked, unless more was due then than a tick brings: what it
/// schedules may be due at once, each time.
const PAUSE: Duration = Duration::from_millis(250);
/// The longest sleep between two looks: a clock that was set must not delay a tick for long.
const SLEEP_MAX: Duration = Duration::from_secs(60);

fn place(module: &str) -> String {
    format!("tick:{module}")
}

/// Asks a module from time to time, and when what it scheduled is due, for as long as this instance of it runs.
pub async fn serve(context: Arc<Context>, link: Arc<Link>) {
    let (generation, every) = (link.generation(), link.manifest.tick_every());
    let mut scheduled = context.scheduled.subscribe();
    while link.generation() == generation {
        scheduled.mark_unchanged();
        let wait = match due_in(&context, &link.manifest).await {
            Ok(Some(wait)) => wait,
            Ok(None) => match ask(&context, &link).await {
                Ok(true) => continue,
                Ok(false) => {
                    tokio::select! {
                        () = tokio::time::sleep(PAUSE) => continue,
                        () = context.stopping() => return,
                    }
                }
                Err(error) => {
                    tracing::warn!(module = link.manifest.name, %error, "a tick came to nothing");
                    every
                }
            },
            Err(error) => {
                tracing::debug!(%error, "a tick waits for the central database");
                every
            }
        };
        tokio::select! {
            () = tokio::time::sleep(wait.min(SLEEP_MAX)) => {}
            _ = scheduled.changed() => {}
            () = context.stopping() => return,
        }
    }
}

async fn due_in(context: &Context, manifest: &Manifest) -> Result<Option<Duration>> {
    let name = manifest.name.clone();
    let (last, due) = context.central.read(move |db| Ok((last(db, &name)?, all_due(db, &name)?))).await?;
    Ok(wait(last, due.first().map(|due| due.at), manifest.tick_every(), clock::now()))
}

/// How long it is until a module is asked that was asked last then, and for which something is due then; `None` when it is
/// time. It is, too, when the clock was set back since: otherwise it would wait until the clock is there again. Pure.
fn wait(
    last: Option<Timestamp>,
    due: Option<Timestamp>,
    every: Duration,
    now: Timestamp,
) -> Option<Duration> {
    let since = Duration::from_millis(u64::try_from(now.0.saturating_sub(last?.0)).ok()?);
    let until = |due: Timestamp| u64::try_from(due.0.saturating_sub(now.0)).unwrap_or_default();
    let wait = every.checked_sub(since)?;
    let wait = due.map_or(wait, |due| wait.min(Duration::from_millis(until(due))));
    (!wait.is_zero()).then_some(wait)
}

fn last(db: &ReadTxn, module: &str) -> Result<Option<Timestamp>> {
    let kept = plugin_state::get(db, &place(module), ACCOUNT_MAIN, LAST)?;
    Ok(kept.and_then(|kept| kept.parse().ok()).map(Timestamp))
}

/// All that a module has scheduled, the earliest first.
fn all_due(db: &ReadTxn, module: &str) -> Result<Vec<Due>> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = plugin_state::page(db, &place(module), ACCOUNT_MAIN, DUE, after.as_deref())?;
        found.extend(page.entries.iter().filter_map(|entry| serde_json::from_str::<Due>(&entry.value).ok()));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    found.sort_by_key(|due| due.at);
    Ok(found)
}

fn due_key(key: &str) -> String {
    format!("{DUE}{key}")
}

/// Puts on record what a module wants to be brought, or takes it back. The inner error says why none of it is.
///
/// # Errors
/// SQLite fails.
pub fn schedule(
    db: &WriteTxn,
    module: &str,
    scheduled: &[Scheduled],
) -> Result<std::result::Result<(), String>> {
    if scheduled.is_empty() {
        return Ok(Ok(()));
    }
    let held = plugin_state::keys(db, &place(module), ACCOUNT_MAIN, DUE)?;
    let mut keys: BTreeSet<String> = held.iter().map(|key| key[DUE.len()..].to_owned()).collect();
    let mut writes = Vec::new();
    for Scheduled { key, at, payload } in scheduled {
        let due = at.map(|at| Due { key: key.clone(), at, payload: payload.clone() });
        match due.as_ref().map(serde_json::to_string).transpose().map_err(Error::refused)? {
            Some(due) => {
                keys.insert(key.clone());
                writes.push(StateWrite::set(due_key(key), due));
            }
            None => {
                keys.remove(key);
                writes.push(StateWrite::forget(due_key(key)));
            }
        }
    }
    if keys.len() > SCHEDULED_MAX {
        return Ok(Err(format!("a module may schedule {SCHEDULED_MAX} things at a time")));
    }
    plugin_state::apply(db, &place(module), ACCOUNT_MAIN, &writes)?;
    Ok(Ok(()))
}

/// An answer by which only a module with ticks schedules something. Pure.
///
/// # Errors
/// It schedules something, and would never be brought it.
pub fn can_be_due(manifest: &Manifest, effects: Effects) -> std::result::Result<Effects, Fault> {
    match manifest.listens(Hook::Tick) || effects.scheduled.is_empty() {
        true => Ok(effects),
        false => Err(Fault::Wrong("it schedules something, and does not list the hook `tick`".to_owned())),
    }
}

/// Forgets what was brought, unless the module scheduled it anew meanwhile.
fn forget(db: &WriteTxn, module: &str, brought: &[Due]) -> Result<()> {
    let mut writes = Vec::new();
    for due in brought {
        let key = due_key(&due.key);
        let held = plugin_state::get(db, &place(module), ACCOUNT_MAIN, &key)?;
        if held.and_then(|held| serde_json::from_str::<Due>(&held).ok()).as_ref() == Some(due) {
            writes.push(StateWrite::forget(key));
        }
    }
    plugin_state::apply(db, &place(module), ACCOUNT_MAIN, &writes)
}

/// Asks once, and performs the answer. True when more is due than was brought.
async fn ask(context: &Arc<Context>, link: &Link) -> std::result::Result<bool, CallError> {
    let name = link.manifest.name.clone();
    let failed = |error: Error| CallError::Plugin(PluginError::retry(error.to_string()));
    let read = context.central.read(move |db| Ok((last(db, &name)?, all_due(db, &name)?)));
    let (last, mut due) = read.await.map_err(failed)?;
    let now = clock::now();
    due.retain(|due| due.at <= now);
    let is_more_due = due.len() > DUE_MAX;
    due.truncate(DUE_MAX);
    let effects = link.tick(Tick { last, now, due: due.clone() }).await?;
    let granted = context.config.plugin(&link.manifest.name).agents;
    let effects = effects::read(EffectsHook::Tick(Some(&granted)), effects);
    let effects = effects.map_err(|fault| note::wrong_answer(link, "tick", &fault))?;
    let (name, limit) = (link.manifest.name.clone(), context.attachments.limits().session_bytes);
    let write = move |db: &WriteTxn| {
        plugin_state::apply(db, &place(&name), ACCOUNT_MAIN, &[StateWrite::set(LAST, now.0.to_string())])?;
        forget(db, &name, &due)?;
        let about = About { module: &name, session: None, at: None };
        let performed = performed::perform(db, about, &effects, now)?;
        let mut performed = performed.map_err(|why| Error::Refused(note::not_possible(&name, &why)))?;
        for (agent, words) in &effects.told {
            performed.sessions.push(tell(db, agent, words, limit, now)?);
        }
        Ok(performed)
    };
    context.central.write(write).await.map_err(failed)?.follow(context);
    Ok(is_more_due)
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
        for (last, due, now, want) in [
            (None, None, 100_000, None),
            (Some(100_000), None, 100_000, Some(60_000)),
            (Some(100_000), None, 130_000, Some(30_000)),
            (Some(100_000), None, 159_999, Some(1)),
            (Some(100_000), None, 160_000, None),
            (Some(100_000), None, 900_000, None),
            (Some(900_000), None, 100_000, None),
            // Something is due before, at and after the next tick, and long ago.
            (Some(100_000), Some(110_000), 100_000, Some(10_000)),
            (Some(100_000), Some(110_000), 110_000, None),
            (Some(100_000), Some(160_000), 110_000, Some(50_000)),
            (Some(100_000), Some(900_000), 110_000, Some(50_000)),
            (Some(100_000), Some(0), 110_000, None),
            (None, Some(900_000), 100_000, None),
        ] {
            let wait = wait(last.map(Timestamp), due.map(Timestamp), every, Timestamp(now));
            assert_eq!(wait, want.map(Duration::from_millis), "{last:?} {due:?} {now}");
        }
    }

    #[test]
    fn what_is_scheduled_is_brought_in_order_and_forgotten() {
        let db = crate::db::in_memory();
        let put = |key: &str, at: Option<i64>| {
            let scheduled = Scheduled::new(key.into(), at.map(Timestamp), key.into()).expect("it fits");
            schedule(&db, "one", &[scheduled]).expect("on record")
        };
        let due = || {
            let all = all_due(&db, "one").expect("it answers");
            all.iter().map(|due| format!("{} {} {}", due.key, due.at.0, due.payload)).collect::<Vec<_>>()
        };
        for (key, at) in
            [("b", Some(5)), ("a", Some(9)), ("c", Some(7)), ("c", None), ("a", Some(1)), ("d", None)]
        {
            assert_eq!(put(key, at), Ok(()));
        }
        assert_eq!(due(), [r#"a 1 "a""#, r#"b 5 "b""#]);
        assert_eq!(all_due(&db, "two").expect("it answers"), [], "each module has its own");
        let brought = all_due(&db, "one").expect("it answers");
        assert_eq!(put("b", Some(8)), Ok(()), "meanwhile it is scheduled anew");
        forget(&db, "one", &brought).expect("on record");
        assert_eq!(due(), [r#"b 8 "b""#]);
        for number in 1..SCHEDULED_MAX {
            assert_eq!(put(&format!("n{number}"), Some(9)), Ok(()));
        }
        let too_many = put("one more", Some(9)).expect_err("there is no room");
        assert!(too_many.contains("1000 things"), "{too_many}");
        assert_eq!(put("b", Some(9)), Ok(()), "an old one may change");
        let manifest = |hooks: &str| {
            let text = format!(
                r#"{{"name":"m","version":"1","kind":"module","abi":1,"api":"0.2","description":"d","hooks":["{hooks}"]}}"#
            );
            Manifest::parse(text.as_bytes()).expect("it fits")
        };
        let scheduled = vec![Scheduled::new("k".into(), None, "".into()).expect("it fits")];
        let effects = Effects { scheduled, ..Effects::default() };
        assert!(can_be_due(&manifest("tick"), effects.clone()).is_ok());
        assert!(can_be_due(&manifest("decided"), effects).is_err());
        assert!(can_be_due(&manifest("decided"), Effects::default()).is_ok());
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
