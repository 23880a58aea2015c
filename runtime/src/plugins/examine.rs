//! `vestibule plugin check`: all that the loader checks, on one file, without a house.

use super::load;
use super::opening;
use super::pins::Pins;
use super::rehearsal::rehearse;
use crate::config::Config;
use crate::home::Home;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::Instant;
use vestibule_plugin_api::Manifest;

/// What came of one check.
#[derive(Debug, Serialize)]
pub struct Check {
    /// What was checked: `file`, `trust`, `process`, `in_process`.
    pub what: &'static str,
    /// Whether it would be loaded, as far as this goes; nothing where it could not be tried.
    pub ok: Option<bool>,
    /// The fact, or the sentence of the refusal.
    pub words: String,
}

/// What `plugin check` says about a file.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The file.
    pub file: PathBuf,
    /// Whether a house with this home would load it.
    pub loads: bool,
    /// The SHA-256 of its bytes, in hexadecimal.
    pub sha256: Option<String>,
    /// Its manifest.
    pub manifest: Option<Manifest>,
    /// Each check in its order.
    pub checks: Vec<Check>,
    /// What it logged while it was opened.
    pub log: Vec<String>,
}

/// Checks a file as a house with this home and config would. `program` is run as `program
/// plugin-host`: the file is opened there and nowhere else.
pub async fn examine(home: &Home, config: &Config, program: &Path, file: &Path) -> Report {
    let mut report = Report {
        file: file.to_owned(),
        loads: false,
        sha256: None,
        manifest: None,
        checks: vec![],
        log: vec![],
    };
    let read = load::read(file);
    let checked = match read {
        Ok(checked) => checked,
        Err(why) => {
            report.note("file", Some(false), why);
            return report;
        }
    };
    let manifest = &checked.inspected.manifest;
    let (name, sha256) = (manifest.name.clone(), checked.sha256.clone());
    report.note(
        "file",
        Some(true),
        "a whole shared library of this machine, with a manifest and one entry point",
    );
    match Pins::load(&home.plugins_lock()).and_then(|pins| {
        pins.allow(&name, file, &sha256, config.require_trusted)?;
        Ok(pins.of(&name).is_some_and(|pin| pin.sha256 == sha256))
    }) {
        Ok(true) => report.note("trust", Some(true), "in plugins.lock"),
        Ok(false) => report.note("trust", Some(true), "not in plugins.lock, and need not be"),
        Err(why) => report.note("trust", Some(false), why),
    }
    match copy_and_rehearse(home, config, program, &checked).await {
        Ok((ms, log)) => {
            report.note("process", Some(true), format!("opened and started in {ms} ms"));
            report.log = log;
        }
        // Not the file's fault; in-process it may load all the same.
        Err(why) if why.ends_with("[CONFINE]") => report.note("process", None, why),
        Err(why) => report.note("process", Some(false), why),
    }
    let wanted = opening::in_process(config, &name);
    match load::fits_in_process(&checked) {
        Ok(()) => report.note("in_process", Some(true), "built to unwind"),
        Err(why) => report.note("in_process", if wanted { Some(false) } else { None }, why),
    }
    report.loads = report.checks.iter().all(|check| check.ok != Some(false));
    report.manifest = Some(checked.inspected.manifest);
    report.sha256 = Some(sha256);
    report
}

impl Report {
    fn note(&mut self, what: &'static str, ok: Option<bool>, words: impl Into<String>) {
        self.checks.push(Check { what, ok, words: words.into() });
    }
}

/// Milliseconds until it was open and ended, and what it logged.
async fn copy_and_rehearse(
    home: &Home,
    config: &Config,
    program: &Path,
    checked: &load::Checked,
) -> Result<(u128, Vec<String>), String> {
    // Where there is no home yet, a folder of its own.
    let theirs = home.plugin_copies();
    let made = (!theirs.is_dir()).then(|| std::env::temp_dir().join(crate::id::mint("vestibule-check")));
    if let Some(folder) = &made {
        use std::os::unix::fs::DirBuilderExt;
        let built = std::fs::DirBuilder::new().mode(0o700).create(folder);
        built.map_err(|error| format!("{} cannot be made ({error}). [COPY]", folder.display()))?;
    }
    let copy = load::copy(checked, made.as_ref().unwrap_or(&theirs));
    let outcome = match &copy {
        Ok(copy) => {
            let inspected = &checked.inspected;
            let spec = opening::spec(config, &inspected.manifest.name, copy.clone(), inspected.entry.clone());
            let begin = Instant::now();
            let log = rehearse(program, &spec).await;
            let _ = std::fs::remove_file(copy);
            log.map(|log| (begin.elapsed().as_millis(), log))
        }
        Err(why) => Err(why.clone()),
    };
    if let Some(folder) = made {
        let _ = std::fs::remove_dir(folder);
    }
    outcome
}
