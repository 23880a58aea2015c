//! Is this body from the platform? Pure. Compared in constant time, on the raw bytes.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use vestibule_plugin_api::WebhookScheme;

/// Verifies `signature` by the scheme.
///
/// # Errors
/// Says what is wrong, in words that give nothing away.
pub fn verify(
    scheme: WebhookScheme,
    secret: &str,
    signature: Option<&str>,
    body: &[u8],
) -> Result<(), &'static str> {
    match scheme {
        WebhookScheme::GithubSha256 => {
            let signature =
                signature.ok_or("the header X-Hub-Signature-256 is missing; set the webhook's secret")?;
            let wrong = "the signature does not match; the webhook's secret and `webhook_secret` differ";
            let claimed = signature.strip_prefix("sha256=").and_then(bytes_of_hex).ok_or(wrong)?;
            let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).map_err(|_| wrong)?;
            mac.update(body);
            mac.verify_slice(&claimed).map_err(|_| wrong)
        }
        WebhookScheme::None | WebhookScheme::Unknown => Err("this channel's webhooks cannot be verified"),
    }
}

/// The header that carries the signature.
pub fn header(scheme: WebhookScheme) -> &'static str {
    match scheme {
        WebhookScheme::GithubSha256 => "x-hub-signature-256",
        WebhookScheme::None | WebhookScheme::Unknown => "",
    }
}

fn bytes_of_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    digits.chunks(2).map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of GitHub's own documentation.
    const SECRET: &str = "It's a Secret to Everybody";
    const BODY: &[u8] = b"Hello, World!";
    const RIGHT: &str = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

    #[test]
    fn only_the_right_signature_passes() {
        let verify = |signature| verify(WebhookScheme::GithubSha256, SECRET, signature, BODY).is_ok();
        assert!(verify(Some(RIGHT)));
        for wrong in [None, Some(""), Some("sha256="), Some("sha1=75"), Some("sha256=zz"), Some(&RIGHT[..70])]
        {
            assert!(!verify(wrong), "{wrong:?}");
        }
        assert!(super::verify(WebhookScheme::GithubSha256, "other", Some(RIGHT), BODY).is_err());
        assert!(super::verify(WebhookScheme::Unknown, SECRET, Some(RIGHT), BODY).is_err());
    }
}
