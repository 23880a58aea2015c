//! From a backup to a home.

use super::{
    BLOBS, DATABASE, MANIFEST, Manifest, OPERATORS, Overlap, copy_if_there, copy_private, flush, overlap,
    real,
};
use crate::attachments::{Limits, Store};
use crate::clock;
use crate::db::{DatabaseCopy, WriteTxn};
use crate::error::{Error, IoContext, Result, if_there};
use crate::home::Home;
use crate::id::{AgentGroupId, SessionId};
use crate::ledger;
use crate::plain_file;
use serde::Serialize;
use std::fs;
use std::path::{Path, PathBuf};
use vestibule_session::crash;

/// The database while it is made ready.
const RESTORING: &str = "vestibule.db.restoring";
/// The same once it is ready: while it is there, the database in its place is not whole.
const RESTORED: &str = "vestibule.db.restored";
/// What is added to the name of a file of the operator's while it is copied: one that is cut short is never read.
const COPYING: &str = ".restoring";
/// What the folder of a database that was set aside begins with; the time follows.
const ASIDE: &str = "replaced-";
/// What SQLite may have left beside a database.
const BESIDE: [&str; 4] = ["", "-journal", "-wal", "-shm"];

/// What was restored.
#[derive(Debug, Clone, Serialize)]
pub struct Restored {
    /// The home.
    pub home: PathBuf,
    /// When the backup was made, as ISO 8601.
    pub made_at: String,
    /// How many files of messages were taken.
    pub blobs: usize,
    /// How many are on record and not in the backup, or not whole.
    pub missing: usize,
    /// The operator's files that were taken, because the home had none.
    pub taken: Vec<String>,
    /// Where the previous database lies now.
    pub set_aside: Option<PathBuf>,
}

/// Makes a home of a backup, or puts a home's database back to it. Until the last step the home is as it was.
///
/// # Errors
/// A runtime holds the home, the folder is no backup, or the home has a database and `replace` is not said.
pub fn restore(home: Home, from: &Path, replace: bool) -> Result<Restored> {
    let manifest = manifest(from)?;
    are_apart(&home, from)?;
    let (home, _lock) = home.open()?;
    if home.central_db().exists() && !replace {
        return Err(Error::Refused(format!(
            "the home {} has a database; `--replace` sets it aside and puts the backup in its place",
            home.root().display()
        )));
    }
    let database = home.root().join(RESTORING);
    forget_rests(&home)?;
    let copied = plain_file::open(&from.join(DATABASE)).and_then(|from| copy_private(from, &database));
    let copied = copied.context(|| format!("cannot copy {}", from.display()))?;
    let taken = is_whole(from, &manifest, copied).and_then(|()| take(&home, &database, &from.join(BLOBS)));
    let (blobs, missing) = taken.inspect_err(|_| drop(forget_rests(&home)))?;
    let mut taken = Vec::new();
    for part in OPERATORS {
        let to = home.root().join(part);
        let copy = home.root().join(format!("{part}{COPYING}"));
        if !to.exists() && copy_if_there(&from.join(part), &copy)? {
            fs::rename(&copy, &to).context(|| format!("cannot make {}", to.display()))?;
            taken.push(part.to_owned());
        }
    }
    home.places().iter().try_for_each(|place| flush(place))?;
    crash::point("restore: all is there but the database in its place");
    let ready = home.root().join(RESTORED);
    fs::rename(&database, &ready).context(|| "cannot put the database in its place".into())?;
    flush(home.root())?;
    let set_aside = set_aside(&home)?;
    crash::point("restore: the old database is aside, the new one is not in its place");
    fs::rename(&ready, home.central_db()).context(|| "cannot put the database in its place".into())?;
    flush(home.root())?;
    Ok(Restored { home: home.root().to_owned(), made_at: manifest.made_at, blobs, missing, taken, set_aside })
}

/// Refuses a home and a backup that lie in one another: the restore would change the backup, or the home would hold it.
fn are_apart(home: &Home, from: &Path) -> Result<()> {
    let (at, backup) = (home.root().display(), from.display());
    // The home may not be there yet.
    let places: Vec<PathBuf> = home.places().iter().map(|place| real(place)).collect();
    match overlap(&places, &real(from)) {
        None => Ok(()),
        Some(Overlap::InHome) => Err(Error::Refused(format!(
            "the backup {backup} lies in the home {at}; move it out of the home, or choose another with VESTIBULE_HOME"
        ))),
        Some(Overlap::AroundHome) => Err(Error::Refused(format!(
            "the home {at}, or a part of it, lies in the backup {backup}, which would be changed; choose another home \
             with VESTIBULE_HOME"
        ))),
    }
}

/// Refuses a home in which a restore was cut off while it exchanged the databases; removes what one left that was cut off
/// before that.
///
/// # Errors
/// Says what to do.
pub fn expect_restored(home: &Home) -> Result<()> {
    match home.root().join(RESTORED).exists() {
        false => forget_rests(home),
        true => Err(Error::Setup(format!(
            "a restore was cut off in {}: run it again, as `vestibule restore BACKUP --replace`. The database that was \
             there before lies in the newest folder replaced-…",
            home.root().display()
        ))),
    }
}

/// Removes what a restore that was cut off, or failed, left: SQLite would take a left journal for the next
/// database's.
fn forget_rests(home: &Home) -> Result<()> {
    let of_database = |name: &'static str| BESIDE.map(|beside| format!("{name}{beside}"));
    let copies = OPERATORS.map(|part| format!("{part}{COPYING}"));
    let rests = [RESTORING, RESTORED].into_iter().flat_map(of_database).chain(copies);
    rests.map(|name| home.root().join(name)).try_for_each(|rest| {
        if_there(fs::remove_file(&rest)).context(|| format!("cannot remove {}", rest.display())).map(drop)
    })
}

/// Whether the backup's database has the size that it had when it was made.
fn is_whole(from: &Path, manifest: &Manifest, copied: u64) -> Result<()> {
    if copied == manifest.database_bytes {
        return Ok(());
    }
    Err(Error::Refused(format!(
        "{} is damaged: its {DATABASE} has {copied} bytes, and {} when it was made; take another backup",
        from.display(),
        manifest.database_bytes
    )))
}

fn manifest(from: &Path) -> Result<Manifest> {
    let no_backup = |why: &dyn std::fmt::Display| {
        Error::Refused(format!("{} is no backup, or was never completed: {MANIFEST}: {why}", from.display()))
    };
    let text = plain_file::text(&from.join(MANIFEST), plain_file::WRITTEN_BYTES_MAX);
    let text = text.map_err(|error| no_backup(&error))?;
    serde_json::from_str(&text).map_err(|error| no_backup(&error))
}

/// Checks the copy of the database, marks its sessions, and takes the files that it names. Returns how many it took,
/// and how many the backup lacks.
fn take(home: &Home, database: &Path, blobs: &Path) -> Result<(usize, usize)> {
    let named = marked(home, database).map_err(|error| match error {
        Error::Db(error) => {
            Error::Refused(format!("the backup's {DATABASE} is damaged: {error}; take another backup"))
        }
        error => error,
    })?;
    // Its limits are for what comes from outside.
    let none = Limits { message_bytes: 0, session_bytes: 0, reserve_bytes: 0 };
    let store = Store::open(home.attachments(), none)?;
    let mut missing = 0;
    for (blob, size) in &named {
        let is_whole = fs::metadata(blobs.join(blob)).is_ok_and(|meta| meta.len() == *size);
        if !is_whole {
            missing += 1;
            continue;
        }
        match store.take_from(blob, blobs) {
            Ok(Some(_)) => {}
            Ok(None) => missing += 1,
            Err(error) => return Err(error).context(|| format!("cannot take {blob} from the backup")),
        }
    }
    store.sync()?;
    Ok((named.len() - missing, missing))
}

/// Marks the sessions of a copy. Returns the blobs that it names, with their sizes in bytes.
fn marked(home: &Home, database: &Path) -> Result<Vec<(String, u64)>> {
    let mut db = DatabaseCopy::open(database)?;
    db.write(|db| mark(db, home))?;
    let named = db.read(|db| {
        let sql = "SELECT blob, MAX(size_bytes) FROM files WHERE blob IS NOT NULL GROUP BY blob";
        let mut statement = db.prepare(sql)?;
        let size = |bytes: i64| u64::try_from(bytes).unwrap_or_default();
        let rows = statement.query_map([], |r| Ok((r.get(0)?, size(r.get(1)?))))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    })?;
    db.close()?;
    Ok(named)
}

/// Holds the deliveries that were on their way at the backup: they may have arrived since. What the sessions' runners
/// wrote since is held, too, when it is read.
fn mark(db: &WriteTxn, home: &Home) -> Result<()> {
    let mut statement = db.prepare("SELECT id, agent_group_id FROM sessions")?;
    let sessions = statement.query_map([], |r| Ok((r.get(0)?, r.get(1)?)))?;
    for session in sessions {
        let (id, agent): (SessionId, AgentGroupId) = session?;
        let has_out = fs::symlink_metadata(home.session(&agent, &id).out()).is_ok();
        ledger::mark_set_back(db, &id, has_out, clock::now())?;
    }
    ledger::mark_own_set_back(db, clock::now())?;
    Ok(())
}

/// Moves the home's database out of the way, with what belongs to it. Returns where to.
fn set_aside(home: &Home) -> Result<Option<PathBuf>> {
    // The log goes first: beside another database it would be taken for that one's.
    let names = ["vestibule.db-wal", "vestibule.db-shm", DATABASE];
    let there = names.into_iter().filter(|name| home.root().join(name).exists()).collect::<Vec<_>>();
    if there.is_empty() {
        return Ok(None);
    }
    let time = vestibule_session::format_time(clock::now()).replace(':', "-");
    let begun = begun_aside(home);
    let aside = begun.clone().unwrap_or_else(|| home.root().join(format!("{ASIDE}{time}")));
    let move_all = || -> std::io::Result<()> {
        if begun.is_none() {
            fs::create_dir(&aside)?;
        }
        there.iter().try_for_each(|name| fs::rename(home.root().join(name), aside.join(name)))
    };
    move_all().context(|| format!("cannot move the database to {}", aside.display()))?;
    Ok(Some(aside))
}

/// The folder into which a restore that was cut off had begun to move the database: a log alone is of no use.
fn begun_aside(home: &Home) -> Option<PathBuf> {
    let is_aside = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(ASIDE)) && path.is_dir()
    };
    let folders = fs::read_dir(home.root()).ok()?.flatten().map(|entry| entry.path()).filter(is_aside);
    folders.max().filter(|newest| !newest.join(DATABASE).exists())
}
