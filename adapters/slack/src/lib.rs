//! The `slack` channel: events come in over Socket Mode or by webhook, replies go out by the Web API.
//!
//! [`event`] reads what Slack sends, [`words`] its texts, [`tap`] its clicks, [`webhook`] its requests, and [`card`] makes
//! blocks, all without input or output; [`api`] talks to Slack; [`socket`] keeps a connection open; [`inbox`] takes each event once, with
//! the [`names`] in it; [`send`] delivers a message part by part; [`status`] shows that an answer is being written.

mod api;
mod card;
mod event;
mod inbox;
mod names;
mod send;
mod socket;
mod status;
mod tap;
mod webhook;
mod words;

use api::Api;
use inbox::Inbox;
use status::Status;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use vestibule_plugin_api::*;
use webhook::Request;

/// How long a request of Slack's is held until its event is on disk. Slack sends it again later.
const REQUEST_PATIENCE: Duration = Duration::from_secs(8);

config! {
    /// `[channels.slack.<account>]` in `vestibule.toml`.
    struct Config {
        /// The bot's token (xoxb-…), from the app's page OAuth & Permissions
        bot_token: Secret,
        /// The app's token (xapp-…) for Socket Mode, with the scope connections:write
        app_token: Option<Secret>,
        // The runtime verifies with it before a request gets here.
        /// The app's signing secret, for events over HTTP in place of Socket Mode or beside it
        signing_secret: Option<Secret>,
        /// Where the Web API is
        api_url: String = "https://slack.com/api",
    }
}

struct Slack {
    api: Api,
    runtime: Runtime,
    inbox: Inbox,
    status: Status,
    listening: Mutex<Option<JoinHandle<()>>>,
}

#[async_trait]
impl Channel for Slack {
    type Config = Config;

    async fn start(config: Config, runtime: Runtime) -> Result<Self> {
        if let Some(fault) = fault(&config) {
            return Err(PluginError::broken(fault));
        }
        let api = Api::new(&config.api_url, &config.bot_token, config.app_token.as_ref())?;
        let own = api.own().await?;
        tracing::info!(bot = own.user, workspace = own.team, "signed in to Slack");
        runtime.own_handles(vec![own.user.clone(), own.user_id.clone()]).await;
        let inbox = Inbox::new(runtime.clone(), api.clone(), own);
        let listening = match config.app_token {
            Some(_) => {
                // Only with a connection it is live.
                let first = socket::open(&api, inbox.own()).await?;
                let listen = socket::run(first, api.clone(), inbox.clone(), runtime.clone());
                Some(tokio::spawn(runtime.named(listen)))
            }
            None => None,
        };
        let status = Status::default();
        Ok(Slack { api, runtime, inbox, status, listening: Mutex::new(listening) })
    }

    async fn deliver(&self, message: OutboundMessage) -> Result<Receipt> {
        send::deliver(&self.api, &self.runtime, message).await
    }

    async fn find(&self, message: OutboundMessage) -> Result<Option<Receipt>> {
        send::find(&self.api, &self.runtime, message).await
    }

    async fn webhook(&self, request: WebhookRequest) -> Result<WebhookResponse> {
        let reading = match webhook::read(&request, self.inbox.own()) {
            Request::Challenge(word) => return Ok(WebhookResponse::text(200, word)),
            Request::Bad(fault) => return Ok(WebhookResponse::text(400, fault)),
            Request::Event(reading) => reading,
        };
        Ok(match timeout(REQUEST_PATIENCE, self.inbox.submit(reading)).await {
            // Slack shows the words of an answer to a command to the person who gave it.
            Ok(Ok(())) => WebhookResponse::text(200, ""),
            Ok(Err(error)) => WebhookResponse::text(503, format!("It was not stored: {}.", error.reason())),
            Err(_) => WebhookResponse::text(503, "It is not stored yet: send it again."),
        })
    }

    async fn working(&self, working: Working) -> Result<()> {
        self.status.show(&self.api, &working).await
    }

    async fn stop(&self) {
        let listening = self.listening.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(listening) = listening {
            listening.abort();
            let _ = listening.await;
        }
        self.inbox.stop().await;
    }
}

/// What is wrong with a config that reads well.
fn fault(config: &Config) -> Option<&'static str> {
    let begins = |token: &Secret, sign: &str| token.expose().trim().starts_with(sign);
    if config.app_token.is_none() && config.signing_secret.is_none() {
        Some(
            "set `app_token` for Socket Mode, or `signing_secret` for events over HTTP: without one of them no event \
             comes",
        )
    } else if begins(&config.bot_token, "xapp-") {
        Some("`bot_token` is the app's token: the bot's begins with xoxb-")
    } else if config.app_token.as_ref().is_some_and(|token| !begins(token, "xapp-")) {
        Some("`app_token` is another kind of token: the app's begins with xapp-")
    } else {
        None
    }
}

export_channel! {
    channel: Slack,
    channel_type: "slack",
    description: "Channels and direct messages on Slack",
    capabilities: [
        "threads",
        "attachments",
        "questions",
        "webhook",
        "reconcilable",
        "edits",
        "deletes",
        "reactions",
        "cards",
        "working",
    ],
    webhook: "slack_v0",
    setup: include_str!("../setup.txt"),
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn a_config_says_what_is_wrong_with_it() {
        let read =
            |config: Value| serde_json::from_value::<Config>(config).map_err(|error| error.to_string());
        let error = read(json!({ "bot_token": "xoxb-1", "app_tokn": "x" })).err().expect("refused");
        assert!(error.contains("app_tokn") && error.contains("`app_token`"), "{error}");
        for (config, want) in [
            (json!({ "bot_token": "xoxb-1" }), Some("Socket Mode")),
            (json!({ "bot_token": "xapp-1", "app_token": "xapp-1" }), Some("`bot_token`")),
            (json!({ "bot_token": "xoxb-1", "app_token": "xoxb-1" }), Some("`app_token`")),
            (json!({ "bot_token": "xoxb-1", "app_token": "xapp-1" }), None),
            (json!({ "bot_token": "xoxb-1", "signing_secret": "s" }), None),
        ] {
            let told = fault(&read(config.clone()).expect("it reads"));
            assert!(told.unwrap_or_default().contains(want.unwrap_or_default()), "{config}: {told:?}");
            assert_eq!(told.is_some(), want.is_some(), "{config}");
        }
    }
}
