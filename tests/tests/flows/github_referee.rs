//! What others wrote, about GitHub: octokit against the stand-in, and Prism, which holds each call of the channel against
//! GitHub's own description.

use crate::counterparts::script;
use crate::github_api::{CHAT, GithubApi, SECRET, TOKEN, example, tell};
use crate::support::{Runtime, free_port, until};
use serde_json::json;
use std::path::Path;
use std::process::{Child, Command, Stdio};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

const SCRIPT: &str = "github-referee.sh";

#[test]
fn row_c05_octokit_takes_the_stand_in_for_github() {
    let Some(script) = script(SCRIPT, "github-clients") else { return };
    let api = GithubApi::start();
    api.store().said.insert("DC_a".to_owned(), None);
    let queries = root().join("../adapters/github/src/queries.graphql");
    let output = Command::new(script).arg("clients").args([&api.url, TOKEN]).arg(queries).output().unwrap();
    let [said, errors] =
        [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
    assert!(output.status.success() && said.trim_end().ends_with("OK"), "{said}{errors}");
}

/// Prism between the channel and the stand-in.
struct Prism(Child);

impl Drop for Prism {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn row_c05_calls_are_made_as_github_describes_them() {
    let Some(script) = script(SCRIPT, "prism") else { return };
    let (api, at) = (GithubApi::start(), free_port());
    let prism = Command::new(script)
        .args(["requests", &at.port().to_string(), &api.url])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .spawn();
    let _prism = Prism(prism.unwrap());
    until("Prism listens", || std::net::TcpStream::connect(at).ok());
    // It notices what is not as described.
    let headers = [("authorization", "Bearer ghp_flowtoken"), ("content-type", "application/json")];
    let post = |body: &str| {
        let path = "/repos/Codertocat/Hello-World/issues/1/reactions";
        crate::support::request(at, "POST", path, &headers, body.as_bytes()).0
    };
    assert_eq!([post("{\"content\":\"pizza\"}"), post("{\"content\":\"eyes\"}")], [422, 201]);

    let config = format!(
        "[channels.github.main]\ntoken = {{ env = \"TEST_TOKEN\" }}\nwebhook_secret = {{ env = \"TEST_SECRET\" }}\n\
         api_url = \"http://{at}\"\n"
    );
    let mut runtime = Runtime::new(&config).env("TEST_TOKEN", TOKEN).env("TEST_SECRET", SECRET);
    runtime.start_with("github");
    let verb =
        ["wiring", "create", "--agent", "assistant", "--channel", "github", "--pattern", ".", "--chat"];
    runtime.ok(&[&verb[..], &[CHAT]].concat());
    for (event, thread) in [("issue_comment", "issue:1"), ("pull_request_review_comment", "2:rc:284312630")] {
        assert_eq!(tell(&runtime, event, &example(event, "created")), (200, "committed".into()));
        let reply = api.comments(1).remove(0);
        let kind = if event == "issue_comment" { "comment" } else { "review_comment" };
        let id = format!("{kind}-{}", reply.id);
        let on_record = format!("SELECT COUNT(*) FROM deliveries WHERE platform_message_id = '{id}'");
        until("it is on record", || (runtime.query::<i64>(&on_record) == [1]).then_some(()));
        let number = if kind == "comment" { 100 } else { 200 };
        let write =
            |at: i64, content| crate::github_out::agent_writes(&runtime, number + at, Some(thread), &content);
        write(0, json!({ "operation": "reaction", "messageId": id, "emoji": "eyes" }));
        write(1, json!({ "operation": "edit", "messageId": id, "text": "better" }));
        write(2, json!({ "operation": "delete", "messageId": id }));
        until("it is taken back", || api.store().comments.is_empty().then_some(()));
    }
    let write = |at: i64, thread, content| crate::github_out::agent_writes(&runtime, at, thread, &content);
    // A lost answer has the channel look through the list.
    api.store().script.push_back((0, json!(null)));
    write(300, Some("2:rc:284312630"), json!({ "text": "once more" }));
    write(301, None, json!({ "subject": "It does not start", "text": "words" }));
    write(
        302,
        Some("issue:1"),
        json!({ "operation": "reaction", "messageId": "comment-492700400", "emoji": "rocket" }),
    );
    let open = "SELECT COUNT(*) FROM deliveries WHERE state != 'delivered'";
    let all = "SELECT COUNT(*) FROM deliveries";
    until("all went out", || {
        (runtime.query::<i64>(open) == [0] && runtime.query::<i64>(all) == [11]).then_some(())
    });
}
