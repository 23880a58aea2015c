//! The life of an account: started, stopped while busy, started again.

use crate::peer;
use crate::report::Outcome;
use crate::trial::{Said, Trial};
use serde_json::{Value, json};
use std::time::Duration;

/// How many calls are under way when it is stopped.
const BUSY: u32 = 32;
/// A key that no plugin has.
const TYPO: &str = "conform_no_such_key";

/// Runs the checks up to a started account.
pub async fn start(trial: &mut Trial) {
    trial.check("before the start", before).await;
    trial.check("config of another shape", shape).await;
    trial.check("config with a typo", typo).await;
    let mut live = false;
    let mut start = async |trial: &Trial| match trial.start(trial.config.clone()).await {
        Said::Done(_) => {
            live = true;
            Ok(Outcome::Ok("its account starts".into()))
        }
        said => Err(format!(
            "its account does not start ({}): give it a config with --config or --set",
            said.words()?
        )),
    };
    if trial.place.choice.has("start") {
        trial.check("start", start).await;
    } else {
        trial.not_started = start(trial).await.err();
    }
    trial.live = live;
}

async fn before(trial: &Trial) -> Result<Outcome, String> {
    match trial.work("early", "too early").await {
        Said::Done(()) => Err("it did its work for an account that was never started".into()),
        said => Ok(Outcome::Ok(said.words()?)),
    }
}

async fn shape(trial: &Trial) -> Result<Outcome, String> {
    for config in [Value::Null, json!(7), json!("words"), json!({ TYPO: { "deep": [1, null] } })] {
        if let Said::Bug(why) = trial.start(config.clone()).await {
            return Err(format!("config {config}: {why}"));
        }
    }
    trial.stop().await.words()?;
    Ok(Outcome::Ok("none of 4 ends in a panic".into()))
}

async fn typo(trial: &Trial) -> Result<Outcome, String> {
    if trial.schema.as_ref().is_some_and(|schema| schema.open) {
        return Ok(Outcome::Skipped("its schema says that it takes other keys".into()));
    }
    let mut config = trial.config.clone();
    config[TYPO] = json!(true);
    let said = trial.start(config).await;
    let words = said.words()?;
    if let Said::Done(_) = said {
        trial.stop().await.words()?;
        return Err(
            "it takes a key that it does not have: make its config with config!, or derive Deserialize with \
                    deny_unknown_fields, so that an operator's typo is told"
                .into(),
        );
    }
    if !words.contains(TYPO) {
        return Err(format!("its answer does not name the unknown key: {words}"));
    }
    Ok(Outcome::Ok("it names the key".into()))
}

/// Runs the checks from a busy account to its end.
pub async fn end(trial: &mut Trial) {
    trial.check_live("stop while busy", stop_while_busy).await;
    trial.check_live("silence after the stop", silence).await;
    trial
        .check_live("restart", async |trial| {
            // The account is stopped already, unless that check was left out.
            trial.stop().await.words()?;
            let config = trial.config.clone();
            match trial.start(config).await {
                Said::Done(_) => {}
                said => {
                    return Err(format!(
                        "its account does not start again after a stop ({}): stop() must end its tasks and give \
                         back what they hold, before it returns",
                        said.words()?
                    ));
                }
            }
            let _ = peer::meet(trial).await;
            let words = trial.work("restart", "after the restart").await.words()?;
            Ok(Outcome::Ok(format!("it starts again; a call then: {words}")))
        })
        .await;
    crash(trial).await;
    trial.check("what it said", said).await;
    trial.check("secrets", secrets).await;
}

async fn stop_while_busy(trial: &Trial) -> Result<Outcome, String> {
    let begun: Vec<_> = (0..BUSY).map(|number| trial.begin_work("busy", number, "busy")).collect();
    match trial.stop().await {
        Said::Done(_) => {}
        said => return Err(format!("stop was answered {}", said.words()?)),
    }
    let mut done = 0;
    for call in begun {
        match trial.hear_work(call).await {
            Said::Done(()) => done += 1,
            said => drop(said.words()?),
        }
    }
    Ok(Outcome::Ok(format!("it stops; of {BUSY} calls under way all were answered, {done} of them done")))
}

async fn silence(trial: &Trial) -> Result<Outcome, String> {
    // A second stop is harmless, and the account may have been started anew after a check that hung.
    trial.stop().await.words()?;
    let before = trial.harness().events();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let after = trial.harness().events();
    if after > before {
        return Err(format!(
            "it handed over {} events after it was stopped: stop() must end its tasks",
            after - before
        ));
    }
    match trial.work("late", "too late").await {
        Said::Done(()) => Err("it does its work for an account that is stopped".into()),
        said => Ok(Outcome::Ok(format!("it says nothing more; a call then: {}", said.words()?))),
    }
}

/// Its process is killed, and the next one starts the account.
async fn crash(trial: &mut Trial) {
    if !trial.live {
        return trial.skip("start after a crash");
    }
    let outcome = match trial.again().await {
        Ok(false) => Ok(Outcome::Skipped("in this tier its crash is the runtime's".into())),
        Ok(true) => match trial.start(trial.config.clone()).await {
            Said::Done(_) => {
                Ok(Outcome::Ok("its process is killed, and the next one starts the account".into()))
            }
            said => said.words().and_then(|words| {
                Err(format!("after its process was killed its account does not start again ({words})"))
            }),
        },
        Err(why) => Err(why),
    };
    trial.check("start after a crash", async |_| outcome).await;
}

async fn said(trial: &Trial) -> Result<Outcome, String> {
    if let Some(why) = trial.runtime.faults().first() {
        return Err(format!("it handed over what the runtime refuses: {why}"));
    }
    let (messages, ignored) = (trial.runtime.messages().len(), trial.runtime.ignored().len());
    let lines = trial.runtime.lines().len();
    Ok(Outcome::Ok(format!(
        "{messages} messages, {ignored} events left out and {lines} lines of log, all well formed"
    )))
}

async fn secrets(trial: &Trial) -> Result<Outcome, String> {
    if trial.hidden.is_empty() {
        return Ok(Outcome::Skipped("the config sets no secret that its manifest names".into()));
    }
    let reasons = trial.reasons.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let lines = trial.runtime.lines();
    for (key, value) in &trial.hidden {
        if lines.iter().any(|(_, line)| line.contains(value)) {
            return Err(format!("it wrote the secret `{key}` into the log"));
        }
        if reasons.iter().any(|reason| reason.contains(value)) {
            return Err(format!(
                "it put the secret `{key}` into an error's reason, which is logged and shown"
            ));
        }
    }
    Ok(Outcome::Ok(format!("none of {} stands in a log line or an error", trial.hidden.len())))
}
