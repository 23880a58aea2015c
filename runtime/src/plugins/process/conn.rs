//! The calls between the runtime and one plugin process, at the runtime's end.

use super::packet::{Kind, Packed, is_large, pack};
use super::socket::{Foreign, Queue};
use crate::lock::locked;
use rustix::net::SendFlags;
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::{Notify, watch};
use vestibule_plugin_api::{PluginError, open_socket, wire};
use vestibule_seam::{Done, Frame, status};

/// A plugin for which this much waits, in bytes, does not read what it is sent.
const WAITING_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The calls of one process, in both directions.
pub struct Conn {
    /// The runtime's end of its socket.
    pub stream: UnixStream,
    out: Mutex<Out>,
    more: Notify,
    calls: Mutex<Calls>,
    silence: Mutex<Silence>,
    broken: watch::Sender<Option<Broken>>,
    /// The same end as `stream`, closed after it: what the process sent and nothing has read ends with it.
    _last: Option<Foreign>,
}

/// Why a process must end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Broken {
    /// Its socket has ended, and with it the process.
    Gone,
    /// It broke a rule.
    For(String),
}

impl From<String> for Broken {
    fn from(why: String) -> Broken {
        Broken::For(why)
    }
}

#[derive(Default)]
struct Out {
    queue: Queue,
    sending: bool,
}

/// How long the process had nothing to say while the runtime read its socket.
#[derive(Default)]
struct Silence {
    before: Duration,
    since: Option<Instant>,
}

struct Calls {
    open: Option<HashMap<u64, Done>>,
    next: u64,
}

impl Conn {
    /// The calls over this socket.
    pub fn new(stream: UnixStream) -> Conn {
        let last = rustix::io::fcntl_dupfd_cloexec(&stream, 3).ok();
        Conn {
            stream,
            _last: last.map(Foreign::from),
            out: Mutex::default(),
            more: Notify::new(),
            calls: Mutex::new(Calls { open: Some(HashMap::new()), next: 1 }),
            silence: Mutex::default(),
            broken: watch::Sender::new(None),
        }
    }

    /// Asks the plugin; the answer comes through `done`. Returns at once with the call's number.
    pub fn call(self: &Arc<Self>, frame: Frame, done: Done) -> u64 {
        let mut calls = locked(&self.calls);
        let id = calls.next;
        let Some(open) = &mut calls.open else {
            drop(calls);
            return not_sent(done, "the plugin's process has ended");
        };
        if locked(&self.out).queue.bytes > WAITING_BYTES_MAX {
            drop(calls);
            return not_sent(done, "the plugin takes nothing more at the moment");
        }
        open.insert(id, done);
        calls.next += 1;
        drop(calls);
        if is_large(&frame) {
            let conn = self.clone();
            tokio::task::spawn_blocking(move || conn.send_call(id, &frame));
        } else {
            self.send_call(id, &frame);
        }
        id
    }

    fn send_call(&self, id: u64, frame: &Frame) {
        match pack(Kind::Call, id, 0, frame) {
            Ok(packed) => self.send(packed),
            Err(why) => {
                if let Some(done) = self.answered(id) {
                    done.complete(status::ERROR, wire::frame(&PluginError::refused(why)));
                }
            }
        }
    }

    /// Opens a local socket and hands it over, so that the next call finds it: the process itself can open
    /// none. Only the process listens at it, and it ends with the process.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn hand_over_socket(&self, path: &Path) -> std::io::Result<()> {
        let listener = open_socket(path)?;
        let head = Frame::from_head(path.as_os_str().as_encoded_bytes().to_vec());
        let mut packed = pack(Kind::Socket, 0, 0, &head).map_err(std::io::Error::other)?;
        packed.files.push(listener.into());
        self.send(packed);
        Ok(())
    }

    /// Withdraws a call: its answer is dropped, and the plugin hears of it.
    pub fn cancel(&self, id: u64) {
        if self.answered(id).is_some()
            && let Ok(packed) = pack(Kind::Cancel, id, 0, &Frame::default())
        {
            self.send(packed);
        }
    }

    /// Takes the receiver of a call's answer; `None` when the call was withdrawn or answered before.
    pub fn answered(&self, id: u64) -> Option<Done> {
        locked(&self.calls).open.as_mut()?.remove(&id)
    }

    /// Whether this call waits for its answer.
    pub fn waits_for(&self, id: u64) -> bool {
        locked(&self.calls).open.as_ref().is_some_and(|open| open.contains_key(&id))
    }

    /// How many calls wait for their answer.
    pub fn open_calls(&self) -> usize {
        locked(&self.calls).open.as_ref().map_or(0, HashMap::len)
    }

    /// Answers every open call: cancelled, since it is unknown how far it got.
    pub fn close(&self) {
        let open = locked(&self.calls).open.take();
        drop(open);
    }

    /// Answers one of the plugin's events.
    pub fn answer(&self, id: u64, code: u32, frame: &Frame) {
        let packed = pack(Kind::Answer, id, code, frame)
            .or_else(|why| pack(Kind::Answer, id, status::ERROR, &wire::frame(&PluginError::refused(why))));
        let Ok(packed) = packed else { return };
        if locked(&self.out).queue.bytes > WAITING_BYTES_MAX {
            return self.end(Broken::For("it does not read what it is sent".to_owned()));
        }
        self.send(packed);
    }

    /// Says why this process must end.
    pub fn end(&self, why: Broken) {
        self.broken.send_if_modified(|broken| {
            let first = broken.is_none();
            if first {
                *broken = Some(why);
            }
            first
        });
    }

    /// Whether the runtime made a call of this number.
    pub fn has_made(&self, id: u64) -> bool {
        id < locked(&self.calls).next
    }

    /// Notes whether the runtime reads the socket from now on, and nothing comes. While the runtime does not, because
    /// it has not dealt with what the process said, the process is not silent.
    pub fn listens(&self, listens: bool) {
        let mut silence = locked(&self.silence);
        let ended = std::mem::replace(&mut silence.since, listens.then(Instant::now));
        silence.before += ended.map(|since| since.elapsed()).unwrap_or_default();
    }

    /// How long it was silent, all in all.
    pub fn silence(&self) -> Duration {
        let silence = locked(&self.silence);
        silence.before + silence.since.map(|since| since.elapsed()).unwrap_or_default()
    }

    /// How long it has been silent now, without a break: since the last byte from it was dealt with.
    pub fn quiet(&self) -> Duration {
        locked(&self.silence).since.map(|since| since.elapsed()).unwrap_or_default()
    }

    /// Returns when this process must end, and says why.
    pub async fn broken(&self) -> Option<Broken> {
        self.broken.subscribe().wait_for(Option::is_some).await.ok()?.clone()
    }

    /// Sends at once what the socket takes at once; the rest goes a moment later.
    pub fn send(&self, packed: Packed) {
        let mut out = locked(&self.out);
        out.queue.push(packed);
        if std::mem::replace(&mut out.sending, true) {
            return;
        }
        while !out.queue.is_empty() {
            let mut part = out.queue.take();
            drop(out);
            let sent = part.send(&self.stream, SendFlags::DONTWAIT);
            out = locked(&self.out);
            if sent.is_err() {
                out.queue.put_back(part);
                drop(out);
                return self.more.notify_one();
            }
        }
        out.sending = false;
    }

    /// Sends what could not be sent at once.
    pub async fn flush(&self) {
        loop {
            self.more.notified().await;
            loop {
                let mut part = {
                    let mut out = locked(&self.out);
                    if out.queue.is_empty() {
                        out.sending = false;
                        break;
                    }
                    out.queue.take()
                };
                let sent = self
                    .stream
                    .async_io(Interest::WRITABLE, || part.send(&self.stream, SendFlags::DONTWAIT))
                    .await;
                locked(&self.out).queue.put_back(part);
                if sent.is_err() {
                    return; // it is gone; the reading task says so
                }
            }
        }
    }
}

fn not_sent(done: Done, why: &str) -> u64 {
    done.complete(status::ERROR, wire::frame(&PluginError::retry(why)));
    0
}
