//! One folder on its way in: rows and files into the ledger, the agent's own part into a draft.

use super::decide::{self, Numbers, TASK};
use super::record::{self, Files};
use super::{AdoptionRequest, LeftOut, Report, TaskLoss};
use crate::attachments::{MessageFile, StoredFile};
use crate::chat_key::ChatKey;
use crate::clock;
use crate::context::Context;
use crate::db::{ReadTxn, WriteTxn};
use crate::error::{Error, Result};
use crate::id::SessionId;
use crate::ledger::AdoptedRow;
use crate::{delivery, ledger, sessions};
use std::sync::Arc;
use vestibule_session::{ForeignIn, ForeignOut, ForeignState, MessageOut, OutboundDraft, crash, words};

/// How many of the files that stayed behind a report names.
const NAMED_MAX: usize = 50;
/// How much of a file's name a report shows, in characters.
const NAME_SHOWN: usize = 200;
/// How much of what a task loses, in characters: its recurrence is untrusted text.
const LOSS_SHOWN: usize = 400;

/// One folder on its way in.
pub struct Taking {
    context: Arc<Context>,
    source: String,
    session_id: SessionId,
    chat: Option<ChatKey>,
    even: Numbers,
    odd: Numbers,
    highest_out: i64,
    draft: Option<OutboundDraft>,
    /// What was taken so far.
    pub report: Report,
}

impl Taking {
    /// Opens the session, or the one that an earlier attempt opened.
    ///
    /// # Errors
    /// Its chat has a session already, or was named otherwise before.
    pub async fn begin(
        context: &Arc<Context>,
        wanted: AdoptionRequest,
        source: String,
        highest_in: i64,
        highest_out: i64,
    ) -> Result<Taking> {
        let (at, cases) = (source.clone(), context.plugins.registry.cases());
        let open = move |db: &WriteTxn| record::open_session(db, &wanted, &at, highest_in, &cases);
        let (adoption, chat) = context.central.write(open).await?;
        let dir = context.home.session(&adoption.session.agent_group_id, &adoption.session.id);
        let draft = blocking(move || OutboundDraft::begin(&dir)).await?;
        let session_id = adoption.session.id;
        Ok(Taking {
            context: context.clone(),
            report: Report {
                id: session_id.clone(),
                folder: source.clone(),
                unreached: adoption.unreached,
                ..Report::default()
            },
            source,
            session_id,
            chat,
            even: Numbers::inbound(adoption.highest_in),
            odd: Numbers::outbound(),
            highest_out,
            draft: Some(draft),
        })
    }

    /// Takes inbound rows and their files. Returns how many rows there were.
    ///
    /// # Errors
    /// They are not on record.
    pub async fn inbound(&mut self, mut rows: Vec<ForeignIn>, mut handed: Vec<MessageFile>) -> Result<usize> {
        let count = rows.len();
        let stored = blobs(&handed);
        let spell = move |db: &ReadTxn| {
            let places = rows.iter_mut();
            let places = places.map(|row| (&row.channel_type, &mut row.platform_id, &mut row.thread_id));
            record::spell(db, places).map(|()| rows)
        };
        let rows = self.context.central.read(spell).await?;
        let named = rows.into_iter().filter(|row| !row.id.is_empty());
        let rows: Vec<(decide::Taken, Vec<StoredFile>)> = named
            .map(|row| {
                let theirs = files_of(&mut handed, &row.id);
                (decide::inbound(row, self.chat.as_ref(), &mut self.even), theirs)
            })
            .collect();
        // Which row of a series is the newest is known once all are here.
        let alone = rows.iter().filter(|(taken, _)| taken.row.kind == TASK && taken.row.recurrence.is_none());
        let losses: Vec<(String, TaskLoss)> = alone
            .filter_map(|(taken, _)| {
                Some((taken.row.id.clone(), loss_of(&AdoptedRow::of(&taken.row, taken.failure))?))
            })
            .collect();
        let (id, limit) = (self.session_id.clone(), self.context.attachments.limits().session_bytes);
        crash::point("adopt: files are on disk, no commit names them");
        let work = move |db: &WriteTxn| record::messages(db, &id, rows, limit);
        let (new, files) = self.context.central.write(work).await?;
        crash::point("adopt: rows and files are on record, the session is not whole");
        self.report.inbound += new.len();
        for (id, loss) in losses {
            if new.contains(&id) {
                name(&mut self.report, loss);
            }
        }
        self.count(files, stored).await;
        Ok(count)
    }

    /// Takes replies, and the files of those that were never delivered. Returns how many there were.
    ///
    /// # Errors
    /// They are not on record.
    pub async fn outbound(
        &mut self,
        mut rows: Vec<ForeignOut>,
        mut handed: Vec<MessageFile>,
    ) -> Result<usize> {
        let count = rows.len();
        let stored = blobs(&handed);
        rows.retain(|row| !row.reply.id.is_empty());
        let spell = move |db: &ReadTxn| {
            let replies = rows.iter_mut().map(|row| &mut row.reply);
            let places = replies.map(|row| (&row.channel_type, &mut row.platform_id, &mut row.thread_id));
            record::spell(db, places).map(|()| rows)
        };
        let mut rows = self.context.central.read(spell).await?;
        for row in &mut rows {
            if !self.odd.keeps(row.reply.seq) {
                row.reply.seq = decide::renumbered(&mut self.highest_out);
            }
        }
        let all: Vec<MessageOut> = rows.iter().map(|row| row.reply.clone()).collect();
        self.drafted(move |draft| draft.replies(&all)).await?;
        let taken = rows.len();
        rows.retain(|row| decide::is_reply(&row.reply.kind));
        self.report.task_logs += taken - rows.len();
        let rows = rows.into_iter().map(|row| {
            let theirs = files_of(&mut handed, &row.reply.id);
            (row, theirs)
        });
        let (id, rows, limit) =
            (self.session_id.clone(), rows.collect(), self.context.attachments.limits().session_bytes);
        let recorded = self.context.central.write(move |db| record::replies(db, &id, rows, limit)).await?;
        self.report.outbound += recorded.new;
        self.report.undelivered += recorded.undelivered;
        self.report.refused += recorded.refused;
        self.count(recorded.files, stored).await;
        Ok(count)
    }

    /// Takes what the runner remembers. Returns how many rows there were.
    ///
    /// # Errors
    /// They are not in the draft.
    pub async fn states(&mut self, rows: Vec<ForeignState>) -> Result<usize> {
        let count = rows.len();
        self.drafted(move |draft| draft.states(&rows, clock::now())).await?;
        self.report.state += count;
        Ok(count)
    }

    /// Reports files, and removes the bytes of those that no row names, because the row was taken before or there is
    /// no room.
    async fn count(&mut self, files: Files, stored: Vec<String>) {
        self.report.files += files.taken;
        self.report.files_left_out += files.left_out.len();
        for (file, reason) in files.left_out {
            if self.report.files_named.len() < NAMED_MAX {
                self.report
                    .files_named
                    .push(LeftOut { file: file.chars().take(NAME_SHOWN).collect(), reason });
            }
        }
        self.context.attachments.discard_unnamed(&self.context.central, stored).await;
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

    /// Puts the file in its place first, then commits what lets the session run.
    ///
    /// # Errors
    /// It is not whole yet.
    pub async fn finish(mut self) -> Result<Report> {
        let Some(draft) = self.draft else { return Err(Error::Stopping) };
        blocking(move || draft.place()).await?;
        // Before anything of it runs.
        let id = self.session_id.clone();
        let ended = move |db: &ReadTxn| {
            let mut losses = Vec::new();
            let mut count = 0;
            ledger::recurring(db, &id, |row| {
                if let Some(loss) = loss_of(&row) {
                    count += 1;
                    losses.extend((losses.len() < NAMED_MAX).then_some(loss));
                }
            })?;
            Ok((count, losses))
        };
        let (count, losses) = self.context.central.read(ended).await?;
        self.report.tasks += count - losses.len();
        losses.into_iter().for_each(|loss| name(&mut self.report, loss));
        let (source, id, floor) = (self.source, self.session_id.clone(), self.highest_out);
        let done = move |db: &WriteTxn| {
            ledger::bump_routing(db, &id)?;
            sessions::finish_adoption(db, &source, &id, floor, clock::now())?;
            ledger::open_addresses(db, &id)
        };
        let undelivered = self.context.central.write(done).await?;
        delivery::go_on(&self.context, undelivered);
        self.context.wake(self.session_id);
        tracing::info!(session = self.report.id.as_str(), folder = self.report.folder, "taken over");
        Ok(self.report)
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> vestibule_session::Result<T> + Send + 'static,
) -> Result<T> {
    Ok(tokio::task::spawn_blocking(work).await.map_err(|_| Error::Stopping)??)
}

fn blobs(handed: &[MessageFile]) -> Vec<String> {
    handed.iter().filter_map(|file| file.file.blob.clone().ok()).collect()
}

fn files_of(handed: &mut Vec<MessageFile>, message_id: &str) -> Vec<StoredFile> {
    handed.extract_if(.., |file| file.message_id == message_id).map(|file| file.file).collect()
}

fn loss_of(row: &AdoptedRow) -> Option<TaskLoss> {
    Some(TaskLoss {
        task: words::line(&row.series_id, NAME_SHOWN),
        loss: words::line(decide::loss(row)?, LOSS_SHOWN),
    })
}

/// Counts a loss, and names it if it is among the first.
fn name(report: &mut Report, loss: TaskLoss) {
    report.tasks += 1;
    if report.tasks_named.len() < NAMED_MAX {
        report.tasks_named.push(loss);
    }
}
