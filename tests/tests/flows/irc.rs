//! IRC, the guide's example, against the server ngircd: people in its channels and in private, a nick that is taken, a
//! server that goes away in the middle of a reply.

use crate::kit::conform;
use crate::support::{Runtime, binary, free_port, is_root, plugin_file, until};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Debian's server, on a port of its own.
struct Server {
    folder: tempfile::TempDir,
    child: Child,
    at: SocketAddr,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

impl Server {
    /// Starts it, or says loudly why this test is skipped.
    fn start(password: &str) -> Option<Server> {
        let places = ["/usr/sbin/ngircd", "/usr/bin/ngircd", "/usr/local/sbin/ngircd"];
        let Some(program) = places.iter().find(|place| PathBuf::from(place).exists()) else {
            let get = "ngircd is not here; install it (apt-get install ngircd)";
            assert!(std::env::var_os("VESTIBULE_TEST_COUNTERPARTS").is_none(), "{get}");
            let _ = std::io::stderr().write_all(format!("SKIPPED: {get}\n").as_bytes());
            return None;
        };
        let (folder, at) = (tempfile::tempdir().unwrap(), free_port());
        // As root it goes on as another user.
        let user = if is_root() { "ServerUID = irc\nServerGID = irc\n" } else { "" };
        let config = format!(
            "[Global]\nName = irc.example.test\nInfo = A test\nListen = 127.0.0.1\nPorts = {}\nMotdPhrase = hello\n\
             {password}\n{user}[Limits]\nMaxConnectionsIP = 0\nMaxJoins = 0\nMaxNickLength = 30\nMaxPenaltyTime = 0\n\
             [Options]\nDNS = no\nIdent = no\nPAM = no\n",
            at.port()
        );
        std::fs::write(folder.path().join("ngircd.conf"), config).unwrap();
        let child = Server::launch(program, &folder);
        let server = Server { folder, child, at };
        server.is_up();
        Some(server)
    }

    fn launch(program: &str, folder: &tempfile::TempDir) -> Child {
        let mut command = Command::new(program);
        command.arg("-n").arg("-f").arg(folder.path().join("ngircd.conf"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    fn is_up(&self) {
        until("the server listens", || TcpStream::connect(self.at).ok());
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn again(&mut self) {
        self.child = Server::launch("/usr/sbin/ngircd", &self.folder);
        self.is_up();
    }

    /// A runtime with the channel's file, and an agent that echoes in these chats.
    fn runtime(&self, keys: &str, chats: &[&str]) -> Runtime {
        let config = format!("[channels.irc.main]\nserver = \"{}\"\nchannels = [\"#team\"]\n{keys}", self.at);
        let mut runtime = Runtime::new(&config).env("IRC_PASSWORD", "entry");
        let plugins = runtime.home.path().join("plugins");
        std::fs::create_dir_all(&plugins).unwrap();
        std::fs::copy(plugin_file("vestibule-irc-channel"), plugins.join("irc.so")).unwrap();
        runtime.start_with("irc");
        for chat in chats {
            runtime.ok(&["wiring", "create", "--agent", "assistant", "--channel", "irc", "--chat", chat]);
        }
        runtime
    }
}

/// A person with a client.
struct Person(BufReader<TcpStream>);

impl Person {
    fn new(server: &Server, nick: &str, password: &str) -> Person {
        let stream = TcpStream::connect(server.at).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut person = Person(BufReader::new(stream));
        person.write(&format!("{password}NICK {nick}\r\nUSER {nick} 0 * :{nick}\r\n"));
        person.until(" 376 ");
        person
    }

    /// Enters the channel `#team` in which another is, whom this names.
    fn join(&mut self, with: &str) {
        until("both are in the channel", || {
            self.write("JOIN #team\r\n");
            let names = self.until(" 353 ");
            self.until(" 366 ");
            let is_there = names.rsplit(':').next()?.split_whitespace().any(|name| name.ends_with(with));
            if !is_there {
                self.write("PART #team\r\n");
                std::thread::sleep(Duration::from_millis(100));
            }
            is_there.then_some(())
        });
    }

    fn write(&mut self, text: &str) {
        self.0.get_mut().write_all(text.as_bytes()).unwrap();
    }

    fn says(&mut self, to: &str, text: &str) {
        self.write(&format!("PRIVMSG {to} :{text}\r\n"));
    }

    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        (self.0.read_line(&mut line).ok()? > 0).then(|| line.trim_end().to_owned())
    }

    /// The next line that has this in it.
    fn until(&mut self, part: &str) -> String {
        loop {
            let line = self.line().unwrap_or_else(|| panic!("no line with {part:?} came"));
            if line.contains(part) {
                return line;
            }
        }
    }

    /// What is said next: by whom, where, and the words.
    fn hears(&mut self) -> (String, String, String) {
        let line = self.until(" PRIVMSG ");
        let (from, rest) = line[1..].split_once('!').unwrap();
        let (to, text) = rest.split_once(" PRIVMSG ").unwrap().1.split_once(" :").unwrap();
        (from.to_owned(), to.to_owned(), text.to_owned())
    }
}

fn said(from: &str, to: &str, text: &str) -> (String, String, String) {
    (from.to_owned(), to.to_owned(), text.to_owned())
}

#[test]
fn a_channel_and_private_messages_are_answered() {
    let Some(server) = Server::start("") else { return };
    let runtime = server.runtime("pace_ms = 100\n", &["#team", "ann"]);
    let mut ann = Person::new(&server, "Ann", "");
    ann.join("vestibule");
    ann.says("#team", "not for the bot");
    ann.says("#team", "vestibules are not meant either");
    ann.says("#team", "Vestibule: hello");
    assert_eq!(ann.hears(), said("vestibule", "#team", "Vestibule: hello"));
    // In private no name is needed; what programs ask each other is no message.
    ann.says("vestibule", "\u{1}VERSION\u{1}");
    ann.says("vestibule", "\u{1}ACTION waves\u{1}");
    assert_eq!(ann.hears(), said("vestibule", "Ann", "* Ann waves"));
    let senders = "SELECT DISTINCT json_extract(content, '$.sender') FROM messages_in";
    assert_eq!(runtime.query::<String>(senders), ["Ann"]);

    // A reply of many lines: each once, in order, those without words left out.
    let long = "sh -c 'seq 12; echo; printf \"%0500d\\n\" 7'";
    runtime.ok(&["agent", "update", "assistant", "--provider", "command", "--command", long]);
    ann.says("#team", "vestibule count");
    let lines: Vec<String> = (0..14).map(|_| ann.hears().2).collect();
    let mut want: Vec<String> = (1..=12).map(|number: u32| number.to_string()).collect();
    want.extend(["0".repeat(380), format!("{}7", "0".repeat(119))]);
    assert_eq!(lines, want);
}

#[test]
fn a_nick_that_is_taken_and_a_password() {
    let Some(server) = Server::start("Password = entry") else { return };
    let mut first = Person::new(&server, "vestibule", "PASS entry\r\n");
    let runtime = server.runtime("password = { env = \"IRC_PASSWORD\" }\n", &["#team"]);
    first.join("vestibule_");
    first.says("#team", "vestibule: that is me");
    first.says("#team", "vestibule_: and you?");
    assert_eq!(first.hears(), said("vestibule_", "#team", "vestibule_: and you?"));
    assert!(runtime.ok(&["status"]).contains("vestibule_"), "the operator sees as whom it is signed in");
    assert!(!runtime.log().contains("entry"), "the password is a secret");
}

#[test]
fn a_server_that_goes_away_gets_no_line_twice() {
    let Some(mut server) = Server::start("") else { return };
    let runtime = server.runtime("pace_ms = 150\n", &["#team"]);
    runtime.ok(&["agent", "update", "assistant", "--provider", "command", "--command", "seq 40"]);
    let mut ann = Person::new(&server, "ann", "");
    ann.join("vestibule");
    ann.says("#team", "vestibule: count");
    let mut heard: Vec<u32> = (0..10).map(|_| ann.hears().2.parse().unwrap()).collect();
    server.end();
    while let Some(line) = ann.line() {
        heard.extend(line.split_once(" PRIVMSG #team :").map(|(_, number)| number.parse::<u32>().unwrap()));
    }
    server.again();
    let mut ann = Person::new(&server, "ann", "");
    ann.join("vestibule");
    while heard.last() != Some(&40) {
        heard.push(ann.hears().2.parse().unwrap());
    }
    assert!(heard.is_sorted_by(|one, next| one < next), "each once, in order: {heard:?}");
    assert!(heard.len() >= 36, "what was in the connection as it ended is lost, and no more: {heard:?}");
    ann.says("#team", "vestibule: again");
    assert_eq!(ann.hears().2, "1", "it hears again");
}

#[test]
fn it_conforms_in_both_tiers() {
    let Some(server) = Server::start("") else { return };
    let person = binary().parent().unwrap().join("examples/irc-person");
    let peer = format!("{} {} #team", person.display(), server.at);
    let at = format!("server={}", server.at);
    let skipped = ["files", "questions", "changes", "working", "find", "webhook", "secrets"];
    let in_process =
        ["files", "questions", "changes", "working", "find", "webhook", "start after a crash", "secrets"];
    for (tier, skipped) in [("process", &skipped[..]), ("in-process", &in_process)] {
        let channels = "channels=[\"#team\"]";
        let account = ["--set", &at, "--set", channels, "--set", "pace_ms=0", "--peer", &peer];
        let args = [&["--tier", tier, "--calls", "160"][..], &account[..]].concat();
        let report = conform("vestibule-irc-channel", &args);
        report.is_good(skipped);
        for check in ["text", "many in flight", "restart"] {
            assert!(report.words(check).contains("done"), "{check}: {}", report.words(check));
        }
    }
}
