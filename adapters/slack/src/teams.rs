//! Which workspace or organisation an event is of, where one app serves several: each is an account, and one of them listens.

use crate::event::{self, Reading};
use crate::inbox::Inbox;
use serde_json::Value;
use std::pin::Pin;
use vestibule_plugin_api::{Ignored, PluginError, Result, Runtime, Sibling, Siblings, UNKNOWN_ACCOUNT};

/// The inboxes of the accounts that are started, by what the app is installed in.
static TEAMS: Siblings<Inbox> = Siblings::new();

/// What Slack sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Event,
    Command,
    Interaction,
}

/// What is read of something that Slack sent, when it is on disk.
pub type Taken = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

/// The way from the account that listens to the inbox of the workspace. Cheap to clone.
#[derive(Clone)]
pub struct Teams {
    runtime: Runtime,
    own: Inbox,
}

impl Teams {
    /// An account is started, whose bot belongs to this workspace or organisation.
    ///
    /// # Errors
    /// Another account is of the same one.
    pub fn join(runtime: &Runtime, place: &str, inbox: &Inbox) -> Result<Teams> {
        if !place.is_empty() {
            TEAMS.join(runtime, place, inbox.clone())?;
        }
        Ok(Teams { runtime: runtime.clone(), own: inbox.clone() })
    }

    /// The account is stopped.
    pub fn leave(&self) {
        TEAMS.leave(&self.runtime);
    }

    /// Hands what Slack sent to the inbox of its workspace. Its place in the order is this call's.
    pub fn submit(&self, kind: Kind, payload: &Value) -> Taken {
        let inbox = match self.inbox(payload) {
            Sibling::Here { kept, .. } => kept,
            Sibling::Away => {
                return Box::pin(async { Err(PluginError::retry("its workspace's account is not started")) });
            }
            Sibling::Unknown => return Box::pin(self.clone().left_out(payload.clone())),
        };
        Box::pin(inbox.submit(read(kind, payload, &inbox)))
    }

    fn inbox(&self, payload: &Value) -> Sibling<Inbox> {
        // An account that listens for no other hears what is its own, also from organisations that share a channel.
        let own = || Sibling::Here { kept: self.own.clone(), runtime: self.runtime.clone() };
        if self.runtime.siblings().is_empty() {
            return own();
        }
        match place_of(payload) {
            Some(place) => TEAMS.find(&self.runtime, place),
            None => own(),
        }
    }

    async fn left_out(self, payload: Value) -> Result<()> {
        let id = payload["event_id"].as_str().or(payload["trigger_id"].as_str()).unwrap_or_default();
        let is_id = !id.is_empty() && id.len() <= 200 && id.chars().all(|c| c.is_ascii_graphic());
        if !is_id {
            return Ok(());
        }
        let (event_id, reason) = (format!("event/{id}"), UNKNOWN_ACCOUNT.to_owned());
        self.runtime.ignored(Ignored { event_id, reason, ..Ignored::default() }).await
    }
}

fn read(kind: Kind, payload: &Value, inbox: &Inbox) -> Reading {
    match kind {
        Kind::Event => event::read(payload, inbox.own()),
        Kind::Command => event::command(payload),
        Kind::Interaction => event::interaction(payload),
    }
}

/// What the app is installed in that hears of it: the organisation, or the workspace. In a shared channel the event itself
/// may be of another one. Pure.
pub fn place_of(payload: &Value) -> Option<&str> {
    let authorization = &payload["authorizations"][0];
    let is_organisations = [authorization, payload].into_iter().any(|of| {
        // A command comes as a form, in which everything is a text.
        of["is_enterprise_install"] == true || of["is_enterprise_install"] == "true"
    });
    let organisation =
        [&authorization["enterprise_id"], &payload["enterprise"]["id"], &payload["enterprise_id"]];
    // A button is of the workspace whose bot posted it, also where another person clicks.
    let workspace =
        [&authorization["team_id"], &payload["message"]["team"], &payload["team_id"], &payload["team"]["id"]];
    let said = if is_organisations { &organisation[..] } else { &workspace[..] };
    said.iter().find_map(|id| id.as_str().filter(|id| !id.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn which_workspace_or_organisation_hears_it() {
        for (payload, want) in [
            (json!({ "team_id": "T1", "event": {} }), Some("T1")),
            (json!({ "team_id": "T9", "authorizations": [{ "team_id": "T1" }] }), Some("T1")),
            (json!({ "team": { "id": "T2", "domain": "x" }, "type": "block_actions" }), Some("T2")),
            (json!({ "team": { "id": "T2" }, "message": { "team": "T1" } }), Some("T1")),
            (json!({ "team_id": null, "authorizations": [{ "team_id": null }] }), None),
            (json!({ "team_id": "" }), None),
            (json!({}), None),
            // An app that is installed for an organisation: as an event, a click and a command.
            (
                json!({ "team_id": "T1", "enterprise_id": "E1",
                    "authorizations": [{ "enterprise_id": "E1", "team_id": "T1", "is_enterprise_install": true }] }),
                Some("E1"),
            ),
            (
                json!({ "team": null, "enterprise": { "id": "E1" }, "is_enterprise_install": true,
                    "message": { "team": "T1" } }),
                Some("E1"),
            ),
            (json!({ "team_id": "T1", "enterprise_id": "E1", "is_enterprise_install": "true" }), Some("E1")),
            // A workspace of an organisation, in which the app is installed by itself.
            (
                json!({ "team_id": "T1", "enterprise_id": "E1",
                    "authorizations": [{ "enterprise_id": "E1", "team_id": "T1", "is_enterprise_install": false }] }),
                Some("T1"),
            ),
            (json!({ "team_id": "T1", "enterprise_id": "E1", "is_enterprise_install": "false" }), Some("T1")),
        ] {
            assert_eq!(place_of(&payload), want, "{payload}");
        }
    }
}
