//! The plugin's config, as the operator gives it to an examination.

use serde_json::{Map, Value};
use std::path::Path;
use vestibule_runtime::config::{is_whole, resolve};

/// The section of the file that has this name, or all of it where it is no whole config, then what `set` says: its
/// secrets may be plain words.
///
/// # Errors
/// The file or a key cannot be read; a sentence that says why.
pub fn read(
    file: Option<&Path>,
    set: &[String],
    names: &[&str],
    secrets: &[String],
) -> Result<Value, String> {
    let mut section = match file {
        None => toml::Table::new(),
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
            let whole: toml::Table =
                text.parse().map_err(|error| format!("{} is not TOML: {error}", path.display()))?;
            if is_whole(&whole) {
                let named = names.iter().try_fold(&whole, |table, name| table.get(*name)?.as_table());
                let none = || format!("{} has no [{}]", path.display(), names.join("."));
                named.cloned().ok_or_else(none)?
            } else {
                whole
            }
        }
    };
    let mut plain = Map::new();
    for set in set {
        let (key, value) = set.split_once('=').ok_or_else(|| format!("`--set {set}` is not KEY=VALUE"))?;
        let parsed = format!("it = {value}").parse::<toml::Table>().ok().and_then(|mut it| it.remove("it"));
        let value = parsed.unwrap_or_else(|| toml::Value::String(value.to_owned()));
        section.remove(key);
        match value {
            toml::Value::Table(_) => drop(section.insert(key.to_owned(), value)),
            value => {
                let value = serde_json::to_value(value).map_err(|error| format!("`{key}`: {error}"))?;
                plain.insert(key.to_owned(), value);
            }
        }
    }
    let mut config = resolve(&section, secrets).map_err(|error| error.to_string())?;
    if let Some(config) = config.as_object_mut() {
        config.extend(plain);
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use vestibule_runtime::private::TemporaryFolder;

    fn config(file: Option<&Path>, set: &[&str]) -> Result<Value, String> {
        let set: Vec<String> = set.iter().map(|set| (*set).to_owned()).collect();
        read(file, &set, &["channels", "acme", "main"], &["token".into()])
    }

    #[test]
    fn a_key_is_toml_or_words() {
        let config = config(None, &["port=7", "listen=127.0.0.1:0", "token=t=1"]);
        assert_eq!(config, Ok(json!({ "port": 7, "listen": "127.0.0.1:0", "token": "t=1" })));
    }

    #[test]
    fn a_section_is_found_in_either_kind_of_file() {
        let folder = TemporaryFolder::new("test").expect("made");
        let file = folder.path().join("c.toml");
        for (text, want) in [
            ("port = 7", Ok(json!({ "port": 7 }))),
            ("[channels.acme.main]\nport = 7", Ok(json!({ "port": 7 }))),
            ("[channels.other.main]\nport = 7", Err("has no [channels.acme.main]")),
            ("channels = ['general']", Ok(json!({ "channels": ["general"] }))),
            ("[channels.general]\nloud = true", Ok(json!({ "channels": { "general": { "loud": true } } }))),
            ("token = 'plain'", Err("`token` is a secret")),
            ("port", Err("is not TOML")),
        ] {
            std::fs::write(&file, text).expect("written");
            match (config(Some(&file), &[]), want) {
                (Ok(config), Ok(want)) => assert_eq!(config, want, "{text}"),
                (Err(told), Err(want)) => assert!(told.contains(want), "{text}: {told}"),
                (told, want) => panic!("{text}: {told:?}, not {want:?}"),
            }
        }
    }
}
