//! Is this body from the platform? Pure. Compared in constant time, on the raw bytes.

use crate::clock::Timestamp;
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use vestibule_plugin_api::{HmacScheme, Manifest, WebhookScheme};

/// An HMAC with SHA-256.
pub type Signature = [u8; 32];

/// The answer to every wrong signature, whatever is wrong with it.
const WRONG: &str = "the signature does not match; the webhook's secret and the account's differ";

/// Whether a request verified by the scheme of one is verified by that of the other, too.
pub fn same_scheme(one: &Manifest, other: &Manifest) -> bool {
    (one.webhook, &one.hmac) == (other.webhook, &other.hmac)
}

/// Verifies a request by the scheme that the manifest declares. `header` returns a header's value, by its name in
/// whatever case. Returns the signature: the same for the same request, and for no other.
///
/// # Errors
/// Says what is wrong, in words that give nothing away.
pub fn verify<'h>(
    manifest: &Manifest,
    secret: &str,
    header: impl Fn(&str) -> Option<&'h str>,
    body: &[u8],
    now: Timestamp,
) -> Result<Signature, &'static str> {
    let cannot = "this channel's webhooks cannot be verified";
    match (manifest.webhook, &manifest.hmac) {
        (WebhookScheme::GithubSha256, _) => {
            let signature = header("x-hub-signature-256")
                .ok_or("the header X-Hub-Signature-256 is missing; set the webhook's secret")?;
            let claimed = signature.strip_prefix("sha256=").ok_or(WRONG)?;
            let own = mac(secret, &[body])?;
            matches(claimed, "hex", own).map(|()| own)
        }
        (WebhookScheme::Hmac, Some(hmac)) => declared(hmac, secret, header, body, now),
        (WebhookScheme::Hmac, None) | (WebhookScheme::None | WebhookScheme::Unknown, _) => Err(cannot),
    }
}

fn declared<'h>(
    hmac: &HmacScheme,
    secret: &str,
    header: impl Fn(&str) -> Option<&'h str>,
    body: &[u8],
    now: Timestamp,
) -> Result<Signature, &'static str> {
    if !hmac.unknown.is_empty() || hmac.algorithm != "sha256" {
        return Err("this channel's webhooks are signed in a way that this runtime does not know");
    }
    let signature =
        header(&hmac.header).ok_or("the signature's header is missing; set the webhook's secret")?;
    let claimed = signature.strip_prefix(hmac.prefix.as_str()).ok_or(WRONG)?;
    let stamp = match &hmac.timestamp_header {
        None => "",
        Some(name) => header(name).ok_or("the header that says when it was signed is missing")?,
    };
    let (before, after) = hmac.signed.split_once("{body}").ok_or(WRONG)?;
    let [before, after] = [before, after].map(|part| part.replace("{timestamp}", stamp));
    let own = mac(secret, &[before.as_bytes(), body, after.as_bytes()])?;
    matches(claimed, &hmac.encoding, own)?;
    if hmac.timestamp_header.is_some() {
        // Only after the check: now the time is the platform's own word.
        let signed_at: i64 = stamp.parse().map_err(|_| "it does not say when it was signed")?;
        if (now.0 / 1000).abs_diff(signed_at) > hmac.window_seconds {
            return Err("it was signed too long ago, or the clocks differ");
        }
    }
    Ok(own)
}

fn mac(secret: &str, parts: &[&[u8]]) -> Result<Signature, &'static str> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).map_err(|_| WRONG)?;
    for part in parts {
        mac.update(part);
    }
    Ok(mac.finalize().into_bytes().into())
}

/// Writes our own signature as the platform writes its, and compares the two.
fn matches(claimed: &str, encoding: &str, own: Signature) -> Result<(), &'static str> {
    let (claimed, own) = match encoding {
        "hex" => (claimed.to_ascii_lowercase(), own.iter().map(|byte| format!("{byte:02x}")).collect()),
        "base64" => (claimed.trim_end_matches('=').to_owned(), STANDARD_NO_PAD.encode(own)),
        _ => return Err("this channel's webhooks are signed in a way that this runtime does not know"),
    };
    let is_equal: bool = claimed.as_bytes().ct_eq(String::as_bytes(&own)).into();
    if is_equal { Ok(()) } else { Err(WRONG) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of GitHub's own documentation.
    const SECRET: &str = "It's a Secret to Everybody";
    const BODY: &[u8] = b"Hello, World!";
    const RIGHT: &str = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

    fn manifest(webhook: &str) -> Manifest {
        let text = format!(
            r#"{{"name":"x","version":"1","kind":"channel","abi":1,"api":"0.1","channel_type":"x",
            "secrets":["webhook_secret","key"],"webhook":{webhook}}}"#
        );
        Manifest::parse(text.as_bytes()).expect("it fits")
    }

    fn check(manifest: &Manifest, headers: &[(&str, &str)], body: &[u8], secret: &str, now: i64) -> bool {
        let header = |name: &str| {
            headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
        };
        verify(manifest, secret, header, body, Timestamp(now * 1000)).is_ok()
    }

    #[test]
    fn which_config_key_holds_the_secret() {
        for (webhook, want) in [
            (r#""none""#, "webhook_secret"),
            (r#""github_sha256""#, "webhook_secret"),
            (r#""hmac","hmac":{"header":"X-Sign","key":"key"}"#, "key"),
            (r#""github_sha256","hmac":{"header":"X-Sign","key":"key"}"#, "webhook_secret"),
        ] {
            assert_eq!(manifest(webhook).webhook_secret_key(), want, "{webhook}");
        }
    }

    #[test]
    fn only_the_right_signature_passes() {
        let github = manifest("\"github_sha256\"");
        let signed = |value: &str| check(&github, &[("x-hub-signature-256", value)], BODY, SECRET, 0);
        assert!(signed(RIGHT));
        for wrong in ["", "sha256=", "sha1=75", "sha256=zz", &RIGHT[..70], &RIGHT[7..]] {
            assert!(!signed(wrong), "{wrong:?}");
        }
        let right = [("x-hub-signature-256", RIGHT)];
        assert!(!check(&github, &[], BODY, SECRET, 0));
        assert!(!check(&github, &right, BODY, "other", 0));
        assert!(!check(&github, &right, b"Hello, World?", SECRET, 0));
        for scheme in ["\"none\"", "\"rot13\""] {
            assert!(!check(&manifest(scheme), &right, BODY, SECRET, 0), "{scheme}");
        }
    }

    /// The example of Slack's own documentation.
    #[test]
    fn a_declared_scheme_with_a_time() {
        let slack = manifest(
            r#""hmac","hmac":{"header":"X-Slack-Signature","prefix":"v0=","signed":"v0:{timestamp}:{body}",
            "timestamp_header":"X-Slack-Request-Timestamp","key":"key"}"#,
        );
        assert_eq!(slack.webhook_secret_key(), "key");
        let secret = "8f742231b10e8888abcd99yyyzzz85a5";
        let body = b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&\
            channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&\
            command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2F\
            T1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&\
            trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
        let right = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503";
        let at = |time: &str, now: i64| {
            let headers = [("x-slack-signature", right), ("x-slack-request-timestamp", time)];
            check(&slack, &headers, body, secret, now)
        };
        let time = 1_531_420_618;
        assert!(at("1531420618", time) && at("1531420618", time + 300) && at("1531420618", time - 300));
        assert!(!at("1531420618", time + 301), "too old");
        assert!(!at("1531420618", time - 301), "from a clock that is ahead");
        assert!(!at("1531420619", time), "the time is signed, too");
        assert!(!at("x", time));
        assert!(!check(&slack, &[("x-slack-signature", right)], body, secret, time), "without a time");
    }

    #[test]
    fn what_is_not_known_is_refused() {
        let base64 = "dXEH6g6yUJ/CESIczphLijdXC211hsIsRvQ3nIsEPhc=";
        for (more, passes) in [
            (r#""encoding":"base64""#, true),
            (r#""encoding":"base65""#, false),
            (r#""encoding":"base64","algorithm":"sha512""#, false),
            (r#""encoding":"base64","salt":"a word of later""#, false),
        ] {
            let manifest = manifest(&format!(r#""hmac","hmac":{{"header":"X-Sign",{more}}}"#));
            assert_eq!(check(&manifest, &[("x-sign", base64)], BODY, SECRET, 0), passes, "{more}");
        }
    }
}
