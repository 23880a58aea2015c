//! Cuts Markdown as it was written, for platforms that read it themselves. Pure.

use super::Unit;

/// A part of a text that is best left together: code with its fence, or lines up to an empty one.
#[derive(Debug, PartialEq)]
struct Block<'a> {
    text: &'a str,
    /// The line that opens the fence, and the one that closes it.
    fence: Option<(&'a str, String)>,
}

/// The text as messages of at most `most` units each (256, if that is less), which each stand by themselves: code is
/// kept whole where a message can hold it, and has its fence on both sides of a cut. A text of blanks only has none.
pub fn source(text: &str, unit: Unit, most: usize) -> Vec<String> {
    let mut writer = Writer { unit, most: most.max(256), text: String::new(), messages: Vec::new() };
    for block in blocks(text) {
        writer.block(&block);
    }
    writer.finish();
    writer.messages
}

fn blocks(text: &str) -> Vec<Block<'_>> {
    let (mut blocks, mut rest) = (Vec::new(), text);
    while !rest.is_empty() {
        let first = &rest[..line_end(rest)];
        let (end, fence) = match fence(first) {
            Some(fence) => (code_end(rest, &fence), Some((first.trim_end(), fence.close()))),
            None => (words_end(rest), None),
        };
        blocks.push(Block { text: &rest[..end], fence });
        rest = &rest[end..];
    }
    blocks
}

/// Where the first line ends, with its end.
fn line_end(text: &str) -> usize {
    text.find('\n').map_or(text.len(), |at| at + 1)
}

/// Where the lines end that go together: behind an empty one, or before code.
fn words_end(text: &str) -> usize {
    let mut at = line_end(text);
    let mut was_empty = text[..at].trim().is_empty();
    while at < text.len() {
        let line = &text[at..at + line_end(&text[at..])];
        let is_empty = line.trim().is_empty();
        if fence(line).is_some() || (was_empty && !is_empty) {
            break;
        }
        was_empty |= is_empty;
        at += line.len();
    }
    at
}

/// What opens code on lines of its own.
struct Fence<'a> {
    /// What stands before it on its line: blanks, signs of quotations, and marks of lists.
    before: &'a str,
    sign: char,
    length: usize,
}

impl Fence<'_> {
    fn close(&self) -> String {
        // What follows the first line of a list's entry stands beneath its words.
        let beneath = |c: char| if matches!(c, ' ' | '\t' | '>') { c } else { ' ' };
        let before: String = self.before.chars().map(beneath).collect();
        format!("{before}{}", self.sign.to_string().repeat(self.length))
    }

    /// Whether a line stands outside of the quotation or the list's entry that the code is in: that ends it.
    fn is_left_by(&self, line: &str) -> bool {
        let bare = bare(line);
        let is_in_list = self.before.contains(|c| !matches!(c, ' ' | '\t' | '>'));
        self.before.contains('>') && !line.trim_start().starts_with('>')
            || is_in_list
                && !bare.trim().is_empty()
                && columns(&line[..line.len() - bare.len()]) < columns(self.before)
    }

    fn is_closed_by(&self, line: &str) -> bool {
        let line = bare(line).trim_end();
        line.chars().all(|c| c == self.sign) && line.chars().count() >= self.length
    }
}

/// A line without its blanks and signs of quotations.
fn bare(line: &str) -> &str {
    line.trim_start_matches([' ', '\t', '>'])
}

/// How far in the words stand behind this.
fn columns(before: &str) -> usize {
    before.chars().fold(0, |at, c| if c == '\t' { at / 4 * 4 + 4 } else { at + 1 })
}

/// What follows the mark of a list, if a line begins with one.
fn behind_mark(line: &str) -> Option<&str> {
    let digits = line.bytes().take_while(u8::is_ascii_digit).count();
    let rest = match digits {
        0 => line.strip_prefix(['-', '*', '+']),
        1..=9 => line[digits..].strip_prefix(['.', ')']),
        _ => None,
    };
    rest.filter(|rest| rest.starts_with([' ', '\t']))
}

fn fence(line: &str) -> Option<Fence<'_>> {
    let mut bare = bare(line);
    while let Some(rest) = behind_mark(bare) {
        bare = self::bare(rest);
    }
    let sign = bare.chars().next().filter(|sign| matches!(sign, '`' | '~'))?;
    let length = bare.chars().take_while(|c| *c == sign).count();
    // Between backticks there may be code within a line.
    let opens = length >= 3 && !(sign == '`' && bare[length..].contains('`'));
    opens.then(|| Fence { before: &line[..line.len() - bare.len()], sign, length })
}

fn code_end(text: &str, fence: &Fence) -> usize {
    let mut at = line_end(text);
    while at < text.len() {
        let line = &text[at..at + line_end(&text[at..])];
        if fence.is_left_by(line) {
            return at;
        }
        at += line.len();
        if fence.is_closed_by(line) {
            return at;
        }
    }
    at
}

struct Writer {
    unit: Unit,
    most: usize,
    text: String,
    messages: Vec<String>,
}

impl Writer {
    fn fits(&self, text: &str, reserved: usize) -> bool {
        self.unit.of(&self.text) + self.unit.of(text.trim_end()) + reserved <= self.most
    }

    fn block(&mut self, block: &Block) {
        let whole = block.whole();
        if !self.fits(&whole, 0) && self.unit.of(whole.trim_end()) <= self.most {
            self.finish();
        }
        if self.fits(&whole, 0) {
            return self.text.push_str(&whole);
        }
        match &block.fence {
            Some((open, close)) => self.code(block.text, open, close),
            None => self.lines(block.text, None),
        }
    }

    /// Code that no message holds: each part of it has the fence.
    fn code(&mut self, text: &str, open: &str, close: &str) {
        let fence = (open, close);
        // A fence that leaves no room for code is written as words.
        let room = self.most / 2;
        if self.unit.of(open) + self.unit.of(close) > room {
            return self.lines(text, None);
        }
        if self.unit.of(&self.text) > room {
            self.finish();
        }
        let body = &text[line_end(text)..];
        let last = body.trim_end().rfind('\n').map_or(0, |at| at + 1);
        let is_closed = body[last..].trim() == close.trim();
        let body = if is_closed { &body[..last] } else { body };
        self.text.push_str(open);
        self.text.push('\n');
        self.lines(body, Some(fence));
        self.close(close);
    }

    fn close(&mut self, close: &str) {
        if !self.text.ends_with('\n') {
            self.text.push('\n');
        }
        self.text.push_str(close);
        self.text.push('\n');
    }

    fn lines(&mut self, text: &str, fence: Option<(&str, &str)>) {
        let reserved = fence.map_or(0, |(_, close)| self.unit.of(close) + 1);
        let mut rest = text;
        while !rest.is_empty() {
            let line = &rest[..line_end(rest)];
            if self.fits(line, reserved) {
                self.text.push_str(line);
                rest = &rest[line.len()..];
                continue;
            }
            // Only a line that no message holds is cut.
            let head = fence.map_or(0, |(open, close)| self.unit.of(open) + self.unit.of(close) + 2);
            if self.unit.of(line) + head > self.most {
                let room = self.most.saturating_sub(self.unit.of(&self.text) + reserved);
                let end = self.cut(line, room, fence.is_some());
                self.text.push_str(&line[..end]);
                rest =
                    rest[end..].strip_prefix(if fence.is_some() { "" } else { " " }).unwrap_or(&rest[end..]);
            }
            match fence {
                Some((open, close)) => {
                    self.close(close);
                    self.finish();
                    self.text.push_str(open);
                    self.text.push('\n');
                }
                None => self.finish(),
            }
        }
    }

    /// Where a line is cut that is longer than the room: at a blank where one is near its end.
    fn cut(&self, line: &str, room: usize, is_code: bool) -> usize {
        let end = self.unit.reach(line, room);
        let blank = line[..end].rfind(' ').filter(|at| !is_code && *at > end / 2);
        blank.unwrap_or(end)
    }

    fn finish(&mut self) {
        let text = std::mem::take(&mut self.text);
        // Blanks before the first words of a line may mean something.
        let text = text.trim_start_matches(['\n', '\r']).trim_end();
        if !text.is_empty() {
            self.messages.push(text.to_owned());
        }
    }
}

impl Block<'_> {
    /// The block with its fence closed.
    fn whole(&self) -> String {
        let mut whole = self.text.to_owned();
        if let Some((_, close)) = &self.fence {
            let body = &self.text[line_end(self.text)..];
            let last = body.trim_end().lines().last().unwrap_or_default();
            let is_closed = fence(close).is_some_and(|fence| fence.is_closed_by(last) && !last.is_empty());
            if !is_closed {
                if !whole.ends_with('\n') {
                    whole.push('\n');
                }
                whole.push_str(close);
                whole.push('\n');
            }
        }
        whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(text: &str, most: usize) -> Vec<String> {
        source(text, Unit::Characters, most)
    }

    #[test]
    fn what_fits_stays_as_it_was_written() {
        for text in [
            "**bold** _it_ [x](https://a.example) | a |",
            "- a\n  - b\n\n1. c",
            "    indented\n",
            "```rust\nlet a = 1;\n```",
            "````md\n```\nx\n```\n````\n\nand `code`",
            "```suggestion\n\tx = 1\n```",
            "``` not `code` ```",
            "- ```rust\n  let a;\n  ```\n- b",
            "1. a\n2) ~~~\n   x\n\n   y\n   ~~~\n\nb",
            "> * - ```\n>     x\n>     ```\n> b",
            "-\t```\n\tx\n\t```",
            "- ``` not `code` ```\n-```",
        ] {
            assert_eq!(cut(text, 4_000), [text.trim_end()], "{text}");
        }
        assert_eq!(cut(" \n\n", 4_000), [""; 0]);
    }

    #[test]
    fn a_fence_that_is_left_open_is_closed() {
        assert_eq!(cut("a\n~~~~\nx", 4_000), ["a\n~~~~\nx\n~~~~"]);
        assert_eq!(cut("> ```\n> x\nb", 4_000), ["> ```\n> x\n> ```\nb"]);
        assert_eq!(cut("```", 4_000), ["```\n```"]);
        assert_eq!(cut("- ```\n  x", 4_000), ["- ```\n  x\n  ```"]);
        assert_eq!(cut("> 1. ```\n>    x\nb", 4_000), ["> 1. ```\n>    x\n>    ```\nb"]);
        // An entry of a list that ends takes its code along, and what stands behind it opens code again.
        assert_eq!(cut("- ```\n  x\nb", 4_000), ["- ```\n  x\n  ```\nb"]);
        assert_eq!(cut("- ```\n\n  x\nb\n```", 4_000), ["- ```\n\n  x\n  ```\nb\n```\n```"]);
    }

    #[test]
    fn a_long_text_is_cut_between_its_blocks() {
        let paragraph = "twelve chars ".repeat(15);
        let code = format!("```rust\n{}```", "let x = 1;\n".repeat(15));
        let text = format!("{paragraph}\n\n{code}\n\n{paragraph}\n\n```suggestion\n{paragraph}\n```");
        let messages = cut(&text, 256);
        assert_eq!(messages.len(), 4, "{messages:#?}");
        assert_eq!(messages[1], code);
        assert!(
            messages[3].starts_with("```suggestion\n") && messages[3].ends_with("\n```"),
            "{messages:#?}"
        );
    }

    #[test]
    fn code_that_no_message_holds_has_its_fence_on_both_sides() {
        for (before, open, close) in [
            ("", "```rust", "```"),
            ("> ", "> ~~~", "> ~~~"),
            ("", "  ````", "  ````"),
            ("  ", "- ```rust", "  ```"),
        ] {
            let code: String = (0..100).map(|line| format!("{before}let x{line} = {line};\n")).collect();
            let messages = cut(&format!("before\n\n{open}\n{code}{close}\n\nafter"), 256);
            assert!(messages.len() > 5, "{messages:#?}");
            assert!(messages[0].starts_with("before\n\n"), "{}", messages[0]);
            for message in &messages[1..messages.len() - 1] {
                assert!(message.starts_with(open) && message.ends_with(&format!("\n{close}")), "{message}");
                assert!(message.chars().count() <= 256, "{message}");
            }
            let said: String = messages.join("\n");
            for line in code.lines() {
                assert!(said.contains(line), "{line}");
            }
        }
    }

    /// Whatever an agent writes: each message has the length at most, and no word is lost.
    #[test]
    fn nothing_is_lost_and_nothing_too_long() {
        let words: Vec<String> = (0..2_000).map(|word| format!("w{word}")).collect();
        for joint in [" ", "\n", "\n\n", "\n```\n", "\n~~~x\n", "\n- ```\n", "\n> ", " ü\u{1f600} "] {
            for unit in [Unit::Characters, Unit::Utf16] {
                let messages = source(&words.join(joint), unit, 300);
                assert!(messages.iter().all(|message| unit.of(message) <= 300), "{joint:?}");
                let said = messages.join("\n");
                let found: std::collections::BTreeSet<&str> =
                    said.split(|c: char| !c.is_ascii_alphanumeric()).collect();
                let lost: Vec<&String> = words.iter().filter(|word| !found.contains(word.as_str())).collect();
                assert!(lost.is_empty(), "{joint:?}: {lost:?}");
            }
        }
        let solid = cut(&"ü".repeat(1_000), 256);
        assert_eq!(solid.iter().map(|message| message.chars().count()).sum::<usize>(), 1_000);
        let solid = cut(&format!("```{}\n{}\n```", "x".repeat(400), "ü".repeat(1_000)), 256);
        assert!(solid.iter().all(|message| message.chars().count() <= 256), "{solid:?}");
    }
}
