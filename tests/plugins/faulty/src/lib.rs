//! A channel with every bug. Lines over TCP are messages, replies are lines back; a line that starts
//! with `!` is a fault to commit at once, a reply that starts with `do ` one to commit in `deliver`
//! (`do take BYTES` is none: it is refused unless so many bytes of files came with it).

mod fault;
mod raw;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use vestibule_plugin_api::*;

config! {
    struct Config {
        /// Where lines are taken
        listen: Option<String>,
        /// A local socket; who connects is told `here`
        socket: Option<std::path::PathBuf>,
        /// A fault to commit at every start
        at_start: Option<String>,
        /// A fault to commit at every delivery
        at_deliver: Option<String>,
        /// A fault to commit at every stop
        at_stop: Option<String>,
    }
}

type Writers = Arc<Mutex<HashMap<String, Arc<tokio::sync::Mutex<OwnedWriteHalf>>>>>;

struct Faulty {
    listener: Option<JoinHandle<()>>,
    writers: Writers,
    runtime: Runtime,
    at_deliver: Option<String>,
    at_stop: Option<String>,
}

#[async_trait]
impl Channel for Faulty {
    type Config = Config;

    async fn start(config: Config, runtime: Runtime) -> Result<Self> {
        if let Some(fault) = config.at_start {
            fault::commit(&fault, &runtime).await;
        }
        let writers = Writers::default();
        let listener = match config.listen {
            None => None,
            Some(at) => {
                let listener = TcpListener::bind(&at).await?;
                Some(tokio::spawn(accept(listener, writers.clone(), runtime.clone())))
            }
        };
        if let Some(socket) = config.socket {
            let socket = local_socket(&socket)?;
            tokio::spawn(async move {
                while let Ok((mut stream, _)) = socket.accept().await {
                    let _ = stream.write_all(b"here\n").await;
                }
            });
        }
        let Config { at_deliver, at_stop, .. } = config;
        Ok(Faulty { listener, writers, runtime, at_deliver, at_stop })
    }

    async fn deliver(&self, message: OutboundMessage) -> Result<Receipt> {
        let Content::Text { text } = message.content else {
            return Err(PluginError::unsupported("only text"));
        };
        if let Some(fault) = &self.at_deliver {
            fault::commit(fault, &self.runtime).await;
        }
        if let Some(want) = text.strip_prefix("do take ") {
            let files = message.attachments.iter().filter_map(|file| file.bytes.as_ref());
            let came: usize = files.map(|bytes| bytes.len()).sum();
            if came.to_string() != want {
                return Err(PluginError::refused(format!("of {want} bytes of files came {came}")));
            }
        } else if let Some(fault) = text.strip_prefix("do ") {
            fault::commit(fault, &self.runtime).await;
        }
        let caller = message.address.thread_id.map(|thread| thread.0).unwrap_or_default();
        let writer = self.writers.lock().unwrap().get(&caller).cloned();
        if let Some(writer) = writer {
            writer.lock().await.write_all(format!("{text}\n").as_bytes()).await?;
        }
        Ok(Receipt::default())
    }

    async fn stop(&self) {
        if let Some(fault) = &self.at_stop {
            fault::commit(fault, &self.runtime).await;
        }
        if let Some(listener) = &self.listener {
            listener.abort();
        }
    }
}

async fn accept(listener: TcpListener, writers: Writers, runtime: Runtime) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(serve(stream, writers.clone(), runtime.clone()));
    }
}

async fn serve(stream: TcpStream, writers: Writers, runtime: Runtime) {
    let caller = format!("call-{}-{}", Timestamp::now().0, stream.peer_addr().map_or(0, |a| a.port()));
    let (reader, writer) = stream.into_split();
    let writer = Arc::new(tokio::sync::Mutex::new(writer));
    writers.lock().unwrap().insert(caller.clone(), writer.clone());
    let mut lines = BufReader::new(reader).lines();
    let mut number = 0;
    while let Ok(Some(line)) = lines.next_line().await {
        if let Some(fault) = line.strip_prefix('!') {
            let said = fault::commit(fault, &runtime).await;
            let _ = writer.lock().await.write_all(format!("{said}\n").as_bytes()).await;
            continue;
        }
        number += 1;
        let message = message(&format!("{caller}-{number}"), &caller, line);
        if let Err(error) = runtime.message(message).await {
            tracing::warn!(reason = error.reason(), "a line was not taken");
        }
    }
}

/// A message in the thread of a caller; what nobody called for goes to a chat nobody hears.
fn message(id: &str, caller: &str, text: String) -> InboundMessage {
    InboundMessage {
        event_id: id.into(),
        message_id: id.into(),
        platform_id: if caller.starts_with("call-") { "lines".into() } else { caller.into() },
        thread_id: Some(caller.into()),
        sender: Sender { handle: "caller".into(), name: None, is_bot: false, ..Sender::default() },
        text,
        timestamp: Timestamp::now(),
        is_mention: true,
        is_group: true,
        ..InboundMessage::default()
    }
}

export_channel! {
    channel: Faulty,
    channel_type: "faulty",
    description: "Every bug there is",
    capabilities: ["threads", "local_socket"],
}
