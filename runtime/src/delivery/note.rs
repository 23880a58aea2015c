//! What modules and the runtime itself tell agents: rows that the runtime writes.

use super::decide::{agent_address, words_of};
use super::effects::Fault;
use crate::clock::Timestamp;
use crate::db::{ReadTxn, WriteTxn};
use crate::error::Result;
use crate::ledger::{self, Delivery, NewMessage, Written};
use crate::plugins::{CallError, Link};
use crate::sessions::Session;
use crate::{destinations, messaging_groups};
use serde_json::{Value, json};
use vestibule_plugin_api::{ACTION, Address, PluginError};
use vestibule_session::{DELIVERY, MessageOut, words};

/// How the ids of notes about what was not delivered begin.
const UNDELIVERED: &str = "undelivered-";
/// At most this many notes about that wait to be read; an agent that writes on is told no more until it reads.
const UNREAD_MAX: usize = 10;
/// At most this many failures are told one by one in a note.
const TOLD_MAX: usize = 5;
/// How many characters of a message are quoted.
const QUOTED_CHARS_MAX: usize = 60;

/// Refuses a module's answer whole, because it has effects that its hook, or this runtime, does not have, and reports it.
pub fn wrong_answer(link: &Link, hook: &str, fault: &Fault) -> CallError {
    let module = &link.manifest.name;
    tracing::error!(module, hook, why = %fault, "a module's answer was refused");
    CallError::Plugin(match fault {
        Fault::Wrong(why) => {
            PluginError::refused(format!("the module {module} answered `{hook}` wrongly: {why}"))
        }
        Fault::Unsupported(_) => {
            PluginError::unsupported(format!("{fault}, and the module {module} wants it"))
        }
    })
}

/// Why a module's effects are not performed: one of them cannot be.
pub fn not_possible(module: &str, why: &str) -> String {
    format!("the module {module} wants something that cannot be done: {why}")
}

/// A row for a session's agent that no person and no agent wrote. A reply to it goes to the session's chat, if there is
/// one.
pub fn to_agent(
    db: &ReadTxn,
    session: &Session,
    words: &str,
    session_bytes_max: u64,
    now: Timestamp,
) -> Result<NewMessage> {
    let chat = match &session.messaging_group_id {
        Some(id) => messaging_groups::by_id(db, id)?,
        None => None,
    };
    let address = chat.map(|chat| Address {
        channel_type: chat.channel_type.into(),
        account: chat.account.into(),
        platform_id: chat.platform_id.into(),
        thread_id: session.thread_id.clone().map(Into::into),
    });
    Ok(NewMessage {
        written: Written::Inside { id: crate::id::mint("sys"), source_session_id: None },
        agent_group_id: session.agent_group_id.clone(),
        timestamp: now,
        trigger: false,
        address: address.unwrap_or_else(|| agent_address(&session.agent_group_id)),
        content: json!({ "text": words, "sender": "system", "senderId": "system" }),
        attachments: Vec::new(),
        session_bytes_max,
        hops: 0,
    })
}

/// Something that an agent wrote and that will not be delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undelivered {
    id: String,
    seq: i64,
    /// Channel, account and chat, as far as they were named.
    to: Option<(String, Option<String>, String)>,
    what: What,
    why: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    /// A message, and how its text begins.
    Message(String),
    /// The action that a module was asked for.
    Action(String),
}

impl Undelivered {
    /// A reply as its agent wrote it, and why it is not delivered.
    pub fn of(reply: &MessageOut, why: &str) -> Undelivered {
        let to = reply.channel_type.clone().zip(reply.platform_id.clone());
        let to = to.map(|(channel, chat)| (channel, reply.account.clone(), chat));
        let what = match reply.kind.as_str() {
            "system" => {
                let content: Value = serde_json::from_str(&reply.content).unwrap_or_default();
                What::Action(words::line(content["action"].as_str().unwrap_or_default(), QUOTED_CHARS_MAX))
            }
            _ => What::Message(beginning(&reply.content)),
        };
        Undelivered { id: reply.id.clone(), seq: reply.seq, to, what, why: words::reason(why) }
    }

    /// A delivery that is given up, and why.
    pub fn given_up(delivery: &Delivery, why: &str) -> Undelivered {
        let at = &delivery.address;
        let what = match at.channel_type.as_str() {
            ACTION => What::Action(at.platform_id.0.clone()),
            _ => What::Message(beginning(&delivery.content)),
        };
        let to = (at.channel_type.0.clone(), Some(at.account.0.clone()), at.platform_id.0.clone());
        let (id, seq) = (delivery.message_out_id.clone(), delivery.seq);
        Undelivered { id, seq, to: Some(to), what, why: words::reason(why) }
    }

    /// As a sentence. `name` is what its agent calls the place it was for. Pure.
    fn sentence(&self, name: Option<&str>) -> String {
        let place = match (name, &self.to) {
            (Some(name), _) => format!(" to `{name}`"),
            (None, Some((channel, _, chat))) => {
                format!(" to {}", words::line(format_args!("{channel}:{chat}"), 80))
            }
            (None, None) => String::new(),
        };
        let (number, why) = (self.seq, &self.why);
        match &self.what {
            What::Action(action) => format!("Your request `{action}` (number {number}) was not done: {why}."),
            What::Message(text) if text.is_empty() => {
                format!("Your message {number}{place} was not delivered: {why}.")
            }
            What::Message(text) => {
                format!("Your message {number}{place}, \u{201c}{text}\u{201d}, was not delivered: {why}.")
            }
        }
    }
}

/// How the text of a reply begins, if it has one.
fn beginning(content: &str) -> String {
    words_of(content).map_or_else(|_| String::new(), |text| words::line(text, QUOTED_CHARS_MAX))
}

/// Tells an agent that something it wrote is given up, in one note that wakes no runner: the agent reads it with
/// whatever wakes it next, in the conversation in which it was written. Of an agent that does not read, the first
/// [`UNREAD_MAX`] notes are kept. Words that the runtime wrote in the agent's place are not told.
///
/// # Errors
/// SQLite fails.
pub fn tell_undelivered(db: &WriteTxn, session: &Session, all: &[Undelivered], now: Timestamp) -> Result<()> {
    let all: Vec<&Undelivered> = all.iter().filter(|one| one.seq > 0).collect();
    let Some(first) = all.first() else { return Ok(()) };
    if ledger::unread(db, &session.id, UNDELIVERED, UNREAD_MAX)? {
        return Ok(());
    }
    let mut told = Vec::new();
    for one in all.iter().take(TOLD_MAX) {
        let place = one
            .to
            .as_ref()
            .map(|(channel, account, chat)| (channel.as_str(), account.as_deref(), chat.as_str()));
        let name = match place {
            Some(place) => destinations::name_of(db, &session.agent_group_id, place)?,
            None => None,
        };
        told.push(one.sentence(name.as_deref()));
    }
    if all.len() > TOLD_MAX {
        told.push(format!("{} more failed as well.", all.len() - TOLD_MAX));
    }
    let mut note = to_agent(db, session, &told.join("\n"), 0, now)?; // it has no files
    note.content["sender"] = DELIVERY.into();
    note.written =
        Written::Inside { id: crate::id::mint(UNDELIVERED.trim_end_matches('-')), source_session_id: None };
    if let Some(address) = ledger::asked_at(db, &session.id, &first.id)? {
        note.address = address;
    }
    ledger::accept(db, &session.id, &note, now)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(seq: i64, kind: &str, content: &str) -> MessageOut {
        MessageOut {
            id: format!("o{seq}"),
            seq,
            in_reply_to: Some("q".into()),
            timestamp: String::new(),
            deliver_after: None,
            kind: kind.into(),
            platform_id: Some("c".into()),
            channel_type: Some("x".into()),
            thread_id: None,
            content: content.into(),
            account: None,
        }
    }

    #[test]
    fn how_an_agent_is_told_that_something_was_not_delivered() {
        let long = format!(r#"{{"text":"a\nb {}"}}"#, "x".repeat(1 << 20));
        let cases = [
            (
                "chat",
                r#"{"text":"hi"}"#,
                Some("team"),
                "Your message 7 to `team`, “hi”, was not delivered: no chat.",
            ),
            ("chat", r#"{"text":"hi"}"#, None, "Your message 7 to x:c, “hi”, was not delivered: no chat."),
            ("chat", "[", Some("team"), "Your message 7 to `team` was not delivered: no chat."),
            ("system", r#"{"action":"roll"}"#, None, "Your request `roll` (number 7) was not done: no chat."),
        ];
        for (kind, content, name, want) in cases {
            assert_eq!(Undelivered::of(&reply(7, kind, content), "no\nchat").sentence(name), want);
        }
        let told = Undelivered::of(&reply(7, "chat", &long), &"y".repeat(1 << 20)).sentence(None);
        assert!(told.contains("“a b xx") && told.chars().count() < 700, "{told}");
    }

    /// An agent in the chat `home`, whose question came from the chat `c`.
    fn asked() -> (WriteTxn<'static>, Session) {
        let db = crate::db::in_memory();
        db.execute_batch(
            "INSERT INTO agent_groups (id, name, folder, created_at) VALUES ('ag', 'a', 'a', 0); \
             INSERT INTO messaging_groups (id, channel_type, account, platform_id, created_at) VALUES ('mg', 'x', 'main', 'home', 0); \
             INSERT INTO sessions (id, agent_group_id, messaging_group_id, created_at, last_active) VALUES ('s', 'ag', 'mg', 0, 0); \
             INSERT INTO messages_in (session_id, id, seq, kind, timestamp, status, \"trigger\", content, change, channel_type, \
             account, platform_id, thread_id) VALUES ('s', 'q', 2, 'chat', 0, 'completed', 1, '{}', 1, 'x', 'main', 'c', 't')",
        )
        .expect("it fills");
        let session = crate::sessions::by_id(&db, &"s".into()).expect("it answers").expect("it is there");
        (db, session)
    }

    fn notes(db: &ReadTxn) -> Vec<String> {
        let sql = "SELECT platform_id || ' ' || IFNULL(thread_id, '') || ' ' || \"trigger\" || ' ' || \
                   json_extract(content, '$.text') FROM messages_in WHERE id <> 'q' ORDER BY seq";
        let mut statement = db.prepare(sql).expect("it is SQL");
        let rows = statement.query_map([], |r| r.get(0)).expect("it runs");
        rows.collect::<rusqlite::Result<_>>().expect("rows")
    }

    #[test]
    fn the_note_stands_in_the_conversation_that_was_answered_and_wakes_nobody() {
        let (db, session) = asked();
        for seq in [0, 1, 3] {
            ledger::record_reply(
                &db,
                &"s".into(),
                &reply(seq, "chat", r#"{"text":"hi"}"#),
                Err("no"),
                Timestamp(1),
            )
            .expect("it is new");
        }
        let told = |seq| Undelivered::of(&reply(seq, "chat", r#"{"text":"hi"}"#), "no");
        tell_undelivered(&db, &session, &[told(0)], Timestamp(2)).expect("on record");
        assert_eq!(notes(&db), [""; 0], "the runtime's own words are not its agent's");
        tell_undelivered(&db, &session, &[told(1), told(3)], Timestamp(2)).expect("on record");
        let both = "Your message 1 to x:c, “hi”, was not delivered: no.\nYour message 3 to x:c, “hi”, was not delivered: no.";
        assert_eq!(notes(&db), [format!("c t 0 {both}")]);
        // A reply that answers no message is told at home.
        let own = MessageOut { in_reply_to: None, ..reply(9, "chat", "{}") };
        ledger::record_reply(&db, &"s".into(), &own, Err("no"), Timestamp(1)).expect("it is new");
        tell_undelivered(&db, &session, &[Undelivered::of(&own, "no")], Timestamp(2)).expect("on record");
        assert!(notes(&db)[1].starts_with("home  0 Your message 9"), "{:?}", notes(&db));
    }

    #[test]
    fn an_agent_that_does_not_read_is_told_a_bounded_number_of_times() {
        let (db, session) = asked();
        let many: Vec<_> = (1..=8).map(|seq| Undelivered::of(&reply(seq, "chat", "{}"), "no")).collect();
        for _ in 0..3 * UNREAD_MAX {
            tell_undelivered(&db, &session, &many, Timestamp(2)).expect("on record");
        }
        assert_eq!(notes(&db).len(), UNREAD_MAX);
        assert!(notes(&db)[0].ends_with("3 more failed as well."), "{:?}", notes(&db));
        db.execute("UPDATE messages_in SET status = 'completed'", []).expect("it reads");
        tell_undelivered(&db, &session, &many, Timestamp(2)).expect("on record");
        assert_eq!(notes(&db).len(), UNREAD_MAX + 1);
    }
}
