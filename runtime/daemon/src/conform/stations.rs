//! The stations: what a module is asked at each, and what it may answer there. A new station is one more row.

use super::trial::{Said, Trial};
use serde::de::DeserializeOwned;
use serde_json::Value;
use vestibule_plugin_api::wire::{Effects, Request};
use vestibule_plugin_api::{
    AGENT, Address, Agent, Effect, Forwarded, Manifest, Reviewed, Screened, Sender, SessionRef, Station,
    Timestamp,
};
use vestibule_runtime::{delivery, plugins};

/// A session that no message may be posted to: the writer's own.
const WRITERS: &str = "session-conform-writer";
/// Another one: the question says that it cannot be used.
const UNUSABLE: &str = "session-conform-unusable";

/// What a module is asked about.
pub struct Question<'a> {
    pub id: &'a str,
    pub text: &'a str,
    pub files: &'a [String],
}

/// A station: how a module is asked there, and what it may answer.
pub struct Row {
    pub station: Station,
    /// The verb, which is also the method of `Module`.
    pub verb: &'static str,
    /// All cases of one question; the first is the ordinary one.
    pub ask: fn(&Trial, &Question) -> Vec<Request>,
    /// The kind of an answer, such as `allow`; an error is why the runtime would refuse it.
    read: fn(Value) -> Result<String, String>,
}

/// All that this program knows.
pub const ROWS: [Row; 3] = [
    Row { station: Station::Screen, verb: "screen", ask: screen, read: verdict },
    Row { station: Station::Review, verb: "review", ask: review, read: verdict },
    Row { station: Station::Forward, verb: "forward", ask: forward, read: effects },
];

/// The stations that a manifest lists and this program knows.
pub fn listed(manifest: &Manifest) -> impl Iterator<Item = &'static Row> {
    const { &ROWS }.iter().filter(|row| manifest.listens(row.station))
}

impl Row {
    /// The ordinary question.
    pub fn question(&self, trial: &Trial, id: &str, text: &str) -> Request {
        let question = Question { id, text, files: &[] };
        (self.ask)(trial, &question).into_iter().next().unwrap_or(Request::Unknown)
    }

    /// The kind of an answer.
    ///
    /// # Errors
    /// Why the runtime would refuse it.
    pub fn read(&self, answer: Value) -> Result<String, String> {
        (self.read)(answer).map_err(|why| format!("the runtime refuses its answer: {why}"))
    }

    /// What came of a question, in words; an error is a failed check.
    pub fn words(&self, said: Said<Value>) -> Result<String, String> {
        match said {
            Said::Done(answer) => self.read(answer),
            Said::Unsupported(_) => Err(format!(
                "it lists this station and answers `unsupported`: write `async fn {}` of `Module`, or take it off \
                 its stations",
                self.verb
            )),
            said => said.words(),
        }
    }
}

fn address(trial: &Trial, channel_type: &str) -> Address {
    Address { channel_type: channel_type.into(), ..trial.message("", "").address }
}

fn screen(trial: &Trial, question: &Question) -> Vec<Request> {
    let person = Sender { handle: "ada".into(), name: Some("Ada".into()), is_bot: false };
    let bot = Sender { handle: "b\u{1f916}t".into(), name: None, is_bot: true };
    let ask = |sender| Request::Screen {
        message: Screened {
            event_id: question.id.to_owned(),
            address: address(trial, "conform"),
            sender,
            text: question.text.to_owned(),
            files: question.files.to_vec(),
        },
    };
    vec![ask(person), ask(bot)]
}

fn review(trial: &Trial, question: &Question) -> Vec<Request> {
    let ask = |channel_type| Request::Review {
        message: Reviewed {
            id: question.id.to_owned(),
            address: address(trial, channel_type),
            session: WRITERS.into(),
            text: question.text.to_owned(),
            files: question.files.to_vec(),
        },
    };
    vec![ask("conform"), ask(AGENT)]
}

fn forward(_: &Trial, question: &Question) -> Vec<Request> {
    let agent = |name: &str| Agent { id: format!("agent-{name}"), name: name.into() };
    let session = |id: &str| Some(SessionRef { id: id.into(), usable: id != UNUSABLE });
    let ask = |answers, heard_last, newest: Option<&str>, hops| Request::Forward {
        message: Forwarded {
            id: question.id.to_owned(),
            from: agent("boss"),
            from_session: WRITERS.into(),
            to: agent("helper"),
            text: question.text.to_owned(),
            files: question.files.to_vec(),
            answers,
            heard_last,
            newest: newest.map(str::to_owned),
            hops,
            taken_at: Timestamp::now(),
        },
    };
    vec![
        ask(None, None, Some("session-conform-newest"), 0),
        ask(None, None, None, 0),
        ask(session("session-conform-asked"), session("session-conform-heard"), None, 1),
        ask(session(UNUSABLE), session(UNUSABLE), None, 2),
        ask(None, None, None, u32::MAX),
    ]
}

fn verdict(answer: Value) -> Result<String, String> {
    Ok(match plugins::read_verdict(read(answer)?)? {
        plugins::Said::Pass(None) => "allow",
        plugins::Said::Pass(Some(_)) => "replace",
        plugins::Said::Stop(reason) if reason.trim().is_empty() => {
            return Err("it refuses without a reason".into());
        }
        plugins::Said::Stop(_) => "refuse",
    }
    .to_owned())
}

fn effects(answer: Value) -> Result<String, String> {
    let Effects { effects } = read(answer)?;
    if let Some(why) = delivery::forward_fault(effects.clone()) {
        return Err(why);
    }
    let mut kinds = Vec::new();
    for effect in effects {
        kinds.push(match effect {
            Effect::Post { session: Some(id), .. } if id == WRITERS => {
                return Err(
                    "it posts to the session of the agent that wrote, which is none of the reader's".into()
                );
            }
            Effect::Post { session: Some(id), .. } if id == UNUSABLE => {
                return Err("it posts to a session that cannot be used, as `usable` said".into());
            }
            Effect::Refuse { reason } if reason.trim().is_empty() => {
                return Err("it refuses without a reason".into());
            }
            Effect::Post { .. } => "post",
            Effect::Refuse { .. } => "refuse",
            Effect::Note { .. } | Effect::Unknown => "note",
        });
    }
    Ok(kinds.join(" and "))
}

fn read<T: DeserializeOwned>(answer: Value) -> Result<T, String> {
    serde_json::from_value(answer).map_err(|why| format!("it is not what the verb asks for: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_answer_is_judged_by_its_station() {
        let post =
            |session: &str| json!({ "effects": [{ "effect": "post", "session": session, "text": "x" }] });
        let long = "x".repeat(vestibule_plugin_api::TEXT_BYTES_MAX + 1);
        for (read, answer, want) in [
            (verdict as fn(Value) -> _, json!({ "verdict": "allow" }), "allow"),
            (verdict, json!({ "verdict": "refuse", "reason": "rude" }), "refuse"),
            (verdict, json!({ "verdict": "refuse", "reason": " " }), "without a reason"),
            (verdict, json!({ "verdict": "replace", "text": "" }), "replace"),
            (verdict, json!({ "verdict": "replace", "text": long }), "the limit is"),
            (verdict, json!({ "verdict": "perhaps" }), "does not know its verdict"),
            (verdict, post("s"), "not what the verb asks for"),
            (effects, json!({ "verdict": "allow" }), "not what the verb asks for"),
            (effects, post("s"), "post"),
            (effects, post(WRITERS), "the agent that wrote"),
            (effects, post(UNUSABLE), "cannot be used"),
            (effects, json!({ "effects": [] }), "neither `post` nor `refuse`"),
            (effects, json!({ "effects": [{ "effect": "teleport" }] }), "does not know"),
            (effects, json!({ "effects": [{ "effect": "refuse", "reason": "" }] }), "without a reason"),
            (
                effects,
                json!({ "effects": [{ "effect": "refuse", "reason": "no" }, { "effect": "note", "text": "n" }] }),
                "refuse and note",
            ),
        ] {
            let told = match read(answer.clone()) {
                Ok(words) | Err(words) => words,
            };
            assert!(told.contains(want), "{answer}: {told}");
        }
    }
}
