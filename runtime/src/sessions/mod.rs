//! Sessions: to which mailbox a message belongs.
//!
//! Invariants:
//! - A session belongs to one agent group for ever; several agents in one chat never share one.
//! - An agent group has at most one session for everything that it gets, and that one never changes.

mod adoption;

pub use adoption::{Adoption, adoption_of, begin_adoption, finish_adoption, is_being_adopted};

use crate::clock::Timestamp;
use crate::db::{ReadTxn, WriteTxn, address_at};
use crate::error::{Error, Result};
use crate::id::{AgentGroupId, MessagingGroupId, SessionId};
use rusqlite::{OptionalExtension, Row, params};
use serde::Serialize;
use vestibule_plugin_api::Address;
use vestibule_session::{Routing, words};

/// One mailbox of an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Session {
    /// Minted by the runtime; also the name of its folder.
    pub id: SessionId,
    /// The agent whose mailbox it is.
    pub agent_group_id: AgentGroupId,
    /// The chat it was opened for; `None`: it belongs to no chat.
    pub messaging_group_id: Option<MessagingGroupId>,
    /// The thread it was opened for, if any.
    pub thread_id: Option<String>,
    /// Whether a runner was started and its end is not on record.
    pub running: bool,
    /// Why nothing runs in it until an operator releases it; `None`: it may run.
    pub quarantined: Option<String>,
    /// Why its last run failed the messages under way; `None` since one was answered.
    pub failing: Option<String>,
    /// When a message last entered it, in milliseconds since 1970.
    pub last_active: i64,
}

/// Which of an agent's sessions a message goes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionKey {
    /// The session of the chat.
    Shared,
    /// The session of this thread of the chat.
    PerThread(String),
    /// The session for everything that the agent group gets.
    AgentShared,
}

const COLUMNS: &str =
    "id, agent_group_id, messaging_group_id, thread_id, running, quarantined, last_active, failing";

fn of(row: &Row<'_>) -> rusqlite::Result<Session> {
    Ok(Session {
        id: row.get(0)?,
        agent_group_id: row.get(1)?,
        messaging_group_id: row.get(2)?,
        thread_id: row.get(3)?,
        running: row.get(4)?,
        quarantined: row.get(5)?,
        last_active: row.get(6)?,
        failing: row.get(7)?,
    })
}

/// The session with this id.
pub fn by_id(db: &ReadTxn, id: &SessionId) -> Result<Option<Session>> {
    let mut statement = db.prepare_cached(&format!("SELECT {COLUMNS} FROM sessions WHERE id = ?1"))?;
    Ok(statement.query_row([id], of).optional()?)
}

/// All sessions, the most recently active first, at most `limit`.
pub fn recent(db: &ReadTxn, limit: i64) -> Result<Vec<Session>> {
    let mut statement =
        db.prepare(&format!("SELECT {COLUMNS} FROM sessions ORDER BY last_active DESC LIMIT ?1"))?;
    let rows = statement.query_map([limit], of)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// The sessions that are quarantined or failing, at most `limit`.
pub fn in_trouble(db: &ReadTxn, limit: i64) -> Result<Vec<Session>> {
    let of_one = |which: &str| format!("SELECT {COLUMNS} FROM sessions WHERE {which}");
    let (quarantined, failing) =
        (of_one("quarantined IS NOT NULL"), of_one("failing IS NOT NULL AND quarantined IS NULL"));
    let mut statement = db.prepare(&format!("{quarantined} UNION ALL {failing} LIMIT ?1"))?;
    let rows = statement.query_map([limit], of)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// The session of this key, opened if there is none, and whether it was opened now.
pub fn open_or_create(
    db: &WriteTxn,
    agent_group_id: &AgentGroupId,
    messaging_group_id: &MessagingGroupId,
    key: &SessionKey,
    now: Timestamp,
) -> Result<(SessionId, bool)> {
    let found = match key {
        SessionKey::Shared => db
            .prepare_cached(
                "SELECT id FROM sessions WHERE agent_group_id = ?1 AND messaging_group_id = ?2 AND thread_id IS NULL \
                 AND NOT agent_shared",
            )?
            .query_row(params![agent_group_id, messaging_group_id], |r| r.get(0))
            .optional()?,
        SessionKey::PerThread(thread) => db
            .prepare_cached(
                "SELECT id FROM sessions WHERE agent_group_id = ?1 AND messaging_group_id = ?2 AND thread_id = ?3",
            )?
            .query_row(params![agent_group_id, messaging_group_id, thread], |r| r.get(0))
            .optional()?,
        SessionKey::AgentShared => db
            .prepare_cached("SELECT id FROM sessions WHERE agent_group_id = ?1 AND agent_shared")?
            .query_row([agent_group_id], |r| r.get(0))
            .optional()?,
    };
    if let Some(id) = found {
        return Ok((id, false));
    }
    let id = SessionId::mint();
    let thread = match key {
        SessionKey::PerThread(thread) => Some(thread),
        SessionKey::Shared | SessionKey::AgentShared => None,
    };
    db.prepare_cached(
        "INSERT INTO sessions (id, agent_group_id, messaging_group_id, thread_id, created_at, last_active, agent_shared) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?5, ?6)",
    )?
    .execute(params![id, agent_group_id, messaging_group_id, thread, now.0, *key == SessionKey::AgentShared])?;
    Ok((id, true))
}

/// The sessions of a chat.
pub fn of_chat(db: &ReadTxn, messaging_group_id: &MessagingGroupId) -> Result<Vec<SessionId>> {
    let mut statement = db.prepare_cached("SELECT id FROM sessions WHERE messaging_group_id = ?1")?;
    let rows = statement.query_map([messaging_group_id], |row| row.get(0))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Gives the threads of a chat's sessions the chat's new id, where theirs begins with the old one. Returns all sessions of
/// the chat.
pub fn move_threads(
    db: &WriteTxn,
    messaging_group_id: &MessagingGroupId,
    from: &str,
    to: &str,
) -> Result<Vec<SessionId>> {
    db.execute(
        "UPDATE sessions SET thread_id = ?3 || substr(thread_id, length(?2) + 1) \
         WHERE messaging_group_id = ?1 AND substr(thread_id, 1, length(?2)) = ?2 \
         AND substr(thread_id, length(?2) + 1, 1) NOT GLOB '[0-9A-Za-z]'",
        params![messaging_group_id, from, to],
    )?;
    of_chat(db, messaging_group_id)
}

/// Notes that a session's channel is still to be told that an agent listens in its thread.
///
/// # Errors
/// SQLite fails.
pub fn note_unsubscribed(db: &WriteTxn, id: &SessionId) -> Result<()> {
    db.prepare_cached("UPDATE sessions SET unsubscribed = 1 WHERE id = ?1")?.execute([id])?;
    Ok(())
}

/// Notes that the channel of a session was told of its thread: that goes for all sessions of the thread.
///
/// # Errors
/// SQLite fails.
pub fn subscribed(db: &WriteTxn, id: &SessionId) -> Result<()> {
    db.prepare_cached(
        "UPDATE sessions SET unsubscribed = 0 WHERE unsubscribed AND (messaging_group_id, thread_id) = \
         (SELECT messaging_group_id, thread_id FROM sessions WHERE id = ?1)",
    )?
    .execute([id])?;
    Ok(())
}

/// Whether the channel of a session is still to be told of its thread.
///
/// # Errors
/// SQLite fails.
pub fn is_unsubscribed(db: &ReadTxn, id: &SessionId) -> Result<bool> {
    let mut statement = db.prepare_cached("SELECT 1 FROM sessions WHERE id = ?1 AND unsubscribed")?;
    Ok(statement.exists([id])?)
}

/// The threads of an account that its channel is still to be told of, each with a session that it has.
pub fn unsubscribed(db: &ReadTxn, channel: &str, account: &str) -> Result<Vec<(SessionId, Address)>> {
    let mut statement = db.prepare_cached(
        "SELECT s.id, g.channel_type, g.account, g.platform_id, s.thread_id FROM sessions s \
         JOIN messaging_groups g ON g.id = s.messaging_group_id \
         WHERE s.unsubscribed AND g.channel_type = ?1 AND g.account = ?2 \
         GROUP BY s.messaging_group_id, s.thread_id ORDER BY s.id",
    )?;
    let rows = statement.query_map([channel, account], |row| Ok((row.get(0)?, address_at(row, 1)?)))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Where a session's words go by default: to its chat, if it has one.
pub fn routing(db: &ReadTxn, id: &SessionId) -> Result<Routing> {
    let mut statement = db.prepare_cached(
        "SELECT g.channel_type, g.platform_id, s.thread_id, g.account FROM sessions s \
         JOIN messaging_groups g ON g.id = s.messaging_group_id WHERE s.id = ?1",
    )?;
    let routing = statement.query_row([id], |r| {
        Ok(Routing {
            channel_type: r.get(0)?,
            platform_id: r.get(1)?,
            thread_id: r.get(2)?,
            account: r.get(3)?,
        })
    });
    Ok(routing.optional()?.unwrap_or_default())
}

/// The session of an agent group that hears what other agents and modules say, if one is not in quarantine: the one that
/// all its chats share, else the newest.
pub fn usable_for_agents(db: &ReadTxn, agent_group_id: &AgentGroupId) -> Result<Option<SessionId>> {
    for which in ["AND agent_shared", "ORDER BY created_at DESC, id DESC"] {
        let mut statement = db.prepare_cached(&format!(
            "SELECT id FROM sessions WHERE agent_group_id = ?1 AND quarantined IS NULL {which} LIMIT 1",
        ))?;
        if let Some(id) = statement.query_row([agent_group_id], |r| r.get(0)).optional()? {
            return Ok(Some(id));
        }
    }
    Ok(None)
}

/// A new session that belongs to no chat.
pub fn open_for_agent(db: &WriteTxn, agent_group_id: &AgentGroupId, now: Timestamp) -> Result<SessionId> {
    let id = SessionId::mint();
    db.prepare_cached(
        "INSERT INTO sessions (id, agent_group_id, created_at, last_active) VALUES (?1, ?2, ?3, ?3)",
    )?
    .execute(params![id, agent_group_id, now.0])?;
    Ok(id)
}

impl Session {
    /// Its condition as a word, and the reason for it.
    pub fn condition(&self) -> (&'static str, Option<&str>) {
        match (&self.quarantined, &self.failing, self.running) {
            (Some(why), ..) => ("quarantined", Some(why)),
            (None, Some(why), _) => ("failing", Some(why)),
            (None, None, true) => ("running", None),
            (None, None, false) => ("idle", None),
        }
    }
}

/// Records that a runner was started, or that its end is known and all that it wrote was read.
pub fn set_running(db: &WriteTxn, id: &SessionId, running: bool) -> Result<()> {
    db.prepare_cached("UPDATE sessions SET running = ?2, set_back = set_back AND ?2 WHERE id = ?1")?
        .execute(params![id, running])?;
    Ok(())
}

/// Records why no runner of a session could be started. The next message that is settled ends it.
pub fn set_failing(db: &WriteTxn, id: &SessionId, why: &str) -> Result<()> {
    db.execute("UPDATE sessions SET failing = ?2 WHERE id = ?1", params![id, words::reason(why)])?;
    Ok(())
}

/// Puts a session into quarantine with a reason, or releases it. The reason is kept as one bounded line: an agent may
/// have chosen its words.
pub fn set_quarantined(db: &WriteTxn, id: &SessionId, why: Option<&str>) -> Result<()> {
    db.execute("UPDATE sessions SET quarantined = ?2 WHERE id = ?1", params![id, why.map(words::reason)])?;
    Ok(())
}

/// The session with this id.
///
/// # Errors
/// There is none.
pub fn named(db: &ReadTxn, id: &SessionId) -> Result<Session> {
    by_id(db, id)?.ok_or_else(|| {
        Error::Refused(format!("there is no session `{id}`; `vestibule session list` shows them"))
    })
}

/// The sessions of which this is true; it is asked of one after the other, so that none is kept in memory in vain.
pub fn that(db: &ReadTxn, is_wanted: impl Fn(&AgentGroupId, &SessionId) -> bool) -> Result<Vec<SessionId>> {
    let mut statement = db.prepare("SELECT id, agent_group_id FROM sessions")?;
    let mut rows = statement.query([])?;
    let mut wanted = Vec::new();
    while let Some(row) = rows.next()? {
        let (session_id, agent_group_id): (SessionId, AgentGroupId) = (row.get(0)?, row.get(1)?);
        if is_wanted(&agent_group_id, &session_id) {
            wanted.push(session_id);
        }
    }
    Ok(wanted)
}

/// The ids of an agent group's sessions.
pub fn of_agent(db: &ReadTxn, agent_group_id: &AgentGroupId) -> Result<Vec<SessionId>> {
    let mut statement = db.prepare_cached("SELECT id FROM sessions WHERE agent_group_id = ?1")?;
    let rows = statement.query_map([agent_group_id], |r| r.get(0))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_it_is_in_quarantine_is_kept_as_one_bounded_line() {
        let db = crate::db::in_memory();
        db.execute_batch(
            "INSERT INTO agent_groups (id, name, folder, created_at) VALUES ('ag', 'a', 'a', 0)",
        )
        .expect("it fills");
        let id = open_for_agent(&db, &"ag".into(), Timestamp(0)).expect("it is opened");
        let why = format!("a name\n\u{1b}[2J{}", "x".repeat(3_000_000));
        set_quarantined(&db, &id, Some(&why)).expect("on record");
        let kept = named(&db, &id).expect("it is there").quarantined.expect("a reason");
        assert!(kept.starts_with("a name \u{fffd}[2Jxx"), "{kept}");
        assert_eq!(kept.chars().count(), words::REASON_CHARS_MAX);
        set_quarantined(&db, &id, None).expect("on record");
        assert_eq!(named(&db, &id).expect("it is there").quarantined, None);
    }

    #[test]
    fn a_thread_is_told_of_once_for_all_that_hear_it() {
        let db = crate::db::in_memory();
        db.execute_batch(
            "INSERT INTO agent_groups (id, name, folder, created_at) VALUES ('ag', 'a', 'a', 0), ('other', 'b', 'b', 0); \
             INSERT INTO messaging_groups (id, channel_type, account, platform_id, created_at) \
             VALUES ('one', 'x', 'main', 'c', 0), ('two', 'x', 'second', 'c', 0)",
        )
        .expect("it fills");
        for (agent, chat, thread) in
            [("ag", "one", "t"), ("other", "one", "t"), ("ag", "one", "u"), ("ag", "two", "t")]
        {
            let key = SessionKey::PerThread(thread.into());
            let (id, is_new) =
                open_or_create(&db, &agent.into(), &chat.into(), &key, Timestamp(0)).expect("it is opened");
            assert!(is_new);
            note_unsubscribed(&db, &id).expect("on record");
        }
        let threads = |account: &str| -> Vec<(SessionId, String)> {
            let waiting = unsubscribed(&db, "x", account).expect("it answers").into_iter();
            waiting.map(|(id, at)| (id, at.thread_id.expect("a thread").as_str().to_owned())).collect()
        };
        let mut waiting = threads("main");
        waiting.sort_by(|one, other| one.1.cmp(&other.1));
        assert_eq!(waiting.iter().map(|(_, thread)| thread.as_str()).collect::<Vec<_>>(), ["t", "u"]);
        subscribed(&db, &waiting[0].0).expect("on record");
        assert_eq!(threads("main").into_iter().map(|(_, thread)| thread).collect::<Vec<_>>(), ["u"]);
        assert_eq!(threads("second").len(), 1);
    }

    #[test]
    fn an_agent_has_one_session_for_all_that_it_hears() {
        let db = crate::db::in_memory();
        db.execute_batch(
            "INSERT INTO agent_groups (id, name, folder, created_at) VALUES ('ag', 'a', 'a', 0), ('other', 'b', 'b', 0); \
             INSERT INTO messaging_groups (id, channel_type, account, platform_id, created_at) \
             VALUES ('one', 'x', 'main', 'one', 0), ('two', 'x', 'main', 'two', 0)",
        )
        .expect("it fills");
        let open = |agent: &str, chat: &str, key: &SessionKey, at: i64| {
            open_or_create(&db, &agent.into(), &chat.into(), key, Timestamp(at)).expect("it is opened").0
        };
        let shared = open("ag", "one", &SessionKey::Shared, 1);
        let all = open("ag", "one", &SessionKey::AgentShared, 2);
        assert_ne!(all, shared, "a chat's own session is not for all");
        // Newer sessions, of any kind, and a quarantine change nothing.
        let newer = [
            open("ag", "two", &SessionKey::Shared, 3),
            open("ag", "one", &SessionKey::PerThread("t".into()), 4),
            open_for_agent(&db, &"ag".into(), Timestamp(5)).expect("it is opened"),
        ];
        set_quarantined(&db, &all, Some("why")).expect("on record");
        assert!(!newer.contains(&all));
        assert_eq!(open("ag", "two", &SessionKey::AgentShared, 6), all);
        assert_eq!(open("ag", "one", &SessionKey::Shared, 7), shared);
        assert_ne!(open("other", "two", &SessionKey::AgentShared, 8), all);
        // Nor is there ever a second one.
        let sql = "UPDATE sessions SET agent_shared = 1 WHERE id = ?1";
        assert!(db.execute(sql, [&shared]).is_err());
    }

    #[test]
    fn what_agents_say_comes_to_the_session_that_hears_all() {
        let db = crate::db::in_memory();
        db.execute_batch(
            "INSERT INTO agent_groups (id, name, folder, created_at) VALUES ('ag', 'a', 'a', 0); \
             INSERT INTO sessions (id, agent_group_id, created_at, last_active, agent_shared) \
             VALUES ('old', 'ag', 1, 1, 0), ('all', 'ag', 2, 2, 1), ('new', 'ag', 3, 3, 0)",
        )
        .expect("it fills");
        let usable = |change: &str| {
            db.execute_batch(change).expect("it is SQL");
            usable_for_agents(&db, &"ag".into()).expect("it answers").map(|id| id.to_string())
        };
        for (change, want) in [
            ("", Some("all")),
            ("UPDATE sessions SET quarantined = 'x' WHERE id = 'all'", Some("new")),
            ("DELETE FROM sessions WHERE id = 'new'", Some("old")),
            ("UPDATE sessions SET quarantined = 'x'", None),
        ] {
            assert_eq!(usable(change).as_deref(), want, "{change}");
        }
    }

    #[test]
    fn what_is_adopted_for_no_chat_is_for_all_unless_there_is_one() {
        let db = crate::db::in_memory();
        db.execute_batch(
            "INSERT INTO agent_groups (id, name, folder, created_at) VALUES ('ag', 'a', 'a', 0); \
             INSERT INTO messaging_groups (id, channel_type, account, platform_id, created_at) \
             VALUES ('one', 'x', 'main', 'one', 0)",
        )
        .expect("it fills");
        let adopt = |source: &str, chat: Option<&str>| {
            begin_adoption(
                &db,
                source,
                &"ag".into(),
                chat.map(MessagingGroupId::from).as_ref(),
                None,
                0,
                Timestamp(1),
            )
            .expect("it begins")
            .session
            .id
        };
        let (of_chat, all, more) = (adopt("/a", Some("one")), adopt("/b", None), adopt("/c", None));
        let found = open_or_create(&db, &"ag".into(), &"one".into(), &SessionKey::AgentShared, Timestamp(2))
            .expect("it is there")
            .0;
        assert!(found == all && found != of_chat && found != more);
    }
}
