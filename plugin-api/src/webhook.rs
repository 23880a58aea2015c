//! Webhooks: the request that a platform makes to us, its answer, and how the runtime knows that it is the platform's.

use crate::{Manifest, WebhookScheme};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// A webhook's request. The runtime has verified it by the scheme that the manifest declares, and bounded the size, before
/// the channel sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookRequest {
    /// `POST`, `GET` …
    pub method: String,
    /// What follows `?` in the URL, undecoded.
    pub query: String,
    /// Header names in lower case. Values that are not UTF-8 are left out, and so is a secret that came in a header.
    pub headers: Vec<(String, String)>,
    /// The body as it came.
    pub body: Vec<u8>,
}

impl WebhookRequest {
    /// The first value of a header; `name` in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

/// The answer to the platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookResponse {
    /// The HTTP status, 200 to 599.
    pub status: u16,
    /// One clear sentence, or what the platform's protocol asks for.
    pub body: String,
    /// Headers, of those that the manifest lists as `answer_headers`; without `content-type` it is plain text.
    pub headers: Vec<(String, String)>,
}

impl WebhookResponse {
    /// A plain-text answer.
    pub fn text(status: u16, body: impl Into<String>) -> Self {
        WebhookResponse { status, body: body.into(), headers: Vec::new() }
    }

    /// An answer in JSON, of a channel whose `answer_headers` list `content-type`.
    pub fn json(status: u16, body: &Value) -> Self {
        WebhookResponse::text(status, body.to_string()).header("content-type", "application/json")
    }

    /// The same with one header more.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }
}

/// What a scheme is told beside its name. What is left out is as the scheme has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signing {
    /// The config key of the secret, one of the manifest's `secrets`; for `ed25519`, of the public key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The header that carries the signature, or the secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// The header that says when it was signed, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp_header: Option<String>,
    /// What is signed, with `{body}` for the raw body and `{timestamp}` for that header's value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed: Option<String>,
    /// How far that time may be from the runtime's clock, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window_seconds: Option<u64>,
    /// Words of a newer vocabulary: the runtime refuses what it cannot verify.
    #[serde(flatten)]
    pub unknown: BTreeMap<String, Value>,
}

/// How a platform tries a webhook's address by `GET`; every word that is left out is Meta's. The runtime answers the
/// request when its token is the account's, and no plugin sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Challenge {
    /// The parameter that says what the request is for; empty when the platform names none.
    #[serde(default = "hub_mode")]
    pub mode: String,
    /// What that parameter says.
    #[serde(default = "subscribe")]
    pub mode_is: String,
    /// The parameter that holds the token.
    #[serde(default = "hub_token")]
    pub token: String,
    /// The parameter whose value is the answer.
    #[serde(default = "hub_challenge")]
    pub challenge: String,
    /// The config key of the token; one of the manifest's `secrets`.
    #[serde(default = "verify_token")]
    pub key: String,
    /// Words of a newer vocabulary: with one, the runtime answers none.
    #[serde(flatten)]
    pub unknown: BTreeMap<String, Value>,
}

fn hub_mode() -> String {
    "hub.mode".into()
}

fn subscribe() -> String {
    "subscribe".into()
}

fn hub_token() -> String {
    "hub.verify_token".into()
}

fn hub_challenge() -> String {
    "hub.challenge".into()
}

fn verify_token() -> String {
    "verify_token".into()
}

/// How requests are verified, as the scheme and the manifest together say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms<'m> {
    /// The config key of the secret, or of the public key.
    pub key: &'m str,
    /// The header that carries the signature, or the secret.
    pub header: &'m str,
    /// The header that says when it was signed.
    pub timestamp_header: Option<&'m str>,
    /// What is signed: `{body}`, `{timestamp}`, and `{id}` where the scheme has one.
    pub signed: &'m str,
    /// How far the time of its signing may be from the runtime's clock, in seconds.
    pub window_seconds: u64,
}

/// How long a signature is taken, in seconds, unless the manifest says otherwise.
const WINDOW_SECONDS: u64 = 300;
/// The most headers that answers may have.
const ANSWER_HEADERS_MAX: usize = 16;
/// Headers that are about the connection, or about where a message ends on it: the listener writes them.
const LISTENERS_HEADERS: [&str; 11] = [
    "connection",
    "content-length",
    "date",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

impl Manifest {
    /// How its webhooks are verified; nothing for a scheme that is not known.
    pub fn terms(&self) -> Option<Terms<'_>> {
        let of = |key, header, timestamp_header, signed| {
            Some(Terms { key, header, timestamp_header, signed, window_seconds: WINDOW_SECONDS })
        };
        let mut terms = match self.webhook {
            WebhookScheme::GithubSha256 => of("webhook_secret", "X-Hub-Signature-256", None, "{body}"),
            WebhookScheme::SlackV0 => of(
                "signing_secret",
                "X-Slack-Signature",
                Some("X-Slack-Request-Timestamp"),
                "v0:{timestamp}:{body}",
            ),
            WebhookScheme::Ed25519 => {
                of("public_key", "X-Signature-Ed25519", Some("X-Signature-Timestamp"), "{timestamp}{body}")
            }
            WebhookScheme::StandardWebhooks => of(
                "webhook_secret",
                "webhook-signature",
                Some("webhook-timestamp"),
                "{id}.{timestamp}.{body}",
            ),
            WebhookScheme::SecretHeader => of("webhook_secret", "", None, ""),
            WebhookScheme::Hmac => {
                let hmac = self.hmac.as_ref()?;
                return Some(Terms {
                    key: &hmac.key,
                    header: &hmac.header,
                    timestamp_header: hmac.timestamp_header.as_deref(),
                    signed: &hmac.signed,
                    window_seconds: hmac.window_seconds,
                });
            }
            WebhookScheme::None | WebhookScheme::Unknown => None,
        }?;
        let Some(signing) = &self.signing else { return Some(terms) };
        if let Some(header) = &signing.header {
            // Another header is another platform's way: nothing of the usual form is left.
            terms.header = header;
            terms.timestamp_header = signing.timestamp_header.as_deref();
            terms.signed = if terms.timestamp_header.is_some() { "{timestamp}{body}" } else { "{body}" };
        }
        terms.key = signing.key.as_deref().unwrap_or(terms.key);
        terms.signed = signing.signed.as_deref().unwrap_or(terms.signed);
        terms.window_seconds = signing.window_seconds.unwrap_or(terms.window_seconds);
        Some(terms)
    }
}

/// What is wrong with what a manifest says of its webhooks, for the person who built the plugin. How an `hmac` is
/// described, that says itself.
pub(crate) fn fault(manifest: &Manifest) -> Option<String> {
    let signing = manifest.signing.as_ref().and_then(|signing| signing_fault(manifest, signing));
    signing
        .or_else(|| terms_fault(manifest))
        .or_else(|| manifest.challenge.as_ref().and_then(|challenge| challenge_fault(manifest, challenge)))
        .or_else(|| answer_headers_fault(&manifest.answer_headers))
}

/// Whether a header can have this name.
fn is_header(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
}

fn signing_fault(manifest: &Manifest, signing: &Signing) -> Option<String> {
    let given = [
        ("header", signing.header.is_some()),
        ("timestamp_header", signing.timestamp_header.is_some()),
        ("signed", signing.signed.is_some()),
        ("window_seconds", signing.window_seconds.is_some()),
    ];
    let taken: &[&str] = match manifest.webhook {
        WebhookScheme::GithubSha256 => &[],
        WebhookScheme::SlackV0 | WebhookScheme::StandardWebhooks => &["window_seconds"],
        WebhookScheme::Ed25519 => &["header", "timestamp_header", "signed", "window_seconds"],
        WebhookScheme::SecretHeader => &["header"],
        WebhookScheme::Unknown => return None,
        WebhookScheme::None | WebhookScheme::Hmac => {
            return Some("its `signing` belongs to another scheme than its `webhook` names".into());
        }
    };
    if let Some((word, _)) = given.iter().find(|(word, is_given)| *is_given && !taken.contains(word)) {
        return Some(format!(
            "its scheme of webhooks has a `{word}` of its own, and `signing` names another"
        ));
    }
    (signing.header.is_none() && (signing.timestamp_header.is_some() || signing.signed.is_some()))
        .then(|| "its `signing` says how webhooks are signed, and no `header`".into())
}

/// The terms of a scheme of this level fit together.
fn terms_fault(manifest: &Manifest) -> Option<String> {
    let scheme = manifest.webhook;
    if matches!(scheme, WebhookScheme::GithubSha256 | WebhookScheme::Hmac) && manifest.signing.is_none() {
        return None; // as ever
    }
    let terms = manifest.terms()?;
    let count = |word| terms.signed.matches(word).count();
    if scheme == WebhookScheme::SecretHeader && terms.header.is_empty() {
        Some("its webhooks have a `secret_header`, and its `signing` does not say which `header`".into())
    } else if !is_header(terms.header) || terms.timestamp_header.is_some_and(|name| !is_header(name)) {
        Some("its `signing` names a header that none can have".into())
    } else if scheme != WebhookScheme::Ed25519 && !manifest.secrets.iter().any(|secret| secret == terms.key) {
        let key = terms.key.escape_debug();
        Some(format!("its webhooks are verified with `{key}`, which is not among its secrets"))
    } else if scheme != WebhookScheme::SecretHeader && count("{body}") != 1 {
        Some("its `signing` must sign `{body}`, once".into())
    } else if count("{timestamp}") != usize::from(terms.timestamp_header.is_some()) {
        Some("its `signing` must sign `{timestamp}` if it has a `timestamp_header`, and only then".into())
    } else {
        None
    }
}

fn challenge_fault(manifest: &Manifest, challenge: &Challenge) -> Option<String> {
    let Challenge { mode, mode_is, token, challenge: answer, key, .. } = challenge;
    let fits = |name: &str| (1..=64).contains(&name.len()) && name.chars().all(|c| c.is_ascii_graphic());
    let has_mode = !mode.is_empty();
    if !fits(token) || !fits(answer) || (has_mode && !(fits(mode) && fits(mode_is))) {
        Some("its `challenge` names a parameter that is not 1 to 64 visible characters of ASCII".into())
    } else if token == answer || (has_mode && (mode == token || mode == answer)) {
        Some("its `challenge` names one parameter twice".into())
    } else if !manifest.secrets.contains(key) {
        Some(format!("its `challenge` has the key `{}`, which is not among its secrets", key.escape_debug()))
    } else if manifest.webhook == WebhookScheme::None {
        Some("it has a `challenge` for the address of webhooks, and no webhooks".into())
    } else {
        None
    }
}

fn answer_headers_fault(names: &[String]) -> Option<String> {
    let listeners = |name: &&String| LISTENERS_HEADERS.contains(&name.to_ascii_lowercase().as_str());
    if names.len() > ANSWER_HEADERS_MAX {
        Some(format!("it lists {} `answer_headers`, the limit is {ANSWER_HEADERS_MAX}", names.len()))
    } else if names.iter().any(|name| !is_header(name)) {
        Some("its `answer_headers` list a name that no header can have".into())
    } else {
        let name = names.iter().find(listeners)?;
        Some(format!("its `answer_headers` list `{name}`, which only the listener writes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &str) -> Result<Manifest, String> {
        let text = format!(
            r#"{{"name":"x","version":"1","kind":"channel","abi":1,"api":"0.2","channel_type":"x",
            "secrets":["webhook_secret","signing_secret","verify_token","token"],{words}}}"#
        );
        Manifest::parse(text.as_bytes())
    }

    #[test]
    fn what_each_scheme_signs_and_where_it_stands() {
        let slack = ("X-Slack-Signature", Some("X-Slack-Request-Timestamp"), "v0:{timestamp}:{body}");
        let discord = ("X-Signature-Ed25519", Some("X-Signature-Timestamp"), "{timestamp}{body}");
        let standard = ("webhook-signature", Some("webhook-timestamp"), "{id}.{timestamp}.{body}");
        for (words, key, (header, timestamp_header, signed), window_seconds) in [
            (r#""webhook":"slack_v0""#, "signing_secret", slack, 300),
            (r#""webhook":"slack_v0","signing":{"key":"token","window_seconds":60}"#, "token", slack, 60),
            (r#""webhook":"ed25519""#, "public_key", discord, 300),
            (r#""webhook":"ed25519","signing":{"key":"of_the_app"}"#, "of_the_app", discord, 300),
            (r#""webhook":"ed25519","signing":{"header":"X-E"}"#, "public_key", ("X-E", None, "{body}"), 300),
            (
                r#""webhook":"ed25519","signing":{"header":"X-E","timestamp_header":"X-T","signed":"{timestamp}|{body}"}"#,
                "public_key",
                ("X-E", Some("X-T"), "{timestamp}|{body}"),
                300,
            ),
            (r#""webhook":"standard_webhooks""#, "webhook_secret", standard, 300),
            (
                r#""webhook":"github_sha256","signing":{"key":"token"}"#,
                "token",
                ("X-Hub-Signature-256", None, "{body}"),
                300,
            ),
            (
                r#""webhook":"hmac","hmac":{"header":"X-Sign","window_seconds":7}"#,
                "webhook_secret",
                ("X-Sign", None, "{body}"),
                7,
            ),
        ] {
            let manifest = parsed(words).expect(words);
            let want = Terms { key, header, timestamp_header, signed, window_seconds };
            assert_eq!(manifest.terms(), Some(want), "{words}");
            assert_eq!(manifest.webhook_secret_key(), key);
        }
        let gitlab = parsed(r#""webhook":"secret_header","signing":{"header":"X-Gitlab-Token"}"#);
        assert_eq!(gitlab.expect("it fits").terms().map(|terms| terms.header), Some("X-Gitlab-Token"));
        for none in [r#""webhook":"none""#, r#""webhook":"of_a_newer_level""#] {
            assert_eq!(parsed(none).expect(none).terms(), None);
        }
    }

    #[test]
    fn what_a_manifest_says_of_webhooks_must_make_sense() {
        let answers = |names: &[&str]| format!(r#""webhook":"slack_v0","answer_headers":{names:?}"#);
        let many = answers(&["x"; ANSWER_HEADERS_MAX + 1]);
        let challenge = |words: &str| format!(r#""webhook":"github_sha256","challenge":{{{words}}}"#);
        for fits in [
            r#""webhook":"ed25519","signing":{"salt":"of a newer level"}"#.to_owned(),
            r#""webhook":"of_a_newer_level","signing":{"header":"X","signed":"s"}"#.to_owned(),
            challenge(""),
            challenge(r#""mode":"","token":"t","challenge":"c","key":"token""#),
            answers(&["Content-Type", "retry-after"]),
        ] {
            assert!(parsed(&fits).is_ok(), "{fits}: {:?}", parsed(&fits));
        }
        for (words, fault) in [
            (r#""webhook":"secret_header""#, "does not say which `header`"),
            (r#""webhook":"secret_header","signing":{"header":"X Y"}"#, "a header that none can have"),
            (
                r#""webhook":"secret_header","signing":{"header":"X","key":"other"}"#,
                "`other`, which is not among",
            ),
            (r#""webhook":"slack_v0","signing":{"header":"X"}"#, "has a `header` of its own"),
            (r#""webhook":"github_sha256","signing":{"window_seconds":1}"#, "has a `window_seconds`"),
            (r#""webhook":"slack_v0","signing":{"key":"other"}"#, "`other`, which is not among"),
            (r#""webhook":"none","signing":{"key":"token"}"#, "belongs to another scheme"),
            (r#""webhook":"ed25519","signing":{"signed":"{body}"}"#, "and no `header`"),
            (r#""webhook":"ed25519","signing":{"header":"X","signed":"x"}"#, "must sign `{body}`"),
            (
                r#""webhook":"ed25519","signing":{"header":"X","timestamp_header":"T","signed":"{body}"}"#,
                "must sign `{timestamp}`",
            ),
            (r#""webhook":"none","challenge":{}"#, "and no webhooks"),
            (&challenge(r#""token":"""#), "a parameter that is not"),
            (&challenge(r#""token":"hub.challenge""#), "one parameter twice"),
            (&challenge(r#""mode":"hub.challenge""#), "one parameter twice"),
            (&challenge(r#""key":"other""#), "`other`, which is not among"),
            (&many, "the limit is 16"),
            (&answers(&["a b"]), "no header can have"),
            (&answers(&["Transfer-Encoding"]), "only the listener writes"),
            (&answers(&["content-length"]), "only the listener writes"),
            (&answers(&["connection"]), "only the listener writes"),
        ] {
            let told = parsed(words).expect_err(words);
            assert!(told.contains(fault), "{words}: {told}");
        }
    }
}
