//! `vestibule channel`: the accounts on platforms, from the config to a first sign of life.
//!
//! A runtime that runs is told of a change, and its word counts; without one an account is tried here. While a person is asked
//! what the account lacks, it is tried here in any case, before the config is written: see [`lacks`].

mod add;
mod ask;
mod check;
mod file;
mod lacks;
mod link;
mod section;
mod tty;
mod twins;

use crate::cli::{AccountArgs, AccountPlace, ChannelVerb, Output};
use crate::{client, print, up};
use anyhow::{Context, anyhow};
use serde_json::{Value, json};
use std::fs;
use std::io::ErrorKind;
use vestibule_conform::Tryout;
use vestibule_runtime::{Config, Home};

/// What a verb did with an account: what programs are answered, and what went wrong.
struct Done {
    answer: Value,
    told: anyhow::Result<()>,
}

/// Runs one verb.
pub async fn channel(verb: ChannelVerb) -> anyhow::Result<()> {
    let home = Home::from_env()?;
    match verb {
        ChannelVerb::List(output) => list(&home, output).await,
        ChannelVerb::Add(args) => {
            let done = add::add(home.clone(), &args).await;
            answer(&home, done, &args.place, &args.output)
        }
        ChannelVerb::Check(args) => {
            let done = check(&home, &args).await;
            answer(&home, done, &args.place, &args.output)
        }
        ChannelVerb::Link(place) => link::link(&home, &place).await,
        ChannelVerb::Remove(args) => {
            let done = remove(&home, &args).await;
            answer(&home, done, &args.place, &args.output)
        }
    }
}

/// A program gets an answer in each case.
fn answer(
    home: &Home,
    done: anyhow::Result<Done>,
    place: &AccountPlace,
    output: &Output,
) -> anyhow::Result<()> {
    let done = done.unwrap_or_else(|why| Done {
        answer: json!({ "channel": place.channel, "account": place.account, "config": home.config(),
            "state": "refused", "reason": format!("{why:#}") }),
        told: Err(why),
    });
    if output.json {
        print::json(&done.answer);
    }
    done.told
}

async fn check(home: &Home, args: &AccountArgs) -> anyhow::Result<Done> {
    let AccountArgs { place, output } = args;
    if !runs(home).await && is_built_in(home, place) {
        return Err(check::built_in(place));
    }
    let config = Config::load(home)?;
    let tryout = open(home, &config, place).await?;
    let trial = check::again(home, &tryout, place);
    let tried = check::patiently(&place.channel, output.json, trial).await;
    let plugin = tryout.manifest().name.clone();
    tryout.end().await;
    let tried = tried?;
    Ok(Done { answer: tried.answer(home, place), told: tried.tell(home, &plugin, place, output.json) })
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

async fn remove(home: &Home, args: &AccountArgs) -> anyhow::Result<Done> {
    let AccountArgs { place, output } = args;
    if is_built_in(home, place) {
        return Err(check::built_in(place));
    }
    let AccountPlace { channel, account } = place;
    let named = file::change(home, |text| section::removed(text, (channel, account), &home.secrets()))?;
    let mut deleted = Vec::new();
    for file in named {
        match fs::remove_file(&file) {
            Ok(()) => deleted.push(file),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("cannot delete {file}")),
        }
    }
    if !output.json {
        println!("[channels.{channel}.{account}] is out of {}.", home.config().display());
        if !deleted.is_empty() {
            println!("Deleted, with what was typed for it: {}.", deleted.join(", "));
        }
    }
    let was_running = runs(home).await;
    if was_running {
        let config = Config::load(home)?;
        let tryout = open(home, &config, place).await?;
        client::ask(home, "plugin.reload", json!({ "name": tryout.manifest().name })).await?;
        tryout.end().await;
    }
    if !output.json && was_running {
        println!("It runs no more.");
    }
    let answer = json!({
        "channel": channel, "account": account, "config": home.config(), "deleted": deleted,
        "stopped": was_running,
    });
    Ok(Done { answer, told: Ok(()) })
}

/// Whether no file names an account, and Vestibule has it anyway.
fn is_built_in(home: &Home, place: &AccountPlace) -> bool {
    let key = (place.channel.clone(), place.account.clone());
    let Ok(config) = Config::load(home) else { return false };
    let text = fs::read_to_string(home.config()).unwrap_or_default();
    config.channels.contains_key(&key)
        && Config::parse(&text).is_ok_and(|written| !written.channels.contains_key(&key))
}

async fn open(home: &Home, config: &Config, place: &AccountPlace) -> anyhow::Result<Tryout> {
    Tryout::open(home, config, &up::program(), &place.channel).await.map_err(|why| anyhow!(why))
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
