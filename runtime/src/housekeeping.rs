//! The loop that forgets what was kept long enough, a little at a time.

use crate::clock::{self, Timestamp, after};
use crate::context::Context;
use crate::db::WriteTxn;
use crate::error::Result;
use crate::ledger::{self, After, Pruned};
use crate::plugins::{AccountState, Link};
use crate::{delivery, drops, questions};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

const EVERY: Duration = Duration::from_secs(3600);
/// The pause between two slices, in which other tasks write.
const PAUSE: Duration = Duration::from_millis(20);
/// How long accounts that are being started are waited for.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// So many slices of replies are given up at a time.
const SLICES_GIVEN_UP: usize = 1000;
/// A reply waits for its account for so many days.
const PARKED_DAYS: i64 = 30;
const DAY_MS: i64 = 24 * 3600 * 1000;

/// Forgets at once, and then every hour, until the runtime stops.
pub async fn serve(context: Arc<Context>) {
    accounts_have_their_time(&context).await;
    loop {
        match pass(&context, clock::now()).await {
            Ok(0) => {}
            Ok(rows) => tracing::info!(rows, "records kept long enough are forgotten"),
            Err(error) => {
                tracing::warn!(%error, "records kept long enough cannot be forgotten; trying again in an hour")
            }
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = context.stopping() => return,
        }
    }
}

/// Waits until no account is being started any more: what waited for it while the runtime was off goes out, however old.
async fn accounts_have_their_time(context: &Context) {
    let registry = &context.plugins.registry;
    let is_starting = || {
        let connects =
            |link: Arc<Link>| link.accounts().values().any(|state| *state == AccountState::Connecting);
        !registry.complete.load(Ordering::Acquire) || registry.all().into_iter().any(connects)
    };
    let until = Instant::now() + START_PATIENCE;
    while is_starting() && Instant::now() < until && !context.is_stopping() {
        tokio::time::sleep(PAUSE).await;
    }
}

/// Forgets all that was kept long enough at this time, and gives up what waited long enough. Returns how many rows.
async fn pass(context: &Arc<Context>, now: Timestamp) -> Result<usize> {
    let mut rows = 0;
    rows += slices(context, move |db| ledger::forget_events(db, now)).await?;
    slices(context, ledger::forget_pruned).await?;
    context.central.write(move |db| questions::forget(db, now)).await?;
    rows += give_up_parked(context, now).await?;
    let before = after(now, -DAY_MS * context.config.retention_days.cast_signed());
    rows += slices(context, move |db| drops::forget(db, before, ledger::SLICE)).await?;
    for session_id in context.central.read(move |db| ledger::sessions_to_prune(db, before)).await? {
        loop {
            let id = session_id.clone();
            let pruned = slice(context, move |db| ledger::prune_deliveries(db, &id, before)).await?;
            rows += pruned.rows;
            if pruned.rows < ledger::SLICE as usize {
                break;
            }
        }
    }
    let mut begin: Option<After> = None;
    loop {
        let pruned = slice(context, move |db| ledger::prune_messages(db, before, begin.as_ref())).await?;
        rows += pruned.rows;
        begin = pruned.next;
        if begin.is_none() || context.is_stopping() {
            return Ok(rows);
        }
    }
}

async fn give_up_parked(context: &Arc<Context>, now: Timestamp) -> Result<usize> {
    let (before, mut rows) = (after(now, -DAY_MS * PARKED_DAYS), 0);
    for _ in 0..SLICES_GIVEN_UP {
        let plugins = context.plugins.clone();
        let work =
            move |db: &WriteTxn| delivery::give_up_parked(db, &plugins.registry, before, ledger::SLICE, now);
        let given_up = context.central.write(work).await?;
        context.attachments.discard(given_up.blobs);
        given_up.sessions.into_iter().for_each(|session_id| context.wake_later(session_id));
        rows += given_up.rows;
        // What waited behind these is parked now, and may have waited for as long.
        if given_up.rows == 0 || context.is_stopping() {
            break;
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(rows)
}

/// Forgets slice after slice until one was not full.
async fn slices(
    context: &Arc<Context>,
    forget: impl Fn(&WriteTxn<'_>) -> Result<usize> + Clone + Send + 'static,
) -> Result<usize> {
    let mut rows = 0;
    loop {
        let forgotten = context.central.write(forget.clone()).await?;
        rows += forgotten;
        if forgotten < ledger::SLICE as usize || context.is_stopping() {
            return Ok(rows);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Prunes one slice; afterwards its blobs go, and the files of its sessions follow.
async fn slice(
    context: &Arc<Context>,
    prune: impl FnOnce(&WriteTxn<'_>) -> Result<Pruned> + Send + 'static,
) -> Result<Pruned> {
    let mut pruned = context.central.write(prune).await?;
    context.attachments.discard(pruned.blobs.drain(..));
    pruned.sessions.drain(..).for_each(|session_id| context.wake_later(session_id));
    tokio::time::sleep(PAUSE).await;
    Ok(pruned)
}
