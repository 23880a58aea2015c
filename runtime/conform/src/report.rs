//! The report of an examination, and what is told of it while it grows.

use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;
use vestibule_plugin_api::{Manifest, PluginKind};

/// The result of one check, in a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The plugin passed; the words say what was seen.
    Ok(String),
    /// The plugin failed; the words say what to do.
    Failed(String),
    /// The check was not made; the words say why.
    Skipped(String),
}

impl Outcome {
    /// The word for it, and the sentence.
    pub fn parts(&self) -> (&'static str, &str) {
        match self {
            Outcome::Ok(words) => ("ok", words),
            Outcome::Failed(words) => ("failed", words),
            Outcome::Skipped(words) => ("skipped", words),
        }
    }
}

/// How far an examination is: told at each step, so that a person sees which check is under way.
pub enum Progress<'a> {
    /// The file is opened, or cannot be: the plugin in words, or the file's path. Bound it before it is shown.
    Opened(&'a str),
    /// This check is under way.
    Begun(&'static str),
    /// The check that was under way has this result.
    Done(&'a Check),
}

/// All results.
pub struct Report {
    plugin: Value,
    tell: fn(Progress<'_>),
    checks: Vec<Check>,
}

/// One check that was made or left out.
pub struct Check {
    /// The word by which `--only` and `--skip` choose it.
    pub name: &'static str,
    /// Its result. The sentence may hold words of the plugin: bound it before it is shown.
    pub outcome: Outcome,
    /// How long it took.
    pub took: Duration,
}

impl Report {
    /// An empty report.
    pub(crate) fn new(manifest: &Manifest, tier: &str, tell: fn(Progress<'_>)) -> Report {
        let (name, version, channel) = (&manifest.name, &manifest.version, &manifest.channel_type);
        let kind = match manifest.kind {
            PluginKind::Module => "module".to_owned(),
            PluginKind::Channel | PluginKind::Unknown => format!("channel {channel}"),
        };
        tell(Progress::Opened(&format!(
            "{name} {version}, {kind}, vocabulary {}, tier {tier}",
            manifest.api
        )));
        Report {
            tell,
            plugin: json!({
                "name": name, "version": version, "kind": manifest.kind, "channel": channel,
                "api": manifest.api, "tier": tier, "capabilities": manifest.capabilities,
                "stations": manifest.hooks,
            }),
            checks: vec![],
        }
    }

    /// The report of a file that cannot be opened.
    pub(crate) fn not_opened(file: &Path, why: String, tell: fn(Progress<'_>)) -> Report {
        tell(Progress::Opened(&file.display().to_string()));
        let mut report = Report { plugin: Value::Null, tell, checks: vec![] };
        report.begin("file");
        report.add("file", Outcome::Failed(why), Duration::ZERO);
        report
    }

    /// Tells which check is under way.
    pub(crate) fn begin(&self, check: &'static str) {
        (self.tell)(Progress::Begun(check));
    }

    /// Adds the result of the check that was under way, and how long it took.
    pub(crate) fn add(&mut self, name: &'static str, outcome: Outcome, took: Duration) {
        let check = Check { name, outcome, took };
        (self.tell)(Progress::Done(&check));
        self.checks.push(check);
    }

    /// How many passed.
    pub fn passed(&self) -> usize {
        self.count(|outcome| matches!(outcome, Outcome::Ok(_)))
    }

    /// How many failed.
    pub fn failed(&self) -> usize {
        self.count(|outcome| matches!(outcome, Outcome::Failed(_)))
    }

    /// How many were not made.
    pub fn skipped(&self) -> usize {
        self.count(|outcome| matches!(outcome, Outcome::Skipped(_)))
    }

    /// How long all of them took.
    pub fn took(&self) -> Duration {
        self.checks.iter().map(|check| check.took).sum()
    }

    fn count(&self, of: impl Fn(&Outcome) -> bool) -> usize {
        self.checks.iter().filter(|check| of(&check.outcome)).count()
    }

    /// The whole report for programs.
    pub fn json(&self) -> Value {
        let checks = self.checks.iter().map(|check| {
            let (outcome, words) = check.outcome.parts();
            let ms = u64::try_from(check.took.as_millis()).unwrap_or(u64::MAX);
            json!({ "check": check.name, "outcome": outcome, "words": words, "ms": ms })
        });
        json!({ "plugin": self.plugin, "checks": checks.collect::<Vec<_>>(), "failed": self.failed() })
    }
}
