//! Why a plugin file is not loaded. Pure.

use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;

/// Why a plugin file is not loaded. It is shown as a sentence that follows "Plugin FILE was not loaded:", with its code
/// behind it in brackets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{words} [{code}]")]
pub struct LoadError {
    /// By what the runtime decides.
    pub code: LoadCode,
    /// What is wrong and what to do: for the operator alone.
    pub words: Cow<'static, str>,
}

impl LoadError {
    /// An error in words that are made now.
    pub fn new(code: LoadCode, words: impl Into<Cow<'static, str>>) -> LoadError {
        LoadError { code, words: words.into() }
    }

    /// An error whose words are always the same.
    pub const fn fixed(code: LoadCode, words: &'static str) -> LoadError {
        LoadError { code, words: Cow::Borrowed(words) }
    }
}

/// What kind of error it is. Its word, as operators and programs see it, is its name in capitals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum LoadCode {
    /// Its data layout is not that of the interface.
    AbiLayout,
    /// It was built for another version of the interface.
    AbiMajor,
    /// Its manifest cannot be read.
    BadManifest,
    /// It is still being written.
    Changing,
    /// The check itself failed.
    Check,
    /// The config is at fault.
    Config,
    /// No process of a plugin can be confined here: the file is not to blame.
    Confine,
    /// Its private copy cannot be written.
    Copy,
    /// Its process ended while the file was opened.
    Crashed,
    /// It does not describe its config.
    Describe,
    /// The plugins folder belongs to another user.
    DirOwner,
    /// Other users can change the plugins folder.
    DirWritable,
    /// The system's linker refuses it.
    Dlopen,
    /// Another plugin is what it would be.
    Duplicate,
    /// Its machinery does not start.
    Init,
    /// It is of a kind that this runtime does not know.
    Kind,
    /// `plugins.lock` cannot be used.
    Lock,
    /// It has no entry point.
    NoEntry,
    /// It is no regular file.
    NotAFile,
    /// It is no plugin.
    NotAPlugin,
    /// It is no shared library.
    NotElf,
    /// It is a program.
    NotShared,
    /// The operator has not trusted it, and the config demands that.
    NotTrusted,
    /// It belongs to another user.
    Owner,
    /// It may not run inside the runtime, because a panic would end that.
    PanicAbort,
    /// Its bytes are not those that were trusted.
    Pin,
    /// An account that was live did not start in it.
    Start,
    /// It needs more static thread storage than there is.
    StaticTls,
    /// It is a symbolic link.
    Symlink,
    /// It is larger than a plugin may be.
    TooLarge,
    /// It is incomplete or damaged.
    Truncated,
    /// It holds more than one plugin.
    TwoPlugins,
    /// It cannot be read.
    Unreadable,
    /// Other users can change it.
    Writable,
    /// It was built for another machine.
    WrongArch,
}

impl fmt::Display for LoadCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::de::value::StrDeserializer;
    use std::collections::BTreeSet;

    /// The codes that serde knows: it names them when it is given another.
    #[derive(Debug, thiserror::Error)]
    #[error("the codes are {0:?}")]
    struct Known(&'static [&'static str]);

    impl serde::de::Error for Known {
        fn custom<T: fmt::Display>(_: T) -> Known {
            Known(&[])
        }

        fn unknown_variant(_: &str, codes: &'static [&'static str]) -> Known {
            Known(codes)
        }
    }

    #[test]
    fn the_page_names_every_code_and_no_other() {
        let Known(codes) = LoadCode::deserialize(StrDeserializer::new("")).expect_err("it is no code");
        let page = include_str!("../../../docs/abi.md");
        let table = page.split("| Code | What is wrong |").nth(1).and_then(|rest| rest.split("\n\n").next());
        let rows = table.expect("the table is there").lines().filter_map(|row| row.split('|').nth(1));
        let named: BTreeSet<&str> = rows.flat_map(|row| row.split('`').skip(1).step_by(2)).collect();
        assert!(codes.len() > 30, "{codes:?}");
        assert_eq!(codes.iter().copied().collect::<BTreeSet<_>>(), named);
    }

    #[test]
    fn a_code_stands_behind_its_sentence_and_passes_between_processes() {
        for (code, word) in [
            (LoadCode::NotElf, "NOT_ELF"),
            (LoadCode::NotAFile, "NOT_A_FILE"),
            (LoadCode::AbiMajor, "ABI_MAJOR"),
            (LoadCode::Dlopen, "DLOPEN"),
        ] {
            let error = LoadError::new(code, format!("it is {} bytes.", 7));
            assert_eq!(error.to_string(), format!("it is 7 bytes. [{word}]"));
            let sent = serde_json::to_vec(&error).expect("it is written");
            assert_eq!(serde_json::from_slice::<LoadError>(&sent).expect("it is read"), error);
        }
    }
}
