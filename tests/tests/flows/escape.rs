//! A hostile agent tries to get out of its sandbox. Each attempt is made without a sandbox, too, and
//! must succeed there: otherwise it proves nothing.

use crate::support::{House, Terminal, hostile, programs, sandboxes, until};
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// Two agents with a session each, and things to reach for.
struct Target {
    sandbox: String,
    house: House,
    tcp: TcpListener,
    udp: UdpSocket,
}

impl Target {
    fn new(sandbox: &str) -> Target {
        let house =
            House::new(&format!("sandbox = \"{sandbox}\"\n")).env("VESTIBULE_TEST_SECRET", "s3cret").up();
        assert_eq!(house.chat("hello"), "hello");
        house.ok(&["agent", "create", "hostile", "--provider", "command", "--command", "true"]);
        house.ok(&["messaging-group", "delete", "local"]);
        house.ok(&["wiring", "create", "--agent", "hostile", "--channel", "terminal", "--chat", "local"]);
        std::fs::write(house.home.path().join("plugins/note.txt"), "x").unwrap();
        std::fs::write(house.home.path().join("groups/assistant/memory.txt"), "x").unwrap();
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let target = Target { sandbox: sandbox.to_owned(), house, tcp, udp };
        target.attempt("list", "/usr");
        target
    }

    fn attempt(&self, what: &str, on: &str) -> String {
        let command = format!("'{}' {what} '{on}'", hostile().display());
        self.house.ok(&["agent", "update", "hostile", "--command", &command]);
        self.house.chat("go")
    }

    /// What to try, and on what.
    fn attempts(&self) -> Vec<(&'static str, String)> {
        let home = self.house.home.path();
        let path = |path: &Path| path.to_str().unwrap().to_owned();
        let at = |name: &str| path(&home.join(name));
        let mut sessions = self.house.sessions();
        sessions.sort();
        // The one whose file has the echo agent's greeting is the other's.
        let is_other = |session: &Path| {
            let agent = session.parent().unwrap().file_name().unwrap().to_str().unwrap().to_owned();
            self.house.query::<String>("SELECT id FROM agent_groups WHERE name = 'assistant'") == [agent]
        };
        let other = sessions.iter().find(|session| is_other(session)).unwrap();
        let own = sessions.iter().find(|session| !is_other(session)).unwrap();
        let bwrap = self.sandbox == "bwrap";
        let own = if bwrap { &PathBuf::from("/workspace") } else { own };
        let pid = self.house.pid().to_string();
        vec![
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
            ("create", "/var/tmp/vestibule-planted".into()),
            ("chmod", at("plugins/note.txt")),
            ("chmod", path(&own.join("run.json"))),
            ("fchmod", path(&own.join("run.json"))),
            ("chown", at("plugins/note.txt")),
            ("touch", at("plugins/note.txt")),
            ("setxattr", at("plugins/note.txt")),
            ("lease", path(&own.join("inbound.db"))),
            ("hard-link", at("plugins/note.txt")),
            ("connect-unix", at("control.sock")),
            ("connect-unix", at("terminal.sock")),
            ("connect-tcp", self.tcp.local_addr().unwrap().to_string()),
            ("send-udp", self.udp.local_addr().unwrap().to_string()),
            ("signal", pid.clone()),
            ("trace", pid.clone()),
            ("environment", pid.clone()),
            ("memory-of", pid),
            ("new-namespace", String::new()),
            ("grow", (6_u64 << 30).to_string()),
            // Last, because without a sandbox they do harm.
            ("truncate", at("plugins/note.txt")),
            ("rename", at("plugins/note.txt")),
            ("remove", at("groups/assistant/memory.txt")),
        ]
    }
}

#[test]
fn every_attempt_fails_in_the_sandbox() {
    for sandbox in sandboxes() {
        let target = Target::new(sandbox);
        let mut escaped = Vec::new();
        for (what, on) in target.attempts() {
            let reply = target.attempt(what, &on);
            if !reply.starts_with("refused: ") {
                escaped.push(format!("{what} {on}: {reply}"));
            }
        }
        assert_eq!(escaped, [""; 0], "{sandbox}");
        // What it needs still works.
        for (what, on) in [("list", "/usr"), ("create", "note"), ("read", "/proc/self/status")] {
            assert_eq!(target.attempt(what, on), "escaped", "{sandbox}: {what} {on}");
        }
        let status = target.house.json(&["status"]);
        assert!(status["sandbox"].as_str().unwrap().starts_with(sandbox), "{status}");
        // With the grant, the internet is reached, and nothing else.
        target.house.ok(&["agent", "update", "hostile", "--network", "true"]);
        let at = target.tcp.local_addr().unwrap().to_string();
        assert_eq!(target.attempt("connect-tcp", &at), "escaped", "{sandbox}");
        let socket = target.house.home.path().join("control.sock");
        assert!(target.attempt("connect-unix", socket.to_str().unwrap()).starts_with("refused"));
    }
}

#[test]
fn every_attempt_succeeds_without_a_sandbox() {
    let target = Target::new("none");
    let mut refused = Vec::new();
    for (what, on) in target.attempts() {
        let reply = target.attempt(what, &on);
        let _ = std::fs::remove_file("/var/tmp/vestibule-planted");
        if reply != "escaped" {
            refused.push(format!("{what} {on}: {reply}"));
        }
    }
    assert_eq!(refused, [""; 0]);
    let status = target.house.json(&["status"]);
    assert!(status["sandbox"].as_str().unwrap().starts_with("none"), "{status}");
}

#[test]
fn nothing_secret_is_in_a_runners_environment_or_arguments() {
    for sandbox in sandboxes() {
        nothing_secret_is_in_the_environment(sandbox);
    }
}

fn nothing_secret_is_in_the_environment(sandbox: &str) {
    let target = Target::new(sandbox);
    target.house.ok(&[
        "agent",
        "update",
        "hostile",
        "--command",
        "sh -c 'env; tr \"\\0\" \" \" </proc/$PPID/cmdline'",
    ]);
    let reply = target.house.chat("go");
    let token = std::fs::read_to_string(target.house.home.path().join("control.token")).unwrap();
    assert!(reply.contains("PATH=") && !reply.contains("s3cret") && !reply.contains(token.trim()), "{reply}");
    let names = reply.lines().filter_map(|line| line.split_once('=')).map(|(name, _)| name);
    let allowed =
        ["PATH", "HOME", "TZ", "LANG", "PWD", "TMPDIR", "VESTIBULE_REPLY_FILES", "OLDPWD", "SHLVL", "_"];
    let more: Vec<&str> = names.filter(|name| !allowed.contains(name)).collect();
    assert_eq!(more, [""; 0]);
}

/// A keeper's reader that was taken over reaches its `out/` and nothing else.
#[test]
fn every_attempt_fails_inside_a_keeper() {
    let target = Target::new("none");
    let home = target.house.home.path();
    let attempts = target.attempts();
    let other = Path::new(&attempts[0].1).parent().unwrap().to_owned();
    let own = target.house.sessions().into_iter().find(|session| *session != other).unwrap();
    let out = own.join("out");
    let attempt = |what: &str, on: &str, confined: bool| {
        let mut command = Command::new(hostile());
        command.args([what, on]).args(confined.then_some(&out)).current_dir(&out);
        String::from_utf8(command.stdin(Stdio::null()).output().unwrap().stdout).unwrap().trim().to_owned()
    };
    let mut attempts = attempts;
    attempts.retain(|(what, _)| *what != "hard-link");
    attempts.extend([
        ("start", "/bin/true".to_owned()),
        ("fork", String::new()),
        ("list", "/usr".to_owned()),
        ("list", "/proc".to_owned()),
        ("read", out.parent().unwrap().join("run.json").to_str().unwrap().to_owned()),
        ("signal", target.house.pid().to_string()),
    ]);
    let mut wrong = Vec::new();
    for (what, on) in &attempts {
        let reply = attempt(what, on, true);
        if !reply.starts_with("refused: ") {
            wrong.push(format!("inside: {what} {on}: {reply}"));
        }
    }
    assert_eq!(attempt("create", "harmless", true), "escaped", "out/ is its own");
    // The destructive ones come last in the list.
    attempts.sort_by_key(|(what, _)| ["truncate", "rename", "remove"].contains(what));
    for (what, on) in &attempts {
        let reply = attempt(what, on, false);
        if reply != "escaped" {
            wrong.push(format!("outside: {what} {on}: {reply}"));
        }
    }
    let _ = std::fs::remove_file("/var/tmp/vestibule-planted");
    assert!(home.join("planted").exists());
    assert_eq!(wrong, [""; 0]);
}

/// What uses too much, how much, and the limit that says so.
const GREEDY: [(&str, u64, &str); 8] = [
    ("many-processes", 150, "sandbox_processes"),
    ("many-threads", 150, "sandbox_processes"),
    ("fork-for-ever", 40, "sandbox_processes"),
    ("much-memory", 400, "sandbox_memory_mb"),
    ("hidden-memory", 300, "sandbox_memory_mb"),
    ("fill", 40, "sandbox_out_mb"),
    ("fill-hidden", 40, "sandbox_out_mb"),
    ("many-files", 400, "sandbox_out_files"),
];

/// A house in which one agent wants too much when it hears `bad`, and another one echoes.
fn greedy_house(sandbox: &str, limits: &str) -> House {
    let house = House::new(&format!("sandbox = \"{sandbox}\"\n{limits}")).up();
    house.ok(&["agent", "create", "bad", "--provider", "command", "--command", "true"]);
    let chat = ["--channel", "terminal", "--chat", "local", "--pattern", "^bad"];
    house.ok(&[&["wiring", "create", "--agent", "bad"][..], &chat].concat());
    house
}

#[test]
fn who_uses_too_much_is_ended_and_the_others_go_on() {
    let limits =
        "sandbox_processes = 60\nsandbox_memory_mb = 200\nsandbox_out_mb = 20\nsandbox_out_files = 200\n";
    for sandbox in sandboxes() {
        // That one would slow the others down.
        let (alone, together): (Vec<_>, Vec<_>) =
            GREEDY.into_iter().partition(|(what, _, _)| *what == "fork-for-ever");
        for (what, much, limit) in alone {
            is_ended(&greedy_house(sandbox, limits), sandbox, what, much, limit);
        }
        std::thread::scope(|threads| {
            for (what, much, limit) in together {
                threads.spawn(move || is_ended(&greedy_house(sandbox, limits), sandbox, what, much, limit));
            }
        });
    }
}

fn is_ended(house: &House, sandbox: &str, what: &str, much: u64, limit: &str) {
    let command = format!("{} {what} {much}", hostile().display());
    house.ok(&["agent", "update", "bad", "--command", &command]);
    let of_ours = || programs(&command).into_iter().filter(|pid| is_of(pid, house)).count();
    let mut client = Terminal::connect(house, false);
    client.say("bad");
    assert_eq!(client.reply(), "bad", "the other agent echoes");
    let begin = Instant::now();
    until(&format!("{sandbox}: {what} is noticed"), || {
        client.say("hello");
        assert_eq!(client.reply(), "hello", "the other agent goes on");
        house.log().contains(limit).then_some(())
    });
    let noticed = begin.elapsed();
    until(&format!("{sandbox}: {what} has ended"), || (of_ours() == 0).then_some(()));
    eprintln!("{sandbox}: {what}: noticed after {noticed:?}, gone after {:?}", begin.elapsed());
}

/// Whether a process, or what it came from, is the house's.
fn is_of(pid: &str, house: &House) -> bool {
    let mut pid = pid.to_owned();
    loop {
        match crate::support::parent_of(&pid) {
            Some(parent) if parent == house.pid().to_string() => return true,
            Some(parent) if parent != "0" => pid = parent,
            _ => return false,
        }
    }
}

#[test]
fn whoever_is_not_limited_uses_as_much_as_it_likes() {
    std::thread::scope(|threads| {
        for (what, much, _) in GREEDY.into_iter().filter(|(what, _, _)| *what != "fork-for-ever") {
            threads.spawn(move || {
                let house = greedy_house("process", "");
                let command = format!("{} {what} {much}", hostile().display());
                house.ok(&["agent", "update", "bad", "--command", &command]);
                let mut client = Terminal::connect(&house, false);
                client.say("bad");
                let mut replies = [client.reply(), client.reply()];
                replies.sort();
                assert_eq!(replies, ["bad", "escaped"], "{what}");
            });
        }
    });
}
