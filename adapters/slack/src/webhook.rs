//! Requests of Slack's, whose signature the runtime has verified: events, commands and clicks over HTTP. Pure.

use crate::teams::Kind;
use reqwest::Url;
use serde_json::Value;
use std::collections::HashMap;
use vestibule_plugin_api::WebhookRequest;
use vestibule_plugin_api::toolbox::json;

/// A request, as it is read.
#[derive(Debug, PartialEq)]
pub enum Request {
    /// Slack asks whether this is the place: the word to answer.
    Challenge(String),
    /// Slack tells something.
    Event(Kind, Value),
    /// Slack tells nothing that is to be done.
    Nothing,
    /// It is none of Slack's.
    Bad(&'static str),
}

pub fn read(request: &WebhookRequest) -> Request {
    let kind = request.header("content-type").unwrap_or_default();
    if kind.starts_with("application/x-www-form-urlencoded") {
        return form(&request.body);
    }
    let Ok(body) = json::read::<Value>(&request.body) else {
        return Request::Bad("This is no JSON.");
    };
    match body["type"].as_str().unwrap_or_default() {
        "url_verification" => match body["challenge"].as_str().filter(|word| word.len() <= 1_000) {
            Some(word) => Request::Challenge(word.to_owned()),
            None => Request::Bad("The challenge is missing."),
        },
        "event_callback" => Request::Event(Kind::Event, body),
        // Slack limits how much it sends: nothing is to be done.
        "app_rate_limited" => Request::Nothing,
        _ => Request::Bad("This is no event of Slack's Events API."),
    }
}

fn form(body: &[u8]) -> Request {
    let fields = fields(body);
    let of = |key: &str| fields.get(key).map(String::as_str);
    if let Some(payload) = of("payload") {
        return match json::read(payload.as_bytes()) {
            Ok(payload) => Request::Event(Kind::Interaction, payload),
            Err(_) => Request::Bad("The payload is no JSON."),
        };
    }
    if of("ssl_check") == Some("1") {
        return Request::Nothing;
    }
    match of("command") {
        Some(_) => Request::Event(Kind::Command, serde_json::json!(fields)),
        None => Request::Bad("This is no command and no interaction of Slack's."),
    }
}

/// The fields of a form, each once.
fn fields(body: &[u8]) -> HashMap<String, String> {
    let Ok(mut url) = Url::parse("form:") else { return HashMap::new() };
    url.set_query(Some(&String::from_utf8_lossy(body)));
    url.query_pairs().into_owned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
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
        let json = |body: Value| read(&request("application/json; charset=utf-8", &body.to_string()));
        assert_eq!(
            json(json!({ "type": "url_verification", "challenge": "abc" })),
            Request::Challenge("abc".into())
        );
        let event = json!({ "type": "event_callback", "event": { "text": "hi" } });
        assert_eq!(json(event.clone()), Request::Event(Kind::Event, event));
        assert_eq!(json(json!({ "type": "app_rate_limited" })), Request::Nothing);
        for bad in [json!({}), json!([]), json!({ "type": "x" }), json!({ "type": "url_verification" })] {
            assert!(matches!(json(bad.clone()), Request::Bad(_)), "{bad}");
        }
        assert!(matches!(read(&request("application/json", "{")), Request::Bad(_)));
    }

    #[test]
    fn one_broken_string_costs_no_event() {
        let event = br#"{"type":"event_callback","event":{"text":"\ud83d"}}"#;
        let click = "payload=%7B%22type%22%3A%22%5Cud83d%22%7D";
        let command = b"command=%2Fask&text=a\xff";
        let sent =
            |kind: &str, body: &[u8]| read(&WebhookRequest { body: body.to_vec(), ..request(kind, "") });
        for (kind, body, want) in [
            (
                "application/json",
                &event[..],
                json!({ "type": "event_callback", "event": { "text": "\u{fffd}" } }),
            ),
            ("application/x-www-form-urlencoded", click.as_bytes(), json!({ "type": "\u{fffd}" })),
            ("application/x-www-form-urlencoded", command, json!({ "command": "/ask", "text": "a\u{fffd}" })),
        ] {
            assert!(matches!(sent(kind, body), Request::Event(_, value) if value == want), "{want}");
        }
    }

    #[test]
    fn forms_are_commands_and_clicks() {
        let form = |body: &str| read(&request("application/x-www-form-urlencoded", body));
        let Request::Event(Kind::Command, command) = form(
            "command=%2Fask&text=what+is+%26+%23new%3F&user_id=U0ANN&user_name=ann&channel_id=C012&trigger_id=1.2.ab",
        ) else {
            panic!("a command")
        };
        assert_eq!((&command["command"], &command["text"]), (&json!("/ask"), &json!("what is & #new?")));
        assert_eq!(form("ssl_check=1&token=x"), Request::Nothing);
        assert_eq!(
            form("payload=%7B%22type%22%3A%22view_closed%22%7D"),
            Request::Event(Kind::Interaction, json!({ "type": "view_closed" }))
        );
        for bad in ["", "a=b", "payload=no"] {
            assert!(matches!(form(bad), Request::Bad(_)), "{bad}");
        }
        assert!(matches!(
            read(&request("application/x-www-form-urlencoded", "\u{0}\u{fffd}")),
            Request::Bad(_)
        ));
    }
}
