//! What people and channels are called: asked of Slack, and remembered for a while.

use crate::api::{Api, Listed, Own};
use crate::words::{self, Everyone, Reference};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::time::timeout;
use vestibule_plugin_api::{MENTIONS_MAX, Mention};

/// How many names of each kind are remembered, and how long; what could not be asked is asked again sooner.
const NAMES_MAX: usize = 4_000;
const KEPT: Duration = Duration::from_secs(3_600);
const FAILED_KEPT: Duration = Duration::from_secs(60);
/// A name that takes longer is done without: Slack waits for its event to be acknowledged.
const PATIENCE: Duration = Duration::from_secs(2);
/// The most names that are asked for one message.
const ASKED_MAX: usize = 20;
/// A list of all people that takes longer is done without: then those are known who were met.
const LIST_PATIENCE: Duration = Duration::from_secs(15);

/// A person, or a program's account.
#[derive(Debug, Clone, PartialEq)]
pub struct Person {
    pub name: String,
    pub is_bot: bool,
}

/// The names that were asked.
pub struct Names {
    api: Api,
    /// The channel's own id and name.
    own: (String, String),
    signed_in: Own,
    /// The people who may be called by their names, and until when that is so.
    everyone: tokio::sync::Mutex<Option<(Instant, Arc<Everyone>)>>,
    people: Mutex<Cache<Person>>,
    channels: Mutex<Cache<String>>,
}

type Cache<T> = HashMap<String, (Instant, Option<T>)>;

impl Names {
    pub fn new(api: Api, signed_in: &Own) -> Names {
        let name = if signed_in.user.is_empty() { &signed_in.user_id } else { &signed_in.user };
        let own = (signed_in.user_id.clone(), name.clone());
        Names {
            api,
            own,
            signed_in: signed_in.clone(),
            everyone: tokio::sync::Mutex::default(),
            people: Mutex::default(),
            channels: Mutex::default(),
        }
    }

    /// A person; `None` if Slack does not say who it is.
    pub async fn person(&self, id: &str) -> Option<Person> {
        if id == self.own.0 {
            return Some(Person { name: self.own.1.clone(), is_bot: true });
        }
        if let Some(known) = known(&self.people, id) {
            return known;
        }
        let asked = timeout(PATIENCE, self.api.call("users.info", "", &[("user", id.to_owned())])).await;
        let found = found(asked).and_then(|answer| person_of(id, &answer));
        remember(&self.people, id, found.clone());
        found
    }

    /// A channel's name, without its sign.
    pub async fn channel(&self, id: &str) -> Option<String> {
        if let Some(known) = known(&self.channels, id) {
            return known;
        }
        let asked =
            timeout(PATIENCE, self.api.call("conversations.info", "", &[("channel", id.to_owned())])).await;
        let name = |answer: serde_json::Value| answer["channel"]["name"].as_str().map(str::to_owned);
        let found = found(asked).and_then(name).filter(|name| !name.is_empty());
        remember(&self.channels, id, found.clone());
        found
    }

    /// A channel is called this now.
    pub fn renamed(&self, id: &str, name: &str) {
        remember(&self.channels, id, Some(name.to_owned()));
    }

    /// The people whom a text names, with what they are called where Slack was asked.
    pub fn mentioned(&self, text: &str) -> Vec<Mention> {
        let name = |id: &str| match id == self.own.0 {
            true => Some(self.own.1.clone()),
            false => known(&self.people, id).flatten().map(|person| person.name),
        };
        let people = words::people(text).take(MENTIONS_MAX);
        people.map(|id| Mention { handle: id.to_owned(), name: name(id) }).collect()
    }

    /// An agent's text, with references in the place of names by which it calls people: Slack tells these people.
    pub async fn referenced(&self, text: String) -> String {
        let called = words::called(&text);
        if called.is_empty() {
            return text;
        }
        self.everyone().await.referenced(&text, &called)
    }

    /// The people of the workspace; where Slack does not list them, those who were met.
    async fn everyone(&self) -> Arc<Everyone> {
        let mut everyone = self.everyone.lock().await;
        if let Some((until, known)) = &*everyone
            && *until > Instant::now()
        {
            return known.clone();
        }
        let mut all: Vec<(String, String)> = Vec::new();
        let asked = self.api.list(&self.signed_in, ("users.list", "members"), &[], |user| {
            all.extend(called_so(&user, &self.own.0));
            true
        });
        let kept = kept(timeout(LIST_PATIENCE, asked).await.ok());
        let met = lock(&self.people);
        all.extend(
            met.iter().filter_map(|(id, (_, person))| Some((person.as_ref()?.name.clone(), id.clone()))),
        );
        drop(met);
        let known = Arc::new(Everyone::of(all));
        *everyone = Some((Instant::now() + kept, known.clone()));
        known
    }

    /// A text in words, with the names of whom it names.
    pub async fn words(&self, text: &str) -> String {
        for reference in words::references(text).into_iter().take(ASKED_MAX) {
            match reference {
                Reference::Person(id) => drop(self.person(id).await),
                Reference::Channel(id) => drop(self.channel(id).await),
            }
        }
        words::words(text, |reference| match reference {
            Reference::Person(id) if id == self.own.0 => Some(self.own.1.clone()),
            Reference::Person(id) => known(&self.people, id).flatten().map(|person| person.name),
            Reference::Channel(id) => known(&self.channels, id).flatten(),
        })
    }
}

/// How long the people are known whom a list named; `None`: it took too long. Where Slack has more than are looked through,
/// those who are known are as many as can be, and another look finds no others.
fn kept(listed: Option<vestibule_plugin_api::Result<Listed>>) -> Duration {
    match listed {
        Some(Ok(Listed::Enough | Listed::InPart)) => KEPT,
        Some(Err(error)) => {
            tracing::debug!(reason = error.reason(), "Slack does not list the people");
            FAILED_KEPT
        }
        None => FAILED_KEPT,
    }
}

/// The names by which a person of Slack's list may be called, each with their id. The bot itself is not called.
fn called_so(user: &serde_json::Value, own: &str) -> Vec<(String, String)> {
    let Some(id) = user["id"].as_str().filter(|id| *id != own && user["deleted"] != true) else {
        return vec![];
    };
    let profile = &user["profile"];
    let names = [&profile["display_name"], &profile["real_name"], &user["real_name"], &user["name"]];
    names.into_iter().filter_map(|name| Some((name.as_str()?.to_owned(), id.to_owned()))).collect()
}

/// The person in Slack's answer to `users.info`.
pub fn person_of(id: &str, answer: &serde_json::Value) -> Option<Person> {
    let (user, profile) = (&answer["user"], &answer["user"]["profile"]);
    let names = [&profile["display_name"], &profile["real_name"], &user["real_name"], &user["name"]];
    let name = names.into_iter().find_map(|name| name.as_str().filter(|name| !name.is_empty()))?;
    Some(Person { name: name.to_owned(), is_bot: user["is_bot"] == true || id == "USLACKBOT" })
}

fn lock<T>(cache: &Mutex<Cache<T>>) -> MutexGuard<'_, Cache<T>> {
    cache.lock().unwrap_or_else(PoisonError::into_inner)
}

fn known<T: Clone>(cache: &Mutex<Cache<T>>, id: &str) -> Option<Option<T>> {
    lock(cache).get(id).filter(|(until, _)| *until > Instant::now()).map(|(_, value)| value.clone())
}

fn remember<T>(cache: &Mutex<Cache<T>>, id: &str, value: Option<T>) {
    let mut cache = lock(cache);
    if cache.len() >= NAMES_MAX {
        cache.clear();
    }
    let kept = if value.is_some() { KEPT } else { FAILED_KEPT };
    cache.insert(id.to_owned(), (Instant::now() + kept, value));
}

fn found<E>(asked: Result<vestibule_plugin_api::Result<serde_json::Value>, E>) -> Option<serde_json::Value> {
    match asked {
        Ok(Ok(answer)) => Some(answer),
        Ok(Err(error)) => {
            tracing::debug!(reason = error.reason(), "Slack does not say a name");
            None
        }
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vestibule_plugin_api::PluginError;

    #[test]
    fn a_list_that_is_too_long_is_not_asked_for_each_minute() {
        for (listed, want) in [
            (Some(Ok(Listed::Enough)), KEPT),
            (Some(Ok(Listed::InPart)), KEPT),
            (Some(Err(PluginError::refused("the bot may not"))), FAILED_KEPT),
            (None, FAILED_KEPT),
        ] {
            assert_eq!(kept(listed.clone()), want, "{listed:?}");
        }
    }
}
