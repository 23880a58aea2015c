//! What passes between the runtime and its channels, for the author of one who watches. A runtime that serves people has no
//! observer: what it would be told holds the words of people.

use serde_json::Value;
use std::pin::Pin;
use vestibule_plugin_api::wire::{Event, Request};
use vestibule_plugin_api::{Accepted, OutboundMessage, PluginError, Receipt};

/// Is told of what passes.
pub trait Observer: Send + Sync {
    /// A channel hands an event over. The runtime takes it afterwards.
    fn hears(&self, channel: &str, event: &Event) -> Pin<Box<dyn Future<Output = ()> + Send>>;

    /// The runtime has answered an event.
    fn has_taken(&self, event: &Event, taken: Taken);

    /// A channel is handed a message.
    fn hands_over(&self, message: &OutboundMessage);

    /// The channel has answered.
    fn is_answered(&self, message: &OutboundMessage, answer: Answer<'_>);

    /// A channel is asked something about its platform, or is to show something there.
    fn asks(&self, channel: &str, asked: &Request);

    /// What it answered, as JSON, or why there is no answer.
    fn is_told(&self, channel: &str, asked: &Request, answer: Result<&Value, &str>);
}

/// What became of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// Nothing of it is on disk.
    Not,
    /// A message or a change: whether an agent hears it.
    As(Accepted),
    /// What was asked for is done.
    Done,
}

/// A channel's answer to a message.
#[derive(Debug, Clone, Copy)]
pub enum Answer<'a> {
    /// Its platform has it.
    Delivered(&'a Receipt),
    /// It answered with an error.
    Failed(&'a PluginError),
    /// It did not answer as it should: it panicked, say.
    Lost(&'a str),
}
