//! The lane of one session: it waits for events, asks `decide`, and performs the steps.

use super::decide::decide;
use super::launch;
use super::state::{
    Batch, Behind, End, Event, Facts, LOOK_AT_KEEPER, Phase, Refusal, State, Step, TROUBLE_RETRY, Told,
    Trouble,
};
use super::working::Indicator;
use crate::attachments::Parts;
use crate::clock;
use crate::context::{Context, HeldUp};
use crate::db::WriteTxn;
use crate::delivery::{self, Taken};
use crate::error::Error;
use crate::id::{AgentGroupId, SessionId};
use crate::lanes::Waker;
use crate::launcher::{self, Heard, Keeper};
use crate::ledger::{self, Looked};
use crate::places::{Place, Wanted};
use crate::sessions;
use std::collections::{HashSet, VecDeque};
use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};
use vestibule_keeper as keeper;
use vestibule_keeper::wire::{FileFrame, FromKeeper};
use vestibule_session::{Ack, AckStatus, Error as SessionError, MessageOut, crash, words};

/// How many claims of a run are remembered; a runner claims ten at a time.
const CLAIMS_MAX: usize = 10_000;
/// What an operator, and a person who waits, is told of a session whose replies wait.
const NO_PLACE: &str = "it waits for a place: all runners that `runners_max` allows have something to do";
const NO_ROOM: &str = "it has as many replies pending as a session may, and what its agent writes waits; `vestibule \
                       delivery list` shows them";
/// A disk with fewer free bytes than this is full.
const FULL_BELOW: u64 = 1024 * 1024;

/// Serves a session until nothing is left to do in it.
pub async fn serve(context: Arc<Context>, session_id: SessionId, waker: Waker<SessionId>) {
    let mut lane = Lane::new(context, session_id, waker);
    lane.woken();
    while let Some(event) = lane.next().await {
        lane.decide(event).await;
    }
}

struct Lane {
    context: Arc<Context>,
    session_id: SessionId,
    waker: Waker<SessionId>,
    state: State,
    /// Events that steps reported: they come before anything else.
    reports: VecDeque<Event>,
    keeper: Option<Keeper>,
    /// The place of its runner, or its place in the queue.
    place: Option<Place>,
    /// What the keeper handed over and is not on record yet.
    hand: Hand,
    /// The rows that the run has claimed and not acknowledged.
    claims: HashSet<String>,
    /// The last line of a runner that has ended by itself, from its standard error.
    last_line: String,
    /// The agent whose session it is; empty until a projection has told.
    agent_group_id: AgentGroupId,
    /// For how long the keeper got no processor, by the last look.
    starved: Duration,
    disk_is_full: bool,
    indicator: Indicator,
    /// The lane has heard that the runtime stops.
    stopping: bool,
}

/// What the keeper handed over and is not on record yet.
struct Hand {
    files: Parts,
    /// A frame about a file, with its bytes.
    part: Option<(FileFrame, Vec<u8>)>,
    batch: Option<(Vec<MessageOut>, Vec<Ack>)>,
    /// How many bytes of files came since the last batch.
    bytes: usize,
}

impl Lane {
    fn new(context: Arc<Context>, session_id: SessionId, waker: Waker<SessionId>) -> Lane {
        Lane {
            session_id,
            waker,
            state: State::new(Instant::now()),
            reports: VecDeque::new(),
            keeper: None,
            place: None,
            hand: Hand { files: Parts::new(context.attachments.clone()), part: None, batch: None, bytes: 0 },
            claims: HashSet::new(),
            last_line: String::new(),
            agent_group_id: AgentGroupId::default(),
            starved: Duration::ZERO,
            disk_is_full: false,
            indicator: Indicator::default(),
            stopping: false,
            context,
        }
    }

    fn facts(&self) -> Facts {
        let config = &self.context.config;
        Facts {
            wall: clock::now(),
            idle_after: Duration::from_secs(config.runner_idle_seconds),
            silence_max: Duration::from_secs(config.turn_silence_seconds),
            starved: self.starved,
            disk_is_full: self.disk_is_full,
        }
    }

    /// The next event; `None` when there is none until the lane is opened again.
    async fn next(&mut self) -> Option<Event> {
        if let Some(report) = self.reports.pop_front() {
            return Some(report);
        }
        if self.context.is_stopping() && !std::mem::replace(&mut self.stopping, true) {
            return Some(Event::RuntimeStops);
        }
        let (facts, now) = (self.facts(), Instant::now());
        if self.state.is_over(&facts, now) {
            self.context.ledger.forget(&self.session_id);
            for what in [HeldUp::File, HeldUp::Start, HeldUp::Place] {
                self.context.note_held_up(&self.session_id, what, None);
            }
            if self.waker.close() {
                return None;
            }
            self.woken();
            return self.reports.pop_front();
        }
        let happened = self.wait(self.state.wake_at(&facts, now)).await;
        Some(match happened {
            Happened::Frame(frame) => self.hear(frame),
            Happened::Clock => {
                self.look_around();
                Event::Clock
            }
            Happened::Stopping => {
                self.stopping = true;
                Event::RuntimeStops
            }
            Happened::Woken => {
                self.woken();
                self.reports.pop_front().unwrap_or(Event::Woken)
            }
            Happened::PlaceNews => match self.state.phase {
                Phase::Queued if self.place.as_ref().is_some_and(Place::is_given) => Event::PlaceGiven,
                // What its wish is, `decide` sees after each event.
                _ => Event::PlaceWanted,
            },
        })
    }

    /// Reports why the lane was woken.
    fn woken(&mut self) {
        self.waker.heard();
        let changed = self.context.take_restart(&self.session_id);
        self.reports.push_back(if changed { Event::AgentChanged } else { Event::Woken });
    }

    /// Waits, for frames first: a keeper is silent only when no frame waits.
    async fn wait(&mut self, until: Option<Instant>) -> Happened {
        let frame = async {
            match &mut self.keeper {
                Some(keeper) => keeper.frame().await,
                None => pending().await,
            }
        };
        let clock = async {
            match until {
                Some(until) => tokio::time::sleep_until(until.into()).await,
                None => pending().await,
            }
        };
        let stopping = async { if self.stopping { pending().await } else { self.context.stopping().await } };
        let place = async {
            match &self.place {
                Some(place) => place.news().await,
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            frame = frame => Happened::Frame(frame),
            () = clock => Happened::Clock,
            () = stopping => Happened::Stopping,
            () = self.waker.woken() => Happened::Woken,
            () = place => Happened::PlaceNews,
        }
    }

    /// Asks the kernel what may excuse a keeper or a runner that shows no sign of life.
    fn look_around(&mut self) {
        let (Phase::Running(run) | Phase::Ending(run, ..)) = &self.state.phase else { return };
        if run.heard.elapsed() >= LOOK_AT_KEEPER
            && let Some(keeper) = &mut self.keeper
        {
            self.starved = keeper.starved();
        }
        self.disk_is_full = self.context.home.free_bytes().is_some_and(|bytes| bytes < FULL_BELOW);
    }

    /// Turns a frame of the keeper's into an event.
    fn hear(&mut self, heard: Option<Heard>) -> Event {
        self.starved = Duration::ZERO;
        let Some((frame, bytes)) = heard else { return Event::KeeperGone };
        if let Some(keeper) = &mut self.keeper {
            keeper.was_heard();
        }
        match frame {
            FromKeeper::Pulse => Event::Heard,
            FromKeeper::Filling { what } => {
                self.context.note_filling(&self.session_id, what.as_deref().map(words::reason));
                Event::Heard
            }
            FromKeeper::Alive => Event::Progress,
            FromKeeper::Locked => Event::KeptLocked,
            FromKeeper::Tool { silence_ms } => Event::ToolDeclared(silence_ms.map(Duration::from_millis)),
            FromKeeper::Started { pid } => {
                tracing::debug!(session = self.session_id.as_str(), pid, "runner started");
                Event::RunnerStarted
            }
            FromKeeper::Exited { how, stderr_tail } => {
                if matches!(self.state.phase, Phase::Running(_)) {
                    let said = stderr_tail.lines().last().unwrap_or_default();
                    tracing::warn!(session = self.session_id.as_str(), %how, said, "the runner ended by itself");
                    self.last_line = said.to_owned();
                }
                Event::RunnerExited(how)
            }
            FromKeeper::Batch { messages, acks, let_go } => {
                self.claims.retain(|id| !let_go.contains(id));
                self.hand.batch = Some((messages, acks));
                Event::HandedOver
            }
            FromKeeper::File(part) => {
                self.hand.bytes += bytes.len();
                self.hand.part = Some((part, bytes));
                Event::HandedOver
            }
            FromKeeper::Drained => Event::Drained,
            FromKeeper::Corrupt { reason } => Event::Corrupt(reason),
            FromKeeper::Failed { reason, is_scarce: false } => Event::KeeperFailed(Trouble::Failed(reason)),
            FromKeeper::Failed { reason, is_scarce: true } => {
                self.context.places.make_room();
                Event::KeeperFailed(Trouble::Scarce(reason))
            }
        }
    }

    /// Notes what holds the session up, for operators and for people who wait: the central database may be what fails.
    fn note(&self, event: &Event) {
        let room = match event {
            Event::Projected(seen) => Some((!seen.has_room).then_some(NO_ROOM)),
            Event::NoRoom => Some(Some(NO_ROOM)),
            Event::NotProjected(Behind::Gone) => Some(None),
            _ => None,
        };
        if let Some(why) = room {
            self.context.note_held_up(&self.session_id, HeldUp::Room, why);
        }
        let (what, why) = match event {
            Event::Projected(_) | Event::NotProjected(Behind::Gone | Behind::Kept) => (HeldUp::File, None),
            Event::NotProjected(Behind::Locked(why) | Behind::Trouble(why)) => {
                (HeldUp::File, Some(why.as_str()))
            }
            Event::RunnerStarted | Event::NotStarted(Trouble::Failed(_) | Trouble::Damaged(_)) => {
                (HeldUp::Start, None)
            }
            Event::NotStarted(Trouble::Scarce(why)) | Event::KeeperFailed(Trouble::Scarce(why)) => {
                (HeldUp::Start, Some(why.as_str()))
            }
            Event::NoPlace => (HeldUp::Place, Some(NO_PLACE)),
            Event::PlaceGiven => (HeldUp::Place, None),
            _ => return,
        };
        self.context.note_held_up(&self.session_id, what, why);
    }

    async fn decide(&mut self, event: Event) {
        self.note(&event);
        let waits_for_a_pulse = matches!(event, Event::StillShown);
        let (state, steps) = decide(self.state.clone(), event, &self.facts(), Instant::now());
        self.state = state;
        self.indicator.follow(&self.context, &self.session_id, &self.state);
        for step in steps {
            if let Some(report) = self.perform(step).await {
                self.reports.push_back(report);
            }
        }
        match (&self.place, &self.state.phase) {
            (Some(place), Phase::Ending(..)) => place.ends(),
            (Some(place), _) => place.set_idle(self.state.idle_since(&self.facts(), Instant::now())),
            (None, _) => {}
        }
        // The news may have come before there was a runner to give way.
        if let (Some(place), Phase::Running(run)) = (&self.place, &self.state.phase)
            && run.gives_way_since.is_none()
            && place.wanted() == Some(Wanted::AfterTurn)
            && !waits_for_a_pulse
        {
            self.reports.push_back(Event::ShareIsOver);
        }
    }

    async fn perform(&mut self, step: Step) -> Option<Event> {
        match step {
            Step::Project => Some(self.project().await),
            Step::AskForPlace => Some(self.ask_for_place()),
            Step::LeavePlace => {
                self.place = None;
                self.context.note_held_up(&self.session_id, HeldUp::Place, None);
                None
            }
            Step::Launch { with_runner } => Some(self.launch(with_runner).await),
            Step::ShowNoMore => {
                if let Err(why) = self.write(ledger::show_no_more).await {
                    tracing::debug!(session = self.session_id.as_str(), %why, "its runner does not give way yet");
                    return Some(Event::StillShown);
                }
                None
            }
            Step::Take => self.take().await,
            Step::Answer => {
                crash::point("hand-over: a batch is on record, its keeper was not told");
                if let Some(keeper) = &mut self.keeper {
                    let _ = keeper.taken().await; // the lane hears of a keeper that has gone
                }
                None
            }
            Step::AskToEnd(why) => {
                self.tell_end(&why);
                if let Some(keeper) = &mut self.keeper {
                    let _ = keeper.stop(why.blame().is_some()).await; // as above
                }
                None
            }
            Step::Kill => {
                self.keeper = None;
                self.forget_hand();
                None
            }
            Step::RecordEnd { drained, blame } => self.record_end(drained, blame).await,
            Step::Quarantine(why) => self.quarantine(why).await,
            Step::RecordFailing(why) => {
                let record = move |db: &WriteTxn, id: &SessionId| sessions::set_failing(db, id, &why);
                self.write(record).await.err().map(Event::NotRecorded)
            }
            Step::Forgive => self.write(ledger::forgive).await.err().map(Event::NotRecorded),
            Step::Tell(told) => {
                self.tell(told);
                None
            }
        }
    }

    /// Writes a change of the session's rows, in a commit.
    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&WriteTxn<'_>, &SessionId) -> crate::error::Result<T> + Send + 'static,
    ) -> Result<T, String> {
        let id = self.session_id.clone();
        self.context.central.write(move |db| work(db, &id)).await.map_err(|error| error.to_string())
    }

    async fn project(&mut self) -> Event {
        loop {
            let (context, session_id) = (self.context.clone(), self.session_id.clone());
            let looked = tokio::task::spawn_blocking(move || context.project(&session_id))
                .await
                .unwrap_or(Err(Error::Stopping));
            return match looked {
                Ok(Looked::Projected(projected)) => {
                    self.agent_group_id = projected.agent_group_id;
                    Event::Projected(projected.seen)
                }
                Ok(Looked::Gone) => Event::NotProjected(Behind::Gone),
                Ok(Looked::Newer(newer)) => match self.take_newer(newer).await {
                    Ok(()) => continue,
                    Err(why) => Event::NotProjected(Behind::Trouble(why)),
                },
                Err(error) if is_for_want(&error) => {
                    self.context.places.make_room();
                    Event::NotProjected(Behind::Trouble(error.to_string()))
                }
                Err(error) => Event::NotProjected(match &error {
                    Error::Session(SessionError::Busy(_)) => Behind::Locked(error.to_string()),
                    Error::Session(SessionError::Kept) => Behind::Kept,
                    _ => Behind::Trouble(error.to_string()),
                }),
            };
        }
    }

    /// Takes over what the session's file knows when the database was put back to an earlier state and the file was
    /// not.
    async fn take_newer(&self, newer: ledger::Newer) -> Result<(), String> {
        let messages = self.write(move |db, id| ledger::take_newer(db, id, &newer, clock::now())).await?;
        tracing::warn!(
            session = self.session_id.as_str(),
            messages,
            "the central database is older than this session's files: what its agent wrote since is held, and \
             `vestibule delivery list` shows it; messages that only the file had are taken from it"
        );
        crash::point("set back: a session is marked, its file is as it was");
        Ok(())
    }

    fn ask_for_place(&mut self) -> Event {
        let place = self.place.insert(self.context.places.ask(&self.agent_group_id));
        if place.is_given() { Event::PlaceGiven } else { Event::NoPlace }
    }

    async fn launch(&mut self, with_runner: bool) -> Event {
        if let Some(place) = self.place.as_ref().filter(|_| with_runner && launcher::runs_low()) {
            place.ask_for_room();
        }
        let started = async {
            let prepared = launch::prepare(&self.context, &self.session_id, with_runner).await?;
            // A change of the destinations wakes this lane from here on; one just before did not.
            if !self.context.ledger.shows(&self.session_id, prepared.destinations) {
                self.reports.push_back(Event::Woken);
            }
            crash::point("launch: the run is on record, nobody runs");
            self.context.launcher.launch(&prepared.request).await
        };
        match started.await {
            Ok(launcher::Launched { keeper, provider_silence }) => {
                crash::point("launch: the keeper was started");
                (self.keeper, self.starved) = (Some(keeper), Duration::ZERO);
                self.claims.clear();
                // The new keeper weighs anew.
                self.context.note_filling(&self.session_id, None);
                Event::Started { provider_silence }
            }
            Err(error) if is_for_want(&error) => {
                self.context.places.make_room();
                Event::NotStarted(Trouble::Scarce(error.to_string()))
            }
            Err(Error::Session(SessionError::Damaged(why))) => Event::NotStarted(Trouble::Damaged(why)),
            Err(error) => Event::NotStarted(Trouble::Failed(error.to_string())),
        }
    }

    /// Puts on record what the keeper handed over.
    async fn take(&mut self) -> Option<Event> {
        if let Some((part, bytes)) = self.hand.part.take() {
            let heard = tokio::task::block_in_place(|| self.hand.files.hear(part, &bytes));
            return heard.err().map(|error| Event::NotTaken(refusal(&error)));
        }
        let (messages, acks) = self.hand.batch.take()?;
        crash::point("hand-over: a batch is heard, not on record");
        let files = match tokio::task::block_in_place(|| self.hand.files.take()) {
            Ok(files) => files,
            Err(error) => return Some(Event::NotTaken(refusal(&error))),
        };
        let content = |message: &MessageOut| message.content.len();
        let (rows, bytes) = (messages.len() + acks.len(), messages.iter().map(content).sum::<usize>());
        // However long the central database is away: the keeper holds the batch, and reads on afterwards.
        let once =
            || delivery::take(&self.context, &self.session_id, messages.clone(), acks.clone(), files.clone());
        let taken = loop {
            let error = match once().await {
                Ok(taken) => break taken,
                Err(error) => error,
            };
            tracing::debug!(session = self.session_id.as_str(), %error, "replies wait for the central database");
            tokio::select! {
                () = tokio::time::sleep(TROUBLE_RETRY) => {}
                () = self.context.stopping() => return Some(Event::NotTaken(Refusal::RuntimeStops)),
            }
        };
        let Taken::OnRecord { claimed } = taken else {
            self.hand.batch = Some((messages, acks));
            self.hand.files.put_back(files);
            return Some(Event::NoRoom);
        };
        let file_bytes = std::mem::take(&mut self.hand.bytes);
        let mut batch = Batch { rows, bytes: bytes + file_bytes, ..Batch::default() };
        for ack in acks.iter().filter(|ack| ack.status != AckStatus::Processing) {
            batch.settled = true;
            self.claims.remove(&ack.message_id);
        }
        batch.claimed = !claimed.is_empty();
        let room = CLAIMS_MAX.saturating_sub(self.claims.len());
        self.claims.extend(claimed.into_iter().take(room));
        batch.claims = self.claims.len();
        Some(Event::Taken(batch))
    }

    fn forget_hand(&mut self) {
        let files = Parts::new(self.context.attachments.clone());
        self.hand = Hand { files, part: None, batch: None, bytes: 0 };
    }

    async fn record_end(&mut self, drained: bool, blame: Option<String>) -> Option<Event> {
        let (claims, last_line) = (std::mem::take(&mut self.claims), std::mem::take(&mut self.last_line));
        let why = blame.clone();
        let limit = self.context.attachments.limits().session_bytes;
        let recorded = self.write(move |db, id| {
            sessions::set_running(db, id, !drained)?;
            ledger::show_again(db, id)?;
            match why {
                Some(why) => delivery::run_died(db, id, &claims, (&why, &last_line), limit),
                None => Ok(delivery::Died::default()),
            }
        });
        let died = match recorded.await {
            Ok(died) => died,
            Err(why) => return Some(Event::NotRecorded(format!("the end of a run was not recorded: {why}"))),
        };
        if blame.is_some() {
            self.context.ledger.doubt(&self.session_id);
        }
        if let Some(why) = blame.filter(|_| died.tried > 0) {
            tracing::warn!(session = self.session_id.as_str(), messages = died.tried, %why, "a run failed its messages");
        }
        if died.given_up > 0 {
            tracing::error!(
                session = self.session_id.as_str(),
                messages = died.given_up,
                "messages were given up: their runner failed at each try; `vestibule session list` says why"
            );
        }
        delivery::go_on(&self.context, died.told_at);
        died.woken.into_iter().for_each(|session_id| self.context.wake(session_id));
        (died.given_up > 0).then_some(Event::GivenUp)
    }

    async fn quarantine(&mut self, why: String) -> Option<Event> {
        tracing::error!(
            session = self.session_id.as_str(),
            %why,
            "quarantined; `vestibule session release` releases it"
        );
        self.claims.clear();
        let recorded = self.write(move |db, id| sessions::set_quarantined(db, id, Some(&why))).await;
        let why = recorded.err()?;
        Some(Event::NotRecorded(format!("its quarantine was not recorded: {why}")))
    }

    fn tell_end(&self, why: &End) {
        let session = self.session_id.as_str();
        match why {
            End::Idle => tracing::debug!(session, "its runner has nothing to do and is ended"),
            End::GivesWay => tracing::debug!(session, "its runner gives way to another"),
            End::AgentChanged => {
                tracing::debug!(session, "its agent was changed, so its runner is ended")
            }
            End::RuntimeStops => {}
            End::SessionGone => tracing::debug!(session, "it was deleted, so its runner is ended"),
            End::InboundLost => tracing::warn!(
                session,
                "its inbound.db is damaged or gone: its runner is ended, and the file made again"
            ),
            End::KeptLocked => {
                tracing::warn!(session, "its runner keeps a file of the session locked and is ended")
            }
            End::Stuck(why) => tracing::warn!(session, %why, "its turn is stuck, and its runner is ended"),
        }
    }

    fn tell(&self, told: Told) {
        let session = self.session_id.as_str();
        match told {
            Told::NoRoom => tracing::info!(
                session,
                "it has as many replies pending as a session may: what its agent writes waits until some are delivered"
            ),
            Told::Behind(why) => tracing::debug!(session, %why, "the session is behind"),
            Told::Trouble(why) => {
                tracing::error!(session, %why, "it waits for something scarce; tried until there is some")
            }
            Told::TroubleIsOver => tracing::info!(session, "it goes on"),
            Told::Failed(why, wait) => {
                tracing::warn!(session, %why, again_in_s = wait.as_secs(), "its keeper failed")
            }
            Told::NotTaken(why) => tracing::error!(session, %why, "replies could not be recorded"),
        }
    }
}

/// What a lane waits for, and which of these came first.
enum Happened {
    Frame(Option<Heard>),
    Clock,
    Stopping,
    Woken,
    PlaceNews,
}

/// Unless the keeper broke a rule, neither it nor its agent is to blame.
fn refusal(error: &Error) -> Refusal {
    match error {
        Error::Refused(_) => Refusal::BrokeARule(error.to_string()),
        _ => Refusal::Trouble(error.to_string()),
    }
}

/// There is no space, memory, process or descriptor left, or the central database fails: no session is to blame.
fn is_for_want(error: &Error) -> bool {
    match error {
        Error::Db(_) => true,
        Error::Session(SessionError::Io(error)) => keeper::is_for_want(error),
        Error::Session(error) => error.is_full(),
        Error::Io { source, .. } => keeper::is_for_want(source),
        _ => false,
    }
}
