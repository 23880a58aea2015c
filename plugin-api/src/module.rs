//! What a module is asked and what it may answer: facts go in, effects or a verdict come out.
//!
//! A module changes nothing itself. It is asked outside every transaction, and may be asked the same
//! again after a crash or a retry: ids are stable.

use crate::address::Address;
use crate::message::{Sender, Timestamp};
use serde::{Deserialize, Serialize};

/// The longest reason or note of a module, in bytes, the runtime keeps.
pub const REASON_BYTES_MAX: usize = 1024;
/// The most effects one answer may hold.
pub const EFFECTS_MAX: usize = 8;

/// Where a module is asked. One that lists no station is never called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Station {
    /// An agent writes to another agent. One module takes them all.
    Forward,
    /// A message has come in, and nothing is decided yet.
    Screen,
    /// A message is about to go out.
    Review,
    /// An agent asks for something that is no message. One module takes each action.
    Action,
    /// Some time has passed.
    Tick,
    /// A station of a newer vocabulary: this runtime never asks there.
    #[serde(other)]
    Unknown,
}

/// What happens to a message when a module that screens or reviews fails or is late.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// It goes on unasked.
    Open,
    /// It is dropped, on record.
    Closed,
    /// A word of a newer vocabulary, read as [`OnFailure::Closed`].
    #[serde(other)]
    Unknown,
}

/// An agent, by the id the runtime gave it and the name people gave it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agent {
    /// The agent group's id.
    pub id: String,
    /// Its name.
    pub name: String,
}

/// A session that a message might go to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRef {
    /// Its id.
    pub id: String,
    /// Whether it is there, belongs to the agent that is written to, and is not in quarantine.
    pub usable: bool,
}

/// A message from one agent to another, which the runtime has allowed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forwarded {
    /// The reply's id in the session it comes from: the same when it is asked again.
    pub id: String,
    /// Who wrote it.
    pub from: Agent,
    /// The session it was written in.
    pub from_session: String,
    /// Whom it is for.
    pub to: Agent,
    /// What it says.
    pub text: String,
    /// The names of the files that go with it. They follow by themselves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
    /// The session that wrote the message which this one answers, if another agent did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answers: Option<SessionRef>,
    /// The session of `to` that wrote last to the session this one comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heard_last: Option<SessionRef>,
    /// The newest usable session of `to`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest: Option<String>,
    /// How many messages between agents led here since somebody on a channel last spoke. The runtime
    /// counts; no agent can.
    #[serde(default)]
    pub hops: u32,
    /// When the runtime took it from the agent, by the runtime's clock.
    pub taken_at: Timestamp,
}

/// A message that has come in, before anything is decided about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Screened {
    /// The event's id: the same when it is asked again.
    pub event_id: String,
    /// Where it came from.
    pub address: Address,
    /// Who wrote it.
    pub sender: Sender,
    /// What it says.
    pub text: String,
    /// The names of the files that came with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
}

/// A message that is about to go out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reviewed {
    /// The reply's id: the same when it is asked again.
    pub id: String,
    /// Where it goes; the channel type is `agent` for another agent.
    pub address: Address,
    /// The session it was written in.
    pub session: String,
    /// What it says.
    pub text: String,
    /// The names of the files that go with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
}

/// Something an agent asks for that is no message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Action {
    /// The row's id in the agent's session: the same when it is asked again.
    pub id: String,
    /// Which action, one of those that the manifest lists.
    pub name: String,
    /// Who asks.
    pub agent: Agent,
    /// The session it asks in.
    pub session: String,
    /// All that it wrote, the action's name included. Every word is the agent's.
    pub content: serde_json::Value,
    /// How many messages between agents, and notes that answered actions, led here since somebody on a
    /// channel last spoke. The runtime counts; no agent can.
    #[serde(default)]
    pub hops: u32,
    /// When the runtime took it from the agent, by the runtime's clock.
    pub taken_at: Timestamp,
}

/// Some time has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tick {
    /// The `now` of the last tick whose answer was performed; none before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Timestamp>,
    /// The runtime's clock.
    pub now: Timestamp,
}

/// What a module says to a message that it screens or reviews.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// It goes on as it is.
    Allow,
    /// It goes no further; the reason is put on record.
    Refuse {
        /// Why, for the operator. At most [`REASON_BYTES_MAX`] bytes are kept.
        reason: String,
    },
    /// It goes on with this text.
    Replace {
        /// The new text.
        text: String,
    },
    /// A verdict of a newer vocabulary; the runtime takes it for a failure.
    #[serde(other)]
    Unknown,
}

/// What a module asks the runtime to do. The runtime checks each against its station.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "effect", rename_all = "snake_case")]
pub enum Effect {
    /// At `forward`: write the message, with its files, into a session of the agent it is for.
    Post {
        /// Which session; a new one without.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        session: Option<String>,
        /// What is written.
        text: String,
    },
    /// At `forward` and `action`: it goes nowhere; the reason is put on record.
    Refuse {
        /// Why, for the operator.
        reason: String,
    },
    /// At `forward`: tell the agent that wrote. It reads the note at its next turn; none starts for it.
    /// At `action`: the answer, which starts a turn.
    Note {
        /// The words.
        text: String,
    },
    /// At `tick`: tell an agent something, in its newest session. The operator names the agents that a
    /// module may tell.
    Tell {
        /// The agent's name.
        agent: String,
        /// The words.
        text: String,
    },
    /// An effect of a newer vocabulary. The runtime refuses the whole answer.
    #[serde(other)]
    Unknown,
}
