//! The central database: one writer thread that takes every waiting caller into one commit, and a few readers beside
//! it.

mod address;
pub mod migrate;
mod notes;
mod txn;

pub use address::address_at;
pub use notes::{note, remove_note, set_note};
pub use txn::{ReadTxn, WriteTxn};

use crate::error::{Error, Result};
use crate::lock::locked;
use rusqlite::{Connection, OpenFlags};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot, watch};
use vestibule_session::crash;

/// How many callers may wait for a commit before the next one is held back.
const QUEUE_MAX: usize = 1024;
/// The most callers that share one commit.
const GROUP_MAX: usize = 256;
/// How often the log tells of a lasting trouble.
const TOLD_EVERY: Duration = Duration::from_secs(60);
/// Idle reading connections that are kept.
const READERS_KEPT: usize = 4;

/// Runs a caller's part of the transaction; the caller is answered after the commit, or after its failure.
type Job = Box<dyn FnOnce(std::result::Result<&Connection, ()>) -> Answer + Send>;
/// How a caller's part of a transaction went, and how the caller is told of the commit.
struct Answer {
    stands: bool,
    /// The part failed for want of space.
    full: bool,
    after: Box<dyn FnOnce(std::result::Result<(), Arc<rusqlite::Error>>) + Send>,
}

/// The one way into the central database. Cheap to clone.
#[derive(Clone)]
pub struct Central {
    queue: mpsc::Sender<Job>,
    readers: Arc<Readers>,
    commits: watch::Receiver<()>,
    writer: Arc<Writer>,
}

/// The writer's thread, and whether it ends with its next commit.
struct Writer {
    closing: AtomicBool,
    thread: Mutex<Option<JoinHandle<rusqlite::Result<()>>>>,
}

struct Readers {
    path: std::path::PathBuf,
    /// `None` once the database is closed.
    idle: Mutex<Option<Vec<Connection>>>,
}

#[allow(clippy::disallowed_methods, reason = "this module opens the database")]
fn open(path: &Path, flags: OpenFlags) -> Result<Connection> {
    let db = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    db.busy_timeout(Duration::from_secs(5))?;
    db.execute_batch("PRAGMA foreign_keys = ON")?;
    Ok(db)
}

/// Runs `work` on the database of a home in which no runtime runs, of whatever version. Nothing is changed in it.
///
/// # Errors
/// SQLite fails, or what `work` returns.
pub fn read_at_rest<T>(path: &Path, work: impl FnOnce(&ReadTxn<'_>) -> Result<T>) -> Result<T> {
    work(&ReadTxn::of(&open(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?))
}

/// An empty database of a unit test, without a table.
#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "this module opens the database")]
fn empty_in_memory() -> Connection {
    let db = Connection::open_in_memory().expect("memory is there");
    db.execute_batch("PRAGMA foreign_keys = ON").expect("it is set");
    db
}

/// A central database of a unit test, with all tables.
#[cfg(test)]
pub fn in_memory() -> WriteTxn<'static> {
    let mut db = empty_in_memory();
    migrate::to_latest(&mut db).expect("all migrations apply");
    WriteTxn::of_test(db)
}

impl Central {
    /// Opens or makes the database, brings it up to date, and starts its writer.
    ///
    /// # Errors
    /// It was written by a newer version, or SQLite fails.
    pub fn open(path: &Path) -> Result<Central> {
        let mut db = open(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
        db.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL")?;
        migrate::to_latest(&mut db)?;
        let (queue, jobs) = mpsc::channel(QUEUE_MAX);
        let (committed, commits) = watch::channel(());
        let writer = Arc::new(Writer { closing: AtomicBool::new(false), thread: Mutex::default() });
        let shared = writer.clone();
        let thread = std::thread::Builder::new()
            .name("ledger".into())
            .spawn(move || serve(&db, jobs, &committed, &shared.closing))
            .map_err(|source| Error::Io { what: "cannot start the ledger's thread".into(), source })?;
        *locked(&writer.thread) = Some(thread);
        let readers = Arc::new(Readers { path: path.to_owned(), idle: Mutex::new(Some(Vec::new())) });
        Ok(Central { queue, readers, commits, writer })
    }

    /// Writes everything into the one file, and ends the writer: the file alone is the whole database then. A write
    /// that comes later is refused.
    ///
    /// # Errors
    /// SQLite fails, or a reader goes on for too long: the file beside it, `-wal`, still belongs to the database.
    pub async fn close(&self) -> Result<()> {
        self.writer.closing.store(true, Ordering::Release);
        // The writer waits for the next part, so it is woken with an empty one; a writer that has gone needs none.
        let _ = self.write(|_| Ok(())).await;
        *locked(&self.readers.idle) = None;
        let Some(thread) = locked(&self.writer.thread).take() else { return Ok(()) };
        match tokio::task::spawn_blocking(move || thread.join()).await {
            Ok(Ok(written)) => Ok(written?),
            _ => Err(Error::Stopping),
        }
    }

    /// Copies the database, as it is between two commits, into a new file. No writer waits for it.
    ///
    /// # Errors
    /// The file is there already, or the disk fails.
    pub async fn copy_to(&self, file: &Path) -> Result<()> {
        let file = file.to_owned();
        let readers = self.readers.clone();
        let copy = move |db: &Connection| {
            let path = file.to_str().ok_or_else(|| Error::refused("its path is no UTF-8"))?;
            db.execute("VACUUM INTO ?1", [path])?;
            Ok(())
        };
        tokio::task::spawn_blocking(move || readers.with(copy)).await.map_err(|_| Error::Stopping)?
    }

    /// A receiver that is notified of each commit.
    pub fn commits(&self) -> watch::Receiver<()> {
        self.commits.clone()
    }

    /// Runs `work` in the next transaction and returns after it is on disk. When `work` fails, its part is undone and
    /// the other callers' parts stand.
    ///
    /// # Errors
    /// The error of `work`, or the failure of the commit: then nothing of it happened.
    pub async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&WriteTxn<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |db| {
            // Without a transaction the commit's error is the answer.
            let result = db.map_err(|()| Error::Stopping).and_then(|db| work(&WriteTxn::of(db)));
            Answer {
                stands: result.is_ok(),
                full: matches!(&result, Err(Error::Db(error)) if is_full(error)),
                after: Box::new(move |commit| {
                    let result = match (result, commit) {
                        (Ok(_) | Err(Error::Stopping), Err(error)) => Err(commit_failed(&error)),
                        (result, _) => result,
                    };
                    // No caller waits any more: it was cancelled.
                    let _ = answer.send(result);
                }),
            }
        });
        self.queue.send(job).await.map_err(|_| Error::Stopping)?;
        answered.await.map_err(|_| Error::Stopping)?
    }

    /// Runs `work` on a reading connection, off the async threads.
    ///
    /// # Errors
    /// The error of `work`.
    pub async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&ReadTxn<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let readers = self.readers.clone();
        tokio::task::spawn_blocking(move || readers.read(work)).await.map_err(|_| Error::Stopping)?
    }

    /// Runs `work` on a reading connection, on this thread.
    ///
    /// # Errors
    /// The error of `work`.
    pub fn read_here<T>(&self, work: impl FnOnce(&ReadTxn<'_>) -> Result<T>) -> Result<T> {
        self.readers.read(work)
    }
}

fn commit_failed(error: &Arc<rusqlite::Error>) -> Error {
    match &**error {
        rusqlite::Error::SqliteFailure(code, words) => {
            Error::Db(rusqlite::Error::SqliteFailure(*code, words.clone()))
        }
        other => Error::Refused(format!("the central database failed: {other}")),
    }
}

impl Readers {
    /// Runs `work` in one transaction: all that it reads is of the same commit, whatever is committed meanwhile.
    fn read<T>(&self, work: impl FnOnce(&ReadTxn<'_>) -> Result<T>) -> Result<T> {
        self.with(|db| {
            let snapshot = db.unchecked_transaction()?;
            work(&ReadTxn::of(&snapshot))
        })
    }

    fn with<T>(&self, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        let idle = locked(&self.idle).as_mut().and_then(Vec::pop);
        let db = match idle {
            Some(db) => db,
            None => open(&self.path, OpenFlags::SQLITE_OPEN_READ_ONLY)?,
        };
        let result = work(&db);
        if let Some(idle) = locked(&self.idle).as_mut().filter(|idle| idle.len() < READERS_KEPT) {
            idle.push(db);
        }
        result
    }
}

/// A database that is no runtime's: a copy, to look at it and to change it.
pub struct DatabaseCopy(Connection);

impl DatabaseCopy {
    /// Opens it and brings it up to date.
    ///
    /// # Errors
    /// The file is not there, is no database, or was written by a newer version.
    pub fn open(path: &Path) -> Result<DatabaseCopy> {
        let mut db = open(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        let sound: String = db.query_row("PRAGMA quick_check(1)", [], |r| r.get(0))?;
        if sound != "ok" {
            return Err(Error::Refused(format!("{} is damaged: {sound}", path.display())));
        }
        migrate::to_latest(&mut db)?;
        Ok(DatabaseCopy(db))
    }

    /// Runs `work` on what it holds.
    ///
    /// # Errors
    /// What `work` returns.
    pub fn read<T>(&self, work: impl FnOnce(&ReadTxn<'_>) -> Result<T>) -> Result<T> {
        work(&ReadTxn::of(&self.0))
    }

    /// Runs `work` in one transaction.
    ///
    /// # Errors
    /// What `work` returns, or the failure of the commit: then nothing of it happened.
    pub fn write<T>(&mut self, work: impl FnOnce(&WriteTxn<'_>) -> Result<T>) -> Result<T> {
        let transaction = self.0.transaction()?;
        let result = work(&WriteTxn::of(&transaction))?;
        transaction.commit()?;
        Ok(result)
    }

    /// Closes it: all that was written is in its file.
    ///
    /// # Errors
    /// SQLite fails.
    pub fn close(self) -> Result<()> {
        Ok(self.0.close().map_err(|(_, error)| error)?)
    }
}

/// The writer: all callers that wait when a transaction begins share its commit. Ends when no caller is left that could
/// write, or when it is told to.
fn serve(
    db: &Connection,
    mut jobs: mpsc::Receiver<Job>,
    commits: &watch::Sender<()>,
    closing: &AtomicBool,
) -> rusqlite::Result<()> {
    let mut trouble = Trouble::default();
    while let Some(first) = jobs.blocking_recv() {
        let mut answers = Vec::new();
        let committed = group(db, first, &mut jobs, &mut answers);
        trouble.note(&committed, answers.iter().any(|answer| answer.full));
        let committed = committed.map_err(|error| {
            let _ = db.execute_batch("ROLLBACK");
            Arc::new(error)
        });
        crash::point("ledger: after a commit, nobody was told");
        for answer in answers {
            (answer.after)(committed.clone());
        }
        commits.send_replace(());
        if closing.load(Ordering::Acquire) {
            break;
        }
    }
    jobs.close();
    // The last connection leaves one file behind.
    let busy: bool = db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |r| r.get(0))?;
    match busy {
        true => {
            Err(rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY), None))
        }
        false => Ok(()),
    }
}

fn is_full(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull)
}

/// Whether the database could commit last time: the log tells of a lasting trouble once a minute, not once for each
/// message that meets it.
#[derive(Default)]
struct Trouble {
    told: Option<Instant>,
}

impl Trouble {
    fn note(&mut self, committed: &rusqlite::Result<()>, part_was_full: bool) {
        let full = part_was_full || committed.as_ref().is_err_and(is_full);
        if !full && committed.is_ok() {
            if self.told.take().is_some() {
                tracing::info!("the central database commits again");
            }
            return;
        }
        if self.told.is_some_and(|told| told.elapsed() < TOLD_EVERY) {
            return;
        }
        self.told = Some(Instant::now());
        if full {
            tracing::error!(
                "the disk is full: new messages are refused, and their platforms told to send them again. What was \
                 taken before is safe. Free some space; nothing needs to be restarted"
            );
        } else if let Err(error) = committed {
            tracing::error!(%error, "the central database could not commit, and refuses the writes");
        }
    }
}

fn group(
    db: &Connection,
    first: Job,
    jobs: &mut mpsc::Receiver<Job>,
    answers: &mut Vec<Answer>,
) -> rusqlite::Result<()> {
    if let Err(error) = db.prepare_cached("BEGIN IMMEDIATE").and_then(|mut begin| begin.execute([])) {
        answers.push(first(Err(())));
        return Err(error);
    }
    let mut next = Some(first);
    while let Some(job) = next {
        db.prepare_cached("SAVEPOINT part")?.execute([])?;
        let answer = job(Ok(db));
        let stands = answer.stands;
        answers.push(answer);
        if !stands && db.is_autocommit() {
            // SQLite has given up the whole transaction, which it does when the disk is full.
            return Err(rusqlite::Error::SqliteFailure(
                rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL),
                None,
            ));
        }
        if !stands {
            db.prepare_cached("ROLLBACK TO part")?.execute([])?;
        }
        db.prepare_cached("RELEASE part")?.execute([])?;
        next = if answers.len() < GROUP_MAX { jobs.try_recv().ok() } else { None };
    }
    crash::point("ledger: before a commit");
    db.prepare_cached("COMMIT")?.execute([])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message must not be seen without its files, because both were committed between two of a reader's queries.
    #[test]
    fn what_is_read_together_is_of_one_commit() {
        let folder = tempfile::tempdir().expect("a folder");
        let threads = tokio::runtime::Builder::new_current_thread().build().expect("threads");
        let central = Central::open(&folder.path().join("vestibule.db")).expect("it opens");
        let count = |db: &ReadTxn| db.query_row("SELECT COUNT(*) FROM meta", [], |r| r.get::<_, i64>(0));
        let read = central.read_here(|db| {
            let before = count(db)?;
            let insert =
                |db: &WriteTxn| Ok(db.execute("INSERT INTO meta (key, value) VALUES ('k', 'v')", [])?);
            threads.block_on(central.write(insert))?;
            Ok((before, count(db)?))
        });
        let (before, after) = read.expect("it reads");
        assert_eq!(before, after);
        assert_eq!(central.read_here(|db| Ok(count(db)?)).expect("it reads"), before + 1);
    }
}
