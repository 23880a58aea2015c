//! What people do to a message after it was written: they give it other words, or react to it. Pure. A bot hears of no
//! deletion.

use crate::map::{Chat, User, chat_name, message_name, person};
use serde::Deserialize;
use serde_json::Value;
use vestibule_plugin_api::{Change, Changed, EMOJI_BYTES_MAX, Ignored, Sender, Timestamp};

/// The words for reactions that are no sign of the alphabet of emoji.
const CUSTOM: &str = "custom_emoji";
const PAID: &str = "paid_star";

/// Reactions to a message, before and after, as Telegram sends them.
#[derive(Deserialize)]
struct Reactions {
    chat: Chat,
    message_id: i64,
    user: Option<User>,
    actor_chat: Option<Chat>,
    date: i64,
    #[serde(default)]
    old_reaction: Vec<Reaction>,
    #[serde(default)]
    new_reaction: Vec<Reaction>,
}

#[derive(Deserialize)]
struct Reaction {
    #[serde(rename = "type", default)]
    kind: String,
    emoji: Option<String>,
}

impl Reaction {
    fn emoji(&self) -> Option<&str> {
        match self.kind.as_str() {
            "emoji" => self.emoji.as_deref().filter(|emoji| emoji.len() <= EMOJI_BYTES_MAX),
            "custom_emoji" => Some(CUSTOM),
            "paid" => Some(PAID),
            _ => None,
        }
    }
}

/// Reads the reactions that a person took back and gave: Telegram says all of them, before and after.
///
/// # Errors
/// The update has another shape.
pub fn reactions(update: &Value) -> Result<Vec<Change>, serde_json::Error> {
    let Reactions { chat, message_id, user, actor_chat, date, old_reaction, new_reaction } =
        Reactions::deserialize(update)?;
    let sender = match (user, actor_chat) {
        (Some(user), _) => {
            let (handle, name) = person(&user);
            Sender { handle, name: Some(name), is_bot: user.is_bot, ..Sender::default() }
        }
        (None, Some(chat)) => Sender { handle: chat.id.to_string(), name: chat.title, ..Sender::default() },
        (None, None) => Sender { handle: chat.id.to_string(), ..Sender::default() },
    };
    let (before, after) = (signs(&old_reaction), signs(&new_reaction));
    let change = |word: &str, emoji: &str, what: Changed| Change {
        event_id: format!("{word}/{}/{message_id}/{}/{date}/{emoji}", chat.id, sender.handle),
        message_id: message_name(chat.id, message_id),
        platform_id: chat_name(chat.id).into(),
        thread_id: None,
        sender: sender.clone(),
        timestamp: Timestamp(date.saturating_mul(1000)),
        is_group: chat.kind != "private",
        what,
    };
    let gone = before.iter().filter(|emoji| !after.contains(emoji));
    let come = after.iter().filter(|emoji| !before.contains(emoji));
    let gone =
        gone.map(|emoji| change("unreacted", emoji, Changed::Unreacted { emoji: (*emoji).to_owned() }));
    let come = come.map(|emoji| change("reacted", emoji, Changed::Reacted { emoji: (*emoji).to_owned() }));
    Ok(gone.chain(come).collect())
}

/// What goes on record in place of a change that the runtime does not take.
pub fn on_record(change: &Change) -> Ignored {
    let reason = if matches!(change.what, Changed::Edited { .. }) { "edited" } else { "reaction" };
    Ignored {
        event_id: change.event_id.clone(),
        reason: reason.into(),
        platform_id: Some(change.platform_id.clone()),
        sender: change.sender.name.clone(),
    }
}

fn signs(reactions: &[Reaction]) -> Vec<&str> {
    let mut signs: Vec<&str> = reactions.iter().filter_map(Reaction::emoji).collect();
    signs.dedup();
    signs
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_a_person_took_back_and_gave() {
        let emoji = |sign: &str| json!({ "type": "emoji", "emoji": sign });
        let custom = |id: &str| json!({ "type": "custom_emoji", "custom_emoji_id": id });
        for (before, after, want) in [
            (json!([]), json!([emoji("👍")]), vec!["reacted 👍"]),
            (json!([emoji("👍")]), json!([]), vec!["unreacted 👍"]),
            (json!([emoji("👍")]), json!([emoji("🔥")]), vec!["unreacted 👍", "reacted 🔥"]),
            (json!([emoji("👍")]), json!([emoji("👍"), emoji("🔥")]), vec!["reacted 🔥"]),
            (json!([]), json!([custom("1"), custom("2")]), vec!["reacted custom_emoji"]),
            (json!([]), json!([{ "type": "paid" }]), vec!["reacted paid_star"]),
            (json!([]), json!([{ "type": "of later" }, emoji(&"x".repeat(129))]), vec![]),
        ] {
            let update = json!({ "chat": { "id": -5, "type": "supergroup" }, "message_id": 12, "date": 3,
                "user": { "id": 7, "first_name": "Ada" }, "old_reaction": before, "new_reaction": after });
            let changes = reactions(&update).expect("it reads");
            let told: Vec<String> = changes
                .iter()
                .map(|change| match &change.what {
                    Changed::Reacted { emoji } => format!("reacted {emoji}"),
                    Changed::Unreacted { emoji } => format!("unreacted {emoji}"),
                    what => panic!("{what:?}"),
                })
                .collect();
            assert_eq!(told, want, "{update}");
            for change in changes {
                assert_eq!(change.fault(), None);
                assert_eq!(
                    (change.message_id.as_str(), change.platform_id.as_str()),
                    ("-5:12", "telegram:-5")
                );
                assert_eq!((change.sender.handle.as_str(), change.is_group), ("7", true));
                assert!(change.event_id.contains("/-5/12/7/3/"), "{}", change.event_id);
            }
        }
        let group = json!({ "chat": { "id": -5, "type": "supergroup" }, "message_id": 12, "date": 3,
            "actor_chat": { "id": -9, "title": "News" }, "old_reaction": [], "new_reaction": [emoji("👍")] });
        let change = reactions(&group).expect("it reads").remove(0);
        assert_eq!((change.sender.handle.as_str(), change.sender.name.as_deref()), ("-9", Some("News")));
        assert!(reactions(&json!({ "message_id": "x" })).is_err());
    }
}
