//! What was found, for a person and for a program.

use serde_json::{Value, json};
use std::path::Path;
use vestibule_plugin_api::{Manifest, PluginKind};
use vestibule_runtime::words;

/// The longest sentence about a check that is shown, in characters.
const WORDS_CHARS_MAX: usize = 2_000;

/// What one check found, in a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is as it should be; the words say what was seen.
    Ok(String),
    /// It is not; the words say what to do.
    Failed(String),
    /// It was not looked at; the words say why.
    Skipped(String),
}

/// All of it.
pub struct Report {
    plugin: Value,
    title: String,
    checks: Vec<(&'static str, Outcome)>,
}

impl Report {
    /// An empty one.
    pub fn new(manifest: &Manifest, tier: &str) -> Report {
        let (name, version, channel) = (&manifest.name, &manifest.version, &manifest.channel_type);
        let kind = match manifest.kind {
            PluginKind::Module => "module".to_owned(),
            PluginKind::Channel | PluginKind::Unknown => format!("channel {channel}"),
        };
        Report {
            title: format!("{name} {version}, {kind}, vocabulary {}, tier {tier}", manifest.api),
            plugin: json!({
                "name": name, "version": version, "kind": manifest.kind, "channel": channel,
                "api": manifest.api, "tier": tier, "capabilities": manifest.capabilities,
                "stations": manifest.stations,
            }),
            checks: vec![],
        }
    }

    /// The report of a file that cannot be opened.
    pub fn not_opened(file: &Path, why: String) -> Report {
        let checks = vec![("file", Outcome::Failed(why))];
        Report { plugin: Value::Null, title: file.display().to_string(), checks }
    }

    /// Adds what a check found.
    pub fn add(&mut self, check: &'static str, outcome: Outcome) {
        self.checks.push((check, outcome));
    }

    /// How many checks failed.
    pub fn failed(&self) -> usize {
        self.count(|outcome| matches!(outcome, Outcome::Failed(_)))
    }

    fn count(&self, of: impl Fn(&Outcome) -> bool) -> usize {
        self.checks.iter().filter(|(_, outcome)| of(outcome)).count()
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let checks = self.checks.iter().map(|(check, outcome)| {
            let (outcome, words) = parts(outcome);
            json!({ "check": check, "outcome": outcome, "words": words })
        });
        json!({ "plugin": self.plugin, "checks": checks.collect::<Vec<_>>(), "failed": self.failed() })
    }

    /// For people.
    pub fn print(&self) {
        println!("{}\n", words::line(&self.title, WORDS_CHARS_MAX));
        let width = self.checks.iter().map(|(check, _)| check.len()).max().unwrap_or(0);
        for (check, outcome) in &self.checks {
            let (outcome, said) = parts(outcome);
            let outcome = if outcome == "failed" { "FAILED" } else { outcome };
            println!("{outcome:7}  {check:width$}  {}", words::line(said, WORDS_CHARS_MAX));
        }
        let ok = self.count(|outcome| matches!(outcome, Outcome::Ok(_)));
        let skipped = self.count(|outcome| matches!(outcome, Outcome::Skipped(_)));
        println!("\n{ok} ok, {} failed, {skipped} skipped", self.failed());
    }
}

fn parts(outcome: &Outcome) -> (&'static str, &str) {
    match outcome {
        Outcome::Ok(words) => ("ok", words),
        Outcome::Failed(words) => ("failed", words),
        Outcome::Skipped(words) => ("skipped", words),
    }
}
