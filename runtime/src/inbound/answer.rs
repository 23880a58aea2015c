//! Answers to questions that a channel hands over: a person tapped a button.

use super::screen;
use super::snapshot::name_of;
use crate::chat_key::ChatKey;
use crate::clock;
use crate::context::Context;
use crate::db::WriteTxn;
use crate::error::Result;
use crate::questions::{self, Giver};
use crate::{drops, plugin_state};
use std::sync::Arc;
use vestibule_plugin_api::{Answered, Choice, Sender, StateWrite};
use vestibule_session::crash;

/// Takes the choice that a channel hands over, and the state that the channel keeps with it, in one commit.
///
/// # Errors
/// The choice is not on disk: the adapter must not acknowledge its platform.
pub async fn answer(
    context: &Arc<Context>,
    channel: String,
    account: String,
    choice: Choice,
    state: Vec<StateWrite>,
) -> Result<Answered> {
    let now = clock::now();
    let marks = context.clone();
    let refused = screen::choice(context, &channel, &account, &choice, now).await?;
    let work = move |db: &WriteTxn| {
        marks.ledger.write_marks(db)?;
        plugin_state::apply(db, &channel, &account, &state)?;
        let chat = ChatKey::new(channel, account, choice.platform_id.as_str());
        let giver = giver(chat.clone(), &choice.sender);
        if let Some(reason) = refused {
            drops::record(db, &chat, &reason, Some(&giver.name), now)?;
            return Ok((Answered::NotYours, None));
        }
        questions::choose(db, &choice.token, &giver, now)
    };
    let (answered, session) = context.central.write(work).await?;
    crash::point("answer: it is on record, its channel does not know");
    if let Some(session_id) = session {
        context.wake(session_id);
    }
    Ok(answered)
}

/// The person who gives an answer in a chat.
pub fn giver(chat: ChatKey, sender: &Sender) -> Giver {
    Giver {
        handle: sender.handle.clone(),
        name: name_of(sender).to_owned(),
        is_bot: sender.is_bot,
        chat: Some(chat),
    }
}
