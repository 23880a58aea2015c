//! `vestibule.toml`: optional, and an unknown key is refused with a suggestion.

use crate::error::{Error, Result, if_there};
use crate::home::Home;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::Table;

/// The config, read and checked. Channel sections are kept as they are: their plugins check them.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where webhooks are taken.
    pub listen: SocketAddr,
    /// The URL at which platforms reach the listener, when a proxy stands before it.
    pub public_url: Option<String>,
    /// The largest webhook body, in bytes.
    pub webhook_body_limit: usize,
    /// The IANA time zone that agents are told.
    pub time_zone: Option<String>,
    /// A runner with nothing to do for this long, in seconds, is ended.
    pub runner_idle_seconds: u64,
    /// A turn whose provider shows nothing for this long, in seconds, is stuck, unless a longer time is declared.
    pub turn_silence_seconds: u64,
    /// Settled records are kept for so many days.
    pub retention_days: u32,
    /// How many runners may run at once.
    pub runners_max: usize,
    /// Which sandbox runners live in.
    pub sandbox: SandboxSetting,
    /// What runners may read and run besides the system's folders.
    pub sandbox_read: Vec<PathBuf>,
    /// In a runtime that root started: the user that runners in `bwrap` are, by name or number.
    pub sandbox_user: Option<String>,
    /// How much memory a run may hold, each of its processes and all together, in MiB.
    pub sandbox_memory_mb: u64,
    /// The files of one message together may hold this much, in MiB.
    pub attachments_mb: u64,
    /// The files of one session together may hold this much, in MiB.
    pub session_files_mb: u64,
    /// This much stays free on the disk, in MiB.
    pub disk_reserve_mb: u64,
    /// How many processes and threads a run may have.
    pub sandbox_processes: u64,
    /// How large a session's `out/` may become, in MiB.
    pub sandbox_out_mb: u64,
    /// How many files and folders a session's `out/` may hold.
    pub sandbox_out_files: u64,
    /// How large an agent's own folder may become, in MiB.
    pub sandbox_agent_mb: u64,
    /// How many files and folders an agent's own folder may hold.
    pub sandbox_agent_files: u64,
    /// Whether a plugin file must be in `plugins.lock`.
    pub require_trusted: bool,
    /// `[plugins.<name>]`: where a plugin runs, and within which limits.
    pub plugins: BTreeMap<String, PluginSettings>,
    /// `[modules.<name>]`, secrets still references.
    pub modules: BTreeMap<String, Table>,
    /// `[channels.<type>.<account>]`, secrets still references.
    pub channels: BTreeMap<(String, String), Table>,
}

/// What the operator says about one plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginSettings {
    /// Where it runs; without a word, a file from the plugins folder has a process of its own.
    pub tier: Option<TierSetting>,
    /// Whether the linked-in plugin of this name is started; a file of the same name can take its place.
    pub built_in: bool,
    /// How much memory its process may hold, in MiB.
    pub memory_mb: u64,
    /// How many descriptors its process may have open.
    pub open_files: u64,
    /// How long one call may take, in seconds; a process that answers nothing for so long is ended.
    pub deadline_seconds: u64,
    /// The agents that a module may tell something by itself.
    pub agents: Vec<String>,
}

/// Where a plugin runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TierSetting {
    /// Inside the runtime.
    InProcess,
    /// In a process of its own.
    Process,
}

/// The largest webhook body by default, in bytes: what GitHub sends at most, and no platform with a channel here
/// sends more.
const WEBHOOK_BODY_LIMIT: usize = 25 * 1024 * 1024;
/// No call takes longer than this, in seconds.
const DEADLINE_SECONDS_MAX: u64 = 60;

impl Default for PluginSettings {
    fn default() -> Self {
        PluginSettings {
            tier: None,
            built_in: true,
            memory_mb: 512,
            open_files: 1024,
            deadline_seconds: DEADLINE_SECONDS_MAX,
            agents: Vec::new(),
        }
    }
}

impl PluginSettings {
    /// How long one call may take.
    pub fn deadline(&self) -> Duration {
        Duration::from_secs(self.deadline_seconds)
    }
}

/// Which sandbox the operator wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SandboxSetting {
    /// The best that works here; none is never chosen.
    Auto,
    /// bubblewrap: namespaces and seccomp.
    Bwrap,
    /// Landlock and seccomp.
    Process,
    /// No confinement.
    None,
}

const KEYS: [&str; 24] = [
    "listen",
    "public_url",
    "webhook_body_limit",
    "time_zone",
    "runner_idle_seconds",
    "turn_silence_seconds",
    "retention_days",
    "runners_max",
    "sandbox",
    "sandbox_read",
    "sandbox_user",
    "sandbox_memory_mb",
    "attachments_mb",
    "session_files_mb",
    "disk_reserve_mb",
    "sandbox_processes",
    "sandbox_out_mb",
    "sandbox_out_files",
    "sandbox_agent_mb",
    "sandbox_agent_files",
    "require_trusted",
    "plugins",
    "modules",
    "channels",
];

const PLUGIN_KEYS: [&str; 6] = ["tier", "built_in", "memory_mb", "open_files", "deadline_seconds", "agents"];

impl Config {
    /// The config of a home; the defaults where it has no file.
    ///
    /// # Errors
    /// The file cannot be read, or says something that Vestibule does not know.
    pub fn load(home: &Home) -> Result<Config> {
        Config::load_from(home, &home.config())
    }

    /// The config that a home would have with this file; only the home's own file may be missing.
    ///
    /// # Errors
    /// See [`Config::load`].
    pub fn load_from(home: &Home, path: &Path) -> Result<Config> {
        let read = std::fs::read_to_string(path);
        let read = if path == home.config() { if_there(read) } else { read.map(Some) };
        let text = read.map_err(|error| Error::Setup(format!("cannot read {}: {error}", path.display())))?;
        let text = text.unwrap_or_default();
        let mut config =
            Config::parse(&text).map_err(|why| Error::Setup(format!("{}: {why}", path.display())))?;
        config.add_terminal(home);
        Ok(config)
    }

    /// Reads a config from its text.
    ///
    /// # Errors
    /// Says what is wrong, in one sentence.
    pub fn parse(text: &str) -> std::result::Result<Config, String> {
        let table: Table = text.parse().map_err(|error: toml::de::Error| {
            let line =
                error.span().map_or(1, |span| text[..span.start.min(text.len())].lines().count().max(1));
            format!("line {line}: {}", error.message())
        })?;
        for key in table.keys() {
            known(key, &KEYS)?;
        }
        let config = Config {
            listen: text_of(&table, "listen")?.unwrap_or("127.0.0.1:8787").parse().map_err(|_| {
                "`listen` must be an address and a port, such as \"127.0.0.1:8787\"".to_owned()
            })?,
            public_url: text_of(&table, "public_url")?.map(|url| url.trim_end_matches('/').to_owned()),
            webhook_body_limit: number_of(&table, "webhook_body_limit", WEBHOOK_BODY_LIMIT)?,
            time_zone: text_of(&table, "time_zone")?.map(str::to_owned),
            runner_idle_seconds: u64::from(number_of::<u32>(&table, "runner_idle_seconds", 600)?),
            retention_days: number_of(&table, "retention_days", 90)?,
            turn_silence_seconds: u64::from(number_of::<u32>(&table, "turn_silence_seconds", 600)?),
            runners_max: number_of(&table, "runners_max", 256)?,
            sandbox: match text_of(&table, "sandbox")?.unwrap_or("auto") {
                "auto" => SandboxSetting::Auto,
                "bwrap" => SandboxSetting::Bwrap,
                "process" => SandboxSetting::Process,
                "none" => SandboxSetting::None,
                other => {
                    return Err(format!(
                        "`sandbox` is \"auto\", \"bwrap\", \"process\" or \"none\", not \"{other}\""
                    ));
                }
            },
            sandbox_read: paths_of(&table, "sandbox_read")?,
            sandbox_user: text_of(&table, "sandbox_user")?.map(str::to_owned),
            sandbox_memory_mb: u64::from(number_of::<u32>(&table, "sandbox_memory_mb", 4096)?),
            attachments_mb: u64::from(number_of::<u32>(&table, "attachments_mb", 64)?),
            session_files_mb: u64::from(number_of::<u32>(&table, "session_files_mb", 2048)?),
            disk_reserve_mb: u64::from(number_of::<u32>(&table, "disk_reserve_mb", 256)?),
            sandbox_processes: u64::from(number_of::<u32>(&table, "sandbox_processes", 1024)?),
            sandbox_out_mb: u64::from(number_of::<u32>(&table, "sandbox_out_mb", 1024)?),
            sandbox_out_files: u64::from(number_of::<u32>(&table, "sandbox_out_files", 10_000)?),
            sandbox_agent_mb: u64::from(number_of::<u32>(&table, "sandbox_agent_mb", 8192)?),
            sandbox_agent_files: u64::from(number_of::<u32>(&table, "sandbox_agent_files", 200_000)?),
            require_trusted: match table.get("require_trusted") {
                None => false,
                Some(toml::Value::Boolean(wanted)) => *wanted,
                Some(_) => return Err("`require_trusted` is true or false, without quotes".into()),
            },
            plugins: plugins_of(&table)?,
            modules: modules_of(&table)?,
            channels: channels_of(&table)?,
        };
        if let Some(zone) = &config.time_zone {
            jiff::tz::TimeZone::get(zone).map_err(|_| {
                format!("`time_zone` names no zone: \"{zone}\"; write one such as \"Europe/Berlin\"")
            })?;
        }
        Ok(config)
    }

    /// What the operator says about a plugin, or the defaults.
    pub fn plugin(&self, name: &str) -> PluginSettings {
        self.plugins.get(name).cloned().unwrap_or_default()
    }

    /// The terminal needs no config: its socket and token lie in the home.
    fn add_terminal(&mut self, home: &Home) {
        let section = self.channels.entry(("terminal".into(), "main".into())).or_default();
        let path = |path: std::path::PathBuf| toml::Value::String(path.to_string_lossy().into_owned());
        section.entry("socket").or_insert_with(|| path(home.terminal_socket()));
        section.entry("token").or_insert_with(|| {
            toml::Value::Table(Table::from_iter([("file".to_owned(), path(home.token_file()))]))
        });
    }
}

/// A config section as the plugin gets it: references to secrets replaced by what they name.
///
/// # Errors
/// A reference names nothing, or a key that holds a secret holds it in plain text.
pub fn resolve(section: &Table, secrets: &[String]) -> std::result::Result<Value, String> {
    if let Some(why) = plain_secret(section, secrets) {
        return Err(why);
    }
    let mut out = Map::new();
    for (key, value) in section {
        let resolved = match value {
            toml::Value::Table(reference) if is_reference(reference) => {
                Value::String(secret(key, reference)?)
            }
            value => serde_json::to_value(value).map_err(|error| format!("`{key}`: {error}"))?,
        };
        out.insert(key.clone(), resolved);
    }
    Ok(Value::Object(out))
}

/// The sentence about a secret that is written in plain text, if one is.
pub fn plain_secret(section: &Table, secrets: &[String]) -> Option<String> {
    let plain = |value: &toml::Value| !value.as_table().is_some_and(is_reference);
    let (key, _) = section.iter().find(|(key, value)| secrets.contains(key) && plain(value))?;
    Some(format!("`{key}` is a secret: write {{ env = \"NAME\" }} or {{ file = \"PATH\" }}"))
}

/// Whether a value names where a secret is kept: `{ env = "NAME" }` or `{ file = "PATH" }`.
pub fn is_reference(table: &Table) -> bool {
    table.len() == 1 && (table.contains_key("env") || table.contains_key("file"))
}

fn secret(key: &str, reference: &Table) -> std::result::Result<String, String> {
    if let Some(name) = reference.get("env").and_then(toml::Value::as_str) {
        return match std::env::var(name) {
            Ok(value) if !value.is_empty() => Ok(value),
            _ => Err(format!("`{key}` is missing: the environment variable {name} is not set")),
        };
    }
    let Some(path) = reference.get("file").and_then(toml::Value::as_str) else {
        return Err(format!("`{key}` must be {{ env = \"NAME\" }} or {{ file = \"PATH\" }}"));
    };
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("`{key}` is missing: cannot read {path}: {error}"))?;
    match text.trim() {
        "" => Err(format!("`{key}` is missing: {path} is empty")),
        secret => Ok(secret.to_owned()),
    }
}

fn known(key: &str, keys: &[&str]) -> std::result::Result<(), String> {
    if keys.contains(&key) {
        return Ok(());
    }
    match nearest(key, keys.iter().copied()) {
        Some(near) => Err(format!("`{key}` is not a key; did you mean `{near}`?")),
        None => Err(format!("`{key}` is not a key; the keys are {}", keys.join(", "))),
    }
}

/// The word among these that an operator who wrote another may have meant.
pub fn nearest<'a>(word: &str, words: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let near = words.map(|known| (strsim::jaro_winkler(known, word), known)).filter(|(like, _)| *like > 0.7);
    near.max_by(|(a, _), (b, _)| a.total_cmp(b)).map(|(_, known)| known)
}

fn text_of<'a>(table: &'a Table, key: &str) -> std::result::Result<Option<&'a str>, String> {
    match table.get(key) {
        None => Ok(None),
        Some(toml::Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(format!("`{key}` must be a text in quotes")),
    }
}

fn number_of<T: TryFrom<i64>>(table: &Table, key: &str, default: T) -> std::result::Result<T, String> {
    match table.get(key) {
        None => Ok(default),
        Some(toml::Value::Integer(number)) if *number > 0 => {
            T::try_from(*number).map_err(|_| format!("`{key}` is too large"))
        }
        Some(_) => Err(format!("`{key}` must be a whole number above 0")),
    }
}

fn paths_of(table: &Table, key: &str) -> std::result::Result<Vec<PathBuf>, String> {
    let shape = || format!("`{key}` must be a list of absolute paths");
    let Some(value) = table.get(key) else { return Ok(vec![]) };
    let paths = value.as_array().ok_or_else(shape)?.iter();
    paths
        .map(|path| path.as_str().filter(|path| path.starts_with('/')).map(PathBuf::from).ok_or_else(shape))
        .collect()
}

fn modules_of(table: &Table) -> std::result::Result<BTreeMap<String, Table>, String> {
    let shape = || "modules are written [modules.NAME], such as [modules.agent-to-agent]".to_owned();
    let Some(modules) = table.get("modules") else { return Ok(BTreeMap::new()) };
    let section = |(name, section): (&String, &toml::Value)| {
        Ok((name.clone(), section.as_table().ok_or_else(shape)?.clone()))
    };
    modules.as_table().ok_or_else(shape)?.iter().map(section).collect()
}

fn plugins_of(table: &Table) -> std::result::Result<BTreeMap<String, PluginSettings>, String> {
    let mut out = BTreeMap::new();
    let Some(plugins) = table.get("plugins") else { return Ok(out) };
    let shape = || "plugins are written [plugins.NAME], such as [plugins.echo]".to_owned();
    for (name, section) in plugins.as_table().ok_or_else(shape)? {
        let section = section.as_table().ok_or_else(shape)?;
        for key in section.keys() {
            known(key, &PLUGIN_KEYS).map_err(|why| format!("[plugins.{name}]: {why}"))?;
        }
        let tier = match text_of(section, "tier")? {
            None => None,
            Some("in-process") => Some(TierSetting::InProcess),
            Some("process") => Some(TierSetting::Process),
            Some(other) => {
                return Err(format!(
                    "[plugins.{name}]: `tier` is \"process\" or \"in-process\", not \"{other}\""
                ));
            }
        };
        let number = |key, default| number_of::<u32>(section, key, default).map(u64::from);
        let built_in = match section.get("built_in") {
            None => true,
            Some(toml::Value::Boolean(word)) => *word,
            Some(_) => return Err(format!("[plugins.{name}]: `built_in` is true or false")),
        };
        let agents = section.get("agents").cloned().map_or(Ok(Vec::new()), toml::Value::try_into);
        let wanted = PluginSettings {
            agents: agents.map_err(|_| format!("[plugins.{name}]: `agents` is a list of names of agents"))?,
            tier,
            built_in,
            memory_mb: number("memory_mb", 512)?,
            open_files: number("open_files", 1024)?,
            deadline_seconds: number("deadline_seconds", 60)?,
        };
        if wanted.deadline_seconds > DEADLINE_SECONDS_MAX {
            return Err(format!("[plugins.{name}]: `deadline_seconds` is {DEADLINE_SECONDS_MAX} at most"));
        }
        out.insert(name.clone(), wanted);
    }
    Ok(out)
}

/// Whether a file is a whole config, and not the keys of one account: it has sections of accounts, modules or plugins.
/// A key of an account may have one of their names.
pub fn is_whole(file: &Table) -> bool {
    let tables = |value: &toml::Value| {
        let table = value.as_table().filter(|table| !table.is_empty());
        table.is_some_and(|table| table.values().all(toml::Value::is_table))
    };
    let has = |room: &str, is: &dyn Fn(&toml::Value) -> bool| {
        let room = file.get(room).and_then(toml::Value::as_table);
        room.is_some_and(|table| table.values().any(is))
    };
    has("channels", &tables)
        || has("modules", &toml::Value::is_table)
        || has("plugins", &toml::Value::is_table)
}

fn channels_of(table: &Table) -> std::result::Result<BTreeMap<(String, String), Table>, String> {
    let mut out = BTreeMap::new();
    let Some(channels) = table.get("channels") else { return Ok(out) };
    let shape = || "channels are written [channels.TYPE.ACCOUNT], such as [channels.github.main]".to_owned();
    for (channel, accounts) in channels.as_table().ok_or_else(shape)? {
        for (account, section) in accounts.as_table().ok_or_else(shape)? {
            let section = section.as_table().ok_or_else(shape)?;
            out.insert((channel.clone(), account.clone()), section.clone());
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_config_is_told_from_the_keys_of_an_account() {
        for (text, whole) in [
            ("", false),
            ("port = 7", false),
            ("[channels.acme.main]", true),
            ("[channels.acme.main]\nport = 7", true),
            ("listen = '127.0.0.1:0'\n[channels.acme.main]", true),
            ("[modules.rules]", true),
            ("[plugins.rules]\ntier = 'process'", true),
            ("channels = ['general']", false),
            ("[channels]\ngeneral = true", false),
            ("[channels.general]\ntopic = 'x'", false),
            ("modules = ['a']\nplugins = 7", false),
        ] {
            assert_eq!(is_whole(&text.parse().expect("TOML")), whole, "{text}");
        }
    }

    #[test]
    fn faults_are_one_sentence() {
        for (text, words) in [
            ("lisen = \"127.0.0.1:1\"", "did you mean `listen`?"),
            ("listen = \"here\"", "must be an address and a port"),
            ("listen = 7", "must be a text in quotes"),
            ("x = [", "line 1:"),
            ("[channels.github]\ntoken = \"x\"", "[channels.TYPE.ACCOUNT]"),
            ("time_zone = \"Mars\"", "names no zone"),
            ("webhook_body_limit = 0", "above 0"),
            ("sandbox = \"docker\"", "\"bwrap\""),
            ("sandbox_proceses = 9", "did you mean `sandbox_processes`?"),
            ("[plugins.echo]\ntier = \"inside\"", "`tier` is \"process\" or \"in-process\""),
            ("[plugins.echo]\ntierr = \"process\"", "did you mean `tier`?"),
            ("[plugins.echo]\ndeadline_seconds = 0", "must be a whole number above 0"),
            ("[plugins.echo]\ndeadline_seconds = 61", "`deadline_seconds` is 60 at most"),
            ("require_trusted = \"yes\"", "true or false"),
            ("[plugins]\necho = 1", "[plugins.NAME]"),
        ] {
            let error = Config::parse(text).expect_err(text);
            assert!(error.contains(words), "{text}: {error}");
            assert!(!error.contains('\n'), "{text}: {error}");
        }
    }

    #[test]
    fn secrets_are_references() {
        let section = |text: &str| text.parse::<Table>().expect("toml");
        let secrets = ["token".to_owned()];
        let plain = resolve(&section("token = \"ghp_x\""), &secrets).expect_err("plain text");
        assert!(plain.contains("{ env = \"NAME\" }") && !plain.contains("ghp_x"), "{plain}");
        let unset =
            resolve(&section("token = { env = \"VESTIBULE_NO_SUCH\" }"), &secrets).expect_err("unset");
        assert_eq!(unset, "`token` is missing: the environment variable VESTIBULE_NO_SUCH is not set");
        let fine =
            resolve(&section("token = { env = \"PATH\" }\nanyone = true"), &secrets).expect("resolves");
        assert_eq!(fine["anyone"], true);
    }
}
