//! The rows of both files, as both programs see them.

use serde::{Deserialize, Serialize};
use vestibule_plugin_api::{TEXT_BYTES_MAX, Timestamp};

/// The sender, in an agent's prompt, of notes that something it wrote was not delivered.
pub const DELIVERY: &str = "delivery";

/// How the ids of notes begin that the runtime writes to an agent: about what was not delivered, and what modules say.
const NOTES: [&str; 2] = ["undelivered-", "sys-"];

/// Whether a row with this id is a note of the runtime's, and no message. The id of a message has a colon: it is made of
/// the platform's and the agent's.
pub fn is_note(id: &str) -> bool {
    NOTES.iter().any(|note| id.starts_with(note)) && !id.contains(':')
}
/// The word in the place of the channel, in a reply to a name that no destination has; the name is in the place of the
/// chat.
pub const NO_DESTINATION: &str = "destination";
/// The longest content of a row that a keeper hands over, in bytes. It is JSON: a text of [`TEXT_BYTES_MAX`] has room in it
/// with every character escaped but those that no person writes, which take six bytes for one.
pub const CONTENT_BYTES_MAX: usize = 3 * TEXT_BYTES_MAX + 64 * 1024;
/// The longest other field of a reply that a keeper hands over, in bytes.
pub const FIELD_BYTES_MAX: usize = 1024;

/// The longest silence that may be declared for a tool, in milliseconds: a day.
pub const TOOL_SILENCE_MS_MAX: u64 = 24 * 60 * 60 * 1000;

/// A message at rest in `inbound.db`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageIn {
    /// `<platform message id>:<agent group id>` for a message from a channel.
    pub id: String,
    /// The number that agents see and quote; even.
    pub seq: i64,
    /// `chat`, `chat-sdk`, `task`, `webhook` or `system`.
    pub kind: String,
    /// When it was written.
    pub timestamp: Timestamp,
    /// `pending`, `completed`, `failed` or `paused`.
    pub status: String,
    /// It is not due before this time; `None`: it is due at once.
    pub process_after: Option<Timestamp>,
    /// The cron expression of a recurring row.
    pub recurrence: Option<String>,
    /// The stable id of a recurring chain.
    pub series_id: Option<String>,
    /// How often a runner died of it.
    pub tries: i64,
    /// Whether it wakes the agent; else it is context only.
    pub trigger: bool,
    /// The chat it came from: where the reply goes.
    pub platform_id: Option<String>,
    /// The kind of platform it came from.
    pub channel_type: Option<String>,
    /// The thread it came from.
    pub thread_id: Option<String>,
    /// JSON: `text`, `sender`, `replyTo`, `attachments` …
    pub content: String,
    /// The session that sent it, for agent-to-agent rows.
    pub source_session_id: Option<String>,
    /// Whether only the first poll of a runner may take it.
    pub on_wake: bool,
    /// The login on the channel by which it came; absent in files that another program made.
    pub account: Option<String>,
    /// The platform's own id of the message; absent in files that another program made.
    pub platform_message_id: Option<String>,
}

/// A reply at rest in `outbound.db`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageOut {
    /// The row's id: the idempotency key of its delivery.
    pub id: String,
    /// Its number; odd.
    pub seq: i64,
    /// The inbound row it answers.
    pub in_reply_to: Option<String>,
    /// When it was written, as the runner spelled it.
    pub timestamp: String,
    /// It does not go out before this time, as the runner spelled it.
    pub deliver_after: Option<String>,
    /// `chat`, `chat-sdk` or `system`.
    pub kind: String,
    /// The chat it goes to.
    pub platform_id: Option<String>,
    /// The kind of platform it goes to.
    pub channel_type: Option<String>,
    /// The thread it goes to.
    pub thread_id: Option<String>,
    /// JSON: `text`, `markdown`, `files` …
    pub content: String,
    /// The login on the channel by which it goes; absent in files that another program made.
    pub account: Option<String>,
}

/// How far the runner is with a row of `inbound.db`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AckStatus {
    /// The runner has claimed it.
    Processing,
    /// It is answered, or needs no answer.
    Completed,
    /// It could not be answered; the chat was told why.
    Failed,
}

impl AckStatus {
    /// The word that stands in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            AckStatus::Processing => "processing",
            AckStatus::Completed => "completed",
            AckStatus::Failed => "failed",
        }
    }

    /// Reads the word in the file. The word with which NanoClaw's runners of 2.1 and later say that a task's script
    /// failed is a failure, too.
    pub fn parse(word: &str) -> Option<AckStatus> {
        if word == "script-skip:error" {
            return Some(AckStatus::Failed);
        }
        [AckStatus::Processing, AckStatus::Completed, AckStatus::Failed]
            .into_iter()
            .find(|s| s.as_str() == word)
    }
}

/// A row of `processing_ack`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// The id of the row of `inbound.db`.
    pub message_id: String,
    /// How far the runner is with it.
    pub status: AckStatus,
}

/// An acknowledgement, and when the runner wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AckRow {
    /// The acknowledgement.
    pub ack: Ack,
    /// The time in the runner's words: it serves to tell one claim from another, and for nothing else.
    pub changed: String,
}

/// The final outcome of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// The platform has it.
    Delivered,
    /// It never will be delivered.
    Failed,
}

impl Settled {
    /// The word that stands in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Settled::Delivered => "delivered",
            Settled::Failed => "failed",
        }
    }
}

/// A row of `delivered`: the final outcome of a row of `outbound.db`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    /// The id of the row of `outbound.db`.
    pub message_out_id: String,
    /// The platform's id of it.
    pub platform_message_id: Option<String>,
    /// The outcome.
    pub status: Settled,
    /// When it became final.
    pub delivered_at: Timestamp,
}

/// A row of `destinations`: a name the agent may send to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// The name the agent uses.
    pub name: String,
    /// The name that people know it by.
    pub display_name: Option<String>,
    /// `channel` or `agent`.
    pub kind: String,
    /// The kind of platform, for a channel.
    pub channel_type: Option<String>,
    /// The chat, for a channel.
    pub platform_id: Option<String>,
    /// The agent group, for an agent.
    pub agent_group_id: Option<String>,
    /// The login on the channel; absent in files that another program made.
    pub account: Option<String>,
}

/// The single row of `session_routing`: the place where the session's words go by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Routing {
    /// The kind of platform.
    pub channel_type: Option<String>,
    /// The chat.
    pub platform_id: Option<String>,
    /// The thread.
    pub thread_id: Option<String>,
    /// The login on the channel.
    pub account: Option<String>,
}
