//! The lane of one address: claims, has sent and records, one reply after the other.

use super::retry::{self, Next, after_failure};
use super::send::{Sent, send};
use super::{action, doubt, forward, unpark};
use crate::clock::{self, Timestamp};
use crate::error::Result;
use crate::house::House;
use crate::lanes::Bell;
use crate::ledger::{self, Claim, Delivery, Direction, Doubt};
use crate::plugins::CallError;
use rusqlite::Connection;
use std::sync::Arc;
use std::time::Duration;
use vestibule_plugin_api::Address;

/// The central database failed: it is asked again after this.
const DATABASE_RETRY: Duration = Duration::from_secs(1);
/// The longest sleep of a lane: a clock that was set back must not stop it for long.
const SLEEP_MAX: Duration = Duration::from_secs(60);

/// Opens the lane of an address with what was claimed for it, or rings it.
pub fn ring(house: &Arc<House>, address: Address, claim: Claim) {
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
pub async fn serve(house: Arc<House>, address: Address, claimed: Claim, bell: Bell<Address>) {
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
    let link = house.registry.of(&delivery.address);
    let can = link.map_or(Doubt::MayDouble, |link| doubt(&link));
    let (now, limit) = (clock::now(), house.attachments.limits().session_bytes);
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
        match house.central.write(move |db| record_outcome(db, &delivery, &outcome, (can, limit), now)).await
        {
            Ok(_) if parked => return unpark_if_live(house, &address).await,
            Ok((blobs, sessions)) => {
                house.attachments.discard(blobs);
                sessions.into_iter().for_each(|session_id| house.ring(session_id));
                return house.ring_later(session_id);
            }
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
    let (channel, account) = (address.channel_type.to_string(), address.account.to_string());
    if let Some(link) = house.registry.of(address).filter(|link| link.is_live(&account))
        && let Err(error) = Box::pin(unpark(house, channel, account, doubt(&link))).await
    {
        tracing::error!(%error, "a delivery waits for the next start");
    }
}

/// Records how a delivery went; answers the blobs that nothing names any more, and the sessions with
/// something new.
fn record_outcome(
    db: &Connection,
    delivery: &Delivery,
    outcome: &std::result::Result<Sent, CallError>,
    (can, session_bytes_max): (Doubt, u64),
    now: Timestamp,
) -> Result<(Vec<String>, Vec<String>)> {
    let error = match outcome {
        Ok(Sent::Out(receipt)) => {
            ledger::settle(db, delivery, Ok(receipt.platform_message_id.as_deref()), now)?;
            return Ok((forget_files(db, delivery)?, Vec::new()));
        }
        Ok(Sent::Inside(plan)) => {
            let sessions = forward::perform(db, delivery, plan, session_bytes_max, now)?;
            return Ok((forget_files(db, delivery)?, sessions));
        }
        Ok(Sent::Done(plan)) => {
            let sessions = action::perform(db, delivery, plan, session_bytes_max, now)?;
            return Ok((forget_files(db, delivery)?, sessions));
        }
        Err(error) => error,
    };
    let why = error.to_string();
    let in_doubt = retry::in_doubt(error).then_some(can);
    match after_failure(error, delivery.attempts, delivery.taken_at, now) {
        Next::At(at) => ledger::try_later(db, delivery, Some(at), &why, in_doubt)?,
        Next::Park => ledger::try_later(db, delivery, None, &why, in_doubt)?,
        Next::GiveUp => {
            ledger::settle(db, delivery, Err(&why), now)?;
            return Ok((forget_files(db, delivery)?, Vec::new()));
        }
    }
    Ok((Vec::new(), Vec::new()))
}

fn forget_files(db: &Connection, delivery: &Delivery) -> Result<Vec<String>> {
    ledger::forget_files(db, &delivery.session_id, Direction::Out, &delivery.message_out_id)
}
