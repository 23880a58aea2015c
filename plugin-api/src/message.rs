//! A message, on its way in and on its way out.

use crate::address::{Address, ID_BYTES_MAX, PlatformId, ThreadId, fault};
use crate::blob::Blob;
use crate::card::Card;
use crate::question::Offer;
use crate::receipt::SentSoFar;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

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
    /// Other handles of the same person on this platform, such as a phone number beside an id. At most [`HANDLES_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub other_handles: Vec<String>,
    /// What the platform says of the person's part in the chat, in its own word: `owner`, `member`, GitHub's association.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standing: Option<String>,
}

/// The most other handles of one sender.
pub const HANDLES_MAX: usize = 16;

impl Sender {
    /// Why the runtime would refuse this sender, if it would.
    pub fn fault(&self) -> Option<String> {
        let count = self.other_handles.len();
        fault("sender.handle", &self.handle)
            .or_else(|| {
                (count > HANDLES_MAX)
                    .then(|| format!("the sender has {count} other handles, the limit is {HANDLES_MAX}"))
            })
            .or_else(|| self.other_handles.iter().find_map(|one| fault("sender.other_handles", one)))
            .or_else(|| self.standing.as_ref().and_then(|word| fault("sender.standing", word)))
    }
}

/// A command, as platforms know it: a first word that is meant for a program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// Its name, without a slash and without the name of the program that it was addressed to.
    pub name: String,
    /// What follows it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub arguments: String,
}

impl Command {
    fn fault(&self) -> Option<String> {
        let name = fault("command.name", &self.name);
        let spaced = self.name.contains(char::is_whitespace) || self.name.starts_with('/');
        name.or_else(|| spaced.then(|| "command.name must be one word without a slash".to_owned())).or_else(
            || {
                (self.arguments.len() > TEXT_BYTES_MAX).then(|| {
                    format!(
                        "command.arguments has {} bytes, the limit is {TEXT_BYTES_MAX}",
                        self.arguments.len()
                    )
                })
            },
        )
    }
}

/// The most events that one message may be made of, beside the one that names it.
pub const EVENT_IDS_MAX: usize = 100;

/// The largest metadata of one message: its keys and values together, in bytes.
pub const METADATA_BYTES_MAX: usize = 16 * 1024;

fn metadata_fault(metadata: &BTreeMap<String, String>) -> Option<String> {
    let bytes: usize = metadata.iter().map(|(key, value)| key.len() + value.len()).sum();
    let key = metadata.keys().find_map(|key| fault("a key of the metadata", key));
    key.or_else(|| {
        (bytes > METADATA_BYTES_MAX)
            .then(|| format!("its metadata has {bytes} bytes, the limit is {METADATA_BYTES_MAX}"))
    })
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
    /// In place of the bytes, from a channel that lists `fetches`: the runtime asks for them (`Channel::fetch`) once an
    /// agent hears the message. 1 to 2,048 bytes on one line, and no secret: it may be kept for days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// Whether it belongs to the message that this one answers, not to the message itself.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub quoted: bool,
    /// The file itself. Without it the agent sees the other fields only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<Blob>,
}

/// The longest [`Attachment::reference`], in bytes.
pub const REFERENCE_BYTES_MAX: usize = 2_048;

impl Attachment {
    fn fault(&self) -> Option<String> {
        let reference = self.reference.as_ref()?;
        let fits = (1..=REFERENCE_BYTES_MAX).contains(&reference.len())
            && !reference.chars().any(char::is_control)
            && self.bytes.is_none();
        (!fits).then(|| {
            format!(
                "an attachment's reference has {} bytes: it is one line of 1 to {REFERENCE_BYTES_MAX}, in place of the bytes",
                reference.len()
            )
        })
    }
}

/// A message as a channel hands it over. The runtime adds the channel type and the account itself,
/// so a plugin cannot speak for another channel. Later levels add fields: write `..InboundMessage::default()` at the end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InboundMessage {
    /// Names this event once and for ever on this account: object, action and revision (so that
    /// an edit is not a duplicate). The runtime takes each event id once.
    pub event_id: String,
    /// The other events that the message is made of, such as the pictures of an album: they are taken with it. At most
    /// [`EVENT_IDS_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also_event_ids: Vec<String>,
    /// The platform's id of the message, unique within its chat.
    pub message_id: String,
    /// The chat.
    pub platform_id: PlatformId,
    /// The thread in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread_id: Option<ThreadId>,
    /// Who wrote it.
    pub sender: Sender,
    /// What it is about, where the platform has such a line. One line of 1 to [`ID_BYTES_MAX`] bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// What it says. At most [`TEXT_BYTES_MAX`] bytes.
    pub text: String,
    /// The command that it gives, if it is one: agents read `/name arguments` in place of the text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Command>,
    /// What else the platform says of it, for modules and agents. Together at most [`METADATA_BYTES_MAX`] bytes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
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
            .or_else(|| self.sender.fault())
            .or_else(|| self.also_event_ids.iter().find_map(|id| fault("also_event_ids", id)))
            .or_else(|| self.subject.as_ref().and_then(|subject| fault("subject", subject)))
            .or_else(|| self.command.as_ref().and_then(Command::fault))
            .or_else(|| metadata_fault(&self.metadata))
            .or_else(|| {
                let count = self.also_event_ids.len();
                (count > EVENT_IDS_MAX)
                    .then(|| format!("it is made of {count} more events, the limit is {EVENT_IDS_MAX}"))
            })
            .or_else(|| {
                (self.text.len() > TEXT_BYTES_MAX)
                    .then(|| format!("text has {} bytes, the limit is {TEXT_BYTES_MAX}", self.text.len()))
            })
            .or_else(|| {
                let count = self.attachments.len();
                (count > ATTACHMENTS_MAX)
                    .then(|| format!("it has {count} attachments, the limit is {ATTACHMENTS_MAX}"))
            })
            .or_else(|| self.attachments.iter().find_map(Attachment::fault))
            .or_else(|| {
                let named = self.attachments.iter().any(|file| file.reference.is_some());
                let brought = self.attachments.iter().any(|file| file.bytes.is_some());
                (named && brought)
                    .then(|| "its files come all with their bytes, or all by reference".to_owned())
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
    /// It waits until a person has decided about it; no agent has heard it yet.
    Held,
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
        /// The other messages that its delivery became, from the same receipt: they hold the rest of the old words.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        further_message_ids: Vec<String>,
    },
    /// Take a message back that was sent, for channels that list `deletes`. On any other channel it stays, and the
    /// agent is told.
    Delete {
        /// The platform's id of the message, from the receipt of its delivery.
        message_id: String,
        /// The other messages that its delivery became, from the same receipt.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        further_message_ids: Vec<String>,
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
    /// What it is about, for platforms with such a line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// What else the agent says of it; each channel documents the keys that it knows, and passes over the others.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// When the runtime took it from the agent, by the runtime's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_at: Option<Timestamp>,
    /// How much of it an earlier attempt has sent, as the channel said then (`Runtime::sent_so_far`): go on from there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_so_far: Option<SentSoFar>,
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
