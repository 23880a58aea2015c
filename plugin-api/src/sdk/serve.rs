//! The plugin's own machinery: frames become calls of the trait, on the plugin's own runtime.

use super::config::{self, KeyText};
use super::handle::Runtime;
use super::kind::Kind;
use super::{account, log, panics};
use crate::wire::{self, Description, Empty, Request};
use crate::{ACCOUNT_MAIN, PluginError, Result};
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;
use tokio::task::AbortHandle;
use vestibule_seam::{Done, Frame, RuntimeSide, status};

/// The state of one plugin: a static, made by the exporting macro.
pub struct State<K: Kind> {
    machinery: Mutex<Option<Arc<Machinery<K>>>>,
    keys: Option<&'static [KeyText]>,
    setup: Option<&'static str>,
}

struct Machinery<K: Kind> {
    side: RuntimeSide,
    keys: Option<&'static [KeyText]>,
    setup: Option<&'static str>,
    threads: Mutex<Option<tokio::runtime::Runtime>>,
    accounts: Mutex<HashMap<String, Arc<K>>>,
    /// The calls under way, by id; without a handle until they are spawned.
    calls: Mutex<HashMap<u64, Option<AbortHandle>>>,
    next_call: AtomicU64,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<K: Kind> State<K> {
    /// The state before the first `init`.
    #[allow(clippy::new_without_default, reason = "it is a static's initialiser")]
    pub const fn new() -> Self {
        State { machinery: Mutex::new(None), keys: None, setup: None }
    }

    /// The same, with what the plugin says of its config and of its platform, if it does.
    pub const fn with(keys: Option<&'static [KeyText]>, setup: Option<&'static str>) -> Self {
        State { machinery: Mutex::new(None), keys, setup }
    }

    fn machinery(&self) -> Option<Arc<Machinery<K>>> {
        locked(&self.machinery).clone()
    }
}

/// See `PluginRoot::init`. A second `init` starts afresh.
pub fn serve_init<K: Kind>(state: &State<K>, name: &str, side: RuntimeSide, log_level: u32) -> u32 {
    if log::install(side, log_level) && log_level > 0 {
        panics::report(side);
    }
    let threads = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .max_blocking_threads(16)
        .thread_name(format!("{}{name}", panics::THREAD_PREFIX))
        .enable_all()
        .build();
    let threads = match threads {
        Ok(threads) => threads,
        Err(error) => {
            side.log(1, &format!("cannot start the plugin's thread: {error}"));
            return status::ERROR;
        }
    };
    *locked(&state.machinery) = Some(Arc::new(Machinery {
        side,
        keys: state.keys,
        setup: state.setup,
        threads: Mutex::new(Some(threads)),
        accounts: Mutex::new(HashMap::new()),
        calls: Mutex::new(HashMap::new()),
        next_call: AtomicU64::new(1),
    }));
    status::OK
}

/// See `PluginRoot::call`.
pub fn serve_call<K: Kind>(state: &State<K>, frame: Frame, done: Done) -> u64 {
    let Some(machinery) = state.machinery() else {
        return 0; // dropping `done` answers: cancelled
    };
    let id = machinery.next_call.fetch_add(1, Ordering::Relaxed);
    let Some(handle) = locked(&machinery.threads).as_ref().map(|threads| threads.handle().clone()) else {
        return 0;
    };
    // Noted before it is spawned, so that a call that ends at once still finds its entry to remove.
    locked(&machinery.calls).insert(id, None);
    let open = OpenCall { machinery: machinery.clone(), id };
    let side = machinery.side;
    let work = answer(machinery.clone(), frame);
    let work = handle.spawn(async move {
        let (code, frame) = caught(side, work).await;
        drop(open);
        done.complete(code, frame);
    });
    if let Some(entry) = locked(&machinery.calls).get_mut(&id) {
        *entry = Some(work.abort_handle());
    }
    id
}

/// Takes a call off the list, however it ends.
struct OpenCall<K: Kind> {
    machinery: Arc<Machinery<K>>,
    id: u64,
}

impl<K: Kind> Drop for OpenCall<K> {
    fn drop(&mut self) {
        locked(&self.machinery.calls).remove(&self.id);
    }
}

/// Runs an author's future; a panic in it, or in dropping it, ends this call only.
async fn caught(side: RuntimeSide, work: impl Future<Output = (u32, Frame)>) -> (u32, Frame) {
    let panicked = |payload| (status::PANIC, wire::frame(&panic_words(payload)));
    let mut work = Box::pin(work);
    let answered = std::future::poll_fn(|context| {
        let polled = panics::in_call(side, || work.as_mut().poll(context));
        polled.unwrap_or_else(|payload| Poll::Ready(panicked(payload)))
    });
    let answered = answered.await;
    match panics::in_call(side, move || drop(work)) {
        Ok(()) => answered,
        Err(payload) => panicked(payload),
    }
}

/// See `PluginRoot::cancel`.
pub fn serve_cancel<K: Kind>(state: &State<K>, id: u64) {
    let Some(machinery) = state.machinery() else { return };
    let call = locked(&machinery.calls).remove(&id);
    if let Some(Some(call)) = call {
        call.abort();
    }
}

/// See `PluginRoot::shutdown`.
pub fn serve_shutdown<K: Kind>(state: &State<K>, timeout_ms: u64) -> u32 {
    let Some(machinery) = locked(&state.machinery).take() else { return 0 };
    let left = locked(&machinery.calls).len();
    locked(&machinery.accounts).clear();
    if let Some(threads) = locked(&machinery.threads).take() {
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
    let _ = catch_unwind(AssertUnwindSafe(move || drop(payload)));
    words
}

async fn answer<K: Kind>(machinery: Arc<Machinery<K>>, mut frame: Frame) -> (u32, Frame) {
    let request = match wire::read_with_blobs::<Request>(&mut frame) {
        Ok(request) => request,
        Err(why) => return (status::BAD_FRAME, wire::frame(&why)),
    };
    let account = account_of(&request).to_owned();
    match account::on_behalf(account, perform(&machinery, request, frame)).await {
        Ok(frame) => (status::OK, frame),
        Err(PluginError::Unsupported { reason }) => (status::UNSUPPORTED, wire::frame(&reason)),
        Err(error) => (status::ERROR, wire::frame(&error)),
    }
}

async fn perform<K: Kind>(machinery: &Machinery<K>, request: Request, frame: Frame) -> Result<Frame> {
    match request {
        Request::Start { account, config, listener, siblings, folder } => {
            let config: K::Config = serde_json::from_value(config)
                .map_err(|error| PluginError::broken(format!("its config does not fit: {error}")))?;
            let runtime =
                Runtime::of(machinery.side, account.clone(), listener, siblings).with_folder(folder);
            let started = K::start(config, runtime).await?;
            account::note(&account, true);
            let before = locked(&machinery.accounts).insert(account, Arc::new(started));
            if let Some(before) = before {
                before.stop().await;
            }
            Ok(wire::frame(&Empty {}))
        }
        Request::Stop { account } => {
            let stopping = locked(&machinery.accounts).get(&account).cloned();
            if let Some(stopping) = stopping {
                // Until then it hands over what it still has, and loads the files of that.
                stopping.stop().await;
                let mut accounts = locked(&machinery.accounts);
                if accounts.get(&account).is_some_and(|now| Arc::ptr_eq(now, &stopping)) {
                    accounts.remove(&account);
                }
            }
            account::note(&account, false);
            Ok(wire::frame(&Empty {}))
        }
        Request::Describe => {
            let setup = machinery.setup.map(str::to_owned);
            Ok(wire::frame(&Description { config: machinery.keys.map(config::schema), setup }))
        }
        Request::Unknown => Err(PluginError::unsupported("this plugin is older than the runtime")),
        request => {
            let started = started(machinery, account_of(&request))?;
            started.ask(request, frame).await
        }
    }
}

/// The account that a request is for. A module has one.
fn account_of(request: &Request) -> &str {
    match request {
        Request::Deliver { message } | Request::Find { message } => message.address.account.as_str(),
        Request::Working { working } => working.address.account.as_str(),
        Request::Read { read } => read.address.account.as_str(),
        Request::Subscribe { address } | Request::History { address, .. } => address.account.as_str(),
        Request::Webhook { account, .. }
        | Request::Normalise { account, .. }
        | Request::WhoIs { account, .. }
        | Request::OpenDirect { account, .. }
        | Request::Link { account }
        | Request::Fetch { account, .. }
        | Request::Start { account, .. }
        | Request::Stop { account } => account,
        _ => ACCOUNT_MAIN,
    }
}

fn started<K: Kind>(machinery: &Machinery<K>, account: &str) -> Result<Arc<K>> {
    let found = locked(&machinery.accounts).get(account).cloned();
    found.ok_or_else(|| PluginError::retry(format!("the account `{account}` is not started")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sdk::kind::OfChannel;
    use crate::{Attachment, Blob, Channel, OutboundMessage, Receipt, Runtime};

    struct Mute;

    #[crate::async_trait]
    impl Channel for Mute {
        type Config = ();

        async fn start((): (), _: Runtime) -> Result<Self> {
            Ok(Mute)
        }

        /// Returns the address in memory of its file's bytes.
        async fn deliver(&self, message: OutboundMessage) -> Result<Receipt> {
            let bytes = message.attachments.first().and_then(|file| file.bytes.as_ref());
            Ok(Receipt::of(bytes.map(place)))
        }
    }

    fn place(bytes: &Blob) -> String {
        format!("{} bytes at {:?}", bytes.len(), bytes.as_ptr())
    }

    struct Nobody;

    impl vestibule_seam::RuntimeCalls for Nobody {
        fn call(&self, _: Frame, _: Done) -> u64 {
            0
        }
        fn cancel(&self, _: u64) {}
        fn log(&self, _: u32, _: &str) {}
    }

    /// A newer runtime asks an older plugin with a verb that it does not know.
    #[test]
    fn a_verb_of_a_newer_level_is_answered_unsupported() {
        static STATE: State<OfChannel<Mute>> = State::new();
        assert_eq!(serve_init(&STATE, "mute", RuntimeSide::new(Nobody), 0), status::OK);
        let ask = |head: &str| {
            let (tx, rx) = std::sync::mpsc::channel();
            let done = Done::new(move |code, _| tx.send(code).expect("the test waits"));
            serve_call(&STATE, Frame::from_head(head.as_bytes().to_vec()), done);
            rx.recv_timeout(Duration::from_secs(20)).expect("it is answered")
        };
        assert_eq!(ask(r#"{"verb":"teleport","to":{"x":1}}"#), status::UNSUPPORTED);
        assert_eq!(ask(r#"{"verb":"start","account":"main","config":null,"newer":7}"#), status::OK);
        let message = r#"{"id":"m","address":{"channel_type":"mute","account":"main","platform_id":"p"},
            "content":{"kind":"sculpture","title":"newer"},"newer":true}"#;
        assert_eq!(ask(&format!(r#"{{"verb":"deliver","message":{message}}}"#)), status::OK);
        assert_eq!(ask("{{{"), status::BAD_FRAME);
        assert_eq!(serve_shutdown(&STATE, 1000), 0);
    }

    /// From the runtime's message to the author's, in one process: the bytes stay where they are.
    #[test]
    fn an_author_is_handed_the_bytes_themselves() {
        static STATE: State<OfChannel<Mute>> = State::new();
        assert_eq!(serve_init(&STATE, "mute", RuntimeSide::new(Nobody), 0), status::OK);
        let ask = |frame: Frame| {
            let (tx, rx) = std::sync::mpsc::channel();
            let done = Done::new(move |code, frame| tx.send((code, frame)).expect("the test waits"));
            serve_call(&STATE, frame, done);
            rx.recv_timeout(Duration::from_secs(20)).expect("it is answered")
        };
        let start = br#"{"verb":"start","account":"main","config":null}"#.to_vec();
        assert_eq!(ask(Frame::from_head(start)).0, status::OK);
        let head = r#"{"id":"m","address":{"channel_type":"mute","account":"main","platform_id":"p"},
            "content":{"kind":"text","text":"t"}}"#;
        let mut message: OutboundMessage = serde_json::from_str(head).expect("it is a message");
        let bytes = Blob::from(vec![7; 1 << 20]);
        let sent = place(&bytes);
        message.attachments = vec![Attachment { name: "f".into(), bytes: Some(bytes), ..Default::default() }];
        let (code, answer) = ask(wire::frame_with_blobs(Request::Deliver { message }));
        assert_eq!(code, status::OK);
        let receipt: Receipt = wire::read(&answer).expect("a receipt");
        assert_eq!(receipt.platform_message_id, Some(sent));
        assert_eq!(serve_shutdown(&STATE, 1000), 0);
    }
}
