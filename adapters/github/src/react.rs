//! Reactions: GitHub has eight, each with a word of its own.

use crate::answer::Purpose;
use crate::api::Api;
use crate::graphql;
use crate::place::{Message, Repo, Spot};
use reqwest::Method;
use serde_json::json;
use vestibule_plugin_api::toolbox::emoji;
use vestibule_plugin_api::{PluginError, Result};

/// GitHub's word for each reaction, and the emoji that mean it.
const CONTENTS: [(&str, &[&str]); 8] = [
    ("+1", &["👍"]),
    ("-1", &["👎"]),
    ("laugh", &["😄", "😀", "😃", "😁", "😆", "😂", "🤣"]),
    ("confused", &["😕", "😟", "🤔"]),
    ("heart", &["❤", "💖", "🧡", "💛", "💚", "💙", "💜"]),
    ("hooray", &["🎉", "🥳", "🎊"]),
    ("rocket", &["🚀"]),
    ("eyes", &["👀"]),
];

/// GitHub's word for an emoji, however it is written. Pure.
fn content(emoji: &str) -> Option<&'static str> {
    let bare = emoji.trim().trim_matches(':');
    if let Some((word, _)) = CONTENTS.iter().find(|(word, _)| *word == bare) {
        return Some(word);
    }
    let character = emoji::character(emoji)?;
    // Skin and the way of showing make no difference.
    let plain: String =
        character.chars().filter(|c| !matches!(c, '\u{fe0f}' | '\u{1f3fb}'..='\u{1f3ff}')).collect();
    CONTENTS.iter().find(|(_, emoji)| emoji.contains(&plain.as_str())).map(|(word, _)| *word)
}

/// Reacts to a message.
pub async fn add(api: &Api, repo: &Repo<'_>, message: &Message, emoji: &str, spot: Spot) -> Result<()> {
    let content = content(emoji).ok_or_else(|| {
        PluginError::refused(format!(
            "GitHub has no reaction `{emoji}`: take one of 👍 👎 😄 😕 ❤️ 🎉 🚀 👀, or write"
        ))
    })?;
    let permission = spot.permission();
    let path = match message {
        Message::Issue(number) | Message::Pull(number) => format!("issues/{number}/reactions"),
        Message::Comment(id) => format!("issues/comments/{id}/reactions"),
        Message::ReviewComment(id) => format!("pulls/comments/{id}/reactions"),
        Message::Review(id) | Message::Discussion(id) | Message::DiscussionComment(id) => {
            return graphql::react(api, id, content, permission).await;
        }
    };
    let purpose = Purpose { what: "the reaction", permission };
    let path = format!("{}/{path}", repo.path());
    // One that is there already is answered as if it were new.
    api.call(Method::POST, &path, Some(&json!({ "content": content })), purpose).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_eight_reactions() {
        for (emoji, want) in [
            ("👍", Some("+1")),
            ("👍🏽", Some("+1")),
            ("thumbs_up", Some("+1")),
            ("+1", Some("+1")),
            (":-1:", Some("-1")),
            ("❤️", Some("heart")),
            ("❤", Some("heart")),
            ("😂", Some("laugh")),
            ("🎉", Some("hooray")),
            ("rocket", Some("rocket")),
            ("eyes", Some("eyes")),
            ("👀", Some("eyes")),
            ("confused", Some("confused")),
            ("🍕", None),
            ("no_such", None),
            ("", None),
        ] {
            assert_eq!(content(emoji), want, "{emoji}");
        }
    }
}
