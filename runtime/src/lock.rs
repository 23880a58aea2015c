//! Locks that outlive a panic: what a mutex guards here is whole between any two of its steps.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// The guarded value, also after a thread panicked while it held it.
pub fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
