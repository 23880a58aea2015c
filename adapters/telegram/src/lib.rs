//! The `telegram` channel: updates come in by long polling, replies go out by the Bot API.
//!
//! [`map`] reads updates and addresses, without input or output; [`api`] talks to
//! Telegram, whose answers [`answer`] reads; [`poll`] takes updates one by one, [`held`] keeps those whose file is still
//! coming; [`send`] delivers a message part by part, each a [`post`], its files as [`media`] has them; [`tap`] is about questions and their buttons; [`chats`] about chats that the bot enters and leaves,
//! and groups that have another number; [`change`] about edits and reactions
//! that people make, [`react`] about those that agents give; [`card`] about cards.

mod answer;
mod api;
mod card;
mod change;
mod chats;
mod held;
mod map;
mod media;
mod poll;
mod post;
mod react;
mod send;
mod tap;

use api::Api;
use map::Own;
use vestibule_plugin_api::toolbox::task::Task;
use vestibule_plugin_api::*;

config! {
    /// `[channels.telegram.<account>]` in `vestibule.toml`.
    struct Config {
        /// The bot's token, from BotFather
        token: Secret,
        /// Where the Bot API is: your own server, if you run one
        api_root: String = "https://api.telegram.org",
    }
}

struct Telegram {
    api: Api,
    runtime: Runtime,
    polling: Task,
}

#[async_trait]
impl Channel for Telegram {
    type Config = Config;

    async fn start(config: Config, runtime: Runtime) -> Result<Self> {
        let api = Api::new(&config.api_root, &config.token)?;
        let own: Own = api.own_user().await?;
        // A webhook that is set keeps `getUpdates` from working. The updates that wait stay.
        api.delete_webhook().await?;
        tracing::info!(bot = own.username, "signed in to Telegram");
        runtime.own_handles(vec![format!("@{}", own.username), own.id.to_string()]).await;
        chats::tell_kept(&runtime).await?;
        let polling = Task::start(&runtime, poll::run(api.clone(), own, runtime.clone()));
        Ok(Telegram { api, runtime, polling })
    }

    async fn deliver(&self, message: OutboundMessage) -> Result<Receipt> {
        send::deliver(&self.api, &self.runtime, message).await
    }

    async fn working(&self, working: Working) -> Result<()> {
        let target = map::target(&working.address).map_err(PluginError::refused)?;
        self.api.typing(&target).await
    }

    async fn stop(&self) {
        // An update that it was about to take was not acknowledged, and comes again.
        self.polling.end().await;
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
        "edits",
        "deletes",
        "reactions",
        "cards",
        "working",
    ],
    deliver_seconds: 300,
    limits: {
        post: { unit: "utf16", length: 4096, file_bytes: 52428800 },
        caption: { unit: "utf16", length: 1024 },
        edit: { unit: "utf16", length: 4096 },
    },
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
}
