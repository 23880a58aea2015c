//! Examines, tries and measures plugins, for the binary: `vestibule plugin conform`, `vestibule channel` and
//! `vestibule bench plugin`.
//!
//! [`Examination`] drives a channel or a module before a scripted runtime, and reports what it does. No runtime is
//! needed. A platform is needed only as far as the channel insists on one: a delivery is judged by its answer, and an
//! error of the vocabulary is an answer. [`Tryout`] starts an account with its real config. [`Bench`] measures what the seam costs in each tier.
//!
//! Neither reads a command line or prints. Sentences name the options of `conform`: those are what an author can change.
//!
//! Of the runtime they use the file that it opens (`plugins::OpenedFile`), its judgement of a module's answers
//! (`plugins::read_verdict`, `delivery::effects_fault`), its reading of a config's section, and its temporary folders.

mod account;
mod asks;
mod bench;
mod choice;
mod config;
mod deliver;
mod harness;
mod hooks;
mod module;
mod peer;
mod report;
mod schema;
mod seam;
mod trial;
mod tryout;
mod work;

pub use bench::Bench;
pub use report::{Check, Outcome, Progress, Report};
pub use tryout::{NotLetIn, Tryout};

use std::path::PathBuf;
use std::time::Duration;
use trial::Trial;
use vestibule_plugin_api::{ACCOUNT_MAIN, PluginKind};
use vestibule_runtime::config::TierSetting;
use vestibule_runtime::private::TemporaryFolder;

/// How long a call may take.
const DEADLINE_SECONDS: u64 = 30;
/// How long a module may take at a hook: as long as the runtime waits.
const MODULE_DEADLINE_SECONDS: u64 = 10;
/// The fewest calls that the memory is watched over.
const CALLS_MIN: u32 = 8;

/// The examination of a plugin.
pub struct Examination {
    /// The program that runs as `plugin-host`.
    pub program: PathBuf,
    /// The plugin's file.
    pub file: PathBuf,
    /// Where it runs meanwhile.
    pub tier: TierSetting,
    /// Its config: the keys themselves, or a whole config with a section for it.
    pub config: Option<PathBuf>,
    /// Single keys of the config, each as `KEY=VALUE`.
    pub set: Vec<String>,
    /// The account's name.
    pub account: String,
    /// The platform's id of the chat that gets the test messages, or that a module is asked about.
    pub chat: String,
    /// The platform's id of a thread in it.
    pub thread: Option<String>,
    /// A command in the place of a person on the platform.
    pub peer: Option<String>,
    /// The checks that are made; if empty, all.
    pub only: Vec<String>,
    /// The checks that are left out.
    pub skip: Vec<String>,
    /// How many calls the memory is watched over.
    pub calls: u32,
    /// How long one call may take, in seconds; if not given, as long as the plugin's kind may.
    pub deadline: Option<u64>,
}

impl Examination {
    /// Examines the plugin; `tell` hears how far it is. A plugin that cannot be opened, or fails a check, has a report
    /// all the same.
    ///
    /// # Errors
    /// What the operator asks for does not fit: the file, a check's name, the config, or options that only a channel has.
    pub async fn run(&self, tell: fn(Progress<'_>)) -> Result<Report, String> {
        let copies = TemporaryFolder::new("conform").map_err(|error| error.to_string())?;
        let place = self.place(copies.path().to_owned(), tell)?;
        let at = trial::At { chat: self.chat.clone(), thread: self.thread.clone() };
        let mut trial = match Trial::open(place, at).await {
            Ok(trial) => trial,
            Err(why) => return Ok(Report::not_opened(&self.file, why, tell)),
        };
        self.configure(&mut trial)?;
        seam::examine(&mut trial).await;
        schema::examine(&mut trial).await;
        account::start(&mut trial).await;
        if let Some(command) = &self.peer {
            peer::start(&mut trial, command).await;
        }
        match trial.manifest().kind {
            PluginKind::Module => module::examine(&mut trial).await,
            PluginKind::Channel | PluginKind::Unknown => deliver::examine(&mut trial).await,
        }
        work::examine(&mut trial).await;
        account::end(&mut trial).await;
        Ok(trial.finish().await)
    }

    fn place(&self, copies: PathBuf, tell: fn(Progress<'_>)) -> Result<trial::Place, String> {
        let file = std::fs::canonicalize(&self.file)
            .map_err(|error| format!("{} cannot be read: {error}", self.file.display()))?;
        Ok(trial::Place {
            program: self.program.clone(),
            file,
            copies,
            tier: self.tier,
            account: self.account.clone(),
            deadline: Duration::from_secs(self.deadline.unwrap_or(DEADLINE_SECONDS)),
            calls: self.calls.max(CALLS_MIN),
            choice: choice::Choice::new(&self.only, &self.skip)?,
            tell,
        })
    }

    /// Gives the trial the plugin's config, now that its manifest says which section and which secrets are its.
    fn configure(&self, trial: &mut Trial) -> Result<(), String> {
        let manifest = trial.manifest().clone();
        let section = match manifest.kind {
            PluginKind::Module => {
                if self.account != ACCOUNT_MAIN {
                    return Err(format!("a module has one account, `{ACCOUNT_MAIN}`: leave out --account"));
                }
                if self.peer.is_some() {
                    return Err("a module has no platform: leave out --peer".to_owned());
                }
                let seconds = self.deadline.unwrap_or(MODULE_DEADLINE_SECONDS);
                trial.place.deadline = Duration::from_secs(seconds);
                vec!["modules", &manifest.name]
            }
            PluginKind::Channel | PluginKind::Unknown => {
                vec!["channels", &manifest.channel_type, &self.account]
            }
        };
        let config = config::read(self.config.as_deref(), &self.set, &section, &manifest.secrets)?;
        trial.secrets(&config, &manifest.secrets);
        trial.config = config;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    /// Field by field, in the words of the vocabulary.
    #[test]
    fn the_page_for_authors_names_every_field() {
        use vestibule_plugin_api::{
            ATTACHMENTS_MAX, Attachment, ID_BYTES_MAX, InboundMessage, Receipt, TEXT_BYTES_MAX,
        };
        let page = include_str!("../../../docs/write-a-channel.md");
        let attachment = json!({ "name": "n", "kind": "k", "mime_type": "m", "size_bytes": 1, "url": "u" });
        let message: InboundMessage = serde_json::from_value(json!({
            "event_id": "e", "message_id": "m", "platform_id": "p", "thread_id": "t", "timestamp": 0, "text": "",
            "sender": { "handle": "h", "name": "n", "is_bot": false }, "is_mention": true, "is_group": true,
            "reply_to": { "id": "i", "sender": "s", "text": "t" }, "attachments": [attachment],
        }))
        .expect("a message");
        let file: Attachment = serde_json::from_value(attachment).expect("a file");
        let mut out =
            serde_json::to_value(vestibule_plugin_api::testing::text("acme", "p", "t")).expect("JSON");
        for (optional, value) in
            [("taken_at", json!(0)), ("in_reply_to", json!("m")), ("attachments", json!([]))]
        {
            out[optional] = value;
        }
        let receipt = Receipt::of(["p".to_owned()]);
        let [message, file, receipt] =
            [serde_json::to_value(&message), serde_json::to_value(&file), serde_json::to_value(&receipt)]
                .map(|value| value.expect("JSON"));
        for value in [&message, &message["sender"], &message["reply_to"], &file, &out, &receipt] {
            for field in value.as_object().expect("fields").keys() {
                let named = [format!("`{field}`"), format!(".{field}`")];
                assert!(named.iter().any(|name| page.contains(name)), "{field}");
            }
        }
        assert_eq!(TEXT_BYTES_MAX, 1024 * 1024);
        for words in [
            format!("1 to {ID_BYTES_MAX} bytes"),
            format!("{ATTACHMENTS_MAX} at most"),
            "1 MiB at most".into(),
        ] {
            assert!(page.contains(&words), "{words}");
        }
        for health in ["Connecting", "Live", "Degraded", "Stopped"] {
            assert!(page.contains(&format!("`{health}`")), "{health}");
        }
    }
}
