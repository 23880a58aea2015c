//! The test runtime: a home in a temporary folder, and the real binary in it.

use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use vestibule_keeper::wire::{
    self, AdoptSpec, FileFrame, Frame, FromForeign, FromKeeper, LaunchSpec, ToKeeper,
};
use vestibule_session::{MessageOut, SessionDir};

/// Nothing here takes this long unless it hangs.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Where cargo put this test and what was built with it.
fn deps() -> PathBuf {
    std::env::current_exe().unwrap().parent().unwrap().to_owned()
}

/// The `vestibule` binary of the same build.
pub fn binary() -> PathBuf {
    deps().parent().unwrap().join("vestibule")
}

/// The hostile program of the same build.
pub fn hostile() -> PathBuf {
    deps().parent().unwrap().join("vestibule-escape")
}

/// An account that owns nothing.
const ORDINARY: u32 = 65534;

/// Whether root runs the tests.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// As whom a flow is tried: as the user of the test, and when that is root, as an ordinary one, too.
pub fn users() -> Vec<Option<u32>> {
    if is_root() { vec![None, Some(ORDINARY)] } else { vec![None] }
}

/// A program of the build where every user can run it: itself, or a copy when a folder above it is shut.
fn for_everybody(program: PathBuf) -> PathBuf {
    static COPIES: Mutex<Option<tempfile::TempDir>> = Mutex::new(None);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode();
    if program.ancestors().all(|part| mode(part) & 0o001 != 0) {
        return program;
    }
    // Held while one is made: another thread would run half a program.
    let mut copies = COPIES.lock().unwrap();
    let copies = copies.get_or_insert_with(|| {
        let all = std::fs::Permissions::from_mode(0o755);
        tempfile::Builder::new().prefix("vst-programs-").permissions(all).tempdir().unwrap()
    });
    let copy = copies.path().join(program.file_name().unwrap());
    if !copy.exists() {
        std::fs::copy(&program, &copy).unwrap();
    }
    copy
}

/// The same, for a process of this user.
pub fn program_for(user: Option<u32>, program: PathBuf) -> PathBuf {
    if user.is_some() { for_everybody(program) } else { program }
}

/// A command that runs as this user.
pub fn command_of(user: Option<u32>, program: &Path) -> Command {
    let mut command = Command::new(program);
    if let Some(user) = user {
        command.uid(user).gid(user);
    }
    command
}

/// The agent that asks, of the same build.
pub fn asker() -> PathBuf {
    deps().parent().unwrap().join("vestibule-asker")
}

/// The `.so` of a plugin crate of the same build.
pub fn plugin_file(krate: &str) -> PathBuf {
    deps().join(format!("lib{}.so", krate.replace('-', "_")))
}

/// Waits until `ready` answers something.
pub fn until<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = ready() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited too long until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whether a log tells that a runner or a keeper aborted: `bwrap` passes its program's end on as a status, and of a warden
/// its reader may tell before it goes as well.
pub fn tells_of_abort(log: &str) -> bool {
    ["signal 6", "status 134", "ended before it had handed", "the warden has gone"]
        .iter()
        .any(|words| log.contains(words))
}

/// How long a race is run: the short form, or the full one that `VESTIBULE_TEST_FULL` asks for.
pub fn race_time(short: Duration, full: Duration) -> Duration {
    if std::env::var_os("VESTIBULE_TEST_FULL").is_some() { full } else { short }
}

/// The sandboxes that can be tested here. Says loudly when `bwrap` cannot.
pub fn sandboxes() -> Vec<&'static str> {
    let works = Command::new("bwrap")
        .args(["--unshare-user", "--unshare-pid", "--ro-bind", "/", "/", "--proc", "/proc", "true"])
        .stdin(Stdio::null())
        .output()
        .is_ok_and(|output| output.status.success());
    if works {
        return vec!["process", "bwrap"];
    }
    let get =
        "bubblewrap does not work here; install it (apt-get install bubblewrap), and allow user namespaces";
    assert!(std::env::var_os("VESTIBULE_TEST_COUNTERPARTS").is_none(), "{get}");
    // Written past the test harness, which keeps what a passing test says to itself.
    let _ = writeln!(std::io::stderr(), "SKIPPED: {get}");
    vec!["process"]
}

/// The processes, of whatever runtime, whose command line this is.
pub fn programs(line: &str) -> Vec<String> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let found = processes.filter(|entry| {
        let words = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&words).trim_end_matches('\0').replace('\0', " ") == line
    });
    found.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// The process that a process belongs to.
pub fn parent_of(pid: &str) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(')').next()?.split_whitespace().nth(1).map(str::to_owned)
}

/// A keeper that is a child of this process. Of a runtime it is the warden, of a warden the reader.
pub fn keeper_of(parent: &str) -> String {
    until("the keeper runs", || {
        let found = programs("vestibule keeper");
        found.into_iter().find(|pid| parent_of(pid).as_deref() == Some(parent))
    })
}

/// Sends a signal, by its name.
pub fn signal(name: &str, pid: &str) {
    assert!(Command::new("kill").args([&format!("-{name}"), pid]).status().unwrap().success());
}

/// A home, and perhaps a running runtime in it.
pub struct Runtime {
    pub home: tempfile::TempDir,
    /// The program of the runtime and of its verbs.
    program: PathBuf,
    child: Option<Child>,
    env: Vec<(String, String)>,
    /// As whom it runs, if not as the test.
    user: Option<u32>,
}

/// A folder for a home, closed to others as a home must be.
pub fn new_home() -> tempfile::TempDir {
    let closed = std::fs::Permissions::from_mode(0o700);
    tempfile::Builder::new().prefix("vst-").permissions(closed).tempdir().unwrap()
}

impl Runtime {
    /// A home with this config; nothing runs yet.
    pub fn new(config: &str) -> Runtime {
        let home = new_home();
        std::fs::write(home.path().join("vestibule.toml"), format!("listen = \"127.0.0.1:0\"\n{config}"))
            .unwrap();
        Runtime { home, program: binary(), child: None, env: vec![], user: None }
    }

    /// A home with its own config in it; nothing runs yet.
    pub fn at(home: tempfile::TempDir) -> Runtime {
        Runtime { home, program: binary(), child: None, env: vec![], user: None }
    }

    /// The same with another program.
    pub fn program(mut self, program: &Path) -> Runtime {
        self.program = program.to_owned();
        self
    }

    /// As whom it runs, if not as the test.
    pub fn user(&self) -> Option<u32> {
        self.user
    }

    /// The same, of this user: its home becomes theirs.
    pub fn of_user(mut self, user: Option<u32>) -> Runtime {
        if user.is_some() {
            self.program = program_for(user, self.program.clone());
            for path in [self.home.path(), &self.home.path().join("vestibule.toml")] {
                std::os::unix::fs::chown(path, user, user).unwrap();
            }
        }
        self.user = user;
        self
    }

    pub fn env(mut self, name: &str, value: &str) -> Runtime {
        self.env.push((name.into(), value.into()));
        self
    }

    /// The same, running.
    pub fn up(mut self) -> Runtime {
        self.start();
        self
    }

    /// The process id of the running runtime.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// The processes of its plugins.
    pub fn plugin_hosts(&self) -> Vec<String> {
        let runtime = self.pid().to_string();
        let mut hosts = programs("vestibule plugin-host");
        hosts.retain(|pid| parent_of(pid).as_deref() == Some(&runtime));
        hosts
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = command_of(self.user, &self.program);
        command.args(args).env("VESTIBULE_HOME", self.home.path()).env_remove("VESTIBULE_LOG");
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Starts `vestibule up` and waits until it answers.
    pub fn start(&mut self) {
        self.start_with("terminal");
    }

    /// The same, and waits until this channel is live. It asks the log: a process for each question is
    /// more than a busy machine needs.
    pub fn start_with(&mut self, channel: &str) {
        let log = self.home.path().join("log");
        let earlier = std::fs::metadata(&log).map_or(0, |meta| meta.len());
        self.launch(&[]);
        let word = format!("channel is live channel=\"{channel}\"");
        until("the runtime answers", || {
            if let Some(status) = self.ended() {
                panic!("the runtime ended with {status}:\n{}", self.log());
            }
            let mut file = std::fs::File::open(&log).ok()?;
            let mut text = Vec::new();
            file.seek(SeekFrom::Start(earlier)).ok()?;
            file.read_to_end(&mut text).ok()?;
            String::from_utf8_lossy(&text).contains(&word).then_some(())
        });
    }

    /// How the runtime has ended, if it has.
    pub fn ended(&mut self) -> Option<std::process::ExitStatus> {
        self.child.as_mut().unwrap().try_wait().unwrap()
    }

    /// Starts `vestibule up` with more in its environment, and waits for nothing.
    pub fn launch(&mut self, env: &[(&str, &str)]) {
        let log =
            std::fs::File::options().append(true).create(true).open(self.home.path().join("log")).unwrap();
        let child = self
            .command(&["up", "--log", "debug"])
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        self.child = Some(child.unwrap());
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.home.path().join("log")).unwrap_or_default()
    }

    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).stdin(Stdio::null()).output().unwrap()
    }

    /// Runs a verb that must work; its standard output.
    pub fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{args:?}: {out}{err}\n{}", self.log());
        out.into_owned()
    }

    pub fn json(&self, args: &[&str]) -> Value {
        let mut args = args.to_vec();
        args.push("--json");
        serde_json::from_str(&self.ok(&args)).unwrap()
    }

    pub fn chat(&self, text: &str) -> String {
        self.ok(&["chat", text, "--timeout", "20"]).trim_end().to_owned()
    }

    pub fn channel(&self, channel: &str) -> Value {
        let status = self.json(&["status"]);
        let channels = status["channels"].as_array().unwrap();
        channels.iter().find(|entry| entry["channel"] == channel).cloned().unwrap_or(Value::Null)
    }

    pub fn wait_live(&self, channel: &str) {
        until(&format!("{channel} is live"), || (self.channel(channel)["state"] == "live").then_some(()));
    }

    /// Where it takes webhooks, once an account wants some.
    pub fn listening(&self) -> SocketAddr {
        let at = || self.json(&["status"])["listen"].as_str()?.strip_prefix("http://")?.parse().ok();
        until("it listens", at)
    }

    /// Stops it gracefully.
    pub fn stop(&mut self) {
        let mut child = self.child.take().unwrap();
        Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
        let status = child.wait().unwrap();
        assert!(status.success(), "{status}\n{}", self.log());
    }

    /// Asks it to stop, if it still runs; how it ended.
    pub fn end(&mut self) -> std::process::ExitStatus {
        let mut child = self.child.take().unwrap();
        let _ = Command::new("kill").args(["-TERM", &child.id().to_string()]).output();
        child.wait().unwrap()
    }

    /// Kills it as a crash would.
    pub fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        let _ = child.kill();
        child.wait().unwrap();
    }

    /// Reads the central database beside the running runtime.
    pub fn query<T: rusqlite::types::FromSql>(&self, sql: &str) -> Vec<T> {
        rows(&self.home.path().join("vestibule.db"), sql)
    }

    /// The folders of all sessions.
    pub fn sessions(&self) -> Vec<PathBuf> {
        let agents = std::fs::read_dir(self.home.path().join("sessions")).unwrap();
        agents
            .flat_map(|agent| std::fs::read_dir(agent.unwrap().path()).unwrap())
            .map(|s| s.unwrap().path())
            .collect()
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- the runtime's log\n{}", self.log());
        }
    }
}

/// The first column of a query on a SQLite file.
pub fn rows<T: rusqlite::types::FromSql>(file: &Path, sql: &str) -> Vec<T> {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let db = rusqlite::Connection::open_with_flags(file, flags).unwrap();
    db.busy_timeout(PATIENCE).unwrap();
    let mut statement = db.prepare(sql).unwrap();
    let found = statement.query_map([], |row| row.get(0)).unwrap();
    found.collect::<rusqlite::Result<_>>().unwrap()
}

/// Leaves a database and its journal as a writer does that was killed in the middle of `sql`.
pub fn hot_journal(file: &Path, sql: &str) {
    let db =
        rusqlite::Connection::open_with_flags(file, rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE).unwrap();
    db.execute_batch("PRAGMA cache_size = 1; PRAGMA cache_spill = 1; BEGIN").unwrap();
    db.execute_batch(sql).unwrap();
    let mut journal = file.as_os_str().to_owned();
    journal.push("-journal");
    let (half, hot) = (std::fs::read(file).unwrap(), std::fs::read(&journal).unwrap());
    assert!(half.len() > 100_000, "the transaction has spilt");
    drop(db);
    std::fs::write(file, half).unwrap();
    std::fs::write(journal, hot).unwrap();
}

/// A rollback journal whose end names a super-journal: SQLite that recovers it for writing deletes
/// what the super-journal's rules allow.
pub fn planted_journal(journal_file: &Path, names: &Path) {
    let mut journal = vec![0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];
    journal.extend([0, 0, 0, 0]); // no pages
    journal.extend([0, 0, 0, 7]); // nonce
    journal.extend([0, 0, 0, 1]); // size of the database in pages
    journal.extend([0, 0, 2, 0]); // sector
    journal.extend([0, 0, 16, 0]); // page
    journal.resize(512, 0);
    let name = names.to_str().unwrap().as_bytes();
    journal.extend(0_u32.to_be_bytes());
    journal.extend(name);
    journal.extend(u32::try_from(name.len()).unwrap().to_be_bytes());
    let sum: u32 = name.iter().map(|byte| u32::from(*byte)).sum();
    journal.extend(sum.to_be_bytes());
    journal.extend([0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7]);
    std::fs::write(journal_file, journal).unwrap();
}

/// A keeper that takes longer is killed by the runtime.
pub const KEEPER_DEADLINE: Duration = Duration::from_secs(10);

/// What a keeper without a runner did.
pub struct Kept {
    /// How it ended: `drained`, `corrupt: …`, `failed: …`, `died` or `hung`.
    pub word: String,
    /// What it handed over.
    pub replies: Vec<MessageOut>,
    /// How many replies came in each batch.
    pub batches: Vec<usize>,
    /// The files of it: each name with its bytes, or why it was left out.
    pub files: Vec<(String, Result<Vec<u8>, String>)>,
    /// The rule that a frame broke: the runtime would end it for that.
    pub broke_rule: Option<String>,
    /// How long it took, without the time in which it, or this test, waited for a processor: others may
    /// keep the machine busy.
    pub took: Duration,
}

/// How long a task was ready and got no processor. Zero where the kernel does not count it.
fn starved(task: &str) -> Duration {
    let text = std::fs::read_to_string(format!("/proc/{task}/schedstat")).unwrap_or_default();
    let waited = text.split_whitespace().nth(1).and_then(|ns| ns.parse().ok());
    Duration::from_nanos(waited.unwrap_or_default())
}

/// Lets a keeper read what an agent left.
pub fn keep(dir: &SessionDir) -> Kept {
    keep_and_answer(dir, &wire::encode(&ToKeeper::Taken).unwrap())
}

/// The same, with these bytes as the answer to each batch.
pub fn keep_and_answer(dir: &SessionDir, answer: &[u8]) -> Kept {
    let spec = LaunchSpec {
        session_dir: dir.root().to_owned(),
        after_seq: 0,
        files_bytes_max: 1 << 20,
        runner: None,
    };
    converse(&ToKeeper::Launch(spec), answer, |frame: FromKeeper| match frame {
        FromKeeper::Batch { messages, .. } => Heard::Rows(messages),
        FromKeeper::File(frame) => Heard::file(frame),
        FromKeeper::Drained => Heard::End("drained".to_owned()),
        FromKeeper::Corrupt { reason } => Heard::End(format!("corrupt: {reason}")),
        FromKeeper::Failed { reason, .. } => Heard::End(format!("failed: {reason}")),
        _ => Heard::Nothing,
    })
}

/// Lets a keeper read a foreign folder out.
pub fn adopt(folder: &Path, scratch: &Path) -> Kept {
    let spec = AdoptSpec {
        folder: folder.to_owned(),
        scratch: scratch.to_owned(),
        files_bytes_max: 1 << 20,
        session_bytes_max: 1 << 30,
    };
    let taken = wire::encode(&ToKeeper::Taken).unwrap();
    converse(&ToKeeper::Adopt(spec), &taken, |frame: FromForeign| match frame {
        FromForeign::Outbound { rows } => Heard::Rows(rows.into_iter().map(|row| row.reply).collect()),
        FromForeign::Found { .. } | FromForeign::Inbound { .. } | FromForeign::State { .. } => {
            Heard::Rows(vec![])
        }
        FromForeign::File(frame) => Heard::file(frame),
        FromForeign::Done { .. } => Heard::End("drained".to_owned()),
        FromForeign::Corrupt { reason } => Heard::End(format!("corrupt: {reason}")),
        FromForeign::Failed { reason } => Heard::End(format!("failed: {reason}")),
        FromForeign::Pulse => Heard::Nothing,
    })
}

enum Heard {
    /// To be answered.
    Rows(Vec<MessageOut>),
    /// Bytes of this file follow; whether they are its last.
    Part(String, bool),
    /// This file is left out, and why.
    LeftOut(String, String),
    Nothing,
    End(String),
}

impl Heard {
    fn file(frame: FileFrame) -> Heard {
        match frame {
            FileFrame::Part { name, last, .. } => Heard::Part(name, last),
            FileFrame::LeftOut { name, reason, .. } => Heard::LeftOut(name, reason),
        }
    }
}

/// Starts a keeper as the runtime does, and receives its frames as the runtime does.
fn converse<F: Frame>(first: &ToKeeper, answer: &[u8], hear: impl Fn(F) -> Heard) -> Kept {
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    // A keeper that hangs does so for longer than this, also on a busy machine.
    let patience = KEEPER_DEADLINE * 6;
    ours.set_read_timeout(Some(patience)).unwrap();
    let starved_before = starved("thread-self");
    let mut keeper = Command::new(binary())
        .arg("keeper")
        .env_clear()
        .stdin(Stdio::from(std::os::fd::OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wire::send(&mut ours, first).unwrap();
    let (begin, mut replies, mut batches, mut broke_rule) = (Instant::now(), Vec::new(), Vec::new(), None);
    let (mut files, mut open) = (Vec::new(), Vec::new());
    let word = loop {
        match wire::receive::<F>(&mut ours) {
            Ok(Some(frame)) => {
                broke_rule = broke_rule.or(frame.fault());
                let mut beside = vec![0; frame.bytes_beside()];
                if ours.read_exact(&mut beside).is_err() {
                    break "died".to_owned();
                }
                match hear(frame) {
                    Heard::Part(name, last) => {
                        open.extend(beside);
                        if last {
                            files.push((name, Ok(std::mem::take(&mut open))));
                        }
                    }
                    Heard::LeftOut(name, reason) => {
                        open.clear();
                        files.push((name, Err(reason)));
                    }
                    Heard::Rows(rows) => {
                        batches.push(rows.len());
                        replies.extend(rows);
                        // One that died meanwhile is heard of as such.
                        let _ = ours.write_all(answer);
                    }
                    Heard::Nothing => {}
                    Heard::End(word) => break word,
                }
            }
            Ok(None) => break "died".to_owned(),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break "hung".to_owned(),
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                broke_rule = broke_rule.or(Some(error.to_string()));
                break "broke a rule".to_owned();
            }
            Err(_) => break "died".to_owned(),
        }
        if begin.elapsed() > patience {
            break "hung".to_owned();
        }
    };
    let starved = starved("thread-self") - starved_before + starved(&keeper.id().to_string());
    let took = begin.elapsed().saturating_sub(starved);
    let _ = keeper.kill();
    keeper.wait().unwrap();
    Kept { word, replies, batches, files, broke_rule, took }
}

/// A client of the terminal channel.
pub struct Terminal {
    from: BufReader<UnixStream>,
    to: UnixStream,
    /// Replies to earlier words that came before the answer to the last ones.
    early: std::collections::VecDeque<Value>,
}

impl Terminal {
    pub fn connect(runtime: &Runtime, interactive: bool) -> Terminal {
        let token = std::fs::read_to_string(runtime.home.path().join("control.token")).unwrap();
        let to = UnixStream::connect(runtime.home.path().join("terminal.sock")).unwrap();
        to.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut terminal =
            Terminal { from: BufReader::new(to.try_clone().unwrap()), to, early: Default::default() };
        terminal.write(&serde_json::json!({ "token": token, "interactive": interactive }));
        assert_eq!(terminal.read()["ready"], true);
        terminal
    }

    pub fn write(&mut self, line: &Value) {
        self.to.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    /// Bytes that follow a line.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.to.write_all(bytes).unwrap();
    }

    pub fn read(&mut self) -> Value {
        self.early.pop_front().unwrap_or_else(|| self.receive())
    }

    fn receive(&mut self) -> Value {
        let mut line = String::new();
        self.from.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or(Value::Null)
    }

    /// Says something with files; returns after it is on disk.
    pub fn send(&mut self, text: &str, files: &[(&str, &[u8])]) {
        let heads: Vec<Value> = files
            .iter()
            .map(|(name, bytes)| serde_json::json!({ "name": name, "size": bytes.len() }))
            .collect();
        self.write(&serde_json::json!({ "text": text, "files": heads }));
        for (_, bytes) in files {
            self.to.write_all(bytes).unwrap();
        }
        let answer = self.read();
        assert!(answer["taken"].is_string(), "{answer}");
    }

    /// The next reply, with its files.
    pub fn answer(&mut self) -> (String, Vec<(String, Vec<u8>)>) {
        let (line, files) = self.line();
        (line["text"].as_str().unwrap_or_else(|| panic!("{line}")).to_owned(), files)
    }

    /// The next line, with the files that follow it.
    pub fn line(&mut self) -> (Value, Vec<(String, Vec<u8>)>) {
        let line = self.read();
        let heads = line["files"].as_array().cloned().unwrap_or_default();
        let file = |head: &Value| {
            let mut bytes = vec![0; usize::try_from(head["size"].as_u64().unwrap()).unwrap()];
            self.from.read_exact(&mut bytes).unwrap();
            (head["name"].as_str().unwrap().to_owned(), bytes)
        };
        let files = heads.iter().map(file).collect();
        (line, files)
    }

    /// Says something; returns after it is on disk.
    pub fn say(&mut self, text: &str) {
        self.write(&serde_json::json!({ "text": text }));
        let mut answer = self.receive();
        while answer["text"].is_string() && answer["files"].is_null() {
            self.early.push_back(answer);
            answer = self.receive();
        }
        assert!(answer["taken"].is_string(), "{answer}");
    }

    pub fn reply(&mut self) -> String {
        self.read()["text"].as_str().unwrap_or_default().to_owned()
    }
}

/// One HTTP request on a connection of its own: the status and the body.
pub fn request(
    at: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> (u16, String) {
    try_request(at, method, path, headers, body).unwrap()
}

/// The same of a server that may be killed at any moment. Where it hung up before it answered, the status is 0.
pub fn try_request(
    at: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(at)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut head = format!(
        "{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(format!("{head}\r\n").as_bytes())?;
    // A server that refuses the size may hang up before it has read all.
    let _ = stream.write_all(body);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Ok((status, answer.split_once("\r\n\r\n").map(|(_, body)| body.trim().to_owned()).unwrap_or_default()))
}

/// GitHub's signature of a body.
pub fn sign(secret: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(body);
    let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256={hex}")
}

/// A stand-in for a platform's HTTP API: answers by a function, and notes every request.
pub struct Api {
    pub url: String,
    pub seen: Arc<Mutex<Vec<(String, Value)>>>,
}

impl Api {
    /// `answer` gets `METHOD /path` and the body; status 0 hangs up without an answer.
    pub fn start(answer: impl Fn(&str, &Value) -> (u16, Value) + Send + Sync + 'static) -> Api {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen: Arc<Mutex<Vec<(String, Value)>>> = Arc::default();
        let (notes, answer) = (seen.clone(), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (notes, answer) = (notes.clone(), answer.clone());
                std::thread::spawn(move || serve(stream, &notes, &*answer));
            }
        });
        Api { url, seen }
    }

    /// What was asked of paths that contain `part`.
    pub fn asked(&self, part: &str) -> Vec<(String, Value)> {
        let seen = self.seen.lock().unwrap();
        seen.iter().filter(|(line, _)| line.contains(part)).cloned().collect()
    }
}

type Answer = dyn Fn(&str, &Value) -> (u16, Value) + Send + Sync;

fn serve(stream: TcpStream, notes: &Mutex<Vec<(String, Value)>>, answer: &Answer) {
    let mut from = BufReader::new(stream.try_clone().unwrap());
    let mut to = stream;
    loop {
        let mut line = String::new();
        if from.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        let request: String = line.split(' ').take(2).collect::<Vec<_>>().join(" ");
        let mut length = 0;
        loop {
            let mut header = String::new();
            from.read_line(&mut header).unwrap();
            if header.trim().is_empty() {
                break;
            }
            if let Some(value) = header.to_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        from.read_exact(&mut body).unwrap();
        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        notes.lock().unwrap().push((request.clone(), body.clone()));
        let (status, value) = answer(&request, &body);
        if status == 0 {
            return; // it was taken, and the connection dies before the answer
        }
        let text = value.to_string();
        let head = format!(
            "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            text.len()
        );
        if to.write_all(format!("{head}{text}").as_bytes()).is_err() {
            return;
        }
    }
}

/// A port at which no program listens, and that no connection is given by chance while its runtime is away.
pub fn free_port() -> SocketAddr {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let first = 10_000 + u64::from(std::process::id()) * 37 % 20_000;
    let mut candidates = std::iter::repeat_with(|| first + NEXT.fetch_add(1, Ordering::Relaxed) % 2_000);
    let bound = candidates.find_map(|port| TcpListener::bind(("127.0.0.1", port as u16)).ok());
    bound.unwrap().local_addr().unwrap()
}
