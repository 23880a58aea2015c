//! A plugin under examination: asks it, and reads its answers.

use crate::choice::Choice;
use crate::harness::{Begun, Harness, tier_word};
use crate::peer;
use crate::report::{Outcome, Progress, Report};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use vestibule_plugin_api::testing::ScriptedRuntime;
use vestibule_plugin_api::wire::{self, Empty, Request};
use vestibule_plugin_api::{
    Account, Address, ChannelType, Content, Manifest, OutboundMessage, PlatformId, PluginError, PluginKind,
    Receipt, Schema, ThreadId, Timestamp,
};
use vestibule_runtime::config::TierSetting;
use vestibule_seam::{Frame, status};

/// The level up to which the plugin's log is noted: debug.
const LOG_LEVEL: u32 = 4;
/// How long a stop may take.
const STOP_DEADLINE: Duration = Duration::from_secs(5);

/// The subject of an examination, and its conditions.
pub struct Place {
    /// The program that runs as `plugin-host`.
    pub program: PathBuf,
    /// The file.
    pub file: PathBuf,
    /// The folder for private copies of the file.
    pub copies: PathBuf,
    /// The tier in which the plugin runs.
    pub tier: TierSetting,
    /// The account's name.
    pub account: String,
    /// How long one call may take.
    pub deadline: Duration,
    /// How many calls the memory is watched over.
    pub calls: u32,
    /// Which checks are made.
    pub choice: Choice,
    /// Hears how far the examination is.
    pub tell: fn(Progress<'_>),
}

/// The chat to which the test messages go.
pub struct At {
    /// The platform's id of the chat.
    pub chat: String,
    /// The platform's id of a thread in the chat.
    pub thread: Option<String>,
}

/// An answer, as far as it can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said<T> {
    /// The plugin did it.
    Done(T),
    /// An error of the vocabulary.
    Error(PluginError),
    /// The plugin does not do that.
    Unsupported(String),
    /// The plugin could not read the frame.
    BadFrame(String),
    /// The runtime could not use the answer; a sentence that says why.
    Bug(String),
}

impl<T> Said<T> {
    /// The answer in words, or why it is a bug.
    pub fn words(&self) -> Result<String, String> {
        Ok(match self {
            Said::Done(_) => "done".to_owned(),
            Said::Error(error) => format!("{}: {}", kind(error), error.reason()),
            Said::Unsupported(why) => format!("unsupported: {why}"),
            Said::BadFrame(why) => return Err(format!("it could not read the frame: {why}")),
            Said::Bug(why) => return Err(why.clone()),
        })
    }
}

fn kind(error: &PluginError) -> &'static str {
    match error {
        PluginError::Retry { in_doubt: true, .. } => "retry, in doubt",
        PluginError::Retry { .. } => "retry",
        PluginError::Refused { .. } => "refused",
        PluginError::Unsupported { .. } => "unsupported",
        PluginError::Broken { .. } => "broken",
        PluginError::Unknown => "an unknown error",
    }
}

/// One examination of a plugin.
pub struct Trial {
    /// The file, and the conditions.
    pub place: Place,
    /// The account's config.
    pub config: Value,
    /// The schema of its config, if the plugin describes one.
    pub schema: Option<Schema>,
    /// The scripted runtime, which notes all that the plugin says.
    pub runtime: ScriptedRuntime,
    /// Whether the account is started.
    pub live: bool,
    /// Why the account is not started, where the report does not say it.
    pub not_started: Option<String>,
    /// The secrets, by key: they must appear in no answer and no log line.
    pub hidden: Vec<(String, String)>,
    /// Every reason the plugin gave.
    pub reasons: Mutex<Vec<String>>,
    /// The peer's process; ended with the trial.
    pub peer: tokio::sync::Mutex<Option<tokio::process::Child>>,
    /// How many deliveries were answered, and how many of them were done.
    pub deliveries: Deliveries,
    at: Mutex<At>,
    harness: Harness,
    report: Report,
    stuck: AtomicBool,
    heard_before_start: AtomicUsize,
}

/// Counts of the deliveries so far.
#[derive(Default)]
pub struct Deliveries {
    /// The deliveries that were answered.
    pub answered: AtomicU32,
    /// The deliveries that were done.
    pub done: AtomicU32,
}

impl Trial {
    /// Opens the file as the loader does.
    ///
    /// # Errors
    /// The loader's sentence.
    pub async fn open(place: Place, at: At) -> Result<Trial, String> {
        let begin = Instant::now();
        let runtime = ScriptedRuntime::new();
        let harness = open(&place, &runtime).await?;
        let runtime =
            if harness.file.manifest.kind == PluginKind::Module { runtime.for_module() } else { runtime };
        let mut report = Report::new(&harness.file.manifest, tier_word(place.tier), place.tell);
        if place.choice.has("file") {
            report.begin("file");
            let words = "the loader opens it and its machinery starts";
            report.add("file", Outcome::Ok(words.into()), begin.elapsed());
        }
        Ok(Trial {
            place,
            config: json!({}),
            schema: None,
            runtime,
            live: false,
            not_started: None,
            hidden: vec![],
            reasons: Mutex::default(),
            at: Mutex::new(at),
            peer: tokio::sync::Mutex::default(),
            deliveries: Deliveries::default(),
            harness,
            report,
            stuck: AtomicBool::new(false),
            heard_before_start: AtomicUsize::new(0),
        })
    }

    /// The manifest of the plugin under examination.
    pub fn manifest(&self) -> &Manifest {
        &self.harness.file.manifest
    }

    /// The loaded plugin, which takes calls.
    pub fn harness(&self) -> &Harness {
        &self.harness
    }

    /// Notes the config's secrets.
    pub fn secrets(&mut self, config: &Value, keys: &[String]) {
        // A short word may occur by chance.
        let values = keys.iter().filter_map(|key| Some((key.clone(), config[key].as_str()?.to_owned())));
        self.hidden = values.filter(|(_, value)| value.len() >= 6).collect();
    }

    /// Runs one check and writes down what it found: `Err` is a failure.
    pub async fn check(
        &mut self,
        name: &'static str,
        check: impl AsyncFnOnce(&Trial) -> Result<Outcome, String>,
    ) {
        if !self.place.choice.has(name) {
            return;
        }
        let begin = Instant::now();
        self.report.begin(name);
        let outcome = check(self).await.unwrap_or_else(Outcome::Failed);
        self.report.add(name, outcome, begin.elapsed());
        self.go_on().await;
    }

    /// The same for a check that needs the account.
    pub async fn check_live(
        &mut self,
        name: &'static str,
        check: impl AsyncFnOnce(&Trial) -> Result<Outcome, String>,
    ) {
        if self.live {
            return self.check(name, check).await;
        }
        self.skip(name);
    }

    /// Notes a check that needs the account, which is not started.
    pub fn skip(&mut self, name: &'static str) {
        if self.place.choice.has(name) {
            if let Some(why) = self.not_started.take() {
                self.fail_needed("start", why);
            }
            self.report.begin(name);
            self.report.add(name, Outcome::Skipped("its account is not started".into()), Duration::ZERO);
        }
    }

    /// Notes that a check failed which was not chosen, and which a chosen one needs.
    pub fn fail_needed(&mut self, name: &'static str, why: String) {
        if self.place.choice.tells_failure_of(name) {
            self.report.begin(name);
            self.report.add(name, Outcome::Failed(why), Duration::ZERO);
        }
    }

    /// The chat to which the test messages go, locked.
    pub fn at(&self) -> MutexGuard<'_, At> {
        self.at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many messages the plugin had handed over when its account was last started.
    pub fn heard_before_start(&self) -> usize {
        self.heard_before_start.load(Ordering::Relaxed)
    }

    /// Whether the plugin answers no more: its process is dead, or a call hangs.
    pub fn is_gone(&self) -> bool {
        self.stuck.load(Ordering::Relaxed) || self.harness.file.is_dead()
    }

    /// After a check that killed or hung the plugin, the next one gets a new one.
    async fn go_on(&mut self) {
        if !self.is_gone() {
            return;
        }
        *self.stuck.get_mut() = false;
        if self.harness.file.pid().is_none() {
            self.live = false; // a call that hangs in this process stays there
        } else if self.live {
            self.live = self.again().await.is_ok() && self.start(self.config.clone()).await.words().is_ok();
            if self.live {
                let _ = peer::meet(self).await; // a peer that stays away shows in what cannot be delivered
            }
        } else {
            let _ = self.again().await;
        }
    }

    /// Ends the plugin's process, as a crash would, and starts the next; false where it has none.
    ///
    /// # Errors
    /// The loader's sentence.
    pub async fn again(&mut self) -> Result<bool, String> {
        if !self.harness.file.kill().await {
            return Ok(false);
        }
        self.harness = open(&self.place, &self.runtime).await?;
        Ok(true)
    }

    /// Ends the plugin, and hands the report over.
    pub async fn finish(self) -> Report {
        if self.live {
            let _ = self.stop().await;
        }
        let Trial { harness, mut report, place, .. } = self;
        let begun = Instant::now();
        if place.choice.has("end") {
            report.begin("end");
        }
        let left = harness.close().await;
        let outcome = match left {
            0 => Outcome::Ok(format!("its machinery ended after {} ms", begun.elapsed().as_millis())),
            left => Outcome::Failed(format!("{left} calls were still open 2 s after it was told to end")),
        };
        if place.choice.has("end") {
            report.add("end", outcome, begun.elapsed());
        }
        report
    }

    /// A message of this text for the test chat.
    pub fn message(&self, id: &str, text: &str) -> OutboundMessage {
        let at = self.at();
        OutboundMessage {
            id: id.to_owned(),
            address: Address {
                channel_type: ChannelType::from(self.harness.file.manifest.channel_type.as_str()),
                account: Account::from(self.place.account.as_str()),
                platform_id: PlatformId::from(at.chat.as_str()),
                thread_id: at.thread.as_deref().map(ThreadId::from),
            },
            content: Content::Text { text: text.to_owned() },
            taken_at: Some(Timestamp::now()),
            subject: None,
            metadata: std::collections::BTreeMap::new(),
            sent_so_far: None,
            in_reply_to: None,
            attachments: vec![],
        }
    }

    /// Asks, and reads the answer.
    pub async fn ask<T: DeserializeOwned>(&self, frame: Frame) -> Said<T> {
        let begun = self.harness.begin(frame);
        self.hear(begun, self.place.deadline).await
    }

    /// Waits for an answer, and reads it.
    pub async fn hear<T: DeserializeOwned>(&self, begun: Begun, deadline: Duration) -> Said<T> {
        let Ok((code, frame)) = tokio::time::timeout(deadline, begun.answer()).await else {
            self.stuck.store(true, Ordering::Relaxed);
            return Said::Bug(format!("it did not answer within {} s", deadline.as_secs()));
        };
        let said = read(code, &frame);
        if code == status::CANCELLED
            && let Some(why) = self.harness.file.ended().await
        {
            return Said::Bug(format!("its process ended: {why}"));
        }
        if let Ok(words) = said.words() {
            let mut reasons = self.reasons.lock().unwrap_or_else(PoisonError::into_inner);
            if reasons.len() < 1_000 {
                reasons.push(words);
            }
        }
        said
    }

    /// Delivers a message.
    pub async fn deliver(&self, message: OutboundMessage) -> Said<Receipt> {
        let said = self.ask(wire::frame_with_blobs(Request::Deliver { message })).await;
        self.count(&said);
        said
    }

    /// Counts the answer to a delivery.
    pub fn count<T>(&self, said: &Said<T>) {
        self.deliveries.answered.fetch_add(1, Ordering::Relaxed);
        if let Said::Done(_) = said {
            self.deliveries.done.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Starts the account with a config.
    pub async fn start(&self, mut config: Value) -> Said<Empty> {
        let listener = self.manifest().take_listener(&mut config);
        self.heard_before_start.store(self.runtime.messages().len(), Ordering::Relaxed);
        if let Some(socket) = self.manifest().local_socket(&config)
            && let Err(error) = self.harness.file.open_socket(socket)
        {
            let why = format!("the socket {} cannot be opened: {error}", socket.display());
            return Said::Error(PluginError::broken(why));
        }
        self.ask(wire::frame(&Request::Start {
            account: self.place.account.clone(),
            config,
            listener,
            siblings: Vec::new(),
            folder: self.folder(&self.place.account),
        }))
        .await
    }

    /// The folder that an account may write to, if the plugin lists `folder`.
    pub fn folder(&self, account: &str) -> Option<String> {
        self.harness.file.folder(account)
    }

    /// Stops the account.
    pub async fn stop(&self) -> Said<Empty> {
        let stop = wire::frame(&Request::Stop { account: self.place.account.clone() });
        self.hear(self.harness.begin(stop), STOP_DEADLINE).await
    }
}

async fn open(place: &Place, runtime: &ScriptedRuntime) -> Result<Harness, String> {
    let Place { program, file, copies, tier, .. } = place;
    let opened = Harness::open_before(program, file, copies, *tier, runtime.calls(), LOG_LEVEL);
    opened.await.map_err(|why| why.to_string())
}

/// Reads an answer by its status. Pure.
fn read<T: DeserializeOwned>(code: u32, frame: &Frame) -> Said<T> {
    let words = || wire::read::<String>(frame).unwrap_or_else(|_| "it did not say why".to_owned());
    match code {
        status::OK => match wire::read(frame) {
            Ok(answer) => Said::Done(answer),
            Err(why) => Said::Bug(format!("its answer is not what the verb asks for: {why}")),
        },
        status::ERROR => match wire::read::<PluginError>(frame) {
            Ok(PluginError::Unknown) => Said::Bug("its error is none of this vocabulary".into()),
            Ok(error) if error.reason().trim().is_empty() => {
                Said::Bug(format!("its error `{}` gives no reason", kind(&error)))
            }
            Ok(error) => Said::Error(error),
            Err(why) => Said::Bug(format!("its error cannot be read: {why}")),
        },
        status::PANIC => Said::Bug(format!("it panicked: {}", words())),
        status::CANCELLED => Said::Bug("it dropped the call without an answer".into()),
        status::UNSUPPORTED => Said::Unsupported(words()),
        status::BAD_FRAME => Said::BadFrame(words()),
        code => Said::Bug(format!("it answered with status {code}, which there is not")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_by_its_status() {
        let frame = |text: &str| Frame::from_head(text.as_bytes().to_vec());
        for (code, head, want) in [
            (status::OK, "{}", Ok("done")),
            (status::OK, "7", Err("not what the verb asks for")),
            (status::ERROR, r#"{"error":"retry","reason":"busy"}"#, Ok("retry: busy")),
            (
                status::ERROR,
                r#"{"error":"retry","reason":"lost","in_doubt":true}"#,
                Ok("retry, in doubt: lost"),
            ),
            (status::ERROR, r#"{"error":"refused","reason":" "}"#, Err("gives no reason")),
            (status::ERROR, r#"{"error":"sulking"}"#, Err("none of this vocabulary")),
            (status::ERROR, "oops", Err("cannot be read")),
            (status::PANIC, r#""index out of bounds""#, Err("it panicked: index out of bounds")),
            (status::CANCELLED, "", Err("dropped the call")),
            (status::UNSUPPORTED, r#""only text""#, Ok("unsupported: only text")),
            (status::BAD_FRAME, r#""what?""#, Err("could not read the frame: what?")),
            (99, "", Err("status 99")),
        ] {
            match (read::<Receipt>(code, &frame(head)).words(), want) {
                (Ok(words), Ok(want)) => assert_eq!(words, want),
                (Err(told), Err(want)) => assert!(told.contains(want), "{code} {head}: {told}"),
                (told, want) => panic!("{code} {head}: {told:?}, not {want:?}"),
            }
        }
    }
}
