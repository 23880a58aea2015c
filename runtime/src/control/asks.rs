//! What operators ask that only a channel knows: which chat they mean, what was said there, whether its account is
//! linked.

use super::verbs;
use crate::context::Context;
use crate::db::ReadTxn;
use crate::error::{Error, Result};
use crate::inbound;
use crate::messaging_groups;
use crate::plugins::{self, CallError, Link};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use vestibule_plugin_api::{
    ACTION, AGENT, Address, Capability, Conversation, HISTORY_MAX, InboundMessage, Sender,
};
use vestibule_session::words;

/// The verbs that name a chat which need not be known yet.
const NAMING: [&str; 2] = ["messaging-group.create", "wiring.create"];

/// A chat as an operator names it.
struct Named {
    link: Arc<Link>,
    account: String,
    /// What its channel says of it.
    conversation: Conversation,
}

/// The chat that a verb made known, and what its channel says of it.
pub struct Asked(Option<Named>);

/// What an operator should know who connects a chat of an account that is not there: it is done, and nothing comes of it.
pub fn unheard(context: &Context, name: &str, args: &Value) -> Option<String> {
    let (channel, account) = (args["channel"].as_str()?, args["account"].as_str()?);
    if !NAMING.contains(&name) || [AGENT, ACTION].contains(&channel) {
        return None;
    }
    let accounts =
        context.plugins.registry.channel(channel).map(|link| link.accounts().keys().cloned().collect());
    no_account(channel, account, accounts)
}

/// The sentence for it; `accounts` are those of the channel's plugin, if there is one. Pure.
fn no_account(channel: &str, account: &str, accounts: Option<Vec<String>>) -> Option<String> {
    let (channel, account) = (words::line(channel, 80), words::line(account, 80));
    match accounts {
        None => Some(format!(
            "no plugin speaks `{channel}`, so nothing is heard there; `vestibule plugin list` shows those there are"
        )),
        Some(accounts) if accounts.contains(&account) => None,
        Some(accounts) if accounts.is_empty() => Some(format!(
            "`{channel}` has no account, so nothing is heard there; `vestibule channel add {channel}` adds one"
        )),
        Some(accounts) => Some(format!(
            "`{channel}` has no account `{account}`, so nothing is heard there; it has {}",
            accounts.join(", ")
        )),
    }
}

/// Puts the chat that the operator means in the place of what they typed, as its channel knows it: another spelling, or
/// the direct chat with a person. What the channel says of how agents listen there goes along. Without a channel that runs
/// and knows, the words stay as they are.
///
/// # Errors
/// The channel says that they name no chat, or there is no channel that could open one.
pub async fn prepare(context: &Context, name: &str, args: &mut Value) -> Result<Asked> {
    let text = |key: &str| args[key].as_str().map(str::to_owned);
    let (Some(channel), Some(account)) = (text("channel"), text("account")) else { return Ok(Asked(None)) };
    if !NAMING.contains(&name) {
        return Ok(Asked(None));
    }
    let link = context.plugins.registry.live(&channel, &account);
    let conversation = match (text("person"), text("chat")) {
        (Some(person), None) => {
            let why =
                || format!("the account {account} of `{channel}` is not live: `vestibule status` says why");
            let link = link.as_ref().ok_or_else(|| Error::Refused(why()))?;
            Some(direct(link, &account, &person).await?)
        }
        (None, Some(chat)) => match &link {
            Some(link) if link.manifest.can(Capability::Normalises) => {
                Some(link.normalise(&account, &chat).await.map_err(|error| refused(&chat, &error))?)
            }
            Some(_) => None,
            // A name would become a chat that hears nothing.
            None if knows_names(context, &channel) && !chat.starts_with(&format!("{channel}:")) => {
                return Err(Error::Refused(format!(
                    "the account {account} of `{channel}` is not live, so only the id of a chat can be named: \
                     `{channel}:…`, as `vestibule status` shows it"
                )));
            }
            None => None,
        },
        _ => return Err(Error::refused("name the chat by `chat`, or a person by `person`, and not both")),
    };
    let defaults = context.plugins.registry.channel(&channel).and_then(|link| link.manifest.defaults.clone());
    if let Some(args) = args.as_object_mut() {
        args.remove("person");
        if let (true, Some(defaults)) = (name == "wiring.create", defaults) {
            args.insert("defaults".to_owned(), json!(defaults));
        }
        if let Some(conversation) = &conversation {
            args.insert("chat".to_owned(), json!(conversation.platform_id));
            args.insert("is_group".to_owned(), json!(conversation.is_group));
        }
    }
    let named = link.zip(conversation);
    Ok(Asked(named.map(|(link, conversation)| Named { link, account, conversation })))
}

/// Whether a channel that is there understands more than ids.
fn knows_names(context: &Context, channel: &str) -> bool {
    context.plugins.registry.channel(channel).is_some_and(|link| link.manifest.can(Capability::Normalises))
}

/// The direct chat with a person, called by the person's name where the channel knows it.
async fn direct(link: &Link, account: &str, person: &str) -> Result<Conversation> {
    let opened = link.open_direct(account, person).await.map_err(|error| refused(person, &error))?;
    if opened.name.is_some() || !link.manifest.can(Capability::People) {
        return Ok(opened);
    }
    // The chat is open: a name that is not to be had makes no difference.
    let name = link.who_is(account, person).await.ok().and_then(|person| person.name);
    Ok(Conversation { name: name.as_deref().and_then(Conversation::name_of), ..opened })
}

fn refused(what: &str, error: &CallError) -> Error {
    Error::Refused(format!("`{}` was not found: {error}", words::line(what, 80)))
}

impl Asked {
    /// Keeps what the channel says of the chat, which is known by now. Without it the chat has no title yet.
    pub async fn keep(self, context: &Arc<Context>) {
        let Some(Named { link, account, conversation }) = self.0 else { return };
        let channel = &link.manifest.channel_type;
        if let Err(error) = inbound::conversation(context, channel, &account, conversation).await {
            tracing::warn!(channel, account, %error, "what the channel says of a chat was not kept");
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct History {
    id: String,
    thread: Option<String>,
    after: Option<String>,
    limit: Option<u32>,
}

/// What was said in a chat, by its channel's word.
///
/// # Errors
/// There is no such chat, its account is not live, or its channel cannot tell.
pub async fn history(context: &Context, args: Value) -> Result<Value> {
    let args: History = verbs::args(args)?;
    let group = context.central.read(move |db: &ReadTxn| messaging_groups::named(db, &args.id)).await?;
    let (channel, account) = (group.channel_type.as_str(), group.account.as_str());
    let link = live(context, channel, account)?;
    let address = Address {
        channel_type: channel.into(),
        account: account.into(),
        platform_id: group.platform_id.as_str().into(),
        thread_id: args.thread.map(Into::into),
    };
    let page = link.history(address, args.after, args.limit.unwrap_or(20).min(HISTORY_MAX)).await;
    let page = page.map_err(|error| Error::Refused(error.to_string()))?;
    let shown = |message: &InboundMessage| {
        let Sender { handle, name, .. } = &message.sender;
        json!({
            "at": vestibule_session::format_time(message.timestamp),
            "message_id": message.message_id,
            "sender": name.as_ref().unwrap_or(handle),
            "text": message.text,
            "files": message.attachments.iter().map(|file| &file.name).collect::<Vec<_>>(),
        })
    };
    Ok(json!({ "messages": page.messages.iter().map(shown).collect::<Vec<_>>(), "next": page.next }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    channel: String,
    account: String,
}

/// How far a person is with linking an account.
///
/// # Errors
/// The account is not live, or needs no linking.
pub async fn link(context: &Context, args: Value) -> Result<Value> {
    let Place { channel, account } = verbs::args(args)?;
    let link = live(context, &channel, &account)?;
    let state = link.link_state(&account).await.map_err(|error| Error::Refused(error.to_string()))?;
    serde_json::to_value(state).map_err(Error::refused)
}

/// Whether a live account runs with what the config says of it now.
///
/// # Errors
/// It is not live.
pub async fn as_written(context: &Context, args: Value) -> Result<Value> {
    let Place { channel, account } = verbs::args(args)?;
    let is = plugins::runs_as_written(&context.plugins, &channel, &account).await;
    Ok(json!({ "as_written": is.map_err(Error::Refused)? }))
}

fn live(context: &Context, channel: &str, account: &str) -> Result<Arc<Link>> {
    context.plugins.registry.live(channel, account).ok_or_else(|| {
        Error::Refused(format!(
            "the account `{}` of `{}` is not live: `vestibule status` says why",
            words::line(account, 80),
            words::line(channel, 80)
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_that_is_not_there_is_told() {
        let named = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect());
        for (accounts, want) in [
            (None, Some("no plugin speaks `slack`")),
            (
                named(&[]),
                Some("`slack` has no account, so nothing is heard there; `vestibule channel add slack`"),
            ),
            (
                named(&["main", "two"]),
                Some("has no account `gone`, so nothing is heard there; it has main, two"),
            ),
            (named(&["main", "gone"]), None),
        ] {
            let told = no_account("slack", "gone", accounts);
            assert_eq!(told.is_some(), want.is_some(), "{told:?}");
            assert!(told.unwrap_or_default().contains(want.unwrap_or_default()), "{want:?}");
        }
    }
}
