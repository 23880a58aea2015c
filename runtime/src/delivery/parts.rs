//! What a channel tells of a message beside its receipt: the parts that have gone out, and what became of it later.

use super::lane::tell_given_up;
use crate::clock;
use crate::context::Context;
use crate::db::WriteTxn;
use crate::error::{Error, Result};
use crate::ledger::{self, Late};
use crate::plugins::{self, Link};
use std::sync::Arc;
use vestibule_plugin_api::{LateReceipt, SentSoFar};

/// Notes how much of a delivery has gone out, and gives it its whole deadline once more.
///
/// # Errors
/// It is not on disk, or this account is delivering no such message.
pub async fn sent_so_far(
    context: &Context,
    link: &Link,
    account: &str,
    id: String,
    sent: SentSoFar,
) -> Result<()> {
    let none = || Error::refused("this account is delivering no message with this id");
    let (session_id, of) = link.under_way.session_of(account, &id).ok_or_else(none)?;
    let row = id.clone();
    let note = move |db: &WriteTxn| ledger::note_sent(db, &session_id, &row, &sent, &of);
    if !context.central.write(note).await? {
        return Err(none());
    }
    link.under_way.renew(account, &id);
    Ok(())
}

/// Takes what a platform says of a message after it took it. The agent of one that failed after all is told.
///
/// # Errors
/// It is not on disk, or the message may be one that is being sent at this moment.
pub async fn late_receipt(
    context: &Arc<Context>,
    link: &Link,
    account: String,
    receipt: LateReceipt,
) -> Result<()> {
    let (channel, now) = (plugins::slot(&link.manifest), clock::now());
    let take = move |db: &WriteTxn| {
        let late = ledger::late_receipt(db, &channel, &account, &receipt)?;
        if let Late::Failed(delivery, why) = &late {
            tell_given_up(db, delivery, why, now)?;
        }
        Ok(late)
    };
    match context.central.write(take).await? {
        Late::TooEarly => Err(Error::NotYet("a message is being sent, which this may be about".into())),
        Late::Failed(delivery, _) => {
            let session = delivery.session_id.as_str();
            tracing::warn!(session, "its platform gave a message up that it had taken");
            context.wake(delivery.session_id);
            Ok(())
        }
        Late::Noted | Late::Nothing => Ok(()),
    }
}
