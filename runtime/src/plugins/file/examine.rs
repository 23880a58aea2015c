//! `vestibule plugin check`: all that the loader checks, on one file, without a runtime.

use super::describe;
use super::fit;
use super::folder;
use super::load::{self, Checked};
use super::opening;
use super::pins::Pins;
use super::rehearsal::{Rehearsed, rehearse};
use crate::config::{self, Config, Unresolved};
use crate::home::Home;
use crate::plugins::live::accounts;
use crate::plugins::live::registry::{self, file_name};
use crate::plugins::{LoadCode, LoadError};
use crate::private::TemporaryFolder;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;
use toml::Table;
use vestibule_plugin_api::{ACCOUNT_MAIN, Manifest, Schema};

/// The result of one check.
#[derive(Debug, Serialize)]
pub struct Check {
    /// What was checked: `folder` where that is at fault, `file`, `trust`, `place`, `process`, `in_process`, and `config`
    /// for each account.
    pub what: &'static str,
    /// Whether the file would be loaded, as far as this check goes; `None` where it could not be tried.
    pub ok: Option<bool>,
    /// The fact that was found, or the sentence of the refusal.
    pub words: String,
}

/// The report of `plugin check` on one file.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The file, as the operator named it.
    pub file: PathBuf,
    /// Whether a runtime with this home would load it.
    pub loads: bool,
    /// Whether the config is what the plugin describes, as far as that can be told.
    pub fits: bool,
    /// The SHA-256 of its bytes, in hexadecimal.
    pub sha256: Option<String>,
    /// Its manifest, where the file could be read.
    pub manifest: Option<Manifest>,
    /// The schema of its config, if the plugin describes it.
    pub schema: Option<Schema>,
    /// Each check in its order.
    pub checks: Vec<Check>,
    /// The lines that the plugin logged while it was opened.
    pub log: Vec<String>,
}

/// Where the accounts' sections come from.
pub struct Source<'a> {
    /// The config file.
    pub file: &'a Path,
    /// The keys of one account, where the file holds them alone.
    pub alone: Option<Table>,
    /// Whether the operator named the file for this plugin: then it must have a section for it.
    pub is_named: bool,
}

/// Checks a file as a runtime with this home and config would. `program` is run as `program plugin-host`: the file is
/// opened there and nowhere else.
pub async fn examine(
    home: &Home,
    config: &Config,
    source: Source<'_>,
    program: &Path,
    file: &Path,
) -> Report {
    let mut report = Report {
        file: file.to_owned(),
        loads: false,
        fits: true,
        sha256: None,
        manifest: None,
        schema: None,
        checks: vec![],
        log: vec![],
    };
    // Nothing of such a folder is read.
    if lies_in(file, &home.plugins())
        && let Some(why) = folder::folder_fault(&home.plugins())
    {
        report.note("folder", Some(false), why.to_string());
        return report;
    }
    let read = load::read(file);
    let checked = match read {
        Ok(checked) => checked,
        Err(why) => {
            report.note("file", Some(false), why.to_string());
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
    report.note_trust(home, config, &checked);
    match taken(home, config, file, manifest) {
        None => report.note("place", Some(true), "no other plugin has what it would be"),
        Some(why) => report.note("place", Some(false), why.to_string()),
    }
    match copy_and_rehearse(home, config, program, &checked).await {
        Ok((ms, rehearsed)) => {
            report.note("process", Some(true), format!("opened and started in {ms} ms"));
            (report.schema, report.log) = (rehearsed.schema, rehearsed.log);
        }
        // The file is not at fault; in-process it may load all the same.
        Err(why) if why.code == LoadCode::Confine => report.note("process", None, why.to_string()),
        Err(why) => report.note("process", Some(false), why.to_string()),
    }
    let wanted = opening::in_process(config, &name);
    match load::fits_in_process(&checked) {
        Ok(()) => report.note("in_process", Some(true), "built to unwind"),
        Err(why) => report.note("in_process", if wanted { Some(false) } else { None }, why.to_string()),
    }
    report.loads = report.checks.iter().all(|check| check.ok != Some(false));
    if report.loads {
        report.hold_against(config, source, manifest);
    }
    report.manifest = Some(checked.inspected.manifest);
    report.sha256 = Some(sha256);
    report
}

impl Report {
    fn note_trust(&mut self, home: &Home, config: &Config, checked: &Checked) {
        let (name, sha256) = (&checked.inspected.manifest.name, &checked.sha256);
        let in_lock = Pins::load(&home.plugins_lock()).and_then(|pins| {
            pins.allow(name, &self.file, sha256, config.require_trusted)?;
            Ok(pins.of(name).is_some_and(|pin| pin.sha256 == *sha256))
        });
        match in_lock {
            Ok(true) => self.note("trust", Some(true), "in plugins.lock"),
            Ok(false) => self.note("trust", Some(true), "not in plugins.lock, and need not be"),
            Err(why) => self.note("trust", Some(false), why.to_string()),
        }
    }

    /// Checks each account's section of a config against what the plugin describes.
    fn hold_against(&mut self, config: &Config, source: Source<'_>, manifest: &Manifest) {
        let file = source.file.display();
        let is_key =
            |key: &str| self.schema.as_ref().is_some_and(|schema| schema.open || schema.key(key).is_some());
        if let Some(why) = source.alone.as_ref().and_then(|keys| config::misspelled(keys, is_key)) {
            return self.misfits(format!("{file}: {why}"));
        }
        if source.alone.is_none() && config.terminal_is_new && manifest.channel_type == "terminal" {
            let words = format!("{file}: what the terminal needs is made by the first start");
            return self.note("config", Some(true), words);
        }
        let absent = (source.alone.is_none() && !accounts::has_section(config, manifest))
            .then(|| fit::place(manifest, "ACCOUNT"));
        let sections = match source.alone {
            Some(keys) => BTreeMap::from([(ACCOUNT_MAIN.to_owned(), keys)]),
            None => accounts::sections(config, manifest),
        };
        if let Some(place) = &absent {
            if source.is_named {
                let near = accounts::nearest_section(config, manifest);
                let near = near.map(|near| format!("; did you mean it by {near}?")).unwrap_or_default();
                return self.misfits(format!("{file} has no {place}: add it{near}"));
            }
            if sections.is_empty() {
                self.note("config", None, format!("{file}: it has no account there yet; add {place}"));
            }
        }
        for (account, section) in sections {
            let place = fit::place(manifest, &account);
            let schema = self.schema.as_ref();
            match describe::held_against(schema, manifest, source.file, (&account, &section)) {
                Err(Unresolved::Wrong(why)) => self.misfits(why),
                // It is read by the runtime, whose environment may be another.
                Err(Unresolved::Unset(why)) => self.note("config", None, why),
                Ok(_) if schema.is_some() && absent.is_some() => {
                    let words =
                        format!("{file} has no {place}, and it needs none: its account starts without keys");
                    self.note("config", Some(true), words);
                }
                Ok(_) if schema.is_some() => {
                    let words =
                        format!("{file}: {place} fits; what its values say is checked when it starts");
                    self.note("config", Some(true), words);
                }
                Ok(_) => {
                    self.note("config", None, format!("{file}: {place} is not looked at: no schema is known"))
                }
            }
        }
    }

    fn misfits(&mut self, why: String) {
        self.fits = false;
        self.note("config", Some(false), why);
    }

    fn note(&mut self, what: &'static str, ok: Option<bool>, words: impl Into<String>) {
        self.checks.push(Check { what, ok, words: words.into() });
    }
}

/// Why this plugin has no place beside the built-in plugins and those in the plugins folder, if so. It would replace
/// a file of its own name; every other file is there before it.
fn taken(home: &Home, config: &Config, file: &Path, manifest: &Manifest) -> Option<LoadError> {
    let bundled =
        crate::plugins::built_in(config).map(|(_, manifest)| (registry::built_in(&manifest), manifest));
    let mut placed: Vec<(String, Manifest)> = bundled.collect();
    let refusal = |one: &Manifest, placed: &[(String, Manifest)]| {
        placed.iter().find_map(|(words, other)| registry::duplicate(one, other, || words.clone()))
    };
    let folder = home.plugins();
    let files = if folder::folder_fault(&folder).is_none() { folder::files(&folder) } else { vec![] };
    for other in files.iter().filter(|other| other.file_name() != file.file_name()) {
        // A file that would itself be refused takes no place.
        let Ok(checked) = opening::check(home, config, other) else { continue };
        let other_manifest = checked.inspected.manifest;
        if refusal(&other_manifest, &placed).is_none() {
            placed.push((format!("{}, which is in the plugins folder", file_name(other)), other_manifest));
        }
    }
    refusal(manifest, &placed)
}

/// Whether a file lies in this folder, by whatever path it was named.
fn lies_in(file: &Path, folder: &Path) -> bool {
    let real = |path: &Path| std::fs::canonicalize(path).ok();
    file.parent().and_then(real).is_some_and(|parent| real(folder) == Some(parent))
}

/// How many milliseconds it took to open it and end it, and what the plugin did meanwhile.
async fn copy_and_rehearse(
    home: &Home,
    config: &Config,
    program: &Path,
    checked: &load::Checked,
) -> Result<(u128, Rehearsed), LoadError> {
    // Where there is no home yet, the copy goes to a folder of its own.
    let theirs = home.plugin_copies();
    let made = (!theirs.is_dir()).then(|| TemporaryFolder::new("check")).transpose();
    let made =
        made.map_err(|error| LoadError::new(LoadCode::Copy, format!("it cannot be copied ({error}).")))?;
    let copy = load::copy(checked, made.as_ref().map_or(&theirs, TemporaryFolder::path))?;
    let inspected = &checked.inspected;
    let spec = opening::spec(config, &inspected.manifest.name, copy.clone(), inspected.entry.clone());
    let begin = Instant::now();
    let rehearsed = rehearse(program, &spec, &inspected.manifest).await;
    let _ = std::fs::remove_file(copy);
    Ok((begin.elapsed().as_millis(), rehearsed?))
}
