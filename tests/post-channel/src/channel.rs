//! A channel whose platform is a test: it sends an event again until it is told that it was taken,
//! and shows what is posted.

use serde_json::{Value, json};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use vestibule_plugin_api::*;

#[derive(serde::Deserialize)]
pub struct Config {
    /// Where the platform is.
    platform: String,
}

/// How it fails at its start: a test changes the last byte in a copy of the file.
#[used]
static MODE: [u8; 11] = *b"POST-MODE:.";

pub struct Post {
    platform: String,
    events: JoinHandle<()>,
    runtime: Runtime,
}

#[async_trait]
impl Channel for Post {
    type Config = Config;

    async fn start(config: Config, runtime: Runtime) -> Result<Self> {
        match std::hint::black_box(&MODE)[10] {
            b'b' => return Err(PluginError::broken("told to")),
            b'p' => panic!("told to"),
            b'a' => std::process::abort(),
            b's' => tokio::time::sleep(Duration::from_secs(1)).await,
            b'h' => std::future::pending().await,
            _ => {}
        }
        let platform = config.platform.clone();
        let own = runtime.clone();
        let events = tokio::spawn(async move {
            loop {
                // Whatever ends it: the platform sends again what nobody confirmed.
                let _ = listen(&config.platform, &runtime).await;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        Ok(Post { platform, events, runtime: own })
    }

    async fn deliver(&self, message: OutboundMessage) -> Result<Receipt> {
        let mut stream = BufReader::new(TcpStream::connect(&self.platform).await?);
        let post = match &message.content {
            Content::Text { text } => {
                json!({ "post": message.id, "text": text, "in_reply_to": message.in_reply_to })
            }
            content => json!({ "post": message.id, "content": content }),
        };
        say(&mut stream, &post).await?;
        let mut answer = String::new();
        if stream.read_line(&mut answer).await? == 0 {
            return Err(PluginError::in_doubt("the platform hung up"));
        }
        Ok(Receipt { platform_message_id: Some(message.id) })
    }

    /// Takes the body as a message, and counts them where a restart does not forget.
    async fn webhook(&self, request: WebhookRequest) -> Result<WebhookResponse> {
        let count = self.runtime.state_get("webhooks").await?.and_then(|count| count.parse().ok());
        let count = count.unwrap_or(0_u64) + 1;
        let message = InboundMessage {
            event_id: format!("webhook/{count}"),
            message_id: count.to_string(),
            platform_id: "webhooks".into(),
            sender: Sender { handle: "somebody".into(), name: None, is_bot: false },
            text: String::from_utf8_lossy(&request.body).into_owned(),
            timestamp: Timestamp::now(),
            is_mention: true,
            ..InboundMessage::default()
        };
        self.runtime.message_with(message, vec![StateWrite::set("webhooks", count.to_string())]).await?;
        Ok(WebhookResponse::text(200, count.to_string()))
    }

    async fn working(&self, working: Working) -> Result<()> {
        let mut stream = BufReader::new(TcpStream::connect(&self.platform).await?);
        say(&mut stream, &json!({ "working": working })).await
    }

    async fn stop(&self) {
        self.events.abort();
    }
}

async fn say(stream: &mut BufReader<TcpStream>, line: &Value) -> Result<()> {
    Ok(stream.get_mut().write_all(format!("{line}\n").as_bytes()).await?)
}

async fn listen(platform: &str, runtime: &Runtime) -> Result<()> {
    let mut stream = BufReader::new(TcpStream::connect(platform).await?);
    say(&mut stream, &json!({ "events": true })).await?;
    let mut line = String::new();
    while stream.read_line(&mut line).await? > 0 {
        let event: Value = serde_json::from_str(&line)?;
        let word = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
        if !event["change"].is_null() {
            let change = Change {
                event_id: word("id"),
                message_id: word("of"),
                platform_id: word("chat").into(),
                sender: Sender { handle: "somebody".into(), name: None, is_bot: false },
                timestamp: Timestamp::now(),
                what: serde_json::from_value(event["change"].clone())?,
                ..Change::default()
            };
            runtime.change(change).await?;
            say(&mut stream, &json!({ "taken": word("id") })).await?;
            line.clear();
            continue;
        }
        let message = InboundMessage {
            event_id: word("id"),
            message_id: word("id"),
            platform_id: word("chat").into(),
            sender: Sender { handle: "somebody".into(), name: None, is_bot: false },
            text: word("text"),
            timestamp: Timestamp::now(),
            is_mention: true,
            ..InboundMessage::default()
        };
        runtime.message(message).await?;
        say(&mut stream, &json!({ "taken": word("id") })).await?;
        line.clear();
    }
    Ok(())
}
