//! From the ledger's rows to a session's `inbound.db`.

use super::files::inbox_since;
use super::records::State;
use super::retention::pruned_since;
use super::set_back::Newer;
use super::suspects::{self, Seen, Shown};
use crate::attachments::Store;
use crate::clock::Timestamp;
use crate::db::Central;
use crate::db::{ReadTxn, WriteTxn};
use crate::error::{Error, IoContext, Result};
use crate::home::Home;
use crate::id::{AgentGroupId, SessionId};
use crate::lock::locked;
use rusqlite::{OptionalExtension, params};
use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use vestibule_session::{
    Applied, Delivered, Destination, Error as SessionError, InboundWriter, MessageIn, Projection, Pruned,
    Routing, SessionDir, Settled, crash,
};

/// Which changes are known to be in their files, in memory. It is written down with the next commit that happens
/// anyway; forgetting it costs a look at the file.
#[derive(Default)]
pub struct Ledger {
    known: Mutex<HashMap<SessionId, Applied>>,
    unwritten: Mutex<HashMap<SessionId, i64>>,
    /// The sessions whose file was found to be no newer than the database.
    looked_at: Mutex<HashSet<SessionId>>,
    /// The sessions whose last run failed: damage in their file that only a runner meets may be the reason.
    doubted: Mutex<HashSet<SessionId>>,
}

/// The result of a look at a session.
#[derive(Debug)]
pub enum Looked {
    /// There is no such session.
    Gone,
    /// Its file shows what the ledger has.
    Projected(Projected),
    /// Its file knows more than the ledger has: take that over ([`super::take_newer`]), and look again.
    Newer(Newer),
}

/// The result of a projection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Projected {
    /// The agent whose session it is.
    pub agent_group_id: AgentGroupId,
    /// What is due in it.
    pub seen: Seen,
}

/// Where a session's agent may send, and where its words go by default: the rooms know both, and they are stored nowhere
/// else.
pub type Routes<'a> = &'a dyn Fn(&ReadTxn, &SessionId) -> Result<(Vec<Destination>, Routing)>;

pub(super) struct SessionRow {
    agent_group_id: AgentGroupId,
    pub(super) change: i64,
    /// As it was before this process changed it.
    change_before: i64,
    /// The change that is known to be in its file.
    projected: i64,
    routing_change: i64,
    /// The change of its agent's destinations.
    destinations: i64,
    pruned_floor: i64,
    last_seq: i64,
    rebuild: bool,
    /// A runner was started and its end is not on record, or the database was set back.
    unread: bool,
    quarantined: bool,
}

impl SessionRow {
    fn target(&self) -> Applied {
        Applied { change: self.change, destinations: self.destinations, is_current: true }
    }

    /// Whether a file that shows this can be brought up to date. For a file that is older than the ledger knows, pruned
    /// rows are no longer noted.
    fn can_follow(&self, applied: Applied) -> bool {
        applied.is_current && (self.projected..=self.change).contains(&applied.change)
    }
}

impl Ledger {
    /// Brings a session's file up to date. Only the session's own lane calls this.
    ///
    /// # Errors
    /// The file is locked or cannot be written; the session stays behind until the next call.
    pub fn project(
        &self,
        central: &Central,
        home: &Home,
        attachments: &Store,
        session_id: &SessionId,
        routes: Routes<'_>,
    ) -> Result<Looked> {
        central.read_here(|db| {
            let Some(wanted) = wanted(db, session_id)? else { return Ok(Looked::Gone) };
            let dir = home.session(&wanted.agent_group_id, session_id);
            let known = locked(&self.known).get(session_id).copied();
            let target = wanted.target();
            if known.is_none_or(|known| known.is_behind(target)) {
                if let Some(newer) =
                    self.write(db, (&dir, attachments), session_id, &wanted, (known.is_none(), routes))?
                {
                    return Ok(Looked::Newer(newer));
                }
                locked(&self.doubted).remove(session_id);
                locked(&self.looked_at).insert(session_id.to_owned());
                locked(&self.known).insert(session_id.to_owned(), target);
                locked(&self.unwritten).insert(session_id.to_owned(), wanted.change);
            }
            let seen = suspects::seen(db, session_id, wanted.unread, wanted.quarantined)?;
            Ok(Looked::Projected(Projected { agent_group_id: wanted.agent_group_id, seen }))
        })
    }

    /// Returns what the file knows and the ledger does not; then nothing was written.
    fn write(
        &self,
        db: &ReadTxn,
        (dir, attachments): (&SessionDir, &Store),
        session_id: &SessionId,
        wanted: &SessionRow,
        (first, routes): (bool, Routes<'_>),
    ) -> Result<Option<Newer>> {
        // A file that an operating system left unflushed is made again, never checked and trusted.
        let made_again = wanted.rebuild && first;
        let opened = if made_again { InboundWriter::look(dir) } else { InboundWriter::open(dir) };
        let is_doubted = locked(&self.doubted).contains(session_id);
        let opened = opened.and_then(|writer| {
            if is_doubted {
                writer.check(wanted.last_seq)?;
            }
            Ok((writer.applied()?, writer))
        });
        if let Ok((applied, writer)) = &opened
            && applied.change > wanted.change_before
            && !locked(&self.looked_at).contains(session_id)
        {
            return Newer::read(db, session_id, writer, applied.change).map(Some);
        }
        let (applied, mut writer) = match opened {
            opened if made_again => {
                drop(opened);
                (Applied::default(), InboundWriter::rebuild(dir)?)
            }
            Ok((applied, writer)) if wanted.can_follow(applied) => (applied, writer),
            Ok(_) | Err(SessionError::Missing | SessionError::Damaged(_)) => {
                (Applied::default(), InboundWriter::rebuild(dir)?)
            }
            Err(error) => return Err(error.into()),
        };
        if !applied.is_behind(wanted.target()) {
            return Ok(None);
        }
        match show(db, &mut writer, (dir, attachments), session_id, applied, wanted, routes) {
            // Its tables are not those that a ledger makes.
            Err(Error::Session(SessionError::Damaged(_))) if applied != Applied::default() => {
                drop(writer);
                let mut writer = InboundWriter::rebuild(dir)?;
                let nothing = Applied::default();
                show(db, &mut writer, (dir, attachments), session_id, nothing, wanted, routes)?;
            }
            shown => shown?,
        }
        Ok(None)
    }

    /// Writes down what is known to be in the files, as part of a transaction that happens anyway.
    ///
    /// # Errors
    /// SQLite fails; the marks are lost, and the files are looked at again at the next start.
    pub fn write_marks(&self, db: &WriteTxn) -> Result<()> {
        let marks = std::mem::take(&mut *locked(&self.unwritten));
        let mut statement = db.prepare_cached(
            "UPDATE sessions SET projected = ?2, rebuild = 0, boot_id = ?3 WHERE id = ?1 AND projected <= ?2",
        )?;
        for (session_id, change) in marks {
            statement.execute(params![session_id, change, crate::id::boot_id()])?;
        }
        Ok(())
    }

    /// Whether a session's file shows this change of its agent's destinations.
    pub fn shows(&self, session_id: &SessionId, destinations: i64) -> bool {
        locked(&self.known).get(session_id).is_some_and(|known| known.destinations == destinations)
    }

    /// Has a session's file looked through before it is written again, and made again if it is damaged.
    pub fn doubt(&self, session_id: &SessionId) {
        locked(&self.doubted).insert(session_id.to_owned());
        self.forget(session_id);
    }

    /// Forgets a session whose lane closes: its next lane looks at the file again.
    pub fn forget(&self, session_id: &SessionId) {
        locked(&self.known).remove(session_id);
    }
}

/// Brings a file up to date that shows the changes up to `applied`.
fn show(
    db: &ReadTxn,
    writer: &mut InboundWriter,
    (dir, attachments): (&SessionDir, &Store),
    session_id: &SessionId,
    applied: Applied,
    wanted: &SessionRow,
    routes: Routes<'_>,
) -> Result<()> {
    for (folder, files) in inbox_since(db, session_id, applied.change)? {
        attachments
            .show_in_inbox(dir, &folder, &files)
            .context(|| format!("cannot show files in {}", dir.root().display()))?;
    }
    let projection = changes(db, session_id, applied, wanted, routes)?;
    // Before the file is written: once it shows the change, no later look would find these folders.
    for folder in &projection.pruned.inbox {
        attachments
            .remove_from_inbox(dir, folder)
            .context(|| format!("cannot remove files in {}", dir.root().display()))?;
    }
    crash::point("projection: pruned folders are gone, their rows are there");
    Ok(writer.apply(&projection)?)
}

/// A file last written under another boot, without a clean stop since, is not trusted.
pub fn distrust_other_boots(db: &WriteTxn) -> Result<usize> {
    Ok(db.execute(
        "UPDATE sessions SET rebuild = 1, projected = 0, boot_id = ?1 WHERE boot_id IS NOT NULL AND boot_id <> ?1",
        [crate::id::boot_id()],
    )?)
}

/// Notes that every file is flushed: the next boot may trust them.
pub fn trust_files(db: &WriteTxn) -> Result<()> {
    db.execute("UPDATE sessions SET boot_id = NULL WHERE boot_id IS NOT NULL", [])?;
    Ok(())
}

pub(super) fn wanted(db: &ReadTxn, session_id: &SessionId) -> Result<Option<SessionRow>> {
    let mut statement = db.prepare_cached(
        "SELECT s.agent_group_id, s.change, s.routing_change, s.rebuild, s.running OR s.set_back, \
         s.quarantined IS NOT NULL, CASE WHEN s.changed_by = ?2 THEN s.change_before ELSE s.change END, s.projected, \
         s.pruned_floor, a.destinations_version, s.last_seq FROM sessions s JOIN agent_groups a ON a.id = s.agent_group_id \
         WHERE s.id = ?1",
    )?;
    let row = statement.query_row([session_id, crate::id::process_id()], |r| {
        Ok(SessionRow {
            agent_group_id: r.get(0)?,
            change: r.get(1)?,
            routing_change: r.get(2)?,
            rebuild: r.get(3)?,
            unread: r.get(4)?,
            quarantined: r.get(5)?,
            change_before: r.get(6)?,
            projected: r.get(7)?,
            pruned_floor: r.get(8)?,
            destinations: r.get(9)?,
            last_seq: r.get(10)?,
        })
    });
    Ok(row.optional()?)
}

pub(super) fn changes(
    db: &ReadTxn,
    session_id: &SessionId,
    applied: Applied,
    wanted: &SessionRow,
    routes: Routes<'_>,
) -> Result<Projection> {
    let since = applied.change;
    let is_routed_anew = wanted.routing_change > since || wanted.destinations != applied.destinations;
    Ok(Projection {
        change: wanted.change,
        destinations: wanted.destinations,
        pruned_floor: wanted.pruned_floor,
        messages: messages_since(db, session_id, since)?,
        delivered: delivered_since(db, session_id, since)?,
        pruned: gone_since(db, session_id, since)?,
        routing: if is_routed_anew { Some(routes(db, session_id)?) } else { None },
    })
}

fn messages_since(db: &ReadTxn, session_id: &SessionId, since: i64) -> Result<Vec<MessageIn>> {
    let shown = Shown::of(db, session_id)?;
    let mut statement = db.prepare_cached(
        "SELECT id, seq, kind, timestamp, status, process_after, recurrence, series_id, tries, \"trigger\", platform_id, \
         channel_type, thread_id, content, source_session_id, on_wake, account, platform_message_id \
         FROM messages_in WHERE session_id = ?1 AND change > ?2 ORDER BY seq",
    )?;
    let messages = statement.query_map(params![session_id, since], |r| {
        let (seq, status, trigger): (i64, String, bool) = (r.get(1)?, r.get(4)?, r.get(9)?);
        let process_after = r.get::<_, Option<i64>>(5)?.map(Timestamp);
        let is_pending = status == "pending";
        Ok(MessageIn {
            id: r.get(0)?,
            seq,
            kind: r.get(2)?,
            timestamp: Timestamp(r.get(3)?),
            status,
            process_after: match is_pending {
                true => shown.process_after(seq, trigger, process_after),
                false => process_after,
            },
            recurrence: r.get(6)?,
            series_id: r.get(7)?,
            tries: r.get(8)?,
            trigger,
            platform_id: r.get(10)?,
            channel_type: r.get(11)?,
            thread_id: r.get(12)?,
            content: r.get(13)?,
            source_session_id: r.get(14)?,
            on_wake: r.get(15)?,
            account: r.get(16)?,
            platform_message_id: r.get(17)?,
        })
    })?;
    Ok(messages.collect::<rusqlite::Result<_>>()?)
}

fn delivered_since(db: &ReadTxn, session_id: &SessionId, since: i64) -> Result<Vec<Delivered>> {
    let mut statement = db.prepare_cached(
        "SELECT message_out_id, platform_message_id, CASE fate WHEN 'failed' THEN 'delivered' ELSE state END, settled_at \
         FROM deliveries \
         WHERE session_id = ?1 AND change > ?2 AND state IN ('delivered', 'failed', 'dropped')",
    )?;
    let delivered = statement.query_map(params![session_id, since], |r| {
        let state: State = r.get(2)?;
        Ok(Delivered {
            message_out_id: r.get(0)?,
            platform_message_id: r.get(1)?,
            status: if state == State::Delivered { Settled::Delivered } else { Settled::Failed },
            delivered_at: Timestamp(r.get::<_, Option<i64>>(3)?.unwrap_or_default()),
        })
    })?;
    Ok(delivered.collect::<rusqlite::Result<_>>()?)
}

/// The rows that the file must lose: pruned ones, and deliveries that are open again.
fn gone_since(db: &ReadTxn, session_id: &SessionId, since: i64) -> Result<Pruned> {
    // A delivery that is open has a change only when an operator opened it again.
    let mut statement = db.prepare_cached(
        "SELECT message_out_id FROM deliveries WHERE session_id = ?1 AND change > ?2 AND change > 0 \
         AND state NOT IN ('delivered', 'failed', 'dropped')",
    )?;
    let reopened = statement.query_map(params![session_id, since], |r| r.get(0))?;
    let mut pruned = Pruned { delivered: reopened.collect::<rusqlite::Result<_>>()?, ..Pruned::default() };
    for (what, name) in pruned_since(db, session_id, since)? {
        match what.as_str() {
            "message" => pruned.messages.push(name),
            "delivered" => pruned.delivered.push(name),
            _ => pruned.inbox.push(name),
        }
    }
    Ok(pruned)
}

#[cfg(test)]
mod tests;
