//! Cuts a long text into several messages. Pure.

/// The longest text of one message. Telegram counts UTF-16 units.
const UNITS_MAX: usize = 4_096;

/// Cuts a text into messages: at the last paragraph in reach, else line, else blank, else hard. A text
/// of blanks only has none: Telegram refuses it.
pub fn parts(text: &str) -> Vec<String> {
    let mut rest = text.trim_end();
    let mut parts = Vec::new();
    loop {
        // Leading blanks may be an indentation, leading empty lines are nothing.
        rest = rest.trim_start_matches(['\n', '\r']);
        if rest.trim().is_empty() {
            return parts;
        }
        let reach = reach(rest);
        let mut end = reach;
        if reach < rest.len() {
            let head = &rest[..reach];
            // A cut in the first half would make many short messages.
            let near = |at: &usize| *at > reach / 2;
            let cut = head.rfind("\n\n").filter(near).or_else(|| head.rfind('\n').filter(near));
            end = cut.or_else(|| head.rfind(' ').filter(near)).unwrap_or(reach);
        }
        let (part, after) = rest.split_at(end);
        if !part.trim().is_empty() {
            parts.push(part.trim_end().to_owned());
        }
        rest = after.strip_prefix(' ').unwrap_or(after);
    }
}

/// Whether a text is one message.
pub fn fits(text: &str) -> bool {
    reach(text) == text.len()
}

/// How many bytes of the text fit into one message.
fn reach(text: &str) -> usize {
    let mut units = 0;
    for (at, character) in text.char_indices() {
        units += character.len_utf16();
        if units > UNITS_MAX {
            return at;
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn units(text: &str) -> usize {
        text.encode_utf16().count()
    }

    #[test]
    fn texts_are_cut_where_it_reads_best() {
        let a = |n| "a".repeat(n);
        let table = [
            (String::new(), vec![]),
            (" \n ".into(), vec![]),
            ("hi\n".into(), vec!["hi".to_owned()]),
            ("  indented".into(), vec!["  indented".into()]),
            (a(4096), vec![a(4096)]),
            (a(4097), vec![a(4096), a(1)]),
            (
                format!("{}\n\n{}\n{}", a(3000), a(500), a(1000)),
                vec![a(3000), format!("{}\n{}", a(500), a(1000))],
            ),
            (
                format!("{}\n{} {}", a(3000), a(500), a(1000)),
                vec![a(3000), format!("{} {}", a(500), a(1000))],
            ),
            (format!("{} {}", a(4000), a(4000)), vec![a(4000), a(4000)]),
            // A paragraph that ends early is no place to cut.
            (format!("{}\n\n{}", a(10), a(5000)), vec![format!("{}\n\n{}", a(10), a(4084)), a(916)]),
        ];
        for (text, want) in table {
            assert_eq!(parts(&text), want, "{} bytes", text.len());
        }
    }

    #[test]
    fn nothing_is_lost_and_no_character_is_broken() {
        // Two UTF-16 units and four bytes each, with an odd start.
        for text in [format!("a{}", "🎉".repeat(5000)), "é ".repeat(9000), "日本語\n".repeat(4000)] {
            let parts = parts(&text);
            assert!(parts.iter().all(|part| units(part) <= UNITS_MAX && !part.is_empty()));
            let solid = |text: &str| text.split_whitespace().collect::<String>();
            assert_eq!(solid(&parts.concat()), solid(&text));
        }
    }
}
