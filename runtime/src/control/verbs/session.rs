//! `session`: mailboxes.

use super::{Outcome, answer, args};
use crate::db::{ReadTxn, WriteTxn};
use crate::error::{Error, Result};
use crate::id::SessionId;
use crate::{agents, delivery, ledger, messaging_groups, sessions};
use serde::Deserialize;
use serde_json::{Value, json};

const SHOWN: i64 = 1000;

/// Shows the sessions, the most recently active first.
pub fn list(db: &ReadTxn, _: Value) -> Result<Outcome> {
    let mut rows = Vec::new();
    for session in sessions::recent(db, SHOWN)? {
        let agent = agents::by_id(db, &session.agent_group_id)?.map(|agent| agent.name);
        let chat = match &session.messaging_group_id {
            Some(id) => messaging_groups::by_id(db, id)?,
            None => None,
        };
        let (state, reason) = session.condition();
        rows.push(json!({
            "id": session.id,
            "agent": agent,
            "channel": chat.as_ref().map(|chat| chat.channel_type.clone()),
            "chat": chat.map(|chat| chat.platform_id),
            "thread": session.thread_id,
            "state": state,
            "reason": reason,
            "last_active": session.last_active,
        }));
    }
    answer(&rows, vec![])
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Release {
    id: SessionId,
    #[serde(default)]
    new_out: bool,
    #[serde(default)]
    give_up: bool,
}

/// Lets a quarantined session run again, on request with a new `out/`, or without the messages that were under way.
pub fn release(db: &WriteTxn, value: Value) -> Result<Outcome> {
    let named: Release = args(value)?;
    let session = sessions::named(db, &named.id)?;
    if sessions::is_being_adopted(db, &session.id)? {
        return Err(Error::refused("it is being taken over; `vestibule session adopt` completes that"));
    }
    if named.new_out {
        if session.quarantined.is_none() {
            return Err(Error::refused("it is not in quarantine: its out/ can be read, and stays"));
        }
        ledger::want_new_out(db, &session.id)?;
    }
    // A run that is under way may still answer.
    if named.give_up && session.quarantined.is_none() {
        return Err(Error::refused(
            "it is not in quarantine: its messages are tried, and given up by themselves",
        ));
    }
    if session.quarantined.is_none() && session.failing.is_none() {
        return Err(Error::refused(
            "nothing in it is held back: it is not in quarantine, and none of its runs fails",
        ));
    }
    let died = match named.give_up {
        true => delivery::give_up(db, &session.id)?,
        false => delivery::Died::default(),
    };
    sessions::set_quarantined(db, &session.id, None)?;
    ledger::try_at_once(db, &session.id)?;
    let told = json!({ "id": session.id, "given_up": died.given_up });
    let touched = died.woken.into_iter().chain([session.id]).collect();
    Ok(Outcome { deliver_to: died.told_at, ..answer(&told, touched)? })
}
