//! The delivery road: what a keeper read goes on record, then to its channel, in order for each
//! address.
//!
//! Invariants:
//! - `sending` is committed before the adapter is called.
//! - A failing message holds its own lane and nobody else's.

mod decide;
mod retry;
mod snapshot;

use crate::clock;
use crate::error::Result;
use crate::house::House;
use crate::lanes::Bell;
use crate::ledger::{self, Claim, Delivery};
use crate::plugins::CallError;
use decide::{Verdict, decide};
use retry::{Next, after_failure};
use snapshot::Snapshot;
use std::sync::Arc;
use std::time::Duration;
use vestibule_plugin_api::{Address, Content, OutboundMessage, PluginError, Receipt};
use vestibule_session::{Ack, MessageOut};

/// How long a channel may take over one message.
const DELIVER_DEADLINE: Duration = Duration::from_secs(60);
/// The longest sleep of a lane: a clock that was set back must not stop it for long.
const SLEEP_MAX: Duration = Duration::from_secs(60);

/// Takes what a keeper read in one snapshot into one commit, so that a turn is never complete while
/// its reply is gone.
///
/// # Errors
/// It is not on disk; the keeper must hand it over again.
pub async fn take(
    house: &Arc<House>,
    session_id: &str,
    messages: Vec<MessageOut>,
    acks: Vec<Ack>,
) -> Result<()> {
    let session_id = session_id.to_owned();
    let now = clock::now();
    let addresses = house
        .central
        .write(move |db| {
            let mut addresses = Vec::new();
            for reply in &messages {
                let Some(snapshot) = Snapshot::load(db, &session_id, reply)? else { return Ok(addresses) };
                match decide(&snapshot, reply) {
                    Verdict::Deliver(address) => {
                        if ledger::record_reply(db, &session_id, reply, Ok(&address), now)? {
                            addresses.push(address);
                        }
                    }
                    Verdict::Refuse(why) => {
                        if ledger::record_reply(db, &session_id, reply, Err(&why), now)? {
                            tracing::warn!(session = session_id, reply = reply.id, %why, "a reply was refused");
                        }
                    }
                }
            }
            if !messages.is_empty() {
                ledger::mark_taken(db, &session_id)?;
            }
            ledger::acknowledge(db, &session_id, &acks)?;
            Ok(addresses)
        })
        .await?;
    for address in addresses {
        ring(house, address);
    }
    Ok(())
}

/// An adapter has come to life: what waited for it goes on.
///
/// # Errors
/// The central database failed.
pub async fn adapter_is_live(house: &Arc<House>, channel: String, account: String) -> Result<()> {
    let addresses = house.central.write(move |db| ledger::unpark(db, &channel, &account)).await?;
    for address in addresses {
        ring(house, address);
    }
    Ok(())
}

fn ring(house: &Arc<House>, address: Address) {
    let lane_house = house.clone();
    house.deliveries.ring(address.clone(), |bell| serve(lane_house, address, bell));
}

/// The lane of one address.
async fn serve(house: Arc<House>, address: Address, bell: Bell<Address>) {
    loop {
        bell.heard();
        let at = address.clone();
        let claim = house.central.write(move |db| ledger::claim_next(db, &at, clock::now())).await;
        match claim {
            Ok(Claim::Deliver(delivery)) => deliver(&house, *delivery).await,
            Ok(Claim::Later(at)) => {
                let wait =
                    Duration::from_millis(u64::try_from(at.0 - clock::now().0).unwrap_or(0)).min(SLEEP_MAX);
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = bell.rung() => {}
                    () = house.stopping() => return,
                }
            }
            Ok(Claim::Nothing) => {
                if bell.close() {
                    return;
                }
            }
            Err(error) => {
                tracing::error!(%error, "deliveries wait for the central database");
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_secs(1)) => {}
                    () = house.stopping() => return,
                }
            }
        }
    }
}

async fn deliver(house: &Arc<House>, delivery: Delivery) {
    let outcome = send(house, &delivery).await;
    let session_id = delivery.session_id.clone();
    let now = clock::now();
    let recorded = match outcome {
        Ok(receipt) => {
            tracing::debug!(session = session_id, reply = delivery.message_out_id, "delivered");
            let id = receipt.platform_message_id;
            house.central.write(move |db| ledger::settle(db, &delivery, Ok(id.as_deref()), now)).await
        }
        Err(error) => {
            let next = after_failure(&error, delivery.attempts, delivery.taken_at, now);
            let why = error.to_string();
            tracing::warn!(session = session_id, channel = %delivery.address.channel_type, %why, ?next, "not delivered");
            house
                .central
                .write(move |db| match next {
                    Next::At(at) => ledger::try_later(db, &delivery, Some(at), &why),
                    Next::Park => ledger::try_later(db, &delivery, None, &why),
                    Next::GiveUp => ledger::settle(db, &delivery, Err(&why), now),
                })
                .await
        }
    };
    match recorded {
        Ok(()) => house.ring(session_id),
        // The record still says `sending`: the truth, as far as the disk knows it.
        Err(error) => tracing::error!(%error, "the outcome of a delivery could not be recorded"),
    }
}

async fn send(house: &House, delivery: &Delivery) -> std::result::Result<Receipt, CallError> {
    let address = &delivery.address;
    let link = house.registry.live(address.channel_type.as_str(), address.account.as_str());
    let Some(link) = link else { return Err(CallError::NotThere) };
    let text =
        decide::text_of(&delivery.content).map_err(|why| CallError::Plugin(PluginError::refused(why)))?;
    let message = OutboundMessage {
        id: delivery.message_out_id.clone(),
        address: address.clone(),
        content: Content::Text { text },
        in_reply_to: delivery.in_reply_to.clone(),
        attachments: vec![],
    };
    link.deliver(message, DELIVER_DEADLINE).await
}
