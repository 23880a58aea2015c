//! What passes between the runtime and a channel, as lines for its author. Pure.

use serde_json::Value;
use vestibule_plugin_api::wire::{Event, Request};
use vestibule_plugin_api::{
    Accepted, Address, Attachment, Change, Changed, ChatChange, Content, Fate, InboundMessage,
    OutboundMessage, PluginError, Receipt, Sender, StateWrite,
};
use vestibule_runtime::observer::{Answer, Taken};
use vestibule_runtime::words;

/// The longest text on a line, in characters: an author wants to see which message it is.
const TEXT_CHARS_MAX: usize = 500;

/// A line: what kind of thing it tells, in one word, and the rest.
pub type Line = (&'static str, String);

/// What a channel says. That it reads its state, or how it is, is no news: the log tells of health.
pub fn said(event: &Event) -> Option<Line> {
    Some(match event {
        Event::Message { message, .. } => ("in", message_in(message)),
        Event::Change { change, .. } => ("in", changed(change)),
        Event::Answer { choice, .. } => {
            ("in", format!("{}  {} chose an answer", choice.platform_id.as_str(), name(&choice.sender)))
        }
        Event::Ignored { ignored, .. } => {
            ("left out", format!("the event {}: {}", ignored.event_id, ignored.reason))
        }
        Event::Conversation { conversation, .. } => {
            let name = conversation
                .name
                .as_deref()
                .map_or("has no name".into(), |name| format!("is called {}", quoted(name)));
            ("chat", format!("{} {name}", conversation.platform_id.as_str()))
        }
        Event::Chat { chat, .. } => {
            let what = match &chat.what {
                ChatChange::Joined => "the account takes part in it from now on".to_owned(),
                ChatChange::Left => "the account takes part in it no longer".to_owned(),
                ChatChange::Moved { to } => format!("has the id {} from now on", to.as_str()),
                ChatChange::Unknown => "something that this program does not know happened to it".to_owned(),
            };
            ("chat", format!("{} {what}", chat.platform_id.as_str()))
        }
        Event::SentSoFar { id, sent, .. } => {
            ("part", format!("{} of {id}{}", sent.parts, ids(&sent.message_ids)))
        }
        Event::LateReceipt { receipt, .. } => {
            let fate = match &receipt.fate {
                Fate::Sent => "it was sent".to_owned(),
                Fate::Delivered => "it has arrived".to_owned(),
                Fate::Read => "it was read".to_owned(),
                Fate::Failed { reason } => format!("it failed: {reason}"),
                Fate::Unknown => "its fate has a word that this program does not know".to_owned(),
            };
            ("later", format!("{}  {fate}", receipt.message_id))
        }
        Event::StateSet { state, .. } => ("keeps", state.iter().map(key).collect::<Vec<_>>().join(", ")),
        _ => return None,
    })
}

/// What the runtime answered to an event, where that is not what its author expects.
pub fn taken(event: &Event, taken: &Taken) -> Option<Line> {
    let event_id = match event {
        Event::Message { message, .. } => message.event_id.as_str(),
        Event::Change { change, .. } => change.event_id.as_str(),
        _ => "that it handed over",
    };
    let (what, why) = match taken {
        Taken::Not => ("not taken", "is not on disk: it is to be handed over again".to_owned()),
        Taken::As(Accepted::Duplicate) => ("not taken", "was taken before".to_owned()),
        Taken::As(Accepted::Dropped { reason }) => ("not taken", format!("is heard by no agent: {reason}")),
        Taken::As(Accepted::Held) => ("held", "waits for a decision".to_owned()),
        Taken::As(Accepted::Committed | Accepted::Unknown) | Taken::Done => return None,
    };
    Some((what, format!("the event {event_id} {why}")))
}

/// What a channel is handed.
pub fn handed_over(message: &OutboundMessage) -> Line {
    let content = match &message.content {
        Content::Text { text } => quoted(text),
        Content::Question { title, question, options } => {
            let options: Vec<&str> = options.iter().map(|offer| offer.label.as_str()).collect();
            format!(
                "the question {} with {}",
                quoted(format!("{title} {question}").trim()),
                options.join(", ")
            )
        }
        Content::Card(card) => format!("the card {}", quoted(&card.fallback)),
        Content::Edit { message_id, text, .. } => format!("for {message_id} other words: {}", quoted(text)),
        Content::Delete { message_id, .. } => format!("that {message_id} is to go"),
        Content::Reaction { message_id, emoji } => format!("for {message_id} the reaction {emoji}"),
        Content::Unknown => "something that this program does not know".to_owned(),
    };
    let at =
        chat(message.address.platform_id.as_str(), message.address.thread_id.as_ref().map(|id| id.as_str()));
    let answers = message.in_reply_to.as_ref().map_or(String::new(), |id| format!(", which answers {id}"));
    ("out", format!("{at}  {content}{}{answers}", files(&message.attachments)))
}

/// What the channel answered.
pub fn answered(message: &OutboundMessage, answer: Answer<'_>) -> Line {
    let id = &message.id;
    match answer {
        Answer::Delivered(receipt) => ("done", format!("{id}{}", of(receipt))),
        Answer::Lost(why) => ("lost", format!("{id}  {why}")),
        Answer::Failed(error) => {
            let what = match error {
                PluginError::Retry { in_doubt: true, .. } => {
                    "it may have arrived, and that is looked up, or it is sent again"
                }
                PluginError::Retry { .. } => "it is tried again",
                PluginError::Refused { .. } | PluginError::Unsupported { .. } => "it is given up",
                PluginError::Broken { .. } => "the account has to be mended, and it is tried again",
                PluginError::Unknown => "its error has a word that this program does not know",
            };
            ("failed", format!("{id}  {} ({what})", error.reason()))
        }
    }
}

/// What a channel is asked about its platform, or is to show there.
pub fn asked(asked: &Request) -> Option<Line> {
    let place = |address: &Address| {
        chat(address.platform_id.as_str(), address.thread_id.as_ref().map(|id| id.as_str()))
    };
    let words = match asked {
        Request::Working { working } => {
            format!("to show in {} that an agent works", place(&working.address))
        }
        Request::Read { read } => {
            format!("to show in {} that {} is read", place(&read.address), read.message_id)
        }
        Request::Subscribe { address } => format!("to hear of all that is said in {}", place(address)),
        Request::Normalise { chat, .. } => format!("which chat {} is", quoted(chat)),
        Request::WhoIs { handle, .. } => format!("who {} is", quoted(handle)),
        Request::OpenDirect { handle, .. } => format!("to open the direct chat with {}", quoted(handle)),
        Request::History { address, after, limit } => {
            let after = after.as_ref().map_or(String::new(), |after| format!(" after {after}"));
            format!("what was said in {}{after}, {limit} messages at most", place(address))
        }
        Request::Link { .. } => "how far its linking is".to_owned(),
        Request::Fetch { reference, bytes_max, .. } => {
            format!("for the file {}, {bytes_max} bytes at most", quoted(reference))
        }
        _ => return None,
    };
    Some(("asked", words))
}

/// What it answered. A code that lets a device in is not shown.
pub fn told(asked: &Request, answer: Result<&Value, &str>) -> Line {
    let answer = match answer {
        Err(why) => return ("answers", format!("no: {}", words::line(why, TEXT_CHARS_MAX))),
        Ok(answer) => answer,
    };
    let of = |key: &str| answer[key].as_str().unwrap_or_default();
    let called =
        |name: &str| if name.is_empty() { String::new() } else { format!(", called {}", quoted(name)) };
    let what = match asked {
        Request::Normalise { .. } | Request::OpenDirect { .. } => {
            format!("{}{}", words::line(of("platform_id"), TEXT_CHARS_MAX), called(of("name")))
        }
        Request::WhoIs { .. } => {
            format!("{}{}", words::line(of("handle"), TEXT_CHARS_MAX), called(of("name")))
        }
        Request::History { .. } => {
            let count = answer["messages"].as_array().map_or(0, Vec::len);
            let next = answer["next"]
                .as_str()
                .map_or(String::new(), |next| format!(", and more after {}", quoted(next)));
            format!("{count} messages{next}")
        }
        Request::Link { .. } => match of("link") {
            "linked" => "it is linked".to_owned(),
            "scan" => "with a code to scan".to_owned(),
            "enter" => "with a code to type".to_owned(),
            _ => "not yet".to_owned(),
        },
        Request::Fetch { .. } => format!("{} bytes", answer["bytes"]),
        _ => "done".to_owned(),
    };
    ("answers", what)
}

/// Text between quotation marks, on one line.
pub fn quoted(text: &str) -> String {
    format!("\"{}\"", words::line(text.replace('\n', "\\n"), TEXT_CHARS_MAX))
}

fn message_in(message: &InboundMessage) -> String {
    let at = chat(message.platform_id.as_str(), message.thread_id.as_ref().map(|id| id.as_str()));
    let said = match &message.command {
        Some(command) => format!("/{} {}", command.name, command.arguments).trim_end().to_owned(),
        None => quoted(&message.text),
    };
    let answers = message.reply_to.as_ref().map_or(String::new(), |to| format!(", which answers {}", to.id));
    let named = if message.is_mention { "" } else { ", not to the agent" };
    format!("{at}  {}: {said}{}{answers}{named}", name(&message.sender), files(&message.attachments))
}

fn changed(change: &Change) -> String {
    let what = match &change.what {
        Changed::Edited { text, .. } => format!("wrote other words: {}", quoted(text)),
        Changed::Deleted => "took it back".to_owned(),
        Changed::Reacted { emoji } => format!("reacted with {emoji}"),
        Changed::Unreacted { emoji } => format!("took the reaction {emoji} back"),
        Changed::Unknown => "did something that this program does not know".to_owned(),
    };
    let at = chat(change.platform_id.as_str(), change.thread_id.as_ref().map(|id| id.as_str()));
    format!("{at}  {} at {}: {what}", name(&change.sender), change.message_id)
}

fn chat(id: &str, thread: Option<&str>) -> String {
    thread.map_or_else(|| id.to_owned(), |thread| format!("{id} / {thread}"))
}

fn name(sender: &Sender) -> &str {
    sender.name.as_deref().filter(|name| !name.is_empty()).unwrap_or(&sender.handle)
}

fn files(files: &[Attachment]) -> String {
    let file = |file: &Attachment| match &file.bytes {
        Some(bytes) => format!("{} ({} bytes)", file.name, bytes.len()),
        None if file.reference.is_some() => format!("{} (by reference)", file.name),
        None => format!("{} (without its bytes)", file.name),
    };
    match files {
        [] => String::new(),
        files => format!(" with {}", files.iter().map(file).collect::<Vec<_>>().join(", ")),
    }
}

fn of(receipt: &Receipt) -> String {
    let first = receipt.platform_message_id.iter();
    ids(&first.chain(&receipt.further_message_ids).cloned().collect::<Vec<_>>())
}

fn ids(ids: &[String]) -> String {
    match ids {
        [] => String::new(),
        ids => format!(" is {} there", ids.join(", ")),
    }
}

fn key(write: &StateWrite) -> String {
    match (&write.value, write.key.is_empty()) {
        (Some(_), _) => write.key.clone(),
        (None, false) => format!("no {}", write.key),
        (None, true) => "no key of several any more".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_a_channel_says() {
        let sender = json!({ "handle": "u1", "name": "Ann" });
        let message = json!({ "event_id": "e", "message_id": "m", "platform_id": "room", "thread_id": "t", "sender": sender,
            "text": "one\ntwo", "timestamp": 0, "is_mention": false, "is_group": true,
            "attachments": [{ "name": "a.txt" }], "reply_to": { "id": "m0" } });
        let change = json!({ "event_id": "e", "message_id": "m", "platform_id": "room", "sender": sender, "timestamp": 0,
            "what": { "change": "reacted", "emoji": "+1" } });
        for (event, want) in [
            (
                json!({ "verb": "message", "account": "main", "message": message }),
                "in: room / t  Ann: \"one\\ntwo\" with a.txt (without its bytes), which answers m0, not to the agent",
            ),
            (
                json!({ "verb": "change", "account": "main", "change": change }),
                "in: room  Ann at m: reacted with +1",
            ),
            (
                json!({ "verb": "ignored", "account": "main", "ignored": { "event_id": "e", "reason": "own_message" } }),
                "left out: the event e: own_message",
            ),
            (
                json!({ "verb": "conversation", "account": "main", "conversation": { "platform_id": "room", "name": "R" } }),
                "chat: room is called \"R\"",
            ),
            (
                json!({ "verb": "sent_so_far", "account": "main", "id": "d", "sent": { "parts": 2, "message_ids": ["7"] } }),
                "part: 2 of d is 7 there",
            ),
            (
                json!({ "verb": "state_set", "account": "main", "state": [{ "key": "offset", "value": "secret" }] }),
                "keeps: offset",
            ),
            (json!({ "verb": "state_get", "account": "main", "key": "offset" }), ""),
            (json!({ "verb": "a word of a later day" }), ""),
        ] {
            let told = event.to_string();
            let event: Event = serde_json::from_value(event).expect(&told);
            let said = said(&event).map(|(what, words)| format!("{what}: {words}"));
            assert_eq!(said.unwrap_or_default(), want, "{told}");
        }
    }

    #[test]
    fn what_becomes_of_a_message_both_ways() {
        let message = vestibule_plugin_api::testing::text("acme", "room", "good day");
        assert_eq!(handed_over(&message), ("out", "room  \"good day\"".to_owned()));
        let receipt = Receipt::of(["7".to_owned(), "8".to_owned()]);
        let (retry, doubt) = (PluginError::retry("busy"), PluginError::in_doubt("cut"));
        let refused = PluginError::refused("blocked");
        for (answer, want) in [
            (Answer::Delivered(&receipt), "done:  is 7, 8 there"),
            (Answer::Failed(&retry), "failed:   busy (it is tried again)"),
            (
                Answer::Failed(&doubt),
                "failed:   cut (it may have arrived, and that is looked up, or it is sent again)",
            ),
            (Answer::Failed(&refused), "failed:   blocked (it is given up)"),
            (Answer::Lost("the plugin panicked: oh"), "lost:   the plugin panicked: oh"),
        ] {
            let (what, words) = answered(&message, answer);
            assert_eq!(format!("{what}: {words}").replace(&message.id, ""), want);
        }
        let event = json!({ "verb": "message", "account": "main", "message": { "event_id": "e7", "message_id": "m",
            "platform_id": "room", "sender": { "handle": "u" }, "text": "x", "timestamp": 0 } });
        let event: Event = serde_json::from_value(event).expect("an event");
        for (answer, want) in [
            (Taken::As(Accepted::Committed), ""),
            (Taken::As(Accepted::Duplicate), "the event e7 was taken before"),
            (
                Taken::As(Accepted::Dropped { reason: "not_wired".into() }),
                "the event e7 is heard by no agent: not_wired",
            ),
            (Taken::Not, "the event e7 is not on disk: it is to be handed over again"),
        ] {
            assert_eq!(taken(&event, &answer).map(|(_, words)| words).unwrap_or_default(), want);
        }
    }

    #[test]
    fn what_a_channel_is_asked_and_answers() {
        let address =
            json!({ "channel_type": "acme", "account": "main", "platform_id": "room", "thread_id": "t" });
        let call = |more: Value| {
            let mut call = more;
            call["account"] = "main".into();
            call
        };
        for (request, asks, answer, tells) in [
            (
                call(json!({ "verb": "normalise", "chat": "#Hall" })),
                "which chat \"#Hall\" is",
                Ok(json!({ "platform_id": "hall", "name": "The hall" })),
                "hall, called \"The hall\"",
            ),
            (
                call(json!({ "verb": "who_is", "handle": "u1" })),
                "who \"u1\" is",
                Ok(json!({ "handle": "u1", "is_bot": false })),
                "u1",
            ),
            (
                call(json!({ "verb": "open_direct", "handle": "u1" })),
                "to open the direct chat with \"u1\"",
                Err("nobody\nhas this handle"),
                "no: nobody has this handle",
            ),
            (
                json!({ "verb": "history", "address": address, "limit": 20, "after": "7" }),
                "what was said in room / t after 7, 20 messages at most",
                Ok(json!({ "messages": [{}, {}], "next": "9" })),
                "2 messages, and more after \"9\"",
            ),
            (
                call(json!({ "verb": "link" })),
                "how far its linking is",
                Ok(json!({ "link": "scan", "text": "a secret", "seconds": 20 })),
                "with a code to scan",
            ),
            (
                call(json!({ "verb": "fetch", "reference": "f1", "bytes_max": 100 })),
                "for the file \"f1\", 100 bytes at most",
                Ok(json!({ "bytes": 7 })),
                "7 bytes",
            ),
            (
                json!({ "verb": "working", "working": { "address": address, "message_id": "m" } }),
                "to show in room / t that an agent works",
                Ok(json!({})),
                "done",
            ),
            (
                json!({ "verb": "subscribe", "address": address }),
                "to hear of all that is said in room / t",
                Ok(json!({})),
                "done",
            ),
        ] {
            let shown = request.to_string();
            let request: Request = serde_json::from_value(request).expect(&shown);
            assert_eq!(asked(&request), Some(("asked", asks.to_owned())), "{shown}");
            assert_eq!(
                told(&request, answer.as_ref().map_err(|why| *why)),
                ("answers", tells.to_owned()),
                "{shown}"
            );
        }
        let stop: Request = serde_json::from_value(call(json!({ "verb": "stop" }))).expect("a request");
        assert_eq!(asked(&stop), None);
    }
}
