//! A module that obeys what it reads, anywhere in a message, for tests: `rude` is refused, `unkind` with words for its
//! writer, `command` taken, `old` becomes `new`, `curt` the whole text, at `screen` in a word with `in-`, at `review` with
//! `out-`; and whatever it forwards, it forwards wrongly. The action `repeat` is answered with its words, `deny` refused, `wrong` answered wrongly;
//! `keep` and `list` keep values, and `effects` has the effects that stand in it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use vestibule_plugin_api::{
    Action, Decided, Decision, Effect, Forwarded, Health, InboundMessage, Module, PluginError, Requested,
    Result, Reviewed, Runtime, Screened, Sender, StatePage, StateWrite, Tick, Timestamp, Verdict,
    async_trait, config, export_module,
};

config! {
    struct Config {
        /// The agent that is told of the first tick
        tell: Option<String>,
    }
}

struct Guard(Runtime, Config, AtomicBool);

/// `texts` are all words of it, `text` and `quote` those that can be replaced.
async fn verdict(texts: &[&str], text: &str, quote: Option<&str>, here: &str) -> Verdict {
    let says = |what: &str| texts.iter().any(|text| text.contains(&format!("{here}-{what}")));
    if says("rude") {
        return Verdict::refuse("rude");
    }
    if says("unkind") {
        return Verdict::refuse_saying("unkind", "Say it kindly.");
    }
    if says("command") {
        return Verdict::consume("a command");
    }
    if says("panic") {
        panic!("as it was told");
    }
    if says("late") {
        tokio::time::sleep(Duration::from_secs(3600)).await;
    }
    if says("slow") {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    if says("strange") {
        return Verdict::Unknown;
    }
    if says("curt") {
        return Verdict::replace("curt");
    }
    if says("old") {
        let new = |text: &str| text.replace(&format!("{here}-old"), "new");
        return Verdict::Replace { text: new(text), quote: quote.map(new) };
    }
    Verdict::Allow
}

#[async_trait]
impl Module for Guard {
    type Config = Config;

    async fn start(config: Config, runtime: Runtime) -> Result<Self> {
        Ok(Guard(runtime, config, AtomicBool::new(false)))
    }

    async fn forward(&self, message: Forwarded) -> Result<Vec<Effect>> {
        let post = Effect::Post { session: Some(message.from_session), text: message.text };
        Ok(vec![post.clone(), post])
    }

    async fn action(&self, action: Action) -> Result<Vec<Effect>> {
        let text = action.content["text"].as_str().unwrap_or_default().to_owned();
        Ok(match action.name.as_str() {
            "repeat" => vec![Effect::Note { text }],
            "keep" => {
                let kept = self.0.state_get("kept").await?;
                self.0.state_set(vec![StateWrite::set("kept", text.clone())]).await?;
                self.0.health(Health::Degraded { reason: text }).await;
                vec![Effect::Note { text: format!("kept before: {kept:?}") }]
            }
            "list" => {
                let runtime = &self.0;
                runtime.state_set(["x/1", "x/2", "y"].map(|key| StateWrite::set(key, "v")).to_vec()).await?;
                let before = runtime.state_list(&text, None).await?;
                runtime.state_set(vec![StateWrite::forget_prefix(&text)]).await?;
                let after = runtime.state_list("", Some("kept")).await?;
                let keys = |page: StatePage| {
                    page.entries.into_iter().map(|entry| entry.key).collect::<Vec<_>>().join(" ")
                };
                vec![Effect::Note { text: format!("{} then {}", keys(before), keys(after)) }]
            }
            // Effects as JSON, as the agent writes them: its test says what the module wants.
            "effects" => serde_json::from_value(action.content["effects"].clone()).unwrap_or_default(),
            "deny" => vec![Effect::Refuse { reason: text }],
            _ => vec![Effect::Post { session: None, text }],
        })
    }

    async fn tick(&self, tick: Tick) -> Result<Vec<Effect>> {
        let Some(agent) = self.1.tell.clone() else { return Ok(vec![]) };
        let mut words =
            tick.due.iter().map(|due| format!("{} is due: {}", due.key, due.payload)).collect::<Vec<_>>();
        if tick.last.is_none() {
            words.push("it ticks".to_owned());
        }
        let mut effects: Vec<Effect> =
            words.into_iter().map(|text| Effect::Tell { agent: agent.clone(), text }).collect();
        // Due at once, each time.
        let again = tick.due.iter().filter_map(|due| due.key.strip_prefix("again ")?.parse::<u32>().ok());
        effects.extend(again.map(|count| Effect::Schedule {
            key: format!("again {}", count + 1),
            at: Some(Timestamp(0)),
            payload: 7.into(),
        }));
        Ok(effects)
    }

    /// Shows the decision in place of what was said under the key `card`, and tells the agent. It fails the first time in
    /// each of its lives.
    async fn decided(&self, decided: Decided) -> Result<Vec<Effect>> {
        if !self.2.swap(true, Ordering::Relaxed) {
            return Err(PluginError::retry("as it was told"));
        }
        let by = decided.by.map_or("time".to_owned(), |by| by.handle);
        let verdict = match decided.verdict {
            Decision::Chosen { value, .. } => value,
            verdict => format!("{verdict:?}"),
        };
        let Requested { key, payload, .. } = decided.request;
        let text = format!("{key} {payload}: {verdict} by {by}");
        let edit = Effect::Edit { agent: None, key: "card".into(), text: text.clone() };
        Ok(vec![Effect::Note { text }, edit])
    }

    async fn screen(&self, message: Screened) -> Result<Verdict> {
        if message.text == "in-forge" {
            // A module speaks for no channel.
            let forged = InboundMessage {
                event_id: "forged".into(),
                message_id: "forged".into(),
                platform_id: message.address.platform_id,
                sender: Sender { handle: "nobody".into(), name: None, is_bot: false, ..Sender::default() },
                text: "forged".into(),
                timestamp: Timestamp::now(),
                is_mention: true,
                ..InboundMessage::default()
            };
            let told = self.0.message(forged).await;
            return Ok(Verdict::replace(format!("forging: {}", told.is_ok())));
        }
        let quote = message.reply_to.as_ref().and_then(|quoted| quoted.text.as_deref());
        Ok(verdict(&message.texts(), &message.text, quote, "in").await)
    }

    async fn review(&self, message: Reviewed) -> Result<Verdict> {
        Ok(verdict(&message.texts(), &message.text, None, "out").await)
    }
}

export_module! {
    module: Guard,
    name: "guard",
    description: "Refuses, replaces, fails",
    hooks: ["screen", "review", "forward", "action", "tick", "decided", "teleport"],
    actions: ["repeat", "deny", "wrong", "keep", "list", "effects"],
    tick_seconds: 1,
    on_failure: "closed",
}
