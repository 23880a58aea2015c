//! Requests of an agent that are no messages: the module that lists the action is asked outside every transaction, and
//! its answer is performed in the one that settles the delivery.

use super::effects::{self, Answer, EffectsHook};
use super::lane::give_up;
use super::performed::{self, Performed};
use super::saying::About;
use super::{note, tick};
use crate::agents;
use crate::clock::Timestamp;
use crate::context::Context;
use crate::db::{ReadTxn, WriteTxn};
use crate::error::{Error, Result};
use crate::ledger::{self, Delivery};
use crate::plugins::{CallError, Link};
use crate::sessions;
use vestibule_plugin_api::{AGENT, Action, Agent, PluginError};

/// Asks the module that takes the action.
///
/// # Errors
/// The module did not answer, or with an effect that it may not have.
pub async fn ask(
    context: &Context,
    link: &Link,
    delivery: &Delivery,
) -> std::result::Result<Answer, CallError> {
    let wanted = delivery.clone();
    let facts = context.central.read(move |db| facts(db, &wanted)).await;
    let facts = facts.map_err(|error: Error| CallError::Plugin(PluginError::retry(error.to_string())))?;
    let facts = facts.ok_or_else(|| CallError::Plugin(PluginError::refused("its session is gone")))?;
    let hops = facts.hops;
    let granted = context.config.plugin(&link.manifest.name).agents;
    let effects = effects::read(EffectsHook::Action(Some(&granted)), link.action(facts).await?);
    let effects = effects.and_then(|effects| tick::can_be_due(&link.manifest, effects));
    let effects = effects.map_err(|fault| note::wrong_answer(link, "action", &fault))?;
    Ok(Answer { module: link.manifest.name.clone(), effects, hops })
}

fn facts(db: &ReadTxn, delivery: &Delivery) -> Result<Option<Action>> {
    let Some(session) = sessions::by_id(db, &delivery.session_id)? else { return Ok(None) };
    let Some(agent) = agents::by_id(db, &session.agent_group_id)? else { return Ok(None) };
    Ok(Some(Action {
        id: delivery.message_out_id.clone(),
        name: delivery.address.platform_id.0.clone(),
        agent: Agent { id: agent.id.to_string(), name: agent.name },
        hops: ledger::hops(db, &session.id)?,
        session: session.id.to_string(),
        content: serde_json::from_str(&delivery.content).unwrap_or_default(),
        taken_at: delivery.taken_at,
    }))
}

/// Performs an answer and settles the delivery. The agent waits for an answer, so a note wakes it. When one of the
/// effects cannot be performed, none is, and the agent is told.
///
/// # Errors
/// SQLite fails.
pub fn perform(
    db: &WriteTxn,
    delivery: &Delivery,
    answer: &Answer,
    session_bytes_max: u64,
    now: Timestamp,
) -> Result<Performed> {
    let Some(session) = sessions::by_id(db, &delivery.session_id)? else { return Ok(Performed::default()) };
    let asked_at = ledger::asked_at(db, &session.id, &delivery.message_out_id)?;
    let at = asked_at.as_ref().filter(|at| at.channel_type.as_str() != AGENT);
    let about = About { module: &answer.module, session: Some(&session), at };
    let mut performed = match performed::perform(db, about, &answer.effects, now)? {
        Ok(performed) => performed,
        Err(why) => {
            give_up(db, delivery, &note::not_possible(&answer.module, &why), now)?;
            return Ok(Performed::default());
        }
    };
    for words in &answer.effects.notes {
        let mut note = note::to_agent(db, &session, words, session_bytes_max, now)?;
        (note.trigger, note.hops) = (true, answer.hops.saturating_add(1));
        ledger::accept(db, &session.id, &note, now)?;
    }
    match answer.effects.refusal.as_deref() {
        None => ledger::settle(db, delivery, Ok(None), now)?,
        Some(why) => {
            tracing::warn!(session = session.id.as_str(), %why, "an action was refused");
            // A module that refuses may say more in a note of its own.
            if answer.effects.notes.is_empty() {
                give_up(db, delivery, why, now)?;
            } else {
                ledger::settle(db, delivery, Err(why), now)?;
            }
        }
    }
    if !answer.effects.notes.is_empty() {
        performed.sessions.push(session.id);
    }
    Ok(performed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use vestibule_plugin_api::Effect;

    #[test]
    fn an_action_is_settled_in_the_commit_of_its_notes() {
        let note = || Effect::Note { text: "rolled a six".into() };
        let refuse = || Effect::Refuse { reason: "no dice".into() };
        for (effects, state, why, notes) in [
            (vec![note(), note()], "delivered", None, 2),
            (vec![refuse(), note()], "failed", Some("no dice"), 1),
            (vec![refuse()], "failed", Some("no dice"), 0),
            (vec![], "delivered", None, 0),
        ] {
            let db = crate::db::in_memory();
            db.execute_batch(
                "INSERT INTO agent_groups (id, name, folder, created_at) VALUES ('ag', 'ann', 'a', 0); \
                 INSERT INTO sessions (id, agent_group_id, created_at, last_active, hops) VALUES ('s', 'ag', 0, 0, 2); \
                 INSERT INTO deliveries (session_id, message_out_id, seq, kind, content, state, taken_at) \
                 VALUES ('s', 'o', 1, 'system', '{}', 'sending', 0)",
            )
            .expect("it fills");
            let delivery = Delivery {
                session_id: "s".into(),
                message_out_id: "o".into(),
                in_reply_to: None,
                address: crate::delivery::decide::agent_address(&"roll".into()),
                content: r#"{"action":"roll","sides":6}"#.into(),
                attempts: 1,
                taken_at: Timestamp(5),
                due_at: Timestamp(5),
                seq: 1,
                look_up: false,
            };
            let asked = facts(&db, &delivery).expect("it is read").expect("its session is there");
            assert_eq!((asked.name.as_str(), asked.agent.name.as_str(), asked.hops), ("roll", "ann", 2));
            assert_eq!(asked.content["sides"], 6);
            let effects = effects::read(EffectsHook::Action(None), effects).expect("a good answer");
            let answer = Answer { module: "m".into(), effects, hops: asked.hops };
            let performed = perform(&db, &delivery, &answer, 0, Timestamp(6)).expect("it is performed");
            assert_eq!(performed.sessions, vec!["s"; usize::from(notes > 0)]);
            let story = "SELECT state, last_error FROM deliveries";
            let story: (String, Option<String>) =
                db.query_row(story, [], |r| Ok((r.get(0)?, r.get(1)?))).expect("a row");
            assert_eq!(story, (state.to_owned(), why.map(str::to_owned)));
            let wake = "SELECT COUNT(*) FROM messages_in WHERE \"trigger\" AND content LIKE '%rolled a six%'";
            assert_eq!(db.query_row(wake, [], |r| r.get::<_, i64>(0)).expect("a row"), notes);
            let hops = if notes > 0 { 3 } else { 2 };
            assert_eq!(ledger::hops(&db, &"s".into()).expect("it is counted"), hops);
        }
    }
}
