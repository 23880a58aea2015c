//! `vestibule plugin-host`: a process that confines itself, opens one plugin file, and passes frames between it and
//! the runtime. Whatever the plugin does happens to this process.

use super::packet::{Decoder, Kind, Packed, Packet, pack};
use super::socket::{Foreign, PART, Queue, receive};
use super::spec::Spec;
use crate::lock::locked;
use crate::plugins::file::load;
use crate::plugins::{LoadCode, LoadError};
use rustix::fd::OwnedFd;
use rustix::net::{RecvFlags, SendFlags};
use rustix::process::{Signal, getpid, kill_process};
use std::collections::HashMap;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use vestibule_keeper::groups::{Group, Weight};
use vestibule_plugin_api::wire;
use vestibule_seam::{Done, Frame, PluginRootRef, RuntimeCalls, RuntimeSide, status};

/// A plugin that has this much waiting to be sent, in bytes, waits itself.
const WAITING_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Runs as a plugin's process. Standard input is the socket to the runtime; the first packet says
/// which file to open.
pub fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vestibule plugin-host: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> std::io::Result<()> {
    let by_hand = || std::io::Error::other("it is started by the runtime, not by hand");
    // The kernel ends this process with the runtime, whatever the plugin does to the socket.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    // The kernel gives each session a share of the processors: however many threads the plugin starts, it has one.
    rustix::process::setsid()?;
    let socket = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    rustix::stdio::dup2_stdin(std::fs::File::open("/dev/null")?)?;
    let mut inbox = Inbox { decoder: Decoder::default(), part: vec![0; PART] };
    let first = inbox.next(&socket).ok_or_else(by_hand)?;
    if first.kind != Kind::Open {
        return Err(by_hand());
    }
    let spec: Spec = serde_json::from_slice(&first.head).map_err(std::io::Error::other)?;
    let socket = Arc::new(Outbox { socket, state: Mutex::default(), room: Condvar::new() });
    let opened = |why: Option<LoadError>| socket.send(pack(Kind::Opened, 0, 0, &wire::frame(&why)));
    if let Some(folder) = &spec.group {
        Group::make(folder, Weight::Whole)?.enter()?;
    }
    // From here on this process can do no more than the plugin may: opening a file runs its code.
    if let Err(error) = vestibule_keeper::confine::plugin(&spec.grants()) {
        let words = format!("its process cannot be confined ({error}).");
        opened(Some(LoadError::new(LoadCode::Confine, words)));
        return Ok(());
    }
    let root = match load::open_copy(&spec.file, &spec.entry) {
        Ok(root) => root,
        Err(why) => {
            opened(Some(why));
            return Ok(());
        }
    };
    let relay = Arc::new(Relay { socket: socket.clone(), open: Mutex::default(), next: AtomicU64::new(1) });
    match (root.init())(RuntimeSide::new(Side(relay.clone())), spec.log_level) {
        status::OK => opened(None),
        code => {
            let words = format!("its start failed with status {code}.");
            opened(Some(LoadError::new(LoadCode::Init, words)));
            return Ok(());
        }
    }
    serve(&mut inbox, &socket, &relay, root)
}

/// Reads packets until the runtime is gone.
fn serve(
    inbox: &mut Inbox,
    socket: &Arc<Outbox>,
    relay: &Arc<Relay>,
    root: PluginRootRef,
) -> std::io::Result<()> {
    let calls: Arc<Mutex<HashMap<u64, u64>>> = Arc::default();
    // Local sockets by their paths: the plugin looks for them among what this process has open. The one before is
    // closed at once, so that the plugin does not find a listener that no client reaches any more.
    let mut sockets: HashMap<Vec<u8>, OwnedFd> = HashMap::new();
    while let Some(packet) = inbox.next(&socket.socket) {
        let id = packet.id;
        match packet.kind {
            Kind::Call => call(socket, &calls, root, packet),
            Kind::Answer => {
                let done = locked(&relay.open).remove(&id);
                let code = packet.status;
                if let Some(done) = done {
                    done.complete(code, packet.into_frame().map_err(std::io::Error::other)?);
                }
            }
            Kind::Cancel => {
                let theirs = locked(&calls).remove(&id);
                if let Some(theirs) = theirs.filter(|theirs| *theirs != 0) {
                    (root.cancel())(theirs);
                }
            }
            Kind::Shutdown => {
                let socket = socket.clone();
                // Aside, so that answers still come in while it ends.
                std::thread::spawn(move || {
                    let left = (root.shutdown())(id);
                    socket.send(pack(Kind::Ended, u64::from(left), 0, &Frame::default()));
                    end();
                });
            }
            Kind::Socket => {
                if let Some(socket) = packet.socket.and_then(Foreign::trusted) {
                    sockets.insert(packet.head, socket);
                }
            }
            Kind::Open | Kind::Opened | Kind::Log | Kind::Ended => end(),
        }
    }
    end()
}

/// Ends this process at once: its exit handlers are the plugin's, and might not return.
fn end() -> ! {
    let _ = kill_process(getpid(), Signal::KILL);
    std::process::abort()
}

fn call(socket: &Arc<Outbox>, calls: &Arc<Mutex<HashMap<u64, u64>>>, root: PluginRootRef, packet: Packet) {
    let id = packet.id;
    let frame = match packet.into_frame() {
        Ok(frame) => frame,
        Err(why) => {
            return socket.send(pack(Kind::Answer, id, status::BAD_FRAME, &wire::frame(&why)));
        }
    };
    // Noted before the call: its answer may come before its number.
    locked(calls).insert(id, 0);
    let (answers, open) = (socket.clone(), calls.clone());
    let done = Done::new(move |code, frame| {
        locked(&open).remove(&id);
        let packed = pack(Kind::Answer, id, code, &frame);
        answers.send(packed.or_else(|why| pack(Kind::Answer, id, status::BAD_FRAME, &wire::frame(&why))));
    });
    let theirs = (root.call())(frame, done);
    if let Some(number) = locked(calls).get_mut(&id) {
        *number = theirs;
    }
}

struct Inbox {
    decoder: Decoder,
    part: Vec<u8>,
}

impl Inbox {
    /// The next packet; `None` when the runtime is gone.
    fn next(&mut self, socket: &OwnedFd) -> Option<Packet> {
        loop {
            if let Some(packet) = self.decoder.next().ok()? {
                return Some(packet);
            }
            let (read, files) = receive(socket, &mut self.part, RecvFlags::empty()).ok()?;
            if read == 0 {
                return None;
            }
            self.decoder.feed(&self.part[..read], files).ok()?;
        }
    }
}

/// Sends from any thread that has something to send. While one sends, the others add to what it
/// sends next; when too much waits, they wait: a plugin that floods stops itself.
struct Outbox {
    socket: OwnedFd,
    state: Mutex<Waiting>,
    room: Condvar,
}

#[derive(Default)]
struct Waiting {
    queue: Queue,
    sending: bool,
}

impl Outbox {
    fn send(&self, packed: Result<Packed, String>) {
        // A frame that cannot be packed, not even as an error, is left out; its call is not answered.
        let Ok(packed) = packed else { return };
        let mut state = locked(&self.state);
        while state.sending && state.queue.bytes > WAITING_BYTES_MAX {
            state = self.room.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.queue.push(packed);
        if std::mem::replace(&mut state.sending, true) {
            return;
        }
        while !state.queue.is_empty() {
            let mut part = state.queue.take();
            drop(state);
            self.room.notify_all();
            if part.send(&self.socket, SendFlags::empty()).is_err() {
                end();
            }
            state = locked(&self.state);
        }
        state.sending = false;
    }
}

/// The runtime, as the plugin sees it.
struct Relay {
    socket: Arc<Outbox>,
    open: Mutex<HashMap<u64, Done>>,
    next: AtomicU64,
}

struct Side(Arc<Relay>);

impl RuntimeCalls for Side {
    fn call(&self, frame: Frame, done: Done) -> u64 {
        let relay = &self.0;
        let id = relay.next.fetch_add(1, Ordering::Relaxed);
        match pack(Kind::Call, id, 0, &frame) {
            Ok(packed) => {
                locked(&relay.open).insert(id, done);
                relay.socket.send(Ok(packed));
            }
            Err(why) => done.complete(status::BAD_FRAME, wire::frame(&why)),
        }
        id
    }

    fn cancel(&self, id: u64) {
        let open = locked(&self.0.open).remove(&id);
        if open.is_some() {
            self.0.socket.send(pack(Kind::Cancel, id, 0, &Frame::default()));
        }
    }

    fn log(&self, level: u32, line: &str) {
        // A line longer than the runtime keeps is cut here.
        let line: String = line.chars().take(2_000).collect();
        self.0.socket.send(pack(Kind::Log, 0, level, &Frame::from_head(line.into_bytes())));
    }
}
