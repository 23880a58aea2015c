//! Requests of Slack's, whose signature the runtime has verified: events, commands and clicks over HTTP. Pure.

use crate::api::Own;
use crate::event::{self, Reading};
use reqwest::Url;
use serde_json::Value;
use std::collections::HashMap;
use vestibule_plugin_api::WebhookRequest;

/// A request, as it is read.
#[derive(Debug, PartialEq)]
pub enum Request {
    /// Slack asks whether this is the place: the word to answer.
    Challenge(String),
    /// Slack tells something.
    Event(Reading),
    /// It is none of Slack's.
    Bad(&'static str),
}

pub fn read(request: &WebhookRequest, own: &Own) -> Request {
    let kind = request.header("content-type").unwrap_or_default();
    if kind.starts_with("application/x-www-form-urlencoded") {
        return form(&request.body);
    }
    let Ok(body) = serde_json::from_slice::<Value>(&request.body) else {
        return Request::Bad("This is no JSON.");
    };
    match body["type"].as_str().unwrap_or_default() {
        "url_verification" => match body["challenge"].as_str().filter(|word| word.len() <= 1_000) {
            Some(word) => Request::Challenge(word.to_owned()),
            None => Request::Bad("The challenge is missing."),
        },
        "event_callback" => Request::Event(event::read(&body, own)),
        // Slack limits how much it sends: nothing is to be done.
        "app_rate_limited" => Request::Event(Reading::Nothing),
        _ => Request::Bad("This is no event of Slack's Events API."),
    }
}

fn form(body: &[u8]) -> Request {
    let fields = fields(body);
    let of = |key: &str| fields.get(key).map(String::as_str);
    if let Some(payload) = of("payload") {
        return match serde_json::from_str(payload) {
            Ok(payload) => Request::Event(event::interaction(&payload)),
            Err(_) => Request::Bad("The payload is no JSON."),
        };
    }
    if of("ssl_check") == Some("1") {
        return Request::Event(Reading::Nothing);
    }
    match of("command") {
        Some(_) => Request::Event(event::command(&serde_json::json!(fields))),
        None => Request::Bad("This is no command and no interaction of Slack's."),
    }
}

/// The fields of a form, each once.
fn fields(body: &[u8]) -> HashMap<String, String> {
    let Ok(mut url) = Url::parse("form:") else { return HashMap::new() };
    url.set_query(std::str::from_utf8(body).ok());
    url.query_pairs().into_owned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::tests::own;
    use serde_json::json;

    fn request(kind: &str, body: &str) -> WebhookRequest {
        let headers = vec![("content-type".to_owned(), kind.to_owned())];
        WebhookRequest {
            method: "POST".into(),
            query: String::new(),
            headers,
            body: body.as_bytes().to_vec(),
        }
    }

    #[test]
    fn what_each_request_is() {
        let json = |body: Value| read(&request("application/json; charset=utf-8", &body.to_string()), &own());
        assert_eq!(
            json(json!({ "type": "url_verification", "challenge": "abc" })),
            Request::Challenge("abc".into())
        );
        let event =
            json!({ "type": "message", "channel": "C012", "ts": "17.2", "user": "U0ANN", "text": "hi" });
        let Request::Event(Reading::Said(said)) = json(json!({ "type": "event_callback", "event": event }))
        else {
            panic!("a message")
        };
        assert_eq!(said.text, "hi");
        assert_eq!(json(json!({ "type": "app_rate_limited" })), Request::Event(Reading::Nothing));
        for bad in [json!({}), json!([]), json!({ "type": "x" }), json!({ "type": "url_verification" })] {
            assert!(matches!(json(bad.clone()), Request::Bad(_)), "{bad}");
        }
        assert!(matches!(read(&request("application/json", "{"), &own()), Request::Bad(_)));
    }

    #[test]
    fn forms_are_commands_and_clicks() {
        let form = |body: &str| read(&request("application/x-www-form-urlencoded", body), &own());
        let Request::Event(Reading::Command(command)) = form(
            "command=%2Fask&text=what+is+%26+%23new%3F&user_id=U0ANN&user_name=ann&channel_id=C012&trigger_id=1.2.ab",
        ) else {
            panic!("a command")
        };
        assert_eq!(
            (command.text.as_str(), command.event_id.as_str()),
            ("/ask what is & #new?", "command/1.2.ab")
        );
        assert_eq!(form("ssl_check=1&token=x"), Request::Event(Reading::Nothing));
        assert_eq!(form("payload=%7B%22type%22%3A%22view_closed%22%7D"), Request::Event(Reading::Nothing));
        assert_eq!(
            form("command=%2Fask&user_id=U0ANN&channel_id=C012"),
            Request::Event(Reading::Nothing),
            "without an id it cannot be told from another one"
        );
        for bad in ["", "a=b", "payload=no"] {
            assert!(matches!(form(bad), Request::Bad(_)), "{bad}");
        }
        assert!(matches!(
            read(&request("application/x-www-form-urlencoded", "\u{0}\u{fffd}"), &own()),
            Request::Bad(_)
        ));
    }
}
