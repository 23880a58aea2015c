//! The lane of one session.

use crate::clock::{self, Timestamp};
use crate::delivery;
use crate::error::{Error, Result};
use crate::house::House;
use crate::lanes::Bell;
use crate::launcher::{self, Keeper};
use crate::ledger::{self, Projected};
use crate::sessions;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use vestibule_keeper::wire::FromKeeper;

/// A file that could not be projected is tried again after this.
const PROJECT_RETRY: Duration = Duration::from_millis(50);
/// A runner that keeps its file locked for this long is ended.
const LOCKED_MAX: Duration = Duration::from_secs(1);
/// The first wait after a keeper failed; it doubles up to the last.
const FAILED_FIRST: Duration = Duration::from_secs(5);
const FAILED_LAST: Duration = Duration::from_secs(600);
/// How long a keeper may take to end its runner and hand over what is left.
const END_PATIENCE: Duration = Duration::from_secs(5);
/// The longest sleep: a clock that was set back must not stop a lane for long.
const SLEEP_MAX: Duration = Duration::from_secs(60);

/// Serves a session until nothing is left to do in it.
pub async fn serve(house: Arc<House>, session_id: String, bell: Bell<String>) {
    let mut lane =
        Lane { house, session_id, run: None, drain: None, failures: 0, not_before: None, behind: None };
    loop {
        bell.heard();
        if lane.house.is_stopping() {
            lane.end().await;
            lane.house.ledger.forget(&lane.session_id);
            if bell.close() {
                return;
            }
            continue;
        }
        let due = match lane.project().await {
            Ok(Some(projected)) => projected.due,
            Ok(None) => {
                lane.run = None; // the session was deleted, and its runner ends with its keeper
                if bell.close() {
                    return;
                }
                continue;
            }
            Err(error) => {
                lane.is_behind(&error).await;
                lane.wait(&bell, Some(Instant::now() + PROJECT_RETRY)).await;
                continue;
            }
        };
        let next = lane.wake(due).await;
        if lane.run.is_none() && next.is_none() {
            lane.house.ledger.forget(&lane.session_id);
            if bell.close() {
                return;
            }
            continue;
        }
        lane.wait(&bell, next).await;
    }
}

struct Lane {
    house: Arc<House>,
    session_id: String,
    run: Option<Run>,
    /// Whether a dead runner may have left something; unknown until the record was read.
    drain: Option<bool>,
    failures: u32,
    not_before: Option<Instant>,
    /// Since when the file could not be written.
    behind: Option<Instant>,
}

/// One life of a keeper.
struct Run {
    keeper: Keeper,
    with_runner: bool,
    active: Instant,
    /// We asked it to end: its end is no failure.
    ending: bool,
    drained: bool,
}

impl Lane {
    async fn project(&mut self) -> Result<Option<Projected>> {
        let (house, session_id) = (self.house.clone(), self.session_id.clone());
        let work = move || house.ledger.project(&house.central, &house.home, &session_id);
        let projected = tokio::task::spawn_blocking(work).await.map_err(|_| Error::Stopping)??;
        self.behind = None;
        Ok(projected)
    }

    /// The file cannot be written: whoever holds a lock costs its own session only.
    async fn is_behind(&mut self, error: &Error) {
        let since = *self.behind.get_or_insert_with(|| {
            tracing::debug!(session = self.session_id, %error, "the session is behind");
            Instant::now()
        });
        if since.elapsed() > LOCKED_MAX
            && let Some(run) = self.run.as_mut().filter(|run| !run.ending)
        {
            tracing::warn!(session = self.session_id, %error, "its runner keeps the file from being written and is ended");
            run.ending = true;
            let _ = run.keeper.stop().await;
        }
    }

    /// Starts what must run now; answers when to look again without being rung.
    async fn wake(&mut self, due: Option<Timestamp>) -> Option<Instant> {
        let now = Instant::now();
        if let Some(run) = &mut self.run {
            let idle_at = run.active + Duration::from_secs(self.house.config.runner_idle_seconds);
            if now >= idle_at && !run.ending {
                tracing::debug!(session = self.session_id, "its runner has nothing to do and is ended");
                run.ending = true;
                let _ = run.keeper.stop().await;
            }
            return Some(if run.ending { now + END_PATIENCE } else { idle_at });
        }
        if let Some(not_before) = self.not_before.filter(|at| *at > now) {
            return Some(not_before);
        }
        if self.needs_drain().await {
            self.launch(false).await;
        } else if let Some(due) = due {
            let wait = due.0 - clock::now().0;
            if wait > 0 {
                return Some(now + Duration::from_millis(u64::try_from(wait).unwrap_or(0)).min(SLEEP_MAX));
            }
            self.launch(true).await;
        } else {
            return None;
        }
        Some(self.not_before.unwrap_or(now + SLEEP_MAX))
    }

    /// After a crash of the house a runner may have written what nobody read.
    async fn needs_drain(&mut self) -> bool {
        if self.drain.is_none() {
            let id = self.session_id.clone();
            let session = self.house.central.read(move |db| sessions::by_id(db, &id)).await;
            self.drain = session.ok().map(|session| session.is_some_and(|session| session.running));
        }
        self.drain.unwrap_or(false)
    }

    async fn launch(&mut self, with_runner: bool) {
        let id = self.session_id.clone();
        let started = async {
            self.house.central.write(move |db| sessions::set_running(db, &id, true)).await?;
            launcher::launch(&self.house, &self.session_id, with_runner).await
        };
        match started.await {
            Ok(keeper) => {
                let active = Instant::now();
                self.run = Some(Run { keeper, with_runner, active, ending: false, drained: false });
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
                if let Some(run) = &mut self.run {
                    run.active = Instant::now();
                }
            }
            () = house.stopping() => {}
            () = clock => {
                // Asked to end, and it did not: it is killed with everything it started.
                if self.run.as_ref().is_some_and(|run| run.ending) {
                    self.ended().await;
                }
            }
        }
    }

    async fn hear(&mut self, frame: Option<FromKeeper>) {
        let Some(run) = &mut self.run else { return };
        match frame {
            Some(FromKeeper::Batch { messages, acks }) => {
                run.active = Instant::now();
                let taken = delivery::take(&self.house, &self.session_id, messages, acks).await;
                if let Err(error) = taken {
                    // Not taken: a keeper without a runner reads it again.
                    tracing::error!(session = self.session_id, %error, "replies could not be recorded");
                    self.ended().await;
                } else if run.keeper.taken().await.is_ok() {
                    self.failures = 0;
                }
            }
            Some(FromKeeper::Alive) => run.active = Instant::now(),
            Some(FromKeeper::Started { pid }) => {
                tracing::debug!(session = self.session_id, pid, "runner started")
            }
            Some(FromKeeper::Exited { how, stderr_tail }) => {
                if !run.ending {
                    let said = stderr_tail.lines().last().unwrap_or_default();
                    tracing::warn!(session = self.session_id, %how, said, "the runner ended by itself");
                }
            }
            Some(FromKeeper::Drained) => run.drained = true,
            Some(FromKeeper::Failed { reason }) => self.failed(&reason),
            None => self.ended().await,
        }
    }

    /// The keeper has gone, or goes now.
    async fn ended(&mut self) {
        let Some(run) = self.run.take() else { return };
        let by_itself = run.with_runner && !run.ending;
        self.drain = Some(!run.drained);
        if !run.drained && self.not_before.is_none_or(|at| at <= Instant::now()) {
            self.failed("it ended before it had handed everything over");
        }
        drop(run);
        let (id, drained) = (self.session_id.clone(), self.drain == Some(false));
        let recorded = self.house.central.write(move |db| {
            sessions::set_running(db, &id, !drained)?;
            if by_itself { ledger::count_tries(db, &id, clock::now()) } else { Ok(0) }
        });
        match recorded.await {
            Ok(0) => {}
            Ok(given_up) => {
                tracing::error!(
                    session = self.session_id,
                    given_up,
                    "messages were given up: their runner died each time"
                );
            }
            Err(error) => {
                tracing::error!(session = self.session_id, %error, "the end of a run could not be recorded")
            }
        }
    }

    /// The house stops: the runner ends, and what it wrote is taken.
    async fn end(&mut self) {
        let Some(run) = &mut self.run else { return };
        run.ending = true;
        let _ = run.keeper.stop().await;
        let deadline = Instant::now() + END_PATIENCE;
        while let Some(run) = &mut self.run {
            match tokio::time::timeout_at(deadline, run.keeper.frame()).await {
                Ok(frame) => self.hear(frame).await,
                Err(_) => self.ended().await,
            }
        }
        if let Err(error) = self.project().await {
            tracing::debug!(session = self.session_id, %error, "its file is brought up to date at the next start");
        }
    }
}
