//! JSON as platforms send it. One broken string costs a character of that string, and nothing of what stands beside it: the
//! platform would send the same again, for ever, and all that follows would wait behind it.

use serde::de::DeserializeOwned;

/// What stands in the place of what is no character.
const NO_CHARACTER: &str = "\\ufffd";
/// A list or an object that lies deeper is read as `null`: `serde_json` gives all up at 128.
const DEPTH_MAX: usize = 100;

/// Reads JSON as [`serde_json::from_slice`] does, and where that gives up because of them, reads U+FFFD for bytes that are
/// no UTF-8, for half of a surrogate pair and for an escape that JSON lacks; control characters in strings as they are;
/// and `null` for a number that no `f64` holds, and for what lies too deep.
///
/// # Errors
/// It is no JSON, or not the `T` that was asked for.
pub fn read<T: DeserializeOwned>(bytes: &[u8]) -> serde_json::Result<T> {
    serde_json::from_slice(bytes).or_else(|_| serde_json::from_str(&mended(&String::from_utf8_lossy(bytes))))
}

/// The same JSON, with nothing in it but what `serde_json` reads.
fn mended(text: &str) -> String {
    let mut rest = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (mut out, mut depth) = (String::with_capacity(rest.len()), 0_usize);
    while let Some(first) = rest.chars().next() {
        let (token, after) = rest.split_at(match first {
            '"' => string_length(rest),
            '-' | '0'..='9' => rest.find(|c| !is_of_number(c)).unwrap_or(rest.len()),
            _ => first.len_utf8(),
        });
        rest = after;
        if let ']' | '}' = first {
            depth = depth.saturating_sub(1);
        }
        let opens = matches!(first, '[' | '{');
        match first {
            ']' | '}' if depth >= DEPTH_MAX => {}
            _ if depth > DEPTH_MAX => {}
            _ if opens && depth == DEPTH_MAX => out.push_str("null"),
            '"' => push_string(token, &mut out),
            _ if is_too_large(token) => out.push_str("null"),
            _ => out.push_str(token),
        }
        depth += usize::from(opens);
    }
    out
}

fn is_of_number(c: char) -> bool {
    c.is_ascii_digit() || "+-.eE".contains(c)
}

fn is_too_large(token: &str) -> bool {
    token.contains(|c: char| c.is_ascii_digit()) && token.parse().is_ok_and(f64::is_infinite)
}

/// The bytes of the string with which a text begins, with its quotes. One without an end is all the rest.
fn string_length(text: &str) -> usize {
    let mut is_escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn push_string(token: &str, out: &mut String) {
    let mut rest = token;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '\\' => escape_length(rest),
            _ => first.len_utf8(),
        };
        match (first, length) {
            // An escape that JSON lacks, or half a pair.
            ('\\', 0) => out.push_str(NO_CHARACTER),
            ('\0'..='\u{1f}', _) => out.push_str(&format!("\\u{:04x}", u32::from(first))),
            _ => out.push_str(&rest[..length]),
        }
        let passed = if length == 0 { broken_escape_length(rest) } else { length };
        rest = &rest[passed..];
    }
}

/// The bytes of the escape with which a text begins, of a pair those of both halves; 0 if it is none of JSON's.
fn escape_length(text: &str) -> usize {
    match (text[1..].chars().next(), unit(text)) {
        (Some('"' | '\\' | '/' | 'b' | 'f' | 'n' | 'r' | 't'), _) => 2,
        (_, Some(0xd800..=0xdbff)) if matches!(unit(&text[6..]), Some(0xdc00..=0xdfff)) => 12,
        (_, None | Some(0xd800..=0xdfff)) => 0,
        (_, Some(_)) => 6,
    }
}

/// What is passed over of an escape that stands for no character.
fn broken_escape_length(text: &str) -> usize {
    match unit(text) {
        Some(_) => 6,
        None => 1 + text[1..].chars().next().map_or(0, char::len_utf8),
    }
}

/// The unit of UTF-16 that the escape says with which a text begins.
fn unit(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    digits.bytes().all(|b| b.is_ascii_hexdigit()).then(|| u16::from_str_radix(digits, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn one_broken_string_costs_one_character_of_it() {
        for (text, want) in [
            (&br#"{"a":"hi \ud83d","b":"kept"}"#[..], json!({ "a": "hi \u{fffd}", "b": "kept" })),
            (br#"["\ude00\ud83d\ud83d\ude00!"]"#, json!(["\u{fffd}\u{fffd}\u{1f600}!"])),
            (br#"["\ud83d\u0041\ud83d\n"]"#, json!(["\u{fffd}A\u{fffd}\n"])),
            (b"[\"a\xff\xfeb\",1]", json!(["a\u{fffd}\u{fffd}b", 1])),
            (b"[\"a\nb\x00\"]", json!(["a\nb\u{0}"])),
            (br#"["\q\u12\u12","\\ud83d"]"#, json!(["\u{fffd}\u{fffd}12\u{fffd}12", "\\ud83d"])),
            ("[\"\\é\\\u{1f600}\\ué\"]".as_bytes(), json!(["\u{fffd}\u{fffd}\u{fffd}é"])),
            (br#"{"\ud83d":[1e999,-1E+999,"1e999",12]}"#, json!({ "\u{fffd}": [null, null, "1e999", 12] })),
            ("\u{feff}{}".as_bytes(), json!({})),
        ] {
            let shown = String::from_utf8_lossy(text);
            assert!(serde_json::from_slice::<Value>(text).is_err(), "{shown}");
            assert_eq!(read::<Value>(text).expect("it reads"), want, "{shown}");
        }
    }

    #[test]
    fn what_reads_well_stays_as_it_is() {
        for text in [r#"{"a":"\ud83d\ude00 \" \\ \/ é","b":[1.5e3,-0,true,null]}"#, "7", r#""""#] {
            assert_eq!(mended(text), text);
        }
    }

    #[test]
    fn what_lies_too_deep_is_null_and_what_stands_beside_it_is_read() {
        let deep = |depth: usize| format!("{}{}", r#"{"a":["#.repeat(depth), "]}".repeat(depth));
        for (depth, stays) in [(50, true), (51, true), (64, false), (10_000, false)] {
            let text = format!(r#"[{},"beside"]"#, deep(depth));
            let value: Value = read(text.as_bytes()).expect("it reads");
            assert_eq!(value[1], "beside", "{depth}");
            assert_eq!(value == serde_json::from_str::<Value>(&text).unwrap_or_default(), stays, "{depth}");
        }
        assert!(mended(&deep(51)).contains("[null]") && mended(&deep(50)) == deep(50));
    }

    #[test]
    fn what_is_no_json_stays_none() {
        for text in
            ["", "{", "[1", r#"{"a":"#, r#"["a"#, r#"["a\"#, "<html>", "{]", "]}", r#"{"a" 1}"#, "1 2"]
        {
            assert!(read::<Value>(text.as_bytes()).is_err(), "{text}");
        }
    }
}
