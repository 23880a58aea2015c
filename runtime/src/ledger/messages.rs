//! Rows on their way in, and what became of them.

use super::answers::other_row;
use super::bump;
use super::files::{Direction, record_files, session_bytes};
use super::retention::hash;
use super::suspects::after_settling;
use crate::attachments::{LeftOut, StoredFile};
use crate::clock::Timestamp;
use crate::db::{ReadTxn, WriteTxn};
use crate::error::Result;
use crate::id::{AgentGroupId, SessionId};
use rusqlite::{OptionalExtension, params};
use serde_json::Value;
use std::collections::HashSet;
use vestibule_plugin_api::Address;
use vestibule_session::{Ack, AckStatus, SessionDir, name, next_even};

/// A message for one session.
#[derive(Debug, Clone)]
pub struct NewMessage {
    /// Where it was written.
    pub written: Written,
    /// The agent whose session it is; part of the row's id.
    pub agent_group_id: AgentGroupId,
    /// When it was written.
    pub timestamp: Timestamp,
    /// Whether it wakes the agent.
    pub trigger: bool,
    /// Where a reply goes.
    pub address: Address,
    /// As the prompt format reads it, without its `attachments`.
    pub content: Value,
    /// The files that came with it.
    pub attachments: Vec<NewAttachment>,
    /// The files of a session may hold this much, in bytes.
    pub session_bytes_max: u64,
    /// How many messages between agents led to it; 0 from a channel.
    pub hops: u32,
}

/// Where a message was written.
#[derive(Debug, Clone)]
pub enum Written {
    /// On a platform, which gave it this id.
    Outside(String),
    /// In the runtime, which gave its row this id.
    Inside {
        /// The row's id.
        id: String,
        /// The session of the agent that wrote it: the way back.
        source_session_id: Option<SessionId>,
    },
}

/// A file that came with a message.
#[derive(Debug, Clone)]
pub struct NewAttachment {
    /// What is known of it, as the prompt format reads it.
    pub entry: Value,
    /// The file itself, if its bytes came, under the name its sender gave it.
    pub file: Option<StoredFile>,
}

/// Takes an event id; false when it was taken before.
pub fn take_event(
    db: &WriteTxn,
    channel: &str,
    account: &str,
    event_id: &str,
    now: Timestamp,
) -> Result<bool> {
    let mut statement = db.prepare_cached(
        "INSERT OR IGNORE INTO event_ids (channel_type, account, event_id, seen_at) VALUES (?1, ?2, ?3, ?4)",
    )?;
    Ok(statement.execute(params![channel, account, event_id, now.0])? == 1)
}

/// Whether an event id (channel, account, id) was taken before.
pub fn was_taken(db: &ReadTxn, channel: &str, account: &str, event_id: &str) -> Result<bool> {
    let mut statement = db.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM event_ids WHERE channel_type = ?1 AND account = ?2 AND event_id = ?3)",
    )?;
    Ok(statement.query_row([channel, account, event_id], |r| r.get(0))?)
}

/// Writes a message into a session's rows. Its number comes from the session's counter, never from the highest row:
/// after pruning, a number would be used twice.
pub fn accept(db: &WriteTxn, session_id: &SessionId, new: &NewMessage, now: Timestamp) -> Result<()> {
    let Some(change) = bump(db, session_id)? else { return Ok(()) };
    let last_seq = db
        .prepare_cached("SELECT last_seq FROM sessions WHERE id = ?1")?
        .query_row([session_id], |r| r.get(0))?;
    let seq = next_even(last_seq);
    db.prepare_cached(
        "UPDATE sessions SET last_seq = ?2, last_active = ?3, hops = CASE WHEN ?4 THEN ?5 ELSE hops END WHERE id = ?1",
    )?
    .execute(params![session_id, seq, now.0, new.trigger, new.hops])?;
    let (id, platform_message_id, source) = match &new.written {
        Written::Outside(theirs) => {
            (free_id(db, session_id, theirs, &new.agent_group_id)?, Some(theirs), None)
        }
        Written::Inside { id, source_session_id } => (id.clone(), None, source_session_id.as_ref()),
    };
    let content = with_files(db, session_id, &id, seq, new)?;
    db.prepare_cached(
        "INSERT INTO messages_in (session_id, id, seq, kind, timestamp, status, series_id, \"trigger\", channel_type, \
         account, platform_id, thread_id, content, platform_message_id, change, source_session_id) \
         VALUES (?1, ?2, ?3, 'chat', ?4, 'pending', ?2, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
    )?
    .execute(params![
        session_id,
        id,
        seq,
        new.timestamp.0,
        new.trigger,
        new.address.channel_type.as_str(),
        new.address.account.as_str(),
        new.address.platform_id.as_str(),
        new.address.thread_id.as_ref().map(|thread| thread.as_str()),
        content,
        platform_message_id,
        change,
        source,
    ])?;
    Ok(())
}

/// How many messages between agents led to the last message that a session got.
pub fn hops(db: &ReadTxn, session_id: &SessionId) -> Result<u32> {
    let mut statement = db.prepare_cached("SELECT hops FROM sessions WHERE id = ?1")?;
    Ok(statement.query_row([session_id], |r| r.get(0))?)
}

/// The content of a row, once its files are on record and named where the agent will find them.
fn with_files(db: &WriteTxn, session_id: &SessionId, id: &str, seq: i64, new: &NewMessage) -> Result<String> {
    if new.attachments.is_empty() {
        return Ok(new.content.to_string());
    }
    let folder = name::folder_name(id, seq);
    let mut room = new.session_bytes_max.saturating_sub(session_bytes(db, session_id)?);
    let (mut entries, mut files, mut names) = (Vec::new(), Vec::new(), HashSet::new());
    for attachment in &new.attachments {
        let mut entry = attachment.entry.clone();
        if let Some(mut file) = attachment.file.clone() {
            if file.blob.is_ok() && file.size_bytes > room {
                let why = format!(
                    "the files of this session may hold {} bytes (`session_files_mb`)",
                    new.session_bytes_max
                );
                file.blob = Err(LeftOut(why));
            }
            match &file.blob {
                Ok(_) => {
                    room -= file.size_bytes;
                    file.name = free_name(&file.name, &mut names);
                    entry["name"] = file.name.as_str().into();
                    entry["size"] = file.size_bytes.into();
                    entry["localPath"] = SessionDir::inbox_file(&folder, &file.name).into();
                }
                Err(LeftOut(why)) => entry["leftOut"] = why.as_str().into(),
            }
            files.push(file);
        }
        entries.push(entry);
    }
    record_files(db, session_id, Direction::In, id, Some(&folder), &files)?;
    let mut content = new.content.clone();
    content["attachments"] = Value::Array(entries);
    Ok(content.to_string())
}

fn free_name(name: &str, taken: &mut HashSet<String>) -> String {
    let numbered = (2..).map(|number| name::numbered(name, number));
    let free = std::iter::once(name.to_owned()).chain(numbered).find(|name| !taken.contains(name));
    let free = free.unwrap_or_default();
    taken.insert(free.clone());
    free
}

/// `<platform message id>:<agent group id>`; an edit, or another chat's message with the same id, gets a number, so
/// that nothing is lost to the primary key, nor to a runner that remembers a pruned row's id.
fn free_id(
    db: &ReadTxn,
    session_id: &SessionId,
    platform_message_id: &str,
    agent_group_id: &AgentGroupId,
) -> Result<String> {
    let mut taken = db.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM messages_in WHERE session_id = ?1 AND id = ?2) \
         OR EXISTS (SELECT 1 FROM given_ids WHERE hash = ?3)",
    )?;
    let mut id = format!("{platform_message_id}:{agent_group_id}");
    let mut number = 2;
    while taken.query_row(params![session_id, id, hash(session_id, &id)], |r| r.get(0))? {
        id = format!("{platform_message_id}~{number}:{agent_group_id}");
        number += 1;
    }
    Ok(id)
}

/// What the runner's acknowledgements say that was not known before.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Acknowledged {
    /// The messages that it answers.
    pub claimed: Vec<String>,
    /// How many messages it could not answer: its reply says why.
    pub failed: usize,
}

/// Takes over the runner's acknowledgements. Only rows that still wait are claimed or change: ids that the ledger never
/// gave match nothing. A keeper that has just started hands over many that are known: they cost no change.
pub fn acknowledge(
    db: &WriteTxn,
    session_id: &SessionId,
    acks: &[Ack],
    now: Timestamp,
) -> Result<Acknowledged> {
    let mut waits = db.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM messages_in WHERE session_id = ?1 AND id = ?2 AND status = 'pending')",
    )?;
    let (mut new, mut settled) = (Acknowledged::default(), Vec::new());
    for ack in acks {
        let is_settled = ack.status != AckStatus::Processing;
        let other = other_row(&ack.message_id).filter(|_| is_settled).map(|id| (id, AckStatus::Completed));
        for (id, status) in std::iter::once((ack.message_id.clone(), ack.status)).chain(other) {
            match waits.query_row(params![session_id, id], |r| r.get(0))? {
                true if is_settled => settled.push((id, status)),
                true => new.claimed.push(id),
                false => {}
            }
        }
    }
    if settled.is_empty() {
        return Ok(new);
    }
    let Some(change) = bump(db, session_id)? else { return Ok(new) };
    let mut settle = db.prepare_cached(
        "UPDATE messages_in SET status = ?3, change = ?4, settled_at = ?5 \
         WHERE session_id = ?1 AND id = ?2 AND status = 'pending'",
    )?;
    for (id, status) in settled {
        new.failed += usize::from(status == AckStatus::Failed);
        settle.execute(params![session_id, id, status.as_str(), change, now.0])?;
    }
    after_settling(db, session_id, change)?;
    Ok(new)
}

/// Notes that the place where a session's words go by default has changed.
pub fn bump_routing(db: &WriteTxn, session_id: &SessionId) -> Result<()> {
    let Some(change) = bump(db, session_id)? else { return Ok(()) };
    db.prepare_cached("UPDATE sessions SET routing_change = ?2 WHERE id = ?1")?
        .execute(params![session_id, change])?;
    Ok(())
}

/// Notes that the destinations of an agent have changed; returns its sessions in which a turn may be under way. The files
/// of the others follow with their next message: with many chats, most of an agent's runners are idle.
pub fn destinations_changed(db: &WriteTxn, agent_group_id: &AgentGroupId) -> Result<Vec<SessionId>> {
    db.prepare_cached(
        "UPDATE agent_groups SET destinations_version = destinations_version + 1 WHERE id = ?1",
    )?
    .execute([agent_group_id])?;
    let mut statement = db.prepare_cached(
        "SELECT id FROM sessions INDEXED BY sessions_running WHERE running AND agent_group_id = ?1 \
         AND EXISTS (SELECT 1 FROM messages_in INDEXED BY messages_in_pending \
         WHERE session_id = sessions.id AND status = 'pending' AND \"trigger\")",
    )?;
    let rows = statement.query_map([agent_group_id], |r| r.get(0))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// The change number of the destinations of a session's agent.
pub fn destinations_of(db: &ReadTxn, session_id: &SessionId) -> Result<i64> {
    let mut statement = db.prepare_cached(
        "SELECT a.destinations_version FROM sessions s JOIN agent_groups a ON a.id = s.agent_group_id WHERE s.id = ?1",
    )?;
    Ok(statement.query_row([session_id], |r| r.get(0)).optional()?.unwrap_or_default())
}

/// The sessions that need a look when the runtime starts: a runner's end is not on record, rows are
/// not known to be in the file, or rows wait for an answer.
pub fn seen_at_start(db: &ReadTxn) -> Result<Vec<SessionId>> {
    let mut statement = db.prepare(
        "SELECT id FROM sessions WHERE running UNION SELECT id FROM sessions WHERE change > projected \
         UNION SELECT session_id FROM messages_in WHERE status = 'pending' AND \"trigger\"",
    )?;
    let rows = statement.query_map([], |r| r.get(0))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}
