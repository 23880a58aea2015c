//! A card that an agent shows, and its plain words. Pure.

use serde_json::Value;
use vestibule_plugin_api::{Card, Field, Link};

/// The most fields and the most links of a card that a channel is handed.
const PARTS_MAX: usize = 25;

/// The words of a card: the text that its agent wrote for channels that cannot show it, else what stands on it, one
/// part on each line and a link behind each button that has one. `None` when it says nothing.
pub fn words(content: &Value) -> Option<String> {
    if let Some(fallback) = text(&content["fallbackText"]) {
        return Some(fallback);
    }
    let Card { title, text, fields, links, fallback: _ } = parts(&content["card"]);
    let fields = fields.into_iter().map(|Field { name, value }| format!("{name}: {value}"));
    let links = links.into_iter().map(
        |Link { label, url }| {
            if label == url { url } else { format!("{label}: {url}") }
        },
    );
    let lines = [title, text].into_iter().chain(fields).chain(links).filter(|line| !line.is_empty());
    Some(lines.collect::<Vec<_>>().join("\n")).filter(|words| !words.is_empty())
}

/// The card that a content holds; `None` for any other content, and for a card that says nothing.
pub fn card(content: &Value) -> Option<Card> {
    let fallback = (content["type"] == "card").then(|| words(content))??;
    Some(Card { fallback, ..parts(&content["card"]) })
}

/// How long a card is, whatever stands on it in place of its words.
pub fn bytes(card: &Card) -> usize {
    let Card { title, text, fields, links, fallback } = card;
    let fields = fields.iter().map(|Field { name, value }| name.len() + value.len());
    let links = links.iter().map(|Link { label, url }| label.len() + url.len());
    title.len() + text.len() + fallback.len() + fields.chain(links).sum::<usize>()
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned)
}

/// What stands on a card, without its fallback. A link leads to a web page, or it is none.
fn parts(card: &Value) -> Card {
    let items = |key: &str| card[key].as_array().into_iter().flatten();
    let children = items("children").filter_map(|child| text(child).or_else(|| text(&child["text"])));
    let field = |field: &Value| Some(Field { name: text(&field["name"])?, value: text(&field["value"])? });
    let link = |action: &Value| {
        let is_page = |url: &String| url.starts_with("https://") || url.starts_with("http://");
        let url = text(&action["url"]).filter(is_page)?;
        Some(Link { label: text(&action["label"]).unwrap_or_else(|| url.clone()), url })
    };
    Card {
        title: text(&card["title"]).unwrap_or_default(),
        text: text(&card["description"]).into_iter().chain(children).collect::<Vec<_>>().join("\n"),
        fields: items("fields").filter_map(field).take(PARTS_MAX).collect(),
        links: items("actions").filter_map(link).take(PARTS_MAX).collect(),
        fallback: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_a_card_says() {
        let full = json!({ "title": "Build", "description": " green ", "children": ["12 tests", { "text": "3 s" }, 7, {}],
            "actions": [{ "label": "Open", "url": "https://a.example" }, { "label": "Retry" }, { "url": "https://b.example" }] });
        for (content, want) in [
            (json!({ "fallbackText": "Build is green", "card": full }), Some("Build is green")),
            (
                json!({ "fallbackText": " ", "card": full }),
                Some("Build\ngreen\n12 tests\n3 s\nOpen: https://a.example\nhttps://b.example"),
            ),
            (json!({ "card": { "title": "Build" } }), Some("Build")),
            (json!({ "card": { "actions": [{ "label": "Retry" }] } }), None),
            (json!({ "card": "Build" }), None),
            (
                json!({ "card": { "title": "B", "fields": [{ "name": "Tests", "value": "12" }, { "name": "x" }, 7],
                    "actions": [{ "label": "Run", "url": "javascript:alert(1)" }] } }),
                Some("B\nTests: 12"),
            ),
            (json!({}), None),
        ] {
            assert_eq!(words(&content).as_deref(), want, "{content}");
        }
    }

    #[test]
    fn what_stands_on_a_card() {
        let content = json!({ "type": "card", "fallbackText": "green", "card": { "title": "Build", "description": "It is",
            "children": ["**green**"], "fields": [{ "name": "Tests", "value": "12" }],
            "actions": [{ "label": "Open", "url": "https://a.example" }, { "url": "http://b.example" }] } });
        let link = |label: &str, url: &str| Link { label: label.into(), url: url.into() };
        let want = Card {
            title: "Build".into(),
            text: "It is\n**green**".into(),
            fields: vec![Field { name: "Tests".into(), value: "12".into() }],
            links: vec![link("Open", "https://a.example"), link("http://b.example", "http://b.example")],
            fallback: "green".into(),
        };
        assert_eq!(card(&content), Some(want));
        assert_eq!(card(&json!({ "type": "card", "card": {} })), None);
        assert_eq!(card(&json!({ "text": "hi", "card": { "title": "Build" } })), None);
    }
}
