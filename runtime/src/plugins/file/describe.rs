//! A plugin's description of its config: asked for once the file is opened, read as untrusted input, and held against
//! the config before an account is started.

use super::fit;
use crate::config::{self, Unresolved};
use crate::plugins::live::link::{CallError, Link};
use crate::plugins::live::siblings;
use crate::plugins::process::ProcessState;
use crate::plugins::{LoadCode, LoadError};
use serde_json::Value;
use std::path::Path;
use std::time::Duration;
use toml::Table;
use vestibule_plugin_api::wire::{self, DESCRIPTION_BYTES_MAX, Description, Request, SETUP_BYTES_MAX};
use vestibule_plugin_api::{Capability, Manifest, PluginError, Schema};
use vestibule_seam::{Frame, status};
use vestibule_session::words;

/// How long a plugin may take to describe itself.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// How much of a plugin's reason for not describing itself is kept, in characters.
const WORDS_MAX: usize = 300;

/// The call that asks a plugin to describe itself.
pub fn question() -> Frame {
    wire::frame(&Request::Describe)
}

/// Reads the answer: what the plugin says of its config and its platform. An older plugin does not know the verb, and
/// says nothing.
///
/// # Errors
/// The sentence after "Plugin FILE was not loaded:".
pub fn read(code: u32, frame: &Frame, manifest: &Manifest) -> Result<Description, LoadError> {
    let words = || wire::read::<String>(frame).unwrap_or_else(|_| "it did not say why".to_owned());
    let why = match code {
        status::UNSUPPORTED => return Ok(Description::default()),
        status::OK if frame.head.len() > DESCRIPTION_BYTES_MAX => {
            format!("its answer has {} bytes, the limit is {DESCRIPTION_BYTES_MAX}", frame.head.len())
        }
        status::OK => match wire::read::<Description>(frame) {
            Ok(description) => match description.config.as_ref().and_then(|schema| schema.fault(manifest)) {
                None => {
                    let config = description.config.map(|schema| with_listener(schema, manifest));
                    return Ok(Description { config, setup: description.setup.map(shown) });
                }
                Some(why) => why,
            },
            Err(why) => format!("its answer cannot be read: {why}"),
        },
        status::ERROR => {
            wire::read::<PluginError>(frame).map_or_else(|why| why, |error| error.reason().to_owned())
        }
        status::PANIC => format!("it panicked: {}", words()),
        status::CANCELLED => "it dropped the call".to_owned(),
        _ => format!("it answered with status {code}: {}", words()),
    };
    Err(refusal(&why))
}

/// The schema with the key that is the runtime's own, where accounts may listen for others.
fn with_listener(mut schema: Schema, manifest: &Manifest) -> Schema {
    if manifest.can(Capability::Listeners) {
        schema.keys.push(siblings::key());
    }
    schema
}

/// What a plugin says of its platform, as an operator is shown it.
fn shown(mut setup: String) -> String {
    setup.truncate(setup.floor_char_boundary(SETUP_BYTES_MAX));
    let line = |line: &str| words::line(line, usize::MAX);
    setup.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// The refusal of a plugin that does not answer within [`PATIENCE`].
pub fn late() -> LoadError {
    refusal(&format!("it did not answer within {} s", PATIENCE.as_secs()))
}

/// The refusal of a plugin whose process ended before it answered.
pub fn ended(why: &str) -> LoadError {
    refusal(&format!("its process ended: {why}"))
}

/// The sentence about a plugin that does not describe itself.
fn refusal(why: &str) -> LoadError {
    let why = words::line(why, WORDS_MAX);
    let words = format!("it does not describe its config ({why}). Its author can say more.");
    LoadError::new(LoadCode::Describe, words)
}

/// The schema of a plugin's config, if it has one. The plugin is asked once.
///
/// # Errors
/// The sentence after "Plugin FILE was not loaded:".
pub async fn schema(link: &Link) -> Result<Option<&Schema>, LoadError> {
    let ask = || async {
        let answer = match link.call(question(), PATIENCE).await {
            Ok((code, frame)) => read(code, &frame, &link.manifest).map(|description| description.config),
            Err(CallError::Late) => Err(late()),
            Err(error) => Err(refusal(&error.to_string())),
        };
        match link.tier.process_state() {
            Some(ProcessState::Restarting(why) | ProcessState::Quarantined(why)) if answer.is_err() => {
                Err(ended(&why))
            }
            _ => answer,
        }
    };
    Ok(link.described.get_or_try_init(ask).await?.as_ref())
}

/// An account's section as the plugin gets it. `file` is the config's, for the sentence.
///
/// # Errors
/// The section is not what the plugin describes, or a secret in it cannot be read. Says which, and what to do.
pub async fn settings(file: &Path, link: &Link, account: &str, section: &Table) -> Result<Value, String> {
    let schema = schema(link).await.map_err(|why| why.to_string())?;
    held_against(schema, &link.manifest, file, (account, section)).map_err(|why| why.to_string())
}

/// The same, once the plugin was asked.
///
/// # Errors
/// As [`settings`].
pub fn held_against(
    schema: Option<&Schema>,
    manifest: &Manifest,
    file: &Path,
    (account, section): (&str, &Table),
) -> Result<Value, Unresolved> {
    let (file, place) = (file.display(), fit::place(manifest, account));
    if let Some(why) = schema.and_then(|schema| fit::fault(schema, &manifest.name, section)) {
        return Err(Unresolved::Wrong(format!("{file}: {place} {why}")));
    }
    config::resolve(section, &manifest.secrets).map_err(|error| match error {
        Unresolved::Unset(why) => Unresolved::Unset(format!("{file}: {place}: {why}")),
        Unresolved::Wrong(why) => Unresolved::Wrong(format!("{file}: {place}: {why}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_platform_needs_is_told_in_plain_lines() {
        for (setup, want) in [
            ("1. Make an app\n2. {webhook_url}\n", "1. Make an app\n2. {webhook_url}"),
            ("\u{1b}[2J\u{202e}a\rb\r\nc\u{9b}1m", "\u{fffd}[2J\u{fffd}a b\nc\u{fffd}1m"),
        ] {
            assert_eq!(shown(setup.to_owned()), want);
        }
        assert_eq!(shown("\u{20ac}".repeat(SETUP_BYTES_MAX)).len(), SETUP_BYTES_MAX / 3 * 3);
    }

    #[test]
    fn a_strangers_answer_is_a_schema_or_a_refusal() {
        let manifest = Manifest::parse(
            br#"{"name":"x","version":"1","kind":"channel","abi":1,"api":"0.1","channel_type":"x"}"#,
        )
        .expect("it is valid");
        let keys: Vec<String> = (0..1_000_000).map(|n| format!(r#"{{"key":"k{n}","type":"any"}}"#)).collect();
        let many = format!(r#"{{"config":{{"keys":[{}]}}}}"#, keys.join(","));
        let deep = |levels: usize| {
            let value = format!("{}{}", "[".repeat(levels), "]".repeat(levels));
            format!(r#"{{"config":{{"keys":[{{"key":"k","type":"any","default":{value}}}]}}}}"#)
        };
        let (far, near) = (deep(100_000), deep(100));
        let named = r#"{"config":{"keys":[{"key":"k","type":"string"}]},"of_a_newer_level":7}"#;
        for (code, head, want) in [
            (status::UNSUPPORTED, "\"older\"", Ok(None)),
            (status::OK, "{}", Ok(None)),
            (status::OK, r#"{"config":{}}"#, Ok(Some(0))),
            (status::OK, named, Ok(Some(1))),
            (status::OK, &near, Ok(Some(1))),
            (status::OK, &many, Err("bytes, the limit is 262144")),
            (status::OK, &far, Err("cannot be read: recursion limit")),
            (status::OK, "{{{", Err("cannot be read")),
            (status::OK, "", Err("cannot be read")),
            (status::OK, r#"{"config":{"keys":7}}"#, Err("cannot be read")),
            (
                status::OK,
                r#"{"config":{"keys":[{"key":"\n","type":"any"}]}}"#,
                Err("its key `\\n` is not made"),
            ),
            (status::ERROR, r#"{"error":"broken","reason":"told\u001b to"}"#, Err("(told\u{fffd} to)")),
            (status::PANIC, r#""oh""#, Err("it panicked: oh")),
            (status::CANCELLED, "", Err("dropped the call")),
            (status::BAD_FRAME, r#""what?""#, Err("status 5: what?")),
            (99, "\u{fffd}", Err("status 99: it did not say why")),
        ] {
            let head_said: String = head.chars().take(80).collect();
            let told = read(code, &Frame::from_head(head.as_bytes().to_vec()), &manifest);
            match (told.map(|told| told.config.map(|schema| schema.keys.len())), want) {
                (Ok(told), Ok(want)) => assert_eq!(told, want, "{head_said}"),
                (Err(told), Err(want)) => {
                    assert_eq!(told.code, LoadCode::Describe);
                    assert!(told.words.contains(want), "{head_said}: {told}");
                    assert!(told.words.len() < 600 && !told.words.contains(char::is_control), "{told}");
                }
                (told, want) => panic!("{code} {head_said}: {told:?}, not {want:?}"),
            }
        }
    }
}
