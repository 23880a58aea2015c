//! The delivery road: what a keeper read goes on record, then to its channel, in order for each address.
//!
//! Invariants:
//! - `sending` is committed before the adapter is called.
//! - At an address sessions take turns. A message that fails holds what follows it from its session to that address,
//!   and no other session's.
//! - What one session has pending is bounded.

mod action;
mod card;
mod decide;
mod decided;
mod died;
mod effects;
mod forward;
mod lane;
mod note;
mod operation;
mod operator;
mod outgoing;
mod pace;
mod parts;
mod performed;
mod retry;
mod review;
mod saying;
mod send;
mod snapshot;
mod tick;

pub use died::{Died, give_up, run_died};
pub use effects::{EffectsHook, fault as effects_fault};
pub use lane::give_up_parked;
pub use operator::{drop_one, replay, say};
pub use parts::{late_receipt, sent_so_far};

use crate::attachments::{MessageFile, StoredFile};
use crate::clock::{self, Timestamp};
use crate::context::Context;
use crate::db::WriteTxn;
use crate::error::Result;
use crate::id::SessionId;
use crate::ledger::{self, Acknowledged, Claim, Direction, InDoubtPolicy};
use crate::plugins::Link;
use crate::{questions, sessions};
use decide::{Decision, decide};
use lane::wake;
use note::Undelivered;
use snapshot::Snapshot;
use std::sync::Arc;
use vestibule_plugin_api::{ACCOUNT_MAIN, ACTION, AGENT, Address, Capability, Hook, Manifest, PluginKind};
use vestibule_session::{Ack, MessageOut};

/// What became of a batch that a keeper handed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// It is on record.
    OnRecord {
        /// The rows that the runner has claimed with it. One that does not wait any more is none of them: its runner
        /// died with it, and did not forget it.
        claimed: Vec<String>,
    },
    /// None of it is: its session has too much pending. The keeper hands it over again when a delivery of the session
    /// has been settled.
    NoRoom,
}

/// Takes what a keeper read in one snapshot into one commit, so that a turn is never complete while its reply is gone;
/// or takes none of it, while what its session has pending is at its limit.
///
/// # Errors
/// The batch is not on disk; the keeper must hand it over again.
pub async fn take(
    context: &Arc<Context>,
    session_id: &SessionId,
    messages: Vec<MessageOut>,
    acks: Vec<Ack>,
    files: Vec<MessageFile>,
) -> Result<Taken> {
    let session_id = session_id.to_owned();
    let lanes = context.clone();
    let stored: Vec<String> = files.iter().filter_map(|file| file.file.blob.clone().ok()).collect();
    let work = move |db: &WriteTxn| {
        if !messages.is_empty() && !ledger::has_room(db, &session_id)? {
            return Ok(None);
        }
        let limit = lanes.attachments.limits().session_bytes;
        let (mut addresses, claimed) = record(db, &session_id, &messages, &acks, (files, limit))?;
        addresses.dedup();
        // A lane that is not open would claim its first reply in a commit of its own: the claim joins this one.
        let claim = |address: Address| {
            let idle = !lanes.deliveries.is_open(&address) && !lanes.is_stopping();
            let now = clock::now();
            let claim = if idle { ledger::claim_next(db, &address, None, now)? } else { Claim::Nothing };
            Ok((address, claim))
        };
        Ok(Some((addresses.into_iter().map(claim).collect::<Result<Vec<_>>>()?, claimed)))
    };
    let Some((claims, claimed)) = context.central.write(work).await? else { return Ok(Taken::NoRoom) };
    for (address, claim) in claims {
        wake(context, address, claim);
    }
    context.attachments.discard_unnamed(&context.central, stored).await;
    Ok(Taken::OnRecord { claimed })
}

/// Puts replies and acknowledgements on record; returns the addresses with something to deliver, and the waiting rows
/// that are claimed.
fn record(
    db: &WriteTxn,
    session_id: &SessionId,
    messages: &[MessageOut],
    acks: &[Ack],
    (mut files, session_bytes_max): (Vec<MessageFile>, u64),
) -> Result<(Vec<Address>, Vec<String>)> {
    let now = clock::now();
    let (mut addresses, mut refused, mut why) = (Vec::new(), Vec::new(), None);
    for reply in messages {
        let theirs = files.extract_if(.., |file| file.message_id == reply.id);
        let theirs = (theirs.map(|file| file.file).collect(), session_bytes_max);
        match record_one(db, session_id, reply, theirs, now)? {
            Recorded::To(address) => addresses.push(address),
            Recorded::Refused(reason) => {
                refused.push(Undelivered::of(reply, &reason));
                why.get_or_insert(reason);
            }
            Recorded::Known => {}
        }
    }
    if let Some(why) = why {
        tracing::warn!(session = session_id.as_str(), count = refused.len(), %why, "replies were refused");
        if let Some(session) = sessions::by_id(db, session_id)? {
            note::tell_undelivered(db, &session, &refused, now)?;
        }
    }
    if let Some(seq) = messages.iter().map(|reply| reply.seq).max() {
        ledger::mark_taken(db, session_id, seq)?;
    }
    let Acknowledged { claimed, failed } = ledger::acknowledge(db, session_id, acks, now)?;
    if failed > 0 {
        tracing::warn!(
            session = session_id.as_str(),
            messages = failed,
            "a turn failed; its reply tells the chat why"
        );
    }
    Ok((addresses, claimed))
}

/// What became of one reply.
pub enum Recorded {
    /// It was on record already, or its session is gone.
    Known,
    /// It goes to this address.
    To(Address),
    /// It goes nowhere, for this reason.
    Refused(String),
}

/// Decides about one reply and puts it on record, with its files if it goes anywhere. The files of its session may hold
/// `session_bytes_max` bytes.
///
/// # Errors
/// SQLite fails.
pub fn record_one(
    db: &WriteTxn,
    session_id: &SessionId,
    reply: &MessageOut,
    (files, session_bytes_max): (Vec<StoredFile>, u64),
    now: Timestamp,
) -> Result<Recorded> {
    let Some(snapshot) = Snapshot::load(db, session_id, reply, now)? else { return Ok(Recorded::Known) };
    let verdict = decide(&snapshot, reply);
    let outcome = match &verdict {
        Decision::Deliver(address) => Ok(address),
        Decision::Refuse(why) => Err(why.as_str()),
    };
    let new = ledger::record_reply(db, session_id, reply, outcome, now)?;
    if let (true, Ok(address), Some(asked)) = (new, outcome, decide::question_of(&reply.content)) {
        questions::ask(db, session_id, &asked, address, now)?;
    }
    Ok(match verdict {
        _ if !new => Recorded::Known,
        Decision::Refuse(why) => Recorded::Refused(why),
        Decision::Deliver(address) => {
            if !files.is_empty() {
                let room = session_bytes_max.saturating_sub(ledger::session_bytes(db, session_id)?);
                let files = outgoing::named(files, room, now);
                ledger::record_files(db, session_id, Direction::Out, &reply.id, None, &files)?;
            }
            Recorded::To(address)
        }
    })
}

/// Sends what is on record for these addresses.
pub fn go_on(context: &Arc<Context>, addresses: Vec<Address>) {
    for address in addresses {
        wake(context, address, Claim::Nothing);
    }
}

/// An adapter has come to life: the deliveries that waited for it go on.
///
/// # Errors
/// The central database failed.
pub async fn account_is_live(context: &Arc<Context>, link: &Arc<Link>, account: String) -> Result<()> {
    if link.manifest.listens(Hook::Tick) {
        tokio::spawn(tick::serve(context.clone(), link.clone()));
    }
    if link.manifest.listens(Hook::Decided) {
        tokio::spawn(decided::serve(context.clone(), link.clone()));
    }
    let channels = match link.manifest.kind {
        PluginKind::Module => {
            let at = [(Hook::Forward, AGENT), (Hook::Action, ACTION)];
            let at = at.into_iter().filter(|(hook, _)| link.manifest.listens(*hook));
            at.map(|(_, channel)| channel.to_owned()).collect()
        }
        PluginKind::Channel | PluginKind::Unknown => vec![link.manifest.channel_type.clone()],
    };
    for channel in channels {
        unpark(context, channel, account.clone(), in_doubt_policy(&link.manifest)).await?;
    }
    Ok(())
}

/// Every plugin that was there at the start has been looked at: a request of an agent that no module takes waits no
/// longer.
///
/// # Errors
/// The central database failed.
pub async fn plugins_are_complete(context: &Arc<Context>) -> Result<()> {
    unpark(context, ACTION.to_owned(), ACCOUNT_MAIN.to_owned(), InDoubtPolicy::SendAgain).await
}

async fn unpark(context: &Arc<Context>, channel: String, account: String, can: InDoubtPolicy) -> Result<()> {
    let addresses =
        context.central.write(move |db| ledger::unpark(db, &channel, &account, can, clock::now())).await?;
    for address in addresses {
        wake(context, address, Claim::Nothing);
    }
    Ok(())
}

/// What a channel can do about a delivery that may or may not have arrived. Pure.
fn in_doubt_policy(manifest: &Manifest) -> InDoubtPolicy {
    // A message between agents is written in the transaction that settles it: before that, nothing was written.
    if manifest.can(Capability::Idempotent) || manifest.kind == PluginKind::Module {
        InDoubtPolicy::SendAgain
    } else if manifest.can(Capability::Reconcilable) {
        InDoubtPolicy::LookUp
    } else {
        InDoubtPolicy::MayDouble
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_doubt_is_sent_again_as_the_manifest_allows() {
        for (kind, capabilities, want) in [
            ("channel", "", InDoubtPolicy::MayDouble),
            ("channel", r#""attachments""#, InDoubtPolicy::MayDouble),
            ("channel", r#""reconcilable""#, InDoubtPolicy::LookUp),
            ("channel", r#""idempotent""#, InDoubtPolicy::SendAgain),
            ("channel", r#""reconcilable","idempotent""#, InDoubtPolicy::SendAgain),
            ("module", "", InDoubtPolicy::SendAgain),
        ] {
            let manifest = format!(
                r#"{{"name":"x","version":"1","kind":"{kind}","abi":1,"api":"0.1","capabilities":[{capabilities}]}}"#
            );
            let manifest = serde_json::from_str(&manifest).expect("a manifest");
            assert_eq!(in_doubt_policy(&manifest), want, "{kind} {capabilities}");
        }
    }

    /// A session in the chat `c` of the channel `x`.
    fn in_a_chat() -> WriteTxn<'static> {
        let db = crate::db::in_memory();
        db.execute_batch(
            "INSERT INTO agent_groups (id, name, folder, created_at) VALUES ('ag', 'a', 'a', 0); \
             INSERT INTO messaging_groups (id, channel_type, account, platform_id, created_at) \
             VALUES ('mg', 'x', 'main', 'c', 0); \
             INSERT INTO sessions (id, agent_group_id, messaging_group_id, created_at, last_active) \
             VALUES ('s', 'ag', 'mg', 0, 0)",
        )
        .expect("it fills");
        db
    }

    fn reply(id: &str, seq: i64, chat: &str) -> MessageOut {
        MessageOut {
            id: id.into(),
            seq,
            in_reply_to: None,
            timestamp: String::new(),
            deliver_after: None,
            kind: "chat".into(),
            platform_id: Some(chat.into()),
            channel_type: Some("x".into()),
            thread_id: None,
            content: format!(r#"{{"text":"{id}"}}"#),
            account: None,
        }
    }

    fn file_of(message_id: &str) -> MessageFile {
        let file =
            StoredFile { position: 0, name: "a.pdf".into(), size_bytes: 3, blob: Ok(message_id.into()) };
        MessageFile { message_id: message_id.into(), file }
    }

    /// A keeper may hand the same batch over again: nothing of it goes out or is told twice.
    #[test]
    fn a_batch_is_recorded_once_each_reply_with_its_own_files() {
        let db = in_a_chat();
        let messages = [reply("a", 1, "c"), reply("b", 3, "elsewhere"), reply("d", 5, "c")];
        let record = || {
            let files = ["a", "b"].map(file_of).into();
            let (addresses, _) = record(&db, &"s".into(), &messages, &[], (files, 100)).expect("on record");
            addresses.into_iter().map(|address| address.platform_id.to_string()).collect::<Vec<_>>()
        };
        let rows = |sql: &str| -> Vec<String> {
            let mut statement = db.prepare(sql).expect("it is SQL");
            let rows = statement.query_map([], |r| r.get(0)).expect("it runs");
            rows.collect::<rusqlite::Result<_>>().expect("rows")
        };
        for want in [&["c", "c"][..], &[]] {
            assert_eq!(record(), want);
            assert_eq!(
                rows("SELECT message_out_id || ' ' || state FROM deliveries ORDER BY seq"),
                ["a pending", "b failed", "d pending"]
            );
            assert_eq!(rows("SELECT message_id || ' ' || blob FROM files"), ["a a"], "b goes nowhere");
            assert_eq!(
                rows("SELECT CAST(COUNT(*) AS TEXT) FROM messages_in"),
                ["1"],
                "its agent is told once"
            );
        }
        assert_eq!(ledger::taken_up_to(&db, &"s".into()).expect("it answers"), Some(5));
    }
}
