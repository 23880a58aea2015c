//! What became of a message, from what the ledger knows of it. Pure.

use crate::clock::Timestamp;
use crate::id::SessionId;
use crate::ledger::State;
use serde::Serialize;
use std::collections::BTreeMap;
use vestibule_session::format_time;

/// What became of it, in all sessions that heard it.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Outcome {
    /// Not known yet; the reasons say what holds it up, as far as something fails.
    Waiting { reasons: Vec<String> },
    /// A reply has arrived where the message was written; once one was heard there: so many have arrived, or are on
    /// their way, and no more will come. The reasons say what went wrong all the same.
    Answered { replies: usize, reasons: Vec<String> },
    /// All is done, and no reply comes.
    Silent { reasons: Vec<String> },
    /// No reply comes before an operator does something, or none at all.
    Failed { reasons: Vec<String> },
}

/// One session that heard the message.
#[derive(Clone, PartialEq, Eq)]
pub struct Heard {
    pub agent: String,
    pub session_id: SessionId,
    pub quarantined: Option<String>,
    /// Why its last run failed, as long as it is tried again.
    pub failing: Option<String>,
    /// When it is tried again.
    pub again_at: Option<Timestamp>,
    pub wakes: bool,
    pub pending: bool,
    /// Whether the message was given up, or the runner reports that its turn failed.
    pub failed: bool,
    /// Why it was given up.
    pub failure: Option<String>,
    pub replies: Vec<Reply>,
    /// How many more arrive, or have arrived, where the message was written; they come before `replies`.
    pub earlier: usize,
}

/// A reply that the session wrote in the turn that settled the message, or later to the same place.
#[derive(Clone, PartialEq, Eq)]
pub struct Reply {
    pub to: To,
    /// Its number in its session.
    pub seq: i64,
    pub state: State,
    pub error: Option<String>,
    /// Whether it was taken long ago: a module may be starting, or be replaced by another.
    pub is_old: bool,
    /// The time that its agent named for it, while that is yet to come.
    pub due_at: Option<Timestamp>,
}

/// Where a reply goes.
#[derive(Clone, PartialEq, Eq)]
pub enum To {
    /// To where the message was written.
    Here,
    /// To another agent: that may lead to a reply here.
    Agent(ReadBy),
    /// To a module: that leads to no reply.
    Module,
    /// To another chat: it leads to no reply here.
    Elsewhere { channel: String, chat: String },
}

/// What a message between agents led to.
#[derive(Clone, PartialEq, Eq)]
pub enum ReadBy {
    /// It has not arrived, or leads too far to be followed.
    Unknown,
    /// The session that has it.
    Session(Box<Heard>),
    /// It was read long ago, and is not kept any more.
    Gone,
}

impl Reply {
    fn is_open(&self) -> bool {
        matches!(self.state, State::Pending | State::Sending | State::Unknown | State::Parked)
    }

    fn goes_nowhere(&self) -> bool {
        matches!(self.state, State::Failed | State::Dropped)
    }

    fn arrives_here(&self) -> bool {
        self.to == To::Here && (self.is_open() || self.state == State::Delivered)
    }
}

impl Heard {
    /// Adds the replies that arrive where the message was written, each once: an agent may hear of a message again by
    /// way of another.
    fn arriving<'a>(&'a self, into: &mut BTreeMap<(&'a str, i64), &'a Reply>) {
        for reply in &self.replies {
            if reply.arrives_here() {
                into.insert((self.session_id.as_str(), reply.seq), reply);
            }
            if let To::Agent(ReadBy::Session(other)) = &reply.to {
                other.arriving(into);
            }
        }
    }
}

/// What the sessions that heard a message say together, where `had` replies have been heard; `None` when there is no
/// session. Once one was heard, the other agents are waited for.
pub fn decide(heard: &[Heard], had: usize) -> Option<Outcome> {
    if heard.is_empty() {
        return None;
    }
    let mut here = BTreeMap::new();
    heard.iter().for_each(|one| one.arriving(&mut here));
    let replies = here.len() + heard.iter().map(|one| one.earlier).sum::<usize>();
    let more_come = had > 0 && had < replies && here.values().any(|reply| reply.is_open());
    let (mut answered, mut waiting) = (false, false);
    let (mut silent, mut failed, mut held_up) = (vec![], vec![], vec![]);
    for one in heard {
        match of_one(one, had) {
            Outcome::Answered { mut reasons, .. } => {
                answered = true;
                failed.append(&mut reasons);
            }
            Outcome::Waiting { mut reasons } => {
                waiting = true;
                held_up.append(&mut reasons);
            }
            Outcome::Silent { mut reasons } => silent.append(&mut reasons),
            Outcome::Failed { mut reasons } => failed.append(&mut reasons),
        }
    }
    Some(match (answered, waiting) {
        (true, true) if had > 0 => Outcome::Waiting { reasons: held_up },
        (true, _) if more_come => Outcome::Waiting { reasons: held_up },
        (true, _) => Outcome::Answered { replies, reasons: failed },
        (false, true) => Outcome::Waiting { reasons: held_up },
        (false, false) if failed.is_empty() => Outcome::Silent { reasons: silent },
        (false, false) => Outcome::Failed { reasons: failed },
    })
}

fn waiting() -> Outcome {
    Outcome::Waiting { reasons: vec![] }
}

fn failed(why: String) -> Outcome {
    Outcome::Failed { reasons: vec![why] }
}

fn silent(why: String) -> Outcome {
    Outcome::Silent { reasons: vec![why] }
}

pub(super) fn of_one(heard: &Heard, had: usize) -> Outcome {
    let agent = &heard.agent;
    match (heard.pending, heard.wakes, &heard.quarantined) {
        (true, _, Some(why)) => {
            let id = &heard.session_id;
            return failed(format!(
                "the session of {agent} is in quarantine: {why}; `vestibule session release {id}` releases it"
            ));
        }
        (true, true, None) => return Outcome::Waiting { reasons: held_up(heard).into_iter().collect() },
        (true, false, None) => {
            return silent(format!("{agent} is not woken by it, and reads it with the next"));
        }
        (false, ..) => {}
    }
    let replies = &heard.replies;
    let undelivered = replies.iter().find(|reply| reply.goes_nowhere()).map(|reply| {
        let why = reply.error.as_deref().unwrap_or("it is not known why");
        format!("the reply of {agent} could not be delivered: {why}")
    });
    let given_up = heard.failed.then(|| match &heard.failure {
        Some(why) => format!("{agent} could not answer: {why}"),
        None => format!("the turn of {agent} failed"),
    });
    let went_wrong = undelivered.into_iter().chain(given_up);
    // One that was heard is on record as delivered a moment later.
    let has_arrived = |reply: &Reply| reply.state == State::Delivered || (had > 0 && reply.is_open());
    let replies: Vec<&Reply> = replies.iter().filter(|reply| !reply.goes_nowhere()).collect();
    let on_their_way: Vec<Outcome> = replies
        .iter()
        .map(|reply| match reply.to {
            To::Here if has_arrived(reply) => Outcome::Answered { replies: 0, reasons: vec![] },
            _ => on_its_way(agent, reply, had),
        })
        .collect();
    let is = |kind: fn(&Outcome) -> bool| on_their_way.iter().any(kind);
    // What it asked of another agent may lead to one more reply.
    let asks = replies.iter().zip(&on_their_way).any(|(reply, outcome)| {
        let is_followed = match &reply.to {
            To::Agent(ReadBy::Session(_)) => true,
            To::Agent(_) => reply.state != State::Delivered,
            _ => false,
        };
        is_followed && matches!(outcome, Outcome::Waiting { .. })
    });
    if is(|outcome| matches!(outcome, Outcome::Answered { .. })) && !(had > 0 && asks) {
        return Outcome::Answered { replies: 0, reasons: went_wrong.collect() };
    }
    if is(|outcome| matches!(outcome, Outcome::Waiting { .. })) {
        let reasons = on_their_way.into_iter().filter_map(|outcome| match outcome {
            Outcome::Waiting { reasons } => Some(reasons),
            _ => None,
        });
        return Outcome::Waiting { reasons: reasons.flatten().collect() };
    }
    let is_failed = |outcome: &Outcome| matches!(outcome, Outcome::Failed { .. });
    let (stuck, elsewhere): (Vec<_>, Vec<_>) = on_their_way.into_iter().partition(is_failed);
    let went_wrong: Vec<String> = went_wrong.collect();
    let went_wrong = (!went_wrong.is_empty()).then_some(Outcome::Failed { reasons: went_wrong });
    let mut said = stuck.into_iter().chain(went_wrong).chain(elsewhere);
    said.next().unwrap_or_else(|| silent(format!("{agent} has read it and answered nothing")))
}

/// The sentence that the runs of a session fail, if they do.
fn held_up(heard: &Heard) -> Option<String> {
    let (agent, why) = (&heard.agent, heard.failing.as_ref()?);
    let again = match heard.again_at {
        Some(at) => format!("again at {}", format_time(at)),
        None => "again".to_owned(),
    };
    Some(format!("{agent} could not answer yet, and is tried {again}: {why}"))
}

/// What a reply that has not arrived here leads to, as long as it is not given up.
fn on_its_way(agent: &str, reply: &Reply, had: usize) -> Outcome {
    let place = match &reply.to {
        To::Here => "here".to_owned(),
        To::Agent(_) => "to another agent".to_owned(),
        To::Module => "to a module".to_owned(),
        To::Elsewhere { channel, chat } => format!("to {chat} on {channel}"),
    };
    let why = reply.error.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    let is_inside = matches!(reply.to, To::Agent(_) | To::Module);
    let is_elsewhere = matches!(reply.to, To::Elsewhere { .. });
    let waits = || {
        failed(format!(
            "the reply of {agent} goes {place}, and waits{why}; `vestibule status` says how that channel is"
        ))
    };
    if let Some(due_at) = reply.due_at.filter(|_| reply.state == State::Deferred) {
        let shown = match reply.to {
            To::Here => "a `vestibule chat` that is open in a terminal then prints it",
            _ => "`vestibule delivery list` shows it",
        };
        return silent(format!("the reply of {agent} goes {place} at {}; {shown}", format_time(due_at)));
    }
    match (reply.state, &reply.to) {
        (State::Held, _) => failed(format!(
            "the reply of {agent} goes {place}, and is held: `vestibule delivery list` shows it, and `delivery replay` \
             sends it"
        )),
        (State::Parked | State::Unknown, _) if is_elsewhere || (is_inside && reply.is_old) => waits(),
        (State::Pending, _) if is_elsewhere && reply.error.is_some() => waits(),
        (State::Delivered, To::Elsewhere { .. } | To::Module | To::Agent(ReadBy::Gone)) => {
            silent(format!("{agent} has answered {place}, and not here"))
        }
        (State::Delivered, To::Agent(ReadBy::Session(other))) => of_one(other, had),
        _ => waiting(),
    }
}
