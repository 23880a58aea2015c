//! What each method of the Bot API does.

use super::{Done, HALF, LET_THROUGH, Sent, SentFile, Shared, Shown, Store, TOKEN, shapes, webhook, wire};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

const TEXT_UNITS_MAX: usize = 4_096;
const CAPTION_UNITS_MAX: usize = 1_024;

/// Telegram's words when it refuses a call; what is no refusal of the call has a status of its own.
type Refusal = (u16, Value);

pub fn answer(shared: &Arc<Shared>, path: &str, kind: &str, body: &[u8]) -> (u16, Vec<u8>) {
    let mut store = shared.0.lock().unwrap();
    if let Some(file) = path.strip_prefix(&format!("/file/bot{TOKEN}/")) {
        while store.files_stall || store.stalled.contains(file) {
            store = shared.1.wait(store).unwrap();
        }
        let bytes = store.files.get(file).cloned();
        return bytes.map_or_else(|| told(Err(fail(404, "Not Found"))), |bytes| (200, bytes));
    }
    let Some(method) = path.strip_prefix(&format!("/bot{TOKEN}/")) else {
        return told(Err(fail(401, "Unauthorized")));
    };
    let scripted = store.script.get_mut(method).and_then(VecDeque::pop_front);
    if let Some((status, answer)) = scripted.filter(|(status, _)| *status != LET_THROUGH) {
        return (status, answer.to_string().into_bytes());
    }
    let fields = wire::fields(kind, body);
    if method == "getUpdates" {
        let updates = poll(shared, store, &fields);
        return told(updates.ok_or_else(|| {
            fail(409, "Conflict: terminated by other getUpdates request, or a webhook is set")
        }));
    }
    let result = call(shared, &mut store, method, &fields);
    if let Ok(result) = &result {
        let (method, result) = (method.to_owned(), result.clone());
        store.done.push(Done { method, fields, result });
    }
    while store.sends_stall && method.starts_with("send") && method != "sendChatAction" {
        store = shared.1.wait(store).unwrap();
    }
    told(result)
}

fn told(result: Result<Value, Refusal>) -> (u16, Vec<u8>) {
    match result {
        // Half of a character, as some clients send it.
        Ok(result) => {
            let text = json!({ "ok": true, "result": result }).to_string();
            (200, text.replace(HALF, r"\ud83d").into_bytes())
        }
        Err((status, answer)) => (status, answer.to_string().into_bytes()),
    }
}

fn fail(code: u16, words: &str) -> Refusal {
    (code, json!({ "ok": false, "error_code": code, "description": words }))
}

fn refuse(words: &str) -> Refusal {
    fail(400, words)
}

fn call(shared: &Arc<Shared>, store: &mut Store, method: &str, fields: &Value) -> Result<Value, Refusal> {
    match method {
        "getMe" => {
            let mut own = shapes::own();
            for (key, can) in [
                ("can_join_groups", true),
                ("can_read_all_group_messages", false),
                ("supports_inline_queries", false),
                ("can_connect_to_business", false),
                ("has_main_web_app", false),
            ] {
                own[key] = can.into();
            }
            Ok(own)
        }
        "setWebhook" => {
            kinds(store, fields);
            webhook::set(shared, store, fields).map_err(refuse)
        }
        "deleteWebhook" => {
            store.webhook = None;
            shared.1.notify_all();
            Ok(json!(true))
        }
        "getWebhookInfo" => Ok(webhook::info(store)),
        "setMyCommands" => commands(store, fields),
        "setChatMenuButton" => {
            store.menu = fields["menu_button"]["type"].as_str().unwrap().to_owned();
            Ok(json!(true))
        }
        "getFile" => {
            let id = fields["file_id"].as_str().unwrap();
            if !store.files.contains_key(id) {
                return Err(refuse("Bad Request: file is too big"));
            }
            Ok(json!({ "file_id": id, "file_unique_id": id, "file_path": id }))
        }
        "sendMessage" | "sendPhoto" | "sendVideo" | "sendAudio" | "sendDocument" | "sendMediaGroup" => {
            send(store, method, fields)
        }
        "answerCallbackQuery" => {
            if !store.open_taps.remove(fields["callback_query_id"].as_str().unwrap()) {
                return Err(refuse(
                    "Bad Request: query is too old and response timeout expired or query ID is invalid",
                ));
            }
            let note = fields["text"].as_str().unwrap_or_default().to_owned();
            if note.chars().count() > 200 {
                return Err(refuse("Bad Request: MESSAGE_TOO_LONG"));
            }
            store.notes.push(note);
            Ok(json!(true))
        }
        "editMessageText" | "editMessageReplyMarkup" => edit(store, fields).map_err(refuse),
        "editMessageCaption" | "deleteMessage" | "setMessageReaction" | "sendChatAction" => {
            change(store, method, fields).map_err(refuse)
        }
        _ => Err(fail(404, "Not Found")),
    }
}

/// Text of a call, which may look like a number.
fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Which kinds of update are asked for: those of the last call that said it. An empty list means those that are usual.
fn kinds(store: &mut Store, fields: &Value) {
    if let Some(kinds) = fields["allowed_updates"].as_array() {
        let kinds = kinds.iter().map(|kind| kind.as_str().unwrap().to_owned());
        store.allowed = Some(kinds.collect::<Vec<_>>()).filter(|kinds| !kinds.is_empty());
    }
}

fn commands(store: &mut Store, fields: &Value) -> Result<Value, Refusal> {
    let word = |command: &Value, key: &str| text(&command[key]);
    let of = |command: &Value| (word(command, "command"), word(command, "description"));
    let commands: Vec<_> = fields["commands"].as_array().unwrap().iter().map(of).collect();
    let is_sign = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let is_good = |(name, what): &(String, String)| {
        name.chars().all(is_sign) && (1..=32).contains(&name.len()) && !what.is_empty()
    };
    if !commands.iter().all(is_good) || commands.len() > 100 {
        return Err(refuse("Bad Request: BOT_COMMAND_INVALID"));
    }
    store.commands = commands;
    Ok(json!(true))
}

/// The words of a call, as people see them.
fn words(fields: &Value, key: &str, most: usize) -> Result<String, Refusal> {
    if fields[key].is_null() {
        return Ok(String::new());
    }
    let mut words = text(&fields[key]);
    if fields["parse_mode"] == "HTML" {
        words =
            shown(&words).ok_or_else(|| refuse("Bad Request: can't parse entities: Unexpected end tag"))?;
    }
    match (words.encode_utf16().count() > most, key) {
        (true, "caption") => Err(refuse("Bad Request: message caption is too long")),
        (true, _) => Err(refuse("Bad Request: message is too long")),
        (false, _) => Ok(words),
    }
}

/// Each file that a call sends, with its caption.
fn files(method: &str, fields: &Value) -> Result<Vec<(SentFile, String)>, Refusal> {
    let of = |kind: &str, part: &str, caption: &Value| {
        let file = &fields["files"][part];
        let Some(bytes) = file["bytes"].as_str().filter(|bytes| !bytes.is_empty()) else {
            return Err(refuse("Bad Request: file must be non-empty"));
        };
        // Pictures of these tests are words.
        if kind == "photo" && bytes.contains("too wide") {
            return Err(refuse("Bad Request: PHOTO_INVALID_DIMENSIONS"));
        }
        let bytes = bytes.as_bytes().to_vec();
        let file = SentFile { kind: kind.to_owned(), name: text(&file["name"]), bytes };
        Ok((file, words(caption, "caption", CAPTION_UNITS_MAX)?))
    };
    let kind = match method {
        "sendMessage" => return Ok(vec![]),
        "sendMediaGroup" => {
            let media = fields["media"].as_array().cloned().unwrap_or_default();
            if !(2..=10).contains(&media.len()) {
                return Err(refuse("Bad Request: media group must include 2-10 items"));
            }
            let kinds: Vec<String> = media.iter().map(|item| text(&item["type"])).collect();
            let alone = |kind: &&String| ["document", "audio"].contains(&kind.as_str());
            if let Some(kind) = kinds.iter().find(alone)
                && kinds.iter().any(|other| other != kind)
            {
                return Err(refuse(&format!("Bad Request: {kind} can't be mixed with other media types")));
            }
            let part = |item: &Value| text(&item["media"]).strip_prefix("attach://").unwrap().to_owned();
            return media.iter().zip(kinds).map(|(item, kind)| of(&kind, &part(item), item)).collect();
        }
        method => method.strip_prefix("send").unwrap().to_lowercase(),
    };
    // A client may say where the file is, as in an album.
    let part = fields[&kind].as_str().and_then(|at| at.strip_prefix("attach://")).unwrap_or(&kind).to_owned();
    Ok(vec![of(&kind, &part, fields)?])
}

fn send(store: &mut Store, method: &str, fields: &Value) -> Result<Value, Refusal> {
    let chat = fields["chat_id"].as_i64().unwrap();
    let sent_text = words(fields, "text", TEXT_UNITS_MAX)?;
    let files = files(method, fields)?;
    if let Some(now) = store.moved.get(&chat) {
        let words = "Bad Request: group chat was upgraded to a supergroup chat";
        let (status, mut answer) = refuse(words);
        answer["parameters"] = json!({ "migrate_to_chat_id": now });
        return Err((status, answer));
    }
    if method == "sendMessage" && sent_text.is_empty() {
        return Err(refuse("Bad Request: message text is empty"));
    }
    // The topic General is the chat itself, and has no number there.
    if fields["message_thread_id"] == 1 {
        return Err(refuse("Bad Request: message thread not found"));
    }
    let buttons = buttons(fields).map_err(refuse)?;
    let album = (files.len() > 1).then(|| store.last_message.to_string());
    let mut messages = Vec::new();
    let all: Vec<(Option<&SentFile>, &str)> = match &files[..] {
        [] => vec![(None, sent_text.as_str())],
        files => files.iter().map(|(file, caption)| (Some(file), caption.as_str())).collect(),
    };
    for (file, words) in &all {
        store.last_message += 1;
        let at = (chat, store.last_message);
        store.shown.insert(at, Shown { text: (*words).to_owned(), buttons: buttons.clone() });
        let mut message = message(store, at, fields);
        match file {
            Some(file) => {
                store.captions.insert(at, (*words).to_owned());
                let id = format!("file-{}", at.1);
                store.files.insert(id.clone(), file.bytes.clone());
                message[&file.kind] = shapes::file(file, &id)[&file.kind].take();
                if !words.is_empty() {
                    message["caption"] = (*words).into();
                }
            }
            None => message["text"] = (*words).into(),
        }
        if let Some(album) = &album {
            message["media_group_id"] = album.as_str().into();
        }
        messages.push(message);
    }
    store.sent.push(Sent {
        method: method.to_owned(),
        chat,
        topic: fields["message_thread_id"].as_i64(),
        quote: fields["reply_parameters"]["message_id"].as_i64(),
        words: all.iter().map(|(_, words)| *words).find(|words| !words.is_empty()).unwrap_or_default().into(),
        files: files.iter().map(|(file, _)| file.clone()).collect(),
    });
    Ok(if method == "sendMediaGroup" { Value::Array(messages) } else { messages.remove(0) })
}

/// A message of the bot's, without what it says.
fn message(store: &Store, at: (i64, i64), fields: &Value) -> Value {
    let (chat, number) = at;
    let mut message = json!({ "message_id": number, "date": 1_700_000_000 + store.last_message,
        "chat": shapes::chat(chat), "from": shapes::own() });
    if fields["reply_markup"]["inline_keyboard"].is_array() {
        message["reply_markup"] = fields["reply_markup"].clone();
    }
    if fields["message_thread_id"].is_i64() {
        message["message_thread_id"] = fields["message_thread_id"].clone();
        message["is_topic_message"] = true.into();
    }
    message
}

/// The message that a call changes, with other buttons.
fn edit(store: &mut Store, fields: &Value) -> Result<Value, &'static str> {
    let id = |key: &str| fields[key].as_i64().unwrap();
    let at = (id("chat_id"), id("message_id"));
    let mut message = message(store, at, fields);
    let Some(shown) = store.shown.get_mut(&at) else {
        return Err("Bad Request: message to edit not found");
    };
    if store.captions.contains_key(&at) && !fields["text"].is_null() {
        return Err("Bad Request: there is no text in the message to edit");
    }
    let mut words = if fields["text"].is_null() { shown.text.clone() } else { text(&fields["text"]) };
    if fields["parse_mode"] == "HTML" {
        words = self::shown(&words).ok_or("Bad Request: can't parse entities: Unexpected end tag")?;
    }
    let new = Shown { text: words, buttons: buttons(fields)? };
    if new == *shown {
        return Err("Bad Request: message is not modified: specified new message content and reply markup \
                    are exactly the same as a current content and reply markup of the message");
    }
    *shown = new;
    message["text"] = shown.text.as_str().into();
    message["edit_date"] = (1_700_000_001 + store.last_message).into();
    Ok(message)
}

/// What a call does to a message, or shows in a chat.
fn change(store: &mut Store, method: &str, fields: &Value) -> Result<Value, &'static str> {
    let chat = fields["chat_id"].as_i64().unwrap();
    if method == "sendChatAction" {
        assert_eq!(fields["action"], "typing");
        store.typing.push((chat, fields["message_thread_id"].as_i64()));
        return Ok(json!(true));
    }
    let at = (chat, fields["message_id"].as_i64().unwrap());
    match method {
        "editMessageCaption" => {
            let mut message = message(store, at, fields);
            let caption = store.captions.get_mut(&at).ok_or("Bad Request: message to edit not found")?;
            *caption = shown(&text(&fields["caption"])).unwrap();
            message["caption"] = caption.as_str().into();
            message["edit_date"] = (1_700_000_001 + store.last_message).into();
            return Ok(message);
        }
        "deleteMessage" => {
            store.shown.remove(&at).ok_or("Bad Request: message to delete not found")?;
            store.captions.remove(&at);
        }
        _ => {
            let emoji = fields["reaction"][0]["emoji"].as_str().unwrap_or_default();
            if !["👍", "👀", "🎉", "❤"].contains(&emoji) {
                return Err("Bad Request: REACTION_INVALID");
            }
            store.reactions.insert(at, emoji.to_owned());
        }
    }
    Ok(json!(true))
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

fn poll(shared: &Shared, mut store: MutexGuard<'_, Store>, fields: &Value) -> Option<Value> {
    kinds(&mut store, fields);
    store.poll += 1;
    store.polls += 1;
    let mine = store.poll;
    shared.1.notify_all();
    if let Some(offset) = fields["offset"].as_i64() {
        store.waiting.retain(|update| update["update_id"].as_i64().unwrap() >= offset);
    }
    let deadline = Instant::now() + Duration::from_secs(fields["timeout"].as_u64().unwrap_or(0));
    loop {
        if store.poll != mine || store.webhook.is_some() {
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
