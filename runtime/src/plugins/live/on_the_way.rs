//! How many bytes of files are on their way between the runtime and one plugin. Each file is held in memory as a whole, here
//! and in the plugin, whose process has only so much.

use super::link::CallError;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use vestibule_plugin_api::Blob;

/// What a plugin loads at once, in KiB: four messages whose files are as large as they may be, unless the operator allows
/// larger ones.
const LOADED_KIB_MAX: u32 = 256 * 1024;
/// A file that is loaded counts so much at least, in KiB: a platform is asked for no more than four at once.
const LOADED_KIB_MIN: u32 = LOADED_KIB_MAX / 4;
/// What a plugin is handed at once, in KiB: the largest file that any channel here takes out, or several smaller ones.
const HANDED_KIB_MAX: u32 = 128 * 1024;

/// What one plugin has on its way.
#[derive(Debug)]
pub struct OnTheWay {
    loaded: Arc<Semaphore>,
    handed: Arc<Semaphore>,
}

/// Files may be on their way. They count until this is dropped.
#[derive(Debug)]
pub struct Allowance(#[expect(dead_code, reason = "it is held")] OwnedSemaphorePermit);

/// A file that a channel has loaded. It counts as being on its way until it is dropped: keep it together until the bytes are
/// on disk.
#[derive(Debug)]
pub struct Loaded {
    /// The file.
    pub bytes: Blob,
    pub(super) _allowance: Allowance,
}

impl Default for OnTheWay {
    fn default() -> OnTheWay {
        let of = |kib: u32| Arc::new(Semaphore::new(kib as usize));
        OnTheWay { loaded: of(LOADED_KIB_MAX), handed: of(HANDED_KIB_MAX) }
    }
}

impl OnTheWay {
    /// Waits until a file that is as large as this at most may be loaded.
    pub async fn load(&self, bytes_max: u64) -> Result<Allowance, CallError> {
        allowed(&self.loaded, kib(bytes_max, LOADED_KIB_MIN, LOADED_KIB_MAX)).await
    }

    /// Waits until files of so many bytes together may be handed over.
    pub async fn hand_over(&self, bytes: u64) -> Result<Allowance, CallError> {
        allowed(&self.handed, kib(bytes, 0, HANDED_KIB_MAX)).await
    }
}

async fn allowed(of: &Arc<Semaphore>, kib: u32) -> Result<Allowance, CallError> {
    of.clone().acquire_many_owned(kib).await.map(Allowance).map_err(|_| CallError::Cancelled)
}

/// What so many bytes count, in KiB. More than the most goes alone. Pure.
fn kib(bytes: u64, least: u32, most: u32) -> u32 {
    u32::try_from(bytes.div_ceil(1024)).unwrap_or(most).clamp(least, most)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::timeout;

    const MIB: u64 = 1024 * 1024;

    /// How many of such files are on their way at once.
    async fn at_once<F: Future<Output = Result<Allowance, CallError>>>(next: impl Fn() -> F) -> usize {
        let mut held = Vec::new();
        while let Ok(allowed) = timeout(Duration::ZERO, next()).await {
            held.push(allowed.expect("it is open"));
            if held.len() == 1_000 {
                break;
            }
        }
        held.len()
    }

    #[tokio::test]
    async fn only_so_many_bytes_are_on_their_way_at_once() {
        let on_the_way = OnTheWay::default();
        for (bytes, loaded, handed) in [
            (0, 4, 1_000),
            (1, 4, 1_000),
            (MIB, 4, 128),
            (64 * MIB, 4, 2),
            (64 * MIB + 1, 3, 1),
            (100 * MIB, 2, 1),
            (128 * MIB, 2, 1),
            (300 * MIB, 1, 1),
            (u64::MAX, 1, 1),
        ] {
            assert_eq!(at_once(|| on_the_way.load(bytes)).await, loaded, "{bytes}");
            assert_eq!(at_once(|| on_the_way.hand_over(bytes)).await, handed, "{bytes}");
        }
    }
}
