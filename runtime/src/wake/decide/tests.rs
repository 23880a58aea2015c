//! The table of the loop: what happens, and what is done about it.

use super::*;
use crate::wake::state::{CEILING, FAILED_FIRST};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// A lane in a world that works: projections find `seen`, places are free, keepers start. The lane's steps are noted.
pub struct World {
    pub state: State,
    pub facts: Facts,
    pub now: Instant,
    /// What the next projection finds.
    pub seen: Seen,
    /// Why projections fail, if they do.
    pub behind: Option<Behind>,
    pub no_place: bool,
    pub not_started: Option<Trouble>,
    pub provider_silence: Option<Duration>,
    /// What the next batch holds.
    pub batch: Batch,
    pub keeper: bool,
    pub did: Vec<Step>,
}

impl World {
    pub fn new() -> World {
        let now = Instant::now();
        World {
            state: State::new(now),
            facts: Facts {
                wall: Timestamp(1_000_000),
                idle_after: 10 * MINUTE,
                silence_max: 10 * MINUTE,
                starved: Duration::ZERO,
                disk_is_full: false,
            },
            now,
            seen: Seen {
                due: None,
                due_while_running: None,
                running: false,
                quarantined: false,
                one_at_a_time: false,
                has_room: true,
            },
            behind: None,
            no_place: false,
            not_started: None,
            provider_silence: None,
            batch: Batch::default(),
            keeper: false,
            did: Vec::new(),
        }
    }

    /// A lane with a runner that is shown a message and has claimed it.
    fn claimed() -> World {
        let mut world = World::running();
        world.takes(Batch { rows: 1, claimed: true, claims: 1, ..Batch::default() });
        world.did.clear();
        world
    }

    /// A lane with a runner that is shown a message.
    fn running() -> World {
        let mut world = World::new();
        world.is_due();
        world.hear(Event::Woken);
        assert!(matches!(world.state.phase, Phase::Running(_)), "{:?}", world.did);
        world.did.clear();
        world
    }

    fn is_due(&mut self) {
        let due = Some(self.facts.wall);
        self.seen = Seen { due, due_while_running: due, ..self.seen };
    }

    fn nothing_is_due(&mut self) {
        (self.seen.due, self.seen.due_while_running) = (None, None);
    }

    /// Hears an event, and performs everything that follows at once.
    pub fn hear(&mut self, event: Event) {
        let mut events = std::collections::VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let (state, steps) = decide(self.state.clone(), event, &self.facts, self.now);
            self.state = state;
            for step in steps {
                events.extend(self.perform(&step));
                self.did.push(step);
            }
        }
    }

    fn perform(&mut self, step: &Step) -> Option<Event> {
        match step {
            Step::Project => Some(match &self.behind {
                Some(why) => Event::NotProjected(why.clone()),
                None => Event::Projected(self.seen),
            }),
            Step::AskForPlace if self.no_place => Some(Event::NoPlace),
            Step::AskForPlace => Some(Event::PlaceGiven),
            Step::Launch { .. } => {
                assert!(!self.keeper, "one keeper at most: {:?}", self.did);
                if let Some(trouble) = self.not_started.take() {
                    return Some(Event::NotStarted(trouble));
                }
                (self.keeper, self.seen.running) = (true, true);
                Some(Event::Started { provider_silence: self.provider_silence })
            }
            Step::Take if !self.seen.has_room => Some(Event::NoRoom),
            Step::Take => Some(Event::Taken(self.batch)),
            Step::Kill => {
                assert!(self.keeper, "there is one to kill: {:?}", self.did);
                self.keeper = false;
                None
            }
            Step::ShowNoMore => {
                self.seen.due_while_running = None;
                None
            }
            Step::RecordEnd { drained, .. } => {
                self.seen.running = !drained;
                None
            }
            Step::Quarantine(_) => {
                self.seen.quarantined = true;
                None
            }
            _ => None,
        }
    }

    /// Lets time pass; the lane is told of it when it wants to be.
    pub fn wait(&mut self, time: Duration) {
        let until = self.now + time;
        for _ in 0..100_000 {
            match self.state.wake_at(&self.facts, self.now) {
                Some(at) if at <= until => {
                    let step = at.max(self.now) - self.now;
                    self.pass(step);
                    self.hear(Event::Clock);
                }
                _ => return self.pass(until - self.now),
            }
        }
        panic!("the lane is told of the time again and again: {:?}", self.state);
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.facts.wall.0 += i64::try_from(time.as_millis()).unwrap();
    }

    /// Lets time pass, while the keeper pulses each second.
    fn live(&mut self, time: Duration) {
        for _ in 0..time.as_secs() {
            self.wait(SECOND);
            if self.keeper {
                self.hear(Event::Heard);
            }
        }
    }

    fn takes(&mut self, batch: Batch) {
        self.batch = batch;
        self.hear(Event::HandedOver);
    }

    /// The runner ends by itself, and its keeper after it.
    fn exits(&mut self) {
        for event in [Event::RunnerExited("status 1".into()), Event::Drained, Event::KeeperGone] {
            self.hear(event);
        }
    }

    fn dies(&mut self) {
        self.hear(Event::KeeperGone);
    }

    /// Why the run was asked to end.
    fn end(&self) -> Option<End> {
        self.did.iter().find_map(|step| match step {
            Step::AskToEnd(why) => Some(why.clone()),
            _ => None,
        })
    }

    fn quarantine(&self) -> Option<&str> {
        self.did.iter().find_map(|step| match step {
            Step::Quarantine(why) => Some(why.as_str()),
            _ => None,
        })
    }

    fn launches(&self) -> Vec<bool> {
        let launched = self.did.iter().filter_map(|step| match step {
            Step::Launch { with_runner } => Some(*with_runner),
            _ => None,
        });
        launched.collect()
    }

    /// The reasons for which the ends of runs counted against messages.
    fn blames(&self) -> Vec<Option<&str>> {
        let ends = self.did.iter().filter_map(|step| match step {
            Step::RecordEnd { blame, .. } => Some(blame.as_deref()),
            _ => None,
        });
        ends.collect()
    }

    fn is_over(&self) -> bool {
        self.state.is_over(&self.facts, self.now)
    }
}

fn stuck(end: Option<End>) -> bool {
    matches!(end, Some(End::Stuck(_)))
}

#[test]
fn a_message_starts_a_runner_and_nothing_else_does() {
    let mut world = World::new();
    world.hear(Event::Woken);
    assert!(world.is_over(), "nothing is due");
    world.is_due();
    world.hear(Event::Woken);
    assert_eq!(world.launches(), [true]);
    // A message of later is due at its time, and a clock that is far ahead is looked at again and again.
    let mut world = World::new();
    world.seen.due = Some(Timestamp(world.facts.wall.0 + 90_000));
    world.hear(Event::Woken);
    world.wait(89 * SECOND);
    assert!(world.launches().is_empty());
    world.wait(2 * SECOND);
    assert_eq!(world.launches(), [true]);
}

#[test]
fn after_a_crash_a_keeper_without_a_runner_comes_first() {
    let mut world = World::new();
    world.seen.running = true;
    world.is_due();
    world.hear(Event::Woken);
    assert_eq!(world.launches(), [false]);
    for event in [Event::Drained, Event::KeeperGone] {
        world.hear(event);
    }
    world.wait(SECOND);
    assert_eq!(world.launches(), [false, true]);
    assert_eq!(world.blames(), [None], "what was left counts against no message");
}

#[test]
fn a_quarantined_session_rests_until_it_is_released() {
    let mut world = World::new();
    world.is_due();
    world.seen.quarantined = true;
    world.hear(Event::Woken);
    assert!(world.is_over() && world.launches().is_empty());
    world.seen.quarantined = false;
    world.hear(Event::Woken);
    assert_eq!(world.launches(), [true]);
}

#[test]
fn how_long_a_provider_may_be_silent() {
    let s = Duration::from_secs;
    // name, whether an event was shown since the claim, the silence that the provider's settings, the tool and the
    // config allow, want
    for (name, shown, provider, tool, config, want) in [
        ("nothing yet", false, None, None, s(600), s(60)),
        ("nothing yet, and a short config", false, None, None, s(5), s(5)),
        ("it worked", true, None, None, s(600), s(600)),
        ("its settings allow more", false, Some(s(310)), None, s(600), s(310)),
        ("its settings allow less", false, Some(s(11)), None, s(600), s(60)),
        ("a tool of two hours", true, None, Some(s(7200)), s(600), s(7200)),
        ("a tool of a minute", true, None, Some(s(60)), s(600), s(600)),
        ("a tool beyond what its settings allow", true, Some(s(700)), Some(s(86_400)), s(600), s(700)),
        ("the ceiling", true, None, None, s(100_000), CEILING),
        ("declared beyond the ceiling", true, None, Some(s(3600)), s(100_000), s(3600)),
    ] {
        let mut world = World::claimed();
        world.facts.silence_max = config;
        let Phase::Running(run) = &mut world.state.phase else { unreachable!() };
        (run.had_event, run.provider_silence, run.tool_silence) = (shown, provider, tool);
        assert_eq!(tolerance(run, &world.facts), want, "{name}");
        world.live(want - 2 * SECOND);
        assert_eq!(world.end(), None, "{name}: not yet");
        world.live(4 * SECOND);
        assert!(stuck(world.end()), "{name}: {:?}", world.end());
    }
}

#[test]
fn a_stuck_run_is_ended_and_its_messages_count_a_try() {
    let mut world = World::claimed();
    world.live(61 * SECOND);
    assert!(stuck(world.end()));
    world.exits();
    let blames = world.blames();
    assert!(matches!(blames[..], [Some(why)] if why.contains("no sign of life for 60 s")), "{blames:?}");
}

#[test]
fn events_of_the_provider_and_nothing_else_keep_a_turn_going() {
    let mut world = World::claimed();
    for _ in 0..20 {
        world.live(50 * SECOND);
        world.hear(Event::Progress);
    }
    assert_eq!(world.end(), None, "each event starts the time anew");
    world.live(9 * MINUTE);
    world.hear(Event::Woken); // a new message is no event of the provider
    world.live(2 * MINUTE);
    assert!(stuck(world.end()));
}

#[test]
fn a_tool_is_waited_for_as_long_as_it_declared() {
    let mut world = World::claimed();
    world.hear(Event::Progress);
    world.hear(Event::ToolDeclared(Some(20 * MINUTE)));
    world.live(19 * MINUTE);
    assert_eq!(world.end(), None);
    world.hear(Event::ToolDeclared(None));
    world.live(SECOND);
    assert!(stuck(world.end()), "the tool is over, and nothing came since");
}

#[test]
fn a_runner_that_does_not_take_what_is_due_is_stuck() {
    let mut world = World::running();
    world.live(59 * SECOND);
    assert_eq!(world.end(), None);
    world.live(2 * SECOND);
    assert!(stuck(world.end()));
    // A message that falls due during the run has its time from then on.
    let mut world = World::running();
    let later = Some(Timestamp(world.facts.wall.0 + 300_000));
    (world.seen.due, world.seen.due_while_running) = (later, later);
    world.hear(Event::Woken);
    world.live(355 * SECOND);
    assert_eq!(world.end(), None);
    world.live(7 * SECOND);
    assert!(stuck(world.end()));
    // A runner that was idle for long has its time from the next message on, which has no time of its own.
    let mut world = World::running();
    world.nothing_is_due();
    world.takes(Batch { rows: 1, settled: true, ..Batch::default() });
    world.wait(SECOND);
    world.live(5 * MINUTE);
    (world.seen.due, world.seen.due_while_running) = (Some(Timestamp(0)), Some(Timestamp(0)));
    world.hear(Event::Woken);
    world.live(59 * SECOND);
    assert_eq!(world.end(), None);
    world.live(2 * SECOND);
    assert!(stuck(world.end()));
    // Messages that a runner takes only at its first look wait for the next runner.
    let mut world = World::running();
    world.seen.due_while_running = None;
    world.hear(Event::Woken);
    world.live(5 * MINUTE);
    assert_eq!(world.end(), None);
}

#[test]
fn while_a_keeper_is_held_up_its_provider_is_not_silent() {
    for mut world in [World::claimed(), World::running()] {
        world.live(50 * SECOND);
        world.facts.starved = MINUTE;
        (0..30).for_each(|_| world.wait(SECOND));
        assert_eq!(world.end(), None);
        world.hear(Event::Heard);
        world.live(7 * SECOND);
        assert_eq!(world.end(), None, "its time goes on where it stood");
        world.live(4 * SECOND);
        assert!(stuck(world.end()));
    }
    // A runner that was idle before: its time began with the message.
    let mut world = World::running();
    world.nothing_is_due();
    world.takes(Batch { rows: 1, settled: true, ..Batch::default() });
    world.live(5 * MINUTE);
    (world.seen.due, world.seen.due_while_running) = (Some(Timestamp(0)), Some(Timestamp(0)));
    world.hear(Event::Woken);
    world.live(30 * SECOND);
    world.facts.starved = MINUTE;
    (0..40).for_each(|_| world.wait(SECOND));
    world.hear(Event::Heard);
    world.live(25 * SECOND);
    assert_eq!(world.end(), None);
    world.live(10 * SECOND);
    assert!(stuck(world.end()));
}

#[test]
fn a_full_disk_makes_no_turn_stuck() {
    for mut world in [World::claimed(), World::running()] {
        world.facts.disk_is_full = true;
        world.live(10 * MINUTE);
        assert_eq!(world.end(), None);
        world.facts.disk_is_full = false;
        world.live(2 * MINUTE);
        assert!(stuck(world.end()), "its time begins when there is space");
    }
}

#[test]
fn an_idle_runner_is_ended_but_not_one_with_a_turn_under_way() {
    let mut world = World::claimed();
    (world.facts.idle_after, world.facts.silence_max) = (30 * SECOND, 20 * MINUTE);
    world.hear(Event::Progress);
    world.live(19 * MINUTE);
    assert_eq!(world.end(), None, "its turn is under way");
    world.nothing_is_due();
    world.takes(Batch { rows: 2, settled: true, ..Batch::default() });
    world.live(29 * SECOND);
    assert_eq!(world.end(), None);
    world.live(3 * SECOND);
    assert_eq!(world.end(), Some(End::Idle));
    world.exits();
    assert_eq!(world.blames(), [None]);
    world.wait(SECOND);
    assert!(world.is_over());
}

#[test]
fn a_keeper_that_says_nothing_is_given_up_after_ten_seconds() {
    let mut world = World::running();
    world.wait(9 * SECOND);
    assert_eq!(world.quarantine(), None);
    world.wait(2 * SECOND);
    assert!(world.quarantine().is_some_and(|why| why.contains("hung")));
    assert!(!world.keeper && world.is_over());
}

/// An operator pressed Ctrl-Z, or the machine slept: the frames that came meanwhile are read after the clock.
#[test]
fn time_in_which_the_runtime_stood_still_counts_against_nobody() {
    for first in [Event::Clock, Event::Woken, Event::Heard] {
        let mut world = World::claimed();
        world.pass(10 * MINUTE);
        world.hear(first.clone());
        world.live(5 * SECOND);
        let did = (world.quarantine(), world.end());
        assert_eq!(did, (None, None), "{first:?}: neither its keeper's silence nor its provider's");
        // The same holds for messages that it did not take, and for a lock.
        let mut world = World::running();
        world.behind = Some(Behind::Locked("locked".into()));
        world.hear(Event::Woken);
        world.pass(2 * MINUTE);
        world.hear(first.clone());
        world.behind = None;
        world.live(5 * SECOND);
        assert_eq!((world.quarantine(), world.end()), (None, None), "{first:?}");
        // And a keeper that was asked to end has its time for that.
        let mut world = World::running();
        world.hear(Event::AgentChanged);
        world.pass(MINUTE);
        world.hear(first);
        assert!(world.keeper);
    }
    // A silence that follows does count.
    let mut world = World::running();
    world.pass(MINUTE);
    world.hear(Event::Clock);
    world.wait(11 * SECOND);
    assert!(world.quarantine().is_some());
}

#[test]
fn time_without_a_processor_is_no_silence_and_no_death() {
    let mut world = World::running();
    for second in 1..=30_u32 {
        world.facts.starved = second * SECOND;
        world.wait(SECOND);
    }
    assert_eq!(world.quarantine(), None, "it could run, and got no processor");
    world.wait(11 * SECOND);
    assert!(world.quarantine().is_some(), "then it could, and said nothing");
    // A keeper that was asked to end has its five seconds of a processor, too.
    let mut world = World::running();
    world.hear(Event::AgentChanged);
    for second in 1..=8_u32 {
        world.facts.starved = second * SECOND;
        world.wait(SECOND);
    }
    assert!(world.keeper);
    world.exits();
    assert_eq!(world.state.backoff.deaths, 0);
    // And no excuse lasts for ever.
    let mut world = World::running();
    for second in 1..=75_u32 {
        world.facts.starved = second * SECOND;
        world.wait(SECOND);
    }
    assert!(world.quarantine().is_some());
}

#[test]
fn who_hands_over_too_fast_is_held_back() {
    let mut world = World::running();
    world.seen.due_while_running = None;
    let answers = |world: &World| world.did.iter().filter(|step| **step == Step::Answer).count();
    let begin = world.now;
    for round in 0..100 {
        world.takes(Batch { rows: 256, bytes: 4096, ..Batch::default() });
        while answers(&world) <= round {
            world.wait(Duration::from_millis(10)); // with or without a pulse: the keeper waits for the answer
            world.hear(Event::Heard);
        }
    }
    let took = (world.now - begin).as_secs_f64();
    assert!(
        (9.0..13.0).contains(&took),
        "25,600 rows at 2,000 a second, two seconds of them at once: {took}"
    );
    assert_eq!((world.quarantine(), world.end()), (None, None));
    let mut world = World::running();
    world.takes(Batch { rows: 1, bytes: 160 << 20, ..Batch::default() });
    assert_eq!(answers(&world), 0);
    world.live(7 * SECOND);
    assert_eq!(answers(&world), 0, "160 MiB take ten seconds, two of them are free");
    world.live(2 * SECOND);
    assert_eq!(answers(&world), 1);
}

#[test]
fn without_room_nothing_is_answered_and_nothing_starts() {
    let mut world = World::running();
    world.seen.has_room = false;
    world.takes(Batch { rows: 9, settled: true, ..Batch::default() });
    world.live(5 * MINUTE);
    assert_eq!((world.did.contains(&Step::Answer), world.quarantine(), world.end()), (false, None, None));
    assert_eq!(world.did.iter().filter(|step| **step == Step::Tell(Told::NoRoom)).count(), 1);
    // Its runner ends: a keeper without a runner reads the rest when there is room.
    world.hear(Event::RunnerExited("status 0".into()));
    assert!(!world.keeper && world.state.backoff.deaths == 0);
    world.did.clear();
    world.live(MINUTE);
    assert!(world.launches().is_empty());
    world.seen.has_room = true;
    world.hear(Event::Woken);
    assert_eq!(world.launches(), [false]);
    // Replies that wait for a channel keep no message from being answered: its answer waits behind them.
    let mut world = World::new();
    world.seen.has_room = false;
    world.is_due();
    world.hear(Event::Woken);
    assert_eq!(world.launches(), [true]);
    // A runner that still runs goes on when there is room.
    let mut world = World::running();
    world.seen.has_room = false;
    world.takes(Batch { rows: 9, settled: true, ..Batch::default() });
    world.seen.has_room = true;
    world.hear(Event::Woken);
    assert!(world.did.contains(&Step::Answer));
}

#[test]
fn keepers_that_die_twice_in_a_row_died_of_what_they_read() {
    let mut world = World::running();
    world.dies();
    assert_eq!((world.quarantine(), world.state.backoff.deaths), (None, 1));
    world.wait(FAILED_FIRST + SECOND);
    assert_eq!(world.launches(), [false], "what the first left is read first");
    world.did.clear();
    world.hear(Event::Drained);
    world.dies();
    assert_eq!(world.state.backoff.deaths, 0, "one that handed everything over did not die of it");
    assert_eq!(world.launches(), [true]);
    for _ in 0..2 {
        world.dies();
        world.live(4 * FAILED_FIRST);
    }
    assert!(world.quarantine().is_some_and(|why| why.contains("died")));
}

#[test]
fn what_an_earlier_runner_left_does_not_show_that_one_can_be_started() {
    let mut world = World::running();
    world.hear(Event::KeeperFailed(Trouble::Failed("its folder is gone".into())));
    world.dies();
    world.wait(FAILED_FIRST + SECOND);
    assert_eq!(world.launches(), [false]);
    world.takes(Batch { rows: 1, settled: true, ..Batch::default() });
    assert_eq!(world.state.backoff.failures, 1, "the next failure waits longer");
    let mut world = World::running();
    world.state.backoff.failures = 3;
    world.takes(Batch { rows: 1, settled: true, ..Batch::default() });
    assert_eq!(world.state.backoff.failures, 0);
}

#[test]
fn what_a_keeper_or_the_runtime_could_not_do_is_no_death() {
    for (name, event) in [
        ("its own failure", Event::KeeperFailed(Trouble::Failed("it was started by hand".into()))),
        ("a want", Event::KeeperFailed(Trouble::Scarce("no descriptors".into()))),
        ("the runtime's", Event::NotTaken(Refusal::Trouble("the disk is full".into()))),
        ("the runtime stops", Event::NotTaken(Refusal::RuntimeStops)),
    ] {
        let mut world = World::running();
        world.seen.has_room = false; // the next batch waits
        world.hear(event);
        if world.keeper {
            world.dies();
        }
        world.seen.has_room = true;
        world.hear(Event::Woken);
        assert_eq!(
            (world.state.backoff.deaths, world.quarantine(), world.keeper),
            (0, None, world.keeper),
            "{name}"
        );
        assert!(world.blames().iter().all(Option::is_none), "{name}: no message counts a try");
        let is_shown = world.did.iter().any(|step| matches!(step, Step::RecordFailing(_)));
        assert_eq!(is_shown, name == "its own failure", "{name}: what does not pass is shown");
        world.wait(MINUTE);
        assert_eq!(world.launches().first(), Some(&false), "{name}");
    }
    let mut world = World::running();
    world.hear(Event::NotTaken(Refusal::BrokeARule("a row too long".into())));
    assert_eq!(world.state.backoff.deaths, 1, "what breaks a rule is the keeper's doing");
    assert!(world.blames()[0].is_some());
}

#[test]
fn what_is_scarce_is_asked_for_again_soon_and_a_full_disk_at_an_even_pace() {
    let note = |world: &mut World, told: &mut Vec<Step>| {
        told.extend(world.did.drain(..).filter(|step| matches!(step, Step::Tell(Told::Trouble(_)))));
    };
    for (event, waits) in [
        (Event::KeeperFailed(Trouble::Scarce("no processes".into())), [1, 2, 4, 8]),
        (Event::NotTaken(Refusal::Trouble("the disk is full".into())), [5, 5, 5, 5]),
    ] {
        let (mut world, mut told) = (World::running(), Vec::new());
        for wait in waits {
            world.hear(event.clone());
            if world.keeper {
                world.dies();
            }
            note(&mut world, &mut told);
            world.wait(wait * SECOND - SECOND / 2);
            assert!(world.launches().is_empty(), "{event:?}");
            world.wait(SECOND);
            assert_eq!(world.launches(), [false], "{event:?}: what is left is read first");
            note(&mut world, &mut told);
            // A batch without a runner is no sign that one can be started.
            world.takes(Batch { rows: 1, settled: true, ..Batch::default() });
            world.hear(Event::Drained);
            world.dies();
            world.wait(SECOND);
            assert_eq!(world.launches().last(), Some(&true), "{event:?}");
            note(&mut world, &mut told);
        }
        assert!(told.len() <= 1, "once, until a runner was started: {told:?}");
        world.hear(Event::RunnerStarted);
        assert_eq!(world.did.contains(&Step::Tell(Told::TroubleIsOver)), told.len() == 1);
        assert_eq!(world.state.backoff.want(), TROUBLE_RETRY, "and the wait begins anew");
    }
}

#[test]
fn what_the_agent_spoilt_is_quarantined_at_once() {
    let mut world = World::running();
    world.hear(Event::Corrupt("messages_out is not a table".into()));
    assert_eq!(world.quarantine(), Some("messages_out is not a table"));
    assert_eq!(world.blames(), [Some("messages_out is not a table")], "the messages under way count a try");
    assert!(!world.keeper);
}

#[test]
fn a_quarantine_that_is_not_recorded_is_tried_again() {
    let mut world = World::running();
    world.hear(Event::Corrupt("bad".into()));
    world.seen.quarantined = false;
    world.hear(Event::NotRecorded("the disk is full".into()));
    assert!(world.is_over() || !world.keeper);
    world.wait(FAILED_FIRST + SECOND);
    assert_eq!(world.launches(), [false]);
}

#[test]
fn a_runner_that_keeps_a_file_locked_is_ended_and_the_next_waits_longer() {
    let mut world = World::running();
    for (wait, counts) in [(5, false), (10, false), (20, true)] {
        world.behind = Some(Behind::Locked("locked".into()));
        world.hear(Event::Woken);
        world.live(SECOND);
        assert_eq!(world.end(), None, "a lock of a second costs nothing");
        world.live(SECOND);
        assert_eq!(world.end(), Some(End::KeptLocked));
        world.behind = None;
        world.exits();
        assert_eq!(world.blames()[0].is_some_and(|why| why.contains("locked")), counts, "{wait}");
        world.did.clear();
        world.wait((wait - 1) * SECOND);
        assert!(world.launches().is_empty(), "{wait}");
        world.wait(2 * SECOND);
        assert_eq!(world.launches(), [true], "{wait}");
        world.did.clear();
    }
    // A message that was given up: the next one does not wait for what it did.
    world.behind = Some(Behind::Locked("locked".into()));
    world.hear(Event::Woken);
    world.live(3 * SECOND);
    world.behind = None;
    world.exits();
    world.did.clear();
    world.wait(SECOND);
    assert!(world.launches().is_empty());
    world.hear(Event::GivenUp);
    world.wait(SECOND);
    assert_eq!(world.launches(), [true]);
    world.did.clear();
    // Another agent: the failures before it are forgotten.
    world.hear(Event::AgentChanged);
    world.exits();
    world.wait(SECOND);
    assert_eq!(world.launches(), [true]);
    assert!(world.did.contains(&Step::Forgive));
}

#[test]
fn a_runner_that_keeps_its_own_file_locked_is_ended_too() {
    let mut world = World::claimed();
    world.hear(Event::KeptLocked);
    assert_eq!(world.end(), Some(End::KeptLocked), "it may have had no processor: this is no quarantine");
    world.exits();
    assert_eq!(world.blames(), [None], "its disk may be slow");
    assert!(!world.did.iter().any(|step| matches!(step, Step::Quarantine(_))));
    world.did.clear();
    world.wait(4 * SECOND);
    assert!(world.launches().is_empty());
    world.wait(2 * SECOND);
    assert_eq!(world.launches(), [true]);
}

#[test]
fn want_of_space_blames_nobody() {
    let mut world = World::new();
    world.is_due();
    world.not_started = Some(Trouble::Scarce("no space left".into()));
    world.hear(Event::Woken);
    assert_eq!(world.launches(), [true]);
    world.wait(2 * SECOND);
    assert_eq!(world.launches(), [true, true], "a second later, whatever came before");
    assert_eq!((world.state.backoff.failures, world.blames().len()), (0, 0));
    assert!(!world.did.iter().any(|step| matches!(step, Step::RecordFailing(_))));
    // The same for a file that cannot be written: the operator is told once, and again when it is over.
    let mut world = World::running();
    world.behind = Some(Behind::Trouble("no space left".into()));
    world.hear(Event::Woken);
    world.live(MINUTE);
    let told = |world: &World, what: &Told| {
        let same = world.did.iter().filter(|step| **step == Step::Tell(what.clone()));
        same.count()
    };
    assert_eq!(told(&world, &Told::Trouble("no space left".into())), 1);
    assert_eq!(world.end(), None);
    world.behind = None;
    world.live(2 * SECOND);
    assert_eq!(told(&world, &Told::TroubleIsOver), 1);
}

#[test]
fn a_keeper_that_cannot_be_started_waits_longer_each_time() {
    let mut world = World::new();
    world.is_due();
    let mut waits = Vec::new();
    for _ in 0..9 {
        world.not_started = Some(Trouble::Failed("no bwrap".into()));
        world.hear(Event::Woken);
        let begin = world.now;
        while world.launches().is_empty() {
            world.wait(SECOND);
        }
        waits.push((world.now - begin).as_secs());
        assert!(world.did.contains(&Step::RecordFailing("no bwrap".into())), "`status` shows why");
        world.did.clear();
    }
    assert_eq!(waits, [0, 5, 10, 20, 40, 80, 160, 320, 600]);
}

#[test]
fn a_folder_that_no_later_try_finds_otherwise_is_a_quarantine() {
    let mut world = World::new();
    world.is_due();
    world.not_started = Some(Trouble::Damaged("its out/ is gone".into()));
    world.hear(Event::Woken);
    assert!(world.did.contains(&Step::Quarantine("its out/ is gone".into())));
    world.did.clear();
    world.wait(MINUTE);
    assert!(world.launches().is_empty());
}

#[test]
fn who_was_asked_to_end_and_does_not_is_killed() {
    let mut world = World::running();
    world.hear(Event::AgentChanged);
    world.live(4 * SECOND);
    assert!(world.keeper);
    world.live(2 * SECOND);
    assert!(!world.keeper && world.state.backoff.deaths == 1);
    // The rest is handed over in its own time, as long as it keeps coming.
    let mut world = World::running();
    world.hear(Event::AgentChanged);
    for _ in 0..10 {
        world.live(3 * SECOND);
        world.takes(Batch { rows: 256, ..Batch::default() });
    }
    assert!(world.keeper);
}

#[test]
fn a_file_that_is_lost_is_made_again_when_no_runner_reads_it() {
    let mut world = World::running();
    world.behind = Some(Behind::Kept);
    world.hear(Event::Woken);
    assert_eq!(world.end(), Some(End::InboundLost));
    world.behind = None;
    world.exits();
    assert_eq!(world.blames(), [None]);
    world.wait(SECOND);
    assert_eq!(world.launches(), [true]);
}

#[test]
fn a_deleted_session_ends_its_runner_and_is_done() {
    let mut world = World::running();
    world.behind = Some(Behind::Gone);
    world.hear(Event::Woken);
    assert_eq!(world.end(), Some(End::SessionGone));
    world.exits();
    world.wait(SECOND);
    assert!(world.is_over());
}

#[test]
fn who_waits_for_a_place_starts_when_it_is_given() {
    let mut world = World::new();
    world.is_due();
    world.no_place = true;
    world.hear(Event::Woken);
    world.wait(MINUTE);
    assert!(world.launches().is_empty() && !world.is_over());
    world.hear(Event::PlaceGiven);
    assert_eq!(world.launches(), [true]);
    // Nothing is due any more: it leaves the queue.
    let mut world = World::new();
    world.is_due();
    world.no_place = true;
    world.hear(Event::Woken);
    world.nothing_is_due();
    world.hear(Event::Woken);
    assert!(world.did.contains(&Step::LeavePlace) && world.is_over());
}

/// It would take the blame with it, and a message that kills its runner be tried without end.
#[test]
fn a_runner_that_has_ended_by_itself_does_not_give_way() {
    let mut world = World::claimed();
    world.hear(Event::RunnerExited("status 1".into()));
    assert_eq!(world.state.idle_since(&world.facts, world.now), None);
    world.hear(Event::PlaceWanted);
    assert_eq!(world.end(), None);
    // Nor does anything that its keeper is asked afterwards.
    world.hear(Event::AgentChanged);
    assert_eq!(world.end(), Some(End::AgentChanged));
    for event in [Event::Drained, Event::KeeperGone] {
        world.hear(event);
    }
    assert!(world.blames()[0].is_some_and(|why| why.contains("status 1")), "{:?}", world.blames());
}

/// A keeper begins with the acknowledgements that are in the file, old ones, too: these are no answer to messages that
/// are due.
#[test]
fn a_runner_that_has_not_taken_its_message_does_not_give_way() {
    let mut world = World::running();
    world.takes(Batch { rows: 1, settled: true, ..Batch::default() });
    world.hear(Event::PlaceWanted);
    assert_eq!(world.end(), None);
    world.nothing_is_due();
    world.wait(SECOND);
    world.hear(Event::PlaceWanted);
    assert_eq!(world.end(), Some(End::GivesWay));
}

#[test]
fn only_an_idle_runner_gives_way() {
    let mut world = World::claimed();
    world.hear(Event::PlaceWanted);
    assert_eq!(world.end(), None, "its turn is under way");
    world.nothing_is_due();
    world.takes(Batch { rows: 2, settled: true, ..Batch::default() });
    world.wait(SECOND);
    world.hear(Event::PlaceWanted);
    assert_eq!(world.end(), Some(End::GivesWay));
    world.exits();
    assert!(world.did.contains(&Step::LeavePlace));
    assert_eq!(world.blames(), [None]);
}

/// Places change hands between turns: no turn is cut short, and no message is tried for it.
#[test]
fn a_runner_that_is_never_idle_gives_way_after_its_turn() {
    let mut world = World::claimed();
    world.hear(Event::ShareIsOver);
    assert_eq!(world.did, [Step::ShowNoMore, Step::Project]);
    world.hear(Event::StillShown);
    world.did.clear();
    world.hear(Event::ShareIsOver);
    assert_eq!(world.did, [Step::ShowNoMore, Step::Project], "it could not be shown no more");
    world.hear(Event::ShareIsOver);
    world.hear(Event::PlaceWanted);
    world.live(30 * SECOND);
    assert_eq!(world.end(), None, "its turn is under way");
    world.takes(Batch { rows: 2, settled: true, ..Batch::default() });
    world.hear(Event::PlaceWanted);
    assert_eq!(world.end(), None, "it may have taken the next before it was shown no more");
    world.wait(SECOND / 2);
    world.takes(Batch { rows: 1, claimed: true, claims: 1, ..Batch::default() });
    world.live(30 * SECOND);
    assert_eq!(world.end(), None, "which it had");
    world.takes(Batch { rows: 2, settled: true, ..Batch::default() });
    world.wait(2 * SECOND);
    assert_eq!(world.end(), Some(End::GivesWay));
    world.no_place = true;
    world.exits();
    assert!(world.did.contains(&Step::LeavePlace));
    assert_eq!(world.blames(), [None]);
    // What it was not shown waits for its next place.
    assert!(matches!(world.state.phase, Phase::Queued), "{:?}", world.state.phase);
}

#[test]
fn a_runtime_that_stops_ends_what_runs_and_starts_nothing() {
    let mut world = World::running();
    world.hear(Event::RuntimeStops);
    assert_eq!(world.end(), Some(End::RuntimeStops));
    world.exits();
    assert!(world.is_over() && world.blames() == [None]);
    world.hear(Event::Woken);
    assert!(world.is_over() && world.launches().is_empty());
    // A file that cannot be written now is written at the next start.
    let mut world = World::running();
    world.behind = Some(Behind::Trouble("no space left".into()));
    world.hear(Event::RuntimeStops);
    world.exits();
    world.wait(SECOND);
    assert!(world.is_over());
}

#[test]
fn messages_shown_one_at_a_time_follow_each_other_at_once() {
    for (one_at_a_time, at_once) in [(true, true), (false, false)] {
        let mut world = World::running();
        world.seen.one_at_a_time = one_at_a_time;
        world.hear(Event::Woken);
        world.did.clear();
        world.takes(Batch { rows: 2, settled: true, ..Batch::default() });
        assert_eq!(world.did.contains(&Step::Project), at_once);
        world.wait(PROJECT_LATER);
        assert!(world.did.contains(&Step::Project), "what no runner waits for comes a little later");
    }
}
