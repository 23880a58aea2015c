//! What an operator wants to know of Slack: which channel a name means, who a person is, what was said.

use crate::api::{Api, Listed, Own};
use crate::event::{self, Reading, Said, Target};
use crate::inbox::Inbox;
use crate::names;
use serde_json::Value;
use vestibule_plugin_api::{Conversation, HistoryPage, PluginError, Result, Sender};

/// The channel that a person means: `#general`, `general`, a link to it, Slack's id, or `slack:` and that id.
pub async fn normalise(api: &Api, own: &Own, chat: &str) -> Result<Conversation> {
    let named = match meant(chat) {
        // A private channel is not shown before the bot is invited: its id is what it is all the same.
        Meant::Id(id) => {
            let shown = api.call("conversations.info", "", &[("channel", id.clone())]).await.ok();
            let platform_id = event::chat_name(&id).into();
            let bare = Conversation { platform_id, name: None, is_group: None };
            Some(shown.and_then(|answer| conversation(&answer["channel"])).unwrap_or(bare))
        }
        Meant::Name(name) => named(api, own, &name).await?.as_ref().and_then(conversation),
    };
    named.ok_or_else(|| {
        PluginError::refused("Slack shows the bot no channel of this name: a private one only after /invite")
    })
}

/// What a person typed.
#[derive(Debug, PartialEq)]
enum Meant {
    Id(String),
    Name(String),
}

/// Reads what a person typed. Pure.
fn meant(typed: &str) -> Meant {
    let typed = typed.trim();
    let link =
        typed.split_once("/archives/").map(|(_, rest)| rest.split(['/', '?']).next().unwrap_or_default());
    let reference = typed.strip_prefix("<#").map(|rest| rest.split(['|', '>']).next().unwrap_or_default());
    let id = link.or(reference).unwrap_or_else(|| typed.strip_prefix("slack:").unwrap_or(typed));
    // Names are in small letters, ids in capitals.
    match event::is_channel(id) && id.starts_with(['C', 'D', 'G']) {
        true => Meant::Id(id.to_owned()),
        false => Meant::Name(typed.trim_start_matches('#').to_lowercase()),
    }
}

/// The channel of this name; in an organisation several workspaces may have one.
async fn named(api: &Api, own: &Own, name: &str) -> Result<Option<Value>> {
    let fields =
        [("types", "public_channel,private_channel".to_owned()), ("exclude_archived", "true".to_owned())];
    let mut found: Vec<Value> = Vec::new();
    let one = !own.is_enterprise_install;
    let looked = api.list(own, ("conversations.list", "channels"), &fields, |channel| {
        // A channel that several workspaces share is listed in each.
        if channel["name"] == name && found.iter().all(|one| one["id"] != channel["id"]) {
            found.push(channel);
        }
        !(one && found.len() == 1)
    });
    if looked.await? == Listed::InPart {
        return Err(PluginError::refused(
            "there are more channels than are looked through for a name: name it by its id, which Slack shows at the end of \
             the channel's details",
        ));
    }
    if found.len() > 1 {
        let ids: Vec<&str> = found.iter().filter_map(|channel| channel["id"].as_str()).take(5).collect();
        return Err(PluginError::refused(format!(
            "several workspaces of the organisation have a channel of this name: name it by its id, one of {}",
            ids.join(", ")
        )));
    }
    Ok(found.pop())
}

/// A channel as Slack describes it.
fn conversation(channel: &Value) -> Option<Conversation> {
    let id = channel["id"].as_str().filter(|id| event::is_channel(id))?;
    let name = channel["name"].as_str().and_then(Conversation::name_of);
    let is_group = Some(channel["is_im"] != true);
    Some(Conversation { platform_id: event::chat_name(id).into(), name, is_group })
}

/// The person of this id.
pub async fn who_is(api: &Api, handle: &str) -> Result<Sender> {
    let answer = api.call("users.info", "", &[("user", person(handle)?.to_owned())]).await?;
    let found = names::person_of(person(handle)?, &answer);
    let found = found.ok_or_else(|| PluginError::refused("Slack does not say who that is"))?;
    let (handle, name) = (person(handle)?.to_owned(), Some(found.name));
    Ok(Sender { handle, name, is_bot: found.is_bot, ..Sender::default() })
}

/// The direct chat with a person.
pub async fn open_direct(api: &Api, handle: &str) -> Result<Conversation> {
    let answer = api.call("conversations.open", "", &[("users", person(handle)?.to_owned())]).await?;
    let opened = answer["channel"]["id"].as_str().filter(|id| event::is_channel(id));
    let id = opened.ok_or_else(|| PluginError::refused("Slack does not name the chat that it opened"))?;
    Ok(Conversation { platform_id: event::chat_name(id).into(), name: None, is_group: Some(false) })
}

/// The id of a person, also as they are mentioned.
fn person(handle: &str) -> Result<&str> {
    let id = handle.trim().trim_start_matches("<@").trim_end_matches('>');
    let is_person = event::is_channel(id) && id.starts_with(['U', 'W']);
    is_person.then_some(id).ok_or_else(|| {
        PluginError::refused("name a person by Slack's id: their profile, the three dots, Copy member ID")
    })
}

/// What was said in a chat: the newest, or what followed a message.
pub async fn history(
    api: &Api,
    inbox: &Inbox,
    target: &Target,
    after: Option<&str>,
    limit: u32,
) -> Result<HistoryPage> {
    if after.is_some_and(|after| !event::is_ts(after)) {
        return Err(PluginError::refused("the cursor is no message of Slack's"));
    }
    let thread = target.thread.as_deref();
    let all = match (after, thread) {
        (None, None) => api.newest(&target.channel, limit).await?,
        (after, thread) => api.history(&target.channel, thread, after.unwrap_or("0")).await?,
    };
    let mut said: Vec<Said> =
        all.into_iter().filter_map(|message| of_message(message, &target.channel)).collect();
    // Which end comes first differs from method to method; `after` itself is among them, and in a thread its head.
    said.retain(|one| after.is_none_or(|after| one.ts.as_str() > after));
    said.sort_by(|one, other| one.ts.cmp(&other.ts));
    let (count, limit) = (said.len(), limit as usize);
    let page = if after.is_some() { 0..count.min(limit) } else { count.saturating_sub(limit)..count };
    let next = (page.end < count).then(|| said[page.end - 1].ts.clone());
    let mut messages = Vec::new();
    for one in said.drain(page) {
        messages.push(inbox.in_words(&one).await);
    }
    Ok(HistoryPage { messages, next })
}

/// A message of a list, which lacks what an event says beside it. The bot's own are among what was said.
fn of_message(mut message: Value, channel: &str) -> Option<Said> {
    message.as_object()?;
    message["channel"] = channel.into();
    message["type"] = "message".into();
    let everybody = Own { user_id: String::new(), bot_id: None, ..Own::default() };
    match event::read(&serde_json::json!({ "event": message }), &everybody) {
        Reading::Said(said) => Some(*said),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_channel_is_meant() {
        let id = |id: &str| Meant::Id(id.to_owned());
        let name = |name: &str| Meant::Name(name.to_owned());
        for (typed, want) in [
            ("slack:C0123AB", id("C0123AB")),
            ("C0123AB", id("C0123AB")),
            ("<#C0123AB|general>", id("C0123AB")),
            ("https://acme.slack.com/archives/C0123AB/p1718000000000100", id("C0123AB")),
            ("https://acme.slack.com/archives/C0123AB?x=1", id("C0123AB")),
            ("#General ", name("general")),
            ("dev-ops", name("dev-ops")),
            // A person is no chat.
            ("U0123AB", name("u0123ab")),
        ] {
            assert_eq!(meant(typed), want, "{typed}");
        }
        for (handle, want) in
            [("U0ANN", Some("U0ANN")), ("<@W0ANN>", Some("W0ANN")), ("C012", None), ("@ann", None)]
        {
            assert_eq!(person(handle).ok(), want, "{handle}");
        }
    }
}
