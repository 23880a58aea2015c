//! Taken webhooks: the signed requests that their channels took, so that a recorded one is known when it is posted again.
//!
//! Invariant: a request is answered with success only after it is here.

use crate::db::{ReadTxn, WriteTxn};
use crate::error::Result;
use rusqlite::params;

/// So many are remembered, the newest. With a scheme that says when a request was signed, an older one is out
/// of its window long before; with the others the event's id tells a repetition for longer.
pub const REMEMBERED_MAX: usize = 20_000;

/// Which account a request was posted to, and what it is known by: its channel type, the account, the signature.
pub type Key = (String, String, [u8; 32]);

/// Notes one more, and forgets the oldest of too many.
pub fn note(db: &WriteTxn, (channel_type, account, signature): &Key) -> Result<()> {
    db.prepare_cached("INSERT INTO taken_webhooks (channel_type, account, signature) VALUES (?1, ?2, ?3)")?
        .execute(params![channel_type, account, signature])?;
    let most = i64::try_from(REMEMBERED_MAX).unwrap_or(i64::MAX);
    db.prepare_cached(
        "DELETE FROM taken_webhooks WHERE number <= (SELECT max(number) FROM taken_webhooks) - ?1",
    )?
    .execute([most])?;
    Ok(())
}

/// All that are remembered, the oldest first.
pub fn all(db: &ReadTxn) -> Result<Vec<Key>> {
    let mut statement =
        db.prepare("SELECT channel_type, account, signature FROM taken_webhooks ORDER BY number")?;
    let rows = statement.query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_remembered_in_their_order() {
        let db = crate::db::in_memory();
        let key = |number: usize| {
            let mut signature = [0; 32];
            signature[..8].copy_from_slice(&number.to_le_bytes());
            ("x".to_owned(), "main".to_owned(), signature)
        };
        for number in 0..REMEMBERED_MAX + 2 {
            note(&db, &key(number)).expect("it is noted");
        }
        let all = all(&db).expect("they are read");
        assert_eq!(all.len(), REMEMBERED_MAX);
        assert!(all[0] == key(2) && all[REMEMBERED_MAX - 1] == key(REMEMBERED_MAX + 1));
    }
}
