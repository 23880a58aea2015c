//! A GitHub App: it shows itself by a signed word (a JWT), and in an installation by a token that ends after an hour.

use crate::answer::Answer;
use crate::api::{Http, OwnUser, bearer};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use reqwest::Method;
use reqwest::header::HeaderValue;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{Mutex, OnceCell};
use vestibule_plugin_api::{PluginError, Result, Timestamp};

/// GitHub's clock may be behind ours by so much, in seconds, as its documentation advises …
const CLOCK_BEHIND: i64 = 60;
/// … and takes no word that is good for more than ten minutes.
const WORD_LIVES: i64 = 540;
/// A token is no longer used so long before its end, or in the last quarter of its life.
const MARGIN_MS: i64 = 5 * 60 * 1_000;
/// The longest life of a token that is believed, in milliseconds. GitHub's live an hour.
const LIFE_MS_MAX: i64 = 24 * 3_600 * 1_000;

/// An app in one of its installations.
pub struct App {
    /// The app's id, or its client id.
    id: String,
    key: RsaKeyPair,
    /// The installation that the config names, or the only one there is.
    installation: OnceCell<u64>,
    /// Held from a call to GitHub until its answer.
    token: Mutex<Option<Token>>,
}

/// A token of the installation. It is kept in memory only: GitHub gives any number of them.
struct Token {
    header: HeaderValue,
    until: Timestamp,
}

#[derive(Deserialize)]
struct Given {
    token: String,
    expires_at: String,
}

impl App {
    /// The app with this id and key. Nothing is sent yet.
    ///
    /// # Errors
    /// [`PluginError::Broken`]: the key or the id cannot be one.
    pub fn new(id: &str, key: &str, installation: Option<u64>) -> Result<App> {
        let id = id.trim();
        if id.is_empty() || id.len() > 100 || !id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.') {
            return Err(PluginError::broken("`app_id` is the App ID or the Client ID of the app's settings"));
        }
        let key = private_key(key).ok_or_else(|| {
            PluginError::broken(
                "`private_key` is no RSA key in PEM: give the whole file that GitHub made under Private keys, from \
                 -----BEGIN to the last line",
            )
        })?;
        let installation = OnceCell::new_with(installation);
        Ok(App { id: id.to_owned(), key, installation, token: Mutex::default() })
    }

    /// The installation in which the app works: that of the config, or the only one.
    pub async fn installation(&self, http: &Http) -> Result<u64> {
        self.installation.get_or_try_init(|| self.only_installation(http)).await.copied()
    }

    async fn only_installation(&self, http: &Http) -> Result<u64> {
        let answer = self.ask(http, Method::GET, "/app/installations?per_page=100").await?;
        if !answer.is_success() {
            return Err(answer.no_start(REFUSED));
        }
        let all: Vec<Value> = answer.read()?;
        let named = |one: &Value| {
            let login = one["account"]["login"].as_str().unwrap_or("?");
            format!("{} ({login})", one["id"])
        };
        match &all[..] {
            [one] => one["id"].as_u64().ok_or_else(|| answer.unreadable()),
            [] => Err(PluginError::broken(
                "the app is not installed anywhere: install it from its settings (Install App) on the account that owns \
                 the repositories",
            )),
            _ => Err(PluginError::broken(format!(
                "the app has several installations: say by `installation_id` which one this account is: {}",
                all.iter().map(named).collect::<Vec<_>>().join(", ")
            ))),
        }
    }

    /// The user as which the app writes: `SLUG[bot]`.
    pub async fn own_user(&self, http: &Http) -> Result<OwnUser> {
        let answer = self.ask(http, Method::GET, "/app").await?;
        if !answer.is_success() {
            return Err(answer.no_start(REFUSED));
        }
        let app: Value = answer.read()?;
        let slug = app["slug"].as_str().filter(|slug| crate::place::is_name(slug));
        let slug = slug.ok_or_else(|| answer.unreadable())?;
        let token = self.token(http).await?;
        let answer = http.send(&token, Method::GET, &format!("/users/{slug}%5Bbot%5D")).await?;
        match answer.status() {
            200..=299 => answer.read(),
            // By its name alone it is known, too.
            404 if answer.is_own() => Ok(OwnUser { id: 0, login: format!("{slug}[bot]") }),
            _ => Err(answer.no_start("GitHub does not say which user the app writes as")),
        }
    }

    /// The header with a token that is good for some minutes yet.
    pub async fn token(&self, http: &Http) -> Result<HeaderValue> {
        let installation = self.installation(http).await?;
        let mut held = self.token.lock().await;
        let now = Timestamp::now();
        if let Some(token) = held.as_ref().filter(|token| token.until > now) {
            return Ok(token.header.clone());
        }
        let path = format!("/app/installations/{installation}/access_tokens");
        let answer = self.ask(http, Method::POST, &path).await?;
        if answer.status() == 404 && answer.is_own() {
            return Err(PluginError::broken(format!(
                "the app has no installation {installation} ({}): take the number from the address of its page under \
                 Install App, and put it into the config as `installation_id`",
                answer.words()
            )));
        }
        if !answer.is_success() {
            return Err(answer.no_start(REFUSED));
        }
        let given: Given = answer.read()?;
        let ends: jiff::Timestamp = given.expires_at.parse().map_err(|_| answer.unreadable())?;
        let header = bearer(&given.token, "private_key")?;
        tracing::debug!("GitHub gave the installation its next token");
        let until = used_until(now, Timestamp(ends.as_millisecond()));
        *held = Some(Token { header: header.clone(), until });
        Ok(header)
    }

    /// The token is good no more: the next call gets another one.
    pub async fn forget(&self) {
        *self.token.lock().await = None;
    }

    /// Asks as the app itself, in no installation.
    pub async fn ask(&self, http: &Http, method: Method, path: &str) -> Result<Answer> {
        let word = self.word(Timestamp::now())?;
        http.send(&bearer(&word, "private_key")?, method, path).await
    }

    /// The signed word by which the app shows itself at this moment.
    fn word(&self, now: Timestamp) -> Result<String> {
        let now = now.0 / 1_000;
        let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let head = part(json!({ "alg": "RS256", "typ": "JWT" }));
        let claims = part(json!({ "iat": now - CLOCK_BEHIND, "exp": now + WORD_LIVES, "iss": self.id }));
        let signed = format!("{head}.{claims}");
        let mut signature = vec![0; self.key.public().modulus_len()];
        self.key
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
            .map_err(|_| PluginError::retry("this machine has no random numbers to sign with"))?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

const REFUSED: &str = "GitHub refused the app: check that `app_id` and `private_key` belong together, that the key was not \
                       deleted, and that this machine's clock is right";

/// How long a token is used that was given now and ends then. Pure.
fn used_until(now: Timestamp, ends: Timestamp) -> Timestamp {
    let lives = ends.0.saturating_sub(now.0).clamp(0, LIFE_MS_MAX);
    Timestamp(now.0.saturating_add(lives - MARGIN_MS.min(lives / 4)))
}

/// The key in a text of PEM, also where the lines were joined by `\n` to fit into an environment variable.
fn private_key(text: &str) -> Option<RsaKeyPair> {
    let text = text.replace("\\n", "\n");
    let body = |name: &str| {
        let (_, rest) = text.split_once(&format!("-----BEGIN {name}-----"))?;
        let (body, _) = rest.split_once(&format!("-----END {name}-----"))?;
        STANDARD.decode(body.split_whitespace().collect::<String>()).ok()
    };
    match body("RSA PRIVATE KEY") {
        Some(key) => RsaKeyPair::from_der(&key).ok(),
        None => RsaKeyPair::from_pkcs8(&body("PRIVATE KEY")?).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};

    /// A key that was made for tests, and is no one's.
    const KEY: &str = include_str!("../../../tests/fixtures/github/app.pem");

    fn app() -> App {
        App::new("Iv1.8a61f9b3a7aba766", KEY, Some(7)).expect("a key")
    }

    #[test]
    fn the_word_is_signed_and_short_lived() {
        let app = app();
        let word = app.word(Timestamp(1_700_000_000_999)).expect("signed");
        let parts: Vec<&str> = word.split('.').collect();
        let read = |part: &str| URL_SAFE_NO_PAD.decode(part).expect("Base64");
        let json = |part: &str| serde_json::from_slice::<Value>(&read(part)).expect("JSON");
        assert_eq!(json(parts[0]), json!({ "alg": "RS256", "typ": "JWT" }));
        let claims = json!({ "iat": 1_699_999_940, "exp": 1_700_000_540, "iss": "Iv1.8a61f9b3a7aba766" });
        assert_eq!(json(parts[1]), claims);
        let signed = format!("{}.{}", parts[0], parts[1]);
        let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, app.key.public().as_ref());
        public.verify(signed.as_bytes(), &read(parts[2])).expect("the key has signed it");
    }

    #[test]
    fn which_texts_are_keys() {
        assert!(private_key(KEY).is_some());
        assert!(private_key(&KEY.replace('\n', "\\n")).is_some());
        assert!(private_key(&format!("mine:\r\n{}", KEY.replace('\n', "\r\n"))).is_some());
        for text in ["", "ghp_x", &KEY[..300], &KEY.replace("RSA ", "EC "), &KEY.replace('M', "!")] {
            assert!(private_key(text).is_none(), "{text}");
        }
        for id in ["", "a b", "../x"] {
            assert!(App::new(id, KEY, None).is_err(), "{id}");
        }
    }

    #[test]
    fn a_token_is_used_until_shortly_before_its_end() {
        for (ends, want) in [
            (3_600_000, 3_300_000),
            // A short life is used for three quarters, and one that is over not at all.
            (4_000, 3_000),
            (0, 0),
            (-5, 0),
            (i64::MAX, LIFE_MS_MAX - MARGIN_MS),
        ] {
            assert_eq!(used_until(Timestamp(0), Timestamp(ends)), Timestamp(want), "{ends}");
        }
    }
}
