//! Messages by name: the ids that platforms gave them, and those that agents call them by.

use super::parts::further_messages;
use crate::chat_key::ChatKey;
use crate::db::{ReadTxn, address_at};
use crate::error::Result;
use crate::id::{AgentGroupId, SessionId};
use rusqlite::{OptionalExtension, Row, params};
use std::collections::HashSet;
use vestibule_plugin_api::Address;

/// So many messages that wake no agent may wait in a session before changes are left out: people can react without end.
const WAITING_MAX: i64 = 1_000;

/// A message of a chat, as one session knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownMessage {
    /// The session.
    pub session_id: SessionId,
    /// The agent whose session it is.
    pub agent_group_id: AgentGroupId,
    /// The number that the agent knows the message by.
    pub seq: i64,
    /// Whether the agent wrote it.
    pub is_own: bool,
    /// Whether it woke the agent; never one of its own.
    pub woke: bool,
    /// Whether as much waits in the session, without waking it, as may.
    pub is_full: bool,
}

/// The sessions that heard a message of a chat, or whose agent wrote it, by the id that the platform gave the message.
/// What retention has pruned is not known any more.
///
/// # Errors
/// SQLite fails.
pub fn known_message(db: &ReadTxn, chat: &ChatKey, message_id: &str) -> Result<Vec<KnownMessage>> {
    // The rows that tell of a message's changes bear its id, too: the message itself is the agent's own reply, or else the
    // first row.
    let mut statement = db.prepare_cached(
        "SELECT m.session_id, s.agent_group_id, MIN(m.seq), 0, m.\"trigger\" \
         FROM messages_in m JOIN sessions s ON s.id = m.session_id \
         WHERE m.platform_message_id = ?1 AND m.platform_id = ?2 AND m.channel_type = ?3 AND m.account = ?4 \
         GROUP BY m.session_id UNION ALL \
         SELECT d.session_id, s.agent_group_id, MIN(d.seq), 1, 0 \
         FROM deliveries d JOIN sessions s ON s.id = d.session_id \
         WHERE d.platform_message_id = ?1 AND d.platform_id = ?2 AND d.channel_type = ?3 AND d.account = ?4 \
         GROUP BY d.session_id UNION ALL \
         SELECT d.session_id, s.agent_group_id, MIN(d.seq), 1, 0 \
         FROM further_messages f JOIN deliveries d ON d.session_id = f.session_id AND d.message_out_id = f.message_out_id \
         JOIN sessions s ON s.id = d.session_id \
         WHERE f.platform_message_id = ?1 AND d.platform_id = ?2 AND d.channel_type = ?3 AND d.account = ?4 \
         GROUP BY d.session_id ORDER BY 1",
    )?;
    let params = params![message_id, chat.platform_id, chat.channel_type, chat.account];
    let known = statement.query_map(params, |row| {
        Ok(KnownMessage {
            session_id: row.get(0)?,
            agent_group_id: row.get(1)?,
            seq: row.get(2)?,
            is_own: row.get(3)?,
            woke: row.get(4)?,
            is_full: false,
        })
    })?;
    let mut known: Vec<KnownMessage> = known.collect::<rusqlite::Result<_>>()?;
    let own: HashSet<SessionId> =
        known.iter().filter(|one| one.is_own).map(|one| one.session_id.clone()).collect();
    known.retain(|one| one.is_own || !own.contains(&one.session_id));
    for one in &mut known {
        one.is_full = is_full(db, &one.session_id, WAITING_MAX)?;
    }
    Ok(known)
}

fn is_full(db: &ReadTxn, session_id: &SessionId, most: i64) -> Result<bool> {
    let mut statement = db.prepare_cached(
        "SELECT COUNT(*) FROM (SELECT 1 FROM messages_in \
         WHERE session_id = ?1 AND status = 'pending' AND \"trigger\" = 0 LIMIT ?2)",
    )?;
    let waiting: i64 = statement.query_row(params![session_id, most], |row| row.get(0))?;
    Ok(waiting >= most)
}

/// Where the newest message that waits for an answer came from, and its platform's id.
///
/// # Errors
/// SQLite fails.
pub fn newest_waiting(db: &ReadTxn, session_id: &SessionId) -> Result<Option<(Address, Option<String>)>> {
    let mut statement = db.prepare_cached(
        "SELECT channel_type, account, platform_id, thread_id, platform_message_id FROM messages_in \
         WHERE session_id = ?1 AND status = 'pending' AND \"trigger\" = 1 AND channel_type IS NOT NULL \
         AND account IS NOT NULL AND platform_id IS NOT NULL ORDER BY seq DESC LIMIT 1",
    )?;
    let of = |row: &Row<'_>| {
        let address = address_at(row, 0)?;
        Ok((address, row.get(4)?))
    };
    Ok(statement.query_row([session_id], of).optional()?)
}

/// A message that an agent sent, as its platform knows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SentMessage {
    /// The id that the platform gave it.
    pub id: String,
    /// The other messages that its delivery became.
    pub further: Vec<String>,
}

/// A message of the agent's own which it names, by the platform's id or by that of its row. Only what this session sent to
/// this chat counts: the name is the agent's word.
///
/// # Errors
/// SQLite fails.
pub fn sent_message(
    db: &ReadTxn,
    session_id: &SessionId,
    chat: &Address,
    named: &str,
) -> Result<Option<SentMessage>> {
    let mut statement = db.prepare_cached(
        "SELECT platform_message_id, message_out_id FROM deliveries WHERE session_id = ?1 AND channel_type = ?2 \
         AND account = ?3 AND platform_id = ?4 AND state = 'delivered' AND platform_message_id IS NOT NULL \
         AND message_out_id = ?5 UNION ALL \
         SELECT platform_message_id, message_out_id FROM deliveries WHERE platform_message_id = ?5 AND platform_id = ?4 \
         AND channel_type = ?2 AND account = ?3 AND session_id = ?1 AND state = 'delivered' UNION ALL \
         SELECT f.platform_message_id, NULL FROM further_messages f JOIN deliveries d \
         ON d.session_id = f.session_id AND d.message_out_id = f.message_out_id WHERE f.platform_message_id = ?5 \
         AND d.platform_id = ?4 AND d.channel_type = ?2 AND d.account = ?3 AND d.session_id = ?1 \
         AND d.state = 'delivered' LIMIT 1",
    )?;
    let found = statement.query_row(of_chat(session_id, chat, named), |row| {
        Ok((row.get(0)?, row.get::<_, Option<String>>(1)?))
    });
    let Some((id, message_out_id)) = found.optional()? else { return Ok(None) };
    let further = match message_out_id {
        Some(message_out_id) => further_messages(db, session_id, &message_out_id)?,
        None => Vec::new(), // one of several by its own name means that one
    };
    Ok(Some(SentMessage { id, further }))
}

/// The id that the platform gave to a message which this session got from this chat, as [`sent_message`] finds its own.
///
/// # Errors
/// SQLite fails.
pub fn heard_message(
    db: &ReadTxn,
    session_id: &SessionId,
    chat: &Address,
    named: &str,
) -> Result<Option<String>> {
    let mut statement = db.prepare_cached(
        "SELECT platform_message_id FROM messages_in WHERE session_id = ?1 AND channel_type = ?2 AND account = ?3 \
         AND platform_id = ?4 AND platform_message_id IS NOT NULL AND id = ?5 \
         UNION ALL \
         SELECT platform_message_id FROM messages_in WHERE platform_message_id = ?5 AND platform_id = ?4 \
         AND channel_type = ?2 AND account = ?3 AND session_id = ?1 LIMIT 1",
    )?;
    Ok(statement.query_row(of_chat(session_id, chat, named), |row| row.get(0)).optional()?)
}

fn of_chat<'a>(session_id: &'a SessionId, chat: &'a Address, named: &'a str) -> [&'a str; 5] {
    let Address { channel_type, account, platform_id, thread_id: _ } = chat;
    [session_id.as_str(), channel_type.as_str(), account.as_str(), platform_id.as_str(), named]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sessions `s` and `t` in the chat `c`, and `s` in the chat `d` as well.
    fn filled() -> crate::db::WriteTxn<'static> {
        let db = crate::db::in_memory();
        let heard = |session: &str,
                     id: &str,
                     seq: i64,
                     wakes: bool,
                     account: &str,
                     chat: &str,
                     theirs: &str| {
            format!(
                "INSERT INTO messages_in (session_id, id, seq, kind, timestamp, status, \"trigger\", channel_type, \
                 account, platform_id, content, platform_message_id, change) \
                 VALUES ('{session}', '{id}', {seq}, 'chat', 0, 'completed', {wakes}, 'x', '{account}', '{chat}', '{{}}', \
                 '{theirs}', 1);"
            )
        };
        let sent = |session: &str, id: &str, seq: i64, state: &str, chat: &str, theirs: &str| {
            format!(
                "INSERT INTO deliveries (session_id, message_out_id, seq, kind, channel_type, account, platform_id, \
                 content, state, platform_message_id, taken_at) \
                 VALUES ('{session}', '{id}', {seq}, 'chat', 'x', 'main', '{chat}', '{{}}', '{state}', {theirs}, 0);"
            )
        };
        db.execute_batch(
            &[
                "INSERT INTO agent_groups (id, name, folder, created_at) VALUES ('a', 'a', 'a', 0), ('b', 'b', 'b', 0);
                 INSERT INTO sessions (id, agent_group_id, created_at, last_active) VALUES ('s', 'a', 0, 0), \
                 ('t', 'b', 0, 0);"
                    .to_owned(),
                heard("s", "m1:a", 2, true, "main", "c", "m1"),
                heard("s", "m1~2:a", 6, false, "main", "c", "m1"),
                heard("t", "m1:b", 4, false, "main", "c", "m1"),
                heard("s", "m1~3:a", 8, true, "main", "d", "m1"),
                heard("s", "m1~4:a", 10, true, "second", "c", "m1"),
                sent("s", "o1", 13, "delivered", "c", "'p1'"),
                heard("s", "p1:a", 12, false, "main", "c", "p1"),
                sent("t", "o1", 5, "delivered", "c", "'p2'"),
                sent("s", "o2", 7, "pending", "c", "NULL"),
                sent("s", "o3", 9, "delivered", "d", "'p3'"),
            ]
            .concat(),
        )
        .expect("it fills");
        db
    }

    #[test]
    fn who_knows_a_message() {
        let db = filled();
        let known = |account: &str, chat: &str, id: &str| {
            let found = known_message(&db, &ChatKey::new("x", account, chat), id).expect("it answers");
            let words = |one: KnownMessage| {
                let KnownMessage { session_id, agent_group_id, seq, is_own, woke, is_full: _ } = one;
                format!("{session_id} {agent_group_id} {seq} own={is_own} woke={woke}")
            };
            found.into_iter().map(words).collect::<Vec<_>>()
        };
        assert_eq!(known("main", "c", "m1"), ["s a 2 own=false woke=true", "t b 4 own=false woke=false"]);
        assert_eq!(known("main", "d", "m1"), ["s a 8 own=false woke=true"]);
        assert_eq!(known("second", "c", "m1"), ["s a 10 own=false woke=true"]);
        assert_eq!(known("main", "c", "p1"), ["s a 13 own=true woke=false"]);
        assert_eq!(known("main", "c", "m2"), [""; 0]);
    }

    #[test]
    fn a_session_is_full_by_what_waits_and_wakes_it_not() {
        let db = filled();
        let full = |session: &str, most| is_full(&db, &session.into(), most).expect("it answers");
        assert!(!full("s", 1), "its messages are settled");
        db.execute_batch("UPDATE messages_in SET status = 'pending'").expect("they wait");
        assert!(full("s", 2) && !full("s", 3), "the three others wake it");
        assert!(full("t", 1) && !full("t", 2), "each session counts for itself");
    }

    #[test]
    fn an_agent_names_what_its_session_has_and_no_more() {
        let db = filled();
        let chat = |chat: &str, account: &str| Address {
            channel_type: "x".into(),
            account: account.into(),
            platform_id: chat.into(),
            thread_id: None,
        };
        for (session, at, named, sent, heard) in [
            ("s", chat("c", "main"), "p1", Some("p1"), Some("p1")), // a change to it was heard
            ("s", chat("c", "main"), "o1", Some("p1"), None),
            ("t", chat("c", "main"), "o1", Some("p2"), None),
            ("t", chat("c", "main"), "p1", None, None), // another session's
            ("s", chat("d", "main"), "p1", None, None), // another chat's
            ("s", chat("c", "second"), "p1", None, None), // another account's
            ("s", chat("c", "main"), "o2", None, None), // it is not out yet
            ("s", chat("d", "main"), "o3", Some("p3"), None),
            ("s", chat("c", "main"), "m1", None, Some("m1")),
            ("s", chat("c", "main"), "m1:a", None, Some("m1")),
            ("t", chat("c", "main"), "m1:a", None, None),
            ("s", chat("d", "main"), "m1:a", None, None),
            ("s", chat("c", "main"), "", None, None),
        ] {
            let session_id = session.into();
            let found = (
                sent_message(&db, &session_id, &at, named).expect("it answers").map(|sent| sent.id),
                heard_message(&db, &session_id, &at, named).expect("it answers"),
            );
            assert_eq!((found.0.as_deref(), found.1.as_deref()), (sent, heard), "{session} {at:?} {named}");
        }
    }

    #[test]
    fn a_message_of_several_is_known_by_each() {
        let db = filled();
        let further = ["q1".to_owned(), "q2".to_owned()];
        crate::ledger::note_further(&db, &"s".into(), "o1", ["q1", "q2"]).expect("it is noted");
        let chat = Address {
            channel_type: "x".into(),
            account: "main".into(),
            platform_id: "c".into(),
            thread_id: None,
        };
        for (session, named, want) in [
            ("s", "o1", Some(("p1", &further[..]))),
            ("s", "p1", Some(("p1", &further[..]))),
            ("s", "q2", Some(("q2", &[][..]))),
            ("t", "q2", None),
        ] {
            let found = sent_message(&db, &session.into(), &chat, named).expect("it answers");
            let want = want.map(|(id, further)| SentMessage { id: id.into(), further: further.to_vec() });
            assert_eq!(found, want, "{session} {named}");
        }
        let known = known_message(&db, &ChatKey::new("x", "main", "c"), "q1").expect("it answers");
        assert_eq!(known.iter().map(|one| (one.seq, one.is_own)).collect::<Vec<_>>(), [(13, true)]);
    }

    #[test]
    fn no_search_reads_every_row() {
        let db = filled();
        let by = |sql: &str| -> String {
            let mut plan = db.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).expect("it is planned");
            let lines = plan.query_map([], |row| row.get::<_, String>(3)).expect("it answers");
            lines.map(|line| line.expect("a line")).collect::<Vec<_>>().join("; ")
        };
        for table in ["messages_in", "deliveries"] {
            let plan =
                by(&format!("SELECT 1 FROM {table} WHERE platform_message_id = 'p' AND platform_id = 'c'"));
            assert!(plan.contains(&format!("{table}_platform_message")), "{plan}");
        }
    }
}
