//! Reading a file whose name says what it should be. A pipe, a device or an endless file may lie there in its place, and
//! none of them may hold up who reads, or fill its memory.

use rustix::fs::OFlags;
use std::fs::File;
use std::io::{Error, ErrorKind, Read, Result};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// The longest file that an operator writes: a config, or the pins of plugins.
pub const WRITTEN_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Opens a plain file, or what a link to one leads to.
///
/// # Errors
/// It is another thing, such as a pipe, for whose other end an open would wait; or it cannot be opened.
pub fn open(path: &Path) -> Result<File> {
    let at_once = OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options().read(true).custom_flags(at_once).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(other("it is no plain file")) }
}

/// The text of a plain file of at most so many bytes.
///
/// # Errors
/// It is longer, is no text, is no plain file, or cannot be read.
pub fn text(path: &Path, bytes_max: u64) -> Result<String> {
    read(open(path)?, bytes_max)
}

/// The same of a file that is this user's or root's: who wrote it decides what this program does.
///
/// # Errors
/// As for [`text`], or it is another user's.
pub fn own_text(path: &Path, bytes_max: u64) -> Result<String> {
    let file = open(path)?;
    let (owner, us) = (file.metadata()?.uid(), rustix::process::geteuid().as_raw());
    if owner != us && owner != 0 {
        return Err(other(&format!("it belongs to user {owner}; look at it, and make it yours with chown")));
    }
    read(file, bytes_max)
}

fn read(file: File, bytes_max: u64) -> Result<String> {
    let mut text = String::new();
    file.take(bytes_max + 1).read_to_string(&mut text)?;
    if text.len() as u64 > bytes_max {
        return Err(other(&format!("it has more than {} KiB", bytes_max / 1024)));
    }
    Ok(text)
}

fn other(why: &str) -> Error {
    Error::new(ErrorKind::InvalidInput, why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    use std::os::unix::fs::symlink;

    #[test]
    fn only_a_plain_file_is_read_and_none_that_is_too_long() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("fits"), "1234").expect("it is written");
        std::fs::write(at("long"), "12345").expect("it is written");
        symlink(at("fits"), at("link")).expect("it is made");
        symlink("/dev/zero", at("endless")).expect("it is made");
        mknodat(CWD, at("pipe"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("it is made");
        std::fs::create_dir(at("folder")).expect("it is made");
        for (name, want) in [
            ("fits", Ok("1234")),
            ("link", Ok("1234")),
            ("long", Err("more than")),
            ("endless", Err("no plain file")),
            ("pipe", Err("no plain file")),
            ("folder", Err("no plain file")),
            ("nothing", Err("No such file")),
        ] {
            let told = text(&at(name), 4).map_err(|error| error.to_string());
            match want {
                Ok(text) => assert_eq!(told.as_deref(), Ok(text), "{name}"),
                Err(words) => assert!(told.clone().is_err_and(|why| why.contains(words)), "{name}: {told:?}"),
            }
        }
    }
}
