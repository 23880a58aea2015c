//! What operators ask: one JSON line in, one JSON line out, over a unix socket that demands a token.
//!
//! Invariant: there is one table of verbs, and every transport uses it.

mod asks;
pub mod frame;
mod outcome;
mod scarce;
mod socket;
mod status;
mod verbs;

pub use scarce::tell as tell_what_is_scarce;
pub use socket::listen;

use crate::adopt;
use crate::backup;
use crate::context::Context;
use crate::db::WriteTxn;
use crate::delivery;
use crate::error::{Error, Result};
use crate::{messaging_groups, plugins};
use serde_json::Value;
use std::sync::Arc;

/// Finds the verb and runs it.
///
/// # Errors
/// There is no such verb, an argument is empty, or it refuses.
pub async fn dispatch(context: &Arc<Context>, name: &str, mut args: Value) -> Result<Value> {
    if let Some(why) = verbs::empty_argument(&args) {
        return Err(Error::Refused(why));
    }
    match name {
        "status" => return status::status(context).await,
        "message.outcome" => return outcome::wait(context, args).await,
        "messaging-group.history" => return asks::history(context, args).await,
        "channel.link" => return asks::link(context, args).await,
        "channel.as-written" => return asks::as_written(context, args).await,
        "plugin.list" => return Ok(status::plugins(context)),
        "session.adopt" => {
            let report = adopt::adopt(context, verbs::args(args)?).await?;
            return serde_json::to_value(report).map_err(Error::refused);
        }
        "backup" => {
            let folder = args["folder"].as_str().unwrap_or_default();
            let manifest = backup::backup(context, folder.into()).await?;
            return serde_json::to_value(manifest).map_err(Error::refused);
        }
        "plugin.reload" => {
            let name = args["name"].as_str().unwrap_or_default();
            plugins::reload(&context.plugins, name).await.map_err(Error::Refused)?;
            return Ok(status::started(context, name).await);
        }
        _ => {}
    }
    let Some(verb) = verbs::ALL.iter().find(|verb| verb.name == name) else {
        return Err(Error::Refused(format!("there is no verb `{}`", name.escape_debug())));
    };
    let unheard = asks::unheard(context, name, &args);
    let asked = asks::prepare(context, name, &mut args).await?;
    let outcome = match verb.run {
        verbs::Run::Read(run) => context.central.read(move |db| run(db, args)).await?,
        verbs::Run::Write(run) => {
            // A chat that is named in another case than it is known by would become a second one.
            let cases = context.plugins.registry.cases();
            let work = move |db: &WriteTxn| {
                messaging_groups::note_case(db, &cases)?;
                run(db, args)
            };
            context.central.write(work).await?
        }
    };
    context.attachments.discard(outcome.unnamed);
    delivery::go_on(context, outcome.deliver_to);
    outcome.agent_folder.iter().for_each(|folder| context.make_agent_folder(folder));
    for session_id in outcome.touched {
        if outcome.restart_runners {
            context.restart_runner(session_id);
        } else {
            context.wake(session_id);
        }
    }
    asked.keep(context).await;
    let mut value = outcome.value;
    if name == "session.list" {
        status::name_what_waits(context, &mut value);
    }
    if let Some(unheard) = unheard {
        value["note"] = unheard.into();
    }
    Ok(value)
}
