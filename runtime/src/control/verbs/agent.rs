//! `agent`: agent groups.

use super::{Outcome, answer, args};
use crate::db::{ReadTxn, WriteTxn};
use crate::error::{Error, Result};
use crate::{agents, clock, destinations, ledger, sessions};
use serde::Deserialize;
use serde_json::Value;

/// The providers that the runner has.
const PROVIDERS: [&str; 2] = ["echo", "command"];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Args {
    name: String,
    rename: Option<String>,
    provider: Option<String>,
    command: Option<String>,
    env: Option<Vec<String>>,
    time_limit_seconds: Option<i64>,
    network: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    name: String,
}

/// Shows all agent groups.
pub fn list(db: &ReadTxn, _: Value) -> Result<Outcome> {
    answer(&agents::list(db)?, vec![])
}

/// Adds an agent group.
pub fn create(db: &WriteTxn, value: Value) -> Result<Outcome> {
    let args: Args = args(value)?;
    let agent = agents::create(db, &args.name, clock::now())?;
    change(db, agent, args)
}

/// Changes an agent group. Its runners are ended; a turn under way is taken up again with the new settings.
pub fn update(db: &WriteTxn, value: Value) -> Result<Outcome> {
    let args: Args = args(value)?;
    let agent = agents::named(db, &args.name)?;
    change(db, agent, args)
}

/// Whether a word can be the name of an environment variable, as a shell knows them.
fn is_variable(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
    name.chars().all(fits) && !name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit())
}

fn change(db: &WriteTxn, mut agent: agents::AgentGroup, args: Args) -> Result<Outcome> {
    agent.name = args.rename.unwrap_or(agent.name);
    // An operator who names a program wants it to answer.
    let provider = args.provider.or_else(|| args.command.is_some().then(|| "command".to_owned()));
    agent.command = args.command.or(agent.command);
    if let Some(name) = args.env.iter().flatten().find(|name| !is_variable(name)) {
        return Err(Error::Refused(format!(
            "`{}` is not the name of an environment variable; name those of `vestibule up` that the agent may see, \
             without values",
            name.escape_debug()
        )));
    }
    agent.env = args.env.unwrap_or(agent.env);
    agent.network = args.network.unwrap_or(agent.network);
    if let Some(provider) = provider {
        if !PROVIDERS.contains(&provider.as_str()) {
            let known = PROVIDERS.join(", ");
            return Err(Error::Refused(format!(
                "there is no provider `{provider}`; the providers are {known}"
            )));
        }
        agent.provider = provider;
    }
    if let Some(seconds) = args.time_limit_seconds {
        if !(1..=24 * 3600).contains(&seconds) {
            return Err(Error::refused("the time limit is 1 to 86400 seconds"));
        }
        agent.time_limit_ms = seconds * 1000;
    }
    if agent.provider == "command" {
        let words = agent.command.as_deref().map(shlex::split);
        match words {
            None => return Err(Error::refused("provider `command` needs a program; name it with --command")),
            Some(Some(words)) if !words.is_empty() => {}
            Some(_) => {
                return Err(Error::refused("the command cannot be split into words; check its quotes"));
            }
        }
    }
    agents::update(db, &agent)?;
    let touched = sessions::of_agent(db, &agent.id)?;
    let agent_folder = Some(agent.folder.clone());
    Ok(Outcome { restart_runners: true, agent_folder, ..answer(&agent, touched)? })
}

/// Removes an agent group with its wirings, destinations and records. Its folders stay.
pub fn delete(db: &WriteTxn, value: Value) -> Result<Outcome> {
    let named: Named = args(value)?;
    let agent = agents::named(db, &named.name)?;
    let mut touched = sessions::of_agent(db, &agent.id)?;
    for other in destinations::withdraw_agent(db, &agent.id)? {
        touched.extend(ledger::destinations_changed(db, &other)?);
    }
    agents::delete(db, &agent.id)?;
    answer(&agent, touched)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_names_a_variable() {
        for (name, want) in [
            ("HOME", true),
            ("_a1", true),
            ("A=1", false),
            ("A,B", false),
            ("1A", false),
            ("", false),
            ("a b", false),
        ] {
            assert_eq!(is_variable(name), want, "{name}");
        }
    }
}
