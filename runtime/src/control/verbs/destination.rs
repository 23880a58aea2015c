//! `destination`: the names an agent may send to.

use super::{Outcome, answer, args};
use crate::db::{ReadTxn, WriteTxn};
use crate::error::{Error, Result};
use crate::{agents, clock, destinations, ledger, messaging_groups};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    agent: String,
    name: String,
    to: Option<String>,
    to_agent: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Update {
    agent: String,
    name: String,
    rename: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    agent: String,
    name: String,
}

/// Shows all destinations of all agents.
pub fn list(db: &ReadTxn, _: Value) -> Result<Outcome> {
    let mut rows = Vec::new();
    for row in destinations::list(db)? {
        let agent = agents::by_id(db, &row.agent_group_id)?.map(|agent| agent.name);
        let (chat, target) = match &row.target {
            destinations::Target::Chat(id) => (messaging_groups::by_id(db, id)?, None),
            destinations::Target::Agent(id) => (None, agents::by_id(db, id)?.map(|target| target.name)),
        };
        rows.push(json!({
            "agent": agent,
            "name": row.local_name,
            "to_agent": target,
            "channel": chat.as_ref().map(|chat| chat.channel_type.clone()),
            "account": chat.as_ref().map(|chat| chat.account.clone()),
            "chat": chat.map(|chat| chat.platform_id),
        }));
    }
    answer(&rows, vec![])
}

/// Grants a known chat, or another agent, under a name.
pub fn create(db: &WriteTxn, value: Value) -> Result<Outcome> {
    let args: Create = args(value)?;
    let agent = agents::named(db, &args.agent)?;
    let told = match (&args.to, &args.to_agent) {
        (Some(to), None) => {
            let chat = messaging_groups::named(db, to)?;
            destinations::create(db, &agent.id, &args.name, &chat.id, clock::now())?;
            json!({ "agent": agent.name, "name": args.name, "chat": chat.platform_id })
        }
        (None, Some(to)) => {
            let target = agents::named(db, to)?;
            destinations::create_to_agent(db, &agent.id, &args.name, &target.id, clock::now())?;
            json!({ "agent": agent.name, "name": args.name, "to_agent": target.name })
        }
        _ => return Err(Error::refused("name a chat with --to, or an agent with --to-agent")),
    };
    answer(&told, ledger::destinations_changed(db, &agent.id)?)
}

/// Gives a destination another name.
pub fn update(db: &WriteTxn, value: Value) -> Result<Outcome> {
    let args: Update = args(value)?;
    let agent = agents::named(db, &args.agent)?;
    destinations::rename(db, &agent.id, &args.name, &args.rename)?;
    answer(&json!({ "agent": agent.name, "name": args.rename }), ledger::destinations_changed(db, &agent.id)?)
}

/// Withdraws a destination.
pub fn delete(db: &WriteTxn, value: Value) -> Result<Outcome> {
    let args: Named = args(value)?;
    let agent = agents::named(db, &args.agent)?;
    destinations::delete(db, &agent.id, &args.name)?;
    answer(&json!({ "agent": agent.name, "name": args.name }), ledger::destinations_changed(db, &agent.id)?)
}
