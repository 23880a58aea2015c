//! `kill -9` at random moments, again and again, under real traffic: the runtime, a keeper, a runner,
//! or all of them at once.

use crate::support::until;
use crate::traffic::{CHATS, Dice, Traffic, children, in_full};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

fn kill(pids: &[u32]) {
    let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
    // Some may have gone by themselves.
    let _ = Command::new("kill").arg("-9").args(pids).output().unwrap();
}

/// Kills until there were `kills` of them and `messages` were acknowledged; answers how many of each
/// kind there were.
fn kill_loop(traffic: &mut Traffic, dice: &mut Dice, kills: usize, messages: usize) -> [usize; 4] {
    let mut done = [0; 4];
    while done.iter().sum::<usize>() < kills || traffic.platform.acked() < messages {
        let before = traffic.platform.acked();
        let enough = before + messages / kills;
        assert!(traffic.more_than(enough, Duration::from_secs(20)), "nothing is taken any more");
        std::thread::sleep(Duration::from_millis(dice.below(90) + 250 * (dice.below(4) / 3)));
        let runtime = traffic.runtime.pid();
        let keepers = children(runtime);
        let runners: Vec<u32> = keepers.iter().flat_map(|keeper| children(*keeper)).collect();
        let any = |of: &[u32], dice: &mut Dice| of.get(dice.below(of.len() as u64) as usize).copied();
        let kind = [0, 0, 0, 0, 0, 0, 1, 2, 3, 3][dice.below(10) as usize];
        match kind {
            1 | 2 => match any(if kind == 1 { &keepers } else { &runners }, dice) {
                Some(pid) => kill(&[pid]),
                None => continue,
            },
            3 => kill(&[&[runtime][..], &keepers, &runners].concat()),
            _ => {}
        }
        done[kind] += 1;
        if kind == 0 || kind == 3 {
            traffic.runtime.kill();
            let old: Vec<u32> = keepers.into_iter().chain(runners).collect();
            traffic.up();
            let lives = |pid: &u32| Path::new(&format!("/proc/{pid}/cwd")).read_link().is_ok();
            until("the runners of the killed runtime have ended", || (!old.iter().any(lives)).then_some(()));
        }
    }
    done
}

fn run(mut traffic: Traffic, name: &str, kills: usize, messages: usize) {
    let mut dice = Dice::new(name);
    let begin = Instant::now();
    traffic.up();
    traffic.wire();
    traffic.flow();
    let done = kill_loop(&mut traffic, &mut dice, kills, messages);
    traffic.ebb();
    let looped = begin.elapsed();
    let released = traffic.settle(Duration::from_secs(if in_full() { 400 } else { 45 }));
    let outcome = traffic.verify();
    let (kills, unanswered) =
        (done.iter().sum::<usize>(), traffic.platform.unanswered.load(std::sync::atomic::Ordering::Relaxed));
    println!(
        "{name}: {kills} kills (runtime {}, keeper {}, runner {}, all at once {}), {unanswered} posts taken and not \
         answered, {outcome:?}, {released} sessions released from quarantine, {looped:?} and {:?} until all was settled",
        done[0],
        done[1],
        done[2],
        done[3],
        begin.elapsed() - looped
    );
    assert_eq!(outcome.asked_again, 0, "{outcome:?}");
    if name.starts_with("no promise") {
        // Each address has a lane, and each lane one post on its way.
        assert!(outcome.duplicates_at_one <= kills + unanswered as usize, "{outcome:?}");
    } else {
        assert_eq!(outcome.duplicates, 0, "{outcome:?}");
    }
    traffic.end();
}

#[test]
fn killed_again_and_again_a_channel_without_any_promise_loses_nothing() {
    let (kills, messages) = if in_full() { (60, 2_000) } else { (3, 0) };
    run(Traffic::post("plain", CHATS), "no promise, six chats", kills, messages);
    // A platform that answers everything, late: who is killed meanwhile does not know.
    run(Traffic::posting("plain", 1, false), "no promise, one chat", kills, 0);
}

#[test]
fn killed_again_and_again_a_channel_that_can_look_up_shows_everything_once() {
    let (kills, messages) = if in_full() { (120, 4_000) } else { (8, 0) };
    run(Traffic::github(true), "reconcilable", kills, messages);
}

#[test]
fn killed_again_and_again_an_idempotent_channel_shows_everything_once() {
    let (kills, messages) = if in_full() { (120, 4_000) } else { (5, 0) };
    run(Traffic::post("post", CHATS), "idempotent", kills, messages);
}
