//! The connected clients.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use subtle::ConstantTimeEq;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use vestibule_plugin_api::*;

/// The chat that every terminal is in.
const CHAT: &str = "local";
/// The longest line of a client, in bytes.
const LINE_BYTES_MAX: usize = TEXT_BYTES_MAX * 2;
/// The files of one line together, in bytes: what is held in memory. The runtime's own limit is lower.
const FILES_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// A client that stops in the middle of a file for this long is stuck.
const FILE_PATIENCE: Duration = Duration::from_secs(60);
/// How many clients may be connected.
const CLIENTS_MAX: usize = 64;
/// What is written at a time, in bytes.
const PIECE_BYTES: usize = 64 * 1024;
/// A client that takes no line for this long is stuck.
const WRITE_PATIENCE: Duration = Duration::from_secs(5);
/// A client shows its token within this time, or goes.
const TOKEN_PATIENCE: Duration = Duration::from_secs(5);

type Writer = Arc<tokio::sync::Mutex<OwnedWriteHalf>>;

/// Who is connected.
#[derive(Default)]
pub struct Clients {
    open: Mutex<HashMap<String, Client>>,
}

#[derive(Clone)]
struct Client {
    writer: Writer,
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

    /// Shows a reply to the client that asked; when it has gone, or when nobody asked, to whoever
    /// sits at an interactive one.
    ///
    /// # Errors
    /// Nobody is there. What nobody asked for waits for somebody.
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
        let files: Vec<(&str, &[u8])> = files
            .iter()
            .map(|file| (file.name.as_str(), file.bytes.as_deref().unwrap_or_default()))
            .collect();
        if !files.is_empty() {
            let head =
                |(name, bytes): &(&str, &[u8])| serde_json::json!({ "name": name, "size": bytes.len() });
            line["files"] = files.iter().map(head).collect();
        }
        let mut shown = false;
        for reader in readers {
            shown |= write_with(&reader.writer, &line, &files).await.is_ok();
        }
        match (shown, thread) {
            (true, _) => Ok(()),
            (false, Some(_)) => Err(PluginError::refused("the terminal that asked has gone")),
            (false, None) => Err(PluginError::retry("no terminal is connected")),
        }
    }

    /// Ends every connection.
    pub fn hang_up(&self) {
        self.open().clear();
    }
}

/// Serves one client until it goes.
pub async fn serve(
    stream: UnixStream,
    name: String,
    clients: Arc<Clients>,
    token: Arc<Secret>,
    runtime: Runtime,
) {
    let (from, to) = stream.into_split();
    let (mut from, writer) = (BufReader::new(from), Arc::new(tokio::sync::Mutex::new(to)));
    let greeted = tokio::time::timeout(TOKEN_PATIENCE, greet(&mut from, &token)).await;
    let interactive = match greeted {
        Ok(Ok(interactive)) => interactive,
        Ok(Err(why)) => return drop(write(&writer, &serde_json::json!({ "error": why })).await),
        Err(_) => return,
    };
    {
        let mut open = clients.open();
        if open.len() < CLIENTS_MAX {
            open.insert(name.clone(), Client { writer: writer.clone(), interactive });
        }
    }
    if clients.open().contains_key(&name) {
        let _ = write(&writer, &serde_json::json!({ "ready": true })).await;
        listen(&mut from, &name, &writer, &runtime).await;
        clients.open().remove(&name);
    } else {
        let why = format!("{CLIENTS_MAX} terminals are connected; close one");
        let _ = write(&writer, &serde_json::json!({ "error": why })).await;
    }
}

async fn greet(from: &mut BufReader<OwnedReadHalf>, token: &Secret) -> std::result::Result<bool, String> {
    let line = read(from).await.ok_or("the first line must show the token")?;
    let greeting: Greeting =
        serde_json::from_slice(&line).map_err(|_| "the first line must be {\"token\":\"…\"}".to_owned())?;
    let right = bool::from(greeting.token.as_bytes().ct_eq(token.expose().as_bytes()));
    if right {
        Ok(greeting.interactive)
    } else {
        Err("the token is wrong; it is in control.token in the home".into())
    }
}

async fn listen(from: &mut BufReader<OwnedReadHalf>, name: &str, writer: &Writer, runtime: &Runtime) {
    let mut number = 0_u64;
    while let Some(line) = read(from).await {
        number += 1;
        let answer = match serde_json::from_slice::<Line>(&line) {
            Ok(line) => match read_files(from, line.files).await {
                Some(files) => take(runtime, name, number, line.text, files).await,
                None => return,
            },
            Err(error) => serde_json::json!({ "error": format!("the line cannot be read: {error}") }),
        };
        if write(writer, &answer).await.is_err() {
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
        sender: Sender { handle: "local".into(), name: Some("terminal".into()), is_bot: false },
        text,
        reply_to: None,
        attachments,
        timestamp: Timestamp::now(),
        is_mention: true,
        is_group: false,
    };
    match runtime.message(message).await {
        Ok(Accepted::Dropped { reason }) => {
            serde_json::json!({ "error": format!("nobody heard it ({reason}); `vestibule status` says what to do") })
        }
        Ok(_) => serde_json::json!({ "taken": id }),
        Err(error) => serde_json::json!({ "error": format!("it was not taken: {}", error.reason()) }),
    }
}

/// One line; `None` when the client has gone or its line is too long.
async fn read(from: &mut BufReader<OwnedReadHalf>) -> Option<Vec<u8>> {
    let mut line = Vec::new();
    let mut bounded = from.take(LINE_BYTES_MAX as u64);
    bounded.read_until(b'\n', &mut line).await.ok()?;
    line.ends_with(b"\n").then_some(line)
}

async fn write(writer: &Writer, line: &serde_json::Value) -> std::io::Result<()> {
    write_with(writer, line, &[]).await
}

/// One line and the files that follow it, with nobody's line in between.
async fn write_with(
    writer: &Writer,
    line: &serde_json::Value,
    files: &[(&str, &[u8])],
) -> std::io::Result<()> {
    let mut writer = writer.lock().await;
    let line = format!("{line}\n");
    let parts = std::iter::once(line.as_bytes()).chain(files.iter().map(|(_, bytes)| *bytes));
    for part in parts.flat_map(|part| part.chunks(PIECE_BYTES)) {
        tokio::time::timeout(WRITE_PATIENCE, writer.write_all(part))
            .await
            .unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))?;
    }
    Ok(())
}
