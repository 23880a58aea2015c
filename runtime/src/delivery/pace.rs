//! Keeps a delivery back until its account may be handed another, where its channel declares a rate.

use super::decide;
use super::lane::{self, DATABASE_RETRY};
use super::operation::Operation;
use crate::clock::{self, after};
use crate::context::Context;
use crate::db::WriteTxn;
use crate::ledger::{self, Claim, Delivery};
use crate::plugins::Paced;
use std::sync::Arc;
use vestibule_plugin_api::Capability;

/// Waits for the delivery's turn. Where that is far away it goes back into its lane until then, as if it had not been
/// claimed: no module was asked about it, and no channel. Returns whether it is its turn.
pub async fn is_its_turn(context: &Arc<Context>, delivery: &Delivery) -> bool {
    let address = &delivery.address;
    let link = context.plugins.registry.live(address.channel_type.as_str(), address.account.as_str());
    let Some(link) = link.filter(|link| link.manifest.limits.is_some()) else { return true };
    let with_buttons = link.manifest.can(Capability::Questions);
    let Some(operation) = operation(&delivery.content, with_buttons) else { return true };
    let Err(wait) = link.pace(address.account.as_str(), operation).await else { return true };
    let until = after(clock::now(), i64::try_from(wait.as_millis()).unwrap_or(i64::MAX));
    loop {
        let delivery = delivery.clone();
        let put_off = move |db: &WriteTxn| {
            ledger::put_off(db, &delivery, until)?;
            lane::moved_to(db, &delivery)
        };
        match context.central.write(put_off).await {
            Ok(moved) => {
                moved.into_iter().for_each(|address| lane::wake(context, address, Claim::Nothing));
                return false;
            }
            // The record says `sending`, and must not stay so.
            Err(error) => tracing::debug!(%error, "a delivery could not be put off yet"),
        }
        tokio::select! {
            () = tokio::time::sleep(DATABASE_RETRY) => {}
            () = context.stopping() => return false,
        }
    }
}

/// What handing over this content is; `None` for what has no rate. Pure.
fn operation(content: &str, with_buttons: bool) -> Option<Paced> {
    match decide::operation_of(content) {
        Some(Operation::Edit { .. }) => Some(Paced::Edit),
        Some(Operation::Delete { .. } | Operation::React { .. }) => None,
        None if with_buttons && decide::question_of(content).is_some() => Some(Paced::Question),
        None => Some(Paced::Post),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_which_rate() {
        let question =
            r#"{"type":"ask_question","questionId":"q","title":"T","question":"Q","options":["a"]}"#;
        for (content, with_buttons, want) in [
            (r#"{"text":"hello"}"#, true, Some(Paced::Post)),
            (question, true, Some(Paced::Question)),
            (question, false, Some(Paced::Post)),
            (r#"{"operation":"edit","messageId":"1","text":"x"}"#, true, Some(Paced::Edit)),
            (r#"{"operation":"delete","messageId":"1"}"#, true, None),
            (r#"{"operation":"reaction","messageId":"1","emoji":"x"}"#, true, None),
        ] {
            assert_eq!(operation(content, with_buttons), want, "{content}");
        }
    }
}
