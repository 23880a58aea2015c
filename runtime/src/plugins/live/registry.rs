//! Which plugin answers for which channel, which modules listen at which hook, and which files were refused.

use super::accounts::AccountState;
use super::link::{Link, Origin};
use super::one_at_a_time::OneAtATime;
use crate::lock::locked;
use crate::plugins::{LoadCode, LoadError};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use vestibule_plugin_api::{ACTION, AGENT, Address, Capability, Hook, Manifest, PluginKind};

/// The live plugins, and the refused files.
#[derive(Default)]
pub struct Registry {
    /// By slot: a channel's is its channel type.
    links: Mutex<BTreeMap<String, Arc<Link>>>,
    refused: Mutex<BTreeMap<PathBuf, String>>,
    /// Whether every plugin that was there at the start has been looked at.
    pub complete: AtomicBool,
    /// Held while a plugin is loaded, replaced, started again or removed, by its file or its name: no plugin waits for
    /// another one that hangs.
    pub changing: OneAtATime,
    /// Held while a plugin takes its place among the others.
    placing: Mutex<()>,
}

/// The place of a plugin, and the name under which its state is kept: no channel type has a `:`.
pub fn slot(manifest: &Manifest) -> String {
    match manifest.kind {
        PluginKind::Module => format!("module:{}", manifest.name),
        PluginKind::Channel | PluginKind::Unknown => manifest.channel_type.clone(),
    }
}

/// What two plugins cannot both be.
fn clash(one: &Manifest, other: &Manifest) -> Option<String> {
    let channels = one.kind == PluginKind::Channel && other.kind == PluginKind::Channel;
    if channels && one.channel_type == other.channel_type {
        return Some(format!("it has the same channel type ({}) as", one.channel_type));
    }
    if one.name == other.name {
        return Some(format!("it has the same name ({}) as", one.name));
    }
    if let Some(action) = one.actions.iter().find(|action| other.actions.contains(action)) {
        return Some(format!("the action `{}` is taken already by", action.escape_debug()));
    }
    (one.listens(Hook::Forward) && other.listens(Hook::Forward))
        .then(|| "messages between agents are taken already by".to_owned())
}

/// Why a plugin has no place beside another that has its own; `words` name that other one.
pub fn duplicate(one: &Manifest, other: &Manifest, words: impl FnOnce() -> String) -> Option<LoadError> {
    let words = format!("{} {}. Remove one of the two.", clash(one, other)?, words());
    Some(LoadError::new(LoadCode::Duplicate, words))
}

/// The words that name a linked-in plugin, for [`duplicate`].
pub fn built_in(manifest: &Manifest) -> String {
    format!("{0}, which is built in unless [plugins.{0}] says `built_in = false`", manifest.name)
}

impl Registry {
    /// Adds a plugin.
    ///
    /// # Errors
    /// Its place is taken: the sentence says by whom. The plugin is to be shut down.
    pub fn add(&self, link: Arc<Link>) -> Result<Arc<Link>, LoadError> {
        let _placing = locked(&self.placing);
        if let Some(why) = self.taken(&link.manifest, None) {
            return Err(why);
        }
        if link.manifest.hooks.contains(&Hook::Unknown) {
            let module = &link.manifest.name;
            tracing::warn!(
                module,
                "it listens at a hook that this runtime does not have; the runtime never asks it there"
            );
        }
        locked(&self.links).insert(slot(&link.manifest), link.clone());
        Ok(link)
    }

    /// Why this plugin cannot be added beside all others, `except` the one it replaces.
    pub fn taken(&self, manifest: &Manifest, except: Option<&Arc<Link>>) -> Option<LoadError> {
        let others = self.all();
        let mut others = others.iter().filter(|link| except.is_none_or(|old| !Arc::ptr_eq(old, link)));
        others.find_map(|link| {
            duplicate(manifest, &link.manifest, || match &link.origin {
                Origin::Bundled => built_in(&link.manifest),
                Origin::File { path, .. } => format!("{}, which is already running", file_name(path)),
            })
        })
    }

    /// Takes a plugin out, and returns it if it was there.
    pub fn remove(&self, link: &Link) -> Option<Arc<Link>> {
        locked(&self.links).remove(&slot(&link.manifest))
    }

    /// Takes a plugin's place: the other is out at once, and nothing passes a module's hook unseen in
    /// between.
    ///
    /// # Errors
    /// See [`Registry::add`].
    pub fn exchange(&self, old: &Arc<Link>, new: &Arc<Link>) -> Result<(), LoadError> {
        let _placing = locked(&self.placing);
        if let Some(why) = self.taken(&new.manifest, Some(old)) {
            return Err(why);
        }
        let mut links = locked(&self.links);
        links.remove(&slot(&old.manifest));
        links.insert(slot(&new.manifest), new.clone());
        Ok(())
    }

    /// Whether any channel lists this capability.
    pub fn any_can(&self, capability: Capability) -> bool {
        locked(&self.links).values().any(|link| link.manifest.can(capability))
    }

    /// The modules that listen at a hook, in the order of their names.
    pub fn at(&self, hook: Hook) -> Vec<Arc<Link>> {
        locked(&self.links).values().filter(|link| link.manifest.listens(hook)).cloned().collect()
    }

    /// The plugin of a channel type; for `agent` the module that takes messages between agents.
    pub fn channel(&self, channel_type: &str) -> Option<Arc<Link>> {
        if channel_type == AGENT {
            return self.at(Hook::Forward).pop();
        }
        locked(&self.links).get(channel_type).cloned()
    }

    /// Each channel, and whether the ids of its chats compare without case.
    pub fn cases(&self) -> Vec<(String, bool)> {
        let channels = self.all().into_iter().filter(|link| link.manifest.kind == PluginKind::Channel);
        let case = |link: Arc<Link>| {
            (link.manifest.channel_type.clone(), link.manifest.can(Capability::IgnoresCase))
        };
        channels.map(case).collect()
    }

    /// The plugin that takes what goes to this address.
    pub fn of(&self, address: &Address) -> Option<Arc<Link>> {
        if address.channel_type.as_str() == ACTION {
            let name = address.platform_id.as_str();
            return self.at(Hook::Action).into_iter().find(|link| link.manifest.takes(name));
        }
        self.channel(address.channel_type.as_str())
    }

    /// Whether what goes to this address can be handed over, or is known to be for no plugin.
    pub fn is_there(&self, address: &Address) -> bool {
        match self.of(address) {
            Some(link) => link.is_live(address.account.as_str()),
            // An action that no module takes is refused as soon as all modules are known.
            None => address.channel_type.as_str() == ACTION && self.complete.load(Ordering::Acquire),
        }
    }

    /// The plugin of a channel type, if this account of it can be called.
    pub fn live(&self, channel_type: &str, account: &str) -> Option<Arc<Link>> {
        self.channel(channel_type).filter(|link| link.is_live(account))
    }

    /// The same; waits up to `patience` for an account that is being started or handed over.
    pub async fn soon_live(
        &self,
        channel_type: &str,
        account: &str,
        patience: Duration,
    ) -> Option<Arc<Link>> {
        let deadline = Instant::now() + patience;
        loop {
            let link = self.channel(channel_type)?;
            let state = link.accounts().get(account).cloned()?;
            match state {
                AccountState::Live => return Some(link),
                AccountState::Connecting | AccountState::Stopping if Instant::now() < deadline => {}
                _ => return None,
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The plugin that came from this file.
    pub fn from_file(&self, file: &Path) -> Option<Arc<Link>> {
        let from = |link: &&Arc<Link>| matches!(&link.origin, Origin::File { path, .. } if path == file);
        locked(&self.links).values().find(from).cloned()
    }

    /// The plugin of this name.
    pub fn named(&self, name: &str) -> Option<Arc<Link>> {
        locked(&self.links).values().find(|link| link.manifest.name == name).cloned()
    }

    /// All plugins: the channels by type, among them the modules by name.
    pub fn all(&self) -> Vec<Arc<Link>> {
        locked(&self.links).values().cloned().collect()
    }

    /// The refused files, each with its sentence.
    pub fn refused(&self) -> MutexGuard<'_, BTreeMap<PathBuf, String>> {
        locked(&self.refused)
    }
}

/// The last part of a path, for a person.
pub fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
