//! The trait a module implements.

use super::handle::Runtime;
use crate::{Action, Decided, Effect, Forwarded, PluginError, Result, Reviewed, Screened, Tick, Verdict};
use async_trait::async_trait;
use serde::de::DeserializeOwned;

/// A plugin that is no channel. It is asked at the hooks that its manifest lists, and answers with
/// effects or a verdict: data, which the runtime checks and performs. It is never called back.
///
/// A hook may be asked twice about one message (a crash, a retry): answer the same, and keep nothing
/// that counts calls. A panic is caught and ends that call only.
#[async_trait]
pub trait Module: Send + Sync + Sized + 'static {
    /// The section `[modules.NAME]` of the config, best made by [`config!`](crate::config).
    type Config: DeserializeOwned + Send;

    /// Starts the module. Return [`PluginError::Retry`] when something it needs is away for a while.
    async fn start(config: Self::Config, runtime: Runtime) -> Result<Self>;

    /// An agent writes to another agent, and may. Answer one `Post` or one `Refuse`, and notes besides.
    async fn forward(&self, message: Forwarded) -> Result<Vec<Effect>> {
        let _ = message;
        Err(PluginError::unsupported("this module does not listen to `forward`"))
    }

    /// A message has come in. No agent hears it before the module answers.
    async fn screen(&self, message: Screened) -> Result<Verdict> {
        let _ = message;
        Err(PluginError::unsupported("this module does not listen to `screen`"))
    }

    /// A message is about to go out.
    async fn review(&self, message: Reviewed) -> Result<Verdict> {
        let _ = message;
        Err(PluginError::unsupported("this module does not listen to `review`"))
    }

    /// An agent asks for something. Answer its `Note`, or several, or `Refuse`.
    async fn action(&self, action: Action) -> Result<Vec<Effect>> {
        let _ = action;
        Err(PluginError::unsupported("this module does not listen to `action`"))
    }

    /// Time has passed. Answer what agents are to be told with `Tell`, or nothing. What is due is what
    /// came due after `last`: a tick that is missed or fails is made up for by the next.
    async fn tick(&self, tick: Tick) -> Result<Vec<Effect>> {
        let _ = tick;
        Err(PluginError::unsupported("this module does not listen to `tick`"))
    }

    /// Something was decided that this module asked for with `Ask` or `RequestApproval`: a person chose, or none did in
    /// time. Told at least once, in the order in which it was asked, each with an id that stays the same.
    async fn decided(&self, decided: Decided) -> Result<Vec<Effect>> {
        let _ = decided;
        Err(PluginError::unsupported("this module does not listen to `decided`"))
    }

    /// Ends the module. Tasks that it spawned must end here.
    async fn stop(&self) {}
}
