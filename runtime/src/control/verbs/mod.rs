//! The table of verbs. Each handler changes central rows in one transaction and names the sessions whose files must
//! follow. A verb may join the tables of several modules, so verbs live here and not in those modules.

mod agent;
mod delivery;
mod destination;
mod dropped_message;
mod messaging_group;
mod question;
mod session;
mod wiring;

use crate::db::{ReadTxn, WriteTxn};
use crate::error::{Error, Result};
use crate::id::SessionId;
use Run::{Read, Write};
use serde::de::DeserializeOwned;
use serde_json::Value;
use vestibule_plugin_api::Address;

/// One verb.
pub struct Verb {
    /// Such as `agent.list`.
    pub name: &'static str,
    /// What it does.
    pub run: Run,
}

/// What a verb does, in one transaction.
#[derive(Clone, Copy)]
pub enum Run {
    /// It only looks.
    Read(fn(&ReadTxn<'_>, Value) -> Result<Outcome>),
    /// It changes rows.
    Write(fn(&WriteTxn<'_>, Value) -> Result<Outcome>),
}

/// What a verb did.
#[derive(Default)]
pub struct Outcome {
    /// The answer to the operator.
    pub value: Value,
    /// Sessions whose files must follow.
    pub touched: Vec<SessionId>,
    /// Whether their runners must start anew, too.
    pub restart_runners: bool,
    /// The folder of an agent group that has to be there.
    pub agent_folder: Option<String>,
    /// The addresses to which there is something to deliver.
    pub deliver_to: Vec<Address>,
    /// Blobs that no row names any more.
    pub unnamed: Vec<String>,
}

/// All verbs.
pub const ALL: &[Verb] = &[
    Verb { name: "agent.list", run: Read(agent::list) },
    Verb { name: "agent.create", run: Write(agent::create) },
    Verb { name: "agent.update", run: Write(agent::update) },
    Verb { name: "agent.delete", run: Write(agent::delete) },
    Verb { name: "messaging-group.list", run: Read(messaging_group::list) },
    Verb { name: "messaging-group.create", run: Write(messaging_group::create) },
    Verb { name: "messaging-group.update", run: Write(messaging_group::update) },
    Verb { name: "messaging-group.delete", run: Write(messaging_group::delete) },
    Verb { name: "session.list", run: Read(session::list) },
    Verb { name: "session.release", run: Write(session::release) },
    Verb { name: "wiring.list", run: Read(wiring::list) },
    Verb { name: "wiring.create", run: Write(wiring::create) },
    Verb { name: "wiring.update", run: Write(wiring::update) },
    Verb { name: "wiring.delete", run: Write(wiring::delete) },
    Verb { name: "delivery.list", run: Read(delivery::list) },
    Verb { name: "delivery.show", run: Read(delivery::show) },
    Verb { name: "delivery.replay", run: Write(delivery::replay) },
    Verb { name: "delivery.drop", run: Write(delivery::drop_them) },
    Verb { name: "dropped-message.list", run: Read(dropped_message::list) },
    Verb { name: "destination.list", run: Read(destination::list) },
    Verb { name: "destination.create", run: Write(destination::create) },
    Verb { name: "destination.update", run: Write(destination::update) },
    Verb { name: "destination.delete", run: Write(destination::delete) },
    Verb { name: "question.list", run: Read(question::list) },
    Verb { name: "question.answer", run: Write(question::answer_one) },
];

/// The arguments that may be empty: an empty pattern takes the pattern away.
const MAY_BE_EMPTY: [&str; 1] = ["pattern"];

/// Why the arguments of a verb name nothing, if one of them is an empty text: a variable of a script may be empty.
pub fn empty_argument(args: &Value) -> Option<String> {
    let is_empty = |value: &Value| value.as_str().is_some_and(|text| text.trim().is_empty());
    let holds_empty =
        |value: &Value| is_empty(value) || value.as_array().is_some_and(|values| values.iter().any(is_empty));
    let mut args = args.as_object()?.iter().filter(|(key, _)| !MAY_BE_EMPTY.contains(&key.as_str()));
    let (key, _) = args.find(|(_, value)| holds_empty(value))?;
    Some(format!("`{}` is empty: say which one", key.escape_debug()))
}

/// The arguments of a verb.
///
/// # Errors
/// They do not fit.
pub fn args<T: DeserializeOwned>(args: Value) -> Result<T> {
    serde_json::from_value(args).map_err(|error| Error::Refused(format!("the arguments do not fit: {error}")))
}

fn answer<T: serde::Serialize>(value: &T, touched: Vec<SessionId>) -> Result<Outcome> {
    let value = serde_json::to_value(value).map_err(|error| Error::Refused(error.to_string()))?;
    Ok(Outcome { value, touched, ..Outcome::default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_empty_text_names_nothing() {
        for (args, want) in [
            (json!(null), None),
            (json!({ "chat": "c", "name": null, "new_out": false, "ids": [] }), None),
            (json!({ "id": "w", "pattern": "" }), None),
            (json!({ "channel": "x", "chat": "" }), Some("`chat` is empty: say which one")),
            (json!({ "id": " \t" }), Some("`id` is empty: say which one")),
            (json!({ "ids": ["a", ""] }), Some("`ids` is empty: say which one")),
        ] {
            assert_eq!(empty_argument(&args).as_deref(), want, "{args}");
        }
    }
}
