//! What becomes of messages whose run failed: a try is counted, and the writer of one that is given up is told.

use super::note;
use crate::clock::{self, Timestamp};
use crate::db::WriteTxn;
use crate::error::Result;
use crate::id::SessionId;
use crate::ledger::{self, GivenUp};
use crate::sessions;
use serde_json::json;
use std::collections::HashSet;
use vestibule_plugin_api::{AGENT, Address};
use vestibule_session::{MessageOut, words};

/// The longest reason that is kept, in characters.
const REASON_CHARS_MAX: usize = 300;

/// What became of the messages that were under way.
#[derive(Debug, Default)]
pub struct Died {
    /// How many count one more try.
    pub tried: usize,
    /// How many of them are given up.
    pub given_up: usize,
    /// The chats that are told.
    pub told_at: Vec<Address>,
    /// The sessions whose agents are told.
    pub woken: Vec<SessionId>,
}

/// Counts a try for the messages under way in a session, in the transaction that records the end of its run. The
/// operator is also shown the last line that the runner wrote to its standard error; no chat is told these words, which are
/// the agent's, in the runtime's name. `session_bytes_max` bounds the files of a session that is told.
///
/// # Errors
/// SQLite fails.
pub fn run_died(
    db: &WriteTxn,
    session_id: &SessionId,
    claims: &HashSet<String>,
    (why, last_line): (&str, &str),
    session_bytes_max: u64,
) -> Result<Died> {
    let now = clock::now();
    let why: String = why.chars().take(REASON_CHARS_MAX).collect();
    let shown = match last_line.trim() {
        "" => why.clone(),
        line => words::line(format_args!("{why}: {line}"), REASON_CHARS_MAX),
    };
    let tried = ledger::count_tries(db, session_id, claims, &shown, now)?;
    let died = Died { tried: tried.count, ..Died::default() };
    let words = format!(
        "Your message could not be answered: the agent was started for it several times, and failed each time. The \
         last time: {why}."
    );
    died.tell(db, session_id, tried.given_up, &words, session_bytes_max)
}

/// Gives up the messages that failed the last run of a session, or were under way when it was put into quarantine: an
/// operator wants it. `session_bytes_max` is as in [`run_died`].
///
/// # Errors
/// SQLite fails.
pub fn give_up(db: &WriteTxn, session_id: &SessionId) -> Result<Died> {
    let why = "the operator gave it up";
    let given_up = ledger::give_up_suspects(db, session_id, why, clock::now())?;
    let words = format!("Your message could not be answered: {why}.");
    // The limit is one of files, and what is told has none.
    Died::default().tell(db, session_id, given_up, &words, 0)
}

impl Died {
    /// Tells the writers of messages that were given up.
    fn tell(
        mut self,
        db: &WriteTxn,
        session_id: &SessionId,
        given_up: Vec<GivenUp>,
        words: &str,
        session_bytes_max: u64,
    ) -> Result<Died> {
        let now = clock::now();
        self.given_up = given_up.len();
        for message in given_up {
            match message.address.as_ref().filter(|address| address.channel_type.as_str() != AGENT) {
                Some(address) => {
                    tell_chat(db, session_id, &message, (address, words), now)?;
                    self.told_at.push(address.clone());
                }
                None => self.woken.extend(tell_agent(db, &message, words, session_bytes_max, now)?),
            }
        }
        Ok(self)
    }
}

/// The chat in which the message was written gets an answer of the runtime's.
fn tell_chat(
    db: &WriteTxn,
    session_id: &SessionId,
    message: &GivenUp,
    (address, words): (&Address, &str),
    now: Timestamp,
) -> Result<()> {
    let answer = MessageOut {
        id: crate::id::mint("sys"),
        // The answer stands in no file of the agent's, and has none of its numbers.
        seq: 0,
        in_reply_to: Some(message.id.clone()),
        timestamp: String::new(),
        deliver_after: None,
        kind: "chat".to_owned(),
        platform_id: Some(address.platform_id.as_str().to_owned()),
        channel_type: Some(address.channel_type.as_str().to_owned()),
        thread_id: address.thread_id.as_ref().map(|thread| thread.as_str().to_owned()),
        content: json!({ "text": words }).to_string(),
        account: Some(address.account.as_str().to_owned()),
    };
    ledger::record_reply(db, session_id, &answer, Ok(address), now)?;
    Ok(())
}

/// The agent that wrote the message gets a note; returns the session that has the note.
fn tell_agent(
    db: &WriteTxn,
    message: &GivenUp,
    words: &str,
    session_bytes_max: u64,
    now: Timestamp,
) -> Result<Option<SessionId>> {
    let Some(source) = &message.source_session_id else { return Ok(None) };
    let Some(session) = sessions::by_id(db, source)? else { return Ok(None) };
    let note = note::to_agent(db, &session, words, session_bytes_max, now)?;
    ledger::accept(db, &session.id, &note, now)?;
    Ok(Some(session.id))
}
