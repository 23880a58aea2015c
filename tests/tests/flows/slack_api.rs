//! A stand-in for Slack: the Web API and Socket Mode. It keeps Slack's rules: an event goes over one connection of
//! several and is sent again until it is acknowledged there, a text that is too long is cut off, an empty thread is
//! refused, and in place of a file that the token may not read comes a page to sign in.

use crate::support::free_port;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;
use tungstenite::{Message, WebSocket};

pub const BOT_TOKEN: &str = "xoxb-flow-bot";
pub const APP_TOKEN: &str = "xapp-flow-app";
pub const SECRET: &str = "flow-signing-secret";
pub const BOT: &str = "U0BOT";
/// In a script: this answer comes with a status of success, and breaks off in the middle.
pub const CUT: u16 = 1;
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
    /// What single people were shown: channel, person, words.
    pub whispers: Vec<(String, String, String)>,
    /// Answers to the next calls of a method, in place of the real ones.
    pub script: BTreeMap<String, VecDeque<(u16, Value)>>,
    /// How often each method was called.
    pub calls: BTreeMap<String, usize>,
    /// The files that people sent.
    pub files: BTreeMap<String, Vec<u8>>,
    /// Files on their way to Slack: name and bytes.
    uploads: BTreeMap<String, (String, Vec<u8>)>,
    /// While it is set, people see what the bot posts, and the bot is not answered.
    pub posts_stall: bool,
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

/// The stand-in.
pub struct SlackApi {
    pub url: String,
    shared: Arc<(Mutex<Store>, Condvar)>,
}

impl SlackApi {
    pub fn start() -> SlackApi {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let sockets = TcpListener::bind(free_port()).unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let place = format!("ws://{}/link", sockets.local_addr().unwrap());
        let shared: Arc<(Mutex<Store>, Condvar)> = Arc::default();
        // It is not the first day of this Slack: what a runtime looks up since a moment is younger than that.
        shared.0.lock().unwrap().last_ts = (now() - 1_700_000_000) * 1_000_000;
        let (http, web, url) = (shared.clone(), shared.clone(), base.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (shared, base, place) = (http.clone(), base.clone(), place.clone());
                std::thread::spawn(move || serve(stream, &shared, &base, &place));
            }
        });
        std::thread::spawn(move || {
            for stream in sockets.incoming().flatten() {
                let shared = web.clone();
                std::thread::spawn(move || serve_socket(stream, &shared));
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
        let id = format!("env-{}", store.last_id);
        let frame =
            json!({ "envelope_id": id, "type": kind, "payload": payload, "accepts_response_payload": false });
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

    /// An event as Slack wraps it.
    pub fn event(&self, event: Value) -> Value {
        let mut store = self.store();
        store.last_id += 1;
        json!({ "token": "x", "team_id": "T0CP", "api_app_id": "A0", "type": "event_callback", "event": event,
            "event_id": format!("Ev{:08}", store.last_id), "event_time": 1_700_000_000 })
    }

    /// Someone writes in a channel; answers the message, which Slack has not told yet.
    pub fn message(&self, channel: &str, user: &str, text: &str, extra: Value) -> Value {
        let ts = self.store().next_ts();
        let kind = if channel.starts_with('D') { "im" } else { "channel" };
        let mut message = json!({ "type": "message", "channel": channel, "channel_type": kind, "user": user,
            "text": text, "ts": ts, "event_ts": ts });
        for (key, value) in extra.as_object().unwrap() {
            message[key] = value.clone();
        }
        message
    }

    /// Someone writes, and Slack tells it. Answers the message's id.
    pub fn say(&self, channel: &str, user: &str, text: &str) -> String {
        let message = self.message(channel, user, text, json!({}));
        let ts = message["ts"].as_str().unwrap().to_owned();
        self.send("events_api", self.event(message));
        ts
    }

    /// Someone clicks a button under a message of the bot's.
    pub fn click(&self, user: &str, post: &Post, button: &Value) -> Value {
        let mut action = button.clone();
        action["action_ts"] = self.store().next_ts().into();
        json!({ "type": "block_actions", "user": { "id": user, "name": user.to_lowercase() },
            "channel": { "id": post.channel }, "actions": [action], "trigger_id": "1.2.x",
            "message": { "ts": post.ts, "text": post.text, "blocks": post.blocks, "thread_ts": post.thread,
                "user": BOT } })
    }

    /// Slack announces that the newest connection ends.
    pub fn disconnect(&self, reason: &str) {
        self.store().send(json!({ "type": "disconnect", "reason": reason }).to_string());
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

fn serve_socket(stream: TcpStream, shared: &(Mutex<Store>, Condvar)) {
    let Ok(mut socket) = tungstenite::accept(stream) else { return };
    socket.get_ref().set_read_timeout(Some(Duration::from_millis(10))).unwrap();
    let number = {
        let mut store = shared.0.lock().unwrap();
        store.opened += 1;
        let number = store.opened;
        store.sockets.insert(number, VecDeque::new());
        store.most_open = store.most_open.max(store.sockets.len());
        number
    };
    let hello = json!({ "type": "hello", "num_connections": 1, "connection_info": { "app_id": "A0" } });
    if socket.send(Message::Text(hello.to_string().into())).is_ok() {
        converse(&mut socket, number, shared);
    }
    shared.0.lock().unwrap().sockets.remove(&number);
}

fn converse(socket: &mut WebSocket<TcpStream>, number: u64, shared: &(Mutex<Store>, Condvar)) {
    loop {
        let next = shared.0.lock().unwrap().sockets.get_mut(&number).and_then(VecDeque::pop_front);
        match next {
            Some(Out::Text(text)) => match socket.send(Message::Text(text.into())) {
                Ok(()) => continue,
                Err(_) => return,
            },
            Some(Out::Close) => {
                let _ = socket.close(None);
            }
            Some(Out::Drop) => return,
            None => {}
        }
        match socket.read() {
            Ok(Message::Text(text)) => {
                let ack: Value = serde_json::from_str(&text).unwrap();
                let id = ack["envelope_id"].as_str().unwrap();
                let mut store = shared.0.lock().unwrap();
                store.unacknowledged.remove(id);
                store.acknowledged.insert(id.to_owned(), number);
            }
            Ok(Message::Close(_)) => return,
            Ok(_) => {}
            Err(tungstenite::Error::Io(error))
                if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
            Err(_) => return,
        }
    }
}

fn serve(stream: TcpStream, shared: &(Mutex<Store>, Condvar), base: &str, place: &str) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut stream = stream;
    loop {
        let (mut path, mut length, mut token) = (String::new(), 0, String::new());
        loop {
            let mut line = String::new();
            if !matches!(reader.read_line(&mut line), Ok(1..)) {
                return;
            }
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            if path.is_empty() {
                path = line.split(' ').nth(1).unwrap().to_owned();
            }
            let (name, value) = line.split_once(':').unwrap_or_default();
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse().unwrap(),
                "authorization" => token = value.trim().trim_start_matches("Bearer ").to_owned(),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        let (status, kind, mut answer) = answer(shared, &path, &token, &body, base, place);
        let shown = if status == CUT { 200 } else { status };
        let more = if status == 429 { "retry-after: 1\r\n" } else { "" };
        let head = format!(
            "HTTP/1.1 {shown} x\r\ncontent-type: {kind}\r\n{more}content-length: {}\r\n\r\n",
            answer.len()
        );
        if status == CUT {
            answer.truncate(answer.len() / 2);
        }
        let sent = stream.write_all(&[head.as_bytes(), &answer].concat());
        if status == CUT || sent.is_err() {
            return;
        }
    }
}

type Answer = (u16, &'static str, Vec<u8>);

fn json_answer(body: Value) -> Answer {
    (200, "application/json; charset=utf-8", body.to_string().into_bytes())
}

fn fail(word: &str) -> Answer {
    json_answer(json!({ "ok": false, "error": word }))
}

/// The fields of a form.
fn form(body: &[u8]) -> BTreeMap<String, String> {
    let text = String::from_utf8_lossy(body);
    let decoded = |part: &str| {
        let (mut bytes, mut rest) = (Vec::new(), part.as_bytes());
        while let Some((first, after)) = rest.split_first() {
            match first {
                b'+' => bytes.push(b' '),
                b'%' => {
                    let hex = std::str::from_utf8(&after[..2]).unwrap();
                    bytes.push(u8::from_str_radix(hex, 16).unwrap());
                    rest = &after[2..];
                    continue;
                }
                other => bytes.push(*other),
            }
            rest = after;
        }
        String::from_utf8(bytes).unwrap()
    };
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(key, value)| (decoded(key), decoded(value))).collect()
}

fn answer(
    shared: &(Mutex<Store>, Condvar),
    path: &str,
    token: &str,
    body: &[u8],
    base: &str,
    place: &str,
) -> Answer {
    if path.contains("/files/slow") {
        std::thread::sleep(Duration::from_secs(1));
    }
    let mut store = shared.0.lock().unwrap();
    if let Some(name) = path.strip_prefix("/files/") {
        return match store.files.get(name).filter(|_| token == BOT_TOKEN) {
            Some(bytes) => (200, "application/octet-stream", bytes.clone()),
            None => (200, "text/html; charset=utf-8", b"<html>Sign in to CP</html>".to_vec()),
        };
    }
    if let Some(id) = path.strip_prefix("/upload/") {
        return match store.uploads.get_mut(id) {
            Some((_, bytes)) => {
                *bytes = body.to_vec();
                (200, "text/plain", b"OK".to_vec())
            }
            None => (404, "text/plain", b"file_not_found".to_vec()),
        };
    }
    let Some(method) = path.strip_prefix("/api/") else { return (404, "text/html", b"<html>".to_vec()) };
    *store.calls.entry(method.to_owned()).or_default() += 1;
    let scripted = store.script.get_mut(method).and_then(VecDeque::pop_front);
    let cut = matches!(scripted, Some((CUT, _)));
    if let Some((status, answer)) = scripted.filter(|(status, _)| ![LET_THROUGH, CUT].contains(status)) {
        let text = answer.as_str().map(str::to_owned).unwrap_or_else(|| answer.to_string());
        return (status, "application/json", text.into_bytes());
    }
    let is_good = match method {
        "apps.connections.open" => token == APP_TOKEN,
        "oauth.v2.access" => token == "Basic Y2xpZW50OnZlcnktc2VjcmV0", // client:very-secret
        _ => token == BOT_TOKEN || store.tokens.contains_key(token),
    };
    if !is_good {
        return fail("invalid_auth");
    }
    store.caller = token.to_owned();
    let fields = form(body);
    let (_, kind, answer) = match method {
        "chat.postMessage" => {
            let posted = post(&mut store, &fields);
            while store.posts_stall {
                store = shared.1.wait(store).unwrap();
            }
            posted
        }
        _ => call(&mut store, method, &fields, base, place),
    };
    (if cut { CUT } else { 200 }, kind, answer)
}

fn post(store: &mut Store, fields: &BTreeMap<String, String>) -> Answer {
    let of = |key: &str| fields.get(key).cloned();
    let read = |key: &str| of(key).map_or(Value::Null, |text| serde_json::from_str(&text).unwrap());
    let Some(channel) = of("channel") else { return fail("channel_not_found") };
    if channel == "C0CLOSED" {
        return fail("not_in_channel");
    }
    if of("thread_ts").is_some_and(|ts| ts.is_empty()) {
        return fail("invalid_thread_ts");
    }
    let text: String = of("text").unwrap_or_default().chars().take(40_000).collect();
    let (blocks, metadata) = (read("blocks"), read("metadata"));
    if text.is_empty() && blocks.is_null() {
        return fail("no_text");
    }
    let post = Post {
        thread: of("thread_ts"),
        ts: store.next_ts(),
        channel: channel.clone(),
        text,
        blocks,
        metadata,
        ..Post::default()
    };
    let ts = post.ts.clone();
    store.posts.push(post);
    json_answer(json!({ "ok": true, "channel": channel, "ts": ts }))
}

fn call(
    store: &mut Store,
    method: &str,
    fields: &BTreeMap<String, String>,
    base: &str,
    place: &str,
) -> Answer {
    let of = |key: &str| fields.get(key).cloned().unwrap_or_default();
    let body = match method {
        "auth.test" => match store.tokens.get(&store.caller) {
            Some((bot, team)) => json!({ "user_id": bot, "user": bot, "team": team, "team_id": team }),
            None if !store.organisation.is_empty() => {
                json!({ "user_id": BOT, "bot_id": "B0BOT", "user": "vestibule", "team": "The Organisation",
                    "team_id": "E0CP", "enterprise_id": "E0CP", "is_enterprise_install": true })
            }
            None => {
                json!({ "user_id": BOT, "bot_id": "B0BOT", "user": "vestibule", "team": "CP", "team_id": "T0CP" })
            }
        },
        "oauth.v2.access" => match store.refresh.take() {
            Some((good, seconds)) if good == of("refresh_token") => {
                store.last_id += 1;
                let (access, refresh) =
                    (format!("xoxb-{}", store.last_id), format!("xoxe-{}", store.last_id));
                store.tokens = BTreeMap::from([(access.clone(), (BOT.to_owned(), "T0CP".to_owned()))]);
                store.refresh = Some((refresh.clone(), seconds));
                json!({ "access_token": access, "refresh_token": refresh, "expires_in": seconds })
            }
            good => {
                store.refresh = good;
                return fail("invalid_refresh_token");
            }
        },
        "conversations.open" => json!({ "channel": { "id": format!("D{}", of("users")) } }),
        "auth.teams.list" => {
            json!({ "teams": store.organisation.keys().map(|id| json!({ "id": id })).collect::<Vec<_>>() })
        }
        // The app of an organisation has to say of which workspace.
        "conversations.list" | "users.list"
            if !store.organisation.is_empty() && !store.organisation.contains_key(&of("team_id")) =>
        {
            return fail("missing_argument");
        }
        "users.list" => {
            let people = store.names.iter().filter(|(id, _)| id.starts_with('U'));
            let member = |(id, name): (&String, &String)| {
                json!({ "id": id, "name": name.to_lowercase().replace(' ', "."), "deleted": false,
                    "profile": { "display_name": name, "real_name": name } })
            };
            json!({ "members": people.map(member).collect::<Vec<_>>() })
        }
        "conversations.list" => {
            let of_team = store.organisation.get(&of("team_id"));
            let is_here = |id: &String| id.starts_with('C') && of_team.is_none_or(|all| all.contains(id));
            let channels: Vec<_> = store.names.iter().filter(|(id, _)| is_here(id)).collect();
            let begin = of("cursor").parse().unwrap_or(0);
            let page: Vec<_> = channels
                .iter()
                .skip(begin)
                .take(1)
                .map(|(id, name)| json!({ "id": id, "name": name }))
                .collect();
            let next = if begin + 1 < channels.len() { (begin + 1).to_string() } else { String::new() };
            json!({ "channels": page, "response_metadata": { "next_cursor": next } })
        }
        "apps.connections.open" => json!({ "url": format!("{place}?ticket=t-{}", store.opened) }),
        "users.info" => match store.names.get(&of("user")) {
            Some(name) => json!({ "user": { "id": of("user"), "name": name.to_lowercase(), "is_bot": false,
                "profile": { "display_name": name, "real_name": name } } }),
            None => return fail("user_not_found"),
        },
        "conversations.info" => match store.names.get(&of("channel")) {
            Some(name) => json!({ "channel": { "id": of("channel"), "name": name } }),
            None => return fail("channel_not_found"),
        },
        "conversations.history" | "conversations.replies" => {
            let in_thread = (method == "conversations.replies").then(|| of("ts"));
            let shown = |post: &&Post| {
                post.channel == of("channel")
                    && post.ts.as_str() >= of("oldest").as_str()
                    && (in_thread.is_none() && post.thread.is_none() || in_thread == post.thread)
            };
            let with = of("include_all_metadata") == "true";
            let message = |post: &Post| {
                let files: Vec<Value> = post.file_ids.iter().map(|id| json!({ "id": id })).collect();
                let metadata = if with { post.metadata.clone() } else { Value::Null };
                json!({ "type": "message", "user": BOT, "ts": post.ts, "text": post.text, "metadata": metadata,
                    "files": files })
            };
            let most = of("limit").parse().unwrap_or(100);
            let newest = store.posts.iter().rev().filter(shown).take(most).map(message);
            json!({ "messages": newest.collect::<Vec<_>>() })
        }
        "chat.update" => {
            let found =
                store.posts.iter_mut().find(|post| post.channel == of("channel") && post.ts == of("ts"));
            let Some(post) = found else { return fail("message_not_found") };
            if of("text").chars().count() > 4_000 {
                return fail("msg_too_long");
            }
            post.text = of("text");
            post.blocks = serde_json::from_str(&of("blocks")).unwrap_or_default();
            json!({ "ts": of("ts") })
        }
        "chat.delete" => {
            let before = store.posts.len();
            store.posts.retain(|post| post.channel != of("channel") || post.ts != of("ts"));
            if store.posts.len() == before {
                return fail("message_not_found");
            }
            json!({ "ts": of("ts") })
        }
        "reactions.add" => {
            let reaction = (of("timestamp"), of("name"));
            let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_+-:'".contains(c);
            if reaction.1.is_empty() || !reaction.1.chars().all(is_name) {
                return fail("invalid_name");
            }
            if store.reactions.contains(&reaction) {
                return fail("already_reacted");
            }
            store.reactions.push(reaction);
            json!({})
        }
        "assistant.threads.setStatus" => {
            store.statuses.push(of("thread_ts"));
            json!({})
        }
        "chat.postEphemeral" => {
            store.whispers.push((of("channel"), of("user"), of("text")));
            json!({ "message_ts": "1.1" })
        }
        "files.getUploadURLExternal" => {
            store.last_id += 1;
            let id = format!("F{:08}", store.last_id);
            store.uploads.insert(id.clone(), (of("filename"), vec![]));
            json!({ "upload_url": format!("{base}/upload/{id}"), "file_id": id })
        }
        "files.completeUploadExternal" => {
            let files: Value = serde_json::from_str(&of("files")).unwrap();
            let ids: Vec<String> = files
                .as_array()
                .unwrap()
                .iter()
                .map(|file| file["id"].as_str().unwrap().to_owned())
                .collect();
            let taken: BTreeSet<&String> = store.posts.iter().flat_map(|post| &post.file_ids).collect();
            if ids.iter().any(|id| taken.contains(id) || !store.uploads.contains_key(id)) {
                return fail("file_not_found");
            }
            let files = ids.iter().map(|id| store.uploads[id].clone()).collect();
            let thread = fields.get("thread_ts").cloned();
            let ts = store.next_ts();
            let channel = of("channel_id");
            store.posts.push(Post { channel, thread, ts, files, file_ids: ids, ..Post::default() });
            json!({ "files": [] })
        }
        _ => return fail("unknown_method"),
    };
    let mut body = body;
    body["ok"] = true.into();
    json_answer(body)
}
