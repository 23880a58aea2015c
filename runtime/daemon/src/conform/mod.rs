//! `vestibule plugin conform FILE.so`: examines a channel or a module before a scripted runtime, and reports what
//! it does. No runtime is needed. A platform is needed only as far as the channel insists on one: a delivery
//! is judged by its answer, and an error of the vocabulary is an answer.

mod account;
mod choice;
mod deliver;
mod hooks;
mod module;
mod peer;
mod report;
mod schema;
mod seam;
mod trial;
mod work;

use clap::{Args, ValueEnum};
use serde_json::{Map, Value};
use std::path::PathBuf;
use std::time::Duration;
use trial::Trial;
use vestibule_plugin_api::{ACCOUNT_MAIN, PluginKind};
use vestibule_runtime::config::{self, TierSetting};
use vestibule_runtime::private::TemporaryFolder;

/// How long a call may take.
const DEADLINE_SECONDS: u64 = 30;
/// How long a module may take at a hook: as long as the runtime waits.
const MODULE_DEADLINE_SECONDS: u64 = 10;

/// The arguments of `conform`.
#[derive(Args)]
pub struct ConformArgs {
    /// The plugin's `.so`
    pub file: PathBuf,
    /// Where it runs meanwhile
    #[arg(long, value_enum, default_value = "process")]
    pub tier: TierWord,
    /// Its config: the keys themselves, or a vestibule.toml with [channels.NAME.ACCOUNT] or [modules.NAME]
    #[arg(long, value_name = "FILE.toml")]
    pub config: Option<PathBuf>,
    /// One key of the config; the value is TOML, or else the words themselves; repeat for more
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// The account's name; a module has `main`
    #[arg(long, default_value = ACCOUNT_MAIN)]
    pub account: String,
    /// The platform's id of the chat that gets the test messages, or that a module is asked about
    #[arg(long, value_name = "ID", default_value = "conform")]
    pub chat: String,
    /// The platform's id of a thread in it
    #[arg(long, value_name = "ID")]
    pub thread: Option<String>,
    /// A program in the place of a person on the platform: it makes the channel hand over a message once its account
    /// is started, and again whenever it is started again. The test messages then go to where that came from
    #[arg(long, value_name = "COMMAND", conflicts_with = "thread")]
    pub peer: Option<String>,
    /// Make this check only; repeat for more
    #[arg(long, value_name = "CHECK")]
    pub only: Vec<String>,
    /// Leave this check out; repeat for more
    #[arg(long, value_name = "CHECK")]
    pub skip: Vec<String>,
    /// How many calls the memory is watched over
    #[arg(long, default_value_t = 2_000)]
    pub calls: u32,
    /// How long one call may take [default: 30, for a module 10]
    #[arg(long, value_name = "SECONDS")]
    pub deadline: Option<u64>,
    #[command(flatten)]
    pub output: crate::cli::Output,
}

/// The tiers, as the command line spells them.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TierWord {
    Process,
    InProcess,
}

/// Examines a file, prints the report, and fails when a check did.
pub async fn conform(args: ConformArgs) -> anyhow::Result<()> {
    let tier = match args.tier {
        TierWord::Process => TierSetting::Process,
        TierWord::InProcess => TierSetting::InProcess,
    };
    let copies = TemporaryFolder::new("conform")?;
    let report = examine(&args, tier, copies.path().to_owned()).await?;
    if args.output.json {
        crate::print::json(&report.json());
    } else {
        report.print_sum();
    }
    match report.failed() {
        0 if report.is_empty() => {
            anyhow::bail!("nothing was examined: no check was made to its end; see why above")
        }
        0 => Ok(()),
        1 => anyhow::bail!("one check failed"),
        failed => anyhow::bail!("{failed} checks failed"),
    }
}

async fn examine(args: &ConformArgs, tier: TierSetting, copies: PathBuf) -> anyhow::Result<report::Report> {
    let file = std::fs::canonicalize(&args.file)
        .map_err(|error| anyhow::anyhow!("{} cannot be read: {error}", args.file.display()))?;
    let shown = !args.output.json;
    let place = trial::Place {
        shown,
        choice: choice::Choice::new(&args.only, &args.skip).map_err(anyhow::Error::msg)?,
        file,
        copies,
        tier,
        account: args.account.clone(),
        deadline: Duration::from_secs(args.deadline.unwrap_or(DEADLINE_SECONDS)),
        calls: args.calls.max(8),
    };
    let at = trial::At { chat: args.chat.clone(), thread: args.thread.clone() };
    let mut trial = match Trial::open(place, at).await {
        Ok(trial) => trial,
        Err(why) => return Ok(report::Report::not_opened(&args.file, why, shown)),
    };
    let manifest = trial.manifest().clone();
    let is_module = manifest.kind == PluginKind::Module;
    let section = match is_module {
        true => vec!["modules", &manifest.name],
        false => vec!["channels", &manifest.channel_type, &args.account],
    };
    if is_module {
        anyhow::ensure!(
            args.account == ACCOUNT_MAIN,
            "a module has one account, `{ACCOUNT_MAIN}`: leave out --account"
        );
        anyhow::ensure!(args.peer.is_none(), "a module has no platform: leave out --peer");
        trial.place.deadline = Duration::from_secs(args.deadline.unwrap_or(MODULE_DEADLINE_SECONDS));
    }
    let config = config_of(args, &section, &manifest.secrets).map_err(anyhow::Error::msg)?;
    trial.secrets(&config, &manifest.secrets);
    trial.config = config;
    seam::examine(&mut trial).await;
    schema::examine(&mut trial).await;
    account::start(&mut trial).await;
    if let Some(command) = &args.peer {
        peer::start(&mut trial, command).await;
    }
    match is_module {
        true => module::examine(&mut trial).await,
        false => deliver::examine(&mut trial).await,
    }
    work::examine(&mut trial).await;
    account::end(&mut trial).await;
    Ok(trial.finish().await)
}

/// Its config: the section of the file, then what `--set` says. Secrets may be plain words here.
fn config_of(args: &ConformArgs, names: &[&str], secrets: &[String]) -> Result<Value, String> {
    let mut section = match &args.config {
        None => toml::Table::new(),
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
            let whole: toml::Table =
                text.parse().map_err(|error| format!("{} is not TOML: {error}", path.display()))?;
            if config::is_whole(&whole) {
                let named = names.iter().try_fold(&whole, |table, name| table.get(*name)?.as_table());
                let none = || format!("{} has no [{}]", path.display(), names.join("."));
                named.cloned().ok_or_else(none)?
            } else {
                whole
            }
        }
    };
    let mut plain = Map::new();
    for set in &args.set {
        let (key, value) = set.split_once('=').ok_or_else(|| format!("`--set {set}` is not KEY=VALUE"))?;
        let parsed = format!("it = {value}").parse::<toml::Table>().ok().and_then(|mut it| it.remove("it"));
        let value = parsed.unwrap_or_else(|| toml::Value::String(value.to_owned()));
        section.remove(key);
        match value {
            toml::Value::Table(_) => drop(section.insert(key.to_owned(), value)),
            value => {
                let value = serde_json::to_value(value).map_err(|error| format!("`{key}`: {error}"))?;
                plain.insert(key.to_owned(), value);
            }
        }
    }
    let mut config = config::resolve(&section, secrets).map_err(|error| error.to_string())?;
    if let Some(config) = config.as_object_mut() {
        config.extend(plain);
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use serde_json::json;

    #[derive(Parser)]
    struct Words {
        #[command(flatten)]
        args: ConformArgs,
    }

    fn config(words: &[&str]) -> Result<Value, String> {
        let words = ["conform", "x.so"].iter().chain(words);
        config_of(&Words::parse_from(words).args, &["channels", "acme", "main"], &["token".into()])
    }

    /// Field by field, in the words of the vocabulary.
    #[test]
    fn the_page_for_authors_names_every_field() {
        use vestibule_plugin_api::{
            ATTACHMENTS_MAX, Attachment, ID_BYTES_MAX, InboundMessage, Receipt, TEXT_BYTES_MAX,
        };
        let page = include_str!("../../../../docs/write-a-channel.md");
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
        let receipt = Receipt { platform_message_id: Some("p".into()) };
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

    #[test]
    fn a_key_is_toml_or_words() {
        let config = config(&["--set", "port=7", "--set", "listen=127.0.0.1:0", "--set", "token=t=1"]);
        assert_eq!(config, Ok(json!({ "port": 7, "listen": "127.0.0.1:0", "token": "t=1" })));
    }

    #[test]
    fn a_section_is_found_in_either_kind_of_file() {
        let folder = TemporaryFolder::new("test").expect("made");
        let file = folder.path().join("c.toml");
        let path = file.to_str().expect("UTF-8");
        for (text, want) in [
            ("port = 7", Ok(json!({ "port": 7 }))),
            ("[channels.acme.main]\nport = 7", Ok(json!({ "port": 7 }))),
            ("[channels.other.main]\nport = 7", Err("has no [channels.acme.main]")),
            ("channels = ['general']", Ok(json!({ "channels": ["general"] }))),
            ("[channels.general]\nloud = true", Ok(json!({ "channels": { "general": { "loud": true } } }))),
            ("token = 'plain'", Err("`token` is a secret")),
            ("port", Err("is not TOML")),
        ] {
            std::fs::write(&file, text).expect("written");
            match (config(&["--config", path]), want) {
                (Ok(config), Ok(want)) => assert_eq!(config, want, "{text}"),
                (Err(told), Err(want)) => assert!(told.contains(want), "{text}: {told}"),
                (told, want) => panic!("{text}: {told:?}, not {want:?}"),
            }
        }
    }
}
