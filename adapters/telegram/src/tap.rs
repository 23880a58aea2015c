//! Questions: the buttons under a message, and what a tap on one of them means. Pure.

use crate::map::{User, chat_name, person};
use crate::send::TEXT_UNITS_MAX;
use serde::Deserialize;
use serde_json::{Value, json};
use vestibule_plugin_api::{Answered, Choice, Offer, Sender};

/// The longest note that Telegram shows to the person who tapped, in characters.
const NOTE_CHARS_MAX: usize = 200;

/// A tapped button.
#[derive(Debug, Clone, PartialEq)]
pub struct Tap {
    /// Telegram's id of the tap, by which it is answered.
    pub query: String,
    /// The choice: token, chat and person.
    pub choice: Choice,
    /// The message with the buttons: its chat, its number, and its text if Telegram still says it.
    pub message: (i64, i64, Option<String>),
}

/// A tap as Telegram sends it, a callback query.
#[derive(Deserialize)]
struct Query {
    id: String,
    from: User,
    message: Option<Asked>,
    data: Option<String>,
}

#[derive(Deserialize)]
struct Asked {
    message_id: i64,
    chat: Chat,
    text: Option<String>,
}

#[derive(Deserialize)]
struct Chat {
    id: i64,
}

/// Reads a tap. `None`: the button is not ours (a game's, or one under an inline message).
pub fn read(query: &Value) -> Option<Tap> {
    let query = Query::deserialize(query).ok()?;
    let (message, token) = (query.message?, query.data?);
    let (handle, name) = person(&query.from);
    let sender = Sender { handle, name: Some(name), is_bot: query.from.is_bot, ..Sender::default() };
    let choice = Choice { token, platform_id: chat_name(message.chat.id).into(), sender };
    Some(Tap { query: query.id, choice, message: (message.chat.id, message.message_id, message.text) })
}

/// A question as a text.
pub fn words(title: &str, question: &str) -> String {
    [title, question].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n\n")
}

/// The buttons of a question, one below the other: labels may be long.
pub fn keyboard(options: &[Offer]) -> Value {
    let button = |offer: &Offer| json!([{ "text": offer.label, "callback_data": offer.token }]);
    json!({ "inline_keyboard": options.iter().map(button).collect::<Vec<_>>() })
}

/// What becomes of the message with the buttons.
#[derive(Debug, PartialEq, Eq)]
pub enum Look {
    /// It stays.
    Nothing,
    /// It loses its buttons.
    NoButtons,
    /// It loses its buttons and says this.
    Text(String),
}

/// The note for the person who tapped, and the change of the message.
pub fn shown(tap: &Tap, answered: &Answered) -> (String, Look) {
    let (note, chosen) = match answered {
        Answered::Taken { shown } => (shown.clone(), Some(shown)),
        Answered::Already { shown } => (format!("It was answered before: {shown}"), Some(shown)),
        Answered::Closed => ("This question is not open any more.".to_owned(), None),
        Answered::NotYours => return ("This question is not for you.".to_owned(), Look::Nothing),
        Answered::Unknown => return (String::new(), Look::Nothing),
    };
    let text =
        tap.message.2.as_ref().zip(chosen).map(|(text, chosen)| format!("{text}\n\n\u{2192} {chosen}"));
    let change =
        text.filter(|text| text.encode_utf16().count() <= TEXT_UNITS_MAX).map_or(Look::NoButtons, Look::Text);
    (note.chars().take(NOTE_CHARS_MAX).collect(), change)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(extra: Value) -> Value {
        let mut query = json!({ "id": "777", "from": { "id": 8, "is_bot": false, "first_name": "Ben" },
            "chat_instance": "1", "data": "abc.1",
            "message": { "message_id": 5, "date": 1, "chat": { "id": -7, "type": "group" }, "text": "Now?" } });
        for (key, value) in extra.as_object().expect("an object") {
            query[key] = value.clone();
        }
        query
    }

    #[test]
    fn what_a_tap_means() {
        let tap = read(&query(json!({}))).expect("ours");
        assert_eq!((tap.query.as_str(), tap.choice.token.as_str()), ("777", "abc.1"));
        assert_eq!(tap.choice.platform_id.as_str(), "telegram:-7");
        assert_eq!(
            tap.choice.sender,
            Sender { handle: "8".into(), name: Some("Ben".into()), is_bot: false, ..Sender::default() }
        );
        assert_eq!(tap.message, (-7, 5, Some("Now?".into())));
        let old = json!({ "message": { "message_id": 5, "date": 0, "chat": { "id": -7, "type": "group" } } });
        assert_eq!(read(&query(old)).expect("ours").message, (-7, 5, None));
        assert_eq!(read(&query(json!({ "data": null, "game_short_name": "x" }))), None);
        assert_eq!(read(&query(json!({ "message": null, "inline_message_id": "x" }))), None);
        assert_eq!(read(&json!({ "id": 7 })), None);
    }

    #[test]
    fn what_is_shown_of_an_answer() {
        let with = |text: Option<&str>| Tap {
            message: (-7, 5, text.map(str::to_owned)),
            ..read(&query(json!({}))).expect("ours")
        };
        let taken = || Answered::Taken { shown: "Yes".into() };
        let long = "a".repeat(4095);
        for (tap, answered, note, change) in [
            (with(Some("Now?")), taken(), "Yes", Look::Text("Now?\n\n\u{2192} Yes".into())),
            (with(None), taken(), "Yes", Look::NoButtons),
            (with(Some(&long)), taken(), "Yes", Look::NoButtons),
            (
                with(Some("Now?")),
                Answered::Already { shown: "No".into() },
                "It was answered before: No",
                Look::Text("Now?\n\n\u{2192} No".into()),
            ),
            (with(Some("Now?")), Answered::Closed, "This question is not open any more.", Look::NoButtons),
            (with(Some("Now?")), Answered::NotYours, "This question is not for you.", Look::Nothing),
            (with(Some("Now?")), Answered::Unknown, "", Look::Nothing),
        ] {
            assert_eq!(shown(&tap, &answered), (note.to_owned(), change), "{answered:?}");
        }
        let (note, _) = shown(&with(None), &Answered::Taken { shown: "\u{20ac}".repeat(300) });
        assert_eq!(note.chars().count(), NOTE_CHARS_MAX);
    }
}
