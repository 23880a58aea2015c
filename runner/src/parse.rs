//! Takes what the agent wrote apart into blocks and the rest. Pure.

use regex::Regex;
use std::sync::LazyLock;

#[allow(clippy::unwrap_used, reason = "a constant pattern, compiled by every test below")]
static BLOCK: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r#"<message\s+to="([^"]+)"\s*>([\s\S]*?)</message>"#).unwrap());

#[allow(clippy::unwrap_used, reason = "a constant pattern, compiled by every test below")]
static INTERNAL: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"(?i)<(/?)internal(?:\s[^>]*)?>").unwrap());

/// One addressed piece of an answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Block<'a> {
    /// The destination's name, as the agent wrote it.
    pub to: &'a str,
    /// The text, trimmed; may be empty.
    pub body: &'a str,
}

/// An answer taken apart.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer<'a> {
    /// The addressed pieces, in order.
    pub blocks: Vec<Block<'a>>,
    /// The text between the blocks, trimmed.
    pub rest: String,
}

/// Removes what an agent marked as internal: also in a block, nested, and from a mark without an end to the end of the
/// text, where an answer was cut off. An end without a mark goes, too.
pub fn without_internal(text: &str) -> String {
    let (mut shown, mut depth, mut end) = (String::new(), 0_usize, 0);
    for found in INTERNAL.captures_iter(text) {
        let (tag, [slash]) = (found.get_match(), found.extract().1);
        if depth == 0 {
            shown.push_str(&text[end..tag.start()]);
        }
        depth = if slash.is_empty() { depth + 1 } else { depth.saturating_sub(1) };
        end = tag.end();
    }
    if depth == 0 {
        shown.push_str(&text[end..]);
    }
    shown
}

/// Takes an answer [without what is internal](without_internal) apart. Blocks do not nest: the first end tag ends the
/// block.
pub fn answer(text: &str) -> Answer<'_> {
    let mut blocks = Vec::new();
    let mut rest = String::new();
    let mut end = 0;
    for found in BLOCK.captures_iter(text) {
        let (whole, [to, body]) = (found.get_match(), found.extract().1);
        rest.push_str(&text[end..whole.start()]);
        end = whole.end();
        blocks.push(Block { to, body: body.trim() });
    }
    rest.push_str(&text[end..]);
    Answer { blocks, rest: rest.trim().to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers() {
        type Case = (&'static str, &'static [(&'static str, &'static str)], &'static str);
        // text, blocks, rest
        let cases: [Case; 8] = [
            ("", &[], ""),
            ("plain", &[], "plain"),
            (
                "a<message to=\"x\"> 1\n2 </message>b<message\n to=\"y\" >3</message>c",
                &[("x", "1\n2"), ("y", "3")],
                "abc",
            ),
            ("<message to=\"x\"></message>", &[("x", "")], ""),
            ("<message to=\"\">lost</message>", &[], "<message to=\"\">lost</message>"),
            ("<message to=\"x\" id=\"1\">no</message>", &[], "<message to=\"x\" id=\"1\">no</message>"),
            ("<message to=\"x\">open", &[], "<message to=\"x\">open"),
            ("<message to=\"x\">a <message to=\"y\">b</message>", &[("x", "a <message to=\"y\">b")], ""),
        ];
        for (text, blocks, rest) in cases {
            let found = answer(text);
            let pairs: Vec<_> = found.blocks.iter().map(|b| (b.to, b.body)).collect();
            assert_eq!(pairs, blocks, "{text}");
            assert_eq!(found.rest, rest, "{text}");
        }
    }

    #[test]
    fn what_is_internal_is_left_out_wherever_it_stands() {
        for (text, want) in [
            ("", ""),
            ("plain < internal > </ internal>", "plain < internal > </ internal>"),
            (
                "<internal>easy</internal><message to=\"x\">Done.</message>",
                "<message to=\"x\">Done.</message>",
            ),
            ("a<internal>b\nc</internal>d<internal>e</internal>f", "adf"),
            ("a <Internal reason=\"plan\"\n>b</INTERNAL > c", "a  c"),
            ("<message to=\"x\">a <internal>b</internal> é</message>", "<message to=\"x\">a  é</message>"),
            ("<internal><message to=\"x\">b</message></internal>c", "c"),
            ("a<internal>b<internal>c</internal>d</internal>e", "ae"),
            ("<internal note=\"a < b\">secret</internal>c", "c"),
            ("<internals>a</internals><internal/>", "<internals>a</internals><internal/>"),
            ("a</internal>b", "ab"),
            ("a<internal>b <message to=\"x\">c</message>", "a"),
        ] {
            assert_eq!(without_internal(text), want, "{text}");
        }
    }
}
