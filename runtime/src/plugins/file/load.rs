//! Opening a checked file. The runtime's only `unsafe`.

use super::elf::{self, Inspected};
use crate::plugins::{LoadCode, LoadError};
use abi_stable::StableAbi;
use abi_stable::abi_stability::abi_checking::check_layout_compatibility;
use abi_stable::library::{AbiHeaderRef, LibHeader};
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use rustix::fs::{Mode, OFlags};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use vestibule_plugin_api::Manifest;
use vestibule_seam::{ABI_MAJOR, PluginRootRef};

const FILE_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// How much of a version stands in the name of a copy: a plugin chose it, and a file's name has 255 bytes.
const VERSION_CHARS_MAX: usize = 32;

const SYMLINK: LoadError = LoadError::fixed(
    LoadCode::Symlink,
    "it is a symbolic link. Copy the file itself into the plugins folder.",
);
const NOT_A_FILE: LoadError =
    LoadError::fixed(LoadCode::NotAFile, "it is not a regular file. Remove it from the plugins folder.");
const CHANGING: LoadError = LoadError::fixed(
    LoadCode::Changing,
    "it is still being written. It will be tried again as soon as it stops changing.",
);
const ENTRY_FAILED: LoadError =
    LoadError::fixed(LoadCode::Init, "its entry point failed. Look at the log; its author can say more.");
const STATIC_TLS: LoadError = LoadError::fixed(
    LoadCode::StaticTls,
    "it needs more static thread storage than a running program can give. This is usually an allocator inside it, such \
     as jemalloc; build it without, or with that one's `disable_initial_exec_tls`.",
);

/// A file that was read and checked, and not opened yet.
#[derive(Debug)]
pub struct Checked {
    /// Its manifest, and the symbol through which it is entered.
    pub inspected: Inspected,
    /// The SHA-256 of its bytes, in hexadecimal.
    pub sha256: String,
    bytes: Vec<u8>,
}

/// Reads a file and checks it. Runs nothing of it.
///
/// # Errors
/// The sentence after "Plugin FILE was not loaded:".
pub fn read(path: &Path) -> Result<Checked, LoadError> {
    let unreadable =
        |error: std::io::Error| LoadError::new(LoadCode::Unreadable, format!("it cannot be read ({error})."));
    let fd = rustix::fs::open(
        path,
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(|error| match error {
        rustix::io::Errno::LOOP => SYMLINK,
        error => LoadError::new(
            LoadCode::Unreadable,
            format!("it cannot be read ({error}). Check its owner and mode."),
        ),
    })?;
    let mut file = File::from(fd);
    let before = file.metadata().map_err(unreadable)?;
    if !before.is_file() {
        return Err(NOT_A_FILE);
    }
    if let Some(owner) = stranger(&before) {
        let words = format!("it belongs to {owner}. If you trust it, change its owner with chown.");
        return Err(LoadError::new(LoadCode::Owner, words));
    }
    if before.mode() & 0o022 != 0 {
        let mode = before.mode() & 0o777;
        let words =
            format!("other users can change it (mode {mode:o}). If you trust it, run chmod 644 on it.");
        return Err(LoadError::new(LoadCode::Writable, words));
    }
    if before.len() > FILE_BYTES_MAX {
        let words = format!("it has {} bytes and the limit is {FILE_BYTES_MAX}.", before.len());
        return Err(LoadError::new(LoadCode::TooLarge, words));
    }
    let mut bytes = Vec::new();
    (&mut file).take(FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(unreadable)?;
    let after = file.metadata().map_err(unreadable)?;
    let stamp = |meta: &std::fs::Metadata| (meta.len(), meta.mtime(), meta.mtime_nsec());
    if stamp(&before) != stamp(&after) || bytes.len() as u64 != after.len() {
        return Err(CHANGING);
    }
    let inspected = elf::inspect(&bytes)?;
    let sha256 = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Checked { inspected, sha256, bytes })
}

/// The owner of a file, in words, if that is neither the user Vestibule runs as nor root.
pub fn stranger(meta: &std::fs::Metadata) -> Option<String> {
    let (owner, me) = (meta.uid(), rustix::process::getuid().as_raw());
    (owner != me && owner != 0)
        .then(|| format!("user {owner} and not to the user Vestibule runs as ({me}) or root"))
}

/// Whether a checked file may run inside the runtime.
///
/// # Errors
/// The sentence after "Plugin FILE was not loaded:".
pub fn fits_in_process(checked: &Checked) -> Result<(), LoadError> {
    if checked.inspected.manifest.panic == "abort" {
        let words = format!(
            "it was built with panic = \"abort\", so one bug in it would stop all of Vestibule. Build it with the \
             default panic setting, or take `tier` out of [plugins.{}].",
            checked.inspected.manifest.name
        );
        return Err(LoadError::new(LoadCode::PanicAbort, words));
    }
    Ok(())
}

/// Writes the private copy of a checked file: what is opened, in either tier.
///
/// # Errors
/// The sentence after "Plugin FILE was not loaded:".
pub fn copy(checked: &Checked, copies: &Path) -> Result<PathBuf, LoadError> {
    private_copy(checked, copies).map_err(|error| {
        let words = format!("its private copy cannot be written to {} ({error}).", copies.display());
        LoadError::new(LoadCode::Copy, words)
    })
}

/// Opens a private copy and finds its root. Runs the file's constructors.
///
/// # Errors
/// The sentence after "Plugin FILE was not loaded:".
pub fn open_copy(copy: &Path, entry: &str) -> Result<PluginRootRef, LoadError> {
    // SAFETY: running a plugin's constructors is what loading means; the file passed every check.
    let library = unsafe { Library::open(Some(copy), RTLD_NOW | RTLD_LOCAL) }.map_err(not_opened)?;
    // Never unloaded: its threads and thread-locals would outlive their code.
    let library = std::mem::ManuallyDrop::new(library);
    // SAFETY: `export_channel!` gives this symbol this type; what it points to is checked before use.
    let header = unsafe { library.get::<AbiHeaderRef>(entry.as_bytes()) }.map(|symbol| *symbol);
    let header = header.map_err(|error| {
        let words = format!("its entry point cannot be found ({error}). Build it again.");
        LoadError::new(LoadCode::NoEntry, words)
    })?;
    check(header.upgrade().map_err(|_| layout_differs())?)
}

/// The linker gives its errors no code: here, and here alone, one is read from its words.
fn not_opened(error: libloading::Error) -> LoadError {
    // libloading puts the linker's own words into the source.
    let words = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
    if words.contains("static TLS") {
        return STATIC_TLS;
    }
    let words = format!(
        "the system could not load it ({words}). If a library or GLIBC version is named here, install it or use a \
         build for this system."
    );
    LoadError::new(LoadCode::Dlopen, words)
}

/// Checks a root's layout in both directions before anything of it is called.
///
/// # Errors
/// The sentence after "Plugin FILE was not loaded:".
pub fn check(header: &'static LibHeader) -> Result<PluginRootRef, LoadError> {
    let ours = <PluginRootRef as StableAbi>::LAYOUT;
    let theirs = header.layout().ok_or_else(layout_differs)?;
    if check_layout_compatibility(ours, theirs).is_err() && check_layout_compatibility(theirs, ours).is_err()
    {
        return Err(layout_differs());
    }
    // SAFETY: the layouts were just compared.
    unsafe { header.unchecked_layout::<PluginRootRef>() }.map_err(|_| ENTRY_FAILED)
}

fn layout_differs() -> LoadError {
    let words = format!(
        "it says it speaks interface {ABI_MAJOR} but its data layout differs. It was built with a modified or damaged \
         vestibule-seam crate; build it again with the published one."
    );
    LoadError::new(LoadCode::AbiLayout, words)
}

/// The copy's name holds the hash and is never used for other bytes: the same path gives the old
/// library, and writing over a mapped file kills the process.
fn private_copy(checked: &Checked, copies: &Path) -> std::io::Result<PathBuf> {
    let path = copies.join(copy_name(&checked.inspected.manifest, &checked.sha256));
    let mut file = File::options().write(true).create_new(true).mode(0o500).open(&path)?;
    if let Err(error) = file.write_all(&checked.bytes) {
        // On a full disk the part that was written would keep others from writing.
        let _ = std::fs::remove_file(&path);
        return Err(error);
    }
    Ok(path)
}

/// A name that no other copy has.
fn copy_name(manifest: &Manifest, sha256: &str) -> String {
    let fits = |c: &char| c.is_ascii_alphanumeric() || "-.".contains(*c);
    let version: String = manifest.version.chars().filter(fits).take(VERSION_CHARS_MAX).collect();
    format!("{}-{version}-{}-{}.so", manifest.name, &sha256[..16], crate::id::mint("copy"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_and_version_make_a_name_for_a_copy() {
        let sha256 = "0123456789abcdef".repeat(4);
        for (name, version, begins) in [
            ("irc".to_owned(), "1.2.3-rc1".to_owned(), "irc-1.2.3-rc1-0123456789abcdef-"),
            ("n".repeat(64), "9".repeat(10_000), "nnnn"),
            ("x".to_owned(), "../../etc/\n".to_owned(), "x-....etc-0123456789abcdef-"),
        ] {
            let text = serde_json::json!({ "name": name, "version": version, "kind": "channel", "abi": 1, "api": "0.1",
                "channel_type": "x" });
            let manifest = Manifest::parse(text.to_string().as_bytes()).expect("it fits");
            let copy = copy_name(&manifest, &sha256);
            assert!(copy.starts_with(begins) && copy.len() <= 255 && !copy.contains('/'), "{copy}");
        }
    }
}
