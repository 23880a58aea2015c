//! The report of an examination, for a person and for a program.

use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;
use std::time::Duration;
use vestibule_plugin_api::{Manifest, PluginKind};
use vestibule_runtime::words;

/// How wide the names of the checks are shown, in characters: the longest of them.
const NAME_CHARS: usize = 23;
/// The longest sentence about a check that is shown, in characters.
const WORDS_CHARS_MAX: usize = 2_000;

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

/// All results; to a person each line is shown as soon as it is known.
pub struct Report {
    plugin: Value,
    shown: bool,
    checks: Vec<Check>,
}

struct Check {
    name: &'static str,
    outcome: Outcome,
    took: Duration,
}

impl Report {
    /// An empty report, shown to a person or not.
    pub fn new(manifest: &Manifest, tier: &str, shown: bool) -> Report {
        let (name, version, channel) = (&manifest.name, &manifest.version, &manifest.channel_type);
        let kind = match manifest.kind {
            PluginKind::Module => "module".to_owned(),
            PluginKind::Channel | PluginKind::Unknown => format!("channel {channel}"),
        };
        if shown {
            let title = format!("{name} {version}, {kind}, vocabulary {}, tier {tier}", manifest.api);
            println!("{}\n", words::line(title, WORDS_CHARS_MAX));
        }
        Report {
            shown,
            plugin: json!({
                "name": name, "version": version, "kind": manifest.kind, "channel": channel,
                "api": manifest.api, "tier": tier, "capabilities": manifest.capabilities,
                "stations": manifest.hooks,
            }),
            checks: vec![],
        }
    }

    /// The report of a file that cannot be opened.
    pub fn not_opened(file: &Path, why: String, shown: bool) -> Report {
        if shown {
            println!("{}\n", words::line(file.display().to_string(), WORDS_CHARS_MAX));
        }
        let mut report = Report { plugin: Value::Null, shown, checks: vec![] };
        report.begin("file");
        report.add("file", Outcome::Failed(why), Duration::ZERO);
        report
    }

    /// Shows which check is under way.
    pub fn begin(&self, check: &'static str) {
        if self.shown {
            print!("{check:NAME_CHARS$}  ");
            let _ = std::io::stdout().flush();
        }
    }

    /// Adds the result of the check that was under way, and how long it took.
    pub fn add(&mut self, name: &'static str, outcome: Outcome, took: Duration) {
        if self.shown {
            let (outcome, said) = parts(&outcome);
            let outcome = if outcome == "failed" { "FAILED" } else { outcome };
            println!("{outcome:7}  {:>6.2} s  {}", took.as_secs_f64(), words::line(said, WORDS_CHARS_MAX));
        }
        self.checks.push(Check { name, outcome, took });
    }

    /// How many checks failed.
    pub fn failed(&self) -> usize {
        self.count(|outcome| matches!(outcome, Outcome::Failed(_)))
    }

    /// Whether every check was skipped.
    pub fn is_empty(&self) -> bool {
        self.count(|outcome| !matches!(outcome, Outcome::Skipped(_))) == 0
    }

    fn count(&self, of: impl Fn(&Outcome) -> bool) -> usize {
        self.checks.iter().filter(|check| of(&check.outcome)).count()
    }

    /// The whole report for programs.
    pub fn json(&self) -> Value {
        let checks = self.checks.iter().map(|check| {
            let (outcome, words) = parts(&check.outcome);
            let ms = u64::try_from(check.took.as_millis()).unwrap_or(u64::MAX);
            json!({ "check": check.name, "outcome": outcome, "words": words, "ms": ms })
        });
        json!({ "plugin": self.plugin, "checks": checks.collect::<Vec<_>>(), "failed": self.failed() })
    }

    /// Prints how many checks passed, failed and were skipped, for a person.
    pub fn print_sum(&self) {
        let ok = self.count(|outcome| matches!(outcome, Outcome::Ok(_)));
        let skipped = self.count(|outcome| matches!(outcome, Outcome::Skipped(_)));
        let seconds = self.checks.iter().map(|check| check.took).sum::<Duration>().as_secs_f64();
        println!("\n{ok} ok, {} failed, {skipped} skipped, in {seconds:.1} s", self.failed());
    }
}

fn parts(outcome: &Outcome) -> (&'static str, &str) {
    match outcome {
        Outcome::Ok(words) => ("ok", words),
        Outcome::Failed(words) => ("failed", words),
        Outcome::Skipped(words) => ("skipped", words),
    }
}
