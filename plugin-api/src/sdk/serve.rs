//! The plugin's own machinery: frames become calls of the trait, on the plugin's own runtime.

use super::channel::Channel;
use super::handle::Runtime;
use super::log;
use crate::wire::{self, Empty, Found, Request, WebhookHead};
use crate::{PluginError, Result, WebhookRequest};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::task::AbortHandle;
use vestibule_seam::{Done, Frame, RuntimeSide, status};

/// The state of one plugin: a static, made by `export_channel!`.
pub struct State<C: Channel> {
    house: Mutex<Option<Arc<House<C>>>>,
}

struct House<C: Channel> {
    side: RuntimeSide,
    threads: Mutex<Option<tokio::runtime::Runtime>>,
    accounts: Mutex<HashMap<String, Arc<C>>>,
    calls: Mutex<HashMap<u64, AbortHandle>>,
    next_call: AtomicU64,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<C: Channel> State<C> {
    /// Nothing runs yet.
    #[allow(clippy::new_without_default, reason = "it is a static's initialiser")]
    pub const fn new() -> Self {
        State { house: Mutex::new(None) }
    }

    fn house(&self) -> Option<Arc<House<C>>> {
        locked(&self.house).clone()
    }
}

/// See `PluginRoot::init`. A second `init` starts afresh.
pub fn serve_init<C: Channel>(state: &State<C>, name: &str, side: RuntimeSide, log_level: u32) -> u32 {
    log::install(side, log_level);
    let threads = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .max_blocking_threads(16)
        .thread_name(format!("vst-{name}"))
        .enable_all()
        .build();
    let threads = match threads {
        Ok(threads) => threads,
        Err(error) => {
            side.log(1, &format!("cannot start the plugin's thread: {error}"));
            return status::ERROR;
        }
    };
    *locked(&state.house) = Some(Arc::new(House {
        side,
        threads: Mutex::new(Some(threads)),
        accounts: Mutex::new(HashMap::new()),
        calls: Mutex::new(HashMap::new()),
        next_call: AtomicU64::new(1),
    }));
    status::OK
}

/// See `PluginRoot::call`.
pub fn serve_call<C: Channel>(state: &State<C>, frame: Frame, done: Done) -> u64 {
    let Some(house) = state.house() else {
        return 0; // dropping `done` answers: cancelled
    };
    let id = house.next_call.fetch_add(1, Ordering::Relaxed);
    let Some(handle) = locked(&house.threads).as_ref().map(|threads| threads.handle().clone()) else {
        return 0;
    };
    // Held while spawning, so that a call that ends at once still finds its entry to remove.
    let mut calls = locked(&house.calls);
    let work = handle.spawn(answer(house.clone(), frame));
    calls.insert(id, work.abort_handle());
    drop(calls);
    handle.spawn(async move {
        let answered = work.await;
        locked(&house.calls).remove(&id);
        match answered {
            Ok((code, frame)) => done.complete(code, frame),
            Err(error) if error.is_panic() => {
                let words = panic_words(error.into_panic());
                done.complete(status::PANIC, wire::frame(&words));
            }
            Err(_) => drop(done),
        }
    });
    id
}

/// See `PluginRoot::cancel`.
pub fn serve_cancel<C: Channel>(state: &State<C>, id: u64) {
    if let Some(house) = state.house()
        && let Some(call) = locked(&house.calls).remove(&id)
    {
        call.abort();
    }
}

/// See `PluginRoot::shutdown`.
pub fn serve_shutdown<C: Channel>(state: &State<C>, timeout_ms: u64) -> u32 {
    let Some(house) = locked(&state.house).take() else { return 0 };
    let left = locked(&house.calls).len();
    locked(&house.accounts).clear();
    if let Some(threads) = locked(&house.threads).take() {
        threads.shutdown_timeout(Duration::from_millis(timeout_ms));
    }
    u32::try_from(left).unwrap_or(u32::MAX)
}

fn panic_words(payload: Box<dyn std::any::Any + Send>) -> String {
    let words = match payload.downcast_ref::<&str>() {
        Some(words) => (*words).to_owned(),
        None => payload.downcast_ref::<String>().cloned().unwrap_or_else(|| "no message".to_owned()),
    };
    // A panic payload may itself panic when dropped.
    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || drop(payload)));
    words
}

async fn answer<C: Channel>(house: Arc<House<C>>, mut frame: Frame) -> (u32, Frame) {
    let request = match wire::read_with_blobs::<Request>(&mut frame) {
        Ok(request) => request,
        Err(why) => return (status::BAD_FRAME, wire::frame(&why)),
    };
    match perform(&house, request, frame).await {
        Ok(frame) => (status::OK, frame),
        Err(PluginError::Unsupported { reason }) => (status::UNSUPPORTED, wire::frame(&reason)),
        Err(error) => (status::ERROR, wire::frame(&error)),
    }
}

async fn perform<C: Channel>(house: &House<C>, request: Request, mut frame: Frame) -> Result<Frame> {
    match request {
        Request::Start { account, config } => {
            let config: C::Config = serde_json::from_value(config)
                .map_err(|error| PluginError::broken(format!("its config does not fit: {error}")))?;
            let runtime = Runtime { side: house.side, account: account.clone() };
            let started = C::start(config, runtime).await?;
            let before = locked(&house.accounts).insert(account, Arc::new(started));
            if let Some(before) = before {
                before.stop().await;
            }
            Ok(wire::frame(&Empty {}))
        }
        Request::Deliver { message } => {
            let channel = channel_of(house, message.address.account.as_str())?;
            Ok(wire::frame(&channel.deliver(message).await?))
        }
        Request::Find { message } => {
            let channel = channel_of(house, message.address.account.as_str())?;
            Ok(wire::frame(&Found { receipt: channel.find(message).await? }))
        }
        Request::Webhook { account, method, query, headers } => {
            let body = frame.blobs.pop().unwrap_or_default().into_vec();
            let request = WebhookRequest { method, query, headers, body };
            let response = channel_of(house, &account)?.webhook(request).await?;
            Ok(wire::frame(&WebhookHead::from(response)))
        }
        Request::Stop { account } => {
            let stopped = locked(&house.accounts).remove(&account);
            if let Some(channel) = stopped {
                channel.stop().await;
            }
            Ok(wire::frame(&Empty {}))
        }
        Request::Unknown => Err(PluginError::unsupported("this plugin is older than the runtime")),
    }
}

fn channel_of<C: Channel>(house: &House<C>, account: &str) -> Result<Arc<C>> {
    let found = locked(&house.accounts).get(account).cloned();
    found.ok_or_else(|| PluginError::retry(format!("the account `{account}` is not started")))
}
