//! What the lane of a session knows between two events. Plain data; `decide` turns it into the next state.

use crate::clock::Timestamp;
use crate::ledger::Seen;
use std::time::{Duration, Instant};

/// Rows that no runner waits for (outcomes, acknowledgements) are projected after this time, in one go.
pub const PROJECT_LATER: Duration = Duration::from_millis(50);
/// A locked file is tried again after this time.
pub const LOCKED_RETRY: Duration = Duration::from_millis(50);
/// A step that failed for want of space, or because the central database failed, is tried again after this time.
pub const TROUBLE_RETRY: Duration = Duration::from_secs(1);
/// A runner that keeps `inbound.db` locked for this long is ended.
pub const LOCKED_MAX: Duration = Duration::from_secs(1);
/// A keeper that says nothing for this long hangs on what its agent wrote.
pub const KEEPER_SILENCE_MAX: Duration = Duration::from_secs(10);
/// A keeper is excused for at most this long because it was held up: other processes had the processors, say.
pub const EXCUSE_MAX: Duration = Duration::from_secs(60);
/// A keeper pulses each second; when it has not for this long, the lane asks the kernel why.
pub const LOOK_AT_KEEPER: Duration = Duration::from_secs(2);
/// While it stays silent, the kernel is asked again after this time.
pub const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// A runner may keep a file locked this often in a row before it counts against messages: a slow disk or a stopped
/// runner does so once or twice.
pub const LOCKS_EXCUSED: u32 = 2;
/// Keepers that die this often in a row die of what the agent wrote.
pub const DEATHS_MAX: u32 = 2;
/// The first wait after a keeper failed; it doubles with each, up to the last.
pub const FAILED_FIRST: Duration = Duration::from_secs(5);
/// See [`FAILED_FIRST`].
pub const FAILED_LAST: Duration = Duration::from_secs(600);
/// How long a keeper may take to end its runner and hand over what is left.
pub const END_PATIENCE: Duration = Duration::from_secs(5);
/// The longest sleep: a clock that was set back must not stop a lane for long.
pub const SLEEP_MAX: Duration = Duration::from_secs(60);
/// A provider shows its first event within this time of the claim, unless a longer time is declared.
/// NanoClaw's tolerance.
pub const FIRST_EVENT_MAX: Duration = Duration::from_secs(60);
/// A runner takes what is due within this time.
pub const UNTAKEN_MAX: Duration = Duration::from_secs(60);
/// A runner that is shown no more has claimed what it took before within this time.
pub const CLAIMED_WITHIN: Duration = Duration::from_secs(1);
/// A batch that finds no room is tried again after this time, should no lane be woken for it.
pub const ROOM_RETRY: Duration = Duration::from_secs(1);
/// No turn is silent for longer than this, whatever the config says, unless it is declared. NanoClaw's ceiling.
pub const CEILING: Duration = Duration::from_secs(30 * 60);
/// A session hands over this many rows, and this many bytes, in a second.
pub const ROWS_A_SECOND: f64 = 2_000.0;
/// See [`ROWS_A_SECOND`].
pub const BYTES_A_SECOND: f64 = 16.0 * 1024.0 * 1024.0;
/// A session that was quiet may hand over as much at once as in this time.
pub const BURST: Duration = Duration::from_secs(2);

/// All that a lane knows.
#[derive(Debug, Clone)]
pub struct State {
    /// The state of the session's keeper.
    pub phase: Phase,
    /// The result of the last projection. `None`: there was none since the last change that the lane itself made, or
    /// the session is gone.
    pub seen: Option<Seen>,
    /// When `inbound.db` is brought up to date next; `None`: it is up to date.
    pub project_at: Option<Instant>,
    /// Since when `inbound.db` cannot be written; `None`: it can.
    pub behind_since: Option<Instant>,
    /// Whether the operator was told of trouble that no session is to blame for.
    pub trouble_told: bool,
    /// The wait after failures, and their counts.
    pub backoff: Backoff,
    /// The lane answers the keeper no earlier than this: so the session keeps to its rate.
    pub pace: Instant,
    /// Whether the runtime stops.
    pub stopping: bool,
    /// When the lane decides again at the latest; `None`: when it is woken.
    pub wakes_at: Option<Instant>,
}

/// The state of a session's keeper.
#[derive(Debug, Clone)]
pub enum Phase {
    /// No keeper: nothing is due, or it is due later, or the session is quarantined.
    Resting,
    /// No keeper: a message is due, and all places for runners are taken.
    Queued,
    /// A keeper is being started.
    Starting {
        /// Whether it starts a runner; else it only reads what a dead one left.
        with_runner: bool,
    },
    /// A keeper works.
    Running(Run),
    /// A keeper was asked to end, for this reason, and has until then.
    Ending(Run, End, Instant),
}

/// One run of a keeper, from its start to its end.
#[derive(Debug, Clone)]
pub struct Run {
    /// Whether it started a runner; else it only reads what a dead one left.
    pub with_runner: bool,
    /// When the keeper was last heard, or the runtime last made it wait.
    pub heard: Instant,
    /// When the session last did anything: a start, a claim, an answer, an event of the provider.
    pub active: Instant,
    /// The time of the claim, or of the event after it, from which the provider's silence is counted.
    pub progress: Instant,
    /// Whether the provider had an event since the claim.
    pub had_event: bool,
    /// How many rows are claimed.
    pub claims: usize,
    /// Since when the runner is shown a due message that it should take; `None`: there is none.
    pub due_since: Option<Instant>,
    /// Since when the runner is shown no more messages, because another session needs its place.
    pub gives_way_since: Option<Instant>,
    /// How long the provider may be silent, by its own settings.
    pub provider_silence: Option<Duration>,
    /// How long the tool in flight may be silent, as the runner declared it. It counts where the provider's settings name
    /// no time.
    pub tool_silence: Option<Duration>,
    /// When a batch is taken that has come while the session has as much pending as it may: then, or as soon as there
    /// is room.
    pub take_at: Option<Instant>,
    /// When the keeper is answered about its last batch, which is on record.
    pub answer_at: Option<Instant>,
    /// How its runner has ended, if it has: then only what the runner wrote is left.
    pub exited: Option<String>,
    /// Whether the runner ended before it was asked to: then that counts, whatever its keeper is asked afterwards.
    pub exited_by_itself: bool,
    /// When the kernel was last asked why the keeper says nothing.
    pub looked: Instant,
    /// Whether the keeper has handed everything over.
    pub drained: bool,
    /// Whether the keeper said that it failed, or the runtime failed: then its end is no death.
    pub excused: bool,
}

impl Run {
    /// A run whose keeper was started just now; see [`Run::provider_silence`].
    pub fn new(with_runner: bool, provider_silence: Option<Duration>, now: Instant) -> Run {
        Run {
            with_runner,
            heard: now,
            active: now,
            progress: now,
            had_event: false,
            claims: 0,
            due_since: Some(now),
            gives_way_since: None,
            provider_silence,
            tool_silence: None,
            take_at: None,
            answer_at: None,
            exited: None,
            exited_by_itself: false,
            looked: now,
            drained: false,
            excused: false,
        }
    }
}

/// Why a run is ended. Everything that the lane can end a run for is here; a run also ends by itself, and with
/// the quarantine of its session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The runner has nothing to do.
    Idle,
    /// Another session needs the runner's place, and the runner has nothing to do, or is shown no more.
    GivesWay,
    /// The session's agent was changed.
    AgentChanged,
    /// The runtime stops.
    RuntimeStops,
    /// The session was deleted.
    SessionGone,
    /// `inbound.db` is damaged or gone, and is made again when no runner reads it.
    InboundLost,
    /// The runner kept `inbound.db` from being written, or `outbound.db` from being read.
    KeptLocked,
    /// The turn is stuck, for this reason.
    Stuck(String),
}

impl End {
    /// Why the messages under way count a try: the run did something wrong. `None`: they count none.
    pub fn blame(&self) -> Option<String> {
        match self {
            End::KeptLocked => Some("its runner kept a file of the session locked".to_owned()),
            End::Stuck(why) => Some(why.clone()),
            End::Idle
            | End::GivesWay
            | End::AgentChanged
            | End::RuntimeStops
            | End::SessionGone
            | End::InboundLost => None,
        }
    }
}

/// The wait after failures, and what is counted for it.
#[derive(Debug, Clone, Default)]
pub struct Backoff {
    /// How many launches or keepers failed, one after the other.
    pub failures: u32,
    /// How many keepers died before they had handed everything over, one after the other.
    pub deaths: u32,
    /// How many runs were ended for a lock, one after the other.
    pub locks: u32,
    /// How many keepers ended for want of something scarce, and none started its runner between them.
    pub wants: u32,
    /// No keeper is started before this time.
    pub not_before: Option<Instant>,
}

impl Backoff {
    /// Counts one more keeper that ended for want of something scarce; returns the wait that follows: half a minute at
    /// most.
    pub fn want(&mut self) -> Duration {
        let wait = TROUBLE_RETRY.saturating_mul(1 << self.wants.min(5));
        self.wants += 1;
        wait
    }

    /// Counts one more failure; returns the wait that follows.
    pub fn fail(&mut self, now: Instant) -> Duration {
        let wait = FAILED_FIRST.saturating_mul(1 << self.failures.min(10)).min(FAILED_LAST);
        self.failures += 1;
        self.not_before = Some(now + wait);
        wait
    }
}

/// What happened, to the lane or in its session.
#[derive(Debug, Clone)]
pub enum Event {
    /// The lane was woken: there may be something to do.
    Woken,
    /// The session's agent was changed: what made it fail may be mended.
    AgentChanged,
    /// Another session needs the place of this one's runner, if that has nothing to do.
    PlaceWanted,
    /// Another session needs the place of this one's runner, which has had it for its share.
    ShareIsOver,
    /// The runner is still shown all messages: that could not be changed.
    StillShown,
    /// The time that `wake_at` gave has come, and no frame was waiting.
    Clock,
    /// The runtime stops.
    RuntimeStops,
    /// `inbound.db` is up to date.
    Projected(Seen),
    /// `inbound.db` could not be brought up to date.
    NotProjected(Behind),
    /// There is a place for a runner.
    PlaceGiven,
    /// All places are taken.
    NoPlace,
    /// The keeper was started.
    Started {
        /// How long its provider may be silent, by its settings; see [`Run::provider_silence`].
        provider_silence: Option<Duration>,
    },
    /// The keeper was not started.
    NotStarted(Trouble),
    /// The keeper sent a frame that changes nothing.
    Heard,
    /// The heartbeat changed: the provider showed an event.
    Progress,
    /// How long the tool in flight may be silent; `None`: no tool has declared anything.
    ToolDeclared(Option<Duration>),
    /// The runner was started.
    RunnerStarted,
    /// The runner keeps `outbound.db` locked.
    KeptLocked,
    /// The runner has ended, in this way.
    RunnerExited(String),
    /// The keeper failed, and says that its agent is not to blame.
    KeeperFailed(Trouble),
    /// The keeper cannot read what its agent wrote.
    Corrupt(String),
    /// The keeper has handed everything over.
    Drained,
    /// A batch of the keeper's has come, or a part of a file ahead of it.
    HandedOver,
    /// The batch is on record.
    Taken(Batch),
    /// The batch stays with the keeper: the session has as much pending as it may.
    NoRoom,
    /// The batch could not be recorded.
    NotTaken(Refusal),
    /// The keeper has gone.
    KeeperGone,
    /// The messages that failed the runs are given up.
    GivenUp,
    /// The end of a run, or a quarantine, could not be recorded.
    NotRecorded(String),
}

/// The contents of a batch, counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Batch {
    /// How many rows.
    pub rows: usize,
    /// How many bytes, its files included.
    pub bytes: usize,
    /// Whether it had a claim that was new.
    pub claimed: bool,
    /// Whether it had an acknowledgement of a row.
    pub settled: bool,
    /// How many rows are claimed after it.
    pub claims: usize,
}

/// Why `inbound.db` could not be brought up to date.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Behind {
    /// The session was deleted.
    Gone,
    /// The file is locked, for this reason.
    Locked(String),
    /// The file must be made again, and a keeper may live.
    Kept,
    /// Neither the runner nor its agent is to blame: the disk is full, say.
    Trouble(String),
}

/// Why a keeper was not started, or failed, for this reason each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// There is no space, no memory or no process left: no session is to blame.
    Scarce(String),
    /// The session's folder is not what a keeper needs, and no later try finds it otherwise.
    Damaged(String),
    /// Any other failure.
    Failed(String),
}

/// Why a batch was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The batch broke a rule.
    BrokeARule(String),
    /// The runtime could not record it.
    Trouble(String),
    /// The runtime stops.
    RuntimeStops,
}

/// What must be done, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Bring `inbound.db` up to date. Reports [`Event::Projected`] or [`Event::NotProjected`].
    Project,
    /// Ask for a place for a runner. Reports [`Event::PlaceGiven`] or [`Event::NoPlace`].
    AskForPlace,
    /// Give the place back, or leave the queue.
    LeavePlace,
    /// Start a keeper. Reports [`Event::Started`] or [`Event::NotStarted`].
    Launch {
        /// Whether it starts a runner.
        with_runner: bool,
    },
    /// Show the runner no message that it has not taken yet.
    ShowNoMore,
    /// Put on record what the keeper handed over. Reports [`Event::Taken`], [`Event::NoRoom`] or [`Event::NotTaken`].
    Take,
    /// Tell the keeper that its batch is on record.
    Answer,
    /// Ask the keeper to end its runner, hand over what is left, and go.
    AskToEnd(End),
    /// End the keeper, and its runner with it.
    Kill,
    /// Record the end of the run.
    RecordEnd {
        /// Whether everything was handed over, so that no runner is left behind.
        drained: bool,
        /// Why the messages under way count a try.
        blame: Option<String>,
    },
    /// Record why no keeper can be started, for the operator: no message is to blame.
    RecordFailing(String),
    /// Let no keeper start until an operator releases the session.
    Quarantine(String),
    /// Forget the tries of the waiting messages: what made them fail may be mended.
    Forgive,
    /// Tell the operator.
    Tell(Told),
}

/// What an operator is told, in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// The session waits for space, memory or another scarce thing; tried until there is some.
    Trouble(String),
    /// The session goes on.
    TroubleIsOver,
    /// The session's replies wait until some of those before them are delivered.
    NoRoom,
    /// The session is behind, for now.
    Behind(String),
    /// A keeper failed, and the next starts after this wait.
    Failed(String, Duration),
    /// A batch could not be recorded.
    NotTaken(String),
}

/// The facts outside the lane that a decision needs.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The time of the wall clock: messages are due by it.
    pub wall: Timestamp,
    /// A runner with nothing to do for this long is ended.
    pub idle_after: Duration,
    /// A turn that shows no event for this long is stuck, unless a longer time is declared.
    pub silence_max: Duration,
    /// For how long the keeper got no processor, was stopped or waited for the disk, since it was last heard.
    pub starved: Duration,
    /// Whether the disk is full: a turn that waits for space is not stuck.
    pub disk_is_full: bool,
}
