//! The events of a plugin, and what is done about them. Its port has checked that the plugin may send them.

use super::{Arrival, answer, conversation, ignored, route};
use crate::chat_key::{ChatKey, respelled};
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
            let threads = link.manifest.can(Capability::Threads);
            let mut arrival = Arrival::new(&channel_type, &account, threads, message);
            arrival.has_buttons = link.manifest.can(Capability::Questions);
            Ok(wire::frame(&route(context, arrival, state).await?))
        }
        Event::Change { account, change, state } => {
            let threads = link.manifest.can(Capability::Threads);
            let arrival = Arrival::of_change(&channel_type, &account, threads, change);
            Ok(wire::frame(&route(context, arrival, state).await?))
        }
        Event::Ignored { account, ignored: what, state } => {
            ignored(context, channel_type, account, what, state).await?;
            Ok(wire::frame(&Empty {}))
        }
        Event::StateGet { account, key } => {
            let read = move |db: &ReadTxn| plugin_state::get(db, &channel_type, &account, &key);
            Ok(wire::frame(&StateValue { value: context.central.read(read).await? }))
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
        // The health of an account concerns its plugin alone; an unknown event was answered before.
        Event::Health { .. } | Event::Unknown => Err(Error::refused("the runtime does not take this event")),
    }
}

/// Spells the chat of an event as it is known, if that differs in case only and its channel says that case means
/// nothing.
async fn spell(context: &Context, link: &Link, event: &mut Event) -> Result<()> {
    let (account, chat) = match event {
        _ if !link.manifest.can(Capability::IgnoresCase) => return Ok(()),
        Event::Message { account, message, .. } => (account, &message.platform_id),
        Event::Change { account, change, .. } => (account, &change.platform_id),
        Event::Conversation { account, conversation } => (account, &conversation.platform_id),
        Event::Answer { account, choice, .. } => (account, &choice.platform_id),
        _ => return Ok(()),
    };
    let chat = ChatKey::new(&link.manifest.channel_type, account.as_str(), chat.as_str());
    let known = context.central.read(move |db| messaging_groups::spelling(db, &chat)).await?;
    match (known.map(PlatformId), event) {
        (Some(known), Event::Message { message, .. }) => {
            respell(&mut message.platform_id, &mut message.thread_id, known)
        }
        (Some(known), Event::Change { change, .. }) => {
            respell(&mut change.platform_id, &mut change.thread_id, known)
        }
        (Some(known), Event::Conversation { conversation, .. }) => conversation.platform_id = known,
        (Some(known), Event::Answer { choice, .. }) => choice.platform_id = known,
        _ => {}
    }
    Ok(())
}

/// Gives a chat another spelling, and a thread of it, if that begins with the chat.
fn respell(chat: &mut PlatformId, thread: &mut Option<ThreadId>, known: PlatformId) {
    if let Some(thread) = thread
        && let Some(as_known) = respelled(thread.as_str(), known.as_str())
    {
        *thread = ThreadId(as_known);
    }
    *chat = known;
}
