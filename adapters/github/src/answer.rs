//! What GitHub's answers mean for the runtime.

use serde::de::DeserializeOwned;
use serde_json::Value;
use std::time::Duration;
use vestibule_plugin_api::toolbox::http::{self, End};
use vestibule_plugin_api::toolbox::json;
use vestibule_plugin_api::{About, Failure, PluginError, Result, Timestamp};

/// GitHub's documentation asks for a minute when a secondary limit names no time.
const SECONDARY_LIMIT_MS: u64 = 60_000;
/// A limit is never longer than an hour; a longer wait is a clock that is wrong.
const WAIT_MS_MAX: u64 = 3_600_000;

/// One answer of GitHub's, or of what stands before it.
pub struct Answer(pub http::Answer);

/// What a call was for, for the words of its error.
#[derive(Debug, Clone, Copy)]
pub struct Purpose {
    /// What GitHub did not take: "the comment".
    pub what: &'static str,
    /// The permission it needs, as GitHub's settings call it.
    pub permission: &'static str,
}

/// As what the account speaks, for what its operator can do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaker {
    /// A user, by a personal access token.
    Token,
    App,
}

impl Speaker {
    /// What helps when GitHub no longer takes what the account shows.
    fn not_taken(self, words: &str) -> String {
        match self {
            Speaker::Token => format!(
                "GitHub no longer takes the token ({words}): put a new one into the config as `token`, and run \
                 `vestibule plugin reload github`"
            ),
            Speaker::App => format!(
                "GitHub no longer takes the app ({words}): check that it is still installed, and not suspended, and that \
                 the key in `private_key` was not deleted; then run `vestibule plugin reload github`"
            ),
        }
    }
}

impl Answer {
    pub fn status(&self) -> u16 {
        self.0.status
    }

    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status())
    }

    pub fn json(&self) -> Value {
        json::read(&self.0.body).unwrap_or_default()
    }

    /// The body of a success.
    ///
    /// # Errors
    /// It is cut or another one: whether the call was done is in doubt.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T> {
        json::read(&self.0.body).map_err(|_| self.unreadable())
    }

    /// Whether GitHub itself answered, and not a proxy before it: GitHub's refusals are JSON with words.
    pub fn is_own(&self) -> bool {
        self.json()["message"].is_string()
    }

    /// The error for an answer that cannot be read.
    pub fn unreadable(&self) -> PluginError {
        if self.0.end == End::Whole {
            not_github(Failure::of_http(self.status(), false))
        } else {
            Failure::network(true).error("GitHub's answer broke off")
        }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.0.header(name)
    }

    /// The status and GitHub's own words, on one clean line.
    pub fn words(&self) -> String {
        let json = self.json();
        let words = json["message"].as_str().unwrap_or_default();
        let clean = http::words(words);
        format!("{}{}{clean}", self.status(), if clean.is_empty() { "" } else { ": " })
    }

    /// How long GitHub asks us to wait, if this is its rate limit.
    pub fn limit_ms(&self) -> Option<u64> {
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
    pub fn later(&self) -> PluginError {
        let failure = Failure::of_http(self.status(), true).of_account();
        match self.limit_ms() {
            Some(ms) => limited(ms, &self.words()),
            None => failure.error(format!("GitHub has a problem ({})", self.words())),
        }
    }

    /// The error for a start that GitHub did not let happen; `refused` says what the operator is to look at.
    pub fn no_start(&self, refused: &str) -> PluginError {
        match self.status() {
            403 | 429 if self.limit_ms().is_some() => self.later(),
            408 | 500.. => self.later(),
            _ if !self.is_own() => self.unreadable(),
            401 | 403 => Failure::for_good(About::Account).error(format!("{refused} ({})", self.words())),
            code => not_github(Failure::of_http(code, true).of_account()),
        }
    }

    /// The error for a call that GitHub did not do.
    pub fn refusal(&self, purpose: Purpose, speaker: Speaker) -> PluginError {
        let words = self.words();
        match self.status() {
            403 | 429 if self.limit_ms().is_some() => self.later(),
            // A gateway may give up on a request that goes on behind it.
            408 | 500.. => self.later(),
            300..=399 => PluginError::refused(format!(
                "the repository has moved ({words}): wire the chat under its new name"
            )),
            _ if !self.is_own() => self.unreadable(),
            401 => Failure::for_good(About::Account).error(speaker.not_taken(&words)),
            403 if words.contains("locked") => PluginError::refused(format!(
                "the conversation is locked ({words}): unlock it on GitHub, or let it rest; with write access to the \
                 repository the token may comment there all the same"
            )),
            403 => not_permitted(purpose, &words, speaker),
            code => Failure::of_http(code, true).error(format!("GitHub refused {} ({words})", purpose.what)),
        }
    }
}

/// The error for what the account may not do.
pub fn not_permitted(purpose: Purpose, words: &str, speaker: Speaker) -> PluginError {
    let permission = format!("`{}: Read and write`", purpose.permission);
    PluginError::refused(match speaker {
        Speaker::Token => format!(
            "GitHub does not let the token do that ({words}): give it this repository and the permission {permission}"
        ),
        Speaker::App => format!(
            "GitHub does not let the app do that ({words}): give it the permission {permission} in its settings, and accept \
             that and this repository where it is installed"
        ),
    })
}

/// The error for a limit that is used up.
pub fn limited(ms: u64, words: &str) -> PluginError {
    let wait = Duration::from_millis(ms.clamp(1000, WAIT_MS_MAX));
    Failure::for_now(About::Account).after(wait).error(format!("GitHub's rate limit is used up ({words})"))
}

/// The wait for a limit that names none, in milliseconds.
pub const UNNAMED_WAIT_MS: u64 = SECONDARY_LIMIT_MS;

fn not_github(failure: Failure) -> PluginError {
    failure.error("what answers there is not GitHub's API: if that lasts, check `api_url` and GITHUB_API_URL")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_what_helps_the_account_that_has_it() {
        let purpose = Purpose { what: "the comment", permission: "Issues" };
        for (status, speaker, want) in [
            (401, Speaker::Token, "as `token`"),
            (401, Speaker::App, "`private_key`"),
            (403, Speaker::Token, "give it this repository and the permission `Issues: Read and write`"),
            (403, Speaker::App, "the permission `Issues: Read and write` in its settings"),
        ] {
            let body = br#"{"message":"no"}"#.to_vec();
            let answer = Answer(http::Answer { status, headers: Default::default(), body, end: End::Whole });
            let error = answer.refusal(purpose, speaker);
            assert!(error.reason().contains(want), "{status} {speaker:?}: {error:?}");
            assert_eq!(matches!(error, PluginError::Broken { .. }), status == 401);
        }
    }
}
