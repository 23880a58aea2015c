//! The kinds of plugin, as the machinery sees them: each turns a request into a call of its trait.

use super::channel::Channel;
use super::handle::Runtime;
use super::module::Module;
use crate::wire::{self, Effects, Empty, Fetched, Found, Request, WebhookHead};
use crate::{Attachment, PluginError, Result, WebhookRequest};
use async_trait::async_trait;
use serde::de::DeserializeOwned;
use vestibule_seam::Frame;

/// The work of a started plugin of one kind.
#[async_trait]
pub trait Kind: Send + Sync + Sized + 'static {
    /// The section of the config that the plugin reads.
    type Config: DeserializeOwned + Send;

    /// Starts one account.
    async fn start(config: Self::Config, runtime: Runtime) -> Result<Self>;

    /// Serves a request that is neither a start nor a stop.
    async fn ask(&self, request: Request, frame: Frame) -> Result<Frame>;

    /// Stops the account.
    async fn stop(&self);
}

fn older() -> PluginError {
    PluginError::unsupported("this plugin is older than the runtime, or of another kind")
}

/// A channel.
pub struct OfChannel<C>(C);

#[async_trait]
impl<C: Channel> Kind for OfChannel<C> {
    type Config = C::Config;

    async fn start(config: C::Config, runtime: Runtime) -> Result<Self> {
        Ok(OfChannel(C::start(config, runtime).await?))
    }

    async fn ask(&self, request: Request, mut frame: Frame) -> Result<Frame> {
        match request {
            Request::Deliver { message } => Ok(wire::frame(&self.0.deliver(message).await?)),
            Request::Find { message } => Ok(wire::frame(&Found { receipt: self.0.find(message).await? })),
            Request::Working { working } => {
                self.0.working(working).await?;
                Ok(wire::frame(&Empty {}))
            }
            Request::Read { read } => {
                self.0.read(read).await?;
                Ok(wire::frame(&Empty {}))
            }
            Request::Subscribe { address } => {
                self.0.subscribe(address).await?;
                Ok(wire::frame(&Empty {}))
            }
            Request::Normalise { account: _, chat } => Ok(wire::frame(&self.0.normalise(chat).await?)),
            Request::WhoIs { account: _, handle } => Ok(wire::frame(&self.0.who_is(handle).await?)),
            Request::OpenDirect { account: _, handle } => Ok(wire::frame(&self.0.open_direct(handle).await?)),
            Request::History { address, after, limit } => {
                Ok(wire::frame(&self.0.history(address, after, limit).await?))
            }
            Request::Link { account: _ } => Ok(wire::frame(&self.0.link().await?)),
            Request::Fetch { account: _, reference, bytes_max } => {
                let bytes = Some(self.0.fetch(reference, bytes_max).await?);
                Ok(wire::frame_with_blobs(Fetched { file: Attachment { bytes, ..Attachment::default() } }))
            }
            Request::Webhook { account: _, method, query, headers } => {
                let body = frame.blobs.pop().unwrap_or_default().into_vec();
                let request = WebhookRequest { method, query, headers, body };
                Ok(wire::frame(&WebhookHead::from(self.0.webhook(request).await?)))
            }
            _ => Err(older()),
        }
    }

    async fn stop(&self) {
        self.0.stop().await;
    }
}

/// A module.
pub struct OfModule<M>(M);

#[async_trait]
impl<M: Module> Kind for OfModule<M> {
    type Config = M::Config;

    async fn start(config: M::Config, runtime: Runtime) -> Result<Self> {
        Ok(OfModule(M::start(config, runtime).await?))
    }

    async fn ask(&self, request: Request, _: Frame) -> Result<Frame> {
        match request {
            Request::Forward { message } => {
                Ok(wire::frame(&Effects { effects: self.0.forward(message).await? }))
            }
            Request::Action { action } => Ok(wire::frame(&Effects { effects: self.0.action(action).await? })),
            Request::Tick { tick } => Ok(wire::frame(&Effects { effects: self.0.tick(tick).await? })),
            Request::Decided { decided } => {
                Ok(wire::frame(&Effects { effects: self.0.decided(decided).await? }))
            }
            Request::Screen { message } => Ok(wire::frame(&self.0.screen(message).await?)),
            Request::Review { message } => Ok(wire::frame(&self.0.review(message).await?)),
            _ => Err(older()),
        }
    }

    async fn stop(&self) {
        self.0.stop().await;
    }
}
