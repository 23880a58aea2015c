//! A channel in one file, on the toolbox. Its platform is a server with a line of text for each message: `ann: hello` is what
//! ann wrote, and a line that begins with `ann: ` is shown to her. `cargo run --example peer` is such a server.

use std::{sync::Arc, time::Duration};
use vestibule_plugin_api::toolbox::lines::{Lines, cut};
use vestibule_plugin_api::toolbox::markdown::{self, Dialect};
use vestibule_plugin_api::toolbox::{inbox::Inbox, pace::Pace, sending::Sending, task::Task};
use vestibule_plugin_api::*;

config! {
    /// `[channels.desk.main]` in `vestibule.toml`; every key is optional.
    struct Config {
        /// The server as HOST:PORT
        server: String = "127.0.0.1:7107",
    }
}

/// The longest line, in bytes: one that is sent, without its name, and one that is read.
const SENT_BYTES_MAX: usize = 4 * 1024;
const READ_BYTES_MAX: usize = 64 * 1024;
/// A connection in which nothing comes for so long is made anew, since the server never says that it is still there.
const QUIET: Duration = Duration::from_secs(3_600);
/// The most messages that are held while the runtime takes none.
const HELD_MAX: usize = 512;

struct DeskChannel {
    shared: Arc<Shared>,
    task: Task,
}

struct Shared {
    config: Config,
    runtime: Runtime,
    lines: Lines,
    inbox: Inbox,
}

#[async_trait]
impl Channel for DeskChannel {
    type Config = Config;

    async fn start(config: Config, runtime: Runtime) -> Result<Self> {
        let (lines, inbox) = (Lines::new("the server"), Inbox::new(&runtime, HELD_MAX));
        let shared = Arc::new(Shared { config, runtime: runtime.clone(), lines, inbox });
        Ok(DeskChannel { task: Task::start(&runtime, stay(shared.clone())), shared })
    }

    async fn deliver(&self, message: OutboundMessage) -> Result<Receipt> {
        let Content::Text { text } = message.content else {
            return Err(PluginError::unsupported("the server takes text only"));
        };
        // An agent writes Markdown; the server shows lines of plain words.
        let parts = cut(&markdown::whole(&text, Dialect::Plain), SENT_BYTES_MAX);
        let to = message.address.platform_id.as_str();
        let mut sending = Sending::of(&self.shared.runtime, &message.id, message.sent_so_far, parts.len());
        for part in parts.iter().skip(sending.parts()) {
            self.shared.lines.send(&format!("{to}: {part}")).await?;
            sending.went(None).await;
        }
        Ok(sending.receipt())
    }

    async fn stop(&self) {
        self.task.end().await;
        self.shared.inbox.end().await;
    }
}

/// Stays connected until it is aborted.
async fn stay(shared: Arc<Shared>) {
    let mut pace = Pace::new(shared.runtime.clone());
    loop {
        let ended = listen(&shared, &mut pace).await;
        pace.after(ended).await;
    }
}

/// Connects, and hears the server until the connection ends.
async fn listen(shared: &Shared, pace: &mut Pace) -> Result<()> {
    let mut reader = shared.lines.open(&shared.config.server, READ_BYTES_MAX).await?;
    pace.works().await;
    tracing::info!(server = shared.config.server, "connected");
    let (since, mut number) = (Timestamp::now().0, 0);
    loop {
        let line = reader.next(QUIET).await?;
        let Some((name, text)) = line.split_once(": ").filter(|(name, _)| !name.is_empty()) else { continue };
        number += 1;
        // The server gives what is said no id, so it has one of its connection's start and its number.
        shared.inbox.put(message(name, text, format!("{since}-{number}"))).await;
    }
}

fn message(name: &str, text: &str, id: String) -> InboundMessage {
    InboundMessage {
        event_id: id.clone(),
        message_id: id,
        platform_id: name.into(),
        sender: Sender { handle: name.into(), name: Some(name.into()), ..Sender::default() },
        text: text.to_owned(),
        timestamp: Timestamp::now(),
        is_mention: true,
        ..InboundMessage::default()
    }
}

export_channel! {
    channel: DeskChannel,
    channel_type: "desk",
    description: "Lines of text from a server",
}

#[cfg(test)]
mod tests;
