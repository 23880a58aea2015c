//! The terminal channel: a unix socket in the home, one JSON line each way. Several clients may be
//! connected; each is a thread of the one chat `local`.
//!
//! ```text
//! client                                  adapter
//! {"token":"…","interactive":true}    →
//!                                     ←   {"ready":true,"thread":"<its thread>"}
//! {"text":"hello"}                    →
//!                                     ←   {"taken":"<message id>"}   it is on disk
//!                                     ←   {"text":"hello","in_reply_to":"<message id>"}
//!                                     ←   {"error":"…"}              a sentence that says what went wrong
//! ```
//!
//! Either side may write without waiting for the other: its socket is read all the same.
//!
//! Either side's text may have `"files":[{"name":"a.pdf","size":3}]`: that many raw bytes of each file
//! follow the line.

mod client;

use client::{Clients, serve};
use std::fs::symlink_metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use vestibule_plugin_api::*;

config! {
    /// `[channels.terminal.main]`; the runtime fills in both keys.
    struct Config {
        /// The socket's path
        socket: PathBuf,
        /// What a client must show
        token: Secret,
    }
}

/// How long the lines that are under way when the channel is stopped may take.
const STOP_PATIENCE: Duration = Duration::from_secs(1);

struct Terminal {
    clients: Arc<Clients>,
    /// Accepts the clients and serves them: they end with it.
    listener: JoinHandle<()>,
    /// Whether the channel is being stopped; what serves the clients listens to it until it has ended.
    stopping: watch::Sender<bool>,
    socket: PathBuf,
    /// The file that the socket is.
    file: Option<(u64, u64)>,
}

#[async_trait]
impl Channel for Terminal {
    type Config = Config;

    async fn start(config: Config, runtime: Runtime) -> Result<Self> {
        // The runtime holds the home's lock, so a socket that lies there is a dead runtime's.
        let listener = local_socket(&config.socket).map_err(|error| {
            PluginError::broken(format!("cannot open the socket {}: {error}", config.socket.display()))
        })?;
        let clients = Arc::new(Clients::default());
        let (stopping, stopped) = watch::channel(false);
        let accept = accept(listener, clients.clone(), Arc::new(config.token), runtime, stopped);
        let file = file(&config.socket);
        Ok(Terminal { clients, listener: tokio::spawn(accept), stopping, socket: config.socket, file })
    }

    async fn deliver(&self, message: OutboundMessage) -> Result<Receipt> {
        let Content::Text { text } = message.content else {
            return Err(PluginError::unsupported("a terminal shows text only"));
        };
        let thread = message.address.thread_id.as_ref().map(ThreadId::as_str);
        self.clients.show(thread, &text, message.in_reply_to.as_deref(), &message.attachments).await?;
        Ok(Receipt::of([message.id]))
    }

    async fn stop(&self) {
        self.stopping.send_replace(true);
        let _ = tokio::time::timeout(STOP_PATIENCE, self.stopping.closed()).await;
        self.listener.abort();
        // The next account may have opened its own there already.
        if self.file.is_some() && self.file == file(&self.socket) {
            let _ = std::fs::remove_file(&self.socket);
        }
    }
}

/// The device and number of the file at this path.
fn file(path: &Path) -> Option<(u64, u64)> {
    symlink_metadata(path).ok().map(|meta| (meta.dev(), meta.ino()))
}

async fn accept(
    listener: UnixListener,
    clients: Arc<Clients>,
    token: Arc<Secret>,
    runtime: Runtime,
    mut stopped: watch::Receiver<bool>,
) {
    let mut serving = JoinSet::new();
    let mut number = 0_u64;
    loop {
        let accepted = tokio::select! {
            _ = stopped.wait_for(|stopped| *stopped) => break,
            accepted = listener.accept() => accepted,
            Some(_) = serving.join_next() => continue,
        };
        match accepted {
            Ok((stream, _)) => {
                number += 1;
                // Unique also across restarts: event ids are remembered for a month.
                let name = format!("tty-{}-{number}", Timestamp::now().0);
                let (clients, token, runtime) = (clients.clone(), token.clone(), runtime.clone());
                serving.spawn(serve(stream, name, clients, token, runtime, stopped.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "a terminal could not connect");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    while serving.join_next().await.is_some() {}
}

export_channel! {
    channel: Terminal,
    channel_type: "terminal",
    description: "Terminals on this machine",
    capabilities: ["threads", "attachments", "local_socket"],
}
