//! `vestibule channel add`: what a new account needs is gathered, written, and tried.

use super::ask::{self, Others};
use super::lacks::Lacking;
use super::section::{self, Given};
use super::twins::{Kind, texts_of};
use super::{Done, check, command, file, is_built_in, open};
use crate::cli::{AccountPlace, ChannelAdd, Usage};
use anyhow::{anyhow, bail};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::IsTerminal;
use vestibule_conform::Tryout;
use vestibule_plugin_api::Schema;
use vestibule_runtime::{Config, Home, config, words};

/// The longest name of a file that file systems take.
const FILE_NAME_BYTES_MAX: usize = 255;

/// The schema of the new account, and what a person gave of it.
struct Asked {
    /// What the channel knows, and what of it this account may need.
    whole: Schema,
    schema: Schema,
    values: BTreeMap<String, Given>,
    /// What the operator must do on the platform first.
    setup: Option<String>,
    /// Which key comes from which variable of the environment.
    from_environment: Map<String, Value>,
}

/// Adds an account.
///
/// # Errors
/// Nothing was written.
pub async fn add(home: Home, args: &ChannelAdd) -> anyhow::Result<Done> {
    let place = &args.place;
    let (kind, account) = (place.channel.as_str(), place.account.as_str());
    if let Some(rule) = config::account_fault(account) {
        bail!(Usage(format!(
            "the account's name `{}` cannot be taken: a name {rule}",
            account.escape_debug()
        )));
    }
    if !home.root().exists() {
        home.clone().open()?;
    }
    let home = home.claim()?;
    let config = Config::load(&home)?;
    if config.channels.contains_key(&(kind.to_owned(), account.to_owned())) {
        if is_built_in(&home, place) {
            return Err(check::built_in(place));
        }
        bail!(
            "[channels.{kind}.{account}] is in {} already: change it there and try it with `{}`, take it out with \
             `{}`, or name another account with --account",
            home.config().display(),
            command("check", place),
            command("remove", place)
        );
    }
    let tryout = open(&home, &config, place).await?;
    let done = add_before(&home, &config, &tryout, args).await;
    tryout.end().await;
    done
}

async fn add_before(
    home: &Home,
    config: &Config,
    tryout: &Tryout,
    args: &ChannelAdd,
) -> anyhow::Result<Done> {
    let (place, for_a_program) = (&args.place, args.output.json);
    let Asked { whole, schema, mut values, setup, from_environment } = ask_all(config, tryout, args).await?;
    let typed = write(home, place, &mut values)?;
    let left_out = ask::not_given(&place.channel, &schema, &values);
    if !for_a_program {
        println!("[channels.{}.{}] is in {}.", place.channel, place.account, home.config().display());
        if !left_out.is_empty() && !std::io::stdin().is_terminal() {
            let one = |(key, name): &(String, String)| format!("{key} ({name})");
            println!("Not given, and left out: {}.", left_out.iter().map(one).collect::<Vec<_>>().join(", "));
        }
        if let Some(unread) = ask::unread(&place.channel, &schema, &whole, &values) {
            println!("{unread}.");
        }
    }
    let trial = check::added(home, tryout, place);
    let mut tried = check::patiently(&place.channel, for_a_program, trial).await?;
    tried.typed = typed > 0;
    let keys: Vec<&String> = left_out.iter().map(|(key, _)| key).collect();
    let mut answer = tried.answer(home, place);
    answer["setup"] = json!(setup);
    answer["from_environment"] = json!(from_environment);
    answer["left_out"] = json!(keys);
    let told = tried.tell(home, &tryout.manifest().name, place, for_a_program);
    if told.is_ok() && !for_a_program {
        println!(
            "Next: write to it there. `vestibule status` then shows the chat, with the command that wires an agent to it; \
             then write again."
        );
    }
    Ok(Done { answer, told })
}

/// Writes the secrets that were typed, then the section that names them; or nothing. Returns how many secrets there are.
fn write(home: &Home, place: &AccountPlace, values: &mut BTreeMap<String, Given>) -> anyhow::Result<usize> {
    let mut kept = Vec::new();
    let written = ask::keep_typed(home, place, values, &mut kept).and_then(|()| {
        file::change(home, |text| Ok((section::added(text, (&place.channel, &place.account), values)?, ())))
    });
    match written {
        Ok(()) => Ok(kept.len()),
        Err(why) => {
            kept.iter().for_each(|file| drop(fs::remove_file(file)));
            Err(why)
        }
    }
}

/// What the channel needs of a new account, from wherever it comes. For a program nothing is asked, and nothing said.
async fn ask_all(config: &Config, tryout: &Tryout, args: &ChannelAdd) -> anyhow::Result<Asked> {
    let (place, for_a_program) = (&args.place, args.output.json);
    let kind = place.channel.as_str();
    let description = tryout.describe().await.map_err(|why| anyhow!(why))?;
    let whole = description.config.unwrap_or(Schema { keys: vec![], open: true });
    fits_in_file_names(place, &whole)?;
    let mut values = section::given(&whole, &args.set).map_err(|why| Usage(why.to_string()))?;
    let listener = section::listener(tryout.manifest(), &values);
    let url = config.webhook_url(config.listen, kind, listener.as_deref().unwrap_or(&place.account));
    let setup = description.setup.map(|setup| setup.trim_end().replace("{webhook_url}", &url));
    if let Some(setup) = setup.as_ref().filter(|_| !for_a_program) {
        println!("{setup}\n");
    }
    let schema = needed(&whole, tryout, &values, listener.is_some());
    let of_channel = config.channels.iter().filter(|((channel, _), _)| channel == kind);
    let sections: Vec<_> = of_channel.map(|((_, account), section)| (account.as_str(), section)).collect();
    let texts =
        sections.iter().map(|(account, section)| ((*account).to_owned(), texts_of(section))).collect();
    let others = Others { sections, texts };
    let sharing = Kind::of(tryout.manifest(), &schema);
    let (from_environment, not_taken) = ask::find_usual(kind, &sharing, &mut values, &others)?;
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
    let mut lacking = Lacking {
        place,
        tryout,
        schema: &schema,
        others: &others.texts,
        for_a_program,
        asked: BTreeSet::new(),
    };
    let asked = ask::ask_for(&mut lacking, &whole, &mut values, for_a_program).await;
    asked.map_err(|error| match for_a_program && !not_taken.is_empty() {
        true => anyhow!("{error}. {}", not_taken.join("; ")),
        false => error,
    })?;
    Ok(Asked { whole, schema, values, setup, from_environment })
}

/// The keys that may be of use to this account. What verifies webhooks is the listener's; and none come to an account that does
/// not say where.
fn needed(
    whole: &Schema,
    tryout: &Tryout,
    values: &BTreeMap<String, Given>,
    is_heard_elsewhere: bool,
) -> Schema {
    let mut schema = whole.clone();
    if is_heard_elsewhere || section::is_without_webhook(whole, values) {
        let manifest = tryout.manifest();
        let challenge = manifest.challenge.as_ref().map(|challenge| challenge.key.as_str());
        let its = [Some(manifest.webhook_secret_key()), challenge];
        schema.keys.retain(|key| {
            key.required || values.contains_key(&key.key) || !its.contains(&Some(key.key.as_str()))
        });
    }
    schema
}

/// # Errors
/// A secret that is typed could not be kept under the account's name.
fn fits_in_file_names(place: &AccountPlace, schema: &Schema) -> anyhow::Result<()> {
    let name = |key: &str| section::secret_name(&place.channel, &place.account, key).len() + file::NEW.len();
    let longest = schema.keys.iter().filter(|key| key.secret).map(|key| name(&key.key)).max();
    match longest.unwrap_or_default().checked_sub(FILE_NAME_BYTES_MAX) {
        None | Some(0) => Ok(()),
        Some(over) => bail!(Usage(format!(
            "the account's name is too long by {over} bytes: its secrets are kept in files that bear it"
        ))),
    }
}
