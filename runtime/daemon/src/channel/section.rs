//! The section of an account in `vestibule.toml`: where its values come from, and how it is written. Pure.

use anyhow::{Context, bail};
use std::collections::BTreeMap;
use std::path::Path;
use toml_edit::{DocumentMut, InlineTable, Item, Table, Value};
use vestibule_plugin_api::{ConfigKey, KeyType, Manifest, Schema};

/// Where the value of one key comes from.
#[derive(Debug, Clone)]
pub enum Given {
    /// From an environment variable of this name.
    Env(String),
    /// From the file at this path.
    File(String),
    /// Typed by the person, and not kept yet.
    Typed(String),
    /// From the config itself.
    Plain(Value),
}

/// Reads the words `KEY=VALUE`. A secret is never written down: `env:NAME` and `file:PATH` say where it is kept.
///
/// # Errors
/// The channel has no such key, or the value is not of its type.
pub fn given(schema: &Schema, set: &[String]) -> anyhow::Result<BTreeMap<String, Given>> {
    let one = |word: &String| {
        let (key, value) = word.split_once('=').with_context(|| format!("`{word}` is not KEY=VALUE"))?;
        let known = schema.key(key);
        if known.is_none() && !schema.open {
            let keys: Vec<&str> = schema.keys.iter().map(|key| key.key.as_str()).collect();
            bail!("it has no key `{key}`; its keys are {}", keys.join(", "));
        }
        let is_secret = known.is_some_and(|key| key.secret);
        let given = match (value.split_once(':'), is_secret) {
            (Some(("env", name)), true) => Given::Env(name.to_owned()),
            (Some(("file", path)), true) => {
                // A runtime runs in another folder.
                let path = std::path::absolute(path)?;
                Given::File(
                    path.to_str().with_context(|| format!("{} is no UTF-8", path.display()))?.to_owned(),
                )
            }
            (_, true) => bail!(
                "`{key}` is a secret, which other users can see in a command line: give it as {key}=env:NAME or \
                 {key}=file:PATH, or leave it out and you are asked for it"
            ),
            (_, false) => Given::Plain(plain(known, value)?),
        };
        Ok((key.to_owned(), given))
    };
    set.iter().map(one).collect()
}

/// The account that is named as the one at which the webhooks of this one come in.
pub fn listener(manifest: &Manifest, values: &BTreeMap<String, Given>) -> Option<String> {
    match values.get("listener") {
        Some(Given::Plain(name)) if manifest.is_runtimes_key("listener") => name.as_str().map(str::to_owned),
        _ => None,
    }
}

/// A value as a person writes it: of the key's type.
///
/// # Errors
/// It is of another type.
pub fn plain(key: Option<&ConfigKey>, text: &str) -> anyhow::Result<Value> {
    match key.map_or(KeyType::Any, |key| key.kind) {
        KeyType::String => Ok(text.into()),
        KeyType::Any | KeyType::Unknown => Ok(text.parse().unwrap_or_else(|_| text.into())),
        kind => {
            let value: Value =
                text.parse().ok().with_context(|| format!("`{text}` is no {}", kind.word()))?;
            let fits = match kind {
                KeyType::Integer => value.is_integer(),
                KeyType::Number => value.is_integer() || value.is_float(),
                KeyType::Boolean => value.is_bool(),
                KeyType::List => value.is_array(),
                _ => value.is_inline_table(),
            };
            if fits { Ok(value) } else { bail!("`{text}` is no {}", kind.word()) }
        }
    }
}

/// The names under which people keep a secret of a channel in their environment, the usual one first:
/// `SLACK_BOT_TOKEN` for `bot_token`, `TELEGRAM_BOT_TOKEN` for `token`.
pub fn env_names(channel_type: &str, key: &str) -> [String; 2] {
    let word = |text: &str| text.to_uppercase().replace('-', "_");
    let (channel, key) = (word(channel_type), word(key));
    [format!("{channel}_{key}"), format!("{channel}_BOT_{key}")]
}

/// The name of the file in which a secret that was typed is kept. Neither channels nor keys have a full stop in them, so no
/// two have the same.
pub fn secret_name(channel_type: &str, account: &str, key: &str) -> String {
    format!("{channel_type}.{account}.{key}")
}

/// The config with one more account.
///
/// # Errors
/// The text is no TOML, or the account is there already.
pub fn added(
    text: &str,
    (channel_type, account): (&str, &str),
    values: &BTreeMap<String, Given>,
) -> anyhow::Result<String> {
    let mut document: DocumentMut = text.parse()?;
    let mut section = Table::new();
    for (key, given) in values {
        let value = match given {
            Given::Plain(value) => value.clone(),
            Given::Env(name) => reference("env", name),
            Given::File(path) => reference("file", path),
            Given::Typed(_) => bail!("the secret `{key}` was not kept in a file"),
        };
        section.insert(key, Item::Value(value));
    }
    let implicit = || {
        let mut table = Table::new();
        table.set_implicit(true);
        Item::Table(table)
    };
    let is_table = "is no section: write it as [channels.TYPE.ACCOUNT]";
    let channels = document.entry("channels").or_insert_with(implicit);
    let channels = channels.as_table_mut().with_context(|| format!("`channels` {is_table}"))?;
    let of_type = channels.entry(channel_type).or_insert_with(implicit);
    let of_type = of_type.as_table_mut().with_context(|| format!("`channels.{channel_type}` {is_table}"))?;
    if of_type.contains_key(account) {
        bail!("[channels.{channel_type}.{account}] is there already");
    }
    of_type.insert(account, Item::Table(section));
    Ok(document.to_string())
}

fn reference(kind: &str, what: &str) -> Value {
    let mut reference = InlineTable::new();
    reference.insert(kind, what.into());
    Value::InlineTable(reference)
}

/// The config without an account, and the files in `secrets` that it named.
///
/// # Errors
/// The text is no TOML, or has no such account.
pub fn removed(
    text: &str,
    (channel_type, account): (&str, &str),
    secrets: &Path,
) -> anyhow::Result<(String, Vec<String>)> {
    let mut document: DocumentMut = text.parse()?;
    let of_type = document
        .get_mut("channels")
        .and_then(Item::as_table_mut)
        .and_then(|channels| channels.get_mut(channel_type))
        .and_then(Item::as_table_mut);
    let section = of_type.and_then(|of_type| of_type.remove(account));
    let section = section.with_context(|| format!("there is no [channels.{channel_type}.{account}]"))?;
    let values = section.as_table_like().into_iter().flat_map(|table| table.iter());
    let file = |(_, value): (&str, &Item)| Some(value.get("file")?.as_str()?.to_owned());
    let ours = |path: &String| Path::new(path).parent() == Some(secrets);
    Ok((document.to_string(), values.filter_map(file).filter(ours).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn schema() -> Schema {
        let key = |key: &str, kind, secret| ConfigKey {
            key: key.into(),
            kind,
            required: secret,
            secret,
            default: None,
            help: String::new(),
        };
        let keys = vec![
            key("token", KeyType::String, true),
            key("room", KeyType::String, false),
            key("seconds", KeyType::Integer, false),
            key("names", KeyType::List, false),
        ];
        Schema { keys, open: false }
    }

    #[test]
    fn what_a_person_may_give() {
        for (word, want) in [
            ("token=env:TOKEN", Ok("token = { env = \"TOKEN\" }")),
            ("token=file:/a b", Ok("token = { file = \"/a b\" }")),
            ("token=xoxb-1", Err("is a secret")),
            ("room=7", Ok("room = \"7\"")),
            ("room=a=b", Ok("room = \"a=b\"")),
            ("room=env:X", Ok("room = \"env:X\"")),
            ("seconds=7", Ok("seconds = 7")),
            ("seconds=soon", Err("`soon` is no")),
            ("names=[\"a\"]", Ok("names = [\"a\"]")),
            ("names=a", Err("`a` is no")),
            ("rom=x", Err("it has no key `rom`; its keys are token, room, seconds, names")),
            ("room", Err("is not KEY=VALUE")),
        ] {
            let found = given(&schema(), &[word.to_owned()]);
            match (found.and_then(|values| added("", ("x", "main"), &values)), want) {
                (Ok(text), Ok(want)) => assert_eq!(text, format!("[channels.x.main]\n{want}\n"), "{word}"),
                (Err(why), Err(want)) => assert!(why.to_string().contains(want), "{word}: {why}"),
                (found, _) => panic!("{word}: {found:?}"),
            }
        }
    }

    #[test]
    fn names_are_those_that_people_use() {
        assert_eq!(env_names("slack", "bot_token")[0], "SLACK_BOT_TOKEN");
        assert_eq!(env_names("telegram", "token")[1], "TELEGRAM_BOT_TOKEN");
        assert_eq!(env_names("whatsapp-web", "pin")[0], "WHATSAPP_WEB_PIN");
    }

    #[test]
    fn no_two_secrets_are_kept_in_one_file() {
        let names = [("x", "a", "b-c"), ("x", "a-b", "c"), ("x-a", "b", "c"), ("x", "a.b", "c")];
        let files: BTreeSet<String> = names.into_iter().map(|(x, a, k)| secret_name(x, a, k)).collect();
        assert_eq!(files.len(), names.len(), "{files:?}");
    }

    #[test]
    fn an_account_comes_and_goes_and_the_rest_stays() {
        let before =
            "# mine\nlisten = '127.0.0.1:8080' # here\n\n[channels.github.main]\ntoken = { env = \"G\" }\n";
        let values = BTreeMap::from([
            ("token".to_owned(), Given::File("/home/secrets/x.main.token".into())),
            ("app".to_owned(), Given::Env("APP".into())),
            ("seconds".to_owned(), Given::Plain(7.into())),
        ]);
        for text in ["", before, "[channels.x.other]\n"] {
            let with = added(text, ("x", "main"), &values).expect("it is added");
            assert!(with.starts_with(text), "{with}");
            assert!(
                with.ends_with(
                    "[channels.x.main]\napp = { env = \"APP\" }\nseconds = 7\n\
                     token = { file = \"/home/secrets/x.main.token\" }\n"
                ),
                "{with}"
            );
            let again = added(&with, ("x", "main"), &values).expect_err("it is there").to_string();
            assert!(again.contains("there already"), "{again}");
            let (without, files) =
                removed(&with, ("x", "main"), Path::new("/home/secrets")).expect("it is there");
            assert_eq!(without.trim_end(), text.trim_end());
            assert_eq!(files, ["/home/secrets/x.main.token"]);
            let (_, files) = removed(&with, ("x", "main"), Path::new("/elsewhere")).expect("it is there");
            assert_eq!(files, [""; 0], "a file of the operator's own stays");
        }
        assert!(removed(before, ("x", "main"), Path::new("/")).is_err());
        assert!(added("channels = 7", ("x", "main"), &values).is_err());
        assert!(added("{{{", ("x", "main"), &values).is_err());
    }
}
