//! A stand-in for GitHub: its REST API as far as the channel asks it, discussions by the queries that the channel sends, and
//! the files of comments. It keeps GitHub's rules: nothing without a token that is good, comments of 65,536 characters at
//! most, one level of replies in a discussion, eight reactions, and a file's own store that wants no token.

use crate::support::{Runtime, request, sign, until};
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};

pub const TOKEN: &str = "ghp_flowtoken";
pub const SECRET: &str = "It's a Secret to Everybody";
pub const REPO: &str = "Codertocat/Hello-World";
pub const CHAT: &str = "github:Codertocat/Hello-World";
const OWN_ID: u64 = 7;
const REACTIONS: [&str; 8] = ["+1", "-1", "laugh", "confused", "heart", "hooray", "rocket", "eyes"];

/// Something that the account wrote.
#[derive(Debug, Clone)]
pub struct Comment {
    pub id: u64,
    /// The collection that it is in: `issues/1/comments`.
    pub place: String,
    pub title: String,
    pub body: String,
    /// Of a review: what it says. Of a discussion's comment: what it answers.
    pub more: String,
}

#[derive(Default)]
pub struct Store {
    last: u64,
    pub comments: Vec<Comment>,
    /// What was reacted to, and the word.
    pub reactions: Vec<(String, String)>,
    /// Comments of people in discussions, with what they answer.
    pub said: BTreeMap<String, Option<String>>,
    /// Answers to the next calls that change something, in place of the real ones; with status 0 the call is done, and the
    /// connection ends.
    pub script: VecDeque<(u16, Value)>,
    /// The tokens that are good, and the installation of each.
    pub tokens: BTreeMap<String, u64>,
    /// What was asked: `METHOD /path`, and the token.
    pub asked: Vec<(String, String)>,
    /// The files of comments.
    pub files: BTreeMap<String, Vec<u8>>,
    pub app: crate::github_app::AppStore,
}

pub struct GithubApi {
    pub url: String,
    shared: Arc<Mutex<Store>>,
}

/// An answer: its status, and a body that is JSON or bytes.
pub enum Answer {
    Json(u16, Value),
    Bytes(Vec<u8>),
    Moved(String),
}

impl GithubApi {
    pub fn start() -> GithubApi {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let store = Store { last: 9_000, tokens: [(TOKEN.to_owned(), 0)].into(), ..Store::default() };
        let shared = Arc::new(Mutex::new(store));
        let (store, base) = (shared.clone(), url.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (store, base) = (store.clone(), base.clone());
                std::thread::spawn(move || serve(stream, &store, &base));
            }
        });
        GithubApi { url, shared }
    }

    pub fn store(&self) -> MutexGuard<'_, Store> {
        self.shared.lock().unwrap()
    }

    /// What stands on GitHub, once there is so much.
    pub fn comments(&self, count: usize) -> Vec<Comment> {
        until(&format!("{count} comments are on GitHub"), || {
            let comments = self.store().comments.clone();
            (comments.len() >= count).then_some(comments)
        })
    }
}

/// GitHub tells the runtime of an event, about this account's repositories.
pub fn tell(runtime: &Runtime, event: &str, payload: &Value) -> (u16, String) {
    let body = payload.to_string().into_bytes();
    let signature = sign(SECRET, &body);
    let headers = [
        ("content-type", "application/json"),
        ("x-github-event", event),
        ("x-github-delivery", "11111111-2222-3333-4444-555555555555"),
        ("x-hub-signature-256", signature.as_str()),
    ];
    request(runtime.listening(), "POST", "/webhook/github/main", &headers, &body)
}

/// GitHub's own examples, one a line, as if they happened now: what comes long after it was written waits for more.
pub fn examples() -> String {
    let text = include_str!("../../fixtures/github/webhooks.jsonl");
    let now = crate::github_app::moment(0);
    text.replace("2019-05-15T15:20:", &now[..now.len() - 3])
}

/// GitHub's own example of an event.
pub fn example(event: &str, action: &str) -> Value {
    let text = examples();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut found = lines.filter(|line| line["event"] == event && line["payload"]["action"] == action);
    found.next().unwrap()["payload"].take()
}

fn serve(stream: TcpStream, store: &Mutex<Store>, base: &str) {
    let mut from = BufReader::new(stream.try_clone().unwrap());
    let mut to = stream;
    loop {
        let mut line = String::new();
        if from.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        let (mut length, mut token) = (0, String::new());
        loop {
            let mut header = String::new();
            from.read_line(&mut header).unwrap();
            let Some((name, value)) = header.trim().split_once(':') else { break };
            match name.to_lowercase().as_str() {
                "content-length" => length = value.trim().parse().unwrap(),
                "authorization" => token = value.trim().rsplit(' ').next().unwrap().to_owned(),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        from.read_exact(&mut body).unwrap();
        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        let mut words = line.split(' ');
        let (method, path) = (words.next().unwrap(), words.next().unwrap());
        // A file of this name comes slowly.
        if path.ends_with("stored-slow.txt") {
            std::thread::sleep(std::time::Duration::from_secs(2));
        }
        let mut store = store.lock().unwrap();
        store.asked.push((format!("{method} {path}"), token.clone()));
        let scripted = if method == "GET" { None } else { store.script.pop_front() };
        let mut answer = match scripted {
            Some((status, value)) if status != 0 => Answer::Json(status, value),
            Some(_) => {
                store.answer(method, path, &token, &body, base);
                return; // it was done, and the connection dies before the answer
            }
            None => store.answer(method, path, &token, &body, base),
        };
        if let Answer::Json(_, value) = &mut answer
            && value.is_null()
        {
            *value = json!("");
        }
        drop(store);
        if write(&mut to, answer).is_err() {
            return;
        }
    }
}

fn write(to: &mut TcpStream, answer: Answer) -> std::io::Result<()> {
    let (status, kind, more, body) = match answer {
        Answer::Json(204, _) => (204, "application/json", String::new(), Vec::new()),
        Answer::Json(status, value) => {
            (status, "application/json", String::new(), value.to_string().into_bytes())
        }
        Answer::Bytes(bytes) => (200, "application/octet-stream", String::new(), bytes),
        Answer::Moved(to) => (302, "text/plain", format!("location: {to}\r\n"), Vec::new()),
    };
    let head = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\n{more}content-length: {}\r\n\r\n",
        body.len()
    );
    to.write_all(&[head.as_bytes(), &body].concat())
}

fn refused(status: u16, words: &str) -> Answer {
    Answer::Json(status, json!({ "message": words, "documentation_url": "https://docs.github.com/rest" }))
}

impl Store {
    fn answer(&mut self, method: &str, path: &str, token: &str, body: &Value, base: &str) -> Answer {
        if let Some(answer) = self.app.answer(method, path, token, &mut self.tokens) {
            return answer;
        }
        if let Some(file) = path.strip_prefix("/user-attachments/assets/") {
            return self.file(file, token, base);
        }
        if !self.tokens.contains_key(token) {
            return refused(401, "Bad credentials");
        }
        let plain = path.split('?').next().unwrap();
        if plain == "/graphql" {
            return self.graphql(body);
        }
        match (method, plain.strip_prefix("/repos/Codertocat/Hello-World")) {
            ("GET", None) if plain == "/user" => {
                Answer::Json(200, json!({ "id": OWN_ID, "login": "vestibule-bot" }))
            }
            ("GET", Some("")) => Answer::Json(200, json!({ "id": 1, "full_name": REPO })),
            ("GET", Some(list)) => self.list(list.trim_start_matches('/'), path),
            ("POST", Some(list)) => self.post(list.trim_start_matches('/'), body),
            ("PATCH", Some(one)) => self.change(one, Some(body)),
            ("DELETE", Some(one)) => self.change(one, None),
            _ => refused(404, "Not Found"),
        }
    }

    /// A file's address asks for the token, and leads to the store, which wants none.
    fn file(&self, name: &str, token: &str, base: &str) -> Answer {
        if let Some(stored) = name.strip_prefix("stored-") {
            return Answer::Bytes(self.files[stored].clone());
        }
        match (self.tokens.contains_key(token), self.files.contains_key(name)) {
            (true, true) => Answer::Moved(format!("{base}/user-attachments/assets/stored-{name}")),
            _ => refused(404, "Not Found"),
        }
    }

    fn list(&self, list: &str, path: &str) -> Answer {
        let review = list.strip_suffix("/comments").filter(|list| list.starts_with("pulls/"));
        let is_in = |comment: &&Comment| match review {
            Some(pull) => comment.place.starts_with(&format!("{pull}/comments/")),
            None => comment.place == list,
        };
        let all = self.comments.iter().filter(is_in).map(|comment| self.shown(comment));
        let of = |key: &str, default: usize| {
            let found = path.split(['?', '&']).find_map(|part| part.strip_prefix(key));
            found.and_then(|number| number.parse().ok()).unwrap_or(default)
        };
        let (page, count) = (of("page=", 1), of("per_page=", 30));
        Answer::Json(200, all.skip((page - 1) * count).take(count).collect())
    }

    fn shown(&self, comment: &Comment) -> Value {
        json!({ "id": comment.id, "node_id": format!("N_{}", comment.id), "number": comment.id, "title": comment.title,
            "body": comment.body, "user": { "id": OWN_ID, "login": "vestibule-bot" } })
    }

    fn post(&mut self, list: &str, body: &Value) -> Answer {
        if let Some(of) = list.strip_suffix("/reactions") {
            let content = body["content"].as_str().unwrap_or_default();
            if !REACTIONS.contains(&content) {
                return refused(422, "Validation Failed");
            }
            self.reactions.push((of.to_owned(), content.to_owned()));
            return Answer::Json(201, json!({ "id": 1, "content": content }));
        }
        let text = body["body"].as_str().unwrap_or_default();
        let is_known =
            list == "issues" || ["/comments", "/replies", "/reviews"].iter().any(|end| list.ends_with(end));
        if !is_known || list == "issues" && body["title"].as_str().is_none_or(str::is_empty) {
            return refused(422, "Validation Failed");
        }
        if text.chars().count() > 65_536 || text.is_empty() {
            return refused(422, "body is too long (maximum is 65536 characters)");
        }
        let more = body["event"].as_str().unwrap_or_default();
        let made = self.keep(list, body["title"].as_str().unwrap_or_default(), text, more);
        Answer::Json(201, self.shown(&made))
    }

    fn keep(&mut self, place: &str, title: &str, body: &str, more: &str) -> Comment {
        self.last += 1;
        let comment = Comment {
            id: self.last,
            place: place.to_owned(),
            title: title.to_owned(),
            body: body.to_owned(),
            more: more.to_owned(),
        };
        self.comments.push(comment.clone());
        comment
    }

    fn change(&mut self, one: &str, body: Option<&Value>) -> Answer {
        let id = one.rsplit('/').next().and_then(|id| id.parse::<u64>().ok());
        let is_review = one.starts_with("/pulls/comments/");
        let is_known = is_review || one.starts_with("/issues/");
        let found = self.comments.iter().position(|comment| {
            Some(comment.id) == id && comment.place.contains("/replies") == is_review && is_known
        });
        match (found, body) {
            (None, _) => refused(404, "Not Found"),
            (Some(at), Some(body)) => {
                self.comments[at].body = body["body"].as_str().unwrap().to_owned();
                Answer::Json(200, self.shown(&self.comments[at]))
            }
            (Some(at), None) => {
                self.comments.remove(at);
                Answer::Json(204, Value::Null)
            }
        }
    }

    /// What the channel's queries mean; GraphQL answers 200 to whatever it refuses.
    fn graphql(&mut self, body: &Value) -> Answer {
        let variables = &body["variables"];
        let of = |key: &str| variables[key].as_str().unwrap_or_default().to_owned();
        let failed = |kind: &str, words: &str| {
            Answer::Json(200, json!({ "data": null, "errors": [{ "type": kind, "message": words }] }))
        };
        let node = of("id");
        let own = self.comments.iter().position(|comment| format!("DC_{}", comment.id) == node);
        let data = match body["operationName"].as_str().unwrap_or_default() {
            "Discussion" => {
                json!({ "repository": { "discussion": { "id": format!("D_{}", variables["number"]) } } })
            }
            "Parent" => match self.said.get(&node) {
                Some(parent) => {
                    json!({ "node": { "replyTo": parent.as_ref().map(|id| json!({ "id": id })) } })
                }
                None => return failed("NOT_FOUND", "Could not resolve to a node"),
            },
            "AddComment" => {
                let parent = of("parent");
                if self.said.get(&parent).is_some_and(Option::is_some) {
                    return failed(
                        "UNPROCESSABLE",
                        "Parent comment is already in a thread, cannot reply to it",
                    );
                }
                let made = self.keep(&of("discussion"), "", &of("body"), &parent);
                json!({ "addDiscussionComment": { "comment": { "id": format!("DC_{}", made.id) } } })
            }
            "UpdateComment" | "DeleteComment" if own.is_none() => {
                return failed("NOT_FOUND", "Could not resolve to a node with the global id");
            }
            "UpdateComment" => {
                self.comments[own.unwrap()].body = of("body");
                json!({ "updateDiscussionComment": { "comment": { "id": node } } })
            }
            "DeleteComment" => {
                self.comments.remove(own.unwrap());
                json!({ "deleteDiscussionComment": { "comment": { "id": node } } })
            }
            "UpdateReview" => json!({ "updatePullRequestReview": { "pullRequestReview": { "id": node } } }),
            "React" => {
                self.reactions.push((node, of("content")));
                json!({ "addReaction": { "reaction": { "content": of("content") } } })
            }
            "Comments" => self.discussion(&format!("D_{}", variables["number"])),
            other => return failed("INVALID", other),
        };
        Answer::Json(200, json!({ "data": data }))
    }

    fn discussion(&self, id: &str) -> Value {
        let shown = |comment: &Comment| json!({ "id": format!("DC_{}", comment.id), "body": comment.body, "viewerDidAuthor": true });
        let of = |parent: &str| -> Vec<Value> {
            let all = self.comments.iter().filter(|comment| comment.place == id && comment.more == parent);
            all.map(shown).collect()
        };
        let mut nodes = of("");
        for comment in &mut nodes {
            comment["replies"] = json!({ "nodes": [] });
        }
        for (said, _) in self.said.iter().filter(|(_, parent)| parent.is_none()) {
            nodes.push(json!({ "id": said, "body": "x", "viewerDidAuthor": false, "replies": { "nodes": of(said) } }));
        }
        json!({ "repository": { "discussion": { "comments": {
            "pageInfo": { "hasPreviousPage": false, "startCursor": null }, "nodes": nodes } } } })
    }
}
