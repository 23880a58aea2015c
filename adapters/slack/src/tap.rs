//! Questions: the buttons under a message, and what a click on one of them means. Pure.

use crate::event::{chat_name, is_channel, is_ts};
use serde_json::{Value, json};
use vestibule_plugin_api::{Answered, Choice, Offer, Sender};

/// What the ids of our buttons begin with.
const OURS: &str = "vestibule:";
/// The longest label of a button, in characters, and the most buttons in one block.
const LABEL_CHARS_MAX: usize = 75;
const BUTTONS_MAX: usize = 25;
/// The longest text of one block, in characters.
pub const BLOCK_CHARS_MAX: usize = 3_000;

/// A click on a button.
#[derive(Debug, Clone, PartialEq)]
pub struct Tap {
    /// Names the click.
    pub event_id: String,
    /// The choice: token, chat and person.
    pub choice: Choice,
    /// The message with the buttons: its channel, its id, and its thread if it is in one.
    pub channel: String,
    pub ts: String,
    pub thread: Option<String>,
    /// The message as it is.
    pub text: String,
    pub blocks: Vec<Value>,
}

/// Reads a click. `None`: the button is not ours, or it is something else.
pub fn read(payload: &Value) -> Option<Tap> {
    if payload["type"] != "block_actions" {
        return None;
    }
    let action = payload["actions"].as_array()?.first()?;
    action["action_id"].as_str()?.strip_prefix(OURS)?;
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let token = text(&action["value"])?;
    let channel = text(&payload["channel"]["id"]).or_else(|| text(&payload["container"]["channel_id"]))?;
    let message = &payload["message"];
    let ts = text(&message["ts"]).or_else(|| text(&payload["container"]["message_ts"]))?;
    let user = text(&payload["user"]["id"])?;
    if !is_channel(&channel) || !is_channel(&user) || !is_ts(&ts) {
        return None;
    }
    let name = text(&payload["user"]["name"]).or_else(|| text(&payload["user"]["username"]));
    let when = text(&action["action_ts"]).filter(|ts| is_ts(ts)).unwrap_or_default();
    Some(Tap {
        event_id: format!("click/{channel}/{ts}/{user}/{when}"),
        choice: Choice {
            token,
            platform_id: chat_name(&channel).into(),
            sender: Sender { handle: user, name, is_bot: false, ..Sender::default() },
        },
        channel,
        ts,
        thread: text(&message["thread_ts"]).filter(|ts| is_ts(ts)),
        text: text(&message["text"]).unwrap_or_default(),
        blocks: message["blocks"].as_array().cloned().unwrap_or_default(),
    })
}

/// A message with buttons under its words.
pub fn blocks(words: &str, options: &[Offer]) -> Value {
    let section = json!({ "type": "section", "text": { "type": "mrkdwn", "text": words, "verbatim": true } });
    let button = |(number, offer): (usize, &Offer)| {
        json!({ "type": "button", "action_id": format!("{OURS}{number}"), "value": offer.token,
            "text": { "type": "plain_text", "text": label(&offer.label), "emoji": true } })
    };
    let buttons: Vec<Value> = options.iter().enumerate().map(button).collect();
    let rows = buttons.chunks(BUTTONS_MAX).map(|row| json!({ "type": "actions", "elements": row }));
    Value::Array(std::iter::once(section).chain(rows).collect())
}

/// What a button says. A label that is too long for one is cut: the words of the question have it whole.
fn label(label: &str) -> String {
    match label.chars().count() {
        ..=LABEL_CHARS_MAX => label.to_owned(),
        _ => label.chars().take(LABEL_CHARS_MAX - 1).chain(['\u{2026}']).collect(),
    }
}

/// A question in Markdown: title, question, and those answers that no button shows whole.
pub fn words(title: &str, question: &str, options: &[Offer]) -> String {
    let title = if title.is_empty() { String::new() } else { format!("**{}**", title.trim()) };
    let long = options.iter().any(|offer| label(&offer.label) != offer.label);
    let list = options.iter().enumerate().map(|(at, offer)| format!("{}. {}", at + 1, offer.label));
    let list = if long { list.collect::<Vec<_>>().join("\n") } else { String::new() };
    let parts = [title, question.to_owned(), list];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n\n")
}

/// What is shown of a click: a note to the person alone, and the message without its buttons.
#[derive(Debug, PartialEq)]
pub struct Shown {
    pub note: Option<&'static str>,
    /// The text and the blocks of the message from now on.
    pub message: Option<(String, Value)>,
}

/// What is shown of a click, after it was handed over.
pub fn shown(tap: &Tap, answered: &Answered) -> Shown {
    let note = |note| Shown { note: Some(note), message: None };
    match answered {
        Answered::Taken { shown } => Shown { note: None, message: Some(without_buttons(tap, Some(shown))) },
        Answered::Already { shown } => {
            Shown { note: Some("It was answered before."), message: Some(without_buttons(tap, Some(shown))) }
        }
        Answered::Closed => Shown {
            note: Some("This question is not open any more."),
            message: Some(without_buttons(tap, None)),
        },
        Answered::NotYours => note("This question is not for you."),
        Answered::Unknown => Shown { note: None, message: None },
    }
}

fn without_buttons(tap: &Tap, chosen: Option<&str>) -> (String, Value) {
    let escaped = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let line = chosen.map(|chosen| format!("\u{2192} {}", escaped(chosen)));
    let mut blocks: Vec<Value> =
        tap.blocks.iter().filter(|block| block["type"] != "actions").cloned().collect();
    if let Some(line) = &line {
        let line: String = line.chars().take(BLOCK_CHARS_MAX).collect();
        blocks
            .push(json!({ "type": "section", "text": { "type": "mrkdwn", "text": line, "verbatim": true } }));
    }
    let text = [Some(tap.text.clone()).filter(|text| !text.is_empty()), line];
    (text.into_iter().flatten().collect::<Vec<_>>().join("\n\n"), Value::Array(blocks))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(label: &str) -> Offer {
        Offer { label: label.into(), token: "abc.1".into() }
    }

    fn payload() -> Value {
        json!({ "type": "block_actions", "user": { "id": "U0ANN", "name": "ann" }, "channel": { "id": "C012" },
            "message": { "ts": "17.2", "thread_ts": "17.1", "text": "Now?",
                "blocks": blocks("Now?", &[offer("Yes")]) },
            "actions": [{ "action_id": "vestibule:0", "value": "abc.1", "action_ts": "18.3" }] })
    }

    #[test]
    fn what_a_click_means() {
        let tap = read(&payload()).expect("ours");
        assert_eq!((tap.choice.token.as_str(), tap.choice.platform_id.as_str()), ("abc.1", "slack:C012"));
        assert_eq!(
            tap.choice.sender,
            Sender { handle: "U0ANN".into(), name: Some("ann".into()), is_bot: false, ..Sender::default() }
        );
        assert_eq!(
            (tap.ts.as_str(), tap.thread.as_deref(), tap.text.as_str()),
            ("17.2", Some("17.1"), "Now?")
        );
        assert_eq!(tap.event_id, "click/C012/17.2/U0ANN/18.3");
        for (key, value) in [
            ("type", json!("view_submission")),
            ("actions", json!([])),
            ("actions", json!([{ "action_id": "theirs", "value": "x" }])),
            ("actions", json!([{ "action_id": "vestibule:0" }])),
            ("user", json!({})),
            ("channel", json!({ "id": "../x" })),
            ("message", json!({})),
        ] {
            let mut payload = payload();
            payload[key] = value.clone();
            assert_eq!(read(&payload), None, "{key} {value}");
        }
    }

    #[test]
    fn questions_have_buttons() {
        let long = "y".repeat(100);
        let options: Vec<Offer> = (0..30).map(|n| offer(&format!("Option {n}"))).collect();
        let made = blocks("*Now?*", &options);
        assert_eq!(made.as_array().expect("blocks").len(), 3, "a section and two rows");
        assert_eq!(made[1]["elements"].as_array().expect("buttons").len(), 25);
        assert_eq!(made[2]["elements"][4]["text"]["text"], "Option 29");
        assert_eq!(made[2]["elements"][4]["value"], "abc.1");
        let ids: std::collections::BTreeSet<&str> = made
            .as_array()
            .expect("blocks")
            .iter()
            .flat_map(|block| block["elements"].as_array().into_iter().flatten())
            .filter_map(|button| button["action_id"].as_str())
            .collect();
        assert_eq!(ids.len(), 30, "an id stands once in a message");
        let cut = blocks("x", &[offer(&long)]);
        assert_eq!(cut[1]["elements"][0]["text"]["text"].as_str().expect("text").chars().count(), 75);
        assert_eq!(words("Deploy", "Now?", &[offer("Yes")]), "**Deploy**\n\nNow?");
        assert_eq!(words("", "Now?", &[offer("Yes"), offer(&long)]), format!("Now?\n\n1. Yes\n2. {long}"));
    }

    #[test]
    fn what_is_shown_of_an_answer() {
        let tap = read(&payload()).expect("ours");
        let taken = shown(&tap, &Answered::Taken { shown: "Yes & no".into() });
        let (text, blocks) = taken.message.expect("it changes");
        assert_eq!((taken.note, text.as_str()), (None, "Now?\n\n\u{2192} Yes &amp; no"));
        assert_eq!(blocks.as_array().expect("blocks").len(), 2, "the words and the answer, no buttons");
        assert_eq!(blocks[1]["text"]["text"], "\u{2192} Yes &amp; no");
        let already = shown(&tap, &Answered::Already { shown: "No".into() });
        assert!(already.note.is_some() && already.message.expect("it changes").0.ends_with("\u{2192} No"));
        let closed = shown(&tap, &Answered::Closed);
        assert_eq!(closed.message.expect("no buttons").0, "Now?");
        let other = shown(&tap, &Answered::NotYours);
        assert!(other.note.is_some() && other.message.is_none());
        assert_eq!(shown(&tap, &Answered::Unknown), Shown { note: None, message: None });
    }
}
