//! Cards, as Slack's blocks. Pure.

use crate::tap::BLOCK_CHARS_MAX;
use serde_json::{Value, json};
use vestibule_plugin_api::Card;
use vestibule_plugin_api::toolbox::markdown::{self, Dialect, Unit};

/// Slack's limits, in characters and blocks.
const TITLE_CHARS_MAX: usize = 150;
const FIELD_CHARS_MAX: usize = 2_000;
const LABEL_CHARS_MAX: usize = 75;
const URL_CHARS_MAX: usize = 3_000;
const FIELDS_MAX: usize = 10;
const BUTTONS_MAX: usize = 25;
const BLOCKS_MAX: usize = 50;

/// The blocks of a card. What is longer than Slack takes is cut.
pub fn blocks(card: &Card) -> Value {
    let mut blocks = Vec::new();
    if !card.title.trim().is_empty() {
        let text = json!({ "type": "plain_text", "text": cut(&card.title, TITLE_CHARS_MAX), "emoji": true });
        blocks.push(json!({ "type": "header", "text": text }));
    }
    let words = markdown::messages(&card.text, Dialect::Slack, Unit::Utf16, BLOCK_CHARS_MAX);
    blocks.extend(words.iter().map(|words| json!({ "type": "section", "text": mrkdwn(words) })));
    let field = |name: &str, value: &str| {
        let words = format!("**{name}**\n{value}");
        let shown = markdown::messages(&words, Dialect::Slack, Unit::Utf16, FIELD_CHARS_MAX);
        mrkdwn(shown.first().map(String::as_str).unwrap_or("\u{2014}"))
    };
    let fields: Vec<Value> = card.fields.iter().map(|one| field(one.name.trim(), &one.value)).collect();
    blocks.extend(fields.chunks(FIELDS_MAX).map(|part| json!({ "type": "section", "fields": part })));
    let links = card.links.iter().filter(|link| opens(&link.url)).enumerate();
    let buttons: Vec<Value> = links
        .map(|(number, link)| {
            let text =
                json!({ "type": "plain_text", "text": cut(&link.label, LABEL_CHARS_MAX), "emoji": true });
            json!({ "type": "button", "action_id": format!("link:{number}"), "url": link.url, "text": text })
        })
        .collect();
    blocks.extend(buttons.chunks(BUTTONS_MAX).map(|row| json!({ "type": "actions", "elements": row })));
    if blocks.is_empty() {
        let words = markdown::messages(&card.fallback, Dialect::Slack, Unit::Utf16, BLOCK_CHARS_MAX);
        blocks.extend(words.iter().map(|words| json!({ "type": "section", "text": mrkdwn(words) })));
    }
    blocks.truncate(BLOCKS_MAX);
    Value::Array(blocks)
}

fn mrkdwn(words: &str) -> Value {
    json!({ "type": "mrkdwn", "text": words, "verbatim": true })
}

fn opens(url: &str) -> bool {
    let is_page = url.starts_with("https://") || url.starts_with("http://");
    is_page && url.chars().count() <= URL_CHARS_MAX
}

/// The text on one line, with a sign at its end if it was longer; a button must say something.
fn cut(text: &str, most: usize) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.chars().count() {
        0 => "\u{2014}".to_owned(),
        count if count <= most => line,
        _ => line.chars().take(most - 1).chain(['\u{2026}']).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vestibule_plugin_api::{Field, Link};

    #[test]
    fn what_a_card_becomes() {
        let card = Card {
            title: "Build\n7".into(),
            text: "It **failed** & stopped.".into(),
            fields: (0..11).map(|n| Field { name: format!("f{n}"), value: "v".into() }).collect(),
            links: vec![
                Link { label: "Log".into(), url: "https://a.example/log".into() },
                Link { label: "no".into(), url: "javascript:x".into() },
            ],
            fallback: "Build 7 failed".into(),
        };
        let made = blocks(&card);
        let kinds: Vec<&str> =
            made.as_array().expect("blocks").iter().filter_map(|block| block["type"].as_str()).collect();
        assert_eq!(kinds, ["header", "section", "section", "section", "actions"]);
        assert_eq!(made[0]["text"]["text"], "Build 7");
        assert_eq!(made[1]["text"]["text"], "It *failed* &amp; stopped.");
        assert_eq!(made[2]["fields"][0]["text"], "*f0*\nv");
        assert_eq!(made[3]["fields"].as_array().expect("fields").len(), 1);
        assert_eq!(made[4]["elements"].as_array().expect("buttons").len(), 1, "only pages are opened");
        assert_eq!(made[4]["elements"][0]["url"], "https://a.example/log");
        let bare = blocks(&Card { fallback: "Build".into(), ..Card::default() });
        assert_eq!(bare[0]["text"]["text"], "Build");
    }

    #[test]
    fn limits_of_slack_hold() {
        let long = "x".repeat(5_000);
        let card = Card {
            title: long.clone(),
            text: "word ".repeat(40_000),
            fields: vec![Field { name: "f".into(), value: long.clone() }],
            links: vec![Link { label: String::new(), url: "https://a.example".into() }],
            fallback: "x".into(),
        };
        let made = blocks(&card);
        assert_eq!(made.as_array().expect("blocks").len(), BLOCKS_MAX);
        let made = blocks(&Card { text: String::new(), ..card });
        let chars = |value: &Value| value.as_str().expect("text").chars().count();
        assert_eq!(chars(&made[0]["text"]["text"]), TITLE_CHARS_MAX);
        assert!(chars(&made[1]["fields"][0]["text"]) <= FIELD_CHARS_MAX);
        assert_eq!(made[2]["elements"][0]["text"]["text"], "\u{2014}");
    }
}
