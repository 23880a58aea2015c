//! The config and the files of secrets, as they are written.

use anyhow::Context;
use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use vestibule_runtime::{Home, plain_file};

/// Changes the config; others that change it wait meanwhile. Where it is a link, what the link leads to is changed.
pub fn change<T>(home: &Home, edit: impl FnOnce(&str) -> anyhow::Result<(String, T)>) -> anyhow::Result<T> {
    let home = home.clone().claim()?;
    let named = home.config();
    let at = home.root().join("vestibule.toml.lock");
    // With both rights: to write alone would wait for a reader, if a pipe lay there.
    let mut with = fs::OpenOptions::new();
    let lock = with.create(true).truncate(false).read(true).write(true).mode(0o600).open(&at);
    let lock = lock.with_context(|| format!("cannot write {}", at.display()))?;
    lock.lock()?;
    let file = fs::canonicalize(&named).unwrap_or_else(|_| named.clone());
    let text = match plain_file::own_text(&file, plain_file::WRITTEN_BYTES_MAX) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound && !named.is_symlink() => String::new(),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", named.display())),
    };
    let (text, more) = edit(&text).with_context(|| named.display().to_string())?;
    write(&file, text.as_bytes(), Whose::ItsOwners)?;
    Ok(more)
}

/// Who may read what is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// Only the user whom Vestibule runs as.
    Vestibules,
    /// Those who could read the file before.
    ItsOwners,
}

/// Writes a file whole or not at all.
pub fn write(path: &Path, bytes: &[u8], whose: Whose) -> anyhow::Result<()> {
    // No key and no account ends so: this is the file of no other secret.
    let mut new = path.as_os_str().to_owned();
    new.push(NEW);
    let before = fs::metadata(path).ok().filter(|_| whose == Whose::ItsOwners);
    let written = || -> std::io::Result<()> {
        let _ = fs::remove_file(&new);
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(bytes)?;
        if let Some(before) = &before {
            if file.metadata()?.uid() != before.uid() {
                std::os::unix::fs::fchown(&file, Some(before.uid()), Some(before.gid()))?;
            }
            file.set_permissions(fs::Permissions::from_mode(before.mode() & 0o777))?;
        }
        file.sync_all()?;
        fs::rename(&new, path)
    };
    let written = written().inspect_err(|_| drop(fs::remove_file(&new)));
    written.with_context(|| format!("cannot write {}", path.display()))
}

/// What the name of a file ends with while it is written.
pub const NEW: &str = ".new~";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_written_whole_and_its_mode_stays() {
        let folder = tempfile::tempdir().expect("it is made");
        let path = folder.path().join("x");
        let mode = || fs::metadata(&path).expect("it is there").mode() & 0o777;
        write(&path, b"1", Whose::ItsOwners).expect("it is written");
        assert_eq!(mode(), 0o600);
        for (whose, before, after) in [
            (Whose::ItsOwners, 0o444, 0o444),
            (Whose::ItsOwners, 0o640, 0o640),
            (Whose::Vestibules, 0o644, 0o600),
        ] {
            fs::set_permissions(&path, fs::Permissions::from_mode(before)).expect("it is ours");
            write(&path, b"2", whose).expect("it is written");
            assert_eq!(mode(), after, "{before:o}");
        }
        fs::remove_file(&path).expect("it is ours");
        fs::create_dir(&path).expect("it is made");
        let why = write(&path, b"3", Whose::Vestibules).expect_err("a folder lies there").to_string();
        assert!(why.contains("cannot write") && !folder.path().join("x.new~").exists(), "{why}");
    }
}
