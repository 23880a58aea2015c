//! What the seam costs, in each tier: one run, medians.

use crate::harness::{Harness, memory_kib, tier_word};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use vestibule_plugin_api::wire::{self, Request};
use vestibule_plugin_api::{
    Account, Address, Attachment, Blob, Channel, ChannelType, Content, OutboundMessage, PlatformId, Receipt,
    Runtime,
};
use vestibule_runtime::config::TierSetting;
use vestibule_runtime::private::TemporaryFolder;
use vestibule_seam::Frame;

const ACCOUNT: &str = "bench";
/// How many calls are in flight when throughput is measured.
const IN_FLIGHT: u32 = 64;
/// How many times throughput is measured.
const ROUNDS: usize = 5;
/// The large attachment, in bytes.
const ATTACHMENT_BYTES: usize = 50 * 1024 * 1024;

/// The same trait in this binary, to measure a direct call.
struct Direct;

#[vestibule_plugin_api::async_trait]
impl Channel for Direct {
    type Config = ();

    async fn start((): (), _: Runtime) -> vestibule_plugin_api::Result<Self> {
        Ok(Direct)
    }

    async fn deliver(&self, message: OutboundMessage) -> vestibule_plugin_api::Result<Receipt> {
        std::hint::black_box(message);
        Ok(Receipt::default())
    }
}

/// The measuring of a channel whose deliveries answer at once.
pub struct Bench {
    /// The program that runs as `plugin-host`.
    pub program: PathBuf,
    /// The channel's file.
    pub file: PathBuf,
    /// The config of its account.
    pub config: Value,
    /// How many calls each figure takes.
    pub calls: u32,
}

impl Bench {
    /// Measures a direct call, then the plugin in each tier: a row of medians for each.
    ///
    /// # Errors
    /// The plugin cannot be opened, or fails a call.
    pub async fn run(&self) -> Result<Value, String> {
        let mut rows = vec![direct(self.calls).await];
        for tier in [TierSetting::InProcess, TierSetting::Process] {
            rows.push(tiered(self, tier).await?);
        }
        Ok(Value::Array(rows))
    }
}

/// A text of 1 KiB, or another one, for the plugin to deliver.
fn message(text: &str) -> OutboundMessage {
    OutboundMessage {
        id: "msg-bench".into(),
        address: Address {
            channel_type: ChannelType::from("bench"),
            account: Account::from(ACCOUNT),
            platform_id: PlatformId::from("chat"),
            thread_id: None,
        },
        content: Content::Text { text: text.to_owned() },
        taken_at: None,
        subject: None,
        metadata: std::collections::BTreeMap::new(),
        sent_so_far: None,
        in_reply_to: None,
        attachments: vec![],
    }
}

fn deliver(text: &str) -> Frame {
    wire::frame(&Request::Deliver { message: message(text) })
}

/// The same with a large file, as delivery makes it: the message alone holds the bytes. The words are for the
/// plugin `faulty`, which refuses the message if the bytes did not come.
fn with_file() -> OutboundMessage {
    let attachment = Attachment {
        name: "a.bin".into(),
        size_bytes: Some(ATTACHMENT_BYTES as u64),
        bytes: Some(Blob::from(vec![7; ATTACHMENT_BYTES])),
        ..Attachment::default()
    };
    OutboundMessage { attachments: vec![attachment], ..message(&format!("do take {ATTACHMENT_BYTES}")) }
}

fn median<T: PartialOrd + Copy>(mut values: Vec<T>) -> T {
    values.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
    values[values.len() / 2]
}

fn micros(times: Vec<Duration>) -> f64 {
    (median(times).as_secs_f64() * 1e9).round() / 1e3
}

async fn direct(calls: u32) -> Value {
    let message = message(&"x".repeat(1024));
    let mut times = Vec::new();
    for _ in 0..calls {
        let begin = Instant::now();
        let receipt = Direct.deliver(message.clone()).await;
        times.push(begin.elapsed());
        let _ = std::hint::black_box(receipt);
    }
    let mut attachment = Vec::new();
    for _ in 0..ROUNDS {
        let message = with_file();
        let begin = Instant::now();
        // A callee in the same program costs the return of the memory, and nothing else.
        let receipt = Direct.deliver(message).await;
        attachment.push(begin.elapsed());
        let _ = std::hint::black_box(receipt);
    }
    json!({
        "tier": "direct call",
        "round_trip_us": micros(times),
        "attachment_50_mib_us": micros(attachment),
    })
}

async fn tiered(bench: &Bench, tier: TierSetting) -> Result<Value, String> {
    let Bench { program, file, config, calls } = bench;
    let (config, calls) = (config.clone(), *calls);
    let copies = TemporaryFolder::new("bench").map_err(|error| error.to_string())?;
    let (begin, before) = (Instant::now(), memory_kib("self"));
    let opened = Harness::open(program, file, copies.path(), tier).await;
    let harness = Arc::new(opened.map_err(|why| why.to_string())?);
    let start = wire::frame(&Request::Start {
        account: ACCOUNT.into(),
        config,
        listener: None,
        siblings: Vec::new(),
        folder: harness.file.folder(ACCOUNT),
    });
    answered(harness.call(start).await)?;
    let started = begin.elapsed();
    let memory = match harness.file.pid() {
        Some(pid) => memory_kib(&pid.to_string()),
        None => memory_kib("self").saturating_sub(before),
    };
    let text = "x".repeat(1024);
    round_trips(&harness, &text, calls / 10).await?; // warm
    let round_trip = micros(round_trips(&harness, &text, calls).await?);
    let mut per_second = Vec::new();
    for _ in 0..ROUNDS {
        per_second.push(throughput(&harness, &text, calls).await?);
    }
    let (events, events_busy) =
        (events(&harness, calls, 1).await?, events(&harness, calls, IN_FLIGHT).await?);
    let mut attachment = Vec::new();
    for _ in 0..ROUNDS {
        let message = with_file();
        let begin = Instant::now();
        answered(harness.call(wire::frame_with_blobs(Request::Deliver { message })).await)?;
        attachment.push(begin.elapsed());
    }
    if let Ok(harness) = Arc::try_unwrap(harness) {
        harness.close().await;
    }
    Ok(json!({
        "tier": tier_word(tier),
        "round_trip_us": round_trip,
        "calls_per_s_64": median(per_second),
        "events_per_s": events,
        "events_per_s_64": events_busy,
        "attachment_50_mib_us": micros(attachment),
        "start_ms": started.as_micros() as f64 / 1e3,
        "memory_kib": memory,
    }))
}

fn answered((code, frame): (u32, Frame)) -> Result<(), String> {
    match code {
        0 => Ok(()),
        code => Err(format!("the plugin answered {code}: {}", String::from_utf8_lossy(&frame.head))),
    }
}

/// Measures from the words to the receipt, one call at a time.
async fn round_trips(harness: &Harness, text: &str, calls: u32) -> Result<Vec<Duration>, String> {
    let mut times = Vec::new();
    for _ in 0..calls {
        let begin = Instant::now();
        let (code, frame) = harness.call(deliver(text)).await;
        let receipt: Receipt = wire::read(&frame)?;
        times.push(begin.elapsed());
        std::hint::black_box(receipt);
        answered((code, frame))?;
    }
    Ok(times)
}

/// How many calls a second, with many in flight.
async fn throughput(harness: &Arc<Harness>, text: &str, calls: u32) -> Result<u64, String> {
    let begin = Instant::now();
    let callers: Vec<_> = (0..IN_FLIGHT)
        .map(|_| {
            let (harness, text) = (harness.clone(), text.to_owned());
            tokio::spawn(async move { round_trips(&harness, &text, calls / IN_FLIGHT).await.map(drop) })
        })
        .collect();
    for caller in callers {
        caller.await.map_err(|error| error.to_string())??;
    }
    Ok((f64::from(calls) / begin.elapsed().as_secs_f64()) as u64)
}

/// How many events a second, for a plugin that makes them when it is told to.
async fn events(harness: &Harness, count: u32, in_flight: u32) -> Result<Option<u64>, String> {
    let (begin, before) = (Instant::now(), harness.events());
    answered(harness.call(deliver(&format!("do events {count} {in_flight}"))).await)?;
    let came = harness.events() - before;
    Ok((came > 0).then(|| (came as f64 / begin.elapsed().as_secs_f64()) as u64))
}
