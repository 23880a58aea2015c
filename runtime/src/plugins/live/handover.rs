//! From one instance of a plugin to the next: nothing is lost or doubled, and a next one that does
//! not come to life changes nothing.

use super::accounts::{self, AccountState, DRAIN_PATIENCE};
use super::link::{CallError, Link};
use crate::plugins::process::ProcessState;
use crate::plugins::{LoadCode, LoadError, Plugins};
use std::collections::BTreeMap;
use std::sync::Arc;
use vestibule_plugin_api::Handover;

/// Lets `new` take the place of `old`. With `stop_first` the old one's accounts are stopped before
/// the new one's are started, with `overlap` afterwards.
///
/// # Errors
/// The sentence after "Plugin FILE was not loaded:". Then `new` is gone and `old` runs as before.
pub async fn hand_over(plugins: &Arc<Plugins>, old: &Arc<Link>, new: &Arc<Link>) -> Result<(), LoadError> {
    let live: Vec<String> = {
        let accounts = old.accounts();
        accounts
            .iter()
            .filter(|(_, state)| **state == AccountState::Live)
            .map(|(name, _)| name.clone())
            .collect()
    };
    let overlap = new.manifest.handover == Handover::Overlap;
    if !overlap {
        accounts::halt(old, DRAIN_PATIENCE).await;
    }
    let tried = accounts::trial(plugins, new).await;
    let ended = match new.tier.process_state() {
        Some(ProcessState::Restarting(why) | ProcessState::Quarantined(why)) => Some(why),
        Some(ProcessState::Running) | None => None,
    };
    let swapped = match broken(&new.manifest.name, &live, &tried, ended.as_deref()) {
        // A file that has become another channel has no account in common with its predecessor.
        Some(why) if old.manifest.channel_type == new.manifest.channel_type => Err(why),
        _ => plugins.registry.exchange(old, new),
    };
    if let Err(why) = swapped {
        accounts::stop(new, DRAIN_PATIENCE).await;
        if !overlap {
            accounts::resume(plugins, old);
        }
        return Err(why);
    }
    accounts::settle(plugins, new, tried).await;
    if overlap {
        accounts::halt(old, DRAIN_PATIENCE).await;
    }
    old.shutdown().await;
    Ok(())
}

/// Why the next instance cannot take over, if it cannot: every account that was live must be live again, if the config
/// still has it.
fn broken(
    name: &str,
    live: &[String],
    tried: &BTreeMap<String, Result<(), CallError>>,
    ended: Option<&str>,
) -> Option<LoadError> {
    let why = live.iter().find_map(|account| match (tried.get(account), ended) {
        (None, _) | (Some(Ok(())), None) => None,
        (Some(Ok(()) | Err(CallError::Cancelled)), Some(why)) => Some((account, why.to_owned())),
        (Some(Err(error)), _) => Some((account, error.to_string())),
    });
    why.map(|(account, why)| {
        let words = format!(
            "its account {account} did not start: {why}. What ran before runs on; once that is mended, copy the file again \
             or run `vestibule plugin reload {name}`."
        );
        LoadError::new(LoadCode::Start, words)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_live_must_be_live() {
        let tried = |outcome| BTreeMap::from([("main".to_owned(), outcome)]);
        let live = ["main".to_owned()];
        assert_eq!(broken("x", &live, &tried(Ok(())), None), None);
        assert_eq!(
            broken("x", &[], &tried(Err(CallError::Late)), None),
            None,
            "it was not live before either"
        );
        for (outcome, ended, words) in [
            (Err(CallError::Late), None, "did not answer in time"),
            (Err(CallError::Panicked("oh".into())), None, "panicked: oh"),
            (Ok(()), Some("it crashed (SIGABRT)"), "it crashed (SIGABRT)"),
            (Err(CallError::Cancelled), Some("it crashed (SIGABRT)"), "it crashed (SIGABRT)"),
        ] {
            let why = broken("x", &live, &tried(outcome), ended).expect(words);
            assert!(why.words.contains(words) && why.code == LoadCode::Start, "{why}");
        }
        assert_eq!(broken("x", &live, &BTreeMap::new(), None), None, "the config has it no more");
    }
}
