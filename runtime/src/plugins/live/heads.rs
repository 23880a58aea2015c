//! Reading what a plugin sends, so that nothing else waits for it.

use tokio::sync::Semaphore;
use vestibule_seam::Frame;

/// A head larger than this, in bytes, is read aside.
const SMALL: usize = 64 * 1024;

/// JSON can say in two bytes what takes thirty-two in memory, and a large head takes long to read. So one is read at a
/// time, whichever plugin sent it.
static LARGE: Semaphore = Semaphore::const_new(1);

/// Reads a frame; `None` when the runtime stops meanwhile.
pub async fn read<T: Send + 'static>(
    mut frame: Frame,
    read: impl FnOnce(&mut Frame) -> T + Send + 'static,
) -> Option<T> {
    if frame.head.len() <= SMALL {
        return Some(read(&mut frame));
    }
    let turn = LARGE.acquire().await.ok()?;
    let aside = tokio::task::spawn_blocking(move || {
        // Also where no caller waits any more, the next one is read after this.
        let _turn = turn;
        read(&mut frame)
    });
    aside.await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    #[test]
    fn large_heads_are_read_one_at_a_time_beside_all_else() {
        let one_thread = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let (at_once, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        one_thread.block_on(async {
            let mut reading = tokio::task::JoinSet::new();
            for _ in 0..4 {
                let (at_once, most) = (at_once.clone(), most.clone());
                reading.spawn(read(Frame::from_head(vec![b' '; SMALL + 1]), move |_| {
                    most.fetch_max(at_once.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    std::thread::sleep(Duration::from_millis(100));
                    at_once.fetch_sub(1, Ordering::SeqCst);
                }));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
            let begin = std::time::Instant::now();
            assert_eq!(read(Frame::from_head(b"7".to_vec()), |frame| frame.head[0]).await, Some(b'7'));
            assert!(begin.elapsed() < Duration::from_millis(90), "a small one does not wait");
            assert_eq!(reading.join_all().await, [Some(()); 4]);
        });
        assert_eq!(most.load(Ordering::SeqCst), 1);
    }
}
