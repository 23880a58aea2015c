//! The question by `GET` with which a platform tries a webhook's address. Pure.

use subtle::ConstantTimeEq;
use vestibule_plugin_api::Challenge;

/// The longest word that is answered, in bytes.
const WORD_BYTES_MAX: usize = 1024;

/// The word that answers the question in `query`, if it holds the account's token.
///
/// # Errors
/// Says what is wrong, in words that give nothing away.
pub fn answer(challenge: &Challenge, own_token: &str, query: &str) -> Result<String, &'static str> {
    if !challenge.unknown.is_empty() {
        return Err("this channel's webhooks are tried in a way that this runtime does not know");
    }
    let once = |name: &str| {
        let mut values = form_urlencoded::parse(query.as_bytes()).filter(|(key, _)| key == name);
        let value = values.next()?.1.into_owned();
        values.next().is_none().then_some(value)
    };
    if !challenge.mode.is_empty() && once(&challenge.mode).as_deref() != Some(challenge.mode_is.as_str()) {
        return Err("webhooks are posted, and this asks for nothing that a webhook is tried with");
    }
    let token = once(&challenge.token).unwrap_or_default();
    let is_equal: bool = token.as_bytes().ct_eq(own_token.as_bytes()).into();
    if own_token.is_empty() || !is_equal {
        return Err("the token is another one than the account's");
    }
    let fits =
        |word: &String| (1..=WORD_BYTES_MAX).contains(&word.len()) && !word.chars().any(char::is_control);
    once(&challenge.challenge).filter(fits).ok_or("it holds no word to answer with")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_answered_and_to_which_question() {
        let meta: Challenge = serde_json::from_str("{}").expect("it fits");
        let plain: Challenge =
            serde_json::from_str(r#"{"mode":"","token":"t","challenge":"c"}"#).expect("it fits");
        let newer: Challenge = serde_json::from_str(r#"{"signed":"of a newer level"}"#).expect("it fits");
        let of_meta = |mode: &str, token: &str, word: &str| {
            format!("hub.mode={mode}&hub.verify_token={token}&hub.challenge={word}")
        };
        let right = of_meta("subscribe", "my%20token", "1158201444");
        let long = of_meta("subscribe", "my%20token", &"x".repeat(WORD_BYTES_MAX + 1));
        for (challenge, query, want) in [
            (&meta, right.as_str(), Ok("1158201444")),
            (&meta, &right[..right.len() - 10], Err("no word")),
            (&meta, &of_meta("subscribe", "my+token", "a%3Cb"), Ok("a<b")),
            (&meta, &of_meta("unsubscribe", "my+token", "x"), Err("asks for nothing")),
            (&meta, &of_meta("subscribe", "my+toke", "x"), Err("the token")),
            (&meta, &of_meta("subscribe", "", "x"), Err("the token")),
            (&meta, &of_meta("subscribe", "my+token", "%0d%0ax"), Err("no word")),
            (&meta, &long, Err("no word")),
            (&meta, &format!("{right}&hub.challenge=y"), Err("no word")),
            (&meta, &format!("{right}&hub.verify_token=y"), Err("the token")),
            (&meta, "", Err("asks for nothing")),
            (&meta, "t=my+token&c=x", Err("asks for nothing")),
            (&plain, "c=x&t=my+token", Ok("x")),
            (&plain, "c=x", Err("the token")),
            (&newer, &right, Err("does not know")),
        ] {
            match (answer(challenge, "my token", query), want) {
                (Ok(word), Ok(want)) => assert_eq!(word, want),
                (Err(told), Err(want)) => assert!(told.contains(want), "{query}: {told}"),
                (told, _) => panic!("{query}: {told:?}"),
            }
        }
        assert!(answer(&meta, "", &of_meta("subscribe", "", "x")).is_err(), "an empty token is none");
    }
}
