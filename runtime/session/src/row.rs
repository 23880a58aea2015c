//! The rows of both files, as both programs see them.

use serde::{Deserialize, Serialize};
use vestibule_plugin_api::Timestamp;

/// Who tells an agent that something it wrote was not delivered, as its prompt names the sender.
pub const DELIVERY: &str = "delivery";
/// What stands for the channel of a reply to a name that no destination has; the name stands for the chat.
pub const NO_DESTINATION: &str = "destination";
/// The longest content of a reply, in bytes, that a keeper hands over.
pub const CONTENT_BYTES_MAX: usize = 1024 * 1024;
/// The longest other field of a reply, in bytes, that a keeper hands over.
pub const FIELD_BYTES_MAX: usize = 1024;

/// The longest silence, in milliseconds, that may be declared for a tool: a day.
pub const TOOL_SILENCE_MS_MAX: u64 = 24 * 60 * 60 * 1000;

/// A message at rest in `inbound.db`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageIn {
    /// `<platform message id>:<agent group id>` for a message from a channel.
    pub id: String,
    /// Even. The number agents see and quote.
    pub seq: i64,
    /// `chat`, `chat-sdk`, `task`, `webhook` or `system`.
    pub kind: String,
    /// When it was written.
    pub timestamp: Timestamp,
    /// `pending`, `completed`, `failed` or `paused`.
    pub status: String,
    /// Not before this time.
    pub process_after: Option<Timestamp>,
    /// The cron expression of a recurring row.
    pub recurrence: Option<String>,
    /// The stable id of a recurring chain.
    pub series_id: Option<String>,
    /// How often a runner died over it.
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
    /// Only a runner's very first poll may take it.
    pub on_wake: bool,
    /// The login on the channel it came by. Ours; absent in foreign files.
    pub account: Option<String>,
    /// The platform's own id. Ours; absent in foreign files.
    pub platform_message_id: Option<String>,
}

/// A reply at rest in `outbound.db`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageOut {
    /// The row's id: the idempotency key of its delivery.
    pub id: String,
    /// Odd.
    pub seq: i64,
    /// The inbound row it answers.
    pub in_reply_to: Option<String>,
    /// When it was written, as the runner spelled it.
    pub timestamp: String,
    /// Not before this time, as the runner spelled it.
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
    /// The login on the channel it goes by. Ours; absent in foreign files.
    pub account: Option<String>,
}

/// How far the runner is with a row of `inbound.db`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AckStatus {
    /// Claimed.
    Processing,
    /// Answered, or needs no answer.
    Completed,
    /// Could not be answered; the chat was told why.
    Failed,
}

impl AckStatus {
    /// The word on disk.
    pub fn as_str(self) -> &'static str {
        match self {
            AckStatus::Processing => "processing",
            AckStatus::Completed => "completed",
            AckStatus::Failed => "failed",
        }
    }

    /// Reads the word on disk. What NanoClaw's runners of 2.1 and later say of a task whose script failed is a
    /// failure, too.
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
    /// The row of `inbound.db`.
    pub message_id: String,
    /// How far the runner is with it.
    pub status: AckStatus,
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
    /// The word on disk.
    pub fn as_str(self) -> &'static str {
        match self {
            Settled::Delivered => "delivered",
            Settled::Failed => "failed",
        }
    }
}

/// A row of `delivered`: what became of a row of `outbound.db`, once that is final.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    /// The row of `outbound.db`.
    pub message_out_id: String,
    /// The id under which the platform knows it.
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
    /// What people call it.
    pub display_name: Option<String>,
    /// `channel` or `agent`.
    pub kind: String,
    /// The kind of platform, for a channel.
    pub channel_type: Option<String>,
    /// The chat, for a channel.
    pub platform_id: Option<String>,
    /// The agent group, for an agent.
    pub agent_group_id: Option<String>,
    /// The login on the channel. Ours; absent in foreign files.
    pub account: Option<String>,
}

/// The single row of `session_routing`: where the session's words go by default.
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
