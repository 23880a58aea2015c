//! A complete module in one file: it refuses a message with a forbidden word, be it in its text, in its quote or in a
//! name, and takes everything that looks like a key out of each reply.
//!
//! It stops a slip, not an intent: an agent that spells a key backwards gets it past, and the bytes of files are not
//! shown to modules.

use vestibule_plugin_api::*;

config! {
    /// `[modules.sieve]` in `vestibule.toml`; every key is optional.
    struct Config {
        /// A message with one of these words is not heard; upper and lower case are the same
        forbidden: Vec<String> = Vec::<String>::new(),
        /// What keys begin with
        keys: Vec<String> = ["sk-", "ghp_", "github_pat_", "glpat-", "xoxb-", "AKIA"],
    }
}

/// A shorter word is no key, whatever it begins with.
const KEY_BYTES_MIN: usize = 16;
/// The words in a key's place.
const REMOVED: &str = "[a key was removed]";

struct SieveModule {
    config: Config,
}

#[async_trait]
impl Module for SieveModule {
    type Config = Config;

    async fn start(config: Config, _: Runtime) -> Result<Self> {
        if config.keys.iter().any(String::is_empty) {
            return Err(PluginError::broken("`keys` has an empty entry, and every word begins with that"));
        }
        let is_word = |word: &str| !word.is_empty() && word.chars().all(char::is_alphanumeric);
        if let Some(entry) = config.forbidden.iter().find(|entry| !is_word(entry)) {
            return Err(PluginError::broken(format!(
                "`forbidden` takes single words, and `{entry}` is none"
            )));
        }
        Ok(SieveModule { config })
    }

    async fn screen(&self, message: Screened) -> Result<Verdict> {
        let found = message.texts().into_iter().find_map(|text| forbidden(text, &self.config.forbidden));
        Ok(match found {
            // The reason is shown: it names the word of the config and nothing of the message.
            Some(word) => Verdict::refuse(format!("the word `{word}` is forbidden")),
            None => Verdict::Allow,
        })
    }

    async fn review(&self, message: Reviewed) -> Result<Verdict> {
        let has_key = |text: &&str| without_keys(text, &self.config.keys) != **text;
        if !message.texts().iter().any(has_key) {
            return Ok(Verdict::Allow);
        }
        // Only the text can be replaced. It stands for a question's other words, too.
        if message.files.iter().any(|name| has_key(&name.as_str())) {
            return Ok(Verdict::refuse("the name of a file holds what looks like a key"));
        }
        tracing::warn!(reply = message.id, "a key was removed from a reply");
        Ok(Verdict::replace(without_keys(&message.text, &self.config.keys)))
    }
}

/// The first forbidden word that stands in a text as a whole word.
fn forbidden<'a>(text: &str, words: &'a [String]) -> Option<&'a str> {
    let text = text.to_lowercase();
    let said = || text.split(|c: char| !c.is_alphanumeric());
    words.iter().map(String::as_str).find(|word| said().any(|said| said == word.to_lowercase()))
}

/// The text with every key taken out: a long enough run of letters, digits, `-` and `_` that begins as one.
fn without_keys(text: &str, keys: &[String]) -> String {
    let in_key = |c: char| c.is_alphanumeric() || c == '-' || c == '_';
    let is_key =
        |run: &str| run.len() >= KEY_BYTES_MIN && keys.iter().any(|key| run.starts_with(key.as_str()));
    let mut out = String::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (run, after) = rest.split_at(rest.find(|c| !in_key(c)).unwrap_or(rest.len()));
        let (between, after) = after.split_at(after.find(in_key).unwrap_or(after.len()));
        out += if is_key(run) { REMOVED } else { run };
        out += between;
        rest = after;
    }
    out
}

export_module! {
    module: SieveModule,
    name: "sieve",
    description: "No forbidden word comes in, no key goes out",
    hooks: ["screen", "review"],
    on_failure: "closed",
}

#[cfg(test)]
mod tests;
