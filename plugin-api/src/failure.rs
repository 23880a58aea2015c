//! Classes failed calls to a platform, the same for every channel. Pure.
//!
//! There are three classes: the network; the platform, for now; the platform, for good. What fails is either the
//! account, or one chat or message of it. Class and subject together say what the channel answers the runtime
//! ([`Failure::error`]). One answer is never a verdict on an account: [`Standing`] says when several are.

use crate::{Health, PluginError};
use std::time::{Duration, Instant};

/// So many answers in a row must say that an account does not work before the runtime believes it …
const REFUSALS_MIN: u32 = 3;
/// … and so much time must lie between the first and the last of them.
const REFUSED_FOR_MIN: Duration = Duration::from_secs(30);

/// The class of a failed call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The network: the platform was not reached, or no whole answer of it came back.
    Network {
        /// Whether the platform may have got the call: then it may have done as it was asked.
        was_sent: bool,
    },
    /// The platform, for now: later it may do it.
    ForNow {
        /// The wait that the platform asked for.
        after: Option<Duration>,
        /// Whether it may have done as it was asked all the same.
        in_doubt: bool,
    },
    /// The platform, for good: it will answer the same the next time.
    ForGood,
}

/// The subject of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// The account, or its whole platform: any other call would fail, too.
    Account,
    /// One chat or message. It says nothing about the account.
    Chat,
}

/// A failed call: its class, and what it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    /// The class of the failure.
    pub class: Class,
    /// Whether the account fails, or one chat or message.
    pub about: About,
}

impl Failure {
    /// No whole answer came. `was_sent`: whether the platform may have got the call.
    pub fn network(was_sent: bool) -> Failure {
        Failure { class: Class::Network { was_sent }, about: About::Account }
    }

    /// The platform does not do it now, and has not done it.
    pub fn for_now(about: About) -> Failure {
        Failure { class: Class::ForNow { after: None, in_doubt: false }, about }
    }

    /// The platform does not do it, now or later.
    pub fn for_good(about: About) -> Failure {
        Failure { class: Class::ForGood, about }
    }

    /// The failure that an HTTP answer means which is no success, or is one but cannot be read. `is_own`: whether the
    /// answer is written as this platform's are; a page of a proxy in between decides nothing. A channel whose platform
    /// gives a status a meaning of its own (a limit told by 403, a token told by 404) decides that before it asks here.
    pub fn of_http(status: u16, is_own: bool) -> Failure {
        let later = |in_doubt| Class::ForNow { after: None, in_doubt };
        let (class, about) = match status {
            // Done perhaps, but that was not understood; or a gateway gave up on what goes on behind it.
            200..=299 | 408 | 500.. => (later(true), About::Account),
            // How large a message may be is often decided before the platform.
            413 | 414 => (Class::ForGood, About::Chat),
            ..=399 => (later(false), About::Account),
            425 | 429 => (later(false), About::Chat),
            _ if !is_own => (later(false), About::Account),
            401 => (Class::ForGood, About::Account),
            _ => (Class::ForGood, About::Chat),
        };
        Failure { class, about }
    }

    /// The same, not before the wait that the platform asked for.
    #[must_use]
    pub fn after(self, wait: Duration) -> Failure {
        let in_doubt = matches!(self.class, Class::ForNow { in_doubt: true, .. });
        Failure { class: Class::ForNow { after: Some(wait), in_doubt }, ..self }
    }

    /// The same, about the account: the platform means all of it.
    #[must_use]
    pub fn of_account(self) -> Failure {
        Failure { about: About::Account, ..self }
    }

    /// What the channel answers the runtime; the reason is words for the operator.
    pub fn error(self, reason: impl Into<String>) -> PluginError {
        let (reason, account) = (reason.into(), self.about == About::Account);
        let ms = |wait: Duration| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        match self.class {
            Class::Network { was_sent } => {
                PluginError::Retry { reason, after_ms: None, in_doubt: was_sent, account }
            }
            Class::ForNow { after, in_doubt } => {
                PluginError::Retry { reason, after_ms: after.map(ms), in_doubt, account }
            }
            Class::ForGood if account => PluginError::Broken { reason },
            Class::ForGood => PluginError::Refused { reason },
        }
    }
}

/// The state of one account, as its platform's answers so far show it.
#[derive(Debug, Default, Clone)]
pub struct Standing {
    refusals: u32,
    refused_since: Option<Instant>,
}

impl Standing {
    /// A call went well.
    pub fn works(&mut self) {
        *self = Standing::default();
    }

    /// A call failed at `now`: how the account is by that, if it says anything about it. A refusal is believed when it
    /// is the third in a row, and the first lies 30 s back; until then, and whatever else it is, the account works in
    /// part.
    pub fn failed(&mut self, error: &PluginError, now: Instant) -> Option<Health> {
        let reason = error.reason().to_owned();
        match error {
            PluginError::Broken { .. } => {
                self.refusals = self.refusals.saturating_add(1);
                let since = *self.refused_since.get_or_insert(now);
                let lasts = now.saturating_duration_since(since) >= REFUSED_FOR_MIN;
                Some(match self.refusals >= REFUSALS_MIN && lasts {
                    true => Health::Stopped { reason },
                    false => Health::Degraded { reason },
                })
            }
            PluginError::Retry { account: true, .. } => Some(Health::Degraded { reason }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_http_answer_means() {
        let later = |in_doubt| Class::ForNow { after: None, in_doubt };
        for (status, is_own, class, about) in [
            (200, true, later(true), About::Account),
            (200, false, later(true), About::Account),
            (301, true, later(false), About::Account),
            (307, false, later(false), About::Account),
            (400, true, Class::ForGood, About::Chat),
            (400, false, later(false), About::Account),
            (401, true, Class::ForGood, About::Account),
            (401, false, later(false), About::Account),
            (403, true, Class::ForGood, About::Chat),
            (404, true, Class::ForGood, About::Chat),
            (404, false, later(false), About::Account),
            (408, true, later(true), About::Account),
            (413, true, Class::ForGood, About::Chat),
            (413, false, Class::ForGood, About::Chat),
            (422, true, Class::ForGood, About::Chat),
            (425, true, later(false), About::Chat),
            (429, true, later(false), About::Chat),
            (429, false, later(false), About::Chat),
            (500, true, later(true), About::Account),
            (502, false, later(true), About::Account),
            (999, true, later(true), About::Account),
            (0, false, later(false), About::Account),
        ] {
            assert_eq!(Failure::of_http(status, is_own), Failure { class, about }, "{status} {is_own}");
        }
    }

    #[test]
    fn what_the_runtime_is_answered() {
        let retry = |after_ms, in_doubt, account| PluginError::Retry {
            reason: "x".into(),
            after_ms,
            in_doubt,
            account,
        };
        let wait = Duration::from_secs(7);
        for (failure, want) in [
            (Failure::network(false), retry(None, false, true)),
            (Failure::network(true), retry(None, true, true)),
            (Failure::for_now(About::Chat), retry(None, false, false)),
            (Failure::for_now(About::Account), retry(None, false, true)),
            (Failure::of_http(429, true).after(wait), retry(Some(7_000), false, false)),
            (Failure::of_http(429, true).after(wait).of_account(), retry(Some(7_000), false, true)),
            (Failure::of_http(503, true).after(wait), retry(Some(7_000), true, true)),
            (Failure::for_good(About::Chat), PluginError::refused("x")),
            (Failure::for_good(About::Account), PluginError::broken("x")),
        ] {
            assert_eq!(failure.error("x"), want, "{failure:?}");
        }
    }

    /// Each line: what was answered, and after how many seconds; then how the account is.
    #[test]
    fn one_answer_is_never_a_verdict() {
        let (bad, later) = (PluginError::broken("b"), Failure::network(true).error("n"));
        let degraded = |reason: &str| Some(Health::Degraded { reason: reason.into() });
        let stopped = || Some(Health::Stopped { reason: "b".into() });
        let begin = Instant::now();
        for (answers, want) in [
            (vec![(&bad, 0)], degraded("b")),
            (vec![(&bad, 0), (&bad, 60)], degraded("b")),
            (vec![(&bad, 0), (&bad, 1), (&bad, 2), (&bad, 29)], degraded("b")),
            (vec![(&bad, 0), (&bad, 1), (&bad, 30)], stopped()),
            // A call that does not reach the platform takes nothing back, and adds nothing.
            (vec![(&bad, 0), (&later, 9), (&bad, 20), (&later, 40)], degraded("n")),
            (vec![(&bad, 0), (&later, 9), (&bad, 20), (&bad, 40)], stopped()),
        ] {
            let mut standing = Standing::default();
            let mut last = None;
            for (error, at) in &answers {
                last = standing.failed(error, begin + Duration::from_secs(*at));
            }
            assert_eq!(last, want, "{answers:?}");
        }
        let mut standing = Standing::default();
        standing.failed(&bad, begin);
        standing.failed(&bad, begin + Duration::from_secs(20));
        standing.works();
        assert_eq!(
            standing.failed(&bad, begin + Duration::from_secs(40)),
            degraded("b"),
            "it worked between"
        );
    }

    #[test]
    fn what_is_about_one_chat_says_nothing_of_the_account() {
        let mut standing = Standing::default();
        for error in [
            PluginError::refused("blocked"),
            PluginError::unsupported("a card"),
            PluginError::retry("later"),
            PluginError::in_doubt("lost"),
            Failure::of_http(429, true).error("slow down"),
            PluginError::Unknown,
        ] {
            assert_eq!(standing.failed(&error, Instant::now()), None, "{error:?}");
        }
    }
}
