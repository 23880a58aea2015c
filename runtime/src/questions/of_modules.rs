//! Questions that modules ask in a session's place, and what came of them.
//!
//! Invariants:
//! - What came of one is told to its module until the module has heard it, and to no agent.
//! - One that is asked anew is decided anew, under another id.

use crate::clock::Timestamp;
use crate::db::{ReadTxn, WriteTxn, address_at};
use crate::error::Result;
use crate::id::SessionId;
use crate::ledger::{self, State};
use rusqlite::{OptionalExtension, Row, params};
use serde_json::Value;
use vestibule_plugin_api::{Address, Decider, Decision};

/// What is on record with a module's question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForModule {
    /// The module.
    pub module: String,
    /// Its name of the question.
    pub key: String,
    /// What it gave along, as JSON.
    pub payload: String,
    /// Until when it can be answered, if the module says so.
    pub expires_at: Option<Timestamp>,
}

/// What came of a module's question, for the module to hear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The question's token: here only, and never shown.
    pub token: String,
    /// The same whenever the module is told.
    pub id: String,
    /// The module's name of it.
    pub key: String,
    /// The session in whose place it was asked.
    pub session_id: SessionId,
    /// Where.
    pub address: Address,
    /// What the module gave along.
    pub payload: Value,
    /// When it was asked.
    pub asked_at: Timestamp,
    /// What came of it.
    pub verdict: Decision,
    /// Who decided.
    pub by: Option<Decider>,
    /// When.
    pub decided_at: Timestamp,
}

/// Makes a question that is on record a module's.
pub fn of_module(db: &WriteTxn, session_id: &SessionId, message_out_id: &str, new: &ForModule) -> Result<()> {
    db.prepare_cached(
        "UPDATE questions SET module = ?3, module_key = ?4, payload = ?5, expires_at = COALESCE(?6, expires_at) \
         WHERE session_id = ?1 AND message_out_id = ?2",
    )?
    .execute(params![
        session_id,
        message_out_id,
        new.module,
        new.key,
        new.payload,
        new.expires_at.map(|at| at.0)
    ])?;
    Ok(())
}

/// What a question is to its module, if it is one of a module's.
pub(super) fn module_of(
    db: &ReadTxn,
    session_id: &SessionId,
    message_out_id: &str,
) -> Result<Option<ForModule>> {
    let mut statement = db.prepare_cached(
        "SELECT module, module_key, payload FROM questions WHERE session_id = ?1 AND message_out_id = ?2 \
         AND module IS NOT NULL",
    )?;
    let found = statement.query_row(params![session_id, message_out_id], |r| {
        Ok(ForModule { module: r.get(0)?, key: r.get(1)?, payload: r.get(2)?, expires_at: None })
    });
    Ok(found.optional()?)
}

/// What of a module's question is read to tell what came of it.
struct Untold {
    outcome: Outcome,
    message_out_id: String,
    expires_at: Timestamp,
    /// Value and label of the chosen option.
    chosen: Option<(String, String)>,
}

fn of(r: &Row<'_>) -> rusqlite::Result<Untold> {
    let (message_out_id, asked_at): (String, i64) = (r.get(2)?, r.get(9)?);
    let address = address_at(r, 3)?;
    let payload: String = r.get(8)?;
    let answered_at = r.get::<_, Option<i64>>(11)?.map(Timestamp);
    let by_operator: bool = r.get(16)?;
    let place = |word: &str| (!by_operator).then(|| word.to_owned());
    let by = r.get::<_, Option<String>>(14)?.map(|handle| Decider {
        channel_type: place(address.channel_type.as_str()),
        account: place(address.account.as_str()),
        handle,
        name: r.get(15).ok().flatten(),
    });
    let options: Vec<super::Choosable> = serde_json::from_str(&r.get::<_, String>(13)?).unwrap_or_default();
    let number = r.get::<_, Option<u32>>(12)?.map(|number| number as usize);
    let chosen = number.and_then(|number| options.into_iter().nth(number));
    Ok(Untold {
        outcome: Outcome {
            token: r.get(0)?,
            id: format!("{message_out_id}@{asked_at}"),
            key: r.get(7)?,
            session_id: r.get(1)?,
            address,
            payload: serde_json::from_str(&payload).unwrap_or_default(),
            asked_at: Timestamp(asked_at),
            verdict: Decision::Expired,
            by,
            decided_at: answered_at.unwrap_or_default(),
        },
        message_out_id,
        expires_at: Timestamp(r.get(10)?),
        chosen: chosen.map(|option| (option.value, option.label)),
    })
}

/// The first of a module's questions that is decided, and of which the module has not heard.
///
/// # Errors
/// SQLite fails.
pub fn next_outcome(db: &ReadTxn, module: &str, now: Timestamp) -> Result<Option<Outcome>> {
    let mut statement = db.prepare_cached(
        "SELECT token, session_id, message_out_id, channel_type, account, platform_id, thread_id, module_key, payload, \
         asked_at, expires_at, answered_at, answer, options, answered_by, answered_name, by_operator \
         FROM questions INDEXED BY questions_untold WHERE module = ?1 AND module IS NOT NULL AND told_at IS NULL \
         ORDER BY asked_at",
    )?;
    for untold in statement.query_map([module], of)? {
        let Untold { outcome, message_out_id, expires_at, chosen } = untold?;
        let state = ledger::state_of(db, &outcome.session_id, &message_out_id)?.map(|(state, _)| state);
        if let Some((verdict, at)) = verdict(chosen, outcome.decided_at, state, expires_at, now) {
            return Ok(Some(Outcome { verdict, decided_at: at, ..outcome }));
        }
    }
    Ok(None)
}

/// What came of a question, and when; `None` while it is open. Pure.
fn verdict(
    chosen: Option<(String, String)>,
    answered_at: Timestamp,
    delivery: Option<State>,
    expires_at: Timestamp,
    now: Timestamp,
) -> Option<(Decision, Timestamp)> {
    if let Some((value, label)) = chosen {
        return Some((Decision::Chosen { value, label }, answered_at));
    }
    let failed = |reason: &str| Some((Decision::Failed { reason: reason.to_owned() }, now));
    match delivery {
        Some(State::Failed) => {
            failed("the question could not be delivered; `vestibule delivery list` says why")
        }
        Some(State::Dropped) => failed("the operator dropped the question"),
        _ if expires_at <= now => Some((Decision::Expired, expires_at)),
        _ => None,
    }
}

/// Notes that a module has heard what came of a question.
///
/// # Errors
/// SQLite fails.
pub fn was_told(db: &WriteTxn, outcome: &Outcome, now: Timestamp) -> Result<()> {
    db.prepare_cached("UPDATE questions SET told_at = ?2 WHERE token = ?1")?
        .execute(params![outcome.token, now.0])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_of_a_question() {
        let yes = || Some(("y".to_owned(), "Yes".to_owned()));
        for (chosen, delivery, expires_at, want) in [
            (None, Some(State::Pending), 11, None),
            (None, Some(State::Delivered), 11, None),
            (None, Some(State::Parked), 11, None),
            (None, None, 11, None),
            (None, Some(State::Delivered), 10, Some("Expired at 10")),
            (None, Some(State::Parked), 9, Some("Expired at 9")),
            (None, Some(State::Failed), 11, Some("Failed")),
            (None, Some(State::Dropped), 9, Some("Failed")),
            (yes(), Some(State::Delivered), 9, Some("Chosen at 5")),
            (yes(), Some(State::Failed), 11, Some("Chosen at 5")),
        ] {
            let said = format!("{chosen:?} {delivery:?} {expires_at}");
            let told = verdict(chosen, Timestamp(5), delivery, Timestamp(expires_at), Timestamp(10));
            let told = told.map(|(verdict, at)| format!("{verdict:?} at {}", at.0));
            assert_eq!(told.is_some(), want.is_some(), "{said}: {told:?}");
            let words = want.unwrap_or_default();
            let (kind, at) = words.split_once(" at ").unwrap_or((words, ""));
            let told = told.unwrap_or_default();
            assert!(told.starts_with(kind) && told.ends_with(at), "{said}: {told}");
        }
    }
}
