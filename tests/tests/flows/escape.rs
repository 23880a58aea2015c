//! A hostile agent tries to get out of its sandbox. Each attempt is made without a sandbox, too, and
//! must succeed there: otherwise it proves nothing.

use crate::support::{
    Runtime, Terminal, command_of, hostile, is_root, program_for, programs, sandboxes, until, users,
};
use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Instant;

/// A file in the hostile agent's own folder that is not its own.
const OF_ROOT: &str = "groups/hostile/of-root";

/// Two agents with a session each, and things to reach for.
struct Target {
    sandbox: String,
    user: Option<u32>,
    runtime: Runtime,
    tcp: TcpListener,
    udp: UdpSocket,
    datagrams: UnixDatagram,
    beside: Beside,
}

/// What another program of the same user has.
struct Beside {
    sleeper: Child,
    memory: i32,
}

impl Beside {
    fn of(user: Option<u32>) -> Beside {
        let sleeper = command_of(user, Path::new("sleep")).arg("600").stdin(Stdio::null()).spawn().unwrap();
        // SAFETY: it takes numbers only, and `shmctl` writes to what it is given.
        let memory = unsafe {
            let memory = libc::shmget(libc::IPC_PRIVATE, 4096, 0o600);
            let mut about: libc::shmid_ds = std::mem::zeroed();
            assert_eq!(libc::shmctl(memory, libc::IPC_STAT, &mut about), 0);
            about.shm_perm.uid = user.unwrap_or(about.shm_perm.uid);
            assert_eq!(libc::shmctl(memory, libc::IPC_SET, &mut about), 0);
            memory
        };
        Beside { sleeper, memory }
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        let _ = self.sleeper.kill();
        let _ = self.sleeper.wait();
        // SAFETY: it takes numbers only.
        unsafe { libc::shmctl(self.memory, libc::IPC_RMID, std::ptr::null_mut()) };
    }
}

impl Target {
    fn new(sandbox: &str, user: Option<u32>) -> Target {
        let runtime = Runtime::new(&format!("sandbox = \"{sandbox}\"\n"))
            .of_user(user)
            .env("VESTIBULE_TEST_SECRET", "s3cret")
            .up();
        assert_eq!(runtime.chat("hello"), "hello");
        runtime.ok(&["agent", "create", "hostile", "--provider", "command", "--command", "true"]);
        runtime.ok(&["messaging-group", "delete", "local"]);
        runtime.ok(&["wiring", "create", "--agent", "hostile", "--channel", "terminal", "--chat", "local"]);
        let home = runtime.home.path();
        for mine in ["plugins/note.txt", "groups/assistant/memory.txt"] {
            fs::write(home.join(mine), "x").unwrap();
            std::os::unix::fs::chown(home.join(mine), user, user).unwrap();
        }
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let datagrams = UnixDatagram::bind(home.join("datagrams.sock")).unwrap();
        std::os::unix::fs::chown(home.join("datagrams.sock"), user, user).unwrap();
        let beside = Beside::of(user);
        let target = Target { sandbox: sandbox.to_owned(), user, runtime, tcp, udp, datagrams, beside };
        target.attempt("list", "/usr");
        let of_root = target.runtime.home.path().join(OF_ROOT);
        fs::write(&of_root, "x").unwrap();
        fs::set_permissions(of_root, fs::Permissions::from_mode(0o600)).unwrap();
        target
    }

    fn agent_folder(&self) -> PathBuf {
        self.runtime.home.path().join("groups/hostile")
    }

    /// A private folder for copies of what is adopted.
    fn scratch(&self) -> PathBuf {
        let scratch = self.runtime.home.path().join("cache/scratch");
        fs::create_dir_all(&scratch).unwrap();
        std::os::unix::fs::chown(&scratch, self.user, self.user).unwrap();
        scratch
    }

    fn attempt(&self, what: &str, on: &str) -> String {
        self.attempt_each(&[(what, on.to_owned())]).remove(0)
    }

    /// What the agent answers to each, all in one turn.
    fn attempt_each(&self, attempts: &[(&str, String)]) -> Vec<String> {
        let folder = self.agent_folder();
        fs::create_dir_all(&folder).unwrap();
        std::os::unix::fs::chown(&folder, self.user, self.user).unwrap();
        let lines: String = attempts.iter().map(|(what, on)| format!("{what}\t{on}\n")).collect();
        fs::write(folder.join("attempts"), lines).unwrap();
        let command = format!("'{}' each attempts", program_for(self.user, hostile()).display());
        self.runtime.ok(&["agent", "update", "hostile", "--command", &command]);
        let answers: Vec<String> = self.runtime.chat("go").lines().map(str::to_owned).collect();
        assert_eq!(answers.len(), attempts.len(), "{answers:#?}\n{}", self.runtime.log());
        answers
    }

    /// What was tried of these, and was not answered with this.
    fn not(&self, answer: &str, attempts: &[(&str, String)]) -> Vec<String> {
        let answers = self.attempt_each(attempts);
        let wrong = attempts.iter().zip(answers).filter(|(_, said)| !said.starts_with(answer));
        wrong.map(|((what, on), said)| format!("{what} {on}: {said}")).collect()
    }

    /// What to try, and on what.
    fn attempts(&self) -> Vec<(&'static str, String)> {
        let home = self.runtime.home.path();
        let path = |path: &Path| path.to_str().unwrap().to_owned();
        let at = |name: &str| path(&home.join(name));
        let (own, other) = self.sessions();
        let own = if self.sandbox == "bwrap" { PathBuf::from("/workspace") } else { own };
        let pid = self.runtime.pid().to_string();
        let sleeper = self.beside.sleeper.id().to_string();
        let mut attempts = self.attempts_of_root();
        attempts.extend([
            ("read", path(&other.join("inbound.db"))),
            ("read", path(&other.join("out/outbound.db"))),
            ("read", at("vestibule.db")),
            ("read", at("control.token")),
            ("read", at("vestibule.toml")),
            ("read", at("plugins/note.txt")),
            ("read", at("groups/assistant/memory.txt")),
            ("list", at("")),
            ("list", "/root".into()),
            ("list", "/home".into()),
            ("write", path(&own.join("inbound.db"))),
            ("write", path(&own.join("run.json"))),
            ("write", path(&other.join("out/outbound.db"))),
            ("create", path(&own.join("inbound.db-journal"))),
            ("create", path(&own.join("inbox/planted"))),
            ("create", at("planted")),
            ("create", at("plugins/planted.so")),
            ("create", path(&self.planted())),
            ("chmod", at("plugins/note.txt")),
            ("chmod", path(&own.join("run.json"))),
            ("fchmod", path(&own.join("run.json"))),
            ("touch", path(&own.join("run.json"))),
            ("setxattr", path(&own.join("run.json"))),
            ("lend", path(&own.join("out/lent"))),
            ("lend-from-the-start", path(&own.join("out/lent-too"))),
            ("write", "/proc/self/comm".into()),
            ("unmark", "-".into()),
            ("chown", at("plugins/note.txt")),
            ("touch", at("plugins/note.txt")),
            ("setxattr", at("plugins/note.txt")),
            ("new-xattr", path(&own.join("run.json"))),
            ("no-xattr", path(&own.join("run.json"))),
            ("new-attributes", path(&own.join("run.json"))),
            ("flags", path(&own.join("run.json"))),
            ("project", path(&own.join("run.json"))),
            ("lease", path(&own.join("inbound.db"))),
            ("hard-link", at("plugins/note.txt")),
            ("connect-unix", at("control.sock")),
            ("connect-unix", at("terminal.sock")),
            ("raw-pair", at("datagrams.sock")),
            ("connect-tcp", self.tcp.local_addr().unwrap().to_string()),
            ("send-udp", self.udp.local_addr().unwrap().to_string()),
            ("signal", pid.clone()),
            ("trace", pid.clone()),
            ("environment", pid.clone()),
            ("memory-of", pid),
            ("new-namespace", String::new()),
            ("shared-memory", self.beside.memory.to_string()),
            ("new-shared-memory", String::new()),
            ("new-messages", String::new()),
            ("new-semaphores", String::new()),
            ("message-queue", String::new()),
            ("many-timers", "1500".into()),
            ("own-files-of-a-thread", String::new()),
            ("own-files-by-a-range", String::new()),
            ("lend-memory", String::new()),
            ("large-buffer", String::new()),
            ("wait-at-the-end", String::new()),
            ("one-processor", sleeper.clone()),
            ("idle-io", sleeper.clone()),
            ("renice", sleeper.clone()),
            ("renice-group", "0".into()),
            ("idle-class", sleeper.clone()),
            ("grow", (6_u64 << 30).to_string()),
            // Last, because without a sandbox they do harm.
            ("signal-by-file", sleeper),
            ("truncate", at("plugins/note.txt")),
            ("rename", at("plugins/note.txt")),
            ("remove", at("groups/assistant/memory.txt")),
        ]);
        attempts
    }

    /// What only root could do without a sandbox.
    fn attempts_of_root(&self) -> Vec<(&'static str, String)> {
        if self.user.is_some() || !is_root() {
            return vec![];
        }
        let mut attempts = vec![("write-proc", String::new()), ("chmod-as-it-is", "/dev/null".into())];
        if Path::new("/etc/ssl/private").exists() {
            attempts.push(("list", "/etc/ssl/private".into()));
        }
        let own = match &*self.sandbox {
            "bwrap" => "/workspace/agent/of-root".to_owned(),
            "none" => self.runtime.home.path().join(OF_ROOT).to_str().unwrap().to_owned(),
            // There the runner is root.
            _ => return attempts,
        };
        attempts.extend(["read", "chmod", "touch"].map(|what| (what, own.clone())));
        attempts
    }

    /// What an agent could leave in a folder that is everybody's.
    fn planted(&self) -> PathBuf {
        format!("/var/tmp/vestibule-planted-{}", self.runtime.pid()).into()
    }

    /// The folder of the hostile agent's session, and that of the other.
    fn sessions(&self) -> (PathBuf, PathBuf) {
        let assistant = self.runtime.query::<String>("SELECT id FROM agent_groups WHERE name = 'assistant'");
        let is_other = |session: &PathBuf| {
            let agent = session.parent().unwrap().file_name().unwrap();
            agent.to_str().unwrap() == assistant[0]
        };
        let (other, own): (Vec<_>, Vec<_>) = self.runtime.sessions().into_iter().partition(is_other);
        (own[0].clone(), other[0].clone())
    }
}

/// Family, kind and protocol of internet sockets that are neither TCP's nor UDP's: MPTCP, SCTP, UDP-Lite, ICMP.
const OTHER_PROTOCOLS: [&str; 4] = ["2 1 262", "2 1 132", "10 2 136", "2 2 1"];

/// Calls that older kernels, or the file system of the test, do not have.
const NEW: [&str; 5] = ["new-xattr", "no-xattr", "new-attributes", "flags", "project"];

/// What did not succeed where nothing forbids it, and cannot be excused by the kernel or by who the user is.
fn not_escaped(user: Option<u32>, what: &str, on: &str, said: &str) -> bool {
    let missing = ["Function not implemented", "not supported", "Inappropriate ioctl"];
    let is_missing = NEW.contains(&what) && missing.iter().any(|words| said.contains(words));
    said != "escaped" && !is_missing && !(user.is_some() && on == "/root")
}

/// Everywhere, as everyone: each in a thread of its own.
fn everywhere(sandboxes: &[&'static str], attempt: impl Fn(&'static str, Option<u32>) + Sync) {
    std::thread::scope(|threads| {
        for sandbox in sandboxes {
            for user in users() {
                let attempt = &attempt;
                threads.spawn(move || attempt(sandbox, user));
            }
        }
    });
}

#[test]
fn every_attempt_fails_in_the_sandbox() {
    everywhere(&sandboxes(), |sandbox, user| {
        let mut target = Target::new(sandbox, user);
        assert_eq!(target.not("refused: ", &target.attempts()), [""; 0], "{sandbox} {user:?}");
        assert!(target.beside.sleeper.try_wait().unwrap().is_none());
        assert!(
            target.datagrams.set_nonblocking(true).is_ok() && target.datagrams.recv(&mut [0; 8]).is_err()
        );
        // What it needs still works.
        let needed = [("list", "/usr"), ("create", "note"), ("read", "/proc/self/status")];
        let needed = needed.map(|(what, on)| (what, on.to_owned()));
        assert_eq!(target.not("escaped", &needed), [""; 0], "{sandbox} {user:?}");
        let status = target.runtime.json(&["status"]);
        assert!(status["sandbox"].as_str().unwrap().starts_with(sandbox), "{status}");
        // With the grant, the internet is reached, and nothing else.
        target.runtime.ok(&["agent", "update", "hostile", "--network", "true"]);
        let at = target.tcp.local_addr().unwrap().to_string();
        assert_eq!(target.attempt("connect-tcp", &at), "escaped", "{sandbox} {user:?}");
        let socket = target.runtime.home.path().join("control.sock");
        assert!(target.attempt("connect-unix", socket.to_str().unwrap()).starts_with("refused"));
        let protocols = OTHER_PROTOCOLS.map(|of| ("socket", of.to_owned()));
        assert_eq!(target.not("refused: Protocol not supported", &protocols), [""; 0], "{sandbox} {user:?}");
        assert_eq!(target.attempt("socket", "10 2 17"), "escaped");
    });
}

#[test]
fn every_attempt_succeeds_without_a_sandbox() {
    everywhere(&["none"], |sandbox, user| {
        let target = Target::new(sandbox, user);
        let attempts = target.attempts();
        let answers = target.attempt_each(&attempts);
        let _ = fs::remove_file(target.planted());
        let refused =
            attempts.iter().zip(answers).filter(|((what, on), said)| not_escaped(user, what, on, said));
        assert_eq!(refused.collect::<Vec<_>>(), [], "{user:?}");
        let status = target.runtime.json(&["status"]);
        assert!(status["sandbox"].as_str().unwrap().starts_with("none"), "{status}");
    });
}

#[test]
fn nothing_secret_is_in_a_runners_environment_or_arguments() {
    for sandbox in sandboxes() {
        nothing_secret_is_in_the_environment(sandbox);
    }
}

fn nothing_secret_is_in_the_environment(sandbox: &str) {
    let target = Target::new(sandbox, None);
    target.runtime.ok(&[
        "agent",
        "update",
        "hostile",
        "--command",
        "sh -c 'env; tr \"\\0\" \" \" </proc/$PPID/cmdline'",
    ]);
    let reply = target.runtime.chat("go");
    let token = std::fs::read_to_string(target.runtime.home.path().join("control.token")).unwrap();
    assert!(reply.contains("PATH=") && !reply.contains("s3cret") && !reply.contains(token.trim()), "{reply}");
    let names = reply.lines().filter_map(|line| line.split_once('=')).map(|(name, _)| name);
    let allowed =
        ["PATH", "HOME", "TZ", "LANG", "PWD", "TMPDIR", "VESTIBULE_REPLY_FILES", "OLDPWD", "SHLVL", "_"];
    let more: Vec<&str> = names.filter(|name| !allowed.contains(name)).collect();
    assert_eq!(more, [""; 0]);
}

/// A keeper's reader that was taken over reaches its `out/` and nothing else; what adopts a foreign folder that folder
/// and its own; a plugin's process its file and the internet.
#[test]
fn every_attempt_fails_inside_a_keeper_and_inside_a_plugins_process() {
    for user in users() {
        let target = Target::new("none", user);
        let (own, _) = target.sessions();
        let out = own.join("out");
        let mut attempts = target.attempts();
        // What a reader makes in `out/` is as its owner's would be.
        attempts.retain(|(what, _)| !["hard-link", "lend-from-the-start"].contains(what));
        attempts.extend([
            ("start", "/bin/true".to_owned()),
            ("fork", String::new()),
            ("read", own.join("run.json").to_str().unwrap().to_owned()),
        ]);
        // Of the agent's folder the reader lists the names, to count what is there.
        assert_eq!(target.attempt("create", "memory.txt"), "escaped");
        let folder = target.agent_folder();
        attempts.extend(
            [("read", "memory.txt"), ("write", "memory.txt"), ("create", "planted")]
                .map(|(what, name)| (what, folder.join(name).to_str().unwrap().to_owned())),
        );
        let mut wrong = Vec::new();
        for position in [Position::Reader, Position::Adopter, Position::Plugin] {
            wrong.extend(got_out(&target, &out, position, &attempts));
        }
        // The destructive ones come last in the list.
        let harm = ["signal-by-file", "truncate", "rename", "remove"];
        attempts.sort_by_key(|(what, _)| harm.contains(what));
        for (what, on) in &attempts {
            let said = from_position(&target, &out, None, what, on);
            if not_escaped(user, what, on, &said) {
                wrong.push(format!("outside: {what} {on}: {said}"));
            }
        }
        let _ = fs::remove_file(target.planted());
        assert!(target.runtime.home.path().join("planted").exists());
        assert_eq!(wrong, [""; 0], "{user:?}");
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Position {
    Reader,
    Adopter,
    Plugin,
}

/// What one attempt answers that is made from this position, or from none, in a session's `out/`.
fn from_position(target: &Target, out: &Path, position: Option<Position>, what: &str, on: &str) -> String {
    let hostile = program_for(target.user, hostile());
    let mut command = command_of(target.user, &hostile);
    command.args([what, on]).current_dir(out).stdin(Stdio::null());
    match position {
        None => {}
        Some(Position::Reader) => drop(command.arg("reader").arg(out).arg(target.agent_folder())),
        // `out/` stands for the foreign folder.
        Some(Position::Adopter) => drop(command.arg("adopter").arg(out).arg(target.scratch())),
        Some(Position::Plugin) => drop(command.arg("plugin").arg(&hostile)),
    }
    String::from_utf8(command.output().unwrap().stdout).unwrap().trim().to_owned()
}

/// Which attempts are not refused, and what is refused that is needed.
fn got_out(
    target: &Target,
    out: &Path,
    position: Position,
    attempts: &[(&'static str, String)],
) -> Vec<String> {
    let not_plugin = [("list", "/usr"), ("list", "/proc")];
    let protocols = OTHER_PROTOCOLS.map(|of| ("socket", of.to_owned()));
    let not_plugin = not_plugin.map(|(what, on)| (what, on.to_owned()));
    let internet = ["connect-tcp", "send-udp"];
    let mut wrong = Vec::new();
    let more = if position == Position::Plugin { &protocols[..] } else { &not_plugin[..] };
    for (what, on) in attempts.iter().chain(more) {
        let may = position == Position::Plugin && internet.contains(what);
        let said = from_position(target, out, Some(position), what, on);
        if said.starts_with("refused: ") == may {
            wrong.push(format!("{position:?}: {what} {on}: {said}"));
        }
    }
    let needed = match position {
        Position::Reader => vec![("create", PathBuf::from("harmless")), ("list", target.agent_folder())],
        Position::Adopter => {
            vec![
                ("list", out.to_owned()),
                ("read", out.join("outbound.db")),
                ("create", target.scratch().join("copy")),
            ]
        }
        Position::Plugin => vec![("read", program_for(target.user, hostile()))],
    };
    for (what, on) in needed {
        let said = from_position(target, out, Some(position), what, on.to_str().unwrap());
        if said != "escaped" {
            wrong.push(format!("{position:?} may {what} {}: {said}", on.display()));
        }
    }
    wrong
}

/// What uses too much, how much, and the limit that says so.
const GREEDY: [(&str, u64, &str); 12] = [
    ("many-processes", 150, "sandbox_processes"),
    ("many-threads", 150, "sandbox_processes"),
    ("fork-for-ever", 40, "sandbox_processes"),
    ("much-memory", 400, "sandbox_memory_mb"),
    ("hidden-memory", 300, "sandbox_memory_mb"),
    ("hide-headless", 300, "sandbox_memory_mb"),
    ("fill", 40, "sandbox_out_mb"),
    ("fill-hidden", 40, "sandbox_out_mb"),
    ("many-files", 400, "sandbox_out_files"),
    ("page-tables", 300, "sandbox_memory_mb"),
    ("fill-own", 40, "sandbox_agent_mb"),
    ("many-own-files", 400, "sandbox_agent_files"),
];

/// A runtime in which one agent wants too much when it hears `bad`, and another one echoes.
pub fn greedy_runtime(user: Option<u32>, sandbox: &str, limits: &str) -> Runtime {
    let runtime = Runtime::new(&format!("sandbox = \"{sandbox}\"\n{limits}")).of_user(user).up();
    runtime.ok(&["agent", "create", "bad", "--provider", "command", "--command", "true"]);
    let chat = ["--channel", "terminal", "--chat", "local", "--pattern", "^bad"];
    runtime.ok(&[&["wiring", "create", "--agent", "bad"][..], &chat].concat());
    runtime
}

#[test]
fn who_uses_too_much_is_ended_and_the_others_go_on() {
    let limits = "sandbox_processes = 60\nsandbox_memory_mb = 200\nsandbox_out_mb = 20\nsandbox_out_files = 200\n\
                  sandbox_agent_mb = 20\nsandbox_agent_files = 200\n";
    for sandbox in sandboxes() {
        // That one would slow the others down.
        let (alone, together): (Vec<_>, Vec<_>) =
            GREEDY.into_iter().partition(|(what, _, _)| *what == "fork-for-ever");
        for (what, much, limit) in alone {
            is_ended(&greedy_runtime(None, sandbox, limits), sandbox, what, much, limit);
        }
        std::thread::scope(|threads| {
            for (what, much, limit) in together {
                threads.spawn(move || {
                    is_ended(&greedy_runtime(None, sandbox, limits), sandbox, what, much, limit)
                });
            }
        });
    }
}

pub fn is_ended(runtime: &Runtime, sandbox: &str, what: &str, much: u64, limit: &str) {
    let command = format!("{} {what} {much} until-ended", program_for(runtime.user(), hostile()).display());
    runtime.ok(&["agent", "update", "bad", "--command", &command]);
    let of_ours = || programs(&command).into_iter().filter(|pid| is_of(pid, runtime)).count();
    let mut client = Terminal::connect(runtime, false);
    client.say("bad");
    assert_eq!(client.reply(), "bad", "the other agent echoes");
    let begin = Instant::now();
    until(&format!("{sandbox}: {what} is noticed"), || {
        client.say("hello");
        assert_eq!(client.reply(), "hello", "the other agent goes on");
        runtime.log().contains(limit).then_some(())
    });
    let noticed = begin.elapsed();
    until(&format!("{sandbox}: {what} has ended"), || (of_ours() == 0).then_some(()));
    eprintln!("{sandbox}: {what}: noticed after {noticed:?}, gone after {:?}", begin.elapsed());
}

/// Whether a process, or what it came from, is the runtime's.
fn is_of(pid: &str, runtime: &Runtime) -> bool {
    let mut pid = pid.to_owned();
    loop {
        match crate::support::parent_of(&pid) {
            Some(parent) if parent == runtime.pid().to_string() => return true,
            Some(parent) if parent != "0" => pid = parent,
            _ => return false,
        }
    }
}

#[test]
fn whoever_is_not_limited_uses_as_much_as_it_likes() {
    let bounded: Vec<_> = GREEDY.into_iter().filter(|(what, _, _)| *what != "fork-for-ever").collect();
    // A few at a time: this is not about who is served first.
    for few in bounded.chunks(3) {
        std::thread::scope(|threads| {
            for (what, much, _) in few {
                threads.spawn(move || uses_as_much_as_it_likes(what, *much));
            }
        });
    }
}

fn uses_as_much_as_it_likes(what: &str, much: u64) {
    let runtime = greedy_runtime(None, "process", "");
    let command = format!("{} {what} {much}", hostile().display());
    runtime.ok(&["agent", "update", "bad", "--command", &command]);
    let mut client = Terminal::connect(&runtime, false);
    client.say("bad");
    let mut replies = [client.reply(), client.reply()];
    replies.sort();
    assert_eq!(replies, ["bad", "escaped"], "{what}");
}
