//! Pure. What the agent wrote, taken apart into blocks and the rest.

use regex::Regex;
use std::sync::LazyLock;

#[allow(clippy::unwrap_used, reason = "a constant pattern, compiled by every test below")]
static BLOCK: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r#"<message\s+to="([^"]+)"\s*>([\s\S]*?)</message>"#).unwrap());

#[allow(clippy::unwrap_used, reason = "a constant pattern, compiled by every test below")]
static INTERNAL: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"<internal>[\s\S]*?</internal>").unwrap());

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
    /// The text between the blocks, without what is marked internal, trimmed.
    pub rest: String,
}

/// Takes an answer apart. Blocks do not nest: the first end tag ends the block.
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
    Answer { blocks, rest: INTERNAL.replace_all(&rest, "").trim().to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers() {
        type Case = (&'static str, &'static [(&'static str, &'static str)], &'static str);
        // text, blocks, rest
        let cases: [Case; 10] = [
            ("", &[], ""),
            ("plain", &[], "plain"),
            ("<internal>easy</internal><message to=\"general\">Done.</message>", &[("general", "Done.")], ""),
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
            ("<internal>a\nb</internal> c <internal>d", &[], "c <internal>d"),
        ];
        for (text, blocks, rest) in cases {
            let found = answer(text);
            let pairs: Vec<_> = found.blocks.iter().map(|b| (b.to, b.body)).collect();
            assert_eq!(pairs, blocks, "{text}");
            assert_eq!(found.rest, rest, "{text}");
        }
    }

    #[test]
    fn text_in_a_block_is_sent_as_it_is() {
        let found = answer("<message to=\"x\">a <internal>b</internal> é</message>");
        assert_eq!(found.blocks, [Block { to: "x", body: "a <internal>b</internal> é" }]);
    }
}
