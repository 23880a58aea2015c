//! The only place that knows the names inside a session's folder.
//!
//! ```text
//! <session>/               the runtime's: mounted read-only at /workspace
//!   inbound.db             written by the ledger
//!   run.json               the runner's settings, written before each launch
//!   keeper.lock            held by the one keeper
//!   inbox/                 inbound attachments
//!   agent/ global/ extra/  mount points
//!   out/                   the only part the agent can write
//!     outbound.db  outbox/  .heartbeat
//!   outbound.db -> out/outbound.db   and likewise outbox, .heartbeat
//! ```

use std::path::{Path, PathBuf};

const INBOUND: &str = "inbound.db";
const OUTBOUND: &str = "outbound.db";
const HEARTBEAT: &str = ".heartbeat";
const OUT: &str = "out";
const INBOX: &str = "inbox";
const OUTBOX: &str = "outbox";
const TEMPORARY: &str = "tmp";

/// One session's folder. The value is only a path: making one touches nothing on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionDir {
    root: PathBuf,
}

impl SessionDir {
    /// The session whose folder is `root`.
    pub fn new(root: impl Into<PathBuf>) -> SessionDir {
        SessionDir { root: root.into() }
    }

    /// The path of the folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The file that the runtime writes.
    pub fn inbound_db(&self) -> PathBuf {
        self.root.join(INBOUND)
    }

    /// The file name that a watcher of the folder sees when the runtime has written.
    pub fn inbound_name() -> &'static str {
        INBOUND
    }

    /// The file that the runner writes, by the name that both layouts have: in this runtime's it is a link into `out/`,
    /// in NanoClaw's the file itself.
    pub fn outbound_db(&self) -> PathBuf {
        self.root.join(OUTBOUND)
    }

    /// The file that the runner writes, without the link.
    pub fn outbound_db_real(&self) -> PathBuf {
        self.out().join(OUTBOUND)
    }

    /// Where `outbound.db` may lie in a folder that another program made: this runtime's layout, then NanoClaw's.
    pub fn outbound_names() -> [&'static str; 2] {
        ["out/outbound.db", OUTBOUND]
    }

    /// The journal whose removal from `out/` is a commit of the runner.
    pub fn outbound_journal_name() -> &'static str {
        "outbound.db-journal"
    }

    /// The folder of inbound files, seen from the session's folder.
    pub fn inbox_name() -> &'static str {
        INBOX
    }

    /// The path of a file in `inbox/` as the agent is told it: from the session's folder.
    pub fn inbox_file(folder: &str, name: &str) -> String {
        format!("{INBOX}/{folder}/{name}")
    }

    /// The folder and the name of which [`SessionDir::inbox_file`] made a path; `None` for any other path.
    pub fn in_inbox(path: &str) -> Option<(&str, &str)> {
        let (folder, name) = path.strip_prefix(INBOX)?.strip_prefix('/')?.split_once('/')?;
        let safe = crate::name::is_safe_segment(folder) && crate::name::is_safe_segment(name);
        safe.then_some((folder, name))
    }

    /// Where the files of replies may lie in a folder that another program made: this runtime's layout, then
    /// NanoClaw's.
    pub fn outbox_names() -> [&'static str; 2] {
        ["out/outbox", OUTBOX]
    }

    /// The folder of a reply's files, as the runner names it.
    pub fn outbox_of(&self, message_id: &str) -> PathBuf {
        self.root.join(OUTBOX).join(message_id)
    }

    /// The folder of a reply's files, seen from `out/`.
    pub fn outbox_in_out(message_id: &str) -> PathBuf {
        Path::new(OUTBOX).join(message_id)
    }

    /// The folder that the agent can write.
    pub fn out(&self) -> PathBuf {
        self.root.join(OUT)
    }

    /// The runner's sign of life, as the runner names it.
    pub fn heartbeat(&self) -> PathBuf {
        self.root.join(HEARTBEAT)
    }

    /// The runner's sign of life without the link.
    pub fn heartbeat_real(&self) -> PathBuf {
        self.out().join(HEARTBEAT)
    }

    /// The folder of the runner's temporary files.
    pub fn temporary(&self) -> PathBuf {
        self.out().join(TEMPORARY)
    }

    /// The file of the runner's settings.
    pub fn run_config(&self) -> PathBuf {
        self.root.join("run.json")
    }

    /// Where NanoClaw has the runner's settings.
    pub fn foreign_run_config(&self) -> PathBuf {
        self.root.join("agent/container.json")
    }

    /// The folders that the runtime makes: for inbound files, and for mounts.
    pub(crate) fn folders(&self) -> [PathBuf; 4] {
        [INBOX, "agent", "global", "extra"].map(|name| self.root.join(name))
    }

    /// The lock that the one keeper of the session holds.
    pub fn keeper_lock(&self) -> PathBuf {
        self.root.join("keeper.lock")
    }

    /// Where the agent's part of an adopted session is built before it takes its place.
    #[cfg(feature = "ledger")]
    pub(crate) fn draft(&self) -> PathBuf {
        self.root.join("out.adopted")
    }

    /// Puts the agent's part that was built in private in the place of the one that is there. No runner may ever have run
    /// in this session.
    #[cfg(feature = "ledger")]
    pub(crate) fn place_draft(&self) -> crate::Result<()> {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        use std::fs;
        self.create()?;
        let (draft, out) = (self.draft(), self.out());
        fs::File::open(draft.join(OUTBOUND))?.sync_all()?;
        fs::File::open(&draft)?.sync_all()?;
        renameat_with(CWD, &draft, CWD, &out, RenameFlags::EXCHANGE).map_err(std::io::Error::from)?;
        fs::File::open(&self.root)?.sync_all()?;
        Ok(fs::remove_dir_all(draft)?)
    }

    /// Moves the agent's part, whatever it is, out of the way under a name of its own: `create` makes a new one. No
    /// keeper of the session may live.
    ///
    /// # Errors
    /// The file system fails; a missing part is no error.
    #[cfg(feature = "ledger")]
    pub fn set_out_aside(&self, name: &str) -> std::io::Result<()> {
        match std::fs::rename(self.out(), self.root.join(format!("out.{name}"))) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Makes whatever is missing of the runtime's part. The agent's part is built in private and moved in whole, once;
    /// afterwards it is never touched.
    ///
    /// # Errors
    /// The file system fails, or SQLite while it builds the new `outbound.db`.
    #[cfg(feature = "ledger")]
    pub fn create(&self) -> crate::Result<()> {
        use std::fs;
        for folder in self.folders() {
            fs::create_dir_all(folder)?;
        }
        for name in [OUTBOUND, OUTBOX, HEARTBEAT] {
            let link = self.root.join(name);
            if fs::symlink_metadata(&link).is_err() {
                std::os::unix::fs::symlink(Path::new(OUT).join(name), link)?;
            }
        }
        if fs::symlink_metadata(self.out()).is_err() {
            let private = self.root.join("out.new");
            SessionDir::build_out(&private)?;
            fs::File::open(&private)?.sync_all()?;
            crate::crash::point("session: the agent's part is built, not in its place");
            fs::rename(private, self.out())?;
            crate::crash::point("session: the agent's part is in its place, not flushed");
        }
        Ok(())
    }

    /// Builds the agent's part of a new session; returns where its file is.
    #[cfg(feature = "ledger")]
    pub(crate) fn build_out(at: &Path) -> crate::Result<PathBuf> {
        use std::fs;
        let _ = fs::remove_dir_all(at);
        fs::create_dir_all(at.join(OUTBOX))?;
        fs::create_dir_all(at.join(TEMPORARY))?;
        let file = at.join(OUTBOUND);
        crate::outbound::build(&file)?;
        Ok(file)
    }
}
