//! Asks the runtime for the outcome of a message: the terminal channel tells of replies only.

use crate::client::ask;
use serde_json::{Value, json};
use std::time::Duration;
use vestibule_runtime::{Home, words};

/// How long a reply may take before `chat` asks: the runtime would look after each commit, beside its work.
const FIRST_ASKED: Duration = Duration::from_millis(200);
/// The longest reason that is shown, in characters.
const REASON_CHARS_MAX: usize = 1_000;

/// The outcome of a message.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A reply has been written to the terminal.
    Answered,
    /// The turn is over without a reply, for this reason, and nothing went wrong.
    Silent(String),
    /// There is no reply because something went wrong: this.
    Failed(String),
}

/// Returns when the outcome of a message is known. A runtime that cannot tell it, such as an older one, is not
/// asked again: then this never returns, and only the reply tells.
pub async fn follow(home: Home, thread: Option<String>, id: String) -> Outcome {
    tokio::time::sleep(FIRST_ASKED).await;
    let asked = json!({ "channel": "terminal", "chat": "local", "thread": thread, "message": id });
    while let Ok(answer) = ask(&home, "message.outcome", asked.clone()).await {
        if let Some(outcome) = of(&answer) {
            return outcome;
        }
    }
    std::future::pending().await
}

/// How many replies the turn of a message has for its terminal, once `had` of them have come; `None` where the runtime
/// cannot tell, as an older one. It answers when that many have been handed over, or none is on its way.
pub async fn replies(home: Home, thread: Option<String>, id: String, had: usize) -> Option<usize> {
    let asked =
        json!({ "channel": "terminal", "chat": "local", "thread": thread, "message": id, "had": had });
    loop {
        let answer = ask(&home, "message.outcome", asked.clone()).await.ok()?;
        if answer["state"] != "waiting" {
            return usize::try_from(answer["replies"].as_u64()?).ok();
        }
    }
}

fn of(answer: &Value) -> Option<Outcome> {
    let reasons = answer["reasons"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let why = words::line(reasons.collect::<Vec<_>>().join("; "), REASON_CHARS_MAX);
    match answer["state"].as_str()? {
        "answered" => Some(Outcome::Answered),
        "silent" => Some(Outcome::Silent(why)),
        "failed" => Some(Outcome::Failed(why)),
        _ => None,
    }
}
