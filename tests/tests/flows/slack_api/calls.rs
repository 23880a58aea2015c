//! What each method of the Web API does and answers.

use super::{APP_TOKEN, BOT, BOT_TOKEN, CUT, LET_THROUGH, Post, Shared, Store, TEAM};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Condvar;
use std::sync::MutexGuard;
use std::time::Duration;

/// A call as it came in: the fields are those of a form, of JSON or of a query.
#[derive(Debug, Default)]
pub struct Request {
    pub path: String,
    pub token: String,
    pub fields: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Request {
    fn of(&self, key: &str) -> String {
        self.fields.get(key).cloned().unwrap_or_default()
    }

    /// A field that holds JSON.
    fn json(&self, key: &str) -> Value {
        self.fields.get(key).map_or(Value::Null, |text| serde_json::from_str(text).unwrap())
    }

    fn is_set(&self, key: &str) -> bool {
        ["true", "1"].contains(&self.of(key).as_str())
    }
}

pub type Answer = (u16, &'static str, Vec<u8>);

/// The fields of an answer, or Slack's word for why there are none.
type Done = Result<Value, &'static str>;

pub fn answer(shared: &Shared, request: &Request, base: &str, place: &str) -> Answer {
    let path = request.path.as_str();
    if path.contains("/files/slow") {
        std::thread::sleep(Duration::from_secs(1));
    }
    let mut store = shared.0.lock().unwrap();
    if let Some(name) = path.strip_prefix("/files/") {
        return match store.files.get(name).filter(|_| may(&store, "", &request.token).is_ok()) {
            Some(bytes) => (200, "application/octet-stream", bytes.clone()),
            None => (200, "text/html; charset=utf-8", b"<html>Sign in to CP</html>".to_vec()),
        };
    }
    let upload = path.strip_prefix("/upload/");
    let Some(method) = path.strip_prefix("/api/").or(upload.map(|_| "upload")) else {
        return (404, "text/html", b"<html>".to_vec());
    };
    *store.calls.entry(method.to_owned()).or_default() += 1;
    let scripted = store.script.get_mut(method).and_then(VecDeque::pop_front);
    let cut = matches!(scripted, Some((CUT, _)));
    if let Some((status, answer)) = scripted.filter(|(status, _)| ![LET_THROUGH, CUT].contains(status)) {
        let text = answer.as_str().map(str::to_owned).unwrap_or_else(|| answer.to_string());
        return (status, "application/json", text.into_bytes());
    }
    if let Some(id) = upload {
        let (status, kind, answer) = keep(&mut store, id, &request.body);
        return (if cut { CUT } else { status }, kind, answer);
    }
    let done = may(&store, method, &request.token).and_then(|()| {
        store.caller = request.token.clone();
        call(&mut store, method, request, base, place)
    });
    let mut done = match done {
        Ok(fields) => fields,
        Err(word) => json!({ "error": word }),
    };
    done["ok"] = done.get("error").is_none().into();
    store.answered.push((method.to_owned(), json!(request.fields), done.clone()));
    if method == "chat.postMessage" {
        store = while_posts_stall(store, &shared.1);
    }
    drop(store);
    let status = if cut { CUT } else { 200 };
    (status, "application/json; charset=utf-8", done.to_string().into_bytes())
}

/// Takes the bytes of a file.
fn keep(store: &mut Store, id: &str, body: &[u8]) -> Answer {
    match store.uploads.get_mut(id) {
        Some((_, bytes)) => {
            *bytes = body.to_vec();
            (200, "text/plain", format!("OK - {}", bytes.len()).into_bytes())
        }
        None => (404, "text/plain", b"file_not_found".to_vec()),
    }
}

fn while_posts_stall<'s>(mut store: MutexGuard<'s, Store>, ends: &Condvar) -> MutexGuard<'s, Store> {
    while store.posts_stall {
        store = ends.wait(store).unwrap();
    }
    store
}

/// Whether the token is good, and of the kind that the method takes.
fn may(store: &Store, method: &str, token: &str) -> Result<(), &'static str> {
    let is_bots = token == BOT_TOKEN || store.tokens.contains_key(token);
    match method {
        // client:very-secret
        "oauth.v2.access" if token == "Basic Y2xpZW50OnZlcnktc2VjcmV0" => Ok(()),
        "oauth.v2.access" => Err("invalid_client_id"),
        _ if token.is_empty() => Err("not_authed"),
        "apps.connections.open" if token == APP_TOKEN => Ok(()),
        "apps.connections.open" if is_bots => Err("not_allowed_token_type"),
        _ if is_bots && store.expired => Err("token_expired"),
        _ if is_bots => Ok(()),
        _ if token == APP_TOKEN => Err("not_allowed_token_type"),
        _ => Err("invalid_auth"),
    }
}

fn call(store: &mut Store, method: &str, request: &Request, base: &str, place: &str) -> Done {
    match method {
        "auth.test" => Ok(own(store)),
        "auth.teams.list" => {
            let teams = store.organisation.keys().map(|id| json!({ "id": id, "name": id })).collect();
            Ok(page_of("teams", teams, request, 100))
        }
        "oauth.v2.access" => refresh(store, request),
        "apps.connections.open" => {
            store.last_id += 1;
            let ticket = format!("ticket=t-{}", store.last_id);
            store.tickets.insert(ticket.clone());
            Ok(json!({ "url": format!("{place}?{ticket}") }))
        }
        "chat.postMessage" => post(store, request),
        "chat.update" => update(store, request),
        "chat.delete" => {
            let at = of_bot(store, request, "cant_delete_message")?;
            store.posts.remove(at);
            Ok(json!({ "channel": request.of("channel"), "ts": request.of("ts") }))
        }
        "chat.postEphemeral" => {
            let ts = store.next_ts();
            store.whispers.push((request.of("channel"), request.of("user"), request.of("text")));
            Ok(json!({ "message_ts": ts }))
        }
        "reactions.add" => react(store, request),
        "assistant.threads.setStatus" => {
            store.statuses.push(request.of("thread_ts"));
            Ok(json!({}))
        }
        "conversations.open" => {
            let user = request.of("users");
            let is_person = user.starts_with('U') && user != BOT;
            is_person.then(|| json!({ "channel": { "id": format!("D{user}") } })).ok_or("user_not_found")
        }
        // The app of an organisation has to say of which workspace.
        "conversations.list" | "users.list"
            if !store.organisation.is_empty() && !store.organisation.contains_key(&request.of("team_id")) =>
        {
            Err("missing_argument")
        }
        "conversations.list" => {
            let of_team = store.organisation.get(&request.of("team_id"));
            let is_here = |id: &String| of_team.is_none_or(|all| all.contains(id));
            let here = store.names.iter().filter(|(id, _)| id.starts_with('C') && is_here(id));
            // As few in a page as Slack likes.
            Ok(page_of("channels", here.map(|(id, name)| channel(id, name)).collect(), request, 1))
        }
        "conversations.info" => {
            let name = store.names.get(&request.of("channel")).ok_or("channel_not_found")?;
            Ok(json!({ "channel": channel(&request.of("channel"), name) }))
        }
        "users.list" => {
            let people = store.names.iter().filter(|(id, _)| id.starts_with('U'));
            Ok(page_of("members", people.map(|(id, name)| person(id, name)).collect(), request, 1_000))
        }
        "users.info" => {
            let name = store.names.get(&request.of("user")).ok_or("user_not_found")?;
            Ok(json!({ "user": person(&request.of("user"), name) }))
        }
        "conversations.history" => history(store, request),
        "conversations.replies" => replies(store, request),
        "files.getUploadURLExternal" => {
            if request.of("length").parse::<u64>().unwrap_or(0) == 0 || request.of("filename").is_empty() {
                return Err("invalid_arguments");
            }
            store.last_id += 1;
            let id = format!("F{:08}", store.last_id);
            store.uploads.insert(id.clone(), (request.of("filename"), vec![]));
            Ok(json!({ "upload_url": format!("{base}/upload/{id}"), "file_id": id }))
        }
        "files.completeUploadExternal" => share(store, request),
        _ => Err("unknown_method"),
    }
}

fn own(store: &Store) -> Value {
    let mut own = json!({ "url": "https://cp.slack.com/", "user_id": BOT, "bot_id": "B0BOT", "user": "vestibule",
        "team": "CP", "team_id": TEAM, "is_enterprise_install": false });
    if let Some((bot, team)) = store.tokens.get(&store.caller) {
        for (key, value) in [("user_id", bot), ("user", bot), ("team", team), ("team_id", team)] {
            own[key] = value.as_str().into();
        }
    } else if !store.organisation.is_empty() {
        let organisations = json!({ "team": "The Organisation", "team_id": "E0CP", "enterprise_id": "E0CP",
            "is_enterprise_install": true });
        own.as_object_mut().unwrap().extend(organisations.as_object().unwrap().clone());
    }
    own
}

fn refresh(store: &mut Store, request: &Request) -> Done {
    if request.of("grant_type") != "refresh_token" {
        return Err("invalid_grant_type");
    }
    match store.refresh.take() {
        Some((good, seconds)) if good == request.of("refresh_token") => {
            store.last_id += 1;
            let (access, refresh) = (format!("xoxb-{}", store.last_id), format!("xoxe-{}", store.last_id));
            store.tokens = BTreeMap::from([(access.clone(), (BOT.to_owned(), TEAM.to_owned()))]);
            store.refresh = Some((refresh.clone(), seconds));
            Ok(
                json!({ "access_token": access, "refresh_token": refresh, "expires_in": seconds, "token_type": "bot",
                "scope": "chat:write", "bot_user_id": BOT, "app_id": "A0", "team": { "id": TEAM, "name": "CP" },
                "authed_user": { "id": "U0ANN" }, "is_enterprise_install": false }),
            )
        }
        good => {
            store.refresh = good;
            Err("invalid_refresh_token")
        }
    }
}

/// Items of a list from where the cursor says, as many as are wanted, and `most` at most.
fn page_of(key: &str, all: Vec<Value>, request: &Request, most: usize) -> Value {
    let begin: usize = request.of("cursor").parse().unwrap_or(0);
    let count = request.of("limit").parse().unwrap_or(100).min(most);
    let next = if begin + count < all.len() { (begin + count).to_string() } else { String::new() };
    let page: Vec<Value> = all.into_iter().skip(begin).take(count).collect();
    json!({ key: page, "response_metadata": { "next_cursor": next } })
}

fn channel(id: &str, name: &str) -> Value {
    json!({ "id": id, "name": name, "name_normalized": name, "is_channel": true, "is_im": false, "is_private": false,
        "is_archived": false, "is_member": true })
}

fn person(id: &str, name: &str) -> Value {
    json!({ "id": id, "team_id": TEAM, "name": name.to_lowercase().replace(' ', "."), "real_name": name, "deleted": false,
        "is_bot": false, "profile": { "display_name": name, "real_name": name } })
}

impl Post {
    /// The message as Slack shows it to the app.
    pub fn shown(&self, with_metadata: bool) -> Value {
        let mut shown = json!({ "type": "message", "user": BOT, "bot_id": "B0BOT", "app_id": "A0", "team": TEAM,
            "ts": self.ts, "text": self.text });
        let files: Vec<Value> =
            self.file_ids.iter().zip(&self.files).map(|(id, file)| file_of(id, file)).collect();
        for (key, value, is_there) in [
            ("thread_ts", json!(self.thread), self.thread.is_some()),
            ("blocks", self.blocks.clone(), !self.blocks.is_null()),
            ("metadata", self.metadata.clone(), with_metadata && !self.metadata.is_null()),
            ("files", json!(files), !files.is_empty()),
        ] {
            if is_there {
                shown[key] = value;
            }
        }
        shown
    }
}

fn file_of(id: &str, (name, bytes): &(String, Vec<u8>)) -> Value {
    json!({ "id": id, "name": name, "title": name, "size": bytes.len() })
}

/// The blocks, with the names that Slack gives to those that have none.
fn named(mut blocks: Value) -> Value {
    for (number, block) in blocks.as_array_mut().into_iter().flatten().enumerate() {
        let block = block.as_object_mut().unwrap();
        block.entry("block_id").or_insert_with(|| format!("b{number}").into());
        let elements = block.get_mut("elements").and_then(Value::as_array_mut);
        for (number, element) in
            elements.into_iter().flatten().enumerate().filter(|(_, one)| one["type"] == "button")
        {
            element
                .as_object_mut()
                .unwrap()
                .entry("action_id")
                .or_insert_with(|| format!("a{number}").into());
        }
    }
    blocks
}

fn post(store: &mut Store, request: &Request) -> Done {
    let channel = request.of("channel");
    if channel.is_empty() {
        return Err("channel_not_found");
    }
    if channel == "C0CLOSED" {
        return Err("not_in_channel");
    }
    let thread = request.fields.get("thread_ts").cloned();
    if thread.as_ref().is_some_and(String::is_empty) {
        return Err("invalid_thread_ts");
    }
    let text: String = request.of("text").chars().take(40_000).collect();
    let (blocks, metadata) = (named(request.json("blocks")), request.json("metadata"));
    if text.is_empty() && blocks.is_null() {
        return Err("no_text");
    }
    let ts = store.next_ts();
    let post = Post { thread, ts, channel, text, blocks, metadata, ..Post::default() };
    let done = json!({ "channel": post.channel, "ts": post.ts, "message": post.shown(true) });
    store.posts.push(post);
    Ok(done)
}

/// Which of the bot's messages a call names. Those of people are not its own.
fn of_bot(store: &Store, request: &Request, of_others: &'static str) -> Result<usize, &'static str> {
    let (channel, ts) = (request.of("channel"), request.of("ts"));
    let own = store.posts.iter().position(|post| post.channel == channel && post.ts == ts);
    let is_others = store.written.iter().any(|one| one["channel"] == channel && one["ts"] == ts);
    own.ok_or(if is_others { of_others } else { "message_not_found" })
}

fn update(store: &mut Store, request: &Request) -> Done {
    let at = of_bot(store, request, "cant_update_message")?;
    if request.of("text").chars().count() > 4_000 {
        return Err("msg_too_long");
    }
    let post = &mut store.posts[at];
    post.text = request.of("text");
    post.blocks = named(request.json("blocks"));
    let mut message = post.shown(true);
    message.as_object_mut().unwrap().remove("ts");
    Ok(json!({ "channel": post.channel, "ts": post.ts, "text": post.text, "message": message }))
}

fn react(store: &mut Store, request: &Request) -> Done {
    let (channel, reaction) = (request.of("channel"), (request.of("timestamp"), request.of("name")));
    let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_+-:'".contains(c);
    if reaction.1.is_empty() || !reaction.1.chars().all(is_name) {
        return Err("invalid_name");
    }
    if all_of(store, &channel, false).iter().all(|one| one["ts"] != reaction.0) {
        return Err("message_not_found");
    }
    if store.reactions.contains(&reaction) {
        return Err("already_reacted");
    }
    store.reactions.push(reaction);
    Ok(json!({}))
}

/// All messages of a channel, the oldest first.
fn all_of(store: &Store, channel: &str, with_metadata: bool) -> Vec<Value> {
    let posts =
        store.posts.iter().filter(|post| post.channel == channel).map(|post| post.shown(with_metadata));
    let people = store.written.iter().filter(|one| one["channel"] == channel).map(|one| {
        let mut one = one.clone();
        // Events say this, lists do not.
        one.as_object_mut()
            .unwrap()
            .retain(|key, _| !["channel", "channel_type", "event_ts"].contains(&key.as_str()));
        one
    });
    let mut all: Vec<Value> = posts.chain(people).collect();
    all.sort_by(|one, other| one["ts"].as_str().cmp(&other["ts"].as_str()));
    all
}

/// Whether a message is as young as a call wants.
fn is_since(one: &Value, request: &Request) -> bool {
    let (ts, oldest) = (one["ts"].as_str().unwrap_or_default(), request.of("oldest"));
    ts > oldest.as_str() || ts == oldest && request.is_set("inclusive")
}

/// What was said in a channel itself, the newest first.
fn history(store: &Store, request: &Request) -> Done {
    let mut all = all_of(store, &request.of("channel"), request.is_set("include_all_metadata"));
    all.retain(|one| is_since(one, request) && (one["thread_ts"].is_null() || one["thread_ts"] == one["ts"]));
    all.reverse();
    Ok(messages(all, request))
}

/// A thread: its first message, then the others, the oldest first.
fn replies(store: &Store, request: &Request) -> Done {
    let root = request.of("ts");
    let mut all = all_of(store, &request.of("channel"), request.is_set("include_all_metadata"));
    all.retain(|one| one["ts"] == root || one["thread_ts"] == root);
    if all.is_empty() {
        return Err("thread_not_found");
    }
    all.retain(|one| one["ts"] == root || is_since(one, request));
    Ok(messages(all, request))
}

fn messages(all: Vec<Value>, request: &Request) -> Value {
    let mut page = page_of("messages", all, request, 999);
    let has_more = page["response_metadata"]["next_cursor"] != "";
    page["has_more"] = has_more.into();
    if !has_more {
        page.as_object_mut().unwrap().remove("response_metadata");
    }
    page
}

fn share(store: &mut Store, request: &Request) -> Done {
    let wanted = request.json("files");
    let wanted = wanted.as_array().ok_or("invalid_arguments")?;
    let ids: Vec<String> = wanted.iter().map(|file| file["id"].as_str().unwrap().to_owned()).collect();
    let taken: BTreeSet<&String> = store.posts.iter().flat_map(|post| &post.file_ids).collect();
    if ids.iter().any(|id| taken.contains(id) || !store.uploads.contains_key(id)) {
        return Err("file_not_found");
    }
    let files: Vec<(String, Vec<u8>)> = ids.iter().map(|id| store.uploads[id].clone()).collect();
    let titled = |(at, file): (usize, &(String, Vec<u8>))| {
        let mut shown = file_of(&ids[at], file);
        if let Some(title) = wanted[at].get("title") {
            shown["title"] = title.clone();
        }
        shown
    };
    let shown: Vec<Value> = files.iter().enumerate().map(titled).collect();
    let (channel, thread) = (request.of("channel_id"), request.fields.get("thread_ts").cloned());
    let (ts, text) = (store.next_ts(), request.of("initial_comment"));
    // Without a channel it is no one's yet.
    if !channel.is_empty() {
        store.posts.push(Post { channel, thread, ts, text, files, file_ids: ids, ..Post::default() });
    }
    Ok(json!({ "files": shown }))
}
