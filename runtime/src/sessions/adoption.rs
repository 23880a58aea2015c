//! Session folders that another program made, and the sessions they became.

use super::{Session, by_id};
use crate::clock::Timestamp;
use crate::db::{ReadTxn, WriteTxn};
use crate::error::{Error, Result};
use crate::id::{AgentGroupId, MessagingGroupId, SessionId};
use rusqlite::{OptionalExtension, params};

/// A folder that is being, or was, taken over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adoption {
    /// The session it becomes.
    pub session: Session,
    /// The highest inbound number when the adoption began.
    pub highest_in: i64,
    /// Whether everything of the folder is here.
    pub done: bool,
    /// It belongs to no chat, and its agent has another session for everything that it hears: no wiring leads here.
    pub unreached: bool,
}

/// The adoption of this folder, as far as it has come; `None` when none began.
pub fn adoption_of(db: &ReadTxn, source: &str) -> Result<Option<Adoption>> {
    let row = db
        .query_row(
            "SELECT a.session_id, a.highest_in, a.done_at IS NOT NULL, s.messaging_group_id IS NULL AND NOT s.agent_shared \
             FROM adoptions a JOIN sessions s ON s.id = a.session_id WHERE a.source = ?1",
            [source],
            |r| Ok((r.get::<_, SessionId>(0)?, r.get(1)?, r.get(2)?, r.get(3)?)),
        )
        .optional()?;
    let Some((id, highest_in, done, unreached)) = row else { return Ok(None) };
    Ok(by_id(db, &id)?.map(|session| Adoption { session, highest_in, done, unreached }))
}

/// Opens the session that a folder becomes. It stays in quarantine until [`finish_adoption`]; messages that come
/// meanwhile are numbered after the folder's rows. A session that belongs to no chat becomes the one that its agent has
/// for everything, unless there is one.
///
/// # Errors
/// The agent already has a session for this chat.
pub fn begin_adoption(
    db: &WriteTxn,
    source: &str,
    agent_group_id: &AgentGroupId,
    messaging_group_id: Option<&MessagingGroupId>,
    thread_id: Option<&str>,
    highest_in: i64,
    now: Timestamp,
) -> Result<Adoption> {
    let there: Option<String> = db
        .query_row(
            "SELECT id FROM sessions WHERE agent_group_id = ?1 AND messaging_group_id = ?2 AND thread_id IS ?3 \
             AND NOT agent_shared",
            params![agent_group_id, messaging_group_id, thread_id],
            |r| r.get(0),
        )
        .optional()?;
    if let Some(there) = there {
        return Err(Error::Refused(format!(
            "the agent already has the session {there} for this chat, and two cannot become one; take folders over \
             before their chats are used"
        )));
    }
    let id = SessionId::mint();
    let why =
        format!("it is being taken over from {source}; if that stopped, run `vestibule session adopt` again");
    db.execute(
        "INSERT INTO sessions (id, agent_group_id, messaging_group_id, thread_id, created_at, last_active, last_seq, \
         quarantined, agent_shared) VALUES (?1, ?2, ?3, ?4, ?5, ?5, ?6, ?7, \
         ?3 IS NULL AND NOT EXISTS (SELECT 1 FROM sessions WHERE agent_group_id = ?2 AND agent_shared))",
        params![id, agent_group_id, messaging_group_id, thread_id, now.0, highest_in, why],
    )?;
    db.execute(
        "INSERT INTO adoptions (source, session_id, highest_in, begun_at) VALUES (?1, ?2, ?3, ?4)",
        params![source, id, highest_in, now.0],
    )?;
    adoption_of(db, source)?.ok_or_else(|| Error::refused("the session is gone"))
}

/// Notes that everything of the folder is here: the session may run. Replies up to `floor` are all on record.
pub fn finish_adoption(
    db: &WriteTxn,
    source: &str,
    session_id: &SessionId,
    floor: i64,
    now: Timestamp,
) -> Result<()> {
    db.execute(
        "UPDATE sessions SET quarantined = NULL, outbound_floor = MAX(outbound_floor, ?2) WHERE id = ?1",
        params![session_id, floor],
    )?;
    db.execute("UPDATE adoptions SET done_at = ?2 WHERE source = ?1", params![source, now.0])?;
    Ok(())
}

/// Whether a session is still being taken over.
pub fn is_being_adopted(db: &ReadTxn, session_id: &SessionId) -> Result<bool> {
    Ok(db.query_row(
        "SELECT EXISTS (SELECT 1 FROM adoptions WHERE session_id = ?1 AND done_at IS NULL)",
        [session_id],
        |r| r.get(0),
    )?)
}
