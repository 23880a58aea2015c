//! HTTP as Telegram's clients speak it: JSON, forms, and forms with files; bodies of a known length, or in chunks.

use super::{CUT, Shared, calls};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::Arc;

struct Request {
    path: String,
    kind: String,
    body: Vec<u8>,
}

pub fn serve(stream: TcpStream, shared: &Arc<Shared>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut stream = stream;
    while let Some(Request { path, kind, body }) = read(&mut reader) {
        let (status, mut answer) = calls::answer(shared, &path, &kind, &body);
        let shown = if status == CUT { 200 } else { status };
        let head = format!(
            "HTTP/1.1 {shown} x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            answer.len()
        );
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

fn read(reader: &mut impl BufRead) -> Option<Request> {
    let mut request = Request { path: String::new(), kind: String::new(), body: Vec::new() };
    let (mut length, mut chunked) = (0, false);
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
            request.path = plain(line.split(' ').nth(1)?);
        }
        let (name, value) = line.split_once(':').unwrap_or_default();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().ok()?,
            "content-type" => request.kind = value.trim().to_owned(),
            "transfer-encoding" => chunked = true,
            _ => {}
        }
    }
    while chunked {
        let mut size = String::new();
        reader.read_line(&mut size).ok()?;
        length = usize::from_str_radix(size.trim(), 16).ok()?;
        // Each chunk ends with a line break, and so does the empty one at the end.
        let mut chunk = vec![0; length + 2];
        reader.read_exact(&mut chunk).ok()?;
        request.body.extend_from_slice(&chunk[..length]);
        chunked = length > 0;
    }
    if request.body.is_empty() {
        request.body = vec![0; length];
        reader.read_exact(&mut request.body).ok()?;
    }
    Some(request)
}

/// The fields of a call, numbers and JSON in forms read; each file as `{"name", "bytes"}` in `files`, by its part.
pub fn fields(kind: &str, body: &[u8]) -> Value {
    if kind.starts_with("multipart/") {
        form(kind, body)
    } else if kind.starts_with("application/x-www-form-urlencoded") {
        let mut fields = json!({});
        for (key, value) in String::from_utf8_lossy(body).split('&').filter_map(|pair| pair.split_once('=')) {
            let (key, value) = (plain(&key.replace('+', " ")), plain(&value.replace('+', " ")));
            fields[key] = value_of(&value);
        }
        fields
    } else {
        serde_json::from_slice(body).unwrap_or_default()
    }
}

fn value_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| json!(text))
}

/// What is left of a text that is written for a URL.
fn plain(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let [first, more @ ..] = rest {
        rest = match (first, more) {
            (b'%', [high, low, after @ ..]) => {
                let digits = [*high, *low];
                bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap());
                after
            }
            _ => {
                bytes.push(*first);
                more
            }
        };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn form(kind: &str, body: &[u8]) -> Value {
    let boundary = kind.split("boundary=").nth(1).unwrap().trim_matches('"');
    let text = String::from_utf8_lossy(body);
    let mut fields = json!({});
    for part in text.split(&format!("--{boundary}")).filter_map(|part| part.split_once("\r\n\r\n")) {
        let (head, value) = (part.0, part.1.strip_suffix("\r\n").unwrap());
        // Names stand in quotes, or, where they need none, without; some clients put no blank before them.
        let word = |word: &str| {
            let mut words = head.split([';', '\r']).map(str::trim_start);
            let said = words.find_map(|part| part.strip_prefix(word)?.strip_prefix('='))?;
            Some(said.trim_matches('"').to_owned())
        };
        let name = word("name").unwrap();
        match word("filename") {
            Some(file) => fields["files"][name] = json!({ "name": file, "bytes": value }),
            None => fields[name] = value_of(value),
        }
    }
    fields
}
