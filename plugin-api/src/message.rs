//! A message, on its way in and on its way out.

use crate::address::{Address, ID_BYTES_MAX, PlatformId, ThreadId, fault};
use crate::blob::Blob;
use crate::question::Offer;
use serde::{Deserialize, Serialize};

/// The longest text of one message, in bytes, the runtime accepts from a plugin.
pub const TEXT_BYTES_MAX: usize = 1024 * 1024;

/// A point in time: milliseconds since the Unix epoch, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The moment of this call, by the system's clock.
    #[allow(clippy::disallowed_methods, reason = "this is where plugins get the time")]
    pub fn now() -> Timestamp {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}

/// Who wrote a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sender {
    /// The platform's stable handle; with the channel type it is the person's identity.
    pub handle: String,
    /// What people call them. For display only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Whether the platform marks the account as a program.
    #[serde(default)]
    pub is_bot: bool,
}

/// The message that another one answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplyTo {
    /// The platform's id of the quoted message; empty when the platform does not say it.
    pub id: String,
    /// Who wrote it, for display.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<String>,
    /// Its text, or the part of it that is quoted. The runtime keeps the first 16 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// The most attachments of one message the runtime accepts from a plugin.
pub const ATTACHMENTS_MAX: usize = 32;

/// A file that belongs to a message. Its bytes ride beside the frame's head, never inside.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// The name the sender gave it; empty when the platform has none. Never used as a path.
    pub name: String,
    /// What the platform takes it for: `image`, `photo`, `sticker`, `voice`, `audio`, `video`,
    /// `animation`; `file` for everything else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Its media type, when the platform says one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mime_type: Option<String>,
    /// Its size in bytes, when the platform says one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<u64>,
    /// Where the platform keeps it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The file itself. Without it the agent sees the other fields only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<Blob>,
}

/// A message as a channel hands it over. The runtime adds the channel type and the account itself,
/// so a plugin cannot speak for another channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InboundMessage {
    /// Names this event once and for ever on this account: object, action and revision (so that
    /// an edit is not a duplicate). The runtime takes each event id once.
    pub event_id: String,
    /// The platform's id of the message, unique within its chat.
    pub message_id: String,
    /// The chat.
    pub platform_id: PlatformId,
    /// The thread in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread_id: Option<ThreadId>,
    /// Who wrote it.
    pub sender: Sender,
    /// What it says. At most [`TEXT_BYTES_MAX`] bytes.
    pub text: String,
    /// The message that it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<ReplyTo>,
    /// The files that came with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<Attachment>,
    /// When it was written, by the platform's clock.
    pub timestamp: Timestamp,
    /// Whether the platform says that the agent was addressed (a mention, a direct message). Never
    /// guessed from names.
    #[serde(default)]
    pub is_mention: bool,
    /// Whether more than two take part in the chat.
    #[serde(default)]
    pub is_group: bool,
}

impl InboundMessage {
    /// Why the runtime would refuse this message, if it would.
    pub fn fault(&self) -> Option<String> {
        fault("event_id", &self.event_id)
            .or_else(|| fault("message_id", &self.message_id))
            .or_else(|| self.platform_id.fault())
            .or_else(|| self.thread_id.as_ref().and_then(ThreadId::fault))
            .or_else(|| fault("sender.handle", &self.sender.handle))
            .or_else(|| {
                (self.text.len() > TEXT_BYTES_MAX)
                    .then(|| format!("text has {} bytes, the limit is {TEXT_BYTES_MAX}", self.text.len()))
            })
            .or_else(|| {
                let count = self.attachments.len();
                (count > ATTACHMENTS_MAX)
                    .then(|| format!("it has {count} attachments, the limit is {ATTACHMENTS_MAX}"))
            })
    }
}

/// The outcome of a message that was handed over. It is on disk in any case: the platform
/// may be acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Accepted {
    /// At least one agent hears it.
    Committed,
    /// This event id was taken before; nothing happened.
    Duplicate,
    /// No agent hears it, and the reason is on record.
    Dropped {
        /// Why, as one word of the `drops` table.
        reason: String,
    },
    /// An outcome of a newer vocabulary.
    #[serde(other)]
    Unknown,
}

/// An event that the adapter itself leaves out, put on record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ignored {
    /// The event's id, as in [`InboundMessage::event_id`].
    pub event_id: String,
    /// Why, in one word: `own_message`, `edited` …
    pub reason: String,
    /// The chat it came from, if it names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform_id: Option<PlatformId>,
    /// Who caused it, for display.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<String>,
}

impl Ignored {
    /// Why the runtime cannot put the event on record, if it cannot.
    pub fn fault(&self) -> Option<String> {
        let is_bounded = |text: &str| (1..=ID_BYTES_MAX).contains(&text.len());
        let fits = is_bounded(&self.event_id) && is_bounded(&self.reason);
        (!fits)
            .then(|| format!("event_id and reason must be 1 to {ID_BYTES_MAX} bytes"))
            .or_else(|| self.platform_id.as_ref().and_then(PlatformId::fault))
    }
}

/// What an agent says. Internally tagged, so that a kind of a newer vocabulary reads as `Unknown`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Content {
    /// Plain words, in Markdown where the platform shows it.
    Text {
        /// The words.
        text: String,
    },
    /// A question with a choice of answers, for channels that list `questions`. Show it with a button for
    /// each offer, and hand the choice to `Runtime::answer`.
    Question {
        /// What it is about, in a few words; may be empty.
        title: String,
        /// The question; may be empty, but not both.
        question: String,
        /// The answers to choose from, at least one.
        options: Vec<Offer>,
    },
    /// A kind of a newer vocabulary. Answer [`PluginError::Unsupported`](crate::PluginError).
    #[serde(other)]
    Unknown,
}

/// A message as the runtime hands it to a channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutboundMessage {
    /// Stable across retries: an idempotency key, where the platform takes one.
    pub id: String,
    /// Where it goes.
    pub address: Address,
    /// What it says.
    pub content: Content,
    /// When the runtime took it from the agent, by the runtime's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_at: Option<Timestamp>,
    /// The platform's id of the message it answers, when the agent answered one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_reply_to: Option<String>,
    /// The files that go with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<Attachment>,
}

/// What a channel returns for a delivered message.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The id under which the platform knows the message now, for later edits and reactions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform_message_id: Option<String>,
}
