//! What a plugin may say to the runtime: decode, stamp, bound, hand on.

use super::accounts::{self, AccountState};
use super::heads;
use super::link::Link;
use super::siblings::{self, NotTaken};
use crate::error::Error;
use crate::lock::locked;
use crate::plugins::Plugins;
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use vestibule_plugin_api::wire::{self, Empty, Event};
use vestibule_plugin_api::{Accepted, Ignored, PluginError, PluginKind};
use vestibule_seam::{Done, Frame, RuntimeCalls, status};
use vestibule_session::words;

/// How many events of one plugin are on their way at once; the next ones wait.
const IN_FLIGHT_MAX: usize = 256;
/// How much of what a plugin says may lie here unanswered, in KiB; a call beyond that is told at once to come later.
/// Never less than the process of a plugin may have on its way, see `process/listen.rs`.
const UNANSWERED_KIB: u32 = 256 * 1024;
/// What the smallest call counts, in KiB: so at most 4,096 of them lie here.
const CALL_KIB_MIN: u32 = 64;
/// When a call that was one too many may come again.
const AGAIN: Duration = Duration::from_secs(1);
/// How often the operator is told that there are such calls.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// The runtime, as one plugin sees it.
pub struct Port {
    plugins: Weak<Plugins>,
    link: Weak<Link>,
    threads: tokio::runtime::Handle,
    unanswered: Arc<Semaphore>,
    in_flight: Arc<Semaphore>,
    told: Mutex<Option<Instant>>,
    name: String,
}

impl Port {
    /// The port of a plugin.
    pub fn new(plugins: &Arc<Plugins>, link: &Arc<Link>) -> Port {
        Port {
            plugins: Arc::downgrade(plugins),
            link: Arc::downgrade(link),
            threads: tokio::runtime::Handle::current(),
            unanswered: Arc::new(Semaphore::new(UNANSWERED_KIB as usize)),
            in_flight: Arc::new(Semaphore::new(IN_FLIGHT_MAX)),
            told: Mutex::default(),
            name: link.manifest.name.clone(),
        }
    }
}

impl Port {
    fn tell_of_flood(&self) {
        let mut told = locked(&self.told);
        if told.is_none_or(|told| told.elapsed() >= TOLD_EVERY) {
            *told = Some(Instant::now());
            let plugin = &self.name;
            tracing::warn!(
                plugin,
                "it says more than can be committed; what is too much it is to say again later"
            );
        }
    }
}

impl RuntimeCalls for Port {
    fn call(&self, frame: Frame, done: Done) -> u64 {
        let (Some(plugins), Some(link)) = (self.plugins.upgrade(), self.link.upgrade()) else { return 0 };
        // Inside the runtime nothing else holds a plugin back: this function must not block.
        let Ok(room) = self.unanswered.clone().try_acquire_many_owned(weight(&frame)) else {
            self.tell_of_flood();
            let why = "too much of what the plugin said is not on disk yet; wait for the answers first";
            done.complete(status::ERROR, wire::frame(&PluginError::retry_after(why, AGAIN)));
            return 0;
        };
        let in_flight = self.in_flight.clone();
        self.threads.spawn(async move {
            let Ok(permit) = in_flight.acquire().await else { return };
            let (code, frame) = answer(&plugins, &link, frame).await;
            // There is space again before the plugin hears the answer and goes on.
            drop((permit, room));
            done.complete(code, frame);
        });
        0
    }

    /// What is committed stays committed: an answer that no caller waits for is dropped.
    fn cancel(&self, _: u64) {}

    /// The log itself bounds the line, and how many of them a plugin may write.
    fn log(&self, level: u32, line: &str) {
        let plugin = &self.name;
        match level {
            1 => tracing::error!(plugin, "{line}"),
            2 => tracing::warn!(plugin, "{line}"),
            3 => tracing::info!(plugin, "{line}"),
            4 => tracing::debug!(plugin, "{line}"),
            _ => tracing::trace!(plugin, "{line}"),
        }
    }
}

/// What a call counts, in KiB. The largest one takes all of [`UNANSWERED_KIB`].
fn weight(frame: &Frame) -> u32 {
    let bytes = frame.head.len() + frame.blobs.iter().map(|blob| blob.len()).sum::<usize>();
    u32::try_from(bytes / 1024).unwrap_or(u32::MAX).clamp(CALL_KIB_MIN, UNANSWERED_KIB)
}

async fn answer(plugins: &Arc<Plugins>, link: &Arc<Link>, frame: Frame) -> (u32, Frame) {
    let event = match heads::read(frame, wire::read_with_blobs::<Event>).await {
        Some(Ok(event)) => event,
        Some(Err(why)) => return (status::BAD_FRAME, wire::frame(&why)),
        None => return (status::ERROR, wire::frame(&PluginError::retry("the runtime stops"))),
    };
    if let Some(why) = fault(link, &event) {
        tracing::warn!(plugin = link.manifest.name, %why, "an event of a plugin was refused");
        return (status::BAD_FRAME, wire::frame(&why));
    }
    let event = match event {
        Event::HandedOver { listener, event } => {
            let handed_over = siblings::handed_over(&link.manifest, &link.sections(), &listener, *event);
            match handed_over {
                Ok(event) => event,
                Err(NotTaken::LeftOut(ignored)) => return left_out(plugins, link, listener, ignored).await,
                Err(NotTaken::Refused(why)) => return (status::BAD_FRAME, wire::frame(&why)),
            }
        }
        event => event,
    };
    // What waits for files must leave places for what a channel asks while it loads them.
    let _place = match event.names_files().then(|| link.loading.clone().try_acquire_owned()) {
        None => None,
        Some(Ok(place)) => Some(place),
        Some(Err(_)) => {
            let why = "files of too many messages are being loaded; hand this one over again later";
            return (status::ERROR, wire::frame(&PluginError::retry_after(why, AGAIN)));
        }
    };
    match event {
        Event::Health { account, health } => {
            if let Some(reason) = link.heard(&account, health) {
                accounts::gave_up(plugins, link, account, AccountState::Broken(reason));
            }
            (status::OK, wire::frame(&Empty {}))
        }
        Event::Lost { account, reason } => {
            accounts::gave_up(plugins, link, account, AccountState::Waiting(words::reason(reason)));
            (status::OK, wire::frame(&Empty {}))
        }
        Event::OwnHandles { account, handles } => {
            link.note_own_handles(&account, handles);
            (status::OK, wire::frame(&Empty {}))
        }
        Event::Unknown => (status::UNSUPPORTED, wire::frame(&"this runtime does not know the verb")),
        event => answered(async { plugins.runtime()?.hear(link.clone(), event).await }.await),
    }
}

/// Puts on record, at the listener, that an event belongs to none of its accounts.
async fn left_out(
    plugins: &Arc<Plugins>,
    link: &Arc<Link>,
    listener: String,
    ignored: Ignored,
) -> (u32, Frame) {
    let channel = &link.manifest.channel_type;
    tracing::warn!(
        channel,
        listener,
        "an event was handed over for an account that does not name this listener"
    );
    let dropped = Accepted::Dropped { reason: ignored.reason.clone() };
    let event = Event::Ignored { account: listener, ignored, state: Vec::new() };
    let heard = async { plugins.runtime()?.hear(link.clone(), event).await };
    answered(heard.await.map(|_| wire::frame(&dropped)))
}

/// Why an event is not this plugin's to say, if it is not.
fn fault(link: &Link, event: &Event) -> Option<String> {
    if link.manifest.kind != PluginKind::Channel && !event.is_for_modules() {
        return Some("a module hands over no messages; it answers with effects".to_owned());
    }
    let unknown = event.account().filter(|account| !link.accounts().contains_key(*account));
    let unknown =
        unknown.map(|name| format!("the account `{}` is not one of this plugin's", name.escape_debug()));
    unknown.or_else(|| event.fault())
}

fn answered(outcome: Result<Frame, Error>) -> (u32, Frame) {
    match outcome {
        Ok(answer) => (status::OK, answer),
        Err(Error::Refused(why)) => (status::ERROR, wire::frame(&PluginError::refused(why))),
        Err(Error::NotYet(why)) => (status::ERROR, wire::frame(&PluginError::retry(why))),
        Err(error) => {
            // The database's own code logs, once, what its trouble is.
            tracing::debug!(%error, "an event could not be committed; its platform is not acknowledged");
            (status::ERROR, wire::frame(&PluginError::retry("it could not be committed")))
        }
    }
}
