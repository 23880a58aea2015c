//! A channel whose platform is a test: it sends an event again until it is told that it was taken,
//! and shows what is posted.

use serde_json::{Value, json};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use vestibule_plugin_api::*;

#[derive(serde::Deserialize)]
pub struct Config {
    /// Where the platform is.
    platform: String,
    /// Whether its first start is lost before it is over.
    #[serde(default)]
    lost_at_start: bool,
    /// How long a start takes.
    #[serde(default)]
    start_ms: u64,
}

/// How it fails at its start: a test changes the last byte in a copy of the file.
#[used]
static MODE: [u8; 11] = *b"POST-MODE:.";

pub struct Post {
    platform: String,
    events: JoinHandle<()>,
    runtime: Runtime,
    /// What came in since the start.
    heard: Heard,
    /// How often it was asked how far its linking is.
    asked: AtomicU32,
}

type Heard = Arc<Mutex<Vec<InboundMessage>>>;

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
        tokio::time::sleep(Duration::from_millis(config.start_ms)).await;
        let start = note_start(&runtime).await?;
        if start == 1 && config.lost_at_start {
            runtime.lost("told to").await;
        }
        let platform = config.platform.clone();
        let (own, heard) = (runtime.clone(), Heard::default());
        let noted = heard.clone();
        let events = tokio::spawn(async move {
            loop {
                // Whatever ends it: the platform sends again what nobody confirmed.
                let _ = listen(&config.platform, start, &runtime, &noted).await;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        Ok(Post { platform, events, runtime: own, heard, asked: AtomicU32::new(0) })
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
        self.tell(&json!({ "working": working })).await
    }

    async fn read(&self, read: Read) -> Result<()> {
        self.tell(&json!({ "read": read })).await
    }

    async fn subscribe(&self, address: Address) -> Result<()> {
        self.tell(&json!({ "subscribed": address })).await
    }

    async fn normalise(&self, chat: String) -> Result<Conversation> {
        if chat == "nowhere" {
            return Err(PluginError::refused("there is no room of this name"));
        }
        let platform_id = chat.trim_start_matches('#').to_lowercase();
        let name = Some(format!("Room {platform_id}"));
        Ok(Conversation { platform_id: platform_id.as_str().into(), name, is_group: Some(true) })
    }

    async fn who_is(&self, handle: String) -> Result<Sender> {
        let name = Some(format!("Person {handle}"));
        Ok(Sender { handle, name, ..Sender::default() })
    }

    async fn open_direct(&self, handle: String) -> Result<Conversation> {
        if handle == "nobody" {
            return Err(PluginError::refused("nobody has this handle"));
        }
        Ok(Conversation {
            platform_id: format!("dm-{handle}").as_str().into(),
            name: None,
            is_group: Some(false),
        })
    }

    async fn history(&self, address: Address, after: Option<String>, limit: u32) -> Result<HistoryPage> {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let here: Vec<_> = heard.iter().filter(|one| one.platform_id == address.platform_id).collect();
        let begin = after.and_then(|after| here.iter().position(|one| one.message_id == after));
        let begin = begin.map_or(0, |at| at + 1);
        let messages: Vec<_> = here.into_iter().skip(begin).take(limit as usize).cloned().collect();
        let next = messages.last().map(|last| last.message_id.clone());
        Ok(HistoryPage { next: next.filter(|_| messages.len() == limit as usize), messages })
    }

    async fn link(&self) -> Result<LinkState> {
        Ok(match self.asked.fetch_add(1, Ordering::Relaxed) {
            0 => LinkState::Preparing,
            1 => LinkState::Scan { text: "let me in".to_owned(), seconds: 20 },
            2 => LinkState::Enter { code: "ABCD-1234".to_owned(), seconds: 60 },
            _ => LinkState::Linked { handle: Some("me".to_owned()) },
        })
    }

    /// Loads `NUMBER`, that many bytes; `later` is there at the second try, `gone` and `never` at none.
    async fn fetch(&self, reference: String, bytes_max: u64) -> Result<Blob> {
        self.tell(&json!({ "fetched": reference, "bytes_max": bytes_max })).await?;
        match reference.as_str() {
            "gone" => Err(PluginError::refused("the platform keeps it no longer")),
            "later" if self.asked.fetch_add(1, Ordering::Relaxed) == 0 => Err(PluginError::retry("not yet")),
            "never" => Err(PluginError::retry("not this time")),
            number => Ok(Blob::from(vec![b'x'; number.parse().unwrap_or(7)])),
        }
    }

    async fn stop(&self) {
        self.events.abort();
    }
}

/// Counts its starts in the folder of its own, if it has one, and shows the number as its handle.
async fn note_start(runtime: &Runtime) -> Result<u32> {
    let Some(folder) = runtime.folder() else { return Ok(0) };
    let (file, fresh) = (folder.join("deep/starts"), folder.join("deep/starts.new"));
    std::fs::create_dir_all(folder.join("deep"))?;
    let before = std::fs::read_to_string(&file).unwrap_or_default();
    let count = before.parse().unwrap_or(0_u32) + 1;
    std::fs::write(&fresh, count.to_string())?;
    std::fs::rename(&fresh, &file)?;
    runtime.own_handles(vec![format!("start-{count}")]).await;
    Ok(count)
}

impl Post {
    async fn tell(&self, what: &Value) -> Result<()> {
        let mut stream = BufReader::new(TcpStream::connect(&self.platform).await?);
        say(&mut stream, what).await
    }

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

async fn listen(platform: &str, start: u32, runtime: &Runtime, heard: &Heard) -> Result<()> {
    let mut stream = BufReader::new(TcpStream::connect(platform).await?);
    say(&mut stream, &json!({ "events": true, "start": start })).await?;
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
        if !event["lost"].is_null() {
            say(&mut stream, &json!({ "taken": word("id") })).await?;
            runtime.lost(word("lost")).await;
            return Ok(());
        }
        if let Some(bytes) = event["fill"].as_u64() {
            let folder = runtime.folder().ok_or_else(|| PluginError::broken("it has no folder"))?;
            // Beyond the limit the process is ended, at this line or after it.
            std::fs::write(folder.join("heap"), vec![b'x'; usize::try_from(bytes).unwrap_or(0)])?;
            say(&mut stream, &json!({ "taken": word("id") })).await?;
            line.clear();
            continue;
        }
        if !event["reach"].is_null() {
            let folder = runtime.folder().ok_or_else(|| PluginError::broken("it has no folder"))?;
            let link = folder.join("link");
            let _ = std::fs::remove_file(&link);
            let linked = std::os::unix::fs::symlink("/", &link).is_ok();
            let outside = std::fs::write(word("reach"), "x").is_ok();
            let run = std::process::Command::new(folder.join("deep/starts")).spawn().is_ok();
            say(&mut stream, &json!({ "reached": [linked, outside, run] })).await?;
            say(&mut stream, &json!({ "taken": word("id") })).await?;
            line.clear();
            continue;
        }
        if !event["secret"].is_null() {
            runtime.state_set(vec![StateWrite::set_secret("token", word("secret"))]).await?;
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
        heard.lock().unwrap_or_else(PoisonError::into_inner).push(message.clone());
        runtime.message(message).await?;
        say(&mut stream, &json!({ "taken": word("id") })).await?;
        line.clear();
    }
    Ok(())
}
