//! The plugins folder: files that appear, change and go, without a restart.

use super::describe;
use super::load;
use super::opening;
use crate::plugins::Plugins;
use crate::plugins::live::accounts::{self, DRAIN_PATIENCE, start_accounts};
use crate::plugins::live::handover;
use crate::plugins::live::link::{Link, Origin};
use crate::plugins::live::registry::file_name;
use crate::plugins::live::siblings;
use crate::plugins::process::ProcessState;
use crate::plugins::{LoadCode, LoadError};
use futures_core::Stream;
use inotify::{EventStream, Inotify, WatchMask};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;

/// A file is taken once it has not changed for this long.
const SETTLED: Duration = Duration::from_millis(400);
/// The folder is scanned this often even if nothing was heard.
const SAFETY_NET: Duration = Duration::from_secs(30);
/// And this often while it cannot be watched: a user has only so many watches.
const UNWATCHED: Duration = Duration::from_secs(1);

/// Size, times and inode: what changes when a file does, or its owner or mode.
type Stamp = (u64, i64, i64, i64, i64, u64);

struct Seen {
    stamp: Stamp,
    since: Instant,
    done: bool,
}

/// Watches the folder until the runtime stops.
pub async fn watch(plugins: Arc<Plugins>) {
    // No plugin uses the private copies of an earlier run any more.
    if let Ok(entries) = std::fs::read_dir(plugins.home.plugin_copies()) {
        for entry in entries.flatten() {
            let _ = std::fs::remove_file(entry.path());
        }
    }
    let (mut watch, mut deaf) = (None, false);
    // A refusal may be mended by a change of the file, but also by one of the trust or the config.
    let words = || [plugins.home.plugins_lock(), plugins.home.config()].map(|path| stamp(&path));
    let (mut seen, mut said) = (BTreeMap::new(), words());
    loop {
        if watch.is_none() {
            watch = listen(&plugins, &mut deaf); // before the scan, so that no change is missed
        }
        let now = words();
        if std::mem::replace(&mut said, now) != now {
            retry_refused(&plugins, &mut seen);
        }
        let unsettled = scan(&plugins, &mut seen).await;
        if !unsettled && !plugins.registry.complete.load(Ordering::Acquire) {
            for (channel, account) in accounts::without_plugin(&plugins) {
                tracing::warn!(channel, account, "no plugin speaks this channel of vestibule.toml");
            }
            if let Err(error) = plugins.are_complete().await {
                tracing::error!(%error, "the work that waited for modules could not be woken");
            }
        }
        let wait = match watch {
            _ if unsettled => SETTLED / 4,
            Some(_) => SAFETY_NET,
            None => UNWATCHED,
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = changed(watch.as_mut()) => {}
            () = plugins.stopping() => return,
        }
    }
}

type FolderWatch = EventStream<[u8; 4096]>;

/// The folder's watch, if the kernel gives one now. The log says once that it gives none.
fn listen(plugins: &Plugins, deaf: &mut bool) -> Option<FolderWatch> {
    match folder_watch(plugins.home.root(), &plugins.home.plugins()) {
        Ok(watch) => {
            if std::mem::take(deaf) {
                tracing::info!("the plugins folder is watched again");
            }
            Some(watch)
        }
        Err(error) => {
            if !std::mem::replace(deaf, true) {
                tracing::warn!(%error, "the plugins folder cannot be watched; it is scanned every second until it can");
            }
            None
        }
    }
}

fn folder_watch(home: &Path, folder: &Path) -> std::io::Result<FolderWatch> {
    let inotify = Inotify::init()?;
    // `plugins.lock` is renamed into place; `vestibule.toml` is written as its editor does it.
    inotify.watches().add(home, WatchMask::MOVED_TO | WatchMask::CLOSE_WRITE | WatchMask::DELETE)?;
    inotify.watches().add(
        folder,
        WatchMask::CREATE
            | WatchMask::MODIFY
            | WatchMask::CLOSE_WRITE
            | WatchMask::MOVED_TO
            | WatchMask::MOVED_FROM
            | WatchMask::DELETE
            | WatchMask::ATTRIB,
    )?;
    inotify.into_event_stream([0; 4096])
}

/// Waits for the folder to change; for ever without a watch. Only that something happened matters: the scan sees what
/// it was.
async fn changed(folder_watch: Option<&mut FolderWatch>) {
    match folder_watch {
        Some(folder_watch) => {
            std::future::poll_fn(|context| Pin::new(&mut *folder_watch).poll_next(context)).await;
        }
        None => std::future::pending().await,
    }
}

/// Looks at every file once; true while some have not settled.
async fn scan(plugins: &Arc<Plugins>, seen: &mut BTreeMap<PathBuf, Seen>) -> bool {
    let folder = plugins.home.plugins();
    if let Some(why) = folder_fault(&folder) {
        plugins.registry.refused().insert(folder, why.to_string());
        return false;
    }
    plugins.registry.refused().remove(&folder);
    let now = stamps(&folder);
    let gone: Vec<PathBuf> = seen.keys().filter(|path| !now.contains_key(*path)).cloned().collect();
    let any_gone = !gone.is_empty();
    for path in gone {
        seen.remove(&path);
        removed(plugins, &path).await;
    }
    if any_gone {
        // A file that was refused as a duplicate may be none any more.
        retry_refused(plugins, seen);
    }
    let mut unsettled = false;
    for (path, stamp) in now {
        let fresh = || Seen { stamp, since: Instant::now(), done: false };
        let entry = seen.entry(path.clone()).or_insert_with(fresh);
        if entry.stamp != stamp {
            *entry = fresh();
        }
        if entry.done {
            continue;
        }
        if entry.since.elapsed() < SETTLED {
            unsettled = true;
            continue;
        }
        entry.done = true;
        appeared(plugins, &path).await;
    }
    unsettled
}

fn retry_refused(plugins: &Plugins, seen: &mut BTreeMap<PathBuf, Seen>) {
    let refused: Vec<PathBuf> = plugins.registry.refused().keys().cloned().collect();
    seen.iter_mut().filter(|(path, _)| refused.contains(path)).for_each(|(_, file)| file.done = false);
}

/// Why no file of this folder is read, if so: users other than Vestibule's and root can change what lies in it.
pub fn folder_fault(folder: &Path) -> Option<LoadError> {
    let meta = std::fs::metadata(folder).ok()?;
    if let Some(owner) = load::stranger(&meta) {
        let words = format!(
            "the plugins folder belongs to {owner}. If you trust what is in it, change its owner with chown."
        );
        return Some(LoadError::new(LoadCode::DirOwner, words));
    }
    let mode = meta.mode();
    (mode & 0o022 != 0).then(|| {
        let words = format!(
            "other users can change the plugins folder (mode {:o}). Run chmod 700 on it.",
            mode & 0o777
        );
        LoadError::new(LoadCode::DirWritable, words)
    })
}

fn stamp(path: &Path) -> Option<Stamp> {
    let meta = std::fs::symlink_metadata(path).ok()?;
    Some((meta.len(), meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec(), meta.ino()))
}

/// The plugin files of a folder, in the order in which a runtime that starts takes them.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    stamps(folder).into_keys().collect()
}

fn stamps(folder: &Path) -> BTreeMap<PathBuf, Stamp> {
    let Ok(entries) = std::fs::read_dir(folder) else { return BTreeMap::new() };
    let plugin_file = |path: &PathBuf| {
        path.extension().is_some_and(|ending| ending == "so") && !file_name(path).starts_with('.')
    };
    entries
        .flatten()
        .map(|entry| entry.path())
        .filter(plugin_file)
        .filter_map(|path| Some((path.clone(), stamp(&path)?)))
        .collect()
}

async fn removed(plugins: &Arc<Plugins>, path: &Path) {
    let _one_at_a_time = plugins.registry.changing.turn(&path.to_string_lossy()).await;
    plugins.registry.refused().remove(path);
    if let Some(link) = plugins.registry.from_file(path) {
        tracing::info!(
            plugin = link.manifest.name,
            file = file_name(path),
            "plugin file removed, stopping it"
        );
        plugins.registry.remove(&link);
        accounts::stop(&link, DRAIN_PATIENCE).await;
    }
}

/// Loads a new or changed file. If that fails, the running plugin stays as it is.
async fn appeared(plugins: &Arc<Plugins>, path: &Path) {
    if let Err(why) = load_file(plugins, path).await {
        let sentence = format!("Plugin {} was not loaded: {why}", file_name(path));
        tracing::warn!("{sentence}");
        plugins.registry.refused().insert(path.to_owned(), sentence);
    }
}

/// Reads the config of a running plugin again. Where only some accounts are other ones now, or do not work, these are started
/// anew, and the rest goes on. Otherwise the plugin's file is loaded once more; whatever happened to the plugin before is
/// forgotten. A built-in plugin only starts its accounts again.
///
/// # Errors
/// There is no such plugin, its file cannot be loaded, or the config does not fit: then the running plugin stays.
pub async fn reload(plugins: &Arc<Plugins>, name: &str) -> Result<(), String> {
    let Some(link) = plugins.registry.named(name) else {
        return Err(format!(
            "there is no plugin `{}`; `vestibule plugin list` shows them",
            name.escape_debug()
        ));
    };
    let reloaded = match &link.origin {
        Origin::Bundled => start_again(plugins, &link, true).await.map(drop),
        Origin::File { path, sha256 } => match runs_this(plugins, &link, path, sha256).await {
            true => match start_again(plugins, &link, false).await {
                Ok(false) => load_file(plugins, path).await,
                done => done.map(drop),
            },
            false => load_file(plugins, path).await,
        },
    };
    reloaded.map_err(|why| why.to_string())
}

/// Whether an account was started with what the config, and the files of its secrets, say of it now.
///
/// # Errors
/// The config cannot be read, or no such account is live.
pub async fn runs_as_written(plugins: &Plugins, channel: &str, account: &str) -> Result<bool, String> {
    let link = plugins.registry.live(channel, account).ok_or("it is not live")?;
    let config = opening::fresh_config(&plugins.home).map_err(|why| why.to_string())?;
    let sections = accounts::sections(&config, &link.manifest);
    let Some(section) = sections.get(account) else { return Ok(false) };
    let settings = describe::settings(&plugins.home.config(), &link, account, section).await;
    let siblings = siblings::of(&link.manifest, &sections, account);
    Ok(settings.is_ok_and(|settings| link.was_started_with(account, &settings, &siblings)))
}

/// Whether a plugin runs what its file holds now, with what the config says of it now.
async fn runs_this(plugins: &Arc<Plugins>, link: &Link, path: &Path, sha256: &str) -> bool {
    let (home, name, path) = (plugins.home.clone(), link.manifest.name.clone(), path.to_owned());
    let looking = tokio::task::spawn_blocking(move || {
        let config = opening::fresh_config(&home)?;
        let checked = opening::check(&home, &config, &path)?;
        Ok::<_, LoadError>((config.plugin(&name), checked.sha256))
    });
    let runs = matches!(link.tier.process_state(), None | Some(ProcessState::Running));
    match looking.await {
        Ok(Ok((settings, now))) => runs && now == sha256 && link.has_settings(&settings),
        _ => false,
    }
}

/// Starts the accounts of a plugin again, with the config as it is now: those that are other ones or do not work, or all, if
/// there are no such. With `any` that is done in each case; without it only if some go on. Returns whether it was done.
async fn start_again(plugins: &Arc<Plugins>, link: &Arc<Link>, any: bool) -> Result<bool, LoadError> {
    let _one_at_a_time = plugins.registry.changing.turn(&turn_name(link)).await;
    let config = opening::fresh_config(&plugins.home)?;
    let name = &link.manifest.name;
    if link.origin == Origin::Bundled && !config.plugin(name).built_in {
        let words = format!(
            "[plugins.{name}] says `built_in = false`, which holds from the next start of `vestibule up` on. What runs \
             runs on."
        );
        return Err(LoadError::new(LoadCode::Config, words));
    }
    let sections = accounts::sections(&config, &link.manifest);
    if let Some(why) = accounts::misfit(plugins, link, link, &sections).await {
        return Err(why);
    }
    let kept = accounts::kept(plugins, link, &sections).await;
    if kept.is_empty() && !any {
        return Ok(false);
    }
    accounts::halt_but(link, DRAIN_PATIENCE, &kept).await;
    *link.sections() = sections;
    accounts::resume_but(plugins, link, &kept);
    Ok(true)
}

/// What names a plugin's changes: its file, or the name of a built-in one.
fn turn_name(link: &Link) -> Cow<'_, str> {
    match &link.origin {
        Origin::Bundled => link.manifest.name.as_str().into(),
        Origin::File { path, .. } => path.to_string_lossy(),
    }
}

async fn load_file(plugins: &Arc<Plugins>, path: &Path) -> Result<(), LoadError> {
    let _one_at_a_time = plugins.registry.changing.turn(&path.to_string_lossy()).await;
    let running = plugins.registry.from_file(path);
    let link = opening::open(plugins, path, running.as_ref()).await?;
    let sections = link.sections().clone();
    if let Some(old) = &running
        && let Some(why) = accounts::misfit(plugins, old, &link, &sections).await
    {
        link.shutdown().await;
        return Err(why);
    }
    match &running {
        // The old plugin runs on until the new one has come to life.
        Some(old) => handover::hand_over(plugins, old, &link).await?,
        None => {
            if let Err(why) = plugins.registry.add(link.clone()) {
                link.shutdown().await;
                return Err(why);
            }
            start_accounts(plugins, &link);
        }
    }
    plugins.registry.refused().remove(path);
    tracing::info!(
        plugin = link.manifest.name,
        version = link.manifest.version,
        tier = link.tier.word(),
        file = file_name(path),
        "plugin loaded"
    );
    Ok(())
}
