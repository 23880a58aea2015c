//! The questions that the runtime asks a module, and its answers: facts go in, effects or a verdict come out.
//!
//! A module changes nothing itself. It is asked outside every transaction, and may be asked the same
//! again after a crash or a retry: ids are stable.

use crate::address::Address;
use crate::card::{Card, Field, Link};
use crate::change::Changed;
use crate::decided::{AgentPart, AskOption, Due};
use crate::message::{Attachment, Command, Mention, ReplyTo, Sender, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The longest reason or note of a module, in bytes, the runtime keeps.
pub const REASON_BYTES_MAX: usize = 1024;
/// The most effects one answer may hold.
pub const EFFECTS_MAX: usize = 8;

/// The word of the first versions for [`Hook`].
pub type Station = Hook;

/// Where a module is asked. One that lists no hook is never called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hook {
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
    /// Something was decided that this module asked for.
    Decided,
    /// A hook of a newer vocabulary: this runtime never asks there.
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
    /// How many messages between agents led here since a person last wrote on a channel. The runtime
    /// counts; no agent can.
    #[serde(default)]
    pub hops: u32,
    /// When the runtime took it from the agent, by the runtime's clock.
    pub taken_at: Timestamp,
}

/// A message that has come in, before anything is decided about it: all of it that an agent can come to see.
///
/// The fields after `files` are empty when an older runtime asks.
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
    /// The same files with all that is known of them, but without their bytes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<Attachment>,
    /// The message that it answers, with that one's words: the agent reads them, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<ReplyTo>,
    /// The platform's id of the message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    /// What people call the chat, where its channel said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chat: Option<String>,
    /// When it was written, by the platform's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<Timestamp>,
    /// Whether the platform says that the agent was addressed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_mention: bool,
    /// Whether more than two take part in the chat.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_group: bool,
    /// Whom it names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mentions: Vec<Mention>,
    /// What was done to a message that was there before: then `text` is what it says now, or the emoji.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<Changed>,
    /// What it is about; `text` begins with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The command that it gives; `text` is `/name arguments` then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Command>,
    /// What else the platform says of it. Other words in the place of `text` take it away.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
}

impl Screened {
    /// All words in it that people chose, quoted ones and names included: a module that screens words screens these.
    /// Empty ones are left out. The ids that platforms make are not among them.
    pub fn texts(&self) -> Vec<&str> {
        let Screened { sender, text, files, attachments, reply_to, chat, mentions, change, .. } = self;
        let Screened { subject, command, metadata, .. } = self;
        let quoted = reply_to.iter().flat_map(|ReplyTo { id: _, sender, text }| [sender, text]);
        let mut texts = vec![text.as_str(), &sender.handle];
        texts.extend([&sender.name, chat].into_iter().chain(quoted).flatten().map(String::as_str));
        texts.extend(files.iter().map(String::as_str));
        texts.extend(attachments.iter().flat_map(words_of));
        texts.extend(sender.other_handles.iter().chain(&sender.standing).chain(subject).map(String::as_str));
        texts.extend(command.iter().flat_map(|Command { name, arguments }| [name.as_str(), arguments]));
        texts.extend(metadata.iter().flat_map(|(key, value)| [key.as_str(), value]));
        for Mention { handle, name } in mentions {
            texts.extend([Some(handle), name.as_ref()].into_iter().flatten().map(String::as_str));
        }
        if let Some(Changed::Reacted { emoji } | Changed::Unreacted { emoji }) = change {
            texts.push(emoji);
        }
        texts.retain(|text| !text.is_empty());
        texts
    }
}

/// A message that is about to go out: all of it that a person, or another agent, can come to see.
///
/// The fields after `files` are empty when an older runtime asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reviewed {
    /// The reply's id: the same when it is asked again.
    pub id: String,
    /// Where it goes; the channel type is `agent` for another agent.
    pub address: Address,
    /// The session it was written in.
    pub session: String,
    /// What it says; a question as a text, with its numbered options.
    pub text: String,
    /// The names of the files that go with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
    /// The same files with all that is known of them, but without their bytes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<Attachment>,
    /// The question that it asks, if it asks one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub question: Option<Asking>,
    /// The platform's id of the message it answers, when the agent answered one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_reply_to: Option<String>,
    /// When the runtime took it from the agent, by the runtime's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_at: Option<Timestamp>,
    /// The card that it is, if it is one; `text` is its plain words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub card: Option<Card>,
    /// What it does to a message that is there already, if it does that; `text` is the new words, or the emoji.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<Changed>,
    /// What it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// What else the agent says of it. Other words in the place of `text` take it away.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
}

impl Reviewed {
    /// All words in it that the agent chose: a module that looks for words looks at these. Empty ones are left out.
    pub fn texts(&self) -> Vec<&str> {
        let Reviewed { text, files, attachments, question, card, subject, metadata, .. } = self;
        let mut texts = vec![text.as_str()];
        if let Some(Card { title, text, fields, links, fallback }) = card {
            texts.extend([title.as_str(), text, fallback]);
            texts.extend(fields.iter().flat_map(|Field { name, value }| [name.as_str(), value]));
            texts.extend(links.iter().flat_map(|Link { label, url }| [label.as_str(), url]));
        }
        if let Some(Asking { title, question, options }) = question {
            texts.extend([title.as_str(), question]);
            texts.extend(options.iter().flat_map(|AskingOption { label, shown }| [label.as_str(), shown]));
        }
        texts.extend(files.iter().map(String::as_str));
        texts.extend(attachments.iter().flat_map(words_of));
        texts.extend(subject.as_deref());
        texts.extend(metadata.iter().flat_map(|(key, value)| [key.as_str(), value]));
        texts.retain(|text| !text.is_empty());
        texts
    }
}

/// The words that describe a file; not its contents.
fn words_of(file: &Attachment) -> impl Iterator<Item = &str> {
    let Attachment { name, kind, mime_type, size_bytes: _, url, reference: _, quoted: _, bytes: _ } = file;
    [Some(name), kind.as_ref(), mime_type.as_ref(), url.as_ref()].into_iter().flatten().map(String::as_str)
}

/// A question that an agent asks with a choice of answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asking {
    /// What it is about; may be empty.
    pub title: String,
    /// The question; may be empty.
    pub question: String,
    /// The answers to choose from.
    pub options: Vec<AskingOption>,
}

/// One answer of a question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskingOption {
    /// What its button says.
    pub label: String,
    /// What is shown in place of the buttons once it is chosen.
    pub shown: String,
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
    /// How many messages between agents, and notes that answered actions, led here since a person last wrote on a
    /// channel. The runtime counts; no agent can.
    #[serde(default)]
    pub hops: u32,
    /// When the runtime took it from the agent, by the runtime's clock.
    pub taken_at: Timestamp,
}

/// Some time has passed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tick {
    /// The `now` of the last tick whose answer was performed; none before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Timestamp>,
    /// The runtime's clock.
    pub now: Timestamp,
    /// What the module scheduled and is due now, the earliest first, at most [`DUE_MAX`](crate::DUE_MAX); the next tick
    /// brings what is left. When the answer was performed, it is forgotten.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub due: Vec<Due>,
}

/// What a module says to a message that it screens or reviews.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// It goes on as it is.
    Allow,
    /// It goes no further; the reason is put on record. [`Verdict::refuse`] and [`Verdict::refuse_saying`] make one.
    Refuse {
        /// Why, for the operator. At most [`REASON_BYTES_MAX`] bytes are kept.
        reason: String,
        /// At `screen`: what its sender is told, where it was written. At `review`: what its agent is told besides the
        /// reason. At most [`TEXT_BYTES_MAX`](crate::TEXT_BYTES_MAX) bytes; an older runtime tells nothing.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        text: Option<String>,
    },
    /// At `screen`: the module takes it. No agent hears it, it is on record like one that is refused, and its platform
    /// is told that it was taken. Anywhere else, and with an older runtime, this counts as a failure.
    Consume {
        /// What the module took it for, for the operator. At most [`REASON_BYTES_MAX`] bytes are kept.
        reason: String,
    },
    /// It goes on, and this is all that it says: what was quoted and a question's buttons go no further. Its
    /// files do. [`Verdict::replace`] makes one.
    Replace {
        /// The new text.
        text: String,
        /// At `screen`: what is quoted now, if the message quoted anything. Without it the agent does not see
        /// what was quoted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        quote: Option<String>,
    },
    /// A verdict of a newer vocabulary; the runtime takes it for a failure.
    #[serde(other)]
    Unknown,
}

impl Verdict {
    /// It goes no further, for this reason.
    pub fn refuse(reason: impl Into<String>) -> Verdict {
        Verdict::Refuse { reason: reason.into(), text: None }
    }

    /// It goes no further, for this reason, and the one who wrote it is told this.
    pub fn refuse_saying(reason: impl Into<String>, text: impl Into<String>) -> Verdict {
        Verdict::Refuse { reason: reason.into(), text: Some(text.into()) }
    }

    /// The module takes the message, for this reason.
    pub fn consume(reason: impl Into<String>) -> Verdict {
        Verdict::Consume { reason: reason.into() }
    }

    /// It goes on with this text, and without what it quoted.
    pub fn replace(text: impl Into<String>) -> Verdict {
        Verdict::Replace { text: text.into(), quote: None }
    }
}

/// What a module asks the runtime to do. The runtime checks each against its hook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "effect", rename_all = "snake_case")]
pub enum Effect {
    /// At `forward`: write the message, with its files, into a session of the agent it is for.
    Post {
        /// The session's id; without it the runtime opens a new one.
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
    /// At `action` and `decided`: tell the agent that asked, which starts a turn.
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
    /// At `action`, `decided` and `tick`, like all that follow: an agent's session says something, where its agent may.
    Send {
        /// The agent, one that the operator lets the module tell something. Without it, as `action` and `decided` allow,
        /// the one that the module is asked about.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        agent: Option<String>,
        /// The agent's name for the place. Without it, the chat in which the agent was asked, or its session's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<String>,
        /// The module's name of it, to edit it later: given once in a session.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<String>,
        /// What is said, in Markdown.
        text: String,
        /// When; without it, now.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at: Option<Timestamp>,
    },
    /// The same with a card.
    Card {
        /// As in [`Effect::Send`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        agent: Option<String>,
        /// As in [`Effect::Send`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<String>,
        /// As in [`Effect::Send`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<String>,
        /// What is shown.
        card: Card,
        /// As in [`Effect::Send`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at: Option<Timestamp>,
    },
    /// Ask the people in a chat. What comes of it, the module is told at `decided`; the agent is not.
    Ask {
        /// As in [`Effect::Send`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        agent: Option<String>,
        /// As in [`Effect::Send`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<String>,
        /// The module's name of it: given once in a session.
        key: String,
        /// What it is about; may be empty.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        title: String,
        /// The question; may be empty where there is a title.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        question: String,
        /// The answers to choose from, 1 to 25.
        options: Vec<AskOption>,
        /// Until when it can be answered, at most 30 days; without it, 24 hours.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        deadline: Option<Timestamp>,
        /// What the module wants to be told with the answer.
        #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
        payload: serde_json::Value,
    },
    /// Give what was said under a key other words, where it was said.
    Edit {
        /// As in [`Effect::Send`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        agent: Option<String>,
        /// The key under which it was said.
        key: String,
        /// All that it says from now on.
        text: String,
    },
    /// React to a message that the session got or sent.
    React {
        /// As in [`Effect::Send`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        agent: Option<String>,
        /// As in [`Effect::Send`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<String>,
        /// The platform's id of the message.
        message_id: String,
        /// A character, or a name without colons.
        emoji: String,
    },
    /// Have a payload brought by a tick at a time; the module must list the hook `tick`. What was scheduled under the same
    /// key is replaced, or without a time taken back.
    Schedule {
        /// The module's name of it.
        key: String,
        /// When.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at: Option<Timestamp>,
        /// What the tick brings.
        #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
        payload: serde_json::Value,
    },
    /// Have a person who may decide it approve something. What comes of it, the module is told at `decided`. This runtime
    /// does not do it yet, nor what follows: it refuses the answer as `unsupported`.
    RequestApproval {
        /// As in [`Effect::Send`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        agent: Option<String>,
        /// The module's name of it.
        key: String,
        /// One word, such as `install`: who may decide depends on it.
        kind: String,
        /// What it is about, in one line.
        title: String,
        /// All that is approved: shown whole, and part of what [`Decided`](crate::Decided) brings.
        #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
        payload: serde_json::Value,
        /// The answers to choose from, 2 to 4.
        options: Vec<AskOption>,
        /// Until when it can be decided.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        deadline: Option<Timestamp>,
    },
    /// Withdraw a request for an approval.
    WithdrawApproval {
        /// Its key.
        key: String,
    },
    /// Make an agent.
    CreateAgent {
        /// Its name.
        name: String,
        /// What it is told to be.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        instructions: Option<String>,
    },
    /// Change what an agent has at hand.
    ChangeAgent {
        /// As in [`Effect::Send`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        agent: Option<String>,
        /// What it gets.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        add: Vec<AgentPart>,
        /// What is taken away.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        remove: Vec<AgentPart>,
    },
    /// Start an agent anew.
    RestartAgent {
        /// As in [`Effect::Send`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        agent: Option<String>,
        /// What it reads first.
        note: String,
    },
    /// An effect of a newer vocabulary. The runtime refuses the whole answer.
    #[serde(other)]
    Unknown,
}
