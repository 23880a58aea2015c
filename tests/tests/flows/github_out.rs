//! What an agent does on GitHub beyond a reply: long texts, edits, deletions, reactions, reviews, new issues, files; and
//! what people change there.

use crate::github_api::{CHAT, Comment, GithubApi, SECRET, TOKEN, example, tell};
use crate::support::{PATIENCE, Runtime, until};
use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};

pub fn started(api: &GithubApi, more: &str) -> Runtime {
    let config = format!(
        "[channels.github.main]\ntoken = {{ env = \"TEST_TOKEN\" }}\nwebhook_secret = {{ env = \"TEST_SECRET\" }}\n\
         api_url = \"{}\"\n{more}",
        api.url
    );
    let mut runtime = Runtime::new(&config).env("TEST_TOKEN", TOKEN).env("TEST_SECRET", SECRET);
    runtime.start_with("github");
    wire(&runtime, CHAT);
    runtime
}

fn wire(runtime: &Runtime, chat: &str) {
    let verb =
        ["wiring", "create", "--agent", "assistant", "--channel", "github", "--pattern", ".", "--chat"];
    runtime.ok(&[&verb[..], &[chat]].concat());
}

/// A person's comment on an issue, a pull request's conversation or a review thread.
fn said(runtime: &Runtime, event: &str, id: u64, text: &str) {
    let mut payload = example(event, "created");
    payload["comment"]["id"] = json!(id);
    payload["comment"]["body"] = json!(text);
    assert_eq!(tell(runtime, event, &payload), (200, "committed".into()), "{text}");
}

/// Writes a row into the file of the agent's session, as its tools can: that of the thread, or the newest.
pub fn agent_writes(runtime: &Runtime, number: i64, thread: Option<&str>, content: &Value) {
    let thread = thread.map(|thread| format!("{CHAT}:{thread}"));
    let session = format!(
        "SELECT s.agent_group_id || '/' || s.id FROM sessions s JOIN messages_in m ON m.session_id = s.id \
         WHERE m.thread_id LIKE '{}' ORDER BY m.id DESC",
        thread.as_deref().unwrap_or("%")
    );
    let session = runtime.home.path().join("sessions").join(&runtime.query::<String>(&session)[0]);
    let outbound = session.join("out/outbound.db");
    let db = Connection::open_with_flags(outbound, OpenFlags::SQLITE_OPEN_READ_WRITE).unwrap();
    db.busy_timeout(PATIENCE).unwrap();
    let sql = "INSERT INTO messages_out (id, seq, timestamp, kind, platform_id, channel_type, thread_id, content) \
               VALUES (?1, ?2, '', 'chat', ?3, 'github', ?4, ?5)";
    let values =
        rusqlite::params![format!("tool-{number}"), 1001 + 2 * number, CHAT, thread, content.to_string()];
    assert_eq!(db.execute(sql, values).unwrap(), 1);
}

/// The words of a comment, without its mark.
fn words(comment: &Comment) -> &str {
    let (words, mark) = comment.body.rsplit_once("<!-- vestibule:").expect("it has a mark");
    assert!(mark.ends_with(" -->"), "{mark}");
    words.trim_end()
}

fn settled(runtime: &Runtime, count: i64) {
    let sql = "SELECT COUNT(*) FROM deliveries WHERE state IN ('delivered', 'failed')";
    until("the deliveries are settled", || (runtime.query::<i64>(sql) == [count]).then_some(()));
}

// cells github: out long reply
#[test]
fn row_c05_a_long_reply_is_several_comments_and_none_is_posted_twice() {
    let api = GithubApi::start();
    let runtime = started(&api, "");
    let code = format!("```suggestion\n{}```", "let x = 1;\n".repeat(2_500));
    let long = format!("{}\n\n{code}", "twelve chars\n".repeat(9_500));
    // The second comment is made, and GitHub's answer to it is lost: it is found, and not made again.
    api.store().script.extend([(502, json!("<html>")), (0, json!(null))]);
    said(&runtime, "issue_comment", 1, &long);
    settled(&runtime, 1);
    let comments = api.comments(3);
    assert_eq!(comments.len(), 3, "{:?}", comments.iter().map(|one| one.body.len()).collect::<Vec<_>>());
    assert!(comments.iter().all(|one| one.place == "issues/1/comments"));
    assert_eq!(words(&comments[2]), code, "a suggestion is not cut");
    let ids = "SELECT platform_message_id FROM deliveries";
    assert_eq!(runtime.query::<String>(ids), [format!("comment-{}", comments[0].id)]);
}

// cells github: in edit, in deletion, out edit, out deletion, out reaction
#[test]
fn row_c05_changes_and_reactions_go_both_ways() {
    let api = GithubApi::start();
    let runtime = started(&api, "");
    for (event, thread, list, kind) in [
        ("issue_comment", "issue:1", "issues/comments", "comment"),
        ("pull_request_review_comment", "2:rc:500", "pulls/comments", "review_comment"),
    ] {
        let before = api.store().comments.len();
        said(&runtime, event, 500, "lunch at 12?");
        let reply = api.comments(before + 1).remove(before);
        assert_eq!(words(&reply), "lunch at 12?");
        let on_record =
            format!("SELECT COUNT(*) FROM deliveries WHERE platform_message_id = '{kind}-{}'", reply.id);
        until("it is on record", || (runtime.query::<i64>(&on_record) == [1]).then_some(()));
        // People change what they wrote.
        let mut payload = example(event, "edited");
        payload["comment"]["id"] = json!(500);
        payload["comment"]["body"] = json!("lunch at 1?");
        assert_eq!(tell(&runtime, event, &payload), (200, "committed".into()));
        payload["action"] = json!("deleted");
        assert_eq!(tell(&runtime, event, &payload), (200, "committed".into()));
        // The agent reacts to a person's words, and changes its own.
        let number = if kind == "comment" { 100 } else { 200 };
        let own = format!("{kind}-{}", reply.id);
        let write = |at: i64, content: Value| agent_writes(&runtime, number + at, Some(thread), &content);
        write(
            0,
            json!({ "operation": "reaction", "messageId": format!("{kind}-500"), "emoji": "thumbs_up" }),
        );
        until("it reacts", || {
            let want = (format!("{list}/500"), "+1".to_owned());
            api.store().reactions.contains(&want).then_some(())
        });
        write(1, json!({ "operation": "edit", "messageId": own, "text": "**lunch** at 1" }));
        until("it is edited", || (api.comments(before + 1)[before].body == "**lunch** at 1").then_some(()));
        write(2, json!({ "operation": "reaction", "messageId": own, "emoji": "pizza" }));
        write(3, json!({ "operation": "delete", "messageId": own }));
        until("it is taken back", || (api.store().comments.len() == before).then_some(()));
        // Gone already is as good.
        write(4, json!({ "operation": "delete", "messageId": own }));
    }
    let rows = "SELECT json_extract(content, '$.text') FROM messages_in ORDER BY seq";
    let texts = runtime.query::<String>(rows).join("\n");
    for told in ["lunch at 1?", "[deleted message"] {
        assert_eq!(texts.matches(told).count(), 2, "{told} in {texts}");
    }
    settled(&runtime, 12);
    let failed = "SELECT COALESCE(last_error, '') FROM deliveries WHERE state = 'failed'";
    let why = runtime.query::<String>(failed);
    assert!(why.len() == 2 && why.iter().all(|why| why.contains("take one of 👍")), "{why:?}");
}

#[test]
fn row_c05_pull_requests_and_reviews_are_heard_and_answered() {
    let api = GithubApi::start();
    let runtime = started(&api, "");
    let opened = example("pull_request", "opened");
    assert_eq!(tell(&runtime, "pull_request", &opened), (200, "committed".into()));
    let mut review = example("pull_request_review", "submitted");
    assert_eq!(tell(&runtime, "pull_request_review", &review).0, 202, "a review without words is none");
    review["review"]["state"] = json!("approved");
    review["review"]["id"] = json!(9);
    assert_eq!(tell(&runtime, "pull_request_review", &review), (200, "committed".into()));
    let comments = api.comments(2);
    assert!(comments.iter().all(|one| one.place == "issues/2/comments"), "{comments:?}");
    assert_eq!(words(&comments[1]), "[approved the pull request]");
    // Reactions to a review go where REST has no call.
    let node = review["review"]["node_id"].as_str().unwrap();
    let react = json!({ "operation": "reaction", "messageId": format!("review-{node}"), "emoji": "rocket" });
    agent_writes(&runtime, 100, Some("2"), &react);
    agent_writes(
        &runtime,
        101,
        Some("2"),
        &json!({ "operation": "reaction", "messageId": "pull-2", "emoji": "eyes" }),
    );
    until("it reacts to both", || {
        let wanted = [(node.to_owned(), "ROCKET".to_owned()), ("issues/2".to_owned(), "eyes".to_owned())];
        wanted.iter().all(|one| api.store().reactions.contains(one)).then_some(())
    });
    // The agent reviews.
    let approve = json!({ "text": "Fine.", "metadata": { "review": "approve" } });
    agent_writes(&runtime, 102, Some("2"), &approve);
    let made = api.comments(3).remove(2);
    assert_eq!(
        (made.place.as_str(), made.more.as_str(), words(&made)),
        ("pulls/2/reviews", "APPROVE", "Fine.")
    );
    // A long one goes on in comments. GitHub's answers to the review and to the first of them are lost: each is found.
    api.store().script.extend([(0, json!(null)), (0, json!(null))]);
    let long = json!({ "text": "twelve chars\n".repeat(11_000), "metadata": { "review": "comment" } });
    agent_writes(&runtime, 103, Some("2"), &long);
    let open = "SELECT COUNT(*) FROM deliveries WHERE state NOT IN ('delivered', 'failed')";
    api.comments(6);
    until("it is delivered", || (runtime.query::<i64>(open) == [0]).then_some(()));
    let places: Vec<String> = api.comments(6).split_off(3).into_iter().map(|one| one.place).collect();
    assert_eq!(places, ["pulls/2/reviews", "issues/2/comments", "issues/2/comments"], "none is there twice");
}

#[test]
fn row_c05_a_message_to_a_repository_opens_an_issue() {
    let api = GithubApi::start();
    let runtime = started(&api, "");
    said(&runtime, "issue_comment", 1, "open one");
    api.comments(1);
    let long = "twelve chars\n".repeat(6_000);
    // The issue is made, and the answer is lost: it is found by its mark.
    api.store().script.push_back((0, json!(null)));
    agent_writes(&runtime, 100, None, &json!({ "subject": "It does not start", "text": long }));
    let comments = api.comments(3);
    assert_eq!((comments[1].place.as_str(), comments[1].title.as_str()), ("issues", "It does not start"));
    assert_eq!(comments[2].place, format!("issues/{}/comments", comments[1].id));
    agent_writes(&runtime, 101, None, &json!({ "text": "and where?" }));
    settled(&runtime, 3);
    let why = runtime.query::<String>("SELECT last_error FROM deliveries WHERE state = 'failed'");
    assert!(why[0].contains("give the message a subject"), "{why:?}");
    assert_eq!(api.store().comments.len(), 3);
}

#[test]
fn row_c05_discussions_are_heard_and_answered() {
    let api = GithubApi::start();
    let runtime = started(&api, "");
    let here = |mut payload: Value| {
        payload["repository"] = example("issue_comment", "created")["repository"].clone();
        for object in ["discussion", "comment"] {
            if payload[object].is_object() {
                payload[object]["author_association"] = json!("OWNER");
            }
        }
        payload
    };
    let begun = here(example("discussion", "created"));
    assert_eq!(tell(&runtime, "discussion", &begun), (200, "committed".into()));
    let comments = api.comments(1);
    assert_eq!((comments[0].place.as_str(), comments[0].more.as_str()), ("D_90", ""));
    // A comment is answered beneath it; an answer in its thread, too.
    api.store().said.extend([("DC_a".to_owned(), None), ("DC_b".to_owned(), Some("DC_a".to_owned()))]);
    for (at, node) in ["DC_a", "DC_b"].into_iter().enumerate() {
        let mut payload = here(example("discussion_comment", "created"));
        payload["comment"]["id"] = json!(600 + at);
        payload["comment"]["node_id"] = json!(node);
        // The second answer is lost, and found again.
        if at == 1 {
            api.store()
                .script
                .extend([(200, json!({ "data": { "node": { "replyTo": { "id": "DC_a" } } } }))]);
            api.store()
                .script
                .extend([(200, json!({ "data": { "repository": { "discussion": { "id": "D_90" } } } }))]);
            api.store().script.push_back((0, json!(null)));
        }
        assert_eq!(tell(&runtime, "discussion_comment", &payload), (200, "committed".into()));
        let made = api.comments(2 + at).remove(1 + at);
        assert_eq!((made.place.as_str(), made.more.as_str()), ("D_90", "DC_a"));
        assert!(words(&made).contains("I have so many questions"), "{made:?}");
        settled(&runtime, 2 + i64::try_from(at).unwrap());
    }
    assert_eq!(api.store().comments.len(), 3, "none is there twice");
    let sql =
        "SELECT COUNT(*) FROM messages_in WHERE thread_id = 'github:Codertocat/Hello-World:discussion:90'";
    assert_eq!(runtime.query::<i64>(sql), [3], "a discussion is one conversation");
    let own = format!("discussion_comment-DC_{}", api.store().comments[1].id);
    let write = |number: i64, content: Value| agent_writes(&runtime, number, Some("discussion:90"), &content);
    write(100, json!({ "operation": "edit", "messageId": own, "text": "better" }));
    until("it is edited", || (api.store().comments[1].body == "better").then_some(()));
    write(101, json!({ "operation": "reaction", "messageId": "discussion_comment-DC_a", "emoji": "❤️" }));
    until("it reacts", || {
        api.store().reactions.contains(&("DC_a".to_owned(), "HEART".to_owned())).then_some(())
    });
    write(102, json!({ "operation": "delete", "messageId": own }));
    until("it is taken back", || (api.store().comments.len() == 2).then_some(()));
    // What answers a comment that is gone stands by itself.
    let mut payload = here(example("discussion_comment", "created"));
    payload["comment"]["id"] = json!(700);
    payload["comment"]["node_id"] = json!("DC_gone");
    assert_eq!(tell(&runtime, "discussion_comment", &payload), (200, "committed".into()));
    let made = api.comments(3).remove(2);
    assert_eq!((made.place.as_str(), made.more.as_str()), ("D_90", ""));
}

// cells github: in file, out file
#[test]
fn row_c05_files_go_both_ways() {
    let api = GithubApi::start();
    let runtime = started(&api, "");
    api.store().files.insert("0a-1.txt".to_owned(), b"the notes".to_vec());
    let link = |name: &str| format!("[notes]({}/user-attachments/assets/{name})", api.url);
    said(&runtime, "issue_comment", 1, &link("0a-1.txt"));
    let rows = "SELECT content FROM messages_in ORDER BY seq";
    let heard = runtime.query::<String>(rows).remove(0);
    assert!(heard.contains("0a-1.txt") && heard.contains("inbox"), "{heard}");
    // The echo sends the file back: as code, for GitHub takes no files from programs.
    let comments = api.comments(2);
    assert_eq!(words(&comments[1]), "`0a-1.txt`\n\n```txt\nthe notes\n```");
    // What is not there is named.
    said(&runtime, "issue_comment", 2, &link("gone.txt"));
    let heard = runtime.query::<String>(rows).pop().unwrap();
    assert!(heard.contains("does not give it to the token"), "{heard}");
}

/// A comment waits for the file of the one before it, also when GitHub does not.
#[test]
fn the_order_of_a_repository_is_kept_while_files_load() {
    let api = GithubApi::start();
    let runtime = started(&api, "");
    api.store().files.insert("slow.txt".to_owned(), b"the notes".to_vec());
    let link = format!("first [notes]({}/user-attachments/assets/slow.txt)", api.url);
    std::thread::scope(|threads| {
        threads.spawn(|| said(&runtime, "issue_comment", 1, &link));
        until("the file is asked for", || {
            let asked = api.store().asked.clone();
            asked.iter().any(|(line, _)| line.contains("assets/slow.txt")).then_some(())
        });
        said(&runtime, "issue_comment", 2, "second");
    });
    let texts =
        runtime.query::<String>("SELECT json_extract(content, '$.text') FROM messages_in ORDER BY seq");
    assert!(texts[0].starts_with("first") && texts[1] == "second", "{texts:?}");
}
