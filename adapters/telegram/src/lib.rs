//! The `telegram` channel: updates come in by long polling or by webhook, replies go out by the Bot API.
//!
//! [`map`] reads updates and addresses, without input or output; [`api`] talks to
//! Telegram, whose answers [`answer`] reads; [`poll`] asks for updates and [`hook`] is posted them; [`inbox`] takes them one by
//! one, [`held`] keeps those whose file, which [`fetch`] loads, is still coming, [`taken`] knows which were handed over;
//! [`send`] delivers a message part by part, each a [`post`], its files as [`media`] has them; [`tap`] is about questions and
//! their buttons; [`chats`] about chats that the bot enters and leaves, and groups that have another number; [`known`] about
//! their names, [`forums`] about groups with topics; [`change`] about edits and reactions that people make, [`react`] about
//! those that agents give; [`card`] about cards; [`menu`] about commands.

mod answer;
mod api;
mod card;
mod change;
mod chats;
mod fetch;
mod forums;
mod held;
mod hook;
mod inbox;
mod known;
mod map;
mod media;
mod menu;
mod poll;
mod post;
mod react;
mod send;
mod taken;
mod tap;

use api::Api;
use forums::Forums;
use hook::Hook;
use inbox::Inbox;
use map::Own;
use vestibule_plugin_api::toolbox::pace::Pace;
use vestibule_plugin_api::toolbox::task::Task;
use vestibule_plugin_api::*;

config! {
    /// `[channels.telegram.<account>]` in `vestibule.toml`.
    struct Config {
        /// The bot's token, from BotFather
        token: Secret,
        /// The address at which Telegram reaches this account's webhook; without it updates are polled
        webhook_url: Option<String>,
        // The runtime verifies with it before a request gets here.
        /// A word of your own, of letters, digits, _ and -, by which Telegram's webhooks are known; with webhook_url
        webhook_secret: Option<Secret>,
        /// The commands in the bot's menu, each as "name - what it does"
        commands: Option<Vec<String>>,
        /// Where the Bot API is: your own server, if you run one
        api_root: String = "https://api.telegram.org",
    }
}

struct Telegram {
    api: Api,
    runtime: Runtime,
    forums: Forums,
    /// Where updates are posted, if they are not polled.
    hook: Option<Hook>,
    tasks: Vec<Task>,
}

#[async_trait]
impl Channel for Telegram {
    type Config = Config;

    async fn start(config: Config, runtime: Runtime) -> Result<Self> {
        if let Some(fault) = fault(&config) {
            return Err(PluginError::broken(fault));
        }
        let commands = config.commands.as_deref().map(menu::commands).transpose();
        let commands = commands.map_err(PluginError::broken)?;
        let api = Api::new(&config.api_root, &config.token)?;
        let own: Own = api.own_user().await?;
        tracing::info!(bot = own.username, "signed in to Telegram");
        runtime.own_handles(vec![format!("@{}", own.username), own.id.to_string()]).await;
        chats::tell_kept(&runtime).await?;
        if let Some(commands) = commands {
            api.set_commands(&commands).await?;
        }
        let webhook = config.webhook_url.zip(config.webhook_secret);
        let (forums, pace, mut tasks) = (Forums::default(), Pace::new(runtime.clone()), Vec::new());
        let hook = match webhook {
            Some((url, secret)) => {
                let (hook, posted) = Hook::new();
                let (told, watched) = tokio::sync::watch::channel(None);
                let beside = pace.beside();
                let inbox = Inbox::posted(api.clone(), own, pace, runtime.clone(), forums.clone(), watched);
                tasks.push(Task::start(&runtime, async move { hook::run(inbox.await, posted).await }));
                api.set_webhook(url.trim(), &secret).await?;
                let url = url.trim().to_owned();
                tasks.push(Task::start(&runtime, hook::watch(api.clone(), beside, url, told)));
                Some(hook)
            }
            None => {
                // A webhook that is set keeps `getUpdates` from working. The updates that wait stay.
                api.delete_webhook().await?;
                let inbox = Inbox::polled(api.clone(), own, pace, runtime.clone(), forums.clone());
                tasks.push(Task::start(&runtime, async move { poll::run(inbox.await).await }));
                None
            }
        };
        Ok(Telegram { api, runtime, forums, hook, tasks })
    }

    async fn deliver(&self, message: OutboundMessage) -> Result<Receipt> {
        send::deliver(&self.api, &self.runtime, message).await
    }

    async fn webhook(&self, request: WebhookRequest) -> Result<WebhookResponse> {
        Ok(match &self.hook {
            Some(hook) => hook.answer(&request).await,
            None => WebhookResponse::text(404, "This account asks for its updates itself."),
        })
    }

    async fn normalise(&self, chat: String) -> Result<Conversation> {
        map::typed(&chat).ok_or_else(|| {
            PluginError::refused(
                "write the chat's number, as `vestibule status` shows it once somebody wrote there; no chat is \
                 looked for by its name",
            )
        })
    }

    async fn working(&self, working: Working) -> Result<()> {
        let target = map::target(&working.address).map_err(PluginError::refused)?;
        self.api.typing(target.chat, self.forums.topic(&target)).await
    }

    async fn stop(&self) {
        // An update that was about to be taken was not acknowledged, and comes again.
        for task in &self.tasks {
            task.end().await;
        }
    }
}

/// What is wrong with a config that reads well.
fn fault(config: &Config) -> Option<&'static str> {
    let is_sign = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    let is_word =
        |secret: &Secret| (1..=256).contains(&secret.expose().len()) && secret.expose().chars().all(is_sign);
    match (&config.webhook_url, &config.webhook_secret) {
        (Some(_), None) => {
            Some("set `webhook_secret`, too: a word of your own, by which Telegram's requests are known")
        }
        (None, Some(_)) => Some(
            "set `webhook_url`, too: the address at which Telegram reaches this account; or take `webhook_secret` out, and \
             updates are polled",
        ),
        (Some(_), Some(secret)) if !is_word(secret) => Some(
            "`webhook_secret` is made of letters, digits, `_` and `-`, 256 at most: Telegram takes nothing else",
        ),
        _ => None,
    }
}

export_channel! {
    channel: Telegram,
    channel_type: "telegram",
    description: "Private chats and groups on Telegram",
    capabilities: [
        "threads",
        "attachments",
        "questions",
        "webhook",
        "edits",
        "deletes",
        "reactions",
        "cards",
        "working",
        "normalises",
    ],
    deliver_seconds: 300,
    limits: {
        post: { unit: "utf16", length: 4096, file_bytes: 52428800 },
        caption: { unit: "utf16", length: 1024 },
        edit: { unit: "utf16", length: 4096 },
    },
    webhook: "secret_header",
    signing: { header: "X-Telegram-Bot-Api-Secret-Token" },
    setup: include_str!("../setup.txt"),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_in_the_config_names_the_keys() {
        let config = serde_json::json!({ "token": "t", "api_rot": "http://x" });
        let error = serde_json::from_value::<Config>(config).err().expect("refused").to_string();
        assert!(error.contains("api_rot") && error.contains("`api_root`"), "{error}");
    }

    #[test]
    fn a_webhook_needs_its_address_and_its_secret() {
        const URL: &str = "https://a.example/webhook/telegram/main";
        let long = "x".repeat(257);
        for (url, secret, want) in [
            (None, None, None),
            (Some(URL), Some("aB-_9"), None),
            (Some(URL), None, Some("`webhook_secret`")),
            (None, Some("aB-_9"), Some("`webhook_url`")),
            (Some(URL), Some("a b"), Some("letters")),
            (Some(URL), Some(""), Some("letters")),
            (Some(URL), Some(&*long), Some("letters")),
        ] {
            let config = serde_json::json!({ "token": "t", "webhook_url": url, "webhook_secret": secret });
            let told = fault(&serde_json::from_value(config).expect("it reads"));
            assert_eq!(told.is_some(), want.is_some(), "{url:?} {secret:?}: {told:?}");
            assert!(told.unwrap_or_default().contains(want.unwrap_or_default()), "{told:?}");
        }
    }
}
