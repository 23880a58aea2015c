//! What the kernel says of each process that is confined: its limits, its rights, and that its calls are filtered.

use crate::support::{Runtime, command_of, hostile, is_root, new_home, program_for, sandboxes, users};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::chown;
use std::process::Stdio;

const GIB: u64 = 1 << 30;
/// The right to read what belongs to others, as the kernel writes it.
const READ_ALL: &str = "0000000000000004";
const NO_RIGHT: &str = "0000000000000000";

/// What the kernel says of one process, in the words of its files in `/proc`.
struct Process {
    limits: String,
    status: String,
}

impl Process {
    fn of(pid: &str) -> Process {
        let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap();
        Process { limits: read("limits"), status: read("status") }
    }

    /// The limit of this name, which the process itself cannot raise.
    fn limit(&self, name: &str) -> u64 {
        let line = self.limits.lines().find(|line| line.starts_with(name)).unwrap();
        let hard = line[name.len()..].split_whitespace().nth(1).unwrap();
        hard.parse().unwrap_or(u64::MAX)
    }

    fn is(&self, name: &str) -> &str {
        let mut lines = self.status.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap().trim()
    }

    /// What is not as it should be: limits, of which the lower one of the test's user holds, and rights.
    fn wrong(&self, limits: &[(&str, u64)], rights: &str) -> Vec<String> {
        let own = Process::of("self");
        let mut wrong = Vec::new();
        for (name, most) in limits {
            let (is, want) = (self.limit(name), own.limit(name).min(*most));
            if is != want {
                wrong.push(format!("{name}: {is}, not {want}"));
            }
        }
        let held = [("CapPrm", rights), ("CapEff", rights), ("CapInh", NO_RIGHT), ("CapAmb", NO_RIGHT)];
        // What a program may be given that is started: it matters to root and to what has a right.
        let is_strong = self.is("Uid").starts_with("0\t") || rights != NO_RIGHT;
        let given = Some(("CapBnd", NO_RIGHT)).filter(|_| is_strong);
        for (name, want) in held.into_iter().chain(given).chain([("NoNewPrivs", "1"), ("Seccomp", "2")]) {
            if self.is(name) != want {
                wrong.push(format!("{name}: {}, not {want}", self.is(name)));
            }
        }
        wrong
    }
}

/// The hostile program of this user, confined as `position` says, while it waits.
fn confined(user: Option<u32>, position: &[&str]) -> Process {
    let mut command = command_of(user, &program_for(user, hostile()));
    command.args(["wait", ""]).args(position).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut said = String::new();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    output.read_line(&mut said).unwrap();
    assert_eq!(said, "confined\n", "{position:?}");
    let process = Process::of(&child.id().to_string());
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    process
}

/// A folder of this user's.
fn folder_of(user: Option<u32>) -> tempfile::TempDir {
    let folder = new_home();
    chown(folder.path(), user, user).unwrap();
    folder
}

fn path(folder: &tempfile::TempDir) -> &str {
    folder.path().to_str().unwrap()
}

const OF_READER: [(&str, u64); 2] = [("Max core file size", 0), ("Max address space", GIB / 2)];

#[test]
fn a_reader_has_its_limits_and_no_right() {
    for user in users() {
        let folder = folder_of(user);
        let reader = confined(user, &["reader", path(&folder), path(&folder)]);
        assert_eq!(reader.wrong(&OF_READER, NO_RIGHT), [""; 0], "{user:?}");
    }
}

/// What root may of other users' files is the one right that is left to it, and goes no further than the folders that
/// are named.
#[test]
fn roots_reader_becomes_the_owner_of_what_it_reads() {
    let Some(owner) = users().into_iter().flatten().next() else { return };
    let folder = folder_of(Some(owner));
    let reader = confined(None, &["reader", path(&folder), path(&folder)]);
    assert_eq!(reader.wrong(&OF_READER, READ_ALL), [""; 0]);
    for name in ["Uid", "Gid"] {
        let is: Vec<&str> = reader.is(name).split_whitespace().collect();
        assert_eq!(is, [owner.to_string().as_str(); 4], "{name}");
    }
}

#[test]
fn what_reads_a_foreign_folder_has_its_limits_and_may_read() {
    for user in users() {
        let (foreign, scratch) = (folder_of(user), folder_of(user));
        let adopter = confined(user, &["adopter", path(&foreign), path(&scratch)]);
        let limits = [OF_READER[0], OF_READER[1], ("Max file size", 2 * GIB), ("Max cpu time", 600)];
        let rights = if user.is_none() && is_root() { READ_ALL } else { NO_RIGHT };
        assert_eq!(adopter.wrong(&limits, rights), [""; 0], "{user:?}");
    }
}

#[test]
fn a_plugins_process_has_its_limits_and_no_right() {
    for user in users() {
        let program = program_for(user, hostile());
        let plugin = confined(user, &["plugin", program.to_str().unwrap()]);
        let limits = [
            ("Max core file size", 0),
            ("Max file size", 1 << 20),
            // It asks for 256, and gets what sockets need.
            ("Max open files", 2048),
            ("Max pending signals", 1024),
            ("Max data size", GIB),
        ];
        assert_eq!(plugin.wrong(&limits, NO_RIGHT), [""; 0], "{user:?}");
    }
}

#[test]
fn a_runner_has_its_limits_and_no_right() {
    for sandbox in sandboxes() {
        for user in users() {
            let config = format!("sandbox = \"{sandbox}\"\nsandbox_memory_mb = 3072\n");
            let runtime = Runtime::new(&config).of_user(user).up();
            let show = "cat /proc/self/limits /proc/self/status";
            runtime.ok(&["agent", "update", "assistant", "--provider", "command", "--command", show]);
            let said = runtime.chat("go");
            let runner = Process { limits: said.clone(), status: said };
            // Those of one runner have a user of their own only in the namespaces that no root makes.
            let own_user = sandbox == "bwrap" && (user.is_some() || !is_root());
            let limits = [
                ("Max core file size", 0),
                ("Max file size", GIB),
                ("Max open files", 1024),
                ("Max processes", if own_user { 1024 } else { 4096 }),
                ("Max pending signals", 1024),
                ("Max data size", 3 * GIB),
            ];
            assert_eq!(runner.wrong(&limits, NO_RIGHT), [""; 0], "{sandbox} {user:?}");
        }
    }
}
