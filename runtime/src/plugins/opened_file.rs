//! One plugin file, opened in one tier: what a program outside the runtime calls that examines or measures plugins.
//!
//! It is the only way from outside this library to a file's code. How a file is read and checked, its private copy, and
//! the process that confines itself stay on this side, so nothing is opened that the runtime would not open.

use crate::config::{Config, TierSetting};
use crate::home::{self, Home};
use crate::plugins::file::{describe, folder, load, opening};
use crate::plugins::process::{Conn, Life, OwnFolder, Spec};
use crate::plugins::{LoadCode, LoadError};
use crate::private::TemporaryFolder;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{Mutex, oneshot};
use vestibule_plugin_api::wire::Description;
use vestibule_plugin_api::{Capability, Manifest, PluginKind};
use vestibule_seam::{Done, Frame, PluginRootRef, RuntimeCalls, RuntimeSide, status};

/// The limits of its process. No config has a say: a file is examined alike in every home.
const MEMORY_BYTES: u64 = 1024 * 1024 * 1024;
const OPEN_FILES: u64 = 1024;

/// A plugin that takes calls. It has no account until a call starts one, and nothing starts its process again.
pub struct OpenedFile {
    /// Its name, its kind, and what it can do.
    pub manifest: Manifest,
    code: Code,
    /// A folder that is thrown away, for one that lists `folder`: it is only tried.
    folder: Option<TemporaryFolder>,
}

enum Code {
    InProcess(PluginRootRef),
    Process { conn: Arc<Conn>, pid: Option<u32>, life: Box<Mutex<Life>>, dead: Arc<AtomicBool> },
}

impl OpenedFile {
    /// Opens a file for a runtime of the caller's, which gets its events, and its log up to `log_level` (0 nothing,
    /// 5 everything). `program` is run as `program plugin-host`; the private copy is written to `copies`.
    ///
    /// # Errors
    /// It cannot be opened.
    pub async fn open(
        program: &Path,
        file: &Path,
        copies: &Path,
        tier: TierSetting,
        calls: impl RuntimeCalls,
        log_level: u32,
    ) -> Result<OpenedFile, LoadError> {
        let checked = load::read(file)?;
        let copy = load::copy(&checked, copies)?;
        let (manifest, entry) = (checked.inspected.manifest.clone(), checked.inspected.entry.clone());
        let folder = manifest.can(Capability::Folder).then(|| TemporaryFolder::new("folder")).transpose();
        let folder = folder.map_err(|error| {
            LoadError::new(LoadCode::Copy, format!("no folder can be made for it ({error})."))
        })?;
        let code = match tier {
            TierSetting::InProcess => {
                load::fits_in_process(&checked)?;
                OpenedFile::started(load::open_copy(&copy, &entry)?, calls, log_level)?
            }
            TierSetting::Process => {
                let (memory_bytes, open_files) = (MEMORY_BYTES, OPEN_FILES);
                let folder = folder.as_ref().map(|folder| OwnFolder {
                    path: folder.path().to_owned(),
                    bytes_max: u64::MAX,
                    files_max: u64::MAX,
                });
                let spec =
                    Spec { file: copy, entry, log_level, memory_bytes, open_files, folder, group: None };
                Code::watched(Life::start(program, &spec, Arc::new(calls)).await?)
            }
        };
        Ok(OpenedFile { manifest, code, folder })
    }

    /// Opens the channel of this type that a runtime with this home and config would run: the linked-in one, or a file of
    /// the plugins folder, in a process of its own.
    ///
    /// # Errors
    /// There is none, with those that there are; or it cannot be opened.
    pub async fn of_channel(
        home: &Home,
        config: &Config,
        program: &Path,
        channel_type: &str,
        calls: impl RuntimeCalls,
    ) -> Result<OpenedFile, String> {
        let is_it = |manifest: &Manifest| {
            manifest.kind == PluginKind::Channel && manifest.channel_type == channel_type
        };
        let mut there = Vec::new();
        for (bundled, manifest) in super::built_in(config) {
            if is_it(&manifest) {
                let opened = load::check(bundled.header).and_then(|root| OpenedFile::started(root, calls, 0));
                return opened
                    .map(|code| OpenedFile { manifest, code, folder: None })
                    .map_err(|why| why.to_string());
            }
            there.extend((manifest.kind == PluginKind::Channel).then_some(manifest.channel_type));
        }
        let plugins = home.plugins();
        let files = if folder::folder_fault(&plugins).is_none() { folder::files(&plugins) } else { vec![] };
        for file in files {
            let Ok(checked) = opening::check(home, config, &file) else { continue };
            let manifest = checked.inspected.manifest;
            if is_it(&manifest) {
                let copies = home.plugin_copies();
                let opened = OpenedFile::open(program, &file, &copies, TierSetting::Process, calls, 0);
                return opened.await.map_err(|why| format!("{}: {why}", file.display()));
            }
            there.extend((manifest.kind == PluginKind::Channel).then_some(manifest.channel_type));
        }
        there.sort();
        Err(format!(
            "no plugin speaks the channel `{}`; there are {}. `vestibule plugin check FILE` says why a file would not \
             be loaded",
            channel_type.escape_debug(),
            there.join(", ")
        ))
    }

    /// The folder that an account may write to, if the plugin lists `folder`. It goes with this value.
    pub fn folder(&self, account: &str) -> Option<String> {
        let folder = self.folder.as_ref()?.path().join(account);
        home::make(&folder).ok()?;
        Some(folder.display().to_string())
    }

    fn started(root: PluginRootRef, calls: impl RuntimeCalls, log_level: u32) -> Result<Code, LoadError> {
        match (root.init())(RuntimeSide::new(calls), log_level) {
            status::OK => Ok(Code::InProcess(root)),
            code => Err(LoadError::new(LoadCode::Init, format!("its start failed with status {code}."))),
        }
    }

    /// Asks the plugin; the answer comes through `done`. Returns at once with the call's number.
    pub fn call(&self, frame: Frame, done: Done) -> u64 {
        match &self.code {
            Code::InProcess(root) => (root.call())(frame, done),
            Code::Process { conn, .. } => conn.call(frame, done),
        }
    }

    /// Withdraws a call, as the runtime does with one that is late.
    pub fn cancel(&self, id: u64) {
        match &self.code {
            Code::InProcess(root) => (root.cancel())(id),
            Code::Process { conn, .. } => conn.cancel(id),
        }
    }

    /// Opens the local socket of an account, as the runtime does before it starts one.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open_socket(&self, path: &Path) -> std::io::Result<()> {
        match &self.code {
            Code::InProcess(_) => Ok(()),
            Code::Process { conn, .. } => conn.hand_over_socket(path),
        }
    }

    /// What it says of its config and its platform.
    ///
    /// # Errors
    /// It does not say it.
    pub async fn describe(&self) -> Result<Description, LoadError> {
        let (answered, answer) = oneshot::channel();
        self.call(describe::question(), Done::new(move |code, frame| drop(answered.send((code, frame)))));
        match tokio::time::timeout(describe::PATIENCE, answer).await {
            Ok(answer) => {
                let (code, frame) = answer.unwrap_or((status::CANCELLED, Frame::default()));
                describe::read(code, &frame, &self.manifest)
            }
            Err(_) => Err(describe::late()),
        }
    }

    /// The plugin's process, where it has one.
    pub fn pid(&self) -> Option<u32> {
        match &self.code {
            Code::InProcess(_) => None,
            Code::Process { pid, .. } => *pid,
        }
    }

    /// Whether its process is gone, or must go.
    pub fn is_dead(&self) -> bool {
        match &self.code {
            Code::InProcess(_) => false,
            Code::Process { dead, .. } => dead.load(Ordering::Acquire),
        }
    }

    /// Why its process has ended, if it has.
    pub async fn ended(&self) -> Option<String> {
        let Code::Process { life, .. } = &self.code else { return None };
        let mut life = life.lock().await;
        // A call may end a moment before the process is gone.
        tokio::time::timeout(Duration::from_millis(200), life.ended()).await.ok()
    }

    /// Ends its process at once, as a crash would; false where it has none.
    pub async fn kill(&self) -> bool {
        let Code::Process { life, .. } = &self.code else { return false };
        life.lock().await.kill().await;
        true
    }

    /// Ends the plugin within `patience`. Returns how many calls were left.
    pub async fn shutdown(self, patience: Duration) -> u64 {
        match self.code {
            Code::InProcess(root) => {
                let ms = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
                tokio::task::spawn_blocking(move || (root.shutdown())(ms)).await.map_or(0, u64::from)
            }
            Code::Process { life, .. } => life.into_inner().shutdown(patience).await,
        }
    }
}

impl Code {
    /// A plugin in a process: when that breaks, its open calls are answered.
    fn watched(life: Life) -> Code {
        let (conn, pid, dead) = (life.conn.clone(), life.process().pid, Arc::new(AtomicBool::new(false)));
        let (watched, died) = (conn.clone(), dead.clone());
        tokio::spawn(async move {
            watched.broken().await;
            died.store(true, Ordering::Release);
            watched.close(); // the plugin answers no more
        });
        Code::Process { conn, pid, life: Box::new(Mutex::new(life)), dead }
    }
}
