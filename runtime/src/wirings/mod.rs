//! Wirings: which agent group listens in which messaging group, and how.
//!
//! Invariant: at most one wiring for each pair.

use crate::clock::Timestamp;
use crate::db::{ReadTxn, WriteTxn};
use crate::error::{Error, Result};
use crate::id::{AgentGroupId, MessagingGroupId};
use rusqlite::{OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};

/// When a wiring wants a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EngageMode {
    /// When the text matches `engage_pattern`; always without one.
    Pattern,
    /// When the platform says that the agent was addressed.
    Mention,
}

/// What a session is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SessionMode {
    /// For the chat.
    Shared,
    /// For each thread of the chat.
    PerThread,
    /// For everything that the agent group gets.
    AgentShared,
}

/// What becomes of a message that a wiring does not want.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IgnoredPolicy {
    /// It is left out; the drops count a message that no wiring wants.
    Drop,
    /// It is kept as context and wakes no agent.
    Accumulate,
}

/// What becomes of a change to a message that the agent heard or wrote.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChangesPolicy {
    /// The agent reads of it at its next turn; none starts for it, unless an edit addresses the agent that was not
    /// addressed before.
    #[default]
    Note,
    /// It wakes the agent.
    Wake,
    /// The agent never learns of it.
    Drop,
}

/// One agent group in one messaging group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Wiring {
    /// Minted by the runtime.
    pub id: String,
    /// The chat in which the agent listens.
    pub messaging_group_id: MessagingGroupId,
    /// The agent that listens.
    pub agent_group_id: AgentGroupId,
    /// When it wants a message.
    pub engage_mode: EngageMode,
    /// A regular expression that is searched for in the text.
    pub engage_pattern: Option<String>,
    /// Which of the agent's sessions a message goes to.
    pub session_mode: SessionMode,
    /// Its policy for the messages that it does not want.
    pub ignored_message_policy: IgnoredPolicy,
    /// Its policy for changes to messages.
    pub changes: ChangesPolicy,
    /// Wirings with a higher number get a message first.
    pub priority: i64,
}

const COLUMNS: &str = "id, messaging_group_id, agent_group_id, engage_mode, engage_pattern, session_mode, \
                       ignored_message_policy, priority, changes";

/// Reads a word of a fixed set, from a column that SQL has checked.
fn word<T: for<'de> Deserialize<'de>>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    let text: String = row.get(column)?;
    T::deserialize(serde::de::value::StrDeserializer::<serde::de::value::Error>::new(&text)).map_err(
        |error| {
            rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error))
        },
    )
}

/// Writes a word of a fixed set as SQL and JSON have it.
fn text<T: Serialize>(value: &T) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

fn of(row: &Row<'_>) -> rusqlite::Result<Wiring> {
    Ok(Wiring {
        id: row.get(0)?,
        messaging_group_id: row.get(1)?,
        agent_group_id: row.get(2)?,
        engage_mode: word(row, 3)?,
        engage_pattern: row.get(4)?,
        session_mode: word(row, 5)?,
        ignored_message_policy: word(row, 6)?,
        priority: row.get(7)?,
        changes: word(row, 8)?,
    })
}

/// All wirings.
pub fn list(db: &ReadTxn) -> Result<Vec<Wiring>> {
    let mut statement = db.prepare(&format!("SELECT {COLUMNS} FROM wirings ORDER BY created_at, id"))?;
    let rows = statement.query_map([], of)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// The wirings of a chat, highest priority first.
pub fn of_chat(db: &ReadTxn, messaging_group_id: &MessagingGroupId) -> Result<Vec<Wiring>> {
    let sql =
        format!("SELECT {COLUMNS} FROM wirings WHERE messaging_group_id = ?1 ORDER BY priority DESC, id");
    let mut statement = db.prepare_cached(&sql)?;
    let rows = statement.query_map([messaging_group_id], of)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// The wiring with this id.
///
/// # Errors
/// There is none.
pub fn by_id(db: &ReadTxn, id: &str) -> Result<Wiring> {
    let sql = format!("SELECT {COLUMNS} FROM wirings WHERE id = ?1");
    db.query_row(&sql, [id], of).optional()?.ok_or_else(|| {
        Error::Refused(format!("there is no wiring `{id}`; `vestibule wiring list` shows them"))
    })
}

/// Adds a wiring; the id is minted here.
pub fn create(db: &WriteTxn, mut wiring: Wiring, now: Timestamp) -> Result<Wiring> {
    check(&wiring)?;
    wiring.id = crate::id::mint("mga");
    let inserted = db.execute(
        "INSERT INTO wirings (id, messaging_group_id, agent_group_id, engage_mode, engage_pattern, session_mode, \
         ignored_message_policy, priority, created_at, changes) VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10) ON CONFLICT DO NOTHING",
        params![
            wiring.id,
            wiring.messaging_group_id,
            wiring.agent_group_id,
            text(&wiring.engage_mode),
            wiring.engage_pattern,
            text(&wiring.session_mode),
            text(&wiring.ignored_message_policy),
            wiring.priority,
            now.0,
            text(&wiring.changes),
        ],
    )?;
    if inserted == 0 {
        return Err(Error::refused(
            "this agent is wired to this chat already; change it with `vestibule wiring update`",
        ));
    }
    Ok(wiring)
}

/// Stores every changeable field.
pub fn update(db: &WriteTxn, wiring: &Wiring) -> Result<()> {
    check(wiring)?;
    db.execute(
        "UPDATE wirings SET engage_mode = ?2, engage_pattern = ?3, session_mode = ?4, ignored_message_policy = ?5, \
         priority = ?6, changes = ?7 WHERE id = ?1",
        params![
            wiring.id,
            text(&wiring.engage_mode),
            wiring.engage_pattern,
            text(&wiring.session_mode),
            text(&wiring.ignored_message_policy),
            wiring.priority,
            text(&wiring.changes),
        ],
    )?;
    Ok(())
}

fn check(wiring: &Wiring) -> Result<()> {
    match &wiring.engage_pattern {
        Some(pattern) => match regex::Regex::new(pattern) {
            Ok(_) => Ok(()),
            Err(error) => Err(Error::Refused(format!("the pattern is no regular expression: {error}"))),
        },
        None => Ok(()),
    }
}

/// Removes a wiring.
pub fn delete(db: &WriteTxn, id: &str) -> Result<()> {
    db.execute("DELETE FROM wirings WHERE id = ?1", [id])?;
    Ok(())
}
