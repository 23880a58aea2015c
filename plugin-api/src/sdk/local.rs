//! Listening at a local socket, in either tier.

use crate::local::open_socket;
use rustix::fs::{OFlags, fcntl_getfl};
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

/// The listener at this path that this process was handed: one that no channel has taken, before one that an account
/// which is being stopped may still have open.
fn handed_over(path: &Path) -> Option<net::UnixListener> {
    let open = std::fs::read_dir("/proc/self/fd").ok()?.flatten();
    let numbers = open.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    numbers.filter_map(|number| listener(number, path).ok()).min_by_key(is_taken)
}

/// Whether a channel has taken this listener: the runtime hands it over without the flag that [`local_socket`] sets, and
/// copies share their flags.
fn is_taken(listener: &net::UnixListener) -> bool {
    fcntl_getfl(listener).is_ok_and(|flags| flags.contains(OFlags::NONBLOCK))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_listener_that_was_not_taken_yet_is_found() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("s");
        assert!(handed_over(&path).is_none());
        let before = open_socket(&path).expect("it is opened");
        let taken = handed_over(&path).expect("it is found");
        taken.set_nonblocking(true).expect("its flag is set");
        assert!(handed_over(&path).is_some_and(|again| is_taken(&again)), "there is no other");
        // Its account is being stopped while the next one starts.
        let _next = open_socket(&path).expect("it is opened in the place of the first");
        let found = handed_over(&path).expect("it is found");
        let _client = net::UnixStream::connect(&path).expect("it is reached");
        found.set_nonblocking(true).expect("its flag is set");
        found.accept().expect("the client is at this one");
        drop((before, taken));
    }
}
