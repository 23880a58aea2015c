//! What an account needs beyond what every account of its channel must have: the channel says that. It is started with what is
//! there, and names in backticks the keys that it lacks.

use super::ask::ask_one;
use super::section::{self, Given};
use crate::cli::AccountPlace;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use vestibule_conform::Tryout;
use vestibule_plugin_api::{ConfigKey, Schema};
use vestibule_runtime::{Config, config, words};

/// Asks the person for what the channel says that the account lacks, and offers what else it may have.
pub struct Lacking<'a> {
    pub place: &'a AccountPlace,
    pub tryout: &'a Tryout,
    pub schema: &'a Schema,
    /// What was asked already, whatever the answer was.
    pub asked: BTreeSet<String>,
}

impl Lacking<'_> {
    pub async fn ask(&mut self, values: &mut BTreeMap<String, Given>) -> anyhow::Result<()> {
        self.ask_until_it_starts(values).await?;
        self.ask_for_the_challenge(values)?;
        let offered = offered(self.schema, values, &self.asked);
        if offered.is_empty() {
            return Ok(());
        }
        let chosen = choose(&offered)?;
        for key in &chosen {
            self.ask_one(key, values)?;
        }
        match chosen.is_empty() {
            true => Ok(()),
            false => self.ask_until_it_starts(values).await,
        }
    }

    async fn ask_until_it_starts(&mut self, values: &mut BTreeMap<String, Given>) -> anyhow::Result<()> {
        while candidates(self.schema, values, &self.asked).next().is_some() {
            let Some(settings) = settings(self.place, self.tryout, values) else { return Ok(()) };
            let Some(why) = self.tryout.lacks(&self.place.account, settings).await else { return Ok(()) };
            let named = named_in(&why, self.schema, values, &self.asked);
            if named.is_empty() {
                return Ok(());
            }
            println!("{}.", words::for_terminal(&why));
            // Often the first does: with it the channel may say something else.
            for key in named {
                if self.ask_one(key, values)? {
                    break;
                }
            }
        }
        Ok(())
    }

    /// The word by which a platform tries the address of webhooks, where there are some.
    fn ask_for_the_challenge(&mut self, values: &mut BTreeMap<String, Given>) -> anyhow::Result<()> {
        let manifest = self.tryout.manifest();
        let key = manifest.challenge.as_ref().and_then(|challenge| self.schema.key(&challenge.key));
        match key.filter(|key| !values.contains_key(&key.key) && !self.asked.contains(&key.key)) {
            Some(key) if values.contains_key(manifest.webhook_secret_key()) => {
                self.ask_one(key, values).map(drop)
            }
            _ => Ok(()),
        }
    }

    /// Whether the person gave it.
    fn ask_one(&mut self, key: &ConfigKey, values: &mut BTreeMap<String, Given>) -> anyhow::Result<bool> {
        self.asked.insert(key.key.clone());
        let given = ask_one(key)?;
        let is_given = given.is_some();
        values.extend(given.map(|given| (key.key.clone(), given)));
        Ok(is_given)
    }
}

/// The keys that may still be asked: those without which an account may do, and for which nothing else stands in.
fn candidates<'s>(
    schema: &'s Schema,
    values: &BTreeMap<String, Given>,
    asked: &BTreeSet<String>,
) -> impl Iterator<Item = &'s ConfigKey> {
    let is_open = |key: &&ConfigKey| {
        !values.contains_key(&key.key)
            && !asked.contains(&key.key)
            && key.default.is_none()
            && key.key != "listener"
    };
    schema.keys.iter().filter(is_open)
}

/// The keys that a channel's words name, as they come in them. Pure.
fn named_in<'s>(
    why: &str,
    schema: &'s Schema,
    values: &BTreeMap<String, Given>,
    asked: &BTreeSet<String>,
) -> Vec<&'s ConfigKey> {
    let open = candidates(schema, values, asked);
    let mut named: Vec<(usize, &ConfigKey)> =
        open.filter_map(|key| Some((why.find(&format!("`{}`", key.key))?, key))).collect();
    named.sort_by_key(|(at, _)| *at);
    named.into_iter().map(|(_, key)| key).collect()
}

/// The secrets that an account may have, and that it does not need as it is. Pure.
fn offered<'s>(
    schema: &'s Schema,
    values: &BTreeMap<String, Given>,
    asked: &BTreeSet<String>,
) -> Vec<&'s ConfigKey> {
    candidates(schema, values, asked).filter(|key| key.secret).collect()
}

/// Which of these the person wants to give.
fn choose<'s>(offered: &[&'s ConfigKey]) -> anyhow::Result<Vec<&'s ConfigKey>> {
    println!("It may have more:");
    for key in offered {
        println!("  {}", words::for_terminal(&format!("{}  {}", key.key, key.help)));
    }
    loop {
        print!("Names of what you want to give; Enter leaves all of it out: ");
        std::io::stdout().flush()?;
        let mut line = String::new();
        std::io::stdin().read_line(&mut line)?;
        match chosen(&line, offered) {
            Ok(chosen) => return Ok(chosen),
            Err(name) => println!("There is no {} among them.", words::for_terminal(&name)),
        }
    }
}

/// The keys of a line in which a person names some; else the name that is none. Pure.
fn chosen<'s>(line: &str, offered: &[&'s ConfigKey]) -> Result<Vec<&'s ConfigKey>, String> {
    let names = line.split([' ', ',', '\t', '\n', '\r']).filter(|name| !name.is_empty());
    let key = |name: &str| offered.iter().find(|key| key.key == name).copied().ok_or(name.to_owned());
    names.map(key).collect()
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
    fn what_a_channel_says_that_it_lacks_is_asked() {
        let schema = schema();
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        for (why, given, asked, want) in [
            (
                "set `signing_secret`, or `app_token`: no event comes",
                &[][..],
                &[][..],
                &["signing_secret", "app_token"][..],
            ),
            ("set `app_token` or `signing_secret`", &["app_token"], &[], &["signing_secret"]),
            ("set `app_token` or `signing_secret`", &[], &["app_token"], &["signing_secret"]),
            ("set all of `client_id` and `app_token`", &[], &[], &["client_id", "app_token"]),
            // What stands there anyway, or makes it another kind of account, is not asked.
            ("check `api_url`, or name a `listener`", &[], &[], &[]),
            ("set app_token", &[], &[], &[]),
        ] {
            let values = given.iter().map(|name| ((*name).to_owned(), Given::Env("X".into()))).collect();
            let found = named_in(why, &schema, &values, &set(asked));
            assert_eq!(found.iter().map(|key| key.key.as_str()).collect::<Vec<_>>(), want, "{why}");
        }
    }

    #[test]
    fn a_person_names_what_they_give() {
        let schema = schema();
        let offered = offered(&schema, &BTreeMap::new(), &BTreeSet::new());
        assert_eq!(
            offered.iter().map(|key| key.key.as_str()).collect::<Vec<_>>(),
            ["app_token", "signing_secret"]
        );
        for (line, want) in [
            ("\n", Ok(vec![])),
            ("signing_secret, app_token\r\n", Ok(vec!["signing_secret", "app_token"])),
            ("app_token client_id", Err("client_id".to_owned())),
        ] {
            let found = chosen(line, &offered);
            let names = found.map(|keys| keys.iter().map(|key| key.key.clone()).collect::<Vec<_>>());
            assert_eq!(names, want.map(|names| names.into_iter().map(str::to_owned).collect()), "{line}");
        }
    }
}
