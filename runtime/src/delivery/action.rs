//! What an agent asks for that is no message: the module that lists the action is asked outside every
//! transaction, and what it answers is performed in the one that settles the delivery.

use super::lane::give_up;
use super::note;
use crate::agents;
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::house::House;
use crate::ledger::{self, Delivery};
use crate::plugins::{CallError, Link, bounded};
use crate::sessions;
use rusqlite::Connection;
use vestibule_plugin_api::{Action, Agent, Effect, PluginError};

/// What will be done about one action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    refused: Option<String>,
    notes: Vec<String>,
    hops: u32,
}

/// Asks the module.
///
/// # Errors
/// It did not answer, or with what it may not.
pub async fn ask(house: &House, link: &Link, delivery: &Delivery) -> std::result::Result<Plan, CallError> {
    let wanted = delivery.clone();
    let facts = house.central.read(move |db| facts(db, &wanted)).await;
    let facts = facts.map_err(|error: Error| CallError::Plugin(PluginError::retry(error.to_string())))?;
    let facts = facts.ok_or_else(|| CallError::Plugin(PluginError::refused("its session is gone")))?;
    let hops = facts.hops;
    plan(link.action(facts).await?, hops).map_err(|why| note::wrong_answer(link, "action", &why))
}

fn facts(db: &Connection, delivery: &Delivery) -> Result<Option<Action>> {
    let Some(session) = sessions::by_id(db, &delivery.session_id)? else { return Ok(None) };
    let Some(agent) = agents::by_id(db, &session.agent_group_id)? else { return Ok(None) };
    Ok(Some(Action {
        id: delivery.message_out_id.clone(),
        name: delivery.address.platform_id.0.clone(),
        agent: Agent { id: agent.id, name: agent.name },
        hops: ledger::hops(db, &session.id)?,
        session: session.id,
        content: serde_json::from_str(&delivery.content).unwrap_or_default(),
        taken_at: delivery.taken_at,
    }))
}

/// Which effects a module may answer `action` with: notes, and one `refuse`.
fn plan(effects: Vec<Effect>, hops: u32) -> std::result::Result<Plan, String> {
    note::not_too_many(&effects)?;
    let (mut refused, mut notes) = (None, Vec::new());
    for effect in effects {
        match effect {
            Effect::Note { text } => notes.push(note::checked(text)?),
            Effect::Refuse { reason } if refused.is_none() => refused = Some(bounded(&reason)),
            Effect::Refuse { .. } => return Err("more than one `refuse`".to_owned()),
            _ => return Err("an effect that is neither `note` nor `refuse`".to_owned()),
        }
    }
    Ok(Plan { refused, notes, hops })
}

/// Why the runtime would refuse such an answer to `action`, if it would.
pub fn fault(effects: Vec<Effect>) -> Option<String> {
    plan(effects, 0).err()
}

/// Performs a plan and settles the delivery: answers the sessions with something new. The agent waits for
/// an answer, so a note wakes it.
///
/// # Errors
/// SQLite fails.
pub fn perform(
    db: &Connection,
    delivery: &Delivery,
    plan: &Plan,
    session_bytes_max: u64,
    now: Timestamp,
) -> Result<Vec<String>> {
    let Some(session) = sessions::by_id(db, &delivery.session_id)? else { return Ok(Vec::new()) };
    for words in &plan.notes {
        let mut note = note::to_agent(db, &session, words, session_bytes_max, now)?;
        (note.trigger, note.hops) = (true, plan.hops.saturating_add(1));
        ledger::accept(db, &session.id, &note, now)?;
    }
    match plan.refused.as_deref() {
        None => ledger::settle(db, delivery, Ok(None), now)?,
        Some(why) => {
            tracing::warn!(session = session.id, %why, "an action was refused");
            // A module that refuses may say more in a note of its own.
            if plan.notes.is_empty() {
                give_up(db, delivery, why, now)?;
            } else {
                ledger::settle(db, delivery, Err(why), now)?;
            }
        }
    }
    Ok(if plan.notes.is_empty() { Vec::new() } else { vec![session.id] })
}

#[cfg(test)]
mod tests {
    use super::*;
    use vestibule_plugin_api::EFFECTS_MAX;

    #[test]
    fn which_effects_action_may_have() {
        let note = || Effect::Note { text: "n".into() };
        let refuse = || Effect::Refuse { reason: "no".into() };
        let cases = [
            (vec![], "done notes=0"),
            (vec![note(), note()], "done notes=2"),
            (vec![note(), refuse()], "refused no notes=1"),
            (vec![refuse(), refuse()], "wrong: more than one"),
            (vec![Effect::Post { session: None, text: "x".into() }], "wrong: an effect"),
            (vec![Effect::Tell { agent: "a".into(), text: "x".into() }], "wrong: an effect"),
            (vec![Effect::Unknown], "wrong: an effect"),
            (vec![note(); EFFECTS_MAX + 1], "wrong: it asks for 9"),
        ];
        for (effects, want) in cases {
            let wrong = want.strip_prefix("wrong: ");
            let fault = fault(effects.clone());
            assert_eq!(fault.is_some(), wrong.is_some(), "{effects:?}: {fault:?}");
            assert!(fault.is_none_or(|why| wrong.is_some_and(|wrong| why.starts_with(wrong))), "{effects:?}");
            let told = match plan(effects.clone(), 0) {
                Ok(Plan { refused: None, notes, .. }) => format!("done notes={}", notes.len()),
                Ok(Plan { refused: Some(why), notes, .. }) => format!("refused {why} notes={}", notes.len()),
                Err(why) => format!("wrong: {why}"),
            };
            assert!(told.starts_with(want), "{effects:?}: {told}");
        }
    }

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
                address: crate::delivery::decide::agent_address("roll"),
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
            let plan = plan(effects, asked.hops).expect("a good answer");
            let touched = perform(&db, &delivery, &plan, 0, Timestamp(6)).expect("it is performed");
            assert_eq!(touched, vec!["s"; usize::from(notes > 0)]);
            let story = "SELECT state, last_error FROM deliveries";
            let story: (String, Option<String>) =
                db.query_row(story, [], |r| Ok((r.get(0)?, r.get(1)?))).expect("a row");
            assert_eq!(story, (state.to_owned(), why.map(str::to_owned)));
            let wake = "SELECT COUNT(*) FROM messages_in WHERE \"trigger\" AND content LIKE '%rolled a six%'";
            assert_eq!(db.query_row(wake, [], |r| r.get::<_, i64>(0)).expect("a row"), notes);
            let hops = if notes > 0 { 3 } else { 2 };
            assert_eq!(ledger::hops(&db, "s").expect("it is counted"), hops);
        }
    }
}
