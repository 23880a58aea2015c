//! The frames of every level of the vocabulary, one folder a level. Frames are added, never changed.

use crate::wire::{Description, Effects, Empty, Event, Fetched, Found, Request, StateValue, WebhookHead};
use crate::{
    Accepted, Answered, Capability, Conversation, Handover, HistoryPage, Known, LinkState, Manifest,
    PluginError, PluginKind, Receipt, Sender, StatePage, Verdict, WebhookScheme,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
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
                    "state_page" => both_ways::<StatePage>(&head),
                    "state_value" => both_ways::<StateValue>(&head),
                    "empty" => both_ways::<Empty>(&head),
                    "receipt" => both_ways::<Receipt>(&head),
                    "found" => both_ways::<Found>(&head),
                    "webhook_answer" => both_ways::<WebhookHead>(&head),
                    "conversation" => both_ways::<Conversation>(&head),
                    "sender" => both_ways::<Sender>(&head),
                    "history_page" => both_ways::<HistoryPage>(&head),
                    "link_state" => both_ways::<LinkState>(&head),
                    "fetched" => both_ways::<Fetched>(&head),
                    "known" => both_ways::<Known>(&head),
                    "accepted" => both_ways::<Accepted>(&head),
                    "description" => both_ways::<Description>(&head),
                    "answered" => both_ways::<Answered>(&head),
                    "error" => both_ways::<PluginError>(&head),
                    _ => Err("this test does not know the kind of frame".to_owned()),
                };
                same.unwrap_or_else(|why| panic!("{}: {kind} {head}: {why}", file.display()));
            }
        }
    }
}

/// Where the words of each enum that crosses stand: the file of the goldens, the kind of frame, the key.
const WORDS: [(&str, &str, &str, &str); 23] = [
    ("Request", "frames.json", "request", "verb"),
    ("Event", "frames.json", "event", "verb"),
    ("Content", "frames.json", "request", "kind"),
    ("Changed", "frames.json", "event", "change"),
    ("ChatChange", "frames.json", "event", "change"),
    ("Fate", "frames.json", "event", "fate"),
    ("Health", "frames.json", "event", "state"),
    ("PluginError", "frames.json", "error", "error"),
    ("Accepted", "frames.json", "accepted", "outcome"),
    ("Answered", "frames.json", "answered", "outcome"),
    ("Verdict", "frames.json", "verdict", "verdict"),
    ("Effect", "frames.json", "effects", "effect"),
    ("AgentPart", "frames.json", "effects", "part"),
    ("Decision", "frames.json", "request", "decision"),
    ("KeyType", "frames.json", "description", "type"),
    ("LinkState", "frames.json", "link_state", "link"),
    ("TextUnit", "manifests.json", "", "unit"),
    ("PluginKind", "manifests.json", "", "kind"),
    ("Capability", "manifests.json", "", "capabilities"),
    ("Hook", "manifests.json", "", "stations"),
    ("OnFailure", "manifests.json", "", "on_failure"),
    ("WebhookScheme", "manifests.json", "", "webhook"),
    ("Handover", "manifests.json", "", "handover"),
];

/// Notes the words under this key, however deep, alone or in a list.
fn words_under(key: &str, value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| words_under(key, item, found)),
        Value::Object(fields) => {
            for (name, value) in fields {
                let listed = value.as_array().into_iter().flatten().chain([value]);
                if name == key {
                    found.extend(listed.filter_map(Value::as_str).map(str::to_owned));
                }
                words_under(key, value, found);
            }
        }
        _ => {}
    }
}

/// The public enums of the vocabulary in this source, each with its words as they are written in a frame.
fn enums(source: &str) -> Vec<(String, Vec<String>)> {
    let name = |text: &str| text.chars().take_while(|c| c.is_alphanumeric()).collect::<String>();
    let snake = |name: String| {
        name.chars().enumerate().fold(String::new(), |word, (at, c)| {
            let gap = if at > 0 && c.is_uppercase() { "_" } else { "" };
            word + gap + &c.to_lowercase().to_string()
        })
    };
    let is_word =
        |line: &&str| line.strip_prefix("    ").is_some_and(|rest| rest.starts_with(char::is_uppercase));
    let each = source.split("\npub enum ").skip(1).map(|rest| {
        let body = rest.split("\n}").next().unwrap_or_default();
        (name(rest), body.lines().filter(is_word).map(|line| snake(name(line.trim()))).collect())
    });
    each.collect()
}

/// Every word of the vocabulary is in a golden: an author who adds a word adds it there, too. And every enum has a
/// word for what a newer side says.
#[test]
fn no_word_is_without_its_golden() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let sources = std::fs::read_dir(folder).expect("it is there").flatten().map(|entry| entry.path());
    // The types that authors test with never cross, nor do the classes from which they choose a word.
    let inside = |file: &PathBuf| file.ends_with("testing.rs") || file.ends_with("failure.rs");
    let sources = sources.filter(|file| file.is_file() && !inside(file));
    let mut seen = BTreeSet::new();
    for (name, words) in sources.flat_map(|file| enums(&std::fs::read_to_string(file).expect("text"))) {
        let place = WORDS.iter().find(|(of, ..)| *of == name);
        let (_, file, kind, key) = place.unwrap_or_else(|| panic!("where do the words of `{name}` stand?"));
        let mut found = BTreeSet::new();
        for (_, text) in levels(file) {
            let all: Value = serde_json::from_str(&text).expect("JSON");
            words_under(key, if kind.is_empty() { &all } else { &all[kind] }, &mut found);
        }
        assert!(words.iter().any(|word| word == "unknown"), "`{name}` cannot read a newer word");
        for word in words.iter().filter(|word| *word != "unknown") {
            assert!(found.contains(word), "`{word}` of `{name}` has no golden in {file}");
        }
        seen.insert(name);
    }
    assert_eq!(seen.len(), WORDS.len(), "all of them are found: {seen:?}");
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
