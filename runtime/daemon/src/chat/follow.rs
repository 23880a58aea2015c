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

/// Returns when the outcome of a message is known; meanwhile `tell` hears what holds it up, if anything does, each
/// reason once. A runtime that cannot tell it, such as an older one, is not asked again: then this never returns, and
/// only the reply tells.
pub async fn follow(home: Home, thread: Option<String>, id: String, tell: impl Fn(&str)) -> Outcome {
    tokio::time::sleep(FIRST_ASKED).await;
    let asked = json!({ "channel": "terminal", "chat": "local", "thread": thread, "message": id });
    match settled(&home, asked, tell).await {
        Some((state, _)) if state["state"] == "answered" => Outcome::Answered,
        Some((state, why)) if state["state"] == "silent" => Outcome::Silent(why),
        Some((_, why)) => Outcome::Failed(why),
        None => std::future::pending().await,
    }
}

/// What the turn of a message came to.
pub struct Whole {
    /// How many replies it has for its terminal.
    pub replies: usize,
    /// What went wrong all the same, if anything did.
    pub trouble: Option<String>,
}

/// The whole turn of a message, once `had` of its replies have come; `None` where the runtime cannot tell, as an older
/// one. It answers when that many have been handed over, or none is on its way.
pub async fn whole(
    home: Home,
    thread: Option<String>,
    id: String,
    had: usize,
    tell: impl Fn(&str),
) -> Option<Whole> {
    let asked =
        json!({ "channel": "terminal", "chat": "local", "thread": thread, "message": id, "had": had });
    let (answer, why) = settled(&home, asked, tell).await?;
    let replies = usize::try_from(answer["replies"].as_u64()?).ok()?;
    Some(Whole { replies, trouble: Some(why).filter(|why| !why.is_empty()) })
}

/// The first answer that is not to wait, and its reasons; `None` where the runtime gives none.
async fn settled(home: &Home, mut asked: Value, tell: impl Fn(&str)) -> Option<(Value, String)> {
    let mut told = String::new();
    loop {
        let answer = ask(home, "message.outcome", asked.clone()).await.ok()?;
        let reasons = answer["reasons"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let why = words::line(reasons.collect::<Vec<_>>().join("; "), REASON_CHARS_MAX);
        if answer["state"] != "waiting" {
            return Some((answer, why));
        }
        asked["waited"] = true.into();
        if !why.is_empty() && why != told {
            tell(&why);
            told = why;
        }
    }
}
