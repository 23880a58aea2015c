//! The test house: a home in a temporary folder, and the real binary in it.

use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

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

/// A home, and perhaps a running house in it.
pub struct House {
    pub home: tempfile::TempDir,
    child: Option<Child>,
    env: Vec<(String, String)>,
}

impl House {
    /// A home with this config; nothing runs yet.
    pub fn new(config: &str) -> House {
        let home = tempfile::Builder::new().prefix("vst-").tempdir().unwrap();
        std::fs::write(home.path().join("vestibule.toml"), format!("listen = \"127.0.0.1:0\"\n{config}"))
            .unwrap();
        House { home, child: None, env: vec![] }
    }

    /// A home with its own config in it; nothing runs yet.
    pub fn at(home: tempfile::TempDir) -> House {
        House { home, child: None, env: vec![] }
    }

    pub fn env(mut self, name: &str, value: &str) -> House {
        self.env.push((name.into(), value.into()));
        self
    }

    /// The same, running.
    pub fn up(mut self) -> House {
        self.start();
        self
    }

    /// The process id of the running house.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(binary());
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
        until("the house answers", || {
            if let Some(status) = self.ended() {
                panic!("the house ended with {status}:\n{}", self.log());
            }
            let mut file = std::fs::File::open(&log).ok()?;
            let mut text = Vec::new();
            file.seek(SeekFrom::Start(earlier)).ok()?;
            file.read_to_end(&mut text).ok()?;
            String::from_utf8_lossy(&text).contains(&word).then_some(())
        });
    }

    /// How the house has ended, if it has.
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

    pub fn listening(&self) -> SocketAddr {
        let status = self.json(&["status"]);
        status["listen"].as_str().unwrap().strip_prefix("http://").unwrap().parse().unwrap()
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

    /// Reads the central database beside the running house.
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

impl Drop for House {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- the house's log\n{}", self.log());
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

/// A client of the terminal channel.
pub struct Terminal {
    from: BufReader<UnixStream>,
    to: UnixStream,
}

impl Terminal {
    pub fn connect(house: &House, interactive: bool) -> Terminal {
        let token = std::fs::read_to_string(house.home.path().join("control.token")).unwrap();
        let to = UnixStream::connect(house.home.path().join("terminal.sock")).unwrap();
        to.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut terminal = Terminal { from: BufReader::new(to.try_clone().unwrap()), to };
        terminal.write(&serde_json::json!({ "token": token, "interactive": interactive }));
        assert_eq!(terminal.read()["ready"], true);
        terminal
    }

    pub fn write(&mut self, line: &Value) {
        self.to.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    pub fn read(&mut self) -> Value {
        let mut line = String::new();
        self.from.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or(Value::Null)
    }

    /// Says something; returns after it is on disk.
    pub fn say(&mut self, text: &str) {
        self.write(&serde_json::json!({ "text": text }));
        let answer = self.read();
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
    let mut stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut head = format!(
        "{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(format!("{head}\r\n").as_bytes()).unwrap();
    // A server that refuses the size may hang up before it has read all.
    let _ = stream.write_all(body);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    (status, answer.split_once("\r\n\r\n").map(|(_, body)| body.trim().to_owned()).unwrap_or_default())
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
