//! The `github` channel: comments and new issues come in by webhook, replies go out by the REST API.
//!
//! [`map`] reads payloads and addresses and [`mention`] finds mentions in a text, both without input or output;
//! [`api`] talks to GitHub; this file joins them to the runtime.

mod api;
mod map;
mod mention;

use api::Api;
use map::{Reading, Rules};
use vestibule_plugin_api::*;

config! {
    /// `[channels.github.<account>]` in `vestibule.toml`.
    struct Config {
        /// The token of the account that the agent speaks as
        token: Secret,
        // The runtime verifies with it before a request gets here. Forgetting it is an error.
        /// What the webhook's settings on GitHub have as secret
        webhook_secret: Secret,
        /// Where the API is: https://HOST/api/v3 for GitHub Enterprise Server
        api_url: Option<String>,
        /// Whether to listen to people without a role in the repository, too
        anyone: bool = false,
        /// The name that counts as a mention, if it is not the token's own login
        bot_username: Option<String>,
    }
}

impl Config {
    fn api_url(&self) -> String {
        let named = self.api_url.clone().or_else(|| std::env::var("GITHUB_API_URL").ok());
        named.unwrap_or_else(|| "https://api.github.com".into())
    }
}

struct Github {
    api: Api,
    rules: Rules,
    runtime: Runtime,
}

#[async_trait]
impl Channel for Github {
    type Config = Config;

    async fn start(config: Config, runtime: Runtime) -> Result<Self> {
        if let Some(fault) = config.bot_username.as_deref().and_then(map::login_fault) {
            return Err(PluginError::broken(format!("`bot_username` {fault}; give the login without `@`")));
        }
        let api = Api::new(&config.api_url(), &config.token)?;
        let own = api.own_user().await?;
        tracing::info!(login = own.login, "signed in to GitHub");
        let mention = config.bot_username.unwrap_or(own.login);
        Ok(Github { api, rules: Rules { own_id: own.id, mention, anyone: config.anyone }, runtime })
    }

    async fn deliver(&self, message: OutboundMessage) -> Result<Receipt> {
        let Content::Text { text } = message.content else {
            return Err(PluginError::unsupported("only text can be posted as a comment"));
        };
        let target = map::target(&message.address).map_err(PluginError::refused)?;
        let text = format!("{}\n\n{}", map::fit(text), map::mark(&message.id));
        let platform_message_id = self.api.comment(&target, &text).await?;
        Ok(Receipt::of(platform_message_id))
    }

    async fn find(&self, message: OutboundMessage) -> Result<Option<Receipt>> {
        let target = map::target(&message.address).map_err(PluginError::refused)?;
        let since = message.taken_at.unwrap_or(Timestamp(0));
        let found = self.api.find(&target, self.rules.own_id, &map::mark(&message.id), since).await?;
        Ok(found.map(|id| Receipt::of([id])))
    }

    async fn normalise(&self, chat: String) -> Result<Conversation> {
        let platform_id = map::typed(&chat).ok_or_else(|| {
            PluginError::refused("name a repository: OWNER/REPOSITORY, or its address on the web")
        })?;
        Ok(Conversation { platform_id, name: None, is_group: Some(true) })
    }

    async fn webhook(&self, request: WebhookRequest) -> Result<WebhookResponse> {
        let reading = match map::read_request(&request, &self.rules) {
            Ok(reading) => reading,
            Err(fault) => return Ok(WebhookResponse::text(400, fault)),
        };
        Ok(match reading {
            Reading::Pong => WebhookResponse::text(200, "pong"),
            Reading::Message(message) => match self.runtime.message(*message).await {
                Ok(accepted) => WebhookResponse::text(200, map::outcome(&accepted)),
                Err(error) => not_taken(&error),
            },
            Reading::Ignored { ignored, sentence } => match self.runtime.ignored(ignored).await {
                Ok(()) => WebhookResponse::text(202, sentence),
                Err(error) => not_taken(&error),
            },
        })
    }
}

/// The answer that GitHub's page of deliveries shows when the runtime did not take an event.
fn not_taken(error: &PluginError) -> WebhookResponse {
    let reason = error.reason();
    match error {
        PluginError::Refused { .. } => {
            WebhookResponse::text(422, format!("This event is refused: {reason}."))
        }
        _ => WebhookResponse::text(
            503,
            format!("Vestibule could not store this event ({reason}). Redeliver it later."),
        ),
    }
}

export_channel! {
    channel: Github,
    channel_type: "github",
    description: "Issues and pull requests on GitHub",
    capabilities: ["threads", "webhook", "reconcilable", "ignores_case", "normalises"],
    webhook: "github_sha256",
    setup: include_str!("../setup.txt"),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_in_the_config_names_the_keys() {
        let config = serde_json::json!({ "token": "t", "webhook_secret": "s", "anyon": true });
        let error = serde_json::from_value::<Config>(config).err().expect("refused").to_string();
        assert!(error.contains("anyon") && error.contains("`anyone`"), "{error}");
        let error = serde_json::from_str::<Config>(r#"{"token":"t"}"#).err().expect("refused").to_string();
        assert!(error.contains("webhook_secret"), "{error}");
    }

    #[test]
    fn what_is_not_stored_is_not_acknowledged() {
        assert_eq!(not_taken(&PluginError::retry("disk full")).status, 503);
        assert_eq!(not_taken(&PluginError::Unknown).status, 503);
        assert_eq!(not_taken(&PluginError::refused("too long")).status, 422);
    }
}
