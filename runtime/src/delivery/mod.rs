//! The delivery road: what a keeper read goes on record, then to its channel, in order for each
//! address.
//!
//! Invariants:
//! - `sending` is committed before the adapter is called.
//! - A failing message holds its own lane and nobody else's.

mod decide;
mod retry;
mod snapshot;

use crate::clock::{self, Timestamp};
use crate::error::Result;
use crate::house::House;
use crate::lanes::Bell;
use crate::ledger::{self, Claim, Delivery};
use crate::plugins::{CallError, Link};
use decide::{Verdict, decide};
use retry::{Next, after_failure};
use rusqlite::Connection;
use snapshot::Snapshot;
use std::sync::Arc;
use std::time::Duration;
use vestibule_plugin_api::{Address, Capability, Content, OutboundMessage, PluginError, Receipt};
use vestibule_session::{Ack, MessageOut, crash};

/// How long a channel may take over one message.
const DELIVER_DEADLINE: Duration = Duration::from_secs(60);
/// The central database failed: it is asked again after this.
const DATABASE_RETRY: Duration = Duration::from_secs(1);
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
    let lanes = house.clone();
    let work = move |db: &Connection| {
        let mut addresses = record(db, &session_id, &messages, &acks)?;
        addresses.dedup();
        // A lane that is not open would claim its first reply in a commit of its own: it joins this one.
        let claim = |address: Address| {
            let idle = !lanes.deliveries.is_open(&address) && !lanes.is_stopping();
            let claim = if idle { ledger::claim_next(db, &address, clock::now())? } else { Claim::Nothing };
            Ok((address, claim))
        };
        addresses.into_iter().map(claim).collect::<Result<Vec<_>>>()
    };
    for (address, claim) in house.central.write(work).await? {
        ring(house, address, claim);
    }
    Ok(())
}

/// Puts replies and acknowledgements on record; answers where there is something to deliver.
fn record(db: &Connection, session_id: &str, messages: &[MessageOut], acks: &[Ack]) -> Result<Vec<Address>> {
    let now = clock::now();
    let (mut addresses, mut refused) = (Vec::new(), Vec::new());
    for reply in messages {
        let Some(snapshot) = Snapshot::load(db, session_id, reply)? else { return Ok(addresses) };
        match decide(&snapshot, reply) {
            Verdict::Deliver(address) => {
                if ledger::record_reply(db, session_id, reply, Ok(&address), now)? {
                    addresses.push(address);
                }
            }
            Verdict::Refuse(why) => {
                if ledger::record_reply(db, session_id, reply, Err(&why), now)? {
                    refused.push(why);
                }
            }
        }
    }
    if let Some(why) = refused.first() {
        tracing::warn!(session = session_id, count = refused.len(), %why, "replies were refused");
    }
    if let Some(seq) = messages.iter().map(|reply| reply.seq).max() {
        ledger::mark_taken(db, session_id, seq)?;
    }
    ledger::acknowledge(db, session_id, acks)?;
    Ok(addresses)
}

/// An adapter has come to life: what waited for it goes on.
///
/// # Errors
/// The central database failed.
pub async fn adapter_is_live(house: &Arc<House>, link: &Link, account: String) -> Result<()> {
    let (channel, idempotent) =
        (link.manifest.channel_type.clone(), link.manifest.can(Capability::Idempotent));
    let addresses = house.central.write(move |db| ledger::unpark(db, &channel, &account, idempotent)).await?;
    for address in addresses {
        ring(house, address, Claim::Nothing);
    }
    Ok(())
}

/// Opens the lane of an address with what was claimed for it, or rings it.
fn ring(house: &Arc<House>, address: Address, claim: Claim) {
    if house.is_stopping() && !matches!(claim, Claim::Deliver(_)) {
        return; // it is on record, and goes out after the next start
    }
    let claimed = match &claim {
        Claim::Deliver(delivery) => Some(delivery.clone()),
        Claim::Nothing | Claim::Later(_) => None,
    };
    let lane_house = house.clone();
    let opened =
        house.deliveries.ring(address.clone(), |bell| serve(lane_house, address.clone(), claim, bell));
    if !opened && let Some(delivery) = claimed {
        // Somebody opened the lane between the commit and here: the claim goes back, the lane takes it.
        let house = house.clone();
        tokio::spawn(async move {
            match house.central.write(move |db| ledger::unclaim(db, &delivery)).await {
                Ok(()) => ring(&house, address, Claim::Nothing),
                Err(error) => tracing::error!(%error, "a delivery waits for the next start"),
            }
        });
    }
}

/// The lane of one address.
async fn serve(house: Arc<House>, address: Address, claimed: Claim, bell: Bell<Address>) {
    if let Claim::Deliver(delivery) = claimed {
        deliver(&house, *delivery).await;
    }
    while !house.is_stopping() {
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
                tracing::debug!(%error, "deliveries wait for the central database");
                tokio::select! {
                    () = tokio::time::sleep(DATABASE_RETRY) => {}
                    () = house.stopping() => return,
                }
            }
        }
    }
}

async fn deliver(house: &Arc<House>, delivery: Delivery) {
    let outcome = send(house, &delivery).await;
    // Where one id is one message, an attempt that nobody knows the end of does no harm.
    let channel = house.registry.channel(delivery.address.channel_type.as_str());
    let idempotent = channel.is_some_and(|link| link.manifest.can(Capability::Idempotent));
    let now = clock::now();
    match &outcome {
        Ok(_) => tracing::debug!(session = delivery.session_id, reply = delivery.message_out_id, "delivered"),
        Err(error) => {
            let channel = &delivery.address.channel_type;
            tracing::warn!(session = delivery.session_id, %channel, %error, "not delivered");
        }
    }
    let (session_id, delivery, outcome) =
        (delivery.session_id.clone(), Arc::new(delivery), Arc::new(outcome));
    loop {
        let (delivery, outcome) = (delivery.clone(), outcome.clone());
        let parked = matches!(*outcome, Err(CallError::NotThere));
        let address = delivery.address.clone();
        match house.central.write(move |db| record_outcome(db, &delivery, &outcome, idempotent, now)).await {
            Ok(()) if parked => return unpark_if_live(house, &address).await,
            Ok(()) => return house.ring_later(session_id),
            // The record says `sending`, and must not stay so: the lane waits until it is told.
            Err(error) => tracing::debug!(%error, "the outcome of a delivery could not be recorded yet"),
        }
        tokio::select! {
            () = tokio::time::sleep(DATABASE_RETRY) => {}
            () = house.stopping() => return,
        }
    }
}

/// The adapter may have come to life between the attempt and its record, and then nobody else
/// would wake what was parked.
async fn unpark_if_live(house: &Arc<House>, address: &Address) {
    let (channel, account) = (address.channel_type.as_str(), address.account.as_str());
    if let Some(link) = house.registry.live(channel, account)
        && let Err(error) = Box::pin(adapter_is_live(house, &link, account.to_owned())).await
    {
        tracing::error!(%error, "a delivery waits for the next start");
    }
}

fn record_outcome(
    db: &Connection,
    delivery: &Delivery,
    outcome: &std::result::Result<Receipt, CallError>,
    idempotent: bool,
    now: Timestamp,
) -> Result<()> {
    let error = match outcome {
        Ok(receipt) => return ledger::settle(db, delivery, Ok(receipt.platform_message_id.as_deref()), now),
        Err(error) => error,
    };
    let why = error.to_string();
    let in_doubt = !idempotent && retry::in_doubt(error);
    match after_failure(error, delivery.attempts, delivery.taken_at, now) {
        Next::At(at) => ledger::try_later(db, delivery, Some(at), &why, in_doubt),
        Next::Park => ledger::try_later(db, delivery, None, &why, in_doubt),
        Next::GiveUp => ledger::settle(db, delivery, Err(&why), now),
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
    crash::point("delivery: `sending` is on record, nobody was called");
    let outcome = link.deliver(message, DELIVER_DEADLINE).await;
    crash::point("delivery: the platform has it, nothing is on record");
    outcome
}
