//! GitHub Apps: what the stand-in says to an app, one app in several installations, and what an app missed.

use crate::github_api::{Answer, CHAT, GithubApi, SECRET, example, tell};
use crate::support::{Runtime, binary, until};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RsaKeyPair, UnparsedPublicKey};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

const APP: &str = "12345";
const KEY: &str = include_str!("../../fixtures/github/app.pem");
/// How the app's user is numbered.
const BOT: u64 = 41_898_282;

/// What GitHub knows of an app.
#[derive(Default)]
pub struct AppStore {
    /// Whose accounts the app is installed on, by the installation.
    pub installations: BTreeMap<u64, &'static str>,
    /// How long a token of an installation lives, in seconds.
    pub token_lives: i64,
    given: u64,
    /// What became of each delivery, the newest first.
    pub deliveries: Vec<Value>,
    /// The deliveries that the app asked for again.
    pub asked_again: Vec<u64>,
}

fn now() -> i64 {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap();
    i64::try_from(since.as_secs()).unwrap()
}

/// A moment so many seconds from now, as GitHub writes it.
pub fn moment(seconds: i64) -> String {
    let at = format!("@{}", now() + seconds);
    let output = Command::new("date").args(["-u", "-d", &at, "+%Y-%m-%dT%H:%M:%SZ"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Whether this is a word that the app has signed, and that is good now.
fn is_signed(word: &str) -> bool {
    let body: String = KEY.lines().filter(|line| !line.starts_with('-')).collect();
    let key = RsaKeyPair::from_der(&STANDARD.decode(body).unwrap()).unwrap();
    let Some((signed, signature)) = word.rsplit_once('.') else { return false };
    let claims =
        signed.split('.').nth(1).and_then(|claims| URL_SAFE_NO_PAD.decode(claims).ok()).unwrap_or_default();
    let claims: Value = serde_json::from_slice(&claims).unwrap_or_default();
    let of = |key: &str| claims[key].as_i64().unwrap_or_default();
    let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.public_key().as_ref().to_vec());
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap_or_default();
    claims["iss"] == APP
        && (of("iat") - 1..of("iat") + 600).contains(&now())
        && of("exp") <= now() + 600
        && public.verify(signed.as_bytes(), &signature).is_ok()
}

impl AppStore {
    /// What is asked of the app itself, in no installation.
    pub fn answer(
        &mut self,
        method: &str,
        path: &str,
        word: &str,
        tokens: &mut BTreeMap<String, u64>,
    ) -> Option<Answer> {
        if path == "/users/vestibule%5Bbot%5D" {
            return Some(Answer::Json(200, json!({ "id": BOT, "login": "vestibule[bot]", "type": "Bot" })));
        }
        let rest = path.strip_prefix("/app").filter(|rest| rest.is_empty() || rest.starts_with('/'))?;
        if !is_signed(word) {
            let words = "A JSON web token could not be decoded";
            return Some(Answer::Json(401, json!({ "message": words })));
        }
        let parts: Vec<&str> = rest.trim_start_matches('/').split(['/', '?']).collect();
        Some(match (method, &parts[..]) {
            ("GET", [""]) => Answer::Json(200, json!({ "id": 12_345, "slug": "vestibule" })),
            ("GET", ["installations", ..]) => {
                let all = self.installations.iter();
                let shown = all.map(|(id, login)| json!({ "id": id, "account": { "login": login } }));
                Answer::Json(200, shown.collect())
            }
            ("POST", ["installations", id, "access_tokens"]) => {
                let id: u64 = id.parse().unwrap();
                if !self.installations.contains_key(&id) {
                    return Some(Answer::Json(404, json!({ "message": "Not Found" })));
                }
                self.given += 1;
                let token = format!("ghs_{}_{id}", self.given);
                tokens.insert(token.clone(), id);
                Answer::Json(201, json!({ "token": token, "expires_at": moment(self.token_lives) }))
            }
            ("GET", ["hook", "deliveries", ..]) => Answer::Json(200, json!(self.deliveries)),
            ("POST", ["hook", "deliveries", id, "attempts"]) => {
                self.asked_again.push(id.parse().unwrap());
                Answer::Json(202, json!({}))
            }
            _ => Answer::Json(404, json!({ "message": "Not Found" })),
        })
    }
}

fn api_with(installations: &[(u64, &'static str)]) -> GithubApi {
    let api = GithubApi::start();
    let mut store = api.store();
    store.tokens.clear();
    store.app.installations = installations.iter().copied().collect();
    store.app.token_lives = 3_600;
    drop(store);
    api
}

fn runtime_with(api: &GithubApi, main: &str, more: &str) -> Runtime {
    let app =
        format!("app_id = \"{APP}\"\nprivate_key = {{ env = \"TEST_KEY\" }}\napi_url = \"{}\"\n", api.url);
    let config = format!(
        "[channels.github.main]\nwebhook_secret = {{ env = \"TEST_SECRET\" }}\n{app}{main}{}",
        more.replace("APP\n", &app)
    );
    Runtime::new(&config).env("TEST_KEY", KEY).env("TEST_SECRET", SECRET)
}

fn wire(runtime: &Runtime, chat: &str, more: &[&str]) {
    let verb = ["wiring", "create", "--agent", "assistant", "--channel", "github", "--chat", chat];
    runtime.ok(&[&verb[..], more].concat());
}

fn comment(id: u64, installation: u64, text: &str) -> Value {
    let mut payload = example("issue_comment", "created");
    payload["comment"]["id"] = json!(id);
    payload["comment"]["body"] = json!(text);
    payload["installation"] = json!({ "id": installation });
    payload
}

#[test]
fn row_c05_an_app_works_in_its_installations_behind_one_address() {
    let api = api_with(&[(71, "Codertocat"), (72, "octo-org")]);
    let other = "[channels.github.other]\nlistener = \"main\"\nAPP\ninstallation_id = \"72\"\n";
    let mut runtime = runtime_with(&api, "installation_id = \"71\"\n", other);
    runtime.start_with("github");
    until("both are live", || {
        let all = runtime.json(&["channel", "list"]);
        let live =
            all.as_array().unwrap().iter().filter(|one| one["state"] == "live" && one["channel"] == "github");
        (live.count() == 2).then_some(())
    });
    assert_eq!(runtime.channel("github")["handles"], json!(["vestibule[bot]", BOT.to_string()]));
    wire(&runtime, CHAT, &[]);
    wire(&runtime, CHAT, &["--account", "other"]);
    assert_eq!(
        tell(&runtime, "issue_comment", &comment(1, 71, "@vestibule first")),
        (200, "committed".into())
    );
    assert_eq!(
        tell(&runtime, "issue_comment", &comment(2, 72, "@vestibule second")),
        (200, "committed".into())
    );
    api.comments(2);
    let tokens = |path: &str| -> Vec<String> {
        let asked = api.store().asked.clone();
        asked.into_iter().filter(|(line, _)| line.starts_with(path)).map(|(_, token)| token).collect()
    };
    let mut used = tokens("POST /repos");
    used.sort_by_key(|token| token.rsplit('_').next().unwrap().to_owned());
    assert!(used[0].ends_with("_71") && used[1].ends_with("_72"), "each by its own token: {used:?}");
    let heard = "SELECT account || ' ' || json_extract(content, '$.text') FROM messages_in ORDER BY 1";
    assert_eq!(runtime.query::<String>(heard), ["main @vestibule first", "other @vestibule second"]);
    // An installation without an account is on record; what the app itself writes is left out.
    let (status, words) = tell(&runtime, "issue_comment", &comment(3, 73, "@vestibule third"));
    assert!(status == 202 && words.contains("installation_id"), "{status} {words}");
    let mut own = comment(4, 71, "@vestibule it is me");
    own["comment"]["user"] = json!({ "id": BOT, "login": "vestibule[bot]", "type": "Bot" });
    assert_eq!(tell(&runtime, "issue_comment", &own).0, 202);
    let mut dropped = runtime.query::<String>("SELECT account || ' ' || reason FROM drops");
    dropped.sort();
    assert_eq!(dropped, ["main own_message", "main unknown_account"]);
    // A token that was taken back is followed by another one, and the reply goes out.
    api.store().tokens.clear();
    assert_eq!(
        tell(&runtime, "issue_comment", &comment(5, 71, "@vestibule again")),
        (200, "committed".into())
    );
    api.comments(3);
    assert!(!runtime.log().contains("ghs_") && !runtime.log().contains("PRIVATE KEY"));
}

#[test]
fn a_token_of_an_installation_is_renewed_before_it_ends() {
    let api = api_with(&[(71, "Codertocat")]);
    api.store().app.token_lives = 4;
    // The only installation needs no name.
    let mut runtime = runtime_with(&api, "", "");
    runtime.start_with("github");
    wire(&runtime, CHAT, &[]);
    let begun = std::time::Instant::now();
    for count in 1.. {
        let text = format!("@vestibule {count}");
        assert_eq!(tell(&runtime, "issue_comment", &comment(count, 71, &text)).0, 200);
        api.comments(usize::try_from(count).unwrap());
        if begun.elapsed() > std::time::Duration::from_secs(5) {
            break;
        }
    }
    let asked = api.store().asked.clone();
    let given = asked.iter().filter(|(line, _)| line.ends_with("/access_tokens")).count();
    assert!((2..=4).contains(&given), "{given} tokens");
    assert!(!runtime.log().contains("Bad credentials"), "none was used too long");
}

#[test]
fn what_an_app_lacks_is_told() {
    for (main, installations, want) in [
        ("", &[(71, "Codertocat"), (72, "octo-org")][..], "71 (Codertocat), 72 (octo-org)"),
        ("", &[][..], "not installed anywhere"),
        ("installation_id = \"73\"\n", &[(71, "Codertocat")][..], "no installation 73"),
        ("installation_id = \"x\"\n", &[(71, "Codertocat")][..], "`installation_id` is made of digits"),
    ] {
        let api = api_with(installations);
        let mut runtime = runtime_with(&api, main, "");
        runtime.start();
        let channel = until("it is broken", || {
            Some(runtime.channel("github")).filter(|channel| channel["state"] == "broken")
        });
        assert!(channel["reason"].as_str().unwrap().contains(want), "{channel:#}");
    }
}

/// GitHub sends nothing again by itself.
#[test]
fn row_c05_what_an_app_missed_comes_again_and_together() {
    let api = api_with(&[(71, "Codertocat")]);
    let attempt = |id: u64, status: u16| {
        json!({ "id": id, "guid": format!("g-{id}"), "delivered_at": moment(-3_600 + i64::try_from(id).unwrap()),
            "status_code": status, "event": "issue_comment", "action": "created", "redelivery": false })
    };
    api.store().app.deliveries =
        vec![attempt(5, 503), attempt(4, 200), attempt(3, 0), attempt(2, 502), attempt(1, 400)];
    let mut runtime = runtime_with(&api, "", "");
    runtime.start_with("github");
    wire(&runtime, CHAT, &[]);
    let command = "sh -c 'grep -c @vestibule'";
    runtime.ok(&["agent", "update", "assistant", "--provider", "command", "--command", command]);
    until("it asks for what it missed", || (api.store().app.asked_again == [2, 3, 5]).then_some(()));
    // GitHub sends them all at once, in any order.
    std::thread::scope(|threads| {
        for id in [5_u64, 2, 3] {
            let runtime = &runtime;
            threads.spawn(move || {
                let mut payload = comment(id, 71, &format!("@vestibule {id}"));
                payload["comment"]["created_at"] = json!(moment(-3_600 + i64::try_from(id).unwrap()));
                assert_eq!(tell(runtime, "issue_comment", &payload), (200, "committed".into()));
            });
        }
    });
    let texts = "SELECT json_extract(content, '$.text') FROM messages_in ORDER BY seq";
    assert_eq!(runtime.query::<String>(texts), ["@vestibule 2", "@vestibule 3", "@vestibule 5"]);
    until("all are answered", || {
        let open = "SELECT COUNT(*) FROM messages_in WHERE status = 'pending'";
        (runtime.query::<i64>(open) == [0]).then_some(())
    });
    let turns = api.comments(1).len();
    assert!(turns <= 2, "the agent was not woken for each: {:?}", api.store().comments);
}

/// The names are those that other programs take.
#[test]
fn an_app_is_added_by_what_its_manifest_says() {
    let api = api_with(&[(71, "Codertocat")]);
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("app.pem");
    std::fs::write(&key, KEY).unwrap();
    let home = folder.path().join("home");
    let output = Command::new(binary())
        .args(["channel", "add", "github", "--set", &format!("api_url={}", api.url), "--set", "app_id=12345"])
        .args(["--set", &format!("private_key=file:{}", key.display())])
        .env("VESTIBULE_HOME", &home)
        .env("GITHUB_WEBHOOK_SECRET", SECRET)
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    // The manifest, and the address that says the same, name what the channel uses.
    let from = said.find("{\"name\"").expect(&said);
    let manifest: Value =
        serde_json::Deserializer::from_str(&said[from..]).into_iter().next().unwrap().unwrap();
    let address =
        said.split_whitespace().find(|word| word.contains("github.com/settings/apps/new?")).expect(&said);
    let mut permissions: Vec<String> = Vec::new();
    for (name, level) in manifest["default_permissions"].as_object().unwrap() {
        permissions.push(format!("{name}={}", level.as_str().unwrap()));
    }
    for event in manifest["default_events"].as_array().unwrap() {
        permissions.push(format!("events[]={}", event.as_str().unwrap()));
    }
    permissions.push(format!("webhook_url={}", manifest["hook_attributes"]["url"].as_str().unwrap()));
    for part in &permissions {
        assert!(address.split(['?', '&']).any(|of| of == part), "{part} in {address}");
    }
    assert!(Path::new(&home).join("vestibule.toml").exists());
}
