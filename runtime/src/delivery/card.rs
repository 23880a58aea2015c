//! A card as plain words: no channel shows cards yet. Pure.

use serde_json::Value;

/// The words of a card: the text that its agent wrote for channels that cannot show it, else what stands on it, one
/// part on each line and a link behind each button that has one. `None` when it says nothing.
pub fn words(content: &Value) -> Option<String> {
    let text =
        |value: &Value| value.as_str().map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned);
    if let Some(fallback) = text(&content["fallbackText"]) {
        return Some(fallback);
    }
    let card = &content["card"];
    let items = |key: &str| card[key].as_array().into_iter().flatten();
    let children = items("children").filter_map(|child| text(child).or_else(|| text(&child["text"])));
    let links = items("actions").filter_map(|action| {
        let url = text(&action["url"])?;
        Some(text(&action["label"]).map_or_else(|| url.clone(), |label| format!("{label}: {url}")))
    });
    let parts =
        text(&card["title"]).into_iter().chain(text(&card["description"])).chain(children).chain(links);
    Some(parts.collect::<Vec<_>>().join("\n")).filter(|words| !words.is_empty())
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
            (json!({}), None),
        ] {
            assert_eq!(words(&content).as_deref(), want, "{content}");
        }
    }
}
