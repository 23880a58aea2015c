//! What an operator may do with one delivery: send it anew, or drop it.

use super::decide::{Decision, decide, question_of};
use super::note::{self, Undelivered};
use super::snapshot::Snapshot;
use crate::attachments::{LeftOut, StoredFile};
use crate::clock::{self, Timestamp};
use crate::context::Context;
use crate::db::WriteTxn;
use crate::error::{Error, Result};
use crate::ledger::{self, Direction, Record, Request, State};
use crate::{questions, sessions};
use serde_json::json;
use std::sync::Arc;
use vestibule_plugin_api::Address;

/// Why the files of a delivery are not sent with its replay.
const FILES_GONE: &str = "it was removed when its message could not be delivered";

/// Decides anew about a delivery and opens it again: a destination may have been granted since. Returns where it goes.
///
/// # Errors
/// It is not in a state to be replayed, its words are not on record, or it is refused as before.
pub fn replay(db: &WriteTxn, record: &Record, now: Timestamp) -> Result<Address> {
    record.state.allows(Request::Replay).map_err(|why| refused(record, why))?;
    if !record.has_content() {
        return Err(refused(
            record,
            "its words are not on record: too much of its session was refused before",
        ));
    }
    let address = address(db, record, now)?;
    if let Some(asked) = question_of(&record.reply.content) {
        questions::ask_again(db, &record.session_id, &asked, &address, now)?;
    }
    tell_of_files(db, record)?;
    ledger::reopen(db, record, &address, now)?;
    Ok(address)
}

/// Says words of a person in a chat, in the place of an agent: they are this module's own.
///
/// # Errors
/// It is not on disk, or too much waits there already.
pub async fn say(context: &Arc<Context>, module: &str, text: &str, to: Address) -> Result<()> {
    let content = json!({ "text": text }).to_string();
    let words = ledger::NewWords { module: module.to_owned(), content, in_reply_to: None };
    let address = to.clone();
    let record = move |db: &WriteTxn| ledger::record_persons_words(db, &words, &address, clock::now());
    if !context.central.write(record).await? {
        return Err(Error::Refused("too much of what was said waits for its channel".to_owned()));
    }
    context.deliver(to);
    Ok(())
}

/// Where it may go now. A module's own words go where they were said.
fn address(db: &WriteTxn, record: &Record, now: Timestamp) -> Result<Address> {
    if record.session_id.module().is_some() {
        return record.address().ok_or_else(|| refused(record, "it names no chat"));
    }
    let Some(snapshot) = Snapshot::load(db, &record.session_id, &record.reply, now)? else {
        return Err(refused(record, "its session is gone"));
    };
    match decide(&snapshot, &record.reply) {
        Decision::Deliver(address) => Ok(address),
        Decision::Refuse(why) => Err(refused(record, &why)),
    }
}

fn refused(record: &Record, why: &str) -> Error {
    Error::Refused(format!("`{}` is {}: {why}", record.reply.id.escape_debug(), record.state.as_str()))
}

/// The files of a delivery that was given up are gone; its text will name each of them.
fn tell_of_files(db: &WriteTxn, record: &Record) -> Result<()> {
    if !ledger::files_of(db, &record.session_id, Direction::Out, &record.reply.id)?.is_empty() {
        return Ok(()); // it was held, with its files
    }
    let content: serde_json::Value = serde_json::from_str(&record.reply.content).unwrap_or_default();
    let names = content["files"].as_array().into_iter().flatten().filter_map(|name| name.as_str());
    let gone = |(position, name): (usize, &str)| StoredFile {
        position,
        name: name.to_owned(),
        size_bytes: 0,
        blob: Err(LeftOut(FILES_GONE.to_owned())),
    };
    let files = super::outgoing::named(names.enumerate().map(gone).collect(), 0, record.taken_at);
    ledger::record_files(db, &record.session_id, Direction::Out, &record.reply.id, None, &files)
}

/// Drops a delivery; returns the blobs that no message names any more. The agent is told, unless it was told of a
/// failure before.
///
/// # Errors
/// It is not in a state to be dropped.
pub fn drop_one(db: &WriteTxn, record: &Record, now: Timestamp) -> Result<Vec<String>> {
    record.state.allows(Request::Drop).map_err(|why| refused(record, why))?;
    ledger::drop_one(db, record, now)?;
    if record.state != State::Failed
        && let Some(session) = sessions::by_id(db, &record.session_id)?
    {
        let told = Undelivered::of(&record.reply, "the operator dropped it");
        note::tell_undelivered(db, &session, &[told], now)?;
    }
    ledger::forget_files(db, &record.session_id, Direction::Out, &record.reply.id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::MessagingGroupId;
    use crate::ledger::{record_reply, with_id};
    use crate::{destinations, messaging_groups};
    use vestibule_session::MessageOut;

    /// An agent whose session belongs to no chat, and a chat that it may not send to.
    fn ledger() -> (WriteTxn<'static>, MessagingGroupId) {
        let db = crate::db::in_memory();
        db.execute_batch(
            "INSERT INTO agent_groups (id, name, folder, created_at) VALUES ('ag', 'a', 'a', 0); \
             INSERT INTO sessions (id, agent_group_id, created_at, last_active) VALUES ('s', 'ag', 0, 0)",
        )
        .expect("it fills");
        let chat = messaging_groups::find_or_create(
            &db,
            &crate::chat_key::ChatKey::new("x", "main", "c"),
            None,
            Timestamp(0),
        )
        .expect("a chat");
        (db, chat.id)
    }

    fn reply(content: &str) -> MessageOut {
        MessageOut {
            id: "o".into(),
            seq: 5,
            in_reply_to: None,
            timestamp: String::new(),
            deliver_after: None,
            kind: "chat".into(),
            platform_id: Some("c".into()),
            channel_type: Some("x".into()),
            thread_id: None,
            content: content.into(),
            account: None,
        }
    }

    fn only(db: &WriteTxn) -> Record {
        with_id(db, "o").expect("it answers").pop().expect("it is there")
    }

    fn refuse(db: &WriteTxn, content: &str) {
        record_reply(db, &"s".into(), &reply(content), Err("no destination"), Timestamp(1))
            .expect("it is new");
    }

    #[test]
    fn what_was_refused_goes_out_once_its_destination_is_granted() {
        let (db, chat) = ledger();
        refuse(&db, r#"{"text":"hi","files":["../a b.pdf"]}"#);
        let still = replay(&db, &only(&db), Timestamp(2)).expect_err("it is refused as before").to_string();
        assert!(still.contains("`o` is failed") && still.contains("no destination of this agent"), "{still}");
        destinations::create(&db, &"ag".into(), "team", &chat, Timestamp(3)).expect("it is granted");
        let address = replay(&db, &only(&db), Timestamp(4)).expect("it goes out");
        assert_eq!((address.account.as_str(), address.platform_id.as_str()), ("main", "c"));
        assert_eq!((only(&db).state, only(&db).address()), (State::Pending, Some(address)));
        let files = ledger::files_of(&db, &"s".into(), Direction::Out, "o").expect("they are read");
        let told: Vec<_> = files.into_iter().map(|file| (file.name, file.blob)).collect();
        assert_eq!(
            told,
            [("attachment-1.pdf".to_owned(), Err(LeftOut(FILES_GONE.to_owned())))],
            "its text will say so"
        );
        let again = replay(&db, &only(&db), Timestamp(5)).expect_err("it waits").to_string();
        assert!(again.contains("`o` is pending: it waits to be sent"), "{again}");
    }

    #[test]
    fn a_reply_of_which_only_the_size_is_known_is_not_replayed() {
        let (db, chat) = ledger();
        destinations::create(&db, &"ag".into(), "team", &chat, Timestamp(3)).expect("it is granted");
        refuse(&db, &format!(r#"{{"text":"{}"}}"#, "x".repeat(300_000)));
        let why = replay(&db, &only(&db), Timestamp(4)).expect_err("there are no words").to_string();
        assert!(why.contains("not on record"), "{why}");
    }

    #[test]
    fn a_question_can_be_answered_for_as_long_again() {
        let (db, chat) = ledger();
        destinations::create(&db, &"ag".into(), "team", &chat, Timestamp(3)).expect("it is granted");
        let asks = r#"{"type":"ask_question","questionId":"o","title":"Deploy","question":"Now?","options":["Yes"]}"#;
        refuse(&db, asks);
        let day = 24 * 3600 * 1000;
        for now in [10, 3 * day] {
            replay(&db, &only(&db), Timestamp(now)).expect("it is asked");
            let open = questions::open(&db, Timestamp(now + day - 1), 9).expect("it answers");
            assert_eq!(open.len(), 1, "{now}");
            db.execute("UPDATE deliveries SET state = 'failed'", []).expect("it fails again");
            assert_eq!(questions::open(&db, Timestamp(now), 9).expect("it answers").len(), 0);
        }
        db.execute("UPDATE deliveries SET state = 'dropped'", []).expect("it is dropped");
        assert_eq!(questions::open(&db, Timestamp(3 * day), 9).expect("it answers").len(), 0, "nor dropped");
    }

    #[test]
    fn an_agent_is_told_of_what_is_dropped_once() {
        for (state, notes) in [("parked", 1), ("pending", 1), ("failed", 0)] {
            let (db, _) = ledger();
            refuse(&db, r#"{"text":"hi"}"#);
            db.execute("UPDATE deliveries SET state = ?1", [state]).expect("it is set");
            drop_one(&db, &only(&db), Timestamp(9)).expect("it is dropped");
            let sql = "SELECT COUNT(*) FROM messages_in WHERE content LIKE '%the operator dropped it%' AND NOT \"trigger\"";
            assert_eq!(db.query_row(sql, [], |r| r.get::<_, i64>(0)).expect("a row"), notes, "{state}");
            assert!(drop_one(&db, &only(&db), Timestamp(9)).is_err(), "twice");
        }
    }
}
