//! Where the values of a new account come from: its environment, and the person at the terminal.

use super::file::{self, Whose};
use super::lacks::Lacking;
use super::section::{self, Given};
use super::tty::Tty;
use super::twins::{Kind, Texts};
use crate::cli::AccountPlace;
use anyhow::{Context, anyhow, bail};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::io::IsTerminal;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use toml::Table;
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

/// The other accounts of the channel.
pub struct Others<'c> {
    /// Their sections, by name.
    pub sections: Vec<(&'c str, &'c Table)>,
    /// What they say, with their secrets read.
    pub texts: Vec<(String, Texts)>,
}

impl Others<'_> {
    /// Why the new account does not take this variable: another account is the one that it tells of.
    fn have(&self, kind: &Kind<'_>, key: &ConfigKey, name: &str, value: &str) -> Option<String> {
        let names_it = |(account, section): &(&str, &Table)| {
            let is = section.get(&key.key).and_then(|of| of.get("env")?.as_str()) == Some(name);
            is.then(|| (*account).to_owned())
        };
        let says_it = |(account, texts): &(String, Texts)| {
            (texts.get(&key.key).map(String::as_str) == Some(value.trim())).then(|| account.clone())
        };
        let account =
            self.sections.iter().find_map(names_it).or_else(|| self.texts.iter().find_map(says_it))?;
        let again = if key.secret { format!("env:{name}") } else { value.trim().to_owned() };
        let hint = match kind.may_share(key) {
            true => format!("; if both are to have it, give --set {}={again}", key.key),
            false => String::new(),
        };
        let key = &key.key;
        Some(format!(
            "{key} is not taken from the environment variable {name}, for the account {account} has that one{hint}"
        ))
    }
}

/// Takes the secrets, and what else is needed, that are in the environment under their usual names. Returns which key comes
/// from which variable; and why others are not taken.
pub fn find_usual(
    kind: &str,
    sharing: &Kind<'_>,
    values: &mut BTreeMap<String, Given>,
    others: &Others<'_>,
) -> anyhow::Result<(Map<String, Value>, Vec<String>)> {
    let schema = sharing.schema;
    let (there, mut taken, mut left) = (variables(), Map::new(), Vec::new());
    for key in schema.keys.iter().filter(|key| key.required || key.secret) {
        let usual = if key.secret { usize::MAX } else { 1 };
        let names = section::env_names(kind, &key.key).into_iter().take(usual);
        let (theirs, mut free): (Vec<_>, Vec<_>) = names
            .filter(|name| there.contains_key(name) && !values.contains_key(&key.key))
            .map(|name| (others.have(sharing, key, &name, &there[&name]), name))
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

/// The sentence about variables that look as if they were meant for a key that is still missing, and are not read.
/// `whole` has the keys, too, that this account does not need.
pub fn unread(
    kind: &str,
    schema: &Schema,
    whole: &Schema,
    values: &BTreeMap<String, Given>,
) -> Option<String> {
    unread_of(kind, schema, whole, values, variables().keys().map(String::as_str))
}

/// The same of these variables. Pure.
fn unread_of<'v>(
    kind: &str,
    schema: &Schema,
    whole: &Schema,
    values: &BTreeMap<String, Given>,
    there: impl Iterator<Item = &'v str>,
) -> Option<String> {
    let asked = |key: &&ConfigKey| (key.required || key.secret) && !values.contains_key(&key.key);
    let missing: Vec<&ConfigKey> = schema.keys.iter().filter(asked).collect();
    let read: Vec<String> = whole.keys.iter().flat_map(|key| section::env_names(kind, &key.key)).collect();
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
    lacking: &mut Lacking<'_>,
    whole: &Schema,
    values: &mut BTreeMap<String, Given>,
    for_a_program: bool,
) -> anyhow::Result<()> {
    let schema = lacking.schema;
    let missing: Vec<&ConfigKey> =
        schema.keys.iter().filter(|key| key.required && !values.contains_key(&key.key)).collect();
    if !for_a_program && std::io::stdin().is_terminal() {
        let asked = ask_at(&mut Tty::open()?, lacking, &missing, values).await;
        return asked.map_err(|why| anyhow!("{why}. Nothing was written"));
    }
    if !missing.is_empty() {
        let hint = unread(&lacking.place.channel, schema, whole, values).map(|hint| format!(". {hint}"));
        let (kind, ways) = (&lacking.place.channel, ways(&lacking.place.channel, &missing));
        bail!("{kind} needs {}: {ways}{}", names(&missing), hint.unwrap_or_default());
    }
    lacking.refuse_what_lacks(values).await
}

async fn ask_at(
    tty: &mut Tty,
    lacking: &mut Lacking<'_>,
    missing: &[&ConfigKey],
    values: &mut BTreeMap<String, Given>,
) -> anyhow::Result<()> {
    for key in missing {
        lacking.asked.insert(key.key.clone());
        values.extend(ask_one(tty, key)?.map(|given| (key.key.clone(), given)));
    }
    lacking.ask(tty, values).await
}

/// How these keys are given without being asked.
pub fn ways(kind: &str, keys: &[&ConfigKey]) -> String {
    let way = |key: &&ConfigKey| {
        let value = if key.secret { "file:PATH" } else { "VALUE" };
        format!("set {} or give --set {}={value}", section::env_names(kind, &key.key)[0], key.key)
    };
    keys.iter().map(way).collect::<Vec<_>>().join("; ")
}

fn names(keys: &[&ConfigKey]) -> String {
    keys.iter().map(|key| key.key.as_str()).collect::<Vec<_>>().join(" and ")
}

/// Asks for one value; nothing is an answer where the key may be left out. A secret is not shown while it is typed.
pub fn ask_one(tty: &mut Tty, key: &ConfigKey) -> anyhow::Result<Option<Given>> {
    let prompt = prompt(key);
    loop {
        let text = if key.secret { tty.secret(&prompt)? } else { tty.line(&prompt)? };
        match text.trim() {
            "" if key.required => tty.say(&format!("{} is needed.", key.key))?,
            "" => return Ok(None),
            secret if key.secret => return Ok(Some(Given::Typed(secret.to_owned()))),
            text => match section::plain(Some(key), text) {
                Ok(value) => return Ok(Some(Given::Plain(value))),
                Err(why) => tty.say(&why.to_string())?,
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

/// Keeps the secrets that were typed, each in a file that only its owner can read. Puts these files into `kept`.
pub fn keep_typed(
    home: &Home,
    place: &AccountPlace,
    values: &mut BTreeMap<String, Given>,
    kept: &mut Vec<PathBuf>,
) -> anyhow::Result<()> {
    let at = home.secrets();
    for (key, given) in values {
        let Given::Typed(secret) = given else { continue };
        let path = at.join(section::secret_name(&place.channel, &place.account, key));
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&at);
        made.with_context(|| format!("cannot make the folder {}", at.display()))?;
        file::write(&path, format!("{secret}\n").as_bytes(), Whose::Vestibules)?;
        *given =
            Given::File(path.to_str().with_context(|| format!("{} is no UTF-8", path.display()))?.to_owned());
        kept.push(path);
    }
    Ok(())
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
        let kept = Texts::from([("token".to_owned(), "in a file".to_owned())]);
        let texts =
            vec![("main".to_owned(), super::super::twins::texts_of(&section)), ("two".to_owned(), kept)];
        let others = Others { sections: vec![("main", &section)], texts };
        let (token, port) = (key("token", "", true), ConfigKey { secret: false, ..key("port", "", true) });
        let id = ConfigKey { key: "id".into(), ..port.clone() };
        let schema = Schema { keys: vec![token.clone(), port.clone(), id.clone()], open: false };
        let kind = Kind { schema: &schema, has_listeners: false, made_up: vec![] };
        let has = |key: &ConfigKey, name: &str, value: &str| others.have(&kind, key, name, value);
        let told = has(&token, "X_TOKEN", "secret").expect("it is another's");
        assert!(told.contains("the account main") && told.ends_with("--set token=env:X_TOKEN"), "{told}");
        assert!(has(&id, "X_ID", "7\n").is_some_and(|told| told.ends_with("--set id=7")));
        assert!(has(&port, "X_PORT", "7").is_some());
        let told = has(&token, "X_BOT_TOKEN", "in a file").expect("it is another's");
        assert!(told.contains("the account two has"), "{told}");
        for (key, name, value) in [(&token, "X_BOT_TOKEN", "secret"), (&id, "X_ID", "8")] {
            assert_eq!(has(key, name, value), None, "{name} {value}");
        }
        let alone = Schema { keys: vec![token.clone()], open: false };
        let kind = Kind { schema: &alone, has_listeners: false, made_up: vec![] };
        let told = others.have(&kind, &token, "X_TOKEN", "secret").expect("it is another's");
        assert!(told.ends_with("has that one"), "two bots cannot share it: {told}");
    }

    #[test]
    fn what_is_missing_can_be_given_in_two_ways() {
        let id = ConfigKey { secret: false, ..key("number_id", "", true) };
        let told = ways("x", &[&key("token", "", true), &id]);
        assert_eq!(
            told,
            "set X_TOKEN or give --set token=file:PATH; set X_NUMBER_ID or give --set number_id=VALUE"
        );
    }

    #[test]
    fn a_variable_that_is_nearly_right_is_named_and_its_value_is_not() {
        let schema =
            Schema { keys: vec![key("bot_token", "", true), key("app_token", "", false)], open: false };
        let mut whole = schema.clone();
        whole.keys.push(key("signing_secret", "", false));
        let none = BTreeMap::new();
        let with = |names: &[&str], values: &BTreeMap<String, Given>| {
            unread_of("slack", &schema, &whole, values, names.iter().copied()).unwrap_or_default()
        };
        let told = with(&["HOME", "SLACK_TOKEN", "TOKEN"], &none);
        assert_eq!(
            told,
            "SLACK_TOKEN is set in the environment and is not read: slack takes bot_token from SLACK_BOT_TOKEN, \
             app_token from SLACK_APP_TOKEN"
        );
        assert!(with(&["SLACK_XOXB", "SLACK_TOKEN"], &none).starts_with("SLACK_XOXB, SLACK_TOKEN are set"));
        assert!(with(&["SLAK_BOT_TOKEN"], &none).starts_with("SLAK_BOT_TOKEN is set"));
        for quiet in [
            &["SLACK_BOT_TOKEN"][..],
            &["SLACK_SIGNING_SECRET"],
            &["HOME", "PATH", "TOKEN", "GITHUB_TOKEN"],
            &[],
        ] {
            assert_eq!(with(quiet, &none), "", "{quiet:?}");
        }
        let all = ["bot_token", "app_token"].map(|key| (key.to_owned(), Given::Env("X".into())));
        assert_eq!(with(&["SLACK_TOKEN"], &BTreeMap::from(all)), "", "nothing is missing");
    }
}
