//! Where the values of a new account come from: its environment, and the person at the terminal.

use super::lacks::Lacking;
use super::section::{self, Given};
use super::write;
use crate::cli::AccountPlace;
use anyhow::{Context, bail};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::DirBuilder;
use std::io::{IsTerminal, Write};
use std::os::unix::fs::DirBuilderExt;
use toml::Table;
use vestibule_conform::Tryout;
use vestibule_plugin_api::{ConfigKey, Schema};
use vestibule_runtime::{Home, config, words};

/// How many variables are named that are not read.
const UNREAD_MAX: usize = 5;

/// The variables of the environment that are there, and not empty.
fn variables() -> BTreeMap<String, String> {
    let all = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    all.filter(|(_, value)| !value.is_empty()).collect()
}

/// The other accounts of the channel, by name.
pub struct Others<'c>(pub Vec<(&'c str, &'c Table)>);

impl Others<'_> {
    /// Why the new account does not take this variable: another account is the one that it tells of.
    fn have(&self, key: &ConfigKey, name: &str, value: &str) -> Option<String> {
        let has_it = |section: &Table| match key.secret {
            true => section.get(&key.key).and_then(|of| of.get("env")?.as_str()) == Some(name),
            false => says(section, &key.key, value),
        };
        let (account, _) = self.0.iter().find(|(_, section)| has_it(section))?;
        let again = if key.secret { format!("env:{name}") } else { value.trim().to_owned() };
        let key = &key.key;
        Some(format!(
            "{key} is not taken from the environment variable {name}, for the account {account} has that one; if both are \
             to have it, give --set {key}={again}"
        ))
    }
}

/// Takes the secrets, and what else is needed, that are in the environment under their usual names. Returns which key comes
/// from which variable; and why others are not taken.
pub fn find_usual(
    kind: &str,
    schema: &Schema,
    values: &mut BTreeMap<String, Given>,
    others: &Others<'_>,
) -> anyhow::Result<(Map<String, Value>, Vec<String>)> {
    let (there, mut taken, mut left) = (variables(), Map::new(), Vec::new());
    for key in schema.keys.iter().filter(|key| key.required || key.secret) {
        let usual = if key.secret { usize::MAX } else { 1 };
        let names = section::env_names(kind, &key.key).into_iter().take(usual);
        let (theirs, mut free): (Vec<_>, Vec<_>) = names
            .filter(|name| there.contains_key(name) && !values.contains_key(&key.key))
            .map(|name| (others.have(key, &name, &there[&name]), name))
            .partition(|(why, _)| why.is_some());
        if free.is_empty() {
            left.extend(theirs.into_iter().filter_map(|(why, _)| why));
            continue;
        }
        let name = free.swap_remove(0).1;
        let given = match key.secret {
            true => Given::Env(name.clone()),
            false => {
                let value = section::plain(Some(key), &there[&name]);
                Given::Plain(value.with_context(|| format!("of {name}"))?)
            }
        };
        values.insert(key.key.clone(), given);
        taken.insert(key.key.clone(), name.into());
    }
    Ok((taken, left))
}

/// Whether the value of a key in a section is what this text says.
fn says(section: &Table, key: &str, text: &str) -> bool {
    section.get(key).is_some_and(|value| match value.as_str() {
        Some(value) => value == text.trim(),
        None => value.to_string() == text.trim(),
    })
}

/// The sentence about variables that look as if they were meant for a key that is still missing, and are not read.
pub fn unread(kind: &str, schema: &Schema, values: &BTreeMap<String, Given>) -> Option<String> {
    unread_of(kind, schema, values, variables().keys().map(String::as_str))
}

/// The same of these variables. Pure.
fn unread_of<'v>(
    kind: &str,
    schema: &Schema,
    values: &BTreeMap<String, Given>,
    there: impl Iterator<Item = &'v str>,
) -> Option<String> {
    let asked = |key: &&ConfigKey| (key.required || key.secret) && !values.contains_key(&key.key);
    let missing: Vec<&ConfigKey> = schema.keys.iter().filter(asked).collect();
    let read: Vec<String> = schema.keys.iter().flat_map(|key| section::env_names(kind, &key.key)).collect();
    let prefix = format!("{}_", section::env_word(kind));
    let is_meant = |name: &&str| {
        let is_read = read.iter().any(|one| one == name);
        let is_like = || read.iter().any(|one| config::is_like_variable(one, name));
        !is_read && (name.starts_with(&prefix) || is_like())
    };
    let found: Vec<&str> = there.filter(is_meant).take(UNREAD_MAX).collect();
    if missing.is_empty() || found.is_empty() {
        return None;
    }
    let from = |key: &&ConfigKey| format!("{} from {}", key.key, section::env_names(kind, &key.key)[0]);
    let from: Vec<String> = missing.iter().map(from).collect();
    let is = if found.len() == 1 {
        "is set in the environment and is"
    } else {
        "are set in the environment and are"
    };
    Some(format!("{} {is} not read: {kind} takes {}", found.join(", "), from.join(", ")))
}

/// The secrets that were not given, each with the variable from which it is taken.
pub fn not_given(kind: &str, schema: &Schema, values: &BTreeMap<String, Given>) -> Vec<(String, String)> {
    let missing = schema.keys.iter().filter(|key| key.secret && !values.contains_key(&key.key));
    missing.map(|key| (key.key.clone(), section::env_names(kind, &key.key)[0].clone())).collect()
}

/// Asks the person for what is still missing, if there is one to ask.
pub async fn ask_for(
    place: &AccountPlace,
    tryout: &Tryout,
    schema: &Schema,
    values: &mut BTreeMap<String, Given>,
    may_ask: bool,
) -> anyhow::Result<()> {
    let may_ask = may_ask && std::io::stdin().is_terminal();
    let missing: Vec<&ConfigKey> =
        schema.keys.iter().filter(|key| key.required && !values.contains_key(&key.key)).collect();
    if !missing.is_empty() && !may_ask {
        let way = |key: &&ConfigKey| match key.secret {
            true => format!(
                "set {} or give --set {}=file:PATH",
                section::env_names(&place.channel, &key.key)[0],
                key.key
            ),
            false => format!("give --set {}=VALUE", key.key),
        };
        let ways: Vec<String> = missing.iter().map(way).collect();
        let hint = unread(&place.channel, schema, values).map(|hint| format!(". {hint}"));
        bail!("{} needs {}: {}{}", place.channel, names(&missing), ways.join("; "), hint.unwrap_or_default());
    }
    if !may_ask {
        return Ok(());
    }
    tokio::spawn(show_typing_again());
    for key in missing {
        values.extend(ask_one(key)?.map(|given| (key.key.clone(), given)));
    }
    Lacking { place, tryout, schema, asked: BTreeSet::new() }.ask(values).await
}

/// Ends the program as Ctrl-C does, and lets the terminal show again what is typed: a secret may be asked for just now.
async fn show_typing_again() {
    if tokio::signal::ctrl_c().await.is_ok() {
        let _ = std::process::Command::new("stty").args(["echo", "icanon"]).status();
        eprintln!("");
        std::process::exit(130);
    }
}

fn names(keys: &[&ConfigKey]) -> String {
    keys.iter().map(|key| key.key.as_str()).collect::<Vec<_>>().join(" and ")
}

/// Asks for one value; nothing is an answer where the key may be left out. A secret is not shown while it is typed.
pub fn ask_one(key: &ConfigKey) -> anyhow::Result<Option<Given>> {
    let prompt = prompt(key);
    loop {
        let text = if key.secret {
            rpassword::prompt_password(&prompt)?
        } else {
            print!("{prompt}");
            std::io::stdout().flush()?;
            let mut line = String::new();
            if std::io::stdin().read_line(&mut line)? == 0 {
                match key.required {
                    true => bail!("{} is needed", key.key),
                    false => return Ok(None),
                }
            }
            line
        };
        match text.trim() {
            "" if key.required => println!("{} is needed.", key.key),
            "" => return Ok(None),
            secret if key.secret => return Ok(Some(Given::Typed(secret.to_owned()))),
            text => match section::plain(Some(key), text) {
                Ok(value) => return Ok(Some(Given::Plain(value))),
                Err(why) => println!("{why}"),
            },
        }
    }
}

/// The words that ask for a value. They are a plugin's, and those for a secret go to the terminal past all else that is
/// printed.
fn prompt(key: &ConfigKey) -> String {
    let may_lack = if key.required { "" } else { "; Enter leaves it out" };
    words::for_terminal(&format!("{} ({}{may_lack}): ", key.key, key.help))
}

/// Keeps the secrets that were typed, each in a file that only its owner can read. Returns how many there are.
pub fn keep_typed(
    home: &Home,
    place: &AccountPlace,
    values: &mut BTreeMap<String, Given>,
) -> anyhow::Result<usize> {
    let (at, mut count) = (home.secrets(), 0);
    for (key, given) in values {
        let Given::Typed(secret) = given else { continue };
        let path = at.join(section::secret_name(&place.channel, &place.account, key));
        DirBuilder::new().recursive(true).mode(0o700).create(&at)?;
        write(&path, format!("{secret}\n").as_bytes())?;
        let path = path.to_str().with_context(|| format!("{} is no UTF-8", path.display()))?;
        *given = Given::File(path.to_owned());
        count += 1;
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use vestibule_plugin_api::KeyType;

    fn key(key: &str, help: &str, required: bool) -> ConfigKey {
        ConfigKey {
            key: key.into(),
            kind: KeyType::String,
            required,
            secret: true,
            default: None,
            help: help.into(),
        }
    }

    #[test]
    fn a_plugins_words_move_nothing_on_a_terminal() {
        for (help, required, want) in [
            ("The token", true, "token (The token): "),
            ("The token", false, "token (The token; Enter leaves it out): "),
            ("\u{202e}evil\u{2028}", true, "token (\u{fffd}evil\u{fffd}): "),
        ] {
            assert_eq!(prompt(&key("token", help, required)), want);
        }
    }

    #[test]
    fn what_another_account_has_is_not_taken_again() {
        let section: Table =
            toml::from_str("token = { env = \"X_TOKEN\" }\nid = \"7\"\nport = 7").expect("it is TOML");
        let others = Others(vec![("main", &section)]);
        let has = |key: &ConfigKey, name: &str, value: &str| others.have(key, name, value);
        let (token, port) = (key("token", "", true), ConfigKey { secret: false, ..key("port", "", true) });
        let id = ConfigKey { key: "id".into(), ..port.clone() };
        let told = has(&token, "X_TOKEN", "secret").expect("it is another's");
        assert!(told.contains("the account main") && told.ends_with("--set token=env:X_TOKEN"), "{told}");
        assert!(has(&id, "X_ID", "7\n").is_some_and(|told| told.ends_with("--set id=7")));
        assert!(has(&port, "X_PORT", "7").is_some());
        for (key, name, value) in [(&token, "X_BOT_TOKEN", "secret"), (&id, "X_ID", "8")] {
            assert_eq!(has(key, name, value), None, "{name} {value}");
        }
    }

    #[test]
    fn a_variable_that_is_nearly_right_is_named_and_its_value_is_not() {
        let schema =
            Schema { keys: vec![key("bot_token", "", true), key("app_token", "", false)], open: false };
        let none = BTreeMap::new();
        let with = |names: &[&str], values: &BTreeMap<String, Given>| {
            unread_of("slack", &schema, values, names.iter().copied()).unwrap_or_default()
        };
        let told = with(&["HOME", "SLACK_TOKEN", "TOKEN"], &none);
        assert_eq!(
            told,
            "SLACK_TOKEN is set in the environment and is not read: slack takes bot_token from SLACK_BOT_TOKEN, \
             app_token from SLACK_APP_TOKEN"
        );
        assert!(with(&["SLACK_XOXB", "SLACK_TOKEN"], &none).starts_with("SLACK_XOXB, SLACK_TOKEN are set"));
        assert!(with(&["SLAK_BOT_TOKEN"], &none).starts_with("SLAK_BOT_TOKEN is set"));
        for quiet in [&["SLACK_BOT_TOKEN"][..], &["HOME", "PATH", "TOKEN", "GITHUB_TOKEN"], &[]] {
            assert_eq!(with(quiet, &none), "", "{quiet:?}");
        }
        let all = ["bot_token", "app_token"].map(|key| (key.to_owned(), Given::Env("X".into())));
        assert_eq!(with(&["SLACK_TOKEN"], &BTreeMap::from(all)), "", "nothing is missing");
    }
}
