//! The walk over the crash points: one life of a runtime ends at each of them, and the next life goes on by
//! itself. A point is any line `crash::point("…")` of the sources; SQLite's own steps come on top.

use crate::power_cut::another_boot;
use crate::support::{tells_of_abort, until};
use crate::traffic::{Dice, Traffic, aborted, in_full, processes_in};
use crate::{adopt_files, asks, attachments, backup, new_out, questions, retention, screening};
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Runtimes that are tried side by side.
const AT_ONCE: usize = 6;

fn points() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut folders = vec![root.join("runtime"), root.join("runner")];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("target") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
                let names = code.flat_map(|line| {
                    line.split("crash::point(\"").skip(1).map(str::to_owned).collect::<Vec<_>>()
                });
                found.extend(names.filter_map(|rest| Some(rest.split_once("\")")?.0.to_owned())));
            }
        }
    }
    // Those of files, of foreign folders, of questions, of threads, of refusals, of backups and of what is forgotten have walks of their own.
    let elsewhere = [
        &attachments::CRASH_POINTS[..],
        &adopt_files::CRASH_POINTS,
        &[questions::CRASH_POINT, screening::CRASH_POINT, asks::CRASH_POINT],
        &backup::CRASH_POINTS,
        &[retention::CRASH_POINT],
        &new_out::CRASH_POINTS,
    ];
    let elsewhere = elsewhere.concat();
    found.retain(|name| !elsewhere.contains(&name.as_str()));
    found.sort();
    found.dedup();
    assert!(found.len() >= 20, "{found:?}");
    found
}

/// One life that ends at a point. False when it was never reached.
fn crash_at(point: &str) -> bool {
    let mut traffic = Traffic::github(false);
    traffic.pace.store(1_000, std::sync::atomic::Ordering::Relaxed);
    traffic.up();
    traffic.wire();
    for chat in 0..3 {
        assert_eq!(traffic.send_github(traffic.number()), 200, "chat {chat}");
    }
    traffic.settle(Duration::from_secs(30));
    // Another boot, and one file that is not what it was, with a journal that must not be believed.
    traffic.runtime.kill();
    another_boot(traffic.runtime.home.path());
    let session = traffic.runtime.sessions().remove(0);
    fs::write(session.join("inbound.db"), [0x77; 9000]).unwrap();
    fs::write(session.join("inbound.db-journal"), [0x77; 9000]).unwrap();

    let log = traffic.runtime.log().len();
    traffic.runtime.launch(&[("VESTIBULE_CRASH_POINT", point)]);
    // Old chats and new ones; each message is sent until it is taken, as a platform would.
    let begin = Instant::now();
    let mut unsent: Vec<u64> = (0..8).map(|_| traffic.number()).collect();
    while !unsent.is_empty() && traffic.runtime.ended().is_none() && begin.elapsed() < Duration::from_secs(20)
    {
        unsent.retain(|number| traffic.send_github(*number) != 200);
        std::thread::sleep(Duration::from_millis(10));
    }
    // A runner's or keeper's death is told a moment after everything is done.
    let inner = point.starts_with("runner") || point.starts_with("keeper");
    let died = |traffic: &Traffic| {
        let text = traffic.runtime.log();
        tells_of_abort(&text[log..])
    };
    let quiet = Instant::now();
    while traffic.runtime.ended().is_none() && quiet.elapsed() < Duration::from_secs(3) {
        if traffic.open() == 0 && (!inner || died(&traffic)) {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let status = traffic.runtime.end();
    let reached = aborted(status) || died(&traffic);
    if !reached {
        eprintln!("not reached: {point}\n{}", &traffic.runtime.log()[log..]);
    }
    let home = traffic.runtime.home.path().to_owned();
    // The next start ends what a crash in the probe of the sandbox can leave: see `probe_bwrap`.
    let is_probe = |pid: &u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains("--probe-inside")
    };
    until("no other process is left", || processes_in(&home).iter().all(is_probe).then_some(()));

    traffic.up();
    for number in unsent {
        assert_eq!(traffic.send_github(number), 200, "{point}");
    }
    traffic.settle(Duration::from_secs(60));
    let outcome = traffic.verify();
    assert_eq!(outcome.asked_again, 0, "{point}: {outcome:?}");
    assert!(outcome.duplicates_at_one <= 1, "{point}: {outcome:?}");
    traffic.end();
    reached
}

/// Crashes at each of these, several runtimes at a time; answers those that were never reached.
fn walk(points: Vec<String>) -> Vec<String> {
    let (left, missed) = (Mutex::new(points), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let Some(point) = left.lock().unwrap().pop() else { return };
                    let reached = std::panic::catch_unwind(|| crash_at(&point));
                    match reached {
                        Ok(true) => {}
                        Ok(false) => missed.lock().unwrap().push(point),
                        Err(panic) => {
                            eprintln!("the crash point was `{point}`");
                            std::panic::resume_unwind(panic);
                        }
                    }
                }
            });
        }
    });
    missed.into_inner().unwrap()
}

fn armed() -> bool {
    if cfg!(debug_assertions) {
        return true;
    }
    eprintln!("SKIPPED: a release build has no crash points; run the tests without --release");
    false
}

#[test]
fn every_crash_point_is_survived() {
    if !armed() {
        return;
    }
    let begin = Instant::now();
    let names = points();
    let times: &[u32] = if in_full() { &[1, 2, 3, 5] } else { &[1] };
    for time in times {
        // A death that nothing tells of in time is looked for in a second life: on a busy machine the end of the first
        // may come before the word of it.
        let missed = walk(walk(names.iter().map(|name| format!("{name}#{time}")).collect()));
        println!("{} points, time {time}: {} not reached", names.len(), missed.len());
        // Later times are not reached everywhere: a home has one token.
        assert!(*time > 1 || missed.is_empty(), "nothing comes to these points any more: {missed:?}");
    }
    println!("in {:?}", begin.elapsed());
}

#[test]
fn sqlite_cut_off_in_any_step_is_survived() {
    if !armed() {
        return;
    }
    let mut dice = Dice::new("SQLite's steps");
    let begin = Instant::now();
    let mut cases = Vec::new();
    for (name, steps) in [
        ("runtime: SQLite writes", 900),
        ("runtime: SQLite removes", 60),
        ("runner: SQLite writes", 30),
        ("runner: SQLite removes", 4),
    ] {
        // The first is always reached, or this test has lost its hold on SQLite.
        cases.push(format!("{name}#1"));
        let stride = if steps > 500 { 5 } else { 2 };
        if in_full() {
            cases.extend((2..=steps).step_by(stride).map(|step| format!("{name}#{step}")));
        } else {
            cases.push(format!("{name}#{}", 2 + dice.below(steps / 3 + 1)));
        }
    }
    let count = cases.len();
    let missed = walk(cases);
    println!("{count} steps of SQLite: {} not reached, in {:?}", missed.len(), begin.elapsed());
    assert!(!missed.iter().any(|case| case.ends_with("#1")), "{missed:?}");
}
