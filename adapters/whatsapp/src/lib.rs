//! The `whatsapp` channel: Meta's WhatsApp Cloud API. Events come in by webhook, replies go out by the Graph API.
//!
//! [`map`] reads webhooks and [`fault`] Meta's errors, both without input or output; [`inbox`] hands over what came in;
//! [`send`] delivers a message part by part; [`api`] talks to Meta, and [`whole`] says whether a file of it is whole.

mod api;
mod fault;
mod inbox;
mod map;
mod send;
mod whole;

use api::Api;
use inbox::{Account, NUMBERS};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use vestibule_plugin_api::toolbox::json;
use vestibule_plugin_api::toolbox::order::Order;
use vestibule_plugin_api::*;

/// How long a request of Meta's is held until its events are on disk. Meta sends it again later.
const REQUEST_PATIENCE: Duration = Duration::from_secs(8);
/// How long the events of a request are handed over, also when it was answered before: files take their time.
const EVENTS_PATIENCE: Duration = Duration::from_secs(120);
/// How long a file is waited for that could not be loaded, before it is tried again, and once more.
const LOAD_AGAIN_AFTER: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(3)];
/// The most requests whose events are being handed over. Meta sends a further one again.
const UNDER_WAY_MAX: usize = 256;

config! {
    /// `[channels.whatsapp.<account>]` in `vestibule.toml`.
    struct Config {
        /// The access token of a system user, with the permission whatsapp_business_messaging
        access_token: Secret,
        /// The id of the phone number, from the app's page WhatsApp, API Setup; it is not the number itself
        phone_number_id: String,
        // The runtime verifies with these two before a request gets here.
        /// The app's secret, from its page App settings, Basic
        app_secret: Option<Secret>,
        /// A word of your own, which you give to Meta with the webhook's address
        verify_token: Option<Secret>,
        /// The id of the WhatsApp Business Account: the app is subscribed to it at each start
        business_account_id: Option<String>,
        /// The version of the Graph API
        api_version: String = "v25.0",
        /// Where the Graph API is
        api_url: String = "https://graph.facebook.com",
    }
}

struct WhatsApp {
    api: Api,
    runtime: Runtime,
    number: String,
    order: Order,
    /// The requests whose events are being handed over.
    tasks: Mutex<JoinSet<()>>,
}

#[async_trait]
impl Channel for WhatsApp {
    type Config = Config;

    async fn start(config: Config, runtime: Runtime) -> Result<Self> {
        if let Some(fault) = fault(&config, runtime.listener().is_some()) {
            return Err(PluginError::broken(fault));
        }
        let number = config.phone_number_id.trim().to_owned();
        let api = Api::new(&config.api_url, config.api_version.trim(), &config.access_token, &number)?;
        let shown = api.shown_number().await?;
        if let Some(account) = &config.business_account_id {
            api.subscribe(account.trim()).await?;
        }
        tracing::info!(number = shown, "signed in to WhatsApp");
        runtime.own_handles(vec![shown, number.clone()]).await;
        NUMBERS.join(&runtime, &number, Arc::new(Account::new(api.clone())))?;
        Ok(WhatsApp { api, runtime, number, order: Order::default(), tasks: Mutex::default() })
    }

    async fn deliver(&self, message: OutboundMessage) -> Result<Receipt> {
        send::deliver(&self.api, &self.runtime, &self.number, message).await
    }

    async fn webhook(&self, request: WebhookRequest) -> Result<WebhookResponse> {
        let Ok(body) = json::read(&request.body) else {
            return Ok(WebhookResponse::text(400, "This is no JSON."));
        };
        let Some(events) = map::read(&body, Timestamp::now()) else {
            return Ok(WebhookResponse::text(400, "This is no webhook of the WhatsApp Business Platform."));
        };
        if !self.has_room() {
            return Ok(WebhookResponse::text(503, "Too much is under way: send it again."));
        }
        let (done, taken) = oneshot::channel();
        let (runtime, mut turn) = (self.runtime.clone(), self.order.enter(inbox::chats(&events)));
        // It goes on when Meta is answered before it is over: what is sent again waits for it, and is then known.
        let work = async move {
            let taking = async {
                turn.comes().await;
                inbox::take(runtime, events).await
            };
            let outcome = timeout(EVENTS_PATIENCE, taking).await;
            let _ = done.send(outcome.unwrap_or_else(|_| Err(PluginError::retry("it took too long"))));
        };
        self.spawn(self.runtime.named(work));
        Ok(match timeout(REQUEST_PATIENCE, taken).await {
            Ok(Ok(Ok(()))) => WebhookResponse::text(200, ""),
            Ok(Ok(Err(error))) => {
                WebhookResponse::text(503, format!("It was not stored: {}.", error.reason()))
            }
            Ok(Err(_)) | Err(_) => WebhookResponse::text(503, "It is not stored yet: send it again."),
        })
    }

    async fn working(&self, working: Working) -> Result<()> {
        match &working.message_id {
            Some(id) => self.api.mark(id).await,
            None => Ok(()),
        }
    }

    async fn read(&self, read: Read) -> Result<()> {
        self.api.mark(&read.message_id).await
    }

    async fn normalise(&self, chat: String) -> Result<Conversation> {
        map::typed(&self.number, &chat)
    }

    async fn open_direct(&self, handle: String) -> Result<Conversation> {
        map::direct(&self.number, handle.trim())
    }

    async fn fetch(&self, reference: String, bytes_max: u64) -> Result<Blob> {
        let mut waits = LOAD_AGAIN_AFTER.into_iter();
        loop {
            let error = match self.api.file(&reference, bytes_max).await {
                Ok(bytes) => return Ok(bytes.into()),
                Err(error) => error,
            };
            // What is said behind the file waits for it here, and in its order. Once Meta has to send the message again
            // it does not.
            match (waits.next(), &error) {
                (Some(wait), PluginError::Retry { after_ms, .. })
                    if after_ms.is_none_or(|ms| Duration::from_millis(ms) <= wait) =>
                {
                    sleep(wait).await;
                }
                _ => return Err(error),
            }
        }
    }

    async fn stop(&self) {
        NUMBERS.leave(&self.runtime);
        let mut tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        // Meta was not told that they were taken, and sends them again.
        tasks.shutdown().await;
    }
}

impl WhatsApp {
    /// Whether one more request may be under way.
    fn has_room(&self) -> bool {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.len() < UNDER_WAY_MAX
    }

    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).spawn(work);
    }
}

/// What is wrong with a config that reads well.
fn fault(config: &Config, is_heard_elsewhere: bool) -> Option<&'static str> {
    let is_number = |id: &str| map::is_number(id.trim());
    if !is_number(&config.phone_number_id) {
        Some("`phone_number_id` is made of digits: it is the id of the number, not the number itself")
    } else if config.business_account_id.as_deref().is_some_and(|id| !is_number(id)) {
        Some("`business_account_id` is made of digits")
    } else if !is_heard_elsewhere && config.app_secret.is_none() {
        Some(
            "set `app_secret`: without it no event comes, for the runtime could not verify that it is Meta's",
        )
    } else {
        None
    }
}

export_channel! {
    channel: WhatsApp,
    channel_type: "whatsapp",
    description: "Direct chats on WhatsApp, by Meta's Cloud API",
    capabilities: [
        "attachments",
        "questions",
        "webhook",
        "reactions",
        "cards",
        "working",
        "reads",
        "fetches",
        "listeners",
        "normalises",
        "direct_chats",
    ],
    deliver_seconds: 300,
    limits: {
        post: { unit: "utf16", length: 4096, file_bytes: 104857600 },
        caption: { unit: "utf16", length: 1024 },
        question: { unit: "utf16", buttons: 10, label: 24 },
    },
    webhook: "github_sha256",
    signing: { key: "app_secret" },
    challenge: { key: "verify_token" },
    setup: include_str!("../setup.txt"),
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn a_config_says_what_is_wrong_with_it() {
        let read = |more: Value| {
            let mut config = json!({ "access_token": "EAA", "phone_number_id": "106540352242922" });
            for (key, value) in more.as_object().expect("keys") {
                config[key] = value.clone();
            }
            serde_json::from_value::<Config>(config).map_err(|error| error.to_string())
        };
        let error = read(json!({ "acess_token": "x" })).err().expect("refused");
        assert!(error.contains("acess_token") && error.contains("`access_token`"), "{error}");
        for (more, is_heard_elsewhere, want) in [
            (json!({}), false, Some("`app_secret`")),
            (json!({}), true, None),
            (json!({ "app_secret": "s" }), false, None),
            (
                json!({ "app_secret": "s", "phone_number_id": "+15550783881" }),
                false,
                Some("`phone_number_id`"),
            ),
            (json!({ "app_secret": "s", "phone_number_id": "../me" }), false, Some("`phone_number_id`")),
            (
                json!({ "app_secret": "s", "business_account_id": "a/b" }),
                false,
                Some("`business_account_id`"),
            ),
        ] {
            let told = fault(&read(more.clone()).expect("it reads"), is_heard_elsewhere);
            assert!(told.unwrap_or_default().contains(want.unwrap_or_default()), "{more}: {told:?}");
            assert_eq!(told.is_some(), want.is_some(), "{more}");
        }
    }
}
