//! What the Bot API's answers mean for the runtime. Pure.

use serde_json::Value;
use std::time::Duration;
use vestibule_plugin_api::toolbox::{http, json};
use vestibule_plugin_api::{About, Failure, PluginError};

/// The longest wait that is believed, in seconds: Telegram asks for minutes at most.
const WAIT_SECONDS_MAX: u64 = 3_600;

/// Why a call was not done.
#[derive(Debug, PartialEq)]
pub struct Failed {
    /// What the runtime is told.
    pub error: PluginError,
    /// The number that the group has now, if it became a supergroup.
    pub moved_to: Option<i64>,
}

/// The outcome of a call.
pub type Called<T> = std::result::Result<T, Failed>;

impl From<PluginError> for Failed {
    fn from(error: PluginError) -> Failed {
        Failed { error, moved_to: None }
    }
}

impl From<Failed> for PluginError {
    fn from(failed: Failed) -> PluginError {
        failed.error
    }
}

/// The result in an answer, or why the call was not done.
pub fn outcome(status: u16, body: &[u8], whole: bool) -> Called<Value> {
    let mut answer: Value = json::read(body).unwrap_or_default();
    let error = match answer["ok"].as_bool() {
        Some(true) => return Ok(answer["result"].take()),
        Some(false) => {
            let moved_to = answer["parameters"]["migrate_to_chat_id"].as_i64();
            return Err(Failed { error: meaning(status, &answer), moved_to });
        }
        // The part that is missing may have said that the call was done.
        None if !whole => Failure::network(true).error("Telegram's answer broke off"),
        None if status >= 500 => Failure::of_http(status, false)
            .error(format!("Telegram, or what stands before it, has a problem ({status})")),
        None => not_telegram(Failure::of_http(status, false)),
    };
    Err(error.into())
}

/// What answers is something else.
pub fn not_telegram(failure: Failure) -> PluginError {
    failure.error("what answers there is not Telegram's Bot API: if that lasts, check `api_root`")
}

impl Failed {
    /// Whether Telegram refused the call in some of these words.
    pub fn says(&self, words: &[&str]) -> bool {
        let has = |reason: &str| words.iter().any(|words| reason.contains(words));
        matches!(&self.error, PluginError::Refused { reason } if has(reason))
    }
}

/// The error for a call that was not done.
fn meaning(status: u16, answer: &Value) -> PluginError {
    let code = answer["error_code"].as_u64().and_then(|code| u16::try_from(code).ok()).unwrap_or(status);
    let words = answer["description"].as_str().unwrap_or_default();
    let words = http::words(words);
    let words = if words.is_empty() { code.to_string() } else { format!("{code}: {words}") };
    let more = &answer["parameters"];
    let failure = Failure::of_http(code, true);
    match code {
        // With a token that it does not know, Telegram knows no method either.
        401 | 404 => Failure::for_good(About::Account).error(format!(
            "Telegram refused the token ({words}): put the one that BotFather shows into the config as `token`, and run \
             `vestibule plugin reload telegram`"
        )),
        409 => Failure::for_now(About::Account).error(format!(
            "another program takes this bot's updates ({words}): stop it, or make a bot of its own for it"
        )),
        429 => {
            let wait = more["retry_after"].as_u64().unwrap_or(1).clamp(1, WAIT_SECONDS_MAX);
            failure.after(Duration::from_secs(wait)).error(format!("Telegram asks to wait {wait} s ({words})"))
        }
        500.. => failure.error(format!("Telegram has a problem ({words})")),
        ..=399 => not_telegram(failure),
        _ => match more["migrate_to_chat_id"].as_i64() {
            Some(chat) => PluginError::refused(format!(
                "the group has become a supergroup ({words}): it is telegram:{chat} now"
            )),
            None => failure.error(format!("Telegram refused it ({words})")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use vestibule_plugin_api::testing::class_of;

    #[test]
    fn what_each_answer_means() {
        let told = |code: u16, words: &str| {
            json!({ "ok": false, "error_code": code, "description": words }).to_string()
        };
        let with = |code: u16, parameters: Value| {
            json!({ "ok": false, "error_code": code, "description": "x", "parameters": parameters })
                .to_string()
        };
        let html = || "<html>back soon</html>".to_owned();
        let cut = || r#"{"ok":true,"result":{"messa"#.to_owned();
        let table = [
            (401, told(401, "Unauthorized"), "broken", None, "`token`"),
            (404, told(404, "Not Found"), "broken", None, "`token`"),
            (
                403,
                told(403, "Forbidden: bot was blocked by the user"),
                "refused",
                None,
                "blocked by the user",
            ),
            (400, told(400, "Bad Request: chat not found\u{7}"), "refused", None, "chat not found)"),
            (400, with(400, json!({ "migrate_to_chat_id": -1002 })), "refused", None, "telegram:-1002"),
            (413, html(), "refused", None, "api_root"),
            (409, told(409, "Conflict"), "account", None, "another program"),
            (429, with(429, json!({ "retry_after": 7 })), "retry", Some(7_000), "wait 7 s"),
            (429, with(429, json!({ "retry_after": 999_999 })), "retry", Some(3_600_000), "wait"),
            (429, told(429, "x"), "retry", Some(1_000), "wait 1 s"),
            (500, told(500, "Internal Server Error"), "account, in doubt", None, "500"),
            // An answer that is not Telegram's own is no verdict, and may come from a proxy that passed the call on.
            (502, html(), "account, in doubt", None, "502"),
            (200, html(), "account, in doubt", None, "`api_root`"),
            (200, cut(), "account, in doubt", None, "broke off"),
            (200, String::new(), "account, in doubt", None, "broke off"),
            (404, html(), "account", None, "`api_root`"),
            (401, html(), "account", None, "`api_root`"),
            (302, html(), "account", None, "`api_root`"),
        ];
        for (status, answer, expected, after, named) in table {
            let whole = answer.ends_with(['}', '>']);
            let failed = outcome(status, answer.as_bytes(), whole).expect_err("it was not done");
            assert_eq!(failed.moved_to, answer.contains("migrate_to").then_some(-1002), "{answer}");
            let error = failed.error;
            assert_eq!(class_of(&error), (expected, after), "{status} {answer}: {error:?}");
            assert!(error.reason().contains(named), "{status} {answer}: {error:?}");
        }
        let done = outcome(200, br#"{"ok":true,"result":7}"#, true);
        assert_eq!(done, Ok(json!(7)));
    }

    #[test]
    fn one_broken_string_holds_no_update_up() {
        let body = br#"{"ok":true,"result":[{"update_id":1,"message":{"text":"\ud83d"}},{"update_id":2}]}"#;
        let updates = outcome(200, body, true).expect("it reads");
        assert_eq!(
            updates,
            json!([{ "update_id": 1, "message": { "text": "\u{fffd}" } }, { "update_id": 2 }])
        );
    }
}
