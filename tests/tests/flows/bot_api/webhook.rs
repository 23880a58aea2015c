//! The webhook that is set: each update is posted there until it is answered with success, one after the other.

use super::{Shared, Store};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How long after a failure an update is posted again.
const AGAIN_AFTER: Duration = Duration::from_millis(200);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    pub url: String,
    pub secret: Option<String>,
    /// The last error, as Telegram tells of it, and the Unix time.
    pub error: Option<(String, i64)>,
    /// Which of those that were set it is.
    number: u64,
}

impl Webhook {
    /// The webhook of another program.
    pub fn elsewhere() -> Webhook {
        Webhook::new("https://elsewhere.example/bot".into(), None)
    }

    fn new(url: String, secret: Option<String>) -> Webhook {
        static NUMBERS: AtomicU64 = AtomicU64::new(0);
        Webhook { url, secret, error: None, number: NUMBERS.fetch_add(1, Ordering::Relaxed) }
    }
}

/// What is told of the webhook.
pub fn info(store: &Store) -> Value {
    let url = store.webhook.as_ref().map_or("", |webhook| &webhook.url);
    let mut info = json!({ "url": url, "has_custom_certificate": false,
        "pending_update_count": store.waiting.len() });
    if let Some((words, at)) = store.webhook.as_ref().and_then(|webhook| webhook.error.as_ref()) {
        info["last_error_message"] = words.as_str().into();
        info["last_error_date"] = (*at).into();
    }
    if let Some(kinds) = &store.allowed {
        info["allowed_updates"] = json!(kinds);
    }
    info
}

/// Sets the webhook, and posts what waits to it.
pub fn set(shared: &Arc<Shared>, store: &mut Store, fields: &Value) -> Result<Value, &'static str> {
    let url = fields["url"].as_str().unwrap_or_default();
    // A Bot API server of one's own takes HTTP, too.
    if !url.starts_with("https://") && !url.starts_with("http://127.0.0.1:") {
        return Err("Bad Request: bad webhook: An HTTPS URL must be provided for webhook");
    }
    let secret = fields["secret_token"].as_str();
    let is_sign = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    if secret.is_some_and(|secret| secret.len() > 256 || !secret.chars().all(is_sign)) {
        return Err("Bad Request: secret token contains unallowed characters");
    }
    let webhook = Webhook::new(url.to_owned(), secret.map(str::to_owned));
    store.webhook = Some(webhook.clone());
    shared.1.notify_all();
    let shared = shared.clone();
    if url.starts_with("http://") {
        std::thread::spawn(move || serve(&shared, &webhook));
    }
    Ok(json!(true))
}

fn serve(shared: &Shared, webhook: &Webhook) {
    let is_set = |store: &Store| store.webhook.as_ref().is_some_and(|other| other.number == webhook.number);
    loop {
        let mut store = shared.0.lock().unwrap();
        while is_set(&store) && store.waiting.is_empty() {
            store = shared.1.wait(store).unwrap();
        }
        if !is_set(&store) {
            return;
        }
        let update = store.waiting[0].clone();
        drop(store);
        let answered = post(webhook, &update);
        let mut store = shared.0.lock().unwrap();
        if !is_set(&store) {
            return;
        }
        if matches!(answered, Ok(200..300)) {
            store.waiting.retain(|other| other["update_id"] != update["update_id"]);
            continue;
        }
        let words = match answered {
            Ok(status) => format!("Wrong response from the webhook: {status}"),
            Err(_) => "Connection refused".to_owned(),
        };
        if let Some(webhook) = &mut store.webhook {
            webhook.error = Some((words, unix_time()));
        }
        drop(store);
        std::thread::sleep(AGAIN_AFTER);
    }
}

fn unix_time() -> i64 {
    std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() as i64
}

/// Posts one update; answers the status.
fn post(webhook: &Webhook, update: &Value) -> Result<u16, ()> {
    let rest = webhook.url.strip_prefix("http://").unwrap();
    let (at, path) = rest.split_once('/').unwrap();
    let at = at.parse().unwrap();
    // Nothing may listen there just now.
    drop(std::net::TcpStream::connect(at).map_err(drop)?);
    let mut headers = vec![("content-type", "application/json")];
    if let Some(secret) = &webhook.secret {
        headers.push(("X-Telegram-Bot-Api-Secret-Token", secret));
    }
    let body = update.to_string();
    let posted = std::panic::catch_unwind(|| {
        crate::support::request(at, "POST", &format!("/{path}"), &headers, body.as_bytes()).0
    });
    posted.map_err(drop)
}
