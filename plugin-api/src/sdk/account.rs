//! Which account a piece of a plugin's work is for: its log lines say so.

use std::sync::{Mutex, PoisonError};

tokio::task_local! {
    static ACCOUNT: String;
}

/// The accounts that are started.
static STARTED: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Runs work for an account: what it logs names the account.
pub(super) async fn on_behalf<T>(account: String, work: impl Future<Output = T>) -> T {
    ACCOUNT.scope(account, work).await
}

/// Notes that an account is started, or no longer.
pub(super) fn note(account: &str, is_started: bool) {
    let mut started = STARTED.lock().unwrap_or_else(PoisonError::into_inner);
    started.retain(|other| other != account);
    if is_started {
        started.push(account.to_owned());
    }
}

/// For which account this task was spawned, as far as that was said.
pub fn in_scope() -> Option<String> {
    ACCOUNT.try_with(Clone::clone).ok()
}

/// For which account this task works: by what it was spawned for, or because there is only one.
pub(super) fn current() -> Option<String> {
    in_scope().or_else(|| {
        let started = STARTED.lock().unwrap_or_else(PoisonError::into_inner);
        match &started[..] {
            [only] => Some(only.clone()),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_is_for_the_account_it_was_spawned_for_or_for_the_only_one() {
        assert_eq!(current(), None);
        note("a", true);
        note("a", true);
        assert_eq!(current().as_deref(), Some("a"));
        note("b", true);
        assert_eq!(current(), None);
        assert_eq!(on_behalf("b".to_owned(), async { current() }).await.as_deref(), Some("b"));
        note("a", false);
        assert_eq!(current().as_deref(), Some("b"));
        note("b", false);
        assert_eq!(current(), None);
    }
}
