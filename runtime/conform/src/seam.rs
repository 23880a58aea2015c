//! The checks of every plugin, whatever its platform: its manifest, and frames that no runtime sends.

use crate::report::Outcome;
use crate::trial::{Said, Trial};
use serde_json::Value;
use vestibule_plugin_api::wire::{self, Request};
use vestibule_plugin_api::{
    API_LEVEL, Attachment, Blob, Capability, Hook, Manifest, OnFailure, PluginKind, WebhookScheme,
};
use vestibule_seam::Frame;

/// Runs these checks.
pub async fn examine(trial: &mut Trial) {
    trial.check("manifest", async |trial| manifest(trial.manifest())).await;
    trial.check("unknown verb", unknown_verb).await;
    trial.check("damaged frames", damaged).await;
}

/// Looks for words in the manifest that the loader lets pass and that do not fit together. Pure.
fn manifest(manifest: &Manifest) -> Result<Outcome, String> {
    let words = match manifest.kind {
        PluginKind::Module => of_module(manifest)?,
        PluginKind::Channel | PluginKind::Unknown => of_channel(manifest)?,
    };
    if manifest.description.trim().is_empty() {
        return Err("its description is empty: `vestibule plugin list` and its users need a few words".into());
    }
    if manifest.version.trim().is_empty() {
        return Err("it has no version".into());
    }
    Ok(Outcome::Ok(words))
}

fn of_channel(manifest: &Manifest) -> Result<String, String> {
    let takes_webhooks = manifest.can(Capability::Webhook);
    let unknown = manifest.capabilities.contains(&Capability::Unknown);
    if (unknown || manifest.webhook == WebhookScheme::Unknown) && manifest.api == API_LEVEL {
        return Err(format!(
            "one of its capabilities, or its webhook scheme, is no word of vocabulary {API_LEVEL}: look for a typo in \
             export_channel!"
        ));
    }
    if takes_webhooks && manifest.webhook == WebhookScheme::None {
        return Err(
            "it lists `webhook` and names no scheme to verify by: without one no request reaches it".into()
        );
    }
    if !takes_webhooks && manifest.webhook != WebhookScheme::None {
        return Err("it names a scheme for webhooks and does not list the capability `webhook`".into());
    }
    let key = manifest.webhook_secret_key();
    let is_secret = manifest.webhook != WebhookScheme::Ed25519;
    if takes_webhooks && is_secret && !manifest.secrets.iter().any(|secret| secret == key) {
        let key = key.escape_debug();
        return Err(format!("its webhooks are verified with `{key}`, which is not among its secrets"));
    }
    Ok(match manifest.capabilities.len() {
        0 => "it lists no capabilities".to_owned(),
        _ => format!("its capabilities are {}", words(&manifest.capabilities)),
    })
}

fn of_module(manifest: &Manifest) -> Result<String, String> {
    if manifest.hooks.is_empty() {
        return Err("it lists no hook, so it is never asked: name them in export_module!".into());
    }
    let unknown = manifest.hooks.contains(&Hook::Unknown);
    if (unknown || manifest.on_failure == OnFailure::Unknown) && manifest.api == API_LEVEL {
        return Err(format!(
            "one of its hooks, or its on_failure, is no word of vocabulary {API_LEVEL}: look for a typo in \
             export_module!"
        ));
    }
    Ok(format!("its hooks are {}", words(&manifest.hooks)))
}

/// These words as the vocabulary spells them.
fn words<T: serde::Serialize>(items: &[T]) -> String {
    let word = |item| serde_json::to_value(item).ok()?.as_str().map(str::to_owned);
    items.iter().filter_map(word).collect::<Vec<_>>().join(", ")
}

async fn unknown_verb(trial: &Trial) -> Result<Outcome, String> {
    let verb = Frame::from_head(br#"{"verb":"conform-teleport","to":{"x":1}}"#.to_vec());
    match trial.ask::<Value>(verb).await {
        Said::Unsupported(_) => Ok(Outcome::Ok("it answers `unsupported` to a verb it does not know".into())),
        said => Err(format!("it should answer `unsupported` and answered {}", said.words()?)),
    }
}

/// Sends frames that no runtime sends: the plugin must answer each, and do none.
async fn damaged(trial: &Trial) -> Result<Outcome, String> {
    let half = wire::frame(&Request::Deliver { message: trial.message("msg-conform-damaged", "text") });
    let half = Frame::from_head(half.head.into_iter().take(40).collect());
    let mut missing = trial.message("msg-conform-damaged", "text");
    let bytes = Some(Blob::from(vec![1]));
    missing.attachments = vec![Attachment { name: "a".into(), bytes, ..Attachment::default() }];
    let mut missing = wire::frame_with_blobs(Request::Deliver { message: missing });
    missing.blobs.clear();
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for (what, frame) in [
        ("an empty frame", Frame::default()),
        ("a frame that is not JSON", Frame::from_head(b"\xff\x00not json".to_vec())),
        ("half a frame", half),
        ("a frame that names a blob which is not there", missing),
        ("a frame 100,000 levels deep", Frame::from_head(deep.into_bytes())),
    ] {
        match trial.ask::<Value>(frame).await {
            Said::Done(_) => return Err(format!("it did what {what} asks for")),
            Said::Bug(why) => return Err(format!("{what}: {why}")),
            _ => {}
        }
    }
    Ok(Outcome::Ok("each of 5 is answered with an error".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_must_fit_together() {
        for (more, want) in [
            ("", "no capabilities"),
            (r#","capabilities":["threads","attachments"]"#, "threads, attachments"),
            (r#","capabilities":["thread"]"#, "look for a typo"),
            (r#","capabilities":["webhook"]"#, "names no scheme"),
            (r#","webhook":"github_sha256""#, "does not list"),
            (r#","capabilities":["webhook"],"webhook":"github_sha256""#, "not among its secrets"),
            (r#","capabilities":["webhook"],"webhook":"github_sha257""#, "look for a typo"),
            (
                r#","capabilities":["webhook"],"webhook":"github_sha256","secrets":["webhook_secret"]"#,
                "its capabilities are webhook",
            ),
            (
                r#","capabilities":["webhook"],"webhook":"hmac","hmac":{"header":"x"},"secrets":["webhook_secret"]"#,
                "its capabilities are webhook",
            ),
            (
                r#","capabilities":["webhook"],"webhook":"hmac","hmac":{"header":"x","key":"signing_key"},"secrets":["signing_key"]"#,
                "its capabilities are webhook",
            ),
        ] {
            let told = told(&format!(r#""kind":"channel","channel_type":"x"{more}"#));
            assert!(told.contains(want), "{more}: {told}");
        }
        for (more, want) in [
            (r#","stations":["review","screen"]"#, "its hooks are review, screen"),
            ("", "it lists no hook"),
            (r#","stations":["screem"]"#, "look for a typo"),
            (r#","stations":["screen"],"on_failure":"opne""#, "look for a typo"),
        ] {
            let told = told(&format!(r#""kind":"module"{more}"#));
            assert!(told.contains(want), "{more}: {told}");
        }
    }

    fn told(words: &str) -> String {
        let text =
            format!(r#"{{"name":"x","version":"1","description":"d","abi":1,"api":"{API_LEVEL}",{words}}}"#);
        match manifest(&Manifest::parse(text.as_bytes()).expect("it reads")) {
            Ok(Outcome::Ok(words)) | Err(words) => words,
            other => panic!("{other:?}"),
        }
    }
}
