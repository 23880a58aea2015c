//! The local socket of a channel that lists `local_socket`.

use std::fs::{Permissions, remove_file, set_permissions, symlink_metadata};
use std::io::Result;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;

/// Opens a local socket that only its owner reaches, in place of a dead one that lies there.
///
/// # Errors
/// The socket cannot be made, or something else lies at the path, which is left alone.
pub fn open_socket(path: &Path) -> Result<UnixListener> {
    if symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket()) {
        remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    set_permissions(path, Permissions::from_mode(0o600))?;
    Ok(listener)
}
