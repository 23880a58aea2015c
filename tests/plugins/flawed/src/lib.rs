//! A module with every bug, for tests: `fault` in its config says which. Without one it lets everything
//! pass.

use std::sync::atomic::{AtomicU32, Ordering};
use vestibule_plugin_api::*;

config! {
    struct Config {
        /// The fault to commit
        fault: String = "",
    }
}

struct Flawed {
    fault: String,
    asked: AtomicU32,
    runtime: Runtime,
}

#[async_trait]
impl Module for Flawed {
    type Config = Config;

    async fn start(config: Config, runtime: Runtime) -> Result<Self> {
        assert!(config.fault != "panic at the start", "told to");
        Ok(Flawed { fault: config.fault, asked: AtomicU32::new(0), runtime })
    }

    async fn screen(&self, message: Screened) -> Result<Verdict> {
        let reason = |text: &str| Ok(Verdict::refuse(text));
        match self.fault.as_str() {
            "panic" => panic!("told to"),
            "abort" => std::process::abort(),
            "never" => std::future::pending().await,
            "deaf" => Err(PluginError::unsupported("not here")),
            "no reason" => reason(""),
            "no word" => Ok(Verdict::Unknown),
            "slices" if message.text.len() > 31 => reason(&message.text[..31]),
            "adds" => Ok(Verdict::replace(message.text + "!")),
            "first file" if !message.files.is_empty() => {
                reason(message.files[0].rsplit('.').collect::<Vec<_>>()[1])
            }
            "counts" if self.asked.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) => {
                reason("every other one")
            }
            "keeps" => {
                std::mem::forget(message.text.repeat(4));
                Ok(Verdict::Allow)
            }
            "keeps files" => {
                std::mem::forget(std::fs::File::open("/dev/null"));
                Ok(Verdict::Allow)
            }
            "talks" => {
                let chat = Conversation { platform_id: "chat".into(), name: None, is_group: None };
                let _ = self.runtime.conversation(chat).await;
                Ok(Verdict::Allow)
            }
            _ => Ok(Verdict::Allow),
        }
    }

    async fn forward(&self, message: Forwarded) -> Result<Vec<Effect>> {
        match self.fault.as_str() {
            "unlisted" => Ok(vec![Effect::Post { session: None, text: message.text }]),
            _ => Err(PluginError::unsupported("not here")),
        }
    }

    async fn stop(&self) {
        assert!(self.fault != "panic at the stop", "told to");
    }
}

export_module! {
    module: Flawed,
    name: "flawed",
    description: "Every bug a module can have",
    stations: ["screen"], // the word of the first versions is read for ever
}
