//! The two tiers of plugins, with a plugin that has every bug.

use crate::support::{PATIENCE, Runtime, Terminal, free_port, is_root, plugin_file, until};
use crate::traffic::in_full;
use rusqlite::OpenFlags;
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A runtime with the faulty plugin, wired to an agent that echoes.
struct Ward {
    runtime: Runtime,
    at: SocketAddr,
    /// Where its local socket lies.
    aside: tempfile::TempDir,
}

impl Ward {
    fn new(tier: &str, plugin: &str) -> Ward {
        let at = free_port();
        let aside = tempfile::tempdir().unwrap();
        let runtime = Runtime::new(&format!(
            "[plugins.faulty]\ntier = \"{tier}\"\n{plugin}\n[channels.faulty.main]\nlisten = \"{at}\"\n\
             socket = \"{}/s\"\n",
            aside.path().display()
        ))
        .up();
        runtime.ok(&[
            "wiring",
            "create",
            "--agent",
            "assistant",
            "--channel",
            "faulty",
            "--chat",
            "lines",
            "--pattern",
            ".",
        ]);
        fs::copy(plugin_file("vestibule-faulty"), runtime.home.path().join("plugins/faulty.so")).unwrap();
        runtime.wait_live("faulty");
        Ward { runtime, at, aside }
    }

    fn call(&self) -> Caller {
        Caller::new(TcpStream::connect(self.at).unwrap())
    }

    /// Commits a fault outside any call; answers what came of it.
    fn fault(&self, fault: &str) -> String {
        let mut caller = self.call();
        caller.say(&format!("!{fault}"));
        caller.hear()
    }

    fn plugin(&self) -> Value {
        let list = self.runtime.json(&["plugin", "list"]);
        list.as_array()
            .unwrap()
            .iter()
            .find(|plugin| plugin["name"] == "faulty")
            .cloned()
            .unwrap_or(Value::Null)
    }

    /// Its local socket is answered, and only its owner may reach it.
    fn is_reached_locally(&self) {
        let socket = self.aside.path().join("s");
        assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
        let mut line = String::new();
        BufReader::new(UnixStream::connect(socket).unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "here\n");
    }

    /// How often a process of the plugin has ended.
    fn ends(&self) -> usize {
        self.runtime.log().matches("the plugin's process ended; it is started again").count()
    }

    /// Waits until a message goes in and its reply comes out, without a look at anything else that would
    /// cost the runtime time. Answers when.
    fn is_back(&self) -> Instant {
        until("the plugin is back", || {
            let mut caller = Caller::new(TcpStream::connect(self.at).ok()?);
            caller.0.get_mut().write_all(b"are you well?\n").ok()?; // its process may be on its way out
            (caller.hear() == "are you well?").then(Instant::now)
        })
    }

    /// The plugin is well: a message goes in and the reply comes out.
    fn round_trip(&self) {
        self.runtime.wait_live("faulty");
        let mut caller = self.call();
        caller.say("are you well?");
        assert_eq!(caller.hear(), "are you well?");
    }
}

struct Caller(BufReader<TcpStream>);

impl Caller {
    fn new(to: TcpStream) -> Caller {
        to.set_read_timeout(Some(PATIENCE)).unwrap();
        Caller(BufReader::new(to))
    }

    fn say(&mut self, line: &str) {
        self.0.get_mut().write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    /// The next line; nothing when the other end is gone.
    fn hear(&mut self) -> String {
        let mut line = String::new();
        let _ = self.0.read_line(&mut line);
        line.trim_end().to_owned()
    }
}

/// Round trips on the terminal until it is told to stop: when each began, and how long it took.
fn neighbour(runtime: &Runtime, stop: &AtomicBool) -> Vec<(Instant, Duration)> {
    let mut terminal = Terminal::connect(runtime, true);
    let mut trips = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let begin = Instant::now();
        terminal.say("still there?");
        assert_eq!(terminal.reply(), "still there?");
        trips.push((begin, begin.elapsed()));
        std::thread::sleep(Duration::from_millis(5));
    }
    trips
}

/// Whether these processes run only while nothing else wants their processor: policy 5 (proc(5), field 41).
fn behind_all_else(pids: &[String]) -> bool {
    !pids.is_empty()
        && pids.iter().all(|pid| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.rsplit_once(')').and_then(|(_, fields)| fields.split(' ').nth(39)) == Some("5")
        })
}

/// How long the round trips took that began in one of these spans, the shortest first.
fn times_in(trips: &[(Instant, Duration)], spans: &[Range<Instant>]) -> Vec<Duration> {
    let of = trips.iter().filter(|(begin, _)| spans.iter().any(|span| span.contains(begin)));
    let mut times: Vec<Duration> = of.map(|(_, took)| *took).collect();
    times.sort();
    times
}

/// The time that so many of a hundred did not exceed.
fn percentile(times: &[Duration], percent: usize) -> Duration {
    times[(times.len() - 1) * percent / 100]
}

/// Every fault ends in a restart, and the terminal's round trips go on meanwhile.
#[test]
fn a_plugin_that_fails_is_started_again_and_nobody_else_notices() {
    let ward = Arc::new(Ward::new("process", "deadline_seconds = 5\nmemory_mb = 128\nopen_files = 64"));
    let stop = Arc::new(AtomicBool::new(false));
    let (other, told) = (ward.clone(), stop.clone());
    let others = std::thread::spawn(move || neighbour(&other.runtime, &told));
    let faults = [
        ("segv", "SIGSEGV"),
        ("abort", "SIGABRT"),
        ("exit", "status 3"),
        ("stack", "it crashed"),
        ("spin", "it answered nothing for"),
        ("deadlock", "it answered nothing for"),
        ("leak", "it crashed"),
        ("descriptors", "descriptors"),
        ("kill", "SIGKILL"),
    ];
    let mut slices = Vec::new();
    for (number, (fault, why)) in faults.into_iter().enumerate() {
        if number % 4 == 3 {
            ward.runtime.ok(&["plugin", "reload", "faulty"]); // five ends would be one too many
            ward.runtime.wait_live("faulty");
        }
        // A slice without a fault before each with one, so that what else this machine does is in both.
        let calm = Instant::now();
        std::thread::sleep(Duration::from_secs(1));
        ward.is_back();
        let (ends, hosts) = (ward.ends(), ward.runtime.plugin_hosts());
        let begin = Instant::now();
        let mut caller = ward.call();
        caller.say(&format!("!{fault}"));
        if fault == "spin" {
            let put = "answers nothing; it runs behind all else";
            until("the hog is put behind", || ward.runtime.log().contains(put).then_some(()));
            // Its end is told before it is ended, and it has seconds until then.
            let behind = behind_all_else(&hosts);
            assert!(behind || ward.ends() > ends, "{hosts:?} are not behind all else");
        }
        while !caller.hear().is_empty() {}
        let end = ward.is_back();
        slices.push((calm..begin, begin..end));
        until(&format!("the end by {fault} is told"), || (ward.ends() > ends).then_some(()));
        let log = ward.runtime.log();
        let line = log.lines().rev().find(|line| line.contains("the plugin's process ended;")).unwrap();
        let held = fault == "leak" && line.contains("of memory"); // whichever limit noticed it first
        assert!(line.contains(why) || held, "{fault}: {line}");
    }
    stop.store(true, Ordering::Relaxed);
    let trips = others.join().unwrap();
    let (calm, faulty): (Vec<_>, Vec<_>) = slices.into_iter().unzip();
    let (calm, faulty) = (times_in(&trips, &calm), times_in(&trips, &faulty));
    for (what, times) in [("calm", &calm), ("beside faults", &faulty)] {
        let (p50, p99) = (percentile(times, 50), percentile(times, 99));
        println!("the neighbour, {what}: {} round trips, p50 {p50:.1?}, p99 {p99:.1?}", times.len());
    }
    assert!(calm.len() > 20 && faulty.len() > 50, "{} and {} round trips", calm.len(), faulty.len());
    assert!(percentile(&faulty, 50) < percentile(&calm, 50) * 10 + Duration::from_millis(500));
    if in_full() {
        // The slowest of a hundred say something on a quiet machine only: the full form is run alone.
        assert!(percentile(&faulty, 99) < percentile(&calm, 99) * 3 / 2 + Duration::from_millis(5));
    }
}

/// What a user has only so many of, and what counts as no memory of the process.
#[test]
fn a_plugin_that_holds_too_much_is_ended() {
    let ward = Ward::new("process", "memory_mb = 128");
    for (number, (fault, why)) in [
        ("threads", "it had more than 1024 threads"),
        ("memory-files", "of memory, and `memory_mb` is 128"),
        ("watches", "watches and locks"),
        ("hide", "hid what it has open"),
    ]
    .into_iter()
    .enumerate()
    {
        // Root sees what any process has open.
        if fault == "hide" && is_root() {
            continue;
        }
        ward.fault(fault);
        until(&format!("the end by {fault}"), || (ward.ends() > number).then_some(()));
        let log = ward.runtime.log();
        let line = log.lines().rev().find(|line| line.contains("the plugin's process ended;")).unwrap();
        assert!(line.contains(why), "{fault}: {line}");
        ward.round_trip();
    }
}

/// Where the kernel shares processors between sessions first, a plugin has one share, however many threads it starts.
#[test]
fn a_plugins_process_is_a_session_of_its_own() {
    let ward = Ward::new("process", "");
    for pid in ward.runtime.plugin_hosts() {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        assert_eq!(fields.split(' ').nth(3), Some(&*pid), "{stat}"); // proc(5), field 6
    }
}

/// The noise of one source is counted, and no other's share of the log is used up.
#[test]
fn a_plugin_that_logs_without_end_does_not_fill_the_log() {
    for tier in ["process", "in-process"] {
        let ward = Ward::new(tier, "");
        let before = ward.runtime.log().len();
        assert_eq!(ward.fault("log"), "done"); // 100,000 lines
        ward.round_trip();
        ward.runtime.ok(&["plugin", "reload", "faulty"]);
        let log = ward.runtime.log().split_off(before);
        let lines = log.lines().filter(|line| line.contains("noise")).count();
        assert!((200..2_000).contains(&lines), "{tier}: {lines} lines");
        assert!(log.contains("channel is live channel=\"faulty\""), "{tier}: {log}");
    }
}

/// For good: so neither a moment's work is a reason, nor a thread beside a plugin that answers.
#[test]
fn a_plugin_that_works_and_answers_is_not_put_behind() {
    let ward = Ward::new("process", "");
    let hosts = ward.runtime.plugin_hosts();
    for (fault, ms) in [("busy 1500", 2500), ("busy-beside 4000", 4500)] {
        ward.fault(fault);
        std::thread::sleep(Duration::from_millis(ms));
        assert!(!ward.runtime.log().contains("runs behind all else") && !behind_all_else(&hosts), "{fault}");
        ward.round_trip();
    }
    assert_eq!((ward.runtime.plugin_hosts(), ward.ends()), (hosts, 0));
}

#[test]
fn a_plugin_that_ends_again_and_again_is_quarantined_until_it_is_reloaded() {
    let ward = Ward::new("process", "");
    for number in 1..=5 {
        ward.runtime.wait_live("faulty");
        ward.fault("abort");
        until("it ended", || (ward.ends() == number || number == 5).then_some(()));
    }
    until("it is quarantined", || (ward.plugin()["state"] == "quarantined").then_some(()));
    let channel = ward.runtime.channel("faulty");
    assert_eq!(channel["state"], "broken");
    let reason = channel["reason"].as_str().unwrap();
    assert!(reason.contains("SIGABRT") && reason.contains("vestibule plugin reload faulty"), "{reason}");
    assert!(ward.runtime.log().contains("is quarantined, its process ended too often"));
    assert_eq!(ward.runtime.chat("the rest goes on"), "the rest goes on");
    assert_eq!(ward.runtime.plugin_hosts().len(), 0);
    assert_eq!(ward.runtime.ok(&["plugin", "reload", "faulty"]), "plugin faulty reloaded\n");
    ward.round_trip();
    assert_eq!(ward.plugin()["state"], "loaded");
}

/// What ends itself is not over: its plugin lives, and the account is started again.
#[test]
fn an_account_that_gives_up_is_started_again() {
    for tier in ["process", "in-process"] {
        let ward = Ward::new(tier, "");
        ward.fault("give-up");
        until("it is broken", || {
            let channel = ward.runtime.channel("faulty");
            (channel["state"] == "broken" && channel["reason"] == "told to give up").then_some(())
        });
        ward.round_trip();
        assert_eq!((ward.ends(), ward.plugin()["state"].as_str()), (0, Some("loaded")), "{tier}");
        assert_eq!(ward.runtime.log().matches("channel is live channel=\"faulty\"").count(), 2, "{tier}");
    }
}

/// Nobody knows how far a delivery got whose plugin crashed.
#[test]
fn a_delivery_that_a_crash_cut_off_is_sent_once_more_and_marked() {
    let ward = Ward::new("process", "");
    let mut caller = ward.call();
    caller.say("do abort");
    until("it crashed", || (ward.ends() == 1).then_some(()));
    until("it is in doubt", || {
        let doubt = ward
            .runtime
            .query::<i64>("SELECT possible_duplicate FROM deliveries WHERE channel_type = 'faulty'");
        (doubt == [1]).then_some(())
    });
    until("it was sent once more", || (ward.ends() == 2).then_some(()));
}

#[test]
fn bytes_that_break_the_rules_end_the_process_that_sent_them() {
    let ward = Ward::new("process", "");
    for (number, (bytes, why)) in [
        ("garbage", "a packet of"),
        ("huge", "a packet of"),
        ("sum", "do not add up"),
        ("unknown-answer", "which the runtime did not make"),
        ("unsealed", "not sealed"),
        ("truncated", "whose memory file has 10"),
        ("no-file", "did not come"),
        ("files", "memory files"),
    ]
    .into_iter()
    .enumerate()
    {
        if number % 4 == 3 {
            ward.runtime.ok(&["plugin", "reload", "faulty"]);
            ward.runtime.wait_live("faulty");
        }
        let ends = ward.ends();
        ward.fault(&format!("raw {bytes}"));
        until(&format!("{bytes} have ended it"), || (ward.ends() > ends).then_some(()));
        let log = ward.runtime.log();
        let line = log.lines().rev().find(|line| line.contains("the plugin's process ended;")).unwrap();
        assert!(line.contains(why), "{bytes}: {line}");
        ward.round_trip();
    }
    // What is a frame, but says nothing, is answered; a second answer is nobody's.
    let ends = ward.ends();
    for bytes in ["not-json", "deep", "old-answer"] {
        assert_eq!(ward.fault(&format!("raw {bytes}")), "sent");
        ward.round_trip();
    }
    assert_eq!(ward.ends(), ends);
}

#[test]
fn what_a_plugin_can_reach_depends_on_its_tier() {
    let ward = Ward::new("process", "");
    let home = ward.runtime.home.path().display().to_string();
    let could = ward.fault(&format!("can {home}"));
    assert_eq!(could.trim_end_matches(" certificates"), "internet thread", "in a process of its own");
    ward.is_reached_locally();
    // The next process is handed the socket anew.
    ward.fault("segv");
    until("it ended", || (ward.ends() == 1).then_some(()));
    ward.runtime.wait_live("faulty");
    ward.is_reached_locally();
    // The same words, where nothing holds it.
    let ward = Ward::new("in-process", "");
    let could = ward.fault(&format!("can {}", ward.runtime.home.path().display()));
    for word in [
        "read-home",
        "read-database",
        "read-token",
        "start",
        "control-socket",
        "environment",
        "write-tmp",
        "socket-in-home",
        "socket-in-tmp",
        "abstract-socket",
        "datagram-socket",
    ] {
        assert!(could.contains(word), "{word}: {could}");
    }
    ward.is_reached_locally();
    let _ = fs::remove_file("/tmp/vestibule-faulty");
}

/// What became of a flood: how many of it were taken, and how many were to come again.
fn flooded(runtime: &Runtime) -> (i64, i64) {
    until("the whole flood is answered", || {
        let log = runtime.log();
        let (_, said) = log.rsplit_once("flooded: ")?;
        let mut numbers = said.split(' ').filter_map(|word| word.parse().ok());
        Some((numbers.next()?, numbers.next()?))
    })
}

/// 2000 messages of 64 KiB at once: the plugin waits, the runtime does not grow.
#[test]
fn a_plugin_that_floods_waits_and_the_runtime_stays_small() {
    for tier in ["process", "in-process"] {
        let ward = Ward::new(tier, "memory_mb = 2048");
        ward.fault("flood 2000");
        assert_eq!(ward.runtime.chat("the rest goes on"), "the rest goes on");
        let taken =
            || ward.runtime.query::<i64>("SELECT count(*) FROM event_ids WHERE channel_type = 'faulty'")[0];
        let mut before = 0;
        while before < 2000 {
            // As fast as this machine can; it goes on.
            before = until("more of the flood is taken", || Some(taken()).filter(|now| *now > before));
        }
        assert_eq!(flooded(&ward.runtime), (2000, 0), "{tier}");
        let status = fs::read_to_string(format!("/proc/{}/status", ward.runtime.pid())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap().trim();
        let peak: u64 = peak.split(' ').next().unwrap().parse().unwrap();
        println!("{tier}: the runtime's peak was {peak} KiB");
        assert!(peak < 400 * 1024, "{tier}: the runtime grew to {peak} KiB");
        // Nor does its log: what is too much is counted.
        ward.fault("log");
        ward.round_trip();
        let log = ward.runtime.log();
        assert!(log.matches("noise").count() < 20_000, "{tier}: {} lines", log.matches("noise").count());
        assert_eq!(ward.ends(), 0);
    }
}

/// Inside the runtime nothing makes a plugin wait that does not wait for its answers: beyond a bound it is told
/// to come again, and nothing that it was told was taken is missing.
#[test]
fn inside_the_runtime_a_flood_beyond_the_bound_is_told_to_come_again() {
    let ward = Ward::new("in-process", "");
    // While somebody else writes, nothing can be committed.
    let (central, flags) = (ward.runtime.home.path().join("vestibule.db"), OpenFlags::SQLITE_OPEN_READ_WRITE);
    let other = rusqlite::Connection::open_with_flags(central, flags).unwrap();
    other.busy_timeout(PATIENCE).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    ward.fault("flood 7000 100");
    until("it is told", || ward.runtime.log().contains("it says more than can be committed").then_some(()));
    other.execute_batch("ROLLBACK").unwrap();
    let (taken, later) = flooded(&ward.runtime);
    assert_eq!(taken + later, 7000);
    assert!(later > 0 && taken > 0, "{taken} taken, {later} to come again");
    let committed = "SELECT count(*) FROM event_ids WHERE channel_type = 'faulty'";
    assert_eq!(ward.runtime.query::<i64>(committed), [taken]);
    let log = ward.runtime.log();
    assert!(log.matches("it says more than can be committed").count() < 10);
    ward.round_trip();
}

/// One that nobody else would tell of is a line of the log; one that ends a call is told by that call, once.
#[test]
fn a_panic_is_told_once_in_either_tier() {
    for tier in ["process", "in-process"] {
        let ward = Ward::new(tier, "");
        assert_eq!(ward.plugin()["tier"], tier);
        let lines = |words: &str| -> Vec<String> {
            ward.runtime.log().lines().filter(|line| line.contains(words)).map(str::to_owned).collect()
        };
        assert_eq!(ward.fault("panic-task"), "panicked true");
        let told = until("it is told", || lines("told to, in a task").pop());
        for word in ["ERROR", "plugin=\"faulty\"", "it panicked at ", "fault.rs:", ": told to, in a task"] {
            assert!(told.contains(word), "{tier}: {word}: {told}");
        }
        ward.call().say("do panic");
        until("the call tells", || lines("the plugin panicked: told to").pop());
        ward.round_trip();
        assert_eq!(ward.fault("panic-task"), "panicked true");
        until("the next one is told", || (lines("told to, in a task").len() >= 2).then_some(()));
        assert_eq!(lines("told to, in a task").len(), 2, "{tier}");
        assert_eq!(lines("it panicked at ").len(), 2, "{tier}: {:?}", lines("it panicked at "));
        assert_eq!(ward.ends(), 0);
    }
}

#[test]
fn inside_the_runtime_a_panic_and_a_late_call_are_contained() {
    let ward = Ward::new("in-process", "deadline_seconds = 1");
    assert_eq!(ward.plugin()["tier"], "in-process");
    ward.call().say("do panic");
    until("it is reported", || ward.runtime.log().contains("the plugin panicked: told to").then_some(()));
    ward.round_trip();
    ward.call().say("do never");
    until("it is reported", || ward.runtime.log().contains("did not answer in time").then_some(()));
    ward.round_trip();
    until("its lane went on", || {
        let tries = "SELECT max(attempts) FROM deliveries WHERE channel_type = 'faulty' AND last_error LIKE '%in time%'";
        (ward.runtime.query::<Option<i64>>(tries)[0] >= Some(2)).then_some(())
    });
    assert_eq!(ward.plugin()["state"], "loaded");
}

#[test]
fn a_call_that_is_answered_twice_is_answered_once() {
    let ward = Ward::new("process", "");
    let mut caller = ward.call();
    caller.say("do raw early-answer");
    assert_eq!(caller.hear(), "do raw early-answer");
    until("it is settled", || {
        let states =
            ward.runtime.query::<String>("SELECT state FROM deliveries WHERE channel_type = 'faulty'");
        (states == ["delivered"]).then_some(())
    });
    ward.round_trip();
    assert_eq!(ward.ends(), 0);
}

/// One call that is never answered is reported; three in a row end a process that still answers pings.
#[test]
fn three_late_calls_in_a_row_end_a_process() {
    let ward = Ward::new("process", "deadline_seconds = 1");
    ward.call().say("do never");
    until("it is reported", || ward.runtime.log().contains("did not answer in time").then_some(()));
    ward.round_trip();
    assert_eq!(ward.ends(), 0);
    let callers: Vec<Caller> = (0..3).map(|_| ward.call()).collect();
    for mut caller in callers {
        caller.say("do never");
    }
    until("it is ended", || (ward.ends() > 0).then_some(()));
    let log = ward.runtime.log();
    let line = log.lines().find(|line| line.contains("the plugin's process ended;")).unwrap();
    assert!(line.contains("3 calls in a row were not answered in time"), "{line}");
    ward.round_trip();
}

#[test]
fn a_plugin_that_aborts_on_panic_runs_in_a_process_only() {
    let mut bytes = fs::read(plugin_file("vestibule-faulty")).unwrap();
    let words: [&[u8]; 2] = [b"\"panic\":\"unwind\"", b"\"panic\":\"abort\" "];
    let places: Vec<usize> = (0..bytes.len() - 16).filter(|at| bytes[*at..].starts_with(words[0])).collect();
    assert!(!places.is_empty());
    places.iter().for_each(|at| bytes[*at..*at + 16].copy_from_slice(words[1]));
    let mut runtime = Runtime::new("[plugins.faulty]\ntier = \"in-process\"\n").up();
    fs::write(runtime.home.path().join("plugins/faulty.so"), &bytes).unwrap();
    let refused = until("it is refused", || {
        let list = runtime.json(&["plugin", "list"]);
        let entry = list.as_array().unwrap().iter().find(|plugin| plugin["state"] == "refused").cloned();
        entry.map(|plugin| plugin["reason"].as_str().unwrap().to_owned())
    });
    assert!(refused.contains("panic = \"abort\"") && refused.ends_with("[PANIC_ABORT]"), "{refused}");
    runtime.stop();
    fs::write(runtime.home.path().join("vestibule.toml"), "listen = \"127.0.0.1:0\"\n").unwrap();
    runtime.start();
    runtime.wait_live("faulty");
}

#[test]
fn a_process_ends_with_its_file_and_with_its_runtime() {
    let mut ward = Ward::new("process", "");
    let copies = || fs::read_dir(ward.runtime.home.path().join("cache/plugins")).unwrap().count();
    assert_eq!((ward.runtime.plugin_hosts().len(), copies()), (1, 1));
    fs::remove_file(ward.runtime.home.path().join("plugins/faulty.so")).unwrap();
    until("nothing of it is left", || {
        (ward.runtime.plugin_hosts().is_empty() && copies() == 0).then_some(())
    });
    fs::copy(plugin_file("vestibule-faulty"), ward.runtime.home.path().join("plugins/faulty.so")).unwrap();
    ward.runtime.wait_live("faulty");
    // A plugin that is busy, and would not hear that its socket closed.
    ward.call().say("!block 60000");
    let pid = ward.runtime.plugin_hosts().remove(0);
    ward.runtime.kill();
    until("it ended with the runtime", || {
        let stat = fs::read_to_string(PathBuf::from(format!("/proc/{pid}/stat"))).unwrap_or_default();
        (stat.is_empty() || stat.contains(") Z ")).then_some(())
    });
}
