//! `message.outcome`: what became of a message that came in, told as soon as it is known. A channel hears of
//! replies only; a person who waits for one wants to know as well that none will come.

mod decide;

use super::verbs;
use crate::clock::{self, Timestamp};
use crate::context::Context;
use crate::db::ReadTxn;
use crate::error::{Error, Result};
use crate::id::{AgentGroupId, SessionId};
use crate::ledger::{self, State};
use decide::{Heard, Outcome, ReadBy, Reply, To, decide};
use rusqlite::{OptionalExtension, Row, params};
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
/// How many messages between agents are followed to what they led to.
const FOLLOWED_MAX: usize = 64;

/// Why there is no reply to a message that no session has any more.
const GONE: &str = "the agent that heard it was deleted, or the message is not kept any more";

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
    /// Whether an earlier answer was that it is waited for.
    #[serde(default)]
    waited: bool,
}

fn main() -> String {
    ACCOUNT_MAIN.to_owned()
}

/// Waits until it is known what became of a message, 10 s at most; then the answer says what holds it up, if that is
/// known.
///
/// # Errors
/// No session has heard of it, the runtime stops, or the central database fails.
pub async fn wait(context: &Arc<Context>, args: Value) -> Result<Value> {
    let asked: Asked = verbs::args(args)?;
    let mut latest = Outcome::Waiting { reasons: Vec::new() };
    if let Ok(settled) = tokio::time::timeout(WAIT_MAX, settle(context, &asked, &mut latest)).await {
        settled?;
    }
    serde_json::to_value(latest).map_err(Error::refused)
}

/// Returns when the outcome is no longer that something is waited for.
async fn settle(context: &Context, asked: &Asked, latest: &mut Outcome) -> Result<()> {
    let (mut commits, mut was_heard) = (context.central.commits(), asked.waited);
    loop {
        commits.mark_unchanged();
        let (asked, had) = (asked.clone(), asked.had);
        let mut heard = context.central.read(move |db| load(db, &asked)).await?;
        for one in heard.iter_mut().filter(|one| one.pending && one.failing.is_none()) {
            one.failing = context.held_up(Some(&one.session_id)).pop().map(|(_, why)| why);
        }
        match decide(&heard, had) {
            Some(outcome) => *latest = outcome,
            None if was_heard => *latest = Outcome::Failed { reasons: vec![GONE.to_owned()] },
            None => return Err(Error::refused("no session has heard this message")),
        }
        was_heard = true;
        if !matches!(latest, Outcome::Waiting { .. }) {
            return Ok(());
        }
        tokio::select! {
            changed = commits.changed() => changed.map_err(|_| Error::Stopping)?,
            () = context.stopping() => return Err(Error::Stopping),
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}

/// What is read of each session that heard a message: `s` is the session, `a` its agent and `m` the message there.
const HEARD: &str = "s.id, a.name, s.quarantined, s.failing, m.\"trigger\", m.status, m.failure, m.seq, m.change, \
     m.settled_at, m.timestamp";

/// What the ledger knows of a message. A row's id is made of the platform's and the agent's, so each session is
/// asked by its primary key.
fn load(db: &ReadTxn, asked: &Asked) -> Result<Vec<Heard>> {
    let mut statement = db.prepare_cached(&format!(
        "SELECT {HEARD} FROM messaging_groups g JOIN wirings w ON w.messaging_group_id = g.id \
         JOIN agent_groups a ON a.id = w.agent_group_id JOIN sessions s ON s.agent_group_id = a.id \
         AND (s.messaging_group_id = g.id OR w.session_mode = 'agent-shared') \
         JOIN messages_in m ON m.session_id = s.id AND m.id = ?4 || ':' || a.id \
         WHERE g.channel_type = ?1 AND g.account = ?2 AND g.platform_id = ?3",
    ))?;
    let mut rows = statement.query(params![asked.channel, asked.account, asked.chat, asked.message])?;
    let (mut heard, mut follow) = (Vec::new(), FOLLOWED_MAX);
    while let Some(row) = rows.next()? {
        let seq = row.get(7)?;
        let mut one = one(db, asked, row, &mut follow)?;
        if !one.pending {
            one.earlier = earlier(db, &one.session_id, asked, seq)?;
        }
        heard.push(one);
    }
    Ok(heard)
}

/// A session that heard a message, from a row of [`HEARD`].
fn one(db: &ReadTxn, asked: &Asked, row: &Row<'_>, follow: &mut usize) -> Result<Heard> {
    let (session_id, status): (SessionId, String) = (row.get(0)?, row.get(5)?);
    let pending = matches!(status.as_str(), "pending" | "paused");
    let failing: Option<String> = row.get(3)?;
    let again_at = match (&failing, pending) {
        (Some(_), true) => ledger::next_try(db, &session_id)?.and_then(|(_, at)| at),
        _ => None,
    };
    // Before the message is settled no reply is to it: behind a long queue this is asked again after every commit.
    let replies = match pending {
        true => Vec::new(),
        false => {
            let turn = Turn::of(db, &session_id, row)?;
            replies(db, &session_id, asked, &turn, follow)?
        }
    };
    Ok(Heard {
        agent: row.get(1)?,
        session_id,
        quarantined: row.get(2)?,
        failing,
        again_at,
        wakes: row.get(4)?,
        pending,
        failed: status == "failed",
        failure: row.get(6)?,
        replies,
        earlier: 0,
    })
}

/// The turn that settled a message.
struct Turn {
    /// The message's number: the replies to it have higher ones.
    seq: i64,
    /// The change that settled it, and what was answered with it.
    change: i64,
    /// When the message came or, if that was later, the turn before was over; and when this one was.
    from: i64,
    until: i64,
}

impl Turn {
    /// The turn of the message in a row of [`HEARD`].
    fn of(db: &ReadTxn, session_id: &SessionId, row: &Row<'_>) -> Result<Turn> {
        let (seq, change): (i64, i64) = (row.get(7)?, row.get(8)?);
        let mut before = db.prepare_cached(
            "SELECT settled_at FROM messages_in INDEXED BY messages_in_change WHERE session_id = ?1 AND change < ?2 \
             AND settled_at IS NOT NULL ORDER BY change DESC LIMIT 1",
        )?;
        let before: Option<i64> = before.query_row(params![session_id, change], |r| r.get(0)).optional()?;
        let from = before.unwrap_or_default().max(row.get::<_, i64>(10)? - 1);
        let until: Option<i64> = row.get(9)?;
        Ok(Turn { seq, change, from, until: until.unwrap_or_default() })
    }
}

/// The replies after a message: those to where it was written, and those of the turn that settled it, wherever they go.
/// The runner names in a reply to another place the message that it heard last from there, so those of the turn are
/// also told by when they came. For a reply that waits behind another, the reason is that of the other.
fn replies(
    db: &ReadTxn,
    session_id: &SessionId,
    asked: &Asked,
    turn: &Turn,
    follow: &mut usize,
) -> Result<Vec<Reply>> {
    let mut statement = db.prepare_cached(
        "SELECT here, state, why, channel_type, platform_id, taken_at, due_at, seq, platform_message_id FROM (SELECT d.state, \
         d.channel_type, d.platform_id, d.taken_at, d.due_at, d.seq, d.platform_message_id, \
         CASE WHEN d.state = 'pending' AND d.last_error IS NULL THEN (SELECT h.last_error FROM deliveries h \
         WHERE h.channel_type = d.channel_type AND h.account = d.account AND h.platform_id = d.platform_id \
         AND h.thread_id IS d.thread_id AND h.session_id = d.session_id \
         AND h.state IN ('pending', 'sending', 'unknown', 'parked') ORDER BY h.position LIMIT 1) ELSE d.last_error END AS why, \
         d.channel_type = ?3 AND d.account = ?4 AND d.platform_id = ?5 AND d.thread_id IS ?6 AS here, \
         (d.taken_at > ?9 AND d.taken_at <= ?10) OR EXISTS (SELECT 1 \
         FROM messages_in m WHERE m.session_id = ?1 AND m.id = d.in_reply_to AND m.change = ?7) AS answers \
         FROM deliveries d WHERE d.session_id = ?1 AND d.seq > ?2 ORDER BY d.seq DESC LIMIT ?8) \
         WHERE here OR answers ORDER BY seq",
    )?;
    let Asked { channel, account, chat, thread, .. } = asked;
    let now = clock::now();
    let Turn { seq, change, from, until } = turn;
    let mut rows = statement.query(params![
        session_id,
        seq,
        channel,
        account,
        chat,
        thread,
        change,
        REPLIES_MAX,
        from,
        until
    ])?;
    let mut replies = Vec::new();
    while let Some(row) = rows.next()? {
        let (state, here): (State, Option<bool>) = (row.get(1)?, row.get(0)?);
        let (channel, chat): (Option<String>, Option<String>) = (row.get(3)?, row.get(4)?);
        let to = match (channel.as_deref(), chat) {
            _ if here == Some(true) => To::Here,
            (Some(AGENT), Some(agent)) if state == State::Delivered => {
                To::Agent(read_by(db, asked, &AgentGroupId::new(agent), row.get(8)?, follow)?)
            }
            (Some(AGENT), _) => To::Agent(ReadBy::Unknown),
            (Some(ACTION), _) => To::Module,
            (_, chat) => {
                To::Elsewhere { channel: channel.unwrap_or_default(), chat: chat.unwrap_or_default() }
            }
        };
        let is_old = now.0.saturating_sub(row.get(5)?) > OLD_MS;
        let due_at = Some(Timestamp(row.get(6)?)).filter(|due_at| *due_at > now);
        replies.push(Reply { to, seq: row.get(7)?, state, error: row.get(2)?, is_old, due_at });
    }
    Ok(replies)
}

/// What became of a message between agents, which its addressee has under the id `message`.
fn read_by(
    db: &ReadTxn,
    asked: &Asked,
    to: &AgentGroupId,
    message: Option<String>,
    follow: &mut usize,
) -> Result<ReadBy> {
    let Some(left) = follow.checked_sub(1) else { return Ok(ReadBy::Unknown) };
    *follow = left;
    let mut statement = db.prepare_cached(&format!(
        "SELECT {HEARD} FROM sessions s JOIN agent_groups a ON a.id = s.agent_group_id \
         JOIN messages_in m ON m.session_id = s.id AND m.id = ?2 WHERE s.agent_group_id = ?1",
    ))?;
    let mut rows = statement.query(params![to, message])?;
    Ok(match rows.next()? {
        Some(row) => ReadBy::Session(Box::new(one(db, asked, row, follow)?)),
        None => ReadBy::Gone,
    })
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
