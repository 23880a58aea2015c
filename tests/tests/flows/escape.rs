//! A hostile agent tries to get out of its sandbox. Each attempt is made without a sandbox, too, and
//! must succeed there: otherwise it proves nothing.

use crate::support::{House, hostile};
use std::net::{TcpListener, UdpSocket};
use std::path::Path;

/// Two agents with a session each, and things to reach for.
struct Target {
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
        let target = Target { house, tcp, udp };
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
            ("list", "/".into()),
            ("write", path(&own.join("inbound.db"))),
            ("write", path(&own.join("run.json"))),
            ("write", path(&other.join("out/outbound.db"))),
            ("create", path(&own.join("inbound.db-journal"))),
            ("create", path(&own.join("inbox/planted"))),
            ("create", at("planted")),
            ("create", at("plugins/planted.so")),
            ("create", "/tmp/vestibule-planted".into()),
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
    let target = Target::new("process");
    let mut escaped = Vec::new();
    for (what, on) in target.attempts() {
        let reply = target.attempt(what, &on);
        if !reply.starts_with("refused: ") {
            escaped.push(format!("{what} {on}: {reply}"));
        }
    }
    assert_eq!(escaped, [""; 0]);
    // What it needs still works.
    for (what, on) in [("list", "/usr"), ("create", "note"), ("read", "/proc/self/status")] {
        assert_eq!(target.attempt(what, on), "escaped", "{what} {on}");
    }
    let status = target.house.json(&["status"]);
    assert!(status["sandbox"].as_str().unwrap().starts_with("process"), "{status}");
    // With the grant, the internet is reached, and nothing else.
    target.house.ok(&["agent", "update", "hostile", "--network", "true"]);
    let at = target.tcp.local_addr().unwrap().to_string();
    assert_eq!(target.attempt("connect-tcp", &at), "escaped");
    let socket = target.house.home.path().join("control.sock");
    assert!(target.attempt("connect-unix", socket.to_str().unwrap()).starts_with("refused"));
}

#[test]
fn every_attempt_succeeds_without_a_sandbox() {
    let target = Target::new("none");
    let mut refused = Vec::new();
    for (what, on) in target.attempts() {
        let reply = target.attempt(what, &on);
        let _ = std::fs::remove_file("/tmp/vestibule-planted");
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
    let target = Target::new("process");
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
