//! The accounts of one listener, and which of them an event is for.

use super::handle::Runtime;
use crate::{PluginError, Result};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What a plugin keeps of each account that is started, by what its platform calls it: a workspace, a number, an
/// installation. A static of the plugin. Each account joins when it is started and leaves when it is stopped; the account
/// that listens finds the one that an event belongs to:
///
/// ```ignore
/// static TEAMS: Siblings<Arc<Inbox>> = Siblings::new();
///
/// TEAMS.join(&runtime, team, inbox.clone())?;         // in `start`
/// match TEAMS.find(&self.runtime, &event.team) {      // in `webhook`, of the account that listens
///     Sibling::Here { kept: inbox, runtime } => inbox.take(event, runtime).await,
///     Sibling::Away => Err(PluginError::retry("its account is not started")),
///     Sibling::Unknown => self.runtime.ignored(unknown(event)).await,
/// }
/// TEAMS.leave(&self.runtime);                         // in `stop`
/// ```
pub struct Siblings<T>(Mutex<BTreeMap<(String, String), Entry<T>>>);

/// An account, and what is kept of it while it is started.
struct Entry<T> {
    account: String,
    kept: Option<T>,
}

/// Whose an event is.
pub enum Sibling<T> {
    /// An account that is started.
    Here {
        /// What is kept of it.
        kept: T,
        /// The runtime, to which the listener hands over for this account.
        runtime: Runtime,
    },
    /// An account that is not started, as far as can be told: one of this listener's is not, and may be the one. The
    /// platform should send the event again.
    Away,
    /// No account of this listener.
    Unknown,
}

/// The account that hears for this one.
fn listener(runtime: &Runtime) -> &str {
    runtime.listener().unwrap_or_else(|| runtime.account())
}

impl<T: Clone> Siblings<T> {
    /// No accounts yet.
    #[allow(clippy::new_without_default, reason = "it is a static's initialiser")]
    pub const fn new() -> Siblings<T> {
        Siblings(Mutex::new(BTreeMap::new()))
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<(String, String), Entry<T>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An account is started: what its platform calls it, and what is kept of it.
    ///
    /// # Errors
    /// [`PluginError::Broken`]: another account that is started is the same one on the platform.
    pub fn join(&self, runtime: &Runtime, id: impl Into<String>, kept: T) -> Result<()> {
        let key = (listener(runtime).to_owned(), id.into());
        let mut entries = self.entries();
        if let Some(Entry { account, kept: Some(_) }) = entries.get(&key)
            && account != runtime.account()
        {
            return Err(PluginError::broken(format!(
                "the account `{account}` is the same one on the platform; take one of the two out"
            )));
        }
        entries.retain(|_, entry| entry.account != runtime.account());
        entries.insert(key, Entry { account: runtime.account().to_owned(), kept: Some(kept) });
        Ok(())
    }

    /// An account is stopped. Its events are to come again.
    pub fn leave(&self, runtime: &Runtime) {
        for entry in self.entries().values_mut().filter(|entry| entry.account == runtime.account()) {
            entry.kept = None;
        }
    }

    /// The account that the platform calls so, of those for which this one listens.
    pub fn find(&self, runtime: &Runtime, id: &str) -> Sibling<T> {
        let entries = self.entries();
        match entries.get(&(runtime.account().to_owned(), id.to_owned())) {
            Some(Entry { account, kept: Some(kept) }) => {
                Sibling::Here { kept: kept.clone(), runtime: runtime.on_behalf_of(account) }
            }
            Some(_) => Sibling::Away,
            None => {
                let is_here = |name: &String| {
                    entries.values().any(|entry| entry.account == *name && entry.kept.is_some())
                };
                match runtime.siblings().iter().all(is_here) {
                    true => Sibling::Unknown,
                    false => Sibling::Away,
                }
            }
        }
    }
}

#[cfg(all(test, feature = "testing"))]
mod tests {
    use super::*;
    use crate::testing::ScriptedRuntime;

    #[test]
    fn whose_an_event_is() {
        let scripted = ScriptedRuntime::new();
        let teams: Siblings<u8> = Siblings::new();
        let main = scripted.listening("main", &["a", "b"]);
        let [a, b] = ["a", "b"].map(|account| scripted.heard_by(account, "main"));
        let found = |runtime: &Runtime, id: &str| match teams.find(runtime, id) {
            Sibling::Here { kept, runtime } => format!("{} {kept}", runtime.account()),
            Sibling::Away => "away".to_owned(),
            Sibling::Unknown => "unknown".to_owned(),
        };
        teams.join(&main, "T0", 0).expect("it joins");
        teams.join(&a, "T1", 1).expect("it joins");
        assert_eq!((found(&main, "T0").as_str(), found(&main, "T1").as_str()), ("main 0", "a 1"));
        assert_eq!(found(&main, "T2"), "away", "it may be the one that is not started");
        assert!(teams.join(&b, "T1", 2).is_err(), "another account is that one");
        teams.join(&b, "T2", 2).expect("it joins");
        assert_eq!((found(&main, "T2").as_str(), found(&main, "T3").as_str()), ("b 2", "unknown"));
        teams.leave(&b);
        assert_eq!((found(&main, "T2").as_str(), found(&main, "T3").as_str()), ("away", "away"));
        teams.join(&b, "T3", 3).expect("it is another one now");
        assert_eq!((found(&main, "T2").as_str(), found(&main, "T3").as_str()), ("unknown", "b 3"));
        let other = scripted.runtime("other");
        assert_eq!(found(&other, "T1"), "unknown", "it is of another listener");
    }
}
