//! Which checks are made.

/// All checks, of channels and of modules.
const CHECKS: [&str; 42] = [
    "file",
    "manifest",
    "unknown verb",
    "damaged frames",
    "schema",
    "schema and start",
    "before the start",
    "config of another shape",
    "config with a typo",
    "start",
    "peer",
    "text",
    "same id again",
    "same question again",
    "empty text",
    "long text",
    "parts",
    "odd text",
    "unknown kind",
    "unknown fields",
    "files",
    "questions",
    "changes",
    "working",
    "find",
    "webhook",
    "listeners",
    "asks",
    "another account",
    "delivery",
    "other hooks",
    "what channels do",
    "many in flight",
    "withdrawn calls",
    "memory and descriptors",
    "stop while busy",
    "silence after the stop",
    "restart",
    "start after a crash",
    "what it said",
    "secrets",
    "end",
];

/// The author's choice of checks. The needs of a check, such as a started account, are made all the same.
pub struct Choice {
    only: Vec<String>,
    skip: Vec<String>,
}

impl Choice {
    /// Makes the choice of `--only` and `--skip`.
    ///
    /// # Errors
    /// A name is no check's.
    pub fn new(only: &[String], skip: &[String]) -> Result<Choice, String> {
        match only.iter().chain(skip).find(|name| !CHECKS.contains(&name.as_str())) {
            None => Ok(Choice { only: only.to_vec(), skip: skip.to_vec() }),
            Some(name) => Err(format!("there is no check `{name}`; there are: {}", CHECKS.join(", "))),
        }
    }

    /// Whether this check is made.
    pub fn has(&self, name: &str) -> bool {
        let is = |chosen: &String| chosen == name;
        (self.only.is_empty() || self.only.iter().any(is)) && !self.skip.iter().any(is)
    }

    /// Whether this check is reported where it fails and another one needs it: the operator did not leave it out.
    pub fn tells_failure_of(&self, name: &str) -> bool {
        !self.skip.iter().any(|chosen| chosen == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_checks_are_made() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        for (only, skip, name, made) in [
            (&[][..], &[][..], "text", true),
            (&["text"], &[], "text", true),
            (&["text"], &[], "files", false),
            (&["text", "files"], &[], "files", true),
            (&[], &["files"], "files", false),
            (&[], &["files"], "text", true),
            (&["text"], &["text"], "text", false),
        ] {
            let choice = Choice::new(&words(only), &words(skip)).expect("there are such checks");
            assert_eq!(choice.has(name), made, "{only:?} {skip:?} {name}");
        }
        assert!(Choice::new(&words(&["texts"]), &[]).is_err_and(|why| why.contains("same id again")));
        assert!(Choice::new(&[], &words(&["texts"])).is_err());
    }
}
