//! Whether a folder may be the home, and whether it must first be shut to others. Decided from what is seen.

use crate::error::word;
use crate::private::OTHERS;
use std::ffi::OsString;
use std::fs::FileType;
use std::path::{Path, PathBuf};

/// The bits with which others than the owner can change a folder.
pub const OTHERS_WRITE: u32 = 0o022;
/// What may lie in a home before there is a database in it: an operator's preparations, what `channel add` makes, and
/// what a fresh disk has.
const PREPARED: [&str; 6] =
    ["vestibule.toml", "vestibule.toml.lock", "secrets", "plugins", "plugins.lock", "lost+found"];
/// The file that makes a folder a home.
const DATABASE: &str = "vestibule.db";

/// A folder, as it is found where the home should be.
#[derive(Debug, Clone)]
pub struct Found {
    /// The user it belongs to.
    pub owner: u32,
    /// Its mode.
    pub mode: u32,
    /// What lies in it, and the user each belongs to.
    pub entries: Vec<(String, u32)>,
}

/// What is to be done with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is its owner's alone.
    Take,
    /// Its mode lets others in: first take that away.
    Mend,
}

/// Which folder the environment names as the home. A data folder that is not absolute is ignored, as the rule
/// of its variable demands.
///
/// # Errors
/// It names none.
pub fn named(variable: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf, String> {
    let set = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("VESTIBULE_HOME")
        .or_else(|| set("XDG_DATA_HOME").filter(|data| data.is_absolute()).map(|data| data.join("vestibule")))
        .or_else(|| set("HOME").map(|home| home.join(".local/share/vestibule")))
        .ok_or_else(|| "no home folder is known; set VESTIBULE_HOME to a folder of your own".to_owned())
}

/// Why a path cannot be the home's, if it cannot: it is handed to other processes as text.
pub fn name_fault(home: &Path) -> Option<String> {
    home.to_str().is_none().then(|| {
        format!(
            "the path of the home, {}, is not written in UTF-8, and so cannot be handed to other programs; rename the \
             folder, or choose another with VESTIBULE_HOME",
            home.display()
        )
    })
}

/// Why the target of a link in the home cannot be a part of the home, if it cannot.
pub fn part_fault(link: &Path, owner: u32, us: u32) -> Option<String> {
    (owner != us).then(|| {
        format!(
            "{} leads to what belongs to {}, and this runs as {}; make it yours with chown, or let the link lead to a \
             folder of your own",
            link.display(),
            user(owner),
            user(us)
        )
    })
}

/// Why a folder or a file in the home cannot be a part of it, if it cannot: a user who put it there while they could may
/// have it open still. Root reads everything anyway.
pub fn planted_fault(part: &Path, owner: u32, us: u32) -> Option<String> {
    (owner != us && owner != 0).then(|| {
        format!(
            "{} belongs to {}, and this runs as {}; look at it, move it away, and start again",
            part.display(),
            user(owner),
            user(us)
        )
    })
}

/// Why what lies in the home where a folder or a plain file should be cannot be that, if it cannot. Of a device no mode is
/// changed: it is the machine's.
pub fn kind_fault(part: &Path, kind: FileType, is_folder: bool) -> Option<String> {
    let (fits, should) = if is_folder { (kind.is_dir(), "folder") } else { (kind.is_file(), "plain file") };
    (!fits).then(|| format!("{} is no {should}; move it away, and start again", part.display()))
}

/// Whether `us` may take this folder for the home.
///
/// # Errors
/// The user may not: why, and what to do.
pub fn judge(home: &Path, found: &Found, us: u32) -> Result<Verdict, String> {
    owner_fault(home, found.owner, us).map_or(Ok(()), Err)?;
    if found.mode & OTHERS == 0 {
        return Ok(Verdict::Take);
    }
    if let Some(why) = planted(home, found, us) {
        return Err(why);
    }
    let is_home = found.entries.iter().any(|(name, _)| name == DATABASE);
    if is_home || found.entries.iter().all(|(name, _)| PREPARED.contains(&name.as_str())) {
        return Ok(Verdict::Mend);
    }
    Err(format!(
        "the home {} is open to other users, and holds what is not Vestibule's, so its mode is left as it is; run \
         `chmod 700 {}` if it is to be the home, else choose another with VESTIBULE_HOME",
        home.display(),
        word(home)
    ))
}

/// What another user has put into a folder that others can change, if any did: why it is not taken.
pub fn planted(home: &Path, found: &Found, us: u32) -> Option<String> {
    let is_theirs = |(_, owner): &&(String, u32)| *owner != us && *owner != 0;
    let (name, owner) = found.entries.iter().find(is_theirs).filter(|_| found.mode & OTHERS_WRITE != 0)?;
    Some(format!(
        "other users can change the home {}, and `{}` in it belongs to {}; look at it, remove it or make it yours with \
         chown, run `chmod 700 {}`, and start again",
        home.display(),
        name.escape_debug(),
        user(*owner),
        word(home)
    ))
}

/// Why `us` may not use a home that belongs to `owner`, if they may not. Root may not either: the owner could no
/// longer open what root makes there.
pub fn owner_fault(home: &Path, owner: u32, us: u32) -> Option<String> {
    (owner != us).then(|| {
        let name = name_of(owner).unwrap_or_else(|| format!("'#{owner}'"));
        format!(
            "the home {} belongs to {}, and this runs as {}; run it as its owner, `sudo -u {name} env VESTIBULE_HOME={} \
             vestibule ...`, or choose a home of your own with VESTIBULE_HOME",
            home.display(),
            user(owner),
            user(us),
            word(home)
        )
    })
}

/// A user's name and number, for an error.
fn user(id: u32) -> String {
    name_of(id).map_or_else(|| format!("user {id}"), |name| format!("{name} (user {id})"))
}

/// What this machine calls a user; nothing for those that only a directory service knows.
fn name_of(id: u32) -> Option<String> {
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    let named = users.lines().find(|line| line.split(':').nth(2) == Some(&id.to_string()))?;
    named.split(':').next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_folder_is_named() {
        type Case<'a> = (&'a [(&'a str, &'a str)], Option<&'a str>);
        let cases: [Case; 8] = [
            (&[("VESTIBULE_HOME", "/v"), ("XDG_DATA_HOME", "/x"), ("HOME", "/h")], Some("/v")),
            (&[("VESTIBULE_HOME", "v"), ("HOME", "/h")], Some("v")), // where it is called from
            (&[("VESTIBULE_HOME", ""), ("XDG_DATA_HOME", "/x"), ("HOME", "/h")], Some("/x/vestibule")),
            (&[("XDG_DATA_HOME", "x"), ("HOME", "/h")], Some("/h/.local/share/vestibule")),
            (&[("XDG_DATA_HOME", "./x"), ("HOME", "/h")], Some("/h/.local/share/vestibule")),
            (&[("XDG_DATA_HOME", ""), ("HOME", "/h")], Some("/h/.local/share/vestibule")),
            (&[("XDG_DATA_HOME", "x")], None),
            (&[], None),
        ];
        for (environment, want) in cases {
            let set =
                |name: &str| environment.iter().find(|(set, _)| *set == name).map(|(_, to)| (*to).into());
            assert_eq!(named(set).ok(), want.map(PathBuf::from), "{environment:?}");
        }
    }

    #[test]
    fn which_folder_may_be_the_home() {
        const US: u32 = 1234;
        const OTHER: u32 = 4321;
        let mine = [("vestibule.db", US), ("sessions", US)];
        type Case<'a> = (u32, u32, &'a [(&'a str, u32)], u32, &'a str);
        // owner, mode, what lies in it, who asks, what is done
        let cases: [Case; 15] = [
            (US, 0o700, &[], US, "take"),
            (US, 0o700, &[("notes.txt", OTHER)], US, "take"),
            (US, 0o755, &[], US, "mend"),
            (US, 0o777, &[], US, "mend"),
            (US, 0o755, &mine, US, "mend"),
            (US, 0o755, &[("vestibule.toml", US), ("plugins", 0), ("lost+found", 0)], US, "mend"),
            (US, 0o755, &[("vestibule.toml", US), ("vestibule.toml.lock", US), ("secrets", US)], US, "mend"),
            (US, 0o755, &[("notes.txt", US)], US, "is open to other users"),
            (US, 0o755, &[("vestibule.toml", OTHER)], US, "mend"), // no other user could put it there
            (US, 0o777, &[("vestibule.toml", OTHER)], US, "`vestibule.toml` in it belongs to user 4321"),
            (US, 0o770, &[("vestibule.db", US), ("plugins", OTHER)], US, "`plugins` in it belongs to"),
            (OTHER, 0o700, &[], US, "belongs to user 4321, and this runs as user 1234"),
            (OTHER, 0o777, &mine, US, "sudo -u '#4321' env VESTIBULE_HOME='/srv/my home' vestibule"),
            (OTHER, 0o700, &mine, 0, "belongs to user 4321, and this runs as root (user 0)"),
            (0, 0o755, &[], US, "belongs to root (user 0)"),
        ];
        for (owner, mode, entries, us, want) in cases {
            let entries = entries.iter().map(|(name, owner)| ((*name).to_owned(), *owner)).collect();
            let found = Found { owner, mode, entries };
            let told = match judge(Path::new("/srv/my home"), &found, us) {
                Ok(Verdict::Take) => "take".to_owned(),
                Ok(Verdict::Mend) => "mend".to_owned(),
                Err(why) => why,
            };
            assert!(told.contains(want), "{found:?} for {us}: {told}");
        }
    }
}
