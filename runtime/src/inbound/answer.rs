//! Answers to questions: a button that was tapped, or the words for one.

use super::screen;
use super::snapshot::{Arrival, name_of};
use crate::clock::{self, Timestamp};
use crate::error::Result;
use crate::house::House;
use crate::questions::{self, Giver, Verdict};
use crate::{drops, plugin_state};
use rusqlite::Connection;
use std::sync::Arc;
use vestibule_plugin_api::{Answered, Choice, PlatformId, Sender, StateWrite};
use vestibule_session::crash;

/// Takes the choice that a channel hands over, and what it keeps with it, in one commit.
///
/// # Errors
/// It is not on disk: the adapter must not acknowledge its platform.
pub async fn answer(
    house: &Arc<House>,
    channel: String,
    account: String,
    choice: Choice,
    state: Vec<StateWrite>,
) -> Result<Answered> {
    let now = clock::now();
    let marks = house.clone();
    let refused = screen::choice(house, &channel, &account, &choice, now).await?;
    let work = move |db: &Connection| {
        marks.ledger.write_marks(db)?;
        plugin_state::apply(db, &channel, &account, &state)?;
        let giver = giver(&channel, &account, &choice.platform_id, &choice.sender);
        if let Some(reason) = refused {
            drops::record(
                db,
                (&channel, &account, choice.platform_id.as_str()),
                &reason,
                Some(&giver.name),
                now,
            )?;
            return Ok((Answered::NotYours, None));
        }
        questions::choose(db, &choice.token, &giver, now)
    };
    let (answered, session) = house.central.write(work).await?;
    crash::point("answer: it is on record, its channel does not know");
    if let Some(session_id) = session {
        house.ring(session_id);
    }
    Ok(answered)
}

/// Whether a message is the answer to the one question that is open where it was written; the session that
/// asked. Anything else is a message like any other.
pub fn typed(db: &Connection, arrival: &Arrival, now: Timestamp) -> Result<Option<String>> {
    let (message, at) = (&arrival.message, &arrival.address);
    if arrival.has_buttons || message.text.is_empty() || !message.attachments.is_empty() {
        return Ok(None);
    }
    let Some(question) = questions::only_one_open(db, at, message.is_group, now)? else { return Ok(None) };
    let Some(option) = questions::named(&question.asked.options, &message.text) else { return Ok(None) };
    let giver = giver(at.channel_type.as_str(), at.account.as_str(), &at.platform_id, &message.sender);
    let verdict = questions::answer(db, &question, option, &giver, now)?;
    Ok((verdict == Verdict::Take).then_some(question.session_id))
}

fn giver(channel: &str, account: &str, chat: &PlatformId, sender: &Sender) -> Giver {
    Giver {
        handle: sender.handle.clone(),
        name: name_of(sender).to_owned(),
        is_bot: sender.is_bot,
        chat: Some((channel.to_owned(), account.to_owned(), chat.0.clone())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::questions::Asked;
    use serde_json::json;
    use vestibule_plugin_api::{Attachment, InboundMessage};

    fn said(text: &str) -> Arrival {
        let message = InboundMessage {
            event_id: "e".into(),
            message_id: "m".into(),
            platform_id: "c".into(),
            thread_id: None,
            sender: Sender { handle: "ann".into(), name: None, is_bot: false },
            text: text.into(),
            reply_to: None,
            attachments: vec![],
            timestamp: Timestamp(0),
            is_mention: false,
            is_group: false,
        };
        Arrival::new("x", "main", true, message)
    }

    #[test]
    fn which_words_are_an_answer() {
        let with_buttons = Arrival { has_buttons: true, ..said("Yes") };
        let mut with_file = said("Yes");
        with_file.message.attachments = vec![Attachment::default()];
        let mut of_bot = said("Yes");
        of_bot.message.sender.is_bot = true;
        let mut elsewhere = said("Yes");
        elsewhere.address.platform_id = "d".into();
        for (arrival, want) in [
            (said("Yes"), true),
            (said("2"), true),
            (said("yes please"), false),
            (said(""), false),
            (with_buttons, false),
            (with_file, false),
            (of_bot, false),
            (elsewhere, false),
        ] {
            let db = crate::db::in_memory();
            db.execute_batch(
                "INSERT INTO agent_groups (id, name, folder, created_at) VALUES ('ag', 'a', 'a', 0); \
                 INSERT INTO sessions (id, agent_group_id, created_at, last_active) VALUES ('s', 'ag', 0, 0); \
                 INSERT INTO deliveries (session_id, message_out_id, seq, kind, content, state, attempts, taken_at) \
                 VALUES ('s', 'q', 1, 'chat', '{}', 'delivered', 1, 0)",
            )
            .expect("it fills");
            let content =
                json!({ "type": "ask_question", "questionId": "q", "title": "T", "options": ["Yes", "No"] });
            let asked = Asked::read(&content).expect("a question").expect("a good one");
            questions::ask(&db, "s", &asked, &said("").address, Timestamp(0)).expect("on record");
            let answers = |at| typed(&db, &arrival, Timestamp(at)).expect("it is judged");
            assert_eq!(answers(1), want.then(|| "s".to_owned()), "{arrival:?}");
            assert_eq!(answers(2), None, "it is answered once: {arrival:?}");
        }
    }
}
