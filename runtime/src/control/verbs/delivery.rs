//! `delivery`: replies on their way, and those that were given up.

use super::{Outcome, answer, args};
use crate::clock::{self, Timestamp, format_time};
use crate::db::{ReadTxn, WriteTxn};
use crate::error::{Error, Result};
use crate::id::SessionId;
use crate::ledger::{self, Direction, Record, State};
use crate::{agents, delivery, sessions};
use serde::Deserialize;
use serde_json::{Value, json};

/// How many deliveries are shown, and how many one verb replays or drops.
const MOST: usize = 1000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    state: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Chosen {
    #[serde(default)]
    ids: Vec<String>,
    state: Option<String>,
    session: Option<SessionId>,
}

/// Shows the replies that were not delivered, and those that may be there twice, the newest first.
pub fn list(db: &ReadTxn, value: Value) -> Result<Outcome> {
    let args: List = args(value)?;
    let states = match args.state.as_deref() {
        Some(word) => vec![state(word, &State::ALL)?],
        None => State::ALL.into_iter().filter(|state| *state != State::Dropped).collect(),
    };
    let records = ledger::not_simply_delivered(db, &states, MOST)?;
    let rows = records.iter().map(|record| row(db, record)).collect::<Result<Vec<_>>>()?;
    answer(&rows, vec![])
}

/// Shows one delivery, with its text.
pub fn show(db: &ReadTxn, value: Value) -> Result<Outcome> {
    let chosen: Chosen = args(value)?;
    let [id] = &chosen.ids[..] else { return Err(Error::refused("name one delivery")) };
    let record = one(db, id, chosen.session.as_ref())?;
    let mut shown = row(db, &record)?;
    let files = ledger::files_of(db, &record.session_id, Direction::Out, &record.reply.id)?;
    let more = json!({
        "number": record.reply.seq,
        "kind": record.reply.kind,
        "in_reply_to": record.reply.in_reply_to,
        "platform_message_id": record.platform_message_id,
        "sent_parts": record.sent_parts,
        "fate": record.fate,
        "settled_at": record.settled_at.map(format_time),
        "content_bytes": record.content_bytes,
        "content": record.has_content().then_some(&record.reply.content),
        "files": files.into_iter().map(|file| file.name).collect::<Vec<_>>(),
    });
    if let (Some(shown), Value::Object(more)) = (shown.as_object_mut(), more) {
        shown.extend(more);
    }
    answer(&shown, vec![])
}

/// Sends the chosen deliveries anew.
pub fn replay(db: &WriteTxn, value: Value) -> Result<Outcome> {
    let now = clock::now();
    each(db, args(value)?, |record, outcome| {
        outcome.deliver_to.push(delivery::replay(db, record, now)?);
        Ok(())
    })
}

/// Drops the chosen deliveries: they are never sent, and those that wait behind one go on.
pub fn drop_them(db: &WriteTxn, value: Value) -> Result<Outcome> {
    let now = clock::now();
    each(db, args(value)?, |record, outcome| {
        outcome.unnamed.extend(delivery::drop_one(db, record, now)?);
        outcome.deliver_to.extend(record.address());
        Ok(())
    })
}

/// Does it to each chosen delivery: to all of those that were named, or to none; of those in a state, to the ones
/// with which it can be done.
fn each(
    db: &ReadTxn,
    chosen: Chosen,
    mut work: impl FnMut(&Record, &mut Outcome) -> Result<()>,
) -> Result<Outcome> {
    let (mut outcome, mut done, mut refused) = (Outcome::default(), 0, Vec::new());
    for record in records(db, &chosen)? {
        match work(&record, &mut outcome) {
            Ok(()) => done += 1,
            Err(Error::Refused(why)) if chosen.state.is_some() => {
                refused.push(json!({ "id": record.reply.id, "reason": why }))
            }
            Err(error) => return Err(error),
        }
        outcome.touched.push(record.session_id);
    }
    outcome.touched.sort_unstable();
    outcome.touched.dedup();
    outcome.value = json!({ "count": done, "refused": refused });
    Ok(outcome)
}

fn records(db: &ReadTxn, chosen: &Chosen) -> Result<Vec<Record>> {
    let Some(word) = &chosen.state else {
        if chosen.ids.is_empty() {
            return Err(Error::refused("name a delivery, or a state; `vestibule delivery list` shows them"));
        }
        return chosen.ids.iter().map(|id| one(db, id, chosen.session.as_ref())).collect();
    };
    let chosen_by = State::ALL.into_iter().filter(|state| *state != State::Delivered).collect::<Vec<_>>();
    let mut records = ledger::not_simply_delivered(db, &[state(word, &chosen_by)?], MOST)?;
    records.retain(|record| chosen.session.as_ref().is_none_or(|session| *session == record.session_id));
    // In the order in which they were written.
    records.reverse();
    Ok(records)
}

fn state(word: &str, known: &[State]) -> Result<State> {
    State::named(word).filter(|state| known.contains(state)).ok_or_else(|| {
        let known = known.iter().map(|state| state.as_str()).collect::<Vec<_>>().join(", ");
        Error::Refused(format!("`{}` is no state that is looked for; they are {known}", word.escape_debug()))
    })
}

fn one(db: &ReadTxn, id: &str, session: Option<&SessionId>) -> Result<Record> {
    let mut found = ledger::with_id(db, id)?;
    found.retain(|record| session.is_none_or(|session| *session == record.session_id));
    if found.len() > 1 {
        let sessions = found.iter().map(|record| record.session_id.as_str()).collect::<Vec<_>>().join(", ");
        return Err(Error::Refused(format!(
            "several sessions have a delivery `{}`; name one of them with --session: {sessions}",
            id.escape_debug()
        )));
    }
    found.pop().ok_or_else(|| {
        Error::Refused(format!(
            "there is no delivery `{}`; `vestibule delivery list` shows those that were not delivered",
            id.escape_debug()
        ))
    })
}

fn row(db: &ReadTxn, record: &Record) -> Result<Value> {
    let session = sessions::by_id(db, &record.session_id)?;
    let agent = session.map(|session| agents::by_id(db, &session.agent_group_id)).transpose()?.flatten();
    let next = match record.state {
        State::Pending if record.next_attempt_at > Timestamp(0) => Some(record.next_attempt_at),
        State::Deferred => Some(record.due_at),
        _ => None,
    };
    Ok(json!({
        "id": record.reply.id,
        "agent": agent.map(|agent| agent.name),
        "session": record.session_id,
        "channel": record.reply.channel_type,
        "account": record.reply.account,
        "chat": record.reply.platform_id,
        "thread": record.reply.thread_id,
        "state": record.state.as_str(),
        "possible_duplicate": record.possible_duplicate,
        "attempts": record.attempts,
        "next_attempt_at": next.map(format_time),
        "taken_at": format_time(record.taken_at),
        "reason": record.last_error,
    }))
}
