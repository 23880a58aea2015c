//! Strangers' words, made fit to be kept, logged and shown. Pure.

use std::fmt::{self, Write};

/// The longest reason that is kept, in characters: why something was refused, failed or was left out. In bytes it is at
/// most four times as many.
pub const REASON_CHARS_MAX: usize = 500;

/// The character that is shown in the place of one that could do harm.
const HIDDEN: char = '\u{fffd}';

/// Whether a character does more on a terminal than take its own place: it controls the terminal (C0, DEL, C1), turns
/// the direction of the text around it, or ends a line without being a line feed.
pub fn is_harmful(c: char) -> bool {
    let turns =
        matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || turns || matches!(c, '\u{2028}' | '\u{2029}')
}

/// Words as one line of at most `chars` characters; where the words are cut, the last one is `…`.
pub fn line(words: impl fmt::Display, chars: usize) -> String {
    let mut line = String::new();
    // A full line ends the writing with an error; the line is there all the same.
    let _ = write!(Line::new(&mut line, chars), "{words}");
    line
}

/// A reason as it is kept: one line of at most [`REASON_CHARS_MAX`] characters.
pub fn reason(words: impl fmt::Display) -> String {
    line(words, REASON_CHARS_MAX)
}

/// Text for a terminal: its lines and tabs stay, and no other character moves the cursor.
pub fn for_terminal(text: &str) -> String {
    let clean = |c| if is_harmful(c) && !matches!(c, '\n' | '\t') { HIDDEN } else { c };
    text.replace("\r\n", "\n").chars().map(clean).collect()
}

/// Takes what is written as one line, and no more of it than fits: the rest is not even formatted.
pub struct Line<'a> {
    to: &'a mut String,
    /// How many characters still fit.
    left: usize,
    begin: usize,
    is_full: bool,
}

impl Line<'_> {
    /// A line of at most `chars` characters, at the end of `to`.
    pub fn new(to: &mut String, chars: usize) -> Line<'_> {
        let begin = to.len();
        Line { to, left: chars, begin, is_full: false }
    }
}

impl Write for Line<'_> {
    /// # Errors
    /// The line is full.
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            if self.left == 0 {
                if !std::mem::replace(&mut self.is_full, true) && self.to.len() > self.begin {
                    self.to.pop();
                    self.to.push('…');
                }
                return Err(fmt::Error);
            }
            self.left -= 1;
            self.to.push(match c {
                '\n' | '\r' | '\t' => ' ',
                c if is_harmful(c) => HIDDEN,
                c => c,
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_line_is() {
        for (words, chars, want) in [
            ("", 5, ""),
            ("", 0, ""),
            ("short", 5, "short"),
            ("longer", 5, "long…"),
            ("längér", 5, "läng…"),
            ("x", 0, ""),
            ("a\nb\r\nc\td", 20, "a b  c d"),
            ("\u{1b}[2J\u{7}\u{7f}\u{9b}31m\0", 20, "\u{fffd}[2J\u{fffd}\u{fffd}\u{fffd}31m\u{fffd}"),
            (
                "a\u{202e}b\u{2066}c\u{200f}d\u{61c}e\u{2028}f",
                20,
                "a\u{fffd}b\u{fffd}c\u{fffd}d\u{fffd}e\u{fffd}f",
            ),
            ("日本 👩‍💻 e\u{301} עברית", 40, "日本 👩‍💻 e\u{301} עברית"),
        ] {
            assert_eq!(line(words, chars), want, "{words:?}");
        }
        let long = reason("ü".repeat(3_000_000));
        assert_eq!(long.chars().count(), REASON_CHARS_MAX);
    }

    /// Words that are written in parts are cut where the whole would be cut.
    #[test]
    fn a_line_in_parts() {
        assert_eq!(line(format_args!("{}{}{}", "abc", "def", "ghi"), 5), "abcd…");
        assert_eq!(line(format_args!("{}{}", "abc", "de"), 5), "abcde");
        let mut text = "before: ".to_owned();
        let _ = write!(Line::new(&mut text, 3), "{:?}", "x\u{1b}\n");
        assert_eq!(text, "before: \"x…");
    }

    #[test]
    fn what_a_terminal_is_shown() {
        for (text, want) in [
            ("one\ntwo\tthree\r\nfour", "one\ntwo\tthree\nfour"),
            ("12 %\rover it", "12 %\u{fffd}over it"),
            ("\u{1b}]52;c;aGk=\u{7}", "\u{fffd}]52;c;aGk=\u{fffd}"),
            ("\u{9b}2Jx\u{202e}y", "\u{fffd}2Jx\u{fffd}y"),
            ("grün 👩‍💻", "grün 👩‍💻"),
        ] {
            assert_eq!(for_terminal(text), want, "{text:?}");
        }
    }
}
