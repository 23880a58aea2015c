//! Accounts that would be one: the same bot twice, or an app that is heard twice. Secrets are compared, and never told. Pure.

use serde_json::Value;
use std::collections::BTreeMap;
use toml::Table;
use vestibule_plugin_api::{ConfigKey, Manifest, Schema};
use vestibule_runtime::config;

/// What an account's config says by key, its secrets read.
pub type Texts = BTreeMap<String, String>;

/// The texts of a section; a secret that cannot be read is left out.
pub fn texts_of(section: &Table) -> Texts {
    let one = |(key, value): (&String, &toml::Value)| {
        let alone = Table::from_iter([(key.clone(), value.clone())]);
        Some((key.clone(), text(config::resolve(&alone, &[]).ok()?.get(key)?)))
    };
    section.iter().filter_map(one).collect()
}

/// The same of what a plugin gets.
pub fn texts_of_settings(settings: &Value) -> Texts {
    settings.as_object().into_iter().flatten().map(|(key, value)| (key.clone(), text(value))).collect()
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), |text| text.trim().to_owned())
}

/// What two accounts of a channel may have in common.
pub struct Kind<'s> {
    pub schema: &'s Schema,
    /// Whether an account can leave it to another to hear.
    pub has_listeners: bool,
    /// The secrets that an operator makes up: two may be alike.
    pub made_up: Vec<String>,
}

impl<'s> Kind<'s> {
    pub fn of(manifest: &Manifest, schema: &'s Schema) -> Kind<'s> {
        let challenge = manifest.challenge.as_ref().map(|challenge| challenge.key.clone());
        Kind {
            schema,
            has_listeners: manifest.is_runtimes_key("listener"),
            made_up: challenge.into_iter().chain(["webhook_secret".to_owned()]).collect(),
        }
    }

    /// Whether two accounts may have the same value of a key, where others differ.
    pub fn may_share(&self, key: &ConfigKey) -> bool {
        let tells_alone = key.required && self.required().count() == 1;
        !key.secret || !tells_alone && !self.belongs_to_the_app(key)
    }

    fn required(&self) -> impl Iterator<Item = &'s ConfigKey> {
        self.schema.keys.iter().filter(|key| key.required)
    }

    fn is_made_up(&self, key: &str) -> bool {
        self.made_up.iter().any(|one| one == key)
    }

    /// Where some secrets are needed of each account, the others are the app's, by which it hears.
    fn belongs_to_the_app(&self, key: &ConfigKey) -> bool {
        let needs_a_secret = self.required().any(|key| key.secret);
        self.has_listeners && needs_a_secret && key.secret && !key.required && !self.is_made_up(&key.key)
    }

    /// Why a new account cannot have what it has, if another has it. Pure.
    pub fn fault(&self, new: &Texts, others: &[(String, Texts)]) -> Option<String> {
        others.iter().find_map(|(account, its)| {
            if let Some(keys) = self.same_bot(new, its) {
                return Some(format!(
                    "the account {account} has the same {keys}: two accounts of one bot would take each other's messages. \
                     Give this account its own"
                ));
            }
            let is_heard = !new.contains_key("listener");
            let mut keys = self.schema.keys.iter().filter(|key| is_heard && self.belongs_to_the_app(key));
            let key = &keys.find(|key| is_same(&key.key, new, its))?.key;
            Some(format!(
                "the account {account} has the same {key}, and one app is heard by one account: leave it out, and give --set \
                 listener={account} in its place"
            ))
        })
    }

    /// The keys by which two accounts are one.
    fn same_bot(&self, new: &Texts, its: &Texts) -> Option<String> {
        let mut keys: Vec<&ConfigKey> = self.required().collect();
        if !keys.iter().any(|key| key.secret) {
            // Any of several secrets says who it is; what both say decides.
            let both = |key: &&ConfigKey| new.contains_key(&key.key) && its.contains_key(&key.key);
            let tells = |key: &&ConfigKey| key.default.is_none() && !self.is_made_up(&key.key);
            keys = self.schema.keys.iter().filter(both).filter(tells).collect();
        }
        let is_one = keys.iter().any(|key| key.secret) && keys.iter().all(|key| is_same(&key.key, new, its));
        is_one.then(|| keys.iter().map(|key| key.key.as_str()).collect::<Vec<_>>().join(" and "))
    }
}

fn is_same(key: &str, new: &Texts, its: &Texts) -> bool {
    new.get(key).is_some_and(|text| its.get(key) == Some(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use vestibule_plugin_api::KeyType;

    fn schema(keys: &[(&str, bool, bool)]) -> Schema {
        let key = |(key, required, secret): &(&str, bool, bool)| ConfigKey {
            key: (*key).into(),
            kind: KeyType::String,
            required: *required,
            secret: *secret,
            default: None,
            help: String::new(),
        };
        Schema { keys: keys.iter().map(key).collect(), open: false }
    }

    fn texts(words: &str) -> Texts {
        let pairs = words.split_whitespace().filter_map(|word| word.split_once('='));
        pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    #[test]
    fn accounts_that_would_be_one_are_told_apart_from_those_that_share() {
        let slack =
            schema(&[("bot_token", true, true), ("app_token", false, true), ("signing_secret", false, true)]);
        let whatsapp = schema(&[
            ("access_token", true, true),
            ("phone_number_id", true, false),
            ("app_secret", false, true),
            ("verify_token", false, true),
        ]);
        let github = schema(&[
            ("webhook_secret", false, true),
            ("token", false, true),
            ("private_key", false, true),
            ("app_id", false, false),
            ("installation_id", false, false),
        ]);
        for (schema, main, new, want) in [
            (&slack, "bot_token=a app_token=x", "bot_token=a app_token=x", Some("same bot_token:")),
            (&slack, "bot_token=a app_token=x", "bot_token=a listener=main", Some("same bot_token:")),
            (&slack, "bot_token=a app_token=x", "bot_token=b app_token=x", Some("--set listener=main")),
            (&slack, "bot_token=a signing_secret=x", "bot_token=b signing_secret=x", Some("listener=main")),
            (&slack, "bot_token=a app_token=x", "bot_token=b listener=main", None),
            (&slack, "bot_token=a app_token=x", "bot_token=b app_token=y", None),
            (&slack, "app_token=x", "bot_token=b", None),
            (
                &whatsapp,
                "access_token=t phone_number_id=1",
                "access_token=t phone_number_id=1",
                Some("and phone"),
            ),
            (&whatsapp, "access_token=t phone_number_id=1", "access_token=t phone_number_id=2", None),
            (
                &whatsapp,
                "access_token=t phone_number_id=1 verify_token=v",
                "access_token=t phone_number_id=2 verify_token=v",
                None,
            ),
            (
                &whatsapp,
                "access_token=t phone_number_id=1 app_secret=s",
                "access_token=t phone_number_id=2 app_secret=s",
                Some("the same app_secret"),
            ),
            (&github, "webhook_secret=w token=t", "webhook_secret=v token=t", Some("same token:")),
            (&github, "webhook_secret=w token=t", "webhook_secret=w token=u", None),
            (&github, "webhook_secret=w token=t", "webhook_secret=w private_key=p app_id=1", None),
            (
                &github,
                "private_key=p app_id=1 installation_id=1",
                "private_key=p app_id=1 installation_id=2",
                None,
            ),
            (&github, "private_key=p app_id=1", "private_key=p app_id=1", Some("private_key and app_id")),
        ] {
            let made_up = ["webhook_secret", "verify_token"].map(str::to_owned).to_vec();
            let kind = Kind { schema, has_listeners: true, made_up };
            let told = kind.fault(&texts(new), &[("main".into(), texts(main))]);
            match (&told, want) {
                (Some(told), Some(want)) => {
                    assert!(told.contains(want) && told.contains("account main"), "{told}")
                }
                (found, want) => assert_eq!(found.as_deref(), want, "{main} and {new}"),
            }
        }
    }

    #[test]
    fn a_secret_is_the_same_wherever_it_is_kept() {
        let folder = tempfile::tempdir().expect("it is made");
        let file = folder.path().join("token");
        std::fs::write(&file, "xoxb-1\n").expect("it is written");
        let section =
            format!("bot_token = {{ file = {file:?} }}\nport = 7\nlost = {{ env = \"NOT_SET_ANYWHERE\" }}");
        let found = texts_of(&toml::from_str(&section).expect("it is TOML"));
        assert_eq!(found, texts("bot_token=xoxb-1 port=7"));
        assert_eq!(texts_of_settings(&serde_json::json!({ "bot_token": "xoxb-1", "port": 7 })), found);
    }
}
