//! The lane of one session.

use crate::attachments::{MessageFile, Parts};
use crate::clock::{self, Timestamp};
use crate::delivery::{self, Taken};
use crate::error::Error;
use crate::house::House;
use crate::lanes::Bell;
use crate::launcher::{self, Heard, Keeper};
use crate::ledger;
use crate::sessions;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use vestibule_keeper::wire::FromKeeper;
use vestibule_session::{Ack, Error as SessionError, MessageOut, crash};

/// What the runner does not wait for (outcomes, acknowledgements) is projected after this, in one go.
const PROJECT_LATER: Duration = Duration::from_millis(50);
/// A file that could not be projected is tried again after this: one that is locked, and any other.
const PROJECT_RETRY: Duration = Duration::from_millis(50);
const TROUBLE_RETRY: Duration = Duration::from_secs(1);
/// A session that has too much pending is asked again after this: its channels have taken something since.
const ROOM_RETRY: Duration = Duration::from_millis(50);
/// What its operator is told of it, once each time.
const HELD_BACK: &str = "it has as many replies pending as a session may; what its agent writes stays in its file until \
                         its channels have taken some";
/// A runner that keeps its file locked for this long is ended.
const LOCKED_MAX: Duration = Duration::from_secs(1);
/// Who keeps a session without a keeper from being written for this long outlived the one before.
const SURVIVORS_AFTER: Duration = Duration::from_millis(500);
/// A keeper that says nothing for this long hangs on what its agent wrote.
const KEEPER_DEADLINE: Duration = Duration::from_secs(10);
/// A keeper that dies this often in a row does so because of what its agent wrote.
const DEATHS_MAX: u32 = 2;
/// The first wait after a keeper failed; it doubles up to the last.
const FAILED_FIRST: Duration = Duration::from_secs(5);
const FAILED_LAST: Duration = Duration::from_secs(600);
/// How long a keeper may take to end its runner and hand over what is left.
const END_PATIENCE: Duration = Duration::from_secs(5);
/// The longest sleep: a clock that was set back must not stop a lane for long.
const SLEEP_MAX: Duration = Duration::from_secs(60);

/// Serves a session until nothing is left to do in it.
pub async fn serve(house: Arc<House>, session_id: String, bell: Bell<String>) {
    let mut lane = Lane::new(house, session_id);
    loop {
        bell.heard();
        let next = if lane.house.is_stopping() {
            lane.end().await;
            None
        } else {
            lane.look().await
        };
        let idle = lane.run.is_none() && next.is_none();
        if !idle {
            lane.wait(&bell, next).await;
            continue;
        }
        lane.house.ledger.forget(&lane.session_id);
        if bell.close() {
            return;
        }
        lane.project_at = Some(Instant::now());
    }
}

struct Lane {
    house: Arc<House>,
    session_id: String,
    run: Option<Run>,
    failures: u32,
    /// How many keepers died, one after the other.
    deaths: u32,
    /// How many runs were ended for a lock, one after the other.
    locks: u32,
    not_before: Option<Instant>,
    /// Since when the file could not be written.
    behind: Option<Instant>,
    /// It cannot be written for a reason that was told.
    troubled: bool,
    /// When the file is brought up to date next.
    project_at: Option<Instant>,
    /// When the earliest row that wakes the agent is due, as of the last projection.
    due: Option<Timestamp>,
}

/// One life of a keeper.
struct Run {
    keeper: Keeper,
    with_runner: bool,
    active: Instant,
    /// We asked it to end, and by then it must have: its end is no failure.
    end_by: Option<Instant>,
    drained: bool,
    /// It said that it failed, and why is on record.
    failed: bool,
    /// Its runner kept a file locked, and is ended for that.
    locked: bool,
    heard: Instant,
    /// Its deadline passed without a word.
    silent: bool,
    /// The files of the batch to come.
    files: Parts,
}

impl Run {
    async fn end(&mut self) {
        self.end_by.get_or_insert(Instant::now() + END_PATIENCE);
        // A keeper that has gone already is heard of as such.
        let _ = self.keeper.stop().await;
    }
}

/// The earlier of two moments that may not be.
fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// Tried until there is some, and nobody is to blame.
fn is_for_want_of_space(error: &Error) -> bool {
    match error {
        Error::Db(_) => true,
        Error::Session(error) => error.is_full(),
        Error::Io { source, .. } => {
            matches!(source.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
        }
        _ => false,
    }
}

/// Puts a batch on record, however long the central database cannot: the keeper holds it, and reads
/// on afterwards. False when the house stops before.
async fn take(
    house: &Arc<House>,
    session_id: &str,
    messages: Vec<MessageOut>,
    acks: Vec<Ack>,
    files: Vec<MessageFile>,
) -> bool {
    let take = || delivery::take(house, session_id, messages.clone(), acks.clone(), files.clone());
    let mut held_back = false;
    loop {
        let wait = match take().await {
            Ok(Taken::OnRecord) => return true,
            Ok(Taken::NoRoom) => {
                if !std::mem::replace(&mut held_back, true) {
                    tracing::info!(session = session_id, "{HELD_BACK}");
                }
                ROOM_RETRY
            }
            Err(error) => {
                tracing::debug!(session = session_id, %error, "replies wait for the central database");
                TROUBLE_RETRY
            }
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = house.stopping() => return false,
        }
    }
}

impl Lane {
    fn new(house: Arc<House>, session_id: String) -> Lane {
        Lane {
            house,
            session_id,
            run: None,
            failures: 0,
            deaths: 0,
            locks: 0,
            not_before: None,
            behind: None,
            troubled: false,
            project_at: Some(Instant::now()),
            due: None,
        }
    }

    /// Projects if it is time, wakes if something is due; answers when to look again without being
    /// rung.
    async fn look(&mut self) -> Option<Instant> {
        let end_by = self.run.as_ref().and_then(|run| run.end_by);
        if end_by.is_some_and(|at| at <= Instant::now()) {
            self.ended().await; // asked to end, and it did not
        }
        if self.house.take_renewal(&self.session_id) {
            // What made it fail may be mended.
            (self.failures, self.locks, self.not_before) = (0, 0, None);
            if let Some(run) = &mut self.run {
                tracing::debug!(session = self.session_id, "its agent was changed, so its runner is ended");
                run.end().await;
            }
        }
        if self.project_at.is_some_and(|at| at <= Instant::now()) && !self.project().await {
            return earlier(self.project_at, self.run.as_ref().and_then(|run| run.end_by));
        }
        let next = self.wake().await;
        earlier(next, self.project_at)
    }

    /// Brings the file up to date; false when it could not, or when there is no such session.
    async fn project(&mut self) -> bool {
        let (house, session_id) = (self.house.clone(), self.session_id.clone());
        let work = move || house.ledger.project(&house.central, &house.home, &house.attachments, &session_id);
        match tokio::task::spawn_blocking(work).await.unwrap_or(Err(Error::Stopping)) {
            Ok(Some(projected)) => {
                (self.project_at, self.behind, self.due) = (None, None, projected.due);
                if std::mem::take(&mut self.troubled) {
                    tracing::info!(session = self.session_id, "its files can be written again");
                }
                true
            }
            Ok(None) => {
                self.project_at = None;
                if let Some(run) = &mut self.run {
                    run.end().await; // the session was deleted
                }
                false
            }
            Err(error) => {
                self.is_behind(&error).await;
                false
            }
        }
    }

    /// The file cannot be written: whoever holds a lock costs its own session only.
    async fn is_behind(&mut self, error: &Error) {
        let since = *self.behind.get_or_insert_with(|| {
            tracing::debug!(session = self.session_id, %error, "the session is behind");
            Instant::now()
        });
        let run = self.run.as_mut().filter(|run| run.end_by.is_none());
        self.project_at = Some(Instant::now() + PROJECT_RETRY);
        match error {
            Error::Session(SessionError::Busy(_)) => {
                if since.elapsed() > LOCKED_MAX
                    && let Some(run) = run
                {
                    tracing::warn!(session = self.session_id, %error, "its runner keeps the file from being written and is ended");
                    run.locked = true;
                    run.end().await;
                }
            }
            // Under a runner's eyes nothing is made again: it would go on reading the old file.
            Error::Session(SessionError::Kept) => {
                if let Some(run) = run {
                    tracing::warn!(
                        session = self.session_id,
                        "its inbound.db is damaged or gone: its runner is ended, and the file made again"
                    );
                    run.end().await;
                } else if self.run.is_none() && since.elapsed() > SURVIVORS_AFTER {
                    self.behind = None; // and if it was not that, once more later
                    launcher::end_survivors(&self.house, &self.session_id).await;
                }
            }
            error => self.trouble(error),
        }
    }

    /// Nobody in the session is to blame: the disk is full, say. It is told once, and tried until it works.
    fn trouble(&mut self, error: &Error) {
        if !std::mem::replace(&mut self.troubled, true) {
            tracing::error!(session = self.session_id, %error, "its files cannot be written; tried until they can");
        }
        self.project_at = Some(Instant::now() + TROUBLE_RETRY);
    }

    /// Starts what must run now; answers when to look again without being rung.
    async fn wake(&mut self) -> Option<Instant> {
        let now = Instant::now();
        if let Some(run) = &mut self.run {
            let idle_at = run.active + Duration::from_secs(self.house.config.runner_idle_seconds);
            if now >= idle_at && run.end_by.is_none() {
                tracing::debug!(session = self.session_id, "its runner has nothing to do and is ended");
                run.end().await;
            }
            match run.end_by {
                _ if run.silent => self.quarantine("its keeper hung on what it read").await,
                None => return Some(idle_at.min(run.heard + KEEPER_DEADLINE)),
                Some(end_by) if now < end_by => return Some(end_by),
                // Asked to end, and it did not: it is killed with everything it started.
                Some(_) => self.ended().await,
            }
        }
        if let Some(not_before) = self.not_before.filter(|at| *at > now) {
            return Some(not_before);
        }
        let id = self.session_id.clone();
        let session = match self.house.central.read(move |db| sessions::by_id(db, &id)).await {
            Ok(session) => session?,
            Err(_) => return Some(now + PROJECT_RETRY),
        };
        if session.quarantined.is_some() {
            return None; // until an operator releases it
        }
        if session.running {
            // After a crash of the house a runner may have written what nobody read.
            self.launch(false).await;
        } else {
            let wait = self.due?.0 - clock::now().0;
            if wait > 0 {
                return Some(now + Duration::from_millis(u64::try_from(wait).unwrap_or(0)).min(SLEEP_MAX));
            }
            self.launch(true).await;
        }
        Some(self.not_before.unwrap_or(now + KEEPER_DEADLINE))
    }

    async fn launch(&mut self, with_runner: bool) {
        let id = self.session_id.clone();
        let started = async {
            self.house.central.write(move |db| sessions::set_running(db, &id, true)).await?;
            crash::point("launch: the run is on record, nobody runs");
            launcher::launch(&self.house, &self.session_id, with_runner).await
        };
        match started.await {
            Ok(keeper) => {
                crash::point("launch: the keeper was started");
                let active = Instant::now();
                self.run = Some(Run {
                    keeper,
                    with_runner,
                    active,
                    end_by: None,
                    drained: false,
                    failed: false,
                    locked: false,
                    heard: active,
                    silent: false,
                    files: Parts::new(self.house.attachments.clone()),
                });
            }
            Err(error) if is_for_want_of_space(&error) => {
                self.trouble(&error);
                self.not_before = Some(Instant::now() + TROUBLE_RETRY);
            }
            Err(error) => self.failed(&error.to_string()),
        }
    }

    fn failed(&mut self, why: &str) {
        let wait = FAILED_FIRST.saturating_mul(1 << self.failures.min(10)).min(FAILED_LAST);
        self.failures += 1;
        self.not_before = Some(Instant::now() + wait);
        tracing::warn!(session = self.session_id, %why, again_in_s = wait.as_secs(), "its keeper failed");
    }

    /// Waits for the bell, the keeper, the clock or the end.
    async fn wait(&mut self, bell: &Bell<String>, until: Option<Instant>) {
        let house = self.house.clone();
        let stopping =
            async { if self.house.is_stopping() { pending().await } else { house.stopping().await } };
        let frame = async {
            match &mut self.run {
                Some(run) => run.keeper.frame().await,
                None => pending().await,
            }
        };
        let clock = async {
            match until {
                Some(until) => tokio::time::sleep_until(until).await,
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            frame = frame => self.hear(frame).await,
            () = bell.rung() => {
                // New messages are no sign that the runner lives: only what the keeper says is.
                self.project_at = Some(Instant::now());
            }
            () = stopping => {}
            // No frame was waiting: frames come first.
            () = clock => {
                if let Some(run) = &mut self.run {
                    run.silent = run.heard.elapsed() >= KEEPER_DEADLINE;
                }
            }
        }
    }

    async fn hear(&mut self, heard: Option<Heard>) {
        let Some(run) = &mut self.run else { return };
        run.heard = Instant::now();
        let (frame, bytes) = heard.map_or((None, Vec::new()), |(frame, bytes)| (Some(frame), bytes));
        match frame {
            Some(FromKeeper::Pulse) => {}
            Some(FromKeeper::Batch { messages, acks }) => {
                run.active = Instant::now();
                self.project_at.get_or_insert(Instant::now() + PROJECT_LATER);
                crash::point("hand-over: a batch is heard, not on record");
                let files = match tokio::task::block_in_place(|| run.files.take()) {
                    Ok(files) => files,
                    Err(error) => return self.not_taken(&error).await,
                };
                if !take(&self.house, &self.session_id, messages, acks, files).await {
                    run.failed = true; // the house stops: a keeper without a runner reads it again
                    return self.ended().await;
                }
                crash::point("hand-over: a batch is on record, its keeper was not told");
                run.heard = Instant::now();
                if run.keeper.taken().await.is_ok() {
                    self.failures = 0;
                }
            }
            Some(FromKeeper::File(frame)) => {
                run.active = Instant::now();
                if let Err(error) = tokio::task::block_in_place(|| run.files.hear(frame, &bytes)) {
                    self.not_taken(&error).await;
                }
            }
            Some(FromKeeper::Alive) => run.active = Instant::now(),
            Some(FromKeeper::Started { pid }) => {
                tracing::debug!(session = self.session_id, pid, "runner started")
            }
            Some(FromKeeper::Exited { how, stderr_tail }) => {
                if run.end_by.is_none() {
                    let said = stderr_tail.lines().last().unwrap_or_default();
                    tracing::warn!(session = self.session_id, %how, said, "the runner ended by itself");
                }
            }
            Some(FromKeeper::Drained) => run.drained = true,
            Some(FromKeeper::Spoilt { reason }) => self.quarantine(&reason).await,
            Some(FromKeeper::Failed { reason }) => {
                run.failed = true;
                self.failed(&reason);
            }
            None => self.ended().await,
        }
    }

    /// What the keeper handed over is not on record: a keeper without a runner reads it again. Unless
    /// it broke a rule, neither it nor its agent is to blame.
    async fn not_taken(&mut self, error: &Error) {
        tracing::error!(session = self.session_id, %error, "replies could not be recorded");
        if !matches!(error, Error::Refused(_))
            && let Some(run) = &mut self.run
        {
            run.failed = true;
            run.end_by.get_or_insert(Instant::now());
            self.failed(&error.to_string());
        }
        self.ended().await;
    }

    /// The keeper has gone, or goes now.
    async fn ended(&mut self) {
        let Some(run) = self.run.take() else { return };
        let (by_itself, drained) = (run.with_runner && run.end_by.is_none(), run.drained);
        if drained {
            self.deaths = 0;
        } else if !run.failed {
            self.deaths += 1;
            self.failed("it ended before it had handed everything over");
        }
        if run.locked {
            // The next may hold it again: it waits longer each time, however well this one ended.
            self.failures = self.failures.max(self.locks);
            self.locks += 1;
            self.failed("its runner kept a file locked");
        } else {
            self.locks = 0;
        }
        let counts = by_itself || run.locked;
        drop(run);
        self.project_at = Some(Instant::now());
        let id = self.session_id.clone();
        let recorded = self.house.central.write(move |db| {
            sessions::set_running(db, &id, !drained)?;
            if counts { ledger::count_tries(db, &id, clock::now()) } else { Ok(0) }
        });
        match recorded.await {
            Ok(0) => {}
            Ok(given_up) => {
                tracing::error!(
                    session = self.session_id,
                    given_up,
                    "messages were given up: each time their runner died, or was ended for a lock"
                );
            }
            Err(error) => {
                tracing::error!(session = self.session_id, %error, "the end of a run could not be recorded")
            }
        }
        if self.deaths >= DEATHS_MAX {
            self.quarantine("its keepers died of what they read").await;
        }
    }

    /// Nothing runs in this session until an operator releases it; everything else goes on.
    async fn quarantine(&mut self, why: &str) {
        self.run = None;
        self.deaths = 0;
        self.project_at = Some(Instant::now());
        let (id, reason) = (self.session_id.clone(), why.to_owned());
        tracing::error!(session = id, why, "quarantined; `vestibule session release` releases it");
        let record = move |db: &rusqlite::Connection| sessions::set_quarantined(db, &id, Some(&reason));
        if let Err(error) = self.house.central.write(record).await {
            self.failed(&format!("its quarantine could not be recorded: {error}"));
        }
    }

    /// The house stops: the runner ends, and what it wrote is taken.
    async fn end(&mut self) {
        if let Some(run) = &mut self.run {
            run.end().await;
        }
        while let Some(run) = &mut self.run {
            let end_by = run.end_by.unwrap_or_else(Instant::now);
            match tokio::time::timeout_at(end_by, run.keeper.frame()).await {
                Ok(frame) => self.hear(frame).await,
                Err(_) => self.ended().await,
            }
        }
        // What cannot be projected now is at the next start.
        self.project().await;
    }
}
