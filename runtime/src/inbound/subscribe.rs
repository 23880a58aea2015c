//! Tells channels in which threads agents listen: their platforms may want to be asked for what is said there.
//!
//! Invariant: a thread is told after the commit that opened its session, and again until its channel has answered; then
//! no more.

use crate::context::Context;
use crate::db::{ReadTxn, WriteTxn};
use crate::error::Result;
use crate::id::SessionId;
use crate::plugins::{CallError, Link};
use crate::sessions;
use std::sync::Arc;
use std::time::Duration;
use vestibule_plugin_api::{Address, Capability, PluginError};

/// How long is waited until a channel that did not answer is told once more; it doubles.
const WAIT_FIRST: Duration = Duration::from_secs(1);
const WAIT_LAST: Duration = Duration::from_secs(60);

/// Tells the channel of the thread of a session that was opened just now, if the channel wants that.
pub(super) fn thread(context: &Arc<Context>, session_id: SessionId, address: Address) {
    let (channel, account) = (address.channel_type.as_str(), address.account.as_str());
    let Some(link) = context.plugins.registry.live(channel, account) else { return };
    tokio::spawn(tell_all(context.clone(), link, vec![(session_id, address)]));
}

/// Tells the channel of the threads of which it was not told before its account went down, or of which it did not answer.
///
/// # Errors
/// The database cannot be read.
pub async fn account_is_live(context: &Arc<Context>, link: &Arc<Link>, account: &str) -> Result<()> {
    if !link.manifest.can(Capability::Subscribes) {
        return Ok(());
    }
    let (channel, account) = (link.manifest.channel_type.as_str().to_owned(), account.to_owned());
    let waiting =
        context.central.read(move |db: &ReadTxn| sessions::unsubscribed(db, &channel, &account)).await?;
    tokio::spawn(tell_all(context.clone(), link.clone(), waiting));
    Ok(())
}

/// Tells of each thread until its channel has answered, or its account is live no more: the next time it is, it is told
/// again.
async fn tell_all(context: Arc<Context>, link: Arc<Link>, mut waiting: Vec<(SessionId, Address)>) {
    let mut wait = WAIT_FIRST;
    loop {
        let mut left = Vec::new();
        for (session_id, address) in waiting {
            match tell(&context, &link, &session_id, &address).await {
                Ok(true) => {}
                Ok(false) => left.push((session_id, address)),
                Err(error) => {
                    tracing::error!(%error, "whether a thread is subscribed to cannot be read or recorded");
                }
            }
        }
        let Some((_, address)) = left.first() else { return };
        tokio::time::sleep(wait).await;
        if !link.is_live(address.account.as_str()) {
            return;
        }
        wait = (wait * 2).min(WAIT_LAST);
        waiting = left;
    }
}

/// Tells of one thread; returns whether that has come to an end.
async fn tell(context: &Context, link: &Link, session_id: &SessionId, address: &Address) -> Result<bool> {
    // A message that opens a session while its account becomes live has it told from both sides.
    let _turn = link.subscribing.turn(address.account.as_str()).await;
    let id = session_id.clone();
    if !context.central.read(move |db: &ReadTxn| sessions::is_unsubscribed(db, &id)).await? {
        return Ok(true);
    }
    if let Err(error) = link.subscribe(address.clone()).await {
        tracing::warn!(plugin = link.manifest.name, %error, "a thread was not subscribed to");
        if !is_final(&error) {
            return Ok(false);
        }
    }
    let session_id = session_id.clone();
    context.central.write(move |db: &WriteTxn| sessions::subscribed(db, &session_id)).await?;
    Ok(true)
}

/// Whether asking once more, when the account is live again, would be answered the same. Pure.
fn is_final(error: &CallError) -> bool {
    matches!(
        error,
        CallError::Unsupported(_)
            | CallError::Plugin(PluginError::Refused { .. } | PluginError::Unsupported { .. })
    )
}
