//! Who answers for which channel, and which files were refused.

use super::accounts::AccountState;
use super::link::{Link, Origin};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use vestibule_plugin_api::Manifest;

/// The live plugins.
#[derive(Default)]
pub struct Registry {
    links: Mutex<BTreeMap<String, Arc<Link>>>,
    refused: Mutex<BTreeMap<PathBuf, String>>,
    /// Held while a file is loaded, replaced or removed: one at a time.
    pub changing: tokio::sync::Mutex<()>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Registry {
    /// Adds a plugin.
    ///
    /// # Errors
    /// Its channel type is taken: the sentence says by whom. The plugin is to be shut down.
    pub fn add(&self, link: Arc<Link>) -> Result<Arc<Link>, String> {
        if let Some(why) = self.taken(&link.manifest, None) {
            return Err(why);
        }
        locked(&self.links).insert(link.manifest.channel_type.clone(), link.clone());
        Ok(link)
    }

    /// Takes a plugin's place: the other is out at once.
    ///
    /// # Errors
    /// See [`Registry::add`].
    pub fn exchange(&self, old: &Arc<Link>, new: &Arc<Link>) -> Result<(), String> {
        if let Some(why) = self.taken(&new.manifest, Some(old)) {
            return Err(why);
        }
        let mut links = locked(&self.links);
        links.remove(&old.manifest.channel_type);
        links.insert(new.manifest.channel_type.clone(), new.clone());
        Ok(())
    }

    /// Why no second plugin can have this name or channel type, if one other than `replaced` has it.
    pub fn taken(&self, manifest: &Manifest, replaced: Option<&Arc<Link>>) -> Option<String> {
        let same = |link: &&Arc<Link>| {
            !replaced.is_some_and(|replaced| Arc::ptr_eq(replaced, link))
                && (link.manifest.name == manifest.name
                    || link.manifest.channel_type == manifest.channel_type)
        };
        let holder = locked(&self.links).values().find(same).cloned()?;
        let (what, word) = if holder.manifest.channel_type == manifest.channel_type {
            ("channel type", &manifest.channel_type)
        } else {
            ("name", &manifest.name)
        };
        let by = match &holder.origin {
            Origin::Bundled => "which is built in".to_owned(),
            Origin::File { path, .. } => format!("{}, which is already running", file_name(path)),
        };
        Some(format!("it has the same {what} ({word}) as {by}. Remove one of the two. [DUPLICATE]"))
    }

    /// Takes a plugin out.
    pub fn remove(&self, channel_type: &str) -> Option<Arc<Link>> {
        locked(&self.links).remove(channel_type)
    }

    /// The plugin of a channel type.
    pub fn channel(&self, channel_type: &str) -> Option<Arc<Link>> {
        locked(&self.links).get(channel_type).cloned()
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

    /// All plugins, by channel type.
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
