//! Plugin state: the values that a channel keeps for each of its accounts, by key.
//!
//! Invariant: state that comes with a message is written in that message's commit, or not at all.

use crate::db::{ReadTxn, WriteTxn};
use crate::error::{Error, Result};
use rusqlite::{OptionalExtension, params};
use vestibule_plugin_api::{STATE_KEYS_MAX, StateWrite};

/// The value of a key, if there is one.
pub fn get(db: &ReadTxn, channel: &str, account: &str, key: &str) -> Result<Option<String>> {
    let mut statement = db.prepare_cached(
        "SELECT value FROM plugin_state WHERE channel_type = ?1 AND account = ?2 AND key = ?3",
    )?;
    Ok(statement.query_row([channel, account, key], |r| r.get(0)).optional()?)
}

/// Performs writes, in order, whose sizes were checked before.
///
/// # Errors
/// [`Error::Refused`]: the account would hold more than [`STATE_KEYS_MAX`] keys.
pub fn apply(db: &WriteTxn, channel: &str, account: &str, writes: &[StateWrite]) -> Result<()> {
    let mut is_new = false;
    for StateWrite { key, value } in writes {
        let Some(value) = value else {
            db.prepare_cached(
                "DELETE FROM plugin_state WHERE channel_type = ?1 AND account = ?2 AND key = ?3",
            )?
            .execute([channel, account, key])?;
            continue;
        };
        let at = params![channel, account, key, value];
        let changed = db
            .prepare_cached(
                "UPDATE plugin_state SET value = ?4 WHERE channel_type = ?1 AND account = ?2 AND key = ?3",
            )?
            .execute(at)?;
        if changed == 0 {
            is_new = true;
            db.prepare_cached(
                "INSERT INTO plugin_state (channel_type, account, key, value) VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute(at)?;
        }
    }
    if !is_new {
        return Ok(());
    }
    let held: i64 = db
        .prepare_cached("SELECT COUNT(*) FROM plugin_state WHERE channel_type = ?1 AND account = ?2")?
        .query_row([channel, account], |r| r.get(0))?;
    if usize::try_from(held).unwrap_or(usize::MAX) > STATE_KEYS_MAX {
        let words = format!("the account would keep {held} keys, the limit is {STATE_KEYS_MAX}; forget some");
        return Err(Error::Refused(words));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn db() -> WriteTxn<'static> {
        let db = rusqlite::Connection::open_in_memory().expect("memory");
        db.execute_batch(include_str!("migrations/0014_plugin_state.sql")).expect("it fits");
        WriteTxn::of_test(db)
    }

    #[test]
    fn each_account_has_its_own() {
        let db = db();
        let put = |account, writes: &[StateWrite]| apply(&db, "telegram", account, writes).expect("it fits");
        put("a", &[StateWrite::set("offset", "1"), StateWrite::set("offset", "2")]);
        put("b", &[StateWrite::set("offset", "7"), StateWrite::set("x", ""), StateWrite::forget("x")]);
        let get = |account, key| get(&db, "telegram", account, key).expect("it reads");
        assert_eq!(get("a", "offset").as_deref(), Some("2"));
        assert_eq!(get("b", "offset").as_deref(), Some("7"));
        assert_eq!((get("b", "x"), get("c", "offset")), (None, None));
        assert_eq!(super::get(&db, "github", "a", "offset").expect("it reads"), None);
    }

    #[test]
    fn an_account_holds_so_many_keys() {
        let db = db();
        for number in 0..STATE_KEYS_MAX {
            apply(&db, "t", "a", &[StateWrite::set(number.to_string(), "v")]).expect("there is room");
        }
        let one_more = apply(&db, "t", "a", &[StateWrite::set("more", "v")]);
        assert!(matches!(one_more, Err(Error::Refused(words)) if words.contains("1025 keys")));
        // The caller's transaction would undo it; here there is none.
        apply(&db, "t", "a", &[StateWrite::forget("more")]).expect("less is fine");
        apply(&db, "t", "a", &[StateWrite::set("0", "w")]).expect("an old key may change");
        apply(&db, "t", "b", &[StateWrite::set("0", "v")]).expect("another account has its own room");
    }
}
