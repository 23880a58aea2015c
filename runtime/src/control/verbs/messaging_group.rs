//! `messaging-group`: chats.

use super::{Outcome, answer, args};
use crate::chat_key::ChatKey;
use crate::db::{ReadTxn, WriteTxn};
use crate::error::Result;
use crate::{clock, destinations, ledger, messaging_groups};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    channel: String,
    account: String,
    chat: String,
    name: Option<String>,
    is_group: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Update {
    id: String,
    name: Option<String>,
}

/// Shows all chats.
pub fn list(db: &ReadTxn, _: Value) -> Result<Outcome> {
    answer(&messaging_groups::list(db)?, vec![])
}

/// Adds a chat.
pub fn create(db: &WriteTxn, value: Value) -> Result<Outcome> {
    let args: Create = args(value)?;
    let name = args.name.as_deref();
    let chat = ChatKey::new(args.channel, args.account, args.chat);
    let group = messaging_groups::find_or_create(db, &chat, name, clock::now())?;
    messaging_groups::describe(db, &group.id, None, args.is_group)?;
    answer(&group, vec![])
}

/// Renames a chat.
pub fn update(db: &WriteTxn, value: Value) -> Result<Outcome> {
    let args: Update = args(value)?;
    let group = messaging_groups::named(db, &args.id)?;
    messaging_groups::rename(db, &group.id, args.name.as_deref())?;
    let touched = destinations::chat_changed(db, &group.id)?;
    answer(&messaging_groups::named(db, &group.id)?, touched)
}

/// Removes a chat with its wirings and the destinations that lead there.
pub fn delete(db: &WriteTxn, value: Value) -> Result<Outcome> {
    let args: Update = args(value)?;
    let group = messaging_groups::named(db, &args.id)?;
    let mut touched = Vec::new();
    let leads_there = destinations::Target::Chat(group.id.clone());
    for row in destinations::list(db)?.iter().filter(|row| row.target == leads_there) {
        destinations::delete(db, &row.agent_group_id, &row.local_name)?;
        touched.extend(ledger::destinations_changed(db, &row.agent_group_id)?);
    }
    messaging_groups::delete(db, &group.id)?;
    answer(&group, touched)
}
