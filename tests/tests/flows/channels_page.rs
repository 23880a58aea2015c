//! `docs/channels.md`: what each channel that is built in does, made of its manifest, of what it says of its config, of what
//! conform skips, and of the flows that show it. A flow says which cells it shows in a line before it:
//! `// cells slack: in text, out reply`, or `// cells without: out card` of what stands in for a capability.

use crate::kit::skipped;
use crate::support::{binary, plugin_file};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const CHANNELS: [&str; 5] = ["slack", "telegram", "whatsapp", "github", "terminal"];

/// What a channel may do: its name, the words for it, and, where the manifest says whether it does, the capability and what
/// the runtime does without it.
type Cell = (&'static str, &'static str, Option<(&'static str, &'static str)>);

const CELLS: [Cell; 21] = [
    ("in text", "hears a text", None),
    ("in mention", "hears that the agent is meant", None),
    ("in thread", "hears in which thread", Some(("threads", "a chat is one conversation"))),
    ("in file", "hears a file", None),
    ("in edit", "hears that a message was edited", None),
    ("in deletion", "hears that a message was deleted", None),
    ("in reaction", "hears a reaction", None),
    ("in command", "hears a command by its name", None),
    ("in answer", "hears which button was clicked", Some(("questions", "a typed answer is understood"))),
    ("out reply", "sends a reply", None),
    ("out long reply", "sends a long reply whole", None),
    ("out Markdown", "shows Markdown", None),
    (
        "out file",
        "sends a file",
        Some(("attachments", "the text names the file, and says that it was not sent")),
    ),
    (
        "out question",
        "shows a question with buttons",
        Some(("questions", "the question as a text with numbered answers")),
    ),
    ("out card", "shows a card", Some(("cards", "its words as a text"))),
    ("out edit", "edits what it sent", Some(("edits", "the new words as a new message"))),
    (
        "out deletion",
        "takes back what it sent",
        Some(("deletes", "the message stays, and the agent is told so")),
    ),
    (
        "out reaction",
        "reacts to a message",
        Some(("reactions", "the emoji as a text that answers the message")),
    ),
    ("out work", "shows that an agent works", Some(("working", "nothing is shown"))),
    ("out read", "shows that a message was read", Some(("reads", "nothing is shown"))),
    (
        "out direct chat",
        "opens a direct chat",
        Some(("direct_chats", "it has the chats in which people have written")),
    ),
];

/// What a channel does in place of a cell, where the manifest cannot know it, and the page of its platform that says why.
const INSTEAD: [(&str, &str, &str, &str); 9] = [
    ("telegram", "in deletion", "nothing: bots are not told", "https://core.telegram.org/bots/api#update"),
    ("whatsapp", "in command", "it is a text like any other", ""),
    (
        "github",
        "in reaction",
        "nothing: no event tells of one",
        "https://docs.github.com/en/webhooks/webhook-events-and-payloads",
    ),
    ("github", "in command", "it is a text like any other", ""),
    ("terminal", "in edit", "a line that was sent stays as it is", ""),
    ("terminal", "in deletion", "a line that was sent stays", ""),
    ("terminal", "in reaction", "a reaction is a line like any other", ""),
    ("terminal", "in command", "it is a text like any other", ""),
    ("terminal", "out Markdown", "as the agent wrote it", ""),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// By channel and cell: the flows that say that they show it.
fn shown() -> BTreeMap<(String, String), Vec<String>> {
    let mut found: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    let mut files: Vec<PathBuf> =
        fs::read_dir(root().join("tests/tests/flows")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for file in files.iter().filter(|file| file.extension().is_some_and(|end| end == "rs")) {
        let (text, module) = (fs::read_to_string(file).unwrap(), file.file_stem().unwrap().to_string_lossy());
        let lines: Vec<&str> = text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            let Some((channel, cells)) =
                line.strip_prefix("// cells ").and_then(|rest| rest.split_once(": "))
            else {
                continue;
            };
            let name =
                lines[at..].iter().find_map(|line| line.strip_prefix("fn ")?.split('(').next()).unwrap();
            assert!(
                channel == "without" || CHANNELS.contains(&channel),
                "{module}::{name}: there is no {channel}"
            );
            for cell in cells.split(", ") {
                assert!(
                    CELLS.iter().any(|(key, ..)| *key == cell),
                    "{module}::{name}: there is no cell `{cell}`"
                );
                let flows = found.entry((channel.to_owned(), cell.to_owned())).or_default();
                flows.push(format!("`{module}::{name}`"));
            }
        }
    }
    found
}

/// What a channel's file says of itself.
fn described(channel: &str) -> Value {
    let file = plugin_file(&format!("vestibule-{channel}"));
    let output =
        Command::new(binary()).args(["plugin", "check", file.to_str().unwrap(), "--json"]).output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["manifest"]["name"], channel, "{report:#}");
    report
}

fn words(value: &Value) -> Vec<&str> {
    value.as_array().map(|list| list.iter().filter_map(Value::as_str).collect()).unwrap_or_default()
}

/// One row of a channel's table. The manifest, the flows and the words of this file must agree.
fn row(
    channel: &str,
    cell: &Cell,
    manifest: &Value,
    shown: &BTreeMap<(String, String), Vec<String>>,
) -> String {
    let (key, what, capability) = cell;
    let flows = |of: &str| shown.get(&(of.to_owned(), (*key).to_owned())).map(|flows| flows.join(", "));
    let instead = INSTEAD.iter().find(|(of, cell, ..)| *of == channel && cell == key);
    let has = |word: &str| words(&manifest["capabilities"]).contains(&word);
    let (does, by) = match (capability, flows(channel), instead) {
        (Some((word, without)), None, None) if !has(word) => {
            (format!("lacks: {without}"), flows("without").unwrap_or_default())
        }
        (Some((word, _)), Some(_), _) if !has(word) => {
            panic!("a flow shows `{key}` of {channel}, which lists no `{word}`")
        }
        (_, Some(flows), None) => ("does".to_owned(), flows),
        (None, None, Some((.., words, page))) => {
            let why = if page.is_empty() { String::new() } else { format!(" ([why]({page}))") };
            (format!("lacks: {words}{why}"), String::new())
        }
        (_, None, None) => {
            panic!("no flow shows `{key}` of {channel}: name one by `// cells {channel}: {key}`")
        }
        (_, _, Some(_)) => {
            panic!("`{key}` of {channel} is shown, or told by its manifest: take it out of INSTEAD")
        }
    };
    format!("| {what} | {does} | {by} |\n")
}

fn config(report: &Value) -> String {
    let mut text = "| Key | Type | | |\n|---|---|---|---|\n".to_owned();
    for key in report["schema"]["keys"].as_array().unwrap() {
        let facts = [
            (key["required"] == true).then(|| "required".to_owned()),
            (key["secret"] == true).then(|| "secret".to_owned()),
            key.get("default").map(|default| {
                format!("else `{}`", default.as_str().map_or(default.to_string(), str::to_owned))
            }),
        ];
        let facts = facts.into_iter().flatten().collect::<Vec<_>>().join(", ");
        let help = key["help"].as_str().unwrap_or_default();
        text += &format!(
            "| `{}` | {} | {facts} | {help} |\n",
            key["key"].as_str().unwrap(),
            key["type"].as_str().unwrap()
        );
    }
    text
}

fn section(channel: &str, shown: &BTreeMap<(String, String), Vec<String>>) -> String {
    let report = described(channel);
    let manifest = &report["manifest"];
    let webhooks = match manifest["webhook"].as_str().unwrap() {
        "none" => "It takes no webhooks.".to_owned(),
        scheme => {
            let usual = if scheme == "slack_v0" { "signing_secret" } else { "webhook_secret" };
            let key = manifest["signing"]["key"].as_str().unwrap_or(usual);
            format!("The runtime verifies webhooks by the scheme `{scheme}` with the key `{key}`.")
        }
    };
    let conform = match skipped(channel) {
        [] => "`plugin conform` passes all its checks, in both tiers.".to_owned(),
        checks => format!(
            "`plugin conform` passes all its checks, in both tiers, and skips what the channel does not claim: {}.",
            checks.join(", ")
        ),
    };
    let rows: String = CELLS.iter().map(|cell| row(channel, cell, manifest, shown)).collect();
    format!(
        "\n## {channel}\n\n{}. {webhooks} {conform}\n\nCapabilities: {}.\n\n{}\n| It … | | Shown by |\n|---|---|---|\n{rows}",
        manifest["description"].as_str().unwrap(),
        words(&manifest["capabilities"]).join(", "),
        config(&report)
    )
}

/// People choose a platform by this page, so it says what is so. With `VESTIBULE_WRITE_GOLDENS=1` this test writes it.
#[test]
fn the_page_of_channels_is_as_they_are() {
    let shown = shown();
    let sections: String = CHANNELS.iter().map(|channel| section(channel, &shown)).collect();
    let text = format!(
        "# The channels that are built in\n\nWhat each does, and what happens in place of what it lacks. Each row is shown by the tests \
         that it names, in `tests/tests/flows/`.\n\n<!-- Generated: VESTIBULE_WRITE_GOLDENS=1 cargo nextest run --workspace \
         the_page_of_channels_is_as_they_are -->\n\nHow to set each up: [slack](../adapters/slack/README.md), \
         [telegram](../adapters/telegram/README.md), [whatsapp](../adapters/whatsapp/README.md), [github](../adapters/github/README.md); the terminal is there from the start. \
         A channel that lacks more than you can do without is a [plugin of yours](write-a-channel.md).\n{sections}"
    );
    let golden = root().join("docs/channels.md");
    if std::env::var_os("VESTIBULE_WRITE_GOLDENS").is_some() {
        fs::write(&golden, &text).unwrap();
    }
    let written = fs::read_to_string(&golden).unwrap_or_default();
    assert_eq!(
        text, written,
        "docs/channels.md differs from the channels and their tests: write it with VESTIBULE_WRITE_GOLDENS=1"
    );
}
