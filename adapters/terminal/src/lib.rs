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
use std::path::PathBuf;
use std::sync::Arc;
use tokio::net::UnixListener;
use tokio::task::JoinHandle;
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

struct Terminal {
    clients: Arc<Clients>,
    listener: JoinHandle<()>,
    socket: PathBuf,
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
        let accept = accept(listener, clients.clone(), Arc::new(config.token), runtime);
        Ok(Terminal { clients, listener: tokio::spawn(accept), socket: config.socket })
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
        self.listener.abort();
        self.clients.hang_up();
        let _ = std::fs::remove_file(&self.socket);
    }
}

async fn accept(listener: UnixListener, clients: Arc<Clients>, token: Arc<Secret>, runtime: Runtime) {
    let mut number = 0_u64;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                number += 1;
                // Unique also across restarts: event ids are remembered for a month.
                let name = format!("tty-{}-{number}", Timestamp::now().0);
                tokio::spawn(serve(stream, name, clients.clone(), token.clone(), runtime.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "a terminal could not connect");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}

export_channel! {
    channel: Terminal,
    channel_type: "terminal",
    description: "Terminals on this machine",
    capabilities: ["threads", "attachments", "local_socket"],
}
