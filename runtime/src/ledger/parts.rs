//! The parts of a delivery: how many have gone out, which messages they became, and what their platform says of them later.

use super::deliveries::Delivery;
use crate::clock::Timestamp;
use crate::db::{ReadTxn, WriteTxn, address_at};
use crate::error::Result;
use crate::id::SessionId;
use rusqlite::{OptionalExtension, params};
use vestibule_plugin_api::{Fate, LateReceipt, SentSoFar};
use vestibule_session::words;

/// Notes how much of a delivery has gone out, of the message with the digest `of`. False when it is not being sent at this
/// moment.
///
/// # Errors
/// SQLite fails.
pub fn note_sent(
    db: &WriteTxn,
    session_id: &SessionId,
    id: &str,
    sent: &SentSoFar,
    of: &str,
) -> Result<bool> {
    let (first, further) = match sent.message_ids.split_first() {
        Some((first, further)) => (Some(first), further),
        None => (None, &[][..]),
    };
    let mut statement = db.prepare_cached(
        "UPDATE deliveries SET sent_parts = ?3, sent_note = ?4, platform_message_id = COALESCE(?5, platform_message_id), \
         sent_of = ?6 \
         WHERE session_id = ?1 AND message_out_id = ?2 AND state = 'sending'",
    )?;
    if statement.execute(params![session_id, id, sent.parts, sent.note, first, of])? == 0 {
        return Ok(false);
    }
    note_further(db, session_id, id, further.iter().map(String::as_str))?;
    Ok(true)
}

/// Notes which messages a delivery became beside the first.
///
/// # Errors
/// SQLite fails.
pub fn note_further<'a>(
    db: &WriteTxn,
    session_id: &SessionId,
    id: &str,
    further: impl IntoIterator<Item = &'a str>,
) -> Result<()> {
    let mut statement = db.prepare_cached(
        // An agent may be deleted while its reply is being sent, and the delivery with it.
        "INSERT OR REPLACE INTO further_messages (session_id, message_out_id, number, platform_message_id) \
         SELECT session_id, message_out_id, ?3, ?4 FROM deliveries WHERE session_id = ?1 AND message_out_id = ?2",
    )?;
    let mut count = 0;
    for (number, theirs) in (1..).zip(further) {
        statement.execute(params![session_id, id, number, theirs])?;
        count = number;
    }
    // Those of an earlier attempt that began anew.
    db.prepare_cached(
        "DELETE FROM further_messages WHERE session_id = ?1 AND message_out_id = ?2 AND number > ?3",
    )?
    .execute(params![session_id, id, count])?;
    Ok(())
}

/// The messages that a delivery became beside the first.
///
/// # Errors
/// SQLite fails.
pub fn further_messages(db: &ReadTxn, session_id: &SessionId, id: &str) -> Result<Vec<String>> {
    let mut statement = db.prepare_cached(
        "SELECT platform_message_id FROM further_messages WHERE session_id = ?1 AND message_out_id = ?2 ORDER BY number",
    )?;
    let rows = statement.query_map(params![session_id, id], |row| row.get(0))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// How much of a delivery an earlier attempt has sent, and the digest of what was cut into these parts; `None` for nothing
/// that is on record.
///
/// # Errors
/// SQLite fails.
pub fn sent_so_far(
    db: &ReadTxn,
    session_id: &SessionId,
    id: &str,
) -> Result<Option<(SentSoFar, Option<String>)>> {
    let mut statement = db.prepare_cached(
        "SELECT sent_parts, sent_note, platform_message_id, sent_of FROM deliveries WHERE session_id = ?1 AND message_out_id = ?2 \
         AND (sent_parts > 0 OR sent_note IS NOT NULL)",
    )?;
    let found = statement.query_row(params![session_id, id], |row| {
        Ok((row.get(0)?, row.get(1)?, row.get::<_, Option<String>>(2)?, row.get(3)?))
    });
    let Some((parts, note, first, of)) = found.optional()? else { return Ok(None) };
    let message_ids = first.into_iter().chain(further_messages(db, session_id, id)?).collect();
    Ok(Some((SentSoFar { parts, message_ids, note }, of)))
}

/// What a late receipt changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Late {
    /// Nothing: this account sent no such message, or more was known of it already.
    Nothing,
    /// The message may be one that is being sent at this moment, whose id is not on record yet.
    TooEarly,
    /// It is on record with the delivery.
    Noted,
    /// The delivery has failed after all, for this reason, and its agent is to be told.
    Failed(Box<Delivery>, String),
}

/// Takes what a platform says of a message after it took it. What is known of a message only grows: a receipt that says
/// less than an earlier one changes nothing, and a failure is believed once, until it was read.
///
/// # Errors
/// SQLite fails.
pub fn late_receipt(db: &WriteTxn, channel: &str, account: &str, receipt: &LateReceipt) -> Result<Late> {
    let Some((session_id, id, is_open)) = sent_as(db, channel, account, receipt)? else {
        return Ok(if is_sending(db, channel, account)? { Late::TooEarly } else { Late::Nothing });
    };
    if is_open {
        return Ok(Late::TooEarly); // a part of it is there, the rest is still to go out
    }
    let (word, reason, after) = match &receipt.fate {
        Fate::Sent => ("sent", None, "('')"),
        Fate::Delivered => ("delivered", None, "('', 'sent')"),
        Fate::Read => ("read", None, "('', 'sent', 'delivered')"),
        // Of several messages one may be read and another one fail.
        Fate::Failed { reason } if further_messages(db, &session_id, &id)?.is_empty() => {
            ("failed", Some(words::reason(reason)), "('', 'sent', 'delivered')")
        }
        Fate::Failed { reason } => {
            ("failed", Some(words::reason(reason)), "('', 'sent', 'delivered', 'read')")
        }
        Fate::Unknown => return Ok(Late::Nothing),
    };
    let sql = format!(
        "UPDATE deliveries SET fate = ?3, last_error = COALESCE(?4, last_error), \
         state = CASE WHEN ?4 IS NULL THEN state ELSE 'failed' END \
         WHERE session_id = ?1 AND message_out_id = ?2 AND state = 'delivered' AND COALESCE(fate, '') IN {after}"
    );
    if db.prepare_cached(&sql)?.execute(params![session_id, id, word, reason])? == 0 {
        return Ok(Late::Nothing);
    }
    let Some(reason) = reason else { return Ok(Late::Noted) };
    db.prepare_cached("UPDATE totals SET count = count - 1 WHERE name = 'delivered'")?.execute([])?;
    Ok(Late::Failed(Box::new(delivered(db, &session_id, &id)?), reason))
}

/// The delivery that became this message: its session, its id there, and whether its outcome is open.
fn sent_as(
    db: &ReadTxn,
    channel: &str,
    account: &str,
    receipt: &LateReceipt,
) -> Result<Option<(SessionId, String, bool)>> {
    let mut statement = db.prepare_cached(
        "SELECT session_id, message_out_id, state NOT IN ('delivered', 'failed', 'dropped') FROM deliveries WHERE platform_message_id = ?1 \
         AND channel_type = ?2 AND account = ?3 AND (?4 IS NULL OR platform_id = ?4) UNION ALL \
         SELECT d.session_id, d.message_out_id, d.state NOT IN ('delivered', 'failed', 'dropped') FROM further_messages f JOIN deliveries d \
         ON d.session_id = f.session_id AND d.message_out_id = f.message_out_id WHERE f.platform_message_id = ?1 \
         AND d.channel_type = ?2 AND d.account = ?3 AND (?4 IS NULL OR d.platform_id = ?4) LIMIT 1",
    )?;
    let chat = receipt.platform_id.as_ref().map(|chat| chat.as_str());
    let params = params![receipt.message_id, channel, account, chat];
    Ok(statement.query_row(params, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).optional()?)
}

fn is_sending(db: &ReadTxn, channel: &str, account: &str) -> Result<bool> {
    let mut statement = db.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM deliveries INDEXED BY deliveries_open WHERE channel_type = ?1 AND account = ?2 \
         AND state IN ('pending', 'sending', 'unknown', 'parked') AND (look_up OR state IN ('sending', 'unknown')))",
    )?;
    Ok(statement.query_row([channel, account], |row| row.get(0))?)
}

fn delivered(db: &ReadTxn, session_id: &SessionId, id: &str) -> Result<Delivery> {
    let mut statement = db.prepare_cached(
        "SELECT channel_type, account, platform_id, thread_id, content, attempts, taken_at, seq, due_at \
         FROM deliveries WHERE session_id = ?1 AND message_out_id = ?2",
    )?;
    Ok(statement.query_row(params![session_id, id], |row| {
        Ok(Delivery {
            session_id: session_id.clone(),
            message_out_id: id.to_owned(),
            in_reply_to: None,
            address: address_at(row, 0)?,
            content: row.get(4)?,
            attempts: row.get(5)?,
            taken_at: Timestamp(row.get(6)?),
            seq: row.get(7)?,
            due_at: Timestamp(row.get(8)?),
            look_up: false,
        })
    })?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A delivery of two messages, one that is being sent, and one of another account.
    fn filled() -> WriteTxn<'static> {
        let db = crate::db::in_memory();
        db.execute_batch(
            "INSERT INTO agent_groups (id, name, folder, created_at) VALUES ('a', 'a', 'a', 0); \
             INSERT INTO sessions (id, agent_group_id, created_at, last_active) VALUES ('s', 'a', 0, 0); \
             INSERT INTO deliveries (session_id, message_out_id, seq, kind, channel_type, account, platform_id, content, \
             state, platform_message_id, taken_at) VALUES \
             ('s', 'o1', 1, 'chat', 'x', 'main', 'c', '{}', 'delivered', 'p1', 0), \
             ('s', 'o2', 3, 'chat', 'x', 'main', 'c', '{}', 'sending', NULL, 0), \
             ('s', 'o3', 5, 'chat', 'x', 'second', 'c', '{}', 'delivered', 'p3', 0); \
             UPDATE totals SET count = 2 WHERE name = 'delivered'",
        )
        .expect("it fills");
        note_further(&db, &"s".into(), "o1", ["p1b", "p1c"]).expect("it is noted");
        db
    }

    #[test]
    fn what_was_sent_is_told_the_next_attempt() {
        let db = filled();
        let sent = |parts, ids: &[&str], note: Option<&str>| SentSoFar {
            parts,
            message_ids: ids.iter().map(|id| (*id).to_owned()).collect(),
            note: note.map(str::to_owned),
        };
        let note =
            |id: &str, sent: &SentSoFar| note_sent(&db, &"s".into(), id, sent, "d").expect("it is answered");
        let known = |id: &str| sent_so_far(&db, &"s".into(), id).expect("it is read");
        assert_eq!(known("o2"), None);
        for sent in [
            sent(0, &[], Some("a file is there")),
            sent(1, &["q1"], None),
            sent(3, &["q1", "q2", "q3"], Some("n")),
        ] {
            assert!(note("o2", &sent));
            assert_eq!(known("o2"), Some((sent, Some("d".to_owned()))));
        }
        assert!(!note("o1", &sent(9, &["z"], None)), "it is not being sent");
        assert_eq!(further_messages(&db, &"s".into(), "o1").expect("they are read"), ["p1b", "p1c"]);
        assert!(!note("o9", &sent(1, &[], None)));
        // An attempt that began anew has fewer; an agent may be deleted meanwhile.
        assert!(note("o2", &sent(1, &["r1"], None)));
        assert_eq!(further_messages(&db, &"s".into(), "o2").expect("they are read"), [""; 0]);
        note_further(&db, &"s".into(), "o9", ["x"]).expect("there is none to note it with");
    }

    #[test]
    fn what_a_platform_says_later() {
        let failed = || Fate::Failed { reason: "no\nway".into() };
        let db = filled();
        let late = |account: &str, id: &str, chat: Option<&str>, fate: Fate| {
            let receipt = LateReceipt { message_id: id.into(), platform_id: chat.map(Into::into), fate };
            match late_receipt(&db, "x", account, &receipt).expect("it is answered") {
                Late::Failed(delivery, why) => format!("failed {} {why}", delivery.message_out_id),
                other => format!("{other:?}"),
            }
        };
        let known = |id: &str| {
            let sql = "SELECT state || ' ' || COALESCE(fate, '-') || ' ' || COALESCE(last_error, '-') FROM deliveries WHERE message_out_id = ?1";
            db.query_row(sql, [id], |row| row.get::<_, String>(0)).expect("a row")
        };
        for (account, id, chat, fate, want, row) in [
            ("main", "p1", None, Fate::Sent, "Noted", "delivered sent -"),
            ("main", "p1b", Some("c"), Fate::Delivered, "Noted", "delivered delivered -"),
            ("main", "p1", Some("c"), Fate::Sent, "Nothing", "delivered delivered -"),
            ("main", "p1", Some("d"), Fate::Read, "TooEarly", "delivered delivered -"),
            ("second", "p1", None, Fate::Read, "Nothing", "delivered delivered -"),
            ("main", "p9", None, failed(), "TooEarly", "delivered delivered -"),
            ("main", "p1", None, Fate::Read, "Noted", "delivered read -"),
            // Another of its messages fails.
            ("main", "p1c", None, failed(), "failed o1 no way", "failed failed no way"),
            ("main", "p1", None, failed(), "Nothing", "failed failed no way"),
            ("main", "p1", None, Fate::Read, "Nothing", "failed failed no way"),
            ("main", "p1", None, Fate::Unknown, "Nothing", "failed failed no way"),
        ] {
            let told = format!("{account} {id} {chat:?} {fate:?}");
            assert_eq!(late(account, id, chat, fate), want, "{told}");
            assert_eq!(known("o1"), row, "{told}");
        }
        // A part of what is being sent is there already, and what is in doubt may be.
        let sent = SentSoFar { parts: 1, message_ids: vec!["q1".into()], note: None };
        assert!(note_sent(&db, &"s".into(), "o2", &sent, "d").expect("noted"));
        assert_eq!(late("main", "q1", None, failed()), "TooEarly");
        db.execute_batch("UPDATE deliveries SET state = 'pending', look_up = 1 WHERE message_out_id = 'o2'")
            .expect("done");
        assert_eq!(late("main", "p9", None, failed()), "TooEarly");
        assert_eq!(late("second", "p3", None, Fate::Read), "Noted");
        assert_eq!(late("second", "p3", None, failed()), "Nothing", "it was read");
        let total: i64 = db
            .query_row("SELECT count FROM totals WHERE name = 'delivered'", [], |r| r.get(0))
            .expect("a row");
        assert_eq!(total, 1);
    }
}
