//! How a module answers. An error of the vocabulary is a good answer; an answer that the runtime
//! would refuse, a panic and a lost call never are.

use crate::hooks::{Question, ROWS, listed};
use crate::report::Outcome;
use crate::trial::{Said, Trial};
use crate::work::{ODD_TEXTS, long_text};
use serde_json::{Value, json};
use vestibule_plugin_api::wire::{self, Request};
use vestibule_plugin_api::{ATTACHMENTS_MAX, WebhookRequest};
use vestibule_seam::Frame;

/// Runs these checks.
pub async fn examine(trial: &mut Trial) {
    trial
        .check_live("text", async |trial| each(trial, &["Hello from `vestibule plugin conform`."]).await)
        .await;
    trial.check_live("same question again", again).await;
    trial.check_live("empty text", async |trial| each(trial, &[""]).await).await;
    trial.check_live("long text", async |trial| each(trial, &[&long_text()]).await).await;
    trial.check_live("odd text", async |trial| each(trial, &ODD_TEXTS).await).await;
    trial.check_live("unknown fields", unknown_fields).await;
    trial.check_live("files", files).await;
    trial.check_live("other hooks", other_hooks).await;
    trial.check_live("what channels do", of_channels).await;
}

/// Asks each case at every hook that the module lists; returns its answers. When one fails the others are
/// asked all the same, unless the plugin's process has died or hangs.
async fn all(
    trial: &Trial,
    question: &Question<'_>,
    change: fn(&mut Value),
) -> Result<Vec<(&'static str, Vec<String>)>, String> {
    let (mut found, mut failed) = (Vec::new(), Vec::new());
    for row in listed(trial.manifest()) {
        let mut words = Vec::new();
        for request in (row.ask)(trial, question) {
            let mut request = serde_json::to_value(request).unwrap_or_default();
            request.as_object_mut().into_iter().flat_map(|request| request.values_mut()).for_each(change);
            let frame = Frame::from_head(request.to_string().into_bytes());
            match row.words(trial.ask(frame).await) {
                Ok(said) => words.push(said),
                Err(why) => {
                    failed.push(format!("{}: {why}", row.verb));
                    break;
                }
            }
        }
        found.push((row.verb, words));
        if trial.is_gone() {
            break;
        }
    }
    if failed.is_empty() { Ok(found) } else { Err(failed.join("; ")) }
}

/// The answers in words, each named once: `screen: allow, refuse; review: allow`.
fn summary(found: Vec<(&'static str, Vec<String>)>) -> Outcome {
    let line = |(verb, mut words): (&str, Vec<String>)| {
        words.dedup();
        format!("{verb}: {}", words.join(", "))
    };
    Outcome::Ok(found.into_iter().map(line).collect::<Vec<_>>().join("; "))
}

async fn each(trial: &Trial, texts: &[&str]) -> Result<Outcome, String> {
    let mut last = vec![];
    for (number, text) in texts.iter().enumerate() {
        let question = Question { id: &format!("msg-conform-text-{number}"), text, files: &[] };
        let shown: String = text.chars().take(20).collect();
        last = all(trial, &question, |_| {}).await.map_err(|why| {
            if texts.len() > 1 { format!("`{}`: {why}", shown.escape_debug()) } else { why }
        })?;
    }
    Ok(summary(last))
}

/// Asks each case several times in a row: a module that answers every other time differently would be in step again
/// after all of them. An error may come and go at any time.
async fn again(trial: &Trial) -> Result<Outcome, String> {
    let question = Question { id: "msg-conform-again", text: "Asked again, as after a crash.", files: &[] };
    for row in listed(trial.manifest()) {
        for request in (row.ask)(trial, &question) {
            let ask = async || {
                let said = trial.ask(wire::frame(&request)).await;
                let done = matches!(said, Said::Done(_));
                let words = row.words(said).map_err(|why| format!("{}: {why}", row.verb))?;
                Ok::<_, String>(done.then_some(words))
            };
            let first = ask().await?;
            for _ in 0..2 {
                if let (Some(first), Some(then)) = (&first, ask().await?)
                    && *first != then
                {
                    return Err(format!(
                        "{}: one question was answered `{first}` and then `{then}`: the runtime asks again after a \
                         crash or a retry, so keep nothing that counts calls",
                        row.verb
                    ));
                }
            }
        }
    }
    Ok(Outcome::Ok("each case is asked 3 times, and answered in the same way".into()))
}

async fn unknown_fields(trial: &Trial) -> Result<Outcome, String> {
    let question = Question { id: "msg-conform-fields", text: "From a newer runtime.", files: &[] };
    let newer = |about: &mut Value| {
        let Some(fields) = about.as_object_mut() else { return };
        for part in fields.values_mut().filter_map(Value::as_object_mut) {
            part.insert("conform".into(), json!("new"));
        }
        fields.insert("conform".into(), json!({ "new": [1, 2] }));
    };
    Ok(summary(all(trial, &question, newer).await?))
}

async fn files(trial: &Trial) -> Result<Outcome, String> {
    let odd =
        ["report.pdf", "", "../../etc/passwd", "\u{202e}fdp.exe", "a\nb"].map(|name| vec![name.to_owned()]);
    let many = (0..ATTACHMENTS_MAX).map(|number| format!("file-{number}.txt")).collect();
    let mut last = vec![];
    for files in odd.into_iter().chain([many]) {
        let question = Question { id: "msg-conform-files", text: "with files", files: &files };
        last = all(trial, &question, |_| {}).await.map_err(|why| match &files[..] {
            [name] => format!("a file named `{}`: {why}", name.escape_debug()),
            many => format!("{} files: {why}", many.len()),
        })?;
    }
    Ok(summary(last))
}

/// The runtime never asks at a hook that the module does not list: an answer there means that its export lacks a line.
async fn other_hooks(trial: &Trial) -> Result<Outcome, String> {
    let mut silent = Vec::new();
    for row in ROWS.iter().filter(|row| !trial.manifest().listens(row.hook)) {
        let request = row.question(trial, "msg-conform-other", "text");
        match trial.ask::<Value>(wire::frame(&request)).await {
            Said::Unsupported(_) => silent.push(row.verb),
            Said::Done(_) => {
                return Err(format!(
                    "it answers `{0}` and does not list it, so the runtime never asks it there: add \"{0}\" to its \
                     hooks",
                    row.verb
                ));
            }
            said => {
                return Err(format!(
                    "{}: it should answer `unsupported` and answered {}",
                    row.verb,
                    said.words()?
                ));
            }
        }
    }
    Ok(Outcome::Ok(match silent.len() {
        0 => "it lists every hook".into(),
        _ => format!("it says `unsupported` to {}, which it does not list", silent.join(", ")),
    }))
}

async fn of_channels(trial: &Trial) -> Result<Outcome, String> {
    let message = || trial.message("msg-conform-channel", "text");
    let webhook =
        WebhookRequest { method: "POST".into(), query: String::new(), headers: vec![], body: b"{}".to_vec() };
    for (verb, said) in [
        ("deliver", trial.ask::<Value>(wire::frame(&Request::Deliver { message: message() })).await),
        ("find", trial.ask::<Value>(wire::frame(&Request::Find { message: message() })).await),
        ("webhook", trial.ask::<Value>(wire::webhook_frame(&trial.place.account, webhook)).await),
    ] {
        match said {
            Said::Unsupported(_) => {}
            said => {
                return Err(format!("{verb}: it should answer `unsupported` and answered {}", said.words()?));
            }
        }
    }
    Ok(Outcome::Ok("it says `unsupported` to `deliver`, `find` and `webhook`".into()))
}
