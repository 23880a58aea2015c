//! `vestibule channel`: the accounts on platforms, from the config to a first sign of life.
//!
//! A runtime that runs is told of a change, and its word counts; without one an account is tried here. While a person is asked
//! what the account lacks, it is tried here in any case, before the config is written: see [`lacks`].

mod ask;
mod lacks;
mod link;
mod section;

use crate::cli::{AccountArgs, AccountPlace, ChannelAdd, ChannelVerb, Output};
use crate::{client, print, up};
use anyhow::{Context, anyhow, bail};
use section::Given;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::io::{IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};
use vestibule_conform::{NotLetIn, Tryout};
use vestibule_plugin_api::Schema;
use vestibule_runtime::{Config, Home, config, plain_file, plugin_state, words};

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
        ChannelVerb::Check(AccountArgs { place, output }) => {
            let config = Config::load(&home)?;
            let tryout = open(&home, &config, &place).await?;
            let tried = check(&home, &tryout, &place, false).await;
            tryout.end().await;
            let tried = tried?;
            if output.json {
                print::json(&tried.answer(&home, &place));
            }
            tried.tell(&home, &place, output.json)
        }
        ChannelVerb::Link(place) => link::link(&home, &place).await,
        ChannelVerb::Remove(args) => remove(&home, args).await,
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

/// The schema of the new account, and what a person gave of it.
struct Asked {
    schema: Schema,
    values: BTreeMap<String, Given>,
    /// What the operator must do on the platform first.
    setup: Option<String>,
    /// Which key comes from which variable of the environment.
    from_environment: Map<String, Value>,
}

async fn add(home: Home, args: ChannelAdd) -> anyhow::Result<()> {
    let ChannelAdd { place, set, output } = args;
    let (kind, account) = (place.channel.as_str(), place.account.as_str());
    if let Some(rule) = config::account_fault(account) {
        bail!("the account's name `{}` cannot be taken: a name {rule}", account.escape_debug());
    }
    if !home.root().exists() {
        home.clone().open()?;
    }
    let home = home.claim()?;
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
    let asked = ask_all(&config, &tryout, &place, &set, output.json).await?;
    let Asked { schema, mut values, setup, from_environment } = asked;
    let typed = ask::keep_typed(&home, &place, &mut values)?;
    change(&home, |text| Ok((section::added(text, (kind, account), &values)?, ())))?;
    let left_out = ask::not_given(kind, &schema, &values);
    if !output.json {
        println!("[channels.{kind}.{account}] is in {}.", home.config().display());
        if !left_out.is_empty() && !std::io::stdin().is_terminal() {
            let one = |(key, name): &(String, String)| format!("{key} ({name})");
            println!("Not given, and left out: {}.", left_out.iter().map(one).collect::<Vec<_>>().join(", "));
        }
        if let Some(unread) = ask::unread(kind, &schema, &values) {
            println!("{unread}.");
        }
    }
    let tried = check(&home, &tryout, &place, true).await;
    tryout.end().await;
    let mut tried = tried?;
    tried.typed = typed > 0;
    if output.json {
        let keys: Vec<&String> = left_out.iter().map(|(key, _)| key).collect();
        let mut answer = tried.answer(&home, &place);
        answer["setup"] = json!(setup);
        answer["from_environment"] = json!(from_environment);
        answer["left_out"] = json!(keys);
        print::json(&answer);
    }
    tried.tell(&home, &place, output.json)?;
    if !output.json {
        println!(
            "Next: write to it there. `vestibule status` then shows the chat, with the command that wires an agent to it; \
             then write again."
        );
    }
    Ok(())
}

/// What the channel needs of a new account, from wherever it comes. With `for_a_program` nothing is asked, and nothing said.
async fn ask_all(
    config: &Config,
    tryout: &Tryout,
    place: &AccountPlace,
    set: &[String],
    for_a_program: bool,
) -> anyhow::Result<Asked> {
    let kind = place.channel.as_str();
    let description = tryout.describe().await.map_err(|why| anyhow!(why))?;
    let mut schema = description.config.unwrap_or(Schema { keys: vec![], open: true });
    let mut values = section::given(&schema, set)?;
    let listener = section::listener(tryout.manifest(), &values);
    let url = config.webhook_url(config.listen, kind, listener.as_deref().unwrap_or(&place.account));
    let setup = description.setup.map(|setup| setup.trim_end().replace("{webhook_url}", &url));
    if let Some(setup) = setup.as_ref().filter(|_| !for_a_program) {
        println!("{setup}\n");
    }
    // What verifies webhooks is the listener's; and none come to an account that does not say where.
    if listener.is_some() || section::is_without_webhook(&schema, &values) {
        let its = tryout.manifest().webhook_secret_key();
        schema.keys.retain(|key| key.required || key.key != its);
    }
    let of_channel = config.channels.iter().filter(|((channel, _), _)| channel == kind);
    let others = ask::Others(of_channel.map(|((_, account), section)| (account.as_str(), section)).collect());
    let (from_environment, not_taken) = ask::find_usual(kind, &schema, &mut values, &others)?;
    for (key, name) in from_environment.iter().filter(|_| !for_a_program) {
        let seen = match values.get(key) {
            Some(Given::Env(_)) => ", which `vestibule up` must see, too",
            _ => "",
        };
        println!("{key} is taken from the environment variable {}{seen}.", name.as_str().unwrap_or_default());
    }
    for why in not_taken.iter().filter(|_| !for_a_program) {
        println!("{}.", words::for_terminal(why));
    }
    let asked = ask::ask_for(place, tryout, &schema, &mut values, !for_a_program).await;
    asked.map_err(|error| match for_a_program && !not_taken.is_empty() {
        true => anyhow!("{error}. {}", not_taken.join("; ")),
        false => error,
    })?;
    Ok(Asked { schema, values, setup, from_environment })
}

async fn remove(home: &Home, args: AccountArgs) -> anyhow::Result<()> {
    let AccountArgs { place, output } = args;
    let files =
        change(home, |text| section::removed(text, (&place.channel, &place.account), &home.secrets()))?;
    for file in &files {
        match fs::remove_file(file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot delete {file}"));
            }
            _ => {}
        }
    }
    let AccountPlace { channel, account } = &place;
    if !output.json {
        println!("[channels.{channel}.{account}] is out of {}.", home.config().display());
    }
    let was_running = runs(home).await;
    if was_running {
        let config = Config::load(home)?;
        let tryout = open(home, &config, &place).await?;
        client::ask(home, "plugin.reload", json!({ "name": tryout.manifest().name })).await?;
        tryout.end().await;
    }
    match output.json {
        true => print::json(&json!({
            "channel": channel, "account": account, "config": home.config(), "deleted": files,
            "stopped": was_running,
        })),
        false if was_running => println!("It runs no more."),
        false => {}
    }
    Ok(())
}

async fn open(home: &Home, config: &Config, place: &AccountPlace) -> anyhow::Result<Tryout> {
    Tryout::open(home, config, &up::program(), &place.channel).await.map_err(|why| anyhow!(why))
}

/// What came of trying an account.
struct Tried {
    /// Whether a runtime that runs tried it.
    by_runtime: bool,
    outcome: Result<(), NotLetIn>,
    /// Whether secrets of it were typed just now.
    typed: bool,
}

impl Tried {
    /// For programs.
    fn answer(&self, home: &Home, place: &AccountPlace) -> Value {
        let AccountPlace { channel, account } = place;
        let (state, reason) = match &self.outcome {
            Ok(()) => ("works", None),
            Err(NotLetIn::Fails(why)) => ("fails", Some(why)),
            Err(NotLetIn::Unseen(why)) => ("unseen", Some(why)),
        };
        let by = if self.by_runtime { "runtime" } else { "channel" };
        json!({ "channel": channel, "account": account, "config": home.config(), "state": state, "reason": reason,
            "tried_by": by })
    }

    /// For people; to a program only what went wrong is said.
    ///
    /// # Errors
    /// It does not work, or that cannot be seen: what to do.
    fn tell(&self, home: &Home, place: &AccountPlace, for_a_program: bool) -> anyhow::Result<()> {
        let AccountPlace { channel: kind, account } = place;
        let (config, again) = (home.config(), command("check", place));
        match &self.outcome {
            Err(NotLetIn::Unseen(_)) => bail!(
                "whether {kind} {account} works cannot be seen while no vestibule runs: the channel has to keep something \
                 first, such as the next one of tokens that are good once, and only a runtime keeps it. Start it with \
                 `vestibule up`, then `{again}`"
            ),
            Err(NotLetIn::Fails(why)) if self.typed => bail!(
                "{kind} {account} does not work: {why}. Mend it in {}, or in {} what you typed, then `{again}`; or take it \
                 out with `{}` and begin anew",
                config.display(),
                home.secrets().display(),
                command("remove", place)
            ),
            Err(NotLetIn::Fails(why)) => bail!(
                "{kind} {account} does not work: {why}. Mend it in {}, then `{again}`",
                config.display()
            ),
            Ok(()) if for_a_program => {}
            Ok(()) => {
                println!("{kind} {account} works: its platform let it in.");
                if !self.by_runtime {
                    println!(
                        "What comes in was not looked at, for no vestibule runs: start it with `vestibule up`."
                    );
                }
            }
        }
        Ok(())
    }
}

/// Tries an account: by the runtime that runs, which reads the config again if it `is_new`, or else here.
async fn check(home: &Home, tryout: &Tryout, place: &AccountPlace, is_new: bool) -> anyhow::Result<Tried> {
    let (kind, account) = (&place.channel, &place.account);
    let by_runtime = runs(home).await;
    let outcome = if by_runtime {
        by_the_runtime(home, &tryout.manifest().name, place, is_new).await?.map_err(NotLetIn::Fails)
    } else {
        let config = Config::load(home)?;
        let section = config.channels.get(&(kind.clone(), account.clone()));
        let section = section.with_context(|| {
            format!("there is no [channels.{kind}.{account}]; add it with `{}`", command("add", place))
        })?;
        match config::resolve(section, &tryout.manifest().secrets) {
            Ok(settings) => {
                tryout.knows(account, plugin_state::kept_secrets(home, kind, account)?);
                tryout.start(account, settings).await
            }
            Err(why) => Err(NotLetIn::Fails(why.to_string())),
        }
    };
    Ok(Tried { by_runtime, outcome, typed: false })
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
    let home = home.clone().claim()?;
    let named = home.config();
    let at = home.root().join("vestibule.toml.lock");
    // With both rights: to write alone would wait for a reader, if a pipe lay there.
    let mut with = fs::OpenOptions::new();
    let lock = with.create(true).truncate(false).read(true).write(true).mode(0o600).open(at)?;
    lock.lock()?;
    let file = fs::canonicalize(&named).unwrap_or_else(|_| named.clone());
    let text = match plain_file::own_text(&file, plain_file::WRITTEN_BYTES_MAX) {
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
