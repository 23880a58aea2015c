//! The hooks: the questions to a module at each, and the answers that it may give. A new hook is one more row.

use crate::trial::{Said, Trial};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use vestibule_plugin_api::wire::{Effects, Request};
use vestibule_plugin_api::{
    AGENT, Action, Address, Agent, Asking, AskingOption, Attachment, Card, Changed, Command, Decided,
    Decider, Decision, Due, Effect, Forwarded, Hook, Manifest, Mention, ReplyTo, Requested, Reviewed,
    Screened, Sender, SessionRef, Tick, Timestamp, Verdict,
};
use vestibule_runtime::delivery::{EffectsHook, effects_fault};
use vestibule_runtime::plugins;

/// A session that no message may be posted to: the writer's own.
const WRITERS: &str = "session-conform-writer";
/// Another such session: the question says that it cannot be used.
const UNUSABLE: &str = "session-conform-unusable";

/// The words and ids of which a question is made.
pub struct Question<'a> {
    pub id: &'a str,
    pub text: &'a str,
    pub files: &'a [String],
}

/// A hook: how a module is asked there, and what it may answer.
pub struct Row {
    pub hook: Hook,
    /// The verb, which is also the method of `Module`.
    pub verb: &'static str,
    /// All cases of one question; the first is the ordinary one.
    pub ask: fn(&Trial, &Question) -> Vec<Request>,
    /// The kind of an answer, such as `allow`; the error says what is wrong with it.
    read: fn(Value) -> Result<String, String>,
}

/// All hooks that this program knows.
pub const ROWS: [Row; 6] = [
    Row { hook: Hook::Screen, verb: "screen", ask: screen, read: screen_verdict },
    Row { hook: Hook::Review, verb: "review", ask: review, read: review_verdict },
    Row { hook: Hook::Forward, verb: "forward", ask: forward, read: forward_effects },
    Row { hook: Hook::Action, verb: "action", ask: action, read: action_effects },
    Row { hook: Hook::Tick, verb: "tick", ask: tick, read: tick_effects },
    Row { hook: Hook::Decided, verb: "decided", ask: decided, read: decided_effects },
];

/// The hooks that a manifest lists and this program knows.
pub fn listed(manifest: &Manifest) -> impl Iterator<Item = &'static Row> {
    const { &ROWS }.iter().filter(|row| manifest.listens(row.hook))
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
    /// What is wrong with the answer: mostly, why the runtime would refuse it.
    pub fn read(&self, answer: Value) -> Result<String, String> {
        (self.read)(answer).map_err(|why| format!("its answer is wrong: {why}"))
    }

    /// The outcome of a question, in words; an error is a failed check.
    pub fn words(&self, said: Said<Value>) -> Result<String, String> {
        match said {
            Said::Done(answer) => self.read(answer),
            Said::Unsupported(_) => Err(format!(
                "it lists this hook and answers `unsupported`: write `async fn {}` of `Module`, or take it off \
                 its hooks",
                self.verb
            )),
            said => said.words(),
        }
    }
}

fn address(trial: &Trial, channel_type: &str) -> Address {
    Address { channel_type: channel_type.into(), ..trial.message("", "").address }
}

/// Asks with the words in all places where a person can put some, and in the text alone, as an older runtime does.
fn screen(trial: &Trial, question: &Question) -> Vec<Request> {
    let plain = Screened {
        event_id: question.id.to_owned(),
        address: address(trial, "conform"),
        sender: Sender { handle: "ada".into(), name: Some("Ada".into()), is_bot: false, ..Sender::default() },
        text: question.text.to_owned(),
        files: question.files.to_vec(),
        attachments: attachments(question),
        reply_to: None,
        message_id: Some("conform-1".into()),
        chat: Some("Conform".into()),
        timestamp: Some(Timestamp::now()),
        is_mention: true,
        is_group: false,
        mentions: vec![],
        change: None,
        subject: None,
        command: None,
        metadata: BTreeMap::new(),
    };
    let quoted = |sender: Option<&str>, text: Option<&str>| {
        Some(ReplyTo {
            id: "conform-0".into(),
            sender: sender.map(str::to_owned),
            text: text.map(str::to_owned),
        })
    };
    let bot = Sender { handle: "b\u{1f916}t".into(), is_bot: true, ..Sender::default() };
    let messages = [
        plain.clone(),
        Screened {
            sender: bot,
            is_mention: false,
            is_group: true,
            chat: None,
            reply_to: quoted(None, None),
            ..plain.clone()
        },
        Screened { reply_to: quoted(Some("Charles"), Some(question.text)), ..plain.clone() },
        Screened {
            mentions: vec![Mention { handle: "b".into(), name: Some(question.text.into()) }],
            ..plain.clone()
        },
        Screened {
            subject: Some("Plans".into()),
            command: Some(Command { name: "plans".into(), arguments: question.text.into() }),
            metadata: BTreeMap::from([("conform".to_owned(), question.text.to_owned())]),
            ..plain.clone()
        },
        Screened {
            change: Some(Changed::Edited { text: question.text.to_owned(), is_mention: true }),
            ..plain.clone()
        },
        Screened {
            attachments: vec![],
            message_id: None,
            chat: None,
            timestamp: None,
            is_mention: false,
            ..plain
        },
    ];
    messages.into_iter().map(|message| Request::Screen { message }).collect()
}

fn review(trial: &Trial, question: &Question) -> Vec<Request> {
    let plain = Reviewed {
        id: question.id.to_owned(),
        address: address(trial, "conform"),
        session: WRITERS.into(),
        text: question.text.to_owned(),
        files: question.files.to_vec(),
        attachments: attachments(question),
        question: None,
        in_reply_to: None,
        taken_at: Some(Timestamp::now()),
        card: None,
        change: None,
        subject: None,
        metadata: BTreeMap::new(),
    };
    let metadata = BTreeMap::from([("conform".to_owned(), question.text.to_owned())]);
    let card = Card { title: question.text.to_owned(), fallback: "Build".into(), ..Card::default() };
    let edited = Changed::Edited { text: question.text.to_owned(), is_mention: false };
    let option = |label: &str| AskingOption { label: label.into(), shown: question.text.to_owned() };
    let asking = Asking {
        title: question.text.to_owned(),
        question: String::new(),
        options: vec![option("Yes"), option("No")],
    };
    let messages = [
        plain.clone(),
        Reviewed { address: address(trial, AGENT), ..plain.clone() },
        Reviewed { question: Some(asking), in_reply_to: Some("conform-1".into()), ..plain.clone() },
        Reviewed { card: Some(card), text: "Build".into(), ..plain.clone() },
        Reviewed { change: Some(edited), ..plain.clone() },
        Reviewed { subject: Some(question.text.to_owned()), metadata, ..plain.clone() },
        Reviewed { attachments: vec![], taken_at: None, ..plain },
    ];
    messages.into_iter().map(|message| Request::Review { message }).collect()
}

fn attachments(question: &Question) -> Vec<Attachment> {
    let named =
        |name: &String| Attachment { name: name.clone(), size_bytes: Some(1), ..Attachment::default() };
    question.files.iter().map(named).collect()
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

/// Asks for each action that the module takes, and with content as only an agent writes it.
fn action(trial: &Trial, question: &Question) -> Vec<Request> {
    let ask = |name: &String, content, hops| Request::Action {
        action: Action {
            id: question.id.to_owned(),
            name: name.clone(),
            agent: Agent { id: "agent-boss".into(), name: "boss".into() },
            session: WRITERS.into(),
            content,
            hops,
            taken_at: Timestamp::now(),
        },
    };
    let cases = |name| {
        [
            ask(name, json!({ "action": name, "text": question.text, "files": question.files }), 0),
            ask(name, json!({ "action": name }), 1),
            ask(name, json!({ "action": name, "text": { "deep": [null, 7] } }), u32::MAX),
            ask(name, Value::Null, 0),
        ]
    };
    match &trial.manifest().actions[..] {
        [] => cases(&"conform".to_owned()).to_vec(),
        actions => actions.iter().flat_map(cases).collect(),
    }
}

/// What people, an operator and time may decide, about what the module never asked for: as after an update of it.
fn decided(trial: &Trial, question: &Question) -> Vec<Request> {
    let ask = |verdict, by, payload| Request::Decided {
        decided: Decided {
            id: question.id.to_owned(),
            request: Requested {
                key: "conform".into(),
                kind: "question".into(),
                agent: Agent { id: "agent-boss".into(), name: "boss".into() },
                session: WRITERS.into(),
                address: address(trial, "conform"),
                payload,
                asked_at: Timestamp(0),
            },
            verdict,
            by,
            decided_at: Timestamp::now(),
        },
    };
    let chosen = || Decision::Chosen { value: question.text.to_owned(), label: question.text.to_owned() };
    let person = Decider {
        channel_type: Some("conform".into()),
        account: Some("main".into()),
        handle: "ada".into(),
        name: Some("Ada".into()),
    };
    let operator = Decider { handle: "operator".into(), ..Decider::default() };
    let words = json!({ "text": question.text, "files": question.files });
    vec![
        ask(chosen(), Some(person.clone()), words),
        ask(chosen(), Some(operator), Value::Null),
        ask(Decision::Expired, None, json!({ "deep": [null, 7] })),
        ask(Decision::Withdrawn, None, Value::Null),
        ask(Decision::Failed { reason: question.text.to_owned() }, None, Value::Null),
        ask(Decision::Unknown, Some(person), Value::Null),
    ]
}

/// The first tick, one in time, one after a long while, one after the clock was set back, and one that brings things.
fn tick(_: &Trial, question: &Question) -> Vec<Request> {
    let now = Timestamp::now();
    let ask = |last| Request::Tick { tick: Tick { last, now, due: vec![] } };
    let due = |payload| Due { key: "conform".into(), at: now, payload };
    let brings = vec![due(json!({ "text": question.text })), due(Value::Null)];
    vec![
        ask(None),
        ask(Some(Timestamp(now.0 - 60_000))),
        ask(Some(Timestamp(0))),
        ask(Some(Timestamp(now.0 + 3_600_000))),
        Request::Tick { tick: Tick { last: Some(now), now, due: brings } },
    ]
}

fn screen_verdict(answer: Value) -> Result<String, String> {
    verdict(answer, Hook::Screen)
}

fn review_verdict(answer: Value) -> Result<String, String> {
    verdict(answer, Hook::Review)
}

fn verdict(answer: Value, hook: Hook) -> Result<String, String> {
    let given: Verdict = read(answer)?;
    if matches!(&given, Verdict::Refuse { text: Some(text), .. } if text.trim().is_empty()) {
        return Err("it refuses with a text that says nothing; leave `text` out".into());
    }
    Ok(match plugins::read_verdict(hook, given)? {
        Verdict::Refuse { reason, .. } if reason.trim().is_empty() => {
            return Err("it refuses without a reason".into());
        }
        Verdict::Consume { reason } if reason.trim().is_empty() => {
            return Err("it consumes without a reason".into());
        }
        Verdict::Allow => "allow",
        Verdict::Replace { .. } => "replace",
        Verdict::Refuse { text: None, .. } => "refuse",
        Verdict::Refuse { text: Some(_), .. } => "refuse with a text",
        Verdict::Consume { .. } => "consume",
        Verdict::Unknown => "a verdict of a newer vocabulary",
    }
    .to_owned())
}

fn forward_effects(answer: Value) -> Result<String, String> {
    effects(answer, EffectsHook::Forward)
}

fn action_effects(answer: Value) -> Result<String, String> {
    effects(answer, EffectsHook::Action(None))
}

fn tick_effects(answer: Value) -> Result<String, String> {
    effects(answer, EffectsHook::Tick(None))
}

fn decided_effects(answer: Value) -> Result<String, String> {
    effects(answer, EffectsHook::Decided(None))
}

fn effects(answer: Value, hook: EffectsHook) -> Result<String, String> {
    let Effects { effects } = read(answer)?;
    if let Some(why) = effects_fault(hook, effects.clone()) {
        return Err(why);
    }
    if effects.is_empty() {
        return Ok("nothing".to_owned());
    }
    let kinds: Result<Vec<_>, _> = effects.into_iter().map(effect).collect();
    Ok(kinds?.join(" and "))
}

/// The kind of an effect that its hook may have.
fn effect(effect: Effect) -> Result<&'static str, String> {
    Ok(match effect {
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
        Effect::Note { .. } => "note",
        Effect::Tell { .. } => "tell",
        Effect::Send { .. } => "send",
        Effect::Card { .. } => "card",
        Effect::Ask { .. } => "ask",
        Effect::Edit { .. } => "edit",
        Effect::React { .. } => "react",
        Effect::Schedule { .. } => "schedule",
        Effect::RequestApproval { .. } => "request_approval",
        Effect::WithdrawApproval { .. } => "withdraw_approval",
        Effect::CreateAgent { .. } => "create_agent",
        Effect::ChangeAgent { .. } => "change_agent",
        Effect::RestartAgent { .. } => "restart_agent",
        Effect::Unknown => "an effect of a newer vocabulary",
    })
}

fn read<T: DeserializeOwned>(answer: Value) -> Result<T, String> {
    serde_json::from_value(answer).map_err(|why| format!("it is not what the verb asks for: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_judged_by_its_station() {
        let post =
            |session: &str| json!({ "effects": [{ "effect": "post", "session": session, "text": "x" }] });
        let long = "x".repeat(vestibule_plugin_api::TEXT_BYTES_MAX + 1);
        for (read, answer, want) in [
            (screen_verdict as fn(Value) -> _, json!({ "verdict": "allow" }), "allow"),
            (screen_verdict, json!({ "verdict": "refuse", "reason": "rude" }), "refuse"),
            (screen_verdict, json!({ "verdict": "refuse", "reason": " " }), "without a reason"),
            (
                screen_verdict,
                json!({ "verdict": "refuse", "reason": "r", "text": "t" }),
                "refuse with a text",
            ),
            (screen_verdict, json!({ "verdict": "refuse", "reason": "r", "text": " " }), "says nothing"),
            (screen_verdict, json!({ "verdict": "refuse", "reason": "r", "text": long }), "the limit is"),
            (
                review_verdict,
                json!({ "verdict": "refuse", "reason": "r", "text": "t" }),
                "refuse with a text",
            ),
            (screen_verdict, json!({ "verdict": "consume", "reason": "a command" }), "consume"),
            (screen_verdict, json!({ "verdict": "consume", "reason": "" }), "consumes without a reason"),
            (review_verdict, json!({ "verdict": "consume", "reason": "r" }), "only a message that comes in"),
            (review_verdict, json!({ "verdict": "replace", "text": "" }), "replace"),
            (screen_verdict, json!({ "verdict": "replace", "text": long }), "the limit is"),
            (screen_verdict, json!({ "verdict": "replace", "text": "", "quote": long }), "the limit is"),
            (screen_verdict, json!({ "verdict": "perhaps" }), "does not know its verdict"),
            (screen_verdict, post("s"), "not what the verb asks for"),
            (forward_effects, json!({ "verdict": "allow" }), "not what the verb asks for"),
            (forward_effects, post("s"), "post"),
            (forward_effects, post(WRITERS), "the agent that wrote"),
            (forward_effects, post(UNUSABLE), "cannot be used"),
            (forward_effects, json!({ "effects": [] }), "neither `post` nor `refuse`"),
            (forward_effects, json!({ "effects": [{ "effect": "teleport" }] }), "none of `post`"),
            (
                forward_effects,
                json!({ "effects": [{ "effect": "refuse", "reason": "" }] }),
                "without a reason",
            ),
            (
                forward_effects,
                json!({ "effects": [{ "effect": "refuse", "reason": "no" }, { "effect": "note", "text": "n" }] }),
                "refuse and note",
            ),
            (action_effects, json!({ "effects": [] }), "nothing"),
            (action_effects, post("s"), "neither `note` nor `refuse`"),
            (tick_effects, json!({ "effects": [{ "effect": "tell", "agent": "a", "text": "t" }] }), "tell"),
            (tick_effects, json!({ "effects": [{ "effect": "note", "text": "t" }] }), "not `tell`"),
            (decided_effects, json!({ "effects": [{ "effect": "note", "text": "t" }] }), "note"),
            (decided_effects, json!({ "effects": [{ "effect": "refuse", "reason": "t" }] }), "not `note`"),
            (decided_effects, json!({ "effects": [{ "effect": "send", "text": "t" }] }), "send"),
            (tick_effects, json!({ "effects": [{ "effect": "send", "text": "t" }] }), "must name one"),
            (action_effects, json!({ "effects": [{ "effect": "schedule", "key": "" }] }), "is empty"),
            (
                action_effects,
                json!({ "effects": [{ "effect": "create_agent", "name": "x" }] }),
                "does not do `create_agent` yet",
            ),
        ] {
            let told = match read(answer.clone()) {
                Ok(words) | Err(words) => words,
            };
            assert!(told.contains(want), "{answer}: {told}");
        }
    }
}
