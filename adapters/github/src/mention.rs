//! Whether a text mentions a login: what GitHub would show as a mention, and not what is quoted, code, or
//! an unseen comment. Pure.

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

/// Elements of HTML whose text mentions no one, to the end of the block that they begin in …
const SILENT_WORDS: [&str; 3] = ["code", "samp", "tt"];
/// … and those that go on until they are closed.
const SILENT_BLOCKS: [&str; 4] = ["blockquote", "pre", "script", "style"];

/// The same for a title, in which backticks alone are markup: what they enclose is code.
pub fn in_title(text: &str, login: &str) -> bool {
    let parts: Vec<&str> = text.split('`').collect();
    let is_code = |at: usize| at % 2 == 1 && at + 1 < parts.len();
    let words = parts.iter().enumerate().filter(|(at, _)| !is_code(*at)).map(|(_, part)| *part);
    in_plain(&words.collect::<Vec<_>>().join("`"), login)
}

/// Whether `@login` stands in a text without markup as a word of its own.
fn in_plain(text: &str, login: &str) -> bool {
    let (text, login) = (text.as_bytes(), login.as_bytes());
    let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let joins = |b: u8| is_word(b) || matches!(b, b'-' | b'/' | b'@');
    // `@login/team` is a team, and `@login.example` part of another address; a dot that ends a sentence is neither.
    let goes_on = |rest: &[u8]| match rest.first() {
        Some(b'.') => rest.iter().find(|b| **b != b'.').is_some_and(|b| is_word(*b)),
        Some(b) => is_word(*b) || matches!(b, b'-' | b'/'),
        None => false,
    };
    text.iter().enumerate().filter(|(_, b)| **b == b'@').any(|(at, _)| {
        let (before, after) = (&text[..at], &text[at + 1..]);
        let named = after.get(..login.len()).is_some_and(|name| name.eq_ignore_ascii_case(login));
        named && !before.last().is_some_and(|b| joins(*b)) && !goes_on(&after[login.len()..])
    })
}

/// The same for a text in GitHub's Markdown.
pub fn in_markdown(text: &str, login: &str) -> bool {
    // Most texts have no mention at all.
    text.contains('@') && in_plain(&Heard::of(text).words, login)
}

/// The part of a text that can mention a login. Words that markup separates stay separate.
#[derive(Default)]
struct Heard {
    words: String,
    /// How many quotations and pieces of code are open around the current place.
    silent: usize,
    /// The same for elements of HTML: words, and blocks.
    silent_words: usize,
    silent_blocks: usize,
    in_comment: bool,
}

impl Heard {
    fn of(text: &str) -> Heard {
        let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_FOOTNOTES;
        let mut heard = Heard::default();
        for event in Parser::new_ext(text, options) {
            heard.hear(event);
        }
        heard
    }

    fn hear(&mut self, event: Event) {
        match event {
            Event::Text(text) => return self.say(&text),
            Event::Html(html) | Event::InlineHtml(html) => self.html(&html),
            Event::Start(Tag::BlockQuote(_) | Tag::CodeBlock(_)) => self.silent += 1,
            Event::End(TagEnd::BlockQuote(_) | TagEnd::CodeBlock) => {
                self.silent = self.silent.saturating_sub(1)
            }
            Event::End(TagEnd::HtmlBlock) => self.in_comment = false,
            Event::End(TagEnd::Paragraph | TagEnd::Heading(_) | TagEnd::Item | TagEnd::TableCell) => {
                self.silent_words = 0;
            }
            _ => {}
        }
        self.words.push('\n');
    }

    fn say(&mut self, text: &str) {
        if self.silent + self.silent_words + self.silent_blocks == 0 && !self.in_comment {
            self.words.push_str(text);
        }
    }

    /// Takes up a piece of HTML: its text counts, its tags and comments do not.
    fn html(&mut self, html: &str) {
        let mut rest = html;
        loop {
            if self.in_comment {
                let Some((_, after)) = rest.split_once("-->") else { return };
                (self.in_comment, rest) = (false, after);
            }
            let Some((text, after)) = rest.split_once('<') else { return self.say(rest) };
            self.say(text);
            self.words.push('\n');
            if let Some(after) = after.strip_prefix("!--") {
                (self.in_comment, rest) = (true, after);
                continue;
            }
            let end = tag_end(after);
            self.tag(&after[..end]);
            rest = after[end..].strip_prefix('>').unwrap_or_default();
        }
    }

    fn tag(&mut self, tag: &str) {
        let (closes, tag) = tag.strip_prefix('/').map_or((false, tag), |tag| (true, tag));
        let name: String = tag.chars().take_while(char::is_ascii_alphanumeric).collect();
        let is = |names: &[&str]| names.iter().any(|silent| silent.eq_ignore_ascii_case(&name));
        let depth = if is(&SILENT_WORDS) {
            &mut self.silent_words
        } else if is(&SILENT_BLOCKS) {
            &mut self.silent_blocks
        } else {
            return;
        };
        *depth = if closes { depth.saturating_sub(1) } else { *depth + 1 };
    }
}

/// Where a tag ends: at the first `>` outside quotes.
fn tag_end(tag: &str) -> usize {
    let mut quote = None;
    for (at, c) in tag.char_indices() {
        match (quote, c) {
            (None, '>') => return at,
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            _ => {}
        }
    }
    tag.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mentions_are_whole_words() {
        let table = [
            ("@vestibule-bot", true),
            ("hello @Vestibule-BOT, please", true),
            ("(@vestibule-bot)", true),
            ("thanks. @vestibule-bot.", true),
            ("thanks @vestibule-bot...", true),
            ("@vestibule-bot... and", true),
            ("@vestibule-bot-2 @vestibule-bot", true),
            ("ü@vestibule-bot…", true),
            ("@vestibule-bot's", true),
            ("vestibule-bot", false),
            ("@vestibule-bot2", false),
            ("@vestibule-bot-2", false),
            ("@vestibule-bot_2", false),
            ("@vestibule-bot/team", false),
            ("@vestibule-bot/", false),
            ("@vestibule-bot.example", false),
            ("@vestibule-bo", false),
            ("me@vestibule-bot", false),
            ("octo/@vestibule-bot", false),
            ("@@vestibule-bot", false),
            ("_@vestibule-bot", false),
            ("@", false),
            ("", false),
        ];
        for (text, expected) in table {
            assert_eq!(in_plain(text, "vestibule-bot"), expected, "{text}");
            assert_eq!(in_markdown(text, "vestibule-bot"), expected, "{text}, as Markdown");
        }
    }

    #[test]
    fn what_is_code_in_a_title_calls_nobody() {
        for (title, expected) in [
            ("@bot, please", true),
            ("say `@bot` to it", false),
            ("`a` @bot", true),
            ("`a` @bot `b`", true),
            ("an open ` and @bot", true),
            ("`a` and `@bot", true),
            ("`@bot`", false),
        ] {
            assert_eq!(in_title(title, "bot"), expected, "{title}");
        }
    }

    #[test]
    fn what_is_quoted_code_or_unseen_calls_nobody() {
        for (text, expected) in [
            ("> @bot do it", false),
            ("> a\n@bot goes on in it", false),
            ("> > @bot", false),
            ("> a\n\n@bot do it", true),
            ("> @bot\n\n@bot", true),
            ("On Monday Ann wrote:\n> @bot do it\n\nI think so, too", false),
            ("> [!NOTE]\n> @bot", false),
            ("`@bot`", false),
            ("say `@bot` to it", false),
            ("``a ` @bot``", false),
            ("`a` @bot", true),
            ("an open ` and @bot", true),
            ("```\n@bot\n```", false),
            ("~~~sh\n@bot\n~~~\n", false),
            ("```\n@bot is never closed", false),
            ("````\n```\n@bot\n````\n", false),
            ("```\nx\n```\n@bot", true),
            ("- a\n\n  ```\n  @bot\n  ```\n", false),
            ("text\n\n    @bot is indented\n", false),
            ("- a\n\n  @bot in a list", true),
            ("<!-- @bot -->", false),
            ("<!-- a\n\n@bot\n-->", false),
            ("a <!-- @bot --> b", false),
            ("<!-- @bot --> @bot", true),
            ("<!-- a -->\n\n@bot", true),
            ("<!-- never closed @bot", false),
            ("<code>@bot</code>", false),
            ("x <code>@bot</code> y", false),
            ("<code>x</code> @bot", true),
            ("an open <code>\n\n@bot", true),
            ("<pre>\n@bot\n</pre>", false),
            ("<pre>x</pre>\n\n@bot", true),
            ("<blockquote>\n\n@bot\n\n</blockquote>", false),
            ("<blockquote>x</blockquote>\n\n@bot", true),
            ("<details><summary>x</summary>\n@bot\n</details>", true),
            ("<details>\n\n@bot\n\n</details>", true),
            ("<img alt=\"> @bot\">", false),
            ("**@bot**", true),
            ("*@bot*, please", true),
            ("# @bot", true),
            ("| a |\n|---|\n| @bot |", true),
            ("| a |\n|---|\n| `@bot` |", false),
            ("[@bot](https://example.org)", true),
            ("[x](https://example.org/@bot)", false),
            ("a_@bot_", false),
        ] {
            assert_eq!(in_markdown(text, "bot"), expected, "{text}");
        }
    }

    #[test]
    fn a_long_or_deep_text_is_read() {
        for text in ["> ".repeat(20_000), "<code>".repeat(20_000), "<!--".repeat(20_000), "*".repeat(60_000)]
        {
            assert!(!in_markdown(&format!("{text}@bot"), "nobody"), "{}", &text[..4]);
        }
    }
}
