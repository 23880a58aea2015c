//! What is posted into a chat: a text, a file, or an album, each by one call. What Telegram does not take in one form is
//! sent in a plainer one: HTML as bare words, a picture as a file, into a topic that is gone to the chat itself.

use crate::answer::Failed;
use crate::map::Target;
use crate::media::{File, Kind};
use reqwest::multipart;
use serde_json::{Map, Value, json};
use vestibule_plugin_api::toolbox::http;
use vestibule_plugin_api::{Attachment, PluginError};

/// Telegram's words for a topic of a forum that is not there any more.
const TOPIC_GONE: [&str; 3] = ["message thread not found", "TOPIC_DELETED", "TOPIC_ID_INVALID"];
/// Telegram's words for HTML that it cannot read.
pub const HTML_NOT_READ: &str = "can't parse entities";

/// What is posted by one call.
#[derive(Clone, Copy)]
pub struct Post<'a> {
    /// The text, or what stands under the files, in Telegram's HTML.
    pub words: &'a str,
    /// The buttons under a text.
    pub buttons: Option<&'a Value>,
    /// One file, or an album of several.
    pub files: &'a [File],
    /// The message that this one answers.
    pub quote: Option<i64>,
}

/// The form in which it is posted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Form {
    /// Whether its words are HTML.
    html: bool,
    /// The topic that it goes to.
    topic: Option<i64>,
    /// Whether pictures, videos and music are shown as such, and not as files.
    shows: bool,
}

/// A call, ready to be made.
pub struct Call<'a> {
    /// The method of the Bot API.
    pub method: &'static str,
    /// What it is told.
    pub fields: Map<String, Value>,
    /// The files that go along, each under the name of its part.
    pub files: Vec<(String, &'a Attachment)>,
}

impl Form {
    /// The form that is tried first.
    pub fn first(to: &Target) -> Form {
        Form { html: true, topic: to.topic, shows: true }
    }

    /// The form that is tried after this failure, if a plainer one may help.
    pub fn after(self, post: &Post<'_>, failed: &Failed) -> Option<Form> {
        let is_shown = post.files.iter().any(|file| file.kind != Kind::Document);
        if self.html && failed.says(&[HTML_NOT_READ]) {
            Some(Form { html: false, ..self })
        } else if self.topic.is_some() && failed.says(&TOPIC_GONE) {
            Some(Form { topic: None, ..self })
        } else if self.shows
            && is_shown
            && failed.moved_to.is_none()
            && matches!(failed.error, PluginError::Refused { .. })
        {
            // A picture may be too wide, or be none. Whatever else it was, Telegram says it again.
            Some(Form { shows: false, ..self })
        } else {
            None
        }
    }
}

/// The call that posts this into a chat.
pub fn call<'a>(chat: i64, post: &Post<'a>, form: Form) -> Call<'a> {
    let mut fields = Map::new();
    let mut tell = |key: &str, value: Value| drop(fields.insert(key.to_owned(), value));
    tell("chat_id", chat.into());
    if let Some(topic) = form.topic {
        tell("message_thread_id", topic.into());
    }
    if let Some(quote) = post.quote {
        tell("reply_parameters", json!({ "message_id": quote, "allow_sending_without_reply": true }));
    }
    if let Some(buttons) = post.buttons {
        tell("reply_markup", buttons.clone());
    }
    let kind = |file: &File| if form.shows { file.kind } else { Kind::Document };
    let (method, files) = match post.files {
        [] => {
            say(&mut fields, "text", post.words, form.html);
            ("sendMessage", Vec::new())
        }
        [file] => {
            say(&mut fields, "caption", post.words, form.html);
            (kind(file).method(), vec![(kind(file).word().to_owned(), &file.attachment)])
        }
        files => {
            let part = |number: usize| format!("file{number}");
            let item = |(number, file): (usize, &File)| {
                let mut item = Map::new();
                item.insert("type".to_owned(), kind(file).word().into());
                item.insert("media".to_owned(), format!("attach://{}", part(number)).into());
                // One caption in an album stands under the whole of it.
                say(&mut item, "caption", if number == 0 { post.words } else { "" }, form.html);
                Value::Object(item)
            };
            fields.insert("media".to_owned(), files.iter().enumerate().map(item).collect());
            let named = files.iter().enumerate().map(|(number, file)| (part(number), &file.attachment));
            ("sendMediaGroup", named.collect())
        }
    };
    Call { method, fields, files }
}

/// Adds words, if there are any.
fn say(fields: &mut Map<String, Value>, key: &str, html: &str, as_html: bool) {
    if html.is_empty() {
        return;
    }
    if as_html {
        fields.insert("parse_mode".to_owned(), "HTML".into());
    }
    let words = if as_html { html.to_owned() } else { words_of(html) };
    fields.insert(key.to_owned(), words.into());
}

/// The words of a text in HTML.
pub fn words_of(html: &str) -> String {
    let mut parts = html.split('<');
    let first = parts.next().unwrap_or_default().to_owned();
    let words =
        parts.fold(first, |words, part| words + part.split_once('>').map_or(part, |(_, after)| after));
    let entities = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&amp;", "&")];
    entities.into_iter().fold(words, |words, (entity, sign)| words.replace(entity, sign))
}

/// The numbers of the messages that were posted.
pub fn numbers(result: &Value) -> Vec<i64> {
    let messages = result.as_array().map_or(std::slice::from_ref(result), Vec::as_slice);
    messages.iter().filter_map(|message| message["message_id"].as_i64()).collect()
}

/// A call as a form with files. Telegram reads a name as it stands, and `reqwest` leaves line breaks in it.
pub fn form(call: &Call<'_>) -> multipart::Form {
    let plain = |c: char| if c.is_control() || c == '"' || c == '\\' { '_' } else { c };
    let name = |name: &str| match name {
        "" => "file".to_owned(),
        name => name.chars().map(plain).collect(),
    };
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let form = call
        .fields
        .iter()
        .fold(multipart::Form::new(), |form, (key, value)| form.text(key.clone(), text(value)));
    call.files.iter().fold(form.percent_encode_noop(), |form, (part, file)| {
        form.part(part.clone(), http::part(file).file_name(name(&file.name)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::outcome;
    use std::io::{Read, Write};
    use std::net::TcpListener;

    fn file(kind: Kind, name: &str) -> File {
        let attachment =
            Attachment { name: name.into(), bytes: Some(b"bytes".to_vec().into()), ..Attachment::default() };
        File { kind, attachment }
    }

    fn refused(words: &str, more: Value) -> Failed {
        let answer = json!({ "ok": false, "error_code": 400, "description": words, "parameters": more });
        outcome(400, answer.to_string().as_bytes(), true).expect_err("it was not done")
    }

    #[test]
    fn what_is_posted_by_which_call() {
        let buttons = json!({ "inline_keyboard": [] });
        let to = Target { chat: -5, topic: Some(12) };
        let (text, none) = ("<b>a</b>", "");
        let one = [file(Kind::Photo, "a.jpg")];
        let many = [file(Kind::Photo, "a.jpg"), file(Kind::Video, "b.mp4")];
        let at = json!({ "chat_id": -5, "message_thread_id": 12 });
        let album = |first: &str, second: &str, caption: Value| {
            let mut first = json!({ "type": first, "media": "attach://file0" });
            first.as_object_mut().expect("an object").extend(caption.as_object().expect("an object").clone());
            json!({ "media": [first, { "type": second, "media": "attach://file1" }] })
        };
        let html = |key: &str| json!({ key: "<b>a</b>", "parse_mode": "HTML" });
        let first = Form::first(&to);
        let (plain, files) = (Form { html: false, ..first }, Form { shows: false, ..first });
        for (words, files, form, method, want) in [
            (text, &[][..], first, "sendMessage", html("text")),
            (text, &[], plain, "sendMessage", json!({ "text": "a" })),
            (text, &one, first, "sendPhoto", html("caption")),
            (none, &one, files, "sendDocument", json!({})),
            (text, &many, first, "sendMediaGroup", album("photo", "video", html("caption"))),
            (none, &many, first, "sendMediaGroup", album("photo", "video", json!({}))),
            (text, &many, plain, "sendMediaGroup", album("photo", "video", json!({ "caption": "a" }))),
            (none, &many, files, "sendMediaGroup", album("document", "document", json!({}))),
        ] {
            let post = Post { words, buttons: None, files, quote: None };
            let call = call(-5, &post, form);
            let mut all = at.clone();
            all.as_object_mut().expect("an object").extend(want.as_object().expect("an object").clone());
            assert_eq!((call.method, Value::Object(call.fields)), (method, all));
            assert_eq!(call.files.len(), files.len());
        }
        let post = Post { words: text, buttons: Some(&buttons), files: &[], quote: Some(3) };
        let fields = call(-5, &post, Form { topic: None, ..first }).fields;
        assert_eq!(fields["reply_markup"], buttons);
        assert_eq!(
            fields["reply_parameters"],
            json!({ "message_id": 3, "allow_sending_without_reply": true })
        );
        assert!(!fields.contains_key("message_thread_id"));
    }

    #[test]
    fn which_form_comes_after_which_failure() {
        let first = Form { html: true, topic: Some(12), shows: true };
        let post = |files| Post { words: "a", buttons: None, files, quote: None };
        let (photo, document) = ([file(Kind::Photo, "a")], [file(Kind::Document, "a")]);
        let moved = || json!({ "migrate_to_chat_id": -7 });
        for (words, more, files, form, want) in [
            ("can't parse entities: x", json!({}), &[][..], first, Some(Form { html: false, ..first })),
            ("message thread not found", json!({}), &[], first, Some(Form { topic: None, ..first })),
            ("message thread not found", json!({}), &[], Form { topic: None, ..first }, None),
            ("PHOTO_INVALID_DIMENSIONS", json!({}), &photo, first, Some(Form { shows: false, ..first })),
            ("PHOTO_INVALID_DIMENSIONS", json!({}), &photo, Form { shows: false, ..first }, None),
            ("chat not found", json!({}), &document, first, None),
            ("chat not found", json!({}), &[], first, None),
            ("group chat was upgraded", moved(), &photo, first, None),
        ] {
            assert_eq!(form.after(&post(files), &refused(words, more)), want, "{words}");
        }
        let later = Failed::from(PluginError::retry("x"));
        assert_eq!(first.after(&post(&photo), &later), None);
    }

    #[test]
    fn words_are_left_of_html() {
        for (html, want) in [
            ("plain", "plain"),
            ("<b>a</b> &lt;b&gt; &amp;lt; <a href=\"x&quot;\">c</a>", "a <b> &lt; c"),
            ("", ""),
        ] {
            assert_eq!(words_of(html), want);
        }
    }

    #[test]
    fn each_message_of_an_album_has_a_number() {
        assert_eq!(numbers(&json!([{ "message_id": 5 }, { "message_id": 6 }])), [5, 6]);
        assert_eq!(numbers(&json!({ "message_id": 5 })), [5]);
        assert_eq!(numbers(&json!(true)), [0; 0]);
    }

    /// The author of a file must not add fields by its name, such as another chat's number.
    #[tokio::test]
    async fn a_name_cannot_add_fields_to_its_form() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            let (mut heard, mut part) = (Vec::new(), [0; 4096]);
            while !heard.ends_with(b"--\r\n") {
                let count = stream.read(&mut part).expect("it is sent");
                heard.extend_from_slice(&part[..count]);
            }
            let _ = stream.write_all(b"HTTP/1.1 200 x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
            String::from_utf8(heard).expect("text")
        });
        let name = "a\"\r\n\r\n7\r\n--x\r\ncontent-disposition: form-data; name=\"chat_id\"\r\nä.txt";
        let files = [file(Kind::Document, name)];
        let post = Post { words: "", buttons: None, files: &files, quote: None };
        let call = call(1, &post, Form { html: true, topic: None, shows: true });
        let client = reqwest::Client::new();
        client.post(&url).multipart(form(&call)).send().await.expect("an answer");
        let heard = server.join().expect("it ends");
        let heads =
            heard.lines().filter(|line| line.to_lowercase().starts_with("content-disposition")).count();
        assert_eq!(heads, 2, "{heard}");
        assert!(heard.contains("ä.txt\"\r\n") && heard.contains("\r\n\r\nbytes\r\n"), "{heard}");
    }
}
