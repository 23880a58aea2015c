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
        if let Content::Text { text } = &message.content
            && let Some(lines) = text.strip_prefix("paced\n")
        {
            return self.pace(&message.id, lines, message.sent_so_far.unwrap_or_default()).await;
        }
        let post = match &message.content {
            Content::Text { text } => {
                json!({ "post": message.id, "text": text, "in_reply_to": message.in_reply_to,
                    "chat": message.address.platform_id, "subject": message.subject, "metadata": message.metadata })
            }
            content => json!({ "post": message.id, "content": content }),
        };
        self.post(&post).await?;
        Ok(Receipt::of([message.id]))
    }

    /// Takes the body as a message, and counts them where a restart does not forget.
    async fn webhook(&self, request: WebhookRequest) -> Result<WebhookResponse> {
        let count = self.runtime.state_get("webhooks").await?.and_then(|count| count.parse().ok());
        let count = count.unwrap_or(0_u64) + 1;
        let message = InboundMessage {
            event_id: format!("webhook/{count}"),
            message_id: count.to_string(),
            platform_id: "webhooks".into(),
            sender: Sender { handle: "somebody".into(), name: None, is_bot: false, ..Sender::default() },
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

impl Post {
    async fn post(&self, post: &Value) -> Result<()> {
        let mut stream = BufReader::new(TcpStream::connect(&self.platform).await?);
        say(&mut stream, post).await?;
        let mut answer = String::new();
        match stream.read_line(&mut answer).await? {
            0 => Err(PluginError::in_doubt("the platform hung up")),
            _ => Ok(()),
        }
    }

    /// Posts line by line, as a platform wants it that refuses what comes too fast.
    async fn pace(&self, id: &str, lines: &str, mut sent: SentSoFar) -> Result<Receipt> {
        for line in lines.lines().skip(sent.parts as usize) {
            tokio::time::sleep(Duration::from_millis(400)).await;
            let id_of_line = format!("{id}.{}", sent.parts);
            self.post(&json!({ "post": id_of_line, "text": line })).await?;
            sent.parts += 1;
            sent.message_ids.push(id_of_line);
            self.runtime.sent_so_far(id, sent.clone()).await?;
        }
        Ok(Receipt::of(sent.message_ids))
    }
}

async fn say(stream: &mut BufReader<TcpStream>, line: &Value) -> Result<()> {
    Ok(stream.get_mut().write_all(format!("{line}\n").as_bytes()).await?)
}

/// The message with the fields that the platform gives it.
fn with_more(message: InboundMessage, more: &Value) -> Result<InboundMessage> {
    let mut whole = serde_json::to_value(message)?;
    for (field, value) in more.as_object().into_iter().flatten() {
        whole[field] = value.clone();
    }
    Ok(serde_json::from_value(whole)?)
}

async fn listen(platform: &str, runtime: &Runtime) -> Result<()> {
    let mut stream = BufReader::new(TcpStream::connect(platform).await?);
    say(&mut stream, &json!({ "events": true })).await?;
    let mut line = String::new();
    while stream.read_line(&mut line).await? > 0 {
        let event: Value = serde_json::from_str(&line)?;
        let word = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
        if !event["late"].is_null() {
            runtime.late_receipt(serde_json::from_value(event["late"].clone())?).await?;
            say(&mut stream, &json!({ "taken": word("id") })).await?;
            line.clear();
            continue;
        }
        if !event["happened"].is_null() {
            let mut chat = event["happened"].clone();
            chat["platform_id"] = word("chat").into();
            runtime.chat(serde_json::from_value(chat)?, vec![]).await?;
            say(&mut stream, &json!({ "taken": word("id") })).await?;
            line.clear();
            continue;
        }
        if !event["change"].is_null() {
            let change = Change {
                event_id: word("id"),
                message_id: word("of"),
                platform_id: word("chat").into(),
                sender: Sender { handle: "somebody".into(), name: None, is_bot: false, ..Sender::default() },
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
            sender: Sender { handle: "somebody".into(), name: None, is_bot: false, ..Sender::default() },
            text: word("text"),
            timestamp: Timestamp::now(),
            is_mention: true,
            ..InboundMessage::default()
        };
        let message = with_more(message, &event["more"])?;
        runtime.message(message).await?;
        say(&mut stream, &json!({ "taken": word("id") })).await?;
        line.clear();
    }
    Ok(())
}
