//! What a manifest can say of webhooks, each word at a real socket: how they are verified, how their address is tried, what
//! their answers hold, and which account listens for which.

use crate::support::{PATIENCE, Runtime, plugin_file, request, until};
use crate::webhooks::base64;
use hmac::{Hmac, KeyInit, Mac};
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};
use sha2::Sha256;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::UNIX_EPOCH;

const MAIN: &str = "[channels.hook.main]\nwebhook_secret = { env = \"HOOK_SECRET\" }\nverify_token = { env = \"HOOK_TOKEN\" }\n";

/// A runtime with the channel in a file of its own, in whose manifest these words are others.
fn runtime(config: &str, changes: &[(&str, &str)]) -> Runtime {
    let runtime = Runtime::new(config);
    let plugins = runtime.home.path().join("plugins");
    std::fs::create_dir_all(&plugins).unwrap();
    let mut bytes = std::fs::read(plugin_file("vestibule-hook-channel")).unwrap();
    for (from, to) in changes {
        let to = format!("{to:<width$}", width = from.len());
        assert_eq!(to.len(), from.len(), "{to} is too long");
        let is_there = |at: &usize| bytes[*at..].starts_with(from.as_bytes());
        let places: Vec<usize> = (0..bytes.len()).filter(is_there).collect();
        assert!(!places.is_empty(), "`{from}` is not in the file");
        places.into_iter().for_each(|at| bytes[at..at + to.len()].copy_from_slice(to.as_bytes()));
    }
    std::fs::write(plugins.join("hook.so"), bytes).unwrap();
    let secret = format!("whsec_{}", base64(b"the secret"));
    let mut runtime = runtime.env("HOOK_SECRET", &secret).env("HOOK_TOKEN", "the token");
    runtime.start_with("hook");
    runtime
}

fn now() -> i64 {
    i64::try_from(UNIX_EPOCH.elapsed().unwrap().as_secs()).unwrap()
}

/// The headers of Standard Webhooks, for a body that was signed some seconds ago.
fn standard(secret: &[u8], age: i64, body: &str) -> [(&'static str, String); 3] {
    let time = (now() - age).to_string();
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).unwrap();
    mac.update(format!("msg_1.{time}.{body}").as_bytes());
    let signature = format!("v1,{} v1,{}", base64(&[7; 32]), base64(&mac.finalize().into_bytes()));
    [("webhook-id", "msg_1".into()), ("webhook-timestamp", time), ("webhook-signature", signature)]
}

fn post(runtime: &Runtime, headers: &[(&'static str, String)], body: &str) -> (u16, String) {
    post_at(runtime, "main", headers, body)
}

fn post_at(
    runtime: &Runtime,
    account: &str,
    headers: &[(&'static str, String)],
    body: &str,
) -> (u16, String) {
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    request(runtime.listening(), "POST", &format!("/webhook/hook/{account}"), &headers, body.as_bytes())
}

/// Posts an event, signed.
fn signed(runtime: &Runtime, event: Value) -> (u16, String) {
    let body = event.to_string();
    post(runtime, &standard(b"the secret", 0, &body), &body)
}

/// How many events the runtime has of an account.
fn events(runtime: &Runtime, account: &str) -> i64 {
    let sql = format!("SELECT COUNT(*) FROM event_ids WHERE channel_type = 'hook' AND account = '{account}'");
    runtime.query(&sql)[0]
}

#[test]
fn what_was_signed_and_taken_is_known_after_a_restart_and_what_failed_comes_again() {
    let mut runtime = runtime(MAIN, &[]);
    let event = |id: &str, status: u16| {
        let body =
            json!({ "id": id, "team": "none", "answer": { "status": status, "body": id } }).to_string();
        (standard(b"the secret", 0, &body), body)
    };
    let (taken, failed) = (event("taken", 200), event("failed", 503));
    let (stale, forged) = (standard(b"the secret", 400, "{}"), standard(b"another", 0, "{}"));
    assert_eq!(post(&runtime, &taken.0, &taken.1), (200, "taken".into()));
    assert_eq!(post(&runtime, &failed.0, &failed.1), (503, "failed".into()));
    assert_eq!(post(&runtime, &forged, "{}").0, 401);
    let (status, words) = post(&runtime, &stale, "{}");
    assert!(status == 401 && words.contains("too long ago"), "{status} {words}");
    let again = (200, "it was taken before".to_owned());
    for life in 0..2 {
        assert_eq!(post(&runtime, &taken.0, &taken.1), again, "in life {life}");
        assert_eq!(
            post(&runtime, &failed.0, &failed.1),
            (503, "failed".into()),
            "byte for byte, in life {life}"
        );
        runtime.kill();
        runtime.start_with("hook");
    }
    assert_eq!(events(&runtime, "main"), 2);
}

#[test]
fn a_public_key_verifies_what_its_other_half_signed() {
    let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    let key: String = pair.public_key().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let changes = [
        (r#""webhook":"standard_webhooks""#, r#""webhook":"ed25519""#),
        (r#""signing":{"key":"webhook_secret","window_seconds":300}"#, r#""signing":{"key":"public_key"}"#),
    ];
    let mut runtime = runtime(&format!("[channels.hook.main]\npublic_key = \"{key}\"\n"), &changes);
    let body = json!({ "id": "e", "team": "none", "answer": { "body": "taken" } }).to_string();
    let signs = |age: i64, body: &str| {
        let time = (now() - age).to_string();
        let signature = pair.sign(format!("{time}{body}").as_bytes());
        let signature = signature.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        [("x-signature-ed25519", signature), ("x-signature-timestamp", time)]
    };
    let right = signs(0, &body);
    assert_eq!(post(&runtime, &right, &body), (200, "taken".into()));
    assert_eq!(post(&runtime, &right, &body), (200, "it was taken before".into()));
    for (headers, body) in [(signs(0, "other"), &body), (signs(400, &body), &body)] {
        assert_eq!(post(&runtime, &headers, body).0, 401);
    }
    // A key that is none is told at the start, and lets nothing in.
    let config = runtime.home.path().join("vestibule.toml");
    let text = std::fs::read_to_string(&config).unwrap().replace(&key, &key[2..]);
    std::fs::write(&config, text).unwrap();
    runtime.stop();
    runtime.start();
    let row = until("it is broken", || Some(runtime.channel("hook")).filter(|row| row["state"] == "broken"));
    assert!(row["reason"].as_str().unwrap().contains("no public key of Ed25519"), "{row}");
    assert_eq!(post(&runtime, &signs(0, &body), &body).0, 503);
    assert_eq!(events(&runtime, "main"), 1);
}

/// Standard Webhooks by the platform's public key, which is no secret and signs nothing.
#[test]
fn a_platform_may_sign_standard_webhooks_with_a_key_of_its_own() {
    let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    let public = pair.public_key().as_ref();
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key");
    std::fs::write(&key, format!("whpk_{}\n", base64(public))).unwrap();
    let config = format!("[channels.hook.main]\nwebhook_secret = {{ file = \"{}\" }}\n", key.display());
    let runtime = runtime(&config, &[]);
    let body = json!({ "id": "e", "team": "none" }).to_string();
    let mut headers = standard(b"the secret", 0, &body);
    let content = format!("msg_1.{}.{body}", headers[1].1);
    headers[2].1 = format!("v1a,{} v1a,{}", base64(&[7; 64]), base64(pair.sign(content.as_bytes()).as_ref()));
    assert!(post(&runtime, &headers, &body).1.starts_with("Dropped"), "no agent is wired");
    assert_eq!(post(&runtime, &headers, &body), (200, "it was taken before".into()), "by what was signed");
    assert_eq!(events(&runtime, "main"), 1);
    for key in [b"the secret".as_slice(), public] {
        assert_eq!(post(&runtime, &standard(key, 0, &body), &body).0, 401, "a secret is none here");
    }
}

#[test]
fn a_secret_in_a_header_lets_in_and_remembers_nothing() {
    let changes = [
        (r#""webhook":"standard_webhooks""#, r#""webhook":"secret_header""#),
        (
            r#""signing":{"key":"webhook_secret","window_seconds":300}"#,
            r#""signing":{"header":"X-Hook-Token"}"#,
        ),
    ];
    let runtime = runtime(MAIN, &changes);
    let secret = format!("whsec_{}", base64(b"the secret"));
    let body = json!({ "id": "e", "team": "none" }).to_string();
    let with = |secret: &str| post(&runtime, &[("x-hook-token", secret.to_owned())], &body);
    assert!(with(&secret).1.starts_with("Dropped"), "no agent is wired");
    assert_eq!(with(&secret), (200, "Duplicate".into()), "its id tells");
    for wrong in ["", "whsec_", &secret[..secret.len() - 1]] {
        assert_eq!(with(wrong).0, 401, "{wrong}");
    }
    assert_eq!(runtime.query::<i64>("SELECT COUNT(*) FROM taken_webhooks"), [0]);
}

#[test]
fn the_runtime_answers_the_question_with_which_an_address_is_tried() {
    let other = "[channels.hook.other]\nwebhook_secret = { env = \"HOOK_SECRET\" }\nteam = \"other\"\n";
    let runtime = runtime(&format!("{MAIN}{other}"), &[]);
    let get = |path: &str, query: &str| {
        request(runtime.listening(), "GET", &format!("/webhook/hook/{path}?{query}"), &[], b"")
    };
    let asks = |token: &str| format!("hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token={token}");
    assert_eq!(get("main", &asks("the+token")), (200, "1158201444".into()));
    for (path, query, status) in [
        ("main", asks("another"), 403),
        ("main", asks(""), 403),
        ("main", String::new(), 403),
        ("other", asks("the+token"), 503),
        ("other", asks(""), 503),
        ("nowhere", asks("the+token"), 404),
    ] {
        let (told, words) = get(path, &query);
        assert_eq!(told, status, "{path} {query}: {words}");
        assert!(!words.contains("1158201444"), "{words}");
    }
    assert_eq!(request(runtime.listening(), "PUT", "/webhook/hook/main", &[], b"").0, 405);
    // None of that reached the plugin: it would not have understood a body that is empty.
    let refused = runtime.json(&["status"])["webhooks_refused"].clone();
    let count = |status: u64| {
        let rows = refused.as_array().unwrap().iter();
        rows.filter(|row| row["account"] == "main" && row["status"] == status).count()
    };
    assert_eq!((count(403), count(503)), (1, 0), "{refused}");
}

#[test]
fn a_channel_answers_with_the_headers_that_its_manifest_lists() {
    let runtime = runtime(MAIN, &[]);
    let answer = json!({ "status": 418, "body": "{\"type\":1}", "headers": { "content-type": "application/json",
        "x-hook": "yes", "x-other": "no", "connection": "upgrade" } });
    let body = json!({ "id": "e", "team": "none", "answer": answer }).to_string();
    let mut stream = TcpStream::connect(runtime.listening()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let headers =
        standard(b"the secret", 0, &body).map(|(name, value)| format!("{name}: {value}\r\n")).concat();
    let head = format!("POST /webhook/hook/main HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}");
    write!(stream, "{head}content-length: {}\r\n\r\n{body}", body.len()).unwrap();
    let mut told = String::new();
    stream.read_to_string(&mut told).unwrap();
    let told = told.to_lowercase();
    assert!(told.starts_with("http/1.1 418 "), "{told}");
    for (header, is_there) in [
        ("content-type: application/json\r\n", true),
        ("x-hook: yes\r\n", true),
        ("text/plain", false),
        ("x-other", false),
        ("upgrade", false),
    ] {
        assert_eq!(told.contains(header), is_there, "{header}: {told}");
    }
    assert!(told.ends_with("{\"type\":1}"), "{told}");
    assert!(runtime.log().contains("headers of a channel's answer are left out"), "{}", runtime.log());
}

#[test]
fn a_person_is_told_the_public_address_and_of_a_sibling_that_of_its_listener() {
    let runtime = runtime(&format!("public_url = \"https://example.org/chat/\"\n{MAIN}"), &[]);
    let told = |account: &str, set: &str| {
        runtime.ok(&[
            "channel",
            "add",
            "hook",
            "--account",
            account,
            "--set",
            &format!("team={account}"),
            "--set",
            set,
        ])
    };
    let acme = told("acme", "listener=main");
    assert!(acme.contains("Post to https://example.org/chat/webhook/hook/main\n"), "{acme}");
    assert!(acme.contains("hook acme works"), "{acme}");
    let alone = told("alone", "webhook_secret=env:HOOK_SECRET");
    assert!(alone.contains("Post to https://example.org/chat/webhook/hook/alone\n"), "{alone}");
    let rows = runtime.json(&["channel", "list"]);
    let row = |account: &str| {
        rows.as_array().unwrap().iter().find(|row| row["account"] == account).unwrap().clone()
    };
    assert_eq!(row("main")["webhook"], "https://example.org/chat/webhook/hook/main");
    assert_eq!((&row("acme")["webhook"], &row("acme")["listener"]), (&Value::Null, &"main".into()));
    assert!(runtime.ok(&["status"]).contains("https://example.org/chat/webhook/hook/alone"));
    assert!(
        signed(&runtime, json!({ "id": "1", "team": "acme" })).1.starts_with("Dropped"),
        "no agent is wired"
    );
    assert_eq!(events(&runtime, "acme"), 1);
}

#[test]
fn one_account_listens_for_others_and_hands_over_for_each() {
    let listened = |name: &str, team: &str, at: &str| {
        format!("[channels.hook.{name}]\nlistener = \"{at}\"\nteam = \"{team}\"\n")
    };
    let alone = "[channels.hook.alone]\nteam = \"T9\"\n";
    let config =
        format!("{MAIN}{alone}{}{}", listened("acme", "T1", "main"), listened("lost", "T2", "none-such"));
    let mut runtime = runtime(&config, &[]);
    let row = |runtime: &Runtime, account: &str| {
        let channels = runtime.json(&["status"])["channels"].clone();
        channels.as_array().unwrap().iter().find(|row| row["account"] == account).unwrap().clone()
    };
    until("acme is live", || (row(&runtime, "acme")["state"] == "live").then_some(()));
    let acme = row(&runtime, "acme");
    assert_eq!((&acme["listener"], &acme["webhook"]), (&"main".into(), &Value::Null), "{acme}");
    let lost = until("lost is broken", || Some(row(&runtime, "lost")).filter(|row| row["state"] == "broken"));
    let why = lost["reason"].as_str().unwrap();
    assert!(why.contains("names the account `none-such` as its `listener`, and there is none"), "{why}");

    assert!(
        signed(&runtime, json!({ "id": "1", "team": "T1" })).1.starts_with("Dropped"),
        "no agent is wired"
    );
    assert_eq!((events(&runtime, "acme"), events(&runtime, "main")), (1, 0));
    // It has no address of its own.
    let body = json!({ "id": "2", "team": "T1" }).to_string();
    assert_eq!(post_at(&runtime, "acme", &standard(b"the secret", 0, &body), &body).0, 404);
    // Whose an event is that names a team of no account, or an account that does not name this listener: on record.
    assert_eq!(signed(&runtime, json!({ "id": "3", "team": "T7" })), (200, "unknown".into()));
    assert_eq!(signed(&runtime, json!({ "id": "4", "team": "T9" })), (200, "unknown".into()));
    for (id, account) in [("5", "alone"), ("6", "none-such"), ("7", "lost")] {
        let (status, said) = signed(&runtime, json!({ "id": id, "account": account }));
        assert!(status == 200 && said.contains("unknown_account"), "{account}: {said}");
    }
    assert_eq!((events(&runtime, "acme"), events(&runtime, "alone"), events(&runtime, "lost")), (1, 0, 0));
    let dropped = runtime.json(&["dropped-message", "list"]);
    let count = |chat: &str| {
        let mut rows = dropped.as_array().unwrap().iter();
        let row = rows.find(|row| row["reason"] == "unknown_account" && row["chat"] == chat);
        row.map(|row| (row["account"].clone(), row["messages"].clone()))
    };
    assert_eq!(count("room"), Some(("main".into(), 3.into())), "{dropped}");
    assert_eq!(count("T7"), Some(("main".into(), 1.into())), "{dropped}");

    // One that names this listener and is not started may be the one: the platform sends the event again.
    let config = runtime.home.path().join("vestibule.toml");
    let text = std::fs::read_to_string(&config).unwrap() + &listened("beta", "away", "main");
    std::fs::write(&config, text).unwrap();
    runtime.stop();
    runtime.start_with("hook");
    until("acme is live", || (row(&runtime, "acme")["state"] == "live").then_some(()));
    assert_eq!(signed(&runtime, json!({ "id": "8", "team": "T8" })).0, 503);
    assert!(signed(&runtime, json!({ "id": "9", "team": "T1" })).1.starts_with("Dropped"));
    assert_eq!((events(&runtime, "acme"), events(&runtime, "main")), (2, 5));
}
