//! A complete channel in one file: each line of text that arrives over TCP is a message, each reply
//! is a line back. Try it with `nc 127.0.0.1 7007`.
//!
//! A line `file SIZE NAME` with that many bytes behind it is a file: it goes with the next line. So do
//! the files of a reply.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use vestibule_plugin_api::*;

config! {
    /// `[channels.echo.main]` in `vestibule.toml`; every key is optional.
    struct Config {
        /// Where lines are taken
        listen: String = "127.0.0.1:7007",
    }
}

/// The largest file, in bytes: it is held in memory. The runtime's own limit is lower.
const FILE_BYTES_MAX: usize = 128 * 1024 * 1024;
/// How long a caller who has stopped talking is kept.
const LISTENING: std::time::Duration = std::time::Duration::from_secs(5);

type Writers = Arc<Mutex<HashMap<String, Arc<tokio::sync::Mutex<OwnedWriteHalf>>>>>;

struct EchoChannel {
    listener: JoinHandle<()>,
    writers: Writers,
}

#[async_trait]
impl Channel for EchoChannel {
    type Config = Config;

    async fn start(config: Config, runtime: Runtime) -> Result<Self> {
        let listener = TcpListener::bind(&config.listen).await?;
        tracing::info!(address = %listener.local_addr()?, "taking lines");
        let writers = Writers::default();
        let accept = runtime.named(accept(listener, writers.clone(), runtime.clone()));
        Ok(EchoChannel { listener: tokio::spawn(accept), writers })
    }

    async fn deliver(&self, message: OutboundMessage) -> Result<Receipt> {
        let Content::Text { text } = message.content else {
            return Err(PluginError::unsupported("only text can be sent as a line"));
        };
        // The thread is the caller's connection. A caller who hung up cannot be reached any more.
        let caller = message.address.thread_id.map(|thread| thread.0).unwrap_or_default();
        let writer = self.writers.lock().unwrap_or_else(PoisonError::into_inner).get(&caller).cloned();
        let writer = writer.ok_or_else(|| PluginError::refused("the caller has hung up"))?;
        let mut reply = Vec::new();
        for file in &message.attachments {
            let bytes = file.bytes.as_deref().unwrap_or_default();
            reply.extend(format!("file {} {}\n", bytes.len(), file.name).as_bytes());
            reply.extend(bytes);
        }
        reply.extend(format!("{}\n", text.replace('\n', " ")).as_bytes());
        writer.lock().await.write_all(&reply).await?;
        Ok(Receipt::default())
    }

    async fn stop(&self) {
        self.listener.abort();
    }
}

/// Takes calls until it is aborted; the calls end with it.
async fn accept(listener: TcpListener, writers: Writers, runtime: Runtime) {
    let mut calls = JoinSet::new();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let call = serve(stream, writers.clone(), runtime.clone());
                calls.spawn(runtime.named(call));
            }
            Err(error) => {
                tracing::warn!(%error, "a call could not be taken");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
        while calls.try_join_next().is_some() {}
    }
}

async fn serve(stream: TcpStream, writers: Writers, runtime: Runtime) {
    // Unique also across restarts: event ids are remembered for a month.
    let caller = format!("call-{}-{}", Timestamp::now().0, stream.peer_addr().map_or(0, |a| a.port()));
    let (reader, writer) = stream.into_split();
    let remember = || writers.lock().unwrap_or_else(PoisonError::into_inner);
    remember().insert(caller.clone(), Arc::new(tokio::sync::Mutex::new(writer)));
    if let Err(error) = read_lines(BufReader::new(reader).lines(), &caller, &runtime).await {
        tracing::warn!(reason = error.reason(), "a call ended early");
    }
    // A caller who has sent the last line may still listen.
    tokio::time::sleep(LISTENING).await;
    remember().remove(&caller);
}

async fn read_lines(
    mut lines: Lines<BufReader<OwnedReadHalf>>,
    caller: &str,
    runtime: &Runtime,
) -> Result<()> {
    let (mut number, mut files) = (0, Vec::new());
    while let Some(text) = lines.next_line().await? {
        if let Some((size, name)) = file_head(&text) {
            let mut bytes = vec![0; size];
            lines.get_mut().read_exact(&mut bytes).await?;
            files.push(Attachment { name: name.into(), bytes: Some(bytes.into()), ..Attachment::default() });
            continue;
        }
        number += 1;
        let message = InboundMessage {
            event_id: format!("{caller}-{number}"),
            message_id: format!("{caller}-{number}"),
            platform_id: "lines".into(),
            thread_id: Some(caller.into()),
            sender: Sender {
                handle: caller.into(),
                name: Some("caller".into()),
                is_bot: false,
                ..Sender::default()
            },
            text,
            attachments: std::mem::take(&mut files),
            timestamp: Timestamp::now(),
            is_mention: true,
            is_group: true,
            ..InboundMessage::default()
        };
        runtime.message(message).await?;
    }
    Ok(())
}

/// The size and the name in `file SIZE NAME`.
fn file_head(line: &str) -> Option<(usize, &str)> {
    let (size, name) = line.strip_prefix("file ")?.split_once(' ')?;
    Some((size.parse().ok().filter(|size| *size <= FILE_BYTES_MAX)?, name))
}

export_channel! {
    channel: EchoChannel,
    channel_type: "echo",
    description: "Lines of text over TCP",
    capabilities: ["threads", "attachments"],
}

#[cfg(test)]
mod tests;
