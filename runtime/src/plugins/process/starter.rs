//! The thread that starts the processes of plugins. The kernel ends such a process with the thread that
//! started it, and tokio's threads come and go: a worker that has blocked may end long before the runtime.

use crate::lock::locked;
use std::io::{Error, Result};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, OnceLock};
use tokio::process::{Child, Command};
use tokio::sync::oneshot;

type Work = Box<dyn FnOnce() + Send>;

/// Starts a process that may live as long as the runtime.
///
/// # Errors
/// It cannot be started.
pub async fn start(mut command: Command) -> Result<Child> {
    let threads = tokio::runtime::Handle::current();
    let spawn = move || {
        let _here = threads.enter();
        command.spawn()
    };
    on_lasting_thread(spawn).await?
}

/// Does something on a thread that ends with this process.
async fn on_lasting_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let (done, answer) = oneshot::channel();
    let work: Work = Box::new(move || drop(done.send(work())));
    let sent = locked(thread()).send(work);
    sent.map_err(|_| Error::other("the thread that starts processes is gone"))?;
    answer.await.map_err(Error::other)
}

fn thread() -> &'static Mutex<Sender<Work>> {
    static THREAD: OnceLock<Mutex<Sender<Work>>> = OnceLock::new();
    THREAD.get_or_init(|| {
        let (sender, works) = channel::<Work>();
        // Where the thread cannot be started, what is sent to it is lost, and the sender is told.
        let _ = std::thread::Builder::new()
            .name("vst-starter".to_owned())
            .spawn(move || works.into_iter().for_each(|work| work()));
        Mutex::new(sender)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asks from a runtime of its own, whose thread is gone afterwards.
    fn where_it_is_done() -> std::thread::ThreadId {
        let asker = std::thread::spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("it is built");
            let here = std::thread::current().id();
            let there = runtime.block_on(on_lasting_thread(|| std::thread::current().id()));
            assert_ne!(Some(here), there.as_ref().ok().copied());
            there.expect("it is done")
        });
        asker.join().expect("it ends")
    }

    #[test]
    fn one_thread_starts_them_all_and_outlives_who_asks() {
        assert_eq!(where_it_is_done(), where_it_is_done());
    }
}
