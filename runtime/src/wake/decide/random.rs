//! The loop driven with events at random: what must hold whatever happens.

use super::tests::World;
use super::*;

/// Numbers that look random, the same for the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }

    fn one_in(&mut self, of: u64) -> bool {
        self.below(of) == 0
    }
}

/// Changes the world, and says what happens in it.
fn event(dice: &mut Dice, world: &mut World) -> Event {
    let due = (!dice.one_in(3)).then(|| Timestamp(world.facts.wall.0 + 40_000 * dice.below(2) as i64));
    (world.seen.due, world.seen.due_while_running) = (due, due.filter(|_| !dice.one_in(4)));
    world.behind = dice.one_in(6).then(|| match dice.below(4) {
        0 => Behind::Locked("locked".into()),
        1 => Behind::Kept,
        2 => Behind::Gone,
        _ => Behind::Trouble("no space".into()),
    });
    world.no_place = dice.one_in(5);
    world.not_started = dice.one_in(6).then(|| match dice.one_in(2) {
        true => Trouble::Scarce("no memory".into()),
        false => Trouble::Failed("no program".into()),
    });
    world.seen.has_room = !dice.one_in(5);
    world.facts.disk_is_full = dice.one_in(9);
    world.facts.starved = Duration::from_secs(if dice.one_in(3) { dice.below(90) } else { 0 });
    let claims = dice.below(3) as usize;
    world.batch = Batch {
        rows: dice.below(256) as usize,
        bytes: dice.below(9 << 20) as usize,
        claimed: claims > 0,
        settled: dice.one_in(2),
        claims,
    };
    if dice.one_in(12) {
        world.seen.quarantined = false; // an operator releases it
    }
    match dice.below(25) {
        0..=2 => Event::Woken,
        3 => Event::AgentChanged,
        4 => Event::PlaceWanted,
        23 => Event::ShareIsOver,
        24 => Event::StillShown,
        5 => Event::PlaceGiven,
        6 => Event::RunnerExited("status 1".into()),
        7 => Event::Drained,
        8 | 9 => Event::KeeperGone,
        10 => Event::KeeperFailed(match dice.below(2) {
            0 => Trouble::Scarce("no descriptors".into()),
            _ => Trouble::Failed("no warden".into()),
        }),
        11 if dice.one_in(4) => Event::Corrupt("bad".into()),
        12 => Event::NotTaken(match dice.below(3) {
            0 => Refusal::BrokeARule("too long".into()),
            1 => Refusal::Trouble("no space".into()),
            _ => Refusal::RuntimeStops,
        }),
        13 => Event::NotRecorded("no space".into()),
        14..=16 => Event::HandedOver,
        17 if dice.one_in(2) => Event::RunnerStarted,
        17 => Event::Progress,
        18 => Event::KeptLocked,
        19 => Event::ToolDeclared(dice.one_in(2).then_some(Duration::from_secs(3600))),
        _ => Event::Heard,
    }
}

/// Frames come from a keeper: without one there are none.
fn can_happen(event: &Event, world: &World) -> bool {
    let of_a_keeper = !matches!(
        event,
        Event::Woken
            | Event::AgentChanged
            | Event::PlaceWanted
            | Event::ShareIsOver
            | Event::StillShown
            | Event::PlaceGiven
            | Event::NotRecorded(_)
            | Event::RuntimeStops
    );
    world.keeper || !of_a_keeper
}

/// From now on everything works.
fn mend(world: &mut World) {
    (world.behind, world.no_place, world.not_started) = (None, false, None);
    (world.seen.has_room, world.facts.disk_is_full) = (true, false);
    (world.facts.starved, world.seen.quarantined) = (Duration::ZERO, false);
}

#[test]
fn whatever_happens_there_is_one_keeper_and_every_message_gets_its_runner() {
    for seed in 0..1_000 {
        let (mut dice, mut world) = (Dice(seed), World::new());
        for _ in 0..dice.below(120) {
            if dice.one_in(3) {
                // `wait` fails when the lane is told of the time without end.
                let time = [10, 700, 6_000, 70_000][dice.below(4) as usize];
                world.wait(Duration::from_millis(time));
            }
            let event = event(&mut dice, &mut world);
            if can_happen(&event, &world) {
                world.hear(event); // fails when a second keeper is started, or a missing one is killed
            }
            let phase_has_keeper = matches!(world.state.phase, Phase::Running(_) | Phase::Ending(..));
            assert_eq!(phase_has_keeper, world.keeper, "seed {seed}: {:?}", world.state.phase);
        }
        an_ending_ends(&mut world, seed);
        a_due_message_gets_its_runner(world, seed);
    }
}

/// A keeper that was asked to end is gone after its time.
fn an_ending_ends(world: &mut World, seed: u64) {
    if matches!(world.state.phase, Phase::Ending(..)) {
        world.wait(END_PATIENCE + EXCUSE_MAX + KEEPER_SILENCE_MAX + BURST + Duration::from_secs(9));
        assert!(!matches!(world.state.phase, Phase::Ending(..)), "seed {seed}: {:?}", world.state);
    }
}

/// Everything works again, and a message comes: no wake is lost, and no state is a dead end.
fn a_due_message_gets_its_runner(mut world: World, seed: u64) {
    mend(&mut world);
    (world.seen.due, world.seen.due_while_running) = (Some(world.facts.wall), None);
    world.hear(Event::Woken);
    if matches!(world.state.phase, Phase::Queued) {
        world.hear(Event::PlaceGiven);
    }
    for _ in 0..2_000 {
        match &world.state.phase {
            Phase::Running(run) if run.with_runner && run.exited.is_none() => return,
            Phase::Running(_) | Phase::Ending(..) => {
                for event in [Event::Drained, Event::KeeperGone] {
                    world.hear(event);
                }
                world.seen.quarantined = false;
            }
            _ => world.wait(Duration::from_secs(1)),
        }
    }
    panic!("seed {seed}: no runner comes: {:?}", world.state);
}
