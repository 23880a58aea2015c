//! The reactions that a bot may give: Telegram has a list of them. Pure.

use vestibule_plugin_api::toolbox::emoji;

/// Telegram's list, from `ReactionTypeEmoji`, without the mark that asks for a picture.
pub const TAKEN: [&str; 73] = [
    "❤",
    "👍",
    "👎",
    "🔥",
    "🥰",
    "👏",
    "😁",
    "🤔",
    "🤯",
    "😱",
    "🤬",
    "😢",
    "🎉",
    "🤩",
    "🤮",
    "💩",
    "🙏",
    "👌",
    "🕊",
    "🤡",
    "🥱",
    "🥴",
    "😍",
    "🐳",
    "❤\u{200d}🔥",
    "🌚",
    "🌭",
    "💯",
    "🤣",
    "⚡",
    "🍌",
    "🏆",
    "💔",
    "🤨",
    "😐",
    "🍓",
    "🍾",
    "💋",
    "🖕",
    "😈",
    "😴",
    "😭",
    "🤓",
    "👻",
    "👨\u{200d}💻",
    "👀",
    "🎃",
    "🙈",
    "😇",
    "😨",
    "🤝",
    "✍",
    "🤗",
    "🫡",
    "🎅",
    "🎄",
    "☃",
    "💅",
    "🤪",
    "🗿",
    "🆒",
    "💘",
    "🙉",
    "🦄",
    "😘",
    "💊",
    "🙊",
    "😎",
    "👾",
    "🤷\u{200d}♂",
    "🤷",
    "🤷\u{200d}♀",
    "😡",
];

/// The reaction for an emoji, or for the name of one.
///
/// # Errors
/// A sentence that says what Telegram takes.
pub fn reaction(emoji: &str) -> Result<&'static str, String> {
    let is_mark = |c: char| c == '\u{fe0f}' || ('\u{1f3fb}'..='\u{1f3ff}').contains(&c);
    let bare: String = emoji.chars().filter(|c| !is_mark(*c)).collect();
    // The names of both are one, whether it is written as a name or as a sign.
    let name = emoji::slack(&bare);
    TAKEN.into_iter().find(|taken| emoji::slack(taken) == name).ok_or_else(|| {
        format!("Telegram takes no `{emoji}` as a reaction of a bot: choose one of {}", TAKEN.join(" "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_as_a_reaction() {
        for (emoji, want) in [
            ("👍", Some("👍")),
            ("thumbs_up", Some("👍")),
            (":+1:", Some("👍")),
            ("👍🏽", Some("👍")),
            ("❤\u{fe0f}", Some("❤")),
            ("heart", Some("❤")),
            ("party", Some("🎉")),
            ("❤\u{fe0f}\u{200d}🔥", Some("❤\u{200d}🔥")),
            ("🤷\u{200d}♂\u{fe0f}", Some("🤷\u{200d}♂")),
            ("✅", None),
            ("check", None),
            ("no_such_emoji", None),
            ("", None),
        ] {
            let told = reaction(emoji);
            assert_eq!(told.as_ref().ok().copied(), want, "{emoji}");
            assert!(told.err().is_none_or(|told| told.contains("choose one of ❤ 👍")), "{emoji}");
        }
    }
}
