//! `vestibule channel`: the accounts on platforms, from the config to a first sign of life.
//!
//! A runtime that runs is told of a change, and its word counts; without one an account is tried here.

mod link;
mod section;

use crate::cli::{AccountPlace, ChannelAdd, ChannelVerb, Output};
use crate::{client, print, up};
use anyhow::{Context, anyhow, bail};
use section::Given;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::io::{IsTerminal, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use vestibule_conform::Tryout;
use vestibule_plugin_api::{ConfigKey, Schema};
use vestibule_runtime::{Config, Home, config, plain_file, words};

/// How long a runtime that runs may take to start an account.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often the runtime is asked meanwhile.
const ASK_EVERY: Duration = Duration::from_millis(200);

/// Runs one verb.
pub async fn channel(verb: ChannelVerb) -> anyhow::Result<()> {
    let home = Home::from_env()?;
    match verb {
        ChannelVerb::List(output) => list(&home, output).await,
        ChannelVerb::Add(args) => add(home, args).await,
        ChannelVerb::Check(place) => {
            let config = Config::load(&home)?;
            let tryout = open(&home, &config, &place).await?;
            let outcome = check(&home, &tryout, &place, false).await;
            tryout.end().await;
            outcome
        }
        ChannelVerb::Link(place) => link::link(&home, &place).await,
        ChannelVerb::Remove(place) => remove(&home, place).await,
    }
}

/// The accounts as the runtime sees them; without one, those of the config.
async fn list(home: &Home, output: Output) -> anyhow::Result<()> {
    let rows = match runs(home).await {
        true => client::ask(home, "status", Value::Null).await?["channels"].take(),
        false => {
            let config = Config::load(home)?;
            let why = "no vestibule runs; start it with `vestibule up`";
            let row = |(channel, account): &(String, String)| json!({ "channel": channel, "account": account, "state": "off", "reason": why });
            config.channels.keys().map(row).collect()
        }
    };
    if output.json {
        print::json(&rows);
    } else {
        print::answer("channel.list", &rows);
    }
    Ok(())
}

async fn add(home: Home, args: ChannelAdd) -> anyhow::Result<()> {
    let ChannelAdd { place, set } = args;
    let (kind, account) = (place.channel.as_str(), place.account.as_str());
    if let Some(rule) = config::account_fault(account) {
        bail!("the account's name `{}` cannot be taken: a name {rule}", account.escape_debug());
    }
    if !home.root().exists() {
        home.clone().open()?;
    }
    let home = Home::from_env()?;
    let config = Config::load(&home)?;
    if config.channels.contains_key(&(kind.to_owned(), account.to_owned())) {
        bail!(
            "[channels.{kind}.{account}] is in {} already: change it there and try it with `{}`, take it out with \
             `{}`, or name another account with --account",
            home.config().display(),
            command("check", &place),
            command("remove", &place)
        );
    }
    let tryout = open(&home, &config, &place).await?;
    let description = tryout.describe().await.map_err(|why| anyhow!(why))?;
    let mut schema = description.config.unwrap_or(Schema { keys: vec![], open: true });
    let mut values = section::given(&schema, &set)?;
    let listener = section::listener(tryout.manifest(), &values);
    if let Some(setup) = &description.setup {
        let url = config.webhook_url(config.listen, kind, listener.as_deref().unwrap_or(account));
        println!("{}\n", setup.trim_end().replace("{webhook_url}", &url));
    }
    if listener.is_some() {
        // What verifies webhooks is the listener's.
        let its = tryout.manifest().webhook_secret_key();
        schema.keys.retain(|key| key.required || key.key != its);
    }
    find_usual(kind, &schema, &mut values)?;
    ask_for(&place, &schema, &mut values)?;
    keep_typed(&home, &place, &mut values)?;
    change(&home, |text| Ok((section::added(text, (kind, account), &values)?, ())))?;
    println!("[channels.{kind}.{account}] is in {}.", home.config().display());
    let outcome = check(&home, &tryout, &place, true).await;
    tryout.end().await;
    outcome?;
    println!(
        "Next: write to it there. `vestibule status` then shows the chat, with the command that wires an agent to it."
    );
    Ok(())
}

/// Takes the secrets, and what else is needed, that are in the environment under their usual names.
fn find_usual(kind: &str, schema: &Schema, values: &mut BTreeMap<String, Given>) -> anyhow::Result<()> {
    for key in schema.keys.iter().filter(|key| key.required && !key.secret) {
        let name = &section::env_names(kind, &key.key)[0];
        if let Some(value) = std::env::var(name).ok().filter(|value| !value.is_empty())
            && !values.contains_key(&key.key)
        {
            println!("{} is taken from the environment variable {name}.", key.key);
            let value = section::plain(Some(key), &value).with_context(|| format!("of {name}"))?;
            values.insert(key.key.clone(), Given::Plain(value));
        }
    }
    for key in schema.keys.iter().filter(|key| key.secret) {
        let is_set = |name: &String| std::env::var(name).is_ok_and(|value| !value.is_empty());
        if let Some(name) = section::env_names(kind, &key.key).into_iter().find(is_set)
            && !values.contains_key(&key.key)
        {
            println!(
                "{} is taken from the environment variable {name}, which `vestibule up` must see, too.",
                key.key
            );
            values.insert(key.key.clone(), Given::Env(name));
        }
    }
    Ok(())
}

/// Asks the person for what is still missing.
fn ask_for(
    place: &AccountPlace,
    schema: &Schema,
    values: &mut BTreeMap<String, Given>,
) -> anyhow::Result<()> {
    let missing: Vec<&ConfigKey> =
        schema.keys.iter().filter(|key| key.required && !values.contains_key(&key.key)).collect();
    if !missing.is_empty() && !std::io::stdin().is_terminal() {
        let way = |key: &&ConfigKey| match key.secret {
            true => format!(
                "set {} or give --set {}=file:PATH",
                section::env_names(&place.channel, &key.key)[0],
                key.key
            ),
            false => format!("give --set {}=VALUE", key.key),
        };
        let ways: Vec<String> = missing.iter().map(way).collect();
        bail!("{} needs {}: {}", place.channel, names(&missing), ways.join("; "));
    }
    if !std::io::stdin().is_terminal() {
        return Ok(());
    }
    tokio::spawn(show_typing_again());
    // Optional secrets, too: a channel may need one of several.
    for key in schema.keys.iter().filter(|key| key.required || key.secret) {
        if !values.contains_key(&key.key)
            && let Some(given) = ask_one(key)?
        {
            values.insert(key.key.clone(), given);
        }
    }
    Ok(())
}

/// Ends the program as Ctrl-C does, and lets the terminal show again what is typed: a secret may be asked for just now.
async fn show_typing_again() {
    if tokio::signal::ctrl_c().await.is_ok() {
        let _ = std::process::Command::new("stty").args(["echo", "icanon"]).status();
        eprintln!("");
        std::process::exit(130);
    }
}

fn names(keys: &[&ConfigKey]) -> String {
    keys.iter().map(|key| key.key.as_str()).collect::<Vec<_>>().join(" and ")
}

/// Asks for one value; nothing is an answer where the key may be left out. A secret is not shown while it is typed.
fn ask_one(key: &ConfigKey) -> anyhow::Result<Option<Given>> {
    let prompt = prompt(key);
    loop {
        let text = if key.secret {
            rpassword::prompt_password(&prompt)?
        } else {
            print!("{prompt}");
            std::io::stdout().flush()?;
            let mut line = String::new();
            if std::io::stdin().read_line(&mut line)? == 0 {
                bail!("{} is needed", key.key);
            }
            line
        };
        match text.trim() {
            "" if key.required => println!("{} is needed.", key.key),
            "" => return Ok(None),
            secret if key.secret => return Ok(Some(Given::Typed(secret.to_owned()))),
            text => match section::plain(Some(key), text) {
                Ok(value) => return Ok(Some(Given::Plain(value))),
                Err(why) => println!("{why}"),
            },
        }
    }
}

/// The words that ask for a value. They are a plugin's, and those for a secret go to the terminal past all else that is
/// printed.
fn prompt(key: &ConfigKey) -> String {
    let may_lack = if key.required { "" } else { "; Enter leaves it out" };
    words::for_terminal(&format!("{} ({}{may_lack}): ", key.key, key.help))
}

/// Keeps the secrets that were typed, each in a file that only its owner can read.
fn keep_typed(home: &Home, place: &AccountPlace, values: &mut BTreeMap<String, Given>) -> anyhow::Result<()> {
    for (key, given) in values {
        let Given::Typed(secret) = given else { continue };
        let path = secrets(home).join(section::secret_name(&place.channel, &place.account, key));
        fs::DirBuilder::new().recursive(true).mode(0o700).create(secrets(home))?;
        write(&path, format!("{secret}\n").as_bytes())?;
        let path = path.to_str().with_context(|| format!("{} is no UTF-8", path.display()))?;
        *given = Given::File(path.to_owned());
    }
    Ok(())
}

async fn remove(home: &Home, place: AccountPlace) -> anyhow::Result<()> {
    let files =
        change(home, |text| section::removed(text, (&place.channel, &place.account), &secrets(home)))?;
    for file in files {
        fs::remove_file(&file).with_context(|| format!("cannot delete {file}"))?;
    }
    println!("[channels.{}.{}] is out of {}.", place.channel, place.account, home.config().display());
    if runs(home).await {
        let config = Config::load(home)?;
        let tryout = open(home, &config, &place).await?;
        client::ask(home, "plugin.reload", json!({ "name": tryout.manifest().name })).await?;
        tryout.end().await;
        println!("It runs no more.");
    }
    Ok(())
}

async fn open(home: &Home, config: &Config, place: &AccountPlace) -> anyhow::Result<Tryout> {
    Tryout::open(home, config, &up::program(), &place.channel).await.map_err(|why| anyhow!(why))
}

/// Tries an account: by the runtime that runs, which reads the config again if it `is_new`, or else here.
async fn check(home: &Home, tryout: &Tryout, place: &AccountPlace, is_new: bool) -> anyhow::Result<()> {
    let (kind, account) = (&place.channel, &place.account);
    let outcome = if runs(home).await {
        by_the_runtime(home, &tryout.manifest().name, place, is_new).await?
    } else {
        let config = Config::load(home)?;
        let section = config.channels.get(&(kind.clone(), account.clone()));
        let section = section.with_context(|| {
            format!("there is no [channels.{kind}.{account}]; add it with `{}`", command("add", place))
        })?;
        match config::resolve(section, &tryout.manifest().secrets) {
            Ok(settings) => tryout.start(account, settings).await,
            Err(why) => Err(why.to_string()),
        }
    };
    match outcome {
        Ok(()) => println!("{kind} {account} works: its platform let it in."),
        Err(why) => bail!(
            "{kind} {account} does not work: {why}. Mend it in {}, then `{}`",
            home.config().display(),
            command("check", place)
        ),
    }
    if !runs(home).await {
        println!("No vestibule runs: start it with `vestibule up`.");
    }
    Ok(())
}

/// How the running runtime finds an account, once it is no longer connecting.
async fn by_the_runtime(
    home: &Home,
    plugin: &str,
    place: &AccountPlace,
    is_new: bool,
) -> anyhow::Result<Result<(), String>> {
    if is_new {
        client::ask(home, "plugin.reload", json!({ "name": plugin })).await?;
    }
    let begin = Instant::now();
    loop {
        let status = client::ask(home, "status", Value::Null).await?;
        let mut rows = status["channels"].as_array().into_iter().flatten();
        let row = rows.find(|row| row["channel"] == *place.channel && row["account"] == *place.account);
        let row = row.with_context(|| {
            format!("the running vestibule has no account {} of {}", place.account, place.channel)
        })?;
        match (row["state"].as_str().unwrap_or_default(), row["reason"].as_str()) {
            ("live", _) => return Ok(Ok(())),
            ("connecting", _) if begin.elapsed() < PATIENCE => tokio::time::sleep(ASK_EVERY).await,
            (state, reason) => return Ok(Err(reason.unwrap_or(state).to_owned())),
        }
    }
}

/// Whether a runtime runs on this home.
async fn runs(home: &Home) -> bool {
    tokio::net::UnixStream::connect(home.control_socket()).await.is_ok()
}

/// The folder of the secrets that people typed.
fn secrets(home: &Home) -> PathBuf {
    home.root().join("secrets")
}

/// A verb about this account, as it is typed.
fn command(verb: &str, place: &AccountPlace) -> String {
    let AccountPlace { channel, account } = place;
    match account.as_str() {
        vestibule_plugin_api::ACCOUNT_MAIN => format!("vestibule channel {verb} {channel}"),
        account => format!("vestibule channel {verb} {channel} --account {account}"),
    }
}

/// Changes the config; others that change it wait meanwhile. Where it is a link, what the link leads to is changed.
fn change<T>(home: &Home, edit: impl FnOnce(&str) -> anyhow::Result<(String, T)>) -> anyhow::Result<T> {
    let named = home.config();
    let at = home.root().join("vestibule.toml.lock");
    // With both rights: to write alone would wait for a reader, if a pipe lay there.
    let mut with = fs::OpenOptions::new();
    let lock = with.create(true).truncate(false).read(true).write(true).mode(0o600).open(at)?;
    lock.lock()?;
    let file = fs::canonicalize(&named).unwrap_or_else(|_| named.clone());
    let text = match plain_file::text(&file, plain_file::WRITTEN_BYTES_MAX) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !named.is_symlink() => String::new(),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", named.display())),
    };
    let (text, more) = edit(&text)?;
    write(&file, text.as_bytes())?;
    Ok(more)
}

/// Writes a file whole or not at all; only its owner can read it.
fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    // No key and no account ends so: this is the file of no other secret.
    let mut new = path.as_os_str().to_owned();
    new.push(".new~");
    let written = || -> std::io::Result<()> {
        let _ = fs::remove_file(&new);
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    written().with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use vestibule_plugin_api::KeyType;

    #[test]
    fn a_plugins_words_move_nothing_on_a_terminal() {
        let key = |help: &str, required| ConfigKey {
            key: "token".into(),
            kind: KeyType::String,
            required,
            secret: true,
            default: None,
            help: help.into(),
        };
        for (help, required, want) in [
            ("The token", true, "token (The token): "),
            ("The token", false, "token (The token; Enter leaves it out): "),
            ("\u{202e}evil\u{2028}", true, "token (\u{fffd}evil\u{fffd}): "),
        ] {
            assert_eq!(prompt(&key(help, required)), want);
        }
    }
}
