//! From a file to a live plugin: read, checked, copied, opened.

use super::describe;
use super::fit;
use super::load::{self, Checked};
use super::pins::Pins;
use super::rehearsal::rehearse;
use crate::config::{Config, TierSetting};
use crate::home::{self, Home};
use crate::plugins::live::link::{Link, Origin};
use crate::plugins::process::{OPEN_PATIENCE, OwnFolder, Spec, not_ready};
use crate::plugins::{LoadCode, LoadError, Plugins};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use vestibule_plugin_api::{Capability, Manifest};

/// Opens a file beside the running plugins, with the config as it is now, and asks it to describe itself; `replaced`
/// is the plugin whose place it is to take.
///
/// # Errors
/// The sentence after "Plugin FILE was not loaded:".
pub async fn open(
    plugins: &Arc<Plugins>,
    path: &Path,
    replaced: Option<&Arc<Link>>,
) -> Result<Arc<Link>, LoadError> {
    let link = opened(plugins, path, replaced).await?;
    if let Err(why) = describe::schema(&link).await {
        link.shutdown().await;
        return Err(why);
    }
    Ok(link)
}

async fn opened(
    plugins: &Arc<Plugins>,
    path: &Path,
    replaced: Option<&Arc<Link>>,
) -> Result<Arc<Link>, LoadError> {
    let (asker, file, replaced) = (plugins.clone(), path.to_owned(), replaced.cloned());
    let checking = tokio::task::spawn_blocking(move || {
        let config = fresh_config(&asker.home)?;
        let checked = check(&asker.home, &config, &file)?;
        match asker.registry.taken(&checked.inspected.manifest, replaced.as_ref()) {
            Some(why) => Err(why),
            None => {
                let copy = load::copy(&checked, &asker.home.plugin_copies())?;
                Ok((config, copy, checked.inspected, checked.sha256))
            }
        }
    });
    let (config, copy, inspected, sha256) = checking.await.map_err(check_failed)??;
    let origin = Origin::File { path: path.to_owned(), sha256 };
    if !in_process(&config, &inspected.manifest.name) {
        return Link::in_own_process(plugins, &config, inspected.manifest, origin, copy, inspected.entry)
            .await;
    }
    let spec = spec(&config, &inspected.manifest.name, copy.clone(), inspected.entry.clone());
    match rehearse(&plugins.program, &spec, &inspected.manifest).await {
        // Where no process can be confined, only in-process is left.
        Ok(_) => {}
        Err(why) if why.code == LoadCode::Confine => {}
        Err(why) => {
            let _ = std::fs::remove_file(&copy);
            return Err(why);
        }
    }
    let plugins = plugins.clone();
    let opening = tokio::task::spawn_blocking(move || {
        let root = load::open_copy(&copy, &inspected.entry)?;
        Link::in_process(&plugins, &config, inspected.manifest, origin, root)
    });
    match tokio::time::timeout(OPEN_PATIENCE, opening).await {
        Ok(opened) => opened.map_err(check_failed)?,
        Err(_) => Err(not_ready()),
    }
}

fn check_failed(error: tokio::task::JoinError) -> LoadError {
    LoadError::new(LoadCode::Check, format!("its check failed ({error})."))
}

/// The config as it is now: what an operator has changed holds from the next load on.
///
/// # Errors
/// The sentence after "Plugin FILE was not loaded:".
pub fn fresh_config(home: &Home) -> Result<Config, LoadError> {
    Config::load(home).map_err(|error| {
        let words = format!("{} Mend that first.", fit::sentence(&error.to_string()));
        LoadError::new(LoadCode::Config, words)
    })
}

/// Reads a file and checks all that can be checked without running anything of it.
///
/// # Errors
/// The sentence after "Plugin FILE was not loaded:".
pub fn check(home: &Home, config: &Config, file: &Path) -> Result<Checked, LoadError> {
    let checked = load::read(file)?;
    let name = &checked.inspected.manifest.name;
    Pins::load(&home.plugins_lock())?.allow(name, file, &checked.sha256, config.require_trusted)?;
    if in_process(config, name) {
        load::fits_in_process(&checked)?;
    }
    Ok(checked)
}

/// Whether the operator wants this plugin's file inside the runtime.
pub fn in_process(config: &Config, name: &str) -> bool {
    config.plugin(name).tier == Some(TierSetting::InProcess)
}

/// What a plugin's process is told when it starts, which has no folder of its own.
pub fn spec(config: &Config, name: &str, file: PathBuf, entry: String) -> Spec {
    let wanted = config.plugin(name);
    Spec {
        file,
        entry,
        log_level: crate::plugins::live::link::log_level(),
        memory_bytes: wanted.memory_mb * 1024 * 1024,
        open_files: wanted.open_files,
        folder: None,
        group: None,
    }
}

/// The folder of its own of a plugin that lists `folder`; made, unless it is there.
///
/// # Errors
/// The sentence after "Plugin FILE was not loaded:".
pub fn own_folder(home: &Home, config: &Config, manifest: &Manifest) -> Result<Option<OwnFolder>, LoadError> {
    if !manifest.can(Capability::Folder) {
        return Ok(None);
    }
    let (path, wanted) = (home.plugin_folder(&manifest.name), config.plugin(&manifest.name));
    home::make(&path).map_err(|error| LoadError::new(LoadCode::Copy, format!("{error}.")))?;
    // It is looked at without following links: one that the operator put there leads to the folder itself.
    let path = std::fs::canonicalize(&path)
        .map_err(|error| LoadError::new(LoadCode::Copy, format!("{}: {error}.", path.display())))?;
    let bytes_max = wanted.folder_mb * 1024 * 1024;
    Ok(Some(OwnFolder { path, bytes_max, files_max: wanted.folder_files }))
}
