//! Taking over a session folder that somebody else made. Its agent could write all of it, so a keeper
//! reads it, and each of its frames is a stranger's.
//!
//! Invariants:
//! - The folder is never opened here, and never written by anybody.
//! - The session is in quarantine until everything is here; each row is taken once. Interrupted at any
//!   moment, taking the folder over again completes it.

mod decide;

use crate::clock;
use crate::error::{Error, IoContext, Result};
use crate::house::House;
use crate::launcher::{self, Keeper};
use crate::{agents, delivery, destinations, ledger, messaging_groups, sessions};
use decide::{Chat, Numbers};
use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use vestibule_keeper::wire::FromForeign;
use vestibule_plugin_api::Address;
use vestibule_session::{ForeignIn, ForeignOut, MessageOut, OutboundDraft};

/// A keeper that says nothing for this long hangs on what it reads.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// All of it must be here after this.
const WHOLE_MAX: Duration = Duration::from_secs(1800);
/// The most rows that are taken from one folder.
const ROWS_MAX: usize = 2_000_000;

/// What is to be taken over, and whose it becomes.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// The foreign folder.
    pub folder: PathBuf,
    /// The agent whose session it becomes.
    pub agent: String,
    /// The kind of platform of its chat; without one it belongs to no chat.
    pub channel: Option<String>,
    /// The login on it.
    pub account: String,
    /// The chat.
    pub chat: Option<String>,
    /// The thread.
    pub thread: Option<String>,
}

/// What was taken over.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// The session.
    pub id: String,
    /// The folder.
    pub folder: String,
    /// It was here already, all of it.
    pub already: bool,
    /// Inbound rows that are new here.
    pub inbound: usize,
    /// Replies that are new here.
    pub outbound: usize,
    /// Of those, how many were never delivered and are now.
    pub undelivered: usize,
    /// Of those, how many may go nowhere.
    pub refused: usize,
    /// What the runner remembers.
    pub state: usize,
    /// Rows without a usable id.
    pub left_out: usize,
}

/// Takes a folder over, or goes on where an earlier attempt stopped.
///
/// # Errors
/// It is no session's folder, cannot be read, or its chat has a session already. What was taken so far is
/// kept, and completed by the next attempt.
pub async fn adopt(house: &Arc<House>, wanted: Wanted) -> Result<Report> {
    let _one_at_a_time = house.adopting.lock().await;
    let folder = folder_of(house, &wanted.folder)?;
    let source = folder.to_string_lossy().into_owned();
    let known = source.clone();
    if let Some(adoption) = house.central.read(move |db| sessions::adoption_of(db, &known)).await?
        && adoption.done
    {
        let id = adoption.session.id;
        return Ok(Report { id, folder: source, already: true, ..Report::default() });
    }
    let scratch = house.home.adopt_scratch();
    let _ = fs::remove_dir_all(&scratch);
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&scratch);
    made.context(|| format!("cannot make {}", scratch.display()))?;
    let keeper = launcher::adopt(house, &folder, &scratch).await;
    let outcome = match keeper {
        Ok(keeper) => {
            let taken = tokio::time::timeout(WHOLE_MAX, take(house, keeper, wanted, source)).await;
            taken.unwrap_or_else(|_| Err(Error::refused("reading the folder took too long")))
        }
        Err(error) => Err(error),
    };
    // The keeper is gone; its copies hold messages.
    let _ = fs::remove_dir_all(&scratch);
    outcome
}

fn folder_of(house: &House, named: &Path) -> Result<PathBuf> {
    let no_folder = |why: &dyn std::fmt::Display| Error::Refused(format!("{}: {why}", named.display()));
    if !named.is_absolute() {
        return Err(no_folder(&"name the folder by its absolute path"));
    }
    let folder = fs::canonicalize(named).map_err(|error| no_folder(&error))?;
    if !folder.is_dir() {
        return Err(no_folder(&"it is no folder"));
    }
    let home = fs::canonicalize(house.home.root()).unwrap_or_else(|_| house.home.root().to_owned());
    if folder.starts_with(home) {
        return Err(no_folder(
            &"it lies in this home; only a folder of another installation can be taken over",
        ));
    }
    if folder.to_str().is_none() {
        return Err(no_folder(&"its path is no UTF-8"));
    }
    Ok(folder)
}

/// One folder on its way in.
struct Taking {
    house: Arc<House>,
    source: String,
    session_id: String,
    chat: Option<(String, String, String)>,
    even: Numbers,
    odd: Numbers,
    highest_out: i64,
    draft: Option<OutboundDraft>,
    undelivered: Vec<Address>,
    report: Report,
}

async fn take(
    house: &Arc<House>,
    mut keeper: Keeper<FromForeign>,
    wanted: Wanted,
    source: String,
) -> Result<Report> {
    let (highest_in, highest_out) = match next(&mut keeper).await? {
        FromForeign::Found { highest_in, highest_out } => {
            (decide::highest(highest_in), decide::highest(highest_out))
        }
        _ => return Err(out_of_order()),
    };
    let mut taking = begin(house, wanted, source, highest_in, highest_out).await?;
    keeper.taken().await?;
    let mut rows_seen = 0;
    loop {
        let rows = match next(&mut keeper).await? {
            FromForeign::Inbound { rows } => taking.inbound(rows).await?,
            FromForeign::Outbound { rows } => taking.outbound(rows).await?,
            FromForeign::State { rows } => {
                taking.report.state += rows.len();
                let count = rows.len();
                taking.drafted(move |draft| draft.states(&rows, clock::now())).await?;
                count
            }
            FromForeign::Done { left_out } => {
                taking.report.left_out = left_out;
                break;
            }
            _ => return Err(out_of_order()),
        };
        rows_seen += rows;
        if rows_seen > ROWS_MAX {
            return Err(Error::Refused(format!("the folder holds more than {ROWS_MAX} rows")));
        }
        keeper.taken().await?;
    }
    drop(keeper);
    taking.finish().await
}

fn out_of_order() -> Error {
    Error::refused("the keeper that reads the folder broke a rule; the folder may be hostile")
}

/// The next frame that is no pulse.
async fn next(keeper: &mut Keeper<FromForeign>) -> Result<FromForeign> {
    loop {
        match tokio::time::timeout(SILENCE_MAX, keeper.frame())
            .await
            .map(|heard| heard.map(|(frame, _)| frame))
        {
            Ok(Some(FromForeign::Pulse)) => {}
            Ok(Some(FromForeign::Spoilt { reason } | FromForeign::Failed { reason })) => {
                return Err(Error::Refused(format!("the folder cannot be taken over: {reason}")));
            }
            Ok(Some(frame)) => return Ok(frame),
            Ok(None) => return Err(Error::refused("the keeper that reads the folder died of what it read")),
            Err(_) => return Err(Error::refused("the keeper that reads the folder hangs on what it reads")),
        }
    }
}

async fn begin(
    house: &Arc<House>,
    wanted: Wanted,
    source: String,
    highest_in: i64,
    highest_out: i64,
) -> Result<Taking> {
    let at = source.clone();
    let (adoption, chat) = house.central.write(move |db| open_session(db, &wanted, &at, highest_in)).await?;
    let dir = house.home.session(&adoption.session.agent_group_id, &adoption.session.id);
    let draft = blocking(move || OutboundDraft::begin(&dir)).await?;
    let session_id = adoption.session.id;
    Ok(Taking {
        house: house.clone(),
        report: Report { id: session_id.clone(), folder: source.clone(), ..Report::default() },
        source,
        session_id,
        chat,
        even: Numbers::inbound(adoption.highest_in),
        odd: Numbers::outbound(),
        highest_out,
        draft: Some(draft),
        undelivered: vec![],
    })
}

type Opened = (sessions::Adoption, Option<(String, String, String)>);

fn open_session(db: &Connection, wanted: &Wanted, source: &str, highest_in: i64) -> Result<Opened> {
    let now = clock::now();
    let agent = agents::named(db, &wanted.agent)?;
    let chat = match (&wanted.channel, &wanted.chat) {
        (Some(channel), Some(chat)) => {
            Some(messaging_groups::find_or_create(db, channel, &wanted.account, chat, None, now)?)
        }
        (None, None) if wanted.thread.is_none() => None,
        _ => return Err(Error::refused("a chat is named by --channel and --chat, and a thread with both")),
    };
    if let Some(chat) = &chat {
        // As a wiring does: without a name for its chat the agent could not answer there.
        let name = agents::local_name(chat.name.as_deref().unwrap_or(&chat.platform_id));
        destinations::ensure(db, &agent.id, &name, &chat.id, now)?;
        for session in sessions::of_agent(db, &agent.id)? {
            ledger::bump_routing(db, &session)?;
        }
    }
    let chat_id = chat.as_ref().map(|chat| chat.id.as_str());
    let thread = wanted.thread.as_deref();
    let adoption = match sessions::adoption_of(db, source)? {
        Some(begun) => {
            let session = &begun.session;
            let same = session.agent_group_id == agent.id
                && session.messaging_group_id.as_deref() == chat_id
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
    Ok((adoption, chat.map(|chat| (chat.channel_type, chat.account, chat.platform_id))))
}

impl Taking {
    async fn inbound(&mut self, rows: Vec<ForeignIn>) -> Result<usize> {
        let chat = self.chat.as_ref().map(|(channel_type, account, platform_id)| Chat {
            channel_type,
            account,
            platform_id,
        });
        let count = rows.len();
        let named = rows.into_iter().filter(|row| !row.id.is_empty());
        let rows: Vec<_> = named.map(|row| decide::inbound(row, chat.as_ref(), &mut self.even)).collect();
        let id = self.session_id.clone();
        let new = self.house.central.write(move |db| ledger::adopt_messages(db, &id, &rows)).await?;
        self.report.inbound += new;
        Ok(count)
    }

    async fn outbound(&mut self, mut rows: Vec<ForeignOut>) -> Result<usize> {
        let count = rows.len();
        rows.retain(|row| !row.reply.id.is_empty());
        for row in &mut rows {
            if !self.odd.keeps(row.reply.seq) {
                row.reply.seq = decide::renumbered(&mut self.highest_out);
            }
        }
        let replies: Vec<MessageOut> = rows.iter().map(|row| row.reply.clone()).collect();
        self.drafted(move |draft| draft.replies(&replies)).await?;
        let id = self.session_id.clone();
        let (new, refused, addresses) = self.house.central.write(move |db| record(db, &id, &rows)).await?;
        self.report.outbound += new;
        self.report.undelivered += addresses.len();
        self.report.refused += refused;
        self.undelivered.extend(addresses);
        Ok(count)
    }

    /// Writes into the draft, off the async threads.
    async fn drafted(
        &mut self,
        work: impl FnOnce(&mut OutboundDraft) -> vestibule_session::Result<()> + Send + 'static,
    ) -> Result<()> {
        let Some(mut draft) = self.draft.take() else { return Err(Error::Stopping) };
        self.draft = Some(blocking(move || work(&mut draft).map(|()| draft)).await?);
        Ok(())
    }

    /// The file first, then the commit that lets the session run.
    async fn finish(self) -> Result<Report> {
        let Some(draft) = self.draft else { return Err(Error::Stopping) };
        blocking(move || draft.place()).await?;
        let (source, id, floor) = (self.source, self.session_id.clone(), self.highest_out);
        let done = move |db: &Connection| {
            ledger::bump_routing(db, &id)?;
            sessions::finish_adoption(db, &source, &id, floor, clock::now())
        };
        self.house.central.write(done).await?;
        delivery::go_on(&self.house, self.undelivered);
        self.house.ring(self.session_id);
        tracing::info!(session = self.report.id, folder = self.report.folder, "taken over");
        Ok(self.report)
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> vestibule_session::Result<T> + Send + 'static,
) -> Result<T> {
    Ok(tokio::task::spawn_blocking(work).await.map_err(|_| Error::Stopping)??)
}

/// Puts replies on record: as they were settled, or to be delivered now. How many were new, how many go
/// nowhere, and where the others go.
fn record(db: &Connection, session_id: &str, rows: &[ForeignOut]) -> Result<(usize, usize, Vec<Address>)> {
    let now = clock::now();
    let change = ledger::adopt_change(db, session_id)?;
    let (mut new, mut refused, mut addresses) = (0, 0, Vec::new());
    for row in rows {
        let taken = match &row.settled {
            Some(settled) => {
                let (outcome, at) = decide::settled(settled, now);
                let outcome = (outcome, settled.platform_message_id.as_deref());
                ledger::adopt_settled(db, session_id, change, &row.reply, outcome, at)?
            }
            None => match delivery::record_one(db, session_id, &row.reply, now)? {
                delivery::Recorded::Known => false,
                delivery::Recorded::Refused(_) => {
                    refused += 1;
                    true
                }
                delivery::Recorded::To(address) => {
                    addresses.push(address);
                    true
                }
            },
        };
        new += usize::from(taken);
    }
    Ok((new, refused, addresses))
}
