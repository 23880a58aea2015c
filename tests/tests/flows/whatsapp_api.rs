//! A stand-in for Meta's Graph API. It keeps Meta's rules: a message goes to a phone number or to a person's id within the
//! business and not to both, free words only to people who wrote, buttons and lists within their limits, files first
//! stored and then sent, and a file's address good once and for the token alone.

use crate::support::until;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};

pub const TOKEN: &str = "EAAflowtoken";
pub const SECRET: &str = "flow-app-secret";
pub const VERIFY: &str = "flow-verify-word";
pub const NUMBER: &str = "106540352242922";
pub const CHAT: &str = "whatsapp:106540352242922:16505551234";
/// In a script: this answer comes with a status of success, and breaks off in the middle.
pub const CUT: u16 = 1;

#[derive(Default)]
pub struct Store {
    last: u64,
    /// What was sent, as it came, with the `id` that it got.
    pub sent: Vec<Value>,
    /// Which messages were shown as read, with an answer on its way, and without.
    pub marked: Vec<String>,
    pub read: Vec<String>,
    /// The files: media type and bytes.
    pub files: BTreeMap<String, (String, Vec<u8>)>,
    asked: usize,
    fetched: usize,
    /// The addresses that were handed out and not used.
    good: BTreeSet<String>,
    /// The people to whom no free words may be sent any more.
    pub silent: BTreeSet<String>,
    /// While it is so, no file is handed out, none that is brought is answered, and what was sent is not.
    pub holds_files: bool,
    pub holds_uploads: bool,
    pub holds_answers: bool,
    /// How many of the next files break off on their way from Meta, and how many answers to those that are brought there.
    pub broken_files: usize,
    pub broken_uploads: usize,
    /// How many of the next addresses of files have ended when they are used.
    pub ended: usize,
    /// While it is so, what breaks off has not said how long it is.
    pub says_no_length: bool,
    /// Those to whom so much was sent that nothing more is taken for the moment.
    pub limited: BTreeSet<String>,
    /// Answers to the next messages, in place of the real ones; a message of a CUT one was sent.
    pub script: VecDeque<(u16, Value)>,
    /// The business accounts to which the app was subscribed.
    pub subscribed: Vec<String>,
    /// The token that is good.
    pub token: String,
}

pub struct WhatsAppApi {
    pub url: String,
    shared: Arc<Mutex<Store>>,
}

/// Meta's error.
pub fn error(code: u64, words: &str) -> Value {
    json!({ "error": { "message": format!("(#{code}) {words}"), "type": "OAuthException", "code": code,
        "error_data": { "messaging_product": "whatsapp", "details": words }, "fbtrace_id": "A1b2" } })
}

/// Meta's error where there is nothing of this id, or where the token may not see it.
fn nothing_there(id: &str) -> Answer {
    let mut told = error(100, &format!("Unsupported get request. Object with ID '{id}' does not exist"));
    told["error"]["type"] = "GraphMethodException".into();
    told["error"]["error_subcode"] = 33.into();
    answered(400, &told)
}

/// What a file is known by.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

impl WhatsAppApi {
    pub fn start() -> WhatsAppApi {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Mutex::new(Store { token: TOKEN.to_owned(), ..Store::default() }));
        let (store, base) = (shared.clone(), url.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (store, base) = (store.clone(), base.clone());
                std::thread::spawn(move || serve(stream, &store, &base));
            }
        });
        WhatsAppApi { url, shared }
    }

    pub fn store(&self) -> MutexGuard<'_, Store> {
        self.shared.lock().unwrap()
    }

    /// A new id of a message.
    pub fn id(&self) -> String {
        let mut store = self.store();
        store.last += 1;
        format!("wamid.HBgLMTY1MDU1NTEyMzQVAgASGBQ/+{:020}A==", store.last)
    }

    /// A file that a person sends: its id.
    pub fn file(&self, mime_type: &str, bytes: &[u8]) -> String {
        let mut store = self.store();
        store.last += 1;
        let id = format!("{}", 1_003_383_421_387_256 + store.last);
        store.files.insert(id.clone(), (mime_type.to_owned(), bytes.to_vec()));
        id
    }

    /// What was sent, once there is so much.
    pub fn sent(&self, count: usize) -> Vec<Value> {
        until(&format!("{count} messages are sent"), || {
            let sent = self.store().sent.clone();
            (sent.len() >= count).then_some(sent)
        })
    }

    /// How often the address of a file was asked for, and how often the file itself.
    pub fn loads(&self) -> (usize, usize) {
        let store = self.store();
        (store.asked, store.fetched)
    }

    pub fn texts(&self) -> Vec<String> {
        let text = |sent: &Value| sent["text"]["body"].as_str().unwrap_or_default().to_owned();
        self.store().sent.iter().map(text).collect()
    }
}

type Answer = (u16, &'static str, Vec<u8>);

fn serve(stream: TcpStream, store: &Mutex<Store>, base: &str) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut stream = stream;
    loop {
        let (mut first, mut length, mut token, mut kind) = (String::new(), 0, String::new(), String::new());
        loop {
            let mut line = String::new();
            if !matches!(reader.read_line(&mut line), Ok(1..)) {
                return;
            }
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            if first.is_empty() {
                first = line.to_owned();
            }
            let (name, value) = line.split_once(':').unwrap_or_default();
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse().unwrap(),
                "authorization" => token = value.trim().trim_start_matches("Bearer ").to_owned(),
                "content-type" => kind = value.trim().to_owned(),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        let words: Vec<&str> = first.split(' ').collect();
        let (status, kind, mut bytes) =
            answer(&mut store.lock().unwrap(), words[0], words[1], &token, &kind, &body, base);
        while is_held(&store.lock().unwrap(), words[1]) {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        let status = if is_broken(&mut store.lock().unwrap(), words[1]) { CUT } else { status };
        let shown = if status == CUT { 200 } else { status };
        let length = match status == CUT && store.lock().unwrap().says_no_length {
            true => "connection: close".to_owned(),
            false => format!("content-length: {}", bytes.len()),
        };
        let head = format!("HTTP/1.1 {shown} x\r\ncontent-type: {kind}\r\n{length}\r\n\r\n");
        if status == CUT {
            bytes.truncate(bytes.len() / 2);
        }
        let sent = stream.write_all(&[head.as_bytes(), &bytes].concat());
        if status == CUT || sent.is_err() {
            return;
        }
    }
}

fn is_held(store: &Store, path: &str) -> bool {
    store.holds_files && path.starts_with("/files/")
        || store.holds_uploads && path.ends_with("/media")
        || store.holds_answers && path.ends_with("/messages")
}

fn is_broken(store: &mut Store, path: &str) -> bool {
    let left = match path {
        path if path.starts_with("/files/") => &mut store.broken_files,
        path if path.ends_with("/media") => &mut store.broken_uploads,
        _ => return false,
    };
    let is = *left > 0;
    *left -= usize::from(is);
    is
}

fn answered(status: u16, body: &Value) -> Answer {
    (status, "application/json; charset=UTF-8", body.to_string().into_bytes())
}

fn answer(
    store: &mut Store,
    method: &str,
    path: &str,
    token: &str,
    kind: &str,
    body: &[u8],
    base: &str,
) -> Answer {
    if token != store.token {
        return answered(401, &error(190, "Error validating access token: Session has expired"));
    }
    if let Some(id) = path.strip_prefix("/files/") {
        store.fetched += 1;
        let is_good = store.good.remove(path) && store.ended == 0;
        store.ended = store.ended.saturating_sub(1);
        return match store.files.get(id.split('?').next().unwrap()).filter(|_| is_good) {
            Some((mime_type, bytes)) => {
                (200, if mime_type.is_empty() { "x" } else { "application/octet-stream" }, bytes.clone())
            }
            None => (404, "text/html", b"<html>gone</html>".to_vec()),
        };
    }
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    match (method, &parts[..]) {
        ("GET", ["v25.0", NUMBER | "207"]) => {
            answered(200, &json!({ "display_phone_number": "+1 555-078-3881", "id": parts[1] }))
        }
        ("GET", ["v25.0", id]) => {
            let Some((mime_type, bytes)) = store.files.get(*id) else {
                return nothing_there(id);
            };
            // With it, Meta hands out only what is that number's.
            if !["", &format!("phone_number_id={NUMBER}"), "phone_number_id=207"].contains(&query) {
                return nothing_there(id);
            }
            store.asked += 1;
            let url = format!("/files/{id}?turn={}", store.asked);
            store.good.insert(url.clone());
            answered(
                200,
                &json!({ "messaging_product": "whatsapp", "url": format!("{base}{url}"), "mime_type": mime_type,
                "sha256": sha256(bytes), "file_size": bytes.len(), "id": id }),
            )
        }
        ("POST", ["v25.0", account, "subscribed_apps"]) => {
            store.subscribed.push((*account).to_owned());
            answered(200, &json!({ "success": true }))
        }
        ("POST", ["v25.0", _, "media"]) => stored(store, kind, body),
        ("POST", ["v25.0", _, "messages"]) => match serde_json::from_slice(body) {
            Ok(message) => taken(store, message),
            Err(_) => answered(400, &error(100, "Invalid parameter")),
        },
        _ => answered(404, &error(2500, "Unknown path components")),
    }
}

/// The parts of a form by their names, each with its head. It is read by lines: a large file has few.
fn parts(kind: &str, body: &[u8]) -> BTreeMap<String, (String, Vec<u8>)> {
    let boundary = format!("--{}", kind.split_once("boundary=").unwrap().1);
    let (mut parts, mut rest) = (BTreeMap::new(), body);
    let (mut head, mut content, mut is_head) = (String::new(), Vec::new(), false);
    loop {
        let mut line = Vec::new();
        if rest.read_until(b'\n', &mut line).unwrap() == 0 {
            return parts;
        }
        if line.starts_with(boundary.as_bytes()) {
            if let Some((_, name)) = head.split_once("name=\"") {
                content.truncate(content.len() - 2);
                let name = name.split('"').next().unwrap().to_owned();
                parts.insert(name, (head, std::mem::take(&mut content)));
            }
            (head, is_head) = (String::new(), true);
        } else if is_head {
            is_head = line != b"\r\n";
            head += std::str::from_utf8(&line).unwrap();
        } else {
            content.append(&mut line);
        }
    }
}

/// A file in a form.
fn stored(store: &mut Store, kind: &str, body: &[u8]) -> Answer {
    let mut fields = parts(kind, body);
    let (head, bytes) = fields.remove("file").unwrap();
    let field = |name: &str| String::from_utf8(fields[name].1.clone()).unwrap();
    assert_eq!(field("messaging_product"), "whatsapp");
    assert!(
        head.contains("filename=")
            && head.to_lowercase().contains(&format!("content-type: {}", field("type"))),
        "{head}"
    );
    let known = ["text/plain", "application/pdf", "image/jpeg", "image/png", "audio/ogg", "video/mp4"];
    if !known.contains(&field("type").as_str()) {
        return answered(400, &error(100, "Param file must be a file with one of the following types"));
    }
    store.last += 1;
    let id = format!("{}", 1_003_383_421_387_256 + store.last);
    store.files.insert(id.clone(), (field("type"), bytes));
    answered(200, &json!({ "id": id }))
}

/// A message, or the mark on one.
fn taken(store: &mut Store, mut message: Value) -> Answer {
    if message["status"] == "read" {
        let id = message["message_id"].as_str().unwrap_or_default().to_owned();
        // That an answer is being written may be said with it.
        let typing = &message["typing_indicator"];
        if !id.starts_with("wamid.") || !(typing.is_null() || typing["type"] == "text") {
            return answered(400, &error(100, "Invalid parameter"));
        }
        match typing.is_null() {
            true => store.read.push(id),
            false => store.marked.push(id),
        }
        return answered(200, &json!({ "success": true }));
    }
    let scripted = store.script.pop_front();
    let cut = matches!(scripted, Some((CUT, _)));
    if let Some((status, answer)) = scripted.filter(|_| !cut) {
        return match answer.as_str() {
            Some(page) => (status, "text/html", page.as_bytes().to_vec()),
            None => answered(status, &answer),
        };
    }
    if let Some(fault) = refused(&message) {
        return answered(400, &error(131_009, &fault));
    }
    let contact = contact(&message);
    let to = contact["wa_id"].as_str().or(contact["user_id"].as_str()).unwrap_or_default();
    if store.silent.contains(to) && message["type"] != "template" {
        return answered(400, &error(131_047, "Re-engagement message"));
    }
    if store.limited.contains(to) {
        return answered(400, &error(131_056, "Pair rate limit hit"));
    }
    store.last += 1;
    let mut known = json!({ "id": format!("wamid.OURS{:020}==", store.last) });
    message["id"] = known["id"].clone();
    if message["type"] == "template" {
        known["message_status"] = "accepted".into();
    }
    store.sent.push(message);
    let (status, kind, body) = answered(
        200,
        &json!({ "messaging_product": "whatsapp", "contacts": [contact], "messages": [known] }),
    );
    (if cut { CUT } else { status }, kind, body)
}

/// Whom Meta takes a message to be for: a phone number may be written as people do.
fn contact(message: &Value) -> Value {
    match (message["to"].as_str(), message["recipient"].as_str()) {
        (Some(to), _) => {
            let number: String = to.chars().filter(char::is_ascii_digit).collect();
            json!({ "input": to, "wa_id": number })
        }
        (None, scoped) => json!({ "input": scoped, "user_id": scoped }),
    }
}

fn length(value: &Value) -> usize {
    value.as_str().unwrap_or_default().chars().count()
}

fn is(value: &Value, most: usize) -> bool {
    (1..=most).contains(&length(value))
}

/// How many of them there are, if all of them fit and differ in what is at these places.
fn count(list: &Value, fits: impl Fn(&Value) -> bool, differ_at: &[&str]) -> Option<usize> {
    let list = list.as_array()?;
    let differ = |path: &&str| {
        let all: BTreeSet<&str> = list.iter().filter_map(|one| one.pointer(path)?.as_str()).collect();
        all.len() == list.len()
    };
    (list.iter().all(fits) && differ_at.iter().all(differ)).then_some(list.len())
}

/// Whether Meta takes a message with something to tap: `None` is no, too.
fn can_be_tapped(one: &Value) -> Option<bool> {
    let (body, action) = (&one["body"]["text"], &one["action"]);
    Some(match one["type"].as_str()? {
        "button" => {
            let fits = |button: &Value| is(&button["reply"]["title"], 20) && is(&button["reply"]["id"], 256);
            let all = count(&action["buttons"], fits, &["/reply/id", "/reply/title"])?;
            is(body, 1_024) && (1..=3).contains(&all)
        }
        "list" => {
            let fits = |row: &Value| is(&row["title"], 24) && is(&row["id"], 200);
            let rows = count(&action["sections"][0]["rows"], fits, &["/id"])?;
            is(body, 4_096) && is(&action["button"], 20) && (1..=10).contains(&rows)
        }
        "cta_url" => is(body, 1_024) && is(&action["parameters"]["display_text"], 20),
        _ => false,
    })
}

/// Why Meta would not take a message.
fn refused(message: &Value) -> Option<String> {
    let kind = message["type"].as_str().unwrap_or_default();
    let fits = match kind {
        _ if message["messaging_product"] != "whatsapp"
            || message["to"].is_string() == message["recipient"].is_string() =>
        {
            false
        }
        "text" => is(&message["text"]["body"], 4_096),
        "reaction" => message["reaction"]["message_id"].as_str().is_some_and(|id| id.starts_with("wamid.")),
        "template" => message["template"]["language"]["code"].is_string(),
        "image" | "video" | "document" => {
            message[kind]["id"].is_string() && length(&message[kind]["caption"]) <= 1_024
        }
        "audio" => message[kind]["id"].is_string() && message[kind]["caption"].is_null(),
        "interactive" => can_be_tapped(&message["interactive"]).unwrap_or(false),
        _ => false,
    };
    (!fits).then(|| format!("Parameter value is not valid: {message}"))
}
