//! A backup: a copy of what cannot be made again from anything else, taken while the runtime runs; and a home made of
//! one.
//!
//! Invariants:
//! - The database is copied first, then every blob that the copy names; no blob goes meanwhile.
//! - A folder is a backup once its manifest is in it, which comes last.
//! - Nothing that an agent can write is opened.

mod restore;

pub use restore::{Restored, expect_restored, restore};

use crate::attachments::{Store, named_blobs};
use crate::context::Context;
use crate::db::DatabaseCopy;
use crate::error::{Error, IoContext, Result, if_there};
use crate::home::Home;
use crate::plain_file;
use crate::plugin_state;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const DATABASE: &str = "vestibule.db";
const BLOBS: &str = "attachments";
const MANIFEST: &str = "backup.json";
/// The operator's files: copied where they are there.
const OPERATORS: [&str; 2] = ["vestibule.toml", "plugins.lock"];

/// What a backup says of itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Manifest {
    /// The Vestibule that made it.
    pub version: String,
    /// When it was made, as ISO 8601.
    pub made_at: String,
    /// The size of the database, in bytes.
    pub database_bytes: u64,
    /// How many files of messages it holds.
    pub blobs: usize,
    /// Their size together, in bytes.
    pub blob_bytes: u64,
    /// The files of messages that are on record, and were missing in the home already.
    pub missing: Vec<String>,
    /// How many secrets of channels the database holds, such as tokens that a platform gives in turn for older ones.
    #[serde(default)]
    pub secrets: u64,
    /// Of each part that the home has: whether it is in.
    pub parts: BTreeMap<String, bool>,
}

/// Makes a backup in a folder that is not there yet, or empty.
///
/// # Errors
/// The folder cannot be one, or a disk fails: what is in the folder then is no backup.
pub async fn backup(context: &Arc<Context>, folder: PathBuf) -> Result<Manifest> {
    // From here on no blob goes, so those that the copy will name stay.
    let hold = context.attachments.hold();
    make(&context.home, &folder)?;
    context.central.copy_to(&folder.join(DATABASE)).await?;
    let (home, store) = (context.home.clone(), context.attachments.clone());
    let rest = tokio::task::spawn_blocking(move || {
        let _hold = hold;
        copy_rest(&home, &store, &folder)
    });
    rest.await.map_err(|_| Error::Stopping)?
}

/// The folder of a backup, made or found empty.
fn make(home: &Home, folder: &Path) -> Result<()> {
    let refused = |why: &str| Error::Refused(format!("{} cannot hold a backup: {why}", folder.display()));
    if !folder.is_absolute() {
        return Err(refused("name the folder by its absolute path"));
    }
    if !folder.parent().is_some_and(Path::is_dir) {
        return Err(refused("the folder above it is not there"));
    }
    match overlap(&home.places(), &real(folder)) {
        None => {}
        Some(Overlap::InHome) => return Err(refused("it lies in the home, and would be lost with it")),
        Some(Overlap::AroundHome) => {
            return Err(refused("the home, or a part of it, lies in it; name another"));
        }
    }
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        made => {
            return made.context(|| format!("cannot make {}", folder.display())).and_then(|()| claim(folder));
        }
    }
    // Its owner could put a link where the copy is written, also while root writes it.
    let owner = fs::metadata(folder).context(|| format!("cannot look at {}", folder.display()))?.uid();
    if owner != rustix::process::geteuid().as_raw() {
        return Err(refused("it is there already, and another user's; name one that is not there yet"));
    }
    let shut = |mode| {
        fs::set_permissions(folder, Permissions::from_mode(mode))
            .context(|| format!("cannot shut {} to others", folder.display()))
    };
    // First shut, then looked at: what another user puts there between the two would be written through.
    let open = fs::metadata(folder).context(|| format!("cannot look at {}", folder.display()))?.mode();
    shut(0o700)?;
    let mut entries = fs::read_dir(folder).context(|| format!("cannot read {}", folder.display()))?;
    if entries.next().is_some() {
        shut(open & 0o7777)?;
        return Err(refused("it is not empty; name one that is not there yet"));
    }
    claim(folder)
}

/// How the folder of a backup and a home lie in one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Overlap {
    /// The folder is the home, or lies in it.
    InHome,
    /// The home, or a part of it to which a link leads, lies in the folder.
    AroundHome,
}

/// How a folder and the places of a home lie in one another, if they do. All paths are without links. Pure.
fn overlap(places: &[PathBuf], folder: &Path) -> Option<Overlap> {
    if places.iter().any(|place| folder.starts_with(place)) {
        return Some(Overlap::InHome);
    }
    places.iter().any(|place| place.starts_with(folder)).then_some(Overlap::AroundHome)
}

/// The path without a link in it, also of what is not there yet.
fn real(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let there = |above: &Path| Some(fs::canonicalize(above).ok()?.join(path.strip_prefix(above).ok()?));
    path.ancestors().find_map(there).unwrap_or_else(|| path.clone())
}

/// Takes a folder for one backup: SQLite would fill a database that is there and empty, and of two backups only one
/// makes this file.
fn claim(folder: &Path) -> Result<()> {
    match File::options().write(true).create_new(true).mode(0o600).open(folder.join(DATABASE)) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Err(Error::Refused(format!(
            "{} cannot hold a backup: another one is being made in it; name another folder",
            folder.display()
        ))),
        made => made.map(drop).context(|| format!("cannot write to {}", folder.display())),
    }
}

/// All but the database, which is copied already; the manifest last.
fn copy_rest(home: &Home, store: &Store, folder: &Path) -> Result<Manifest> {
    let database = DatabaseCopy::open(&folder.join(DATABASE))?;
    let (blobs, secrets) = (database.read(named_blobs)?, database.read(plugin_state::secrets)?);
    let at = folder.join(BLOBS);
    DirBuilder::new().mode(0o700).create(&at).context(|| format!("cannot make {}", at.display()))?;
    let (mut count, mut blob_bytes, mut missing) = (0, 0, Vec::new());
    for blob in blobs {
        match store.copy_to(&blob, &at) {
            Ok(Some(bytes)) => (count, blob_bytes) = (count + 1, blob_bytes + bytes),
            Ok(None) => missing.push(blob),
            Err(error) => return Err(error).context(|| format!("cannot copy a file to {}", at.display())),
        }
    }
    let mut parts = BTreeMap::from([(DATABASE, true), (BLOBS, true)].map(|(part, is)| (part.to_owned(), is)));
    for part in OPERATORS {
        if copy_if_there(&home.root().join(part), &folder.join(part))? {
            parts.insert(part.to_owned(), true);
        }
    }
    for (part, at) in [
        ("groups", "groups"),
        ("sessions/*/*/out", "sessions"),
        ("plugins", "plugins"),
        ("plugin-folders", "plugin-folders"),
        ("secrets", "secrets"),
    ] {
        if fs::read_dir(home.root().join(at)).is_ok_and(|mut entries| entries.next().is_some()) {
            parts.insert(part.to_owned(), false);
        }
    }
    let manifest = Manifest {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        made_at: vestibule_session::format_time(crate::clock::now()),
        database_bytes: fs::metadata(folder.join(DATABASE)).map_or(0, |meta| meta.len()),
        blobs: count,
        blob_bytes,
        missing,
        secrets,
        parts,
    };
    flush(folder)?;
    write_manifest(folder, &manifest)?;
    Ok(manifest)
}

/// Copies a file; the copy is its owner's alone, whatever mode the file had. Returns how many bytes it has.
fn copy_private(mut from: File, to: &Path) -> std::io::Result<u64> {
    let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(to)?;
    // One that was there already keeps its mode.
    file.set_permissions(Permissions::from_mode(0o600))?;
    std::io::copy(&mut from, &mut file)
}

/// Copies a file. Returns false when it is not there.
fn copy_if_there(from: &Path, to: &Path) -> Result<bool> {
    let copied =
        if_there(plain_file::open(from)).and_then(|from| from.map(|from| copy_private(from, to)).transpose());
    Ok(copied.context(|| format!("cannot copy {}", from.display()))?.is_some())
}

/// Puts all that a file system holds on its disk.
fn flush(at: &Path) -> Result<()> {
    let flushed = || -> std::io::Result<()> { Ok(rustix::fs::syncfs(File::open(at)?)?) };
    flushed().context(|| format!("cannot flush {}", at.display()))
}

fn write_manifest(folder: &Path, manifest: &Manifest) -> Result<()> {
    let text = serde_json::to_vec_pretty(manifest).map_err(Error::refused)?;
    let write = || -> std::io::Result<()> {
        let mut file =
            File::options().write(true).create_new(true).mode(0o600).open(folder.join(MANIFEST))?;
        file.write_all(&text)?;
        file.sync_all()?;
        File::open(folder)?.sync_all()
    };
    write().context(|| format!("cannot write to {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whether_a_backup_and_a_home_lie_apart() {
        let places = ["/home", "/disk/sessions"].map(PathBuf::from);
        for (folder, want) in [
            ("/backup", None),
            ("/homes", None),
            ("/disk/other", None),
            ("/home", Some(Overlap::InHome)),
            ("/home/backup", Some(Overlap::InHome)),
            ("/disk/sessions/backup", Some(Overlap::InHome)),
            ("/disk", Some(Overlap::AroundHome)),
            ("/", Some(Overlap::AroundHome)),
        ] {
            assert_eq!(overlap(&places, Path::new(folder)), want, "{folder}");
        }
    }

    #[test]
    fn a_path_is_read_without_its_links() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = fs::canonicalize(folder.path()).expect("it is there");
        fs::create_dir(root.join("a")).expect("a folder");
        std::os::unix::fs::symlink("a", root.join("link")).expect("a link");
        for (path, want) in [("a", "a"), ("link", "a"), ("link/new/one", "a/new/one"), ("new", "new")] {
            assert_eq!(real(&root.join(path)), root.join(want), "{path}");
        }
    }
}
