//! Makes the prompt of rows, in NanoClaw's words, so that an agent's instructions serve both. Pure.

use crate::destinations::Destinations;
use jiff::tz::TimeZone;
use serde_json::Value;
use std::borrow::Cow;
use std::path::Path;
use vestibule_session::MessageIn;

/// The prompt of a batch: the zone, then the chat together, then each task, then each webhook. `workspace` is the session's
/// folder as the agent sees it: files lie below it.
pub fn prompt(rows: &[MessageIn], destinations: &Destinations, zone: &TimeZone, workspace: &Path) -> String {
    let (mut chat, mut tasks, mut webhooks) = (Vec::new(), Vec::new(), Vec::new());
    for row in rows {
        let element = Element { row, content: content(&row.content), destinations, zone, workspace };
        match row.kind.as_str() {
            "task" => tasks.push(element.task()),
            "webhook" => webhooks.push(element.webhook()),
            _ => chat.push(element.message()),
        }
    }
    let mut groups = Vec::new();
    match chat.len() {
        0 => {}
        1 => groups.append(&mut chat),
        _ => groups.push(format!("<messages>\n{}\n</messages>", chat.join("\n"))),
    }
    groups.append(&mut tasks);
    groups.append(&mut webhooks);
    let name = zone.iana_name().unwrap_or("UTC");
    format!("<context timezone=\"{}\" />\n{}", escape(name), groups.join("\n\n"))
}

/// The text of a row's content; content that is not JSON is all text.
pub fn text(content_text: &str) -> String {
    string(&content(content_text), "text").unwrap_or_default().to_owned()
}

/// Reads a row's content. Other programs wrote it, in more shapes than a type could list; what is no JSON is a text.
fn content(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| serde_json::json!({ "text": text }))
}

struct Element<'a> {
    row: &'a MessageIn,
    content: Value,
    destinations: &'a Destinations,
    zone: &'a TimeZone,
    workspace: &'a Path,
}

impl Element<'_> {
    fn message(&self) -> String {
        let mut out = String::from("<message");
        if self.row.seq != 0 {
            out.push_str(&format!(" id=\"{}\"", self.row.seq));
        }
        out.push_str(&self.from());
        let reply_to = &self.content["replyTo"];
        out.push_str(&format!(" sender=\"{}\" time=\"{}\"", escape(self.sender()), self.time()));
        if let Some(id) = scalar(&reply_to["id"]) {
            out.push_str(&format!(" reply_to=\"{}\"", escape(&id)));
        }
        out.push('>');
        if let (Some(sender), Some(text)) = (string(reply_to, "sender"), string(reply_to, "text")) {
            let (sender, text) = (escape(sender), escape(text));
            out.push_str(&format!("\n  <quoted_message from=\"{sender}\">{text}</quoted_message>\n"));
        }
        out.push_str(&escape(string(&self.content, "text").unwrap_or_default()));
        for attachment in self.content["attachments"].as_array().into_iter().flatten() {
            out.push('\n');
            out.push_str(&attachment_line(attachment, self.workspace));
        }
        out.push_str("</message>");
        out
    }

    /// The instructions are not escaped: they are the agent's own words of an earlier turn.
    fn task(&self) -> String {
        let mut lines = vec![format!("<task{} time=\"{}\">", self.from(), self.time())];
        if is_truthy(&self.content["scriptOutput"]) {
            lines[0].push_str("Script output:");
            lines.extend([pretty(&self.content["scriptOutput"]), String::new(), "Instructions:".to_owned()]);
        } else {
            lines[0].push_str("Instructions:");
        }
        lines.push(string(&self.content, "prompt").unwrap_or_default().to_owned());
        lines.join("\n") + "</task>"
    }

    fn webhook(&self) -> String {
        let word = |key| escape(string(&self.content, key).unwrap_or("unknown")).into_owned();
        let payload = &self.content["payload"];
        let body = pretty(if is_truthy(payload) { payload } else { &self.content });
        let (source, event) = (word("source"), word("event"));
        format!("<webhook{} source=\"{source}\" event=\"{event}\">{body}</webhook>", self.from())
    }

    /// The attribute `from`, with the space before it: the name to answer to. Empty for a row without an address.
    fn from(&self) -> String {
        let row = self.row;
        let name = match self.destinations.name_of(row) {
            _ if row.channel_type.is_none() && row.platform_id.is_none() => return String::new(),
            Some(name) => name.to_owned(),
            None => {
                let word = |word: &Option<String>| word.clone().unwrap_or_default();
                format!("unknown:{}:{}", word(&row.channel_type), word(&row.platform_id))
            }
        };
        format!(" from=\"{}\"", escape(&name))
    }

    fn sender(&self) -> &str {
        let author = &self.content["author"];
        string(&self.content, "sender")
            .or_else(|| string(author, "fullName"))
            .or_else(|| string(author, "userName"))
            .unwrap_or("Unknown")
    }

    /// As people write it: `Jan 15, 2026, 9:05 PM`.
    fn time(&self) -> String {
        let at =
            jiff::Timestamp::from_millisecond(self.row.timestamp.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        at.to_zoned(self.zone.clone()).strftime("%b %-d, %Y, %-I:%M %p").to_string()
    }
}

/// Names and addresses come from strangers, so all of it is escaped.
fn attachment_line(attachment: &Value, workspace: &Path) -> String {
    let kind = escape(string(attachment, "type").unwrap_or("file"));
    let name = string(attachment, "name").or_else(|| string(attachment, "filename")).unwrap_or("attachment");
    let name = escape(name);
    if let Some(path) = string(attachment, "localPath") {
        let path = workspace.join(path).to_string_lossy().into_owned();
        format!("[{kind}: {name} — saved to {}]", escape(&path))
    } else if let Some(why) = string(attachment, "leftOut") {
        format!("[{kind}: {name} — not saved: {}]", escape(why))
    } else if let Some(url) = string(attachment, "url") {
        format!("[{kind}: {name} ({})]", escape(url))
    } else {
        format!("[{kind}: {name}]")
    }
}

fn pretty(value: &Value) -> String {
    format!("{value:#}")
}

/// The value of a key, if it is a string and not empty.
fn string<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value[key].as_str().filter(|text| !text.is_empty())
}

/// An id: some platforms have strings, some numbers.
fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) if number.as_f64() != Some(0.0) => Some(number.to_string()),
        _ => None,
    }
}

fn is_truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(is) => *is,
        Value::String(text) => !text.is_empty(),
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::Array(_) | Value::Object(_) => true,
    }
}

/// Escapes text for an element or an attribute.
pub fn escape(text: &str) -> Cow<'_, str> {
    if !text.contains(['&', '<', '>', '"']) {
        return Cow::Borrowed(text);
    }
    let escaped = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;");
    Cow::Owned(escaped)
}

/// The inverse of [`escape`].
pub fn unescape(text: &str) -> String {
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::tests::row;
    use crate::destinations::tests::chat;
    use vestibule_session::parse_time;

    fn says(seq: i64, at: &str, content: &str) -> MessageIn {
        let timestamp = parse_time(at).unwrap();
        MessageIn { content: content.to_owned(), timestamp, ..row(seq, true, None) }
    }

    fn shown(rows: &[MessageIn], zone: &str) -> String {
        let known = Destinations(vec![chat("general", "slack:C1", None)]);
        prompt(rows, &known, &TimeZone::get(zone).unwrap(), Path::new("/workspace"))
    }

    /// The element of a row at the epoch, without the prompt around it.
    fn element(kind: &str, content: &str) -> String {
        let row = MessageIn { kind: kind.to_owned(), ..says(2, "1970-01-01T00:00:00Z", content) };
        shown(&[row], "UTC").replace("<context timezone=\"UTC\" />\n", "")
    }

    #[test]
    fn a_slack_mention() {
        let content = r#"{"_type":"chat:Message","id":"1718000000.000100","text":"@U0BOT summarise <this> & reply","author":{"userId":"U0ANN","userName":"ann","fullName":"Ann Lee","isBot":false,"isMe":false},"senderId":"U0ANN","sender":"Ann Lee","senderName":"Ann Lee","attachments":[{"type":"file","name":"a.pdf","mimeType":"application/pdf","size":3,"localPath":"inbox/1718000000.000100:ag-1/a.pdf"}]}"#;
        let row = MessageIn { kind: "chat-sdk".to_owned(), ..says(2, "2024-06-10T06:13:20Z", content) };
        let expected = "\
<context timezone=\"Europe/Berlin\" />
<message id=\"2\" from=\"general\" sender=\"Ann Lee\" time=\"Jun 10, 2024, 8:13 AM\">@U0BOT summarise &lt;this&gt; &amp; reply
[file: a.pdf — saved to /workspace/inbox/1718000000.000100:ag-1/a.pdf]</message>";
        assert_eq!(shown(&[row], "Europe/Berlin"), expected);
    }

    #[test]
    fn two_rows_with_context_and_a_quote() {
        let rows = [
            says(4, "2026-01-15T11:58:00Z", r#"{"text":"lunch?","sender":"Bob"}"#),
            says(
                6,
                "2026-01-15T12:00:00Z",
                r#"{"text":"@bot where?","sender":"Ann Lee","replyTo":{"id":"9","sender":"Bob","text":"lunch?"}}"#,
            ),
        ];
        let expected = "\
<context timezone=\"UTC\" />
<messages>
<message id=\"4\" from=\"general\" sender=\"Bob\" time=\"Jan 15, 2026, 11:58 AM\">lunch?</message>
<message id=\"6\" from=\"general\" sender=\"Ann Lee\" time=\"Jan 15, 2026, 12:00 PM\" reply_to=\"9\">
  <quoted_message from=\"Bob\">lunch?</quoted_message>
@bot where?</message>
</messages>";
        assert_eq!(shown(&rows, "UTC"), expected);
    }

    #[test]
    fn elements() {
        let head = |sender: &str| {
            format!("<message id=\"2\" from=\"general\" sender=\"{sender}\" time=\"Jan 1, 1970, 12:00 AM\"")
        };
        let plain = head("Unknown");
        let task = "<task from=\"general\" time=\"Jan 1, 1970, 12:00 AM\">";
        let cases = [
            ("chat", "not json", format!("{plain}>not json</message>")),
            ("chat", "7", format!("{plain}></message>")),
            ("chat", r#"{"text":5,"sender":""}"#, format!("{plain}></message>")),
            (
                "chat",
                r#"{"text":"a","author":{"userName":"b \"c\""}}"#,
                format!("{}>a</message>", head("b &quot;c&quot;")),
            ),
            ("chat", r#"{"text":"a","replyTo":{"id":9}}"#, format!("{plain} reply_to=\"9\">a</message>")),
            (
                "chat",
                r#"{"text":"a","replyTo":{"sender":"S","text":"<T>"}}"#,
                format!("{plain}>\n  <quoted_message from=\"S\">&lt;T&gt;</quoted_message>\na</message>"),
            ),
            (
                "chat",
                r#"{"attachments":[{"filename":"b","url":"https://x/?a&b"},{"type":"image"}]}"#,
                format!("{plain}>\n[file: b (https://x/?a&amp;b)]\n[image: attachment]</message>"),
            ),
            (
                "task",
                r#"{"prompt":"stand-up & <go>"}"#,
                format!("{task}Instructions:\nstand-up & <go></task>"),
            ),
            (
                "task",
                r#"{"prompt":"p","scriptOutput":{"n":1}}"#,
                format!("{task}Script output:\n{{\n  \"n\": 1\n}}\n\nInstructions:\np</task>"),
            ),
            (
                "webhook",
                r#"{"source":"ci","payload":[1]}"#,
                "<webhook from=\"general\" source=\"ci\" event=\"unknown\">[\n  1\n]</webhook>".to_owned(),
            ),
        ];
        for (kind, content, expected) in cases {
            assert_eq!(element(kind, content), expected, "{content}");
        }
    }

    #[test]
    fn groups_and_unknown_places() {
        let at = "1970-01-01T00:00:00Z";
        let task = MessageIn { kind: "task".to_owned(), ..says(2, at, "{}") };
        let elsewhere = MessageIn { platform_id: Some("D\"".to_owned()), ..says(4, at, r#"{"text":"a"}"#) };
        let nowhere =
            MessageIn { channel_type: None, platform_id: None, seq: 0, ..says(6, at, r#"{"text":"b"}"#) };
        let time = "time=\"Jan 1, 1970, 12:00 AM\"";
        let expected = format!(
            "<context timezone=\"UTC\" />\n<messages>\n\
             <message id=\"4\" from=\"unknown:slack:D&quot;\" sender=\"Unknown\" {time}>a</message>\n\
             <message sender=\"Unknown\" {time}>b</message>\n</messages>\n\n\
             <task from=\"general\" {time}>Instructions:\n</task>"
        );
        assert_eq!(shown(&[task, elsewhere, nowhere], "UTC"), expected);
    }

    #[test]
    fn escaping_is_taken_back() {
        let text = "a &amp; <b> \"c\" &lt;";
        assert_eq!(unescape(&escape(text)), text);
    }
}
