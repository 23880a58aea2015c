//! The home in which `plugin dev` runs a channel: a folder that is removed at the end, or one that its author names.

use crate::cli::DevArgs;
use anyhow::{Context, bail};
use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use toml::{Table, Value};
use vestibule_plugin_api::{Manifest, Schema};
use vestibule_runtime::plain_file;
use vestibule_runtime::private::TemporaryFolder;
use vestibule_runtime::{Home, config};

/// How the config begins that this program writes. One that begins otherwise is its author's, and is never changed.
const OURS: &str = "# Written by `vestibule plugin dev`, and written anew each time.\n";

/// A home.
pub struct Place {
    /// The home itself.
    pub home: Home,
    /// Whether the config in it is the author's own.
    is_theirs: bool,
    _temporary: Option<TemporaryFolder>,
}

impl Place {
    /// The home that the author names, or a new one.
    pub fn open(args: &DevArgs) -> anyhow::Result<Place> {
        let (home, temporary) = match &args.home {
            Some(folder) => (Home::at(std::path::absolute(folder)?).claim()?, None),
            None => {
                let folder = TemporaryFolder::new("dev")?;
                (Home::at(folder.path()), Some(folder))
            }
        };
        let is_theirs = plain_file::text(&home.config(), plain_file::WRITTEN_BYTES_MAX)
            .is_ok_and(|text| !text.starts_with(OURS));
        if is_theirs && (args.config.is_some() || !args.set.is_empty() || args.listen.is_some()) {
            bail!(
                "{} is a config of yours: change that in place of --config, --set and --listen, or leave out --home",
                home.config().display()
            );
        }
        Ok(Place { home, is_theirs, _temporary: temporary })
    }

    /// Writes the config, unless it is the author's own.
    pub fn configure(
        &self,
        args: &DevArgs,
        manifest: &Manifest,
        schema: Option<&Schema>,
    ) -> anyhow::Result<()> {
        if self.is_theirs {
            return Ok(());
        }
        let given = args.config.as_deref().map(read).transpose()?.unwrap_or_default();
        let set = args.set.iter().map(|word| set(word)).collect::<anyhow::Result<Vec<_>>>()?;
        let mut whole = whole(given, manifest, args);
        let section =
            section(&mut whole, manifest, &args.account).context("a section of the config is no table")?;
        for (key, value) in set {
            let is_secret = manifest.secrets.contains(&key)
                || schema.and_then(|schema| schema.key(&key)).is_some_and(|key| key.secret);
            let value = match value {
                Value::String(words) if is_secret => self.keep(&key, &words)?,
                value => value,
            };
            section.insert(key, value);
        }
        let text = format!("{OURS}{}", toml::to_string(&whole)?);
        fs::write(self.home.config(), text)
            .with_context(|| format!("cannot write {}", self.home.config().display()))
    }

    /// Keeps a secret that was given in plain words in a file, since a config names only where one is.
    fn keep(&self, key: &str, words: &str) -> anyhow::Result<Value> {
        let folder = self.home.secrets();
        fs::create_dir_all(&folder)?;
        let path = folder.join(key);
        let mut file = fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        file.write_all(words.as_bytes())?;
        let path = path.to_str().with_context(|| format!("{} is no UTF-8", path.display()))?;
        Ok(Value::Table(Table::from_iter([("file".to_owned(), Value::from(path))])))
    }

    /// Puts a copy of the file where the runtime looks for plugins: it takes the place of the one that runs.
    pub fn put(&self, file: &Path) -> std::io::Result<()> {
        let (copy, unfinished) = (self.copy(file), self.home.plugins().join("unfinished"));
        fs::copy(file, &unfinished)?;
        fs::rename(unfinished, copy)
    }

    /// Takes the copy away.
    pub fn take_away(&self, file: &Path) {
        let _ = fs::remove_file(self.copy(file));
    }

    fn copy(&self, file: &Path) -> PathBuf {
        self.home.plugins().join(file.file_name().unwrap_or_default()).with_extension("so")
    }
}

fn read(file: &Path) -> anyhow::Result<Table> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    text.parse().with_context(|| format!("{} is not TOML", file.display()))
}

/// One key with its value, which is TOML, or else the words themselves.
fn set(word: &str) -> anyhow::Result<(String, Value)> {
    let (key, value) = word.split_once('=').with_context(|| format!("`--set {word}` is not KEY=VALUE"))?;
    let parsed = format!("it = {value}").parse::<Table>().ok().and_then(|mut it| it.remove("it"));
    Ok((key.to_owned(), parsed.unwrap_or_else(|| value.into())))
}

/// The whole config: what the author gives, of this channel alone. One of the same name that is built in makes room for it.
fn whole(given: Table, manifest: &Manifest, args: &DevArgs) -> Table {
    let mut whole = Table::new();
    if config::is_whole(&given) {
        whole = given;
        if let Some(channels) = table(&mut whole, "channels") {
            channels.retain(|channel, _| *channel == manifest.channel_type);
        }
    } else if let Some(keys) = section(&mut whole, manifest, &args.account) {
        *keys = given;
    }
    let listen = args.listen.clone().or_else(|| whole.get("listen")?.as_str().map(str::to_owned));
    whole.insert("listen".to_owned(), listen.unwrap_or_else(|| "127.0.0.1:0".to_owned()).into());
    if let Some(plugin) = table(&mut whole, "plugins").and_then(|plugins| table(plugins, &manifest.name)) {
        plugin.insert("built_in".to_owned(), false.into());
    }
    whole
}

/// The section of an account; `None` where something else stands in its place.
fn section<'a>(whole: &'a mut Table, manifest: &Manifest, account: &str) -> Option<&'a mut Table> {
    table(table(table(whole, "channels")?, &manifest.channel_type)?, account)
}

fn table<'a>(within: &'a mut Table, name: &str) -> Option<&'a mut Table> {
    within.entry(name).or_insert_with(|| Table::new().into()).as_table_mut()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: DevArgs,
    }

    fn args(more: &[&str]) -> DevArgs {
        Line::parse_from(["dev", "x.so"].iter().chain(more)).args
    }

    fn manifest() -> Manifest {
        Manifest::parse(
            br#"{"name":"acme","version":"1","kind":"channel","abi":1,"api":"0.2","channel_type":"acme","secrets":["token"]}"#,
        )
        .expect("a manifest")
    }

    #[test]
    fn keys_alone_and_a_whole_config_become_a_whole_one() {
        for (given, account, want) in [
            ("", "main", "[channels.acme.main]"),
            ("", "two", "[channels.acme.two]"),
            ("port = 7", "main", "[channels.acme.main]\nport = 7"),
            (
                "listen = '127.0.0.1:1'\n[channels.other.main]\n[channels.acme.two]\nport = 7",
                "two",
                "[channels.acme.two]\nport = 7",
            ),
        ] {
            let given: Table = given.parse().expect("TOML");
            let has_listen = given.contains_key("listen");
            let mut whole = whole(given, &manifest(), &args(&["--account", account]));
            section(&mut whole, &manifest(), account).expect("a table");
            let text = toml::to_string(&whole).expect("it is shown");
            assert!(text.contains(want) && !text.contains("other"), "{text}");
            let listens = if has_listen { "listen = \"127.0.0.1:1\"" } else { "listen = \"127.0.0.1:0\"" };
            assert!(text.contains(listens), "{text}");
            assert!(text.contains("[plugins.acme]\nbuilt_in = false"), "{text}");
        }
    }

    #[test]
    fn a_secret_in_plain_words_is_kept_in_a_file_and_a_config_of_the_authors_is_not_changed() {
        let folder = TemporaryFolder::new("test").expect("a folder");
        let at = folder.path().to_str().expect("UTF-8");
        let args = args(&["--home", at, "--set", "token=hush", "--set", "port=7", "--set", "who=ann"]);
        for _ in 0..2 {
            let place = Place::open(&args).expect("it opens");
            place.configure(&args, &manifest(), None).expect("it is written");
            let text = fs::read_to_string(place.home.config()).expect("it is there");
            assert!(text.contains("port = 7") && text.contains("who = \"ann\""), "{text}");
            assert!(!text.contains("hush") && text.contains("secrets/token"), "{text}");
        }
        fs::write(folder.path().join("vestibule.toml"), "listen = \"127.0.0.1:0\"\n").expect("written");
        assert!(Place::open(&args).is_err_and(|why| why.to_string().contains("is a config of yours")));
    }
}
