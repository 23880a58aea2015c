//! The database was put back to an earlier state: a session's files know more than it does.
//!
//! A session's file never shows a change that the ledger does not have on disk. A file that does was written by a newer
//! ledger: the operator restored a backup, or copied the database. What the session's runner wrote since then is not on
//! record and would go out once more; so would what was on its way. Both are held until an operator decides.

use super::adopted::{adopt_change, adopt_message};
use super::deliveries::HELD;
use super::suspects::NOT_SHOWN;
use super::turns::OPEN;
use crate::clock::Timestamp;
use crate::db::{ReadTxn, WriteTxn};
use crate::error::Result;
use crate::id::SessionId;
use rusqlite::params;
use vestibule_session::{InboundWriter, MessageIn};

/// What a session's file knows and the database does not.
#[derive(Debug)]
pub struct Newer {
    /// The change that the file shows.
    change: i64,
    /// The highest number that the file gives.
    highest_seq: i64,
    /// Messages that wait in the database and are settled in the file, and how.
    settled: Vec<(String, String)>,
    /// Messages that wait in the file.
    pending: Vec<MessageIn>,
    /// Replies on their way in the database whose outcome is in the file, and the platform's id.
    outcomes: Vec<(String, String, Option<String>)>,
}

impl Newer {
    /// Reads a session's file before it is made again. Parts that cannot be read, of a file of another version, are
    /// left out.
    ///
    /// # Errors
    /// The database fails.
    pub(super) fn read(
        db: &ReadTxn,
        session_id: &SessionId,
        file: &InboundWriter,
        change: i64,
    ) -> Result<Newer> {
        let mut statement =
            db.prepare("SELECT id FROM messages_in WHERE session_id = ?1 AND status = 'pending'")?;
        let waiting = statement.query_map([session_id], |r| r.get::<_, String>(0))?;
        let mut settled = Vec::new();
        for id in waiting {
            let id = id?;
            let status = file.status_of(&id).unwrap_or_default();
            settled.extend(status.filter(|status| status != "pending").map(|status| (id, status)));
        }
        let sql = format!(
            "SELECT message_out_id FROM deliveries WHERE session_id = ?1 AND ({OPEN} OR state = 'held')"
        );
        let mut statement = db.prepare(&sql)?;
        let under_way = statement.query_map([session_id], |r| r.get::<_, String>(0))?;
        let mut outcomes = Vec::new();
        for id in under_way {
            let id = id?;
            let outcome = file.outcome_of(&id).unwrap_or_default();
            outcomes.extend(outcome.map(|(status, platform_message_id)| (id, status, platform_message_id)));
        }
        let (highest_seq, pending) = (file.highest_seq().unwrap_or(0), file.pending().unwrap_or_default());
        Ok(Newer { change, highest_seq, settled, pending, outcomes })
    }
}

/// Takes over what a session's file knows, and marks the session; returns how many messages the database did not have.
/// They were acknowledged to their platforms, and no agent has answered them.
pub fn take_newer(db: &WriteTxn, session_id: &SessionId, newer: &Newer, now: Timestamp) -> Result<usize> {
    // From here on the database is as new as the file, which is made again.
    db.execute(
        "UPDATE sessions SET set_back = 1, rebuild = 1, projected = 0, change = MAX(change, ?2), \
         last_seq = MAX(last_seq, ?3), changed_by = ?4, change_before = MAX(change, ?2) WHERE id = ?1",
        params![session_id, newer.change, newer.highest_seq, crate::id::process_id()],
    )?;
    let change = adopt_change(db, session_id)?;
    let mut settle = db.prepare(
        "UPDATE messages_in SET status = ?3, change = ?4, settled_at = ?5 \
         WHERE session_id = ?1 AND id = ?2 AND status = 'pending'",
    )?;
    for (id, status) in &newer.settled {
        settle.execute(params![session_id, id, status, change, now.0])?;
    }
    for (id, status, platform_message_id) in &newer.outcomes {
        db.execute(
            "UPDATE deliveries SET state = ?3, platform_message_id = ?4, settled_at = ?5, change = ?6 \
             WHERE session_id = ?1 AND message_out_id = ?2 AND ?3 IN ('delivered', 'failed')",
            params![session_id, id, status, platform_message_id, now.0, change],
        )?;
    }
    hold_what_is_under_way(db, session_id, now)?;
    let mut taken = 0;
    for message in &newer.pending {
        let process_after = message.process_after.filter(|at| *at < NOT_SHOWN);
        // Its number may have been given again.
        let message = MessageIn { seq: 0, process_after, ..message.clone() };
        taken += usize::from(adopt_message(db, session_id, change, (&message, None), now)?);
    }
    Ok(taken)
}

/// A reply that was on its way when the database was saved may have arrived since.
fn hold_what_is_under_way(db: &WriteTxn, session_id: &SessionId, now: Timestamp) -> Result<()> {
    let sql = format!(
        "UPDATE deliveries SET state = 'held', settled_at = ?2, last_error = ?3 WHERE session_id = ?1 \
         AND ({OPEN} OR (state = 'deferred' AND due_at <= ?2))"
    );
    db.execute(&sql, params![session_id, now.0, HELD])?;
    Ok(())
}

/// The sessions with deliveries on their way, or to be sent later: before these go on, the runtime looks whether the
/// sessions' files are newer.
pub fn with_deliveries(db: &ReadTxn) -> Result<Vec<SessionId>> {
    let mut sessions = writers(db)?;
    sessions.retain(|session_id| session_id.module().is_none());
    Ok(sessions)
}

/// The sessions, and the modules, with words on their way, or for later.
fn writers(db: &ReadTxn) -> Result<Vec<SessionId>> {
    let sql = format!(
        "SELECT session_id FROM deliveries INDEXED BY deliveries_open WHERE {OPEN} \
         UNION SELECT session_id FROM deliveries INDEXED BY deliveries_deferred WHERE state = 'deferred'"
    );
    let mut statement = db.prepare(&sql)?;
    let rows = statement.query_map([], |r| r.get(0))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// The central database was put back to an earlier state: what modules had on the way is held, too.
pub fn mark_own_set_back(db: &WriteTxn, now: Timestamp) -> Result<()> {
    let writers = writers(db)?.into_iter().filter(|writer| writer.module().is_some());
    writers.into_iter().try_for_each(|writer| hold_what_is_under_way(db, &writer, now))
}

/// Marks a session of a database that is put back. Without `has_out` its runner's file is gone, and the next file
/// counts anew.
pub fn mark_set_back(db: &WriteTxn, session_id: &SessionId, has_out: bool, now: Timestamp) -> Result<()> {
    hold_what_is_under_way(db, session_id, now)?;
    db.prepare_cached(
        "UPDATE sessions SET set_back = 1, outbound_floor = CASE WHEN ?2 THEN outbound_floor ELSE 0 END, \
         pruned_floor = CASE WHEN ?2 THEN pruned_floor ELSE 0 END, \
         outbound_boot_id = CASE WHEN ?2 THEN outbound_boot_id END WHERE id = ?1",
    )?
    .execute(params![session_id, has_out])?;
    Ok(())
}

/// The marked sessions that can run, at most `limit` after the one named, by id.
pub fn set_back_sessions(db: &ReadTxn, after: Option<&SessionId>, limit: i64) -> Result<Vec<SessionId>> {
    let mut statement = db.prepare(
        "SELECT id FROM sessions WHERE set_back AND quarantined IS NULL AND id > ?1 ORDER BY id LIMIT ?2",
    )?;
    let rows = statement.query_map(params![after.map_or("", SessionId::as_str), limit], |r| r.get(0))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::{Ledger, Looked, bump};
    use super::*;
    use crate::attachments::{Limits, Store};
    use crate::db::Central;
    use crate::home::Home;

    /// A home with the session `s` of the agent `ag`.
    pub struct Context {
        threads: tokio::runtime::Runtime,
        central: Central,
        pub home: Home,
        store: Store,
        _folder: tempfile::TempDir,
    }

    impl Context {
        pub fn new() -> Context {
            let folder = tempfile::tempdir().expect("a folder");
            let home = Home::at(folder.path());
            let limits = Limits { message_bytes: 0, session_bytes: 0, reserve_bytes: 0 };
            let context = Context {
                threads: tokio::runtime::Builder::new_current_thread().build().expect("threads"),
                central: Central::open(&home.central_db()).expect("it opens"),
                store: Store::open(home.attachments(), limits).expect("it opens"),
                home,
                _folder: folder,
            };
            context.sql(
                "INSERT INTO agent_groups (id, name, folder, created_at) VALUES ('ag', 'a', 'a', 0); \
                 INSERT INTO sessions (id, agent_group_id, created_at, last_active) VALUES ('s', 'ag', 0, 0)",
            );
            context
        }

        pub fn write<T: Send + 'static>(
            &self,
            work: impl FnOnce(&WriteTxn<'_>) -> Result<T> + Send + 'static,
        ) -> T {
            self.threads.block_on(self.central.write(work)).expect("it commits")
        }

        pub fn sql(&self, sql: &'static str) {
            self.write(|db| Ok(db.execute_batch(sql)?));
        }

        pub fn changes(&self, times: usize) {
            self.write(move |db| (0..times).try_for_each(|_| bump(db, &"s".into()).map(drop)));
        }

        pub fn look(&self, ledger: &Ledger) -> Looked {
            let routes = |_: &ReadTxn, _: &SessionId| Ok(Default::default());
            ledger.project(&self.central, &self.home, &self.store, &"s".into(), &routes).expect("it looks")
        }
    }

    /// Many messages may come before the session is looked at: they take the numbers that the file shows.
    #[test]
    fn a_file_that_is_newer_is_noticed_once_whatever_came_since() {
        let (context, before) = (Context::new(), Ledger::default());
        context.changes(9);
        assert!(matches!(context.look(&before), Looked::Projected(_)));
        // Another process had it at 4 when the database was saved; this one has changed it 20 times since.
        context.sql("UPDATE sessions SET change = 4, changed_by = 'another', change_before = 1");
        context.changes(20);
        let ledger = Ledger::default();
        let Looked::Newer(newer) = context.look(&ledger) else { panic!("the file shows 10") };
        assert_eq!(newer.change, 10);
        context.write(move |db| take_newer(db, &"s".into(), &newer, Timestamp(9)));
        let Looked::Projected(projected) = context.look(&ledger) else { panic!("it is taken over") };
        assert!(projected.seen.running, "what its runner wrote is read before it runs again");
        for _ in 0..2 {
            context.changes(1);
            assert!(matches!(context.look(&ledger), Looked::Projected(_)));
            ledger.forget(&"s".into());
        }
        assert_eq!(context.write(|db| set_back_sessions(db, None, 9)), ["s"]);
    }

    #[test]
    fn what_only_the_file_knows_is_taken_over() {
        let (context, before) = (Context::new(), Ledger::default());
        let said = |sql: &'static str| {
            context.write(move |db| {
                let change = bump(db, &"s".into())?;
                Ok(db.execute(sql, [change])?)
            })
        };
        said(
            "INSERT INTO messages_in (session_id, id, seq, kind, timestamp, status, \"trigger\", content, change) \
             VALUES ('s', 'old', 2, 'chat', 0, 'pending', 1, '{}', ?1)",
        );
        context.sql(
            "INSERT INTO deliveries (session_id, message_out_id, seq, kind, content, state, taken_at, due_at) VALUES \
             ('s', 'went', 1, 'chat', '', 'pending', 0, 0), ('s', 'perhaps', 3, 'chat', '', 'unknown', 0, 0), \
             ('s', 'due', 5, 'chat', '', 'deferred', 0, 9), ('s', 'later', 7, 'chat', '', 'deferred', 0, 99); \
             CREATE TABLE saved AS SELECT * FROM messages_in; CREATE TABLE sent AS SELECT * FROM deliveries",
        );
        context.look(&before);
        said(
            "INSERT INTO messages_in (session_id, id, seq, kind, timestamp, status, \"trigger\", content, change) \
             VALUES ('s', 'new', 4, 'chat', 0, 'pending', 1, '{}', ?1)",
        );
        said("UPDATE messages_in SET status = 'completed', change = ?1 WHERE id = 'old'");
        said(
            "UPDATE deliveries SET state = 'delivered', change = ?1, settled_at = 1, platform_message_id = 'p' WHERE seq = 1",
        );
        context.look(&before);
        context.sql(
            "DELETE FROM messages_in; INSERT INTO messages_in SELECT * FROM saved; \
             DELETE FROM deliveries; INSERT INTO deliveries SELECT * FROM sent; \
             UPDATE sessions SET change = 2, last_seq = 2, changed_by = 'another'",
        );
        let ledger = Ledger::default();
        let Looked::Newer(newer) = context.look(&ledger) else { panic!("the file shows more") };
        assert_eq!(context.write(|db| with_deliveries(db)), ["s"]);
        let taken = context.write(move |db| take_newer(db, &"s".into(), &newer, Timestamp(9)));
        assert_eq!(taken, 1, "one was only in the file");
        let sent = "SELECT group_concat(message_out_id || ' ' || state) FROM (SELECT * FROM deliveries ORDER BY seq)";
        let sent = context.write(|db| Ok(db.query_row(sent, [], |r| r.get::<_, String>(0))?));
        assert_eq!(sent, "went delivered,perhaps held,due held,later deferred");
        context.sql("UPDATE deliveries SET state = 'dropped' WHERE state = 'deferred'");
        assert_eq!(context.write(|db| with_deliveries(db)), [""; 0], "nothing of it goes out");
        let rows = "SELECT group_concat(id || ' ' || status || ' ' || seq) FROM (SELECT * FROM messages_in ORDER BY seq)";
        let rows = context.write(|db| Ok(db.query_row(rows, [], |r| r.get::<_, String>(0))?));
        assert_eq!(rows, "old completed 2,new pending 6", "no number is given twice");
    }

    #[test]
    fn what_modules_had_on_the_way_is_held_as_well() {
        let context = Context::new();
        context.sql(
            "INSERT INTO deliveries (session_id, message_out_id, seq, kind, content, state, taken_at, channel_type, account, \
             platform_id) VALUES ('module:guard', 'a', 0, 'chat', '', 'unknown', 0, 'x', 'main', 'c'), \
             ('s', 'b', 1, 'chat', '', 'pending', 0, 'x', 'main', 'c')",
        );
        assert_eq!(context.write(|db| with_deliveries(db)), ["s"], "modules have no files to look at");
        context.write(|db| mark_own_set_back(db, Timestamp(9)));
        let states =
            "SELECT group_concat(state, ' ') FROM (SELECT state FROM deliveries ORDER BY message_out_id)";
        let states: String = context.write(move |db| Ok(db.query_row(states, [], |r| r.get(0))?));
        assert_eq!(states, "held pending");
    }
}
