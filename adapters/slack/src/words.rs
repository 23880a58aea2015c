//! What people wrote, in words: Slack's references, links and entities as they look to them. Pure.

use std::collections::HashSet;

/// What a reference names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference<'a> {
    Person(&'a str),
    Channel(&'a str),
}

/// The people and channels that a text names by their ids alone.
pub fn references(text: &str) -> Vec<Reference<'_>> {
    parts(text).filter_map(|part| part.err().and_then(reference)).collect()
}

/// The ids of the people that a text names, each once.
pub fn people(text: &str) -> impl Iterator<Item = &str> {
    let mut known = HashSet::new();
    named(text).filter(move |id| known.insert(*id))
}

/// Whether the text names this person.
pub fn mentions(text: &str, id: &str) -> bool {
    named(text).any(|named| named == id)
}

fn named(text: &str) -> impl Iterator<Item = &str> {
    let people = parts(text).filter_map(|part| part.err()?.strip_prefix('@'));
    people.filter_map(|person| person.split('|').next()).filter(|id| !id.is_empty())
}

/// The text in words. `name` is what people call a person or channel; without one its id stays.
pub fn words(text: &str, name: impl Fn(Reference) -> Option<String>) -> String {
    let mut out = String::new();
    for part in parts(text) {
        match part {
            Ok(plain) => out.push_str(&unescaped(plain)),
            Err(inside) => out.push_str(&shown(inside, &name)),
        }
    }
    out
}

/// The parts of a text: words, or as an error what stands between `<` and `>`.
fn parts(text: &str) -> impl Iterator<Item = Result<&str, &str>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        // The next sign decides: a text may have any number that begin nothing.
        if let Some(after) = rest.strip_prefix('<')
            && let Some(end) = after.find(['<', '>']).filter(|end| *end > 0)
            && after[end..].starts_with('>')
        {
            rest = &after[end + 1..];
            return Some(Err(&after[..end]));
        }
        let first = rest.chars().next().map_or(0, char::len_utf8);
        let end = rest[first..].find('<').map_or(rest.len(), |at| at + first);
        let (plain, after) = rest.split_at(end);
        rest = after;
        Some(Ok(plain))
    })
}

fn reference(inside: &str) -> Option<Reference<'_>> {
    let (id, label) = inside.split_once('|').unwrap_or((inside, ""));
    if !label.is_empty() {
        return None;
    }
    id.strip_prefix('@').map(Reference::Person).or_else(|| id.strip_prefix('#').map(Reference::Channel))
}

fn shown(inside: &str, name: &impl Fn(Reference) -> Option<String>) -> String {
    if let Some(reference) = reference(inside) {
        let (sign, id) = match reference {
            Reference::Person(id) => ('@', id),
            Reference::Channel(id) => ('#', id),
        };
        return format!("{sign}{}", name(reference).unwrap_or_else(|| id.to_owned()));
    }
    let (target, label) = inside.split_once('|').unwrap_or((inside, ""));
    let label = unescaped(label);
    match target.chars().next() {
        Some(sign @ ('@' | '#')) => format!("{sign}{}", label.trim_start_matches(sign)),
        Some('!') if !label.is_empty() => label,
        Some('!') => format!("@{}", target[1..].split('^').next().unwrap_or_default()),
        _ => link(&unescaped(target), &label),
    }
}

fn link(url: &str, label: &str) -> String {
    let bare = ["https://", "http://", "mailto:", "tel:"].iter().find_map(|scheme| url.strip_prefix(scheme));
    let is_mail = url.starts_with("mailto:") || url.starts_with("tel:");
    match label {
        "" if is_mail => bare.unwrap_or(url).to_owned(),
        "" => url.to_owned(),
        _ if is_mail && bare == Some(label) => label.to_owned(),
        _ if label == url || bare == Some(label) => url.to_owned(),
        _ => format!("[{label}]({url})"),
    }
}

/// Slack writes these three, and no others, as entities.
fn unescaped(text: &str) -> String {
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(reference: Reference) -> Option<String> {
        match reference {
            Reference::Person("U0ANN") => Some("Ann Lee".into()),
            Reference::Channel("C012") => Some("general".into()),
            _ => None,
        }
    }

    #[test]
    fn texts_are_read_as_people_see_them() {
        for (text, want) in [
            ("", ""),
            ("plain", "plain"),
            ("<@U0ANN> look", "@Ann Lee look"),
            ("<@U0ANN|ann> look", "@ann look"),
            ("<@U0BOB>", "@U0BOB"),
            ("in <#C012> or <#C012|general> or <#C999|>", "in #general or #general or #C999"),
            ("<!here> <!channel> <!everyone>", "@here @channel @everyone"),
            ("<!subteam^S012|@team>, <!subteam^S012>", "@team, @subteam"),
            ("<!date^1392734382^Posted {date_num}|Posted 2014>", "Posted 2014"),
            ("<https://a.example/?x=1&amp;y=2>", "https://a.example/?x=1&y=2"),
            ("<https://a.example|here>", "[here](https://a.example)"),
            ("<http://a.example|a.example>", "http://a.example"),
            ("<mailto:a@b.example|a@b.example>", "a@b.example"),
            ("<mailto:a@b.example|write>", "[write](mailto:a@b.example)"),
            ("1 &lt; 2 &amp;&amp; 3 &gt; 2 &amp;lt;", "1 < 2 && 3 > 2 &lt;"),
            ("a < b and <> and <open", "a < b and <> and <open"),
            ("*bold* _stays_", "*bold* _stays_"),
            ("<@U0ANN><@U0ANN>", "@Ann Lee@Ann Lee"),
            ("<<@U0ANN>>", "<@Ann Lee>"),
        ] {
            assert_eq!(words(text, name), want, "{text}");
        }
    }

    #[test]
    fn who_is_named() {
        assert_eq!(
            references("<@U1> <@U2|b> <#C1> <#C2|> <https://x> <!here>"),
            [Reference::Person("U1"), Reference::Channel("C1"), Reference::Channel("C2")]
        );
        assert_eq!(people("<@U2|b> <@U1> <@U2> <#C1> <@>").collect::<Vec<_>>(), ["U2", "U1"]);
        for (text, want) in [
            ("<@U0BOT> hi", true),
            ("hi <@U0BOT|bot>!", true),
            ("@U0BOT", false),
            ("&lt;@U0BOT&gt;", false),
            ("<@U0BOT2>", false),
            ("<#U0BOT>", false),
        ] {
            assert_eq!(mentions(text, "U0BOT"), want, "{text}");
        }
    }

    /// Whatever stands in it, a text is read in no time to speak of.
    #[test]
    fn long_texts() {
        let begin = std::time::Instant::now();
        let ids: String = (0..100_000).map(|id| format!("<@U{id:06}>")).collect();
        assert_eq!(people(&ids).count(), 100_000);
        for text in [&"<".repeat(1 << 20), &"<@U".repeat(300_000), &ids] {
            assert_eq!((mentions(text, "U0BOT"), words(text, name).is_empty()), (false, false));
        }
        assert!(begin.elapsed().as_secs() < 10, "{:?}", begin.elapsed());
    }
}
