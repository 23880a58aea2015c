//! A channel that is tried with a real config, without a runtime: does its account start?

use crate::harness::Harness;
use serde_json::Value;
use std::path::Path;
use std::time::Duration;
use vestibule_plugin_api::testing::{Answer, NOTHING_IS_KEPT, ScriptedRuntime};
use vestibule_plugin_api::wire::{self, Description, Request};
use vestibule_plugin_api::{Health, Manifest, PluginError};
use vestibule_runtime::{Config, Home};
use vestibule_seam::status;

/// How long a platform may take to let an account in.
const PATIENCE: Duration = Duration::from_secs(30);
/// What a channel is told that has a message meanwhile: its platform keeps it for the runtime.
const ONLY_TRIED: &str = "the account is only tried, and nothing is taken";

/// Why an account was not let in.
#[derive(Debug)]
pub enum NotLetIn {
    /// It does not work as its config is.
    Fails(String),
    /// It does not work now, and may later.
    Later(String),
    /// It wants to keep something before it goes on, and only a runtime keeps anything.
    Unseen(String),
}

/// Why an account did not start.
struct Refusal {
    why: String,
    /// Whether the channel says that it never will as its config is.
    lasts: bool,
}

impl From<String> for Refusal {
    fn from(why: String) -> Refusal {
        Refusal { why, lasts: false }
    }
}

/// A channel before a runtime that takes no message: nothing is acknowledged that came meanwhile.
pub struct Tryout {
    harness: Harness,
    runtime: ScriptedRuntime,
}

impl Tryout {
    /// Opens the channel of this type that a runtime with this home and config would run. `program` is run as
    /// `program plugin-host`.
    ///
    /// # Errors
    /// There is none, or it cannot be opened.
    pub async fn open(
        home: &Home,
        config: &Config,
        program: &Path,
        channel_type: &str,
    ) -> Result<Tryout, String> {
        let runtime = ScriptedRuntime::new();
        runtime.answer(Answer::Retry(ONLY_TRIED.to_owned()));
        // A token that is good once must not be used where what comes of it is forgotten.
        runtime.keeps_nothing();
        let harness = Harness::of_channel(home, config, program, channel_type, runtime.calls()).await?;
        Ok(Tryout { harness, runtime })
    }

    /// What the channel is and can do.
    pub fn manifest(&self) -> &Manifest {
        &self.harness.file.manifest
    }

    /// What it says of its config and its platform.
    ///
    /// # Errors
    /// It does not say it.
    pub async fn describe(&self) -> Result<Description, String> {
        self.harness.file.describe().await.map_err(|why| why.to_string())
    }

    /// The account kept these values by key, in its runtime's database.
    pub fn knows(&self, account: &str, kept: Vec<(String, String)>) {
        self.runtime.has_kept(account, kept);
    }

    /// Starts an account with its config, secrets resolved, and stops it again.
    ///
    /// # Errors
    /// Why it was not let in.
    pub async fn start(&self, account: &str, config: Value) -> Result<(), NotLetIn> {
        self.started(account, config).await.map_err(|Refusal { why, lasts }| match lasts {
            _ if why.contains(NOTHING_IS_KEPT) => NotLetIn::Unseen(why),
            true => NotLetIn::Fails(why),
            false => NotLetIn::Later(why),
        })
    }

    /// What the channel says of a config with which the account can never start; `None` where it starts, or may another time.
    pub async fn lacks(&self, account: &str, config: Value) -> Option<String> {
        let refusal = self.started(account, config).await.err()?;
        (refusal.lasts && !refusal.why.contains(NOTHING_IS_KEPT)).then_some(refusal.why)
    }

    async fn started(&self, account: &str, mut config: Value) -> Result<(), Refusal> {
        let (account, listener) = (account.to_owned(), self.manifest().take_listener(&mut config));
        let folder = self.harness.file.folder(&account);
        let start =
            Request::Start { account: account.clone(), config, listener, siblings: Vec::new(), folder };
        let told_before = self.runtime.health().len();
        let mut begun = self.harness.begin(wire::frame(&start));
        let Ok((code, frame)) = tokio::time::timeout(PATIENCE, begun.wait()).await else {
            self.harness.cancel(begun); // the next try must not find it at work
            return Err(format!("its platform did not let it in within {} s", PATIENCE.as_secs()).into());
        };
        let words = || wire::read::<String>(&frame).unwrap_or_else(|_| format!("status {code}"));
        match code {
            status::OK => {}
            status::ERROR => {
                let error = wire::read::<PluginError>(&frame)?;
                let lasts = matches!(error, PluginError::Broken { .. });
                return Err(Refusal { why: error.reason().to_owned(), lasts });
            }
            status::PANIC => return Err(format!("it panicked: {}", words()).into()),
            _ => return Err(words().into()),
        }
        // A message that came meanwhile was not taken: that is no fault of the account.
        let says_why = |(_, health): &(String, Health)| !matches!(health, Health::Degraded { reason } if reason.contains(ONLY_TRIED));
        let health = self.runtime.health().into_iter().skip(told_before).rfind(says_why);
        let stop = Request::Stop { account };
        let _ = tokio::time::timeout(PATIENCE, self.harness.begin(wire::frame(&stop)).answer()).await;
        match health {
            Some((_, Health::Stopped { reason })) => Err(Refusal { why: reason, lasts: true }),
            Some((_, Health::Degraded { reason })) => Err(reason.into()),
            _ => Ok(()),
        }
    }

    /// Ends the channel.
    pub async fn end(self) {
        self.harness.close().await;
    }
}
