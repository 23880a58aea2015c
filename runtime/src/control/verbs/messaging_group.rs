//! `messaging-group`: chats.

use super::{Outcome, answer, args, touch_agent};
use crate::error::Result;
use crate::{clock, destinations, messaging_groups, wirings};
use rusqlite::Connection;
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    channel: String,
    account: String,
    chat: String,
    name: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Update {
    id: String,
    name: Option<String>,
}

/// Shows all.
pub fn list(db: &Connection, _: Value) -> Result<Outcome> {
    answer(&messaging_groups::list(db)?, vec![])
}

/// Adds one.
pub fn create(db: &Connection, value: Value) -> Result<Outcome> {
    let args: Create = args(value)?;
    let name = args.name.as_deref();
    let group =
        messaging_groups::find_or_create(db, &args.channel, &args.account, &args.chat, name, clock::now())?;
    answer(&group, vec![])
}

/// Renames one.
pub fn update(db: &Connection, value: Value) -> Result<Outcome> {
    let args: Update = args(value)?;
    let group = messaging_groups::named(db, &args.id)?;
    messaging_groups::rename(db, &group.id, args.name.as_deref())?;
    let touched = agents_that_see(db, &group.id)?;
    answer(&messaging_groups::named(db, &group.id)?, touched)
}

/// Removes one with its wirings and the destinations that lead there.
pub fn delete(db: &Connection, value: Value) -> Result<Outcome> {
    let args: Update = args(value)?;
    let group = messaging_groups::named(db, &args.id)?;
    let mut touched = Vec::new();
    for row in destinations::list(db)?.iter().filter(|row| row.target_id == group.id) {
        destinations::delete(db, &row.agent_group_id, &row.local_name)?;
        touched.extend(touch_agent(db, &row.agent_group_id)?);
    }
    messaging_groups::delete(db, &group.id)?;
    answer(&group, touched)
}

fn agents_that_see(db: &Connection, messaging_group_id: &str) -> Result<Vec<String>> {
    let by_name = destinations::list(db)?.into_iter().filter(|row| row.target_id == messaging_group_id);
    let wired = wirings::of_chat(db, messaging_group_id)?.into_iter().map(|wiring| wiring.agent_group_id);
    let mut agents: Vec<String> = by_name.map(|row| row.agent_group_id).chain(wired).collect();
    agents.sort();
    agents.dedup();
    let mut touched = Vec::new();
    for agent in agents {
        touched.extend(touch_agent(db, &agent)?);
    }
    Ok(touched)
}
