//! The trait a channel implements.

use super::handle::Runtime;
use crate::{
    Address, Blob, Conversation, HistoryPage, LinkState, OutboundMessage, PluginError, Read, Receipt, Result,
    Sender, WebhookRequest, WebhookResponse, Working,
};
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

    /// Shows that an agent has taken up a message. For channels that list `reads`; an error is only logged.
    async fn read(&self, read: Read) -> Result<()> {
        let _ = read;
        Err(PluginError::unsupported("this channel shows no message as read"))
    }

    /// An agent listens in this thread from now on. For channels that list `subscribes`, whose platform tells only those of a
    /// thread who asked for it. It may be said again; an error is only logged.
    async fn subscribe(&self, address: Address) -> Result<()> {
        let _ = address;
        Err(PluginError::unsupported("this channel subscribes to no threads"))
    }

    /// Which chat a person means who typed this: an id, a name, a link. For channels that list `normalises`; refuse with a
    /// sentence for the person what names no chat.
    async fn normalise(&self, chat: String) -> Result<Conversation> {
        let _ = chat;
        Err(PluginError::unsupported("this channel knows its chats by their ids only"))
    }

    /// Whom this handle names. For channels that list `people`.
    async fn who_is(&self, handle: String) -> Result<Sender> {
        let _ = handle;
        Err(PluginError::unsupported("this channel cannot look people up"))
    }

    /// Opens the direct chat with a person, or finds it. For channels that list `direct_chats`.
    async fn open_direct(&self, handle: String) -> Result<Conversation> {
        let _ = handle;
        Err(PluginError::unsupported("this channel opens no direct chats"))
    }

    /// What was said in a chat, from the older to the newer: `limit` messages at most, after a cursor of an earlier page, or
    /// the newest page without one. For channels that list `history`.
    async fn history(&self, address: Address, after: Option<String>, limit: u32) -> Result<HistoryPage> {
        let _ = (address, after, limit);
        Err(PluginError::unsupported("this channel cannot tell what was said"))
    }

    /// How far a person is with linking the account. For channels that list `linking`: the runtime asks while an operator
    /// waits, and the account must be started (with [`Runtime::health`] it says that it is not linked).
    async fn link(&self) -> Result<LinkState> {
        Err(PluginError::unsupported("the accounts of this channel need no linking"))
    }

    /// Loads a file that [`Attachment::reference`](crate::Attachment::reference) names, unless it has more than `bytes_max`
    /// bytes: refuse that, and what is gone for good. For channels that list `fetches`.
    async fn fetch(&self, reference: String, bytes_max: u64) -> Result<Blob> {
        let _ = (reference, bytes_max);
        Err(PluginError::unsupported("this channel loads no files later"))
    }

    /// Disconnects. Tasks that the channel spawned must end here.
    async fn stop(&self) {}
}
