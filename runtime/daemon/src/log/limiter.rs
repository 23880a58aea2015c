//! Limits how much of the log one source may write. Pure: the caller gives the time.

use std::collections::HashMap;
use std::time::{Duration, Instant};
use tracing::Metadata;

/// How many lines of a source are written at once.
const AT_ONCE: u64 = 200;
/// How many more are written in each second after.
const A_SECOND: u64 = 20;
/// How many sources are told apart; those beyond share the limit of one.
const SOURCES_MAX: usize = 1_000;
const SECOND: Duration = Duration::from_secs(1);

/// Where a line comes from: a line of code, and the subject of its event.
#[derive(Clone)]
pub struct Source {
    /// The line of code.
    pub of: &'static Metadata<'static>,
    /// The plugin, module or session; empty where the event names none.
    pub name: String,
}

/// The share that each source has left.
#[derive(Default)]
pub struct Limiter {
    sources: HashMap<(tracing::callsite::Identifier, String), Share>,
    others: Option<Share>,
    looked: Option<Instant>,
}

/// The number of lines that a source may still write.
struct Share {
    source: Source,
    since: Instant,
    left: u64,
    left_out: u64,
}

impl Share {
    fn new(source: Source, now: Instant) -> Share {
        Share { source, since: now, left: AT_ONCE, left_out: 0 }
    }

    /// Adds the lines of the seconds that have passed.
    fn refill(&mut self, now: Instant) {
        let seconds = now.saturating_duration_since(self.since).as_secs();
        self.left = self.left.saturating_add(seconds.saturating_mul(A_SECOND)).min(AT_ONCE);
        self.since += SECOND * u32::try_from(seconds).unwrap_or(u32::MAX);
    }

    fn takes(&mut self, now: Instant) -> bool {
        self.refill(now);
        let takes = self.left > 0;
        self.left = self.left.saturating_sub(1);
        self.left_out += u64::from(!takes);
        takes
    }
}

impl Limiter {
    /// Counts one more line, at this time. Returns whether it is written, and how many lines of each source were left
    /// out since that was last told. That is told once a second, ahead of the next line of any source.
    pub fn count(&mut self, source: Source, now: Instant) -> (bool, Vec<(Source, u64)>) {
        let told = self.tell(now);
        let key = (source.of.callsite(), source.name.clone());
        let has_room = self.sources.len() < SOURCES_MAX || self.sources.contains_key(&key);
        let share = if has_room {
            self.sources.entry(key).or_insert_with(|| Share::new(source, now))
        } else {
            self.others
                .get_or_insert_with(|| Share::new(Source { of: source.of, name: "others".into() }, now))
        };
        (share.takes(now), told)
    }

    fn tell(&mut self, now: Instant) -> Vec<(Source, u64)> {
        if self.looked.is_some_and(|looked| now.saturating_duration_since(looked) < SECOND) {
            return Vec::new();
        }
        self.looked = Some(now);
        let mut told = Vec::new();
        for share in self.sources.values_mut().chain(&mut self.others) {
            share.refill(now);
            if share.left > 0 && share.left_out > 0 {
                told.push((share.source.clone(), std::mem::take(&mut share.left_out)));
            }
        }
        // A source that has its whole share need not be remembered.
        self.sources.retain(|_, share| share.left < AT_ONCE);
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use tracing::{Event, Subscriber};
    use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

    /// Two lines of code.
    fn sources() -> [&'static Metadata<'static>; 2] {
        struct Seen(&'static Mutex<Vec<&'static Metadata<'static>>>);
        impl<S: Subscriber> Layer<S> for Seen {
            fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
                self.0.lock().expect("no panic").push(event.metadata());
            }
        }
        let seen: &'static Mutex<Vec<_>> = Box::leak(Box::default());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(Seen(seen)), || {
            tracing::info!("one");
            tracing::info!("other");
        });
        let seen = seen.lock().expect("no panic");
        [seen[0], seen[1]]
    }

    #[test]
    fn each_source_has_its_own_share_and_what_is_left_out_is_counted() {
        let ([one, other], begin) = (sources(), Instant::now());
        let mut limiter = Limiter::default();
        let mut count = |of, name: &str, ms: u64| {
            let (passes, told) =
                limiter.count(Source { of, name: name.into() }, begin + Duration::from_millis(ms));
            (passes, told.into_iter().map(|(source, count)| (source.name, count)).collect::<Vec<_>>())
        };
        assert_eq!((0..1_000).filter(|_| count(one, "a", 0).0).count() as u64, AT_ONCE);
        assert_eq!(count(one, "b", 1), (true, vec![]), "another name");
        assert_eq!(count(other, "a", 1), (true, vec![]), "another line of code");
        assert_eq!(count(one, "a", 999), (false, vec![]));
        // The next line of any source tells how many were left out, once.
        assert_eq!(count(one, "b", 1_001), (true, vec![("a".to_owned(), 801)]));
        assert_eq!((0..1_000).filter(|_| count(one, "a", 1_002).0).count() as u64, A_SECOND);
        assert_eq!(count(one, "b", 1_003), (true, vec![]));
        assert_eq!(count(one, "b", 60_000), (true, vec![("a".to_owned(), 980)]));
        assert_eq!((0..1_000).filter(|_| count(one, "a", 60_001).0).count() as u64, AT_ONCE);
    }

    #[test]
    fn sources_without_end_share_what_one_has() {
        let ([one, _], begin) = (sources(), Instant::now());
        let mut limiter = Limiter::default();
        let mut count = |name: String, now| limiter.count(Source { of: one, name }, now).0;
        let passed = (0..10_000).filter(|number| count(format!("s{number}"), begin)).count();
        assert_eq!(passed, SOURCES_MAX + AT_ONCE as usize);
        assert!(count("s1".into(), begin), "a source that has a share keeps it");
        let later = begin + Duration::from_secs(60);
        assert!(count("new".into(), later), "who is silent makes room");
        assert!(limiter.sources.len() == 1 && limiter.others.is_some());
    }
}
