//! Repeats each message to the chat or agent that it came from, and sends the files back. It reads the prompt as an
//! agent would, so a person who talks to it sees that the whole way works.

use super::{Provider, ProviderError, ProviderEvent, Query, QueryInput};
use crate::format::unescape;
use regex::Regex;
use std::sync::LazyLock;
use std::time::Duration;
use vestibule_session::DELIVERY;

#[allow(clippy::unwrap_used, reason = "a constant pattern, compiled by every test below")]
static MESSAGE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"<message( [^>]*)?>([\s\S]*?)</message>").unwrap());

#[allow(clippy::unwrap_used, reason = "a constant pattern, compiled by every test below")]
static FROM: LazyLock<Regex> = LazyLock::new(|| Regex::new(r#" from="([^"]*)""#).unwrap());

#[allow(clippy::unwrap_used, reason = "a constant pattern, compiled by every test below")]
static QUOTE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^\n  <quoted_message [^>]*>[\s\S]*?</quoted_message>\n").unwrap());

/// The provider `echo`; it needs no settings.
pub struct Echo;

impl Provider for Echo {
    fn query(&mut self, input: QueryInput) -> Result<Box<dyn Query>, ProviderError> {
        for file in &input.files {
            let name = file.file_name().unwrap_or_default();
            // Not `fs::copy`: it sets modes, and the sandbox refuses that.
            let copied = std::fs::File::open(file).and_then(|mut from| {
                std::io::copy(&mut from, &mut std::fs::File::create(input.reply_files.join(name))?)
            });
            copied.map_err(|error| ProviderError(format!("{} cannot be copied: {error}", file.display())))?;
        }
        Ok(Box::new(Said(Some(echo(&input.prompt)))))
    }

    fn answers_at_once(&self) -> bool {
        true
    }
}

struct Said(Option<String>);

impl Query for Said {
    fn next(&mut self, _patience: Duration) -> Option<ProviderEvent> {
        Some(match self.0.take() {
            Some(text) => ProviderEvent::Result { text: Some(text) },
            None => ProviderEvent::End,
        })
    }

    fn push(&mut self, _text: &str) -> bool {
        false
    }
}

/// One block for each message of the prompt, context included. Quotes are left out; lines about
/// attachments stay, since they cannot be told from text.
fn echo(prompt: &str) -> String {
    let mut answer = String::new();
    for found in MESSAGE.captures_iter(prompt) {
        let attributes = found.get(1).map_or("", |m| m.as_str());
        if attributes.contains(&format!(" sender=\"{DELIVERY}\"")) {
            continue; // what was not delivered once would not be delivered the second time
        }
        let from = FROM.captures(attributes).map(|from| unescape(&from[1]));
        let Some(to) = from.filter(|from| !from.starts_with("unknown:") && !from.contains('"')) else {
            answer.push_str("<internal>a message from nowhere I could answer to</internal>\n");
            continue;
        };
        // A written-out end tag would end the block early.
        let text = unescape(&QUOTE.replace(&found[2], "")).replace("</message>", "</ message>");
        answer.push_str(&format!("<message to=\"{to}\">{text}</message>\n"));
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::tests::row;
    use crate::destinations::{Destinations, tests::chat};
    use crate::{format, parse};
    use jiff::tz::TimeZone;
    use std::path::Path;
    use vestibule_session::MessageIn;

    #[test]
    fn says_what_it_was_told() {
        // content, what comes back
        let cases = [
            (r#"{"text":"hi & <bye>"}"#, "hi & <bye>"),
            (
                r#"{"text":"a</message>b <message to=\"x\">c</message>"}"#,
                "a</ message>b <message to=\"x\">c</ message>",
            ),
            (r#"{"text":"here","replyTo":{"id":"9","sender":"B","text":"where\n?"}}"#, "here"),
            (r#"{"text":"see","attachments":[{"name":"a.pdf"}]}"#, "see\n[file: a.pdf]"),
            (r#"{"text":"&lt;"}"#, "&lt;"),
        ];
        let known = Destinations(vec![chat("R & D", "slack:C1", None)]);
        for (content, expected) in cases {
            let row = MessageIn { content: content.to_owned(), ..row(2, true, None) };
            let answer = echo(&format::prompt(&[row], &known, &TimeZone::UTC, Path::new("/workspace")));
            let blocks = parse::answer(&answer).blocks;
            assert_eq!(blocks, [parse::Block { to: "R & D", body: expected }], "{content}");
        }
    }

    /// Otherwise each answer would be one more that is not delivered.
    #[test]
    fn says_nothing_of_what_was_not_delivered() {
        let told = |seq, sender: &str| MessageIn {
            content: format!(r#"{{"text":"{seq}","sender":"{sender}"}}"#),
            platform_id: Some("C1".to_owned()),
            ..row(seq, true, None)
        };
        let known = Destinations(vec![chat("one", "C1", None)]);
        let rows = [told(2, DELIVERY), told(4, "Ann"), told(6, "system")];
        let answer = echo(&format::prompt(&rows, &known, &TimeZone::UTC, Path::new("/workspace")));
        let bodies: Vec<_> = parse::answer(&answer).blocks.iter().map(|block| block.body).collect();
        assert_eq!(bodies, ["4", "6"]);
    }

    #[test]
    fn keeps_order_and_leaves_out_strangers() {
        let from = |seq, chat: &str| MessageIn {
            platform_id: Some(chat.to_owned()),
            content: format!(r#"{{"text":"{seq}"}}"#),
            ..row(seq, true, None)
        };
        let known = Destinations(vec![chat("one", "C1", None), chat("two", "C2", None)]);
        let rows = [from(2, "C2"), from(4, "C3"), from(6, "C1")];
        let answer = parse::without_internal(&echo(&format::prompt(
            &rows,
            &known,
            &TimeZone::UTC,
            Path::new("/workspace"),
        )));
        let found = parse::answer(&answer);
        let pairs: Vec<_> = found.blocks.iter().map(|b| (b.to, b.body)).collect();
        assert_eq!(pairs, [("two", "2"), ("one", "6")]);
        assert_eq!(found.rest, "");
    }
}
