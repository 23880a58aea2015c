//! What a plugin may say to the runtime: decode, stamp, bound, hand on.

use super::accounts;
use super::link::Link;
use super::registry::slot;
use crate::error::Error;
use crate::house::House;
use crate::inbound::{self, Arrival};
use crate::{messaging_groups, plugin_state};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use vestibule_plugin_api::wire::{self, Empty, Event, StateValue};
use vestibule_plugin_api::{
    Capability, InboundMessage, PlatformId, PluginError, PluginKind, StateWrite, ThreadId,
};
use vestibule_seam::{Done, Frame, RuntimeCalls, status};

/// How many events of one plugin are on their way at once; the next ones wait.
const IN_FLIGHT_MAX: usize = 256;
/// How much of what a plugin says may lie here unanswered, in KiB; what is more is answered at once: later.
/// Never less than a plugin's process is let through, see `process/listen.rs`.
const UNANSWERED_KIB: u32 = 256 * 1024;
/// What the smallest call counts, in KiB: so at most 4,096 of them lie here.
const CALL_KIB_MIN: u32 = 64;
/// When a call that was one too many may come again.
const AGAIN: Duration = Duration::from_secs(1);
/// How often the operator hears that there are such.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// The runtime, as one plugin sees it.
pub struct Port {
    house: Weak<House>,
    link: Weak<Link>,
    threads: tokio::runtime::Handle,
    unanswered: Arc<Semaphore>,
    in_flight: Arc<Semaphore>,
    told: Mutex<Option<Instant>>,
    name: String,
}

impl Port {
    /// The port of a plugin.
    pub fn new(house: &Arc<House>, link: &Arc<Link>) -> Port {
        Port {
            house: Arc::downgrade(house),
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
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
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
        let (Some(house), Some(link)) = (self.house.upgrade(), self.link.upgrade()) else { return 0 };
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
            let (code, frame) = answer(&house, &link, frame).await;
            // There is room for whoever hears the answer and goes on.
            drop((permit, room));
            done.complete(code, frame);
        });
        0
    }

    /// What is committed stays committed: an answer nobody waits for is dropped.
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

/// What a call counts, in KiB. The largest one takes all the room.
fn weight(frame: &Frame) -> u32 {
    let bytes = frame.head.len() + frame.blobs.iter().map(|blob| blob.len()).sum::<usize>();
    u32::try_from(bytes / 1024).unwrap_or(u32::MAX).clamp(CALL_KIB_MIN, UNANSWERED_KIB)
}

async fn answer(house: &Arc<House>, link: &Arc<Link>, mut frame: Frame) -> (u32, Frame) {
    let mut event = match wire::read_with_blobs::<Event>(&mut frame) {
        Ok(event) => event,
        Err(why) => return (status::BAD_FRAME, wire::frame(&why)),
    };
    let channel_type = &slot(&link.manifest);
    if link.manifest.kind != PluginKind::Channel && !event.is_for_modules() {
        return (status::BAD_FRAME, wire::frame(&"a module hands over no messages; it answers with effects"));
    }
    if let Err(error) = spell(house, link, &mut event).await {
        return told::<Empty>(Err(error));
    }
    match event {
        Event::Message { account, message, state } => {
            message_came(house, link, account, message, state).await
        }
        Event::Ignored { account, ignored, state } => {
            let bounded = |text: &str| !text.is_empty() && text.len() <= vestibule_plugin_api::ID_BYTES_MAX;
            let why = fault(link, &account).or_else(|| {
                (!bounded(&ignored.event_id) || !bounded(&ignored.reason))
                    .then(|| "event_id and reason must be 1 to 512 bytes".to_owned())
            });
            if let Some(why) = why.or_else(|| StateWrite::fault(&state)) {
                return (status::BAD_FRAME, wire::frame(&why));
            }
            let done = inbound::ignored(house, channel_type.clone(), account, ignored, state).await;
            told(done.map(|()| Empty {}))
        }
        Event::StateGet { account, key } => {
            if let Some(why) = fault(link, &account) {
                return (status::BAD_FRAME, wire::frame(&why));
            }
            let channel = channel_type.clone();
            let value = house.central.read(move |db| plugin_state::get(db, &channel, &account, &key)).await;
            told(value.map(|value| StateValue { value }))
        }
        Event::StateSet { account, state } => {
            if let Some(why) = fault(link, &account).or_else(|| StateWrite::fault(&state)) {
                return (status::BAD_FRAME, wire::frame(&why));
            }
            let channel = channel_type.clone();
            let write = move |db: &_| plugin_state::apply(db, &channel, &account, &state);
            told(house.central.write(write).await.map(|()| Empty {}))
        }
        Event::Health { account, health } => {
            if let Some(why) = fault(link, &account) {
                return (status::BAD_FRAME, wire::frame(&why));
            }
            if let Some(reason) = link.heard(&account, health) {
                accounts::gave_up(house, link, account, reason);
            }
            (status::OK, wire::frame(&Empty {}))
        }
        Event::Conversation { account, conversation } => {
            if let Some(why) = fault(link, &account).or_else(|| conversation.fault()) {
                return (status::BAD_FRAME, wire::frame(&why));
            }
            told(inbound::conversation(house, channel_type, &account, conversation).await)
        }
        Event::Answer { account, choice, state } => {
            let why = fault(link, &account).or_else(|| choice.fault()).or_else(|| StateWrite::fault(&state));
            if let Some(why) = why {
                return (status::BAD_FRAME, wire::frame(&why));
            }
            told(inbound::answer(house, channel_type.clone(), account, choice, state).await)
        }
        Event::Unknown => (status::UNSUPPORTED, wire::frame(&"this runtime does not know the verb")),
    }
}

async fn message_came(
    house: &Arc<House>,
    link: &Link,
    account: String,
    message: InboundMessage,
    state: Vec<StateWrite>,
) -> (u32, Frame) {
    let why = fault(link, &account).or_else(|| message.fault()).or_else(|| StateWrite::fault(&state));
    if let Some(why) = why {
        tracing::warn!(plugin = link.manifest.name, %why, "a message was refused");
        return (status::BAD_FRAME, wire::frame(&why));
    }
    let threads = link.manifest.can(Capability::Threads);
    let mut arrival = Arrival::new(&slot(&link.manifest), &account, threads, message);
    arrival.has_buttons = link.manifest.can(Capability::Questions);
    told(inbound::route(house, arrival, state).await)
}

/// Spells the chat of an event as it is known, if that differs in case only and its channel says that this means
/// nothing.
async fn spell(house: &House, link: &Link, event: &mut Event) -> Result<(), Error> {
    let (account, chat) = match event {
        _ if !link.manifest.can(Capability::IgnoresCase) => return Ok(()),
        Event::Message { account, message, .. } => (account, &message.platform_id),
        Event::Conversation { account, conversation } => (account, &conversation.platform_id),
        Event::Answer { account, choice, .. } => (account, &choice.platform_id),
        _ => return Ok(()),
    };
    let at = (link.manifest.channel_type.clone(), account.clone(), chat.to_string());
    let known = house.central.read(move |db| messaging_groups::spelling(db, &at.0, &at.1, &at.2)).await?;
    match (known.map(PlatformId), event) {
        (Some(known), Event::Message { message, .. }) => respell(message, known),
        (Some(known), Event::Conversation { conversation, .. }) => conversation.platform_id = known,
        (Some(known), Event::Answer { choice, .. }) => choice.platform_id = known,
        _ => {}
    }
    Ok(())
}

/// Gives a message's chat another spelling, and its thread, if that begins with the chat.
fn respell(message: &mut InboundMessage, known: PlatformId) {
    if let Some(thread) = &mut message.thread_id
        && let Some(rest) = thread.as_str().strip_prefix(message.platform_id.as_str())
    {
        *thread = ThreadId(format!("{known}{rest}"));
    }
    message.platform_id = known;
}

fn fault(link: &Link, account: &str) -> Option<String> {
    let known = link.accounts().contains_key(account);
    (!known).then(|| format!("the account `{}` is not one of this plugin's", account.escape_debug()))
}

fn told<T: serde::Serialize>(outcome: Result<T, Error>) -> (u32, Frame) {
    match outcome {
        Ok(answer) => (status::OK, wire::frame(&answer)),
        Err(Error::Refused(why)) => (status::ERROR, wire::frame(&PluginError::refused(why))),
        Err(error) => {
            // The database itself says, once, what its trouble is.
            tracing::debug!(%error, "an event could not be committed; its platform is not acknowledged");
            (status::ERROR, wire::frame(&PluginError::retry("it could not be committed")))
        }
    }
}
