//! What an agent does to a message that is there already: it edits it, takes it back or reacts to it. Pure.

use serde_json::Value;
use vestibule_plugin_api::{Changed, Content, ID_BYTES_MAX, emoji_fault};

/// What a reply does to a message. Each names it as the agent does: by the platform's id, or by that of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Give it other words.
    Edit {
        /// Which one.
        message: String,
        /// What it says from now on.
        text: String,
    },
    /// Take it back.
    Delete {
        /// Which one.
        message: String,
    },
    /// React to it.
    React {
        /// Which one.
        message: String,
        /// A character or a name.
        emoji: String,
    },
}

impl Operation {
    /// Reads the operation of a content; `None` for one that has none.
    pub fn read(content: &Value) -> Option<Result<Operation, String>> {
        let operation = content.get("operation")?;
        Some(Operation::of(operation.as_str().unwrap_or_default(), content))
    }

    fn of(name: &str, content: &Value) -> Result<Operation, String> {
        if content.get("files").and_then(Value::as_array).is_some_and(|files| !files.is_empty()) {
            return Err("an edit or a reaction carries no files; send them in a new message".to_owned());
        }
        let text =
            |key: &str| content.get(key).and_then(Value::as_str).filter(|text| !text.trim().is_empty());
        let message = match &content["messageId"] {
            Value::String(id) if (1..=ID_BYTES_MAX).contains(&id.len()) => id.clone(),
            Value::Number(id) => id.to_string(),
            _ => return Err("it does not say which message it is about (`messageId`)".to_owned()),
        };
        match name {
            "edit" => match text("markdown").or_else(|| text("text")) {
                Some(text) => Ok(Operation::Edit { message, text: text.to_owned() }),
                None => Err("the edit says nothing; delete the message instead".to_owned()),
            },
            "delete" => Ok(Operation::Delete { message }),
            "reaction" => {
                let emoji = text("emoji").unwrap_or_default().trim().trim_matches(':').to_owned();
                match emoji_fault(&emoji) {
                    None => Ok(Operation::React { message, emoji }),
                    Some(why) => Err(why),
                }
            }
            other => Err(format!("the operation `{}` is not known", super::decide::shown(other))),
        }
    }

    /// The message that it is about, as the agent names it.
    pub fn message(&self) -> &str {
        match self {
            Operation::Edit { message, .. }
            | Operation::Delete { message }
            | Operation::React { message, .. } => message,
        }
    }

    /// Its words: what goes out as a text where the channel cannot do it.
    pub fn words(&self) -> &str {
        match self {
            Operation::Edit { text, .. } => text,
            Operation::Delete { .. } => "",
            Operation::React { emoji, .. } => emoji,
        }
    }

    /// As modules are shown it.
    pub fn changed(&self) -> Changed {
        match self {
            Operation::Edit { text, .. } => Changed::Edited { text: text.clone(), is_mention: false },
            Operation::Delete { .. } => Changed::Deleted,
            Operation::React { emoji, .. } => Changed::Reacted { emoji: emoji.clone() },
        }
    }

    /// As a channel is handed it, with the id that the platform gave the message.
    pub fn content(self, message_id: String, further_message_ids: Vec<String>) -> Content {
        match self {
            Operation::Edit { text, .. } => Content::Edit { message_id, text, further_message_ids },
            Operation::Delete { .. } => Content::Delete { message_id, further_message_ids },
            Operation::React { emoji, .. } => Content::Reaction { message_id, emoji },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_an_operation_says() {
        let edit = |message: &str, text: &str| Operation::Edit { message: message.into(), text: text.into() };
        let react = |emoji: &str| Operation::React { message: "p".into(), emoji: emoji.into() };
        for (content, want) in [
            (json!({ "operation": "edit", "messageId": "p", "text": "new" }), Ok(edit("p", "new"))),
            (
                json!({ "operation": "edit", "messageId": 57, "markdown": "**n**", "text": "n" }),
                Ok(edit("57", "**n**")),
            ),
            (json!({ "operation": "edit", "messageId": "p", "text": " " }), Err("the edit says nothing")),
            (json!({ "operation": "edit", "text": "new" }), Err("which message")),
            (json!({ "operation": "edit", "messageId": "", "text": "new" }), Err("which message")),
            (json!({ "operation": "edit", "messageId": "p".repeat(513), "text": "n" }), Err("which message")),
            (
                json!({ "operation": "edit", "messageId": "p", "text": "n", "files": ["a"] }),
                Err("carries no files"),
            ),
            (
                json!({ "operation": "delete", "messageId": "p" }),
                Ok(Operation::Delete { message: "p".into() }),
            ),
            (json!({ "operation": "reaction", "messageId": "p", "emoji": ":eyes:" }), Ok(react("eyes"))),
            (json!({ "operation": "reaction", "messageId": "p", "emoji": "👍" }), Ok(react("👍"))),
            (json!({ "operation": "reaction", "messageId": "p", "emoji": "a b" }), Err("emoji must be")),
            (json!({ "operation": "reaction", "messageId": "p" }), Err("emoji must be")),
            (json!({ "operation": "\u{1b}", "messageId": "p" }), Err("the operation `\\u{1b}` is not known")),
            (json!({ "operation": 7, "messageId": "p" }), Err("the operation `` is not known")),
        ] {
            match (Operation::read(&content).expect("it has one"), want) {
                (Ok(read), Ok(want)) => assert_eq!(read, want, "{content}"),
                (Err(why), Err(want)) => assert!(why.contains(want), "{content}: {why}"),
                (read, _) => panic!("{content}: {read:?}"),
            }
        }
        assert_eq!(Operation::read(&json!({ "text": "hi" })), None);
    }
}
