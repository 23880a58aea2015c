//! `vestibule plugin trust` and `untrust`: what an operator says about files. No runtime is needed; a running one
//! sees the change.

use super::load;
use super::pins::{Pin, Pins};
use crate::home::Home;
use crate::plugins::live::registry::file_name;
use std::path::{Path, PathBuf};

/// Trusts a file with the bytes it has now: a path, or the name of a plugin in the plugins folder.
///
/// # Errors
/// There is no such file, it is no plugin, or the pins cannot be read or written; a sentence.
pub fn trust(home: &Home, what: &str) -> Result<Pin, String> {
    let file = find(home, what)?;
    let name = file_name(&file);
    let checked = load::read(&file).map_err(|why| format!("{} was not trusted: {why}", file.display()))?;
    if name.chars().any(char::is_control) {
        return Err(format!(
            "{} was not trusted: give the file a name without control characters",
            name.escape_debug()
        ));
    }
    let pin = Pin { name: checked.inspected.manifest.name, file: name, sha256: checked.sha256 };
    change(home, |pins| pins.trust(pin.clone()))?;
    Ok(pin)
}

/// Trusts a plugin no longer. One that runs goes on until it is loaded again.
///
/// # Errors
/// It was not trusted, or the pins cannot be read or written; a sentence.
pub fn untrust(home: &Home, name: &str) -> Result<Pin, String> {
    let Some(pin) = Pins::load(&home.plugins_lock()).map_err(|why| why.to_string())?.of(name).cloned() else {
        let lock = home.plugins_lock();
        return Err(format!("{} has no plugin `{}`", lock.display(), name.escape_debug()));
    };
    change(home, |pins| _ = pins.untrust(name))?;
    Ok(pin)
}

fn change(home: &Home, how: impl FnOnce(&mut Pins)) -> Result<(), String> {
    let home = home.clone().claim().map_err(|why| why.to_string())?;
    let lock = home.plugins_lock();
    let mut pins = Pins::load(&lock).map_err(|why| why.to_string())?;
    how(&mut pins);
    pins.save(&lock).map_err(|error| format!("cannot write {}: {error}", lock.display()))
}

/// The file that the operator means.
fn find(home: &Home, what: &str) -> Result<PathBuf, String> {
    let path = Path::new(what);
    if path.is_file() {
        return Ok(path.to_owned());
    }
    let dropped = home.plugins().join(what);
    if !what.contains('/') && dropped.is_file() {
        return Ok(dropped);
    }
    let files = std::fs::read_dir(home.plugins()).into_iter().flatten().flatten().map(|entry| entry.path());
    let is_meant = |file: &PathBuf| {
        file.extension().is_some_and(|ending| ending == "so")
            && load::read(file).is_ok_and(|checked| checked.inspected.manifest.name == what)
    };
    let mut meant = files.filter(is_meant);
    match (meant.next(), meant.next()) {
        (Some(file), None) => Ok(file),
        (Some(_), Some(_)) => Err(format!("several files are a plugin `{what}`; name the one you mean")),
        (None, _) => Err(format!(
            "there is no file `{}`, and no plugin of that name in {}",
            what.escape_debug(),
            home.plugins().display()
        )),
    }
}
