//! The calls to GitHub's REST API.

use crate::answer::{Answer, Purpose, Speaker};
use crate::app::App;
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Client, Method, Url};
use serde::Deserialize;
use serde_json::Value;
use std::time::Duration;
use vestibule_plugin_api::toolbox::http;
use vestibule_plugin_api::{PluginError, Result};

const TOTAL_TIMEOUT: Duration = Duration::from_secs(30);
/// More than any answer has, in bytes. The rest of a longer one is not read.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Entries in one page of a list: so many of the longest comments, however they are written, are within an answer.
const PAGE: usize = 30;
/// How many pages are looked through.
const PAGES_MAX: usize = 100;
/// How often one call is sent on to where a repository is now.
const MOVES_MAX: usize = 3;

/// Where the API is, and how it is asked. Cheap to clone.
#[derive(Clone)]
pub struct Http {
    pub client: Client,
    /// The API's URL, without a slash at its end.
    pub base: String,
}

/// How an account shows who it is.
pub enum Auth {
    /// A user, by a personal access token.
    Token(HeaderValue),
    /// An app, in one of its installations.
    App(Box<App>),
}

/// One account's access to the API.
pub struct Api {
    pub http: Http,
    auth: Auth,
}

/// The user as which the account writes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct OwnUser {
    /// The numeric id, which never changes; 0 if GitHub does not say it.
    pub id: u64,
    /// The login, which may change.
    pub login: String,
}

impl OwnUser {
    /// Whether a user with this id and login is the same.
    pub fn is(&self, id: u64, login: &str) -> bool {
        if self.id == 0 { self.login.eq_ignore_ascii_case(login) } else { self.id == id }
    }
}

impl Http {
    /// Prepares the calls; nothing is sent yet.
    pub fn new(base: &str) -> Result<Http> {
        Ok(Http { client: http::client()?, base: http::base(base, "api_url")? })
    }

    /// Asks a path of the API.
    pub async fn send(&self, auth: &HeaderValue, method: Method, path: &str) -> Result<Answer> {
        self.follow(auth, &method, &Url::parse(&format!("{}{path}", self.base))?, None).await
    }

    /// Asks this URL, then the place to which GitHub redirects; a renamed repository keeps its old name for that.
    pub async fn follow(
        &self,
        auth: &HeaderValue,
        method: &Method,
        url: &Url,
        body: Option<&Value>,
    ) -> Result<Answer> {
        let mut url = url.clone();
        let mut answer = self.ask(auth, method, &url, body).await?;
        for _ in 0..MOVES_MAX {
            let moved = (300..400).contains(&answer.status()).then(|| answer.header("location")).flatten();
            let Some(next) = moved.and_then(|to| moved_to(&url, to)) else { break };
            url = next;
            answer = self.ask(auth, method, &url, body).await?;
        }
        Ok(answer)
    }

    async fn ask(
        &self,
        auth: &HeaderValue,
        method: &Method,
        url: &Url,
        body: Option<&Value>,
    ) -> Result<Answer> {
        let request = self.client.request(method.clone(), url.clone()).headers(headers(auth)?);
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

/// The header that shows a token.
///
/// # Errors
/// `key` of the config holds no token.
pub fn bearer(token: &str, key: &str) -> Result<HeaderValue> {
    let mut header = HeaderValue::from_str(&format!("Bearer {}", token)).map_err(|_| {
        PluginError::broken(format!("`{key}` contains characters that no token has: copy it again"))
    })?;
    header.set_sensitive(true);
    Ok(header)
}

fn headers(auth: &HeaderValue) -> Result<HeaderMap> {
    Ok(HeaderMap::from_iter([
        (AUTHORIZATION, auth.clone()),
        (ACCEPT, HeaderValue::from_static("application/vnd.github+json")),
        ("x-github-api-version".parse()?, HeaderValue::from_static("2022-11-28")),
    ]))
}

impl Api {
    /// The account that shows itself so.
    pub fn new(http: Http, auth: Auth) -> Api {
        Api { http, auth }
    }

    /// The app, if the account is one.
    pub fn app(&self) -> Option<&App> {
        match &self.auth {
            Auth::Token(_) => None,
            Auth::App(app) => Some(app),
        }
    }

    /// As what the account speaks.
    pub fn speaker(&self) -> Speaker {
        match &self.auth {
            Auth::Token(_) => Speaker::Token,
            Auth::App(_) => Speaker::App,
        }
    }

    /// The header by which the account shows itself now.
    pub async fn auth(&self) -> Result<HeaderValue> {
        match &self.auth {
            Auth::Token(token) => Ok(token.clone()),
            Auth::App(app) => app.token(&self.http).await,
        }
    }

    /// Asks as which user the account writes.
    pub async fn own_user(&self) -> Result<OwnUser> {
        if let Auth::App(app) = &self.auth {
            return app.own_user(&self.http).await;
        }
        let answer = self.send(Method::GET, "/user", None).await?;
        if answer.is_success() {
            return answer.read();
        }
        Err(answer.no_start(
            "GitHub refused the token: check that `token` is complete, not expired, and not revoked",
        ))
    }

    /// Asks a path of the REST API.
    pub async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Answer> {
        self.ask(method, &Url::parse(&format!("{}{path}", self.http.base))?, body).await
    }

    /// Asks, with what is good now; an installation's token may have been taken back before its end.
    pub async fn ask(&self, method: Method, url: &Url, body: Option<&Value>) -> Result<Answer> {
        let answer = self.http.follow(&self.auth().await?, &method, url, body).await?;
        match &self.auth {
            Auth::App(app) if answer.status() == 401 => {
                app.forget().await;
                self.http.follow(&self.auth().await?, &method, url, body).await
            }
            _ => Ok(answer),
        }
    }

    /// Has GitHub do something; returns what it answers. Whether it was done is in doubt when no whole answer of
    /// GitHub's comes back.
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        purpose: Purpose,
    ) -> Result<Value> {
        let answer = self.send(method, path, body).await?;
        match answer.status() {
            204 => Ok(Value::Null),
            _ if answer.is_success() => {
                let value: Value = answer.read()?;
                if value.is_object() { Ok(value) } else { Err(answer.unreadable()) }
            }
            _ => Err(answer.refusal(purpose, self.speaker())),
        }
    }

    /// All entries of a list, page by page; `path` ends in a query.
    pub async fn list(&self, path: &str, purpose: Purpose) -> Result<Vec<Value>> {
        let mut all = Vec::new();
        for page in 1..=PAGES_MAX {
            let answer = self.send(Method::GET, &format!("{path}&per_page={PAGE}&page={page}"), None).await?;
            if !answer.is_success() {
                return Err(answer.refusal(purpose, self.speaker()));
            }
            let entries: Vec<Value> = answer.read()?;
            let is_last = entries.len() < PAGE;
            all.extend(entries);
            if is_last {
                return Ok(all);
            }
        }
        Err(PluginError::retry("there are too many comments to look through"))
    }
}
