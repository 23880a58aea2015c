//! What an author may call.

use crate::wire::{self, Empty, Event};
use crate::{Accepted, Ignored, InboundMessage, PluginError, Result};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::fmt;
use vestibule_seam::{Done, RuntimeSide, status};

/// The runtime, as one account of a plugin sees it. Cheap to clone.
#[derive(Clone)]
pub struct Runtime {
    pub(crate) side: RuntimeSide,
    pub(crate) account: String,
}

impl Runtime {
    /// Hands over a message. Returns **after** it is on disk, or deliberately dropped with a
    /// recorded reason: only then may the platform be acknowledged.
    ///
    /// # Errors
    /// [`PluginError::Retry`]: the message is not on disk; do not acknowledge it.
    /// [`PluginError::Refused`]: it breaks a limit of the vocabulary and never will be taken.
    pub async fn message(&self, message: InboundMessage) -> Result<Accepted> {
        self.call(Event::Message { account: self.account.clone(), message }).await
    }

    /// Puts on record that an event was left out on purpose.
    ///
    /// # Errors
    /// As [`Runtime::message`].
    pub async fn ignored(&self, ignored: Ignored) -> Result<()> {
        let Empty {} = self.call(Event::Ignored { account: self.account.clone(), ignored }).await?;
        Ok(())
    }

    /// The account's name in the config.
    pub fn account(&self) -> &str {
        &self.account
    }

    async fn call<T: DeserializeOwned>(&self, event: Event) -> Result<T> {
        let (answered, answer) = tokio::sync::oneshot::channel();
        let done = Done::new(move |code, frame| drop(answered.send((code, frame))));
        self.side.call(wire::frame_with_blobs(event), done);
        match answer.await {
            Ok((status::OK, frame)) => wire::read(&frame).map_err(PluginError::retry),
            Ok((status::ERROR, frame)) => Err(wire::read(&frame).unwrap_or_else(PluginError::retry)),
            Ok((status::UNSUPPORTED, _)) => {
                Err(PluginError::unsupported("this runtime is older than the plugin"))
            }
            Ok((status::BAD_FRAME, frame)) => {
                Err(PluginError::refused(wire::read::<String>(&frame).unwrap_or_else(|e| e)))
            }
            _ => Err(PluginError::retry("the runtime did not take it")),
        }
    }
}

/// A secret from the config. It prints as `***`.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub(crate) String);

impl Secret {
    /// The secret itself. Never log it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
