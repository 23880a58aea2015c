//! Is this request from the platform? Pure. Compared in constant time, on the raw bytes.

use crate::clock::Timestamp;
use crate::plugins::{WebhookKey, bytes};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use ring::signature::{ED25519, UnparsedPublicKey};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};
use vestibule_plugin_api::{HmacScheme, Manifest, Terms, WebhookScheme};

/// What a signed request is known by: the same for the same request, and for no other.
pub type Signature = [u8; 32];

/// The answer to every wrong signature, whatever is wrong with it.
const WRONG: &str = "the signature does not match; the webhook's secret and the account's differ";
/// So many signatures of one request are looked at: each is work that a stranger asks for. A platform that changes its key
/// sends two.
const LISTED_MAX: usize = 8;
const UNKNOWN_WAY: &str = "this channel's webhooks are signed in a way that this runtime does not know";

/// Whether a request verified by the scheme of one is verified by that of the other, too.
pub fn same_scheme(one: &Manifest, other: &Manifest) -> bool {
    (one.webhook, &one.hmac, &one.signing) == (other.webhook, &other.hmac, &other.signing)
}

/// Verifies a request by the scheme that the manifest declares. `header` returns a header's value, by its name in
/// whatever case. Returns what it is known by; a scheme that signs nothing has no such thing.
///
/// # Errors
/// Says what is wrong, in words that give nothing away.
pub fn verify<'h>(
    manifest: &Manifest,
    key: &WebhookKey,
    header: impl Fn(&str) -> Option<&'h str>,
    body: &[u8],
    now: Timestamp,
) -> Result<Option<Signature>, &'static str> {
    let terms = manifest.terms().ok_or("this channel's webhooks cannot be verified")?;
    let has_new_word = manifest.signing.as_ref().is_some_and(|signing| !signing.unknown.is_empty());
    if has_new_word {
        return Err(UNKNOWN_WAY);
    }
    let claimed = header(terms.header).ok_or(match manifest.webhook {
        WebhookScheme::GithubSha256 => "the header X-Hub-Signature-256 is missing; set the webhook's secret",
        WebhookScheme::SecretHeader => "the header with the secret is missing; set the webhook's secret",
        _ => "the signature's header is missing; set the webhook's secret",
    })?;
    if manifest.webhook == WebhookScheme::SecretHeader {
        return is_secret(claimed, key).map(|()| None);
    }
    let has_id = manifest.webhook == WebhookScheme::StandardWebhooks;
    let (stamp, before, after) = around(&terms, has_id, header)?;
    let parts = [before.as_bytes(), body, after.as_bytes()];
    let known_by = match (manifest.webhook, &manifest.hmac, key) {
        (WebhookScheme::GithubSha256, _, WebhookKey::Secret(key)) => begins("sha256=", claimed, key, &parts),
        (WebhookScheme::SlackV0, _, WebhookKey::Secret(key)) => begins("v0=", claimed, key, &parts),
        (WebhookScheme::Hmac, Some(hmac), WebhookKey::Secret(key)) => declared(hmac, claimed, key, &parts),
        (WebhookScheme::StandardWebhooks, _, WebhookKey::Secret(key)) => listed(claimed, key, &parts),
        (WebhookScheme::StandardWebhooks, _, WebhookKey::Public(key)) => listed_public(claimed, key, &parts),
        (WebhookScheme::Ed25519, _, WebhookKey::Public(key)) => by_public_key(claimed, key, &parts),
        _ => Err(UNKNOWN_WAY),
    }?;
    if let Some(stamp) = stamp {
        // Only after the check: now the time is the platform's own word.
        let signed_at: i64 = stamp.parse().map_err(|_| "it does not say when it was signed")?;
        if (now.0 / 1000).abs_diff(signed_at) > terms.window_seconds {
            return Err("it was signed too long ago, or the clocks differ");
        }
    }
    Ok(Some(known_by))
}

/// When a request was signed, if it says so, and what is signed before and after its body.
fn around<'h>(
    terms: &Terms<'_>,
    has_id: bool,
    header: impl Fn(&str) -> Option<&'h str>,
) -> Result<(Option<&'h str>, String, String), &'static str> {
    let time_missing = "the header that says when it was signed is missing";
    let stamp = terms.timestamp_header.map(|name| header(name).ok_or(time_missing)).transpose()?;
    // With other characters what stands before the time could be taken for a part of it.
    if stamp.is_some_and(|stamp| !stamp.bytes().all(|byte| byte.is_ascii_digit())) {
        return Err("it does not say when it was signed");
    }
    let (before, after) = terms.signed.split_once("{body}").ok_or(WRONG)?;
    let mut around = [before, after].map(|part| part.replace("{timestamp}", stamp.unwrap_or_default()));
    if has_id {
        let id = header("webhook-id").ok_or("the header webhook-id is missing")?;
        around = around.map(|part| part.replace("{id}", id));
    }
    let [before, after] = around;
    Ok((stamp, before, after))
}

/// The secret itself. Of two digests no length tells anything.
fn is_secret(claimed: &str, key: &WebhookKey) -> Result<(), &'static str> {
    let WebhookKey::Secret(secret) = key else { return Err(UNKNOWN_WAY) };
    let is_equal: bool = Sha256::digest(claimed).ct_eq(&Sha256::digest(secret)).into();
    if is_equal { Ok(()) } else { Err("the secret is another one than the account's") }
}

/// A prefix, and an HMAC in hexadecimal digits.
fn begins(prefix: &str, claimed: &str, key: &[u8], parts: &[&[u8]]) -> Result<Signature, &'static str> {
    let claimed = claimed.strip_prefix(prefix).ok_or(WRONG)?;
    let own = mac(key, parts)?;
    matches(claimed, "hex", own).map(|()| own)
}

fn declared(
    hmac: &HmacScheme,
    claimed: &str,
    key: &[u8],
    parts: &[&[u8]],
) -> Result<Signature, &'static str> {
    if !hmac.unknown.is_empty() || hmac.algorithm != "sha256" {
        return Err(UNKNOWN_WAY);
    }
    let claimed = claimed.strip_prefix(hmac.prefix.as_str()).ok_or(WRONG)?;
    let own = mac(key, parts)?;
    matches(claimed, &hmac.encoding, own).map(|()| own)
}

/// One of several signatures, with blanks between: while a secret is changed, the platform signs with both.
fn listed(claimed: &str, key: &[u8], parts: &[&[u8]]) -> Result<Signature, &'static str> {
    let own = mac(key, parts)?;
    let ours = STANDARD_NO_PAD.encode(own);
    let versions = claimed.split(' ').filter_map(|one| one.strip_prefix("v1,"));
    let any = versions
        .fold(Choice::from(0), |any, one| any | one.trim_end_matches('=').as_bytes().ct_eq(ours.as_bytes()));
    if any.into() { Ok(own) } else { Err(WRONG) }
}

/// The same of signatures that were made with private keys: the platform has them alone.
fn listed_public(claimed: &str, key: &[u8; 32], parts: &[&[u8]]) -> Result<Signature, &'static str> {
    let versions = claimed.split(' ').filter_map(|one| one.strip_prefix("v1a,"));
    versions.take(LISTED_MAX).find_map(|one| by_public_key(one, key, parts).ok()).ok_or(WRONG)
}

/// A signature that was made with the private half of a key. Its holder can sign one request in many ways: it is known by
/// what is signed.
fn by_public_key(claimed: &str, key: &[u8; 32], parts: &[&[u8]]) -> Result<Signature, &'static str> {
    let claimed: [u8; 64] = bytes(claimed).ok_or(WRONG)?;
    let signed = parts.concat();
    UnparsedPublicKey::new(&ED25519, key).verify(&signed, &claimed).map_err(|_| WRONG)?;
    Ok(Sha256::digest(&signed).into())
}

fn mac(secret: &[u8], parts: &[&[u8]]) -> Result<Signature, &'static str> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).map_err(|_| WRONG)?;
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
        _ => return Err(UNKNOWN_WAY),
    };
    let is_equal: bool = claimed.as_bytes().ct_eq(String::as_bytes(&own)).into();
    if is_equal { Ok(()) } else { Err(WRONG) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::webhook_key;
    use ring::signature::{Ed25519KeyPair, KeyPair};

    /// The example of GitHub's own documentation.
    const SECRET: &str = "It's a Secret to Everybody";
    const BODY: &[u8] = b"Hello, World!";
    const RIGHT: &str = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

    fn manifest(webhook: &str) -> Manifest {
        let text = format!(
            r#"{{"name":"x","version":"1","kind":"channel","abi":1,"api":"0.1","channel_type":"x",
            "secrets":["webhook_secret","signing_secret","key"],"webhook":{webhook}}}"#
        );
        Manifest::parse(text.as_bytes()).expect("it fits")
    }

    fn check(manifest: &Manifest, headers: &[(&str, &str)], body: &[u8], secret: &str, now: i64) -> bool {
        let header = |name: &str| {
            headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
        };
        let Ok(key) = webhook_key(manifest, secret) else { return false };
        let known_by = verify(manifest, &key, header, body, Timestamp(now * 1000));
        let signs = manifest.webhook != WebhookScheme::SecretHeader;
        assert!(known_by.is_err() || known_by.is_ok_and(|known_by| known_by.is_some() == signs));
        known_by.is_ok()
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

    /// The example of Slack's own documentation, by the scheme and as an HMAC that says the same.
    #[test]
    fn a_scheme_with_a_time() {
        let declared = r#""hmac","hmac":{"header":"X-Slack-Signature","prefix":"v0=","signed":"v0:{timestamp}:{body}",
            "timestamp_header":"X-Slack-Request-Timestamp","key":"key"}"#;
        let secret = "8f742231b10e8888abcd99yyyzzz85a5";
        let body = b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&\
            channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&\
            command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2F\
            T1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&\
            trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
        let right = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503";
        let time = 1_531_420_618;
        for (scheme, key) in [(declared, "key"), (r#""slack_v0""#, "signing_secret")] {
            let slack = manifest(scheme);
            assert_eq!(slack.webhook_secret_key(), key);
            let signed = |signature: &str, time: &str, now: i64| {
                let headers = [("x-slack-signature", signature), ("x-slack-request-timestamp", time)];
                check(&slack, &headers, body, secret, now)
            };
            let at = |time: &str, now: i64| signed(right, time, now);
            assert!(at("1531420618", time) && at("1531420618", time + 300) && at("1531420618", time - 300));
            assert!(!at("1531420618", time + 301), "too old");
            assert!(!at("1531420618", time - 301), "from a clock that is ahead");
            assert!(!at("1531420619", time), "the time is signed, too");
            assert!(!at("x", time) && !at("", time) && !at("1531420618:", time));
            for wrong in ["", "v0=", &right[3..], &right.replace("v0=", "v1="), &right[..60]] {
                assert!(!signed(wrong, "1531420618", time), "{wrong}");
            }
            assert!(!check(&slack, &[("x-slack-signature", right)], body, secret, time), "without a time");
        }
        let short = manifest(r#""slack_v0","signing":{"window_seconds":9}"#);
        let headers = [("x-slack-signature", right), ("x-slack-request-timestamp", "1531420618")];
        assert!(check(&short, &headers, body, secret, time + 9));
        assert!(!check(&short, &headers, body, secret, time + 10));
    }

    /// The example that the libraries of Standard Webhooks are tested with.
    #[test]
    fn standard_webhooks_are_signed_with_one_of_several_secrets() {
        let standard = manifest(r#""standard_webhooks""#);
        let (id, body) = ("msg_p5jXN8AQM9LWM0D4loKWxJek", br#"{"test": 2432232314}"#);
        let right = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        let time = 1_614_265_330;
        let signed = |id: &str, stamp: &str, signature: &str, secret: &str, now: i64| {
            let headers =
                [("webhook-id", id), ("webhook-timestamp", stamp), ("webhook-signature", signature)];
            check(&standard, &headers, body, secret, now)
        };
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let with = |signature: &str| signed(id, "1614265330", signature, secret, time);
        let other = "v1,Ceo5qEr07ixe2NLpvHk3FH9bwy/WavXrAFQ/9tdO6mc=";
        let asymmetric = format!("v1a,{}", &right[3..]);
        for fits in
            [right, &format!("{other} {right}"), &format!("{right} {other}"), &format!("v2,x {right} v1,")]
        {
            assert!(with(fits), "{fits}");
        }
        for wrong in
            ["", "v1,", " ", other, &right[3..], &asymmetric, &right[..40], &format!("{right},{right}")]
        {
            assert!(!with(wrong), "{wrong}");
        }
        assert!(signed(id, "1614265330", right, &secret[6..], time), "without its sign in front");
        assert!(signed(id, "1614265330", right, secret, time + 300));
        assert!(!signed(id, "1614265330", right, secret, time + 301), "too old");
        assert!(!signed(id, "1614265331", right, secret, time) && !signed(id, "x", right, secret, time));
        assert!(!signed("msg_other", "1614265330", right, secret, time), "the id is signed, too");
        assert!(!signed(id, "1614265330", right, "whsec_YWJj", time));
        let headers = [("webhook-timestamp", "1614265330"), ("webhook-signature", right)];
        assert!(!check(&standard, &headers, body, secret, time), "without an id");
    }

    /// The example that the libraries of Standard Webhooks sign with a private key.
    #[test]
    fn standard_webhooks_are_signed_with_one_of_several_private_keys() {
        let standard = manifest(r#""standard_webhooks""#);
        let (id, body) = ("msg_p5jXN8AQM9LWM0D4loKWxJek", br#"{"test": 2432232314}"#);
        let right =
            "v1a,tQ9V2XOqn7jL/DQenEFpqIugdBVtiMmER5mhSkXBNwM0mkATuDe6KYYUuxqtaiHeYGb7KaaBRdM5WqyeFiL8Ag==";
        let time = 1_614_265_330;
        let public = |seed: &[u8; 32]| {
            let pair = Ed25519KeyPair::from_seed_unchecked(seed).expect("a key");
            format!("whpk_{}=", STANDARD_NO_PAD.encode(pair.public_key()))
        };
        let key = public(b"TESTSIGNINGKEYDONOTUSETHISFORANY");
        let signed = |id: &str, stamp: &str, signature: &str, key: &str, now: i64| {
            let headers =
                [("webhook-id", id), ("webhook-timestamp", stamp), ("webhook-signature", signature)];
            check(&standard, &headers, body, key, now)
        };
        let with = |signature: &str| signed(id, "1614265330", signature, &key, time);
        let other = format!("v1a,{}==", STANDARD_NO_PAD.encode([7; 64]));
        let symmetric = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        for fits in [right, &format!("{other} {right}"), &format!("{symmetric} {right} {other}")] {
            assert!(with(fits), "{fits}");
        }
        let as_symmetric = right.replace("v1a,", "v1,");
        let late = format!("{} {right}", [other.as_str(); LISTED_MAX].join(" "));
        for wrong in ["", "v1a,", "v1a,AA==", &other, symmetric, &as_symmetric, &right[4..], &late] {
            assert!(!with(wrong), "{wrong}");
        }
        assert!(signed(id, "1614265330", right, &key, time + 300));
        assert!(!signed(id, "1614265330", right, &key, time + 301), "too old");
        assert!(!signed(id, "1614265331", right, &key, time), "the time is signed, too");
        assert!(!signed("msg_other", "1614265330", right, &key, time), "the id is signed, too");
        assert!(!signed(id, "1614265330", right, &public(&[7; 32]), time), "another key");
        // The public half is known to all: nothing is signed with it as with a secret.
        let as_secret = STANDARD_NO_PAD
            .encode(mac(key.as_bytes(), &[id.as_bytes(), b".1614265330.", body]).expect("any key makes one"));
        assert!(!with(&format!("v1,{as_secret}=")));
    }

    /// The second example of RFC 8032, and a key of ours that signs as Discord does.
    #[test]
    fn a_public_key_verifies_and_cannot_sign() {
        let bare = manifest(r#""ed25519","signing":{"header":"X-Sign"}"#);
        let key = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c";
        let right = "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
            085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00";
        let with = |signature: &str, body: &[u8]| check(&bare, &[("x-sign", signature)], body, key, 0);
        assert!(with(right, b"r") && with(&right.to_uppercase(), b"r"));
        for wrong in ["", &right[2..], &right.replace("92a0", "92a1"), &"0".repeat(128), &"z".repeat(128)] {
            assert!(!with(wrong, b"r"), "{wrong}");
        }
        assert!(!with(right, b"s") && !with(right, b""));

        let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("a key");
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let public = hex(pair.public_key().as_ref());
        let (time, body) = (1_700_000_000, br#"{"type":1}"#);
        let signature = pair.sign(format!("{time}{}", r#"{"type":1}"#).as_bytes());
        let in_base64 = STANDARD_NO_PAD.encode(signature);
        let discord = manifest(r#""ed25519""#);
        let at = |signature: &str, stamp: &str, key: &str, now: i64| {
            let headers = [("X-Signature-Ed25519", signature), ("X-Signature-Timestamp", stamp)];
            check(&discord, &headers, body, key, now)
        };
        let signature = hex(signature.as_ref());
        let public_in_base64 = STANDARD_NO_PAD.encode(pair.public_key());
        for (signature, key) in
            [(&signature, &public), (&in_base64, &public), (&signature, &public_in_base64)]
        {
            assert!(at(signature, "1700000000", key, time));
        }
        assert!(at(&signature, "1700000000", &public, time + 300));
        assert!(!at(&signature, "1700000000", &public, time + 301), "too old");
        assert!(!at(&signature, "1700000001", &public, time), "the time is signed, too");
        assert!(!at(&signature, "1700000000", key, time), "another key");
        let odd = hex(pair.sign(format!("+{time}{}", r#"{"type":1}"#).as_bytes()).as_ref());
        assert!(!at(&odd, "+1700000000", &public, time), "a time is made of digits, also one that is signed");
        assert!(!at(&signature, "1700000000", "", time) && !at(&signature, "1700000000", "zz", time));
    }

    #[test]
    fn a_secret_in_a_header_is_all_of_it_or_nothing() {
        let telegram = manifest(r#""secret_header","signing":{"header":"X-Telegram-Bot-Api-Secret-Token"}"#);
        let with = |value: &str, secret: &str| {
            check(&telegram, &[("x-telegram-bot-api-secret-token", value)], BODY, secret, 0)
        };
        assert!(with("s3cret", "s3cret"));
        for wrong in ["", "s3cre", "s3crets", "S3cret", " s3cret"] {
            assert!(!with(wrong, "s3cret"), "{wrong:?}");
        }
        assert!(!check(&telegram, &[], BODY, "s3cret", 0));
        assert!(!check(&telegram, &[("x-other", "s3cret")], BODY, "s3cret", 0));
    }

    #[test]
    fn which_manifests_verify_alike() {
        let words = [
            r#""github_sha256""#,
            r#""github_sha256","signing":{"key":"key"}"#,
            r#""hmac","hmac":{"header":"X-Sign"}"#,
            r#""hmac","hmac":{"header":"X-Other"}"#,
            r#""ed25519""#,
            r#""ed25519","signing":{"window_seconds":9}"#,
        ];
        for one in words {
            for other in words {
                assert_eq!(same_scheme(&manifest(one), &manifest(other)), one == other, "{one} {other}");
            }
        }
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
        for (more, passes) in [("", true), (r#","salt":"a word of later""#, false)] {
            let manifest = manifest(&format!(r#""secret_header","signing":{{"header":"X-Sign"{more}}}"#));
            assert_eq!(check(&manifest, &[("x-sign", SECRET)], BODY, SECRET, 0), passes, "{more}");
        }
    }
}
