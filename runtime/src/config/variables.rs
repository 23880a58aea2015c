//! Names of environment variables that are nearly those of a config.

/// How alike two names are of which one may be meant by the other: they differ in a letter or two, or in a word like `BOT`.
const LIKE: f64 = 0.92;

/// Whether an operator who named one of these variables may have set the other.
pub fn is_like(one: &str, other: &str) -> bool {
    one != other && strsim::jaro_winkler(one, other) > LIKE
}

/// The variable that is set and has nearly this name.
pub fn near(name: &str) -> Option<String> {
    let set = std::env::vars_os().filter(|(_, value)| !value.is_empty());
    near_of(name, set.filter_map(|(name, _)| name.into_string().ok()))
}

fn near_of(name: &str, set: impl Iterator<Item = String>) -> Option<String> {
    let like = set.filter(|one| is_like(name, one)).map(|one| (strsim::jaro_winkler(name, &one), one));
    like.max_by(|(a, _), (b, _)| a.total_cmp(b)).map(|(_, one)| one)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_of_nearly_the_name_is_found() {
        let set = ["HOME", "PATH", "TELEGRAM_BOT_TOKEN", "SLACK_BOT_TOKEN", "GITHUB_TOKEN"];
        for (name, want) in [
            ("TELEGRAM_TOKEN", Some("TELEGRAM_BOT_TOKEN")),
            ("TELEGRAM_BOT_TOKN", Some("TELEGRAM_BOT_TOKEN")),
            ("SLAK_BOT_TOKEN", Some("SLACK_BOT_TOKEN")),
            ("GITHUB_TOKENS", Some("GITHUB_TOKEN")),
            ("SLACK_APP_TOKEN", None),
            ("GITHUB_TOKEN", None),
            ("WHATSAPP_ACCESS_TOKEN", None),
            ("HOMES_OF_OTHERS", None),
        ] {
            let found = near_of(name, set.iter().map(|one| (*one).to_owned()));
            assert_eq!(found.as_deref(), want, "{name}");
        }
    }
}
