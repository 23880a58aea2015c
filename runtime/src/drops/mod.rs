//! Drops: messages that were left out, and why, counted by chat and reason.
//!
//! Invariant: nothing the runtime was handed vanishes without a row here or in the ledger.

use crate::chat_key::ChatKey;
use crate::clock::Timestamp;
use crate::db::{ReadTxn, WriteTxn};
use crate::error::Result;
use rusqlite::params;
use serde::Serialize;
use vestibule_plugin_api::ID_BYTES_MAX;
use vestibule_session::words;

/// No wiring listens in the chat.
pub const NO_AGENT_WIRED: &str = "no_agent_wired";
/// Wirings listen, and none wanted the message.
pub const NO_AGENT_ENGAGED: &str = "no_agent_engaged";

/// The account was taken into a chat to which no agent is wired.
pub const CHAT_JOINED: &str = "chat_joined";

/// A change to a message that no agent heard, or wrote.
pub const CHANGE_OF_UNHEARD: &str = "change_of_unheard_message";
/// A change in a session in which as much waits as may.
pub const TOO_MANY_CHANGES: &str = "too_many_changes";
/// A change of a kind that this runtime does not know.
pub const UNKNOWN_CHANGE: &str = "unknown_change";

/// The drops of one chat for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DroppedMessage {
    /// The kind of platform.
    pub channel_type: String,
    /// The login on it.
    pub account: String,
    /// The chat; empty when the event named none.
    pub platform_id: String,
    /// Why, in one word.
    pub reason: String,
    /// How many messages were dropped.
    pub message_count: i64,
    /// The sender of the last one, for display.
    pub last_sender: Option<String>,
    /// When the last one came, in milliseconds since 1970.
    pub last_seen: i64,
}

/// Counts one drop. Strangers choose the reason and the sender, so both are kept as one bounded line: of the sender at
/// most [`ID_BYTES_MAX`] bytes.
pub fn record(
    db: &WriteTxn,
    chat: &ChatKey,
    reason: &str,
    sender: Option<&str>,
    now: Timestamp,
) -> Result<()> {
    let sender = sender.map(|name| &name[..name.floor_char_boundary(ID_BYTES_MAX)]);
    db.prepare_cached(
        "INSERT INTO drops (channel_type, account, platform_id, reason, message_count, last_sender, first_seen, last_seen) \
         VALUES (?1, ?2, ?3, ?4, 1, ?5, ?6, ?6) \
         ON CONFLICT DO UPDATE SET message_count = message_count + 1, last_seen = excluded.last_seen, \
         last_sender = COALESCE(excluded.last_sender, last_sender)",
    )?
    .execute(params![
        chat.channel_type,
        chat.account,
        chat.platform_id,
        words::reason(reason),
        sender.map(words::reason),
        now.0
    ])?;
    Ok(())
}

/// The newest drops, at most `limit`.
pub fn recent(db: &ReadTxn, limit: i64) -> Result<Vec<DroppedMessage>> {
    let mut statement = db.prepare(
        "SELECT channel_type, account, platform_id, reason, message_count, last_sender, last_seen \
         FROM drops ORDER BY last_seen DESC LIMIT ?1",
    )?;
    let rows = statement.query_map([limit], |r| {
        Ok(DroppedMessage {
            channel_type: r.get(0)?,
            account: r.get(1)?,
            platform_id: r.get(2)?,
            reason: r.get(3)?,
            message_count: r.get(4)?,
            last_sender: r.get(5)?,
            last_seen: r.get(6)?,
        })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// How many messages were left out, and in how many chats.
pub fn totals(db: &ReadTxn) -> Result<(i64, i64)> {
    let sql = "SELECT COALESCE(SUM(message_count), 0), COUNT(DISTINCT channel_type || ' ' || account || ' ' || platform_id) \
               FROM drops";
    Ok(db.query_row(sql, [], |r| Ok((r.get(0)?, r.get(1)?)))?)
}

/// Forgets drops that were last seen before a time, at most `limit` rows; returns how many.
pub fn forget(db: &WriteTxn, before: Timestamp, limit: u32) -> Result<usize> {
    let mut statement = db.prepare_cached(
        "DELETE FROM drops WHERE (channel_type, account, platform_id, reason) IN (SELECT channel_type, account, \
         platform_id, reason FROM drops INDEXED BY drops_age WHERE last_seen < ?1 LIMIT ?2)",
    )?;
    Ok(statement.execute(params![before.0, limit])?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_counted_and_a_senders_name_is_bounded() {
        let db = crate::db::in_memory();
        let record = |reason: &str, sender: Option<&str>, at| {
            record(&db, &ChatKey::new("x", "main", "c"), reason, sender, Timestamp(at)).expect("on record");
        };
        record(NO_AGENT_WIRED, Some(&"ü".repeat(1 << 20)), 1);
        record(NO_AGENT_WIRED, None, 2);
        record(NO_AGENT_ENGAGED, None, 3);
        let told: Vec<_> = recent(&db, 10)
            .expect("rows")
            .into_iter()
            .map(|drop| {
                (drop.reason, drop.message_count, drop.last_sender.map(|name| name.len()), drop.last_seen)
            })
            .collect();
        let want = [(NO_AGENT_ENGAGED.to_owned(), 1, None, 3), (NO_AGENT_WIRED.to_owned(), 2, Some(512), 2)];
        assert_eq!(told, want);
        assert_eq!(totals(&db).expect("they are counted"), (3, 1));
    }

    #[test]
    fn reason_and_sender_are_kept_as_one_bounded_line_each() {
        let db = crate::db::in_memory();
        let evil = format!("a\n\u{1b}[2J{}", "x".repeat(100_000));
        for _ in 0..2 {
            record(&db, &ChatKey::new("x", "main", "c"), &evil, Some(&evil), Timestamp(0))
                .expect("on record");
        }
        let drops = recent(&db, 9).expect("it answers");
        let [DroppedMessage { reason, last_sender: Some(sender), message_count: 2, .. }] = &drops[..] else {
            panic!("{drops:?}")
        };
        for kept in [reason, sender] {
            assert!(kept.starts_with("a \u{fffd}[2Jxx"), "{kept}");
            assert_eq!(kept.chars().count(), words::REASON_CHARS_MAX);
        }
    }
}
