//! Questions that agents asked people with a choice of answers, and the answers.
//!
//! Invariants:
//! - A question is on record, with a token that cannot be guessed, before its channel is called.
//! - It is answered once: the commit that says so is the one in which the agent gets the answer, or from which its module
//!   is told.

mod decide;
mod of_modules;

pub use decide::{Asked, Choosable, Giver, Judgement, Question, decide as judge, named};
pub use of_modules::{ForModule, Outcome, next_outcome, of_module, was_told};

use crate::chat_key::ChatKey;
use crate::clock::{Timestamp, after};
use crate::db::{ReadTxn, WriteTxn, address_at};
use crate::error::{Error, Result};
use crate::id::SessionId;
use crate::ledger::{self, NewAnswer, State};
use rusqlite::{OptionalExtension, Row, params};
use vestibule_plugin_api::{Address, Answered, Content};

/// A question can be answered for this many milliseconds: 24 hours.
const OPEN_MS: i64 = 24 * 3600 * 1000;
/// It is remembered for this many milliseconds after that, so that a person who answers late is told what became of it:
/// 30 days.
const KEPT_MS: i64 = 30 * 24 * 3600 * 1000;

const COLUMNS: &str = "token, session_id, message_out_id, channel_type, account, platform_id, thread_id, title, \
                       question, options, asked_at, expires_at, answer, answered_by";

fn of(row: &Row<'_>) -> rusqlite::Result<Question> {
    let options: String = row.get(9)?;
    let answer: Option<u32> = row.get(12)?;
    let answered_by: Option<String> = row.get(13)?;
    Ok(Question {
        token: row.get(0)?,
        session_id: row.get(1)?,
        asked: Asked {
            id: row.get(2)?,
            title: row.get(7)?,
            question: row.get(8)?,
            // Written by `ask`; a question without options cannot be answered.
            options: serde_json::from_str(&options).unwrap_or_default(),
        },
        address: address_at(row, 3)?,
        asked_at: Timestamp(row.get(10)?),
        expires_at: Timestamp(row.get(11)?),
        answer: answer.map(|option| option as usize).zip(answered_by),
    })
}

/// Puts a question on record, in the transaction that records the reply.
///
/// # Errors
/// The system gives no random bytes, or SQLite fails.
pub fn ask(
    db: &WriteTxn,
    session_id: &SessionId,
    asked: &Asked,
    address: &Address,
    now: Timestamp,
) -> Result<()> {
    let token = crate::id::mint_token().map_err(Error::refused)?;
    let options = serde_json::to_string(&asked.options).map_err(Error::refused)?;
    db.prepare_cached(
        "INSERT OR IGNORE INTO questions (token, session_id, message_out_id, channel_type, account, platform_id, \
         thread_id, title, question, options, asked_at, expires_at) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
    )?
    .execute(params![
        // 128 bits: with the offer's number it must fit into a button.
        &token[..32],
        session_id,
        asked.id,
        address.channel_type.as_str(),
        address.account.as_str(),
        address.platform_id.as_str(),
        address.thread_id.as_ref().map(|thread| thread.as_str()),
        asked.title,
        asked.question,
        options,
        now.0,
        after(now, OPEN_MS).0,
    ])?;
    Ok(())
}

/// Puts a question on record that is asked once more: unless it was answered, it is open for as long as a new one.
///
/// # Errors
/// As [`ask`].
pub fn ask_again(
    db: &WriteTxn,
    session_id: &SessionId,
    asked: &Asked,
    address: &Address,
    now: Timestamp,
) -> Result<()> {
    let of_a_module = of_modules::module_of(db, session_id, &asked.id)?;
    db.prepare_cached(
        "DELETE FROM questions WHERE session_id = ?1 AND message_out_id = ?2 AND answered_at IS NULL",
    )?
    .execute(params![session_id, asked.id])?;
    ask(db, session_id, asked, address, now)?;
    match of_a_module {
        Some(of_a_module) => of_module(db, session_id, &asked.id, &of_a_module),
        None => Ok(()),
    }
}

/// Notes whether the question of a reply is about to be shown with buttons. If so, returns it as its channel is handed it.
pub fn show(
    db: &WriteTxn,
    session_id: &SessionId,
    message_out_id: &str,
    with_buttons: bool,
) -> Result<Option<Content>> {
    db.prepare_cached(
        "UPDATE questions SET with_buttons = ?3 WHERE session_id = ?1 AND message_out_id = ?2",
    )?
    .execute(params![session_id, message_out_id, with_buttons])?;
    if with_buttons { content(db, session_id, message_out_id) } else { Ok(None) }
}

fn content(db: &ReadTxn, session_id: &SessionId, message_out_id: &str) -> Result<Option<Content>> {
    let sql = format!("SELECT {COLUMNS} FROM questions WHERE session_id = ?1 AND message_out_id = ?2");
    let found = db.prepare_cached(&sql)?.query_row([session_id, message_out_id], of).optional()?;
    Ok(found.map(|question| question.asked.content(&question.token)))
}

fn by_token(db: &ReadTxn, token: &str) -> Result<Option<Question>> {
    let mut statement = db.prepare_cached(&format!("SELECT {COLUMNS} FROM questions WHERE token = ?1"))?;
    Ok(statement.query_row([token], of).optional()?)
}

/// The question with this token.
///
/// # Errors
/// There is none.
pub fn with_token(db: &ReadTxn, token: &str) -> Result<Question> {
    by_token(db, token)?.ok_or_else(|| {
        Error::Refused(format!("there is no question `{token}`; `vestibule question list` shows them"))
    })
}

/// A question that can be answered: it has no answer, and is not too old. See [`is_open`].
const UNANSWERED: &str = "answered_at IS NULL AND expires_at > ?1";

/// Whether a question that can be answered was not given up: its delivery is on its way, or has arrived.
fn is_open(db: &ReadTxn, question: &Question) -> Result<bool> {
    let state = ledger::state_of(db, &question.session_id, &question.asked.id)?;
    Ok(!matches!(state, Some((State::Failed | State::Dropped, _))))
}

/// Whether people may have seen a question: its channel was called.
fn may_be_seen(db: &ReadTxn, question: &Question) -> Result<bool> {
    let state = ledger::state_of(db, &question.session_id, &question.asked.id)?;
    Ok(state.is_some_and(|(_, attempts)| attempts > 0))
}

/// The open questions, the oldest first, at most `limit`.
pub fn open(db: &ReadTxn, now: Timestamp, limit: usize) -> Result<Vec<Question>> {
    let sql = format!("SELECT {COLUMNS} FROM questions WHERE {UNANSWERED} ORDER BY asked_at");
    let mut statement = db.prepare(&sql)?;
    let mut found = Vec::new();
    for question in statement.query_map([now.0], of)? {
        let question = question?;
        if is_open(db, &question)? {
            found.push(question);
        }
        if found.len() >= limit {
            break;
        }
    }
    Ok(found)
}

/// The one question that is open in a conversation and that words answer, if exactly one is: one that was shown with
/// buttons is answered by those. A question that was asked outside every thread is open everywhere in a direct chat; in a
/// group a thread is a conversation of its own.
pub fn only_one_open(
    db: &ReadTxn,
    address: &Address,
    is_group: bool,
    now: Timestamp,
) -> Result<Option<Question>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM questions WHERE {UNANSWERED} AND NOT with_buttons AND channel_type = ?2 \
         AND account = ?3 AND platform_id = ?4 AND (thread_id IS ?5 OR (thread_id IS NULL AND NOT ?6))"
    );
    let thread = address.thread_id.as_ref().map(|thread| thread.as_str());
    let place = (address.channel_type.as_str(), address.account.as_str(), address.platform_id.as_str());
    let mut statement = db.prepare_cached(&sql)?;
    let mut found = None;
    for question in statement.query_map(params![now.0, place.0, place.1, place.2, thread, is_group], of)? {
        let question = question?;
        if is_open(db, &question)? && may_be_seen(db, &question)? && found.replace(question).is_some() {
            return Ok(None);
        }
    }
    Ok(found)
}

/// The question of an offer, and which of its options is offered.
pub fn offered(db: &ReadTxn, token: &str) -> Result<Option<(Question, usize)>> {
    let Some((token, number)) = token.split_once('.') else { return Ok(None) };
    let Ok(option) = number.parse() else { return Ok(None) };
    let question = by_token(db, token)?;
    Ok(question.filter(|question| option < question.asked.options.len()).map(|question| (question, option)))
}

/// Takes the choice of an offer; returns what its channel is told, and the session that got an answer.
pub fn choose(
    db: &WriteTxn,
    token: &str,
    giver: &Giver,
    now: Timestamp,
) -> Result<(Answered, Option<SessionId>)> {
    let Some((question, option)) = offered(db, token)? else { return Ok((Answered::Closed, None)) };
    let verdict = answer(db, &question, option, giver, now)?;
    let shown = |option: usize| question.asked.options[option].selected_label.clone();
    Ok(match verdict {
        Judgement::Take => (Answered::Taken { shown: shown(option) }, Some(question.session_id)),
        Judgement::Again => (Answered::Taken { shown: shown(option) }, None),
        Judgement::Already => {
            let counts = question.answer.as_ref().map_or(option, |(counts, _)| *counts);
            (Answered::Already { shown: shown(counts) }, None)
        }
        Judgement::Closed => (Answered::Closed, None),
        Judgement::NotYours => (Answered::NotYours, None),
    })
}

/// Answers a question with one of its options, if that is allowed; the session then has something new.
pub fn answer(
    db: &WriteTxn,
    question: &Question,
    option: usize,
    giver: &Giver,
    now: Timestamp,
) -> Result<Judgement> {
    let verdict = decide::decide(question, option, giver, now);
    if verdict != Judgement::Take {
        return Ok(verdict);
    }
    db.prepare_cached(
        "UPDATE questions SET answered_at = ?2, answer = ?3, answered_by = ?4, answered_name = ?5, by_operator = ?6 \
         WHERE token = ?1",
    )?
    .execute(params![
        question.token,
        now.0,
        u32::try_from(option).unwrap_or_default(),
        giver.handle,
        giver.name,
        giver.chat.is_none()
    ])?;
    let asked = &question.asked;
    if of_modules::module_of(db, &question.session_id, &asked.id)?.is_some() {
        return Ok(Judgement::Take); // its module is told, and not the agent
    }
    let chosen = &asked.options[option];
    let about = if asked.title.is_empty() { &asked.question } else { &asked.title };
    let new = NewAnswer {
        question_id: asked.id.clone(),
        selected: chosen.value.clone(),
        user_id: giver.handle.clone(),
        sender: giver.name.clone(),
        words: format!("Answer to your question \u{201c}{about}\u{201d}: {}", chosen.label),
        address: question.address.clone(),
    };
    ledger::post_answer(db, &question.session_id, &new, now)?;
    Ok(Judgement::Take)
}

/// Gives the open questions of a chat its new id.
pub fn move_chat(db: &WriteTxn, chat: &ChatKey, to: &str) -> Result<()> {
    db.prepare_cached(
        "UPDATE questions SET platform_id = ?4, thread_id = CASE WHEN substr(thread_id, 1, length(?3)) = ?3 \
         AND substr(thread_id, length(?3) + 1, 1) NOT GLOB '[0-9A-Za-z]' \
         THEN ?4 || substr(thread_id, length(?3) + 1) ELSE thread_id END \
         WHERE channel_type = ?1 AND account = ?2 AND platform_id = ?3 AND answered_at IS NULL",
    )?
    .execute(params![chat.channel_type, chat.account, chat.platform_id, to])?;
    Ok(())
}

/// Forgets the questions that are too old for a late answer.
pub fn forget(db: &WriteTxn, now: Timestamp) -> Result<()> {
    db.execute("DELETE FROM questions WHERE expires_at < ?1", [after(now, -KEPT_MS).0])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const DAY: i64 = 24 * 3600 * 1000;

    fn at(thread: Option<&str>) -> Address {
        Address {
            channel_type: "x".into(),
            account: "main".into(),
            platform_id: "c".into(),
            thread_id: thread.map(Into::into),
        }
    }

    /// A ledger in which these questions were asked and delivered at time 0: id and thread.
    fn asked(questions: &[(&str, Option<&str>)]) -> WriteTxn<'static> {
        let db = crate::db::in_memory();
        db.execute_batch(
            "INSERT INTO agent_groups (id, name, folder, created_at) VALUES ('ag', 'a', 'a', 0); \
             INSERT INTO sessions (id, agent_group_id, created_at, last_active) VALUES ('s', 'ag', 0, 0)",
        )
        .expect("it fills");
        for (id, thread) in questions {
            let content = json!({ "type": "ask_question", "questionId": id, "title": "T", "question": "Q",
                "options": ["Yes", { "label": "No", "selectedLabel": "Not now", "value": "n" }] });
            let question = Asked::read(&content).expect("a question").expect("a good one");
            ask(&db, &"s".into(), &question, &at(*thread), Timestamp(0)).expect("on record");
            db.execute(
                "INSERT INTO deliveries (session_id, message_out_id, seq, kind, content, state, attempts, taken_at) \
                 VALUES ('s', ?1, 1, 'chat', '{}', 'delivered', 1, 0)",
                [id],
            )
            .expect("delivered");
        }
        db
    }

    fn giver(handle: &str) -> Giver {
        let chat = crate::chat_key::ChatKey::new("x", "main", "c");
        Giver { handle: handle.into(), name: handle.to_uppercase(), is_bot: false, chat: Some(chat) }
    }

    fn token(db: &ReadTxn) -> String {
        open(db, Timestamp(0), 1).expect("rows").remove(0).token
    }

    #[test]
    fn which_question_words_may_answer() {
        let one: &[(&str, Option<&str>)] = &[("q", None)];
        let in_thread: &[(&str, Option<&str>)] = &[("q", Some("t"))];
        let two: &[(&str, Option<&str>)] = &[("q", None), ("r", Some("t"))];
        for (questions, change, thread, is_group, now, want) in [
            (one, "", None, false, 0, true),
            (one, "", None, true, DAY - 1, true),
            (one, "", None, true, DAY, false),
            // Outside every thread: open everywhere in a direct chat, not in a group.
            (one, "", Some("t"), false, 0, true),
            (one, "", Some("t"), true, 0, false),
            (in_thread, "", Some("t"), true, 0, true),
            (in_thread, "", Some("u"), true, 0, false),
            (in_thread, "", None, false, 0, false),
            (two, "", None, false, 0, true),
            (two, "", Some("t"), true, 0, true),
            (two, "", Some("t"), false, 0, false),
            (one, "UPDATE deliveries SET state = 'failed'", None, false, 0, false),
            (one, "UPDATE deliveries SET attempts = 0, state = 'pending'", None, false, 0, false),
            (one, "UPDATE questions SET answered_at = 0", None, false, 0, false),
            (one, "UPDATE questions SET account = 'second'", None, false, 0, false),
            (one, "UPDATE questions SET platform_id = 'd'", None, false, 0, false),
        ] {
            let db = asked(questions);
            db.execute_batch(change).expect("it is SQL");
            let found = only_one_open(&db, &at(thread), is_group, Timestamp(now)).expect("it answers");
            assert_eq!(found.is_some(), want, "{questions:?} {change} {thread:?} {is_group} {now}");
        }
    }

    #[test]
    fn words_answer_no_question_that_has_buttons() {
        let db = asked(&[("q", None)]);
        // The last time counts: a channel that was updated may have buttons, or have none any more.
        for with_buttons in [false, true, false] {
            let shown = show(&db, &"s".into(), "q", with_buttons).expect("it is noted");
            assert_eq!(shown.is_some(), with_buttons);
            let found = only_one_open(&db, &at(None), false, Timestamp(0)).expect("it answers");
            assert_eq!(found.is_some(), !with_buttons);
        }
    }

    #[test]
    fn an_offer_is_its_token_and_number() {
        let db = asked(&[("q", None)]);
        let token = token(&db);
        assert_eq!(token.len(), 32);
        let Some(Content::Question { options, .. }) = content(&db, &"s".into(), "q").expect("it answers")
        else {
            panic!("no question")
        };
        let offers: Vec<(&str, &str)> =
            options.iter().map(|o| (o.label.as_str(), o.token.as_str())).collect();
        assert_eq!(offers, [("Yes", &*format!("{token}.0")), ("No", &*format!("{token}.1"))]);
        assert_eq!(content(&db, &"s".into(), "other").expect("it answers"), None);
        for (offer, want) in [
            (format!("{token}.0"), Some(0)),
            (format!("{token}.1"), Some(1)),
            (format!("{token}.2"), None),
            (format!("{token}.-1"), None),
            (format!("{token}."), None),
            (token.clone(), None),
            (".0".to_owned(), None),
            (format!("{}.0", "0".repeat(32)), None),
        ] {
            let option = offered(&db, &offer).expect("it answers").map(|(_, option)| option);
            assert_eq!(option, want, "{offer}");
        }
        assert!(with_token(&db, &token).is_ok() && with_token(&db, "none").is_err());
    }

    #[test]
    fn the_first_answer_counts_and_the_agent_gets_it_once() {
        let db = asked(&[("q", None)]);
        let token = token(&db);
        let no = |handle: &str, now| {
            choose(&db, &format!("{token}.1"), &giver(handle), Timestamp(now)).expect("it answers")
        };
        let shown = |word: &str| word.to_owned();
        assert_eq!(no("ann", DAY), (Answered::Closed, None), "too late");
        assert_eq!(no("ann", 5), (Answered::Taken { shown: shown("Not now") }, Some("s".into())));
        assert_eq!(no("ann", 6), (Answered::Taken { shown: shown("Not now") }, None));
        assert_eq!(no("ben", 7), (Answered::Already { shown: shown("Not now") }, None));
        let yes = choose(&db, &format!("{token}.0"), &giver("ann"), Timestamp(8)).expect("it answers");
        assert_eq!(yes, (Answered::Already { shown: shown("Not now") }, None));
        let elsewhere = Giver { chat: Some(crate::chat_key::ChatKey::new("x", "main", "d")), ..giver("ann") };
        let told = choose(&db, &format!("{token}.1"), &elsewhere, Timestamp(9)).expect("it answers");
        assert_eq!(told, (Answered::NotYours, None));
        assert_eq!(
            choose(&db, "none.0", &giver("ann"), Timestamp(9)).expect("it answers").0,
            Answered::Closed
        );
        let rows = "SELECT group_concat(content, ' ') FROM (SELECT content FROM messages_in ORDER BY seq)";
        let told: String = db.query_row(rows, [], |r| r.get(0)).expect("a row");
        assert_eq!(told.matches("\u{201c}T\u{201d}: No").count(), 1, "{told}");
        assert!(told.contains("\"n\"") && told.contains("ANN"), "{told}");
        assert_eq!(open(&db, Timestamp(9), 10).expect("rows"), []);
        forget(&db, Timestamp(31 * DAY)).expect("nothing to forget");
        assert!(with_token(&db, &token).is_ok());
        forget(&db, Timestamp(31 * DAY + 1)).expect("forgotten");
        assert!(with_token(&db, &token).is_err());
    }
}
