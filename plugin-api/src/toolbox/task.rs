//! The task of an account that goes on until the account is stopped.

use crate::Runtime;
use std::sync::{Mutex, PoisonError};
use tokio::task::JoinHandle;

/// A task that ends with its account, also when a start fails half-way. Its log lines name the account.
pub struct Task(Mutex<Option<JoinHandle<()>>>);

impl Task {
    /// Starts it.
    pub fn start(runtime: &Runtime, work: impl Future<Output = ()> + Send + 'static) -> Task {
        Task(Mutex::new(Some(tokio::spawn(runtime.named(work)))))
    }

    /// Ends it where it waits, and returns when nothing of it is left.
    pub async fn end(&self) {
        let task = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task {
            task.abort();
            let _ = task.await;
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if let Some(task) = self.0.get_mut().unwrap_or_else(PoisonError::into_inner) {
            task.abort();
        }
    }
}

#[cfg(all(test, feature = "testing"))]
mod tests {
    use super::*;
    use crate::testing::ScriptedRuntime;
    use std::sync::Arc;

    #[tokio::test]
    async fn nothing_is_left_of_a_task_that_has_ended() {
        let (runtime, held) = (ScriptedRuntime::new(), Arc::new(()));
        let start = || {
            let holds = held.clone();
            Task::start(&runtime.runtime("main"), async move {
                let _holds = holds;
                std::future::pending::<()>().await;
            })
        };
        let task = start();
        tokio::task::yield_now().await;
        assert_eq!(Arc::strong_count(&held), 2);
        task.end().await;
        assert_eq!(Arc::strong_count(&held), 1);
        task.end().await;
        drop(start());
        while Arc::strong_count(&held) > 1 {
            tokio::task::yield_now().await;
        }
    }
}
