//! Modules that asked people something hear what came of it. A module is told at least once: that it has heard is on record in
//! the commit in which its answer is performed.

use super::effects::{self, Effects, EffectsHook, Fault};
use super::performed::{self, Performed};
use super::saying::About;
use super::{note, tick};
use crate::agents;
use crate::clock::{self, Timestamp};
use crate::context::Context;
use crate::db::{ReadTxn, WriteTxn};
use crate::error::{Error, Result};
use crate::ledger;
use crate::plugins::{CallError, Link};
use crate::questions::{self, Outcome};
use crate::sessions;
use std::sync::Arc;
use std::time::Duration;
use vestibule_plugin_api::{AGENT, Agent, Decided, PluginError, Requested};

/// After a commit the runtime looks this much later whether something was decided: other commits may come with it.
const LOOK_PAUSE: Duration = Duration::from_millis(50);
/// It looks at least this often: time decides, too.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// The first wait after a module failed; it doubles with each time.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest wait.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// Tells a module what came of what it asked for, for as long as this instance of it runs.
pub async fn serve(context: Arc<Context>, link: Arc<Link>) {
    let generation = link.generation();
    let (mut commits, mut wait) = (context.central.commits(), FIRST_WAIT);
    while link.generation() == generation {
        commits.mark_unchanged();
        match tell_next(&context, &link).await {
            Ok(true) => {
                wait = FIRST_WAIT;
                continue;
            }
            Ok(false) => {
                tokio::select! {
                    () = tokio::time::sleep(LOOK_EVERY) => {}
                    changed = commits.changed() => {
                        if changed.is_err() {
                            return; // the runtime is gone
                        }
                        tokio::time::sleep(LOOK_PAUSE).await;
                    }
                    () = context.stopping() => return,
                }
            }
            Err(error) => {
                tracing::warn!(module = link.manifest.name, %error, "a module did not hear of a decision");
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = context.stopping() => return,
                }
                wait = (wait * 2).min(WAIT_MAX);
            }
        }
    }
}

/// Tells the next decision; false when there is none.
async fn tell_next(context: &Arc<Context>, link: &Link) -> std::result::Result<bool, CallError> {
    let failed = |error: Error| CallError::Plugin(PluginError::retry(error.to_string()));
    let (module, now) = (link.manifest.name.clone(), clock::now());
    let read = context.central.read(move |db| {
        let Some(outcome) = questions::next_outcome(db, &module, now)? else { return Ok(None) };
        Ok(Some((decided(db, &outcome)?, outcome)))
    });
    let Some((decided, outcome)) = read.await.map_err(failed)? else { return Ok(false) };
    let effects = match decided {
        Some(decided) => heard(context, link, link.decided(decided).await)?,
        None => Effects::default(), // its agent is gone
    };
    let (module, limit) = (link.manifest.name.clone(), context.attachments.limits().session_bytes);
    let write = move |db: &WriteTxn| perform(db, &module, &outcome, &effects, limit, clock::now());
    context.central.write(write).await.map_err(failed)?.follow(context);
    Ok(true)
}

/// The effects of an answer. A module that refuses to hear a decision, or answers wrongly, is not told again.
///
/// # Errors
/// It did not hear it.
fn heard(
    context: &Context,
    link: &Link,
    answer: std::result::Result<Vec<vestibule_plugin_api::Effect>, CallError>,
) -> std::result::Result<Effects, CallError> {
    let granted = context.config.plugin(&link.manifest.name).agents;
    let read = |answer| {
        let effects = effects::read(EffectsHook::Decided(Some(&granted)), answer)?;
        tick::can_be_due(&link.manifest, effects)
    };
    match answer {
        Ok(answer) => Ok(read(answer).unwrap_or_else(|fault: Fault| {
            note::wrong_answer(link, "decided", &fault);
            Effects::default()
        })),
        Err(CallError::Unsupported(why)) => Ok(not_heard(link, &why)),
        Err(CallError::Plugin(error @ (PluginError::Refused { .. } | PluginError::Unsupported { .. }))) => {
            Ok(not_heard(link, error.reason()))
        }
        Err(error) => Err(error),
    }
}

fn not_heard(link: &Link, why: &str) -> Effects {
    tracing::error!(module = link.manifest.name, %why, "a module refused to hear of a decision");
    Effects::default()
}

/// What a module is told; `None` when the agent, or its session, is gone.
fn decided(db: &ReadTxn, outcome: &Outcome) -> Result<Option<Decided>> {
    let Some(session) = sessions::by_id(db, &outcome.session_id)? else { return Ok(None) };
    let Some(agent) = agents::by_id(db, &session.agent_group_id)? else { return Ok(None) };
    Ok(Some(Decided {
        id: outcome.id.clone(),
        request: Requested {
            key: outcome.key.clone(),
            kind: "question".to_owned(),
            agent: Agent { id: agent.id.to_string(), name: agent.name },
            session: session.id.to_string(),
            address: outcome.address.clone(),
            payload: outcome.payload.clone(),
            asked_at: outcome.asked_at,
        },
        verdict: outcome.verdict.clone(),
        by: outcome.by.clone(),
        decided_at: outcome.decided_at,
    }))
}

/// Performs an answer, and notes that the module has heard. When one of the effects cannot be performed, none is, and that is
/// reported: the decision stands.
///
/// # Errors
/// SQLite fails.
fn perform(
    db: &WriteTxn,
    module: &str,
    outcome: &Outcome,
    effects: &Effects,
    session_bytes_max: u64,
    now: Timestamp,
) -> Result<Performed> {
    questions::was_told(db, outcome, now)?;
    let Some(session) = sessions::by_id(db, &outcome.session_id)? else { return Ok(Performed::default()) };
    let at = Some(&outcome.address).filter(|at| at.channel_type.as_str() != AGENT);
    let about = About { module, session: Some(&session), at };
    let mut performed = match performed::perform(db, about, effects, now)? {
        Ok(performed) => performed,
        Err(why) => {
            let why = note::not_possible(module, &why);
            tracing::error!(session = session.id.as_str(), %why, "what follows a decision was left out");
            return Ok(Performed::default());
        }
    };
    // When no person decided, only programs have spoken since.
    let hops = match &outcome.by {
        Some(_) => 0,
        None => ledger::hops(db, &session.id)?.saturating_add(1),
    };
    for words in &effects.notes {
        let mut note = note::to_agent(db, &session, words, session_bytes_max, now)?;
        (note.trigger, note.hops) = (true, hops);
        ledger::accept(db, &session.id, &note, now)?;
    }
    if !effects.notes.is_empty() {
        performed.sessions.push(session.id);
    }
    Ok(performed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::saying::Saying;
    use vestibule_plugin_api::{Address, Decider, Decision, Effect};

    #[test]
    fn an_answer_is_performed_in_the_commit_that_notes_that_the_module_has_heard() {
        let note = || Effect::Note { text: "deploying".into() };
        let send = |to: Option<&str>| Effect::Send {
            agent: None,
            to: to.map(str::to_owned),
            key: None,
            text: "hi".into(),
            at: None,
        };
        let person = || Some(Decider { handle: "u1".into(), ..Decider::default() });
        // what it answers, who decided; how many notes and replies there are, and the hops that led to the notes
        for (effects, by, notes, replies, hops) in [
            (vec![], person(), 0, 0, 2),
            (vec![note(), send(None)], person(), 1, 1, 0),
            (vec![note(), note()], None, 2, 0, 3),
            (vec![note(), send(Some("nowhere"))], person(), 0, 0, 2),
        ] {
            let db = crate::db::in_memory();
            db.execute_batch(
                "INSERT INTO agent_groups (id, name, folder, created_at) VALUES ('ag', 'ann', 'a', 0); \
                 INSERT INTO messaging_groups (id, channel_type, account, platform_id, created_at) VALUES ('c', 'x', 'main', 'c', 0); \
                 INSERT INTO sessions (id, agent_group_id, messaging_group_id, created_at, last_active, hops) \
                 VALUES ('s', 'ag', 'c', 0, 0, 2); \
                 INSERT INTO questions (token, session_id, message_out_id, channel_type, account, platform_id, title, question, \
                 options, asked_at, expires_at, module) VALUES ('t', 's', 'o', 'x', 'main', 'c', '', '', '[]', 0, 9, 'm')",
            )
            .expect("it fills");
            let outcome = Outcome {
                token: "t".into(),
                id: "o@0".into(),
                key: "k".into(),
                session_id: "s".into(),
                address: Address {
                    channel_type: "x".into(),
                    account: "main".into(),
                    platform_id: "c".into(),
                    thread_id: None,
                },
                payload: "p".into(),
                asked_at: Timestamp(0),
                verdict: Decision::Expired,
                by,
                decided_at: Timestamp(9),
            };
            let told = decided(&db, &outcome).expect("it is read").expect("its agent is there");
            assert_eq!((told.request.agent.name.as_str(), told.request.session.as_str()), ("ann", "s"));
            let said = format!("{effects:?}");
            let effects = effects::read(EffectsHook::Decided(None), effects).expect("a good answer");
            let performed = perform(&db, "m", &outcome, &effects, 0, Timestamp(10)).expect("it is performed");
            let count = |sql: &str| db.query_row(sql, [], |r| r.get::<_, i64>(0)).expect("a row");
            assert_eq!(count("SELECT told_at FROM questions"), 10, "{said}");
            assert_eq!(count("SELECT COUNT(*) FROM messages_in WHERE \"trigger\""), notes, "{said}");
            assert_eq!(count("SELECT COUNT(*) FROM deliveries"), replies, "{said}");
            assert_eq!(i64::from(ledger::hops(&db, &"s".into()).expect("it is counted")), hops, "{said}");
            assert_eq!(performed.sessions.len(), usize::from(notes > 0), "{said}");
        }
        let none = Saying::read(Effect::Note { text: "x".into() }).expect("it fits");
        assert_eq!(none, None, "by a note no session says anything");
    }
}
