//! The runtime's end of one plugin process: from its start to its end.

use super::packet::{Decoder, Kind, Packed, Packet, is_large, pack};
use super::socket::{PART, Queue, receive};
use super::spec::Spec;
use rustix::net::{RecvFlags, SendFlags};
use std::collections::HashMap;
use std::io::ErrorKind;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt, Interest};
use tokio::net::UnixStream;
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::{Notify, Semaphore, oneshot, watch};
use tokio::time::Instant;
use vestibule_plugin_api::{PluginError, wire};
use vestibule_seam::{Done, Frame, RuntimeCalls, status};

/// How long a plugin may take to be opened and to start its machinery.
const OPEN_PATIENCE: Duration = Duration::from_secs(10);
/// How much of a plugin's events is on its way at once, in KiB; then its socket is not read.
const IN_FLIGHT_KIB: u32 = 256 * 1024;
/// What the smallest event counts, in KiB: so there are at most 512.
const EVENT_KIB_MIN: u32 = 512;
/// A plugin for which this much waits, in bytes, does not read what it is sent.
const WAITING_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How many lines of a plugin go to the log in one second.
const LINES_PER_SECOND: u32 = 200;
/// How much of what it printed last is kept, in bytes.
const LAST_WORDS_MAX: usize = 2 * 1024;

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The calls of one process, in both directions.
pub struct Conn {
    stream: UnixStream,
    out: Mutex<Out>,
    more: Notify,
    calls: Mutex<Calls>,
    broken: watch::Sender<Option<String>>,
}

#[derive(Default)]
struct Out {
    queue: Queue,
    sending: bool,
}

struct Calls {
    open: Option<HashMap<u64, Done>>,
    next: u64,
}

impl Conn {
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

    /// Withdraws a call.
    pub fn cancel(&self, id: u64) {
        if self.answered(id).is_some()
            && let Ok(packed) = pack(Kind::Cancel, id, 0, &Frame::default())
        {
            self.send(packed);
        }
    }

    fn answered(&self, id: u64) -> Option<Done> {
        locked(&self.calls).open.as_mut()?.remove(&id)
    }

    /// How many calls wait for their answer.
    pub fn open_calls(&self) -> usize {
        locked(&self.calls).open.as_ref().map_or(0, HashMap::len)
    }

    /// Answers every open call: cancelled, since nobody knows how far it got.
    pub fn close(&self) {
        let open = locked(&self.calls).open.take();
        drop(open);
    }

    fn answer(&self, id: u64, code: u32, frame: &Frame) {
        let packed = pack(Kind::Answer, id, code, frame)
            .or_else(|why| pack(Kind::Answer, id, status::ERROR, &wire::frame(&PluginError::refused(why))));
        let Ok(packed) = packed else { return };
        if locked(&self.out).queue.bytes > WAITING_BYTES_MAX {
            return self.end("it does not read what it is sent");
        }
        self.send(packed);
    }

    /// Says why this process must end.
    pub fn end(&self, why: impl Into<String>) {
        self.broken.send_if_modified(|broken| {
            let first = broken.is_none();
            if first {
                *broken = Some(why.into());
            }
            first
        });
    }

    /// Sends at once what the socket takes at once; the rest, and what comes while many calls are
    /// open, goes together a moment later.
    fn send(&self, packed: Packed) {
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
    async fn flush(&self) {
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
                    return; // it is gone; whoever reads says so
                }
            }
        }
    }
}

fn not_sent(done: Done, why: &str) -> u64 {
    done.complete(status::ERROR, wire::frame(&PluginError::retry(why)));
    0
}

/// Why a process did not come to serve.
#[derive(Debug)]
pub enum StartError {
    /// It said why, in a sentence: trying again is no use.
    Refused(String),
    /// It ended, or said nothing.
    Died(String),
}

impl StartError {
    /// Why.
    pub fn into_words(self) -> String {
        match self {
            StartError::Refused(why) | StartError::Died(why) => why,
        }
    }
}

/// One life of a plugin's process. Dropping it ends the process.
pub struct Life {
    /// Its calls.
    pub conn: Arc<Conn>,
    process: Child,
    last_words: Arc<Mutex<Vec<u8>>>,
    ended: oneshot::Receiver<u64>,
    tasks: [tokio::task::JoinHandle<()>; 2],
}

impl Drop for Life {
    fn drop(&mut self) {
        self.conn.close();
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

impl Life {
    /// Starts a process and has it open the plugin. `calls` is the runtime, as the plugin sees it.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(
        program: &Path,
        spec: &Spec,
        calls: Arc<dyn RuntimeCalls>,
    ) -> Result<Life, StartError> {
        let failed = |error: std::io::Error| StartError::Died(format!("it cannot be started ({error})"));
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().map_err(failed)?;
        ours.set_nonblocking(true).map_err(failed)?;
        let mut command = Command::new(program);
        command.as_std_mut().env_clear();
        // It ends with the thread that starts it: this one is a worker, which lives as long as the runtime.
        let mut process = command
            .arg0("vestibule")
            .arg("plugin-host")
            .current_dir("/")
            .stdin(Stdio::from(std::os::fd::OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        drop(command); // it holds the process's end of the socket
        let last_words: Arc<Mutex<Vec<u8>>> = Arc::default();
        if let Some(stderr) = process.stderr.take() {
            tokio::spawn(keep_last(stderr, last_words.clone()));
        }
        let conn = Arc::new(Conn {
            stream: UnixStream::from_std(ours).map_err(failed)?,
            out: Mutex::default(),
            more: Notify::new(),
            calls: Mutex::new(Calls { open: Some(HashMap::new()), next: 1 }),
            broken: watch::Sender::new(None),
        });
        let (opened_tx, opened) = oneshot::channel();
        let (ended_tx, ended) = oneshot::channel();
        let heard = Heard { calls, opened: Some(opened_tx), ended: Some(ended_tx), lines: Lines::new() };
        let (reader, flusher) = (conn.clone(), conn.clone());
        let reading = tokio::spawn(async move {
            let Err(why) = listen(&reader, heard).await;
            reader.end(why);
        });
        let flushing = tokio::spawn(async move { flusher.flush().await });
        let mut life = Life { conn, process, last_words, ended, tasks: [reading, flushing] };
        let head = serde_json::to_vec(spec).unwrap_or_default();
        match pack(Kind::Open, 0, 0, &Frame::from_head(head)) {
            Ok(packed) => life.conn.send(packed),
            Err(why) => return Err(StartError::Refused(why)),
        }
        match tokio::time::timeout(OPEN_PATIENCE, opened).await {
            Ok(Ok(Ok(()))) => Ok(life),
            Ok(Ok(Err(why))) => Err(StartError::Refused(why)),
            Ok(Err(_)) => Err(StartError::Died(life.ended().await)),
            Err(_) => Err(StartError::Died(format!("it was not ready within {} s", OPEN_PATIENCE.as_secs()))),
        }
    }

    /// The process's number.
    pub fn pid(&self) -> Option<u32> {
        self.process.id()
    }

    /// Returns when the process has ended, or must, and says why. Its calls are still open.
    pub async fn ended(&mut self) -> String {
        let mut broken = self.conn.broken.subscribe();
        let why = tokio::select! {
            status = self.process.wait() => None.or_else(|| status.ok().map(in_words)),
            why = broken.wait_for(Option::is_some) => why.ok().and_then(|why| why.clone()),
        };
        // A socket that ends is the end of the process: how it ended says more.
        let why = match why {
            Some(why) if why == GONE => {
                let status = tokio::time::timeout(Duration::from_millis(500), self.process.wait()).await;
                status.ok().and_then(std::result::Result::ok).map_or(why, in_words)
            }
            why => why.unwrap_or_else(|| "it ended".to_owned()),
        };
        match last_line(&locked(&self.last_words)) {
            Some(line) => format!("{why}; the last it printed: {line}"),
            None => why,
        }
    }

    /// Ends the process now.
    pub async fn kill(&mut self) {
        self.conn.close();
        let _ = self.process.kill().await;
    }

    /// Asks the plugin to end within `patience`, and ends its process. Answers how many calls were left.
    pub async fn shutdown(&mut self, patience: Duration) -> u64 {
        let ms = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
        if let Ok(packed) = pack(Kind::Shutdown, ms, 0, &Frame::default()) {
            self.conn.send(packed);
        }
        let left = tokio::time::timeout(patience + Duration::from_millis(500), &mut self.ended).await;
        let left = left.ok().and_then(std::result::Result::ok);
        let left = left.unwrap_or_else(|| self.conn.open_calls() as u64);
        self.kill().await;
        left
    }
}

/// What is said when the socket ends.
const GONE: &str = "it closed its socket";

fn in_words(status: ExitStatus) -> String {
    let name = match status.signal() {
        Some(4) => "SIGILL, an invalid instruction",
        Some(5) => "SIGTRAP",
        Some(6) => "SIGABRT, it aborted: a failed allocation, or a panic that may not unwind",
        Some(7) => "SIGBUS, invalid memory access",
        Some(9) => "SIGKILL",
        Some(11) => "SIGSEGV, invalid memory access or a stack overflow",
        Some(25) => "SIGXFSZ",
        _ => "",
    };
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("it ended with status {code}"),
        (None, Some(_)) if !name.is_empty() => format!("it crashed ({name})"),
        (None, Some(signal)) => format!("it was ended by signal {signal}"),
        (None, None) => "it ended".to_owned(),
    }
}

async fn keep_last(mut stderr: ChildStderr, last: Arc<Mutex<Vec<u8>>>) {
    let mut part = [0; 4096];
    while let Ok(read @ 1..) = stderr.read(&mut part).await {
        let mut last = locked(&last);
        last.extend_from_slice(&part[..read]);
        let surplus = last.len().saturating_sub(LAST_WORDS_MAX);
        last.drain(..surplus);
    }
}

/// The last line somebody printed, made safe for a log.
fn last_line(bytes: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(bytes);
    let line = text.lines().rev().map(str::trim).find(|line| !line.is_empty())?;
    Some(line.chars().take(300).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect())
}

struct Heard {
    calls: Arc<dyn RuntimeCalls>,
    opened: Option<oneshot::Sender<Result<(), String>>>,
    ended: Option<oneshot::Sender<u64>>,
    lines: Lines,
}

/// Reads packets until the process goes or breaks a rule; then says so.
async fn listen(conn: &Arc<Conn>, mut heard: Heard) -> Result<std::convert::Infallible, String> {
    let in_flight = Arc::new(Semaphore::new(IN_FLIGHT_KIB as usize));
    let (mut decoder, mut part) = (Decoder::default(), vec![0; PART]);
    loop {
        let read = conn
            .stream
            .async_io(Interest::READABLE, || receive(&conn.stream, &mut part, RecvFlags::DONTWAIT));
        let (read, files) = match read.await {
            Ok((0, _)) => return Err(GONE.to_owned()),
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Err(GONE.to_owned()),
            Err(error) => return Err(format!("its socket failed: {error}")),
        };
        decoder.feed(&part[..read], files)?;
        while let Some(packet) = decoder.next()? {
            hear(conn, &mut heard, &in_flight, packet).await?;
        }
    }
}

async fn hear(
    conn: &Arc<Conn>,
    heard: &mut Heard,
    in_flight: &Arc<Semaphore>,
    packet: Packet,
) -> Result<(), String> {
    let (id, code) = (packet.id, packet.status);
    match packet.kind {
        Kind::Answer => {
            let issued = id < locked(&conn.calls).next;
            if !issued {
                return Err(format!("it answered call {id}, which nobody made"));
            }
            // Who was cancelled meanwhile, or answered before, has no entry any more.
            let done = conn.answered(id);
            let frame = frame_of(packet).await?;
            if let Some(done) = done {
                done.complete(code, frame);
            }
        }
        Kind::Call => {
            let kib = u32::try_from(packet.weight() / 1024).unwrap_or(u32::MAX);
            let weight = kib.clamp(EVENT_KIB_MIN, IN_FLIGHT_KIB);
            // Here a plugin that floods is made to wait: its socket is not read meanwhile.
            let Ok(room) = in_flight.clone().acquire_many_owned(weight).await else { return Ok(()) };
            let frame = frame_of(packet).await?;
            let conn = conn.clone();
            let answered = move |code, frame: Frame| {
                conn.answer(id, code, &frame);
                drop(room);
            };
            heard.calls.call(frame, Done::new(answered));
        }
        Kind::Log => {
            let line = String::from_utf8_lossy(&packet.head);
            if let Some(left_out) = heard.lines.count() {
                if left_out > 0 {
                    heard.calls.log(2, &format!("{left_out} lines were left out: it logs too much"));
                }
                heard.calls.log(code, &line);
            }
        }
        Kind::Cancel => {} // what is committed stays committed
        Kind::Opened => {
            let Some(opened) = heard.opened.take() else { return Err("it was opened twice".to_owned()) };
            let why = serde_json::from_slice(&packet.head).unwrap_or_default();
            let _ = opened.send(if code == status::OK { Ok(()) } else { Err(why) });
        }
        Kind::Ended => {
            if let Some(ended) = heard.ended.take() {
                let _ = ended.send(id);
            }
        }
        Kind::Open | Kind::Shutdown => return Err("it said what only the runtime says".to_owned()),
    }
    Ok(())
}

/// Large memory files are copied aside: meanwhile this process's socket is not read, and nobody
/// else waits.
async fn frame_of(packet: Packet) -> Result<Frame, String> {
    if !packet.has_files() {
        return packet.into_frame();
    }
    let copied = tokio::task::spawn_blocking(move || packet.into_frame()).await;
    copied.map_err(|error| error.to_string())?
}

/// How many lines came in this second.
struct Lines {
    since: Instant,
    count: u32,
    left_out: u32,
}

impl Lines {
    fn new() -> Lines {
        Lines { since: Instant::now(), count: 0, left_out: 0 }
    }

    /// `None`: this line is one too many. Else how many were left out before it.
    fn count(&mut self) -> Option<u32> {
        if self.since.elapsed() >= Duration::from_secs(1) {
            (self.since, self.count) = (Instant::now(), 0);
        }
        self.count += 1;
        if self.count > LINES_PER_SECOND {
            self.left_out += 1;
            return None;
        }
        Some(std::mem::take(&mut self.left_out))
    }
}
