//! What the frames say. Only this file knows how the vocabulary is written as JSON heads.
//!
//! The enums are internally tagged, so that a verb of a newer vocabulary reads as `Unknown`, and
//! the callee answers `unsupported`.

use crate::{Ignored, InboundMessage, OutboundMessage, WebhookRequest, WebhookResponse};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use vestibule_seam::Frame;

/// The largest head, in bytes, either side accepts.
pub const HEAD_BYTES_MAX: usize = 16 * 1024 * 1024;

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
    },
    /// Deliver a message. Answered by a `Receipt`.
    Deliver {
        /// The message.
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
    /// Stop an account. Answered by `{}`.
    Stop {
        /// The account's name.
        account: String,
    },
    /// A verb of a newer vocabulary.
    #[serde(other)]
    Unknown,
}

/// What a plugin asks of the runtime.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "snake_case")]
pub enum Event {
    /// A message came in. Answered by an `Accepted` after it is on disk.
    Message {
        /// The account it came by.
        account: String,
        /// The message.
        message: InboundMessage,
    },
    /// An event was left out on purpose. Answered by `{}` after that is on disk.
    Ignored {
        /// The account it came by.
        account: String,
        /// What was left out.
        ignored: Ignored,
    },
    /// A verb of a newer vocabulary.
    #[serde(other)]
    Unknown,
}

/// The answer to [`Request::Webhook`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookHead {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: String,
}

/// The empty answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Empty {}

/// Writes a head.
pub fn frame<T: Serialize>(head: &T) -> Frame {
    // The vocabulary has string keys only, so its types always serialise.
    Frame::from_head(serde_json::to_vec(head).unwrap_or_default())
}

/// Reads a head.
///
/// # Errors
/// Says in words why the head cannot be read.
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
        WebhookHead { status: response.status, body: response.body }
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
}
