//! A stand-in for Slack: the Web API and Socket Mode. It keeps Slack's rules: an event goes over one connection of
//! several and is sent again until it is acknowledged there, a text that is too long is cut off, an empty thread is
//! refused, a ticket opens one connection, and in place of a file that the token may not read comes a page to sign in. What is
//! said both ways is kept, and `slack_referee` has Slack's own libraries judge it.

mod calls;
mod events;
mod wire;

use crate::support::free_port;
pub use events::{FORM, JSON, form_of, post_as, posted, signed};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::TcpListener;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

pub const BOT_TOKEN: &str = "xoxb-flow-bot";
pub const APP_TOKEN: &str = "xapp-flow-app";
pub const SECRET: &str = "flow-signing-secret";
pub const BOT: &str = "U0BOT";
pub const TEAM: &str = "T0CP";
/// In a script: this answer comes with a status of success, and breaks off in the middle.
pub const CUT: u16 = 1;
/// In a script: the connection ends before the call is done.
pub const GONE: u16 = 2;
/// In a script: this call is answered as usual.
pub const LET_THROUGH: u16 = 0;

/// A message of the bot's.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Post {
    pub channel: String,
    pub thread: Option<String>,
    pub ts: String,
    pub text: String,
    pub blocks: Value,
    pub metadata: Value,
    /// The files in it, by name, with their bytes.
    pub files: Vec<(String, Vec<u8>)>,
    file_ids: Vec<String>,
}

impl Post {
    /// The buttons under it: what each says, and the whole element.
    pub fn buttons(&self) -> Vec<(String, Value)> {
        let blocks = self.blocks.as_array().cloned().unwrap_or_default();
        let buttons =
            blocks.iter().flat_map(|block| block["elements"].as_array().cloned().unwrap_or_default());
        buttons.map(|button| (button["text"]["text"].as_str().unwrap().to_owned(), button)).collect()
    }
}

#[derive(Default)]
pub struct Store {
    last_ts: u64,
    last_id: u64,
    /// The bot's messages, as people see them now.
    pub posts: Vec<Post>,
    /// The messages of people.
    written: Vec<Value>,
    /// What single people were shown: channel, person, words.
    pub whispers: Vec<(String, String, String)>,
    /// Answers to the next calls of a method, in place of the real ones.
    pub script: BTreeMap<String, VecDeque<(u16, Value)>>,
    /// How long Slack asks to wait where it limits, in seconds; 0 is 1.
    pub wait: u64,
    /// How often each method was called.
    pub calls: BTreeMap<String, usize>,
    /// The files that people sent.
    pub files: BTreeMap<String, Vec<u8>>,
    /// Files on their way to Slack: name and bytes.
    uploads: BTreeMap<String, (String, Vec<u8>)>,
    /// While it is set, no token of a bot is good.
    pub expired: bool,
    /// The connections up to this one are open, and hear and say nothing.
    pub deaf: u64,
    /// While it is set, people see what the bot posts, and the bot is not answered.
    pub posts_stall: bool,
    /// The tickets that are good for one connection.
    tickets: BTreeSet<String>,
    /// The connections: what goes out over each.
    sockets: BTreeMap<u64, VecDeque<Out>>,
    /// How many connections there ever were.
    pub opened: u64,
    /// The most that were open at once.
    pub most_open: usize,
    /// The events that wait for an acknowledgement: by envelope, and what they are.
    pub unacknowledged: HashMap<String, Value>,
    /// Over which connection each envelope was acknowledged.
    pub acknowledged: HashMap<String, u64>,
    /// The bot's reactions: to which message, and which.
    pub reactions: Vec<(String, String)>,
    /// Where the bot showed that it works: by thread.
    pub statuses: Vec<String>,
    /// Names by id.
    pub names: BTreeMap<String, String>,
    /// The tokens of bots beside the usual one, and whose they are: the bot, and its workspace.
    pub tokens: BTreeMap<String, (String, String)>,
    /// The workspaces of the organisation for which the app is installed, each with its channels. None: it is a workspace's.
    pub organisation: BTreeMap<String, Vec<String>>,
    /// The refresh token that is good now, and how long the tokens that it gets are, in seconds.
    pub refresh: Option<(String, u64)>,
    /// The token of the call under way.
    caller: String,
    /// The calls that were answered: method, fields, answer.
    pub answered: Vec<(String, Value, Value)>,
    /// What was told: how, and what.
    pub told: Vec<(String, Value)>,
}

enum Out {
    Text(String),
    /// Slack closes the connection.
    Close,
    /// It is gone, and no word says so.
    Drop,
}

impl Store {
    fn next_ts(&mut self) -> String {
        self.last_ts += 1;
        format!("{}.{:06}", 1_700_000_000 + self.last_ts / 1_000_000, self.last_ts % 1_000_000)
    }

    pub fn open(&self) -> usize {
        self.sockets.len()
    }

    /// Sends a frame over one of the connections: the newest.
    fn send(&mut self, text: String) {
        if let Some((_, out)) = self.sockets.iter_mut().next_back() {
            out.push_back(Out::Text(text));
        }
    }
}

/// The time, in seconds.
pub fn now() -> u64 {
    std::time::UNIX_EPOCH.elapsed().unwrap().as_secs()
}

type Shared = (Mutex<Store>, Condvar);

/// The stand-in.
pub struct SlackApi {
    pub url: String,
    shared: Arc<Shared>,
}

impl SlackApi {
    pub fn start() -> SlackApi {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let sockets = TcpListener::bind(free_port()).unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let place = format!("ws://{}/link", sockets.local_addr().unwrap());
        let shared: Arc<Shared> = Arc::default();
        // It is not the first day of this Slack: what a runtime looks up since a moment is younger than that.
        shared.0.lock().unwrap().last_ts = (now() - 1_700_000_000) * 1_000_000;
        let (http, web, url) = (shared.clone(), shared.clone(), base.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (shared, base, place) = (http.clone(), base.clone(), place.clone());
                std::thread::spawn(move || wire::serve(stream, &shared, &base, &place));
            }
        });
        std::thread::spawn(move || {
            for stream in sockets.incoming().flatten() {
                let shared = web.clone();
                std::thread::spawn(move || wire::serve_socket(stream, &shared));
            }
        });
        SlackApi { url: format!("{url}/api"), shared }
    }

    pub fn store(&self) -> MutexGuard<'_, Store> {
        self.shared.0.lock().unwrap()
    }

    /// Slack sends something over one connection; answers the envelope's id.
    pub fn send(&self, kind: &str, payload: Value) -> String {
        let mut store = self.store();
        store.last_id += 1;
        store.told.push((kind.to_owned(), payload.clone()));
        let id = format!("env-{}", store.last_id);
        let mut frame = json!({ "envelope_id": id, "type": kind, "payload": payload, "accepts_response_payload": kind != "events_api" });
        if kind == "events_api" {
            frame["retry_attempt"] = 0.into();
            frame["retry_reason"] = "".into();
        }
        store.unacknowledged.insert(id.clone(), frame.clone());
        store.send(frame.to_string());
        id
    }

    /// Slack sends again what was not acknowledged.
    pub fn send_again(&self) {
        let mut store = self.store();
        let frames: Vec<Value> = store.unacknowledged.values().cloned().collect();
        for mut frame in frames {
            frame["retry_attempt"] = 1.into();
            frame["retry_reason"] = "timeout".into();
            store.send(frame.to_string());
        }
    }

    /// Slack announces that the newest connection ends.
    pub fn disconnect(&self, reason: &str) {
        let frame = json!({ "type": "disconnect", "reason": reason, "debug_info": { "host": "applink-1" } });
        self.store().send(frame.to_string());
    }

    /// Slack closes a connection: the oldest.
    pub fn close_oldest(&self) {
        if let Some((_, out)) = self.store().sockets.iter_mut().next() {
            out.push_back(Out::Close);
        }
    }

    /// Every connection is gone.
    pub fn drop_all(&self) {
        for out in self.store().sockets.values_mut() {
            out.push_back(Out::Drop);
        }
    }

    pub fn let_posts_end(&self) {
        self.store().posts_stall = false;
        self.shared.1.notify_all();
    }

    pub fn texts(&self) -> Vec<String> {
        self.store().posts.iter().map(|post| post.text.clone()).collect()
    }
}
