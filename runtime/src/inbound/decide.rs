//! What becomes of a message: which agents get it, or which question it answers. Pure.

use super::answer::giver;
use super::content::{attachments, change_content, content};
use super::engage::engages;
use super::snapshot::{Arrival, Snapshot};
use crate::attachments::Limits;
use crate::chat_key::ChatKey;
use crate::clock::Timestamp;
use crate::drops::{CHANGE_OF_UNHEARD, NO_AGENT_ENGAGED, NO_AGENT_WIRED, TOO_MANY_CHANGES, UNKNOWN_CHANGE};
use crate::id::{AgentGroupId, MessagingGroupId, SessionId};
use crate::ledger::{NewMessage, Written};
use crate::questions::{self, Giver, Judgement, Question};
use crate::sessions::SessionKey;
use crate::wirings::{ChangesPolicy, IgnoredPolicy, SessionMode, Wiring};
use serde_json::Value;
use vestibule_plugin_api::Changed;

/// The steps to do, in order.
pub type Plan = Vec<Step>;

/// One thing to do.
#[derive(Debug, Clone)]
pub enum Step {
    /// It was taken before: nothing is done.
    Duplicate,
    /// Its words are the answer to the question that is open where it was written.
    Answer {
        /// The question that is answered.
        question: Box<Question>,
        /// The number of the chosen option, from 0.
        option: usize,
        /// The person who chose it.
        giver: Giver,
    },
    /// Write the message into the session of this key, opened if need be.
    Post {
        /// The agent that gets it.
        agent_group_id: AgentGroupId,
        /// The chat it came from.
        messaging_group_id: MessagingGroupId,
        /// Which of the agent's sessions.
        key: SessionKey,
        /// The row to write.
        message: Box<NewMessage>,
    },
    /// Write what changed into a session that knows the message.
    Note {
        /// The session.
        session_id: SessionId,
        /// The row to write.
        message: Box<NewMessage>,
    },
    /// No agent gets it; record why.
    Drop {
        /// One of the reasons that `drops` knows.
        reason: &'static str,
    },
}

/// Each wiring decides for itself; a message that none wants is dropped once, with the reason.
pub fn decide(snapshot: &Snapshot, arrival: &Arrival, limits: Limits, now: Timestamp) -> Plan {
    if snapshot.was_taken {
        return vec![Step::Duplicate];
    }
    if let Some(change) = &arrival.change {
        return decide_change(snapshot, arrival, change, limits);
    }
    if let Some(answer) = answer(snapshot, arrival, now) {
        return vec![answer];
    }
    if snapshot.wirings.is_empty() {
        return vec![Step::Drop { reason: NO_AGENT_WIRED }];
    }
    let content = content(arrival);
    let mut plan = Plan::new();
    for wiring in &snapshot.wirings {
        let trigger = engages(wiring, &arrival.message);
        if trigger || wiring.ignored_message_policy == IgnoredPolicy::Accumulate {
            plan.push(post(wiring, arrival, trigger, &content, limits));
        }
    }
    if plan.is_empty() {
        plan.push(Step::Drop { reason: NO_AGENT_ENGAGED });
    }
    plan
}

/// The sessions that know the message learn of the change, if their agents still listen in the chat. Other agents hear
/// an edit as a message of its own, if they are addressed now.
fn decide_change(snapshot: &Snapshot, arrival: &Arrival, change: &Changed, limits: Limits) -> Plan {
    if *change == Changed::Unknown {
        return vec![Step::Drop { reason: UNKNOWN_CHANGE }];
    }
    if snapshot.wirings.is_empty() {
        return vec![Step::Drop { reason: NO_AGENT_WIRED }];
    }
    let is_edit = matches!(change, Changed::Edited { .. });
    let (mut plan, mut is_full) = (Plan::new(), false);
    for wiring in &snapshot.wirings {
        let engages = is_edit && engages(wiring, &arrival.message);
        let mut known =
            snapshot.known.iter().filter(|one| one.agent_group_id == wiring.agent_group_id).peekable();
        if known.peek().is_none() && engages {
            plan.push(post(wiring, arrival, true, &content(arrival), limits));
        }
        for known in known.filter(|_| wiring.changes != ChangesPolicy::Drop) {
            let trigger = wiring.changes == ChangesPolicy::Wake || (engages && !known.woke && !known.is_own);
            if known.is_full && !trigger {
                is_full = true;
                continue;
            }
            let content = change_content(arrival, change, known);
            let message = Box::new(row(wiring, arrival, trigger, content, limits));
            plan.push(Step::Note { session_id: known.session_id.clone(), message });
        }
    }
    if plan.is_empty() {
        let reason = match (is_full, snapshot.known.is_empty()) {
            (true, _) => TOO_MANY_CHANGES,
            (false, true) => CHANGE_OF_UNHEARD,
            (false, false) => NO_AGENT_ENGAGED,
        };
        plan.push(Step::Drop { reason });
    }
    plan
}

/// The answer that a message gives, if its words may be one: anything else is a message like any other.
fn answer(snapshot: &Snapshot, arrival: &Arrival, now: Timestamp) -> Option<Step> {
    let message = &arrival.message;
    if message.text.is_empty() || !message.attachments.is_empty() {
        return None;
    }
    let question = snapshot.question.as_ref()?;
    let option = questions::named(&question.asked.options, &message.text)?;
    let giver = giver(ChatKey::from(&arrival.address), &message.sender);
    let verdict = questions::judge(question, option, &giver, now);
    (verdict == Judgement::Take).then(|| Step::Answer { question: Box::new(question.clone()), option, giver })
}

fn post(wiring: &Wiring, arrival: &Arrival, trigger: bool, content: &Value, limits: Limits) -> Step {
    Step::Post {
        agent_group_id: wiring.agent_group_id.clone(),
        messaging_group_id: wiring.messaging_group_id.clone(),
        key: session_key(wiring.session_mode, arrival),
        message: Box::new(row(wiring, arrival, trigger, content.clone(), limits)),
    }
}

fn row(wiring: &Wiring, arrival: &Arrival, trigger: bool, content: Value, limits: Limits) -> NewMessage {
    NewMessage {
        written: Written::Outside(arrival.message.message_id.clone()),
        agent_group_id: wiring.agent_group_id.clone(),
        timestamp: arrival.message.timestamp,
        trigger,
        address: arrival.address.clone(),
        content,
        attachments: attachments(arrival),
        session_bytes_max: limits.session_bytes,
        hops: 0,
    }
}

/// In a group a thread is a conversation of its own, whatever the wiring says, unless the wiring
/// shares one session among all chats. In a direct chat the wiring's mode holds.
fn session_key(mode: SessionMode, arrival: &Arrival) -> SessionKey {
    match (mode, &arrival.address.thread_id) {
        (SessionMode::AgentShared, _) => SessionKey::AgentShared,
        (SessionMode::PerThread, Some(thread)) => SessionKey::PerThread(thread.0.clone()),
        (SessionMode::Shared, Some(thread)) if arrival.message.is_group => {
            SessionKey::PerThread(thread.0.clone())
        }
        _ => SessionKey::Shared,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::KnownMessage;
    use crate::wirings::EngageMode;
    use vestibule_plugin_api::{Attachment, Change, InboundMessage, Sender};

    fn arrival(text: &str, thread: Option<&str>, is_mention: bool, is_group: bool) -> Arrival {
        let message = InboundMessage {
            event_id: "e".into(),
            message_id: "m".into(),
            platform_id: "chat".into(),
            thread_id: thread.map(Into::into),
            sender: Sender { handle: "u".into(), name: None, is_bot: false, ..Sender::default() },
            text: text.into(),
            timestamp: Timestamp(0),
            is_mention,
            is_group,
            ..InboundMessage::default()
        };
        Arrival::new("x", "main", true, message)
    }

    fn wiring(
        engage_mode: EngageMode,
        pattern: Option<&str>,
        mode: SessionMode,
        policy: IgnoredPolicy,
    ) -> Wiring {
        Wiring {
            id: "w".into(),
            messaging_group_id: "mg".into(),
            agent_group_id: "ag".into(),
            engage_mode,
            engage_pattern: pattern.map(str::to_owned),
            session_mode: mode,
            ignored_message_policy: policy,
            changes: ChangesPolicy::Note,
            priority: 0,
        }
    }

    /// As words: which agent gets it, in which session, and whether it wakes.
    fn told(snapshot: &Snapshot, arrival: &Arrival) -> Vec<String> {
        let words = |step: Step| match step {
            Step::Post { key, message, .. } => format!("{key:?} wakes={}", message.trigger),
            Step::Note { session_id, message } => {
                let text = message.content["text"].as_str().expect("words");
                format!("{session_id} wakes={} {text}", message.trigger)
            }
            Step::Drop { reason } => reason.to_owned(),
            Step::Duplicate => "duplicate".to_owned(),
            Step::Answer { question, option, .. } => format!("{} to {}", option + 1, question.token),
        };
        let limits = Limits { message_bytes: 0, session_bytes: 0, reserve_bytes: 0 };
        decide(snapshot, arrival, limits, Timestamp(1)).into_iter().map(words).collect()
    }

    #[test]
    fn which_words_are_an_answer() {
        let content = serde_json::json!({ "type": "ask_question", "title": "T", "options": ["Yes", "No"] });
        let question = Question {
            token: "q".into(),
            session_id: "s".into(),
            asked: questions::Asked::read(&content).expect("a question").expect("a good one"),
            address: arrival("", None, false, false).address,
            asked_at: Timestamp(0),
            expires_at: Timestamp(2),
            answer: None,
        };
        let snapshot = Snapshot { question: Some(question.clone()), ..Snapshot::default() };
        let said = |text| arrival(text, None, false, false);
        let mut with_file = said("Yes");
        with_file.message.attachments = vec![Attachment::default()];
        let mut of_bot = said("Yes");
        of_bot.message.sender.is_bot = true;
        let mut elsewhere = said("Yes");
        elsewhere.address.platform_id = "d".into();
        for (arrival, want) in [
            (said("Yes"), "1 to q"),
            (said("2"), "2 to q"),
            (said("yes please"), NO_AGENT_WIRED),
            (said(""), NO_AGENT_WIRED),
            (with_file, NO_AGENT_WIRED),
            (of_bot, NO_AGENT_WIRED),
            (elsewhere, NO_AGENT_WIRED),
        ] {
            assert_eq!(told(&snapshot, &arrival), [want], "{arrival:?}");
        }
        let late = Question { expires_at: Timestamp(1), ..question };
        let late = Snapshot { question: Some(late), ..Snapshot::default() };
        assert_eq!(told(&late, &said("Yes")), [NO_AGENT_WIRED]);
        let twice = Snapshot { was_taken: true, ..snapshot };
        assert_eq!(told(&twice, &said("Yes")), ["duplicate"]);
    }

    #[test]
    fn who_hears_what() {
        use EngageMode::{Mention, Pattern};
        use IgnoredPolicy::{Accumulate, Drop};
        use SessionMode::{AgentShared, PerThread, Shared};
        let cases = [
            (vec![], arrival("hi", None, true, false), vec!["no_agent_wired"]),
            (
                vec![wiring(Mention, None, Shared, Drop)],
                arrival("hi", None, false, true),
                vec!["no_agent_engaged"],
            ),
            (
                vec![wiring(Mention, None, Shared, Drop)],
                arrival("hi", None, true, false),
                vec!["Shared wakes=true"],
            ),
            (
                vec![wiring(Mention, None, Shared, Accumulate)],
                arrival("hi", Some("t"), false, true),
                vec!["PerThread(\"t\") wakes=false"],
            ),
            (
                vec![wiring(Pattern, None, Shared, Drop)],
                arrival("", Some("t"), false, false),
                vec!["Shared wakes=true"],
            ),
            (
                vec![
                    wiring(Pattern, Some("^deploy"), PerThread, Drop),
                    wiring(Pattern, Some("lunch"), AgentShared, Drop),
                ],
                arrival("deploy after lunch", Some("t"), false, false),
                vec!["PerThread(\"t\") wakes=true", "AgentShared wakes=true"],
            ),
        ];
        for (wirings, arrival, want) in cases {
            let snapshot = Snapshot { wirings, ..Snapshot::default() };
            assert_eq!(told(&snapshot, &arrival), want, "{snapshot:?} {arrival:?}");
        }
    }

    #[test]
    fn who_learns_of_a_change() {
        use ChangesPolicy::{Note, Wake};
        let known = |session: &str, agent: &str, is_own: bool, woke: bool| KnownMessage {
            session_id: session.into(),
            agent_group_id: agent.into(),
            seq: 4,
            is_own,
            woke,
            is_full: false,
        };
        let edited = |is_mention| Changed::Edited { text: "new".into(), is_mention };
        let react = || Changed::Reacted { emoji: "👍".into() };
        let heard = || vec![known("s", "ag", false, true)];
        let context = || vec![known("s", "ag", false, false)];
        let own = || vec![known("s", "ag", true, false)];
        let full = || vec![KnownMessage { is_full: true, ..known("s", "ag", false, false) }];
        let elsewhere = || vec![known("t", "another", false, true)];
        for (policy, change, known, want) in [
            (Note, edited(false), heard(), "s wakes=false [edited message 4] new"),
            (Note, edited(true), heard(), "s wakes=false [edited message 4] new"),
            (Note, edited(true), context(), "s wakes=true [edited message 4] new"),
            (Note, edited(true), vec![], "Shared wakes=true"),
            (Note, edited(false), vec![], CHANGE_OF_UNHEARD),
            (Note, edited(true), elsewhere(), "Shared wakes=true"),
            (Note, Changed::Deleted, heard(), "s wakes=false [deleted message 4]"),
            (Note, Changed::Deleted, elsewhere(), NO_AGENT_ENGAGED),
            (Note, react(), own(), "s wakes=false [reacted with 👍 to your message 4]"),
            (Wake, react(), own(), "s wakes=true [reacted with 👍 to your message 4]"),
            (ChangesPolicy::Drop, react(), own(), NO_AGENT_ENGAGED),
            (
                Note,
                Changed::Unreacted { emoji: "eyes".into() },
                heard(),
                "s wakes=false [took the reaction eyes back from message 4]",
            ),
            (Note, react(), vec![], CHANGE_OF_UNHEARD),
            (Note, react(), full(), TOO_MANY_CHANGES),
            (Note, edited(true), full(), "s wakes=true [edited message 4] new"),
            (Wake, react(), full(), "s wakes=true [reacted with 👍 to message 4]"),
            (Wake, Changed::Unknown, heard(), UNKNOWN_CHANGE),
        ] {
            let change = Change {
                event_id: "e".into(),
                message_id: "m".into(),
                platform_id: "chat".into(),
                sender: Sender { handle: "u".into(), ..Sender::default() },
                is_group: true,
                what: change,
                ..Change::default()
            };
            let arrival = Arrival::of_change("x", "main", true, change);
            let mention = wiring(EngageMode::Mention, None, SessionMode::Shared, IgnoredPolicy::Drop);
            let snapshot = Snapshot {
                wirings: vec![Wiring { changes: policy, ..mention }],
                known,
                ..Snapshot::default()
            };
            assert_eq!(told(&snapshot, &arrival), [want], "{snapshot:?} {arrival:?}");
            let unwired = Snapshot { wirings: vec![], ..snapshot };
            assert!(told(&unwired, &arrival)[0].contains("no_agent_wired") || want == UNKNOWN_CHANGE);
        }
    }
}
