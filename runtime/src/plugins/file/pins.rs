//! `plugins.lock`: the files an operator trusts, each by its name and its bytes' SHA-256.

use super::load;
use crate::error::{if_there, word};
use crate::plain_file;
use crate::plugins::live::registry::file_name;
use crate::plugins::{LoadCode, LoadError};
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// A plugin file that the operator trusts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    /// The plugin's name, as its manifest has it.
    pub name: String,
    /// The file's name when it was trusted.
    pub file: String,
    /// The SHA-256 of its bytes, in hexadecimal.
    pub sha256: String,
}

/// The trusted files, at most one for a name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pins {
    #[serde(default)]
    plugin: Vec<Pin>,
}

const HEAD: &str = "# The plugin files that are trusted. `vestibule plugin trust` and `untrust` write it.\n";

impl Pins {
    /// Reads the pins of a home; none where it has no such file.
    ///
    /// # Errors
    /// The sentence after "Plugin FILE was not loaded:": while the pins cannot be read, no file is trusted.
    pub fn load(path: &Path) -> Result<Pins, LoadError> {
        let bad = |why: String| {
            let words = format!(
                "{} cannot be used ({why}), so no plugin file is trusted. Mend it or remove it.",
                path.display()
            );
            LoadError::new(LoadCode::Lock, words)
        };
        let text = if_there(plain_file::own_text(path, plain_file::WRITTEN_BYTES_MAX))
            .map_err(|error| bad(error.to_string()))?;
        let Some(text) = text else { return Ok(Pins::default()) };
        let meta = std::fs::metadata(path).map_err(|error| bad(error.to_string()))?;
        if load::stranger(&meta).is_some() || meta.mode() & 0o022 != 0 {
            return Err(bad("other users can change it".into()));
        }
        Pins::parse(&text).map_err(bad)
    }

    fn parse(text: &str) -> Result<Pins, String> {
        let pins: Pins = toml::from_str(text).map_err(|error| error.message().to_owned())?;
        let is_hash = |hash: &str| hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit());
        match pins.plugin.iter().find(|pin| !is_hash(&pin.sha256)) {
            Some(pin) => Err(format!("the hash of `{}` is none", pin.name.escape_debug())),
            None => Ok(pins),
        }
    }

    /// Whether a file may be loaded. Bytes that are pinned may be, whatever their file is called now.
    ///
    /// # Errors
    /// The sentence after "Plugin FILE was not loaded:".
    pub fn allow(&self, name: &str, file: &Path, sha256: &str, required: bool) -> Result<(), LoadError> {
        let file_name = file_name(file);
        if self.plugin.iter().any(|pin| pin.sha256.eq_ignore_ascii_case(sha256)) {
            return Ok(());
        }
        let pinned = self.plugin.iter().find(|pin| pin.name == name || pin.file == file_name);
        let (fact, code) = match pinned {
            Some(pin) => (
                format!(
                    "its bytes ({}) are not those that were trusted as `{}` ({})",
                    start(sha256),
                    pin.name,
                    start(&pin.sha256)
                ),
                LoadCode::Pin,
            ),
            None if required => {
                (format!("its bytes ({}) are not in plugins.lock", start(sha256)), LoadCode::NotTrusted)
            }
            None => return Ok(()),
        };
        let remedy = format!("If you trust this file, run `vestibule plugin trust {}`.", word(file));
        Err(LoadError::new(code, format!("{fact}. {remedy}")))
    }

    /// The pin of the plugin of this name.
    pub fn of(&self, name: &str) -> Option<&Pin> {
        self.plugin.iter().find(|pin| pin.name == name)
    }

    /// Trusts these bytes under this name, and no others any more.
    pub fn trust(&mut self, pin: Pin) {
        self.plugin.retain(|other| other.name != pin.name);
        self.plugin.push(pin);
        self.plugin.sort_by(|a, b| a.name.cmp(&b.name));
    }

    /// Forgets a plugin. Returns whether it was pinned.
    pub fn untrust(&mut self, name: &str) -> bool {
        let before = self.plugin.len();
        self.plugin.retain(|pin| pin.name != name);
        self.plugin.len() != before
    }

    /// Writes the pins: aside, synced, and renamed, so that no reader sees half a file.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn save(&self, path: &Path) -> std::io::Result<()> {
        let fresh = path.with_extension(crate::id::mint("lock"));
        let mut file = std::fs::File::options().write(true).create_new(true).mode(0o600).open(&fresh)?;
        let written = file.write_all(self.text().as_bytes()).and_then(|()| file.sync_all());
        let renamed = written.and_then(|()| std::fs::rename(&fresh, path));
        if renamed.is_err() {
            let _ = std::fs::remove_file(&fresh);
        }
        renamed
    }

    fn text(&self) -> String {
        // A JSON string is a TOML string: the one control character that only TOML forbids is in no file name that is
        // taken (`trust` refuses it).
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let entry = |pin: &Pin| {
            format!(
                "\n[[plugin]]\nname = {}\nfile = {}\nsha256 = {}\n",
                quoted(&pin.name),
                quoted(&pin.file),
                quoted(&pin.sha256)
            )
        };
        HEAD.to_owned() + &self.plugin.iter().map(entry).collect::<String>()
    }
}

/// The beginning of a hash, for a person.
fn start(sha256: &str) -> &str {
    sha256.get(..16).unwrap_or(sha256)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pin(name: &str, file: &str, digit: char) -> Pin {
        Pin { name: name.into(), file: file.into(), sha256: digit.to_string().repeat(64) }
    }

    #[test]
    fn what_is_trusted() {
        let mut pins = Pins::default();
        pins.trust(pin("echo", "echo.so", 'a'));
        // name, file, hash, required, the code
        for (name, file, digit, required, code) in [
            ("echo", "echo.so", 'a', true, None),
            ("echo", "echo.so", 'A', true, None),
            ("echo", "renamed.so", 'a', true, None),
            ("echo", "echo.so", 'b', false, Some(LoadCode::Pin)),
            ("echo", "renamed.so", 'b', false, Some(LoadCode::Pin)),
            ("other", "echo.so", 'b', false, Some(LoadCode::Pin)),
            ("other", "other.so", 'b', false, None),
            ("other", "other.so", 'b', true, Some(LoadCode::NotTrusted)),
        ] {
            let told = pins.allow(name, &Path::new("/p").join(file), &digit.to_string().repeat(64), required);
            assert_eq!(told.err().map(|why| why.code), code, "{name} {file} {digit}");
        }
    }

    #[test]
    fn written_and_read_again() {
        let mut pins = Pins::default();
        pins.trust(pin("b", "b \"quoted\" \\ and\tmore.so", 'b'));
        pins.trust(pin("a", "a.so", 'a'));
        pins.trust(pin("a", "a2.so", 'c'));
        assert_eq!(Pins::parse(&pins.text()), Ok(pins.clone()));
        assert_eq!(pins.of("a").map(|pin| pin.file.as_str()), Some("a2.so"));
        assert!(pins.untrust("a") && !pins.untrust("a"));
        assert_eq!(pins.plugin.len(), 1);
    }

    #[test]
    fn a_damaged_file_trusts_nobody() {
        for text in [
            "[[plugin]]\nname = \"a\"",
            "plugin = 1",
            "x = 1",
            "[[plugin]]\nname=\"a\"\nfile=\"a\"\nsha256=\"1\"",
        ] {
            assert!(Pins::parse(text).is_err(), "{text}");
        }
    }
}
