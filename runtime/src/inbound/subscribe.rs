//! Tells channels in which threads agents listen: their platforms may want to be asked for what is said there.
//!
//! Invariant: a thread is told after the commit that opened its session, and again until its channel has answered.

use crate::context::Context;
use crate::db::{ReadTxn, WriteTxn};
use crate::error::Result;
use crate::id::SessionId;
use crate::plugins::{CallError, Link};
use crate::sessions;
use std::sync::Arc;
use vestibule_plugin_api::{Address, Capability, PluginError};

/// Tells the channel of the thread of a session that was opened just now, if the channel wants that.
pub(super) fn thread(context: &Arc<Context>, session_id: SessionId, address: Address) {
    let (channel, account) = (address.channel_type.as_str(), address.account.as_str());
    let Some(link) = context.plugins.registry.live(channel, account) else { return };
    let context = context.clone();
    tokio::spawn(async move {
        if let Err(error) = tell(&context, &link, session_id, address).await {
            tracing::error!(%error, "a thread that was subscribed to is not on record as such");
        }
    });
}

/// Tells the channel of the threads of which it was not told while its account was not live, or of which it did not
/// answer.
///
/// # Errors
/// The database cannot be read or written.
pub async fn account_is_live(context: &Context, link: &Link, account: &str) -> Result<()> {
    if !link.manifest.can(Capability::Subscribes) {
        return Ok(());
    }
    let (channel, account) = (link.manifest.channel_type.as_str().to_owned(), account.to_owned());
    let waiting =
        context.central.read(move |db: &ReadTxn| sessions::unsubscribed(db, &channel, &account)).await?;
    for (session_id, address) in waiting {
        tell(context, link, session_id, address).await?;
    }
    Ok(())
}

async fn tell(context: &Context, link: &Link, session_id: SessionId, address: Address) -> Result<()> {
    if let Err(error) = link.subscribe(address).await {
        tracing::warn!(plugin = link.manifest.name, %error, "a thread was not subscribed to");
        if !is_final(&error) {
            return Ok(());
        }
    }
    let write = move |db: &WriteTxn| sessions::note_unsubscribed(db, &session_id, false);
    context.central.write(write).await
}

/// Whether asking once more, when the account is live again, would be answered the same. Pure.
fn is_final(error: &CallError) -> bool {
    matches!(
        error,
        CallError::Unsupported(_)
            | CallError::Plugin(PluginError::Refused { .. } | PluginError::Unsupported { .. })
    )
}
