//! How each platform writes what Markdown means. Pure.

use super::cut::Piece;

/// A way of writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Slack's mrkdwn.
    Slack,
    /// The marks of WhatsApp, which has no way to write one as a plain sign.
    WhatsApp,
    /// The HTML of Telegram's Bot API.
    Telegram,
    /// Words as a platform shows them that knows no marks.
    Plain,
}

/// Something that is opened and closed around words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    Bold,
    Italic,
    Strike,
    /// Code within a line.
    Code,
    /// Code on lines of its own.
    Block,
    /// The words of another.
    Quote,
}

impl Mark {
    /// Whether it goes on over several lines.
    pub(super) fn spans_lines(self) -> bool {
        matches!(self, Mark::Block | Mark::Quote)
    }
}

impl Dialect {
    /// What opens a mark, and what closes it.
    pub(super) fn mark(self, mark: Mark) -> (&'static str, &'static str) {
        match (self, mark) {
            (Dialect::Plain, _) => ("", ""),
            (Dialect::Slack | Dialect::WhatsApp, Mark::Bold) => ("*", "*"),
            (Dialect::Slack | Dialect::WhatsApp, Mark::Italic) => ("_", "_"),
            (Dialect::Slack | Dialect::WhatsApp, Mark::Strike) => ("~", "~"),
            (Dialect::Slack | Dialect::WhatsApp, Mark::Code) => ("`", "`"),
            (Dialect::Slack | Dialect::WhatsApp, Mark::Block) => ("```\n", "\n```"),
            (Dialect::Telegram, Mark::Bold) => ("<b>", "</b>"),
            (Dialect::Telegram, Mark::Italic) => ("<i>", "</i>"),
            (Dialect::Telegram, Mark::Strike) => ("<s>", "</s>"),
            (Dialect::Telegram, Mark::Code) => ("<code>", "</code>"),
            (Dialect::Telegram, Mark::Block) => ("<pre>", "</pre>"),
            (Dialect::Telegram, Mark::Quote) => ("<blockquote>", "</blockquote>"),
            (Dialect::Slack | Dialect::WhatsApp, Mark::Quote) => ("", ""),
        }
    }

    /// Whether code stands between signs that its text may hold, too.
    pub(super) fn fences(self) -> bool {
        matches!(self, Dialect::Slack | Dialect::WhatsApp)
    }

    /// What stands before each line of a quotation.
    pub(super) fn quote(self) -> &'static str {
        match self {
            Dialect::Slack | Dialect::WhatsApp | Dialect::Plain => "> ",
            Dialect::Telegram => "",
        }
    }

    /// Words as the platform shows them unchanged. `is_code`: they stand in code, where even less is meant.
    pub(super) fn escape(self, text: &str, is_code: bool, pieces: &mut Vec<Piece>) {
        let mut plain = String::new();
        let mut rest = text;
        while let Some(next) = rest.chars().next() {
            let entity = match next {
                _ if matches!(self, Dialect::Plain | Dialect::WhatsApp) => None,
                '&' => Some("&amp;"),
                '<' => Some("&lt;"),
                '>' => Some("&gt;"),
                _ => None,
            };
            let named = if self == Dialect::Slack && !is_code { reference(rest) } else { None };
            let (whole, length) = match (named, entity) {
                (Some(length), _) => (Some(rest[..length].to_owned()), length),
                (None, Some(entity)) => (Some(entity.to_owned()), 1),
                (None, None) => (None, next.len_utf8()),
            };
            match whole {
                Some(whole) => {
                    Piece::words(std::mem::take(&mut plain), pieces);
                    pieces.push(Piece::Whole(whole));
                }
                None => plain.push(next),
            }
            rest = &rest[length..];
        }
        Piece::words(plain, pieces);
    }

    /// A link with its words, or `None` where the platform cannot show this one.
    pub(super) fn link(self, url: &str, words: &str) -> Option<String> {
        let opens = ["http://", "https://", "mailto:", "tel:"].iter().any(|scheme| url.starts_with(scheme));
        let is_plain = !url.contains(|c: char| c.is_whitespace() || c.is_control() || "<>|".contains(c));
        if !opens || !is_plain {
            return None;
        }
        let escaped = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        match self {
            Dialect::Plain | Dialect::WhatsApp => None,
            Dialect::Telegram => {
                let shown = if words.trim().is_empty() { url } else { words.trim() };
                Some(format!("<a href=\"{}\">{}</a>", escaped(url).replace('"', "&quot;"), escaped(shown)))
            }
            Dialect::Slack => {
                let url = url.replace('&', "&amp;");
                let words = escaped(words).replace(['\n', '|'], " ");
                let shown = words.trim();
                Some(if shown.is_empty() || shown == url {
                    format!("<{url}>")
                } else {
                    format!("<{url}|{shown}>")
                })
            }
        }
    }
}

/// The length of a reference to a person or channel of Slack's (`<@U012>`, `<#C012>`), if the text begins with one.
/// `<!channel>` and its like are none: an agent calls no crowd.
fn reference(text: &str) -> Option<usize> {
    let kind = text.strip_prefix('<')?;
    let id = kind
        .strip_prefix('@')
        .map(|id| (id, ['U', 'W']))
        .or(kind.strip_prefix('#').map(|id| (id, ['C', 'C'])));
    let (id, first) = id?;
    // No further: a text may have any number of signs that begin none.
    let end = id.bytes().take(33).position(|b| b == b'>')?;
    let fits = id.starts_with(first) && end >= 2;
    (fits && id[..end].bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())).then_some(end + 3)
}
