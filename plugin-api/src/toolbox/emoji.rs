//! The names that agents give emoji. Pure.

/// Each name, the name that Slack has for it when that is another one, and the emoji itself.
const NAMES: &[(&str, &str, &str)] = &[
    ("thumbs_up", "+1", "👍"),
    ("thumbs_down", "-1", "👎"),
    ("clap", "", "👏"),
    ("wave", "", "👋"),
    ("pray", "", "🙏"),
    ("muscle", "", "💪"),
    ("ok_hand", "", "👌"),
    ("point_up", "", "👆"),
    ("point_down", "", "👇"),
    ("point_left", "", "👈"),
    ("point_right", "", "👉"),
    ("raised_hands", "", "🙌"),
    ("shrug", "", "🤷"),
    ("facepalm", "", "🤦"),
    ("heart", "", "❤️"),
    ("smile", "", "😊"),
    ("laugh", "laughing", "😂"),
    ("thinking", "thinking_face", "🤔"),
    ("sad", "cry", "😢"),
    ("cry", "sob", "😭"),
    ("angry", "", "😠"),
    ("love_eyes", "heart_eyes", "😍"),
    ("cool", "sunglasses", "😎"),
    ("wink", "", "😉"),
    ("surprised", "open_mouth", "😮"),
    ("worried", "", "😟"),
    ("confused", "", "😕"),
    ("neutral", "neutral_face", "😐"),
    ("sleeping", "", "😴"),
    ("sick", "nauseated_face", "🤢"),
    ("mind_blown", "exploding_head", "🤯"),
    ("relieved", "", "😌"),
    ("grimace", "grimacing", "😬"),
    ("rolling_eyes", "", "🙄"),
    ("hug", "hugging_face", "🤗"),
    ("zany", "zany_face", "🤪"),
    ("check", "white_check_mark", "✅"),
    ("x", "", "❌"),
    ("question", "", "❓"),
    ("exclamation", "", "❗"),
    ("warning", "", "⚠️"),
    ("stop", "octagonal_sign", "🛑"),
    ("info", "information_source", "ℹ️"),
    ("100", "", "💯"),
    ("fire", "", "🔥"),
    ("star", "", "⭐"),
    ("sparkles", "", "✨"),
    ("lightning", "zap", "⚡"),
    ("boom", "", "💥"),
    ("eyes", "", "👀"),
    ("green_circle", "large_green_circle", "🟢"),
    ("yellow_circle", "large_yellow_circle", "🟡"),
    ("red_circle", "", "🔴"),
    ("blue_circle", "large_blue_circle", "🔵"),
    ("white_circle", "", "⚪"),
    ("black_circle", "", "⚫"),
    ("rocket", "", "🚀"),
    ("party", "tada", "🎉"),
    ("confetti", "confetti_ball", "🎊"),
    ("balloon", "", "🎈"),
    ("gift", "", "🎁"),
    ("trophy", "", "🏆"),
    ("medal", "first_place_medal", "🥇"),
    ("lightbulb", "bulb", "💡"),
    ("gear", "", "⚙️"),
    ("wrench", "", "🔧"),
    ("hammer", "", "🔨"),
    ("bug", "", "🐛"),
    ("link", "", "🔗"),
    ("lock", "", "🔒"),
    ("unlock", "", "🔓"),
    ("key", "", "🔑"),
    ("pin", "pushpin", "📌"),
    ("memo", "", "📝"),
    ("clipboard", "", "📋"),
    ("calendar", "", "📅"),
    ("clock", "clock1", "🕐"),
    ("hourglass", "", "⏳"),
    ("bell", "", "🔔"),
    ("megaphone", "mega", "📢"),
    ("speech_bubble", "speech_balloon", "💬"),
    ("email", "", "📧"),
    ("inbox", "inbox_tray", "📥"),
    ("outbox", "outbox_tray", "📤"),
    ("package", "", "📦"),
    ("folder", "file_folder", "📁"),
    ("file", "page_facing_up", "📄"),
    ("chart_up", "chart_with_upwards_trend", "📈"),
    ("chart_down", "chart_with_downwards_trend", "📉"),
    ("coffee", "", "☕"),
    ("pizza", "", "🍕"),
    ("beer", "", "🍺"),
    ("arrow_up", "", "⬆️"),
    ("arrow_down", "", "⬇️"),
    ("arrow_left", "", "⬅️"),
    ("arrow_right", "", "➡️"),
    ("refresh", "arrows_counterclockwise", "🔄"),
    ("sun", "sunny", "☀️"),
    ("cloud", "", "☁️"),
    ("rain", "rain_cloud", "🌧️"),
    ("snow", "snowflake", "❄️"),
    ("rainbow", "", "🌈"),
];

fn named(name: &str) -> Option<&'static (&'static str, &'static str, &'static str)> {
    NAMES.iter().find(|(own, ..)| *own == name)
}

/// A name without the colons around it.
fn bare(name: &str) -> &str {
    name.strip_prefix(':').and_then(|name| name.strip_suffix(':')).unwrap_or(name)
}

/// The name that Slack has for an emoji: of a name, or of the emoji itself, with the tone of its skin. What is not known
/// goes through unchanged.
pub fn slack(name: &str) -> String {
    let name = bare(name);
    // Five signs after an emoji are its tones, the second to the sixth of Slack's.
    let tone = name.char_indices().next_back().filter(|(_, c)| ('\u{1f3fb}'..='\u{1f3ff}').contains(c));
    match tone {
        Some((at, tone)) => {
            format!("{}::skin-tone-{}", without_tone(&name[..at]), u32::from(tone) - 0x1f3fb + 2)
        }
        None => without_tone(name),
    }
}

fn without_tone(name: &str) -> String {
    // A sign may or may not end with the mark that asks for a picture.
    let sign = |text: &str| text.trim_end_matches('\u{fe0f}').to_owned();
    let found = named(name).or_else(|| NAMES.iter().find(|(_, _, emoji)| sign(emoji) == sign(name)));
    match found {
        Some((own, "", _)) => (*own).to_owned(),
        Some((_, slack, _)) => (*slack).to_owned(),
        None => name.to_owned(),
    }
}

/// The emoji itself: of a name, ours or Slack's, or of the emoji. `None`: it is neither.
pub fn character(name: &str) -> Option<String> {
    let name = bare(name);
    let found =
        named(name).or_else(|| NAMES.iter().find(|(_, slack, _)| !slack.is_empty() && *slack == name));
    let is_sign = !name.is_empty() && !name.bytes().any(|b| b.is_ascii_alphabetic());
    found.map(|(.., emoji)| (*emoji).to_owned()).or_else(|| is_sign.then(|| name.to_owned()))
}

/// Replaces each `{{emoji:NAME}}` of a text; a name for which `replace` has nothing stays as it is.
pub fn in_text(text: &str, replace: impl Fn(&str) -> Option<String>) -> String {
    let mut parts = text.split("{{emoji:");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let known = part.split_once("}}").and_then(|(name, rest)| Some((replace(name)?, rest)));
        match known {
            Some((emoji, rest)) => {
                out.push_str(&emoji);
                out.push_str(rest);
            }
            None => {
                out.push_str("{{emoji:");
                out.push_str(part);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_character_of_a_name() {
        for (name, want) in [
            ("thumbs_up", Some("👍")),
            (":+1:", Some("👍")),
            ("👍🏽", Some("👍🏽")),
            ("heart", Some("❤️")),
            ("1️⃣", Some("1️⃣")),
            // The same word means another one on Slack: ours comes first.
            ("cry", Some("😭")),
            ("no_such_emoji", None),
            ("", None),
        ] {
            assert_eq!(character(name).as_deref(), want, "{name}");
        }
    }

    #[test]
    fn names_are_those_of_the_platform() {
        for (name, want) in [
            ("thumbs_up", "+1"),
            (":thumbs_up:", "+1"),
            ("check", "white_check_mark"),
            ("eyes", "eyes"),
            ("\u{1f440}", "eyes"),
            ("\u{2764}", "heart"),
            ("\u{2764}\u{fe0f}", "heart"),
            ("\u{1f44d}\u{1f3fd}", "+1::skin-tone-4"),
            ("our_own_parrot", "our_own_parrot"),
            ("", ""),
        ] {
            assert_eq!(slack(name), want, "{name}");
        }
        assert!(slack(&"\u{1f3fd}".repeat(100_000)).ends_with("::skin-tone-4"), "any number of tones");
        let mut names: Vec<&str> = NAMES.iter().map(|(name, ..)| *name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), NAMES.len());
        assert!(NAMES.len() > 100, "{}", NAMES.len());
    }

    #[test]
    fn names_in_a_text_are_replaced() {
        let replace = |name: &str| (name != "none").then(|| format!(":{}:", slack(name)));
        for (text, want) in [
            ("done {{emoji:check}}!", "done :white_check_mark:!"),
            ("{{emoji:fire}}{{emoji:none}} x", ":fire:{{emoji:none}} x"),
            ("{{emoji:never closed", "{{emoji:never closed"),
            ("no emoji", "no emoji"),
            ("", ""),
        ] {
            assert_eq!(in_text(text, replace), want);
        }
    }
}
