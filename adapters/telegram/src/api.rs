//! The calls to Telegram's Bot API.

use crate::answer::{Called, not_telegram, outcome};
use crate::map::{KINDS, Own, Target, update_id};
use crate::post::{self, Call, Form, HTML_NOT_READ, Post, words_of};
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::timeout;
use vestibule_plugin_api::toolbox::http::{self, Answer, End};
use vestibule_plugin_api::{About, Failure, PluginError, Result, Secret};

/// How long a call may take, and one that carries files.
const CALL_TIMEOUT: Duration = Duration::from_secs(50);
const FILES_TIMEOUT: Duration = Duration::from_secs(120);
/// A file of which nothing comes for so long is given up.
const STALLED_AFTER: Duration = Duration::from_secs(20);
/// The longest time that Telegram holds an empty answer back.
pub const POLL: Duration = Duration::from_secs(30);
const POLL_TIMEOUT: Duration = POLL.saturating_add(Duration::from_secs(15));
/// More than any answer has, in bytes. The rest of a longer one is not read.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The largest file a bot may download from Telegram.
pub const FILE_BYTES_MAX: usize = 20 * 1024 * 1024;
/// Telegram's words for an edit of a message that says that already, of one without a text, and of one that is gone; and for
/// a deletion of one that is gone, or too old.
const SAYS_IT_ALREADY: &str = "message is not modified";
const HAS_NO_TEXT: &str = "no text in the message";
const EDITED_IS_GONE: [&str; 2] = ["message to edit not found", "MESSAGE_ID_INVALID"];
const DELETED_IS_GONE: [&str; 2] = ["message to delete not found", "MESSAGE_ID_INVALID"];
const STAYS: &str = "message can't be deleted";

/// One account's access to the API. Cheap to clone.
#[derive(Clone)]
pub struct Api {
    client: Client,
    /// Both hold the token: neither may reach a log or an error.
    methods: String,
    files: String,
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

    /// Has updates posted to this address, each with the secret in a header.
    pub async fn set_webhook(&self, url: &str, secret: &Secret) -> Result<()> {
        let body = json!({ "url": url, "secret_token": secret.expose(), "allowed_updates": KINDS });
        match self.call("setWebhook", &body).await.map_err(|failed| failed.error) {
            Ok(_) => Ok(()),
            Err(PluginError::Refused { reason }) => Err(PluginError::broken(format!(
                "{reason}: `webhook_url` must be an HTTPS address that Telegram reaches, at one of the ports 443, 80, 88 and 8443"
            ))),
            Err(error) => Err(error),
        }
    }

    /// Asks how the webhook does.
    pub async fn webhook_info(&self) -> Result<Value> {
        Ok(self.call("getWebhookInfo", &json!({})).await?)
    }

    /// Puts these commands into the bot's menu, and the menu's button beside the text; without any the menu is gone.
    pub async fn set_commands(&self, commands: &Value) -> Result<()> {
        self.call("setMyCommands", &json!({ "commands": commands })).await?;
        let is_empty = commands.as_array().is_none_or(Vec::is_empty);
        let button = if is_empty { "default" } else { "commands" };
        self.call("setChatMenuButton", &json!({ "menu_button": { "type": button } })).await?;
        Ok(())
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
            // One without a number is passed over with those beside it; alone it would come again at once, for ever.
            Value::Array(updates)
                if updates.is_empty() || updates.iter().any(|one| update_id(one).is_some()) =>
            {
                Ok(updates)
            }
            _ => Err(not_telegram(Failure::for_now(About::Account))),
        }
    }

    /// Posts into a chat; returns the numbers of the messages that it became.
    pub async fn post(&self, to: &Target, post: &Post<'_>) -> Called<Vec<i64>> {
        let mut form = Form::first(to);
        loop {
            let failed = match self.make(&post::call(to.chat, post, form)).await {
                Ok(result) => return Ok(post::numbers(&result)),
                Err(failed) => failed,
            };
            form = match form.after(post, &failed) {
                Some(plainer) => plainer,
                None => return Err(failed),
            };
        }
    }

    async fn make(&self, call: &Call<'_>) -> Called<Value> {
        let request = self.client.post(format!("{}/{}", self.methods, call.method));
        let request = match call.files.is_empty() {
            true => request.json(&call.fields).timeout(CALL_TIMEOUT),
            false => request.multipart(post::form(call)).timeout(FILES_TIMEOUT),
        };
        self.send(request).await
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
        let is_not_read = edited.as_ref().is_err_and(|failed| failed.says(&[HTML_NOT_READ]));
        if let (Some(fields), true) = (body.as_object_mut(), is_not_read) {
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
    pub async fn typing(&self, chat: i64, topic: Option<i64>) -> Result<()> {
        let mut body = json!({ "chat_id": chat, "action": "typing" });
        if let Some(topic) = topic {
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

fn stalled() -> PluginError {
    PluginError::refused(format!("nothing of it came for {} s", STALLED_AFTER.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
