//! The runtime's state, for an operator.

use super::scarce;
use crate::clock::{self, Timestamp};
use crate::context::Context;
use crate::db::ReadTxn;
use crate::drops::{self, CHAT_JOINED, NO_AGENT_WIRED};
use crate::error::Result;
use crate::id::SessionId;
use crate::lock::locked;
use crate::plugins::{self, AccountState, Link, Origin, ProcessState};
use crate::{agents, launcher, ledger, listener, places, sessions};
use serde_json::{Value, json};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;
use vestibule_plugin_api::{ACTION, AGENT, Health, PluginKind};

/// How many sessions and drops are shown.
const SHOWN: i64 = 20;
/// The time for which failed messages are counted, in milliseconds: a day.
const FAILED_MS: i64 = 24 * 60 * 60 * 1000;
/// Why a channel without a plugin does nothing.
const NO_PLUGIN: &str = "no plugin speaks it: `vestibule plugin list` shows those there are";
/// How long the accounts of a plugin are waited for, and how often they are looked at.
const START_PATIENCE: Duration = Duration::from_secs(5);
const START_LOOK: Duration = Duration::from_millis(10);

/// The whole state, as one JSON object.
pub async fn status(context: &Context) -> Result<Value> {
    let now = clock::now();
    let held_up = context.held_up(None);
    let rows = move |db: &ReadTxn| {
        Ok((
            with_wired(db, drops::recent(db, SHOWN)?)?,
            drops::totals(db)?,
            (ledger::session_counts(db, now)?, ledger::failed_since(db, Timestamp(now.0 - FAILED_MS))?),
            in_trouble(db, &held_up)?,
            (ledger::delivery_counts(db)?, ledger::next_deferred(db)?, ledger::waiting_for_adapter(db)?),
            (agents::list(db)?, ledger::possible_duplicates(db)?),
        ))
    };
    let (dropped, (dropped_messages, dropped_chats), sessions, in_trouble, deliveries, (agents, doubled)) =
        context.central.read(rows).await?;
    let ((sessions, failed), (deliveries, next_deferred, waiting)) = (sessions, deliveries);
    let agent = agents.first().map_or("assistant", |agent| agent.name.as_str());
    let unwired: Vec<Value> = dropped
        .iter()
        .filter(|(drop, is_wired)| asks_for_wiring(drop) && !is_wired)
        .map(|(drop, _)| {
            json!({
                "channel": drop.channel_type,
                "account": drop.account,
                "chat": drop.platform_id,
                "messages": drop.message_count,
                "last_sender": drop.last_sender,
                "wire_with": wiring_command(agent, drop),
            })
        })
        .collect();
    let links = context.plugins.registry.all();
    let (modules, of_channels): (Vec<_>, Vec<_>) =
        links.iter().partition(|link| link.manifest.kind == PluginKind::Module);
    let mut channels: Vec<Value> = of_channels.iter().flat_map(|link| channels(context, link)).collect();
    channels.extend(plugins::without_plugin(&context.plugins).map(|(channel, account)| {
        json!({ "channel": channel, "account": account, "state": "off", "reason": NO_PLUGIN })
    }));
    tell_waiting(&mut channels, &waiting, |channel| context.plugins.registry.channel(channel).is_some());
    let sandbox = context.launcher.sandbox().await;
    let scarce = tokio::task::spawn_blocking(scarce::measure).await.unwrap_or_default();
    Ok(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "home": context.home.root(),
        "process": std::process::id(),
        "listen": context.listener.address().map(|address| format!("http://{address}")),
        "sandbox": sandbox.as_ref().map_or_else(|error| error.to_string(), |choice| choice.words.clone()),
        "limits": sandbox.as_ref().ok().map(|choice| choice.limits.clone()),
        "processors": launcher::processors(),
        "of_the_user": scarce,
        "channels": channels,
        "modules": modules.iter().map(|link| plugin(link)).filter(|row| row["state"] != "loaded").collect::<Vec<_>>(),
        "webhooks_refused": webhooks_refused(context),
        "sessions": sessions,
        "messages_failed": failed,
        "in_trouble": in_trouble,
        "filling": filling(context),
        "runners": runners(context),
        "deliveries": deliveries,
        "possible_duplicates": doubled,
        "next_deferred": next_deferred.map(vestibule_session::format_time),
        "dropped_total": { "messages": dropped_messages, "chats": dropped_chats },
        "unwired": unwired,
        "dropped": dropped.iter().map(|(drop, _)| drop).filter(|drop| !asks_for_wiring(drop)).collect::<Vec<_>>(),
    }))
}

/// Whether the operator may want to wire an agent to the chat.
fn asks_for_wiring(drop: &drops::DroppedMessage) -> bool {
    [NO_AGENT_WIRED, CHAT_JOINED].contains(&drop.reason.as_str())
}

/// Whether an agent is wired to the chat of each by now. Messages that were left out before stay on record.
fn with_wired(
    db: &ReadTxn,
    dropped: Vec<drops::DroppedMessage>,
) -> Result<Vec<(drops::DroppedMessage, bool)>> {
    let mut statement = db.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM messaging_groups g JOIN wirings w ON w.messaging_group_id = g.id \
         WHERE g.channel_type = ?1 AND g.account = ?2 AND g.platform_id = ?3)",
    )?;
    let mut one = |drop: drops::DroppedMessage| {
        let is_wired =
            statement.query_row([&drop.channel_type, &drop.account, &drop.platform_id], |r| r.get(0))?;
        Ok((drop, is_wired))
    };
    dropped.into_iter().map(&mut one).collect()
}

/// Says of each account how many replies wait for it, also of one that is no account here: the replies to it wait all
/// the same. Pure.
fn tell_waiting(
    channels: &mut Vec<Value>,
    waiting: &[(String, String, i64)],
    has_plugin: impl Fn(&str) -> bool,
) {
    for (channel, account, count) in waiting {
        let wait = match count {
            1 => "one reply waits for it".to_owned(),
            count => format!("{count} replies wait for it"),
        };
        let known =
            channels.iter_mut().find(|row| row["channel"] == **channel && row["account"] == **account);
        if let Some(row) = known {
            let why = row["reason"].as_str().map(|why| format!("; {why}")).unwrap_or_default();
            row["reason"] = format!("{wait}{why}").into();
            continue;
        }
        let why = match (channel.as_str(), has_plugin(channel)) {
            (AGENT, false) => "no module takes what agents write to each other".to_owned(),
            (AGENT | ACTION, _) => "see its module with `vestibule plugin list`".to_owned(),
            (_, true) => format!("no such account: add [channels.{channel}.{account}] to vestibule.toml"),
            (_, false) => NO_PLUGIN.to_owned(),
        };
        let reason = format!("{wait}; {why}");
        channels.push(json!({ "channel": channel, "account": account, "state": "off", "reason": reason }));
    }
}

/// The sessions with a folder that is half full or more: a folder beyond its limit ends their runs.
fn filling(context: &Context) -> Vec<Value> {
    let filling = locked(&context.filling);
    filling.iter().map(|(id, what)| json!({ "id": id, "what": what })).collect()
}

/// The webhooks that were refused since the start, by account and answer.
fn webhooks_refused(context: &Context) -> Vec<Value> {
    let one = |((account, status), refused): ((Option<(String, String)>, u16), listener::Count)| {
        let (channel, account) = account.unzip();
        json!({
            "channel": channel, "account": account, "status": status, "count": refused.count,
            "reason": refused.reason, "last_at": vestibule_session::format_time(refused.at),
        })
    };
    context.listener.refusals.all().into_iter().map(one).collect()
}

/// The sessions that are not well, and why: by their records, or because something holds them up.
fn in_trouble(db: &ReadTxn, held_up: &[(SessionId, String)]) -> Result<Vec<Value>> {
    let one = |session: sessions::Session| {
        let (state, reason) = session.condition();
        let agent = agents::by_id(db, &session.agent_group_id)?.map(|agent| agent.name);
        // With its next message a session in quarantine tries nothing.
        let next = ledger::next_try(db, &session.id)?.filter(|(_, at)| state == "failing" || at.is_some());
        let (tries, again_at) = next.unzip();
        Ok(json!({
            "agent": agent, "state": state, "reason": reason, "tries": tries,
            "again_at": again_at.flatten().filter(|_| state == "failing").map(vestibule_session::format_time),
            "id": session.id,
        }))
    };
    let mut found = sessions::in_trouble(db, SHOWN)?.into_iter().map(one).collect::<Result<Vec<_>>>()?;
    for (id, why) in held_up.iter().take(SHOWN as usize) {
        let Some(session) = sessions::by_id(db, id)? else { continue };
        if session.condition().1.is_none() {
            let agent = agents::by_id(db, &session.agent_group_id)?.map(|agent| agent.name);
            found.push(json!({ "agent": agent, "state": "waiting", "reason": why, "id": id }));
        }
    }
    Ok(found)
}

/// Names in a list of sessions what holds up those that look idle: no row of the database says it.
pub fn name_what_waits(context: &Context, sessions: &mut Value) {
    let held_up: BTreeMap<SessionId, String> = context.held_up(None).into_iter().collect();
    for session in sessions.as_array_mut().into_iter().flatten() {
        let why = session["id"].as_str().and_then(|id| held_up.get(&SessionId::new(id)));
        if let Some(why) = why.filter(|_| session["reason"].is_null()) {
            session["state"] = "waiting".into();
            session["reason"] = why.as_str().into();
        }
    }
}

/// How many places for runners are taken, and why sessions wait, if they do.
fn runners(context: &Context) -> Value {
    let places::Count { most, taken, waiting } = context.places.count();
    let reason = (waiting > 0).then(|| {
        format!("{waiting} wait, because all {most} runners that `runners_max` allows have something to do")
    });
    json!({ "most": most, "running": taken, "waiting": waiting, "reason": reason })
}

/// The command that an operator types to connect the chat.
fn wiring_command(agent: &str, drop: &drops::DroppedMessage) -> String {
    // A zero byte has no place in a command, quoted or not.
    let word =
        |text: &str| shlex::try_quote(&text.replace('\0', "")).map(Cow::into_owned).unwrap_or_default();
    let mut command =
        format!("vestibule wiring create --agent {} --channel {}", word(agent), word(&drop.channel_type));
    if drop.account != vestibule_plugin_api::ACCOUNT_MAIN {
        command.push_str(&format!(" --account {}", word(&drop.account)));
    }
    command.push_str(&format!(" --chat {}", word(&drop.platform_id)));
    command
}

fn channels(context: &Context, link: &Link) -> Vec<Value> {
    let channel = &link.manifest.channel_type;
    let accounts = link.accounts();
    if accounts.is_empty() {
        let why = format!("not configured: add it with `vestibule channel add {channel}`");
        return vec![json!({ "channel": channel, "account": null, "state": "off", "reason": why })];
    }
    let entry = |(account, state): (&String, &AccountState)| {
        let (word, reason) = account_state(link, account, state);
        let takes =
            link.sections().get(account).is_some_and(|section| plugins::takes_webhooks(link, section));
        let webhook = takes.then(|| context.webhook_url(channel, account)).flatten();
        json!({ "channel": channel, "account": account, "state": word, "reason": reason, "webhook": webhook,
            "listener": link.listener_of(account), "handles": link.own_handles(account) })
    };
    accounts.iter().map(entry).collect()
}

/// How an account is, in a word, and why.
fn account_state(link: &Link, account: &str, state: &AccountState) -> (&'static str, Option<String>) {
    match state {
        AccountState::Connecting => ("connecting", None),
        AccountState::Live => reported(link.health(account)),
        AccountState::Stopping => ("stopping", None),
        AccountState::Waiting(why) => ("waiting", Some(why.clone())),
        AccountState::Broken(why) => ("broken", Some(why.clone())),
    }
}

/// The state of a running plugin. A module's is that of its one account; a channel is loaded, whatever its accounts
/// are, and the reason says what is broken in the first of them.
fn running_state(link: &Link) -> (&'static str, Option<String>) {
    let accounts = link.accounts();
    if link.manifest.kind == PluginKind::Module {
        return match accounts.iter().next() {
            Some((_, AccountState::Broken(why))) => ("broken", Some(why.clone())),
            Some((_, AccountState::Waiting(why))) => ("waiting", Some(why.clone())),
            Some((account, AccountState::Live)) => match reported(link.health(account)) {
                ("live", _) => ("loaded", None),
                said => said,
            },
            _ => ("loaded", None),
        };
    }
    let broken = accounts.iter().find_map(|(account, state)| match state {
        AccountState::Broken(why) => Some(format!("its account {account} is broken: {why}")),
        _ => None,
    });
    ("loaded", broken)
}

/// How a started account is: live, unless its plugin says something else.
fn reported(health: Option<Health>) -> (&'static str, Option<String>) {
    match health {
        None | Some(Health::Live | Health::Unknown) => ("live", None),
        Some(Health::Connecting) => ("connecting", None),
        Some(Health::Degraded { reason }) => ("degraded", Some(reason)),
        Some(Health::Stopped { reason }) => ("broken", Some(reason)),
    }
}

/// The plugins, and the files that were refused.
pub fn plugins(context: &Context) -> Value {
    let loaded = context.plugins.registry.all().into_iter().map(|link| plugin(&link));
    let refused = context.plugins.registry.refused();
    let refused = refused.iter().map(|(path, why)| {
        json!({ "name": path.file_name().map(|name| name.to_string_lossy()), "origin": path.display().to_string(),
            "state": "refused", "reason": why })
    });
    Value::Array(loaded.chain(refused).collect())
}

/// One plugin, once its accounts have started or have not, and which of them is not live: a caller that asks for a
/// start wants to know.
pub async fn started(context: &Context, name: &str) -> Value {
    let deadline = Instant::now() + START_PATIENCE;
    loop {
        let Some(link) = context.plugins.registry.named(name) else { return json!({ "name": name }) };
        let word = |(account, state): (&String, &AccountState)| account_state(&link, account, state).0;
        let connecting = link.accounts().iter().map(word).any(|word| word == "connecting");
        if !connecting || Instant::now() >= deadline {
            let mut told = plugin(&link);
            told["broken"] = match link.tier.process_state() {
                // None of its accounts can be live.
                Some(ProcessState::Restarting(_) | ProcessState::Quarantined(_)) => {
                    link.accounts().keys().cloned().collect::<Vec<_>>().into()
                }
                _ => broken(&link).into(),
            };
            if matches!(told["state"].as_str(), Some("loaded" | "connecting")) {
                told["reason"] = not_live(&link).into();
            }
            return told;
        }
        tokio::time::sleep(START_LOOK).await;
    }
}

/// The accounts that the operator must mend first.
fn broken(link: &Link) -> Vec<String> {
    let accounts = link.accounts();
    let is_broken = |state: &AccountState| matches!(state, AccountState::Broken(_));
    accounts.iter().filter(|(_, state)| is_broken(state)).map(|(account, _)| account.clone()).collect()
}

/// What is to be said of the first account that is not live.
fn not_live(link: &Link) -> Option<String> {
    link.accounts().iter().find_map(|(account, state)| {
        let (word, why) = account_state(link, account, state);
        (word != "live").then(|| sentence(account, word, why.as_deref()))
    })
}

/// The sentence that an account is not live, and why. Pure.
fn sentence(account: &str, word: &str, why: Option<&str>) -> String {
    let still = if word == "connecting" { "still " } else { "" };
    let why = why.map(|why| format!(": {why}")).unwrap_or_default();
    format!("its account {account} is {still}{word}{why}")
}

fn plugin(link: &Link) -> Value {
    let (origin, sha256) = match &link.origin {
        Origin::Bundled => ("built in".to_owned(), None),
        Origin::File { path, sha256 } => (path.display().to_string(), Some(sha256.clone())),
    };
    let (state, reason) = match link.tier.process_state() {
        None | Some(ProcessState::Running) => running_state(link),
        Some(ProcessState::Restarting(why)) => ("restarting", Some(why)),
        Some(ProcessState::Quarantined(why)) => ("quarantined", Some(why)),
    };
    json!({
        "name": link.manifest.name,
        "version": link.manifest.version,
        "kind": link.manifest.kind,
        "stations": link.manifest.hooks,
        "channel": link.manifest.channel_type,
        "api": link.manifest.api,
        "tier": link.tier.word(),
        "origin": origin,
        "sha256": sha256,
        "state": state,
        "reason": reason,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_for_an_account_is_told_with_it() {
        let live = json!({ "channel": "x", "account": "main", "state": "live", "reason": null });
        let broken = json!({ "channel": "x", "account": "two", "state": "broken", "reason": "no token" });
        for (channel, account, count, want) in [
            ("x", "main", 1, "one reply waits for it"),
            ("x", "two", 2, "2 replies wait for it; no token"),
            ("x", "three", 3, "3 replies wait for it; no such account: add [channels.x.three]"),
            ("y", "main", 1, "one reply waits for it; no plugin speaks it"),
            (AGENT, "main", 1, "one reply waits for it; no module takes"),
            (ACTION, "main", 1, "one reply waits for it; see its module"),
        ] {
            let mut rows = vec![live.clone(), broken.clone()];
            tell_waiting(&mut rows, &[(channel.into(), account.into(), count)], |channel| channel == "x");
            let row = rows.iter().find(|row| row["channel"] == channel && row["account"] == account);
            let said = row.and_then(|row| row["reason"].as_str()).unwrap_or_default();
            assert!(said.starts_with(want), "{channel} {account}: {said}");
        }
    }

    #[test]
    fn who_is_not_live_is_told_in_a_sentence() {
        let degraded = Health::Degraded { reason: "one chat fails".into() };
        for ((word, why), want) in [
            (("broken", Some("no token".into())), "its account main is broken: no token"),
            (("connecting", None), "its account main is still connecting"),
            (reported(Some(Health::Connecting)), "its account main is still connecting"),
            (reported(Some(degraded)), "its account main is degraded: one chat fails"),
        ] {
            assert_eq!(sentence("main", word, why.as_deref()), want);
        }
    }
}
