//! HTTP as Slack's clients speak it, forms, JSON and queries; and the WebSockets of Socket Mode.

use super::calls::{self, Request};
use super::{CUT, GONE, Out, Shared};
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};
use tungstenite::handshake::server::{ErrorResponse, Request as Opening, Response};
use tungstenite::{Message, WebSocket};

/// How often a connection is pinged, and how many pings may stay without an answer.
const PING_EVERY: Duration = Duration::from_secs(1);
const UNANSWERED_MAX: u32 = 10;

#[expect(clippy::result_large_err, reason = "the library's callback answers so")]
pub fn serve_socket(stream: TcpStream, shared: &Shared) {
    let has_ticket = |opening: &Opening, response: Response| -> Result<Response, ErrorResponse> {
        let ticket = opening.uri().query().unwrap_or_default();
        match shared.0.lock().unwrap().tickets.remove(ticket) {
            true => Ok(response),
            false => Err(ErrorResponse::new(None)),
        }
    };
    let Ok(mut socket) = tungstenite::accept_hdr(stream, has_ticket) else { return };
    socket.get_ref().set_read_timeout(Some(Duration::from_millis(10))).unwrap();
    let (number, open) = {
        let mut store = shared.0.lock().unwrap();
        store.opened += 1;
        let number = store.opened;
        store.sockets.insert(number, VecDeque::new());
        store.most_open = store.most_open.max(store.sockets.len());
        (number, store.sockets.len())
    };
    let hello = json!({ "type": "hello", "num_connections": open, "connection_info": { "app_id": "A0" },
        "debug_info": { "host": "applink-1", "build_number": 1, "approximate_connection_time": 18_060 } });
    if socket.send(Message::Text(hello.to_string().into())).is_ok() {
        converse(&mut socket, number, shared);
    }
    shared.0.lock().unwrap().sockets.remove(&number);
}

fn converse(socket: &mut WebSocket<TcpStream>, number: u64, shared: &Shared) {
    let (mut pinged, mut unanswered) = (Instant::now(), 0);
    loop {
        if shared.0.lock().unwrap().deaf >= number {
            std::thread::sleep(Duration::from_millis(10));
            continue;
        }
        if pinged.elapsed() >= PING_EVERY {
            // Slack leaves who answers none.
            if unanswered == UNANSWERED_MAX || socket.send(Message::Ping("ping".into())).is_err() {
                return;
            }
            (pinged, unanswered) = (Instant::now(), unanswered + 1);
        }
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
            Ok(Message::Pong(_)) => unanswered = 0,
            Ok(Message::Close(_)) => return,
            Ok(_) => {}
            Err(tungstenite::Error::Io(error))
                if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
            Err(_) => return,
        }
    }
}

pub fn serve(stream: TcpStream, shared: &Shared, base: &str, place: &str) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut stream = stream;
    while let Some(request) = read(&mut reader) {
        let (status, kind, mut answer) = calls::answer(shared, &request, base, place);
        if status == GONE {
            return;
        }
        let shown = if status == CUT { 200 } else { status };
        let wait = shared.0.lock().unwrap().wait.max(1);
        let more = if status == 429 { format!("retry-after: {wait}\r\n") } else { String::new() };
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

fn read(reader: &mut impl BufRead) -> Option<Request> {
    let mut request = Request::default();
    let (mut length, mut kind, mut query) = (0, String::new(), String::new());
    loop {
        let mut line = String::new();
        if !matches!(reader.read_line(&mut line), Ok(1..)) {
            return None;
        }
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        if request.path.is_empty() {
            let target = line.split(' ').nth(1).unwrap();
            let (path, rest) = target.split_once('?').unwrap_or((target, ""));
            (request.path, query) = (path.to_owned(), rest.to_owned());
        }
        let (name, value) = line.split_once(':').unwrap_or_default();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().unwrap(),
            "content-type" => kind = value.trim().to_owned(),
            "authorization" => request.token = value.trim().trim_start_matches("Bearer ").to_owned(),
            _ => {}
        }
    }
    request.body = vec![0; length];
    reader.read_exact(&mut request.body).ok()?;
    request.fields = form(query.as_bytes());
    match kind.starts_with("application/json") {
        true => request.fields.extend(json_fields(&request.body)),
        // The bytes of a file have this type, too, where a library names none.
        false if request.path.starts_with("/api/") => request.fields.extend(form(&request.body)),
        false => {}
    }
    Some(request)
}

/// The fields of a JSON body, as a form would have them.
fn json_fields(body: &[u8]) -> BTreeMap<String, String> {
    let body: BTreeMap<String, Value> = serde_json::from_slice(body).unwrap_or_default();
    let text = |value: Value| value.as_str().map(str::to_owned).unwrap_or_else(|| value.to_string());
    body.into_iter().map(|(key, value)| (key, text(value))).collect()
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
