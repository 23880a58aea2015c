//! Whether webhooks are taken, where, and which were refused: what is known of the listener that `http` opens.

mod refusals;

pub use refusals::{Count, Refusals};

use std::net::SocketAddr;
use std::sync::OnceLock;
use tokio::sync::{Mutex, MutexGuard};

/// What is known of the one listener.
#[derive(Default)]
pub struct Listener {
    opening: Mutex<()>,
    open: OnceLock<SocketAddr>,
    /// The webhooks it has refused, counted.
    pub refusals: Refusals,
}

impl Listener {
    /// Where it listens, once it does.
    pub fn address(&self) -> Option<SocketAddr> {
        self.open.get().copied()
    }

    /// Held while the listener is opened.
    pub async fn opening(&self) -> MutexGuard<'_, ()> {
        self.opening.lock().await
    }

    /// Notes where it listens from now on.
    pub fn opened(&self, at: SocketAddr) {
        let _ = self.open.set(at);
    }
}
