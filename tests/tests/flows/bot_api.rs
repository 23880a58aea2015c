//! A stand-in for Telegram's Bot API. It keeps Telegram's rules: an update behind the offset of a call is
//! never sent again, a second poll ends the first, a kind of update that was not asked for never comes, an
//! edit without buttons takes the buttons away, one that changes nothing is refused, and so is the text of a file. Of
//! reactions it takes those of a list.

use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

pub const TOKEN: &str = "123456:AA-test_token";
/// In a script: this call is answered as usual.
pub const LET_THROUGH: u16 = 0;
/// In a script: this answer comes with a status of success, and breaks off in the middle.
pub const CUT: u16 = 1;
/// The bot's own number.
const OWN: i64 = 99;

/// What was sent by the bot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    pub method: String,
    pub chat: i64,
    pub topic: Option<i64>,
    pub quote: Option<i64>,
    /// The text, or the name of the file.
    pub words: String,
    pub file: Vec<u8>,
}

/// A message of the bot's as people see it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    pub text: String,
    /// The buttons under it: what each says, and what comes back.
    pub buttons: Vec<(String, String)>,
}

#[derive(Default)]
pub struct Store {
    waiting: VecDeque<Value>,
    last_update: i64,
    last_message: i64,
    poll: u64,
    /// Whether a webhook is set: polling does not work then.
    pub webhook: bool,
    pub polls: usize,
    pub sent: Vec<Sent>,
    /// The bot's texts, by chat and number.
    pub shown: BTreeMap<(i64, i64), Shown>,
    /// Which of these are files, with their captions.
    captions: BTreeMap<(i64, i64), String>,
    /// The bot's reactions, by chat and number.
    pub reactions: BTreeMap<(i64, i64), String>,
    /// The chats in which the bot was shown writing.
    pub typing: Vec<i64>,
    /// The taps that nobody answered yet, and what the others were answered.
    open_taps: BTreeSet<String>,
    pub notes: Vec<String>,
    /// The kinds of update that the last poll asked for.
    allowed: Option<Vec<String>>,
    /// Answers to the next calls of a method, in place of the real ones.
    pub script: BTreeMap<String, VecDeque<(u16, Value)>>,
    /// What `getFile` hands out.
    pub files: BTreeMap<String, Vec<u8>>,
    /// While it is set, people see what the bot sends, and the bot is not answered.
    pub sends_stall: bool,
    /// While it is set, files that are asked for do not come.
    pub files_stall: bool,
    /// The files that never come.
    pub stalled: BTreeSet<String>,
    /// The groups that have another number now.
    pub moved: BTreeMap<i64, i64>,
}

impl Store {
    fn comes(&mut self, kind: &str, body: Value) {
        let number = self.last_update;
        if self.allowed.as_ref().is_none_or(|kinds| kinds.iter().any(|allowed| allowed == kind)) {
            self.waiting.push_back(json!({ "update_id": number, kind: body }));
        }
    }

    /// The message that a call changes, with other buttons; `None` when that changes nothing.
    fn edit(&mut self, fields: &Value) -> Result<Value, &'static str> {
        let id = |key: &str| fields[key].as_i64().unwrap();
        let Some(shown) = self.shown.get_mut(&(id("chat_id"), id("message_id"))) else {
            return Err("Bad Request: message to edit not found");
        };
        if self.captions.contains_key(&(id("chat_id"), id("message_id"))) && fields["text"].is_string() {
            return Err("Bad Request: there is no text in the message to edit");
        }
        let mut text = fields["text"].as_str().unwrap_or(&shown.text).to_owned();
        if fields["parse_mode"] == "HTML" {
            text = self::shown(&text).ok_or("Bad Request: can't parse entities: Unexpected end tag")?;
        }
        let new = Shown { text, buttons: buttons(fields)? };
        if new == *shown {
            return Err(
                "Bad Request: message is not modified: specified new message content and reply markup \
                        are exactly the same as a current content and reply markup of the message",
            );
        }
        *shown = new;
        Ok(json!({ "message_id": id("message_id") }))
    }
}

impl Store {
    /// What a call does to a message, or shows in a chat.
    fn change(&mut self, method: &str, fields: &Value) -> Result<(), &'static str> {
        let chat = fields["chat_id"].as_i64().unwrap();
        if method == "sendChatAction" {
            assert_eq!(fields["action"], "typing");
            self.typing.push(chat);
            return Ok(());
        }
        let at = (chat, fields["message_id"].as_i64().unwrap());
        match method {
            "editMessageCaption" => {
                let caption = self.captions.get_mut(&at).ok_or("Bad Request: message to edit not found")?;
                *caption = shown(fields["caption"].as_str().unwrap()).unwrap();
            }
            "deleteMessage" => {
                self.shown.remove(&at).ok_or("Bad Request: message to delete not found")?;
                self.captions.remove(&at);
            }
            _ => {
                let emoji = fields["reaction"][0]["emoji"].as_str().unwrap();
                if !["👍", "👀", "🎉", "❤"].contains(&emoji) {
                    return Err("Bad Request: REACTION_INVALID");
                }
                self.reactions.insert(at, emoji.to_owned());
            }
        }
        Ok(())
    }

    /// The bot's texts and captions that people see in a chat, in order.
    pub fn seen(&self, chat: i64) -> Vec<String> {
        let of = self.shown.iter().filter(|((at, _), _)| *at == chat);
        of.map(|(at, shown)| self.captions.get(at).cloned().unwrap_or_else(|| shown.text.clone())).collect()
    }
}

/// The buttons that a call names.
fn buttons(fields: &Value) -> Result<Vec<(String, String)>, &'static str> {
    let rows = fields["reply_markup"]["inline_keyboard"].as_array().cloned().unwrap_or_default();
    let all = rows.iter().flat_map(|row| row.as_array().unwrap());
    let read = |button: &Value| {
        let word = |key: &str| button[key].as_str().unwrap_or_default().to_owned();
        let (text, data) = (word("text"), word("callback_data"));
        let page = word("url");
        if !text.is_empty() && page.starts_with("http") && page.contains('.') {
            return Ok((text, page));
        }
        if text.is_empty() {
            Err("Bad Request: inline keyboard button text is empty")
        } else if data.is_empty() || data.len() > 64 {
            Err("Bad Request: BUTTON_DATA_INVALID")
        } else {
            Ok((text, data))
        }
    };
    all.map(read).collect()
}

pub struct BotApi {
    pub url: String,
    shared: Arc<(Mutex<Store>, Condvar)>,
}

impl BotApi {
    pub fn start() -> BotApi {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new((Mutex::new(Store::default()), Condvar::new()));
        let api = BotApi { url, shared: shared.clone() };
        api.store().last_update = 870_000_000;
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = shared.clone();
                std::thread::spawn(move || serve(stream, &shared));
            }
        });
        api
    }

    pub fn store(&self) -> MutexGuard<'_, Store> {
        self.shared.0.lock().unwrap()
    }

    /// Somebody does something: an update of this kind. Answers its number.
    pub fn push(&self, kind: &str, chat: Value, extra: Value) -> i64 {
        let mut store = self.store();
        store.last_update += 1;
        store.last_message += 1;
        let mut body = json!({ "message_id": store.last_message, "date": 1_700_000_000 + store.last_message,
            "chat": chat, "from": { "id": 7, "is_bot": false, "first_name": "Ada" } });
        for (key, value) in extra.as_object().unwrap() {
            body[key] = value.clone();
        }
        let number = store.last_update;
        store.comes(kind, body);
        self.shared.1.notify_all();
        number
    }

    /// Somebody taps a button under a message of the bot's, one that they still see or saw a moment ago.
    pub fn tap(&self, person: i64, chat: i64, message: i64, data: &str) {
        let mut store = self.store();
        store.last_update += 1;
        let id = format!("4382bfdwdsb323b2d{}", store.last_update);
        store.open_taps.insert(id.clone());
        let shown = store.shown[&(chat, message)].clone();
        let kind = if chat < 0 { "supergroup" } else { "private" };
        let query = json!({ "id": id, "from": { "id": person, "is_bot": false, "first_name": "Ada" },
            "chat_instance": "-3873", "data": data,
            "message": { "message_id": message, "date": 1_700_000_000, "chat": { "id": chat, "type": kind },
                "from": { "id": OWN, "is_bot": true, "first_name": "V" }, "text": shown.text } });
        store.comes("callback_query", query);
        self.shared.1.notify_all();
    }

    /// The newest message with buttons: its chat, its number and how it looks.
    pub fn buttons(&self) -> Option<(i64, i64, Shown)> {
        let store = self.store();
        let mut with = store.shown.iter().filter(|(_, shown)| !shown.buttons.is_empty());
        with.next_back().map(|((chat, message), shown)| (*chat, *message, shown.clone()))
    }

    /// Somebody writes to the bot.
    pub fn say(&self, person: i64, text: &str) -> i64 {
        self.push("message", json!({ "id": person, "type": "private" }), json!({ "text": text }))
    }

    /// The files come from now on.
    pub fn let_files_come(&self) {
        self.store().files_stall = false;
        self.shared.1.notify_all();
    }

    /// What the bot sent is answered from now on.
    pub fn let_sends_end(&self) {
        self.store().sends_stall = false;
        self.shared.1.notify_all();
    }

    pub fn texts(&self) -> Vec<String> {
        self.store().sent.iter().map(|sent| sent.words.clone()).collect()
    }

    /// How many updates wait: none is there any more once its successor's number was asked for.
    pub fn waiting(&self) -> usize {
        self.store().waiting.len()
    }
}

fn serve(stream: TcpStream, shared: &(Mutex<Store>, Condvar)) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut stream = stream;
    loop {
        let (mut path, mut length, mut kind) = (String::new(), 0, String::new());
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
                "content-type" => kind = value.trim().to_owned(),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        let (status, mut answer) = answer(shared, &path, &kind, &body);
        let shown = if status == CUT { 200 } else { status };
        let head = format!("HTTP/1.1 {shown} x\r\ncontent-length: {}\r\n\r\n", answer.len());
        if status == CUT {
            answer.truncate(answer.len() / 2);
            let _ = stream.write_all(&[head.as_bytes(), &answer].concat());
            return;
        }
        if stream.write_all(&[head.as_bytes(), &answer].concat()).is_err() {
            return;
        }
    }
}

fn fail(code: u16, words: &str) -> (u16, Vec<u8>) {
    (code, json!({ "ok": false, "error_code": code, "description": words }).to_string().into_bytes())
}

fn has_moved(now: i64) -> (u16, Vec<u8>) {
    let answer = json!({ "ok": false, "error_code": 400, "parameters": { "migrate_to_chat_id": now },
        "description": "Bad Request: group chat was upgraded to a supergroup chat" });
    (400, answer.to_string().into_bytes())
}

fn answer(shared: &(Mutex<Store>, Condvar), path: &str, kind: &str, body: &[u8]) -> (u16, Vec<u8>) {
    let mut store = shared.0.lock().unwrap();
    if let Some(file) = path.strip_prefix(&format!("/file/bot{TOKEN}/")) {
        while store.files_stall || store.stalled.contains(file) {
            store = shared.1.wait(store).unwrap();
        }
        return store.files.get(file).map_or_else(|| fail(404, "Not Found"), |bytes| (200, bytes.clone()));
    }
    let Some(method) = path.strip_prefix(&format!("/bot{TOKEN}/")) else { return fail(401, "Unauthorized") };
    let scripted = store.script.get_mut(method).and_then(VecDeque::pop_front);
    if let Some((status, answer)) = scripted.filter(|(status, _)| *status != LET_THROUGH) {
        return (status, answer.to_string().into_bytes());
    }
    let fields: Value = if kind.starts_with("multipart/") {
        form(kind, body)
    } else {
        serde_json::from_slice(body).unwrap_or_default()
    };
    let result = match method {
        "getMe" => json!({ "id": OWN, "is_bot": true, "first_name": "V", "username": "VestibuleBot" }),
        "deleteWebhook" => {
            store.webhook = false;
            json!(true)
        }
        "getFile" => {
            let id = fields["file_id"].as_str().unwrap();
            if !store.files.contains_key(id) {
                return fail(400, "Bad Request: file is too big");
            }
            json!({ "file_id": id, "file_path": id })
        }
        "sendMessage" | "sendDocument" => {
            let mut words = fields["text"].as_str().or(fields["document"].as_str()).unwrap().to_owned();
            if fields["parse_mode"] == "HTML" {
                match shown(&words) {
                    Some(shown) => words = shown,
                    None => return fail(400, "Bad Request: can't parse entities: Unexpected end tag"),
                }
            }
            if words.encode_utf16().count() > 4096 {
                return fail(400, "Bad Request: message is too long");
            }
            if let Some(now) = store.moved.get(&fields["chat_id"].as_i64().unwrap()) {
                return has_moved(*now);
            }
            let buttons = match buttons(&fields) {
                Ok(buttons) => buttons,
                Err(words) => return fail(400, words),
            };
            store.last_message += 1;
            let at = (fields["chat_id"].as_i64().unwrap(), store.last_message);
            store.shown.insert(at, Shown { text: words.clone(), buttons });
            if method == "sendDocument" {
                store.captions.insert(at, String::new());
            }
            let file = fields["bytes"].as_str().unwrap_or_default().as_bytes().to_vec();
            let sent = Sent {
                method: method.to_owned(),
                chat: fields["chat_id"].as_i64().unwrap(),
                topic: fields["message_thread_id"].as_i64(),
                quote: fields["reply_parameters"]["message_id"].as_i64(),
                words,
                file,
            };
            store.sent.push(sent);
            while store.sends_stall {
                store = shared.1.wait(store).unwrap();
            }
            json!({ "message_id": at.1 })
        }
        "answerCallbackQuery" => {
            if !store.open_taps.remove(fields["callback_query_id"].as_str().unwrap()) {
                return fail(
                    400,
                    "Bad Request: query is too old and response timeout expired or query ID is invalid",
                );
            }
            let note = fields["text"].as_str().unwrap_or_default().to_owned();
            if note.chars().count() > 200 {
                return fail(400, "Bad Request: MESSAGE_TOO_LONG");
            }
            store.notes.push(note);
            json!(true)
        }
        "editMessageText" | "editMessageReplyMarkup" => match store.edit(&fields) {
            Ok(edited) => edited,
            Err(words) => return fail(400, words),
        },
        "editMessageCaption" | "deleteMessage" | "setMessageReaction" | "sendChatAction" => {
            match store.change(method, &fields) {
                Ok(()) => json!(true),
                Err(words) => return fail(400, words),
            }
        }
        "getUpdates" => {
            store.allowed = fields["allowed_updates"]
                .as_array()
                .map(|kinds| kinds.iter().map(|kind| kind.as_str().unwrap().to_owned()).collect());
            let Some(updates) = poll(shared, store, &fields) else {
                return fail(409, "Conflict: terminated by other getUpdates request");
            };
            updates
        }
        _ => return fail(404, "Not Found"),
    };
    (200, json!({ "ok": true, "result": result }).to_string().into_bytes())
}

/// What people see of a text in HTML; `None` if its tags do not fit together.
fn shown(html: &str) -> Option<String> {
    let (mut open, mut words, mut rest) = (Vec::new(), String::new(), html);
    while let Some((before, after)) = rest.split_once('<') {
        let (tag, after) = after.split_once('>')?;
        words.push_str(before);
        match tag.strip_prefix('/') {
            Some(name) => drop(open.pop().filter(|last| *last == name)?),
            None => {
                let name = tag.split(' ').next().unwrap();
                ["b", "i", "s", "code", "pre", "blockquote", "a"].contains(&name).then_some(())?;
                open.push(name);
            }
        }
        rest = after;
    }
    words.push_str(rest);
    open.is_empty().then_some(())?;
    let signs = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&amp;", "&")];
    Some(signs.into_iter().fold(words, |words, (entity, sign)| words.replace(entity, sign)))
}

fn poll(shared: &(Mutex<Store>, Condvar), mut store: MutexGuard<'_, Store>, fields: &Value) -> Option<Value> {
    store.poll += 1;
    store.polls += 1;
    let mine = store.poll;
    shared.1.notify_all();
    if let Some(offset) = fields["offset"].as_i64() {
        store.waiting.retain(|update| update["update_id"].as_i64().unwrap() >= offset);
    }
    let deadline = Instant::now() + Duration::from_secs(fields["timeout"].as_u64().unwrap_or(0));
    loop {
        if store.poll != mine || store.webhook {
            return None;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if !store.waiting.is_empty() || left.is_zero() {
            // Smaller pages than Telegram's, so that there are more of them.
            return Some(store.waiting.iter().take(20).cloned().collect());
        }
        store = shared.1.wait_timeout(store, left).unwrap().0;
    }
}

/// The fields of a form, numbers and JSON read; the file as text in `bytes`.
fn form(kind: &str, body: &[u8]) -> Value {
    let boundary = kind.split("boundary=").nth(1).unwrap();
    let text = String::from_utf8_lossy(body);
    let mut fields = json!({});
    for part in text.split(&format!("--{boundary}")).filter_map(|part| part.split_once("\r\n\r\n")) {
        let (head, value) = (part.0, part.1.strip_suffix("\r\n").unwrap());
        let quoted = |word: &str| {
            head.split(&format!("{word}=\""))
                .nth(1)
                .and_then(|rest| rest.split('"').next())
                .map(str::to_owned)
        };
        match quoted("; filename") {
            Some(file) => {
                fields["document"] = file.into();
                fields["bytes"] = value.into();
            }
            None => {
                let read = serde_json::from_str(value).unwrap_or_else(|_| json!(value));
                fields[quoted("; name").unwrap()] = read;
            }
        }
    }
    fields
}
