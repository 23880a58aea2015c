//! The calls to GitHub's REST API, and what its answers mean for the runtime.

use crate::map::{self, Target};
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Client, Method, Url};
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;
use vestibule_plugin_api::toolbox::http::{self, End};
use vestibule_plugin_api::{About, Failure, PluginError, Result, Secret, Timestamp};

const TOTAL_TIMEOUT: Duration = Duration::from_secs(30);
/// More than any answer has, in bytes. The rest of a longer one is not read.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Comments in one page of a list: the most GitHub gives.
const PAGE: usize = 100;
/// How many pages are looked through.
const PAGES_MAX: usize = 30;
/// GitHub's documentation asks for a minute when a secondary limit names no time.
const SECONDARY_LIMIT_MS: u64 = 60_000;
/// A limit is never longer than an hour; a longer wait is a clock that is wrong.
const WAIT_MS_MAX: u64 = 3_600_000;
/// How often one call is sent on to where a repository is now.
const MOVES_MAX: usize = 3;

/// One account's access to the API.
pub struct Api {
    client: Client,
    headers: HeaderMap,
    base: String,
}

/// The user that the token belongs to.
#[derive(Debug, Deserialize)]
pub struct OwnUser {
    /// The numeric id, which never changes.
    pub id: u64,
    /// The login, which may change.
    pub login: String,
}

#[derive(Deserialize)]
struct Comment {
    id: u64,
    body: Option<String>,
    user: Option<Commenter>,
}

#[derive(Deserialize)]
struct Commenter {
    id: u64,
}

impl Api {
    /// Prepares the calls; nothing is sent yet.
    pub fn new(base: &str, token: &Secret) -> Result<Api> {
        let base = http::base(base, "api_url")?;
        Ok(Api { client: http::client()?, headers: headers(token)?, base })
    }

    /// Asks which user the token belongs to.
    pub async fn own_user(&self) -> Result<OwnUser> {
        let answer = self.send(Method::GET, "/user", None).await?;
        if answer.is_success() {
            return serde_json::from_slice(&answer.0.body).map_err(|_| answer.unreadable());
        }
        let refused = |account: Failure| {
            account.error(format!(
                "GitHub refused the token ({}): check that `token` is complete, not expired, and not revoked",
                answer.words()
            ))
        };
        Err(match answer.status() {
            403 | 429 if answer.limit_ms().is_some() => answer.later(),
            408 | 500.. => answer.later(),
            _ if !answer.is_own() => answer.unreadable(),
            401 | 403 => refused(Failure::for_good(About::Account)),
            code => not_github(Failure::of_http(code, true).of_account()),
        })
    }

    /// Posts a comment; returns its id, if GitHub says it. Whether it was posted is in doubt when no whole answer of
    /// GitHub's comes back: then the runtime asks for it before it is posted again.
    pub async fn comment(&self, target: &Target, text: &str) -> Result<Option<String>> {
        let answer = self.send(Method::POST, &target.path, Some(&json!({ "body": text }))).await?;
        if answer.is_success() {
            let Value::Object(comment) = answer.json() else { return Err(answer.unreadable()) };
            return Ok(comment.get("id").and_then(Value::as_u64).map(|id| id.to_string()));
        }
        Err(answer.refusal(target))
    }

    /// Looks for a comment of this user that holds `mark`, among those since `since`; returns its id.
    pub async fn find(
        &self,
        target: &Target,
        own_id: u64,
        mark: &str,
        since: Timestamp,
    ) -> Result<Option<String>> {
        let since = map::moment(since);
        for page in 1..=PAGES_MAX {
            let list = format!("{}?since={since}&per_page={PAGE}&page={page}", target.list);
            let answer = self.send(Method::GET, &list, None).await?;
            if !answer.is_success() {
                return Err(answer.refusal(target));
            }
            let comments: Vec<Comment> =
                serde_json::from_slice(&answer.0.body).map_err(|_| answer.unreadable())?;
            let ours = |c: &&Comment| {
                c.user.as_ref().is_some_and(|user| user.id == own_id)
                    && c.body.as_deref().is_some_and(|body| body.contains(mark))
            };
            if let Some(found) = comments.iter().find(ours) {
                return Ok(Some(found.id.to_string()));
            }
            if comments.len() < PAGE {
                return Ok(None);
            }
        }
        Err(PluginError::retry("there are too many comments to look through"))
    }

    /// Asks `path`, then the place to which GitHub redirects; a renamed repository keeps its old name for that.
    async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Answer> {
        let mut url = Url::parse(&format!("{}{path}", self.base))?;
        let mut answer = self.ask(&method, &url, body).await?;
        for _ in 0..MOVES_MAX {
            let moved = (300..400).contains(&answer.status()).then(|| answer.header("location")).flatten();
            let Some(next) = moved.and_then(|to| moved_to(&url, to)) else { break };
            url = next;
            answer = self.ask(&method, &url, body).await?;
        }
        Ok(answer)
    }

    async fn ask(&self, method: &Method, url: &Url, body: Option<&Value>) -> Result<Answer> {
        let request = self.client.request(method.clone(), url.clone()).headers(self.headers.clone());
        let request = match body {
            Some(body) => request.json(body),
            None => request,
        };
        let response = http::send(request.timeout(TOTAL_TIMEOUT), "GitHub").await?;
        Ok(Answer(http::Answer::read(response, ANSWER_BYTES_MAX, TOTAL_TIMEOUT).await))
    }
}

/// Where a redirect leads, if that is the same host: the token goes nowhere else.
fn moved_to(from: &Url, location: &str) -> Option<Url> {
    from.join(location).ok().filter(|to| to.origin() == from.origin())
}

fn headers(token: &Secret) -> Result<HeaderMap> {
    let mut authorization = HeaderValue::from_str(&format!("Bearer {}", token.expose()))
        .map_err(|_| PluginError::broken("`token` contains characters that no token has: copy it again"))?;
    authorization.set_sensitive(true);
    Ok(HeaderMap::from_iter([
        (AUTHORIZATION, authorization),
        (ACCEPT, HeaderValue::from_static("application/vnd.github+json")),
        ("x-github-api-version".parse()?, HeaderValue::from_static("2022-11-28")),
    ]))
}

fn not_github(failure: Failure) -> PluginError {
    failure.error("what answers there is not GitHub's API: if that lasts, check `api_url` and GITHUB_API_URL")
}

struct Answer(http::Answer);

impl Answer {
    fn status(&self) -> u16 {
        self.0.status
    }

    fn is_success(&self) -> bool {
        (200..300).contains(&self.status())
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.0.body).unwrap_or_default()
    }

    /// Whether GitHub itself answered, and not a proxy before it: GitHub's refusals are JSON with words.
    fn is_own(&self) -> bool {
        self.json()["message"].is_string()
    }

    /// The error for an answer that cannot be read.
    fn unreadable(&self) -> PluginError {
        if self.0.end == End::Whole {
            not_github(Failure::of_http(self.status(), false))
        } else {
            Failure::network(true).error("GitHub's answer broke off")
        }
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.0.header(name)
    }

    /// The status and GitHub's own words, on one clean line.
    fn words(&self) -> String {
        let json = self.json();
        let words = json["message"].as_str().unwrap_or_default();
        let clean = http::words(words);
        format!("{}{}{clean}", self.status(), if clean.is_empty() { "" } else { ": " })
    }

    /// How long GitHub asks us to wait, if this is its rate limit.
    fn limit_ms(&self) -> Option<u64> {
        if !matches!(self.status(), 403 | 429) {
            return None;
        }
        let seconds = |text: &str| text.trim().parse::<u64>().ok().map(|s| s.saturating_mul(1000));
        let until_reset = |ms: u64| ms.saturating_sub(u64::try_from(Timestamp::now().0).unwrap_or(0));
        let wait = if let Some(after) = self.header("retry-after") {
            seconds(after).unwrap_or(SECONDARY_LIMIT_MS)
        } else if self.header("x-ratelimit-remaining") == Some("0") {
            let reset = self.header("x-ratelimit-reset").and_then(seconds);
            reset.map_or(SECONDARY_LIMIT_MS, until_reset)
        } else if self.status() == 429 || self.words().contains("secondary rate limit") {
            SECONDARY_LIMIT_MS
        } else {
            return None;
        };
        Some(wait.clamp(1000, WAIT_MS_MAX))
    }

    /// The error for what GitHub may do later. A limit is the account's; a proxy before GitHub may have passed the
    /// failed call on.
    fn later(&self) -> PluginError {
        let failure = Failure::of_http(self.status(), true).of_account();
        match self.limit_ms() {
            Some(ms) => Failure::for_now(About::Account)
                .after(Duration::from_millis(ms))
                .error(format!("GitHub's rate limit is used up ({})", self.words())),
            None => failure.error(format!("GitHub has a problem ({})", self.words())),
        }
    }

    /// The error for a comment that GitHub did not take.
    fn refusal(&self, target: &Target) -> PluginError {
        let words = self.words();
        match self.status() {
            403 | 429 if self.limit_ms().is_some() => self.later(),
            // A gateway may give up on a request that goes on behind it.
            408 | 500.. => self.later(),
            300..=399 => PluginError::refused(format!(
                "the repository has moved ({words}): wire the chat under its new name"
            )),
            _ if !self.is_own() => self.unreadable(),
            401 => Failure::for_good(About::Account).error(format!(
                "GitHub no longer takes the token ({words}): put a new one into the config as `token`, and run \
                 `vestibule plugin reload github`"
            )),
            403 if words.contains("locked") => PluginError::refused(format!(
                "the conversation is locked ({words}): unlock it on GitHub, or let it rest; with write access to the \
                 repository the token may comment there all the same"
            )),
            403 => PluginError::refused(format!(
                "the token may not comment there ({words}): give it this repository and the permission \
                 `{}: Read and write`",
                target.permission
            )),
            code => Failure::of_http(code, true).error(format!("GitHub refused the comment ({words})")),
        }
    }
}
