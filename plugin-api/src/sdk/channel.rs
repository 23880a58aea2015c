//! The trait a channel implements.

use super::handle::Runtime;
use crate::{OutboundMessage, PluginError, Receipt, Result, WebhookRequest, WebhookResponse, Working};
use async_trait::async_trait;
use serde::de::DeserializeOwned;

/// A chat platform's adapter: one value of it is one account. Two methods are required.
///
/// The methods run on the plugin's own tokio runtime: spawn tasks, use timers and sockets as in
/// any program. A panic is caught and ends that call only.
#[async_trait]
pub trait Channel: Send + Sync + Sized + 'static {
    /// The account's section of the config, best made by [`config!`](crate::config): then the runtime
    /// finds a typo before it starts the account.
    type Config: DeserializeOwned + Send;

    /// Connects. Return [`PluginError::Retry`] for a platform that cannot be reached: the runtime
    /// tries again, with back-off.
    async fn start(config: Self::Config, runtime: Runtime) -> Result<Self>;

    /// Sends one message. Return only after the platform has it; the runtime then records it.
    async fn deliver(&self, message: OutboundMessage) -> Result<Receipt>;

    /// Finds out whether this message has arrived: an earlier [`Channel::deliver`] of it was cut off.
    /// The runtime asks a channel with the capability `reconcilable`, and delivers again only what is
    /// not found. The attachments' bytes are not there.
    async fn find(&self, message: OutboundMessage) -> Result<Option<Receipt>> {
        let _ = message;
        Err(PluginError::unsupported("this channel cannot look messages up"))
    }

    /// Takes a webhook whose signature the runtime has verified. Answer with a success status
    /// only after [`Runtime::message`] has returned.
    async fn webhook(&self, request: WebhookRequest) -> Result<WebhookResponse> {
        let _ = request;
        Err(PluginError::unsupported("this channel takes no webhooks"))
    }

    /// Shows that an agent works on an answer, for a few seconds. The runtime says it again while the agent works, to a
    /// channel with the capability `working`; an error is only logged.
    async fn working(&self, working: Working) -> Result<()> {
        let _ = working;
        Err(PluginError::unsupported("this channel shows no work"))
    }

    /// Disconnects. Tasks that the channel spawned must end here.
    async fn stop(&self) {}
}
