//! Destinations: the names an agent may send to. Address book and permission list in one.
//!
//! Invariant: an agent reaches a chat only by the chat of its session or by a row here, and another agent
//! only by a row here.

use crate::clock::Timestamp;
use crate::error::{Error, Result};
use rusqlite::{Connection, params};
use serde::Serialize;

/// A name local to one agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DestinationRow {
    /// Whose name it is.
    pub agent_group_id: String,
    /// The name.
    pub local_name: String,
    /// `channel` or `agent`.
    pub target_type: String,
    /// The messaging group or the agent group.
    pub target_id: String,
}

/// All destinations of all agents.
pub fn list(db: &Connection) -> Result<Vec<DestinationRow>> {
    let mut statement = db.prepare(
        "SELECT agent_group_id, local_name, target_type, target_id FROM destinations ORDER BY agent_group_id, local_name",
    )?;
    let rows = statement.query_map([], |r| {
        Ok(DestinationRow {
            agent_group_id: r.get(0)?,
            local_name: r.get(1)?,
            target_type: r.get(2)?,
            target_id: r.get(3)?,
        })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Whether an agent may send to this chat.
pub fn allows(db: &Connection, agent_group_id: &str, messaging_group_id: &str) -> Result<bool> {
    let mut statement = db.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM destinations WHERE agent_group_id = ?1 AND target_type = 'channel' \
         AND target_id = ?2)",
    )?;
    Ok(statement.query_row([agent_group_id, messaging_group_id], |r| r.get(0))?)
}

/// Whether an agent may send to another agent. To itself it always may.
pub fn allows_agent(db: &Connection, agent_group_id: &str, target_id: &str) -> Result<bool> {
    let mut statement = db.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM destinations WHERE agent_group_id = ?1 AND target_type = 'agent' \
         AND target_id = ?2)",
    )?;
    Ok(agent_group_id == target_id || statement.query_row([agent_group_id, target_id], |r| r.get(0))?)
}

/// Grants another agent under a name.
///
/// # Errors
/// As [`create`].
pub fn create_to_agent(
    db: &Connection,
    agent_group_id: &str,
    name: &str,
    target_id: &str,
    now: Timestamp,
) -> Result<()> {
    insert(db, (agent_group_id, name), ("agent", target_id), now)
}

/// Withdraws the destinations that lead to an agent; answers whose they were.
pub fn withdraw_agent(db: &Connection, target_id: &str) -> Result<Vec<String>> {
    let mut statement = db.prepare(
        "DELETE FROM destinations WHERE target_type = 'agent' AND target_id = ?1 RETURNING agent_group_id",
    )?;
    let rows = statement.query_map([target_id], |r| r.get(0))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Grants a chat under a name.
///
/// # Errors
/// The agent uses the name already, or the name cannot stand in an attribute.
pub fn create(
    db: &Connection,
    agent_group_id: &str,
    name: &str,
    chat_id: &str,
    now: Timestamp,
) -> Result<()> {
    insert(db, (agent_group_id, name), ("channel", chat_id), now)
}

fn insert(
    db: &Connection,
    (agent_group_id, name): (&str, &str),
    (target_type, target_id): (&str, &str),
    now: Timestamp,
) -> Result<()> {
    check_name(name)?;
    let inserted = db.execute(
        "INSERT INTO destinations (agent_group_id, local_name, target_type, target_id, created_at) \
         VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING",
        params![agent_group_id, name, target_type, target_id, now.0],
    )?;
    if inserted == 0 {
        return Err(Error::Refused(format!("this agent has a destination `{name}` already")));
    }
    Ok(())
}

/// Grants a chat under a free name like `wanted`, unless a name leads there already.
pub fn ensure(
    db: &Connection,
    agent_group_id: &str,
    wanted: &str,
    chat_id: &str,
    now: Timestamp,
) -> Result<()> {
    if allows(db, agent_group_id, chat_id)? {
        return Ok(());
    }
    let mut name = wanted.to_owned();
    let mut number = 2;
    while create(db, agent_group_id, &name, chat_id, now).is_err() {
        if number > 1000 {
            return Err(Error::Refused(format!("no name like `{wanted}` is free")));
        }
        name = format!("{wanted}-{number}");
        number += 1;
    }
    Ok(())
}

/// Gives a destination another name.
///
/// # Errors
/// There is no such destination, or the new name is taken.
pub fn rename(db: &Connection, agent_group_id: &str, from: &str, to: &str) -> Result<()> {
    check_name(to)?;
    let renamed = db.execute(
        "UPDATE OR IGNORE destinations SET local_name = ?3 WHERE agent_group_id = ?1 AND local_name = ?2",
        [agent_group_id, from, to],
    )?;
    if renamed == 0 {
        return Err(Error::Refused(format!("there is no destination `{from}`, or `{to}` is taken")));
    }
    Ok(())
}

/// Withdraws a destination.
///
/// # Errors
/// There is none of this name.
pub fn delete(db: &Connection, agent_group_id: &str, name: &str) -> Result<()> {
    let deleted = db.execute(
        "DELETE FROM destinations WHERE agent_group_id = ?1 AND local_name = ?2",
        [agent_group_id, name],
    )?;
    if deleted == 0 {
        return Err(Error::Refused(format!("this agent has no destination `{name}`")));
    }
    Ok(())
}

fn check_name(name: &str) -> Result<()> {
    let fits = |c: char| !c.is_control() && !matches!(c, '"' | '<' | '>' | '&');
    if name.is_empty() || name.len() > 64 || !name.chars().all(fits) {
        return Err(Error::refused(
            "a destination's name is 1 to 64 characters without quotes or angle brackets",
        ));
    }
    Ok(())
}
