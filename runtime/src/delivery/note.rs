//! What modules tell agents: rows that the runtime writes itself.

use super::decide::agent_address;
use crate::clock::Timestamp;
use crate::error::Result;
use crate::ledger::{NewMessage, Written};
use crate::messaging_groups;
use crate::plugins::{CallError, Link};
use crate::sessions::Session;
use rusqlite::Connection;
use serde_json::json;
use vestibule_plugin_api::{Address, EFFECTS_MAX, Effect, PluginError, TEXT_BYTES_MAX};

/// Whether an answer has no more effects than one may have.
///
/// # Errors
/// Says how many it has.
pub fn not_too_many(effects: &[Effect]) -> std::result::Result<(), String> {
    match effects.len() {
        count if count > EFFECTS_MAX => {
            Err(format!("it asks for {count} effects, the limit is {EFFECTS_MAX}"))
        }
        _ => Ok(()),
    }
}

/// A module's words, if there are not too many.
///
/// # Errors
/// Says how many there are.
pub fn checked(text: String) -> std::result::Result<String, String> {
    match text.len() {
        size if size > TEXT_BYTES_MAX => {
            Err(format!("a text has {size} bytes, the limit is {TEXT_BYTES_MAX}"))
        }
        _ => Ok(text),
    }
}

/// A module's answer has effects that its station does not have: it is refused whole, and reported.
pub fn wrong_answer(link: &Link, station: &str, why: &str) -> CallError {
    let module = &link.manifest.name;
    tracing::error!(module, station, %why, "a module's answer was refused");
    CallError::Plugin(PluginError::refused(format!(
        "the module {module} answered `{station}` wrongly: {why}"
    )))
}

/// A row for a session's agent from nobody. What it answers goes to the session's chat, if it has one.
pub fn to_agent(
    db: &Connection,
    session: &Session,
    words: &str,
    session_bytes_max: u64,
    now: Timestamp,
) -> Result<NewMessage> {
    let chat = match &session.messaging_group_id {
        Some(id) => messaging_groups::by_id(db, id)?,
        None => None,
    };
    let address = chat.map(|chat| Address {
        channel_type: chat.channel_type.into(),
        account: chat.account.into(),
        platform_id: chat.platform_id.into(),
        thread_id: session.thread_id.clone().map(Into::into),
    });
    Ok(NewMessage {
        written: Written::Inside { id: crate::id::mint("sys"), source_session_id: None },
        agent_group_id: session.agent_group_id.clone(),
        timestamp: now,
        trigger: false,
        address: address.unwrap_or_else(|| agent_address(&session.agent_group_id)),
        content: json!({ "text": words, "sender": "system", "senderId": "system" }),
        attachments: Vec::new(),
        session_bytes_max,
        hops: 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_much_a_module_may_say() {
        let fits = "x".repeat(TEXT_BYTES_MAX);
        assert_eq!(checked(fits.clone()), Ok(fits.clone()));
        assert!(checked(fits + "x").is_err_and(|why| why.contains("1048577 bytes")));
        let effects = |count| vec![Effect::Note { text: "n".into() }; count];
        assert_eq!(not_too_many(&effects(EFFECTS_MAX)), Ok(()));
        assert!(not_too_many(&effects(EFFECTS_MAX + 1)).is_err_and(|why| why.contains("9 effects")));
    }
}
