//! The calls of SQLite to the operating system, changed in one respect: they never wait for another program's lease.
//!
//! Every program that may read a file may take a lease on it, and then an `open` for writing sleeps for 45 seconds.
//! With `O_NONBLOCK` it fails at once, and SQLite says that the file is locked.

use libc::{c_char, c_int};
use rusqlite::ffi;
use std::sync::Once;

/// Makes every later `open` of SQLite in this process one that does not wait. Call it before the first database is
/// opened. `role` names this process in the crash points of SQLite's own steps.
pub fn never_wait(role: &'static str) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        replace(c"open", open as *const ());
        #[cfg(debug_assertions)]
        steps::watch(role);
        #[cfg(not(debug_assertions))]
        let _ = role;
    });
}

fn replace(name: &std::ffi::CStr, with: *const ()) {
    // SAFETY: SQLite's default VFS lives for ever; the new function has the type that SQLite documents for a call of
    // this name; and no thread calls through the table yet, see `never_wait`.
    unsafe {
        let vfs = ffi::sqlite3_vfs_find(std::ptr::null());
        let Some(set) = vfs.as_ref().and_then(|vfs| vfs.xSetSystemCall) else { return };
        let call = std::mem::transmute::<*const (), ffi::sqlite3_syscall_ptr>(with);
        set(vfs, name.as_ptr(), call);
    }
}

extern "C" fn open(path: *const c_char, flags: c_int, mode: c_int) -> c_int {
    // SAFETY: SQLite gives a path that ends with NUL, as it would give it to `open` itself.
    unsafe { libc::open(path, flags | libc::O_NONBLOCK, mode) }
}

/// Each write, cut and removal by SQLite is a crash point, so that a test can end a commit in its middle.
#[cfg(debug_assertions)]
mod steps {
    use super::{c_char, c_int, replace};
    use crate::crash;
    use libc::{c_void, off_t, size_t, ssize_t};
    use std::sync::OnceLock;

    static NAMES: OnceLock<[String; 3]> = OnceLock::new();

    pub fn watch(role: &str) {
        if std::env::var_os("VESTIBULE_CRASH_POINT").is_none() {
            return;
        }
        let _ = NAMES.set(["writes", "cuts", "removes"].map(|step| format!("{role}: SQLite {step}")));
        replace(c"pwrite", pwrite as *const ());
        replace(c"ftruncate", ftruncate as *const ());
        replace(c"unlink", unlink as *const ());
    }

    fn point(step: usize) {
        if let Some(names) = NAMES.get() {
            crash::point(&names[step]);
        }
    }

    extern "C" fn pwrite(file: c_int, bytes: *const c_void, count: size_t, at: off_t) -> ssize_t {
        point(0);
        // SAFETY: SQLite's own arguments, handed on.
        unsafe { libc::pwrite(file, bytes, count, at) }
    }

    extern "C" fn ftruncate(file: c_int, size: off_t) -> c_int {
        point(1);
        // SAFETY: SQLite's own arguments, handed on.
        unsafe { libc::ftruncate(file, size) }
    }

    extern "C" fn unlink(path: *const c_char) -> c_int {
        point(2);
        // SAFETY: SQLite's own arguments, handed on.
        unsafe { libc::unlink(path) }
    }
}
