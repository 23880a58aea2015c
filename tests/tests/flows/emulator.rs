//! The GitHub emulator that others wrote: its own webhooks in, our replies in its store.

use crate::support::{Runtime, free_port, until};
use serde_json::Value;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// The secret with which the emulator signs, from its seed file.
const EMULATOR_SECRET: &str = "vestibule-webhook-secret";

struct Emulator {
    child: Child,
    at: SocketAddr,
    _data: tempfile::TempDir,
}

impl Drop for Emulator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Emulator {
    /// Starts it, or says loudly why this test is skipped.
    fn start(webhook: &str) -> Option<Emulator> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("counterparts/github-emulator.sh");
        let installs = std::env::var_os("VESTIBULE_TEST_COUNTERPARTS").is_some();
        let cache = std::env::var("VESTIBULE_COUNTERPARTS").unwrap_or_else(|_| {
            format!("{}/.cache/vestibule-counterparts", std::env::var("HOME").unwrap_or_default())
        });
        if !installs && !Path::new(&cache).join("emulate/.installed").exists() {
            // Written past the test harness, which keeps what a passing test says to itself.
            let get = format!("{} --install", script.display());
            let _ = writeln!(
                std::io::stderr(),
                "SKIPPED: the GitHub emulator is not installed; get it with {get}"
            );
            return None;
        }
        let data = tempfile::tempdir().unwrap();
        let at = free_port();
        let child = Command::new(script)
            .arg(data.path())
            .arg(at.port().to_string())
            .arg(webhook)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let emulator = Emulator { child, at, _data: data };
        until("the emulator answers", || {
            std::net::TcpStream::connect(at).ok()?;
            (crate::support::request(at, "GET", "/rate_limit", &[], b"").0 == 200).then_some(())
        });
        Some(emulator)
    }

    fn call(&self, token: &str, method: &str, path: &str, body: &Value) -> Value {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let (status, answer) = crate::support::request(self.at, method, path, &headers, body.as_bytes());
        assert!(status < 300, "{method} {path}: {status} {answer}");
        // Chunked or not, the JSON is the longest part between the first and the last bracket.
        let from = answer.find(['{', '[']).unwrap();
        let to = answer.rfind(['}', ']']).unwrap();
        serde_json::from_str(&answer[from..=to]).unwrap()
    }
}

#[test]
fn an_issue_is_heard_and_answered_on_the_emulator() {
    // The emulator must know where the runtime listens, and the runtime where the emulator is.
    let port = free_port().port();
    let Some(emulator) = Emulator::start(&format!("http://127.0.0.1:{port}/webhook/github/main")) else {
        return;
    };
    let config = format!(
        "[channels.github.main]\ntoken = {{ env = \"TEST_TOKEN\" }}\nwebhook_secret = {{ env = \"TEST_SECRET\" }}\n\
         api_url = \"http://{}\"\n",
        emulator.at
    );
    let runtime = Runtime::new("").env("TEST_TOKEN", "ghp_bot").env("TEST_SECRET", EMULATOR_SECRET);
    std::fs::write(
        runtime.home.path().join("vestibule.toml"),
        format!("listen = \"127.0.0.1:{port}\"\n{config}"),
    )
    .unwrap();
    let runtime = runtime.up();
    runtime.wait_live("github");
    // Wired by mention, as a person would.
    runtime.ok(&[
        "wiring",
        "create",
        "--agent",
        "assistant",
        "--channel",
        "github",
        "--chat",
        "github:octo-org/hello",
    ]);

    let issue = serde_json::json!({ "title": "It does not start", "body": "@vestibule-bot please look" });
    let issue = emulator.call("ghp_octocat", "POST", "/repos/octo-org/hello/issues", &issue);
    let comments = format!("/repos/octo-org/hello/issues/{}/comments", issue["number"]);
    let reply = until("the reply is on the emulator", || {
        let found = emulator.call("ghp_octocat", "GET", &comments, &Value::Null);
        found.as_array()?.first().cloned()
    });
    assert_eq!(reply["user"]["login"], "vestibule-bot");
    let said = reply["body"].as_str().unwrap();
    assert!(said.starts_with("It does not start\n\n@vestibule-bot please look\n\n<!-- vestibule:"), "{said}");
    // Its own comment came back as a webhook, and was left out.
    until("its own comment is on record as ignored", || {
        (runtime.query::<i64>("SELECT COUNT(*) FROM drops WHERE reason = 'own_message'") == [1]).then_some(())
    });
    assert_eq!(runtime.query::<i64>("SELECT COUNT(*) FROM messages_in"), [1]);
}
