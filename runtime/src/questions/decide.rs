//! Reading a question, and judging an answer to it. Pure.

use crate::chat_key::ChatKey;
use crate::clock::Timestamp;
use crate::id::SessionId;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use vestibule_plugin_api::{Address, Content, ID_BYTES_MAX, Limit, Offer, PlatformId};

/// The most options that one question may have: no platform shows more in one message.
const OPTIONS_MAX: usize = 25;
/// The longest question, in bytes, its title included.
const WORDS_BYTES_MAX: usize = 16 * 1024;

/// A question as an agent asks it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Its name in the session's files, by which the agent finds the answer: the id of the reply that asks it.
    pub id: String,
    /// The title, which says what it is about.
    pub title: String,
    /// The text of the question.
    pub question: String,
    /// The options to choose from; never empty.
    pub options: Vec<Choosable>,
}

impl Asked {
    /// Whether a platform with this limit can show it with buttons beneath `subject`, the line that is put above it, if
    /// any. If not, it is a text with numbered answers.
    pub fn fits(&self, limit: &Limit, subject: &str) -> bool {
        let labels = self.options.iter().map(|option| option.label.as_str());
        limit.takes_text(&format!("{subject}{}\n{}", self.title, self.question))
            && limit.takes_buttons(labels)
    }
}

/// One answer that can be chosen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Choosable {
    /// The text that people read.
    pub label: String,
    /// The text that people read once it is chosen.
    pub selected_label: String,
    /// The value that the agent gets.
    pub value: String,
}

impl Asked {
    /// Reads the content of a reply; `None` when it asks no question.
    ///
    /// # Errors
    /// The reply asks a question that cannot be asked.
    pub fn read(content: &Value) -> Option<Result<Asked, String>> {
        (content["type"] == "ask_question").then(|| asked(content))
    }

    /// The question as a text, for a channel without buttons.
    pub fn words(&self) -> String {
        let numbered = |(number, option): (usize, &Choosable)| format!("{}. {}", number + 1, option.label);
        let options = self.options.iter().enumerate().map(numbered).collect::<Vec<_>>().join("\n");
        let parts = [&self.title, &self.question, &options].map(|part| part.as_str());
        let parts = parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n\n");
        format!("{parts}\n\nAnswer with a number or with the words beside it.")
    }

    /// The question for a channel with buttons; `token` is the question's.
    pub fn content(self, token: &str) -> Content {
        let offer = |(number, option): (usize, Choosable)| Offer {
            label: option.label,
            token: format!("{token}.{number}"),
        };
        Content::Question {
            title: self.title,
            question: self.question,
            options: self.options.into_iter().enumerate().map(offer).collect(),
        }
    }
}

fn asked(content: &Value) -> Result<Asked, String> {
    let word = |key: &str| content[key].as_str().unwrap_or_default().trim().to_owned();
    let (title, question) = (word("title"), word("question"));
    let size = title.len() + question.len();
    if size == 0 || size > WORDS_BYTES_MAX {
        return Err(format!(
            "a question and its title must together have 1 to {WORDS_BYTES_MAX} bytes; these have {size}"
        ));
    }
    let options = content["options"].as_array().map(Vec::as_slice).unwrap_or_default();
    if options.is_empty() || options.len() > OPTIONS_MAX {
        return Err(format!("a question must have 1 to {OPTIONS_MAX} options; this has {}", options.len()));
    }
    let options = options.iter().map(choosable).collect::<Option<Vec<_>>>().ok_or_else(|| {
        format!("an option of a question must be a text of 1 to {ID_BYTES_MAX} printable bytes, or have such a `label`")
    })?;
    Ok(Asked { id: content["questionId"].as_str().unwrap_or_default().to_owned(), title, question, options })
}

/// An option is a text, or an object whose other texts equal its label unless it names them.
fn choosable(option: &Value) -> Option<Choosable> {
    let label = option.as_str().or_else(|| option["label"].as_str())?;
    let or_label = |key: &str| option[key].as_str().filter(|text| !text.is_empty()).unwrap_or(label);
    let (selected_label, value) = (or_label("selectedLabel"), or_label("value"));
    let fits = |text: &str| PlatformId::from(text).fault().is_none() && !text.trim().is_empty();
    ([label, selected_label, value].into_iter().all(fits)).then(|| Choosable {
        label: label.trim().to_owned(),
        selected_label: selected_label.trim().to_owned(),
        value: value.to_owned(),
    })
}

/// Which option these words name: exactly its label, or its number from 1. Its value is shown to no one: words that are
/// one may be meant for another agent.
pub fn named(options: &[Choosable], words: &str) -> Option<usize> {
    let words = words.trim();
    let same = |text: &str| text.to_lowercase() == words.to_lowercase();
    // A label may itself be a number: then the label that people read counts.
    let by_number = || (1..=options.len()).find(|number| number.to_string() == words);
    options.iter().position(|option| same(&option.label)).or_else(|| by_number().map(|number| number - 1))
}

/// A question on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Minted by the runtime: an answer names the question by it.
    pub token: String,
    /// The session whose agent asked.
    pub session_id: SessionId,
    /// The question; its `id` is the reply's id, too.
    pub asked: Asked,
    /// Where it was asked.
    pub address: Address,
    /// When it was asked.
    pub asked_at: Timestamp,
    /// From when on it cannot be answered any more.
    pub expires_at: Timestamp,
    /// The number of the chosen option, from 0, and the handle of the person who chose it.
    pub answer: Option<(usize, String)>,
}

/// The person who gives an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Giver {
    /// Their handle on the platform.
    pub handle: String,
    /// The name that people see.
    pub name: String,
    /// Whether they are a program.
    pub is_bot: bool,
    /// The chat they answer in: channel, account and platform id; `None` for an operator, who may answer everything.
    pub chat: Option<ChatKey>,
}

/// The verdict on an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judgement {
    /// It is taken as the answer.
    Take,
    /// It is the answer already, and comes once more.
    Again,
    /// Another answer was taken before.
    Already,
    /// The question cannot be answered any more, or not with this option.
    Closed,
    /// The person may not answer it.
    NotYours,
}

/// Judges an answer with one of the options: people may answer a question that was asked in their chat, once, while it
/// is open.
pub fn decide(question: &Question, option: usize, giver: &Giver, now: Timestamp) -> Judgement {
    let asked_in = ChatKey::from(&question.address);
    if giver.is_bot || giver.chat.as_ref().is_some_and(|chat| *chat != asked_in) {
        return Judgement::NotYours;
    }
    match &question.answer {
        Some((chosen, by)) if *chosen == option && *by == giver.handle => Judgement::Again,
        Some(_) => Judgement::Already,
        None if question.expires_at <= now => Judgement::Closed,
        None => Judgement::Take,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn options(labels: &[&str]) -> Value {
        json!({ "type": "ask_question", "questionId": "m", "title": "T", "question": "Q", "options": labels })
    }

    #[test]
    fn what_a_question_says() {
        let card = json!({ "type": "ask_question", "questionId": "msg-1", "title": "Deploy", "question": "Now?",
            "options": ["Yes", { "label": "No", "value": "n" }, { "label": "Wait", "selectedLabel": "Waiting" }] });
        let asked = Asked::read(&card).expect("a question").expect("a good one");
        let told: Vec<String> =
            asked.options.iter().map(|o| format!("{}/{}/{}", o.label, o.selected_label, o.value)).collect();
        assert_eq!(told, ["Yes/Yes/Yes", "No/No/n", "Wait/Waiting/Wait"]);
        assert_eq!(
            asked.words(),
            "Deploy\n\nNow?\n\n1. Yes\n2. No\n3. Wait\n\nAnswer with a number or with the words beside it."
        );
        assert_eq!(Asked::read(&json!({ "type": "card" })), None);
        assert_eq!(Asked::read(&json!({ "text": "hi" })), None);
    }

    #[test]
    fn the_largest_question_can_be_asked() {
        let mut content = options(&["x"; OPTIONS_MAX]);
        content["title"] = json!("");
        content["question"] = json!("x".repeat(WORDS_BYTES_MAX));
        let asked = Asked::read(&content).expect("a question").expect("a good one");
        assert_eq!((asked.options.len(), asked.question.len()), (OPTIONS_MAX, WORDS_BYTES_MAX));
    }

    #[test]
    fn what_cannot_be_asked() {
        let with = |key: &str, value: Value| {
            let mut content = options(&["Yes"]);
            content[key] = value;
            content
        };
        let long = "x".repeat(WORDS_BYTES_MAX);
        let mut silent = with("title", json!(" "));
        silent["question"] = json!(null);
        for (content, want) in [
            (silent, "these have 0"),
            (with("question", json!(long)), "1 to 16384 bytes"),
            (with("options", json!("Yes")), "this has 0"),
            (options(&[]), "this has 0"),
            (options(&["x"; OPTIONS_MAX + 1]), "this has 26"),
            (options(&["Yes", ""]), "printable"),
            (options(&["a\nb"]), "printable"),
            (with("options", json!([{ "value": "no label" }])), "have such a `label`"),
            (with("options", json!([{ "label": "x", "value": "y".repeat(ID_BYTES_MAX + 1) }])), "printable"),
        ] {
            let told = Asked::read(&content).expect("a question").expect_err("a bad one");
            assert!(told.contains(want), "{want}: {told}");
        }
    }

    #[test]
    fn which_option_words_name() {
        let of = |labels: &[&str]| Asked::read(&options(labels)).expect("one").expect("a good one").options;
        let with_value = vec![
            Choosable { label: "No".into(), selected_label: "No".into(), value: "n".into() },
            of(&["Yes"]).remove(0),
        ];
        for (options, words, want) in [
            (of(&["Yes", "No"]), "1", Some(0)),
            (of(&["Yes", "No"]), " 2\n", Some(1)),
            (of(&["Yes", "No"]), "no", Some(1)),
            (of(&["Yes", "No"]), "3", None),
            (of(&["Yes", "No"]), "0", None),
            (of(&["Yes", "No"]), "01", None),
            (of(&["Yes", "No"]), "yes please", None),
            (of(&["Yes", "No"]), "", None),
            (of(&["2", "1"]), "1", Some(1)),
            (with_value, "n", None),
        ] {
            assert_eq!(named(&options, words), want, "{words:?} of {options:?}");
        }
    }

    #[test]
    fn what_an_answer_is_worth() {
        let question = |answer: Option<(usize, &str)>| Question {
            token: "t".into(),
            session_id: "s".into(),
            asked: Asked::read(&options(&["Yes", "No"])).expect("one").expect("a good one"),
            address: Address {
                channel_type: "x".into(),
                account: "main".into(),
                platform_id: "c".into(),
                thread_id: None,
            },
            asked_at: Timestamp(0),
            expires_at: Timestamp(100),
            answer: answer.map(|(option, by)| (option, by.to_owned())),
        };
        let from = |handle: &str, chat: &str| Giver {
            handle: handle.into(),
            name: handle.into(),
            is_bot: false,
            chat: Some(ChatKey::new("x", "main", chat)),
        };
        let bot = Giver { is_bot: true, ..from("ann", "c") };
        let operator = Giver { chat: None, ..from("operator", "c") };
        let other_account = Giver { chat: Some(ChatKey::new("x", "second", "c")), ..from("ann", "c") };
        for (answer, option, giver, now, want) in [
            (None, 1, from("ann", "c"), 99, Judgement::Take),
            (None, 1, operator, 99, Judgement::Take),
            (None, 1, from("ann", "c"), 100, Judgement::Closed),
            (None, 1, from("ann", "d"), 99, Judgement::NotYours),
            (None, 1, other_account, 99, Judgement::NotYours),
            (None, 1, bot, 99, Judgement::NotYours),
            (Some((1, "ann")), 1, from("ann", "c"), 200, Judgement::Again),
            (Some((1, "ann")), 0, from("ann", "c"), 99, Judgement::Already),
            (Some((1, "ann")), 1, from("ben", "c"), 99, Judgement::Already),
            (Some((1, "ann")), 1, from("ann", "d"), 99, Judgement::NotYours),
        ] {
            let told = decide(&question(answer), option, &giver, Timestamp(now));
            assert_eq!(told, want, "{answer:?} {option} {giver:?} {now}");
        }
    }
}
