//! Messaging groups: one chat each, on one account of one channel.
//!
//! Invariant: `platform_id` is byte for byte what the adapter hands over.

use crate::chat_key::ChatKey;
use crate::clock::Timestamp;
use crate::db::{ReadTxn, WriteTxn};
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
}

impl MessagingGroup {
    /// Where it is.
    pub fn key(&self) -> ChatKey {
        ChatKey::new(&self.channel_type, &self.account, &self.platform_id)
    }
}

const COLUMNS: &str = "id, channel_type, account, platform_id, name, title, is_group";

fn of(row: &Row<'_>) -> rusqlite::Result<MessagingGroup> {
    Ok(MessagingGroup {
        id: row.get(0)?,
        channel_type: row.get(1)?,
        account: row.get(2)?,
        platform_id: row.get(3)?,
        name: row.get(4)?,
        title: row.get(5)?,
        is_group: row.get(6)?,
    })
}

/// All messaging groups.
pub fn list(db: &ReadTxn) -> Result<Vec<MessagingGroup>> {
    let sql = format!("SELECT {COLUMNS} FROM messaging_groups ORDER BY channel_type, account, platform_id");
    let mut statement = db.prepare(&sql)?;
    let rows = statement.query_map([], of)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// The chat at this place.
pub fn at(db: &ReadTxn, chat: &ChatKey) -> Result<Option<MessagingGroup>> {
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
    let sql = format!("SELECT {COLUMNS} FROM messaging_groups WHERE id = ?1 OR platform_id = ?1 LIMIT 2");
    let mut statement = db.prepare(&sql)?;
    let found: Vec<MessagingGroup> = statement.query_map([name], of)?.collect::<rusqlite::Result<_>>()?;
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

/// The chats with this platform id, one for each account that knows it.
pub fn on_any_account(db: &ReadTxn, channel: &str, chat: &str) -> Result<Vec<MessagingGroup>> {
    let sql = format!("SELECT {COLUMNS} FROM messaging_groups WHERE channel_type = ?1 AND platform_id = ?2");
    let mut statement = db.prepare_cached(&sql)?;
    let rows = statement.query_map([channel, chat], of)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
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
}
