//! What an account needs beyond what every account of its channel must have: the channel says that. It is started with what is
//! there, and names in backticks the keys that it lacks.

use super::ask::{ask_one, ways};
use super::check::patiently;
use super::section::{self, Given};
use super::tty::Tty;
use super::twins::{Kind, Texts, texts_of_settings};
use crate::cli::AccountPlace;
use anyhow::{anyhow, bail};
use std::collections::{BTreeMap, BTreeSet};
use vestibule_conform::Tryout;
use vestibule_plugin_api::{ConfigKey, Schema};
use vestibule_runtime::{Config, config, words};

/// How often something is asked again that the channel refused, or cannot do without.
const AGAIN_MAX: usize = 3;

/// Asks the person for what the channel says that the account lacks, and offers what else it may have.
pub struct Lacking<'a> {
    pub place: &'a AccountPlace,
    pub tryout: &'a Tryout,
    pub schema: &'a Schema,
    /// What the other accounts of the channel have.
    pub others: &'a [(String, Texts)],
    pub for_a_program: bool,
    /// What was asked already, whatever the answer was.
    pub asked: BTreeSet<String>,
}

impl Lacking<'_> {
    pub async fn ask(&mut self, tty: &mut Tty, values: &mut BTreeMap<String, Given>) -> anyhow::Result<()> {
        self.ask_until_it_starts(tty, values).await?;
        self.ask_for_the_challenge(tty, values)?;
        let offered = offered(self.schema, values, &self.asked);
        if offered.is_empty() {
            return Ok(());
        }
        let chosen = choose(tty, &offered)?;
        for key in &chosen {
            self.ask_one(tty, key, values)?;
        }
        match chosen.is_empty() {
            true => Ok(()),
            false => self.ask_until_it_starts(tty, values).await,
        }
    }

    /// # Errors
    /// It has what another account has, or cannot start for want of a key. Says how that is given.
    pub async fn refuse_what_lacks(&self, values: &BTreeMap<String, Given>) -> anyhow::Result<()> {
        let Some(why) = self.fault(values).await? else { return Ok(()) };
        let missing = named_in(&why, self.schema, |key| !values.contains_key(&key.key) && may_be_asked(key));
        match missing.is_empty() {
            true => Ok(()), // The trial at the end tells.
            false => bail!("{why}: {}", ways(&self.place.channel, &missing)),
        }
    }

    /// What the channel says of these values, with which the account can never start.
    ///
    /// # Errors
    /// Another account has the same.
    async fn fault(&self, values: &BTreeMap<String, Given>) -> anyhow::Result<Option<String>> {
        let Some(settings) = settings(self.place, self.tryout, values) else { return Ok(None) };
        let kind = Kind::of(self.tryout.manifest(), self.schema);
        if let Some(why) = kind.fault(&texts_of_settings(&settings), self.others) {
            return Err(anyhow!(why));
        }
        let lacks = self.tryout.lacks(&self.place.account, settings);
        Ok(patiently(&self.place.channel, self.for_a_program, lacks).await)
    }

    async fn ask_until_it_starts(
        &mut self,
        tty: &mut Tty,
        values: &mut BTreeMap<String, Given>,
    ) -> anyhow::Result<()> {
        let mut again = 0;
        while let Some(why) = self.fault(values).await? {
            let next = next(&why, self.schema, values, &self.asked);
            match &next {
                Next::Ask(_) => tty.say(&format!("More is needed: {}.", words::for_terminal(&why)))?,
                Next::AskAgain(_) | Next::MendAgain(_) if again < AGAIN_MAX => {
                    tty.say(&format!("That does not do: {}.", words::for_terminal(&why)))?;
                    again += 1;
                }
                _ => bail!(why),
            }
            let (keys, is_one_enough) = match next {
                // Often the first does: with it the channel may say something else.
                Next::Ask(keys) | Next::AskAgain(keys) => (keys, true),
                Next::MendAgain(keys) => (keys, false),
                Next::Nothing => (vec![], false),
            };
            for key in keys {
                values.remove(&key.key);
                if self.ask_one(tty, key, values)? && is_one_enough {
                    break;
                }
            }
        }
        Ok(())
    }

    /// The word by which a platform tries the address of webhooks, where there are some.
    fn ask_for_the_challenge(
        &mut self,
        tty: &mut Tty,
        values: &mut BTreeMap<String, Given>,
    ) -> anyhow::Result<()> {
        let manifest = self.tryout.manifest();
        let key = manifest.challenge.as_ref().and_then(|challenge| self.schema.key(&challenge.key));
        match key.filter(|key| !values.contains_key(&key.key) && !self.asked.contains(&key.key)) {
            Some(key) if values.contains_key(manifest.webhook_secret_key()) => {
                self.ask_one(tty, key, values).map(drop)
            }
            _ => Ok(()),
        }
    }

    /// Whether the person gave it.
    fn ask_one(
        &mut self,
        tty: &mut Tty,
        key: &ConfigKey,
        values: &mut BTreeMap<String, Given>,
    ) -> anyhow::Result<bool> {
        self.asked.insert(key.key.clone());
        let given = ask_one(tty, key)?;
        let is_given = given.is_some();
        values.extend(given.map(|given| (key.key.clone(), given)));
        Ok(is_given)
    }
}

/// What is asked next because of what a channel says.
#[derive(Debug)]
enum Next<'s> {
    /// What was not asked yet; one of it may do.
    Ask(Vec<&'s ConfigKey>),
    /// What was left out, and is needed after all; one of it may do.
    AskAgain(Vec<&'s ConfigKey>),
    /// What the person gave, and the channel refuses.
    MendAgain(Vec<&'s ConfigKey>),
    /// The words name nothing that a person was asked.
    Nothing,
}

/// What is asked next because of these words. Pure.
fn next<'s>(
    why: &str,
    schema: &'s Schema,
    values: &BTreeMap<String, Given>,
    asked: &BTreeSet<String>,
) -> Next<'s> {
    let (is_given, was_asked) =
        (|key: &ConfigKey| values.contains_key(&key.key), |key: &ConfigKey| asked.contains(&key.key));
    let open = named_in(why, schema, |key| !is_given(key) && !was_asked(key) && may_be_asked(key));
    if !open.is_empty() {
        return Next::Ask(open);
    }
    let left_out = named_in(why, schema, |key| !is_given(key) && was_asked(key));
    if !left_out.is_empty() {
        return Next::AskAgain(left_out);
    }
    match named_in(why, schema, |key| is_given(key) && was_asked(key)) {
        refused if refused.is_empty() => Next::Nothing,
        refused => Next::MendAgain(refused),
    }
}

/// Whether a key may be missing at all: no default stands in for it, and it makes the account no other kind.
fn may_be_asked(key: &ConfigKey) -> bool {
    key.default.is_none() && key.key != "listener"
}

/// The keys of this sort that a channel's words name, as they come in them. Pure.
fn named_in<'s>(why: &str, schema: &'s Schema, is_meant: impl Fn(&ConfigKey) -> bool) -> Vec<&'s ConfigKey> {
    let named = |key: &'s ConfigKey| Some((why.find(&format!("`{}`", key.key))?, key));
    let mut named: Vec<(usize, &ConfigKey)> =
        schema.keys.iter().filter(|key| is_meant(key)).filter_map(named).collect();
    named.sort_by_key(|(at, _)| *at);
    named.into_iter().map(|(_, key)| key).collect()
}

/// The secrets that an account may have, and that it does not need as it is. Pure.
fn offered<'s>(
    schema: &'s Schema,
    values: &BTreeMap<String, Given>,
    asked: &BTreeSet<String>,
) -> Vec<&'s ConfigKey> {
    let is_open = |key: &&ConfigKey| {
        key.secret && !values.contains_key(&key.key) && !asked.contains(&key.key) && may_be_asked(key)
    };
    schema.keys.iter().filter(is_open).collect()
}

/// Which of these the person wants to give. A secret is easily pasted here: what is typed is neither shown nor repeated.
fn choose<'s>(tty: &mut Tty, offered: &[&'s ConfigKey]) -> anyhow::Result<Vec<&'s ConfigKey>> {
    tty.say("It may have more:")?;
    for (number, key) in offered.iter().enumerate() {
        tty.say(&words::for_terminal(&format!("  {}  {}  {}", number + 1, key.key, key.help)))?;
    }
    loop {
        let line = tty.secret(
            "Numbers of what you want to give, which are not shown while you type; Enter leaves all of it out: ",
        )?;
        match chosen(&line, offered) {
            Some(chosen) => return Ok(chosen),
            None => tty.say(&format!("Those are no numbers from 1 to {}.", offered.len()))?,
        }
    }
}

/// The keys of a line in which a person gives their numbers, or their names. Pure.
fn chosen<'s>(line: &str, offered: &[&'s ConfigKey]) -> Option<Vec<&'s ConfigKey>> {
    let words = line.split([' ', ',', '\t', '\n', '\r']).filter(|word| !word.is_empty());
    let by_number = |word: &str| offered.get(word.parse::<usize>().ok()?.checked_sub(1)?).copied();
    let by_name = |word: &str| offered.iter().find(|key| key.key == word).copied();
    words.map(|word| by_number(word).or_else(|| by_name(word))).collect()
}

/// The account's config as the channel gets it, what was typed included; `None` where a value cannot be read, of which the trial
/// at the end tells.
fn settings(
    place: &AccountPlace,
    tryout: &Tryout,
    values: &BTreeMap<String, Given>,
) -> Option<serde_json::Value> {
    let (typed, kept): (BTreeMap<_, _>, BTreeMap<_, _>) =
        values.clone().into_iter().partition(|(_, given)| matches!(given, Given::Typed(_)));
    let name = (place.channel.clone(), place.account.clone());
    let text = section::added("", (&name.0, &name.1), &kept).ok()?;
    let config = Config::parse(&text).ok()?;
    let mut settings = config::resolve(config.channels.get(&name)?, &tryout.manifest().secrets).ok()?;
    for (key, given) in typed {
        if let Given::Typed(secret) = given {
            settings[key] = secret.into();
        }
    }
    Some(settings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use vestibule_plugin_api::KeyType;

    fn schema() -> Schema {
        let key = |key: &str, secret: bool, default: Option<&str>| ConfigKey {
            key: key.into(),
            kind: KeyType::String,
            required: false,
            secret,
            default: default.map(Into::into),
            help: String::new(),
        };
        let keys = vec![
            key("app_token", true, None),
            key("signing_secret", true, None),
            key("client_id", false, None),
            key("api_url", false, Some("https://x")),
            key("listener", false, None),
        ];
        Schema { keys, open: false }
    }

    #[test]
    fn what_a_channel_says_is_asked_once_and_again() {
        let schema = schema();
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        for (why, given, asked, want) in [
            (
                "set `signing_secret`, or `app_token`: no event comes",
                &[][..],
                &[][..],
                "Ask signing_secret app_token",
            ),
            ("set `app_token` or `signing_secret`", &["app_token"], &["app_token"], "Ask signing_secret"),
            ("set `app_token` or `signing_secret`", &[], &["app_token"], "Ask signing_secret"),
            ("set all of `client_id` and `app_token`", &[], &[], "Ask client_id app_token"),
            // One of several is needed, and all were left out.
            (
                "set `app_token` or `signing_secret`",
                &[],
                &["app_token", "signing_secret"],
                "AskAgain app_token signing_secret",
            ),
            // What was typed is refused; what was not asked is not the person's to type again.
            ("refused: copy `app_token` again", &["app_token"], &["app_token"], "MendAgain app_token"),
            ("refused: copy `app_token` again", &["app_token"], &[], "Nothing"),
            // What stands there anyway, or makes it another kind of account, is not asked.
            ("check `api_url`, or name a `listener`", &[], &[], "Nothing"),
            ("set app_token", &[], &[], "Nothing"),
        ] {
            let values = given.iter().map(|name| ((*name).to_owned(), Given::Env("X".into()))).collect();
            let (what, keys) = match next(why, &schema, &values, &set(asked)) {
                Next::Ask(keys) => ("Ask", keys),
                Next::AskAgain(keys) => ("AskAgain", keys),
                Next::MendAgain(keys) => ("MendAgain", keys),
                Next::Nothing => ("Nothing", vec![]),
            };
            let found: Vec<&str> =
                [what].into_iter().chain(keys.iter().map(|key| key.key.as_str())).collect();
            assert_eq!(found.join(" "), want, "{why}");
        }
    }

    #[test]
    fn a_person_gives_numbers_or_names() {
        let schema = schema();
        let offered = offered(&schema, &BTreeMap::new(), &BTreeSet::new());
        assert_eq!(
            offered.iter().map(|key| key.key.as_str()).collect::<Vec<_>>(),
            ["app_token", "signing_secret"]
        );
        for (line, want) in [
            ("\n", Some(&[][..])),
            ("2, 1\r\n", Some(&["signing_secret", "app_token"])),
            ("signing_secret 1", Some(&["signing_secret", "app_token"])),
            ("app_token client_id", None),
            ("0", None),
            ("3", None),
            ("xoxb-secret", None),
        ] {
            let found = chosen(line, &offered);
            let names = found.map(|keys| keys.iter().map(|key| key.key.clone()).collect::<Vec<_>>());
            assert_eq!(
                names,
                want.map(|names| names.iter().map(|name| (*name).to_owned()).collect()),
                "{line}"
            );
        }
    }
}
