//! Questions: an agent asks as NanoClaw's tool does, a person chooses in a terminal, on GitHub or as the
//! operator, and the agent finds the answer in its file.

use crate::support::{Api, House, Terminal, asker, request, sign, until};
use serde_json::{Value, json};

/// The crash point of answers.
pub const CRASH_POINT: &str = "answer: it is on record, its channel does not know";

/// What a channel without buttons shows.
const NUMBERED: &str = "Deploy\n\nNow?\n\n1. Yes\n2. No\n\nAnswer with a number or with the words beside it.";

fn asks(house: &House) {
    let command = format!("'{}'", asker().display());
    house.ok(&["agent", "update", "assistant", "--provider", "command", "--command", &command]);
}

fn count(house: &House, sql: &str) -> i64 {
    house.query(&format!("SELECT COUNT(*) FROM {sql}"))[0]
}

/// Nothing of an answer waits in the session any more.
fn nothing_waits(house: &House) {
    until("both rows are done", || {
        (count(house, "messages_in WHERE status = 'completed' AND id LIKE 'qr-%'") == 2).then_some(())
    });
    assert_eq!(count(house, "messages_in WHERE id LIKE 'qr-%'"), 2);
}

#[test]
fn who_answers_in_words_is_understood_where_there_are_no_buttons() {
    let house = House::new("").up();
    asks(&house);
    let mut terminal = Terminal::connect(&house, true);
    terminal.say("ask one");
    assert_eq!(terminal.reply(), NUMBERED);
    terminal.say("what do you mean?");
    terminal.say(" 2 ");
    assert_eq!(terminal.reply(), "answer: n by local");
    assert_eq!(terminal.reply(), "heard", "what was no answer is a message");
    nothing_waits(&house);

    // Two are open: a number says too little, and is a message.
    terminal.say("ask two 2");
    assert_eq!(terminal.reply(), NUMBERED);
    assert_eq!(terminal.reply(), "Question timed out after 2s");
    terminal.say("ask three");
    assert_eq!(terminal.reply(), NUMBERED);
    terminal.say("1");
    assert_eq!(count(&house, "messages_in WHERE content LIKE '%\"text\":\"1\"%'"), 1);

    // The operator sees both, and answers one: the other is understood in words again.
    let open = house.json(&["question", "list"]);
    let words = |question: &Value| (question["title"].clone(), question["options"].clone());
    assert_eq!(words(&open[1]), (json!("Deploy"), json!(["Yes", "No"])));
    let id = open[0]["id"].as_str().unwrap();
    assert!(house.ok(&["question", "list"]).contains(id));
    let refused = house.run(&["question", "answer", id, "maybe"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("choose one of: Yes, No"), "{refused:?}");
    house.ok(&["question", "answer", id, "yes"]);
    let twice = house.run(&["question", "answer", id, "no"]);
    assert!(String::from_utf8_lossy(&twice.stderr).contains("answered before"), "{twice:?}");
    terminal.say("yes");
    assert_eq!(terminal.reply(), "answer: Yes by local");
}

#[test]
fn a_comment_on_github_answers_in_its_thread_only() {
    let api = Api::start(|request, _| match request {
        "GET /user" => (200, json!({ "id": 7, "login": "vestibule-bot" })),
        post if post.starts_with("POST /repos/") => (201, json!({ "id": 9001 })),
        _ => (404, json!({ "message": "Not Found" })),
    });
    let config = "[channels.github.main]\ntoken = { env = \"TEST_TOKEN\" }\nwebhook_secret = { env = \"TEST_SECRET\" }\n";
    let house = House::new(config)
        .env("TEST_TOKEN", "ghp_x")
        .env("TEST_SECRET", "s")
        .env("GITHUB_API_URL", &api.url)
        .up();
    house.wait_live("github");
    asks(&house);
    let wiring = ["wiring", "create", "--agent", "assistant", "--channel", "github", "--chat"];
    house.ok(&[&wiring[..], &["github:acme/app", "--pattern", "."]].concat());
    let at = house.listening();
    let mut number = 100;
    let mut comment = |issue: i64, text: &str| {
        number += 1;
        let user = json!({ "login": "ann", "id": 5, "type": "User" });
        let payload = json!({ "action": "created", "sender": user,
            "repository": { "id": 1, "name": "app", "full_name": "acme/app", "private": false,
                "owner": { "login": "acme", "id": 1, "type": "User" } },
            "issue": { "id": issue, "number": issue, "title": "t", "body": "", "user": user },
            "comment": { "id": number, "body": text, "user": user, "author_association": "OWNER",
                "created_at": "2019-05-15T15:20:21Z", "updated_at": "2019-05-15T15:20:21Z" } });
        let body = payload.to_string();
        let signature = sign("s", body.as_bytes());
        let headers = [
            ("content-type", "application/json"),
            ("x-github-event", "issue_comment"),
            ("x-hub-signature-256", &signature),
        ];
        let answer = request(at, "POST", "/webhook/github/main", &headers, body.as_bytes());
        assert_eq!(answer.0, 200, "{answer:?}");
    };
    let posted = |words: &str| {
        until(words, || {
            let posts = api.asked("POST /repos/acme/app/issues/");
            // An invisible mark follows, by which a post is looked up.
            let is_it = |body: &Value| body["body"].as_str().is_some_and(|text| text.starts_with(words));
            posts.iter().find(|(_, body)| is_it(body)).map(|(line, _)| line.clone())
        })
    };
    comment(1, "ask one");
    assert!(posted(NUMBERED).contains("/issues/1/"));
    comment(2, "2");
    assert!(posted("heard").contains("/issues/2/"), "another thread is another conversation");
    comment(1, "2");
    assert!(posted("answer: n by 5").contains("/issues/1/"));
}
