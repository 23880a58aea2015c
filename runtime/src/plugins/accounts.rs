//! The accounts of a plugin: started with their config, and started again while their platform
//! cannot be reached.

use super::link::{CallError, Link};
use crate::config;
use crate::delivery;
use crate::house::House;
use std::sync::Arc;
use std::time::Duration;
use vestibule_plugin_api::{ACCOUNT_MAIN, PluginError, PluginKind};

/// The first wait before an account is started again; it doubles up to the last.
const RESTART_FIRST: Duration = Duration::from_secs(1);
const RESTART_LAST: Duration = Duration::from_secs(60);

/// How an account is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccountState {
    /// It is being started.
    Connecting,
    /// It takes and delivers messages.
    Live,
    /// Its platform could not be reached; it is tried again.
    Waiting(String),
    /// Somebody must mend something first.
    Broken(String),
    /// It is being stopped. What it still hands over is taken.
    Stopping,
}

/// Starts every account of a plugin that the config names. A plugin without secrets needs no
/// config: it is started as `main`, as a module is, with `[modules.NAME]`.
pub fn start_accounts(house: &Arc<House>, link: &Arc<Link>) {
    let channel = &link.manifest.channel_type;
    if link.manifest.kind == PluginKind::Module {
        let section = house.config.modules.get(&link.manifest.name).cloned().unwrap_or_default();
        return start_one(house, link, ACCOUNT_MAIN.to_owned(), section);
    }
    let mut sections: Vec<(String, toml::Table)> = house
        .config
        .channels
        .iter()
        .filter(|((of, _), _)| of == channel)
        .map(|((_, account), section)| (account.clone(), section.clone()))
        .collect();
    if sections.is_empty() && link.manifest.secrets.is_empty() {
        sections.push((ACCOUNT_MAIN.to_owned(), toml::Table::new()));
    }
    for (account, section) in sections {
        start_one(house, link, account, section);
    }
}

fn start_one(house: &Arc<House>, link: &Arc<Link>, account: String, section: toml::Table) {
    let mut states = link.accounts();
    if states.get(&account) == Some(&AccountState::Stopping) {
        return; // the plugin is being taken out
    }
    states.insert(account.clone(), AccountState::Connecting);
    drop(states);
    tokio::spawn(keep_started(house.clone(), link.clone(), account, section));
}

async fn keep_started(house: Arc<House>, link: Arc<Link>, account: String, section: toml::Table) {
    let channel = link.manifest.channel_type.clone();
    let generation = link.generation();
    let mut wait = RESTART_FIRST;
    loop {
        let (state, again) = match start(&link, &account, &section).await {
            Ok(()) => (AccountState::Live, false),
            Err(CallError::Plugin(PluginError::Retry { reason, .. })) => {
                (AccountState::Waiting(reason), true)
            }
            Err(CallError::Late) => (AccountState::Waiting(CallError::Late.to_string()), true),
            Err(error) => (AccountState::Broken(error.to_string()), false),
        };
        if link.generation() != generation {
            return; // the plugin's process ended meanwhile; its next one starts the account
        }
        let module = &link.manifest.name;
        match &state {
            AccountState::Live if link.manifest.kind == PluginKind::Module => {
                tracing::info!(module, "module is live");
            }
            AccountState::Waiting(why) if channel.is_empty() => {
                tracing::warn!(module, %why, "module cannot start yet");
            }
            AccountState::Broken(why) if channel.is_empty() => {
                tracing::error!(module, %why, "module was not started");
            }
            AccountState::Live => tracing::info!(channel, account, "channel is live"),
            AccountState::Waiting(why) => tracing::warn!(channel, account, %why, "channel cannot start yet"),
            AccountState::Broken(why) => tracing::error!(channel, account, %why, "channel was not started"),
            AccountState::Connecting | AccountState::Stopping => {}
        }
        let live = state == AccountState::Live;
        match link.accounts().get_mut(&account) {
            Some(AccountState::Stopping) | None => return, // the plugin was taken out meanwhile
            Some(entry) => *entry = state,
        }
        if live && let Err(error) = delivery::adapter_is_live(&house, &link, account.clone()).await {
            tracing::error!(%error, "what waited for the channel could not be woken");
        }
        if !again {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(wait) => wait = (wait * 2).min(RESTART_LAST),
            () = house.stopping() => return,
        }
    }
}

async fn start(link: &Link, account: &str, section: &toml::Table) -> Result<(), CallError> {
    let config = config::resolve(section, &link.manifest.secrets)
        .map_err(|why| CallError::Plugin(PluginError::broken(why)))?;
    link.start_account(account, config).await
}

/// The plugin's process is gone: no account of it can be called, and each says why.
pub fn pause(link: &Link, state: AccountState) {
    link.next_generation();
    for entry in link.accounts().values_mut().filter(|entry| **entry != AccountState::Stopping) {
        *entry = state.clone();
    }
}

/// Stops every account of a plugin, then the plugin.
pub async fn stop(link: &Arc<Link>) {
    let mut accounts = Vec::new();
    for (account, state) in link.accounts().iter_mut() {
        accounts.push((account.clone(), std::mem::replace(state, AccountState::Stopping)));
    }
    for (account, state) in accounts {
        if state == AccountState::Live
            && let Err(error) = link.stop_account(&account).await
        {
            tracing::warn!(plugin = link.manifest.name, account, %error, "an account did not stop as asked");
        }
    }
    link.shutdown().await;
}

/// Stops every plugin.
pub async fn stop_all(house: &House) {
    for link in house.registry.all() {
        house.registry.remove(&link);
        stop(&link).await;
    }
}
