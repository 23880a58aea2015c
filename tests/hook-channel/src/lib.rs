//! A channel whose platform is a test: webhooks for several teams, of which each account is one. What it says of webhooks
//! in its manifest a test changes in a copy of the file.

use serde_json::Value;
use vestibule_plugin_api::*;

config! {
    /// `[channels.hook.<account>]` in `vestibule.toml`.
    struct Config {
        /// What signs the webhooks
        webhook_secret: Option<Secret>,
        /// What verifies the webhooks, where a public key does
        public_key: Option<String>,
        /// What is asked when the address is tried
        verify_token: Option<Secret>,
        /// The team that the account belongs to
        team: String = "none",
    }
}

/// The accounts that are started, by their teams.
static TEAMS: Siblings<Runtime> = Siblings::new();

struct Hook {
    runtime: Runtime,
}

#[async_trait]
impl Channel for Hook {
    type Config = Config;

    async fn start(config: Config, runtime: Runtime) -> Result<Self> {
        if config.team == "away" {
            return Err(PluginError::retry("told to"));
        }
        TEAMS.join(&runtime, config.team, runtime.clone())?;
        Ok(Hook { runtime })
    }

    async fn deliver(&self, message: OutboundMessage) -> Result<Receipt> {
        Ok(Receipt::of([message.id]))
    }

    /// Hands the event over for the team that it names, and answers as it says.
    async fn webhook(&self, request: WebhookRequest) -> Result<WebhookResponse> {
        let event: Value = serde_json::from_slice(&request.body)?;
        let word = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
        let message = InboundMessage {
            event_id: word("id"),
            message_id: word("id"),
            platform_id: "room".into(),
            sender: Sender { handle: "ann".into(), ..Sender::default() },
            text: word("text"),
            timestamp: Timestamp::now(),
            is_mention: true,
            ..InboundMessage::default()
        };
        let said = match event["account"].as_str() {
            // Whatever the runtime thinks of it.
            Some(account) => self.runtime.on_behalf_of(account).message(message).await?,
            None => match TEAMS.find(&self.runtime, &word("team")) {
                Sibling::Here { runtime, .. } => runtime.message(message).await?,
                Sibling::Away => return Ok(WebhookResponse::text(503, "Its account is not started.")),
                Sibling::Unknown => {
                    let reason = UNKNOWN_ACCOUNT.to_owned();
                    let (event_id, platform_id) = (word("id"), Some(word("team").into()));
                    self.runtime
                        .ignored(Ignored { event_id, reason, platform_id, ..Ignored::default() })
                        .await?;
                    return Ok(WebhookResponse::text(200, "unknown"));
                }
            },
        };
        let answer = &event["answer"];
        let status = answer["status"].as_u64().and_then(|status| u16::try_from(status).ok()).unwrap_or(200);
        let body = answer["body"].as_str().map_or_else(|| format!("{said:?}"), str::to_owned);
        let headers = answer["headers"].as_object().into_iter().flatten();
        Ok(headers.fold(WebhookResponse::text(status, body), |response, (name, value)| {
            response.header(name, value.as_str().unwrap_or_default())
        }))
    }

    async fn stop(&self) {
        TEAMS.leave(&self.runtime);
    }
}

export_channel! {
    channel: Hook,
    channel_type: "hook",
    description: "Webhooks as its test says",
    capabilities: ["webhook", "listeners"],
    webhook: "standard_webhooks",
    signing: { key: "webhook_secret", window_seconds: 300 },
    challenge: { key: "verify_token" },
    answer_headers: ["content-type", "x-hook"],
    setup: "Post to {webhook_url}\n",
}
