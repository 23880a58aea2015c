//! The `slack` channel: events come in over Socket Mode or by webhook, replies go out by the Web API.
//!
//! [`event`] reads what Slack sends, [`words`] its texts, [`tap`] its clicks, [`webhook`] its requests, and [`card`] makes
//! blocks, all without input or output; [`api`] talks to Slack; [`socket`] keeps a connection open, in which the workspaces have
//! [`lines`] of their own; [`inbox`] takes each event once, with
//! the [`names`] in it; [`send`] delivers a message part by part; [`status`] shows that an answer is being written.

mod api;
mod asks;
mod card;
mod event;
mod inbox;
mod lines;
mod names;
mod send;
mod socket;
mod status;
mod tap;
mod teams;
mod tokens;
mod webhook;
mod words;

use api::Api;
use inbox::Inbox;
use status::Status;
use std::time::Duration;
use teams::Teams;
use tokens::{Renewal, Rotation};
use tokio::time::timeout;
use vestibule_plugin_api::toolbox::pace::Pace;
use vestibule_plugin_api::toolbox::task::Task;
use vestibule_plugin_api::*;
use webhook::Request;

/// How long a request of Slack's is held until its event is on disk. Slack sends it again later.
const REQUEST_PATIENCE: Duration = Duration::from_secs(8);

/// How long a pair of tokens that is on its way to the disk is waited for at the end.
const RENEWAL_PATIENCE: Duration = Duration::from_secs(4);

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
        /// The refresh token (xoxe-…), for an app with token rotation; then client_id and client_secret are needed, too
        refresh_token: Option<Secret>,
        /// The app's Client ID, for token rotation
        client_id: Option<String>,
        /// The app's Client Secret, for token rotation
        client_secret: Option<Secret>,
        /// Where the Web API is
        api_url: String = "https://slack.com/api",
    }
}

struct Slack {
    api: Api,
    runtime: Runtime,
    inbox: Inbox,
    status: Status,
    teams: Teams,
    renewal: Option<Renewal>,
    /// What listens, and what renews the token.
    tasks: Vec<Task>,
}

#[async_trait]
impl Channel for Slack {
    type Config = Config;

    async fn start(config: Config, runtime: Runtime) -> Result<Self> {
        if let Some(fault) = fault(&config, runtime.listener().is_some()) {
            return Err(PluginError::broken(fault));
        }
        let api = Api::new(&config.api_url, &config.bot_token, config.app_token.as_ref())?;
        let (mut tasks, mut renewal) = (Vec::new(), None);
        let pace = Pace::new(runtime.clone());
        if let (Some(refresh), Some(client_id), Some(client_secret)) =
            (config.refresh_token, config.client_id, config.client_secret)
        {
            let rotation = Rotation { refresh, client_id, client_secret };
            let begun = Renewal::begin(&api, &runtime, rotation).await?;
            tasks.push(Task::start(&runtime, begun.clone().keep(pace.beside())));
            renewal = Some(begun);
        }
        let own = api.own().await?;
        tracing::info!(bot = own.user, workspace = own.team, "signed in to Slack");
        runtime.own_handles(vec![own.user.clone(), own.user_id.clone()]).await;
        let inbox = Inbox::new(runtime.clone(), api.clone(), own.clone());
        let teams = Teams::join(&runtime, own.place(), &inbox)?;
        if config.app_token.is_some() {
            // Only with a connection it is live.
            let first = socket::open(&api).await?;
            let listen = socket::run(first, api.clone(), teams.clone(), runtime.clone(), pace);
            tasks.push(Task::start(&runtime, listen));
        }
        let status = Status::default();
        Ok(Slack { api, runtime, inbox, status, teams, renewal, tasks })
    }

    async fn deliver(&self, message: OutboundMessage) -> Result<Receipt> {
        send::deliver(&self.api, self.inbox.names(), &self.runtime, message).await
    }

    async fn find(&self, message: OutboundMessage) -> Result<Option<Receipt>> {
        send::find(&self.api, self.inbox.names(), &self.runtime, message).await
    }

    async fn webhook(&self, request: WebhookRequest) -> Result<WebhookResponse> {
        let (kind, payload) = match webhook::read(&request) {
            Request::Challenge(word) => return Ok(WebhookResponse::text(200, word)),
            Request::Bad(fault) => return Ok(WebhookResponse::text(400, fault)),
            Request::Nothing => return Ok(WebhookResponse::text(200, "")),
            Request::Event(kind, payload) => (kind, payload),
        };
        Ok(match timeout(REQUEST_PATIENCE, self.teams.submit(kind, &payload)).await {
            // Slack shows the words of an answer to a command to the person who gave it.
            Ok(Ok(())) => WebhookResponse::text(200, ""),
            Ok(Err(error)) => WebhookResponse::text(503, format!("It was not stored: {}.", error.reason())),
            Err(_) => WebhookResponse::text(503, "It is not stored yet: send it again."),
        })
    }

    async fn working(&self, working: Working) -> Result<()> {
        self.status.show(&self.api, &working).await
    }

    async fn normalise(&self, chat: String) -> Result<Conversation> {
        asks::normalise(&self.api, self.inbox.own(), &chat).await
    }

    async fn who_is(&self, handle: String) -> Result<Sender> {
        asks::who_is(&self.api, &handle).await
    }

    async fn open_direct(&self, handle: String) -> Result<Conversation> {
        asks::open_direct(&self.api, &handle).await
    }

    async fn history(&self, address: Address, after: Option<String>, limit: u32) -> Result<HistoryPage> {
        let target = event::target(&address).map_err(PluginError::refused)?;
        asks::history(&self.api, &self.inbox, &target, after.as_deref(), limit).await
    }

    async fn stop(&self) {
        self.teams.leave();
        for task in &self.tasks {
            task.end().await;
        }
        self.inbox.stop().await;
        if let Some(renewal) = &self.renewal {
            let _ = timeout(RENEWAL_PATIENCE, renewal.settle()).await;
        }
    }
}

/// What is wrong with a config that reads well.
fn fault(config: &Config, is_heard_elsewhere: bool) -> Option<&'static str> {
    let begins = |token: &Secret, sign: &str| token.expose().trim().starts_with(sign);
    let rotation =
        [config.refresh_token.is_some(), config.client_id.is_some(), config.client_secret.is_some()];
    if is_heard_elsewhere && config.app_token.is_some() {
        Some("take `app_token` out: the account that `listener` names is the one that hears")
    } else if begins(&config.bot_token, "xapp-") {
        Some("`bot_token` is the app's token: the bot's begins with xoxb-")
    } else if config.app_token.as_ref().is_some_and(|token| !begins(token, "xapp-")) {
        Some("`app_token` is another kind of token: the app's begins with xapp-")
    } else if config
        .signing_secret
        .as_ref()
        .is_some_and(|secret| begins(secret, "xapp-") || begins(secret, "xox"))
    {
        Some(
            "`signing_secret` is a token: the secret is on the app's page Basic Information, and has no dash in it",
        )
    } else if rotation.contains(&true) && rotation.contains(&false) {
        Some(
            "for token rotation set all of `refresh_token`, `client_id` and `client_secret`, else none of them",
        )
    } else if !is_heard_elsewhere && config.app_token.is_none() && config.signing_secret.is_none() {
        Some(
            "set `app_token` for Socket Mode, or `signing_secret` for events over HTTP: without one of them no event \
             comes",
        )
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
        "listeners",
        "normalises",
        "people",
        "direct_chats",
        "history",
    ],
    limits: {
        post: { unit: "utf16", length: 40000 },
    },
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
            (
                json!({ "bot_token": "xoxb-1", "app_token": "xapp-1", "refresh_token": "xoxe-1" }),
                Some("`client_id`"),
            ),
        ] {
            let told = fault(&read(config.clone()).expect("it reads"), false);
            assert!(told.unwrap_or_default().contains(want.unwrap_or_default()), "{config}: {told:?}");
            assert_eq!(told.is_some(), want.is_some(), "{config}");
        }
    }
}
