//! Questions: an agent asks as NanoClaw's tool does, a person chooses on Telegram, in a terminal, on GitHub or
//! as the operator, and the agent finds the answer in its file.

use crate::bot_api::{BotApi, TOKEN};
use crate::support::{Api, Runtime, Terminal, asker, binary, plugin_file, request, sign, until};
use serde_json::{Value, json};

/// The crash point of answers.
pub const CRASH_POINT: &str = "answer: it is on record, its channel does not know";

/// What a channel without buttons shows.
const NUMBERED: &str = "Deploy\n\nNow?\n\n1. Yes\n2. No\n\nAnswer with a number or with the words beside it.";

fn asks(runtime: &Runtime) {
    let command = format!("'{}'", asker().display());
    runtime.ok(&["agent", "update", "assistant", "--provider", "command", "--command", &command]);
}

fn on_telegram(api: &BotApi, more: &str) -> Runtime {
    let telegram =
        format!("[channels.telegram.main]\ntoken = {{ env = \"TEST_TOKEN\" }}\napi_root = \"{}\"\n", api.url);
    let mut runtime = Runtime::new(&format!("{more}{telegram}")).env("TEST_TOKEN", TOKEN);
    if more.contains("[plugins.telegram]") {
        let plugins = runtime.home.path().join("plugins");
        std::fs::create_dir(&plugins).unwrap();
        std::fs::copy(plugin_file("vestibule-telegram"), plugins.join("telegram.so")).unwrap();
    }
    runtime.start_with("telegram");
    asks(&runtime);
    runtime.ok(&[
        "wiring",
        "create",
        "--agent",
        "assistant",
        "--channel",
        "telegram",
        "--chat",
        "telegram:7",
    ]);
    runtime
}

fn heard(api: &BotApi, words: &str) {
    until(words, || api.texts().iter().any(|text| text == words).then_some(()));
}

fn count(runtime: &Runtime, sql: &str) -> i64 {
    runtime.query(&format!("SELECT COUNT(*) FROM {sql}"))[0]
}

fn note(api: &BotApi, words: &str) {
    until(words, || api.store().notes.last().is_some_and(|note| note == words).then_some(()));
}

/// Nothing of an answer waits in the session any more.
fn nothing_waits(runtime: &Runtime) {
    until("both rows are done", || {
        (count(runtime, "messages_in WHERE status = 'completed' AND id LIKE 'qr-%'") == 2).then_some(())
    });
    assert_eq!(count(runtime, "messages_in WHERE id LIKE 'qr-%'"), 2);
}

// cells telegram: out question, in answer
#[test]
fn row_o08_a_tapped_button_reaches_the_agent() {
    for more in ["", "[plugins.telegram]\nbuilt_in = false\n"] {
        let api = BotApi::start();
        tapped(&api, on_telegram(&api, more));
    }
}

/// A question is asked and answered; who may not answer it does not.
fn tapped(api: &BotApi, mut runtime: Runtime) {
    api.say(7, "ask one");
    let (chat, message, shown) = until("the question is there", || api.buttons());
    assert_eq!((chat, shown.text.as_str()), (7, "Deploy\n\nNow?"));
    let labels: Vec<&str> = shown.buttons.iter().map(|(label, _)| label.as_str()).collect();
    assert_eq!(labels, ["Yes", "No"]);
    let (yes, no) = (&shown.buttons[0].1, &shown.buttons[1].1);
    assert!(no.len() <= 64 && yes != no);

    // Whoever knows a token, and is elsewhere, or makes one up, changes nothing.
    api.say(8, "stranger");
    until("the other chat is known", || (count(&runtime, "drops") > 0).then_some(()));
    api.store().shown.insert((8, 3), shown.clone());
    api.tap(8, 8, 3, no);
    note(api, "This question is not for you.");
    api.tap(7, 7, message, &format!("{}.0", "0".repeat(32)));
    note(api, "This question is not open any more.");
    api.store().shown.insert((7, message), shown.clone());

    // The question outlives a restart, and the agent that asked is started anew.
    runtime.stop();
    runtime.start_with("telegram");
    until("it waits again", || (runtime.log().matches("runner started").count() == 2).then_some(()));
    api.tap(7, 7, message, no);
    heard(api, "answer: n by 7");
    note(api, "Not now");
    let content: Value = serde_json::from_str(
        &runtime.query::<String>("SELECT content FROM messages_in WHERE kind = 'system'")[0],
    )
    .unwrap();
    let want =
        json!({ "type": "question_response", "questionId": "msg-one", "selectedOption": "n", "userId": "7" });
    assert_eq!(content, want);
    nothing_waits(&runtime);
    until("the buttons are gone", || {
        let now = api.store().shown[&(7, message)].clone();
        (now.buttons.is_empty() && now.text.ends_with("\n\n\u{2192} Not now")).then_some(())
    });

    // Taps that were on their way: the same is answered the same, another one is too late.
    api.tap(7, 7, message, no);
    until("two say so", || {
        (api.store().notes.iter().filter(|note| *note == "Not now").count() == 2).then_some(())
    });
    api.tap(7, 7, message, yes);
    note(api, "It was answered before: Not now");
    assert_eq!(count(&runtime, "messages_in WHERE kind = 'system'"), 1);
    assert_eq!(runtime.json(&["question", "list"]), json!([]));
}

// cells without: out question, in answer
#[test]
fn row_c10_who_answers_in_words_is_understood_where_there_are_no_buttons() {
    let runtime = Runtime::new("").up();
    asks(&runtime);
    let mut terminal = Terminal::connect(&runtime, true);
    terminal.say("ask one");
    assert_eq!(terminal.reply(), NUMBERED);
    terminal.say("what do you mean?");
    terminal.say(" 2 ");
    assert_eq!(terminal.reply(), "answer: n by local");
    assert_eq!(terminal.reply(), "heard", "what was no answer is a message");
    nothing_waits(&runtime);

    // Two are open: a number says too little, and is a message.
    terminal.say("ask two 2");
    assert_eq!(terminal.reply(), NUMBERED);
    assert_eq!(terminal.reply(), "Question timed out after 2s");
    terminal.say("ask three");
    assert_eq!(terminal.reply(), NUMBERED);
    terminal.say("1");
    assert_eq!(count(&runtime, "messages_in WHERE content LIKE '%\"text\":\"1\"%'"), 1);

    // The operator sees both, and answers one: the other is understood in words again.
    let open = runtime.json(&["question", "list"]);
    let words = |question: &Value| (question["title"].clone(), question["options"].clone());
    assert_eq!(words(&open[1]), (json!("Deploy"), json!(["Yes", "No"])));
    let id = open[0]["id"].as_str().unwrap();
    assert!(runtime.ok(&["question", "list"]).contains(id));
    let refused = runtime.run(&["question", "answer", id, "maybe"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("choose one of: Yes, No"), "{refused:?}");
    runtime.ok(&["question", "answer", id, "yes"]);
    let twice = runtime.run(&["question", "answer", id, "no"]);
    assert!(String::from_utf8_lossy(&twice.stderr).contains("answered before"), "{twice:?}");
    terminal.say("yes");
    assert_eq!(terminal.reply(), "answer: Yes by local");
}

#[test]
fn who_waits_no_longer_is_told_in_words() {
    let api = BotApi::start();
    let runtime = on_telegram(&api, "runner_idle_seconds = 1\n");
    api.say(7, "ask one 1");
    heard(&api, "Question timed out after 1s");
    until("the runner has gone", || (count(&runtime, "sessions WHERE running") == 0).then_some(()));
    let (_, message, shown) = api.buttons().unwrap();
    api.tap(7, 7, message, &shown.buttons[0].1);
    heard(&api, "told: \u{201c}Deploy\u{201d}: Yes");
    nothing_waits(&runtime);
}

#[test]
fn a_comment_on_github_answers_in_its_thread_only() {
    let api = Api::start(|request, _| match request {
        "GET /user" => (200, json!({ "id": 7, "login": "vestibule-bot" })),
        post if post.starts_with("POST /repos/") => (201, json!({ "id": 9001 })),
        _ => (404, json!({ "message": "Not Found" })),
    });
    let config = "[channels.github.main]\ntoken = { env = \"TEST_TOKEN\" }\nwebhook_secret = { env = \"TEST_SECRET\" }\n";
    let runtime = Runtime::new(config)
        .env("TEST_TOKEN", "ghp_x")
        .env("TEST_SECRET", "s")
        .env("GITHUB_API_URL", &api.url)
        .up();
    runtime.wait_live("github");
    asks(&runtime);
    let wiring = ["wiring", "create", "--agent", "assistant", "--channel", "github", "--chat"];
    runtime.ok(&[&wiring[..], &["github:acme/app", "--pattern", "."]].concat());
    let at = runtime.listening();
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

/// Modules see a question whole, and who taps is screened like who writes.
#[test]
fn modules_review_a_question_and_screen_its_answer() {
    let api = BotApi::start();
    let runtime = on_telegram(&api, "[plugins.agent-to-agent]\nbuilt_in = false\n[plugins.guard]\n");
    std::fs::copy(plugin_file("vestibule-guard"), runtime.home.path().join("plugins/guard.so")).unwrap();
    until("the module is live", || runtime.log().contains("module is live module=\"guard\"").then_some(()));

    api.say(7, "ask one 60 in_rude");
    let (_, message, shown) = until("the question is there", || api.buttons());
    api.tap(7, 7, message, &shown.buttons[2].1);
    note(&api, "This question is not for you.");
    let dropped = runtime.query::<String>("SELECT reason FROM drops WHERE platform_id = 'telegram:7'");
    assert!(dropped[0].contains("rude"), "{dropped:?}");
    api.tap(7, 7, message, &shown.buttons[1].1);
    heard(&api, "answer: n by 7");

    // Refused: nobody sees it, and nobody can answer it.
    api.say(7, "ask two 1 out_rude");
    heard(&api, "Question timed out after 1s");
    assert_eq!(runtime.json(&["question", "list"]), json!([]));
    // Replaced: the words without what was taken out, and no buttons that would still say it.
    api.say(7, "ask three 1 out_old");
    let words = NUMBERED.replace("\n\nAnswer", "\n3. new\n\nAnswer");
    heard(&api, &words);
    let old = |text: &String| text.contains("out-old");
    assert!(!api.texts().iter().any(old) && api.buttons().is_none(), "{:?}", api.texts());
}

/// The kit shows a channel with buttons what it will be asked to show.
#[test]
fn a_channel_that_lists_questions_is_examined_with_some() {
    let api = BotApi::start();
    let (url, token) = (format!("api_root={}", api.url), format!("token={TOKEN}"));
    let file = plugin_file("vestibule-telegram");
    let args = ["--set", &url, "--set", &token, "--chat", "telegram:7", "--calls", "8", "--json"];
    let output =
        std::process::Command::new(binary()).args(["plugin", "conform"]).arg(file).args(args).output();
    let report: Value = serde_json::from_slice(&output.unwrap().stdout).unwrap();
    let checks = report["checks"].as_array().unwrap();
    let check = checks.iter().find(|check| check["check"] == "questions").unwrap();
    assert_eq!((&check["outcome"], &check["words"]), (&json!("ok"), &json!("5 questions, the last: done")));
    let seen: Vec<usize> = api.store().shown.values().map(|shown| shown.buttons.len()).collect();
    assert_eq!(seen.iter().filter(|count| **count == 25).count(), 1, "{seen:?}");
    // A card has a link, which is a button, too.
    assert_eq!(seen.iter().sum::<usize>(), 2 + 1 + 1 + 25 + 1 + 1);
}

/// What the agent says of the answer: it finds it, or is told when it was given while no runner lived.
fn said(api: &BotApi) -> Vec<String> {
    let of = ["answer: n by 7", "told: \u{201c}Deploy\u{201d}: No"];
    api.texts().into_iter().filter(|text| of.contains(&text.as_str())).collect()
}

/// The step after which the question's buttons can be tapped.
const SHOWN: &str = "delivery: the platform has it, nothing is on record";

/// The runtime ends after each step that is on disk; the question is asked and answered once.
#[test]
fn a_crash_between_a_question_and_its_answer_loses_neither() {
    if !cfg!(debug_assertions) {
        eprintln!("SKIPPED: a release build has no crash points; run the tests without --release");
        return;
    }
    // Whether a person taps before the runtime ends. They can while the platform has not answered the runtime yet.
    for (point, is_tapped) in [
        ("hand-over: a batch is heard, not on record", false),
        ("delivery: `sending` is on record, nobody was called", false),
        (SHOWN, false),
        (SHOWN, true),
        (CRASH_POINT, true),
    ] {
        let api = BotApi::start();
        let mut runtime = on_telegram(&api, "");
        runtime.stop();
        api.store().sends_stall = is_tapped && point == SHOWN;
        runtime.launch(&[("VESTIBULE_CRASH_POINT", &format!("{point}#1"))]);
        api.say(7, "ask one");
        let tap = || {
            let (_, message, shown) = api.buttons()?;
            api.tap(7, 7, message, &shown.buttons[1].1);
            Some(())
        };
        if is_tapped {
            until("there is a button", tap);
            let is_taken = || (api.waiting() == 0).then_some(());
            until("the tap is taken", || is_taken().or_else(|| runtime.ended().map(drop)));
        }
        api.let_sends_end();
        until(point, || runtime.ended().map(drop));
        runtime.end();
        let answered = count(&runtime, "questions WHERE answer = 1");
        assert_eq!(answered, i64::from(is_tapped), "{point}");
        runtime.start_with("telegram");
        until(point, || {
            if api.waiting() == 0 {
                tap();
            }
            (!said(&api).is_empty()).then_some(())
        });
        nothing_waits(&runtime);
        // Also the buttons of a message that came twice.
        until("no buttons are left", || {
            if api.waiting() == 0 {
                tap();
            }
            api.buttons().is_none().then_some(())
        });
        let counts = [count(&runtime, "questions"), count(&runtime, "messages_in WHERE kind = 'system'")];
        assert_eq!(counts, [1, 1], "{point}");
        assert_eq!(said(&api).len(), 1, "{point}: {:?}", api.texts());
    }
}
