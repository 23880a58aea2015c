//! The contents of the frames. Only this file knows how the vocabulary is written as JSON heads.
//!
//! The enums are internally tagged, so that a verb of a newer vocabulary reads as `Unknown`, and
//! the callee answers `unsupported`.

use crate::address::fault;
use crate::{
    Action, Address, Attachment, Blob, Change, ChatEvent, Choice, Content, Conversation, Decided, Effect,
    Forwarded, HANDLES_MAX, Health, Ignored, InboundMessage, LateReceipt, OutboundMessage, Read, Receipt,
    Reviewed, Schema, Screened, SentSoFar, StateWrite, Tick, WebhookRequest, WebhookResponse, Working,
    prefix_fault,
};
use abi_stable::std_types::RVec;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use vestibule_seam::Frame;

/// The largest head, in bytes, either side accepts.
pub const HEAD_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The longest [`Description::setup`], in bytes: the runtime shows no more of it.
pub const SETUP_BYTES_MAX: usize = 16 * 1024;
/// The largest [`Description`], in bytes, the runtime accepts.
pub const DESCRIPTION_BYTES_MAX: usize = 256 * 1024;

/// What the runtime asks of a plugin. Each names its account, except where the address does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "snake_case")]
pub enum Request {
    /// Start an account with its config. Answered by `{}`.
    Start {
        /// The account's name.
        account: String,
        /// The account's section of the config, its secrets resolved.
        config: serde_json::Value,
        /// The account at which its webhooks come in, if that is another one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        listener: Option<String>,
        /// The accounts whose webhooks come in at this one, beside its own.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        siblings: Vec<String>,
        /// The folder that the account may write to, if its channel lists `folder`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        folder: Option<String>,
    },
    /// Deliver a message. Answered by a `Receipt`.
    Deliver {
        /// The message.
        message: OutboundMessage,
    },
    /// Find out whether an earlier delivery of this message has arrived, which the runtime does not know. Answered by
    /// [`Found`].
    Find {
        /// The message as it was handed over, without its attachments.
        message: OutboundMessage,
    },
    /// Answer a webhook; blob 0 is the body. Answered by [`WebhookHead`].
    Webhook {
        /// The account it came for.
        account: String,
        /// `POST`, `GET` …
        method: String,
        /// What follows `?`.
        query: String,
        /// Header names in lower case.
        headers: Vec<(String, String)>,
    },
    /// Ask a module where a message between agents goes. Answered by [`Effects`].
    Forward {
        /// The message.
        message: Forwarded,
    },
    /// Ask a module about a message that came in. Answered by a `Verdict`.
    Screen {
        /// The message.
        message: Screened,
    },
    /// Ask a module about a message that goes out. Answered by a `Verdict`.
    Review {
        /// The message.
        message: Reviewed,
    },
    /// Ask a module to do what an agent wants. Answered by [`Effects`].
    Action {
        /// What it wants.
        action: Action,
    },
    /// Tell a module that time has passed. Answered by [`Effects`].
    Tick {
        /// The runtime's clock, and the last tick that was performed.
        tick: Tick,
    },
    /// Tell a module what came of what it asked for. Answered by [`Effects`].
    Decided {
        /// The decision.
        decided: Decided,
    },
    /// Show that an agent has taken up a message. Answered by `{}`.
    Read {
        /// Which message.
        read: Read,
    },
    /// An agent listens in this thread from now on. Answered by `{}`.
    Subscribe {
        /// The thread.
        address: Address,
    },
    /// Which chat a person means who typed this. Answered by a `Conversation`.
    Normalise {
        /// The account.
        account: String,
        /// What the person typed.
        chat: String,
    },
    /// Whom this handle names. Answered by a `Sender`.
    WhoIs {
        /// The account.
        account: String,
        /// The handle.
        handle: String,
    },
    /// Open the direct chat with a person, or find it. Answered by a `Conversation`.
    OpenDirect {
        /// The account.
        account: String,
        /// The person's handle.
        handle: String,
    },
    /// What was said in a chat. Answered by a `HistoryPage`.
    History {
        /// The chat, and the thread in it.
        address: Address,
        /// The page begins after this cursor; without one it is the newest.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<String>,
        /// The most messages: 1 to [`HISTORY_MAX`](crate::HISTORY_MAX).
        limit: u32,
    },
    /// How far a person is with linking the account. Answered by a `LinkState`.
    Link {
        /// The account.
        account: String,
    },
    /// Load a file that a message came with by reference. Answered by [`Fetched`].
    Fetch {
        /// The account that the message came by.
        account: String,
        /// The reference: `Attachment::reference`.
        reference: String,
        /// The most bytes that the runtime takes.
        bytes_max: u64,
    },
    /// Show that an agent works on an answer. Answered by `{}`.
    Working {
        /// Where, and on what.
        working: Working,
    },
    /// Stop an account. Answered by `{}`.
    Stop {
        /// The account's name.
        account: String,
    },
    /// Describe what the manifest does not hold: asked once, before any account is started. Answered by
    /// [`Description`].
    Describe,
    /// A verb of a newer vocabulary.
    #[serde(other)]
    Unknown,
}

/// What a plugin asks of the runtime.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "snake_case")]
#[allow(clippy::large_enum_variant, reason = "nearly all events are messages, and none is kept")]
pub enum Event {
    /// A message came in. Answered by an `Accepted` after it is on disk.
    Message {
        /// The account it came by.
        account: String,
        /// The message.
        message: InboundMessage,
        /// Written in the same commit, whatever becomes of the message.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        state: Vec<StateWrite>,
    },
    /// An event was left out on purpose. Answered by `{}` after that is on disk.
    Ignored {
        /// The account it came by.
        account: String,
        /// What was left out.
        ignored: Ignored,
        /// Written in the same commit.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        state: Vec<StateWrite>,
    },
    /// Read one key of the account's state. Answered by [`StateValue`].
    StateGet {
        /// The account whose state it is.
        account: String,
        /// The key.
        key: String,
    },
    /// Read the account's state whose keys begin so. Answered by a [`StatePage`](crate::StatePage).
    StateList {
        /// The account whose state it is.
        account: String,
        /// How the keys begin; empty for all.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        prefix: String,
        /// The page begins after this key.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<String>,
    },
    /// Write to the account's state. Answered by `{}` after that is on disk.
    StateSet {
        /// The account whose state it is.
        account: String,
        /// All of them in one commit.
        state: Vec<StateWrite>,
    },
    /// How the account is. Answered by `{}`.
    Health {
        /// The account that it is about.
        account: String,
        /// The account's health.
        health: Health,
    },
    /// The account does not work any more, and a new start may mend it. Answered by `{}`; the runtime stops the account
    /// and starts it again, with back-off.
    Lost {
        /// The account.
        account: String,
        /// Why, in words for the operator.
        reason: String,
    },
    /// What the platform calls a chat. Answered by a `Known` after that is on disk.
    Conversation {
        /// The account that takes part in it.
        account: String,
        /// The chat.
        conversation: Conversation,
    },
    /// A person chose an answer to a question. Answered by an `Answered` after it is on disk.
    Answer {
        /// The account it came by.
        account: String,
        /// The choice, and the person who made it.
        choice: Choice,
        /// Written in the same commit, whatever becomes of the choice.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        state: Vec<StateWrite>,
    },
    /// A chat was joined or left, or has another id. Answered by a `Known` after that is on disk.
    Chat {
        /// The account that takes part in it.
        account: String,
        /// What happened.
        chat: ChatEvent,
        /// Written in the same commit, whatever becomes of it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        state: Vec<StateWrite>,
    },
    /// The names under which the platform knows this account. Answered by `{}`.
    OwnHandles {
        /// The account.
        account: String,
        /// Its handles, the one that people use first.
        handles: Vec<String>,
    },
    /// A part of a message that is being delivered has gone out. Answered by `{}` after that is on disk; the delivery has
    /// its whole deadline once more.
    SentSoFar {
        /// The account that delivers it.
        account: String,
        /// The message's id: `OutboundMessage::id`.
        id: String,
        /// All that has gone out.
        sent: SentSoFar,
    },
    /// The platform says what became of a message after it took it. Answered by `{}` after that is on disk.
    LateReceipt {
        /// The account that sent the message.
        account: String,
        /// Which message, and what became of it.
        receipt: LateReceipt,
    },
    /// A message was edited or deleted, or a person reacted to it. Answered by an `Accepted` after it is on disk.
    Change {
        /// The account it came by.
        account: String,
        /// The change.
        change: Change,
        /// Written in the same commit, whatever becomes of the change.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        state: Vec<StateWrite>,
    },
    /// An event that came in at an account which listens for others, handed over for the one that it belongs to. Answered
    /// as the event is. A message or a change for an account that does not name this listener is left out, on record.
    HandedOver {
        /// The account that it came in at.
        listener: String,
        /// The event.
        event: Box<Event>,
    },
    /// A verb of a newer vocabulary.
    #[serde(other)]
    Unknown,
}

/// The answer to [`Request::Describe`].
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Description {
    /// The schema of an account's config; without it only the start of each account checks the config.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<Schema>,
    /// What an operator must do on the platform before an account can be started: plain text, at most
    /// [`SETUP_BYTES_MAX`]. `{webhook_url}` stands for the address at which the account takes webhooks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub setup: Option<String>,
}

impl Event {
    /// Whether modules may say it, too: they hand nothing over, but keep state and tell how they are.
    pub fn is_for_modules(&self) -> bool {
        use Event::{Health, StateGet, StateList, StateSet, Unknown};
        matches!(self, StateGet { .. } | StateList { .. } | StateSet { .. } | Health { .. } | Unknown)
    }

    /// The account that says it; a verb of a newer vocabulary names none.
    pub fn account(&self) -> Option<&str> {
        match self {
            Event::Message { account, .. }
            | Event::Ignored { account, .. }
            | Event::StateGet { account, .. }
            | Event::StateList { account, .. }
            | Event::StateSet { account, .. }
            | Event::Health { account, .. }
            | Event::Lost { account, .. }
            | Event::Conversation { account, .. }
            | Event::Answer { account, .. }
            | Event::Change { account, .. }
            | Event::Chat { account, .. }
            | Event::OwnHandles { account, .. }
            | Event::SentSoFar { account, .. }
            | Event::LateReceipt { account, .. }
            | Event::HandedOver { listener: account, .. } => Some(account),
            Event::Unknown => None,
        }
    }

    /// Whether it is a message whose files are with its channel, by reference.
    pub fn names_files(&self) -> bool {
        matches!(self, Event::Message { message, .. } if message.attachments.iter().any(|file| file.reference.is_some()))
    }

    /// Why no runtime takes this event, if it breaks a limit or a rule.
    pub fn fault(&self) -> Option<String> {
        match self {
            Event::Message { message, state, .. } => message.fault().or_else(|| StateWrite::fault(state)),
            Event::Ignored { ignored, state, .. } => ignored.fault().or_else(|| StateWrite::fault(state)),
            Event::StateSet { state, .. } => StateWrite::fault(state),
            Event::Conversation { conversation, .. } => conversation.fault(),
            Event::Answer { choice, state, .. } => choice.fault().or_else(|| StateWrite::fault(state)),
            Event::Change { change, state, .. } => change.fault().or_else(|| StateWrite::fault(state)),
            Event::Chat { chat, state, .. } => chat.fault().or_else(|| StateWrite::fault(state)),
            Event::OwnHandles { handles, .. } => handles_fault(handles),
            // Agents choose the ids of their replies: one is known, or it is not.
            Event::SentSoFar { sent, .. } => sent.fault(),
            Event::LateReceipt { receipt, .. } => receipt.fault(),
            Event::StateGet { key, .. } => fault("a state key", key),
            Event::StateList { prefix, after, .. } => {
                prefix_fault(prefix).or_else(|| after.as_ref().and_then(|after| fault("a state key", after)))
            }
            Event::HandedOver { event, .. } if matches!(**event, Event::HandedOver { .. }) => {
                Some("an event is handed over once, by the account that it came in at".to_owned())
            }
            Event::HandedOver { event, .. } => event.fault(),
            Event::Health { .. } | Event::Lost { .. } | Event::Unknown => None,
        }
    }
}

fn handles_fault(handles: &[String]) -> Option<String> {
    let count = handles.len();
    (count > HANDLES_MAX)
        .then(|| format!("the account has {count} handles, the limit is {HANDLES_MAX}"))
        .or_else(|| handles.iter().find_map(|handle| fault("handles", handle)))
}

/// The answer to [`Request::Find`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// The receipt that its delivery would have returned, if the message has arrived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<Receipt>,
}

/// The answer to [`Request::Fetch`]; blob 0 is the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetched {
    /// The file. Only its bytes count.
    pub file: Attachment,
}

/// The answer to [`Request::Forward`], [`Request::Action`], [`Request::Tick`] and [`Request::Decided`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Effects {
    /// What the module asks for.
    pub effects: Vec<Effect>,
}

/// The answer to [`Event::StateGet`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateValue {
    /// The key's value, if it holds one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// The answer to [`Request::Webhook`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookHead {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: String,
    /// Headers, of those that the manifest lists.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, String)>,
}

/// The empty answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Empty {}

/// A head that refers to blobs: each attachment's bytes are one blob of the frame.
pub trait Carries {
    /// The attachments it holds, in order.
    fn attachments(&mut self) -> &mut [Attachment];

    /// How many blobs may come that no attachment names. A verb or a content of a newer vocabulary may bring any
    /// number, which the reader drops.
    fn unnamed_max(&self) -> usize;
}

impl Carries for Request {
    fn attachments(&mut self) -> &mut [Attachment] {
        match self {
            Request::Deliver { message } | Request::Find { message } => &mut message.attachments,
            _ => &mut [],
        }
    }

    fn unnamed_max(&self) -> usize {
        match self {
            Request::Webhook { .. } => 1, // its body, taken by its own reader
            Request::Unknown => usize::MAX,
            Request::Deliver { message } if message.content == Content::Unknown => usize::MAX,
            _ => 0,
        }
    }
}

impl Carries for Event {
    fn attachments(&mut self) -> &mut [Attachment] {
        match self {
            Event::Message { message, .. } => &mut message.attachments,
            Event::HandedOver { event, .. } => event.attachments(),
            _ => &mut [],
        }
    }

    fn unnamed_max(&self) -> usize {
        match self {
            Event::Unknown => usize::MAX,
            Event::HandedOver { event, .. } => event.unnamed_max(),
            _ => 0,
        }
    }
}

impl Carries for Fetched {
    fn attachments(&mut self) -> &mut [Attachment] {
        std::slice::from_mut(&mut self.file)
    }

    fn unnamed_max(&self) -> usize {
        0
    }
}

/// Writes a head, and the bytes of its attachments as blobs. Nothing large is copied.
pub fn frame_with_blobs<T: Serialize + Carries>(mut head: T) -> Frame {
    let mut blobs = RVec::new();
    for attachment in head.attachments() {
        if let Some(bytes) = attachment.bytes.take() {
            attachment.bytes = Some(Blob::numbered(blobs.len()));
            blobs.push(bytes.into_rvec());
        }
    }
    Frame { blobs, ..frame(&head) }
}

/// Reads a head, and gives its attachments their bytes. Nothing large is copied.
///
/// # Errors
/// A sentence that says why the head cannot be read, or how it and the blobs disagree.
pub fn read_with_blobs<T: DeserializeOwned + Carries>(frame: &mut Frame) -> Result<T, String> {
    let mut head: T = read(frame)?;
    let mut blobs: Vec<Option<RVec<u8>>> = std::mem::take(&mut frame.blobs).into_iter().map(Some).collect();
    let count = blobs.len();
    let mut used = 0;
    for attachment in head.attachments() {
        let Some(number) = attachment.bytes.as_ref().and_then(Blob::number) else { continue };
        let blob = blobs.get_mut(number).and_then(Option::take);
        let blob = blob.ok_or_else(|| format!("blob {number} of {count} is not there, or named twice"))?;
        attachment.bytes = Some(Blob::from(blob));
        used += 1;
    }
    if count - used > head.unnamed_max() {
        return Err(format!("the frame has {count} blobs and its head names {used}"));
    }
    frame.blobs = blobs.into_iter().flatten().collect();
    Ok(head)
}

/// Writes a head.
pub fn frame<T: Serialize>(head: &T) -> Frame {
    // The vocabulary has string keys only, so its types always serialise.
    Frame::from_head(serde_json::to_vec(head).unwrap_or_default())
}

/// Reads a head.
///
/// # Errors
/// A sentence that says why the head cannot be read.
pub fn read<T: DeserializeOwned>(frame: &Frame) -> Result<T, String> {
    if frame.head.len() > HEAD_BYTES_MAX {
        return Err(format!(
            "the frame's head has {} bytes, the limit is {HEAD_BYTES_MAX}",
            frame.head.len()
        ));
    }
    serde_json::from_slice(frame.head.as_slice()).map_err(|e| e.to_string())
}

/// Writes a webhook's request: the head, and the body as blob 0.
pub fn webhook_frame(account: &str, request: WebhookRequest) -> Frame {
    let mut frame = frame(&Request::Webhook {
        account: account.to_owned(),
        method: request.method,
        query: request.query,
        headers: request.headers,
    });
    frame.blobs.push(request.body.into());
    frame
}

impl From<WebhookResponse> for WebhookHead {
    fn from(response: WebhookResponse) -> Self {
        WebhookHead { status: response.status, body: response.body, headers: response.headers }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verb_with_data_of_a_newer_vocabulary_reads_as_unknown() {
        let head = br#"{"verb":"teleport","to":{"x":1}}"#.to_vec();
        assert_eq!(read::<Request>(&Frame::from_head(head.clone())), Ok(Request::Unknown));
        assert_eq!(read::<Event>(&Frame::from_head(head)), Ok(Event::Unknown));
    }

    #[test]
    fn an_empty_id_is_refused_in_every_event() {
        let message = r#"{"event_id":"e","message_id":"m","platform_id":"p","sender":{"handle":"h"},"text":"","timestamp":0}"#;
        for (whole, ids) in [
            (
                format!(r#"{{"verb":"message","account":"a","message":{message}}}"#),
                &["event_id", "message_id", "platform_id", "handle"][..],
            ),
            (
                r#"{"verb":"ignored","account":"a","ignored":{"event_id":"e","reason":"r","platform_id":"p"}}"#.into(),
                &["event_id", "reason", "platform_id"],
            ),
            (r#"{"verb":"state_get","account":"a","key":"k"}"#.into(), &["key"]),
            (r#"{"verb":"state_set","account":"a","state":[{"key":"k"}]}"#.into(), &["key"]),
            (r#"{"verb":"state_list","account":"a","prefix":"p","after":"k"}"#.into(), &["after"]),
            (
                r#"{"verb":"conversation","account":"a","conversation":{"platform_id":"p","name":"n"}}"#.into(),
                &["platform_id", "name"],
            ),
            (
                r#"{"verb":"answer","account":"a","choice":{"token":"t","platform_id":"p","sender":{"handle":"h"}}}"#.into(),
                &["token", "platform_id", "handle"],
            ),
        ] {
            let fault = |text: &str| read::<Event>(&Frame::from_head(text.into())).expect("an event").fault();
            assert_eq!(fault(&whole), None, "{whole}");
            for id in ids {
                let begin = whole.rfind(&format!("\"{id}\":\"")).expect("it is there") + id.len() + 4;
                let end = begin + whole[begin..].find('"').expect("it ends");
                let empty = format!("{}{}", &whole[..begin], &whole[end..]);
                assert!(fault(&empty).is_some(), "{empty}");
            }
        }
    }

    fn with_file(bytes: Option<Blob>) -> Event {
        let head = r#"{"verb":"message","account":"a","message":{"event_id":"e","message_id":"m","platform_id":"p",
            "sender":{"handle":"h"},"text":"","timestamp":0,"attachments":[{"name":"f"}]}}"#;
        let mut event: Event = read(&Frame::from_head(head.into())).expect("it is a message");
        event.attachments()[0].bytes = bytes;
        event
    }

    #[test]
    fn bytes_ride_beside_the_head() {
        let event = with_file(Some(Blob::from(vec![0, 159, 7])));
        let mut frame = frame_with_blobs(event.clone());
        assert_eq!(frame.blobs.len(), 1);
        assert_eq!(read_with_blobs::<Event>(&mut frame), Ok(event));
        assert!(frame.blobs.is_empty(), "they are taken");
    }

    /// Bytes that have one holder are handed on where they lie.
    #[test]
    fn nothing_large_is_copied() {
        let bytes = vec![7; 1 << 20];
        let begin = bytes.as_ptr();
        let mut frame = frame_with_blobs(with_file(Some(Blob::from(bytes))));
        assert_eq!(frame.blobs[0].as_ptr(), begin, "into the frame");
        let mut event: Event = read_with_blobs(&mut frame).expect("it reads");
        let read = event.attachments()[0].bytes.take().expect("they came");
        assert_eq!((read.as_ptr(), read.len()), (begin, 1 << 20), "out of the frame");
    }

    #[test]
    fn blobs_and_head_must_agree() {
        let named = |text: &str| {
            let frame = frame_with_blobs(with_file(Some(Blob::from(vec![1]))));
            let head = String::from_utf8(frame.head.into_vec()).expect("JSON");
            head.replace("\"bytes\":0", text).into_bytes()
        };
        // the head's word for its blob, how many blobs come, what is said
        let cases = [
            ("\"bytes\":1", 1, "blob 1 of 1 is not there"),
            ("\"bytes\":0", 0, "blob 0 of 0 is not there"),
            ("\"bytes\":0", 2, "the frame has 2 blobs and its head names 1"),
            ("\"bytes\":-1", 1, "invalid value"),
            ("\"bytes\":\"AAAA\"", 1, "invalid type"),
        ];
        for (text, count, want) in cases {
            let blobs = (0..count).map(|_| RVec::from(vec![1])).collect();
            let mut frame = Frame { head: named(text).into(), blobs };
            let told = read_with_blobs::<Event>(&mut frame).expect_err(text);
            assert!(told.contains(want), "{text}: {told}");
        }
        let message = with_file(None);
        let stop = Request::Stop { account: "a".into() };
        let deliver = Request::Deliver {
            message: serde_json::from_str(
                r#"{"id":"m","address":{"channel_type":"x","account":"a","platform_id":"p"},
                    "content":{"kind":"text","text":"t"}}"#,
            )
            .expect("it is a message"),
        };
        let newer_content = || {
            let head = frame(&deliver).head;
            let head = String::from_utf8(head.into_vec()).expect("JSON");
            Frame::from_head(head.replace(r#""kind":"text""#, r#""kind":"sculpture""#).into_bytes())
        };
        let webhook = WebhookRequest {
            method: "POST".into(),
            query: String::new(),
            headers: vec![],
            body: b"body".to_vec(),
        };
        let newer = || Frame::from_head(br#"{"verb":"teleport"}"#.to_vec());
        // the frame, how many blobs more than it has, whether it is taken
        let cases: [(Frame, usize, bool); 12] = [
            (frame(&message), 0, true),
            (frame(&message), 1, false),
            (frame(&message), 64, false),
            (frame(&deliver), 0, true),
            (frame(&deliver), 1, false),
            (frame(&deliver), 64, false),
            (frame(&stop), 1, false),
            (frame(&Request::Describe), 1, false),
            (webhook_frame("a", webhook.clone()), 0, true),
            (webhook_frame("a", webhook), 1, false),
            (newer(), 64, true),
            (newer_content(), 64, true),
        ];
        for (mut frame, more, taken) in cases {
            let head = String::from_utf8_lossy(&frame.head).into_owned();
            frame.blobs.extend((0..more).map(|_| RVec::from(vec![1])));
            let brought = frame.blobs.clone();
            let told = match serde_json::from_slice::<Event>(&frame.head) {
                Ok(Event::Unknown) | Err(_) => read_with_blobs::<Request>(&mut frame).map(drop),
                Ok(_) => read_with_blobs::<Event>(&mut frame).map(drop),
            };
            assert_eq!(told.is_ok(), taken, "{head} and {more} more: {told:?}");
            assert!(
                !taken || frame.blobs == brought,
                "{head}: a blob that no attachment names is left to its reader"
            );
        }
        let mut event = newer();
        event.blobs.push(vec![1].into());
        assert_eq!(read_with_blobs::<Event>(&mut event), Ok(Event::Unknown));
    }
}
