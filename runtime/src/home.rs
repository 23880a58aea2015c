//! The home: the one folder where everything of an installation lies, and the lock on it.

mod check;

use crate::error::{Error, IoContext, Result};
use crate::id::{AgentGroupId, SessionId};
use crate::plain_file;
use crate::private::{self, OTHERS};
use check::{Found, Verdict};
use rustix::fs::{FlockOperation, Mode, fcntl_lock, statvfs};
use rustix::io::Errno;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use vestibule_session::SessionDir;

/// A runtime that was just killed holds the lock until it is gone.
const LOCK_PATIENCE: Duration = Duration::from_millis(500);
const LOCK_STEP: Duration = Duration::from_millis(5);

/// The files that hold secrets, or words of people. `plugins/` is not shut: where others could change it, the
/// operator is told, and nothing in it is loaded.
const FILES: [&str; 5] =
    ["vestibule.db", "vestibule.db-wal", "vestibule.db-shm", "control.token", "plugins.lock"];
const FOLDERS: [&str; 5] = ["sessions", "groups", "attachments", "cache", PLUGIN_FOLDERS];
/// The folder of the secrets that people typed; there is none before the first.
const SECRETS: &str = "secrets";
/// The longest file that holds a token.
const TOKEN_BYTES_MAX: u64 = 4 * 1024;
/// The folders in which plugins keep files of their own.
const PLUGIN_FOLDERS: &str = "plugin-folders";

/// The folder of an installation.
#[derive(Debug, Clone)]
pub struct Home {
    /// As the operator named it. Sockets, which need a short path, are opened by this one.
    named: PathBuf,
    /// Where that leads.
    root: PathBuf,
}

/// Held while a runtime owns the home.
#[derive(Debug)]
pub struct HomeLock {
    _file: File,
}

impl Home {
    /// The home named by `$VESTIBULE_HOME`, else `vestibule` in the XDG data folder.
    ///
    /// # Errors
    /// Neither variable nor a home directory is set, the path is no UTF-8, another user put something into the folder,
    /// or it is another user's: its owner could not open what root made in it.
    pub fn from_env() -> Result<Home> {
        let named = check::named(|name| std::env::var_os(name)).map_err(Error::Setup)?;
        let home = Home::at(std::path::absolute(&named).unwrap_or(named));
        home.is_ours()?;
        home.is_not_planted()?;
        Ok(home)
    }

    /// The home at this folder, or where a link of this name leads.
    pub fn at(named: impl Into<PathBuf>) -> Home {
        let named = named.into();
        // A folder that is not there yet is looked for once more when it is made.
        Home { root: fs::canonicalize(&named).unwrap_or_else(|_| named.clone()), named }
    }

    /// The folder's path, without a link in it.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The optional config file.
    pub fn config(&self) -> PathBuf {
        self.root.join("vestibule.toml")
    }

    /// The folder of the secrets that people typed.
    pub fn secrets(&self) -> PathBuf {
        self.root.join(SECRETS)
    }

    /// The central database.
    pub fn central_db(&self) -> PathBuf {
        self.root.join("vestibule.db")
    }

    /// The control socket.
    pub fn control_socket(&self) -> PathBuf {
        self.named.join("control.sock")
    }

    /// The terminal channel's socket.
    pub fn terminal_socket(&self) -> PathBuf {
        self.named.join("terminal.sock")
    }

    /// The token that both sockets demand. No sandbox can read it.
    pub fn token_file(&self) -> PathBuf {
        self.root.join("control.token")
    }

    /// Where plugin files are dropped.
    pub fn plugins(&self) -> PathBuf {
        self.root.join("plugins")
    }

    /// The plugin files that are trusted.
    pub fn plugins_lock(&self) -> PathBuf {
        self.root.join("plugins.lock")
    }

    /// The folder of a plugin that lists `folder`; in it is one for each of its accounts.
    pub fn plugin_folder(&self, name: &str) -> PathBuf {
        self.root.join(PLUGIN_FOLDERS).join(name)
    }

    /// Files that may be deleted while the runtime is stopped.
    pub fn cache(&self) -> PathBuf {
        self.root.join("cache")
    }

    /// Private copies of plugin files: what is actually opened.
    pub fn plugin_copies(&self) -> PathBuf {
        self.cache().join("plugins")
    }

    /// The bytes of files, both ways.
    pub fn attachments(&self) -> PathBuf {
        self.root.join("attachments")
    }

    /// Where the copies of a foreign session folder lie while it is taken over.
    pub fn adopt_scratch(&self) -> PathBuf {
        self.root.join("cache/adopt")
    }

    /// An agent group's own folder.
    pub fn agent_folder(&self, folder: &str) -> PathBuf {
        self.root.join("groups").join(folder)
    }

    /// Makes an agent group's own folder, unless it is there; returns its path.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn make_agent_folder(&self, folder: &str) -> Result<PathBuf> {
        let at = self.agent_folder(folder);
        fs::create_dir_all(&at).context(|| format!("cannot make {}", at.display()))?;
        Ok(at)
    }

    /// A session's folder. Both ids are minted by the runtime.
    pub fn session(&self, agent_group_id: &AgentGroupId, session_id: &SessionId) -> SessionDir {
        SessionDir::new(self.root.join("sessions").join(agent_group_id.as_str()).join(session_id.as_str()))
    }

    /// Every folder that holds a part of the home, by no link: the home itself, and where those in it lead.
    pub fn places(&self) -> Vec<PathBuf> {
        let parts = FOLDERS.iter().filter_map(|name| fs::canonicalize(self.root.join(name)).ok());
        let elsewhere = parts.filter(|part| !part.starts_with(&self.root));
        std::iter::once(self.root.clone()).chain(elsewhere).collect()
    }

    /// How many bytes are free on the fullest of its disks, where that can be asked.
    pub fn free_bytes(&self) -> Option<u64> {
        let folders = FOLDERS.iter().map(|name| self.root.join(name));
        let disks = std::iter::once(self.root.clone()).chain(folders).filter_map(|at| statvfs(&at).ok());
        disks.map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize)).min()
    }

    /// Makes what is missing of the home, shuts other users out of it, and locks it.
    ///
    /// # Errors
    /// It cannot be made, is no folder that may be the home, or another runtime holds it.
    pub fn open(self) -> Result<(Home, HomeLock)> {
        let home = self.claim()?;
        let lock = home.prepare()?;
        Ok((home, lock))
    }

    /// Makes the folder unless it is there, and shuts other users out of it. Who writes into a home that no runtime has
    /// opened calls this first: a link that lies in it would lead the writing elsewhere, and what another user wrote there
    /// would become this user's.
    ///
    /// # Errors
    /// It cannot be made, or is no folder that may be the home.
    pub fn claim(self) -> Result<Home> {
        private::take_umask();
        make(&self.root)?;
        let home = Home::at(self.named);
        home.mend()?;
        Ok(home)
    }

    fn prepare(&self) -> Result<HomeLock> {
        let parts = FOLDERS.map(|name| self.root.join(name));
        for folder in parts.into_iter().chain([self.plugins(), self.plugin_copies()]) {
            make(&folder)?;
        }
        self.mend_parts()?;
        let lock = self.lock()?;
        if fs::metadata(self.token_file()).is_err() {
            let token = crate::id::mint_token().context(|| "cannot make a token".into())?;
            // Written aside and renamed: a crash in between leaves no empty token.
            let fresh = self.token_file().with_extension("new");
            let _ = fs::remove_file(&fresh);
            File::options()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&fresh)
                .and_then(|mut file| file.write_all(token.as_bytes()))
                .and_then(|()| fs::rename(&fresh, self.token_file()))
                .context(|| format!("cannot write {}", self.token_file().display()))?;
        }
        Ok(lock)
    }

    /// Whether the folder, if it is there, is ours.
    fn is_ours(&self) -> Result<()> {
        if let Some(why) = check::name_fault(&self.named).or_else(|| check::name_fault(&self.root)) {
            return Err(Error::Setup(why));
        }
        let owner = fs::metadata(&self.root).map_or(us(), |meta| meta.uid());
        check::owner_fault(&self.root, owner, us()).map_or(Ok(()), |why| Err(Error::Setup(why)))
    }

    /// Whether no other user has put anything into a folder that they can change. Its mode is left as it is: a
    /// command that only asks changes nothing.
    fn is_not_planted(&self) -> Result<()> {
        let is_open = |meta: fs::Metadata| meta.is_dir() && meta.mode() & check::OTHERS_WRITE != 0;
        if !fs::metadata(&self.root).is_ok_and(is_open) {
            return Ok(());
        }
        let at = self.root.display();
        let (_, found) = look(&self.root).context(|| format!("cannot look at the home {at}"))?;
        check::planted(&self.root, &found, us()).map_or(Ok(()), |why| Err(Error::Setup(why)))
    }

    /// Takes the folder for the home, if that may be; one that is open to others is shut first.
    fn mend(&self) -> Result<()> {
        self.is_ours()?; // another user's folder cannot always be looked into
        let at = self.root.display();
        let (folder, found) = look(&self.root).context(|| format!("cannot look at the home {at}"))?;
        if check::judge(&self.root, &found, us()).map_err(Error::Setup)? == Verdict::Mend {
            let shut = Permissions::from_mode(found.mode & !OTHERS);
            folder.set_permissions(shut).context(|| format!("cannot shut the home {at} to others"))?;
            tracing::info!(home = %at, "the home was open to other users; now it is its owner's alone");
        }
        Ok(())
    }

    /// Shuts what an earlier version left open to others in a home that was open, and what a link leads to. The
    /// agents' own files stay as they are.
    fn mend_parts(&self) -> Result<()> {
        for name in FOLDERS.iter().chain(&[SECRETS]).chain(&FILES) {
            let part = self.root.join(name);
            let Ok(meta) = fs::metadata(&part) else { continue };
            if let Some(why) = check::kind_fault(&part, meta.file_type(), !FILES.contains(name)) {
                return Err(Error::Setup(why));
            }
            let of = if part.is_symlink() { check::part_fault } else { check::planted_fault };
            if let Some(why) = of(&part, meta.uid(), us()) {
                return Err(Error::Setup(why));
            }
            if meta.uid() == us() && meta.mode() & OTHERS != 0 {
                fs::set_permissions(&part, Permissions::from_mode(meta.mode() & !OTHERS))
                    .context(|| format!("cannot shut {} to others", part.display()))?;
            }
        }
        Ok(())
    }

    fn lock(&self) -> Result<HomeLock> {
        let path = self.root.join("lock");
        let file = rustix::fs::open(
            &path,
            rustix::fs::OFlags::CREATE | rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC,
            Mode::RUSR | Mode::WUSR,
        )
        .context(|| format!("cannot open {}", path.display()))?;
        let deadline = Instant::now() + LOCK_PATIENCE;
        loop {
            // A record lock, which belongs to this process alone: a `flock` would live on in a child that a
            // killed runtime was just starting, for as long as a busy machine lets that take.
            match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(HomeLock { _file: File::from(file) }),
                Err(Errno::WOULDBLOCK | Errno::ACCESS) if Instant::now() < deadline => {
                    std::thread::sleep(LOCK_STEP)
                }
                Err(Errno::WOULDBLOCK | Errno::ACCESS) => {
                    return Err(Error::Locked(format!(
                        "another vestibule runs on {}; stop it, or choose another home with VESTIBULE_HOME",
                        self.root.display()
                    )));
                }
                Err(error) => return Err(error).context(|| format!("cannot lock {}", path.display())),
            }
        }
    }

    /// The token, for a client of the sockets.
    ///
    /// # Errors
    /// There is none: no runtime ever ran here.
    pub fn token(&self) -> Result<String> {
        plain_file::text(&self.token_file(), TOKEN_BYTES_MAX)
            .map(|token| token.trim().to_owned())
            .context(|| format!("cannot read {}", self.token_file().display()))
    }
}

/// The user whose files this process makes.
fn us() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Makes a folder of this user alone, unless it is there.
///
/// # Errors
/// It cannot be made.
pub fn make(folder: &Path) -> Result<()> {
    if folder.is_symlink() && !folder.exists() {
        return Err(Error::Setup(format!(
            "{} is a link that leads nowhere: mount what it leads to, or remove the link",
            folder.display()
        )));
    }
    DirBuilder::new().recursive(true).mode(0o700).create(folder).context(|| {
        format!("cannot make the folder {}; choose another with VESTIBULE_HOME", folder.display())
    })
}

/// A folder and what is seen of it.
fn look(path: &Path) -> std::io::Result<(File, Found)> {
    let folder = File::open(path)?;
    let meta = folder.metadata()?;
    let entry = |entry: std::io::Result<fs::DirEntry>| {
        let entry = entry?;
        let owner = entry.metadata()?.uid(); // of a link, the link's
        Ok((entry.file_name().to_string_lossy().into_owned(), owner))
    };
    let entries = fs::read_dir(path)?.map(entry).collect::<std::io::Result<_>>()?;
    Ok((folder, Found { owner: meta.uid(), mode: meta.mode(), entries }))
}
