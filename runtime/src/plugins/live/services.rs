//! What the runtime does for its plugins. The top of the runtime implements it, so that nothing here names a loop.

use super::link::Link;
use crate::error::Result;
use std::pin::Pin;
use std::sync::Arc;
use vestibule_plugin_api::wire::Event;
use vestibule_seam::Frame;

/// The future of a call's result.
pub type Outcome<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What the runtime does for its plugins.
pub trait Services: Send + Sync {
    /// Takes an event that is the plugin's to say and within its limits; returns the frame of its answer. An error means
    /// that nothing of it is on disk.
    fn hear(self: Arc<Self>, link: Arc<Link>, event: Event) -> Outcome<Result<Frame>>;

    /// Lets the work go on that waited for an account which is live now.
    fn account_is_live(self: Arc<Self>, link: Arc<Link>, account: String) -> Outcome<Result<()>>;

    /// Lets the work go on that waited until every plugin that was there at the start is known.
    fn plugins_are_complete(self: Arc<Self>) -> Outcome<Result<()>>;

    /// Takes webhooks from now on. An error is a sentence that says why it cannot.
    fn listen(self: Arc<Self>) -> Outcome<std::result::Result<(), String>>;
}
