//! One account: an app's installation, or a user with a token. One app has one address for the events of all its
//! installations: each is an account, and one of them listens.

use crate::api::Api;
use crate::map::Rules;
use serde_json::Value;
use std::sync::Arc;
use vestibule_plugin_api::{PluginError, Result, Runtime, Sibling, Siblings};

/// The accounts that are started, by the installation.
static INSTALLATIONS: Siblings<Arc<Account>> = Siblings::new();

/// What is known of an account once it is signed in.
pub struct Account {
    pub api: Api,
    pub rules: Rules,
}

impl Account {
    /// The account is started.
    ///
    /// # Errors
    /// Another one is the same installation, or this one's events could not be told from others.
    pub async fn join(self: &Arc<Account>, runtime: &Runtime) -> Result<()> {
        match self.api.app() {
            Some(app) => {
                let installation = app.installation(&self.api.http).await?;
                INSTALLATIONS.join(runtime, installation.to_string(), self.clone())
            }
            None if runtime.listener().is_some() => Err(PluginError::broken(
                "an account with a `listener` is an installation of an app: set `app_id`, `private_key` and \
                 `installation_id`, or take `listener` out and give the repository a webhook of its own",
            )),
            None => Ok(()),
        }
    }

    /// The account is stopped.
    pub fn leave(runtime: &Runtime) {
        INSTALLATIONS.leave(runtime);
    }

    /// Whose an event is that came in at this account.
    pub fn whose(self: &Arc<Account>, runtime: &Runtime, payload: &Value) -> Sibling<Arc<Account>> {
        let is_alone = self.api.app().is_none() && runtime.siblings().is_empty();
        match payload["installation"]["id"].as_u64().filter(|_| !is_alone) {
            Some(installation) => INSTALLATIONS.find(runtime, &installation.to_string()),
            None => Sibling::Here { kept: self.clone(), runtime: runtime.clone() },
        }
    }
}
