//! A stand-in for Telegram's Bot API. It keeps Telegram's rules: an update behind the offset of a call is never sent
//! again, a second poll ends the first, there is no poll while a webhook is set, a webhook gets an update again until it
//! answers with success, a kind of update that was not asked for never comes, an edit without buttons takes the buttons
//! away, one that changes nothing is refused, and so is the text of a file. An album has two to ten files that go together.
//! Of reactions it takes those of a list.

mod calls;
mod shapes;
mod webhook;
mod wire;

pub use webhook::Webhook;

use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::TcpListener;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

pub const TOKEN: &str = "123456:AA-test_token";
/// In a script: this call is answered as usual.
pub const LET_THROUGH: u16 = 0;
/// In a script: this answer comes with a status of success, and breaks off in the middle.
pub const CUT: u16 = 1;
/// What a text has for half of a character: it is told as such.
pub const HALF: char = '\u{e000}';
/// The bot's own number.
pub const OWN: i64 = 99;

/// What was sent by the bot in one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    pub method: String,
    pub chat: i64,
    pub topic: Option<i64>,
    pub quote: Option<i64>,
    /// The text, or what stands under the files.
    pub words: String,
    pub files: Vec<SentFile>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentFile {
    /// `photo`, `video`, `audio` or `document`.
    pub kind: String,
    pub name: String,
    pub bytes: Vec<u8>,
}

impl Sent {
    /// The bytes of its first file.
    pub fn file(&self) -> &[u8] {
        self.files.first().map_or(&[], |file| &file.bytes)
    }

    /// The kinds of its files.
    pub fn kinds(&self) -> Vec<&str> {
        self.files.iter().map(|file| file.kind.as_str()).collect()
    }
}

/// A message of the bot's as people see it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    pub text: String,
    /// The buttons under it: what each says, and what comes back.
    pub buttons: Vec<(String, String)>,
}

/// A call that was done, and its answer.
#[derive(Debug, Clone)]
pub struct Done {
    pub method: String,
    pub fields: Value,
    pub result: Value,
}

#[derive(Default)]
pub struct Store {
    waiting: VecDeque<Value>,
    last_update: i64,
    last_message: i64,
    poll: u64,
    /// The webhook that is set: polling does not work then.
    pub webhook: Option<Webhook>,
    pub polls: usize,
    pub sent: Vec<Sent>,
    /// The bot's texts, by chat and number.
    pub shown: BTreeMap<(i64, i64), Shown>,
    /// Which of these are files, with their captions.
    captions: BTreeMap<(i64, i64), String>,
    /// The bot's reactions, by chat and number.
    pub reactions: BTreeMap<(i64, i64), String>,
    /// The chats and topics in which the bot was shown writing.
    pub typing: Vec<(i64, Option<i64>)>,
    /// The commands in the bot's menu, and the button that opens it.
    pub commands: Vec<(String, String)>,
    pub menu: String,
    /// The taps that nobody answered yet, and what the others were answered.
    open_taps: BTreeSet<String>,
    pub notes: Vec<String>,
    /// The kinds of update that were asked for last.
    pub allowed: Option<Vec<String>>,
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
    /// All that was done, and all updates that there were.
    pub done: Vec<Done>,
    pub updates: Vec<Value>,
}

impl Store {
    fn comes(&mut self, kind: &str, mut body: Value) {
        let number = self.last_update;
        shapes::complete(&mut body, "");
        let update = json!({ "update_id": number, kind: body });
        let is_usual = !["message_reaction", "chat_member"].contains(&kind);
        if self.allowed.as_ref().map_or(is_usual, |kinds| kinds.iter().any(|allowed| allowed == kind)) {
            self.updates.push(update.clone());
            self.waiting.push_back(update);
        }
    }

    /// The bot's texts and captions that people see in a chat, in order.
    pub fn seen(&self, chat: i64) -> Vec<String> {
        let of = self.shown.iter().filter(|((at, _), _)| *at == chat);
        of.map(|(at, shown)| self.captions.get(at).cloned().unwrap_or_else(|| shown.text.clone())).collect()
    }
}

type Shared = (Mutex<Store>, Condvar);

pub struct BotApi {
    pub url: String,
    shared: Arc<Shared>,
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
                std::thread::spawn(move || wire::serve(stream, &shared));
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
        let mut body = json!({ "date": 1_700_000_000 + store.last_message, "chat": chat });
        if kind != "message_reaction" {
            body["from"] = json!({ "id": 7, "is_bot": false, "first_name": "Ada" });
        }
        if kind != "my_chat_member" {
            body["message_id"] = store.last_message.into();
        }
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
        let query = json!({ "id": id, "from": { "id": person, "is_bot": false, "first_name": "Ada" },
            "chat_instance": "-3873", "data": data,
            "message": { "message_id": message, "date": 1_700_000_000, "chat": shapes::chat(chat),
                "from": shapes::own(), "text": shown.text } });
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

    /// How many updates wait: none is there any more once its successor's number was asked for, or a webhook took it.
    pub fn waiting(&self) -> usize {
        self.store().waiting.len()
    }
}
