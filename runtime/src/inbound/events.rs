//! The events of a plugin, and what is done about them. Its port has checked that the plugin may send them.

use super::{Arrival, answer, conversation, ignored, route};
use crate::chat_key::{ChatKey, moved_thread, respelled};
use crate::context::Context;
use crate::db::{ReadTxn, WriteTxn};
use crate::error::{Error, Result};
use crate::plugins::{self, Link};
use crate::{messaging_groups, plugin_state};
use std::sync::Arc;
use vestibule_plugin_api::wire::{self, Empty, Event, StateValue};
use vestibule_plugin_api::{Capability, PlatformId, ThreadId};
use vestibule_seam::Frame;

/// Does what an event asks for; returns the frame of its answer.
///
/// # Errors
/// Nothing of the event is on disk.
pub async fn hear(context: &Arc<Context>, link: &Link, mut event: Event) -> Result<Frame> {
    spell(context, link, &mut event).await?;
    let channel_type = plugins::slot(&link.manifest);
    match event {
        Event::Message { account, message, state } => {
            let threads = link.manifest.threads_in(message.is_group);
            let arrival = Arrival::new(&channel_type, &account, threads, message);
            Ok(wire::frame(&route(context, link, arrival, state).await?))
        }
        Event::Change { account, change, state } => {
            let threads = link.manifest.threads_in(change.is_group);
            let arrival = Arrival::of_change(&channel_type, &account, threads, change);
            Ok(wire::frame(&route(context, link, arrival, state).await?))
        }
        Event::Ignored { account, ignored: what, state } => {
            ignored(context, channel_type, account, what, state).await?;
            Ok(wire::frame(&Empty {}))
        }
        Event::StateGet { account, key } => {
            let read = move |db: &ReadTxn| plugin_state::get(db, &channel_type, &account, &key);
            Ok(wire::frame(&StateValue { value: context.central.read(read).await? }))
        }
        Event::StateList { account, prefix, after } => {
            let read = move |db: &ReadTxn| {
                plugin_state::page(db, &channel_type, &account, &prefix, after.as_deref())
            };
            Ok(wire::frame(&context.central.read(read).await?))
        }
        Event::StateSet { account, state } => {
            let write = move |db: &WriteTxn| plugin_state::apply(db, &channel_type, &account, &state);
            context.central.write(write).await?;
            Ok(wire::frame(&Empty {}))
        }
        Event::Conversation { account, conversation: said } => {
            Ok(wire::frame(&conversation(context, &channel_type, &account, said).await?))
        }
        Event::Answer { account, choice, state } => {
            Ok(wire::frame(&answer(context, channel_type, account, choice, state).await?))
        }
        // What an account says of itself concerns its plugin alone, what was sent and where chats go the deliveries; an
        // unknown event was answered before, and the port knows whose an event is that was handed over.
        Event::Health { .. }
        | Event::Lost { .. }
        | Event::SentSoFar { .. }
        | Event::LateReceipt { .. }
        | Event::Chat { .. }
        | Event::OwnHandles { .. }
        | Event::HandedOver { .. }
        | Event::Unknown => Err(Error::refused("the runtime does not take this event")),
    }
}

/// Names the chat of an event as it is known: by the id that it has now, where it had this one before, and as that is
/// spelled, where its channel says that case means nothing. An agent knows it by no other name, and could not answer.
async fn spell(context: &Context, link: &Link, event: &mut Event) -> Result<()> {
    let ignores_case = link.manifest.can(Capability::IgnoresCase);
    let Some((account, chat, thread)) = to_spell(event) else { return Ok(()) };
    let key = ChatKey::new(&link.manifest.channel_type, account, chat.as_str());
    let look = move |db: &ReadTxn| match ignores_case {
        true => Ok(messaging_groups::spelling(db, &key)?.or(messaging_groups::called_now(db, &key)?)),
        false => messaging_groups::called_now(db, &key),
    };
    if let Some(known) = context.central.read(look).await? {
        respell(chat, thread, PlatformId(known));
    }
    Ok(())
}

/// The account, the chat and the thread that an event names. Pure.
fn to_spell(event: &mut Event) -> Option<(&str, &mut PlatformId, Option<&mut ThreadId>)> {
    match event {
        Event::Message { account, message, .. } => {
            Some((account, &mut message.platform_id, message.thread_id.as_mut()))
        }
        Event::Change { account, change, .. } => {
            Some((account, &mut change.platform_id, change.thread_id.as_mut()))
        }
        Event::Conversation { account, conversation } => Some((account, &mut conversation.platform_id, None)),
        Event::Answer { account, choice, .. } => Some((account, &mut choice.platform_id, None)),
        Event::Chat { account, chat, .. } => Some((account, &mut chat.platform_id, None)),
        _ => None,
    }
}

/// Gives a chat another spelling, or its id of now, and a thread of it, if that begins with the chat.
fn respell(chat: &mut PlatformId, thread: Option<&mut ThreadId>, known: PlatformId) {
    if let Some(thread) = thread {
        let moved = || moved_thread(thread.as_str(), chat.as_str(), known.as_str());
        *thread = ThreadId(respelled(thread.as_str(), known.as_str()).unwrap_or_else(moved));
    }
    *chat = known;
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn which_events_name_their_chat_as_it_is_known() {
        let sender = json!({ "handle": "u" });
        let message = json!({ "event_id": "e", "message_id": "m", "platform_id": "x:a", "thread_id": "x:a:1",
            "sender": sender, "text": "hi", "timestamp": 0, "is_mention": false, "is_group": true });
        let change = json!({ "event_id": "e", "message_id": "m", "platform_id": "x:a", "thread_id": "x:a:1",
            "sender": sender, "timestamp": 0, "what": { "change": "deleted" } });
        let conversation = json!({ "platform_id": "x:a", "name": "A" });
        let choice = json!({ "token": "t", "platform_id": "x:a", "sender": sender });
        for (event, is_spelled) in [
            (json!({ "verb": "message", "account": "main", "message": message }), true),
            (json!({ "verb": "change", "account": "main", "change": change }), true),
            (json!({ "verb": "conversation", "account": "main", "conversation": conversation }), true),
            (json!({ "verb": "answer", "account": "main", "choice": choice }), true),
            (json!({ "verb": "state_get", "account": "main", "key": "x:a" }), false),
        ] {
            let told = event.to_string();
            let mut event: Event = serde_json::from_value(event).expect(&told);
            let spelled = to_spell(&mut event).map(|(account, chat, thread)| {
                assert_eq!(account, "main");
                respell(chat, thread, "X:A".into());
            });
            let moved = to_spell(&mut serde_json::from_str(&told).expect(&told)).map(|(_, chat, thread)| {
                let mut thread = thread.cloned();
                respell(chat, thread.as_mut(), "x:moved".into());
                assert!(thread.is_none_or(|thread| thread.as_str() == "x:moved:1"));
            });
            assert_eq!(moved.is_some(), is_spelled, "{told}");
            assert_eq!(spelled.is_some(), is_spelled, "{told}");
            let event = format!("{event:?}");
            assert_eq!(event.contains("X:A"), is_spelled, "{event}");
            assert_eq!(event.contains("x:a"), !is_spelled, "{event}");
        }
    }
}
