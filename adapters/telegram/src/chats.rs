//! What happens to chats: the bot comes into one or leaves it, and a group that Telegram makes a supergroup has another
//! number from then on.

use crate::map::{Chat, User, chat_name, person};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use vestibule_plugin_api::{
    ChatChange, ChatEvent, Conversation, Ignored, PlatformId, PluginError, Result, Runtime, StateWrite,
};

/// The state key under which earlier versions kept the groups that have another number.
const KEPT: &str = "moved";

/// A change of the bot's own part in a chat, as Telegram sends it.
#[derive(Deserialize)]
struct Part {
    chat: Chat,
    from: User,
    old_chat_member: Member,
    new_chat_member: Member,
}

#[derive(Deserialize)]
struct Member {
    #[serde(default)]
    status: String,
    /// Of one who is restricted: whether they are in the chat.
    #[serde(default)]
    is_member: bool,
}

impl Member {
    fn is_in(&self) -> bool {
        match self.status.as_str() {
            "creator" | "administrator" | "member" => true,
            "restricted" => self.is_member,
            _ => false,
        }
    }
}

/// Reads that the bot's own part in a chat has changed: it came, it left, or neither.
///
/// # Errors
/// The update has another shape.
pub fn part(update: &Value) -> std::result::Result<Option<ChatEvent>, serde_json::Error> {
    let Part { chat, from, old_chat_member, new_chat_member } = Part::deserialize(update)?;
    let what = match (old_chat_member.is_in(), new_chat_member.is_in()) {
        (false, true) => ChatChange::Joined,
        (true, false) => ChatChange::Left,
        // Its rights are others, or its messages were not to be seen for a while.
        _ => return Ok(None),
    };
    // The posts of channels are not heard.
    if chat.kind == "channel" {
        return Ok(None);
    }
    let is_private = chat.kind == "private";
    let sender = person(&from).1;
    let name = if is_private { Some(sender.clone()) } else { chat.title };
    Ok(Some(ChatEvent {
        platform_id: chat_name(chat.id).into(),
        name: name.as_deref().and_then(Conversation::name_of),
        is_group: Some(!is_private),
        sender: Some(sender),
        what,
    }))
}

/// That a group has another number now. Telegram says it in the old chat and in the new one, and in place of a post to
/// the old one; said again it changes nothing.
pub fn moved(before: i64, now: i64) -> ChatEvent {
    ChatEvent {
        platform_id: chat_name(before).into(),
        name: None,
        is_group: Some(true),
        sender: None,
        what: ChatChange::Moved { to: chat_name(now).into() },
    }
}

/// What goes on record in place of an event that an older runtime does not know.
pub fn on_record(number: i64, event: &ChatEvent) -> Ignored {
    let reason = match &event.what {
        ChatChange::Joined => "joined",
        ChatChange::Left => "left",
        _ => "group_has_a_new_id",
    };
    if let ChatChange::Moved { to } = &event.what {
        tracing::warn!(
            chat = %event.platform_id,
            now = %to,
            "the group has another number, and this runtime is too old to be told: wire the new one, or update Vestibule"
        );
    }
    Ignored {
        event_id: format!("update/{number}"),
        reason: reason.into(),
        platform_id: Some(event.platform_id.clone()),
        sender: event.sender.clone(),
    }
}

/// Tells the runtime that a group has another number now, as Telegram named it in place of posting there. If that cannot
/// be kept, the next post learns it anew.
pub async fn follow(runtime: &Runtime, before: i64, now: i64) {
    if let Err(error) = runtime.chat(moved(before, now), vec![]).await {
        let (chat, now) = (chat_name(before), chat_name(now));
        tracing::warn!(
            chat,
            now,
            reason = error.reason(),
            "that a group has another number could not be kept"
        );
    }
}

/// Tells the runtime of the groups that earlier versions followed by themselves, and forgets them.
///
/// # Errors
/// The runtime cannot take it now.
pub async fn tell_kept(runtime: &Runtime) -> Result<()> {
    let Some(kept) = runtime.state_get(KEPT).await? else { return Ok(()) };
    let pairs: BTreeMap<PlatformId, PlatformId> = serde_json::from_str(&kept).unwrap_or_default();
    for (before, to) in pairs {
        let event = ChatEvent {
            platform_id: before,
            name: None,
            is_group: Some(true),
            sender: None,
            what: ChatChange::Moved { to },
        };
        match runtime.chat(event, vec![]).await {
            Ok(_) => {}
            Err(PluginError::Unsupported { .. }) => {
                tracing::warn!(
                    "groups have other numbers, and this runtime is too old to be told: update Vestibule"
                );
                return Ok(());
            }
            Err(PluginError::Refused { reason }) => {
                tracing::warn!(%reason, "that a group has another number was refused");
            }
            Err(error) => return Err(error),
        }
    }
    runtime.state_set(vec![StateWrite::forget(KEPT)]).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use vestibule_plugin_api::testing::ScriptedRuntime;

    #[test]
    fn the_bot_comes_and_leaves() {
        let member = |word: &str| match word {
            "muted" => json!({ "status": "restricted", "is_member": true }),
            "banned out" => json!({ "status": "restricted", "is_member": false }),
            word => json!({ "status": word }),
        };
        let group = || json!({ "id": -5, "type": "group", "title": "Friends\n" });
        let private = || json!({ "id": 7, "type": "private", "first_name": "Ada" });
        for (chat, before, after, want) in [
            (group(), "left", "member", Some(ChatChange::Joined)),
            (group(), "kicked", "administrator", Some(ChatChange::Joined)),
            (group(), "left", "muted", Some(ChatChange::Joined)),
            (group(), "member", "kicked", Some(ChatChange::Left)),
            (group(), "muted", "banned out", Some(ChatChange::Left)),
            (group(), "administrator", "left", Some(ChatChange::Left)),
            (group(), "member", "administrator", None),
            (group(), "member", "a word of later", Some(ChatChange::Left)),
            (private(), "member", "kicked", Some(ChatChange::Left)),
            (private(), "kicked", "member", Some(ChatChange::Joined)),
            (json!({ "id": -9, "type": "channel", "title": "News" }), "left", "administrator", None),
        ] {
            let is_private = chat["type"] == "private";
            let update = json!({ "chat": chat, "date": 1, "from": { "id": 7, "first_name": "Ada" },
                "old_chat_member": member(before), "new_chat_member": member(after) });
            let want = want.map(|what| ChatEvent {
                platform_id: if is_private { "telegram:7".into() } else { "telegram:-5".into() },
                name: Some(if is_private { "Ada" } else { "Friends" }.into()),
                is_group: Some(!is_private),
                sender: Some("Ada".into()),
                what,
            });
            assert_eq!(part(&update).expect("it reads"), want, "{before} {after}");
        }
        assert!(part(&json!({ "chat": { "id": -5 } })).is_err());
    }

    #[tokio::test]
    async fn what_was_kept_is_told_once() {
        let runtime = ScriptedRuntime::new();
        let handle = runtime.runtime("main");
        tell_kept(&handle).await.expect("there is nothing to tell");
        assert_eq!(runtime.chats(), []);
        let kept = r#"{"telegram:-5":"telegram:-1005","telegram:-6":"telegram:-1006"}"#;
        handle.state_set(vec![StateWrite::set(KEPT, kept)]).await.expect("kept");
        for _ in 0..2 {
            tell_kept(&handle).await.expect("told");
        }
        assert_eq!(runtime.chats(), [moved(-5, -1005), moved(-6, -1006)]);
        assert_eq!(runtime.state("main", KEPT), None);
    }
}
