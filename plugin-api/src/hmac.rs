//! A webhook scheme that a channel declares instead of naming: an HMAC in a header.

use crate::Manifest;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How a webhook of the scheme `hmac` is signed. The runtime refuses what it cannot verify: a word or a
/// field of a newer vocabulary, too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HmacScheme {
    /// The header that carries the signature.
    pub header: String,
    /// The text that stands before the signature in the header.
    #[serde(default)]
    pub prefix: String,
    /// The hash of the HMAC: `sha256`.
    #[serde(default = "sha256")]
    pub algorithm: String,
    /// How the signature is written: `hex` or `base64`.
    #[serde(default = "hex")]
    pub encoding: String,
    /// The config key of the secret; one of the manifest's `secrets`.
    #[serde(default = "webhook_secret")]
    pub key: String,
    /// What is signed, with `{body}` for the raw body and `{timestamp}` for that header's value.
    #[serde(default = "body")]
    pub signed: String,
    /// The header that says when it was signed, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp_header: Option<String>,
    /// How far that time may be from the runtime's clock, in seconds.
    #[serde(default = "five_minutes")]
    pub window_seconds: u64,
    /// Fields of a newer vocabulary.
    #[serde(flatten)]
    pub unknown: BTreeMap<String, serde_json::Value>,
}

fn sha256() -> String {
    "sha256".into()
}

fn hex() -> String {
    "hex".into()
}

fn webhook_secret() -> String {
    "webhook_secret".into()
}

fn body() -> String {
    "{body}".into()
}

fn five_minutes() -> u64 {
    300
}

impl HmacScheme {
    /// What is wrong with the declaration, for the person who built the plugin.
    pub fn fault(&self, manifest: &Manifest) -> Option<String> {
        let is_name = |name: &str| {
            !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
        };
        let count = |word| self.signed.matches(word).count();
        if !is_name(&self.header) || self.timestamp_header.as_ref().is_some_and(|name| !is_name(name)) {
            Some("its `hmac` names a header that none can have".into())
        } else if !manifest.secrets.contains(&self.key) {
            Some(format!(
                "its `hmac` has the key `{}`, which is not among its secrets",
                self.key.escape_debug()
            ))
        } else if count("{body}") != 1 {
            Some("its `hmac` must sign `{body}`, once".into())
        } else if count("{timestamp}") != usize::from(self.timestamp_header.is_some()) {
            Some("its `hmac` must sign `{timestamp}` if it has a `timestamp_header`, and only then".into())
        } else {
            None
        }
    }
}
