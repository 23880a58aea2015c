//! Real traffic through real channels, and the record of what the platforms know: which messages
//! were acknowledged, which were sent again, and what was posted.

mod check;

pub use check::{children, processes_in};

use crate::support::{Api, PATIENCE, Runtime, free_port, new_home, sign};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const SECRET: &str = "It's a Secret to Everybody";
/// The chats of a channel, where nobody says another number: one session each.
pub const CHATS: u64 = 6;

/// The full form, instead of the short one of the ordinary suite.
pub fn in_full() -> bool {
    std::env::var_os("VESTIBULE_TEST_FULL").is_some_and(|value| value == "1")
}

/// Numbers that look random and are the same for the same seed.
pub struct Dice(u64);

impl Dice {
    /// Another seed each time, which is printed; `VESTIBULE_TEST_SEED` repeats one.
    pub fn new(what: &str) -> Dice {
        let named = std::env::var("VESTIBULE_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
        let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
        let seed = named.unwrap_or(now);
        eprintln!("{what}: VESTIBULE_TEST_SEED={seed}");
        Dice(seed | 1)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit.max(1)
    }
}

/// What a platform knows.
#[derive(Default)]
pub struct Platform {
    /// Messages that the runtime has acknowledged.
    pub acked: Mutex<BTreeSet<u64>>,
    /// How often each message's words were posted back, and how often by another id.
    pub posts: Mutex<BTreeMap<u64, Vec<String>>>,
    /// Posts that were taken and not answered.
    pub unanswered: AtomicU64,
    /// GitHub's comments, by the path of their list.
    comments: Mutex<BTreeMap<String, Vec<Value>>>,
    next: AtomicU64,
    lossy: bool,
}

impl Platform {
    fn posted(&self, id: &str, text: &str) -> bool {
        let count = {
            let mut posts = self.posts.lock().unwrap();
            for number in numbers(text) {
                posts.entry(number).or_default().push(id.to_owned());
            }
            posts.values().map(Vec::len).sum::<usize>() as u64
        };
        let answered = !self.lossy || !count.is_multiple_of(53);
        if !answered {
            self.unanswered.fetch_add(1, Ordering::Relaxed);
        }
        answered
    }

    /// A page of a list of comments, as `GET path?…&per_page=N&page=N` asks for it.
    fn page(&self, request: &str) -> Value {
        let (path, query) = request.trim_start_matches("GET ").split_once('?').unwrap();
        let number = |name: &str| -> usize {
            let value = query.split('&').find_map(|pair| pair.strip_prefix(name)).unwrap();
            value.parse().unwrap()
        };
        let (size, page) = (number("per_page="), number("page="));
        let comments = self.comments.lock().unwrap();
        let all = comments.get(path).map(Vec::as_slice).unwrap_or_default();
        all.iter().skip(size * (page - 1)).take(size).cloned().collect()
    }

    pub fn acked(&self) -> usize {
        self.acked.lock().unwrap().len()
    }

    fn take_number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }
}

/// The marks of messages in a text.
fn numbers(text: &str) -> Vec<u64> {
    let parts = text.split("TK").skip(1);
    parts.filter_map(|part| part.get(..8).and_then(|digits| digits.parse().ok())).collect()
}

fn mark(number: u64) -> String {
    format!("TK{number:08}")
}

/// A runtime with one channel under load.
pub struct Traffic {
    pub runtime: Runtime,
    pub platform: Arc<Platform>,
    channel: &'static str,
    /// How many chats it has.
    pub chats: u64,
    at: SocketAddr,
    stop: Arc<AtomicBool>,
    /// The senders wait between two messages, in microseconds.
    pub pace: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
    _api: Option<Api>,
}

impl Traffic {
    /// GitHub's webhooks and a stand-in for its API, where posts can be looked up.
    /// With `lossy` the API takes every 53rd post and hangs up without an answer.
    pub fn github(lossy: bool) -> Traffic {
        Traffic::github_in(new_home(), lossy)
    }

    /// The same in this home.
    pub fn github_in(home: tempfile::TempDir, lossy: bool) -> Traffic {
        let platform = Arc::new(Platform { lossy, ..Platform::default() });
        let (posts, next_id) = (platform.clone(), AtomicU64::new(1));
        let api = Api::start(move |request, body| match request {
            "GET /user" => (200, json!({ "id": 7, "login": "vestibule-bot" })),
            list if list.starts_with("GET") => (200, posts.page(list)),
            _ => {
                let id = next_id.fetch_add(1, Ordering::Relaxed);
                let chat = request.trim_start_matches("POST ").to_owned();
                let comment = json!({ "id": id, "body": body["body"], "user": { "id": 7 } });
                posts.comments.lock().unwrap().entry(chat).or_default().push(comment);
                let answered = posts.posted(&id.to_string(), body["body"].as_str().unwrap_or_default());
                if answered { (201, json!({ "id": id })) } else { (0, Value::Null) }
            }
        });
        let at = free_port();
        let config = format!(
            "listen = \"{at}\"\n[channels.github.main]\ntoken = {{ env = \"TEST_TOKEN\" }}\n\
             webhook_secret = {{ env = \"TEST_SECRET\" }}\n"
        );
        fs::write(home.path().join("vestibule.toml"), config).unwrap();
        let runtime = Runtime::at(home)
            .env("TEST_TOKEN", "ghp_x")
            .env("TEST_SECRET", SECRET)
            .env("GITHUB_API_URL", &api.url);
        Traffic::new(runtime, platform, "github", CHATS, at, Some(api))
    }

    /// A platform that shows one message for one id, and a plugin that says so (`post`) or does not
    /// (`plain`).
    pub fn post(channel: &'static str, chats: u64) -> Traffic {
        Traffic::posting(channel, chats, true)
    }

    /// The same; without `lossy` the platform answers every post.
    pub fn posting(channel: &'static str, chats: u64, lossy: bool) -> Traffic {
        let platform = Arc::new(Platform { lossy, ..Platform::default() });
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let home = new_home();
        let config = format!("listen = \"127.0.0.1:0\"\n[channels.{channel}.main]\nplatform = \"{at}\"\n");
        fs::write(home.path().join("vestibule.toml"), config).unwrap();
        let runtime = Runtime::at(home);
        fs::create_dir_all(runtime.home.path().join("plugins")).unwrap();
        let file = runtime.home.path().join("plugins/post.so");
        fs::copy(crate::support::plugin_file(&format!("vestibule-{channel}-channel")), file).unwrap();
        let traffic = Traffic::new(runtime, platform.clone(), channel, chats, at, None);
        let (stop, pace) = (traffic.stop.clone(), traffic.pace.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (platform, stop, pace) = (platform.clone(), stop.clone(), pace.clone());
                std::thread::spawn(move || serve_post(stream, &platform, chats, &stop, &pace));
            }
        });
        traffic
    }

    fn new(
        runtime: Runtime,
        platform: Arc<Platform>,
        channel: &'static str,
        chats: u64,
        at: SocketAddr,
        api: Option<Api>,
    ) -> Traffic {
        let (stop, pace) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicU64::new(3_000)));
        Traffic { runtime, platform, channel, chats, at, stop, pace, threads: vec![], _api: api }
    }

    /// Starts the runtime, and wires the chats the first time.
    pub fn up(&mut self) {
        self.runtime.start_with(self.channel);
    }

    pub fn wire(&self) {
        for chat in 0..self.chats {
            let chat = self.chat(chat);
            let wiring =
                ["--agent", "assistant", "--channel", self.channel, "--chat", &chat, "--pattern", "."];
            self.runtime.ok(&[&["wiring", "create"][..], &wiring].concat());
        }
    }

    fn chat(&self, number: u64) -> String {
        match self.channel {
            "github" => format!("github:octo/repo{number}"),
            _ => format!("chat{number}"),
        }
    }

    /// One message, sent once: the status of the answer, 0 when there was none.
    pub fn send_github(&self, number: u64) -> u16 {
        let status = post_github(self.at, number, number % self.chats);
        if status == 200 {
            self.platform.acked.lock().unwrap().insert(number);
        }
        status
    }

    /// A number that no message had.
    pub fn number(&self) -> u64 {
        self.platform.take_number()
    }

    /// Starts the senders: each sends a message until it is acknowledged, then the next one.
    pub fn flow(&mut self) {
        self.stop.store(false, Ordering::Relaxed);
        if self.channel != "github" {
            return; // the platform sends by itself
        }
        for _ in 0..2 {
            let (platform, stop, pace) = (self.platform.clone(), self.stop.clone(), self.pace.clone());
            let (at, chats) = (self.at, self.chats);
            self.threads.push(std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let number = platform.take_number();
                    // After the end it is sent a few times more: a message in doubt is no message lost.
                    while post_github(at, number, number % chats) != 200 {
                        if stop.load(Ordering::Relaxed) {
                            return;
                        }
                        std::thread::sleep(Duration::from_millis(5));
                    }
                    platform.acked.lock().unwrap().insert(number);
                    std::thread::sleep(Duration::from_micros(pace.load(Ordering::Relaxed)));
                }
            }));
        }
    }

    /// Stops the senders.
    pub fn ebb(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
    }

    /// Waits for more acknowledged messages than `than`; false when none come.
    pub fn more_than(&self, than: usize, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        while self.platform.acked() <= than {
            if Instant::now() > deadline {
                return false;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        true
    }
}

/// Posts a comment of GitHub's; the status, or 0.
fn post_github(at: SocketAddr, number: u64, chat: u64) -> u16 {
    let repository = json!({ "id": chat, "name": format!("repo{chat}"), "full_name": format!("octo/repo{chat}"),
        "owner": { "login": "octo", "id": 1, "type": "User" }, "private": false });
    let user = json!({ "login": "octo", "id": 1, "type": "User" });
    let body = json!({
        "action": "created",
        "repository": repository,
        "sender": user,
        "issue": { "id": 1, "number": 1, "title": "t", "body": "", "user": user },
        "comment": { "id": 1_000_000 + number, "body": mark(number), "user": user, "author_association": "OWNER",
            "created_at": "2099-05-15T15:20:21Z", "updated_at": "2099-05-15T15:20:21Z" },
    })
    .to_string();
    let head = format!(
        "POST /webhook/github/main HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-type: application/json\r\n\
         x-github-event: issue_comment\r\nx-github-delivery: {number}\r\nx-hub-signature-256: {}\r\n\
         content-length: {}\r\n\r\n",
        sign(SECRET, body.as_bytes()),
        body.len()
    );
    let ask = || -> std::io::Result<u16> {
        let mut stream = TcpStream::connect(at)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(format!("{head}{body}").as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0))
    };
    ask().unwrap_or(0)
}

/// One connection of the plugin: either it takes events, or it posts.
fn serve_post(stream: TcpStream, platform: &Platform, chats: u64, stop: &AtomicBool, pace: &AtomicU64) {
    let mut from = BufReader::new(stream.try_clone().unwrap());
    let mut to = stream;
    let mut read = move || -> Option<Value> {
        let mut line = String::new();
        from.read_line(&mut line).ok().filter(|count| *count > 0)?;
        serde_json::from_str(&line).ok()
    };
    let Some(greeting) = read() else { return };
    if let Some(id) = greeting["post"].as_str() {
        let answered = platform.posted(id, greeting["text"].as_str().unwrap_or_default());
        if !platform.lossy {
            // Shown at once and answered later: who is cut off meanwhile does not know.
            std::thread::sleep(Duration::from_millis(50));
        }
        if answered {
            let _ = to.write_all(b"{}\n");
        }
        return;
    }
    loop {
        while stop.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(20));
        }
        // The first that nobody has confirmed yet; a dead connection's events come again.
        let number = {
            let acked = platform.acked.lock().unwrap();
            (0..).find(|number| !acked.contains(number) && *number >= platform.next.load(Ordering::Relaxed))
        };
        let Some(number) = number else { return };
        let event = json!({ "id": format!("e{number}"), "chat": format!("chat{}", number % chats), "text": mark(number) });
        if to.write_all(format!("{event}\n").as_bytes()).is_err() || read().is_none() {
            return;
        }
        platform.acked.lock().unwrap().insert(number);
        platform.next.store(number + 1, Ordering::Relaxed);
        std::thread::sleep(Duration::from_micros(pace.load(Ordering::Relaxed)));
    }
}

/// Whether a process ended by `abort`, as a crash point ends it.
pub fn aborted(status: std::process::ExitStatus) -> bool {
    status.signal() == Some(6)
}
