//! The delivery road: what a keeper read goes on record, then to its channel, in order for each
//! address.
//!
//! Invariants:
//! - `sending` is committed before the adapter is called.
//! - A failing message holds its own lane and nobody else's.

mod action;
mod decide;
mod forward;
mod note;
mod outgoing;
mod retry;
mod review;
mod snapshot;
mod tick;

pub use action::fault as action_fault;
pub use forward::fault as forward_fault;
pub use tick::fault as tick_fault;

use crate::attachments::{MessageFile, StoredFile};
use crate::clock::{self, Timestamp};
use crate::error::{Error, Result};
use crate::house::House;
use crate::lanes::Bell;
use crate::ledger::{self, Claim, Delivery, Direction, Doubt};
use crate::plugins::{CallError, Link};
use crate::questions;
use decide::{Verdict, decide};
use outgoing::OutgoingFile;
use retry::{Next, after_failure};
use rusqlite::Connection;
use snapshot::Snapshot;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use vestibule_plugin_api::{
    ACCOUNT_MAIN, ACTION, AGENT, Address, Capability, OutboundMessage, PluginError, PluginKind, Receipt,
    Station,
};
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
    files: Vec<MessageFile>,
) -> Result<()> {
    let session_id = session_id.to_owned();
    let lanes = house.clone();
    let stored: Vec<String> = files.iter().filter_map(|file| file.file.blob.clone().ok()).collect();
    let work = move |db: &Connection| {
        let limit = lanes.attachments.limits().session_bytes;
        let mut addresses = record(db, &session_id, &messages, &acks, (files, limit))?;
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
    house.attachments.discard_unnamed(&house.central, stored).await;
    Ok(())
}

/// Puts replies and acknowledgements on record; answers where there is something to deliver.
fn record(
    db: &Connection,
    session_id: &str,
    messages: &[MessageOut],
    acks: &[Ack],
    (mut files, session_bytes_max): (Vec<MessageFile>, u64),
) -> Result<Vec<Address>> {
    let now = clock::now();
    let (mut addresses, mut refused) = (Vec::new(), Vec::new());
    for reply in messages {
        let theirs = files.extract_if(.., |file| file.message_id == reply.id);
        let theirs = (theirs.map(|file| file.file).collect(), session_bytes_max);
        match record_one(db, session_id, reply, theirs, now)? {
            Recorded::To(address) => addresses.push(address),
            Recorded::Refused(why) => refused.push(why),
            Recorded::Known => {}
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

/// What became of one reply.
pub enum Recorded {
    /// It was on record already, or its session is gone.
    Known,
    /// It goes there.
    To(Address),
    /// It goes nowhere, for this reason.
    Refused(String),
}

/// Decides about one reply and puts it on record, with its files if it goes anywhere. The session's may
/// hold `session_bytes_max` bytes.
///
/// # Errors
/// SQLite fails.
pub fn record_one(
    db: &Connection,
    session_id: &str,
    reply: &MessageOut,
    (files, session_bytes_max): (Vec<StoredFile>, u64),
    now: Timestamp,
) -> Result<Recorded> {
    let Some(snapshot) = Snapshot::load(db, session_id, reply)? else { return Ok(Recorded::Known) };
    let verdict = decide(&snapshot, reply);
    let outcome = match &verdict {
        Verdict::Deliver(address) => Ok(address),
        Verdict::Refuse(why) => Err(why.as_str()),
    };
    let new = ledger::record_reply(db, session_id, reply, outcome, now)?;
    if let (true, Ok(address), Some(asked)) = (new, outcome, decide::question_of(&reply.content)) {
        questions::ask(db, session_id, &asked, address, now)?;
    }
    Ok(match verdict {
        _ if !new => Recorded::Known,
        Verdict::Refuse(why) => Recorded::Refused(why),
        Verdict::Deliver(address) => {
            if !files.is_empty() {
                let room = session_bytes_max.saturating_sub(ledger::session_bytes(db, session_id)?);
                let files = outgoing::named(files, room, now);
                ledger::record_files(db, session_id, Direction::Out, &reply.id, None, &files)?;
            }
            Recorded::To(address)
        }
    })
}

/// What is on record for these addresses goes out.
pub fn go_on(house: &Arc<House>, addresses: Vec<Address>) {
    for address in addresses {
        ring(house, address, Claim::Nothing);
    }
}

/// An adapter has come to life: what waited for it goes on.
///
/// # Errors
/// The central database failed.
pub async fn adapter_is_live(house: &Arc<House>, link: &Arc<Link>, account: String) -> Result<()> {
    if link.manifest.listens(Station::Tick) {
        tokio::spawn(tick::serve(house.clone(), link.clone()));
    }
    let channels = match link.manifest.kind {
        PluginKind::Module => {
            let at = [(Station::Forward, AGENT), (Station::Action, ACTION)];
            let at = at.into_iter().filter(|(station, _)| link.manifest.listens(*station));
            at.map(|(_, channel)| channel.to_owned()).collect()
        }
        PluginKind::Channel | PluginKind::Unknown => vec![link.manifest.channel_type.clone()],
    };
    for channel in channels {
        unpark(house, channel, account.clone(), doubt(link)).await?;
    }
    Ok(())
}

/// Every plugin that was there at the start has been looked at: what agents ask for, and no module takes,
/// waits no longer.
///
/// # Errors
/// The central database failed.
pub async fn plugins_are_complete(house: &Arc<House>) -> Result<()> {
    if house.registry.complete.swap(true, Ordering::AcqRel) {
        return Ok(());
    }
    unpark(house, ACTION.to_owned(), ACCOUNT_MAIN.to_owned(), Doubt::SendAgain).await
}

async fn unpark(house: &Arc<House>, channel: String, account: String, can: Doubt) -> Result<()> {
    let addresses =
        house.central.write(move |db| ledger::unpark(db, &channel, &account, can, clock::now())).await?;
    for address in addresses {
        ring(house, address, Claim::Nothing);
    }
    Ok(())
}

/// What a channel can do about a delivery of which nobody knows whether it has arrived.
fn doubt(link: &Link) -> Doubt {
    // A message between agents is written in the transaction that settles it: before that, nothing was.
    if link.manifest.can(Capability::Idempotent) || link.manifest.kind == PluginKind::Module {
        Doubt::SendAgain
    } else if link.manifest.can(Capability::Reconcilable) {
        Doubt::LookUp
    } else {
        Doubt::MayDouble
    }
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

/// How a delivery went well.
enum Sent {
    /// Its platform has it.
    Out(Receipt),
    /// It is for another agent, and this is to be done about it.
    Inside(forward::Plan),
    /// An agent asked for it, and this is to be done about it.
    Done(action::Plan),
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

async fn send(house: &House, delivery: &Delivery) -> std::result::Result<Sent, CallError> {
    if delivery.address.channel_type.as_str() == ACTION {
        return act(house, delivery).await;
    }
    let reviewed = review::reviewed(house, delivery).await?;
    let delivery = reviewed.as_ref().unwrap_or(delivery);
    let address = &delivery.address;
    let link = house.registry.live(address.channel_type.as_str(), address.account.as_str());
    let Some(link) = link else { return Err(CallError::NotThere) };
    if link.manifest.kind == PluginKind::Module {
        crash::point("delivery: `sending` is on record, nobody was called");
        let plan = forward::ask(house, &link, delivery).await?;
        crash::point("delivery: the platform has it, nothing is on record");
        return Ok(Sent::Inside(plan));
    }
    if delivery.look_up {
        // A lookup that fails says nothing about the message: it stays in doubt.
        let message = message(house, &link, delivery, Vec::new()).await?;
        let found = link.find(message, DELIVER_DEADLINE).await;
        if let Some(receipt) = found.map_err(|error| match error {
            CallError::NotThere => CallError::NotThere,
            error => CallError::Plugin(PluginError::in_doubt(error.to_string())),
        })? {
            return Ok(Sent::Out(receipt));
        }
        let again = delivery.clone();
        let recorded = house.central.write(move |db| ledger::may_double(db, &again)).await;
        recorded.map_err(|error| CallError::Plugin(PluginError::in_doubt(error.to_string())))?;
    }
    let files = files(house, delivery).await?;
    let message = message(house, &link, delivery, files).await?;
    crash::point("delivery: `sending` is on record, nobody was called");
    let outcome = link.deliver(message, DELIVER_DEADLINE).await;
    crash::point("delivery: the platform has it, nothing is on record");
    outcome.map(Sent::Out)
}

/// Has a module do what an agent asks for.
async fn act(house: &House, delivery: &Delivery) -> std::result::Result<Sent, CallError> {
    let Some(link) = house.registry.of(&delivery.address) else {
        let complete = house.registry.complete.load(Ordering::Acquire);
        let nobody = || CallError::Plugin(PluginError::refused("no module takes this action"));
        return Err(if complete { nobody() } else { CallError::NotThere });
    };
    crash::point("delivery: `sending` is on record, nobody was called");
    let plan = action::ask(house, &link, delivery).await?;
    crash::point("delivery: the platform has it, nothing is on record");
    Ok(Sent::Done(plan))
}

/// The message as this channel can show it.
async fn message(
    house: &House,
    link: &Link,
    delivery: &Delivery,
    files: Vec<OutgoingFile>,
) -> std::result::Result<OutboundMessage, CallError> {
    let mut message = outgoing::message(delivery, files, link.manifest.can(Capability::Attachments))?;
    if link.manifest.can(Capability::Questions) && decide::question_of(&delivery.content).is_some() {
        let (session_id, id) = (delivery.session_id.clone(), delivery.message_out_id.clone());
        let asked = house.central.read(move |db| questions::content(db, &session_id, &id)).await;
        let asked = asked.map_err(|error: Error| CallError::Plugin(PluginError::retry(error.to_string())))?;
        message.content = asked.unwrap_or(message.content);
    }
    Ok(message)
}

/// The files of a reply, with their bytes.
async fn files(house: &House, delivery: &Delivery) -> std::result::Result<Vec<OutgoingFile>, CallError> {
    let (session_id, id) = (delivery.session_id.clone(), delivery.message_out_id.clone());
    let store = house.attachments.clone();
    let read = move |db: &Connection| {
        let files = ledger::files_of(db, &session_id, Direction::Out, &id)?;
        let bytes = |file: StoredFile| {
            let bytes = file.blob.as_ref().ok().map(|blob| store.read(blob)).transpose()?;
            Ok((file, bytes))
        };
        files.into_iter().map(bytes).collect()
    };
    house
        .central
        .read(read)
        .await
        .map_err(|error: Error| CallError::Plugin(PluginError::retry(error.to_string())))
}
