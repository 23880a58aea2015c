//! A message, on its way in and on its way out.

use crate::address::{Address, ID_BYTES_MAX, PlatformId, ThreadId, fault};
use crate::blob::Blob;
use crate::card::Card;
use crate::question::Offer;
use serde::{Deserialize, Serialize};

/// The longest text of one message, in bytes, the runtime accepts from a plugin.
pub const TEXT_BYTES_MAX: usize = 1024 * 1024;

/// A point in time: milliseconds since the Unix epoch, UTC.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
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
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
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

/// The most mentions of one message the runtime accepts from a plugin.
pub const MENTIONS_MAX: usize = 100;

/// A person, or an account of a program, that a message names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mention {
    /// The platform's stable handle of the one who is named, as in [`Sender::handle`].
    pub handle: String,
    /// What people call them, where the platform says it: the words that stand in the text. For display only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
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
/// so a plugin cannot speak for another channel. Later levels add fields: write `..InboundMessage::default()` at the end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Whom it names. At most [`MENTIONS_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mentions: Vec<Mention>,
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
            .or_else(|| {
                let count = self.mentions.len();
                (count > MENTIONS_MAX)
                    .then(|| format!("it has {count} mentions, the limit is {MENTIONS_MAX}"))
            })
            .or_else(|| self.mentions.iter().find_map(|one| fault("mentions.handle", &one.handle)))
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

/// The reason of an [`Ignored`] event that belongs to none of a listener's accounts.
pub const UNKNOWN_ACCOUNT: &str = "unknown_account";

/// An event that the adapter itself leaves out, put on record.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
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
    /// A card, for channels that list `cards`. Any other channel is handed its words as a text.
    Card(Card),
    /// Give a message that was sent other words, for channels that list `edits`. Any other channel is handed the
    /// words as a new message.
    Edit {
        /// The platform's id of the message, from the receipt of its delivery.
        message_id: String,
        /// All that it says from now on, in Markdown where the platform shows it.
        text: String,
    },
    /// Take a message back that was sent, for channels that list `deletes`. On any other channel it stays, and the
    /// agent is told.
    Delete {
        /// The platform's id of the message, from the receipt of its delivery.
        message_id: String,
    },
    /// React to a message of the chat, for channels that list `reactions`. Any other channel is handed the emoji as a
    /// text that answers the message.
    Reaction {
        /// The platform's id of the message: one that was sent, or one that came in.
        message_id: String,
        /// A character, or a name without colons; see [`EMOJI_BYTES_MAX`](crate::EMOJI_BYTES_MAX).
        emoji: String,
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

/// How long [`Working`] holds, in seconds, unless the runtime says it again.
pub const WORKING_SECONDS: u32 = 5;

/// An agent works on an answer: what a platform shows as "is typing". It is on no record, and ends by itself: after
/// [`WORKING_SECONDS`], or when the answer comes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Working {
    /// Where the answer will go.
    pub address: Address,
    /// The platform's id of the message that is being answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
}

/// What a channel returns for a delivered message.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The id under which the platform knows the message now, for later edits and reactions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform_message_id: Option<String>,
}

impl Receipt {
    /// The id, if it is one by which the message could be named again: not empty, at most [`ID_BYTES_MAX`] bytes, and
    /// without control characters.
    pub fn id(&self) -> Option<&str> {
        self.platform_message_id.as_deref().filter(|id| fault("id", id).is_none())
    }
}
