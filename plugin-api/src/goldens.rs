//! The frames of every level of the vocabulary, one folder a level. Frames are added, never changed.

use crate::wire::{Description, Effects, Empty, Event, Found, Request, StateValue, WebhookHead};
use crate::{
    Accepted, Answered, Capability, Handover, Known, Manifest, PluginError, PluginKind, Receipt, Verdict,
    WebhookScheme,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The files of this name, one of each level.
fn levels(name: &str) -> Vec<(PathBuf, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("goldens");
    let levels = std::fs::read_dir(folder).expect("there are goldens").flatten();
    let files: Vec<_> = levels.map(|level| level.path().join(name)).collect();
    assert!(files.iter().any(|file| file.ends_with(format!("0.1/{name}"))), "{files:?}");
    files
        .into_iter()
        .map(|file| (file.clone(), std::fs::read_to_string(&file).expect("it is there")))
        .collect()
}

/// Today's words read this head, lose nothing of it, and write it again as it was; with what a newer
/// side adds it means the same.
fn both_ways<T: Serialize + DeserializeOwned + PartialEq>(head: &Value) -> Result<(), String> {
    let read: T = serde_json::from_value(head.clone()).map_err(|why| why.to_string())?;
    let written = serde_json::to_value(&read).map_err(|why| why.to_string())?;
    if &written != head {
        return Err(format!("it is written as {written}"));
    }
    let mut more = head.clone();
    more["of_a_newer_level"] = Value::from(7);
    match serde_json::from_value::<T>(more) {
        Ok(again) if again == read => Ok(()),
        _ => Err("with one more field it means something else".to_owned()),
    }
}

#[test]
fn the_frames_of_every_level_mean_what_they_meant() {
    for (file, text) in levels("frames.json") {
        let kinds: BTreeMap<String, Vec<Value>> = serde_json::from_str(&text).expect("JSON");
        for (kind, heads) in kinds {
            for head in heads {
                let same = match kind.as_str() {
                    "request" => both_ways::<Request>(&head),
                    "event" => both_ways::<Event>(&head),
                    "effects" => both_ways::<Effects>(&head),
                    "verdict" => both_ways::<Verdict>(&head),
                    "state_value" => both_ways::<StateValue>(&head),
                    "empty" => both_ways::<Empty>(&head),
                    "receipt" => both_ways::<Receipt>(&head),
                    "found" => both_ways::<Found>(&head),
                    "webhook_answer" => both_ways::<WebhookHead>(&head),
                    "known" => both_ways::<Known>(&head),
                    "accepted" => both_ways::<Accepted>(&head),
                    "description" => both_ways::<Description>(&head),
                    "answered" => both_ways::<Answered>(&head),
                    "error" => both_ways::<PluginError>(&head),
                    _ => Err("nobody reads this kind of frame".to_owned()),
                };
                same.unwrap_or_else(|why| panic!("{}: {kind} {head}: {why}", file.display()));
            }
        }
    }
}

/// Every word of the vocabulary is in a golden: who adds one, adds it there, too.
#[test]
fn no_verb_is_without_its_golden() {
    let text: String = levels("frames.json").into_iter().map(|(_, text)| text).collect();
    let source = [include_str!("wire.rs"), include_str!("error.rs")].concat();
    let message = include_str!("message.rs");
    let accepted = message.split("pub enum Accepted").nth(1).and_then(|rest| rest.split("\n}").next());
    let mut seen = 0;
    let enums = ["pub enum Request", "pub enum Event", "pub enum PluginError"].map(|name| {
        source
            .split(name)
            .nth(1)
            .and_then(|rest| rest.split("\n}").next())
            .unwrap_or_else(|| panic!("{name}"))
    });
    for body in enums.into_iter().chain(accepted) {
        let variants =
            body.lines().filter(|line| line.starts_with("    ") && line[4..].starts_with(char::is_uppercase));
        for variant in variants {
            let name: String = variant.trim().chars().take_while(|c| c.is_alphanumeric()).collect();
            let snake = name.chars().enumerate().fold(String::new(), |word, (at, c)| {
                let gap = if at > 0 && c.is_uppercase() { "_" } else { "" };
                word + gap + &c.to_lowercase().to_string()
            });
            assert!(
                snake == "unknown" || text.contains(&format!(": \"{snake}\"")),
                "`{snake}` has no golden"
            );
            seen += 1;
        }
    }
    assert!(seen >= 16, "{seen} words");
}

#[test]
fn the_manifests_of_every_level_mean_what_they_meant() {
    for (file, text) in levels("manifests.json") {
        for manifest in serde_json::from_str::<Vec<Value>>(&text).expect("JSON") {
            let read = Manifest::parse(manifest.to_string().as_bytes());
            let read = read.unwrap_or_else(|why| panic!("{}: {why}", file.display()));
            let written = serde_json::to_value(&read).expect("it serialises");
            for (key, value) in manifest.as_object().expect("an object") {
                assert_eq!(&written[key], value, "{}: {key}", file.display());
            }
            assert!(!read.can(Capability::Unknown) && read.kind != PluginKind::Unknown);
            assert!(read.webhook != WebhookScheme::Unknown && read.handover != Handover::Unknown);
        }
    }
}
