//! What Meta's errors mean. Pure.

use serde_json::Value;
use std::time::Duration;
use vestibule_plugin_api::toolbox::{http, json};
use vestibule_plugin_api::{About, Failure, PluginError, Result};

/// The time in which a business may write freely has passed since the person wrote.
const WINDOW_IS_OVER: u64 = 131_047;
/// The token is none, or none any more.
const TOKEN: [u64; 3] = [0, 190, 102];
/// The account may not send until its operator mends it: locked, unpaid, not registered, without the permission.
const ACCOUNT: [u64; 8] = [3, 10, 368, 131_005, 131_031, 131_042, 131_045, 133_010];
/// Too much at once: for the app, for the account, for the number, for this person.
const TOO_MUCH: [(u64, u64); 9] = [
    (4, 60),
    (17, 60),
    (32, 60),
    (613, 60),
    (80_007, 60),
    (80_008, 60),
    (130_429, 5),
    (131_048, 600),
    (131_056, 6),
];
/// Meta's own trouble: whether it sent the message is not known.
const TROUBLE: [u64; 7] = [1, 2, 131_000, 131_016, 131_057, 133_004, 135_000];
/// Meta's words for an id that there is not, or that the token may not see.
const GONE: [&str; 2] = ["(100/33: ", "(100/33)"];
/// The wait when Meta asks for one and names none.
const WAIT: Duration = Duration::from_secs(30);

/// Meta's words for an error, and what to do about it where that can be said.
pub fn words(error: &Value) -> String {
    let code = error["code"].as_u64().unwrap_or_default();
    let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let said = text(&error["message"]).or_else(|| text(&error["title"]));
    let details = text(&error["error_data"]["details"]).filter(|details| said.as_ref() != Some(details));
    let said = [said, details].into_iter().flatten().collect::<Vec<_>>().join(": ");
    let number = match error["error_subcode"].as_u64() {
        Some(further) => format!("{code}/{further}"),
        None => code.to_string(),
    };
    let said = http::words(&if said.is_empty() { number } else { format!("{number}: {said}") });
    match code {
        WINDOW_IS_OVER => format!(
            "it is more than 24 hours since this person wrote, and WhatsApp takes nothing but approved templates then: \
             name one in the metadata as `template`, or wait until they write ({said})"
        ),
        0 if said == "0" => "WhatsApp refused it, and does not say why".to_owned(),
        _ => format!("WhatsApp refused it ({said})"),
    }
}

/// The fields of an answer, or why the call was not done.
pub fn outcome(status: u16, wait: Option<Duration>, body: &[u8], whole: bool) -> Result<Value> {
    let answer: Value = json::read(body).unwrap_or_default();
    let wait = wait.unwrap_or(WAIT);
    let error = match &answer["error"] {
        error @ Value::Object(_) => meaning(status, wait, error),
        _ if answer.is_object() && (200..300).contains(&status) => return Ok(answer),
        _ if status == 429 => {
            Failure::of_http(429, true).after(wait).error(format!("Meta asks to wait {} s", wait.as_secs()))
        }
        // The part that is missing may have said that the call was done.
        _ if !whole => Failure::network(true).error("Meta's answer broke off"),
        _ if status >= 500 => Failure::of_http(status, false)
            .error(format!("Meta, or what stands before it, has a problem ({status})")),
        _ => not_meta(status),
    };
    Err(error)
}

/// The error of a call to the phone number itself: that there is none of this id means that the token may not use it any
/// more.
pub fn of_number(error: PluginError) -> PluginError {
    match error {
        PluginError::Refused { reason } if GONE.iter().any(|words| reason.contains(words)) => {
            Failure::for_good(About::Account)
                .error(format!("{reason}: give the token's user the account again"))
        }
        error => error,
    }
}

/// The error for an answer that Meta would not give.
pub fn not_meta(status: u16) -> PluginError {
    Failure::of_http(status, false)
        .error("what answers there is not Meta's Graph API: if that lasts, check `api_url`")
}

fn meaning(status: u16, wait: Duration, error: &Value) -> PluginError {
    let code = error["code"].as_u64().unwrap_or(u64::MAX);
    let words = words(error);
    let pace = TOO_MUCH.iter().find(|(of, _)| *of == code).map(|(_, seconds)| Duration::from_secs(*seconds));
    match code {
        _ if TOKEN.contains(&code) => Failure::for_good(About::Account).error(format!(
            "Meta refused the token: make one for a system user that does not end, put it into the config as \
             `access_token`, and run `vestibule plugin reload whatsapp` ({words})"
        )),
        _ if ACCOUNT.contains(&code) || (200..300).contains(&code) => {
            Failure::for_good(About::Account).error(words)
        }
        _ if pace.is_some() || status == 429 => {
            Failure::for_now(About::Chat).after(pace.unwrap_or(wait)).error(words)
        }
        _ if TROUBLE.contains(&code) || status >= 500 => Failure::of_http(503, true).error(words),
        _ => Failure::for_good(About::Chat).error(words),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use vestibule_plugin_api::testing::class_of;

    #[test]
    fn what_each_answer_means() {
        let told = |code: u64| {
            json!({ "error": { "message": "(#1) x\u{7}", "type": "OAuthException", "code": code,
            "error_data": { "messaging_product": "whatsapp", "details": "the details" }, "fbtrace_id": "A" } })
        };
        let (html, cut) = (json!("<html>").to_string(), r#"{"messages":[{"id":"wam"#.to_owned());
        for (status, answer, want, after, named) in [
            (401, told(190).to_string(), "broken", None, "`access_token`"),
            (401, told(0).to_string(), "broken", None, "plugin reload whatsapp"),
            (403, told(10).to_string(), "broken", None, "the details"),
            (403, told(200).to_string(), "broken", None, "the details"),
            (403, told(131_031).to_string(), "broken", None, "131031"),
            (400, told(131_047).to_string(), "refused", None, "`template`"),
            (400, told(131_026).to_string(), "refused", None, "131026: (#1) x: the details"),
            (404, told(132_001).to_string(), "refused", None, "132001"),
            (400, told(100).to_string(), "refused", None, "(100: "),
            (400, told(131_056).to_string(), "retry", Some(6_000), "131056"),
            (400, told(130_429).to_string(), "retry", Some(5_000), "130429"),
            (400, told(4).to_string(), "retry", Some(60_000), "(4: "),
            (429, told(99).to_string(), "retry", Some(7_000), "99"),
            (429, html.clone(), "retry", Some(7_000), "wait 7 s"),
            (500, told(131_000).to_string(), "account, in doubt", None, "131000"),
            (400, told(2).to_string(), "account, in doubt", None, "(2: "),
            (503, told(77).to_string(), "account, in doubt", None, "77"),
            // An answer that is not Meta's own is no verdict, and may come from a proxy that passed the call on.
            (502, html.clone(), "account, in doubt", None, "502"),
            (200, html.clone(), "account, in doubt", None, "`api_url`"),
            (200, "[]".to_owned(), "account, in doubt", None, "`api_url`"),
            (200, cut, "account, in doubt", None, "broke off"),
            (200, String::new(), "account, in doubt", None, "broke off"),
            (404, html.clone(), "account", None, "`api_url`"),
            (401, html, "account", None, "`api_url`"),
            (302, "moved".to_owned(), "account", None, "`api_url`"),
        ] {
            let whole = !answer.is_empty() && !answer.ends_with("wam");
            let error = outcome(status, Some(Duration::from_secs(7)), answer.as_bytes(), whole)
                .expect_err("it was not done");
            assert_eq!(class_of(&error), (want, after), "{status} {answer}: {error:?}");
            assert!(error.reason().contains(named), "{status} {answer}: {error:?}");
        }
        let done = outcome(200, None, br#"{"messages":[{"id":"wamid.1"}]}"#, true).expect("it is done");
        assert_eq!(done["messages"][0]["id"], "wamid.1");
        let cut = br#"{"messages":[{"id":"wamid.1"}],"contacts":[{"input":"\ud83d"}]}"#;
        assert_eq!(outcome(200, None, cut, true).expect("it is done")["messages"][0]["id"], "wamid.1");
    }

    #[test]
    fn a_number_that_the_token_has_lost_is_the_accounts_trouble() {
        let answer = json!({ "error": { "message": "Unsupported post request. Object with ID '1' does not exist",
            "code": 100, "error_subcode": 33 } });
        let error = outcome(400, None, answer.to_string().as_bytes(), true).expect_err("it was not done");
        assert!(matches!(error, PluginError::Refused { .. }), "{error:?}");
        assert!(
            matches!(of_number(error), PluginError::Broken { reason } if reason.contains("token's user"))
        );
        let other = PluginError::refused("WhatsApp refused it (100: Invalid parameter)");
        assert_eq!(of_number(other.clone()), other);
    }

    #[test]
    fn the_words_of_a_status_are_metas() {
        let error = json!({ "code": 131_026, "title": "Message undeliverable", "message": "Message undeliverable",
            "error_data": { "details": "Message Undeliverable." } });
        assert_eq!(
            words(&error),
            "WhatsApp refused it (131026: Message undeliverable: Message Undeliverable.)"
        );
        for (error, want) in [
            (json!(null), "WhatsApp refused it, and does not say why"),
            (json!({ "code": 131_026 }), "WhatsApp refused it (131026)"),
            (json!({ "code": 100, "error_subcode": 33 }), "WhatsApp refused it (100/33)"),
            (json!({ "title": "x" }), "WhatsApp refused it (0: x)"),
        ] {
            assert_eq!(words(&error), want);
        }
    }
}
