//! Webhooks of a scheme that a plugin file declares, verified by the runtime; what the plugin counts
//! survives a crash of the house.

use crate::support::{House, plugin_file, request};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::time::UNIX_EPOCH;

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bits: String = bytes.iter().map(|byte| format!("{byte:08b}")).collect();
    let bits = format!("{bits:0<width$}", width = bits.len().div_ceil(6) * 6);
    let letters = bits.as_bytes().chunks(6).map(|six| {
        let place = usize::from_str_radix(std::str::from_utf8(six).unwrap(), 2).unwrap();
        char::from(LETTERS[place])
    });
    let text: String = letters.collect();
    format!("{text:=<width$}", width = text.len().div_ceil(4) * 4)
}

fn post(house: &House, secret: &str, age: i64, body: &str) -> (u16, String) {
    let now = UNIX_EPOCH.elapsed().unwrap().as_secs() as i64;
    let time = (now - age).to_string();
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(format!("{time}.{body}").as_bytes());
    let signature = format!("v1,{}", base64(&mac.finalize().into_bytes()));
    let headers = [("x-plain-signature", signature.as_str()), ("x-plain-time", time.as_str())];
    request(house.listening(), "POST", "/webhook/plain/main", &headers, body.as_bytes())
}

fn house(config: &str) -> House {
    let house = House::new(&format!("[channels.plain.main]\nplatform = \"127.0.0.1:9\"\n{config}"));
    let plugins = house.home.path().join("plugins");
    std::fs::create_dir_all(&plugins).unwrap();
    std::fs::copy(plugin_file("vestibule-plain-channel"), plugins.join("plain.so")).unwrap();
    house.env("TEST_KEY", "the key")
}

#[test]
fn a_declared_scheme_is_verified_and_what_is_counted_is_kept() {
    let mut house = house("signing_key = { env = \"TEST_KEY\" }\n");
    house.start_with("plain");
    assert_eq!(post(&house, "the key", 0, "one"), (200, "1".into()));
    assert_eq!(post(&house, "another", 0, "x").0, 401);
    let (status, words) = post(&house, "the key", 3_600, "x");
    assert!(status == 401 && words.contains("too long ago"), "{status} {words}");
    house.kill();
    house.start_with("plain");
    assert_eq!(post(&house, "the key", 0, "two"), (200, "2".into()));
    assert_eq!(house.query::<i64>("SELECT COUNT(*) FROM event_ids WHERE channel_type = 'plain'"), [2]);
}

#[test]
fn without_its_secret_nothing_is_taken() {
    let mut house = house("");
    house.start_with("plain");
    let (status, words) = post(&house, "", 0, "x");
    assert!(status == 503 && words.contains("no signing_key"), "{status} {words}");
    assert_eq!(house.query::<i64>("SELECT COUNT(*) FROM event_ids"), [0]);
}
