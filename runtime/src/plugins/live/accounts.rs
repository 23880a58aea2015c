//! The accounts of a plugin: started with their config, and started again, with back-off, while they are not live:
//! one answer of a platform is never final.

use super::link::{CallError, Link};
use super::siblings;
use crate::config::{Config, nearest};
use crate::plugins::file::describe;
use crate::plugins::file::fit;
use crate::plugins::{LoadCode, LoadError, Plugins};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use vestibule_plugin_api::{ACCOUNT_MAIN, Capability, Health, Manifest, PluginError, PluginKind};

/// Where an account of a plugin stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccountState {
    /// It is being started.
    Connecting,
    /// It takes and delivers messages.
    Live,
    /// Its platform could not be reached; it is tried again.
    Waiting(String),
    /// Its operator must mend something first. It is tried again all the same.
    Broken(String),
    /// It is being stopped. The messages it still hands over are taken.
    Stopping,
}

/// How long the calls under way are waited for, before an account is stopped.
pub const DRAIN_PATIENCE: Duration = Duration::from_secs(10);
/// How long the start of a replacement's account is tried again, and how long between two tries.
const LET_GO_PATIENCE: Duration = Duration::from_secs(2);
const LET_GO_STEP: Duration = Duration::from_millis(50);
/// How long an account of a replacement may take to start, while those before it wait.
const TRIAL_PATIENCE: Duration = Duration::from_secs(20);

/// The accounts that the config names. A plugin without secrets needs no config: it has `main`, as a
/// module has, with `[modules.NAME]`.
pub fn sections(config: &Config, manifest: &Manifest) -> BTreeMap<String, toml::Table> {
    if manifest.kind == PluginKind::Module {
        let section = config.modules.get(&manifest.name).cloned().unwrap_or_default();
        return BTreeMap::from([(ACCOUNT_MAIN.to_owned(), section)]);
    }
    let channel = &manifest.channel_type;
    let mut sections: BTreeMap<String, toml::Table> = config
        .channels
        .iter()
        .filter(|((of, _), _)| of == channel)
        .map(|((_, account), section)| (account.clone(), section.clone()))
        .collect();
    if sections.is_empty() && manifest.secrets.is_empty() {
        sections.insert(ACCOUNT_MAIN.to_owned(), toml::Table::new());
    }
    sections
}

/// Whether the config has a section for a plugin.
pub fn has_section(config: &Config, manifest: &Manifest) -> bool {
    match manifest.kind {
        PluginKind::Module => config.modules.contains_key(&manifest.name),
        PluginKind::Channel | PluginKind::Unknown => {
            config.channels.keys().any(|(channel, _)| *channel == manifest.channel_type)
        }
    }
}

/// A section of the config that has nearly the name of a plugin's.
pub fn nearest_section(config: &Config, manifest: &Manifest) -> Option<String> {
    if manifest.kind == PluginKind::Module {
        let near = nearest(&manifest.name, config.modules.keys().map(String::as_str))?;
        return Some(format!("[modules.{near}]"));
    }
    let near = nearest(&manifest.channel_type, config.channels.keys().map(|(channel, _)| channel.as_str()))?;
    Some(format!("[channels.{near}.…]"))
}

/// The accounts of the config whose channel type no plugin has: a typo, or a file that is not there.
pub fn without_plugin(plugins: &Plugins) -> impl Iterator<Item = &(String, String)> {
    plugins.config.channels.keys().filter(|(channel, _)| plugins.registry.channel(channel).is_none())
}

/// Starts every account of a plugin.
pub fn start_accounts(plugins: &Arc<Plugins>, link: &Arc<Link>) {
    start_accounts_but(plugins, link, &BTreeSet::new());
}

/// Starts the accounts of a plugin, but for some that go on as they are.
fn start_accounts_but(plugins: &Arc<Plugins>, link: &Arc<Link>, kept: &BTreeSet<String>) {
    let sections = link.sections().clone();
    for (account, section) in sections.into_iter().filter(|(account, _)| !kept.contains(account)) {
        let mut states = link.accounts();
        if states.get(&account) == Some(&AccountState::Stopping) {
            continue; // the plugin is being taken out
        }
        states.insert(account.clone(), AccountState::Connecting);
        drop(states);
        let generation = link.generation();
        tokio::spawn(keep_started(plugins.clone(), link.clone(), account, section, generation));
    }
}

/// Starts an account, again and again until it lives, in this life of its plugin.
async fn keep_started(
    plugins: Arc<Plugins>,
    link: Arc<Link>,
    account: String,
    section: toml::Table,
    generation: u64,
) {
    loop {
        let turn = link.starting.turn(&account).await;
        if link.generation() != generation {
            return;
        }
        let listens = listen(&plugins, &link, &section).await;
        let started = match &listens {
            Ok(()) => start(&plugins.home.config(), &link, &account, &section).await,
            Err(why) => Err(CallError::Plugin(PluginError::broken(why.clone()))),
        };
        let state = match started {
            Ok(()) => AccountState::Live,
            Err(CallError::Plugin(PluginError::Retry { reason, .. })) => AccountState::Waiting(reason),
            Err(CallError::Late) => AccountState::Waiting(CallError::Late.to_string()),
            Err(error) => AccountState::Broken(error.to_string()),
        };
        let Some(before) = link.note_state(&account, &state, generation) else {
            // The plugin began another life meanwhile, or is taken out. What was started for the life before must not go
            // on with what the config said then.
            if state == AccountState::Live {
                stop_account(&link, &account).await;
            }
            return;
        };
        drop(turn);
        if before != state {
            tell(&link, &account, &state);
        }
        if state == AccountState::Live {
            return lives(&plugins, &link, account).await;
        }
        // A port that is taken locks no account out: it is tried as often as a platform that is away.
        let wait = link.wait(&account, listens.is_ok() && matches!(state, AccountState::Broken(_)));
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = plugins.stopping() => return,
        }
    }
}

/// Whether an account takes webhooks: without a secret none could be verified, and a channel may have another way in.
pub fn takes_webhooks(link: &Link, section: &toml::Table) -> bool {
    let is_heard_elsewhere = siblings::listener(&link.manifest, section).is_some();
    link.manifest.can(Capability::Webhook)
        && !is_heard_elsewhere
        && section.contains_key(link.manifest.webhook_secret_key())
}

/// Sees to it that webhooks are taken, if the account takes some: one that hears nothing is not live.
async fn listen(plugins: &Arc<Plugins>, link: &Link, section: &toml::Table) -> Result<(), String> {
    if !takes_webhooks(link, section) {
        return Ok(());
    }
    plugins.runtime().map_err(|error| error.to_string())?.listen().await
}

/// An account of a channel says that it has given up, or that it was lost: it is ended, and started again with back-off;
/// meanwhile its state is `until`. A module is asked all the same: else the messages that pass its hooks would be refused
/// meanwhile.
pub fn gave_up(plugins: &Arc<Plugins>, link: &Arc<Link>, account: String, until: AccountState) {
    if link.manifest.kind != PluginKind::Channel {
        return;
    }
    let Some(section) = link.sections().get(&account).cloned() else { return };
    let generation = link.generation();
    match link.accounts().get_mut(&account) {
        Some(entry) if *entry == AccountState::Live => *entry = until.clone(),
        // Its start may still succeed: then it is given up at once.
        Some(AccountState::Connecting | AccountState::Waiting(_) | AccountState::Broken(_)) => {
            return link.note_given_up(&account, until);
        }
        Some(AccountState::Live | AccountState::Stopping) | None => return,
    }
    if let AccountState::Waiting(why) = &until {
        let channel = &link.manifest.channel_type;
        tracing::warn!(channel, account, %why, "channel was lost; it is started again");
    }
    let (plugins, link) = (plugins.clone(), link.clone());
    tokio::spawn(async move {
        stop_account(&link, &account).await;
        tokio::select! {
            () = tokio::time::sleep(link.wait(&account, matches!(until, AccountState::Broken(_)))) => {}
            () = plugins.stopping() => return,
        }
        keep_started(plugins, link, account, section, generation).await;
    });
}

/// The work that waits for an account goes on.
async fn lives(plugins: &Arc<Plugins>, link: &Arc<Link>, account: String) {
    link.lives(&account);
    if let Some(until) = link.take_given_up(&account) {
        return gave_up(plugins, link, account, until);
    }
    let go_on = async { plugins.runtime()?.account_is_live(link.clone(), account).await };
    if let Err(error) = go_on.await {
        tracing::error!(%error, "the work that waited for the channel could not be woken");
    }
}

/// Logs how the start of an account went.
fn tell(link: &Link, account: &str, state: &AccountState) {
    let (module, channel) = (&link.manifest.name, &link.manifest.channel_type);
    match state {
        AccountState::Live => tell_live(link, account),
        AccountState::Waiting(why) if channel.is_empty() => {
            tracing::warn!(module, %why, "module cannot start yet; it is tried again");
        }
        AccountState::Broken(why) if channel.is_empty() => {
            tracing::error!(module, %why, "module was not started; it is tried again");
        }
        AccountState::Waiting(why) => {
            tracing::warn!(channel, account, %why, "channel cannot start yet; it is tried again");
        }
        AccountState::Broken(why) => {
            tracing::error!(channel, account, %why, "channel was not started; it is tried again");
        }
        AccountState::Connecting | AccountState::Stopping => {}
    }
}

fn tell_live(link: &Link, account: &str) {
    match link.manifest.kind {
        PluginKind::Module => tracing::info!(module = link.manifest.name, "module is live"),
        _ => tracing::info!(channel = link.manifest.channel_type, account, "channel is live"),
    }
}

/// Starts an account with its section of the config `file`, if the plugin knows what is in it.
async fn start(file: &Path, link: &Link, account: &str, section: &toml::Table) -> Result<(), CallError> {
    let broken = |why| CallError::Plugin(PluginError::broken(why));
    let settings = describe::settings(file, link, account, section).await.map_err(broken)?;
    let fault = siblings::fault(&link.manifest, &link.sections(), account);
    if let Some(why) = fault {
        return Err(broken(format!("{}: {why}", file.display())));
    }
    link.start_account(account, settings).await
}

/// Why `new` cannot take the place of `old` with these sections, if it cannot: the section of an account
/// that is live is not what `new` describes.
pub async fn misfit(
    plugins: &Plugins,
    old: &Link,
    new: &Link,
    sections: &BTreeMap<String, toml::Table>,
) -> Option<LoadError> {
    // A file that has become another channel has no account in common with its predecessor.
    if old.manifest.channel_type != new.manifest.channel_type {
        return None;
    }
    for (account, section) in sections.iter().filter(|(account, _)| old.is_live(account)) {
        if let Err(why) = describe::settings(&plugins.home.config(), new, account, section).await {
            let (why, name) = (fit::sentence(&why), &new.manifest.name);
            let words = format!(
                "{why} What ran before runs on; once that is mended, run `vestibule plugin reload {name}`."
            );
            return Some(LoadError::new(LoadCode::Config, words));
        }
    }
    None
}

/// The plugin's process is gone: no account of it can be called, and each says why.
pub fn pause(link: &Link, state: AccountState) {
    link.next_generation();
    for entry in link.accounts().values_mut().filter(|entry| **entry != AccountState::Stopping) {
        *entry = state.clone();
    }
}

/// Starts every account of a plugin, side by side. One that asks to be tried again is tried again for a moment: its
/// predecessor may let go of what it held, such as a port, a little later.
pub async fn trial(plugins: &Arc<Plugins>, link: &Arc<Link>) -> BTreeMap<String, Result<(), CallError>> {
    let mut starting = tokio::task::JoinSet::new();
    let sections = link.sections().clone();
    let taking = sections.values().find(|section| takes_webhooks(link, section));
    if let Some(section) = taking
        && let Err(why) = listen(plugins, link, section).await
    {
        let broken = |account| (account, Err(CallError::Plugin(PluginError::broken(why.clone()))));
        return sections.into_keys().map(broken).collect();
    }
    for (account, section) in sections {
        link.accounts().insert(account.clone(), AccountState::Connecting);
        let (file, link) = (plugins.home.config(), link.clone());
        starting.spawn(async move {
            let begin = tokio::time::Instant::now();
            loop {
                let started =
                    tokio::time::timeout(TRIAL_PATIENCE, start(&file, &link, &account, &section)).await;
                let started = started.unwrap_or(Err(CallError::Late));
                let again = matches!(started, Err(CallError::Plugin(PluginError::Retry { .. })));
                if !again || begin.elapsed() > LET_GO_PATIENCE {
                    return (account, started);
                }
                tokio::time::sleep(LET_GO_STEP).await;
            }
        });
    }
    starting.join_all().await.into_iter().collect()
}

/// The accounts of a tried plugin come to life; those that did not start are started as usual.
pub async fn settle(
    plugins: &Arc<Plugins>,
    link: &Arc<Link>,
    tried: BTreeMap<String, Result<(), CallError>>,
) {
    let sections = link.sections().clone();
    for (account, section) in sections {
        if !matches!(tried.get(&account), Some(Ok(()))) {
            let generation = link.generation();
            tokio::spawn(keep_started(plugins.clone(), link.clone(), account, section, generation));
            continue;
        }
        match link.accounts().get_mut(&account) {
            Some(entry) if *entry == AccountState::Connecting => *entry = AccountState::Live,
            _ => continue, // its process ended since; the next one starts the account
        }
        tell_live(link, &account);
        lives(plugins, link, account).await;
    }
}

/// The accounts that go on as they are when these are the sections: each works, and would be started with what it was
/// started with. None where that is true of all or of no account: then all are started anew, as the operator wants it.
pub async fn kept(
    plugins: &Plugins,
    link: &Link,
    sections: &BTreeMap<String, toml::Table>,
) -> BTreeSet<String> {
    let before: BTreeSet<String> = link.accounts().keys().cloned().collect();
    let mut kept = BTreeSet::new();
    for (account, section) in sections {
        let works = link.is_live(account) && matches!(link.health(account), None | Some(Health::Live));
        // The secrets are read again, for a file may hold another one by now.
        let settings = describe::settings(&plugins.home.config(), link, account, section).await;
        let siblings = siblings::of(&link.manifest, sections, account);
        let is_heard = siblings::fault(&link.manifest, sections, account).is_none();
        let is_same = settings.is_ok_and(|settings| link.was_started_with(account, &settings, &siblings));
        if works && is_heard && is_same {
            kept.insert(account.clone());
        }
    }
    let nothing_is_new = kept.len() == sections.len() && kept == before;
    if nothing_is_new { BTreeSet::new() } else { kept }
}

/// Starts the accounts again of a plugin that was only halted, but for those that went on.
pub fn resume_but(plugins: &Arc<Plugins>, link: &Arc<Link>, kept: &BTreeSet<String>) {
    link.accounts().retain(|account, _| kept.contains(account));
    // One that gave up while the others were halted waits for a start that belongs to the life before.
    let goes_on = kept.iter().filter(|account| link.is_live(account)).cloned().collect();
    start_accounts_but(plugins, link, &goes_on);
}

/// The same of all accounts.
pub fn resume(plugins: &Arc<Plugins>, link: &Arc<Link>) {
    resume_but(plugins, link, &BTreeSet::new());
}

async fn stop_account(link: &Link, account: &str) {
    if let Err(error) = link.stop_account(account).await {
        tracing::warn!(plugin = link.manifest.name, account, %error, "an account did not stop as asked");
    }
}

/// Stops every account of a plugin, then the plugin. Calls under way have `patience` to end.
pub async fn stop(link: &Arc<Link>, patience: Duration) {
    halt(link, patience).await;
    link.shutdown().await;
}

/// Stops every account of a plugin: lets no call in, waits for those under way, and tells the plugin.
pub async fn halt(link: &Arc<Link>, patience: Duration) {
    halt_but(link, patience, &BTreeSet::new()).await;
}

/// The same, but for some accounts, which go on.
pub async fn halt_but(link: &Arc<Link>, patience: Duration, kept: &BTreeSet<String>) {
    link.next_generation();
    let mut accounts = Vec::new();
    for (account, state) in link.accounts().iter_mut().filter(|(account, _)| !kept.contains(*account)) {
        accounts.push((account.clone(), std::mem::replace(state, AccountState::Stopping)));
    }
    if tokio::time::timeout(patience, link.quiet_but(kept)).await.is_err() && !patience.is_zero() {
        tracing::warn!(plugin = link.manifest.name, "calls are still under way while the plugin is stopped");
    }
    for (account, state) in accounts {
        if state == AccountState::Live {
            stop_account(link, &account).await;
        }
    }
}

/// Stops every plugin: first the channels, so that no message comes in when the modules that would screen it are
/// gone.
pub async fn stop_all(plugins: &Plugins) {
    let (modules, channels): (Vec<_>, Vec<_>) =
        plugins.registry.all().into_iter().partition(|link| link.manifest.kind == PluginKind::Module);
    for link in channels.into_iter().chain(modules) {
        plugins.registry.remove(&link);
        stop(&link, Duration::ZERO).await;
    }
}
