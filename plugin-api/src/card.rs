//! A card: what an agent shows with a title, fields and links.

use serde::{Deserialize, Serialize};

/// What stands on a card, for channels that list `cards`. Every part may be empty, but not all of them; together they have
/// [`TEXT_BYTES_MAX`](crate::TEXT_BYTES_MAX) bytes at most.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Card {
    /// What it is about, on one line.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub title: String,
    /// Its words, in Markdown.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// Facts, each with its name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<Field>,
    /// Buttons that open a page.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<Link>,
    /// The same in plain words, for notifications and for clients that show no cards; never empty.
    pub fallback: String,
}

/// One fact on a card.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Field {
    /// What it is.
    pub name: String,
    /// What it says.
    pub value: String,
}

/// One button of a card.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// What the button says.
    pub label: String,
    /// The page that it opens: `https:` or `http:`.
    pub url: String,
}
