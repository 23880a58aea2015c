//! What a channel declares of its platform's limits, and how agents usually listen there.

use serde::{Deserialize, Serialize};

/// The limits of a platform, one for each thing that a channel does. What is left out has none that the channel knows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// A message with text or files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub post: Option<Limit>,
    /// New words for a message that was sent. An edit beyond it is sent as a new message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edit: Option<Limit>,
    /// The text beside a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caption: Option<Limit>,
    /// A question with buttons. One beyond it is sent as a text with numbered answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub question: Option<Limit>,
}

/// One limit. What is left out has no bound.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// What `length` counts.
    #[serde(default)]
    pub unit: TextUnit,
    /// The longest text. A channel cuts a longer post into parts itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<u32>,
    /// The most files of one message. The runtime names those beyond it in the text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<u32>,
    /// The largest file, in bytes. The runtime names a larger one in the text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_bytes: Option<u64>,
    /// The endings of the names of files that are taken, in small letters and without the dot: `jpg`, `pdf`. The runtime
    /// names any other file in the text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kinds: Option<Vec<String>>,
    /// How many of one account in how much time. The runtime hands over no more than that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// The most buttons.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub buttons: Option<u32>,
    /// The longest label of a button, in the same unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<u32>,
}

/// So many in so much time: all at once, or apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    /// How many, from 1 on.
    pub count: u32,
    /// The time, in seconds.
    pub seconds: u32,
}

/// What the length of a text counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TextUnit {
    /// Unicode characters.
    #[default]
    Chars,
    /// UTF-16 code units, as many platforms count.
    Utf16,
    /// Bytes of UTF-8.
    Bytes,
    /// A unit of a newer vocabulary, counted as bytes: the strictest.
    #[serde(other)]
    Unknown,
}

impl TextUnit {
    /// The length of a text in this unit.
    pub fn length(self, text: &str) -> usize {
        match self {
            TextUnit::Chars => text.chars().count(),
            TextUnit::Utf16 => text.encode_utf16().count(),
            TextUnit::Bytes | TextUnit::Unknown => text.len(),
        }
    }
}

impl Limit {
    /// Whether a text is short enough.
    pub fn takes_text(&self, text: &str) -> bool {
        self.length.is_none_or(|most| self.unit.length(text) <= most as usize)
    }

    /// Whether buttons with these labels are few and short enough.
    pub fn takes_buttons<'a>(&self, labels: impl ExactSizeIterator<Item = &'a str>) -> bool {
        let is_short = |label: &str| self.label.is_none_or(|most| self.unit.length(label) <= most as usize);
        self.buttons.is_none_or(|most| labels.len() <= most as usize) && labels.into_iter().all(is_short)
    }

    /// Whether one more file of this name and size fits beside those that are there already.
    pub fn takes_file(&self, already: usize, name: &str, bytes: u64) -> bool {
        let ending = name.rsplit_once('.').map_or(String::new(), |(_, ending)| ending.to_ascii_lowercase());
        self.files.is_none_or(|most| already < most as usize)
            && self.file_bytes.is_none_or(|most| bytes <= most)
            && self.kinds.as_ref().is_none_or(|kinds| kinds.contains(&ending))
    }
}

/// How agents listen in the chats of a platform, unless the operator says otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Defaults {
    /// In a direct chat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direct: Option<Listening>,
    /// In a group, and in a chat of which it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<Listening>,
}

/// How an agent listens in a chat, in the words of `vestibule wiring create`. What is left out, or is no word of this
/// runtime's, is as without the channel's word.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listening {
    /// `mention` or `pattern`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engage: Option<String>,
    /// A regular expression that is searched for in the text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// `shared`, `per-thread` or `agent-shared`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_mode: Option<String>,
    /// `drop` or `accumulate`: what becomes of messages that the agent does not hear.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ignored: Option<String>,
    /// Whether a thread is a conversation of its own. False for a platform whose threads are only for show there: then
    /// what is written in one belongs to the chat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threads: Option<bool>,
    /// What becomes of messages of people who are not known: `strict`, `request_approval`, `public` or `decline_notify`.
    /// A runtime that knows no people lets everybody speak.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strangers: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_a_limit() {
        let limit = |unit, length| Limit { unit, length: Some(length), ..Limit::default() };
        for (unit, text, length) in [
            (TextUnit::Chars, "añ😀", 3),
            (TextUnit::Utf16, "añ😀", 4),
            (TextUnit::Bytes, "añ😀", 7),
            (TextUnit::Unknown, "añ😀", 7),
        ] {
            assert!(limit(unit, length).takes_text(text), "{unit:?}");
            assert!(!limit(unit, length - 1).takes_text(text), "{unit:?}");
        }
        assert!(Limit::default().takes_text(&"x".repeat(1 << 20)));
        let buttons = Limit { buttons: Some(2), label: Some(3), ..Limit::default() };
        for (labels, fits) in
            [(&["yes", "no"][..], true), (&["yes", "no", "?"], false), (&["maybe"], false), (&[], true)]
        {
            assert_eq!(buttons.takes_buttons(labels.iter().copied()), fits, "{labels:?}");
        }
        let files = Limit { files: Some(2), file_bytes: Some(10), ..Limit::default() };
        for (already, bytes, fits) in [(0, 10, true), (1, 0, true), (2, 0, false), (0, 11, false)] {
            assert_eq!(files.takes_file(already, "x", bytes), fits, "{already} {bytes}");
        }
        let kinds = Limit { kinds: Some(vec!["jpg".into(), "pdf".into()]), ..Limit::default() };
        for (name, fits) in [("a.jpg", true), ("a.b.PDF", true), ("a.jpg.exe", false), ("jpg", false)] {
            assert_eq!(kinds.takes_file(0, name, 1), fits, "{name}");
        }
    }
}
