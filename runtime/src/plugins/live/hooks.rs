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
    ACCOUNT_MAIN, Changed, Hook, Manifest, OnFailure, REASON_BYTES_MAX, ReplyTo, Reviewed, Screened,
    TEXT_BYTES_MAX, Verdict,
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
    /// It goes no further.
    Stop(Stop),
}

/// How a message ends at a module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stop {
    /// Why, for the operator.
    pub reason: String,
    /// What the one who wrote it is told, and the module that says so.
    pub told: Option<Told>,
}

/// A module's words for the writer of a message that it refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The module.
    pub module: String,
    /// Its words.
    pub text: String,
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

/// A message as the next module is asked about it: what the one before took out of it stands nowhere else.
fn screened_with(mut message: Screened, words: Option<&Words>) -> Screened {
    if let Some(words) = words {
        message.reply_to = words.requoted(message.reply_to);
        message.text.clone_from(&words.text);
        (message.subject, message.command) = (None, None);
        message.metadata.clear();
        if let Some(Changed::Edited { text, .. }) = &mut message.change {
            text.clone_from(&words.text);
        }
    }
    message
}

/// The same of a message that goes out: with other words it goes out as words, unless it is an edit.
fn reviewed_with(mut message: Reviewed, words: Option<&Words>) -> Reviewed {
    if let Some(words) = words {
        (message.question, message.card, message.subject) = (None, None, None);
        message.metadata.clear();
        message.text.clone_from(&words.text);
        message.change = message.change.and_then(|change| match change {
            Changed::Edited { is_mention, .. } => {
                Some(Changed::Edited { text: words.text.clone(), is_mention })
            }
            _ => None,
        });
    }
    message
}

/// Asks about a message that came in.
///
/// # Errors
/// The runtime stops, and a module with it: nothing is decided about the message.
pub async fn screen(plugins: &Plugins, message: Screened) -> Result<Said> {
    let request = |words: Option<&Words>| Request::Screen { message: screened_with(message.clone(), words) };
    ask(plugins, Hook::Screen, "screen", request).await
}

/// Asks about a message that goes out.
///
/// # Errors
/// The runtime stops, and a module with it: nothing is decided about the message.
pub async fn review(plugins: &Plugins, message: Reviewed) -> Result<Said> {
    let request = |words: Option<&Words>| Request::Review { message: reviewed_with(message.clone(), words) };
    ask(plugins, Hook::Review, "review", request).await
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
        match judge(&link.manifest, hook, word, verdict, plugins.is_stopping())? {
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
fn judge(manifest: &Manifest, hook: Hook, word: &str, answer: Answer, stopping: bool) -> Result<Said> {
    let module = &manifest.name;
    let verdict = answer.map_err(|error| error.to_string());
    let failed = match verdict.and_then(|verdict| read(hook, verdict)) {
        Ok(Verdict::Refuse { reason, text }) => {
            let told = text.map(|text| Told { module: module.clone(), text });
            let reason = format!("the module {module} refused it: {reason}");
            return Ok(Said::Stop(Stop { reason, told }));
        }
        Ok(Verdict::Consume { reason }) => {
            let reason = format!("the module {module} took it: {reason}");
            return Ok(Said::Stop(Stop { reason, told: None }));
        }
        Ok(Verdict::Replace { text, quote }) => return Ok(Said::Pass(Some(Words { text, quote }))),
        Ok(Verdict::Allow | Verdict::Unknown) => return Ok(Said::Pass(None)),
        Err(_) if stopping => return Err(Error::Stopping),
        Err(why) => why,
    };
    let goes_on = manifest.on_failure == OnFailure::Open;
    tracing::warn!(module, hook = word, why = %failed, goes_on, "a module failed at its hook");
    Ok(if goes_on {
        Said::Pass(None)
    } else {
        let reason = format!("the module {module} failed at `{word}`, and lets nothing pass then");
        Said::Stop(Stop { reason, told: None })
    })
}

/// A verdict as it counts at a hook: its reason bounded, and without words that say nothing. An error says why it counts
/// as a failure.
///
/// # Errors
/// Its words are too long, it has no place at this hook, or this runtime does not know it.
pub fn read(hook: Hook, verdict: Verdict) -> std::result::Result<Verdict, String> {
    let words = match &verdict {
        Verdict::Replace { text, quote } => [Some(text), quote.as_ref()],
        Verdict::Refuse { text, .. } => [text.as_ref(), None],
        Verdict::Allow | Verdict::Consume { .. } | Verdict::Unknown => [None, None],
    };
    let longest = words.into_iter().flatten().map(String::len).max().unwrap_or_default();
    if longest > TEXT_BYTES_MAX {
        return Err(format!("its text has {longest} bytes, the limit is {TEXT_BYTES_MAX}"));
    }
    match verdict {
        Verdict::Refuse { reason, text } => {
            let text = text.filter(|text| !text.trim().is_empty());
            Ok(Verdict::Refuse { reason: bounded(&reason), text })
        }
        Verdict::Consume { reason } if hook == Hook::Screen => {
            Ok(Verdict::Consume { reason: bounded(&reason) })
        }
        Verdict::Consume { .. } => Err("only a message that comes in can be consumed".to_owned()),
        Verdict::Unknown => Err("this runtime does not know its verdict".to_owned()),
        Verdict::Allow | Verdict::Replace { .. } => Ok(verdict),
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
        let refuses = || Ok(Verdict::refuse("rude"));
        let failed = || Err(CallError::Plugin(PluginError::retry("it ends")));
        let (passes, refused) = (Ok(Said::Pass(None)), "the module m refused it: rude");
        let (closed, stopping) =
            ("the module m failed at `screen`, and lets nothing pass then", "the runtime is stopping");
        let stops = |why: &str| Ok(Said::Stop(Stop { reason: why.to_owned(), told: None }));
        for (on_failure, answer, stops_now, want) in [
            ("closed", Ok(Verdict::Allow), false, passes.clone()),
            ("closed", Ok(Verdict::Allow), true, passes.clone()),
            ("closed", refuses(), false, stops(refused)),
            ("open", refuses(), true, stops(refused)),
            ("closed", Ok(Verdict::consume("a command")), true, stops("the module m took it: a command")),
            ("closed", failed(), false, stops(closed)),
            ("open", failed(), false, passes),
            ("closed", failed(), true, Err(stopping.to_owned())),
            ("open", failed(), true, Err(stopping.to_owned())),
            ("open", Ok(Verdict::Unknown), true, Err(stopping.to_owned())),
        ] {
            let said = format!("{on_failure} {answer:?} {stops_now}");
            let told = judge(&module(on_failure), Hook::Screen, "screen", answer, stops_now);
            assert_eq!(told.map_err(|error| error.to_string()), want, "{said}");
        }
    }

    #[test]
    fn what_a_verdict_counts_as_at_its_hook() {
        let (most, more) = ("x".repeat(TEXT_BYTES_MAX), "x".repeat(TEXT_BYTES_MAX + 1));
        let long_reason = "r".repeat(2 * REASON_BYTES_MAX);
        let told = |text: &str| {
            let told = Told { module: "m".into(), text: text.into() };
            Ok(Said::Stop(Stop { reason: "the module m refused it: rude".into(), told: Some(told) }))
        };
        let stops = |reason: &str| Ok(Said::Stop(Stop { reason: reason.into(), told: None }));
        let words = |text: &str| Ok(Said::Pass(Some(Words { text: text.into(), quote: None })));
        let fails = |hook| stops(&format!("the module m failed at `{hook}`, and lets nothing pass then"));
        for (verdict, at_screen, at_review) in [
            (Verdict::replace("kind"), words("kind"), words("kind")),
            (Verdict::replace(&*more), fails("screen"), fails("review")),
            (Verdict::refuse_saying("rude", "be kind"), told("be kind"), told("be kind")),
            (Verdict::refuse_saying("rude", &*most), told(&most), told(&most)),
            (Verdict::refuse_saying("rude", &*more), fails("screen"), fails("review")),
            (
                Verdict::refuse_saying("rude", " \n"),
                stops("the module m refused it: rude"),
                stops("the module m refused it: rude"),
            ),
            (Verdict::consume("a\ncommand"), stops("the module m took it: a command"), fails("review")),
            (
                Verdict::consume(&*long_reason),
                stops(&format!("the module m took it: {}", &long_reason[..REASON_BYTES_MAX])),
                fails("review"),
            ),
            (Verdict::Unknown, fails("screen"), fails("review")),
        ] {
            for (hook, word, want) in
                [(Hook::Screen, "screen", at_screen), (Hook::Review, "review", at_review)]
            {
                let judged = judge(&module("closed"), hook, word, Ok(verdict.clone()), false);
                assert_eq!(judged.map_err(|error| error.to_string()), want, "{word}");
            }
        }
    }

    fn module(on_failure: &str) -> Manifest {
        let text = format!(
            r#"{{"name":"m","version":"1","kind":"module","abi":1,"api":"0.1","description":"d","hooks":["screen"],"on_failure":"{on_failure}"}}"#
        );
        Manifest::parse(text.as_bytes()).expect("it fits")
    }

    #[test]
    fn what_one_module_took_out_is_not_shown_to_the_next() {
        let address = serde_json::json!({ "channel_type": "x", "account": "main", "platform_id": "c" });
        let more = serde_json::json!({ "address": address, "text": "rude", "subject": "rude",
            "metadata": { "rude": "rude" }, "change": { "change": "edited", "text": "rude", "is_mention": false } });
        let with = |fields: serde_json::Value| {
            let mut whole = more.clone();
            whole.as_object_mut().expect("an object").extend(fields.as_object().expect("an object").clone());
            whole
        };
        let words = Words { text: "kind".into(), quote: None };
        let came = with(serde_json::json!({ "event_id": "e", "sender": { "handle": "u" },
            "command": { "name": "rude", "arguments": "rude" },
            "reply_to": { "id": "q", "sender": "Bob", "text": "rude" } }));
        let goes = with(serde_json::json!({ "id": "m", "session": "s", "card": { "fallback": "rude" },
            "question": { "title": "rude", "question": "rude", "options": [] } }));
        let came: Screened = serde_json::from_value(came).expect("a message");
        let goes: Reviewed = serde_json::from_value(goes).expect("a message");
        assert_eq!(screened_with(came.clone(), None), came);
        assert_eq!(reviewed_with(goes.clone(), None), goes);
        for shown in [
            format!("{:?}", screened_with(came, Some(&words))),
            format!("{:?}", reviewed_with(goes, Some(&words))),
        ] {
            assert!(!shown.contains("rude") && shown.matches("kind").count() == 2, "{shown}");
        }
    }
}
