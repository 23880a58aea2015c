//! Names of environment variables that are nearly those of a config.

/// How many letters two names may differ in of which one may be meant by the other.
const LETTERS: usize = 2;
/// Shorter names differ in as many letters by chance.
const LENGTH_MIN: usize = 8;

/// Whether an operator who named one of these variables may have set the other: they differ in a letter or two, or one of
/// them has one more word, like `BOT`.
pub fn is_like(one: &str, other: &str) -> bool {
    let is_near = one.len() >= LENGTH_MIN && strsim::damerau_levenshtein(one, other) <= LETTERS;
    one != other && (is_near || has_one_more_word(one, other) || has_one_more_word(other, one))
}

fn has_one_more_word(longer: &str, shorter: &str) -> bool {
    let (longer, shorter): (Vec<_>, Vec<_>) = (longer.split('_').collect(), shorter.split('_').collect());
    let mut rest = longer.iter();
    longer.len() == shorter.len() + 1
        && shorter.len() > 1
        && shorter.iter().all(|word| rest.any(|one| one == word))
}

/// The variable that is set and has nearly this name.
pub fn near(name: &str) -> Option<String> {
    let set = std::env::vars_os().filter(|(_, value)| !value.is_empty());
    near_of(name, set.filter_map(|(name, _)| name.into_string().ok()))
}

fn near_of(name: &str, set: impl Iterator<Item = String>) -> Option<String> {
    set.filter(|one| is_like(name, one)).min_by_key(|one| strsim::damerau_levenshtein(name, one))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_of_nearly_the_name_is_found() {
        let set = [
            "HOME",
            "PATH",
            "TELEGRAM_BOT_TOKEN",
            "SLACK_BOT_TOKEN",
            "GITHUB_TOKEN",
            "OUR_COMPANYS_OTHER_THING",
        ];
        for (name, want) in [
            ("TELEGRAM_TOKEN", Some("TELEGRAM_BOT_TOKEN")),
            ("TELEGRAM_BOT_TOKN", Some("TELEGRAM_BOT_TOKEN")),
            ("SLAK_BOT_TOKEN", Some("SLACK_BOT_TOKEN")),
            ("GITHUB_TOKENS", Some("GITHUB_TOKEN")),
            ("SLACK_APP_TOKEN", None),
            ("GITHUB_TOKEN", None),
            ("WHATSAPP_ACCESS_TOKEN", None),
            ("HOMES_OF_OTHERS", None),
            ("HOMER", None),
            ("GITHUB", None),
            ("OUR_COMPANYS_TOKEN", None),
            ("OUR_COMPANYS_THING", Some("OUR_COMPANYS_OTHER_THING")),
        ] {
            let found = near_of(name, set.iter().map(|one| (*one).to_owned()));
            assert_eq!(found.as_deref(), want, "{name}");
        }
    }
}
