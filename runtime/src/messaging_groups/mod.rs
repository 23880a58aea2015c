//! Messaging groups: one chat each, on one account of one channel.
//!
//! Invariants:
//! - `platform_id` is byte for byte what the adapter hands over.
//! - On a channel that says that case means nothing a chat is found in any spelling, and no second one is made.

mod moved;

pub use moved::{Moved, move_to, note_left};

use crate::chat_key::ChatKey;
use crate::clock::Timestamp;
use crate::db::{self, ReadTxn, WriteTxn};
use crate::error::{Error, Result};
use crate::id::MessagingGroupId;
use rusqlite::{OptionalExtension, Row, params};
use serde::Serialize;

/// One chat known to the runtime.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MessagingGroup {
    /// Its id, minted by the runtime.
    pub id: MessagingGroupId,
    /// The kind of platform.
    pub channel_type: String,
    /// The login on that platform.
    pub account: String,
    /// The chat, as the adapter spells it.
    pub platform_id: String,
    /// The operator's name for it.
    pub name: Option<String>,
    /// The platform's name for it.
    pub title: Option<String>,
    /// Whether more than two take part, where its channel says so.
    pub is_group: Option<bool>,
    /// Since when the account takes part in it no longer, if it left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left_at: Option<Timestamp>,
}

impl MessagingGroup {
    /// Where it is.
    pub fn key(&self) -> ChatKey {
        ChatKey::new(&self.channel_type, &self.account, &self.platform_id)
    }
}

const COLUMNS: &str = "id, channel_type, account, platform_id, name, title, is_group, left_at";

fn of(row: &Row<'_>) -> rusqlite::Result<MessagingGroup> {
    Ok(MessagingGroup {
        id: row.get(0)?,
        channel_type: row.get(1)?,
        account: row.get(2)?,
        platform_id: row.get(3)?,
        name: row.get(4)?,
        title: row.get(5)?,
        is_group: row.get(6)?,
        left_at: row.get::<_, Option<i64>>(7)?.map(Timestamp),
    })
}

/// All messaging groups.
pub fn list(db: &ReadTxn) -> Result<Vec<MessagingGroup>> {
    let sql = format!("SELECT {COLUMNS} FROM messaging_groups ORDER BY channel_type, account, platform_id");
    let mut statement = db.prepare(&sql)?;
    let rows = statement.query_map([], of)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// What the key of a note begins with: the ids of the chats of the channel that follows compare without case.
const IGNORES_CASE: &str = "ignores_case:";

/// Notes for channels whether the ids of their chats compare without case. It is known from then on, also while a
/// channel's plugin is away.
pub fn note_case(db: &WriteTxn, channels: &[(String, bool)]) -> Result<()> {
    for (channel_type, ignored) in channels {
        let key = format!("{IGNORES_CASE}{channel_type}");
        match (ignored, db::note(db, &key)?.is_some()) {
            (true, false) => db::set_note(db, &key, "")?,
            (false, true) => db::remove_note(db, &key)?,
            (true, true) | (false, false) => {}
        }
    }
    Ok(())
}

/// Whether the ids of a channel's chats compare without case.
pub fn ignores_case(db: &ReadTxn, channel_type: &str) -> Result<bool> {
    Ok(db::note(db, &format!("{IGNORES_CASE}{channel_type}"))?.is_some())
}

/// The chat at this place, also by an id that it had before.
pub fn at(db: &ReadTxn, chat: &ChatKey) -> Result<Option<MessagingGroup>> {
    let found = spelled(db, chat)?;
    if found.is_some() {
        return Ok(found);
    }
    match ignores_case(db, &chat.channel_type)?.then(|| spelling(db, chat)).transpose()?.flatten() {
        Some(known) => spelled(db, &ChatKey { platform_id: known, ..chat.clone() }),
        None => moved::formerly(db, chat),
    }
}

/// The id that a chat has now which is known by another one: by another spelling, or by one that it had before.
///
/// # Errors
/// SQLite fails.
pub fn called_now(db: &ReadTxn, chat: &ChatKey) -> Result<Option<String>> {
    let known = at(db, chat)?.map(|group| group.platform_id);
    Ok(known.filter(|known| *known != chat.platform_id))
}

/// The chat at this place, if it is spelled so.
fn spelled(db: &ReadTxn, chat: &ChatKey) -> Result<Option<MessagingGroup>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM messaging_groups WHERE channel_type = ?1 AND account = ?2 AND platform_id = ?3"
    );
    Ok(db.prepare_cached(&sql)?.query_row(parts(chat), of).optional()?)
}

fn parts(chat: &ChatKey) -> [&str; 3] {
    [&chat.channel_type, &chat.account, &chat.platform_id]
}

/// The known spelling of a chat whose id compares without case; `None` when the chat is not known, or is spelled so
/// already.
pub fn spelling(db: &ReadTxn, chat: &ChatKey) -> Result<Option<String>> {
    let sql = "SELECT platform_id FROM messaging_groups WHERE channel_type = ?1 AND account = ?2 \
               AND platform_id = ?3 COLLATE NOCASE ORDER BY platform_id = ?3 DESC, created_at, id LIMIT 1";
    let known: Option<String> =
        db.prepare_cached(sql)?.query_row(parts(chat), |row| row.get(0)).optional()?;
    Ok(known.filter(|known| *known != chat.platform_id))
}

/// The chat with this id.
pub fn by_id(db: &ReadTxn, id: &MessagingGroupId) -> Result<Option<MessagingGroup>> {
    let mut statement =
        db.prepare_cached(&format!("SELECT {COLUMNS} FROM messaging_groups WHERE id = ?1"))?;
    Ok(statement.query_row([id], of).optional()?)
}

/// The chat with this id, or this platform id if only one chat has it.
///
/// # Errors
/// There is none, or more than one.
pub fn named(db: &ReadTxn, name: &str) -> Result<MessagingGroup> {
    let those = |which: &str| {
        let mut statement = db.prepare(&format!("SELECT {COLUMNS} FROM messaging_groups WHERE {which}"))?;
        let rows = statement.query_map([name], of)?;
        rows.collect::<rusqlite::Result<Vec<MessagingGroup>>>()
    };
    let mut found = those("id = ?1 OR platform_id = ?1 LIMIT 2")?;
    if found.is_empty() {
        for group in those("platform_id = ?1 COLLATE NOCASE")? {
            if ignores_case(db, &group.channel_type)? {
                found.push(group);
            }
        }
    }
    match <[MessagingGroup; 1]>::try_from(found) {
        Ok([one]) => Ok(one),
        Err(none) if none.is_empty() => Err(Error::Refused(format!(
            "there is no messaging group `{name}`; `vestibule messaging-group list` shows them"
        ))),
        Err(_) => {
            Err(Error::Refused(format!("several messaging groups are called `{name}`; name one by its id")))
        }
    }
}

/// The chat at this place; made if it is new.
pub fn find_or_create(
    db: &WriteTxn,
    chat: &ChatKey,
    name: Option<&str>,
    now: Timestamp,
) -> Result<MessagingGroup> {
    if let Some(found) = at(db, chat)? {
        return Ok(found);
    }
    for (what, text) in ["channel", "account", "chat"].into_iter().zip(parts(chat)) {
        if text.is_empty() || text.len() > 512 || text.chars().any(char::is_control) {
            return Err(Error::Refused(format!(
                "the {what} must be 1 to 512 bytes without control characters"
            )));
        }
    }
    let group = MessagingGroup {
        id: MessagingGroupId::mint(),
        channel_type: chat.channel_type.clone(),
        account: chat.account.clone(),
        platform_id: chat.platform_id.clone(),
        name: name.map(str::to_owned),
        title: None,
        is_group: None,
        left_at: None,
    };
    db.execute(
        "INSERT INTO messaging_groups (id, channel_type, account, platform_id, name, created_at) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![group.id, group.channel_type, group.account, group.platform_id, group.name, now.0],
    )?;
    Ok(group)
}

/// Stores the operator's name of a chat.
pub fn rename(db: &WriteTxn, id: &MessagingGroupId, name: Option<&str>) -> Result<()> {
    db.execute("UPDATE messaging_groups SET name = ?2 WHERE id = ?1", params![id, name])?;
    Ok(())
}

/// Stores what the channel says of a chat; a field that it leaves out stays.
pub fn describe(
    db: &WriteTxn,
    id: &MessagingGroupId,
    title: Option<&str>,
    is_group: Option<bool>,
) -> Result<()> {
    db.prepare_cached(
        "UPDATE messaging_groups SET title = COALESCE(?2, title), is_group = COALESCE(?3, is_group) WHERE id = ?1",
    )?
    .execute(params![id, title, is_group])?;
    Ok(())
}

/// Removes a chat with its wirings.
pub fn delete(db: &WriteTxn, id: &MessagingGroupId) -> Result<()> {
    db.execute("DELETE FROM messaging_groups WHERE id = ?1", [id])?;
    Ok(())
}

/// The chats with this platform id, one for each account that knows it, and as it is spelled, where the account knows
/// more than one spelling.
pub fn on_any_account(db: &ReadTxn, channel: &str, chat: &str) -> Result<Vec<MessagingGroup>> {
    let collation = if ignores_case(db, channel)? { "NOCASE" } else { "BINARY" };
    let sql = format!(
        "SELECT {COLUMNS} FROM messaging_groups WHERE channel_type = ?1 AND platform_id = ?2 COLLATE {collation} \
         ORDER BY platform_id = ?2 DESC, created_at, id"
    );
    let mut statement = db.prepare_cached(&sql)?;
    let mut found: Vec<MessagingGroup> = Vec::new();
    let named = statement.query_map([channel, chat], of)?.collect::<rusqlite::Result<Vec<_>>>()?;
    for group in named.into_iter().chain(moved::formerly_on_any_account(db, channel, chat)?) {
        if !found.iter().any(|other| other.account == group.account) {
            found.push(group);
        }
    }
    Ok(found)
}

/// The spelling by which a chat is known, on whatever account; `None` when it is not known, or is spelled so already.
pub fn known_as(db: &ReadTxn, channel: &str, chat: &str) -> Result<Option<String>> {
    let first = on_any_account(db, channel, chat)?.into_iter().next();
    Ok(first.map(|group| group.platform_id).filter(|known| known != chat))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chat_is_found_in_any_case_and_first_as_it_is_spelled() {
        let db = crate::db::in_memory();
        let known = |chat: &str| {
            find_or_create(&db, &ChatKey::new("x", "main", chat), None, Timestamp(0)).expect("made")
        };
        known("x:Acme/Widgets");
        let spelled =
            |account: &str, chat: &str| spelling(&db, &ChatKey::new("x", account, chat)).expect("read");
        assert_eq!(spelled("main", "x:acme/WIDGETS").as_deref(), Some("x:Acme/Widgets"));
        assert_eq!(spelled("main", "x:Acme/Widgets"), None, "it is so already");
        assert_eq!(spelled("main", "x:Acme/Widget"), None);
        assert_eq!(spelled("second", "x:acme/widgets"), None);
        known("x:acme/widgets");
        assert_eq!(spelled("main", "x:acme/widgets"), None, "each as it is spelled, if both are there");
    }

    #[test]
    fn where_case_means_nothing_a_chat_is_one_however_it_is_named() {
        let db = crate::db::in_memory();
        let clock = std::cell::Cell::new(0);
        let made = |channel: &str, account: &str, chat: &str| {
            let chat = ChatKey::new(channel, account, chat);
            clock.set(clock.get() + 1);
            find_or_create(&db, &chat, None, Timestamp(clock.get())).expect("made").platform_id
        };
        let found = |channel: &str, chat: &str| {
            let there = at(&db, &ChatKey::new(channel, "main", chat)).expect("read");
            let known: Vec<_> = on_any_account(&db, channel, chat)
                .expect("read")
                .into_iter()
                .map(|group| format!("{} {}", group.account, group.platform_id))
                .collect();
            let as_known = known_as(&db, channel, chat).expect("read");
            (there.map(|group| group.platform_id), known.join(", "), as_known)
        };
        let cases = |x: bool, y: bool| {
            note_case(&db, &[("x".to_owned(), x), ("y".to_owned(), y)]).expect("noted");
        };
        cases(false, true);
        made("x", "main", "Acme");
        assert_eq!(found("x", "ACME"), (None, String::new(), None));
        assert!(named(&db, "ACME").is_err(), "here case means something");
        cases(true, false);
        assert_eq!(made("x", "main", "acme"), "Acme", "no second one");
        let known = Some("Acme".to_owned());
        assert_eq!(found("x", "ACME"), (known.clone(), "main Acme".to_owned(), known.clone()));
        assert_eq!(found("x", "Acme"), (known, "main Acme".to_owned(), None));
        assert_eq!(named(&db, "aCME").expect("one").platform_id, "Acme");
        made("y", "main", "Acme2");
        assert!(named(&db, "ACME2").is_err());
        made("x", "second", "ACME");
        assert_eq!(found("x", "ACME").1, "second ACME, main Acme");
        assert!(named(&db, "acme").is_err(), "there are two");
        // Made while it was not known that case means nothing: each as it is spelled.
        cases(false, false);
        assert_eq!(made("x", "main", "ACME"), "ACME");
        cases(true, false);
        assert_eq!(found("x", "Acme").1, "main Acme, second ACME");
        assert_eq!(found("x", "ACME"), (Some("ACME".to_owned()), "second ACME, main ACME".to_owned(), None));
    }
}
