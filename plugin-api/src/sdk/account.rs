//! Which account a piece of a plugin's work is for: its log lines say so.

use std::sync::{Mutex, PoisonError};

tokio::task_local! {
    static ACCOUNT: String;
}

/// The accounts that are started.
static STARTED: Started = Started(Mutex::new(Vec::new()));

struct Started(Mutex<Vec<String>>);

impl Started {
    fn note(&self, account: &str, is_started: bool) {
        let mut started = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        started.retain(|other| other != account);
        if is_started {
            started.push(account.to_owned());
        }
    }

    fn current(&self) -> Option<String> {
        in_scope().or_else(|| match &self.0.lock().unwrap_or_else(PoisonError::into_inner)[..] {
            [only] => Some(only.clone()),
            _ => None,
        })
    }
}

/// Runs work for an account: what it logs names the account.
pub(super) async fn on_behalf<T>(account: String, work: impl Future<Output = T>) -> T {
    ACCOUNT.scope(account, work).await
}

/// Notes that an account is started, or no longer.
pub(super) fn note(account: &str, is_started: bool) {
    STARTED.note(account, is_started);
}

/// For which account this task was spawned, as far as that was said.
pub fn in_scope() -> Option<String> {
    ACCOUNT.try_with(Clone::clone).ok()
}

/// For which account this task works: by what it was spawned for, or because there is only one.
pub(super) fn current() -> Option<String> {
    STARTED.current()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_is_for_the_account_it_was_spawned_for_or_for_the_only_one() {
        let started = Started(Mutex::default());
        let note = |account, is_started| started.note(account, is_started);
        let current = || started.current();
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
