//! Agent groups: one agent identity each, with its folder and its provider.
//!
//! Invariant: `id` and `folder` are minted here and safe as path segments.

use crate::clock::Timestamp;
use crate::db::{ReadTxn, WriteTxn};
use crate::error::{Error, Result};
use crate::id::AgentGroupId;
use rusqlite::{OptionalExtension, Row, params};
use serde::Serialize;

/// One agent identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AgentGroup {
    /// Its id, minted by the runtime.
    pub id: AgentGroupId,
    /// Its unique name, for operators and for the agent itself.
    pub name: String,
    /// Its folder under `groups/`, minted by the runtime.
    pub folder: String,
    /// The provider that answers: `echo` or `command`.
    pub provider: String,
    /// The program of provider `command`, as a shell would split it.
    pub command: Option<String>,
    /// The environment variables that the program may see.
    pub env: Vec<String>,
    /// How long one turn may take, in milliseconds.
    pub time_limit_ms: i64,
    /// Whether its runners may use the internet.
    pub network: bool,
}

const COLUMNS: &str = "id, name, folder, provider, command, env, time_limit_ms, network";

fn of(row: &Row<'_>) -> rusqlite::Result<AgentGroup> {
    let env: String = row.get(5)?;
    Ok(AgentGroup {
        id: row.get(0)?,
        name: row.get(1)?,
        folder: row.get(2)?,
        provider: row.get(3)?,
        command: row.get(4)?,
        env: serde_json::from_str(&env).unwrap_or_default(),
        time_limit_ms: row.get(6)?,
        network: row.get(7)?,
    })
}

/// All agent groups, by name.
pub fn list(db: &ReadTxn) -> Result<Vec<AgentGroup>> {
    let mut statement = db.prepare(&format!("SELECT {COLUMNS} FROM agent_groups ORDER BY name"))?;
    let rows = statement.query_map([], of)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// The agent group with this id.
pub fn by_id(db: &ReadTxn, id: &AgentGroupId) -> Result<Option<AgentGroup>> {
    let mut statement = db.prepare_cached(&format!("SELECT {COLUMNS} FROM agent_groups WHERE id = ?1"))?;
    Ok(statement.query_row([id], of).optional()?)
}

/// The agent group with this name, or with this id.
///
/// # Errors
/// There is none: the error names those there are.
pub fn named(db: &ReadTxn, name: &str) -> Result<AgentGroup> {
    let sql = format!("SELECT {COLUMNS} FROM agent_groups WHERE name = ?1 OR id = ?1");
    if let Some(agent) = db.query_row(&sql, [name], of).optional()? {
        return Ok(agent);
    }
    let names: Vec<String> = list(db)?.into_iter().map(|agent| agent.name).collect();
    let known = if names.is_empty() { "none yet".to_owned() } else { names.join(", ") };
    Err(Error::Refused(format!("there is no agent `{name}`; the agents are: {known}")))
}

/// Adds an agent group; its id and folder are minted here.
pub fn create(db: &WriteTxn, name: &str, now: Timestamp) -> Result<AgentGroup> {
    check_name(name)?;
    let slug = local_name(name);
    let taken = |folder: &str| -> Result<bool> {
        Ok(db.query_row("SELECT EXISTS (SELECT 1 FROM agent_groups WHERE folder = ?1)", [folder], |r| {
            r.get(0)
        })?)
    };
    let mut folder = slug.clone();
    let mut number = 2;
    while taken(&folder)? {
        folder = format!("{slug}-{number}");
        number += 1;
    }
    let id = AgentGroupId::mint();
    let inserted = db.execute(
        "INSERT INTO agent_groups (id, name, folder, created_at) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
        params![id, name, folder, now.0],
    )?;
    if inserted == 0 {
        return Err(Error::Refused(format!("there is an agent `{name}` already")));
    }
    named(db, &id)
}

fn check_name(name: &str) -> Result<()> {
    if name.trim().is_empty() || name.len() > 64 || name.chars().any(char::is_control) {
        return Err(Error::refused("an agent's name is 1 to 64 characters on one line"));
    }
    Ok(())
}

/// Stores every changeable field.
///
/// # Errors
/// The name is none, or another agent's.
pub fn update(db: &WriteTxn, agent: &AgentGroup) -> Result<()> {
    check_name(&agent.name)?;
    let env = serde_json::to_string(&agent.env).unwrap_or_else(|_| "[]".into());
    db.execute(
        "UPDATE agent_groups SET name = ?2, provider = ?3, command = ?4, env = ?5, time_limit_ms = ?6, \
         network = ?7 WHERE id = ?1",
        params![agent.id, agent.name, agent.provider, agent.command, env, agent.time_limit_ms, agent.network],
    )
    .map_err(|error| match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::ConstraintViolation) => {
            Error::Refused(format!("there is an agent `{}` already", agent.name))
        }
        _ => error.into(),
    })?;
    Ok(())
}

/// Removes an agent group with its wirings, destinations and sessions' records.
pub fn delete(db: &WriteTxn, id: &AgentGroupId) -> Result<()> {
    db.execute("DELETE FROM agent_groups WHERE id = ?1", [id])?;
    Ok(())
}

/// A name as a local name or folder: lower case, every run of other characters than `a-z0-9` a `-`.
pub fn local_name(name: &str) -> String {
    let mut out = String::new();
    for c in name.to_lowercase().chars() {
        if c.is_ascii_lowercase() || c.is_ascii_digit() {
            out.push(c);
        } else if !out.is_empty() && !out.ends_with('-') {
            out.push('-');
        }
    }
    let out = out.trim_end_matches('-').to_owned();
    if out.is_empty() { "unnamed".into() } else { out }
}
