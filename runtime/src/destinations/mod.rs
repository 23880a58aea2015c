//! Destinations: the names an agent may send to. Address book and permission list in one.
//!
//! Invariant: an agent reaches a chat only by the chat of its session or by a row here, and another agent only by a row
//! here.

use crate::clock::Timestamp;
use crate::db::{ReadTxn, WriteTxn};
use crate::error::{Error, Result};
use crate::id::{AgentGroupId, MessagingGroupId, SessionId};
use crate::ledger;
use rusqlite::{OptionalExtension, params};
use vestibule_session::Destination;

/// A name that one agent has for a chat or another agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DestinationRow {
    /// The agent whose name it is.
    pub agent_group_id: AgentGroupId,
    /// The name, as the agent writes it.
    pub local_name: String,
    /// Where it leads.
    pub target: Target,
}

/// Where a destination leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// To a chat.
    Chat(MessagingGroupId),
    /// To another agent.
    Agent(AgentGroupId),
}

/// All destinations of all agents.
pub fn list(db: &ReadTxn) -> Result<Vec<DestinationRow>> {
    let mut statement = db.prepare(
        "SELECT agent_group_id, local_name, target_type, target_id FROM destinations ORDER BY agent_group_id, local_name",
    )?;
    let rows = statement.query_map([], |r| {
        Ok(DestinationRow {
            agent_group_id: r.get(0)?,
            local_name: r.get(1)?,
            target: match r.get::<_, String>(2)?.as_str() {
                "agent" => Target::Agent(r.get(3)?),
                _ => Target::Chat(r.get(3)?),
            },
        })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Whether an agent may send to this chat.
pub fn allows(
    db: &ReadTxn,
    agent_group_id: &AgentGroupId,
    messaging_group_id: &MessagingGroupId,
) -> Result<bool> {
    let mut statement = db.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM destinations WHERE agent_group_id = ?1 AND target_type = 'channel' \
         AND target_id = ?2)",
    )?;
    Ok(statement.query_row(params![agent_group_id, messaging_group_id], |r| r.get(0))?)
}

/// Whether an agent may send to another agent. It may always send to itself.
pub fn allows_agent(db: &ReadTxn, agent_group_id: &AgentGroupId, target_id: &AgentGroupId) -> Result<bool> {
    let mut statement = db.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM destinations WHERE agent_group_id = ?1 AND target_type = 'agent' \
         AND target_id = ?2)",
    )?;
    Ok(agent_group_id == target_id || statement.query_row([agent_group_id, target_id], |r| r.get(0))?)
}

/// The name that an agent has for a place: for a chat by its channel and id there, on any account where none is named,
/// or for another agent.
pub fn name_of(
    db: &ReadTxn,
    agent_group_id: &AgentGroupId,
    (channel, account, id): (&str, Option<&str>, &str),
) -> Result<Option<String>> {
    let mut statement = db.prepare_cached(
        "SELECT d.local_name FROM destinations d \
         LEFT JOIN messaging_groups g ON d.target_type = 'channel' AND g.id = d.target_id \
         WHERE d.agent_group_id = ?1 AND ((d.target_type = 'agent' AND ?2 = 'agent' AND d.target_id = ?4) \
         OR (g.channel_type = ?2 AND g.platform_id = ?4 AND (?3 IS NULL OR g.account = ?3))) \
         ORDER BY d.local_name LIMIT 1",
    )?;
    Ok(statement.query_row(params![agent_group_id, channel, account, id], |r| r.get(0)).optional()?)
}

/// The destinations of an agent as its sessions' files show them: each with what people call the place.
pub fn shown(db: &ReadTxn, agent_group_id: &AgentGroupId) -> Result<Vec<Destination>> {
    let mut statement = db.prepare_cached(
        "SELECT d.local_name, COALESCE(g.name, g.title, a.name, d.local_name), d.target_type, g.channel_type, g.platform_id, \
         CASE d.target_type WHEN 'agent' THEN d.target_id END, g.account FROM destinations d \
         LEFT JOIN messaging_groups g ON d.target_type = 'channel' AND g.id = d.target_id \
         LEFT JOIN agent_groups a ON d.target_type = 'agent' AND a.id = d.target_id \
         WHERE d.agent_group_id = ?1 AND (a.id IS NOT NULL OR g.id IS NOT NULL) ORDER BY d.local_name",
    )?;
    let destinations = statement.query_map([agent_group_id], |r| {
        Ok(Destination {
            name: r.get(0)?,
            display_name: r.get(1)?,
            kind: r.get(2)?,
            channel_type: r.get(3)?,
            platform_id: r.get(4)?,
            agent_group_id: r.get(5)?,
            account: r.get(6)?,
        })
    })?;
    Ok(destinations.collect::<rusqlite::Result<_>>()?)
}

/// Notes that a chat has another name, for each agent that may send there; returns their sessions in which a turn may be
/// under way.
pub fn chat_changed(db: &WriteTxn, chat_id: &MessagingGroupId) -> Result<Vec<SessionId>> {
    let mut statement = db.prepare_cached(
        "SELECT DISTINCT agent_group_id FROM destinations WHERE target_type = 'channel' AND target_id = ?1",
    )?;
    let agents = statement.query_map([chat_id], |r| r.get::<_, AgentGroupId>(0))?;
    let mut running = Vec::new();
    for agent in agents {
        running.extend(ledger::destinations_changed(db, &agent?)?);
    }
    Ok(running)
}

/// Grants another agent under a name.
///
/// # Errors
/// As [`create`].
pub fn create_to_agent(
    db: &WriteTxn,
    agent_group_id: &AgentGroupId,
    name: &str,
    target_id: &AgentGroupId,
    now: Timestamp,
) -> Result<()> {
    insert(db, (agent_group_id, name), ("agent", target_id), now)
}

/// Withdraws the destinations that lead to an agent; returns the agents that had them.
pub fn withdraw_agent(db: &WriteTxn, target_id: &AgentGroupId) -> Result<Vec<AgentGroupId>> {
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
    db: &WriteTxn,
    agent_group_id: &AgentGroupId,
    name: &str,
    chat_id: &MessagingGroupId,
    now: Timestamp,
) -> Result<()> {
    insert(db, (agent_group_id, name), ("channel", chat_id), now)
}

fn insert(
    db: &WriteTxn,
    (agent_group_id, name): (&AgentGroupId, &str),
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

/// Grants a chat under a free name like `wanted`, unless the agent has a name for it already.
pub fn ensure(
    db: &WriteTxn,
    agent_group_id: &AgentGroupId,
    wanted: &str,
    chat_id: &MessagingGroupId,
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
pub fn rename(db: &WriteTxn, agent_group_id: &AgentGroupId, from: &str, to: &str) -> Result<()> {
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
pub fn delete(db: &WriteTxn, agent_group_id: &AgentGroupId, name: &str) -> Result<()> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn granted() -> WriteTxn<'static> {
        let db = crate::db::in_memory();
        db.execute_batch(
            "INSERT INTO agent_groups (id, name, folder, created_at) VALUES ('a', 'a', 'a', 0), ('b', 'b', 'b', 0)",
        )
        .expect("it fills");
        create(&db, &"a".into(), "team", &"chat".into(), Timestamp(7)).expect("it is free");
        create_to_agent(&db, &"a".into(), "helper", &"b".into(), Timestamp(7)).expect("it is free");
        db
    }

    fn names(db: &ReadTxn) -> Vec<String> {
        let told = |row: DestinationRow| {
            let target = match row.target {
                Target::Chat(id) => format!("channel:{id}"),
                Target::Agent(id) => format!("agent:{id}"),
            };
            format!("{} {} {target}", row.agent_group_id, row.local_name)
        };
        list(db).expect("rows").into_iter().map(told).collect()
    }

    #[test]
    fn an_agent_reaches_what_it_was_granted_and_nothing_else() {
        let db = granted();
        for (agent, chat, want) in [("a", "chat", true), ("a", "b", false), ("b", "chat", false)] {
            assert_eq!(
                allows(&db, &agent.into(), &chat.into()).expect("it answers"),
                want,
                "{agent} to the chat {chat}"
            );
        }
        for (agent, to, want) in
            [("a", "b", true), ("a", "a", true), ("b", "b", true), ("b", "a", false), ("a", "chat", false)]
        {
            assert_eq!(
                allows_agent(&db, &agent.into(), &to.into()).expect("it answers"),
                want,
                "{agent} to the agent {to}"
            );
        }
        assert_eq!(withdraw_agent(&db, &"chat".into()).expect("it answers"), [""; 0], "that is a chat");
        assert_eq!(withdraw_agent(&db, &"b".into()).expect("it answers"), ["a"]);
        assert!(!allows_agent(&db, &"a".into(), &"b".into()).expect("it answers"));
        assert_eq!(names(&db), ["a team channel:chat"]);
        delete(&db, &"a".into(), "team").expect("there is one");
        assert!(!allows(&db, &"a".into(), &"chat".into()).expect("it answers"));
        assert!(delete(&db, &"a".into(), "team").is_err(), "there is none");
    }

    #[test]
    fn a_name_leads_to_one_place() {
        let db = granted();
        assert!(create(&db, &"a".into(), "team", &"another".into(), Timestamp(7)).is_err(), "it is taken");
        create(&db, &"b".into(), "team", &"another".into(), Timestamp(7))
            .expect("names are local to an agent");
        ensure(&db, &"a".into(), "whatever", &"chat".into(), Timestamp(7)).expect("one leads there");
        for chat in ["second", "third"] {
            ensure(&db, &"a".into(), "team", &chat.into(), Timestamp(7)).expect("a free one is found");
        }
        let want = [
            "a helper agent:b",
            "a team channel:chat",
            "a team-2 channel:second",
            "a team-3 channel:third",
            "b team channel:another",
        ];
        assert_eq!(names(&db), want);
        assert!(rename(&db, &"a".into(), "team-2", "helper").is_err(), "it is taken");
        assert!(rename(&db, &"a".into(), "nobody", "free").is_err(), "there is none");
        rename(&db, &"a".into(), "team-2", "crew").expect("it is free");
        assert!(names(&db).contains(&"a crew channel:second".to_owned()), "{:?}", names(&db));
        for taken in 4..=1000 {
            create(
                &db,
                &"a".into(),
                &format!("team-{taken}"),
                &MessagingGroupId::new(format!("chat-{taken}")),
                Timestamp(7),
            )
            .expect("it is free");
        }
        create(&db, &"a".into(), "team-2", &"chat-2".into(), Timestamp(7)).expect("it is free again");
        assert!(ensure(&db, &"a".into(), "team", &"last".into(), Timestamp(7)).is_err(), "the search ends");
    }

    #[test]
    fn what_a_name_is_made_of() {
        let db = granted();
        let longest = "x".repeat(64);
        for name in ["Team 1", "ü", &longest] {
            create(&db, &"a".into(), name, &"chat".into(), Timestamp(7)).expect(name);
        }
        let too_long = "x".repeat(65);
        for name in ["", "a\"b", "a<b", "a>b", "a&b", "a\nb", &too_long] {
            assert!(create(&db, &"a".into(), name, &"chat".into(), Timestamp(7)).is_err(), "{name:?}");
            assert!(rename(&db, &"a".into(), "team", name).is_err(), "{name:?}");
        }
    }
}
