//! What an account's webhooks are verified with, read from its config. Pure.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::Value;
use vestibule_plugin_api::{Manifest, WebhookScheme};

/// What an account's webhooks are verified with.
#[derive(Clone, PartialEq, Eq)]
pub enum WebhookKey {
    /// A secret that the platform has, too.
    Secret(Vec<u8>),
    /// The public half of the key with which the platform signs.
    Public([u8; 32]),
}

/// What an account's config says for webhooks.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys {
    /// What they are verified with.
    pub key: Option<WebhookKey>,
    /// The token in the question with which the platform tries their address.
    pub token: Option<String>,
}

/// Base64 with or without the `=` at its end.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The keys in an account's config. With an empty secret every stranger could sign: it counts as none.
///
/// # Errors
/// It is no key of the manifest's scheme. Says what such a key looks like, and nothing of this one.
pub fn read(manifest: &Manifest, config: &Value) -> Result<Keys, String> {
    let text = |name: &str| config.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let token = manifest.challenge.as_ref().and_then(|challenge| text(&challenge.key)).map(str::to_owned);
    let key = text(manifest.webhook_secret_key()).map(|text| key(manifest, text)).transpose()?;
    Ok(Keys { key, token })
}

/// What verifies the webhooks of a manifest's scheme.
///
/// # Errors
/// As [`read`].
pub fn key(manifest: &Manifest, text: &str) -> Result<WebhookKey, String> {
    let key = match manifest.webhook {
        WebhookScheme::Ed25519 => public(text)
            .map(WebhookKey::Public)
            .ok_or("is no public key of Ed25519: that is 64 hexadecimal digits, or 44 characters of base64"),
        WebhookScheme::StandardWebhooks => standard(text),
        _ => Ok(WebhookKey::Secret(text.as_bytes().to_vec())),
    };
    key.map_err(|why| {
        format!("`{}` {why}. Copy it again from the platform's page", manifest.webhook_secret_key())
    })
}

/// The word before a key of Standard Webhooks says what it is.
fn standard(text: &str) -> Result<WebhookKey, &'static str> {
    let text = text.trim();
    if text.starts_with("whsk_") {
        return Err("is the private key, which is the platform's alone: its public half begins with `whpk_`");
    }
    if text.starts_with("whpk_") {
        let key = public(text).map(WebhookKey::Public);
        return key
            .ok_or("is no public key of Standard Webhooks: that is `whpk_` and 44 characters of base64");
    }
    let secret = BASE64.decode(text.strip_prefix("whsec_").unwrap_or(text)).ok();
    let secret = secret.filter(|secret| !secret.is_empty()).map(WebhookKey::Secret);
    secret.ok_or("is no secret of Standard Webhooks: that is `whsec_` and base64")
}

fn public(text: &str) -> Option<[u8; 32]> {
    let text = text.trim();
    let key: [u8; 32] = bytes(text.strip_prefix("whpk_").unwrap_or(text))?;
    // Zeros, such as a form is filled with, are a point for which signatures can be made up.
    key.iter().any(|byte| *byte != key[0]).then_some(key)
}

/// So many bytes, written as hexadecimal digits or in base64.
pub fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N {
        return BASE64.decode(text).ok()?.try_into().ok();
    }
    let mut bytes = [0; N];
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        let digit =
            |at: usize| char::from(digits[at]).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        *byte = digit(0)? * 16 + digit(1)?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn which_key_of_the_config_can_verify_a_webhook() {
        let manifest = |words: &str| {
            let text = format!(
                r#"{{"name":"x","version":"1","kind":"channel","abi":1,"api":"0.2","channel_type":"x",
                "secrets":["webhook_secret","key"],"webhook":{words}}}"#
            );
            Manifest::parse(text.as_bytes()).expect("it fits")
        };
        let github = r#""github_sha256""#;
        let standard = r#""standard_webhooks""#;
        let ed25519 = r#""ed25519""#;
        let hex = "00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF";
        let in_base64 = "ABEiM0RVZneImaq7zN3u/wARIjNEVWZ3iJmqu8zd7v8=";
        let point: [u8; 32] = std::array::from_fn(|at| (at % 16 * 17) as u8);
        let secret = |text: &[u8]| Ok(Some(WebhookKey::Secret(text.to_vec())));
        let public = || Ok(Some(WebhookKey::Public(point)));
        for (scheme, config, want) in [
            (github, json!({ "webhook_secret": "x" }), secret(b"x")),
            (github, json!({ "webhook_secret": "" }), Ok(None)),
            (github, json!({ "webhook_secret": 7 }), Ok(None)),
            (github, json!({ "another": "x" }), Ok(None)),
            (r#""hmac","hmac":{"header":"X","key":"key"}"#, json!({ "key": "x" }), secret(b"x")),
            (standard, json!({ "webhook_secret": "whsec_YWJj" }), secret(b"abc")),
            (standard, json!({ "webhook_secret": "YWI=" }), secret(b"ab")),
            (standard, json!({ "webhook_secret": "whsec_YWI" }), secret(b"ab")),
            (standard, json!({ "webhook_secret": "whsec_" }), Err("no secret of Standard Webhooks")),
            (standard, json!({ "webhook_secret": "whsec_not base64" }), Err("no secret of Standard")),
            (standard, json!({}), Ok(None)),
            (standard, json!({ "webhook_secret": format!("whpk_{in_base64}") }), public()),
            (standard, json!({ "webhook_secret": "whpk_YWJj" }), Err("no public key of Standard")),
            (standard, json!({ "webhook_secret": format!("whsk_{in_base64}") }), Err("begins with `whpk_`")),
            (ed25519, json!({ "public_key": hex }), public()),
            (ed25519, json!({ "public_key": in_base64 }), public()),
            (ed25519, json!({ "public_key": format!(" whpk_{in_base64}\n") }), public()),
            (ed25519, json!({ "public_key": &hex[2..] }), Err("no public key of Ed25519")),
            (ed25519, json!({ "public_key": "0".repeat(64) }), Err("no public key of Ed25519")),
            (ed25519, json!({ "public_key": format!("{}zz", &hex[2..]) }), Err("no public key")),
            (ed25519, json!({ "webhook_secret": "x" }), Ok(None)),
        ] {
            let told = read(&manifest(scheme), &config).map(|keys| keys.key);
            match (&told, want) {
                (Ok(key), Ok(want)) => assert!(*key == want, "{scheme} {config}"),
                (Err(told), Err(want)) => assert!(told.contains(want), "{scheme} {config}: {told}"),
                (told, _) => panic!("{scheme} {config}: {:?}", told.as_ref().map(Option::is_some)),
            }
        }
        let meta = manifest(r#""github_sha256","challenge":{"key":"key"}"#);
        for (config, want) in [
            (json!({ "webhook_secret": "x", "key": "t" }), Some("t")),
            (json!({ "webhook_secret": "x", "key": "" }), None),
            (json!({ "webhook_secret": "x" }), None),
        ] {
            assert_eq!(read(&meta, &config).expect("it is read").token.as_deref(), want, "{config}");
        }
    }
}
