//! `vestibule.toml`: optional, and an unknown key is refused with a suggestion.

mod read;
mod values;
mod variables;

use crate::error::{Error, Result, if_there};
use crate::home::Home;
use crate::plain_file;
use read::read;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::Table;
pub use variables::is_like as is_like_variable;

/// The config, read and checked. Channel sections are kept as they are: their plugins check them. Each key stands here
/// once, with its default and what it takes.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where webhooks are taken.
    #[serde(default = "values::this_machine", deserialize_with = "values::address")]
    pub listen: SocketAddr,
    /// The URL at which platforms reach the listener, when a proxy stands before it.
    #[serde(default, deserialize_with = "values::public_url")]
    pub public_url: Option<String>,
    /// The largest webhook body, in bytes: what GitHub sends at most, and no platform with a channel here sends more.
    #[serde(default = "values::of::<{ 25 * 1024 * 1024 }>", deserialize_with = "values::bytes")]
    pub webhook_body_limit: u64,
    /// The IANA time zone that agents are told.
    #[serde(default, deserialize_with = "values::time_zone")]
    pub time_zone: Option<String>,
    /// A runner with nothing to do for this long, in seconds, is ended.
    #[serde(default = "values::of::<600>", deserialize_with = "values::seconds")]
    pub runner_idle_seconds: u64,
    /// A turn whose provider shows nothing for this long, in seconds, is stuck, unless a longer time is declared.
    #[serde(default = "values::of::<600>", deserialize_with = "values::seconds")]
    pub turn_silence_seconds: u64,
    /// Settled records are kept for so many days.
    #[serde(default = "values::of::<90>", deserialize_with = "values::days")]
    pub retention_days: u64,
    /// How many runners may run at once.
    #[serde(default = "values::of::<256>", deserialize_with = "values::runners")]
    pub runners_max: u64,
    /// When other sessions wait for a place, a session keeps the place of its runner for this long, in seconds.
    #[serde(default = "values::of::<30>", deserialize_with = "values::seconds")]
    pub runner_share_seconds: u64,
    /// Which sandbox runners live in.
    #[serde(default)]
    pub sandbox: SandboxSetting,
    /// What runners may read and run besides the system's folders.
    #[serde(default, deserialize_with = "values::paths")]
    pub sandbox_read: Vec<PathBuf>,
    /// In a runtime that root started: the user that runners in `bwrap` are, by name or number.
    #[serde(default, deserialize_with = "values::text")]
    pub sandbox_user: Option<String>,
    /// How much memory a run may hold, each of its processes and all together, in MiB.
    #[serde(default = "values::of::<4096>", deserialize_with = "values::mebibytes")]
    pub sandbox_memory_mb: u64,
    /// The files of one message together may hold this much, in MiB.
    #[serde(default = "values::of::<64>", deserialize_with = "values::mebibytes")]
    pub attachments_mb: u64,
    /// The files of one session together may hold this much, in MiB.
    #[serde(default = "values::of::<2048>", deserialize_with = "values::mebibytes")]
    pub session_files_mb: u64,
    /// This much stays free on the disk, in MiB.
    #[serde(default = "values::of::<256>", deserialize_with = "values::mebibytes")]
    pub disk_reserve_mb: u64,
    /// How many processes and threads a run may have.
    #[serde(default = "values::of::<1024>", deserialize_with = "values::processes")]
    pub sandbox_processes: u64,
    /// How large a session's `out/` may become, in MiB.
    #[serde(default = "values::of::<1024>", deserialize_with = "values::mebibytes")]
    pub sandbox_out_mb: u64,
    /// How many files and folders a session's `out/` may hold.
    #[serde(default = "values::of::<10_000>", deserialize_with = "values::files")]
    pub sandbox_out_files: u64,
    /// How large an agent's own folder may become, in MiB.
    #[serde(default = "values::of::<8192>", deserialize_with = "values::mebibytes")]
    pub sandbox_agent_mb: u64,
    /// How many files and folders an agent's own folder may hold.
    #[serde(default = "values::of::<200_000>", deserialize_with = "values::files")]
    pub sandbox_agent_files: u64,
    /// Whether a plugin file must be in `plugins.lock`.
    #[serde(default, deserialize_with = "values::flag")]
    pub require_trusted: bool,
    /// `[plugins.<name>]`: where a plugin runs, and within which limits.
    #[serde(default, deserialize_with = "values::plugins")]
    pub plugins: BTreeMap<String, PluginSettings>,
    /// `[modules.<name>]`, secrets still references.
    #[serde(default, deserialize_with = "values::modules")]
    pub modules: BTreeMap<String, Table>,
    /// `[channels.<type>.<account>]`, secrets still references.
    #[serde(default, deserialize_with = "values::channels")]
    pub channels: BTreeMap<(String, String), Table>,
    /// Whether the terminal's token is still to be made, by the first start.
    #[serde(skip)]
    pub terminal_is_new: bool,
}

/// A file that holds a secret has so many bytes at most.
const SECRET_BYTES_MAX: u64 = 64 * 1024;

/// What the operator says about one plugin.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a section written [plugins.NAME], such as [plugins.echo]")]
pub struct PluginSettings {
    /// Where it runs; without a word, a file from the plugins folder has a process of its own.
    pub tier: Option<TierSetting>,
    /// Whether the linked-in plugin of this name is started; a file of the same name can take its place.
    #[serde(default = "values::yes", deserialize_with = "values::flag")]
    pub built_in: bool,
    /// How much memory its process may hold, in MiB.
    #[serde(default = "values::of::<512>", deserialize_with = "values::mebibytes")]
    pub memory_mb: u64,
    /// How many descriptors its process may have open.
    #[serde(default = "values::of::<1024>", deserialize_with = "values::descriptors")]
    pub open_files: u64,
    /// How much the folder of its own may hold, in MiB.
    #[serde(default = "values::of::<1024>", deserialize_with = "values::mebibytes")]
    pub folder_mb: u64,
    /// How many files and folders the folder of its own may hold.
    #[serde(default = "values::of::<10000>", deserialize_with = "values::files")]
    pub folder_files: u64,
    /// How long one call may take, in seconds; a process that answers nothing for so long is ended.
    #[serde(
        default = "values::of::<{ values::DEADLINE_SECONDS_MAX as u64 }>",
        deserialize_with = "values::deadline"
    )]
    pub deadline_seconds: u64,
    /// The agents that a module may tell something by itself.
    #[serde(default, deserialize_with = "values::names")]
    pub agents: Vec<String>,
}

/// Where a plugin runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TierSetting {
    /// In a process of its own.
    Process,
    /// Inside the runtime.
    InProcess,
}

impl Default for PluginSettings {
    fn default() -> Self {
        read(Table::new()).expect("no key has to be there")
    }
}

impl PluginSettings {
    /// How long one call may take.
    pub fn deadline(&self) -> Duration {
        Duration::from_secs(self.deadline_seconds)
    }
}

/// Which sandbox the operator wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SandboxSetting {
    /// The best that works here; none is never chosen.
    #[default]
    Auto,
    /// bubblewrap: namespaces and seccomp.
    Bwrap,
    /// Landlock and seccomp.
    Process,
    /// No confinement.
    None,
}

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
        let read = if path == home.config() {
            if_there(plain_file::own_text(path, plain_file::WRITTEN_BYTES_MAX))
        } else {
            // A person names that one, and may name a pipe.
            std::fs::read_to_string(path).map(Some)
        };
        let text = read.map_err(|error| Error::Setup(format!("cannot read {}: {error}", path.display())))?;
        let text = text.unwrap_or_default();
        let mut config =
            Config::parse(&text).map_err(|why| Error::Setup(format!("{}: {why}", path.display())))?;
        config.add_terminal(home);
        Ok(config)
    }

    /// Where a platform posts an account's webhooks, when the listener is at this address.
    pub fn webhook_url(&self, listens: SocketAddr, channel: &str, account: &str) -> String {
        let base = self.public_url.clone().unwrap_or_else(|| format!("http://{listens}"));
        format!("{base}/webhook/{channel}/{account}")
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
        read(table).map_err(|fault| fault.to_string())
    }

    /// What the operator says about a plugin, or the defaults.
    pub fn plugin(&self, name: &str) -> PluginSettings {
        self.plugins.get(name).cloned().unwrap_or_default()
    }

    /// The terminal needs no config: its socket and token lie in the home.
    fn add_terminal(&mut self, home: &Home) {
        let section = self.channels.entry(("terminal".into(), "main".into())).or_default();
        self.terminal_is_new = !section.contains_key("token") && !home.token_file().exists();
        let path = |path: std::path::PathBuf| toml::Value::String(path.to_string_lossy().into_owned());
        section.entry("socket").or_insert_with(|| path(home.terminal_socket()));
        section.entry("token").or_insert_with(|| {
            toml::Value::Table(Table::from_iter([("file".to_owned(), path(home.token_file()))]))
        });
    }
}

/// Why a config section does not become what a plugin gets, in words that follow its place in a sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unresolved {
    /// An environment variable is not set in this process; in another it may be.
    #[error("{0}")]
    Unset(String),
    /// What the section says is at fault, or a file that it names.
    #[error("{0}")]
    Wrong(String),
}

/// A config section as the plugin gets it: references to secrets replaced by what they name.
///
/// # Errors
/// A reference names nothing, or a key that holds a secret holds it in plain text.
pub fn resolve(section: &Table, secrets: &[String]) -> std::result::Result<Value, Unresolved> {
    if let Some(why) = plain_secret(section, secrets) {
        return Err(Unresolved::Wrong(why));
    }
    let mut out = Map::new();
    for (key, value) in section {
        let resolved = match value {
            toml::Value::Table(reference) if is_reference(reference) => {
                Value::String(secret(key, reference)?)
            }
            value => {
                serde_json::to_value(value).map_err(|error| Unresolved::Wrong(format!("`{key}`: {error}")))?
            }
        };
        out.insert(key.clone(), resolved);
    }
    Ok(Value::Object(out))
}

/// The sentence about a secret that is written in plain text, if one is.
fn plain_secret(section: &Table, secrets: &[String]) -> Option<String> {
    let plain = |value: &toml::Value| !value.as_table().is_some_and(is_reference);
    let (key, _) = section.iter().find(|(key, value)| secrets.contains(key) && plain(value))?;
    Some(format!("`{key}` is a secret: write {{ env = \"NAME\" }} or {{ file = \"PATH\" }}"))
}

/// Whether a value names where a secret is kept: `{ env = "NAME" }` or `{ file = "PATH" }`.
pub fn is_reference(table: &Table) -> bool {
    table.len() == 1 && (table.contains_key("env") || table.contains_key("file"))
}

fn secret(key: &str, reference: &Table) -> std::result::Result<String, Unresolved> {
    if let Some(name) = reference.get("env").and_then(toml::Value::as_str) {
        return match std::env::var(name) {
            Ok(value) if !value.is_empty() => Ok(value),
            _ => {
                let near = variables::near(name).map(|near| format!("; {near} is: is that the one?"));
                let near = near.unwrap_or_default();
                let why = format!("`{key}` is missing: the environment variable {name} is not set{near}");
                Err(Unresolved::Unset(why))
            }
        };
    }
    let Some(path) = reference.get("file").and_then(toml::Value::as_str) else {
        let why = format!("`{key}` must be {{ env = \"NAME\" }} or {{ file = \"PATH\" }}");
        return Err(Unresolved::Wrong(why));
    };
    let wrong = |why: String| Unresolved::Wrong(format!("`{key}` is missing: {why}"));
    let text = plain_file::text(Path::new(path), SECRET_BYTES_MAX)
        .map_err(|error| wrong(format!("cannot read {path}: {error}")))?;
    match text.trim() {
        "" => Err(wrong(format!("{path} is empty"))),
        secret => Ok(secret.to_owned()),
    }
}

/// The word among these that an operator who wrote another may have meant.
pub fn nearest<'a>(word: &str, words: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let near = words.map(|known| (strsim::jaro_winkler(known, word), known)).filter(|(like, _)| *like > 0.7);
    near.max_by(|(a, _), (b, _)| a.total_cmp(b)).map(|(_, known)| known)
}

/// Why an account cannot have this name, if so.
pub fn account_fault(name: &str) -> Option<&'static str> {
    (!values::is_account(name)).then_some(
        "is made of letters, digits, `.`, `-` and `_`, begins with a letter or digit and has at most 512 bytes",
    )
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

/// The sentence about a table that is to be one of those of a whole config and is misspelled, if there is one in a file
/// that is none: the same that [`Config::parse`] says. A key that the plugin knows is never taken for one.
pub fn misspelled(file: &Table, is_key: impl Fn(&str) -> bool) -> Option<String> {
    const TABLES: [&str; 3] = ["channels", "modules", "plugins"];
    let holds_tables =
        |value: &toml::Value| value.as_table().is_some_and(|table| table.values().any(toml::Value::is_table));
    let is_meant = |key: &str| !is_key(key) && nearest(key, TABLES.into_iter()).is_some();
    let (key, value) = file.iter().find(|(key, value)| is_meant(key) && holds_tables(value))?;
    let alone = Table::from_iter([(key.clone(), value.clone())]);
    read::<Config>(alone).err().map(|fault| fault.to_string())
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
    fn a_misspelled_table_is_told_from_the_keys_of_an_account() {
        let known = |key: &str| key == "models";
        for (text, want) in [
            ("[chanels.acme.main]\nport = 7", "`chanels` is not a key; did you mean `channels`?"),
            ("[channel.acme.main]", "`channel` is not a key; did you mean `channels`?"),
            ("listen = 'x'\n[module.rules]", "`module` is not a key; did you mean `modules`?"),
            ("[plugin.rules]\ntier = 'process'", "`plugin` is not a key; did you mean `plugins`?"),
            ("[models.large]", ""),
            ("[module]\nname = 'x'", ""),
            ("channel = 'general'", ""),
            ("[names.of]\nx = 1", ""),
        ] {
            let told = misspelled(&text.parse().expect("TOML"), known);
            assert_eq!(told.as_deref().unwrap_or_default(), want, "{text}");
        }
    }

    #[test]
    fn faults_are_one_sentence() {
        for (text, words) in [
            ("lisen = \"127.0.0.1:1\"", "did you mean `listen`?"),
            ("listen = \"here\"", "must be an address and a port"),
            ("listen = 7", "must be a text in quotes"),
            ("public_url = 7", "`public_url` must be a text in quotes"),
            ("x = [", "line 1:"),
            ("[channels.github]\ntoken = \"x\"", "[channels.TYPE.ACCOUNT]"),
            ("time_zone = \"Mars\"", "names no zone"),
            (
                "webhook_body_limit = 0",
                "`webhook_body_limit` must be a whole number of bytes, 1 to 4294967295",
            ),
            ("retention_days = -1", "a whole number of days, 1 to"),
            ("runner_idle_seconds = 5000000000", "a whole number of seconds, 1 to 4294967295"),
            ("attachments_mb = 1.5", "a whole number of MiB, 1 to"),
            ("sandbox = 7", "`sandbox` must be a text in quotes"),
            ("sandbox_read = [\"tools\"]", "`sandbox_read` must be a list of absolute paths"),
            ("\"a\\nb\" = 1", "`a\\nb` is not a key; the keys are listen, public_url, "),
            ("channels = 7", "`channels` must be written [channels.TYPE.ACCOUNT]"),
            ("modules = [1]", "`modules` must be written [modules.NAME]"),
            ("plugins = 7", "`plugins` must be written [plugins.NAME]"),
            ("[plugins.echo]\nagents = 7", "[plugins.echo]: `agents` must be a list of names of agents"),
            ("[plugins.echo]\nbuilt_in = \"no\"", "[plugins.echo]: `built_in` must be true or false"),
            (
                "sandbox = \"docker\"",
                "`sandbox` is \"auto\", \"bwrap\", \"process\" or \"none\", not \"docker\"",
            ),
            ("sandbox_proceses = 9", "did you mean `sandbox_processes`?"),
            (
                "[plugins.echo]\ntier = \"inside\"",
                "[plugins.echo]: `tier` is \"process\" or \"in-process\", not \"inside\"",
            ),
            (
                "[plugins.echo]\ntierr = \"process\"",
                "[plugins.echo]: `tierr` is not a key; did you mean `tier`?",
            ),
            ("[plugins.echo]\ndeadline_seconds = 0", "must be a whole number of seconds, 1 to 60"),
            ("[plugins.echo]\ndeadline_seconds = 61", "must be a whole number of seconds, 1 to 60"),
            ("require_trusted = \"yes\"", "true or false"),
            ("[plugins]\necho = 1", "[plugins.NAME]"),
            ("[channels.github.\"\"]", "cannot hold the account \"\" of github: a name is"),
            ("[channels.github.\"a b\"]", "cannot hold the account \"a b\" of"),
            ("[channels.github.\"..\"]", "begins with a letter or digit"),
            ("[channels.github.\"a/../b\"]", "cannot hold the account \"a/../b\""),
            ("[channels.github.\"a\\nb\"]", "cannot hold the account \"a\\nb\""),
            ("[chanels.github.main]", "`chanels` is not a key; did you mean `channels`?"),
        ] {
            let error = Config::parse(text).expect_err(text);
            assert!(error.contains(words), "{text}: {error}");
            assert!(!error.contains('\n'), "{text}: {error}");
        }
    }

    #[test]
    fn where_platforms_post_webhooks() {
        let url = |text: &str| {
            let config = Config::parse(&format!("public_url = {text:?}"))?;
            Ok::<_, String>(config.webhook_url(values::this_machine(), "slack", "main"))
        };
        for (text, base) in [
            ("https://example.org", "https://example.org"),
            ("https://example.org/", "https://example.org"),
            ("http://10.0.0.1:8080", "http://10.0.0.1:8080"),
            ("https://[::1]:8443/", "https://[::1]:8443"),
            ("https://example.org/chat//", "https://example.org/chat"),
        ] {
            assert_eq!(url(text), Ok(format!("{base}/webhook/slack/main")), "{text}");
        }
        for text in [
            "",
            "example.org",
            "example.org:443",
            "/chat",
            "ftp://example.org",
            "https://",
            "https:///chat",
            "https://example.org?x=1",
            "https://example.org/#top",
            "https://me:secret@example.org",
            "https://example.org/a b",
            "https://exa\nmple.org",
        ] {
            let told = url(text).expect_err(text);
            assert!(told.contains("`public_url` must be a URL that platforms reach"), "{text}: {told}");
        }
        let without = Config::parse("").expect("nothing has to be there");
        let here = without.webhook_url(without.listen, "slack", "main");
        assert_eq!(here, "http://127.0.0.1:8787/webhook/slack/main");
    }

    /// The page for operators has every key, with its default where that is a number.
    #[test]
    fn the_page_names_each_key_and_its_default() {
        let page = include_str!("../../docs/operating.md");
        let example =
            page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("it is there");
        Config::parse(example).expect("its keys are known");
        let named = |keys: &str| -> Vec<String> {
            let (_, keys) = keys.split_once("the keys are ").expect("they are named");
            keys.split(", ").map(str::to_owned).collect()
        };
        let top = named(&Config::parse("9 = 1").expect_err("no key"));
        let of_plugin = named(&Config::parse("[plugins.x]\n9 = 1").expect_err("no key"));
        assert!(top.len() > 20 && of_plugin.len() > 5, "{top:?} {of_plugin:?}");
        for key in top.iter().chain(&of_plugin) {
            let has =
                |line: &str| line.starts_with(&format!("{key} = ")) || line.starts_with(&format!("[{key}."));
            assert!(example.lines().any(has), "docs/operating.md says nothing about `{key}`");
        }
        let mut numbers: Table = example.parse().expect("TOML");
        numbers.retain(|_, value| value.is_integer() || value.is_bool());
        let told: Config = read(numbers).expect("they are whole numbers");
        assert_eq!(format!("{told:?}"), format!("{:?}", Config::parse("").expect("nothing has to be there")));
        let mut echo = Config::parse(example).expect("it is read").plugin("echo");
        echo.tier = None;
        assert_eq!(echo, PluginSettings::default());
    }

    #[test]
    fn what_a_config_says() {
        let said = "listen = '[::1]:9'\npublic_url = 'https://a/'\nsandbox = 'none'\nsandbox_read = ['/a', '/b']\n\
                    [plugins.x]\ntier = 'in-process'\nagents = ['a']\n[modules.m]\nat = 2026-01-02\n\
                    [channels.c.one]\nrate = 0.5\n[channels.c.two]\n[channels.d.one]";
        let config = Config::parse(said).expect("it is read");
        assert_eq!(config.listen.to_string(), "[::1]:9");
        assert_eq!(config.public_url.as_deref(), Some("https://a"));
        assert_eq!((config.sandbox, config.sandbox_read.len()), (SandboxSetting::None, 2));
        let x = config.plugin("x");
        assert_eq!(
            (x.tier, x.agents, x.built_in),
            (Some(TierSetting::InProcess), vec!["a".to_owned()], true)
        );
        assert!(config.modules["m"]["at"].is_datetime());
        let accounts: Vec<String> =
            config.channels.keys().map(|(of, account)| format!("{of}.{account}")).collect();
        assert_eq!(accounts, ["c.one", "c.two", "d.one"]);
        assert_eq!(config.channels[&("c".to_owned(), "one".to_owned())]["rate"].as_float(), Some(0.5));
    }

    #[test]
    fn secrets_are_references() {
        let section = |text: &str| text.parse::<Table>().expect("toml");
        let secrets = ["token".to_owned()];
        let plain = resolve(&section("token = \"ghp_x\""), &secrets).expect_err("plain text").to_string();
        assert!(plain.contains("{ env = \"NAME\" }") && !plain.contains("ghp_x"), "{plain}");
        let unset =
            resolve(&section("token = { env = \"VESTIBULE_NO_SUCH\" }"), &secrets).expect_err("unset");
        let why = "`token` is missing: the environment variable VESTIBULE_NO_SUCH is not set".to_owned();
        assert_eq!(unset, Unresolved::Unset(why));
        let folder = tempfile::tempdir().expect("a folder");
        let file = |name: &str, bytes: u64| {
            let path = folder.path().join(name);
            std::fs::write(&path, "x".repeat(bytes as usize)).expect("it is written");
            format!("{{ file = \"{}\" }}", path.display())
        };
        for (text, want) in [
            ("{ file = \"/no/such\" }", "cannot read /no/such: "),
            ("{ file = 7 }", "`token` must be { env = \"NAME\" } or { file = \"PATH\" }"),
            ("{ file = \"/dev/zero\" }", "cannot read /dev/zero: it is no plain file"),
            (&file("empty", 0), "is empty"),
            (&file("long", SECRET_BYTES_MAX + 1), "has more than 64 KiB"),
        ] {
            let told = resolve(&section(&format!("token = {text}")), &secrets).expect_err(text);
            assert!(matches!(&told, Unresolved::Wrong(why) if why.contains(want)), "{told}");
        }
        let most = format!("token = {}", file("most", SECRET_BYTES_MAX));
        assert!(resolve(&section(&most), &secrets).is_ok());
        let fine =
            resolve(&section("token = { env = \"PATH\" }\nanyone = true"), &secrets).expect("resolves");
        assert_eq!(fine["anyone"], true);
    }
}
