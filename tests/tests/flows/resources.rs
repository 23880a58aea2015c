//! What is shared with others: processors, and what a user has only so many of.

use crate::escape::{greedy_runtime, is_ended};
use crate::support::{
    Runtime, Terminal, binary, keeper_of, parent_of, plugin_file, programs, sandboxes, until, users,
};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A field of `/proc/PID/stat`, counted as proc(5) does, from 3 on.
fn stat(pid: &str, field: usize) -> i64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let after_name = stat.rsplit(')').next().unwrap();
    after_name.split_whitespace().nth(field - 3).unwrap().parse().unwrap()
}

fn session(pid: &str) -> i64 {
    stat(pid, 6)
}

fn nice(pid: &str) -> i64 {
    stat(pid, 19)
}

/// The weight of a process's session as a `nice`, where the kernel has such.
fn nice_of_session(pid: &str) -> Option<i64> {
    let text = fs::read_to_string(format!("/proc/{pid}/autogroup")).unwrap_or_default();
    text.split_once(" nice ").map(|(_, nice)| nice.trim().parse().unwrap())
}

/// Each sandbox, for each user.
fn everywhere() -> Vec<(Option<u32>, &'static str)> {
    let sandboxes = sandboxes();
    users().into_iter().flat_map(|user| sandboxes.iter().map(move |sandbox| (user, *sandbox))).collect()
}

#[test]
fn a_run_is_a_session_of_its_own_and_weighs_less_than_the_runtime() {
    for (user, sandbox) in everywhere() {
        let runtime = Runtime::new(&format!("sandbox = \"{sandbox}\"\n")).of_user(user).up();
        let (own, first) = (format!("sleep 603.{}", runtime.pid()), format!("sleep 604.{}", runtime.pid()));
        let command = format!("sh -c 'setsid {own} & exec {first}'");
        runtime.ok(&["agent", "update", "assistant", "--provider", "command", "--command", &command]);
        Terminal::connect(&runtime, false).say("sleep");
        let find = |line: &str| until("the program sleeps", || programs(line).pop());
        let (own, first) = (find(&own), find(&first));
        let runtime_itself = runtime.pid().to_string();
        let warden = keeper_of(&runtime_itself);
        for keeper in [&warden, &keeper_of(&warden)] {
            assert_eq!(nice(keeper), nice(&runtime_itself), "{sandbox}: a keeper keeps its weight");
            assert_eq!(session(keeper), session(&runtime_itself), "{sandbox}");
        }
        assert_ne!(session(&first), session(&runtime_itself), "{sandbox}");
        assert_ne!(session(&first), session(&own), "{sandbox}: a program may begin another");
        let less = |nice: i64, steps: i64| (nice + steps).min(19);
        let runner = parent_of(&first).unwrap();
        assert_eq!(
            nice(&runner),
            less(nice(&runtime_itself), 5),
            "{sandbox}: the runner is before its programs"
        );
        for program in [&first, &own] {
            assert_eq!(nice(program), less(nice(&runtime_itself), 10), "{sandbox}");
            if let Some(ours) = nice_of_session(&runtime_itself) {
                // In `bwrap`, whose own session is the first, these are two others that share.
                let steps = if sandbox == "bwrap" { 8 } else { 5 };
                let lowered = || (nice_of_session(program) == Some(less(ours, steps))).then_some(());
                until(&format!("{sandbox}: the session weighs less"), lowered);
            }
        }
        let said = runtime.json(&["status"])["processors"].as_str().unwrap().to_owned();
        assert!(said.contains("the runtime's"), "{said}");
    }
}

/// Starts the runtime in a user namespace in which there are only so many.
fn limited(home: &Path, what: &str, most: u32) -> std::path::PathBuf {
    let limit = format!("echo {most} >/proc/sys/user/{what}; exec \"$0\" \"$@\"");
    let script = home.join("limited.sh");
    fs::write(
        &script,
        format!("#!/bin/sh\nexec unshare -Ur sh -c '{limit}' '{}' \"$@\"\n", binary().display()),
    )
    .unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    script
}

#[test]
fn without_watches_everything_looks_instead() {
    for (limit, what) in
        [("max_inotify_instances", "inotify instances"), ("max_inotify_watches", "inotify watches")]
    {
        let runtime = Runtime::new("sandbox = \"process\"\n");
        let script = limited(runtime.home.path(), limit, 0);
        let runtime = runtime.program(&script).up();
        for text in ["hello", "again", "and again"] {
            assert_eq!(runtime.chat(text), text, "{limit}");
        }
        assert!(!runtime.log().contains("its keeper failed"), "{limit}: {}", runtime.log());
        let status = runtime.json(&["status"]);
        let scarce = status["of_the_user"].as_array().unwrap().clone();
        let entry = scarce.iter().find(|entry| entry["what"] == what).unwrap();
        // The verb is answered by the runtime, in its namespace.
        assert_eq!(entry["most"], 0, "{status}");
        assert!(runtime.log().contains(&format!("of 0 {what}")), "{}", runtime.log());
        let plugins = runtime.home.path().join("plugins");
        fs::copy(plugin_file("vestibule-echo-channel"), plugins.join("echo.so")).unwrap();
        until("the folder is scanned", || runtime.log().contains("plugin loaded").then_some(()));
        // When there are some again, the folder is watched.
        let give = format!("echo 100 >/proc/sys/user/{limit}");
        let pid = runtime.pid().to_string();
        let enter = ["--user", "--preserve-credentials", "-t", &pid, "sh", "-c", &give];
        assert!(Command::new("nsenter").args(enter).status().unwrap().success());
        until("the folder is watched", || runtime.log().contains("is watched again").then_some(()));
    }
}

/// The runtime has one, a session two: with five the second session's would be one too few.
#[test]
fn an_idle_runner_makes_room_when_inotify_instances_run_low() {
    let runtime = Runtime::new("sandbox = \"process\"\n");
    let script = limited(runtime.home.path(), "max_inotify_instances", 5);
    let runtime = runtime.program(&script).up();
    runtime.ok(&["agent", "create", "other", "--provider", "echo"]);
    assert_eq!(runtime.chat("hello"), "hello");
    runtime.ok(&["messaging-group", "delete", "local"]);
    runtime.ok(&["wiring", "create", "--agent", "other", "--channel", "terminal", "--chat", "local"]);
    assert_eq!(runtime.chat("hello you"), "hello you");
    until("the first runner ends", || {
        (runtime.query::<i64>("SELECT COUNT(*) FROM sessions WHERE running") == [1]).then_some(())
    });
    assert!(runtime.log().contains("gives way to another"), "{}", runtime.log());
}

#[test]
fn who_fills_the_kernel_with_watches_is_ended() {
    for sandbox in sandboxes() {
        is_ended(&greedy_runtime(None, sandbox, ""), sandbox, "watches", 70_000, "watches and locks");
    }
}

/// Root sees what such a process holds; its own user does not.
#[test]
fn who_hides_what_it_has_open_is_measured_or_ended() {
    for user in users() {
        let is_root = user.is_none() && rustix::process::geteuid().is_root();
        let why = if is_root { "sandbox_memory_mb" } else { "hid what it has open" };
        for sandbox in sandboxes() {
            let runtime = greedy_runtime(user, sandbox, "sandbox_memory_mb = 200\n");
            is_ended(&runtime, sandbox, "hide", 300, why);
        }
    }
}

#[test]
fn a_full_folder_of_an_agent_stops_its_session_until_there_is_room() {
    for (user, sandbox) in everywhere() {
        let runtime =
            Runtime::new(&format!("sandbox = \"{sandbox}\"\nsandbox_agent_mb = 4\n")).of_user(user).up();
        let fill = "sh -c 'head -c 8000000 /dev/zero >big; sleep 60'";
        runtime.ok(&["agent", "update", "assistant", "--provider", "command", "--command", fill]);
        Terminal::connect(&runtime, false).say("fill");
        let quarantined = || {
            until(&format!("{sandbox}: it is quarantined"), || {
                let session = runtime.json(&["session", "list"])[0].clone();
                (session["state"] == "quarantined").then_some(session)
            })
        };
        let session = quarantined();
        let why = session["reason"].as_str().unwrap();
        let want = "its agent's folder groups/assistant/ holds more than sandbox_agent_mb = 4 allows: remove files, or \
                    raise that";
        assert_eq!(why, want);
        let id = session["id"].as_str().unwrap();
        runtime.ok(&["agent", "update", "assistant", "--command", "sleep 60"]);
        runtime.ok(&["session", "release", id]);
        quarantined(); // there is no room yet
        fs::remove_file(runtime.home.path().join("groups/assistant/big")).unwrap();
        runtime.ok(&["agent", "update", "assistant", "--command", "echo better"]);
        runtime.ok(&["session", "release", id]);
        let better = "SELECT COUNT(*) FROM deliveries WHERE json_extract(content, '$.text') = 'better'";
        until(&format!("{sandbox}: it answers"), || (runtime.query::<i64>(better)[0] >= 1).then_some(()));
    }
}

/// A control group that shares processors and is marked as delegated; `None` where the kernel has no such groups, or
/// where the test may not make one.
struct Delegated(PathBuf);

impl Delegated {
    fn new() -> Option<Delegated> {
        let top = Path::new("/sys/fs/cgroup");
        fs::read_to_string(top.join("cgroup.controllers")).ok().filter(|all| all.contains("cpu"))?;
        fs::write(top.join("cgroup.subtree_control"), "+cpu").ok()?;
        let group = top.join(format!("vestibule-test-{}", std::process::id()));
        fs::create_dir(&group).ok()?;
        let marked = Delegated(group);
        rustix::fs::setxattr(&marked.0, "trusted.delegate", b"1", rustix::fs::XattrFlags::empty()).ok()?;
        Some(marked)
    }

    /// Starts the runtime in the group.
    fn program(&self, home: &Path) -> PathBuf {
        let script = home.join("delegated.sh");
        let (enter, binary) = (self.0.join("cgroup.procs"), binary());
        let text = format!("#!/bin/sh\necho $$ >{}\nexec {} \"$@\"\n", enter.display(), binary.display());
        fs::write(&script, text).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        script
    }
}

impl Drop for Delegated {
    fn drop(&mut self) {
        let runtime = self.0.join("runtime");
        if runtime.exists() && !std::thread::panicking() {
            until("the runtime is gone", || fs::remove_dir(&runtime).is_ok().then_some(()));
        }
        for group in fs::read_dir(&self.0).into_iter().flatten().flatten() {
            let _ = fs::remove_dir(group.path());
        }
        let _ = fs::remove_dir(&self.0);
    }
}

/// The last part of a process's control group.
fn group(pid: &str) -> String {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let own = groups.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or_default();
    own.rsplit('/').next().unwrap().to_owned()
}

#[test]
fn each_run_and_plugin_has_a_control_group_where_one_is_delegated() {
    for sandbox in sandboxes() {
        let Some(delegated) = Delegated::new() else {
            eprintln!("skipped: this machine shares processors by no control groups that a test can make");
            return;
        };
        let runtime = Runtime::new(&format!("sandbox = \"{sandbox}\"\n"));
        let script = delegated.program(runtime.home.path());
        let runtime = runtime.program(&script).up();
        let plugins = runtime.home.path().join("plugins");
        fs::copy(plugin_file("vestibule-echo-channel"), plugins.join("echo.so")).unwrap();
        let sleeper = format!("sleep 605.{}", runtime.pid());
        let enter = delegated.0.join("cgroup.procs");
        let command = format!("sh -c 'echo 0 >{}; setsid {sleeper} & exec {sleeper}'", enter.display());
        runtime.ok(&["agent", "update", "assistant", "--provider", "command", "--command", &command]);
        Terminal::connect(&runtime, false).say("sleep");
        let sleeping = until("both programs sleep", || Some(programs(&sleeper)).filter(|all| all.len() == 2));
        let session = runtime.json(&["session", "list"])[0]["id"].as_str().unwrap().to_owned();
        let run = format!("run-{session}");
        for program in &sleeping {
            assert_eq!(group(program), run, "{sandbox}: a run does not leave its group");
        }
        let weight = |group: &str| fs::read_to_string(delegated.0.join(group).join("cpu.weight")).unwrap();
        assert_eq!((weight(&run).trim(), weight("runtime").trim()), ("33", "100"));
        let itself = runtime.pid().to_string();
        assert_eq!([group(&itself), group(&keeper_of(&itself))], ["runtime", "runtime"]);
        until("the plugin runs in a group of its own", || {
            runtime.plugin_hosts().iter().any(|pid| group(pid).starts_with("plugin-")).then_some(())
        });
        let said = runtime.json(&["status"])["processors"].as_str().unwrap().to_owned();
        assert!(said.contains("a control group"), "{said}");
        drop(runtime);
        until("the group is removed", || (!delegated.0.join(&run).exists()).then_some(()));
    }
}
