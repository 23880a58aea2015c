//! The schema of a plugin's config: the plugin describes what it may hold, and the runtime checks a section of
//! `vestibule.toml` against it before it starts the account.

use crate::Manifest;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeSet;

/// The most keys a config may have.
pub const CONFIG_KEYS_MAX: usize = 256;
/// The longest name of a key, in bytes.
pub const KEY_BYTES_MAX: usize = 64;
/// The longest help of a key, and the longest default as JSON, in bytes.
pub const HELP_BYTES_MAX: usize = 512;

/// The keys of one account's section.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Schema {
    /// The keys that the plugin knows.
    #[serde(default)]
    pub keys: Vec<ConfigKey>,
    /// Whether the plugin takes keys beside these.
    #[serde(default, skip_serializing_if = "is_false")]
    pub open: bool,
}

/// One key of a section, as the plugin describes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConfigKey {
    /// Its name: letters, digits, `_` and `-`, at most [`KEY_BYTES_MAX`] bytes.
    pub key: String,
    /// The type of its value.
    #[serde(rename = "type")]
    pub kind: KeyType,
    /// Whether an account cannot be started without it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub required: bool,
    /// Whether the operator must name where it is kept, and not write it down.
    #[serde(default, skip_serializing_if = "is_false")]
    pub secret: bool,
    /// The value of a key that is left out, at most [`HELP_BYTES_MAX`] bytes as JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
    /// One line for the operator, at most [`HELP_BYTES_MAX`] bytes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub help: String,
}

/// The type of a value. The plugin's start judges what lies inside a list or a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyType {
    /// Text.
    String,
    /// A whole number.
    Integer,
    /// A number, whole or not.
    Number,
    /// `true` or `false`.
    Boolean,
    /// A list.
    List,
    /// A table.
    Table,
    /// Whatever the plugin takes.
    Any,
    /// A type of a newer vocabulary, read as [`KeyType::Any`].
    #[serde(other)]
    Unknown,
}

impl KeyType {
    /// Whether a value is of this type.
    pub fn takes(self, value: &Value) -> bool {
        match self {
            KeyType::String => value.is_string(),
            KeyType::Integer => value.is_i64() || value.is_u64(),
            KeyType::Number => value.is_number(),
            KeyType::Boolean => value.is_boolean(),
            KeyType::List => value.is_array(),
            KeyType::Table => value.is_object(),
            KeyType::Any | KeyType::Unknown => true,
        }
    }

    /// The word for this type in the frames.
    pub fn word(self) -> &'static str {
        match self {
            KeyType::String => "string",
            KeyType::Integer => "integer",
            KeyType::Number => "number",
            KeyType::Boolean => "boolean",
            KeyType::List => "list",
            KeyType::Table => "table",
            KeyType::Any | KeyType::Unknown => "any",
        }
    }
}

impl Schema {
    /// The key with this name, if the plugin describes it.
    pub fn key(&self, name: &str) -> Option<&ConfigKey> {
        self.keys.iter().find(|key| key.key == name)
    }

    /// What is wrong with the schema, if anything is, in words for the plugin's author.
    pub fn fault(&self, manifest: &Manifest) -> Option<String> {
        if self.keys.len() > CONFIG_KEYS_MAX {
            return Some(format!("it has {} keys, the limit is {CONFIG_KEYS_MAX}", self.keys.len()));
        }
        let mut seen = BTreeSet::new();
        for key in &self.keys {
            let name = &key.key;
            let why = if let Some(why) = key.fault() {
                why
            } else if !seen.insert(name) {
                "is there twice"
            } else if manifest.is_runtimes_key(name) {
                "is the runtime's own, because the manifest lists `listeners`"
            } else {
                continue;
            };
            return Some(format!("its key `{}` {why}", name.escape_debug()));
        }
        let secret: BTreeSet<&str> =
            self.keys.iter().filter(|key| key.secret).map(|key| key.key.as_str()).collect();
        let declared: BTreeSet<&str> = manifest.secrets.iter().map(String::as_str).collect();
        let other = secret.symmetric_difference(&declared).next()?;
        Some(format!("its key `{}` is a secret in only one of manifest and schema", other.escape_debug()))
    }
}

impl ConfigKey {
    fn fault(&self) -> Option<&'static str> {
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if self.key.is_empty() || self.key.len() > KEY_BYTES_MAX || !self.key.chars().all(fits) {
            Some("is not made of 1 to 64 letters, digits, _ and -")
        } else if !is_line(&self.help) {
            Some("has a help that is not one line of at most 512 bytes")
        } else if self.default.as_ref().is_some_and(|default| !is_line(&default.to_string())) {
            Some("has a default that is not one line of at most 512 bytes")
        } else if self.required && self.default.is_some() {
            Some("is required and has a default")
        } else if self.secret && self.default.is_some() {
            Some("is a secret and has a default")
        } else if self.default.as_ref().is_some_and(|default| !self.kind.takes(default)) {
            Some("has a default of another type")
        } else {
            None
        }
    }
}

fn is_line(text: &str) -> bool {
    text.len() <= HELP_BYTES_MAX && !text.chars().any(char::is_control)
}

fn is_false(it: &bool) -> bool {
    !it
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Capability;

    #[test]
    fn a_schema_must_make_sense() {
        let manifest = Manifest::parse(
            br#"{"name":"x","version":"1","kind":"channel","abi":1,"api":"0.1","channel_type":"x","secrets":["token"]}"#,
        )
        .expect("it is valid");
        let token = r#"{"key":"token","type":"string","secret":true}"#;
        for (more, fault) in [
            ("", None),
            (r#",{"key":"size","type":"integer","default":7,"help":"How large"}"#, None),
            (r#",{"key":"later","type":"of a newer level","default":{}}"#, None),
            (r#",{"key":"token","type":"any"}"#, Some("`token` is there twice")),
            (r#",{"key":"","type":"any"}"#, Some("is not made of")),
            (r#",{"key":"a\u001bb","type":"any"}"#, Some("`a\\u{1b}b` is not made of")),
            (r#",{"key":"k","type":"any","help":"two\nlines"}"#, Some("not one line")),
            (r#",{"key":"k","type":"any","default":"\u009b2J"}"#, Some("a default that is not one line")),
            (r#",{"key":"k","type":"any","required":true,"default":1}"#, Some("required and has a default")),
            (r#",{"key":"k","type":"integer","default":"8"}"#, Some("a default of another type")),
            (r#",{"key":"k","type":"integer","default":8.5}"#, Some("a default of another type")),
            (
                r#",{"key":"k","type":"string","secret":true,"default":"x"}"#,
                Some("a secret and has a default"),
            ),
            (r#",{"key":"pin","type":"string","secret":true}"#, Some("`pin` is a secret in only one of")),
        ] {
            let schema: Schema =
                serde_json::from_str(&format!(r#"{{"keys":[{token}{more}]}}"#)).expect("it reads");
            match (schema.fault(&manifest), fault) {
                (None, None) => {}
                (Some(told), Some(want)) => assert!(told.contains(want), "{more}: {told}"),
                (told, want) => panic!("{more}: {told:?}, not {want:?}"),
            }
        }
        let mut listening = manifest.clone();
        listening.capabilities.push(Capability::Listeners);
        let schema = format!(r#"{{"keys":[{token},{{"key":"listener","type":"string"}}]}}"#);
        let schema: Schema = serde_json::from_str(&schema).expect("it reads");
        assert_eq!(schema.fault(&manifest), None);
        assert!(schema.fault(&listening).is_some_and(|why| why.contains("`listener` is the runtime's own")));
        let none = Schema::default().fault(&manifest).expect("the manifest names one");
        assert!(none.contains("`token`"), "{none}");
        let many: Vec<String> = (0..257).map(|n| format!(r#"{{"key":"k{n}","type":"any"}}"#)).collect();
        let many: Schema =
            serde_json::from_str(&format!(r#"{{"keys":[{}]}}"#, many.join(","))).expect("reads");
        assert!(many.fault(&manifest).is_some_and(|why| why.contains("257 keys")));
    }
}
