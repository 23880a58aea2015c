//! The table of verbs. Each handler changes central rows in one transaction and names the sessions
//! whose files must follow. A verb may join rooms, so verbs live here and not in the rooms.

mod agent;
mod delivery;
mod destination;
mod dropped_message;
mod messaging_group;
mod question;
mod session;
mod wiring;

use crate::error::{Error, Result};
use rusqlite::Connection;
use serde::de::DeserializeOwned;
use serde_json::Value;
use vestibule_plugin_api::Address;

/// One verb.
pub struct Verb {
    /// `room.verb`.
    pub name: &'static str,
    /// Runs it inside a transaction.
    pub run: fn(&Connection, Value) -> Result<Outcome>,
}

/// What a verb did.
#[derive(Default)]
pub struct Outcome {
    /// The answer.
    pub value: Value,
    /// Sessions whose files must follow.
    pub touched: Vec<String>,
    /// Whether their runners must start anew, too.
    pub restart_runners: bool,
    /// Where there is something to deliver.
    pub deliver_to: Vec<Address>,
    /// Blobs that nothing names any more.
    pub unnamed: Vec<String>,
}

/// All of them.
pub const ALL: &[Verb] = &[
    Verb { name: "agent.list", run: agent::list },
    Verb { name: "agent.create", run: agent::create },
    Verb { name: "agent.update", run: agent::update },
    Verb { name: "agent.delete", run: agent::delete },
    Verb { name: "messaging-group.list", run: messaging_group::list },
    Verb { name: "messaging-group.create", run: messaging_group::create },
    Verb { name: "messaging-group.update", run: messaging_group::update },
    Verb { name: "messaging-group.delete", run: messaging_group::delete },
    Verb { name: "session.list", run: session::list },
    Verb { name: "session.release", run: session::release },
    Verb { name: "wiring.list", run: wiring::list },
    Verb { name: "wiring.create", run: wiring::create },
    Verb { name: "wiring.update", run: wiring::update },
    Verb { name: "wiring.delete", run: wiring::delete },
    Verb { name: "delivery.list", run: delivery::list },
    Verb { name: "delivery.show", run: delivery::show },
    Verb { name: "delivery.replay", run: delivery::replay },
    Verb { name: "delivery.drop", run: delivery::drop_them },
    Verb { name: "dropped-message.list", run: dropped_message::list },
    Verb { name: "destination.list", run: destination::list },
    Verb { name: "destination.create", run: destination::create },
    Verb { name: "destination.update", run: destination::update },
    Verb { name: "destination.delete", run: destination::delete },
    Verb { name: "question.list", run: question::list },
    Verb { name: "question.answer", run: question::answer_one },
];

/// The arguments of a verb.
///
/// # Errors
/// They do not fit.
pub fn args<T: DeserializeOwned>(args: Value) -> Result<T> {
    serde_json::from_value(args).map_err(|error| Error::Refused(format!("the arguments do not fit: {error}")))
}

fn answer<T: serde::Serialize>(value: &T, touched: Vec<String>) -> Result<Outcome> {
    let value = serde_json::to_value(value).map_err(|error| Error::Refused(error.to_string()))?;
    Ok(Outcome { value, touched, ..Outcome::default() })
}
