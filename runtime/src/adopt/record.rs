//! Puts on record what is taken of a foreign folder: each function is a part of one transaction.

use super::decide::{self, Taken};
use super::{AdoptionRequest, files};
use crate::attachments::{LeftOut, StoredFile};
use crate::chat_key::{ChatKey, respelled};
use crate::clock;
use crate::db::{ReadTxn, WriteTxn};
use crate::error::{Error, Result};
use crate::id::SessionId;
use crate::ledger::Direction;
use crate::{agents, delivery, destinations, ledger, messaging_groups, sessions};
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use vestibule_session::ForeignOut;

/// The session, and its chat.
type Opened = (sessions::Adoption, Option<ChatKey>);

/// Opens the session of a folder, or finds the one that an earlier attempt opened.
///
/// # Errors
/// Its chat has a session already, or was named otherwise before.
pub fn open_session(
    db: &WriteTxn,
    wanted: &AdoptionRequest,
    source: &str,
    highest_in: i64,
    cases: &[(String, bool)],
) -> Result<Opened> {
    let now = clock::now();
    messaging_groups::note_case(db, cases)?;
    let agent = agents::named(db, &wanted.agent)?;
    let chat = match (&wanted.channel, &wanted.chat) {
        (Some(channel), Some(chat)) => {
            let chat = ChatKey::new(channel, &wanted.account, chat);
            Some(messaging_groups::find_or_create(db, &chat, None, now)?)
        }
        (None, None) if wanted.thread.is_none() => None,
        _ => return Err(Error::refused("a chat is named by --channel and --chat, and a thread with both")),
    };
    if let Some(chat) = &chat {
        // As a wiring does: without a name for its chat the agent could not answer there.
        let name = agents::local_name(chat.name.as_deref().unwrap_or(&chat.platform_id));
        destinations::ensure(db, &agent.id, &name, &chat.id, now)?;
        ledger::destinations_changed(db, &agent.id)?;
    }
    let chat_id = chat.as_ref().map(|chat| &chat.id);
    let mut thread = wanted.thread.clone();
    if let (Some(chat), Some(thread)) = (&chat, &mut thread)
        && messaging_groups::ignores_case(db, &chat.channel_type)?
        && let Some(as_known) = respelled(thread, &chat.platform_id)
    {
        *thread = as_known;
    }
    let thread = thread.as_deref();
    let adoption = match sessions::adoption_of(db, source)? {
        Some(begun) => {
            let session = &begun.session;
            let same = session.agent_group_id == agent.id
                && session.messaging_group_id.as_ref() == chat_id
                && session.thread_id.as_deref() == thread;
            if !same {
                return Err(Error::Refused(format!(
                    "taking it over was begun for another agent or chat, as the session {}; name the same again",
                    session.id
                )));
            }
            begun
        }
        None => sessions::begin_adoption(db, source, &agent.id, chat_id, thread, highest_in, now)?,
    };
    Ok((adoption, chat.map(|chat| chat.key())))
}

/// The parts of a row's address: its channel, its chat and its thread.
pub type Place<'a> = (&'a Option<String>, &'a mut Option<String>, &'a mut Option<String>);

/// Gives the chats of rows, and their threads, the spelling by which they are known here.
///
/// # Errors
/// SQLite fails.
pub fn spell<'a>(db: &ReadTxn, places: impl Iterator<Item = Place<'a>>) -> Result<()> {
    let mut seen: HashMap<(String, String), Option<String>> = HashMap::new();
    for (channel, chat, thread) in places {
        let (Some(channel), Some(named)) = (channel, chat.as_ref()) else { continue };
        let known = match seen.entry((channel.clone(), named.clone())) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(messaging_groups::known_as(db, channel, named)?),
        };
        let Some(known) = known else { continue };
        if let Some(as_known) = thread.as_ref().and_then(|thread| respelled(thread, known)) {
            *thread = Some(as_known);
        }
        *chat = Some(known.clone());
    }
    Ok(())
}

/// What became of the files of some rows.
#[derive(Default)]
pub struct Files {
    /// How many are here.
    pub taken: usize,
    /// The others: their names, and why.
    pub left_out: Vec<(String, String)>,
}

/// What became of some replies.
#[derive(Default)]
pub struct Recorded {
    /// How many are new here.
    pub new: usize,
    /// Of those, how many are to be delivered now.
    pub undelivered: usize,
    /// Of those, how many may go nowhere.
    pub refused: usize,
    /// The files of those that are to be delivered.
    pub files: Files,
}

/// Puts inbound rows on record with their files. Returns the ids of those that were new, and what became of their
/// files.
///
/// # Errors
/// SQLite fails, or the session is gone.
pub fn messages(
    db: &WriteTxn,
    session_id: &SessionId,
    rows: Vec<(Taken, Vec<StoredFile>)>,
    session_bytes_max: u64,
) -> Result<(HashSet<String>, Files)> {
    let (now, change) = (clock::now(), ledger::adopt_change(db, session_id)?);
    let (mut new, mut files) = (HashSet::new(), Files::default());
    for (Taken { mut row, failure }, handed) in rows {
        // Most rows have no files, and adding up those of a session takes time.
        let held = if handed.is_empty() { 0 } else { ledger::session_bytes(db, session_id)? };
        let room = session_bytes_max.saturating_sub(held);
        let taken = files::of_message(&mut row.content, handed, room);
        if !ledger::adopt_message(db, session_id, change, (&row, failure), now)? {
            continue;
        }
        for (folder, theirs) in taken.folders {
            files.taken += theirs.iter().filter(|file| file.blob.is_ok()).count();
            ledger::record_files(db, session_id, Direction::In, &row.id, Some(&folder), &theirs)?;
        }
        files.left_out.extend(taken.left_out);
        new.insert(row.id);
    }
    Ok((new, files))
}

/// Puts replies on record: as they were settled, or to be delivered now, with their files.
///
/// # Errors
/// SQLite fails, or the session is gone.
pub fn replies(
    db: &WriteTxn,
    session_id: &SessionId,
    rows: Vec<(ForeignOut, Vec<StoredFile>)>,
    session_bytes_max: u64,
) -> Result<Recorded> {
    let now = clock::now();
    let change = ledger::adopt_change(db, session_id)?;
    let mut recorded = Recorded::default();
    for (row, files) in rows {
        let reply = &row.reply;
        let new = match &row.settled {
            Some(settled) => {
                ledger::adopt_settled(db, session_id, change, reply, &decide::settled(settled, now), now)?
            }
            None => match delivery::record_one(db, session_id, reply, (files, session_bytes_max), now)? {
                delivery::Recorded::Known => false,
                delivery::Recorded::Refused(_) => {
                    recorded.refused += 1;
                    true
                }
                delivery::Recorded::To(_) => {
                    recorded.undelivered += 1;
                    for file in ledger::files_of(db, session_id, Direction::Out, &reply.id)? {
                        match file.blob {
                            Ok(_) => recorded.files.taken += 1,
                            Err(LeftOut(reason)) => recorded.files.left_out.push((file.name, reason)),
                        }
                    }
                    true
                }
            },
        };
        recorded.new += usize::from(new);
    }
    Ok(recorded)
}
