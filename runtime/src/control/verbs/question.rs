//! `question`: what agents ask people with a choice of answers.

use super::{Outcome, answer, args};
use crate::db::{ReadTxn, WriteTxn};
use crate::error::{Error, Result};
use crate::questions::{self, Giver, Judgement};
use crate::{agents, clock, sessions};
use serde::Deserialize;
use serde_json::{Value, json};
use vestibule_session::words;

const SHOWN: usize = 1000;
/// The name under which an operator answers.
const OPERATOR: &str = "operator";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    id: String,
    value: String,
}

/// Shows the open questions, the oldest first.
pub fn list(db: &ReadTxn, _: Value) -> Result<Outcome> {
    let mut rows = Vec::new();
    for question in questions::open(db, clock::now(), SHOWN)? {
        let session = sessions::by_id(db, &question.session_id)?;
        let agent = session.map(|session| agents::by_id(db, &session.agent_group_id)).transpose()?.flatten();
        let (at, asked) = (question.address, question.asked);
        rows.push(json!({
            "id": question.token,
            "agent": agent.map(|agent| agent.name),
            "session": question.session_id,
            "channel": at.channel_type,
            "account": at.account,
            "chat": at.platform_id,
            "thread": at.thread_id,
            "title": asked.title,
            "question": asked.question,
            "options": asked.options.into_iter().map(|option| option.label).collect::<Vec<_>>(),
            "asked_at": question.asked_at,
            "expires_at": question.expires_at,
        }));
    }
    answer(&rows, vec![])
}

/// Answers a question in the place of the people who were asked.
pub fn answer_one(db: &WriteTxn, value: Value) -> Result<Outcome> {
    let given: Answer = args(value)?;
    let question = questions::with_token(db, &given.id)?;
    let labels: Vec<&str> = question.asked.options.iter().map(|option| option.label.as_str()).collect();
    let Some(option) = questions::named(&question.asked.options, &given.value) else {
        return Err(Error::Refused(format!(
            "`{}` is none of its options; choose one of: {}",
            given.value.escape_debug(),
            words::reason(labels.join(", "))
        )));
    };
    let operator = Giver { handle: OPERATOR.into(), name: OPERATOR.into(), is_bot: false, chat: None };
    match questions::answer(db, &question, option, &operator, clock::now())? {
        Judgement::Take | Judgement::Again => {
            answer(&json!({ "id": question.token, "answer": labels[option] }), vec![question.session_id])
        }
        Judgement::Already => Err(Error::refused("it was answered before")),
        Judgement::Closed | Judgement::NotYours => Err(Error::refused("it is too old to be answered")),
    }
}
