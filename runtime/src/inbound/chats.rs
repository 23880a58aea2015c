//! What happens to chats: an account joins or leaves one, or one has another id from now on.

use super::screen::{self, Title};
use crate::chat_key::ChatKey;
use crate::clock::{self, Timestamp};
use crate::context::Context;
use crate::db::WriteTxn;
use crate::drops::CHAT_JOINED;
use crate::error::Result;
use crate::id::SessionId;
use crate::messaging_groups::{self, MessagingGroup, Moved};
use crate::{destinations, drops, ledger, plugin_state, questions, sessions, wirings};
use std::sync::Arc;
use vestibule_plugin_api::{Address, ChatChange, ChatEvent, Conversation, Known, StateWrite};

/// What a chat's event made necessary.
#[derive(Default)]
struct Outcome {
    wired: bool,
    /// The sessions whose files say something else now.
    touched: Vec<SessionId>,
    /// The addresses at which replies wait that waited elsewhere before.
    to_deliver: Vec<Address>,
}

/// Takes what happened to a chat. Strangers can invite an account into any number of chats: one that the operator does
/// not know is counted, and that is all. Returns the addresses at which replies wait from now on.
///
/// # Errors
/// It is not on disk.
pub async fn chat(
    context: &Arc<Context>,
    channel: String,
    account: String,
    event: ChatEvent,
    state: Vec<StateWrite>,
) -> Result<(Known, Vec<Address>)> {
    let now = clock::now();
    let said = Conversation {
        platform_id: event.platform_id.clone(),
        name: event.name.clone(),
        is_group: event.is_group,
    };
    let title = screen::title(context, &channel, &account, &said, now).await?;
    let write = move |db: &WriteTxn| {
        plugin_state::apply(db, &channel, &account, &state)?;
        let chat = ChatKey::new(channel, account, event.platform_id.as_str());
        let Some(group) = messaging_groups::at(db, &chat)? else {
            if event.what == ChatChange::Joined {
                drops::record(db, &chat, CHAT_JOINED, event.sender.as_deref(), now)?;
            }
            return Ok(Outcome::default());
        };
        let title = match &title {
            Title::Passed(title) => title.as_deref(),
            Title::Refused(reason) => {
                drops::record(db, &chat, reason, None, now)?;
                None
            }
        };
        messaging_groups::describe(db, &group.id, title, event.is_group)?;
        happens(db, &group, &event.what, now)
    };
    let outcome = context.central.write(write).await?;
    outcome.touched.into_iter().for_each(|session_id| context.wake_later(session_id));
    Ok((Known { wired: outcome.wired }, outcome.to_deliver))
}

fn happens(db: &WriteTxn, group: &MessagingGroup, what: &ChatChange, now: Timestamp) -> Result<Outcome> {
    let mut outcome = Outcome { wired: is_wired(db, group)?, ..Outcome::default() };
    let chat = words(group);
    match what {
        ChatChange::Joined if messaging_groups::note_left(db, &group.id, None)? => {
            tracing::info!(chat, account = group.account, "the account takes part in the chat again");
        }
        ChatChange::Left if messaging_groups::note_left(db, &group.id, Some(now))? => {
            tracing::warn!(chat, account = group.account, "the account takes part in the chat no longer");
        }
        ChatChange::Moved { to } => {
            // What an agent was granted there it was not granted here.
            let is_free = |other: &MessagingGroup| {
                let there = destinations::Target::Chat(other.id.clone());
                let is_granted = destinations::list(db)?.iter().any(|row| row.target == there);
                Ok(!is_granted && !is_wired(db, other)? && sessions::of_chat(db, &other.id)?.is_empty())
            };
            match messaging_groups::move_to(db, &group.key(), to.as_str(), is_free)? {
                Moved::To(now) => {
                    tracing::info!(chat, to = words(&now), "the chat has another id now");
                    go_along(db, group, &now, &mut outcome)?;
                }
                Moved::Taken(other) => {
                    tracing::warn!(
                        chat,
                        to = words(&other),
                        "the chat has the id of another one that is known: both stay"
                    );
                }
                Moved::TooOften => {
                    tracing::warn!(chat, "the chat has had so many ids that it keeps the one it has");
                }
                Moved::Unknown => {}
            }
        }
        ChatChange::Joined | ChatChange::Left | ChatChange::Unknown => {}
    }
    Ok(outcome)
}

/// What names the chat goes along: replies that wait, open questions, the threads of sessions, and what agents are shown.
fn go_along(db: &WriteTxn, from: &MessagingGroup, to: &MessagingGroup, outcome: &mut Outcome) -> Result<()> {
    let chat = from.key();
    outcome.to_deliver = ledger::move_deliveries(db, &chat, &to.platform_id)?;
    questions::move_chat(db, &chat, &to.platform_id)?;
    for session_id in sessions::move_threads(db, &to.id, &from.platform_id, &to.platform_id)? {
        ledger::bump_routing(db, &session_id)?;
        outcome.touched.push(session_id);
    }
    outcome.touched.extend(destinations::chat_changed(db, &to.id)?);
    Ok(())
}

fn is_wired(db: &WriteTxn, group: &MessagingGroup) -> Result<bool> {
    Ok(!wirings::of_chat(db, &group.id)?.is_empty())
}

fn words(group: &MessagingGroup) -> String {
    vestibule_session::words::line(format_args!("{}:{}", group.channel_type, group.platform_id), 80)
}

#[cfg(test)]
mod tests {
    use super::*;
    use vestibule_plugin_api::PlatformId;

    /// An agent is wired to the chat `x:1` and has a session in a thread of it; a reply and a question wait there.
    fn filled() -> WriteTxn<'static> {
        let db = crate::db::in_memory();
        db.execute_batch(
            "INSERT INTO agent_groups (id, name, folder, created_at) VALUES ('a', 'a', 'a', 0); \
             INSERT INTO messaging_groups (id, channel_type, account, platform_id, created_at) VALUES \
             ('g', 'x', 'main', 'x:1', 0), ('bare', 'x', 'main', 'x:2', 0), ('busy', 'x', 'main', 'x:3', 0); \
             INSERT INTO wirings (id, messaging_group_id, agent_group_id, engage_mode, session_mode, \
             ignored_message_policy, created_at, priority) VALUES ('1', 'g', 'a', 'mention', 'shared', 'drop', 0, 0), \
             ('2', 'busy', 'a', 'mention', 'shared', 'drop', 0, 0); \
             INSERT INTO sessions (id, agent_group_id, messaging_group_id, thread_id, created_at, last_active) VALUES \
             ('s', 'a', 'g', NULL, 0, 0), ('t', 'a', 'g', 'x:1:7', 0, 0), ('o', 'a', 'g', 'else', 0, 0); \
             INSERT INTO deliveries (session_id, message_out_id, seq, kind, channel_type, account, platform_id, thread_id, \
             content, state, settled_at, taken_at) VALUES \
             ('s', 'waits', 1, 'chat', 'x', 'main', 'x:1', NULL, '{}', 'pending', NULL, 0), \
             ('t', 'parked', 1, 'chat', 'x', 'main', 'x:1', 'x:1:7', '{}', 'parked', NULL, 0), \
             ('t', 'later', 3, 'chat', 'x', 'main', 'x:1', 'x:1:7', '{}', 'deferred', NULL, 0), \
             ('t', 'only later', 5, 'chat', 'x', 'main', 'x:1', 'x:1:8', '{}', 'deferred', NULL, 0), \
             ('s', 'sent', 3, 'chat', 'x', 'main', 'x:1', NULL, '{}', 'delivered', 1, 0), \
             ('s', 'elsewhere', 5, 'chat', 'x', 'main', 'x:3', NULL, '{}', 'pending', NULL, 0)",
        )
        .expect("it fills");
        db
    }

    fn happen(db: &WriteTxn, chat: &str, what: &ChatChange) -> Outcome {
        let group = messaging_groups::at(db, &ChatKey::new("x", "main", chat)).expect("read").expect("known");
        happens(db, &group, what, Timestamp(9)).expect("it is taken")
    }

    fn all(db: &WriteTxn, sql: &str) -> Vec<String> {
        let mut statement = db.prepare(sql).expect("it is SQL");
        let rows = statement.query_map([], |row| row.get(0)).expect("it answers");
        rows.map(|row| row.expect("a text")).collect()
    }

    #[test]
    fn what_names_a_chat_goes_along() {
        let db = filled();
        let to = |to: &str| ChatChange::Moved { to: PlatformId(to.into()) };
        let outcome = happen(&db, "x:1", &to("x:100"));
        assert!(outcome.wired);
        let mut touched: Vec<_> = outcome.touched.iter().map(SessionId::as_str).collect();
        touched.sort_unstable();
        assert_eq!(touched, ["o", "s", "t"]);
        let mut at: Vec<_> = outcome
            .to_deliver
            .iter()
            .map(|at| {
                format!("{} {}", at.platform_id, at.thread_id.as_ref().map_or("-", |thread| thread.as_str()))
            })
            .collect();
        at.sort_unstable();
        assert_eq!(at, ["x:100 -", "x:100 x:100:7", "x:100 x:100:8"]);
        assert_eq!(
            all(
                &db,
                "SELECT message_out_id || ' ' || platform_id || ' ' || COALESCE(thread_id, '-') FROM deliveries ORDER BY 1"
            ),
            [
                "elsewhere x:3 -",
                "later x:100 x:100:7",
                "only later x:100 x:100:8",
                "parked x:100 x:100:7",
                "sent x:100 -",
                "waits x:100 -"
            ]
        );
        assert_eq!(
            all(&db, "SELECT COALESCE(thread_id, '-') FROM sessions ORDER BY id"),
            ["else", "-", "x:100:7"]
        );
        // Told again, it changes nothing; nor does an id that another chat with agents has.
        assert!(happen(&db, "x:1", &to("x:100")).touched.is_empty());
        assert!(happen(&db, "x:100", &to("x:3")).touched.is_empty());
        // A chat that is only known makes way.
        assert_eq!(happen(&db, "x:100", &to("x:2")).to_deliver.len(), 3);
        // One to which an agent may send stays.
        db.execute_batch(
            "INSERT INTO messaging_groups (id, channel_type, account, platform_id, created_at) \
             VALUES ('granted', 'x', 'main', 'x:4', 0); \
             INSERT INTO destinations (agent_group_id, local_name, target_type, target_id, created_at) \
             VALUES ('a', 'there', 'channel', 'granted', 0)",
        )
        .expect("it fills");
        assert!(happen(&db, "x:2", &to("x:4")).to_deliver.is_empty());
        assert_eq!(all(&db, "SELECT id FROM messaging_groups ORDER BY id"), ["busy", "g", "granted"]);
    }
}
