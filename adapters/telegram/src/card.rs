//! Cards: a text, and a button for each page that it links to. Pure.

use serde_json::{Value, json};
use vestibule_plugin_api::{Card, Link};

/// The most buttons of one message.
const BUTTONS_MAX: usize = 100;
/// The longest label of a button that people can still read, in characters.
const LABEL_CHARS_MAX: usize = 64;
const URL_BYTES_MAX: usize = 2_048;

/// The words of a card, in Markdown. Pages for which there can be no button stand in them.
pub fn words(card: &Card) -> String {
    let line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let title = Some(line(&card.title)).filter(|title| !title.is_empty());
    let title = title.map(|title| format!("**{}**", plain(&title)));
    let text = Some(card.text.trim()).filter(|text| !text.is_empty()).map(str::to_owned);
    let fields =
        card.fields.iter().map(|field| format!("**{}**: {}", plain(&line(&field.name)), field.value));
    let fields = Some(fields.collect::<Vec<_>>().join("\n\n")).filter(|fields| !fields.is_empty());
    let shown = buttons(card).count();
    let rest = card
        .links
        .iter()
        .filter(|link| !opens(link))
        .chain(card.links.iter().filter(|link| opens(link)).skip(shown));
    let rest = rest.map(|link| format!("{}: {}", plain(&line(&link.label)), link.url));
    let rest = Some(rest.collect::<Vec<_>>().join("\n\n")).filter(|rest| !rest.is_empty());
    let words: Vec<String> = [title, text, fields, rest].into_iter().flatten().collect();
    if words.is_empty() { card.fallback.clone() } else { words.join("\n\n") }
}

/// The buttons of a card, one below the other; `None` without any.
pub fn keyboard(card: &Card) -> Option<Value> {
    let rows: Vec<Value> =
        buttons(card).map(|link| json!([{ "text": label(&link.label), "url": link.url }])).collect();
    (!rows.is_empty()).then(|| json!({ "inline_keyboard": rows }))
}

fn buttons(card: &Card) -> impl Iterator<Item = &Link> {
    card.links.iter().filter(|link| opens(link)).take(BUTTONS_MAX)
}

/// Whether Telegram makes a button of a page: it refuses the whole message for one whose host is no name with a dot.
fn opens(link: &Link) -> bool {
    let page = link.url.strip_prefix("https://").or_else(|| link.url.strip_prefix("http://"));
    let host = page.and_then(|page| page.split(['/', '?', '#']).next()).unwrap_or_default();
    let name = host.split(':').next().unwrap_or_default();
    let is_name = name.chars().all(|c| c.is_ascii_alphanumeric() || "-.".contains(c));
    let has_dot = name.split('.').filter(|part| !part.is_empty()).count() > 1;
    let is_one_word = !link.url.contains(char::is_whitespace) && !link.url.contains(char::is_control);
    is_name && has_dot && is_one_word && link.url.len() <= URL_BYTES_MAX
}

/// A label on one line, with a sign at its end if it was longer; a button must say something.
fn label(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.chars().count() {
        0 => "\u{2014}".to_owned(),
        count if count <= LABEL_CHARS_MAX => line,
        _ => line.chars().take(LABEL_CHARS_MAX - 1).chain(['\u{2026}']).collect(),
    }
}

/// Words that are no Markdown.
fn plain(text: &str) -> String {
    let is_sign = |c: char| c.is_ascii_punctuation();
    text.chars().flat_map(|c| is_sign(c).then_some('\\').into_iter().chain([c])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use vestibule_plugin_api::Field;
    use vestibule_plugin_api::toolbox::markdown::{self, Dialect, Unit};

    fn link(label: &str, url: &str) -> Link {
        Link { label: label.into(), url: url.into() }
    }

    #[test]
    fn what_a_card_becomes() {
        let card = Card {
            title: "Build\n*7* <b>".into(),
            text: "It **failed** & stopped.".into(),
            fields: vec![
                Field { name: "Tests".into(), value: "12".into() },
                Field { name: "By".into(), value: "`ci`".into() },
            ],
            links: vec![link("Log", "https://a.example/log"), link("Here", "http://localhost:80/x")],
            fallback: "Build 7 failed".into(),
        };
        let shown = markdown::messages(&words(&card), Dialect::Telegram, Unit::Utf16, 4_096);
        assert_eq!(
            shown,
            [
                "<b>Build *7* &lt;b&gt;</b>\n\nIt <b>failed</b> &amp; stopped.\n\n<b>Tests</b>: 12\n\n<b>By</b>: <code>ci</code>\n\n\
              Here: http://localhost:80/x"
            ]
        );
        let buttons = json!({ "inline_keyboard": [[{ "text": "Log", "url": "https://a.example/log" }]] });
        assert_eq!(keyboard(&card), Some(buttons));
        let bare = Card { fallback: "Build".into(), ..Card::default() };
        assert_eq!((words(&bare), keyboard(&bare)), ("Build".to_owned(), None));
    }

    #[test]
    fn what_a_button_opens() {
        for (url, want) in [
            ("https://a.example", true),
            ("http://a.example:8080/x?y#z", true),
            ("https://127.0.0.1/x", true),
            ("https://localhost/x", false),
            ("https://.", false),
            ("https://a@b.example", false),
            ("javascript:alert(1)", false),
            ("tg://user?id=7", false),
            ("https://a.example/ x", false),
            ("", false),
        ] {
            assert_eq!(opens(&link("x", url)), want, "{url}");
        }
        assert!(!opens(&link("x", &format!("https://a.example/{}", "x".repeat(URL_BYTES_MAX)))));
        assert_eq!(label(&"x".repeat(100)).chars().count(), LABEL_CHARS_MAX);
        assert_eq!(label(" \n"), "\u{2014}");
        let many = Card { links: vec![link("x", "https://a.example"); 101], ..Card::default() };
        let rows = keyboard(&many).expect("buttons");
        assert_eq!(rows["inline_keyboard"].as_array().expect("rows").len(), BUTTONS_MAX);
        assert_eq!(words(&many), "x: https://a.example");
    }
}
