//! What Markdown becomes, and where it is cut.

use super::*;

#[test]
fn what_slack_shows() {
    for (text, want) in [
        ("", ""),
        (" \n ", ""),
        ("plain words", "plain words"),
        ("**bold** and *italic* and ~~gone~~ and `code`", "*bold* and _italic_ and ~gone~ and `code`"),
        ("***both***", "_*both*_"),
        ("**a **b** c**", "*a b c*"),
        ("two\nlines", "two\nlines"),
        ("a paragraph\n\nanother", "a paragraph\n\nanother"),
        ("# Title\ntext", "*Title*\n\ntext"),
        ("## A **bold** title", "*A bold title*"),
        ("**bold over\ntwo lines**", "*bold over*\n*two lines*"),
        ("- a\n- b\n  - c\n- d", "\u{2022} a\n\u{2022} b\n    \u{2022} c\n\u{2022} d"),
        ("3. a\n4. b", "3. a\n4. b"),
        ("text\n\n- a\n- b\n\nmore", "text\n\n\u{2022} a\n\u{2022} b\n\nmore"),
        ("- a\n\n  more of a", "\u{2022} a\n\n    more of a"),
        ("- [x] done\n- [ ] open", "\u{2022} \u{2611} done\n\u{2022} \u{2610} open"),
        ("> quoted\n> twice\n\nnot", "> quoted\n> twice\n\nnot"),
        ("> a\n>\n> b", "> a\n>\n> b"),
        ("```rust\nlet a = 1;\n\nlet b = a;\n```", "```\nlet a = 1;\n\nlet b = a;\n```"),
        ("a\n\n```\nx < y && `z`\n```\nb", "a\n\n```\nx &lt; y &amp;&amp; `z`\n```\n\nb"),
        ("[words](https://a.example/?x=1&y=2)", "<https://a.example/?x=1&amp;y=2|words>"),
        ("<https://a.example>", "<https://a.example>"),
        ("[a|b](https://a.example)", "<https://a.example|a b>"),
        ("[**bold** words](https://a.example)", "<https://a.example|bold words>"),
        ("[no](javascript:alert(1))", "no (javascript:alert(1))"),
        ("[here](docs/a.md)", "here (docs/a.md)"),
        ("![a cat](https://a.example/cat.png)", "<https://a.example/cat.png|a cat>"),
        ("[![a cat](cat.png) here](https://a.example) and", "<https://a.example|a cat here> and"),
        ("1 < 2 & 3 > 2", "1 &lt; 2 &amp; 3 &gt; 2"),
        ("<b>html</b> stays", "&lt;b&gt;html&lt;/b&gt; stays"),
        ("<!channel> <!here> @here", "&lt;!channel&gt; &lt;!here&gt; @here"),
        ("ask <@U012AB> in <#C0X1>", "ask <@U012AB> in <#C0X1>"),
        ("`<@U012AB>`", "`&lt;@U012AB&gt;`"),
        ("<@u012> <@U0/1> <@U>", "&lt;@u012&gt; &lt;@U0/1&gt; &lt;@U&gt;"),
        ("a\n\n---\n\nb", "a\n\n\u{2014}\u{2014}\u{2014}\n\nb"),
        (
            "| a | long one |\n|---|---|\n| **x** | y & z |\n| 1 |",
            "```\na | long one\n--+---------\nx | y &amp; z\n1\n```",
        ),
        ("snake_case_name and 2 * 3 * 4", "snake_case_name and 2 * 3 * 4"),
    ] {
        assert_eq!(whole(text, Dialect::Slack), want, "{text:?}");
    }
}

#[test]
fn what_whatsapp_shows() {
    for (text, want) in [
        ("**bold** and *italic* and ~~gone~~ and `code`", "*bold* and _italic_ and ~gone~ and `code`"),
        ("# Title\ntext", "*Title*\n\ntext"),
        ("- a\n- b", "\u{2022} a\n\u{2022} b"),
        ("> quoted\n> twice", "> quoted\n> twice"),
        ("```rust\nlet a = 1 < 2 && b;\n```", "```\nlet a = 1 < 2 && b;\n```"),
        ("``a`b``", "`a'b`"),
        ("[words](https://a.example/?x=1&y=2)", "words (https://a.example/?x=1&y=2)"),
        ("<https://a.example>", "https://a.example"),
        ("1 < 2 & 3 > 2", "1 < 2 & 3 > 2"),
        ("| a | b |\n|---|---|\n| 1 | 2 |", "```\na | b\n--+--\n1 | 2\n```"),
    ] {
        assert_eq!(whole(text, Dialect::WhatsApp), want, "{text:?}");
    }
}

#[test]
fn what_telegram_shows() {
    for (text, want) in [
        ("**bold** *it* ~~no~~ `a<b`", "<b>bold</b> <i>it</i> <s>no</s> <code>a&lt;b</code>"),
        ("# Title\ntext", "<b>Title</b>\n\ntext"),
        ("- a\n- b", "\u{2022} a\n\u{2022} b"),
        ("a\n\n> q\n> r\n\nb", "a\n\n<blockquote>q\nr</blockquote>\n\nb"),
        ("> > deep\n\n**b**", "<blockquote>deep</blockquote>\n\n<b>b</b>"),
        ("> **q\n> r**", "<blockquote><b>q</b>\n<b>r</b></blockquote>"),
        ("```\nx\n\n`y`\n```", "<pre>x\n\n`y`</pre>"),
        (
            "[w & x](https://a.example/?q=\"1\"&b)",
            "<a href=\"https://a.example/?q=&quot;1&quot;&amp;b\">w &amp; x</a>",
        ),
        ("<https://a.example>", "<a href=\"https://a.example\">https://a.example</a>"),
        ("<b>&amp;</b>", "&lt;b&gt;&amp;&lt;/b&gt;"),
        ("<@U012AB>", "&lt;@U012AB&gt;"),
        ("|a|b|\n|-|-|\n|c|d|", "<pre>a | b\n--+--\nc | d</pre>"),
    ] {
        assert_eq!(whole(text, Dialect::Telegram), want, "{text:?}");
    }
}

#[test]
fn what_a_platform_without_marks_shows() {
    for (text, want) in [
        ("**bold** *it* ~~no~~ `a<b` & <b>", "bold it no a<b & <b>"),
        ("# Title\ntext", "Title\n\ntext"),
        ("- a\n- [x] b", "\u{2022} a\n\u{2022} \u{2611} b"),
        ("a\n\n> q\n> r\n\nb", "a\n\n> q\n> r\n\nb"),
        ("a\n\n```\nx\n\n`y`\n```\nb", "a\n\nx\n\n`y`\n\nb"),
        ("[words](https://a.example) <https://a.example>", "words (https://a.example) https://a.example"),
        ("|a|b|\n|-|-|\n|c|d|", "a | b\n--+--\nc | d"),
    ] {
        assert_eq!(whole(text, Dialect::Plain), want, "{text:?}");
    }
}

fn slack(text: &str, most: usize) -> Vec<String> {
    messages(text, Dialect::Slack, Unit::Characters, most)
}

#[test]
fn messages_are_cut_where_it_reads_best() {
    let a = |n| "a".repeat(n);
    for (text, want) in [
        (a(256), vec![a(256)]),
        (a(257), vec![a(256), a(1)]),
        (format!("{}\n\n{}\n{}", a(150), a(50), a(80)), vec![a(150), format!("{}\n{}", a(50), a(80))]),
        (format!("{}\n{} {}", a(150), a(50), a(80)), vec![a(150), format!("{} {}", a(50), a(80))]),
        (format!("{} {}", a(200), a(200)), vec![a(200), a(200)]),
        // A paragraph that ends early is no place to cut.
        (format!("{}\n\n{}", a(10), a(300)), vec![format!("{}\n\n{}", a(10), a(244)), a(56)]),
    ] {
        assert_eq!(slack(&text, 256), want, "{} bytes", text.len());
    }
}

#[test]
fn each_message_stands_by_itself() {
    let lines: Vec<String> = (0..40).map(|n| format!("line {n} of the code")).collect();
    let code = format!("before\n\n```\n{}\n```\n\nafter", lines.join("\n"));
    let parts = slack(&code, 300);
    assert!(parts.len() > 2, "{parts:?}");
    for part in &parts {
        assert!(part.chars().count() <= 300, "{part}");
        assert_eq!(part.matches("```").count() % 2, 0, "{part}");
    }
    let joined = parts.join("\n").replace("\n```\n```\n", "\n");
    assert_eq!(joined.matches("of the code").count(), 40);

    let bold = format!("**{}**", "very bold ".repeat(60).trim());
    for part in slack(&bold, 256) {
        assert!(part.starts_with("*very") && part.ends_with("bold*"), "{part}");
        assert!(part.chars().count() <= 256);
    }
    let quote = format!("> {}", "quoted ".repeat(100).trim());
    assert!(slack(&quote, 256).iter().all(|part| part.starts_with("> quoted")), "{:?}", slack(&quote, 256));
    // An entity and a link stay whole.
    for part in slack(&"&".repeat(500), 257) {
        assert!(part.len().is_multiple_of(5) && part.len() <= 257, "{part}");
    }
    let links = "[a link](https://a.example/path) ".repeat(40);
    for part in slack(&links, 256) {
        assert_eq!(part.matches('<').count(), part.matches("|a link>").count(), "{part}");
    }
}

#[test]
fn units_are_counted_as_the_platform_counts_them() {
    let text = format!("a{}", "\u{1f389}".repeat(1_000));
    for (unit, count) in [(Unit::Characters, 4), (Unit::Utf16, 7)] {
        let parts = messages(&text, Dialect::Slack, unit, 300);
        assert_eq!(parts.len(), count, "{unit:?}");
        assert!(parts.iter().all(|part| unit.of(part) <= 300));
        assert_eq!(parts.concat(), text);
    }
}

/// Whatever an agent writes: each message fits, and no letter is lost.
#[test]
fn torture() {
    let deep = |sign: &str| sign.repeat(3_000);
    let table = format!("|a|b|\n|-|-|\n{}", "|cell|another|\n".repeat(300));
    let long_link = format!("[x](https://a.example/{})", "p".repeat(2_000));
    for text in [
        deep("> "),
        deep("- "),
        deep("*"),
        deep("_a"),
        deep("["),
        deep("`"),
        deep("<"),
        deep("&amp;"),
        deep("**a** "),
        deep("~~a~~b"),
        deep("| "),
        deep("# a\n"),
        deep("```\n"),
        deep("1. a\n"),
        deep("\u{e9}\u{301}\u{200d}"),
        deep("\n"),
        deep("- a\n\n  > b\n\n"),
        table,
        long_link,
        format!("{}{}", deep("> "), "words ".repeat(500)),
        format!("```\n{}", "x".repeat(5_000)),
        "\u{0}\u{7}\u{202e}".repeat(500),
        format!("> ```\n> a\n{}> b\n> ```", ">\n".repeat(5_000)),
    ] {
        for most in [256, 300, 4_000] {
            let parts = slack(&text, most);
            assert!(parts.iter().all(|part| part.chars().count() <= most), "{:.20}", text);
            assert!(parts.iter().all(|part| !part.trim().is_empty()), "{:.20}", text);
            for part in messages(&text, Dialect::Telegram, Unit::Utf16, most) {
                assert!(Unit::Utf16.of(&part) <= most, "{text:.20}");
                for tag in ["b", "i", "s", "code", "pre", "blockquote", "a"] {
                    let opened =
                        part.matches(&format!("<{tag}>")).count() + part.matches(&format!("<{tag} ")).count();
                    assert_eq!(opened, part.matches(&format!("</{tag}>")).count(), "{tag} in {part}");
                }
            }
        }
    }
    let words: Vec<String> = (0..3_000).map(|n| format!("w{n}")).collect();
    for sign in ["", "> ", "- ", "**", "`", "```\n"] {
        let parts = slack(&format!("{sign}{}{}", words.join(" "), sign.trim()), 300).join(" ");
        for word in &words {
            assert!(parts.contains(word.as_str()), "{sign}: {word} is lost");
        }
    }
}

/// Whatever an agent writes: what becomes of it is not many times as long.
#[test]
fn bombs() {
    let table = |wide: usize, rows: usize| {
        format!("|a|b|\n|-|-|\n|{}|y|\n{}", "x".repeat(wide), "|a|b|\n".repeat(rows))
    };
    let columns = format!("|a{0}\n|-{0}\n{1}", "|-".repeat(5_000), "|b|\n".repeat(5_000));
    for text in [table(2_000, 2_000), table(70_000, 1), table(200, 200), columns, "1. ".repeat(10_000)] {
        for dialect in [Dialect::Slack, Dialect::Telegram] {
            let length: usize = messages(&text, dialect, Unit::Utf16, 4_096).iter().map(String::len).sum();
            assert!(length < 16 * text.len(), "{length} of {} bytes: {text:.20}", text.len());
        }
    }
    let lined_up = whole(&table(8, 3), Dialect::Slack);
    assert!(lined_up.contains("a        | b\n---------"), "{lined_up}");
}

/// What begins a reference and is none costs no more than any other sign.
#[test]
fn signs_that_begin_nothing() {
    let took = |sign: &str| {
        let begin = std::time::Instant::now();
        assert!(!messages(&sign.repeat(200_000), Dialect::Slack, Unit::Utf16, 40_000).is_empty());
        begin.elapsed()
    };
    let (plain, reference) = (took("<a"), took("<@"));
    assert!(reference < plain * 3 + std::time::Duration::from_millis(500), "{reference:?}, and {plain:?}");
}

#[test]
fn words_are_told_from_code_and_links() {
    for (text, want) in [
        ("ask @ann `@ben` now", vec!["ask @ann ", " now"]),
        ("**@ann** and [@ben](https://a.example)", vec!["@ann", " and "]),
        ("```\n@ann\n```\n\n@ben", vec!["@ben"]),
        ("| @ann | `@ben` |\n|---|---|\n| @cy | x |", vec!["@ann", "@cy", "x"]),
        ("<b>@ann</b> <https://a.example/@ben>", vec!["@ann", " "]),
        ("", vec![]),
    ] {
        let found: Vec<&str> = words(text).into_iter().map(|range| &text[range]).collect();
        assert_eq!(found, want, "{text}");
    }
}
