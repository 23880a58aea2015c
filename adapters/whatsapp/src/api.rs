//! The calls to Meta's Graph API.

use crate::fault::{not_meta, of_number, outcome};
use crate::map::{is_file, is_id};
use crate::whole::{is_whole, size};
use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::multipart::Form;
use reqwest::{Client, RequestBuilder, Url};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::time::timeout;
use vestibule_plugin_api::toolbox::http::{self, Answer, End};
use vestibule_plugin_api::{Attachment, Failure, PluginError, Result, Secret};

/// How long a call may take, and a file on its way to Meta.
const CALL_TIMEOUT: Duration = Duration::from_secs(20);
const UPLOAD_TIMEOUT: Duration = Duration::from_secs(240);
/// A file of which nothing comes for so long is given up.
const STALLED_AFTER: Duration = Duration::from_secs(20);
/// More than any answer has, in bytes. The rest of a longer one is not read.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// Meta shows for 25 s that an answer is being written: it is said again before that.
const WORK_SAID_EVERY: Duration = Duration::from_secs(20);
/// Where Meta keeps files.
const FILE_HOSTS: [&str; 4] = ["fbsbx.com", "facebook.com", "fbcdn.net", "whatsapp.net"];

/// What came from the address of a file.
enum Loaded {
    Whole(Vec<u8>),
    /// The address does not hold, or not to the end of the file; this is the error if a new one does not either.
    Ended(PluginError),
}

/// One phone number's access to the API. Cheap to clone.
#[derive(Clone)]
pub struct Api {
    client: Client,
    base: Arc<str>,
    token: HeaderValue,
    number: Arc<str>,
    /// The messages that were marked as read, and when.
    marked: Arc<Mutex<HashMap<String, Instant>>>,
}

impl Api {
    /// Prepares the calls; nothing is sent yet.
    pub fn new(url: &str, version: &str, token: &Secret, number: &str) -> Result<Api> {
        let base = format!("{}/{version}", http::base(url, "api_url")?);
        let token = token.expose().trim();
        let fits = !token.is_empty() && token.bytes().all(|b| b.is_ascii_graphic());
        let header = fits.then(|| HeaderValue::from_str(&format!("Bearer {token}")).ok()).flatten();
        let mut token = header.ok_or_else(|| {
            PluginError::broken("`access_token` contains characters that no token has: copy it again")
        })?;
        token.set_sensitive(true);
        Ok(Api {
            client: http::client()?,
            base: base.into(),
            token,
            number: number.into(),
            marked: Arc::default(),
        })
    }

    /// The phone number as people see it.
    pub async fn shown_number(&self) -> Result<String> {
        let url = format!("{}/{}?fields=display_phone_number", self.base, self.number);
        match self.call(self.get(url)).await {
            Ok(found) => {
                found["display_phone_number"].as_str().map(str::to_owned).ok_or_else(|| not_meta(200))
            }
            Err(PluginError::Refused { reason }) => Err(PluginError::broken(format!(
                "the token has no phone number with the id `phone_number_id`: copy that id, which is not the number \
                 itself, from the app's page WhatsApp, API Setup ({reason})"
            ))),
            Err(error) => Err(error),
        }
    }

    /// Lets the app hear of the WhatsApp Business Account. It may be told so again.
    pub async fn subscribe(&self, business_account: &str) -> Result<()> {
        let url = format!("{}/{business_account}/subscribed_apps", self.base);
        self.call(self.client.post(url).timeout(CALL_TIMEOUT)).await.map(drop).map_err(|error| match error {
            PluginError::Refused { reason } | PluginError::Broken { reason } => PluginError::broken(format!(
                "the app could not be subscribed to the business account: give the token the permission \
                 whatsapp_business_management, or subscribe the app by hand and take `business_account_id` out \
                 ({reason})"
            )),
            error => error,
        })
    }

    /// Sends a message; returns its id.
    pub async fn send(&self, message: &Value) -> Result<String> {
        let sent = self.call(self.post("messages").json(message)).await.map_err(of_number)?;
        let id = sent["messages"][0]["id"].as_str().filter(|id| is_id(id));
        id.map(str::to_owned).ok_or_else(|| not_meta(200))
    }

    /// Shows a message as read, and that an answer is being written: one call does both.
    pub async fn mark(&self, message_id: &str) -> Result<()> {
        if !is_id(message_id) || !self.is_due(message_id, Instant::now()) {
            return Ok(());
        }
        let mark = json!({ "messaging_product": "whatsapp", "status": "read", "message_id": message_id,
            "typing_indicator": { "type": "text" } });
        self.call(self.post("messages").json(&mark)).await.map(drop)
    }

    /// Whether a message is to be marked at `now`; then it counts as marked.
    fn is_due(&self, message_id: &str, now: Instant) -> bool {
        let mut marked = self.marked.lock().unwrap_or_else(PoisonError::into_inner);
        marked.retain(|_, at| now.saturating_duration_since(*at) < WORK_SAID_EVERY);
        if marked.contains_key(message_id) {
            return false;
        }
        marked.insert(message_id.to_owned(), now);
        true
    }

    /// Brings a file to Meta, where no one sees it yet; returns its id.
    pub async fn upload(&self, file: &Attachment, mime_type: &str) -> Result<String> {
        let part = http::part(file).file_name("file").mime_str(mime_type);
        let part = part.map_err(|_| PluginError::refused(format!("`{mime_type}` is no media type")))?;
        let form = Form::new().text("messaging_product", "whatsapp").text("type", mime_type.to_owned());
        let request = self.post("media").multipart(form.part("file", part)).timeout(UPLOAD_TIMEOUT);
        // No one sees it before it is sent: what became of this call is never in doubt.
        match self.call(request).await {
            Ok(stored) => {
                let id = stored["id"].as_str().filter(|id| is_file(id)).map(str::to_owned);
                id.ok_or_else(|| PluginError::retry("Meta does not name the file that it took"))
            }
            Err(PluginError::Retry { reason, after_ms, account, .. }) => {
                Err(PluginError::Retry { reason, after_ms, account, in_doubt: false })
            }
            Err(error) => Err(of_number(error)),
        }
    }

    /// Fetches a file that came with a message. It may take any time, as long as more of it comes. An address that ends
    /// before the file is here, or that has ended already, is asked for anew, once.
    pub async fn file(&self, id: &str, bytes_max: u64) -> Result<Vec<u8>> {
        if !is_file(id) {
            return Err(PluginError::refused("that is no file of WhatsApp's"));
        }
        match self.load(id, bytes_max).await? {
            Loaded::Whole(bytes) => return Ok(bytes),
            Loaded::Ended(why) => {
                tracing::debug!(reason = why.reason(), "a file's address is asked for anew")
            }
        }
        match self.load(id, bytes_max).await? {
            Loaded::Whole(bytes) => Ok(bytes),
            Loaded::Ended(why) => Err(why),
        }
    }

    async fn load(&self, id: &str, bytes_max: u64) -> Result<Loaded> {
        let url = format!("{}/{id}?phone_number_id={}", self.base, self.number);
        let found = self.call(self.get(url)).await?;
        let too_large = || PluginError::refused(format!("it is larger than {bytes_max} bytes"));
        if size(&found).is_some_and(|bytes| bytes > bytes_max) {
            return Err(too_large());
        }
        let url = found["url"].as_str().and_then(|url| self.own_url(url));
        let url = url.ok_or_else(|| PluginError::refused("Meta names no place where the file lies"))?;
        let request = self.client.get(url).header(AUTHORIZATION, self.token.clone());
        let stalled = || Failure::network(true).error("nothing more of the file came");
        let response = timeout(STALLED_AFTER, http::send(request, "Meta")).await.map_err(|_| stalled())??;
        let most = usize::try_from(bytes_max).unwrap_or(usize::MAX);
        let answer = Answer::read(response, most, STALLED_AFTER).await;
        match (answer.status, answer.end) {
            (200, _) if answer.body.len() > most => Err(too_large()),
            (200, End::Whole) if is_whole(&found, &answer.body) => Ok(Loaded::Whole(answer.body)),
            (200, End::Whole | End::Cut) => Ok(Loaded::Ended(stalled())),
            (200, End::Stalled) => Err(stalled()),
            (404 | 410, _) => Ok(Loaded::Ended(PluginError::refused("Meta does not have the file any more"))),
            (code, _) => {
                Err(Failure::of_http(code, false).error(format!("Meta does not hand the file out ({code})")))
            }
        }
    }

    /// A URL of Meta's, as Meta named it: the token goes nowhere else.
    fn own_url(&self, url: &str) -> Option<Url> {
        let (url, base) = (Url::parse(url).ok()?, Url::parse(&self.base).ok()?);
        let host = url.host_str().unwrap_or_default();
        let is_of =
            |name: &&str| host.strip_suffix(*name).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
        let is_meta = url.scheme() == "https" && FILE_HOSTS.iter().any(is_of);
        (is_meta || url.origin() == base.origin()).then_some(url)
    }

    fn get(&self, url: String) -> RequestBuilder {
        self.client.get(url).timeout(CALL_TIMEOUT)
    }

    fn post(&self, what: &str) -> RequestBuilder {
        self.client.post(format!("{}/{}/{what}", self.base, self.number)).timeout(CALL_TIMEOUT)
    }

    async fn call(&self, request: RequestBuilder) -> Result<Value> {
        let response = http::send(request.header(AUTHORIZATION, self.token.clone()), "Meta").await?;
        let answer = Answer::read(response, ANSWER_BYTES_MAX, CALL_TIMEOUT).await;
        outcome(answer.status, answer.retry_after(), &answer.body, answer.end == End::Whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vestibule_plugin_api::testing::secret;

    fn api(url: &str, token: &str) -> Result<Api> {
        Api::new(url, "v25.0", &secret(token), "106540352242922")
    }

    #[test]
    fn what_cannot_be_a_url_or_a_token_is_refused() {
        for (url, token) in
            [("ftp://x", "EAA"), ("https://x", ""), ("https://x", "EA A"), ("https://x", "EA\nA")]
        {
            assert!(api(url, token).is_err(), "{url} {token:?}");
        }
    }

    #[test]
    fn a_token_goes_to_meta_only() {
        let real = api("https://graph.facebook.com", "EAA").expect("usable");
        let fake = api("http://127.0.0.1:7", "EAA").expect("usable");
        for (url, of_real, of_fake) in [
            ("https://lookaside.fbsbx.com/whatsapp_business/attachments/?mid=1", true, true),
            ("https://graph.facebook.com/x", true, true),
            ("https://mmg.whatsapp.net/x", true, true),
            ("http://lookaside.fbsbx.com/x", false, false),
            ("https://fbsbx.com.evil.example/x", false, false),
            ("https://evilfbsbx.com/x", false, false),
            ("http://127.0.0.1:7/files/1", false, true),
            ("http://127.0.0.1:8/files/1", false, false),
            ("file:///etc/passwd", false, false),
            ("no url", false, false),
        ] {
            assert_eq!(real.own_url(url).is_some(), of_real, "{url}");
            assert_eq!(fake.own_url(url).is_some(), of_fake, "{url}");
        }
    }

    #[test]
    fn work_is_shown_once_in_20_seconds_for_each_message() {
        let (api, begin) = (api("https://x", "EAA").expect("usable"), Instant::now());
        let at = |id: &str, seconds: u64| api.is_due(id, begin + Duration::from_secs(seconds));
        assert!(at("a", 0) && !at("a", 5) && at("b", 5) && !at("a", 19) && at("a", 20) && !at("a", 39));
    }
}
