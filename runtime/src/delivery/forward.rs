//! Messages between agents. Facts are read and the module is asked outside every transaction; its answer is checked,
//! and performed in the one that settles the delivery.

use super::decide::text_of;
use super::effects::{self, Answer, EffectsHook, Post};
use super::lane::give_up;
use super::note;
use crate::agents;
use crate::clock::Timestamp;
use crate::context::Context;
use crate::db::{ReadTxn, WriteTxn};
use crate::destinations;
use crate::error::{Error, Result};
use crate::id::{AgentGroupId, SessionId};
use crate::ledger::{self, Delivery, Direction, NewAttachment, NewMessage, Written};
use crate::plugins::{CallError, Link};
use crate::sessions;
use serde_json::json;
use vestibule_plugin_api::{AGENT, Agent, Forwarded, PluginError, SessionRef};

/// Asks the module about a message.
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
    let facts = facts.map_err(|why| CallError::Plugin(PluginError::refused(why)))?;
    let hops = facts.hops;
    let effects = effects::read(EffectsHook::Forward, link.forward(facts).await?);
    let effects = effects.map_err(|fault| note::wrong_answer(link, "forward", &fault))?;
    Ok(Answer { module: link.manifest.name.clone(), effects, hops })
}

fn facts(db: &ReadTxn, delivery: &Delivery) -> Result<std::result::Result<Forwarded, String>> {
    let to = addressee(delivery);
    let Some(source) = sessions::by_id(db, &delivery.session_id)? else {
        return Ok(Err("its session is gone".into()));
    };
    let (Some(from), Some(to)) = (agents::by_id(db, &source.agent_group_id)?, agents::by_id(db, &to)?) else {
        return Ok(Err("the agent it is for is gone".into()));
    };
    let text = match text_of(&delivery.content) {
        Ok(text) => text,
        Err(why) => return Ok(Err(why)),
    };
    let (answers, heard_last) = ledger::sources(db, delivery)?;
    let reference = |id: Option<SessionId>| -> Result<Option<SessionRef>> {
        let Some(id) = id else { return Ok(None) };
        let usable = usable(db, &id, &to.id)?;
        Ok(Some(SessionRef { id: id.to_string(), usable }))
    };
    let files = ledger::files_of(db, &delivery.session_id, Direction::Out, &delivery.message_out_id)?;
    Ok(Ok(Forwarded {
        id: delivery.message_out_id.clone(),
        from: Agent { id: from.id.to_string(), name: from.name },
        from_session: source.id.to_string(),
        text,
        files: files.into_iter().map(|file| file.name).collect(),
        answers: reference(answers)?,
        heard_last: reference(heard_last)?,
        newest: sessions::usable_for_agents(db, &to.id)?.map(|id| id.to_string()),
        hops: ledger::hops(db, &delivery.session_id)?,
        taken_at: delivery.taken_at,
        to: Agent { id: to.id.to_string(), name: to.name },
    }))
}

/// The agent that a message between agents is for.
fn addressee(delivery: &Delivery) -> AgentGroupId {
    AgentGroupId::new(delivery.address.platform_id.as_str())
}

fn usable(db: &ReadTxn, session_id: &SessionId, agent_group_id: &AgentGroupId) -> Result<bool> {
    let session = sessions::by_id(db, session_id)?;
    Ok(session.is_some_and(|s| s.agent_group_id == *agent_group_id && s.quarantined.is_none()))
}

/// Performs an answer and settles the delivery; returns the sessions with something new. The permission is looked at
/// once more, because it may have been withdrawn meanwhile.
///
/// # Errors
/// SQLite fails.
pub fn perform(
    db: &WriteTxn,
    delivery: &Delivery,
    answer: &Answer,
    session_bytes_max: u64,
    now: Timestamp,
) -> Result<Vec<SessionId>> {
    let mut touched = Vec::new();
    let Some(source) = sessions::by_id(db, &delivery.session_id)? else { return Ok(touched) };
    let Some(from) = agents::by_id(db, &source.agent_group_id)? else { return Ok(touched) };
    let to = addressee(delivery);
    let (refusal, notes) = (answer.effects.refusal.as_deref().unwrap_or_default(), &answer.effects.notes);
    let post = match &answer.effects.post {
        None => Err(refusal),
        Some(_) if agents::by_id(db, &to)?.is_none() => Err("the agent it is for is gone"),
        Some(_) if !destinations::allows_agent(db, &from.id, &to)? => {
            Err("it is no destination of this agent any more")
        }
        Some(Post { session: Some(id), .. }) if !usable(db, id, &to)? => {
            Err("the session it was meant for is not one of that agent's, or is in quarantine")
        }
        Some(post) => Ok(post),
    };
    match post {
        Ok(post) => {
            let target = match &post.session {
                Some(id) => id.clone(),
                None => sessions::open_for_agent(db, &to, now)?,
            };
            let id = crate::id::mint("a2a");
            let files = ledger::files_of(db, &source.id, Direction::Out, &delivery.message_out_id)?;
            let message = NewMessage {
                written: Written::Inside { id: id.clone(), source_session_id: Some(source.id.clone()) },
                content: json!({ "text": post.text, "sender": from.name, "senderName": from.name,
                    "senderId": format!("{AGENT}:{}", from.id) }),
                attachments: files.into_iter().map(attachment).collect(),
                hops: answer.hops.saturating_add(1),
                ..inside(&to, &from.id, now, session_bytes_max)
            };
            ledger::accept(db, &target, &message, now)?;
            ledger::settle(db, delivery, Ok(Some(&id)), now)?;
            touched.push(target);
        }
        Err(why) => {
            tracing::warn!(session = source.id.as_str(), %why, "a message between agents was refused");
            // A module that refuses may say more in a note of its own.
            if notes.is_empty() {
                give_up(db, delivery, why, now)?;
                touched.push(source.id.clone());
            } else {
                ledger::settle(db, delivery, Err(why), now)?;
            }
        }
    }
    for words in notes {
        let note = NewMessage {
            written: Written::Inside { id: crate::id::mint("sys"), source_session_id: None },
            content: json!({ "text": words, "sender": "system", "senderId": "system" }),
            trigger: false,
            ..inside(&from.id, &from.id, now, session_bytes_max)
        };
        ledger::accept(db, &source.id, &note, now)?;
        touched.push(source.id.clone());
    }
    Ok(touched)
}

/// A row for an agent, written by an agent.
fn inside(
    reader: &AgentGroupId,
    writer: &AgentGroupId,
    now: Timestamp,
    session_bytes_max: u64,
) -> NewMessage {
    NewMessage {
        written: Written::Inside { id: String::new(), source_session_id: None },
        agent_group_id: reader.clone(),
        timestamp: now,
        trigger: true,
        address: super::decide::agent_address(writer),
        content: json!({}),
        attachments: Vec::new(),
        session_bytes_max,
        hops: 0,
    }
}

/// The same blob under the other agent's inbox: no byte is copied.
fn attachment(file: crate::attachments::StoredFile) -> NewAttachment {
    let entry = json!({ "name": file.name, "filename": file.name, "type": "file" });
    NewAttachment { entry, file: Some(file) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vestibule_plugin_api::Effect;

    /// Between the module's answer and its commit everything may change.
    #[test]
    fn what_was_withdrawn_meanwhile_is_not_performed() {
        let (fine, there) = ("delivered", Some("there"));
        for (meanwhile, session, want) in [
            ("", there, fine),
            ("", None, fine),
            ("DELETE FROM destinations", there, "it is no destination of this agent any more"),
            ("DELETE FROM destinations", None, "it is no destination of this agent any more"),
            ("UPDATE destinations SET agent_group_id = 'other'", there, "it is no destination of this agent"),
            ("UPDATE destinations SET target_id = 'other'", there, "it is no destination of this agent"),
            ("UPDATE destinations SET target_type = 'channel'", there, "it is no destination of this agent"),
            ("DELETE FROM agent_groups WHERE id = 'to'", there, "the agent it is for is gone"),
            (
                "UPDATE sessions SET quarantined = 'x' WHERE id = 'there'",
                there,
                "not one of that agent's, or is in",
            ),
            (
                "UPDATE sessions SET agent_group_id = 'other' WHERE id = 'there'",
                there,
                "not one of that agent's",
            ),
            ("DELETE FROM sessions WHERE id = 'there'", there, "not one of that agent's"),
            ("UPDATE sessions SET quarantined = 'x' WHERE id = 'there'", None, fine),
        ] {
            let db = crate::db::in_memory();
            db.execute_batch(
                "INSERT INTO agent_groups (id, name, folder, created_at) VALUES ('from', 'a', 'a', 0), ('to', 'b', 'b', 0), \
                 ('other', 'c', 'c', 0); \
                 INSERT INTO sessions (id, agent_group_id, created_at, last_active) \
                 VALUES ('here', 'from', 0, 0), ('there', 'to', 0, 0); \
                 INSERT INTO destinations (agent_group_id, local_name, target_type, target_id, created_at) \
                 VALUES ('from', 'b', 'agent', 'to', 0); \
                 INSERT INTO deliveries (session_id, message_out_id, seq, kind, content, state, taken_at) \
                 VALUES ('here', 'o', 1, 'chat', '{}', 'sending', 0)",
            )
            .expect("it fills");
            let delivery = Delivery {
                session_id: "here".into(),
                message_out_id: "o".into(),
                in_reply_to: None,
                address: super::super::decide::agent_address(&"to".into()),
                content: "{}".into(),
                attempts: 1,
                taken_at: Timestamp(0),
                due_at: Timestamp(0),
                seq: 1,
                look_up: false,
            };
            let post = Effect::Post { session: session.map(str::to_owned), text: "hi".into() };
            let effects = effects::read(EffectsHook::Forward, vec![post]).expect("a good answer");
            let answer = Answer { module: "m".into(), effects, hops: 0 };
            db.execute_batch(meanwhile).expect("it is SQL");
            let touched = perform(&db, &delivery, &answer, 0, Timestamp(1)).expect("it is performed");
            let story = "SELECT state, last_error FROM deliveries";
            let story: (String, Option<String>) =
                db.query_row(story, [], |r| Ok((r.get(0)?, r.get(1)?))).expect("a row");
            let count = |what: &str| {
                let sql = format!("SELECT COUNT(*) FROM messages_in WHERE {what}");
                db.query_row(&sql, [], |r| r.get::<_, i64>(0)).expect("a row")
            };
            let is_fine = want == fine;
            assert_eq!(count("id LIKE 'a2a-%'"), i64::from(is_fine), "{meanwhile} {session:?}");
            let told =
                count("session_id = 'here' AND content LIKE '%was not delivered%' AND NOT \"trigger\"");
            assert_eq!(told, i64::from(!is_fine), "{meanwhile} {session:?}: its writer is told");
            assert_eq!(touched.len(), 1, "{meanwhile} {session:?}");
            assert_eq!(story.0 == "delivered", is_fine, "{meanwhile} {session:?}: {story:?}");
            assert!(
                is_fine || story.1.as_ref().is_some_and(|why| why.contains(want)),
                "{meanwhile}: {story:?}"
            );
        }
    }
}
