//! The calls to Telegram's Bot API, and what its answers mean for the runtime.

use crate::map::{KINDS, Own, Target};
use reqwest::multipart::{Form, Part};
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::timeout;
use vestibule_plugin_api::toolbox::http::{self, Answer, End};
use vestibule_plugin_api::{About, Attachment, Failure, PluginError, Result, Secret};

/// How long a call may take, with the file that it carries.
const CALL_TIMEOUT: Duration = Duration::from_secs(50);
/// A file of which nothing comes for so long is given up.
const STALLED_AFTER: Duration = Duration::from_secs(20);
/// The longest time that Telegram holds an empty answer back.
pub const POLL: Duration = Duration::from_secs(30);
const POLL_TIMEOUT: Duration = POLL.saturating_add(Duration::from_secs(15));
/// More than any answer has, in bytes. The rest of a longer one is not read.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The largest file a bot may download from Telegram.
pub const FILE_BYTES_MAX: usize = 20 * 1024 * 1024;
/// Telegram's words for a topic of a forum that is not there any more.
const TOPIC_GONE: [&str; 3] = ["message thread not found", "TOPIC_DELETED", "TOPIC_ID_INVALID"];
/// Telegram's words for HTML that it cannot read.
const HTML_NOT_READ: &str = "can't parse entities";
/// Telegram's words for an edit of a message that says that already, of one without a text, and of one that is gone; and for
/// a deletion of one that is gone, or too old.
const SAYS_IT_ALREADY: &str = "message is not modified";
const HAS_NO_TEXT: &str = "no text in the message";
const EDITED_IS_GONE: [&str; 2] = ["message to edit not found", "MESSAGE_ID_INVALID"];
const DELETED_IS_GONE: [&str; 2] = ["message to delete not found", "MESSAGE_ID_INVALID"];
const STAYS: &str = "message can't be deleted";
/// The longest wait that is believed, in seconds: Telegram asks for minutes at most.
const WAIT_SECONDS_MAX: u64 = 3_600;

/// One account's access to the API. Cheap to clone.
#[derive(Clone)]
pub struct Api {
    client: Client,
    /// Both hold the token: neither may reach a log or an error.
    methods: String,
    files: String,
}

/// Why a call was not done.
#[derive(Debug, PartialEq)]
pub struct Failed {
    error: PluginError,
    /// The number that the group has now, if it became a supergroup.
    pub moved_to: Option<i64>,
}

/// The words of a message that can be given others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Words {
    /// Those of a text.
    Text,
    /// Those under a file.
    Caption,
}

/// What came of an edit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edited {
    /// The message says it.
    Done,
    /// It is a file, and has no text.
    IsFile,
    /// It is not there any more.
    Gone,
}

/// The outcome of a call.
pub type Called<T> = std::result::Result<T, Failed>;

impl From<PluginError> for Failed {
    fn from(error: PluginError) -> Failed {
        Failed { error, moved_to: None }
    }
}

impl From<Failed> for PluginError {
    fn from(failed: Failed) -> PluginError {
        failed.error
    }
}

impl Api {
    /// Prepares the calls; nothing is sent yet.
    pub fn new(root: &str, token: &Secret) -> Result<Api> {
        let root = http::base(root, "api_root")?;
        let token = token.expose();
        // It becomes a part of the path.
        if token.is_empty() || !token.chars().all(|c| c.is_ascii_alphanumeric() || ":_-".contains(c)) {
            return Err(PluginError::broken("`token` contains characters that no token has: copy it again"));
        }
        let client = http::client()?;
        Ok(Api { client, methods: format!("{root}/bot{token}"), files: format!("{root}/file/bot{token}") })
    }

    /// Asks which bot the token belongs to.
    pub async fn own_user(&self) -> Result<Own> {
        let own = self.call("getMe", &json!({})).await.map_err(|failed| match failed.error {
            PluginError::Refused { .. } => not_telegram(Failure::for_now(About::Account)),
            error => error,
        })?;
        serde_json::from_value(own).map_err(|_| not_telegram(Failure::for_now(About::Account)))
    }

    /// Removes a webhook, if one is set; the updates that wait for it stay.
    pub async fn delete_webhook(&self) -> Result<()> {
        self.call("deleteWebhook", &json!({ "drop_pending_updates": false })).await?;
        Ok(())
    }

    /// Fetches updates, and waits so long for some, at most [`POLL`]. Those before `offset` are gone for ever after this
    /// call.
    pub async fn updates(&self, offset: Option<i64>, patience: Duration) -> Result<Vec<Value>> {
        let mut body = json!({ "timeout": patience.as_secs(), "allowed_updates": KINDS });
        if let Some(offset) = offset {
            body["offset"] = offset.into();
        }
        let request = self.client.post(format!("{}/getUpdates", self.methods)).json(&body);
        match self.send(request.timeout(POLL_TIMEOUT)).await? {
            Value::Array(updates) => Ok(updates),
            _ => Err(not_telegram(Failure::for_now(About::Account))),
        }
    }

    /// Sends a text in HTML, perhaps with buttons under it; returns the message's number. Should Telegram not read the
    /// HTML, its words are sent without.
    pub async fn send_text(
        &self,
        to: &Target,
        text: &str,
        buttons: Option<&Value>,
        quote: Option<i64>,
    ) -> Called<Option<i64>> {
        let mut body = json!({ "chat_id": to.chat, "text": text, "parse_mode": "HTML" });
        if let Some(topic) = to.topic {
            body["message_thread_id"] = topic.into();
        }
        if let Some(quote) = quote {
            body["reply_parameters"] = quoting(quote);
        }
        if let Some(buttons) = buttons {
            body["reply_markup"] = buttons.clone();
        }
        let mut sent = self.call("sendMessage", &body).await;
        if let (Some(fields), true) = (body.as_object_mut(), is_not_read(&sent)) {
            fields.remove("parse_mode");
            fields.insert("text".to_owned(), words_of(text).into());
            sent = self.call("sendMessage", &body).await;
        }
        if let (Some(fields), true) = (body.as_object_mut(), is_topic_gone(to, &sent)) {
            fields.remove("message_thread_id");
            sent = self.call("sendMessage", &body).await;
        }
        Ok(sent?["message_id"].as_i64())
    }

    /// Sends a file; returns the message's number.
    pub async fn send_file(&self, to: &Target, file: &Attachment, quote: Option<i64>) -> Called<Option<i64>> {
        let mut sent = self.send_document(to, file, quote).await;
        if is_topic_gone(to, &sent) {
            sent = self.send_document(&Target { topic: None, ..*to }, file, quote).await;
        }
        Ok(sent?["message_id"].as_i64())
    }

    async fn send_document(&self, to: &Target, file: &Attachment, quote: Option<i64>) -> Called<Value> {
        let mut fields = vec![("chat_id", to.chat.to_string())];
        fields.extend(to.topic.map(|topic| ("message_thread_id", topic.to_string())));
        fields.extend(quote.map(|quote| ("reply_parameters", quoting(quote).to_string())));
        let bytes = file.bytes.as_deref().unwrap_or_default();
        let request = self.client.post(format!("{}/sendDocument", self.methods));
        self.send(request.multipart(form(fields, &file.name, bytes)).timeout(CALL_TIMEOUT)).await
    }

    /// Tells the person who tapped a button what came of it: their button stops waiting.
    pub async fn answer_tap(&self, query: &str, note: &str) -> Result<()> {
        let body = json!({ "callback_query_id": query, "text": note });
        self.call("answerCallbackQuery", &body).await?;
        Ok(())
    }

    /// Takes the buttons of a message away, and gives it another text if there is one.
    pub async fn without_buttons(&self, chat: i64, message: i64, text: Option<&str>) -> Result<()> {
        let mut body = json!({ "chat_id": chat, "message_id": message });
        let method = match text {
            Some(text) => {
                body["text"] = text.into();
                "editMessageText"
            }
            None => "editMessageReplyMarkup",
        };
        self.call(method, &body).await?;
        Ok(())
    }

    /// Gives a message of the bot's other words, in HTML; should Telegram not read that, they are sent without.
    pub async fn edit(&self, words: Words, chat: i64, message: i64, text: &str) -> Result<Edited> {
        let (method, key) = match words {
            Words::Text => ("editMessageText", "text"),
            Words::Caption => ("editMessageCaption", "caption"),
        };
        let mut body = json!({ "chat_id": chat, "message_id": message, "parse_mode": "HTML" });
        body[key] = text.into();
        let mut edited = self.call(method, &body).await;
        if let (Some(fields), true) = (body.as_object_mut(), is_not_read(&edited)) {
            fields.remove("parse_mode");
            fields.insert(key.to_owned(), words_of(text).into());
            edited = self.call(method, &body).await;
        }
        match edited {
            Err(failed) if failed.says(&[SAYS_IT_ALREADY]) => Ok(Edited::Done),
            Err(failed) if failed.says(&[HAS_NO_TEXT]) => Ok(Edited::IsFile),
            Err(failed) if failed.says(&EDITED_IS_GONE) => Ok(Edited::Gone),
            Err(failed) => Err(failed.into()),
            Ok(_) => Ok(Edited::Done),
        }
    }

    /// Takes a message of the bot's back; one that is gone is taken back.
    pub async fn delete(&self, chat: i64, message: i64) -> Result<()> {
        match self.call("deleteMessage", &json!({ "chat_id": chat, "message_id": message })).await {
            Err(failed) if failed.says(&DELETED_IS_GONE) => Ok(()),
            Err(failed) if failed.says(&[STAYS]) => Err(PluginError::refused(
                "Telegram lets a bot take back only what it sent in the last 48 hours: edit the message instead",
            )),
            Err(failed) => Err(failed.into()),
            Ok(_) => Ok(()),
        }
    }

    /// Reacts to a message, in place of any earlier reaction.
    pub async fn react(&self, chat: i64, message: i64, emoji: &str) -> Result<()> {
        let reaction = json!([{ "type": "emoji", "emoji": emoji }]);
        let body = json!({ "chat_id": chat, "message_id": message, "reaction": reaction });
        self.call("setMessageReaction", &body).await?;
        Ok(())
    }

    /// Shows for 5 s, or until a message comes, that the bot is writing.
    pub async fn typing(&self, to: &Target) -> Result<()> {
        let mut body = json!({ "chat_id": to.chat, "action": "typing" });
        if let Some(topic) = to.topic {
            body["message_thread_id"] = topic.into();
        }
        self.call("sendChatAction", &body).await?;
        Ok(())
    }

    /// Fetches a file that came with a message. It may take any time, as long as more of it comes.
    pub async fn file(&self, file_id: &str) -> Result<Vec<u8>> {
        let body = json!({ "file_id": file_id });
        let file = timeout(STALLED_AFTER, self.call("getFile", &body)).await.map_err(|_| stalled())??;
        let path = file["file_path"].as_str().unwrap_or_default();
        // A server of one's own may name a path on its disk instead.
        if path.is_empty() || path.starts_with('/') || path.contains("..") {
            return Err(PluginError::refused("Telegram names no place to fetch it from"));
        }
        let request = self.client.get(format!("{}/{path}", self.files));
        let response =
            timeout(STALLED_AFTER, http::send(request, "Telegram")).await.map_err(|_| stalled())??;
        let Answer { status, body: bytes, end, .. } =
            Answer::read(response, FILE_BYTES_MAX, STALLED_AFTER).await;
        match status {
            _ if end == End::Stalled => Err(stalled()),
            200 if end == End::Whole => Ok(bytes),
            200 if bytes.len() > FILE_BYTES_MAX => Err(PluginError::refused("it is larger than 20 MiB")),
            200 => Err(Failure::network(true).error("the download broke off")),
            // Files come from another server than answers do; its error pages decide nothing.
            code => {
                Err(Failure::of_http(code, false).error(format!("Telegram does not hand it out ({code})")))
            }
        }
    }

    async fn call(&self, method: &str, body: &Value) -> Called<Value> {
        let request = self.client.post(format!("{}/{method}", self.methods)).json(body);
        self.send(request.timeout(CALL_TIMEOUT)).await
    }

    async fn send(&self, request: RequestBuilder) -> Called<Value> {
        let response = http::send(request, "Telegram").await?;
        let answer = Answer::read(response, ANSWER_BYTES_MAX, CALL_TIMEOUT).await;
        outcome(answer.status, &answer.body, answer.end == End::Whole)
    }
}

/// The result in an answer, or why the call was not done.
fn outcome(status: u16, body: &[u8], whole: bool) -> Called<Value> {
    let mut answer: Value = serde_json::from_slice(body).unwrap_or_default();
    let error = match answer["ok"].as_bool() {
        Some(true) => return Ok(answer["result"].take()),
        Some(false) => {
            let moved_to = answer["parameters"]["migrate_to_chat_id"].as_i64();
            return Err(Failed { error: meaning(status, &answer), moved_to });
        }
        // The part that is missing may have said that the call was done.
        None if !whole => Failure::network(true).error("Telegram's answer broke off"),
        None if status >= 500 => Failure::of_http(status, false)
            .error(format!("Telegram, or what stands before it, has a problem ({status})")),
        None => not_telegram(Failure::of_http(status, false)),
    };
    Err(error.into())
}

fn stalled() -> PluginError {
    PluginError::refused(format!("nothing of it came for {} s", STALLED_AFTER.as_secs()))
}

fn not_telegram(failure: Failure) -> PluginError {
    failure.error("what answers there is not Telegram's Bot API: if that lasts, check `api_root`")
}

impl Failed {
    /// Whether Telegram refused the call in some of these words.
    fn says(&self, words: &[&str]) -> bool {
        let has = |reason: &str| words.iter().any(|words| reason.contains(words));
        matches!(&self.error, PluginError::Refused { reason } if has(reason))
    }
}

/// Whether a message was not sent because its topic is gone: then it is sent once more, to the chat itself.
fn is_topic_gone(to: &Target, sent: &Called<Value>) -> bool {
    to.topic.is_some() && sent.as_ref().is_err_and(|failed| failed.says(&TOPIC_GONE))
}

/// Whether a message was not sent because Telegram cannot read its HTML.
fn is_not_read(sent: &Called<Value>) -> bool {
    sent.as_ref().is_err_and(|failed| failed.says(&[HTML_NOT_READ]))
}

/// The words of a text in HTML.
fn words_of(html: &str) -> String {
    let mut parts = html.split('<');
    let first = parts.next().unwrap_or_default().to_owned();
    let words =
        parts.fold(first, |words, part| words + part.split_once('>').map_or(part, |(_, after)| after));
    let entities = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&amp;", "&")];
    entities.into_iter().fold(words, |words, (entity, sign)| words.replace(entity, sign))
}

fn quoting(message: i64) -> Value {
    json!({ "message_id": message, "allow_sending_without_reply": true })
}

/// The error for a call that was not done.
fn meaning(status: u16, answer: &Value) -> PluginError {
    let code = answer["error_code"].as_u64().and_then(|code| u16::try_from(code).ok()).unwrap_or(status);
    let words = answer["description"].as_str().unwrap_or_default();
    let words = http::words(words);
    let words = if words.is_empty() { code.to_string() } else { format!("{code}: {words}") };
    let more = &answer["parameters"];
    let failure = Failure::of_http(code, true);
    match code {
        // With a token that it does not know, Telegram knows no method either.
        401 | 404 => Failure::for_good(About::Account).error(format!(
            "Telegram refused the token ({words}): put the one that BotFather shows into the config as `token`, and run \
             `vestibule plugin reload telegram`"
        )),
        409 => Failure::for_now(About::Account).error(format!(
            "another program takes this bot's updates ({words}): stop it, or make a bot of its own for it"
        )),
        429 => {
            let wait = more["retry_after"].as_u64().unwrap_or(1).clamp(1, WAIT_SECONDS_MAX);
            failure.after(Duration::from_secs(wait)).error(format!("Telegram asks to wait {wait} s ({words})"))
        }
        500.. => failure.error(format!("Telegram has a problem ({words})")),
        ..=399 => not_telegram(failure),
        _ => match more["migrate_to_chat_id"].as_i64() {
            Some(chat) => PluginError::refused(format!(
                "the group has become a supergroup ({words}): it is telegram:{chat} now"
            )),
            None => failure.error(format!("Telegram refused it ({words})")),
        },
    }
}

/// A form with a file in it. Telegram reads a name as it stands, and `reqwest` leaves line breaks in it.
fn form(fields: Vec<(&'static str, String)>, name: &str, file: &[u8]) -> Form {
    let plain = |c: char| if c.is_control() || c == '"' || c == '\\' { '_' } else { c };
    let name = if name.is_empty() { "file".to_owned() } else { name.chars().map(plain).collect() };
    let document = Part::bytes(file.to_vec()).file_name(name);
    let form = fields.into_iter().fold(Form::new(), |form, (field, value)| form.text(field, value));
    form.percent_encode_noop().part("document", document)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;

    #[test]
    fn what_each_answer_means() {
        let told = |code: u16, words: &str| {
            json!({ "ok": false, "error_code": code, "description": words }).to_string()
        };
        let with = |code: u16, parameters: Value| {
            json!({ "ok": false, "error_code": code, "description": "x", "parameters": parameters })
                .to_string()
        };
        let html = || "<html>back soon</html>".to_owned();
        let cut = || r#"{"ok":true,"result":{"messa"#.to_owned();
        let table = [
            (401, told(401, "Unauthorized"), "broken", None, "`token`"),
            (404, told(404, "Not Found"), "broken", None, "`token`"),
            (
                403,
                told(403, "Forbidden: bot was blocked by the user"),
                "refused",
                None,
                "blocked by the user",
            ),
            (400, told(400, "Bad Request: chat not found\u{7}"), "refused", None, "chat not found)"),
            (400, with(400, json!({ "migrate_to_chat_id": -1002 })), "refused", None, "telegram:-1002"),
            (413, html(), "refused", None, "api_root"),
            (409, told(409, "Conflict"), "account", None, "another program"),
            (429, with(429, json!({ "retry_after": 7 })), "retry", Some(7_000), "wait 7 s"),
            (429, with(429, json!({ "retry_after": 999_999 })), "retry", Some(3_600_000), "wait"),
            (429, told(429, "x"), "retry", Some(1_000), "wait 1 s"),
            (500, told(500, "Internal Server Error"), "account, in doubt", None, "500"),
            // An answer that is not Telegram's own is no verdict, and may come from a proxy that passed the call on.
            (502, html(), "account, in doubt", None, "502"),
            (200, html(), "account, in doubt", None, "`api_root`"),
            (200, cut(), "account, in doubt", None, "broke off"),
            (200, String::new(), "account, in doubt", None, "broke off"),
            (404, html(), "account", None, "`api_root`"),
            (401, html(), "account", None, "`api_root`"),
            (302, html(), "account", None, "`api_root`"),
        ];
        for (status, answer, expected, after, named) in table {
            let whole = answer.ends_with(['}', '>']);
            let failed = outcome(status, answer.as_bytes(), whole).expect_err("it was not done");
            assert_eq!(failed.moved_to, answer.contains("migrate_to").then_some(-1002), "{answer}");
            let error = failed.error;
            let (kind, waits) = match &error {
                PluginError::Retry { after_ms, in_doubt, account, .. } => {
                    let kind = match (account, in_doubt) {
                        (true, true) => "account, in doubt",
                        (true, false) => "account",
                        (false, true) => "in doubt",
                        (false, false) => "retry",
                    };
                    (kind, *after_ms)
                }
                PluginError::Refused { .. } => ("refused", None),
                PluginError::Broken { .. } => ("broken", None),
                _ => ("another", None),
            };
            assert_eq!((kind, waits), (expected, after), "{status} {answer}: {error:?}");
            assert!(error.reason().contains(named), "{status} {answer}: {error:?}");
        }
        let done = outcome(200, br#"{"ok":true,"result":7}"#, true);
        assert_eq!(done, Ok(json!(7)));
    }

    #[test]
    fn words_are_left_of_html() {
        for (html, want) in [
            ("plain", "plain"),
            ("<b>a</b> &lt;b&gt; &amp;lt; <a href=\"x&quot;\">c</a>", "a <b> &lt; c"),
            ("", ""),
        ] {
            assert_eq!(words_of(html), want);
        }
    }

    #[test]
    fn what_cannot_be_a_root_or_a_token_is_refused() {
        let secret = |text: &str| serde_json::from_value::<Secret>(json!(text)).expect("text");
        for (root, token) in [
            ("ftp://x", "1:a"),
            ("telegram.example", "1:a"),
            ("https://x", ""),
            ("https://x", "1:a/../x"),
            ("https://x", "1:a\n"),
        ] {
            assert!(Api::new(root, &secret(token)).is_err(), "{root} {token}");
        }
        assert!(Api::new("http://127.0.0.1:1/", &secret("1:aB-_")).is_ok());
    }

    /// The author of a file must not add fields by its name, such as another chat's number.
    #[tokio::test]
    async fn a_name_cannot_add_fields_to_its_form() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            let (mut heard, mut part) = (Vec::new(), [0; 4096]);
            while !heard.ends_with(b"--\r\n") {
                let count = stream.read(&mut part).expect("it is sent");
                heard.extend_from_slice(&part[..count]);
            }
            let _ = stream.write_all(b"HTTP/1.1 200 x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
            String::from_utf8(heard).expect("text")
        });
        let name = "a\"\r\n\r\n7\r\n--x\r\ncontent-disposition: form-data; name=\"chat_id\"\r\nä.txt";
        let form = form(vec![("chat_id", "1".into())], name, b"bytes");
        let token = serde_json::from_value::<Secret>(json!("1:a")).expect("text");
        let api = Api::new(&url, &token).expect("usable");
        api.client.post(&url).multipart(form).send().await.expect("an answer");
        let heard = server.join().expect("it ends");
        let heads =
            heard.lines().filter(|line| line.to_lowercase().starts_with("content-disposition")).count();
        assert_eq!(heads, 2, "{heard}");
        assert!(heard.contains("ä.txt\"\r\n") && heard.contains("\r\n\r\nbytes\r\n"), "{heard}");
    }
}
