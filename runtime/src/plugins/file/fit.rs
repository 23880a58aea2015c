//! Whether a section of the config is what its plugin describes. Pure.

use crate::config::{is_reference, nearest};
use toml::{Table, Value};
use vestibule_plugin_api::{ConfigKey, KeyType, Manifest, PluginKind, Schema};

/// How many keys are named when none of them looks like the one that is there.
const NAMED_MAX: usize = 12;
/// How much of an operator's key is said, in characters.
const SAID_MAX: usize = 64;

/// What the section of an account is called in the config.
pub fn place(manifest: &Manifest, account: &str) -> String {
    match manifest.kind {
        PluginKind::Module => format!("[modules.{}]", manifest.name),
        PluginKind::Channel | PluginKind::Unknown => {
            format!("[channels.{}.{account}]", manifest.channel_type)
        }
    }
}

/// What is wrong with a section, and what to do, in words that follow its place in a sentence. Values are never said:
/// they may be secrets.
pub fn fault(schema: &Schema, plugin: &str, section: &Table) -> Option<String> {
    let unknown = section.keys().find(|name| !schema.open && schema.key(name).is_none());
    if let Some(name) = unknown {
        return Some(format!(
            "has the key \"{}\", which {plugin} does not know; {}",
            said(name),
            remedy(schema, name)
        ));
    }
    if let Some(key) = schema.keys.iter().find(|key| key.required && !section.contains_key(&key.key)) {
        let help = match key.help.trim_end_matches('.') {
            "" => String::new(),
            help => format!(" ({help})"),
        };
        return Some(format!(
            "lacks the key \"{}\", which {plugin} needs{help}; add {}",
            key.key,
            example(key)
        ));
    }
    let other = schema.keys.iter().find_map(|key| Some((key, other_type(key, section.get(&key.key)?)?)));
    other.map(|(key, is)| format!("gives \"{}\" {is}, and {plugin} wants {}", key.key, wanted(key.kind)))
}

/// The words as a sentence that another follows: a question needs no full stop.
pub fn sentence(words: &str) -> String {
    if words.ends_with(['?', '.']) { words.to_owned() } else { format!("{words}.") }
}

fn said(name: &str) -> String {
    name.chars().take(SAID_MAX).flat_map(char::escape_debug).collect()
}

fn remedy(schema: &Schema, name: &str) -> String {
    let keys = || schema.keys.iter().map(|key| key.key.as_str());
    if let Some(near) = nearest(name, keys()) {
        return format!("did you mean \"{near}\"?");
    }
    let more = if schema.keys.len() > NAMED_MAX { " and more" } else { "" };
    match &keys().take(NAMED_MAX).collect::<Vec<_>>()[..] {
        [] => "it has no keys, so take it out".to_owned(),
        [one] => format!("its one key is {one}"),
        some => format!("its keys are {}{more}", some.join(", ")),
    }
}

/// How a key is written, with a value that is plainly not a real one.
fn example(key: &ConfigKey) -> String {
    let value = match key.kind {
        _ if key.secret => "{ env = \"NAME\" }",
        KeyType::String => "\"…\"",
        KeyType::Integer | KeyType::Number => "NUMBER",
        KeyType::Boolean => "true or false",
        KeyType::List => "[…]",
        KeyType::Table => "{…}",
        KeyType::Any | KeyType::Unknown => "…",
    };
    format!("{} = {value}", key.key)
}

/// What a value is, if it is not of the key's type.
fn other_type(key: &ConfigKey, value: &Value) -> Option<&'static str> {
    let (fits, is) = match value {
        Value::Table(table) if is_reference(table) => {
            (key.kind.takes(&"".into()), "a reference, which is text once it is read")
        }
        value => {
            let is = match value {
                Value::String(_) => "text in quotes",
                Value::Integer(_) => "a whole number",
                Value::Float(_) => "a number that is not whole",
                Value::Boolean(_) => "true or false",
                Value::Datetime(_) => "a date",
                Value::Array(_) => "a list",
                Value::Table(_) => "a table",
            };
            (serde_json::to_value(value).is_ok_and(|value| key.kind.takes(&value)), is)
        }
    };
    (!fits).then_some(is)
}

fn wanted(kind: KeyType) -> &'static str {
    match kind {
        KeyType::String => "text, in quotes",
        KeyType::Integer => "a whole number, without quotes",
        KeyType::Number => "a number, without quotes",
        KeyType::Boolean => "true or false, without quotes",
        KeyType::List => "a list, as in [\"one\", \"two\"]",
        KeyType::Table => "a table, as in { name = \"value\" }",
        KeyType::Any | KeyType::Unknown => "anything",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_one_sentence_with_its_remedy() {
        let telegram = r#"{"keys":[{"key":"token","type":"string","required":true,"secret":true,"help":"The bot's token"},
            {"key":"api_root","type":"string"},{"key":"seconds","type":"integer"},{"key":"share","type":"number"},
            {"key":"on","type":"boolean"},{"key":"rooms","type":"list"},{"key":"names","type":"table"},
            {"key":"rest","type":"any"},{"key":"later","type":"of a newer level"}]}"#;
        let open = r#"{"keys":[],"open":true}"#;
        let (none, one) = (r#"{"keys":[]}"#, r#"{"keys":[{"key":"listen","type":"string"}]}"#);
        let token = "token = { env = \"T\" }\n";
        for (schema, section, want) in [
            (telegram, token.to_owned(), ""),
            (telegram, "token = \"plain\"".to_owned(), ""), // the resolver says what is wrong with that
            (
                telegram,
                format!("{token}seconds = 7\nshare = 1\non = false\nrooms = []\nnames = {{}}\nrest = 1.5"),
                "",
            ),
            (telegram, format!("{token}share = 0.5\nlater = [1]\nrest = {{ env = \"R\" }}"), ""),
            (open, "whatever = 1".to_owned(), ""),
            (
                telegram,
                "tokn = { env = \"T\" }".to_owned(),
                "has the key \"tokn\", which telegram does not know; did you mean \"token\"?",
            ),
            (
                telegram,
                "\"x\\u001b[2J\" = 1".to_owned(),
                "has the key \"x\\u{1b}[2J\", which telegram does not know; its keys are token, api_root, seconds, share, \
                 on, rooms, names, rest, later",
            ),
            (
                none,
                "x = 1".to_owned(),
                "has the key \"x\", which telegram does not know; it has no keys, so take it out",
            ),
            (
                one,
                "x = 1".to_owned(),
                "has the key \"x\", which telegram does not know; its one key is listen",
            ),
            (
                telegram,
                String::new(),
                "lacks the key \"token\", which telegram needs (The bot's token); add token = { env = \"NAME\" }",
            ),
            (
                telegram,
                format!("{token}seconds = \"7\""),
                "gives \"seconds\" text in quotes, and telegram wants a whole number, without quotes",
            ),
            (
                telegram,
                format!("{token}seconds = 7.5"),
                "gives \"seconds\" a number that is not whole, and telegram wants a whole number, without quotes",
            ),
            (
                telegram,
                format!("{token}seconds = {{ file = \"/n\" }}"),
                "gives \"seconds\" a reference, which is text once it is read, and telegram wants a whole number, \
                 without quotes",
            ),
            (
                telegram,
                format!("{token}api_root = [\"a\"]"),
                "gives \"api_root\" a list, and telegram wants text, in quotes",
            ),
            (
                telegram,
                format!("{token}on = \"yes\""),
                "gives \"on\" text in quotes, and telegram wants true or false, without quotes",
            ),
        ] {
            let schema: Schema = serde_json::from_str(schema).expect("it reads");
            let told = fault(&schema, "telegram", &section.parse().expect("TOML"));
            assert_eq!(told.unwrap_or_default(), want, "{section}");
        }
    }
}
