//! The inbound road: read, decide, perform, in one transaction of the ledger.
//!
//! Invariant: an adapter hears that its message was taken only after the commit.

mod answer;
mod chats;
mod content;
mod decide;
mod engage;
mod events;
mod files;
mod refused;
mod screen;
mod snapshot;
mod subscribe;

use crate::id::SessionId;
pub use answer::answer;
pub use chats::chat;
pub use decide::{Plan, Step, decide};
pub use events::hear;
use screen::{Screening, Title};
use snapshot::name_of;
pub use snapshot::{Arrival, Snapshot};
pub use subscribe::account_is_live;

use crate::chat_key::ChatKey;
use crate::clock::{self, Timestamp};
use crate::context::Context;
use crate::db::WriteTxn;
use crate::error::Result;
use crate::messaging_groups::{self, MessagingGroup};
use crate::plugins::Link;
use crate::sessions::SessionKey;
use crate::{destinations, drops, ledger, plugin_state, questions, sessions, wirings};
use std::sync::Arc;
use vestibule_plugin_api::{Accepted, Capability, Conversation, Ignored, Known, StateWrite};
use vestibule_session::crash;

/// Takes one message from a channel, whose `link` it is, and the state that the channel keeps with it: whatever becomes of the message,
/// `state` is written in the same commit.
///
/// # Errors
/// The message is not on disk: the adapter must not acknowledge its platform.
pub async fn route(
    context: &Arc<Context>,
    link: &Link,
    arrival: Arrival,
    state: Vec<StateWrite>,
) -> Result<Accepted> {
    let now = clock::now();
    let marks = context.clone();
    let arrival = match screen::message(context, arrival).await? {
        Screening::Passed(arrival) => arrival,
        Screening::Refused(arrival, stop) => {
            return refused::refused(context, &arrival, stop, state, now).await;
        }
    };
    let arrival = files::store(context, link, arrival).await?;
    let stored = files::blobs(&arrival.files);
    let address = arrival.address.clone();
    let subscribes = link.manifest.can(Capability::Subscribes);
    let Performed { accepted, touched, opened } = context
        .central
        .write(move |db| {
            marks.ledger.write_marks(db)?;
            let (channel, account) =
                (arrival.address.channel_type.as_str(), arrival.address.account.as_str());
            plugin_state::apply(db, channel, account, &state)?;
            let snapshot = Snapshot::load(db, &arrival, now)?;
            let plan = decide(&snapshot, &arrival, marks.attachments.limits(), now);
            let performed = perform(db, plan, &arrival, now)?;
            for session_id in performed.opened.iter().filter(|_| subscribes) {
                sessions::note_unsubscribed(db, session_id)?;
            }
            Ok(performed)
        })
        .await?;
    // Left out by their size, or no agent gets the message after all.
    context.attachments.discard_unnamed(&context.central, stored).await;
    for session_id in touched {
        context.wake(session_id);
    }
    crash::point("inbound: a session of a thread is open, its channel was not told");
    // Of several agents that hear it, one session stands for all.
    if let Some(session_id) = opened.into_iter().next().filter(|_| subscribes) {
        subscribe::thread(context, session_id, address);
    }
    Ok(accepted)
}

/// Puts on record that an adapter left an event out.
///
/// # Errors
/// The record is not on disk.
pub async fn ignored(
    context: &Context,
    channel: String,
    account: String,
    ignored: Ignored,
    state: Vec<StateWrite>,
) -> Result<()> {
    let now = clock::now();
    let record = move |db: &WriteTxn| {
        plugin_state::apply(db, &channel, &account, &state)?;
        if ledger::take_event(db, &channel, &account, &ignored.event_id, now)? {
            // A chat that no message could name is none; the sender is for display only.
            let chat = ignored.platform_id.as_ref().filter(|chat| chat.fault().is_none());
            let chat = chat.map_or("", |chat| chat.as_str());
            let chat = ChatKey::new(channel, account, chat);
            drops::record(db, &chat, &ignored.reason, ignored.sender.as_deref(), now)?;
        }
        Ok(())
    };
    context.central.write(record).await
}

/// Takes what a channel says about a chat. Strangers can make any number of chats: only one that the operator made
/// known keeps it.
///
/// # Errors
/// It is not on disk.
pub async fn conversation(
    context: &Arc<Context>,
    channel: &str,
    account: &str,
    said: Conversation,
) -> Result<Known> {
    let chat = ChatKey::new(channel, account, said.platform_id.as_str());
    let known = context.central.read(move |db| {
        let Some(group) = messaging_groups::at(db, &chat)? else { return Ok(None) };
        let wired = !wirings::of_chat(db, &group.id)?.is_empty();
        Ok(Some((group, wired)))
    });
    let Some((group, wired)) = known.await? else { return Ok(Known { wired: false }) };
    if news(&group, said.name.as_deref(), said.is_group).is_some() {
        let now = clock::now();
        let title = screen::title(context, channel, account, &said, now).await?;
        let write = move |db: &WriteTxn| {
            let title = match title {
                Title::Passed(title) => title,
                Title::Refused(reason) => {
                    drops::record(db, &group.key(), &reason, None, now)?;
                    None
                }
            };
            let Some((title, is_group)) = news(&group, title.as_deref(), said.is_group) else {
                return Ok(Vec::new());
            };
            messaging_groups::describe(db, &group.id, title, is_group)?;
            destinations::chat_changed(db, &group.id)
        };
        context.central.write(write).await?.into_iter().for_each(|session_id| context.wake_later(session_id));
    }
    Ok(Known { wired })
}

/// What of a chat's name, and of whether it is a group, is not on record as it is said. Pure.
fn news<'a>(
    on_record: &MessagingGroup,
    name: Option<&'a str>,
    is_group: Option<bool>,
) -> Option<(Option<&'a str>, Option<bool>)> {
    let name = name.filter(|name| on_record.title.as_deref() != Some(*name));
    let is_group = is_group.filter(|is_group| on_record.is_group != Some(*is_group));
    (name.is_some() || is_group.is_some()).then_some((name, is_group))
}

/// What came of a plan.
struct Performed {
    /// What the adapter is told.
    accepted: Accepted,
    /// The sessions that have something new.
    touched: Vec<SessionId>,
    /// The sessions that were opened for the message's thread.
    opened: Vec<SessionId>,
}

fn perform(db: &WriteTxn, plan: Plan, arrival: &Arrival, now: Timestamp) -> Result<Performed> {
    let at = &arrival.address;
    let mut opened = Vec::new();
    if matches!(plan[..], [Step::Duplicate]) {
        return Ok(Performed { accepted: Accepted::Duplicate, touched: Vec::new(), opened });
    }
    let event_id = &arrival.message.event_id;
    for event_id in [event_id].into_iter().chain(&arrival.message.also_event_ids) {
        ledger::take_event(db, at.channel_type.as_str(), at.account.as_str(), event_id, now)?;
    }
    let mut touched = Vec::new();
    let mut dropped = None;
    for step in plan {
        match step {
            Step::Duplicate => {}
            Step::Answer { question, option, giver } => {
                questions::answer(db, &question, option, &giver, now)?;
                touched.push(question.session_id);
            }
            Step::Post { agent_group_id, messaging_group_id, key, message } => {
                let (session_id, is_new) =
                    sessions::open_or_create(db, &agent_group_id, &messaging_group_id, &key, now)?;
                if is_new && matches!(key, SessionKey::PerThread(_)) {
                    opened.push(session_id.clone());
                }
                ledger::accept(db, &session_id, &message, now)?;
                touched.push(session_id);
            }
            Step::Note { session_id, message } => {
                ledger::accept(db, &session_id, &message, now)?;
                touched.push(session_id);
            }
            Step::Drop { reason } => {
                drops::record(db, &ChatKey::from(at), reason, Some(name_of(&arrival.message.sender)), now)?;
                dropped = Some(reason.to_owned());
            }
        }
    }
    let accepted = match dropped {
        Some(reason) if touched.is_empty() => Accepted::Dropped { reason },
        _ => Accepted::Committed,
    };
    Ok(Performed { accepted, touched, opened })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_news_of_a_chat() {
        let group = |title: Option<&str>, is_group| MessagingGroup {
            id: "mg".into(),
            channel_type: "x".into(),
            account: "main".into(),
            platform_id: "c".into(),
            name: None,
            title: title.map(str::to_owned),
            is_group,
            left_at: None,
        };
        let (old, new) = (Some("old"), Some("new"));
        for (on_record, said, want) in [
            ((None, None), (None, None), None),
            ((None, None), (new, None), Some((new, None))),
            ((None, None), (None, Some(false)), Some((None, Some(false)))),
            ((old, Some(true)), (None, None), None),
            ((old, Some(true)), (old, None), None),
            ((old, Some(true)), (None, Some(true)), None),
            ((old, Some(true)), (old, Some(true)), None),
            ((old, Some(true)), (new, Some(true)), Some((new, None))),
            ((old, Some(true)), (old, Some(false)), Some((None, Some(false)))),
            ((old, Some(true)), (new, Some(false)), Some((new, Some(false)))),
        ] {
            let (title, is_group) = on_record;
            assert_eq!(news(&group(title, is_group), said.0, said.1), want, "{on_record:?} {said:?}");
        }
    }
}
