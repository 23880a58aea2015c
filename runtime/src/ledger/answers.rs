//! Answers to questions, as rows of the session that asked.
//!
//! An answer is two rows, and the agent needs one of them. A tool that waits looks for the first: its kind is `system`,
//! and it wakes no runner. The second says the same to the agent as a message, in case the tool has given up or its
//! runner has gone. The row that is acknowledged first completes the other.

use super::bump;
use crate::clock::{Timestamp, after};
use crate::db::WriteTxn;
use crate::error::Result;
use crate::id::SessionId;
use rusqlite::params;
use serde_json::json;
use vestibule_plugin_api::Address;
use vestibule_session::next_even;

/// A waiting tool looks every second. While a runner lives, the message is due this many milliseconds later.
const TOOL_FIRST_MS: i64 = 30_000;
/// How the message's id ends; the other row's id stands before it.
const LATE: &str = "-late";

/// An answer to a question.
#[derive(Debug, Clone)]
pub struct NewAnswer {
    /// The agent's name of the question.
    pub question_id: String,
    /// The chosen option, as the agent calls it.
    pub selected: String,
    /// The platform's handle of the person who chose.
    pub user_id: String,
    /// What people call that person.
    pub sender: String,
    /// The same in words, for the message.
    pub words: String,
    /// Where the question was asked.
    pub address: Address,
}

/// Writes an answer into the rows of the session that asked.
pub fn post_answer(db: &WriteTxn, session_id: &SessionId, new: &NewAnswer, now: Timestamp) -> Result<()> {
    let Some(change) = bump(db, session_id)? else { return Ok(()) };
    let (last_seq, is_running): (i64, bool) = db
        .prepare_cached("SELECT last_seq, running FROM sessions WHERE id = ?1")?
        .query_row([session_id], |r| Ok((r.get(0)?, r.get(1)?)))?;
    let id = format!("qr-{}-{}", new.question_id, now.0);
    let found = json!({ "type": "question_response", "questionId": new.question_id,
        "selectedOption": new.selected, "userId": new.user_id });
    let told = json!({ "text": new.words, "sender": new.sender, "senderName": new.sender,
        "senderId": format!("{}:{}", new.address.channel_type, new.user_id) });
    let late_at = is_running.then(|| after(now, TOOL_FIRST_MS).0);
    let late = format!("{id}{LATE}");
    let mut seq = last_seq;
    let mut insert = db.prepare_cached(
        "INSERT INTO messages_in (session_id, id, seq, kind, timestamp, status, series_id, process_after, \"trigger\", \
         channel_type, account, platform_id, thread_id, content, change) \
         VALUES (?1, ?2, ?3, ?4, ?5, 'pending', ?2, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
    )?;
    for (id, kind, content, trigger, at) in
        [(&id, "system", found, false, None), (&late, "chat", told, true, late_at)]
    {
        seq = next_even(seq);
        insert.execute(params![
            session_id,
            id,
            seq,
            kind,
            now.0,
            at,
            trigger,
            new.address.channel_type.as_str(),
            new.address.account.as_str(),
            new.address.platform_id.as_str(),
            new.address.thread_id.as_ref().map(|thread| thread.as_str()),
            content.to_string(),
            change,
        ])?;
    }
    // A person spoke: messages between agents that follow from it are counted anew.
    db.prepare_cached("UPDATE sessions SET last_seq = ?2, last_active = ?3, hops = 0 WHERE id = ?1")?
        .execute(params![session_id, seq, now.0])?;
    Ok(())
}

/// The id of the other row of an answer, from the id of one; `None` for an id of any other row.
pub fn other_row(id: &str) -> Option<String> {
    id.strip_prefix("qr-")?;
    Some(id.strip_suffix(LATE).map_or_else(|| format!("{id}{LATE}"), str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::super::acknowledge;
    use super::*;
    use vestibule_session::{Ack, AckStatus};

    fn story(db: &WriteTxn) -> Vec<String> {
        let sql = "SELECT id || ' ' || kind || ' ' || status || ' ' || \"trigger\" || ' ' || COALESCE(process_after, '-') \
                   FROM messages_in ORDER BY seq";
        let mut statement = db.prepare(sql).expect("it is SQL");
        let rows = statement.query_map([], |r| r.get(0)).expect("it runs");
        rows.collect::<rusqlite::Result<_>>().expect("rows")
    }

    #[test]
    fn whoever_reads_an_answer_first_has_it() {
        for (running, acked) in [(true, "qr-q-500"), (false, "qr-q-500-late")] {
            let db = crate::db::in_memory();
            db.execute_batch(&format!(
                "INSERT INTO agent_groups (id, name, folder, created_at) VALUES ('ag', 'a', 'a', 0); \
                 INSERT INTO sessions (id, agent_group_id, created_at, last_active, running, hops) \
                 VALUES ('s', 'ag', 0, 0, {running}, 3)"
            ))
            .expect("it fills");
            let new = NewAnswer {
                question_id: "q".into(),
                selected: "n".into(),
                user_id: "U1".into(),
                sender: "Ann".into(),
                words: "No".into(),
                address: Address {
                    channel_type: "x".into(),
                    account: "main".into(),
                    platform_id: "c".into(),
                    thread_id: None,
                },
            };
            post_answer(&db, &"s".into(), &new, Timestamp(500)).expect("it is written");
            let late = if running { "30500" } else { "-" };
            assert_eq!(
                story(&db),
                ["qr-q-500 system pending 0 -".to_owned(), format!("qr-q-500-late chat pending 1 {late}")]
            );
            let hops: i64 = db.query_row("SELECT hops FROM sessions", [], |r| r.get(0)).expect("a row");
            assert_eq!(hops, 0, "a person spoke");
            let ack = |status| [Ack { message_id: acked.into(), status }];
            acknowledge(&db, &"s".into(), &ack(AckStatus::Processing), Timestamp(9)).expect("it is claimed");
            assert!(story(&db).iter().all(|row| row.contains("pending")), "a claim settles nothing");
            acknowledge(&db, &"s".into(), &ack(AckStatus::Completed), Timestamp(9)).expect("it is read");
            assert!(story(&db).iter().all(|row| row.contains("completed")), "{:?}", story(&db));
        }
    }

    #[test]
    fn which_rows_belong_together() {
        for (id, want) in [
            ("qr-msg-1-5", Some("qr-msg-1-5-late")),
            ("qr-msg-1-5-late", Some("qr-msg-1-5")),
            ("msg-1", None),
            ("", None),
        ] {
            assert_eq!(other_row(id).as_deref(), want, "{id}");
        }
    }
}
