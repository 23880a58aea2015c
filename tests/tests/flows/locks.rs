//! Locks and leases as weapons: whoever holds one on a session's file for ever costs that session only.

use crate::hostile::{running, with_hostile};
use crate::support::{Runtime, Terminal, hostile, until};
use crate::traffic::in_full;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What others may lose.
const DELAY_MAX: Duration = Duration::from_millis(50);

/// The times of round trips of the agent that echoes, sorted.
fn rounds(client: &mut Terminal, text: &str, count: usize) -> Vec<Duration> {
    let one = |_| {
        let begin = Instant::now();
        client.say(text);
        assert_eq!(client.reply(), text);
        begin.elapsed()
    };
    let mut times: Vec<Duration> = (0..count).map(one).collect();
    times.sort();
    times
}

fn p99(times: &[Duration]) -> Duration {
    times[times.len() * 99 / 100]
}

/// Others' round trips with and without a lock on one session's file, in the same run. Each of the messages is
/// for the locked session, too. A machine that does other things may delay one: the best of three counts.
#[test]
fn a_lock_held_for_ever_delays_nobody_else() {
    for (attempt, file, ended_within) in [
        ("hold-shared", "inbound.db", Some(Duration::from_secs(8))),
        ("hold-exclusive", "out/outbound.db", Some(Duration::from_secs(10))),
        // The keeper can read beside it, so it harms only the runner's own writing.
        ("hold-shared", "out/outbound.db", None),
    ] {
        let (mut best, mut allowed) = (Duration::MAX, DELAY_MAX);
        for _ in 0..3 {
            let (runtime, mut client) = with_hostile("process", attempt, file);
            let without = rounds(&mut client, "good", if in_full() { 200 } else { 50 });
            client.say("bad 1");
            assert_eq!(client.reply(), "bad 1");
            let name = hostile().file_name().unwrap().to_string_lossy().into_owned();
            let first = until("the lock is held", || running(&name, runtime.pid()).into_iter().next());
            let begin = Instant::now();
            let mut with = Vec::new();
            let mut ended = false;
            while !ended && begin.elapsed() < ended_within.unwrap_or(Duration::from_secs(2)) {
                with.extend(rounds(&mut client, "bad 2", 1));
                ended = !running(&name, runtime.pid()).contains(&first);
            }
            assert!(ended_within.is_none() || ended, "{attempt} {file}: its runner goes on");
            with.sort();
            // A busy machine makes single round trips late: the suite compares the middle ones.
            let of = |times: &[Duration]| if in_full() { p99(times) } else { times[times.len() / 2] };
            let delay = of(&with).saturating_sub(of(&without));
            println!(
                "{attempt} {file}: p50 {:?} and p99 {:?} without, p50 {:?} and p99 {:?} with ({} round trips)",
                without[without.len() / 2],
                p99(&without),
                with[with.len() / 2],
                p99(&with),
                with.len()
            );
            drop(client);
            let quarantined =
                runtime.query::<i64>("SELECT COUNT(*) FROM sessions WHERE quarantined IS NOT NULL");
            assert_eq!(quarantined, [0], "{attempt} {file}: its end is enough");
            runtime.ok(&["agent", "update", "bad", "--command", "true"]);
            // Where a round trip takes longer than that by itself, it says nothing.
            allowed = DELAY_MAX.max(if in_full() { Duration::ZERO } else { of(&without) });
            best = best.min(delay);
            if best < allowed {
                break;
            }
        }
        assert!(best < allowed, "{attempt} {file}: others wait {best:?} longer");
    }
}

/// A runner that was ended for its lock is not started at once again, however many messages come.
#[test]
fn who_holds_a_lock_waits_before_the_next_run() {
    let (runtime, mut client) = with_hostile("process", "hold-shared", "inbound.db");
    let name = hostile().file_name().unwrap().to_string_lossy().into_owned();
    // When each run's program was first seen, and when it was gone.
    let mut runs: Vec<(String, Instant, Option<Instant>)> = Vec::new();
    let wanted = if in_full() { 4 } else { 2 };
    let begin = Instant::now();
    while runs.len() < wanted {
        client.say("bad");
        assert_eq!(client.reply(), "bad", "others go on");
        let now = running(&name, runtime.pid());
        if let Some((pid, _, end @ None)) = runs.last_mut()
            && !now.contains(pid)
        {
            *end = Some(Instant::now());
        }
        if let Some(pid) = now.iter().find(|pid| runs.iter().all(|(known, ..)| known != *pid)) {
            runs.push((pid.clone(), Instant::now(), None));
        }
        assert!(begin.elapsed() < Duration::from_secs(120), "it is never started again: {runs:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
    let ends = runs.iter().filter_map(|(.., end)| *end);
    let waits: Vec<Duration> = ends.zip(&runs[1..]).map(|(end, (_, start, _))| *start - end).collect();
    println!("started again after {waits:?}");
    for (wait, least) in waits.iter().zip([4, 8, 16]) {
        assert!(*wait > Duration::from_secs(least), "{waits:?}");
    }
    let tries = runtime.query::<i64>("SELECT MAX(tries) FROM messages_in")[0];
    assert_eq!(tries > 0, in_full(), "it counts as a try from the third time on: {tries}");
    // Once its agent is another, nobody waits for what the one before did.
    runtime.ok(&["agent", "update", "bad", "--command", "true"]);
    client.say("bad, mended");
    assert_eq!(client.reply(), "bad, mended");
    let open = "SELECT COUNT(*) FROM messages_in WHERE content LIKE '%mended%' AND status = 'pending'";
    until("its next message is answered", || (runtime.query::<i64>(open) == [0]).then_some(()));
}

/// A lease on `inbound.db`, held by a program outside any sandbox: no `open` sleeps for it, and its session
/// goes on when it is gone.
#[test]
fn a_lease_makes_nobody_wait() {
    let runtime = Runtime::new("").up();
    let mut client = Terminal::connect(&runtime, false);
    assert_eq!(rounds(&mut client, "hello", 20).len(), 20);
    let session = runtime.sessions().remove(0);
    let mut holder = lease(&session.join("inbound.db"));
    client.say("under a lease");
    std::thread::sleep(Duration::from_millis(300));
    // The operator's road does not go through the session's file.
    let begin = Instant::now();
    assert_eq!(runtime.json(&["session", "list"]).as_array().unwrap().len(), 1);
    runtime.run(&["status"]);
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
    assert!(runtime.log().contains("the session is behind"), "the lease counts as locked");
    holder.kill().unwrap();
    holder.wait().unwrap();
    let begin = Instant::now();
    assert_eq!(client.reply(), "under a lease");
    assert!(begin.elapsed() < Duration::from_secs(8), "{:?}", begin.elapsed());
}

/// The kernel gives a lease only while nobody has the file open: the runtime, or a runner, may be at it.
fn lease(file: &Path) -> std::process::Child {
    until("the lease is given", || {
        let mut holder =
            Command::new(hostile()).arg("hold-lease").arg(file).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = [0; 5];
        std::io::Read::read_exact(holder.stdout.as_mut().unwrap(), &mut said).unwrap();
        let held = &said == b"held\n";
        if !held {
            holder.wait().unwrap();
        }
        held.then_some(holder)
    })
}

/// A file that is damaged while its runner lives is made again when the runner has ended, not before.
#[test]
fn a_file_is_made_again_only_when_its_runner_has_ended() {
    let runtime = Runtime::new("").up();
    assert_eq!(runtime.chat("one"), "one");
    let inbound = runtime.sessions()[0].join("inbound.db");
    for damage in ["removed", "noise"] {
        let keeper = until("its keeper lives", || crate::traffic::children(runtime.pid()).first().copied());
        match damage {
            "removed" => std::fs::remove_file(&inbound).unwrap(),
            _ => std::fs::write(&inbound, [0x77; 9000]).unwrap(),
        }
        assert_eq!(runtime.chat("two"), "two", "{damage}");
        until("the run over the old file has ended", || {
            (!crate::traffic::children(runtime.pid()).contains(&keeper)).then_some(())
        });
    }
    assert_eq!(runtime.log().matches("the file made again").count(), 2);
}
