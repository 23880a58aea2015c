//! The connected clients.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use subtle::ConstantTimeEq;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot, watch};
use vestibule_plugin_api::*;

/// The chat that every terminal is in.
const CHAT: &str = "local";
/// The longest line of a client, in bytes: a character may be written as six.
const LINE_BYTES_MAX: usize = TEXT_BYTES_MAX * 6 + 64 * 1024;
/// The files of one line together, in bytes: what is held in memory. The runtime's own limit is lower.
const FILES_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// A client that stops in the middle of a file for this long is stuck.
const FILE_PATIENCE: Duration = Duration::from_secs(60);
/// How many clients may be connected.
const CLIENTS_MAX: usize = 64;
/// The most bytes of one write.
const PIECE_BYTES: usize = 64 * 1024;
/// How many lines may wait for a client that writes and does not read; at this number the channel reads no further
/// line of that client.
const WAITING_LINES_MAX: usize = 4096;
/// A client that takes no line for this long, and writes none, is stuck.
const WRITE_PATIENCE: Duration = Duration::from_secs(5);
/// A client that does not show its token within this time is disconnected.
const TOKEN_PATIENCE: Duration = Duration::from_secs(5);

/// A line on its way to a client, and the files that follow it.
struct Outgoing {
    line: serde_json::Value,
    files: Vec<Attachment>,
    /// Fires when the client's socket has all of it; dropped when it never will.
    written: oneshot::Sender<()>,
}

/// The queue of lines for a client. Its socket is read while they wait.
type Lines = mpsc::Sender<Outgoing>;

/// The connected clients, by thread.
#[derive(Default)]
pub struct Clients {
    open: Mutex<HashMap<String, Client>>,
}

#[derive(Clone)]
struct Client {
    lines: Lines,
    /// A person sits there, and reads whatever comes.
    interactive: bool,
}

#[derive(serde::Deserialize)]
struct Greeting {
    token: String,
    #[serde(default)]
    interactive: bool,
}

#[derive(serde::Deserialize)]
struct Line {
    text: String,
    #[serde(default)]
    files: Vec<FileHead>,
}

/// A file that follows its line.
#[derive(serde::Deserialize)]
struct FileHead {
    name: String,
    size: u64,
}

impl Clients {
    fn open(&self) -> MutexGuard<'_, HashMap<String, Client>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows a reply to the client that asked; when that one has gone, or the reply answers no client, to every
    /// interactive client.
    ///
    /// # Errors
    /// No such client is connected. A reply that answers no client waits for one.
    pub async fn show(
        &self,
        thread: Option<&str>,
        text: &str,
        in_reply_to: Option<&str>,
        files: &[Attachment],
    ) -> Result<()> {
        let readers: Vec<Client> = {
            let open = self.open();
            match thread.and_then(|thread| open.get(thread)) {
                Some(asker) => vec![asker.clone()],
                None => open.values().filter(|client| client.interactive).cloned().collect(),
            }
        };
        let mut line = serde_json::json!({ "text": text, "in_reply_to": in_reply_to });
        if !files.is_empty() {
            let head =
                |file: &Attachment| serde_json::json!({ "name": file.name, "size": bytes(file).len() });
            line["files"] = files.iter().map(head).collect();
        }
        let mut shown = false;
        for reader in readers {
            shown |= show_one(&reader.lines, line.clone(), files.to_vec()).await;
        }
        match (shown, thread) {
            (true, _) => Ok(()),
            (false, Some(_)) => Err(PluginError::refused("the terminal that asked has gone")),
            (false, None) => Err(PluginError::retry("no terminal is connected")),
        }
    }

    /// Takes a client in, unless there are too many.
    fn enter(&self, name: &str, lines: &Lines, interactive: bool) -> std::result::Result<(), String> {
        let mut open = self.open();
        if open.len() >= CLIENTS_MAX {
            return Err(format!("{CLIENTS_MAX} terminals are connected; close one"));
        }
        open.insert(name.to_owned(), Client { lines: lines.clone(), interactive });
        Ok(())
    }
}

/// Serves one client until it goes, or the channel is stopped.
pub async fn serve(
    stream: UnixStream,
    name: String,
    clients: Arc<Clients>,
    token: Arc<Secret>,
    runtime: Runtime,
    mut stopped: watch::Receiver<bool>,
) {
    let (from, to) = stream.into_split();
    let mut from = BufReader::new(from);
    let (lines, waiting) = mpsc::channel(WAITING_LINES_MAX);
    let heard = Arc::new(AtomicU64::new(0));
    let writer = tokio::spawn(write_all(to, waiting, heard.clone()));
    let greeted = tokio::time::timeout(TOKEN_PATIENCE, greet(&mut from, &token)).await;
    let welcome = match greeted {
        Ok(greeted) => greeted.and_then(|interactive| clients.enter(&name, &lines, interactive)),
        Err(_) => return,
    };
    let entered = welcome.is_ok();
    let answer = welcome.map_or_else(
        |why| serde_json::json!({ "error": why }),
        |()| serde_json::json!({ "ready": true, "thread": name }),
    );
    if say(&lines, answer).await && entered {
        listen(&mut from, &name, &lines, &heard, &runtime, &mut stopped).await;
    }
    if entered {
        clients.open().remove(&name);
    }
    // The last lines are still written.
    drop(lines);
    let _ = writer.await;
}

async fn greet(from: &mut BufReader<OwnedReadHalf>, token: &Secret) -> std::result::Result<bool, String> {
    let line = read(from).await.ok_or("the first line must show the token")?;
    let greeting: Greeting = serde_json::from_slice(&line.unwrap_or_default())
        .map_err(|_| "the first line must be {\"token\":\"…\"}".to_owned())?;
    let right = bool::from(greeting.token.as_bytes().ct_eq(token.expose().as_bytes()));
    if right {
        Ok(greeting.interactive)
    } else {
        Err("the token is wrong; it is in control.token in the home".into())
    }
}

async fn listen(
    from: &mut BufReader<OwnedReadHalf>,
    name: &str,
    lines: &Lines,
    heard: &AtomicU64,
    runtime: &Runtime,
    stopped: &mut watch::Receiver<bool>,
) {
    loop {
        // A line that was read is taken, and its client told so, also while the channel is stopped.
        let line = tokio::select! {
            _ = stopped.wait_for(|stopped| *stopped) => return,
            line = read(from) => line,
        };
        let Some(line) = line else { return };
        let number = heard.fetch_add(1, Ordering::Relaxed) + 1;
        let line = line.and_then(|line| {
            let line = serde_json::from_slice::<Line>(&line);
            line.map_err(|error| format!("the line cannot be read: {error}"))
        });
        let answer = match line {
            Ok(line) if line.text.trim().is_empty() && line.files.is_empty() => {
                serde_json::json!({ "error": "the message is empty" })
            }
            Ok(line) => match read_files(from, line.files).await {
                Some(files) => take(runtime, name, number, line.text, files).await,
                None => return,
            },
            Err(why) => serde_json::json!({ "error": why }),
        };
        if !say(lines, answer).await {
            return;
        }
    }
}

/// The files that follow a line; `None` when the client has gone, is stuck, or sends too much.
async fn read_files(from: &mut BufReader<OwnedReadHalf>, heads: Vec<FileHead>) -> Option<Vec<Attachment>> {
    let mut room = FILES_BYTES_MAX;
    let mut files = Vec::new();
    for head in heads {
        room = room.checked_sub(head.size)?;
        let mut bytes = Vec::new();
        let mut file = from.take(head.size);
        tokio::time::timeout(FILE_PATIENCE, file.read_to_end(&mut bytes)).await.ok()?.ok()?;
        if bytes.len() as u64 != head.size {
            return None;
        }
        files.push(Attachment {
            name: head.name,
            size_bytes: Some(head.size),
            bytes: Some(bytes.into()),
            ..Attachment::default()
        });
    }
    Some(files)
}

async fn take(
    runtime: &Runtime,
    name: &str,
    number: u64,
    text: String,
    attachments: Vec<Attachment>,
) -> serde_json::Value {
    let id = format!("{name}-{number}");
    let message = InboundMessage {
        event_id: id.clone(),
        message_id: id.clone(),
        platform_id: CHAT.into(),
        thread_id: Some(name.into()),
        sender: Sender {
            handle: "local".into(),
            name: Some("terminal".into()),
            is_bot: false,
            ..Sender::default()
        },
        text,
        attachments,
        timestamp: Timestamp::now(),
        is_mention: true,
        ..InboundMessage::default()
    };
    match runtime.message(message).await {
        Ok(Accepted::Dropped { reason }) => {
            serde_json::json!({ "error": format!("no agent heard it ({reason}); `vestibule status` says what to do") })
        }
        Ok(_) => serde_json::json!({ "taken": id }),
        Err(error) => serde_json::json!({ "error": format!("it was not taken: {}", error.reason()) }),
    }
}

/// One line, or why it is left out; `None` when the client has gone.
async fn read(from: &mut BufReader<OwnedReadHalf>) -> Option<std::result::Result<Vec<u8>, String>> {
    let mut line = Vec::new();
    let mut bounded = (&mut *from).take(LINE_BYTES_MAX as u64);
    bounded.read_until(b'\n', &mut line).await.ok()?;
    if line.ends_with(b"\n") {
        return Some(Ok(line));
    }
    if line.len() < LINE_BYTES_MAX {
        return None;
    }
    drop(line);
    // The lines that follow it are read.
    loop {
        let piece = from.fill_buf().await.ok().filter(|piece| !piece.is_empty())?;
        let end = piece.iter().position(|byte| *byte == b'\n');
        let used = end.map_or(piece.len(), |at| at + 1);
        from.consume(used);
        if end.is_some() {
            return Some(Err(format!("the line was left out: it has more than {LINE_BYTES_MAX} bytes")));
        }
    }
}

/// Queues a line for the client; false when the client has gone, or is stuck.
async fn say(lines: &Lines, line: serde_json::Value) -> bool {
    lines.send(Outgoing { line, files: vec![], written: oneshot::channel().0 }).await.is_ok()
}

/// The same with files; returns when the client's socket has all of it.
async fn show_one(lines: &Lines, line: serde_json::Value, files: Vec<Attachment>) -> bool {
    let (written, is_written) = oneshot::channel();
    lines.send(Outgoing { line, files, written }).await.is_ok() && is_written.await.is_ok()
}

fn bytes(file: &Attachment) -> &[u8] {
    file.bytes.as_deref().unwrap_or_default()
}

/// Writes a client's lines one after another, each with its files. Ends when the client has gone or is stuck, which
/// drops the lines that still wait. `heard` counts the client's own lines.
async fn write_all(mut to: OwnedWriteHalf, mut waiting: mpsc::Receiver<Outgoing>, heard: Arc<AtomicU64>) {
    while let Some(next) = waiting.recv().await {
        let line = format!("{}\n", next.line);
        let parts = std::iter::once(line.as_bytes()).chain(next.files.iter().map(bytes));
        for part in parts.flat_map(|part| part.chunks(PIECE_BYTES)) {
            if !write(&mut to, part, &heard).await {
                return;
            }
        }
        let _ = next.written.send(());
    }
}

/// False when the client has gone or is stuck.
async fn write(to: &mut OwnedWriteHalf, part: &[u8], heard: &AtomicU64) -> bool {
    let mut write = std::pin::pin!(to.write_all(part));
    loop {
        let before = heard.load(Ordering::Relaxed);
        match tokio::time::timeout(WRITE_PATIENCE, &mut write).await {
            Ok(written) => return written.is_ok(),
            Err(_) if heard.load(Ordering::Relaxed) == before => return false,
            Err(_) => {}
        }
    }
}
