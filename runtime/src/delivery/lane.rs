//! The lane of one address: it claims, sends and records one reply after the other. Sessions take turns.

use super::note::{self, Undelivered};
use super::performed::Performed;
use super::retry::{self, Next, after_failure};
use super::send::{Sent, send};
use super::{action, decide, forward, in_doubt_policy, pace};
use crate::clock::{self, Timestamp};
use crate::context::Context;
use crate::db::{ReadTxn, WriteTxn};
use crate::error::Result;
use crate::id::SessionId;
use crate::lanes::Waker;
use crate::ledger::{self, Claim, Delivery, Direction, InDoubtPolicy};
use crate::plugins::{CallError, Registry};
use crate::sessions;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use vestibule_plugin_api::Address;

/// When the central database fails, it is asked again after this.
pub(super) const DATABASE_RETRY: Duration = Duration::from_secs(1);
/// The longest sleep of a lane: a clock that was set back must not stop it for long.
const SLEEP_MAX: Duration = Duration::from_secs(60);

/// Opens the lane of an address with what was claimed for it, or wakes it.
pub fn wake(context: &Arc<Context>, address: Address, claim: Claim) {
    if context.is_stopping() && !matches!(claim, Claim::Deliver(_)) {
        return; // it is on record, and goes out after the next start
    }
    let claimed = match &claim {
        Claim::Deliver(delivery) => Some(delivery.clone()),
        Claim::Nothing | Claim::Later(_) => None,
    };
    let lane_context = context.clone();
    let opened =
        context.deliveries.wake(address.clone(), |waker| serve(lane_context, address.clone(), claim, waker));
    if !opened && let Some(delivery) = claimed {
        // Another thread opened the lane between the commit and here: the claim goes back, and that lane takes it.
        let context = context.clone();
        tokio::spawn(async move {
            let unclaim = move |db: &WriteTxn| {
                ledger::unclaim(db, &delivery)?;
                moved_to(db, &delivery)
            };
            match context.central.write(unclaim).await {
                Ok(moved) => wake(&context, moved.unwrap_or(address), Claim::Nothing),
                Err(error) => tracing::error!(%error, "a delivery waits for the next start"),
            }
        });
    }
}

/// Serves the lane of one address until nothing waits for it.
pub async fn serve(context: Arc<Context>, address: Address, claimed: Claim, waker: Waker<Address>) {
    // The session of the last reply: the next turn is another session's, if one waits.
    let mut last = None;
    if let Claim::Deliver(delivery) = claimed {
        last = Some(delivery.session_id.clone());
        deliver(&context, *delivery).await;
    }
    while !context.is_stopping() {
        waker.heard();
        let (at, after) = (address.clone(), last.clone());
        let next = move |db: &WriteTxn| ledger::claim_next(db, &at, after.as_ref(), clock::now());
        match context.central.write(next).await {
            Ok(Claim::Deliver(delivery)) => {
                last = Some(delivery.session_id.clone());
                deliver(&context, *delivery).await;
            }
            Ok(Claim::Later(at)) => {
                tokio::select! {
                    () = tokio::time::sleep(wait_until(at, clock::now())) => {}
                    () = waker.woken() => {}
                    () = context.stopping() => return,
                }
            }
            Ok(Claim::Nothing) => {
                if waker.close() {
                    return;
                }
            }
            Err(error) => {
                tracing::debug!(%error, "deliveries wait for the central database");
                tokio::select! {
                    () = tokio::time::sleep(DATABASE_RETRY) => {}
                    () = context.stopping() => return,
                }
            }
        }
    }
}

/// How long a lane sleeps when its next reply goes out at this time. Pure.
fn wait_until(at: Timestamp, now: Timestamp) -> Duration {
    Duration::from_millis(u64::try_from(at.0.saturating_sub(now.0)).unwrap_or(0)).min(SLEEP_MAX)
}

async fn deliver(context: &Arc<Context>, delivery: Delivery) {
    if !pace::is_its_turn(context, &delivery).await {
        return;
    }
    let outcome = send(context, &delivery).await;
    let link = context.plugins.registry.of(&delivery.address);
    let can = link.map_or(InDoubtPolicy::MayDouble, |link| in_doubt_policy(&link.manifest));
    let (now, limit) = (clock::now(), context.attachments.limits().session_bytes);
    match &outcome {
        Ok(_) => tracing::debug!(
            session = delivery.session_id.as_str(),
            reply = delivery.message_out_id,
            "delivered"
        ),
        Err(error) => {
            let channel = &delivery.address.channel_type;
            tracing::warn!(session = delivery.session_id.as_str(), %channel, %error, "not delivered");
        }
    }
    let (session_id, delivery, outcome) =
        (delivery.session_id.clone(), Arc::new(delivery), Arc::new(outcome));
    loop {
        let (lanes, delivery, outcome) = (context.clone(), delivery.clone(), outcome.clone());
        let record = move |db: &WriteTxn| {
            let recorded =
                record_outcome(db, &lanes.plugins.registry, &delivery, &outcome, (can, limit), now);
            let (blobs, mut performed) = recorded?;
            // What waits behind it waits there now, and this lane looks at the old address alone.
            performed.addresses.extend(moved_to(db, &delivery)?);
            Ok((blobs, performed))
        };
        match context.central.write(record).await {
            Ok((blobs, performed)) => {
                context.attachments.discard(blobs);
                performed.follow(context);
                return context.wake_later(session_id);
            }
            // The record says `sending`, and must not stay so: the lane waits until the outcome is recorded.
            Err(error) => tracing::debug!(%error, "the outcome of a delivery could not be recorded yet"),
        }
        tokio::select! {
            () = tokio::time::sleep(DATABASE_RETRY) => {}
            () = context.stopping() => return,
        }
    }
}

/// The address of a delivery, if its chat has had another id since it was claimed.
pub(super) fn moved_to(db: &ReadTxn, delivery: &Delivery) -> Result<Option<Address>> {
    Ok(ledger::address_of(db, delivery)?.filter(|address| *address != delivery.address))
}

/// Records the outcome of a delivery; returns the blobs that no message names any more, and what follows.
fn record_outcome(
    db: &WriteTxn,
    registry: &Registry,
    delivery: &Delivery,
    outcome: &std::result::Result<Sent, CallError>,
    (can, session_bytes_max): (InDoubtPolicy, u64),
    now: Timestamp,
) -> Result<(Vec<String>, Performed)> {
    let error = match outcome {
        Ok(Sent::Out(receipt)) => {
            // It has gone out: an id that is none is no reason to send it again.
            // What is done to a message makes none.
            let is_message = decide::operation_of(&delivery.content).is_none();
            let id = receipt.id().filter(|_| is_message);
            ledger::settle(db, delivery, Ok(id), now)?;
            if id.is_some() {
                let (session_id, id) = (&delivery.session_id, &delivery.message_out_id);
                ledger::note_further(db, session_id, id, receipt.further_ids())?;
            }
            return Ok((forget_files(db, delivery)?, Performed::default()));
        }
        Ok(Sent::Inside(plan)) => {
            let sessions = forward::perform(db, delivery, plan, session_bytes_max, now)?;
            return Ok((forget_files(db, delivery)?, Performed { sessions, ..Performed::default() }));
        }
        Ok(Sent::Done(plan)) => {
            let performed = action::perform(db, delivery, plan, session_bytes_max, now)?;
            return Ok((forget_files(db, delivery)?, performed));
        }
        Err(error) => error,
    };
    let why = error.to_string();
    let in_doubt = retry::in_doubt(error).then_some(can);
    // Asked in this transaction: an adapter that comes to life later looks for parked deliveries in one of its own.
    let is_there = registry.is_there(&delivery.address);
    match after_failure(error, is_there, delivery.attempts, delivery.due_at, now) {
        Next::At(at) => ledger::try_later(db, delivery, Some(at), &why, in_doubt)?,
        Next::Park => ledger::try_later(db, delivery, None, &why, in_doubt)?,
        Next::GiveUp => {
            give_up(db, delivery, &why, now)?;
            return Ok((forget_files(db, delivery)?, Performed::default()));
        }
    }
    Ok((Vec::new(), Performed::default()))
}

/// Why a delivery was given up, and how much of it its chat shows all the same: its agent need not repeat that. Pure.
fn with_parts(why: &str, parts: u32) -> String {
    match parts {
        0 => why.to_owned(),
        1 => format!("{why} (its first part was sent before)"),
        parts => format!("{why} (its first {parts} parts were sent before)"),
    }
}

/// Records that a delivery is never tried again, and tells its agent.
pub fn give_up(db: &WriteTxn, delivery: &Delivery, why: &str, now: Timestamp) -> Result<()> {
    let sent = ledger::sent_so_far(db, &delivery.session_id, &delivery.message_out_id)?;
    ledger::settle(db, delivery, Err(why), now)?;
    tell_given_up(db, delivery, &with_parts(why, sent.map_or(0, |(sent, _)| sent.parts)), now)
}

/// Tells the agent of a delivery that it was given up.
pub fn tell_given_up(db: &WriteTxn, delivery: &Delivery, why: &str, now: Timestamp) -> Result<()> {
    match sessions::by_id(db, &delivery.session_id)? {
        Some(session) => {
            let told = Undelivered::given_up(delivery, why);
            note::tell_undelivered(db, &session, &[told], now)
        }
        None => Ok(()),
    }
}

/// Gives up deliveries that have waited for their adapter since before a time, at most `limit`; returns what was given
/// up.
pub fn give_up_parked(
    db: &WriteTxn,
    registry: &Registry,
    before: Timestamp,
    limit: u32,
    now: Timestamp,
) -> Result<GivenUp> {
    let mut given_up = GivenUp::default();
    for delivery in ledger::parked_before(db, before, limit)? {
        let at = &delivery.address;
        if registry.live(at.channel_type.as_str(), at.account.as_str()).is_some() {
            continue; // it goes on at once
        }
        let why = format!("the account {} of {} was away for too long", at.account, at.channel_type);
        give_up(db, &delivery, &why, now)?;
        ledger::park_next(
            db,
            &delivery,
            &format!("the account {} of {} is away", at.account, at.channel_type),
        )?;
        given_up.blobs.extend(forget_files(db, &delivery)?);
        given_up.rows += 1;
        given_up.sessions.insert(delivery.session_id);
    }
    Ok(given_up)
}

/// The outcome of a round of giving up.
#[derive(Debug, Default)]
pub struct GivenUp {
    /// How many deliveries were given up.
    pub rows: usize,
    /// The blobs that no message names any more.
    pub blobs: Vec<String>,
    /// The sessions whose agents were told.
    pub sessions: BTreeSet<SessionId>,
}

fn forget_files(db: &WriteTxn, delivery: &Delivery) -> Result<Vec<String>> {
    ledger::forget_files(db, &delivery.session_id, Direction::Out, &delivery.message_out_id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{claim_next, record_reply};
    use crate::plugins::{AccountState, Link};
    use vestibule_plugin_api::{ACTION, PluginError};
    use vestibule_session::{MessageOut, words};

    fn address(channel: &str) -> Address {
        Address {
            channel_type: channel.into(),
            account: "main".into(),
            platform_id: "c".into(),
            thread_id: None,
        }
    }

    /// A ledger in which one reply for this channel is being sent.
    fn sending(channel: &str) -> (WriteTxn<'static>, Delivery) {
        let db = crate::db::in_memory();
        db.execute_batch(
            "INSERT INTO agent_groups (id, name, folder, created_at) VALUES ('ag', 'a', 'a', 0); \
             INSERT INTO sessions (id, agent_group_id, created_at, last_active) VALUES ('s', 'ag', 0, 0)",
        )
        .expect("it fills");
        replied(&db, channel, "o", 1);
        match claim_next(&db, &address(channel), None, Timestamp(2)).expect("it answers") {
            Claim::Deliver(delivery) => (db, *delivery),
            other => panic!("{other:?}"),
        }
    }

    fn replied(db: &WriteTxn, channel: &str, id: &str, seq: i64) {
        let reply = MessageOut {
            id: id.into(),
            seq,
            in_reply_to: None,
            timestamp: String::new(),
            deliver_after: None,
            kind: "chat".into(),
            platform_id: None,
            channel_type: None,
            thread_id: None,
            content: "{}".into(),
            account: None,
        };
        record_reply(db, &"s".into(), &reply, Ok(&address(channel)), Timestamp(1)).expect("it is new");
    }

    fn story(db: &WriteTxn) -> (String, Option<String>) {
        db.query_row("SELECT state, last_error FROM deliveries", [], |r| Ok((r.get(0)?, r.get(1)?)))
            .expect("a row")
    }

    /// Its adapter may come to life, or all modules become known, between an attempt and its record. The search for
    /// parked deliveries is over by then.
    #[test]
    fn what_could_not_be_handed_over_is_parked_unless_it_can_be_now() {
        let registry = |state: Option<AccountState>, is_complete: bool| {
            let registry = Registry::default();
            if let Some(state) = state {
                registry.add(Link::idle("x", state)).expect("it has a place");
            }
            registry.complete.store(is_complete, std::sync::atomic::Ordering::Release);
            registry
        };
        for (channel, state, is_complete, want) in [
            ("x", None, false, "parked"),
            ("x", None, true, "parked"),
            ("x", Some(AccountState::Connecting), true, "parked"),
            ("x", Some(AccountState::Stopping), true, "parked"),
            ("x", Some(AccountState::Live), false, "pending"),
            ("y", Some(AccountState::Live), true, "parked"),
            (ACTION, None, false, "parked"),
            (ACTION, None, true, "pending"),
        ] {
            let (db, delivery) = sending(channel);
            let registry = registry(state.clone(), is_complete);
            let (can, outcome) = ((InDoubtPolicy::MayDouble, 0), Err(CallError::NotThere));
            record_outcome(&db, &registry, &delivery, &outcome, can, Timestamp(3)).expect("on record");
            assert_eq!(story(&db).0, want, "{channel} {state:?} {is_complete}");
            let next = claim_next(&db, &address(channel), None, Timestamp(3)).expect("it answers");
            assert_eq!(matches!(next, Claim::Deliver(_)), want == "pending", "it goes out at once");
        }
    }

    /// A reply that waits for its account's turn was not tried: its channel has not seen it.
    #[test]
    fn what_is_put_off_waits_as_if_it_had_not_been_claimed() {
        let (db, delivery) = sending("x");
        ledger::put_off(&db, &delivery, Timestamp(9)).expect("it goes back");
        assert_eq!(story(&db), ("pending".to_owned(), None));
        let attempts: i64 = db.query_row("SELECT attempts FROM deliveries", [], |r| r.get(0)).expect("a row");
        assert_eq!(attempts, 0);
        for (now, comes) in [(8, false), (9, true)] {
            let next = claim_next(&db, &address("x"), None, Timestamp(now)).expect("it answers");
            assert_eq!(matches!(next, Claim::Deliver(_)), comes, "{next:?}");
        }
    }

    /// Its chat may have another id by the time its attempt ends: the lane of that one is woken.
    #[test]
    fn where_a_reply_waits_once_its_chat_has_moved() {
        let (db, delivery) = sending("x");
        assert_eq!(moved_to(&db, &delivery).expect("read"), None);
        let chat = crate::chat_key::ChatKey::new("x", "main", "c");
        ledger::move_deliveries(&db, &chat, "d").expect("it moves");
        let moved = moved_to(&db, &delivery).expect("read").expect("elsewhere");
        assert_eq!(moved, Address { platform_id: "d".into(), ..address("x") });
    }

    /// The time for which a reply is tried begins when it is due, however long before that it was taken.
    #[test]
    fn a_deferred_reply_is_tried_for_as_long_as_any() {
        let day = 24 * 3600 * 1000;
        for (due_at, want) in [(9 * day, "pending"), (8 * day - 1, "failed")] {
            let (db, delivery) = sending("x");
            let delivery = Delivery { due_at: Timestamp(due_at), ..delivery };
            let outcome = Err(CallError::Plugin(PluginError::retry("busy")));
            let now = Timestamp(9 * day);
            record_outcome(
                &db,
                &Registry::default(),
                &delivery,
                &outcome,
                (InDoubtPolicy::MayDouble, 0),
                now,
            )
            .expect("on record");
            assert_eq!(story(&db).0, want, "{due_at}");
        }
    }

    #[test]
    fn a_lane_sleeps_until_its_next_reply_is_due() {
        for (at, now, want) in [
            (5_000, 1_000, 4_000),
            (60_999, 1_000, 59_999),
            (9_000_000, 1_000, 60_000),
            (1_000, 1_000, 0),
            (1_000, 5_000, 0),
            (i64::MAX, -1, 60_000),
        ] {
            let wait = wait_until(Timestamp(at), Timestamp(now));
            assert_eq!(wait, Duration::from_millis(want), "{at} at {now}");
        }
    }

    /// A file of three bytes goes with a delivery.
    fn with_a_file(db: &WriteTxn, delivery: &Delivery) {
        let file = crate::attachments::StoredFile {
            position: 0,
            name: "a.pdf".into(),
            size_bytes: 3,
            blob: Ok("blob".into()),
        };
        let (session_id, id) = (&delivery.session_id, &delivery.message_out_id);
        ledger::record_files(db, session_id, Direction::Out, id, None, &[file]).expect("on record");
    }

    /// Its files are kept for as long as it may be sent again, and not a moment longer.
    #[test]
    fn what_is_settled_has_its_platforms_id_and_no_files_any_more() {
        let out = |id: Option<&str>| Ok(Sent::Out(vestibule_plugin_api::Receipt::of(id.map(str::to_owned))));
        let failed = |error| Err(CallError::Plugin(error));
        for (outcome, state, id, are_gone) in [
            (out(Some("p1")), "delivered", Some("p1"), true),
            (out(Some("")), "delivered", None, true),
            (out(Some(&"p".repeat(513))), "delivered", None, true),
            (out(Some("p\u{1b}")), "delivered", None, true),
            (out(None), "delivered", None, true),
            (failed(PluginError::refused("no")), "failed", None, true),
            (failed(PluginError::retry("busy")), "pending", None, false),
        ] {
            let (db, delivery) = sending("x");
            with_a_file(&db, &delivery);
            let limits = (InDoubtPolicy::MayDouble, 0);
            let (blobs, performed) =
                record_outcome(&db, &Registry::default(), &delivery, &outcome, limits, Timestamp(3))
                    .expect("on record");
            assert_eq!(
                (blobs.as_slice(), performed.sessions.len()),
                (&["blob".to_owned()][..usize::from(are_gone)], 0)
            );
            let sql = "SELECT state, platform_message_id, (SELECT COUNT(*) FROM files) FROM deliveries";
            let kept: (String, Option<String>, i64) =
                db.query_row(sql, [], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?))).expect("a row");
            assert_eq!(kept, (state.to_owned(), id.map(str::to_owned), i64::from(!are_gone)));
        }
    }

    #[test]
    fn an_agent_is_told_how_much_of_what_was_given_up_is_there() {
        for (parts, words) in [
            (0, "not delivered: no."),
            (1, "not delivered: no (its first part was sent before)."),
            (2, "not delivered: no (its first 2 parts were sent before)."),
        ] {
            let (db, delivery) = sending("x");
            let sent = vestibule_plugin_api::SentSoFar { parts, ..Default::default() };
            ledger::note_sent(&db, &delivery.session_id, &delivery.message_out_id, &sent, "of")
                .expect("on record");
            give_up(&db, &delivery, "no", Timestamp(3)).expect("on record");
            let note: String = db
                .query_row("SELECT content FROM messages_in ORDER BY seq DESC LIMIT 1", [], |r| r.get(0))
                .expect("its agent is told");
            assert!(note.contains(words), "{note}");
        }
    }

    #[test]
    fn what_was_parked_for_too_long_is_given_up_with_its_files() {
        let (db, delivery) = sending("x");
        with_a_file(&db, &delivery);
        let give_up = |before: i64, limit: u32| {
            let nobody = Registry::default();
            let given_up =
                give_up_parked(&db, &nobody, Timestamp(before), limit, Timestamp(9)).expect("on record");
            (given_up.rows, given_up.blobs, given_up.sessions.into_iter().collect::<Vec<_>>())
        };
        let nothing = (0, Vec::new(), Vec::new());
        assert_eq!(give_up(2, 5), nothing, "it is being sent");
        ledger::try_later(&db, &delivery, None, "away", None).expect("it is parked");
        assert_eq!(give_up(1, 5), nothing, "it was due at 1");
        assert_eq!(give_up(2, 0), nothing, "no more than that many");
        assert_eq!(give_up(2, 5), (1, vec!["blob".to_owned()], vec!["s".into()]));
        assert_eq!(give_up(2, 5), nothing);
        let why = Some("the account main of x was away for too long".to_owned());
        assert_eq!(story(&db), ("failed".to_owned(), why));
        let told: i64 = db.query_row("SELECT COUNT(*) FROM messages_in", [], |r| r.get(0)).expect("a row");
        assert_eq!(told, 1, "its agent hears of it");
    }

    #[test]
    fn what_waits_behind_one_that_is_given_up_waits_for_the_same_adapter() {
        let states = |db: &WriteTxn| -> Vec<String> {
            let mut all = db.prepare("SELECT state FROM deliveries ORDER BY seq").expect("it is read");
            all.query_map([], |r| r.get(0)).expect("rows").map(|state| state.expect("a state")).collect()
        };
        let nobody = Registry::default();
        let give_up = |db: &WriteTxn| {
            give_up_parked(db, &nobody, Timestamp(2), 5, Timestamp(9)).expect("on record").rows
        };
        for doubt in [false, true] {
            let (db, delivery) = sending("x");
            replied(&db, "x", "p", 3);
            replied(&db, "x", "q", 5);
            match doubt {
                true => db
                    .execute_batch("UPDATE deliveries SET state = 'unknown' WHERE seq = 1")
                    .expect("a crash"),
                false => ledger::try_later(&db, &delivery, None, "away", None).expect("it is parked"),
            }
            for want in [["failed", "parked", "pending"], ["failed", "failed", "parked"], ["failed"; 3]] {
                assert_eq!((give_up(&db), states(&db)), (1, want.map(str::to_owned).to_vec()), "{doubt}");
            }
            assert_eq!(give_up(&db), 0);
        }
        let registry = Registry::default();
        registry.add(Link::idle("x", AccountState::Live)).expect("it has a place");
        let (db, delivery) = sending("x");
        ledger::try_later(&db, &delivery, None, "away", None).expect("it is parked");
        let given_up = give_up_parked(&db, &registry, Timestamp(2), 5, Timestamp(9)).expect("it answers");
        assert_eq!(given_up.rows, 0, "its account has just come to life");
    }

    /// A platform's words come with every attempt.
    #[test]
    fn of_a_long_reason_the_beginning_is_kept() {
        for error in [PluginError::refused("x".repeat(1 << 20)), PluginError::retry("x".repeat(1 << 20))] {
            let (db, delivery) = sending("x");
            let outcome = Err(CallError::Plugin(error));
            let limits = (InDoubtPolicy::MayDouble, 0);
            record_outcome(&db, &Registry::default(), &delivery, &outcome, limits, Timestamp(3))
                .expect("on record");
            assert_eq!(story(&db).1.map(|why| why.chars().count()), Some(words::REASON_CHARS_MAX));
        }
    }
}
