//! The deliveries for which a channel was called and has not answered: it tells of their parts meanwhile.

use crate::id::SessionId;
use crate::lock::locked;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// The longest time for one attempt, however often the channel tells of a part: then it is made anew, from that part on.
const ATTEMPT_MAX: Duration = Duration::from_secs(15 * 60);

/// An account, and the id of a message.
type Key = (String, String);

/// The deliveries that are under way on one channel.
#[derive(Default)]
pub struct UnderWay(Arc<Mutex<HashMap<Key, Vec<Attempt>>>>);

#[derive(Clone)]
struct Attempt {
    session_id: SessionId,
    of: String,
    renewed: Arc<Notify>,
}

impl UnderWay {
    /// Notes that a delivery is under way, of the message with the digest `of`, until the guard is dropped.
    pub fn begin(&self, account: &str, id: &str, session_id: &SessionId, of: &str) -> Begun {
        let key = (account.to_owned(), id.to_owned());
        let attempt = Attempt { session_id: session_id.clone(), of: of.to_owned(), renewed: Arc::default() };
        locked(&self.0).entry(key.clone()).or_default().push(attempt.clone());
        Begun { all: self.0.clone(), key, renewed: attempt.renewed }
    }

    /// The session of the one delivery with this id, and the digest of its message. Agents name their replies themselves: of two with one id that are
    /// under way at once none is known.
    pub fn session_of(&self, account: &str, id: &str) -> Option<(SessionId, String)> {
        match locked(&self.0).get(&(account.to_owned(), id.to_owned())).map(Vec::as_slice) {
            Some([one]) => Some((one.session_id.clone(), one.of.clone())),
            _ => None,
        }
    }

    /// Gives a delivery its whole deadline once more.
    pub fn renew(&self, account: &str, id: &str) {
        let all = locked(&self.0);
        all.get(&(account.to_owned(), id.to_owned()))
            .into_iter()
            .flatten()
            .for_each(|one| one.renewed.notify_one());
    }
}

/// A delivery that is under way.
pub struct Begun {
    all: Arc<Mutex<HashMap<Key, Vec<Attempt>>>>,
    key: Key,
    renewed: Arc<Notify>,
}

impl Begun {
    /// Waits for the channel's answer: for `deadline` after it was called, and after each part that it told of. `None`
    /// when it is late.
    pub async fn wait<T>(&self, answer: impl Future<Output = T>, deadline: Duration) -> Option<T> {
        let begin = Instant::now();
        let mut last = until(begin, begin, deadline);
        tokio::pin!(answer);
        loop {
            tokio::select! {
                answer = &mut answer => return Some(answer),
                () = tokio::time::sleep_until(last) => return None,
                () = self.renewed.notified() => last = until(begin, Instant::now(), deadline),
            }
        }
    }
}

/// How long an attempt that began at `begin` may take, when its channel last told something at `told`.
fn until(begin: Instant, told: Instant, deadline: Duration) -> Instant {
    (told + deadline).min(begin + ATTEMPT_MAX)
}

impl Drop for Begun {
    fn drop(&mut self) {
        let mut all = locked(&self.all);
        if let Some(attempts) = all.get_mut(&self.key) {
            attempts.retain(|one| !Arc::ptr_eq(&one.renewed, &self.renewed));
            if attempts.is_empty() {
                all.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_of_the_one_delivery_with_its_id() {
        let under_way = UnderWay::default();
        let of =
            |account: &str, id: &str| under_way.session_of(account, id).map(|(id, _)| id.as_str().to_owned());
        let first = under_way.begin("main", "o", &"s".into(), "d");
        assert_eq!(of("main", "o").as_deref(), Some("s"));
        assert_eq!((of("second", "o"), of("main", "p")), (None, None));
        let second = under_way.begin("main", "o", &"t".into(), "d");
        assert_eq!(of("main", "o"), None, "two have this id");
        drop(first);
        assert_eq!(of("main", "o").as_deref(), Some("t"));
        drop(second);
        assert_eq!(of("main", "o"), None);
        assert!(locked(&under_way.0).is_empty());
    }

    #[test]
    fn each_part_gives_the_whole_deadline_once_more() {
        let (begin, second) = (Instant::now(), Duration::from_secs(1));
        for (told_at, deadline, want) in
            [(0, 60, 60), (50, 60, 110), (840, 60, 900), (899, 60, 900), (10, 600, 610)]
        {
            let until = until(begin, begin + second * told_at, second * deadline);
            assert_eq!(until, begin + second * want, "{told_at} {deadline}");
        }
    }
}
