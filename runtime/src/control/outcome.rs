//! `message.outcome`: what became of a message that came in, told as soon as it is known. A channel hears of
//! replies only; a person who waits for one wants to know as well that none will come.

use super::verbs;
use crate::error::{Error, Result};
use crate::house::House;
use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use vestibule_plugin_api::ACCOUNT_MAIN;

/// The longest wait for one answer: a client that has gone is noticed after this long.
const WAIT_MAX: Duration = Duration::from_secs(10);
/// Two looks are at least this long apart: other commits come all the time.
const LOOK_PAUSE: Duration = Duration::from_millis(20);
/// How many replies after a message are looked at.
const REPLIES_MAX: i64 = 1_000;

/// Which message is meant: where it was written, and its id there.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    channel: String,
    #[serde(default = "main")]
    account: String,
    chat: String,
    thread: Option<String>,
    message: String,
}

fn main() -> String {
    ACCOUNT_MAIN.to_owned()
}

/// What became of it, in all sessions that heard it.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", content = "reasons", rename_all = "snake_case")]
enum Outcome {
    /// Not known yet.
    Waiting,
    /// A reply has arrived where it was asked.
    Answered,
    /// All is done, and no reply comes.
    Silent(Vec<String>),
    /// No reply comes before an operator does something, or none at all.
    Failed(Vec<String>),
}

/// One session that heard the message.
struct Heard {
    agent: String,
    session_id: String,
    quarantined: Option<String>,
    wakes: bool,
    pending: bool,
    failure: Option<String>,
    replies: Vec<Reply>,
}

/// A reply that the session wrote in the turn that settled the message, or later to the same place.
#[derive(Clone)]
struct Reply {
    /// Whether it goes where the message was written.
    here: bool,
    state: String,
    error: Option<String>,
}

/// Waits until it is known what became of a message, 10 s at most.
///
/// # Errors
/// No session has heard of it, the house stops, or the central database fails.
pub async fn wait(house: &Arc<House>, args: Value) -> Result<Value> {
    let asked: Asked = verbs::args(args)?;
    let known = tokio::time::timeout(WAIT_MAX, settled(house, &asked)).await;
    let outcome = known.unwrap_or(Ok(Outcome::Waiting))?;
    serde_json::to_value(outcome).map_err(Error::refused)
}

async fn settled(house: &House, asked: &Asked) -> Result<Outcome> {
    let mut commits = house.central.commits();
    loop {
        commits.mark_unchanged();
        let asked = asked.clone();
        match decide(&house.central.read(move |db| load(db, &asked)).await?) {
            None => return Err(Error::refused("no session has heard this message")),
            Some(Outcome::Waiting) => {}
            Some(outcome) => return Ok(outcome),
        }
        tokio::select! {
            changed = commits.changed() => changed.map_err(|_| Error::Stopping)?,
            () = house.stopping() => return Err(Error::Stopping),
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}

/// What the sessions that heard a message say together; `None` when there is none.
fn decide(heard: &[Heard]) -> Option<Outcome> {
    let (mut waiting, mut silent, mut failed) = (heard.is_empty(), vec![], vec![]);
    for one in heard {
        match of_one(one) {
            Outcome::Answered => return Some(Outcome::Answered),
            Outcome::Waiting => waiting = true,
            Outcome::Silent(mut reasons) => silent.append(&mut reasons),
            Outcome::Failed(mut reasons) => failed.append(&mut reasons),
        }
    }
    Some(match (waiting, failed.is_empty()) {
        _ if heard.is_empty() => return None,
        (true, _) => Outcome::Waiting,
        (false, true) => Outcome::Silent(silent),
        (false, false) => Outcome::Failed(failed),
    })
}

fn of_one(heard: &Heard) -> Outcome {
    let agent = &heard.agent;
    if let (true, Some(why)) = (heard.pending, &heard.quarantined) {
        let id = &heard.session_id;
        return Outcome::Failed(vec![format!(
            "the session of {agent} is in quarantine: {why}; `vestibule session release {id}` releases it"
        )]);
    }
    match (heard.pending, heard.wakes) {
        (true, true) => return Outcome::Waiting,
        (true, false) => {
            return Outcome::Silent(vec![format!("{agent} is not woken by it, and reads it with the next")]);
        }
        (false, _) => {}
    }
    let goes_nowhere = |reply: &Reply| matches!(reply.state.as_str(), "failed" | "dropped");
    let failed = heard.replies.iter().find(|reply| goes_nowhere(reply));
    if heard.replies.iter().any(|reply| reply.here && reply.state == "delivered") {
        Outcome::Answered
    } else if heard.replies.iter().any(|reply| !goes_nowhere(reply)) {
        // What went to another agent, say, may lead to an answer here.
        Outcome::Waiting
    } else if let Some(reply) = failed {
        let why = reply.error.as_deref().unwrap_or("it is not known why");
        Outcome::Failed(vec![format!("the reply of {agent} could not be delivered: {why}")])
    } else if let Some(why) = &heard.failure {
        Outcome::Failed(vec![format!("{agent} could not answer: {why}")])
    } else {
        Outcome::Silent(vec![format!("{agent} has read it and answered nothing")])
    }
}

/// What the ledger knows of a message. A row's id is made of the platform's and the agent's, so each session is
/// asked by its primary key.
fn load(db: &Connection, asked: &Asked) -> Result<Vec<Heard>> {
    let mut statement = db.prepare_cached(
        "SELECT s.id, a.name, s.quarantined, m.\"trigger\", m.status IN ('pending', 'paused'), m.failure, m.seq, m.change \
         FROM messaging_groups g JOIN wirings w ON w.messaging_group_id = g.id \
         JOIN agent_groups a ON a.id = w.agent_group_id JOIN sessions s ON s.agent_group_id = a.id \
         AND (s.messaging_group_id = g.id OR w.session_mode = 'agent-shared') \
         JOIN messages_in m ON m.session_id = s.id AND m.id = ?4 || ':' || a.id \
         WHERE g.channel_type = ?1 AND g.account = ?2 AND g.platform_id = ?3",
    )?;
    let mut rows = statement.query(params![asked.channel, asked.account, asked.chat, asked.message])?;
    let mut heard = Vec::new();
    while let Some(row) = rows.next()? {
        let session_id: String = row.get(0)?;
        heard.push(Heard {
            replies: replies(db, &session_id, asked, (row.get(6)?, row.get(7)?))?,
            agent: row.get(1)?,
            session_id,
            quarantined: row.get(2)?,
            wakes: row.get(3)?,
            pending: row.get(4)?,
            failure: row.get(5)?,
        });
    }
    Ok(heard)
}

/// The replies after a message: those to where it was written, and those that answer a row which was settled
/// together with it, wherever they go.
fn replies(
    db: &Connection,
    session_id: &str,
    asked: &Asked,
    (seq, change): (i64, i64),
) -> Result<Vec<Reply>> {
    let mut statement = db.prepare_cached(
        "SELECT here, state, last_error FROM (SELECT d.state, d.last_error, d.channel_type = ?3 AND d.account = ?4 \
         AND d.platform_id = ?5 AND d.thread_id IS ?6 AS here, d.in_reply_to IS NULL OR EXISTS (SELECT 1 \
         FROM messages_in m WHERE m.session_id = ?1 AND m.id = d.in_reply_to AND m.change = ?7) AS answers \
         FROM deliveries d WHERE d.session_id = ?1 AND d.seq > ?2 ORDER BY d.seq LIMIT ?8) WHERE here OR answers",
    )?;
    let Asked { channel, account, chat, thread, .. } = asked;
    let rows = statement.query_map(
        params![session_id, seq, channel, account, chat, thread, change, REPLIES_MAX],
        |row| {
            let here: Option<bool> = row.get(0)?;
            Ok(Reply { here: here.unwrap_or(false), state: row.get(1)?, error: row.get(2)? })
        },
    )?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

#[cfg(test)]
mod tests;
