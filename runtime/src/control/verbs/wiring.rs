//! `wiring`: which agent listens where.

use super::{Outcome, answer, args};
use crate::chat_key::ChatKey;
use crate::db::{ReadTxn, WriteTxn};
use crate::error::Result;
use crate::wirings::{ChangesPolicy, EngageMode, IgnoredPolicy, SessionMode, Wiring};
use crate::{agents, clock, destinations, ledger, messaging_groups, wirings};
use regex::Regex;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use vestibule_plugin_api::{Defaults, Listening};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    agent: String,
    channel: String,
    account: String,
    chat: String,
    name: Option<String>,
    engage: Option<EngageMode>,
    pattern: Option<String>,
    session_mode: Option<SessionMode>,
    ignored: Option<IgnoredPolicy>,
    changes: Option<ChangesPolicy>,
    priority: Option<i64>,
    is_group: Option<bool>,
    /// How agents listen on this channel unless the operator says otherwise.
    defaults: Option<Defaults>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Update {
    id: String,
    engage: Option<EngageMode>,
    pattern: Option<String>,
    session_mode: Option<SessionMode>,
    ignored: Option<IgnoredPolicy>,
    changes: Option<ChangesPolicy>,
    priority: Option<i64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    id: String,
}

/// Shows all wirings, with the names of both ends.
pub fn list(db: &ReadTxn, _: Value) -> Result<Outcome> {
    let rows: Result<Vec<Value>> = wirings::list(db)?.iter().map(|wiring| described(db, wiring)).collect();
    answer(&rows?, vec![])
}

fn described(db: &ReadTxn, wiring: &Wiring) -> Result<Value> {
    let agent = agents::by_id(db, &wiring.agent_group_id)?;
    let chat = messaging_groups::by_id(db, &wiring.messaging_group_id)?;
    let mut value = json!({
        "id": wiring.id,
        "agent": agent.map(|agent| agent.name),
        "channel": chat.as_ref().map(|chat| chat.channel_type.clone()),
        "account": chat.as_ref().map(|chat| chat.account.clone()),
        "chat": chat.map(|chat| chat.platform_id),
    });
    value["engage"] = json!(wiring.engage_mode);
    value["pattern"] = json!(wiring.engage_pattern);
    value["session_mode"] = json!(wiring.session_mode);
    value["ignored"] = json!(wiring.ignored_message_policy);
    value["changes"] = json!(wiring.changes);
    value["priority"] = json!(wiring.priority);
    Ok(value)
}

/// Wires an agent to a chat, makes the chat known, and gives the agent a name for it.
pub fn create(db: &WriteTxn, value: Value) -> Result<Outcome> {
    let args: Create = args(value)?;
    let now = clock::now();
    let agent = agents::named(db, &args.agent)?;
    let name = args.name.as_deref();
    let chat = ChatKey::new(args.channel, args.account, args.chat);
    let chat = messaging_groups::find_or_create(db, &chat, name, now)?;
    messaging_groups::describe(db, &chat.id, None, args.is_group)?;
    let usual = usual(args.defaults.unwrap_or_default(), args.is_group.or(chat.is_group));
    // Each word that the operator gives stands for itself: a mode of theirs takes no pattern of the channel's along.
    let (engage, pattern) = match (args.engage, args.pattern) {
        (None, None) => (word(usual.engage), usual.pattern),
        given => given,
    };
    let by_pattern = pattern.is_some();
    let wiring = Wiring {
        id: String::new(),
        messaging_group_id: chat.id.clone(),
        agent_group_id: agent.id.clone(),
        engage_mode: engage.unwrap_or(if by_pattern { EngageMode::Pattern } else { EngageMode::Mention }),
        engage_pattern: pattern,
        session_mode: args.session_mode.or(word(usual.session_mode)).unwrap_or(SessionMode::Shared),
        ignored_message_policy: args.ignored.or(word(usual.ignored)).unwrap_or(IgnoredPolicy::Drop),
        changes: args.changes.unwrap_or_default(),
        priority: args.priority.unwrap_or(0),
    };
    let wiring = wirings::create(db, wiring, now)?;
    let wanted = agents::local_name(chat.name.as_deref().unwrap_or(&chat.platform_id));
    destinations::ensure(db, &agent.id, &wanted, &chat.id, now)?;
    answer(&described(db, &wiring)?, ledger::destinations_changed(db, &agent.id)?)
}

/// How agents usually listen in a chat; one of which it is not known is taken for a group.
fn usual(defaults: Defaults, is_group: Option<bool>) -> Listening {
    let usual = if is_group == Some(false) { defaults.direct } else { defaults.group };
    let mut usual = usual.unwrap_or_default();
    // A pattern that cannot be read is the channel's fault, not the operator's.
    usual.pattern = usual.pattern.filter(|pattern| Regex::new(pattern).is_ok());
    usual
}

/// A word of a channel's; one that this runtime does not know counts for nothing.
fn word<T: DeserializeOwned>(word: Option<String>) -> Option<T> {
    serde_json::from_value(word?.into()).ok()
}

/// Changes a wiring.
pub fn update(db: &WriteTxn, value: Value) -> Result<Outcome> {
    let args: Update = args(value)?;
    let mut wiring = wirings::by_id(db, &args.id)?;
    // As when it is made: a pattern is named to be used.
    let by_pattern = args.pattern.as_ref().is_some_and(|pattern| !pattern.is_empty());
    let now = if by_pattern { EngageMode::Pattern } else { wiring.engage_mode };
    wiring.engage_mode = args.engage.unwrap_or(now);
    if let Some(pattern) = args.pattern {
        wiring.engage_pattern = Some(pattern).filter(|pattern| !pattern.is_empty());
    }
    wiring.session_mode = args.session_mode.unwrap_or(wiring.session_mode);
    wiring.ignored_message_policy = args.ignored.unwrap_or(wiring.ignored_message_policy);
    wiring.changes = args.changes.unwrap_or(wiring.changes);
    wiring.priority = args.priority.unwrap_or(wiring.priority);
    wirings::update(db, &wiring)?;
    answer(&described(db, &wiring)?, vec![])
}

/// Removes a wiring. The agent keeps its name for the chat.
pub fn delete(db: &WriteTxn, value: Value) -> Result<Outcome> {
    let named: Named = args(value)?;
    let wiring = wirings::by_id(db, &named.id)?;
    let described = described(db, &wiring)?;
    wirings::delete(db, &wiring.id)?;
    answer(&described, vec![])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_that_is_named_is_used() {
        let db = crate::db::in_memory();
        let sql = "INSERT INTO agent_groups (id, name, folder, created_at) VALUES ('ag', 'ann', 'a', 0)";
        db.execute_batch(sql).expect("an agent");
        let made = create(&db, json!({ "agent": "ann", "channel": "x", "account": "main", "chat": "c" }))
            .expect("it is made")
            .value;
        for (more, want) in [
            (json!({}), ("mention", Value::Null)),
            (json!({ "pattern": "^hi" }), ("pattern", json!("^hi"))),
            (json!({ "engage": "mention" }), ("mention", json!("^hi"))),
            (json!({ "pattern": "" }), ("mention", Value::Null)),
        ] {
            let mut args = more.clone();
            args["id"] = made["id"].clone();
            let told = update(&db, args).expect("it is changed").value;
            assert_eq!(
                (told["engage"].as_str().unwrap_or_default(), told["pattern"].clone()),
                want,
                "{more}"
            );
        }
    }
}
