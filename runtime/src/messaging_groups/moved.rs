//! Chats that have another id now, and chats that an account has left.

use super::{MessagingGroup, by_id, ignores_case, parts, spelled, spelling};
use crate::chat_key::ChatKey;
use crate::clock::Timestamp;
use crate::db::{ReadTxn, WriteTxn};
use crate::error::Result;
use crate::id::MessagingGroupId;
use rusqlite::{OptionalExtension, params};

/// What became of a chat that has another id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Moved {
    /// It is not known here, or had this id already.
    Unknown,
    /// It has the new id from now on.
    To(MessagingGroup),
    /// The new id is that of another known chat, to which agents are wired or which has sessions: both stay.
    Taken(MessagingGroup),
    /// It has had as many ids as are kept, and stays.
    TooOften,
}

/// The most ids that a chat had before: each of them is kept for ever.
const FORMER_MAX: i64 = 64;

/// Gives a chat another id. `is_free` says whether a chat that is known by that id already may make way: then it is
/// removed.
///
/// # Errors
/// SQLite fails.
pub fn move_to(
    db: &WriteTxn,
    chat: &ChatKey,
    to: &str,
    is_free: impl Fn(&MessagingGroup) -> Result<bool>,
) -> Result<Moved> {
    let Some(group) = super::at(db, chat)? else { return Ok(Moved::Unknown) };
    if group.platform_id == to {
        return Ok(Moved::Unknown);
    }
    let there = ChatKey { platform_id: to.to_owned(), ..chat.clone() };
    let mut other = spelled(db, &there)?;
    if other.is_none() && ignores_case(db, &chat.channel_type)? {
        let known = spelling(db, &there)?.map(|platform_id| ChatKey { platform_id, ..there });
        other = known.map(|known| spelled(db, &known)).transpose()?.flatten();
    }
    let former: i64 = db
        .prepare_cached(
            "SELECT COUNT(*) FROM moved_chats WHERE messaging_group_id = ?1 AND platform_id NOT IN (?2, ?3)",
        )?
        .query_row(params![group.id, group.platform_id, to], |row| row.get(0))?;
    if former >= FORMER_MAX {
        return Ok(Moved::TooOften);
    }
    if let Some(other) = other.filter(|other| other.id != group.id) {
        if !is_free(&other)? {
            return Ok(Moved::Taken(other));
        }
        super::delete(db, &other.id)?;
    }
    db.execute(
        "UPDATE messaging_groups SET platform_id = ?2, left_at = NULL WHERE id = ?1",
        params![group.id, to],
    )?;
    db.execute(
        "INSERT OR REPLACE INTO moved_chats (channel_type, platform_id, account, messaging_group_id) \
         VALUES (?1, ?2, ?3, ?4)",
        params![group.channel_type, group.platform_id, group.account, group.id],
    )?;
    // What once moved away from this id, and comes back to it, is no earlier name of itself.
    db.execute(
        "DELETE FROM moved_chats WHERE channel_type = ?1 AND platform_id = ?2 AND account = ?3",
        params![group.channel_type, to, group.account],
    )?;
    Ok(Moved::To(MessagingGroup { platform_id: to.to_owned(), ..group }))
}

/// The chat that had this id before.
pub(super) fn formerly(db: &ReadTxn, chat: &ChatKey) -> Result<Option<MessagingGroup>> {
    let mut statement = db.prepare_cached(
        "SELECT messaging_group_id FROM moved_chats WHERE channel_type = ?1 AND account = ?2 AND platform_id = ?3",
    )?;
    let id: Option<MessagingGroupId> = statement.query_row(parts(chat), |row| row.get(0)).optional()?;
    id.map_or(Ok(None), |id| by_id(db, &id))
}

/// The chats that had this id before, one for each account.
pub(super) fn formerly_on_any_account(
    db: &ReadTxn,
    channel: &str,
    chat: &str,
) -> Result<Vec<MessagingGroup>> {
    let mut statement = db.prepare_cached(
        "SELECT messaging_group_id FROM moved_chats WHERE channel_type = ?1 AND platform_id = ?2 ORDER BY account",
    )?;
    let ids = statement.query_map([channel, chat], |row| row.get::<_, MessagingGroupId>(0))?;
    let mut found = Vec::new();
    for id in ids {
        found.extend(by_id(db, &id?)?);
    }
    Ok(found)
}

/// Notes that the account takes part in a chat, or no longer. False when that was known.
///
/// # Errors
/// SQLite fails.
pub fn note_left(db: &WriteTxn, id: &MessagingGroupId, left_at: Option<Timestamp>) -> Result<bool> {
    let left_at = left_at.map(|at| at.0);
    let mut statement = db.prepare_cached(
        "UPDATE messaging_groups SET left_at = ?2 WHERE id = ?1 AND (left_at IS NULL) = (?2 IS NOT NULL)",
    )?;
    Ok(statement.execute(params![id, left_at])? > 0)
}

#[cfg(test)]
mod tests {
    use super::super::{at, find_or_create, on_any_account};
    use super::*;

    /// A channel may say so without end, and each id is a row that stays.
    #[test]
    fn a_chat_is_known_by_so_many_ids() {
        let db = crate::db::in_memory();
        let key = |chat: &str| ChatKey::new("x", "main", chat);
        find_or_create(&db, &key("0"), None, Timestamp(0)).expect("made");
        let go = |from: i64, to: i64| {
            move_to(&db, &key(&from.to_string()), &to.to_string(), |_| Ok(true)).expect("it is answered")
        };
        for number in 0..FORMER_MAX {
            assert!(matches!(go(number, number + 1), Moved::To(_)), "{number}");
        }
        assert_eq!(go(FORMER_MAX, FORMER_MAX + 1), Moved::TooOften);
        let count = || db.query_row("SELECT COUNT(*) FROM moved_chats", [], |row| row.get::<_, i64>(0));
        assert_eq!(count(), Ok(FORMER_MAX));
        // To one of its ids it goes back.
        assert!(matches!(go(FORMER_MAX, 7), Moved::To(_)));
        assert_eq!(count(), Ok(FORMER_MAX));
    }

    #[test]
    fn a_chat_that_moved_is_found_by_all_its_ids() {
        let db = crate::db::in_memory();
        let key = |chat: &str| ChatKey::new("x", "main", chat);
        let made = |chat: &str| find_or_create(&db, &key(chat), None, Timestamp(0)).expect("made");
        let group = made("a");
        let go = |from: &str, to: &str, free: bool| match move_to(&db, &key(from), to, |_| Ok(free))
            .expect("it is answered")
        {
            Moved::Unknown => "unknown".to_owned(),
            Moved::To(group) => format!("to {}", group.platform_id),
            Moved::Taken(other) => format!("taken by {}", other.platform_id),
            Moved::TooOften => "too often".to_owned(),
        };
        let found = |chat: &str| at(&db, &key(chat)).expect("read").map(|found| found.platform_id);
        made("wired");
        for (from, to, free, want) in [
            ("nowhere", "b", true, "unknown"),
            ("a", "a", true, "unknown"),
            ("a", "wired", false, "taken by wired"),
            ("a", "b", true, "to b"),
            ("a", "b", true, "unknown"), // told again
            ("b", "wired", true, "to wired"),
            ("wired", "c", true, "to c"),
        ] {
            assert_eq!(go(from, to, free), want, "{from} {to}");
        }
        for chat in ["a", "b", "wired", "c"] {
            assert_eq!(found(chat).as_deref(), Some("c"), "{chat}");
            let known = on_any_account(&db, "x", chat).expect("read");
            assert_eq!(
                known.iter().map(|one| one.id.as_str()).collect::<Vec<_>>(),
                [group.id.as_str()],
                "{chat}"
            );
        }
        assert_eq!(go("c", "a", true), "to a", "back to its first id");
        assert_eq!(found("a").as_deref(), Some("a"));
        assert_eq!(found("nowhere"), None);
    }

    #[test]
    fn where_case_means_nothing_the_new_id_is_taken_in_any_spelling() {
        let db = crate::db::in_memory();
        super::super::note_case(&db, &[("x".to_owned(), true)]).expect("noted");
        let key = |chat: &str| ChatKey::new("x", "main", chat);
        for chat in ["x:a", "x:b"] {
            find_or_create(&db, &key(chat), None, Timestamp(0)).expect("made");
        }
        let go = |to: &str, free| move_to(&db, &key("x:a"), to, |_| Ok(free)).expect("it is answered");
        assert!(matches!(go("X:B", false), Moved::Taken(other) if other.platform_id == "x:b"));
        assert!(matches!(go("X:A", false), Moved::To(group) if group.platform_id == "X:A"));
        assert!(matches!(go("X:B", true), Moved::To(group) if group.platform_id == "X:B"));
        assert_eq!(at(&db, &key("x:b")).expect("read").expect("there").platform_id, "X:B");
    }

    #[test]
    fn an_account_leaves_a_chat_once() {
        let db = crate::db::in_memory();
        let group = find_or_create(&db, &ChatKey::new("x", "main", "a"), None, Timestamp(0)).expect("made");
        let note = |left| note_left(&db, &group.id, left).expect("noted");
        assert_eq!([note(None), note(Some(Timestamp(3))), note(Some(Timestamp(4)))], [false, true, false]);
        assert_eq!(at(&db, &group.key()).expect("read").expect("there").left_at, Some(Timestamp(3)));
        assert_eq!([note(None), note(None)], [true, false]);
    }
}
