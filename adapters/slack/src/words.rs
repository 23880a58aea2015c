//! What people wrote, in words: Slack's references, links and entities as they look to them. Pure.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use vestibule_plugin_api::toolbox::markdown;

/// Of one text so many names are looked up.
const CALLED_MAX: usize = 20;
/// What stands after the sign and calls everybody: these stay words.
const CROWDS: [&str; 3] = ["channel", "here", "everyone"];

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

/// Where an agent's Markdown may call a person by their name: the places behind the sign `@`, and where the words end there.
pub fn called(text: &str) -> Vec<(usize, usize)> {
    let mut called = Vec::new();
    // Without the sign there is nothing to read.
    for range in if text.contains('@') { runs(text) } else { vec![] } {
        for (at, _) in text[range.clone()].match_indices('@') {
            let (before, begin) = (text[..range.start + at].chars().next_back(), range.start + at + 1);
            let is_apart = before.is_none_or(|c| !c.is_alphanumeric() && !"<_@/.\\".contains(c));
            let begins = text[begin..range.end].chars().next().is_some_and(char::is_alphanumeric);
            if is_apart && begins {
                called.push((begin, range.end));
            }
        }
    }
    called.truncate(CALLED_MAX);
    called
}

/// Where words stand together as people see them: signs that might be marks, and are none, part them for Markdown only, and
/// so does the backslash before such a sign.
fn runs(text: &str) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for range in markdown::words(text) {
        match runs.last_mut() {
            Some(last) if matches!(text.get(last.end..range.start), Some("" | "\\")) => last.end = range.end,
            _ => runs.push(range),
        }
    }
    runs
}

/// The names of people, the longest first, each with the id of the one whom it names.
#[derive(Debug, Default)]
pub struct Everyone(Vec<(String, String)>);

impl Everyone {
    /// A name that several people have names none.
    pub fn of(people: impl IntoIterator<Item = (String, String)>) -> Everyone {
        let mut ids: HashMap<String, Option<String>> = HashMap::new();
        for (name, id) in people {
            let name = name.trim().trim_start_matches('@').to_lowercase();
            if name.is_empty() || CROWDS.contains(&name.as_str()) {
                continue;
            }
            let one = ids.entry(name).or_insert_with(|| Some(id.clone()));
            if one.as_ref() != Some(&id) {
                *one = None;
            }
        }
        let mut all: Vec<_> = ids.into_iter().filter_map(|(name, id)| Some((name, id?))).collect();
        all.sort_by(|(a, _), (b, _)| b.chars().count().cmp(&a.chars().count()).then(a.cmp(b)));
        Everyone(all)
    }

    /// The text with a reference in the place of each name that names one person.
    pub fn referenced(&self, text: &str, called: &[(usize, usize)]) -> String {
        let mut out = text.to_owned();
        for (begin, end) in called.iter().rev() {
            let (rest, behind) = (&text[*begin..*end], &text[*end..]);
            let found = self.0.iter().find_map(|(name, id)| Some((begins(rest, behind, name)?, id)));
            if let Some((length, id)) = found {
                out.replace_range(begin - 1..begin + length, &format!("<@{id}>"));
            }
        }
        out
    }
}

/// How many bytes of the text a name is that it begins with, in whatever case. A name may go on in marks `behind` the text.
fn begins(text: &str, behind: &str, name: &str) -> Option<usize> {
    let (mut rest, mut length) = (shown_signs(text), 0);
    for wanted in name.chars() {
        let (next, bytes) = rest.next()?;
        if !next.to_lowercase().eq(wanted.to_lowercase()) {
            return None;
        }
        length += bytes;
    }
    let behind = behind.trim_start_matches(['*', '_', '~', '`', '[']).chars();
    let mut rest = rest.map(|(sign, _)| sign).chain(behind);
    let (next, then) = (rest.next(), rest.next());
    let goes_on = match next {
        Some('.' | '-' | '@') => then.is_some_and(char::is_alphanumeric),
        Some(next) => next.is_alphanumeric() || next == '_',
        None => false,
    };
    (!goes_on).then_some(length)
}

/// The signs of Markdown's words as people see them, each with the bytes that it takes in the text.
fn shown_signs(text: &str) -> impl Iterator<Item = (char, usize)> {
    let mut rest = text.chars().peekable();
    std::iter::from_fn(move || {
        let sign = rest.next()?;
        match rest.next_if(|next| sign == '\\' && next.is_ascii_punctuation()) {
            Some(escaped) => Some((escaped, sign.len_utf8() + escaped.len_utf8())),
            None => Some((sign, sign.len_utf8())),
        }
    })
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

    #[test]
    fn people_are_called_by_their_names() {
        let people = [
            ("Ann Lee", "U1"),
            ("ann", "U1"),
            ("Ann", "U1"),
            ("ann.long", "U4"),
            ("Ben", "U2"),
            ("Ben", "U3"),
            ("here", "U5"),
            ("\u{c9}mile", "U6"),
            ("ann_lee", "U7"),
            ("Ann [Ops]", "U8"),
        ];
        let everyone = Everyone::of(people.map(|(name, id)| (name.to_owned(), id.to_owned())));
        for (text, want) in [
            ("@Ann Lee, look", "<@U1>, look"),
            ("@ann look", "<@U1> look"),
            ("ask @ANN's friend (@\u{e9}mile)!", "ask <@U1>'s friend (<@U6>)!"),
            ("**@ann**", "**<@U1>**"),
            ("@ann.", "<@U1>."),
            ("@ann.long @ann.other", "<@U4> @ann.other"),
            // Two people are called so, or none is, or it calls a crowd.
            ("@Ben @anna @here @channel", "@Ben @anna @here @channel"),
            ("me@ann.example /@ann <@U9>", "me@ann.example /@ann <@U9>"),
            ("`@ann` and [@ann](https://a.example)", "`@ann` and [@ann](https://a.example)"),
            ("```\n@ann\n```", "```\n@ann\n```"),
            // A name goes on where people see that it does, whatever the marks.
            ("@ann_lee @ann\\_lee @ann_x @ann\\_x", "<@U7> <@U7> @ann_x @ann\\_x"),
            ("@Ann [Ops] and @Ann [Dev]", "<@U8> and <@U1> [Dev]"),
            (
                "@ann*x* @ann**x** @ann`x` @ann[x](https://a.example)",
                "@ann*x* @ann**x** @ann`x` @ann[x](https://a.example)",
            ),
            ("*@ann* **@ann**, ~~@ann~~\n@ann\n*look*", "*<@U1>* **<@U1>**, ~~<@U1>~~\n<@U1>\n*look*"),
            ("@ann [look](https://a.example)", "<@U1> [look](https://a.example)"),
            ("\\@ann", "\\@ann"),
            ("", ""),
        ] {
            assert_eq!(everyone.referenced(text, &called(text)), want, "{text}");
        }
        assert_eq!(called(&"@ann ".repeat(100)).len(), CALLED_MAX);
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
