//! The calls to Slack's Web API, and what its answers mean for the runtime.

use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Client, RequestBuilder, Url};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::time::timeout;
use vestibule_plugin_api::toolbox::http::{self, Answer, End};
use vestibule_plugin_api::toolbox::json;
use vestibule_plugin_api::{About, Attachment, Failure, PluginError, Result, Secret};

/// How long a call may take, and a file on its way to Slack.
const CALL_TIMEOUT: Duration = Duration::from_secs(20);
const UPLOAD_TIMEOUT: Duration = Duration::from_secs(45);
/// A file of which nothing comes for so long is given up.
const STALLED_AFTER: Duration = Duration::from_secs(20);
/// More than any answer has, in bytes. The rest of a longer one is not read.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The largest file that is fetched.
pub const FILE_BYTES_MAX: usize = 20 * 1024 * 1024;
/// The wait when Slack asks for one and names none.
const WAIT: Duration = Duration::from_secs(30);
/// Messages in one page of a list, and how many pages are looked through.
const PAGE: usize = 200;
const PAGES_MAX: usize = 15;
/// People or channels in one page, and the most workspaces of an organisation that are looked through.
const PAGE_MAX: usize = 1_000;
const TEAMS_MAX: usize = 100;

/// Slack's words for a token that is not good, or not any more.
const TOKEN_REFUSED: [&str; 8] = [
    "invalid_auth",
    "not_authed",
    "account_inactive",
    "token_revoked",
    "token_expired",
    "no_permission",
    "org_login_required",
    "not_allowed_token_type",
];
/// Slack's words for what may work later: not done, and done perhaps.
const LATER: [&str; 4] = ["team_added_to_org", "accesslimited", "message_limit_exceeded", "rollup_error"];
const IN_DOUBT: [&str; 4] = ["internal_error", "fatal_error", "request_timeout", "service_unavailable"];

/// One account's access to the API. Cheap to clone.
#[derive(Clone)]
pub struct Api {
    client: Client,
    base: Arc<str>,
    /// The bot's token; another one may take its place.
    bot: Arc<Mutex<HeaderValue>>,
    app: Option<HeaderValue>,
    /// The calls that Slack does not want yet, and until when: by method, and for posts by chat.
    paused: Arc<Mutex<HashMap<String, Instant>>>,
}

/// A bot's token and what gets the next one.
pub struct Pair {
    pub access: String,
    pub refresh: String,
    /// How long the token is good, in seconds.
    pub seconds: u64,
}

/// The method that is called with the app's token.
const OPEN: &str = "apps.connections.open";

/// How much of a list was looked through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listed {
    /// All of it, or as much as was wanted.
    Enough,
    /// Slack has more pages than are looked through.
    InPart,
}

/// The bot that the token belongs to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Own {
    /// The id as people mention it.
    pub user_id: String,
    /// The id in its own messages.
    pub bot_id: Option<String>,
    /// What people call it.
    #[serde(default)]
    pub user: String,
    /// The workspace's name.
    #[serde(default)]
    pub team: String,
    /// The workspace's id.
    #[serde(default)]
    pub team_id: String,
    /// The organisation's id, if the workspace belongs to one.
    pub enterprise_id: Option<String>,
    /// Whether the app is installed for the whole organisation.
    #[serde(default)]
    pub is_enterprise_install: bool,
}

impl Own {
    /// What the app is installed in: the organisation, or the workspace.
    pub fn place(&self) -> &str {
        let organisation = self.enterprise_id.as_deref().filter(|_| self.is_enterprise_install);
        organisation.unwrap_or(&self.team_id)
    }
}

impl Api {
    /// Prepares the calls; nothing is sent yet.
    pub fn new(url: &str, bot: &Secret, app: Option<&Secret>) -> Result<Api> {
        let base = http::base(url, "api_url")?;
        let bot = Arc::new(Mutex::new(bearer("bot_token", bot.expose())?));
        let app = app.map(|app| bearer("app_token", app.expose())).transpose()?;
        Ok(Api { client: http::client()?, base: base.into(), bot, app, paused: Arc::default() })
    }

    /// Asks which bot the token belongs to.
    pub async fn own(&self) -> Result<Own> {
        let own = self.call("auth.test", "", &[]).await.map_err(about_account)?;
        Own::deserialize(own).map_err(|_| not_slack(Failure::for_now(About::Account)))
    }

    /// Calls as the bot with this token from now on.
    pub fn use_token(&self, token: &str) -> Result<()> {
        *self.bot.lock().unwrap_or_else(PoisonError::into_inner) = bearer("bot_token", token)?;
        Ok(())
    }

    fn bot(&self) -> HeaderValue {
        self.bot.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Gets the next pair of tokens. Slack takes a refresh token once.
    pub async fn refresh(&self, client_id: &str, client_secret: &Secret, refresh: &str) -> Result<Pair> {
        let request = self.client.post(format!("{}/oauth.v2.access", self.base));
        let request = request.basic_auth(client_id, Some(client_secret.expose()));
        let fields = [("grant_type", "refresh_token"), ("refresh_token", refresh)];
        let answer = answer(request.form(&fields).timeout(CALL_TIMEOUT)).await?;
        let whole = answer.end == End::Whole;
        let got = outcome("oauth.v2.access", answer.status, answer.retry_after(), &answer.body, whole);
        let got = got.map_err(|error| match error {
            PluginError::Refused { reason } | PluginError::Broken { reason } => {
                Failure::for_good(About::Account).error(format!(
                    "the bot's token was not renewed ({reason}): check `client_id` and `client_secret`; if they are \
                     right, install the app again, and put its new refresh token into the config as `refresh_token`"
                ))
            }
            error => error,
        })?;
        let text = |key: &str| got[key].as_str().map(str::to_owned);
        match (text("access_token"), text("refresh_token"), got["expires_in"].as_u64()) {
            (Some(access), Some(refresh), Some(seconds)) => Ok(Pair { access, refresh, seconds }),
            _ => Err(not_slack(Failure::for_now(About::Account))),
        }
    }

    /// Asks where the next socket is opened. The answer holds a ticket: it may not reach a log.
    pub async fn socket_url(&self) -> Result<String> {
        let app = self.app.clone().ok_or_else(|| PluginError::broken("there is no `app_token`"))?;
        let opened = self.ask(OPEN, app, &[]).await.map_err(|error| match error {
            // Nothing here is about one chat: what Slack refuses, the operator must mend.
            PluginError::Refused { reason } => PluginError::broken(format!(
                "{reason}: `app_token` needs the scope connections:write, and the app needs Socket Mode"
            )),
            error => error,
        })?;
        let url = opened["url"].as_str().unwrap_or_default();
        match url.starts_with("wss://") || url.starts_with("ws://") && self.base.starts_with("http://") {
            true => Ok(url.to_owned()),
            false => Err(not_slack(Failure::for_now(About::Account))),
        }
    }

    /// Calls a method as the bot. `of` is the chat, where Slack counts by chat.
    pub async fn call(&self, method: &str, of: &str, fields: &[(&str, String)]) -> Result<Value> {
        let key = format!("{method} {of}");
        if let Some(left) = self.pause(&key) {
            let words = format!("Slack takes no {method} yet, it asked to wait");
            return Err(Failure::for_now(About::Chat).after(left).error(words));
        }
        let answered = self.ask(method, self.bot(), fields).await;
        if let Err(PluginError::Retry { after_ms: Some(wait), .. }) = &answered {
            self.paused().insert(key, Instant::now() + Duration::from_millis(*wait));
        }
        answered
    }

    fn paused(&self) -> MutexGuard<'_, HashMap<String, Instant>> {
        self.paused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long Slack still does not want this.
    fn pause(&self, key: &str) -> Option<Duration> {
        let (mut paused, now) = (self.paused(), Instant::now());
        paused.retain(|_, until| *until > now);
        paused.get(key).map(|until| *until - now)
    }

    async fn ask(&self, method: &str, token: HeaderValue, fields: &[(&str, String)]) -> Result<Value> {
        let request = self.client.post(format!("{}/{method}", self.base)).header(AUTHORIZATION, token);
        let answer = answer(request.form(fields).timeout(CALL_TIMEOUT)).await?;
        outcome(method, answer.status, answer.retry_after(), &answer.body, answer.end == End::Whole)
    }

    /// Posts a message; returns its id.
    pub async fn post(
        &self,
        channel: &str,
        thread: Option<&str>,
        text: &str,
        blocks: Option<&Value>,
        metadata: &Value,
    ) -> Result<Option<String>> {
        let mut fields = vec![("channel", channel.to_owned()), ("text", text.to_owned())];
        fields.extend(thread.map(|thread| ("thread_ts", thread.to_owned())));
        fields.extend(blocks.map(|blocks| ("blocks", blocks.to_string())));
        fields.push(("metadata", metadata.to_string()));
        for unfurl in ["unfurl_links", "unfurl_media"] {
            fields.push((unfurl, "false".to_owned()));
        }
        let posted = self.call("chat.postMessage", channel, &fields).await?;
        Ok(posted["ts"].as_str().map(str::to_owned))
    }

    /// Gives a message another text and other blocks.
    pub async fn update(&self, channel: &str, ts: &str, text: &str, blocks: &Value) -> Result<()> {
        let fields =
            [("channel", channel), ("ts", ts), ("text", text)].map(|(key, value)| (key, value.to_owned()));
        let fields = [&fields[..], &[("blocks", blocks.to_string())]].concat();
        self.call("chat.update", "", &fields).await?;
        Ok(())
    }

    /// Takes a message back. One that is gone already is no failure.
    pub async fn delete(&self, channel: &str, ts: &str) -> Result<()> {
        let fields = [("channel", channel.to_owned()), ("ts", ts.to_owned())];
        done_before(self.call("chat.delete", "", &fields).await, "(message_not_found)")
    }

    /// Reacts to a message. A reaction that is there already is no failure.
    pub async fn react(&self, channel: &str, ts: &str, name: &str) -> Result<()> {
        let fields = [("channel", channel), ("timestamp", ts), ("name", name)];
        let fields = fields.map(|(key, value)| (key, value.to_owned()));
        done_before(self.call("reactions.add", "", &fields).await, "(already_reacted)")
    }

    /// Shows that an answer is being written in a thread.
    pub async fn status(&self, channel: &str, thread: &str, words: &str) -> Result<()> {
        let fields = [("channel_id", channel), ("thread_ts", thread), ("status", words)];
        let fields = fields.map(|(key, value)| (key, value.to_owned()));
        self.call("assistant.threads.setStatus", "", &fields).await.map(drop)
    }

    /// Shows a note to one person.
    pub async fn whisper(&self, channel: &str, thread: Option<&str>, user: &str, text: &str) -> Result<()> {
        let mut fields =
            vec![("channel", channel.to_owned()), ("user", user.to_owned()), ("text", text.to_owned())];
        fields.extend(thread.map(|thread| ("thread_ts", thread.to_owned())));
        self.call("chat.postEphemeral", "", &fields).await?;
        Ok(())
    }

    /// Brings a file to Slack, where no one sees it yet; returns its id.
    pub async fn upload(&self, file: &Attachment) -> Result<String> {
        let name = if file.name.is_empty() { "file" } else { &file.name };
        let length = file.bytes.as_deref().map_or(0, <[u8]>::len);
        let fields = [("filename", name.to_owned()), ("length", length.to_string())];
        let place = self.call("files.getUploadURLExternal", "", &fields).await?;
        let (Some(url), Some(id)) = (place["upload_url"].as_str(), place["file_id"].as_str()) else {
            return Err(not_slack(Failure::for_now(About::Chat)));
        };
        let url =
            self.own_url(url).ok_or_else(|| PluginError::refused("Slack names no place for the file"))?;
        let answer = answer(self.client.post(url).body(http::body(file)).timeout(UPLOAD_TIMEOUT)).await;
        // No one sees it before it is shared: what became of this call is never in doubt.
        match answer.map(|answer| answer.status) {
            Ok(200) => Ok(id.to_owned()),
            Ok(413) => Err(PluginError::refused("the file is too large for Slack")),
            Ok(code) => Err(PluginError::retry(format!("Slack did not take the file ({code})"))),
            Err(error) => Err(PluginError::retry(error.reason())),
        }
    }

    /// Shows files that were brought to Slack, as one message.
    pub async fn share(&self, channel: &str, thread: Option<&str>, files: &[(String, String)]) -> Result<()> {
        let files: Vec<Value> = files.iter().map(|(id, title)| json!({ "id": id, "title": title })).collect();
        let mut fields = vec![("files", json!(files).to_string()), ("channel_id", channel.to_owned())];
        fields.extend(thread.map(|thread| ("thread_ts", thread.to_owned())));
        self.call("files.completeUploadExternal", "", &fields).await?;
        Ok(())
    }

    /// Fetches a file that came with a message. It may take any time, as long as more of it comes. `is_page`: the file
    /// itself is HTML.
    pub async fn file(&self, url: &str, is_page: bool) -> Result<Vec<u8>> {
        let url = self.own_url(url).ok_or_else(|| PluginError::refused("it does not lie with Slack"))?;
        let request = self.client.get(url).header(AUTHORIZATION, self.bot());
        let stalled =
            || PluginError::refused(format!("nothing of it came for {} s", STALLED_AFTER.as_secs()));
        let response =
            timeout(STALLED_AFTER, http::send(request, "Slack")).await.map_err(|_| stalled())??;
        let answer = Answer::read(response, FILE_BYTES_MAX, STALLED_AFTER).await;
        let html = answer.header("content-type").is_some_and(|kind| kind.starts_with("text/html"));
        match answer.status {
            // In place of a file that the token may not read, Slack sends its page to sign in.
            200..=399 if html && !is_page || (300..=399).contains(&answer.status) => Err(
                PluginError::refused("Slack shows its page to sign in: the bot needs the scope files:read"),
            ),
            200 if answer.end == End::Whole => Ok(answer.body),
            200 if answer.end == End::Stalled => Err(stalled()),
            200 if answer.body.len() > FILE_BYTES_MAX => {
                Err(PluginError::refused("it is larger than 20 MiB"))
            }
            200 => Err(Failure::network(true).error("the download broke off")),
            429 => Err(PluginError::retry_after("Slack asks to wait", answer.retry_after().unwrap_or(WAIT))),
            code => Err(Failure::of_http(code, false).error(format!("Slack does not hand it out ({code})"))),
        }
    }

    /// A URL of Slack's, as Slack named it: the token goes nowhere else.
    fn own_url(&self, url: &str) -> Option<Url> {
        let url = Url::parse(url).ok()?;
        let base = Url::parse(&self.base).ok()?;
        let host = url.host_str().unwrap_or_default();
        let is_slack = url.scheme() == "https" && (host == "slack.com" || host.ends_with(".slack.com"));
        (is_slack || url.origin() == base.origin()).then_some(url)
    }

    /// All that a method lists under `key`, page by page, of each workspace that the token is for: Slack wants each named
    /// where an app is installed for an organisation. It ends where `wanted` says that it has enough, and after so many
    /// pages that people would wait for it.
    ///
    /// # Errors
    /// Slack refuses it.
    pub async fn list(
        &self,
        own: &Own,
        (method, key): (&str, &str),
        fields: &[(&str, String)],
        mut wanted: impl FnMut(Value) -> bool + Send,
    ) -> Result<Listed> {
        let teams: Vec<Option<String>> = match own.is_enterprise_install {
            true => self.teams().await?.into_iter().map(Some).collect(),
            false => vec![None],
        };
        let mut pages = 0;
        for team in teams {
            let team = team.map(|team| ("team_id", team));
            let mut cursor = String::new();
            loop {
                let more = [("limit", PAGE_MAX.to_string()), ("cursor", cursor)];
                let all = [fields, &more, team.as_slice()].concat();
                let mut page = self.call(method, "", &all).await?;
                let Value::Array(items) = page[key].take() else {
                    return Err(not_slack(Failure::for_now(About::Account)));
                };
                if !items.into_iter().all(&mut wanted) {
                    return Ok(Listed::Enough);
                }
                cursor = page["response_metadata"]["next_cursor"].as_str().unwrap_or_default().to_owned();
                pages += 1;
                if cursor.is_empty() {
                    break;
                }
                if pages >= PAGES_MAX {
                    return Ok(Listed::InPart);
                }
            }
        }
        Ok(Listed::Enough)
    }

    /// The workspaces of an organisation in which the app is.
    async fn teams(&self) -> Result<Vec<String>> {
        let answer = self.call("auth.teams.list", "", &[("limit", TEAMS_MAX.to_string())]).await?;
        let teams = answer["teams"].as_array().into_iter().flatten();
        Ok(teams.filter_map(|team| team["id"].as_str().map(str::to_owned)).collect())
    }

    /// The newest messages of a chat, the newest first.
    pub async fn newest(&self, channel: &str, limit: u32) -> Result<Vec<Value>> {
        let fields = [("channel", channel.to_owned()), ("limit", limit.to_string())];
        let mut page = self.call("conversations.history", "", &fields).await?;
        match page["messages"].take() {
            Value::Array(messages) => Ok(messages),
            _ => Err(not_slack(Failure::for_now(About::Account))),
        }
    }

    /// The messages of a chat, or of a thread in it, since `oldest`, the bot's with their metadata.
    pub async fn history(&self, channel: &str, thread: Option<&str>, oldest: &str) -> Result<Vec<Value>> {
        let method = if thread.is_some() { "conversations.replies" } else { "conversations.history" };
        let mut fields = vec![
            ("channel", channel.to_owned()),
            ("oldest", oldest.to_owned()),
            ("inclusive", "true".to_owned()),
            ("limit", PAGE.to_string()),
            ("include_all_metadata", "true".to_owned()),
        ];
        fields.extend(thread.map(|thread| ("ts", thread.to_owned())));
        let mut messages = Vec::new();
        let mut cursor = String::new();
        for _ in 0..PAGES_MAX {
            let more = if cursor.is_empty() { vec![] } else { vec![("cursor", cursor)] };
            let mut page = self.call(method, "", &[&fields[..], &more].concat()).await?;
            let Value::Array(part) = page["messages"].take() else {
                return Err(not_slack(Failure::for_now(About::Account)));
            };
            messages.extend(part);
            cursor = page["response_metadata"]["next_cursor"].as_str().unwrap_or_default().to_owned();
            if cursor.is_empty() {
                return Ok(messages);
            }
        }
        Err(PluginError::retry("there are too many messages to look through"))
    }
}

/// The error of a call that is about no chat, but about the account.
fn about_account(error: PluginError) -> PluginError {
    match error {
        PluginError::Refused { reason } if reason == NOT_SLACK => not_slack(Failure::for_now(About::Account)),
        // What Slack refuses, the operator must mend.
        PluginError::Refused { reason } => Failure::for_good(About::Account).error(reason),
        error => error,
    }
}

/// The outcome of a call that changes nothing when Slack refuses it with these words.
fn done_before(done: Result<Value>, words: &str) -> Result<()> {
    match done {
        Err(PluginError::Refused { reason }) if reason.ends_with(words) => Ok(()),
        done => done.map(drop),
    }
}

fn bearer(key: &str, token: &str) -> Result<HeaderValue> {
    let token = token.trim();
    let fits = !token.is_empty() && token.bytes().all(|b| b.is_ascii_graphic());
    let mut header =
        fits.then(|| HeaderValue::from_str(&format!("Bearer {token}")).ok()).flatten().ok_or_else(|| {
            PluginError::broken(format!("`{key}` contains characters that no token has: copy it again"))
        })?;
    header.set_sensitive(true);
    Ok(header)
}

async fn answer(request: RequestBuilder) -> Result<Answer> {
    let response = http::send(request, "Slack").await?;
    Ok(Answer::read(response, ANSWER_BYTES_MAX, UPLOAD_TIMEOUT).await)
}

const NOT_SLACK: &str = "what answers there is not Slack's API: if that lasts, check `api_url`";

fn not_slack(failure: Failure) -> PluginError {
    failure.error(NOT_SLACK)
}

/// The fields of an answer, or why the call was not done.
fn outcome(method: &str, status: u16, wait: Option<Duration>, body: &[u8], whole: bool) -> Result<Value> {
    let answer: Value = json::read(body).unwrap_or_default();
    let wait = || wait.unwrap_or(WAIT);
    let error = match answer["ok"].as_bool() {
        Some(true) if (200..300).contains(&status) => return Ok(answer),
        Some(_) => meaning(method, status, wait(), &answer),
        None if status == 429 => Failure::of_http(429, true)
            .after(wait())
            .error(format!("Slack asks to wait {} s with {method}", wait().as_secs())),
        // The part that is missing may have said that the call was done.
        None if !whole => Failure::network(true).error("Slack's answer broke off"),
        None if status >= 500 => Failure::of_http(status, false)
            .error(format!("Slack, or what stands before it, has a problem ({status})")),
        None => not_slack(Failure::of_http(status, false)),
    };
    Err(error)
}

/// The error for a call that was not done.
fn meaning(method: &str, status: u16, wait: Duration, answer: &Value) -> PluginError {
    let word = http::words(answer["error"].as_str().unwrap_or_default());
    let is = |words: &[&str]| words.contains(&word.as_str());
    let needed = http::words(answer["needed"].as_str().unwrap_or_default());
    match word.as_str() {
        _ if status == 429 || is(&["ratelimited", "rate_limited"]) => Failure::for_now(About::Chat)
            .after(wait)
            .error(format!("Slack asks to wait {} s with {method} ({word})", wait.as_secs())),
        _ if is(&TOKEN_REFUSED) => {
            let (whose, key) = if method == OPEN { ("app", "app_token") } else { ("bot", "bot_token") };
            Failure::for_good(About::Account).error(format!(
                "Slack refused the token of the {whose} ({word}): copy it again, into the config as `{key}`, and run \
                 `vestibule plugin reload slack`"
            ))
        }
        _ if is(&IN_DOUBT) || status >= 500 => {
            Failure::of_http(503, true).error(format!("Slack has a problem ({word})"))
        }
        _ if is(&LATER) => Failure::for_now(About::Chat).error(format!("Slack does it later ({word})")),
        "missing_scope" => {
            let scope = if needed.is_empty() { "that it needs" } else { needed.as_str() };
            PluginError::refused(format!(
                "the bot may not use {method} ({word}): give the app the scope {scope}, and install it again"
            ))
        }
        "not_in_channel" => {
            PluginError::refused("the bot is not in that channel: invite it there with /invite".to_owned())
        }
        "" => not_slack(Failure::of_http(status, true)),
        _ => PluginError::refused(format!("Slack refused {method} ({word})")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vestibule_plugin_api::testing::class_of;

    #[test]
    fn what_each_answer_means() {
        let told = |word: &str| json!({ "ok": false, "error": word }).to_string();
        let scope = json!({ "ok": false, "error": "missing_scope", "needed": "files:write" }).to_string();
        let html = || "<html>back soon</html>".to_owned();
        let cut = || r#"{"ok":true,"ts":"17"#.to_owned();
        for (status, answer, expected, after, named) in [
            (200, told("invalid_auth"), "broken", None, "`bot_token`"),
            (200, told("token_revoked"), "broken", None, "plugin reload slack"),
            (200, told("account_inactive"), "broken", None, "refused the token of the bot"),
            (200, told("channel_not_found"), "refused", None, "channel_not_found"),
            (200, told("not_in_channel"), "refused", None, "/invite"),
            (200, told("msg_too_long\u{7}"), "refused", None, "(msg_too_long)"),
            (200, scope, "refused", None, "files:write"),
            (200, told("ratelimited"), "retry", Some(7_000), "wait 7 s"),
            (429, told("ratelimited"), "retry", Some(7_000), "chat.x"),
            (429, String::new(), "retry", Some(7_000), "wait 7 s"),
            (429, html(), "retry", Some(7_000), "wait 7 s"),
            (200, told("internal_error"), "account, in doubt", None, "internal_error"),
            (503, told("service_unavailable"), "account, in doubt", None, "problem"),
            (200, told("team_added_to_org"), "retry", None, "later"),
            (200, r#"{"ok":false}"#.to_owned(), "account, in doubt", None, "`api_url`"),
            // An answer that is not Slack's own is no verdict, and may come from a proxy that passed the call on.
            (502, html(), "account, in doubt", None, "502"),
            (200, html(), "account, in doubt", None, "`api_url`"),
            (200, cut(), "account, in doubt", None, "broke off"),
            (200, String::new(), "account, in doubt", None, "broke off"),
            (404, html(), "account", None, "`api_url`"),
            (401, html(), "account", None, "`api_url`"),
            (302, html(), "account", None, "`api_url`"),
            (413, html(), "refused", None, "`api_url`"),
        ] {
            let whole = answer.ends_with(['}', '>']);
            let wait = Some(Duration::from_secs(7));
            let error =
                outcome("chat.x", status, wait, answer.as_bytes(), whole).expect_err("it was not done");
            assert_eq!(class_of(&error), (expected, after), "{status} {answer}: {error:?}");
            assert!(error.reason().contains(named), "{status} {answer}: {error:?}");
        }
        let done = outcome("chat.x", 200, None, br#"{"ok":true,"ts":"1.2"}"#, true).expect("it is done");
        assert_eq!(done["ts"], "1.2");
    }

    #[test]
    fn the_token_that_was_refused_is_named_and_no_other() {
        let told = json!({ "ok": false, "error": "invalid_auth" });
        for (method, named, other) in
            [("auth.test", "`bot_token`", "`app_token`"), (OPEN, "`app_token`", "`bot_token`")]
        {
            let why = meaning(method, 200, WAIT, &told);
            assert!(why.reason().contains(named) && !why.reason().contains(other), "{why:?}");
        }
    }

    #[test]
    fn slacks_word_at_sign_in_is_told_as_slacks() {
        let refused = |word: &str| json!({ "ok": false, "error": word }).to_string();
        for word in [
            "missing_scope",
            "access_denied",
            "team_access_not_granted",
            "ekm_access_denied",
            "unknown_method",
            "method_deprecated",
            "invalid_arguments",
            "a_word_of_next_year",
        ] {
            let error = outcome("auth.test", 200, None, refused(word).as_bytes(), true).expect_err("refused");
            let error = about_account(error);
            assert_eq!(class_of(&error).0, "broken", "{word}: {error:?}");
            assert!(error.reason().contains(word) && !error.reason().contains("not Slack's"), "{error:?}");
        }
        let page = outcome("auth.test", 413, None, b"<html>", true).expect_err("it is no answer of Slack's");
        let error = about_account(page);
        assert_eq!((class_of(&error).0, error.reason()), ("account", NOT_SLACK));
    }

    fn api(url: &str, token: &str) -> Result<Api> {
        let secret = |text: &str| serde_json::from_value::<Secret>(json!(text)).expect("text");
        Api::new(url, &secret(token), Some(&secret("xapp-1")))
    }

    #[test]
    fn what_cannot_be_a_url_or_a_token_is_refused() {
        for (url, token) in [
            ("ftp://x", "xoxb-1"),
            ("slack.example", "xoxb-1"),
            ("https://x", ""),
            ("https://x", "xoxb 1"),
            ("https://x", "xoxb\n1"),
        ] {
            assert!(api(url, token).is_err(), "{url} {token:?}");
        }
        assert!(api("https://slack.com/api/", "xoxb-1").is_ok());
    }

    #[test]
    fn a_token_goes_to_slack_only() {
        let real = api("https://slack.com/api", "xoxb-1").expect("usable");
        let fake = api("http://127.0.0.1:7/api", "xoxb-1").expect("usable");
        for (url, of_real, of_fake) in [
            ("https://files.slack.com/files-pri/T1-F1/a.pdf", true, true),
            ("https://slack.com/x", true, true),
            ("http://files.slack.com/x", false, false),
            ("https://slack.com.evil.example/x", false, false),
            ("https://evilslack.com/x", false, false),
            ("https://user@evil.example/slack.com", false, false),
            ("http://127.0.0.1:7/files/F1", false, true),
            ("http://127.0.0.1:8/files/F1", false, false),
            ("file:///etc/passwd", false, false),
            ("no url", false, false),
        ] {
            assert_eq!(real.own_url(url).is_some(), of_real, "{url}");
            assert_eq!(fake.own_url(url).is_some(), of_fake, "{url}");
        }
    }
}
