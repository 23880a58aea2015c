//! Messages that a module refuses or takes: on record, and where the module has words for the writer, those go out.

use super::snapshot::{Arrival, name_of};
use crate::chat_key::ChatKey;
use crate::clock::Timestamp;
use crate::context::Context;
use crate::db::WriteTxn;
use crate::error::Result;
use crate::plugins::{Stop, Told};
use crate::{drops, ledger, plugin_state};
use serde_json::json;
use std::sync::Arc;
use vestibule_plugin_api::{Accepted, Changed, StateWrite};
use vestibule_session::crash;

/// Puts on record that a module lets a message go no further, and in the same commit its words for the writer.
///
/// # Errors
/// The record is not on disk.
pub async fn refused(
    context: &Arc<Context>,
    arrival: &Arrival,
    Stop { reason, told }: Stop,
    state: Vec<StateWrite>,
    now: Timestamp,
) -> Result<Accepted> {
    let (at, event_id) = (arrival.address.clone(), arrival.message.event_id.clone());
    let sender = name_of(&arrival.message.sender).to_owned();
    let told = told.filter(|_| is_told(arrival)).map(|told| words(arrival, told));
    let record = move |db: &WriteTxn| {
        let chat = ChatKey::from(&at);
        plugin_state::apply(db, &chat.channel_type, &chat.account, &state)?;
        if !ledger::take_event(db, &chat.channel_type, &chat.account, &event_id, now)? {
            return Ok((Accepted::Duplicate, None));
        }
        drops::record(db, &chat, &reason, Some(&sender), now)?;
        let goes_out = match &told {
            Some(words) => ledger::record_words(db, words, &at, now)?,
            None => false,
        };
        Ok((Accepted::Dropped { reason }, goes_out.then_some(at)))
    };
    let (accepted, address) = context.central.write(record).await?;
    if let Some(address) = address {
        crash::point("screening: a refusal is on record, its words are not sent");
        context.deliver(address);
    }
    Ok(accepted)
}

/// Whether the one who wrote hears of a refusal. A program that is answered may answer that, and a deletion or a
/// reaction has no words. Pure.
fn is_told(arrival: &Arrival) -> bool {
    let has_words = matches!(arrival.change, None | Some(Changed::Edited { .. }));
    has_words && !arrival.message.sender.is_bot
}

fn words(arrival: &Arrival, told: Told) -> ledger::NewWords {
    ledger::NewWords {
        module: told.module,
        content: json!({ "text": told.text }).to_string(),
        in_reply_to: Some(arrival.message.message_id.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vestibule_plugin_api::{InboundMessage, Sender};

    #[test]
    fn who_hears_of_a_refusal() {
        let reacted = Changed::Reacted { emoji: "+1".into() };
        for (is_bot, change, want) in [
            (false, None, true),
            (true, None, false),
            (false, Some(Changed::Edited { text: "x".into(), is_mention: false }), true),
            (true, Some(Changed::Edited { text: "x".into(), is_mention: false }), false),
            (false, Some(Changed::Deleted), false),
            (false, Some(reacted), false),
            (false, Some(Changed::Unknown), false),
        ] {
            let sender = Sender { handle: "u".into(), is_bot, ..Sender::default() };
            let message = InboundMessage { sender, ..InboundMessage::default() };
            let arrival = Arrival { change, ..Arrival::new("x", "main", true, message) };
            assert_eq!(is_told(&arrival), want, "{is_bot} {:?}", arrival.change);
        }
    }
}
