//! Listening at a local socket, in either tier.

use crate::local::open_socket;
use std::io::{Error, ErrorKind, Result};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net;
use std::path::Path;
use tokio::net::UnixListener;

/// Listens at the socket that the config of this account names as `socket`, for a channel that lists the
/// capability `local_socket`. Inside the runtime it is opened here. A process of its own opens no local
/// socket: there the runtime has opened it before it asked to start the account.
///
/// # Errors
/// The socket cannot be opened, or the runtime has opened none at this path.
pub fn local_socket(path: &Path) -> Result<UnixListener> {
    let listener = match open_socket(path) {
        // A confined process may open no socket.
        Err(error) if error.kind() == ErrorKind::PermissionDenied => handed_over(path).ok_or(error)?,
        opened => opened?,
    };
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener)
}

/// The listener at this path that this process was handed.
fn handed_over(path: &Path) -> Option<net::UnixListener> {
    let open = std::fs::read_dir("/proc/self/fd").ok()?.flatten();
    let mut numbers = open.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    numbers.find_map(|number| listener(number, path).ok())
}

fn listener(number: i32, path: &Path) -> Result<net::UnixListener> {
    // SAFETY: it is borrowed for one `dup`, which fails if it was closed meanwhile; whatever it is, the copy
    // is only asked for its address.
    let copy: OwnedFd = unsafe { BorrowedFd::borrow_raw(number) }.try_clone_to_owned()?;
    let stream = net::UnixStream::from(copy);
    // A connection that came in by the listener has its address, and besides one at its other end.
    let is_it = stream.local_addr()?.as_pathname() == Some(path) && stream.peer_addr().is_err();
    let copy = OwnedFd::from(stream);
    if is_it { Ok(copy.into()) } else { Err(Error::from(ErrorKind::NotFound)) }
}
