//! Groups that have another number now, because Telegram made them supergroups. For the runtime such a group stays the
//! chat that it was, under its first number: its wirings, its sessions and what agents may send there go on.

use crate::map::{self, Own, Reading};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use vestibule_plugin_api::{Address, Conversation, PlatformId, Result, Runtime, StateWrite, ThreadId};

/// The state key of the groups and their numbers.
const MOVED: &str = "moved";
/// The most groups that are followed: their names fit into one value of the state.
const GROUPS_MAX: usize = 1_000;

/// The groups of an account that have another number now, each under its first one. Clones share them.
#[derive(Clone, Default)]
pub struct Groups(Arc<Mutex<BTreeMap<PlatformId, Moved>>>);

struct Moved {
    /// The group's name by its number of now.
    now: PlatformId,
    /// Whether the operator wired that one, too: it is a chat of its own then.
    is_wired: bool,
}

impl Groups {
    /// Reads the groups from the account's state.
    pub async fn load(runtime: &Runtime) -> Result<Groups> {
        let kept = runtime.state_get(MOVED).await?.unwrap_or_default();
        let kept: BTreeMap<PlatformId, PlatformId> = serde_json::from_str(&kept).unwrap_or_default();
        let groups = Groups::default();
        for (first, now) in kept {
            let is_wired = is_wired(runtime, &now).await.unwrap_or(false);
            groups.lock().insert(first, Moved { now, is_wired });
        }
        Ok(groups)
    }

    /// Follows a group to its new number. Returns the write that keeps it.
    pub async fn follow(&self, runtime: &Runtime, first: PlatformId, now: PlatformId) -> StateWrite {
        let is_wired = is_wired(runtime, &now).await.unwrap_or(false);
        tracing::info!(chat = %first, %now, is_wired, "the group is a supergroup now, and has another number");
        self.note(first, now, is_wired)
    }

    fn note(&self, first: PlatformId, now: PlatformId, is_wired: bool) -> StateWrite {
        let mut groups = self.lock();
        if groups.len() < GROUPS_MAX || groups.contains_key(&first) {
            groups.insert(first, Moved { now, is_wired });
        } else {
            tracing::warn!(chat = %now, "the group is not followed to its new number: there are too many; wire it");
        }
        let kept: BTreeMap<_, _> = groups.iter().map(|(first, moved)| (first, &moved.now)).collect();
        StateWrite::set(MOVED, serde_json::to_string(&kept).unwrap_or_default())
    }

    /// Asks the runtime anew whether a group's number of now is wired by itself.
    pub async fn look(&self, runtime: &Runtime, chat: &PlatformId) {
        if !self.lock().values().any(|moved| moved.now == *chat) {
            return;
        }
        if let Ok(is_wired) = is_wired(runtime, chat).await {
            let mut groups = self.lock();
            groups
                .values_mut()
                .filter(|moved| moved.now == *chat)
                .for_each(|moved| moved.is_wired = is_wired);
        }
    }

    /// The address as Telegram knows it.
    pub fn on_telegram(&self, mut address: Address) -> Address {
        let now = self.lock().get(&address.platform_id).map(|moved| moved.now.clone());
        if let Some(now) = now {
            address.thread_id = address.thread_id.map(|thread| within(thread, &address.platform_id, &now));
            address.platform_id = now;
        }
        address
    }

    /// Gives the chat of a reading the name under which the runtime knows it.
    pub fn rename(&self, reading: &mut Reading) {
        let Some(first) = chat_of(reading).and_then(|chat| self.first(chat)) else { return };
        match reading {
            Reading::Message(message, chat, _) | Reading::Start(message, chat) => {
                let thread = message.thread_id.take();
                message.thread_id = thread.map(|thread| within(thread, &message.platform_id, &first));
                message.platform_id = first.clone();
                chat.platform_id = first;
            }
            Reading::Tap(tap) => tap.choice.platform_id = first,
            Reading::Ignored(ignored) => ignored.platform_id = Some(first),
        }
    }

    fn first(&self, chat: &PlatformId) -> Option<PlatformId> {
        let groups = self.lock();
        let found = groups.iter().find(|(_, moved)| moved.now == *chat && !moved.is_wired);
        found.map(|(first, _)| first.clone())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<PlatformId, Moved>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads updates for one account: the bot that it is, and the groups that it follows.
pub struct Reader {
    pub own: Own,
    pub groups: Groups,
}

impl Reader {
    /// Reads one update. Its chat has the name under which the runtime knows it.
    pub fn read(&self, update: &Value) -> Reading {
        let mut reading = map::read(update, &self.own);
        self.groups.rename(&mut reading);
        reading
    }
}

/// The chat of a reading, if it names one.
pub fn chat_of(reading: &Reading) -> Option<&PlatformId> {
    match reading {
        Reading::Message(message, ..) | Reading::Start(message, _) => Some(&message.platform_id),
        Reading::Tap(tap) => Some(&tap.choice.platform_id),
        Reading::Ignored(ignored) => ignored.platform_id.as_ref(),
    }
}

/// Whether an agent is wired to this chat.
pub async fn is_wired(runtime: &Runtime, chat: &PlatformId) -> Result<bool> {
    let conversation = Conversation { platform_id: chat.clone(), name: None, is_group: None };
    Ok(runtime.conversation(conversation).await?.wired)
}

/// The thread of one chat as the same thread of another.
fn within(thread: ThreadId, chat: &PlatformId, other: &PlatformId) -> ThreadId {
    match thread.as_str().strip_prefix(chat.as_str()) {
        Some(rest) => ThreadId(format!("{other}{rest}")),
        None => thread,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn message(chat: i64, extra: &Value) -> Value {
        let mut message = json!({ "message_id": 5, "date": 1, "chat": { "id": chat, "type": "supergroup" },
            "from": { "id": 7, "first_name": "Ada" } });
        for (key, value) in extra.as_object().expect("an object") {
            message[key] = value.clone();
        }
        message
    }

    fn address(chat: &str, thread: Option<&str>) -> Address {
        Address {
            channel_type: "telegram".into(),
            account: "main".into(),
            platform_id: chat.into(),
            thread_id: thread.map(Into::into),
        }
    }

    #[test]
    fn a_group_stays_the_chat_that_it_was() {
        let groups = Groups::default();
        let kept = groups.note("telegram:-5".into(), "telegram:-1005".into(), false);
        assert_eq!(kept, StateWrite::set(MOVED, r#"{"telegram:-5":"telegram:-1005"}"#));
        groups.note("telegram:-6".into(), "telegram:-1006".into(), true);
        let own = Own { id: 99, username: "bot".into() };
        let reader = Reader { own, groups: groups.clone() };
        let topic = json!({ "text": "hi", "message_thread_id": 12, "is_topic_message": true });
        let tap = |chat: i64| {
            json!({ "update_id": 1, "callback_query": { "id": "1", "data": "t.1",
            "from": { "id": 7, "first_name": "Ada" }, "message": message(chat, &json!({})) } })
        };
        let said = |chat: i64, extra: &Value| json!({ "update_id": 1, "message": message(chat, extra) });
        // the update, the chat's name for the runtime
        for (update, want) in [
            (said(-1005, &topic), "telegram:-5"),
            (said(-1005, &json!({ "text": "/start@bot" })), "telegram:-5"),
            (said(-1005, &json!({ "new_chat_title": "x" })), "telegram:-5"),
            (tap(-1005), "telegram:-5"),
            (said(-5, &topic), "telegram:-5"),
            (said(-1006, &topic), "telegram:-1006"),
            (tap(-1006), "telegram:-1006"),
            (said(-1007, &topic), "telegram:-1007"),
        ] {
            let reading = reader.read(&update);
            assert_eq!(chat_of(&reading).map(PlatformId::as_str), Some(want), "{update}");
            if let Reading::Message(message, chat, _) = reading {
                let thread = message.thread_id.as_ref().map(ThreadId::as_str);
                assert_eq!((thread, chat.platform_id.as_str()), (Some(&*format!("{want}:12")), want));
                let number = update["message"]["chat"]["id"].as_i64().expect("a number");
                assert_eq!(message.message_id, format!("{number}:5"), "numbers of messages begin anew there");
            }
        }
        for (chat, thread, want) in [
            ("telegram:-5", None, ("telegram:-1005", None)),
            ("telegram:-5", Some("telegram:-5:12"), ("telegram:-1005", Some("telegram:-1005:12"))),
            ("telegram:-6", None, ("telegram:-1006", None)),
            ("telegram:-1005", None, ("telegram:-1005", None)),
            ("telegram:7", None, ("telegram:7", None)),
        ] {
            assert_eq!(groups.on_telegram(address(chat, thread)), address(want.0, want.1));
        }
    }

    #[test]
    fn so_many_groups_are_followed() {
        let groups = Groups::default();
        let far = |number: usize| PlatformId(format!("telegram:-100{}", 1_000_000_000_000 + number));
        for number in 0..=GROUPS_MAX {
            let kept =
                groups.note(PlatformId(format!("telegram:-{}", 9_000_000_000 + number)), far(number), false);
            assert_eq!(StateWrite::fault(&[kept]), None, "{number}");
        }
        assert!(groups.first(&far(0)).is_some() && groups.first(&far(GROUPS_MAX)).is_none());
    }
}
