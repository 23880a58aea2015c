//! `vestibule plugin dev`: an author watches a channel, types answers, and builds it anew.

use crate::support::{PATIENCE, binary, plugin_file, request, signal, until};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// The author's terminal.
struct Author {
    child: Child,
    folder: tempfile::TempDir,
}

impl Drop for Author {
    fn drop(&mut self) {
        // Asked to end, it takes its home away; one that a test has ended is gone.
        if matches!(self.child.try_wait(), Ok(None)) {
            signal("TERM", &self.child.id().to_string());
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- it printed\n{}", self.printed());
        }
    }
}

impl Author {
    fn starts(args: &[&str]) -> Author {
        Author::runs("vestibule-desk-channel", args)
    }

    fn runs(krate: &str, args: &[&str]) -> Author {
        let folder = tempfile::tempdir().unwrap();
        fs::copy(plugin_file(krate), folder.path().join("desk.so")).unwrap();
        let printed = fs::File::create(folder.path().join("printed")).unwrap();
        let child = Command::new(binary())
            .args(["plugin", "dev", "desk.so"])
            .args(args)
            .current_dir(folder.path())
            .env("VESTIBULE_HOME", folder.path().join("never"))
            .env_remove("VESTIBULE_LOG")
            .stdin(Stdio::piped())
            .stderr(printed.try_clone().unwrap())
            .stdout(printed)
            .spawn()
            .unwrap();
        Author { child, folder }
    }

    fn printed(&self) -> String {
        fs::read_to_string(self.folder.path().join("printed")).unwrap()
    }

    /// Waits until a line is there that begins with the word, after the time of day, and holds all of these.
    fn sees(&self, word: &str, parts: &[&str]) {
        let is_it = |line: &str| {
            let rest = line.get(10..).unwrap_or_default();
            rest.starts_with(&format!("{word:<9}")) && parts.iter().all(|part| rest.contains(part))
        };
        until(&format!("{word} {parts:?}"), || self.printed().lines().any(is_it).then_some(()));
    }

    fn types(&mut self, line: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Puts another build in the place of the file, as cargo does.
    fn builds(&self, bytes: &[u8]) {
        fs::write(self.folder.path().join("next"), bytes).unwrap();
        fs::rename(self.folder.path().join("next"), self.folder.path().join("desk.so")).unwrap();
    }
}

/// A connection of the channel, as its server sees it.
struct Call(BufReader<TcpStream>);

impl Call {
    fn comes(server: &TcpListener) -> Call {
        let call = server.accept().unwrap().0;
        call.set_read_timeout(Some(PATIENCE)).unwrap();
        Call(BufReader::new(call))
    }

    fn says(&mut self, line: &str) {
        writeln!(self.0.get_mut(), "{line}").unwrap();
    }

    fn hears(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }
}

#[test]
fn a_channel_is_shown_answered_and_opened_anew() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut author = Author::starts(&["--set", &format!("server={}", server.local_addr().unwrap())]);
    let mut call = Call::comes(&server);
    author.sees("log", &["INFO connected"]);
    author.types("too soon");
    author.sees("dev", &["no person has written yet"]);

    // The first message is answered: an agent listens wherever a person writes.
    call.says("ann: **hello**");
    assert_eq!(call.hears(), "ann: hello");
    author.sees("in", &["ann  ann: \"**hello**\""]);
    author.sees("out", &["ann  \"**hello**\", which answers "]);
    author.sees("done", &[]);
    author.types("good day");
    assert_eq!(call.hears(), "ann: good day");
    author.types("/to bob and you?");
    assert_eq!(call.hears(), "bob: and you?");

    // The next build takes over; one that cannot be loaded does not.
    let bytes = fs::read(plugin_file("vestibule-desk-channel")).unwrap();
    let (from, to) = (b"\"version\":\"0.1.0\"", b"\"version\":\"0.1.1\"");
    let mut next = bytes.clone();
    let places: Vec<usize> =
        (0..bytes.len() - from.len()).filter(|at| bytes[*at..].starts_with(from)).collect();
    assert!(!places.is_empty());
    places.iter().for_each(|at| next[*at..at + to.len()].copy_from_slice(to));
    author.builds(&next);
    author.sees("changed", &["it is opened anew"]);
    author.sees("log", &["plugin loaded", "version=\"0.1.1\""]);
    let mut call = Call::comes(&server);
    call.says("ann: again");
    assert_eq!(call.hears(), "ann: again");
    author.builds(b"half a file");
    author.sees("log", &["WARN Plugin desk.so was not loaded", "[NOT_ELF]"]);
    call.says("ann: still there?");
    assert_eq!(call.hears(), "ann: still there?");

    assert!(!author.printed().contains("no plugin speaks"), "the file is on its way");
    drop(call);
    author.sees("log", &["it works in part", "the server ended the connection"]);
    let printed = author.printed();
    let home = printed.lines().find_map(|line| line.split_once("runs in the home ")).unwrap().1.to_owned();
    assert!(Path::new(&home).exists() && !author.folder.path().join("never").exists(), "{home}");
    signal("INT", &author.child.id().to_string());
    assert!(author.child.wait().unwrap().success());
    assert!(!Path::new(&home).exists(), "{home} is left");
}

#[test]
fn a_program_answers_and_the_home_stays_where_its_author_wants_it() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("desk.toml");
    fs::write(&config, format!("server = \"{}\"\n", server.local_addr().unwrap())).unwrap();
    let home = folder.path().join("home");
    for _ in 0..2 {
        let args =
            ["--config", config.to_str().unwrap(), "--home", home.to_str().unwrap(), "--command", "echo yes"];
        let mut author = Author::starts(&args);
        let mut call = Call::comes(&server);
        call.says("ann: hello?");
        assert_eq!(call.hears(), "ann: yes");
        signal("TERM", &author.child.id().to_string());
        assert!(author.child.wait().unwrap().success());
        assert!(home.join("vestibule.db").exists());
        assert_eq!(fs::read_dir(home.join("plugins")).unwrap().count(), 0, "nothing is left there");
    }
    let config = "[channels.desk.main]\nservr = \"127.0.0.1:1\"\n";
    fs::write(home.join("vestibule.toml"), format!("listen = \"127.0.0.1:0\"\n{config}")).unwrap();
    let author = Author::starts(&["--home", home.to_str().unwrap()]);
    author.sees("log", &["did you mean \"server\"?"]);
}

/// What the runtime asks, for an operator or an agent, and what the channel answers.
#[test]
fn what_a_channel_is_asked_is_shown_with_its_answer() {
    let platform = TcpListener::bind("127.0.0.1:0").unwrap();
    let author = Author::runs(
        "vestibule-ask-channel",
        &["--set", &format!("platform={}", platform.local_addr().unwrap())],
    );
    author.sees("log", &["channel is live", "ask"]);
    let printed = author.printed();
    let home = printed.lines().find_map(|line| line.split_once("runs in the home ")).unwrap().1.to_owned();
    let operator = |args: &[&str]| {
        Command::new(binary()).args(args).env("VESTIBULE_HOME", &home).output().unwrap().status.success()
    };
    let create = ["messaging-group", "create", "--channel", "ask"];
    assert!(operator(&[&create[..], &["--chat", "#Hall"]].concat()));
    author.sees("asked", &["which chat \"#Hall\" is"]);
    author.sees("answers", &["hall, called \"Room hall\""]);
    assert!(!operator(&[&create[..], &["--person", "nobody"]].concat()));
    author.sees("asked", &["to open the direct chat with \"nobody\""]);
    author.sees("answers", &["no: nobody has this handle"]);
    assert!(operator(&["messaging-group", "history", "hall"]));
    author.sees("asked", &["what was said in hall, 20 messages at most"]);
    author.sees("answers", &["0 messages"]);
}

#[test]
fn a_panic_is_shown_where_it_happened() {
    let mut author = Author::runs("vestibule-faulty", &["--set", "at_deliver=panic"]);
    author.types("/to room hello");
    author.sees("out", &["room  \"hello\""]);
    author.sees("lost", &["the plugin panicked: told to"]);
}

#[test]
fn a_channel_with_webhooks_is_told_where_they_are_taken() {
    let secret = "whsec_bm90IG9uIGFueSBwYWdl";
    let set = format!("webhook_secret={secret}");
    let author = Author::runs("vestibule-hook-channel", &["--set", &set]);
    author.sees("dev", &["webhooks are taken at http://127.0.0.1:", "/webhook/"]);
    let printed = author.printed();
    let url = printed.lines().find_map(|line| line.split_once("taken at http://")).unwrap().1.to_owned();
    let (at, path) = url.split_once('/').unwrap();
    let (status, words) = request(at.parse().unwrap(), "POST", &format!("/{path}"), &[], b"{}");
    assert_eq!(status, 401, "{words}");
    assert!(!author.printed().contains(secret), "a secret is shown nowhere");
}

#[test]
fn a_module_and_a_file_that_is_none_are_told() {
    for (file, words) in [
        (plugin_file("vestibule-sieve-module").to_str().unwrap(), "is a module, and this runs channels"),
        ("/etc/hostname", "cannot be run: it is not a shared library"),
        ("/nowhere.so", "cannot be run: "),
    ] {
        let output =
            Command::new(binary()).args(["plugin", "dev", file]).stdin(Stdio::null()).output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(1) && told.contains(words), "{told}");
    }
}
