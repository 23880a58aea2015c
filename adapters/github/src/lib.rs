//! The `github` channel: issues, pull requests, reviews and discussions come in by webhook, replies go out by GitHub's API.
//!
//! [`map`] reads payloads ([`written`], field by field: [`field`]), [`place`] the names of chats and messages, and [`mention`] finds
//! mentions in a text, all without input or output. [`send`] delivers a message part by part, [`react`] and [`files`] what
//! is no text; [`api`] talks to GitHub's REST API and [`graphql`] where there is none, [`answer`] says what its answers
//! mean, and [`app`] shows GitHub who an app is. [`account`] knows whose an event is, [`missed`] asks for what GitHub could not
//! deliver, [`taking`] hands events to the runtime, and [`late`] together those that come late. This file joins them to the
//! runtime.

mod account;
mod answer;
mod api;
mod app;
mod field;
mod files;
mod graphql;
mod late;
mod map;
mod mention;
mod missed;
mod place;
mod react;
mod send;
#[cfg(test)]
mod stand_in;
mod taking;
mod written;

use account::Account;
use api::{Api, Auth, Http};
use app::App;
use late::Late;
use map::{Reading, Rules};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::timeout;
use toolbox::order::Order;
use toolbox::task::Task;
use vestibule_plugin_api::*;

/// How long a request of GitHub's is held until its event is on disk.
const REQUEST_PATIENCE: Duration = Duration::from_secs(8);
/// The most requests whose events are being handed over.
const UNDER_WAY_MAX: usize = 256;

config! {
    /// `[channels.github.<account>]` in `vestibule.toml`.
    struct Config {
        /// The token of the account that the agent speaks as; an app needs none
        token: Option<Secret>,
        // The runtime verifies with it before a request gets here.
        /// What the webhook's settings on GitHub have as secret
        webhook_secret: Option<Secret>,
        /// The app's private key, the whole PEM file, for a GitHub App in place of a token
        private_key: Option<Secret>,
        /// The App ID or Client ID of the GitHub App
        app_id: Option<String>,
        /// Which installation of the app this account is, where there are several
        installation_id: Option<String>,
        /// Where the API is: https://HOST/api/v3 for GitHub Enterprise Server
        api_url: Option<String>,
        /// Whether to listen to people without a role in the repository, too
        anyone: bool = false,
        /// The name that counts as a mention, if it is not the account's own login
        bot_username: Option<String>,
        /// Teams whose mention counts, too, as ORGANISATION/TEAM
        teams: Vec<String> = [],
    }
}

/// A key, or what stands in the environment under GitHub's usual name for it.
fn or_env(given: Option<&String>, name: &str) -> Option<String> {
    let given = given.cloned().or_else(|| std::env::var(name).ok());
    given.map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
}

impl Config {
    fn api_url(&self) -> String {
        or_env(self.api_url.as_ref(), "GITHUB_API_URL").unwrap_or_else(|| "https://api.github.com".into())
    }

    /// How the account shows who it is.
    fn auth(&self) -> Result<Auth> {
        if let Some(key) = &self.private_key {
            let id = or_env(self.app_id.as_ref(), "GITHUB_APP_ID");
            let id = id.ok_or_else(|| PluginError::broken("`private_key` needs `app_id` beside it"))?;
            let installation = or_env(self.installation_id.as_ref(), "GITHUB_INSTALLATION_ID");
            let number = |text: &String| {
                place::number(text).ok_or_else(|| {
                    PluginError::broken(
                        "`installation_id` is made of digits: the end of the installation's address",
                    )
                })
            };
            let installation = installation.as_ref().map(number).transpose()?;
            return Ok(Auth::App(Box::new(App::new(&id, key.expose(), installation)?)));
        }
        match &self.token {
            Some(token) => Ok(Auth::Token(api::bearer(token.expose(), "token")?)),
            None => Err(PluginError::broken(
                "set `token`, a personal access token, or `app_id` and `private_key` of a GitHub App",
            )),
        }
    }

    /// What is wrong with a config that reads well.
    fn fault(&self, is_heard_elsewhere: bool) -> Option<String> {
        if let Some(fault) = self.bot_username.as_deref().and_then(place::login_fault) {
            return Some(format!("`bot_username` {fault}; give the login without `@`"));
        }
        let is_team = |team: &&String| {
            !team.split_once('/').is_some_and(|(owner, name)| place::is_name(owner) && place::is_name(name))
        };
        if let Some(team) = self.teams.iter().find(is_team) {
            return Some(format!("`{}` in `teams` is no ORGANISATION/TEAM", toolbox::http::words(team)));
        }
        (!is_heard_elsewhere && self.webhook_secret.is_none()).then(|| {
            "set `webhook_secret`: without it no event comes, for the runtime could not verify that it is GitHub's".into()
        })
    }
}

struct Github {
    account: Arc<Account>,
    runtime: Runtime,
    late: Arc<Late>,
    order: Order,
    /// The requests whose events are being handed over.
    tasks: Mutex<JoinSet<()>>,
    /// Asks for what was missed.
    watch: Option<Task>,
}

#[async_trait]
impl Channel for Github {
    type Config = Config;

    async fn start(config: Config, runtime: Runtime) -> Result<Self> {
        if let Some(fault) = config.fault(runtime.listener().is_some()) {
            return Err(PluginError::broken(fault));
        }
        let http = Http::new(&config.api_url())?;
        let web = files::web(&http.base);
        let api = Api::new(http, config.auth()?);
        let own = api.own_user().await?;
        tracing::info!(login = own.login, "signed in to GitHub");
        // People mention an app without the end of its login.
        let own_name = own.login.strip_suffix("[bot]").unwrap_or(&own.login).to_owned();
        let mention = or_env(config.bot_username.as_ref(), "GITHUB_BOT_USERNAME").unwrap_or(own_name);
        let id = Some(own.id).filter(|id| *id > 0).map(|id| id.to_string());
        runtime.own_handles(std::iter::once(own.login.clone()).chain(id).collect()).await;
        let names = std::iter::once(mention).chain(config.teams).collect();
        let rules = Rules { own, names, anyone: config.anyone, web };
        let account = Arc::new(Account { api, rules });
        account.join(&runtime).await?;
        // The deliveries are the app's, of all its installations: the account that listens asks for them.
        let listens = account.api.app().is_some() && runtime.listener().is_none();
        let watch = listens.then(|| Task::start(&runtime, missed::watch(account.clone())));
        Ok(Github {
            account,
            runtime,
            late: Arc::default(),
            order: Order::default(),
            tasks: Mutex::default(),
            watch,
        })
    }

    async fn deliver(&self, message: OutboundMessage) -> Result<Receipt> {
        send::deliver(&self.account.api, &self.runtime, message).await
    }

    async fn find(&self, message: OutboundMessage) -> Result<Option<Receipt>> {
        send::find(&self.account.api, &self.runtime, &self.account.rules.own, message).await
    }

    async fn normalise(&self, chat: String) -> Result<Conversation> {
        let platform_id = place::typed(&chat).ok_or_else(|| {
            PluginError::refused("name a repository: OWNER/REPOSITORY, or its address on the web")
        })?;
        Ok(Conversation { platform_id, name: None, is_group: Some(true) })
    }

    async fn fetch(&self, reference: String, bytes_max: u64) -> Result<Blob> {
        files::fetch(&self.account.api, &self.account.rules.web, &reference, bytes_max).await.map(Blob::from)
    }

    async fn webhook(&self, request: WebhookRequest) -> Result<WebhookResponse> {
        let payload = match map::payload_of(&request) {
            Ok(payload) => payload,
            Err(fault) => return Ok(WebhookResponse::text(400, fault)),
        };
        let (reading, runtime) = match self.account.whose(&self.runtime, &payload) {
            Sibling::Here { kept, runtime } => (map::read_request(&request, &payload, &kept.rules), runtime),
            Sibling::Away => {
                return Ok(WebhookResponse::text(
                    503,
                    "The account of this installation is not started yet.",
                ));
            }
            Sibling::Unknown => (map::of_no_account(&request, &payload), self.runtime.clone()),
        };
        Ok(match reading {
            Ok(reading) => self.hand_over(runtime, reading).await,
            Err(fault) => WebhookResponse::text(400, fault),
        })
    }

    async fn stop(&self) {
        Account::leave(&self.runtime);
        if let Some(watch) = &self.watch {
            watch.end().await;
        }
        // First those that would hand over again what the end of the late ones gives up.
        let mut tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        tasks.shutdown().await;
        self.late.end().await;
    }
}

impl Github {
    /// Hands over what was read, after what came before it in its chat. It goes on when GitHub is answered before it is over:
    /// files take their time, and GitHub sends nothing again by itself.
    async fn hand_over(&self, runtime: Runtime, reading: Reading) -> WebhookResponse {
        // What is late waits for others, of the same chat, too.
        let waits = taking::event(&reading).is_some_and(|event| self.late.waits(&event, Timestamp::now()));
        let chat = reading.chat().filter(|_| !waits).map(|chat| format!("{} {chat}", runtime.account()));
        let mut turn = self.order.enter(chat.into_iter().collect());
        let (late, account) = (self.late.clone(), runtime.clone());
        let (done, taken) = oneshot::channel();
        let work = async move {
            turn.comes().await;
            let _ = done.send(taking::take(&late, &runtime, &reading).await);
        };
        if !self.spawn(account.named(work)) {
            return WebhookResponse::text(503, "Too much is under way. Redeliver it later.");
        }
        match timeout(REQUEST_PATIENCE, taken).await {
            Ok(Ok(answer)) => answer,
            _ => taking::not_yet(),
        }
    }

    /// Starts handing over an event, if one more may be under way.
    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) -> bool {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        let has_room = tasks.len() < UNDER_WAY_MAX;
        if has_room {
            tasks.spawn(work);
        }
        has_room
    }
}

export_channel! {
    channel: Github,
    channel_type: "github",
    description: "Issues, pull requests and discussions on GitHub",
    capabilities: [
        "threads",
        "webhook",
        "reconcilable",
        "ignores_case",
        "normalises",
        "edits",
        "deletes",
        "reactions",
        "subjects",
        "attachments",
        "fetches",
        "listeners",
    ],
    deliver_seconds: 120,
    limits: {
        post: { unit: "chars", length: 64936, file_bytes: 262144 },
        edit: { unit: "chars", length: 64936 },
    },
    webhook: "github_sha256",
    setup: include_str!("../setup.txt"),
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read(more: Value) -> std::result::Result<Config, String> {
        let mut config = json!({ "webhook_secret": "s" });
        for (key, value) in more.as_object().expect("keys") {
            config[key] = value.clone();
        }
        serde_json::from_value::<Config>(config).map_err(|error| error.to_string())
    }

    #[test]
    fn a_config_says_what_is_wrong_with_it() {
        let error = read(json!({ "anyon": true })).err().expect("refused");
        assert!(error.contains("anyon") && error.contains("`anyone`"), "{error}");
        for (more, is_heard_elsewhere, want) in [
            (json!({ "token": "t" }), false, None),
            (json!({ "token": "t", "webhook_secret": null }), false, Some("`webhook_secret`")),
            (json!({ "token": "t", "webhook_secret": null }), true, None),
            (json!({ "token": "t", "bot_username": "@bot" }), false, Some("`bot_username`")),
            (json!({ "token": "t", "teams": ["acme/agents"] }), false, None),
            (json!({ "token": "t", "teams": ["@acme/agents"] }), false, Some("`teams`")),
            (json!({ "token": "t", "teams": ["agents"] }), false, Some("`teams`")),
        ] {
            let told = read(more.clone()).expect("it reads").fault(is_heard_elsewhere);
            assert_eq!(told.is_some(), want.is_some(), "{more}: {told:?}");
            assert!(told.unwrap_or_default().contains(want.unwrap_or_default()), "{more}");
        }
        for (more, want) in [
            (json!({}), "`token`"),
            (json!({ "private_key": "x" }), "`app_id`"),
            (json!({ "private_key": "x", "app_id": "1" }), "`private_key`"),
            (json!({ "private_key": "x", "app_id": "1", "installation_id": "a" }), "`installation_id`"),
            (json!({ "token": "t\nx" }), "`token`"),
        ] {
            let told = read(more.clone()).expect("it reads").auth().err().expect("refused");
            assert!(told.reason().contains(want), "{more}: {told:?}");
        }
    }
}
