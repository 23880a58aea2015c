//! `message.outcome`: what became of a message that came in, told as soon as it is known. A channel hears of
//! replies only; a person who waits for one wants to know as well that none will come.

mod decide;

use super::verbs;
use crate::clock::{self, Timestamp};
use crate::context::Context;
use crate::db::ReadTxn;
use crate::error::{Error, Result};
use crate::id::SessionId;
use crate::ledger::State;
use decide::{Heard, Outcome, Reply, To, decide};
use rusqlite::params;
use serde::Deserialize;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use vestibule_plugin_api::{ACCOUNT_MAIN, ACTION, AGENT};

/// The longest wait for one answer: a client that has gone is noticed after this long.
const WAIT_MAX: Duration = Duration::from_secs(10);
/// Two looks are at least this long apart: other commits come all the time.
const LOOK_PAUSE: Duration = Duration::from_millis(20);
/// A reply that has waited for a module for longer than this, in milliseconds, waits for an operator.
const OLD_MS: i64 = 8_000;
/// How many replies after a message are looked at, the newest: numbers say little about which those are, since an agent
/// that answers twice gives twice as many as it gets.
const REPLIES_MAX: i64 = 1_000;
/// How many of those before them are counted.
const COUNTED_MAX: i64 = 10_000;

/// Which message is meant: where it was written, and its id there; and how many replies have been heard there since.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    channel: String,
    #[serde(default = "main")]
    account: String,
    chat: String,
    thread: Option<String>,
    message: String,
    #[serde(default)]
    had: usize,
}

fn main() -> String {
    ACCOUNT_MAIN.to_owned()
}

/// Waits until it is known what became of a message, 10 s at most.
///
/// # Errors
/// No session has heard of it, the runtime stops, or the central database fails.
pub async fn wait(context: &Arc<Context>, args: Value) -> Result<Value> {
    let asked: Asked = verbs::args(args)?;
    let known = tokio::time::timeout(WAIT_MAX, settled(context, &asked)).await;
    let outcome = known.unwrap_or(Ok(Outcome::Waiting))?;
    serde_json::to_value(outcome).map_err(Error::refused)
}

async fn settled(context: &Context, asked: &Asked) -> Result<Outcome> {
    let mut commits = context.central.commits();
    loop {
        commits.mark_unchanged();
        let (asked, had) = (asked.clone(), asked.had);
        match decide(&context.central.read(move |db| load(db, &asked)).await?, had) {
            None => return Err(Error::refused("no session has heard this message")),
            Some(Outcome::Waiting) => {}
            Some(outcome) => return Ok(outcome),
        }
        tokio::select! {
            changed = commits.changed() => changed.map_err(|_| Error::Stopping)?,
            () = context.stopping() => return Err(Error::Stopping),
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}

/// What the ledger knows of a message. A row's id is made of the platform's and the agent's, so each session is
/// asked by its primary key.
fn load(db: &ReadTxn, asked: &Asked) -> Result<Vec<Heard>> {
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
        let (session_id, pending): (SessionId, bool) = (row.get(0)?, row.get(4)?);
        // Before the message is settled no reply is to it: behind a long queue this is asked again after every commit.
        let (replies, earlier) = match pending {
            true => (Vec::new(), 0),
            false => (
                replies(db, &session_id, asked, (row.get(6)?, row.get(7)?))?,
                earlier(db, &session_id, asked, row.get(6)?)?,
            ),
        };
        heard.push(Heard {
            replies,
            earlier,
            agent: row.get(1)?,
            session_id,
            quarantined: row.get(2)?,
            wakes: row.get(3)?,
            pending,
            failure: row.get(5)?,
        });
    }
    Ok(heard)
}

/// The replies after a message: those to where it was written, and those that answer a row which was settled together
/// with it, wherever they go. For a reply that waits behind another, the reason is that of the other.
fn replies(
    db: &ReadTxn,
    session_id: &SessionId,
    asked: &Asked,
    (seq, change): (i64, i64),
) -> Result<Vec<Reply>> {
    let mut statement = db.prepare_cached(
        "SELECT here, state, why, channel_type, platform_id, taken_at, due_at FROM (SELECT d.state, d.channel_type, d.platform_id, \
         d.taken_at, d.due_at, d.seq, \
         CASE WHEN d.state = 'pending' AND d.last_error IS NULL THEN (SELECT h.last_error FROM deliveries h \
         WHERE h.channel_type = d.channel_type AND h.account = d.account AND h.platform_id = d.platform_id \
         AND h.thread_id IS d.thread_id AND h.session_id = d.session_id \
         AND h.state IN ('pending', 'sending', 'unknown', 'parked') ORDER BY h.position LIMIT 1) ELSE d.last_error END AS why, d.channel_type = ?3 AND d.account = ?4 AND d.platform_id = ?5 AND d.thread_id IS ?6 AS here, d.in_reply_to IS NULL OR EXISTS (SELECT 1 \
         FROM messages_in m WHERE m.session_id = ?1 AND m.id = d.in_reply_to AND m.change = ?7) AS answers \
         FROM deliveries d WHERE d.session_id = ?1 AND d.seq > ?2 ORDER BY d.seq DESC LIMIT ?8) \
         WHERE here OR answers ORDER BY seq",
    )?;
    let Asked { channel, account, chat, thread, .. } = asked;
    let now = clock::now();
    let rows = statement.query_map(
        params![session_id, seq, channel, account, chat, thread, change, REPLIES_MAX],
        |row| {
            let (state, here): (State, Option<bool>) = (row.get(1)?, row.get(0)?);
            let (channel, chat): (Option<String>, Option<String>) = (row.get(3)?, row.get(4)?);
            let to = match channel.as_deref() {
                _ if here == Some(true) => To::Here,
                Some(AGENT | ACTION) => To::Inside,
                _ => To::Elsewhere { channel: channel.unwrap_or_default(), chat: chat.unwrap_or_default() },
            };
            let is_old = now.0.saturating_sub(row.get(5)?) > OLD_MS;
            let due_at = Some(Timestamp(row.get(6)?)).filter(|due_at| *due_at > now);
            Ok(Reply { to, state, error: row.get(2)?, is_old, due_at })
        },
    )?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// How many replies to where a message was written arrive there besides those of [`replies`].
fn earlier(db: &ReadTxn, session_id: &SessionId, asked: &Asked, seq: i64) -> Result<usize> {
    let mut statement = db.prepare_cached(
        "SELECT COUNT(*) FROM (SELECT channel_type, account, platform_id, thread_id, state FROM deliveries \
         WHERE session_id = ?1 AND seq > ?2 ORDER BY seq DESC LIMIT ?7 OFFSET ?8) \
         WHERE channel_type = ?3 AND account = ?4 AND platform_id = ?5 AND thread_id IS ?6 \
         AND state IN ('pending', 'sending', 'unknown', 'parked', 'delivered')",
    )?;
    let Asked { channel, account, chat, thread, .. } = asked;
    let params = params![session_id, seq, channel, account, chat, thread, COUNTED_MAX, REPLIES_MAX];
    Ok(statement.query_row(params, |row| row.get::<_, u32>(0))? as usize)
}

#[cfg(test)]
mod tests;
