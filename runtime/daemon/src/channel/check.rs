//! Whether an account works: tried by the runtime that runs, or here.
//!
//! An account that is live is not disturbed: where the config says of it what it said when it was started, the runtime's word
//! counts. What the config says otherwise by now, and what the runtime has no account for, is tried here.

use super::{command, runs};
use crate::cli::AccountPlace;
use crate::client;
use anyhow::{Context, anyhow, bail};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use toml::Table;
use vestibule_conform::{NotLetIn, Tryout};
use vestibule_runtime::config::Unresolved;
use vestibule_runtime::{Config, Home, config, plugin_state};

/// How long a runtime that runs may take to start an account.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often the runtime is asked meanwhile.
const ASK_EVERY: Duration = Duration::from_millis(200);
/// After so long a person is told what is waited for.
const SILENCE: Duration = Duration::from_secs(2);

/// What came of trying an account.
pub struct Tried {
    outcome: Outcome,
    running: Running,
    /// Whether secrets of it were typed just now.
    pub typed: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    Works,
    /// Its config, or something on its platform, must be mended first.
    Broken(String),
    /// It may work later as it is.
    Later(String),
    /// A variable of the environment, which is named, is not set where it was looked for.
    Unset(String, String),
    /// Only a runtime can tell.
    Unseen,
}

/// What the runtime does with the account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Running {
    /// No runtime runs.
    Nowhere,
    /// It runs the account as the config says.
    AsWritten,
    /// It runs the account as the config said before.
    AsBefore,
    /// It has no such account.
    NotYet,
}

/// Waits for a platform; a person is told after a while.
pub async fn patiently<T>(kind: &str, for_a_program: bool, work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    match tokio::time::timeout(SILENCE, &mut work).await {
        Ok(done) => done,
        Err(_) => {
            if !for_a_program {
                eprintln!("Waiting for the answer of {kind} …");
            }
            work.await
        }
    }
}

/// Tries an account that was just added: the runtime that runs reads the config again.
pub async fn added(home: &Home, tryout: &Tryout, place: &AccountPlace) -> anyhow::Result<Tried> {
    match runs(home).await {
        true => by_the_runtime(home, tryout, place).await,
        false => here(home, tryout, place, Running::Nowhere).await,
    }
}

/// Tries an account again.
pub async fn again(home: &Home, tryout: &Tryout, place: &AccountPlace) -> anyhow::Result<Tried> {
    if !runs(home).await {
        return here(home, tryout, place, Running::Nowhere).await;
    }
    let key = (place.channel.clone(), place.account.clone());
    // A channel without secrets has an account that no config names.
    let is_written = tryout.manifest().secrets.is_empty() || Config::load(home)?.channels.contains_key(&key);
    match state(home, place).await? {
        Some(_) if !is_written => bail!(
            "[channels.{}.{}] is out of {}, and the running vestibule lets it go with `vestibule plugin reload {}`",
            place.channel,
            place.account,
            home.config().display(),
            tryout.manifest().name
        ),
        None => here(home, tryout, place, Running::NotYet).await,
        Some((word, _)) if word == "live" => match is_as_written(home, place).await {
            true => Ok(Tried { outcome: Outcome::Works, running: Running::AsWritten, typed: false }),
            false => here(home, tryout, place, Running::AsBefore).await,
        },
        Some(_) => by_the_runtime(home, tryout, place).await,
    }
}

/// Whether a live account was started with what the config says of it now. A runtime that cannot say it is taken at its word.
async fn is_as_written(home: &Home, place: &AccountPlace) -> bool {
    let args = json!({ "channel": place.channel, "account": place.account });
    let answer = client::ask(home, "channel.as-written", args).await;
    answer.map_or(true, |answer| answer["as_written"] != false)
}

async fn here(home: &Home, tryout: &Tryout, place: &AccountPlace, running: Running) -> anyhow::Result<Tried> {
    let AccountPlace { channel: kind, account } = place;
    let config = Config::load(home)?;
    let section = config.channels.get(&(kind.clone(), account.clone()));
    let section = section.with_context(|| {
        format!("there is no [channels.{kind}.{account}]; add it with `{}`", command("add", place))
    })?;
    let outcome = match config::resolve(section, &tryout.manifest().secrets) {
        Ok(settings) => {
            tryout.knows(account, plugin_state::kept_secrets(home, kind, account)?);
            match tryout.start(account, settings).await {
                Ok(()) => Outcome::Works,
                Err(NotLetIn::Fails(why)) => Outcome::Broken(why),
                Err(NotLetIn::Later(why)) => Outcome::Later(why),
                Err(NotLetIn::Unseen(_)) => Outcome::Unseen,
            }
        }
        Err(Unresolved::Unset(why)) => named_variable(section, why),
        Err(Unresolved::Wrong(why)) => Outcome::Broken(why),
    };
    Ok(Tried { outcome, running, typed: false })
}

/// How the running runtime finds an account that it starts again, once it is no longer connecting.
async fn by_the_runtime(home: &Home, tryout: &Tryout, place: &AccountPlace) -> anyhow::Result<Tried> {
    let tried = |outcome| Tried { outcome, running: Running::AsWritten, typed: false };
    if let Err(why) = client::ask(home, "plugin.reload", json!({ "name": tryout.manifest().name })).await {
        return Ok(tried(Outcome::Broken(why.to_string())));
    }
    let begin = Instant::now();
    loop {
        let row = state(home, place).await?;
        let (word, reason) = row.with_context(|| {
            format!("the running vestibule has no account {} of {}", place.account, place.channel)
        })?;
        let why = reason.unwrap_or_else(|| word.clone());
        let outcome = match word.as_str() {
            "live" => Outcome::Works,
            "connecting" if begin.elapsed() < PATIENCE => {
                tokio::time::sleep(ASK_EVERY).await;
                continue;
            }
            word => {
                let config = Config::load(home)?;
                let section = config.channels.get(&(place.channel.clone(), place.account.clone()));
                match named_variable(section.unwrap_or(&Table::new()), why) {
                    Outcome::Broken(why) if word != "broken" => Outcome::Later(why),
                    outcome => outcome,
                }
            }
        };
        return Ok(tried(outcome));
    }
}

/// The account's state as the running runtime sees it, and the reason of that.
async fn state(home: &Home, place: &AccountPlace) -> anyhow::Result<Option<(String, Option<String>)>> {
    let status = client::ask(home, "status", Value::Null).await?;
    let mut rows = status["channels"].as_array().into_iter().flatten();
    let row = rows.find(|row| row["channel"] == *place.channel && row["account"] == *place.account);
    let text = |row: &Value, key: &str| row[key].as_str().map(str::to_owned);
    Ok(row.map(|row| (text(row, "state").unwrap_or_default(), text(row, "reason"))))
}

/// What it means that an account is not started for this reason: a variable that its section names may not be set. Pure.
fn named_variable(section: &Table, why: String) -> Outcome {
    let names = section.values().filter_map(|value| value.as_table()?.get("env")?.as_str());
    let unset = names.into_iter().find(|name| why.contains(&format!("variable {name} is not set")));
    match unset.map(str::to_owned) {
        Some(name) => Outcome::Unset(name, why),
        None => Outcome::Broken(why),
    }
}

impl Tried {
    /// For programs.
    pub fn answer(&self, home: &Home, place: &AccountPlace) -> Value {
        let AccountPlace { channel, account } = place;
        let (state, reason) = match &self.outcome {
            Outcome::Works => ("works", None),
            Outcome::Broken(why) | Outcome::Later(why) | Outcome::Unset(_, why) => ("fails", Some(why)),
            Outcome::Unseen => ("unseen", None),
        };
        let (by, running) = match self.running {
            Running::Nowhere => ("channel", "nowhere"),
            Running::AsWritten => ("runtime", "as written"),
            Running::AsBefore => ("channel", "as before"),
            Running::NotYet => ("channel", "not yet"),
        };
        json!({ "channel": channel, "account": account, "config": home.config(), "state": state, "reason": reason,
            "tried_by": by, "running": running })
    }

    /// For people; to a program only what went wrong is said.
    ///
    /// # Errors
    /// It does not work, or that cannot be seen: what to do.
    pub fn tell(
        &self,
        home: &Home,
        plugin: &str,
        place: &AccountPlace,
        for_a_program: bool,
    ) -> anyhow::Result<()> {
        let AccountPlace { channel: kind, account } = place;
        if let Some(what) = self.to_mend(home, place) {
            bail!(what);
        }
        if for_a_program {
            return Ok(());
        }
        println!("{kind} {account} works: its platform let it in.");
        match self.running {
            Running::Nowhere => println!(
                "What comes in was not looked at, for no vestibule runs: start it with `vestibule up`."
            ),
            Running::AsWritten => {}
            Running::AsBefore => println!(
                "The running vestibule still runs it as its config was before: `vestibule plugin reload {plugin}`."
            ),
            Running::NotYet => println!("It is not running yet: `vestibule plugin reload {plugin}`."),
        }
        Ok(())
    }

    /// Why it does not work, or why that cannot be seen, and what to do. Pure.
    fn to_mend(&self, home: &Home, place: &AccountPlace) -> Option<String> {
        let (again, config) = (command("check", place), home.config());
        let (config, secrets) = (config.display(), home.secrets());
        let is = format!("{} {} does not work", place.channel, place.account);
        Some(match &self.outcome {
            Outcome::Works => return None,
            Outcome::Unseen => format!(
                "whether {} {} works cannot be seen while no vestibule runs: the channel has to keep something first, such \
                 as the next one of tokens that are good once, and only a runtime keeps it. Start it with `vestibule up`, \
                 then `{again}`",
                place.channel, place.account
            ),
            Outcome::Later(why) => format!("{is} now: {why}. Try it later with `{again}`"),
            Outcome::Unset(name, why) if self.running == Running::AsWritten => format!(
                "{is}: {why}. It is the running vestibule that lacks it: start that again with {name}, or keep the value \
                 in a file, and name that in {config} with {{ file = \"PATH\" }}; then `{again}`"
            ),
            Outcome::Unset(name, why) => format!("{is}: {why}. Set {name} here, then `{again}`"),
            Outcome::Broken(why) if self.typed => format!(
                "{is}: {why}. Mend it in {config}, or in {} what you typed, then `{again}`; or take it out with `{}` and \
                 begin anew",
                secrets.display(),
                command("remove", place)
            ),
            Outcome::Broken(why) => format!("{is}: {why}. Mend it in {config}, then `{again}`"),
        })
    }
}

/// Of a channel that no file names: Vestibule has it anyway.
pub fn built_in(place: &AccountPlace) -> anyhow::Error {
    anyhow!(
        "{} {} is built in and always there, with nothing to add, to mend or to take out: `vestibule up` runs it, and \
         `vestibule chat` talks to it",
        place.channel,
        place.account
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> AccountPlace {
        AccountPlace { channel: "slack".into(), account: "two".into() }
    }

    #[test]
    fn what_is_to_be_done_depends_on_what_is_wrong() {
        let home = Home::at("/h");
        let why = || "it says why".to_owned();
        for (outcome, running, typed, has, has_not) in [
            (Outcome::Broken(why()), Running::Nowhere, false, "Mend it in /h/vestibule.toml, then", "typed"),
            (Outcome::Broken(why()), Running::AsWritten, true, "what you typed", "later"),
            (
                Outcome::Later(why()),
                Running::Nowhere,
                true,
                "Try it later with `vestibule channel check slack",
                "Mend",
            ),
            (Outcome::Unset("X".into(), why()), Running::Nowhere, false, "Set X here", "Mend"),
            (
                Outcome::Unset("X".into(), why()),
                Running::AsWritten,
                false,
                "the running vestibule that lacks it",
                "Mend",
            ),
            (Outcome::Unseen, Running::Nowhere, false, "cannot be seen", "Mend"),
        ] {
            let tried = Tried { outcome: outcome.clone(), running, typed };
            let told = tried.to_mend(&home, &place()).expect("it does not work");
            assert!(told.contains(has) && !told.contains(has_not), "{outcome:?}: {told}");
        }
        let tried = Tried { outcome: Outcome::Works, running: Running::NotYet, typed: false };
        assert_eq!(tried.to_mend(&home, &place()), None);
    }

    #[test]
    fn a_variable_that_is_not_set_is_no_fault_of_the_config() {
        let section: Table =
            toml::from_str("token = { env = \"X_TOKEN\" }\nname = \"n\"\nfile = { file = \"/x\" }")
                .expect("TOML");
        let unset = "`token` is missing: the environment variable X_TOKEN is not set; Y is".to_owned();
        assert_eq!(named_variable(&section, unset.clone()), Outcome::Unset("X_TOKEN".into(), unset));
        for why in ["the environment variable OTHER is not set", "Slack refused the token"] {
            assert_eq!(named_variable(&section, why.into()), Outcome::Broken(why.into()));
        }
    }
}
