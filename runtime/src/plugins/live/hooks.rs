//! Asking the modules that screen or review: each gets the words as the one before it left them.

use super::accounts::AccountState;
use super::link::{CallError, Link};
use super::registry::Registry;
use crate::error::{Error, Result};
use crate::plugins::Plugins;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use vestibule_plugin_api::wire::Request;
use vestibule_plugin_api::{
    ACCOUNT_MAIN, Hook, Manifest, OnFailure, REASON_BYTES_MAX, ReplyTo, Reviewed, Screened, TEXT_BYTES_MAX,
    Verdict,
};
use vestibule_session::words;

/// A module that is starting, or being replaced, is waited for as long as for an answer of it.
const START_PATIENCE: Duration = Duration::from_secs(10);
/// How often the runtime looks whether the module has started.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What one module answers, or why it does not.
type Answer = std::result::Result<Verdict, CallError>;

/// What the modules of a hook said together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// It goes on, with these words if they were changed.
    Pass(Option<Words>),
    /// It goes no further, for this reason.
    Stop(String),
}

/// All that a message says from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words {
    /// Its text.
    pub text: String,
    /// The text it quotes; `None` when that goes no further.
    pub quote: Option<String>,
}

impl Words {
    /// What a message replies to, with the quote as these words have it; without a quote, only the id of that
    /// message.
    pub fn requoted(&self, reply_to: Option<ReplyTo>) -> Option<ReplyTo> {
        let ReplyTo { id, sender, text: _ } = reply_to?;
        Some(match &self.quote {
            Some(quote) => ReplyTo { id, sender, text: Some(quote.clone()) },
            None => ReplyTo { id, sender: None, text: None },
        })
    }
}

/// Asks about a message that came in.
///
/// # Errors
/// The runtime stops, and a module with it: nothing is decided about the message.
pub async fn screen(plugins: &Plugins, message: Screened) -> Result<Said> {
    ask(plugins, Hook::Screen, "screen", |words| {
        let mut message = message.clone();
        if let Some(words) = words {
            message.reply_to = words.requoted(message.reply_to);
            message.text.clone_from(&words.text);
        }
        Request::Screen { message }
    })
    .await
}

/// Asks about a message that goes out.
///
/// # Errors
/// The runtime stops, and a module with it: nothing is decided about the message.
pub async fn review(plugins: &Plugins, message: Reviewed) -> Result<Said> {
    ask(plugins, Hook::Review, "review", |words| {
        let mut message = message.clone();
        if let Some(words) = words {
            message.question = None; // it goes out as words
            message.text.clone_from(&words.text);
        }
        Request::Review { message }
    })
    .await
}

/// Asks one module after another, each with the words that the one before it changed, until one stops it.
async fn ask(
    plugins: &Plugins,
    hook: Hook,
    word: &str,
    request: impl Fn(Option<&Words>) -> Request,
) -> Result<Said> {
    let registry = &plugins.registry;
    let mut changed: Option<Words> = None;
    let modules = registry.at(hook);
    for name in modules.iter().map(|link| &link.manifest.name) {
        let Some((link, verdict)) = verdict(registry, hook, name, || request(changed.as_ref())).await else {
            continue;
        };
        match judge(&link.manifest, word, verdict, plugins.is_stopping())? {
            Said::Pass(None) => {}
            Said::Pass(words) => changed = words,
            stop @ Said::Stop(_) => return Ok(stop),
        }
    }
    Ok(Said::Pass(changed))
}

/// Asks one module, once it is live: it may be starting, or another instance be taking its place. Returns `None` when
/// it was taken out.
async fn verdict(
    registry: &Registry,
    hook: Hook,
    name: &str,
    request: impl Fn() -> Request,
) -> Option<(Arc<Link>, Answer)> {
    let deadline = Instant::now() + START_PATIENCE;
    loop {
        let link = registry.at(hook).into_iter().find(|link| link.manifest.name == name)?;
        let state = link.accounts().get(ACCOUNT_MAIN).cloned();
        let hopeless = matches!(state, Some(AccountState::Broken(_))) || Instant::now() >= deadline;
        let asked = match state {
            Some(AccountState::Live) => link.verdict(request()).await,
            _ => Err(CallError::NotThere),
        };
        if asked != Err(CallError::NotThere) || hopeless {
            return Some((link, asked));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// What one module's answer means. A failure counts as its manifest says. But modules end with the runtime: one that fails
/// while that stops has neither refused the message nor let it pass.
fn judge(manifest: &Manifest, hook: &str, answer: Answer, stopping: bool) -> Result<Said> {
    let module = &manifest.name;
    let failed = match answer.map_err(|error| error.to_string()).and_then(read) {
        Ok(Said::Stop(reason)) => {
            return Ok(Said::Stop(format!("the module {module} refused it: {reason}")));
        }
        Ok(pass) => return Ok(pass),
        Err(_) if stopping => return Err(Error::Stopping),
        Err(why) => why,
    };
    let goes_on = manifest.on_failure == OnFailure::Open;
    tracing::warn!(module, hook, why = %failed, goes_on, "a module failed at its hook");
    Ok(if goes_on {
        Said::Pass(None)
    } else {
        Said::Stop(format!("the module {module} failed at `{hook}`, and lets nothing pass then"))
    })
}

/// What a verdict says. An error says why the verdict counts as a failure.
///
/// # Errors
/// The new words are too long, or this runtime does not know the verdict.
pub fn read(verdict: Verdict) -> std::result::Result<Said, String> {
    match verdict {
        Verdict::Allow => Ok(Said::Pass(None)),
        Verdict::Refuse { reason } => Ok(Said::Stop(bounded(&reason))),
        Verdict::Replace { text, quote } => {
            let longest = text.len().max(quote.as_ref().map_or(0, String::len));
            match longest {
                ..=TEXT_BYTES_MAX => Ok(Said::Pass(Some(Words { text, quote }))),
                _ => Err(format!("its text has {longest} bytes, the limit is {TEXT_BYTES_MAX}")),
            }
        }
        Verdict::Unknown => Err("this runtime does not know its verdict".to_owned()),
    }
}

/// A module's words as they are kept: one line, cut to the limit.
pub fn bounded(said: &str) -> String {
    words::line(&said[..said.floor_char_boundary(REASON_BYTES_MAX)], REASON_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use vestibule_plugin_api::PluginError;

    #[test]
    fn a_module_that_fails_while_the_runtime_stops_has_decided_nothing() {
        let refuses = || Ok(Verdict::Refuse { reason: "rude".into() });
        let failed = || Err(CallError::Plugin(PluginError::retry("it ends")));
        let (passes, refused) = (Ok(Said::Pass(None)), "the module m refused it: rude");
        let (closed, stopping) =
            ("the module m failed at `screen`, and lets nothing pass then", "the runtime is stopping");
        let stops = |why: &str| Ok(Said::Stop(why.to_owned()));
        for (on_failure, answer, stops_now, want) in [
            ("closed", Ok(Verdict::Allow), false, passes.clone()),
            ("closed", Ok(Verdict::Allow), true, passes.clone()),
            ("closed", refuses(), false, stops(refused)),
            ("open", refuses(), true, stops(refused)),
            ("closed", failed(), false, stops(closed)),
            ("open", failed(), false, passes),
            ("closed", failed(), true, Err(stopping.to_owned())),
            ("open", failed(), true, Err(stopping.to_owned())),
            ("open", Ok(Verdict::Unknown), true, Err(stopping.to_owned())),
        ] {
            let said = format!("{on_failure} {answer:?} {stops_now}");
            let told = judge(&module(on_failure), "screen", answer, stops_now);
            assert_eq!(told.map_err(|error| error.to_string()), want, "{said}");
        }
    }

    fn module(on_failure: &str) -> Manifest {
        let text = format!(
            r#"{{"name":"m","version":"1","kind":"module","abi":1,"api":"0.1","description":"d","hooks":["screen"],"on_failure":"{on_failure}"}}"#
        );
        Manifest::parse(text.as_bytes()).expect("it fits")
    }
}
