//! What became of a message, from what the ledger knows of it. Pure.

use crate::clock::Timestamp;
use crate::id::SessionId;
use crate::ledger::State;
use serde::Serialize;
use vestibule_session::format_time;

/// What became of it, in all sessions that heard it.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Outcome {
    /// Not known yet.
    Waiting,
    /// A reply has arrived where the message was written; once one was heard there: so many have arrived, or are on
    /// their way, and no more will come.
    Answered { replies: usize },
    /// All is done, and no reply comes.
    Silent { reasons: Vec<String> },
    /// No reply comes before an operator does something, or none at all.
    Failed { reasons: Vec<String> },
}

/// One session that heard the message.
pub struct Heard {
    pub agent: String,
    pub session_id: SessionId,
    pub quarantined: Option<String>,
    pub wakes: bool,
    pub pending: bool,
    pub failure: Option<String>,
    pub replies: Vec<Reply>,
    /// How many more arrive, or have arrived, where the message was written; they come before `replies`.
    pub earlier: usize,
}

/// A reply that the session wrote in the turn that settled the message, or later to the same place.
#[derive(Clone)]
pub struct Reply {
    pub to: To,
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
    /// To another agent, or to a module: that may lead to a reply here.
    Inside,
    /// To another chat: it leads to no reply here.
    Elsewhere { channel: String, chat: String },
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

/// What the sessions that heard a message say together, where `had` replies have been heard; `None` when there is no
/// session.
pub fn decide(heard: &[Heard], had: usize) -> Option<Outcome> {
    let here = || heard.iter().flat_map(|one| &one.replies).filter(|reply| reply.arrives_here());
    let replies = here().count() + heard.iter().map(|one| one.earlier).sum::<usize>();
    let more_come = had > 0 && had < replies && here().any(Reply::is_open);
    let (mut answered, mut waiting, mut silent, mut failed) = (false, false, vec![], vec![]);
    for one in heard {
        match of_one(one, had) {
            Outcome::Answered { .. } => answered = true,
            Outcome::Waiting => waiting = true,
            Outcome::Silent { mut reasons } => silent.append(&mut reasons),
            Outcome::Failed { mut reasons } => failed.append(&mut reasons),
        }
    }
    Some(match (answered, waiting) {
        _ if heard.is_empty() => return None,
        (true, _) if more_come => Outcome::Waiting,
        (true, _) => Outcome::Answered { replies },
        (false, true) => Outcome::Waiting,
        (false, false) if failed.is_empty() => Outcome::Silent { reasons: silent },
        (false, false) => Outcome::Failed { reasons: failed },
    })
}

fn failed(why: String) -> Outcome {
    Outcome::Failed { reasons: vec![why] }
}

fn silent(why: String) -> Outcome {
    Outcome::Silent { reasons: vec![why] }
}

pub(super) fn of_one(heard: &Heard, had: usize) -> Outcome {
    let agent = &heard.agent;
    if let (true, Some(why)) = (heard.pending, &heard.quarantined) {
        let id = &heard.session_id;
        return failed(format!(
            "the session of {agent} is in quarantine: {why}; `vestibule session release {id}` releases it"
        ));
    }
    match (heard.pending, heard.wakes) {
        (true, true) => return Outcome::Waiting,
        (true, false) => return silent(format!("{agent} is not woken by it, and reads it with the next")),
        (false, _) => {}
    }
    let replies = &heard.replies;
    // One that was heard is on record as delivered a moment later.
    let has_arrived = |reply: &Reply| reply.state == State::Delivered || (had > 0 && reply.is_open());
    if replies.iter().any(|reply| reply.to == To::Here && has_arrived(reply)) {
        return Outcome::Answered { replies: 0 };
    }
    let on_their_way =
        replies.iter().filter(|reply| !reply.goes_nowhere()).map(|reply| on_its_way(agent, reply));
    let on_their_way: Vec<Outcome> = on_their_way.collect();
    if on_their_way.contains(&Outcome::Waiting) {
        return Outcome::Waiting;
    }
    let is_failed = |outcome: &Outcome| matches!(outcome, Outcome::Failed { .. });
    let undelivered = replies.iter().find(|reply| reply.goes_nowhere()).map(|reply| {
        let why = reply.error.as_deref().unwrap_or("it is not known why");
        failed(format!("the reply of {agent} could not be delivered: {why}"))
    });
    let given_up = heard.failure.as_ref().map(|why| failed(format!("{agent} could not answer: {why}")));
    let (stuck, elsewhere): (Vec<_>, Vec<_>) = on_their_way.into_iter().partition(is_failed);
    let mut said = stuck.into_iter().chain(undelivered).chain(given_up).chain(elsewhere);
    said.next().unwrap_or_else(|| silent(format!("{agent} has read it and answered nothing")))
}

/// What a reply that has not arrived here leads to, as long as it is not given up.
fn on_its_way(agent: &str, reply: &Reply) -> Outcome {
    let place = match &reply.to {
        To::Here => "here".to_owned(),
        To::Inside => "to another agent or a module".to_owned(),
        To::Elsewhere { channel, chat } => format!("to {chat} on {channel}"),
    };
    let why = reply.error.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
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
    match reply.state {
        State::Held => failed(format!(
            "the reply of {agent} goes {place}, and is held: `vestibule delivery list` shows it, and `delivery replay` \
             sends it"
        )),
        State::Parked | State::Unknown if is_elsewhere || (reply.to == To::Inside && reply.is_old) => waits(),
        State::Pending if is_elsewhere && reply.error.is_some() => waits(),
        State::Delivered if is_elsewhere => silent(format!("{agent} has answered {place}, and not here")),
        // A reply that went to another agent, for example, may lead to one here.
        _ => Outcome::Waiting,
    }
}
