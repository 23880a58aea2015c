//! Plugin state: the values that a channel keeps for each of its accounts, by key.
//!
//! Invariant: state that comes with a message is written in that message's commit, or not at all.

use crate::db::{self, ReadTxn, WriteTxn};
use crate::error::{Error, Result};
use crate::home::Home;
use rusqlite::{OptionalExtension, params};
use vestibule_plugin_api::{STATE_KEYS_MAX, StatePage, StateWrite};

/// The value of a key, if there is one.
pub fn get(db: &ReadTxn, channel: &str, account: &str, key: &str) -> Result<Option<String>> {
    let mut statement = db.prepare_cached(
        "SELECT value FROM plugin_state WHERE channel_type = ?1 AND account = ?2 AND key = ?3",
    )?;
    Ok(statement.query_row([channel, account, key], |r| r.get(0)).optional()?)
}

/// The page of keys that begin with `prefix` and come after `after`, with their values.
///
/// # Errors
/// SQLite fails.
pub fn page(
    db: &ReadTxn,
    channel: &str,
    account: &str,
    prefix: &str,
    after: Option<&str>,
) -> Result<StatePage> {
    let mut statement = db.prepare_cached(
        "SELECT key, value FROM plugin_state WHERE channel_type = ?1 AND account = ?2 AND key >= ?3 AND key > ?4 \
         ORDER BY key",
    )?;
    let mut rows = statement.query([channel, account, prefix, after.unwrap_or_default()])?;
    let mut page = StatePage::default();
    while let Some(row) = rows.next()? {
        let key: String = row.get(0)?;
        // Keys are compared by their bytes, so those that begin so stand together.
        if !key.starts_with(prefix) || !page.push(key, row.get(1)?) {
            break;
        }
    }
    Ok(page)
}

/// How many values are secrets, by the word of the channels that wrote them.
///
/// # Errors
/// SQLite fails.
pub fn secrets(db: &ReadTxn) -> Result<u64> {
    let count: i64 = db.query_row("SELECT COUNT(*) FROM plugin_state WHERE secret", [], |r| r.get(0))?;
    Ok(count.unsigned_abs())
}

/// The secrets that an account has kept, by key, in the database of a home in which no runtime runs. It is read, and not
/// changed; one that is older than secrets has none.
///
/// # Errors
/// SQLite fails.
pub fn kept_secrets(home: &Home, channel: &str, account: &str) -> Result<Vec<(String, String)>> {
    let path = home.central_db();
    if !path.exists() {
        return Ok(Vec::new());
    }
    let secrets = |db: &ReadTxn| {
        let has_secrets = "SELECT COUNT(*) FROM pragma_table_info('plugin_state') WHERE name = 'secret'";
        if db.query_row(has_secrets, [], |row| row.get::<_, i64>(0))? == 0 {
            return Ok(Vec::new());
        }
        let mut statement = db.prepare_cached(
            "SELECT key, value FROM plugin_state WHERE channel_type = ?1 AND account = ?2 AND secret",
        )?;
        let rows = statement.query_map([channel, account], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    };
    db::read_at_rest(&path, secrets)
}

/// The keys that begin with `prefix`.
///
/// # Errors
/// SQLite fails.
pub fn keys(db: &ReadTxn, channel: &str, account: &str, prefix: &str) -> Result<Vec<String>> {
    let mut statement = db.prepare_cached(
        "SELECT key FROM plugin_state INDEXED BY plugin_state_keys WHERE channel_type = ?1 AND account = ?2 \
         AND key >= ?3 AND substr(key, 1, length(?3)) = ?3",
    )?;
    let rows = statement.query_map([channel, account, prefix], |row| row.get(0))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Performs writes, in order, whose sizes were checked before.
///
/// # Errors
/// [`Error::Refused`]: the account would hold more than [`STATE_KEYS_MAX`] keys.
pub fn apply(db: &WriteTxn, channel: &str, account: &str, writes: &[StateWrite]) -> Result<()> {
    let mut is_new = false;
    for StateWrite { key, value, prefix, secret } in writes {
        if let Some(prefix) = prefix {
            db.prepare_cached(
                "DELETE FROM plugin_state WHERE channel_type = ?1 AND account = ?2 AND key >= ?3 \
                 AND substr(key, 1, length(?3)) = ?3",
            )?
            .execute([channel, account, prefix])?;
            continue;
        }
        let Some(value) = value else {
            db.prepare_cached(
                "DELETE FROM plugin_state WHERE channel_type = ?1 AND account = ?2 AND key = ?3",
            )?
            .execute([channel, account, key])?;
            continue;
        };
        let at = params![channel, account, key, value, secret];
        let changed = db
            .prepare_cached(
                "UPDATE plugin_state SET value = ?4, secret = ?5 WHERE channel_type = ?1 AND account = ?2 AND key = ?3",
            )?
            .execute(at)?;
        if changed == 0 {
            is_new = true;
            db.prepare_cached(
                "INSERT INTO plugin_state (channel_type, account, key, value, secret) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(at)?;
        }
    }
    if !is_new {
        return Ok(());
    }
    let held: i64 = db
        .prepare_cached(
            "SELECT COUNT(*) FROM plugin_state INDEXED BY plugin_state_keys WHERE channel_type = ?1 AND account = ?2",
        )?
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
    use vestibule_plugin_api::STATE_VALUE_BYTES_MAX;

    fn db() -> WriteTxn<'static> {
        let db = rusqlite::Connection::open_in_memory().expect("memory");
        for file in [
            include_str!("migrations/0014_plugin_state.sql"),
            include_str!("migrations/0036_secret_state.sql"),
            include_str!("migrations/0037_state_keys.sql"),
        ] {
            db.execute_batch(file).expect("it fits");
        }
        WriteTxn::of_test(db)
    }

    #[test]
    fn a_secret_is_one_until_another_value_takes_its_place() {
        let db = db();
        for (write, want) in [
            (StateWrite::set("cursor", "1"), 0),
            (StateWrite::set_secret("token", "t"), 1),
            (StateWrite::set_secret("cursor", "2"), 2),
            (StateWrite::set("cursor", "3"), 1),
            (StateWrite::forget("token"), 0),
        ] {
            apply(&db, "slack", "main", std::slice::from_ref(&write)).expect("it fits");
            assert_eq!(secrets(&db).expect("it reads"), want, "{write:?}");
        }
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

    /// Values may be long, and every other writer waits meanwhile.
    #[test]
    fn keys_are_counted_without_their_values() {
        let db = db();
        let long = "x".repeat(STATE_VALUE_BYTES_MAX);
        for number in 0..STATE_KEYS_MAX {
            let value = if number == 0 { "v" } else { &long };
            apply(&db, "t", "a", &[StateWrite::set(format!("due/{number}"), value)]).expect("there is room");
        }
        let begin = std::time::Instant::now();
        for _ in 0..20 {
            assert!(apply(&db, "t", "a", &[StateWrite::set("more", "v")]).is_err());
            apply(&db, "t", "a", &[StateWrite::forget("more")]).expect("it is undone");
            assert_eq!(keys(&db, "t", "a", "due/").expect("they are listed").len(), STATE_KEYS_MAX);
        }
        // The values that were read at each count have 64 MiB.
        assert!(begin.elapsed() < std::time::Duration::from_secs(1), "{:?}", begin.elapsed());
    }

    #[test]
    fn keys_are_listed_and_forgotten_by_their_beginning() {
        let keys = ["a", "held", "held%", "held/1", "held/2", "held/é", "heldé", "hele", "é/1"];
        // what is kept and what is forgotten besides, by the beginning; the keys in the order of their bytes
        for (prefix, count) in
            [("", 9), ("held/", 3), ("held", 6), ("held%", 1), ("hel", 7), ("é", 1), ("z", 0), ("H", 0)]
        {
            let db = db();
            for account in ["main", "other"] {
                let writes: Vec<_> = keys.iter().map(|key| StateWrite::set(*key, "v")).collect();
                apply(&db, "t", account, &writes).expect("there is room");
            }
            let listed = |account: &str, prefix: &str| {
                let page = page(&db, "t", account, prefix, None).expect("it reads");
                assert_eq!(page.next, None);
                page.entries.into_iter().map(|entry| entry.key).collect::<Vec<_>>()
            };
            let want: Vec<&str> = keys.into_iter().filter(|key| key.starts_with(prefix)).collect();
            assert_eq!(
                (listed("main", prefix).len(), listed("main", prefix)),
                (count, want.iter().map(|key| (*key).to_owned()).collect())
            );
            let writes = [
                StateWrite::set("held/3", "v"),
                StateWrite::forget_prefix(prefix),
                StateWrite::set("a", "w"),
            ];
            apply(&db, "t", "main", &writes).expect("in order");
            let mut left: Vec<&str> = keys
                .into_iter()
                .chain(["held/3"])
                .filter(|key| !key.starts_with(prefix))
                .chain(["a"])
                .collect();
            left.sort_unstable();
            left.dedup();
            assert_eq!(listed("main", ""), left, "{prefix}");
            assert_eq!(listed("other", "").len(), keys.len(), "another account keeps its own");
        }
    }

    #[test]
    fn one_page_goes_on_after_the_other() {
        let db = db();
        for number in 0..300 {
            apply(&db, "t", "a", &[StateWrite::set(format!("k{number:03}"), "v")]).expect("there is room");
        }
        let (mut after, mut sizes, mut keys) = (None, Vec::new(), Vec::new());
        loop {
            let page = page(&db, "t", "a", "k", after.as_deref()).expect("it reads");
            sizes.push(page.entries.len());
            keys.extend(page.entries.into_iter().map(|entry| entry.key));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(sizes, [128, 128, 44]);
        assert_eq!(keys, (0..300).map(|number| format!("k{number:03}")).collect::<Vec<_>>());
        assert_eq!(page(&db, "t", "a", "k", Some("k299")).expect("it reads"), StatePage::default());
        assert_eq!(page(&db, "t", "a", "k1", Some("k0")).expect("it reads").entries[0].key, "k100");
    }
}
