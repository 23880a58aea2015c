//! Where a reply may go. Pure. Every word of the reply is the agent's, so none is believed.

use super::card;
use super::operation::Operation;
use super::snapshot::Snapshot;
use crate::chat_key::moved_thread;
use crate::id::AgentGroupId;
use crate::questions::Asked;
use serde_json::Value;
use std::collections::BTreeMap;
use vestibule_plugin_api::{
    ACCOUNT_MAIN, ACTION, AGENT, Address, Card, Conversation, ID_BYTES_MAX, METADATA_BYTES_MAX,
    TEXT_BYTES_MAX, ThreadId,
};
use vestibule_session::{CONTENT_BYTES_MAX, MessageOut, NO_DESTINATION};

/// How many characters of a word of the agent's a reason shows.
const SHOWN_CHARS_MAX: usize = 80;

/// Why a reply with a time of its own is refused.
const TOO_MUCH_LATER: &str = "1,000 replies for later, or 16 MiB of them, wait in this session already; \
                              `vestibule delivery list --state deferred` shows them";

/// What becomes of a reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It goes to this address.
    Deliver(Address),
    /// It goes nowhere, for this reason.
    Refuse(String),
}

/// Allows the agent's own chat, or a destination it was granted; anything else is refused.
pub fn decide(snapshot: &Snapshot, reply: &MessageOut) -> Decision {
    let fits = |address: Address| {
        text_of(&reply.content)?;
        if snapshot.too_much_later {
            return Err(TOO_MUCH_LATER.to_owned());
        }
        match question_of(&reply.content) {
            _ if address.channel_type.as_str() == AGENT && operation_of(&reply.content).is_some() => {
                Err("what an agent was told cannot be changed; tell it something new".to_owned())
            }
            Some(_) if address.channel_type.as_str() == AGENT => {
                Err("an agent is asked in words, without options".to_owned())
            }
            // The answer is found by this id, so it may be no other question's.
            Some(asked) if asked.id != reply.id => {
                Err("the question's `questionId` is not the id of its row".to_owned())
            }
            _ => Ok(address),
        }
    };
    let address = match reply.kind.as_str() {
        "system" => action(snapshot, &reply.content),
        _ => address(snapshot, reply).and_then(fits),
    };
    match address {
        Ok(address) => Decision::Deliver(address),
        Err(why) => Decision::Refuse(why),
    }
}

fn address(snapshot: &Snapshot, reply: &MessageOut) -> Result<Address, String> {
    match reply.kind.as_str() {
        "chat" | "chat-sdk" => {}
        kind => return Err(format!("a reply of kind `{}` is not known", shown(kind))),
    }
    let (Some(channel), Some(chat)) = (&reply.channel_type, &reply.platform_id) else {
        return Err("the reply names no chat".into());
    };
    if channel == AGENT {
        return match &snapshot.agent {
            Some(_) if reply.thread_id.is_some() => Err("between agents there are no threads".into()),
            Some((to, true)) => Ok(agent_address(to)),
            Some((to, false)) => Err(format!(
                "the agent {to} is no destination of this agent; `vestibule destination create --to-agent` grants it"
            )),
            None => Err(format!("the agent {} is not known", shown(chat))),
        };
    }
    if channel == NO_DESTINATION {
        return Err(format!(
            "this agent has no destination `{}`; `vestibule destination create` grants one, for what it writes then",
            shown(chat)
        ));
    }
    let meant = |account: &str| reply.account.as_deref().is_none_or(|named| named == account);
    let mut known = snapshot.chats.iter().filter(|(group, _)| meant(&group.account)).peekable();
    if known.peek().is_none() {
        return Err(format!("the chat {}:{} is not known", shown(channel), shown(chat)));
    }
    let Some((group, _)) = known.find(|(_, allowed)| *allowed) else {
        return Err(format!(
            "{}:{} is no destination of this agent; `vestibule destination create` grants it",
            shown(channel),
            shown(chat)
        ));
    };
    // The message that it answers may name the chat as it was called before.
    let thread_id =
        reply.thread_id.as_deref().map(|thread| ThreadId(moved_thread(thread, chat, &group.platform_id)));
    if thread_id.as_ref().is_some_and(|thread| thread.fault().is_some()) {
        return Err(format!("the reply's thread id is not 1 to {ID_BYTES_MAX} printable bytes"));
    }
    Ok(Address {
        channel_type: group.channel_type.as_str().into(),
        account: group.account.as_str().into(),
        platform_id: group.platform_id.as_str().into(),
        thread_id,
    })
}

/// A word of the agent's in a reason, which is kept and printed however often it is refused.
pub fn shown(word: &str) -> String {
    let mut escaped = word.escape_debug();
    let mut shown: String = escaped.by_ref().take(SHOWN_CHARS_MAX).collect();
    if escaped.next().is_some() {
        shown.push('…');
    }
    shown
}

/// An agent's request goes to the module that takes it, in a lane for each session.
fn action(snapshot: &Snapshot, content: &str) -> Result<Address, String> {
    let name = json_of(content)?["action"].as_str().unwrap_or_default().to_owned();
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-".contains(c);
    if name.is_empty() || name.len() > 64 || !name.chars().all(fits) {
        return Err(format!("its action `{}` is not made of a-z, 0-9, _ and -", shown(&name)));
    }
    Ok(Address {
        channel_type: ACTION.into(),
        account: ACCOUNT_MAIN.into(),
        platform_id: name.into(),
        thread_id: Some(snapshot.session_id.as_str().into()),
    })
}

/// The address of an agent, as messages between agents name it.
pub fn agent_address(agent_group_id: &AgentGroupId) -> Address {
    Address {
        channel_type: AGENT.into(),
        account: ACCOUNT_MAIN.into(),
        platform_id: agent_group_id.as_str().into(),
        thread_id: None,
    }
}

fn json_of(content: &str) -> Result<Value, String> {
    let content: Value =
        serde_json::from_str(content).map_err(|_| "the reply's content is no JSON".to_owned())?;
    match content.get("oversized").and_then(Value::as_u64) {
        Some(bytes) => {
            Err(format!("the reply is written in {bytes} bytes of JSON, the limit is {CONTENT_BYTES_MAX}"))
        }
        None => Ok(content),
    }
}

/// The words of a reply; empty when it has only files. A text that came in has as many bytes at most as one that goes out.
///
/// # Errors
/// Its content cannot be delivered.
pub fn text_of(content: &str) -> Result<String, String> {
    let text = words_of(content)?;
    let beside: usize = beside(content).metadata.iter().map(|(key, value)| key.len() + value.len()).sum();
    if beside > METADATA_BYTES_MAX {
        return Err(format!("the reply's `metadata` has {beside} bytes, the limit is {METADATA_BYTES_MAX}"));
    }
    // A card may have few words for channels that cannot show it.
    match card_of(content).map_or(text.len(), |card| card::bytes(&card)) {
        ..=TEXT_BYTES_MAX => Ok(text),
        bytes => Err(format!(
            "the reply has {bytes} bytes, the limit is {TEXT_BYTES_MAX}; send it in parts, or as a file"
        )),
    }
}

/// The same, however many there are: a note quotes the first of them.
///
/// # Errors
/// As [`text_of`].
pub fn words_of(content: &str) -> Result<String, String> {
    let content = json_of(content)?;
    if let Some(asked) = Asked::read(&content) {
        return asked.map(|asked| asked.words());
    }
    if let Some(operation) = Operation::read(&content) {
        return operation.map(|operation| operation.words().to_owned());
    }
    match content.get("type") {
        None => {}
        Some(kind) if kind == "card" => {
            return card::words(&content)
                .ok_or_else(|| "the card says nothing, and has no `fallbackText`".to_owned());
        }
        Some(kind) => {
            return Err(format!(
                "content of type `{}` is not known",
                shown(kind.as_str().unwrap_or_default())
            ));
        }
    }
    let words = |key: &str| content.get(key).and_then(Value::as_str).filter(|text| !text.trim().is_empty());
    let has_files = content.get("files").and_then(Value::as_array).is_some_and(|files| !files.is_empty());
    words("markdown")
        .or_else(|| words("text"))
        .or(has_files.then_some(""))
        .map(str::to_owned)
        .ok_or_else(|| "the reply is empty".to_owned())
}

/// The question that a reply asks, if it is one that can be asked.
pub fn question_of(content: &str) -> Option<Asked> {
    // Nearly every reply asks none, and is not read twice for that.
    let content: Value = content.contains("ask_question").then(|| serde_json::from_str(content).ok())??;
    Asked::read(&content)?.ok()
}

/// What a reply does to a message that is there already, if it does that.
pub fn operation_of(content: &str) -> Option<Operation> {
    let content: Value = content.contains("operation").then(|| serde_json::from_str(content).ok())??;
    Operation::read(&content)?.ok()
}

/// The card that a reply shows, if it is one.
pub fn card_of(content: &str) -> Option<Card> {
    let content: Value = content.contains("card").then(|| serde_json::from_str(content).ok())??;
    card::card(&content)
}

/// What a reply says beside its words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Beside {
    /// What it is about, on one line.
    pub subject: Option<String>,
    /// The texts of its `metadata`.
    pub metadata: BTreeMap<String, String>,
}

/// What a reply says beside its words. A value of its metadata that is no text is handed on as JSON.
pub fn beside(content: &str) -> Beside {
    let has_some = ["\"subject\"", "\"metadata\""].iter().any(|key| content.contains(key));
    let content: Value = has_some.then(|| serde_json::from_str(content).ok()).flatten().unwrap_or_default();
    let subject = content["subject"].as_str().and_then(Conversation::name_of);
    let pairs = content["metadata"].as_object().into_iter().flatten();
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let metadata =
        pairs.filter(|(_, value)| !value.is_null()).map(|(key, value)| (key.clone(), text(value))).collect();
    Beside { subject, metadata }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messaging_groups::MessagingGroup;

    fn group(account: &str) -> MessagingGroup {
        MessagingGroup {
            id: crate::id::MessagingGroupId::new(format!("mg-{account}")),
            channel_type: "x".into(),
            account: account.into(),
            platform_id: "c".into(),
            name: None,
            title: None,
            is_group: None,
            left_at: None,
        }
    }

    fn reply() -> MessageOut {
        MessageOut {
            id: "o".into(),
            seq: 1,
            in_reply_to: None,
            timestamp: String::new(),
            deliver_after: None,
            kind: "chat".into(),
            platform_id: Some("c".into()),
            channel_type: Some("x".into()),
            thread_id: None,
            content: r#"{"text":"hi"}"#.into(),
            account: None,
        }
    }

    fn to_agent() -> MessageOut {
        MessageOut { channel_type: Some("agent".into()), ..reply() }
    }

    fn asks(id: &str) -> String {
        format!(r#"{{"type":"ask_question","questionId":"{id}","title":"Deploy","options":["Yes"]}}"#)
    }

    /// A reason is kept for each refused reply, however many there are.
    #[test]
    fn a_reason_is_short_whatever_was_named() {
        for (word, want) in [
            ("c", "`c`"),
            (&"x".repeat(80), &*format!("`{}`", "x".repeat(80))),
            (&"x".repeat(81), &*format!("`{}…`", "x".repeat(80))),
            (&"\u{1}".repeat(1024), &*format!("`{}…`", "\\u{1}".repeat(16))),
        ] {
            assert_eq!(format!("`{}`", shown(word)), want);
        }
        let long = || Some("\u{202e}".repeat(341));
        let snapshot = Snapshot { session_id: "s".into(), chats: vec![], agent: None, too_much_later: false };
        let (action, kind) = (format!(r#"{{"action":"{}"}}"#, "é".repeat(1000)), "\n".repeat(1024));
        for reply in [
            MessageOut { channel_type: long(), platform_id: long(), ..reply() },
            MessageOut { platform_id: long(), ..to_agent() },
            MessageOut { kind: "system".into(), content: action, ..reply() },
            MessageOut { kind, ..reply() },
        ] {
            let Decision::Refuse(why) = decide(&snapshot, &reply) else { panic!("{reply:?}") };
            assert!(why.len() < 400, "{why}");
        }
    }

    #[test]
    fn where_a_reply_may_go() {
        let seen = |chats, agent: Option<bool>| {
            let agent = agent.map(|allowed| ("c".into(), allowed));
            Snapshot { session_id: "s".into(), chats, agent, too_much_later: false }
        };
        let open = seen(vec![(group("a"), true)], Some(true));
        let shut = seen(vec![(group("a"), false)], Some(false));
        let two = seen(vec![(group("a"), false), (group("b"), true)], None);
        let none = seen(vec![], None);
        let system = |content: &str| MessageOut { kind: "system".into(), content: content.into(), ..reply() };
        let says = |content: &str| MessageOut { content: content.into(), ..reply() };
        let named = |length: usize| system(&format!(r#"{{"action":"{}"}}"#, "x".repeat(length)));
        let cases: Vec<(&Snapshot, MessageOut, &str)> = vec![
            (&none, named(64), "to main"),
            (&none, named(65), "not made of a-z"),
            (&open, reply(), "to a"),
            (&two, reply(), "to b"),
            (&two, MessageOut { account: Some("a".into()), ..reply() }, "no destination"),
            (&shut, reply(), "no destination"),
            (&none, reply(), "not known"),
            (&none, system(r#"{"action":"roll_2"}"#), "to main"),
            (&open, system(r#"{"action":"../x"}"#), "not made of a-z"),
            (&open, system(r#"{"text":"hi"}"#), "action `` is not"),
            (&open, system("[]"), "action `` is not"),
            (&open, system(r#"{"oversized":9}"#), "9 bytes"),
            (&open, MessageOut { kind: "\u{1b}[2J".into(), ..reply() }, "not known"),
            (&open, to_agent(), "to main"),
            (&shut, to_agent(), "no destination"),
            (&none, to_agent(), "the agent c is not known"),
            (&open, MessageOut { thread_id: Some("t".into()), ..to_agent() }, "no threads"),
            (&open, MessageOut { platform_id: None, ..reply() }, "names no chat"),
            (&open, MessageOut { thread_id: Some("\0".into()), ..reply() }, "thread id"),
            (&open, MessageOut { content: "{".into(), ..reply() }, "no JSON"),
            (&open, MessageOut { content: r#"{"text":" "}"#.into(), ..reply() }, "empty"),
            (&open, says(r#"{"operation":"edit","messageId":"1","text":"x"}"#), "to a"),
            (
                &open,
                MessageOut { content: r#"{"operation":"delete","messageId":"1"}"#.into(), ..to_agent() },
                "cannot be changed; tell it",
            ),
            (&open, says(r#"{"operation":"edit","messageId":"1"}"#), "the edit says nothing"),
            (&shut, says(r#"{"operation":"delete","messageId":"1"}"#), "no destination"),
            (
                &open,
                says(r#"{"operation":"\u001b","messageId":"1"}"#),
                "the operation `\\u{1b}` is not known",
            ),
            (&open, says(r#"{"type":"poll","text":"x"}"#), "content of type `poll` is not known"),
            (&open, says(r#"{"type":"card","card":{"title":"Build"}}"#), "to a"),
            (&open, says(r#"{"type":"card","card":{}}"#), "the card says nothing"),
            (&none, says(r#"{"type":"card","card":{"title":"Build"}}"#), "not known"),
            (&open, MessageOut { content: asks("o"), ..reply() }, "to a"),
            (&open, MessageOut { content: asks("another"), ..reply() }, "`questionId` is not"),
            (&open, MessageOut { content: asks("o"), ..to_agent() }, "in words"),
            (
                &open,
                MessageOut { content: r#"{"type":"ask_question","title":"x"}"#.into(), ..reply() },
                "1 to 25 options",
            ),
        ];
        for (snapshot, reply, want) in cases {
            let told = match decide(snapshot, &reply) {
                Decision::Deliver(address) => format!("to {}", address.account),
                Decision::Refuse(why) => why,
            };
            assert!(told.contains(want), "{reply:?}: {told}");
        }
    }

    #[test]
    fn a_text_may_be_as_long_as_one_that_came_in() {
        let long = |bytes: usize| serde_json::json!({ "text": "\"".repeat(bytes) }).to_string();
        let most = long(TEXT_BYTES_MAX);
        assert!(most.len() <= CONTENT_BYTES_MAX);
        assert_eq!(text_of(&most).map(|text| text.len()), Ok(TEXT_BYTES_MAX));
        let why = text_of(&long(TEXT_BYTES_MAX + 1)).expect_err("it is longer");
        assert!(why.starts_with("the reply has 1048577 bytes, the limit is 1048576; send it"), "{why}");
    }

    #[test]
    fn a_card_is_as_long_as_all_that_stands_on_it() {
        let long = "x".repeat(TEXT_BYTES_MAX);
        for part in [
            serde_json::json!({ "title": long }),
            serde_json::json!({ "description": long }),
            serde_json::json!({ "children": [long] }),
            serde_json::json!({ "fields": [{ "name": "n", "value": long }] }),
            serde_json::json!({ "actions": [{ "label": "l", "url": format!("https://{long}") }] }),
        ] {
            let card = serde_json::json!({ "type": "card", "fallbackText": "few", "card": part });
            let why = text_of(&card.to_string()).expect_err("it is longer");
            assert!(why.ends_with("the limit is 1048576; send it in parts, or as a file"), "{why}");
        }
    }

    #[test]
    fn what_a_reply_says_beside_its_words() {
        let much = format!(r#"{{"text":"t","metadata":{{"k":"{}"}}}}"#, "x".repeat(METADATA_BYTES_MAX));
        let why = text_of(&much).expect_err("what a channel needs may be in it");
        assert_eq!(why, "the reply's `metadata` has 16385 bytes, the limit is 16384");
        for (content, subject, metadata) in [
            (r#"{"text":"a"}"#, None, &[][..]),
            (r#"{"subject":"Plans\nfor May","text":"a"}"#, Some("Plans for May"), &[]),
            (r#"{"subject":" ","metadata":7}"#, None, &[]),
            (
                r#"{"metadata":{"template":"hello","n":7,"o":["a"],"p":null},"subject":8}"#,
                None,
                &[("n", "7"), ("o", r#"["a"]"#), ("template", "hello")],
            ),
            (r#"no JSON "subject""#, None, &[]),
        ] {
            let beside = beside(content);
            assert_eq!(beside.subject.as_deref(), subject, "{content}");
            let found: Vec<_> =
                beside.metadata.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
            assert_eq!(found, metadata, "{content}");
        }
    }
}
